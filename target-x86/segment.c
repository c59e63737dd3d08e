/* SPDX-License-Identifier: MIT */
/*
 * Segment registers: descriptors, the checks of their loading and use.
 * Spec: [SDM3A 3.4.5, 5.2-5.8], [SDM2 MOV, LDS, LAR, LSL, VERR, ARPL].
 * A segment register that holds a null selector has flags 0: not present, nothing allowed.
 * In real mode a load changes selector and base only, so "unreal" limits survive.
 * Locking: the vCPU's thread.
 */
#include "target-x86/segment.h"

#include "target-x86/sem.h"

/* ---- address checks ---------------------------------------------------------------------------- */

static G_NORETURN void segment_violation(X86Cpu *cpu, unsigned seg)
{
    cpu_raise(cpu, seg == SEG_SS ? VEC_SS : VEC_GP, 0);
}

static bool limit_holds(const X86Seg *s, uint32_t off, unsigned size)
{
    uint32_t last = off + size - 1;

    if ((s->flags & (DESC_S | DESC_CODE | DESC_E)) == (DESC_S | DESC_E)) {
        uint32_t top = s->flags & DESC_DB ? 0xffffffff : 0xffff;

        return off > s->limit && last >= off && last <= top;
    }
    /* A 4 GiB segment wraps: what real CPUs do is not defined, and nothing is out of it. */
    return s->limit == 0xffffffff || (last >= off && last <= s->limit);
}

uint64_t x86_linear_unaligned(X86Cpu *cpu, unsigned seg, uint64_t off, unsigned size,
                              X86Access access)
{
    const X86Seg *s;

    if (cpu->mode & MODE_CS64) {
        uint64_t va = seg >= SEG_FS && seg != SEG_FLAT ? off + cpu->segs[seg].base : off;

        if (!x86_is_canonical(cpu, va)) {
            segment_violation(cpu, seg);
        }
        return va;
    }
    if (seg == SEG_FLAT) {
        return (uint32_t)off;
    }
    s = &cpu->segs[seg];
    if (x86_is_protected(cpu)) {
        if (!(s->flags & DESC_P)) {
            segment_violation(cpu, seg);
        }
        if (access != X86_EXEC) {
            bool code = s->flags & DESC_CODE;

            /* Bit 9 is W of data and R of code. */
            if (access == X86_WRITE ? code || !(s->flags & DESC_W) : code && !(s->flags & DESC_R)) {
                segment_violation(cpu, seg);
            }
        }
    }
    if (!limit_holds(s, (uint32_t)off, size)) {
        segment_violation(cpu, seg);
    }
    return (uint32_t)(s->base + off);
}

/*
 * [SDM3A 6.15, table 6-7].  Numbers want their size, an 80-bit number 8, an x87 environment 4
 * or 2 (28 and 14 bytes, with registers 108 and 94).  SDM2 leaves open whether vectors are
 * checked: they want 16 here, as AMD's CPUs do (and nothing where EVEX masks elements).
 */
static unsigned alignment_of(unsigned size)
{
    return size == 32 || size == 64 ? 16 : size == 10 ? 8 : size <= 32 || size == 94 || size == 108 ? size & -size : 1;
}

void x86_check_alignment(X86Cpu *cpu, uint64_t va, unsigned size, X86Access access)
{
    if (G_LIKELY(!(va & (alignment_of(size) - 1)))) {
        return;
    }
    /* A page fault comes first, [SDM3A table 6-2]. */
    if (access == X86_WRITE) {
        x86_probe_write(cpu, va, size);
    } else {
        x86_probe_read(cpu, va, size);
    }
    cpu_raise(cpu, VEC_AC, 0);
}

uint64_t x86_linear_checked(X86Cpu *cpu, unsigned seg, uint64_t off, unsigned size,
                            X86Access access)
{
    uint64_t va = x86_linear_unaligned(cpu, seg, off, size, access);

    if (G_UNLIKELY(cpu->mode & MODE_ALIGN)) {
        x86_check_alignment(cpu, va, size, access);
    }
    return va;
}

void x86_check_rip(X86Cpu *cpu, const X86Seg *cs, uint64_t rip, unsigned ext)
{
    if (x86_seg_is_64(cpu, cs) ? !x86_is_canonical(cpu, rip) : rip > cs->limit) {
        cpu_raise(cpu, VEC_GP, ext);
    }
}

