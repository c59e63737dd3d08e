/* SPDX-License-Identifier: MIT */
/*
 * Real, virtual-8086, 16-bit protected and segmented 32-bit code, by the interpreter and by the translator.
 *
 * rows/...: each table row with operands of all addressing forms, within their segments, at the limit and one byte
 * beyond, where offsets wrap, across pages; segments are writable, read-only, code, null, expand-down or flat, with
 * bases and limits at random, and so is CS.  See rows.h for how, and for the environment.
 *
 * Beside that: what random operands seldom meet.
 */
#include "target-x86/sem.h"
#include "tests/tcg/program.h"
#include "tests/tcg/rows.h"

typedef struct Fixture {
    Rows r;                     /* first: try_row() gets a pointer to it */
    EnginesKind kind;
} Fixture;

static uint64_t code_base(const Rows *r) { return r->e.cpu->segs[SEG_CS].base; }

/* ---- what stands around the instruction ------------------------------------------------------------ */

static void put_producer(Rows *r)
{
    static const struct { uint8_t len, bytes[2]; } producers[] = {
        { 2, { 0x39, 0xc8 } },          /* cmp ax, cx */
        { 2, { 0x85, 0xda } },          /* test dx, bx */
        { 2, { 0x38, 0xdc } },          /* cmp ah, bl */
        { 1, { 0xf9 } }, { 1, { 0xf5 } }, { 1, { 0x9e } },      /* stc, cmc, sahf */
        { 1, { 0x90 } },
    };
    unsigned n = pick(r->rand, ARRAY_LEN(producers));

    rows_put(r, producers[n].bytes, producers[n].len);
}

static void put_consumer(Rows *r, uint64_t undefined)
{
    switch (pick(r->rand, 6)) {
    case 0:
        rows_put(r, "\x39\xf7", 2);             /* cmp di, si */
        break;
    case 1:
        rows_put(r, undefined & FLAG_CF ? "\x90\x90" : "\x11\xd0", 2);  /* adc ax, dx */
        break;
    case 2:
        rows_put(r, undefined & FLAG_ZF ? "\x90\x90" : "\x74\x00", 2);  /* jz to the next */
        break;
    case 3:
        rows_put(r, undefined & FLAG_CF ? "\x90" : "\x0f\x92\xc2", undefined & FLAG_CF ? 1 : 3);     /* setc dl */
        break;
    case 4:
        rows_put(r, "\xeb\x00", 2);             /* jmp to the next */
        break;
    default:
        break;
    }
}

/* ---- where operands lie ------------------------------------------------------------------------------ */

/* An offset of interest in a segment. */
static uint64_t pick_offset(Rows *r, unsigned seg)
{
    const X86Seg *s = &r->e.cpu->segs[seg == SEG_FLAT ? SEG_DS : seg];
    uint64_t base = seg == SEG_FLAT ? 0 : s->base;

    switch (pick(r->rand, 10)) {
    case 0: case 1: return s->limit + 1 - pick(r->rand, 36);
    case 2: return 0x10000 - pick(r->rand, 20);
    case 3: return pick(r->rand, 16) - 8ull;
    case 4: return BENCH_DATA + 0x3000 - pick(r->rand, 40) - base;
    default: return data_address(r->rand) - base;
    }
}

/* A value for a register of which SIZE bytes matter. */
static uint64_t with_garbage(Rows *r, uint64_t value, unsigned size)
{
    return size == 2 ? (uint16_t)value | ((uint64_t)g_rand_int(r->rand) & 0xffff0000) : (uint32_t)value;
}

static void place_operand(Rows *r, const Insn *insn, uint8_t *bytes)
{
    uint64_t target = pick_offset(r, insn->seg), *gpr = r->state.gpr, sum = insn->disp;

    if (insn->def->opnd[0] >> 8 == OT_O || insn->def->opnd[1] >> 8 == OT_O) {
        memcpy(bytes + insn->len - insn->addr_size, &target, insn->addr_size);
        return;
    }
    if (insn->index != R_ZERO) {
        sum += gpr[insn->index] << insn->scale;
    }
    if (insn->base < R_ZERO && insn->base != insn->index) {
        gpr[insn->base] = with_garbage(r, target - sum, insn->addr_size);
    } else if (insn->base >= R_ZERO && insn->disp_size >= 2) {
        target -= sum - insn->disp;
        memcpy(bytes + insn->len - insn->imm_size - insn->disp_size, &target, insn->disp_size);
    }
}

