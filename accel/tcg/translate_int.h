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
enum { COND_B = 2, COND_AE = 3, COND_E = 4, COND_NE = 5, COND_A = 7, COND_S = 8 };

/* How an instruction is translated. */
typedef enum TcgKind {
    KIND_HELPER,                /* by its semantic function */
    KIND_SYSTEM,                /* translate_system.c */
    KIND_COPY,                  /* re-emitted, no memory */
    KIND_MEMORY,                /* re-emitted, one memory operand */
    KIND_STRING,                /* translate_string.c */
    KIND_NOTHING,
    KIND_LEA, KIND_PUSH, KIND_POP, KIND_LEAVE,
    KIND_JMP, KIND_JCC, KIND_CALL, KIND_RET, KIND_JMP_IND, KIND_CALL_IND, KIND_LOOP,
} TcgKind;

/* Where an instruction keeps flags while it does something that changes them. */
typedef enum TcgKept { KEPT_NOT, KEPT_IN_CPU, KEPT_IN_R13, KEPT_BY_REPEATING } TcgKept;

/* Accesses that share a check, of SPAN bytes. */
typedef struct TcgGroup {
    uint8_t insn;               /* the first: instruction and which of its accesses */
    TcgAccess access;
    bool write;                 /* one of them is a store */
    uint16_t span;
    uint16_t lead;              /* the first one's bytes from the start */
    uint16_t offset;            /* of the start from what the slot has: in the page, where the address is a constant, else 0 */
    /* Checked before the loop instead, at base + (index << scale) + low: */
    bool hoisted;
    uint8_t base, index, scale, seg;    /* R_ZERO: none */
    bool base_moves, index_moves;       /* in the loop: not part of the address in the slot */
    int64_t low;
    int32_t stride;             /* of an iteration */
} TcgGroup;

typedef struct Translation {
    Translator *tr;
    X86Cpu *cpu;
    TcgBlock *block;
    Emitter hot, cold;
    uint32_t mode;
    uint64_t pc, va, gpa, gpa2; /* as TcgBlock */
    uint64_t pc_base;           /* the base of CS << 32; 64-bit code: 0 */
    uint32_t limit;
    bool wide;                  /* 64-bit code */
    bool exact;                 /* tcg_is_exact() */
    bool each_checked;          /* no groups: MODE_EACH_CHECKED */
    unsigned n;                 /* the instruction being emitted */
    unsigned plain_sti;         /* this one ends the block; TCG_BLOCK_MAX: none */
    unsigned held;              /* FX_*: by tcg_hold_flags() */
    unsigned setter;            /* the instruction that makes those again; block->count: they are in R13 */
    unsigned missing;           /* the latest with an access that starts it again after a TLB miss */
    uint8_t *crossed;           /* the jump back from out of line of an access to two pages, to be patched; or NULL */
    unsigned group_count;
    const TcgGroup *in_r15;     /* whose slot's value R15 holds, from one instruction to the next; or NULL */
    const uint8_t *loop_entry;
    bool loop;                  /* the block jumps to itself, with hoisted checks (translate_loop.c) */
    uint8_t counter;            /* a register that changes by `step` in each iteration; R_ZERO: none */
    int32_t step;
    uint8_t flags_read;         /* as TcgBlock */
    const uint8_t *bytes;       /* of the page from the block's start, changing under us */
    unsigned copied;            /* bytes of copy[] */
    /* Not cleared: filled before they are read. */
    Insn insns[TCG_BLOCK_MAX + 1];
    TcgKind kind[TCG_BLOCK_MAX];
    TcgGroup groups[X86_GROUPS];
    /* By instruction and access: number of the group + 1, or 0; bytes from its start, or, hoisted,
     * what to add to the slot and to the registers that move. */
    struct { uint8_t group; int32_t offset; } member[TCG_BLOCK_MAX][2];
    uint8_t range[TCG_BLOCK_MAX];       /* the range of what it reads + 1; 0: none (ranges.h) */
    uint16_t offset[TCG_BLOCK_MAX + 1];
    uint8_t live[TCG_BLOCK_MAX + 1];    /* FX_* before each instruction */
    uint8_t kept[TCG_BLOCK_MAX];        /* TcgKept, for the log */
    uint8_t copy[TCG_BLOCK_MAX * INSN_MAX_LEN + INSN_MAX_LEN];  /* what is translated */
} Translation;

static inline bool is_gpr(const Insn *insn, unsigned n) { return insn->op[n].kind == OPK_GPR; }
static inline bool is_imm(const Insn *insn, unsigned n) { return insn->op[n].kind == OPK_IMM; }
static inline bool is_mem(const Insn *insn, unsigned n) { return insn->op[n].kind == OPK_MEM; }

/* An offset that no register takes part in. */
static inline bool is_constant_offset(const Insn *insn)
{
    return insn->base == R_RIP || (insn->base == R_ZERO && insn->index == R_ZERO);
}

