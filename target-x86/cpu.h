/* SPDX-License-Identifier: MIT */
/*
 * X86Cpu: the one architectural state of a virtual x86 CPU, shared by the interpreter, the
 * translator, the KVM back end, the debugger stub and migration.  Spec: Intel SDM (all volumes).
 *
 * Thread rule: a CPU's state belongs to its vCPU thread while it runs.  Other threads may only
 * touch `requests` (atomically, through x86_cpu_request()) and poison TLB tags
 * (x86_tlb_poison_page()).  Everything else: only when the vCPU is stopped.
 *
 * Derived state.  `mode`, `mmu_idx` and the fields marked "derived" are functions of others.
 * Whoever changes a control register, EFER, XCR0, a segment, CPL or TF/AC/IOPL/VM of the flags
 * calls x86_update_mode() before the next instruction is fetched.
 *
 * Flags.  The six arithmetic flags live in `cc` the way the host delivers them:
 *     lahf; seto %al   =>   cc = SF:ZF:0:AF:0:PF:1:CF in bits 15..8, OF in bit 0
 * so that one pair of host instructions moves them in either direction.  All other flags are in
 * `eflags`, whose arithmetic bits are always 0.  Use x86_rflags() and x86_set_rflags().
 */
#ifndef TARGET_X86_CPU_H
#define TARGET_X86_CPU_H

#include <setjmp.h>
#include <stdatomic.h>

#include "base/bits.h"
#include "target-x86/cpuid_bits.h"
#include "target-x86/regs.h"

typedef struct X86Cpu X86Cpu;
typedef struct Insn Insn;
typedef struct X86Bus X86Bus;
typedef struct X86CodeMap X86CodeMap;
typedef struct X86Contexts X86Contexts;
struct Cpu;                     /* vm/cpu.h */

/* ---- segments and tables -------------------------------------------------------------- */

typedef struct X86Seg {
    uint16_t sel;
    uint32_t flags;             /* DESC_*: bits of the descriptor's high word, in place */
    uint32_t limit;             /* in bytes: G is already applied */
    uint64_t base;
} X86Seg;

typedef struct X86Table {
    uint64_t base;
    uint16_t limit;
} X86Table;

/* ---- vector and x87 state ------------------------------------------------------------- */

typedef union X86Vec {          /* ZMM, YMM, XMM: low bytes first */
    uint8_t u8[64];
    uint16_t u16[32];
    uint32_t u32[16];
    uint64_t u64[8];
    float f32[16];
    double f64[8];
    unsigned __int128 u128[4];
} X86Vec __attribute__((aligned(64)));

/*
 * Bytes 0..159 of the FXSAVE64 image, in its layout: st[0] is ST(0), not R0.  MMn is the
 * mantissa of physical register n, that is st[(n - TOP) & 7].
 */
typedef struct X87State {
    uint16_t fcw, fsw;
    uint8_t ftw;                /* abridged: bit n set = physical register n not empty */
    uint8_t reserved;
    uint16_t fop;
    uint64_t fip, fdp;
    uint32_t mxcsr, mxcsr_mask;
    struct {
        uint64_t mantissa;
        uint16_t exponent;      /* and sign */
        uint16_t pad[3];
    } st[8];
} X87State __attribute__((aligned(16)));
G_STATIC_ASSERT(sizeof(X87State) == 160);

/* ---- software TLB (ENGINE 4.1) -------------------------------------------------------- */

/*
 * One entry per 4 KiB virtual page.  A tag is the page's linear address when that kind of access
 * may go straight to `host`, or X86_TLB_POISON_TAG(set) when it must take the slow path (not present, no
 * permission, MMIO, page holds translated code, dirty logging, watchpoint, A or D bit clear).
 * The test `(va ^ tag) <= 4096 - size` covers a wrong page and a page crossing at once.
 * Stored with the host address of the page's first byte, so that host + (va ^ tag) is the datum, and with how far that is
 * from the page's linear address, so that va + delta is.
 * The fields are written by the owner thread; other threads only poison tags.
 */
