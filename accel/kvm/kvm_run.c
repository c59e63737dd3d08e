/* SPDX-License-Identifier: MIT */
/*
 * Running a vCPU: entries, exits, and what goes on between them.
 *
 * With kernel-irqchip=off an interrupt is acknowledged from our APIC when KVM says that the guest can
 * take it, else the interrupt window is asked for; INIT and SIPI are served on the fetched state.
 * With split the same is done for our 8259 alone, and with on KVM does all of it; then KVM also has
 * halts and start-up, and a vCPU thread sleeps inside KVM_RUN.
 * SMI is always served on the fetched state: system management mode itself runs in the interpreter,
 * since only there does SMRAM show.  An instruction that KVM gives up on is executed by the
 * interpreter, and the guest goes on.
 *
 * A kick is exit_request, then immediate_exit, then a signal: whichever moment it hits, either
 * the loop sees the request or KVM_RUN returns at once.
 * Locking: none held; devices take the machine lock themselves.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <sys/ioctl.h>

#include "accel/kvm/kvm_int.h"
#include "accel/trace.h"
#include "base/log.h"
#include "target-x86/code.h"
#include "target-x86/exception.h"
#include "target-x86/interp.h"
#include "target-x86/mmu.h"
#include "target-x86/msr.h"
#include "target-x86/smm.h"

void kvm_fail(KvmCpu *v, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    error_report("CPU %u: %s", v->cpu->index, text);
    /* It would fail again, and say so, until the main loop has stopped the VM. */
    __atomic_store_n(&v->cpu->stop_request, 1, __ATOMIC_SEQ_CST);
    vm_request_stop(v->cpu->dev.vm, RUN_STATE_INTERNAL_ERROR);
}

static void triple_fault(KvmCpu *v)
{
    X86CpuDevice *s = x86_cpu_device(v->cpu);

    if (log_enabled(LOG_CPU_RESET | LOG_INT)) {
        g_autoptr(GString) text = g_string_new(NULL);

        kvm_state_fetch(v);
        g_string_append_printf(text, "CPU %u: triple fault\n", v->cpu->index);
        cpu_class(v->cpu)->dump(v->cpu, text);
        log_mask(LOG_CPU_RESET | LOG_INT, "%s", text->str);
    }
    s->shutdown = true;
    __atomic_store_n(&v->cpu->halted, 1, __ATOMIC_SEQ_CST);
    vm_request_reset(v->cpu->dev.vm, SHUTDOWN_CAUSE_GUEST_RESET);
}

/* ---- exits that a device answers ---- */

static void exit_io(KvmCpu *v)
{
    struct kvm_run *run = v->run;
    AddressSpace *io = &v->cpu->dev.vm->io;
    uint8_t *data = (uint8_t *)run + run->io.data_offset;
    unsigned size = run->io.size;

    for (uint32_t i = 0; i < run->io.count; i++, data += size) {
        uint64_t value = 0;

        if (run->io.direction == KVM_EXIT_IO_OUT) {
            memcpy(&value, data, MIN(size, 8));
            address_space_store(io, run->io.port, value, size);
        } else {
            value = address_space_load(io, run->io.port, size);
            memcpy(data, &value, MIN(size, 8));
        }
    }
    v->completion = true;
}

static void exit_mmio(KvmCpu *v)
{
    struct kvm_run *run = v->run;
    AddressSpace *memory = &v->cpu->dev.vm->memory;
    unsigned len = MIN(run->mmio.len, 8);
    gpa_t gpa = run->mmio.phys_addr;

    if (run->mmio.is_write) {
        address_space_write(memory, gpa, run->mmio.data, len);
    } else {
        address_space_read(memory, gpa, run->mmio.data, len);
    }
    v->completion = true;
}

