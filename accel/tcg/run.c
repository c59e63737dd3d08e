/* SPDX-License-Identifier: MIT */
/*
 * The run loop around translated code, and what translated code calls.
 *
 * Interrupts, faults and everything unusual are dealt with in C, between instructions; code that cannot be
 * translated (tcg_mode_is_translatable(), code outside RAM) and single steps are the interpreter's.
 * Locking: the vCPU's thread; helpers may raise, so they hold nothing.
 */
#include "accel/tcg/translator.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "target-x86/ranges.h"
#include "target-x86/bus.h"
#include "target-x86/interp.h"
#include "target-x86/sem.h"
#include "target-x86/tlb_contexts.h"

#define RETURN_STACK_BYTES (256u << 10)
#define XSAVE_BYTES 1024

/* ---- x87 and vector state ------------------------------------------------------------------------ */

/* FIP holds a host address after an instruction of ours: the guest's. */
static uint64_t guest_fip(const TcgCpu *tc, uint64_t fip)
{
    unsigned n;
    const TcgBlock *block = tcg_in_code(tc->tr, (const void *)(uintptr_t)fip)
                                ? tcg_block_at(tc->tr, (const uint8_t *)(uintptr_t)fip, &n) : NULL;

    return !block ? fip : block->mode & MODE_CS64 ? block->pc + block->insns[n].guest
                                                  : (uint32_t)(block->pc + block->insns[n].guest);
}

/* The x87 state into cpu->x87, and the host's back to what C expects. */
static void x87_save(X86Cpu *cpu)
{
    TcgCpu *tc = tcg_cpu(cpu);
    X87State *x87 = (X87State *)(void *)tc->xsave;
    bool ours;

    if (!(cpu->tx.live & LIVE_X87)) {
        return;
    }
    __asm__ volatile("fxsave64 (%0)\n\tfninit" : : "r"(tc->xsave) : "memory");
    x87->mxcsr = cpu->x87.mxcsr;
    x87->mxcsr_mask = cpu->x87.mxcsr_mask;
    ours = tcg_in_code(tc->tr, (const void *)(uintptr_t)x87->fip);
    x87->fip = guest_fip(tc, x87->fip);
    x87->fdp = ours ? 0 : x87->fdp;
    cpu->x87 = *x87;
    cpu->tx.live &= ~LIVE_X87;
}

static void x87_load(X86Cpu *cpu)
{
    uint8_t *area = tcg_cpu(cpu)->xsave;

    if (cpu->tx.live & LIVE_X87) {
        return;
    }
    memset(area + 512, 0, 64);
    area[512] = 1;              /* XSTATE_BV: x87 */
    memcpy(area, &cpu->x87, sizeof(cpu->x87));
    __asm__ volatile("xrstor64 (%0)" : : "r"(area), "a"(1), "d"(0) : "memory");
    cpu->tx.live |= LIVE_X87;
}

static void find_upper_zero(X86Cpu *cpu)
{
    uint64_t bits = 0;

    for (unsigned n = 0; n < 16; n++) {
        bits |= cpu->zmm[n].u64[2] | cpu->zmm[n].u64[3];
    }
    cpu->tx.upper_zero = bits == 0;
    cpu->tx.upper_unknown = false;
}

/* C has changed them, or may have. */
static void forget_upper(X86Cpu *cpu)
{
    cpu->tx.upper_zero = false;
    cpu->tx.upper_unknown = true;
}

static void prepare_state(X86Cpu *cpu, unsigned needs)
{
    cpu->tx.want = needs & LIVE_SIMD;
    if (needs & LIVE_X87) {
        x87_load(cpu);
    }
    if (!(cpu->tx.live & LIVE_SIMD) && cpu->tx.upper_unknown) {
        find_upper_zero(cpu);
    }
}

/* The semantic function looks at the x87's registers. */
static bool touches_x87(const Insn *insn)
{
    return (insn->def->attrs & (A_X87 | A_MMX | A_WAIT | A_OSXSAVE)) ||
           (insn->map == MAP_0F && (insn->opcode == 0xae || insn->opcode == 0xc7));
}

static bool touches_upper(const Insn *insn)
{
    return (insn->def->attrs & (A_AVX | A_OSXSAVE)) ||
           (insn->map == MAP_0F && (insn->opcode == 0xae || insn->opcode == 0xc7));
}

