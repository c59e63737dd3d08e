/* SPDX-License-Identifier: MIT */
/*
 * SCSI disks and CD drives over memory, behind an adapter made here: every case that moves data runs
 * with a scatter list and with pieces.
 */
#include <errno.h>
#include <scsi/sg.h>

#include "base/event_loop.h"
#include "block/graph.h"
#include "block/memory.h"
#include "hw/scsi/scsi.h"
#include "vm/vm.h"

enum { HD_BLOCKS = 4096, CD_BLOCKS = 200, DATA_MAX = 1 << 20 };
enum { PENDING = 0xff, CANCELLED = 0xfe };

/* ---- the adapter ---- */

typedef struct TestHba {
    Device dev;
    ScsiBus bus;
    unsigned plugged, unplugged, changes;
    ScsiSense change;
} TestHba;

/* One command: what it moved and how it ended. */
typedef struct Command {
    uint8_t data[DATA_MAX];
    struct iovec iov[3];
    uint64_t pos, moved;
    uint8_t status, sense[SCSI_SENSE_LEN];
    unsigned sense_len, pieces;
    bool hold;                /* leave the next piece with the adapter */
} Command;

static void hba_data(ScsiRequest *req)
{
    Command *c = req->host_data;

    c->pieces++;
    if (c->hold) {
        return;
    }
    g_assert_cmpuint(c->pos + req->piece_len, <=, sizeof(c->data));
    if (req->dir == SCSI_DIR_IN) {
        memcpy(c->data + c->pos, req->piece, req->piece_len);
    } else {
        memcpy(req->piece, c->data + c->pos, req->piece_len);
    }
    c->pos += req->piece_len;
    scsi_req_continue(req);
}

static void hba_complete(ScsiRequest *req)
{
    Command *c = req->host_data;

    g_assert_cmphex(c->status, ==, PENDING);
    c->status = req->status;
    c->moved = req->moved;
    c->sense_len = scsi_req_take_sense(req, c->sense, sizeof(c->sense));
}

static void hba_cancelled(ScsiRequest *req)
{
    Command *c = req->host_data;

    g_assert_cmphex(c->status, ==, PENDING);
    c->status = CANCELLED;
}

static void hba_plugged(ScsiBus *bus, ScsiDevice *dev)
{
    DEVICE_CAST(TestHba, bus->bus.owner)->plugged++;
}

static void hba_unplugged(ScsiBus *bus, ScsiDevice *dev)
{
    DEVICE_CAST(TestHba, bus->bus.owner)->unplugged++;
}

static void hba_change(ScsiBus *bus, ScsiDevice *dev, ScsiSense sense)
{
    DEVICE_CAST(TestHba, bus->bus.owner)->changes++;
    DEVICE_CAST(TestHba, bus->bus.owner)->change = sense;
}

static const ScsiHostOps hba_ops = {
    .max_target = 15, .max_lun = 255, .tagged = true, .data = hba_data,
    .complete = hba_complete, .cancelled = hba_cancelled, .plugged = hba_plugged,
    .unplugged = hba_unplugged, .change = hba_change,
};

static bool hba_realize(Device *dev, GError **error)
{
    scsi_bus_init(&DEVICE_CAST(TestHba, dev)->bus, dev, "scsi.0", &hba_ops);
    return true;
}

static void hba_unrealize(Device *dev)
{
    scsi_bus_clear(&DEVICE_CAST(TestHba, dev)->bus);
}

DEVICE_TYPE(test_hba, .name = "x-test-hba", .size = sizeof(TestHba), .realize = hba_realize,
            .unrealize = hba_unrealize);

/* ---- the bench ---- */

typedef struct Fixture {
    Vm *vm;
    TestHba *hba;
    MemoryDisk *hd, *cd;
    BlockNode *nodes[2];
    Command *c;
    bool took_lock;
} Fixture;

static bool pieces;           /* the mode of this run */
static unsigned serial;       /* node names are unique in a process */

static BlockNode *open_disk(MemoryDisk **disk, size_t bytes, unsigned unit_bytes, int flags)
{
    g_autofree char *name = g_strdup_printf("s%u", serial++);
    g_autofree char *file = g_strdup_printf("x-memory:%s", name);
    g_autoptr(NodeOpts) opts = node_opts_new();
    g_autoptr(GError) error = NULL;
    BlockNode *node;

    *disk = memory_disk_new(name);
    g_byte_array_set_size((*disk)->data, bytes);
    memset((*disk)->data->data, 0, bytes);
    for (unsigned i = 0; i < bytes / unit_bytes; i++) {
        le32_store((*disk)->data->data + (size_t)i * unit_bytes, i);
    }
    node_opts_set(opts, "driver", "raw");
    node_opts_set(opts, "node-name", name);
    node = node_open(file, opts, flags, &error);
    g_assert_no_error(error);
    return node;
}

/* OPTIONS: "name=value,..." */
static ScsiDevice *plug(Fixture *f, const char *type, const char *drive, const char *options,
                        GError **error)
{
    Device *dev = device_new(f->vm, type, NULL);
    g_auto(GStrv) words = g_strsplit(options, ",", -1);
    bool ok = !drive || object_set_text(OBJECT(dev), "drive", drive, error);

    for (unsigned i = 0; ok && words[i]; i++) {
        g_auto(GStrv) pair = g_strsplit(words[i], "=", 2);

        ok = object_set_text(OBJECT(dev), pair[0], pair[1], error);
    }
    ok = ok && device_realize(dev, &f->hba->bus.bus, error);
    object_unref(OBJECT(dev));
    return ok ? DEVICE_CAST(ScsiDevice, dev) : NULL;
}

static ScsiDevice *unit(Fixture *f, unsigned id)
{
    ScsiDevice *sibling;

    return scsi_bus_find(&f->hba->bus, 0, id, 0, &sibling);
}

static void run_loop(void)
{
    while (event_loop_iterate(event_loop_main(), false)) {
    }
    for (BlockBackend *blk = NULL; (blk = blk_next(blk));) {
        blk_drain(blk);
    }
}

