/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: bytes as what an NBD peer says.  The first byte chooses who hears them:
 *   even  our server, as a client's handshake and requests (bit 1: the magic, flags and an
 *         EXPORT_NAME come first, so that the bytes are requests; bit 2: after structured replies)
 *   odd   our client, as a server's greeting and replies (bit 1: a good handshake comes first)
 * With clang: -fsanitize=fuzzer and without -DFUZZ_MAIN.  With FUZZ_MAIN it runs over the files that
 * are its arguments, or with "--seed N COUNT" over random ones.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/log.h"
#include "base/thread.h"
#include "block/memory.h"
#include "block/nbd_proto.h"
#include "block/nbd_server.h"

#define INPUT_MAX 65536u               /* fits into a socket's buffer */
#define DISK_BYTES 65536u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put_option(GByteArray *to, uint32_t option, const void *data, uint32_t len)
{
    uint8_t head[NBD_OPTION_HEADER];

    nbd_option_put(head, option, len);
    g_byte_array_append(to, head, sizeof(head));
    g_byte_array_append(to, data, len);
}

static void put_reply(GByteArray *to, uint32_t option, uint32_t type, const void *data,
                      uint32_t len)
{
    uint8_t head[NBD_OPTION_REPLY_HEADER];

    nbd_option_reply_put(head, option, type, len);
    g_byte_array_append(to, head, sizeof(head));
    g_byte_array_append(to, data, len);
}

/* ---- the server ---- */

static BlockNode *start_server(void)
{
    g_autoptr(NodeOpts) open = node_opts_new(), exp = node_opts_new();
    NbdServerConf conf = { .max_clients = 2 };
    GError *error = NULL;
    BlockNode *node;

    node_opts_set(open, "driver", "raw");
    node_opts_set(open, "node-name", "disk");
    node = node_open("x-memory:fuzz", open, NODE_OPEN_RDWR, &error);
    node_opts_set(exp, "type", "nbd");
    node_opts_set(exp, "id", "e");
    node_opts_set(exp, "node-name", "disk");
    node_opts_set(exp, "name", "");
    node_opts_set(exp, "writable", "on");
    node_opts_set(exp, "allocation-depth", "on");
    if (!node || !nbd_server_start(&conf, NULL, &error) || !block_export_add(exp, &error)) {
        error_report_free(error);
        exit(1);
    }
    return node;
}

static void begin_client(GByteArray *said, bool structured)
{
    static const uint8_t meta[] = { 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 15, 'b', 'a', 's', 'e', ':',
                                    'a', 'l', 'l', 'o', 'c', 'a', 't', 'i', 'o', 'n' };
    static const uint8_t flags[] = { 0, 0, 0, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES };

    g_byte_array_append(said, flags, sizeof(flags));
    if (structured) {
        put_option(said, NBD_OPT_STRUCTURED_REPLY, NULL, 0);
        put_option(said, NBD_OPT_SET_META_CONTEXT, meta, sizeof(meta));
    }
    put_option(said, NBD_OPT_EXPORT_NAME, NULL, 0);
}

static void fuzz_server(unsigned mode, GByteArray *said)
{
    BlockNode *node = start_server();
    char waste[4096];
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
        exit(1);
    }
    if (send(ends[0], said->data, said->len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        exit(1);
    }
    shutdown(ends[0], SHUT_WR);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    nbd_server_add_client(ends[1]);
    while (nbd_server_clients() > 0) {
        while (recv(ends[0], waste, sizeof(waste), 0) > 0) {
        }
        event_loop_iterate(event_loop_main(), false);
    }
    close(ends[0]);
    nbd_server_stop();
    node_unref(node);
}

/* ---- the client ---- */

