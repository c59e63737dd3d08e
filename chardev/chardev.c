/* SPDX-License-Identifier: MIT */
/*
 * The table of character back ends, the frontend's calls, and the stream engine.
 *
 * Output: what the descriptor does not take at once waits in chr->out; the loop flushes it when
 * the descriptor is writable.  Any thread may queue, only the loop touches the watches, so
 * other threads schedule flush_bh.
 */
#include "chardev/kind.h"
#include "base/error.h"
#include "base/fdset.h"
#include "base/json.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define QUEUE_MAX (64u << 10)
#define READ_MAX 4096u

static const ChardevKind *const builtin_kinds[] = {
    &chardev_null, &chardev_stdio, &chardev_file, &chardev_pipe, &chardev_pty,
    &chardev_serial, &chardev_socket, &chardev_udp, &chardev_ringbuf,
};
static GPtrArray *extra_kinds;
static GPtrArray *table; /* of Chardev * */

/* -------- kinds and the table -------- */

void chardev_register_kind(const ChardevKind *kind)
{
    if (!extra_kinds) {
        extra_kinds = g_ptr_array_new();
    }
    g_ptr_array_add(extra_kinds, (void *)kind);
}

static unsigned kind_count(void)
{
    return G_N_ELEMENTS(builtin_kinds) + (extra_kinds ? extra_kinds->len : 0);
}

static const ChardevKind *kind_at(unsigned i)
{
    return i < G_N_ELEMENTS(builtin_kinds)
               ? builtin_kinds[i]
               : g_ptr_array_index(extra_kinds, i - G_N_ELEMENTS(builtin_kinds));
}

static const ChardevKind *kind_find(const char *name, GError **error)
{
    Suggest s;

    suggest_init(&s, name);
    for (unsigned i = 0; i < kind_count(); i++) {
        const ChardevKind *kind = kind_at(i);

        if (strcmp(kind->name, name) == 0 || g_strcmp0(kind->alias, name) == 0) {
            return kind;
        }
        suggest_offer(&s, kind->name);
    }
    error_set(error, "'%s' is not a valid char driver name%s (-chardev help lists them)", name,
              suggest_text(&s));
    return NULL;
}

char *chardev_help(void)
{
    GString *out = g_string_new("Available chardev backend types:\n");

    for (unsigned i = 0; i < kind_count(); i++) {
        const ChardevKind *kind = kind_at(i);

        g_string_append_printf(out, "  %-9s%s\n", kind->name, kind->help);
    }
    g_string_append(out, "All take id=ID, mux=on|off, logfile=PATH, logappend=on|off.\n");
    return g_string_free(out, FALSE);
}

Chardev *chardev_find(const char *id)
{
    for (unsigned i = 0; table && i < table->len; i++) {
        Chardev *chr = g_ptr_array_index(table, i);

        if (strcmp(chr->id, id) == 0) {
            return chr;
        }
    }
    return NULL;
}

void chardev_foreach(void (*visit)(Chardev *chr, void *opaque), void *opaque)
{
    for (unsigned i = 0; table && i < table->len; i++) {
        visit(g_ptr_array_index(table, i), opaque);
    }
}

const char *chardev_id(const Chardev *chr)
{
    return chr->id;
}

const char *chardev_filename(const Chardev *chr)
{
    return chr->filename ? chr->filename : chr->kind->name;
}

const char *chardev_kind(const Chardev *chr)
{
    return chr->kind->name;
}

bool chardev_frontend_open(const Chardev *chr)
{
    return chr->fe_open;
}

/* -------- life -------- */

static void flush_from_loop(void *opaque);

static Chardev *chardev_alloc(const ChardevKind *kind, const char *id)
{
    Chardev *chr = g_malloc0(kind->size);

    chr->kind = kind;
    chr->id = g_strdup(id);
    chr->loop = event_loop_main();
    chr->in_fd = chr->out_fd = chr->log_fd = -1;
    chr->out = g_byte_array_new();
    mutex_init(&chr->lock, "chardev", LOCK_RANK_CHARDEV);
    chr->flush_bh = bh_new(chr->loop, flush_from_loop, chr);
    return chr;
}

