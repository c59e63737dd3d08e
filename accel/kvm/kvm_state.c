/* SPDX-License-Identifier: MIT */
/*
 * Registers between KVM and X86Cpu.
 *
 * Each group that was fetched is remembered; storing skips the groups that are still the same, so
 * one instruction in software costs two or three calls, not ten.  MSRs are a table; at start-up
 * each is tried, and those this KVM lacks are left alone: they live on our side.
 * Not transferred: MCE banks, performance counters, nested state, KVM's paravirtual clock.
 * Locking: the vCPU's thread.
 */
#include <errno.h>
#include <sys/ioctl.h>
#include <x86intrin.h>

#include "accel/kvm/kvm_int.h"
#include "base/log.h"
#include "target-x86/interp.h"
#include "target-x86/mmu.h"

/* ---- MSRs ---- */

#define ROW(msr, field) { (msr), offsetof(X86Cpu, msrs.field) }
static const struct { uint32_t msr; uint32_t offset; } msr_rows[] = {
    ROW(MSR_STAR, star), ROW(MSR_LSTAR, lstar), ROW(MSR_CSTAR, cstar), ROW(MSR_FMASK, fmask),
    ROW(MSR_KERNEL_GS_BASE, kernel_gs_base), ROW(MSR_TSC_AUX, tsc_aux),
    ROW(MSR_SYSENTER_CS, sysenter_cs), ROW(MSR_SYSENTER_ESP, sysenter_esp),
    ROW(MSR_SYSENTER_EIP, sysenter_eip), ROW(MSR_PAT, pat), ROW(MSR_MISC_ENABLE, misc_enable),
    ROW(MSR_TSC_ADJUST, tsc_adjust), ROW(MSR_SPEC_CTRL, spec_ctrl), ROW(MSR_XSS, xss),
    ROW(MSR_DEBUGCTL, debugctl), ROW(MSR_TSC_DEADLINE, tsc_deadline),
    ROW(MSR_MTRR_FIX64K_00000, mtrr_fixed[0]), ROW(MSR_MTRR_FIX16K_80000, mtrr_fixed[1]),
    ROW(MSR_MTRR_FIX16K_A0000, mtrr_fixed[2]), ROW(MSR_MTRR_FIX4K_C0000, mtrr_fixed[3]),
    ROW(MSR_MTRR_FIX4K_C0000 + 1, mtrr_fixed[4]), ROW(MSR_MTRR_FIX4K_C0000 + 2, mtrr_fixed[5]),
    ROW(MSR_MTRR_FIX4K_C0000 + 3, mtrr_fixed[6]), ROW(MSR_MTRR_FIX4K_C0000 + 4, mtrr_fixed[7]),
    ROW(MSR_MTRR_FIX4K_C0000 + 5, mtrr_fixed[8]), ROW(MSR_MTRR_FIX4K_C0000 + 6, mtrr_fixed[9]),
    ROW(MSR_MTRR_FIX4K_C0000 + 7, mtrr_fixed[10]), ROW(MSR_MTRR_DEF_TYPE, mtrr_def_type),
#define VAR(n) ROW(MSR_MTRR_PHYSBASE0 + 2 * n, mtrr_var[n].base), \
               ROW(MSR_MTRR_PHYSBASE0 + 2 * n + 1, mtrr_var[n].mask)
    VAR(0), VAR(1), VAR(2), VAR(3), VAR(4), VAR(5), VAR(6), VAR(7),
#undef VAR
};
#undef ROW
G_STATIC_ASSERT(ARRAY_LEN(msr_rows) <= KVM_MSR_MAX);

typedef struct MsrList {
    struct kvm_msrs head;
    struct kvm_msr_entry entries[KVM_MSR_MAX];
} MsrList;

static uint64_t *msr_field(X86Cpu *x86, unsigned row)
{
    return (uint64_t *)((char *)x86 + msr_rows[row].offset);
}

