/* SPDX-License-Identifier: MIT */
/*
 * blkdebug: errors on demand, and limits (alignment, transfer length) that the host does not have.
 *
 * Rules come from options (inject-error.0.event=...) or from a file in the manner of
 *     [inject-error]
 *     event = "write_aio"
 *     errno = "28"
 * An event makes its inject-error rules of the present state active; a request that an active
 * rule fits fails.  set-state rules move on to another state.
 * Formats raise events for the node below them in the middle of a request (node_event()): qcow2
 * those of its tables, raw and qcow2 read_aio and write_aio.  A breakpoint (node_debug()) holds the
 * request that raises its event, with whatever locks it has in the format, until it is resumed.
 * Locking: the node's event loop.
 */
#include "base/parse.h"
#include "block/filter.h"
#include "block/types.h"

typedef enum IoType { IO_READ, IO_WRITE, IO_ZEROES, IO_DISCARD, IO_FLUSH, IO_STATUS } IoType;

static const char *const io_names[] = {
    "read", "write", "write-zeroes", "discard", "flush", "block-status",
};

typedef struct Rule {
    bool inject;               /* else: set-state */
    QapiBlkdebugEvent event;
    uint64_t state, new_state; /* state 0: any */
    uint32_t io_types;         /* BIT(IoType) */
    uint64_t error, sector;    /* sector UINT64_MAX: any */
    bool once, immediately, active;
} Rule;

typedef struct Breakpoint {
    QapiBlkdebugEvent event;
    char *tag;
} Breakpoint;

typedef struct Suspended {
    char *tag;
    Coroutine *co;
} Suspended;

typedef struct Blkdebug {
    GArray *rules;
    uint64_t state;
    GArray *breakpoints;       /* of Breakpoint */
    GArray *suspended;         /* of Suspended */
    uint32_t take, unshare;    /* permissions of the image */
} Blkdebug;

/* ---- running ---- */

static void fire(Blkdebug *s, QapiBlkdebugEvent event)
{
    uint64_t state = s->state;

    for (unsigned i = 0; i < s->rules->len; i++) {
        Rule *r = &g_array_index(s->rules, Rule, i);

        if (r->event != event || (r->state && r->state != state)) {
            continue;
        }
        if (r->inject) {
            r->active = true;
        } else {
            s->state = r->new_state;
        }
    }
}

/* A breakpoint is used up by the first request that meets it. */
static void co_maybe_suspend(BlockNode *node, QapiBlkdebugEvent event)
{
    Blkdebug *s = node->state;

    for (unsigned i = 0; i < s->breakpoints->len; i++) {
        Breakpoint b = g_array_index(s->breakpoints, Breakpoint, i);
        Suspended held = { b.tag, coroutine_self() };

        if (b.event == event && held.co) {
            g_array_remove_index(s->breakpoints, i);
            g_array_append_val(s->suspended, held);
            co_yield();                /* who resumes it has taken it off the list */
            return;
        }
    }
}

static void blkdebug_event(BlockNode *node, QapiBlkdebugEvent event)
{
    fire(node->state, event);
    co_maybe_suspend(node, event);
}

/* ---- breakpoints ---- */

static int resume(Blkdebug *s, const char *tag)
{
    int ret = -ENOENT;

    for (unsigned i = 0; i < s->suspended->len;) {
        Suspended held = g_array_index(s->suspended, Suspended, i);

        if (tag && !g_str_equal(held.tag, tag)) {
            i++;
            continue;
        }
        g_array_remove_index(s->suspended, i);
        g_free(held.tag);
        coroutine_wake(held.co);
        ret = 0;
    }
    return ret;
}

static int remove_breaks(Blkdebug *s, const char *tag)
{
    int ret = -ENOENT;

    for (unsigned i = 0; i < s->breakpoints->len;) {
        Breakpoint *b = &g_array_index(s->breakpoints, Breakpoint, i);

        if (g_str_equal(b->tag, tag)) {
            g_free(b->tag);
            g_array_remove_index(s->breakpoints, i);
            ret = 0;
        } else {
            i++;
        }
    }
    return ret < 0 ? resume(s, tag) : (resume(s, tag), 0);
}

