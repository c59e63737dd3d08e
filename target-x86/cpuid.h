/* SPDX-License-Identifier: MIT */
/*
 * CPUID as the guest sees it (cpuid.c), CPU models (cpu_models.c) and feature names (cpu_features.c).
 *
 * A model is a row: identification, cache description and the list of its feature names.  Building
 * a CPU: copy the row into an X86Cpuid, apply +feat/-feat and properties, filter by what the
 * accelerator can do, then x86_cpuid_commit() puts the result into the X86Cpu.
 *
 * Constant data and pure functions; committing is for the main loop before the CPU runs.
 */
#ifndef TARGET_X86_CPUID_H
#define TARGET_X86_CPUID_H

#include "target-x86/cpu.h"

/* ---- features ------------------------------------------------------------------------------ */

typedef struct X86FeatureName {
    uint16_t feature;           /* X86_FEAT(word, bit) */
    const char *name;           /* QEMU's */
    const char *alias;          /* a second name or NULL */
} X86FeatureName;

extern const X86FeatureName x86_feature_names[];
extern const unsigned x86_feature_name_count;

/* By name or alias, '_' counting as '-'; -1: unknown. */
int x86_feature_find(const char *name);
/* NULL for a bit without a name. */
const char *x86_feature_name(unsigned feature);
/* "CPUID.01H:EDX" or "MSR(10AH)". */
const char *x86_feature_word_name(unsigned word);
/* Names of QEMU's that no CPU of ours can have (VMX, SVM, SGX, KVM and AMX details): they
 * may be switched off, and asking for them says so. */
bool x86_feature_is_foreign(const char *name);
/* "Recognized CPUID flags" of -cpu help, sorted; names live for ever; the array is the caller's. */
GPtrArray *x86_feature_list(void);

/* ---- models --------------------------------------------------------------------------------- */

typedef enum X86CacheKind { X86_CACHE_LEGACY, X86_CACHE_EPYC, X86_CACHE_ROME, X86_CACHE_MILAN }
    X86CacheKind;

typedef struct X86Model {
    const char *name;           /* "Skylake-Server-v2" */
    const char *alias;          /* "Skylake-Server-IBRS"; NULL */
    const char *base;           /* name without version, "Skylake-Server": in v1 rows, whose
                                   plain name means that version; NULL elsewhere */
    const char *note;           /* of -cpu help, in brackets; NULL */
    const char *model_id;
    const char *vendor;         /* 12 characters */
    uint32_t level, xlevel;
    uint16_t family;
    uint8_t model, stepping;
    X86CacheKind cache;
    const char *parent;         /* row whose features `features` adds to and removes from, or NULL */
    const char *features;       /* "fpu vme -de ..." */
} X86Model;

extern const X86Model x86_models[];
extern const unsigned x86_model_count;

/* By name, version-less name or alias; NULL.  "max", "host" and "base" are not rows. */
const X86Model *x86_model_find(const char *name);
/* The row's features, parents included. */
void x86_model_features(const X86Model *model, uint32_t words[FEAT_WORDS]);

/* ---- the values ---------------------------------------------------------------------------------- */

typedef struct X86Topology {
    unsigned threads, cores, dies;      /* a core, a die, a socket; each at least 1 */
    unsigned apic_id;
} X86Topology;

/* Everything CPUID is computed from. */
typedef struct X86CpuidTable {
    X86Topology topology;
    X86CacheKind cache;
    bool l3_cache;              /* leaf 4 and 80000006H show one */
    bool amd;                   /* AMD or Hygon vendor: which leaves exist */
    bool leaf_b;                /* cpuid-0xb=on */
    bool hypervisor_leaf;       /* tcg-cpuid=on: 40000000H */
    char hypervisor[13];
    uint32_t level_func7;
} X86CpuidTable;

void x86_cpuid(X86Cpu *cpu, uint32_t leaf, uint32_t subleaf, uint32_t out[4]);
/* The state components this CPU's features allow in XCR0. */
uint64_t x86_xcr0_supported(const X86Cpu *cpu);

/* What the software engines implement, given what the host's SIMD can do. */
void x86_tcg_features(uint32_t words[FEAT_WORDS]);

/* Fill identification fields from text; false: not 12 characters. */
bool x86_cpuid_set_vendor(X86Cpu *cpu, const char *vendor);
char *x86_cpuid_vendor(const X86Cpu *cpu);
void x86_cpuid_set_model_id(X86Cpu *cpu, const char *model_id);
char *x86_cpuid_model_id(const X86Cpu *cpu);
void x86_cpuid_set_family(X86Cpu *cpu, unsigned family, unsigned model, unsigned stepping);

/* Shorthand for tests and benches: the software engines' "max" on one core. */
void x86_cpuid_setup_max(X86Cpu *cpu);

#endif
