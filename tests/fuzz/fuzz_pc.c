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
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "accel/qtest/qtest.h"
#include "base/bits.h"
#include "base/event_loop.h"
#include "base/log.h"
#include "base/thread.h"
#include "block/backend.h"
#include "block/graph.h"
#include "block/memory.h"
#include "target-x86/x86_cpu.h"
#include "ui/console.h"
#include "vm/accel.h"
#include "vm/machine.h"
#include "vm/vm.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PRD_TABLE = 0x1000, FW_CFG_DMA = 0x2000, BMDMA = 0xc000, PM_BASE = 0x600 };
enum { ROUND_LEN = 3000 };

typedef struct Window {
    uint64_t base, len;
} Window;

/* clang-format off */
static const Window ports[] = {
    { 0x00, 16 },  { 0x20, 2 },   { 0x40, 4 },   { 0x60, 5 },   { 0x70, 8 },   { 0x80, 16 },
    { 0x92, 1 },   { 0xa0, 2 },   { 0xb2, 2 },   { 0xc0, 32 },  { 0xf0, 1 },   { 0x170, 8 },
    { 0x1ce, 4 },  { 0x1f0, 8 },  { 0x2f8, 8 },  { 0x376, 2 },  { 0x378, 8 },  { 0x3b0, 48 },
    { 0x3f0, 8 },  { 0x3f8, 8 },  { 0x402, 1 },  { 0x481, 11 }, { 0x4d0, 2 },  { 0x510, 12 },
    { 0xcf8, 8 },  { 0xae00, 32 }, { 0xaf00, 32 }, { 0xafe0, 4 }, { 0xb100, 64 },
    { PM_BASE, 64 }, { BMDMA, 16 },
};
static const Window windows[] = {
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

/* ---- the input ---- */

typedef struct Input {
    const uint8_t *data;
    size_t len;
    Vm *vm;
} Input;

static uint64_t take(Input *in, unsigned bytes)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < bytes && in->len; i++, in->len--) {
        v = v << 8 | *in->data++;
    }
    return v;
}

static uint64_t pick(Input *in, const Window *list, unsigned n)
{
    const Window *w = &list[take(in, 1) % n];

    return w->base + take(in, w->len > UINT32_MAX ? 8 : 3) % w->len;
}

static void out(Input *in, uint16_t port, uint32_t value, unsigned size)
{
    address_space_store(&in->vm->io, port, value, size);
}

static uint32_t inp(Input *in, uint16_t port, unsigned size)
{
    return address_space_load(&in->vm->io, port, size);
}

/* ---- operations ---- */

static void op_port(Input *in)
{
    uint8_t how = take(in, 1);
    uint16_t port = pick(in, ports, ARRAY_LEN(ports));
    unsigned size = 1u << (how & 7) % 3;

    if (how & 0x80) {
        out(in, port, take(in, size), size);
    } else {
        inp(in, port, size);
    }
}

static void op_any_port(Input *in)
{
    uint16_t port = take(in, 2);

    out(in, port, take(in, 2), 2);
    inp(in, port, 4);
}

static void op_memory(Input *in)
{
    uint8_t how = take(in, 1);
    gpa_t addr = pick(in, windows, ARRAY_LEN(windows));
    unsigned size = 1u << (how & 3);

    if (how & 0x80) {
        address_space_store(&in->vm->memory, addr, take(in, size), size);
    } else {
        address_space_load(&in->vm->memory, addr, size);
    }
}

static void op_pci(Input *in)
{
    uint8_t how = take(in, 1), slot = take(in, 1) % 4, offset = take(in, 1);
    unsigned size = 1u << (how & 7) % 3;

    out(in, 0xcf8, 0x80000000u | slot << 11 | (take(in, 1) & 3) << 8 | (offset & 0xfc), 4);
    if (how & 0x80) {
        out(in, 0xcfc + (offset & 3), take(in, size), size);
    } else {
        inp(in, 0xcfc + (offset & 3), size);
    }
}

static void op_ide_command(Input *in)
{
    uint8_t how = take(in, 1), command = ata_commands[take(in, 1) % ARRAY_LEN(ata_commands)];
    uint16_t base = how & 1 ? 0x170 : 0x1f0;

    out(in, base + 6, (how & 2 ? 0x10 : 0) | (how & 4 ? 0x40 : 0) | 0xa0, 1);
    out(in, base + 1, take(in, 1), 1);
    for (unsigned reg = 2; reg <= 5; reg++) {
        out(in, base + reg, how & 8 ? take(in, 1) : reg == 2, 1);
        out(in, base + reg, how & 16 ? take(in, 1) : 0, 1);
    }
    out(in, base + 7, command, 1);
    if (command == 0xa0) {
        uint8_t packet[12];

        for (unsigned i = 0; i < 12; i++) {
            packet[i] = i == 0 ? packets[take(in, 1) % ARRAY_LEN(packets)]
                               : how & 32 || i > 6 ? take(in, 1) : 0;
        }
        for (unsigned i = 0; i < 12; i += 2) {
            out(in, base, le16_load(packet + i), 2);
        }
    }
    if (how & 64) {
        out(in, BMDMA + (how & 1 ? 8 : 0), 0, 1);
        out(in, BMDMA + (how & 1 ? 12 : 4), PRD_TABLE, 4);
        out(in, BMDMA + (how & 1 ? 8 : 0), 9, 1);
    }
}

