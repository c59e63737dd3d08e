/* SPDX-License-Identifier: MIT */
/*
 * See engines.h.
 */
#include "tests/tcg/engines.h"

#include "target-x86/code.h"
#include "target-x86/fpu.h"

#define PAGE_TABLE (BENCH_TABLES + 0x8000)
#define GDT (BENCH_TABLES + 0xa000)

/* ---- the world outside RAM --------------------------------------------------------------------- */

static void note(Engines *e, uint64_t kind, uint64_t addr, uint64_t value)
{
    e->bus_log = (e->bus_log ^ kind ^ addr * 0x9e3779b97f4a7c15ull ^ value) * 0xff51afd7ed558ccdull;
    e->bus_log ^= e->bus_log >> 29;
}

static void map(void *opaque, uint64_t gpa_page, X86Phys *out)
{
    const Engines *e = opaque;
    bool ram = gpa_page >= BENCH_BASE && gpa_page < BENCH_BASE + BENCH_SIZE;

    if (e->closed) {
        ram = gpa_page - BENCH_TABLES < 0x10000 || gpa_page - ENGINES_CODE < ENGINES_CODE_SIZE ||
              gpa_page - BENCH_DATA < ENGINES_AREA;
    }
    *out = (X86Phys){ ram ? (uint8_t *)(uintptr_t)gpa_page : NULL, ram, false,
                      !ram ? 0 : e->closed ? 4096 : BENCH_BASE + BENCH_SIZE - gpa_page };
}

static uint64_t bus_read(void *opaque, uint64_t addr, unsigned size)
{
    if (addr >> 12 == ENGINES_MMIO >> 12) {     /* elsewhere decoders may look ahead */
        note(opaque, size, addr, 0);
    }
    return addr * 0x0101010101010101ull;
}

static void bus_write(void *opaque, uint64_t addr, uint64_t value, unsigned size)
{
    note(opaque, size + 16, addr, value);
}

static uint64_t port_read(void *opaque, uint16_t port, unsigned size)
{
    note(opaque, size + 32, port, 0);
    return port * 0x10203ull;
}

static void port_write(void *opaque, uint16_t port, uint64_t value, unsigned size)
{
    note(opaque, size + 48, port, value);
}

static uint64_t tsc(void *opaque) { return 0x123456789abcull; }

static const X86Bus bus = {
    .map = map, .mmio_read = bus_read, .mmio_write = bus_write,
    .port_read = port_read, .port_write = port_write, .tsc = tsc,
};

/* ---- set-up ------------------------------------------------------------------------------------- */

static void build_tables(void)
{
    uint64_t *directory = (uint64_t *)(uintptr_t)(BENCH_TABLES + 0x2000);
    uint64_t *table = (uint64_t *)(uintptr_t)PAGE_TABLE;

    for (unsigned i = 0; i < 512; i++) {
        uint64_t va = BENCH_DATA + i * 4096ull;
        unsigned flags = va == ENGINES_NONE ? 0 : va == ENGINES_READONLY ? 5
                         : va == ENGINES_KERNEL ? 3 : va == ENGINES_KERNEL + 4096 ? 0 : 7;

        table[i] = va | flags;
    }
    directory[BENCH_DATA >> 21] = PAGE_TABLE | 7;
    directory[ENGINES_ALIAS >> 21] = BENCH_BASE | 0x87;
}

bool engines_init(Engines *e)
{
    g_autoptr(GError) error = NULL;

    if (!translator_probe(&error)) {
        g_test_skip(error->message);
        return false;
    }
    *e = (Engines){ .cpu = bench_cpu_new(), .start = g_aligned_alloc0(3, sizeof(EngineState), 64),
                    .avx512 = simd_host_has(X86_FEAT_AVX512F) };
    e->interpreted = e->start + 1;
    e->translated = e->start + 2;
    e->cpu->bus = &bus;
    e->cpu->bus_opaque = e;
    build_tables();
    e->tr = translator_new(2 << 20, e->cpu->code, &error);
    if (!e->tr || !tcg_signals_init(&error) || !tcg_attach_cpu(e->tr, e->cpu, &error)) {
        g_error("%s", error->message);
    }
    return true;
}

