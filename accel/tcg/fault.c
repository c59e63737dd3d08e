/* SPDX-License-Identifier: MIT */
/*
 * Signals in translated code.
 *
 * Faults (#DE, #GP of an unaligned operand, #MF, #XM arrive as SIGFPE, SIGSEGV): nothing the guest sees has
 * changed when a host instruction faults, so the guest instruction is left to the interpreter, which raises the
 * guest's exception.  A full return stack (SIGSEGV in its guard page) starts again from empty.
 *
 * Kicks: the handler leaves translated code at an instruction boundary.  Where the state is that
 * of the instruction's start it rolls back to there; elsewhere it lets the host single-step
 * (SIGTRAP) to the next boundary, a few instructions away.  In C, `kicked` is seen on the way back.
 *
 * Thread rule: handlers touch their own thread's CPU only; everything they call is lock-free.
 */
#include "accel/tcg/translator.h"

#include <asm/prctl.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/crash.h"
#include "base/error.h"
#include "target-x86/hostop.h"

#define ALT_STACK_BYTES (64u << 10)
#define EFL_TF 0x100

static __thread X86Cpu *own_cpu;
static __thread void *alt_stack;
static struct sigaction old_action[NSIG];

#define KICK_SIGNAL SIGUSR2

/* `unexecuted` instructions of a block that was entered are not run. */
static void leave_code(X86Cpu *cpu, ucontext_t *uc, uint64_t pc, unsigned unexecuted)
{
    TcgCpu *tc = tcg_cpu(cpu);

    tc->unexecuted = unexecuted;

    cpu->rip = pc & cpu->lin_mask;
    tc->stepping = false;
    uc->uc_mcontext.gregs[REG_EFL] &= ~EFL_TF;
    uc->uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)tc->tr->stubs.leave;
}

static void step_on(X86Cpu *cpu, ucontext_t *uc)
{
    tcg_cpu(cpu)->stepping = true;
    uc->uc_mcontext.gregs[REG_EFL] |= EFL_TF;
}

/* In the stubs of REP MOVS and REP STOS, which move a page at most; then `kicked` is looked at. */
static bool is_in_string(const Translator *tr, const uint8_t *pc)
{
    return pc >= tr->stubs.copy && pc < tr->stubs.string_end;
}

/* Leave at once if this is a boundary or can be rolled back to one; else single-step. */
static void stop_at_boundary(X86Cpu *cpu, ucontext_t *uc)
{
    TcgCpu *tc = tcg_cpu(cpu);
    const uint8_t *pc = (const uint8_t *)uc->uc_mcontext.gregs[REG_RIP];
    const TcgBlock *block;
    const TcgInsn *insn;
    uint32_t at;
    unsigned n;

    if (!tcg_in_code(tc->tr, pc) || is_in_string(tc->tr, pc)) { /* stepped into C, or into what asks soon */
        tc->stepping = false;
        cpu->tx.kicked = 1;
        uc->uc_mcontext.gregs[REG_EFL] &= ~EFL_TF;
        return;
    }
    block = tcg_block_at(tc->tr, pc, &n);
    if (!block) {
        cpu->tx.kicked = 1;     /* on the way to or from C */
        step_on(cpu, uc);
        return;
    }
    insn = &block->insns[n];
    at = pc - block->code;
    if (insn->flags & TI_SHADOW) {
        step_on(cpu, uc);
    } else if (pc == block->code || pc == block->code_direct) {
        leave_code(cpu, uc, block->pc, 0);
    } else if (at == insn->host) {
        leave_code(cpu, uc, block->pc + insn->guest, block->count - n);
    } else if (at > insn->host && at <= insn->host + insn->op && !(insn->flags & TI_SAVES_FLAGS)) {
        leave_code(cpu, uc, block->pc + insn->guest, block->count - n);
    } else {
        step_on(cpu, uc);
    }
}

static void chain(int sig, siginfo_t *info, void *context)
{
    const struct sigaction *old = &old_action[sig];

    if (old->sa_flags & SA_SIGINFO) {
        old->sa_sigaction(sig, info, context);
    } else if (old->sa_handler != SIG_DFL && old->sa_handler != SIG_IGN) {
        old->sa_handler(sig);
    } else if (old->sa_handler == SIG_DFL) {
        signal(sig, SIG_DFL);   /* the instruction faults again */
    }
}

static bool is_full_return_stack(const TcgCpu *tc, const siginfo_t *info)
{
    uintptr_t address = (uintptr_t)info->si_addr, low = (uintptr_t)tc->stack;

    return info->si_code != SI_KERNEL && address >= low && address < low + sysconf(_SC_PAGESIZE);
}

