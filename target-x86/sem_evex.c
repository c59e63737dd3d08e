/* SPDX-License-Identifier: MIT */
/*
 * EVEX instructions, executed by the host's own instruction (hostop_evex.c), and gathers and scatters.
 *
 * Elements in memory that the writemask leaves out are not accessed and cannot fault (except by A_NF rows).  Where the
 * whole operand lies in a page that the TLB has, the host's instruction does that itself; else the enabled
 * elements go through a buffer.  Stores check all of them before the first is written.
 * Spec: SDM2 2.6, 2.7, exception classes 2.8; gathers and scatters can be restarted: an element that is done
 * has lost its bit in the mask.
 * Locking: none.
 */
#include "target-x86/fpu.h"
#include "target-x86/hostop.h"
#include "target-x86/sem.h"

/* Where operands are, and the thunk. */
typedef struct Plan {
    HostEvexOp op;
    void *at[3];              /* reg, rm, vvvv */
    int load, store;          /* the operand that is memory, or -1 */
} Plan;

static void *location(X86Cpu *cpu, const InsnOpnd *op, unsigned *kind)
{
    switch (op->kind) {
    case OPK_VEC: *kind = HOST_VEC; return &cpu->zmm[op->reg];
    case OPK_GPR: *kind = HOST_GPR; return &cpu->gpr[op->reg];
    case OPK_K: *kind = HOST_K; return &cpu->k[op->reg];
    case OPK_MEM: *kind = HOST_MEM; return NULL;
    default: *kind = HOST_NONE; return NULL;
    }
}

static void plan_operand(X86Cpu *cpu, const Insn *insn, unsigned n, Plan *p)
{
    const InsnOpnd *op = &insn->op[n];
    unsigned kind, dst = HOST_DST_NONE;
    void *at = location(cpu, op, &kind);

    switch (insn->def->opnd[n] >> 8) {
    case OT_V: case OT_G: case OT_KG:
        p->op.reg = kind;
        p->at[0] = at;
        dst = HOST_DST_REG;
        break;
    case OT_W: case OT_U: case OT_E: case OT_R: case OT_M: case OT_RM: case OT_KU:
        p->op.rm = kind;
        p->at[1] = at;
        if (kind == HOST_MEM) {
            *(n ? &p->load : &p->store) = n;
        } else {
            dst = HOST_DST_RM;
        }
        break;
    case OT_H:
        p->op.vvvv = kind;
        p->at[2] = at;
        dst = HOST_DST_VVVV;
        break;
    default:
        return;
    }
    if (n == 0) {
        p->op.dst = dst;
    }
}

static void plan_make(X86Cpu *cpu, const Insn *insn, Plan *p)
{
    const InsnDef *def = insn->def;

    *p = (Plan){ .load = -1, .store = -1 };
    p->op.opcode = insn->opcode;
    p->op.map = insn->map - MAP_EVEX0F + 1;
    p->op.pp = insn->mp;
    p->op.ll = insn_rounds(insn) ? insn->evex >> EVEX_LL_SHIFT : insn->vl;
    /* As part of the opcode; as the operand size it is ignored outside 64-bit mode. */
    p->op.w = def->match & (M_W0 | M_W1) ? !!(insn->rex & REX_W) : insn->op_size == 8;
    p->op.b = !!(insn->evex & EVEX_B);
    p->op.z = !!(insn->evex & EVEX_Z);
    p->op.masked = (insn->evex & EVEX_AAA) != 0;
    p->op.has_imm = insn->imm_size != 0;
    p->op.imm = insn->imm_size ? insn->imm : 0;
    if (def->match & M_HAS_REG) {
        p->op.reg = HOST_DIGIT;
        p->op.digit = def->match >> 24 & 7;
    }
    for (unsigned n = 0; n < ARRAY_LEN(insn->op); n++) {
        plan_operand(cpu, insn, n, p);
    }
}

/* ---- masked memory ---------------------------------------------------------------------------------------- */

static uint64_t low_bits(unsigned count)
{
    return count >= 64 ? ~0ull : (1ull << count) - 1;
}

/* Memory has only the elements that are enabled. */
static bool is_packed(const Insn *insn)
{
    return (insn->def->attrs & A_PACK) && (insn->evex & EVEX_AAA);
}

/* Bit i: element i of the operand in memory, which has *COUNT, is accessed. */
static uint64_t enabled_elements(const X86Cpu *cpu, const Insn *insn, unsigned n, unsigned *count)
{
    uint64_t a = insn->def->attrs, mask = ~0ull, folded = 0;
    unsigned size = A_ELEMENT(a), bits = insn_mask_bits(insn);

    *count = MAX(insn->op[n].size / size, 1);
    if (!(insn->evex & EVEX_AAA) || (a & A_NF)) {
        return low_bits(*count);
    }
    mask = cpu->k[insn->evex & EVEX_AAA] & low_bits(bits);
    for (unsigned i = 0; i < bits; i += *count) {
        folded |= mask >> i;
    }
    return folded & low_bits(*count);
}