typedef struct X86TlbEntry {
    uint64_t tag_r, tag_w;
    uint64_t delta;
    uint8_t *host;
} X86TlbEntry;
G_STATIC_ASSERT(sizeof(X86TlbEntry) == 32);

#define X86_TLB_POISON (~0ull)          /* X86TlbPhys.va: no page */
/* A tag for set SET that no address which looks there can match, not even one of the last page:
 * it names a page of another set. */
#define X86_TLB_POISON_TAG(set) ((uint64_t)((set) ^ 1) << 12)
/* 6 to 12; a build with CFLAGS=-DX86_TLB_BITS=6 misses all the time, which is good for tests. */
#ifndef X86_TLB_BITS
#define X86_TLB_BITS 12
#endif
#define X86_TLB_SIZE (1u << X86_TLB_BITS)

/* Contexts.  Accesses are checked as if made with the privilege in the name. */
typedef enum X86MmuIdx {
    X86_MMU_USER,               /* CPL 3 */
    X86_MMU_KERNEL,             /* CPL 0-2 and implicit system accesses; CR4.SMAP applies */
    X86_MMU_KERNEL_AC,          /* CPL 0-2 with EFLAGS.AC = 1: SMAP suspended */
    X86_MMU_COUNT
} X86MmuIdx;

/* What the slow path needs beside the entry; same index. */
typedef struct X86TlbPhys {
    uint64_t va;                /* page, or X86_TLB_POISON when the entry is empty */
    uint64_t gpa;               /* page */
    uint32_t attr;              /* X86_PAGE_* of mmu.h */
    uint32_t perm;              /* BIT(X86Access) for each access that has been granted */
    uint8_t *host;              /* page, or NULL for MMIO */
} X86TlbPhys;

/* ---- what translated code keeps per CPU (accel/tcg/translator.h) -------------------------- */

/*
 * An indirect jump looks up (guest address ^ jump_tag) here.  The tag is a random number for the
 * mode and for the TLB contents under which `code` was entered, so that a flush needs no sweep.
 */
typedef struct X86Jump {
    uint64_t key;
    const void *code;
} X86Jump;

#define X86_JUMP_BITS 12
#define X86_ITLB_BITS 12           /* so many pages as the text of a kernel has do not meet */
#define X86_ITLB_EMPTY (~0ull)
#define X86_ITLB_LIST 256

/* Groups of memory accesses in a block of translated code that share a check. */
#define X86_GROUPS 8
#define X86_RANGES 64
/*
 * What the latest SYSCALL, SYSRET or IRET that ran in C came from and led to; the next one from the same
 * mode and flags does the same without C.
 */
enum { X86_FAST_CALL, X86_FAST_RET, X86_FAST_IRET /* to CPL 0 */, X86_FAST_IRET_USER, X86_FAST_COUNT };
typedef struct X86Fast {
    uint32_t from_mode;         /* ~0: nothing known */
    uint32_t from_flags;        /* SYSCALL: eflags; SYSRET, IRET: those of R11, the frame that are not arithmetic */
    uint32_t mode, eflags;
    uint64_t rip;               /* of SYSCALL */
    uint64_t jump_tag;          /* of the new mode */
    uint32_t generation;        /* for which that is right */
    uint16_t cpl_and_idx;       /* cpl, mmu_idx */
    X86Seg cs, ss;
    uint64_t cs_raw, ss_raw;    /* IRET: what is in the GDT at these selectors, read each time */
} X86Fast;

/* Memory behind large pages that may be read without the TLB: ranges.h. */
typedef struct X86Range {
    uint64_t start, len;        /* linear; a read of 256 bytes may begin at each of LEN addresses; 0: none */
    uint64_t delta;             /* host address - linear address */
    int32_t patience;           /* reads elsewhere until C looks again; below zero: now */
    bool global;
} X86Range;
G_STATIC_ASSERT(sizeof(X86Range) == 32);

