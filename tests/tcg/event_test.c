/* SPDX-License-Identifier: MIT */
/*
 * Interrupts, exceptions and IRET of 64-bit kernels: what goes the short ways (target-x86/event_fast.c, translated code)
 * comes to what the interpreter makes of it going the long ones.  A driver of guest code takes records, each of which
 * changes a word of memory (a descriptor, a gate, the TSS), loads flags and a stack pointer, and returns by a
 * frame from there, or raises an exception; wherever that leads, all that can be seen there goes into a sum.
 * Frames, descriptors, gates and flags are those of kernels, with one of them spoiled now and then.
 *
 * RHEA_INSN_SEED sets the seed, RHEA_INSN_ROUNDS the number of runs.
 */
#include <stdlib.h>

#include "tests/insn/maker.h"
#include "tests/tcg/engines.h"

/* In the data that engines.h saves. */
#define GDT_AT 0x20200000
#define TSS_AT 0x20200800
#define RECORD_AT 0x20200f00    /* pointer to the record, scratch words */
#define IDT_AT 0x20201000
#define FRAMES_AT 0x20202000    /* and the page behind that is missing once, ENGINES_NONE */
#define RECORDS_AT 0x20206000
#define KSTACK_AT 0x20201f00
#define CODE_AT 0x20100000
#define KERNEL_AT 0x20207000
G_STATIC_ASSERT(KERNEL_AT == ENGINES_KERNEL);
G_STATIC_ASSERT(GDT_AT == BENCH_DATA && CODE_AT == BENCH_CODE && RECORDS_AT == ENGINES_READONLY + 4096);

#define RECORDS 28
#define VECTORS 34

typedef struct __attribute__((packed)) Record {
    uint64_t rsp;               /* 0: the end */
    uint64_t where, what;       /* a word of memory to change */
    uint64_t flags;
    uint64_t go;                /* do_* */
    uint64_t address;           /* for do_load */
    uint8_t table[10];          /* for do_lgdt */
    uint16_t sel[3];            /* for do_segs */
} Record;

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define SUM(x) "imul r15, r15, 33\n add r15, " x "\n"

extern const uint8_t ev_start[], ev_iret[], ev_int3[], ev_ud[], ev_load[], ev_int80[], ev_lgdt[], ev_segs[],
    ev_landed0[], ev_landed3[],
    ev_vectors[], ev_back[], ev_end[];

