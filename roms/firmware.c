/* SPDX-License-Identifier: MIT */
/* Folders of firmware images, and which package has which. */
#include "roms/firmware.h"

#include <unistd.h>

#include "base/bits.h"
#include "base/error.h"

static GPtrArray *extra_dirs;

static const char *const builtin_dirs[] = {
    RHEA_DATADIR "/rhea", "/usr/share/seabios",    "/usr/share/qemu",
    "/usr/lib/ipxe/qemu", "/usr/share/OVMF",       "/usr/lib/ipxe",
};

/* Which Debian package to install for a missing image; the first prefix that fits. */
static const struct {
    const char *prefix, *package;
} packages[] = {
    { "bios", "seabios" },   { "vgabios", "seabios" }, { "efi-", "ipxe-qemu" },
    { "pxe-", "ipxe-qemu" }, { "OVMF", "ovmf" },       { "u-boot", "u-boot-qemu" },
    { "rhea-", "rhea" },
};

void firmware_add_dir(const char *dir)
{
    if (!extra_dirs) {
        extra_dirs = g_ptr_array_new_with_free_func(g_free);
    }
    g_ptr_array_add(extra_dirs, g_strdup(dir));
}

void firmware_foreach_dir(void (*fn)(const char *dir, void *opaque), void *opaque)
{
    for (unsigned i = 0; extra_dirs && i < extra_dirs->len; i++) {
        fn(g_ptr_array_index(extra_dirs, i), opaque);
    }
    for (unsigned i = 0; i < ARRAY_LEN(builtin_dirs); i++) {
        fn(builtin_dirs[i], opaque);
    }
}

/* Next to a program that is not installed: build/bin/PROGRAM, build/roms. */
static const char *own_dir(void)
{
    static char *dir;

    if (!dir) {
        g_autofree char *exe = g_file_read_link("/proc/self/exe", NULL);
        g_autofree char *bin = exe ? g_path_get_dirname(exe) : g_strdup("");

        dir = g_build_filename(bin, "..", "roms", NULL);
    }
    return dir;
}

static char *find_in(const char *dir, const char *name)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);

    return access(path, R_OK) == 0 ? g_steal_pointer(&path) : NULL;
}

char *firmware_find(const char *name, GError **error)
{
    char *path = NULL;

    for (unsigned i = 0; extra_dirs && i < extra_dirs->len && !path; i++) {
        path = find_in(g_ptr_array_index(extra_dirs, i), name);
    }
    if (!path && access(name, R_OK) == 0) {
        return g_strdup(name);
    }
    if (!path && !strchr(name, '/')) {
        path = find_in(own_dir(), name);
        for (unsigned i = 0; i < ARRAY_LEN(builtin_dirs) && !path; i++) {
            path = find_in(builtin_dirs[i], name);
        }
    }
    if (path) {
        return path;
    }
    for (unsigned i = 0; i < ARRAY_LEN(packages); i++) {
        if (g_str_has_prefix(name, packages[i].prefix)) {
            error_set(error,
                      "could not find firmware '%s': install the package %s, or name its folder "
                      "with -L",
                      name, packages[i].package);
            return NULL;
        }
    }
    error_set(error, "could not find or read '%s': check the path, or name its folder with -L",
              name);
    return NULL;
}
