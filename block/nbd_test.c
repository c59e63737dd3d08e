/* SPDX-License-Identifier: MIT */
/*
 * NBD over socket pairs: our server and a hostile client, our client and a hostile server, and the
 * two of ours with each other.  The disk is x-memory.
 */
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/thread.h"
#include "block/memory.h"
#include "block/nbd_link.h"
#include "block/nbd_server.h"
#include "block/nbd_uri.h"
#include "block/types.h"

#define DISK_BYTES (4u << 20)
#define COOKIE UINT64_C(0x1122334455667788)

/* ---- a server on a memory disk ---- */

typedef struct Bench {
    MemoryDisk *disk;
    BlockNode *node;
    int fd;                       /* the client's end */
    IoThread *thread;             /* where the node lives; NULL: the main loop */
    BlockBackend *mover;
} Bench;

static void bench_start_in(Bench *b, bool writable, IoThread *thread)
{
    g_autoptr(NodeOpts) open = node_opts_new(), exp = node_opts_new();
    NbdServerConf conf = { .max_clients = 4 };
    GError *error = NULL;

    b->disk = memory_disk_new("nbd");
    g_byte_array_set_size(b->disk->data, DISK_BYTES);
    for (unsigned i = 0; i < DISK_BYTES; i++) {
        b->disk->data->data[i] = (uint8_t)(i * 31 + (i >> 12));
    }
    node_opts_set(open, "driver", "raw");
    node_opts_set(open, "node-name", "disk");
    b->node = node_open("x-memory:nbd", open, NODE_OPEN_RDWR, &error);
    g_assert_no_error(error);
    b->thread = thread;
    if (thread) {
        BlkAttachConf mover = { .read_only = true, .share_rw = true,
                                .loop = iothread_loop(thread) };

        b->mover = blk_attach("disk", &mover, NULL, NULL, &error);
        g_assert_no_error(error);
        g_assert_true(blk_loop(b->mover) == iothread_loop(thread));
    }
    g_assert_true(nbd_server_start(&conf, NULL, &error));
    node_opts_set(exp, "type", "nbd");
    node_opts_set(exp, "id", "e0");
    node_opts_set(exp, "node-name", "disk");
    node_opts_set(exp, "name", "e");
    node_opts_set(exp, "writable", writable ? "on" : "off");
    block_export_add(exp, &error);
    g_assert_no_error(error);
    b->fd = -1;
}

static void bench_start(Bench *b, bool writable)
{
    bench_start_in(b, writable, NULL);
}

static void bench_connect(Bench *b)
{
    int ends[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), ==, 0);
    b->fd = ends[0];
    fcntl(b->fd, F_SETFL, O_NONBLOCK);
    nbd_server_add_client(ends[1]);
}

static void bench_hang_up(Bench *b)
{
    if (b->fd >= 0) {
        close(b->fd);
    }
    b->fd = -1;
    EVENT_LOOP_WAIT_WHILE(event_loop_main(), nbd_server_clients() > 0);
}

static void bench_stop(Bench *b)
{
    bench_hang_up(b);
    nbd_server_stop();
    if (b->thread) {
        blk_detach(b->mover);
        iothread_free(b->thread);
    }
    node_unref(b->node);
    memory_disk_free(b->disk);
}

static void bench_send(Bench *b, const void *data, size_t len)
{
    const char *p = data;

    while (len) {
        ssize_t n = send(b->fd, p, len, MSG_NOSIGNAL);

        if (n > 0) {
            p += n;
            len -= (size_t)n;
        } else {
            g_assert_cmpint(errno, ==, EAGAIN);
            event_loop_iterate(event_loop_main(), false);
        }
    }
}

static void bench_expect(Bench *b, void *data, size_t len)
{
    char *p = data;

    while (len) {
        ssize_t n = recv(b->fd, p, len, 0);

        if (n > 0) {
            p += n;
            len -= (size_t)n;
        } else {
            g_assert_cmpint(n, <, 0);
            g_assert_cmpint(errno, ==, EAGAIN);
            event_loop_iterate(event_loop_main(), true);
        }
    }
}

/* The server hangs up without another byte. */
static void bench_expect_end(Bench *b)
{
    char c;

    for (;;) {
        ssize_t n = recv(b->fd, &c, 1, 0);

        if (n == 0 || (n < 0 && errno == ECONNRESET)) {
            break;
        }
        g_assert_cmpint(n, <, 0);
        event_loop_iterate(event_loop_main(), true);
    }
    bench_hang_up(b);
}