/* ---- descriptors ------------------------------------------------------------------------------- */

/* False when the selector is null, beyond its table, or its LDT is not usable. */
static bool x86_desc_read(X86Cpu *cpu, uint16_t sel, X86Desc *d)
{
    uint64_t base, raw;
    uint32_t limit;

    if (sel_is_null(sel)) {
        return false;
    }
    if (sel & 4) {
        if (!(cpu->ldt.flags & DESC_P)) {
            return false;
        }
        base = cpu->ldt.base;
        limit = cpu->ldt.limit;
    } else {
        base = cpu->gdt.base;
        limit = cpu->gdt.limit;
    }
    if ((sel | 7u) > limit) {
        return false;
    }
    d->at = base + (sel & ~7u);
    if (!(cpu->efer & EFER_LMA)) {
        d->at = (uint32_t)d->at;
    }
    raw = x86_sys_ld64(cpu, d->at);
    d->lo = (uint32_t)raw;
    d->hi = raw >> 32;
    return true;
}

void x86_desc_fetch(X86Cpu *cpu, uint16_t sel, X86Desc *d, unsigned vector, unsigned ext)
{
    if (!x86_desc_read(cpu, sel, d)) {
        cpu_raise(cpu, vector, sel_code(sel, ext));
    }
}

uint32_t x86_desc_base_high(X86Cpu *cpu, uint16_t sel, const X86Desc *d, unsigned vector)
{
    uint32_t limit = sel & 4 ? cpu->ldt.limit : cpu->gdt.limit;
    uint64_t high;

    if ((sel | 7u) + 8 > limit) {
        cpu_raise(cpu, vector, sel_code(sel, 0));
    }
    high = x86_sys_ld64(cpu, d->at + 8);
    if (high >> 32 & 0x1f00) {
        cpu_raise(cpu, vector, sel_code(sel, 0));
    }
    return (uint32_t)high;
}

void x86_desc_set_bits(X86Cpu *cpu, X86Desc *d, uint32_t bits)
{
    uint32_t *p;

    if ((d->hi & bits) == bits) {
        return;
    }
    p = x86_rmw_slow(cpu, d->at + 4, 4, X86_MMU_KERNEL);
    d->hi = __atomic_or_fetch(p, bits, __ATOMIC_SEQ_CST);
    x86_rmw_end(cpu);
}

/* ---- loads ---------------------------------------------------------------------------------------- */

void x86_load_segment_real(X86Cpu *cpu, unsigned seg, uint16_t sel)
{
    X86Seg *s = &cpu->segs[seg];

    s->sel = sel;
    s->base = (uint32_t)sel << 4;
    if (cpu->eflags & FLAG_VM) {
        s->limit = 0xffff;
        s->flags = DESC_P | DESC_S | DESC_W | DESC_A | DESC_DPL;
    } else {
        s->flags = (s->flags & (DESC_DB | DESC_G)) | DESC_P | DESC_S | DESC_W | DESC_A;
    }
}

X86Seg x86_check_stack_segment(X86Cpu *cpu, uint16_t sel, unsigned dpl, unsigned vector,
                               unsigned ext)
{
    X86Desc d;

    if (sel_is_null(sel)) {
        cpu_raise(cpu, vector, ext);
    }
    x86_desc_fetch(cpu, sel, &d, vector, ext);
    if ((sel & 3) != dpl || desc_dpl(d.hi) != dpl ||
        (d.hi & (DESC_S | DESC_CODE | DESC_W)) != (DESC_S | DESC_W)) {
        cpu_raise(cpu, vector, sel_code(sel, ext));
    }
    if (!(d.hi & DESC_P)) {
        cpu_raise(cpu, VEC_SS, sel_code(sel, ext));
    }
    x86_desc_set_bits(cpu, &d, DESC_A);
    return desc_segment(sel, &d);
}

