/* SPDX-License-Identifier: MIT */
/*
 * See bench.h.
 */
#include "tests/insn/bench.h"

#include <sys/mman.h>

static void flat_map(void *opaque, uint64_t gpa_page, X86Phys *out)
{
    bool ram = gpa_page >= BENCH_BASE && gpa_page < BENCH_BASE + BENCH_SIZE;

    *out = (X86Phys){ ram ? (uint8_t *)(uintptr_t)gpa_page : NULL, ram, false };
}

static uint64_t no_read(void *opaque, uint64_t addr, unsigned size)
{
    return ~0ull;
}

static void no_write(void *opaque, uint64_t addr, uint64_t value, unsigned size)
{
}

static uint64_t no_port_read(void *opaque, uint16_t port, unsigned size)
{
    return ~0ull;
}

static void no_port_write(void *opaque, uint16_t port, uint64_t value, unsigned size)
{
}

static const X86Bus flat_bus = {
    .map = flat_map,
    .mmio_read = no_read,
    .mmio_write = no_write,
    .port_read = no_port_read,
    .port_write = no_port_write,
};

/* Identity for the low 4 GiB in 2 MiB pages that everybody may use. */
static void build_tables(void)
{
    uint64_t *table = (uint64_t *)(uintptr_t)BENCH_TABLES;

    table[0] = (BENCH_TABLES + 0x1000) | 7;
    for (unsigned i = 0; i < 4; i++) {
        table[512 + i] = (BENCH_TABLES + 0x2000 + i * 0x1000) | 7;
    }
    for (unsigned i = 0; i < 2048; i++) {
        table[1024 + i] = (uint64_t)i << 21 | 0x87;
    }
}

void bench_end_memory(void)
{
    ((uint64_t *)(uintptr_t)BENCH_TABLES)[1024 + ((BENCH_BASE + BENCH_SIZE) >> 21)] = 0;
}

void bench_set_mode(X86Cpu *cpu, unsigned bits, unsigned cpl)
{
    uint32_t common = DESC_P | DESC_S | DESC_A | cpl << DESC_DPL_SHIFT;
    uint32_t size = bits == 64 ? DESC_L : bits == 32 ? DESC_DB : 0;

    cpu->segs[SEG_CS] = (X86Seg){ 8 | cpl, common | DESC_CODE | DESC_R | DESC_G | size, ~0u, 0 };
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        if (i != SEG_CS) {
            cpu->segs[i] = (X86Seg){ 16 | cpl, common | DESC_W | DESC_G | DESC_DB, ~0u, 0 };
        }
    }
    cpu->cpl = cpl;
    x86_load_cr(cpu, CR0_PE | CR0_PG | CR0_NE | CR0_ET | CR0_MP | CR0_WP, BENCH_TABLES,
                CR4_PAE | CR4_OSFXSR | CR4_OSXSAVE | CR4_OSXMMEXCPT | CR4_FSGSBASE,
                EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE);
    x86_update_mode(cpu);
}

X86Cpu *bench_cpu_new(void)
{
    void *ram = mmap((void *)(uintptr_t)BENCH_BASE, BENCH_SIZE,
                     PROT_READ | PROT_WRITE | PROT_EXEC,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    X86Cpu *cpu = x86_cpu_new();

    g_assert_true(ram == (void *)(uintptr_t)BENCH_BASE);
    build_tables();
    cpu->bus = &flat_bus;
    memset(cpu->features, 0xff, sizeof(cpu->features));
    cpu->xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
    cpu->wait_sipi = false;
    bench_set_mode(cpu, 64, 3);
    interp_init(cpu);
    return cpu;
}

void bench_cpu_free(X86Cpu *cpu)
{
    interp_clear(cpu);
    x86_cpu_free(cpu);
    munmap((void *)(uintptr_t)BENCH_BASE, BENCH_SIZE);
}

int bench_step(X86Cpu *cpu)
{
    /* No IDT: the first exception ends in a triple fault, whose chain starts with it. */
    cpu->idt.limit = 0;
    cpu->fault_count = 0;
    if (interp_step(cpu) != X86_EXIT_TRIPLE_FAULT) {
        return -1;
    }
    return cpu->faults[0].event.vector;
}
