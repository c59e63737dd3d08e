/* SPDX-License-Identifier: MIT */
/*
 * The wire form of a CPU.  Names, order and sizes are those of the description at the end of a
 * migration stream of QEMU 7.2.
 * What cannot be carried: the error code of an exception that waits for delivery; such exceptions are
 * left out, since the instruction raises them again.
 * Missing: what we never have: SVM and VMX state, kvmclock, Hyper-V, MPX, performance counters,
 * processor trace, AMX.  A stream that has it is refused.
 * Locking: machine lock, the CPU at a safe point.
 */
#include "target-x86/x86_vmstate.h"

#include "base/error.h"
#include "target-x86/bus.h"
#include "target-x86/cpu_models.h"
#include "target-x86/mmu.h"
#include "target-x86/msr.h"
#include "target-x86/segment.h"
#include "vm/accel.h"

enum { GPRS = 16, XMMS = 16, NONE = -1 };

typedef struct WireSeg {
    uint32_t selector, limit, flags;
    uint64_t base;
} WireSeg;

typedef struct WireFpreg {
    uint64_t mantissa;
    uint16_t exponent;
} WireFpreg;

typedef struct WireQuads {      /* a part of a vector register */
    uint64_t q[4];
} WireQuads;

typedef struct WireCpu {
    X86CpuDevice *dev;
    /* cpu_common */
    uint32_t halted, interrupt_request;
    /* cpu */
    uint64_t regs[GPRS], eip, eflags;
    uint32_t hflags;
    uint16_t fpuc, fpus, fptag, fpregs_format;
    WireFpreg fpregs[8];
    WireSeg segs[SEG_COUNT], ldt, tr, gdt, idt;
    uint32_t sysenter_cs;
    uint64_t sysenter_esp, sysenter_eip, cr0, cr2, cr3, cr4, dr[8];
    int32_t a20_mask;
    uint32_t mxcsr;
    WireQuads xmm[XMMS], ymmh[XMMS];
    uint64_t efer, star, lstar, cstar, fmask, kernelgsbase;
    uint32_t smbase;
    uint64_t pat;
    uint32_t hflags2;
    uint64_t vm_hsave, vm_vmcb, tsc_offset, intercept;
    uint16_t intercept_cr_read, intercept_cr_write, intercept_dr_read, intercept_dr_write;
    uint32_t intercept_exceptions;
    uint8_t v_tpr;
    uint64_t mtrr_fixed[11], mtrr_deftype;
    struct WireMtrr { uint64_t base, mask; } mtrr_var[X86_MTRR_VAR];
    int32_t interrupt_injected;
    uint32_t mp_state;
    uint64_t tsc;
    int64_t tsc_khz;
    int32_t exception_nr;
    uint8_t soft_interrupt, nmi_injected, nmi_pending, has_error_code;
    uint32_t sipi_vector;
    uint64_t mcg_cap, mcg_status, mcg_ctl, mce_banks[4 * X86_MCE_BANKS];
    uint64_t tsc_aux, system_time_msr, wall_clock_msr, xcr0, xstate_bv;
    /* subsections */
    uint8_t exception_pending, exception_injected, exception_has_payload;
    uint64_t exception_payload, poll_control, fpip, fpdp, tsc_adjust, tsc_deadline, misc_enable;
    uint16_t fpop;
    uint64_t feature_control, xss, smi_count, spec_ctrl, opmask[8], pdptrs[4];
    WireQuads zmmh[XMMS], hi16[XMMS], hi16h[XMMS];
    uint32_t pkru;
    bool has_pdptrs;
} WireCpu;

/* QEMU's words for what its engines derive; it takes them as they come. */
enum {
    HF_CPL = 3, HF_INHIBIT_IRQ = BIT(3), HF_CS32 = BIT(4), HF_SS32 = BIT(5), HF_ADDSEG = BIT(6),
    HF_PE = BIT(7), HF_TF = BIT(8), HF_MP = BIT(9), HF_EM = BIT(10), HF_TS = BIT(11),
    HF_IOPL = 3 << 12, HF_LMA = BIT(14), HF_CS64 = BIT(15), HF_VM = BIT(17), HF_AC = BIT(18),
    HF_SMM = BIT(19), HF_GUEST = BIT(21), HF_OSFXSR = BIT(22), HF_SMAP = BIT(23), HF_UMIP = BIT(27),
    HF_AVX_EN = BIT(28),
    HF2_GIF = BIT(0), HF2_NMI = BIT(2), HF2_SMM_INSIDE_NMI = BIT(4), HF2_VGIF = BIT(8),
    INTERRUPT_HARD = BIT(1), INTERRUPT_SMI = BIT(6), INTERRUPT_NMI = BIT(9), INTERRUPT_INIT = BIT(10),
    INTERRUPT_SIPI = BIT(11), INTERRUPT_MCE = BIT(12),
    MP_RUNNABLE = 0, MP_UNINITIALIZED, MP_INIT_RECEIVED, MP_HALTED, MP_SIPI_RECEIVED,
};