static ScsiRequest *start(Fixture *f, unsigned id, unsigned lun, Command *c, const uint8_t *cdb)
{
    ScsiDevice *sibling, *d = scsi_bus_find(&f->hba->bus, 0, id, lun, &sibling);
    ScsiRequest *req = scsi_req_new(d ?: sibling, lun, 0, cdb, 16, c);

    c->pos = c->moved = c->pieces = 0;
    c->status = PENDING;
    c->sense_len = 0;
    if (!pieces && req->dir != SCSI_DIR_NONE) {
        /* In three parts, of odd lengths, and longer than need be. */
        g_assert_cmpuint(req->xfer, <=, sizeof(c->data));
        c->iov[0] = (struct iovec){ c->data, MIN(7, req->xfer) };
        c->iov[1] = (struct iovec){ c->data + c->iov[0].iov_len, req->xfer / 3 };
        c->iov[2].iov_base = (uint8_t *)c->iov[1].iov_base + c->iov[1].iov_len;
        c->iov[2].iov_len = c->data + sizeof(c->data) - (uint8_t *)c->iov[2].iov_base;
        req->iov = c->iov;
        req->niov = 3;
    }
    scsi_req_start(req);
    return req;
}

static uint8_t run_lun(Fixture *f, unsigned id, unsigned lun, const uint8_t *cdb)
{
    ScsiRequest *req = start(f, id, lun, f->c, cdb);

    for (unsigned i = 0; f->c->status == PENDING && i < 100000; i++) {
        event_loop_iterate(event_loop_main(), false);
    }
    scsi_req_unref(req);
    return f->c->status;
}

#define CDB(...) ((const uint8_t[16]){ __VA_ARGS__ })
#define RUN(f, id, ...) run_lun((f), (id), 0, CDB(__VA_ARGS__))
#define assert_good(...) g_assert_cmphex(RUN(__VA_ARGS__), ==, SCSI_GOOD)
#define assert_sense(f, s)                                                                 \
    do {                                                                                   \
        ScsiSense want_ = s;                                                               \
        g_assert_cmphex((f)->c->status, ==, SCSI_CHECK_CONDITION);                         \
        g_assert_cmphex((f)->c->sense[2], ==, want_.key);                                  \
        g_assert_cmphex((f)->c->sense[12] << 8 | (f)->c->sense[13], ==,                    \
                        want_.asc << 8 | want_.ascq);                                      \
    } while (0)
#define assert_check(f, s, id, ...)                                                        \
    do {                                                                                   \
        RUN(f, id, __VA_ARGS__);                                                           \
        assert_sense(f, s);                                                                \
    } while (0)

/* Past the attention that follows a reset. */
static void settle(Fixture *f)
{
    for (unsigned id = 0; id < 2; id++) {
        RUN(f, id, TEST_UNIT_READY);
    }
}

static void set_up(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    const char *options = data ?: "scsi-id=0";

    pieces = false;
    f->took_lock = machine_lock_if_needed();
    f->vm = vm_new();
    f->c = g_new0(Command, 1);
    f->hba = DEVICE_CAST(TestHba, device_create(f->vm, "x-test-hba", NULL, &error, NULL));
    g_assert_no_error(error);
    f->nodes[0] = open_disk(&f->hd, HD_BLOCKS * 512, 512, NODE_OPEN_RDWR);
    f->nodes[1] = open_disk(&f->cd, CD_BLOCKS * 2048, 2048, 0);
    plug(f, "scsi-hd", f->hd->name, options, &error);
    g_assert_no_error(error);
    plug(f, "scsi-cd", f->cd->name, "scsi-id=1", &error);
    g_assert_no_error(error);
    vm_reset(f->vm);
    vm_start(f->vm);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    device_unplug(&f->hba->dev);
    for (unsigned i = 0; i < 2; i++) {
        node_unref(f->nodes[i]);
    }
    memory_disk_free(f->hd);
    memory_disk_free(f->cd);
    vm_free(f->vm);
    g_free(f->c);
    if (f->took_lock) {
        machine_unlock();
    }
}

/* Runs BODY twice, the second time in pieces. */
#define BOTH_WAYS(f)                                                                       \
    settle(f);                                                                             \
    for (int way_ = 0; way_ < 2; way_++, pieces = true)

/* ---- identity ---- */

static void test_inquiry(Fixture *f, gconstpointer data)
{
    BOTH_WAYS(f) {
        memset(f->c->data, 0xcc, 200);
        assert_good(f, 0, INQUIRY, 0, 0, 0, 200);
        g_assert_cmpuint(f->c->moved, ==, 96);
        g_assert_cmphex(be32_load(f->c->data), ==, 0x00000512);
        g_assert_true(!memcmp(f->c->data + 8, "QEMU    QEMU HARDDISK   2.5+", 28));
        g_assert_cmphex(f->c->data[96], ==, 0xcc);
        assert_good(f, 1, INQUIRY, 0, 0, 0, 5);
        g_assert_cmpuint(f->c->moved, ==, 5);
        g_assert_cmphex(be32_load(f->c->data), ==, 0x05800512);
    }
}

static void test_vital_product_data(Fixture *f, gconstpointer data)
{
    static const uint8_t disk_list[] = { 0, 0, 0, 6, 0, 0x80, 0x83, 0xb0, 0xb1, 0xb2 };
    static const uint8_t cd_list[] = { 5, 0, 0, 2, 0, 0x83 };

    settle(f);
    assert_good(f, 0, INQUIRY, 1, 0, 0, 255);
    g_assert_cmpmem(f->c->data, f->c->moved, disk_list, sizeof(disk_list));
    assert_good(f, 1, INQUIRY, 1, 0, 0, 255);
    g_assert_cmpmem(f->c->data, f->c->moved, cd_list, sizeof(cd_list));
    assert_good(f, 0, INQUIRY, 1, 0x80, 0, 255);
    g_assert_cmpmem(f->c->data, f->c->moved, "\0\x80\0\x03SN1", 7);
    assert_good(f, 0, INQUIRY, 1, 0x83, 0, 255);
    g_assert_cmpmem(f->c->data, f->c->moved,
                    "\0\x83\0\x13\2\0\0\3SN1\1\3\0\x08\x50\0\xc5\0\x12\x34\x56\x78", 23);
    assert_good(f, 0, INQUIRY, 1, 0xb0, 0, 255);
    g_assert_cmphex(be32_load(f->c->data + 8), ==, 0x3fffff);
    g_assert_cmphex(be32_load(f->c->data + 20), ==, 0x200000);
    g_assert_cmphex(be32_load(f->c->data + 28), ==, 8);
    assert_good(f, 0, INQUIRY, 1, 0xb1, 0, 255);
    g_assert_cmpuint(be16_load(f->c->data + 4), ==, 7200);
    assert_good(f, 0, INQUIRY, 1, 0xb2, 0, 255);
    g_assert_cmphex(f->c->data[5], ==, 0xe0);
    assert_check(f, SENSE_INVALID_FIELD, 0, INQUIRY, 1, 0xc0, 0, 255);
    assert_check(f, SENSE_INVALID_FIELD, 0, INQUIRY, 0, 0x80, 0, 255);
}