static void hello(Bench *b, uint32_t flags)
{
    uint8_t buf[18];

    bench_connect(b);
    bench_expect(b, buf, 18);
    g_assert_cmphex(be64_load(buf), ==, NBD_MAGIC_INIT);
    g_assert_cmphex(be64_load(buf + 8), ==, NBD_MAGIC_OPTION);
    be32_store(buf, flags);
    bench_send(b, buf, 4);
}

static void send_option(Bench *b, uint32_t option, const void *data, uint32_t len)
{
    uint8_t head[NBD_OPTION_HEADER];

    nbd_option_put(head, option, len);
    bench_send(b, head, sizeof(head));
    bench_send(b, data, len);
}

/* The type of the next reply to OPTION; its data is dropped. */
static uint32_t next_reply(Bench *b, uint32_t option)
{
    uint8_t head[NBD_OPTION_REPLY_HEADER];
    uint32_t to, type, len;
    g_autofree uint8_t *data = NULL;

    bench_expect(b, head, sizeof(head));
    g_assert_true(nbd_option_reply_parse(head, &to, &type, &len));
    g_assert_cmpuint(to, ==, option);
    data = g_malloc(len + 1);
    bench_expect(b, data, len);
    return type;
}

/* name length 1, 'e', no info requests */
static const uint8_t go_e[] = { 0, 0, 0, 1, 'e', 0, 0 };
static const uint8_t meta_e[] = { 0, 0, 0, 1, 'e', 0, 0, 0, 1, 0, 0, 0, 15, 'b', 'a', 's', 'e', ':',
                                  'a', 'l', 'l', 'o', 'c', 'a', 't', 'i', 'o', 'n' };

