/* SPDX-License-Identifier: MIT */
/*
 * The translator: x86 guest code to x86-64 host code, instruction by instruction.
 * docs/devel/translator.md tells the whole story; this is its data.
 *
 * Registers while translated code runs:
 *   GS base          the X86Cpu
 *   RAX RCX RDX RBX RBP RSI RDI R8 R9     the guest's own
 *   R12              guest RSP;   R10, R11   guest R12, R13
 *   R13 R14 R15      scratch within one guest instruction; guest R10 R11 R14 R15 are in cpu->gpr
 *   RSP              host return stack: one entry per guest CALL
 *   RFLAGS           the guest's six arithmetic flags (DF, TF, AC of the host stay 0)
 *   ZMM, K, MXCSR, x87   the guest's when cpu->tx.live says so
 *
 * One Translator per VM, shared by its vCPUs; blocks are shared.  A block is a straight run of
 * at most TCG_BLOCK_MAX instructions of one page (or one that crosses into a second), keyed by physical
 * address, PC, mode word and, outside 64-bit code, the limit of CS.  A PC is RIP, or the base of CS << 32 | EIP.
 *
 * Thread rules.  `lock`: emission and the allocation of code and metadata.  `graph`: hash, page
 * lists, links and their patching; taken last, also below the code map's own lock (retire hook).
 * Never hold `lock` or `graph` while calling code_map_*() or anything that may raise.
 * All code is dropped at once by tcg_flush_if_wanted(), when no vCPU is inside (between
 * tcg_enter_gate() and tcg_leave_gate()).
 */
#ifndef ACCEL_TCG_TRANSLATOR_H
#define ACCEL_TCG_TRANSLATOR_H

#include <stdio.h>
#include <string.h>

#include "accel/tcg/emit.h"
#include "target-x86/code.h"
#include "target-x86/insn.h"

#define TCG_BLOCK_MAX 64

/* In a block's mode: the flavour in which each access is checked by itself. */
#define MODE_EACH_CHECKED MODE_USER
/* After so many failures a group's check leads there by itself. */
#define GROUP_MISSES 16

/*
 * What guest state a block wants in host registers (cpu->tx.live, want).  LIVE_SIMD: XMM0-15 and YMM0-15, and MXCSR; bits
 * 511:256 are zero there.  LIVE_EVEX, never without it: all of ZMM0-27 and K0-7.  LIVE_TOP, never without that: ZMM28-31, which
 * hardly any program uses, so that REP MOVS and STOS may.
 */
enum { LIVE_SIMD = BIT(0), LIVE_X87 = BIT(1), LIVE_EVEX = BIT(2), LIVE_TOP = BIT(3), LIVE_VECTORS = LIVE_SIMD | LIVE_EVEX | LIVE_TOP };
enum { ZMM_TOP = 28 };

/* Per guest instruction; TcgBlock.insns[count] marks the end. */
typedef struct TcgInsn {
    uint32_t host;              /* first host byte, from TcgBlock.code */
    uint16_t guest;             /* bytes from the block's start */
    uint8_t op;                 /* up to this many bytes on nothing the guest sees has changed */
    uint8_t flags;              /* TI_*; above them the group + 1 whose slot's value R15 has; 0: none */
} TcgInsn;
enum {
    TI_FLAGS_IN = BIT(0),       /* the arithmetic flags matter on entry */
    TI_SAVES_FLAGS = BIT(1),    /* they move to cpu->cc and back within */
    TI_SHADOW = BIT(2),         /* STI came before: not a boundary to stop at */
    TI_GROUP_SHIFT = 4,
};
G_STATIC_ASSERT(X86_GROUPS << TI_GROUP_SHIFT <= UINT8_MAX);

typedef struct TcgBlock TcgBlock;

/* The two memory accesses an instruction may have. */
typedef enum TcgAccess { ACCESS_DATA, ACCESS_STACK } TcgAccess;