static void test_absent_lun(Fixture *f, gconstpointer data)
{
    g_assert_cmphex(run_lun(f, 0, 3, CDB(INQUIRY, 0, 0, 0, 36)), ==, SCSI_GOOD);
    g_assert_cmphex(f->c->data[0], ==, 0x7f);
    run_lun(f, 0, 3, CDB(TEST_UNIT_READY));
    assert_sense(f, SENSE_LUN_NOT_SUPPORTED);
    g_assert_cmphex(run_lun(f, 0, 3, CDB(REQUEST_SENSE, 0, 0, 0, 18)), ==, SCSI_GOOD);
    g_assert_cmphex(f->c->data[12], ==, 0x25);
}

static void test_report_luns(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    ScsiDevice *more = plug(f, "scsi-cd", NULL, "scsi-id=0,lun=5", &error);

    g_assert_no_error(error);
    BOTH_WAYS(f) {
        g_assert_cmphex(run_lun(f, 0, 5, CDB(REPORT_LUNS, [9] = 64)), ==, SCSI_GOOD);
        g_assert_cmpuint(f->c->moved, ==, 24);
        g_assert_cmpuint(be32_load(f->c->data), ==, 16);
        g_assert_cmphex(be16_load(f->c->data + 16), ==, 5);
        assert_check(f, SENSE_INVALID_FIELD, 0, REPORT_LUNS, [9] = 8);
    }
    device_unplug(&more->dev);
}

static void test_addresses(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    ScsiDevice *d = plug(f, "scsi-cd", NULL, "", &error);

    g_assert_no_error(error);
    g_assert_cmpuint(d->id, ==, 2);           /* the first that is free */
    device_unplug(&d->dev);
    d = plug(f, "scsi-cd", NULL, "scsi-id=1", &error);
    g_assert_cmpuint(d->lun, ==, 1);
    g_assert_null(plug(f, "scsi-cd", NULL, "scsi-id=1,lun=1", &error));
    g_assert_nonnull(strstr(error->message, "is taken"));
    g_clear_error(&error);
    g_assert_null(plug(f, "scsi-cd", NULL, "scsi-id=16", &error));
    g_assert_nonnull(strstr(error->message, "0..15"));
    g_clear_error(&error);
    g_assert_null(plug(f, "scsi-hd", NULL, "", &error));
    g_assert_nonnull(strstr(error->message, "drive="));
    device_unplug(&d->dev);
}

/* ---- attentions and sense ---- */

static void test_attention_is_told_once(Fixture *f, gconstpointer data)
{
    assert_good(f, 0, INQUIRY, 0, 0, 0, 36);
    assert_check(f, SENSE_RESET, 0, TEST_UNIT_READY);
    assert_good(f, 0, TEST_UNIT_READY);
    /* REQUEST SENSE tells it, too, and that counts. */
    assert_good(f, 1, REQUEST_SENSE, 0, 0, 0, 18);
    g_assert_cmphex(f->c->data[2] << 8 | f->c->data[12], ==, 0x629);
    assert_good(f, 1, TEST_UNIT_READY);
}

static void test_reset_outranks_change(Fixture *f, gconstpointer data)
{
    settle(f);
    scsi_unit_attention(unit(f, 0), SENSE_LUNS_CHANGED);
    scsi_unit_attention(unit(f, 0), SENSE_RESET);
    scsi_unit_attention(unit(f, 0), SENSE_CAPACITY_CHANGED);
    assert_check(f, SENSE_RESET, 0, TEST_UNIT_READY);
    assert_good(f, 0, TEST_UNIT_READY);
}

static void test_resize(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    BlockBackend *blk = blk_by_device("hd0");

    settle(f);
    for (blk = NULL; (blk = blk_next(blk)) && blk_node(blk) != f->nodes[0];) {
    }
    g_assert_true(blk_truncate(blk, HD_BLOCKS * 1024, NULL, &error));
    g_assert_cmpuint(f->hba->changes, ==, 1);
    g_assert_cmphex(f->hba->change.asc << 8 | f->hba->change.ascq, ==, 0x2a09);
    assert_check(f, SENSE_CAPACITY_CHANGED, 0, TEST_UNIT_READY);
    assert_good(f, 0, READ_CAPACITY_10);
    g_assert_cmpuint(be32_load(f->c->data), ==, HD_BLOCKS * 2 - 1);
}

static void test_unknown_command(Fixture *f, gconstpointer data)
{
    settle(f);
    assert_check(f, SENSE_INVALID_OPCODE, 0, 0xc1);
    assert_check(f, SENSE_INVALID_OPCODE, 0, READ_TOC, [8] = 64);
    assert_check(f, SENSE_INVALID_OPCODE, 1, WRITE_10, [8] = 1);
    assert_check(f, SENSE_INVALID_FIELD, 0, SERVICE_ACTION_IN_16, 0x12, [13] = 32);
}

/* ---- blocks ---- */

static void test_capacity(Fixture *f, gconstpointer data)
{
    BOTH_WAYS(f) {
        assert_good(f, 0, READ_CAPACITY_10);
        g_assert_cmphex(be32_load(f->c->data), ==, HD_BLOCKS - 1);
        g_assert_cmpuint(be32_load(f->c->data + 4), ==, 512);
        assert_good(f, 1, SERVICE_ACTION_IN_16, SAI_READ_CAPACITY_16, [13] = 32);
        g_assert_cmphex(be64_load(f->c->data), ==, CD_BLOCKS - 1);
        g_assert_cmpuint(be32_load(f->c->data + 8), ==, 2048);
    }
}

