/* SPDX-License-Identifier: MIT */
/*
 * Real, virtual-8086, 16-bit protected and segmented 32-bit code, by the interpreter and by the translator.
 *
 * rows/...: each table row with operands of all addressing forms, within their segments, at the limit and one byte
 * beyond, where offsets wrap, across pages; segments are writable, read-only, code, null, expand-down or flat, with
 * bases and limits at random, and so is CS.  As in row_diff_test.c, each case runs twice by the translator.
 *
 * RHEA_INSN_ROUNDS=n sets the number of tries per row and mode, RHEA_INSN_SEED the seed,
 * RHEA_INSN_ROW a mnemonic to run alone.
 */
#include <stdlib.h>

#include "target-x86/sem.h"
#include "tests/insn/maker.h"
#include "tests/tcg/engines.h"

typedef struct Fixture {
    Engines e;
    GRand *rand;
    EnginesKind kind;
    unsigned cpl;
    InsnState state;
    uint8_t code[128];
    unsigned len;
    uint64_t at, row_at;        /* linear: of the first instruction, of the row's */
    unsigned tried, failed, row_failed, faulted;
} Fixture;

static void put(Fixture *f, const void *bytes, unsigned len)
{
    memcpy(f->code + f->len, bytes, len);
    f->len += len;
}

static uint64_t code_base(const Fixture *f) { return f->e.cpu->segs[SEG_CS].base; }

/* ---- what stands around the instruction ------------------------------------------------------------ */

static void put_producer(Fixture *f)
{
    static const struct { uint8_t len, bytes[2]; } producers[] = {
        { 2, { 0x39, 0xc8 } },          /* cmp ax, cx */
        { 2, { 0x85, 0xda } },          /* test dx, bx */
        { 2, { 0x38, 0xdc } },          /* cmp ah, bl */
        { 1, { 0xf9 } }, { 1, { 0xf5 } }, { 1, { 0x9e } },      /* stc, cmc, sahf */
        { 1, { 0x90 } },
    };
    unsigned n = pick(f->rand, ARRAY_LEN(producers));

    put(f, producers[n].bytes, producers[n].len);
}

static void put_consumer(Fixture *f, uint64_t undefined)
{
    switch (pick(f->rand, 6)) {
    case 0:
        put(f, "\x39\xf7", 2);                  /* cmp di, si */
        break;
    case 1:
        put(f, undefined & FLAG_CF ? "\x90\x90" : "\x11\xd0", 2);       /* adc ax, dx */
        break;
    case 2:
        put(f, undefined & FLAG_ZF ? "\x90\x90" : "\x74\x00", 2);       /* jz to the next */
        break;
    case 3:
        put(f, undefined & FLAG_CF ? "\x90" : "\x0f\x92\xc2", undefined & FLAG_CF ? 1 : 3);     /* setc dl */
        break;
    case 4:
        put(f, "\xeb\x00", 2);                  /* jmp to the next */
        break;
    default:
        break;
    }
}

/* ---- where operands lie ------------------------------------------------------------------------------ */

/* An offset of interest in a segment. */
static uint64_t pick_offset(Fixture *f, unsigned seg)
{
    const X86Seg *s = &f->e.cpu->segs[seg == SEG_FLAT ? SEG_DS : seg];
    uint64_t base = seg == SEG_FLAT ? 0 : s->base;

    switch (pick(f->rand, 10)) {
    case 0: case 1: return s->limit + 1 - pick(f->rand, 36);
    case 2: return 0x10000 - pick(f->rand, 20);
    case 3: return pick(f->rand, 16) - 8ull;
    case 4: return BENCH_DATA + 0x3000 - pick(f->rand, 40) - base;
    default: return data_address(f->rand) - base;
    }
}

/* A value for a register of which SIZE bytes matter. */
static uint64_t with_garbage(Fixture *f, uint64_t value, unsigned size)
{
    return size == 2 ? (uint16_t)value | ((uint64_t)g_rand_int(f->rand) & 0xffff0000) : (uint32_t)value;
}