/* The next run of enabled elements from *AT on: its first; *AT becomes its end.  False: none. */
static bool next_run(uint64_t enabled, unsigned count, unsigned *first, unsigned *at)
{
    while (*at < count && !(enabled >> *at & 1)) {
        ++*at;
    }
    *first = *at;
    while (*at < count && (enabled >> *at & 1)) {
        ++*at;
    }
    return *first < *at;
}

static uint64_t run_address(X86Cpu *cpu, const Insn *insn, uint64_t base, unsigned offset, unsigned len, X86Access access)
{
    return fpu_element_address(cpu, insn, insn->seg, base, offset, len, access);
}

/* Host memory of SIZE bytes at the operand without a fault that an element left out could cause; or NULL. */
static uint8_t *direct(X86Cpu *cpu, const Insn *insn, unsigned size, X86Access access)
{
    uint64_t va;

    if ((cpu->mode & (MODE_CS64 | MODE_ALIGN)) != MODE_CS64) {
        return NULL;
    }
    va = insn_offset(cpu, insn) + (insn->seg >= SEG_FS && insn->seg != SEG_FLAT ? cpu->segs[insn->seg].base : 0);
    return access == X86_READ ? x86_tlb_read(cpu, va, size, cpu->mmu_idx) : x86_tlb_write(cpu, va, size, cpu->mmu_idx);
}

static void check_alignment(X86Cpu *cpu, const Insn *insn, unsigned size, X86Access access)
{
    if ((insn->def->attrs & A_ALIGN) &&
        (insn_linear_unaligned(cpu, insn, size, access) & (size - 1))) {
        cpu_raise(cpu, VEC_GP, 0);
    }
}

/* Of the operand as a whole; no #AC where there is a mask. */
static uint64_t whole_address(X86Cpu *cpu, const Insn *insn, unsigned size, X86Access access)
{
    return insn->evex & EVEX_AAA && !(insn->def->attrs & A_NF) ? insn_linear_unaligned(cpu, insn, size, access)
                                                               : insn_linear(cpu, insn, size, access);
}

/* Operand N, or as much of it as is enabled: BUFFER, or where it is. */
static void *load_operand(X86Cpu *cpu, const Insn *insn, unsigned n, uint8_t *buffer)
{
    unsigned size = insn->op[n].size, element = A_ELEMENT(insn->def->attrs), count, first, at = 0;
    uint64_t enabled = enabled_elements(cpu, insn, n, &count), base = insn_offset(cpu, insn);
    uint8_t *host;

    if (!enabled) {
        return buffer;          /* no check of the address either */
    }
    check_alignment(cpu, insn, size, X86_READ);
    if (is_packed(insn)) {
        count = __builtin_popcountll(enabled);
        enabled = low_bits(count);
    } else {
        host = direct(cpu, insn, size, X86_READ);
        if (G_LIKELY(host)) {
            return host;
        }
    }
    memset(buffer, 0, HOST_BUFFER_BYTES);
    if (enabled == low_bits(count) && !is_packed(insn)) {
        x86_ld_bytes(cpu, whole_address(cpu, insn, size, X86_READ), buffer, size);
        return buffer;
    }
    while (next_run(enabled, count, &first, &at)) {
        unsigned offset = first * element, len = (at - first) * element;

        x86_ld_bytes(cpu, run_address(cpu, insn, base, offset, len, X86_READ), buffer + offset, len);
    }
    return buffer;
}

/* Enabled elements of operand 0 can be written: RAM where all of it is, or NULL. */
static void *probe_operand(X86Cpu *cpu, const Insn *insn, uint64_t enabled, unsigned count)
{
    unsigned size = insn->op[0].size, element = A_ELEMENT(insn->def->attrs), first, at = 0;
    uint64_t base = insn_offset(cpu, insn);
    uint8_t *host;

    if (!enabled) {
        return NULL;
    }
    check_alignment(cpu, insn, size, X86_WRITE);
    host = is_packed(insn) ? NULL : direct(cpu, insn, size, X86_WRITE);
    if (G_LIKELY(host)) {
        return host;
    }
    if (enabled == low_bits(count) && !is_packed(insn)) {
        x86_probe_write(cpu, whole_address(cpu, insn, size, X86_WRITE), size);
        return NULL;
    }
    while (next_run(enabled, count, &first, &at)) {
        unsigned len = (at - first) * element;

        x86_probe_write(cpu, run_address(cpu, insn, base, first * element, len, X86_WRITE), len);
    }
    return NULL;
}