/* A direct exit of a block: a jump, or the way out when the check of a group fails. */
typedef struct TcgLink {
    uint64_t target;            /* PC */
    TcgBlock *from, *to;        /* to: NULL while not linked */
    struct TcgLink *next_in;    /* of to->incoming */
    uint8_t *field;             /* the jump's displacement, writable alias */
    const uint8_t *unlinked;    /* where it goes while not linked */
    uint8_t flags;              /* FX_*: those that are right there */
    bool function;              /* into or back from a function: its flags are dead */
    bool back;                  /* where a CALL comes back: with any vector state */
    bool loop;                  /* of a block to itself, behind the entry's checks (translate_loop.c) */
    bool crosses;               /* into another page: goes through a check of that page */
    struct {                    /* of a group: TcgGroup and the slot it fills */
        uint8_t insn, access, slot, misses;
        bool write, refill;     /* refill: the instruction starts again after a TLB miss */
        uint16_t span, lead, offset;    /* span 0: no group */
    } group;
} TcgLink;

struct TcgBlock {
    uint64_t pc, gpa;
    uint64_t va;                /* linear */
    uint64_t gpa2;              /* second page of a crossing instruction, or 0 */
    uint32_t mode;
    uint32_t limit;             /* of CS; ~0 in 64-bit code */
    uint16_t count, bytes;
    uint8_t flags_in;           /* FX_*: flags that may be read before they are written */
    uint8_t flags_read;         /* the same, those certainly read */
    uint8_t needs;              /* LIVE_* */
    uint8_t dead;               /* atomic */
    uint32_t code_len;
    const uint8_t *code;        /* entry, stopped when the block dies */
    const uint8_t *code_direct; /* behind that, for links: they are undone; makes sure of `needs` */
    const uint8_t *code_live;   /* for those who have them */
    const uint8_t *guest;       /* the code translated: `bytes` bytes */
    const uint8_t *lost;        /* leads back to tcg_helper_lookup() */
    TcgBlock *hash_next;
    TcgLink *incoming;
    TcgLink *links;             /* its exits */
    unsigned link_count;
    TcgInsn insns[];
} __attribute__((aligned(64)));

/* Addresses of the common pieces of code (stubs.c). */
typedef struct TcgStubs {
    void (*enter)(X86Cpu *cpu, const void *code);
    const uint8_t *leave;       /* flags in RFLAGS: save all, return from enter() */
    const uint8_t *insn;        /* r14d = site: run it in C; flags are in cpu->cc or dead */
    const uint8_t *insn_flags;  /* the same, flags in RFLAGS */
    /* Read, write: no such page in the TLB; r13d = site, r14 = address ^ tag, r15 = second set * 32; flags as for insn, insn_flags. */
    const uint8_t *miss[2], *miss_flags[2];
    const uint8_t *range, *range_flags; /* r13d = site, r14 = address: tcg_helper_range(); flags as for insn, insn_flags */
    const uint8_t *link;        /* r14d = link: tcg_helper_link() */
    const uint8_t *group;       /* r13d = link, the rest as for miss[], flags in RFLAGS: tcg_helper_group() */
    const uint8_t *lookup;      /* r13 = target PC, flags dead or in cpu->cc: tcg_helper_lookup() */
    const uint8_t *again;       /* the same for a block that cannot be entered: tcg_helper_again() */
    const uint8_t *again_flags; /* flags in RFLAGS */
    const uint8_t *indirect;    /* r13 = target: the jump table first */
    const uint8_t *indirect_flags;      /* the same with flags in cpu->cc */
    const uint8_t *underflow;   /* what an empty return stack returns to */
    const uint8_t *need_simd;   /* called: load the vector registers, keep the rest */
    const uint8_t *need_evex;   /* the same with what AVX-512 has, */
    const uint8_t *need_top;    /* all of it */
    const uint8_t *need_x87;    /* r14d = site: C loads what the block needs, starts it again */
    const uint8_t *copy, *fill[4], *string_end; /* stubs_string.c; they lie one behind the other */
    const uint8_t *crossing_read[4], *crossing_write, *crossing_masked[2][4], *crossed[7]; /* stubs_crossing.c */
    const uint8_t *end;
} TcgStubs;

