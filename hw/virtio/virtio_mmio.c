/* SPDX-License-Identifier: MIT */
/*
 * Virtio over MMIO: registers, interrupt, life.  [VIRTIO1.2 4.2.2, 4.2.4]
 * Locking: machine lock; kicks of an iothread's queue need none.
 *
 * Invariant: vdev is set exactly while a realized device model sits on the bus; without one every register
 * but the first four reads as zero, and writes do nothing.
 */
#include "hw/virtio/virtio_mmio.h"

#include "hw/virtio/virtio_int.h"
#include "vm/vm.h"

enum { MAGIC = 0x74726976, VENDOR = 0x554d4551, QUEUE_NOTIFY = 0x50, CONFIG_AT = 0x100,
       PAGE_SHIFT_MAX = 31 };

typedef struct VirtioMmio {
    Device dev;
    Bus vbus;
    VirtioDevice *vdev;
    MemoryRegion mmio;
    MemoryRegion notify_mr;   /* QueueNotify: over mmio, and without the machine lock */
    IrqLine irq;
    bool legacy;              /* force-legacy= */
    bool ioeventfd;
    uint32_t host_features_sel, guest_features_sel, guest_features[2];
    uint32_t guest_page_shift;
    VirtioQueueSetup queues[VIRTIO_QUEUE_MAX];
} VirtioMmio;

static VirtioMmio *mmio(Device *dev)
{
    return DEVICE_CAST(VirtioMmio, dev);
}

/* ---- interrupts ---- */

static void virtio_mmio_sync(Device *dev)
{
    VirtioMmio *s = mmio(dev);

    irq_set(&s->irq, s->vdev && __atomic_load_n(&s->vdev->isr, __ATOMIC_SEQ_CST) != 0);
}

static void notify_queue(Device *proxy, VirtQueue *vq)
{
    virtio_mmio_sync(proxy);
}

static void notify_config(Device *proxy, VirtioDevice *vdev)
{
    virtio_mmio_sync(proxy);
}

/* ---- registers ---- */

static bool is_legacy(const Device *dev)
{
    return ((const VirtioMmio *)(const void *)dev)->legacy;
}

static bool is_modern(const Device *dev)
{
    return !is_legacy(dev);
}

static VirtQueue *selected(VirtioMmio *s)
{
    return virtio_queue(s->vdev, s->vdev->queue_sel);
}

/* NULL: no such queue. */
static VirtioQueueSetup *selected_setup(VirtioMmio *s)
{
    return selected(s) ? &s->queues[s->vdev->queue_sel] : NULL;
}

static uint64_t magic_read(Device *dev, uint64_t value)
{
    return MAGIC;
}

static uint64_t version_read(Device *dev, uint64_t value)
{
    return is_legacy(dev) ? 1 : 2;
}

static uint64_t device_id_read(Device *dev, uint64_t value)
{
    return virtio_info(mmio(dev)->vdev)->device_id;
}

static uint64_t vendor_read(Device *dev, uint64_t value)
{
    return VENDOR;
}

static uint64_t features_read(Device *dev, uint64_t value)
{
    VirtioMmio *s = mmio(dev);
    uint64_t offered = virtio_offered(s->vdev, s->legacy);

    return s->host_features_sel == 0   ? (uint32_t)offered
           : s->host_features_sel == 1 ? offered >> 32
                                       : 0;
}

static void features_sel_write(Device *dev, uint64_t value)
{
    mmio(dev)->host_features_sel = (uint32_t)value;
}

static void driver_features_write(Device *dev, uint64_t value)
{
    VirtioMmio *s = mmio(dev);

    if (s->guest_features_sel > 1 || (s->legacy && s->guest_features_sel)) {
        if (value) {
            log_guest_error("virtio-mmio: features 0x%" PRIx64 " written with selector %u\n", value,
                            s->guest_features_sel);
        }
        return;
    }
    s->guest_features[s->guest_features_sel] = (uint32_t)value;
    if (s->legacy) {
        virtio_set_features(s->vdev, (uint32_t)value, true);
    } else if (!(s->vdev->status & VIRTIO_STATUS_FEATURES_OK)) {
        virtio_set_features(s->vdev, s->guest_features[0] | (uint64_t)s->guest_features[1] << 32, false);
    }
}

