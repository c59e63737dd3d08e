/* SPDX-License-Identifier: MIT */
/*
 * SYSCALL, SYSRET and IRET of 64-bit code without C.  What they do depends on MSRs, flags and segments that
 * hardly ever change: run.c writes down what came of the latest that ran in C (X86Fast), and code does
 * the same again when it comes from the same mode and flags.  Whatever the outcome depends on is changed
 * in C, which then forgets it; but for the descriptors that IRET reads, which are compared each time.
 * Spec: SDM2 SYSCALL, SYSRET, IRET.
 * Locking: translate_int.h.
 */
#include "accel/tcg/translate_int.h"

#include "target-x86/sem.h"

G_STATIC_ASSERT(sizeof(X86Seg) % 8 == 0);
G_STATIC_ASSERT(offsetof(X86Cpu, mmu_idx) == offsetof(X86Cpu, cpl) + 1);

#define FAST(n, field) HOST_GS(offsetof(X86Cpu, tx.fast) + (n) * sizeof(X86Fast) + offsetof(X86Fast, field))

bool tcg_syscall_is_native(const Translation *t, const Insn *insn)
{
    return t->tr->opt.syscall && t->tr->opt.jump_table && !t->tr->exact_flags && (t->mode & MODE_LMA) &&
           (insn->sem == sem_syscall || (insn->op_size == 8 && !(t->mode & MODE_CPL)));
}

static void copy32(Emitter *e, HostMem to, HostMem from)
{
    emit_rm(e, 0, false, 0x8b, H_R14, from);
    emit_rm(e, 0, false, 0x89, H_R14, to);
}

static void copy_segment(Emitter *e, unsigned seg, HostMem from)
{
    HostMem to = HOST_GS(offsetof(X86Cpu, segs) + seg * sizeof(X86Seg));

    for (unsigned i = 0; i < sizeof(X86Seg); i += 8) {
        emit_load(e, H_R14, from);
        emit_store(e, to, H_R14);
        from.disp += 8;
        to.disp += 8;
    }
}

/* Does X86Fast N apply?  Its flags are compared with REG, of 32 bits, which is lost. */
static void emit_conditions(Translation *t, unsigned n, unsigned reg, const uint8_t *otherwise)
{
    Emitter *e = &t->hot;
    unsigned class = n == X86_FAST_RET || n == X86_FAST_IRET_USER;

    emit_rm(e, 0, false, 0x3b, reg, FAST(n, from_flags));
    emit_jcc(e, COND_NE, otherwise);
    emit_rm(e, 0, false, 0x81, 7, FAST(n, from_mode));
    emit32(e, t->mode);
    emit_jcc(e, COND_NE, otherwise);
    emit_rm(e, 0, false, 0x8b, reg, HOST_GS(offsetof(X86Cpu, tx.generation) + 4 * class));
    emit_rm(e, 0, false, 0x3b, reg, FAST(n, generation));
    emit_jcc(e, COND_NE, otherwise);
}

static void emit_transfer(Translation *t, unsigned n)
{
    Emitter *e = &t->hot;

    copy32(e, CPU(eflags), FAST(n, eflags));
    copy32(e, CPU(mode), FAST(n, mode));
    emit_rm(e, 0, false, 0x0fb7, H_R14, FAST(n, cpl_and_idx));
    emit_rm(e, 0x66, false, 0x89, H_R14, CPU(cpl));
    copy_segment(e, SEG_CS, FAST(n, cs));
    copy_segment(e, SEG_SS, FAST(n, ss));
    emit_load(e, H_R14, FAST(n, jump_tag));
    emit_store(e, TX(jump_tag), H_R14);
}

/* Arithmetic flags are cpu->cc now, as tcg_begin_flags() has left them: to R14D in RFLAGS's order. */
static void emit_cc_to_flags(Emitter *e)
{
    emit_rm(e, 0, false, 0x0fb6, H_R14, HOST_GS(offsetof(X86Cpu, cc) + 1));     /* with bit 1 set */
    emit_rm(e, 0, false, 0x0fb6, H_R13, CPU(cc));
    emit_rr(e, 0, false, 0xc1, 4, H_R13);                                       /* shl r13d, 11 */
    emit8(e, 11);
    emit_rr(e, 0, false, 0x0b, H_R14, H_R13);
}