/* What may be switched off (-accel tcg,x-opt-NAME=off); results are the same, only slower. */
typedef struct TcgOptions {
    bool link;                  /* blocks jump to each other */
    bool jump_table;            /* indirect jumps look up their target without C */
    bool return_stack;          /* CALL and RET use the host's */
    bool dead_flags;            /* flags die at function boundaries */
    bool system;                /* translate_system.c */
    bool string;                /* REP MOVS, REP STOS and bit tests without C */
    bool syscall;               /* SYSCALL and SYSRET without C */
    bool events;                /* interrupts, exceptions and IRET of 64-bit kernels in one go (target-x86/event_fast.c) */
    bool refill;                /* an instruction that misses the TLB starts again, not in C */
    bool crossing;              /* an access to two pages that are in the TLB needs no C (translate_crossing.c) */
    bool contexts;              /* PCIDs keep their translations (target-x86/tlb_contexts.h) */
    bool spin_yield;            /* a CPU that spins on PAUSE lets others have the host's */
    bool halt_poll;             /* a CPU that halts looks a moment for what wakes it */
    bool wake_wait;             /* who interrupts another CPU gives it a moment to see it by itself */
    bool group;                 /* accesses through one base share a check (translate_groups.c) */
    bool range;                 /* reads of large pages need no TLB (target-x86/ranges.h) */
    bool loop;                  /* checks are hoisted out of loops of one block (translate_loop.c) */
    bool trace;                 /* a block goes on behind a conditional jump that is not taken */
    bool one_insn;              /* a block is one instruction */
    bool icount;                /* blocks count instructions: needs `trace`, `system` and `group` off */
} TcgOptions;

typedef struct TcgCounters {
    uint64_t blocks, guest_bytes, guest_insns, host_bytes, cold_bytes;
    uint64_t retired, links, flushes, translate_ns;
    _Atomic uint64_t halts, polled, yields, naps, wakes, seen;
} TcgCounters;

#define TCG_SITES 65536
#define TCG_NOT_IN_RANGE 255

typedef struct Translator {
    GMutex lock, graph;
    GCond gate;
    unsigned inside;            /* vCPUs that may be running code */
    bool flush_wanted, flushing;
    X86CodeMap *code_map;
    GPtrArray *cpus;            /* X86Cpu */
    unsigned host_cpus;
    uint8_t *rw, *rx;           /* the code cache, twice */
    size_t size;
    uint8_t *hot, *hot_start, *hot_end, *cold, *cold_start, *cold_end;     /* writable alias */
    uint8_t *hot_present, *cold_present;    /* memory below has been made present */
    uint8_t *meta;              /* blocks; a site or link is named by its offset here */
    size_t meta_size, meta_used;
    TcgBlock **order;           /* blocks by address of their code */
    _Atomic unsigned block_count;
    unsigned block_max;
    TcgBlock **hash;
    GHashTable *pages;          /* physical page -> GPtrArray of TcgBlock */
    uint8_t site_range[TCG_SITES];      /* by tcg_site_hash(): range of a read + 1, TCG_NOT_IN_RANGE; 0: not known; racy */
    uint8_t *system_index;      /* translate_system.c */
    TcgStubs stubs;
    TcgOptions opt;             /* to be changed before the first CPU is attached */
    FILE *perf_map;
    _Atomic unsigned waiters;   /* in tcg_wait_for_others(): no CPU is freed */
    bool exact_flags;           /* the flags matter across RET and indirect jumps */
    TcgCounters counters;
} Translator;

/* What the keys of X86Jump carry for one mode and one generation of code pages. */
typedef struct TcgTag {
    uint32_t mode, generation, limit;
    uint64_t tag;
} TcgTag;