/* clang-format off */
__asm__(
    ".pushsection .rodata\n .intel_syntax noprefix\n"
    "ev_start:\n"
    " mov rbx, [" TEXT(RECORD_AT) "]\n cmp qword ptr [rbx], 0\n jne 1f\n hlt\n"
    "1: add qword ptr [" TEXT(RECORD_AT) "], 64\n"
    " mov rcx, [rbx + 8]\n mov rax, [rbx + 16]\n mov [rcx], rax\n"
    " mov rsp, " TEXT(KSTACK_AT) "\n push qword ptr [rbx + 24]\n popfq\n mov rsp, [rbx]\n jmp qword ptr [rbx + 32]\n"
    "ev_iret: iretq\n"
    "ev_int3: int3\n jmp ev_landed0\n"
    "ev_ud: ud2\n"
    "ev_load: mov rax, [rbx + 40]\n mov rax, [rax]\n jmp ev_landed0\n"
    "ev_int80: int 0x20\n jmp ev_landed0\n"
    "ev_lgdt: lgdt [rbx + 48]\n jmp ev_landed0\n"
    "ev_segs: mov ds, [rbx + 58]\n mov es, [rbx + 60]\n mov fs, [rbx + 62]\n jmp ev_landed0\n"
    "ev_landed0:\n"
    " mov [" TEXT(RECORD_AT) " + 8], rsp\n mov rsp, " TEXT(KSTACK_AT) "\n pushfq\n pop rax\n"
    SUM("[" TEXT(RECORD_AT) " + 8]") SUM("rax")
    " mov eax, cs\n" SUM("rax") " mov eax, ss\n" SUM("rax")
    " jmp ev_start\n"
    "ev_landed3:\n"
    " lahf\n seto al\n movzx eax, ax\n" SUM("rax")
    " mov eax, cs\n" SUM("rax") " mov eax, ss\n" SUM("rax") " mov eax, ds\n" SUM("rax") SUM("rsp")
    " int 0x21\n"
    "ev_plain: push 0\n"
    "ev_code:\n"
    " and qword ptr [rsp + 24], ~0x8d5\n"
    " mov [" TEXT(RECORD_AT) " + 8], rsp\n" SUM("r14") SUM("rsp")
    SUM("[rsp]") SUM("[rsp + 8]") SUM("[rsp + 16]") SUM("[rsp + 24]") SUM("[rsp + 32]") SUM("[rsp + 40]")
    " mov rsp, " TEXT(KSTACK_AT) "\n pushfq\n pop rax\n and eax, ~0x8d5\n" SUM("rax")
    " mov eax, cs\n" SUM("rax") " mov eax, ss\n" SUM("rax")
    " jmp ev_start\n"
    ".balign 16\n"
    "ev_vectors:\n .set v, 0\n"
    ".rept " TEXT(VECTORS) "\n .balign 16\n mov r14d, v\n"
    ".if v == 8 || (v >= 10 && v <= 14) || v == 17\n jmp ev_code\n .else\n jmp ev_plain\n .endif\n .set v, v + 1\n .endr\n"
    "ev_back: mov rsp, " TEXT(KSTACK_AT) "\n jmp ev_start\n"
    "ev_end:\n .att_syntax\n .popsection\n");
/* clang-format on */

extern const uint8_t ret_start[], ret_site[], ret_end[], rf_start[], rf_int[], rf_gate[], rf_end[], up_start[], up_site[],
    up_gate[], up_end[], iopl_start[], iopl_site[], iopl_gate[], iopl_end[],
    fsb_start[], fsb_site[], fsb_gate[], fsb_end[], nmi_start[], nmi_site[], nmi_end[];

