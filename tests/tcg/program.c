/* SPDX-License-Identifier: MIT */
/*
 * See program.h.
 */
#include "tests/tcg/program.h"

bool program_init(Program *p)
{
    *p = (Program){ 0 };
    if (!engines_init(&p->e)) {
        return false;
    }
    engines_mode(&p->e, 64, 3);
    memset((void *)(uintptr_t)BENCH_DATA, 0, BENCH_DATA_SIZE);
    memset(p->e.cpu->gpr, 0, sizeof(p->e.cpu->gpr));
    p->e.cpu->gpr[R_RSP] = BENCH_DATA + 0x2000;
    return true;
}

void program_clear(Program *p)
{
    engines_clear(&p->e);
    g_assert_cmpuint(p->failed, ==, 0);
}

void program_put(Program *p, const void *bytes, unsigned len)
{
    g_assert(p->len + len <= sizeof(p->code));
    memcpy(p->code + p->len, bytes, len);
    p->len += len;
}

void program_put32(Program *p, uint32_t value) { program_put(p, &value, 4); }

void program_check(Program *p, const char *what, unsigned limit)
{
    uint64_t flags = ~(uint64_t)FLAG_AF, rip;

    engines_code(&p->e, BENCH_CODE, p->code, p->len);
    p->e.cpu->rip = BENCH_CODE - p->e.cpu->segs[SEG_CS].base;
    p->e.cpu->halted = false;
    engines_save(&p->e, p->e.start);
    engines_load(&p->e, p->e.start, true);
    g_assert_true(engines_interpret(&p->e, limit));
    engines_save(&p->e, p->e.interpreted);
    if (engines_vector(p->e.interpreted, &rip) >= 0) {
        flags &= ~(uint64_t)FLAGS_ARITH;        /* those nobody reads may be wrong in the frame */
    }
    for (unsigned i = 0; i < 3; i++) {
        g_autoptr(GString) why = g_string_new(NULL);

        engines_load(&p->e, p->e.start, i == 0);
        engines_translate(&p->e);
        engines_save(&p->e, p->e.translated);
        engines_compare(p->e.interpreted, p->e.translated, flags, 0, why);
        if (why->len && p->failed++ < 20) {
            g_test_message("%s, run %u:%s", what, i, why->str);
        }
    }
}
