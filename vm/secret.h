/* SPDX-License-Identifier: MIT */
/*
 * "-object secret,id=X,data=TEXT|file=PATH[,format=raw|base64]": passwords and keys, named by id
 * wherever one is wanted, so that none is on a command line or in a QMP log.
 * Not modelled: secrets that are themselves encrypted (keyid=, iv=).
 * Thread rule: main loop, machine lock held.
 */
#ifndef VM_SECRET_H
#define VM_SECRET_H

#include "vm/vm.h"

/* The bytes of secret ID; the caller frees.  NULL with an error when there is none. */
GBytes *secret_lookup(Vm *vm, const char *id, GError **error);
/* The same as text: fails when it is not UTF-8 or holds a NUL. */
char *secret_lookup_text(Vm *vm, const char *id, GError **error);

#endif