static bool msr_get(KvmCpu *v, uint32_t msr, uint64_t *value)
{
    MsrList list = { .head.nmsrs = 1 };

    list.entries[0].index = msr;
    if (ioctl(v->fd, KVM_GET_MSRS, &list) != 1) {
        return false;
    }
    *value = list.entries[0].data;
    return true;
}

static bool msr_set(KvmCpu *v, uint32_t msr, uint64_t value)
{
    MsrList list = { .head.nmsrs = 1 };

    list.entries[0].index = msr;
    list.entries[0].data = value;
    return ioctl(v->fd, KVM_SET_MSRS, &list) == 1;
}

void kvm_set_arch_capabilities(KvmCpu *v)
{
    uint32_t value = v->x86->features[FEAT_ARCH_CAPABILITIES];

    if (x86_has(v->x86, X86_FEAT(7_0_EDX, 29)) && !msr_set(v, MSR_ARCH_CAPABILITIES, value)) {
        log_unimp("KVM refused 0x%x for IA32_ARCH_CAPABILITIES of CPU %u\n", value, v->cpu->index);
    }
}

static void fetch_msrs(KvmCpu *v)
{
    MsrList list = { .head.nmsrs = v->msr_count };
    int64_t offset;
    uint64_t tsc;

    for (unsigned i = 0; i < v->msr_count; i++) {
        list.entries[i].index = msr_rows[v->msr_rows[i]].msr;
    }
    if (ioctl(v->fd, KVM_GET_MSRS, &list) == (int)v->msr_count) {
        for (unsigned i = 0; i < v->msr_count; i++) {
            v->msrs[i] = *msr_field(v->x86, v->msr_rows[i]) = list.entries[i].data;
        }
    }
    /* The guest wrote its TSC if it is off by more than the time this takes. */
    if (msr_get(v, MSR_TSC, &tsc)) {
        offset = tsc - __rdtsc();
        if (llabs(offset - v->tsc_offset) > 100000000) {
            v->tsc_offset = v->x86->tsc_offset = offset;
        }
    }
}

/* The TSC comes first: a deadline is a value of it. */
static void store_msrs(KvmCpu *v)
{
    if (v->tsc_offset != v->x86->tsc_offset) {
        v->tsc_offset = v->x86->tsc_offset;
        msr_set(v, MSR_TSC, __rdtsc() + v->tsc_offset);
    }
    for (unsigned i = 0; i < v->msr_count; i++) {
        uint64_t value = *msr_field(v->x86, v->msr_rows[i]);

        if (value != v->msrs[i]) {
            if (!msr_set(v, msr_rows[v->msr_rows[i]].msr, value)) {
                log_unimp("KVM refused 0x%" PRIx64 " for MSR 0x%x of CPU %u\n", value,
                          msr_rows[v->msr_rows[i]].msr, v->cpu->index);
            }
            v->msrs[i] = value;
        }
    }
}

/* ---- segments ---- */

static X86Seg from_segment(const struct kvm_segment *s)
{
    uint32_t flags = s->type << DESC_TYPE_SHIFT | s->dpl << DESC_DPL_SHIFT | (s->s ? DESC_S : 0) |
                     (s->present ? DESC_P : 0) | (s->avl ? DESC_AVL : 0) | (s->l ? DESC_L : 0) |
                     (s->db ? DESC_DB : 0) | (s->g ? DESC_G : 0);

    return (X86Seg){ .sel = s->selector, .limit = s->limit, .base = s->base,
                     .flags = s->unusable ? s->dpl << DESC_DPL_SHIFT : flags };
}

static struct kvm_segment to_segment(const X86Seg *s)
{
    return (struct kvm_segment){
        .base = s->base, .limit = s->limit, .selector = s->sel,
        .type = s->flags >> DESC_TYPE_SHIFT & 15, .present = !!(s->flags & DESC_P),
        .dpl = s->flags >> DESC_DPL_SHIFT & 3, .db = !!(s->flags & DESC_DB),
        .s = !!(s->flags & DESC_S), .l = !!(s->flags & DESC_L), .g = !!(s->flags & DESC_G),
        .avl = !!(s->flags & DESC_AVL), .unusable = !(s->flags & DESC_P),
    };
}

