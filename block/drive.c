/* SPDX-License-Identifier: MIT */
/*
 * Drives: the options of -drive turned into node options, a backend and a place.
 * Locking: main loop.
 */
#include "block/drive.h"

#include <glib/gstdio.h>
#include <unistd.h>

#include "base/error.h"
#include "base/parse.h"
#include "block/driver.h"
#include "block/throttle.h"

static GPtrArray *all_drives;

static const char *const type_names[] = {
    [DRIVE_NONE] = "none", [DRIVE_IDE] = "ide", [DRIVE_SCSI] = "scsi", [DRIVE_FLOPPY] = "floppy",
    [DRIVE_PFLASH] = "pflash", [DRIVE_MTD] = "mtd", [DRIVE_SD] = "sd",
    [DRIVE_VIRTIO] = "virtio", [DRIVE_XEN] = "xen",
};

/* Units per bus; 0: no limit. */
static const int units_per_bus[] = { [DRIVE_IDE] = 2, [DRIVE_SCSI] = 7, [DRIVE_XEN] = 0 };

Drive *drive_next(Drive *drive)
{
    unsigned i = 0;

    if (!all_drives) {
        return NULL;
    }
    if (drive && g_ptr_array_find(all_drives, drive, &i)) {
        i++;
    }
    return i < all_drives->len ? all_drives->pdata[i] : NULL;
}

Drive *drive_get(DriveType type, int bus, int unit)
{
    for (Drive *d = drive_next(NULL); d; d = drive_next(d)) {
        if (d->type == type && d->bus == bus && d->unit == unit) {
            return d;
        }
    }
    return NULL;
}

bool drive_claim(Drive *drive)
{
    bool first = !drive->claimed;

    drive->claimed = true;
    return first;
}

bool drive_check_claimed(GError **error)
{
    for (Drive *d = drive_next(NULL); d; d = drive_next(d)) {
        if (d->type != DRIVE_NONE && !d->claimed) {
            return error_set(error, "machine type does not support if=%s,bus=%d,unit=%d (drive "
                             "'%s')", type_names[d->type], d->bus, d->unit, d->id);
        }
    }
    return true;
}

static void drive_free(Drive *d)
{
    blk_unref(d->blk);
    g_free(d->id);
    g_free(d);
}

void drive_free_all(void)
{
    while (all_drives && all_drives->len) {
        drive_free(g_ptr_array_steal_index(all_drives, all_drives->len - 1));
    }
}

bool cache_mode_parse(const char *mode, bool *direct, bool *no_flush, bool *write_through,
                      GError **error)
{
    /* clang-format off */
    static const struct { const char *name; bool direct, no_flush, through; } modes[] = {
        { "none",         true,  false, false },
        { "off",          true,  false, false },
        { "directsync",   true,  false, true  },
        { "writeback",    false, false, false },
        { "unsafe",       false, true,  false },
        { "writethrough", false, false, true  },
    };
    /* clang-format on */

    for (unsigned i = 0; i < ARRAY_LEN(modes); i++) {
        if (g_str_equal(modes[i].name, mode)) {
            *direct = modes[i].direct;
            *no_flush = modes[i].no_flush;
            *write_through = modes[i].through;
            return true;
        }
    }
    return error_set(error, "Invalid cache option '%s': use none, writeback, unsafe, directsync "
                     "or writethrough", mode);
}

/* ---- place ---- */

static bool take_int(NodeOpts *opts, const char *key, int *value, bool *given, GError **error)
{
    g_autofree char *text = node_opts_take(opts, key);
    uint64_t number = 0;

    *given = text != NULL;
    if (text && !parse_uint(key, text, 0, 1 << 20, &number, error)) {
        return false;
    }
    if (text) {
        *value = (int)number;
    }
    return true;
}