X86Seg x86_check_data_segment(X86Cpu *cpu, unsigned seg, uint16_t sel, unsigned cpl,
                              unsigned vector, unsigned ext)
{
    X86Desc d;

    if (seg == SEG_SS) {
        if (sel_is_null(sel) && vector == VEC_GP && (cpu->mode & MODE_CS64) && cpl != 3 &&
            (sel & 3) == cpl) {
            /* Null SS of 64-bit code: its DPL is still the CPL. */
            return (X86Seg){ .sel = sel, .flags = cpl << DESC_DPL_SHIFT };
        }
        return x86_check_stack_segment(cpu, sel, cpl, vector, ext);
    }
    if (sel_is_null(sel)) {
        return (X86Seg){ .sel = sel };
    }
    x86_desc_fetch(cpu, sel, &d, vector, ext);
    if (!(d.hi & DESC_S) || (d.hi & (DESC_CODE | DESC_R)) == DESC_CODE ||
        ((!desc_is_code(d.hi) || !desc_is_conforming(d.hi)) &&
         desc_dpl(d.hi) < MAX(cpl, sel & 3u))) {
        cpu_raise(cpu, vector, sel_code(sel, ext));
    }
    if (!(d.hi & DESC_P)) {
        cpu_raise(cpu, VEC_NP, sel_code(sel, ext));
    }
    x86_desc_set_bits(cpu, &d, DESC_A);
    return desc_segment(sel, &d);
}

void x86_load_segment(X86Cpu *cpu, unsigned seg, uint16_t sel)
{
    if (x86_is_protected(cpu)) {
        cpu->segs[seg] = x86_check_data_segment(cpu, seg, sel, cpu->cpl, VEC_GP, 0);
    } else {
        x86_load_segment_real(cpu, seg, sel);
    }
    x86_update_mode(cpu);
}

void x86_drop_inner_segments(X86Cpu *cpu, unsigned cpl)
{
    static const uint8_t segs[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };

    for (unsigned i = 0; i < ARRAY_LEN(segs); i++) {
        X86Seg *s = &cpu->segs[segs[i]];

        if ((s->flags & DESC_P) && desc_dpl(s->flags) < cpl &&
            !(desc_is_code(s->flags) && desc_is_conforming(s->flags))) {
            *s = (X86Seg){ 0 };
        }
    }
}

void x86_change_flags(X86Cpu *cpu, uint64_t value, uint64_t mask)
{
    x86_set_rflags(cpu, (x86_rflags(cpu) & ~mask) | (value & mask));
}

/* ---- stacks -------------------------------------------------------------------------------------- */

X86Stack x86_stack(X86Cpu *cpu, const X86Seg *ss, uint64_t sp, unsigned cpl, bool cs64)
{
    X86Stack s = { .ss = *ss, .sp = sp, .is64 = cs64, .code = 0 };

    s.mask = cs64 ? ~0ull : ss->flags & DESC_DB ? 0xffffffff : 0xffff;
    s.idx = cpl == 3 ? X86_MMU_USER : X86_MMU_KERNEL;
    return s;
}

X86Stack x86_stack_current(X86Cpu *cpu)
{
    X86Stack s = x86_stack(cpu, &cpu->segs[SEG_SS], cpu->gpr[R_RSP], cpu->cpl,
                           cpu->mode & MODE_CS64);

    s.idx = cpu->mmu_idx;
    return s;
}

static uint64_t stack_linear(X86Cpu *cpu, const X86Stack *s, uint64_t sp, unsigned size,
                             X86Access access)
{
    uint64_t va = s->is64 ? sp : (uint32_t)(s->ss.base + sp);

    if (s->is64 ? !x86_is_canonical(cpu, sp) : !limit_holds(&s->ss, (uint32_t)sp, size)) {
        cpu_raise(cpu, VEC_SS, s->code);
    }
    if (s->idx == X86_MMU_USER && (cpu->mode & MODE_ALIGN)) {
        x86_check_alignment(cpu, va, size, access);
    }
    return va;
}

void x86_stack_push(X86Cpu *cpu, X86Stack *s, uint64_t value, unsigned size)
{
    uint64_t sp = (s->sp - size) & s->mask, va = stack_linear(cpu, s, sp, size, X86_WRITE);
    uint8_t *host = x86_tlb_write(cpu, va, size, s->idx);

    if (host && size == 8) {
        memcpy(host, &value, 8);
    } else {
        x86_st_slow(cpu, va, &value, size, s->idx);
    }
    s->sp = sp;
}

uint64_t x86_stack_pop(X86Cpu *cpu, X86Stack *s, unsigned size)
{
    uint64_t value = 0, sp = s->sp & s->mask, va = stack_linear(cpu, s, sp, size, X86_READ);
    const uint8_t *host = x86_tlb_read(cpu, va, size, s->idx);

    if (host && size == 8) {
        memcpy(&value, host, 8);
    } else {
        x86_ld_slow(cpu, va, &value, size, s->idx);
    }
    s->sp = (sp + size) & s->mask;
    return value;
}