static int blkdebug_debug(BlockNode *node, NodeDebugOp op, const char *event, const char *tag)
{
    Blkdebug *s = node->state;

    switch (op) {
    case NODE_DEBUG_BREAK:
        for (unsigned e = 0; e < QAPI_BLKDEBUG_EVENT_NONE; e++) {
            if (g_str_equal(qapi_words_QapiBlkdebugEvent[e], event)) {
                Breakpoint b = { (QapiBlkdebugEvent)e, g_strdup(tag) };

                g_array_append_val(s->breakpoints, b);
                return 0;
            }
        }
        return -ENOENT;
    case NODE_DEBUG_REMOVE_BREAK:
        return remove_breaks(s, tag);
    case NODE_DEBUG_RESUME:
        return resume(s, tag);
    case NODE_DEBUG_IS_SUSPENDED:
        for (unsigned i = 0; i < s->suspended->len; i++) {
            if (g_str_equal(g_array_index(s->suspended, Suspended, i).tag, tag)) {
                return 1;
            }
        }
        return 0;
    }
    return -ENOTSUP;
}

/* ---- requests ---- */

static int co_check(BlockNode *node, IoType type, uint64_t offset, uint64_t bytes)
{
    Blkdebug *s = node->state;

    for (unsigned i = 0; i < s->rules->len; i++) {
        Rule *r = &g_array_index(s->rules, Rule, i);
        bool immediately = r->immediately;
        int error = (int)r->error;

        if (!r->active || !(r->io_types & BIT(type)) ||
            (r->sector != UINT64_MAX && (offset / 512 > r->sector ||
                                         offset + bytes <= r->sector * 512))) {
            continue;
        }
        if (r->once) {
            g_array_remove_index(s->rules, i);
        }
        if (!immediately) {
            co_pause();
        }
        return -error;
    }
    return 0;
}

static int blkdebug_co_preadv(BlockNode *node, uint64_t offset, IoSpan span)
{
    int ret = co_check(node, IO_READ, offset, span.len);

    return ret < 0 ? ret : filter_co_preadv(node, offset, span);
}

static int blkdebug_co_pwritev(BlockNode *node, uint64_t offset, IoSpan span, int flags)
{
    int ret;

    blkdebug_event(node, QAPI_BLKDEBUG_EVENT_PWRITEV);
    ret = co_check(node, IO_WRITE, offset, span.len);
    ret = ret < 0 ? ret : filter_co_pwritev(node, offset, span, flags);
    blkdebug_event(node, QAPI_BLKDEBUG_EVENT_PWRITEV_DONE);
    return ret;
}

static int blkdebug_co_write_zeroes(BlockNode *node, uint64_t offset, uint64_t bytes, int flags)
{
    int ret;

    blkdebug_event(node, QAPI_BLKDEBUG_EVENT_PWRITEV_ZERO);
    ret = co_check(node, IO_ZEROES, offset, bytes);
    ret = ret < 0 ? ret : filter_co_write_zeroes(node, offset, bytes, flags);
    blkdebug_event(node, QAPI_BLKDEBUG_EVENT_PWRITEV_DONE);
    return ret;
}

static int blkdebug_co_discard(BlockNode *node, uint64_t offset, uint64_t bytes)
{
    int ret = co_check(node, IO_DISCARD, offset, bytes);

    return ret < 0 ? ret : filter_co_discard(node, offset, bytes);
}

static int blkdebug_co_flush(BlockNode *node)
{
    blkdebug_event(node, QAPI_BLKDEBUG_EVENT_FLUSH_TO_DISK);
    return co_check(node, IO_FLUSH, 0, 0);         /* fits no rule with a sector */
}