static void go(Bench *b, bool structured)
{
    uint32_t type;

    hello(b, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
    if (structured) {
        send_option(b, NBD_OPT_STRUCTURED_REPLY, NULL, 0);
        g_assert_cmphex(next_reply(b, NBD_OPT_STRUCTURED_REPLY), ==, NBD_REP_ACK);
        send_option(b, NBD_OPT_SET_META_CONTEXT, meta_e, sizeof(meta_e));
        g_assert_cmphex(next_reply(b, NBD_OPT_SET_META_CONTEXT), ==, NBD_REP_META_CONTEXT);
        g_assert_cmphex(next_reply(b, NBD_OPT_SET_META_CONTEXT), ==, NBD_REP_ACK);
    }
    send_option(b, NBD_OPT_GO, go_e, sizeof(go_e));
    while ((type = next_reply(b, NBD_OPT_GO)) == NBD_REP_INFO) {
    }
    g_assert_cmphex(type, ==, NBD_REP_ACK);
}

static void request(Bench *b, uint16_t type, uint16_t flags, uint64_t offset, uint32_t len)
{
    uint8_t head[NBD_REQUEST_BYTES];

    nbd_request_put(head, &(NbdRequest){ flags, type, COOKIE, offset, len });
    bench_send(b, head, sizeof(head));
}

static uint32_t simple_error(Bench *b)
{
    uint8_t head[NBD_SIMPLE_BYTES];
    NbdReply r;

    bench_expect(b, head, sizeof(head));
    g_assert_cmpuint(nbd_reply_bytes(head), ==, NBD_SIMPLE_BYTES);
    nbd_reply_parse(head, &r);
    g_assert_cmphex(r.cookie, ==, COOKIE);
    return r.error;
}

/* ---- the server and hostile clients ---- */

static void test_server_handshake_limits(void)
{
    Bench b;
    uint8_t big[300] = { 0 }, head[NBD_OPTION_HEADER];
    g_autofree uint8_t *huge = g_malloc0(NBD_OPTION_MAX + 1);

    bench_start(&b, true);
    hello(&b, 0x80);                                        /* unknown flags */
    bench_expect_end(&b);

    hello(&b, NBD_FLAG_FIXED_NEWSTYLE);
    bench_send(&b, big, NBD_OPTION_HEADER);                 /* no magic */
    bench_expect_end(&b);

    hello(&b, NBD_FLAG_FIXED_NEWSTYLE);
    send_option(&b, 77, big, sizeof(big));
    g_assert_cmphex(next_reply(&b, 77), ==, NBD_REP_ERR_UNSUP);
    send_option(&b, NBD_OPT_GO, huge, NBD_OPTION_MAX + 1);
    g_assert_cmphex(next_reply(&b, NBD_OPT_GO), ==, NBD_REP_ERR_TOO_BIG);
    send_option(&b, NBD_OPT_LIST, big, 1);
    g_assert_cmphex(next_reply(&b, NBD_OPT_LIST), ==, NBD_REP_ERR_INVALID);
    send_option(&b, NBD_OPT_STARTTLS, NULL, 0);
    g_assert_cmphex(next_reply(&b, NBD_OPT_STARTTLS), ==, NBD_REP_ERR_POLICY);
    nbd_option_put(head, NBD_OPT_LIST, UINT32_MAX);         /* more than anyone would read */
    bench_send(&b, head, sizeof(head));
    bench_expect_end(&b);

    hello(&b, NBD_FLAG_FIXED_NEWSTYLE);
    send_option(&b, NBD_OPT_EXPORT_NAME, "none", 4);
    bench_expect_end(&b);
    hello(&b, NBD_FLAG_FIXED_NEWSTYLE);
    send_option(&b, NBD_OPT_EXPORT_NAME, "e\0x", 3);
    bench_expect_end(&b);
    bench_stop(&b);
}

static void test_server_malformed_options(void)
{
    /* The length of the name, or a count, does not fit. */
    static const uint8_t bad_go[][8] = { { 0 }, { 0, 0, 0, 2, 'e', 0 }, { 0, 0, 0, 1, 'e', 0, 1 },
                                         { 0xff, 0xff, 0xff, 0xff, 'e', 0, 0 },
                                         { 0, 0, 0, 1, 0, 0, 0 }, { 0, 0, 0, 1, 0xff, 0, 0 } };
    static const uint8_t len_go[] = { 3, 6, 7, 7, 7, 7 };
    static const uint8_t bad_meta[] = { 0, 0, 0, 1, 'e', 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0 };
    Bench b;

    bench_start(&b, true);
    hello(&b, NBD_FLAG_FIXED_NEWSTYLE);
    for (unsigned i = 0; i < G_N_ELEMENTS(bad_go); i++) {
        send_option(&b, NBD_OPT_GO, bad_go[i], len_go[i]);
        g_assert_cmphex(next_reply(&b, NBD_OPT_GO), ==, NBD_REP_ERR_INVALID);
    }
    send_option(&b, NBD_OPT_SET_META_CONTEXT, meta_e, sizeof(meta_e));
    g_assert_cmphex(next_reply(&b, NBD_OPT_SET_META_CONTEXT), ==, NBD_REP_ERR_INVALID);
    send_option(&b, NBD_OPT_STRUCTURED_REPLY, NULL, 0);
    g_assert_cmphex(next_reply(&b, NBD_OPT_STRUCTURED_REPLY), ==, NBD_REP_ACK);
    send_option(&b, NBD_OPT_STRUCTURED_REPLY, NULL, 0);
    g_assert_cmphex(next_reply(&b, NBD_OPT_STRUCTURED_REPLY), ==, NBD_REP_ERR_INVALID);
    send_option(&b, NBD_OPT_LIST_META_CONTEXT, bad_meta, sizeof(bad_meta));
    g_assert_cmphex(next_reply(&b, NBD_OPT_LIST_META_CONTEXT), ==, NBD_REP_ERR_INVALID);
    send_option(&b, NBD_OPT_ABORT, NULL, 0);
    g_assert_cmphex(next_reply(&b, NBD_OPT_ABORT), ==, NBD_REP_ACK);
    bench_expect_end(&b);
    bench_stop(&b);
}

static void test_server_refuses_bad_requests(void)
{
    /* clang-format off */
    static const struct { uint16_t type, flags; uint64_t offset; uint32_t len, error; } cases[] = {
        { 99, 0, 0, 0, NBD_EINVAL },
        { NBD_CMD_READ, 0, DISK_BYTES, 1, NBD_EINVAL },
        { NBD_CMD_READ, 0, UINT64_MAX, 2, NBD_EINVAL },
        { NBD_CMD_READ, 0, 0, NBD_PAYLOAD_MAX + 1, NBD_EINVAL },
        { NBD_CMD_READ, NBD_CMD_FLAG_DF, 0, 512, NBD_EINVAL },
        { NBD_CMD_READ, 0x8000, 0, 512, NBD_EINVAL },
        { NBD_CMD_TRIM, 0, DISK_BYTES - 1, 2, NBD_EINVAL },
        { NBD_CMD_WRITE_ZEROES, 0, 1, DISK_BYTES, NBD_ENOSPC },
        { NBD_CMD_CACHE, 0, 0, UINT32_MAX, NBD_EINVAL },
        { NBD_CMD_BLOCK_STATUS, 0, 0, 512, NBD_EINVAL },
        { NBD_CMD_FLUSH, NBD_CMD_FLAG_NO_HOLE, 0, 0, NBD_EINVAL },
    };
    /* clang-format on */
    g_autofree uint8_t *payload = g_malloc0(NBD_PAYLOAD_MAX + 1);
    Bench b;

    bench_start(&b, true);
    go(&b, false);
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        request(&b, cases[i].type, cases[i].flags, cases[i].offset, cases[i].len);
        g_assert_cmpuint(simple_error(&b), ==, cases[i].error);
    }
    /* The payload of a refused write is skipped; the stream stays in step. */
    request(&b, NBD_CMD_WRITE, 0, DISK_BYTES - 1, 512);
    bench_send(&b, payload, 512);
    g_assert_cmpuint(simple_error(&b), ==, NBD_ENOSPC);
    request(&b, NBD_CMD_WRITE, 0, 0, NBD_PAYLOAD_MAX + 1);
    bench_send(&b, payload, NBD_PAYLOAD_MAX + 1);
    g_assert_cmpuint(simple_error(&b), ==, NBD_EINVAL);
    request(&b, NBD_CMD_FLUSH, 0, 0, 0);
    g_assert_cmpuint(simple_error(&b), ==, 0);
    bench_send(&b, payload, NBD_REQUEST_BYTES);             /* no magic */
    bench_expect_end(&b);
    bench_stop(&b);
}

