/* SPDX-License-Identifier: MIT */
/*
 * RDMSR and WRMSR.  Spec: [SDM4], [APM2 A].
 * A row is a range of numbers, the feature that must be there, and either a field with the
 * bits that may be written or a pair of hooks.  Bits outside `writable` raise #GP when they would
 * change what is read.  Local APIC registers go through the bus (bus.h).
 * Quirk: MSRs Linux reads before it learns the model (0x8b, 0x198, 0xc0010015..) read as zero
 * and ignore writes, as on QEMU; everything else unknown raises #GP.
 * Missing: performance counters, machine check injection, branch trace.
 * Locking: the vCPU's thread.
 */
#include "target-x86/msr.h"

#include <x86intrin.h>

#include "base/log.h"
#include "target-x86/bus.h"
#include "target-x86/mem.h"
#include "target-x86/segment.h"

typedef struct MsrRow {
    uint32_t first, last;
    unsigned feature;           /* X86_FEAT_BASE: always there */
    size_t offset;              /* uint64_t of X86Cpu; 0: hooks or nothing; arrays by msr - first */
    uint64_t writable;
    bool canonical;             /* values must be canonical addresses */
    bool ignore;                /* reads 0, writes vanish */
    bool (*read)(X86Cpu *cpu, uint32_t msr, uint64_t *value);
    bool (*write)(X86Cpu *cpu, uint32_t msr, uint64_t value);
} MsrRow;

uint64_t x86_read_tsc(X86Cpu *cpu)
{
    uint64_t source = cpu->bus && cpu->bus->tsc ? cpu->bus->tsc(cpu->bus_opaque) : __rdtsc();

    return source + cpu->tsc_offset;
}

static bool tsc_read(X86Cpu *cpu, uint32_t msr, uint64_t *value)
{
    *value = x86_read_tsc(cpu);
    return true;
}

/* A write to either moves the other by the same amount, [SDM3B 17.17.3]. */
static bool tsc_write(X86Cpu *cpu, uint32_t msr, uint64_t value)
{
    uint64_t delta = value - x86_read_tsc(cpu);

    cpu->tsc_offset += delta;
    cpu->msrs.tsc_adjust += delta;
    return true;
}

static bool tsc_adjust_write(X86Cpu *cpu, uint32_t msr, uint64_t value)
{
    cpu->tsc_offset += value - cpu->msrs.tsc_adjust;
    cpu->msrs.tsc_adjust = value;
    return true;
}

static bool efer_write(X86Cpu *cpu, uint32_t msr, uint64_t value)
{
    uint64_t known = EFER_LMA;

    known |= x86_has(cpu, X86_FEAT_SYSCALL) ? EFER_SCE : 0;
    known |= x86_has(cpu, X86_FEAT_LM) ? EFER_LME : 0;
    known |= x86_has(cpu, X86_FEAT(8000_0001_EDX, 20)) ? EFER_NXE : 0;
    known |= x86_has(cpu, X86_FEAT(8000_0001_EDX, 25)) ? EFER_FFXSR : 0;
    if ((value & ~known) || (((value ^ cpu->efer) & EFER_LME) && (cpu->cr0 & CR0_PG))) {
        return false;
    }
    value = (value & ~(uint64_t)EFER_LMA) | (cpu->efer & EFER_LMA);
    if ((value ^ cpu->efer) & EFER_NXE) {
        x86_tlb_flush(cpu, true);
    }
    cpu->efer = value;
    x86_update_mode(cpu);
    return true;
}

static bool segbase_read(X86Cpu *cpu, uint32_t msr, uint64_t *value)
{
    *value = cpu->segs[msr == MSR_FS_BASE ? SEG_FS : SEG_GS].base;
    return true;
}

static bool segbase_write(X86Cpu *cpu, uint32_t msr, uint64_t value)
{
    cpu->segs[msr == MSR_FS_BASE ? SEG_FS : SEG_GS].base = value;
    return true;
}

static bool apic_read(X86Cpu *cpu, uint32_t msr, uint64_t *value)
{
    return cpu->bus->apic_msr_read && cpu->bus->apic_msr_read(cpu->bus_opaque, cpu, msr, value);
}