static int blkdebug_co_status(BlockNode *node, uint64_t offset, uint64_t bytes,
                              BlockStatus *status)
{
    int ret = co_check(node, IO_STATUS, offset, bytes);

    return ret < 0 ? ret : co_node_status(node->file->node, offset, bytes, status);
}

/* ---- rules ---- */

static bool take_word(NodeOpts *opts, const char *key, const char *const *names, unsigned count,
                      int *value, GError **error)
{
    g_autofree char *text = node_opts_take(opts, key);

    for (unsigned i = 0; text && i < count; i++) {
        if (g_str_equal(text, names[i])) {
            *value = (int)i;
            return true;
        }
    }
    return !text || error_set(error, "Invalid %s '%s' in a blkdebug rule", key, text);
}

static bool add_rule(Blkdebug *s, bool inject, NodeOpts *opts, GError **error)
{
    Rule r = { .inject = inject, .error = EIO, .sector = UINT64_MAX,
               .io_types = BIT(IO_READ) | BIT(IO_WRITE) | BIT(IO_ZEROES) | BIT(IO_DISCARD) |
                           BIT(IO_FLUSH) };
    int event = -1, type = -1;
    g_autofree char *sector = node_opts_take(opts, "sector");

    if (!take_word(opts, "event", qapi_words_QapiBlkdebugEvent,
                   QAPI_BLKDEBUG_EVENT_NONE + 1, &event, error) ||
        !take_word(opts, "iotype", io_names, ARRAY_LEN(io_names), &type, error) ||
        !node_opts_take_uint(opts, "state", &r.state, error)) {
        return false;
    }
    if (event < 0) {
        return error_set(error, "A blkdebug rule has no event");
    }
    if (inject && (!node_opts_take_uint(opts, "errno", &r.error, error) ||
                   !node_opts_take_bool(opts, "once", &r.once, error) ||
                   !node_opts_take_bool(opts, "immediately", &r.immediately, error))) {
        return false;
    }
    if (inject && sector && !g_str_equal(sector, "-1") &&
        !parse_uint("sector", sector, 0, INT64_MAX / 512, &r.sector, error)) {
        return false;
    }
    if (!inject && !node_opts_take_uint(opts, "new_state", &r.new_state, error)) {
        return false;
    }
    if (r.error < 1 || r.error > 4095) {
        return error_set(error, "errno must be from 1 to 4095");
    }
    if (!node_opts_empty(opts)) {
        return error_set(error, "A blkdebug rule does not know '%s'", node_opts_any_key(opts));
    }
    r.event = (QapiBlkdebugEvent)event;
    r.io_types = type < 0 ? r.io_types : BIT(type);
    r.active = inject && r.event == QAPI_BLKDEBUG_EVENT_NONE;
    g_array_append_val(s->rules, r);
    return true;
}

static bool take_rules(Blkdebug *s, NodeOpts *opts, const char *kind, GError **error)
{
    for (unsigned i = 0;; i++) {
        g_autofree char *prefix = g_strdup_printf("%s.%u", kind, i);
        g_autoptr(NodeOpts) rule = node_opts_take_prefix(opts, prefix);

        if (node_opts_empty(rule)) {
            return true;
        }
        if (!add_rule(s, g_str_equal(kind, "inject-error"), rule, error)) {
            return false;
        }
    }
}

static bool end_section(Blkdebug *s, const char *section, NodeOpts *rule, GError **error)
{
    if (!section) {
        return true;
    }
    if (!g_str_equal(section, "inject-error") && !g_str_equal(section, "set-state")) {
        return error_set(error, "Unknown section '[%s]' in the blkdebug config", section);
    }
    return add_rule(s, g_str_equal(section, "inject-error"), rule, error);
}