void engines_clear(Engines *e)
{
    tcg_detach_cpu(e->cpu);
    tcg_thread_unbind();
    translator_free(e->tr);
    bench_cpu_free(e->cpu);
    g_aligned_free(e->start);
}

/* 8 code, 16 data, for the mode and privilege. */
static void build_gdt(unsigned bits, unsigned cpl)
{
    uint64_t *gdt = (uint64_t *)(uintptr_t)GDT;

    gdt[0] = 0;
    gdt[1] = (bits == 64 ? 0x00af9b000000ffffull : 0x00cf9b000000ffffull) | (uint64_t)cpl << 45;
    gdt[2] = 0x00cf93000000ffffull | (uint64_t)cpl << 45;
}

void engines_mode(Engines *e, unsigned bits, unsigned cpl)
{
    X86Cpu *cpu = e->cpu;

    memset(&cpu->event, 0, sizeof(cpu->event));
    memset(&cpu->previous, 0, sizeof(cpu->previous));
    memset(cpu->faults, 0, sizeof(cpu->faults));
    memset(cpu->dr, 0, sizeof(cpu->dr));
    cpu->dr[6] = 0xffff0ff0;
    cpu->dr[7] = 0x400;
    cpu->delivering = cpu->halted = cpu->interrupt_shadow = cpu->smm = cpu->nmi_blocked = false;
    cpu->fault_count = cpu->delivery_depth = cpu->stop = 0;
    cpu->xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX | (e->avx512 ? XCR0_OPMASK | XCR0_ZMM_HI256 | XCR0_HI16_ZMM : 0);
    cpu->pkru = 0;
    cpu->cr2 = cpu->cr8 = 0;
    cpu->x87_fcs = cpu->x87_fds = 0;
    memset(&cpu->ldt, 0, sizeof(cpu->ldt));
    memset(&cpu->tr, 0, sizeof(cpu->tr));
    build_gdt(bits, cpl);
    cpu->gdt = (X86Table){ GDT, 23 };
    cpu->idt = (X86Table){ 0, 0 };
    memset(&cpu->msrs, 0, sizeof(cpu->msrs));
    cpu->msrs.star = 8ull << 32 | 8ull << 48;
    cpu->msrs.lstar = cpu->msrs.cstar = cpu->msrs.sysenter_eip = BENCH_CODE + 0x3000;
    cpu->msrs.sysenter_esp = BENCH_DATA + 0x1000;
    cpu->msrs.sysenter_cs = 8;
    cpu->msrs.pat = 0x0007040600070406ull;
    bench_set_mode(cpu, bits, cpl);
    e->bus_log = 0;
}

/* ---- segments ----------------------------------------------------------------------------------- */

const char *const engines_kinds[ENGINES_KINDS] = { "real", "vm86", "protected-16", "protected-32" };

static unsigned any(GRand *rand, unsigned n) { return g_rand_int_range(rand, 0, n); }

static uint32_t any_limit(GRand *rand)
{
    switch (any(rand, 4)) {
    case 0: return UINT32_MAX;
    case 1: return 0x1000 + any(rand, 0x4000);
    default: return 0xffff;
    }
}

static X86Seg code_segment(EnginesKind kind, unsigned cpl, GRand *rand)
{
    static const uint16_t before[] = { 0, 0x40, 0x1000, 0x8123, 0xf000, 0xffb0 };
    X86Seg cs = { 8 | cpl, DESC_P | DESC_S | DESC_A | DESC_CODE | DESC_R | cpl << DESC_DPL_SHIFT, 0xffff, 0 };
    uint32_t offset = before[any(rand, ARRAY_LEN(before))];

    cs.base = BENCH_CODE - offset;
    cs.flags |= kind == ENGINES_32 ? DESC_DB : 0;
    if ((kind == ENGINES_REAL || kind == ENGINES_VM86) && any(rand, 4)) {
        cs.flags ^= DESC_CODE;          /* as these modes load it */
    }
    if (kind != ENGINES_VM86 && any(rand, 2)) {
        static const uint32_t limits[] = { 0x1ffff, UINT32_MAX };

        cs.limit = any(rand, 2) ? limits[any(rand, 2)] : offset + 0x60 + any(rand, 0x1000);
    }
    if (kind == ENGINES_32 && any(rand, 3) == 0) {
        cs.base = 0;
        cs.limit = UINT32_MAX;
    }
    return cs;
}

