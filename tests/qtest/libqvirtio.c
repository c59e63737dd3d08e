/* SPDX-License-Identifier: MIT */
/* The driver's half of virtio over PCI: registers old and new, split and packed rings.  [VIRTIO1.1 2, 4.1] */
#include "tests/qtest/libqvirtio.h"

enum { NEXT = 1, WRITE = 2, INDIRECT = 4, AVAIL = 1 << 7, USED = 1 << 15 };
enum { ROOM = 0x8000, DRIVER_AT = 0x4000, DEVICE_AT = 0x6000 };

/* ---- registers ---- */

void qvirtio_enable(Qvirtio *v)
{
    qtest_pci_writel(v->q, v->devfn, 0x10, QVIRTIO_IO);
    qtest_pci_writel(v->q, v->devfn, 0x14, QVIRTIO_MSIX);
    qtest_pci_writel(v->q, v->devfn, 0x20, QVIRTIO_BAR);
    qtest_pci_writel(v->q, v->devfn, 0x24, 0);
    qtest_pci_writew(v->q, v->devfn, 0x04, 7);
}

uint64_t qvirtio_offered(Qvirtio *v)
{
    uint64_t low;

    if (v->legacy) {
        return qtest_inl(v->q, QVIRTIO_IO);
    }
    qtest_writel(v->q, QVIRTIO_BAR, 0);
    low = qtest_readl(v->q, QVIRTIO_BAR + 4);
    qtest_writel(v->q, QVIRTIO_BAR, 1);
    return low | (uint64_t)qtest_readl(v->q, QVIRTIO_BAR + 4) << 32;
}

static void accept_features(Qvirtio *v)
{
    v->features = v->wanted & qvirtio_offered(v);
    if (v->legacy) {
        qtest_outl(v->q, QVIRTIO_IO + 4, (uint32_t)v->features);
        return;
    }
    for (unsigned i = 0; i < 2; i++) {
        qtest_writel(v->q, QVIRTIO_BAR + 8, i);
        qtest_writel(v->q, QVIRTIO_BAR + 0xc, (uint32_t)(v->features >> (32 * i)));
    }
    qvirtio_set_status(v, 11);
    g_assert_cmphex(qvirtio_status(v), ==, 11);
}

uint8_t qvirtio_status(Qvirtio *v)
{
    return v->legacy ? qtest_inb(v->q, QVIRTIO_IO + 0x12) : qtest_readb(v->q, QVIRTIO_BAR + 0x14);
}

void qvirtio_set_status(Qvirtio *v, uint8_t status)
{
    if (v->legacy) {
        qtest_outb(v->q, QVIRTIO_IO + 0x12, status);
    } else {
        qtest_writeb(v->q, QVIRTIO_BAR + 0x14, status);
    }
    for (unsigned i = 0; !status && qvirtio_status(v); i++) {
        g_assert_cmpuint(i, <, 1000000);
    }
}

uint8_t qvirtio_isr(Qvirtio *v)
{
    return v->legacy ? qtest_inb(v->q, QVIRTIO_IO + 0x13)
                     : qtest_readb(v->q, QVIRTIO_BAR + QVIRTIO_ISR);
}

static unsigned legacy_config(const Qvirtio *v)
{
    return QVIRTIO_IO + (v->msix ? 24 : 20);
}

uint64_t qvirtio_config(Qvirtio *v, unsigned offset, unsigned size)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < size; i++) {
        uint64_t byte = v->legacy ? qtest_inb(v->q, (uint16_t)(legacy_config(v) + offset + i))
                                  : qtest_readb(v->q, QVIRTIO_BAR + QVIRTIO_CONFIG + offset + i);

        value |= byte << (8 * i);
    }
    return value;
}

void qvirtio_set_config(Qvirtio *v, unsigned offset, uint8_t value)
{
    if (v->legacy) {
        qtest_outb(v->q, (uint16_t)(legacy_config(v) + offset), value);
    } else {
        qtest_writeb(v->q, QVIRTIO_BAR + QVIRTIO_CONFIG + offset, value);
    }
}

static void set_vectors(Qvirtio *v, unsigned n)
{
    if (v->legacy) {
        qtest_outw(v->q, QVIRTIO_IO + 0x14, 0);
        qtest_outw(v->q, QVIRTIO_IO + 0x16, (uint16_t)(n + 1));
        g_assert_cmphex(qtest_inw(v->q, QVIRTIO_IO + 0x16), ==, n + 1);
    } else {
        qtest_writew(v->q, QVIRTIO_BAR + 0x10, 0);
        qtest_writew(v->q, QVIRTIO_BAR + 0x1a, (uint16_t)(n + 1));
        g_assert_cmphex(qtest_readw(v->q, QVIRTIO_BAR + 0x1a), ==, n + 1);
    }
}