/* ---- general and system registers ---- */

/* KVM's order is RAX, RBX, RCX, RDX, RSI, RDI, RSP, RBP, R8... */
static const uint8_t gpr_order[16] = { R_RAX, R_RBX, R_RCX, R_RDX, R_RSI, R_RDI, R_RSP, R_RBP,
                                       R_R8, R_R9, R_R10, R_R11, R_R12, R_R13, R_R14, R_R15 };

static void fetch_regs(KvmCpu *v)
{
    const __u64 *from = &v->regs.rax;

    for (unsigned i = 0; i < ARRAY_LEN(gpr_order); i++) {
        v->x86->gpr[gpr_order[i]] = from[i];
    }
    v->x86->rip = v->x86->next_rip = v->regs.rip;
    x86_set_rflags(v->x86, v->regs.rflags);
}

static void fetch_sregs(KvmCpu *v)
{
    const struct kvm_sregs *s = &v->sregs;
    X86Cpu *x = v->x86;

    x->segs[SEG_ES] = from_segment(&s->es);
    x->segs[SEG_CS] = from_segment(&s->cs);
    x->segs[SEG_SS] = from_segment(&s->ss);
    x->segs[SEG_DS] = from_segment(&s->ds);
    x->segs[SEG_FS] = from_segment(&s->fs);
    x->segs[SEG_GS] = from_segment(&s->gs);
    x->ldt = from_segment(&s->ldt);
    x->tr = from_segment(&s->tr);
    x->gdt = (X86Table){ s->gdt.base, s->gdt.limit };
    x->idt = (X86Table){ s->idt.base, s->idt.limit };
    x->cr0 = s->cr0;
    x->cr2 = s->cr2;
    x->cr3 = s->cr3;
    x->cr4 = s->cr4;
    x->cr8 = s->cr8;
    x->efer = s->efer;
    x->cpl = s->ss.dpl;
}

static void build_regs(const X86Cpu *x, struct kvm_regs *regs)
{
    __u64 *to = &regs->rax;

    memset(regs, 0, sizeof(*regs));
    for (unsigned i = 0; i < ARRAY_LEN(gpr_order); i++) {
        to[i] = x->gpr[gpr_order[i]];
    }
    regs->rip = x->rip;
    regs->rflags = x86_rflags(x);
}

static void build_sregs(KvmCpu *v, struct kvm_sregs *s)
{
    X86Cpu *x = v->x86;

    *s = v->sregs;
    s->es = to_segment(&x->segs[SEG_ES]);
    s->cs = to_segment(&x->segs[SEG_CS]);
    s->ss = to_segment(&x->segs[SEG_SS]);
    s->ds = to_segment(&x->segs[SEG_DS]);
    s->fs = to_segment(&x->segs[SEG_FS]);
    s->gs = to_segment(&x->segs[SEG_GS]);
    s->ldt = to_segment(&x->ldt);
    s->tr = to_segment(&x->tr);
    if (!(x->tr.flags & DESC_P) || (s->tr.type & 7) != 3) {
        s->tr.type = 11;                /* VMX and SVM want a busy TSS even where none is loaded */
        s->tr.present = 1;
        s->tr.unusable = 0;
        s->tr.s = 0;
    }
    s->ss.dpl = x->cpl;
    s->gdt.base = x->gdt.base;
    s->gdt.limit = x->gdt.limit;
    s->idt.base = x->idt.base;
    s->idt.limit = x->idt.limit;
    s->cr0 = x->cr0;
    s->cr2 = x->cr2;
    s->cr3 = x->cr3;
    s->cr4 = x->cr4;
    s->efer = x->efer;
    s->apic_base = x->msrs.apicbase;
    memset(s->interrupt_bitmap, 0, sizeof(s->interrupt_bitmap));
}

/* ---- x87, SSE and later ---- */

enum { XSAVE_BV = 512, XSAVE_XMM = 160 };