static void chardev_free(Chardev *chr)
{
    if (chr->kind->close) {
        chr->kind->close(chr);
    }
    chardev_drop_stream(chr);
    bh_free(chr->flush_bh);
    if (chr->log_fd >= 0) {
        close(chr->log_fd);
    }
    g_byte_array_unref(chr->out);
    mutex_clear(&chr->lock);
    g_free(chr->filename);
    g_free(chr->id);
    g_free(chr);
}

static void table_add(Chardev *chr)
{
    if (!table) {
        table = g_ptr_array_new();
    }
    g_ptr_array_add(table, chr);
}

static bool open_log(Chardev *chr, const char *path, bool append, GError **error)
{
    chr->log_fd = host_open(path, O_WRONLY | O_CREAT | (append ? O_APPEND : O_TRUNC), 0666);
    return chr->log_fd >= 0 ||
           error_set_errno(error, errno, "Cannot open log file '%s' of chardev '%s'", path, chr->id);
}

/* Before anything is opened: a file would be emptied for a typing error. */
static bool check_keys(const ChardevKind *kind, const char *id, KeyVal *opts, GError **error)
{
    g_autofree char *what = g_strdup_printf("chardev '%s' (%s)", id, kind->name);
    g_auto(GStrv) keys = g_strsplit(kind->keys ?: "", " ", -1);
    static const char *const common[] = { "id", "mux", "logfile", "logappend" };

    for (unsigned i = 0; i < G_N_ELEMENTS(common); i++) {
        keyval_get(opts, common[i]);
    }
    for (unsigned i = 0; keys[i]; i++) {
        keyval_get(opts, keys[i]);
    }
    return keyval_check_used(opts, what, error);
}

static Chardev *chardev_build(const ChardevKind *kind, const char *id, KeyVal *opts,
                              GError **error)
{
    const char *log_path = keyval_get(opts, "logfile");
    bool append;
    Chardev *chr;

    if (!check_keys(kind, id, opts, error) ||
        !keyval_get_bool(opts, "logappend", false, &append, error)) {
        return NULL;
    }
    chr = chardev_alloc(kind, id);
    if ((log_path && !open_log(chr, log_path, append, error)) ||
        (kind->open && !kind->open(chr, opts, error))) {
        chardev_free(chr);
        return NULL;
    }
    return chr;
}

/* A multiplexer over BASE, named ID. */
static Chardev *chardev_new_mux(const char *id, Chardev *base, GError **error)
{
    Chardev *mux = chardev_alloc(&chardev_mux, id);
    g_autoptr(KeyVal) opts = keyval_new();

    keyval_set(opts, "chardev", base->id);
    if (!chardev_mux.open(mux, opts, error)) {
        chardev_free(mux);
        return NULL;
    }
    table_add(mux);
    return mux;
}

Chardev *chardev_new(const char *kind_name, const char *id, KeyVal *opts, GError **error)
{
    const ChardevKind *kind = kind_find(kind_name, error);
    g_autofree char *base_id = NULL;
    Chardev *chr, *mux;
    bool with_mux;

    if (!kind || !keyval_get_bool(opts, "mux", false, &with_mux, error)) {
        return NULL;
    }
    if (chardev_find(id)) {
        error_set(error, "Chardev with id '%s' already exists", id);
        return NULL;
    }
    base_id = with_mux ? g_strdup_printf("%s-base", id) : g_strdup(id);
    chr = chardev_build(kind, base_id, opts, error);
    if (!chr) {
        return NULL;
    }
    table_add(chr);
    if (!with_mux) {
        return chr;
    }
    mux = chardev_new_mux(id, chr, error);
    if (!mux) {
        chardev_remove(base_id, NULL);
    }
    return mux;
}

