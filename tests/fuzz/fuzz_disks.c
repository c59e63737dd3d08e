/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: a hostile driver of the controllers that read lists and queues from memory, NVMe and AHCI.
 * Random bytes alone would never enable them, so the operations are a driver's: enable, make a queue, write a
 * command that is right but for some fields, ring; and between them a hostile one's: bytes changed in any
 * list, registers, configuration space, resets with commands in flight.
 *
 * With clang: -fsanitize=fuzzer and without -DFUZZ_MAIN; otherwise see fuzz_main().
 */
#include "base/event_loop.h"
#include "tests/fuzz/fuzz_machine.h"

enum { DATA = 0x200000, ENTRIES = 8 };
#define NVME 0xfebd0000ull
#define NVME_CFG 0x80002000u
#define AHCI_CFG 0x80002800u
/* In FUZZ_LISTS. */
enum { ASQ = 0x0000, ACQ = 0x1000, SQ = 0x2000, CQ = 0x6000, PRPS = 0xa000, SGLS = 0xb000, SHADOW = 0xc000,
       CMDS = 0x10000, FISES = 0x11000, TABLES = 0x12000 };

static unsigned tails[4];

static void store(FuzzInput *in, uint64_t addr, uint64_t value, unsigned size)
{
    address_space_store(&in->vm->memory, addr, value, size);
}

static void config(FuzzInput *in, uint32_t reg, uint32_t value, unsigned size)
{
    fuzz_out(in, 0xcf8, reg & ~3u, 4);
    fuzz_out(in, 0xcfc + (reg & 3), value, size);
}

/* Mostly memory that is there; sometimes registers, a hole, an odd address. */
static uint64_t some_address(FuzzInput *in)
{
    uint8_t how = fuzz_take(in, 1);

    switch (how & 15) {
    case 0:
        return fuzz_take(in, 8);
    case 1:
        return NVME + fuzz_take(in, 2);
    case 2:
        return FUZZ_AHCI + (fuzz_take(in, 2) & 0xfff);
    case 3:
        return FUZZ_LFB + fuzz_take(in, 3);
    case 4:
        return DATA + fuzz_take(in, 3);
    case 5:
        return FUZZ_LISTS + PRPS + (fuzz_take(in, 1) << 3);
    case 6:
        return FUZZ_LISTS + SGLS + (fuzz_take(in, 1) << 4);
    case 7:
        return FUZZ_LISTS + fuzz_take(in, 3) % FUZZ_LISTS_LEN;
    default:
        return DATA + ((how >> 4) << 12);
    }
}

/* Mostly small. */
static uint32_t some_number(FuzzInput *in)
{
    uint8_t how = fuzz_take(in, 1);

    return how >= 0xf0 ? (uint32_t)fuzz_take(in, 4) : how >= 0xc0 ? (uint32_t)fuzz_take(in, 2) & 0xfff : how & 15;
}

/* ---- NVMe ---- */

static void nvme_enable(FuzzInput *in)
{
    store(in, NVME + 0x14, 0, 4);
    store(in, NVME + 0x24, (ENTRIES - 1) << 16 | (ENTRIES - 1), 4);
    store(in, NVME + 0x28, FUZZ_LISTS + ASQ, 8);
    store(in, NVME + 0x30, FUZZ_LISTS + ACQ, 8);
    store(in, NVME + 0x14, 0x460001, 4);
    memset(tails, 0, sizeof(tails));
}

static void nvme_command(FuzzInput *in, unsigned qid, uint32_t opcode, uint32_t nsid, uint64_t prp1,
                         uint64_t prp2, uint32_t dw10, uint32_t dw11)
{
    uint64_t at = FUZZ_LISTS + (qid ? SQ + 0x1000 * (qid - 1) : ASQ) + 64 * tails[qid];
    bool sgl = opcode & 0x4000;

    store(in, at, opcode, 4);
    store(in, at + 4, nsid, 4);
    store(in, at + 24, prp1, 8);
    store(in, at + 32, sgl ? bits_set(prp2 & 0xffff, 60, 4, prp2 >> 20) : prp2, 8);
    store(in, at + 40, dw10, 4);
    store(in, at + 44, dw11, 4);
    store(in, at + 48, some_number(in), 4);
    tails[qid] = (tails[qid] + 1) % ENTRIES;
    store(in, NVME + 0x1000 + 8 * qid, tails[qid], 4);
    store(in, NVME + 0x1004 + 8 * qid, fuzz_take(in, 1) % ENTRIES, 4);
}