/* Between a component of the kernel's image and zmm[], k[], pkru. */
static void component_copy(KvmCpu *v, unsigned i, uint8_t *image, bool load)
{
    static const struct { uint8_t first, offset, size; } parts[] = {
        [2] = { 0, 16, 16 }, [6] = { 0, 32, 32 }, [7] = { 16, 0, 64 },
    };
    uint32_t size, offset = kvm_xsave_offset(v->kvm, i, &size);
    X86Cpu *x = v->x86;
    uint8_t *p = image + offset;
    void *field = i == 5 ? (void *)x->k : (void *)&x->pkru;
    unsigned bytes = i == 5 ? sizeof(x->k) : sizeof(x->pkru);

    if (!offset || offset + size > KVM_XSAVE_BYTES) {
        return;
    }
    if (i == 5 || i == 9) {
        memcpy(load ? field : p, load ? p : field, bytes);
        return;
    }
    for (unsigned n = 0; n < 16; n++) {
        uint8_t *reg = &x->zmm[parts[i].first + n].u8[parts[i].offset];
        uint8_t *mem = p + n * parts[i].size;

        memcpy(load ? reg : mem, load ? mem : reg, parts[i].size);
    }
}

static const uint8_t components[] = { 2, 5, 6, 7, 9 };

static void fetch_fpu(KvmCpu *v)
{
    X86Cpu *x = v->x86;

    memcpy(&x->x87, v->xsave, sizeof(x->x87));
    x->x87.reserved = 0;
    x->x87.mxcsr_mask = 0xffff;
    for (unsigned n = 0; n < 16; n++) {
        memcpy(&x->zmm[n], v->xsave + XSAVE_XMM + 16 * n, 16);
    }
    for (unsigned i = 0; v->has_xsave && i < ARRAY_LEN(components); i++) {
        component_copy(v, components[i], v->xsave, true);
    }
}

static void build_fpu(KvmCpu *v, uint8_t *image)
{
    X86Cpu *x = v->x86;
    uint64_t bv = 3;
    uint32_t size;

    memcpy(image, v->xsave, KVM_XSAVE_BYTES);
    memcpy(image, &x->x87, 28);         /* up to MXCSR; the mask is the host's */
    memcpy(image + 32, x->x87.st, sizeof(x->x87.st));
    for (unsigned n = 0; n < 16; n++) {
        memcpy(image + XSAVE_XMM + 16 * n, &x->zmm[n], 16);
    }
    for (unsigned i = 0; v->has_xsave && i < ARRAY_LEN(components); i++) {
        component_copy(v, components[i], image, false);
        bv |= kvm_xsave_offset(v->kvm, components[i], &size) ? BIT64(components[i]) : 0;
    }
    if (memcmp(image, v->xsave, KVM_XSAVE_BYTES) != 0) {
        le64_store(image + XSAVE_BV, bv);
    }
}

/* struct kvm_fpu for kernels without KVM_CAP_XSAVE, to and from an FXSAVE image. */
static void fpu_to_image(const struct kvm_fpu *f, uint8_t *image)
{
    memset(image, 0, KVM_XSAVE_BYTES);
    le16_store(image, f->fcw);
    le16_store(image + 2, f->fsw);
    image[4] = f->ftwx;
    le16_store(image + 6, f->last_opcode);
    le64_store(image + 8, f->last_ip);
    le64_store(image + 16, f->last_dp);
    le32_store(image + 24, f->mxcsr);
    memcpy(image + 32, f->fpr, sizeof(f->fpr));
    memcpy(image + XSAVE_XMM, f->xmm, sizeof(f->xmm));
}

static void image_to_fpu(const uint8_t *image, struct kvm_fpu *f)
{
    *f = (struct kvm_fpu){ .fcw = le16_load(image), .fsw = le16_load(image + 2), .ftwx = image[4],
                           .last_opcode = le16_load(image + 6), .last_ip = le64_load(image + 8),
                           .last_dp = le64_load(image + 16), .mxcsr = le32_load(image + 24) };
    memcpy(f->fpr, image + 32, sizeof(f->fpr));
    memcpy(f->xmm, image + XSAVE_XMM, sizeof(f->xmm));
}

