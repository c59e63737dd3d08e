/* SPDX-License-Identifier: MIT */
/*
 * Displays: what -display selects.  Each kind is a row, built in or the entry of a module.
 * Thread rule: main loop, machine lock held.
 */
#ifndef UI_DISPLAY_H
#define UI_DISPLAY_H

#include "vm/vm.h"

typedef struct DisplayOptions {
    bool full_screen;
    bool window_close;        /* closing the window ends the program (default) */
    bool show_cursor;
    const char *grab_mod;     /* NULL: Ctrl-Alt; "lshift-lctrl-lalt", "rctrl" */
    const char *vm_name;      /* of -name; NULL: none */
} DisplayOptions;

typedef struct DisplayKind {
    const char *name;
    /* Shows all consoles of the VM there are; called once the machine is built. */
    bool (*open)(Vm *vm, const DisplayOptions *options, GError **error);
    void (*close)(void);      /* at exit */
} DisplayKind;

/* "none", "sdl"; loads the module. */
const DisplayKind *display_find(const char *name, GError **error);
/* True when a window could be opened: an X or Wayland display is named in the environment. */
bool display_is_available(void);

#endif
