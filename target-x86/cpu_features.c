/* SPDX-License-Identifier: MIT */
/*
 * Names of CPUID feature bits as QEMU 7.2 has them (`-cpu help`), and what the software engines
 * can do.  Positions: [SDM2 CPUID], [APM3 E]; scripts/cpu_models.py compares them with QEMU.
 * Constant; any thread.
 */
#include "target-x86/cpuid_int.h"
#include "target-x86/fpu.h"

/* clang-format off */
#define N(word, bit, ...) { X86_FEAT(word, bit), __VA_ARGS__ }
const X86FeatureName x86_feature_names[] = {
    N(1_EDX, 0, "fpu"), N(1_EDX, 1, "vme"), N(1_EDX, 2, "de"), N(1_EDX, 3, "pse"),
    N(1_EDX, 4, "tsc"), N(1_EDX, 5, "msr"), N(1_EDX, 6, "pae"), N(1_EDX, 7, "mce"),
    N(1_EDX, 8, "cx8"), N(1_EDX, 9, "apic"), N(1_EDX, 11, "sep"), N(1_EDX, 12, "mtrr"),
    N(1_EDX, 13, "pge"), N(1_EDX, 14, "mca"), N(1_EDX, 15, "cmov"), N(1_EDX, 16, "pat"),
    N(1_EDX, 17, "pse36"), N(1_EDX, 18, "pn"), N(1_EDX, 19, "clflush"), N(1_EDX, 21, "ds"),
    N(1_EDX, 22, "acpi"), N(1_EDX, 23, "mmx"), N(1_EDX, 24, "fxsr"), N(1_EDX, 25, "sse"),
    N(1_EDX, 26, "sse2"), N(1_EDX, 27, "ss"), N(1_EDX, 28, "ht"), N(1_EDX, 29, "tm"),
    N(1_EDX, 30, "ia64"), N(1_EDX, 31, "pbe"),
    N(1_ECX, 0, "pni", "sse3"), N(1_ECX, 1, "pclmulqdq", "pclmuldq"), N(1_ECX, 2, "dtes64"),
    N(1_ECX, 3, "monitor"), N(1_ECX, 4, "ds-cpl"), N(1_ECX, 5, "vmx"), N(1_ECX, 6, "smx"),
    N(1_ECX, 7, "est"), N(1_ECX, 8, "tm2"), N(1_ECX, 9, "ssse3"), N(1_ECX, 10, "cid"),
    N(1_ECX, 12, "fma"), N(1_ECX, 13, "cx16"), N(1_ECX, 14, "xtpr"), N(1_ECX, 15, "pdcm"),
    N(1_ECX, 17, "pcid"), N(1_ECX, 18, "dca"), N(1_ECX, 19, "sse4.1", "sse4-1"),
    N(1_ECX, 20, "sse4.2", "sse4-2"), N(1_ECX, 21, "x2apic"), N(1_ECX, 22, "movbe"),
    N(1_ECX, 23, "popcnt"), N(1_ECX, 24, "tsc-deadline"), N(1_ECX, 25, "aes"),
    N(1_ECX, 26, "xsave"), N(1_ECX, 28, "avx"), N(1_ECX, 29, "f16c"), N(1_ECX, 30, "rdrand"),
    N(1_ECX, 31, "hypervisor"),
    N(7_0_EBX, 0, "fsgsbase"), N(7_0_EBX, 1, "tsc-adjust"), N(7_0_EBX, 2, "sgx"),
    N(7_0_EBX, 3, "bmi1"), N(7_0_EBX, 4, "hle"), N(7_0_EBX, 5, "avx2"), N(7_0_EBX, 7, "smep"),
    N(7_0_EBX, 8, "bmi2"), N(7_0_EBX, 9, "erms"), N(7_0_EBX, 10, "invpcid"),
    N(7_0_EBX, 11, "rtm"), N(7_0_EBX, 14, "mpx"), N(7_0_EBX, 16, "avx512f"),
    N(7_0_EBX, 17, "avx512dq"), N(7_0_EBX, 18, "rdseed"), N(7_0_EBX, 19, "adx"),
    N(7_0_EBX, 20, "smap"), N(7_0_EBX, 21, "avx512ifma"), N(7_0_EBX, 22, "pcommit"),
    N(7_0_EBX, 23, "clflushopt"), N(7_0_EBX, 24, "clwb"), N(7_0_EBX, 25, "intel-pt"),
    N(7_0_EBX, 26, "avx512pf"), N(7_0_EBX, 27, "avx512er"), N(7_0_EBX, 28, "avx512cd"),
    N(7_0_EBX, 29, "sha-ni"), N(7_0_EBX, 30, "avx512bw"), N(7_0_EBX, 31, "avx512vl"),
    N(7_0_ECX, 1, "avx512vbmi"), N(7_0_ECX, 2, "umip"), N(7_0_ECX, 3, "pku"),
    N(7_0_ECX, 5, "waitpkg"), N(7_0_ECX, 6, "avx512vbmi2"), N(7_0_ECX, 8, "gfni"),
    N(7_0_ECX, 9, "vaes"), N(7_0_ECX, 10, "vpclmulqdq"), N(7_0_ECX, 11, "avx512vnni"),
    N(7_0_ECX, 12, "avx512bitalg"), N(7_0_ECX, 14, "avx512-vpopcntdq"), N(7_0_ECX, 16, "la57"),
    N(7_0_ECX, 22, "rdpid"), N(7_0_ECX, 24, "bus-lock-detect"), N(7_0_ECX, 25, "cldemote"),
    N(7_0_ECX, 27, "movdiri"), N(7_0_ECX, 28, "movdir64b"), N(7_0_ECX, 30, "sgxlc"),
    N(7_0_ECX, 31, "pks"),
    N(7_0_EDX, 2, "avx512-4vnniw"), N(7_0_EDX, 3, "avx512-4fmaps"), N(7_0_EDX, 4, "fsrm"),
    N(7_0_EDX, 8, "avx512-vp2intersect"), N(7_0_EDX, 10, "md-clear"), N(7_0_EDX, 14, "serialize"),
    N(7_0_EDX, 16, "tsx-ldtrk"), N(7_0_EDX, 19, "arch-lbr"), N(7_0_EDX, 22, "amx-bf16"),
    N(7_0_EDX, 23, "avx512-fp16"), N(7_0_EDX, 24, "amx-tile"), N(7_0_EDX, 25, "amx-int8"),
    N(7_0_EDX, 26, "spec-ctrl"), N(7_0_EDX, 27, "stibp"), N(7_0_EDX, 29, "arch-capabilities"),
    N(7_0_EDX, 30, "core-capability"), N(7_0_EDX, 31, "ssbd"),
    N(7_1_EAX, 4, "avx-vnni"), N(7_1_EAX, 5, "avx512-bf16"),
    N(8000_0001_EDX, 11, "syscall"), N(8000_0001_EDX, 20, "nx", "xd"),
    N(8000_0001_EDX, 22, "mmxext"), N(8000_0001_EDX, 25, "fxsr-opt", "ffxsr"),
    N(8000_0001_EDX, 26, "pdpe1gb"), N(8000_0001_EDX, 27, "rdtscp"),
    N(8000_0001_EDX, 29, "lm", "i64"), N(8000_0001_EDX, 30, "3dnowext"),
    N(8000_0001_EDX, 31, "3dnow"),
    N(8000_0001_ECX, 0, "lahf-lm"), N(8000_0001_ECX, 1, "cmp-legacy"), N(8000_0001_ECX, 2, "svm"),
    N(8000_0001_ECX, 3, "extapic"), N(8000_0001_ECX, 4, "cr8legacy"), N(8000_0001_ECX, 5, "abm"),
    N(8000_0001_ECX, 6, "sse4a"), N(8000_0001_ECX, 7, "misalignsse"),
    N(8000_0001_ECX, 8, "3dnowprefetch"), N(8000_0001_ECX, 9, "osvw"), N(8000_0001_ECX, 10, "ibs"),
    N(8000_0001_ECX, 11, "xop"), N(8000_0001_ECX, 12, "skinit"), N(8000_0001_ECX, 13, "wdt"),
    N(8000_0001_ECX, 15, "lwp"), N(8000_0001_ECX, 16, "fma4"), N(8000_0001_ECX, 17, "tce"),
    N(8000_0001_ECX, 19, "nodeid-msr"), N(8000_0001_ECX, 21, "tbm"), N(8000_0001_ECX, 22, "topoext"),
    N(8000_0001_ECX, 23, "perfctr-core"), N(8000_0001_ECX, 24, "perfctr-nb"),
    N(8000_0007_EDX, 8, "invtsc"),
    N(8000_0008_EBX, 0, "clzero"), N(8000_0008_EBX, 2, "xsaveerptr"), N(8000_0008_EBX, 9, "wbnoinvd"),
    N(8000_0008_EBX, 12, "ibpb"), N(8000_0008_EBX, 14, "ibrs"), N(8000_0008_EBX, 15, "amd-stibp"),
    N(8000_0008_EBX, 24, "amd-ssbd"), N(8000_0008_EBX, 25, "virt-ssbd"),
    N(8000_0008_EBX, 26, "amd-no-ssb"),
    N(D_1_EAX, 0, "xsaveopt"), N(D_1_EAX, 1, "xsavec"), N(D_1_EAX, 2, "xgetbv1"),
    N(D_1_EAX, 3, "xsaves"), N(D_1_EAX, 4, "xfd"),
    N(6_EAX, 2, "arat"),
    N(ARCH_CAPABILITIES, 0, "rdctl-no"), N(ARCH_CAPABILITIES, 1, "ibrs-all"),
    N(ARCH_CAPABILITIES, 2, "rsba"), N(ARCH_CAPABILITIES, 3, "skip-l1dfl-vmentry"),
    N(ARCH_CAPABILITIES, 4, "ssb-no"), N(ARCH_CAPABILITIES, 5, "mds-no"),
    N(ARCH_CAPABILITIES, 6, "pschange-mc-no"), N(ARCH_CAPABILITIES, 7, "tsx-ctrl"),
    N(ARCH_CAPABILITIES, 8, "taa-no"),
};
#undef N
const unsigned x86_feature_name_count = ARRAY_LEN(x86_feature_names);

