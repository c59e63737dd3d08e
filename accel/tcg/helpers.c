/* SPDX-License-Identifier: MIT */
/*
 * What translated code calls: instructions in C, TLB misses, groups, ranges, links, look-ups.  Each returns where to go
 * on, or NULL to leave.  docs/devel/translator.md.
 * Locking: the vCPU's thread; Translator.lock and .graph where code is made or linked.
 */
#include "accel/tcg/run_int.h"

#include <string.h>

#include "target-x86/interp.h"
#include "target-x86/ranges.h"
#include "target-x86/sem.h"

static const Insn *decoded_insn(TcgCpu *tc, const TcgBlock *block, uint32_t site)
{
    unsigned slot = (site ^ site >> 6 ^ site >> 14) % ARRAY_LEN(tc->decoded);
    const TcgInsn *at = &block->insns[site % TCG_BLOCK_MAX];
    Insn *insn = &tc->decoded[slot].insn;
    DecodeResult result;

    if (tc->decoded[slot].site != site) {
        result = insn_decode(insn, block->guest + at->guest, block->bytes - at->guest, block->mode,
                             tc->cpu);
        if (result != DECODE_OK) {
            insn->fault = result == DECODE_TOO_LONG ? VEC_GP : VEC_UD;
        }
        if (!(block->mode & MODE_FLAT_CS) && !tcg_is_within(block->limit, block->pc + at->guest, insn->len)) {
            insn->fault = VEC_GP;
        }
        tc->decoded[slot].site = site;
    }
    return insn;
}

/* Strings come back to themselves after each chunk. */
static void run_sem(X86Cpu *cpu, const Insn *insn)
{
    uint64_t next = cpu->next_rip;

    for (;;) {
        insn->sem(cpu, insn);
        if (cpu->next_rip != cpu->rip || cpu->rip == next || tcg_wants_attention(cpu) ||
            !(insn->def->attrs & A_MULTI)) {
            return;
        }
        cpu->next_rip = next;
    }
}

/* Where the range begins that the group's first access, INSN, has checked. */
static uint64_t group_start(X86Cpu *cpu, const Insn *insn, const TcgLink *link)
{
    unsigned width = cpu->mode & MODE_CS64 ? 8 : 4;
    uint64_t at;

    if (link->group.access == ACCESS_STACK) {
        bool down = insn->sem == sem_push || insn->sem == sem_call || insn->sem == sem_call_ind;

        at = cpu->gpr[insn->sem == sem_leave ? R_RBP : R_RSP] - (down ? width : 0);
    } else {
        at = insn_offset(cpu, insn);
        if (width == 8 && (insn->seg == SEG_FS || insn->seg == SEG_GS)) {
            at += cpu->segs[insn->seg].base;
        }
    }
    return (at - link->group.lead) & cpu->lin_mask;
}

static bool leads_group(const TcgLink *link, unsigned n)
{
    return link->group.span && link->group.insn == n;
}

/* Fill the slot of the group for what follows in the block: false when its range is not one page of RAM. */
static bool fill_group(X86Cpu *cpu, TcgLink *link, uint64_t start)
{
    uint8_t *host = link->group.write
                        ? x86_tlb_write(cpu, start, link->group.span, cpu->mmu_idx)
                        : x86_tlb_read(cpu, start, link->group.span, cpu->mmu_idx);

    cpu->tx.group[link->group.slot] = (uintptr_t)host - link->group.offset;
    link->group.misses += !host && link->group.misses < UINT8_MAX;
    return host;
}

/* At rip, code that checks each access by itself; NULL: leave. */
static const void *go_on_checked(X86Cpu *cpu)
{
    TcgBlock *block;

    tcg_update_tag(cpu);
    block = tcg_find(cpu, MODE_EACH_CHECKED);
    tcg_prepare_state(cpu, 0);
    return block ? block->code : NULL;
}

/* icount: what has been paid for at the entry of a block and is not run. */
void tcg_give_back(X86Cpu *cpu)
{
    TcgCpu *tc = tcg_cpu(cpu);

    cpu->tx.budget += tc->unexecuted;
    tc->unexecuted = 0;
}

/* Where instruction N begins, for the state that is there, with what the block has found so far. */
static const void *resume(X86Cpu *cpu, const TcgBlock *block, unsigned n)
{
    unsigned group = block->insns[n].flags >> TI_GROUP_SHIFT;

    if (group) {
        cpu->tx.r15 = cpu->tx.group[group - 1];
    }
    tcg_prepare_state(cpu, block->needs);
    return block->code + block->insns[n].host;
}

