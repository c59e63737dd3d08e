/* SPDX-License-Identifier: MIT */
/*
 * Accesses to two pages, both in the TLB, without C: reads of up to 64 bytes, and instructions that do nothing but store.
 *
 * A read goes on behind its check with an operand in tx.crossing.bytes, where a stub has put the two pieces; faults and
 * kicks are as if they were in place. A write is there once more, out of line: it stores to those bytes, from where
 * a stub moves the pieces to their pages. With a writemask whose enabled elements lie in one of the pages either is done in
 * place: what the others would be beyond the page, the host does not touch. What also reads its memory operand is
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

/* Does it store a power of two of bytes, and read nothing there?  The x87's would leave the address of the copy in FIP. */
static bool only_stores(const Insn *insn, unsigned size)
{
    uint64_t a = insn->def->attrs;

    if ((size & (size - 1)) || tcg_is_masked(insn)) {
        return false;
    }
    if (insn->sem == sem_mov || insn->sem == sem_movbe) {
        return true;
    }
    return (a & (A_SSE | A_AVX | A_EVEX)) && !(a & (A_MMX | A_RDST)) && !is_mem(insn, 1) && !is_mem(insn, 2) && !is_mem(insn, 3);
}

/* Are elements of the operand accessed one by one, as the writemask says? */
static bool is_by_element(const Insn *insn, unsigned size)
{
    return tcg_is_masked(insn) && !(insn->def->attrs & (A_NF | A_REPEAT)) && !insn_broadcasts(insn) &&
           size == insn_mask_bits(insn) * A_ELEMENT(insn->def->attrs);
}

static void emit_masked(Translation *t, const Insn *insn, bool write)
{
    const HostMem mask = TX(crossing.mask);
    Emitter *e = &t->cold;

    emit_bytes(e, "\x65\xc4\xe1\xf8\x91", 5);                   /* kmovq */
    emit_modrm_mem(e, insn->evex & EVEX_AAA, mask);
    emit_call(e, t->tr->stubs.crossing_masked[write][__builtin_ctz(A_ELEMENT(insn->def->attrs))]);
    t->crossed = emit_jcc(e, COND_E, t->tr->rx);
}

static void emit_write(Translation *t, const Insn *insn, unsigned size)
{
    const HostMem mem = HOST_AT(H_R14, H_R15);
    Emitter *e = &t->cold;
    uint8_t *missed;

    emit_call(e, t->tr->stubs.crossing_write);
    missed = emit_jcc(e, COND_NE, t->tr->rx);
    tcg_flags_out_of_line(t);
    emit_rm(e, 0, false, 0xc7, 0, TX(crossing.site));
    emit32(e, tcg_name(t->tr, t->block) | t->n);
    tcg_reemit(e, insn, &mem);
    emit_bytes(e, "\x4c\x8d\x2d", 3);                           /* lea r13, [rip + ...] */
    emit32(e, 0);
    t->crossed = e->p - 4;
    emit_jmp(e, t->tr->stubs.crossed[__builtin_ctz(size)]);
    if (!e->full) {
        emit_patch(missed, e->rx, emit_here(e));
    }
}

bool tcg_emit_crossing(Translation *t, unsigned size, bool write)
{
    const Insn *insn = &t->insns[t->n];
    Emitter *e = &t->cold;

    if (!t->tr->opt.crossing || size < 2 || size > 64 || must_be_aligned(insn)) {
        return true;
    }
    if (is_by_element(insn, size)) {
        emit_masked(t, insn, write);
        return true;
    }
    if (!write) {
        emit_call(e, t->tr->stubs.crossing_read[size <= 8 ? 0 : size <= 16 ? 1 : size <= 32 ? 2 : 3]);
        t->crossed = emit_jcc(e, COND_E, t->tr->rx);
        return true;
    }
    if (only_stores(insn, size)) {
        emit_write(t, insn, size);
    }
    return false;
}

void tcg_end_crossing(Translation *t)
{
    if (t->crossed && !t->cold.full) {
        emit_patch(t->crossed, t->cold.rx, emit_here(&t->hot));
    }
    t->crossed = NULL;
}
