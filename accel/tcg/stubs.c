/* SPDX-License-Identifier: MIT */
/*
 * The pieces of code every block shares: in and out of translated code, calls to C, the jump
 * table.  Emitted once at the start of the code cache.
 *
 * C runs on its own stack with the guest's registers in the X86Cpu.  Vector registers are saved
 * only when they hold guest state (tx.live) and loaded again only by code that uses them; of AVX-512 the more so. The x87
 * stays in the host's, since no C of ours touches it (run.c saves it where state is looked at).
 * Locking: none.
 */
#include "accel/tcg/translator.h"

#include <cpuid.h>

#include "target-x86/fpu.h"

#define TX(field) HOST_GS(offsetof(X86Cpu, tx.field))
#define CPU(field) HOST_GS(offsetof(X86Cpu, field))

/* Guest registers that live in host registers, but RAX. */
static const uint8_t saved[] = { R_RCX, R_RDX, R_RBX, R_RSP, R_RBP, R_RSI, R_RDI, R_R8, R_R9,
                                 R_R12, R_R13 };

static bool has_xgetbv_1(void)
{
    unsigned a, b, c, d;

    return __get_cpuid_count(13, 1, &a, &b, &c, &d) && (a & 4);
}

/* op byte gs:[...], imm8: 80 /op, or F6 /0 for TEST. */
static void byte_imm(Emitter *e, unsigned opcode, unsigned op, HostMem mem, uint8_t imm)
{
    emit_rm(e, 0, false, opcode, op, mem);
    emit8(e, imm);
}

static void test_byte(Emitter *e, HostMem mem, uint8_t imm) { byte_imm(e, 0xf6, 0, mem, imm); }

enum { CC_Z_ = 4, CC_NZ_ = 5 };

static HostMem vector_slot(unsigned n, unsigned offset)
{
    return HOST_GS(offsetof(X86Cpu, zmm) + n * sizeof(X86Vec) + offset);
}

/* VMOVDQU ymm, [mem] (0x6f) or back (0x7f). */
static void emit_vmovdqu(Emitter *e, unsigned opcode, unsigned n, HostMem mem)
{
    emit8(e, 0x65);
    emit8(e, 0xc4);
    emit8(e, (n & 8 ? 0 : 0x80) | 0x60 | 1);
    emit8(e, 0x7e);             /* W0, vvvv = 1111, L1, F3 */
    emit8(e, opcode);
    emit_modrm_mem(e, n, mem);
}

/* VMOVDQU64 zmm, [mem] (0x6f) or back (0x7f). */
static void emit_vmovdqu64(Emitter *e, unsigned opcode, unsigned n, HostMem mem)
{
    emit8(e, 0x65);
    emit8(e, 0x62);
    emit8(e, (n & 8 ? 0 : 0x80) | 0x60 | (n & 16 ? 0 : 0x10) | 1);
    emit8(e, 0xfe);             /* W1, vvvv = 1111, F3 */
    emit8(e, 0x48);             /* L'L = 512 bits, no mask */
    emit8(e, opcode);
    emit_modrm_mem(e, n, mem);
}

/* KMOVQ k, [mem] (0x90) or back (0x91): a host without AVX512BW counts as one without AVX-512. */
static void emit_kmov(Emitter *e, unsigned opcode, unsigned n)
{
    emit8(e, 0x65);
    emit8(e, 0xc4);
    emit8(e, 0xe1);
    emit8(e, 0xf8);             /* W1, vvvv = 1111, L0 */
    emit8(e, opcode);
    emit_modrm_mem(e, n, HOST_GS(offsetof(X86Cpu, k) + 8 * n));
}

static void emit_vzeroupper(Emitter *e)
{
    emit_bytes(e, "\xc5\xf8\x77", 3);
}

/* jmp, or jcc if COND is not NO_COND, to where it will be patched. */
enum { NO_COND = 16 };
static uint8_t *jump_ahead(Emitter *e, unsigned cond)
{
    if (cond == NO_COND) {
        emit8(e, 0xe9);
    } else {
        emit8(e, 0x0f);
        emit8(e, 0x80 | cond);
    }
    emit32(e, 0);
    return e->p - 4;
}

static void land_here(Emitter *e, uint8_t *at)
{
    emit_patch(at, e->rx, emit_here(e));
}

