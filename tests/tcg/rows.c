/* SPDX-License-Identifier: MIT */
/*
 * See rows.h.
 */
#include "tests/tcg/rows.h"

#include <stdlib.h>

bool rows_init(Rows *r, unsigned bits, unsigned cpl, const char *what)
{
    const char *seed = g_getenv("RHEA_INSN_SEED");

    *r = (Rows){ .bits = bits, .cpl = cpl, .what = what };
    if (!engines_init(&r->e)) {
        return false;
    }
    r->has_avx512 = r->e.avx512;
    r->e.tr->exact_flags = true;        /* block_test.c has the other way */
    r->rand = g_rand_new_with_seed(seed ? atoi(seed) : 1);
    return true;
}

void rows_clear(Rows *r)
{
    g_rand_free(r->rand);
    engines_clear(&r->e);
}

/* ---- all rows ------------------------------------------------------------------------------------------ */

/* Not those whose results differ from run to run. */
static bool is_testable(const InsnDef *def)
{
    return !g_str_equal(def->name, "rdrand") && !g_str_equal(def->name, "rdseed");
}

/* Can code of this width hold the row at all? */
static bool is_valid(const InsnDef *def, unsigned bits)
{
    if (def->modes == (bits == 64 ? MODES_NO64 : MODES_ONLY64)) {
        return false;
    }
    if (bits == 64) {
        return (def->match & (M_A16 | M_A32 | M_A64)) != M_A16;
    }
    return (def->match & (M_O16 | M_O32 | M_O64)) != M_O64 && (def->match & (M_A16 | M_A32 | M_A64)) != M_A64 &&
           !(def->map < MAP_VEX0F && (def->match & M_W1));
}

void rows_run(Rows *r, void (*try)(Rows *r, const InsnDef *def))
{
    const char *rounds = g_getenv("RHEA_INSN_ROUNDS"), *only = g_getenv("RHEA_INSN_ROW");
    unsigned n = rounds ? atoi(rounds) : 8, covered = 0;
    g_autoptr(GString) never = g_string_new(NULL);

    for (unsigned i = 0; i < insn_row_count; i++) {
        const InsnDef *def = &insn_rows[i];
        unsigned before = r->tried;

        if (!is_testable(def) || !is_valid(def, r->bits) || (only && !g_str_equal(only, def->name))) {
            continue;
        }
        r->row_failed = 0;
        for (unsigned k = 0; k < 40 * n && r->tried - before < n; k++) {
            try(r, def);
        }
        if (r->tried != before) {
            covered++;
        } else if (!(def->attrs & A_EVEX)) {
            g_string_append_printf(never, " %s", def->name);
        }
    }
    g_test_message("%u of %u rows covered; of those that this code can hold, not:%s", covered, insn_row_count, never->str);
    g_test_message("%u tries, %u faulted, %u differences, %lu flushes", r->tried, r->faulted, r->failed,
                   r->e.tr->counters.flushes);
    g_assert_cmpuint(r->tried, >, 0);
    if (!only && n >= 8) {
        g_assert_cmpstr(never->str, ==, "");
    }
    g_assert_cmpuint(r->failed, ==, 0);
}

/* ---- one try ------------------------------------------------------------------------------------------ */

void rows_begin(Rows *r)
{
    r->at = BENCH_CODE + (pick(r->rand, 3) ? pick(r->rand, 64) : 0x1000 - pick(r->rand, 24));
    r->len = 0;
}

void rows_put(Rows *r, const void *bytes, unsigned len)
{
    g_assert(r->len + len <= sizeof(r->code));
    memcpy(r->code + r->len, bytes, len);
    r->len += len;
}

uint8_t *rows_put_row(Rows *r, const uint8_t *bytes, unsigned len)
{
    r->row_at = r->at + r->len;
    rows_put(r, bytes, len);
    return r->code + r->len - len;
}

/* The host's MXCSR_MASK may have MM, the guest's has not; half of the values are to be valid ones. */
static void aim_mxcsr(Rows *r)
{
    uint32_t *data = (uint32_t *)(uintptr_t)BENCH_DATA;
    uint32_t mask = pick(r->rand, 2) ? 0xfdfdfdfd : 0xffff & 0xfdfdfdfd;

    for (unsigned i = 0; i < BENCH_DATA_SIZE / 4; i++) {
        data[i] &= mask;
    }
}

void rows_data(Rows *r, const InsnDef *def)
{
    data_random(r->rand);
    if (g_str_has_suffix(def->name, "ldmxcsr")) {
        aim_mxcsr(r);
    }
}

/* RET and indirect jumps to a non-canonical address fault at the target (docs/devel/limits.md), not before;
 * a fault of an MMX instruction on the host may have made the x87 stack MMX registers. */
static bool is_known_difference(const Rows *r, const Insn *insn, int vector, uint64_t rip)
{
    return rip == r->row_rip &&
           ((vector == VEC_GP && r->bits == 64 && (insn->def->attrs & A_CTRL) && !(insn->def->attrs & A_SYS)) ||
            (vector == VEC_XM && (insn->def->attrs & A_MMX)));
}

bool rows_interpret(Rows *r, const Insn *insn)
{
    uint64_t base = r->e.cpu->segs[SEG_CS].base, rip = 0;
    int vector;

    engines_code(&r->e, r->at, r->code, r->len);
    insn_state_load(&r->state, r->e.cpu);
    engines_random_avx512(&r->e, r->rand);
    r->row_rip = (uint32_t)(r->row_at - base);
    r->e.cpu->rip = (uint32_t)(r->at - base);
    engines_save(&r->e, r->e.start);
    engines_load(&r->e, r->e.start, true);
    if (!engines_interpret(&r->e, 300)) {
        return false;
    }
    engines_save(&r->e, r->e.interpreted);
    vector = engines_vector(r->e.interpreted, &rip);
    if (is_known_difference(r, insn, vector, rip)) {
        return false;
    }
    r->tried++;
    r->faulted += vector >= 0 && rip == r->row_rip;
    return true;
}

static void report(Rows *r, const Insn *insn, const char *when, const GString *why)
{
    g_autoptr(GString) hex = g_string_new(NULL);

    r->failed++;
    if (r->row_failed++ >= 2) {
        return;
    }
    for (unsigned i = 0; i < r->len; i++) {
        g_string_append_printf(hex, r->at + i == r->row_at ? "| %02x " : "%02x ", r->code[i]);
    }
    g_test_message("%s %s CPL %u mode %x at %lx [ %s] %s:%s", insn->def->name, r->what, r->cpl,
                   ((const X86Cpu *)(const void *)r->e.start->hot)->mode, r->at, hex->str, when, why->str);
}

void rows_translate(Rows *r, const Insn *insn, uint64_t flags)
{
    const X87State *x = (const void *)r->e.interpreted->rest;

    for (unsigned i = 0; i < 2; i++) {
        g_autoptr(GString) why = g_string_new(NULL);

        engines_load(&r->e, r->e.start, i == 0);
        engines_translate(&r->e);
        engines_save(&r->e, r->e.translated);
        engines_compare(r->e.interpreted, r->e.translated, flags, undefined_fsw(insn->def, x), why);
        if (why->len) {
            report(r, insn, i ? "again" : "at first", why);
        }
    }
}