static void driver_features_sel_write(Device *dev, uint64_t value)
{
    mmio(dev)->guest_features_sel = (uint32_t)value;
}

static void page_size_write(Device *dev, uint64_t value)
{
    if (!is_pow2(value)) {
        log_guest_error("virtio-mmio: a page size of 0x%" PRIx64 " is no power of two\n", value);
        return;
    }
    mmio(dev)->guest_page_shift = (uint32_t)__builtin_ctzll(value);
}

static void queue_sel_write(Device *dev, uint64_t value)
{
    if (value < VIRTIO_QUEUE_MAX) {
        mmio(dev)->vdev->queue_sel = (uint16_t)value;
    }
}

static uint64_t queue_num_max_read(Device *dev, uint64_t value)
{
    VirtQueue *vq = selected(mmio(dev));

    return vq ? vq->num_default : 0;
}

static void queue_num_write(Device *dev, uint64_t value)
{
    VirtioMmio *s = mmio(dev);
    VirtQueue *vq = selected(s);

    if (vq && value <= UINT16_MAX && virtio_queue_set_size(vq, (uint32_t)value)) {
        selected_setup(s)->num = (uint16_t)value;
    }
}

static void queue_align_write(Device *dev, uint64_t value)
{
    VirtQueue *vq = selected(mmio(dev));

    if (!vq || vq->ready || !is_pow2(value) || value > MIB) {
        log_guest_error("virtio-mmio: ring alignment 0x%" PRIx64 " for queue %u: a power of two up to 1 "
                        "MiB, before the address\n", value, mmio(dev)->vdev->queue_sel);
        return;
    }
    vq->align = (uint32_t)value;
}

static uint64_t queue_pfn_read(Device *dev, uint64_t value)
{
    VirtioMmio *s = mmio(dev);
    VirtQueue *vq = selected(s);

    return vq ? vq->desc >> s->guest_page_shift : 0;
}

static void queue_pfn_write(Device *dev, uint64_t value)
{
    VirtioMmio *s = mmio(dev);
    VirtQueue *vq = selected(s);

    if (!value) {
        virtio_set_status(s->vdev, 0);
    } else if (vq && !s->vdev->resetting) {
        virtio_queue_set_legacy(vq, value << s->guest_page_shift);
    }
}

static uint64_t queue_ready_read(Device *dev, uint64_t value)
{
    VirtioQueueSetup *q = selected_setup(mmio(dev));

    return q && q->enabled;
}

static uint64_t address(const uint32_t halves[2])
{
    return halves[0] | (uint64_t)halves[1] << 32;
}

/* A queue stops being ready with the reset of the device. */
static void queue_ready_write(Device *dev, uint64_t value)
{
    VirtioMmio *s = mmio(dev);
    VirtioQueueSetup *q = selected_setup(s);

    if (!q || s->vdev->resetting || q->enabled == (value & 1)) {
        return;
    }
    if (!(value & 1)) {
        log_guest_error("virtio-mmio: queue %u cannot stop before the device does\n", s->vdev->queue_sel);
        return;
    }
    q->enabled = true;
    virtio_queue_enable(selected(s), address(q->desc), address(q->driver), address(q->device));
}

static uint64_t interrupt_status_read(Device *dev, uint64_t value)
{
    return __atomic_load_n(&mmio(dev)->vdev->isr, __ATOMIC_SEQ_CST);
}

static void interrupt_ack_write(Device *dev, uint64_t value)
{
    __atomic_fetch_and(&mmio(dev)->vdev->isr, (uint8_t)~value, __ATOMIC_SEQ_CST);
}

static uint64_t status_read(Device *dev, uint64_t value)
{
    /* The loop of the queues may set NEEDS_RESET. */
    return __atomic_load_n(&mmio(dev)->vdev->status, __ATOMIC_SEQ_CST);
}

static void status_write(Device *dev, uint64_t value)
{
    virtio_set_status(mmio(dev)->vdev, (uint8_t)value);
}

/* No region: its length is -1.  [VIRTIO1.2 4.2.2] */
static uint64_t no_shared_memory_read(Device *dev, uint64_t value)
{
    return UINT32_MAX;
}

static uint64_t generation_read(Device *dev, uint64_t value)
{
    return mmio(dev)->vdev->generation;
}

