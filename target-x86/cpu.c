/* SPDX-License-Identifier: MIT */
/*
 * The CPU as an object: allocation, reset values, derived state.  Spec: SDM3A 10.1.1, table 10-1.
 * Locking: the vCPU's own thread; requests from any.
 */
#include <stdlib.h>

#include "target-x86/cpu.h"
#include "target-x86/mmu.h"

X86Cpu *x86_cpu_new(void)
{
    X86Cpu *cpu = aligned_alloc(64, align_up(sizeof(X86Cpu), 64));

    if (!cpu) {
        g_error("no memory for a CPU of %zu bytes", sizeof(X86Cpu));
    }
    memset(cpu, 0, sizeof(*cpu));
    cpu->phys_bits = 40;
    cpu->virt_bits = 48;
    cpu->a20_mask = ~0ull;
    cpu->insn_limit = ~0ull;
    x86_cpu_reset(cpu, false);
    return cpu;
}

void x86_cpu_free(X86Cpu *cpu)
{
    if (cpu) {
        g_free(cpu->cpuid);
        g_free(cpu->contexts);
    }
    free(cpu);
}

static void reset_segments(X86Cpu *cpu)
{
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        cpu->segs[i] = (X86Seg){ 0, DESC_P | DESC_S | DESC_W | DESC_A, 0xffff, 0 };
    }
    cpu->segs[SEG_CS] = (X86Seg){ 0xf000, DESC_P | DESC_S | DESC_CODE | DESC_R | DESC_A, 0xffff,
                                  0xffff0000 };
    cpu->segs[SEG_FLAT] = (X86Seg){ 0, DESC_P | DESC_S | DESC_W | DESC_A, 0xffffffff, 0 };
    cpu->ldt = (X86Seg){ 0, DESC_P | 2 << DESC_TYPE_SHIFT, 0xffff, 0 };
    cpu->tr = (X86Seg){ 0, DESC_P | 11 << DESC_TYPE_SHIFT, 0xffff, 0 };
    cpu->gdt = (X86Table){ 0, 0xffff };
    cpu->idt = (X86Table){ 0, 0xffff };
}

/* What INIT leaves alone. */
static void reset_power_on(X86Cpu *cpu)
{
    uint64_t apicbase = 0xfee00000 | 1 << 11 | (cpu->index == 0 ? 1 << 8 : 0);

    memset(&cpu->x87, 0, sizeof(cpu->x87));
    memset(cpu->zmm, 0, sizeof(cpu->zmm));
    memset(cpu->k, 0, sizeof(cpu->k));
    memset(&cpu->msrs, 0, sizeof(cpu->msrs));
    cpu->x87.fcw = 0x40;
    cpu->x87.ftw = 0xff;
    cpu->x87.mxcsr = 0x1f80;
    cpu->x87.mxcsr_mask = 0xffff;
    cpu->xcr0 = XCR0_X87;
    cpu->pkru = 0;
    cpu->cr8 = 0;
    cpu->tsc_offset = 0;
    cpu->smm = false;
    cpu->nmi_blocked = false;
    cpu->wait_sipi = cpu->index != 0;
    cpu->msrs.apicbase = apicbase;
    cpu->msrs.pat = 0x0007040600070406ull;
    cpu->msrs.misc_enable = 1 | (x86_has(cpu, X86_FEAT_MONITOR) ? BIT(18) : 0);
    cpu->msrs.smbase = 0x30000;
    cpu->msrs.mcg_cap = 0x1000100 | X86_MCE_BANKS;
    cpu->msrs.mcg_ctl = ~0ull;
    for (unsigned i = 0; i < X86_MCE_BANKS; i++) {
        cpu->msrs.mce_banks[4 * i] = ~0ull;
    }
}

