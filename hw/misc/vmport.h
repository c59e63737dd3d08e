/* SPDX-License-Identifier: MIT */
/*
 * VMware's backdoor ("vmport"): an access of port 5658h with the magic number in EAX is a call,
 * with the command in ECX and arguments and results in registers.
 *
 * The device knows no CPU: the board says how to reach the registers of the one that makes the
 * access.  Other devices add commands (the absolute mouse does).
 * Thread rule: machine lock, on the vCPU's thread.
 */
#ifndef HW_MISC_VMPORT_H
#define HW_MISC_VMPORT_H

#include "hw/isa/isa.h"

typedef struct VmportRegs {
    uint32_t eax, ebx, ecx, edx, esi, edi;
} VmportRegs;

/* The board's side. */
typedef struct VmportCpu {
    /* Registers of the CPU that is making the access; false: there is none (qtest). */
    bool (*get)(void *opaque, VmportRegs *regs);
    /* Writes those of AFTER that differ from BEFORE; they are zero-extended to 64 bits. */
    void (*put)(void *opaque, const VmportRegs *before, const VmportRegs *after);
    /* CPUID offers the x2APIC. */
    bool (*has_x2apic)(void *opaque);
    void *opaque;
    uint64_t ram_bytes;
} VmportCpu;

enum { VMPORT_MAGIC = 0x564d5868, VMPORT_COMMANDS = 0x80 };

typedef void VmportFn(void *opaque, VmportRegs *regs);

/* CPU is copied. */
Device *vmport_new(IsaBus *bus, const VmportCpu *cpu, GError **error);
/* The device behind DEV's machine's port; NULL when there is none. */
Device *vmport_find(Device *dev);
/* FN is called for COMMAND from now on; false when another device has it. */
bool vmport_add_command(Device *vmport, unsigned command, VmportFn *fn, void *opaque,
                        GError **error);
void vmport_remove_command(Device *vmport, unsigned command);

#endif