const uint8_t *tcg_emit_syscall(Translation *t, const Insn *insn)
{
    const uint8_t *otherwise = tcg_cold_helper(t), *op;
    Emitter *e = &t->hot;

    tcg_begin_flags(t);         /* they are live: R11 takes them */
    emit_rm(e, 0, false, 0x8b, H_R14, CPU(eflags));
    emit_conditions(t, X86_FAST_CALL, H_R14, otherwise);
    op = emit_here(e);
    emit_cc_to_flags(e);
    emit_rm(e, 0, false, 0x0b, H_R14, CPU(eflags));
    emit_alu_imm(e, false, 4, H_R14, ~FLAG_RF);
    emit_store(e, tcg_gpr_slot(R_R11), H_R14);
    emit_mov_imm(e, H_RCX, tcg_next_pc(t, t->n));
    emit_transfer(t, X86_FAST_CALL);
    emit_load(e, H_R13, FAST(X86_FAST_CALL, rip));
    tcg_emit_jump_table(e, t->tr->stubs.again, false);
    return op;
}

void tcg_flags_to_cc(Emitter *e)
{
    emit_rr(e, 0, false, 0x8b, H_R14, H_R13);
    emit_alu_imm(e, false, 4, H_R14, FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF);
    emit_alu_imm(e, false, 1, H_R14, FLAG_ONE);
    emit_rm(e, 0, false, 0x88, H_R14, HOST_GS(offsetof(X86Cpu, cc) + 1));
    emit_rr(e, 0, false, 0xc1, 5, H_R13);                                       /* shr r13d, 11 */
    emit8(e, 11);
    emit_alu_imm(e, false, 4, H_R13, 1);
    emit_rm(e, 0, false, 0x88, H_R13, CPU(cc));
}

/* A canonical address with 4-level paging in R13?  REG is lost. */
static void emit_canonical(Translation *t, unsigned reg, const uint8_t *otherwise)
{
    Emitter *e = &t->hot;

    emit_mov(e, reg, H_R13);
    emit_rr(e, 0, true, 0xc1, 7, reg);                                          /* sar reg, 47 */
    emit8(e, 47);
    emit_alu_imm(e, true, 0, reg, 1);
    emit_alu_imm(e, true, 7, reg, 1);
    emit_jcc(e, COND_A, otherwise);
}

/* To R13 with the flags of cpu->cc, unless an interrupt has waited for IF. */
static void emit_go_back(Translation *t)
{
    Emitter *e = &t->hot;
    HostMem code;

    emit_rm(e, 0, false, 0x83, 7, CPU(requests));
    emit8(e, 0);
    emit_jcc(e, COND_NE, t->tr->stubs.again);
    code = tcg_emit_jump_probe(e, t->tr->stubs.again);
    emit_mov(e, H_R13, H_RAX);
    emit_rm(e, 0, false, 0x0fb7, H_RAX, CPU(cc));
    emit_bytes(e, "\x04\x7f\x9e", 3);                                          /* add al, 127; sahf */
    emit_mov(e, H_RAX, H_R13);
    emit_rm(e, 0, false, 0xff, 4, code);
}

/* A return to code that reads flags at once goes through C, which has them in cc. */
const uint8_t *tcg_emit_sysret(Translation *t, const Insn *insn)
{
    const uint8_t *otherwise = tcg_cold_helper(t), *op;
    Emitter *e = &t->hot;

    tcg_begin_flags(t);
    emit_mov(e, H_R13, H_RCX);
    emit_canonical(t, H_R14, otherwise);
    emit_load(e, H_R14, tcg_gpr_slot(R_R11));
    emit_alu_imm(e, false, 4, H_R14, TCG_SYSRET_FLAGS);
    emit_conditions(t, X86_FAST_RET, H_R14, otherwise);
    op = emit_here(e);
    emit_load(e, H_R13, tcg_gpr_slot(R_R11));
    tcg_flags_to_cc(e);
    emit_transfer(t, X86_FAST_RET);
    emit_mov(e, H_R13, H_RCX);
    emit_go_back(t);
    return op;
}

/* ---- IRET ---- */

bool tcg_iret_is_native(const Translation *t, const Insn *insn)
{
    return t->tr->opt.events && t->tr->opt.jump_table && !t->tr->exact_flags && insn->op_size == 8 &&
           (t->mode & (MODE_LMA | MODE_CPL | MODE_SMAP_AC)) == MODE_LMA;
}

/* Quadword WORD of the frame at host address R14 is selector SEL of X86Fast N; R13 and R15 are lost. */
static void emit_selector(Translation *t, unsigned word, HostMem sel, const uint8_t *otherwise)
{
    Emitter *e = &t->hot;

    emit_rm(e, 0, false, 0x0fb7, H_R13, HOST_DISP(H_R14, 8 * word));
    emit_rm(e, 0, false, 0x0fb7, H_R15, sel);
    emit_rr(e, 0, false, 0x3b, H_R13, H_R15);
    emit_jcc(e, COND_NE, otherwise);
}

