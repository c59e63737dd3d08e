/* SPDX-License-Identifier: MIT */
/*
 * The stubs behind accesses to two pages (translate_crossing.c): where both are in the TLB, the instruction is run on
 * tx.crossing.bytes, 128 bytes in whose middle the two pages meet.
 *
 *   crossing_read[n]   R14 = address ^ tag, R15 = the entry of its second place, as for a TLB miss.  Called; with ZF R14 is
 *                      the address, and the operand, of up to 8 << n bytes, at [r14 + r15]; else they are as they were
 *   crossing_write     the same; nothing has been copied
 *   crossing_masked    read, write, by log2 of the element, with the writemask in tx.crossing.mask.  Where all enabled elements lie
 *                      in one of the pages, the operand is at [r14 + r15] in place, and the other is not looked at; of a
 *                      read that takes from both it is as above
 *   crossed[n]         the 1 << n bytes there go to the two pages, and code goes on at R13.  RFLAGS are kept, R13, R14
 *                      and R15 are lost
 *
 * A piece is read with the whole end of its page, which is RAM, and written exactly.  General registers do, so that it does
 * not matter what vectors the guest has.  That a tag is poisoned by another thread meanwhile is as if it were so a moment
 * later (others.c).  A kick in here is stepped to the next boundary (fault.c).
 * Locking: none.
 */
#include "accel/tcg/translator.h"

#define CROSSING(field) HOST_GS(offsetof(X86Cpu, tx.crossing.field))
#define MIDDLE 64

enum { COND_B = 2, COND_AE = 3, COND_NE = 5, COND_BE = 6, COND_A = 7 };
enum { PLACES = X86_TLB_SIZE * sizeof(X86TlbEntry), HALF = PLACES / 2 };
G_STATIC_ASSERT(sizeof(((X86Cpu *)0)->tlb[0]) == PLACES);
G_STATIC_ASSERT(sizeof(((X86Cpu *)0)->mmu_idx) == 1);

static const uint8_t saved[] = { H_RAX, H_RCX, H_RDX };

static HostMem entry(unsigned reg, size_t field)
{
    return HOST_GS_INDEX(reg, offsetof(X86Cpu, tlb) + field);
}

static void emit_restore(Emitter *e)
{
    for (unsigned i = 0; i < sizeof(saved); i++) {
        emit_load(e, saved[i], CROSSING(saved[i]));
    }
}

/* Jumps to where the stub gives up. */
typedef struct Failures {
    uint8_t *jump[8];
    unsigned count;
} Failures;

static void emit_fail(Emitter *e, unsigned cond, Failures *f)
{
    f->jump[f->count++] = emit_jcc(e, cond, emit_here(e));
}

/* RCX = the first place of the page of R14, without what RAX has for the context. */
static void emit_place(Emitter *e)
{
    emit_bytes(e, "\xc4\xc3\xfb\xf0\xce", 5);                   /* rorx rcx, r14, 7 */
    emit8(e, 12 - 5);
    emit_alu_imm(e, false, 4, H_RCX, PLACES - sizeof(X86TlbEntry));
}

/* R14 = the address, RAX = what it takes from one place to that of the context. */
static void emit_begin(Emitter *e, size_t tag, Failures *f)
{
    for (unsigned i = 0; i < sizeof(saved); i++) {
        emit_store(e, CROSSING(saved[i]), saved[i]);
    }
    emit_store(e, HOST_GS(offsetof(X86Cpu, tx.miss_off)), H_R14);
    emit_store(e, HOST_GS(offsetof(X86Cpu, tx.miss_set)), H_R15);
    emit_rm(e, 0, false, 0x0fb6, H_RAX, HOST_GS(offsetof(X86Cpu, mmu_idx)));
    emit_rr(e, 0, false, 0x69, H_RAX, H_RAX);                   /* imul */
    emit32(e, PLACES);
    emit_rm(e, 0, true, 0x8d, H_RCX, HOST_AT(H_RAX, H_R15));
    emit_rm(e, 0, true, 0x33, H_R14, entry(H_RCX, tag));        /* xor: the address, unless the tag has been poisoned since */
    emit_place(e);
    emit_alu_imm(e, false, 6, H_R15, HALF);
    emit_rr(e, 0, false, 0x3b, H_R15, H_RCX);
    emit_fail(e, COND_NE, f);
}

/* RCX = the entry of the page of R14, R15 = the offset in it; RAX is kept. */
static void emit_find(Emitter *e, size_t tag, Failures *f)
{
    uint8_t *found;

    emit_place(e);
    emit_rr(e, 0, true, 0x03, H_RCX, H_RAX);
    emit_mov(e, H_R15, H_R14);
    emit_rm(e, 0, true, 0x33, H_R15, entry(H_RCX, tag));
    emit_alu_imm(e, true, 7, H_R15, 4095);
    found = emit_short(e, 0x70 | COND_BE);
    emit_alu_imm(e, true, 6, H_RCX, HALF);
    emit_mov(e, H_R15, H_R14);
    emit_rm(e, 0, true, 0x33, H_R15, entry(H_RCX, tag));
    emit_alu_imm(e, true, 7, H_R15, 4095);
    emit_fail(e, COND_A, f);
    emit_land(e, found);
}

