/* SPDX-License-Identifier: MIT */
/*
 * Disassembler: a decoded instruction in Intel syntax, from the same table row.
 * Locking: none.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "target-x86/insn.h"

typedef struct Text {
    char *buf;
    size_t size, len;
} Text;

static void put(Text *t, const char *format, ...) G_GNUC_PRINTF(2, 3);
static void put(Text *t, const char *format, ...)
{
    va_list args;
    int n;

    if (t->len >= t->size) {
        return;
    }
    va_start(args, format);
    n = vsnprintf(t->buf + t->len, t->size - t->len, format, args);
    va_end(args);
    t->len = MIN(t->len + MAX(n, 0), t->size);
}

static const char *const names64[] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi" };
static const char *const names8[] = { "al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil" };
static const char *const high8[] = { "ah", "ch", "dh", "bh" };
static const char *const segments[] = { "es", "cs", "ss", "ds", "fs", "gs" };

static void put_gpr(Text *t, unsigned reg, unsigned size)
{
    if (reg >= 8) {
        put(t, "r%u%s", reg, size == 1 ? "b" : size == 2 ? "w" : size == 4 ? "d" : "");
    } else if (size == 1) {
        put(t, "%s", names8[reg]);
    } else {
        put(t, "%s%s", size == 8 ? "r" : size == 4 ? "e" : "", names64[reg] + 1);
    }
}

static const char *size_name(unsigned size)
{
    switch (size) {
    case 1: return "byte ptr ";
    case 2: return "word ptr ";
    case 4: return "dword ptr ";
    case 8: return "qword ptr ";
    case 10: return "tbyte ptr ";
    case 16: return "xmmword ptr ";
    case 32: return "ymmword ptr ";
    case 64: return "zmmword ptr ";
    default: return "";
    }
}

static void put_signed(Text *t, int64_t value, bool first)
{
    if (value < 0 && !first) {
        put(t, "-0x%" PRIx64, -(uint64_t)value);
    } else {
        put(t, "%s0x%" PRIx64, first ? "" : "+", (uint64_t)value);
    }
}

/* The first letter of a VSIB index: as many as there are elements, of 4 or 8 bytes as the opcode says. */
static char index_size(const Insn *insn)
{
    unsigned size = insn->opcode & 1 || !(insn->rex & REX_W) ? insn->vl : insn->vl ? insn->vl - 1u : 0;

    return "xyz"[size];
}

static void put_memory(Text *t, const Insn *insn, unsigned n, unsigned size, uint64_t rip)
{
    bool first = true;

    put(t, "%s", size_name(size));
    if (insn->prefixes & INSN_SEGP) {
        put(t, "%s:", segments[insn->seg_override]);
    }
    put(t, "[");
    if (insn->base == R_RIP) {
        uint64_t at = rip + insn->len + insn->disp;

        put(t, "rip%s0x%" PRIx64 "]  # 0x%" PRIx64, insn->disp < 0 ? "-" : "+",
            insn->disp < 0 ? -(uint64_t)insn->disp : (uint64_t)insn->disp, at);
        return;
    }
    if (insn->base != R_ZERO) {
        put_gpr(t, insn->base, insn->addr_size);
        first = false;
    }
    if (insn->index != R_ZERO || (insn->def->attrs & A_VSIB)) {
        put(t, "%s", first ? "" : "+");
        if (insn->def->attrs & A_VSIB) {
            put(t, "%cmm%u", index_size(insn), insn->op[n].reg);
        } else {
            put_gpr(t, insn->index, insn->addr_size);
        }
        if (insn->addr_size != 2) {
            put(t, "*%u", 1u << insn->scale);
        }
        first = false;
    }
    if (insn->disp || first) {
        uint64_t cut = insn->addr_size == 8 ? ~0ull : insn->addr_size == 4 ? 0xffffffff : 0xffff;

        put_signed(t, first ? (int64_t)(insn->disp & cut) : insn->disp, first);
    }
    put(t, "]");
}