/* ---- where to go on -------------------------------------------------------------------------------- */

bool tcg_wants_attention(const X86Cpu *cpu)
{
    uint32_t requests = atomic_load_explicit((_Atomic uint32_t *)&cpu->requests,
                                             memory_order_relaxed);

    if (G_UNLIKELY(requests) &&
        ((requests & (X86_REQ_EXIT | X86_REQ_TLB_FLUSH)) || x86_has_work(cpu))) {
        return true;
    }
    return G_UNLIKELY(__atomic_load_n(&cpu->stop, __ATOMIC_RELAXED) || cpu->halted ||
                      cpu->wait_sipi || cpu->interrupt_shadow ||
                      (cpu->mode & (MODE_TF | MODE_DEBUG)) || tcg_cpu((X86Cpu *)cpu)->tr->flush_wanted);
}

static uint64_t linear_rip(X86Cpu *cpu)
{
    if (!(cpu->mode & MODE_CS64)) {
        if (cpu->rip > cpu->segs[SEG_CS].limit) {
            cpu_raise(cpu, VEC_GP, 0);
        }
        return (uint32_t)(cpu->segs[SEG_CS].base + cpu->rip);
    }
    if (!x86_is_canonical(cpu, cpu->rip)) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    return cpu->rip;
}

/* Addresses that only 5-level paging has: `itlb` has no room for them. */
static bool is_far_up(uint64_t va)
{
    return (uint64_t)(((int64_t)va >> 47) + 1) > 1;
}

static void note_code_page(X86Cpu *cpu, uint64_t va, uint64_t gpa)
{
    unsigned class = tcg_class_of(cpu), idx = class ? X86_MMU_USER : X86_MMU_KERNEL;
    bool global = cpu->tlb_phys[idx][x86_tlb_index(va)].attr & X86_PAGE_GLOBAL;

    cpu->tx.kernel_not_global |= !class && !global;
    cpu->tx.user_global |= class && global;
    if (gpa >> 40 || is_far_up(va)) {
        x86_itlb_lose(cpu, class, va);
        return;
    }
    x86_itlb_set(cpu, class, va, (va << 16 >> 28) << 28 | gpa >> 12);
}

/* The block at rip, translated if need be; NULL: the interpreter's turn.  May raise. */
static TcgBlock *find(X86Cpu *cpu, uint32_t flavour)
{
    Translator *tr = tcg_cpu(cpu)->tr;
    const uint8_t *host, *second;
    uint64_t va, gpa;
    TcgBlock *block;

    if (!tcg_mode_is_translatable(cpu->mode)) {
        return NULL;
    }
    va = linear_rip(cpu);
    if (is_far_up(va)) {
        return NULL;
    }
    gpa = x86_fetch_page(cpu, va, &host);
    if (!host) {
        return NULL;
    }
    block = tcg_block_lookup(tr, gpa, tcg_pc(cpu), cpu->mode | flavour, tcg_limit(cpu, cpu->mode));
    if (block && block->gpa2) {
        uint64_t next = ((va | 4095) + 1) & (cpu->mode & MODE_CS64 ? ~0ull : 0xffffffff);

        if (x86_fetch_page(cpu, next, &second) != block->gpa2) {
            tcg_block_kill(tr, block);
            block = NULL;
        } else {
            note_code_page(cpu, next, block->gpa2);
        }
    }
    if (!block) {
        block = tcg_translate(tr, cpu, flavour, va, gpa, host);
    }
    if (!block || block->dead) {
        return NULL;
    }
    x86_fetch_page(cpu, va, &host);     /* the second page may have taken its place in the TLB */
    note_code_page(cpu, va, gpa);
    return block;
}

