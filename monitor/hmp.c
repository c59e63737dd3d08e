/* SPDX-License-Identifier: MIT */
/*
 * The human monitor's machinery: finding commands, taking arguments apart, expressions, help.
 */
#include "monitor/hmp.h"

#include "base/error.h"
#include "base/parse.h"
#include "monitor/monitor_int.h"
#include "monitor/trace.h"
#include "vm/cpu.h"

#include <string.h>

#define EXPRESSION_DEPTH 64

int64_t hmp_int(const Json *args, const char *name, int64_t absent)
{
    json_get_int(json_lookup(args, name), &absent);
    return absent;
}

bool hmp_flag(const Json *args, const char *name)
{
    bool on = false;

    json_get_bool(json_lookup(args, name), &on);
    return on;
}

/* ---- expressions ---- */

typedef struct Expr {
    Monitor *mon;
    const char *p;
    unsigned depth;
    GError **error;
} Expr;

static bool expr_sum(Expr *e, int64_t *value);

static void skip_blanks(const char **p)
{
    while (**p == ' ' || **p == '\t') {
        (*p)++;
    }
}

static bool expr_register(Expr *e, int64_t *value)
{
    const char *start = e->p;
    size_t len;
    Cpu *cpu = monitor_cpu(e->mon);

    while (g_ascii_isalnum(*e->p) || *e->p == '_') {
        e->p++;
    }
    len = (size_t)(e->p - start);
    if (cpu && cpu_class(cpu)->pc &&
        ((len == 2 && memcmp(start, "pc", 2) == 0) || (len == 3 && memcmp(start, "eip", 3) == 0))) {
        *value = (int64_t)cpu_class(cpu)->pc(cpu);
        return true;
    }
    return error_set(e->error, "unknown register");
}

static bool expr_unary(Expr *e, int64_t *value)
{
    char *end;

    if (e->depth >= EXPRESSION_DEPTH) {
        return error_set(e->error, "expression is nested too deeply");
    }
    skip_blanks(&e->p);
    switch (*e->p) {
    case '+':
    case '-':
    case '~': {
        char op = *e->p++;

        e->depth++;
        if (!expr_unary(e, value)) {
            return false;
        }
        e->depth--;
        *value = op == '-' ? (int64_t)(0 - (uint64_t)*value) : op == '~' ? ~*value : *value;
        return true;
    }
    case '(':
        e->p++;
        e->depth++;
        if (!expr_sum(e, value)) {
            return false;
        }
        e->depth--;
        skip_blanks(&e->p);
        if (*e->p != ')') {
            return error_set(e->error, "')' expected");
        }
        e->p++;
        return true;
    case '\'':
        if (!e->p[1] || e->p[2] != '\'') {
            return error_set(e->error, "missing terminating \' character");
        }
        *value = (uint8_t)e->p[1];
        e->p += 3;
        return true;
    case '$':
        e->p++;
        return expr_register(e, value);
    case '\0':
        return error_set(e->error, "unexpected end of expression");
    default:
        *value = (int64_t)g_ascii_strtoull(e->p, &end, 0);
        if (end == e->p) {
            return error_set(e->error, "invalid char '%c' in expression", *e->p);
        }
        e->p = end;
        return true;
    }
}

static bool expr_product(Expr *e, int64_t *value)
{
    if (!expr_unary(e, value)) {
        return false;
    }
    for (;;) {
        int64_t right;
        char op;

        skip_blanks(&e->p);
        op = *e->p;
        if (op != '*' && op != '/' && op != '%') {
            return true;
        }
        e->p++;
        if (!expr_unary(e, &right)) {
            return false;
        }
        if (op == '*') {
            *value = (int64_t)((uint64_t)*value * (uint64_t)right);
        } else if (right == 0) {
            return error_set(e->error, "division by zero");
        } else if (right == -1) {
            *value = op == '/' ? (int64_t)(0 - (uint64_t)*value) : 0;
        } else {
            *value = op == '/' ? *value / right : *value % right;
        }
    }
}

static bool expr_logic(Expr *e, int64_t *value)
{
    if (!expr_product(e, value)) {
        return false;
    }
    for (;;) {
        int64_t right;
        char op;

        skip_blanks(&e->p);
        op = *e->p;
        if (op != '&' && op != '|' && op != '^') {
            return true;
        }
        e->p++;
        if (!expr_product(e, &right)) {
            return false;
        }
        *value = op == '&' ? *value & right : op == '|' ? *value | right : *value ^ right;
    }
}

static bool expr_sum(Expr *e, int64_t *value)
{
    if (!expr_logic(e, value)) {
        return false;
    }
    for (;;) {
        int64_t right;
        char op;

        skip_blanks(&e->p);
        op = *e->p;
        if (op != '+' && op != '-') {
            return true;
        }
        e->p++;
        if (!expr_logic(e, &right)) {
            return false;
        }
        *value = (int64_t)(op == '+' ? (uint64_t)*value + (uint64_t)right
                                     : (uint64_t)*value - (uint64_t)right);
    }
}

