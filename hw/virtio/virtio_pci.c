/* SPDX-License-Identifier: MIT */
/*
 * Virtio over PCI: identity, interrupts, life.  [VIRTIO1.2 4.1]
 * Locking: machine lock.
 */
#include "hw/virtio/virtio_pci_int.h"

#include "hw/pci/pci_int.h"
#include "vm/vm.h"

/* ---- interrupts ---- */

/* INTx: high while the driver has not read the ISR.  [VIRTIO1.2 4.1.5.1.2] */
void virtio_pci_sync(Device *dev)
{
    VirtioPci *p = virtio_pci(dev);

    pci_set_irq(&p->pci, !msix_enabled(&p->pci) &&
                         __atomic_load_n(&p->vdev->isr, __ATOMIC_SEQ_CST) != 0);
}

static void raise_vector(Device *proxy, uint16_t vector)
{
    VirtioPci *p = virtio_pci(proxy);

    if (!msix_enabled(&p->pci)) {
        virtio_pci_sync(proxy);
    } else if (vector != VIRTIO_NO_VECTOR) {
        msix_notify(&p->pci, vector);
    }
}

static void notify_queue(Device *proxy, VirtQueue *vq)
{
    raise_vector(proxy, vq->vector);
}

static void notify_config(Device *proxy, VirtioDevice *vdev)
{
    raise_vector(proxy, vdev->config_vector);
}

/* ---- configuration space, with the window of the access capability ---- */

enum { CFG_BAR = 4, CFG_OFFSET = 8, CFG_LENGTH = 12, CFG_DATA = 16, CFG_LEN = 20 };

static bool touches_window(const VirtioPci *p, uint32_t offset, unsigned len)
{
    return p->cfg_cap && offset + len > p->cfg_cap + CFG_DATA && offset < p->cfg_cap + CFG_LEN;
}

/* Offset and length must be of one register.  [VIRTIO1.2 4.1.4.9] */
static bool window_target(const VirtioPci *p, uint32_t *offset, uint32_t *len)
{
    const uint8_t *cap = p->pci.config + p->cfg_cap;

    *offset = le32_load(cap + CFG_OFFSET);
    *len = le32_load(cap + CFG_LENGTH);
    return (*len == 1 || *len == 2 || *len == 4) && !(*offset & (*len - 1));
}

uint32_t virtio_pci_config_read(PciDevice *dev, uint32_t offset, unsigned len)
{
    VirtioPci *p = virtio_pci(&dev->dev);
    uint32_t at, size;

    if (touches_window(p, offset, len) && window_target(p, &at, &size)) {
        uint8_t *cap = dev->config + p->cfg_cap;

        le_store(cap + CFG_DATA, virtio_pci_modern_read(p, cap[CFG_BAR], at, size), size);
    }
    return pci_default_config_read(dev, offset, len);
}

void virtio_pci_config_write(PciDevice *dev, uint32_t offset, uint32_t value, unsigned len)
{
    VirtioPci *p = virtio_pci(&dev->dev);
    uint32_t at, size;

    pci_default_config_write(dev, offset, value, len);
    if (touches_window(p, offset, len) && window_target(p, &at, &size)) {
        const uint8_t *cap = dev->config + p->cfg_cap;

        virtio_pci_modern_write(p, cap[CFG_BAR], at, le_load(cap + CFG_DATA, size), size);
    }
}

/* ---- the model ---- */

static void lend_props(VirtioPci *p, const ObjectType *type)
{
    Object *obj = OBJECT(p), *model = OBJECT(p->vdev);

    for (; type; type = type_parent(type)) {
        for (const PropDef *row = type->props; row && row->name; row++) {
            if (!type_find_prop(obj->type, row->name)) {
                object_add_alias(obj, row->name, model, row->name);
            }
        }
    }
}

static void virtio_pci_init(Object *obj)
{
    VirtioPci *p = virtio_pci(DEVICE(obj));
    const VirtioPciInfo *info = (const VirtioPciInfo *)(const void *)pci_info(&p->pci);
    Device *model = device_new(DEVICE(obj)->vm, info->model, &p->model_error);

    if (model) {
        p->vdev = DEVICE_CAST(VirtioDevice, model);
        object_add_child(obj, "virtio-backend", OBJECT(model));
        lend_props(p, model->obj.type);
    }
}