/* cpu->engine */
typedef struct TcgCpu {
    X86Cpu *cpu;
    Translator *tr;
    uint8_t *stack;             /* host return stack with a guard page below */
    size_t stack_size;
    pid_t pid, tid;
    _Atomic bool in_code;       /* between entry and exit of stubs.enter(), C helpers included */
    _Atomic bool running;       /* tcg_run(): may hold a host address that a tag has allowed (others.c) */
    _Atomic bool waiting;       /* but not now */
    _Atomic uint32_t passes;    /* how often it came to where it holds none */
    bool stepping;              /* single-stepping the host to an instruction boundary */
    bool interpret_one;         /* the instruction at rip faulted on the host */
    _Atomic int patience;       /* of those who interrupt it: see tcg_wake() */
    uint64_t spin_checked_ns;   /* when PAUSE was last looked at */
    unsigned spin_rounds;       /* how often in a row it was a spin */
    uint64_t poll_ns;           /* how long to look before the thread sleeps in HLT */
    uint64_t misses, refills;   /* of the TLB in translated code; those that needed no more than a page */
    uint64_t halted_ns;         /* when that was in vain; 0: it was not */
    uint64_t next_tag;          /* starts at random */
    uint32_t stack_mode;        /* in which the return stack has been filled: see update_tag() */
    uint32_t stack_limit;
    TcgTag tags[2][32];         /* CPL 0-2, CPL 3 */
    struct { uint32_t site; Insn insn; } decoded[256];
    unsigned unexecuted;        /* icount: of a block, paid for at its entry, but not run (yet) */
    stack_t old_stack;
    uint8_t *xsave;             /* 64-byte aligned room for the x87 state */
} TcgCpu;

/* What SYSRET takes from R11 and X86Cpu.eflags holds. */
#define TCG_SYSRET_FLAGS (0x3c7fd7u & 0x3f7700 & ~(FLAG_RF | FLAG_VM))

static inline TcgCpu *tcg_cpu(X86Cpu *cpu) { return cpu->engine; }

/* The limit of CS that code of this mode has to keep. */
static inline uint32_t tcg_limit(const X86Cpu *cpu, uint32_t mode)
{
    return mode & MODE_CS64 ? UINT32_MAX : cpu->segs[SEG_CS].limit;
}

/* Do all LEN bytes at PC lie in it?  [SDM3A 5.3] */
static inline bool tcg_is_within(uint32_t limit, uint64_t pc, unsigned len)
{
    return (uint64_t)(uint32_t)pc + len - 1 <= limit;
}

static inline uint64_t tcg_pc(const X86Cpu *cpu)
{
    return cpu->mode & MODE_CS64 ? cpu->rip : cpu->segs[SEG_CS].base << 32 | (uint32_t)cpu->rip;
}

/* Do flags matter across CALL, RET and indirect jumps?  Programs in assembly, as 16-bit code is, return results in CF. */
static inline bool tcg_is_exact(const Translator *tr, uint32_t mode)
{
    return tr->exact_flags || !(mode & (MODE_CS64 | MODE_CS32));
}

/* ---- cache.c: memory, blocks, links ------------------------------------------------------- */

Translator *translator_new(size_t code_bytes, X86CodeMap *map, GError **error);
void translator_free(Translator *tr);
/* From now on, blocks are listed in /tmp/perf-PID.map, where perf(1) looks for names. */
bool translator_open_perf_map(Translator *tr, GError **error);
/* Counters in words, for `info jit`. */
void translator_info(const Translator *tr, GString *out);
/* Whether this host can run translated code; the reason if not. */
bool translator_probe(GError **error);
/* translate_system.c: which rows of the instruction tables it may know; to be freed. */
uint8_t *tcg_system_index(void);

TcgBlock *tcg_block_lookup(Translator *tr, uint64_t gpa, uint64_t pc, uint32_t mode, uint32_t limit);
/* From now on stores to its page may kill it; then, unless that has come true, make it findable. */
void tcg_block_insert(Translator *tr, TcgBlock *block);
void tcg_block_publish(Translator *tr, TcgBlock *block);
void tcg_block_kill(Translator *tr, TcgBlock *block);
/* Room for a block of so much; NULL: the cache must be flushed.  Under `lock`. */
TcgBlock *tcg_block_alloc(Translator *tr, unsigned insns, unsigned bytes, unsigned links);
/* It is complete: its room, less the links it does without, is no longer anybody else's. */
void tcg_block_keep(Translator *tr, const TcgBlock *block);
/* Where a running address belongs: the block and the index of the instruction; signal-safe. */
TcgBlock *tcg_block_at(Translator *tr, const uint8_t *pc, unsigned *index);
/* LINK goes to BLOCK from now on, if both are alive. */
void tcg_link_to(Translator *tr, TcgLink *link, TcgBlock *block);
void tcg_enter_gate(Translator *tr);
void tcg_leave_gate(Translator *tr);
void tcg_flush_if_wanted(Translator *tr);

