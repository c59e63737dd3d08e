/* SPDX-License-Identifier: MIT */
/*
 * What the tables say a row reads and writes, against Zydis: flags (read, written, undefined), general,
 * MMX and vector registers.  The translator drops flags and repeats comparisons on the word of these columns.
 *
 * Each row is made in random encodings for 64- and 32-bit code.  A row may claim to read more than it does,
 * which costs speed only; it may claim to overwrite only what it overwrites, and must own up to all that it changes.
 * Registers of rows with A_IMPLICIT, and RSP of those with A_STACK, are only bounded by Zydis' lists, for such rows
 * say that there are more.  Differences on purpose are the rows of `exceptions`.
 * Not compared: the x87 stack, which no operand shows, and system registers.
 */
#include <Zydis/Zydis.h>
#include <stdlib.h>

#include "tests/insn/maker.h"

#define MODE_ALL (MODE_AVX | MODE_AVX512 | MODE_OSXSAVE | MODE_OSFXSR | MODE_FSGSBASE)

/* Registers by kind, as bits. */
typedef struct Regs {
    uint32_t gpr, mmx, vec, k;
} Regs;

typedef struct Effects {
    unsigned read, killed, changed, undefined;  /* FX_* */
    Regs reads, writes;
} Effects;

/* ---- Zydis' view ------------------------------------------------------------------------------------ */

static unsigned flags_of(ZydisAccessedFlagsMask mask)
{
    static const struct { ZydisAccessedFlagsMask theirs; unsigned ours; } bits[] = {
        { ZYDIS_CPUFLAG_CF, FX_CF }, { ZYDIS_CPUFLAG_PF, FX_PF }, { ZYDIS_CPUFLAG_AF, FX_AF },
        { ZYDIS_CPUFLAG_ZF, FX_ZF }, { ZYDIS_CPUFLAG_SF, FX_SF }, { ZYDIS_CPUFLAG_OF, FX_OF },
        { ZYDIS_CPUFLAG_DF, FX_DF },
    };
    unsigned flags = 0;

    for (unsigned i = 0; i < ARRAY_LEN(bits); i++) {
        flags |= mask & bits[i].theirs ? bits[i].ours : 0;
    }
    return flags;
}

static void add_register(Regs *regs, ZydisRegister reg)
{
    ZydisRegister largest = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);
    ZydisRegister whole = largest == ZYDIS_REGISTER_NONE ? reg : largest;
    uint32_t bit = 1u << (MAX(ZydisRegisterGetId(whole), 0) & 31);

    switch (ZydisRegisterGetClass(whole)) {
    case ZYDIS_REGCLASS_GPR64: regs->gpr |= bit; break;
    case ZYDIS_REGCLASS_MMX: regs->mmx |= bit; break;
    case ZYDIS_REGCLASS_XMM: case ZYDIS_REGCLASS_YMM: case ZYDIS_REGCLASS_ZMM: regs->vec |= bit; break;
    case ZYDIS_REGCLASS_MASK: regs->k |= bit; break;
    default: break;
    }
}

static Effects their_effects(const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *ops)
{
    const ZydisAccessedFlags *f = zi->cpu_flags;
    Effects e = { 0 };

    if (f) {
        e.read = flags_of(f->tested);
        e.undefined = flags_of(f->undefined);
        e.changed = flags_of(f->modified | f->set_0 | f->set_1 | f->undefined);
        e.killed = e.changed;
    }
    for (unsigned i = 0; i < zi->operand_count; i++) {
        if (ops[i].type == ZYDIS_OPERAND_TYPE_REGISTER) {
            if (ops[i].actions & ZYDIS_OPERAND_ACTION_MASK_READ) {
                add_register(&e.reads, ops[i].reg.value);
            }
            if (ops[i].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) {
                add_register(&e.writes, ops[i].reg.value);
            }
        }
    }
    return e;
}

/* ---- ours -------------------------------------------------------------------------------------------- */

static void add_operand(Regs *regs, const InsnOpnd *op)
{
    switch (op->kind) {
    case OPK_GPR: case OPK_GPR8H: regs->gpr |= 1u << op->reg; break;
    case OPK_MMX: regs->mmx |= 1u << op->reg; break;
    case OPK_VEC: regs->vec |= 1u << op->reg; break;
    case OPK_K: regs->k |= 1u << op->reg; break;
    default: break;
    }
}

