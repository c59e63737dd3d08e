/* SPDX-License-Identifier: MIT */
/*
 * The line editor of HMP.
 * Spec: ECMA-48 control sequences as xterm sends them.  Multi-byte characters are edited by byte.
 */
#include "monitor/readline.h"

#include <string.h>

typedef enum Input {
    INPUT_PLAIN,
    INPUT_ESC,               /* after ESC */
    INPUT_CSI,               /* after ESC [ */
    INPUT_SS3,               /* after ESC O */
} Input;

struct Readline {
    ReadlineHost host;
    char *prompt;
    bool editing, last_was_cr;
    Input input;
    unsigned csi_number;
    GString *line;
    size_t cursor;
    GPtrArray *history;      /* char *, oldest first */
    unsigned history_at;     /* == len: the line being typed */
    char *typed;             /* kept while history is shown */
};

static void put(Readline *rl, const char *text)
{
    rl->host.write(rl->host.opaque, text, strlen(text));
}

static void redraw(Readline *rl)
{
    g_autoptr(GString) out = g_string_new("\r");

    g_string_append(out, rl->prompt);
    g_string_append_len(out, rl->line->str, (gssize)rl->line->len);
    g_string_append(out, "\033[K");
    if (rl->cursor < rl->line->len) {
        g_string_append_printf(out, "\033[%zuD", rl->line->len - rl->cursor);
    }
    put(rl, out->str);
}

Readline *readline_new(const ReadlineHost *host, const char *prompt, bool editing)
{
    Readline *rl = g_new0(Readline, 1);

    rl->host = *host;
    rl->prompt = g_strdup(prompt);
    rl->editing = editing;
    rl->line = g_string_new(NULL);
    rl->history = g_ptr_array_new_with_free_func(g_free);
    return rl;
}

void readline_free(Readline *rl)
{
    if (rl) {
        g_free(rl->prompt);
        g_free(rl->typed);
        g_string_free(rl->line, TRUE);
        g_ptr_array_unref(rl->history);
        g_free(rl);
    }
}

void readline_show(Readline *rl)
{
    put(rl, rl->prompt);
    put(rl, rl->line->str);
}

void readline_reset(Readline *rl)
{
    g_string_truncate(rl->line, 0);
    rl->cursor = 0;
    rl->input = INPUT_PLAIN;
    rl->history_at = rl->history->len;
    g_clear_pointer(&rl->typed, g_free);
}

GPtrArray *readline_history(Readline *rl)
{
    return rl->history;
}

static void remember(Readline *rl, const char *line)
{
    unsigned n = rl->history->len;

    if (!*line || (n && strcmp(rl->history->pdata[n - 1], line) == 0)) {
        return;
    }
    if (n == READLINE_HISTORY) {
        g_ptr_array_remove_index(rl->history, 0);
    }
    g_ptr_array_add(rl->history, g_strdup(line));
}

static void accept_line(Readline *rl)
{
    g_autofree char *line = g_strdup(rl->line->str);

    put(rl, "\r\n");
    remember(rl, line);
    readline_reset(rl);
    rl->host.line(rl->host.opaque, line);
    readline_show(rl);
}

static void set_line(Readline *rl, const char *text)
{
    g_string_assign(rl->line, text);
    rl->cursor = rl->line->len;
}

static void history_move(Readline *rl, int by)
{
    int to = (int)rl->history_at + by;

    if (to < 0 || to > (int)rl->history->len) {
        return;
    }
    if (rl->history_at == rl->history->len) {
        g_free(rl->typed);
        rl->typed = g_strdup(rl->line->str);
    }
    rl->history_at = (unsigned)to;
    if (rl->history_at == rl->history->len) {
        set_line(rl, rl->typed ? rl->typed : "");
    } else {
        set_line(rl, rl->history->pdata[rl->history_at]);
    }
}

static void delete_range(Readline *rl, size_t from, size_t to)
{
    g_string_erase(rl->line, (gssize)from, (gssize)(to - from));
    rl->cursor = from;
}

static void delete_word(Readline *rl)
{
    size_t from = rl->cursor;

    while (from > 0 && rl->line->str[from - 1] == ' ') {
        from--;
    }
    while (from > 0 && rl->line->str[from - 1] != ' ') {
        from--;
    }
    delete_range(rl, from, rl->cursor);
}

static size_t common_prefix(const GPtrArray *words)
{
    const char *first = words->pdata[0];
    size_t len = strlen(first);

    for (unsigned i = 1; i < words->len; i++) {
        const char *word = words->pdata[i];
        size_t n = 0;

        while (n < len && word[n] == first[n]) {
            n++;
        }
        len = n;
    }
    return len;
}