void qvirtio_queue_start(Qvirtio *v, unsigned n, unsigned size)
{
    QvirtioQueue *vq = &v->queues[n];
    uint64_t base = QVIRTIO_RINGS + n * 2ull * QVIRTIO_RING_STEP;
    const uint64_t areas[] = { base, base + DRIVER_AT, base + DEVICE_AT };

    *vq = (QvirtioQueue){ .num = size, .wrap = true, .used_wrap = true, .desc = areas[0],
                          .driver = areas[1], .device = areas[2],
                          .table = base + QVIRTIO_RING_STEP };
    qtest_memset(v->q, base, 0, ROOM);
    if (v->legacy) {
        qtest_outw(v->q, QVIRTIO_IO + 0xe, (uint16_t)n);
        vq->num = qtest_inw(v->q, QVIRTIO_IO + 0xc);
        vq->driver = base + 16ull * vq->num;
        vq->device = (vq->driver + 6 + 2ull * vq->num + 4095) & ~4095ull;
        qtest_outl(v->q, QVIRTIO_IO + 8, (uint32_t)(base >> 12));
    } else {
        qtest_writew(v->q, QVIRTIO_BAR + 0x16, (uint16_t)n);
        qtest_writew(v->q, QVIRTIO_BAR + 0x18, (uint16_t)size);
        for (unsigned i = 0; i < 3; i++) {
            qtest_writel(v->q, QVIRTIO_BAR + 0x20 + 8 * i, (uint32_t)areas[i]);
            qtest_writel(v->q, QVIRTIO_BAR + 0x24 + 8 * i, (uint32_t)(areas[i] >> 32));
        }
        qtest_writew(v->q, QVIRTIO_BAR + 0x1c, 1);
    }
    if (v->msix) {
        set_vectors(v, n);
    }
}

void qvirtio_start(Qvirtio *v, unsigned queues, unsigned size)
{
    qvirtio_enable(v);
    if (v->msix) {
        /* Messages that land in memory, where the test sees them. */
        for (unsigned i = 0; i <= queues; i++) {
            qtest_writel(v->q, QVIRTIO_MSIX + 16 * i, 0x8000 + 4 * i);
            qtest_writel(v->q, QVIRTIO_MSIX + 16 * i + 4, 0);
            qtest_writel(v->q, QVIRTIO_MSIX + 16 * i + 8, 0x1000 + i);
            qtest_writel(v->q, QVIRTIO_MSIX + 16 * i + 12, 0);
        }
        qtest_pci_writew(v->q, v->devfn, v->legacy ? 0x42 : 0x9a, 0x8000);
    }
    qvirtio_set_status(v, 0);
    qvirtio_set_status(v, 3);
    accept_features(v);
    for (unsigned n = 0; n < queues; n++) {
        qvirtio_queue_start(v, n, size);
    }
    qvirtio_set_status(v, v->legacy ? 7 : 15);
}

/* ---- split rings ---- */

static void put_desc(Qvirtio *v, uint64_t at, uint64_t addr, uint32_t len, uint16_t a, uint16_t b)
{
    qtest_writeq(v->q, at, addr);
    qtest_writel(v->q, at + 8, len);
    qtest_writew(v->q, at + 12, a);
    qtest_writew(v->q, at + 14, b);
}

void qvirtio_desc(Qvirtio *v, unsigned n, unsigned i, uint64_t addr, uint32_t len, uint16_t flags,
                  uint16_t next)
{
    put_desc(v, v->queues[n].desc + 16ull * i, addr, len, flags, next);
}

void qvirtio_avail(Qvirtio *v, unsigned n, uint16_t head)
{
    QvirtioQueue *vq = &v->queues[n];

    qtest_writew(v->q, vq->driver + 4 + 2 * (vq->avail % vq->num), head);
    qtest_writew(v->q, vq->driver + 2, ++vq->avail);
}

static uint16_t buf_flags(const QvirtioBuf *b)
{
    return b->in ? WRITE : 0;
}

