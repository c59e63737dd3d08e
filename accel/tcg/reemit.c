/* SPDX-License-Identifier: MIT */
/*
 * Re-emission: a guest instruction as the same host instruction with renamed registers and, if it
 * has one, another memory operand.  Spec: SDM2 2.1 to 2.3.
 * Locking: none.
 */
#include "accel/tcg/translator.h"

#include "target-x86/sem.h"

const uint8_t tcg_host_reg[16] = {
    [R_RAX] = H_RAX, [R_RCX] = H_RCX, [R_RDX] = H_RDX, [R_RBX] = H_RBX, [R_RSP] = H_R12,
    [R_RBP] = H_RBP, [R_RSI] = H_RSI, [R_RDI] = H_RDI, [R_R8] = H_R8,   [R_R9] = H_R9,
    [R_R10] = H_NONE, [R_R11] = H_NONE, [R_R12] = H_R10, [R_R13] = H_R11,
    [R_R14] = H_NONE, [R_R15] = H_NONE,
};

/* Rows with effects no operand shows whose registers are the host's own: RAX, RCX, RDX, RBX. */
static bool implicit_is_native(const Insn *insn)
{
    SemFn *s = insn->sem;

    return s == sem_mul || s == sem_imul || s == sem_div || s == sem_idiv || s == sem_cbw ||
           s == sem_cwd || s == sem_lahf || s == sem_sahf || s == sem_cmpxchg ||
           s == sem_cmpxchg8b || s == sem_cmpxchg16b || s == sem_pcmpestri ||
           s == sem_pcmpistri || s == sem_pcmpestrm || s == sem_pcmpistrm || s == sem_mulx ||
           s == sem_vzeroupper || s == sem_vzeroall || s == sem_emms ||
           (insn->def->attrs & A_X87);
}

/* BT and kin with the number in a register: in memory they reach beyond their operand. */
static bool is_bit_test(const Insn *insn)
{
    return insn->map == MAP_0F && (insn->opcode == 0xa3 || insn->opcode == 0xab || insn->opcode == 0xb3 ||
                                   insn->opcode == 0xbb);
}

static bool operands_are_plain(const Insn *insn)
{
    bool high = false, mem = insn_has_mem(insn);

    for (unsigned n = 0; n < 4; n++) {
        switch (insn->op[n].kind) {
        case OPK_SEG: case OPK_CR: case OPK_DR: case OPK_FAR: case OPK_STRING: case OPK_REL:
            return false;
        case OPK_GPR8H:
            high = true;
            break;
        case OPK_GPR:
            /* Memory would be written before the register: no way back between the two. */
            if (tcg_host_reg[insn->op[n].reg] == H_NONE && n > 0 && mem && (insn->def->attrs & A_XCHG)) {
                return false;
            }
            break;
        default:
            break;
        }
    }
    if (mem && high && insn->sem == sem_cmpxchg) {
        return false;           /* AL and AH change places for it, and it reads AL, too */
    }
    for (unsigned n = 0; high && !mem && n < 4; n++) {
        /* AH with what needs a REX prefix on the host. */
        if (insn->op[n].kind == OPK_GPR && insn->op[n].reg == R_RSP) {
            return false;
        }
    }
    return true;
}

bool tcg_can_reemit(const Insn *insn)
{
    uint64_t a = insn->def->attrs;
    bool multi_is_native = insn->sem == sem_cmpxchg8b || insn->sem == sem_cmpxchg16b;

    if (insn->fault != FAULT_NONE || (a & (A_SYS | A_CTRL | A_IO | A_END | A_STACK | A_VSIB)) ||
        ((a & A_MULTI) && !multi_is_native) || ((a & A_IMPLICIT) && !implicit_is_native(insn)) ||
        (a & (A_FLAGS_IN_SYS | A_CPL0 | A_UD)) || insn->sem == sem_cld || insn->sem == sem_std) {
        return false;
    }
    /* Do CPUs read two bytes or four for MOVSXD with a 16-bit operand?  Not to be relied upon. */
    if (insn->map == MAP_1BYTE && insn->opcode == 0x63 && insn->op_size == 2) {
        return false;
    }
    /* Compress and expand: how much of memory is accessed depends on the mask, for C to see. */
    if ((a & A_PACK) && insn_has_mem(insn)) {
        return false;
    }
    return operands_are_plain(insn) && !(insn_has_mem(insn) && is_bit_test(insn)) && !(a & A_NOMEM && a & A_UMIP);
}

/* Where the fields of the encoding point, renamed. */
typedef struct Fields {
    unsigned reg, rm, vvvv, low;        /* low: the opcode's low bits */
    uint8_t opcode;
    bool byte_rex;                      /* SPL, BPL, SIL, DIL: a REX prefix selects them */
} Fields;