static void virtio_pci_finalize(Object *obj)
{
    VirtioPci *p = virtio_pci(DEVICE(obj));

    g_clear_error(&p->model_error);
    g_free(p->irqfds);
    if (p->vdev) {
        object_unref(OBJECT(p->vdev));
    }
}

/* ---- life ---- */

/* Transitional ids are 0x1000 plus what the legacy specification gave each device.
 * [VIRTIO1.2 4.1.2.1] */
static uint16_t transitional_id(uint16_t device_id)
{
    static const uint8_t ids[] = {
        [VIRTIO_ID_NET] = 0x40, [VIRTIO_ID_BLOCK] = 0x41, [VIRTIO_ID_BALLOON] = 0x42,
        [VIRTIO_ID_CONSOLE] = 0x43, [VIRTIO_ID_SCSI] = 0x44, [VIRTIO_ID_RNG] = 0x45,
        [VIRTIO_ID_9P] = 0x49,
    };

    return device_id < ARRAY_LEN(ids) && ids[device_id] ? 0x1000 + (ids[device_id] & 0x3f) : 0;
}

static bool choose_forms(VirtioPci *p, GError **error)
{
    const VirtioPciInfo *info = (const VirtioPciInfo *)(const void *)pci_info(&p->pci);
    const char *name = p->pci.dev.obj.type->name;

    p->modern = !p->disable_modern;
    /* A device in a PCI Express slot need not serve drivers from before such slots. */
    p->legacy = p->disable_legacy == ON_OFF_AUTO_OFF ||
                (p->disable_legacy == ON_OFF_AUTO_AUTO &&
                 !(pci_bus_of(&p->pci)->is_express && pci_bus_of(&p->pci)->parent));
    if (info->kind != VIRTIO_PCI_GENERIC) {
        p->modern = true;
        p->legacy = info->kind == VIRTIO_PCI_TRANSITIONAL;
    }
    if (!transitional_id(virtio_info(p->vdev)->device_id)) {
        p->legacy = false;
    }
    if (!p->legacy && !p->modern) {
        return error_set(error, "%s: device cannot work as neither modern nor legacy mode is "
                         "enabled: set disable-modern=off or disable-legacy=off", name);
    }
    if (p->page_per_vq && !p->modern) {
        return error_set(error, "%s: page-per-vq=on needs the modern form: leave disable-modern "
                         "off", name);
    }
    return true;
}

static void set_identity(VirtioPci *p)
{
    const VirtioInfo *info = virtio_info(p->vdev);
    uint8_t *c = p->pci.config;

    if (p->legacy) {
        le16_store(c + PCI_DEVICE_ID, transitional_id(info->device_id));
        le16_store(c + PCI_SUBSYSTEM_VENDOR_ID, PCI_VENDOR_REDHAT_QUMRANET);
        le16_store(c + PCI_SUBSYSTEM_ID, info->device_id);
    } else {
        le16_store(c + PCI_DEVICE_ID, 0x1040 + info->device_id);
        c[PCI_REVISION_ID] = 1;
    }
    if (p->class_code) {
        c[PCI_CLASS_PROG] = (uint8_t)p->class_code;
    }
    le16_store(c + PCI_CLASS_DEVICE, p->class_code ? (uint16_t)(p->class_code >> 8)
                                                   : info->class_id);
}

/* Table, then pending bits: in the second half of a page if they fit so. */
static bool add_msix(VirtioPci *p, GError **error)
{
    uint32_t table = p->vectors * PCI_MSIX_ENTRY_SIZE, pba = MAX(table, 2048), size = 4096;

    if (!p->vectors) {
        return true;
    }
    while (size < pba + align_up(div_round_up(p->vectors, 8), 8)) {
        size *= 2;
    }
    memory_region_init(&p->msix_bar, OBJECT(p), "virtio-pci-msix", size);
    if (!msix_init(&p->pci, p->vectors, &p->msix_bar, MSIX_BAR, 0, &p->msix_bar, MSIX_BAR, pba, 0,
                   error)) {
        memory_region_clear(&p->msix_bar);
        return false;
    }
    pci_register_bar(&p->pci, MSIX_BAR, PCI_BASE_ADDRESS_SPACE_MEMORY, &p->msix_bar);
    return true;
}