static const struct { uint32_t wire, request; } request_bits[] = {
    { INTERRUPT_HARD, X86_REQ_INTR }, { INTERRUPT_SMI, X86_REQ_SMI },
    { INTERRUPT_NMI, X86_REQ_NMI },   { INTERRUPT_INIT, X86_REQ_INIT },
    { INTERRUPT_SIPI, X86_REQ_SIPI }, { INTERRUPT_MCE, X86_REQ_MCE },
};

/* Fields that are the same on both sides but for their width. */
#define FOR_PLAIN(F)                                                                          \
    F(eip, rip) F(cr0, cr0) F(cr2, cr2) F(cr3, cr3) F(cr4, cr4) F(efer, efer)                 \
    F(fpuc, x87.fcw) F(fpus, x87.fsw) F(fptag, x87.ftw) F(mxcsr, x87.mxcsr)                   \
    F(fpop, x87.fop) F(fpip, x87.fip) F(fpdp, x87.fdp)                                        \
    F(sysenter_cs, msrs.sysenter_cs) F(sysenter_esp, msrs.sysenter_esp)                       \
    F(sysenter_eip, msrs.sysenter_eip) F(star, msrs.star) F(lstar, msrs.lstar)                \
    F(cstar, msrs.cstar) F(fmask, msrs.fmask) F(kernelgsbase, msrs.kernel_gs_base)            \
    F(smbase, msrs.smbase) F(pat, msrs.pat) F(mtrr_deftype, msrs.mtrr_def_type)               \
    F(mcg_cap, msrs.mcg_cap) F(mcg_status, msrs.mcg_status) F(mcg_ctl, msrs.mcg_ctl)          \
    F(tsc_aux, msrs.tsc_aux) F(xcr0, xcr0) F(sipi_vector, sipi_vector)                        \
    F(tsc_adjust, msrs.tsc_adjust) F(misc_enable, msrs.misc_enable)                           \
    F(feature_control, msrs.feature_control) F(xss, msrs.xss) F(smi_count, msrs.smi_count)    \
    F(spec_ctrl, msrs.spec_ctrl) F(pkru, pkru)

#define FOR_ARRAYS(F)                                                                         \
    F(dr, dr) F(mtrr_fixed, msrs.mtrr_fixed) F(mce_banks, msrs.mce_banks) F(opmask, k)        \
    F(pdptrs, pdpte)

/* ---- before a save --------------------------------------------------------------------------- */

/* The wire's flags have the limit's upper four bits where the descriptor has them. */
static WireSeg wire_seg(const X86Seg *s)
{
    uint32_t limit = s->flags & DESC_G ? s->limit >> 12 : s->limit;

    return (WireSeg){ .selector = s->sel, .base = s->base, .limit = s->limit,
                      .flags = s->flags | (limit & 0xf0000) };
}

static uint32_t wire_hflags(const X86Cpu *x)
{
    static const struct { uint32_t mode, hflag; } same[] = {
        { MODE_PE, HF_PE }, { MODE_MP, HF_MP }, { MODE_EM, HF_EM }, { MODE_TS, HF_TS },
        { MODE_LMA, HF_LMA }, { MODE_CS64, HF_CS64 | HF_CS32 | HF_SS32 }, { MODE_CS32, HF_CS32 },
        { MODE_SS32, HF_SS32 }, { MODE_OSFXSR, HF_OSFXSR }, { MODE_AVX, HF_AVX_EN },
        { MODE_SMM, HF_SMM },
    };
    uint32_t h = x->cpl | (x->eflags & (HF_TF | HF_IOPL | HF_VM | HF_AC));
    bool bases = x->segs[SEG_DS].base || x->segs[SEG_ES].base || x->segs[SEG_SS].base;

    for (unsigned i = 0; i < ARRAY_LEN(same); i++) {
        h |= x->mode & same[i].mode ? same[i].hflag : 0;
    }
    h |= x->smm ? HF_SMM : 0;
    h |= x->cr4 & CR4_SMAP ? HF_SMAP : 0;
    h |= x->cr4 & CR4_UMIP ? HF_UMIP : 0;
    h |= x->interrupt_shadow ? HF_INHIBIT_IRQ : 0;
    if (!(h & HF_CS64) && (!(h & HF_PE) || (h & HF_VM) || !(h & HF_CS32) || bases)) {
        h |= HF_ADDSEG;
    }
    return h;
}

static void save_event(WireCpu *w, const X86Event *e)
{
    w->interrupt_injected = w->exception_nr = NONE;
    w->soft_interrupt = w->nmi_injected = w->has_error_code = 0;
    w->exception_pending = w->exception_injected = w->exception_has_payload = 0;
    w->exception_payload = 0;
    if (!e->pending) {
        return;
    }
    if (e->external && e->vector == VEC_NMI) {
        w->nmi_injected = 1;
    } else if (e->external || (e->soft && e->vector > VEC_OF)) {
        w->interrupt_injected = e->vector;
        w->soft_interrupt = e->soft;
    } else if (e->soft || e->vector == VEC_DB) {
        w->exception_nr = e->vector;
        w->exception_injected = 1;
    }
}