static void test_server_read_only(void)
{
    Bench b;
    uint8_t payload[16] = { 0 };

    bench_start(&b, false);
    go(&b, false);
    request(&b, NBD_CMD_WRITE, 0, 0, sizeof(payload));
    bench_send(&b, payload, sizeof(payload));
    g_assert_cmpuint(simple_error(&b), ==, NBD_EPERM);
    request(&b, NBD_CMD_TRIM, 0, 0, 512);
    g_assert_cmpuint(simple_error(&b), ==, NBD_EPERM);
    request(&b, NBD_CMD_DISC, 0, 0, 0);
    bench_expect_end(&b);
    bench_stop(&b);
}

/* A client that asks for a lot and reads nothing gets it all in the end. */
static void test_server_many_requests_at_once(void)
{
    Bench b;
    g_autofree uint8_t *data = g_malloc(1 << 20);

    bench_start(&b, true);
    go(&b, false);
    for (unsigned i = 0; i < 200; i++) {
        request(&b, NBD_CMD_READ, 0, 0, 1 << 20);
    }
    for (unsigned i = 0; i < 200; i++) {
        g_assert_cmpuint(simple_error(&b), ==, 0);
        bench_expect(&b, data, 1 << 20);
        g_assert_cmpint(memcmp(data, b.disk->data->data, 1 << 20), ==, 0);
    }
    for (unsigned i = 0; i < 100; i++) {                    /* and then leaves */
        request(&b, NBD_CMD_READ, 0, 0, 1 << 20);
    }
    bench_stop(&b);
}

static void test_server_leaves_half_requests(void)
{
    Bench b;
    uint8_t head[NBD_REQUEST_BYTES];

    bench_start(&b, true);
    nbd_request_put(head, &(NbdRequest){ 0, NBD_CMD_WRITE, 1, 0, 65536 });
    for (unsigned cut = 0; cut <= sizeof(head); cut += 7) {
        go(&b, cut & 1);
        bench_send(&b, head, cut);
        bench_hang_up(&b);
    }
    go(&b, true);
    bench_send(&b, head, sizeof(head));
    bench_send(&b, head, sizeof(head));                     /* part of the payload */
    bench_hang_up(&b);
    g_assert_cmpuint(b.disk->data->data[31], ==, 31 * 31 % 256);
    bench_stop(&b);
}

static void test_server_hard_removal(void)
{
    Bench b;
    GError *error = NULL;

    bench_start(&b, true);
    go(&b, true);
    g_assert_false(block_export_del("e0", false, &error));
    g_assert_nonnull(strstr(error->message, "still in use"));
    g_clear_error(&error);
    g_assert_true(block_export_del("e0", true, &error));
    bench_expect_end(&b);
    g_assert_null(block_export_find("e0"));
    bench_stop(&b);
}

