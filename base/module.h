/* SPDX-License-Identifier: MIT */
/*
 * Modules: parts of the program that pull in big libraries (SDL, SPICE, curl), loaded when first used.
 * A module is a shared object that defines one symbol, `const void *rhea_module_entry`, whose
 * meaning its user and it agree on.  "ui-sdl" is looked for beside an uninstalled program
 * (build/ui/ui-sdl.so), then in the installed module folder.
 * Thread rule: main loop.
 */
#ifndef BASE_MODULE_H
#define BASE_MODULE_H

#include <glib.h>

/* NAME as in "ui-sdl"; the entry, or NULL with an error that says what to install. */
const void *module_load(const char *name, GError **error);

#endif