/* A function that CPL 0 calls returns twice; the third time CPL 3 "returns" to where it was called. */
/* clang-format off */
__asm__(
    ".pushsection .rodata\n .intel_syntax noprefix\n"
    "ret_start: mov rsp, " TEXT(KSTACK_AT) "\n xor ebx, ebx\n"
    "1: call 2f\n"
    "ret_site: mov rax, [" TEXT(KERNEL_AT) "]\n inc ebx\n cmp ebx, 5\n jb 1b\n hlt\n"
    "2: cmp ebx, 2\n je 3f\n ret\n"
    "3: lea rax, [rip + 4f]\n lea rcx, [rip + ret_site]\n"
    " push 0x1b\n push " TEXT(FRAMES_AT) " + 0x800\n push 2\n push 0x23\n push rax\n iretq\n"
    "4: push rcx\n ret\n"
    "ret_end:\n"
    /* IRET with RF to an INT, whose frame has it no more. */
    "rf_start: mov ebx, 5\n lea rax, [rip + 2f]\n"
    "1: mov rsp, " TEXT(KSTACK_AT) "\n push 0x10\n push " TEXT(KSTACK_AT) "\n push 0x10002\n push 8\n push rax\n iretq\n"
    "2: nop\n"
    "rf_int: int 0x20\n"
    "rf_gate: and qword ptr [rsp + 16], 0x10000\n add r15, [rsp + 16]\n dec ebx\n jnz 1b\n hlt\n"
    "rf_end:\n"
    /* CPL 0 returns to a caller of CPL 3; then, called from there again, CPL 3 does. */
    "up_start: lea rax, [rip + 1f]\n"
    "3: mov rsp, " TEXT(KSTACK_AT) "\n push 0x1b\n push " TEXT(FRAMES_AT) " + 0x800\n push 2\n push 0x23\n push rax\n iretq\n"
    "1: call 2f\n"
    "up_site: mov rdx, [" TEXT(KERNEL_AT) "]\n inc ebx\n cmp ebx, 5\n jb 3b\n hlt\n"
    "2: test ebx, ebx\n jz 4f\n ret\n"
    "4: int 0x20\n"
    "up_gate: mov rsp, [rsp + 24]\n ret\n"
    "up_end:\n"
    /* IOPL falls between a call and its return. */
    "iopl_start: lea rax, [rip + 1f]\n"
    " mov rsp, " TEXT(KSTACK_AT) "\n push 0x1b\n push " TEXT(FRAMES_AT) " + 0x800\n push 0x3002\n push 0x23\n push rax\n iretq\n"
    "1: call 2f\n"
    "iopl_site: cli\n inc ebx\n cmp ebx, 5\n jb 1b\n hlt\n"
    "2: cmp ebx, 2\n je 3f\n ret\n"
    "3: int 0x20\n ret\n"
    "iopl_gate: and qword ptr [rsp + 16], ~0x3000\n iretq\n"
    "iopl_end:\n"
    /* CR4.FSGSBASE goes between a call and its return. */
    "fsb_start: mov rcx, cr4\n or ecx, 0x10000\n mov cr4, rcx\n lea rax, [rip + 1f]\n"
    " mov rsp, " TEXT(KSTACK_AT) "\n push 0x1b\n push " TEXT(FRAMES_AT) " + 0x800\n push 2\n push 0x23\n push rax\n iretq\n"
    "1: call 2f\n"
    "fsb_site: rdfsbase rcx\n inc ebx\n cmp ebx, 5\n jb 1b\n hlt\n"
    "2: cmp ebx, 2\n je 3f\n ret\n"
    "3: int 0x20\n ret\n"
    "fsb_gate: mov rcx, cr4\n and ecx, ~0x10000\n mov cr4, rcx\n iretq\n"
    "fsb_end:\n"
    /* IRET lets NMIs in again, each time. */
    "nmi_start: mov ebx, 5\n xor r15d, r15d\n"
    "1: in al, dx\n movzx eax, al\n add r15, rax\n lea rax, [rip + 2f]\n"
    " mov rsp, " TEXT(KSTACK_AT) "\n push 0x10\n push " TEXT(KSTACK_AT) "\n push 2\n push 8\n push rax\n iretq\n"
    "2: dec ebx\n jnz 1b\n"
    "nmi_site: ud2\n"
    "nmi_end:\n .att_syntax\n .popsection\n");
/* clang-format on */

#define AT(label) (CODE_AT + (uint64_t)(ev_##label - ev_start))

/* Selectors 8 and 10h of CPL 0, 1bh and 23h of CPL 3; what is wrong with the others: */
static const uint64_t descriptors[] = {
    0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cff3000000ffff, 0x00affb000000ffff,
    0x00af9f000000ffff,         /* 28h: conforming */
    0x00cffb000000ffff,         /* 30h: 32-bit code of CPL 3 */
    0x00af1b000000ffff,         /* 38h: not present */
    0x00af9a000000ffff,         /* 40h: not used before */
    0x00cff2000000ffff,         /* 48h: a stack of CPL 3, not used before */
    0x00cff1000000ffff,         /* 50h: not writable */
    0x00effb000000ffff,         /* 58h: L and D */
    0x00afbb000000ffff,         /* 60h: DPL 1 */
    0x00cff7000000ffff,         /* 68h: expands down */
};

typedef struct Test {
    Engines e;
    GRand *rand;
    unsigned failed, compared, too_long;
} Test;

#define ONE_OF(t, array) (array)[pick((t)->rand, ARRAY_LEN(array))]

static uint64_t *word(uint64_t at) { return (uint64_t *)(uintptr_t)at; }