static bool read_fpu(KvmCpu *v)
{
    struct kvm_fpu f;

    if (v->has_xsave) {
        return ioctl(v->fd, KVM_GET_XSAVE, v->xsave) == 0;
    }
    if (ioctl(v->fd, KVM_GET_FPU, &f) < 0) {
        return false;
    }
    fpu_to_image(&f, v->xsave);
    return true;
}

static bool write_fpu(KvmCpu *v)
{
    struct kvm_fpu f;

    if (v->has_xsave) {
        return ioctl(v->fd, KVM_SET_XSAVE, v->xsave) == 0;
    }
    image_to_fpu(v->xsave, &f);
    return ioctl(v->fd, KVM_SET_FPU, &f) == 0;
}

/* ---- events ---- */

static void fetch_events(KvmCpu *v)
{
    const struct kvm_vcpu_events *e = &v->events;
    X86Cpu *x = v->x86;

    x->event = (X86Event){ 0 };
    x->delivering = false;
    x->interrupt_shadow = e->interrupt.shadow;
    x->nmi_blocked = e->nmi.masked;
    if (e->exception.injected) {
        x->event = (X86Event){ .vector = e->exception.nr, .pending = true,
                               .has_code = e->exception.has_error_code,
                               .code = e->exception.error_code };
        x->event.payload = e->exception.nr == VEC_PF ? x->cr2 : 0;
        x->event.soft = e->exception.nr == VEC_BP || e->exception.nr == VEC_OF;
    } else if (e->interrupt.injected) {
        x->event = (X86Event){ .vector = e->interrupt.nr, .pending = true,
                               .soft = e->interrupt.soft, .external = !e->interrupt.soft };
    } else if (e->nmi.injected) {
        x->event = (X86Event){ .vector = VEC_NMI, .pending = true, .external = true };
    }
}

static void build_events(KvmCpu *v, struct kvm_vcpu_events *e)
{
    const X86Cpu *x = v->x86;

    *e = (struct kvm_vcpu_events){ .flags = KVM_VCPUEVENT_VALID_NMI_PENDING |
                                            KVM_VCPUEVENT_VALID_SHADOW };
    e->nmi.pending = v->events.nmi.pending;
    e->nmi.masked = x->nmi_blocked;
    e->interrupt.shadow = x->interrupt_shadow ? KVM_X86_SHADOW_INT_STI : 0;
    if (!x->event.pending) {
        return;
    }
    if (x->event.external && x->event.vector == VEC_NMI) {
        e->nmi.injected = 1;
    } else if (x->event.external || (x->event.soft && x->event.vector > VEC_OF)) {
        e->interrupt.injected = 1;
        e->interrupt.nr = x->event.vector;
        e->interrupt.soft = x->event.soft;
    } else {
        e->exception.injected = 1;
        e->exception.nr = x->event.vector;
        e->exception.has_error_code = x->event.has_code;
        e->exception.error_code = x->event.code;
    }
}

static bool same_events(const struct kvm_vcpu_events *a, const struct kvm_vcpu_events *b)
{
    return !a->exception.injected && !b->exception.injected && !a->interrupt.injected &&
           !b->interrupt.injected && !a->nmi.injected && !b->nmi.injected &&
           !a->interrupt.shadow == !b->interrupt.shadow && a->nmi.masked == b->nmi.masked;
}

/* ---- debug registers ---- */

static void fetch_debugregs(KvmCpu *v)
{
    for (unsigned i = 0; i < 4; i++) {
        v->x86->dr[i] = v->debugregs.db[i];
    }
    v->x86->dr[6] = v->debugregs.dr6;
    v->x86->dr[7] = v->debugregs.dr7;
}

static void build_debugregs(const KvmCpu *v, struct kvm_debugregs *d)
{
    *d = (struct kvm_debugregs){ .dr6 = v->x86->dr[6], .dr7 = v->x86->dr[7] };
    for (unsigned i = 0; i < 4; i++) {
        d->db[i] = v->x86->dr[i];
    }
}

/* ---- start-up and halt states, where the APIC is KVM's ---- */

