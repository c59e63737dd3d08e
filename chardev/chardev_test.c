/* SPDX-License-Identifier: MIT */
/* Character back ends over socket pairs, files and the fake. */
#include "chardev/chardev.h"
#include "base/thread.h"
#include "chardev/fake.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* A user that keeps what it gets. */
typedef struct User {
    CharFrontend chr;
    GString *in, *events;
    unsigned room;
    unsigned writable;
} User;

static unsigned user_can_receive(void *opaque)
{
    return ((User *)opaque)->room;
}

static void user_receive(void *opaque, const uint8_t *data, unsigned len)
{
    User *u = opaque;

    g_assert_cmpuint(len, <=, u->room);
    u->room -= len;
    g_string_append_len(u->in, (const char *)data, len);
}

static void user_event(void *opaque, CharEvent event)
{
    static const char letters[] = "OCBio";

    g_string_append_c(((User *)opaque)->events, letters[event]);
}

static void user_writable(void *opaque)
{
    ((User *)opaque)->writable++;
}

static const CharHandlers user_handlers = { user_can_receive, user_receive, user_event,
                                            user_writable };

static void user_init(User *u, const char *id)
{
    GError *error = NULL;

    *u = (User){ .in = g_string_new(NULL), .events = g_string_new(NULL), .room = 1000 };
    char_connect(&u->chr, id, &error);
    g_assert_no_error(error);
    char_attach(&u->chr, &user_handlers, u);
}

static void user_clear(User *u)
{
    char_disconnect(&u->chr);
    g_string_free(u->in, TRUE);
    g_string_free(u->events, TRUE);
}

static void add(const char *option)
{
    GError *error = NULL;

    chardev_new_from_option(option, &error);
    g_assert_no_error(error);
}

static void expect_error(const char *option, const char *part)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(chardev_new_from_option(option, &error));
    g_assert_nonnull(error);
    if (!strstr(error->message, part)) {
        g_error("'%s' lacks '%s'", error->message, part);
    }
}

static void wait_for(GString *s, const char *text)
{
    while (strcmp(s->str, text) != 0) {
        event_loop_iterate(event_loop_main(), true);
    }
}

static char *temp_path(const char *name)
{
    static char *dir;

    if (!dir) {
        dir = g_dir_make_tmp("rhea-chardev-XXXXXX", NULL);
    }
    return g_build_filename(dir, name, NULL);
}

static int unix_connect(const char *path)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path));
    g_assert_cmpint(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), ==, 0);
    return fd;
}

static void test_unix_server(void)
{
    g_autofree char *path = temp_path("server"), *option = NULL;
    char buffer[16];
    User u;
    int fd;

    option = g_strdup_printf("socket,id=s,path=%s,server=on,wait=off", path);
    add(option);
    user_init(&u, "s");
    g_assert_false(char_is_open(&u.chr));
    g_assert_cmpuint(char_write(&u.chr, "lost", 4), ==, 4);
    fd = unix_connect(path);
    wait_for(u.events, "O");
    g_assert_cmpint(write(fd, "hello", 5), ==, 5);
    wait_for(u.in, "hello");
    g_assert_cmpuint(char_write(&u.chr, "world", 5), ==, 5);
    g_assert_cmpint(read(fd, buffer, sizeof(buffer)), ==, 5);
    close(fd);
    wait_for(u.events, "OC");
    fd = unix_connect(path);
    wait_for(u.events, "OCO");
    close(fd);
    user_clear(&u);
    g_assert_true(chardev_remove("s", NULL));
    g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
}

static void test_taken_socket_is_refused(void)
{
    g_autofree char *path = temp_path("taken"), *one = NULL, *two = NULL;

    one = g_strdup_printf("socket,id=a,path=%s,server=on,wait=off", path);
    two = g_strdup_printf("socket,id=b,path=%s,server=on,wait=off", path);
    add(one);
    expect_error(two, "is taken");
    g_assert_null(chardev_find("b"));
    g_assert_true(chardev_remove("a", NULL));
}