static void clear_bus(VirtioPci *p)
{
    if (p->vdev->dev.realized) {
        device_unplug(&p->vdev->dev);
    }
    bus_clear(&p->vbus);
}

bool virtio_pci_realize(Device *dev, GError **error)
{
    VirtioPci *p = virtio_pci(dev);
    const VirtioPciInfo *info = (const VirtioPciInfo *)(const void *)pci_info(&p->pci);

    if (!p->vdev) {
        g_propagate_error(error, g_steal_pointer(&p->model_error));
        return false;
    }
    if (!choose_forms(p, error)) {
        return false;
    }
    if (info->prepare) {
        info->prepare(p);
    }
    if (p->modern) {
        p->vdev->host_features |= BIT64(VIRTIO_F_VERSION_1);
    }
    p->vdev->ioeventfd = p->ioeventfd;
    p->pci.msix_changed = virtio_pci_msix_changed;
    bus_init(&p->vbus, &bus_virtio, dev, dev->vm, "virtio-bus");
    p->vbus.data = (void *)(uintptr_t)&virtio_pci_transport;
    if (!device_realize(&p->vdev->dev, &p->vbus, error)) {
        bus_clear(&p->vbus);
        return false;
    }
    p->vectors = p->vectors == UINT32_MAX ? p->vdev->num_queues + 1 : p->vectors;
    if (p->vectors > 2048) {
        error_set(error, "%s.vectors=%u must be at most 2048", dev->obj.type->name, p->vectors);
        clear_bus(p);
        return false;
    }
    virtio_connect(p->vdev);
    set_identity(p);
    if (p->modern && !virtio_pci_modern_init(p, error)) {
        clear_bus(p);
        return false;
    }
    if (!add_msix(p, error)) {
        virtio_pci_modern_clear(p);
        clear_bus(p);
        return false;
    }
    if (p->legacy) {
        virtio_pci_legacy_init(p);
    }
    return true;
}

void virtio_pci_unrealize(Device *dev)
{
    VirtioPci *p = virtio_pci(dev);

    clear_bus(p);
    pci_unmap_bars(&p->pci);
    if (p->legacy) {
        virtio_pci_legacy_clear(p);
    }
    if (p->pci.msix) {
        msix_uninit(&p->pci);
        memory_region_clear(&p->msix_bar);
    }
    virtio_pci_modern_clear(p);
}

static void device_reset_done(Device *proxy)
{
    VirtioPci *p = virtio_pci(proxy);

    p->dfselect = p->gfselect = 0;
    p->guest_features[0] = p->guest_features[1] = 0;
    for (unsigned i = 0; i < p->vdev->num_queues; i++) {
        p->queues[i] = (VirtioQueueSetup){ .num = p->vdev->queues[i]->num_default };
    }
    device_sync(proxy);
}

/* ---- state ---- */

static void save_config(Device *proxy, VmWriter *w)
{
    VirtioPci *p = virtio_pci(proxy);

    vmstate_save(w, &vmstate_pci_device, &p->pci, NULL);
    vmstate_save(w, &vmstate_msix, &p->pci, NULL);
    if (p->pci.msix) {
        vm_put_be16(w, p->vdev->config_vector);
    }
}

static bool load_config(Device *proxy, VmReader *r, GError **error)
{
    VirtioPci *p = virtio_pci(proxy);

    if (!vmstate_load(r, &vmstate_pci_device, &p->pci, vmstate_pci_device.version, error) ||
        !vmstate_load(r, &vmstate_msix, &p->pci, vmstate_msix.version, error)) {
        return false;
    }
    p->vdev->config_vector = p->pci.msix ? virtio_pci_vector(p, vm_get_be16(r)) : VIRTIO_NO_VECTOR;
    return true;
}

