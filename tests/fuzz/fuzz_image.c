/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: bytes as an image of the format FUZZ_FORMAT: opened, read, checked, repaired,
 * written, reopened.  With clang: -fsanitize=fuzzer and without -DFUZZ_MAIN.  With FUZZ_MAIN it
 * runs over the files that are its arguments.
 */
#include "base/thread.h"
#include "block/graph.h"
#include "block/memory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static BlockNode *open_image(int flags)
{
    g_autoptr(NodeOpts) opts = node_opts_new();
    GError *error = NULL;
    BlockNode *node;

    node_opts_set(opts, "driver", FUZZ_FORMAT);
    node = node_open("x-memory:fuzz", opts, flags | NODE_OPEN_INLINE_IO | NODE_OPEN_NO_BACKING,
                     &error);
    g_clear_error(&error);
    return node;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    MemoryDisk *disk;
    CheckResult result = { 0 };
    GError *error = NULL;
    uint8_t buf[3000] = { 1 };
    BlockNode *node;

    if (size > 4 << 20) {
        return 0;
    }
    thread_set_main();
    disk = memory_disk_new("fuzz");
    g_byte_array_append(disk->data, data, (guint)size);
    node = open_image(NODE_OPEN_CHECK);
    if (node) {
        node_check(node, 0, &result, &error);
        g_clear_error(&error);
        for (uint64_t at = 0; at < MIN(node_length(node), 1 << 20); at += 60000) {
            node_pread(node, at, buf, sizeof(buf));
        }
        node_unref(node);
    }
    node = open_image(NODE_OPEN_RDWR);
    if (node) {
        for (uint64_t at = 100; at + sizeof(buf) < MIN(node_length(node), 1 << 20); at += 70000) {
            node_pwrite(node, at, buf, sizeof(buf));
        }
        node_snapshot_create(node, "fuzz", NULL, &error);
        g_clear_error(&error);
        node_unref(node);
    }
    node = open_image(NODE_OPEN_RDWR | NODE_OPEN_CHECK);
    if (node) {
        node_check(node, CHECK_FIX_LEAKS | CHECK_FIX_ERRORS, &result, &error);
        g_clear_error(&error);
        node_unref(node);
    }
    memory_disk_free(disk);
    return 0;
}

#ifdef FUZZ_MAIN
int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        g_autofree char *data = NULL;
        gsize size;

        if (!g_file_get_contents(argv[i], &data, &size, NULL)) {
            return 1;
        }
        LLVMFuzzerTestOneInput((const uint8_t *)data, size);
    }
    return 0;
}
#endif
