/* SPDX-License-Identifier: MIT */
/*
 * The stubs behind REP MOVS and REP STOS: copying and filling up to a page of host memory by vectors of 32 bytes, which
 * start at once, where the host's own REP takes its time (AMD EPYC: 48 bytes in 1 ns instead of 4, a page 8 ns sooner).
 *
 *   copy       R13 from, R15 to, R14 bytes, 1 to 4096.  They may overlap where `to` is below `from`.
 *   fill[n]    R15 to, R14 bytes, the low 1 << n bytes of RAX again and again
 *
 * Called; R13, R14, R15 and the flags are lost.  With AVX-512 the vectors are YMM28 to YMM31, else YMM12 to YMM15;
 * while those are the guest's they are kept in tx.string_save.  Kicks in here: fault.c.
 * Locking: none.
 */
#include "accel/tcg/translator.h"

#define TX(field) HOST_GS(offsetof(X86Cpu, tx.field))

enum { COND_B = 2, COND_Z = 4, COND_NZ = 5 };
enum { HEAD, TAIL, SECOND, LAST };

/* What is moved by one instruction, and how; the wider half of a pair is where the narrower one ends. */
typedef enum VectorSize { BYTES_4, BYTES_8, BYTES_16, BYTES_32, BYTES_64 } VectorSize;

typedef struct StringStubs {
    Emitter *e;
    bool evex;
} StringStubs;

/* VEX or EVEX with its opcode: PP 1 is 66, 2 is F3; MAP 1 is 0F, 2 is 0F 38; no vvvv. */
static void emit_vector(const StringStubs *s, unsigned map, unsigned pp, bool w, unsigned length, unsigned opcode,
                        unsigned rex)
{
    unsigned rxb = ~(rex | 4) & 7;              /* all our vectors have R, and R' */

    if (s->evex) {
        emit8(s->e, 0x62);
        emit8(s->e, rxb << 5 | map);
        emit8(s->e, (w ? 0x80 : 0) | 0x7c | pp);
        emit8(s->e, length << 5 | 8);
    } else {
        emit8(s->e, 0xc4);
        emit8(s->e, rxb << 5 | map);
        emit8(s->e, (w ? 0x80 : 0) | 0x78 | length << 2 | pp);
    }
    emit8(s->e, opcode);
}

/* VECTOR from memory, or to it.  A displacement counts units of SIZE, as EVEX does. */
static void emit_move(const StringStubs *s, bool store, VectorSize size, unsigned vector, HostMem mem)
{
    static const struct { uint8_t pp, w, length, load, store; } how[] = {
        [BYTES_4]  = { 1, 0, 0, 0x6e, 0x7e },   /* VMOVD */
        [BYTES_8]  = { 1, 1, 0, 0x6e, 0x7e },   /* VMOVQ */
        [BYTES_16] = { 2, 1, 0, 0x6f, 0x7f },   /* VMOVDQU, VMOVDQU64 */
        [BYTES_32] = { 2, 1, 1, 0x6f, 0x7f },
        [BYTES_64] = { 2, 1, 2, 0x6f, 0x7f },
    };

    if (mem.gs) {
        emit8(s->e, 0x65);
    } else if (!s->evex) {
        mem.disp *= 4 << size;
    }
    emit_vector(s, 1, how[size].pp, how[size].w, how[size].length, store ? how[size].store : how[size].load,
                host_mem_rex(0, mem));
    emit_modrm_mem(s->e, 4 + vector, mem);
}

static void load(const StringStubs *s, VectorSize size, unsigned vector, HostMem mem)
{
    emit_move(s, false, size, vector, mem);
}

static void store(const StringStubs *s, VectorSize size, unsigned vector, HostMem mem)
{
    emit_move(s, true, size, vector, mem);
}

static HostMem at(unsigned base, int units)
{
    return HOST_DISP(base, units);
}

/* UNITS from the end of what begins at BASE. */
static HostMem from_end(unsigned base, int units)
{
    return (HostMem){ base, H_R14, 0, false, units };
}

/* A jump to where land() is called. */
static uint8_t *ahead(const StringStubs *s, unsigned cond)
{
    return emit_jcc(s->e, cond, emit_here(s->e));
}

static void land(const StringStubs *s, uint8_t *jump)
{
    emit_patch(jump, s->e->rx, emit_here(s->e));
}

/* The first COUNT vectors to or from tx.string_save, if they are the guest's. */
static void emit_guests(const StringStubs *s, bool keep, unsigned count)
{
    uint8_t *none;

    emit_rm(s->e, 0, false, 0xf6, 0, TX(live));                 /* test */
    emit8(s->e, s->evex ? LIVE_TOP : LIVE_SIMD);
    none = ahead(s, COND_Z);
    for (unsigned i = 0; i < count; i++) {
        emit_move(s, keep, s->evex ? BYTES_64 : BYTES_32, i, TX(string_save[i]));
    }
    land(s, none);
}

static void emit_done(const StringStubs *s, unsigned count)
{
    if (count) {
        emit_guests(s, false, count);
    }
    emit8(s->e, 0xc3);
}

/* R14 is less than LIMIT bytes: out of the way of what follows. */
static uint8_t *unless(const StringStubs *s, unsigned limit)
{
    emit_alu_imm(s->e, false, 7, H_R14, limit);
    return ahead(s, COND_B);
}

