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

bool create_in_place(const char *filename, NodeOpts *opts, GError **error)
{
    g_autoptr(NodeOpts) open = node_opts_new();
    g_autoptr(BlockNode) node = NULL;
    BlockChild *edge;
    uint64_t size;
    int ret;

    if (!create_take_size(opts, INT64_MAX, &size, error) ||
        !create_opts_finish("raw", opts, error)) {
        return false;
    }
    node = node_open(filename, open, NODE_OPEN_PROTOCOL | NODE_OPEN_RDWR | NODE_OPEN_INLINE_IO,
                     error);
    if (!node) {
        return false;
    }
    if (node->length < size) {
        return error_set(error, "'%s' cannot grow from %" PRIu64 " to %" PRIu64 " bytes", filename,
                         node->length, size);
    }
    edge = node_attach_root(node, "create", BLK_PERM_WRITE, BLK_PERM_ALL, NULL, NULL, error);
    if (!edge) {
        return false;
    }
    ret = co_node_write_zeroes(node, 0, MIN(node->length, 512), 0);
    node_detach_root(edge);
    return ret == 0 || error_set_errno(error, -ret, "Could not clear the first sector of '%s'",
                                       filename);
}