static uint64_t any_flags(Test *t)
{
    static const uint32_t often[] = { 0, FLAG_IF, FLAG_IF | FLAG_DF, FLAG_AC, FLAG_ID, FLAG_IOPL | FLAG_IF, FLAG_RF };
    static const uint32_t seldom[] = { FLAG_NT, FLAG_TF, FLAG_VM, FLAG_VIF, FLAG_VIP, FLAG_NT | FLAG_TF, 0x8028 };

    return 2 | ONE_OF(t, often) | (pick(t->rand, 12) ? 0 : ONE_OF(t, seldom));
}

static uint64_t any_stack(Test *t)
{
    const uint64_t stacks[] = { FRAMES_AT + 0x800, KSTACK_AT, FRAMES_AT + 0x1000, FRAMES_AT + 0x1018, FRAMES_AT + 0x7fc,
                                ENGINES_NONE + 0x20, ENGINES_NONE + 0x1000, ENGINES_NONE - 8, ENGINES_NONE - 0x18, ENGINES_READONLY + 0x100, ENGINES_MMIO + 0x80,
                                1ull << 47, ~0ull << 47, 0, 8, 0x1234567890abcdefull, ENGINES_KERNEL + 0x800 };

    return pick(t->rand, 3) ? stacks[pick(t->rand, 2)] : ONE_OF(t, stacks);
}

/* A frame that is right, then perhaps one word of it wrong. */
static void put_frame(Test *t, uint64_t at)
{
    static const uint16_t selectors[] = { 0, 0, 3, 1, 8, 0x10, 0x0b, 0x13, 0x18, 0x1b, 0x20, 0x23, 0x28, 0x2b, 0x33, 0x30, 0x38,
                                          0x40, 0x48, 0x4b, 0x53, 0x5b, 0x61, 0x6b, 0x0c, 0x7f8 };
    const uint64_t addresses[] = { 1ull << 47, ENGINES_NONE, 0, ~0ull << 47, AT(landed0), AT(landed3), ENGINES_KERNEL };
    bool user = pick(t->rand, 2);
    uint64_t frame[5] = { user ? AT(landed3) : AT(landed0), user ? 0x23 : 8,
                          (pick(t->rand, 4) ? 2 | FLAG_IF : any_flags(t)) | (pick(t->rand, 4096) & FLAGS_ARITH),
                          any_stack(t), user ? 0x1b : 0x10 };

    if (!pick(t->rand, 4)) {
        unsigned n = pick(t->rand, 5);

        frame[n] = n == 0 ? ONE_OF(t, addresses) : n == 2 ? any_flags(t) : n == 3 ? any_stack(t) : ONE_OF(t, selectors);
        if (n && n != 2 && !pick(t->rand, 4)) {
            frame[n] |= 0xabcd0000ull << pick(t->rand, 16);
        }
    }
    if (at >= FRAMES_AT && at < ENGINES_NONE) {     /* also into the missing page, where nobody may find it */
        memcpy((void *)(uintptr_t)at, frame, sizeof(frame));
    }
}

static void put_gate(unsigned vector, uint64_t rip, unsigned sel, unsigned type, unsigned dpl, unsigned ist)
{
    uint64_t *gate = word(IDT_AT) + 2 * vector;

    gate[0] = (rip & 0xffff) | sel << 16 | (uint64_t)ist << 32 | (uint64_t)(0x80 | dpl << 5 | type) << 40 |
              (rip >> 16 & 0xffff) << 48;
    gate[1] = rip >> 32;
}

