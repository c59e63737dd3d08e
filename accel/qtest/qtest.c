/* SPDX-License-Identifier: MIT */
/* The server of the qtest protocol. */
#include "accel/qtest/qtest.h"

#include "base/error.h"
#include "base/parse.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LINE_MAX_BYTES (64u << 20)
#define DATA_MAX_BYTES (32u << 20)

struct QtestServer {
    Vm *vm;
    QtestHost host;
    GString *line;
    Device *intercepted;         /* inputs or outputs; NULL: none yet */
    bool intercept_outputs;
    IrqPin *watches;             /* one for each output of the intercepted device */
    int64_t started_us;
};

static void send_text(QtestServer *q, const char *text)
{
    if (q->host.log) {
        fprintf(q->host.log, "[S +%.6f] %s\n",
                (double)(g_get_monotonic_time() - q->started_us) / 1e6, text);
    }
    q->host.write(q->host.opaque, text, strlen(text));
    q->host.write(q->host.opaque, "\n", 1);
}

static void sendf(QtestServer *q, const char *format, ...) G_GNUC_PRINTF(2, 3);
static void sendf(QtestServer *q, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    send_text(q, text);
}

static bool number(const char *text, uint64_t *value, GError **error)
{
    return parse_uint("argument", text, 0, UINT64_MAX, value, error);
}

/* The width letter of "inw", "writeq"... in bytes. */
static unsigned width(const char *command)
{
    switch (command[strlen(command) - 1]) {
    case 'b':
        return 1;
    case 'w':
        return 2;
    case 'l':
        return 4;
    default:
        return 8;
    }
}

/* Each handler answers itself on success, or fails with an error. */
typedef bool Handler(QtestServer *q, char **w, GError **error);

static bool do_out(QtestServer *q, char **w, GError **error)
{
    uint64_t addr, value;

    if (!number(w[1], &addr, error) || !number(w[2], &value, error)) {
        return false;
    }
    address_space_store(&q->vm->io, (uint16_t)addr, value, width(w[0]));
    send_text(q, "OK");
    return true;
}

static bool do_in(QtestServer *q, char **w, GError **error)
{
    uint64_t addr;

    if (!number(w[1], &addr, error)) {
        return false;
    }
    sendf(q, "OK 0x%04" PRIx64, address_space_load(&q->vm->io, (uint16_t)addr, width(w[0])));
    return true;
}

/* As many accesses as the device needs, like QEMU. */
static bool do_write_one(QtestServer *q, char **w, GError **error)
{
    uint64_t addr, value;
    uint8_t bytes[8];

    if (!number(w[1], &addr, error) || !number(w[2], &value, error)) {
        return false;
    }
    le_store(bytes, value, width(w[0]));
    address_space_write(&q->vm->memory, addr, bytes, width(w[0]));
    send_text(q, "OK");
    return true;
}

static bool do_read_one(QtestServer *q, char **w, GError **error)
{
    uint64_t addr;
    uint8_t bytes[8];

    if (!number(w[1], &addr, error)) {
        return false;
    }
    address_space_read(&q->vm->memory, addr, bytes, width(w[0]));
    sendf(q, "OK 0x%016" PRIx64, le_load(bytes, width(w[0])));
    return true;
}

static bool range(char **w, uint64_t *addr, uint64_t *size, GError **error)
{
    return number(w[1], addr, error) &&
           parse_uint("size", w[2], 0, DATA_MAX_BYTES, size, error);
}

static bool do_read(QtestServer *q, char **w, GError **error)
{
    g_autofree uint8_t *data = NULL;
    g_autoptr(GString) out = g_string_new("OK 0x");
    uint64_t addr, size;

    if (!range(w, &addr, &size, error)) {
        return false;
    }
    data = g_malloc0(size + 1);
    address_space_read(&q->vm->memory, addr, data, size);
    for (uint64_t i = 0; i < size; i++) {
        g_string_append_printf(out, "%02x", data[i]);
    }
    send_text(q, out->str);
    return true;
}

static bool do_write(QtestServer *q, char **w, GError **error)
{
    g_autofree uint8_t *data = NULL;
    uint64_t addr, size;
    const char *hex = w[3];

    if (!range(w, &addr, &size, error)) {
        return false;
    }
    if (!g_str_has_prefix(hex, "0x")) {
        return error_set(error, "data must begin with 0x");
    }
    hex += 2;
    data = g_malloc0(size + 1);
    /* Data that is too short is completed with zeroes, as QEMU does. */
    for (uint64_t i = 0; i < size && g_ascii_isxdigit(hex[0]) && g_ascii_isxdigit(hex[1]); i++) {
        data[i] = (uint8_t)(g_ascii_xdigit_value(hex[0]) << 4 | g_ascii_xdigit_value(hex[1]));
        hex += 2;
    }
    address_space_write(&q->vm->memory, addr, data, size);
    send_text(q, "OK");
    return true;
}

