/* SPDX-License-Identifier: MIT */
/* The NVMe controller on its board: admin and I/O queues, PRP and SGL, events, what a bad driver does. */
#include "tests/qtest/libqtest.h"

#include <string.h>

enum { FN = 0x20, BLOCKS = 2048, PAGE = 4096 };
enum { BAR = 0x40000000 };
/* Guest memory. */
enum { ASQ = 0x100000, ACQ = 0x101000, SQ1 = 0x102000, CQ1 = 0x104000, DATA = 0x200000, LIST = 0x300000,
       SHADOW = 0x310000, EVENTIDX = 0x311000, MSI = 0x320000 };
enum { ENTRIES = 16 };                      /* of each queue */
enum { DNR = 0x4000, DELETE_SQ = 0, CREATE_SQ = 1, GET_LOG = 2, DELETE_CQ = 4, CREATE_CQ = 5, IDENTIFY = 6,
       ABORT = 8, SET_FEATURES = 9, GET_FEATURES = 10, ASYNC_EVENT = 12, ATTACH = 0x15, DBBUF = 0x7c,
       FORMAT = 0x80 };
enum { FLUSH = 0, WRITE = 1, READ = 2, COMPARE = 5, ZEROES = 8, DSM = 9, VERIFY = 12, COPY = 25 };

typedef struct Queue {
    unsigned id, tail, head, phase, size;
    uint64_t sq, cq;
} Queue;

typedef struct Cmd {
    uint8_t op, flags;
    uint32_t nsid;
    uint64_t prp1, prp2;
    uint32_t dw10, dw11, dw12;
} Cmd;

typedef struct Done {
    uint32_t result;
    uint16_t cid, status, sqhd, sqid;
} Done;

static Queue admin, io;
static uint16_t next_cid;

static void submit_only(Qtest *q, Queue *queue, Cmd c)
{
    uint32_t sqe[16] = { c.op | (uint32_t)c.flags << 8 | (uint32_t)++next_cid << 16, c.nsid, 0, 0, 0, 0,
                         (uint32_t)c.prp1, (uint32_t)(c.prp1 >> 32), (uint32_t)c.prp2,
                         (uint32_t)(c.prp2 >> 32), c.dw10, c.dw11, c.dw12 };

    qtest_memwrite(q, queue->sq + 64 * queue->tail, sqe, sizeof(sqe));
    queue->tail = (queue->tail + 1) % queue->size;
}

static void ring(Qtest *q, Queue *queue)
{
    qtest_writel(q, BAR + 0x1000 + 8 * queue->id, queue->tail);
}

static bool poll(Qtest *q, Queue *queue, Done *done)
{
    uint32_t cqe[4];

    qtest_memread(q, queue->cq + 16 * queue->head, cqe, sizeof(cqe));
    if ((cqe[3] >> 16 & 1) != queue->phase) {
        return false;
    }
    *done = (Done){ cqe[0], (uint16_t)cqe[3], (uint16_t)(cqe[3] >> 17), (uint16_t)cqe[2],
                    (uint16_t)(cqe[2] >> 16) };
    if (++queue->head == queue->size) {
        queue->head = 0;
        queue->phase ^= 1;
    }
    return true;
}

/* The next completion; the queue's head is told. */
static Done wait_done(Qtest *q, Queue *queue)
{
    Done done;

    for (unsigned i = 0; !poll(q, queue, &done); i++) {
        if (i > 1000000) {
            g_error("no completion in queue %u", queue->id);
        }
    }
    qtest_writel(q, BAR + 0x1000 + 8 * queue->id + 4, queue->head);
    return done;
}

static Done run(Qtest *q, Queue *queue, Cmd c)
{
    Done done;

    submit_only(q, queue, c);
    ring(q, queue);
    done = wait_done(q, queue);
    g_assert_cmpuint(done.cid, ==, next_cid);
    g_assert_cmpuint(done.sqid, ==, queue->id);
    return done;
}

#define EXPECT(queue, status_, ...)                                                          \
    g_assert_cmphex(run(q, &(queue), (Cmd){ __VA_ARGS__ }).status, ==, (status_))

static void wait_ready(Qtest *q, uint32_t value)
{
    for (unsigned i = 0; (qtest_readl(q, BAR + 0x1c) & 1) != value; i++) {
        g_assert_cmpuint(i, <, 1000000);
    }
}

static void enable(Qtest *q)
{
    admin = (Queue){ 0, 0, 0, 1, ENTRIES, ASQ, ACQ };
    qtest_memset(q, ACQ, 0, PAGE);
    qtest_writel(q, BAR + 0x24, (ENTRIES - 1) << 16 | (ENTRIES - 1));
    qtest_writeq(q, BAR + 0x28, ASQ);
    qtest_writeq(q, BAR + 0x30, ACQ);
    qtest_writel(q, BAR + 0x14, 0x460001);
    wait_ready(q, 1);
    g_assert_cmphex(qtest_readl(q, BAR + 0x1c), ==, 1);
}

static void start(Qtest *q)
{
    qtest_pci_writel(q, FN, 0x10, BAR);
    qtest_pci_writel(q, FN, 0x14, 0);
    qtest_pci_writew(q, FN, 0x04, 6);
    enable(q);
}

static void make_io(Qtest *q)
{
    io = (Queue){ 1, 0, 0, 1, ENTRIES, SQ1, CQ1 };
    qtest_memset(q, CQ1, 0, PAGE);
    EXPECT(admin, 0, CREATE_CQ, .prp1 = CQ1, .dw10 = (ENTRIES - 1) << 16 | 1, .dw11 = 3);
    EXPECT(admin, 0, CREATE_SQ, .prp1 = SQ1, .dw10 = (ENTRIES - 1) << 16 | 1, .dw11 = 1 << 16 | 1);
}

static void start_io(Qtest *q)
{
    start(q);
    make_io(q);
}

static uint8_t disk_byte(uint64_t i)
{
    return (uint8_t)(i / 512 ^ i % 512);
}

static void expect_disk(Qtest *q, uint64_t addr, uint64_t from, unsigned len)
{
    g_autofree uint8_t *got = g_malloc(len);

    qtest_memread(q, addr, got, len);
    for (unsigned i = 0; i < len; i++) {
        if (got[i] != disk_byte(from + i)) {
            g_error("byte %u at 0x%" G_GINT64_MODIFIER "x" " is 0x%02x", i, addr, got[i]);
        }
    }
}

