/* SPDX-License-Identifier: MIT */
/* The client of the qtest protocol, over a pair of sockets that the emulator connects to. */
#include "tests/qtest/libqtest.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define IRQS 256

typedef struct Line {
    int fd;
    GString *pending;
} Line;

struct Qtest {
    pid_t pid;
    char *dir;
    Line qtest, qmp;
    bool irq[IRQS];
    unsigned edges[IRQS];
    GPtrArray *events;           /* char *: QMP events nobody asked for yet */
};

static void write_all(int fd, const char *text)
{
    size_t len = strlen(text);

    while (len) {
        ssize_t n = write(fd, text, len);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            g_error("the emulator has gone: %s", g_strerror(errno));
        }
        text += n;
        len -= (size_t)n;
    }
}

static char *read_line(Line *line)
{
    for (;;) {
        char *end = memchr(line->pending->str, '\n', line->pending->len);
        char buf[4096];
        ssize_t n;

        if (end) {
            size_t len = (size_t)(end - line->pending->str);
            char *text = g_strndup(line->pending->str, len);

            g_string_erase(line->pending, 0, (gssize)len + 1);
            g_strchomp(text);
            return text;
        }
        n = read(line->fd, buf, sizeof(buf));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            g_error("the emulator has gone");
        }
        g_string_append_len(line->pending, buf, n);
    }
}

static int listen_on(const char *path)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path));
    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 1) < 0) {
        g_error("cannot listen on %s: %s", path, g_strerror(errno));
    }
    return fd;
}

/* The emulator may die instead of connecting: then say so rather than wait for ever. */
static int accept_from(int listener, pid_t pid)
{
    struct timeval tick = { .tv_usec = 200000 };
    int status;

    setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &tick, sizeof(tick));
    for (;;) {
        int fd = accept(listener, NULL, NULL);

        if (fd >= 0) {
            close(listener);
            return fd;
        }
        if (waitpid(pid, &status, WNOHANG) == pid) {
            g_error("the emulator ended with status %d before it connected", status);
        }
    }
}

static G_NORETURN void exec_emulator(const char *binary, const char *dir, const char *args)
{
    const char *accel = getenv("QTEST_ACCEL");
    g_autofree char *command = g_strdup_printf(
        "exec %s 2>%s/log -qtest unix:%s/qtest -qtest-log none -chardev socket,path=%s/qmp,id=qtest-qmp "
        "-mon chardev=qtest-qmp,mode=control -display none -accel %s %s", binary, dir, dir, dir,
        accel ? accel : "qtest", args);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    execl("/bin/sh", "sh", "-c", command, NULL);
    _exit(127);
}

Qtest *qtest_start(const char *args)
{
    const char *binary = getenv("QTEST_QEMU_BINARY");
    Qtest *q = g_new0(Qtest, 1);
    g_autofree char *qtest_path = NULL, *qmp_path = NULL, *answer = NULL;
    int qtest_listener, qmp_listener;

    if (!binary) {
        g_error("set QTEST_QEMU_BINARY to the emulator to test");
    }
    q->dir = g_dir_make_tmp("qtest-XXXXXX", NULL);
    qtest_path = g_build_filename(q->dir, "qtest", NULL);
    qmp_path = g_build_filename(q->dir, "qmp", NULL);
    qtest_listener = listen_on(qtest_path);
    qmp_listener = listen_on(qmp_path);
    q->pid = fork();
    if (q->pid == 0) {
        exec_emulator(binary, q->dir, args);
    }
    q->events = g_ptr_array_new_with_free_func(g_free);
    q->qmp = (Line){ -1, g_string_new(NULL) };
    q->qtest = (Line){ -1, g_string_new(NULL) };
    /* QEMU connects the qtest chardev first, we the other way round: the backlog takes both. */
    q->qmp.fd = accept_from(qmp_listener, q->pid);
    q->qtest.fd = accept_from(qtest_listener, q->pid);
    g_free(read_line(&q->qmp));                  /* the greeting */
    answer = qtest_qmp(q, "{'execute': 'qmp_capabilities'}");
    return q;
}

Qtest *qtest_startf(const char *format, ...)
{
    g_autofree char *args = NULL;
    va_list list;

    va_start(list, format);
    args = g_strdup_vprintf(format, list);
    va_end(list);
    return qtest_start(args);
}