static void test_read(Fixture *f, gconstpointer data)
{
    /* clang-format off */
    static const uint8_t reads[][16] = {
        { READ_6,  0, 0, 5, 3 },
        { READ_10, 0, 0, 0, 0, 5, 0, 0, 3 },
        { READ_12, 0, 0, 0, 0, 5, 0, 0, 0, 3 },
        { READ_16, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 3 },
    };
    /* clang-format on */

    BOTH_WAYS(f) {
        for (unsigned i = 0; i < ARRAY_LEN(reads); i++) {
            memset(f->c->data, 0, 4096);
            g_assert_cmphex(run_lun(f, 0, 0, reads[i]), ==, SCSI_GOOD);
            g_assert_cmpuint(f->c->moved, ==, 3 * 512);
            for (unsigned k = 0; k < 3; k++) {
                g_assert_cmpuint(le32_load(f->c->data + k * 512), ==, 5 + k);
            }
        }
        assert_good(f, 1, READ_10, [5] = 9, [8] = 1);
        g_assert_cmpuint(f->c->moved, ==, 2048);
        g_assert_cmpuint(le32_load(f->c->data), ==, 9);
    }
}

static void test_long_read(Fixture *f, gconstpointer data)
{
    BOTH_WAYS(f) {
        assert_good(f, 0, READ_10, [7] = 4);      /* 1024 blocks: four pieces */
        g_assert_cmpuint(f->c->moved, ==, 512 * 1024);
        for (unsigned i = 0; i < 1024; i++) {
            g_assert_cmpuint(le32_load(f->c->data + i * 512), ==, i);
        }
        if (pieces) {
            g_assert_cmpuint(f->c->pieces, ==, 4);
        }
    }
}

static void test_six_byte_zero_is_256(Fixture *f, gconstpointer data)
{
    settle(f);
    assert_good(f, 0, READ_6);
    g_assert_cmpuint(f->c->moved, ==, 256 * 512);
    assert_good(f, 0, READ_10);
    g_assert_cmpuint(f->c->moved, ==, 0);
}

static void test_write(Fixture *f, gconstpointer data)
{
    BOTH_WAYS(f) {
        for (unsigned i = 0; i < 300 * 512; i++) {
            f->c->data[i] = i / 512 + i + way_;
        }
        assert_good(f, 0, WRITE_10, [5] = 16, [7] = 300 >> 8, [8] = 300 & 0xff);
        g_assert_cmpuint(f->c->moved, ==, 300 * 512);
        g_assert_cmpmem(f->hd->data->data + 16 * 512, 300 * 512, f->c->data, 300 * 512);
        g_assert_cmpuint(le32_load(f->hd->data->data + 316 * 512), ==, 316);
    }
}

static void test_out_of_range(Fixture *f, gconstpointer data)
{
    BOTH_WAYS(f) {
        assert_check(f, SENSE_LBA_OUT_OF_RANGE, 0, READ_10, [4] = 0x0f, [5] = 0xff, [8] = 2);
        assert_check(f, SENSE_LBA_OUT_OF_RANGE, 0, WRITE_10, [2] = 0xff, [8] = 1);
        assert_check(f, SENSE_LBA_OUT_OF_RANGE, 0, READ_16, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                     0xff, 0xff, [13] = 1);
        assert_good(f, 0, READ_10, [4] = 0x10);   /* nothing, at the end */
        assert_check(f, SENSE_INVALID_FIELD, 0, READ_10, 0x20, [8] = 1);
    }
}

static void test_verify(Fixture *f, gconstpointer data)
{
    BOTH_WAYS(f) {
        memcpy(f->c->data, f->hd->data->data + 512, 300 * 512);
        assert_good(f, 0, VERIFY_10, 2, [5] = 1, [7] = 1, [8] = 44);
        f->c->data[299 * 512] ^= 1;
        assert_check(f, SENSE_MISCOMPARE, 0, VERIFY_10, 2, [5] = 1, [7] = 1, [8] = 44);
        assert_good(f, 0, VERIFY_10, 0, [5] = 1, [8] = 4);
    }
}

static void test_write_same(Fixture *f, gconstpointer data)
{
    BOTH_WAYS(f) {
        memset(f->c->data, 0x5a + way_, 512);
        assert_good(f, 0, WRITE_SAME_10, [5] = 2, [7] = 4);   /* 1024 blocks */
        g_assert_cmpuint(le32_load(f->hd->data->data + 512), ==, 1);
        g_assert_cmphex(f->hd->data->data[2 * 512], ==, 0x5a + way_);
        g_assert_cmphex(f->hd->data->data[1026 * 512 - 1], ==, 0x5a + way_);
        g_assert_cmpuint(le32_load(f->hd->data->data + 1026 * 512), ==, 1026);
        assert_good(f, 0, WRITE_SAME_16, WRITE_SAME_16 & 1, [9] = 2, [13] = 8);
        memset(f->c->data, 0, 512);
        assert_good(f, 0, WRITE_SAME_16, 8, [9] = 2, [13] = 8);
        g_assert_cmphex(f->hd->data->data[2 * 512], ==, 0);
        assert_check(f, SENSE_INVALID_FIELD, 0, WRITE_SAME_10, [5] = 2);
    }
}

static void put_unmap(Fixture *f, uint64_t lba, uint32_t blocks)
{
    memset(f->c->data, 0, 40);
    be16_store(f->c->data, 38);
    be16_store(f->c->data + 2, 32);
    be64_store(f->c->data + 8, 1);
    be64_store(f->c->data + 24, lba);
    be32_store(f->c->data + 32, blocks);
}

static void test_unmap(Fixture *f, gconstpointer data)
{
    BOTH_WAYS(f) {
        put_unmap(f, 8, 16);
        assert_good(f, 0, UNMAP, [8] = 40);
        put_unmap(f, HD_BLOCKS - 8, 16);
        assert_check(f, SENSE_LBA_OUT_OF_RANGE, 0, UNMAP, [8] = 40);
        put_unmap(f, 8, 16);
        assert_check(f, SENSE_PARAMETER_LENGTH, 0, UNMAP, [8] = 20);
        assert_check(f, SENSE_INVALID_FIELD, 0, UNMAP, 1, [8] = 40);
    }
}

static void test_sync(Fixture *f, gconstpointer data)
{
    settle(f);
    f->hd->logging = true;
    assert_good(f, 0, SYNCHRONIZE_CACHE_10);
    g_assert_cmpuint(f->hd->log->len, ==, 1);
    g_assert_cmpint(((MemoryOp *)f->hd->log->pdata[0])->kind, ==, MEMORY_FLUSH);
}

/* ---- mode pages ---- */

