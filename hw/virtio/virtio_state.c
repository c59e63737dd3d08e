/* SPDX-License-Identifier: MIT */
/*
 * The state of virtio devices on the wire.  QEMU's descriptions call it one field, "virtio", without
 * saying what is in it; this is what a QEMU 7.2 writes, as its streams show:
 *
 *     the transport's configuration (virtio_pci.c), status, isr, queue_sel be16, features be32 (low),
 *     length be32 and bytes of the configuration, number of queues be32, and for each
 *         num be32, alignment be32 (legacy transports), desc be64, last_avail be16, vector
 *     what the device model wrote itself, its tables, and the subsections of "virtio" below
 *
 * Locking: machine lock, VM stopped.
 */
#include "hw/virtio/virtio_int.h"

/* ---- rings after a load: the indexes in memory say what the state does not ---- */

bool virtqueue_restore(VirtQueue *vq, GError **error)
{
    RCU_READ_SCOPE();
    bool packed = vq_ring(vq) == &packed_ring;

    vq->ready = vq->desc != 0;
    virtqueue_map(vq);
    vq->signalled_valid = false;
    vq->notification = true;
    if (packed && (vq->last_avail >= vq->num || vq->used_idx >= vq->num)) {
        return error_set(error, "queue %u stands at %u and %u of %u descriptors", vq->index,
                         vq->last_avail, vq->used_idx, vq->num);
    }
    if (vq->ready && !virtqueue_areas_fit(vq)) {
        return error_set(error, "queue %u has misaligned areas", vq->index);
    }
    if (!vq->ready || packed) {
        return true;
    }
    vq->shadow_avail = vq->last_avail;
    vq->used_idx = vq->last_avail - vq->in_flight;
    if (dma_window_host(&vq->device_w)) {
        vq->used_idx = le16_load(vq->device_w.host + 2);
    }
    if ((uint16_t)(vq->last_avail - vq->used_idx) > vq->num) {
        /* The driver's doing, not the state's: the index is in its memory. */
        virtio_error(vq->vdev, "queue %u of %u took requests up to %u and gave back %u", vq->index,
                     vq->num, vq->last_avail, vq->used_idx);
    }
    return true;
}

/* ---- requests in flight ---- */

/* A C struct of QEMU's as it was in memory: three u32, padding, then for 1024 pieces each way the
 * guest's addresses and the host's iovecs, of which only the lengths mean something. */
enum { ELEM_PIECES = 1024, ELEM_HEAD = 16, ELEM_IOVEC = 16 };

static void put_pieces(VmWriter *w, const DmaSg *sg, bool addresses)
{
    for (unsigned i = 0; i < ELEM_PIECES; i++) {
        uint64_t len = 0, addr = i < dma_sg_parts(sg) ? dma_sg_part(sg, i, &len) : 0;
        uint8_t bytes[ELEM_IOVEC] = { 0 };

        le64_store(bytes, addresses ? addr : 0);
        le64_store(bytes + 8, len);
        vm_put_bytes(w, bytes, addresses ? 8 : ELEM_IOVEC);
    }
}

static bool offers_packed(const void *obj)
{
    return ((const VirtioDevice *)obj)->host_features >> VIRTIO_F_RING_PACKED & 1;
}

void virtqueue_save_elem(VmWriter *w, const VirtioElem *e)
{
    uint8_t head[ELEM_HEAD] = { 0 };

    le32_store(head, e->head);
    le32_store(head + 4, dma_sg_parts(&e->out_sg));
    le32_store(head + 8, dma_sg_parts(&e->in_sg));
    vm_put_bytes(w, head, sizeof(head));
    put_pieces(w, &e->in_sg, true);
    put_pieces(w, &e->out_sg, true);
    put_pieces(w, &e->in_sg, false);
    put_pieces(w, &e->out_sg, false);
    if (offers_packed(e->vq->vdev)) {
        vm_put_be32(w, e->slots);
    }
}