/* Waits for the end of the process and frees what belongs to it; its wait status. */
static int bury(Qtest *q)
{
    g_autofree char *qtest_path = g_build_filename(q->dir, "qtest", NULL);
    g_autofree char *qmp_path = g_build_filename(q->dir, "qmp", NULL);
    g_autofree char *log_path = g_build_filename(q->dir, "log", NULL);
    int status = 0;

    waitpid(q->pid, &status, 0);
    close(q->qtest.fd);
    close(q->qmp.fd);
    unlink(qtest_path);
    unlink(qmp_path);
    unlink(log_path);
    rmdir(q->dir);
    g_string_free(q->qtest.pending, TRUE);
    g_string_free(q->qmp.pending, TRUE);
    g_ptr_array_unref(q->events);
    g_free(q->dir);
    g_free(q);
    return status;
}

void qtest_quit(Qtest *q)
{
    int status;

    kill(q->pid, SIGTERM);
    status = bury(q);
    if (WIFSIGNALED(status) && WTERMSIG(status) != SIGTERM) {
        g_error("the emulator died of signal %d", WTERMSIG(status));
    }
}

int qtest_outb_exit_status(Qtest *q, uint16_t port, uint8_t value)
{
    g_autofree char *line = g_strdup_printf("outb 0x%x 0x%x\n", port, value);
    int status;

    write_all(q->qtest.fd, line);
    status = bury(q);
    g_assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* ---- the protocol ---- */

/* Interrupt messages come between answers. */
static char *read_answer(Qtest *q)
{
    for (;;) {
        char *line = read_line(&q->qtest);
        char verb[16];
        unsigned n;

        if (sscanf(line, "IRQ %15s %u", verb, &n) != 2) {
            return line;
        }
        if (n < IRQS) {
            q->irq[n] = strcmp(verb, "raise") == 0;
            q->edges[n] += q->irq[n];
        }
        g_free(line);
    }
}

char *qtest_command(Qtest *q, const char *format, ...)
{
    g_autofree char *line = NULL;
    g_autofree char *answer = NULL;
    va_list list;

    va_start(list, format);
    line = g_strdup_vprintf(format, list);
    va_end(list);
    write_all(q->qtest.fd, line);
    write_all(q->qtest.fd, "\n");
    answer = read_answer(q);
    if (!g_str_has_prefix(answer, "OK")) {
        g_error("qtest: '%s' was answered '%s'", line, answer);
    }
    return g_strdup(answer[2] == ' ' ? answer + 3 : "");
}

bool qtest_fails(Qtest *q, const char *line)
{
    g_autofree char *answer = NULL;

    write_all(q->qtest.fd, line);
    write_all(q->qtest.fd, "\n");
    answer = read_answer(q);
    return g_str_has_prefix(answer, "FAIL");
}

static uint64_t value_of(char *take)
{
    uint64_t value = g_ascii_strtoull(take, NULL, 0);

    g_free(take);
    return value;
}

#define PORT(letter, type)                                                                   \
    type qtest_in##letter(Qtest *q, uint16_t port)                                           \
    {                                                                                        \
        return (type)value_of(qtest_command(q, "in" #letter " 0x%x", port));                 \
    }                                                                                        \
    void qtest_out##letter(Qtest *q, uint16_t port, type value)                              \
    {                                                                                        \
        g_free(qtest_command(q, "out" #letter " 0x%x 0x%x", port, value));                   \
    }
PORT(b, uint8_t)
PORT(w, uint16_t)
PORT(l, uint32_t)

#define MEMORY(letter, type)                                                                 \
    type qtest_read##letter(Qtest *q, uint64_t addr)                                         \
    {                                                                                        \
        return (type)value_of(qtest_command(q, "read" #letter " 0x%" PRIx64, addr));         \
    }                                                                                        \
    void qtest_write##letter(Qtest *q, uint64_t addr, type value)                            \
    {                                                                                        \
        g_free(qtest_command(q, "write" #letter " 0x%" PRIx64 " 0x%" PRIx64, addr,           \
                             (uint64_t)value));                                              \
    }
MEMORY(b, uint8_t)
MEMORY(w, uint16_t)
MEMORY(l, uint32_t)
MEMORY(q, uint64_t)

void qtest_memread(Qtest *q, uint64_t addr, void *buf, size_t len)
{
    g_autofree char *text = qtest_command(q, "b64read 0x%" PRIx64 " 0x%zx", addr, len);
    gsize have;
    g_autofree guchar *bytes = g_base64_decode(text, &have);

    g_assert_cmpuint(have, ==, len);
    memcpy(buf, bytes, len);
}

void qtest_memwrite(Qtest *q, uint64_t addr, const void *buf, size_t len)
{
    g_autofree char *text = g_base64_encode(buf, len);

    g_free(qtest_command(q, "b64write 0x%" PRIx64 " 0x%zx %s", addr, len, text));
}

void qtest_memset(Qtest *q, uint64_t addr, uint8_t byte, size_t len)
{
    g_free(qtest_command(q, "memset 0x%" PRIx64 " 0x%zx 0x%02x", addr, len, byte));
}

int64_t qtest_clock_step(Qtest *q, int64_t ns)
{
    return (int64_t)value_of(qtest_command(q, "clock_step %" PRId64, ns));
}

void qtest_irq_intercept_in(Qtest *q, const char *path)
{
    g_free(qtest_command(q, "irq_intercept_in %s", path));
}

void qtest_irq_intercept_out(Qtest *q, const char *path)
{
    g_free(qtest_command(q, "irq_intercept_out %s", path));
}

unsigned qtest_edges(Qtest *q, unsigned n)
{
    g_assert_cmpuint(n, <, IRQS);
    qtest_irq(q, n);
    return q->edges[n];
}

bool qtest_irq(Qtest *q, unsigned n)
{
    g_assert_cmpuint(n, <, IRQS);
    g_free(qtest_command(q, "endianness"));      /* whatever was sent before has arrived now */
    return q->irq[n];
}

/* ---- QMP ---- */

char *qtest_qmp(Qtest *q, const char *json)
{
    write_all(q->qmp.fd, json);
    for (;;) {
        char *line = read_line(&q->qmp);

        if (!strstr(line, "\"event\": ")) {
            return line;
        }
        g_ptr_array_add(q->events, line);
    }
}

static bool is_event(const char *line, const char *name)
{
    g_autofree char *part = g_strdup_printf("\"event\": \"%s\"", name);

    return strstr(line, part) != NULL;
}

char *qtest_wait_event(Qtest *q, const char *name)
{
    for (unsigned i = 0; i < q->events->len; i++) {
        if (is_event(q->events->pdata[i], name)) {
            return g_ptr_array_steal_index(q->events, i);
        }
    }
    for (;;) {
        char *line = read_line(&q->qmp);

        if (is_event(line, name)) {
            return line;
        }
        g_ptr_array_add(q->events, line);
    }
}

/* ---- PCI ---- */

char *qtest_find_device(Qtest *q, const char *type, unsigned nth)
{
    g_autofree char *list = qtest_qmp(
        q, "{'execute': 'qom-list', 'arguments': {'path': '/machine/unattached'}}");
    g_autofree char *wanted = g_strdup_printf("child<%s>", type);
    g_auto(GStrv) rows = g_strsplit(list, "}", -1);

    /* In numerical order, which is that of creation. */
    for (unsigned i = 0; i < g_strv_length(rows); i++) {
        g_autofree char *name = g_strdup_printf("\"device[%u]\"", i);

        for (char **row = rows; *row; row++) {
            if (strstr(*row, name) && strstr(*row, wanted) && nth-- == 0) {
                return g_strdup_printf("/machine/unattached/device[%u]", i);
            }
        }
    }
    g_error("there is no device of type '%s'", type);
}

static void pci_select(Qtest *q, unsigned devfn, unsigned offset)
{
    qtest_outl(q, 0xcf8, 0x80000000u | devfn << 8 | (offset & 0xfc));
}

#define PCI(letter, type)                                                                    \
    type qtest_pci_read##letter(Qtest *q, unsigned devfn, unsigned offset)                   \
    {                                                                                        \
        pci_select(q, devfn, offset);                                                        \
        return qtest_in##letter(q, (uint16_t)(0xcfc + (offset & 3)));                        \
    }                                                                                        \
    void qtest_pci_write##letter(Qtest *q, unsigned devfn, unsigned offset, type value)      \
    {                                                                                        \
        pci_select(q, devfn, offset);                                                        \
        qtest_out##letter(q, (uint16_t)(0xcfc + (offset & 3)), value);                       \
    }
PCI(b, uint8_t)
PCI(w, uint16_t)
PCI(l, uint32_t)

/* ---- fw_cfg ---- */

enum { FW_CFG_CONTROL = 0x10000, FW_CFG_DIRECTORY = 0x20000, FW_CFG_DATA = 0x100000 };

uint32_t qtest_fw_cfg_dma(Qtest *q, uint32_t control, uint32_t len, uint64_t addr)
{
    uint32_t done;

    qtest_writel(q, FW_CFG_CONTROL, GUINT32_SWAP_LE_BE(control));
    qtest_writel(q, FW_CFG_CONTROL + 4, GUINT32_SWAP_LE_BE(len));
    qtest_writeq(q, FW_CFG_CONTROL + 8, GUINT64_SWAP_LE_BE(addr));
    qtest_outl(q, 0x514, 0);
    qtest_outl(q, 0x518, GUINT32_SWAP_LE_BE(FW_CFG_CONTROL));
    /* Long transfers take several turns. */
    do {
        done = GUINT32_SWAP_LE_BE(qtest_readl(q, FW_CFG_CONTROL));
    } while (done & ~1u);
    return done;
}

unsigned qtest_fw_cfg_find(Qtest *q, const char *name, uint32_t *size)
{
    uint8_t head[4], entry[64];
    uint32_t count;

    qtest_fw_cfg_dma(q, 0x0019000a, 4, FW_CFG_DIRECTORY);
    qtest_memread(q, FW_CFG_DIRECTORY, head, 4);
    count = (uint32_t)head[2] << 8 | head[3];
    g_assert_cmpuint(count, >, 0);
    for (uint32_t i = 0; i < count; i++) {
        qtest_fw_cfg_dma(q, 0x00000002, 64, FW_CFG_DIRECTORY);
        qtest_memread(q, FW_CFG_DIRECTORY, entry, 64);
        if (strcmp((char *)entry + 8, name) == 0) {
            *size = (uint32_t)entry[0] << 24 | entry[1] << 16 | entry[2] << 8 | entry[3];
            return (unsigned)entry[4] << 8 | entry[5];
        }
    }
    return 0;
}

uint8_t *qtest_fw_cfg_file(Qtest *q, const char *name, size_t *len)
{
    uint32_t size;
    unsigned key = qtest_fw_cfg_find(q, name, &size);
    uint8_t *data;

    if (!key) {
        g_error("there is no fw_cfg file '%s'", name);
    }
    g_assert_cmphex(qtest_fw_cfg_dma(q, (uint32_t)key << 16 | 0xa, size, FW_CFG_DATA), ==, 0);
    data = g_malloc(size + 1u);
    qtest_memread(q, FW_CFG_DATA, data, size);
    *len = size;
    return data;
}

/* ---- files ---- */

static GPtrArray *temp_files;    /* char * */

static void remove_temp_files(void)
{
    for (unsigned i = 0; i < temp_files->len; i++) {
        unlink(temp_files->pdata[i]);
    }
}

static bool can_make_holes(void)
{
    int fd = open(qtest_temp_disk(256 * 1024), O_RDWR);
    bool can = !fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 64 * 1024, 64 * 1024) &&
               lseek(fd, 0, SEEK_HOLE) == 64 * 1024;

    close(fd);
    return can;
}

void qtest_expect_hole(const char *path, off_t start, off_t end)
{
    struct stat st;
    int fd;

    if (!can_make_holes()) {
        g_test_skip("the file system of temporary files makes no holes");
        return;
    }
    fd = open(path, O_RDONLY);
    g_assert_cmpint(fstat(fd, &st), ==, 0);
    if (!end) {
        g_assert_cmpint(lseek(fd, 0, SEEK_HOLE), ==, st.st_size);
    } else {
        g_assert_cmpint(lseek(fd, 0, SEEK_HOLE), ==, start);
        g_assert_cmpint(lseek(fd, start, SEEK_DATA), ==, end);
        g_assert_cmpint(lseek(fd, end, SEEK_HOLE), ==, st.st_size);
    }
    close(fd);
}

const char *qtest_temp_disk(size_t len)
{
    g_autofree uint8_t *data = g_malloc(len);
    char *path;
    int fd = g_file_open_tmp("qtest-disk-XXXXXX", &path, NULL);

    for (size_t i = 0; i < len; i++) {
        data[i] = (uint8_t)(i / 512 ^ i % 512);
    }
    if (fd < 0 || write(fd, data, len) != (ssize_t)len) {
        g_error("cannot make a disk of %zu bytes", len);
    }
    close(fd);
    if (!temp_files) {
        temp_files = g_ptr_array_new();
        atexit(remove_temp_files);
    }
    g_ptr_array_add(temp_files, path);
    return path;
}

/* ---- tables ---- */

/* Each poll is a turn of the emulator's main loop; what does not come in so many never comes. */
static uint64_t wait_for(Qtest *q, const QtestStep *s)
{
    uint8_t value = 0;

    for (unsigned i = 0; i < 1000000; i++) {
        value = qtest_inb(q, (uint16_t)s->addr);
        if ((value & s->mask) == s->value) {
            break;
        }
    }
    return value;
}

static uint64_t read_step(Qtest *q, const QtestStep *s)
{
    unsigned fn = (unsigned)s->addr >> 8, reg = (unsigned)s->addr & 0xff;

    switch (s->op) {
    case QTEST_IN:
        return s->size == 1   ? qtest_inb(q, (uint16_t)s->addr)
               : s->size == 2 ? qtest_inw(q, (uint16_t)s->addr)
                              : qtest_inl(q, (uint16_t)s->addr);
    case QTEST_READ:
        return s->size == 1   ? qtest_readb(q, s->addr)
               : s->size == 2 ? qtest_readw(q, s->addr)
               : s->size == 4 ? qtest_readl(q, s->addr)
                              : qtest_readq(q, s->addr);
    case QTEST_PCI_READ:
        return s->size == 1   ? qtest_pci_readb(q, fn, reg)
               : s->size == 2 ? qtest_pci_readw(q, fn, reg)
                              : qtest_pci_readl(q, fn, reg);
    case QTEST_WAIT:
        return wait_for(q, s);
    case QTEST_LINE:
        return qtest_irq(q, (unsigned)s->addr);
    default: {
        unsigned edges = qtest_edges(q, (unsigned)s->addr);

        q->edges[s->addr] = 0;
        return edges;
    }
    }
}

static void write_step(Qtest *q, const QtestStep *s)
{
    static const char letters[] = "?bw?l???q";

    if (s->op == QTEST_CLOCK) {
        qtest_clock_step(q, (int64_t)s->value);
    } else if (s->op == QTEST_PCI_WRITE) {
        pci_select(q, (unsigned)s->addr >> 8, (unsigned)s->addr & 0xff);
        g_free(qtest_command(q, "out%c 0x%x 0x%" PRIx64, letters[s->size],
                             0xcfc + ((unsigned)s->addr & 3), s->value));
    } else {
        g_free(qtest_command(q, "%s%c 0x%" PRIx64 " 0x%" PRIx64,
                             s->op == QTEST_OUT ? "out" : "write", letters[s->size], s->addr,
                             s->value));
    }
}

void qtest_run_steps(Qtest *q, const QtestStep *steps, unsigned count)
{
    static const char *const names[] = {
        [QTEST_IN] = "port", [QTEST_READ] = "memory", [QTEST_PCI_READ] = "PCI register",
        [QTEST_WAIT] = "awaited port", [QTEST_LINE] = "line", [QTEST_COUNT] = "edges of line",
    };

    for (unsigned i = 0; i < count; i++) {
        const QtestStep *s = &steps[i];
        uint64_t mask = s->op >= QTEST_LINE ? UINT64_MAX : s->mask, value;

        if (!names[s->op]) {
            write_step(q, s);
            continue;
        }
        value = read_step(q, s);
        if ((value & mask) != s->value) {
            g_error("step %u: %s 0x%" PRIx64 " gives 0x%" PRIx64 ", not 0x%" PRIx64
                    " under mask 0x%" PRIx64, i, names[s->op], s->addr, value, s->value, mask);
        }
    }
}

static void run_case(gconstpointer data)
{
    const QtestCase *c = data;
    g_autoptr(Qtest) q = qtest_startf("-machine pc -m 32 -nodefaults %s", c->args ? c->args : "");
    const char *nth = c->intercept ? strchr(c->intercept, '>') : NULL;

    if (nth) {
        g_autofree char *type = g_strndup(c->intercept, (gsize)(nth - c->intercept));
        g_autofree char *path = qtest_find_device(q, type, (unsigned)atoi(nth + 1));

        qtest_irq_intercept_out(q, path);
    } else if (c->intercept) {
        qtest_irq_intercept_in(q, c->intercept);
    }
    qtest_run_steps(q, c->steps, c->count);
    if (c->run) {
        c->run(q);
    }
}

int qtest_run(const char *prefix, const QtestCase *cases, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        g_autofree char *path = g_strdup_printf("%s/%s", prefix, cases[i].name);

        g_test_add_data_func(path, &cases[i], run_case);
    }
    return g_test_run();
}

int qtest_main(int argc, char **argv, const char *prefix, const QtestCase *cases, unsigned count)
{
    g_test_init(&argc, &argv, NULL);
    return qtest_run(prefix, cases, count);
}