/* Elements of the destination stay as they are. */
static bool merges(const Insn *insn)
{
    return (insn->evex & EVEX_AAA) && !(insn->evex & EVEX_Z) && insn->op[0].kind == OPK_VEC;
}

static Effects our_effects(const Insn *insn)
{
    uint32_t fx = insn->def->effects;
    Effects e = { fx & 0x7f, fx >> 8 & 0x7f, (fx >> 8 | fx >> 16) & 0x7f, fx >> 24 & 0x7f, { 0 }, { 0 } };

    for (unsigned n = 0; n < 4; n++) {
        bool second = n == 1 && (insn->def->attrs & (A_XCHG | A_DST2));

        if (n == 0 || second) {
            add_operand(&e.writes, &insn->op[n]);
        }
        if (second ? !(insn->def->attrs & A_DST2) : n || (insn->def->attrs & (A_XCHG | A_RDST)) || merges(insn)) {
            add_operand(&e.reads, &insn->op[n]);
        }
    }
    if (insn->def->attrs & A_MASK) {                /* Zydis names k0 where there is none */
        e.reads.k |= 1u << (insn->evex & EVEX_AAA);
        e.writes.k |= insn->def->attrs & A_VSIB ? 1u << (insn->evex & EVEX_AAA) : 0;
    }
    return e;
}

/* ---- where the two may differ ------------------------------------------------------------------------ */

typedef struct Exception {
    const char *names;          /* space separated */
    unsigned read, changed, undefined;      /* flags not compared */
    const char *why;
} Exception;

static const Exception exceptions[] = {
    { "sbb", 0, 0, FX_AF, "Zydis: AF is undefined; SDM2: it is set according to the result" },
    { "shl shr sar", 0, 0, FX_CF | FX_OF, "CF is undefined for counts beyond the operand's width, OF for others than 1; rows "
      "do not tell widths, Zydis does not tell counts" },
    { "rol ror rcl rcr", 0, 0, FX_OF, "the form with the constant 1: Zydis: OF is undefined; SDM2: it is defined" },
    { "shld shrd", 0, 0, FX_ARITH, "all are undefined for counts beyond the operand's width" },
    { "bt bts btr btc", 0, FX_PF | FX_AF | FX_SF | FX_OF, 0, "undefined by the manual, kept by processors and here" },
    { "cmpsb cmps scasb scas", FX_ZF, 0, 0, "REP looks at the ZF of its own comparison" },
    { "vptest vtestps vtestpd", 0, FX_PF | FX_AF | FX_SF | FX_OF, 0, "Zydis 4.0.0 forgets those that become 0" },
    { "bextr", 0, 0, FX_CF | FX_OF, "Zydis: undefined; SDM2: cleared" },
};

static void except(const InsnDef *def, Effects *e)
{
    for (unsigned i = 0; i < ARRAY_LEN(exceptions); i++) {
        g_auto(GStrv) names = g_strsplit(exceptions[i].names, " ", -1);

        if (g_strv_contains((const char *const *)names, def->name)) {
            e->read &= ~exceptions[i].read;
            e->changed &= ~exceptions[i].changed;
            e->killed &= ~exceptions[i].changed;
            e->undefined &= ~exceptions[i].undefined;
        }
    }
}

/* ---- comparison ---------------------------------------------------------------------------------------- */

static void put_if(GString *why, const char *what, uint32_t bits)
{
    if (bits) {
        g_string_append_printf(why, " %s %x;", what, bits);
    }
}

static void compare_registers(GString *why, const char *kind, uint32_t our_reads, uint32_t their_reads,
                              uint32_t our_writes, uint32_t their_writes, bool more)
{
    g_autofree char *names[3] = {
        g_strdup_printf("%s read, not told", kind), g_strdup_printf("%s written, not told", kind),
        g_strdup_printf("%s told as written", kind),
    };

    if (!more) {
        put_if(why, names[0], their_reads & ~our_reads);
        put_if(why, names[1], their_writes & ~our_writes);
    }
    put_if(why, names[2], our_writes & ~their_writes);
}