Chardev *chardev_new_from_option(const char *option, GError **error)
{
    g_autoptr(KeyVal) opts = keyval_parse(option, "backend", KEYVAL_BARE_BOOL, error);
    const char *kind, *id;

    if (!opts) {
        return NULL;
    }
    kind = keyval_get(opts, "backend");
    id = keyval_get(opts, "id");
    if (!kind) {
        error_set(error, "-chardev needs a backend type first (-chardev help lists them)");
        return NULL;
    }
    if (!id) {
        error_set(error, "-chardev %s needs id=ID", kind);
        return NULL;
    }
    return chardev_new(kind, id, opts, error);
}

bool chardev_remove(const char *id, GError **error)
{
    Chardev *chr = chardev_find(id);

    if (!chr) {
        return error_set(error, "Chardev '%s' not found", id);
    }
    if (chr->fe || (chr->kind == &chardev_mux && chr->fe_open)) {
        return error_set(error, "Chardev '%s' is busy", id);
    }
    g_ptr_array_remove(table, chr);
    chardev_free(chr);
    return true;
}

Chardev *chardev_change(const char *id, const char *kind, KeyVal *opts, GError **error)
{
    Chardev *old = chardev_find(id), *chr;
    CharFrontend *fe;

    if (!old) {
        error_set(error, "Chardev '%s' does not exist", id);
        return NULL;
    }
    if (old->kind->connect || strcmp(kind, "mux") == 0) {
        error_set(error, "Chardev '%s': one that is or becomes multiplexed cannot be changed", id);
        return NULL;
    }
    g_ptr_array_remove(table, old);      /* both have the id */
    chr = chardev_new(kind, id, opts, error);
    if (!chr) {
        table_add(old);
        return NULL;
    }
    fe = old->fe;
    if (fe) {
        bool attached = fe->attached;
        const CharHandlers *handlers = fe->handlers;
        void *opaque = fe->opaque;

        char_disconnect(fe);
        chr->fe = fe;
        fe->chr = chr;
        if (attached) {
            char_attach(fe, handlers, opaque);
        }
    }
    chardev_free(old);
    return chr;
}

void chardev_cleanup(void)
{
    /* Newest first: a multiplexer before its base. */
    while (table && table->len) {
        Chardev *chr = g_ptr_array_index(table, table->len - 1);

        g_ptr_array_remove_index(table, table->len - 1);
        if (chr->fe) {
            chr->fe->chr = NULL;
        }
        chardev_free(chr);
    }
}

/* -------- the stream engine -------- */

static void stream_readable(void *opaque)
{
    Chardev *chr = opaque;
    uint8_t buffer[READ_MAX];
    unsigned room = MIN(chardev_can_receive(chr), READ_MAX);
    ssize_t n;

    if (room == 0) {
        chr->paused = true;
        fd_watch_update(chr->in_watch, NULL, NULL);
        return;
    }
    n = chr->kind->read ? chr->kind->read(chr, buffer, room) : read(chr->in_fd, buffer, room);
    if (n > 0) {
        chardev_receive(chr, buffer, n);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        if (chr->kind->hang_up) {
            chr->kind->hang_up(chr);
        } else {
            g_clear_pointer(&chr->in_watch, fd_watch_free);
            if (chr->out_fd < 0) {
                chardev_event(chr, CHAR_EVENT_CLOSED);
            }                        /* else it may still be listening (stdin of a script) */
        }
    }
}

/* Sends what the descriptor takes; false if the stream is broken. */
static bool flush_locked(Chardev *chr)
{
    while (chr->out->len && chr->out_fd >= 0) {
        ssize_t n = chr->kind->send ? chr->kind->send(chr, chr->out->data, chr->out->len)
                                    : write(chr->out_fd, chr->out->data, chr->out->len);

        if (n > 0) {
            g_byte_array_remove_range(chr->out, 0, n);
        } else if (n < 0 && errno == EAGAIN) {
            return true;
        } else if (n == 0 || errno != EINTR) {
            g_byte_array_set_size(chr->out, 0);
            return false;
        }
    }
    return true;
}