/* The GDT has RAW at SEL; R13 to R15 are lost. */
static void emit_descriptor(Translation *t, HostMem sel, HostMem raw, const uint8_t *otherwise)
{
    Emitter *e = &t->hot;

    emit_rm(e, 0, false, 0x0fb7, H_R14, sel);
    emit_alu_imm(e, false, 4, H_R14, ~7);
    emit_rm(e, 0, true, 0x03, H_R14, CPU(gdt.base));
    tcg_emit_tlb(t, 8, false, otherwise);
    emit_load(e, H_R13, HOST_AT(H_R14, H_R15));
    emit_rm(e, 0, true, 0x3b, H_R13, raw);
    emit_jcc(e, COND_NE, otherwise);
}

/* A data segment that CPL 3 may not keep is C's. */
static void emit_outer_segments(Translation *t, const uint8_t *otherwise)
{
    static const uint8_t segs[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };
    Emitter *e = &t->hot;

    for (unsigned i = 0; i < ARRAY_LEN(segs); i++) {
        emit_rm(e, 0, false, 0x8b, H_R13, HOST_GS(offsetof(X86Cpu, segs) + segs[i] * sizeof(X86Seg) +
                                                  offsetof(X86Seg, flags)));
        emit_alu_imm(e, false, 4, H_R13, DESC_P | DESC_DPL);
        emit_alu_imm(e, false, 5, H_R13, DESC_P);
        emit_alu_imm(e, false, 7, H_R13, DESC_DPL);
        emit_jcc(e, COND_B, otherwise);
    }
}

/* By a frame at host address R14, also in tx.scratch, as X86Fast N says; where the guest's state changes. */
static const uint8_t *emit_iret_to(Translation *t, unsigned n, const uint8_t *otherwise)
{
    Emitter *e = &t->hot;
    const uint8_t *op;

    emit_selector(t, 1, FAST(n, cs.sel), otherwise);
    emit_selector(t, 4, FAST(n, ss.sel), otherwise);
    emit_rm(e, 0, false, 0x8b, H_R13, HOST_DISP(H_R14, 16));
    emit_alu_imm(e, false, 4, H_R13, ~FLAGS_ARITH);
    emit_conditions(t, n, H_R13, otherwise);
    emit_rm(e, 0, false, 0xf7, 0, CPU(eflags));                                 /* test */
    emit32(e, FLAG_NT);
    emit_jcc(e, COND_NE, otherwise);
    emit_load(e, H_R13, HOST_DISP(H_R14, 0));
    emit_canonical(t, H_R15, otherwise);
    if (n == X86_FAST_IRET_USER) {
        emit_outer_segments(t, otherwise);
    }
    emit_descriptor(t, FAST(n, cs.sel), FAST(n, cs_raw), otherwise);
    emit_descriptor(t, FAST(n, ss.sel), FAST(n, ss_raw), otherwise);
    emit_load(e, H_R14, TX(scratch));
    emit_rm(e, 0, false, 0x8b, H_R13, HOST_DISP(H_R14, 16));
    op = emit_here(e);
    tcg_flags_to_cc(e);
    emit_transfer(t, n);
    emit_rm(e, 0, false, 0xc6, 0, CPU(nmi_blocked));
    emit8(e, 0);
    emit_load(e, H_R14, TX(scratch));
    emit_load(e, H_R13, HOST_DISP(H_R14, 0));
    emit_load(e, tcg_host_reg[R_RSP], HOST_DISP(H_R14, 24));
    emit_go_back(t);
    return op;
}

const uint8_t *tcg_emit_iret(Translation *t, const Insn *insn)
{
    const uint8_t *otherwise = tcg_cold_helper(t), *op;
    Emitter *e = &t->hot;
    uint8_t *user;

    tcg_begin_flags(t);
    emit_mov(e, H_R14, tcg_host_reg[R_RSP]);
    tcg_check_here(t, 40, false);
    emit_rm(e, 0, true, 0x8d, H_R14, HOST_AT(H_R14, H_R15));
    emit_store(e, TX(scratch), H_R14);
    emit_rm(e, 0, false, 0xf6, 0, HOST_DISP(H_R14, 8));                         /* test byte, RPL */
    emit8(e, 3);
    user = emit_jcc(e, COND_NE, otherwise);
    op = emit_iret_to(t, X86_FAST_IRET, otherwise);
    if (!e->full) {
        emit_patch(user, e->rx, emit_here(e));
    }
    emit_iret_to(t, X86_FAST_IRET_USER, otherwise);
    return op;
}