void x86_tss_stack(X86Cpu *cpu, unsigned dpl, unsigned ext, uint16_t *ss, uint64_t *sp)
{
    const X86Seg *tr = &cpu->tr;
    bool tss32 = desc_type(tr->flags) & 8;
    uint32_t at;

    if (!(tr->flags & DESC_P)) {
        cpu_raise(cpu, VEC_TS, sel_code(tr->sel, ext));
    }
    if (cpu->efer & EFER_LMA) {
        at = 4 + 8 * dpl;
        if (at + 7 > tr->limit) {
            cpu_raise(cpu, VEC_TS, sel_code(tr->sel, ext));
        }
        *sp = x86_sys_ld64(cpu, tr->base + at);
        *ss = dpl;              /* null, RPL = new CPL */
        return;
    }
    at = tss32 ? 4 + 8 * dpl : 2 + 4 * dpl;
    if (at + (tss32 ? 5 : 3) > tr->limit) {
        cpu_raise(cpu, VEC_TS, sel_code(tr->sel, ext));
    }
    if (tss32) {
        *sp = x86_sys_ld32(cpu, (uint32_t)(tr->base + at));
        *ss = x86_sys_ld16(cpu, (uint32_t)(tr->base + at + 4));
    } else {
        *sp = x86_sys_ld16(cpu, (uint32_t)(tr->base + at));
        *ss = x86_sys_ld16(cpu, (uint32_t)(tr->base + at + 2));
    }
}

uint64_t x86_tss_ist(X86Cpu *cpu, unsigned ist, unsigned ext)
{
    uint32_t at = 0x1c + 8 * ist;

    if (!(cpu->tr.flags & DESC_P) || at + 7 > cpu->tr.limit) {
        cpu_raise(cpu, VEC_TS, sel_code(cpu->tr.sel, ext));
    }
    return x86_sys_ld64(cpu, cpu->tr.base + at);
}

/* ---- instructions that load or inspect segments ------------------------------------------------- */

void sem_mov_seg(X86Cpu *cpu, const Insn *insn)
{
    unsigned seg = insn->op[0].reg;

    if (seg == SEG_CS || seg >= SEG_COUNT) {
        cpu_raise(cpu, VEC_UD, 0);
    }
    x86_load_segment(cpu, seg, (uint16_t)insn_read(cpu, insn, 1));
    if (seg == SEG_SS) {
        cpu->interrupt_shadow = true;
    }
}

void sem_pop_seg(X86Cpu *cpu, const Insn *insn)
{
    unsigned seg = insn->op[0].reg;
    /* The selector is read as 16 bits whatever the operand size moves SP by. */
    unsigned size = insn->op_size;
    X86Stack s;
    uint16_t sel;

    if ((cpu->mode & MODE_CS64) && size == 4) {
        size = 8;
    }
    s = x86_stack_current(cpu);
    sel = (uint16_t)x86_stack_pop(cpu, &s, size);
    /* SP moves with the stack that was read, before SS changes. */
    if (seg == SEG_SS) {
        uint64_t rsp = x86_stack_rsp(&s, cpu->gpr[R_RSP]);

        x86_load_segment(cpu, seg, sel);
        cpu->gpr[R_RSP] = rsp;
        cpu->interrupt_shadow = true;
    } else {
        x86_load_segment(cpu, seg, sel);
        cpu->gpr[R_RSP] = x86_stack_rsp(&s, cpu->gpr[R_RSP]);
    }
}

/* LES LDS LSS LFS LGS */
void sem_lxs(X86Cpu *cpu, const Insn *insn)
{
    unsigned seg = insn->map == MAP_1BYTE ? (insn->opcode == 0xc4 ? SEG_ES : SEG_DS)
                   : insn->opcode == 0xb2 ? SEG_SS : insn->opcode == 0xb4 ? SEG_FS : SEG_GS;
    uint64_t off = insn_offset(cpu, insn), value = 0;
    uint64_t mask = insn->addr_size == 8 ? ~0ull : insn->addr_size == 4 ? 0xffffffff : 0xffff;
    uint16_t sel = x86_load16(cpu, insn->seg, (off + insn->op_size) & mask);

    switch (insn->op_size) {
    case 2: value = x86_load16(cpu, insn->seg, off); break;
    case 4: value = x86_load32(cpu, insn->seg, off); break;
    default: value = x86_load64(cpu, insn->seg, off); break;
    }
    x86_load_segment(cpu, seg, sel);
    insn_write(cpu, insn, 0, value);
    if (seg == SEG_SS) {
        cpu->interrupt_shadow = true;
    }
}