/* Stack, strings: what no operand shows. */
static void place_implicit(Rows *r, const Insn *insn)
{
    bool ss32 = r->e.cpu->mode & MODE_SS32;
    uint64_t *gpr = r->state.gpr;

    gpr[R_RSP] = with_garbage(r, pick_offset(r, SEG_SS) & (pick(r->rand, 4) ? ~1ull : ~0ull), ss32 ? 4 : 2);
    if (insn->def->attrs & (A_IMPLICIT | A_REP | A_REPCC | A_MULTI | A_STACK)) {
        gpr[R_RBP] = with_garbage(r, pick_offset(r, SEG_SS), ss32 ? 4 : 2);
        gpr[R_RSI] = with_garbage(r, pick_offset(r, SEG_DS), insn->addr_size);
        gpr[R_RDI] = with_garbage(r, pick_offset(r, SEG_ES), insn->addr_size);
        if (insn->def->attrs & (A_REP | A_REPCC)) {
            gpr[R_RCX] = with_garbage(r, pick(r->rand, 40), insn->addr_size);
        }
        if (insn->opcode == 0xd7 && insn->map == MAP_1BYTE) {
            gpr[R_RBX] = with_garbage(r, pick_offset(r, SEG_DS), insn->addr_size);
        }
    }
    if (insn->sem == sem_loop || insn->sem == sem_jcxz) {
        gpr[R_RCX] = with_garbage(r, pick(r->rand, 3), insn->addr_size);
    }
}

/* Most jumps are to arrive where there is code. */
static void aim_jump(Rows *r, const Insn *insn, uint8_t *row)
{
    uint64_t target = BENCH_CODE + 0x800 + pick(r->rand, 64) - code_base(r);

    if ((insn->def->attrs & A_BRANCH) && insn->imm_size == 1) {         /* not into what stands behind it */
        row[insn->len - 1] = pick(r->rand, 2) ? 0x20 + pick(r->rand, 0x50) : 0x90 + pick(r->rand, 0x40);
    } else if ((insn->def->attrs & A_BRANCH) && pick(r->rand, 4)) {
        uint64_t distance = BENCH_CODE + 0x800 - r->row_at - insn->len + pick(r->rand, 64);

        memcpy(row + insn->len - insn->imm_size, &distance, insn->imm_size);
    } else if (!(insn->def->attrs & A_BRANCH) && pick(r->rand, 4)) {
        if (insn->op[1].kind == OPK_GPR && insn->op[1].reg != R_RSP) {
            r->state.gpr[insn->op[1].reg] = with_garbage(r, target, insn->op_size);
        }
        for (unsigned i = 0; i < BENCH_DATA_SIZE; i += insn->op_size) {
            memcpy((uint8_t *)(uintptr_t)BENCH_DATA + i, &target, insn->op_size);
        }
    }
}

/* ---- one try ------------------------------------------------------------------------------------------------ */

static bool encode(Rows *r, const InsnDef *def, InsnMaker *m, Insn *insn)
{
    static const uint8_t prefixes[] = { 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0x67 };
    InsnMaker made;

    insn_make(&made, def, r->rand, MAKE_FAR | MAKE_32);
    *m = made;
    if (pick(r->rand, 2)) {
        m->bytes[0] = prefixes[pick(r->rand, ARRAY_LEN(prefixes))];
        memcpy(m->bytes + 1, made.bytes, sizeof(made.bytes) - 1);
    }
    return insn_decode(insn, m->bytes, INSN_MAX_LEN, r->e.cpu->mode, NULL) == DECODE_OK &&
           insn->def == def && def->sem;
}