/*
 * Vector registers, bits 511:256 too if they are not zero: VEX zeroes them, though the code may not know of them.  That
 * needs all that EVEX has: where a jump to it is to lead, or NULL.
 */
static uint8_t *emit_load_simd(Emitter *e, bool evex)
{
    uint8_t *wide, *all = NULL, *done;

    byte_imm(e, 0x80, 7, TX(upper_zero), 0);
    wide = jump_ahead(e, CC_Z_);
    emit_vzeroupper(e);
    for (unsigned n = 0; n < 16; n++) {
        emit_rm(e, 0, false, 0x0f10, n, vector_slot(n, 0));
    }
    done = jump_ahead(e, NO_COND);
    land_here(e, wide);
    if (evex) {
        byte_imm(e, 0x80, 7, TX(zmm_upper), 0);
        all = jump_ahead(e, CC_NZ_);
    }
    for (unsigned n = 0; n < 16; n++) {
        emit_vmovdqu(e, 0x6f, n, vector_slot(n, 0));
    }
    land_here(e, done);
    emit_rm(e, 0, false, 0x0fae, 2, CPU(x87.mxcsr));            /* ldmxcsr */
    return all;
}

static void emit_zmm(Emitter *e, unsigned opcode, unsigned from, unsigned to)
{
    for (unsigned n = from; n < to; n++) {
        emit_vmovdqu64(e, opcode, n, vector_slot(n, 0));
    }
}

/* All but the top; ALL: a jump to where bits 511:256 are loaded, too, or NULL. */
static void emit_load_evex(Emitter *e, uint8_t *all)
{
    uint8_t *all_too, *rest, *done;

    test_byte(e, TX(live), LIVE_SIMD);
    rest = jump_ahead(e, CC_NZ_);
    all_too = emit_load_simd(e, true);
    done = jump_ahead(e, NO_COND);
    if (all) {
        land_here(e, all);
    }
    land_here(e, all_too);
    emit_zmm(e, 0x6f, 0, 16);
    emit_rm(e, 0, false, 0x0fae, 2, CPU(x87.mxcsr));
    land_here(e, rest);
    land_here(e, done);
    emit_zmm(e, 0x6f, 16, ZMM_TOP);
    for (unsigned n = 0; n < 8; n++) {
        emit_kmov(e, 0x90, n);
    }
    byte_imm(e, 0x80, 1, TX(live), LIVE_SIMD | LIVE_EVEX);
}

/*
 * Callable: load what tx says; keep the general registers.  They call nothing: what they return by may be the last place of
 * the host's return stack.
 */
static void emit_needs(TcgStubs *s, Emitter *e)
{
    bool evex = simd_host_has(X86_FEAT_AVX512F);
    uint8_t *all, *there;

    s->need_simd = emit_here(e);
    all = emit_load_simd(e, evex);
    byte_imm(e, 0x80, 1, TX(live), LIVE_SIMD);
    emit8(e, 0xc3);
    if (!evex) {
        s->need_evex = s->need_top = s->need_simd;      /* no such guest */
        return;
    }
    s->need_evex = emit_here(e);
    emit_load_evex(e, all);
    emit8(e, 0xc3);
    s->need_top = emit_here(e);
    test_byte(e, TX(live), LIVE_EVEX);
    there = jump_ahead(e, CC_NZ_);
    emit_load_evex(e, NULL);
    land_here(e, there);
    emit_zmm(e, 0x6f, ZMM_TOP, 32);
    byte_imm(e, 0x80, 1, TX(live), LIVE_TOP);
    emit8(e, 0xc3);
}

static void emit_xinuse(Emitter *e)
{
    emit_mov_imm(e, H_RCX, 1);
    emit_bytes(e, "\x0f\x01\xd0", 3);           /* xgetbv: the components in use */
}

/*
 * AVX-512 is live, too: MORE leads here, and here leads to NARROW, with the components in use in EAX, if bits 511:256 of
 * ZMM0-15 are zero in the host's registers and in zmm[], else to DONE.
 */