/* ---- registers and the admin queue ---- */

static void registers(Qtest *q)
{
    start(q);
    g_assert_cmphex(qtest_readl(q, BAR + 0x08), ==, 0x10400);
    g_assert_cmphex(qtest_readq(q, BAR), ==, 0x004018200f0107ff);
    g_assert_cmphex(qtest_pci_readl(q, FN, 0), ==, 0x00101b36);
    g_assert_cmphex(qtest_pci_readl(q, FN, 8), ==, 0x01080202);
    qtest_writel(q, BAR + 0x0c, 0x5);
    qtest_writel(q, BAR + 0x10, 0x1);
    g_assert_cmphex(qtest_readl(q, BAR + 0x0c), ==, 0x4);
    qtest_writel(q, BAR + 0x14, 0x460000);
    wait_ready(q, 0);
    g_assert_cmphex(qtest_readl(q, BAR + 0x0c), ==, 0);
    g_assert_cmphex(qtest_readq(q, BAR + 0x28), ==, ASQ);
    enable(q);
    qtest_writel(q, BAR + 0x14, 0x464001);                /* normal shutdown */
    while ((qtest_readl(q, BAR + 0x1c) & 0xc) != 8) {
    }
}

static void bad_configuration(Qtest *q)
{
    start(q);
    qtest_writel(q, BAR + 0x14, 0);
    wait_ready(q, 0);
    qtest_writel(q, BAR + 0x14, 0x460001 | 5 << 7);        /* pages of 128 KiB */
    g_assert_cmphex(qtest_readl(q, BAR + 0x1c), ==, 2);
    qtest_writel(q, BAR + 0x14, 0);
    g_assert_cmphex(qtest_readl(q, BAR + 0x1c), ==, 0);
    enable(q);
    EXPECT(admin, 0, IDENTIFY, .prp1 = DATA, .dw10 = 1);
}

static void identify(Qtest *q)
{
    char text[41] = "";

    start(q);
    EXPECT(admin, 0, IDENTIFY, .prp1 = DATA + 0x800, .prp2 = DATA + 0x5000, .dw10 = 1);
    qtest_memread(q, DATA + 0x804, text, 20);
    g_assert_cmpstr(g_strchomp(text), ==, "S42");
    qtest_memread(q, DATA + 0x818, text, 40);
    g_assert_cmpstr(g_strchomp(text), ==, "QEMU NVMe Ctrl");
    g_assert_cmphex(qtest_readw(q, DATA + 0x5000), ==, 0x9c4);    /* power state 0, at 2048 */
    EXPECT(admin, 0, IDENTIFY, 0, 1, DATA);
    g_assert_cmpuint(qtest_readq(q, DATA), ==, BLOCKS);
    g_assert_cmphex(qtest_readl(q, DATA + 128), ==, 9 << 16);
    EXPECT(admin, 0, IDENTIFY, .prp1 = DATA, .dw10 = 2);
    g_assert_cmphex(qtest_readq(q, DATA), ==, 1);
    EXPECT(admin, DNR | 0xb, IDENTIFY, 0, 0xffffffff, DATA);
    EXPECT(admin, DNR | 2, IDENTIFY, .prp1 = DATA, .dw10 = 0x99);
    EXPECT(admin, DNR | 1, 0x33, .prp1 = DATA);
    EXPECT(admin, DNR | 2, IDENTIFY, .flags = 0x40, .prp1 = DATA, .dw10 = 1);   /* an SGL */
}

static void features(Qtest *q)
{
    start(q);
    g_assert_cmphex(run(q, &admin, (Cmd){ SET_FEATURES, .dw10 = 7, .dw11 = 3 << 16 | 3 }).result, ==,
                    0x3f003f);
    EXPECT(admin, DNR | 2, SET_FEATURES, .dw10 = 7, .dw11 = 0xffff);
    g_assert_cmphex(run(q, &admin, (Cmd){ GET_FEATURES, .dw10 = 6 }).result, ==, 1);
    EXPECT(admin, 0, SET_FEATURES, .dw10 = 6, .dw11 = 0);
    g_assert_cmphex(run(q, &admin, (Cmd){ GET_FEATURES, .dw10 = 6 }).result, ==, 0);
    EXPECT(admin, DNR | 0x10d, SET_FEATURES, .dw10 = 6 | 1u << 31, .dw11 = 0);
    EXPECT(admin, DNR | 0x10e, SET_FEATURES, .dw10 = 1);
    EXPECT(admin, DNR | 0x10f, SET_FEATURES, 0, 1, .dw10 = 6);
    EXPECT(admin, DNR | 2, GET_FEATURES, .dw10 = 0x99);
    qtest_writeq(q, DATA, 1000);
    EXPECT(admin, 0, SET_FEATURES, .prp1 = DATA, .dw10 = 0xe);
    qtest_clock_step(q, 5 * 1000 * 1000);
    EXPECT(admin, 0, GET_FEATURES, .prp1 = DATA, .dw10 = 0xe);
    g_assert_cmphex(qtest_readq(q, DATA), ==, 1005 | 1ull << 49);
}

static void logs(Qtest *q)
{
    start_io(q);
    EXPECT(io, 0, READ, 0, 1, DATA, .dw10 = 0, .dw12 = 7);
    EXPECT(admin, 0, GET_LOG, 0, 0xffffffff, DATA, .dw10 = 2 | 127 << 16);
    g_assert_cmphex(qtest_readl(q, DATA) & 0xffffff, ==, 0x14300);    /* 50 degrees Celsius */
    g_assert_cmpuint(qtest_readq(q, DATA + 32), ==, 1);               /* a part of 1000 * 512 bytes */
    g_assert_cmpuint(qtest_readq(q, DATA + 64), ==, 1);
    EXPECT(admin, 0, GET_LOG, .prp1 = DATA, .dw10 = 3 | 15 << 16);
    g_assert_cmphex(qtest_readl(q, DATA + 8), ==, 0x20302e31);
    EXPECT(admin, 0, GET_LOG, .prp1 = DATA, .dw10 = 5 | 1023 << 16);
    g_assert_cmphex(qtest_readl(q, DATA + 4 * IDENTIFY) & 1, ==, 1);
    g_assert_cmphex(qtest_readl(q, DATA + 1024 + 4 * WRITE) & 3, ==, 3);
    g_assert_cmphex(qtest_readl(q, DATA + 1024 + 4 * 0x77), ==, 0);
    EXPECT(admin, DNR | 2, GET_LOG, .prp1 = DATA, .dw10 = 0xee | 15 << 16);
}

