/* SPDX-License-Identifier: MIT */
/*
 * Generic operand access: by the resolved operand's kind.  See insn.h and mem.h.
 */
#include "target-x86/mem.h"

uint64_t insn_read(X86Cpu *cpu, const Insn *insn, unsigned n)
{
    const InsnOpnd *op = &insn->op[n];
    uint64_t value;

    switch (op->kind) {
    case OPK_GPR:
        value = cpu->gpr[op->reg];
        break;
    case OPK_GPR8H:
        return (uint8_t)(cpu->gpr[op->reg] >> 8);
    case OPK_IMM:
    case OPK_REL:
        return insn->imm;
    case OPK_SEG:
        return cpu->segs[op->reg].sel;
    case OPK_MEM:
        switch (op->size) {
        case 1: return insn_ld8(cpu, insn);
        case 2: return insn_ld16(cpu, insn);
        case 4: return insn_ld32(cpu, insn);
        default: return insn_ld64(cpu, insn);
        }
    default:
        g_assert_not_reached();     /* the row's letters promise one of these */
    }
    switch (op->size) {
    case 1: return (uint8_t)value;
    case 2: return (uint16_t)value;
    case 4: return (uint32_t)value;
    default: return value;
    }
}

void insn_write(X86Cpu *cpu, const Insn *insn, unsigned n, uint64_t value)
{
    const InsnOpnd *op = &insn->op[n];

    switch (op->kind) {
    case OPK_GPR:
        x86_set_gpr(cpu, op->reg, value, op->size);
        return;
    case OPK_GPR8H:
        cpu->gpr[op->reg] = (cpu->gpr[op->reg] & ~0xff00ull) | (value & 0xff) << 8;
        return;
    case OPK_MEM:
        switch (op->size) {
        case 1: insn_st8(cpu, insn, value); return;
        case 2: insn_st16(cpu, insn, value); return;
        case 4: insn_st32(cpu, insn, value); return;
        default: insn_st64(cpu, insn, value); return;
        }
    default:
        g_assert_not_reached();
    }
}