#define AREA_HALF(area, half)                                                              \
    static void area##_##half##_write(Device *dev, uint64_t value)                         \
    {                                                                                      \
        VirtioQueueSetup *q = selected_setup(mmio(dev));                                   \
        if (q && !q->enabled) {                                                            \
            q->area[half] = (uint32_t)value;                                               \
        }                                                                                  \
    }
AREA_HALF(desc, 0)
AREA_HALF(desc, 1)
AREA_HALF(driver, 0)
AREA_HALF(driver, 1)
AREA_HALF(device, 0)
AREA_HALF(device, 1)

/* clang-format off */
static const RegDef empty_regs[] = {
    { 0x000, "MagicValue",        REG_NONE(4), .on_read = magic_read },
    { 0x004, "Version",           REG_NONE(4), .on_read = version_read },
    { 0x00c, "VendorID",          REG_NONE(4), .on_read = vendor_read },
};
static const RegDef regs[] = {
    { 0x000, "MagicValue",        REG_NONE(4), .on_read = magic_read },
    { 0x004, "Version",           REG_NONE(4), .on_read = version_read },
    { 0x008, "DeviceID",          REG_NONE(4), .on_read = device_id_read },
    { 0x00c, "VendorID",          REG_NONE(4), .on_read = vendor_read },
    { 0x010, "DeviceFeatures",    REG_NONE(4), .on_read = features_read },
    { 0x014, "DeviceFeaturesSel", REG_NONE(4), .on_write = features_sel_write },
    { 0x020, "DriverFeatures",    REG_NONE(4), .on_write = driver_features_write },
    { 0x024, "DriverFeaturesSel", REG_NONE(4), .on_write = driver_features_sel_write },
    { 0x028, "GuestPageSize",     REG_NONE(4), .bank = is_legacy, .on_write = page_size_write },
    { 0x030, "QueueSel",          REG_NONE(4), .on_write = queue_sel_write },
    { 0x034, "QueueNumMax",       REG_NONE(4), .on_read = queue_num_max_read },
    { 0x038, "QueueNum",          REG_NONE(4), .on_write = queue_num_write },
    { 0x03c, "QueueAlign",        REG_NONE(4), .bank = is_legacy, .on_write = queue_align_write },
    { 0x040, "QueuePFN",          REG_NONE(4), .bank = is_legacy, .on_read = queue_pfn_read, .on_write = queue_pfn_write },
    { 0x044, "QueueReady",        REG_NONE(4), .bank = is_modern, .on_read = queue_ready_read, .on_write = queue_ready_write },
    { 0x060, "InterruptStatus",   REG_NONE(4), .on_read = interrupt_status_read },
    { 0x064, "InterruptACK",      REG_NONE(4), .on_write = interrupt_ack_write },
    { 0x070, "Status",            REG_NONE(4), .on_read = status_read, .on_write = status_write },
    { 0x080, "QueueDescLow",      REG_NONE(4), .bank = is_modern, .on_write = desc_0_write },
    { 0x084, "QueueDescHigh",     REG_NONE(4), .bank = is_modern, .on_write = desc_1_write },
    { 0x090, "QueueDriverLow",    REG_NONE(4), .bank = is_modern, .on_write = driver_0_write },
    { 0x094, "QueueDriverHigh",   REG_NONE(4), .bank = is_modern, .on_write = driver_1_write },
    { 0x0a0, "QueueDeviceLow",    REG_NONE(4), .bank = is_modern, .on_write = device_0_write },
    { 0x0a4, "QueueDeviceHigh",   REG_NONE(4), .bank = is_modern, .on_write = device_1_write },
    { 0x0b0, "SHMLenLow",         REG_NONE(4), .bank = is_modern, .on_read = no_shared_memory_read },
    { 0x0b4, "SHMLenHigh",        REG_NONE(4), .bank = is_modern, .on_read = no_shared_memory_read },
    { 0x0b8, "SHMBaseLow",        REG_NONE(4), .bank = is_modern, .on_read = no_shared_memory_read },
    { 0x0bc, "SHMBaseHigh",       REG_NONE(4), .bank = is_modern, .on_read = no_shared_memory_read },
    { 0x0fc, "ConfigGeneration",  REG_NONE(4), .bank = is_modern, .on_read = generation_read },
};
/* clang-format on */
static const RegTable table = REG_TABLE(regs), empty_table = REG_TABLE(empty_regs);

