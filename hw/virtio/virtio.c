/* SPDX-License-Identifier: MIT */
/*
 * Virtio devices: status, features, configuration, and where they plug in.  [VIRTIO1.2 2]
 * Locking: machine lock, except as virtio.h says of queues.
 */
#include "hw/virtio/virtio_int.h"

#include "hw/trace.h"
#include "vm/vm.h"

static const char *name_of(const VirtioDevice *vdev)
{
    return vdev->dev.obj.type->name;
}

void virtio_error(VirtioDevice *vdev, const char *fmt, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    if (vdev->broken) {
        return;
    }
    vdev->broken = true;
    va_start(args, fmt);
    text = g_strdup_vprintf(fmt, args);
    va_end(args);
    log_guest_error("%s: %s: the device stands still until it is reset\n", name_of(vdev), text);
    if (virtio_has(vdev, VIRTIO_F_VERSION_1)) {
        __atomic_fetch_or(&vdev->status, VIRTIO_STATUS_NEEDS_RESET, __ATOMIC_SEQ_CST);
        if (vdev->error_bh) {
            bh_schedule(vdev->error_bh);
        }
    }
}

/* [VIRTIO1.2 2.1.2]: DRIVER_OK set: a configuration change tells the driver. */
static void tell_error(void *opaque)
{
    VirtioDevice *vdev = opaque;

    if (vdev->broken && (vdev->status & VIRTIO_STATUS_DRIVER_OK)) {
        virtio_config_changed(vdev);
    }
}

/* ---- features ---- */

static const uint64_t legacy_only = BIT64(VIRTIO_F_NOTIFY_ON_EMPTY) | BIT64(VIRTIO_F_ANY_LAYOUT) |
                                    BIT64(VIRTIO_F_BAD_FEATURE);

uint64_t virtio_offered(const VirtioDevice *vdev, bool legacy)
{
    return legacy ? (uint32_t)vdev->host_features
                  : vdev->host_features & ~legacy_only;
}

void virtio_set_features(VirtioDevice *vdev, uint64_t features, bool legacy)
{
    uint64_t offered = virtio_offered(vdev, legacy);

    if (vdev->status & (VIRTIO_STATUS_FEATURES_OK | VIRTIO_STATUS_DRIVER_OK)) {
        log_guest_error("%s: features written after they were settled\n", name_of(vdev));
        return;
    }
    if (legacy && features & BIT64(VIRTIO_F_BAD_FEATURE)) {
        features = 0;                 /* a driver that takes what it does not know */
    }
    /* Quirk: drivers of transitional devices write back bits they were not offered. */
    if (features & ~offered) {
        log_guest_error("%s: features 0x%" PRIx64 " accepted that were not offered\n",
                        name_of(vdev), features & ~offered);
    }
    virtio_hold(vdev);
    vdev->unoffered = features & ~offered;
    vdev->guest_features = features & offered;
    for (unsigned i = 0; i < vdev->num_queues; i++) {
        virtqueue_map(vdev->queues[i]);
    }
    virtio_release(vdev);
    if (legacy && virtio_info(vdev)->features_set) {
        virtio_info(vdev)->features_set(vdev);
    }
}

/* ---- status ---- */

/* Requests are waited for on the main loop's thread only: another one may be what that waits for. */
static bool may_wait_here(void)
{
    return event_loop_is_current(event_loop_main());
}

static bool any_in_flight(VirtioDevice *vdev)
{
    bool any = false;

    virtio_hold(vdev);
    for (unsigned i = 0; i < vdev->num_queues && !any; i++) {
        any = vdev->queues[i]->in_flight > 0;
    }
    virtio_release(vdev);
    return any;
}

/*
 * Firmware and legacy drivers do not look whether a reset is over: it is, before they go on, unless they left
 * requests behind.
 */
static void reset_by_driver(VirtioDevice *vdev)
{
    vdev->resetting = true;           /* no request begins any more, on a loop neither */
    if (may_wait_here() || !any_in_flight(vdev)) {
        virtio_reset(vdev);
    } else {
        bh_schedule(vdev->reset_bh);
    }
}