static bool add_pieces(VirtQueue *vq, VirtioElem *e, uint32_t count, const uint8_t *addrs,
                       const uint8_t *iovecs, uint16_t flags, GError **error)
{
    for (uint32_t i = 0; i < count; i++) {
        uint64_t len = le64_load(iovecs + ELEM_IOVEC * i + 8);
        Desc d = { le64_load(addrs + 8 * i), (uint32_t)len, flags };

        if (len > UINT32_MAX || !virtqueue_add_buffer(vq, e, &d)) {
            return error_set(error, "a request of queue %u has a buffer that cannot be", vq->index);
        }
    }
    return true;
}

void *virtqueue_load_elem(VirtQueue *vq, VmReader *r, GError **error)
{
    const size_t addrs = 8 * ELEM_PIECES, iovecs = ELEM_IOVEC * ELEM_PIECES;
    g_autofree uint8_t *raw = g_malloc(ELEM_HEAD + 2 * (addrs + iovecs));
    VirtioElem *e;
    uint32_t out, in, slots = 1;

    vm_get_bytes(r, raw, ELEM_HEAD + 2 * (addrs + iovecs));
    if (offers_packed(vq->vdev)) {
        slots = vm_get_be32(r);
    }
    out = le32_load(raw + 4);
    in = le32_load(raw + 8);
    if (vm_reader_failed(r) || le32_load(raw) > UINT16_MAX || out > ELEM_PIECES ||
        in > ELEM_PIECES || slots < 1 || slots > vq->num || vq->in_flight >= vq->num) {
        error_set(error, "queue %u of %u: a request with head %u, %u + %u buffers, %u descriptors",
                  vq->index, vq->num, le32_load(raw), out, in, slots);
        return NULL;
    }
    e = virtqueue_elem_take(vq);
    e->head = le32_load(raw);
    e->slots = slots;
    if (!add_pieces(vq, e, out, raw + ELEM_HEAD + addrs,
                    raw + ELEM_HEAD + 2 * addrs + iovecs, 0, error) ||
        !add_pieces(vq, e, in, raw + ELEM_HEAD, raw + ELEM_HEAD + 2 * addrs, DESC_WRITE, error)) {
        virtqueue_elem_finish(e);
        return NULL;
    }
    virtqueue_elem_enlist(vq, e);
    return e;
}

/* ---- subsections ---- */

static const VmField features_fields[] = { VMS_U64(VirtioDevice, guest_features), VMS_END };
static const VmStateDesc state_features = {
    .name = "virtio/64bit_features", .version = 1, .minimum = 1, .fields = features_fields,
};

enum { ZEROES = 1024 };

/* The wire has rows for VIRTIO_QUEUE_MAX queues, of which a device has HAVE. */
static void put_no_queues(VmWriter *w, unsigned have, size_t row_len)
{
    static const uint8_t zeroes[ZEROES];

    for (size_t left = (VIRTIO_QUEUE_MAX - have) * row_len; left > 0;) {
        size_t n = MIN(left, ZEROES);

        vm_put_bytes(w, zeroes, n);
        left -= n;
    }
}

static bool skip_no_queues(VmReader *r, unsigned have, size_t row_len)
{
    uint8_t ignored[ZEROES];

    for (size_t left = (VIRTIO_QUEUE_MAX - have) * row_len; left > 0;) {
        size_t n = MIN(left, ZEROES);

        if (!vm_get_bytes(r, ignored, n)) {
            return false;
        }
        left -= n;
    }
    return true;
}

#define SETUP_ROW(flag_bytes) (2 + (flag_bytes) + 6 * 4)

static void put_pair(VmWriter *w, const uint32_t halves[2])
{
    vm_put_be32(w, halves[0]);
    vm_put_be32(w, halves[1]);
}

static void get_pair(VmReader *r, uint32_t halves[2])
{
    halves[0] = vm_get_be32(r);
    halves[1] = vm_get_be32(r);
}

