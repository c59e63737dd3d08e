/* SPDX-License-Identifier: MIT */
/*
 * Decoder: bytes to Insn by the tables.  Spec: SDM2 chapter 2 and appendix A.
 * Missing: XOP and the maps of EVEX from 4 on decode as invalid.
 * Locking: none; the index is built once.
 */
#include "target-x86/insn.h"

/* Rows of one opcode, or of one value of ModRM.reg, in row order. */
typedef struct RowSlice {
    uint16_t first;             /* in row_list; of an opcode that is `by_reg`: in reg_slices */
    uint8_t count;
    bool plain;                 /* one row, with nothing more to match */
} RowSlice;

static struct {
    RowSlice rows;
    bool modrm, by_reg;
} opcode_index[MAP_COUNT][256];
static uint16_t *row_list;
static RowSlice *reg_slices;

typedef struct Decoder {
    Insn *insn;
    const uint8_t *bytes;
    unsigned avail, pos, limit;
    uint32_t mode;
    bool overrun;
} Decoder;

static bool opnd_needs_modrm(unsigned opnd)
{
    switch (opnd >> 8) {
    case OT_E: case OT_G: case OT_M: case OT_R: case OT_S: case OT_C: case OT_D: case OT_P:
    case OT_Q: case OT_N: case OT_V: case OT_W: case OT_U: case OT_RM: case OT_VSIB: case OT_STI:
    case OT_KG: case OT_KE: case OT_KU:
        return true;
    default:
        return false;
    }
}

static bool has_modrm(const InsnDef *def)
{
    bool modrm = def->match & (M_MEM | M_RR | M_HAS_REG | M_HAS_RM | M_MODRM);

    for (unsigned k = 0; k < 4; k++) {
        modrm |= opnd_needs_modrm(def->opnd[k]);
    }
    return modrm;
}

static bool is_plain(const InsnDef *def)
{
    const uint32_t not_matched = M_MODRM | M_HAS_REG | M_REG(7);

    return !(def->match & ~not_matched) && def->modes == MODES_ANY && !(def->attrs & A_OPTIONAL);
}

/* The rows of SLICE that ModRM.reg = REG, or with 8 any, goes with, in row_list from N on. */
static RowSlice pick_rows(RowSlice slice, unsigned reg, unsigned n)
{
    RowSlice picked = { n, 0, false };

    for (unsigned i = slice.first; i < slice.first + slice.count; i++) {
        const InsnDef *def = &insn_rows[row_list[i]];

        if (reg == 8 || !(def->match & M_HAS_REG) || (def->match >> 24 & 7) == reg) {
            row_list[n + picked.count++] = row_list[i];
        }
    }
    picked.plain = picked.count == 1 && is_plain(&insn_rows[row_list[n]]);
    return picked;
}

static void build_index(void)
{
    unsigned n = 0, opcodes_by_reg = 0, slices = 0;

    row_list = g_new(uint16_t, insn_row_count * 9);
    for (unsigned i = 0; i < insn_row_count; i++) {
        const InsnDef *def = &insn_rows[i];

        opcode_index[def->map][def->op].rows.count++;
        opcode_index[def->map][def->op].modrm |= has_modrm(def);
        if (def->match & M_HAS_REG) {
            opcodes_by_reg += !opcode_index[def->map][def->op].by_reg;
            opcode_index[def->map][def->op].by_reg = true;
        }
    }
    for (unsigned op = 0; op < MAP_COUNT * 256; op++) {
        RowSlice *rows = &opcode_index[op / 256][op % 256].rows;

        rows->first = n;
        n += rows->count;
        rows->count = 0;
    }
    for (unsigned i = 0; i < insn_row_count; i++) {
        RowSlice *rows = &opcode_index[insn_rows[i].map][insn_rows[i].op].rows;

        row_list[rows->first + rows->count++] = i;
    }
    reg_slices = g_new(RowSlice, opcodes_by_reg * 8);
    for (unsigned op = 0; op < MAP_COUNT * 256; op++) {
        RowSlice *rows = &opcode_index[op / 256][op % 256].rows;

        if (!opcode_index[op / 256][op % 256].by_reg) {
            *rows = pick_rows(*rows, 8, rows->first);
            continue;
        }
        for (unsigned reg = 0; reg < 8; reg++) {
            reg_slices[slices + reg] = pick_rows(*rows, reg, n);
            n += reg_slices[slices + reg].count;
        }
        rows->first = slices;
        slices += 8;
    }
}