static bool fetch_mp_state(KvmCpu *v)
{
    struct kvm_mp_state mp;

    if (!kvm_has_apic(v->kvm)) {
        return true;
    }
    if (ioctl(v->fd, KVM_GET_MP_STATE, &mp) < 0) {
        return false;
    }
    v->mp_state = mp.mp_state;
    v->x86->halted = mp.mp_state == KVM_MP_STATE_HALTED;
    v->x86->wait_sipi = mp.mp_state == KVM_MP_STATE_UNINITIALIZED ||
                        mp.mp_state == KVM_MP_STATE_INIT_RECEIVED;
    return true;
}

static bool store_mp_state(KvmCpu *v)
{
    struct kvm_mp_state mp = { v->x86->wait_sipi ? KVM_MP_STATE_UNINITIALIZED
                               : v->x86->halted  ? KVM_MP_STATE_HALTED
                                                 : KVM_MP_STATE_RUNNABLE };
    /* INIT came, the start-up message has not yet: KVM goes on from there. */
    bool same = mp.mp_state == v->mp_state || (mp.mp_state == KVM_MP_STATE_UNINITIALIZED &&
                                               v->mp_state == KVM_MP_STATE_INIT_RECEIVED);

    if (!kvm_has_apic(v->kvm) || same) {
        return true;
    }
    v->mp_state = mp.mp_state;
    return ioctl(v->fd, KVM_SET_MP_STATE, &mp) == 0;
}

/* ---- all of it ---- */

static bool read_all(KvmCpu *v)
{
    if (ioctl(v->fd, KVM_GET_REGS, &v->regs) < 0 || ioctl(v->fd, KVM_GET_SREGS, &v->sregs) < 0 ||
        ioctl(v->fd, KVM_GET_VCPU_EVENTS, &v->events) < 0 || !read_fpu(v) ||
        !fetch_mp_state(v)) {
        return false;
    }
    if (v->has_xcrs && ioctl(v->fd, KVM_GET_XCRS, &v->xcrs) < 0) {
        return false;
    }
    return !v->has_debugregs || ioctl(v->fd, KVM_GET_DEBUGREGS, &v->debugregs) == 0;
}

void kvm_state_fetch(KvmCpu *v)
{
    /* A device may have fetched and changed registers during an exit that KVM has to complete. */
    if (!v->in_kvm && v->completion) {
        kvm_state_store(v);
    }
    if (!v->in_kvm) {
        return;
    }
    kvm_run_complete(v);
    v->in_kvm = false;
    if (!read_all(v)) {
        kvm_fail(v, "KVM does not hand out the registers: %s", g_strerror(errno));
        return;
    }
    fetch_regs(v);
    fetch_sregs(v);
    fetch_fpu(v);
    fetch_events(v);
    fetch_msrs(v);
    if (v->has_debugregs) {
        fetch_debugregs(v);
    }
    if (v->has_xcrs && v->xcrs.nr_xcrs) {
        v->x86->xcr0 = v->xcrs.xcrs[0].value;
    }
    x86_load_cr(v->x86, v->sregs.cr0, v->sregs.cr3, v->sregs.cr4, v->sregs.efer);
    x86_update_mode(v->x86);
    /* The guest changed memory, page tables and code behind the interpreter's back. */
    x86_tlb_flush(v->x86, true);
    interp_flush(v->x86);
    if ((v->x86->cr0 & CR0_PG) && (v->x86->cr4 & CR4_PAE) && !(v->x86->efer & EFER_LMA)) {
        x86_load_pdptes(v->x86, v->x86->cr3);
    }
}

