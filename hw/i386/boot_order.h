/* SPDX-License-Identifier: MIT */
/* bootindex= of all devices as the list of firmware paths that fw_cfg's "bootorder" holds. */
#ifndef HW_I386_BOOT_ORDER_H
#define HW_I386_BOOT_ORDER_H

#include "vm/vm.h"

/* Lines in order of bootindex, with STRICT a final "HALT"; NULL when no device has an index.  An
 * error when two have the same.  The caller frees; *LEN counts the final NUL. */
char *boot_order_list(Vm *vm, bool strict, size_t *len, GError **error);
/* Entries that are not devices (option ROMs of kernel loaders): kept until the list is made. */
void boot_order_add_path(Vm *vm, int bootindex, const char *path);

#endif