static X86Seg data_segment(EnginesKind kind, unsigned seg, unsigned cpl, GRand *rand)
{
    static const uint32_t rights[] = { DESC_W, DESC_W, DESC_W, DESC_W, 0, DESC_CODE, DESC_CODE | DESC_R, DESC_W | DESC_E };
    X86Seg s = { 16 | cpl, DESC_P | DESC_S | DESC_A | DESC_W | cpl << DESC_DPL_SHIFT, 0xffff, 0 };

    s.base = BENCH_DATA + any(rand, 0x1800) - (any(rand, 2) ? 0 : any(rand, 2) ? 0x8000 : 0xd000);
    if (kind == ENGINES_VM86) {
        return s;
    }
    s.limit = any_limit(rand);
    s.flags |= any(rand, 2) ? DESC_DB : 0;
    if (kind == ENGINES_REAL) {
        return s;
    }
    s.flags &= ~(uint32_t)DESC_W;
    s.flags |= seg == SEG_SS ? (any(rand, 8) ? DESC_W : DESC_W | DESC_E) : rights[any(rand, ARRAY_LEN(rights))];
    if (seg != SEG_SS && any(rand, 16) == 0) {
        s = (X86Seg){ 0 };
    } else if (any(rand, 4) == 0) {
        s.base = 0;
        s.limit = UINT32_MAX;
    }
    return s;
}

uint64_t engines_segmented(Engines *e, EnginesKind kind, unsigned cpl, GRand *rand)
{
    X86Cpu *cpu = e->cpu;

    engines_mode(e, kind == ENGINES_32 ? 32 : 16, cpl);
    if (kind == ENGINES_REAL || kind == ENGINES_VM86) {
        x86_load_cr(cpu, CR0_NE | CR0_ET | CR0_MP | (kind == ENGINES_VM86 ? CR0_PE : 0), 0,
                    CR4_OSFXSR | CR4_OSXSAVE | CR4_OSXMMEXCPT | (any(rand, 2) ? CR4_VME : 0), 0);
    }
    cpu->segs[SEG_CS] = code_segment(kind, cpl, rand);
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        if (i != SEG_CS) {
            cpu->segs[i] = data_segment(kind, i, cpl, rand);
        }
    }
    x86_update_mode(cpu);
    return kind == ENGINES_VM86 ? FLAG_VM | (uint64_t)any(rand, 4) << FLAG_IOPL_SHIFT : 0;
}

static uint64_t any64(GRand *rand) { return (uint64_t)g_rand_int(rand) << 32 | g_rand_int(rand); }

void engines_random_avx512(Engines *e, GRand *rand)
{
    X86Cpu *cpu = e->cpu;
    unsigned kind = any(rand, 5);

    memset(cpu->k, 0, sizeof(cpu->k));
    for (unsigned n = 0; n < 32; n++) {
        memset(&cpu->zmm[n].u64[n < 16 ? 4 : 0], 0, n < 16 ? 32 : 64);
    }
    if (!e->avx512 || kind == 0) {
        return;
    }
    for (unsigned n = 0; n < 8; n++) {
        uint64_t bit = BIT64(any(rand, any(rand, 2) ? 64 : 16));
        uint64_t values[] = { 0, ~0ull, bit - 1, -bit, bit, any64(rand) };

        cpu->k[n] = values[any(rand, ARRAY_LEN(values))];
    }
    for (unsigned n = kind < 3 ? 0 : 16; n < 32; n++) {
        /* Of kind 4 as the C library's string functions leave them. */
        for (unsigned i = n < 16 ? 4 : 0; i < (kind == 4 ? 4 : 8); i++) {
            cpu->zmm[n].u64[i] = any(rand, 4) ? any64(rand) : cpu->zmm[n & 15].u64[i & 3];
        }
    }
}

