/* SPDX-License-Identifier: MIT */
/*
 * A whole pc with a CPU that runs: stopped, saved, reset, loaded, it goes on where it was, under each
 * accelerator.  Its firmware is the guest: it counts without end, and its handler counts ticks of the PIT.
 * RAM is not part of the stream here; it stays as it is.
 */
#include <unistd.h>

#include "base/error.h"
#include "target-x86/x86_cpu.h"
#include "vm/accel.h"
#include "vm/machine.h"
#include "vm/vm.h"

enum { LOOPS = 0x1000, TICKS = 0x1004, STARTS = 0x1008, FIRMWARE = 64 * KIB };

/* At f000:0000: IVT, 8259, PIT; then count for ever. */
static const uint8_t firmware_main[] = {
    0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xd0, 0xbc, 0x00, 0x80,         /* ds = ss = 0 */
    0x66, 0xff, 0x06, 0x08, 0x10,                                       /* inc dword [STARTS] */
    0xc7, 0x06, 0x20, 0x00, 0x80, 0x00, 0xc7, 0x06, 0x22, 0x00, 0x00, 0xf0,
    0xb0, 0x11, 0xe6, 0x20, 0xb0, 0x08, 0xe6, 0x21, 0xb0, 0x04, 0xe6, 0x21, 0xb0, 0x01, 0xe6, 0x21,
    0xb0, 0xfe, 0xe6, 0x21,
    0xb0, 0x34, 0xe6, 0x43, 0xb0, 0x00, 0xe6, 0x40, 0xb0, 0x10, 0xe6, 0x40,
    0xfb, 0x66, 0xff, 0x06, 0x00, 0x10, 0xeb, 0xf9,                     /* inc dword [LOOPS] */
};
/* At f000:0080: inc dword [TICKS]; EOI; iret */
static const uint8_t firmware_tick[] = { 0x66, 0xff, 0x06, 0x04, 0x10, 0x50, 0xb0, 0x20, 0xe6, 0x20,
                                         0x58, 0xcf };
static const uint8_t firmware_reset[] = { 0xea, 0x00, 0x00, 0x00, 0xf0 };

static void must(bool ok, GError *error)
{
    if (!ok) {
        g_error("%s", error ? error->message : "it failed");
    }
}

static char *write_firmware(void)
{
    g_autofree uint8_t *image = g_malloc0(FIRMWARE);
    g_autoptr(GError) error = NULL;
    char *path = g_strdup("/tmp/pc-state-XXXXXX");
    int fd = mkstemp(path);

    memcpy(image, firmware_main, sizeof(firmware_main));
    memcpy(image + 0x80, firmware_tick, sizeof(firmware_tick));
    memcpy(image + 0xfff0, firmware_reset, sizeof(firmware_reset));
    must(fd >= 0, NULL);
    close(fd);
    must(g_file_set_contents(path, (char *)image, FIRMWARE, &error), error);
    return path;
}

static Vm *make_pc(const char *accel_name, const char *irqchip)
{
    g_autofree char *path = write_firmware();
    g_autoptr(GError) error = NULL;
    const MachineType *type = machine_find("pc", &error);
    const AccelType *accel = accel_find(accel_name, &error);
    Machine *m;
    Vm *vm;

    must(type && accel, error);
    vm = vm_new();
    m = (Machine *)(void *)object_new(type->name, &error);
    m->vm = vm;
    m->ram_size = m->max_ram_size = 16 * MIB;
    m->cpu_type = g_strdup(type->default_cpu);
    m->firmware = g_strdup(path);
    m->boot_splash_time = m->boot_reboot_timeout = -1;
    m->smp = (CpuTopology){ 1, 1, 1, 1, 1, 1, 1 };
    vm->machine = m;
    object_add_child(vm->root, "machine", OBJECT(m));
    vm->accel = (Accel *)(void *)object_new_known((const ObjectType *)(const void *)accel);
    vm->accel->vm = vm;
    if (irqchip) {
        object_set_str(OBJECT(vm->accel), "kernel-irqchip", irqchip);
    }
    must(!accel->init_vm || accel->init_vm(vm->accel, vm, &error), error);
    must(type->build(m, &error), error);
    unlink(path);
    machine_done(m);
    vm_reset(vm);
    return vm;
}

static uint32_t ram(Vm *vm, gpa_t at)
{
    uint8_t bytes[4];

    address_space_read(&vm->memory, at, bytes, sizeof(bytes));
    return le32_load(bytes);
}

/* Until the number at AT exceeds VALUE. */
static void run_past(Vm *vm, gpa_t at, uint32_t value)
{
    vm_start(vm);
    while (ram(vm, at) <= value) {
        clock_run(vm->clock);
        machine_unlock();
        g_thread_yield();
        machine_lock();
    }
    vm_stop(vm, RUN_STATE_PAUSED);
}

static void round_trip(const char *accel, const char *irqchip)
{
    g_autoptr(GError) error = NULL;
    Vm *vm = make_pc(accel, irqchip);
    VmWriter *w = vm_writer_new();
    uint32_t loops, ticks;
    VmReader *r;
    const uint8_t *bytes;
    size_t len;

    run_past(vm, TICKS, 3);
    loops = ram(vm, LOOPS);
    ticks = ram(vm, TICKS);
    g_assert_cmpuint(loops, >, 0);
    must(vm_save_devices(vm, w, &error), error);
    vm_reset(vm);
    bytes = vm_writer_bytes(w, &len);
    r = vm_reader_new(bytes, len);
    must(vm_load_devices(vm, r, &error), error);
    g_assert_cmpuint(vm_reader_left(r), ==, 0);
    run_past(vm, LOOPS, loops);
    run_past(vm, TICKS, ticks + 3);
    g_assert_cmpuint(ram(vm, STARTS), ==, 1);           /* not from the reset vector again */
    vm_reader_free(r);
    vm_writer_free(w);
}

static void test_tcg(void)
{
    round_trip("tcg", NULL);
}

static void test_kvm(gconstpointer irqchip)
{
    g_autoptr(GError) error = NULL;

    if (!accel_find("kvm", NULL)->probe(&error)) {
        g_test_skip(error->message);
        return;
    }
    round_trip("kvm", irqchip);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    thread_set_main();
    machine_lock_enter_main_loop();
    x86_cpu_register_types();
    g_test_add_func("/pc-state/tcg", test_tcg);
    g_test_add_data_func("/pc-state/kvm/off", "off", test_kvm);
    g_test_add_data_func("/pc-state/kvm/split", "split", test_kvm);
    g_test_add_data_func("/pc-state/kvm/on", "on", test_kvm);
    return g_test_run();
}