static void flush_from_loop(void *opaque)
{
    Chardev *chr = opaque;
    CharFrontend *fe = chr->fe;
    bool unsent, fine;

    mutex_lock(&chr->lock);
    fine = flush_locked(chr) && !chr->broken;
    chr->broken = false;
    unsent = chr->out->len > 0 && chr->out_fd >= 0;
    mutex_unlock(&chr->lock);
    if (unsent && !chr->out_watch) {
        chr->out_watch = fd_watch_new(chr->loop, chr->out_fd, NULL, flush_from_loop, chr);
    } else if (!unsent) {
        g_clear_pointer(&chr->out_watch, fd_watch_free);
    }
    if (!fine && chr->kind->hang_up) {
        chr->kind->hang_up(chr);
        return;
    }
    if (fe && fe->want_writable && chr->out->len < QUEUE_MAX) {
        fe->want_writable = false;
        if (fe->handlers && fe->handlers->writable) {
            fe->handlers->writable(fe->opaque);
        }
    }
}

static void stream_watch(Chardev *chr)
{
    g_clear_pointer(&chr->in_watch, fd_watch_free);
    if (chr->in_fd >= 0) {
        chr->in_watch = fd_watch_new(chr->loop, chr->in_fd, stream_readable, NULL, chr);
        chr->paused = false;
    }
}

void chardev_set_stream(Chardev *chr, int in, int out, bool owns)
{
    chardev_drop_stream(chr);
    mutex_lock(&chr->lock);
    chr->in_fd = in;
    chr->out_fd = out;
    chr->owns_fds = owns;
    mutex_unlock(&chr->lock);
    stream_watch(chr);
}

void chardev_drop_stream(Chardev *chr)
{
    g_clear_pointer(&chr->in_watch, fd_watch_free);
    g_clear_pointer(&chr->out_watch, fd_watch_free);
    mutex_lock(&chr->lock);
    flush_locked(chr);
    g_byte_array_set_size(chr->out, 0);
    if (chr->owns_fds && chr->in_fd >= 0) {
        close(chr->in_fd);
    }
    if (chr->owns_fds && chr->out_fd >= 0 && chr->out_fd != chr->in_fd) {
        close(chr->out_fd);
    }
    chr->in_fd = chr->out_fd = -1;
    mutex_unlock(&chr->lock);
}

/* -------- towards the user -------- */

void chardev_event(Chardev *chr, CharEvent event)
{
    CharFrontend *fe = chr->fe;

    if (event == CHAR_EVENT_OPENED || event == CHAR_EVENT_CLOSED) {
        bool open = event == CHAR_EVENT_OPENED;

        if (chr->open == open) {
            return;
        }
        chr->open = open;
    }
    if (fe && fe->attached && fe->handlers->event) {
        fe->handlers->event(fe->opaque, event);
    }
}

unsigned chardev_can_receive(Chardev *chr)
{
    CharFrontend *fe = chr->fe;

    if (!fe || !fe->attached || !fe->handlers->receive) {
        return 0;
    }
    return fe->handlers->can_receive ? fe->handlers->can_receive(fe->opaque) : READ_MAX;
}

void chardev_receive(Chardev *chr, const uint8_t *data, unsigned len)
{
    CharFrontend *fe = chr->fe;

    if (fe && fe->attached && fe->handlers->receive) {
        fe->handlers->receive(fe->opaque, data, len);
    }
}

void chardev_send_break(Chardev *chr)
{
    chardev_event(chr, CHAR_EVENT_BREAK);
}

/* -------- the frontend's calls -------- */

bool char_connect_backend(CharFrontend *fe, Chardev *chr, GError **error)
{
    if (chr->kind->connect) {
        if (!chr->kind->connect(chr, fe, error)) {
            return false;
        }
    } else if (chr->fe) {
        return error_set(error, "Chardev '%s' is already in use (add mux=on to share it)", chr->id);
    } else {
        chr->fe = fe;
    }
    fe->chr = chr;
    return true;
}