static void save_vectors(WireCpu *w, const X86Cpu *x)
{
    for (unsigned i = 0; i < XMMS; i++) {
        memcpy(w->xmm[i].q, &x->zmm[i].u64[0], 16);
        memcpy(w->ymmh[i].q, &x->zmm[i].u64[2], 16);
        memcpy(w->zmmh[i].q, &x->zmm[i].u64[4], 32);
        memcpy(w->hi16[i].q, &x->zmm[16 + i].u64[0], 32);
        memcpy(w->hi16h[i].q, &x->zmm[16 + i].u64[4], 32);
    }
}

static uint32_t wire_requests(const X86Cpu *x)
{
    uint32_t r = atomic_load(&x->requests), wire = 0;

    for (unsigned i = 0; i < ARRAY_LEN(request_bits); i++) {
        wire |= r & request_bits[i].request ? request_bits[i].wire : 0;
    }
    return wire;
}

static void save(WireCpu *w)
{
    X86Cpu *x = w->dev->x86;
    unsigned top = x->x87.fsw >> 11 & 7;
    uint64_t deadline = 0;

#define SAVE(wire, field) w->wire = x->field;
    FOR_PLAIN(SAVE)
#undef SAVE
#define SAVE(wire, field) memcpy(w->wire, x->field, sizeof(w->wire));
    FOR_ARRAYS(SAVE)
#undef SAVE
    memcpy(w->regs, x->gpr, sizeof(w->regs));
    memcpy(w->mtrr_var, x->msrs.mtrr_var, sizeof(w->mtrr_var));
    w->halted = x->halted || x->wait_sipi;
    w->interrupt_request = wire_requests(x);
    w->eflags = x86_rflags(x);
    w->hflags = wire_hflags(x);
    w->hflags2 = HF2_GIF | HF2_VGIF | (x->nmi_blocked ? HF2_NMI : 0) |
                 (x->nmi_pending_smm ? HF2_SMM_INSIDE_NMI : 0);
    for (unsigned i = 0; i < 8; i++) {
        w->fpregs[i] = (WireFpreg){ x->x87.st[(i - top) & 7].mantissa,
                                    x->x87.st[(i - top) & 7].exponent };
    }
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        w->segs[i] = wire_seg(&x->segs[i]);
    }
    w->ldt = wire_seg(&x->ldt);
    w->tr = wire_seg(&x->tr);
    w->gdt = (WireSeg){ .base = x->gdt.base, .limit = x->gdt.limit };
    w->idt = (WireSeg){ .base = x->idt.base, .limit = x->idt.limit };
    w->a20_mask = (int32_t)x->a20_mask;
    save_vectors(w, x);
    save_event(w, &x->event);
    w->nmi_pending = !!(atomic_load(&x->requests) & X86_REQ_NMI);
    w->mp_state = x->wait_sipi ? MP_UNINITIALIZED : x->halted ? MP_HALTED : MP_RUNNABLE;
    w->tsc_offset = x->tsc_offset;
    w->tsc = x86_read_tsc(x);
    w->tsc_khz = x86_has(x, X86_FEAT_INVTSC) && x->bus && x->bus->tsc_khz ? x->bus->tsc_khz(x->bus_opaque) : 0;
    w->xstate_bv = x86_xcr0_supported(x);
    if (x->bus && x->bus->apic_msr_read &&
        x->bus->apic_msr_read(x->bus_opaque, x, MSR_TSC_DEADLINE, &deadline)) {
        w->tsc_deadline = deadline;
    }
    w->has_pdptrs = (x->cr0 & CR0_PG) && (x->cr4 & CR4_PAE) && !(x->efer & EFER_LMA);
    w->poll_control = 1;
}

/* From wherever the accelerator has the registers to X86Cpu, and the right to change them there. */
static void take_registers(const WireCpu *w)
{
    const Accel *accel = w->dev->cpu.dev.vm->accel;

    if (accel && accel_type(accel)->cpu_get_state) {
        accel_type(accel)->cpu_get_state(&w->dev->cpu);
    }
}

static void common_pre_save(void *obj)
{
    WireCpu *w = obj;

    take_registers(w);
    w->halted = w->dev->x86->halted || w->dev->x86->wait_sipi;
    w->interrupt_request = wire_requests(w->dev->x86);
}

/* Subsections that do not come leave what is here: the state after a reset. */
static bool cpu_pre_load(void *obj, GError **error)
{
    WireCpu *w = obj;
    X86CpuDevice *dev = w->dev;
    uint32_t halted = w->halted, requests = w->interrupt_request;

    take_registers(w);
    *w = (WireCpu){ .dev = dev, .halted = halted, .interrupt_request = requests, .misc_enable = 1,
                    .poll_control = 1 };
    return true;
}

/* From a clean sheet: fields that only a load fills may hold what it brought, and was refused for. */
static void cpu_pre_save(void *obj)
{
    cpu_pre_load(obj, NULL);
    save(obj);
}

