/* SPDX-License-Identifier: MIT */
/* The board that fuzz targets of devices share. */
#include "tests/fuzz/fuzz_machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/event_loop.h"
#include "base/log.h"
#include "base/thread.h"
#include "block/graph.h"
#include "block/memory.h"
#include "chardev/chardev.h"
#include "hw/virtio/virtio_mmio.h"
#include "target-x86/x86_cpu.h"
#include "vm/accel.h"
#include "vm/machine.h"

/* ---- the input ---- */

uint64_t fuzz_take(FuzzInput *in, unsigned bytes)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < bytes && in->len; i++, in->len--) {
        v = v << 8 | *in->data++;
    }
    return v;
}

uint64_t fuzz_pick(FuzzInput *in, const FuzzWindow *list, unsigned n)
{
    const FuzzWindow *w = &list[fuzz_take(in, 1) % n];

    return w->base + fuzz_take(in, w->len > UINT32_MAX ? 8 : w->len > 256 ? 3 : 1) % w->len;
}

void fuzz_out(FuzzInput *in, uint16_t port, uint32_t value, unsigned size)
{
    address_space_store(&in->vm->io, port, value, size);
}

uint32_t fuzz_in(FuzzInput *in, uint16_t port, unsigned size)
{
    return address_space_load(&in->vm->io, port, size);
}

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

MemoryDisk *fuzz_add_disk(const char *name, size_t bytes)
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
    return disk;
}

void fuzz_add_device(Vm *vm, const char *type, const char *id, const char *bus_name, const char *prop,
                     const char *value)
{
    GError *error = NULL;
    Device *dev = device_new(vm, type, &error);

    must(dev, error);
    dev->id = g_strdup(id);
    must(!prop || object_set_text(OBJECT(dev), prop, value, &error), error);
    must(strcmp(type, "virtio-blk-pci") ||
             (object_set_text(OBJECT(dev), "packed", "on", &error) &&
              object_set_text(OBJECT(dev), "num-queues", "2", &error)), error);
    must(!getenv("FUZZ_IOTHREAD") || strncmp(type, "virtio-", 7) || strcmp(bus_name, "pci.0") ||
             object_set_text(OBJECT(dev), "iothread", "io", &error), error);
    must(device_realize(dev, bus_find(vm, bus_name, NULL), &error), error);
}

/* With FUZZ_IOTHREAD=1 virtio disks on PCI run on it. */
static void add_iothread(Vm *vm)
{
    GError *error = NULL;
    Object *obj = object_new("iothread", &error);

    must(obj, error);
    object_add_child(vm->objects, "io", obj);
    object_unref(obj);
    must(obj->type->complete(obj, &error), error);
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
    fuzz_add_disk("hd", 3 * MIB + 512);
    fuzz_add_disk("iso", 300 * KIB);
    fuzz_add_device(vm, "ide-hd", "hd", "ide.0", "drive", "hd");
    fuzz_add_device(vm, "ide-cd", "cd", "ide.1", "drive", "iso");
    fuzz_add_device(vm, "VGA", "vga", "pci.0", "romfile", "");
    fuzz_add_disk("fd", 1440 * KIB);
    fuzz_add_device(vm, "floppy", "fd", "floppy-bus.0", "drive", "fd");
    add_iothread(vm);
    fuzz_add_disk("vd", 2 * MIB);
    fuzz_add_device(vm, "virtio-blk-pci", "vd", "pci.0", "drive", "vd");
    must(chardev_new_legacy("null", "null", NULL, &error), error);
    must(chardev_new_legacy("null2", "null", NULL, &error), error);
    must(chardev_new_legacy("null3", "null", NULL, &error), error);
    fuzz_add_device(vm, "isa-serial", "serial", "isa.0", "chardev", "null");
    fuzz_add_device(vm, "isa-parallel", "parallel", "isa.0", "chardev", "null2");
    fuzz_add_device(vm, "isa-debugcon", "debugcon", "isa.0", "chardev", "null3");
    fuzz_add_device(vm, "pvpanic", "pvpanic", "isa.0", NULL, NULL);
    fuzz_add_device(vm, "ib700", "ib700", "isa.0", NULL, NULL);
    fuzz_add_device(vm, "ich9-ahci", "ahci", "pci.0", "addr", "5");
    fuzz_add_disk("sata", 2 * MIB);
    fuzz_add_device(vm, "ide-hd", "sata", "ahci.0", "drive", "sata");
    fuzz_add_disk("sata-cd", 300 * KIB);
    fuzz_add_device(vm, "ide-cd", "sata-cd", "ahci.1", "drive", "sata-cd");
    must(virtio_mmio_new(vm, 0, FUZZ_VIRTIO_MMIO, (IrqPin){ 0 }, &error), error);
    fuzz_add_disk("mmio", MIB);
    fuzz_add_device(vm, "virtio-blk-device", "mmio", "virtio-mmio-bus.0", "drive", "mmio");
    machine_done(m);
    clock_start(vm->clock);
    vm->state = RUN_STATE_RUNNING;
    return vm;
}