static void ensure_index(void)
{
    static gsize once;

    if (g_once_init_enter(&once)) {
        build_index();
        g_once_init_leave(&once, 1);
    }
}

static uint8_t peek8(Decoder *d)
{
    if (d->pos >= d->limit) {
        d->overrun = true;
        return 0;
    }
    return d->bytes[d->pos];
}

static uint64_t take(Decoder *d, unsigned size)
{
    uint64_t v;

    if (d->pos + size > d->limit) {
        d->overrun = true;
        d->pos = d->limit;
        return 0;
    }
    v = le_load(d->bytes + d->pos, size);
    d->pos += size;
    return v;
}

static int64_t sign_extend(uint64_t value, unsigned size)
{
    return (int64_t)(value << (64 - 8 * size)) >> (64 - 8 * size);
}

/* Legacy prefixes and REX; leaves pos at the opcode or VEX byte. */
static void take_prefixes(Decoder *d)
{
    Insn *insn = d->insn;
    uint8_t b;

    for (;;) {
        b = peek8(d);
        switch (b) {
        case 0x26: insn->seg_override = SEG_ES; break;
        case 0x2e: insn->seg_override = SEG_CS; break;
        case 0x36: insn->seg_override = SEG_SS; break;
        case 0x3e: insn->seg_override = SEG_DS; break;
        case 0x64: insn->seg_override = SEG_FS; break;
        case 0x65: insn->seg_override = SEG_GS; break;
        case 0x66: insn->prefixes |= INSN_66; break;
        case 0x67: insn->prefixes |= INSN_67; break;
        case 0xf0: insn->prefixes |= INSN_LOCK; break;
        case 0xf2: insn->prefixes = (insn->prefixes & ~INSN_F3) | INSN_F2; break;
        case 0xf3: insn->prefixes = (insn->prefixes & ~INSN_F2) | INSN_F3; break;
        default:
            if (!(d->mode & MODE_CS64) || (b & 0xf0) != 0x40) {
                return;
            }
            /* REX counts only directly before the opcode. */
            insn->rex = b & 15;
            insn->prefixes |= INSN_REX;
            d->pos++;
            continue;
        }
        insn->rex = 0;
        insn->prefixes &= ~INSN_REX;
        if (d->overrun) {
            return;
        }
        /* In 64-bit mode only FS and GS count, and a later null override does not undo them. */
        d->pos++;
    }
}

/* VEX.  Returns false when the encoding cannot be valid. */
static bool take_vex(Decoder *d, bool three)
{
    Insn *insn = d->insn;
    unsigned b1, b2, select;

    if (insn->prefixes & (INSN_66 | INSN_F2 | INSN_F3 | INSN_LOCK | INSN_REX)) {
        take(d, d->mode & MODE_CS64 ? 1 : 2);
        return false;
    }
    d->pos++;
    b1 = take(d, 1);
    if (three) {
        b2 = take(d, 1);
        select = b1 & 31;
        insn->rex = (~b1 >> 5 & 7) | (b2 & 0x80 ? REX_W : 0);
    } else {
        b2 = b1;
        select = 1;
        insn->rex = b1 & 0x80 ? 0 : REX_R;
    }
    insn->vex = three ? 3 : 2;
    insn->vvvv = ~b2 >> 3 & 15;
    insn->vl = b2 >> 2 & 1;
    insn->mp = b2 & 3;
    if (!(d->mode & MODE_CS64)) {
        insn->rex &= REX_W;
    }
    if (select < 1 || select > 3) {
        return false;
    }
    insn->map = MAP_VEX0F + select - 1;
    insn->opcode = take(d, 1);
    return true;
}

