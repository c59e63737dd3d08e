/* SPDX-License-Identifier: MIT */
/*
 * The run loop around translated code.
 *
 * Interrupts, faults and everything unusual are dealt with in C, between instructions; code that cannot be
 * translated (tcg_mode_is_translatable(), code outside RAM) and single steps are the interpreter's.
 * Locking: the vCPU's thread; what may raise holds nothing.
 */
#include "accel/tcg/run_int.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "base/thread.h"
#include "target-x86/bus.h"
#include "target-x86/interp.h"
#include "target-x86/sem.h"
#include "target-x86/tlb_contexts.h"

#define RETURN_STACK_BYTES (256u << 10)
#define XSAVE_BYTES 1024

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
TcgBlock *tcg_find(X86Cpu *cpu, uint32_t flavour)
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
const void *tcg_code_at_rip(X86Cpu *cpu, TcgBlock **found)
{
    X86Jump *slot;
    TcgBlock *block;
    uint64_t key;

    cpu->eflags &= ~FLAG_RF;    /* only breakpoints care, and they have been excluded */
    tcg_update_tag(cpu);
    key = tcg_pc(cpu) ^ cpu->tx.jump_tag;
    slot = tcg_jump_slot(cpu, key);
    if (!found && slot->key == key) {
        tcg_prepare_state(cpu, 0);
        return slot->code;
    }
    block = tcg_find(cpu, 0);
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
    tcg_prepare_state(cpu, 0);
    return block->code;
}

const void *tcg_go_on(X86Cpu *cpu)
{
    return tcg_wants_attention(cpu) ? NULL : tcg_code_at_rip(cpu, NULL);
}

/* ---- the loop ---------------------------------------------------------------------------------------------- */

/* After enter(), or out of what it called. */
static void left(X86Cpu *cpu)
{
    TcgCpu *tc = tcg_cpu(cpu);

    if (tc->tr->opt.icount && atomic_load(&tc->in_code)) {
        tcg_give_back(cpu);
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
    tcg_x87_save(cpu);
    tcg_forget_upper(cpu);
    tcg_forget_fast(cpu);
    run(cpu);
}

/*
 * STI; HLT, a kernel's idle loop, of 64-bit code: done here if that is what comes next.  The interpreter might do anything, and what
 * SYSCALL, SYSRET and IRET come to is forgotten behind it.
 */
static bool halt_behind_sti(X86Cpu *cpu)
{
    const X86TlbPhys *page = &cpu->tlb_phys[X86_MMU_KERNEL][x86_tlb_index(cpu->rip)];

    if ((cpu->mode & (MODE_CS64 | MODE_CPL | MODE_TF | MODE_DEBUG)) != MODE_CS64 || tcg_cpu(cpu)->interpret_one ||
        page->va != (cpu->rip & ~4095ull) || !(page->perm & BIT(X86_EXEC)) || !page->host ||
        page->host[cpu->rip & 4095] != 0xf4) {
        return false;
    }
    cpu->eflags &= ~FLAG_RF;
    cpu->interrupt_shadow = false;
    cpu->rip++;
    cpu->insn_count++;
    sem_hlt(cpu, NULL);
    return true;
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
        return tcg_code_at_rip(cpu, NULL);
    }
    code = tcg_code_at_rip(cpu, &block);
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
            tcg_x87_save(cpu);
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
            if (cpu->interrupt_shadow && halt_behind_sti(cpu)) {
                continue;
            }
            tc->interpret_one = false;
            interpret(cpu, interp_run_careful);
            continue;
        }
        if (tcg_wants_attention(cpu)) {
            continue;
        }
        code = tc->tr->opt.icount ? code_within_limit(cpu) : tcg_code_at_rip(cpu, NULL);
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
    if (sigsetjmp(here, 0)) {
        left(cpu);
        interp_unwound(cpu);
    }
    if (cpu->event.pending && !interp_deliver(cpu)) {
        exit = X86_EXIT_TRIPLE_FAULT;
    } else {
        exit = run_loop(cpu);
    }
    tcg_x87_save(cpu);
    tcg_forget_upper(cpu);
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
    cpu->settle = tcg_x87_save;
    cpu->tx.self = cpu;
    cpu->tx.return_stack_base = cpu->tx.return_stack = base;
    cpu->tx.host_mxcsr = 0x1f80;
    cpu->tx.live = 0;
    cpu->tx.smap_mode = ~0u;
    tcg_forget_upper(cpu);
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
    tc->pid = getpid();
    tc->tid = thread_self_tid();
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