static void place_operand(Fixture *f, const Insn *insn, uint8_t *bytes)
{
    uint64_t target = pick_offset(f, insn->seg), *gpr = f->state.gpr, sum = insn->disp;

    if (insn->def->opnd[0] >> 8 == OT_O || insn->def->opnd[1] >> 8 == OT_O) {
        memcpy(bytes + insn->len - insn->addr_size, &target, insn->addr_size);
        return;
    }
    if (insn->index != R_ZERO) {
        sum += gpr[insn->index] << insn->scale;
    }
    if (insn->base < R_ZERO && insn->base != insn->index) {
        gpr[insn->base] = with_garbage(f, target - sum, insn->addr_size);
    } else if (insn->base >= R_ZERO && insn->disp_size >= 2) {
        target -= sum - insn->disp;
        memcpy(bytes + insn->len - insn->imm_size - insn->disp_size, &target, insn->disp_size);
    }
}

/* Stack, strings: what no operand shows. */
static void place_implicit(Fixture *f, const Insn *insn)
{
    bool ss32 = f->e.cpu->mode & MODE_SS32;
    uint64_t *gpr = f->state.gpr;

    gpr[R_RSP] = with_garbage(f, pick_offset(f, SEG_SS) & (pick(f->rand, 4) ? ~1ull : ~0ull), ss32 ? 4 : 2);
    if (insn->def->attrs & (A_IMPLICIT | A_REP | A_REPCC | A_MULTI | A_STACK)) {
        gpr[R_RBP] = with_garbage(f, pick_offset(f, SEG_SS), ss32 ? 4 : 2);
        gpr[R_RSI] = with_garbage(f, pick_offset(f, SEG_DS), insn->addr_size);
        gpr[R_RDI] = with_garbage(f, pick_offset(f, SEG_ES), insn->addr_size);
        if (insn->def->attrs & (A_REP | A_REPCC)) {
            gpr[R_RCX] = with_garbage(f, pick(f->rand, 40), insn->addr_size);
        }
        if (insn->opcode == 0xd7 && insn->map == MAP_1BYTE) {
            gpr[R_RBX] = with_garbage(f, pick_offset(f, SEG_DS), insn->addr_size);
        }
    }
    if (insn->sem == sem_loop || insn->sem == sem_jcxz) {
        gpr[R_RCX] = with_garbage(f, pick(f->rand, 3), insn->addr_size);
    }
}

/* Most jumps are to arrive where there is code. */
static void aim_jump(Fixture *f, const Insn *insn)
{
    uint64_t target = BENCH_CODE + 0x800 + pick(f->rand, 64) - code_base(f);

    if ((insn->def->attrs & A_BRANCH) && insn->imm_size == 1) {         /* not into what stands behind it */
        f->code[f->len - 1] = pick(f->rand, 2) ? 0x20 + pick(f->rand, 0x50) : 0x90 + pick(f->rand, 0x40);
    } else if ((insn->def->attrs & A_BRANCH) && pick(f->rand, 4)) {
        uint64_t distance = BENCH_CODE + 0x800 - f->row_at - insn->len + pick(f->rand, 64);

        memcpy(f->code + f->len - insn->imm_size, &distance, insn->imm_size);
    } else if (!(insn->def->attrs & A_BRANCH) && pick(f->rand, 4)) {
        if (insn->op[1].kind == OPK_GPR && insn->op[1].reg != R_RSP) {
            f->state.gpr[insn->op[1].reg] = with_garbage(f, target, insn->op_size);
        }
        for (unsigned i = 0; i < BENCH_DATA_SIZE; i += insn->op_size) {
            memcpy((uint8_t *)(uintptr_t)BENCH_DATA + i, &target, insn->op_size);
        }
    }
}

/* ---- one try ------------------------------------------------------------------------------------------------ */

static bool encode(Fixture *f, const InsnDef *def, InsnMaker *m, Insn *insn)
{
    static const uint8_t prefixes[] = { 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0x67 };
    InsnMaker made;

    insn_make(&made, def, f->rand, MAKE_FAR | MAKE_32);
    *m = made;
    if (pick(f->rand, 2)) {
        m->bytes[0] = prefixes[pick(f->rand, ARRAY_LEN(prefixes))];
        memcpy(m->bytes + 1, made.bytes, sizeof(made.bytes) - 1);
    }
    return insn_decode(insn, m->bytes, INSN_MAX_LEN, f->e.cpu->mode, NULL) == DECODE_OK &&
           insn->def == def && def->sem;
}

