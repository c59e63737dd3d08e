/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: a hostile guest on SCSI.  Adapters are an lsi53c895a and a legacy virtio-scsi on the pc
 * board, each with a disk, a CD and a device of the host's.  Random bytes become scripts whose
 * instructions mostly mean something, and requests whose commands do; beside that: any register, time,
 * turns of the main loop, medium changes, resets, and states that are saved, with FUZZ_DAMAGE in the
 * environment changed, and loaded.
 *
 * With clang: -fsanitize=fuzzer and without -DFUZZ_MAIN; otherwise see fuzz_main().
 */
#include "tests/fuzz/fuzz_machine.h"

#include <scsi/sg.h>
#include <stdlib.h>

#include "base/event_loop.h"
#include "block/backend.h"
#include "block/memory.h"
#include "hw/scsi/scsi_defs.h"

enum { LSI_IO = 0xd000, VIRTIO_IO = 0xd100, LSI_SLOT = 20, VIRTIO_SLOT = 21 };
enum { SCRIPT = 0x10000, TABLE = 0x20000, BUFFER = 0x30000, RINGS = 0x40000, RING_LEN = 0x10000,
       REQUEST = 0x80000, QUEUE_SIZE = 256 };
#define LSI_MMIO 0xfea00000ull
#define LSI_RAM 0xfea02000ull

/* clang-format off */
static const uint8_t opcodes[] = {
    TEST_UNIT_READY, REQUEST_SENSE, FORMAT_UNIT, READ_6, WRITE_6, INQUIRY, MODE_SELECT_6, MODE_SENSE_6,
    START_STOP_UNIT, SEND_DIAGNOSTIC, PREVENT_ALLOW_REMOVAL, READ_CAPACITY_10, READ_10, WRITE_10, SEEK_10,
    WRITE_VERIFY_10, VERIFY_10, SYNCHRONIZE_CACHE_10, WRITE_SAME_10, UNMAP, READ_TOC, GET_CONFIGURATION,
    GET_EVENT_STATUS, READ_DISC_INFORMATION, READ_TRACK_INFORMATION, MODE_SELECT_10, MODE_SENSE_10, READ_16,
    WRITE_16, VERIFY_16, SYNCHRONIZE_CACHE_16, WRITE_SAME_16, SERVICE_ACTION_IN_16, REPORT_LUNS, READ_12,
    WRITE_12, READ_DVD_STRUCTURE, SET_CD_SPEED, MECHANISM_STATUS, READ_CD,
};
/* First dwords of instructions; the bits of the second column are random. */
static const struct { uint32_t insn, random; } templates[] = {
    { 0x41000000, 0x00030000 }, { 0x40000000, 0x000f0000 }, { 0x43000000, 0x000000ff },   /* SELECT */
    { 0x06000001, 0x00000003 }, { 0x0e000002, 0x00000003 },                               /* message out */
    { 0x0200000a, 0x00000006 }, { 0x02000006, 0x0000000a },                               /* command */
    { 0x01000200, 0x000fffff }, { 0x00000200, 0x000fffff }, { 0x11000000, 0x000000ff },   /* data */
    { 0x10000000, 0x010000ff }, { 0x21000010, 0x000000ff },
    { 0x03000001, 0x00000001 }, { 0x07000001, 0x00000003 }, { 0x0f000001, 0x00000001 },   /* status, message in */
    { 0x48000000, 0 }, { 0x50000000, 0 }, { 0x60000040, 0x00000008 }, { 0x58000008, 0x00000640 },
    { 0x70000000, 0x077fff80 }, { 0x78000000, 0x077fff80 }, { 0x68000000, 0x077fff80 },   /* registers */
    { 0x80080000, 0x002f0000 }, { 0x88080000, 0x07ffffff }, { 0x90080000, 0 }, { 0x98080000, 0x00100000 },
    { 0x87820000, 0x07000000 }, { 0x80880000, 0x0000ffff },
    { 0xc0000000, 0x0000ffff }, { 0xe0000004, 0x11ff0007 }, { 0xe1000004, 0x10ff0003 },
    { 0x00000000, 0xffffffff },
};
/* clang-format on */

/* ---- the machine ---- */

static void add_unit(Vm *vm, const char *type, const char *name, const char *bus, size_t bytes, bool lazy)
{
    fuzz_add_disk(name, bytes)->lazy = lazy;
    fuzz_add_device(vm, type, name, bus, "drive", name);
}

