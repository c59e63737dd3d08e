/* SPDX-License-Identifier: MIT */
/*
 * Last words: a SIGSEGV, SIGBUS, SIGFPE or SIGILL that is nobody's but a bug's says where it was in one line on stderr
 * before the process dies of it, by the same signal and with its core.
 *
 *     rhea-system-x86_64: SIGSEGV in thread 'CPU 0/TCG' at rhea-system-x86_64+0x4711, address 0x10, guest RIP 0xfff0
 *
 * The place is a module and an offset as addr2line(1) takes it; modules that are loaded after crash_init() go by their
 * address alone.  Who handles one of these signals himself (the translator, memory failures) installs his handler
 * afterwards and passes on what is not his.  Handlers that are there already, as a sanitizer's, stay.
 *
 * Thread rule: crash_init() once, before there are threads; it counts for all of them.
 */
#ifndef BASE_CRASH_H
#define BASE_CRASH_H

#include <stdbool.h>
#include <stdint.h>

/* NAME begins the line; it stays.  False: somebody else handles one of the signals. */
bool crash_init(const char *name);
/* The calling thread runs a guest: its instruction pointer will be *RIP.  NULL: not any more. */
void crash_set_guest_rip(const uint64_t *rip);

#endif
