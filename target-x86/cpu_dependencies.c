/* SPDX-License-Identifier: MIT */
/*
 * Features that make no sense without others: a CPU with AVX2 and no AVX, or with AVX and no XSAVE to switch it on, is none
 * that software was written for.  QEMU leaves such combinations to the user; here what has lost its ground goes too.
 * Spec: what the SDM tells software to check before a feature is used [SDM1 11.6.2, 12.4.2, 12.7.2, 12.12, 12.13, 13.2, 14.3
 * to 14.7, 15.2], registers that the feature works on, tables and modes that it is a part of [SDM3A 4.1, 11].
 * Locking: none; the rules are made once.
 */
#include "target-x86/cpuid_int.h"

/* Whatever needs a feature comes below all rows that can take that feature away: one pass suffices. */
/* clang-format off */
static const struct { const char *dependents, *needs; } rows[] = {
    { "mmx fxsr", "fpu" },
    { "mmxext 3dnow", "mmx" },
    { "3dnowext", "3dnow" },
    { "sse fxsr-opt", "fxsr" },
    { "sse2 misalignsse", "sse" },
    { "pni sse4a pclmulqdq aes sha-ni gfni", "sse2" },
    { "ssse3", "pni" },
    { "sse4.1", "ssse3" },
    { "sse4.2", "sse4.1" },
    { "avx mpx pku amx-tile xsaveopt xsavec xgetbv1 xsaves xfd", "xsave" },
    { "avx", "sse2" },
    { "avx2 fma f16c fma4 xop vaes vpclmulqdq avx-vnni", "avx" },
    { "avx512f", "avx2" },
    { "avx512dq avx512cd avx512bw avx512vl avx512ifma avx512pf avx512er avx512vnni avx512-vpopcntdq avx512-4vnniw "
      "avx512-4fmaps avx512-vp2intersect avx512-bf16", "avx512f" },
    { "avx512vbmi avx512vbmi2 avx512bitalg avx512-fp16", "avx512bw" },
    { "amx-bf16 amx-int8", "amx-tile" },
    { "lm nx", "pae" },
    { "la57 pcid pdpe1gb fsgsbase cx16 pks", "lm" },
    { "x2apic tsc-deadline", "apic" },
    { "tsc-deadline tsc-adjust rdtscp invtsc", "tsc" },
    { "tsx-ldtrk", "rtm" },
    { "sgxlc", "sgx" },
    { "rdctl-no ibrs-all rsba skip-l1dfl-vmentry ssb-no mds-no pschange-mc-no tsx-ctrl taa-no", "arch-capabilities" },
};
/* clang-format on */

typedef struct Rule {
    uint32_t dependents[FEAT_WORDS];
    uint16_t needs;
} Rule;

static const Rule *all_rules(void)
{
    static Rule rules[ARRAY_LEN(rows)];
    static gsize once;

    if (g_once_init_enter(&once)) {
        for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
            x86_features_apply(rows[i].dependents, rules[i].dependents);
            rules[i].needs = x86_feature_find(rows[i].needs);
        }
        g_once_init_leave(&once, 1);
    }
    return rules;
}

static bool has(const uint32_t words[FEAT_WORDS], unsigned feature)
{
    return words[feature / 32] >> (feature % 32) & 1;
}

void x86_features_drop_baseless(uint32_t words[FEAT_WORDS])
{
    const Rule *rules = all_rules();

    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        for (unsigned w = 0; !has(words, rules[i].needs) && w < FEAT_WORDS; w++) {
            words[w] &= ~rules[i].dependents[w];
        }
    }
    /* Bits without names, too. */
    if (!has(words, X86_FEAT_XSAVE)) {
        words[FEAT_D_1_EAX] = 0;
    }
    if (!has(words, X86_FEAT(7_0_EDX, 29))) {
        words[FEAT_ARCH_CAPABILITIES] = 0;
    }
}

const char *x86_feature_ground(unsigned feature, const uint32_t words[FEAT_WORDS])
{
    const Rule *rules = all_rules();

    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        if (has(rules[i].dependents, feature) && !has(words, rules[i].needs)) {
            return rows[i].needs;
        }
    }
    return NULL;
}