static bool drive_place(Drive *d, NodeOpts *opts, const DriveDefaults *defaults, GError **error)
{
    g_autofree char *type = node_opts_take(opts, "if");
    int index = defaults->index, max;
    bool has_index, has_bus, has_unit;

    d->type = defaults->type;
    for (unsigned i = 0; type && i < ARRAY_LEN(type_names); i++) {
        if (g_str_equal(type, type_names[i])) {
            d->type = (DriveType)i;
            g_clear_pointer(&type, g_free);
        }
    }
    if (type) {
        Suggest s;

        suggest_init(&s, type);
        for (unsigned i = 0; i < ARRAY_LEN(type_names); i++) {
            suggest_offer(&s, type_names[i]);
        }
        return error_set(error, "unsupported bus type '%s'%s", type,
                         suggest_text_or(&s, "there are ide, floppy, virtio and none"));
    }
    if (!take_int(opts, "index", &index, &has_index, error) ||
        !take_int(opts, "bus", &d->bus, &has_bus, error) ||
        !take_int(opts, "unit", &d->unit, &has_unit, error)) {
        return false;
    }
    max = (unsigned)d->type < ARRAY_LEN(units_per_bus) ? units_per_bus[d->type] : 0;
    if (index >= 0 && (has_bus || has_unit)) {
        return error_set(error, "index cannot be used with bus and unit");
    }
    if (index >= 0) {
        d->bus = max ? index / max : 0;
        d->unit = max ? index % max : index;
    } else if (!has_unit) {
        while (drive_get(d->type, d->bus, d->unit)) {
            d->unit++;
            if (max && d->unit >= max) {
                d->unit -= max;
                d->bus++;
            }
        }
    }
    if (max && d->unit >= max) {
        return error_set(error, "unit %d too big (max is %d)", d->unit, max - 1);
    }
    if (d->type != DRIVE_NONE && drive_get(d->type, d->bus, d->unit)) {
        return error_set(error, "drive with bus=%d, unit=%d (index=%d) exists", d->bus, d->unit,
                         max ? d->bus * max + d->unit : d->unit);
    }
    return true;
}

static void drive_default_id(Drive *d)
{
    const char *media = d->cdrom ? "-cd" : "-hd";
    int max = (unsigned)d->type < ARRAY_LEN(units_per_bus) ? units_per_bus[d->type] : 0;
    static unsigned anonymous;

    if (d->type == DRIVE_IDE || d->type == DRIVE_SCSI) {
        d->id = max ? g_strdup_printf("%s%d%s%d", type_names[d->type], d->bus, media, d->unit)
                    : g_strdup_printf("%s%s%d", type_names[d->type], media, d->unit);
    } else if (d->type == DRIVE_NONE) {
        d->id = g_strdup_printf("none%u", anonymous++);
    } else {
        d->id = g_strdup_printf("%s%d", type_names[d->type], d->unit);
    }
}

/* ---- the medium ---- */

BlockNode *drive_overlay(BlockNode *base, GError **error)
{
    const char *tmp = g_getenv("TMPDIR");
    g_autofree char *path = g_build_filename(tmp && *tmp ? tmp : "/var/tmp", "vl.XXXXXX", NULL);
    g_autoptr(NodeOpts) create = node_opts_new();
    g_autoptr(NodeOpts) opts = node_opts_new();
    g_autofree char *size = g_strdup_printf("%" PRIu64, node_length(base));
    BlockNode *overlay;
    int fd = g_mkstemp(path);

    if (fd < 0) {
        error_set_errno(error, errno, "Could not create the temporary overlay '%s'; set TMPDIR "
                        "to a folder with space", path);
        return NULL;
    }
    close(fd);
    node_opts_set(create, "size", size);
    node_opts_set(opts, "driver", "qcow2");
    node_opts_set(opts, "backing", base->name);
    node_opts_set(opts, "cache.no-flush", "on");
    node_opts_set(opts, "discard", "unmap");
    overlay = image_create(path, "qcow2", create, error)
                  ? node_open(path, opts, NODE_OPEN_RDWR, error) : NULL;
    unlink(path);
    return overlay;
}