/* Something to change on the way; mostly nothing. */
static void put_change(Test *t, Record *r)
{
    unsigned vector = pick(t->rand, VECTORS);
    const uint64_t gates[] = { 0x80, 0x20, 0x0100, 0x0200, 0x01 };  /* XORed into bits 40, not present and kin */

    r->where = RECORD_AT + 16;
    switch (pick(t->rand, 8)) {
    case 0:
        r->where = GDT_AT + 8 * (1 + pick(t->rand, ARRAY_LEN(descriptors) - 1));
        r->what = pick(t->rand, 2) ? descriptors[(r->where - GDT_AT) / 8] : ONE_OF(t, descriptors);
        break;
    case 1:
        r->where = IDT_AT + 16 * vector;
        r->what = *word(r->where) ^ (pick(t->rand, 2) ? ONE_OF(t, gates) << 40 : (uint64_t)pick(t->rand, 8) << 32);
        break;
    case 2:
        r->where = GDT_AT + (pick(t->rand, 2) ? 8 : 0x18);     /* those in use */
        r->what = descriptors[(r->where - GDT_AT) / 8] ^ (pick(t->rand, 3) ? 0 : BIT64(40 + pick(t->rand, 16)));
        break;
    case 3:
        r->where = TSS_AT + 4;
        r->what = any_stack(t);
        break;
    }
}

static void build(Test *t)
{
    const uint64_t ways[] = { AT(iret), AT(iret), AT(iret), AT(iret), AT(iret), AT(iret), AT(iret), AT(iret), AT(int3), AT(ud),
                              AT(load), AT(int80), AT(lgdt), AT(segs) };
    static const uint16_t data_selectors[] = { 0, 0x10, 0x1b, 0x1b, 8, 0x28 };
    Record *records = (Record *)(uintptr_t)RECORDS_AT;
    X86Cpu *cpu = t->e.cpu;

    memset((void *)(uintptr_t)BENCH_DATA, 0, BENCH_DATA_SIZE);
    memcpy(word(GDT_AT), descriptors, sizeof(descriptors));
    *word(TSS_AT + 4) = FRAMES_AT + 0xc00;
    *word(TSS_AT + 0x24) = FRAMES_AT + 0xe00;
    *word(TSS_AT + 0x2c) = FRAMES_AT + 0xf08;
    for (unsigned v = 0; v < VECTORS; v++) {
        bool own = v == VEC_DF || v == VEC_SS || v == VEC_GP || v == VEC_PF;

        put_gate(v, AT(vectors) + 16 * v, pick(t->rand, 24) ? 8 : 0x28, pick(t->rand, 3) ? 14 : 15, v == 3 || v >= 0x20 ? 3 : 0,
                 v == VEC_DF ? 1 : own && pick(t->rand, 8) ? 2 : 0);
    }
    for (unsigned i = 0; i < RECORDS; i++) {
        const uint64_t addresses[] = { ENGINES_NONE, ENGINES_NONE + 8, 1ull << 47, BENCH_DATA, ENGINES_KERNEL + 0x1000 };
        bool odd = !pick(t->rand, 6);

        records[i] = (Record){ .rsp = odd ? any_stack(t) : FRAMES_AT + 40 * i, .flags = any_flags(t),
                               .go = ONE_OF(t, ways), .address = ONE_OF(t, addresses) };
        le16_store(records[i].table, pick(t->rand, 4) ? 8 * ARRAY_LEN(descriptors) - 1 : 0x17);
        le64_store(records[i].table + 2, GDT_AT);
        for (unsigned s = 0; s < 3; s++) {
            records[i].sel[s] = ONE_OF(t, data_selectors);
        }
        put_frame(t, odd ? records[i].rsp : FRAMES_AT + 40 * i);
        put_change(t, &records[i]);
        records[i].flags &= ~(uint64_t)(FLAG_VM | FLAG_TF);
        records[i].rsp += !records[i].rsp * 8;
    }
    records[RECORDS].rsp = 0;
    *word(RECORD_AT) = RECORDS_AT;
    engines_mode(&t->e, 64, 0);
    cpu->gdt = (X86Table){ GDT_AT, 8 * ARRAY_LEN(descriptors) - 1 };
    cpu->idt = (X86Table){ IDT_AT, 16 * (pick(t->rand, 12) ? VECTORS : pick(t->rand, VECTORS)) - 1 };
    cpu->tr = (X86Seg){ 0x70, DESC_P | 11 << DESC_TYPE_SHIFT, pick(t->rand, 12) ? 103 : 0x23, TSS_AT };
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        if (i != SEG_CS && i != SEG_SS && pick(t->rand, 4)) {
            cpu->segs[i] = pick(t->rand, 2) ? (X86Seg){ 0 } : (X86Seg){ 0x1b, 0x00c0f300, ~0u, 0 };
        }
    }
    cpu->nmi_blocked = pick(t->rand, 2);
    memset(cpu->gpr, 0, sizeof(cpu->gpr));
    cpu->gpr[R_RSP] = KSTACK_AT;
    cpu->rip = BENCH_CODE;
}