/* ---- after a load ---------------------------------------------------------------------------- */

static bool bad(const WireCpu *w, GError **error, const char *what, uint64_t value)
{
    return error_set(error, "CPU %u cannot have %s 0x%" PRIx64, w->dev->cpu.index, what, value);
}

/* What the engines rely on, and what no state of ours can hold. */
/* A TSC that has been promised to tick evenly would not: as QEMU, 250 ppm are no difference. */
static bool check_tsc_pace(const WireCpu *w, GError **error)
{
    const X86Cpu *x = w->dev->x86;
    int64_t here;

    if (!w->tsc_khz || !x86_has(x, X86_FEAT_INVTSC) || !x->bus || !x->bus->tsc_khz) {
        return true;
    }
    here = x->bus->tsc_khz(x->bus_opaque);
    if (w->tsc_khz >= here - here / 4000 && w->tsc_khz <= here + here / 4000) {
        return true;
    }
    return error_set(error, "cpu: the guest's invariant TSC ticks at %" PRId64 " kHz, this host's at %" PRId64
                     "; only guests started with -cpu ...,-invtsc can come here", w->tsc_khz, here);
}

static bool check(const WireCpu *w, GError **error)
{
    const X86Cpu *x = w->dev->x86;
    bool pg = w->cr0 & CR0_PG, lma = w->efer & EFER_LMA;

    if ((w->cr0 >> 32) || (pg && !(w->cr0 & CR0_PE)) ||
        ((w->cr0 & CR0_NW) && !(w->cr0 & CR0_CD))) {
        return bad(w, error, "CR0", w->cr0);
    }
    if (w->cr4 & ~0x7f7fffull) {
        return bad(w, error, "CR4", w->cr4);
    }
    if ((w->efer & ~(uint64_t)(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE | EFER_FFXSR)) ||
        lma != (pg && (w->efer & EFER_LME)) || (lma && !(w->cr4 & CR4_PAE)) ||
        (lma && (w->eflags & FLAG_VM)) || (w->efer && !x86_has(x, X86_FEAT_LM) && lma)) {
        return bad(w, error, "this mode and EFER", w->efer);
    }
    if (!x86_xcr0_is_valid(x, w->xcr0)) {
        return bad(w, error, "XCR0", w->xcr0);
    }
    if (w->xss) {
        return bad(w, error, "XSS", w->xss);        /* XSAVES is not there */
    }
    if (w->mxcsr & ~0xffffu) {
        return bad(w, error, "MXCSR", w->mxcsr);
    }
    if (w->fpregs_format || w->fptag > 0xff) {
        return bad(w, error, "x87 registers of format", w->fpregs_format);
    }
    if ((w->mcg_cap & 0xff) > X86_MCE_BANKS) {
        return bad(w, error, "MCG_CAP", w->mcg_cap);
    }
    if ((w->hflags & HF_GUEST) || w->vm_hsave || w->vm_vmcb) {
        return bad(w, error, "nested virtualization, VM_HSAVE", w->vm_hsave);
    }
    if ((w->system_time_msr | w->wall_clock_msr) & 1) {
        return bad(w, error, "a paravirtual clock (kvmclock), MSR", w->system_time_msr);
    }
    if (w->interrupt_injected < NONE || w->interrupt_injected > 255 || w->exception_nr < NONE ||
        w->exception_nr > 31 || w->sipi_vector > 255) {
        return bad(w, error, "a pending event", (uint32_t)w->interrupt_injected);
    }
    return true;
}

static bool check_addresses(const WireCpu *w, GError **error)
{
    const struct { const char *name; uint64_t va; } rows[] = {
        { "LSTAR", w->lstar }, { "CSTAR", w->cstar }, { "KERNEL_GS_BASE", w->kernelgsbase },
        { "SYSENTER_EIP", w->sysenter_eip }, { "SYSENTER_ESP", w->sysenter_esp },
        { "a GDT at", w->gdt.base }, { "an IDT at", w->idt.base }, { "an LDT at", w->ldt.base },
        { "a TSS at", w->tr.base }, { "FS at", w->segs[SEG_FS].base },
        { "GS at", w->segs[SEG_GS].base },
    };

    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        if (!x86_base_is_canonical(w->dev->x86, rows[i].va)) {
            return bad(w, error, rows[i].name, rows[i].va);
        }
    }
    return true;
}

/* Through the MSRs' own checks: PAT and MTRRs have values that do not exist. */
static bool load_checked_msrs(const WireCpu *w, GError **error)
{
    X86Cpu *x = w->dev->x86;

    if (x86_has(x, X86_FEAT(1_EDX, 16)) && !x86_msr_write(x, MSR_PAT, w->pat)) {
        return bad(w, error, "PAT", w->pat);
    }
    if (x86_has(x, X86_FEAT(1_EDX, 12)) && !x86_msr_write(x, MSR_MTRR_DEF_TYPE, w->mtrr_deftype)) {
        return bad(w, error, "MTRRdefType", w->mtrr_deftype);
    }
    return true;
}