bool char_connect(CharFrontend *fe, const char *id, GError **error)
{
    Chardev *chr = chardev_find(id);
    Suggest s;

    if (chr) {
        return char_connect_backend(fe, chr, error);
    }
    suggest_init(&s, id);
    for (unsigned i = 0; table && i < table->len; i++) {
        suggest_offer(&s, ((Chardev *)g_ptr_array_index(table, i))->id);
    }
    return error_set(error, "Chardev '%s' not found%s (make one with -chardev KIND,id=%s)", id,
                     suggest_text(&s), id);
}

void char_disconnect(CharFrontend *fe)
{
    Chardev *chr = fe->chr;

    if (!chr) {
        return;
    }
    char_detach(fe);
    if (chr->kind->disconnect) {
        chr->kind->disconnect(chr, fe);
    } else {
        chr->fe = NULL;
    }
    fe->chr = NULL;
}

const char *char_id(const CharFrontend *fe)
{
    return fe->chr ? fe->chr->id : NULL;
}

void char_attach(CharFrontend *fe, const CharHandlers *handlers, void *opaque)
{
    Chardev *chr = fe->chr;

    fe->handlers = handlers;
    fe->opaque = opaque;
    fe->attached = true;
    if (!chr) {
        return;
    }
    chr->fe_open = true;
    if (chr->kind->attached) {
        chr->kind->attached(chr, fe);
    }
    if (char_is_open(fe) && handlers->event) {
        handlers->event(opaque, CHAR_EVENT_OPENED);
    }
    char_accept_input(fe);
}

void char_detach(CharFrontend *fe)
{
    fe->attached = false;
    fe->want_writable = false;
    if (fe->chr && !fe->chr->kind->connect) {
        fe->chr->fe_open = false;
    }
}

static void log_output(Chardev *chr, const uint8_t *data, size_t len)
{
    while (chr->log_fd >= 0 && len) {
        ssize_t n = write(chr->log_fd, data, len);

        if (n <= 0) {
            return;
        }
        data += n;
        len -= n;
    }
}

/* Takes what the descriptor takes at once, and then as much as LIMIT lets wait. */
static size_t stream_write(Chardev *chr, const uint8_t *data, size_t len, size_t limit)
{
    size_t taken = 0;
    bool fine = true;

    mutex_lock(&chr->lock);
    if (chr->out_fd < 0) {
        taken = len; /* nobody listens */
    }
    while (taken < len && fine && chr->out->len < limit) {
        size_t part = MIN(len - taken, limit - chr->out->len);

        g_byte_array_append(chr->out, data + taken, part);
        taken += part;
        fine = flush_locked(chr);
    }
    if (!fine) {
        chr->broken = true;
        taken = len; /* the loop sees to the broken stream */
    }
    log_output(chr, data, taken);
    if (!fine || chr->out->len) {
        bh_schedule(chr->flush_bh);
    }
    mutex_unlock(&chr->lock);
    return taken;
}

static size_t write_limited(CharFrontend *fe, const void *data, size_t len, size_t limit)
{
    Chardev *chr = fe->chr;
    size_t taken;

    if (!chr) {
        return len;
    }
    if (chr->kind->write) {
        taken = chr->kind->write(chr, fe, data, MIN(len, G_MAXINT));
        log_output(chr, data, taken);
    } else {
        taken = stream_write(chr, data, len, limit);
    }
    if (taken < len) {
        fe->want_writable = true;
    }
    return taken;
}

unsigned char_write(CharFrontend *fe, const void *data, unsigned len)
{
    return write_limited(fe, data, len, QUEUE_MAX);
}

void char_write_all(CharFrontend *fe, const void *data, size_t len)
{
    write_limited(fe, data, len, SIZE_MAX);
}

