/* SPDX-License-Identifier: MIT */
/*
 * vmdk: creating images: the descriptor's text, and the extents it names.
 * Locking: a coroutine on the main loop.
 */
#include "block/vmdk.h"

#define SPLIT_BYTES (2 * GIB)

typedef enum Subformat { MONO_SPARSE, MONO_FLAT, SPLIT_SPARSE, SPLIT_FLAT, STREAM } Subformat;

/* clang-format off */
static const char *const subformats[] = {
    "monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat",
    "streamOptimized", NULL,
};
static const char *const adapters[] = { "ide", "lsilogic", "buslogic", "legacyESX", NULL };
/* clang-format on */

typedef struct VmdkCreate {
    uint64_t size;
    unsigned subformat, adapter;
    bool compat6, zeroed_grain;
    char *backing, *hwversion, *toolsversion;
    uint32_t parent_cid;
} VmdkCreate;

static void vmdk_create_clear(VmdkCreate *c)
{
    g_free(c->backing);
    g_free(c->hwversion);
    g_free(c->toolsversion);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VmdkCreate, vmdk_create_clear)

static bool is_flat(const VmdkCreate *c)
{
    return c->subformat == MONO_FLAT || c->subformat == SPLIT_FLAT;
}

static bool take_opts(NodeOpts *opts, VmdkCreate *c, GError **error)
{
    g_autofree char *backing_format = node_opts_take(opts, "backing_fmt");

    if (!create_take_size(opts, INT64_MAX / 2, &c->size, error) ||
        !create_take_choice(opts, "subformat", subformats, &c->subformat, error) ||
        !create_take_choice(opts, "adapter_type", adapters, &c->adapter, error) ||
        !node_opts_take_bool(opts, "compat6", &c->compat6, error) ||
        !node_opts_take_bool(opts, "zeroed_grain", &c->zeroed_grain, error)) {
        return false;
    }
    c->backing = node_opts_take(opts, "backing_file");
    c->hwversion = node_opts_take(opts, "hwversion");
    c->toolsversion = node_opts_take(opts, "toolsversion");
    if (c->compat6 && c->hwversion && !g_str_equal(c->hwversion, "undefined")) {
        return error_set(error, "compat6 cannot be enabled with hwversion set");
    }
    if (c->backing && is_flat(c)) {
        return error_set(error, "Flat image can't have backing file");
    }
    if (is_flat(c) && c->zeroed_grain) {
        return error_set(error, "Flat image can't enable zeroed grain");
    }
    if (backing_format && !g_str_equal(backing_format, "vmdk")) {
        return error_set(error, "backing_file must be a vmdk image");
    }
    /* These end up between quotes in the descriptor. */
    if ((c->backing && strpbrk(c->backing, "\"\r\n")) ||
        (c->hwversion && strpbrk(c->hwversion, "\"\r\n")) ||
        (c->toolsversion && strpbrk(c->toolsversion, "\"\r\n"))) {
        return error_set(error, "Quotes and line ends cannot be stored in a VMDK descriptor");
    }
    return create_opts_finish("vmdk", opts, error);
}

static bool read_parent_cid(VmdkCreate *c, const char *filename, GError **error)
{
    g_autofree char *full = path_combine(filename, c->backing);
    g_autoptr(NodeOpts) opts = node_opts_new();
    g_autoptr(BlockNode) parent = node_open(full, opts, NODE_OPEN_INLINE_IO |
                                            NODE_OPEN_NO_BACKING, error);

    if (!parent) {
        return false;
    }
    if (parent->type != &node_type_vmdk) {
        return error_set(error, "Invalid backing file '%s': it must be a vmdk image", c->backing);
    }
    c->parent_cid = ((Vmdk *)parent->state)->cid;
    return true;
}

static char *descriptor_text(const VmdkCreate *c, const char *extents)
{
    unsigned heads = c->adapter == 0 ? 16 : 255;
    const char *hw = c->compat6 ? "6" : c->hwversion && !g_str_equal(c->hwversion, "undefined")
                     ? c->hwversion : "4";
    g_autofree char *parent = c->backing
                              ? g_strdup_printf("parentFileNameHint=\"%s\"\n", c->backing)
                              : g_strdup("");
    uint32_t cid = g_random_int() & INT32_MAX;

    return g_strdup_printf("# Disk DescriptorFile\n"
                           "version=1\n"
                           "CID=%08x\n"
                           "parentCID=%08x\n"
                           "createType=\"%s\"\n"
                           "%s\n"
                           "# Extent description\n"
                           "%s\n"
                           "# The Disk Data Base\n"
                           "#DDB\n\n"
                           "ddb.virtualHWVersion = \"%s\"\n"
                           "ddb.geometry.cylinders = \"%" PRIu64 "\"\n"
                           "ddb.geometry.heads = \"%u\"\n"
                           "ddb.geometry.sectors = \"63\"\n"
                           "ddb.adapterType = \"%s\"\n"
                           "ddb.toolsVersion = \"%s\"\n",
                           cid, c->parent_cid, subformats[c->subformat], parent, extents, hw,
                           c->size / 512 / (63 * heads), heads, adapters[c->adapter],
                           c->toolsversion ? c->toolsversion : "2147483647");
}