typedef struct Spill {
    unsigned guest, host;
    bool read, written;
} Spill;

typedef struct Renaming {
    Fields f;
    Spill spill[3];
    unsigned spills;
    unsigned high;              /* 1 + number of the register whose high byte meets memory */
} Renaming;

bool tcg_is_written(const Insn *insn, unsigned n)
{
    return (n == 0 && insn->def->opnd[0] != OPND_NIL) ||
           (n == 1 && (insn->def->attrs & (A_XCHG | A_DST2)));
}

/* Is the old value of a register that is written of no account? */
static bool is_replaced(const Insn *insn, unsigned n)
{
    SemFn *s = insn->sem;

    if (insn->op[n].size < 4 || !tcg_is_written(insn, n)) {
        return false;
    }
    return n == 0 ? insn->vex || s == sem_mov || s == sem_movzx || s == sem_movsx
                  : insn->def->attrs & A_DST2;
}

static unsigned rename_reg(Renaming *r, const Insn *insn, unsigned n, unsigned scratch)
{
    unsigned guest = insn->op[n].reg, host = tcg_host_reg[guest];
    bool written = tcg_is_written(insn, n), read = !is_replaced(insn, n);

    if (host != H_NONE) {
        return host;
    }
    for (unsigned i = 0; i < r->spills; i++) {
        if (r->spill[i].guest == guest) {
            r->spill[i].read |= read;
            r->spill[i].written |= written;
            return r->spill[i].host;
        }
    }
    r->spill[r->spills++] = (Spill){ guest, scratch, read, written };
    return scratch;
}

/* The operand that may be X86Cpu.gpr as well as a register: its number + 1, or 0. */
static unsigned operand_in_slot(const Insn *insn)
{
    if (insn->def->attrs & (A_XCHG | A_NOMEM) || insn->def->match & M_RR || is_bit_test(insn) || insn->evex & EVEX_B) {
        return 0;               /* embedded rounding would become a broadcast */
    }
    for (unsigned n = 0; n < 4; n++) {
        const InsnOpnd *op = &insn->op[n];

        if (op->kind == OPK_GPR && insn->def->opnd[n] >> 8 == OT_E && tcg_host_reg[op->reg] == H_NONE) {
            return tcg_is_written(insn, n) && op->size == 4 ? 0 : n + 1;    /* the upper half is to be cleared */
        }
    }
    return 0;
}

/*
 * ADD to CMP, MOV and TEST of a register with a source in X86Cpu.gpr: that is its memory operand in the same instruction
 * of the other direction.  The source's number + 1, or 0.
 */
static unsigned source_in_slot(const Insn *insn)
{
    unsigned opcode = insn->opcode, n = opcode == 0x89 ? 1 : 2;

    if (insn->map != MAP_1BYTE || !((opcode < 0x40 && (opcode & 7) == 1) || opcode == 0x85 || opcode == 0x89)) {
        return 0;
    }
    return insn->op[n].kind == OPK_GPR && tcg_host_reg[insn->op[n].reg] == H_NONE &&
           insn->op[n - 1].kind == OPK_GPR && tcg_host_reg[insn->op[n - 1].reg] != H_NONE ? n + 1 : 0;
}

/* EVEX counts vector registers to 31; opmask registers have no bits to be extended by. */
static void name_vector(Renaming *r, const InsnOpnd *op, unsigned type)
{
    switch (type) {
    case OT_V: case OT_KG:
        r->f.reg = op->reg;
        break;
    case OT_W: case OT_U: case OT_KE: case OT_KU:
        r->f.rm = op->reg;
        break;
    case OT_H: case OT_KH:
        r->f.vvvv = op->reg;    /* 32-bit code: without the bit that is ignored there */
        break;
    default:                    /* fixed */
        break;
    }
}

/* SLOT: operand_in_slot(). */
static void rename_operands(const Insn *insn, bool mem, unsigned slot, Renaming *r)
{
    r->f = (Fields){ insn_reg(insn), insn_rm(insn), insn->vvvv, insn->opcode & 7, insn->opcode, false };
    for (unsigned n = 0; n < 4; n++) {
        const InsnOpnd *op = &insn->op[n];
        unsigned type = insn->def->opnd[n] >> 8;

        if (op->kind == OPK_GPR8H) {
            if (mem) {
                r->high = op->reg + 1;
                r->f.reg = op->reg;
            }
            continue;
        }
        if (op->kind == OPK_VEC || op->kind == OPK_K) {
            name_vector(r, op, type);
        }
        if (op->kind != OPK_GPR || (slot && type == OT_E)) {
            continue;           /* in the slot, as a destination and as a source */
        }
        switch (type) {
        case OT_G:
            r->f.reg = rename_reg(r, insn, n, H_R13);
            break;
        case OT_E: case OT_R: case OT_RM:
            r->f.rm = rename_reg(r, insn, n, H_R14);
            break;
        case OT_B:              /* with memory, a source may share R13 with the destination, and MULX has read R14 */
            r->f.vvvv = rename_reg(r, insn, n, !mem ? H_R15 : tcg_is_written(insn, n) ? H_R14 : H_R13);
            break;
        case OT_Z:
            r->f.low = rename_reg(r, insn, n, H_R14);
            break;
        default:                /* fixed: identity */
            break;
        }
        if (op->size == 1 && op->reg >= 4 && op->reg < 8) {
            r->f.byte_rex = true;
        }
    }
}