static bool do_b64read(QtestServer *q, char **w, GError **error)
{
    g_autofree uint8_t *data = NULL;
    g_autofree char *text = NULL;
    uint64_t addr, size;

    if (!range(w, &addr, &size, error)) {
        return false;
    }
    data = g_malloc0(size + 1);
    address_space_read(&q->vm->memory, addr, data, size);
    text = g_base64_encode(data, size);
    sendf(q, "OK %s", text);
    return true;
}

static bool do_b64write(QtestServer *q, char **w, GError **error)
{
    g_autofree uint8_t *data = NULL;
    uint64_t addr, size;
    gsize have;

    if (!range(w, &addr, &size, error)) {
        return false;
    }
    data = g_base64_decode(w[3], &have);
    address_space_write(&q->vm->memory, addr, data, MIN(have, size));
    send_text(q, "OK");
    return true;
}

static bool do_memset(QtestServer *q, char **w, GError **error)
{
    g_autofree uint8_t *data = NULL;
    uint64_t addr, size, byte;

    if (!range(w, &addr, &size, error) || !number(w[3], &byte, error)) {
        return false;
    }
    data = g_malloc(size + 1);
    memset(data, (int)(byte & 0xff), size);
    address_space_write(&q->vm->memory, addr, data, size);
    send_text(q, "OK");
    return true;
}

static Device *find_device(QtestServer *q, const char *path, GError **error)
{
    Object *obj = object_resolve(q->vm->root, path, error);

    if (obj && !object_is_a(obj, "device")) {
        error_set(error, "'%s' is not a device", path);
        return NULL;
    }
    return DEVICE(obj);
}

static void intercepted(void *opaque, unsigned n, bool level)
{
    sendf(opaque, "IRQ %s %u", level ? "raise" : "lower", n);
}

static bool do_intercept_in(QtestServer *q, char **w, GError **error)
{
    Device *dev = find_device(q, w[1], error);

    if (!dev) {
        return false;
    }
    if (q->intercepted && (q->intercepted != dev || q->intercept_outputs)) {
        return error_set(error, "IRQ intercept already enabled");
    }
    if (!device_type(dev)->inputs) {
        return error_set(error, "'%s' has no interrupt inputs", w[1]);
    }
    if (!q->intercepted) {
        q->intercepted = DEVICE(object_ref(OBJECT(dev)));
    }
    dev->intercept_opaque = q;
    dev->intercept = intercepted;
    send_text(q, "OK");
    return true;
}

/* The outputs of the type's table, in its order. */
static bool do_intercept_out(QtestServer *q, char **w, GError **error)
{
    Device *dev = find_device(q, w[1], error);
    unsigned count = 0;

    if (!dev) {
        return false;
    }
    if (q->intercepted && (q->intercepted != dev || !q->intercept_outputs)) {
        return error_set(error, "IRQ intercept already enabled");
    }
    while (device_output(dev, count)) {
        count++;
    }
    if (!count) {
        return error_set(error, "'%s' has no interrupt outputs", w[1]);
    }
    if (!q->intercepted) {
        q->intercepted = DEVICE(object_ref(OBJECT(dev)));
        q->intercept_outputs = true;
        q->watches = g_new(IrqPin, count);
        for (unsigned n = 0; n < count; n++) {
            q->watches[n] = (IrqPin){ intercepted, q, n };
            device_output(dev, n)->watch = &q->watches[n];
        }
    }
    send_text(q, "OK");
    return true;
}

static bool do_set_irq_in(QtestServer *q, char **w, GError **error)
{
    Device *dev = find_device(q, w[1], error);
    uint64_t n, level;

    if (!dev || !number(w[3], &n, error) || !number(w[4], &level, error)) {
        return false;
    }
    if (n >= device_type(dev)->inputs) {
        return error_set(error, "'%s' has %u inputs", w[1], device_type(dev)->inputs);
    }
    device_type(dev)->set_input(dev, (unsigned)n, level != 0);
    device_sync(dev);
    send_text(q, "OK");
    return true;
}

static bool clock_obeys(QtestServer *q, GError **error)
{
    return clock_is_fake(q->vm->clock) ||
           error_set(error, "time moves by itself: clock_step and clock_set need -accel qtest");
}

static bool do_clock_step(QtestServer *q, char **w, GError **error)
{
    int64_t now = clock_now(q->vm->clock), next = clock_next_deadline(q->vm->clock);
    uint64_t step = next > now ? (uint64_t)(next - now) : 0;

    if (!clock_obeys(q, error) ||
        (w[1] && !parse_uint("ns", w[1], 0, INT64_MAX / 2, &step, error))) {
        return false;
    }
    clock_fake_advance(q->vm->clock, (int64_t)step);
    sendf(q, "OK %" PRId64, clock_now(q->vm->clock));
    return true;
}