static bool hmp_expression(Monitor *mon, const char **text, int64_t *value, GError **error)
{
    Expr e = { mon, *text, 0, error };

    if (!expr_sum(&e, value)) {
        return false;
    }
    *text = e.p;
    return true;
}

/* ---- arguments ---- */

/* A word, or a "quoted string" with \n \r \\ \" \'. */
static char *take_word(const char **p, GError **error)
{
    GString *out = g_string_new(NULL);

    if (**p != '"') {
        while (**p && **p != ' ' && **p != '\t') {
            g_string_append_c(out, *(*p)++);
        }
        return g_string_free(out, FALSE);
    }
    for ((*p)++; **p && **p != '"'; (*p)++) {
        char c = **p;

        if (c == '\\') {
            c = *++*p;
            if (!c || !strchr("nr\\'\"", c)) {
                break;
            }
            c = c == 'n' ? '\n' : c == 'r' ? '\r' : c;
        }
        g_string_append_c(out, c);
    }
    if (**p != '"') {
        error_set(error, "unterminated string");
        g_string_free(out, TRUE);
        return NULL;
    }
    (*p)++;
    return g_string_free(out, FALSE);
}

/* "/4xw": count, then letters in any order. */
static bool take_format(const char **p, Json *args, GError **error)
{
    int64_t count = 1;
    char letter = 0, size = 0;

    if (**p == '/') {
        (*p)++;
        if (g_ascii_isdigit(**p)) {
            char *end;

            count = (int64_t)MIN(g_ascii_strtoull(*p, &end, 10), 1u << 20);
            *p = end;
        }
        for (; **p && **p != ' '; (*p)++) {
            if (strchr("xduoci", **p)) {
                letter = **p;
            } else if (strchr("bhwg", **p)) {
                size = **p;
            } else {
                return error_set(error, "invalid char in format: '%c'", **p);
            }
        }
    }
    json_set(args, "count", json_new_int(count));
    if (letter) {
        json_set(args, "letter", json_new_int(letter));
    }
    if (size) {
        json_set(args, "size", json_new_int(size));
    }
    return true;
}

static bool take_argument(Monitor *mon, const char *name, const char *type, const char **p,
                          Json *args, GError **error)
{
    bool optional = g_str_has_suffix(type, "?");

    skip_blanks(p);
    if (type[0] == '-') {
        if ((*p)[0] == '-' && (*p)[1] == type[1] && ((*p)[2] == ' ' || !(*p)[2])) {
            json_set(args, name, json_new_bool(true));
            *p += 2;
        }
        return true;
    }
    if (type[0] == '/') {
        return take_format(p, args, error);
    }
    if (!**p) {
        if (optional) {
            return true;
        }
        if (type[0] == 'i') {
            return error_set(error, "unexpected end of expression");
        }
        return error_set(error, type[0] == 'F' ? "filename expected" : "string expected");
    }
    if (type[0] == 'i') {
        int64_t value;

        if (!hmp_expression(mon, p, &value, error)) {
            return false;
        }
        json_set(args, name, json_new_int(value));
    } else if (type[0] == 'o') {
        g_autofree char *word = take_word(p, error);
        uint64_t bytes;

        if (!word || !parse_size(name, word, 1 << 20, &bytes, error)) {
            return false;
        }
        json_set(args, name, json_new_int((int64_t)MIN(bytes, (uint64_t)INT64_MAX)));
    } else if (type[0] == 'S') {
        json_set(args, name, json_new_string(*p));
        *p += strlen(*p);
    } else {
        g_autofree char *word = take_word(p, error);

        if (!word) {
            return false;
        }
        if (type[0] == 'b') {
            if (strcmp(word, "on") != 0 && strcmp(word, "off") != 0) {
                return error_set(error, "Expected 'on' or 'off'");
            }
            json_set(args, name, json_new_bool(strcmp(word, "on") == 0));
        } else {
            json_set(args, name, json_new_string(word));
        }
    }
    return true;
}

static Json *take_arguments(Monitor *mon, const HmpCommand *row, const char *p, GError **error)
{
    g_autoptr(Json) args = json_new_dict();
    g_auto(GStrv) specs = g_strsplit(row->args ? row->args : "", ",", -1);

    for (unsigned i = 0; specs[i] && *specs[i]; i++) {
        char *type = strchr(specs[i], ':');

        *type++ = '\0';
        if (!take_argument(mon, specs[i], type, &p, args, error)) {
            return NULL;
        }
    }
    skip_blanks(&p);
    if (*p) {
        error_set(error, "%s: extraneous characters at the end of line", row->name);
        return NULL;
    }
    return g_steal_pointer(&args);
}