static bool apic_write(X86Cpu *cpu, uint32_t msr, uint64_t value)
{
    return cpu->bus->apic_msr_write && cpu->bus->apic_msr_write(cpu->bus_opaque, cpu, msr, value);
}

static bool apicbase_read(X86Cpu *cpu, uint32_t msr, uint64_t *value)
{
    if (!apic_read(cpu, msr, value)) {
        *value = cpu->msrs.apicbase;
    }
    return true;
}

static bool apicbase_write(X86Cpu *cpu, uint32_t msr, uint64_t value)
{
    bool x2apic = x86_has(cpu, X86_FEAT(1_ECX, 21));
    uint64_t phys = BIT64(cpu->phys_bits ? cpu->phys_bits : 40) - 1;
    uint64_t old = cpu->msrs.apicbase;

    if ((value & ~(phys & ~0xfffull) & ~0xd00ull) || ((value & BIT(10)) && !x2apic) ||
        (value & 0xc00) == 0x400 || ((old & 0xc00) == 0xc00 && (value & 0xc00) == 0x800) ||
        ((old & 0xc00) == 0 && (value & 0xc00) == 0xc00)) {
        return false;           /* [SDM3A 10.12.5]: transitions that do not exist */
    }
    if (cpu->bus->apic_msr_write && !cpu->bus->apic_msr_write(cpu->bus_opaque, cpu, msr, value)) {
        return false;
    }
    cpu->msrs.apicbase = value;
    return true;
}

static bool pat_write(X86Cpu *cpu, uint32_t msr, uint64_t value)
{
    for (unsigned i = 0; i < 8; i++) {
        uint8_t type = value >> (8 * i) & 0xff;

        if (type > 7 || type == 2 || type == 3) {
            return false;
        }
    }
    cpu->msrs.pat = value;
    return true;
}

static bool mtrrcap_read(X86Cpu *cpu, uint32_t msr, uint64_t *value)
{
    *value = 0x500 | X86_MTRR_VAR;      /* write combining, fixed ranges */
    return true;
}

static bool mtrr_type_is_valid(uint8_t type)
{
    return type == 0 || type == 1 || (type >= 4 && type <= 6);
}

static uint64_t *mtrr_field(X86Cpu *cpu, uint32_t msr)
{
    switch (msr) {
    case MSR_MTRR_FIX64K_00000: return &cpu->msrs.mtrr_fixed[0];
    case MSR_MTRR_FIX16K_80000: return &cpu->msrs.mtrr_fixed[1];
    case MSR_MTRR_FIX16K_A0000: return &cpu->msrs.mtrr_fixed[2];
    case MSR_MTRR_DEF_TYPE: return &cpu->msrs.mtrr_def_type;
    default:
        if (msr >= MSR_MTRR_FIX4K_C0000) {
            return &cpu->msrs.mtrr_fixed[3 + msr - MSR_MTRR_FIX4K_C0000];
        }
        msr -= MSR_MTRR_PHYSBASE0;
        return msr & 1 ? &cpu->msrs.mtrr_var[msr / 2].mask : &cpu->msrs.mtrr_var[msr / 2].base;
    }
}

static bool mtrr_read(X86Cpu *cpu, uint32_t msr, uint64_t *value)
{
    *value = *mtrr_field(cpu, msr);
    return true;
}

static bool mtrr_write(X86Cpu *cpu, uint32_t msr, uint64_t value)
{
    uint64_t phys = (BIT64(cpu->phys_bits ? cpu->phys_bits : 40) - 1) & ~0xfffull;
    bool good;

    if (msr == MSR_MTRR_DEF_TYPE) {
        good = !(value & ~0xcffull) && mtrr_type_is_valid(value & 0xff);
    } else if (msr >= MSR_MTRR_FIX64K_00000) {
        good = true;
        for (unsigned i = 0; i < 8; i++) {
            good &= mtrr_type_is_valid(value >> (8 * i) & 0xff);
        }
    } else if (msr & 1) {
        good = !(value & ~(phys | BIT(11)));
    } else {
        good = !(value & ~(phys | 0xff)) && mtrr_type_is_valid(value & 0xff);
    }
    if (good) {
        *mtrr_field(cpu, msr) = value;
    }
    return good;
}