static void queue_errors(Qtest *q)
{
    start(q);
    EXPECT(admin, DNR | 0x100, CREATE_SQ, .prp1 = SQ1, .dw10 = 15 << 16 | 1, .dw11 = 5 << 16 | 1);
    EXPECT(admin, DNR | 0x101, CREATE_CQ, .prp1 = CQ1, .dw10 = 15 << 16 | 0, .dw11 = 3);
    EXPECT(admin, DNR | 0x101, CREATE_CQ, .prp1 = CQ1, .dw10 = 15 << 16 | 65, .dw11 = 3);
    EXPECT(admin, DNR | 0x102, CREATE_CQ, .prp1 = CQ1, .dw10 = 0 << 16 | 1, .dw11 = 3);
    EXPECT(admin, DNR | 0x102, CREATE_CQ, .prp1 = CQ1, .dw10 = 0x800u << 16 | 1, .dw11 = 3);
    EXPECT(admin, DNR | 0x13, CREATE_CQ, .prp1 = CQ1 + 8, .dw10 = 15 << 16 | 1, .dw11 = 3);
    EXPECT(admin, DNR | 0x2, CREATE_CQ, .prp1 = CQ1, .dw10 = 15 << 16 | 1, .dw11 = 2);
    EXPECT(admin, DNR | 0x108, CREATE_CQ, .prp1 = CQ1, .dw10 = 15 << 16 | 1, .dw11 = 99u << 16 | 3);
    make_io(q);
    EXPECT(admin, DNR | 0x101, CREATE_SQ, .prp1 = SQ1, .dw10 = 15 << 16 | 1, .dw11 = 1 << 16 | 1);
    EXPECT(admin, 0x10c, DELETE_CQ, .dw10 = 1);
    EXPECT(admin, DNR | 0x101, DELETE_SQ, .dw10 = 9);
    EXPECT(admin, DNR | 0x101, DELETE_SQ, .dw10 = 0);
    EXPECT(admin, 0, DELETE_SQ, .dw10 = 1);
    EXPECT(admin, 0, DELETE_CQ, .dw10 = 1);
    EXPECT(admin, DNR | 0x101, DELETE_CQ, .dw10 = 1);
    make_io(q);
    EXPECT(io, 0, READ, 0, 1, DATA, .dw10 = 5);
    g_assert_cmphex(run(q, &admin, (Cmd){ ABORT, .dw10 = 1 }).result, ==, 1);
}

/* ---- I/O ---- */

static void read_prp(Qtest *q)
{
    start_io(q);
    EXPECT(io, 0, READ, 0, 1, DATA, .dw10 = 9);                       /* one block */
    expect_disk(q, DATA, 9 * 512, 512);
    EXPECT(io, 0, READ, 0, 1, DATA + 0xe00, DATA + 0x3000, .dw10 = 3, .dw12 = 7);   /* over a page's end */
    expect_disk(q, DATA + 0xe00, 3 * 512, 512);
    expect_disk(q, DATA + 0x3000, 4 * 512, 7 * 512);
    /* A list: pages in reverse order. */
    for (unsigned i = 0; i < 31; i++) {
        qtest_writeq(q, LIST + 0x10 + 8 * i, DATA + (40 - i) * PAGE);
    }
    EXPECT(io, 0, READ, 0, 1, DATA + 0x800, LIST + 0x10, .dw10 = 100, .dw12 = 255);
    expect_disk(q, DATA + 0x800, 100 * 512, 0x800);
    expect_disk(q, DATA + 40 * PAGE, 104 * 512, PAGE);
    expect_disk(q, DATA + 20 * PAGE, 104 * 512 + 20 * PAGE, PAGE);
    /* The list begins with the last entry of its page, which so links to the rest. */
    qtest_writeq(q, LIST + 0xff8, LIST + 0x1000);
    for (unsigned i = 0; i < 4; i++) {
        qtest_writeq(q, LIST + 0x1000 + 8 * i, DATA + (2 * i + 1) * PAGE);
    }
    EXPECT(io, 0, READ, 0, 1, DATA, LIST + 0xff8, .dw10 = 500, .dw12 = 39);
    expect_disk(q, DATA + 7 * PAGE, 500 * 512 + 4 * PAGE, PAGE);
}

static void write_back(Qtest *q)
{
    start_io(q);
    qtest_memset(q, DATA, 0x77, 2 * PAGE);
    EXPECT(io, 0, WRITE, 0, 1, DATA, DATA + PAGE, .dw10 = 64, .dw12 = 15);
    EXPECT(io, 0, WRITE, 0, 1, DATA, .dw10 = 2047, .dw12 = 1u << 30);         /* force unit access */
    EXPECT(io, 0, FLUSH, 0, 1);
    EXPECT(io, 0, FLUSH, 0, 0xffffffff);
    EXPECT(io, 0, READ, 0, 1, DATA + 0x8000, .dw10 = 79, .dw12 = 1);
    g_assert_cmphex(qtest_readb(q, DATA + 0x8000), ==, 0x77);
    expect_disk(q, DATA + 0x8200, 80 * 512, 512);
    EXPECT(io, 0, COMPARE, 0, 1, DATA, DATA + PAGE, .dw10 = 64, .dw12 = 15);
    qtest_writeb(q, DATA + PAGE + 100, 0x78);
    EXPECT(io, 0x285, COMPARE, 0, 1, DATA, DATA + PAGE, .dw10 = 64, .dw12 = 15);
    EXPECT(io, 0, VERIFY, 0, 1, .dw10 = 0, .dw12 = 1000);
    EXPECT(io, 0, ZEROES, 0, 1, .dw10 = 66, .dw12 = 1 | 1u << 25);
    EXPECT(io, 0, READ, 0, 1, DATA, .dw10 = 65, .dw12 = 3);
    g_assert_cmphex(qtest_readl(q, DATA), ==, 0x77777777);
    g_assert_cmphex(qtest_readl(q, DATA + 512), ==, 0);
    g_assert_cmphex(qtest_readl(q, DATA + 1020), ==, 0);
    g_assert_cmphex(qtest_readl(q, DATA + 1536), ==, 0x77777777);
}