void virtio_set_status(VirtioDevice *vdev, uint8_t status)
{
    uint8_t old = vdev->status;

    trace_virtio_status(name_of(vdev), status);
    if (vdev->resetting) {
        log_guest_error("%s: status 0x%x written during a reset\n", name_of(vdev), status);
        return;
    }
    if (!status) {
        reset_by_driver(vdev);
        return;
    }
    status |= old & VIRTIO_STATUS_NEEDS_RESET;
    if ((status & ~old & VIRTIO_STATUS_FEATURES_OK) && vdev->unoffered) {
        status &= ~VIRTIO_STATUS_FEATURES_OK;
    }
    if ((status & ~old & VIRTIO_STATUS_FEATURES_OK) && virtio_has(vdev, VIRTIO_F_VERSION_1) &&
        virtio_info(vdev)->features_set) {
        virtio_info(vdev)->features_set(vdev);
    }
    virtio_hold(vdev);
    vdev->status = status | (vdev->status & VIRTIO_STATUS_NEEDS_RESET);
    vdev->started = status & VIRTIO_STATUS_DRIVER_OK;
    virtio_release(vdev);
    if ((status ^ old) & VIRTIO_STATUS_DRIVER_OK) {
        virtio_notify_sync(vdev);
    }
    if (virtio_info(vdev)->status_changed) {
        virtio_info(vdev)->status_changed(vdev);
    }
}

void virtio_reset(VirtioDevice *vdev)
{
    /* Whoever parks a loop may lose the machine lock meanwhile.  A driver must not go on until the last is cleared:
     * it reads the old status, and its writes are ignored. */
    vdev->resetting = true;
    virtio_pause(vdev);
    if (virtio_info(vdev)->reset) {
        virtio_info(vdev)->reset(vdev);
    }
    bh_cancel(vdev->reset_bh);
    vdev->started = false;
    vdev->broken = vdev->disabled = false;
    vdev->isr = 0;
    vdev->queue_sel = 0;
    vdev->config_vector = VIRTIO_NO_VECTOR;
    vdev->guest_features = vdev->unoffered = 0;
    for (unsigned i = 0; i < vdev->num_queues; i++) {
        virtqueue_clear(vdev->queues[i]);
    }
    virtio_notify_sync(vdev);
    if (vdev->transport && vdev->transport->device_reset) {
        vdev->transport->device_reset(vdev->proxy);
    }
    vdev->status = 0;
    vdev->resetting = false;
    virtio_go_on(vdev);
}

uint8_t virtio_isr_take(VirtioDevice *vdev)
{
    return __atomic_exchange_n(&vdev->isr, 0, __ATOMIC_SEQ_CST);
}

/* ---- configuration ---- */

static void config_fetch(VirtioDevice *vdev)
{
    if (virtio_info(vdev)->config_read) {
        virtio_info(vdev)->config_read(vdev, vdev->config);
    }
}

uint64_t virtio_config_read(VirtioDevice *vdev, uint64_t offset, unsigned size)
{
    uint8_t bytes[8];

    memset(bytes, 0xff, sizeof(bytes));
    if (offset < vdev->config_len) {
        config_fetch(vdev);
        memset(bytes, 0, size);
        memcpy(bytes, vdev->config + offset, MIN(size, vdev->config_len - offset));
    }
    return le_load(bytes, size);
}

void virtio_config_write(VirtioDevice *vdev, uint64_t offset, uint64_t value, unsigned size)
{
    if (offset > vdev->config_len || size > vdev->config_len - offset) {
        log_guest_error("%s: %u bytes written at 0x%" PRIx64 " of a configuration of %zu\n",
                        name_of(vdev), size, offset, vdev->config_len);
        return;
    }
    config_fetch(vdev);
    le_store(vdev->config + offset, value, size);
    if (virtio_info(vdev)->config_write) {
        virtio_info(vdev)->config_write(vdev, vdev->config);
    }
}

void virtio_config_changed(VirtioDevice *vdev)
{
    vdev->generation++;
    if (vdev->transport && (vdev->status & VIRTIO_STATUS_DRIVER_OK)) {
        __atomic_fetch_or(&vdev->isr, VIRTIO_ISR_QUEUE | VIRTIO_ISR_CONFIG, __ATOMIC_SEQ_CST);
        vdev->transport->notify_config(vdev->proxy, vdev);
    }
}

/* ---- queues, for transports ---- */

VirtQueue *virtio_queue(VirtioDevice *vdev, unsigned n)
{
    return n < vdev->num_queues ? vdev->queues[n] : NULL;
}

void virtio_kick(VirtioDevice *vdev, unsigned n)
{
    VirtQueue *vq = virtio_queue(vdev, n);

    if (!vq || !vq->ready) {
        log_guest_error("%s: kick of queue %u, which is not set up\n", name_of(vdev), n);
        return;
    }
    trace_virtio_kick(name_of(vdev), n);
    if (!vdev->started) {
        /* Legacy drivers may use the device before they say DRIVER_OK.  [VIRTIO1.2 3.1.1] */
        if (virtio_has(vdev, VIRTIO_F_VERSION_1)) {
            log_guest_error("%s: kick of queue %u before DRIVER_OK\n", name_of(vdev), n);
            return;
        }
        vdev->started = true;
        virtio_notify_sync(vdev);
    }
    if (vdev->loop) {
        bh_schedule(vq->kick_bh);
    } else {
        virtqueue_dispatch(vq);
    }
}