/* EVEX [SDM2 2.7.1].  Returns false when the encoding cannot be valid. */
static bool take_evex(Decoder *d)
{
    Insn *insn = d->insn;
    unsigned p0, p1, p2;

    if (insn->prefixes & (INSN_66 | INSN_F2 | INSN_F3 | INSN_LOCK | INSN_REX)) {
        take(d, d->mode & MODE_CS64 ? 1 : 2);
        return false;
    }
    d->pos++;
    p0 = take(d, 1);
    p1 = take(d, 1);
    p2 = take(d, 1);
    insn->rex = (~p0 >> 5 & 7) | (p1 & 0x80 ? REX_W : 0) | (p0 & 0x10 ? 0 : REX_R2) | (p2 & 8 ? 0 : REX_V2);
    insn->vex = 4;
    insn->vvvv = (~p1 >> 3 & 15) | (p2 & 8 ? 0 : 16);
    insn->vl = p2 >> 5 & 3;
    insn->evex = (p2 & EVEX_AAA) | (p2 & 0x10 ? EVEX_B : 0) | (p2 & 0x80 ? EVEX_Z : 0) | insn->vl << EVEX_LL_SHIFT;
    insn->mp = p1 & 3;
    if (!(d->mode & MODE_CS64)) {
        insn->rex &= REX_W;
        if (!(p2 & 8)) {
            return false;
        }
    }
    if ((p0 & 7) < 1 || (p0 & 7) > 3 || (p0 & 8) || !(p1 & 4)) {
        return false;
    }
    insn->map = MAP_EVEX0F + (p0 & 7) - 1;
    insn->opcode = take(d, 1);
    return true;
}

static void take_opcode(Decoder *d)
{
    Insn *insn = d->insn;

    insn->opcode = take(d, 1);
    insn->map = MAP_1BYTE;
    if (insn->opcode == 0x0f) {
        insn->map = MAP_0F;
        insn->opcode = take(d, 1);
        if (insn->opcode == 0x38 || insn->opcode == 0x3a) {
            insn->map = insn->opcode == 0x38 ? MAP_0F38 : MAP_0F3A;
            insn->opcode = take(d, 1);
        }
    }
    insn->mp = insn->prefixes & INSN_F3 ? 2 : insn->prefixes & INSN_F2 ? 3
             : insn->prefixes & INSN_66 ? 1 : 0;
}

static void take_disp(Decoder *d, unsigned size)
{
    d->insn->disp_size = size;
    d->insn->disp = size ? sign_extend(take(d, size), size) : 0;
}

static void take_memory16(Decoder *d)
{
    static const uint8_t bases[8] = { R_RBX, R_RBX, R_RBP, R_RBP, R_RSI, R_RDI, R_RBP, R_RBX };
    static const uint8_t indices[4] = { R_RSI, R_RDI, R_RSI, R_RDI };
    Insn *insn = d->insn;
    unsigned mod = insn->modrm >> 6, rm = insn->modrm & 7;

    if (mod == 0 && rm == 6) {
        take_disp(d, 2);
        return;
    }
    insn->base = bases[rm];
    insn->index = rm < 4 ? indices[rm] : R_ZERO;
    insn->seg = insn->base == R_RBP ? SEG_SS : SEG_DS;
    take_disp(d, mod);
}

static void take_memory(Decoder *d)
{
    Insn *insn = d->insn;
    unsigned mod = insn->modrm >> 6, rm = insn->modrm & 7;

    insn->prefixes |= INSN_HAS_MEM;
    if (insn->addr_size == 2) {
        take_memory16(d);
        return;
    }
    if (rm == 4) {
        insn->sib = take(d, 1);
        insn->prefixes |= INSN_HAS_SIB;
        insn->scale = insn->sib >> 6;
        insn->index = (insn->sib >> 3 & 7) | (insn->rex & REX_X ? 8 : 0);
        if (insn->index == R_RSP) {
            insn->index = R_ZERO;
        }
        rm = insn->sib & 7;
        if (rm == 5 && mod == 0) {
            take_disp(d, 4);
            return;
        }
    } else if (rm == 5 && mod == 0) {
        insn->base = d->mode & MODE_CS64 ? R_RIP : R_ZERO;
        take_disp(d, 4);
        return;
    }
    insn->base = rm | (insn->rex & REX_B ? 8 : 0);
    insn->seg = insn->base == R_RSP || insn->base == R_RBP ? SEG_SS : SEG_DS;
    take_disp(d, mod == 0 ? 0 : mod == 1 ? 1 : 4);
}

static bool vex_feature(const X86Cpu *cpu, unsigned feature, bool wide)
{
    switch (feature) {
    case X86_FEAT_AVX_AVX2:
        return x86_has(cpu, wide ? X86_FEAT_AVX2 : X86_FEAT_AVX);
    case X86_FEAT_AVX_AES:
        return x86_has(cpu, X86_FEAT_AVX) && x86_has(cpu, wide ? X86_FEAT_VAES : X86_FEAT_AES);
    case X86_FEAT_AVX_PCLMUL:
        return x86_has(cpu, X86_FEAT_AVX) &&
               x86_has(cpu, wide ? X86_FEAT_VPCLMULQDQ : X86_FEAT_PCLMULQDQ);
    case X86_FEAT_AVX_GFNI:
        return x86_has(cpu, X86_FEAT_AVX) && x86_has(cpu, X86_FEAT_GFNI);
    default:
        return x86_has(cpu, feature);
    }
}