static bool is_shorthand_empty(const NodeOpts *opts)
{
    return !node_opts_get(opts, "file") && !node_opts_get(opts, "file.driver") &&
           !node_opts_get(opts, "file.filename") && !node_opts_get(opts, "driver");
}

static bool take_cache_mode(NodeOpts *opts, bool *write_through, GError **error)
{
    g_autofree char *mode = node_opts_take(opts, "cache");
    bool direct, no_flush, writeback = true, given;

    if (mode) {
        if (!cache_mode_parse(mode, &direct, &no_flush, write_through, error)) {
            return false;
        }
        node_opts_default(opts, "cache.direct", direct ? "on" : "off");
        node_opts_default(opts, "cache.no-flush", no_flush ? "on" : "off");
    }
    given = node_opts_get(opts, "cache.writeback") != NULL;
    if (!node_opts_take_bool(opts, "cache.writeback", &writeback, error)) {
        return false;
    }
    if (given) {
        *write_through = !writeback;
    }
    return true;
}

static bool take_policies(BlockBackend *blk, NodeOpts *opts, GError **error)
{
    g_autofree char *werror = node_opts_take(opts, "werror");
    g_autofree char *rerror = node_opts_take(opts, "rerror");
    BlkErrorPolicy on_read = BLK_ON_ERROR_AUTO, on_write = BLK_ON_ERROR_AUTO;

    if ((werror && !blk_error_policy_parse(werror, false, &on_write, error)) ||
        (rerror && !blk_error_policy_parse(rerror, true, &on_read, error))) {
        return false;
    }
    blk_set_on_error(blk, on_read, on_write);
    return true;
}

static bool take_limits(BlockBackend *blk, NodeOpts *opts, GError **error)
{
    g_autofree char *group = NULL;
    Throttle limits;

    if (!node_opts_rename(opts, "group", "throttling.group", error)) {
        return false;
    }
    group = node_opts_take(opts, "throttling.group");
    throttle_init(&limits);
    if (!throttle_rename_old(opts, "throttling.", error) ||
        !throttle_parse(&limits, opts, "throttling.", error)) {
        return false;
    }
    return blk_set_limits(blk, group, &limits, error);
}

static BlockNode *put_copy_on_read(BlockNode *node, GError **error)
{
    g_autoptr(NodeOpts) opts = node_opts_new();
    BlockNode *filter;

    node_opts_set(opts, "driver", "copy-on-read");
    filter = node_insert_filter(node, opts, error);
    node_unref(node);
    return filter;
}

static bool drive_open(Drive *d, NodeOpts *opts, bool snapshot, GError **error)
{
    g_autofree char *file = NULL;
    g_autoptr(BlockNode) node = NULL;
    int flags = NODE_OPEN_RDWR;
    bool copy_on_read = false, overlay_read_only = false;

    if (!node_opts_take_bool(opts, "copy-on-read", &copy_on_read, error)) {
        return false;
    }
    /* Here that is no error: without discard nothing is unmapped, only written as zeroes. */
    if (g_strcmp0(node_opts_get(opts, "detect-zeroes"), "unmap") == 0 &&
        !node_opts_get(opts, "discard")) {
        node_opts_set(opts, "detect-zeroes", "on");
    }

    if (is_shorthand_empty(opts)) {
        const char *left = node_opts_any_key(opts);

        (void)left;
        return true;                     /* an empty drive; a board checks that it is removable */
    }
    if (node_opts_get(opts, "file") && !node_by_name(node_opts_get(opts, "file"))) {
        file = node_opts_take(opts, "file");
    }
    if (snapshot && node_opts_get(opts, "read-only") &&
        !parse_bool("read-only", node_opts_get(opts, "read-only"), &overlay_read_only, error)) {
        return false;
    }
    if (d->cdrom || snapshot) {
        node_opts_default(opts, "read-only", "on");
    } else if (!node_opts_get(opts, "read-only")) {
        node_opts_default(opts, "auto-read-only", "on");
    }
    if (file && !*file) {
        return true;                     /* file= : empty on purpose */
    }
    node = node_open(file, opts, flags, error);
    if (!node) {
        g_prefix_error(error, "Could not open the drive '%s': ", d->id);
        return false;
    }
    if (snapshot) {
        BlockNode *overlay = drive_overlay(node, error);

        if (!overlay) {
            return false;
        }
        node_unref(node);
        node = overlay;
    }
    if (copy_on_read && !node->read_only) {
        node = put_copy_on_read(g_steal_pointer(&node), error);
        if (!node) {
            return false;
        }
    }
    if (overlay_read_only && !node_set_read_only(node, true, error)) {
        return false;
    }
    return blk_insert_node(d->blk, node, !node->read_only, error);
}