static X86Seg seg_from(const WireSeg *s)
{
    return (X86Seg){ .sel = s->selector, .base = s->base, .limit = s->limit,
                     .flags = s->flags & DESC_FLAGS };
}

static void load_event(const WireCpu *w, X86Cpu *x)
{
    x->event = x->previous = (X86Event){ 0 };
    x->delivering = false;
    x->delivery_depth = 0;
    x->fault_count = 0;
    if (w->nmi_injected) {
        x->event = (X86Event){ .vector = VEC_NMI, .pending = true, .external = true };
    } else if (w->interrupt_injected != NONE) {
        x->event = (X86Event){ .vector = w->interrupt_injected, .pending = true,
                               .soft = w->soft_interrupt, .external = !w->soft_interrupt };
    } else if (w->exception_injected && !w->has_error_code && w->exception_nr != NONE) {
        x->event = (X86Event){ .vector = w->exception_nr, .pending = true,
                               .soft = w->exception_nr == VEC_BP || w->exception_nr == VEC_OF };
    }
}

static void load_vectors(const WireCpu *w, X86Cpu *x)
{
    memset(x->zmm, 0, sizeof(x->zmm));
    for (unsigned i = 0; i < XMMS; i++) {
        memcpy(&x->zmm[i].u64[0], w->xmm[i].q, 16);
        memcpy(&x->zmm[i].u64[2], w->ymmh[i].q, 16);
        memcpy(&x->zmm[i].u64[4], w->zmmh[i].q, 32);
        memcpy(&x->zmm[16 + i].u64[0], w->hi16[i].q, 32);
        memcpy(&x->zmm[16 + i].u64[4], w->hi16h[i].q, 32);
    }
}

static void load_x87(const WireCpu *w, X86Cpu *x)
{
    unsigned top = w->fpus >> 11 & 7;

    for (unsigned i = 0; i < 8; i++) {
        x->x87.st[(i - top) & 7].mantissa = w->fpregs[i].mantissa;
        x->x87.st[(i - top) & 7].exponent = w->fpregs[i].exponent;
    }
    x->x87.mxcsr_mask = 0xffff;
    x->x87_fcs = x->x87_fds = 0;
}

/* A CPU of QEMU's TCG that waits for its start-up message says only that it is halted. */
static bool waits_for_sipi(const WireCpu *w)
{
    return w->mp_state == MP_UNINITIALIZED || w->mp_state == MP_INIT_RECEIVED ||
           (w->mp_state == MP_RUNNABLE && w->halted && w->dev->cpu.index != 0 &&
            w->eip == 0xfff0 && w->segs[SEG_CS].selector == 0xf000);
}

static void load_requests(const WireCpu *w, X86Cpu *x)
{
    uint32_t r = X86_REQ_TLB_FLUSH;

    for (unsigned i = 0; i < ARRAY_LEN(request_bits); i++) {
        r |= w->interrupt_request & request_bits[i].wire ? request_bits[i].request : 0;
    }
    r |= w->nmi_pending ? X86_REQ_NMI : 0;
    atomic_store(&x->requests, r);
}

static void load(const WireCpu *w)
{
    X86Cpu *x = w->dev->x86;

#define LOAD(wire, field) x->field = w->wire;
    FOR_PLAIN(LOAD)
#undef LOAD
#define LOAD(wire, field) memcpy(x->field, w->wire, sizeof(w->wire));
    FOR_ARRAYS(LOAD)
#undef LOAD
    memcpy(x->gpr, w->regs, sizeof(w->regs));
    memcpy(x->msrs.mtrr_var, w->mtrr_var, sizeof(w->mtrr_var));
    x->next_rip = x->rip;
    x86_set_rflags(x, w->eflags);
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        x->segs[i] = seg_from(&w->segs[i]);
    }
    x->ldt = seg_from(&w->ldt);
    x->tr = seg_from(&w->tr);
    x->gdt = (X86Table){ w->gdt.base, w->gdt.limit };
    x->idt = (X86Table){ w->idt.base, w->idt.limit };
    load_x87(w, x);
    load_vectors(w, x);
    load_event(w, x);
    load_requests(w, x);
    x->dr[6] = (x->dr[6] & 0xe00f) | 0xffff0ff0;
    x->dr[7] = (x->dr[7] & 0xffff2bff) | 0x400;
    x->a20_mask = w->a20_mask & BIT(20) ? UINT64_MAX : ~(uint64_t)BIT(20);
    x->cpl = !(w->cr0 & CR0_PE) ? 0 : w->eflags & FLAG_VM ? 3 : w->segs[SEG_SS].flags >> 13 & 3;
    x->interrupt_shadow = w->hflags & HF_INHIBIT_IRQ;
    x->nmi_blocked = (w->hflags2 & HF2_NMI) || w->nmi_injected;
    x->nmi_pending_smm = w->hflags2 & HF2_SMM_INSIDE_NMI;
    x->smm = w->hflags & HF_SMM;
    x->wait_sipi = waits_for_sipi(w);
    x->halted = !x->wait_sipi && (w->halted || w->mp_state == MP_HALTED);
    x->debug_hits = 0;
    /* The wire's TSC is that of the moment of the save; QEMU's TCG has none, but an offset. */
    x->tsc_offset = 0;
    x->tsc_offset = w->tsc ? (int64_t)(w->tsc - x86_read_tsc(x)) : (int64_t)w->tsc_offset;
    x->msrs.tsc_deadline = w->tsc_deadline;
}