static void op_ide_data(Input *in)
{
    uint8_t how = take(in, 1);
    uint16_t base = how & 1 ? 0x170 : 0x1f0;
    unsigned n = take(in, 1) * 4;

    for (unsigned i = 0; i < n; i++) {
        if (how & 2) {
            out(in, base, i, how & 4 ? 4 : 2);
        } else {
            inp(in, base, how & 4 ? 4 : 2);
        }
    }
}

static void op_prd(Input *in)
{
    unsigned n = take(in, 1) % 8;

    for (unsigned i = 0; i <= n; i++) {
        uint8_t how = take(in, 1);
        uint32_t addr = how & 1 ? 0x100000 + take(in, 1) * 0x1000 : (uint32_t)take(in, 4);
        uint32_t len = how & 2 ? take(in, 2) : 0x800;

        address_space_store(&in->vm->memory, PRD_TABLE + 8 * i, addr, 4);
        address_space_store(&in->vm->memory, PRD_TABLE + 8 * i + 4,
                            len | (i == n ? 0x80000000u : 0), 4);
    }
}

static void op_fw_cfg(Input *in)
{
    uint32_t control = take(in, 1) << 16 | (take(in, 1) & 0x1f);
    uint32_t len = take(in, 3);
    uint64_t addr = take(in, 1) & 1 ? take(in, 8) : take(in, 3);

    address_space_store(&in->vm->memory, FW_CFG_DMA, __builtin_bswap32(control), 4);
    address_space_store(&in->vm->memory, FW_CFG_DMA + 4, __builtin_bswap32(len), 4);
    address_space_store(&in->vm->memory, FW_CFG_DMA + 8, __builtin_bswap64(addr), 8);
    out(in, 0x514, 0, 4);
    out(in, 0x518, __builtin_bswap32(FW_CFG_DMA), 4);
}

static void op_vga(Input *in)
{
    uint8_t how = take(in, 1);

    if (how & 1) {
        out(in, 0x1ce, take(in, 1) % 12, 2);
        out(in, 0x1cf, how & 2 ? take(in, 2) : take(in, 1), 2);
    } else {
        static const uint16_t pairs[] = { 0x3c4, 0x3ce, 0x3d4 };

        out(in, 0x3c2, how & 4 ? 0x67 : take(in, 1), 1);
        inp(in, 0x3da, 1);
        out(in, 0x3c0, 0x20, 1);
        out(in, pairs[(how >> 4) % 3], (uint16_t)take(in, 2), 2);
    }
}

static void op_time(Input *in)
{
    clock_fake_advance(in->vm->clock, (int64_t)take(in, 3));
}

static void op_loop(Input *in)
{
    unsigned n = take(in, 1) & 7;

    while (n-- > 0 && event_loop_iterate(event_loop_main(), false)) {
    }
}

/* What a window or a screendump would do. */
static void op_look(Input *in)
{
    Console *con = console_at(0);

    console_refresh(con);
    g_free(console_text(con));
}

static void op_medium(Input *in)
{
    BlockBackend *cd = blk_by_device("cd");
    uint8_t how = take(in, 1);

    if (how & 1) {
        blk_open_tray(cd, how & 2, NULL);
    } else {
        blk_close_tray(cd, NULL);
    }
}

static void op_reset(Input *in)
{
    if (take(in, 1) < 16) {
        vm_reset(in->vm);
    }
}

/* clang-format off */
static void (*const ops[])(Input *in) = {
    op_port, op_port, op_port, op_port, op_port, op_port, op_memory, op_memory, op_memory,
    op_any_port, op_pci, op_ide_command, op_ide_command, op_ide_command, op_ide_data,
    op_ide_data, op_prd, op_fw_cfg, op_vga, op_vga, op_time, op_loop, op_loop, op_look,
    op_medium, op_reset,
};
/* clang-format on */

/* ---- the machine ---- */

static void ignore(Vm *vm)
{
}

static void ignore_cause(Vm *vm, ShutdownCause cause)
{
}

static void ignore_status(Vm *vm, int status)
{
}

static void ignore_stop(Vm *vm, RunState state)
{
}

static void ignore_reason(Vm *vm, const char *reason)
{
}

static const VmHost host = {
    .request_reset = ignore_cause, .request_shutdown = ignore_cause, .request_suspend = ignore,
    .request_wakeup = ignore_reason, .guest_panicked = ignore, .guest_crashloaded = ignore,
    .watchdog_expired = ignore, .request_exit = ignore_status, .request_stop = ignore_stop,
};