static uint64_t window_read(void *opaque, uint64_t offset, unsigned size)
{
    VirtioMmio *s = opaque;

    if (!s->vdev) {
        /* Drivers look at each seat: no guest error. */
        return offset <= 0x0c && offset != 0x08 ? device_reg_read(&s->dev, empty_table, offset, size) : 0;
    }
    return offset >= CONFIG_AT ? virtio_config_read(s->vdev, offset - CONFIG_AT, size)
                               : device_reg_read(&s->dev, table, offset, size);
}

static void window_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    VirtioMmio *s = opaque;

    if (!s->vdev) {
        return;
    }
    if (offset >= CONFIG_AT) {
        virtio_config_write(s->vdev, offset - CONFIG_AT, value, size);
    } else {
        device_reg_write(&s->dev, table, offset, value, size);
    }
    device_sync(&s->dev);
}

static uint64_t notify_read(void *opaque, uint64_t offset, unsigned size)
{
    return 0;
}

/* The seat may be left meanwhile: the device is freed after an RCU grace period. */
static void notify_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    VirtioMmio *s = opaque;
    VirtioDevice *vdev = rcu_get(&s->vdev);
    bool locked;

    if (!vdev || value >= VIRTIO_QUEUE_MAX || virtio_kick_lockless(vdev, (unsigned)value)) {
        return;
    }
    locked = machine_lock_if_needed();
    if (s->vdev) {
        virtio_kick(s->vdev, (unsigned)value);
    }
    if (locked) {
        machine_unlock();
    }
}

static const MmioOps notify_ops = { notify_read, notify_write, .valid_min = 4, .valid_max = 4,
                                    .lockless = true };
static const MmioOps window_ops = { window_read, window_write, .valid_min = 1, .valid_max = 4,
                                    .unaligned = true };

/* ---- the seat ---- */

static void plugged(Device *proxy, VirtioDevice *vdev)
{
    VirtioMmio *s = mmio(proxy);

    if (!s->legacy) {
        vdev->host_features |= BIT64(VIRTIO_F_VERSION_1);
    }
    vdev->host_features &= ~BIT64(VIRTIO_F_RING_RESET);
    vdev->ioeventfd = s->ioeventfd;
    rcu_set(&s->vdev, vdev);
    virtio_connect(vdev);
}

static void unplugged(Device *proxy)
{
    rcu_set(&mmio(proxy)->vdev, NULL);
    device_sync(proxy);
}

/* The selectors and the page size, which Linux writes before it resets the device, outlast that. */
static void device_reset_done(Device *proxy)
{
    VirtioMmio *s = mmio(proxy);

    s->guest_features[0] = s->guest_features[1] = 0;
    for (unsigned i = 0; s->vdev && i < s->vdev->num_queues; i++) {
        s->queues[i] = (VirtioQueueSetup){ .num = s->vdev->queues[i]->num_default };
    }
    device_sync(proxy);
}

static void virtio_mmio_reset_enter(Device *dev)
{
    VirtioMmio *s = mmio(dev);

    s->host_features_sel = s->guest_features_sel = 0;
    s->guest_page_shift = 0;
}

/* ---- state ---- */

static void save_config(Device *proxy, VmWriter *w)
{
    VirtioMmio *s = mmio(proxy);

    vm_put_be32(w, s->host_features_sel);
    vm_put_be32(w, s->guest_features_sel);
    vm_put_be32(w, s->guest_page_shift);
}

static bool load_config(Device *proxy, VmReader *r, GError **error)
{
    VirtioMmio *s = mmio(proxy);

    s->host_features_sel = vm_get_be32(r);
    s->guest_features_sel = vm_get_be32(r);
    s->guest_page_shift = vm_get_be32(r);
    return s->guest_page_shift <= PAGE_SHIFT_MAX ||
           error_set(error, "a page size of 2 to the %u", s->guest_page_shift);
}

static void save_queue(Device *proxy, unsigned n, VmWriter *w)
{
}

static bool load_queue(Device *proxy, unsigned n, VmReader *r, GError **error)
{
    return true;
}

static void queues_put(VmWriter *w, const void *field, const VmField *def)
{
    const VirtioMmio *s = field;

    virtio_put_setups(w, s->vdev, s->queues, 1);
}