/* What is no socket is somebody's file: it is neither replaced nor removed. */
static void test_file_is_not_replaced(void)
{
    g_autofree char *path = temp_path("precious"), *option = NULL, *content = NULL;

    option = g_strdup_printf("socket,id=a,path=%s,server=on,wait=off", path);
    g_assert_true(g_file_set_contents(path, "precious", -1, NULL));
    expect_error(option, "exists and is no socket");
    g_assert_true(g_file_get_contents(path, &content, NULL, NULL));
    g_assert_cmpstr(content, ==, "precious");

    g_assert_cmpint(unlink(path), ==, 0);
    add(option);
    g_assert_cmpint(unlink(path), ==, 0);
    g_assert_true(g_file_set_contents(path, "precious", -1, NULL));
    g_assert_true(chardev_remove("a", NULL));
    g_assert_true(g_file_test(path, G_FILE_TEST_IS_REGULAR));
    g_assert_cmpint(unlink(path), ==, 0);
}

static void test_stale_socket_is_replaced(void)
{
    g_autofree char *path = temp_path("stale"), *option = NULL;
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path));
    g_assert_cmpint(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), ==, 0);
    close(fd);
    option = g_strdup_printf("socket,id=a,path=%s,server=on,wait=off", path);
    add(option);
    close(unix_connect(path));
    g_assert_true(chardev_remove("a", NULL));
}

static void test_backpressure_both_ways(void)
{
    int fds[2];
    g_autofree char *option = NULL, *big = g_malloc0(1 << 20), *drain = g_malloc(1 << 20);
    unsigned taken;
    User u;

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), ==, 0);
    option = g_strdup_printf("socket,id=s,fd=%d", fds[0]);
    add(option);
    user_init(&u, "s");
    u.room = 3;
    g_assert_cmpint(write(fds[1], "abcdef", 6), ==, 6);
    wait_for(u.in, "abc");
    g_assert_false(event_loop_iterate(event_loop_main(), false) && u.in->len > 3);
    u.room = 10;
    char_accept_input(&u.chr);
    wait_for(u.in, "abcdef");

    taken = char_write(&u.chr, big, 1 << 20);
    g_assert_cmpuint(taken, <, 1 << 20);
    g_assert_cmpuint(char_write(&u.chr, big, 1), ==, 0);
    while (!u.writable) {
        g_assert_cmpint(read(fds[1], drain, 1 << 20), >, 0);
        event_loop_iterate(event_loop_main(), false);
    }
    g_assert_cmpuint(char_write(&u.chr, big, 1), ==, 1);
    user_clear(&u);
    close(fds[1]);
    g_assert_true(chardev_remove("s", NULL));
}

static void test_descriptors_travel(void)
{
    int fds[2], got, pipe_fds[2];
    g_autofree char *option = NULL;
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = { { 0 } };
    struct iovec iov = { (void *)"x", 1 };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space,
                          .msg_controllen = sizeof(control.space) };
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    User u;

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), ==, 0);
    g_assert_cmpint(pipe(pipe_fds), ==, 0);
    option = g_strdup_printf("socket,id=s,fd=%d", fds[0]);
    add(option);
    user_init(&u, "s");
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &pipe_fds[1], sizeof(int));
    g_assert_cmpint(sendmsg(fds[1], &msg, 0), ==, 1);
    wait_for(u.in, "x");
    got = char_take_fd(&u.chr);
    g_assert_cmpint(got, >=, 0);
    g_assert_cmpint(write(got, "y", 1), ==, 1);
    g_assert_cmpint(char_take_fd(&u.chr), ==, -1);
    close(got);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    user_clear(&u);
    close(fds[1]);
    g_assert_true(chardev_remove("s", NULL));
}