void x86_cpu_reset(X86Cpu *cpu, bool init)
{
    uint64_t cr0_kept = init ? cpu->cr0 & (CR0_CD | CR0_NW) : CR0_CD | CR0_NW;

    memset(cpu->gpr, 0, sizeof(cpu->gpr));
    cpu->gpr[R_RDX] = cpu->cpuid_version;
    cpu->rip = cpu->next_rip = 0xfff0;
    x86_set_rflags(cpu, 0);
    cpu->cr0 = CR0_ET | cr0_kept;
    cpu->cr2 = cpu->cr3 = cpu->cr4 = cpu->efer = 0;
    memset(cpu->dr, 0, sizeof(cpu->dr));
    cpu->dr[6] = 0xffff0ff0;
    cpu->dr[7] = 0x400;
    cpu->cpl = 0;
    cpu->interrupt_shadow = cpu->halted = false;
    cpu->delivering = false;
    memset(&cpu->event, 0, sizeof(cpu->event));
    memset(&cpu->previous, 0, sizeof(cpu->previous));
    reset_segments(cpu);
    if (!init) {
        reset_power_on(cpu);
    } else {
        cpu->wait_sipi = cpu->index != 0;
    }
    x86_tlb_flush(cpu, true);
    for (unsigned idx = 0; idx < X86_MMU_COUNT; idx++) {
        for (unsigned i = 0; i < X86_TLB_SIZE; i++) {
            cpu->tlb[idx][i] = (X86TlbEntry){ X86_TLB_POISON_TAG(i), X86_TLB_POISON_TAG(i),
                                                  X86_TLB_POISON_TAG(i), NULL };
            cpu->tlb_phys[idx][i] = (X86TlbPhys){ .va = X86_TLB_POISON };
        }
    }
    x86_update_mode(cpu);
}

/* Base 0, no limit, writable data: an access needs no check at all. */
static bool is_flat_data(const X86Seg *seg)
{
    return seg->base == 0 && seg->limit == 0xffffffff &&
           (seg->flags & (DESC_P | DESC_S | DESC_CODE | DESC_W | DESC_E)) ==
               (DESC_P | DESC_S | DESC_W);
}

/* 64-bit code does not look at these segments: it must be found whatever is in them, as after an interrupt. */
static uint32_t data_mode(const X86Cpu *cpu)
{
    uint32_t ss = cpu->segs[SEG_SS].flags & DESC_DB ? MODE_SS32 : 0;

    if (!(cpu->segs[SEG_CS].flags & DESC_DB) || !(cpu->cr0 & CR0_PE) || (cpu->eflags & FLAG_VM)) {
        return ss;
    }
    return ss |
           (is_flat_data(&cpu->segs[SEG_SS]) ? MODE_FLAT_SS : 0) |
           (is_flat_data(&cpu->segs[SEG_DS]) ? MODE_FLAT_DS : 0) |
           (is_flat_data(&cpu->segs[SEG_ES]) ? MODE_FLAT_ES : 0);
}

static uint32_t mode_of_cr(const X86Cpu *cpu, unsigned cpl)
{
    uint32_t mode = 0;
    unsigned iopl = (cpu->eflags & FLAG_IOPL) >> FLAG_IOPL_SHIFT;

    mode |= cpu->cr0 & CR0_TS ? MODE_TS : 0;
    mode |= cpu->cr0 & CR0_EM ? MODE_EM : 0;
    mode |= cpu->cr0 & CR0_MP ? MODE_MP : 0;
    mode |= cpu->cr4 & CR4_OSFXSR ? MODE_OSFXSR : 0;
    if (cpu->cr4 & CR4_OSXSAVE) {
        uint64_t avx512 = XCR0_OPMASK | XCR0_ZMM_HI256 | XCR0_HI16_ZMM;

        mode |= MODE_OSXSAVE;
        if ((cpu->xcr0 & (XCR0_SSE | XCR0_AVX)) == (XCR0_SSE | XCR0_AVX)) {
            mode |= MODE_AVX | ((cpu->xcr0 & avx512) == avx512 ? MODE_AVX512 : 0);
        }
    }
    mode |= cpl > 0 && (cpu->cr4 & CR4_UMIP) ? MODE_UMIP : 0;
    mode |= cpl <= iopl ? MODE_IOPL : 0;
    mode |= cpl > 0 && (cpu->cr4 & CR4_TSD) ? MODE_TSD : 0;
    mode |= cpl == 0 || (cpu->cr4 & CR4_PCE) ? MODE_PCE : 0;
    mode |= cpu->cr4 & CR4_FSGSBASE ? MODE_FSGSBASE : 0;
    mode |= cpl == 3 && (cpu->cr0 & CR0_AM) && (cpu->eflags & FLAG_AC) ? MODE_ALIGN : 0;
    mode |= cpl < 3 && (cpu->cr4 & CR4_SMAP) && (cpu->eflags & FLAG_AC) ? MODE_SMAP_AC : 0;
    return mode;
}