static void begin_server(GByteArray *said)
{
    uint8_t start[18], info[12], context[4 + 15] = { 0 };

    be64_store(start, NBD_MAGIC_INIT);
    be64_store(start + 8, NBD_MAGIC_OPTION);
    be16_store(start + 16, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
    g_byte_array_append(said, start, sizeof(start));
    put_reply(said, NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK, NULL, 0);
    memcpy(context + 4, NBD_META_ALLOCATION, 15);
    put_reply(said, NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT, context, sizeof(context));
    put_reply(said, NBD_OPT_SET_META_CONTEXT, NBD_REP_ACK, NULL, 0);
    be16_store(info, NBD_INFO_EXPORT);
    be64_store(info + 2, DISK_BYTES);
    be16_store(info + 10, NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_TRIM);
    put_reply(said, NBD_OPT_GO, NBD_REP_INFO, info, sizeof(info));
    put_reply(said, NBD_OPT_GO, NBD_REP_ACK, NULL, 0);
}

static void co_use(void *opaque)
{
    BlockNode *node = opaque;
    uint8_t buf[4096] = { 0 };
    BlockStatus status;

    co_node_pread(node, 0, buf, sizeof(buf));
    co_node_status(node, 0, node_length(node), &status);
    co_node_pwrite(node, 0, buf, 512, 0);
    co_node_pread(node, 8192, buf, sizeof(buf));
    co_node_flush(node);
}

static void fuzz_client(const GByteArray *said)
{
    g_autoptr(NodeOpts) opts = node_opts_new();
    g_autofree char *number = NULL;
    GError *error = NULL;
    BlockNode *node;
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0 ||
        send(ends[0], said->data, said->len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        exit(1);
    }
    shutdown(ends[0], SHUT_WR);
    number = g_strdup_printf("%d", ends[1]);
    node_opts_set(opts, "driver", "nbd");
    node_opts_set(opts, "server.type", "fd");
    node_opts_set(opts, "server.str", number);
    node = node_open(NULL, opts, NODE_OPEN_RDWR, &error);
    g_clear_error(&error);
    if (node) {
        coroutine_run_sync(event_loop_main(), co_use, node);
        node_unref(node);
    }
    close(ends[0]);
}

/* ---- */

static void no_warning(void *opaque, const char *line)
{
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(GByteArray) said = g_byte_array_new();
    ReportSink quiet = { .write = no_warning };
    MemoryDisk *disk;
    unsigned mode;

    if (size < 1 || size > INPUT_MAX) {
        return 0;
    }
    thread_set_main();
    mode = data[0];
    report_sink_push(&quiet);
    disk = memory_disk_new("fuzz");
    g_byte_array_set_size(disk->data, DISK_BYTES);
    memset(disk->data->data, 0x5a, DISK_BYTES);
    if (mode & 1) {
        if (mode & 2) {
            begin_server(said);
        }
        g_byte_array_append(said, data + 1, (guint)size - 1);
        fuzz_client(said);
    } else {
        if (mode & 2) {
            begin_client(said, mode & 4);
        }
        g_byte_array_append(said, data + 1, (guint)size - 1);
        fuzz_server(mode, said);
    }
    memory_disk_free(disk);
    report_sink_pop(&quiet);
    return 0;
}

#ifdef FUZZ_MAIN
/* Messages that are nearly right, so that random bytes get somewhere. */
static void random_message(GRand *rand, GByteArray *to, unsigned mode)
{
    uint8_t buf[NBD_REQUEST_BYTES + 64];
    size_t len;

    for (size_t i = 0; i < sizeof(buf); i++) {
        buf[i] = (uint8_t)(g_rand_int_range(rand, 0, 3) ? 0 : g_rand_int(rand));
    }
    if (mode & 1) {
        uint16_t types[] = { NBD_CHUNK_NONE, NBD_CHUNK_DATA, NBD_CHUNK_HOLE, NBD_CHUNK_STATUS,
                             NBD_CHUNK_ERROR, NBD_CHUNK_ERROR_OFFSET };

        nbd_chunk_put(buf, (uint16_t)g_rand_int_range(rand, 0, 2),
                      types[g_rand_int_range(rand, 0, G_N_ELEMENTS(types))],
                      16u * (unsigned)g_rand_int_range(rand, 1, 6),
                      (uint32_t)g_rand_int_range(rand, 0, 40));
        len = NBD_CHUNK_BYTES + be32_load(buf + 16);
    } else if (mode & 2) {
        NbdRequest r = { (uint16_t)g_rand_int_range(rand, 0, 32),
                         (uint16_t)g_rand_int_range(rand, 0, 9), g_rand_int(rand),
                         (uint64_t)g_rand_int_range(rand, 0, DISK_BYTES + 100),
                         (uint32_t)g_rand_int_range(rand, 0, 70000) };

        nbd_request_put(buf, &r);
        len = NBD_REQUEST_BYTES + (r.type == NBD_CMD_WRITE ? r.len % 64 : 0);
    } else {
        nbd_option_put(buf, (uint32_t)g_rand_int_range(rand, 0, 12),
                       (uint32_t)g_rand_int_range(rand, 0, 40));
        len = NBD_OPTION_HEADER + be32_load(buf + 12);
    }
    if (g_rand_int_range(rand, 0, 8) == 0) {
        buf[g_rand_int_range(rand, 0, (gint32)len)] ^= (uint8_t)g_rand_int(rand);
    }
    g_byte_array_append(to, buf, (guint)len);
}

static void run_random(uint32_t seed, unsigned count)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(seed);

    for (unsigned i = 0; i < count; i++) {
        g_autoptr(GByteArray) input = g_byte_array_new();
        static const uint8_t flags[4] = { 0, 0, 0, 3 };
        uint8_t mode = (uint8_t)g_rand_int_range(rand, 0, 8);

        g_byte_array_append(input, &mode, 1);
        if (!(mode & 3)) {
            g_byte_array_append(input, flags, sizeof(flags));
        }
        for (int n = g_rand_int_range(rand, 1, 12); n > 0; n--) {
            random_message(rand, input, mode);
        }
        LLVMFuzzerTestOneInput(input->data, input->len);
    }
}

int main(int argc, char **argv)
{
    if (argc == 4 && g_str_equal(argv[1], "--seed")) {
        run_random((uint32_t)atoi(argv[2]), (unsigned)atoi(argv[3]));
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