static void test_telnet_commands_are_filtered(void)
{
    static const uint8_t sent[] = { 'a', 255, 253, 1, 'b', 255, 255, 255, 250, 24, 0, 255, 240,
                                    'c', 255, 243, 'd' };
    int fds[2];
    g_autofree char *option = NULL;
    char hello[12];
    User u;

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), ==, 0);
    option = g_strdup_printf("socket,id=s,fd=%d,telnet=on", fds[0]);
    add(option);
    user_init(&u, "s");
    g_assert_cmpint(read(fds[1], hello, sizeof(hello)), ==, sizeof(hello));
    g_assert_cmpint(write(fds[1], sent, sizeof(sent)), ==, sizeof(sent));
    wait_for(u.in, "ab\377cd");
    g_assert_cmpstr(u.events->str, ==, "OB");
    user_clear(&u);
    close(fds[1]);
    g_assert_true(chardev_remove("s", NULL));
}

static void test_tcp_client_and_server(void)
{
    g_autofree char *client = NULL;
    const char *port;
    User a, b;

    add("socket,id=srv,host=127.0.0.1,port=0,server=on,wait=off");
    port = strrchr(chardev_filename(chardev_find("srv")), ':') + 1;
    client = g_strdup_printf("socket,id=cli,host=127.0.0.1,port=%d", atoi(port));
    user_init(&a, "srv");
    add(client);
    user_init(&b, "cli");
    wait_for(a.events, "O");
    char_write(&b.chr, "ping", 4);
    wait_for(a.in, "ping");
    char_hang_up(&a.chr);
    wait_for(b.events, "OC");
    user_clear(&b);
    user_clear(&a);
    g_assert_true(chardev_remove("cli", NULL));
    g_assert_true(chardev_remove("srv", NULL));
}

static void test_file_and_log(void)
{
    g_autofree char *path = temp_path("out"), *log = temp_path("log"), *option = NULL;
    g_autofree char *got = NULL, *logged = NULL;
    User u;

    option = g_strdup_printf("file,id=f,path=%s,logfile=%s", path, log);
    add(option);
    user_init(&u, "f");
    char_write(&u.chr, "one", 3);
    char_write_all(&u.chr, "two", 3);
    user_clear(&u);
    g_assert_true(chardev_remove("f", NULL));
    g_assert_true(g_file_get_contents(path, &got, NULL, NULL));
    g_assert_true(g_file_get_contents(log, &logged, NULL, NULL));
    g_assert_cmpstr(got, ==, "onetwo");
    g_assert_cmpstr(logged, ==, "onetwo");
}

static void test_ringbuf_keeps_the_newest(void)
{
    g_autoptr(GByteArray) got = NULL;
    User u;

    add("memory,id=r,size=4");
    user_init(&u, "r");
    char_write(&u.chr, "abcdef", 6);
    got = chardev_ringbuf_read(chardev_find("r"), 100, NULL);
    g_assert_cmpmem(got->data, got->len, "cdef", 4);
    user_clear(&u);
    g_assert_true(chardev_remove("r", NULL));
    expect_error("ringbuf,id=r,size=3", "power of two");
}

static void test_pty(void)
{
    g_autofree char *name = NULL;
    User u;
    int fd;

    if (g_test_subprocess()) {
        add("pty,id=p");
        user_init(&u, "p");
        name = g_strdup(chardev_filename(chardev_find("p")) + 4);
        fd = open(name, O_RDWR | O_NOCTTY);
        g_assert_cmpint(fd, >=, 0);
        wait_for(u.events, "O");
        g_assert_cmpint(write(fd, "hi\n", 3), ==, 3);
        wait_for(u.in, "hi\n");
        close(fd);
        wait_for(u.events, "OC");
        user_clear(&u);
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_passed();
    g_test_trap_assert_stderr("char device redirected to /dev/pts/* (label p)\n");
}

/* -------- multiplexer -------- */

static unsigned quits;
static void count_quit(void *opaque)
{
    quits++;
}

static void test_mux_moves_the_keyboard(void)
{
    static const CharMuxActions actions = { count_quit, NULL };
    int fds[2];
    g_autofree char *option = NULL;
    char buffer[1000];
    User a, b;
    ssize_t n;

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), ==, 0);
    option = g_strdup_printf("socket,id=m,fd=%d,mux=on", fds[0]);
    add(option);
    chardev_set_mux_actions(&actions, NULL);
    user_init(&a, "m");
    user_init(&b, "m");
    g_assert_cmpstr(a.events->str, ==, "iOo");
    g_assert_cmpint(write(fds[1], "x\001cy\001\001", 6), ==, 6);
    wait_for(a.in, "y\001");
    g_assert_cmpstr(b.in->str, ==, "x");
    g_assert_cmpint(write(fds[1], "\001b\001x\001h.", 7), ==, 7);
    wait_for(a.in, "y\001.");
    g_assert_cmpstr(a.events->str, ==, "iOoiB");
    g_assert_cmpuint(quits, ==, 1);
    n = read(fds[1], buffer, sizeof(buffer) - 1);
    g_assert_cmpint(n, >, 0);
    buffer[n] = '\0';
    g_assert_nonnull(strstr(buffer, "C-a x    exit emulator\r\n"));
    user_clear(&b);
    user_clear(&a);
    g_assert_true(chardev_remove("m", NULL));
    g_assert_true(chardev_remove("m-base", NULL));
    close(fds[1]);
}