static void deallocate(Qtest *q)
{
    start_io(q);
    qtest_writeq(q, DATA, 8ull << 32);
    qtest_writeq(q, DATA + 8, 16);
    qtest_writeq(q, DATA + 16, 8ull << 32);
    qtest_writeq(q, DATA + 24, 2040);
    EXPECT(io, 0, DSM, 0, 1, DATA, .dw10 = 1, .dw11 = 4);
    qtest_writeq(q, DATA + 24, 2041);
    EXPECT(io, DNR | 0x80, DSM, 0, 1, DATA, .dw10 = 1, .dw11 = 4);
    EXPECT(io, 0, DSM, 0, 1, DATA, .dw10 = 1, .dw11 = 1);                 /* only a hint */
}

static const char *holed;

/* DATASET MANAGEMENT and WRITE ZEROES with DEAC make holes in the file; one without DEAC does not. */
static void holes(Qtest *q)
{
    start_io(q);
    qtest_writeq(q, DATA, 256ull << 32);
    qtest_writeq(q, DATA + 8, 256);
    qtest_writeq(q, DATA + 16, 128ull << 32);
    qtest_writeq(q, DATA + 24, 512);
    EXPECT(io, 0, DSM, 0, 1, DATA, .dw10 = 1, .dw11 = 4);
    EXPECT(io, 0, ZEROES, 0, 1, .dw10 = 640, .dw12 = 127 | 1u << 25);
    EXPECT(io, 0, READ, 0, 1, DATA, DATA + PAGE, .dw10 = 762, .dw12 = 11);
    g_assert_cmphex(qtest_readq(q, DATA), ==, 0);
    expect_disk(q, DATA + 6 * 512, 768 * 512, 6 * 512);
    EXPECT(io, 0, FLUSH, 0, 1);
    qtest_expect_hole(holed, 256 * 512, 768 * 512);
}

/* Ranges of blocks for COPY at DATA. */
static void copy_range(Qtest *q, unsigned i, uint64_t slba, unsigned blocks)
{
    qtest_memset(q, DATA + 32 * i, 0, 32);
    qtest_writeq(q, DATA + 32 * i + 8, slba);
    qtest_writew(q, DATA + 32 * i + 16, (uint16_t)(blocks - 1));
}

static void copy_blocks(Qtest *q)
{
    start_io(q);
    copy_range(q, 0, 100, 3);
    copy_range(q, 1, 7, 1);
    copy_range(q, 2, 1900, 100);
    EXPECT(io, 0, COPY, 0, 1, DATA, .dw10 = 500, .dw12 = 2);
    EXPECT(io, 0, READ, 0, 1, DATA + 0x10000, DATA + 0x11000, .dw10 = 500, .dw12 = 7);
    expect_disk(q, DATA + 0x10000, 100 * 512, 3 * 512);
    expect_disk(q, DATA + 0x10600, 7 * 512, 512);
    expect_disk(q, DATA + 0x10800, 1900 * 512, 4 * 512);
    EXPECT(io, 0, READ, 0, 1, DATA + 0x10000, DATA + 0x11000, .dw10 = 602, .dw12 = 3);
    expect_disk(q, DATA + 0x10000, 1998 * 512, 2 * 512);
    expect_disk(q, DATA + 0x10400, 604 * 512, 2 * 512);
    /* One block too many of a range and of all; too many ranges; beyond the end; another format. */
    copy_range(q, 0, 0, 129);
    EXPECT(io, DNR | 0x183, COPY, 0, 1, DATA, .dw10 = 500);
    copy_range(q, 0, 0, 29);
    EXPECT(io, DNR | 0x183, COPY, 0, 1, DATA, .dw10 = 500, .dw12 = 2);
    EXPECT(io, DNR | 0x183, COPY, 0, 1, DATA, .dw10 = 500, .dw12 = 0xff);
    EXPECT(io, DNR | 0x80, COPY, 0, 1, DATA, .dw10 = BLOCKS - 28);
    copy_range(q, 0, BLOCKS - 1, 2);
    EXPECT(io, DNR | 0x80, COPY, 0, 1, DATA, .dw10 = 500);
    copy_range(q, 0, 1ull << 63, 2);
    EXPECT(io, DNR | 0x80, COPY, 0, 1, DATA, .dw10 = 500);
    EXPECT(io, DNR | 2, COPY, 0, 1, DATA, .dw10 = 500, .dw12 = 0x100);
    EXPECT(io, DNR | 4, COPY, 0, 1, 0x7000000000, .dw10 = 500);
}

/* The newest error is first; the SMART log counts them, and what was moved. */
static void error_log(Qtest *q)
{
    start_io(q);
    EXPECT(io, DNR | 0x80, READ, 0, 1, DATA, .dw10 = BLOCKS, .dw11 = 5);
    EXPECT(admin, DNR | 1, 0x33, .nsid = 9);
    EXPECT(admin, 0, GET_LOG, .prp1 = DATA, .dw10 = 1 | 255 << 16);
    g_assert_cmpuint(qtest_readq(q, DATA), ==, 2);
    g_assert_cmphex(qtest_readl(q, DATA + 8) & 0xffff, ==, 0);
    g_assert_cmphex(qtest_readw(q, DATA + 12), ==, (DNR | 1) << 1);
    g_assert_cmpuint(qtest_readl(q, DATA + 24), ==, 9);
    g_assert_cmpuint(qtest_readq(q, DATA + 64), ==, 1);
    g_assert_cmpuint(qtest_readw(q, DATA + 72), ==, 1);
    g_assert_cmphex(qtest_readw(q, DATA + 76), ==, (DNR | 0x80) << 1);
    g_assert_cmphex(qtest_readq(q, DATA + 80), ==, BLOCKS | 5ull << 32);
    g_assert_cmpuint(qtest_readq(q, DATA + 128), ==, 0);
    for (unsigned i = 0; i < 20; i++) {
        EXPECT(admin, DNR | 1, 0x33, .nsid = i);
    }
    EXPECT(admin, 0, GET_LOG, .prp1 = DATA, .dw10 = 1 | 255 << 16);
    g_assert_cmpuint(qtest_readq(q, DATA), ==, 22);
    g_assert_cmpuint(qtest_readq(q, DATA + 15 * 64), ==, 7);
    EXPECT(io, 0, ZEROES, 0, 1, .dw10 = 0, .dw12 = 1023);
    EXPECT(io, 0, WRITE, 0, 1, DATA);
    EXPECT(admin, 0, GET_LOG, 0, 0xffffffff, DATA, .dw10 = 2 | 127 << 16);
    g_assert_cmpuint(qtest_readq(q, DATA + 32), ==, 0);
    g_assert_cmpuint(qtest_readq(q, DATA + 48), ==, 1);
    g_assert_cmpuint(qtest_readq(q, DATA + 80), ==, 1);
    g_assert_cmpuint(qtest_readq(q, DATA + 176), ==, 22);
}