/* An instruction breakpoint is armed: R/W = 00 with L or G set. */
static bool has_code_breakpoint(const X86Cpu *cpu)
{
    if (G_LIKELY(!(cpu->dr[7] & 0xff))) {
        return false;
    }
    for (unsigned i = 0; i < 4; i++) {
        if ((cpu->dr[7] >> (2 * i) & 3) && !(cpu->dr[7] >> (16 + 4 * i) & 3)) {
            return true;
        }
    }
    return false;
}

/* As x86_load_segment_real() leaves them; a CS of 4 GiB is MODE_FLAT_CS at base 0, so that loading it changes the mode. */
static bool segments_are_plain(const X86Cpu *cpu, bool vm)
{
    const uint32_t plain = DESC_P | DESC_S | DESC_W | DESC_A;

    if (cpu->segs[SEG_CS].limit == UINT32_MAX) {
        return false;
    }
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        const X86Seg *s = &cpu->segs[i];

        if (i != SEG_SS && (vm ? s->flags != (plain | DESC_DPL) || s->limit != 0xffff
                               : (s->flags & ~(uint32_t)(DESC_DB | DESC_G)) != plain)) {
            return false;
        }
    }
    return true;
}

/* [SDM3A 5.3, 5.4]; x86_linear_checked() has all of it. */
static void update_ends(X86Cpu *cpu, bool protected)
{
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        const X86Seg *s = &cpu->segs[i];
        bool down = (s->flags & (DESC_S | DESC_CODE | DESC_E)) == (DESC_S | DESC_E);
        bool code = s->flags & DESC_CODE, present = s->flags & DESC_P;
        /* Beyond 4 GiB offsets wrap, and nothing is out of a segment that long. */
        uint64_t end = s->limit == UINT32_MAX ? 1ull << 33 : (uint64_t)s->limit + 1;

        end = down || (protected && !present) ? 0 : end;
        cpu->seg_end[i][0] = protected && code && !(s->flags & DESC_R) ? 0 : end;
        cpu->seg_end[i][1] = protected && (code || !(s->flags & DESC_W)) ? 0 : end;
    }
}

void x86_update_mode(X86Cpu *cpu)
{
    const X86Seg *cs = &cpu->segs[SEG_CS];
    bool pe = cpu->cr0 & CR0_PE, vm = pe && (cpu->eflags & FLAG_VM);
    bool lma = cpu->efer & EFER_LMA, cs64 = lma && (cs->flags & DESC_L);
    uint32_t mode;

    if (!pe || vm) {
        cpu->cpl = vm ? 3 : 0;
    }
    mode = cpu->cpl | mode_of_cr(cpu, cpu->cpl);
    mode |= pe ? MODE_PE : 0;
    mode |= vm ? MODE_VM86 : 0;
    mode |= lma ? MODE_LMA : 0;
    mode |= cs64 ? MODE_CS64 | MODE_FLAT_CS : 0;
    mode |= !cs64 && (cs->flags & DESC_DB) ? MODE_CS32 : 0;
    mode |= !cs64 && cs->base == 0 && cs->limit == 0xffffffff ? MODE_FLAT_CS : 0;
    mode |= cs64 ? MODE_SS32 | MODE_FLAT_SS | MODE_FLAT_DS | MODE_FLAT_ES : data_mode(cpu);
    mode |= cpu->eflags & FLAG_TF ? MODE_TF : 0;
    mode |= cpu->smm ? MODE_SMM : 0;
    mode |= (!pe || vm) && segments_are_plain(cpu, vm) ? MODE_PLAIN_SEGS : 0;
    mode |= has_code_breakpoint(cpu) ? MODE_DEBUG : 0;
    cpu->mode = mode;
    if (!cs64) {
        update_ends(cpu, pe && !vm);
    }
    cpu->sign_shift = lma && (cpu->cr4 & CR4_LA57) ? 56 : 47;
    cpu->lin_mask = cs64 ? ~0ull : 0xffffffff;
    cpu->mmu_idx = cpu->cpl == 3 ? X86_MMU_USER
                 : mode & MODE_SMAP_AC ? X86_MMU_KERNEL_AC : X86_MMU_KERNEL;
}

void x86_cpu_request(X86Cpu *cpu, uint32_t requests)
{
    atomic_fetch_or(&cpu->requests, requests);
}

void x86_cpu_request_clear(X86Cpu *cpu, uint32_t requests)
{
    atomic_fetch_and(&cpu->requests, ~requests);
}