/* Instruction N by its semantic function, and on with the next. */
static const void *run_insn(X86Cpu *cpu, const TcgBlock *block, unsigned n)
{
    TcgCpu *tc = tcg_cpu(cpu);
    const Insn *insn = decoded_insn(tc, block, tcg_name(tc->tr, block) | n);
    uint32_t tlb_gen = cpu->tlb_gen;
    uint64_t next, starts[2];
    unsigned groups = 0;

    cpu->rip = (block->pc + block->insns[n].guest) & cpu->lin_mask;
    next = cpu->next_rip = (cpu->rip + insn->len) & cpu->lin_mask;
    cpu->insn = insn;
    tc->unexecuted = block->count - n;
    if (insn->fault != FAULT_NONE) {
        cpu_raise(cpu, insn->fault, 0);
    }
    for (unsigned i = 0; i < block->link_count; i++) {
        if (leads_group(&block->links[i], n)) {
            starts[groups++] = group_start(cpu, insn, &block->links[i]);
        }
    }
    if (tcg_touches_x87(insn)) {
        tcg_x87_save(cpu);
    }
    if (tcg_touches_upper(insn)) {
        tcg_forget_upper(cpu);  /* now: a gather that faults does not come back here */
    }
    if (insn->sem == sem_pause) {
        tcg_pause(cpu);
    } else if (insn->sem == sem_syscall || insn->sem == sem_sysret) {
        tcg_run_syscall(cpu, insn);
    } else if (insn->sem == sem_iret) {
        tcg_run_iret(cpu, insn);
    } else {
        run_sem(cpu, insn);
        if (tcg_changes_system(insn)) {
            tcg_forget_fast(cpu);
        } else if (insn->sem == sem_mov_to_cr) {
            tcg_update_fast(cpu);
        }
    }
    if (cpu->next_rip != cpu->rip || !(insn->def->attrs & A_MULTI)) {
        tc->unexecuted--;       /* else it comes again */
    }
    cpu->rip = cpu->next_rip;
    if (cpu->rip != next || (insn->def->attrs & A_END) || cpu->tlb_gen != tlb_gen ||
        tcg_wants_attention(cpu)) {
        tcg_give_back(cpu);
        return tcg_go_on(cpu);
    }
    for (unsigned i = block->link_count; groups > 0 && i-- > 0;) {
        if (leads_group(&block->links[i], n) && !fill_group(cpu, &block->links[i], starts[--groups])) {
            return go_on_checked(cpu);
        }
    }
    return resume(cpu, block, n + 1);
}

const void *tcg_helper_insn(X86Cpu *cpu, uint32_t site)
{
    return run_insn(cpu, tcg_named(tcg_cpu(cpu)->tr, site & ~(TCG_BLOCK_MAX - 1)), site % TCG_BLOCK_MAX);
}

/*
 * The address that missed in the second place of its page; false: another thread has poisoned the tag since.  It can only have
 * become X86_TLB_POISON_TAG, which belongs to a page of another set.
 */
static bool missed_address(const X86Cpu *cpu, bool write, uint64_t *va)
{
    unsigned set = cpu->tx.miss_set / sizeof(X86TlbEntry);
    const X86TlbEntry *e = &cpu->tlb[cpu->mmu_idx][set];

    *va = cpu->tx.miss_off ^ __atomic_load_n(write ? &e->tag_w : &e->tag_r, __ATOMIC_RELAXED);
    return x86_tlb_second(x86_tlb_index(*va)) == set;
}

/* What has come of an access that missed the TLB, at VA. */
typedef struct Missed {
    uint64_t va;
    uint32_t code;              /* of the page fault that is due, or X86_NO_PAGE_FAULT */
} Missed;

/*
 * Find the page and let the instruction start again, unless that would miss once more: two pages,
 * MMIO, a page with code or under watch, a fault.
 */
static bool refill(X86Cpu *cpu, bool write, Missed *missed)
{
    X86Access access = write ? X86_WRITE : X86_READ;
    const X86TlbPhys *p;
    X86TlbEntry *e;
    uint32_t code;

    missed->code = X86_NO_PAGE_FAULT;
    if (!missed_address(cpu, write, &missed->va)) {
        return false;
    }
    p = &cpu->tlb_phys[cpu->mmu_idx][x86_tlb_index(missed->va)];
    e = &cpu->tlb[cpu->mmu_idx][x86_tlb_index(missed->va)];
    if (p->va == (missed->va & ~4095ull) && (p->perm & BIT(access))) {
        return false;           /* it is there: something else is in the way */
    }
    if (!x86_mmu_try_fill(cpu, missed->va, access, cpu->mmu_idx, &code)) {
        missed->code = code;
        return false;
    }
    return (missed->va ^ (write ? e->tag_w : e->tag_r)) < 4096;
}

