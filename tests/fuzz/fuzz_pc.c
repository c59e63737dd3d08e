/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: bytes as accesses of a hostile guest to the ports and memory windows of the pc
 * board, with disks, a CD, a display and a clock that the bytes move too.
 *
 * With clang: -fsanitize=fuzzer and without -DFUZZ_MAIN.  With FUZZ_MAIN it runs over the files
 * that are its arguments; "--seed N ROUNDS" runs over random bytes instead, always the same ones.
 *
 * Half of the operations are plain accesses; the others spell what random bytes hardly ever do: a
 * whole IDE command, an ATAPI packet, a PCI configuration cycle, a fw_cfg DMA.  No vCPU runs.
 */
#include "tests/fuzz/fuzz_machine.h"

#include "base/event_loop.h"
#include "block/backend.h"
#include "ui/console.h"

enum { PRD_TABLE = 0x1000, FW_CFG_DMA = 0x2000, BMDMA = FUZZ_BMDMA, PM_BASE = FUZZ_PM_BASE };

/* clang-format off */
static const FuzzWindow ports[] = {
    { 0x00, 16 },  { 0x20, 2 },   { 0x40, 4 },   { 0x60, 5 },   { 0x70, 8 },   { 0x80, 16 },
    { 0x92, 1 },   { 0xa0, 2 },   { 0xb2, 2 },   { 0xc0, 32 },  { 0xf0, 1 },   { 0x170, 8 },
    { 0x1ce, 4 },  { 0x1f0, 8 },  { 0x2f8, 8 },  { 0x376, 2 },  { 0x378, 8 },  { 0x3b0, 48 },
    { 0x3f0, 8 },  { 0x3f8, 8 },  { 0x402, 1 },  { 0x481, 11 }, { 0x4d0, 2 },  { 0x510, 12 },
    { 0xcf8, 8 },  { 0xae00, 32 }, { 0xaf00, 32 }, { 0xafe0, 4 }, { 0xb100, 64 },
    { PM_BASE, 64 }, { BMDMA, 16 },
};
static const FuzzWindow windows[] = {
    { 0, 0x4000 }, { 0xa0000, 0x20000 }, { 0xc0000, 0x40000 }, { 0xe0000000, 0x1000000 },
    { 0xfebf0000, 0x1000 }, { 0xfec00000, 0x40 }, { 0xfed00000, 0x400 }, { 0xfee00000, 0x1000 },
    { 0xfffe0000, 0x20000 }, { 0, UINT64_MAX },
};
static const uint8_t ata_commands[] = {
    0x06, 0x08, 0x10, 0x20, 0x24, 0x25, 0x27, 0x29, 0x30, 0x34, 0x35, 0x39, 0x3d, 0x40, 0x42,
    0x70, 0x90, 0x91, 0xa0, 0xa0, 0xa0, 0xa1, 0xb0, 0xc4, 0xc5, 0xc6, 0xc8, 0xca, 0xe7, 0xec,
    0xef, 0xf8,
};
static const uint8_t packets[] = {
    0x00, 0x03, 0x12, 0x1b, 0x1e, 0x25, 0x28, 0x2b, 0x42, 0x43, 0x46, 0x4a, 0x51, 0x52, 0x5a,
    0xa8, 0xad, 0xbd, 0xbe, 0xbe,
};
/* clang-format on */

/* ---- operations ---- */

static void op_port(FuzzInput *in)
{
    uint8_t how = fuzz_take(in, 1);
    uint16_t port = fuzz_pick(in, ports, ARRAY_LEN(ports));
    unsigned size = 1u << (how & 7) % 3;

    if (how & 0x80) {
        fuzz_out(in, port, fuzz_take(in, size), size);
    } else {
        fuzz_in(in, port, size);
    }
}

static void op_any_port(FuzzInput *in)
{
    uint16_t port = fuzz_take(in, 2);

    fuzz_out(in, port, fuzz_take(in, 2), 2);
    fuzz_in(in, port, 4);
}

static void op_memory(FuzzInput *in)
{
    uint8_t how = fuzz_take(in, 1);
    gpa_t addr = fuzz_pick(in, windows, ARRAY_LEN(windows));
    unsigned size = 1u << (how & 3);

    if (how & 0x80) {
        address_space_store(&in->vm->memory, addr, fuzz_take(in, size), size);
    } else {
        address_space_load(&in->vm->memory, addr, size);
    }
}

static void op_pci(FuzzInput *in)
{
    uint8_t how = fuzz_take(in, 1), slot = fuzz_take(in, 1) % 4, offset = fuzz_take(in, 1);
    unsigned size = 1u << (how & 7) % 3;

    fuzz_out(in, 0xcf8, 0x80000000u | slot << 11 | (fuzz_take(in, 1) & 3) << 8 | (offset & 0xfc), 4);
    if (how & 0x80) {
        fuzz_out(in, 0xcfc + (offset & 3), fuzz_take(in, size), size);
    } else {
        fuzz_in(in, 0xcfc + (offset & 3), size);
    }
}