static bool cpu_post_load(void *obj, int version, GError **error)
{
    WireCpu *w = obj;
    X86Cpu *x = w->dev->x86;

    if (!check(w, error) || !check_tsc_pace(w, error) || !check_addresses(w, error) || !load_checked_msrs(w, error)) {
        return false;
    }
    load(w);
    w->dev->shutdown = false;
    __atomic_store_n(&w->dev->cpu.halted, 0, __ATOMIC_SEQ_CST);
    if (x->bus && x->bus->apic_load_deadline) {
        x->bus->apic_load_deadline(x->bus_opaque, x, w->tsc_deadline);
    }
    if (x->bus && x->bus->smm_changed) {
        x->bus->smm_changed(x->bus_opaque, x);
    }
    x86_load_cr(x, x->cr0, x->cr3, x->cr4, x->efer);
    x86_update_mode(x);
    x86_tlb_flush(x, true);
    if ((x->cr0 & CR0_PG) && (x->cr4 & CR4_PAE) && !(x->efer & EFER_LMA) && !w->has_pdptrs &&
        !x86_load_pdptes(x, x->cr3)) {
        return bad(w, error, "page directory pointers at", x->cr3);
    }
    return true;
}

static bool pdptrs_post_load(void *obj, int version, GError **error)
{
    ((WireCpu *)obj)->has_pdptrs = true;
    return true;
}

/* ---- tables ----------------------------------------------------------------------------------- */

/* clang-format off */
#define E(f) .wire = "env." f
static const VmField seg_fields[] = {
    VMS_U32(WireSeg, selector), VMS_U64(WireSeg, base), VMS_U32(WireSeg, limit),
    VMS_U32(WireSeg, flags), VMS_END
};
static const VmStateDesc seg_desc = { .name = "segment", .version = 1, .minimum = 1, .fields = seg_fields };
static const VmField fpreg_fields[] = {
    VMS_U64(WireFpreg, mantissa), VMS_U16(WireFpreg, exponent), VMS_END
};
static const VmStateDesc fpreg_desc = { .name = "fpreg", .version = 1, .minimum = 1, .fields = fpreg_fields };
static const VmField mtrr_fields[] = {
    VMS_U64(struct WireMtrr, base), VMS_U64(struct WireMtrr, mask), VMS_END
};
static const VmStateDesc mtrr_desc = { .name = "mtrr_var", .version = 1, .minimum = 1, .fields = mtrr_fields };
static const VmField half_fields[] = {
    VMS_U64(WireQuads, q[0], .wire = "_q_ZMMReg[0]"), VMS_U64(WireQuads, q[1], .wire = "_q_ZMMReg[1]"), VMS_END
};
static const VmStateDesc xmm_desc = { .name = "xmm_reg", .version = 1, .minimum = 1, .fields = half_fields };
static const VmStateDesc ymmh_desc = { .name = "ymmh_reg", .version = 1, .minimum = 1, .fields = half_fields };
static const VmField quad_fields[] = {
    VMS_U64(WireQuads, q[0]), VMS_U64(WireQuads, q[1]), VMS_U64(WireQuads, q[2]), VMS_U64(WireQuads, q[3]),
    VMS_END
};
static const VmStateDesc zmmh_desc = { .name = "zmmh_reg", .version = 1, .minimum = 1, .fields = quad_fields };
static const VmStateDesc quad_desc = { .name = "hi16_zmm_reg", .version = 1, .minimum = 1, .fields = quad_fields };

/* A subsection of fields, sent when a condition on W holds. */
#define SUBSECTION(id, condition, ...)                                                            \
    static bool id##_needed(const void *obj) { const WireCpu *w = obj; return condition; }       \
    static const VmField id##_fields[] = { __VA_ARGS__, VMS_END };                                \
    static const VmStateDesc id##_desc = { .name = "cpu/" #id, .version = 1, .minimum = 1,        \
                                           .fields = id##_fields, .needed = id##_needed };
static bool any(const void *p, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (((const uint8_t *)p)[i]) {
            return true;
        }
    }
    return false;
}

SUBSECTION(exception_info, w->exception_pending || w->exception_injected,
           VMS_U8(WireCpu, exception_pending, E("exception_pending")), VMS_U8(WireCpu, exception_injected, E("exception_injected")),
           VMS_U8(WireCpu, exception_has_payload, E("exception_has_payload")), VMS_U64(WireCpu, exception_payload, E("exception_payload")))
