/* SPDX-License-Identifier: MIT */
/*
 * VMware's backdoor port ("vmport").
 * Spec: the guest side in Linux (arch/x86/include/asm/vmware.h, drivers/input/mouse/vmmouse.c) and
 * the answers of QEMU 7.2: commands 0Ah, 13h, 14h, 2Dh, 44h and those of the mouse; others, and a
 * wrong magic number, read all ones.  IN and OUT of any width are calls.
 * Missing: the frequencies of command 2Dh, which are "unknown".
 * Locking: machine lock.
 */
#include "hw/misc/vmport.h"

#include "base/error.h"
#include "hw/smbios/smbios.h"
#include "vm/vm.h"

enum { CMD_GET_VERSION = 0x0a, CMD_GET_BIOS_UUID = 0x13, CMD_GET_RAM_SIZE = 0x14,
       CMD_GET_HZ = 0x2d, CMD_GET_VCPU_INFO = 0x44 };
enum { PORT = 0x5658, PORT_BYTES = 4, RAM_SIZE_MAGIC = 0x1177, VCPU_LEGACY_X2APIC = BIT(3) };

typedef struct Vmport {
    IsaDevice isa;
    MemoryRegion port;
    VmportCpu cpu;
    struct { VmportFn *fn; void *opaque; } commands[VMPORT_COMMANDS];
    bool read_set_eax, signal_unsupported, report_type, commands_v2;
    uint32_t version;
    uint8_t type;
} Vmport;

/* ---- commands ---- */

static void get_version(void *opaque, VmportRegs *regs)
{
    const Vmport *s = opaque;

    regs->eax = s->version;
    regs->ebx = VMPORT_MAGIC;
    if (s->report_type) {
        regs->ecx = s->type;
    }
}

static void get_bios_uuid(void *opaque, VmportRegs *regs)
{
    uint8_t uuid[16];

    smbios_system_uuid(uuid);
    regs->eax = le32_load(uuid);
    regs->ebx = le32_load(uuid + 4);
    regs->ecx = le32_load(uuid + 8);
    regs->edx = le32_load(uuid + 12);
}

static void get_ram_size(void *opaque, VmportRegs *regs)
{
    regs->eax = (uint32_t)((const Vmport *)opaque)->cpu.ram_bytes;
    regs->ebx = RAM_SIZE_MAGIC;
}

static void get_hz(void *opaque, VmportRegs *regs)
{
    regs->ebx = UINT32_MAX;
}

static void get_vcpu_info(void *opaque, VmportRegs *regs)
{
    const Vmport *s = opaque;

    regs->eax = s->cpu.has_x2apic(s->cpu.opaque) ? VCPU_LEGACY_X2APIC : 0;
}

/* ---- the port ---- */

/* What the CPU's registers become; the result is EAX. */
static uint32_t call(Vmport *s)
{
    VmportRegs before, regs;
    unsigned command;

    if (!s->cpu.get(s->cpu.opaque, &before)) {
        return UINT32_MAX;
    }
    regs = before;
    command = regs.ecx & 0xffff;
    if (regs.eax != VMPORT_MAGIC) {
        regs.eax = UINT32_MAX;
    } else if (command < VMPORT_COMMANDS && s->commands[command].fn) {
        s->commands[command].fn(s->commands[command].opaque, &regs);
    } else if (s->signal_unsupported) {
        regs.eax = UINT32_MAX;
    }
    if (!s->read_set_eax) {
        uint32_t eax = regs.eax;

        regs.eax = before.eax;
        s->cpu.put(s->cpu.opaque, &before, &regs);
        return eax;
    }
    s->cpu.put(s->cpu.opaque, &before, &regs);
    return regs.eax;
}

static uint64_t port_read(void *opaque, uint64_t offset, unsigned size)
{
    return offset ? UINT64_MAX : call(opaque);
}

static void port_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    if (offset == 0) {
        call(opaque);
    }
}

static const MmioOps port_ops = { port_read, port_write };

/* ---- for other devices ---- */

bool vmport_add_command(Device *vmport, unsigned command, VmportFn *fn, void *opaque,
                        GError **error)
{
    Vmport *s = DEVICE_CAST(Vmport, vmport);

    g_assert(command < VMPORT_COMMANDS);
    if (s->commands[command].fn) {
        return error_set(error, "command %u of the vmport is another device's already", command);
    }
    s->commands[command].fn = fn;
    s->commands[command].opaque = opaque;
    return true;
}

void vmport_remove_command(Device *vmport, unsigned command)
{
    DEVICE_CAST(Vmport, vmport)->commands[command].fn = NULL;
}

static void look_for_vmport(Object *obj, void *opaque)
{
    Device **found = opaque;

    if (object_is_a(obj, "vmport")) {
        *found = DEVICE(obj);
    }
    object_foreach_child(obj, look_for_vmport, opaque);
}

Device *vmport_find(Device *dev)
{
    Device *found = NULL;

    object_foreach_child(dev->vm->root, look_for_vmport, &found);
    return found;
}

/* ---- life cycle ---- */

static bool vmport_realize(Device *dev, GError **error)
{
    static const struct { unsigned command; VmportFn *fn; bool v2; } rows[] = {
        { CMD_GET_VERSION, get_version, false }, { CMD_GET_RAM_SIZE, get_ram_size, false },
        { CMD_GET_BIOS_UUID, get_bios_uuid, true }, { CMD_GET_HZ, get_hz, true },
        { CMD_GET_VCPU_INFO, get_vcpu_info, true },
    };
    Vmport *s = DEVICE_CAST(Vmport, dev);

    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        if ((!rows[i].v2 || s->commands_v2) &&
            !vmport_add_command(dev, rows[i].command, rows[i].fn, s, error)) {
            return false;
        }
    }
    memory_region_init_io(&s->port, OBJECT(s), "vmport", &port_ops, s, PORT_BYTES);
    isa_add_ports(&s->isa, &s->port, PORT);
    return true;
}

static const PropDef vmport_props[] = {
    PROP_U8("vmware-vmx-type", Vmport, type, 2),
    PROP_U32("vmware-vmx-version", Vmport, version, 6),
    PROP_BOOL("x-cmds-v2", Vmport, commands_v2, true),
    PROP_BOOL("x-read-set-eax", Vmport, read_set_eax, true),
    PROP_BOOL("x-report-vmx-type", Vmport, report_type, true),
    PROP_BOOL("x-signal-unsupported-cmd", Vmport, signal_unsupported, true),
    PROP_END,
};
DEVICE_TYPE(vmport, .name = "vmport", .bus = &bus_isa, .size = sizeof(Vmport),
            .category = DEVICE_CATEGORY_MISC, .props = vmport_props, .realize = vmport_realize);

Device *vmport_new(IsaBus *bus, const VmportCpu *cpu, GError **error)
{
    Device *dev = device_new(bus->bus.vm, "vmport", error);
    bool ok;

    if (!dev) {
        return NULL;
    }
    DEVICE_CAST(Vmport, dev)->cpu = *cpu;
    ok = device_realize(dev, &bus->bus, error);
    object_unref(OBJECT(dev));
    return ok ? dev : NULL;
}
