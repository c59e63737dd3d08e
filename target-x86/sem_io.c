/* SPDX-License-Identifier: MIT */
/*
 * INS, OUTS, and the random number instructions.  Spec: [SDM2], [SDM1 19.5].
 * A repeated transfer stops after CHUNK elements with next_rip on itself, so that kicks and
 * interrupts get in.  INS makes sure of its destination before it reads the port, since that
 * cannot be taken back.
 * Locking: none here.
 */
#include <sys/random.h>

#include "target-x86/debug.h"
#include "target-x86/sem.h"

#define CHUNK 64

static void advance(X86Cpu *cpu, const Insn *insn, unsigned reg, unsigned size)
{
    int64_t step = cpu->eflags & FLAG_DF ? -(int64_t)size : size;

    x86_set_gpr(cpu, reg, cpu->gpr[reg] + step, insn->addr_size);
}

static void ins_element(X86Cpu *cpu, const Insn *insn)
{
    unsigned size = insn->op[0].size;
    uint64_t off = cpu->gpr[R_RDI] & size_mask(insn->addr_size);
    uint64_t va = x86_linear(cpu, SEG_ES, off, size, X86_WRITE), value;

    x86_probe_write(cpu, va, size);
    value = x86_port_in(cpu, (uint16_t)cpu->gpr[R_RDX], size);
    x86_st_slow(cpu, va, &value, size, cpu->mmu_idx);
    advance(cpu, insn, R_RDI, size);
}

static void outs_element(X86Cpu *cpu, const Insn *insn)
{
    unsigned size = insn->op[2].size;
    uint64_t off = cpu->gpr[R_RSI] & size_mask(insn->addr_size), value = 0;
    uint64_t va = x86_linear(cpu, insn->seg, off, size, X86_READ);

    x86_ld_slow(cpu, va, &value, size, cpu->mmu_idx);
    x86_port_out(cpu, (uint16_t)cpu->gpr[R_RDX], value, size);
    advance(cpu, insn, R_RSI, size);
}

static void transfer(X86Cpu *cpu, const Insn *insn, unsigned size,
                     void (*element)(X86Cpu *cpu, const Insn *insn))
{
    uint64_t count;

    x86_check_port(cpu, (uint16_t)cpu->gpr[R_RDX], size);
    if (!(insn->prefixes & (INSN_F2 | INSN_F3))) {
        element(cpu, insn);
        return;
    }
    count = cpu->gpr[R_RCX] & size_mask(insn->addr_size);
    for (unsigned done = 0, most = x86_rep_most(cpu, CHUNK); count && done < most; done++) {
        element(cpu, insn);
        x86_set_gpr(cpu, R_RCX, --count, insn->addr_size);
        if (G_UNLIKELY(cpu->stop || cpu->debug_hits)) {
            break;
        }
    }
    if (count) {
        cpu->next_rip = cpu->rip;
    }
}

void sem_ins(X86Cpu *cpu, const Insn *insn)
{
    transfer(cpu, insn, insn->op[0].size, ins_element);
}

void sem_outs(X86Cpu *cpu, const Insn *insn)
{
    transfer(cpu, insn, insn->op[2].size, outs_element);
}

/* CF = 1 and the rest clear when there is a number; the host kernel's is as good as any. */
static void random_number(X86Cpu *cpu, const Insn *insn)
{
    uint64_t value = 0;
    bool good = getrandom(&value, sizeof(value), GRND_NONBLOCK) == sizeof(value);

    insn_write(cpu, insn, 0, good ? value : 0);
    cpu->cc = x86_flags_to_cc(good ? FLAG_CF : 0);
}

void sem_rdrand(X86Cpu *cpu, const Insn *insn)
{
    random_number(cpu, insn);
}

void sem_rdseed(X86Cpu *cpu, const Insn *insn)
{
    random_number(cpu, insn);
}