static void put_operand(Text *t, const Insn *insn, unsigned n, uint64_t rip)
{
    const InsnOpnd *op = &insn->op[n];
    uint64_t mask = insn->op_size == 8 ? ~0ull : insn->op_size == 4 ? 0xffffffff : 0xffff;

    switch (op->kind) {
    case OPK_GPR: put_gpr(t, op->reg, op->size); break;
    case OPK_GPR8H: put(t, "%s", high8[op->reg]); break;
    case OPK_MEM:
        put_memory(t, insn, n, insn->def->attrs & A_NOMEM ? 0 : op->size, rip);
        if (insn_broadcasts(insn)) {
            put(t, "{1to%u}", insn_mask_bits(insn));
        }
        break;
    case OPK_IMM: put(t, "0x%" PRIx64, op->size == 1 && !(insn->imm >> 63) ? insn->imm & 0xff
                                                                        : insn->imm & mask); break;
    case OPK_REL:
        put(t, "0x%" PRIx64, (rip + insn->len + insn->imm) & mask);
        break;
    case OPK_FAR: put(t, "0x%x:0x%" PRIx64, insn->imm2, insn->imm); break;
    case OPK_SEG: put(t, "%s", segments[op->reg]); break;
    case OPK_CR: put(t, "cr%u", op->reg); break;
    case OPK_DR: put(t, "dr%u", op->reg); break;
    case OPK_MMX: put(t, "mm%u", op->reg); break;
    case OPK_VEC: put(t, "%cmm%u", op->size > 32 ? 'z' : op->size > 16 ? 'y' : 'x', op->reg); break;
    case OPK_K: put(t, "k%u", op->reg); break;
    case OPK_ST: put(t, "st(%u)", op->reg); break;
    case OPK_STRING:
        put(t, "%s", size_name(op->size));
        put(t, "%s:[", op->reg == R_RDI ? "es" : segments[insn->seg_override == SEG_COUNT
                                                              ? SEG_DS : insn->seg_override]);
        put_gpr(t, op->reg, insn->addr_size);
        put(t, "]");
        break;
    }
}

/* EVEX's mask, behind the first operand. */
static void put_mask(Text *t, const Insn *insn)
{
    if (insn->evex & EVEX_AAA) {
        put(t, "{k%u}%s", insn->evex & EVEX_AAA, insn->evex & EVEX_Z ? "{z}" : "");
    }
}

/* The source that is the destination again is not shown twice, ENTER's second immediate is. */
static bool is_repeated(const Insn *insn, unsigned n)
{
    return n > 0 && insn->def->opnd[n] == insn->def->opnd[0] && insn->def->opnd[0] != OPND_NIL;
}

char *insn_format(const Insn *insn, uint64_t rip, char *buf, size_t size)
{
    static const char *const rounding[] = { "rn-sae", "rd-sae", "ru-sae", "rz-sae" };
    Text t = { buf, size, 0 };
    const char *before = " ";

    if (!insn->def) {
        put(&t, "(bad)");
        return buf;
    }
    if (insn_is_locked(insn)) {
        put(&t, "lock ");
    }
    if (insn->def->attrs & (A_REP | A_REPCC)) {
        put(&t, "%s", insn->prefixes & INSN_F3 ? (insn->def->attrs & A_REP ? "rep " : "repe ")
                    : insn->prefixes & INSN_F2 ? "repne " : "");
    }
    put(&t, "%s", insn->def->name);
    for (unsigned n = 0; n < 4; n++) {
        if (insn->op[n].kind == OPK_NONE || is_repeated(insn, n)) {
            continue;
        }
        put(&t, "%s", before);
        before = ", ";
        if (n == 2 && insn->op[1].kind == OPK_IMM && insn->op[2].kind == OPK_IMM) {
            put(&t, "0x%x", insn->imm2);
        } else {
            put_operand(&t, insn, n, rip);
        }
        if (n == 0) {
            put_mask(&t, insn);
        }
    }
    if (insn->vex == 4 && insn_rounds(insn)) {
        put(&t, ", {%s}", insn->def->attrs & A_SAE ? "sae" : rounding[insn->evex >> EVEX_LL_SHIFT]);
    }
    return buf;
}
