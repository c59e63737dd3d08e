/* SPDX-License-Identifier: MIT */
/* Writing x86-64 host instructions: see emit.h.  No state, no locks. */
#include "accel/tcg/emit.h"

#include <string.h>

void emit16(Emitter *e, uint16_t v)
{
    emit8(e, v);
    emit8(e, v >> 8);
}

void emit32(Emitter *e, uint32_t v)
{
    if (e->p + 4 <= e->end) {
        memcpy(e->p, &v, 4);
        e->p += 4;
    } else {
        e->full = true;
    }
}

void emit64(Emitter *e, uint64_t v)
{
    emit32(e, v);
    emit32(e, v >> 32);
}

void emit_bytes(Emitter *e, const void *bytes, unsigned len)
{
    if (e->p + len <= e->end) {
        memcpy(e->p, bytes, len);
        e->p += len;
    } else {
        e->full = true;
    }
}

static void emit_opcode(Emitter *e, unsigned opcode)
{
    if (opcode > 0xffff) {
        emit8(e, opcode >> 16);
    }
    if (opcode > 0xff) {
        emit8(e, opcode >> 8);
    }
    emit8(e, opcode);
}

void emit_rr(Emitter *e, unsigned prefix, bool wide, unsigned opcode, unsigned reg, unsigned rm)
{
    unsigned rex = (wide ? 8 : 0) | (reg & 8 ? 4 : 0) | (rm & 8 ? 1 : 0);

    if (prefix) {
        emit8(e, prefix);
    }
    if (rex) {
        emit8(e, 0x40 | rex);
    }
    emit_opcode(e, opcode);
    emit8(e, 0xc0 | (reg & 7) << 3 | (rm & 7));
}

unsigned host_mem_rex(unsigned reg, HostMem mem)
{
    return (reg & 8 ? 4 : 0) | (mem.index != H_NONE && (mem.index & 8) ? 2 : 0) |
           (mem.base != H_NONE && (mem.base & 8) ? 1 : 0);
}

static void put_modrm_mem(Emitter *e, unsigned reg, HostMem mem, bool disp8)
{
    unsigned r = (reg & 7) << 3, index = mem.index == H_NONE ? 4 : mem.index & 7;
    unsigned mod;

    if (mem.base == H_NONE) {
        emit8(e, r | 4);
        emit8(e, mem.scale << 6 | index << 3 | 5);
        emit32(e, mem.disp);
        return;
    }
    mod = mem.disp == 0 && (mem.base & 7) != 5 ? 0
        : mem.disp == 0 || (disp8 && mem.disp >= -128 && mem.disp < 128) ? 0x40 : 0x80;
    if (mem.index != H_NONE || (mem.base & 7) == 4) {
        emit8(e, mod | r | 4);
        emit8(e, mem.scale << 6 | index << 3 | (mem.base & 7));
    } else {
        emit8(e, mod | r | (mem.base & 7));
    }
    if (mod == 0x40) {
        emit8(e, mem.disp);
    } else if (mod == 0x80) {
        emit32(e, mem.disp);
    }
}

void emit_modrm_mem(Emitter *e, unsigned reg, HostMem mem)
{
    put_modrm_mem(e, reg, mem, true);
}

void emit_modrm_mem_evex(Emitter *e, unsigned reg, HostMem mem)
{
    put_modrm_mem(e, reg, mem, false);
}

void emit_rm(Emitter *e, unsigned prefix, bool wide, unsigned opcode, unsigned reg, HostMem mem)
{
    unsigned rex = (wide ? 8 : 0) | host_mem_rex(reg, mem);

    if (mem.gs) {
        emit8(e, 0x65);
    }
    if (prefix) {
        emit8(e, prefix);
    }
    if (rex) {
        emit8(e, 0x40 | rex);
    }
    emit_opcode(e, opcode);
    emit_modrm_mem(e, reg, mem);
}

void emit_mov_imm(Emitter *e, unsigned reg, uint64_t value)
{
    if (value <= 0xffffffff) {
        if (reg & 8) {
            emit8(e, 0x41);
        }
        emit8(e, 0xb8 | (reg & 7));
        emit32(e, value);
    } else if ((int64_t)value == (int32_t)value) {
        emit_rr(e, 0, true, 0xc7, 0, reg);
        emit32(e, value);
    } else {
        emit8(e, 0x48 | (reg & 8 ? 1 : 0));
        emit8(e, 0xb8 | (reg & 7));
        emit64(e, value);
    }
}

