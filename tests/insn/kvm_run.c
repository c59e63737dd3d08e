/* SPDX-License-Identifier: MIT */
/*
 * See kvm_run.h.
 */
#include "tests/insn/kvm_run.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define CPUID_ENTRIES 256
/* In the XSAVE image: which parts it has; the upper halves of YMM0 to YMM15. */
enum { XSAVE_BV = 512, XSAVE_YMM = 576 };

static bool get_cpuid(KvmRun *kvm)
{
    kvm->cpuid = g_malloc0(sizeof(*kvm->cpuid) + CPUID_ENTRIES * sizeof(struct kvm_cpuid_entry2));
    kvm->cpuid->nent = CPUID_ENTRIES;
    return ioctl(kvm->system, KVM_GET_SUPPORTED_CPUID, kvm->cpuid) == 0 &&
           ioctl(kvm->cpu, KVM_SET_CPUID2, kvm->cpuid) == 0;
}

uint32_t kvm_run_cpuid(const KvmRun *kvm, uint32_t leaf, uint32_t sub, unsigned reg)
{
    for (unsigned i = 0; i < kvm->cpuid->nent; i++) {
        const struct kvm_cpuid_entry2 *e = &kvm->cpuid->entries[i];

        if (e->function == leaf && e->index == sub) {
            return ((const uint32_t[]){ e->eax, e->ebx, e->ecx, e->edx })[reg];
        }
    }
    return 0;
}

bool kvm_run_open(KvmRun *kvm, const char **why)
{
    struct kvm_userspace_memory_region ram = { 0, 0, BENCH_BASE, BENCH_SIZE, BENCH_BASE };
    struct kvm_xcrs xcrs = { .nr_xcrs = 1, .xcrs[0] = { .value = XCR0_X87 | XCR0_SSE | XCR0_AVX } };
    int size;

    *kvm = (KvmRun){ open("/dev/kvm", O_RDWR | O_CLOEXEC), -1, -1, NULL, 0, NULL };
    *why = "there is no usable /dev/kvm";
    kvm->vm = kvm->system < 0 ? -1 : ioctl(kvm->system, KVM_CREATE_VM, 0ul);
    if (kvm->vm < 0) {
        return false;
    }
    ioctl(kvm->vm, KVM_SET_TSS_ADDR, 0xfffbd000ul);
    kvm->cpu = ioctl(kvm->vm, KVM_SET_USER_MEMORY_REGION, &ram) ? -1 : ioctl(kvm->vm, KVM_CREATE_VCPU, 0ul);
    size = ioctl(kvm->system, KVM_GET_VCPU_MMAP_SIZE, 0ul);
    if (kvm->cpu < 0 || size <= 0 || !get_cpuid(kvm)) {
        return false;
    }
    kvm->shared_size = size;
    kvm->shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, kvm->cpu, 0);
    *why = "KVM's guests have no AVX here";
    return kvm->shared != MAP_FAILED && ioctl(kvm->cpu, KVM_SET_XCRS, &xcrs) == 0;
}

void kvm_run_close(KvmRun *kvm)
{
    if (kvm->shared && kvm->shared != MAP_FAILED) {
        munmap(kvm->shared, kvm->shared_size);
    }
    for (unsigned i = 0; i < 3; i++) {
        int fd = ((const int[]){ kvm->cpu, kvm->vm, kvm->system })[i];

        if (fd >= 0) {
            close(fd);
        }
    }
    g_free(kvm->cpuid);
}

static struct kvm_segment segment(const X86Seg *s)
{
    uint32_t f = s->flags;

    return (struct kvm_segment){
        .base = s->base, .limit = s->limit, .selector = s->sel, .type = f >> 8 & 15, .present = 1, .s = 1,
        .dpl = f >> 13 & 3, .db = f >> 22 & 1, .l = f >> 21 & 1, .g = f >> 23 & 1,
    };
}