bool drive_add(NodeOpts *caller_opts, const DriveDefaults *defaults, GError **error)
{
    g_autoptr(NodeOpts) opts = node_opts_copy(caller_opts);
    g_autofree char *media = node_opts_take(opts, "media");
    bool snapshot = defaults->snapshot, write_through = false;
    Drive *d = g_new0(Drive, 1);

    if (!media) {
        media = g_strdup(defaults->media);
    }
    d->cdrom = media && g_str_equal(media, "cdrom");
    if (media && !d->cdrom && !g_str_equal(media, "disk")) {
        error_set(error, "'%s' invalid media: use 'disk' or 'cdrom'", media);
        drive_free(d);
        return false;
    }
    if (!drive_place(d, opts, defaults, error) ||
        !node_opts_rename(opts, "readonly", "read-only", error) ||
        !node_opts_rename(opts, "format", "driver", error) ||
        !node_opts_rename(opts, "aio", "file.aio", error) ||
        !node_opts_take_bool(opts, "snapshot", &snapshot, error) ||
        !take_cache_mode(opts, &write_through, error)) {
        drive_free(d);
        return false;
    }
    d->id = node_opts_take(opts, "id");
    if (d->id && !parse_is_id(d->id)) {
        error_set(error, "Parameter 'id' expects an identifier, not '%s': letters, digits, '-', '.' "
                  "and '_', of which the first is a letter", d->id);
        drive_free(d);
        return false;
    }
    if (!d->id) {
        drive_default_id(d);
    }
    if (blk_by_name(d->id) || node_by_name(d->id)) {
        error_set(error, "Duplicate ID '%s' for drive", d->id);
        drive_free(d);
        return false;
    }
    d->blk = blk_new(d->id);
    blk_set_write_cache(d->blk, !write_through);
    if (!take_policies(d->blk, opts, error) || !take_limits(d->blk, opts, error) ||
        !blk_set_accounting(d->blk, opts, error) ||
        !drive_open(d, opts, snapshot, error)) {
        drive_free(d);
        return false;
    }
    if (!all_drives) {
        all_drives = g_ptr_array_new();
    }
    g_ptr_array_add(all_drives, d);
    return true;
}

bool drive_add_text(const char *options, const char *file, const DriveDefaults *defaults,
                    GError **error)
{
    g_autoptr(NodeOpts) opts = node_opts_new();

    if (options && !node_opts_add_keyval(opts, options, NULL, error)) {
        return false;
    }
    if (file) {
        node_opts_set(opts, "file", file);
    }
    return drive_add(opts, defaults, error);
}

bool blockdev_add_text(const char *text, GError **error)
{
    g_autoptr(NodeOpts) opts = node_opts_new();

    if (text[0] == '{') {
        g_autoptr(Json) json = json_parse(text, error);

        if (!json || !node_opts_add_json(opts, json, error)) {
            return false;
        }
    } else if (!node_opts_add_keyval(opts, text, "driver", error)) {
        return false;
    }
    return node_add(opts, error);
}
