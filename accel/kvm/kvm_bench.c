/* SPDX-License-Identifier: MIT */
/* Surroundings of the "kvm" accelerator's tests: see kvm_bench.h. */
#include "accel/kvm/kvm_bench.h"
#include "vm/cpu.h"

/* ---- surroundings ---- */

static void port_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    g_byte_array_append(((Rig *)opaque)->out, (const uint8_t *)&value, size);
}

static uint64_t port_read(void *opaque, uint64_t offset, unsigned size)
{
    return 0x5a;
}

static const MmioOps port_ops = { .read = port_read, .write = port_write };

static void end_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Rig *rig = opaque;

    rig->ended = true;
    rig->end_value = value;
}

static const MmioOps end_ops = { .read = port_read, .write = end_write };

static uint64_t mmio_read(void *opaque, uint64_t offset, unsigned size)
{
    return 0x11110000 + offset;
}

static void mmio_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    ((Rig *)opaque)->mmio_last = value;
}

static const MmioOps mmio_ops = { .read = mmio_read, .write = mmio_write };

static int intr_ack(void *opaque, X86Cpu *cpu)
{
    x86_cpu_request_clear(cpu, X86_REQ_INTR);
    return VECTOR;
}

bool rig_init(Rig *rig, const char *irqchip)
{
    const AccelType *type = accel_find("kvm", NULL);
    g_autoptr(GError) error = NULL;
    bool ok;

    memset(rig, 0, sizeof(*rig));
    if (!type->probe(&error)) {
        g_test_skip(error->message);
        return false;
    }
    machine_lock();
    rig->out = g_byte_array_new();
    rig->vm = vm_new();
    rig->kvm = (KvmAccel *)(void *)object_new_known(type_find("kvm-accel"));
    rig->kvm->accel.vm = rig->vm;
    rig->vm->accel = &rig->kvm->accel;
    object_set_str(OBJECT(rig->kvm), "kernel-irqchip", irqchip);
    ok = type->init_vm(rig->vm->accel, rig->vm, &error);
    g_assert_no_error(error);
    g_assert_true(ok);
    ok = memory_region_init_ram(&rig->ram, NULL, "ram", RAM_SIZE, NULL) &&
         memory_region_init_rom(&rig->rom, NULL, "rom", 0x1000, NULL);
    g_assert_true(ok);
    memory_region_init_io(&rig->mmio, NULL, "mmio", &mmio_ops, rig, 0x1000);
    memory_region_init_io(&rig->port, NULL, "port", &port_ops, rig, 1);
    memory_region_init_io(&rig->port_end, NULL, "end", &end_ops, rig, 1);
    memory_region_add(&rig->vm->system_memory, 0, &rig->ram);
    memory_region_add_overlap(&rig->vm->system_memory, MMIO, &rig->mmio, 1);
    memory_region_add_overlap(&rig->vm->system_memory, ROM, &rig->rom, 1);
    memory_region_add(&rig->vm->system_io, PORT, &rig->port);
    memory_region_add(&rig->vm->system_io, PORT_END, &rig->port_end);
    rig->bytes = memory_region_ram_ptr(&rig->ram);
    rig->dev = x86_cpu_create(rig->vm, "host,-check", 0, 0, &error);
    g_assert_no_error(error);
    rig->x86 = rig->dev->x86;
    rig->dev->bus.ops.intr_ack = intr_ack;
    ok = device_realize(&rig->dev->cpu.dev, NULL, &error);
    g_assert_no_error(error);
    g_assert_true(ok);
    return true;
}

void rig_clear(Rig *rig)
{
    vm_stop(rig->vm, RUN_STATE_SHUTDOWN);
    cpu_stop(&rig->dev->cpu);
    x86_vm_bus_clear(&rig->dev->bus);
    memory_region_remove(&rig->vm->system_memory, &rig->ram);
    memory_region_remove(&rig->vm->system_memory, &rig->mmio);
    memory_region_remove(&rig->vm->system_memory, &rig->rom);
    memory_region_remove(&rig->vm->system_io, &rig->port);
    memory_region_remove(&rig->vm->system_io, &rig->port_end);
    object_unref(OBJECT(rig->vm->accel));
    g_byte_array_free(rig->out, true);
    machine_unlock();
}

void rig_load(Rig *rig, const uint8_t *code, size_t len)
{
    static const uint8_t end[] = { 0xe6, PORT_END, 0xf4, 0xeb, 0xfd };  /* out; hlt; jmp hlt */

    memcpy(rig->bytes + CODE, code, len);
    memcpy(rig->bytes + CODE + len, end, sizeof(end));
    rig->x86->segs[SEG_CS].sel = 0;
    rig->x86->segs[SEG_CS].base = 0;
    rig->x86->rip = rig->x86->next_rip = CODE;
    rig->x86->gpr[R_RSP] = STACK;
    x86_update_mode(rig->x86);
}

void rig_run_until(Rig *rig, bool (*cond)(Rig *rig))
{
    vm_start(rig->vm);
    while (!cond(rig)) {
        machine_unlock();
        g_thread_yield();
        machine_lock();
    }
}

static bool has_ended(Rig *rig)
{
    return rig->ended;
}

void rig_run(Rig *rig)
{
    rig_run_until(rig, has_ended);
    vm_stop(rig->vm, RUN_STATE_PAUSED);
}

X86CpuDevice *rig_add_cpu(Rig *rig, unsigned index)
{
    g_autoptr(GError) error = NULL;
    X86CpuDevice *dev = x86_cpu_create(rig->vm, "host,-check", index, index, &error);
    bool ok;

    g_assert_no_error(error);
    ok = device_realize(&dev->cpu.dev, NULL, &error);
    g_assert_no_error(error);
    g_assert_true(ok);
    return dev;
}

void rig_remove_cpu(X86CpuDevice *dev)
{
    cpu_stop(&dev->cpu);
    x86_vm_bus_clear(&dev->bus);
}
