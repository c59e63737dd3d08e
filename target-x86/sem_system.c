/* SPDX-License-Identifier: MIT */
/*
 * System instructions: control and debug registers, interrupt flag, ports, MSRs, TSC, CPUID and
 * the other small ones.  Spec: [SDM2], [SDM3A 2.8], [SDM3B 17] debug registers, [SDM1 19.5] ports.
 * Decode has checked CPL, mode and CPUID as the rows say (insn.h).
 * MWAIT looks at the monitored line now and then, and ends after MWAIT_NS at the latest, as it may
 * for reasons of the processor's own, [SDM2 MWAIT].
 * Locking: the vCPU's thread; ports are the bus's affair.
 */
#include "target-x86/bus.h"
#include "target-x86/cpu_models.h"
#include "target-x86/debug.h"
#include "target-x86/mmu.h"
#include "target-x86/msr.h"
#include "target-x86/segment.h"
#include "target-x86/sem.h"
#include "target-x86/tlb_contexts.h"

static uint64_t edx_eax(const X86Cpu *cpu)
{
    return (uint32_t)cpu->gpr[R_RAX] | cpu->gpr[R_RDX] << 32;
}

static void set_edx_eax(X86Cpu *cpu, uint64_t value)
{
    cpu->gpr[R_RAX] = (uint32_t)value;
    cpu->gpr[R_RDX] = value >> 32;
}

static unsigned iopl(const X86Cpu *cpu)
{
    return cpu->eflags >> FLAG_IOPL_SHIFT & 3;
}

/* ---- control and debug registers ------------------------------------------------------------ */

void sem_mov_from_cr(X86Cpu *cpu, const Insn *insn)
{
    uint64_t value;

    switch (insn->op[1].reg) {
    case 0: value = cpu->cr0; break;
    case 2: value = cpu->cr2; break;
    case 3: value = cpu->cr3; break;
    case 4: value = cpu->cr4; break;
    case 8:
        value = cpu->bus->cr8_read ? cpu->bus->cr8_read(cpu->bus_opaque, cpu) : cpu->cr8;
        break;
    default: cpu_raise(cpu, VEC_UD, 0);
    }
    x86_set_gpr(cpu, insn->op[0].reg, value, cpu->mode & MODE_CS64 ? 8 : 4);
}

void sem_mov_to_cr(X86Cpu *cpu, const Insn *insn)
{
    uint64_t value = cpu->gpr[insn->op[1].reg];

    if (!(cpu->mode & MODE_CS64)) {
        value = (uint32_t)value;
    }
    switch (insn->op[0].reg) {
    case 0: x86_write_cr0(cpu, value); break;
    case 2: cpu->cr2 = value; break;
    case 3: x86_write_cr3(cpu, value); break;
    case 4: x86_write_cr4(cpu, value); break;
    case 8:
        if (value & ~15ull) {
            cpu_raise(cpu, VEC_GP, 0);
        }
        cpu->cr8 = value;
        if (cpu->bus->cr8_write) {
            cpu->bus->cr8_write(cpu->bus_opaque, cpu, value);
        }
        break;
    default: cpu_raise(cpu, VEC_UD, 0);
    }
}

/* DR4 and DR5 are DR6 and DR7 unless CR4.DE; DR7.GD traps every access, [SDM3B 17.2]. */
static unsigned debug_register(X86Cpu *cpu, unsigned n)
{
    if (n > 7) {
        cpu_raise(cpu, VEC_UD, 0);
    }
    if (n == 4 || n == 5) {
        if (cpu->cr4 & CR4_DE) {
            cpu_raise(cpu, VEC_UD, 0);
        }
        n += 2;
    }
    if (cpu->dr[7] & BIT(13)) {
        cpu_raise_debug(cpu, BIT(13));
    }
    return n;
}

void sem_mov_from_dr(X86Cpu *cpu, const Insn *insn)
{
    unsigned n = debug_register(cpu, insn->op[1].reg);

    x86_set_gpr(cpu, insn->op[0].reg, cpu->dr[n], cpu->mode & MODE_CS64 ? 8 : 4);
}

void sem_mov_to_dr(X86Cpu *cpu, const Insn *insn)
{
    unsigned n = debug_register(cpu, insn->op[0].reg);
    uint64_t value = cpu->gpr[insn->op[1].reg];

    if (!(cpu->mode & MODE_CS64)) {
        value = (uint32_t)value;
    }
    if (n >= 6 && value >> 32) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    if (n == 6) {
        value = (value & 0xe00f) | 0xffff0ff0;
    } else if (n == 7) {
        value = (value & 0xffff2bff) | 0x400;
    }
    cpu->dr[n] = value;
    x86_tlb_update_watch(cpu);
    x86_update_mode(cpu);
}