static void sgl(Qtest *q)
{
    start_io(q);
    /* One block as a descriptor in the command. */
    EXPECT(io, 0, READ, 0x40, 1, DATA + 4, 512, .dw10 = 17);
    expect_disk(q, DATA + 4, 17 * 512, 512);
    /* Two segments: odd pieces. */
    qtest_writeq(q, LIST, DATA + 0x1001);
    qtest_writeq(q, LIST + 8, 100);
    qtest_writeq(q, LIST + 16, LIST + 0x100);
    qtest_writeq(q, LIST + 24, 32 | 3ull << 60);
    qtest_writeq(q, LIST + 0x100, DATA + 0x3000);
    qtest_writeq(q, LIST + 0x108, 0);
    qtest_writeq(q, LIST + 0x110, DATA + 0x2003);
    qtest_writeq(q, LIST + 0x118, 412);
    EXPECT(io, 0, READ, 0x40, 1, LIST, 32 | 2ull << 60, .dw10 = 30);
    expect_disk(q, DATA + 0x1001, 30 * 512, 100);
    expect_disk(q, DATA + 0x2003, 30 * 512 + 100, 412);
    /* Too short, too long, of an unknown type, a segment that ends in itself. */
    EXPECT(io, DNR | 0xf, READ, 0x40, 1, DATA, 511, .dw10 = 1);
    EXPECT(io, DNR | 0xf, READ, 0x40, 1, DATA, 513, .dw10 = 1);
    EXPECT(io, DNR | 0x11, READ, 0x40, 1, DATA, 512 | 0x9ull << 60, .dw10 = 1);
    EXPECT(io, DNR | 0xd, READ, 0x40, 1, LIST, 31 | 2ull << 60, .dw10 = 1);
    qtest_writeq(q, LIST, LIST);
    qtest_writeq(q, LIST + 8, 16 | 2ull << 60);
    EXPECT(io, DNR | 0xe, READ, 0x40, 1, LIST, 16 | 2ull << 60, .dw10 = 1);
}

static void io_errors(Qtest *q)
{
    start_io(q);
    EXPECT(io, DNR | 0x80, READ, 0, 1, DATA, .dw10 = BLOCKS);
    EXPECT(io, DNR | 0x80, READ, 0, 1, DATA, DATA + PAGE, .dw10 = BLOCKS - 8, .dw12 = 8);
    EXPECT(io, DNR | 0x80, WRITE, 0, 1, DATA, .dw10 = 0, .dw11 = 0x80000000);
    EXPECT(io, DNR | 0x80, ZEROES, 0, 1, .dw10 = BLOCKS - 1, .dw12 = 0xffff);
    EXPECT(io, DNR | 2, READ, 0, 1, DATA, LIST, .dw12 = 1024);            /* above MDTS */
    EXPECT(io, DNR | 0xb, READ, 0, 0, DATA);
    EXPECT(io, DNR | 0xb, READ, 0, 257, DATA);
    EXPECT(io, DNR | 2, READ, 0, 7, DATA);                                /* no such namespace */
    EXPECT(io, DNR | 2, READ, 1, 1, DATA);                                /* fused */
    EXPECT(io, DNR | 1, 0x7f, 0, 1, DATA);
    EXPECT(io, DNR | 0x13, READ, 0, 1, DATA, DATA + 0x1008, .dw12 = 15);
    EXPECT(io, DNR | 0x13, READ, 0, 1, DATA, LIST + 4, .dw12 = 31);
    /* Data in a hole, a list in a hole, data in the controller's own registers. */
    EXPECT(io, DNR | 4, READ, 0, 1, 0x7000000000);
    EXPECT(io, DNR | 4, READ, 0, 1, DATA, 0x7000000000, .dw12 = 31);
    EXPECT(io, DNR | 4, WRITE, 0, 1, BAR + 0x1000);
    EXPECT(io, 0, READ, 0, 1, DATA, .dw10 = 1);
}

/* A list page that links to itself describes as much as the command asks for, and no more. */
static void prp_loop(Qtest *q)
{
    start_io(q);
    for (unsigned i = 0; i < 512; i++) {
        qtest_writeq(q, LIST + 8 * i, i == 511 ? LIST : DATA + PAGE);
    }
    EXPECT(io, 0, READ, 0, 1, DATA, LIST + 0xf80, .dw12 = 1023);
    EXPECT(io, 0, READ, 0, 1, DATA, .dw10 = 1);
}

/* More commands than the completion queue holds: the rest waits for its head. */
static void full_queue(Qtest *q)
{
    Done done;
    unsigned seen = 0;

    start(q);
    io = (Queue){ 1, 0, 0, 1, 4, SQ1, CQ1 };
    EXPECT(admin, 0, CREATE_CQ, .prp1 = CQ1, .dw10 = 3 << 16 | 1, .dw11 = 3);
    EXPECT(admin, 0, CREATE_SQ, .prp1 = SQ1, .dw10 = 15 << 16 | 1, .dw11 = 1 << 16 | 1);
    io.size = 16;
    for (unsigned i = 0; i < 10; i++) {
        submit_only(q, &io, (Cmd){ READ, 0, 1, DATA, .dw10 = i });
    }
    ring(q, &io);
    io.size = 4;
    while (seen < 10) {
        if (poll(q, &io, &done)) {
            g_assert_cmphex(done.status, ==, 0);
            seen++;
            qtest_writel(q, BAR + 0x100c, io.head);
        }
    }
    /* Entry 2 was written three times, once with the phase of the first round. */
    g_assert_false(poll(q, &io, &done));
}