static inline unsigned prefix_66(unsigned width) { return width == 2 ? 0x66 : 0; }

/* WIDTH bytes into R13, zero-extended. */
static inline void load_r13(Emitter *e, unsigned width, HostMem mem)
{
    emit_rm(e, 0, width == 8, width == 2 ? 0x0fb7 : 0x8b, H_R13, mem);
}

static inline void store_constant(Emitter *e, unsigned width, HostMem mem, uint64_t value)
{
    emit_rm(e, prefix_66(width), width == 8, 0xc7, 0, mem);
    if (width == 2) {
        emit16(e, value);
    } else {
        emit32(e, value);
    }
}

/* ---- translate.c ---- */

/* The address OFFSET bytes into the block, in a segment that stays. */
uint64_t tcg_pc_at(const Translation *t, unsigned offset);
/* The linear address of a PC; of the page behind the one that the block starts in. */
static inline uint64_t tcg_linear(const Translation *t, uint64_t pc)
{
    return t->wide ? pc : (uint32_t)(pc + (pc >> 32));
}

static inline uint64_t tcg_next_page(const Translation *t)
{
    return ((t->va | 4095) + 1) & (t->wide ? ~0ull : 0xffffffff);
}

/* The PC of the instruction after number N; where N jumps to; where a jump would with the next at NEXT. */
uint64_t tcg_next_pc(const Translation *t, unsigned n);
uint64_t tcg_jump_target(const Translation *t, const Insn *insn, uint64_t next);
uint64_t tcg_branch_target(const Translation *t, unsigned n);
/* A conditional jump, which leaves in the middle of a block. */
bool tcg_is_side_exit(const Translation *t, const Insn *insn);
bool tcg_ends_block(const Translation *t, const Insn *insn);
/* Out of line: the current instruction in C. */
const uint8_t *tcg_cold_helper(Translation *t);
void tcg_emit_call_exit(Translation *t, uint64_t target);

/* ---- translate_branch.c ---- */

/* An exit to TARGET, to be jumped to; or one with properties of its own, to stub UNLINKED. */
TcgLink *tcg_add_link(Translation *t, TcgLink link, const uint8_t *unlinked);
/* Out of line: the check of group number G has failed. */
const uint8_t *tcg_cold_group(Translation *t, unsigned g);
/* The block ends here and goes on at TARGET; the same by a CALL, whose return address has been pushed. */
void tcg_emit_exit(Translation *t, uint64_t target);
/* KIND is one of those that may leave the block. */
const uint8_t *tcg_emit_branch(Translation *t, const Insn *insn, TcgKind kind);

/* ---- translate_log.c ---- */

/* -d in_asm, op, out_asm: the block that has just been translated. */
void tcg_log_block(const Translation *t);

/* ---- translate_flags.c ---- */

/* Fill in live[], and what the block takes from before it. */
void tcg_find_live_flags(Translation *t, unsigned count);
/* Are flags, exact ones, read by code at PC? */
bool tcg_flags_wanted(const Translation *t, uint64_t pc);
/* RFLAGS to cpu->cc and back; R13 is lost. */
void tcg_save_flags(Emitter *e);
void tcg_load_flags(Emitter *e);
/* The arithmetic ones of an image of RFLAGS in R13D to cpu->cc; R13 and R14 are lost. */
void tcg_flags_to_cc(Emitter *e);
/* Around code of the current instruction that changes RFLAGS: nothing when they are dead.  In cpu->cc meanwhile. */
void tcg_begin_flags(Translation *t);
void tcg_end_flags(Translation *t);
/* The same, cheaper, those that are live only: in R13 meanwhile, or made again by the comparison they are of. */
void tcg_hold_flags(Translation *t);
void tcg_release_flags(Translation *t);
/* Does that leave R13 alone? */
bool tcg_flags_can_be_repeated(const Translation *t);
/* Out of line, between the two: back to RFLAGS; false: dead, or in cpu->cc.  R13 is lost. */
bool tcg_flags_out_of_line(Translation *t);

/* ---- translate_groups.c ---- */

/* Fill in groups[] and member[], for a loop also what is hoisted; kind[] and live[] are there. */
void tcg_find_groups(Translation *t, unsigned count);

/* ---- translate_loop.c ---- */

/* In front of the block's first instruction: check what the loop will touch. */
void tcg_emit_loop_entry(Translation *t);
/* The conditional jump at the end; where the state changes. */
const uint8_t *tcg_emit_loop_end(Translation *t, const Insn *insn);
/* A memory operand of a hoisted group: BASE and INDEX as the instruction has them. */
HostMem tcg_hoisted_operand(Translation *t, const TcgGroup *group, unsigned base, unsigned index,
                            int32_t offset);

/* ---- translate_memory.c ---- */