static void config(Vm *vm, unsigned slot, unsigned reg, uint32_t value)
{
    address_space_store(&vm->io, 0xcf8, 0x80000000u | slot << 11 | reg, 4);
    address_space_store(&vm->io, 0xcfc, value, 4);
}

static void set_up_virtio(Vm *vm)
{
    address_space_store(&vm->io, VIRTIO_IO + 18, 0, 1);
    address_space_store(&vm->io, VIRTIO_IO + 18, 3, 1);
    address_space_store(&vm->io, VIRTIO_IO + 4, 6, 4);
    for (unsigned q = 0; q < 3; q++) {
        address_space_store(&vm->io, VIRTIO_IO + 14, q, 2);
        address_space_store(&vm->io, VIRTIO_IO + 8, (RINGS + q * RING_LEN) >> 12, 4);
        address_space_store(&vm->memory, RINGS + q * RING_LEN + 16 * QUEUE_SIZE + 2, 0, 2);
    }
    address_space_store(&vm->io, VIRTIO_IO + 18, 7, 1);
}

/* A device of the host's that says what the command wants it to say. */
static int host_device(MemoryDisk *disk, sg_io_hdr_t *io)
{
    const uint8_t *cdb = io->cmdp;
    const struct iovec one = { io->dxferp, io->dxfer_len }, *iov = io->iovec_count ? io->dxferp : &one;
    unsigned n = io->iovec_count ?: 1;
    size_t left = io->dxferp ? io->dxfer_len : 0;

    for (unsigned i = 0; i < n && left; i++) {
        size_t part = MIN(left, iov[i].iov_len);

        if (io->dxfer_direction == SG_DXFER_FROM_DEV) {
            memset(iov[i].iov_base, cdb[0] == INQUIRY ? 0 : cdb[3], part);
        }
        left -= part;
    }
    if (cdb[0] == INQUIRY || cdb[0] == READ_CAPACITY_10) {
        return 0;
    }
    io->status = cdb[4] & 0x3e;
    io->resid = (int8_t)cdb[4] * 64;
    io->sb_len_wr = cdb[5];
    io->host_status = cdb[2] & 0x80 ? cdb[4] : 0;
    return cdb[2] & 0x40 ? -(int)cdb[5] : 0;
}

static void add_host_device(Vm *vm, const char *name, const char *bus, bool lazy)
{
    MemoryDisk *disk = fuzz_add_disk(name, KIB);

    disk->scsi = host_device;
    disk->lazy = lazy;
    disk->scsi_beside = !lazy;
    fuzz_add_device(vm, lazy ? "scsi-generic" : "scsi-block", name, bus, "drive", name);
}

static Vm *machine(void)
{
    static bool complete;
    Vm *vm = fuzz_machine();

    if (!complete) {
        complete = true;
        fuzz_add_device(vm, "lsi53c895a", "lsi", "pci.0", "addr", "14");
        fuzz_add_device(vm, "virtio-scsi-pci", "vs", "pci.0", "addr", "15");
        add_unit(vm, "scsi-hd", "scsi0", "lsi.0", MIB, true);
        add_unit(vm, "scsi-cd", "scsi1", "lsi.0", 300 * KIB, false);
        add_unit(vm, "scsi-hd", "scsi2", "vs.0", MIB, true);
        add_unit(vm, "scsi-cd", "scsi3", "vs.0", 300 * KIB, false);
        add_host_device(vm, "scsi4", "lsi.0", true);
        add_host_device(vm, "scsi5", "vs.0", false);
        vm = fuzz_machine();
    }
    config(vm, LSI_SLOT, 0x10, LSI_IO);
    config(vm, LSI_SLOT, 0x14, LSI_MMIO);
    config(vm, LSI_SLOT, 0x18, LSI_RAM);
    config(vm, LSI_SLOT, 0x04, 7);
    config(vm, VIRTIO_SLOT, 0x10, VIRTIO_IO);
    config(vm, VIRTIO_SLOT, 0x04, 7);
    set_up_virtio(vm);
    return vm;
}

/* ---- what the guest does ---- */

static void store32(FuzzInput *in, uint64_t addr, uint32_t value)
{
    address_space_store(&in->vm->memory, addr, value, 4);
}

/* Somewhere that exists: memory, the chip's own RAM, its registers; sometimes anywhere. */
static uint32_t address(FuzzInput *in)
{
    switch (fuzz_take(in, 1) & 15) {
    case 0:
        return LSI_RAM + (fuzz_take(in, 2) & 0x1fff);
    case 1:
        return LSI_MMIO + fuzz_take(in, 1);
    case 2:
        return fuzz_take(in, 4);
    case 3:
        return SCRIPT + (fuzz_take(in, 1) & 0x7c) * 2;
    default:
        return BUFFER + fuzz_take(in, 1);
    }
}