/* ---- our client and a hostile server ---- */

#define CLIENT_BYTES 65536u
#define FIRST_COOKIE 16u                    /* of a client's first request: see nbd_client.c */

static void put(GByteArray *to, const void *data, size_t len)
{
    g_byte_array_append(to, data, (guint)len);
}

static void put_reply(GByteArray *to, uint32_t option, uint32_t type, const void *data,
                      uint32_t len)
{
    uint8_t head[NBD_OPTION_REPLY_HEADER];

    nbd_option_reply_put(head, option, type, len);
    put(to, head, sizeof(head));
    put(to, data, len);
}

/* All that a server says up to the transmission phase. */
static GByteArray *canned_handshake(bool structured)
{
    GByteArray *a = g_byte_array_new();
    uint8_t start[18], info[12], context[19] = { 0, 0, 0, 5 };

    be64_store(start, NBD_MAGIC_INIT);
    be64_store(start + 8, NBD_MAGIC_OPTION);
    be16_store(start + 16, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
    put(a, start, sizeof(start));
    put_reply(a, NBD_OPT_STRUCTURED_REPLY, structured ? NBD_REP_ACK : NBD_REP_ERR_UNSUP, NULL, 0);
    if (structured) {
        memcpy(context + 4, NBD_META_ALLOCATION, 15);
        put_reply(a, NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT, context, sizeof(context));
        put_reply(a, NBD_OPT_SET_META_CONTEXT, NBD_REP_ACK, NULL, 0);
    }
    be16_store(info, NBD_INFO_EXPORT);
    be64_store(info + 2, CLIENT_BYTES);
    be16_store(info + 10, NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH);
    put_reply(a, NBD_OPT_GO, NBD_REP_INFO, info, sizeof(info));
    put_reply(a, NBD_OPT_GO, NBD_REP_ACK, NULL, 0);
    return a;
}

static void put_chunk(GByteArray *a, uint16_t flags, uint16_t type, uint64_t cookie,
                      const void *data, uint32_t len)
{
    uint8_t head[NBD_CHUNK_BYTES];

    nbd_chunk_put(head, flags, type, cookie, len);
    put(a, head, sizeof(head));
    put(a, data, len);
}

/* A node whose server has said SAID, and then hung up. */
static BlockNode *open_canned(const GByteArray *said, int *peer, GError **error)
{
    g_autoptr(NodeOpts) opts = node_opts_new();
    g_autofree char *text = NULL;
    int ends[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), ==, 0);
    g_assert_cmpint(send(ends[0], said->data, said->len, 0), ==, said->len);
    shutdown(ends[0], SHUT_WR);
    *peer = ends[0];
    text = g_strdup_printf("%d", ends[1]);
    node_opts_set(opts, "driver", "nbd");
    node_opts_set(opts, "server.type", "fd");
    node_opts_set(opts, "server.str", text);
    return node_open(NULL, opts, NODE_OPEN_RDWR, error);
}

/* What a read of 4 KiB at 8 KiB gives when the server answers with ANSWER. */
static int read_canned(bool structured, const GByteArray *answer, uint8_t *buf)
{
    g_autoptr(GByteArray) said = canned_handshake(structured);
    g_autoptr(GError) error = NULL;
    BlockNode *node;
    int peer, ret;

    put(said, answer->data, answer->len);
    node = open_canned(said, &peer, &error);
    g_assert_no_error(error);
    ret = node_pread(node, 8192, buf, 4096);
    node_unref(node);
    close(peer);
    return ret;
}

static void test_client_reads_chunks(void)
{
    g_autoptr(GByteArray) a = g_byte_array_new();
    uint8_t data[8 + 1024], hole[12], buf[4096];

    memset(buf, 0xee, sizeof(buf));
    memset(data, 0x77, sizeof(data));
    be64_store(hole, 8192 + 1024);
    be32_store(hole + 8, 3072);
    put_chunk(a, 0, NBD_CHUNK_HOLE, FIRST_COOKIE, hole, sizeof(hole));
    be64_store(data, 8192);
    put_chunk(a, NBD_CHUNK_FLAG_DONE, NBD_CHUNK_DATA, FIRST_COOKIE, data, sizeof(data));
    g_assert_cmpint(read_canned(true, a, buf), ==, 0);
    g_assert_cmphex(buf[1023], ==, 0x77);
    g_assert_true(buffer_is_zero(buf + 1024, 3072));
}