/* kernel-irqchip=split: the guest finished a level interrupt of our I/O APIC. */
static void exit_ioapic_eoi(KvmCpu *v)
{
    machine_lock();
    if (v->kvm->ioapic_eoi) {
        v->kvm->ioapic_eoi(v->kvm->ioapic_eoi_opaque, v->run->eoi.vector);
    }
    machine_unlock();
}

/* MSRs that KVM does not know: ours, as far as they are plain state. */
static void exit_msr(KvmCpu *v, bool write)
{
    struct kvm_run *run = v->run;
    uint64_t value = run->msr.data;

    if (write) {
        run->msr.error = !x86_msr_write(v->x86, run->msr.index, value);
    } else {
        run->msr.error = !x86_msr_read(v->x86, run->msr.index, &value);
        run->msr.data = value;
    }
    v->completion = true;
}

/* ---- in software ---- */

/* The A20 gate does not exist for KVM; the interpreter must see memory the same way. */
static X86Exit step(KvmCpu *v)
{
    X86Cpu *x = v->x86;
    uint64_t a20 = x->a20_mask;
    X86Exit result;

    if (atomic_load(&x->requests) & X86_REQ_TLB_FLUSH) {
        x86_cpu_request_clear(x, X86_REQ_TLB_FLUSH);
        x86_tlb_flush(x, true);
        interp_flush(x);
    }
    x->a20_mask = UINT64_MAX;
    result = interp_step(x);
    x->a20_mask = a20;
    return result;
}

static void note_emulated(KvmCpu *v)
{
    KvmAccel *kvm = v->kvm;
    g_autoptr(GString) text = g_string_new(NULL);
    X86Cpu *x = v->x86;
    uint64_t va = x->rip + (x86_is_64(x) ? 0 : x->segs[SEG_CS].base), gpa;
    uint8_t bytes[8];

    if (__atomic_fetch_add(&kvm->emulated, 1, __ATOMIC_RELAXED) != 0) {
        return;
    }
    g_string_append_printf(text, "at 0x%" PRIx64, va);
    if (x86_mmu_peek(x, va, &gpa) &&
        address_space_read(&v->cpu->dev.vm->memory, gpa, bytes, sizeof(bytes))) {
        g_string_append(text, ", bytes");
        for (unsigned i = 0; i < sizeof(bytes); i++) {
            g_string_append_printf(text, " %02x", bytes[i]);
        }
    }
    g_strlcpy(kvm->first_emulated, text->str, sizeof(kvm->first_emulated));
    info_report("KVM gave up on an instruction (%s): such ones run in software",
                kvm->first_emulated);
}

/* false: the run ends (triple fault). */
static bool step_over(KvmCpu *v)
{
    kvm_state_fetch(v);
    note_emulated(v);
    trace_kvm_emulation_failure(v->cpu->index, v->x86->segs[SEG_CS].sel, v->x86->rip);
    if (step(v) == X86_EXIT_TRIPLE_FAULT) {
        triple_fault(v);
        return false;
    }
    return true;
}

/* System management mode to its end, or until somebody wants this vCPU. */
static bool run_smm(KvmCpu *v)
{
    kvm_state_fetch(v);
    while (v->x86->smm && !v->x86->halted) {
        if (__atomic_load_n(&v->cpu->exit_request, __ATOMIC_SEQ_CST)) {
            return false;
        }
        if (step(v) == X86_EXIT_TRIPLE_FAULT) {
            triple_fault(v);
            return false;
        }
    }
    return true;
}

/* ---- between entries ---- */

static void halt(KvmCpu *v)
{
    X86Cpu *x = v->x86;

    /* has_work() looks at IF. */
    x->eflags = v->if_flag ? x->eflags | FLAG_IF : x->eflags & ~(uint32_t)FLAG_IF;
    __atomic_store_n(&v->cpu->halted, 1, __ATOMIC_SEQ_CST);
}

