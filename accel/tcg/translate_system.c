/* SPDX-License-Identifier: MIT */
/*
 * Privileged instructions and those on system flags that kernels run all the time, without C.
 * Privilege and CPUID have been checked by the decoder for the block's mode.
 * Spec: SDM2 CLI, STI, STAC, CLAC, SWAPGS, RDFSBASE, PUSHF, POPF, PAUSE, RDTSC, MOV from CRn.
 * Locking: translate_int.h.
 */
#include "accel/tcg/translate_int.h"

#include "target-x86/bus.h"
#include "target-x86/sem.h"

#define GS_BASE CPU(segs[SEG_GS].base)
#define FS_BASE CPU(segs[SEG_FS].base)

enum { GROUP_OR = 1, GROUP_AND = 4, GROUP_SUB = 5 };

/* or/and dword gs:[...], imm32; RFLAGS are lost. */
static void flag_word(Emitter *e, unsigned op, HostMem mem, uint32_t imm)
{
    emit_rm(e, 0, false, 0x81, op, mem);
    emit32(e, imm);
}

static const uint8_t *change_eflags(Translation *t, unsigned op, uint32_t imm)
{
    const uint8_t *start;

    tcg_begin_flags(t);
    start = emit_here(&t->hot);
    flag_word(&t->hot, op, CPU(eflags), imm);
    tcg_end_flags(t);
    return start;
}

static const uint8_t *emit_cli(Translation *t, const Insn *insn)
{
    return change_eflags(t, GROUP_AND, ~(uint32_t)FLAG_IF);
}

static const uint8_t *emit_sti(Translation *t, const Insn *insn)
{
    return change_eflags(t, GROUP_OR, FLAG_IF);
}

void tcg_emit_shadow_end(Translation *t, uint64_t rip, unsigned live)
{
    Emitter *e = &t->hot;

    if (live) {
        tcg_save_flags(e);
    }
    emit_rm(e, 0, false, 0x83, 7, CPU(requests));
    emit8(e, 0);
    emit_jcc(e, COND_NE, emit_here(&t->cold));
    emit_mov_imm(&t->cold, H_R13, rip);
    emit_jmp(&t->cold, t->tr->stubs.again);
    if (live) {
        tcg_load_flags(e);
    }
}

static const uint8_t *emit_cld(Translation *t, const Insn *insn)
{
    return change_eflags(t, GROUP_AND, ~(uint32_t)FLAG_DF);
}

static const uint8_t *emit_std(Translation *t, const Insn *insn)
{
    return change_eflags(t, GROUP_OR, FLAG_DF);
}

static const uint8_t *emit_swapgs(Translation *t, const Insn *insn)
{
    Emitter *e = &t->hot;
    const uint8_t *op;

    emit_load(e, H_R13, GS_BASE);
    emit_load(e, H_R14, CPU(msrs.kernel_gs_base));
    op = emit_here(e);
    emit_store(e, GS_BASE, H_R14);
    emit_store(e, CPU(msrs.kernel_gs_base), H_R13);
    return op;
}

static const uint8_t *emit_read_base(Translation *t, const Insn *insn)
{
    unsigned dst = tcg_host_reg[insn->op[0].reg];
    HostMem base = insn->sem == sem_rdgsbase ? GS_BASE : FS_BASE;
    const uint8_t *op;

    emit_rm(&t->hot, 0, insn->op[0].size == 8, 0x8b, dst == H_NONE ? H_R13 : dst, base);
    op = NULL;
    if (dst == H_NONE) {
        op = emit_here(&t->hot);
        emit_store(&t->hot, tcg_gpr_slot(insn->op[0].reg), H_R13);
    }
    return op;
}