static void emit_spill_evex(Emitter *e, uint8_t *more, const uint8_t *only_x87, const uint8_t *narrow,
                            const uint8_t *done)
{
    uint8_t *not_top;

    land_here(e, more);
    test_byte(e, TX(live), LIVE_EVEX);
    emit_jcc(e, CC_Z_, only_x87);
    emit_zmm(e, 0x7f, 16, ZMM_TOP);
    test_byte(e, TX(live), LIVE_TOP);
    not_top = jump_ahead(e, CC_Z_);
    emit_zmm(e, 0x7f, ZMM_TOP, 32);
    land_here(e, not_top);
    byte_imm(e, 0x80, 4, TX(live), (uint8_t)~LIVE_VECTORS);
    for (unsigned n = 0; n < 8; n++) {
        emit_kmov(e, 0x91, n);
    }
    if (narrow) {
        emit_xinuse(e);
        emit_rr(e, 0, false, 0x8b, H_RDX, H_RAX);
        emit_alu_imm(e, false, 4, H_RDX, 0x40);                 /* bits 511:256 of ZMM0-15 */
        emit_rm(e, 0, false, 0x0a, H_RDX, TX(zmm_upper));       /* or dl */
        emit_jcc(e, CC_Z_, narrow);
        emit_rr(e, 0, false, 0xc1, 5, H_RAX);                   /* shr eax, 6 */
        emit8(e, 6);
        emit_alu_imm(e, false, 4, H_RAX, 1);
        emit_rm(e, 0, false, 0x88, H_RAX, TX(zmm_upper));
    } else {
        byte_imm(e, 0xc6, 0, TX(zmm_upper), 1);
    }
    emit_zmm(e, 0x7f, 0, 16);
    emit_vzeroupper(e);
    byte_imm(e, 0xc6, 0, TX(upper_zero), 0);
    byte_imm(e, 0xc6, 0, TX(upper_unknown), 1);
    emit_jmp(e, done);
}

/* Callable, guest RAX RCX RDX already saved: the way back. */
static const uint8_t *emit_spill_simd(Emitter *e)
{
    const uint8_t *start = emit_here(e), *only_x87, *narrow = NULL, *end;
    uint8_t *wide = NULL, *clean, *done = NULL, *more;

    byte_imm(e, 0x80, 4, TX(live), (uint8_t)~LIVE_SIMD);
    more = jump_ahead(e, CC_NZ_);
    only_x87 = emit_here(e);
    if (has_xgetbv_1()) {
        emit_xinuse(e);
        narrow = emit_here(e);
        emit_bytes(e, "\xa8\x04", 2);           /* test al, 4: upper halves */
        wide = jump_ahead(e, CC_NZ_);
        for (unsigned n = 0; n < 16; n++) {
            emit_rm(e, 0, false, 0x0f11, n, vector_slot(n, 0));
        }
        byte_imm(e, 0x80, 7, TX(upper_zero), 0);
        clean = jump_ahead(e, CC_NZ_);
        emit_rr(e, 0, false, 0x0f57, 0, 0);     /* xorps xmm0, xmm0 */
        for (unsigned n = 0; n < 16; n++) {
            emit_rm(e, 0, false, 0x0f11, 0, vector_slot(n, 16));
        }
        byte_imm(e, 0xc6, 0, TX(upper_zero), 1);
        byte_imm(e, 0xc6, 0, TX(upper_unknown), 0);
        land_here(e, clean);
        done = jump_ahead(e, NO_COND);
        land_here(e, wide);
    }
    for (unsigned n = 0; n < 16; n++) {
        emit_vmovdqu(e, 0x7f, n, vector_slot(n, 0));
    }
    emit_vzeroupper(e);
    byte_imm(e, 0xc6, 0, TX(upper_zero), 0);
    byte_imm(e, 0xc6, 0, TX(upper_unknown), 1);                 /* in use, but perhaps zero */
    if (done) {
        land_here(e, done);
    }
    end = emit_here(e);
    emit_rm(e, 0, false, 0x0fae, 3, CPU(x87.mxcsr));            /* stmxcsr */
    emit_rm(e, 0, false, 0x0fae, 2, TX(host_mxcsr));
    emit8(e, 0xc3);
    if (simd_host_has(X86_FEAT_AVX512F)) {
        emit_spill_evex(e, more, only_x87, narrow, end);
    } else {
        emit_patch(more, e->rx, only_x87);
    }
    return start;
}

/* mov [cc], RFLAGS; RAX has been saved. */
static void save_flags(Emitter *e)
{
    emit_bytes(e, "\x9f\x0f\x90\xc0", 4);       /* lahf; seto al */
    emit_rm(e, 0x66, false, 0x89, H_RAX, CPU(cc));
}

