/* SPDX-License-Identifier: MIT */
/*
 * Inside the translator: one block being translated, and what translate.c and
 * translate_system.c share.  Under Translator.lock.
 */
#ifndef ACCEL_TCG_TRANSLATE_INT_H
#define ACCEL_TCG_TRANSLATE_INT_H

#include "accel/tcg/translator.h"

#define TX(field) HOST_GS(offsetof(X86Cpu, tx.field))
#define CPU(field) HOST_GS(offsetof(X86Cpu, field))

/* Condition codes of Jcc. */
enum { COND_E = 4, COND_NE = 5, COND_A = 7, COND_S = 8 };

typedef struct Translation {
    Translator *tr;
    X86Cpu *cpu;
    TcgBlock *block;
    Emitter hot, cold;
    uint32_t mode;
    bool wide;                  /* 64-bit code */
    unsigned n;                 /* the instruction being emitted */
    Insn insns[TCG_BLOCK_MAX + 1];
    unsigned plain_sti;         /* this one ends the block; TCG_BLOCK_MAX: none */
    uint16_t offset[TCG_BLOCK_MAX + 1];
    uint8_t live[TCG_BLOCK_MAX + 1];    /* FX_* before each instruction */
    const uint8_t *bytes;       /* of the page from the block's start, changing under us */
    uint8_t copy[TCG_BLOCK_MAX * INSN_MAX_LEN + INSN_MAX_LEN];  /* what is translated */
} Translation;

/* Address of the instruction after number N. */
uint64_t tcg_next_rip(const Translation *t, unsigned n);

/* RFLAGS to cpu->cc and back; R13 is lost. */
void tcg_save_flags(Emitter *e);
void tcg_load_flags(Emitter *e);
/* Around code of the current instruction that changes RFLAGS: nothing when they are dead. */
void tcg_begin_flags(Translation *t);
void tcg_end_flags(Translation *t);
/* Out of line: the current instruction in C. */
const uint8_t *tcg_cold_helper(Translation *t);
/* R14 = RSP + disp; [result] is that many bytes of the stack, checked; RSP itself moves later. */
HostMem tcg_stack_operand(Translation *t, int disp, unsigned size, bool write);
void tcg_move_stack(Translation *t, int bytes);
/* The block ends here and goes on at TARGET. */
void tcg_emit_exit(Translation *t, uint64_t target);

/* ---- translate_system.c: privileged and flag instructions that need no C ---- */

bool tcg_system_is_native(const Translation *t, const Insn *insn);
/* Whether code goes on behind it, though its row says that a block ends there. */
bool tcg_system_goes_on(const Translation *t, const Insn *insn);
const uint8_t *tcg_emit_system(Translation *t, const Insn *insn);
/* STI was the instruction before this one, which has been emitted. */
void tcg_emit_shadow_end(Translation *t, uint64_t rip, unsigned live);

#endif