static void set_zf(X86Cpu *cpu, bool on)
{
    cpu->cc = on ? cpu->cc | FLAG_ZF << 8 : cpu->cc & ~(FLAG_ZF << 8);
}

/* Visible at this CPL and RPL?  [SDM2 LAR] */
static bool desc_visible(const X86Cpu *cpu, uint16_t sel, uint32_t hi)
{
    return (desc_is_code(hi) && desc_is_conforming(hi)) ||
           desc_dpl(hi) >= MAX(cpu->cpl, sel & 3u);
}

void sem_lar(X86Cpu *cpu, const Insn *insn)
{
    /* System types LAR accepts; in long mode 16-bit and task types are not valid. */
    uint16_t valid = cpu->efer & EFER_LMA ? 1 << 2 | 1 << 9 | 1 << 11 | 1 << 12 | 0
                                          : 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 9 |
                                                1 << 11 | 1 << 12;
    uint16_t sel = (uint16_t)insn_read(cpu, insn, 1);
    X86Desc d;

    if (!x86_desc_read(cpu, sel, &d) || !desc_visible(cpu, sel, d.hi) ||
        (!(d.hi & DESC_S) && !(valid >> desc_type(d.hi) & 1))) {
        set_zf(cpu, false);
        return;
    }
    insn_write(cpu, insn, 0, d.hi & 0x00ffff00);
    set_zf(cpu, true);
}

void sem_lsl(X86Cpu *cpu, const Insn *insn)
{
    uint16_t valid = cpu->efer & EFER_LMA ? 1 << 2 | 1 << 9 | 1 << 11
                                          : 1 << 1 | 1 << 2 | 1 << 3 | 1 << 9 | 1 << 11;
    uint16_t sel = (uint16_t)insn_read(cpu, insn, 1);
    X86Desc d;

    if (!x86_desc_read(cpu, sel, &d) || !desc_visible(cpu, sel, d.hi) ||
        (!(d.hi & DESC_S) && !(valid >> desc_type(d.hi) & 1))) {
        set_zf(cpu, false);
        return;
    }
    insn_write(cpu, insn, 0, desc_limit(&d));
    set_zf(cpu, true);
}

static bool verify(X86Cpu *cpu, const Insn *insn, bool write)
{
    uint16_t sel = (uint16_t)insn_read(cpu, insn, 1);
    X86Desc d;

    if (!x86_desc_read(cpu, sel, &d) || !(d.hi & DESC_S) || !desc_visible(cpu, sel, d.hi)) {
        return false;
    }
    return desc_is_code(d.hi) ? !write && (d.hi & DESC_R) : !write || (d.hi & DESC_W);
}

void sem_verr(X86Cpu *cpu, const Insn *insn)
{
    set_zf(cpu, verify(cpu, insn, false));
}

void sem_verw(X86Cpu *cpu, const Insn *insn)
{
    set_zf(cpu, verify(cpu, insn, true));
}

/* ---- tables --------------------------------------------------------------------------------------- */

static void table_store(X86Cpu *cpu, const Insn *insn, const X86Table *t)
{
    uint64_t off = insn_offset(cpu, insn);
    uint64_t mask = insn->addr_size == 8 ? ~0ull : insn->addr_size == 4 ? 0xffffffff : 0xffff;
    unsigned size = cpu->mode & MODE_CS64 ? 8 : 4;
    uint64_t limit_va = x86_linear_unaligned(cpu, insn->seg, off, 2 + size, X86_WRITE), base_va;

    /* Quirk: the descriptor table registers are stored without alignment check, as CPUs do. */
    x86_probe_write(cpu, limit_va, 2 + size);
    base_va = x86_linear_unaligned(cpu, insn->seg, (off + 2) & mask, size, X86_WRITE);
    x86_st16(cpu, limit_va, t->limit);
    if (size == 8) {
        x86_st64(cpu, base_va, t->base);
    } else {
        x86_st32(cpu, base_va, (uint32_t)t->base);
    }
}