/* The code for cpu->rip, or NULL when there is something else to do first. */
static const void *code_at_rip(X86Cpu *cpu, TcgBlock **found)
{
    X86Jump *slot;
    TcgBlock *block;
    uint64_t key;

    cpu->eflags &= ~FLAG_RF;    /* only breakpoints care, and they have been excluded */
    tcg_update_tag(cpu);
    key = tcg_pc(cpu) ^ cpu->tx.jump_tag;
    slot = tcg_jump_slot(cpu, key);
    if (!found && slot->key == key) {
        prepare_state(cpu, 0);
        return slot->code;
    }
    block = find(cpu, 0);
    if (!block) {
        return NULL;
    }
    /* An indirect jump that hits loses the flags: let such a block miss, so that it is seen. */
    if (tcg_cpu(cpu)->tr->opt.jump_table &&
        (!block->flags_read || tcg_is_exact(tcg_cpu(cpu)->tr, block->mode))) {
        slot->key = key;
        slot->code = block->code;
    }
    if (found) {
        *found = block;
    }
    prepare_state(cpu, 0);
    return block->code;
}

static const void *go_on(X86Cpu *cpu)
{
    return tcg_wants_attention(cpu) ? NULL : code_at_rip(cpu, NULL);
}

/* ---- called by translated code ------------------------------------------------------------------------- */

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

    cpu->tx.group[link->group.slot] = (uintptr_t)host;
    link->group.misses += !host && link->group.misses < UINT8_MAX;
    return host;
}

/* At rip, code that checks each access by itself; NULL: leave. */
static const void *go_on_checked(X86Cpu *cpu)
{
    TcgBlock *block;

    tcg_update_tag(cpu);
    block = find(cpu, MODE_EACH_CHECKED);
    prepare_state(cpu, 0);
    return block ? block->code : NULL;
}

