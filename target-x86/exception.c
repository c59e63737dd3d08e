/* SPDX-License-Identifier: MIT */
/*
 * Raising exceptions: fills cpu->event and unwinds.  Delivery is interrupt.c's.
 * Spec: SDM3A 6.  Locking: the vCPU's own thread.
 */
#include "target-x86/exception.h"

static bool vector_has_code(unsigned vector)
{
    return vector == VEC_DF || (vector >= VEC_TS && vector <= VEC_PF) || vector == VEC_AC;
}

static G_NORETURN void unwind(X86Cpu *cpu, const X86Event *event)
{
    cpu->event = *event;
    siglongjmp(*cpu->unwind, UNWIND_EVENT);
}

void cpu_raise(X86Cpu *cpu, unsigned vector, uint32_t code)
{
    X86Event event = { .vector = vector, .pending = true };

    event.has_code = vector_has_code(vector);
    event.code = event.has_code ? code : 0;
    unwind(cpu, &event);
}

void cpu_raise_page_fault(X86Cpu *cpu, uint64_t va, uint32_t code)
{
    X86Event event = { .vector = VEC_PF, .pending = true, .has_code = true, .code = code,
                       .payload = va };

    unwind(cpu, &event);
}

void cpu_raise_debug(X86Cpu *cpu, uint64_t dr6)
{
    X86Event event = { .vector = VEC_DB, .pending = true, .payload = dr6 };

    unwind(cpu, &event);
}

void cpu_raise_soft(X86Cpu *cpu, unsigned vector)
{
    X86Event event = { .vector = vector, .pending = true, .soft = true };

    unwind(cpu, &event);
}