/* The instruction that runs at PC, in its block or, a store to two pages, out of line; NULL: it is none. */
static const TcgBlock *block_at(const X86Cpu *cpu, const uint8_t *pc, unsigned *n)
{
    Translator *tr = tcg_cpu(cpu->tx.self)->tr;
    const TcgBlock *block = tcg_block_at(tr, pc, n);

    if (!block && pc >= tr->stubs.end && cpu->tx.crossing.site) {
        *n = cpu->tx.crossing.site % TCG_BLOCK_MAX;
        block = tcg_named(tr, cpu->tx.crossing.site & ~(TCG_BLOCK_MAX - 1));
    }
    return block;
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
    X86Cpu *cpu = own_cpu;
    ucontext_t *uc = context;
    const uint8_t *pc = (const uint8_t *)uc->uc_mcontext.gregs[REG_RIP];
    const TcgBlock *block;
    TcgCpu *tc;
    unsigned n;

    if (!cpu || !(tc = tcg_cpu(cpu)) || !tcg_in_code(tc->tr, pc)) {
        chain(sig, info, context);
        return;
    }
    if (sig == SIGSEGV && is_full_return_stack(tc, info)) {
        uc->uc_mcontext.gregs[REG_RSP] = cpu->tx.return_stack_base;
        return;
    }
    block = block_at(cpu, pc, &n);
    if (!block) {
        chain(sig, info, context);
        return;
    }
    tc->interpret_one = true;
    cpu->interrupt_shadow = block->insns[n].flags & TI_SHADOW;
    leave_code(cpu, uc, block->pc + block->insns[n].guest, block->count - n);
}

static void on_trap(int sig, siginfo_t *info, void *context)
{
    X86Cpu *cpu = own_cpu;

    if (cpu && tcg_cpu(cpu) && tcg_cpu(cpu)->stepping) {
        stop_at_boundary(cpu, context);
    } else {
        chain(sig, info, context);
    }
}

static void on_kick(int sig, siginfo_t *info, void *context)
{
    X86Cpu *cpu = own_cpu;
    ucontext_t *uc = context;
    TcgCpu *tc = cpu ? tcg_cpu(cpu) : NULL;

    if (!tc || tc->stepping) {
        return;
    }
    if (!tcg_in_code(tc->tr, (const void *)uc->uc_mcontext.gregs[REG_RIP])) {
        cpu->tx.kicked = 1;
    } else if (tcg_wants_attention(cpu)) {
        stop_at_boundary(cpu, uc);
    }
}

static bool catch(int sig, void (*handler)(int, siginfo_t *, void *), GError **error)
{
    struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART };

    sigemptyset(&action.sa_mask);
    if (sigaction(sig, &action, &old_action[sig])) {
        return error_set_errno(error, errno, "Cannot handle signal %d", sig);
    }
    return true;
}

bool tcg_signals_init(GError **error)
{
    static bool done;

    if (done) {
        return true;
    }
    /* Its handler of SIGFPE first, so that ours passes on what is not ours. */
    done = host_op_init(error) && catch(SIGSEGV, on_fault, error) && catch(SIGBUS, on_fault, error) &&
           catch(SIGFPE, on_fault, error) && catch(SIGILL, on_fault, error) &&
           catch(SIGTRAP, on_trap, error) && catch(KICK_SIGNAL, on_kick, error);
    return done;
}

bool tcg_thread_bind(X86Cpu *cpu, GError **error)
{
    stack_t stack = { .ss_size = ALT_STACK_BYTES };
    sigset_t set;

    if (!alt_stack) {
        alt_stack = g_malloc(ALT_STACK_BYTES);
        stack.ss_sp = alt_stack;
        if (sigaltstack(&stack, NULL)) {
            return error_set_errno(error, errno, "Cannot set a signal stack");
        }
    }
    sigemptyset(&set);
    sigaddset(&set, SIGSEGV);
    sigaddset(&set, SIGBUS);
    sigaddset(&set, SIGFPE);
    sigaddset(&set, SIGILL);
    sigaddset(&set, SIGTRAP);
    sigaddset(&set, KICK_SIGNAL);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    if (syscall(SYS_arch_prctl, ARCH_SET_GS, cpu)) {
        return error_set_errno(error, errno, "Cannot set the GS base");
    }
    own_cpu = cpu;
    crash_set_guest_rip(&cpu->rip);
    return true;
}

X86Cpu *tcg_own_cpu(void)
{
    return own_cpu;
}

void tcg_thread_unbind(void)
{
    stack_t stack = { .ss_flags = SS_DISABLE };

    own_cpu = NULL;
    crash_set_guest_rip(NULL);
    if (alt_stack) {
        sigaltstack(&stack, NULL);
        g_clear_pointer(&alt_stack, g_free);
    }
}

void tcg_kick(X86Cpu *cpu)
{
    TcgCpu *tc = tcg_cpu(cpu);

    if (tc && atomic_load(&tc->in_code)) {
        syscall(SYS_tgkill, tc->pid, tc->tid, KICK_SIGNAL);     /* pthread_kill() makes four of it */
    }
}
