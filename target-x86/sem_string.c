/* SPDX-License-Identifier: MIT */
/*
 * String instructions.  Spec: SDM2 MOVS STOS LODS CMPS SCAS and REP; SDM1 7.3.9.
 *
 * A repeated instruction works in chunks of at most one page or CHUNK elements; after a chunk
 * with iterations left it sets next_rip back to itself, so that interrupts and kicks get in.
 * When single-stepping a chunk is one element: the trap comes after each [SDM3B 17.3.1.4].
 * Registers are committed after each element or host-copied run: faults are precise.
 * Locking: none.
 */
#include "target-x86/sem.h"

#define CHUNK 256

static bool is_rep(const Insn *insn)
{
    return insn->prefixes & (INSN_F2 | INSN_F3);
}

static void advance(X86Cpu *cpu, const Insn *insn, unsigned reg, int64_t bytes)
{
    x86_set_gpr(cpu, reg, cpu->gpr[reg] + bytes, insn->addr_size);
}

static uint64_t count_left(const X86Cpu *cpu, const Insn *insn)
{
    return cpu->gpr[R_RCX] & size_mask(insn->addr_size);
}

static void set_count(X86Cpu *cpu, const Insn *insn, uint64_t count)
{
    x86_set_gpr(cpu, R_RCX, count, insn->addr_size);
}

static uint64_t offset_of(const X86Cpu *cpu, const Insn *insn, unsigned reg)
{
    return cpu->gpr[reg] & size_mask(insn->addr_size);
}

static int64_t step_of(const X86Cpu *cpu, unsigned size)
{
    return cpu->eflags & FLAG_DF ? -(int64_t)size : size;
}

/* ES for the destination, flat where the mode says so. */
static unsigned es_of(const X86Cpu *cpu, const Insn *insn)
{
    return (cpu->mode & (MODE_CS64 | MODE_FLAT_ES)) == MODE_FLAT_ES && insn->addr_size == 4
               ? SEG_FLAT : SEG_ES;
}

static uint64_t load_sized(X86Cpu *cpu, unsigned seg, uint64_t off, unsigned size)
{
    switch (size) {
    case 1: return x86_load8(cpu, seg, off);
    case 2: return x86_load16(cpu, seg, off);
    case 4: return x86_load32(cpu, seg, off);
    default: return x86_load64(cpu, seg, off);
    }
}

static void store_sized(X86Cpu *cpu, unsigned seg, uint64_t off, uint64_t value, unsigned size)
{
    switch (size) {
    case 1: x86_store8(cpu, seg, off, value); break;
    case 2: x86_store16(cpu, seg, off, value); break;
    case 4: x86_store32(cpu, seg, off, value); break;
    default: x86_store64(cpu, seg, off, value); break;
    }
}

/* How many bytes from OFF on need no other check than that of the page, and do not wrap around. */
static uint64_t room_in_segment(const X86Cpu *cpu, const Insn *insn, unsigned seg, uint64_t off, X86Access access)
{
    uint64_t end = size_mask(insn->addr_size);

    if (seg != SEG_FLAT && !(cpu->mode & MODE_CS64)) {
        end = MIN(end, cpu->seg_end[seg][access == X86_WRITE]);
    }
    return end > off ? end - off : 0;
}

/*
 * How many elements upwards from `reg` lie in one page without any further check, and where.
 * 0: do one element the careful way.
 */
static uint64_t run_at(X86Cpu *cpu, const Insn *insn, unsigned seg, unsigned reg, unsigned size,
                       X86Access access, uint8_t **host)
{
    uint64_t off = offset_of(cpu, insn, reg), va, room = room_in_segment(cpu, insn, seg, off, access);

    if (room < size) {
        return 0;
    }
    va = x86_linear(cpu, seg, off, size, access);
    room = MIN(room, 4096 - (va & 4095)) / size;
    if (room == 0) {
        return 0;
    }
    *host = x86_page_pointer(cpu, va, access);
    return *host ? room : 0;
}

/* The same downwards, for DF = 1: from there to the page's begin. */
static uint64_t run_down_at(X86Cpu *cpu, const Insn *insn, unsigned seg, unsigned reg, unsigned size,
                            X86Access access, uint8_t **host)
{
    uint64_t off = offset_of(cpu, insn, reg), va;

    if (room_in_segment(cpu, insn, seg, off, access) < size || off < 4096) {
        return 0;
    }
    va = x86_linear(cpu, seg, off, size, access);
    if ((va & 4095) > 4096 - size) {
        return 0;
    }
    *host = x86_page_pointer(cpu, va, access);
    return *host ? (va & 4095) / size + 1 : 0;
}