const char *const x86_foreign_features[] = {
    "ace2", "ace2-en", "avic", "decodeassists", "flushbyasid", "full-width-write",
    "intel-pt-lip", "kvm-asyncpf", "kvm-asyncpf-int", "kvm-hint-dedicated", "kvm-mmu",
    "kvm-msi-ext-dest-id", "kvm-nopiodelay", "kvm-poll-control", "kvm-pv-eoi", "kvm-pv-ipi",
    "kvm-pv-sched-yield", "kvm-pv-tlb-flush", "kvm-pv-unhalt", "kvm-steal-time", "kvmclock",
    "kvmclock-stable-bit", "lbrv", "lmce", "npt", "nrip-save", "pause-filter", "pfthreshold", "phe",
    "phe-en", "pmm", "pmm-en", "sgx-debug", "sgx-exinfo", "sgx-kss", "sgx-mode64",
    "sgx-provisionkey", "sgx-tokenkey", "sgx1", "sgx2", "split-lock-detect", "svm-lock",
    "svme-addr-chk", "tsc-scale", "v-vmsave-vmload", "vgif", "vmcb-clean",
    "vmx-activity-hlt", "vmx-activity-shutdown", "vmx-activity-wait-sipi",
    "vmx-apicv-register", "vmx-apicv-vid", "vmx-apicv-x2apic", "vmx-apicv-xapic",
    "vmx-cr3-load-noexit", "vmx-cr3-store-noexit", "vmx-cr8-load-exit",
    "vmx-cr8-store-exit", "vmx-desc-exit", "vmx-encls-exit", "vmx-entry-ia32e-mode",
    "vmx-entry-load-bndcfgs", "vmx-entry-load-efer", "vmx-entry-load-pat",
    "vmx-entry-load-perf-global-ctrl", "vmx-entry-load-pkrs", "vmx-entry-load-rtit-ctl",
    "vmx-entry-noload-debugctl", "vmx-ept", "vmx-ept-1gb", "vmx-ept-2mb",
    "vmx-ept-advanced-exitinfo", "vmx-ept-execonly", "vmx-eptad", "vmx-eptp-switching",
    "vmx-exit-ack-intr", "vmx-exit-clear-bndcfgs", "vmx-exit-clear-rtit-ctl",
    "vmx-exit-load-efer", "vmx-exit-load-pat", "vmx-exit-load-perf-global-ctrl",
    "vmx-exit-load-pkrs", "vmx-exit-nosave-debugctl", "vmx-exit-save-efer",
    "vmx-exit-save-pat", "vmx-exit-save-preemption-timer", "vmx-flexpriority",
    "vmx-hlt-exit", "vmx-ins-outs", "vmx-intr-exit", "vmx-invept", "vmx-invept-all-context",
    "vmx-invept-single-context", "vmx-invept-single-context-noglobals", "vmx-invlpg-exit",
    "vmx-invpcid-exit", "vmx-invvpid", "vmx-invvpid-all-context", "vmx-invvpid-single-addr",
    "vmx-io-bitmap", "vmx-io-exit", "vmx-monitor-exit", "vmx-movdr-exit", "vmx-msr-bitmap",
    "vmx-mtf", "vmx-mwait-exit", "vmx-nmi-exit", "vmx-page-walk-4", "vmx-page-walk-5",
    "vmx-pause-exit", "vmx-ple", "vmx-pml", "vmx-posted-intr", "vmx-preemption-timer",
    "vmx-rdpmc-exit", "vmx-rdrand-exit", "vmx-rdseed-exit", "vmx-rdtsc-exit",
    "vmx-rdtscp-exit", "vmx-secondary-ctls", "vmx-shadow-vmcs", "vmx-store-lma",
    "vmx-true-ctls", "vmx-tsc-offset", "vmx-tsc-scaling", "vmx-unrestricted-guest",
    "vmx-vintr-pending", "vmx-vmfunc", "vmx-vmwrite-vmexit-fields", "vmx-vnmi",
    "vmx-vnmi-pending", "vmx-vpid", "vmx-wbinvd-exit", "vmx-xsaves", "vmx-zero-len-inject",
    "xcrypt", "xcrypt-en", "xstore", "xstore-en",
    NULL
};
/* clang-format on */