/* The mode word is part of what a block is looked up by: this one ends, the next is of another mode. */
static const uint8_t *emit_smap(Translation *t, const Insn *insn)
{
    Emitter *e = &t->hot;
    bool set = insn->sem == sem_stac;
    const uint8_t *op;
    uint8_t *over;

    tcg_begin_flags(t);
    emit_rm(e, 0, false, 0xf7, 0, CPU(cr4));
    emit32(e, CR4_SMAP);
    emit_jcc(e, COND_E, tcg_cold_helper(t));
    op = emit_here(e);
    flag_word(e, set ? GROUP_OR : GROUP_AND, CPU(eflags), set ? FLAG_AC : ~(uint32_t)FLAG_AC);
    emit_rm(e, 0, false, 0xc7, 0, CPU(mode));
    emit32(e, set ? t->mode | MODE_SMAP_AC : t->mode & ~(uint32_t)MODE_SMAP_AC);
    emit_rm(e, 0, false, 0xc6, 0, CPU(mmu_idx));
    emit8(e, set ? X86_MMU_KERNEL_AC : X86_MMU_KERNEL);
    /* The other tag; or one that no entry of the jump table has, so that C finds it. */
    emit_rm(e, 0, false, 0x81, 7, TX(smap_mode));
    emit32(e, t->mode & ~(uint32_t)MODE_SMAP_AC);
    emit_load(e, H_R14, TX(smap_tag[set]));
    over = emit_short(e, 0x70 | COND_E);
    emit_mov_imm(e, H_R14, ~0ull);
    emit_land(e, over);
    emit_store(e, TX(jump_tag), H_R14);
    tcg_end_flags(t);
    tcg_emit_exit(t, tcg_next_pc(t, t->n));
    return op;
}

/* In virtual-8086 mode with IOPL 3 only. */
static bool flags_are_plain(const Translation *t, const Insn *insn)
{
    return t->wide ? insn->op_size == 8 : !(t->mode & MODE_VM86) || (t->mode & MODE_IOPL);
}

static const uint8_t *emit_pushf(Translation *t, const Insn *insn)
{
    unsigned width = insn->op_size;
    Emitter *e = &t->hot;
    const uint8_t *op;
    HostMem mem;

    emit8(e, 0x9c);                                             /* pushf; pop [scratch] */
    emit_rm(e, 0, false, 0x8f, 0, TX(scratch));
    tcg_begin_flags(t);
    mem = tcg_stack_operand(t, -(int)width, width, true);
    emit_load(e, H_R13, TX(scratch));
    emit_alu_imm(e, false, 4, H_R13, FLAGS_ARITH);
    emit_rm(e, 0, false, 0x0b, H_R13, CPU(eflags));
    emit_alu_imm(e, false, 4, H_R13, ~(FLAG_RF | FLAG_VM));
    emit_alu_imm(e, false, 1, H_R13, FLAG_ONE);
    op = emit_here(e);
    emit_rm(e, width == 2 ? 0x66 : 0, width == 8, 0x89, H_R13, mem);
    tcg_end_flags(t);
    tcg_move_stack(t, -(int)width);
    return op;
}

static bool is_narrow(const Translation *t, const Insn *insn)
{
    return !t->wide;
}

/* Of the flags that are not arithmetic IF and DF only may change, else C does it. An interrupt may have waited for IF. */
static const uint8_t *emit_popf(Translation *t, const Insn *insn)
{
    uint32_t others = FLAG_TF | FLAG_IOPL | FLAG_NT | (insn->op_size == 4 ? FLAG_RF | FLAG_AC | FLAG_ID : 0);
    unsigned width = insn->op_size;
    Emitter *e = &t->hot;
    const uint8_t *op;
    HostMem mem;

    tcg_begin_flags(t);
    mem = tcg_stack_operand(t, 0, width, false);
    emit_rm(e, 0, false, width == 2 ? 0x0fb7 : 0x8b, H_R13, mem);
    emit_rr(e, 0, false, 0x8b, H_R15, H_R13);
    emit_rm(e, 0, false, 0x33, H_R15, CPU(eflags));
    emit_rr(e, 0, false, 0xf7, 0, H_R15);                       /* test */
    emit32(e, others);
    emit_jcc(e, COND_NE, tcg_cold_helper(t));
    emit_alu_imm(e, false, 4, H_R15, FLAG_IF | FLAG_DF);
    op = emit_here(e);
    emit_rm(e, 0, false, 0x31, H_R15, CPU(eflags));             /* xor */
    tcg_flags_to_cc(e);
    tcg_move_stack(t, width);
    emit_rm(e, 0, false, 0x83, 7, CPU(requests));
    emit8(e, 0);
    emit_jcc(e, COND_NE, emit_here(&t->cold));
    emit_mov_imm(&t->cold, H_R13, tcg_next_pc(t, t->n));
    emit_jmp(&t->cold, t->tr->stubs.again);
    if (t->live[t->n + 1]) {
        tcg_load_flags(e);
    }
    return op;
}