static inline bool tcg_in_code(const Translator *tr, const void *pc)
{
    return (const uint8_t *)pc >= tr->rx && (const uint8_t *)pc < tr->rx + tr->size;
}

static inline uint32_t tcg_name(const Translator *tr, const void *meta)
{
    return (const uint8_t *)meta - tr->meta;
}

static inline void *tcg_named(const Translator *tr, uint32_t name)
{
    return tr->meta + name;
}

/* ---- translate.c -------------------------------------------------------------------------- */

/* Can code of this mode be translated? */
bool tcg_mode_is_translatable(uint32_t mode);
/*
 * Translate the code at cpu->rip, whose first byte is at `va`, `gpa` and `host`; NULL when it cannot be
 * translated (the interpreter's turn) or when the cache is full (tr->flush_wanted).  May raise.
 * EACH_CHECKED: without groups, in the flavour MODE_EACH_CHECKED.
 */
TcgBlock *tcg_translate(Translator *tr, X86Cpu *cpu, bool each_checked, uint64_t va, uint64_t gpa,
                        const uint8_t *host);

/* The check in front of a block of another page; NULL: no room.  Under `lock` and `graph`. */
const uint8_t *tcg_emit_page_check(Translator *tr, TcgLink *link, TcgBlock *block,
                                   const uint8_t *entry);

/* ---- reemit.c ----------------------------------------------------------------------------- */

/* Host register of a guest one; H_NONE: in cpu->gpr. */
extern const uint8_t tcg_host_reg[16];

static inline HostMem tcg_gpr_slot(unsigned reg)
{
    return HOST_GS(offsetof(X86Cpu, gpr) + 8 * reg);
}

/* Does the instruction write operand `n` of the row? */
bool tcg_is_written(const Insn *insn, unsigned n);
/* Has it a writemask?  Elements in memory that it leaves out are not accessed, and cannot fault. */
static inline bool tcg_is_masked(const Insn *insn)
{
    return insn->vex == 4 && (insn->evex & EVEX_AAA);
}

/* Whether the instruction can be re-emitted: no control flow, no helper. */
bool tcg_can_reemit(const Insn *insn);
/*
 * Re-emit with renamed registers; `mem` replaces the memory operand (NULL: there is none).  The
 * scratch registers may be used except those of `mem`.  Returns the length up to which nothing the
 * guest sees has changed.
 */
const uint8_t *tcg_reemit(Emitter *e, const Insn *insn, const HostMem *mem);

/* ---- translate_groups.c ----------------------------------------------------------------------------- */

/* Of an instruction at guest physical address GPA. */
static inline unsigned tcg_site_hash(uint64_t gpa)
{
    return (gpa * 0x9e3779b97f4a7c15ull) >> 48;
}

/*
 * The range that a read there of VA looks at: a kernel has few, each in a part of its address space, with all its
 * code for them; a program may have many, of which an instruction uses one for a while.
 */
static inline unsigned tcg_range_slot(const X86Cpu *cpu, uint64_t gpa, uint64_t va)
{
    return (cpu->mmu_idx == X86_MMU_USER ? tcg_site_hash(gpa) : tcg_site_hash(va >> 39)) % X86_RANGES;
}

/* ---- stubs.c ------------------------------------------------------------------------------ */

void tcg_emit_stubs(Translator *tr, Emitter *e);
/* stubs_string.c: what REP MOVS and REP STOS call. */
void tcg_emit_string_stubs(TcgStubs *stubs, Emitter *e);
/* stubs_crossing.c: what accesses to two pages call. */
void tcg_emit_crossing_stubs(TcgStubs *stubs, Emitter *e);
/* Jump (or call) to guest address R13 through the CPU's table; MISS: where to go when it is not there. */
#define TCG_JUMP_HASH 0x9e3779b1u
void tcg_emit_jump_table(Emitter *e, const uint8_t *miss, bool call);
/* The same without the jump: where the code's address is. */
HostMem tcg_emit_jump_probe(Emitter *e, const uint8_t *miss);

static inline X86Jump *tcg_jump_slot(X86Cpu *cpu, uint64_t key)
{
    return &cpu->tx.jumps[((uint32_t)key * TCG_JUMP_HASH) >> 20];
}