static void compare(GString *why, const Insn *insn, const Effects *ours, const Effects *theirs)
{
    uint64_t a = insn->def->attrs;
    bool more = a & (A_IMPLICIT | A_SYS | A_CTRL | A_MULTI);
    uint32_t rsp = a & A_STACK ? 1u << R_RSP : 0;

    put_if(why, "flags read, not told", theirs->read & ~ours->read);
    put_if(why, "flags changed, not told", theirs->changed & ~ours->changed);
    put_if(why, "flags told as overwritten", ours->killed & ~theirs->killed);
    put_if(why, "flags told as changed", ours->changed & ~theirs->changed);
    put_if(why, "flags undefined, not told", theirs->undefined & ~ours->undefined);
    put_if(why, "flags told as undefined", ours->undefined & ~theirs->undefined);
    compare_registers(why, "general", ours->reads.gpr, theirs->reads.gpr & ~rsp, ours->writes.gpr & ~rsp,
                      theirs->writes.gpr & ~rsp, more);
    compare_registers(why, "mmx", ours->reads.mmx, theirs->reads.mmx, ours->writes.mmx,
                      theirs->writes.mmx, more);
    compare_registers(why, "mask", ours->reads.k, theirs->reads.k, ours->writes.k, theirs->writes.k, more);
    compare_registers(why, "vector", ours->reads.vec, theirs->reads.vec, ours->writes.vec,
                      theirs->writes.vec, more);
}

static bool try_row(const InsnDef *def, GRand *rand, bool narrow, GString *why)
{
    uint32_t mode = MODE_PE | MODE_ALL | (narrow ? MODE_CS32 | MODE_SS32 : MODE_LMA | MODE_CS64);
    ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
    ZydisDecodedInstruction zi;
    ZydisDecoder decoder;
    Effects ours, theirs;
    InsnMaker m;
    Insn insn;

    ZydisDecoderInit(&decoder, narrow ? ZYDIS_MACHINE_MODE_LEGACY_32 : ZYDIS_MACHINE_MODE_LONG_64,
                     narrow ? ZYDIS_STACK_WIDTH_32 : ZYDIS_STACK_WIDTH_64);
    insn_make(&m, def, rand, MAKE_FAR | (narrow ? MAKE_32 : 0));
    if (insn_decode(&insn, m.bytes, sizeof(m.bytes), mode, NULL) != DECODE_OK || insn.def != def ||
        !ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, m.bytes, sizeof(m.bytes), &zi, ops)) ||
        zi.length != insn.len || insn.fault == VEC_UD || (def->attrs & A_UD) || g_str_equal(def->name, "nop")) {
        return false;
    }
    ours = our_effects(&insn);
    theirs = their_effects(&zi, ops);
    except(def, &ours);
    except(def, &theirs);
    compare(why, &insn, &ours, &theirs);
    if (why->len) {
        char text[128];

        g_string_append_printf(why, " (%s: %s)", insn_format(&insn, 0, text, sizeof(text)),
                               ZydisMnemonicGetString(zi.mnemonic));
    }
    return true;
}

static void test_rows(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(11);
    g_autoptr(GString) never = g_string_new(NULL);
    unsigned tried = 0, wrong = 0;

    for (unsigned i = 0; i < insn_row_count; i++) {
        g_autoptr(GString) why = g_string_new(NULL);
        unsigned reached = 0;

        for (unsigned k = 0; k < 400 && reached < 40 && !why->len; k++) {
            reached += try_row(&insn_rows[i], rand, k & 1, why);
        }
        if (why->len) {
            wrong++;
            g_test_message("%02x of map %u, %s:%s", insn_rows[i].op, insn_rows[i].map, insn_rows[i].name, why->str);
        }
        tried += reached != 0;
        if (!reached) {
            g_string_append_printf(never, " %s", insn_rows[i].name);
        }
    }
    g_test_message("%u of %u rows; Zydis knows no encoding of:%s", tried, insn_row_count, never->str);
    g_assert_cmpuint(wrong, ==, 0);
    g_assert_cmpuint(insn_row_count - tried, <, 30);    /* NOPs of the hint space, what raises #UD */
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/insn/effects", test_rows);
    return g_test_run();
}
