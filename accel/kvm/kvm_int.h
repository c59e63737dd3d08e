/* SPDX-License-Identifier: MIT */
/*
 * Inside the KVM accelerator.  Spec: Documentation/virt/kvm/api.rst of Linux.
 *
 * Who has the registers: KVM while `in_kvm` is true, else the X86Cpu.  kvm_state_fetch() and
 * kvm_state_store() move them; a run of the guest stores them, safe points of vm/cpu.c fetch them.
 * Always on our side: SMM and MSRs that KVM does not know.  `halted`, `wait_sipi` and the local APIC
 * are KVM's with kernel-irqchip=on and split, else ours, too.
 *
 * Thread rule: everything of a KvmCpu on its vCPU's thread; slots under the machine lock.
 */
#ifndef ACCEL_KVM_KVM_INT_H
#define ACCEL_KVM_KVM_INT_H

#include "accel/kvm/irqchip.h"
#include "target-x86/x86_cpu.h"
#include "vm/accel.h"

typedef struct KvmSlot {
    unsigned id;
    uint32_t flags;             /* KVM_MEM_* */
    gpa_t gpa;
    uint64_t size;
    uint8_t *host;
    MemoryRegion *mr;           /* and where the slot starts in it: for the dirty log */
    uint64_t mr_offset;
} KvmSlot;

typedef struct KvmAccel {
    Accel accel;
    int irqchip_wanted;         /* property: KvmIrqchip, -1: on if possible */
    int irqchip;                /* KvmIrqchip; constant once the VM exists */
    int gsi_max;
    GArray *routes;             /* struct kvm_irq_routing_entry; machine lock */
    void (*ioapic_eoi)(void *opaque, uint8_t vector);      /* split: our I/O APIC */
    void *ioapic_eoi_opaque;
    int fd, vm_fd;
    unsigned run_size;          /* of the shared page(s) of a vCPU */
    unsigned slot_max;
    bool user_msrs;             /* MSRs that KVM does not know exit to us */
    struct kvm_cpuid2 *supported;
    uint32_t arch_capabilities; /* that KVM can show */
    GArray *slots;              /* KvmSlot; machine lock */
    /* Closed while slots are replaced: no vCPU is inside KVM_RUN then.  See kvm_gate_enter(). */
    int gate_closed;            /* atomic */
    Mutex gate_lock;
    Cond gate_cond;
    MemoryListener listener;
    MemoryListener eventfds, io_eventfds;       /* of memory and of ports */
    uint64_t stopped_tsc;       /* the host's when the VM stopped; machine lock */
    uint64_t emulated;          /* instructions KVM gave up on; atomic */
    char first_emulated[96];    /* the first of them, in words */
} KvmAccel;

enum { KVM_MSR_MAX = 96, KVM_XSAVE_BYTES = 4096 };

typedef struct KvmCpu {
    KvmAccel *kvm;
    Cpu *cpu;
    X86Cpu *x86;
    int fd;
    struct kvm_run *run;
    int inside;                 /* KVM_RUN; atomic: see kvm_gate_enter() */
    bool in_kvm;
    bool completion;            /* an I/O exit was handled: KVM finishes the instruction at the
                                 * next entry, before which the registers are not consistent */
    bool ready;                 /* KVM_INTERRUPT may be used now */
    bool if_flag;
    uint64_t apic_base;         /* as KVM has it */
    int64_t tsc_offset;         /* as last fetched or stored */
    unsigned msr_count;         /* that this KVM has, of the table in kvm_state.c */
    uint8_t msr_rows[KVM_MSR_MAX];
    bool has_xsave, has_xcrs, has_debugregs;
    /* With KVM's APIC: how KVM has it, and a state to be set at the next entry. */
    uint32_t mp_state;
    bool lapic_pending;
    struct kvm_lapic_state lapic;
    /* What KVM was last known to hold: groups that did not change are not stored again. */
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct kvm_xcrs xcrs;
    struct kvm_debugregs debugregs;
    struct kvm_vcpu_events events;
    uint64_t msrs[KVM_MSR_MAX];
    uint8_t xsave[KVM_XSAVE_BYTES] __attribute__((aligned(64)));
} KvmCpu;

static inline KvmCpu *kvm_cpu(Cpu *cpu)
{
    return cpu->accel_data;
}

/* kvm_cpuid.c */
bool kvm_cpuid_load(KvmAccel *kvm, GError **error);
void kvm_cpuid_features(const KvmAccel *kvm, uint32_t words[FEAT_WORDS]);
bool kvm_cpuid_set(KvmCpu *v, GError **error);
/* Where an XSAVE component lies in the kernel's images; 0: it has none. */
uint32_t kvm_xsave_offset(const KvmAccel *kvm, unsigned component, uint32_t *size);

/* kvm_eventfd.c */
void kvm_eventfd_init(KvmAccel *kvm, Vm *vm);
void kvm_eventfd_clear(KvmAccel *kvm);
const AccelIrqfds *kvm_irqfds(Accel *accel);

/* kvm_memory.c */
void kvm_memory_init(KvmAccel *kvm, Vm *vm);
void kvm_memory_clear(KvmAccel *kvm);
/*
 * Around KVM_RUN.  A slot can only be changed by taking it away and putting it back; a vCPU that
 * runs meanwhile would find a hole where RAM is, and its atomic instructions would not be atomic.
 * Whoever enters says so, then looks whether the gate is closed; whoever closes does it the other
 * way round: one of them sees the other.
 */
void kvm_gate_enter(KvmCpu *v);
void kvm_gate_leave(KvmCpu *v);

/* kvm_irqchip.c */
bool kvm_irqchip_create(KvmAccel *kvm, GError **error);
/* The pending state of the local APIC, if there is one, to KVM. */
void kvm_lapic_commit(KvmCpu *v);
static inline bool kvm_has_apic(const KvmAccel *kvm)
{
    return kvm->irqchip != KVM_IRQCHIP_OFF;
}

/* kvm_state.c */
void kvm_state_init(KvmCpu *v);
/* What the model promises of IA32_ARCH_CAPABILITIES; KVM's own default is all it can. */
void kvm_set_arch_capabilities(KvmCpu *v);
void kvm_state_fetch(KvmCpu *v);
/* false: KVM refused, and the VM is stopped. */
bool kvm_state_store(KvmCpu *v);

/* kvm_run.c */
void kvm_cpu_run(Cpu *cpu);
/* Any thread. */
void kvm_cpu_kick(Cpu *cpu);
/* Lets KVM finish the instruction of the latest I/O exit without running on. */
void kvm_run_complete(KvmCpu *v);
/* Says what went wrong and stops the VM with the state "internal-error". */
void kvm_fail(KvmCpu *v, const char *format, ...) G_GNUC_PRINTF(2, 3);

#endif