static bool feature_present(const Insn *insn, const InsnDef *def, const X86Cpu *cpu)
{
    if (def->feature == X86_FEAT_NEVER) {
        return false;
    }
    if (!cpu) {
        return true;
    }
    if (insn->vex == 4 && (!x86_has(cpu, X86_FEAT_AVX512F) ||
                           ((def->match & (M_L1 | M_L2)) && insn->vl < 2 && !x86_has(cpu, X86_FEAT_AVX512VL)))) {
        return false;
    }
    return vex_feature(cpu, def->feature, insn->vl);
}

/* All but ModRM.reg. */
static bool row_matches(const Insn *insn, const InsnDef *def, uint32_t mode)
{
    static const uint32_t lengths[4] = { M_L0, M_L1, M_L2, 0 };
    uint32_t m = def->match;
    bool mem = insn->modrm < 0xc0;
    unsigned v = insn->op_size, a = insn->addr_size;

    if (def->modes != MODES_ANY && (def->modes == MODES_ONLY64) != !!(mode & MODE_CS64)) {
        return false;
    }
    if ((m & M_PREFIXES) && !(m & (1u << insn->mp))) {
        return false;
    }
    if ((m & (M_MEM | M_RR)) && !(m & (mem ? M_MEM : M_RR))) {
        return false;
    }
    if ((m & M_HAS_RM) && (insn->modrm & 7) != (m >> 27 & 7)) {
        return false;
    }
    if ((m & (M_W0 | M_W1)) && !(m & (insn->rex & REX_W ? M_W1 : M_W0))) {
        return false;
    }
    if ((m & (M_L0 | M_L1 | M_L2)) && !(m & lengths[insn->vl])) {
        return false;
    }
    if ((m & (M_O16 | M_O32 | M_O64)) &&
        !(m & (v == 2 ? M_O16 : v == 4 ? M_O32 : M_O64))) {
        return false;
    }
    if ((m & (M_A16 | M_A32 | M_A64)) &&
        !(m & (a == 2 ? M_A16 : a == 4 ? M_A32 : M_A64))) {
        return false;
    }
    if ((m & (M_REXB | M_NOREXB)) && !(m & (insn->rex & REX_B ? M_REXB : M_NOREXB))) {
        return false;
    }
    return !(m & M_V1111) || (insn->vvvv & (def->attrs & A_VSIB ? 15 : 31)) == 0;
}

static const InsnDef *find_row(const Insn *insn, uint32_t mode, const X86Cpu *cpu)
{
    RowSlice rows = opcode_index[insn->map][insn->opcode].rows;

    if (opcode_index[insn->map][insn->opcode].by_reg) {
        rows = reg_slices[rows.first + (insn->modrm >> 3 & 7)];
    }
    if (rows.plain) {
        return &insn_rows[row_list[rows.first]];
    }
    for (unsigned i = rows.first; i < rows.first + rows.count; i++) {
        const InsnDef *def = &insn_rows[row_list[i]];

        if (row_matches(insn, def, mode) &&
            (!(def->attrs & A_OPTIONAL) || feature_present(insn, def, cpu))) {
            return def;
        }
    }
    return NULL;
}

/* Bytes of the SDM's letters at operand sizes 2, 4, 8; the others depend on something else (other_size()). */
static const uint8_t sizes[][3] = {
    [SZ_b] = { 1, 1, 1 }, [SZ_w] = { 2, 2, 2 }, [SZ_d] = { 4, 4, 4 }, [SZ_q] = { 8, 8, 8 },
    [SZ_dq] = { 16, 16, 16 }, [SZ_qq] = { 32, 32, 32 }, [SZ_v] = { 2, 4, 8 }, [SZ_vd64] = { 2, 4, 8 },
    [SZ_z] = { 2, 4, 4 }, [SZ_y] = { 4, 4, 8 }, [SZ_p] = { 4, 6, 10 }, [SZ_a] = { 4, 8, 16 },
    [SZ_t] = { 10, 10, 10 }, [SZ_env] = { 14, 28, 28 }, [SZ_fsv] = { 94, 108, 108 }, [SZ_asz] = { 0, 0, 0 }, [SZ_dup] = { 0, 0, 0 },
};

