/* SPDX-License-Identifier: MIT */
/*
 * The table of node types, and finding one by name or by file name.  No state, no locking.
 */
#include "block/types.h"

#include "block/filter_job.h"

static const NodeType *const node_types[] = {
    &node_type_file, &node_type_host_device, &node_type_host_cdrom, &node_type_null_co,
    &node_type_null_aio, &node_type_memory,
    &node_type_raw, &node_type_qcow2,
    &node_type_luks,
    &node_type_vdi, &node_type_vhdx, &node_type_vmdk, &node_type_vpc,
    &node_type_nbd, &node_type_http, &node_type_https, &node_type_ftp, &node_type_ftps,
    &node_type_copy_on_read, &node_type_copy_before_write,
    &node_type_throttle, &node_type_blkdebug, &node_type_blklogwrites,
    &node_type_preallocate, &node_type_snapshot_access, &node_type_commit_top, &node_type_mirror_top,
};

const NodeType *node_type_at(unsigned index)
{
    return index < ARRAY_LEN(node_types) ? node_types[index] : NULL;
}

const NodeType *node_type_find(const char *name)
{
    for (unsigned i = 0; i < ARRAY_LEN(node_types); i++) {
        if (g_str_equal(node_types[i]->name, name)) {
            return node_types[i];
        }
    }
    return NULL;
}

const NodeType *node_type_for_filename(const char *filename, GError **error)
{
    const char *colon = strchr(filename, ':');
    size_t len = colon ? (size_t)(colon - filename) : 0;

    if (!colon || memchr(filename, '/', len)) {
        return host_file_type(filename);
    }
    for (unsigned i = 0; i < ARRAY_LEN(node_types); i++) {
        const char *p = node_types[i]->prefixes;

        while (p && *p) {
            size_t n = strcspn(p, ",");

            if (n == len && strncmp(p, filename, n) == 0) {
                return node_types[i];
            }
            p += n + (p[n] == ',');
        }
    }
    error_set(error, "Unknown protocol '%.*s'", (int)len, filename);
    return NULL;
}

bool format_exists(const char *format)
{
    return node_type_find(format) != NULL;
}

char **format_names(bool creatable)
{
    GStrvBuilder *b = g_strv_builder_new();
    char **names;

    for (unsigned i = 0; i < ARRAY_LEN(node_types); i++) {
        if (!node_types[i]->internal && (!creatable || node_types[i]->create)) {
            g_strv_builder_add(b, node_types[i]->name);
        }
    }
    names = g_strv_builder_end(b);
    g_strv_builder_unref(b);
    return names;
}

const char *format_create_help(const char *format)
{
    const NodeType *type = node_type_find(format);

    return type ? type->create_help : NULL;
}
