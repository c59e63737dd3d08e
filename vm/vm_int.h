/* SPDX-License-Identifier: MIT */
/* What the files of vm/ share about the VM and its devices. */
#ifndef VM_VM_INT_H
#define VM_VM_INT_H

#include "vm/vm.h"

/* The mutex itself, for condition variables. */
Mutex *machine_mutex(void);
/* In the hold phase of vm_reset(). */
void vm_run_reset_hooks(Vm *vm);

/* "/machine/<name>", made when first asked for. */
Object *vm_container(Vm *vm, const char *name);

enum { DEVICE_CHAIN_MAX = 8 };
/* The rows of DEV's type chain whose hook at offset HOOK of DeviceType counts, own first. */
unsigned device_hook_chain(const Device *dev, size_t hook, const DeviceType *chain[]);

/* Sets the fields of the type's register tables to their reset values. */
void device_regs_reset(Device *dev);

#endif