static bool same_name(const char *a, const char *b)
{
    for (; *a && *b; a++, b++) {
        if (*a != *b && !((*a == '_' && *b == '-') || (*a == '-' && *b == '_'))) {
            return false;
        }
    }
    return *a == *b;
}

int x86_feature_find(const char *name)
{
    for (unsigned i = 0; i < x86_feature_name_count; i++) {
        const X86FeatureName *n = &x86_feature_names[i];

        if (same_name(name, n->name) || (n->alias && same_name(name, n->alias))) {
            return n->feature;
        }
    }
    for (unsigned i = 0; x86_foreign_features[i]; i++) {
        if (same_name(name, x86_foreign_features[i])) {
            return FEAT_WORDS * 32;
        }
    }
    return -1;
}

void x86_features_apply(const char *list, uint32_t words[FEAT_WORDS])
{
    g_auto(GStrv) parts = g_strsplit(list, " ", -1);

    for (unsigned i = 0; parts[i]; i++) {
        bool off = *parts[i] == '-';
        int f = *parts[i] ? x86_feature_find(parts[i] + off) : -1;

        if (f < 0 || f >= FEAT_WORDS * 32) {
            continue;
        }
        if (off) {
            words[f / 32] &= ~BIT(f % 32);
        } else {
            words[f / 32] |= BIT(f % 32);
        }
    }
}