/* Commands and messages at the places that scripts take them from. */
static void put_buffers(FuzzInput *in)
{
    static const uint8_t messages[] = { 0xc0, 0x80, 0xc1, 0x20, 0x06, 0x0c, 0x01, 0x0d, 0x08, 0x05 };

    for (unsigned i = 0; i < 256; i += 4) {
        store32(in, BUFFER + i, 0);
    }
    for (unsigned i = 0; i < 16; i++) {
        uint8_t byte = fuzz_take(in, 1);

        byte = i & 1 ? messages[byte % sizeof(messages)] : opcodes[byte % sizeof(opcodes)];
        address_space_store(&in->vm->memory, BUFFER + 16 * i, byte, 1);
        address_space_store(&in->vm->memory, BUFFER + 16 * i + 1, fuzz_take(in, 1), 1);
        address_space_store(&in->vm->memory, BUFFER + 16 * i + 4 + (byte & 7), fuzz_take(in, 1), 1);
    }
    for (unsigned i = 0; i < 16; i++) {
        store32(in, TABLE + 8 * i, fuzz_take(in, 2) | (i & 1 ? 0 : fuzz_take(in, 1) << 16));
        store32(in, TABLE + 8 * i + 4, address(in));
    }
}

/* Selection, IDENTIFY and a command; then whatever comes. */
static void run_script(FuzzInput *in)
{
    uint64_t at = fuzz_take(in, 1) & 1 ? SCRIPT : LSI_RAM;
    unsigned n = 4 + (fuzz_take(in, 1) & 31);
    uint8_t how = fuzz_take(in, 1);

    put_buffers(in);
    fuzz_out(in, LSI_IO + 0x10, TABLE, 4);
    fuzz_out(in, LSI_IO + 0x04, 0x47, 1);         /* SCID: reselection allowed */
    fuzz_out(in, LSI_IO + 0x56, how & 0x80, 1);   /* CCNTL0: jumps on a phase mismatch */
    fuzz_out(in, LSI_IO + 0xc0, at, 4);
    fuzz_out(in, LSI_IO + 0xc4, at + 24, 4);
    for (unsigned i = 0; i < n; i++) {
        unsigned t = fuzz_take(in, 1) % ARRAY_LEN(templates);
        uint32_t second = address(in);

        if (i < 3 && !(how & 1)) {
            t = i == 0 ? 0 : i == 1 ? 3 : 5;
            second = i == 1 ? BUFFER + 16 : BUFFER + (fuzz_take(in, 1) & 0xe0);
        }
        store32(in, at + 8 * i, templates[t].insn ^ (fuzz_take(in, 4) & templates[t].random));
        store32(in, at + 8 * i + 4, second);
    }
    store32(in, at + 8 * n, 0x98080000);
    fuzz_out(in, LSI_IO + 0x2c, at, 4);
}

static void lsi_register(FuzzInput *in)
{
    uint8_t reg = fuzz_take(in, 1), how = fuzz_take(in, 1);
    unsigned size = 1u << (how & 3) % 3;

    if (how & 0x80) {
        fuzz_out(in, LSI_IO + (reg & ~(size - 1)), fuzz_take(in, size), size);
    } else {
        address_space_load(&in->vm->memory, LSI_MMIO + reg, size);
    }
}

/* One chain of descriptors for queue Q: LENGTHS of readable, then of writable buffers. */
static void submit(FuzzInput *in, unsigned q, const uint32_t *out, unsigned outs, const uint32_t *into,
                   unsigned ins)
{
    uint64_t ring = RINGS + q * RING_LEN, avail = ring + 16 * QUEUE_SIZE, at = REQUEST;
    uint16_t idx = address_space_load(&in->vm->memory, avail + 2, 2);

    for (unsigned i = 0; i < outs + ins; i++) {
        uint32_t len = i < outs ? out[i] : into[i - outs];
        unsigned flags = (i < outs ? 0 : 2) | (i + 1 < outs + ins ? 1 : 0);

        address_space_store(&in->vm->memory, ring + 16 * i, at, 8);
        store32(in, ring + 16 * i + 8, len);
        store32(in, ring + 16 * i + 12, flags | (i + 1) << 16);
        at += align_up(len, 16);
    }
    address_space_store(&in->vm->memory, avail + 4 + 2 * (idx % QUEUE_SIZE), 0, 2);
    address_space_store(&in->vm->memory, avail + 2, idx + 1, 2);
    fuzz_out(in, VIRTIO_IO + 16, q, 2);
}