static void save_registers(Emitter *e)
{
    for (unsigned i = 0; i < sizeof(saved); i++) {
        emit_store(e, tcg_gpr_slot(saved[i]), tcg_host_reg[saved[i]]);
    }
}

/* To the C stack with everything saved. */
static void to_c(Emitter *e, bool flags, const uint8_t *spill)
{
    uint8_t *skip;

    emit_store(e, tcg_gpr_slot(R_RAX), H_RAX);
    if (flags) {
        save_flags(e);
    }
    save_registers(e);
    emit_store(e, TX(return_stack), H_RSP);
    emit_load(e, H_RSP, TX(c_stack));
    test_byte(e, TX(live), LIVE_SIMD);
    skip = emit_short(e, 0x70 | CC_Z_);
    emit_call(e, spill);
    emit_land(e, skip);
}

static void leave_c(Emitter *e)
{
    emit_alu_imm(e, true, 0, H_RSP, 8);
    emit_bytes(e, "\x41\x5f\x41\x5e\x41\x5d\x41\x5c\x5d\x5b\xc3", 11);
}

static void call_c(Emitter *e, const void *fn)
{
    emit_load(e, H_RDI, TX(self));
    emit_rr(e, 0, false, 0x8b, H_RSI, H_R14);
    emit_mov_imm(e, H_RAX, (uintptr_t)fn);
    emit_bytes(e, "\xff\xd0", 2);
}

/* After call_c(): RAX says where to go on. */
static void come_back(Emitter *e, const uint8_t *go)
{
    uint8_t *leave;

    emit_rr(e, 0, true, 0x85, H_RAX, H_RAX);
    leave = emit_short(e, 0x70 | CC_Z_);
    emit_store(e, TX(resume), H_RAX);
    emit_jmp(e, go);
    emit_land(e, leave);
    leave_c(e);
}

/* Into translated code at tx.resume. */
static const uint8_t *emit_go(Emitter *e, const TcgStubs *s)
{
    const uint8_t *start = emit_here(e);
    uint8_t *stay, *unwanted, *narrow, *no_top;

    test_byte(e, TX(kicked), 1);
    stay = emit_short(e, 0x70 | CC_Z_);
    leave_c(e);
    emit_land(e, stay);
    test_byte(e, TX(want), LIVE_SIMD);
    unwanted = emit_short(e, 0x70 | CC_Z_);
    emit_call(e, s->need_simd);
    test_byte(e, TX(want), LIVE_EVEX);
    narrow = emit_short(e, 0x70 | CC_Z_);
    emit_call(e, s->need_evex);
    test_byte(e, TX(want), LIVE_TOP);
    no_top = emit_short(e, 0x70 | CC_Z_);
    emit_call(e, s->need_top);
    emit_land(e, unwanted);
    emit_land(e, narrow);
    emit_land(e, no_top);
    emit_load(e, H_RSP, TX(return_stack));
    emit_rm(e, 0, false, 0x0fb7, H_RAX, CPU(cc));
    emit_bytes(e, "\x04\x7f\x9e", 3);           /* add al, 127; sahf */
    for (unsigned i = 0; i < sizeof(saved); i++) {
        emit_load(e, tcg_host_reg[saved[i]], tcg_gpr_slot(saved[i]));
    }
    emit_load(e, H_RAX, tcg_gpr_slot(R_RAX));
    emit_load(e, H_R15, TX(r15));
    emit_rm(e, 0, false, 0xff, 4, TX(resume));
    return start;
}

static const uint8_t *emit_helper(Emitter *e, bool flags, const void *fn, const uint8_t *spill,
                                  const uint8_t *go)
{
    const uint8_t *start = emit_here(e);

    to_c(e, flags, spill);
    call_c(e, fn);
    come_back(e, go);
    return start;
}

HostMem tcg_emit_jump_probe(Emitter *e, const uint8_t *miss)
{
    const size_t jumps = offsetof(X86Cpu, tx.jumps);

    emit_mov(e, H_R14, H_R13);
    emit_rm(e, 0, true, 0x33, H_R14, TX(jump_tag));             /* xor */
    emit_rr(e, 0, false, 0x69, H_R15, H_R14);                   /* imul r15d, r14d, K */
    emit32(e, TCG_JUMP_HASH);
    emit_rr(e, 0, false, 0xc1, 5, H_R15);                       /* shr r15d, 16 */
    emit8(e, 16);
    emit_alu_imm(e, false, 4, H_R15, ((1 << X86_JUMP_BITS) - 1) << 4);
    emit_rm(e, 0, true, 0x3b, H_R14, HOST_GS_INDEX(H_R15, jumps));
    emit_jcc(e, CC_NZ_, miss);
    return HOST_GS_INDEX(H_R15, jumps + offsetof(X86Jump, code));
}