static void pin_interrupt(Qtest *q)
{
    uint16_t status;

    start_io(q);
    status = qtest_pci_readw(q, FN, 6);
    g_assert_cmphex(status & 8, ==, 0);
    submit_only(q, &io, (Cmd){ READ, 0, 1, DATA });
    ring(q, &io);
    while (!(qtest_pci_readw(q, FN, 6) & 8)) {
    }
    qtest_writel(q, BAR + 0x0c, 1);                    /* masked */
    g_assert_cmphex(qtest_pci_readw(q, FN, 6) & 8, ==, 0);
    qtest_writel(q, BAR + 0x10, 1);
    g_assert_cmphex(qtest_pci_readw(q, FN, 6) & 8, ==, 8);
    wait_done(q, &io);
    g_assert_cmphex(qtest_pci_readw(q, FN, 6) & 8, ==, 0);
}

static void msix(Qtest *q)
{
    start(q);
    for (unsigned v = 0; v < 4; v++) {
        qtest_writeq(q, BAR + 0x2000 + 16 * v, MSI + 4 * v);
        qtest_writeq(q, BAR + 0x2008 + 16 * v, 0x100 + v);
    }
    qtest_pci_writew(q, FN, 0x42, 0x8000);
    EXPECT(admin, 0, IDENTIFY, .prp1 = DATA, .dw10 = 1);
    while (qtest_readl(q, MSI) != 0x100) {
    }
    EXPECT(admin, 0, CREATE_CQ, .prp1 = CQ1, .dw10 = 15 << 16 | 1, .dw11 = 3u << 16 | 3);
    EXPECT(admin, 0, CREATE_SQ, .prp1 = SQ1, .dw10 = 15 << 16 | 1, .dw11 = 1 << 16 | 1);
    io = (Queue){ 1, 0, 0, 1, ENTRIES, SQ1, CQ1 };
    EXPECT(io, 0, READ, 0, 1, DATA);
    while (qtest_readl(q, MSI + 12) != 0x103) {
    }
    g_assert_cmphex(qtest_readl(q, MSI + 4), ==, 0);
}

static void shadow_doorbells(Qtest *q)
{
    start_io(q);
    EXPECT(admin, DNR | 2, DBBUF, .prp1 = SHADOW + 8, .prp2 = EVENTIDX);
    EXPECT(admin, 0, DBBUF, .prp1 = SHADOW, .prp2 = EVENTIDX);
    EXPECT(admin, 0, IDENTIFY, .prp1 = DATA, .dw10 = 1);      /* by the register alone */
    /* Two commands; the register tells of the first only, the shadow of both. */
    submit_only(q, &io, (Cmd){ READ, 0, 1, DATA, .dw10 = 1 });
    submit_only(q, &io, (Cmd){ READ, 0, 1, DATA + PAGE, .dw10 = 2 });
    qtest_writel(q, SHADOW + 8, 2);
    qtest_writel(q, BAR + 0x1008, 1);
    g_assert_cmphex(wait_done(q, &io).status, ==, 0);
    g_assert_cmphex(wait_done(q, &io).status, ==, 0);
    qtest_writel(q, SHADOW + 12, io.head);
    while (qtest_readl(q, EVENTIDX + 8) != 2) {
    }
    /* A shadow out of the queue is not followed. */
    qtest_writel(q, SHADOW + 8, 0x10000);
    qtest_writel(q, BAR + 0x1008, 3);
    EXPECT(admin, 0, IDENTIFY, .prp1 = DATA, .dw10 = 1);
    submit_only(q, &io, (Cmd){ READ, 0, 1, DATA, .dw10 = 3 });
    qtest_writel(q, SHADOW + 8, 3);
    qtest_writel(q, BAR + 0x1008, 3);
    g_assert_cmphex(wait_done(q, &io).status, ==, 0);
}

/* ---- events ---- */

static void bad_doorbells(Qtest *q)
{
    start_io(q);
    submit_only(q, &admin, (Cmd){ ASYNC_EVENT });
    ring(q, &admin);
    qtest_writel(q, BAR + 0x1008, ENTRIES);                   /* the queue ends at 15 */
    g_assert_cmphex(wait_done(q, &admin).result, ==, 0x10100);
    EXPECT(admin, 0, GET_LOG, .prp1 = DATA, .dw10 = 1 | 15 << 16);
    submit_only(q, &admin, (Cmd){ ASYNC_EVENT });
    ring(q, &admin);
    qtest_writel(q, BAR + 0x1000 + 8 * 5, 1);                 /* no such queue */
    g_assert_cmphex(wait_done(q, &admin).result, ==, 0x10000);
    for (unsigned i = 0; i < 2000; i++) {                     /* more than are kept */
        qtest_writel(q, BAR + 0x1000 + 8 * (i % 65) + 4, 0xffff);
    }
    EXPECT(io, 0, READ, 0, 1, DATA);
}

static void too_many_event_requests(Qtest *q)
{
    start(q);
    for (unsigned i = 0; i < 4; i++) {
        submit_only(q, &admin, (Cmd){ ASYNC_EVENT });
    }
    ring(q, &admin);
    EXPECT(admin, 0x105, ASYNC_EVENT);
    EXPECT(admin, 0, SET_FEATURES, .dw10 = 7, .dw11 = 0);
}

static void resize(Qtest *q)
{
    g_autofree char *answer = NULL;

    start(q);
    EXPECT(admin, 0, SET_FEATURES, .dw10 = 0xb, .dw11 = 0x100);
    submit_only(q, &admin, (Cmd){ ASYNC_EVENT });
    ring(q, &admin);
    answer = qtest_qmp(q, "{'execute': 'block_resize', 'arguments': {'device': 'd', 'size': 2097152}}");
    g_assert_null(strstr(answer, "error"));
    g_assert_cmphex(wait_done(q, &admin).result, ==, 0x40002);
    EXPECT(admin, 0, GET_LOG, .prp1 = DATA, .dw10 = 4 | 1023 << 16);
    g_assert_cmphex(qtest_readq(q, DATA), ==, 1);
    EXPECT(admin, 0, IDENTIFY, 0, 1, DATA);
    g_assert_cmpuint(qtest_readq(q, DATA), ==, 4096);
}

