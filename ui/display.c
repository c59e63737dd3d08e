/* SPDX-License-Identifier: MIT */
/* Kinds of -display, built in or from a module. */
#include "ui/display.h"

#include "base/error.h"
#include "base/module.h"

static bool none_open(Vm *vm, const DisplayOptions *options, GError **error)
{
    return true;
}

static void none_close(void)
{
}

static const DisplayKind none_kind = { "none", none_open, none_close };

static const struct {
    const char *name, *module;
} modules[] = { { "sdl", "ui-sdl" } };

const DisplayKind *display_find(const char *name, GError **error)
{
    static const char *const names[] = { "none", "sdl", NULL };
    const char *close_match;

    if (g_str_equal(name, "none")) {
        return &none_kind;
    }
    for (unsigned i = 0; i < ARRAY_LEN(modules); i++) {
        if (g_str_equal(name, modules[i].name)) {
            return module_load(modules[i].module, error);
        }
    }
    close_match = suggest_closest(name, names);
    error_set(error, "Unknown display '%s': use 'none' or 'sdl'%s%s%s", name,
              close_match ? "; did you mean '" : "", close_match ?: "", close_match ? "'?" : "");
    return NULL;
}

bool display_is_available(void)
{
    return g_getenv("DISPLAY") || g_getenv("WAYLAND_DISPLAY");
}
