/* SPDX-License-Identifier: MIT */
/*
 * Sources of random bytes for guests: "-object rng-builtin,id=X" (the host kernel's generator)
 * and "-object rng-random,id=X[,filename=/dev/urandom]".
 * Thread rule: main loop, machine lock held.
 */
#ifndef VM_RNG_H
#define VM_RNG_H

#include "vm/object.h"

/* Up to LEN bytes at once, without waiting; how many there were (0: none now).  OBJ is a
 * "rng-backend". */
size_t rng_read(Object *obj, void *buf, size_t len);

#endif