static void add_split(Qvirtio *v, unsigned n, const QvirtioBuf *bufs, unsigned count)
{
    QvirtioQueue *vq = &v->queues[n];
    bool indirect = v->features & F_INDIRECT;
    unsigned head = vq->next;

    for (unsigned i = 0; i < count; i++) {
        unsigned at = indirect ? i : (head + i) % vq->num;
        unsigned next = indirect ? i + 1 : (at + 1) % vq->num;

        put_desc(v, (indirect ? vq->table + 0x400 * head : vq->desc) + 16ull * at, bufs[i].addr,
                 bufs[i].len, buf_flags(&bufs[i]) | (i + 1 < count ? NEXT : 0), (uint16_t)next);
    }
    if (indirect) {
        qvirtio_desc(v, n, head, vq->table + 0x400 * head, 16 * count, INDIRECT, 0);
    }
    vq->next = (head + (indirect ? 1 : count)) % vq->num;
    qvirtio_avail(v, n, (uint16_t)head);
}

/* ---- packed rings ---- */

/* A flags word for the slot at vq->next, which it steps past. */
static uint64_t take_slot(QvirtioQueue *vq, uint16_t *flags)
{
    uint64_t at = vq->desc + 16ull * vq->next;

    *flags |= vq->wrap ? AVAIL : USED;
    if (++vq->next == vq->num) {
        vq->next = 0;
        vq->wrap = !vq->wrap;
    }
    return at;
}

static void add_packed(Qvirtio *v, unsigned n, const QvirtioBuf *bufs, unsigned count)
{
    QvirtioQueue *vq = &v->queues[n];
    bool indirect = v->features & F_INDIRECT;
    unsigned id = vq->next;
    uint64_t first = 0, at;
    uint16_t first_flags = 0, flags;

    vq->left = indirect ? 1 : count;
    for (unsigned i = 0; i < count; i++) {
        flags = buf_flags(&bufs[i]) | (!indirect && i + 1 < count ? NEXT : 0);
        at = indirect ? vq->table + 0x400 * id + 16ull * i : take_slot(vq, &flags);
        put_desc(v, at, bufs[i].addr, bufs[i].len, (uint16_t)id, i || indirect ? flags : 0);
        if (!i) {
            first = at;
            first_flags = flags;
        }
    }
    if (indirect) {
        first_flags = INDIRECT;
        first = take_slot(vq, &first_flags);
        put_desc(v, first, vq->table + 0x400 * id, 16 * count, (uint16_t)id, 0);
    }
    qtest_writew(v->q, first + 14, first_flags);     /* the first one last */
}

void qvirtio_add(Qvirtio *v, unsigned n, const QvirtioBuf *bufs, unsigned count)
{
    (v->features & F_PACKED ? add_packed : add_split)(v, n, bufs, count);
}

void qvirtio_kick(Qvirtio *v, unsigned n)
{
    if (v->legacy) {
        qtest_outw(v->q, QVIRTIO_IO + 0x10, (uint16_t)n);
    } else {
        qtest_writew(v->q, QVIRTIO_BAR + QVIRTIO_NOTIFY + 4 * n, (uint16_t)n);
    }
}

static bool poll_packed(Qvirtio *v, QvirtioQueue *vq, uint32_t *len)
{
    uint64_t at = vq->desc + 16ull * vq->last_used;
    uint16_t flags = qtest_readw(v->q, at + 14);

    if (!!(flags & USED) != vq->used_wrap || !!(flags & AVAIL) != vq->used_wrap) {
        return false;
    }
    *len = qtest_readl(v->q, at + 8);
    vq->last_used += vq->left;
    if (vq->last_used >= vq->num) {
        vq->last_used -= vq->num;
        vq->used_wrap = !vq->used_wrap;
    }
    return true;
}

bool qvirtio_poll(Qvirtio *v, unsigned n, uint32_t *len)
{
    QvirtioQueue *vq = &v->queues[n];

    if (v->features & F_PACKED) {
        return poll_packed(v, vq, len);
    }
    if (qtest_readw(v->q, vq->device + 2) == (uint16_t)vq->last_used) {
        return false;
    }
    *len = qtest_readl(v->q, vq->device + 4 + 8ull * (vq->last_used % vq->num) + 4);
    vq->last_used++;
    return true;
}

uint32_t qvirtio_wait(Qvirtio *v, unsigned n)
{
    uint32_t len = 0;

    for (unsigned i = 0; !qvirtio_poll(v, n, &len); i++) {
        if (i > 1000000) {
            g_error("no completion in queue %u", n);
        }
    }
    return len;
}
