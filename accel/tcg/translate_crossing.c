/* SPDX-License-Identifier: MIT */
/*
 * Accesses to two pages, both in the TLB, without C: reads of up to 64 bytes, and instructions that do nothing but store.
 *
 * A read goes on behind its check with an operand in tx.crossing.bytes, where a stub has put the two pieces; faults and
 * kicks are as if they were in place. A write is there once more, out of line: it stores to those bytes, from where
 * a stub moves the pieces to their pages. What also reads its memory operand, or may fault behind the check, is
 * left to C, as are accesses of which a page is missing, not RAM, or has code.
 * Locking: Translator.lock while emitting.
 */
#include "accel/tcg/translate_int.h"

#include "target-x86/sem.h"

/* Operands that are not aligned fault in any case. */
static bool must_be_aligned(const Insn *insn)
{
    return (insn->def->attrs & A_ALIGN) || ((insn->def->attrs & A_LEGALIGN) && !insn->vex);
}

/* Does it store a power of two of bytes, read nothing there, and raise nothing? */
static bool only_stores(const Insn *insn, unsigned size)
{
    uint64_t a = insn->def->attrs;

    if ((size & (size - 1)) || tcg_is_masked(insn)) {
        return false;
    }
    if (insn->sem == sem_mov || insn->sem == sem_movbe) {
        return true;
    }
    if (insn->map == MAP_VEX0F3A && insn->opcode == 0x1d) {
        return false;           /* VCVTPS2PH; that of EVEX has A_SAE */
    }
    return (a & (A_SSE | A_AVX | A_EVEX)) && !(a & (A_MMX | A_RDST | A_SAE | A_RC)) && !is_mem(insn, 1) && !is_mem(insn, 2) &&
           !is_mem(insn, 3);
}

void tcg_emit_crossing(Translation *t, unsigned size, bool write)
{
    const Insn *insn = &t->insns[t->n];
    const TcgStubs *stubs = &t->tr->stubs;
    const HostMem mem = HOST_AT(H_R14, H_R15);
    Emitter *e = &t->cold;
    uint8_t *missed;

    if (!t->tr->opt.crossing || size < 2 || size > 64 || must_be_aligned(insn) || (write && !only_stores(insn, size))) {
        return;
    }
    if (!write) {
        emit_call(e, stubs->crossing_read[size <= 8 ? 0 : size <= 16 ? 1 : size <= 32 ? 2 : 3]);
        t->crossed = emit_jcc(e, COND_E, t->tr->rx);
        return;
    }
    emit_call(e, stubs->crossing_write);
    missed = emit_jcc(e, COND_NE, t->tr->rx);
    tcg_flags_out_of_line(t);
    tcg_reemit(e, insn, &mem);
    emit_bytes(e, "\x4c\x8d\x2d", 3);                           /* lea r13, [rip + ...] */
    emit32(e, 0);
    t->crossed = e->p - 4;
    emit_jmp(e, stubs->crossed[__builtin_ctz(size)]);
    if (!e->full) {
        emit_patch(missed, e->rx, emit_here(e));
    }
}

void tcg_end_crossing(Translation *t)
{
    if (t->crossed && !t->cold.full) {
        emit_patch(t->crossed, t->cold.rx, emit_here(&t->hot));
    }
    t->crossed = NULL;
}
