/* SPDX-License-Identifier: MIT */
/* Between the files of vm/. */
#ifndef VM_VM_INT_H
#define VM_VM_INT_H

#include "vm/vm.h"

/* The mutex itself, for condition variables. */
Mutex *machine_mutex(void);
/* In the hold phase of vm_reset(). */
void vm_run_reset_hooks(Vm *vm);

#endif