static void test_mux_keeps_input_for_a_busy_user(void)
{
    int fds[2];
    g_autofree char *option = NULL;
    User a;

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), ==, 0);
    option = g_strdup_printf("socket,id=m,fd=%d,mux=on", fds[0]);
    add(option);
    user_init(&a, "m");
    a.room = 1;
    g_assert_cmpint(write(fds[1], "abc\001b", 5), ==, 5);
    wait_for(a.events, "iOB");
    g_assert_cmpstr(a.in->str, ==, "a");
    a.room = 9;
    char_accept_input(&a.chr);
    g_assert_cmpstr(a.in->str, ==, "abc");
    user_clear(&a);
    g_assert_true(chardev_remove("m", NULL));
    g_assert_true(chardev_remove("m-base", NULL));
    close(fds[1]);
}

/* -------- names and errors -------- */

static void test_second_user_is_refused(void)
{
    g_autoptr(GError) error = NULL;
    CharFrontend other = { 0 };
    User u;

    add("null,id=n");
    user_init(&u, "n");
    g_assert_false(char_connect(&other, "n", &error));
    g_assert_nonnull(strstr(error->message, "mux=on"));
    g_clear_error(&error);
    g_assert_false(chardev_remove("n", &error));
    user_clear(&u);
    g_assert_true(chardev_remove("n", NULL));
}

static void test_errors_help(void)
{
    expect_error("stdoi,id=a", "did you mean 'stdio'?");
    expect_error("null", "needs id=");
    expect_error("file,id=a", "path=PATH");
    expect_error("file,id=a,pth=/x", "did you mean 'path'?");
    expect_error("null,id=a,pth=/x", "Invalid parameter 'pth'");
    expect_error("socket,id=a", "one of path=PATH, port=PORT and fd=FD");
    expect_error("socket,id=a,path=/nonexistent/x,server=on,wait=off", "/nonexistent/x");
    expect_error("socket,id=a,port=1,wait=on", "server=on");
    expect_error("pipe,id=a,path=/nonexistent/x", "mkfifo");
    g_assert_null(chardev_find("a"));
}

static void test_short_forms(void)
{
    static const struct {
        const char *text, *kind, *error;
        bool mon;
    } rows[] = {
        { "null", "null", NULL, false },
        { "mon:null", "mux", NULL, true },
        { "tcp:127.0.0.1:0,server,nowait", "socket", NULL, false },
        { "telnet::0,server=on,wait=off", "socket", NULL, false },
        { "udp:127.0.0.1:9@127.0.0.1:0", "udp", NULL, false },
        { "ringbuf", "ringbuf", NULL, false },
        { "chardev:nope", NULL, "not found", false },
        { "tcp:foo", NULL, "[HOST]:PORT", false },
        { "stdoi", NULL, "did you mean 'stdio'?", false },
        { "flie:x", NULL, "file:", false },
        { "unix:/nonexistent/x,server,nowait", NULL, "/nonexistent/x", false },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        bool mon;
        Chardev *chr = chardev_new_legacy("serial0", rows[i].text, &mon, &error);

        g_assert_cmpint(mon, ==, rows[i].mon);
        if (rows[i].kind) {
            g_assert_no_error(error);
            g_assert_cmpstr(chardev_kind(chr), ==, rows[i].kind);
            chardev_cleanup();
        } else {
            g_assert_null(chr);
            g_assert_nonnull(strstr(error->message, rows[i].error));
        }
    }
}