typedef struct X86Translated {
    uint64_t c_stack;           /* RSP of the C code that entered translated code */
    uint64_t return_stack;      /* RSP of translated code while C runs: host return addresses */
    uint64_t return_stack_base; /* of an empty one */
    uint64_t resume;            /* where C lets translated code go on */
    uint64_t jump_tag;
    uint64_t smap_tag[2];       /* those of smap_mode, without and with MODE_SMAP_AC: STAC, CLAC */
    uint32_t smap_mode;         /* ~0: not known */
    uint64_t scratch;           /* of one guest instruction */
    uint64_t miss_off, miss_set;        /* an access that missed the TLB: address ^ tag, set * 32 */
    uint64_t group[X86_GROUPS]; /* host addresses that have been checked, within one block */
    uint64_t r15;               /* the one that R15 has where a block goes on in its middle */
    X86Range ranges[X86_MMU_COUNT][X86_RANGES];
    uint64_t ranges_used[X86_MMU_COUNT];        /* which of them are there */
    uint64_t string_save[4][8]; /* vectors of the guest's that REP MOVS and REP STOS borrow */
    struct X86Crossing {        /* an access to two pages: accel/tcg/stubs_crossing.c */
        uint8_t bytes[128] __attribute__((aligned(64)));        /* the ends of both, which meet in the middle */
        uint64_t saved[3];      /* RAX, RCX, RDX */
        uint64_t to[2];         /* where a store's pieces go */
        uint64_t first;         /* bytes in the first page */
        uint64_t mask;          /* the writemask of the access */
        uint64_t back;          /* behind the store */
        uint32_t site;          /* of the store that runs out of line, or 0: fault.c */
    } crossing;
    uint64_t loop_limit;        /* the loop's counter, where its checks are to be made again */
    struct X86Cpu *self;
    uint8_t live;               /* LIVE_*: guest state that is in host registers now */
    uint8_t want;               /* LIVE_*: what has to be there before `resume` */
    uint8_t upper_zero;         /* bits 511:128 of ZMM0-15 are zero in zmm[] */
    uint8_t upper_unknown;      /* whether they are has not been looked at */
    uint8_t kicked;             /* leave instead of going on at `resume` */
    uint8_t kernel_not_global;  /* some entry of class 0 below is from a page without G */
    uint8_t any_lost[2];        /* a bit of itlb_lost is set */
    uint32_t host_mxcsr;
    uint8_t zmm_upper;          /* some of bits 511:256 of ZMM0-15 in zmm[] may not be zero, and VEX would zero them */
    uint8_t upper_avx512;       /* MODE_AVX512 was set when that was looked at */
    int64_t budget;             /* -icount: instructions that may still be run */
    int32_t pauses;             /* PAUSEs until C looks whether the guest only spins */
    X86Fast fast[X86_FAST_COUNT];
    uint64_t tsc_base;          /* the TSC is RDTSC plus that plus tsc_offset */
    uint32_t generation[2];     /* of the entries for CPL 0-2 and CPL 3 */
    uint32_t last_generation;   /* of all there have been */
    uint8_t user_global;        /* some entry of class 1 is from a page with G */
    uint16_t itlb_listed;       /* entries of class 1 that have been set; more than fit: any may be */
    uint16_t itlb_list[X86_ITLB_LIST];
    /* Code pages by virtual page: virtual page << 28 | physical page, for CPL 0-2 and CPL 3. */
    uint64_t itlb[2][1 << X86_ITLB_BITS];
    /* Of pages in the lower and upper half: another has taken the entry of such a page, whose code may be in `jumps`. */
    uint64_t itlb_lost[2][2][(1 << X86_ITLB_BITS) / 64];
    X86Jump jumps[1 << X86_JUMP_BITS];
} X86Translated;

static inline unsigned x86_itlb_index(uint64_t va)
{
    return (va >> 12 ^ va >> (12 + X86_ITLB_BITS)) & ((1u << X86_ITLB_BITS) - 1);
}