static bool mce_read(X86Cpu *cpu, uint32_t msr, uint64_t *value)
{
    unsigned n = msr - MSR_MC0_CTL;

    if (n >= 4 * (cpu->msrs.mcg_cap & 0xff)) {
        return false;
    }
    *value = cpu->msrs.mce_banks[n];
    return true;
}

static bool mce_write(X86Cpu *cpu, uint32_t msr, uint64_t value)
{
    unsigned n = msr - MSR_MC0_CTL;

    if (n >= 4 * (cpu->msrs.mcg_cap & 0xff)) {
        return false;
    }
    if ((n & 3) == 0 ? value != 0 && value != ~0ull : (n & 3) == 1 && value != 0) {
        return (n & 3) == 0;    /* MCi_CTL: all or nothing counts; MCi_STATUS: only 0 */
    }
    cpu->msrs.mce_banks[n] = value;
    return true;
}

static bool sign_id_read(X86Cpu *cpu, uint32_t msr, uint64_t *value)
{
    /* A revision that says "new enough", where QEMU has it too. */
    *value = cpu->msrs.ucode_rev ? cpu->msrs.ucode_rev
             : cpu->cpuid_vendor[0] == 0x756e6547 ? 0x100000000ull : 0x01000065;
    return true;
}

static bool sign_id_write(X86Cpu *cpu, uint32_t msr, uint64_t value)
{
    return true;                /* the microcode revision protocol writes 0 first */
}

static bool arch_capabilities_read(X86Cpu *cpu, uint32_t msr, uint64_t *value)
{
    *value = cpu->features[FEAT_ARCH_CAPABILITIES];
    return true;
}

/* IBPB and the like: predictors are not guest-visible here. */
static bool command_write(X86Cpu *cpu, uint32_t msr, uint64_t value)
{
    return value <= 1;
}

static bool xss_write(X86Cpu *cpu, uint32_t msr, uint64_t value)
{
    return value == 0;
}

static bool perf_status_read(X86Cpu *cpu, uint32_t msr, uint64_t *value)
{
    *value = 1000ull | 4ull << 40;      /* as QEMU: a plausible multiplier */
    return true;
}