static void test_fake_limits(void)
{
    g_autoptr(FakeChar) c = fake_char_new("fake0");
    User u;

    user_init(&u, "fake0");
    fake_char_limit(c, 2);
    g_assert_cmpuint(char_write(&u.chr, "abc", 3), ==, 2);
    fake_char_limit(c, 5);
    g_assert_cmpuint(u.writable, ==, 1);
    g_assert_cmpstr(fake_char_output(c), ==, "ab");
    u.room = 2;
    g_assert_cmpuint(fake_char_send(c, "xyz"), ==, 2);
    user_clear(&u);
}

static void test_change_keeps_the_user(void)
{
    g_autofree char *path = temp_path("changed"), *text = NULL;
    g_autoptr(KeyVal) file = keyval_new(), none = keyval_new(), bad = keyval_new();
    g_autoptr(GError) error = NULL;
    User u;

    add("ringbuf,id=c");
    user_init(&u, "c");
    keyval_set(file, "path", path);
    g_assert_nonnull(chardev_change("c", "file", file, NULL));
    g_assert_cmpstr(chardev_kind(chardev_find("c")), ==, "file");
    g_assert_cmpuint(char_write(&u.chr, "abc", 3), ==, 3);
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, "abc");
    keyval_set(bad, "path", "/nonexistent/x");
    g_assert_null(chardev_change("c", "file", bad, &error));
    g_assert_cmpstr(char_id(&u.chr), ==, "c");
    g_assert_null(chardev_change("nobody", "null", none, NULL));
    user_clear(&u);
    g_assert_true(chardev_remove("c", NULL));
    g_unlink(path);
}

static void test_unconnected_swallows(void)
{
    CharFrontend fe = { 0 };

    char_attach(&fe, &user_handlers, NULL);
    g_assert_cmpuint(char_write(&fe, "abc", 3), ==, 3);
    g_assert_false(char_is_open(&fe));
    char_detach(&fe);
    char_disconnect(&fe);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/chardev/unix-server", test_unix_server);
    g_test_add_func("/chardev/taken", test_taken_socket_is_refused);
    g_test_add_func("/chardev/taken/file", test_file_is_not_replaced);
    g_test_add_func("/chardev/taken/stale", test_stale_socket_is_replaced);
    g_test_add_func("/chardev/backpressure", test_backpressure_both_ways);
    g_test_add_func("/chardev/descriptors", test_descriptors_travel);
    g_test_add_func("/chardev/telnet", test_telnet_commands_are_filtered);
    g_test_add_func("/chardev/tcp", test_tcp_client_and_server);
    g_test_add_func("/chardev/file", test_file_and_log);
    g_test_add_func("/chardev/ringbuf", test_ringbuf_keeps_the_newest);
    g_test_add_func("/chardev/pty", test_pty);
    g_test_add_func("/chardev/mux/keyboard", test_mux_moves_the_keyboard);
    g_test_add_func("/chardev/mux/busy", test_mux_keeps_input_for_a_busy_user);
    g_test_add_func("/chardev/second-user", test_second_user_is_refused);
    g_test_add_func("/chardev/errors", test_errors_help);
    g_test_add_func("/chardev/short-forms", test_short_forms);
    g_test_add_func("/chardev/fake", test_fake_limits);
    g_test_add_func("/chardev/change", test_change_keeps_the_user);
    g_test_add_func("/chardev/unconnected", test_unconnected_swallows);
    return g_test_run();
}