static unsigned other_size(const Insn *insn, unsigned code, uint32_t mode)
{
    unsigned vec = 16 << insn->vl;

    switch (code) {
    case SZ_s: return mode & MODE_CS64 ? 10 : 6;
    case SZ_x: return vec;
    case SZ_h: return vec / 2;
    case SZ_f: return vec / 4;
    case SZ_e: return vec / 8;
    case SZ_k64: return mode & MODE_CS64 ? 8 : 4;
    case SZ_asz: return insn->addr_size;
    case SZ_dup: return insn->vl ? vec : 8;
    default: return 0;
    }
}

static unsigned size_bytes(const Insn *insn, unsigned code, uint32_t mode)
{
    unsigned size = sizes[code][insn->op_size >> 2];

    return size ? size : other_size(insn, code, mode);
}

unsigned insn_mask_bits(const Insn *insn)
{
    unsigned n = 0, size;

    while (n < 3 && insn->op[n].kind != OPK_MEM) {
        n++;
    }
    size = insn->def->attrs & A_REPEAT ? insn->op[0].size
         : insn_broadcasts(insn)       ? other_size(insn, insn->def->opnd[n] & 0xff, 0)
                                       : insn->op[n].size;
    return size / A_ELEMENT(insn->def->attrs);
}

static InsnOpnd gpr_operand(const Insn *insn, unsigned reg, unsigned size)
{
    InsnOpnd op = { OPK_GPR, reg, size };

    if (size == 1 && reg >= 4 && reg < 8 && !(insn->prefixes & INSN_REX)) {
        op.kind = OPK_GPR8H;
        op.reg = reg - 4;
    }
    return op;
}

static void take_imm(Decoder *d, unsigned size, bool is_signed)
{
    Insn *insn = d->insn;

    if (insn->imm_size) {
        insn->imm2 = take(d, size);     /* ENTER */
        insn->imm_size += size;
        return;
    }
    insn->imm = take(d, size);
    if (is_signed) {
        insn->imm = sign_extend(insn->imm, size);
    }
    insn->imm_size = size;
}

/* EVEX counts to 31. */
static unsigned vector_reg(const Insn *insn) { return insn_reg(insn) | (insn->rex & REX_R2 ? 16 : 0); }
static unsigned vector_rm(const Insn *insn)
{
    return insn_rm(insn) | (insn->vex == 4 && (insn->rex & REX_X) ? 16 : 0);
}