/* ---- mode word: everything decoding and checking depend on; part of the block key ------- */

enum {
    MODE_CPL = 3,               /* the field is the CPL */
    MODE_PE = BIT(2),
    MODE_VM86 = BIT(3),
    MODE_LMA = BIT(4),
    MODE_CS64 = BIT(5),         /* 64-bit code */
    MODE_CS32 = BIT(6),         /* default operand and address size 32; never with MODE_CS64 */
    MODE_SS32 = BIT(7),         /* stack pointer is ESP (RSP with MODE_CS64) */
    /* Base 0, limit 4 GiB, right type: needs no check.  With MODE_CS64 all of them and MODE_SS32 are set; of data
     * segments, in 32-bit protected mode only: real mode loads them too often for a mode each. */
    MODE_FLAT_CS = BIT(8),
    MODE_FLAT_SS = BIT(9),
    MODE_FLAT_DS = BIT(10),
    MODE_FLAT_ES = BIT(11),
    MODE_TS = BIT(12),          /* CR0.TS, CR0.EM, CR0.MP */
    MODE_EM = BIT(13),
    MODE_MP = BIT(14),
    MODE_OSFXSR = BIT(15),
    MODE_OSXSAVE = BIT(16),
    MODE_AVX = BIT(17),         /* OSXSAVE and XCR0 enables SSE and AVX state */
    MODE_AVX512 = BIT(18),
    MODE_TF = BIT(19),          /* single-step: one instruction per block, then #DB */
    MODE_ALIGN = BIT(20),       /* CR0.AM, EFLAGS.AC, CPL 3: #AC is checked */
    MODE_SMAP_AC = BIT(21),     /* supervisor with AC = 1 and CR4.SMAP: X86_MMU_KERNEL_AC */
    MODE_UMIP = BIT(22),        /* CR4.UMIP and CPL > 0 */
    MODE_IOPL = BIT(23),        /* CPL <= IOPL: CLI, STI, IN, OUT need no further check */
    MODE_TSD = BIT(24),         /* RDTSC raises #GP here */
    MODE_PCE = BIT(25),         /* RDPMC allowed here */
    MODE_FSGSBASE = BIT(26),
    MODE_SMM = BIT(27),
    MODE_DEBUG = BIT(28),       /* breakpoint registers or a debugger: careful blocks */
    MODE_PLAIN_SEGS = BIT(30),  /* real and virtual-8086: segments but SS are as these modes load them, only bases differ */
    MODE_USER = BIT(29),        /* free for the engines' own block flavours */
};

/* ---- requests from other threads --------------------------------------------------------- */

enum {
    X86_REQ_INTR = BIT(0),      /* interrupt controller has something: level, as the INTR pin */
    X86_REQ_NMI = BIT(1),
    X86_REQ_SMI = BIT(2),
    X86_REQ_INIT = BIT(3),
    X86_REQ_SIPI = BIT(4),
    X86_REQ_MCE = BIT(5),
    X86_REQ_TLB_FLUSH = BIT(6), /* memory map changed: drop everything cached */
    X86_REQ_EXIT = BIT(7),      /* leave the run loop (kick, stop, debugger) */
};

/* How an instruction or a run ended early. */
typedef enum X86Exit {
    X86_EXIT_KICK,              /* X86_REQ_EXIT seen (and cleared) */
    X86_EXIT_HALT,              /* `halted` or `wait_sipi`, and nothing to wake it */
    X86_EXIT_DEBUG,             /* a debugger's breakpoint, watchpoint or step */
    X86_EXIT_TRIPLE_FAULT,
    X86_EXIT_LIMIT,             /* insn_count has come to insn_limit */
    X86_EXIT_STEP,              /* interp_step(): one instruction done (or its fault delivered) */
} X86Exit;