static void test_client_refuses_bad_chunks(void)
{
    /* clang-format off */
    static const struct {
        uint16_t flags, type; uint64_t cookie, offset; uint32_t len, hole;
    } cases[] = {
        { 1, NBD_CHUNK_DATA, 17, 8192, 8 + 4096, 0 },             /* nobody's cookie */
        { 1, NBD_CHUNK_DATA, FIRST_COOKIE + 16, 8192, 8 + 4096, 0 },
        { 1, NBD_CHUNK_DATA, FIRST_COOKIE, 8191, 8 + 4096, 0 },   /* outside of the request */
        { 1, NBD_CHUNK_DATA, FIRST_COOKIE, 8193, 8 + 4096, 0 },
        { 1, NBD_CHUNK_DATA, FIRST_COOKIE, UINT64_MAX - 10, 8 + 64, 0 },
        { 1, NBD_CHUNK_DATA, FIRST_COOKIE, 8192, 8 + 4097, 0 },
        { 1, NBD_CHUNK_DATA, FIRST_COOKIE, 8192, 8 + 4095, 0 },   /* too little */
        { 1, NBD_CHUNK_DATA, FIRST_COOKIE, 8192, 8, 0 },
        { 1, NBD_CHUNK_DATA, FIRST_COOKIE, 8192, 3, 0 },
        { 1, NBD_CHUNK_HOLE, FIRST_COOKIE, 8192, 12, 0 },
        { 1, NBD_CHUNK_HOLE, FIRST_COOKIE, 8192, 12, 4097 },
        { 1, NBD_CHUNK_HOLE, FIRST_COOKIE, 8192, 13, 4096 },
        { 0, NBD_CHUNK_NONE, FIRST_COOKIE, 0, 0, 0 },             /* does not end */
        { 1, NBD_CHUNK_NONE, FIRST_COOKIE, 0, 0, 0 },             /* no data at all */
        { 1, NBD_CHUNK_STATUS, FIRST_COOKIE, 0, 12, 0 },          /* no answer to a read */
        { 1, 77, FIRST_COOKIE, 0, 12, 0 },
        { 1, NBD_CHUNK_ERROR, FIRST_COOKIE, 0, 3, 0 },
    };
    /* clang-format on */
    uint8_t payload[8 + 8192] = { 0 }, buf[4096];

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GByteArray) a = g_byte_array_new();

        be64_store(payload, cases[i].offset);
        be32_store(payload + 8, cases[i].hole);
        put_chunk(a, cases[i].flags, cases[i].type, cases[i].cookie, payload, cases[i].len);
        g_assert_cmpint(read_canned(true, a, buf), ==, -EIO);
    }
}

static void test_client_hears_errors(void)
{
    static const uint8_t text[] = { 0, 0, 0, NBD_ENOSPC, 0, 3, 'b', 'a', 'd' };
    g_autoptr(GByteArray) a = g_byte_array_new();
    g_autoptr(GByteArray) simple = g_byte_array_new();
    g_autoptr(GByteArray) data = g_byte_array_new();
    uint8_t buf[4096] = { 0 }, head[NBD_SIMPLE_BYTES];

    put_chunk(a, NBD_CHUNK_FLAG_DONE, NBD_CHUNK_ERROR, FIRST_COOKIE, text, sizeof(text));
    g_assert_cmpint(read_canned(true, a, buf), ==, -ENOSPC);
    nbd_simple_put(head, NBD_EPERM, FIRST_COOKIE);
    put(simple, head, sizeof(head));
    g_assert_cmpint(read_canned(false, simple, buf), ==, -EPERM);
    nbd_simple_put(head, 0, FIRST_COOKIE);
    put(data, head, sizeof(head));
    put(data, buf, sizeof(buf));
    g_assert_cmpint(read_canned(false, data, buf), ==, 0);
    g_assert_cmpint(read_canned(true, data, buf), ==, -EIO);  /* chunks were agreed upon */
    g_byte_array_set_size(data, data->len - 1);
    g_assert_cmpint(read_canned(false, data, buf), ==, -EIO);
}

typedef struct StatusCall {
    BlockNode *node;
    BlockStatus status;
    int ret;
} StatusCall;

static void co_status(void *opaque)
{
    StatusCall *s = opaque;

    s->ret = co_node_status(s->node, 0, CLIENT_BYTES, &s->status);
}