static void try_row(Rows *r, const InsnDef *def)
{
    EnginesKind kind = ((const Fixture *)r)->kind;
    uint64_t more_flags = engines_segmented(&r->e, kind, r->cpl, r->rand), rip;
    uint8_t *row;
    InsnMaker m;
    Insn insn;

    if (!encode(r, def, &m, &insn)) {
        return;
    }
    insn_state_random(&r->state, r->rand);
    insn_state_random_x87(&r->state, r->rand);
    r->state.flags |= more_flags;
    place_implicit(r, &insn);
    rows_begin(r);
    put_producer(r);
    row = rows_put_row(r, m.bytes, insn.len);
    if (insn_has_mem(&insn)) {
        place_operand(r, &insn, row);
    }
    rows_data(r, def);
    if (def->attrs & A_CTRL) {
        aim_jump(r, &insn, row);
    }
    put_consumer(r, undefined_flags(def));
    if (rows_interpret(r, &insn)) {
        uint64_t flags = ~undefined_flags(def);

        if (engines_vector(r->e.interpreted, &rip) >= 0) {
            flags &= ~(uint64_t)FLAGS_ARITH;    /* they may be dead there */
        }
        rows_translate(r, &insn, flags);
    }
}

static void test_rows(gconstpointer mode)
{
    Fixture f = { .kind = GPOINTER_TO_UINT(mode) >> 4 };

    if (!rows_init(&f.r, 32, GPOINTER_TO_UINT(mode) & 3, engines_kinds[f.kind])) {
        return;
    }
    f.r.e.anywhere = f.r.e.closed = true;
    rows_run(&f.r, try_row);
    rows_clear(&f.r);
}

/* ---- real mode with limits of protected mode ---------------------------------------------------------------- */

static X86Seg unreal(uint32_t base, uint32_t limit)
{
    return (X86Seg){ 0, DESC_P | DESC_S | DESC_W | DESC_A, limit, base };
}

/* A code segment of 4 GiB is flat at base 0 only. */
static void test_far_jump_from_base_0(void)
{
    const uint32_t off = BENCH_CODE + 8 - 0x1000;
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);
    Program p;

    if (!program_init(&p)) {
        return;
    }
    p.e.anywhere = true;
    engines_segmented(&p.e, ENGINES_REAL, 0, rand);
    data_random(rand);
    p.e.cpu->segs[SEG_CS] = unreal(0, UINT32_MAX);
    x86_update_mode(p.e.cpu);
    p.e.cpu->gpr[R_RBX] = BENCH_DATA - 0x1000;
    PUT(&p, 0x66, 0xea);                                        /* jmp 100h:off */
    program_put32(&p, off);
    PUT(&p, 0x00, 0x01, 0x67, 0x2e, 0x66, 0x8b, 0x03, 0xf4);    /* mov eax, cs:[ebx]; hlt */
    program_check(&p, "far jump from base 0", 10);
    g_assert_cmphex(p.e.cpu->gpr[R_RAX], ==, le32_load((const void *)(uintptr_t)BENCH_DATA));
    program_clear(&p);
}

/* The second half of what 16-bit offsets reach lies at offset 0, not behind 64 KiB. */
static void test_wrap_below_limit(void)
{
    static const struct {
        const char *what;
        uint16_t at;            /* BX and SP */
        uint8_t code[5];
    } rows[] = {
        { "les ax, [bx]", 0xfffe, { 0xc4, 0x07, 0xf4 } },
        { "lfs eax, [bx]", 0xfffc, { 0x66, 0x0f, 0xb4, 0x07, 0xf4 } },
        { "retfd", 0xfffc, { 0x66, 0xcb, 0xf4 } },
        { "call far", 4, { 0x66, 0x9a } },
    };
    const uint32_t base = BENCH_DATA - 0xf800;                  /* 64 KiB from there are not at the end of a page */
    const uint32_t target = BENCH_CODE + 0x800 - 0x1000;
    uint8_t *const memory = (uint8_t *)(uintptr_t)base;
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);
    Program p;

    if (!program_init(&p)) {
        return;
    }
    p.e.anywhere = true;
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        engines_segmented(&p.e, ENGINES_REAL, 0, rand);
        p.e.cpu->segs[SEG_CS] = unreal(0, BENCH_DATA);
        p.e.cpu->segs[SEG_SS] = p.e.cpu->segs[SEG_DS] = unreal(base, UINT32_MAX);
        x86_update_mode(p.e.cpu);
        p.e.cpu->gpr[R_RBX] = p.e.cpu->gpr[R_RSP] = rows[i].at;
        le32_store(memory, 0x100);                              /* the selector */
        le32_store(memory + 0xfffc, target);
        le32_store(memory + 0x10000, 0x200);
        p.len = 0;
        program_put(&p, rows[i].code, sizeof(rows[i].code));
        if (rows[i].code[1] == 0x9a) {
            p.len = 2;
            program_put32(&p, target);
            PUT(&p, 0x00, 0x01);
        }
        program_check(&p, rows[i].what, 10);
        g_assert_cmphex(le32_load(memory + 0x10000), ==, 0x200);
    }
    program_clear(&p);
}