static bool flat_create(BlockNode *file, const void *args, GError **error)
{
    return co_node_truncate(file, *(const uint64_t *)args, true, "off", error);
}

static void unclaim(gpointer path, gpointer opaque)
{
    image_unclaim(path);
}

/* The extent files beside FILENAME, and their lines of the descriptor; those that were not there before into CLAIMED. */
static bool create_extents(const VmdkCreate *c, const char *filename, GString *lines, GPtrArray *claimed,
                           GError **error)
{
    const char *slash = strrchr(filename, '/'), *base = slash ? slash + 1 : filename;
    const char *dot = strrchr(base, '.');
    int stem = dot ? (int)(dot - base) : (int)strlen(base);
    uint64_t left = c->size;
    unsigned n = 0;

    do {
        uint64_t size = c->subformat == MONO_FLAT ? left : MIN(left, SPLIT_BYTES);
        g_autofree char *name = c->subformat == MONO_FLAT
            ? g_strdup_printf("%.*s-flat%s", stem, base, dot ? dot : "")
            : g_strdup_printf("%.*s-%c%03u%s", stem, base, is_flat(c) ? 'f' : 's', ++n,
                              dot ? dot : "");
        g_autofree char *path = path_combine(filename, name);
        VmdkSparseNew sparse = { .size = size, .zeroed_grain = c->zeroed_grain };

        if (image_claim(path)) {
            g_ptr_array_add(claimed, g_strdup(path));
        }
        if (!image_write_new(path, is_flat(c) ? flat_create : vmdk_sparse_create,
                             is_flat(c) ? (const void *)&size : &sparse, error)) {
            return false;
        }
        g_string_append_printf(lines, "RW %" PRIu64 " %s \"%s\"%s\n", size / 512,
                               is_flat(c) ? "FLAT" : "SPARSE", name, is_flat(c) ? " 0" : "");
        left -= size;
    } while (left);
    return true;
}

static bool text_create(BlockNode *file, const void *args, GError **error)
{
    int ret = co_node_pwrite(file, 0, args, strlen(args), 0);

    return ret == 0 || error_set_errno(error, -ret, "Could not write the VMDK descriptor");
}

bool vmdk_create(const char *filename, NodeOpts *opts, GError **error)
{
    g_auto(VmdkCreate) c = { .parent_cid = VMDK_NO_PARENT };
    g_autoptr(GString) lines = g_string_new(NULL);
    const BlockNode *node = g_str_has_prefix(filename, "node:") ? node_by_name(filename + 5) : NULL;
    const char *path = node ? node_filename(node) : filename, *slash = strrchr(path, '/');
    g_autofree char *text = NULL;
    g_autoptr(GPtrArray) claimed = g_ptr_array_new_with_free_func(g_free);

    if (!take_opts(opts, &c, error) || (c.backing && !read_parent_cid(&c, filename, error))) {
        return false;
    }
    if (strpbrk(path, "\"\r\n")) {
        return error_set(error, "Quotes and line ends cannot be stored in a VMDK descriptor");
    }
    if (c.subformat == MONO_SPARSE || c.subformat == STREAM) {
        VmdkSparseNew sparse = { c.size, c.subformat == STREAM, c.zeroed_grain, NULL };

        g_string_printf(lines, "RW %" PRIu64 " SPARSE \"%s\"\n", c.size / 512,
                        slash ? slash + 1 : path);
        text = descriptor_text(&c, lines->str);
        sparse.descriptor = text;
        return image_write_new(filename, vmdk_sparse_create, &sparse, error);
    }
    if (node) {
        return error_set(error, "The subformat '%s' is made of several files: create it with "
                         "rhea-img", subformats[c.subformat]);
    }
    if (create_extents(&c, filename, lines, claimed, error)) {
        text = descriptor_text(&c, lines->str);
        if (image_write_new(filename, text_create, text, error)) {
            return true;
        }
    }
    g_ptr_array_foreach(claimed, unclaim, NULL);
    return false;
}

const char vmdk_create_help[] =
    "  adapter_type=<str>     - Virtual adapter type, can be one of ide (default), lsilogic, "
    "buslogic or legacyESX\n"
    "  backing_file=<str>     - File name of a base image\n"
    "  backing_fmt=<str>      - Must be 'vmdk' if present\n"
    "  compat6=<bool (on/off)> - VMDK version 6 image\n"
    "  hwversion=<str>        - VMDK hardware version\n"
    "  size=<size>            - Virtual disk size\n"
    "  subformat=<str>        - VMDK flat extent format, can be one of {monolithicSparse (default) "
    "| monolithicFlat | twoGbMaxExtentSparse | twoGbMaxExtentFlat | streamOptimized} \n"
    "  toolsversion=<str>     - VMware guest tools version\n"
    "  zeroed_grain=<bool (on/off)> - Enable efficient zero writes using the zeroed-grain GTE "
    "feature\n";
