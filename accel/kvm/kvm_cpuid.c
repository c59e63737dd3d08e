/* SPDX-License-Identifier: MIT */
/*
 * CPUID under KVM: what may be offered, and the table a vCPU gets.
 *
 * The leaves are target-x86's own, so a model looks the same under every accelerator, with two
 * exceptions: the layout of saved state (0xd) is the kernel's, and 0x40000000 says "KVMKVMKVM".
 * Without KVM's own local APIC (kernel-irqchip=off) neither x2APIC nor the TSC deadline can work, so
 * they are not offered then.
 * Missing: KVM's paravirtual features; AVX-512 and PKU where the host's layout is not the
 * interpreter's (it has to be able to go on after KVM).
 * Locking: before the vCPUs run.
 */
#include <errno.h>
#include <sys/ioctl.h>

#include "accel/kvm/kvm_int.h"
#include "base/error.h"
#include "target-x86/cpu_models.h"
#include "target-x86/fpu.h"

enum { CPUID_MAX = 256 };
enum { REG_EAX, REG_EBX, REG_ECX, REG_EDX };

typedef struct CpuidTable {
    struct kvm_cpuid2 head;
    struct kvm_cpuid_entry2 entries[CPUID_MAX];
} CpuidTable;

/* IA32_ARCH_CAPABILITIES as KVM can show it; its upper half has no place in our words. */
static uint32_t load_arch_capabilities(const KvmAccel *kvm)
{
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entry;
    } get = { { .nmsrs = 1 }, { .index = MSR_ARCH_CAPABILITIES } };

    return ioctl(kvm->fd, KVM_CHECK_EXTENSION, KVM_CAP_GET_MSR_FEATURES) > 0 &&
                   ioctl(kvm->fd, KVM_GET_MSRS, &get) == 1 ? (uint32_t)get.entry.data : 0;
}

bool kvm_cpuid_load(KvmAccel *kvm, GError **error)
{
    CpuidTable *t = g_new0(CpuidTable, 1);

    t->head.nent = CPUID_MAX;
    if (ioctl(kvm->fd, KVM_GET_SUPPORTED_CPUID, t) < 0) {
        error_set_errno(error, errno, "/dev/kvm does not tell which CPU features it supports");
        g_free(t);
        return false;
    }
    kvm->supported = &t->head;
    kvm->arch_capabilities = load_arch_capabilities(kvm);
    return true;
}