void emit_alu_imm(Emitter *e, bool wide, unsigned op, unsigned reg, int32_t imm)
{
    if (imm >= -128 && imm < 128) {
        emit_rr(e, 0, wide, 0x83, op, reg);
        emit8(e, imm);
    } else {
        emit_rr(e, 0, wide, 0x81, op, reg);
        emit32(e, imm);
    }
}

static uint8_t *emit_rel32(Emitter *e, const void *target)
{
    uint8_t *field = e->p;

    emit32(e, (const uint8_t *)target - (emit_here(e) + 4));
    return field;
}

uint8_t *emit_jmp(Emitter *e, const void *target)
{
    emit8(e, 0xe9);
    return emit_rel32(e, target);
}

uint8_t *emit_jcc(Emitter *e, unsigned cond, const void *target)
{
    emit8(e, 0x0f);
    emit8(e, 0x80 | cond);
    return emit_rel32(e, target);
}

uint8_t *emit_call(Emitter *e, const void *target)
{
    emit8(e, 0xe8);
    return emit_rel32(e, target);
}

void emit_nops(Emitter *e, unsigned len)
{
    static const uint8_t nops[8][8] = {
        { 0x90 }, { 0x66, 0x90 }, { 0x0f, 0x1f, 0x00 }, { 0x0f, 0x1f, 0x40, 0x00 },
        { 0x0f, 0x1f, 0x44, 0x00, 0x00 }, { 0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00 },
        { 0x0f, 0x1f, 0x80, 0, 0, 0, 0 }, { 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0 },
    };

    while (len) {
        unsigned part = len > 8 ? 8 : len;

        emit_bytes(e, nops[part - 1], part);
        len -= part;
    }
}

/* So many bytes from here on, a 32-bit field must not cross an 8-byte boundary. */
static void align_field(Emitter *e, unsigned lead)
{
    unsigned at = ((uintptr_t)emit_here(e) + lead) & 7;

    if (at > 4) {
        emit_nops(e, 8 - at);
    }
}

uint8_t *emit_jmp_aligned(Emitter *e, const void *target)
{
    unsigned at = (uintptr_t)emit_here(e) & 7;

    if (at > 3) {               /* all of it, for emit_patch_nop() */
        emit_nops(e, 8 - at);
    }
    return emit_jmp(e, target);
}

uint8_t *emit_jcc_aligned(Emitter *e, unsigned cond, const void *target)
{
    align_field(e, 2);
    return emit_jcc(e, cond, target);
}

uint8_t *emit_call_aligned(Emitter *e, const void *target)
{
    align_field(e, 1);
    return emit_call(e, target);
}

/* Five bytes that lie in one aligned word. */
static void store_five(uint8_t *at, uint64_t bytes)
{
    unsigned shift = ((uintptr_t)at & 7) * 8;
    uint64_t *word = (uint64_t *)(void *)((uintptr_t)at & ~(uintptr_t)7);
    uint64_t mask = 0xffffffffffull << shift;

    __atomic_store_n(word, (*word & ~mask) | bytes << shift, __ATOMIC_RELEASE);
}

uint8_t *emit_short(Emitter *e, unsigned opcode)
{
    emit8(e, opcode);
    emit8(e, 0);
    return e->p - 1;
}

void emit_land(Emitter *e, uint8_t *distance)
{
    if (!e->full) {
        *distance = e->p - (distance + 1);
    }
}

void emit_patch(uint8_t *field, ptrdiff_t rx, const void *target)
{
    int32_t rel = (const uint8_t *)target - (field + rx + 4);

    if (field[-1] == 0x0f) {
        store_five(field - 1, 0xe9 | (uint64_t)(uint32_t)rel << 8);
    } else {
        __atomic_store_n((int32_t *)(void *)field, rel, __ATOMIC_RELEASE);
    }
}

void emit_patch_nop(uint8_t *field)
{
    store_five(field - 1, 0x0000441f0f);
}