/* The page fault of its one access is the first thing that can go wrong: nothing is aligned, divided or pending. */
static bool faults_by_access_only(const X86Cpu *cpu, const Insn *insn)
{
    const uint64_t others = A_X87 | A_WAIT | A_MMX | A_SSE | A_AVX | A_EVEX | A_ALIGN | A_LEGALIGN | A_VSIB | A_IMPLICIT | A_SYS |
                            A_CTRL | A_MULTI | A_IO | A_FLAGS_IN_SYS;

    if ((cpu->mode & (MODE_CS64 | MODE_ALIGN)) != MODE_CS64 || insn->fault != FAULT_NONE || (insn->def->attrs & others) ||
        insn_has_mem(insn) == !!(insn->def->attrs & A_STACK)) {
        return false;
    }
    /* A bit string's bit may lie elsewhere. */
    return insn->sem != sem_bt && insn->sem != sem_bts && insn->sem != sem_btr && insn->sem != sem_btc;
}

/* Instruction N of the block raises a page fault; where its handler is. */
static const void *deliver_page_fault(X86Cpu *cpu, const TcgBlock *block, unsigned n, const Missed *missed)
{
    cpu->rip = (block->pc + block->insns[n].guest) & cpu->lin_mask;
    cpu->event = (X86Event){ .vector = VEC_PF, .pending = true, .has_code = true, .code = missed->code,
                             .payload = missed->va };
    return interp_deliver(cpu) ? tcg_go_on(cpu) : NULL;     /* it is the first of its chain: true */
}

/* Instruction N of the block starts again. */
static const void *again(X86Cpu *cpu, const TcgBlock *block, unsigned n)
{
    TcgCpu *tc = tcg_cpu(cpu);

    cpu->rip = (block->pc + block->insns[n].guest) & cpu->lin_mask;    /* for a kick on the way back */
    tc->refills++;
    tc->unexecuted = block->count - n;
    return resume(cpu, block, n);
}

static const void *miss(X86Cpu *cpu, uint32_t site, bool write)
{
    TcgCpu *tc = tcg_cpu(cpu);
    const TcgBlock *block = tcg_named(tc->tr, site & ~(TCG_BLOCK_MAX - 1));
    unsigned n = site % TCG_BLOCK_MAX;
    Missed missed;

    tc->misses++;
    if (block->insns[n].flags & TI_SHADOW) {    /* not to be left here */
        return tcg_helper_insn(cpu, site);
    }
    if (refill(cpu, write, &missed)) {
        return again(cpu, block, n);
    }
    if (missed.code != X86_NO_PAGE_FAULT && tc->tr->opt.events && !tc->tr->opt.icount &&
        faults_by_access_only(cpu, decoded_insn(tc, block, site))) {
        return deliver_page_fault(cpu, block, n, &missed);
    }
    return tcg_helper_insn(cpu, site);
}

const void *tcg_helper_miss_read(X86Cpu *cpu, uint32_t site)
{
    return miss(cpu, site, false);
}

const void *tcg_helper_miss_write(X86Cpu *cpu, uint32_t site)
{
    return miss(cpu, site, true);
}

enum { PATIENCE_EMPTY = 256, PATIENCE_FULL = 4096 };

/*
 * A read lies outside its range, again and again if that is there: look for a better one, or let it go by the TLB
 * from now on.
 */
const void *tcg_helper_range(X86Cpu *cpu, uint32_t site)
{
    Translator *tr = tcg_cpu(cpu)->tr;
    TcgBlock *block = tcg_named(tr, site & ~(TCG_BLOCK_MAX - 1));
    const TcgInsn *insn = &block->insns[site % TCG_BLOCK_MAX];
    uint64_t va = cpu->tx.miss_off, gpa = block->gpa + insn->guest;
    unsigned slot = cpu->tx.miss_set, better = tcg_range_slot(cpu, gpa, va);
    X86Range *range = &cpu->tx.ranges[cpu->mmu_idx][slot];
    bool full = range->len, found = x86_range_fill(cpu, cpu->mmu_idx, better, va);

    range->patience = full ? PATIENCE_FULL : PATIENCE_EMPTY;
    if (found ? better != slot : full) {
        tr->site_range[tcg_site_hash(gpa)] = found ? better + 1 : TCG_NOT_IN_RANGE;
        tcg_block_kill(tr, block);
    }
    if (insn->flags & TI_SHADOW) {      /* not to be left here */
        return tcg_helper_insn(cpu, site);
    }
    return again(cpu, block, site % TCG_BLOCK_MAX);
}