static void save_queue(Device *proxy, unsigned n, VmWriter *w)
{
    VirtioPci *p = virtio_pci(proxy);

    if (p->pci.msix) {
        vm_put_be16(w, p->vdev->queues[n]->vector);
    }
}

static bool load_queue(Device *proxy, unsigned n, VmReader *r, GError **error)
{
    VirtioPci *p = virtio_pci(proxy);

    p->vdev->queues[n]->vector = p->pci.msix ? virtio_pci_vector(p, vm_get_be16(r))
                                             : VIRTIO_NO_VECTOR;
    return true;
}

static void queues_put(VmWriter *w, const void *field, const VmField *def)
{
    const VirtioPci *p = field;

    virtio_put_setups(w, p->vdev, p->queues, 2);
}

static bool queues_get(VmReader *r, void *field, const VmField *def, GError **error)
{
    VirtioPci *p = field;

    return virtio_get_setups(r, p->vdev, p->queues, 2, error);
}

static bool is_modern(const void *obj)
{
    return ((const VirtioPci *)obj)->modern;
}

static const VmField modern_fields[] = {
    VMS_U32(VirtioPci, dfselect),
    VMS_U32(VirtioPci, gfselect),
    VMS_U32_ARRAY(VirtioPci, guest_features),
    { .name = "vqs", .kind = VM_CUSTOM, .wire_type = "virtio pci queues", .get = queues_get,
      .put = queues_put },
    VMS_END
};
static const VmStateDesc state_modern = {
    .name = "virtio_pci/modern_state", .version = 1, .minimum = 1, .fields = modern_fields,
    .needed = is_modern,
};

static const VmField no_fields[] = { VMS_END };
static const VmStateDesc state_extra = {
    .name = "virtio_pci", .version = 1, .minimum = 1, .fields = no_fields,
    .subsections = (const VmStateDesc *const[]){ &state_modern, NULL },
};

static void kick_eventfd(Device *proxy, VirtQueue *vq, int fd, bool on)
{
    VirtioPci *p = virtio_pci(proxy);

    if (p->modern) {
        virtio_pci_modern_eventfd(p, vq, fd, on);
    }
    if (p->legacy) {
        virtio_pci_legacy_eventfd(p, vq, fd, on);
    }
}

const VirtioTransport virtio_pci_transport = {
    .name = "virtio-pci", .notify_queue = notify_queue, .notify_config = notify_config,
    .device_reset = device_reset_done, .save_config = save_config, .load_config = load_config,
    .save_queue = save_queue, .load_queue = load_queue, .extra_state = &state_extra,
    .kick_eventfd = kick_eventfd, .irqs_changed = virtio_pci_irqfds_sync,
};

/* clang-format off */
#define COMMON_PROPS \
    PROP_U32("vectors", VirtioPci, vectors, UINT32_MAX), \
    PROP_U32("class", VirtioPci, class_code, 0), \
    PROP_BOOL("ioeventfd", VirtioPci, ioeventfd, true, .help = "on/off"), \
    PROP_BOOL("page-per-vq", VirtioPci, page_per_vq, false, .help = "on/off"), \
    PROP_BOOL("modern-pio-notify", VirtioPci, modern_pio_notify, false, .help = "on/off")
const PropDef virtio_pci_props[] = { COMMON_PROPS, PROP_END };
const PropDef virtio_pci_generic_props[] = {
    COMMON_PROPS,
    PROP_ON_OFF_AUTO("disable-legacy", VirtioPci, disable_legacy, ON_OFF_AUTO_AUTO, .help = "on/off/auto"),
    PROP_BOOL("disable-modern", VirtioPci, disable_modern, false),
    PROP_END
};
/* clang-format on */

static const DeviceType virtio_pci_type = {
    .name = "virtio-pci", .parent = "pci-device", .abstract = true, .size = sizeof(VirtioPci),
    .bus = &bus_pci, .init = virtio_pci_init, .finalize = virtio_pci_finalize,
    .realize = virtio_pci_realize, .unrealize = virtio_pci_unrealize,
};
TYPE_ROW(virtio_pci, &virtio_pci_type, "pci-device");