void engines_code(Engines *e, uint64_t at, const uint8_t *bytes, unsigned len)
{
    code_map_written(e->cpu->code, ENGINES_CODE, ENGINES_CODE_SIZE);
    memset((void *)(uintptr_t)ENGINES_CODE, 0xf4, ENGINES_CODE_SIZE);
    memcpy((void *)(uintptr_t)at, bytes, len);
}

/* ---- states -------------------------------------------------------------------------------------- */

void engines_save(Engines *e, EngineState *to)
{
    memcpy(to->hot, e->cpu, sizeof(to->hot));
    memcpy(to->rest, &e->cpu->x87, sizeof(to->rest));
    memcpy(to->data, (void *)(uintptr_t)BENCH_DATA, sizeof(to->data));
    memcpy(to->code, (void *)(uintptr_t)ENGINES_CODE, sizeof(to->code));
    to->bus_log = e->bus_log;
}

void engines_load(Engines *e, const EngineState *from, bool cold)
{
    X86Cpu *cpu = e->cpu;
    uint32_t gen = cpu->tlb_gen;

    memcpy(cpu, from->hot, sizeof(from->hot));
    memcpy(&cpu->x87, from->rest, sizeof(from->rest));
    cpu->tlb_gen = gen;
    memcpy((void *)(uintptr_t)BENCH_DATA, from->data, sizeof(from->data));
    if (memcmp((void *)(uintptr_t)ENGINES_CODE, from->code, sizeof(from->code))) {
        code_map_written(cpu->code, ENGINES_CODE, ENGINES_CODE_SIZE);
        memcpy((void *)(uintptr_t)ENGINES_CODE, from->code, sizeof(from->code));
    }
    e->bus_log = from->bus_log;
    x86_update_mode(cpu);
    if (cold) {
        x86_tlb_flush(cpu, true);
    }
}

bool engines_interpret(Engines *e, unsigned limit)
{
    X86Exit exit = X86_EXIT_STEP;

    while (exit == X86_EXIT_STEP && limit--) {
        if (!e->anywhere && e->cpu->rip - ENGINES_CODE >= ENGINES_CODE_SIZE - 16) {
            return false;
        }
        exit = interp_step(e->cpu);
    }
    return exit != X86_EXIT_STEP;
}

void engines_translate(Engines *e)
{
    tcg_run(e->cpu);
}

int engines_vector(const EngineState *s, uint64_t *rip)
{
    const X86Cpu *cpu = (const X86Cpu *)((uintptr_t)s->rest - offsetof(X86Cpu, x87));

    if (!cpu->fault_count) {
        return -1;
    }
    *rip = cpu->faults[0].rip;
    return cpu->faults[0].event.vector;
}

/* ---- comparison ------------------------------------------------------------------------------------ */

typedef struct Field {
    const char *name;
    size_t offset;
    unsigned size;
} Field;

#define F(field) { #field, offsetof(X86Cpu, field), sizeof(((X86Cpu *)0)->field) }

static const Field fields[] = {
    F(rip), F(cpl), F(mode), F(halted), F(interrupt_shadow), F(k), F(xcr0), F(pkru), F(cr0), F(cr2),
    F(cr3), F(cr4), F(cr8), F(efer), F(dr), F(msrs), F(smm), F(nmi_blocked), F(fault_count),
    F(x87.fcw), F(x87.ftw), F(x87.mxcsr),
    F(gdt.base), F(gdt.limit), F(idt.base), F(idt.limit), F(ldt.sel), F(ldt.base), F(tr.sel),
};

static const uint8_t *at(const EngineState *s, size_t offset)
{
    return offset < sizeof(s->hot) ? s->hot + offset : s->rest + (offset - offsetof(X86Cpu, x87));
}

