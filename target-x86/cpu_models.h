/* SPDX-License-Identifier: MIT */
/*
 * CPU models and their CPUID facts: rows for -cpu NAME, names of features, and the CPUID
 * instruction's answers.  [SDM2A CPUID]
 * Thread rule: x86_cpuid() on the vCPU's thread; the rest before it runs.
 */
#ifndef TARGET_X86_CPU_MODELS_H
#define TARGET_X86_CPU_MODELS_H

#include "target-x86/cpu.h"

/* Names in a fixed order, aliases and versioned names included; NULL at the end. */
const char *x86_cpu_model_name(unsigned index);
/* One line for -cpu help. */
const char *x86_cpu_model_description(unsigned index);
/* An error with a close match when there is no such model. */
bool x86_cpu_model_exists(const char *model, GError **error);
/* Fills features[], cpuid_*, phys_bits; x86_cpu_model_finish() has the last word. */
bool x86_cpu_model_apply(X86Cpu *cpu, const char *model, GError **error);

/* Vendor, family, model, stepping and name of the host's CPU: `host` and `max` where guest code runs
 * on it. */
void x86_cpu_model_take_host(X86Cpu *cpu);

/* "avx2", "lahf-lm" or "lahf_lm"; an error with a close match for an unknown one. */
bool x86_cpu_set_feature(X86Cpu *cpu, const char *name, bool on, GError **error);
/* "family", "model", "stepping", "vendor", "model-id", "level", "xlevel", "phys-bits"...: those
 * -cpu parameters that are not on/off. */
bool x86_cpu_model_is_param(const char *name);
bool x86_cpu_set_param(X86Cpu *cpu, const char *name, const char *text, GError **error);
typedef enum X86Param {
    X86_PARAM_FAMILY, X86_PARAM_MODEL, X86_PARAM_STEPPING, X86_PARAM_LEVEL, X86_PARAM_XLEVEL,
    X86_PARAM_PHYS_BITS, X86_PARAM_UCODE, X86_PARAM_VENDOR, X86_PARAM_MODEL_ID,
} X86Param;
const char *x86_cpu_param_name(unsigned index);      /* NULL at the end */
X86Param x86_cpu_param_number(unsigned index);
/* "check", "migratable"...: what is on or off and no feature. */
const char *x86_cpu_switch_name(unsigned index);     /* NULL at the end */
bool *x86_cpu_switch(X86Cpu *cpu, const char *name); /* NULL: no such switch */

/* Every feature name, for the properties of CPU objects; NULL at the end. */
const char *x86_cpu_feature_name(unsigned index);
bool x86_cpu_has_feature_name(const X86Cpu *cpu, const char *name);

/* Where this CPU sits, for leaves 4, 0xb, 0x1f and 0x8000001e. */
typedef struct X86Topology {
    unsigned threads_per_core, cores_per_die, dies_per_socket;
} X86Topology;
void x86_cpuid_set_topology(X86Cpu *cpu, const X86Topology *topology);

/* The state components this CPU's features allow in XCR0. */
uint64_t x86_xcr0_supported(const X86Cpu *cpu);
/* Of those, a combination that XSETBV takes? */
bool x86_xcr0_is_valid(const X86Cpu *cpu, uint64_t value);

/*
 * Once everything is set, before the CPU runs: takes away what the accelerator (ACCEL, "TCG") cannot
 * do: SUPPORTED, or what the software engines can when NULL.  Warns of each missing feature as
 * `check` says; false, naming them, with `enforce`.
 */
bool x86_cpu_model_finish(X86Cpu *cpu, const char *accel, const uint32_t *supported,
                          GError **error);

/*
 * The features asked for so far, where CAN is what the accelerator offers; before that.  KEEPS_TSC: the pace of the TSC
 * is part of the state that is saved, so that no guest can come to a host where it is another.
 */
void x86_cpu_model_wanted(X86Cpu *cpu, const uint32_t can[FEAT_WORDS], bool keeps_tsc,
                          uint32_t words[FEAT_WORDS]);
/* "qemu64-v1" for "qemu64"; NULL where the name is the model's own. */
const char *x86_cpu_model_alias_of(const char *model);

/* What the software engines implement, given what the host's SIMD can do. */
void x86_tcg_features(uint32_t words[FEAT_WORDS]);

/* EAX, EBX, ECX, EDX of a leaf. */
void x86_cpuid(X86Cpu *cpu, uint32_t leaf, uint32_t subleaf, uint32_t out[4]);

#endif