static bool set_mode(KvmRun *kvm, const X86Cpu *mode)
{
    struct kvm_sregs s;

    if (ioctl(kvm->cpu, KVM_GET_SREGS, &s)) {
        return false;
    }
    s.cs = segment(&mode->segs[SEG_CS]);
    s.ds = segment(&mode->segs[SEG_DS]);
    s.es = segment(&mode->segs[SEG_ES]);
    s.ss = segment(&mode->segs[SEG_SS]);
    s.fs = segment(&mode->segs[SEG_FS]);
    s.gs = segment(&mode->segs[SEG_GS]);
    s.cs.type |= 1;
    s.tr.type = 11;
    s.tr.present = 1;
    s.tr.limit = 0x67;
    s.idt.base = s.idt.limit = 0;           /* the first exception ends in a shutdown */
    s.cr0 = mode->cr0;
    s.cr2 = 0;
    s.cr3 = mode->cr3;
    s.cr4 = mode->cr4;
    s.efer = mode->efer;
    return ioctl(kvm->cpu, KVM_SET_SREGS, &s) == 0;
}

/* KVM's order of general registers is not the encoding's. */
static void exchange(struct kvm_regs *r, InsnState *state, bool out)
{
    __u64 *const at[16] = { &r->rax, &r->rcx, &r->rdx, &r->rbx, &r->rsp, &r->rbp, &r->rsi, &r->rdi,
                            &r->r8, &r->r9, &r->r10, &r->r11, &r->r12, &r->r13, &r->r14, &r->r15 };

    for (unsigned i = 0; i < 16; i++) {
        if (out) {
            state->gpr[i] = *at[i];
        } else {
            *at[i] = state->gpr[i];
        }
    }
}

static bool set_vectors(KvmRun *kvm, const InsnState *state)
{
    struct kvm_xsave x = { 0 };
    uint8_t *image = (uint8_t *)x.region;
    uint64_t parts = XCR0_X87 | XCR0_SSE | XCR0_AVX;

    memcpy(image, state->fx, sizeof(state->fx));
    memcpy(image + XSAVE_BV, &parts, sizeof(parts));
    for (unsigned i = 0; i < 16; i++) {
        memcpy(image + 160 + 16 * i, &state->zmm[i], 16);
        memcpy(image + XSAVE_YMM + 16 * i, &state->zmm[i].u64[2], 16);
    }
    return ioctl(kvm->cpu, KVM_SET_XSAVE, &x) == 0;
}

static bool get_vectors(KvmRun *kvm, InsnState *state)
{
    struct kvm_xsave x;
    const uint8_t *image = (const uint8_t *)x.region;
    uint64_t parts;

    if (ioctl(kvm->cpu, KVM_GET_XSAVE, &x)) {
        return false;
    }
    memcpy(&parts, image + XSAVE_BV, sizeof(parts));
    memcpy(state->fx, image, 160);
    for (unsigned i = 0; i < 16; i++) {
        memset(&state->zmm[i], 0, 32);
        if (parts & XCR0_SSE) {
            memcpy(&state->zmm[i], image + 160 + 16 * i, 16);
        }
        if (parts & XCR0_AVX) {
            memcpy(&state->zmm[i].u64[2], image + XSAVE_YMM + 16 * i, 16);
        }
    }
    return true;
}

int kvm_run(KvmRun *kvm, const X86Cpu *mode, InsnState *state, uint64_t rip)
{
    struct kvm_regs regs = { .rip = rip, .rflags = state->flags };
    struct kvm_vcpu_events events = { 0 };
    struct kvm_mp_state runnable = { KVM_MP_STATE_RUNNABLE };

    exchange(&regs, state, false);
    if (ioctl(kvm->cpu, KVM_SET_VCPU_EVENTS, &events) || !set_mode(kvm, mode) || ioctl(kvm->cpu, KVM_SET_REGS, &regs) ||
        !set_vectors(kvm, state)) {
        return KVM_RUN_CANNOT;
    }
    ioctl(kvm->cpu, KVM_SET_MP_STATE, &runnable);
    if (ioctl(kvm->cpu, KVM_RUN, 0ul)) {
        return KVM_RUN_CANNOT;
    }
    if (kvm->shared->exit_reason == KVM_EXIT_SHUTDOWN) {
        return KVM_RUN_FAULT;
    }
    if (kvm->shared->exit_reason != KVM_EXIT_HLT || ioctl(kvm->cpu, KVM_GET_REGS, &regs) || !get_vectors(kvm, state)) {
        return KVM_RUN_CANNOT;
    }
    exchange(&regs, state, true);
    state->flags = regs.rflags;
    return KVM_RUN_ENDED;
}