static void test_write_cache(Fixture *f, gconstpointer data)
{
    static const uint8_t off[24] = { [4] = 8, 18 }, bad[24] = { [4] = 8, 18, 0xff };

    BOTH_WAYS(f) {
        assert_good(f, 0, MODE_SENSE_6, 8, 8, 0, 255);
        g_assert_cmphex(f->c->data[6], ==, way_ ? 0 : 4);
        memcpy(f->c->data, off, sizeof(off));
        assert_good(f, 0, MODE_SELECT_6, 0x10, 0, 0, 24);
        assert_good(f, 0, MODE_SENSE_10, 8, 0x48, [8] = 255);
        g_assert_cmphex(f->c->data[10], ==, 4);   /* WCE can be changed */
        assert_good(f, 0, MODE_SENSE_10, 8, 8, [8] = 255);
        g_assert_cmphex(f->c->data[10], ==, 0);
        memcpy(f->c->data, bad, sizeof(bad));
        assert_check(f, SENSE_INVALID_PARAMETER, 0, MODE_SELECT_6, 0x10, 0, 0, 24);
        assert_check(f, SENSE_PARAMETER_LENGTH, 0, MODE_SELECT_6, 0x10, 0, 0, 10);
        assert_check(f, SENSE_SAVING_UNSUPPORTED, 0, MODE_SENSE_6, 8, 0xc8, 0, 255);
    }
}

static void test_all_mode_pages(Fixture *f, gconstpointer data)
{
    settle(f);
    assert_good(f, 0, MODE_SENSE_6, 0, 0x3f, 0, 255);
    g_assert_cmpuint(f->c->moved, ==, 100);
    g_assert_cmpuint(f->c->data[0], ==, 99);
    g_assert_cmphex(be32_load(f->c->data + 4), ==, HD_BLOCKS);
    assert_good(f, 1, MODE_SENSE_6, 0, 0x3f, 0, 255);
    for (unsigned at = 4; at < f->c->moved; at += 2 + f->c->data[at + 1]) {
        g_assert_cmphex(f->c->data[at] & 0xc0, ==, 0);
    }
}

/* ---- media ---- */

static BlockBackend *cd_backend(Fixture *f)
{
    BlockBackend *blk = NULL;

    while ((blk = blk_next(blk)) && blk_device(blk) != unit(f, 1)) {
    }
    return blk;
}

static void test_tray(Fixture *f, gconstpointer data)
{
    settle(f);
    assert_good(f, 1, PREVENT_ALLOW_REMOVAL, [4] = 1);
    assert_check(f, SENSE_REMOVAL_PREVENTED, 1, START_STOP_UNIT, [4] = 2);
    assert_good(f, 1, PREVENT_ALLOW_REMOVAL);
    assert_good(f, 1, START_STOP_UNIT, [4] = 2);
    assert_check(f, SENSE_NO_MEDIUM, 1, TEST_UNIT_READY);
    assert_check(f, SENSE_NO_MEDIUM, 1, READ_10, [8] = 1);
    assert_good(f, 1, GET_EVENT_STATUS, 1, [4] = 0x10, [8] = 8);
    g_assert_cmphex(f->c->data[5], ==, 1);    /* the tray is open */
    assert_good(f, 1, START_STOP_UNIT, [4] = 3);
    assert_good(f, 1, READ_10, [8] = 1);
}

static void test_medium_change(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    BlockBackend *blk = cd_backend(f);
    MemoryDisk *other;
    BlockNode *node = open_disk(&other, 100 * 2048, 2048, 0);

    settle(f);
    g_assert_true(blk_eject(blk, false, &error));
    assert_check(f, SENSE_NO_MEDIUM, 1, READ_CAPACITY_10);
    assert_good(f, 1, GET_EVENT_STATUS, 1, [4] = 0x10, [8] = 8);
    g_assert_cmphex(f->c->data[4], ==, 3);    /* media removal, told once */
    assert_good(f, 1, GET_EVENT_STATUS, 1, [4] = 0x10, [8] = 8);
    g_assert_cmphex(f->c->data[4], ==, 0);
    g_assert_true(blk_insert_node(blk, node, false, &error));
    g_assert_true(blk_close_tray(blk, &error));
    assert_good(f, 1, GET_EVENT_STATUS, 1, [4] = 0x10, [8] = 8);
    g_assert_cmphex(f->c->data[4], ==, 2);
    assert_check(f, SENSE_MEDIUM_CHANGED, 1, TEST_UNIT_READY);
    assert_good(f, 1, READ_CAPACITY_10);
    g_assert_cmpuint(be32_load(f->c->data), ==, 99);
    g_assert_true(blk_eject(blk, false, &error));
    node_unref(node);
    memory_disk_free(other);
}

static void test_eject_request(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    settle(f);
    assert_good(f, 1, PREVENT_ALLOW_REMOVAL, [4] = 1);
    g_assert_false(blk_eject(cd_backend(f), false, &error));
    assert_good(f, 1, GET_EVENT_STATUS, 1, [4] = 0x10, [8] = 8);
    g_assert_cmphex(f->c->data[4], ==, 1);
    g_clear_error(&error);
    g_assert_true(blk_eject(cd_backend(f), true, &error));
}

static void test_mmc_replies(Fixture *f, gconstpointer data)
{
    settle(f);
    assert_good(f, 1, READ_TOC, [6] = 1, [8] = 64);
    g_assert_cmpuint(f->c->moved, ==, 20);
    g_assert_cmpuint(be32_load(f->c->data + 16), ==, CD_BLOCKS);
    assert_good(f, 1, GET_CONFIGURATION, [8] = 255);
    g_assert_cmphex(be16_load(f->c->data + 6), ==, 8);
    assert_good(f, 1, READ_DISC_INFORMATION, [8] = 255);
    g_assert_cmpuint(f->c->moved, ==, 34);
    assert_good(f, 1, MECHANISM_STATUS, [9] = 8);
    assert_check(f, SENSE_INCOMPATIBLE_MEDIUM, 1, READ_DVD_STRUCTURE, [9] = 64);
}

/* ---- errors, cancellation ---- */

static void test_errors_are_reported(Fixture *f, gconstpointer data)
{
    BOTH_WAYS(f) {
        f->hd->fail_countdown = 0;
        f->hd->fail_errno = EIO;
        assert_check(f, SENSE_READ_ERROR, 0, READ_10, [8] = 1);
        f->hd->fail_countdown = 0;
        f->hd->fail_errno = EIO;
        assert_check(f, SENSE_WRITE_ERROR, 0, WRITE_10, [8] = 1);
        f->hd->fail_countdown = -1;
    }
}

static unsigned stops;