static X86Table table_load(X86Cpu *cpu, const Insn *insn)
{
    uint64_t off = insn_offset(cpu, insn);
    uint64_t mask = insn->addr_size == 8 ? ~0ull : insn->addr_size == 4 ? 0xffffffff : 0xffff;
    X86Table t = { .limit = x86_load16(cpu, insn->seg, off) };

    if (cpu->mode & MODE_CS64) {
        t.base = x86_load64(cpu, insn->seg, (off + 2) & mask);
        if (!x86_base_is_canonical(cpu, t.base)) {
            cpu_raise(cpu, VEC_GP, 0);
        }
    } else {
        t.base = x86_load32(cpu, insn->seg, (off + 2) & mask);
        if (insn->op_size == 2) {
            t.base &= 0xffffff;
        }
    }
    return t;
}

void sem_sgdt(X86Cpu *cpu, const Insn *insn)
{
    table_store(cpu, insn, &cpu->gdt);
}

void sem_sidt(X86Cpu *cpu, const Insn *insn)
{
    table_store(cpu, insn, &cpu->idt);
}

void sem_lgdt(X86Cpu *cpu, const Insn *insn)
{
    cpu->gdt = table_load(cpu, insn);
}

void sem_lidt(X86Cpu *cpu, const Insn *insn)
{
    cpu->idt = table_load(cpu, insn);
}

void sem_sldt(X86Cpu *cpu, const Insn *insn)
{
    insn_write(cpu, insn, 0, cpu->ldt.sel);
}

void sem_str(X86Cpu *cpu, const Insn *insn)
{
    insn_write(cpu, insn, 0, cpu->tr.sel);
}

void sem_lldt(X86Cpu *cpu, const Insn *insn)
{
    uint16_t sel = (uint16_t)insn_read(cpu, insn, 1);
    X86Seg ldt;
    X86Desc d;

    if (sel_is_null(sel)) {
        cpu->ldt = (X86Seg){ .sel = sel };
        return;
    }
    if (sel & 4) {
        cpu_raise(cpu, VEC_GP, sel_code(sel, 0));
    }
    x86_desc_fetch(cpu, sel, &d, VEC_GP, 0);
    if ((d.hi & DESC_S) || desc_type(d.hi) != 2) {
        cpu_raise(cpu, VEC_GP, sel_code(sel, 0));
    }
    if (!(d.hi & DESC_P)) {
        cpu_raise(cpu, VEC_NP, sel_code(sel, 0));
    }
    ldt = desc_segment(sel, &d);
    if (cpu->efer & EFER_LMA) {
        ldt.base |= (uint64_t)x86_desc_base_high(cpu, sel, &d, VEC_GP) << 32;
        if (!x86_base_is_canonical(cpu, ldt.base)) {
            cpu_raise(cpu, VEC_GP, sel_code(sel, 0));
        }
    }
    cpu->ldt = ldt;
}

void sem_ltr(X86Cpu *cpu, const Insn *insn)
{
    uint16_t sel = (uint16_t)insn_read(cpu, insn, 1);
    unsigned type;
    X86Seg tr;
    X86Desc d;

    if (sel_is_null(sel)) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    if (sel & 4) {
        cpu_raise(cpu, VEC_GP, sel_code(sel, 0));
    }
    x86_desc_fetch(cpu, sel, &d, VEC_GP, 0);
    type = desc_type(d.hi);
    if ((d.hi & DESC_S) || (type != 9 && (type != 1 || (cpu->efer & EFER_LMA)))) {
        cpu_raise(cpu, VEC_GP, sel_code(sel, 0));
    }
    if (!(d.hi & DESC_P)) {
        cpu_raise(cpu, VEC_NP, sel_code(sel, 0));
    }
    tr = desc_segment(sel, &d);
    if (cpu->efer & EFER_LMA) {
        tr.base |= (uint64_t)x86_desc_base_high(cpu, sel, &d, VEC_GP) << 32;
        if (!x86_base_is_canonical(cpu, tr.base)) {
            cpu_raise(cpu, VEC_GP, sel_code(sel, 0));
        }
    }
    x86_desc_set_bits(cpu, &d, 2 << DESC_TYPE_SHIFT);        /* busy */
    tr.flags |= 2 << DESC_TYPE_SHIFT;
    cpu->tr = tr;
}