/* An exception or interrupt on its way to the guest; also KVM's and migration's view of it. */
typedef struct X86Event {
    uint8_t vector;
    bool pending;               /* raised, not yet delivered */
    bool has_code;
    bool soft;                  /* INT n, INT3, INTO: pushes next_rip */
    bool external;              /* an interrupt: never part of a double fault */
    uint32_t code;
    uint64_t payload;           /* CR2 for #PF, DR6 bits for #DB */
} X86Event;

/* One link of a chain of exceptions raised while delivering others: for the triple fault report. */
typedef struct X86FaultRecord {
    X86Event event;
    bool doubled;               /* together with the one before it: #DF */
    uint16_t cs, ss;
    uint64_t rip, rsp, cr2;
} X86FaultRecord;
#define X86_FAULT_RECORDS 4

/* ---- MSRs that are plain state ------------------------------------------------------------ */

#define X86_MTRR_VAR 8
#define X86_MCE_BANKS 10

typedef struct X86Msrs {
    uint64_t star, lstar, cstar, fmask, kernel_gs_base, tsc_aux;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t apicbase, pat, misc_enable, feature_control, tsc_adjust, tsc_deadline;
    uint64_t spec_ctrl, xss, debugctl, smbase, smi_count, arch_capabilities, ucode_rev;
    uint64_t mtrr_fixed[11], mtrr_def_type;
    struct { uint64_t base, mask; } mtrr_var[X86_MTRR_VAR];
    uint64_t mcg_cap, mcg_status, mcg_ctl, mce_banks[4 * X86_MCE_BANKS];
} X86Msrs;

/* ---- the CPU -------------------------------------------------------------------------------- */

struct X86Cpu {
    /* Hot; the translator reaches the first kilobyte or so through %gs with short offsets. */
    uint64_t gpr[R_COUNT];      /* gpr[R_ZERO] stays 0 */
    uint64_t rip;               /* of the instruction being executed: see insn.h */
    uint64_t next_rip;
    uint32_t cc;
    uint32_t eflags;
    uint32_t mode;              /* derived: MODE_* */
    uint8_t cpl;
    uint8_t mmu_idx;            /* derived: X86MmuIdx of the instruction's own accesses */
    bool interrupt_shadow;      /* STI, MOV SS, POP SS: one instruction without interrupts */
    bool halted;
    _Atomic uint32_t requests;  /* X86_REQ_*; tested between blocks */
    uint32_t stop;              /* own thread: leave the block after this instruction */
    uint32_t tlb_gen;           /* counts TLB invalidations: translations cached elsewhere are stale */
    uint64_t lin_mask;          /* derived: width of linear addresses */
    uint8_t sign_shift;         /* derived: a canonical address >> this is 0 or -1 */
    X86Seg segs[SEG_COUNT + 1]; /* segs[SEG_FLAT] stays base 0, no limit */
    const Insn *insn;           /* being executed by the interpreter, for diagnostics */
    uint64_t block_rip;         /* interpreter: rip of the current block's first byte */

    X86TlbEntry tlb[X86_MMU_COUNT][X86_TLB_SIZE] __attribute__((aligned(64)));
    X86TlbPhys tlb_phys[X86_MMU_COUNT][X86_TLB_SIZE];
    uint32_t tlb_lost[X86_MMU_COUNT][X86_TLB_SIZE];         /* number of the page that was last dropped */
    uint64_t tlb_used[X86_MMU_COUNT][X86_TLB_SIZE / 64];    /* sets with pages that are not global */
    uint64_t tlb_used_words[X86_MMU_COUNT];     /* which of its words are not 0; perhaps more */
    uint64_t tlb_global[X86_MMU_COUNT][X86_TLB_SIZE / 64];  /* sets with global pages */
    struct { uint64_t start, len; uint8_t *host; } ram[3];  /* plain memory: mmu.c */
    uint64_t debug_hits;        /* DR6 bits of the instruction being executed: debug.h */
    uint64_t mmu_leaf;          /* gpa of the entry that ended the latest walk */
    X86Contexts *contexts;      /* tlb_contexts.h; NULL: none are kept */
    bool tlb_large[2];          /* large mappings cached in the lower, upper half since a flush */