/* Resolve one operand letter; false: the encoding is invalid. */
static bool resolve_operand(Decoder *d, unsigned n, unsigned opnd)
{
    Insn *insn = d->insn;
    InsnOpnd *op = &insn->op[n];
    unsigned type = opnd >> 8, reg = insn_reg(insn), rm = insn_rm(insn);
    unsigned size = type == OT_SEG ? 2 : size_bytes(insn, opnd & 0xff, d->mode);
    bool mem = insn->modrm < 0xc0;
    static const uint8_t mem_kind = OPK_MEM;

    *op = (InsnOpnd){ mem_kind, 0, size };
    switch (type) {
    case OT_E: if (!mem) { *op = gpr_operand(insn, rm, size); } break;
    case OT_RM:
        if (!mem) {
            *op = (InsnOpnd){ OPK_GPR, rm, (opnd & 0xff) == SZ_v ? size : 4 };
        } else if ((opnd & 0xff) == SZ_v) {
            op->size = 2;
        }
        break;
    case OT_G: *op = gpr_operand(insn, reg, size); return !(insn->rex & REX_R2);
    case OT_R: *op = (InsnOpnd){ OPK_GPR, rm, size }; return !mem;
    case OT_M: case OT_VSIB:
        if (type == OT_VSIB) {
            op->reg = (insn->sib >> 3 & 7) | (insn->rex & REX_X ? 8 : 0) |
                      (insn->vex == 4 && (insn->rex & REX_V2) ? 16 : 0);
            insn->index = R_ZERO;
            return mem && (insn->prefixes & INSN_HAS_SIB);
        }
        return mem;
    case OT_I: case OT_SI:
        op->kind = OPK_IMM;
        take_imm(d, size, type == OT_SI);
        break;
    case OT_J:
        op->kind = OPK_REL;
        take_imm(d, size, true);
        break;
    case OT_A:
        op->kind = OPK_FAR;
        take_imm(d, size - 2, false);
        insn->imm2 = take(d, 2);
        insn->imm_size += 2;
        break;
    case OT_O:
        insn->prefixes |= INSN_HAS_MEM;
        insn->disp_size = insn->addr_size;
        insn->disp = take(d, insn->addr_size);
        break;
    case OT_X: *op = (InsnOpnd){ OPK_STRING, R_RSI, size }; break;
    case OT_Y: *op = (InsnOpnd){ OPK_STRING, R_RDI, size }; break;
    case OT_S:
        *op = (InsnOpnd){ OPK_SEG, reg & 7, 2 };
        return (reg & 7) < SEG_COUNT && !(n == 0 && (reg & 7) == SEG_CS);
    case OT_SEG: *op = (InsnOpnd){ OPK_SEG, opnd & 0xff, 2 }; break;
    case OT_C:
        *op = (InsnOpnd){ OPK_CR, reg, size };
        return reg == 0 || (reg >= 2 && reg <= 4) || reg == 8;
    case OT_D: *op = (InsnOpnd){ OPK_DR, reg, size }; return reg < 8;
    case OT_Z:
        *op = gpr_operand(insn, (insn->opcode & 7) | (insn->rex & REX_B ? 8 : 0), size);
        break;
    case OT_P: *op = (InsnOpnd){ OPK_MMX, reg & 7, size }; break;
    case OT_Q: if (!mem) { *op = (InsnOpnd){ OPK_MMX, rm & 7, size }; } break;
    case OT_N: *op = (InsnOpnd){ OPK_MMX, rm & 7, size }; return !mem;
    case OT_V: *op = (InsnOpnd){ OPK_VEC, vector_reg(insn), size }; break;
    case OT_W: if (!mem) { *op = (InsnOpnd){ OPK_VEC, vector_rm(insn), size }; } break;
    case OT_U: *op = (InsnOpnd){ OPK_VEC, vector_rm(insn), size }; return !mem;
    case OT_H: case OT_B:
        *op = (InsnOpnd){ type == OT_H ? OPK_VEC : OPK_GPR,
                          d->mode & MODE_CS64 ? insn->vvvv : insn->vvvv & 7, size };
        break;
    case OT_KG: *op = (InsnOpnd){ OPK_K, reg & 7, size }; return vector_reg(insn) < 8;
    case OT_KE: if (!mem) { *op = (InsnOpnd){ OPK_K, rm & 7, size }; } break;
    case OT_KU: *op = (InsnOpnd){ OPK_K, rm & 7, size }; return !mem;
    case OT_KH: *op = (InsnOpnd){ OPK_K, insn->vvvv & 7, size }; return insn->vvvv < 8;
    case OT_L:
        take_imm(d, 1, false);
        *op = (InsnOpnd){ OPK_VEC, insn->imm >> 4 & (d->mode & MODE_CS64 ? 15 : 7), size };
        break;
    case OT_ST0: *op = (InsnOpnd){ OPK_ST, 0, size }; break;
    case OT_STI: *op = (InsnOpnd){ OPK_ST, insn->modrm & 7, size }; break;
    case OT_RAX: *op = (InsnOpnd){ OPK_GPR, R_RAX, size }; break;
    case OT_RDX: case OT_DX: *op = (InsnOpnd){ OPK_GPR, R_RDX, size }; break;
    case OT_RCX: *op = (InsnOpnd){ OPK_GPR, R_RCX, size }; break;
    case OT_RBX: *op = (InsnOpnd){ OPK_GPR, R_RBX, size }; break;
    case OT_ONE:
        op->kind = OPK_IMM;
        insn->imm = 1;
        break;
    case OT_XMM0: *op = (InsnOpnd){ OPK_VEC, 0, size }; break;
    }
    return true;
}

/* A gather's destination, index and mask are three registers. */
static bool gather_is_valid(const Insn *insn)
{
    const InsnOpnd *op = insn->op;

    return op[0].kind != OPK_VEC || (op[0].reg != op[1].reg &&
                                     (op[2].kind != OPK_VEC || (op[0].reg != op[2].reg && op[1].reg != op[2].reg)));
}