void virtio_put_setups(VmWriter *w, const VirtioDevice *vdev, const VirtioQueueSetup *setups, unsigned flag_bytes)
{
    for (unsigned i = 0; i < vdev->num_queues; i++) {
        vm_put_be16(w, setups[i].num);
        if (flag_bytes == 1) {
            vm_put_u8(w, setups[i].enabled);
        } else {
            vm_put_be16(w, setups[i].enabled);
        }
        put_pair(w, setups[i].desc);
        put_pair(w, setups[i].driver);
        put_pair(w, setups[i].device);
    }
    put_no_queues(w, vdev->num_queues, SETUP_ROW(flag_bytes));
}

bool virtio_get_setups(VmReader *r, const VirtioDevice *vdev, VirtioQueueSetup *setups, unsigned flag_bytes,
                       GError **error)
{
    for (unsigned i = 0; i < vdev->num_queues; i++) {
        setups[i].num = vm_get_be16(r);
        setups[i].enabled = (flag_bytes == 1 ? vm_get_u8(r) : vm_get_be16(r)) & 1;
        get_pair(r, setups[i].desc);
        get_pair(r, setups[i].driver);
        get_pair(r, setups[i].device);
    }
    return skip_no_queues(r, vdev->num_queues, SETUP_ROW(flag_bytes)) ||
           error_set(error, "the state ends inside the queues");
}

/* One column of all the queues there may be: arrays of VIRTIO_QUEUE_MAX rows on the wire. */
#define QUEUE_COLUMN(id, row_len, put_one, get_one)                                        \
    static void id##_put(VmWriter *w, const void *field, const VmField *def)               \
    {                                                                                      \
        const VirtioDevice *vdev = field;                                                  \
        for (unsigned i = 0; i < vdev->num_queues; i++) {                                  \
            const VirtQueue *vq = vdev->queues[i];                                         \
            put_one;                                                                       \
        }                                                                                  \
        put_no_queues(w, vdev->num_queues, row_len);                                       \
    }                                                                                      \
    static bool id##_get(VmReader *r, void *field, const VmField *def, GError **error)     \
    {                                                                                      \
        VirtioDevice *vdev = field;                                                        \
        for (unsigned i = 0; i < vdev->num_queues; i++) {                                  \
            VirtQueue *vq = vdev->queues[i];                                               \
            get_one;                                                                       \
        }                                                                                  \
        return skip_no_queues(r, vdev->num_queues, row_len) ||                             \
               error_set(error, "the state ends inside the queues");                       \
    }                                                                                      \
    static const VmField id##_fields[] = {                                                 \
        { .name = "vq", .kind = VM_CUSTOM, .wire_type = "virtqueue state", .get = id##_get,\
          .put = id##_put },                                                               \
        VMS_END                                                                            \
    }

QUEUE_COLUMN(areas, 16, (vm_put_be64(w, vq->driver), vm_put_be64(w, vq->device)),
             (vq->driver = vm_get_be64(r), vq->device = vm_get_be64(r)));
QUEUE_COLUMN(sizes, 4, vm_put_be32(w, vq->num_default),
             if (vm_get_be32(r) != vq->num_default) {
                 return error_set(error, "queue %u has another size here than in the state", i);
             });
QUEUE_COLUMN(packed, 10, (vm_put_be16(w, vq->last_avail), vm_put_u8(w, vq->last_wrap),
                          vm_put_be16(w, vq->used_idx), vm_put_u8(w, vq->used_wrap),
                          vm_put_be32(w, vq->slots_used)),
             (vq->last_avail = vm_get_be16(r), vq->last_wrap = vm_get_u8(r),
              vq->used_idx = vm_get_be16(r), vq->used_wrap = vm_get_u8(r), vm_get_be32(r)));

static bool is_modern(const void *obj)
{
    return ((const VirtioDevice *)obj)->host_features >> VIRTIO_F_VERSION_1 & 1;
}

static const VmStateDesc state_areas = {
    .name = "virtio/virtqueues", .version = 1, .minimum = 1, .fields = areas_fields,
    .needed = is_modern,
};

static bool sizes_differ(const void *obj)
{
    const VirtioDevice *vdev = obj;

    for (unsigned i = 0; i < vdev->num_queues; i++) {
        if (vdev->queues[i]->num != vdev->queues[i]->num_default) {
            return true;
        }
    }
    return false;
}