static bool base_is_register(const Translation *t, const Insn *insn)
{
    return is_gpr(insn, 1);
}

/* A canonical address: [SDM2 WRFSBASE]. */
static const uint8_t *emit_write_base(Translation *t, const Insn *insn)
{
    unsigned sign = 64 - t->cpu->virt_bits;
    bool wide = insn->op[1].size == 8;
    Emitter *e = &t->hot;
    const uint8_t *op;

    tcg_begin_flags(t);
    emit_rr(e, 0, wide, 0x8b, H_R14, tcg_source(t, insn->op[1].reg, H_R14));
    if (wide) {
        emit_mov(e, H_R15, H_R14);
        emit_rr(e, 0, true, 0xc1, 4, H_R15);                    /* shl, sar */
        emit8(e, sign);
        emit_rr(e, 0, true, 0xc1, 7, H_R15);
        emit8(e, sign);
        emit_rr(e, 0, true, 0x3b, H_R15, H_R14);
        emit_jcc(e, COND_NE, tcg_cold_helper(t));
    }
    op = emit_here(e);
    emit_store(e, insn->sem == sem_wrgsbase ? GS_BASE : FS_BASE, H_R14);
    tcg_end_flags(t);
    return op;
}

static bool selector_to_register(const Translation *t, const Insn *insn)
{
    return is_gpr(insn, 0) && insn->op[1].kind == OPK_SEG;
}

static const uint8_t *emit_mov_selector(Translation *t, const Insn *insn)
{
    unsigned dst = tcg_host_reg[insn->op[0].reg];
    HostMem sel = HOST_GS(offsetof(X86Cpu, segs) + insn->op[1].reg * sizeof(X86Seg) +
                          offsetof(X86Seg, sel));
    const uint8_t *op;

    if (insn->op[0].size == 2) {        /* the rest of the register stays */
        emit_rm(&t->hot, 0, false, 0x0fb7, H_R13, sel);
        op = emit_here(&t->hot);
        if (dst == H_NONE) {
            emit_rm(&t->hot, 0x66, false, 0x89, H_R13, tcg_gpr_slot(insn->op[0].reg));
        } else {
            emit_rr(&t->hot, 0x66, false, 0x8b, dst, H_R13);
        }
        return op;
    }
    emit_rm(&t->hot, 0, false, 0x0fb7, dst == H_NONE ? H_R13 : dst, sel);
    op = NULL;
    if (dst == H_NONE) {
        op = emit_here(&t->hot);
        emit_store(&t->hot, tcg_gpr_slot(insn->op[0].reg), H_R13);
    }
    return op;
}

static bool is_plain_control_register(const Translation *t, const Insn *insn)
{
    return insn->op[1].reg <= 4 && insn->op[1].reg != 1;
}