static void report(Fixture *f, const Insn *insn, const char *when, const GString *why)
{
    g_autoptr(GString) hex = g_string_new(NULL);

    for (unsigned i = 0; i < f->len; i++) {
        g_string_append_printf(hex, f->at + i == f->row_at ? "| %02x " : "%02x ", f->code[i]);
    }
    f->failed++;
    if (f->row_failed++ < 2) {
        g_test_message("%s %s CPL %u mode %x at %lx [ %s] %s:%s", insn->def->name, engines_kinds[f->kind], f->cpl,
                       ((const X86Cpu *)(const void *)f->e.start->hot)->mode, f->at, hex->str, when, why->str);
    }
}

static void compare(Fixture *f, const Insn *insn, const char *when)
{
    g_autoptr(GString) why = g_string_new(NULL);
    const X87State *x = (const void *)f->e.interpreted->rest;
    uint64_t rip, mask = ~undefined_flags(insn->def);

    if (engines_vector(f->e.interpreted, &rip) >= 0) {
        mask &= ~(uint64_t)FLAGS_ARITH;         /* they may be dead there */
    }
    engines_save(&f->e, f->e.translated);
    engines_compare(f->e.interpreted, f->e.translated, mask, undefined_fsw(insn->def, x), why);
    if (why->len) {
        report(f, insn, when, why);
    }
}

static void try_row(Fixture *f, const InsnDef *def)
{
    uint64_t more_flags = engines_segmented(&f->e, f->kind, f->cpl, f->rand), rip = 0;
    int vector;
    InsnMaker m;
    Insn insn;

    if (!encode(f, def, &m, &insn)) {
        return;
    }
    insn_state_random(&f->state, f->rand);
    insn_state_random_x87(&f->state, f->rand);
    place_implicit(f, &insn);
    f->at = BENCH_CODE + (pick(f->rand, 3) ? pick(f->rand, 64) : 0x1000 - pick(f->rand, 24));
    f->len = 0;
    put_producer(f);
    f->row_at = f->at + f->len;
    put(f, m.bytes, insn.len);
    if (insn_has_mem(&insn)) {
        place_operand(f, &insn, f->code + f->len - insn.len);
    }
    data_random(f->rand);
    if (g_str_has_suffix(def->name, "ldmxcsr")) {
        for (unsigned i = 0; i < BENCH_DATA_SIZE; i += 4) {
            *(uint32_t *)(uintptr_t)(BENCH_DATA + i) &= 0xfdfd;
        }
    } else if (def->attrs & A_CTRL) {
        aim_jump(f, &insn);
    }
    put_consumer(f, undefined_flags(def));
    engines_code(&f->e, f->at, f->code, f->len);
    f->state.flags |= more_flags;
    insn_state_load(&f->state, f->e.cpu);
    f->e.cpu->rip = (uint32_t)(f->at - code_base(f));
    engines_save(&f->e, f->e.start);

    engines_load(&f->e, f->e.start, true);
    if (!engines_interpret(&f->e, 300)) {
        return;
    }
    engines_save(&f->e, f->e.interpreted);
    vector = engines_vector(f->e.interpreted, &rip);
    if (vector == VEC_XM && (def->attrs & A_MMX)) {
        return;                 /* the x87 stack may have become MMX registers on the host */
    }
    f->tried++;
    f->faulted += vector >= 0 && rip == (uint32_t)(f->row_at - code_base(f));
    engines_load(&f->e, f->e.start, true);
    engines_translate(&f->e);
    compare(f, &insn, "at first");
    engines_load(&f->e, f->e.start, false);
    engines_translate(&f->e);
    compare(f, &insn, "again");
}

/* Not those whose results differ from run to run. */
static bool row_is_testable(const InsnDef *def)
{
    return def->modes != MODES_ONLY64 && !g_str_equal(def->name, "rdrand") && !g_str_equal(def->name, "rdseed");
}

/* Can this code hold the row at all? */
static bool row_is_valid(const InsnDef *def)
{
    return row_is_testable(def) && (def->match & (M_O16 | M_O32 | M_O64)) != M_O64 &&
           (def->match & (M_A16 | M_A32 | M_A64)) != M_A64 && !(def->map < MAP_VEX0F && (def->match & M_W1));
}

static bool fixture_init(Fixture *f, unsigned seed)
{
    if (!engines_init(&f->e)) {
        return false;
    }
    f->e.anywhere = f->e.closed = true;
    f->rand = g_rand_new_with_seed(seed);
    return true;
}

static void fixture_clear(Fixture *f)
{
    g_rand_free(f->rand);
    engines_clear(&f->e);
}