static void emit_imm(Emitter *e, const Insn *insn)
{
    uint64_t imm = insn->imm;

    for (unsigned n = 0; n < 4; n++) {
        if (insn->def->opnd[n] >> 8 == OT_L) {
            imm = (imm & 15) | insn->op[n].reg << 4;
        }
    }
    for (unsigned i = 0; i < insn->imm_size; i++) {
        emit8(e, imm >> (8 * i));
    }
}

static void emit_operand(Emitter *e, unsigned reg, unsigned rm, const HostMem *mem)
{
    if (mem) {
        emit_modrm_mem(e, reg, *mem);
    } else {
        emit8(e, 0xc0 | (reg & 7) << 3 | (rm & 7));
    }
}

/* As part of the opcode; as the operand size it is ignored in 32-bit code. */
static bool vex_w(const Insn *insn)
{
    return insn->def->match & (M_W0 | M_W1) ? insn->rex & REX_W : insn->op_size == 8;
}

static void emit_vex(Emitter *e, const Insn *insn, const Fields *f, const HostMem *mem)
{
    unsigned map = insn->map - MAP_VEX0F + 1;
    unsigned rex = mem ? host_mem_rex(f->reg, *mem)
                       : (f->reg & 8 ? 4 : 0) | (f->rm & 8 ? 1 : 0);

    emit8(e, 0xc4);
    emit8(e, (~rex & 7) << 5 | map);
    emit8(e, (vex_w(insn) ? 0x80 : 0) | (~f->vvvv & 15) << 3 | insn->vl << 2 | insn->mp);
    emit8(e, insn->opcode);
    if (insn->prefixes & INSN_HAS_MODRM) {
        emit_operand(e, f->reg, f->rm, mem);
    }
    emit_imm(e, insn);
}

static void emit_evex(Emitter *e, const Insn *insn, const Fields *f, const HostMem *mem)
{
    unsigned map = insn->map - MAP_EVEX0F + 1;
    unsigned rex = mem ? host_mem_rex(f->reg, *mem)
                       : (f->reg & 8 ? 4 : 0) | (f->rm & 16 ? 2 : 0) | (f->rm & 8 ? 1 : 0);

    emit8(e, 0x62);
    emit8(e, (~rex & 7) << 5 | (f->reg & 16 ? 0 : 0x10) | map);
    emit8(e, (vex_w(insn) ? 0x80 : 0) | (~f->vvvv & 15) << 3 | 4 | insn->mp);
    emit8(e, (insn->evex & EVEX_Z ? 0x80 : 0) | (insn->evex >> EVEX_LL_SHIFT & 3) << 5 |
             (insn->evex & EVEX_B ? 0x10 : 0) | (f->vvvv & 16 ? 0 : 8) | (insn->evex & EVEX_AAA));
    emit8(e, insn->opcode);
    if (mem) {
        emit_modrm_mem_evex(e, f->reg, *mem);
    } else {
        emit8(e, 0xc0 | (f->reg & 7) << 3 | (f->rm & 7));
    }
    emit_imm(e, insn);
}

/* Forms the 64-bit host does not have, in ones it has. */
static bool emit_replaced(Emitter *e, const Insn *insn, const Fields *f, const HostMem *mem)
{
    if (insn->map != MAP_1BYTE) {
        return false;
    }
    if (insn->opcode >= 0xa0 && insn->opcode <= 0xa3) {         /* MOV with an absolute address */
        unsigned opcode = (insn->opcode & 2 ? 0x88 : 0x8a) | (insn->opcode & 1);

        emit_rm(e, insn->opcode & 1 && insn->op_size == 2 ? 0x66 : 0,
                insn->opcode & 1 && insn->op_size == 8, opcode, H_RAX, *mem);
        return true;
    }
    if (insn->opcode >= 0x40 && insn->opcode <= 0x4f) {         /* INC, DEC */
        emit_rr(e, insn->op_size == 2 ? 0x66 : 0, false, 0xff, insn->opcode >> 3 & 1, f->low);
        return true;
    }
    return false;
}