bool virtio_queue_set_size(VirtQueue *vq, uint32_t num)
{
    bool packed = virtio_has(vq->vdev, VIRTIO_F_RING_PACKED);

    if (vq->ready || !num || num > vq->num_default || (!packed && !is_pow2(num))) {
        log_guest_error("%s: size %u for queue %u: %s up to %u, while it is not enabled\n",
                        name_of(vq->vdev), num, vq->index, packed ? "1" : "a power of two",
                        vq->num_default);
        return false;
    }
    vq->num = num;
    return true;
}

static bool area_fits(uint64_t addr, uint64_t len, unsigned align)
{
    return addr % align == 0 && addr <= UINT64_MAX - len;
}

bool virtqueue_areas_fit(const VirtQueue *vq)
{
    const RingOps *ring = vq_ring(vq);

    return area_fits(vq->desc, ring->desc_len(vq), ring->desc_align) &&
           area_fits(vq->driver, ring->driver_len(vq), ring->driver_align) &&
           area_fits(vq->device, ring->device_len(vq), ring->device_align);
}

void virtio_queue_enable(VirtQueue *vq, uint64_t desc, uint64_t driver, uint64_t device)
{
    if (vq->ready) {
        return;
    }
    vq->desc = desc;
    vq->driver = driver;
    vq->device = device;
    if (!virtqueue_areas_fit(vq)) {
        virtio_error(vq->vdev, "queue %u: areas at 0x%" PRIx64 ", 0x%" PRIx64 ", 0x%" PRIx64
                     " are misaligned or past the end of memory", vq->index, desc, driver, device);
        return;
    }
    virtio_hold(vq->vdev);
    virtqueue_map(vq);
    vq->ready = true;
    virtio_release(vq->vdev);
    if (vq->vdev->started) {
        virtio_notify_sync(vq->vdev);
    }
}

void virtio_queue_set_legacy(VirtQueue *vq, uint64_t addr)
{
    virtio_hold(vq->vdev);
    if (vq->in_flight) {
        virtio_error(vq->vdev, "queue %u: moved while %u requests are in flight", vq->index,
                     vq->in_flight);
    } else {
        /* [VIRTIO1.2 2.7.2] */
        vq->desc = addr;
        vq->driver = addr + 16ull * vq->num;
        vq->device = align_up(vq->driver + 6 + 2ull * vq->num, vq->align);
        vq->ready = addr && virtqueue_areas_fit(vq);
        virtqueue_map(vq);
    }
    virtio_release(vq->vdev);
    if (vq->vdev->started) {
        virtio_notify_sync(vq->vdev);
    }
}

static void reset_queue_now(VirtQueue *vq)
{
    VirtioDevice *vdev = vq->vdev;

    virtio_pause(vdev);
    virtio_info(vdev)->queue_reset(vdev, vq);
    virtqueue_clear(vq);
    virtio_notify_sync(vdev);
    virtio_go_on(vdev);
}

void virtio_queue_reset(VirtQueue *vq)
{
    VirtioDevice *vdev = vq->vdev;

    if (!(vdev->guest_features & BIT64(VIRTIO_F_RING_RESET))) {
        log_guest_error("%s: reset of queue %u, which was not negotiated\n", name_of(vdev),
                        vq->index);
    } else if (may_wait_here() || (!vdev->loop && !any_in_flight(vdev))) {
        reset_queue_now(vq);
    } else {
        vq->resetting = true;         /* the other queues go on: only the main loop can wait for theirs */
        bh_schedule(vdev->reset_bh);
    }
}

static void reset_waited(void *opaque)
{
    VirtioDevice *vdev = opaque;

    if (vdev->resetting) {
        virtio_reset(vdev);
        return;
    }
    for (unsigned i = 0; i < vdev->num_queues; i++) {
        if (vdev->queues[i]->resetting) {
            reset_queue_now(vdev->queues[i]);
        }
    }
}

/* ---- loops ---- */

void virtio_hold(VirtioDevice *vdev)
{
    if (vdev->loop) {
        event_loop_park(vdev->loop);
    }
}

void virtio_release(VirtioDevice *vdev)
{
    if (vdev->loop) {
        event_loop_unpark(vdev->loop);
    }
}

void virtio_pause(VirtioDevice *vdev)
{
    virtio_hold(vdev);
    vdev->paused = true;
    virtio_release(vdev);
}

void virtio_go_on(VirtioDevice *vdev)
{
    virtio_hold(vdev);
    vdev->paused = false;
    virtio_release(vdev);
    for (unsigned i = 0; i < vdev->num_queues; i++) {
        if (vdev->queues[i]->ready) {
            bh_schedule(vdev->queues[i]->kick_bh);     /* what came meanwhile */
        }
    }
}