static void put_bytes(GString *why, const uint8_t *p, unsigned size)
{
    for (unsigned i = MIN(size, 64); i-- > 0;) {
        g_string_append_printf(why, "%02x", p[i]);
    }
}

static void differ(GString *why, const char *name, int index, const uint8_t *a, const uint8_t *b,
                   unsigned size)
{
    if (memcmp(a, b, size)) {
        g_string_append_printf(why, index < 0 ? " %s " : " %s%d ", name, index);
        put_bytes(why, a, size);
        g_string_append(why, " translated ");
        put_bytes(why, b, size);
        g_string_append_c(why, ';');
    }
}

static void compare_memory(GString *why, const char *name, const uint8_t *a, const uint8_t *b,
                           size_t size)
{
    if (!memcmp(a, b, size)) {
        return;
    }
    for (size_t i = 0; i < size; i++) {
        if (a[i] != b[i]) {
            g_string_append_printf(why, " %s+0x%zx %02x translated %02x;", name, i, a[i], b[i]);
            return;
        }
    }
}

/* Vectors, x87 registers, the exception that ended it. */
static void compare_rest(const EngineState *a, const EngineState *b, uint16_t fsw_mask, GString *why)
{
    const X87State *xa = (const void *)at(a, offsetof(X86Cpu, x87));
    const X87State *xb = (const void *)at(b, offsetof(X86Cpu, x87));
    const X86FaultRecord *fa = (const void *)at(a, offsetof(X86Cpu, faults));
    const X86FaultRecord *fb = (const void *)at(b, offsetof(X86Cpu, faults));

    for (unsigned i = 0; i < 32; i++) {
        size_t offset = offsetof(X86Cpu, zmm) + i * sizeof(X86Vec);

        differ(why, "zmm", i, at(a, offset), at(b, offset), 64);
    }
    for (unsigned i = 0; i < 8; i++) {
        differ(why, "st", i, (const void *)&xa->st[i], (const void *)&xb->st[i], 10);
    }
    if ((xa->fsw ^ xb->fsw) & ~fsw_mask) {
        g_string_append_printf(why, " fsw %04x translated %04x;", xa->fsw, xb->fsw);
    }
    if (fa->event.vector != fb->event.vector || fa->event.code != fb->event.code ||
        fa->event.has_code != fb->event.has_code || fa->event.payload != fb->event.payload ||
        fa->rip != fb->rip || fa->rsp != fb->rsp) {
        g_string_append_printf(why, " exception %u(%x) at %lx translated %u(%x) at %lx;",
                               fa->event.vector, fa->event.code, fa->rip, fb->event.vector,
                               fb->event.code, fb->rip);
    }
}

void engines_compare(const EngineState *a, const EngineState *b, uint64_t mask, uint16_t fsw_mask,
                     GString *why)
{
    const X86Cpu *ca = (const void *)a->hot, *cb = (const void *)b->hot;

    for (unsigned i = 0; i < 16; i++) {
        differ(why, "gpr", i, (const void *)&ca->gpr[i], (const void *)&cb->gpr[i], 8);
    }
    if ((x86_rflags(ca) ^ x86_rflags(cb)) & mask) {
        g_string_append_printf(why, " flags %lx translated %lx mask %lx;", x86_rflags(ca),
                               x86_rflags(cb), mask);
    }
    for (unsigned i = 0; i < ARRAY_LEN(fields); i++) {
        differ(why, fields[i].name, -1, at(a, fields[i].offset), at(b, fields[i].offset),
               fields[i].size);
    }
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        if (ca->segs[i].sel != cb->segs[i].sel || ca->segs[i].flags != cb->segs[i].flags ||
            ca->segs[i].limit != cb->segs[i].limit || ca->segs[i].base != cb->segs[i].base) {
            g_string_append_printf(why, " segment %u;", i);
        }
    }
    compare_rest(a, b, fsw_mask, why);
    compare_memory(why, "data", a->data, b->data, sizeof(a->data));
    compare_memory(why, "code", a->code, b->code, sizeof(a->code));
    if (a->bus_log != b->bus_log) {
        g_string_append(why, " accesses outside RAM;");
    }
}