static void note_stop(void *opaque)
{
    stops++;
}

static void test_stop_and_retry(Fixture *f, gconstpointer data)
{
    blk_set_hooks(&(BlkHooks){ .stop_vm = note_stop });
    BOTH_WAYS(f) {
        ScsiRequest *req;

        memset(f->c->data, 0x77 + way_, 512);
        stops = 0;
        f->hd->fail_countdown = 0;
        f->hd->fail_errno = EIO;
        req = start(f, 0, 0, f->c, CDB(WRITE_10, [5] = 4, [8] = 1));
        run_loop();
        g_assert_cmpuint(stops, ==, 1);
        g_assert_cmphex(f->c->status, ==, PENDING);
        vm_stop(f->vm, RUN_STATE_IO_ERROR);
        f->hd->fail_countdown = -1;
        vm_start(f->vm);
        run_loop();
        g_assert_cmphex(f->c->status, ==, SCSI_GOOD);
        g_assert_cmphex(f->hd->data->data[4 * 512], ==, 0x77 + way_);
        scsi_req_unref(req);
    }
    blk_set_hooks(&(BlkHooks){ 0 });
}

static void test_reset_ends_what_waits(Fixture *f, gconstpointer data)
{
    ScsiRequest *req;

    blk_set_hooks(&(BlkHooks){ .stop_vm = note_stop });
    settle(f);
    f->hd->fail_countdown = 0;
    f->hd->fail_errno = EIO;
    req = start(f, 0, 0, f->c, CDB(WRITE_10, [8] = 1));
    run_loop();
    f->hd->fail_countdown = -1;
    vm_reset(f->vm);
    g_assert_cmphex(f->c->status, ==, CANCELLED);
    g_assert_cmpuint(req->refs, ==, 1);
    scsi_req_unref(req);
    blk_set_hooks(&(BlkHooks){ 0 });
}

static void test_cancel(Fixture *f, gconstpointer data)
{
    ScsiRequest *req;

    settle(f);
    f->hd->lazy = true;
    /* With the host: at once asked, later over. */
    req = start(f, 0, 0, f->c, CDB(READ_10, [8] = 1));
    scsi_req_cancel(req);
    run_loop();
    g_assert_cmphex(f->c->status, ==, CANCELLED);
    scsi_req_cancel(req);                     /* no more than once */
    scsi_req_unref(req);
    /* With the adapter: over at once. */
    pieces = true;
    f->c->hold = true;
    req = start(f, 0, 0, f->c, CDB(READ_10, [8] = 1));
    run_loop();
    g_assert_true(req->waits_host);
    scsi_req_cancel(req);
    g_assert_cmphex(f->c->status, ==, CANCELLED);
    scsi_req_continue(req);                   /* too late, does nothing */
    scsi_req_unref(req);
    f->c->hold = false;
    assert_good(f, 0, READ_10, [8] = 1);
}

static void test_unit_reset(Fixture *f, gconstpointer data)
{
    Command *second = g_new0(Command, 1);
    ScsiRequest *a, *b;

    settle(f);
    f->hd->lazy = f->cd->lazy = true;
    a = start(f, 0, 0, f->c, CDB(READ_10, [8] = 1));
    b = start(f, 1, 0, second, CDB(READ_10, [8] = 1));
    scsi_unit_reset(unit(f, 0), SENSE_UNIT_RESET);
    run_loop();
    g_assert_cmphex(f->c->status, ==, CANCELLED);
    g_assert_cmphex(second->status, ==, SCSI_GOOD);
    scsi_req_unref(a);
    scsi_req_unref(b);
    g_free(second);
    assert_check(f, SENSE_UNIT_RESET, 0, TEST_UNIT_READY);
    assert_good(f, 1, TEST_UNIT_READY);
}

static void test_unplug_with_requests(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    Device *dev = &unit(f, 0)->dev;
    ScsiRequest *req;

    settle(f);
    f->hd->lazy = true;
    req = start(f, 0, 0, f->c, CDB(READ_10, [8] = 1));
    g_assert_true(dev->bus->type->unplug_request(dev->bus, dev, &error));
    g_assert_cmpuint(f->hba->unplugged, ==, 1);
    g_assert_cmphex(f->c->status, ==, CANCELLED);
    g_assert_null(unit(f, 0));
    scsi_req_unref(req);
}

static void test_read_only_disk(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    MemoryDisk *disk;
    BlockNode *node = open_disk(&disk, 64 * 512, 512, 0);
    ScsiDevice *d;

    d = plug(f, "scsi-hd", disk->name, "scsi-id=4,removable=on", &error);
    g_assert_no_error(error);
    vm_reset(f->vm);
    RUN(f, 4, TEST_UNIT_READY);
    assert_good(f, 4, MODE_SENSE_6, 0, 8, 0, 255);
    g_assert_cmphex(f->c->data[2], ==, 0x80);
    assert_check(f, SENSE_WRITE_PROTECTED, 4, WRITE_10, [8] = 1);
    assert_check(f, SENSE_WRITE_PROTECTED, 4, UNMAP, [8] = 24);
    assert_good(f, 4, START_STOP_UNIT, [4] = 2);
    assert_check(f, SENSE_NO_MEDIUM, 4, TEST_UNIT_READY);
    device_unplug(&d->dev);
    node_unref(node);
    memory_disk_free(disk);
}

static void test_state(Fixture *f, gconstpointer data)
{
    VmWriter *w = vm_writer_new();
    g_autoptr(GError) error = NULL;
    const uint8_t *bytes;
    VmReader *r;
    size_t len;

    settle(f);
    assert_good(f, 1, PREVENT_ALLOW_REMOVAL, [4] = 1);
    scsi_unit_attention(unit(f, 0), SENSE_CAPACITY_CHANGED);
    g_assert_true(vm_save_devices(f->vm, w, &error));
    bytes = vm_writer_bytes(w, &len);
    vm_reset(f->vm);
    r = vm_reader_new(bytes, len);
    g_assert_true(vm_load_devices(f->vm, r, &error));
    g_assert_no_error(error);
    assert_check(f, SENSE_CAPACITY_CHANGED, 0, TEST_UNIT_READY);
    assert_check(f, SENSE_REMOVAL_PREVENTED, 1, START_STOP_UNIT, [4] = 2);
    vm_reader_free(r);
    vm_writer_free(w);
}

/* ---- a device of the host's ---- */