static void virtio_command(FuzzInput *in)
{
    uint8_t how = fuzz_take(in, 1), head[51] = { 1, fuzz_take(in, 1) % 3 };
    uint32_t data = fuzz_take(in, how & 1 ? 2 : 1);
    uint32_t out[2] = { how & 0x40 ? fuzz_take(in, 1) : 51, data };
    uint32_t into[2] = { how & 0x80 ? fuzz_take(in, 1) : 108, data };

    head[3] = how & 2 ? 0 : fuzz_take(in, 1) & 1;
    head[19] = opcodes[fuzz_take(in, 1) % sizeof(opcodes)];
    for (unsigned i = 20; i < 35; i++) {
        uint8_t byte = fuzz_take(in, 1);

        head[i] = byte & 0x80 ? byte : byte & 1;
    }
    address_space_write(&in->vm->memory, REQUEST, head, sizeof(head));
    submit(in, 2, out, how & 4 ? 2 : 1, into, how & 8 ? 2 : 1);
}

static void virtio_control(FuzzInput *in)
{
    uint8_t head[24] = { (fuzz_take(in, 1) & 7) % 3, [4] = fuzz_take(in, 1) & 7, [8] = 1,
                         [9] = fuzz_take(in, 1) & 1 };
    uint32_t out = fuzz_take(in, 1) & 1 ? 24 : fuzz_take(in, 1), into = fuzz_take(in, 1) & 7;

    address_space_write(&in->vm->memory, REQUEST, head, sizeof(head));
    submit(in, 0, &out, 1, &into, 1);
}

static void virtio_event(FuzzInput *in)
{
    uint32_t len = fuzz_take(in, 1) & 31;

    submit(in, 1, NULL, 0, &len, 1);
}

static void virtio_register(FuzzInput *in)
{
    uint8_t reg = fuzz_take(in, 1) & 63;

    if (fuzz_take(in, 1) & 1) {
        set_up_virtio(in->vm);
    } else {
        fuzz_out(in, VIRTIO_IO + reg, fuzz_take(in, 4), 1u << (reg % 3));
    }
}

static void pass_time(FuzzInput *in)
{
    clock_fake_advance(in->vm->clock, (int64_t)fuzz_take(in, 3) << (fuzz_take(in, 1) & 7));
}

static void turn_loop(FuzzInput *in)
{
    unsigned n = fuzz_take(in, 1) & 7;

    while (n-- > 0 && event_loop_iterate(event_loop_main(), false)) {
    }
}

static void use_tray(FuzzInput *in)
{
    uint8_t how = fuzz_take(in, 1);
    BlockBackend *blk = blk_by_device(how & 1 ? "scsi1" : "scsi3");

    if (how & 2) {
        blk_open_tray(blk, how & 4, NULL);
    } else {
        blk_close_tray(blk, NULL);
    }
}

static void stop_and_go(FuzzInput *in)
{
    vm_stop(in->vm, RUN_STATE_PAUSED);
    vm_start(in->vm);
}

static void reset(FuzzInput *in)
{
    in->vm = machine();
}

static void save_and_load(FuzzInput *in)
{
    /* Rings are in memory that the guest may have overwritten meanwhile. */
    fuzz_save_and_load(in, getenv("FUZZ_DAMAGE") != NULL, "queue");
}

/* clang-format off */
static void (*const ops[32])(FuzzInput *in) = {
    run_script, run_script, run_script, run_script, run_script, run_script, lsi_register, lsi_register,
    lsi_register, virtio_command, virtio_command, virtio_command, virtio_command, virtio_command,
    virtio_command, virtio_command, virtio_control, virtio_control, virtio_event, virtio_register,
    pass_time, pass_time, turn_loop, turn_loop, turn_loop, turn_loop, turn_loop, use_tray, use_tray,
    stop_and_go, reset, save_and_load,
};
/* clang-format on */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzInput in = { data, size, machine() };

    while (in.len) {
        ops[fuzz_take(&in, 1) % ARRAY_LEN(ops)](&in);
    }
    return 0;
}

#ifdef FUZZ_MAIN
int main(int argc, char **argv)
{
    return fuzz_main(argc, argv, LLVMFuzzerTestOneInput);
}
#endif