const char *x86_feature_name(unsigned feature)
{
    for (unsigned i = 0; i < x86_feature_name_count; i++) {
        if (x86_feature_names[i].feature == feature) {
            return x86_feature_names[i].name;
        }
    }
    return NULL;
}

const char *x86_feature_word_name(unsigned word)
{
    static const char *const names[FEAT_WORDS] = {
        [FEAT_1_EDX] = "CPUID.01H:EDX", [FEAT_1_ECX] = "CPUID.01H:ECX",
        [FEAT_7_0_EBX] = "CPUID.07H:EBX", [FEAT_7_0_ECX] = "CPUID.07H:ECX",
        [FEAT_7_0_EDX] = "CPUID.07H:EDX", [FEAT_7_1_EAX] = "CPUID.07H:EAX",
        [FEAT_8000_0001_EDX] = "CPUID.80000001H:EDX",
        [FEAT_8000_0001_ECX] = "CPUID.80000001H:ECX",
        [FEAT_8000_0007_EDX] = "CPUID.80000007H:EDX",
        [FEAT_8000_0008_EBX] = "CPUID.80000008H:EBX", [FEAT_D_1_EAX] = "CPUID.0DH:EAX",
        [FEAT_6_EAX] = "CPUID.06H:EAX", [FEAT_ARCH_CAPABILITIES] = "MSR(10AH)",
    };

    return names[word];
}

