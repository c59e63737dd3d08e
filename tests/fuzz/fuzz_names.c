/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: text that names images, and the head of an image that nobody named a format for.
 * The first byte chooses what the others are:
 *   0  the JSON of json:{...} and -blockdev      1  the options of -drive
 *   2  an NBD address                            3  a file name: prefixes, and what follows them
 *   4  a raw image that is probed, and then written to by a guest: it must not become another's
 * Nothing outside of the process is opened.  With clang: -fsanitize=fuzzer and without -DFUZZ_MAIN.
 * With FUZZ_MAIN it runs over the files that are its arguments, or with "--seed N COUNT" over
 * made-up texts.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/thread.h"
#include "block/driver.h"
#include "block/memory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Only nodes that live in memory are opened. */
static bool is_harmless(const NodeOpts *opts)
{
    g_autoptr(NodeOpts) left = node_opts_copy(opts);
    const char *key;

    while ((key = node_opts_any_key(left)) != NULL) {
        g_autofree char *name = g_strdup(key);
        g_autofree char *value = node_opts_take(left, name);
        bool is_driver = g_str_equal(name, "driver") || g_str_has_suffix(name, ".driver");
        const NodeType *type = is_driver ? node_type_find(value) : NULL;

        if (g_str_has_suffix(name, "filename") || g_str_equal(name, "file") ||
            g_str_has_suffix(name, "config") ||
            (type && type->is_protocol && !g_str_equal(value, "null-co"))) {
            return false;
        }
    }
    return true;
}

static void open_options(NodeOpts *opts)
{
    GError *error = NULL;
    BlockNode *node;

    if (!is_harmless(opts)) {
        return;
    }
    node = node_open(NULL, opts, NODE_OPEN_RDWR | NODE_OPEN_INLINE_IO, &error);
    g_assert(!node == !!error);
    if (node) {
        json_unref(node_query(node, false));
        g_assert_nonnull(node_filename(node));
        node_unref(node);
    }
    g_clear_error(&error);
}

static void try_json(const char *text)
{
    g_autoptr(NodeOpts) opts = node_opts_new();
    g_autoptr(Json) json = json_parse(text, NULL);

    if (json && node_opts_add_json(opts, json, NULL)) {
        open_options(opts);
    }
}

static void try_keyval(const char *text)
{
    g_autoptr(NodeOpts) opts = node_opts_new();

    if (node_opts_add_keyval(opts, text, "driver", NULL)) {
        open_options(opts);
    }
}

static void try_filename(const char *prefix, const char *text)
{
    g_autofree char *name = g_strconcat(prefix, text, NULL);
    g_autoptr(NodeOpts) opts = node_opts_new();
    GError *error = NULL;
    const NodeType *type = node_type_for_filename(name, &error);

    if (type && type->parse_filename) {
        bool ok = type->parse_filename(name, opts, &error);

        g_assert(ok == !error);
    }
    g_clear_error(&error);
}

static BlockNode *open_probed(void)
{
    g_autoptr(NodeOpts) opts = node_opts_new();
    GError *error = NULL;
    BlockNode *node = node_open("x-memory:probe", opts,
                                NODE_OPEN_RDWR | NODE_OPEN_INLINE_IO | NODE_OPEN_NO_BACKING,
                                &error);

    g_assert(!node == !!error);
    g_clear_error(&error);
    return node;
}

/* What the guest of a raw image writes must not make it another format's (nor one that points
 * to another file). */
static void try_probe(const uint8_t *data, size_t size)
{
    MemoryDisk *disk = memory_disk_new("probe");
    size_t head = size / 2;
    BlockNode *node;
    bool raw;

    g_byte_array_append(disk->data, data, (guint)head);
    g_byte_array_set_size(disk->data, 8192);
    memset(disk->data->data + head, 0, 8192 - MIN(head, 8192));
    node = open_probed();
    raw = node && g_str_equal(node_format(node), "raw");
    if (raw) {
        for (size_t at = head; at + 16 < size; at += 16 + data[at] % 64) {
            uint64_t to = (uint64_t)data[at] * 2 % 2048, n = MIN(data[at + 1], size - at - 2);

            node_pwrite(node, to, data + at + 2, n);
        }
    }
    node_unref(node);
    node = raw ? open_probed() : NULL;
    g_assert(!raw || g_str_equal(node_format(node), "raw"));
    node_unref(node);
    memory_disk_free(disk);
}

static void no_warning(void *opaque, const char *line)
{
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ReportSink quiet = { .write = no_warning };
    g_autofree char *text = NULL;

    if (size < 2 || size > 8192) {
        return 0;
    }
    thread_set_main();
    report_sink_push(&quiet);
    text = g_strndup((const char *)data + 1, size - 1);
    switch (data[0] % 5) {
    case 0:
        try_json(text);
        break;
    case 1:
        try_keyval(text);
        break;
    case 2:
        try_filename("nbd:", text);
        try_filename("nbd://", text);
        try_filename("nbd+unix://", text);
        break;
    case 3:
        try_filename("", text);
        try_filename("blkdebug:", text);
        try_filename("http://", text);
        break;
    default:
        try_probe(data + 1, size - 1);
    }
    report_sink_pop(&quiet);
    return 0;
}

#ifdef FUZZ_MAIN
/* Pieces that the parsers know, in any order. */
static const char *const words[] = {
    "{", "}", "[", "]", ":", ",", "\"", "\\u0000", "\\", "=", "/", "//", "@", "?", "&", "%41", "%",
    "driver", "null-co", "raw", "qcow2", "throttle", "file", "image", "blkdebug", "copy-on-read",
    "size", "1M", "offset", "-1", "18446744073709551616", "1e9", "read-zeroes", "true", "on",
    "null", "node-name", "a", "#", "inject-error.0.event", "read_aio", "export", "socket", "host",
    "localhost", "65536", "\"driver\":\"null-co\"", "\"driver\":\"raw\",\"file\":{",
    "driver=raw,file.driver=null-co,", "QFI\xfb\x01\x01\x01\x02", "KDMV", "conectix", "vhdxfile",
    "LUKS\xba\xbe", "<<< Oracle VM VirtualBox Disk Image >>>\n", "# Disk DescriptorFile\n",
};

static void make_text(GRand *rand, GByteArray *out)
{
    uint8_t kind = (uint8_t)g_rand_int_range(rand, 0, 5);

    g_byte_array_set_size(out, 0);
    g_byte_array_append(out, &kind, 1);
    for (int n = g_rand_int_range(rand, 1, 24); n > 0; n--) {
        uint8_t byte = (uint8_t)g_rand_int(rand);

        if (g_rand_int_range(rand, 0, 5)) {
            const char *word = words[g_rand_int_range(rand, 0, ARRAY_LEN(words))];

            g_byte_array_append(out, (const guint8 *)word, (guint)strlen(word));
        } else {
            g_byte_array_append(out, &byte, 1);
        }
    }
    /* Half of the bytes for a guest's writes are addressed to the start. */
    if (kind == 4) {
        uint8_t zero[32] = { 0, 64 };

        g_byte_array_append(out, zero, sizeof(zero));
    }
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "--seed") == 0) {
        g_autoptr(GRand) rand = g_rand_new_with_seed((guint32)strtoul(argv[2], NULL, 0));
        g_autoptr(GByteArray) text = g_byte_array_new();

        for (unsigned long i = strtoul(argv[3], NULL, 0); i > 0; i--) {
            make_text(rand, text);
            LLVMFuzzerTestOneInput(text->data, text->len);
        }
        return 0;
    }
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