static void must(bool ok, GError *error)
{
    if (!ok) {
        g_error("%s", error ? error->message : "no reason given");
    }
}

static void add_disk(const char *name, size_t bytes)
{
    g_autoptr(NodeOpts) opts = node_opts_new();
    g_autofree char *file = g_strdup_printf("x-memory:%s", name);
    MemoryDisk *disk = memory_disk_new(name);
    GError *error = NULL;

    g_byte_array_set_size(disk->data, bytes);
    memset(disk->data->data, 0x5a, bytes);
    node_opts_set(opts, "driver", "raw");
    node_opts_set(opts, "node-name", name);
    must(node_open(file, opts, NODE_OPEN_RDWR, &error), error);
}

static void add_device(Vm *vm, const char *type, const char *id, const char *bus_name,
                       const char *prop, const char *value)
{
    GError *error = NULL;
    Device *dev = device_new(vm, type, &error);

    must(dev, error);
    dev->id = g_strdup(id);
    must(!prop || object_set_text(OBJECT(dev), prop, value, &error), error);
    must(device_realize(dev, bus_find(vm, bus_name, NULL), &error), error);
}

static Vm *make_vm(void)
{
    const MachineType *type;
    GError *error = NULL;
    char path[] = "/tmp/fuzz-pc-XXXXXX";
    int fd = mkstemp(path);
    Machine *m;
    Vm *vm;

    thread_set_main();
    machine_lock_enter_main_loop();
    x86_cpu_register_types();
    vm = vm_new();
    vm->host = &host;
    type = machine_find("pc", &error);
    must(type, error);
    m = (Machine *)(void *)object_new(type->name, &error);
    m->vm = vm;
    m->ram_size = m->max_ram_size = 16 * MIB;
    m->cpu_type = g_strdup(type->default_cpu);
    must(fd >= 0 && ftruncate(fd, 64 * KIB) == 0, NULL);
    close(fd);
    m->firmware = g_strdup(path);
    m->boot_splash_time = m->boot_reboot_timeout = -1;
    m->smp = (CpuTopology){ 1, 1, 1, 1, 1, 1, 1 };
    vm->machine = m;
    object_add_child(vm->root, "machine", OBJECT(m));
    vm->accel = (Accel *)(void *)object_new(accel_find("qtest", &error)->name, &error);
    vm->accel->vm = vm;
    clock_make_fake(vm->clock);
    must(type->build(m, &error), error);
    unlink(path);
    add_disk("hd", 3 * MIB + 512);
    add_disk("iso", 300 * KIB);
    add_device(vm, "ide-hd", "hd", "ide.0", "drive", "hd");
    add_device(vm, "ide-cd", "cd", "ide.1", "drive", "iso");
    add_device(vm, "VGA", "vga", "pci.0", "romfile", "");
    machine_done(m);
    clock_start(vm->clock);
    vm->state = RUN_STATE_RUNNING;
    return vm;
}

/* What a BIOS would have done: windows where the tables above look for them. */
static void configure(Input *in)
{
    static const struct { uint32_t reg, value; } writes[] = {
        { 0x80000920, BMDMA | 1 }, { 0x80000904, 7 },
        { 0x80000b40, PM_BASE | 1 }, { 0x80000b80, 1 },
        { 0x80001010, 0xe0000000 }, { 0x80001018, 0xfebf0000 }, { 0x80001004, 7 },
    };

    for (unsigned i = 0; i < ARRAY_LEN(writes); i++) {
        out(in, 0xcf8, writes[i].reg, 4);
        out(in, 0xcfc, writes[i].value, 4);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static Vm *vm;
    Input in = { data, size };

    vm = vm ?: make_vm();
    in.vm = vm;
    vm_reset(vm);
    configure(&in);
    while (in.len) {
        ops[take(&in, 1) % ARRAY_LEN(ops)](&in);
    }
    return 0;
}

#ifdef FUZZ_MAIN
static int run_random(unsigned seed, unsigned rounds)
{
    g_autofree uint8_t *data = g_malloc(ROUND_LEN);

    for (unsigned r = 0; r < rounds; r++) {
        g_autoptr(GRand) rand = g_rand_new_with_seed(seed + r);

        for (unsigned i = 0; i < ROUND_LEN; i++) {
            data[i] = g_rand_int(rand);
        }
        if (getenv("FUZZ_VERBOSE")) {
            fprintf(stderr, "seed %u\n", seed + r);
        }
        LLVMFuzzerTestOneInput(data, ROUND_LEN);
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 4 && !strcmp(argv[1], "--seed")) {
        return run_random(strtoul(argv[2], NULL, 10), strtoul(argv[3], NULL, 10));
    }
    for (int i = 1; i < argc; i++) {
        g_autofree char *data = NULL;
        gsize size;

        if (!g_file_get_contents(argv[i], &data, &size, NULL)) {
            return 1;
        }
        LLVMFuzzerTestOneInput((const uint8_t *)data, size);
    }
    return 0;
}
#endif
