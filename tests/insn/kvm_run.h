/* SPDX-License-Identifier: MIT */
/*
 * One instruction under KVM: the memory of tests/insn/bench.h, mapped where it is, and a CPU in the mode of an X86Cpu at
 * CPL 0.  The code ends with HLT.
 *
 *     if (!kvm_run_open(&kvm, &why)) { skip(why); }
 *     result = kvm_run(&kvm, cpu, &state, rip);     // the state afterwards is in `state`
 *     kvm_run_close(&kvm);
 *
 * Single-threaded.
 */
#ifndef TESTS_INSN_KVM_RUN_H
#define TESTS_INSN_KVM_RUN_H

#include "tests/insn/maker.h"

typedef struct KvmRun {
    int system, vm, cpu;
    struct kvm_run *shared;
    size_t shared_size;
    struct kvm_cpuid2 *cpuid;
} KvmRun;

enum { KVM_RUN_ENDED = -1, KVM_RUN_CANNOT = -2, KVM_RUN_FAULT = 0 /* an exception, no matter which */ };

bool kvm_run_open(KvmRun *kvm, const char **why);
void kvm_run_close(KvmRun *kvm);
int kvm_run(KvmRun *kvm, const X86Cpu *mode, InsnState *state, uint64_t rip);
/* Bits of CPUID that its guests see. */
uint32_t kvm_run_cpuid(const KvmRun *kvm, uint32_t leaf, uint32_t sub, unsigned reg);

#endif