static void emit_found(Emitter *e)
{
    emit_restore(e);
    emit_rr(e, 0, false, 0x3b, H_R14, H_R14);                   /* cmp */
    emit8(e, 0xc3);
}

static void emit_failed(Emitter *e, const Failures *f)
{
    for (unsigned i = 0; i < f->count; i++) {
        emit_patch(f->jump[i], e->rx, emit_here(e));
    }
    emit_restore(e);
    emit_load(e, H_R14, HOST_GS(offsetof(X86Cpu, tx.miss_off)));
    emit_load(e, H_R15, HOST_GS(offsetof(X86Cpu, tx.miss_set)));
    emit_rr(e, 0, true, 0x85, H_RSP, H_RSP);                    /* test */
    emit8(e, 0xc3);
}

/* REG = the middle of bytes[]. */
static void emit_middle(Emitter *e, unsigned reg)
{
    emit_load(e, reg, HOST_GS(offsetof(X86Cpu, tx.self)));
    emit_rm(e, 0, true, 0x8d, reg, HOST_DISP(reg, offsetof(X86Cpu, tx.crossing.bytes) + MIDDLE));
}

/* The end of the page at RDX, the start of the one at RCX. */
static void emit_read(Emitter *e, int size)
{
    for (int at = -size; at < size; at += 8) {
        emit_load(e, H_RAX, at < 0 ? HOST_DISP(H_RDX, 4096 + at) : HOST_DISP(H_RCX, at));
        emit_store(e, HOST_GS(offsetof(X86Cpu, tx.crossing.bytes) + MIDDLE + at), H_RAX);
    }
}

/* What a write copies later. */
static void emit_note_targets(Emitter *e)
{
    emit_rm(e, 0, true, 0x8d, H_RDX, HOST_DISP(H_RDX, 4096));
    emit_rm(e, 0, true, 0x2b, H_RDX, CROSSING(first));          /* sub */
    emit_store(e, CROSSING(to[0]), H_RDX);
    emit_store(e, CROSSING(to[1]), H_RCX);
}

/* R14 = the address: both pages.  SIZE 0: a write. */
static void emit_both(Emitter *e, unsigned size, size_t tag, Failures *f)
{
    emit_find(e, tag, f);                                       /* then it is not all that has been looked for */
    emit_load(e, H_RDX, entry(H_RCX, offsetof(X86TlbEntry, host)));
    emit_rr(e, 0, true, 0x2b, H_R14, H_R15);
    emit_alu_imm(e, true, 5, H_R15, 4096);
    emit_bytes(e, "\x49\xf7\xdf", 3);                           /* neg r15 */
    emit_store(e, CROSSING(first), H_R15);
    emit_alu_imm(e, true, 0, H_R14, 4096);
    emit_find(e, tag, f);
    emit_load(e, H_RCX, entry(H_RCX, offsetof(X86TlbEntry, host)));
    if (size) {
        emit_read(e, size);
    } else {
        emit_note_targets(e);
    }
    emit_middle(e, H_R15);
    emit_rr(e, 0, true, 0x2b, H_R15, H_R14);                    /* sub: from an address to its byte */
    emit_rm(e, 0, true, 0x2b, H_R14, CROSSING(first));
    emit_found(e);
}

static size_t tag_of(bool write)
{
    return write ? offsetof(X86TlbEntry, tag_w) : offsetof(X86TlbEntry, tag_r);
}

static const uint8_t *emit_look(Emitter *e, unsigned size)
{
    const uint8_t *start = emit_here(e);
    Failures f = { .count = 0 };

    emit_begin(e, tag_of(!size), &f);
    emit_both(e, size, tag_of(!size), &f);
    emit_failed(e, &f);
    return start;
}

/* RCX = how many elements of 1 << SHIFT bytes there are in the R15 bytes of the first page, with a part of one if UP. */
static void emit_elements(Emitter *e, unsigned shift, bool up)
{
    emit_rm(e, 0, false, 0x8d, H_RCX, HOST_DISP(H_R15, up ? (1 << shift) - 1 : 0));
    if (shift) {
        emit_rr(e, 0, false, 0xc1, 5, H_RCX);                   /* shr */
        emit8(e, shift);
    }
}

/* The page of R14 is that of all that is accessed, by R15 as by its TLB entry: masked-off elements cannot fault. */
static void emit_one(Emitter *e, size_t tag, Failures *f)
{
    emit_find(e, tag, f);
    emit_load(e, H_R15, entry(H_RCX, offsetof(X86TlbEntry, delta)));
}