/* As part of the opcode or for the operand size, which 16-bit code has without; with M_NP alone it would be another row. */
static bool has_66(const Insn *insn)
{
    uint32_t match = insn->def->match & (M_NP | M_66);

    return (match == M_66 && insn->mp == 1) || (match != M_NP && insn->op_size == 2);
}

static void emit_legacy(Emitter *e, const Insn *insn, const Fields *f, const HostMem *mem)
{
    static const uint16_t escapes[] = { [MAP_0F38] = 0x38, [MAP_0F3A] = 0x3a };
    bool modrm = insn->prefixes & INSN_HAS_MODRM;
    unsigned opcode = f->opcode, rex = insn->rex & REX_W;

    if (emit_replaced(e, insn, f, mem)) {
        return;
    }
    if (insn_is_locked(insn)) {
        emit8(e, 0xf0);
    }
    if (has_66(insn)) {
        emit8(e, 0x66);
    }
    if ((insn->def->match & M_F3) && insn->mp == 2) {
        emit8(e, 0xf3);
    } else if ((insn->def->match & M_F2) && insn->mp == 3) {
        emit8(e, 0xf2);
    }
    if (modrm) {
        rex |= mem ? host_mem_rex(f->reg, *mem) : (f->reg & 8 ? 4 : 0) | (f->rm & 8 ? 1 : 0);
    } else {
        rex |= f->low & 8 ? 1 : 0;
    }
    if (rex || f->byte_rex) {
        emit8(e, 0x40 | rex);
    }
    if (insn->map != MAP_1BYTE) {
        emit8(e, 0x0f);
        if (insn->map != MAP_0F) {
            emit8(e, escapes[insn->map]);
        }
    } else if (opcode == 0x82) {
        opcode = 0x80;
    }
    for (unsigned n = 0; n < 4; n++) {
        if (insn->def->opnd[n] >> 8 == OT_Z) {
            opcode = (opcode & ~7u) | (f->low & 7);
        }
    }
    emit8(e, opcode);
    if (modrm) {
        emit_operand(e, f->reg, f->rm, mem);
    }
    emit_imm(e, insn);
}

/* xchg al, ah and kin: a high byte cannot be named beside a REX prefix. */
static void swap_bytes(Emitter *e, unsigned reg)
{
    emit8(e, 0x86);
    emit8(e, 0xc0 | (reg + 4) << 3 | reg);
}

/* An address that REG is part of stays what it is when swap_bytes() changes that: R14 is it. */
static bool keep_address(Emitter *e, unsigned reg, HostMem mem)
{
    if (mem.base != reg && mem.index != reg) {
        return false;
    }
    emit_rm(e, 0, true, 0x8d, H_R14, mem);
    return true;
}

const uint8_t *tcg_reemit(Emitter *e, const Insn *insn, const HostMem *mem)
{
    const HostMem kept = HOST_DISP(H_R14, 0);
    unsigned in_slot = mem ? 0 : operand_in_slot(insn);
    Renaming r = { 0 };
    const uint8_t *op;
    HostMem slot;

    if (!mem && !in_slot && (in_slot = source_in_slot(insn))) {
        r.f = (Fields){ .reg = tcg_host_reg[insn->op[in_slot - 2].reg],
                        .opcode = insn->opcode == 0x85 ? 0x85 : insn->opcode | 2 };
    } else {
        rename_operands(insn, mem, in_slot, &r);
    }
    if (in_slot) {
        slot = tcg_gpr_slot(insn->op[in_slot - 1].reg);
        mem = &slot;
    }
    for (unsigned i = 0; i < r.spills; i++) {
        if (r.spill[i].read) {
            emit_load(e, r.spill[i].host, tcg_gpr_slot(r.spill[i].guest));
        }
    }
    if (r.high && keep_address(e, r.high - 1, *mem)) {
        mem = &kept;
    }
    op = emit_here(e);
    if (r.high) {
        swap_bytes(e, r.high - 1);
    }
    if (mem && mem->gs) {
        emit8(e, 0x65);
    }
    if (insn->vex == 4) {
        emit_evex(e, insn, &r.f, mem);
    } else if (insn->vex) {
        emit_vex(e, insn, &r.f, mem);
    } else {
        emit_legacy(e, insn, &r.f, mem);
    }
    if (r.high) {
        swap_bytes(e, r.high - 1);
    }
    for (unsigned i = 0; i < r.spills; i++) {
        if (r.spill[i].written) {
            emit_store(e, tcg_gpr_slot(r.spill[i].guest), r.spill[i].host);
        }
    }
    return op;
}