static void nvme_queues(FuzzInput *in)
{
    for (unsigned q = 1; q <= 2; q++) {
        nvme_command(in, 0, 5, 0, FUZZ_LISTS + CQ + 0x1000 * (q - 1), 0, (ENTRIES - 1) << 16 | q, 3);
        nvme_command(in, 0, 1, 0, FUZZ_LISTS + SQ + 0x1000 * (q - 1), 0, (ENTRIES - 1) << 16 | q,
                     q << 16 | 1);
        tails[q] = 0;
    }
    while (event_loop_iterate(event_loop_main(), false)) {
    }
}

static void nvme_admin(FuzzInput *in)
{
    static const uint8_t opcodes[] = { 2, 6, 8, 9, 10, 12, 0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 0x15, 0x7c, 0x80, 0xff };
    uint8_t op = opcodes[fuzz_take(in, 1) % ARRAY_LEN(opcodes)];

    if (op == 0x7c) {
        nvme_command(in, 0, op, 0, FUZZ_LISTS + SHADOW, FUZZ_LISTS + SHADOW + 0x1000, 0, 0);
    } else {
        nvme_command(in, 0, op, some_number(in), some_address(in), some_address(in), some_number(in),
                     some_number(in));
    }
}

static void nvme_io(FuzzInput *in)
{
    static const uint8_t opcodes[] = { 0, 1, 2, 2, 1, 5, 8, 9, 12, 25, 25, 0x7f };
    uint8_t how = fuzz_take(in, 1);

    nvme_command(in, 1 + (how & 1), opcodes[fuzz_take(in, 1) % ARRAY_LEN(opcodes)] | (how & 2 ? 0x4000 : 0),
                 how & 0x30 ? 1 : some_number(in), some_address(in), some_address(in), some_number(in),
                 how & 0xc0 ? 0 : some_number(in));
}

static void nvme_register(FuzzInput *in)
{
    uint8_t how = fuzz_take(in, 1);
    uint64_t addr = NVME + (how & 1 ? 0x1000 + fuzz_take(in, 1) * 4 : how & 2 ? 0x2000 + fuzz_take(in, 1) * 4
                                                                              : fuzz_take(in, 1) & 0x3c);

    if (how & 0x80) {
        address_space_load(&in->vm->memory, addr, how & 0x40 ? 8 : 4);
    } else {
        store(in, addr, some_number(in), how & 0x40 ? 8 : 4);
    }
}

/* ---- AHCI ---- */

static uint64_t port(FuzzInput *in)
{
    return FUZZ_AHCI + 0x100 + 0x80 * (fuzz_take(in, 1) & 1);
}

static void ahci_enable(FuzzInput *in)
{
    uint64_t p = port(in);

    store(in, FUZZ_AHCI + 4, 0x80000002, 4);
    store(in, p + 0x18, 0x16, 4);
    event_loop_iterate(event_loop_main(), false);
    store(in, p, FUZZ_LISTS + CMDS, 4);
    store(in, p + 8, FUZZ_LISTS + FISES, 4);
    store(in, p + 0x14, ~0u, 4);
    store(in, p + 0x18, 0x17, 4);
}

static void ahci_command(FuzzInput *in)
{
    static const uint8_t opcodes[] = { 0x25, 0x35, 0x60, 0x61, 0xa0, 0xa0, 0xec, 0xa1, 0x24, 0x34, 0x06, 0x2f,
                                       0x47, 0xb0, 0xea, 0x08, 0x90, 0xef, 0xc4, 0xc5, 0x29, 0x39, 0x64 };
    static const uint8_t packets[] = { 0x28, 0xa8, 0xbe, 0x12, 0x43, 0x03, 0x5a, 0x46, 0x4a, 0xad, 0x1b, 0x00 };
    unsigned slot = fuzz_take(in, 1) & 31, prds = fuzz_take(in, 1) & 7, sectors = some_number(in);
    uint64_t header = FUZZ_LISTS + CMDS + 32 * slot, table = FUZZ_LISTS + TABLES + 0x200 * slot, p = port(in);
    uint8_t op = opcodes[fuzz_take(in, 1) % ARRAY_LEN(opcodes)], how = fuzz_take(in, 1);
    bool queued = (op & 0xf8) == 0x60;

    store(in, header, 5 | (how & 0x60) | (uint32_t)prds << 16, 4);
    store(in, header + 8, how & 0x1f ? table : some_address(in), 8);
    store(in, table, 0x8027 | op << 16 | (queued ? sectors : some_number(in)) << 24, 4);
    store(in, table + 4, 0x40000000 | (some_number(in) & 0xffffff), 4);
    if (op == 0xb0) {             /* SMART: a subcommand, its key, and a log or a test */
        store(in, table, 0x8027 | op << 16 | (0xd0u + (how & 0xf)) << 24, 4);
        store(in, table + 4, 0xc24f00 | (fuzz_take(in, 1) & 0x87), 4);
        sectors = how & 0x10 ? 1 : sectors;
    }
    store(in, table + 8, how & 0x80 ? some_number(in) : 0, 4);
    store(in, table + 12, queued ? slot << 3 : sectors, 4);
    store(in, table + 0x40, packets[fuzz_take(in, 1) % ARRAY_LEN(packets)] | (uint64_t)fuzz_take(in, 4) << 8, 8);
    store(in, table + 0x48, some_number(in), 4);
    for (unsigned i = 0; i < prds; i++) {
        store(in, table + 0x80 + 16 * i, some_address(in), 8);
        store(in, table + 0x8c + 16 * i, some_number(in) << (fuzz_take(in, 1) & 15), 4);
    }
    store(in, p + 0x34, queued ? BIT(slot) : 0, 4);
    store(in, p + 0x38, BIT(slot), 4);
}