/* The memory operand of a row: its bytes, and whether it is written. */
unsigned tcg_memory_size(const Insn *insn);
bool tcg_writes_memory(const Insn *insn);
/* Does the instruction check an address, and change RFLAGS by that?  Then these are around it; R13 is taken between them. */
void tcg_begin_checks(Translation *t);
void tcg_end_checks(Translation *t);

/* R15 = the slot of a group, unless it is that already. */
void tcg_load_slot(Translation *t, const TcgGroup *group);

/* A guest register as a source: its host register, or loaded into SCRATCH. */
unsigned tcg_source(Translation *t, unsigned reg, unsigned scratch);
/* The offset of the memory operand into DST, which may be R14; R15 is lost; flags are kept. */
void tcg_emit_offset(Translation *t, const Insn *insn, unsigned dst);
/* Its linear address, with another displacement, into R14; for FS and GS the flags are lost. */
void tcg_emit_linear(Translation *t, const Insn *insn, int64_t disp);
/* R14 = linear address: afterwards [r14 + r15] is SIZE bytes there, or FAILED has been jumped to. */
void tcg_emit_tlb(Translation *t, unsigned size, bool write, const uint8_t *failed);
/* The memory operand, SIZE bytes, checked; R14 and R15 are taken until it has been used. */
HostMem tcg_memory_operand(Translation *t, const Insn *insn, unsigned size, bool write);
/* The same for SIZE bytes of the stack at [RSP + disp]; RSP itself moves later. */
HostMem tcg_stack_operand(Translation *t, int disp, unsigned size, bool write);
/* The same for [RBP]. */
HostMem tcg_frame_operand(Translation *t, unsigned size);
/* R14 = linear address: afterwards [r14 + r15] is SIZE bytes there. */
void tcg_check_here(Translation *t, unsigned size, bool write);
/* RSP += BYTES; RSP = host register FROM + BYTES.  R14 is lost, where SP is 16 bits wide. */
void tcg_move_stack(Translation *t, int bytes);
void tcg_set_stack(Translation *t, unsigned from, int bytes);

/* ---- translate_crossing.c ---- */

/*
 * Out of line, where the TLB check of the current instruction's operand has failed (R14 = address ^ tag, R15 = the entry
 * of its second place, both kept if this does not help): perhaps it lies in two pages.  True: it goes on behind the
 * check if so, else behind the instruction.
 */
bool tcg_emit_crossing(Translation *t, unsigned size, bool write);
/* There. */
void tcg_end_crossing(Translation *t);

/* ---- translate_segments.c: segments with a base and a limit ---- */

/* Neither base nor limit to think of. */
bool tcg_is_flat(const Translation *t, const Insn *insn);
bool tcg_stack_is_flat(const Translation *t);
/* As tcg_memory_operand(), for [reg + disp] in SS as tcg_stack_operand(). */
HostMem tcg_segmented_operand(Translation *t, const Insn *insn, unsigned size, bool write);
HostMem tcg_segmented_stack(Translation *t, unsigned reg, int disp, unsigned size, bool write);
/* R13 = the target of a near jump, WIDTH bytes, becomes its PC, or C raises #GP; R14 is lost. */
void tcg_emit_target_check(Translation *t, unsigned width);
/* Rows of translate_system.c: MOV, POP and LDS of a segment register, far JMP, CALL and RET as real mode does them. */
bool tcg_segment_load_is_native(const Translation *t, const Insn *insn);
const uint8_t *tcg_emit_segment_load(Translation *t, const Insn *insn);
bool tcg_far_is_native(const Translation *t, const Insn *insn);
const uint8_t *tcg_emit_far(Translation *t, const Insn *insn);
/* The selector of SEG, zero-extended. */
void tcg_emit_selector(Emitter *e, unsigned host, unsigned seg);

/* ---- translate_system.c: privileged and flag instructions that need no C ---- */

bool tcg_system_is_native(const Translation *t, const Insn *insn);
/* Whether code goes on behind it, though its row says that a block ends there. */
bool tcg_system_goes_on(const Translation *t, const Insn *insn);
const uint8_t *tcg_emit_system(Translation *t, const Insn *insn);
/* STI was the instruction before this one, which has been emitted. */
void tcg_emit_shadow_end(Translation *t, uint64_t rip, unsigned live);

/* ---- translate_string.c ---- */

bool tcg_string_is_native(const Translation *t, const Insn *insn);
const uint8_t *tcg_emit_string(Translation *t, const Insn *insn);

/* ---- translate_syscall.c ---- */

bool tcg_syscall_is_native(const Translation *t, const Insn *insn);
const uint8_t *tcg_emit_syscall(Translation *t, const Insn *insn);
const uint8_t *tcg_emit_sysret(Translation *t, const Insn *insn);
bool tcg_iret_is_native(const Translation *t, const Insn *insn);
const uint8_t *tcg_emit_iret(Translation *t, const Insn *insn);

#endif