static void store_operand(X86Cpu *cpu, const Insn *insn, uint64_t enabled, unsigned count, const uint8_t *buffer)
{
    unsigned element = A_ELEMENT(insn->def->attrs), first, at = 0;
    uint64_t base = insn_offset(cpu, insn);

    while (next_run(enabled, count, &first, &at)) {
        unsigned offset = first * element, len = (at - first) * element;

        x86_st_bytes(cpu, run_address(cpu, insn, base, offset, len, X86_WRITE), buffer + offset, len);
    }
}

/* ---- execution -------------------------------------------------------------------------------------------- */

void sem_evex(X86Cpu *cpu, const Insn *insn)
{
    uint8_t buffer[HOST_BUFFER_BYTES] __attribute__((aligned(64)));
    HostEnv env = { .mxcsr = cpu->x87.mxcsr, .host_mxcsr = HOST_MXCSR };
    uint64_t enabled = 0;
    unsigned count = 0;
    bool buffered = false;
    Plan p;

    if (G_UNLIKELY(!simd_host_has(insn->def->feature))) {
        cpu_raise(cpu, VEC_UD, 0);
    }
    plan_make(cpu, insn, &p);
    if (p.load >= 0) {
        p.at[1] = load_operand(cpu, insn, p.load, buffer);
    } else if (p.store >= 0) {
        enabled = enabled_elements(cpu, insn, 0, &count);
        if (is_packed(insn)) {
            count = __builtin_popcountll(enabled);
            enabled = low_bits(count);
        }
        p.at[1] = probe_operand(cpu, insn, enabled, count);
        if (!p.at[1]) {
            p.at[1] = buffer;
            buffered = true;
        }
    }
    if (G_UNLIKELY((env.mxcsr & MXCSR_MASKS) != MXCSR_MASKS)) {
        fpu_unblock_sigfpe();
    }
    if (G_UNLIKELY(host_evex_run(p.op, p.at[0], p.at[1], p.at[2], &cpu->k[insn->evex & EVEX_AAA], &env))) {
        fpu_raise_simd(cpu, env.mxcsr);
    }
    if (buffered) {
        /* An A_NF row has been checked as a whole, but writes what is enabled. */
        if ((insn->def->attrs & A_NF) && (insn->evex & EVEX_AAA)) {
            enabled &= cpu->k[insn->evex & EVEX_AAA];
        }
        store_operand(cpu, insn, enabled, count, buffer);
    }
    cpu->x87.mxcsr = env.mxcsr;
    if (insn->def->effects) {
        cpu->cc = x86_flags_to_cc(env.rflags);
    }
}

/* ---- gathers and scatters --------------------------------------------------------------------------------- */

typedef struct Elements {
    const X86Vec *index;
    uint64_t base;
    unsigned size, count;
    bool wide_index;
} Elements;

/* VSIB: the operand in memory. */
static Elements elements_of(X86Cpu *cpu, const Insn *insn, unsigned vsib)
{
    bool wide = insn->rex & REX_W, wide_index = insn->opcode & 1;

    return (Elements){ &cpu->zmm[insn->op[vsib].reg], insn_offset(cpu, insn), wide ? 8 : 4,
                       (16u << insn->vl) / (wide || wide_index ? 8 : 4), wide_index };
}

static uint64_t address_of(X86Cpu *cpu, const Insn *insn, const Elements *e, unsigned i, X86Access access)
{
    int64_t step = e->wide_index ? (int64_t)e->index->u64[i] : (int32_t)e->index->u32[i];

    return fpu_element_address(cpu, insn, insn->seg, e->base + ((uint64_t)step << insn->scale), 0, e->size, access);
}

void sem_evex_gather(X86Cpu *cpu, const Insn *insn)
{
    Elements e = elements_of(cpu, insn, 1);
    X86Vec *dst = &cpu->zmm[insn->op[0].reg];
    uint64_t *mask = &cpu->k[insn->evex & EVEX_AAA];

    for (unsigned i = 0; i < e.count; i++) {
        if (*mask & BIT64(i)) {
            x86_ld_bytes(cpu, address_of(cpu, insn, &e, i, X86_READ), &dst->u8[i * e.size], e.size);
            *mask &= ~BIT64(i);
        }
    }
    memset(&dst->u8[e.count * e.size], 0, sizeof(*dst) - e.count * e.size);
    *mask = 0;
}

void sem_evex_scatter(X86Cpu *cpu, const Insn *insn)
{
    Elements e = elements_of(cpu, insn, 0);
    const X86Vec *src = &cpu->zmm[insn->op[1].reg];
    uint64_t *mask = &cpu->k[insn->evex & EVEX_AAA];

    for (unsigned i = 0; i < e.count; i++) {
        if (*mask & BIT64(i)) {
            x86_st_bytes(cpu, address_of(cpu, insn, &e, i, X86_WRITE), &src->u8[i * e.size], e.size);
            *mask &= ~BIT64(i);
        }
    }
    *mask = 0;
}