SUBSECTION(poll_control_msr, w->poll_control != 1, VMS_U64(WireCpu, poll_control, E("poll_control_msr")))
SUBSECTION(fpop_ip_dp, w->fpop || w->fpip || w->fpdp,
           VMS_U16(WireCpu, fpop, E("fpop")), VMS_U64(WireCpu, fpip, E("fpip")), VMS_U64(WireCpu, fpdp, E("fpdp")))
SUBSECTION(msr_tsc_adjust, w->tsc_adjust, VMS_U64(WireCpu, tsc_adjust, E("tsc_adjust")))
SUBSECTION(msr_tscdeadline, w->tsc_deadline, VMS_U64(WireCpu, tsc_deadline, E("tsc_deadline")))
SUBSECTION(msr_ia32_misc_enable, w->misc_enable != 1, VMS_U64(WireCpu, misc_enable, E("msr_ia32_misc_enable")))
SUBSECTION(msr_ia32_feature_control, w->feature_control, VMS_U64(WireCpu, feature_control, E("msr_ia32_feature_control")))
SUBSECTION(avx512, any(w->opmask, sizeof(w->opmask)) || any(w->zmmh, sizeof(w->zmmh)) || any(w->hi16, sizeof(w->hi16)) ||
                   any(w->hi16h, sizeof(w->hi16h)),
           VMS_U64_ARRAY(WireCpu, opmask, E("opmask_regs")), VMS_STRUCT_ARRAY(WireCpu, zmmh, &zmmh_desc, E("xmm_regs[0]")),
           VMS_STRUCT_ARRAY(WireCpu, hi16, &quad_desc, E("xmm_regs[16]")), VMS_STRUCT_ARRAY(WireCpu, hi16h, &quad_desc, E("xmm_regs[16]")))
SUBSECTION(xss, w->xss, VMS_U64(WireCpu, xss, E("xss")))
SUBSECTION(tsc_khz, w->tsc_khz, VMS_I64(WireCpu, tsc_khz, E("tsc_khz")))
SUBSECTION(msr_smi_count, w->smi_count, VMS_U64(WireCpu, smi_count, E("msr_smi_count")))
SUBSECTION(pkru, w->pkru, VMS_U32(WireCpu, pkru, E("pkru")))
SUBSECTION(spec_ctrl, w->spec_ctrl, VMS_U64(WireCpu, spec_ctrl, E("spec_ctrl")))
static const VmField pdptrs_fields[] = { VMS_U64_ARRAY(WireCpu, pdptrs, E("pdptrs")), VMS_END };
static bool pdptrs_needed(const void *obj) { return ((const WireCpu *)obj)->has_pdptrs; }
static const VmStateDesc pdptrs_desc = { .name = "cpu/pdptrs", .version = 1, .minimum = 1, .fields = pdptrs_fields,
                                         .needed = pdptrs_needed, .post_load = pdptrs_post_load };