void tcg_emit_jump_table(Emitter *e, const uint8_t *miss, bool call)
{
    emit_rm(e, 0, false, 0xff, call ? 2 : 4, tcg_emit_jump_probe(e, miss));
}

static void emit_lookups(TcgStubs *s, Emitter *e, const uint8_t *spill, const uint8_t *go)
{
    HostMem code;

    s->lookup = emit_here(e);
    emit_store(e, CPU(rip), H_R13);
    emit_helper(e, false, tcg_helper_lookup, spill, go);
    s->again = emit_here(e);
    emit_store(e, CPU(rip), H_R13);
    emit_helper(e, false, tcg_helper_again, spill, go);
    s->again_flags = emit_here(e);
    emit_store(e, CPU(rip), H_R13);
    emit_helper(e, true, tcg_helper_again, spill, go);
    s->indirect = emit_here(e);
    tcg_emit_jump_table(e, s->lookup, false);
    s->indirect_flags = emit_here(e);
    code = tcg_emit_jump_probe(e, s->lookup);
    emit_mov(e, H_R13, H_RAX);
    emit_rm(e, 0, false, 0x0fb7, H_RAX, CPU(cc));
    emit_bytes(e, "\x04\x7f\x9e", 3);           /* add al, 127; sahf */
    emit_mov(e, H_RAX, H_R13);
    emit_rm(e, 0, false, 0xff, 4, code);
    s->underflow = emit_here(e);                /* flags: dead, or there */
    emit_load(e, H_RSP, TX(return_stack_base));
    emit_jmp(e, s->indirect_flags);
}

static const uint8_t *emit_miss(Emitter *e, bool flags, const void *fn, const uint8_t *spill,
                                const uint8_t *go)
{
    const uint8_t *start = emit_here(e);

    emit_store(e, TX(miss_off), H_R14);
    emit_store(e, TX(miss_set), H_R15);
    emit_mov(e, H_R14, H_R13);
    emit_helper(e, flags, fn, spill, go);
    return start;
}

void tcg_emit_stubs(Translator *tr, Emitter *e)
{
    TcgStubs *s = &tr->stubs;
    const uint8_t *spill, *go;

    emit_needs(s, e);
    spill = emit_spill_simd(e);
    go = emit_go(e, s);

    s->enter = (void (*)(X86Cpu *, const void *))(uintptr_t)emit_here(e);
    emit_bytes(e, "\x53\x55\x41\x54\x41\x55\x41\x56\x41\x57", 10);
    emit_alu_imm(e, true, 5, H_RSP, 8);
    emit_store(e, TX(c_stack), H_RSP);
    emit_store(e, TX(resume), H_RSI);
    emit_jmp(e, go);

    s->leave = emit_here(e);
    to_c(e, true, spill);
    leave_c(e);

    s->insn = emit_helper(e, false, tcg_helper_insn, spill, go);
    s->insn_flags = emit_helper(e, true, tcg_helper_insn, spill, go);
    s->miss[0] = emit_miss(e, false, tcg_helper_miss_read, spill, go);
    s->miss[1] = emit_miss(e, false, tcg_helper_miss_write, spill, go);
    s->miss_flags[0] = emit_miss(e, true, tcg_helper_miss_read, spill, go);
    s->miss_flags[1] = emit_miss(e, true, tcg_helper_miss_write, spill, go);
    s->group = emit_miss(e, true, tcg_helper_group, spill, go);
    s->range = emit_miss(e, false, tcg_helper_range, spill, go);
    s->range_flags = emit_miss(e, true, tcg_helper_range, spill, go);
    s->link = emit_helper(e, true, tcg_helper_link, spill, go);
    s->need_x87 = emit_helper(e, false, tcg_helper_need, spill, go);
    emit_lookups(s, e, spill, go);
    tcg_emit_string_stubs(s, e);
    tcg_emit_crossing_stubs(s, e);
    s->end = emit_here(e);
}