/* What a BIOS would have done: windows where the tables above look for them. */
static void configure(Vm *vm)
{
    static const struct { uint32_t reg, value; } writes[] = {
        { 0x80000920, FUZZ_BMDMA | 1 }, { 0x80000904, 7 },
        { 0x80000b40, FUZZ_PM_BASE | 1 }, { 0x80000b80, 1 },
        { 0x80001010, FUZZ_LFB }, { 0x80001018, FUZZ_VGA_MMIO }, { 0x80001004, 7 },
        { 0x80001810, FUZZ_VIRTIO_IO | 1 }, { 0x80001820, FUZZ_VIRTIO }, { 0x80001824, 0 },
        { 0x80001804, 7 },
        { 0x80002824, FUZZ_AHCI }, { 0x80002804, 7 },
    };

    for (unsigned i = 0; i < ARRAY_LEN(writes); i++) {
        address_space_store(&vm->io, 0xcf8, writes[i].reg, 4);
        address_space_store(&vm->io, 0xcfc, writes[i].value, 4);
    }
}

Vm *fuzz_machine(void)
{
    static Vm *vm;

    vm = vm ?: make_vm();
    vm_reset(vm);
    configure(vm);
    return vm;
}

/* ---- running ---- */

static int run_random(unsigned seed, unsigned rounds, FuzzOne *one)
{
    g_autofree uint8_t *data = g_malloc(FUZZ_ROUND);

    for (unsigned r = 0; r < rounds; r++) {
        g_autoptr(GRand) rand = g_rand_new_with_seed(seed + r);

        for (unsigned i = 0; i < FUZZ_ROUND; i++) {
            data[i] = g_rand_int(rand);
        }
        if (getenv("FUZZ_VERBOSE")) {
            fprintf(stderr, "seed %u\n", seed + r);
        }
        one(data, FUZZ_ROUND);
    }
    return 0;
}

void fuzz_save_and_load(FuzzInput *in, bool damage, const char *may_miss)
{
    static bool damaged;
    VmWriter *w = vm_writer_new();
    GError *error = NULL;
    g_autofree uint8_t *bytes = NULL;
    const uint8_t *saved;
    VmReader *r;
    size_t len;

    vm_stop(in->vm, RUN_STATE_PAUSED);
    must(vm_save_devices(in->vm, w, &error), error);
    saved = vm_writer_bytes(w, &len);
    bytes = g_memdup2(saved, len);
    for (unsigned n = damage ? 1 + (fuzz_take(in, 1) & 7) : 0; n > 0; n--) {
        bytes[fuzz_take(in, 3) % len] = fuzz_take(in, 1);
    }
    r = vm_reader_new(bytes, len);
    if (!vm_load_devices(in->vm, r, &error)) {
        if (!damaged && !damage && !(may_miss && strstr(error->message, may_miss))) {
            g_error("what was saved is refused: %s", error->message);
        }
        g_clear_error(&error);
        vm_reset(in->vm);
    }
    damaged |= damage;
    vm_reader_free(r);
    vm_writer_free(w);
    vm_start(in->vm);
}

int fuzz_main(int argc, char **argv, FuzzOne *one)
{
    if (argc == 4 && !strcmp(argv[1], "--seed")) {
        return run_random(strtoul(argv[2], NULL, 10), strtoul(argv[3], NULL, 10), one);
    }
    for (int i = 1; i < argc; i++) {
        g_autofree char *data = NULL;
        gsize size;

        if (!g_file_get_contents(argv[i], &data, &size, NULL)) {
            return 1;
        }
        one((const uint8_t *)data, size);
    }
    return 0;
}