static const VmStateDesc *const cpu_subsections[] = {
    &exception_info_desc, &poll_control_msr_desc, &fpop_ip_dp_desc, &msr_tsc_adjust_desc, &msr_tscdeadline_desc,
    &msr_ia32_misc_enable_desc, &msr_ia32_feature_control_desc, &avx512_desc, &xss_desc, &tsc_khz_desc,
    &msr_smi_count_desc,
    &pkru_desc, &spec_ctrl_desc, &pdptrs_desc, NULL
};
static const VmField cpu_fields[] = {
    VMS_U64_ARRAY(WireCpu, regs, E("regs")), VMS_U64(WireCpu, eip, E("eip")), VMS_U64(WireCpu, eflags, E("eflags")),
    VMS_U32(WireCpu, hflags, E("hflags")), VMS_U16(WireCpu, fpuc, E("fpuc")), VMS_U16(WireCpu, fpus, E("fpus_vmstate")),
    VMS_U16(WireCpu, fptag, E("fptag_vmstate")), VMS_U16(WireCpu, fpregs_format, E("fpregs_format_vmstate")),
    VMS_STRUCT_ARRAY(WireCpu, fpregs, &fpreg_desc, E("fpregs")), VMS_STRUCT_ARRAY(WireCpu, segs, &seg_desc, E("segs")),
    VMS_STRUCT(WireCpu, ldt, &seg_desc, E("ldt")), VMS_STRUCT(WireCpu, tr, &seg_desc, E("tr")),
    VMS_STRUCT(WireCpu, gdt, &seg_desc, E("gdt")), VMS_STRUCT(WireCpu, idt, &seg_desc, E("idt")),
    VMS_U32(WireCpu, sysenter_cs, E("sysenter_cs")), VMS_U64(WireCpu, sysenter_esp, E("sysenter_esp")),
    VMS_U64(WireCpu, sysenter_eip, E("sysenter_eip")), VMS_U64(WireCpu, cr0, E("cr[0]")), VMS_U64(WireCpu, cr2, E("cr[2]")),
    VMS_U64(WireCpu, cr3, E("cr[3]")), VMS_U64(WireCpu, cr4, E("cr[4]")), VMS_U64_ARRAY(WireCpu, dr, E("dr")),
    VMS_I32(WireCpu, a20_mask, E("a20_mask")), VMS_U32(WireCpu, mxcsr, E("mxcsr")),
    VMS_STRUCT_ARRAY(WireCpu, xmm, &xmm_desc, E("xmm_regs[0]")), VMS_U64(WireCpu, efer, E("efer")), VMS_U64(WireCpu, star, E("star")),
    VMS_U64(WireCpu, lstar, E("lstar")), VMS_U64(WireCpu, cstar, E("cstar")), VMS_U64(WireCpu, fmask, E("fmask")),
    VMS_U64(WireCpu, kernelgsbase, E("kernelgsbase")), VMS_U32(WireCpu, smbase, E("smbase")), VMS_U64(WireCpu, pat, E("pat")),
    VMS_U32(WireCpu, hflags2, E("hflags2")), VMS_U64(WireCpu, vm_hsave, E("vm_hsave")), VMS_U64(WireCpu, vm_vmcb, E("vm_vmcb")),
    VMS_U64(WireCpu, tsc_offset, E("tsc_offset")), VMS_U64(WireCpu, intercept, E("intercept")),
    VMS_U16(WireCpu, intercept_cr_read, E("intercept_cr_read")), VMS_U16(WireCpu, intercept_cr_write, E("intercept_cr_write")),
    VMS_U16(WireCpu, intercept_dr_read, E("intercept_dr_read")), VMS_U16(WireCpu, intercept_dr_write, E("intercept_dr_write")),
    VMS_U32(WireCpu, intercept_exceptions, E("intercept_exceptions")), VMS_U8(WireCpu, v_tpr, E("v_tpr")),
    VMS_U64_ARRAY(WireCpu, mtrr_fixed, E("mtrr_fixed")), VMS_U64(WireCpu, mtrr_deftype, E("mtrr_deftype")),
    VMS_STRUCT_ARRAY(WireCpu, mtrr_var, &mtrr_desc, E("mtrr_var")), VMS_I32(WireCpu, interrupt_injected, E("interrupt_injected")),
    VMS_U32(WireCpu, mp_state, E("mp_state")), VMS_U64(WireCpu, tsc, E("tsc")), VMS_I32(WireCpu, exception_nr, E("exception_nr")),
    VMS_U8(WireCpu, soft_interrupt, E("soft_interrupt")), VMS_U8(WireCpu, nmi_injected, E("nmi_injected")),
    VMS_U8(WireCpu, nmi_pending, E("nmi_pending")), VMS_U8(WireCpu, has_error_code, E("has_error_code")),
    VMS_U32(WireCpu, sipi_vector, E("sipi_vector")), VMS_U64(WireCpu, mcg_cap, E("mcg_cap")),
    VMS_U64(WireCpu, mcg_status, E("mcg_status")), VMS_U64(WireCpu, mcg_ctl, E("mcg_ctl")),
    VMS_U64_ARRAY(WireCpu, mce_banks, E("mce_banks")), VMS_U64(WireCpu, tsc_aux, E("tsc_aux")),
    VMS_U64(WireCpu, system_time_msr, E("system_time_msr")), VMS_U64(WireCpu, wall_clock_msr, E("wall_clock_msr")),
    VMS_U64(WireCpu, xcr0, E("xcr0")), VMS_U64(WireCpu, xstate_bv, E("xstate_bv")),
    VMS_STRUCT_ARRAY(WireCpu, ymmh, &ymmh_desc, E("xmm_regs[1]")), VMS_END
};
#undef E
static const VmField common_fields[] = { VMS_U32(WireCpu, halted), VMS_U32(WireCpu, interrupt_request), VMS_END };
/* clang-format on */

static const VmStateDesc common_vmstate = { .name = "cpu_common", .version = 1, .minimum = 1,
                                            .fields = common_fields, .pre_save = common_pre_save };
static const VmStateDesc cpu_vmstate = { .name = "cpu", .version = 12, .minimum = 11,
                                         .fields = cpu_fields, .subsections = cpu_subsections,
                                         .pre_save = cpu_pre_save, .pre_load = cpu_pre_load,
                                         .post_load = cpu_post_load };

void x86_vmstate_register(X86CpuDevice *dev)
{
    dev->wire = g_new0(WireCpu, 1);
    dev->wire->dev = dev;
    vmstate_register(dev->cpu.dev.vm, NULL, (int)dev->cpu.index, &common_vmstate, dev->wire);
    vmstate_register(dev->cpu.dev.vm, NULL, (int)dev->cpu.index, &cpu_vmstate, dev->wire);
}

void x86_vmstate_unregister(X86CpuDevice *dev)
{
    vmstate_unregister(dev->cpu.dev.vm, &common_vmstate, dev->wire);
    vmstate_unregister(dev->cpu.dev.vm, &cpu_vmstate, dev->wire);
    g_clear_pointer(&dev->wire, g_free);
}