/* Loops around one element, for everything that cannot be done by the host's REP. */
static void repeat(X86Cpu *cpu, const Insn *insn, void (*element)(X86Cpu *cpu, const Insn *insn))
{
    uint64_t count = count_left(cpu, insn);

    for (unsigned done = 0, most = x86_rep_most(cpu, CHUNK); count && done < most; done++) {
        element(cpu, insn);
        set_count(cpu, insn, --count);
        if (G_UNLIKELY(cpu->stop)) {
            break;              /* the store hit decoded code, or a breakpoint */
        }
    }
    if (count) {
        cpu->next_rip = cpu->rip;
    }
}

/* ---- MOVS ---------------------------------------------------------------------------------------- */

static void movs_element(X86Cpu *cpu, const Insn *insn)
{
    unsigned size = insn->op[0].size;
    uint64_t value = load_sized(cpu, insn->seg, offset_of(cpu, insn, R_RSI), size);

    store_sized(cpu, es_of(cpu, insn), offset_of(cpu, insn, R_RDI), value, size);
    advance(cpu, insn, R_RSI, step_of(cpu, size));
    advance(cpu, insn, R_RDI, step_of(cpu, size));
}

static void host_movs(uint8_t *dst, const uint8_t *src, uint64_t n, unsigned size)
{
    switch (size) {
    case 1: __asm__ volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(n) : : "memory"); break;
    case 2: __asm__ volatile("rep movsw" : "+D"(dst), "+S"(src), "+c"(n) : : "memory"); break;
    case 4: __asm__ volatile("rep movsl" : "+D"(dst), "+S"(src), "+c"(n) : : "memory"); break;
    default: __asm__ volatile("rep movsq" : "+D"(dst), "+S"(src), "+c"(n) : : "memory"); break;
    }
}

/* N elements from the last one down; one that is stored may be loaded again where the ranges overlap. */
static void host_movs_down(uint8_t *dst, const uint8_t *src, uint64_t n, unsigned size)
{
    uint64_t below = (n - 1) * size;

    if ((uintptr_t)dst >= (uintptr_t)src || (uintptr_t)src - (uintptr_t)dst >= n * size) {
        memmove(dst - below, src - below, n * size);
        return;
    }
    for (; n; n--, dst -= size, src -= size) {
        memmove(dst, src, size);
    }
}

void sem_movs(X86Cpu *cpu, const Insn *insn)
{
    unsigned size = insn->op[0].size;
    bool down = cpu->eflags & FLAG_DF;
    uint64_t count = count_left(cpu, insn), n, m;
    uint8_t *src, *dst;

    if (!is_rep(insn)) {
        movs_element(cpu, insn);
        return;
    }
    if (!count) {
        return;
    }
    if ((cpu->mode & MODE_TF) ||
        !(n = (down ? run_down_at : run_at)(cpu, insn, insn->seg, R_RSI, size, X86_READ, &src)) ||
        !(m = (down ? run_down_at : run_at)(cpu, insn, es_of(cpu, insn), R_RDI, size, X86_WRITE, &dst))) {
        repeat(cpu, insn, movs_element);
        return;
    }
    /* The second refill may have evicted the first entry, but not the memory behind it. */
    n = MIN(count, MIN(n, m));
    (down ? host_movs_down : host_movs)(dst, src, n, size);
    advance(cpu, insn, R_RSI, (int64_t)n * step_of(cpu, size));
    advance(cpu, insn, R_RDI, (int64_t)n * step_of(cpu, size));
    set_count(cpu, insn, count - n);
    if (count != n) {
        cpu->next_rip = cpu->rip;
    }
}

/* ---- STOS, LODS ------------------------------------------------------------------------------------- */

static void stos_element(X86Cpu *cpu, const Insn *insn)
{
    unsigned size = insn->op[0].size;

    store_sized(cpu, es_of(cpu, insn), offset_of(cpu, insn, R_RDI), cpu->gpr[R_RAX], size);
    advance(cpu, insn, R_RDI, step_of(cpu, size));
}

