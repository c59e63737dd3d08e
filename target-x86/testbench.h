/* SPDX-License-Identifier: MIT */
/*
 * A bare CPU for unit tests: flat RAM, ports that record, no VM.  Everything is static inline or
 * in one struct; a test includes this, fills RAM with machine code and runs it.
 *
 *     g_autoptr(X86Bench) b = x86_bench_new();
 *     x86_bench_code(b, 0x1000, "\xb8\x34\x12\xf4", 4);       // mov ax, 0x1234; hlt
 *     x86_bench_start_real(b, 0x1000);
 *     g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
 *
 * Runs are bounded by BENCH_STEPS single steps; nothing sleeps.
 */
#ifndef TARGET_X86_TESTBENCH_H
#define TARGET_X86_TESTBENCH_H

#include "target-x86/bus.h"
#include "target-x86/cpu_models.h"
#include "target-x86/exception.h"
#include "target-x86/interp.h"
#include "target-x86/mmu.h"

enum { BENCH_RAM = 4 << 20, BENCH_STEPS = 100000 };

typedef struct X86Bench {
    X86Cpu *cpu;
    X86Bus bus;
    uint8_t *ram;               /* aligned, inside the allocation */
    void *allocation;
    int irq;                    /* vector INTR acknowledges with, or -1 */
    uint16_t port;              /* of the latest port access */
    unsigned port_size, port_accesses;
    uint64_t port_value;        /* written, or to be read */
} X86Bench;

static inline void bench_map(void *opaque, uint64_t gpa, X86Phys *out)
{
    X86Bench *b = opaque;

    *out = (X86Phys){ 0 };
    if (gpa < BENCH_RAM) {
        out->host = b->ram + gpa;
        out->writable = true;
        out->more = BENCH_RAM - gpa;
    }
}

static inline uint64_t bench_mmio_read(void *opaque, uint64_t gpa, unsigned size)
{
    return ~0ull;
}

static inline void bench_mmio_write(void *opaque, uint64_t gpa, uint64_t value, unsigned size)
{
}

static inline uint64_t bench_port_read(void *opaque, uint16_t port, unsigned size)
{
    X86Bench *b = opaque;

    b->port = port;
    b->port_size = size;
    b->port_accesses++;
    return b->port_value;
}

static inline void bench_port_write(void *opaque, uint16_t port, uint64_t value, unsigned size)
{
    X86Bench *b = opaque;

    b->port = port;
    b->port_size = size;
    b->port_accesses++;
    b->port_value = value;
}

static inline int bench_intr_ack(void *opaque, X86Cpu *cpu)
{
    X86Bench *b = opaque;
    int vector = b->irq;

    b->irq = -1;
    x86_cpu_request_clear(cpu, X86_REQ_INTR);
    return vector;
}

static inline X86Bench *x86_bench_new(void)
{
    X86Bench *b = g_new0(X86Bench, 1);
    GError *error = NULL;

    b->allocation = g_malloc0(BENCH_RAM + 64);
    b->ram = (uint8_t *)align_up((uintptr_t)b->allocation, 64);
    b->irq = -1;
    b->bus = (X86Bus){ .map = bench_map, .mmio_read = bench_mmio_read,
                       .mmio_write = bench_mmio_write, .port_read = bench_port_read,
                       .port_write = bench_port_write, .intr_ack = bench_intr_ack };
    b->cpu = x86_cpu_new();
    b->cpu->bus = &b->bus;
    b->cpu->bus_opaque = b;
    g_assert_true(x86_cpu_model_apply(b->cpu, "max", &error));
    g_assert_true(x86_cpu_model_finish(b->cpu, "TCG", NULL, &error));
    interp_init(b->cpu);
    return b;
}

static inline void x86_bench_free(X86Bench *b)
{
    interp_clear(b->cpu);
    x86_cpu_free(b->cpu);
    g_free(b->allocation);
    g_free(b);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(X86Bench, x86_bench_free)

static inline void x86_bench_code(X86Bench *b, uint64_t at, const void *bytes, size_t len)
{
    g_assert_cmpuint(at + len, <=, BENCH_RAM);
    memcpy(b->ram + at, bytes, len);
}

static inline void x86_bench_start_real(X86Bench *b, uint16_t ip)
{
    X86Cpu *cpu = b->cpu;

    cpu->segs[SEG_CS].sel = 0;
    cpu->segs[SEG_CS].base = 0;
    cpu->gpr[R_RSP] = 0x8000;
    cpu->rip = ip;
    cpu->idt.limit = 0x3ff;
    x86_update_mode(cpu);
}

/* Steps until HLT, a triple fault or the limit; X86_EXIT_STEP means the limit. */
static inline X86Exit x86_bench_run(X86Bench *b)
{
    for (unsigned i = 0; i < BENCH_STEPS; i++) {
        X86Exit exit;

        if (atomic_load(&b->cpu->requests) && x86_has_work(b->cpu)) {
            return interp_run(b->cpu);
        }
        exit = interp_step(b->cpu);
        if (exit != X86_EXIT_STEP) {
            return exit;
        }
    }
    return X86_EXIT_STEP;
}

#endif