static void op_ide_command(FuzzInput *in)
{
    uint8_t how = fuzz_take(in, 1), command = ata_commands[fuzz_take(in, 1) % ARRAY_LEN(ata_commands)];
    uint16_t base = how & 1 ? 0x170 : 0x1f0;

    fuzz_out(in, base + 6, (how & 2 ? 0x10 : 0) | (how & 4 ? 0x40 : 0) | 0xa0, 1);
    fuzz_out(in, base + 1, fuzz_take(in, 1), 1);
    for (unsigned reg = 2; reg <= 5; reg++) {
        fuzz_out(in, base + reg, how & 8 ? fuzz_take(in, 1) : reg == 2, 1);
        fuzz_out(in, base + reg, how & 16 ? fuzz_take(in, 1) : 0, 1);
    }
    fuzz_out(in, base + 7, command, 1);
    if (command == 0xa0) {
        uint8_t packet[12];

        for (unsigned i = 0; i < 12; i++) {
            packet[i] = i == 0 ? packets[fuzz_take(in, 1) % ARRAY_LEN(packets)]
                               : how & 32 || i > 6 ? fuzz_take(in, 1) : 0;
        }
        for (unsigned i = 0; i < 12; i += 2) {
            fuzz_out(in, base, le16_load(packet + i), 2);
        }
    }
    if (how & 64) {
        fuzz_out(in, BMDMA + (how & 1 ? 8 : 0), 0, 1);
        fuzz_out(in, BMDMA + (how & 1 ? 12 : 4), PRD_TABLE, 4);
        fuzz_out(in, BMDMA + (how & 1 ? 8 : 0), 9, 1);
    }
}

static void op_ide_data(FuzzInput *in)
{
    uint8_t how = fuzz_take(in, 1);
    uint16_t base = how & 1 ? 0x170 : 0x1f0;
    unsigned n = fuzz_take(in, 1) * 4;

    for (unsigned i = 0; i < n; i++) {
        if (how & 2) {
            fuzz_out(in, base, i, how & 4 ? 4 : 2);
        } else {
            fuzz_in(in, base, how & 4 ? 4 : 2);
        }
    }
}

static void op_prd(FuzzInput *in)
{
    unsigned n = fuzz_take(in, 1) % 8;

    for (unsigned i = 0; i <= n; i++) {
        uint8_t how = fuzz_take(in, 1);
        uint32_t addr = how & 1 ? 0x100000 + fuzz_take(in, 1) * 0x1000 : (uint32_t)fuzz_take(in, 4);
        uint32_t len = how & 2 ? fuzz_take(in, 2) : 0x800;

        address_space_store(&in->vm->memory, PRD_TABLE + 8 * i, addr, 4);
        address_space_store(&in->vm->memory, PRD_TABLE + 8 * i + 4,
                            len | (i == n ? 0x80000000u : 0), 4);
    }
}

static void op_fw_cfg(FuzzInput *in)
{
    uint32_t control = fuzz_take(in, 1) << 16 | (fuzz_take(in, 1) & 0x1f);
    uint32_t len = fuzz_take(in, 3);
    uint64_t addr = fuzz_take(in, 1) & 1 ? fuzz_take(in, 8) : fuzz_take(in, 3);

    address_space_store(&in->vm->memory, FW_CFG_DMA, __builtin_bswap32(control), 4);
    address_space_store(&in->vm->memory, FW_CFG_DMA + 4, __builtin_bswap32(len), 4);
    address_space_store(&in->vm->memory, FW_CFG_DMA + 8, __builtin_bswap64(addr), 8);
    fuzz_out(in, 0x514, 0, 4);
    fuzz_out(in, 0x518, __builtin_bswap32(FW_CFG_DMA), 4);
}

static void op_vga(FuzzInput *in)
{
    uint8_t how = fuzz_take(in, 1);

    if (how & 1) {
        fuzz_out(in, 0x1ce, fuzz_take(in, 1) % 12, 2);
        fuzz_out(in, 0x1cf, how & 2 ? fuzz_take(in, 2) : fuzz_take(in, 1), 2);
    } else {
        static const uint16_t pairs[] = { 0x3c4, 0x3ce, 0x3d4 };

        fuzz_out(in, 0x3c2, how & 4 ? 0x67 : fuzz_take(in, 1), 1);
        fuzz_in(in, 0x3da, 1);
        fuzz_out(in, 0x3c0, 0x20, 1);
        fuzz_out(in, pairs[(how >> 4) % 3], (uint16_t)fuzz_take(in, 2), 2);
    }
}

static void op_time(FuzzInput *in)
{
    clock_fake_advance(in->vm->clock, (int64_t)fuzz_take(in, 3));
}

static void op_loop(FuzzInput *in)
{
    unsigned n = fuzz_take(in, 1) & 7;

    while (n-- > 0 && event_loop_iterate(event_loop_main(), false)) {
    }
}

/* What a window or a screendump would do. */
static void op_look(FuzzInput *in)
{
    Console *con = console_at(0);

    console_refresh(con);
    g_free(console_text(con));
}

static void op_medium(FuzzInput *in)
{
    BlockBackend *cd = blk_by_device("cd");
    uint8_t how = fuzz_take(in, 1);

    if (how & 1) {
        blk_open_tray(cd, how & 2, NULL);
    } else {
        blk_close_tray(cd, NULL);
    }
}

static void op_reset(FuzzInput *in)
{
    if (fuzz_take(in, 1) < 16) {
        vm_reset(in->vm);
    }
}

/* clang-format off */
static void (*const ops[])(FuzzInput *in) = {
    op_port, op_port, op_port, op_port, op_port, op_port, op_memory, op_memory, op_memory,
    op_any_port, op_pci, op_ide_command, op_ide_command, op_ide_command, op_ide_data,
    op_ide_data, op_prd, op_fw_cfg, op_vga, op_vga, op_time, op_loop, op_loop, op_look,
    op_medium, op_reset,
};
/* clang-format on */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzInput in = { data, size, fuzz_machine() };

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
