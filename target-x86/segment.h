/* SPDX-License-Identifier: MIT */
/*
 * Descriptors, segment loads and stacks of other privilege levels: what far transfers, interrupt
 * delivery and task switches share.  Spec: [SDM3A 3.4, 5.2-5.8].
 *
 * Selectors in error codes lose their RPL; `ext` (0 or 1) is the EXT bit, for loads made while an
 * event is delivered.  Everything raises as exception.h says and runs on the vCPU's thread.
 */
#ifndef TARGET_X86_SEGMENT_H
#define TARGET_X86_SEGMENT_H

#include "target-x86/mem.h"

/* Eight bytes of a table; `at` is the linear address they came from. */
typedef struct X86Desc {
    uint32_t lo, hi;
    uint64_t at;
} X86Desc;

static inline unsigned desc_dpl(uint32_t hi) { return hi >> DESC_DPL_SHIFT & 3; }
static inline unsigned desc_type(uint32_t hi) { return hi >> DESC_TYPE_SHIFT & 15; }
static inline uint32_t desc_base(const X86Desc *d)
{
    return d->lo >> 16 | (d->hi & 0xff) << 16 | (d->hi & 0xff000000);
}
static inline uint32_t desc_limit(const X86Desc *d)
{
    uint32_t limit = (d->lo & 0xffff) | (d->hi & 0xf0000);

    return d->hi & DESC_G ? limit << 12 | 0xfff : limit;
}
static inline X86Seg desc_segment(uint16_t sel, const X86Desc *d)
{
    return (X86Seg){ .sel = sel, .flags = d->hi & DESC_FLAGS, .limit = desc_limit(d),
                     .base = desc_base(d) };
}
static inline bool desc_is_code(uint32_t hi)
{
    return (hi & (DESC_S | DESC_CODE)) == (DESC_S | DESC_CODE);
}
static inline bool desc_is_conforming(uint32_t hi) { return hi & DESC_C; }
static inline bool sel_is_null(uint16_t sel) { return !(sel & ~3); }
static inline uint32_t sel_code(uint16_t sel, unsigned ext) { return (sel & 0xfffc) | ext; }

/* As above, raising `vector` with the selector (null: with 0). */
void x86_desc_fetch(X86Cpu *cpu, uint16_t sel, X86Desc *d, unsigned vector, unsigned ext);
/* Bits 63..32 of the base of a 16-byte system descriptor; raises #GP(sel) when malformed. */
uint32_t x86_desc_base_high(X86Cpu *cpu, uint16_t sel, const X86Desc *d, unsigned vector);
/* LOCKed set of the accessed bit (or of `bits`), when it is clear. */
void x86_desc_set_bits(X86Cpu *cpu, X86Desc *d, uint32_t bits);

/* MOV sreg and kin, any mode; SEG_CS is not allowed here. */
void x86_load_segment(X86Cpu *cpu, unsigned seg, uint16_t sel);
/* The same with checks of protected mode for a given CPL and exception (task switch: #TS). */
X86Seg x86_check_data_segment(X86Cpu *cpu, unsigned seg, uint16_t sel, unsigned cpl,
                              unsigned vector, unsigned ext);
/* A segment as real or virtual-8086 mode loads it. */
void x86_load_segment_real(X86Cpu *cpu, unsigned seg, uint16_t sel);
/* A stack segment of the inner level `dpl`: [SDM3A 6.12.1], errors are `vector` and #SS. */
X86Seg x86_check_stack_segment(X86Cpu *cpu, uint16_t sel, unsigned dpl, unsigned vector,
                               unsigned ext);
/* Stack pointer of level `dpl` from the TSS: SS is 0 in long mode. */
void x86_tss_stack(X86Cpu *cpu, unsigned dpl, unsigned ext, uint16_t *ss, uint64_t *sp);
/* IST entry 1..7. */
uint64_t x86_tss_ist(X86Cpu *cpu, unsigned ist, unsigned ext);

/* Does the new instruction pointer lie within `cs` (canonical, for 64-bit code)? #GP(0) if not. */
void x86_check_rip(X86Cpu *cpu, const X86Seg *cs, uint64_t rip, unsigned ext);
/* Is `cs` 64-bit code, given the CPU's long mode state? */
static inline bool x86_seg_is_64(const X86Cpu *cpu, const X86Seg *cs)
{
    return (cpu->efer & EFER_LMA) && (cs->flags & DESC_L);
}

/* ---- stacks other than the current one ------------------------------------------------------ */

/* Pushes and pops with the segment, width and privilege of a stack that is not loaded yet. */
typedef struct X86Stack {
    X86Seg ss;
    uint64_t sp, mask;
    X86MmuIdx idx;
    bool is64;                  /* flat, canonical check only */
    uint32_t code;              /* of #SS */
} X86Stack;

/* CS64: the code that will use it is 64-bit. */
X86Stack x86_stack(X86Cpu *cpu, const X86Seg *ss, uint64_t sp, unsigned cpl, bool cs64);
X86Stack x86_stack_current(X86Cpu *cpu);
void x86_stack_push(X86Cpu *cpu, X86Stack *s, uint64_t value, unsigned size);
uint64_t x86_stack_pop(X86Cpu *cpu, X86Stack *s, unsigned size);
/* RSP after the transfer: 16-bit stacks keep the upper bits of OLD. */
static inline uint64_t x86_stack_rsp(const X86Stack *s, uint64_t old)
{
    return s->mask == 0xffff ? (old & ~0xffffull) | (s->sp & 0xffff) : s->sp & s->mask;
}

/* Replaces the bits of RFLAGS in MASK. */
void x86_change_flags(X86Cpu *cpu, uint64_t value, uint64_t mask);

/* Data segments that the outer level CPL may not use become null, [SDM3A 5.8.6]. */
void x86_drop_inner_segments(X86Cpu *cpu, unsigned cpl);

/* ---- event_fast.c: the usual case; false: nothing has changed, it is not that one ---------------- */

/* An event to 64-bit code of CPL 0: all of deliver_protected().  FLAGS as the frame has them. */
bool x86_deliver_fast(X86Cpu *cpu, const X86Event *e, uint64_t flags, uint64_t return_rip);
/* IRETQ of CPL 0 to 64-bit code. */
bool x86_iret_fast(X86Cpu *cpu);

/* ---- task.c ------------------------------------------------------------------------------------ */

typedef enum X86TaskSource { TASK_JMP, TASK_CALL, TASK_IRET, TASK_EVENT } X86TaskSource;
/*
 * Switch to the TSS of SEL, whose descriptor D has been checked for type, DPL and presence by the caller.
 * RIP is what the old task resumes at.  Ends with cpu->rip and cpu->next_rip at the new task; faults in the new
 * task's context are raised there.
 */
void x86_task_switch(X86Cpu *cpu, uint16_t sel, X86Desc *d, X86TaskSource source, uint64_t rip,
                     bool has_code, uint32_t code, unsigned ext);

#endif
