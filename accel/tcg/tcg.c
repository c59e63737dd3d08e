/* SPDX-License-Identifier: MIT */
/*
 * The "tcg" accelerator: guest code in software, by the translator (translator.h) or, where the host
 * lacks what that needs, by the interpreter.  One thread per vCPU; turns.h keeps all but one of them waiting
 * where that is asked for.
 * Locking: vm/cpu.h; nothing is held while guest code runs.
 */

#include "accel/tcg/translator.h"
#include "accel/tcg/turns.h"
#include "base/error.h"
#include "base/log.h"
#include "target-x86/code.h"
#include "target-x86/exception.h"
#include "target-x86/interp.h"
#include "target-x86/x86_cpu.h"
#include "vm/accel.h"

typedef struct TcgAccel {
    Accel accel;
    Translator *tr;             /* NULL: interpreter only */
    Turns *turns;               /* NULL: all vCPUs at a time */
    bool translate;             /* x-translate */
    bool perf_map;              /* x-perfmap */
    int thread;                 /* index into thread_words */
    int icount;                 /* into icount_words */
    bool icount_sleep;
    uint32_t tb_size;           /* MiB of code */
    TcgOptions opt;
    LockstepOptions hash;
    Lockstep *lockstep;
} TcgAccel;

enum { THREAD_MULTI, THREAD_SINGLE };
static const char *const thread_words[] = { "multi", "single", NULL };
/* Index: shift + 2. */
static const char *const icount_words[] = { "off", "auto", "0", "1", "2", "3", "4", "5", "6", "7", "8",
                                            "9", "10", NULL };

/* Hashes of the state at exact counts want a count, and time that follows from it alone. */
static bool set_up_lockstep(TcgAccel *s, Vm *vm, int shift, GError **error)
{
    if (!s->hash.file) {
        return true;
    }
    if (shift < 0 || s->icount_sleep) {
        return error_set(error, "x-hash-file needs -icount shift=N,sleep=off with a number N");
    }
    s->lockstep = lockstep_new(vm, &s->hash, error);
    turns_set_lockstep(s->turns, s->lockstep);
    return s->lockstep;
}

static bool tcg_init_vm(Accel *accel, Vm *vm, GError **error)
{
    TcgAccel *s = (TcgAccel *)(void *)accel;
    X86CodeMap *map = x86_vm_code_map(vm);
    int shift = s->icount - 2;

    if (shift != ICOUNT_OFF && s->thread == THREAD_MULTI) {
        return error_set(error, "No MTTCG when icount is enabled: use thread=single");
    }
    if (s->thread == THREAD_SINGLE) {
        s->turns = turns_new(vm, shift, s->icount_sleep);
    }
    if (shift != ICOUNT_OFF) {
        s->opt.icount = true;
        s->opt.trace = s->opt.system = s->opt.group = false;
    }
    if (!set_up_lockstep(s, vm, shift, error)) {
        return false;
    }
    if (!s->translate || !translator_probe(NULL)) {
        return true;
    }
    s->tr = translator_new((size_t)s->tb_size << 20, map, error);
    if (!s->tr || !tcg_signals_init(error)) {
        return false;
    }
    s->tr->opt = s->opt;
    s->tr->opt.halt_poll &= !s->turns;      /* another one's turn comes at once */
    return !s->perf_map || translator_open_perf_map(s->tr, error);
}

static bool tcg_cpu_init(Cpu *cpu, GError **error)
{
    TcgAccel *s = (TcgAccel *)(void *)cpu->dev.vm->accel;
    X86Cpu *x86 = x86_cpu_device(cpu)->x86;

    x86->code = x86_vm_code_map(cpu->dev.vm);
    code_map_attach_cpu(x86->code, x86);
    x86->plain_events = !s->opt.events;
    interp_init(x86);
    if (s->turns) {
        turns_add(s->turns, cpu);
    }
    return !s->tr || tcg_attach_cpu(s->tr, x86, error);
}