static const uint8_t *emit_masked(Emitter *e, unsigned shift, bool write)
{
    const uint8_t *start = emit_here(e);
    Failures f = { .count = 0 };
    uint8_t *behind, *before;

    emit_begin(e, tag_of(write), &f);
    emit_rr(e, 0, false, 0x8b, H_R15, H_R14);
    emit_bytes(e, "\x41\xf7\xdf", 3);                           /* neg r15d */
    emit_alu_imm(e, false, 4, H_R15, 4095);                     /* and */
    emit_alu_imm(e, false, 7, H_R15, 64);
    emit_fail(e, COND_AE, &f);                                  /* in one page, which is not there */
    emit_load(e, H_RDX, CROSSING(mask));
    emit_elements(e, shift, false);
    emit_bytes(e, "\x48\xd3\xea", 3);                           /* shr rdx, cl */
    emit_rr(e, 0, true, 0x85, H_RDX, H_RDX);                    /* a shift by 0 leaves the flags */
    behind = emit_jcc(e, COND_NE, start);
    emit_one(e, tag_of(write), &f);
    emit_found(e);
    emit_patch(behind, e->rx, emit_here(e));
    emit_elements(e, shift, true);
    emit_load(e, H_RDX, CROSSING(mask));
    emit_bytes(e, "\xc4\xe2\xf0\xf5\xd2", 5);                   /* bzhi rdx, rdx, rcx */
    emit_rr(e, 0, true, 0x85, H_RDX, H_RDX);
    before = emit_jcc(e, COND_NE, start);
    emit_store(e, CROSSING(first), H_R15);
    emit_rr(e, 0, true, 0x03, H_R14, H_R15);
    emit_one(e, tag_of(write), &f);
    emit_rm(e, 0, true, 0x2b, H_R14, CROSSING(first));
    emit_found(e);
    emit_patch(before, e->rx, emit_here(e));
    if (!write) {
        emit_both(e, 64, tag_of(false), &f);
    }
    emit_failed(e, &f);
    return start;
}

/* Callable: R14 bytes, 1 to 63, from R13 to R15; RAX and the flags are lost. */
static const uint8_t *emit_copy(Emitter *e)
{
    const uint8_t *start = emit_here(e);

    for (int size = 32; size; size /= 2) {
        unsigned step = MIN(size, 8), prefix = step == 2 ? 0x66 : 0;
        uint8_t *less;

        emit_alu_imm(e, false, 7, H_R14, size);
        less = emit_jcc(e, COND_B, start);
        for (int at = -size; at < size; at += step) {
            HostMem from = { H_R13, at < 0 ? H_R14 : H_NONE, 0, false, at }, to = from;

            to.base = H_R15;
            emit_rm(e, prefix, step == 8, step == 1 ? 0x8a : 0x8b, H_RAX, from);
            emit_rm(e, prefix, step == 8, step == 1 ? 0x88 : 0x89, H_RAX, to);
        }
        emit8(e, 0xc3);
        emit_patch(less, e->rx, emit_here(e));
    }
    return start;
}

static const uint8_t *emit_write(Emitter *e, unsigned size, const uint8_t *copy)
{
    const uint8_t *start = emit_here(e);

    emit_rm(e, 0, false, 0xc7, 0, CROSSING(site));              /* the store is done: what faults now is not its */
    emit32(e, 0);
    emit_store(e, CROSSING(back), H_R13);
    emit_store(e, CROSSING(saved[0]), H_RAX);
    emit_bytes(e, "\x9f\x0f\x90\xc0", 4);                       /* lahf; seto al */
    emit_store(e, CROSSING(saved[1]), H_RAX);
    emit_middle(e, H_R13);
    emit_load(e, H_R14, CROSSING(first));
    emit_rr(e, 0, true, 0x2b, H_R13, H_R14);                    /* sub */
    emit_load(e, H_R15, CROSSING(to[0]));
    emit_call(e, copy);
    emit_middle(e, H_R13);
    emit_mov_imm(e, H_R14, size);
    emit_rm(e, 0, true, 0x2b, H_R14, CROSSING(first));          /* sub */
    emit_load(e, H_R15, CROSSING(to[1]));
    emit_call(e, copy);
    emit_load(e, H_RAX, CROSSING(saved[1]));
    emit_bytes(e, "\x04\x7f\x9e", 3);                           /* add al, 127; sahf */
    emit_load(e, H_RAX, CROSSING(saved[0]));
    emit_rm(e, 0, false, 0xff, 4, CROSSING(back));
    return start;
}

void tcg_emit_crossing_stubs(TcgStubs *stubs, Emitter *e)
{
    const uint8_t *copy;

    for (unsigned n = 0; n < ARRAY_LEN(stubs->crossing_read); n++) {
        stubs->crossing_read[n] = emit_look(e, 8u << n);
    }
    stubs->crossing_write = emit_look(e, 0);
    for (unsigned shift = 0; shift < ARRAY_LEN(stubs->crossing_masked[0]); shift++) {
        stubs->crossing_masked[0][shift] = emit_masked(e, shift, false);
        stubs->crossing_masked[1][shift] = emit_masked(e, shift, true);
    }
    copy = emit_copy(e);
    for (unsigned n = 1; n < ARRAY_LEN(stubs->crossed); n++) {
        stubs->crossed[n] = emit_write(e, 1u << n, copy);
    }
}