static void test_client_block_status(void)
{
    /* id, then extents of length and flags */
    static const uint8_t good[] = { 0, 0, 0, 5, 0, 0, 0x80, 0, 0, 0, 0, 3 };
    static const uint8_t wrong_id[] = { 0, 0, 0, 6, 0, 0, 0x80, 0, 0, 0, 0, 3 };
    static const uint8_t empty[] = { 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 3 };
    static const uint8_t odd[] = { 0, 0, 0, 5, 0, 0, 0x80, 0, 0, 0, 0, 3, 0 };
    const struct {
        const uint8_t *data;
        uint32_t len;
        int ret;
    } cases[] = { { good, 12, 0 }, { wrong_id, 12, -EIO }, { empty, 12, -EIO },
                  { odd, 13, -EIO }, { good, 4, -EIO } };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GByteArray) said = canned_handshake(true);
        g_autoptr(GError) error = NULL;
        StatusCall call = { 0 };
        int peer;

        put_chunk(said, NBD_CHUNK_FLAG_DONE, NBD_CHUNK_STATUS, FIRST_COOKIE, cases[i].data,
                  cases[i].len);
        call.node = open_canned(said, &peer, &error);
        g_assert_no_error(error);
        coroutine_run_sync(event_loop_main(), co_status, &call);
        g_assert_cmpint(call.ret, ==, cases[i].ret);
        if (call.ret == 0) {
            g_assert_cmpuint(call.status.bytes, ==, 0x8000);
            g_assert_true(call.status.flags & BLK_STATUS_ZERO);
        }
        node_unref(call.node);
        close(peer);
    }
}

/* Every cut and every changed byte of a handshake: an error or a node, never more. */
static void test_client_mutated_handshake(void)
{
    g_autoptr(GByteArray) good = canned_handshake(true);

    for (unsigned i = 0; i < good->len * 2; i++) {
        g_autoptr(GByteArray) said = g_byte_array_new();
        g_autoptr(GError) error = NULL;
        BlockNode *node;
        int peer;

        put(said, good->data, i < good->len ? i : good->len);
        if (i >= good->len) {
            said->data[i - good->len] ^= 0xff;
        }
        node = open_canned(said, &peer, &error);
        g_assert_true(!node == !!error);
        g_assert_true(i >= good->len || !node);
        node_unref(node);
        close(peer);
    }
}

/* ---- ours with ours ---- */

typedef struct Load {
    BlockNode *node;
    unsigned running;
    uint64_t seed;
} Load;

typedef struct LoadJob {
    Load *load;
    unsigned index;
} LoadJob;

/* Each has 64 KiB of the disk for itself, and checks what it wrote. */
static void co_load(void *opaque)
{
    LoadJob *j = opaque;
    uint64_t base = j->index * 65536u;
    uint8_t out[5000], in[5000];

    for (unsigned i = 0; i < 40; i++) {
        uint64_t at = base + (i * 7919 + j->index * 31) % 60000;

        memset(out, (int)(i * 3 + j->index), sizeof(out));
        g_assert_cmpint(co_node_pwrite(j->load->node, at, out, sizeof(out),
                                       i % 3 ? 0 : BLK_REQ_FUA), ==, 0);
        g_assert_cmpint(co_node_pread(j->load->node, at, in, sizeof(in)), ==, 0);
        g_assert_cmpint(memcmp(in, out, sizeof(in)), ==, 0);
        if (i % 5 == 0) {
            g_assert_cmpint(co_node_write_zeroes(j->load->node, at, 3000, 0), ==, 0);
            g_assert_cmpint(co_node_pread(j->load->node, at, in, 3000), ==, 0);
            g_assert_true(buffer_is_zero(in, 3000));
        }
    }
    j->load->running--;
}

static void run_ours_with_ours(IoThread *thread)
{
    g_autoptr(NodeOpts) opts = node_opts_new();
    g_autofree char *text = NULL;
    GError *error = NULL;
    LoadJob jobs[32];
    Load load = { .running = G_N_ELEMENTS(jobs) };
    Bench b;
    int ends[2];

    bench_start_in(&b, true, thread);
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), ==, 0);
    nbd_server_add_client(ends[0]);
    text = g_strdup_printf("%d", ends[1]);
    node_opts_set(opts, "driver", "nbd");
    node_opts_set(opts, "server.type", "fd");
    node_opts_set(opts, "server.str", text);
    node_opts_set(opts, "export", "e");
    load.node = node_open(NULL, opts, NODE_OPEN_RDWR, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(node_length(load.node), ==, DISK_BYTES);
    for (unsigned i = 0; i < G_N_ELEMENTS(jobs); i++) {
        jobs[i] = (LoadJob){ &load, i };
        coroutine_start(co_load, &jobs[i]);
    }
    EVENT_LOOP_WAIT_WHILE(event_loop_main(), load.running > 0);
    g_assert_cmpint(node_flush(load.node), ==, 0);
    node_unref(load.node);
    bench_stop(&b);
}