/* Flags nobody reads may be wrong in a frame that was begun before a fault. */
static void forgive_dead_flags(const EngineState *a, EngineState *b)
{
    for (unsigned i = 0; i + 8 <= sizeof(a->data); i += 8) {
        if (!((le64_load(a->data + i) ^ le64_load(b->data + i)) & ~(uint64_t)FLAGS_ARITH)) {
            memcpy(b->data + i, a->data + i, 8);
        }
    }
}

static void run(Test *t, unsigned number)
{
    X86Cpu *cpu = t->e.cpu;

    engines_save(&t->e, t->e.start);
    engines_load(&t->e, t->e.start, true);
    cpu->plain_events = true;
    if (!engines_interpret(&t->e, 6000)) {
        t->too_long++;
        return;
    }
    engines_save(&t->e, t->e.interpreted);
    t->compared++;
    for (unsigned i = 0; i < 3; i++) {
        g_autoptr(GString) why = g_string_new(NULL);

        engines_load(&t->e, t->e.start, i == 0);
        cpu->plain_events = i == 2;
        engines_translate(&t->e);
        engines_save(&t->e, t->e.translated);
        forgive_dead_flags(t->e.interpreted, t->e.translated);
        engines_compare(t->e.interpreted, t->e.translated, ~(uint64_t)FLAGS_ARITH, 0, why);
        if (why->len && t->failed++ < 10) {
            g_test_message("run %u, %s:%s", number, i == 2 ? "the long way" : "the short way", why->str);
        }
    }
}

static void set_up(Test *t, bool smap)
{
    uint64_t *table = (uint64_t *)(uintptr_t)(BENCH_TABLES + 0x8000);

    for (unsigned i = 0; i < 8; i++) {
        if (table[i] & 1) {
            table[i] = smap ? table[i] & ~4ull : table[i] | (BENCH_DATA + i * 4096 == ENGINES_KERNEL ? 0 : 4);
        }
    }
}

static void check_many(uint64_t cr4, bool smap)
{
    const char *seed = g_getenv("RHEA_INSN_SEED"), *rounds = g_getenv("RHEA_INSN_ROUNDS");
    unsigned count = rounds ? atoi(rounds) : 300;
    Test t = { 0 };

    if (!engines_init(&t.e)) {
        return;
    }
    t.e.anywhere = true;
    t.rand = g_rand_new_with_seed(seed ? atoi(seed) : 17);
    engines_mode(&t.e, 64, 0);
    engines_code(&t.e, BENCH_CODE, ev_start, ev_end - ev_start);
    set_up(&t, smap);
    for (unsigned i = 0; i < count; i++) {
        build(&t);
        t.e.cpu->cr4 |= cr4;
        x86_update_mode(t.e.cpu);
        run(&t, i);
    }
    g_rand_free(t.rand);
    engines_clear(&t.e);
    g_test_message("%u compared, %u too long", t.compared, t.too_long);
    g_assert_cmpuint(t.failed, ==, 0);
    g_assert_cmpuint(t.compared, >, count / 2);
}

static void test_events(void) { check_many(0, false); }
static void test_events_with_smap(void) { check_many(CR4_SMAP, true); }
static void test_events_with_pcids(void) { check_many(CR4_PCIDE | CR4_UMIP, false); }

/* A port that says whether NMIs are blocked, and blocks them. */
static uint64_t block_nmis(void *opaque, uint16_t port, unsigned size)
{
    Engines *e = opaque;
    bool blocked = e->cpu->nmi_blocked;

    e->cpu->nmi_blocked = true;
    return blocked;
}