void sem_smsw(X86Cpu *cpu, const Insn *insn)
{
    insn_write(cpu, insn, 0, cpu->cr0);
}

void sem_lmsw(X86Cpu *cpu, const Insn *insn)
{
    uint64_t value = insn_read(cpu, insn, 1) & 15;

    /* PE can be set but not cleared. */
    x86_write_cr0(cpu, (cpu->cr0 & ~0xeull) | value);
}

void sem_clts(X86Cpu *cpu, const Insn *insn)
{
    cpu->cr0 &= ~(uint64_t)CR0_TS;
    x86_update_mode(cpu);
}

/* ---- caches and TLB ---------------------------------------------------------------------------- */

void sem_invd(X86Cpu *cpu, const Insn *insn)
{
}

void sem_wbinvd(X86Cpu *cpu, const Insn *insn)
{
}

void sem_serialize(X86Cpu *cpu, const Insn *insn)
{
}

void sem_invlpg(X86Cpu *cpu, const Insn *insn)
{
    uint64_t off = insn_offset(cpu, insn), va;

    if (cpu->mode & MODE_CS64) {
        va = insn->seg >= SEG_FS && insn->seg < SEG_COUNT ? off + cpu->segs[insn->seg].base : off;
        if (!x86_is_canonical(cpu, va)) {
            return;             /* a no-op, not a fault */
        }
    } else {
        va = (uint32_t)(off + (insn->seg < SEG_COUNT ? cpu->segs[insn->seg].base : 0));
    }
    x86_tlb_flush_page(cpu, va);
}

void sem_invpcid(X86Cpu *cpu, const Insn *insn)
{
    uint64_t kind = cpu->gpr[insn->op[1].reg], off = insn_offset(cpu, insn), pcid, va;

    if (!(cpu->mode & MODE_CS64)) {
        kind = (uint32_t)kind;
    }
    pcid = x86_ld64(cpu, x86_linear(cpu, insn->seg, off, 16, X86_READ));
    va = x86_ld64(cpu, x86_linear(cpu, insn->seg, off + 8, 8, X86_READ));
    if (kind > 3 || pcid >> 12 || (kind == 0 && !x86_is_canonical(cpu, va)) ||
        (kind < 2 && pcid && !(cpu->cr4 & CR4_PCIDE))) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    if (kind < 2) {
        x86_tlb_flush_pcid(cpu, pcid, kind == 0 ? &va : NULL);
    } else {
        x86_tlb_flush(cpu, kind == 2);
        x86_contexts_forget_all(cpu);
    }
}

/* ---- interrupt flag and HLT --------------------------------------------------------------------- */

/* Virtual interrupts below IOPL: VME in virtual-8086 mode, PVI in ring 3, [SDM3B 20.3, 20.4]. */
static bool uses_vif(const X86Cpu *cpu)
{
    return cpu->mode & MODE_VM86 ? cpu->cr4 & CR4_VME
                                 : cpu->cpl == 3 && (cpu->cr4 & CR4_PVI) && (cpu->mode & MODE_PE);
}

void sem_cli(X86Cpu *cpu, const Insn *insn)
{
    if (!(cpu->mode & MODE_PE) || cpu->cpl <= iopl(cpu)) {
        cpu->eflags &= ~FLAG_IF;
    } else if (uses_vif(cpu)) {
        cpu->eflags &= ~FLAG_VIF;
    } else {
        cpu_raise(cpu, VEC_GP, 0);
    }
}

void sem_sti(X86Cpu *cpu, const Insn *insn)
{
    if (!(cpu->mode & MODE_PE) || cpu->cpl <= iopl(cpu)) {
        if (!(cpu->eflags & FLAG_IF)) {
            cpu->interrupt_shadow = true;
        }
        cpu->eflags |= FLAG_IF;
    } else if (uses_vif(cpu) && !(cpu->eflags & FLAG_VIP)) {
        cpu->eflags |= FLAG_VIF;
    } else {
        cpu_raise(cpu, VEC_GP, 0);
    }
}