static void test_client_with_our_server(void)
{
    run_ours_with_ours(NULL);
}

/* The handshake is made here, the requests over there. */
static void test_export_in_an_iothread(void)
{
    run_ours_with_ours(iothread_new("io0"));
}

/* ---- addresses ---- */

static void test_uris(void)
{
    /* clang-format off */
    static const struct { const char *text, *type, *host, *port, *path, *export; } cases[] = {
        { "nbd://h", "inet", "h", "10809", NULL, NULL },
        { "nbd://h:7/a/b", "inet", "h", "7", NULL, "a/b" },
        { "nbd://[::1]:7/x%20y", "inet", "::1", "7", NULL, "x y" },
        { "nbd+unix:///e?socket=/s/k", "unix", NULL, NULL, "/s/k", "e" },
        { "nbd+unix:///?socket=/s%20k", "unix", NULL, NULL, "/s k", NULL },
        { "nbd:h:7:exportname=e:f", "inet", "h", "7", NULL, "e:f" },
        { "nbd:unix:/s:exportname=", "unix", NULL, NULL, "/s", NULL },
        { "nbd:[::1]:7", "inet", "::1", "7", NULL, NULL },
        { "nbd://", NULL, NULL, NULL, NULL, NULL },
        { "nbd://h?socket=/x", NULL, NULL, NULL, NULL, NULL },
        { "nbd+unix:///e", NULL, NULL, NULL, NULL, NULL },
        { "nbd+unix://h/e?socket=/x", NULL, NULL, NULL, NULL, NULL },
        { "nbd:h", NULL, NULL, NULL, NULL, NULL },
        { "nbd::7", NULL, NULL, NULL, NULL, NULL },
    };
    /* clang-format on */

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(NodeOpts) opts = node_opts_new();
        g_autoptr(GError) error = NULL;
        bool ok = nbd_parse_filename(cases[i].text, opts, &error);

        g_assert_cmpint(ok, ==, cases[i].type != NULL);
        g_assert_true(ok == !error);
        if (ok) {
            g_assert_cmpstr(node_opts_get(opts, "server.type"), ==, cases[i].type);
            g_assert_cmpstr(node_opts_get(opts, "server.host"), ==, cases[i].host);
            g_assert_cmpstr(node_opts_get(opts, "server.port"), ==, cases[i].port);
            g_assert_cmpstr(node_opts_get(opts, "server.path"), ==, cases[i].path);
            g_assert_cmpstr(node_opts_get(opts, "export"), ==, cases[i].export);
        }
    }
}

int main(int argc, char **argv)
{
    thread_set_main();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/nbd/server/handshake-limits", test_server_handshake_limits);
    g_test_add_func("/nbd/server/malformed-options", test_server_malformed_options);
    g_test_add_func("/nbd/server/bad-requests", test_server_refuses_bad_requests);
    g_test_add_func("/nbd/server/read-only", test_server_read_only);
    g_test_add_func("/nbd/server/many-requests", test_server_many_requests_at_once);
    g_test_add_func("/nbd/server/half-requests", test_server_leaves_half_requests);
    g_test_add_func("/nbd/server/hard-removal", test_server_hard_removal);
    g_test_add_func("/nbd/client/chunks", test_client_reads_chunks);
    g_test_add_func("/nbd/client/bad-chunks", test_client_refuses_bad_chunks);
    g_test_add_func("/nbd/client/errors", test_client_hears_errors);
    g_test_add_func("/nbd/client/block-status", test_client_block_status);
    g_test_add_func("/nbd/client/mutated-handshake", test_client_mutated_handshake);
    g_test_add_func("/nbd/ours-with-ours", test_client_with_our_server);
    g_test_add_func("/nbd/ours-in-an-iothread", test_export_in_an_iothread);
    g_test_add_func("/nbd/uris", test_uris);
    return g_test_run();
}