static bool queues_get(VmReader *r, void *field, const VmField *def, GError **error)
{
    VirtioMmio *s = field;

    return virtio_get_setups(r, s->vdev, s->queues, 1, error);
}

static bool state_is_modern(const void *obj)
{
    return !((const VirtioMmio *)obj)->legacy;
}

static const VmField modern_fields[] = {
    VMS_U32_ARRAY(VirtioMmio, guest_features),
    { .name = "vqs", .kind = VM_CUSTOM, .wire_type = "virtio mmio queues", .get = queues_get,
      .put = queues_put },
    VMS_END
};
static const VmStateDesc state_modern = {
    .name = "virtio_mmio/modern_state", .version = 1, .minimum = 1, .fields = modern_fields,
    .needed = state_is_modern,
};
static const VmField no_fields[] = { VMS_END };
static const VmStateDesc state_extra = {
    .name = "virtio_mmio", .version = 1, .minimum = 1, .fields = no_fields,
    .subsections = (const VmStateDesc *const[]){ &state_modern, NULL },
};

static void kick_eventfd(Device *proxy, VirtQueue *vq, int fd, bool on)
{
    if (on) {
        memory_region_add_eventfd(&mmio(proxy)->notify_mr, 0, 4, true, vq->index, fd);
    } else {
        memory_region_del_eventfd(&mmio(proxy)->notify_mr, 0, 4, true, vq->index, fd);
    }
}

static const VirtioTransport transport = {
    .name = "virtio-mmio", .notify_queue = notify_queue, .notify_config = notify_config,
    .device_reset = device_reset_done, .plugged = plugged, .unplugged = unplugged, .legacy_align = true,
    .save_config = save_config, .load_config = load_config, .save_queue = save_queue,
    .load_queue = load_queue, .extra_state = &state_extra,
    .kick_eventfd = kick_eventfd,
};

/* ---- life ---- */

static bool virtio_mmio_realize(Device *dev, GError **error)
{
    VirtioMmio *s = mmio(dev);

    memory_region_init_io(&s->mmio, OBJECT(dev), "virtio-mmio", &window_ops, s, VIRTIO_MMIO_LEN);
    memory_region_init_io(&s->notify_mr, OBJECT(dev), "virtio-mmio-notify", &notify_ops, s, 4);
    memory_region_add_overlap(&s->mmio, QUEUE_NOTIFY, &s->notify_mr, 1);
    return true;
}

static void virtio_mmio_unrealize(Device *dev)
{
    VirtioMmio *s = mmio(dev);

    bus_clear(&s->vbus);
    memory_region_remove(&dev->vm->system_memory, &s->mmio);
    memory_region_remove(&s->mmio, &s->notify_mr);
    memory_region_clear(&s->notify_mr);
    memory_region_clear(&s->mmio);
}

static const PropDef virtio_mmio_props[] = {
    PROP_BOOL("force-legacy", VirtioMmio, legacy, true),
    PROP_BOOL("ioeventfd", VirtioMmio, ioeventfd, true, .help = "on/off"),
    PROP_END
};
DEVICE_TYPE(virtio_mmio, .name = "virtio-mmio", .size = sizeof(VirtioMmio), .props = virtio_mmio_props,
            .sync = virtio_mmio_sync, .reset_enter = virtio_mmio_reset_enter, .realize = virtio_mmio_realize, .unrealize = virtio_mmio_unrealize);

Device *virtio_mmio_new(Vm *vm, unsigned index, uint64_t addr, IrqPin irq, GError **error)
{
    g_autofree char *name = g_strdup_printf("virtio-mmio-bus.%u", index);
    Device *dev = device_create(vm, "virtio-mmio", NULL, error, NULL);
    VirtioMmio *s = dev ? mmio(dev) : NULL;

    if (s) {
        bus_init(&s->vbus, &bus_virtio, dev, vm, name);
        s->vbus.data = (void *)(uintptr_t)&transport;
        irq_connect(&s->irq, irq);
        memory_region_add(&vm->system_memory, addr, &s->mmio);
    }
    return dev;
}

bool virtio_mmio_is_empty(const Device *dev)
{
    return !((const VirtioMmio *)(const void *)dev)->vdev;
}