void sem_pushf(X86Cpu *cpu, const Insn *insn)
{
    uint64_t flags = x86_rflags(cpu) & ~(uint64_t)(FLAG_VM | FLAG_RF);

    if ((cpu->mode & MODE_VM86) && iopl(cpu) < 3) {
        if (!(cpu->cr4 & CR4_VME) || insn->op_size != 2) {
            cpu_raise(cpu, VEC_GP, 0);
        }
        flags = (flags & ~(uint64_t)FLAG_IF) | FLAG_IOPL | (flags & FLAG_VIF ? FLAG_IF : 0);
    }
    x86_push(cpu, flags, insn->op_size);
}

void sem_popf(X86Cpu *cpu, const Insn *insn)
{
    uint64_t mask = FLAGS_ARITH | FLAG_TF | FLAG_DF | FLAG_NT;
    uint64_t sp = cpu->gpr[R_RSP], flags;

    if (insn->op_size != 2) {
        mask |= FLAG_AC | FLAG_ID;
    }
    if (cpu->mode & MODE_VM86) {
        if (iopl(cpu) == 3) {
            mask |= FLAG_IF;
        } else if (!(cpu->cr4 & CR4_VME) || insn->op_size != 2) {
            cpu_raise(cpu, VEC_GP, 0);
        }
    } else {
        mask |= cpu->cpl == 0 ? FLAG_IOPL | FLAG_IF : cpu->cpl <= iopl(cpu) ? FLAG_IF : 0;
    }
    flags = x86_pop_at(cpu, &sp, insn->op_size);
    if ((cpu->mode & MODE_VM86) && iopl(cpu) < 3) {
        if ((flags & FLAG_TF) || ((flags & FLAG_IF) && (cpu->eflags & FLAG_VIP))) {
            cpu_raise(cpu, VEC_GP, 0);
        }
        mask |= FLAG_VIF;
        flags = (flags & ~(uint64_t)FLAG_VIF) | (flags & FLAG_IF ? FLAG_VIF : 0);
    }
    x86_set_sp(cpu, sp);
    x86_change_flags(cpu, flags, mask | FLAG_RF);
    if (insn->op_size == 2) {
        cpu->eflags &= ~FLAG_RF;
    }
    x86_update_mode(cpu);
}

void sem_hlt(X86Cpu *cpu, const Insn *insn)
{
    cpu->halted = true;
    cpu->stop = 1;
}

enum { MONITOR_LINE = 64, MWAIT_SLICE_NS = 100000, MWAIT_NS = 2000000 };

/* Of what lies there now; false: not plain memory. */
static bool line_sum(X86Cpu *cpu, uint64_t va, uint64_t *sum)
{
    X86Phys page;
    uint64_t gpa;

    if (!x86_mmu_peek(cpu, va, &gpa)) {
        return false;
    }
    cpu->bus->map(cpu->bus_opaque, gpa & cpu->a20_mask & ~4095ull, &page);
    if (!page.host) {
        return false;
    }
    *sum = 0;
    for (unsigned i = 0; i < MONITOR_LINE; i += 8) {
        const uint64_t *p = (const uint64_t *)(const void *)(page.host + (gpa & 4095) + i);

        *sum = *sum * 31 + __atomic_load_n(p, __ATOMIC_RELAXED);
    }
    return true;
}

void sem_monitor(X86Cpu *cpu, const Insn *insn)
{
    uint64_t off = cpu->gpr[R_RAX], va;

    if ((uint32_t)cpu->gpr[R_RCX]) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    if (insn->addr_size != 8) {
        off &= insn->addr_size == 4 ? 0xffffffff : 0xffff;
    }
    va = x86_linear(cpu, insn->seg_override < SEG_COUNT ? insn->seg_override : SEG_DS, off, 1,
                    X86_READ);
    x86_probe_read(cpu, va, 1);
    cpu->monitor_va = va & ~(uint64_t)(MONITOR_LINE - 1);
    cpu->monitor_armed = line_sum(cpu, cpu->monitor_va, &cpu->monitor_sum);
}

void sem_mwait(X86Cpu *cpu, const Insn *insn)
{
    uint64_t now;

    if ((uint32_t)cpu->gpr[R_RCX] & ~1u) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    cpu->stop = 1;              /* a good moment to look for interrupts */
    for (unsigned ns = 0; cpu->monitor_armed && cpu->bus->doze && ns < MWAIT_NS; ns += MWAIT_SLICE_NS) {
        if (!line_sum(cpu, cpu->monitor_va, &now) || now != cpu->monitor_sum ||
            atomic_load(&cpu->requests)) {
            break;
        }
        cpu->bus->doze(cpu->bus_opaque, cpu, MWAIT_SLICE_NS);
    }
    cpu->monitor_armed = false;
}

