/* SPDX-License-Identifier: MIT */
/*
 * Where firmware images are: -L folders first, then those of Debian's packages and of an
 * installed Rhea.  Main loop only.
 */
#ifndef ROMS_FIRMWARE_H
#define ROMS_FIRMWARE_H

#include <glib.h>

/* -L: searched before the built-in folders, in the order given. */
void firmware_add_dir(const char *dir);
/* Calls fn with each folder in search order (`-L help`). */
void firmware_foreach_dir(void (*fn)(const char *dir, void *opaque), void *opaque);

/*
 * Path of NAME ("bios-256k.bin", "efi-e1000.rom"), or NULL with an error that names the Debian
 * package which has it.  A name with a '/' or one that exists in the working directory is taken
 * as it is, as QEMU does.  The caller frees.
 */
char *firmware_find(const char *name, GError **error);

#endif