/* ---- namespaces ---- */

static void namespaces(Qtest *q)
{
    start_io(q);
    EXPECT(admin, 0, IDENTIFY, .prp1 = DATA, .dw10 = 2);
    g_assert_cmphex(qtest_readq(q, DATA), ==, 0x500000003);
    g_assert_cmphex(qtest_readl(q, DATA + 8), ==, 0);
    EXPECT(admin, 0, IDENTIFY, .prp1 = DATA, .dw10 = 0x10);
    g_assert_cmphex(qtest_readl(q, DATA + 8), ==, 6);         /* allocated, not attached */
    EXPECT(admin, 0, IDENTIFY, 0, 3, DATA);
    g_assert_cmpuint(qtest_readq(q, DATA), ==, BLOCKS / 8);   /* blocks of 4 KiB */
    g_assert_cmphex(qtest_readb(q, DATA + 26), ==, 1);
    EXPECT(admin, 0, IDENTIFY, 0, 3, DATA, .dw10 = 3);
    g_assert_cmphex(qtest_readl(q, DATA), ==, 0x1003);        /* UUID */
    g_assert_cmphex(qtest_readq(q, DATA + 4), ==, 0x1032547698badcfe);
    g_assert_cmphex(qtest_readl(q, DATA + 20), ==, 0x0801);   /* EUI-64 */
    g_assert_cmphex(qtest_readq(q, DATA + 24), ==, 0x8877665544332211);
    EXPECT(io, 0, READ, 0, 3, DATA, .dw10 = 1);
    expect_disk(q, DATA, 4096, 4096);
    EXPECT(io, DNR | 2, READ, 0, 6, DATA);
    qtest_memset(q, DATA, 0, PAGE);
    qtest_writew(q, DATA, 1);
    EXPECT(admin, 0, ATTACH, 0, 6, DATA);
    EXPECT(admin, DNR | 0x118, ATTACH, 0, 6, DATA);
    EXPECT(io, 0, READ, 0, 6, DATA + PAGE);
    EXPECT(admin, 0, ATTACH, 0, 6, DATA, .dw10 = 1);
    EXPECT(io, DNR | 2, READ, 0, 6, DATA + PAGE);
    EXPECT(io, DNR | 0x20, WRITE, 0, 5, DATA);                /* a read-only image */
    EXPECT(io, 0, FLUSH, 0, 0xffffffff);
}

static void format(Qtest *q)
{
    start_io(q);
    EXPECT(admin, DNR | 0x10a, FORMAT, 0, 1, .dw10 = 7);
    EXPECT(admin, 0, FORMAT, 0, 1, .dw10 = 1);
    EXPECT(admin, 0, IDENTIFY, 0, 1, DATA);
    g_assert_cmpuint(qtest_readq(q, DATA), ==, BLOCKS / 8);
    EXPECT(io, 0, READ, 0, 1, DATA, .dw10 = 100);
    g_assert_cmphex(qtest_readq(q, DATA + 2048), ==, 0);
}

/* ---- the host's errors, resets ---- */

static void host_errors(Qtest *q)
{
    start_io(q);
    EXPECT(io, 0x281, READ, 0, 1, DATA, .dw10 = 8);
    EXPECT(io, 0x280, WRITE, 0, 1, DATA, .dw10 = 9);
    EXPECT(io, 0, READ, 0, 1, DATA, .dw10 = 10);
}

/* werror=stop: the request waits for the VM to run again, and a queue can be deleted meanwhile. */
static void stop_and_go(Qtest *q)
{
    start_io(q);
    submit_only(q, &io, (Cmd){ WRITE, 0, 1, DATA, .dw10 = 8 });
    ring(q, &io);
    g_free(qtest_wait_event(q, "STOP"));
    g_free(qtest_qmp(q, "{'execute': 'cont'}"));
    g_assert_cmphex(wait_done(q, &io).status, ==, 0);
    submit_only(q, &io, (Cmd){ WRITE, 0, 1, DATA, .dw10 = 9 });
    ring(q, &io);
    g_free(qtest_wait_event(q, "STOP"));
    EXPECT(admin, 0, DELETE_SQ, .dw10 = 1);
    EXPECT(admin, 0, DELETE_CQ, .dw10 = 1);
    g_free(qtest_qmp(q, "{'execute': 'cont'}"));
    make_io(q);
    EXPECT(io, 0, READ, 0, 1, DATA);
}

static Done abort_of(Qtest *q, uint16_t cid)
{
    return run(q, &admin, (Cmd){ ABORT, .dw10 = (uint32_t)cid << 16 | 1 });
}

/* What is not there is not aborted; a command that stopped the VM is. */
static void abort_commands(Qtest *q)
{
    Done done;

    start_io(q);
    done = abort_of(q, 0xfffe);
    g_assert_cmphex(done.status, ==, 0);
    g_assert_cmphex(done.result, ==, 1);
    EXPECT(admin, DNR | 2, ABORT, .dw10 = 9);
    submit_only(q, &io, (Cmd){ WRITE, 0, 1, DATA, .dw10 = 9 });
    ring(q, &io);
    g_free(qtest_wait_event(q, "STOP"));
    done = abort_of(q, next_cid);
    g_assert_cmphex(done.result, ==, 0);
    g_assert_cmphex(wait_done(q, &io).status, ==, 7);
    g_free(qtest_qmp(q, "{'execute': 'cont'}"));
    EXPECT(io, 0, READ, 0, 1, DATA);
}

/* The clock stands still: what is throttled waits, until it is aborted. */
static void abort_in_flight(Qtest *q)
{
    Done done;

    start_io(q);
    EXPECT(io, 0, READ, 0, 1, DATA);
    submit_only(q, &io, (Cmd){ READ, 0, 1, DATA, .dw10 = 9 });
    ring(q, &io);
    done = abort_of(q, next_cid);
    g_assert_cmphex(done.status, ==, 0);
    g_assert_cmphex(done.result, ==, 0);
    g_assert_cmphex(wait_done(q, &io).status, ==, 7);
}