static const VmStateDesc state_sizes = {
    .name = "virtio/ringsize", .version = 1, .minimum = 1, .fields = sizes_fields,
    .needed = sizes_differ,
};

static bool is_broken(const void *obj)
{
    return ((const VirtioDevice *)obj)->broken;
}

static const VmField broken_fields[] = { VMS_BOOL(VirtioDevice, broken), VMS_END };
static const VmStateDesc state_broken = {
    .name = "virtio/broken", .version = 1, .minimum = 1, .fields = broken_fields,
    .needed = is_broken,
};

static bool has_extra(const void *obj)
{
    return ((const VirtioDevice *)obj)->transport->extra_state != NULL;
}

static bool extra_get(VmReader *r, void *field, const VmField *def, GError **error)
{
    VirtioDevice *vdev = field;
    const VmStateDesc *desc = vdev->transport->extra_state;

    return vmstate_load(r, desc, vdev->proxy, desc->version, error);
}

static void extra_put(VmWriter *w, const void *field, const VmField *def)
{
    const VirtioDevice *vdev = field;

    vmstate_save(w, vdev->transport->extra_state, vdev->proxy, NULL);
}

static const VmField extra_fields[] = {
    { .name = "extra_state", .kind = VM_CUSTOM, .wire_type = "virtio extra state",
      .get = extra_get, .put = extra_put },
    VMS_END
};
static const VmStateDesc state_extra = {
    .name = "virtio/extra_state", .version = 1, .minimum = 1, .fields = extra_fields,
    .needed = has_extra,
};

static bool is_started(const void *obj)
{
    return ((const VirtioDevice *)obj)->started;
}

static const VmField started_fields[] = { VMS_BOOL(VirtioDevice, started), VMS_END };
static const VmStateDesc state_started = {
    .name = "virtio/started", .version = 1, .minimum = 1, .fields = started_fields,
    .needed = is_started,
};

static const VmStateDesc state_packed = {
    .name = "virtio/packed_virtqueues", .version = 1, .minimum = 1, .fields = packed_fields,
    .needed = offers_packed,
};

static bool is_disabled(const void *obj)
{
    return ((const VirtioDevice *)obj)->disabled;
}

static const VmField disabled_fields[] = { VMS_BOOL(VirtioDevice, disabled), VMS_END };
static const VmStateDesc state_disabled = {
    .name = "virtio/disabled", .version = 1, .minimum = 1, .fields = disabled_fields,
    .needed = is_disabled,
};

static const VmField no_fields[] = { VMS_END };
static const VmStateDesc virtio_subsections = {
    .name = "virtio", .version = 1, .minimum = 1, .fields = no_fields,
    .subsections = (const VmStateDesc *const[]){
        &state_features, &state_areas, &state_sizes, &state_broken, &state_extra, &state_started,
        &state_packed, &state_disabled, NULL },
};

/* ---- the body ---- */

static unsigned saved_queues(const VirtioDevice *vdev)
{
    unsigned n = 0;

    while (n < vdev->num_queues && vdev->queues[n]->num) {
        n++;
    }
    return n;
}

static void virtio_put(VmWriter *w, const void *field, const VmField *def)
{
    VirtioDevice *vdev = (VirtioDevice *)(uintptr_t)field;
    const VirtioTransport *t = vdev->transport;
    const VirtioInfo *info = virtio_info(vdev);
    unsigned queues = saved_queues(vdev);

    t->save_config(vdev->proxy, w);
    vm_put_u8(w, vdev->status);
    vm_put_u8(w, vdev->isr);
    vm_put_be16(w, vdev->queue_sel);
    vm_put_be32(w, (uint32_t)vdev->guest_features);
    vm_put_be32(w, (uint32_t)vdev->config_len);
    vm_put_bytes(w, vdev->config, vdev->config_len);
    vm_put_be32(w, queues);
    for (unsigned i = 0; i < queues; i++) {
        const VirtQueue *vq = vdev->queues[i];

        vm_put_be32(w, vq->num);
        if (t->legacy_align) {
            vm_put_be32(w, vq->align);
        }
        vm_put_be64(w, vq->desc);
        vm_put_be16(w, vq->last_avail);
        t->save_queue(vdev->proxy, i, w);
    }
    if (info->save) {
        info->save(vdev, w);
    }
    if (info->state) {
        vmstate_save(w, info->state, vdev, NULL);
    }
    vmstate_save(w, &virtio_subsections, vdev, NULL);
}