    /* SIMD and x87.  Upper parts of zmm[] are kept exact even where the guest has no AVX. */
    X87State x87 __attribute__((aligned(64)));
    uint16_t x87_fcs, x87_fds;  /* the selectors of FIP and FDP */
    X86Vec zmm[32];
    uint64_t k[8];
    uint64_t xcr0;
    uint32_t pkru;

    /* System state */
    X86Seg ldt, tr;
    X86Table gdt, idt;
    uint64_t cr0, cr2, cr3, cr4, cr8, efer;
    uint64_t pdpte[4];          /* PAE paging: loaded with CR3 */
    uint64_t dr[8];             /* dr[4], dr[5] unused */
    X86Msrs msrs;
    int64_t tsc_offset;         /* guest TSC = source + offset */
    uint64_t a20_mask;          /* ~0, or with bit 20 clear */
    uint64_t monitor_va;        /* MONITOR: linear address of the line, and its sum then */
    uint64_t monitor_sum;
    bool monitor_armed;

    bool smm;                   /* in system management mode */
    bool nmi_blocked;
    bool nmi_pending_smm;       /* latched while in SMM */
    bool wait_sipi;             /* INIT received: waiting for a start-up IPI */
    uint8_t sipi_vector;
    X86Event event;             /* what delivery is working on, or waits for the next entry */
    X86Event previous;          /* the event during whose delivery `event` was raised */
    bool delivering;
    uint8_t delivery_depth;
    X86FaultRecord faults[X86_FAULT_RECORDS];    /* the chain that led to the latest delivery */
    unsigned fault_count;

    /* CPUID */
    uint32_t features[FEAT_WORDS];
    uint32_t cpuid_level, cpuid_xlevel, cpuid_version;
    uint32_t cpuid_vendor[3];
    uint32_t cpuid_model[12];
    uint8_t phys_bits, virt_bits;
    struct X86CpuidTable *cpuid;        /* cpuid.c */
    uint32_t apic_id;
    uint32_t index;             /* 0 = bootstrap processor */

    /* Surroundings; none of it is architectural. */
    sigjmp_buf *unwind;         /* where cpu_raise() goes: see exception.h */
    const X86Bus *bus;          /* guest physical memory and ports: see bus.h */
    void *bus_opaque;
    X86CodeMap *code;           /* pages that hold decoded code: see code.h; may be NULL */
    struct X86Interp *interp;   /* the interpreter's block cache */
    void *engine;               /* the translator's private part */
    X86Translated tx;
    struct Cpu *vm_cpu;         /* the board's view of this CPU */
    uint8_t rmw_bounce[64] __attribute__((aligned(64)));     /* mem.h */
    struct X86RmwState { uint64_t va, va2; uint32_t size; bool bounced, locked; } rmw;
    uint64_t insn_count;        /* executed by the interpreter; a `rep` counts when it is done */
    void (*settle)(X86Cpu *cpu);        /* the engine's: see x86_settle() */
    bool plain_events;          /* each interrupt, exception and IRET the long way: event_fast.c is off */
    bool pause_exits;           /* PAUSE leaves the run loop, and sets `paused` */
    bool paused;
    uint64_t insn_limit;        /* the count to stop at, exactly; ~0: none */
    /* Derived, outside 64-bit code: by segment, how many bytes from offset 0 on may be read, and written; 0 where that
     * depends on more than one comparison. */
    uint64_t seg_end[SEG_COUNT][2];
};

/* A CPU after power-on, except CPUID and the surroundings.  Returns zeroed, aligned memory. */
X86Cpu *x86_cpu_new(void);
void x86_cpu_free(X86Cpu *cpu);
/* RESET (init = false) or INIT# (init = true), SDM3A 10.1.1.  Requests are not touched. */
void x86_cpu_reset(X86Cpu *cpu, bool init);

void x86_update_mode(X86Cpu *cpu);

