/* SPDX-License-Identifier: MIT */
/*
 * Local APICs ("apic"), one per CPU, and the bus that joins them.  [SDM3A 11]
 *
 * The board makes one ApicBus, then an APIC for each CPU:
 *
 *     apic_bus_init(&board->apics, vm, NULL);
 *     Apic *apic = apic_new(&board->apics, cpu, apic_id, &cpu_ops, &error);
 *     apic_bus_set_pic(&board->apics, pic);          // 8259 pair: ExtINT
 *     apic_bus_set_eoi_hook(&board->apics, eoi, ioapic);
 *
 * The CPU side is told by ApicCpuOps; it asks back with apic_get_interrupt() once it can take
 * an interrupt.  MSIs and I/O APIC messages arrive through apic_bus_send_msi(), or as memory writes
 * to 0xfee00000.
 *
 * Thread rule: with KVM's APICs, only on the CPU's own thread or while the CPU is at a safe point,
 * except for the functions of the bus.  Else the functions of the CPU's side are for its own thread, or for others while it is
 * stopped; the rest may be called from any thread.  Each takes the machine lock itself where it needs it and the caller does
 * not hold it.  Ops are called with the lock or without, often from another thread than the CPU's, and from several at a time:
 * they set request bits with atomics and kick.
 */
#ifndef HW_INTC_APIC_H
#define HW_INTC_APIC_H

#include "vm/cpu.h"

typedef struct Apic Apic;
typedef struct ApicBus ApicBus;

#define APIC_DEFAULT_ADDRESS 0xfee00000u
#define APIC_MAX_CPUS 255

/* IA32_APIC_BASE */
enum { APIC_BASE_BSP = BIT(8), APIC_BASE_X2APIC = BIT(10), APIC_BASE_ENABLE = BIT(11) };

/* What an APIC does to its CPU. */
typedef struct ApicCpuOps {
    /* A maskable interrupt (local or ExtINT) is waiting, or not any more.  Told again and again; it may have gone meanwhile. */
    void (*set_intr)(Cpu *cpu, bool pending);
    void (*nmi)(Cpu *cpu);
    void (*smi)(Cpu *cpu);
    void (*init)(Cpu *cpu);
    /* The CPU decides whether it waits for one (it does between INIT and the first SIPI). */
    void (*sipi)(Cpu *cpu, uint8_t vector);
    /* When the TSC will reach TSC, as time of the virtual clock; may lie in the past. */
    int64_t (*tsc_deadline_ns)(Cpu *cpu, uint64_t tsc);
    /* Whether the CPU waits for a start-up message: it travels with the APIC. */
    bool (*waits_for_sipi)(Cpu *cpu);
    /* After a state load: IA32_APIC_BASE, and whether it waits. */
    void (*loaded)(Cpu *cpu, uint64_t base, bool waits);
} ApicCpuOps;

/* Where the APICs are KVM's: an Apic's fields are then a copy, fetched before and stored after
 * whatever is done to them here, and interrupts are delivered by KVM alone. */
typedef struct ApicKernelOps {
    const char *type;             /* of the device to make */
    void (*fetch)(Apic *apic);
    void (*store)(Apic *apic);
    void (*send_msi)(Vm *vm, uint64_t address, uint32_t data);
} ApicKernelOps;
extern const ApicKernelOps kvm_apic_ops;      /* kvm_apic.c */

/* Embedded in the board. */
struct ApicBus {
    Vm *vm;
    Apic *apics[APIC_MAX_CPUS];   /* in order of creation */
    unsigned count;
    MemoryRegion mmio;            /* registers and MSIs, 1 MiB at 0xfee00000 */
    Device *pic;                  /* the 8259 master; NULL: none */
    void (*eoi)(void *opaque, uint8_t vector);   /* EOI broadcast, to the I/O APICs */
    void *eoi_opaque;
    unsigned lowest_next;         /* where lowest-priority arbitration starts */
    const ApicKernelOps *kernel;  /* NULL: the APICs are ours */
};

/* KERNEL: &kvm_apic_ops, or NULL. */
void apic_bus_init(ApicBus *bus, Vm *vm, const ApicKernelOps *kernel);
/* Removes the APICs and the window. */
void apic_bus_clear(ApicBus *bus);
void apic_bus_set_pic(ApicBus *bus, Device *pic);
void apic_bus_set_eoi_hook(ApicBus *bus, void (*eoi)(void *opaque, uint8_t vector),
                           void *opaque);
/* The end of the 8259's INT line: LINT0 of all APICs. */
IrqPin apic_bus_pic_pin(ApicBus *bus);
/* The NMI button, which is wired to LINT1 of each APIC. */
void apic_nmi_button(Apic *apic);
/* ADDRESS is 0xfeexxxxx, DATA the message [SDM3A 11.11]. */
void apic_bus_send_msi(ApicBus *bus, uint64_t address, uint32_t data);

/* Whether some APIC holds VECTOR in its IRR: delivered, not taken yet. */
bool apic_bus_waits(ApicBus *bus, uint8_t vector);
/* Whether the 8259's INT reaches some CPU. */
bool apic_bus_takes_pic(ApicBus *bus);

/* OPS is constant and outlives the APIC. */
Apic *apic_new(ApicBus *bus, Cpu *cpu, uint8_t id, const ApicCpuOps *ops, GError **error);
Device *apic_device(Apic *apic);

/* ---- the CPU's side ---- */

/* Accepts the highest pending interrupt and returns its vector (an ExtINT one runs the 8259's INTA
 * cycles); -1: nothing any more. */
int apic_get_interrupt(Apic *apic);
/* Whether the 8259's INT reaches this CPU (LINT0 unmasked as ExtINT, or the APIC disabled). */
bool apic_accept_pic_intr(Apic *apic);

/* IA32_APIC_BASE.  false: #GP (reserved bits, a transition that is not allowed).  The address part
 * is stored; the registers stay at APIC_DEFAULT_ADDRESS. */
uint64_t apic_base(Apic *apic);
bool apic_set_base(Apic *apic, uint64_t value);
/* The id as CPUID leaf 0xb and x2APIC give it. */
uint32_t apic_id(Apic *apic);
/* CR8: the priority class of TPR, 0..15. */
uint8_t apic_cr8(Apic *apic);
void apic_set_cr8(Apic *apic, uint8_t value);
/* x2APIC registers, MSR 0x800..0x8ff.  false: #GP. */
bool apic_msr_read(Apic *apic, uint32_t msr, uint64_t *value);
bool apic_msr_write(Apic *apic, uint32_t msr, uint64_t value);
/* IA32_TSC_DEADLINE; the MSR reads 0 once the deadline has passed. */
uint64_t apic_tsc_deadline(Apic *apic);
void apic_set_tsc_deadline(Apic *apic, uint64_t tsc);
/* State load: the APIC's own section brings the timer. */
void apic_load_tsc_deadline(Apic *apic, uint64_t tsc);

#endif