static bool queue_get(VmReader *r, VirtQueue *vq, GError **error)
{
    const VirtioTransport *t = vq->vdev->transport;
    uint32_t num = vm_get_be32(r), align = t->legacy_align ? vm_get_be32(r) : 4096;

    vq->desc = vm_get_be64(r);
    vq->last_avail = vm_get_be16(r);
    if (num > VIRTQUEUE_SIZE_MAX || num == 0 || !is_pow2(align) || align > MIB) {
        return error_set(error, "queue %u has %u descriptors, aligned to %u", vq->index, num, align);
    }
    vq->num = num;
    vq->align = align;
    if (vq->desc) {
        virtio_queue_set_legacy(vq, vq->desc);        /* a modern driver's come later */
    }
    return t->load_queue(vq->vdev->proxy, vq->index, r, error);
}

static bool config_get(VmReader *r, VirtioDevice *vdev, GError **error)
{
    uint32_t len = vm_get_be32(r);
    g_autofree uint8_t *config = NULL;

    if (len > 64 * KIB) {
        return error_set(error, "a configuration of %u bytes", len);
    }
    config = g_malloc0(len + 1);
    if (!vm_get_bytes(r, config, len)) {
        return error_set(error, "the state ends inside the configuration");
    }
    memcpy(vdev->config, config, MIN(len, vdev->config_len));
    if (virtio_info(vdev)->config_load) {
        virtio_info(vdev)->config_load(vdev, vdev->config);
    }
    return true;
}

static bool body_get(VmReader *r, VirtioDevice *vdev, GError **error)
{
    const VirtioInfo *info = virtio_info(vdev);
    uint32_t queues;

    if (!vdev->transport->load_config(vdev->proxy, r, error)) {
        return false;
    }
    vdev->status = vm_get_u8(r);
    vdev->isr = vm_get_u8(r);
    vdev->queue_sel = vm_get_be16(r);
    vdev->guest_features = vm_get_be32(r) & vdev->host_features;
    if (!config_get(r, vdev, error)) {
        return false;
    }
    queues = vm_get_be32(r);
    if (queues > vdev->num_queues) {
        return error_set(error, "%u queues in the state, %u in this device", queues,
                         vdev->num_queues);
    }
    for (unsigned i = 0; i < queues; i++) {
        if (!queue_get(r, vdev->queues[i], error)) {
            return false;
        }
    }
    vdev->started = vdev->status & VIRTIO_STATUS_DRIVER_OK;
    if (info->load && !info->load(vdev, r, error)) {
        return false;
    }
    return (!info->state ||
            vmstate_load(r, info->state, vdev, info->state->version, error)) &&
           vmstate_load(r, &virtio_subsections, vdev, 1, error);
}

static bool virtio_get(VmReader *r, void *field, const VmField *def, GError **error)
{
    VirtioDevice *vdev = field;

    virtio_reset(vdev);
    if (!body_get(r, vdev, error)) {
        return false;
    }
    vdev->guest_features &= vdev->host_features;
    for (unsigned i = 0; i < vdev->num_queues; i++) {
        if (!virtqueue_restore(vdev->queues[i], error)) {
            return false;
        }
    }
    if (virtio_info(vdev)->features_set) {
        virtio_info(vdev)->features_set(vdev);
    }
    virtio_notify_sync(vdev);
    if (virtio_info(vdev)->loaded) {
        virtio_info(vdev)->loaded(vdev);
    }
    return true;
}

const VmField virtio_state_fields[] = {
    { .name = "virtio", .kind = VM_CUSTOM, .wire_type = "virtio", .get = virtio_get,
      .put = virtio_put },
    VMS_END
};