static const uint8_t *emit_mov_from_cr(Translation *t, const Insn *insn)
{
    static const size_t at[] = { [0] = offsetof(X86Cpu, cr0), [2] = offsetof(X86Cpu, cr2),
                                 [3] = offsetof(X86Cpu, cr3), [4] = offsetof(X86Cpu, cr4) };
    unsigned dst = tcg_host_reg[insn->op[0].reg];
    const uint8_t *op = NULL;

    emit_load(&t->hot, dst == H_NONE ? H_R13 : dst, HOST_GS(at[insn->op[1].reg]));
    if (dst == H_NONE) {
        op = emit_here(&t->hot);
        emit_store(&t->hot, tcg_gpr_slot(insn->op[0].reg), H_R13);
    }
    return op;
}

static bool tsc_is_host(const Translation *t, const Insn *insn)
{
    return !(t->mode & MODE_TSD) && (!t->cpu->bus->tsc || t->cpu->bus->tsc_line);
}

static const uint8_t *emit_rdtsc(Translation *t, const Insn *insn)
{
    Emitter *e = &t->hot;
    const uint8_t *op;

    emit_mov_imm(e, H_R13, 32);
    emit_load(e, H_R14, TX(tsc_base));
    emit_load(e, H_R15, CPU(tsc_offset));
    emit_rm(e, 0, true, 0x8d, H_R14, HOST_AT(H_R14, H_R15));    /* lea: flags are kept */
    op = emit_here(e);
    if (insn->sem == sem_rdtscp) {
        emit_bytes(e, "\x0f\x01\xf9", 3);
        emit_rm(e, 0, false, 0x8b, H_RCX, CPU(msrs.tsc_aux));
    } else {
        emit_bytes(e, "\x0f\x31", 2);
    }
    emit_bytes(e, "\xc4\xe2\x91\xf7\xd2", 5);                  /* shlx rdx, rdx, r13 */
    emit_rm(e, 0, true, 0x8d, H_RAX, HOST_AT(H_RAX, H_RDX));
    emit_rm(e, 0, true, 0x8d, H_RAX, HOST_AT(H_RAX, H_R14));
    emit_bytes(e, "\xc4\xe3\xfb\xf0\xd0\x20", 6);             /* rorx rdx, rax, 32 */
    emit_rr(e, 0, false, 0x8b, H_RDX, H_RDX);
    emit_rr(e, 0, false, 0x8b, H_RAX, H_RAX);
    return op;
}

static const uint8_t *emit_rdpkru(Translation *t, const Insn *insn)
{
    const uint8_t *otherwise = tcg_cold_helper(t), *op;
    Emitter *e = &t->hot;

    tcg_begin_flags(t);
    emit_rr(e, 0, false, 0x85, H_RCX, H_RCX);
    emit_jcc(e, COND_NE, otherwise);
    emit_rm(e, 0, false, 0xf7, 0, CPU(cr4));
    emit32(e, CR4_PKE);
    emit_jcc(e, COND_E, otherwise);
    tcg_end_flags(t);
    op = emit_here(e);
    emit_rm(e, 0, false, 0x8b, H_RAX, CPU(pkru));
    emit_mov_imm(e, H_RDX, 0);
    return op;
}

/* C has a look now and then: it may be another virtual CPU that this one waits for, and that is not running. */
static const uint8_t *emit_pause(Translation *t, const Insn *insn)
{
    Emitter *e = &t->hot;
    const uint8_t *op;

    tcg_begin_flags(t);
    emit_bytes(e, "\xf3\x90", 2);
    emit_rm(e, 0, false, 0x83, GROUP_SUB, TX(pauses));
    emit8(e, 1);
    emit_jcc(e, COND_S, tcg_cold_helper(t));
    op = emit_here(e);
    tcg_end_flags(t);
    return op;
}

typedef struct SystemRow {
    SemFn *sem;
    const uint8_t *(*emit)(Translation *t, const Insn *insn);
    uint32_t mode;              /* MODE_* that must all be set */
    bool goes_on;               /* the row has A_END, but code goes on in the block */
    bool (*allowed)(const Translation *t, const Insn *insn);    /* NULL: always */
} SystemRow;

