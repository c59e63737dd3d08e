/* SPDX-License-Identifier: MIT */
/*
 * What lies outside the CPU package: guest physical memory, MMIO, ports, the interrupt
 * controller.  The accelerator fills one X86Bus per VM over vm/memory.h; test benches supply flat
 * RAM.  All calls are made on the vCPU thread, without locks held; `opaque` is cpu->bus_opaque.
 * Addresses are already masked by A20.  Accesses never cross a page; sizes are 1, 2, 4 or 8.
 */
#ifndef TARGET_X86_BUS_H
#define TARGET_X86_BUS_H

#include "target-x86/cpu.h"

typedef struct X86Phys {
    uint8_t *host;              /* of the page's first byte, NULL: MMIO */
    bool writable;              /* host may be written (false: ROM, or `mmio` decides) */
    bool log_writes;            /* dirty logging is on: report each store by dirty() */
    uint64_t more;              /* from here on so many bytes are alike and one in host memory; 0: unknown */
} X86Phys;

struct X86Bus {
    /* What a 4 KiB page is. Pages of mixed nature are MMIO. */
    void (*map)(void *opaque, uint64_t gpa_page, X86Phys *out);
    uint64_t (*mmio_read)(void *opaque, uint64_t gpa, unsigned size);
    void (*mmio_write)(void *opaque, uint64_t gpa, uint64_t value, unsigned size);
    uint64_t (*port_read)(void *opaque, uint16_t port, unsigned size);
    void (*port_write)(void *opaque, uint16_t port, uint64_t value, unsigned size);
    void (*dirty)(void *opaque, uint64_t gpa, unsigned len);            /* may be NULL */
    /* A logged page is about to be written: true if it is marked and later stores need not tell,
     * until X86_REQ_TLB_FLUSH.  NULL: never. */
    bool (*dirty_open)(void *opaque, uint64_t gpa);
    /* Acknowledge: the vector, or -1 when nothing is deliverable.  May change X86_REQ_INTR. */
    int (*intr_ack)(void *opaque, X86Cpu *cpu);
    /* CR8 and the local APIC's MSRs; each may be NULL (no APIC). */
    uint64_t (*cr8_read)(void *opaque, X86Cpu *cpu);
    void (*cr8_write)(void *opaque, X86Cpu *cpu, uint64_t value);
    bool (*apic_msr_read)(void *opaque, X86Cpu *cpu, uint32_t msr, uint64_t *value);
    bool (*apic_msr_write)(void *opaque, X86Cpu *cpu, uint32_t msr, uint64_t value);
    /* State load: what IA32_TSC_DEADLINE was, in whatever mode the APIC is yet; may be NULL. */
    void (*apic_load_deadline)(void *opaque, X86Cpu *cpu, uint64_t value);
    /* Nothing to do for the guest: waits for a request, at most NS nanoseconds; may be NULL. */
    void (*doze)(void *opaque, X86Cpu *cpu, int64_t ns);
    uint64_t (*tsc)(void *opaque);              /* NULL: the host's RDTSC */
    /* tsc() is the host's RDTSC plus *ADD until the CPU stops; NULL or false: it is not. */
    bool (*tsc_line)(void *opaque, uint64_t *add);
    uint32_t (*tsc_khz)(void *opaque);          /* its pace, measured; NULL: not known */
    void (*smm_changed)(void *opaque, X86Cpu *cpu);      /* SMRAM visibility; NULL: none */
    void (*ferr)(void *opaque, X86Cpu *cpu);             /* CR0.NE = 0: raise IRQ 13; may be NULL */
};

#endif