/* clang-format off */
#define STATE(f) .offset = offsetof(X86Cpu, msrs.f)
#define ONE(n) (n), (n)
static const MsrRow rows[] = {          /* sorted by number */
    { ONE(0x0), X86_FEAT_BASE, .ignore = true },                    /* P5_MC_ADDR, _TYPE */
    { ONE(0x1), X86_FEAT_BASE, .ignore = true },
    { ONE(MSR_TSC), X86_FEAT_TSC, .read = tsc_read, .write = tsc_write },
    { ONE(0x17), X86_FEAT_BASE, .ignore = true },                   /* PLATFORM_ID */
    { ONE(MSR_APICBASE), X86_FEAT(1_EDX, 9), .read = apicbase_read, .write = apicbase_write },
    { ONE(MSR_SMI_COUNT), X86_FEAT_BASE, STATE(smi_count) },
    { ONE(MSR_FEATURE_CONTROL), X86_FEAT_BASE, STATE(feature_control), .writable = 0xff07 },
    { ONE(MSR_TSC_ADJUST), X86_FEAT(7_0_EBX, 1), STATE(tsc_adjust), .write = tsc_adjust_write },
    { ONE(MSR_SPEC_CTRL), X86_FEAT(7_0_EDX, 26), STATE(spec_ctrl), .writable = 7 },
    { ONE(MSR_PRED_CMD), X86_FEAT(7_0_EDX, 26), .write = command_write },
    { ONE(MSR_BIOS_SIGN_ID), X86_FEAT_BASE, .read = sign_id_read, .write = sign_id_write },
    { ONE(0x9b), X86_FEAT_BASE, .ignore = true },                   /* SMM_MONITOR_CTL */
    { ONE(MSR_MTRRCAP), X86_FEAT(1_EDX, 12), .read = mtrrcap_read },
    { ONE(MSR_ARCH_CAPABILITIES), X86_FEAT(7_0_EDX, 29), .read = arch_capabilities_read },
    { ONE(0x10b), X86_FEAT(7_0_EDX, 28), .write = command_write },  /* FLUSH_CMD */
    { ONE(0x140), X86_FEAT_BASE, .ignore = true },                  /* MISC_FEATURES_ENABLES */
    { ONE(MSR_SYSENTER_CS), X86_FEAT_SEP, STATE(sysenter_cs), .writable = 0xffffffff },
    { ONE(MSR_SYSENTER_ESP), X86_FEAT_SEP, STATE(sysenter_esp), .writable = ~0ull, .canonical = true },
    { ONE(MSR_SYSENTER_EIP), X86_FEAT_SEP, STATE(sysenter_eip), .writable = ~0ull, .canonical = true },
    { ONE(MSR_MCG_CAP), X86_FEAT(1_EDX, 14), STATE(mcg_cap) },
    { ONE(MSR_MCG_STATUS), X86_FEAT(1_EDX, 14), STATE(mcg_status), .writable = 7 },
    { ONE(MSR_MCG_CTL), X86_FEAT(1_EDX, 14), STATE(mcg_ctl), .writable = ~0ull },
    { ONE(MSR_PERF_STATUS), X86_FEAT_BASE, .read = perf_status_read },
    { ONE(0x199), X86_FEAT_BASE, .ignore = true },                  /* PERF_CTL */
    { ONE(MSR_MISC_ENABLE), X86_FEAT_BASE, STATE(misc_enable), .writable = 0x444c51889 },
    { ONE(MSR_DEBUGCTL), X86_FEAT_BASE, STATE(debugctl), .writable = 0xffc3 },
    { MSR_MTRR_PHYSBASE0, MSR_MTRR_PHYSBASE0 + 2 * X86_MTRR_VAR - 1, X86_FEAT(1_EDX, 12), .read = mtrr_read, .write = mtrr_write },
    { ONE(MSR_MTRR_FIX64K_00000), X86_FEAT(1_EDX, 12), .read = mtrr_read, .write = mtrr_write },
    { MSR_MTRR_FIX16K_80000, MSR_MTRR_FIX16K_A0000, X86_FEAT(1_EDX, 12), .read = mtrr_read, .write = mtrr_write },
    { MSR_MTRR_FIX4K_C0000, MSR_MTRR_FIX4K_C0000 + 7, X86_FEAT(1_EDX, 12), .read = mtrr_read, .write = mtrr_write },
    { ONE(MSR_PAT), X86_FEAT(1_EDX, 16), STATE(pat), .write = pat_write },
    { ONE(MSR_MTRR_DEF_TYPE), X86_FEAT(1_EDX, 12), .read = mtrr_read, .write = mtrr_write },
    { MSR_MC0_CTL, MSR_MC0_CTL + 4 * X86_MCE_BANKS - 1, X86_FEAT(1_EDX, 14), .read = mce_read, .write = mce_write },
    { ONE(MSR_TSC_DEADLINE), X86_FEAT(1_ECX, 24), .read = apic_read, .write = apic_write },
    { MSR_X2APIC_FIRST, MSR_X2APIC_LAST, X86_FEAT(1_ECX, 21), .read = apic_read, .write = apic_write },
    { ONE(MSR_XSS), X86_FEAT_XSAVES, STATE(xss), .write = xss_write },
    { ONE(MSR_EFER), X86_FEAT_BASE, .offset = offsetof(X86Cpu, efer), .write = efer_write },
    { ONE(MSR_STAR), X86_FEAT_SYSCALL, STATE(star), .writable = ~0ull },
    { ONE(MSR_LSTAR), X86_FEAT_LM, STATE(lstar), .writable = ~0ull, .canonical = true },
    { ONE(MSR_CSTAR), X86_FEAT_LM, STATE(cstar), .writable = ~0ull, .canonical = true },
    { ONE(MSR_FMASK), X86_FEAT_LM, STATE(fmask), .writable = 0xffffffff },
    { MSR_FS_BASE, MSR_GS_BASE, X86_FEAT_LM, .canonical = true, .read = segbase_read, .write = segbase_write },
    { ONE(MSR_KERNEL_GS_BASE), X86_FEAT_LM, STATE(kernel_gs_base), .writable = ~0ull, .canonical = true },
    { ONE(MSR_TSC_AUX), X86_FEAT_RDTSCP, STATE(tsc_aux), .writable = 0xffffffff },
    { ONE(0xc0000104), X86_FEAT_BASE, .ignore = true },             /* TSC_RATIO */
    { 0xc0010000, 0xc0010007, X86_FEAT_BASE, .ignore = true },      /* AMD K7 counters */
    { ONE(0xc0010010), X86_FEAT_BASE, .ignore = true },             /* SYSCFG */
    { ONE(0xc0010015), X86_FEAT_BASE, .ignore = true },             /* HWCR */
    { ONE(0xc001001f), X86_FEAT_BASE, .ignore = true },             /* NB_CFG */
    { ONE(0xc0010055), X86_FEAT_BASE, .ignore = true },             /* interrupt pending */
    { 0xc0010058, 0xc0010058, X86_FEAT_BASE, .ignore = true },      /* MMIO configuration base */
    { ONE(0xc0010112), X86_FEAT_BASE, .ignore = true },             /* SMM TSEG base */
    { ONE(0xc0010140), X86_FEAT_BASE, .ignore = true },             /* OSVW */
    { ONE(0xc0010141), X86_FEAT_BASE, .ignore = true },
    { 0xc0011020, 0xc0011029, X86_FEAT_BASE, .ignore = true },      /* LS_CFG, DC_CFG, DE_CFG... */
};
/* clang-format on */