static void tcg_cpu_destroy(Cpu *cpu)
{
    TcgAccel *s = (TcgAccel *)(void *)cpu->dev.vm->accel;
    X86Cpu *x86 = x86_cpu_device(cpu)->x86;

    if (s->turns) {
        turns_remove(s->turns, cpu);
    }
    tcg_detach_cpu(x86);
    tcg_thread_unbind();
    interp_clear(x86);
    code_map_detach_cpu(x86->code, x86);
}

static void tcg_cpu_kick(Cpu *cpu)
{
    TcgAccel *s = (TcgAccel *)(void *)cpu->dev.vm->accel;
    X86Cpu *x86 = x86_cpu_device(cpu)->x86;

    x86_cpu_request(x86, X86_REQ_EXIT);
    tcg_kick(x86);
    if (s->turns) {
        turns_wake(s->turns);
    }
}

/* With turns it may be another's, who has to be stopped first. */
static bool tcg_cpu_wake(Cpu *cpu)
{
    TcgAccel *s = (TcgAccel *)(void *)cpu->dev.vm->accel;

    if (!s->tr || s->turns) {
        return false;
    }
    tcg_wake(x86_cpu_device(cpu)->x86);
    return true;
}

/* What led here, in words; firmware also resets this way on purpose, so it is for the log. */
static void report_triple_fault(Cpu *cpu)
{
    g_autoptr(GString) text = g_string_new(NULL);

    if (log_enabled(LOG_CPU_RESET | LOG_INT)) {
        g_string_append_printf(text, "CPU %u: triple fault\n", cpu->index);
        x86_describe_faults(x86_cpu_device(cpu)->x86, text);
        cpu_class(cpu)->dump(cpu, text);
        log_mask(LOG_CPU_RESET | LOG_INT, "%s", text->str);
    }
}

static void tcg_cpu_run(Cpu *cpu)
{
    Turns *turns = ((TcgAccel *)(void *)cpu->dev.vm->accel)->turns;
    X86CpuDevice *s = x86_cpu_device(cpu);
    X86Exit exit;

    __atomic_store_n(&cpu->exit_request, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&cpu->halted, 0, __ATOMIC_SEQ_CST);
    if (turns && !turns_take(turns, cpu)) {
        return;
    }
    exit = tcg_run(s->x86);
    switch (exit) {
    case X86_EXIT_HALT:
        __atomic_store_n(&cpu->halted, 1, __ATOMIC_SEQ_CST);
        break;
    case X86_EXIT_TRIPLE_FAULT:
        report_triple_fault(cpu);
        s->shutdown = true;
        __atomic_store_n(&cpu->halted, 1, __ATOMIC_SEQ_CST);
        vm_request_reset(cpu->dev.vm, SHUTDOWN_CAUSE_GUEST_RESET);
        break;
    case X86_EXIT_DEBUG:
        vm_request_stop(cpu->dev.vm, RUN_STATE_DEBUG);
        break;
    case X86_EXIT_KICK:
    case X86_EXIT_LIMIT:
    case X86_EXIT_STEP:
        break;
    }
    if (turns) {
        turns_pass(turns, cpu, exit);
    }
}

/* `info jit`; QEMU's words where it has them. */
static void tcg_info(Accel *accel, GString *out)
{
    TcgAccel *s = (TcgAccel *)(void *)accel;
    const Translator *tr = s->tr;

    if (s->turns) {
        turns_info(s->turns, out);
    }
    if (!tr) {
        g_string_append(out, "No translator: the interpreter runs all code\n");
        return;
    }
    translator_info(tr, out);
}