/* ---- flags ------------------------------------------------------------------------------------------------ */

static const struct { EnginesKind kind; unsigned cpl; } modes[] = {
    { ENGINES_REAL, 0 }, { ENGINES_VM86, 3 }, { ENGINES_16, 0 }, { ENGINES_16, 3 }, { ENGINES_32, 0 },
    { ENGINES_32, 3 },
};

/* POPF of each width, with each IOPL: which flags it may change, and when it faults. */
static void test_popf(void)
{
    static const uint32_t flags[] = { 0, FLAG_IF, FLAG_DF | FLAG_CF, FLAG_IOPL, FLAG_IOPL | FLAG_IF, 1 << FLAG_IOPL_SHIFT,
                                      FLAG_NT, FLAG_AC | FLAG_ID | FLAG_IF };
    enum { N = ARRAY_LEN(flags) };
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);
    Program p;

    if (!program_init(&p)) {
        return;
    }
    p.e.anywhere = true;
    for (unsigned i = 0; i < ARRAY_LEN(modes) * N * N * 2; i++) {
        uint32_t before = flags[i / 2 % N], popped = flags[i / 2 / N % N];
        EnginesKind kind = modes[i / 2 / N / N].kind;
        g_autofree char *what = g_strdup_printf("%s CPL %u, POPF %u of %x, was %x", engines_kinds[kind],
                                                modes[i / 2 / N / N].cpl, i & 1, popped, before);

        engines_segmented(&p.e, kind, modes[i / 2 / N / N].cpl, rand);
        p.e.cpu->segs[SEG_SS] = (X86Seg){ 16 | p.e.cpu->cpl, p.e.cpu->segs[SEG_SS].flags | DESC_W, 0xffff, BENCH_DATA };
        p.e.cpu->segs[SEG_SS].flags &= ~(uint32_t)DESC_E;
        x86_set_rflags(p.e.cpu, before | FLAG_ONE | (kind == ENGINES_VM86 ? FLAG_VM : 0));
        x86_update_mode(p.e.cpu);
        p.e.cpu->gpr[R_RSP] = 0x1000;
        le32_store((void *)(uintptr_t)(BENCH_DATA + 0x1000), popped);
        p.len = 0;
        if (i & 1) {
            PUT(&p, 0x66);
        }
        PUT(&p, 0x9d, 0xf4);                                    /* popf; hlt */
        program_check(&p, what, 10);
    }
    program_clear(&p);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < ARRAY_LEN(modes); i++) {
        g_autofree char *path = g_strdup_printf("/tcg/segments/rows/%s/%u", engines_kinds[modes[i].kind], modes[i].cpl);

        g_test_add_data_func(path, GUINT_TO_POINTER(modes[i].kind << 4 | modes[i].cpl), test_rows);
    }
    g_test_add_func("/tcg/segments/far-jump-from-base-0", test_far_jump_from_base_0);
    g_test_add_func("/tcg/segments/wrap-below-limit", test_wrap_below_limit);
    g_test_add_func("/tcg/segments/popf", test_popf);
    return g_test_run();
}