/* Combinations of a row and EVEX bits that are #UD [SDM2 2.7.11]. */
static bool evex_is_valid(const Insn *insn, const InsnDef *def)
{
    uint64_t a = def->attrs;
    bool mem = insn->modrm < 0xc0;
    unsigned aaa = insn->evex & EVEX_AAA;

    if ((insn->evex & EVEX_B) && !(a & (mem ? A_BC : A_RC | A_SAE))) {
        return false;
    }
    if (insn->evex >> EVEX_LL_SHIFT == 3 && !insn_rounds(insn)) {
        return false;
    }
    if (aaa ? !(a & A_MASK) : (insn->evex & EVEX_Z) || (a & A_VSIB)) {
        return false;
    }
    return !(insn->evex & EVEX_Z) || (def->opnd[0] >> 8 != OT_KG && !(a & A_VSIB) && insn->op[0].kind != OPK_MEM);
}

/* Broadcast, and the factor of an 8-bit displacement. */
static void settle_evex_memory(Insn *insn, const InsnDef *def)
{
    unsigned n = 0, factor;

    while (n < 3 && insn->op[n].kind != OPK_MEM) {
        n++;
    }
    if (insn->evex & EVEX_B) {
        insn->op[n].size = insn->rex & REX_W ? 8 : 4;
    }
    factor = def->attrs & (A_PACK | A_VSIB) ? A_ELEMENT(def->attrs) : insn->op[n].size;
    if (insn->disp_size == 1) {
        insn->disp *= factor;
    }
}

/* Size overrides of 64-bit mode that depend on the row. */
static void settle_op_size(Insn *insn, const InsnDef *def, uint32_t mode)
{
    if (!(mode & MODE_CS64)) {
        return;
    }
    if (def->attrs & A_FORCE64) {
        insn->op_size = 8;
    } else if ((def->attrs & A_DEF64) && insn->op_size == 4) {
        insn->op_size = 8;
    }
}

static void settle_segment(Insn *insn, uint32_t mode)
{
    /* Not CS: even a flat one may not be written. */
    static const uint32_t flat[SEG_COUNT] = {
        [SEG_ES] = MODE_FLAT_ES, [SEG_SS] = MODE_FLAT_SS, [SEG_DS] = MODE_FLAT_DS,
    };

    if (insn->seg_override != SEG_COUNT &&
        !((mode & MODE_CS64) && insn->seg_override < SEG_FS)) {
        insn->seg = insn->seg_override;
        insn->prefixes |= INSN_SEGP;
    }
    if (!(mode & MODE_CS64) && (mode & flat[insn->seg]) && insn->addr_size != 2) {
        insn->seg = SEG_FLAT;
    }
}

/* All that settle_fault() looks at. */
#define SETTLED_BY_MODE (A_UD | A_PROT | A_VEX_BMI | A_AVX | A_EVEX | A_FS | A_OSXSAVE | A_SSE | A_MMX | A_X87 | \
                         A_WAIT | A_CPL0 | A_UMIP)

/* What mode, privilege and CPUID make of a valid encoding, in the priority of SDM3A 6.9. */
static uint8_t settle_fault(const Insn *insn, const InsnDef *def, uint32_t mode,
                            const X86Cpu *cpu)
{
    uint64_t a = def->attrs;

    if (insn_is_locked(insn) && !((a & A_LOCK) && insn->op[0].kind == OPK_MEM)) {
        return VEC_UD;
    }
    if (!(a & SETTLED_BY_MODE) && def->feature == X86_FEAT_BASE && insn->vex != 4 && def->sem) {
        return FAULT_NONE;
    }
    if (!feature_present(insn, def, cpu) || !def->sem || (a & A_UD)) {
        return VEC_UD;
    }
    if ((a & (A_PROT | A_VEX_BMI | A_AVX | A_EVEX)) && (mode & (MODE_PE | MODE_VM86)) != MODE_PE) {
        return VEC_UD;
    }
    if (((a & A_FS) && !(mode & MODE_FSGSBASE)) || ((a & A_OSXSAVE) && !(mode & MODE_OSXSAVE)) ||
        ((a & A_AVX) && !(mode & MODE_AVX)) || ((a & A_EVEX) && !(mode & MODE_AVX512)) ||
        ((a & A_SSE) && (mode & (MODE_EM | MODE_OSFXSR)) != MODE_OSFXSR) ||
        ((a & A_MMX) && (mode & MODE_EM))) {
        return VEC_UD;
    }
    if (((a & A_X87) && (mode & (MODE_EM | MODE_TS))) ||
        ((a & A_WAIT) && (mode & (MODE_MP | MODE_TS)) == (MODE_MP | MODE_TS)) ||
        ((a & (A_SSE | A_MMX | A_AVX | A_EVEX)) && (mode & MODE_TS))) {
        return VEC_NM;
    }
    if (((a & A_CPL0) && (mode & MODE_CPL)) || ((a & A_UMIP) && (mode & MODE_UMIP))) {
        return VEC_GP;
    }
    return FAULT_NONE;
}