/*
 * Both engines, from the first byte at CPL 0; vector 20h goes to GATE, or the first exception, at RIP, is the end.
 * Ports block NMIs.
 */
static void check_code(const uint8_t *start, const uint8_t *end, unsigned gate, unsigned vector, uint64_t rip)
{
    g_autoptr(GString) why = g_string_new(NULL);
    uint64_t at = 0;
    X86Bus bus;
    Engines e;

    if (!engines_init(&e)) {
        return;
    }
    bus = *e.cpu->bus;
    bus.port_read = block_nmis;
    e.cpu->bus = &bus;
    engines_mode(&e, 64, 0);
    engines_code(&e, CODE_AT, start, end - start);
    memcpy(word(GDT_AT), descriptors, sizeof(descriptors));
    put_gate(0x20, CODE_AT + gate, 8, 14, 3, 0);
    *word(TSS_AT + 4) = FRAMES_AT + 0xc00;
    e.cpu->tr = (X86Seg){ 0x70, DESC_P | 11 << DESC_TYPE_SHIFT, 103, TSS_AT };
    e.cpu->gdt = (X86Table){ GDT_AT, sizeof(descriptors) - 1 };
    e.cpu->idt = (X86Table){ IDT_AT, gate ? 16 * VECTORS - 1 : 0 };
    e.cpu->rip = CODE_AT;
    engines_save(&e, e.start);
    engines_load(&e, e.start, true);
    g_assert_true(engines_interpret(&e, 200));
    engines_save(&e, e.interpreted);
    g_assert_cmpint(engines_vector(e.interpreted, &at), ==, vector);
    g_assert_cmphex(at, ==, rip);
    engines_load(&e, e.start, true);
    engines_translate(&e);
    engines_save(&e, e.translated);
    engines_compare(e.interpreted, e.translated, 0, 0, why);
    g_assert_cmpstr(why->str, ==, "");
    engines_clear(&e);
}

/* The host's return stack is one for all privileges. */
static void test_return_to_inner_caller(void)
{
    check_code(ret_start, ret_end, 0, VEC_PF, CODE_AT + (ret_site - ret_start));
}

static void test_return_to_outer_caller(void)
{
    check_code(up_start, up_end, up_gate - up_start, VEC_PF, CODE_AT + (up_site - up_start));
}

static void test_return_with_less_iopl(void)
{
    check_code(iopl_start, iopl_end, iopl_gate - iopl_start, VEC_GP, CODE_AT + (iopl_site - iopl_start));
}

static void test_return_without_fsgsbase(void)
{
    check_code(fsb_start, fsb_end, fsb_gate - fsb_start, VEC_UD, CODE_AT + (fsb_site - fsb_start));
}

static void test_iret_unblocks_nmis(void)
{
    check_code(nmi_start, nmi_end, 0, VEC_UD, CODE_AT + (nmi_site - nmi_start));
}

static void test_resume_flag_ends(void)
{
    check_code(rf_start, rf_end, rf_gate - rf_start, 0x20, CODE_AT + (rf_int - rf_start));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/tcg/event/random", test_events);
    g_test_add_func("/tcg/event/smap", test_events_with_smap);
    g_test_add_func("/tcg/event/pcids", test_events_with_pcids);
    g_test_add_func("/tcg/event/return-to-inner-caller", test_return_to_inner_caller);
    g_test_add_func("/tcg/event/return-to-outer-caller", test_return_to_outer_caller);
    g_test_add_func("/tcg/event/return-with-less-iopl", test_return_with_less_iopl);
    g_test_add_func("/tcg/event/return-without-fsgsbase", test_return_without_fsgsbase);
    g_test_add_func("/tcg/event/iret-unblocks-nmis", test_iret_unblocks_nmis);
    g_test_add_func("/tcg/event/resume-flag-ends", test_resume_flag_ends);
    return g_test_run();
}
