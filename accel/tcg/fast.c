/* SPDX-License-Identifier: MIT */
/*
 * What translated code does without C because it is known what comes of it: the tags that indirect jumps look up by, and
 * what SYSCALL, SYSRET and IRET came to the last time they ran in C.
 * Locking: the vCPU's thread; may raise where the semantic functions do.
 */
#include "accel/tcg/translator.h"

#include "target-x86/sem.h"

/* A number nobody can guess from others of the sequence: splitmix64's finalizer, one to one. */
static uint64_t new_tag(TcgCpu *tc)
{
    uint64_t x = ++tc->next_tag;

    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

/* Any 64-bit number may be looked up, not only canonical addresses: hence tags as random as that. */
static uint64_t tag_of(X86Cpu *cpu, uint32_t mode)
{
    TcgCpu *tc = tcg_cpu(cpu);
    bool user = (mode & MODE_CPL) == 3;
    uint32_t generation = cpu->tx.generation[user];
    uint32_t limit = tcg_limit(cpu, mode);
    unsigned slot = (mode ^ mode >> 6 ^ mode >> 15 ^ mode >> 21 ^ generation * 6) & (ARRAY_LEN(tc->tags[0]) - 1);
    TcgTag *tag = &tc->tags[user][slot];

    if (tag->mode != mode || tag->generation != generation || tag->limit != limit || !tag->tag) {
        *tag = (TcgTag){ mode, generation, limit, new_tag(tc) };
        for (unsigned n = 0; n < ARRAY_LEN(cpu->tx.fast); n++) {
            if (cpu->tx.fast[n].mode == mode) {
                cpu->tx.fast[n].jump_tag = tag->tag;
                cpu->tx.fast[n].generation = generation;
            }
        }
    }
    return tag->tag;
}

/*
 * A return address on the host's stack leads to code that was decoded for the mode of the CALL, though a RET of another
 * mode may name it, as where a function changes the mode.  Not those modes that change without C.
 */
static void check_return_stack(X86Cpu *cpu)
{
    const uint32_t same = MODE_CPL | MODE_SMAP_AC | MODE_IOPL | MODE_UMIP | MODE_TSD | MODE_PCE | MODE_FSGSBASE;
    uint32_t limit = tcg_limit(cpu, cpu->mode);
    TcgCpu *tc = tcg_cpu(cpu);

    if (((cpu->mode ^ tc->stack_mode) & ~same) || limit != tc->stack_limit) {
        cpu->tx.return_stack = cpu->tx.return_stack_base;
        tc->stack_mode = cpu->mode;
        tc->stack_limit = limit;
    }
}

void tcg_update_tag(X86Cpu *cpu)
{
    const uint32_t other = cpu->mode & ~(uint32_t)MODE_SMAP_AC;

    check_return_stack(cpu);
    cpu->tx.jump_tag = tag_of(cpu, cpu->mode);
    if (!(cpu->mode & MODE_CPL) && cpu->tx.smap_mode != other) {
        cpu->tx.smap_tag[0] = tag_of(cpu, other);
        cpu->tx.smap_tag[1] = tag_of(cpu, other | MODE_SMAP_AC);
        cpu->tx.smap_mode = other;
    }
}

/* ---- SYSCALL, SYSRET and IRET again: translate_syscall.c ---------------------------------------------- */

void tcg_forget_fast(X86Cpu *cpu)
{
    for (unsigned n = 0; n < X86_FAST_COUNT; n++) {
        cpu->tx.fast[n].from_mode = ~0u;
    }
}

/* Changes what SYSCALL, SYSRET and IRET come to, beside flags, segments and descriptors. */
bool tcg_changes_system(const Insn *insn)
{
    SemFn *s = insn->sem;

    return s == sem_wrmsr || (s == sem_mov_to_cr && insn->op[0].reg != 3) || s == sem_mov_to_dr || s == sem_lmsw ||
           s == sem_clts || s == sem_xsetbv || s == sem_rsm || s == sem_lgdt;
}

/* CR3 has been loaded: the code that they lead to is looked up by other tags. */
void tcg_update_fast(X86Cpu *cpu)
{
    for (unsigned n = 0; n < ARRAY_LEN(cpu->tx.fast); n++) {
        X86Fast *fast = &cpu->tx.fast[n];

        if (fast->from_mode != ~0u) {
            fast->jump_tag = tag_of(cpu, fast->mode);
            fast->generation = cpu->tx.generation[(fast->mode & MODE_CPL) == 3];
        }
    }
}

/* What came of the instruction just done in C, from MODE and FLAGS. */
static void write_down(X86Cpu *cpu, X86Fast *fast, uint32_t mode, uint32_t flags)
{
    tcg_update_tag(cpu);
    /* RF ends with the next instruction: without C nobody would see to that.  See code_at_rip(). */
    *fast = (X86Fast){ .from_mode = mode, .from_flags = flags, .mode = cpu->mode,
                       .eflags = cpu->eflags & ~(uint32_t)FLAG_RF, .rip = cpu->next_rip, .jump_tag = cpu->tx.jump_tag,
                       .generation = cpu->tx.generation[tcg_class_of(cpu)],
                       .cpl_and_idx = cpu->cpl | cpu->mmu_idx << 8,
                       .cs = cpu->segs[SEG_CS], .ss = cpu->segs[SEG_SS] };
    if (!(cpu->mode & MODE_CS64) || (cpu->mode & (MODE_TF | MODE_DEBUG))) {
        fast->from_mode = ~0u;
    }
}

void tcg_run_syscall(X86Cpu *cpu, const Insn *insn)
{
    X86Fast *fast = &cpu->tx.fast[insn->sem == sem_sysret ? X86_FAST_RET : X86_FAST_CALL];
    uint32_t mode = cpu->mode;
    uint32_t flags = insn->sem == sem_sysret ? cpu->gpr[R_R11] & TCG_SYSRET_FLAGS : cpu->eflags;

    insn->sem(cpu, insn);
    write_down(cpu, fast, mode, flags);
}

/* The eight bytes of a selector in the GDT, null or not; false: not in the TLB, or not there. */
static bool peek_descriptor(X86Cpu *cpu, uint16_t sel, uint64_t *raw)
{
    const uint8_t *host = x86_tlb_read(cpu, cpu->gdt.base + (sel & ~7u), 8, X86_MMU_KERNEL);

    if ((sel & 4) || !host) {
        return false;
    }
    memcpy(raw, host, 8);
    return true;
}

void tcg_run_iret(X86Cpu *cpu, const Insn *insn)
{
    const uint8_t *frame = x86_tlb_read(cpu, cpu->gpr[R_RSP], 40, cpu->mmu_idx);
    uint32_t mode = cpu->mode, flags = frame ? le32_load(frame + 16) & ~FLAGS_ARITH : 0;
    uint64_t cs, ss;
    X86Fast *fast;

    insn->sem(cpu, insn);
    if (!frame || cpu->plain_events || (mode & (MODE_CS64 | MODE_CPL)) != MODE_CS64 || (cpu->cpl != 0 && cpu->cpl != 3) ||
        !peek_descriptor(cpu, cpu->segs[SEG_CS].sel, &cs) || !peek_descriptor(cpu, cpu->segs[SEG_SS].sel, &ss)) {
        return;
    }
    fast = &cpu->tx.fast[cpu->cpl ? X86_FAST_IRET_USER : X86_FAST_IRET];
    write_down(cpu, fast, mode, flags);
    fast->cs_raw = cs;
    fast->ss_raw = ss;
}