void sem_clac(X86Cpu *cpu, const Insn *insn)
{
    cpu->eflags &= ~FLAG_AC;
    x86_update_mode(cpu);
}

void sem_stac(X86Cpu *cpu, const Insn *insn)
{
    cpu->eflags |= FLAG_AC;
    x86_update_mode(cpu);
}

/* ---- software interrupts --------------------------------------------------------------------------- */

void sem_int(X86Cpu *cpu, const Insn *insn)
{
    unsigned vector = (uint8_t)insn->imm;

    if (cpu->mode & MODE_VM86) {
        if (x86_redirect_int(cpu, vector)) {
            return;
        }
        if (iopl(cpu) < 3) {
            cpu_raise(cpu, VEC_GP, 0);
        }
    }
    cpu_raise_soft(cpu, vector);
}

void sem_int3(X86Cpu *cpu, const Insn *insn)
{
    cpu_raise_soft(cpu, VEC_BP);
}

void sem_into(X86Cpu *cpu, const Insn *insn)
{
    if (cpu->cc & 1) {
        cpu_raise_soft(cpu, VEC_OF);
    }
}

/* Counts as a trap of its own: no DPL check, the next instruction is what is saved. */
void sem_int1(X86Cpu *cpu, const Insn *insn)
{
    cpu->rip = cpu->next_rip;
    cpu_raise_debug(cpu, 0);
}

/* ---- ports --------------------------------------------------------------------------------------------- */

void x86_check_port(X86Cpu *cpu, uint16_t port, unsigned size)
{
    uint32_t map, byte;
    uint16_t bits;

    if (!(cpu->mode & MODE_PE) || (!(cpu->mode & MODE_VM86) && cpu->cpl <= iopl(cpu))) {
        return;
    }
    /* [SDM1 19.5.2]: a 32-bit or 64-bit TSS, two bytes of the map within the limit. */
    if (!(desc_type(cpu->tr.flags) & 8) || !(cpu->tr.flags & DESC_P) || cpu->tr.limit < 103) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    map = x86_sys_ld16(cpu, cpu->tr.base + 102);
    byte = map + port / 8;
    if (byte + 1 > cpu->tr.limit) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    bits = x86_sys_ld16(cpu, cpu->tr.base + byte);
    if (bits >> (port & 7) & ((1u << size) - 1)) {
        cpu_raise(cpu, VEC_GP, 0);
    }
}

uint64_t x86_port_in(X86Cpu *cpu, uint16_t port, unsigned size)
{
    uint64_t value;

    x86_settle(cpu);
    value = cpu->bus->port_read(cpu->bus_opaque, port, size);

    x86_debug_port(cpu, port, size);
    return value;
}

void x86_port_out(X86Cpu *cpu, uint16_t port, uint64_t value, unsigned size)
{
    x86_settle(cpu);
    cpu->bus->port_write(cpu->bus_opaque, port, value, size);
    x86_debug_port(cpu, port, size);
}

void sem_in(X86Cpu *cpu, const Insn *insn)
{
    unsigned size = insn->op[0].size;
    uint16_t port = insn->op[1].kind == OPK_IMM ? (uint8_t)insn->imm : (uint16_t)cpu->gpr[R_RDX];

    x86_check_port(cpu, port, size);
    x86_set_gpr(cpu, R_RAX, x86_port_in(cpu, port, size), size);
}

void sem_out(X86Cpu *cpu, const Insn *insn)
{
    unsigned size = insn->op[2].size;
    uint16_t port = insn->op[1].kind == OPK_IMM ? (uint8_t)insn->imm : (uint16_t)cpu->gpr[R_RDX];
    uint64_t mask = size == 4 ? 0xffffffff : size == 2 ? 0xffff : 0xff;

    x86_check_port(cpu, port, size);
    x86_port_out(cpu, port, cpu->gpr[R_RAX] & mask, size);
}

/* ---- time, identification, MSRs -------------------------------------------------------------------------- */

void sem_rdtsc(X86Cpu *cpu, const Insn *insn)
{
    if (cpu->mode & MODE_TSD) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    set_edx_eax(cpu, x86_read_tsc(cpu));
}

void sem_rdtscp(X86Cpu *cpu, const Insn *insn)
{
    if (cpu->mode & MODE_TSD) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    set_edx_eax(cpu, x86_read_tsc(cpu));
    cpu->gpr[R_RCX] = (uint32_t)cpu->msrs.tsc_aux;
}