static void ahci_register(FuzzInput *in)
{
    uint8_t how = fuzz_take(in, 1);
    uint64_t addr = how & 1 ? port(in) + (fuzz_take(in, 1) & 0x3c) : FUZZ_AHCI + (fuzz_take(in, 1) & 0x2c);

    if (how & 0x80) {
        address_space_load(&in->vm->memory, addr, 4);
    } else {
        store(in, addr, some_number(in), 4);
    }
}

/* ---- both ---- */

static void change_lists(FuzzInput *in)
{
    for (unsigned n = 1 + (fuzz_take(in, 1) & 7); n > 0; n--) {
        store(in, FUZZ_LISTS + fuzz_take(in, 3) % FUZZ_LISTS_LEN, some_address(in), 8);
    }
}

/* Lists of pages and descriptors, with links among them. */
static void make_lists(FuzzInput *in)
{
    for (unsigned i = 0; i < 16; i++) {
        unsigned at = fuzz_take(in, 1);

        store(in, FUZZ_LISTS + PRPS + 8 * at, some_address(in) & ~0xfffull, 8);
        store(in, FUZZ_LISTS + SGLS + 16 * at, some_address(in), 8);
        store(in, FUZZ_LISTS + SGLS + 16 * at + 8, some_number(in) | fuzz_take(in, 1) % 5ull << 60, 8);
    }
    store(in, FUZZ_LISTS + PRPS + 0xff8, FUZZ_LISTS + PRPS, 8);
}

static void configure(FuzzInput *in)
{
    uint8_t how = fuzz_take(in, 1);
    uint32_t base = how & 1 ? NVME_CFG : AHCI_CFG;

    config(in, base | (how & 2 ? 4 : fuzz_take(in, 1) & 0xff), some_number(in), how & 4 ? 2 : 1);
    config(in, base | 4, 7, 2);
}

static void turn_loop(FuzzInput *in)
{
    for (unsigned n = fuzz_take(in, 1) & 15; n > 0 && event_loop_iterate(event_loop_main(), false); n--) {
    }
}

static void stop_and_go(FuzzInput *in)
{
    vm_stop(in->vm, RUN_STATE_PAUSED);
    vm_start(in->vm);
}

static void (*const ops[32])(FuzzInput *in) = {
    nvme_enable, nvme_queues, nvme_admin, nvme_admin, nvme_io, nvme_io, nvme_io, nvme_io, nvme_io,
    nvme_register, nvme_register, ahci_enable, ahci_enable, ahci_command, ahci_command, ahci_command,
    ahci_command, ahci_command, ahci_register, ahci_register, change_lists, make_lists, make_lists,
    configure, turn_loop, turn_loop, turn_loop, turn_loop, turn_loop, turn_loop, turn_loop, stop_and_go,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool added;
    FuzzInput in = { data, size, fuzz_machine() };

    if (!added) {
        added = true;
        fuzz_add_disk("nvme", 2 * MIB);
        fuzz_add_device(in.vm, "nvme", "nvme", "pci.0", "serial", "1");
        fuzz_add_device(in.vm, "nvme-ns", "ns", "nvme", "drive", "nvme");
        vm_reset(in.vm);
        fuzz_machine();
    }
    config(&in, NVME_CFG | 0x10, (uint32_t)NVME, 4);
    config(&in, NVME_CFG | 4, 7, 2);
    nvme_enable(&in);
    nvme_queues(&in);
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