/*
 * May all that leave by the link go on with the block?  Not if a return has led there in another mode than its CALL had.
 * STAC and CLAC lead to the other one of their own.
 */
static bool same_mode(const TcgLink *link, const TcgBlock *block)
{
    return !((link->from->mode ^ block->mode) & ~(uint32_t)(MODE_SMAP_AC | MODE_EACH_CHECKED));
}

/*
 * The range of a group is not in the TLB, or not one page of RAM.  Run its first instruction and see; where that
 * keeps failing (an object across two pages), the check leads straight to the other flavour.
 */
const void *tcg_helper_group(X86Cpu *cpu, uint32_t name)
{
    Translator *tr = tcg_cpu(cpu)->tr;
    TcgLink *link = tcg_named(tr, name);
    const TcgBlock *from = link->from;
    TcgBlock *block;
    Missed missed;

    if (link->group.refill && refill(cpu, link->group.write, &missed) &&
        !(from->insns[link->group.insn].flags & TI_SHADOW)) {
        return again(cpu, from, link->group.insn);
    }
    if (link->group.misses < GROUP_MISSES) {
        return run_insn(cpu, from, link->group.insn);
    }
    cpu->rip = link->target & cpu->lin_mask;
    if (tcg_wants_attention(cpu)) {
        return NULL;
    }
    tcg_update_tag(cpu);
    block = tcg_find(cpu, MODE_EACH_CHECKED);
    if (!block) {
        return NULL;
    }
    if (same_mode(link, block)) {
        tcg_link_to(tr, link, block);
    }
    tcg_prepare_state(cpu, 0);
    return block->code;
}

/* A function boundary that flags do cross: from now on they are kept everywhere. */
static void flags_cross_functions(X86Cpu *cpu)
{
    Translator *tr = tcg_cpu(cpu)->tr;

    tr->exact_flags = true;
    tr->flush_wanted = true;
}

const void *tcg_helper_link(X86Cpu *cpu, uint32_t name)
{
    Translator *tr = tcg_cpu(cpu)->tr;
    TcgLink *link = tcg_named(tr, name);
    TcgBlock *block = NULL;
    const void *code;

    tcg_cpu(cpu)->unexecuted = 0;
    cpu->rip = link->target & cpu->lin_mask;
    if (tcg_wants_attention(cpu)) {
        return NULL;
    }
    code = tcg_code_at_rip(cpu, &block);
    if (block && link->function && (block->flags_read & ~link->flags)) {
        flags_cross_functions(cpu);
    } else if (block && !link->function && (block->flags_in & ~link->flags)) {
        tcg_block_kill(tr, link->from);         /* the code it led to has changed */
    } else if (block && same_mode(link, block)) {
        tcg_link_to(tr, link, block);
    }
    return code;
}

const void *tcg_helper_lookup(X86Cpu *cpu)
{
    Translator *tr = tcg_cpu(cpu)->tr;
    TcgBlock *block = NULL;
    const void *code;

    tcg_cpu(cpu)->unexecuted = 0;
    cpu->rip &= cpu->lin_mask;  /* it was a PC */
    if (tcg_wants_attention(cpu)) {
        return NULL;
    }
    code = tcg_code_at_rip(cpu, &block);
    if (block && block->flags_read && !tcg_is_exact(tr, block->mode)) {
        flags_cross_functions(cpu);
    }
    return code;
}

const void *tcg_helper_again(X86Cpu *cpu)
{
    TcgCpu *tc = tcg_cpu(cpu);
    TcgBlock *block;

    tc->unexecuted = 0;
    cpu->rip &= cpu->lin_mask;  /* it was a PC */
    if (tcg_wants_attention(cpu) || (tc->tr->opt.icount && cpu->tx.budget < TCG_BLOCK_MAX)) {
        return NULL;
    }
    return tcg_code_at_rip(cpu, &block);
}

const void *tcg_helper_need(X86Cpu *cpu, uint32_t name)
{
    const TcgBlock *block = tcg_named(tcg_cpu(cpu)->tr, name);

    cpu->rip = block->pc & cpu->lin_mask;       /* for a kick that stops us on the way back */
    tcg_cpu(cpu)->unexecuted = block->count;
    tcg_prepare_state(cpu, block->needs);
    if (block->gpa2) {
        return block->code + block->insns[0].host;
    }
    tcg_give_back(cpu);             /* code_live takes it once more */
    return block->code_live;
}