static bool read_config(Blkdebug *s, const char *path, GError **error)
{
    g_autofree char *text = NULL, *section = NULL;
    g_autoptr(NodeOpts) rule = node_opts_new();
    g_auto(GStrv) lines = NULL;

    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        return error_set_errno(error, errno, "Could not read blkdebug config file '%s'", path);
    }
    lines = g_strsplit(text, "\n", -1);
    for (char **l = lines; *l; l++) {
        char *line = g_strstrip(*l), *eq = strchr(line, '=');
        size_t len = strlen(line);

        if (!len || line[0] == '#') {
            continue;
        }
        if (line[0] == '[' && line[len - 1] == ']') {
            if (!end_section(s, section, rule, error)) {
                return false;
            }
            g_free(section);
            section = g_strndup(line + 1, len - 2);
        } else if (section && eq) {
            char *value = g_strstrip(eq + 1);

            *eq = '\0';
            len = strlen(value);
            if (len > 1 && value[0] == '"' && value[len - 1] == '"') {
                value[len - 1] = '\0';
                value++;
            }
            node_opts_set(rule, g_strstrip(line), value);
        } else {
            return error_set(error, "Cannot parse '%s' in blkdebug config file '%s'", line, path);
        }
    }
    return end_section(s, section, rule, error);
}

/* ---- opening ---- */

/* blkdebug:CONFIG:IMAGE, where CONFIG may be empty. */
static bool blkdebug_parse_filename(const char *filename, NodeOpts *opts, GError **error)
{
    const char *config = filename + strlen("blkdebug:"), *image = strchr(config, ':');

    if (!image) {
        return error_set(error, "blkdebug requires both config file and image path: "
                         "blkdebug:CONFIG:IMAGE");
    }
    if (image != config) {
        g_autofree char *path = g_strndup(config, (gsize)(image - config));

        node_opts_set(opts, "config", path);
    }
    node_opts_set(opts, "x-image", image + 1);
    return true;
}

static bool take_limits(BlockNode *node, NodeOpts *opts, GError **error)
{
    NodeLimits *l = &node->limits;
    uint64_t align = 0, max = 0, zero = 0, discard = 0, max_zero = 0, max_discard = 0;

    if (!node_opts_take_size(opts, "align", &align, error) ||
        !node_opts_take_size(opts, "max-transfer", &max, error) ||
        !node_opts_take_size(opts, "opt-write-zero", &zero, error) ||
        !node_opts_take_size(opts, "max-write-zero", &max_zero, error) ||
        !node_opts_take_size(opts, "opt-discard", &discard, error) ||
        !node_opts_take_size(opts, "max-discard", &max_discard, error)) {
        return false;
    }
    if (align && (!is_pow2(align) || align > GIB || align < l->align)) {
        return error_set(error, "Cannot meet constraints with align %" PRIu64, align);
    }
    l->align = align ? (uint32_t)align : l->align;
    if (max && (max % l->align || max > GIB)) {
        return error_set(error, "Cannot meet constraints with max-transfer %" PRIu64, max);
    }
    if ((zero && (!is_pow2(zero) || zero > GIB || zero < l->align)) ||
        (discard && (!is_pow2(discard) || discard > GIB || discard < l->align))) {
        return error_set(error, "Cannot meet constraints with %s %" PRIu64,
                         discard && !zero ? "opt-discard" : "opt-write-zero",
                         discard && !zero ? discard : zero);
    }
    if (max_zero % MAX(zero, l->align) || max_zero > GIB) {
        return error_set(error, "Cannot meet constraints with max-write-zero %" PRIu64, max_zero);
    }
    if (max_discard % MAX(discard, l->align) || max_discard > GIB) {
        return error_set(error, "Cannot meet constraints with max-discard %" PRIu64, max_discard);
    }
    l->max_zero = max_zero ? (uint32_t)max_zero : l->max_zero;
    l->max_discard = max_discard ? (uint32_t)max_discard : l->max_discard;
    l->max_transfer = max ? (uint32_t)max : l->max_transfer;
    l->zero_align = zero ? (uint32_t)zero : l->zero_align;
    l->discard_align = discard ? (uint32_t)discard : l->discard_align;
    return true;
}