/* INIT, SIPI, SMI, machine check: on the fetched state. */
static void serve_signals(KvmCpu *v, uint32_t requests)
{
    X86Cpu *x = v->x86;

    kvm_state_fetch(v);
    if (requests & (X86_REQ_INIT | X86_REQ_SIPI)) {
        x86_service_startup(x);
    }
    if (x->wait_sipi) {
        return;
    }
    if ((requests & X86_REQ_SMI) && !x->smm && !x->event.pending) {
        x86_cpu_request_clear(x, X86_REQ_SMI);
        x86_smm_enter(x);
    }
    if ((requests & X86_REQ_MCE) && !x->smm && !x->event.pending) {
        x86_cpu_request_clear(x, X86_REQ_MCE);
        x->event = (X86Event){ .vector = VEC_MC, .pending = true };
        x->halted = false;
    }
}

static bool inject_interrupt(KvmCpu *v)
{
    struct kvm_interrupt irq;
    int vector = v->x86->bus->intr_ack ? v->x86->bus->intr_ack(v->x86->bus_opaque, v->x86) : -1;

    if (vector < 0) {
        return false;
    }
    irq.irq = vector;
    v->ready = false;
    if (ioctl(v->fd, KVM_INTERRUPT, &irq) < 0) {
        kvm_fail(v, "KVM refused interrupt 0x%x: %s", vector, g_strerror(errno));
    }
    return true;
}

/* What has to happen before the guest goes on.  false: it does not (halted, waiting, failed). */
static bool prepare(KvmCpu *v)
{
    X86Cpu *x = v->x86;
    uint32_t r = atomic_load(&x->requests);
    bool own_apic = !kvm_has_apic(v->kvm);

    x86_cpu_request_clear(x, X86_REQ_EXIT);
    if (r & X86_REQ_TLB_FLUSH) {
        x86_cpu_request_clear(x, X86_REQ_TLB_FLUSH);
        x86_tlb_flush(x, true);
        interp_flush(x);
    }
    if (r & (X86_REQ_INIT | X86_REQ_SIPI | X86_REQ_SMI | X86_REQ_MCE)) {
        serve_signals(v, r);
    }
    if (x->smm && !run_smm(v)) {
        return false;
    }
    if ((own_apic && x->wait_sipi) || x86_cpu_device(v->cpu)->shutdown) {
        halt(v);
        return false;
    }
    if (!kvm_state_store(v)) {
        return false;
    }
    r = atomic_load(&x->requests);
    if (r & X86_REQ_NMI) {
        x86_cpu_request_clear(x, X86_REQ_NMI);
        ioctl(v->fd, KVM_NMI);
        x->halted = false;
    }
    if ((r & X86_REQ_INTR) && v->if_flag && (v->ready || (own_apic && x->halted)) &&
        inject_interrupt(v)) {
        x->halted = false;
    }
    if (own_apic && x->halted) {
        halt(v);
        return false;
    }
    v->run->request_interrupt_window = (atomic_load(&x->requests) & X86_REQ_INTR) != 0;
    if (own_apic) {
        v->run->cr8 = x->bus->cr8_read ? x->bus->cr8_read(x->bus_opaque, x) : 0;
    }
    return true;
}

/* Everything KVM tells at each exit. */
static void note_exit(KvmCpu *v, uint64_t cr8)
{
    struct kvm_run *run = v->run;
    X86Cpu *x = v->x86;

    v->if_flag = run->if_flag;
    v->ready = run->ready_for_interrupt_injection;
    if (!kvm_has_apic(v->kvm) && run->cr8 != cr8 && x->bus->cr8_write) {
        x->bus->cr8_write(x->bus_opaque, x, run->cr8);
    }
    if (run->apic_base != v->apic_base) {
        v->apic_base = run->apic_base;
        x->msrs.apicbase = run->apic_base;
        if (x->bus->apic_msr_write &&
            !x->bus->apic_msr_write(x->bus_opaque, x, MSR_APICBASE, run->apic_base)) {
            log_guest_error("CPU %u: APIC base 0x%" PRIx64 " is not possible\n", v->cpu->index,
                            (uint64_t)run->apic_base);
        }
    }
}

