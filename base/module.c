/* SPDX-License-Identifier: MIT */
/* Shared objects that are loaded when first used: where they are looked for. */
#include "base/module.h"

#include <dlfcn.h>
#include <string.h>

#include "base/error.h"

static char *module_path(const char *name, bool installed)
{
    g_autofree char *file = g_strconcat(name, ".so", NULL);
    g_autofree char *folder = g_strndup(name, strcspn(name, "-"));
    g_autofree char *exe = NULL, *bin = NULL;

    if (installed) {
        return g_build_filename(RHEA_MODULEDIR, file, NULL);
    }
    exe = g_file_read_link("/proc/self/exe", NULL);
    bin = exe ? g_path_get_dirname(exe) : g_strdup(".");
    return g_build_filename(bin, "..", folder, file, NULL);
}

const void *module_load(const char *name, GError **error)
{
    void *handle = NULL;
    const void *const *entry;

    for (int installed = 0; installed < 2 && !handle; installed++) {
        g_autofree char *path = module_path(name, installed);

        if (g_file_test(path, G_FILE_TEST_EXISTS)) {
            handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
            if (!handle) {
                error_set(error, "Cannot load module '%s': %s", path, dlerror());
                return NULL;
            }
        }
    }
    if (!handle) {
        error_set(error, "Module '%s' is not there: this build was made without it", name);
        return NULL;
    }
    entry = dlsym(handle, "rhea_module_entry");
    if (!entry || !*entry) {
        error_set(error, "Module '%s' has no entry: it belongs to another version", name);
        return NULL;
    }
    return *entry;
}
