/* SPDX-License-Identifier: MIT */
/*
 * The generic event device; see the header.
 * Locking: machine lock.
 */
#include "hw/acpi/ged.h"

#include "base/log.h"
#include "vm/vm.h"

enum { EVENT_POWER_BUTTON = BIT(1) };
enum { SLP_TYP_SHIFT = 2, SLP_TYP_MASK = 7, SLP_EN = BIT(5) };
enum { AML_NOTIFY = 0x86, AML_EQUAL = 0x93, STATUS_CHANGE = 0x80 };

typedef struct Ged {
    Device dev;
    MemoryRegion events_mr, regs_mr;
    IrqLine irq;
    uint32_t sel;             /* events that the guest has not read yet */
} Ged;

static uint64_t events_read(void *opaque, uint64_t offset, unsigned size)
{
    Ged *s = opaque;
    uint32_t sel = s->sel;

    s->sel = 0;
    return sel;
}

static void events_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    log_guest_error("acpi-ged: 0x%" PRIx64 " written to the events, which are read only\n", value);
}

static uint64_t regs_read(void *opaque, uint64_t offset, unsigned size)
{
    return 0;
}

static void regs_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Ged *s = opaque;

    if (offset == GED_REGS_RESET && value == GED_RESET_VALUE) {
        vm_request_reset(s->dev.vm, SHUTDOWN_CAUSE_GUEST_RESET);
    } else if (offset == GED_REGS_SLEEP_CTL && (value & SLP_EN)) {
        unsigned type = value >> SLP_TYP_SHIFT & SLP_TYP_MASK;

        if (type == GED_SLEEP_S5) {
            vm_request_shutdown(s->dev.vm, SHUTDOWN_CAUSE_GUEST_SHUTDOWN);
        } else {
            log_guest_error("acpi-ged: sleep type %u; there is only %d\n", type, GED_SLEEP_S5);
        }
    }
}

static const MmioOps events_ops = { events_read, events_write, .valid_min = 4, .valid_max = 4 };
static const MmioOps regs_ops = { regs_read, regs_write, .valid_min = 1, .valid_max = 1 };

static void powerdown(void *opaque)
{
    Ged *s = opaque;

    s->sel |= EVENT_POWER_BUTTON;
    irq_pulse(&s->irq);
}

static void ged_reset_enter(Device *dev)
{
    DEVICE_CAST(Ged, dev)->sel = 0;
}

static bool ged_realize(Device *dev, GError **error)
{
    Ged *s = DEVICE_CAST(Ged, dev);

    memory_region_init_io(&s->events_mr, OBJECT(dev), "acpi-ged", &events_ops, s, GED_EVENTS_LEN);
    memory_region_init_io(&s->regs_mr, OBJECT(dev), "acpi-ged-regs", &regs_ops, s, GED_REGS_LEN);
    vm_add_powerdown_hook(dev->vm, powerdown, s);
    return true;
}

static const VmField ged_state_fields[] = { VMS_U32(Ged, sel), VMS_END };
static const VmStateDesc ged_state = {
    .name = "acpi-ged-state", .version = 1, .minimum = 1, .fields = ged_state_fields,
};
static const VmField ged_fields[] = { VMS_PART(Ged, dev, "ged_state", &ged_state, .version = 1), VMS_END };
DEVICE_TYPE(ged, .name = "acpi-ged-x86", .size = sizeof(Ged), .realize = ged_realize,
            .reset_enter = ged_reset_enter, .vmstate = VMSTATE("acpi-ged", 1, 1, ged_fields));

Device *ged_new(Vm *vm, uint64_t events, uint64_t regs, IrqPin irq, GError **error)
{
    Device *dev = device_create(vm, "acpi-ged-x86", NULL, error, NULL);
    Ged *s = DEVICE_CAST(Ged, dev);

    if (s) {
        irq_connect(&s->irq, irq);
        memory_region_add(&vm->system_memory, events, &s->events_mr);
        memory_region_add(&vm->system_memory, regs, &s->regs_mr);
    }
    return dev;
}

void ged_write_aml(Aml *a, uint64_t events, uint32_t gsi)
{
    static const AmlField fields[] = { { "ESEL", 32 }, { 0 } };

    aml_begin_device(a, "GED");
    aml_name_string(a, "_HID", "ACPI0013");
    aml_name_string(a, "_UID", "GED");
    aml_begin_resources(a, "_CRS");
    aml_res_gsi(a, gsi, true);
    aml_end_resources(a);
    aml_operation_region(a, "EREG", AML_SYSTEM_MEMORY, events, GED_EVENTS_LEN);
    aml_field(a, "EREG", AML_DWORD_ACC, fields);
    aml_begin_method(a, "_EVT", 1, true);
    aml_op(a, AML_STORE);                     /* Local0 = ESEL */
    aml_ref(a, "ESEL");
    aml_local(a, 0);
    aml_begin_if(a);                          /* (Local0 & 2) == 2 */
    aml_op(a, AML_EQUAL);
    aml_op(a, AML_AND);
    aml_local(a, 0);
    aml_int(a, EVENT_POWER_BUTTON);
    aml_op(a, AML_NULL_TARGET);
    aml_int(a, EVENT_POWER_BUTTON);
    aml_op(a, AML_NOTIFY);
    aml_ref(a, "PWRB");
    aml_int(a, STATUS_CHANGE);
    aml_end(a);
    aml_end(a);
    aml_end(a);
    aml_begin_device(a, "PWRB");
    aml_name_string(a, "_HID", "PNP0C0C");
    aml_name_int(a, "_UID", 0);
    aml_end(a);
}