static bool internal_error(KvmCpu *v)
{
    const struct kvm_run *run = v->run;

    switch (run->internal.suberror) {
    case KVM_INTERNAL_ERROR_EMULATION:
    case KVM_INTERNAL_ERROR_DELIVERY_EV:
        return step_over(v);
    default:
        kvm_fail(v, "KVM internal error %u (%u words: 0x%" PRIx64 " 0x%" PRIx64 ")",
                 run->internal.suberror, run->internal.ndata, (uint64_t)run->internal.data[0],
                 (uint64_t)run->internal.data[1]);
        return false;
    }
}

/* false: back to the safe point. */
static bool handle_exit(KvmCpu *v)
{
    struct kvm_run *run = v->run;

    trace_kvm_run_exit(v->cpu->index, run->exit_reason);
    switch (run->exit_reason) {
    case KVM_EXIT_IO:
        exit_io(v);
        return true;
    case KVM_EXIT_MMIO:
        exit_mmio(v);
        return true;
    case KVM_EXIT_X86_RDMSR:
        exit_msr(v, false);
        return true;
    case KVM_EXIT_X86_WRMSR:
        exit_msr(v, true);
        return true;
    case KVM_EXIT_IOAPIC_EOI:
        exit_ioapic_eoi(v);
        return true;
    case KVM_EXIT_HLT:
        v->x86->halted = true;
        return true;
    case KVM_EXIT_IRQ_WINDOW_OPEN:
    case KVM_EXIT_SET_TPR:
    case KVM_EXIT_INTR:
    case KVM_EXIT_UNKNOWN:
        return true;
    case KVM_EXIT_SHUTDOWN:
        triple_fault(v);
        return false;
    case KVM_EXIT_INTERNAL_ERROR:
        return internal_error(v);
    case KVM_EXIT_FAIL_ENTRY:
        kvm_fail(v, "the hardware refused to enter the guest, reason 0x%" PRIx64,
                 (uint64_t)run->fail_entry.hardware_entry_failure_reason);
        return false;
    default:
        kvm_fail(v, "KVM left the guest for reason %u, which is not handled", run->exit_reason);
        return false;
    }
}

/* One entry.  false: the run ends. */
static bool enter(KvmCpu *v)
{
    uint64_t cr8 = v->run->cr8;
    int status, err;

    v->completion = false;
    kvm_gate_enter(v);
    status = ioctl(v->fd, KVM_RUN, 0);
    err = errno;
    kvm_gate_leave(v);
    if (status < 0 && err != EINTR && err != EAGAIN) {
        kvm_fail(v, "KVM_RUN: %s", g_strerror(err));
        return false;
    }
    note_exit(v, cr8);
    return status < 0 || handle_exit(v);
}

void kvm_run_complete(KvmCpu *v)
{
    int status;

    /* A string instruction or a wide MMIO access may come in several pieces. */
    for (unsigned i = 0; v->completion && i < 4096; i++) {
        v->completion = false;
        __atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
        kvm_gate_enter(v);
        status = ioctl(v->fd, KVM_RUN, 0);
        kvm_gate_leave(v);
        if (status == 0) {
            switch (v->run->exit_reason) {
            case KVM_EXIT_IO:
                exit_io(v);
                break;
            case KVM_EXIT_MMIO:
                exit_mmio(v);
                break;
            default:
                break;          /* the instruction will say so again */
            }
        }
    }
}

void kvm_cpu_run(Cpu *cpu)
{
    KvmCpu *v = kvm_cpu(cpu);

    __atomic_store_n(&cpu->halted, 0, __ATOMIC_SEQ_CST);
    for (;;) {
        __atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
        if (__atomic_exchange_n(&cpu->exit_request, 0, __ATOMIC_SEQ_CST) || !prepare(v) ||
            !enter(v)) {
            return;
        }
    }
}