static void test_rows(gconstpointer mode)
{
    const char *rounds = g_getenv("RHEA_INSN_ROUNDS"), *seed = g_getenv("RHEA_INSN_SEED");
    const char *only = g_getenv("RHEA_INSN_ROW");
    unsigned n = rounds ? atoi(rounds) : 8, which = GPOINTER_TO_UINT(mode), s = seed ? atoi(seed) : 1, covered = 0;
    Fixture f = { .kind = which >> 4, .cpl = which & 3 };
    g_autoptr(GString) never = g_string_new(NULL);

    if (!fixture_init(&f, s)) {
        return;
    }
    f.e.tr->exact_flags = true;
    for (unsigned i = 0; i < insn_row_count; i++) {
        const InsnDef *def = &insn_rows[i];
        unsigned before = f.tried;

        f.row_failed = 0;
        for (unsigned k = 0; row_is_testable(def) && (!only || g_str_equal(only, def->name)) && k < 40 * n &&
             f.tried - before < n; k++) {
            try_row(&f, def);
        }
        if (f.tried != before) {
            covered++;
        } else if (row_is_valid(def)) {
            g_string_append_printf(never, " %s", def->name);
        }
    }
    g_test_message("%u of %u rows covered; of those that this mode has, not:%s", covered, insn_row_count, never->str);
    g_test_message("seed %u: %u tries, %u faulted, %u differences, %lu flushes", s, f.tried, f.faulted, f.failed,
                   f.e.tr->counters.flushes);
    g_assert_cmpuint(f.tried, >, 0);
    if (!only && n >= 8) {
        g_assert_cmpstr(never->str, ==, "");
    }
    g_assert_cmpuint(f.failed, ==, 0);
    fixture_clear(&f);
}

/* A code segment of 4 GiB, left behind by protected mode, is flat at base 0 only. */
static void test_far_jump_from_base_0(void)
{
    const uint32_t off = BENCH_CODE + 8 - 0x1000;
    const uint8_t code[] = {
        0x66, 0xea, off & 0xff, off >> 8 & 0xff, off >> 16 & 0xff, off >> 24, 0x00, 0x01,       /* jmp 100h:off */
        0x67, 0x2e, 0x66, 0x8b, 0x03, 0xf4,                                             /* mov eax, cs:[ebx]; hlt */
    };
    g_autoptr(GString) why = g_string_new(NULL);
    Fixture f = { .kind = ENGINES_REAL };

    if (!fixture_init(&f, 1)) {
        return;
    }
    engines_segmented(&f.e, ENGINES_REAL, 0, f.rand);
    engines_code(&f.e, BENCH_CODE, code, sizeof(code));
    data_random(f.rand);
    f.e.cpu->segs[SEG_CS] = (X86Seg){ 0, DESC_P | DESC_S | DESC_W | DESC_A, UINT32_MAX, 0 };
    x86_update_mode(f.e.cpu);
    f.e.cpu->gpr[R_RBX] = BENCH_DATA - 0x1000;
    f.e.cpu->rip = BENCH_CODE;
    engines_save(&f.e, f.e.start);
    engines_load(&f.e, f.e.start, true);
    g_assert_true(engines_interpret(&f.e, 10));
    engines_save(&f.e, f.e.interpreted);
    g_assert_cmphex(f.e.cpu->gpr[R_RAX], ==, le32_load((const void *)(uintptr_t)BENCH_DATA));
    engines_load(&f.e, f.e.start, true);
    engines_translate(&f.e);
    engines_save(&f.e, f.e.translated);
    engines_compare(f.e.interpreted, f.e.translated, ~(uint64_t)FLAGS_ARITH, 0, why);
    g_assert_cmpstr(why->str, ==, "");
    fixture_clear(&f);
}

int main(int argc, char **argv)
{
    static const struct { EnginesKind kind; unsigned cpl; } modes[] = {
        { ENGINES_REAL, 0 }, { ENGINES_VM86, 3 }, { ENGINES_16, 0 }, { ENGINES_16, 3 }, { ENGINES_32, 0 },
        { ENGINES_32, 3 },
    };

    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < ARRAY_LEN(modes); i++) {
        g_autofree char *path = g_strdup_printf("/tcg/segments/rows/%s/%u", engines_kinds[modes[i].kind], modes[i].cpl);

        g_test_add_data_func(path, GUINT_TO_POINTER(modes[i].kind << 4 | modes[i].cpl), test_rows);
    }
    g_test_add_func("/tcg/segments/far-jump-from-base-0", test_far_jump_from_base_0);
    return g_test_run();
}