void virtio_set_loop(VirtioDevice *vdev, EventLoop *loop)
{
    virtio_hold(vdev);
    for (unsigned i = 0; i < vdev->num_queues; i++) {
        g_assert(!vdev->queues[i]->in_flight);
        virtqueue_set_loop(vdev->queues[i], loop);
    }
    virtio_release(vdev);
    vdev->loop = loop;
}

/* ---- life ---- */

void virtio_setup(VirtioDevice *vdev, size_t config_len)
{
    vdev->config_len = config_len;
    vdev->config = g_malloc0(config_len);
    vdev->queues = g_new0(VirtQueue *, VIRTIO_QUEUE_MAX);
    vdev->num_queues = 0;
    vdev->config_vector = VIRTIO_NO_VECTOR;
    vdev->error_bh = bh_new(event_loop_main(), tell_error, vdev);
    vdev->reset_bh = bh_new(event_loop_main(), reset_waited, vdev);
}

void virtio_cleanup(VirtioDevice *vdev)
{
    virtio_reset(vdev);
    virtio_set_loop(vdev, NULL);
    for (unsigned i = 0; i < vdev->num_queues; i++) {
        virtqueue_free(vdev->queues[i]);
    }
    vdev->num_queues = 0;
    g_clear_pointer(&vdev->queues, g_free);
    g_clear_pointer(&vdev->config, g_free);
    g_clear_pointer(&vdev->error_bh, bh_free);
    g_clear_pointer(&vdev->reset_bh, bh_free);
}

void virtio_connect(VirtioDevice *vdev)
{
    const VirtioInfo *info = virtio_info(vdev);

    if (!info->queue_reset) {
        vdev->host_features &= ~BIT64(VIRTIO_F_RING_RESET);
    }
    vdev->host_features |= BIT64(VIRTIO_F_BAD_FEATURE);
    if (info->features) {
        vdev->host_features = info->features(vdev, vdev->host_features);
    }
    config_fetch(vdev);
}

static bool virtio_attach(Bus *bus, Device *dev, GError **error)
{
    VirtioDevice *vdev = DEVICE_CAST(VirtioDevice, dev);

    const VirtioTransport *transport = bus->data;

    if (transport->plugged && dev->hotplugged) {
        return error_set(error, "Bus '%s' does not support hotplugging: give the device on the command line",
                         bus->obj.name);
    }
    vdev->proxy = bus->owner;
    vdev->transport = transport;
    return true;
}

static void virtio_plugged(Bus *bus, Device *dev)
{
    VirtioDevice *vdev = DEVICE_CAST(VirtioDevice, dev);

    if (vdev->transport->plugged) {
        vdev->transport->plugged(vdev->proxy, vdev);
    }
}

static void virtio_detach(Bus *bus, Device *dev)
{
    VirtioDevice *vdev = DEVICE_CAST(VirtioDevice, dev);

    if (vdev->transport->unplugged) {
        vdev->transport->unplugged(vdev->proxy);
    }
    vdev->transport = NULL;
}

static char *virtio_dev_path(Device *dev)
{
    Device *proxy = dev->bus->owner;

    return proxy->bus && proxy->bus->type->dev_path ? proxy->bus->type->dev_path(proxy) : NULL;
}

static void virtio_reset_hold(Device *dev)
{
    virtio_reset(DEVICE_CAST(VirtioDevice, dev));
}

const BusType bus_virtio = {
    .name = "virtio-bus",
    .device_type = "virtio-device",
    .max_devices = 1,
    .attach = virtio_attach,
    .plugged = virtio_plugged,
    .detach = virtio_detach,
    .dev_path = virtio_dev_path,
};

/* clang-format off */
#define FEATURE(n, f, d) PROP_BIT64(n, VirtioDevice, host_features, f, d, .help = "on/off")
static const PropDef virtio_props[] = {
    FEATURE("indirect_desc", VIRTIO_F_INDIRECT_DESC, true),
    FEATURE("event_idx", VIRTIO_F_EVENT_IDX, true),
    FEATURE("notify_on_empty", VIRTIO_F_NOTIFY_ON_EMPTY, true),
    FEATURE("any_layout", VIRTIO_F_ANY_LAYOUT, true),
    FEATURE("packed", VIRTIO_F_RING_PACKED, false),
    FEATURE("queue_reset", VIRTIO_F_RING_RESET, true),
    PROP_END
};
/* clang-format on */

static const DeviceType virtio_device_type = {
    .name = "virtio-device", .abstract = true, .size = sizeof(VirtioDevice),
    .bus = &bus_virtio, .props = virtio_props, .reset_hold = virtio_reset_hold,
};
TYPE_ROW(virtio_device, &virtio_device_type, "device");