/* icount: what has been paid for at the entry of a block and is not run. */
static void give_back(X86Cpu *cpu)
{
    TcgCpu *tc = tcg_cpu(cpu);

    cpu->tx.budget += tc->unexecuted;
    tc->unexecuted = 0;
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
    if (touches_x87(insn)) {
        x87_save(cpu);
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
    if (touches_upper(insn)) {
        forget_upper(cpu);
    }
    if (cpu->next_rip != cpu->rip || !(insn->def->attrs & A_MULTI)) {
        tc->unexecuted--;       /* else it comes again */
    }
    cpu->rip = cpu->next_rip;
    if (cpu->rip != next || (insn->def->attrs & A_END) || cpu->tlb_gen != tlb_gen ||
        tcg_wants_attention(cpu)) {
        give_back(cpu);
        return go_on(cpu);
    }
    for (unsigned i = block->link_count; groups > 0 && i-- > 0;) {
        if (leads_group(&block->links[i], n) && !fill_group(cpu, &block->links[i], starts[--groups])) {
            return go_on_checked(cpu);
        }
    }
    prepare_state(cpu, block->needs);
    return block->code + block->insns[n + 1].host;
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
    const uint64_t others = A_X87 | A_WAIT | A_MMX | A_SSE | A_AVX | A_ALIGN | A_LEGALIGN | A_VSIB | A_IMPLICIT | A_SYS |
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
    return interp_deliver(cpu) ? go_on(cpu) : NULL;     /* it is the first of its chain: true */
}

/* Instruction N of the block starts again. */
static const void *again(X86Cpu *cpu, const TcgBlock *block, unsigned n)
{
    TcgCpu *tc = tcg_cpu(cpu);

    cpu->rip = (block->pc + block->insns[n].guest) & cpu->lin_mask;    /* for a kick on the way back */
    tc->refills++;
    tc->unexecuted = block->count - n;
    prepare_state(cpu, block->needs);
    return block->code + block->insns[n].host;
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
    block = find(cpu, MODE_EACH_CHECKED);
    if (!block) {
        return NULL;
    }
    if (same_mode(link, block)) {
        tcg_link_to(tr, link, block);
    }
    prepare_state(cpu, 0);
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
    code = code_at_rip(cpu, &block);
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
    code = code_at_rip(cpu, &block);
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
    return code_at_rip(cpu, &block);
}

const void *tcg_helper_need(X86Cpu *cpu, uint32_t name)
{
    const TcgBlock *block = tcg_named(tcg_cpu(cpu)->tr, name);

    cpu->rip = block->pc & cpu->lin_mask;       /* for a kick that stops us on the way back */
    tcg_cpu(cpu)->unexecuted = block->count;
    prepare_state(cpu, block->needs);
    if (block->gpa2) {
        return block->code + block->insns[0].host;
    }
    give_back(cpu);             /* code_live takes it once more */
    return block->code_live;
}

/* ---- the loop ---------------------------------------------------------------------------------------------- */

/* After enter(), or out of what it called. */
static void left(X86Cpu *cpu)
{
    TcgCpu *tc = tcg_cpu(cpu);

    if (tc->tr->opt.icount && atomic_load(&tc->in_code)) {
        give_back(cpu);
        cpu->insn_count = cpu->insn_limit - cpu->tx.budget;
    }
    atomic_store(&tc->in_code, false);
}

static void enter(X86Cpu *cpu, const void *code)
{
    TcgCpu *tc = tcg_cpu(cpu);

    cpu->tx.kicked = 0;
    cpu->tx.budget = cpu->insn_limit - cpu->insn_count;
    tc->unexecuted = 0;
    atomic_store(&tc->in_code, true);
    if (!tcg_wants_attention(cpu)) {
        tc->tr->stubs.enter(cpu, code);
    }
    left(cpu);
}

uint64_t tcg_insn_count(const X86Cpu *cpu)
{
    const TcgCpu *tc = cpu->engine;

    return tc && atomic_load(&tc->in_code) ? cpu->insn_limit - cpu->tx.budget - tc->unexecuted
                                           : interp_insn_count(cpu);
}

/* One instruction, or one block, by the interpreter. */
static void interpret(X86Cpu *cpu, void (*run)(X86Cpu *cpu))
{
    x87_save(cpu);
    forget_upper(cpu);
    tcg_forget_fast(cpu);
    run(cpu);
}

static void flush_outside(TcgCpu *tc)
{
    Translator *tr = tc->tr;

    atomic_store(&tc->waiting, true);
    tcg_leave_gate(tr);
    tcg_flush_if_wanted(tr);
    tcg_enter_gate(tr);
    atomic_store(&tc->waiting, false);
}

/* icount: no block that would go beyond the limit. */
static const void *code_within_limit(X86Cpu *cpu)
{
    uint64_t left = cpu->insn_limit - cpu->insn_count;
    TcgBlock *block = NULL;
    const void *code;

    if (left >= TCG_BLOCK_MAX) {
        return code_at_rip(cpu, NULL);
    }
    code = code_at_rip(cpu, &block);
    return block && block->count <= left ? code : NULL;
}

static X86Exit run_loop(X86Cpu *cpu)
{
    TcgCpu *tc = tcg_cpu(cpu);
    X86Exit exit = X86_EXIT_KICK;
    const void *code;

    for (;;) {
        atomic_fetch_add(&tc->passes, 1);
        if (G_UNLIKELY(tc->tr->flush_wanted)) {
            flush_outside(tc);
        }
        if (G_UNLIKELY(atomic_load_explicit(&cpu->requests, memory_order_relaxed) || cpu->stop ||
                       cpu->halted || cpu->wait_sipi)) {
            x87_save(cpu);
            if (cpu->halted && !tcg_halt_is_over(cpu)) {
                tcg_halt_poll(cpu);
                if (tc->tr->flush_wanted) {
                    continue;
                }
            }
            if (atomic_load_explicit(&cpu->requests, memory_order_relaxed) & ~(uint32_t)X86_REQ_INTR) {
                tcg_forget_fast(cpu);
            }
            if (!interp_attend(cpu, &exit)) {
                return exit;
            }
        }
        if (tc->tr->opt.icount && cpu->insn_count >= cpu->insn_limit) {
            return X86_EXIT_LIMIT;
        }
        if (G_UNLIKELY((cpu->mode & (MODE_TF | MODE_DEBUG)) || cpu->interrupt_shadow ||
                       tc->interpret_one)) {
            tc->interpret_one = false;
            interpret(cpu, interp_run_careful);
            continue;
        }
        if (tcg_wants_attention(cpu)) {
            continue;
        }
        code = tc->tr->opt.icount ? code_within_limit(cpu) : code_at_rip(cpu, NULL);
        if (code) {
            enter(cpu, code);
        } else if (!tc->tr->flush_wanted) {
            interpret(cpu, interp_run_next);
        }
    }
}

/* It changes only while the CPU is stopped. */
static void find_tsc_base(X86Cpu *cpu)
{
    cpu->tx.tsc_base = 0;
    if (cpu->bus && cpu->bus->tsc && (!cpu->bus->tsc_line || !cpu->bus->tsc_line(cpu->bus_opaque, &cpu->tx.tsc_base))) {
        cpu->tx.tsc_base = cpu->bus->tsc(cpu->bus_opaque) - __builtin_ia32_rdtsc();
    }
}

X86Exit tcg_run(X86Cpu *cpu)
{
    sigjmp_buf here, *outer = cpu->unwind;
    TcgCpu *tc = tcg_cpu(cpu);
    X86Exit exit;

    if (log_enabled(LOG_EXEC | LOG_CPU) || !tc) {
        return interp_run(cpu);
    }
    tcg_enter_gate(tc->tr);
    tcg_slept(tc);
    tcg_forget_fast(cpu);
    find_tsc_base(cpu);
    atomic_store(&tc->running, true);
    cpu->unwind = &here;
    switch (sigsetjmp(here, 0)) {
    case UNWIND_EVENT:
        left(cpu);
        interp_unwound(cpu);
        break;
    case UNWIND_LEAVE:
        left(cpu);
        exit = X86_EXIT_KICK;
        goto out;
    }
    if (cpu->event.pending && !interp_deliver(cpu)) {
        exit = X86_EXIT_TRIPLE_FAULT;
    } else {
        exit = run_loop(cpu);
    }
out:
    x87_save(cpu);
    forget_upper(cpu);
    cpu->unwind = outer;
    atomic_store(&tc->running, false);
    tcg_leave_gate(tc->tr);
    return exit;
}

/* ---- life ------------------------------------------------------------------------------------------------------ */

bool tcg_attach_cpu(Translator *tr, X86Cpu *cpu, GError **error)
{
    TcgCpu *tc = g_new0(TcgCpu, 1);
    size_t page = sysconf(_SC_PAGESIZE);
    uint64_t base;

    tc->cpu = cpu;
    tc->tr = tr;
    tc->stack_size = RETURN_STACK_BYTES + page;
    tc->stack = mmap(NULL, tc->stack_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    tc->xsave = g_aligned_alloc0(1, XSAVE_BYTES, 64);
    if (tc->stack == MAP_FAILED || mprotect(tc->stack, page, PROT_NONE)) {
        return error_set_errno(error, errno, "Cannot map a return stack of %zu bytes",
                               tc->stack_size);
    }
    base = (uintptr_t)tc->stack + tc->stack_size - 64;
    memcpy((void *)(uintptr_t)base, &tr->stubs.underflow, sizeof(tr->stubs.underflow));
    cpu->engine = tc;
    cpu->settle = x87_save;
    cpu->tx.self = cpu;
    cpu->tx.return_stack_base = cpu->tx.return_stack = base;
    cpu->tx.host_mxcsr = 0x1f80;
    cpu->tx.live = 0;
    cpu->tx.smap_mode = ~0u;
    forget_upper(cpu);
    if (getrandom(&tc->next_tag, sizeof(tc->next_tag), 0) != sizeof(tc->next_tag)) {
        return error_set_errno(error, errno, "Cannot get random bytes");
    }
    x86_contexts_enable(cpu, tr->opt.contexts);
    tcg_forget_jumps(cpu);
    memset(cpu->tx.itlb, 0xff, sizeof(cpu->tx.itlb));
    g_mutex_lock(&tr->lock);
    g_mutex_lock(&tr->graph);
    g_ptr_array_add(tr->cpus, cpu);
    tr->exact_flags |= !tr->opt.dead_flags;
    g_mutex_unlock(&tr->graph);
    g_mutex_unlock(&tr->lock);
    tc->thread = pthread_self();
    return tcg_thread_bind(cpu, error);
}

void tcg_detach_cpu(X86Cpu *cpu)
{
    TcgCpu *tc = tcg_cpu(cpu);

    if (!tc) {
        return;
    }
    g_mutex_lock(&tc->tr->lock);
    g_mutex_lock(&tc->tr->graph);
    g_ptr_array_remove_fast(tc->tr->cpus, cpu);
    g_mutex_unlock(&tc->tr->graph);
    g_mutex_unlock(&tc->tr->lock);
    while (atomic_load(&tc->tr->waiters)) {     /* they may be looking at this one */
        sched_yield();
    }
    munmap(tc->stack, tc->stack_size);
    g_aligned_free(tc->xsave);
    g_free(tc);
    cpu->engine = NULL;
}