static void complete(Readline *rl)
{
    g_autofree char *head = g_strndup(rl->line->str, rl->cursor);
    g_autoptr(GPtrArray) words = rl->host.complete ? rl->host.complete(rl->host.opaque, head)
                                                   : NULL;
    const char *last = strrchr(head, ' ');
    size_t have = strlen(last ? last + 1 : head), want;

    if (!words || !words->len) {
        return;
    }
    want = common_prefix(words);
    if (want > have && rl->line->len + want - have < READLINE_MAX) {
        g_string_insert_len(rl->line, (gssize)rl->cursor, (char *)words->pdata[0] + have,
                            (gssize)(want - have));
        rl->cursor += want - have;
    }
    if (words->len == 1 && rl->cursor == rl->line->len && rl->line->len < READLINE_MAX) {
        g_string_append_c(rl->line, ' ');
        rl->cursor++;
    } else if (words->len > 1 && want == have) {
        put(rl, "\r\n");
        for (unsigned i = 0; i < words->len; i++) {
            put(rl, words->pdata[i]);
            put(rl, i + 1 < words->len ? "  " : "\r\n");
        }
    }
}

static void insert(Readline *rl, uint8_t byte)
{
    if (rl->line->len < READLINE_MAX) {
        g_string_insert_c(rl->line, (gssize)rl->cursor++, (char)byte);
    }
}

static void control(Readline *rl, uint8_t byte)
{
    switch (byte) {
    case 1:                  /* ^A */
        rl->cursor = 0;
        break;
    case 2:                  /* ^B */
        rl->cursor -= rl->cursor > 0;
        break;
    case 4:                  /* ^D */
        if (rl->cursor < rl->line->len) {
            delete_range(rl, rl->cursor, rl->cursor + 1);
        }
        break;
    case 5:                  /* ^E */
        rl->cursor = rl->line->len;
        break;
    case 6:                  /* ^F */
        rl->cursor += rl->cursor < rl->line->len;
        break;
    case 8:                  /* ^H */
    case 127:
        if (rl->cursor > 0) {
            delete_range(rl, rl->cursor - 1, rl->cursor);
        }
        break;
    case 9:
        complete(rl);
        break;
    case 11:                 /* ^K */
        g_string_truncate(rl->line, rl->cursor);
        break;
    case 12:                 /* ^L */
        put(rl, "\033[2J\033[H");
        break;
    case 14:                 /* ^N */
        history_move(rl, 1);
        break;
    case 16:                 /* ^P */
        history_move(rl, -1);
        break;
    case 21:                 /* ^U */
        delete_range(rl, 0, rl->cursor);
        break;
    case 23:                 /* ^W */
        delete_word(rl);
        break;
    default:
        break;
    }
}

/* The final byte of a control sequence. */
static void sequence(Readline *rl, uint8_t byte)
{
    switch (byte) {
    case 'A':
        history_move(rl, -1);
        break;
    case 'B':
        history_move(rl, 1);
        break;
    case 'C':
        control(rl, 6);
        break;
    case 'D':
        control(rl, 2);
        break;
    case 'H':
        control(rl, 1);
        break;
    case 'F':
        control(rl, 5);
        break;
    case '~':
        control(rl, rl->csi_number == 3 ? 4 : rl->csi_number == 1 || rl->csi_number == 7 ? 1
                    : rl->csi_number == 4 || rl->csi_number == 8 ? 5 : 0);
        break;
    default:
        break;
    }
}

static void feed_editing(Readline *rl, uint8_t byte)
{
    switch (rl->input) {
    case INPUT_ESC:
        rl->input = byte == '[' ? INPUT_CSI : byte == 'O' ? INPUT_SS3 : INPUT_PLAIN;
        rl->csi_number = 0;
        return;
    case INPUT_CSI:
        if (g_ascii_isdigit(byte)) {
            rl->csi_number = (rl->csi_number * 10 + (byte - '0')) % 1000;
            return;
        }
        if (byte == ';') {
            rl->csi_number = 0;
            return;
        }
        G_GNUC_FALLTHROUGH;
    case INPUT_SS3:
        rl->input = INPUT_PLAIN;
        sequence(rl, byte);
        break;
    case INPUT_PLAIN:
        if (byte == 27) {
            rl->input = INPUT_ESC;
            return;
        }
        if (byte < 32 || byte == 127) {
            control(rl, byte);
            break;
        }
        insert(rl, byte);
        if (rl->cursor == rl->line->len) {       /* plain typing: the byte alone will do */
            rl->host.write(rl->host.opaque, (char *)&byte, 1);
            return;
        }
        break;
    }
    redraw(rl);
}

void readline_feed(Readline *rl, uint8_t byte)
{
    bool after_cr = rl->last_was_cr;

    rl->last_was_cr = byte == '\r';
    if (rl->input == INPUT_PLAIN && (byte == '\r' || byte == '\n')) {
        if (!(byte == '\n' && after_cr)) {
            accept_line(rl);
        }
    } else if (rl->editing) {
        feed_editing(rl, byte);
    } else if (byte >= 32 && byte != 127) {
        insert(rl, byte);
    } else if (byte == 9) {
        insert(rl, ' ');
    }
}
