/* SPDX-License-Identifier: MIT */
/*
 * Near control transfers.  Spec: SDM1 6.4, SDM2.  Far ones are in segment.c.
 * Locking: none.
 */
#include "target-x86/sem.h"

/* Checks a near target (#GP(0)) and cuts it to the operand size. */
static uint64_t near_target(X86Cpu *cpu, uint64_t target, unsigned op_size)
{
    if (cpu->mode & MODE_CS64) {
        if (!x86_is_canonical(cpu, target)) {
            cpu_raise(cpu, VEC_GP, 0);
        }
        return target;
    }
    target &= size_mask(op_size);
    if (target > cpu->segs[SEG_CS].limit) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    return target;
}

static uint64_t relative(X86Cpu *cpu, const Insn *insn)
{
    return near_target(cpu, cpu->next_rip + insn->imm, insn->op_size);
}

void sem_jcc(X86Cpu *cpu, const Insn *insn)
{
    if (x86_cond(cpu->cc, insn_cond(insn))) {
        cpu->next_rip = relative(cpu, insn);
    }
}

void sem_jmp(X86Cpu *cpu, const Insn *insn)
{
    cpu->next_rip = relative(cpu, insn);
}

void sem_call(X86Cpu *cpu, const Insn *insn)
{
    uint64_t target = relative(cpu, insn);

    x86_push(cpu, cpu->next_rip, insn->op_size);
    cpu->next_rip = target;
}

void sem_jmp_ind(X86Cpu *cpu, const Insn *insn)
{
    cpu->next_rip = near_target(cpu, insn_read(cpu, insn, 1), insn->op_size);
}

void sem_call_ind(X86Cpu *cpu, const Insn *insn)
{
    uint64_t target = near_target(cpu, insn_read(cpu, insn, 1), insn->op_size);

    x86_push(cpu, cpu->next_rip, insn->op_size);
    cpu->next_rip = target;
}

void sem_ret(X86Cpu *cpu, const Insn *insn)
{
    uint64_t sp = cpu->gpr[R_RSP], target = x86_pop_at(cpu, &sp, insn->op_size);

    cpu->next_rip = near_target(cpu, target, insn->op_size);
    if (insn->op[1].kind == OPK_IMM) {
        sp = (sp & ~x86_sp_mask(cpu)) | ((sp + insn->imm) & x86_sp_mask(cpu));
    }
    x86_set_sp(cpu, sp);
}

void sem_loop(X86Cpu *cpu, const Insn *insn)
{
    uint64_t count = (cpu->gpr[R_RCX] - 1) & size_mask(insn->addr_size);
    bool taken = count != 0;

    if (insn->opcode == 0xe0) {
        taken = taken && !(cpu->cc & CC_Z);
    } else if (insn->opcode == 0xe1) {
        taken = taken && (cpu->cc & CC_Z);
    }
    if (taken) {
        cpu->next_rip = relative(cpu, insn);
    }
    x86_set_gpr(cpu, R_RCX, count, insn->addr_size);
}

void sem_jcxz(X86Cpu *cpu, const Insn *insn)
{
    if (!(cpu->gpr[R_RCX] & size_mask(insn->addr_size))) {
        cpu->next_rip = relative(cpu, insn);
    }
}