static DecodeResult finish(Decoder *d, DecodeResult result)
{
    if (d->overrun) {
        result = d->limit == INSN_MAX_LEN ? DECODE_TOO_LONG : DECODE_TRUNCATED;
    }
    d->insn->len = d->pos;
    return result;
}

static void init_sizes(Insn *insn, uint32_t mode)
{
    bool p66 = insn->prefixes & INSN_66, p67 = insn->prefixes & INSN_67;

    if (mode & MODE_CS64) {
        insn->op_size = insn->rex & REX_W ? 8 : p66 ? 2 : 4;
        insn->addr_size = p67 ? 4 : 8;
    } else {
        insn->op_size = !!(mode & MODE_CS32) != p66 ? 4 : 2;
        insn->addr_size = !!(mode & MODE_CS32) != p67 ? 4 : 2;
        if (insn->vex) {
            insn->op_size = 4;
        }
    }
}

static const Insn nothing = {
    .base = R_ZERO, .index = R_ZERO, .seg = SEG_DS, .seg_override = SEG_COUNT, .fault = FAULT_NONE,
};

DecodeResult insn_decode(Insn *insn, const uint8_t *bytes, unsigned avail, uint32_t mode,
                         const X86Cpu *cpu)
{
    Decoder d = { insn, bytes, avail, 0, MIN(avail, INSN_MAX_LEN), mode, false };
    const InsnDef *def;
    uint8_t lead;
    bool vex_possible;

    ensure_index();
    *insn = nothing;
    take_prefixes(&d);
    lead = peek8(&d);
    /* Outside 64-bit mode C4, C5 and 62 are LES, LDS and BOUND unless a register form follows. */
    vex_possible = (mode & MODE_CS64) || (d.pos + 1 < d.limit && bytes[d.pos + 1] >= 0xc0);
    if (vex_possible && (lead == 0x62 || lead == 0xc4 || lead == 0xc5)) {
        if (!(lead == 0x62 ? take_evex(&d) : take_vex(&d, lead == 0xc4))) {
            return finish(&d, DECODE_INVALID);
        }
    } else {
        take_opcode(&d);
    }
    if (d.overrun) {
        return finish(&d, DECODE_INVALID);
    }
    init_sizes(insn, mode);
    if (opcode_index[insn->map][insn->opcode].modrm) {
        insn->modrm = take(&d, 1);
        insn->prefixes |= INSN_HAS_MODRM;
        if (insn->map == MAP_0F && (insn->opcode & 0xfc) == 0x20) {
            insn->modrm |= 0xc0;        /* MOV CRn, DRn: mod is ignored */
        }
        if (insn->modrm < 0xc0) {
            take_memory(&d);
        }
    }
    if (insn->vex == 4 && insn_rounds(insn)) {
        insn->vl = 2;
    }
    def = find_row(insn, mode, cpu);
    if (!def) {
        return finish(&d, DECODE_INVALID);
    }
    insn->def = def;
    insn->sem = def->sem;
    settle_op_size(insn, def, mode);
    if (insn->vex == 4 && !(def->match & (M_L0 | M_L1 | M_L2))) {
        insn->vl = 0;
    }
    for (unsigned n = 0; n < 4; n++) {
        if (def->opnd[n] != OPND_NIL && !resolve_operand(&d, n, def->opnd[n])) {
            return finish(&d, DECODE_INVALID);
        }
    }
    if ((def->attrs & A_VSIB) && !gather_is_valid(insn)) {
        return finish(&d, DECODE_INVALID);
    }
    if (insn->vex == 4) {
        if (!evex_is_valid(insn, def)) {
            return finish(&d, DECODE_INVALID);
        }
        if (insn_has_mem(insn)) {
            settle_evex_memory(insn, def);
        }
    }
    settle_segment(insn, mode);
    insn->fault = settle_fault(insn, def, mode, cpu);
    return finish(&d, DECODE_OK);
}