/* What the kernel would do with the list. */
static void fake_move(sg_io_hdr_t *io, uint8_t *data, size_t len)
{
    const struct iovec one = { io->dxferp, io->dxfer_len };
    const struct iovec *iov = io->iovec_count ? io->dxferp : &one;
    unsigned n = io->iovec_count ?: 1;
    size_t left = MIN(len, io->dxfer_len);

    io->resid = (int)(io->dxfer_len - left);
    for (unsigned i = 0; i < n && left; i++) {
        size_t part = MIN(left, iov[i].iov_len);
        bool in = io->dxfer_direction == SG_DXFER_FROM_DEV;

        memcpy(in ? iov[i].iov_base : data, in ? data : iov[i].iov_base, part);
        data += part;
        left -= part;
    }
}

static int fake_device(MemoryDisk *disk, sg_io_hdr_t *io)
{
    static const uint8_t sense[18] = { 0x70, [2] = 5, [7] = 10, [12] = 0x24 };
    uint8_t inquiry[36] = { 0, 0, 6, 2, 31, [8] = 'F', 'A', 'K', 'E' }, capacity[8] = { 0, 0, 0, 99, 0, 0, 16, 0 };

    g_assert_cmpint(io->interface_id, ==, 'S');
    switch (io->cmdp[0]) {
    case TEST_UNIT_READY:
        return 0;
    case INQUIRY:
        fake_move(io, inquiry, sizeof(inquiry));
        return 0;
    case READ_CAPACITY_10:
        fake_move(io, capacity, sizeof(capacity));
        return 0;
    case READ_10:
    case WRITE_10:
        g_assert_cmpuint(io->dxfer_len, ==, be16_load(io->cmdp + 7) * 4096u);
        fake_move(io, disk->data->data + be32_load(io->cmdp + 2) * 4096u, io->dxfer_len);
        return 0;
    case 0x4d:
        return -EINVAL;                          /* the host's adapter does not like it */
    case MODE_SENSE_6:
        io->host_status = 1;                     /* the cable was pulled */
        return 0;
    case 0x3c:                                   /* a liar */
        io->resid = -1000000;
        io->sb_len_wr = 255;
        return 0;
    default:
        io->status = SCSI_CHECK_CONDITION;
        memcpy(io->sbp, sense, sizeof(sense));
        io->sb_len_wr = sizeof(sense);
        return 0;
    }
}

static void test_generic(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    MemoryDisk *disk;
    BlockNode *node = open_disk(&disk, 100 * 4096, 4096, NODE_OPEN_RDWR);
    ScsiDevice *d;

    disk->scsi = fake_device;
    d = plug(f, "scsi-generic", disk->name, "scsi-id=4", &error);
    g_assert_no_error(error);
    g_assert_cmpuint(d->block_size, ==, 4096);
    RUN(f, 4, TEST_UNIT_READY);
    BOTH_WAYS(f) {
        disk->lazy = way_;
        assert_good(f, 4, INQUIRY, 0, 0, 0, 200);
        g_assert_cmpuint(f->c->moved, ==, 36);
        g_assert_true(!memcmp(f->c->data + 8, "FAKE", 4));
        assert_good(f, 4, READ_10, [5] = 7, [8] = 40);        /* two pieces */
        g_assert_cmpuint(f->c->moved, ==, 40 * 4096);
        for (unsigned i = 0; i < 40; i++) {
            g_assert_cmpuint(le32_load(f->c->data + i * 4096), ==, 7 + i);
        }
        memset(f->c->data, 0x30 + way_, 50 * 4096);
        assert_good(f, 4, WRITE_10, [5] = 50, [8] = 50);
        g_assert_cmpuint(f->c->moved, ==, 50 * 4096);
        g_assert_cmphex(disk->data->data[50 * 4096], ==, 0x30 + way_);
        g_assert_cmphex(disk->data->data[100 * 4096 - 1], ==, 0x30 + way_);
        assert_check(f, SENSE_INVALID_FIELD, 4, MODE_SENSE_10, 0, 8, [8] = 64);
        assert_check(f, SENSE_INVALID_FIELD, 4, 0x4d, [8] = 64);
        assert_check(f, SENSE_LUN_NOT_SUPPORTED, 4, MODE_SENSE_6, [4] = 64);
        assert_check(f, SENSE_INVALID_OPCODE, 4, 0xc1);
        assert_good(f, 4, 0x3c, [8] = 32);
        if (pieces) {                             /* kept here: not so much */
            assert_check(f, SENSE_INVALID_FIELD, 4, 0x3c, [6] = 0xff);
        }
        assert_good(f, 4, REPORT_LUNS, [9] = 64);
    }
    device_unplug(&d->dev);
    node_unref(node);
    memory_disk_free(disk);
}

/* With the host, a cancelled command ends when the device is done with its memory. */
static void test_generic_cancel(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    MemoryDisk *disk;
    BlockNode *node = open_disk(&disk, 100 * 4096, 4096, NODE_OPEN_RDWR);
    ScsiRequest *req;
    ScsiDevice *d;

    disk->scsi = fake_device;
    disk->lazy = true;
    d = plug(f, "scsi-generic", disk->name, "scsi-id=4", &error);
    g_assert_no_error(error);
    RUN(f, 4, TEST_UNIT_READY);
    req = start(f, 4, 0, f->c, CDB(READ_10, [8] = 1));
    scsi_req_cancel(req);
    g_assert_cmphex(f->c->status, ==, PENDING);
    run_loop();
    g_assert_cmphex(f->c->status, ==, CANCELLED);
    scsi_req_unref(req);
    req = start(f, 4, 0, f->c, CDB(READ_10, [8] = 1));
    device_unplug(&d->dev);                      /* waits for it */
    g_assert_cmphex(f->c->status, ==, CANCELLED);
    scsi_req_unref(req);
    node_unref(node);
    memory_disk_free(disk);
}

/* A disk that says what it can do: limits of the user's hold if they are lower. */
static int fake_disk(MemoryDisk *disk, sg_io_hdr_t *io)
{
    static const uint8_t medium_error[18] = { 0x70, [2] = 3, [7] = 10, [12] = 0x11 };
    uint8_t limits[64] = { 0, 0xb0, 0, 60, [11] = 4, [20] = 0xff, 0xff, 0xff, 0xff };
    uint8_t rotation[64] = { 0, 0xb1, 0, 60, 0, 1 };

    if (io->cmdp[0] == INQUIRY && (io->cmdp[1] & 1)) {
        fake_move(io, io->cmdp[2] == 0xb0 ? limits : rotation, 64);
        return 0;
    }
    if (io->cmdp[0] == READ_10 && io->cmdp[5] == 66) {
        io->status = SCSI_CHECK_CONDITION;
        memcpy(io->sbp, medium_error, sizeof(medium_error));
        io->sb_len_wr = sizeof(medium_error);
        return 0;
    }
    return fake_device(disk, io);
}