static const struct kvm_cpuid_entry2 *find(const KvmAccel *kvm, uint32_t leaf, uint32_t subleaf)
{
    for (unsigned i = 0; i < kvm->supported->nent; i++) {
        const struct kvm_cpuid_entry2 *e = &kvm->supported->entries[i];

        if (e->function == leaf &&
            (!(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || e->index == subleaf)) {
            return e;
        }
    }
    return NULL;
}

static uint32_t supported(const KvmAccel *kvm, uint32_t leaf, uint32_t subleaf, unsigned reg)
{
    const struct kvm_cpuid_entry2 *e = find(kvm, leaf, subleaf);

    return !e ? 0 : reg == REG_EAX ? e->eax : reg == REG_EBX ? e->ebx
           : reg == REG_ECX ? e->ecx : e->edx;
}

uint32_t kvm_xsave_offset(const KvmAccel *kvm, unsigned component, uint32_t *size)
{
    *size = 0;
    if (component < 2 || !(supported(kvm, 0xd, 0, REG_EAX) >> component & 1)) {
        return 0;
    }
    *size = supported(kvm, 0xd, component, REG_EAX);
    return *size ? supported(kvm, 0xd, component, REG_EBX) : 0;
}

/* Whether guest images of this component look the same to KVM and to the interpreter. */
static bool same_layout(const KvmAccel *kvm, unsigned component)
{
    uint32_t size, offset = kvm_xsave_offset(kvm, component, &size);

    return offset == xsave_components[component].offset && size == xsave_components[component].size;
}

static const struct { uint8_t word, reg; uint32_t leaf, subleaf; } sources[] = {
    { FEAT_1_EDX, REG_EDX, 1, 0 },           { FEAT_1_ECX, REG_ECX, 1, 0 },
    { FEAT_7_0_EBX, REG_EBX, 7, 0 },         { FEAT_7_0_ECX, REG_ECX, 7, 0 },
    { FEAT_7_0_EDX, REG_EDX, 7, 0 },         { FEAT_7_1_EAX, REG_EAX, 7, 1 },
    { FEAT_8000_0001_EDX, REG_EDX, 0x80000001, 0 },
    { FEAT_8000_0001_ECX, REG_ECX, 0x80000001, 0 },
    { FEAT_8000_0007_EDX, REG_EDX, 0x80000007, 0 },
    { FEAT_8000_0008_EBX, REG_EBX, 0x80000008, 0 },
    { FEAT_D_1_EAX, REG_EAX, 0xd, 1 },       { FEAT_6_EAX, REG_EAX, 6, 0 },
};

/* What needs KVM's own local APIC: x2APIC and the TSC deadline. */
#define APIC_ECX (BIT(21) | BIT(24))

void kvm_cpuid_features(const KvmAccel *kvm, uint32_t words[FEAT_WORDS])
{
    memset(words, 0, FEAT_WORDS * sizeof(words[0]));
    for (unsigned i = 0; i < ARRAY_LEN(sources); i++) {
        words[sources[i].word] = supported(kvm, sources[i].leaf, sources[i].subleaf,
                                           sources[i].reg);
    }
    words[FEAT_1_EDX] |= BIT(9);                             /* the APIC is ours */
    words[FEAT_1_ECX] |= BIT(31);                            /* hypervisor */
    words[FEAT_1_ECX] &= ~(BIT(27) | BIT(3));
    if (!kvm_has_apic(kvm)) {
        words[FEAT_1_ECX] &= ~APIC_ECX;
    } else {
        words[FEAT_1_ECX] |= BIT(21);                        /* in software, if need be */
        if (ioctl(kvm->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0) {
            words[FEAT_1_ECX] |= BIT(24);                    /* KVM lists it nowhere else */
        }
    }
    words[FEAT_7_0_ECX] &= ~BIT(4);                          /* OSPKE */
    words[FEAT_8000_0001_ECX] &= ~BIT(2);                    /* no nested virtualization */
    words[FEAT_1_ECX] &= ~BIT(5);
    words[FEAT_D_1_EAX] &= BIT(0) | BIT(1) | BIT(2);
    words[FEAT_ARCH_CAPABILITIES] = kvm->arch_capabilities;
    if (!same_layout(kvm, 5) || !same_layout(kvm, 6) || !same_layout(kvm, 7)) {
        words[FEAT_7_0_EBX] &= ~X86_AVX512_EBX;
        words[FEAT_7_0_ECX] &= ~X86_AVX512_ECX;
        words[FEAT_7_0_EDX] &= ~X86_AVX512_EDX;
        words[FEAT_7_1_EAX] &= ~X86_AVX512_7_1_EAX;
    }
    if (!same_layout(kvm, 9)) {
        words[FEAT_7_0_ECX] &= ~BIT(3);
    }
}

/* ---- the vCPU's table ---- */

static void add(CpuidTable *t, uint32_t leaf, uint32_t subleaf, bool indexed, const uint32_t r[4])
{
    if (t->head.nent < CPUID_MAX) {
        t->entries[t->head.nent++] = (struct kvm_cpuid_entry2){
            .function = leaf, .index = subleaf,
            .flags = indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
            .eax = r[0], .ebx = r[1], .ecx = r[2], .edx = r[3],
        };
    }
}

/* How many subleaves a leaf has at most; 0: it has none. */
static unsigned subleaves(uint32_t leaf)
{
    static const struct { uint32_t leaf; uint8_t count; } rows[] = {
        { 4, 4 }, { 7, 2 }, { 0xb, 3 }, { 0xd, XSAVE_COMPONENTS }, { 0x1f, 4 }, { 0x8000001d, 4 },
    };

    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        if (rows[i].leaf == leaf) {
            return rows[i].count;
        }
    }
    return 0;
}

static void add_range(KvmCpu *v, CpuidTable *t, uint32_t first, uint32_t last)
{
    uint32_t r[4];

    for (uint32_t leaf = first; leaf <= last && leaf - first < 0x40; leaf++) {
        unsigned count = subleaves(leaf);

        for (unsigned i = 0; i < MAX(count, 1); i++) {
            x86_cpuid(v->x86, leaf, i, r);
            if (i < 2 || r[0] || r[1]) {
                add(t, leaf, i, count != 0, r);
            }
        }
    }
}

/*
 * Hardware executes most instructions whether CPUID shows them or not, and a KVM without hardware
 * support cannot even hide CPUID's truth: the interpreter must not raise #UD where it would not.
 * MSRs that need KVM's APIC stay away where it is not used.
 */
static void allow_in_software(const KvmAccel *kvm, X86Cpu *x86)
{
    uint32_t words[FEAT_WORDS];

    x86_tcg_features(words);
    words[FEAT_1_ECX] &= kvm_has_apic(kvm) ? ~0u : ~APIC_ECX;
    for (unsigned i = 0; i < FEAT_WORDS; i++) {
        x86->features[i] |= i == FEAT_ARCH_CAPABILITIES || i == FEAT_7_0_EDX ? 0 : words[i];
    }
}

bool kvm_cpuid_set(KvmCpu *v, GError **error)
{
    static const uint32_t hypervisor[4] = { 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d };
    static const uint32_t paravirtual[4] = { 0 };
    g_autofree CpuidTable *t = g_new0(CpuidTable, 1);

    add_range(v, t, 0, v->x86->cpuid_level);
    add_range(v, t, 0x80000000, v->x86->cpuid_xlevel);
    if (*x86_cpu_switch(v->x86, "kvm")) {
        add(t, 0x40000000, 0, false, hypervisor);
        add(t, 0x40000001, 0, false, paravirtual);
    }
    if (ioctl(v->fd, KVM_SET_CPUID2, t) < 0) {
        return error_set_errno(error, errno, "KVM refused the features of CPU %u",
                               v->cpu->index);
    }
    kvm_set_arch_capabilities(v);
    allow_in_software(v->kvm, v->x86);
    return true;
}