/* ---- commands ---- */

static bool name_matches(const char *names, const char *word)
{
    g_auto(GStrv) list = g_strsplit(names, "|", -1);

    return g_strv_contains((const char *const *)list, word);
}

static const HmpCommand *find(const HmpCommand *table, const char *word)
{
    for (; table->name; table++) {
        if (name_matches(table->name, word)) {
            return table;
        }
    }
    return NULL;
}

static int compare_rows(const void *a, const void *b)
{
    return strcmp((*(const HmpCommand *const *)a)->name, (*(const HmpCommand *const *)b)->name);
}

static GPtrArray *sorted(const HmpCommand *table)
{
    GPtrArray *rows = g_ptr_array_new();

    for (; table->name; table++) {
        g_ptr_array_add(rows, (void *)table);
    }
    g_ptr_array_sort(rows, compare_rows);
    return rows;
}

void hmp_help(Monitor *mon, const HmpCommand *table, const char *prefix, const char *name)
{
    g_autoptr(GPtrArray) rows = sorted(table);
    bool found = false;

    for (unsigned i = 0; i < rows->len; i++) {
        const HmpCommand *row = rows->pdata[i];

        if (name && !name_matches(row->name, name)) {
            continue;
        }
        found = true;
        if (name && row->sub) {
            hmp_help(mon, row->sub, "info ", NULL);
        } else {
            monitor_printf(mon, "%s%s %s -- %s\n", prefix, row->name, row->params ? row->params : "",
                           row->help);
        }
    }
    if (name && !found) {
        monitor_printf(mon, "unknown command: '%s%s'\n", prefix, name);
    }
}

/* "p/x 1": the format may follow the name at once. */
static char *command_word(const char **p)
{
    const char *start = *p;

    while (**p && **p != ' ' && **p != '\t' && **p != '/') {
        (*p)++;
    }
    return g_strndup(start, (gsize)(*p - start));
}

/* What QEMU has and Rhea has not is no spelling mistake. */
static void print_unknown(Monitor *mon, const HmpCommand *table, const char *prefix,
                          const char *word)
{
    g_autofree char *full = g_strconcat(prefix, word, NULL);
    Suggest suggest;

    if (g_strv_contains(hmp_absent, full)) {
        monitor_printf(mon, "Error: '%s': QEMU has this command, Rhea does not support it yet; "
                            "'help' lists those it has\n", full);
        return;
    }
    suggest_init(&suggest, word);
    for (; table->name; table++) {
        g_auto(GStrv) names = g_strsplit(table->name, "|", -1);

        for (unsigned i = 0; names[i]; i++) {
            suggest_offer(&suggest, g_intern_string(names[i]));
        }
    }
    monitor_printf(mon, "unknown command: '%s'%s\n", full, suggest_text(&suggest));
}

void hmp_run_line(Monitor *mon, const char *line)
{
    const char *p = line;
    g_autofree char *word = NULL;
    g_autoptr(GError) error = NULL;
    g_autoptr(Json) args = NULL;
    const HmpCommand *row;

    skip_blanks(&p);
    if (!*p || *p == '#') {
        return;
    }
    trace_handle_hmp_command(line);
    word = command_word(&p);
    row = find(hmp_commands, word);
    if (row && row->sub) {
        const char *after = p;
        g_autofree char *second = NULL;

        skip_blanks(&after);
        second = command_word(&after);
        if (!*second) {
            hmp_help(mon, row->sub, "info ", NULL);
            return;
        }
        row = find(row->sub, second);
        p = after;
        if (!row) {
            print_unknown(mon, hmp_info_commands, "info ", second);
            return;
        }
    }
    if (!row) {
        print_unknown(mon, hmp_commands, "", word);
        return;
    }
    args = take_arguments(mon, row, p, &error);
    if (!args) {
        monitor_printf(mon, "%s\nTry \"help %s\" for more information\n", error->message, word);
        return;
    }
    row->run(mon, args);
}

GPtrArray *hmp_complete(Monitor *mon, const char *line)
{
    GPtrArray *words = g_ptr_array_new_with_free_func(g_free);
    const HmpCommand *table = hmp_commands;
    const char *last;

    while (*line == ' ') {
        line++;
    }
    if (g_str_has_prefix(line, "info ") || g_str_has_prefix(line, "help ")) {
        table = line[0] == 'i' ? hmp_info_commands : hmp_commands;
        line += 5;
    }
    last = line;
    if (strchr(line, ' ')) {
        return words;
    }
    for (; table->name; table++) {
        g_auto(GStrv) names = g_strsplit(table->name, "|", -1);

        for (unsigned i = 0; names[i]; i++) {
            if (g_str_has_prefix(names[i], last)) {
                g_ptr_array_add(words, g_strdup(names[i]));
            }
        }
    }
    return words;
}