/* No key matches: not even that of address 0 where the tag is ~0 (STAC, CLAC). */
static inline void tcg_forget_jumps(X86Cpu *cpu)
{
    memset(cpu->tx.jumps, 0xff, sizeof(cpu->tx.jumps));
    tcg_jump_slot(cpu, ~0ull)->key = 0;
}

/* ---- helpers.c: called from stubs; return where to go on, or NULL to leave ------------------ */

const void *tcg_helper_insn(X86Cpu *cpu, uint32_t site);
const void *tcg_helper_miss_read(X86Cpu *cpu, uint32_t site);
const void *tcg_helper_miss_write(X86Cpu *cpu, uint32_t site);
const void *tcg_helper_range(X86Cpu *cpu, uint32_t site);
const void *tcg_helper_link(X86Cpu *cpu, uint32_t link);
const void *tcg_helper_group(X86Cpu *cpu, uint32_t link);
const void *tcg_helper_lookup(X86Cpu *cpu);
const void *tcg_helper_again(X86Cpu *cpu);
const void *tcg_helper_need(X86Cpu *cpu, uint32_t site);

/* ---- run.c -------------------------------------------------------------------------------- */

bool tcg_attach_cpu(Translator *tr, X86Cpu *cpu, GError **error);
void tcg_detach_cpu(X86Cpu *cpu);
/* As interp_run(). */
X86Exit tcg_run(X86Cpu *cpu);
/*
 * Instructions done; the vCPU's thread, from a device it accesses, too.  With opt.icount, tcg_run()
 * returns X86_EXIT_LIMIT when this has come to cpu->insn_limit, which only changes outside.
 */
uint64_t tcg_insn_count(const X86Cpu *cpu);
/* From any thread: leave translated code soon.  The reason is in cpu->requests. */
void tcg_kick(X86Cpu *cpu);
/* Is there a reason to leave translated code at the next instruction boundary? */
bool tcg_wants_attention(const X86Cpu *cpu);

/* ---- fast.c ------------------------------------------------------------------------------------- */

/* Index of what there is for CPL 0-2, and for CPL 3. */
static inline unsigned tcg_class_of(const X86Cpu *cpu) { return cpu->cpl == 3; }
/* The mode or the TLB's generation may have changed: jump_tag, smap_tag. */
void tcg_update_tag(X86Cpu *cpu);
/* SYSCALL, SYSRET and IRET in C; what comes of them is written down. */
void tcg_run_syscall(X86Cpu *cpu, const Insn *insn);
void tcg_run_iret(X86Cpu *cpu, const Insn *insn);
/* It may not hold any more. */
void tcg_forget_fast(X86Cpu *cpu);
/* Does the instruction change what they come to, beside flags, segments and descriptors? */
bool tcg_changes_system(const Insn *insn);
/* CR3 has been loaded: the code that they lead to is looked up by other tags. */
void tcg_update_fast(X86Cpu *cpu);

/* ---- wait.c ------------------------------------------------------------------------------------- */

/* PAUSE, when translated code has counted down to zero or does not count. */
void tcg_pause(X86Cpu *cpu);
/* From any thread, as tcg_kick(), for an interrupt.  A vCPU may wait a few microseconds in here. */
void tcg_wake(X86Cpu *cpu);
/* Is there something that wakes a CPU in HLT? */
bool tcg_halt_is_over(const X86Cpu *cpu);
/* Looks for what wakes the CPU as long as that has paid lately: no way out and back in for a short sleep. */
void tcg_halt_poll(X86Cpu *cpu);
/* The thread may have slept in HLT, and runs again. */
void tcg_slept(TcgCpu *tc);

/* ---- others.c: a hook of the code map ------------------------------------------------------- */

/* Until no other vCPU stores through a tag it checked before. */
void tcg_wait_for_others(void *opaque);

/* ---- fault.c ------------------------------------------------------------------------------ */

/* Signal handlers, once per process. */
bool tcg_signals_init(GError **error);
/* The vCPU's thread: signal stack, GS base. */
bool tcg_thread_bind(X86Cpu *cpu, GError **error);
void tcg_thread_unbind(void);
/* The calling thread's vCPU, or NULL. */
X86Cpu *tcg_own_cpu(void);

#endif