static void host_stos(uint8_t *dst, uint64_t value, uint64_t n, unsigned size)
{
    switch (size) {
    case 1: __asm__ volatile("rep stosb" : "+D"(dst), "+c"(n) : "a"(value) : "memory"); break;
    case 2: __asm__ volatile("rep stosw" : "+D"(dst), "+c"(n) : "a"(value) : "memory"); break;
    case 4: __asm__ volatile("rep stosl" : "+D"(dst), "+c"(n) : "a"(value) : "memory"); break;
    default: __asm__ volatile("rep stosq" : "+D"(dst), "+c"(n) : "a"(value) : "memory"); break;
    }
}

void sem_stos(X86Cpu *cpu, const Insn *insn)
{
    unsigned size = insn->op[0].size;
    uint64_t count = count_left(cpu, insn), n;
    uint8_t *dst;

    if (!is_rep(insn)) {
        stos_element(cpu, insn);
        return;
    }
    if (!count) {
        return;
    }
    if ((cpu->eflags & FLAG_DF) || (cpu->mode & MODE_TF) ||
        !(n = run_at(cpu, insn, es_of(cpu, insn), R_RDI, size, X86_WRITE, &dst))) {
        repeat(cpu, insn, stos_element);
        return;
    }
    n = MIN(count, n);
    host_stos(dst, cpu->gpr[R_RAX], n, size);
    advance(cpu, insn, R_RDI, n * size);
    set_count(cpu, insn, count - n);
    if (count != n) {
        cpu->next_rip = cpu->rip;
    }
}

static void lods_element(X86Cpu *cpu, const Insn *insn)
{
    unsigned size = insn->op[0].size;
    uint64_t value = load_sized(cpu, insn->seg, offset_of(cpu, insn, R_RSI), size);

    x86_set_gpr(cpu, R_RAX, value, size);
    advance(cpu, insn, R_RSI, step_of(cpu, size));
}

void sem_lods(X86Cpu *cpu, const Insn *insn)
{
    if (is_rep(insn)) {
        repeat(cpu, insn, lods_element);
    } else {
        lods_element(cpu, insn);
    }
}

/* ---- CMPS, SCAS --------------------------------------------------------------------------------------- */

static uint32_t compare(uint64_t a, uint64_t b, unsigned size)
{
    switch (size) {
    case 1: return alu_cmp8(a, b);
    case 2: return alu_cmp16(a, b);
    case 4: return alu_cmp32(a, b);
    default: return alu_cmp64(a, b);
    }
}

static void cmps_element(X86Cpu *cpu, const Insn *insn)
{
    unsigned size = insn->op[1].size;
    uint64_t a = load_sized(cpu, insn->seg, offset_of(cpu, insn, R_RSI), size);
    uint64_t b = load_sized(cpu, es_of(cpu, insn), offset_of(cpu, insn, R_RDI), size);

    advance(cpu, insn, R_RSI, step_of(cpu, size));
    advance(cpu, insn, R_RDI, step_of(cpu, size));
    cpu->cc = compare(a, b, size);
}

static void scas_element(X86Cpu *cpu, const Insn *insn)
{
    unsigned size = insn->op[1].size;
    uint64_t b = load_sized(cpu, es_of(cpu, insn), offset_of(cpu, insn, R_RDI), size);

    advance(cpu, insn, R_RDI, step_of(cpu, size));
    cpu->cc = compare(cpu->gpr[R_RAX], b, size);
}

static void repeat_compare(X86Cpu *cpu, const Insn *insn,
                           void (*element)(X86Cpu *cpu, const Insn *insn))
{
    uint32_t go_on = insn->prefixes & INSN_F3 ? CC_Z : 0;
    uint64_t count = count_left(cpu, insn);

    for (unsigned done = 0, most = x86_rep_most(cpu, CHUNK); count; done++) {
        if (done == most || G_UNLIKELY(cpu->stop)) {
            cpu->next_rip = cpu->rip;
            return;
        }
        element(cpu, insn);
        set_count(cpu, insn, --count);
        if ((cpu->cc & CC_Z) != go_on) {
            return;
        }
    }
}

void sem_cmps(X86Cpu *cpu, const Insn *insn)
{
    if (is_rep(insn)) {
        repeat_compare(cpu, insn, cmps_element);
    } else {
        cmps_element(cpu, insn);
    }
}

void sem_scas(X86Cpu *cpu, const Insn *insn)
{
    if (is_rep(insn)) {
        repeat_compare(cpu, insn, scas_element);
    } else {
        scas_element(cpu, insn);
    }
}