static void reset_under_load(Qtest *q)
{
    start_io(q);
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < ENTRIES - 1; i++) {
            submit_only(q, &io, (Cmd){ i & 1 ? WRITE : READ, 0, 1, DATA + i * PAGE, .dw10 = 8 * i,
                                       .dw12 = 7 });
        }
        ring(q, &io);
        if (round & 1) {
            qtest_pci_writew(q, FN, 0x88, 0x8000);            /* function level reset */
        } else {
            qtest_writel(q, BAR + 0x14, 0);
        }
        wait_ready(q, 0);
        enable(q);
        make_io(q);
    }
    g_free(qtest_qmp(q, "{'execute': 'system_reset'}"));
    g_free(qtest_wait_event(q, "RESET"));
    start_io(q);
    EXPECT(io, 0, READ, 0, 1, DATA);
}

/* Queues that are not in memory: fatal until the next reset. */
static void queue_in_no_memory(Qtest *q)
{
    start(q);
    EXPECT(admin, 0, CREATE_CQ, .prp1 = CQ1, .dw10 = 15 << 16 | 1, .dw11 = 3);
    EXPECT(admin, 0, CREATE_SQ, .prp1 = 0x7000000000, .dw10 = 15 << 16 | 1, .dw11 = 1 << 16 | 1);
    qtest_writel(q, BAR + 0x1008, 1);
    while (qtest_readl(q, BAR + 0x1c) != 3) {
    }
    qtest_writel(q, BAR + 0x14, 0);
    wait_ready(q, 0);
    enable(q);
    EXPECT(admin, 0, CREATE_CQ, .prp1 = BAR, .dw10 = 15 << 16 | 1, .dw11 = 3);
    EXPECT(admin, 0, CREATE_SQ, .prp1 = SQ1, .dw10 = 15 << 16 | 1, .dw11 = 1 << 16 | 1);
    qtest_memset(q, SQ1, 0, 64);
    qtest_writel(q, BAR + 0x1008, 1);
    while (qtest_readl(q, BAR + 0x1c) != 3) {
    }
}

int main(int argc, char **argv)
{
    const char *disk;
    g_autofree char *plain = NULL, *many = NULL, *errors = NULL, *stop = NULL, *copy = NULL, *unmap = NULL, *slow = NULL;

    g_test_init(&argc, &argv, NULL);
    disk = qtest_temp_disk(BLOCKS * 512);
    plain = g_strdup_printf("-drive if=none,id=d,format=raw,snapshot=on,file=%s "
                            "-device nvme,drive=d,serial=S42,addr=4", disk);
    copy = g_strdup_printf("-drive if=none,id=d,format=raw,file=%s -device nvme,drive=d,serial=S42,addr=4",
                           qtest_temp_disk(BLOCKS * 512));
    holed = qtest_temp_disk(BLOCKS * 512);
    unmap = g_strdup_printf("-drive if=none,id=d,format=raw,discard=unmap,file=%s "
                            "-device nvme,drive=d,serial=S42,addr=4", holed);
    many = g_strdup_printf("-drive if=none,id=a,format=raw,snapshot=on,file=%s "
                           "-drive if=none,id=b,format=raw,readonly=on,file=%s "
                           "-drive if=none,id=c,format=raw,snapshot=on,file=%s "
                           "-device nvme,id=n,serial=1,addr=4 "
                           "-device nvme-ns,bus=n,drive=a,nsid=3,logical_block_size=4096,"
                           "uuid=fedcba98-7654-3210-0123-456789abcdef,eui64=0x1122334455667788 "
                           "-device nvme-ns,bus=n,drive=b,nsid=5 "
                           "-device nvme-ns,bus=n,drive=c,nsid=6,detached=on", disk, disk, disk);
    errors = g_strdup_printf("-blockdev driver=blkdebug,node-name=d,image.driver=file,image.filename=%s,"
                             "inject-error.0.event=none,inject-error.0.iotype=read,inject-error.0.sector=8,"
                             "inject-error.1.event=none,inject-error.1.iotype=write,"
                             "inject-error.1.sector=9 "
                             "-device nvme,drive=d,serial=1,addr=4", disk);
    stop = g_strdup_printf("-drive if=none,id=d,driver=blkdebug,image.driver=file,image.filename=%s,"
                           "inject-error.0.event=none,inject-error.0.iotype=write,inject-error.0.sector=8,"
                           "inject-error.0.once=on,"
                           "inject-error.1.event=none,inject-error.1.iotype=write,inject-error.1.sector=9,"
                           "werror=stop -device nvme,drive=d,serial=1,addr=4", disk);

    slow = g_strdup_printf("-drive if=none,id=d,format=raw,file=%s,throttling.iops-total=1 "
                           "-device nvme,drive=d,serial=1,addr=4", disk);
    const QtestCase cases[] = {
        { "registers", plain, .run = registers },
        { "bad-configuration", plain, .run = bad_configuration },
        { "identify", plain, .run = identify },
        { "features", plain, .run = features },
        { "logs", plain, .run = logs },
        { "queue-errors", plain, .run = queue_errors },
        { "read-prp", plain, .run = read_prp },
        { "write", plain, .run = write_back },
        { "deallocate", plain, .run = deallocate },
        { "holes", unmap, .run = holes },
        { "copy", plain, .run = copy_blocks },
        { "error-log", plain, .run = error_log },
        { "sgl", plain, .run = sgl },
        { "io-errors", plain, .run = io_errors },
        { "prp-loop", plain, .run = prp_loop },
        { "full-queue", plain, .run = full_queue },
        { "pin-interrupt", plain, .run = pin_interrupt },
        { "msix", plain, .run = msix },
        { "shadow-doorbells", plain, .run = shadow_doorbells },
        { "bad-doorbells", plain, .run = bad_doorbells },
        { "too-many-event-requests", plain, .run = too_many_event_requests },
        { "resize", copy, .run = resize },
        { "namespaces", many, .run = namespaces },
        { "format", plain, .run = format },
        { "host-errors", errors, .run = host_errors },
        { "stop-and-go", stop, .run = stop_and_go },
        { "abort", stop, .run = abort_commands },
        { "abort-in-flight", slow, .run = abort_in_flight },
        { "reset-under-load", plain, .run = reset_under_load },
        { "queue-in-no-memory", plain, .run = queue_in_no_memory },
    };
    return qtest_run("/nvme", cases, G_N_ELEMENTS(cases));
}
