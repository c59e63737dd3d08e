/* SPDX-License-Identifier: MIT */
/*
 * Inside CPUID: feature names (cpu_features.c), what they need (cpu_dependencies.c), model rows (cpu_models.c) and what
 * the leaves are computed from (cpuid.c).  See cpu_models.h for the outside.  Constant data and pure functions.
 */
#ifndef TARGET_X86_CPUID_INT_H
#define TARGET_X86_CPUID_INT_H

#include "target-x86/cpu_models.h"

typedef struct X86FeatureName {
    uint16_t feature;           /* X86_FEAT(word, bit) */
    const char *name;           /* QEMU's */
    const char *alias;          /* a second name or NULL */
} X86FeatureName;

extern const X86FeatureName x86_feature_names[];
extern const unsigned x86_feature_name_count;
/* Names of QEMU's whose bits no CPU of ours has a place for (VMX, SVM, SGX, KVM leaves): they may
 * be switched off, and asking for them warns as any missing feature does.  NULL-terminated. */
extern const char *const x86_foreign_features[];

/* By name or alias, '_' counting as '-'; -1: unknown; FEAT_WORDS * 32: foreign. */
int x86_feature_find(const char *name);
const char *x86_feature_name(unsigned feature);      /* NULL for a bit without a name */
/* "CPUID.01H:EDX" or "MSR(10AH)". */
const char *x86_feature_word_name(unsigned word);

/* "fpu vme -de": sets and clears bits of WORDS. */
void x86_features_apply(const char *list, uint32_t words[FEAT_WORDS]);

/* Takes from WORDS the features whose ground is not there: without avx no avx2 (cpu_dependencies.c). */
void x86_features_drop_baseless(uint32_t words[FEAT_WORDS]);
/* The name of what FEATURE needs and WORDS, after that, has not; NULL: none. */
const char *x86_feature_ground(unsigned feature, const uint32_t words[FEAT_WORDS]);

typedef enum X86CacheKind {
    X86_CACHE_LEGACY, X86_CACHE_EPYC, X86_CACHE_ROME, X86_CACHE_MILAN,
} X86CacheKind;

typedef struct X86Model {
    const char *name;           /* with version: "Skylake-Server-v2" */
    const char *alias;          /* "Skylake-Server-IBRS", or NULL */
    bool plain;                 /* the name without version means this row */
    const char *note;           /* for -cpu help, or NULL: model_id */
    const char *model_id, *vendor;
    uint32_t level, xlevel;
    uint16_t family;
    uint8_t model, stepping;
    X86CacheKind cache;
    const char *parent;         /* row that `features` adds to and removes from, or NULL */
    const char *features;       /* "fpu vme -de" */
} X86Model;

/* Everything CPUID is computed from beside the feature words. */
typedef struct X86CpuidTable {
    X86Topology topology;
    X86CacheKind cache;
    bool l3_cache;              /* leaves 2, 4 and 80000006H show one */
    bool leaf_b;                /* cpuid-0xb */
    bool hypervisor_leaf;       /* tcg-cpuid */
    char hypervisor[13];
    bool maximal;               /* max and host: whatever the accelerator can do */
    bool check, enforce, force; /* warn of missing features, fail on them, keep them */
    bool host_phys_bits;
    bool migratable;            /* max and host: without what another host may not have */
    bool kvm;                   /* KVM's leaves show, under KVM */
    bool auto_level;            /* full-cpuid-auto-level */
    uint32_t requested[FEAT_WORDS], removed[FEAT_WORDS];
    uint32_t named[FEAT_WORDS];         /* of those requested: by name, not by the model */
    uint32_t filtered[FEAT_WORDS];      /* asked for, but not to be had */
    GString *foreign;           /* names asked for that have no place, space-separated; or NULL */
} X86CpuidTable;

/* The CPU's table, made with defaults on first use. */
X86CpuidTable *x86_cpuid_table(X86Cpu *cpu);

#endif