/* clang-format off */
static const SystemRow rows[] = {
    { sem_cli,      emit_cli,       MODE_IOPL,            false },
    { sem_sti,      emit_sti,       MODE_IOPL,            true },
    { sem_swapgs,   emit_swapgs,    MODE_CS64,            true },
    { sem_rdfsbase, emit_read_base, MODE_CS64,            false },
    { sem_rdgsbase, emit_read_base, MODE_CS64,            false },
    { sem_stac,     emit_smap,      MODE_CS64,            false },
    { sem_clac,     emit_smap,      MODE_CS64,            false },
    { sem_pushf,    emit_pushf,     0,                    false, flags_are_plain },
    { sem_popf,     emit_popf,      MODE_IOPL,            true,  is_narrow },
    { sem_pause,    emit_pause,     0,                    true },
    { sem_cld,      emit_cld,       0,                    false },
    { sem_std,      emit_std,       0,                    false },
    { sem_rdtsc,    emit_rdtsc,     0,                    false, tsc_is_host },
    { sem_rdtscp,   emit_rdtsc,     0,                    false, tsc_is_host },
    { sem_rdpkru,   emit_rdpkru,    0,                    false },
    { sem_wrfsbase, emit_write_base, MODE_CS64,           false, base_is_register },
    { sem_wrgsbase, emit_write_base, MODE_CS64,           false, base_is_register },
    { sem_mov,      emit_mov_selector, 0,                 false, selector_to_register },
    { sem_mov_from_cr, emit_mov_from_cr, MODE_CS64,       false, is_plain_control_register },
    { sem_mov_seg,  tcg_emit_segment_load, MODE_PLAIN_SEGS, true, tcg_segment_load_is_native },
    { sem_pop_seg,  tcg_emit_segment_load, MODE_PLAIN_SEGS, true, tcg_segment_load_is_native },
    { sem_lxs,      tcg_emit_segment_load, MODE_PLAIN_SEGS, true, tcg_segment_load_is_native },
    { sem_jmpf,     tcg_emit_far,   MODE_PLAIN_SEGS,      false, tcg_far_is_native },
    { sem_callf,    tcg_emit_far,   MODE_PLAIN_SEGS,      false, tcg_far_is_native },
    { sem_retf,     tcg_emit_far,   MODE_PLAIN_SEGS,      false, tcg_far_is_native },
    { sem_syscall,  tcg_emit_syscall, MODE_CS64,          false, tcg_syscall_is_native },
    { sem_sysret,   tcg_emit_sysret, MODE_CS64,           false, tcg_syscall_is_native },
    { sem_iret,     tcg_emit_iret,  MODE_CS64,            false, tcg_iret_is_native },
};
/* clang-format on */

/* By row of the instruction tables: 1 + the row above, or 0. */
uint8_t *tcg_system_index(void)
{
    uint8_t *index = g_new0(uint8_t, insn_row_count);

    for (unsigned n = 0; n < insn_row_count; n++) {
        for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
            if (insn_rows[n].sem == rows[i].sem) {
                index[n] = i + 1;
            }
        }
    }
    return index;
}

static const SystemRow *find_row(const Translation *t, const Insn *insn)
{
    unsigned n = insn->def ? t->tr->system_index[insn->def - insn_rows] : 0;
    const SystemRow *row;

    if (n == 0 || !t->tr->opt.system || insn == &t->insns[t->plain_sti]) {
        return NULL;
    }
    row = &rows[n - 1];
    return (t->mode & row->mode) == row->mode && (!row->allowed || row->allowed(t, insn)) ? row : NULL;
}

bool tcg_system_is_native(const Translation *t, const Insn *insn)
{
    return find_row(t, insn);
}

bool tcg_system_goes_on(const Translation *t, const Insn *insn)
{
    const SystemRow *row = find_row(t, insn);

    return row && row->goes_on;
}

const uint8_t *tcg_emit_system(Translation *t, const Insn *insn)
{
    return find_row(t, insn)->emit(t, insn);
}