/* From any thread; kicks nothing by itself. */
void x86_cpu_request(X86Cpu *cpu, uint32_t requests);
void x86_cpu_request_clear(X86Cpu *cpu, uint32_t requests);

static inline uint64_t x86_cc_to_flags(uint32_t cc)
{
    return ((cc >> 8) & (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF)) | (cc & 1) << 11;
}

static inline uint32_t x86_flags_to_cc(uint64_t flags)
{
    return (flags & (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF)) << 8 | 0x200 |
           ((flags >> 11) & 1);
}

/* All of RFLAGS as PUSHF would store it (VM and RF included). */
static inline uint64_t x86_rflags(const X86Cpu *cpu)
{
    return cpu->eflags | x86_cc_to_flags(cpu->cc) | FLAG_ONE;
}

/* Stores every defined bit; the caller has done the privilege masking. */
static inline void x86_set_rflags(X86Cpu *cpu, uint64_t flags)
{
    cpu->cc = x86_flags_to_cc(flags);
    cpu->eflags = flags & 0x3f7700;
}

static inline void x86_itlb_lose(X86Cpu *cpu, unsigned class, uint64_t va)
{
    unsigned slot = x86_itlb_index(va);

    cpu->tx.itlb_lost[class][va >> 63][slot / 64] |= BIT64(slot % 64);
    cpu->tx.any_lost[class] = true;
}

static inline void x86_itlb_set(X86Cpu *cpu, unsigned class, uint64_t va, uint64_t value)
{
    unsigned slot = x86_itlb_index(va);
    uint64_t *entry = &cpu->tx.itlb[class][slot];

    if (*entry == X86_ITLB_EMPTY) {
        if (class && cpu->tx.itlb_listed <= X86_ITLB_LIST) {
            if (cpu->tx.itlb_listed < X86_ITLB_LIST) {
                cpu->tx.itlb_list[cpu->tx.itlb_listed] = slot;
            }
            cpu->tx.itlb_listed++;
        }
    } else if (*entry >> 28 != value >> 28) {
        x86_itlb_lose(cpu, class, (uint64_t)((int64_t)(*entry >> 28 << 28) >> 16));
    }
    *entry = value;
}

static inline bool x86_itlb_is_lost(const X86Cpu *cpu, unsigned class, uint64_t va)
{
    unsigned slot = x86_itlb_index(va);

    return cpu->tx.itlb_lost[class][va >> 63][slot / 64] >> (slot % 64) & 1;
}

static inline bool x86_has(const X86Cpu *cpu, unsigned feature)
{
    return feature >= FEAT_WORDS * 32 || (cpu->features[feature / 32] >> (feature % 32) & 1);
}

/*
 * Before a device's code runs on this thread: state of the guest that is still in the host's registers goes to where it
 * belongs.  Of the x87 that would raise the guest's exceptions there, at the first instruction that waits for them.
 */
static inline void x86_settle(X86Cpu *cpu)
{
    if (G_UNLIKELY(cpu->tx.live)) {
        cpu->settle(cpu);
    }
}

static inline bool x86_is_long(const X86Cpu *cpu) { return cpu->mode & MODE_LMA; }
static inline bool x86_is_64(const X86Cpu *cpu) { return cpu->mode & MODE_CS64; }
static inline bool x86_is_protected(const X86Cpu *cpu)
{
    return (cpu->mode & (MODE_PE | MODE_VM86)) == MODE_PE;
}

/* May the paging mode translate this address of 64-bit code?  [SDM1 3.3.7.1] */
static inline bool x86_is_canonical(const X86Cpu *cpu, uint64_t va)
{
    return (uint64_t)(((int64_t)va >> cpu->sign_shift) + 1) <= 1;
}
/* The same for what registers hold for later (bases, MSRs): by what CPUID promises, not the mode. */
static inline bool x86_base_is_canonical(const X86Cpu *cpu, uint64_t va)
{
    return (uint64_t)(((int64_t)va >> (cpu->virt_bits - 1)) + 1) <= 1;
}

#endif