/* KVM_SET_XCRS before XSAVE state, segments before flags that depend on them. */
static const char *write_changed(KvmCpu *v)
{
    uint8_t image[KVM_XSAVE_BYTES] __attribute__((aligned(64)));
    struct kvm_vcpu_events events;
    struct kvm_debugregs debugregs;
    struct kvm_sregs sregs;
    struct kvm_regs regs;

    build_sregs(v, &sregs);
    if (memcmp(&sregs, &v->sregs, sizeof(sregs)) != 0) {
        v->sregs = sregs;
        if (ioctl(v->fd, KVM_SET_SREGS, &sregs) < 0) {
            return "segment and control registers";
        }
    }
    build_regs(v->x86, &regs);
    if (memcmp(&regs, &v->regs, sizeof(regs)) != 0) {
        v->regs = regs;
        if (ioctl(v->fd, KVM_SET_REGS, &regs) < 0) {
            return "general registers";
        }
    }
    if (v->has_xcrs && v->xcrs.nr_xcrs && v->xcrs.xcrs[0].value != v->x86->xcr0) {
        v->xcrs.xcrs[0].value = v->x86->xcr0;
        if (ioctl(v->fd, KVM_SET_XCRS, &v->xcrs) < 0) {
            return "XCR0";
        }
    }
    build_fpu(v, image);
    if (memcmp(image, v->xsave, sizeof(image)) != 0) {
        memcpy(v->xsave, image, sizeof(image));
        if (!write_fpu(v)) {
            return "floating point and vector registers";
        }
    }
    build_debugregs(v, &debugregs);
    if (v->has_debugregs && memcmp(&debugregs, &v->debugregs, sizeof(debugregs)) != 0) {
        v->debugregs = debugregs;
        if (ioctl(v->fd, KVM_SET_DEBUGREGS, &debugregs) < 0) {
            return "debug registers";
        }
    }
    build_events(v, &events);
    if (!same_events(&events, &v->events)) {
        v->events = events;
        if (ioctl(v->fd, KVM_SET_VCPU_EVENTS, &events) < 0) {
            return "pending events";
        }
    }
    return NULL;
}

bool kvm_state_store(KvmCpu *v)
{
    X86Cpu *x = v->x86;
    const char *refused;

    if (v->in_kvm) {
        kvm_lapic_commit(v);
        return true;
    }
    refused = write_changed(v);
    if (refused) {
        kvm_fail(v, "KVM refused the %s: %s", refused, g_strerror(errno));
        return false;
    }
    kvm_lapic_commit(v);
    store_msrs(v);
    if (!store_mp_state(v)) {
        kvm_fail(v, "KVM refused the start-up state: %s", g_strerror(errno));
        return false;
    }
    v->apic_base = x->msrs.apicbase;
    v->if_flag = x->eflags & FLAG_IF;
    /* Whether KVM's APIC lets the 8259 through, only KVM knows: it says so at the next exit. */
    v->ready = !kvm_has_apic(v->kvm) && v->if_flag && !x->interrupt_shadow && !x->event.pending;
    v->in_kvm = true;
    return true;
}

void kvm_state_init(KvmCpu *v)
{
    struct kvm_mp_state runnable = { .mp_state = KVM_MP_STATE_RUNNABLE };
    bool wait_sipi;
    uint64_t value;

    v->has_xsave = ioctl(v->kvm->fd, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE) > 0;
    v->has_xcrs = ioctl(v->kvm->fd, KVM_CHECK_EXTENSION, KVM_CAP_XCRS) > 0;
    v->has_debugregs = ioctl(v->kvm->fd, KVM_CHECK_EXTENSION, KVM_CAP_DEBUGREGS) > 0;
    for (unsigned i = 0; i < ARRAY_LEN(msr_rows); i++) {
        if (msr_get(v, msr_rows[i].msr, &value)) {
            v->msrs[v->msr_count] = value;
            v->msr_rows[v->msr_count++] = i;
        }
    }
    if (!kvm_has_apic(v->kvm)) {
        /* Start-up and halting are ours: a vCPU that enters KVM always runs. */
        ioctl(v->fd, KVM_SET_MP_STATE, &runnable);
    }
    wait_sipi = v->x86->wait_sipi;
    read_all(v);
    v->x86->wait_sipi = wait_sipi;
    v->x86->halted = false;
    if (msr_get(v, MSR_TSC, &value)) {
        v->tsc_offset = v->x86->tsc_offset = value - __rdtsc();
    }
}