void sem_rdpid(X86Cpu *cpu, const Insn *insn)
{
    x86_set_gpr(cpu, insn->op[0].reg, cpu->msrs.tsc_aux, cpu->mode & MODE_CS64 ? 8 : 4);
}

/* No counters exist, so no index is valid. */
void sem_rdpmc(X86Cpu *cpu, const Insn *insn)
{
    cpu_raise(cpu, VEC_GP, 0);
}

void sem_cpuid(X86Cpu *cpu, const Insn *insn)
{
    uint32_t r[4];

    x86_cpuid(cpu, (uint32_t)cpu->gpr[R_RAX], (uint32_t)cpu->gpr[R_RCX], r);
    cpu->gpr[R_RAX] = r[0];
    cpu->gpr[R_RBX] = r[1];
    cpu->gpr[R_RCX] = r[2];
    cpu->gpr[R_RDX] = r[3];
}

void sem_rdmsr(X86Cpu *cpu, const Insn *insn)
{
    uint64_t value;

    if (!x86_msr_read(cpu, (uint32_t)cpu->gpr[R_RCX], &value)) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    set_edx_eax(cpu, value);
}

void sem_wrmsr(X86Cpu *cpu, const Insn *insn)
{
    if (!x86_msr_write(cpu, (uint32_t)cpu->gpr[R_RCX], edx_eax(cpu))) {
        cpu_raise(cpu, VEC_GP, 0);
    }
}

/* ---- extended state control, bases, keys ----------------------------------------------------------------- */

void sem_xgetbv(X86Cpu *cpu, const Insn *insn)
{
    uint32_t index = (uint32_t)cpu->gpr[R_RCX];

    if (index == 1 && x86_has(cpu, X86_FEAT_XGETBV1)) {
        /* Which components are in use is not tracked: all that are enabled may be. */
        set_edx_eax(cpu, cpu->xcr0);
        return;
    }
    if (index) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    set_edx_eax(cpu, cpu->xcr0);
}

/* [SDM1 13.3] */
void sem_xsetbv(X86Cpu *cpu, const Insn *insn)
{
    uint64_t value = edx_eax(cpu);

    if ((uint32_t)cpu->gpr[R_RCX] || !x86_xcr0_is_valid(cpu, value)) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    cpu->xcr0 = value;
    x86_update_mode(cpu);
}

void sem_swapgs(X86Cpu *cpu, const Insn *insn)
{
    uint64_t base = cpu->segs[SEG_GS].base;

    cpu->segs[SEG_GS].base = cpu->msrs.kernel_gs_base;
    cpu->msrs.kernel_gs_base = base;
}

static void read_base(X86Cpu *cpu, const Insn *insn, unsigned seg)
{
    x86_set_gpr(cpu, insn->op[0].reg, cpu->segs[seg].base, insn->op[0].size);
}

static void write_base(X86Cpu *cpu, const Insn *insn, unsigned seg)
{
    uint64_t value = insn_read(cpu, insn, 1);

    if (!x86_base_is_canonical(cpu, value)) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    cpu->segs[seg].base = value;
}

void sem_rdfsbase(X86Cpu *cpu, const Insn *insn)
{
    read_base(cpu, insn, SEG_FS);
}

void sem_rdgsbase(X86Cpu *cpu, const Insn *insn)
{
    read_base(cpu, insn, SEG_GS);
}

void sem_wrfsbase(X86Cpu *cpu, const Insn *insn)
{
    write_base(cpu, insn, SEG_FS);
}

void sem_wrgsbase(X86Cpu *cpu, const Insn *insn)
{
    write_base(cpu, insn, SEG_GS);
}

void sem_rdpkru(X86Cpu *cpu, const Insn *insn)
{
    if (!(cpu->cr4 & CR4_PKE)) {
        cpu_raise(cpu, VEC_UD, 0);
    }
    if ((uint32_t)cpu->gpr[R_RCX]) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    cpu->gpr[R_RAX] = cpu->pkru;
    cpu->gpr[R_RDX] = 0;
}

void sem_wrpkru(X86Cpu *cpu, const Insn *insn)
{
    if (!(cpu->cr4 & CR4_PKE)) {
        cpu_raise(cpu, VEC_UD, 0);
    }
    if ((uint32_t)cpu->gpr[R_RCX] || (uint32_t)cpu->gpr[R_RDX]) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    if (cpu->pkru != (uint32_t)cpu->gpr[R_RAX]) {
        cpu->pkru = (uint32_t)cpu->gpr[R_RAX];
        x86_tlb_flush(cpu, true);       /* rights are cached in the tags */
    }
}