static const PropDef tcg_props[] = {
    PROP_ENUM("thread", TcgAccel, thread, thread_words, THREAD_MULTI,
              .help = "multi: all vCPUs at a time; single: one at a time, in turns"),
    PROP_ENUM("x-icount", TcgAccel, icount, icount_words, 0,
              .help = "see -icount: binary logarithm of an instruction's virtual nanoseconds"),
    PROP_BOOL("x-icount-sleep", TcgAccel, icount_sleep, true,
              .help = "halted vCPUs wait for the host's clock"),
    PROP_U32("tb-size", TcgAccel, tb_size, 128, .min = 1, .max = 1024,
             .help = "code cache in MiB"),
    PROP_BOOL("one-insn-per-tb", TcgAccel, opt.one_insn, false,
              .help = "a block is one instruction"),
    PROP_BOOL("x-translate", TcgAccel, translate, true,
              .help = "off: the interpreter runs everything"),
    PROP_STR("x-hash-file", TcgAccel, hash.file,
             .help = "where to write hashes of the state (scripts/lockstep.py)"),
    PROP_U64("x-hash-every", TcgAccel, hash.every, 1000000, .help = "instructions between two of them"),
    PROP_U64("x-hash-from", TcgAccel, hash.from, 0, .help = "instructions before the first"),
    PROP_U64("x-hash-to", TcgAccel, hash.to, UINT64_MAX, .help = "end the process there"),
    PROP_BOOL("x-hash-detail", TcgAccel, hash.detail, false, .help = "registers and pages, too"),
    PROP_BOOL("x-perfmap", TcgAccel, perf_map, false, .help = "write /tmp/perf-PID.map"),
    PROP_BOOL("x-opt-link", TcgAccel, opt.link, true, .help = "blocks jump to each other"),
    PROP_BOOL("x-opt-jump-table", TcgAccel, opt.jump_table, true,
              .help = "indirect jumps find their target without C"),
    PROP_BOOL("x-opt-return-stack", TcgAccel, opt.return_stack, true,
              .help = "CALL and RET use the host's stack"),
    PROP_BOOL("x-opt-dead-flags", TcgAccel, opt.dead_flags, true,
              .help = "flags die at function boundaries"),
    PROP_BOOL("x-opt-system", TcgAccel, opt.system, true,
              .help = "CLI, STI, SWAPGS and kin without C"),
    PROP_BOOL("x-opt-string", TcgAccel, opt.string, true,
              .help = "REP MOVS, REP STOS and bit tests without C"),
    PROP_BOOL("x-opt-syscall", TcgAccel, opt.syscall, true,
              .help = "SYSCALL and SYSRET without C"),
    PROP_BOOL("x-opt-events", TcgAccel, opt.events, true,
              .help = "events and IRET of 64-bit kernels in one go"),
    PROP_BOOL("x-opt-refill", TcgAccel, opt.refill, true,
              .help = "after a TLB miss an instruction starts again, not in C"),
    PROP_BOOL("x-opt-crossing", TcgAccel, opt.crossing, true,
              .help = "accesses to two pages that are in the TLB need no C"),
    PROP_BOOL("x-opt-contexts", TcgAccel, opt.contexts, true,
              .help = "an address space with a PCID finds its translations again"),
    PROP_BOOL("x-opt-spin-yield", TcgAccel, opt.spin_yield, true,
              .help = "a vCPU that spins lets others have the processor"),
    PROP_BOOL("x-opt-halt-poll", TcgAccel, opt.halt_poll, true,
              .help = "a vCPU that halts looks for work before it sleeps"),
    PROP_BOOL("x-opt-wake-wait", TcgAccel, opt.wake_wait, true,
              .help = "a vCPU that interrupts another one waits a moment before it sends a signal"),
    PROP_BOOL("x-opt-group", TcgAccel, opt.group, true,
              .help = "memory accesses through one base share a check"),
    PROP_BOOL("x-opt-range", TcgAccel, opt.range, true,
              .help = "reads of large pages need no TLB"),
    PROP_BOOL("x-opt-loop", TcgAccel, opt.loop, true,
              .help = "checks are hoisted out of loops of one block"),
    PROP_BOOL("x-opt-trace", TcgAccel, opt.trace, true,
              .help = "blocks go on behind conditional jumps that are not taken"),
    PROP_END
};

ACCEL_TYPE(tcg, .name = "tcg-accel", .accel = "tcg", .size = sizeof(TcgAccel),
           .desc = "software emulation", .props = tcg_props, .init_vm = tcg_init_vm, .cpu_init = tcg_cpu_init,
           .cpu_run = tcg_cpu_run, .cpu_kick = tcg_cpu_kick, .cpu_wake = tcg_cpu_wake,
           .cpu_destroy = tcg_cpu_destroy,
           .info = tcg_info);