static bool do_clock_set(QtestServer *q, char **w, GError **error)
{
    uint64_t ns;

    if (!clock_obeys(q, error) || !parse_uint("ns", w[1], 0, INT64_MAX, &ns, error)) {
        return false;
    }
    clock_fake_set(q->vm->clock, (int64_t)ns);
    sendf(q, "OK %" PRId64, clock_now(q->vm->clock));
    return true;
}

static bool do_endianness(QtestServer *q, char **w, GError **error)
{
    send_text(q, "OK little");
    return true;
}

/* clang-format off */
static const struct {
    const char *name;
    unsigned args;               /* at least */
    Handler *run;
} commands[] = {
    { "inb", 1, do_in },           { "inw", 1, do_in },           { "inl", 1, do_in },
    { "outb", 2, do_out },         { "outw", 2, do_out },         { "outl", 2, do_out },
    { "readb", 1, do_read_one },   { "readw", 1, do_read_one },
    { "readl", 1, do_read_one },   { "readq", 1, do_read_one },
    { "writeb", 2, do_write_one }, { "writew", 2, do_write_one },
    { "writel", 2, do_write_one }, { "writeq", 2, do_write_one },
    { "read", 2, do_read },        { "write", 3, do_write },
    { "b64read", 2, do_b64read },  { "b64write", 3, do_b64write },
    { "memset", 3, do_memset },
    { "irq_intercept_in", 1, do_intercept_in },
    { "irq_intercept_out", 1, do_intercept_out },
    { "set_irq_in", 4, do_set_irq_in },
    { "clock_step", 0, do_clock_step },
    { "clock_set", 1, do_clock_set },
    { "endianness", 0, do_endianness },
};
/* clang-format on */

/* What a device does "at once" is a timer that is due; no time has to pass for it. */
static void run_due_timers(QtestServer *q)
{
    if (clock_is_fake(q->vm->clock)) {
        clock_run(q->vm->clock);
    }
}

static void run_line(QtestServer *q, const char *line)
{
    g_auto(GStrv) w = g_strsplit(line, " ", 8);
    g_autoptr(GError) error = NULL;

    if (q->host.log) {
        fprintf(q->host.log, "[R +%.6f] %s\n",
                (double)(g_get_monotonic_time() - q->started_us) / 1e6, line);
    }
    if (!w[0] || !*w[0]) {
        return;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++) {
        if (strcmp(commands[i].name, w[0]) != 0) {
            continue;
        }
        if (g_strv_length(w) < commands[i].args + 1) {
            sendf(q, "FAIL '%s' takes %u arguments", w[0], commands[i].args);
        } else if (!commands[i].run(q, w, &error)) {
            sendf(q, "FAIL %s", error->message);
        }
        run_due_timers(q);
        return;
    }
    sendf(q, "FAIL Unknown command '%s'", w[0]);
}

static void stop_intercepting(QtestServer *q)
{
    IrqLine *line;

    if (!q->intercepted) {
        return;
    }
    q->intercepted->intercept = NULL;
    for (unsigned n = 0; q->intercept_outputs && (line = device_output(q->intercepted, n)); n++) {
        line->watch = NULL;
    }
    g_free(q->watches);
    object_unref(OBJECT(q->intercepted));
}

QtestServer *qtest_server_new(Vm *vm, const QtestHost *host)
{
    QtestServer *q = g_new0(QtestServer, 1);

    q->vm = vm;
    q->host = *host;
    q->line = g_string_new(NULL);
    q->started_us = g_get_monotonic_time();
    return q;
}

void qtest_server_free(QtestServer *qtest)
{
    if (qtest) {
        stop_intercepting(qtest);
        g_string_free(qtest->line, TRUE);
        g_free(qtest);
    }
}

void qtest_server_feed(QtestServer *qtest, const char *data, size_t len)
{
    while (len) {
        const char *end = memchr(data, '\n', len);
        size_t part = end ? (size_t)(end - data) : len;

        if (qtest->line->len + part > LINE_MAX_BYTES) {
            g_string_truncate(qtest->line, 0);
        }
        g_string_append_len(qtest->line, data, (gssize)part);
        if (!end) {
            return;
        }
        if (qtest->line->len && qtest->line->str[qtest->line->len - 1] == '\r') {
            g_string_truncate(qtest->line, qtest->line->len - 1);
        }
        run_line(qtest, qtest->line->str);
        g_string_truncate(qtest->line, 0);
        data += part + 1;
        len -= part + 1;
    }
}
