/* SPDX-License-Identifier: MIT */
/*
 * Making new image files: the part that is the same for every format.
 * Locking: a coroutine on the main loop.
 */
#include "block/driver.h"

bool image_write_new(const char *filename, bool (*write)(BlockNode *file, const void *args,
                                                         GError **error),
                     const void *args, GError **error)
{
    g_autoptr(BlockNode) file = image_create_file(filename, 0, error);
    BlockChild *edge;
    bool ok;

    if (!file) {
        return false;
    }
    edge = node_attach_root(file, "create", BLK_PERM_WRITE | BLK_PERM_RESIZE, BLK_PERM_ALL, NULL,
                            NULL, error);
    ok = edge && write(file, args, error);
    node_detach_root(edge);
    return ok;
}

bool create_take_choice(NodeOpts *opts, const char *key, const char *const *names,
                        unsigned *choice, GError **error)
{
    g_autofree char *text = node_opts_take(opts, key);
    g_autofree char *list = g_strjoinv(", ", (char **)(uintptr_t)names);

    for (unsigned i = 0; text && names[i]; i++) {
        if (g_str_equal(text, names[i])) {
            *choice = i;
            return true;
        }
    }
    return !text || error_set(error, "Invalid value '%s' for '%s': use one of %s", text, key,
                              list);
}
