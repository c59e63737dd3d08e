/* SPDX-License-Identifier: MIT */
/*
 * Writing x86-64 host instructions.
 *
 * An Emitter writes through the writable alias of the code cache and knows the address at which
 * the bytes will run (`rx`).  Running out of room is not an error of the caller: bytes beyond
 * `end` are dropped and `full` is set, to be looked at once per block.
 *
 * Thread rule: none of its own; an Emitter belongs to whoever holds the translator's lock.
 * Spec: SDM2 2.1 to 2.3 (instruction format), appendix A for the opcodes.
 */
#ifndef ACCEL_TCG_EMIT_H
#define ACCEL_TCG_EMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bits.h"

/* Host registers by number. */
enum { H_RAX, H_RCX, H_RDX, H_RBX, H_RSP, H_RBP, H_RSI, H_RDI,
       H_R8, H_R9, H_R10, H_R11, H_R12, H_R13, H_R14, H_R15, H_NONE };

typedef struct Emitter {
    uint8_t *p;                 /* next byte, writable alias */
    uint8_t *end;
    ptrdiff_t rx;               /* add to a writable address to get the executable one */
    bool full;
} Emitter;

/* A memory operand: [base + index * 2^scale + disp], relative to GS when `gs`. */
typedef struct HostMem {
    uint8_t base, index, scale;
    bool gs;
    int32_t disp;
} HostMem;

#define HOST_GS(offset) ((HostMem){ H_NONE, H_NONE, 0, true, (int32_t)(offset) })
#define HOST_GS_INDEX(reg, offset) ((HostMem){ (reg), H_NONE, 0, true, (int32_t)(offset) })
#define HOST_AT(base, index) ((HostMem){ (base), (index), 0, false, 0 })
#define HOST_DISP(base, disp) ((HostMem){ (base), H_NONE, 0, false, (int32_t)(disp) })

static inline void emit8(Emitter *e, uint8_t v)
{
    if (e->p < e->end) {
        *e->p++ = v;
    } else {
        e->full = true;
    }
}

void emit16(Emitter *e, uint16_t v);
void emit32(Emitter *e, uint32_t v);
void emit64(Emitter *e, uint64_t v);
void emit_bytes(Emitter *e, const void *bytes, unsigned len);

/* Where the next byte will run. */
static inline const uint8_t *emit_here(const Emitter *e)
{
    return e->p + e->rx;
}

/*
 * The general form.  OPCODE holds up to three opcode bytes, most significant first (0x0fb6).
 * PREFIX: 0, 0x66, 0xf2 or 0xf3.  WIDE sets REX.W.  BYTE_REGS: REX is needed to reach SIL and kin.
 */
void emit_rr(Emitter *e, unsigned prefix, bool wide, unsigned opcode, unsigned reg, unsigned rm);
void emit_rm(Emitter *e, unsigned prefix, bool wide, unsigned opcode, unsigned reg, HostMem mem);
/* ModRM, SIB and displacement alone; the caller has written prefixes and opcode. */
void emit_modrm_mem(Emitter *e, unsigned reg, HostMem mem);
/* The same without displacements of one byte, which EVEX multiplies. */
void emit_modrm_mem_evex(Emitter *e, unsigned reg, HostMem mem);
/* REX bits R, X, B that REG and MEM ask for. */
unsigned host_mem_rex(unsigned reg, HostMem mem);

/* mov reg, imm in the shortest form; flags are kept. */
void emit_mov_imm(Emitter *e, unsigned reg, uint64_t value);
static inline void emit_mov(Emitter *e, unsigned dst, unsigned src)
{
    emit_rr(e, 0, true, 0x8b, dst, src);
}
static inline void emit_load(Emitter *e, unsigned dst, HostMem mem)
{
    emit_rm(e, 0, true, 0x8b, dst, mem);
}
static inline void emit_store(Emitter *e, HostMem mem, unsigned src)
{
    emit_rm(e, 0, true, 0x89, src, mem);
}
/* OP is the /digit of group 1: ADD 0, OR 1, AND 4, SUB 5, XOR 6, CMP 7. */
void emit_alu_imm(Emitter *e, bool wide, unsigned op, unsigned reg, int32_t imm);

/* Jumps with a 32-bit displacement to an executable address.  Return where the displacement is. */
uint8_t *emit_jmp(Emitter *e, const void *target);
uint8_t *emit_jcc(Emitter *e, unsigned cond, const void *target);
uint8_t *emit_call(Emitter *e, const void *target);
/* The same with the displacement inside one aligned 8-byte word, so that it can be changed while
 * others run the code. */
uint8_t *emit_jmp_aligned(Emitter *e, const void *target);
uint8_t *emit_jcc_aligned(Emitter *e, unsigned cond, const void *target);
uint8_t *emit_call_aligned(Emitter *e, const void *target);
/* A short jump forwards, by its opcode (0x70 + condition, 0xe3 for JRCXZ); returns what it needs to land. */
uint8_t *emit_short(Emitter *e, unsigned opcode);
void emit_land(Emitter *e, uint8_t *distance);
/* Set the displacement at FIELD (writable) so that the jump goes to TARGET (executable); atomic. */
void emit_patch(uint8_t *field, ptrdiff_t rx, const void *target);
/* The same for what comes right behind an emit_jmp_aligned(): nothing to jump over. */
void emit_patch_nop(uint8_t *field);
/* `len` bytes that do nothing. */
void emit_nops(Emitter *e, unsigned len);

#endif