static void test_block(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    MemoryDisk *disk;
    BlockNode *node = open_disk(&disk, 100 * 4096, 4096, NODE_OPEN_RDWR);
    ScsiDevice *d;

    g_assert_null(plug(f, "scsi-block", disk->name, "scsi-id=4", &error));
    g_assert_nonnull(strstr(error->message, "/dev/sdX"));
    g_clear_error(&error);
    disk->scsi = fake_disk;
    g_assert_null(plug(f, "scsi-block", disk->name, "scsi-id=4", &error));   /* a /dev/sgN */
    g_clear_error(&error);
    disk->scsi_beside = true;
    d = plug(f, "scsi-block", disk->name,
             "scsi-id=4,rotation_rate=7200,scsi_version=5,max_io_size=1048576,max_unmap_size=8192", &error);
    g_assert_no_error(error);
    RUN(f, 4, TEST_UNIT_READY);
    BOTH_WAYS(f) {
        disk->lazy = way_;
        assert_good(f, 4, INQUIRY, 0, 0, 0, 200);
        g_assert_cmphex(f->c->data[2], ==, 5);
        assert_good(f, 4, INQUIRY, 1, 0xb0, 0, 64);
        g_assert_cmpuint(be32_load(f->c->data + 8), ==, 4);
        g_assert_cmpuint(be32_load(f->c->data + 20), ==, 2);
        assert_good(f, 4, INQUIRY, 1, 0xb1, 0, 64);
        g_assert_cmpuint(be16_load(f->c->data + 4), ==, 7200);
        assert_good(f, 4, INQUIRY, 1, 0xb1, 0, 5);            /* half of the field: none of it */
        assert_good(f, 4, READ_10, [5] = 7, [8] = 40);
        g_assert_cmpuint(le32_load(f->c->data + 39 * 4096), ==, 46);
        memset(f->c->data, 0x30 + way_, 50 * 4096);
        assert_good(f, 4, WRITE_10, [5] = 50, [8] = 50);
        g_assert_cmphex(disk->data->data[100 * 4096 - 1], ==, 0x30 + way_);
        g_assert_cmphex(RUN(f, 4, READ_10, [5] = 66, [8] = 1), ==, SCSI_CHECK_CONDITION);
    }
    device_unplug(&d->dev);
    d = plug(f, "scsi-block", disk->name, "scsi-id=4,rerror=ignore", &error);
    g_assert_no_error(error);
    RUN(f, 4, TEST_UNIT_READY);
    assert_good(f, 4, READ_10, [5] = 66, [8] = 1);
    device_unplug(&d->dev);
    node_unref(node);
    memory_disk_free(disk);
}

static void test_generic_refuses(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    MemoryDisk *disk;
    BlockNode *node = open_disk(&disk, 64 * 512, 512, NODE_OPEN_RDWR);

    g_assert_null(plug(f, "scsi-generic", disk->name, "scsi-id=4", &error));
    g_assert_nonnull(strstr(error->message, "/dev/sgN"));
    g_clear_error(&error);
    g_assert_null(plug(f, "scsi-generic", NULL, "scsi-id=4", &error));
    g_assert_nonnull(strstr(error->message, "drive=ID"));
    g_clear_error(&error);
    disk->scsi = fake_device;
    g_assert_null(plug(f, "scsi-hd", disk->name, "scsi-id=4", &error));
    g_assert_nonnull(strstr(error->message, "give that to scsi-generic"));
    g_clear_error(&error);
    node_unref(node);
    memory_disk_free(disk);
    node = open_disk(&disk, 64 * 512, 512, 0);
    disk->scsi = fake_device;
    g_assert_null(plug(f, "scsi-generic", disk->name, "scsi-id=4", &error));
    g_assert_nonnull(strstr(error->message, "read-only=off"));
    node_unref(node);
    memory_disk_free(disk);
}

#define DISK "scsi-id=0,serial=SN1,wwn=0x5000c50012345678,rotation_rate=7200"
#define STOPPING "scsi-id=0,werror=stop,rerror=stop"

int main(int argc, char **argv)
{
    /* clang-format off */
    static const struct {
        const char *name;
        void (*run)(Fixture *f, gconstpointer data);
        const char *options;
    } cases[] = {
        { "inquiry", test_inquiry },
        { "vital-product-data", test_vital_product_data, DISK },
        { "absent-lun", test_absent_lun },
        { "report-luns", test_report_luns },
        { "addresses", test_addresses },
        { "attention-once", test_attention_is_told_once },
        { "attention-rank", test_reset_outranks_change },
        { "resize", test_resize },
        { "unknown-command", test_unknown_command },
        { "capacity", test_capacity },
        { "read", test_read },
        { "read-long", test_long_read },
        { "read-6-zero", test_six_byte_zero_is_256 },
        { "write", test_write },
        { "out-of-range", test_out_of_range },
        { "verify", test_verify },
        { "write-same", test_write_same },
        { "unmap", test_unmap },
        { "sync", test_sync },
        { "write-cache", test_write_cache },
        { "mode-pages", test_all_mode_pages },
        { "tray", test_tray },
        { "medium-change", test_medium_change },
        { "eject-request", test_eject_request },
        { "mmc", test_mmc_replies },
        { "errors", test_errors_are_reported },
        { "stop-and-retry", test_stop_and_retry, STOPPING },
        { "reset-waiting", test_reset_ends_what_waits, STOPPING },
        { "cancel", test_cancel },
        { "unit-reset", test_unit_reset },
        { "unplug", test_unplug_with_requests },
        { "read-only", test_read_only_disk },
        { "state", test_state },
        { "generic", test_generic },
        { "generic-cancel", test_generic_cancel },
        { "block", test_block },
        { "generic-refuses", test_generic_refuses },
    };
    /* clang-format on */

    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        g_autofree char *path = g_strdup_printf("/scsi/%s", cases[i].name);

        g_test_add(path, Fixture, cases[i].options, set_up, cases[i].run, tear_down);
    }
    return g_test_run();
}