/* What the engines implement in C; vector extensions and an even TSC only as far as the host has them too. */
static const struct { uint8_t word; uint32_t mask, need_host; } tcg_words[] = {
    /* All but pn, ds, tm, ia64, pbe */
    { FEAT_1_EDX, 0x1fcbfbff, 0 },
    { FEAT_1_ECX, 0xf7fa320b, BIT(0) | BIT(1) | BIT(9) | BIT(12) | BIT(19) | BIT(20) | BIT(25) |
                              BIT(28) | BIT(29) },
    { FEAT_7_0_EBX, 0xf1bf07ab, BIT(5) | BIT(29) | X86_AVX512_EBX },
    { FEAT_7_0_ECX, BIT(2) | BIT(3) | BIT(8) | BIT(9) | BIT(10) | BIT(16) | BIT(22) | BIT(27) | BIT(28) |
                    X86_AVX512_ECX, BIT(8) | BIT(9) | BIT(10) | X86_AVX512_ECX },
    { FEAT_7_0_EDX, BIT(4) | BIT(10) | BIT(14) | BIT(26) | BIT(29), 0 },
    { FEAT_7_1_EAX, X86_AVX512_7_1_EAX, X86_AVX512_7_1_EAX },
    { FEAT_8000_0001_EDX, BIT(11) | BIT(20) | BIT(22) | BIT(26) | BIT(27) | BIT(29), 0 },
    { FEAT_8000_0001_ECX, BIT(0) | BIT(1) | BIT(4) | BIT(5) | BIT(8) | BIT(22), 0 },
    { FEAT_8000_0007_EDX, BIT(8), BIT(8) },
    { FEAT_8000_0008_EBX, BIT(2), 0 },
    { FEAT_D_1_EAX, BIT(0) | BIT(1) | BIT(2), 0 },
    { FEAT_6_EAX, BIT(2), 0 },
    /* No speculation side effects: Linux then drops its mitigations.  Beyond the named ones:
     * SBDR_SSDP_NO, FBSDP_NO, PSDP_NO, BHI_NO, PBRSB_NO, GDS_NO, RFDS_NO [SDM4 table 2-2]. */
    { FEAT_ARCH_CAPABILITIES, BIT(0) | BIT(1) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(8) | BIT(13) |
                              BIT(14) | BIT(15) | BIT(20) | BIT(24) | BIT(26) | BIT(27), 0 },
};

void x86_tcg_features(uint32_t words[FEAT_WORDS])
{
    const uint32_t *host = simd_host_features();

    memset(words, 0, FEAT_WORDS * sizeof(words[0]));
    for (unsigned i = 0; i < ARRAY_LEN(tcg_words); i++) {
        unsigned w = tcg_words[i].word;

        words[w] = tcg_words[i].mask & ~(tcg_words[i].need_host & ~host[w]);
    }
}