/* KEY.0, KEY.1, ... */
static bool take_perms(NodeOpts *opts, const char *key, uint32_t *perms, GError **error)
{
    static const struct { const char *name; uint32_t perm; } names[] = {
        { "consistent-read", BLK_PERM_CONSISTENT_READ }, { "write", BLK_PERM_WRITE },
        { "write-unchanged", BLK_PERM_WRITE_UNCHANGED }, { "resize", BLK_PERM_RESIZE },
    };

    for (unsigned i = 0;; i++) {
        g_autofree char *full = g_strdup_printf("%s.%u", key, i);
        g_autofree char *word = node_opts_take(opts, full);
        unsigned n = 0;

        if (!word) {
            return true;
        }
        while (n < ARRAY_LEN(names) && !g_str_equal(names[n].name, word)) {
            n++;
        }
        if (n == ARRAY_LEN(names)) {
            return error_set(error, "Invalid value '%s' of '%s': consistent-read, write, "
                             "write-unchanged and resize are allowed", word, full);
        }
        *perms |= names[n].perm;
    }
}

static void blkdebug_perm(const BlockNode *node, const BlockChild *edge, uint32_t perm,
                          uint32_t shared, uint32_t *child_perm, uint32_t *child_shared)
{
    const Blkdebug *s = node->state;

    *child_perm = perm | s->take;
    *child_shared = shared & ~s->unshare;
}

static void blkdebug_free(Blkdebug *s)
{
    resume(s, NULL);
    for (unsigned i = 0; i < s->breakpoints->len; i++) {
        g_free(g_array_index(s->breakpoints, Breakpoint, i).tag);
    }
    g_array_unref(s->breakpoints);
    g_array_unref(s->suspended);
    g_array_unref(s->rules);
}

static bool blkdebug_open(BlockNode *node, NodeOpts *opts, GError **error)
{
    Blkdebug *s = node->state;
    g_autofree char *config = node_opts_take(opts, "config");
    g_autofree char *image = node_opts_take(opts, "x-image");
    int flags = (node->flags & ~NODE_OPEN_NO_BACKING) | NODE_OPEN_PROTOCOL | NODE_OPEN_RESIZE;

    if (!take_perms(opts, "take-child-perms", &s->take, error) ||
        !take_perms(opts, "unshare-child-perms", &s->unshare, error)) {
        return false;
    }
    node->file = node_open_child(node, "image", image, opts, flags, error);
    if (!node->file) {
        return false;
    }
    node->filename = g_strdup(node->file->node->filename);
    filter_init(node);
    s->rules = g_array_new(false, false, sizeof(Rule));
    s->breakpoints = g_array_new(false, false, sizeof(Breakpoint));
    s->suspended = g_array_new(false, false, sizeof(Suspended));
    s->state = 1;
    if (take_limits(node, opts, error) && (!config || read_config(s, config, error)) &&
        take_rules(s, opts, "inject-error", error) && take_rules(s, opts, "set-state", error)) {
        return true;
    }
    blkdebug_free(s);
    return false;
}

static void blkdebug_close(BlockNode *node)
{
    blkdebug_free(node->state);
}

const NodeType node_type_blkdebug = {
    .name = "blkdebug", .prefixes = "blkdebug", .is_filter = true, .no_file = true,
    .state_size = sizeof(Blkdebug), .parse_filename = blkdebug_parse_filename,
    .open = blkdebug_open, .close = blkdebug_close, .co_preadv = blkdebug_co_preadv,
    .co_pwritev = blkdebug_co_pwritev, .co_write_zeroes = blkdebug_co_write_zeroes,
    .co_discard = blkdebug_co_discard, .co_flush = blkdebug_co_flush,
    .co_status = blkdebug_co_status, .event = blkdebug_event, .debug = blkdebug_debug,
    .child_perm = blkdebug_perm,
    .co_write_compressed = filter_co_write_compressed,
};