/* Two vectors of SIZE at a time, which may be the same bytes; all loads come first. */
static void emit_pair(const StringStubs *s, VectorSize size, bool copy)
{
    if (copy) {
        emit_guests(s, true, 2);
        load(s, size, HEAD, at(H_R13, 0));
        load(s, size, TAIL, from_end(H_R13, -1));
    }
    store(s, size, HEAD, at(H_R15, 0));
    store(s, size, copy ? TAIL : HEAD, from_end(H_R15, -1));
    emit_done(s, copy ? 2 : 1);
}

/* 64 bytes and more: the last 64 are loaded first, and stored last. */
static void emit_many(const StringStubs *s, bool copy)
{
    const uint8_t *again;

    if (copy) {
        emit_guests(s, true, 4);
        load(s, BYTES_32, TAIL, from_end(H_R13, -2));
        load(s, BYTES_32, LAST, from_end(H_R13, -1));
    }
    emit_rm(s->e, 0, true, 0x8d, H_R14, (HostMem){ H_R15, H_R14, 0, false, -64 });
    again = emit_here(s->e);
    if (copy) {
        load(s, BYTES_32, HEAD, at(H_R13, 0));
        load(s, BYTES_32, SECOND, at(H_R13, 1));
        emit_alu_imm(s->e, true, 5, H_R13, -64);
    }
    store(s, BYTES_32, HEAD, at(H_R15, 0));
    store(s, BYTES_32, copy ? SECOND : HEAD, at(H_R15, 1));
    emit_alu_imm(s->e, true, 5, H_R15, -64);
    emit_rr(s->e, 0, true, 0x3b, H_R15, H_R14);                 /* cmp */
    emit_jcc(s->e, COND_B, again);
    store(s, BYTES_32, copy ? TAIL : HEAD, at(H_R14, 0));
    store(s, BYTES_32, copy ? LAST : HEAD, at(H_R14, 1));
    emit_done(s, copy ? 4 : 1);
}

/* Up to three bytes. */
static void emit_few(const StringStubs *s, bool copy)
{
    const uint8_t *again;

    if (copy) {
        emit_store(s->e, TX(scratch), H_RAX);
    } else {
        emit_vector(s, 1, 1, true, 0, 0x7e, 1);                 /* vmovq r13, head */
        emit8(s->e, 0xc0 | (4 + HEAD) << 3 | (H_R13 & 7));
    }
    again = emit_here(s->e);
    if (copy) {
        emit_rm(s->e, 0, false, 0x8a, H_RAX, at(H_R13, 0));
        emit_rm(s->e, 0, false, 0x88, H_RAX, at(H_R15, 0));
        emit_alu_imm(s->e, true, 0, H_R13, 1);
    } else {
        emit_rm(s->e, 0, false, 0x88, H_R13, at(H_R15, 0));
        emit_rr(s->e, 0, false, 0xc1, 5, H_R13);                /* shr */
        emit8(s->e, 8);
    }
    emit_alu_imm(s->e, true, 0, H_R15, 1);
    emit_alu_imm(s->e, false, 5, H_R14, 1);
    emit_jcc(s->e, COND_NZ, again);
    if (copy) {
        emit_load(s->e, H_RAX, TX(scratch));
    }
    emit_done(s, copy ? 0 : 1);
}

/* By length; a fill has its bytes in HEAD. */
static void emit_by_length(const StringStubs *s, bool copy)
{
    uint8_t *below_64 = unless(s, 64), *below_32, *below_16, *below_8, *below_4;

    emit_many(s, copy);
    land(s, below_64);
    below_32 = unless(s, 32);
    emit_pair(s, BYTES_32, copy);
    land(s, below_32);
    below_16 = unless(s, 16);
    emit_pair(s, BYTES_16, copy);
    land(s, below_16);
    below_8 = unless(s, 8);
    emit_pair(s, BYTES_8, copy);
    land(s, below_8);
    below_4 = unless(s, 4);
    emit_pair(s, BYTES_4, copy);
    land(s, below_4);
    emit_few(s, copy);
}

/* HEAD = the low 1 << SHIFT bytes of RAX, repeated. */
static void emit_repeat_rax(const StringStubs *s, unsigned shift)
{
    static const uint8_t from_vector[] = { 0x78, 0x79, 0x58, 0x59 };    /* VPBROADCASTB, W, D, Q */

    emit_vector(s, 1, 1, true, 0, 0x6e, 0);                     /* vmovq head, rax */
    emit8(s->e, 0xc0 | (4 + HEAD) << 3 | H_RAX);
    /* A vector as ModRM.rm: B is its fourth bit, X in EVEX the fifth; W of EVEX is the element's. */
    emit_vector(s, 2, 1, s->evex && shift == 3, 1, from_vector[shift], s->evex ? 3 : 1);
    emit8(s->e, 0xc0 | (4 + HEAD) << 3 | (4 + HEAD));
}

void tcg_emit_string_stubs(TcgStubs *stubs, Emitter *e)
{
    StringStubs s = { e, __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") };
    const uint8_t *fill;

    stubs->copy = emit_here(e);
    emit_by_length(&s, true);
    fill = emit_here(e);
    emit_by_length(&s, false);
    for (unsigned shift = 0; shift < ARRAY_LEN(stubs->fill); shift++) {
        stubs->fill[shift] = emit_here(e);
        emit_guests(&s, true, 1);
        emit_repeat_rax(&s, shift);
        emit_jmp(e, fill);
    }
    stubs->string_end = emit_here(e);
}