static const MsrRow *find(const X86Cpu *cpu, uint32_t msr)
{
    unsigned low = 0, high = ARRAY_LEN(rows);

    while (low < high) {
        unsigned middle = (low + high) / 2;

        if (msr > rows[middle].last) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low < ARRAY_LEN(rows) && msr >= rows[low].first && x86_has(cpu, rows[low].feature)) {
        return &rows[low];
    }
    return NULL;
}

static uint64_t *field(X86Cpu *cpu, const MsrRow *row)
{
    return (uint64_t *)((char *)cpu + row->offset);
}

/* What of an MSR is not modelled, or not there on this model of CPU. */
static void note(const X86Cpu *cpu, const char *what, uint32_t msr, const MsrRow *row)
{
    if (!row) {
        log_unimp("CPU %u: %s of unknown MSR 0x%x raises #GP\n", cpu->index, what, msr);
    } else if (row->ignore) {
        log_unimp("CPU %u: %s of MSR 0x%x, which does nothing\n", cpu->index, what, msr);
    }
}

bool x86_msr_read(X86Cpu *cpu, uint32_t msr, uint64_t *value)
{
    const MsrRow *row = find(cpu, msr);

    note(cpu, "RDMSR", msr, row);
    if (!row) {
        return false;
    }
    if (row->read) {
        return row->read(cpu, msr, value);
    }
    if (!row->ignore && !row->offset) {
        return false;           /* write-only */
    }
    *value = row->ignore ? 0 : *field(cpu, row);
    return true;
}

bool x86_msr_write(X86Cpu *cpu, uint32_t msr, uint64_t value)
{
    const MsrRow *row = find(cpu, msr);

    note(cpu, "WRMSR", msr, row);
    if (!row || (row->canonical && !x86_base_is_canonical(cpu, value))) {
        return false;
    }
    if (row->write) {
        return row->write(cpu, msr, value);
    }
    if (row->ignore) {
        return true;
    }
    if (!row->offset || !row->writable || ((value ^ *field(cpu, row)) & ~row->writable)) {
        return false;
    }
    *field(cpu, row) = value;
    return true;
}
