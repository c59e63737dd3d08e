/* SPDX-License-Identifier: MIT */
/*
 * What connects the machine to the host: character devices, drives, display, qtest.
 * Thread rule: main loop, before and after the guest runs.
 */
#ifndef SYSTEM_BACKENDS_H
#define SYSTEM_BACKENDS_H

#include "system/system.h"

/* The back ends of -serial, -parallel, -monitor, and of the defaults: serial0, parallel0,
 * compat_monitor0. */
bool create_default_chardevs(System *sys, GError **error);
/* The monitors of -monitor and the default one. */
bool connect_monitors(System *sys, GError **error);
/* Devices for the drives of -drive if=ide and friends, and the default CD-ROM and floppy. */
bool create_default_drives(System *sys, GError **error);
/* Events and stops that drives cause. */
void connect_block_hooks(System *sys);
bool connect_qtest(System *sys, GError **error);
bool connect_display(System *sys, GError **error);
void disconnect_backends(System *sys);

#endif