void char_accept_input(CharFrontend *fe)
{
    Chardev *chr = fe->chr;

    if (!chr) {
        return;
    }
    if (chr->kind->accept_input) {
        chr->kind->accept_input(chr);
    } else if (chr->paused && chr->in_watch) {
        chr->paused = false;
        fd_watch_update(chr->in_watch, stream_readable, NULL);
    }
}

bool char_is_open(const CharFrontend *fe)
{
    Chardev *chr = fe->chr;

    if (!chr) {
        return false;
    }
    return chr->kind->peer_open ? chr->kind->peer_open(chr) : chr->open;
}

void char_set_open(CharFrontend *fe, bool open)
{
    if (fe->chr) {
        fe->chr->fe_open = open;
    }
}

void char_hang_up(CharFrontend *fe)
{
    if (fe->chr && fe->chr->kind->hang_up) {
        fe->chr->kind->hang_up(fe->chr);
    }
}

void char_set_echo(CharFrontend *fe, bool echo)
{
    if (fe->chr && fe->chr->kind->set_echo) {
        fe->chr->kind->set_echo(fe->chr, echo);
    }
}

void char_set_loop(CharFrontend *fe, EventLoop *loop)
{
    Chardev *chr = fe->chr;

    if (!chr || chr->loop == loop) {
        return;
    }
    g_assert(!fe->attached);
    bh_free(chr->flush_bh);
    chr->loop = loop;
    chr->flush_bh = bh_new(loop, flush_from_loop, chr);
    g_clear_pointer(&chr->out_watch, fd_watch_free);
    stream_watch(chr);
    if (chr->kind->loop_changed) {
        chr->kind->loop_changed(chr);
    }
}

void char_set_line(CharFrontend *fe, const CharLineParams *params)
{
    if (fe->chr && fe->chr->kind->set_line) {
        fe->chr->kind->set_line(fe->chr, params);
    }
}

void char_set_break(CharFrontend *fe, bool on)
{
    if (fe->chr && fe->chr->kind->set_break) {
        fe->chr->kind->set_break(fe->chr, on);
    }
}

bool char_get_modem(CharFrontend *fe, unsigned *lines)
{
    return fe->chr && fe->chr->kind->get_modem && fe->chr->kind->get_modem(fe->chr, lines);
}

void char_set_modem(CharFrontend *fe, unsigned lines)
{
    if (fe->chr && fe->chr->kind->set_modem) {
        fe->chr->kind->set_modem(fe->chr, lines);
    }
}

int char_take_fd(CharFrontend *fe)
{
    return fe->chr && fe->chr->kind->take_fd ? fe->chr->kind->take_fd(fe->chr) : -1;
}

bool char_send_fds(CharFrontend *fe, const int *fds, unsigned count)
{
    return fe->chr && fe->chr->kind->send_fds && fe->chr->kind->send_fds(fe->chr, fds, count);
}

/* -------- the property -------- */

static bool prop_chr_parse(Object *obj, const PropDef *prop, const char *text, GError **error)
{
    CharFrontend *fe = prop_field(obj, prop);
    CharFrontend old = *fe;

    if (old.chr) {
        return error_set(error, "Property '%s' is set already, to '%s'", prop->name, old.chr->id);
    }
    return *text == '\0' || char_connect(fe, text, error);
}

static bool prop_chr_from_json(Object *obj, const PropDef *prop, Json *v, GError **error)
{
    const char *text = json_get_string(v);

    if (!text) {
        return error_set(error, "Property '%s' expects the id of a chardev", prop->name);
    }
    return prop_chr_parse(obj, prop, text, error);
}

static Json *prop_chr_to_json(Object *obj, const PropDef *prop)
{
    const char *id = char_id(prop_field(obj, prop));

    return json_new_string(id ? id : "");
}

static void prop_chr_release(Object *obj, const PropDef *prop)
{
    char_disconnect(prop_field(obj, prop));
}

const PropType prop_chr = {
    .name = "str",
    .parse = prop_chr_parse,
    .from_json = prop_chr_from_json,
    .to_json = prop_chr_to_json,
    .release = prop_chr_release,
};
