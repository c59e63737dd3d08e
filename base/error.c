/* SPDX-License-Identifier: MIT */
/* Errors and suggestions; see the header. */
#include "base/error.h"

#include <errno.h>
#include <string.h>

static const char *const class_names[] = {
    [VM_ERROR_GENERIC] = "GenericError",
    [VM_ERROR_COMMAND_NOT_FOUND] = "CommandNotFound",
    [VM_ERROR_DEVICE_NOT_ACTIVE] = "DeviceNotActive",
    [VM_ERROR_DEVICE_NOT_FOUND] = "DeviceNotFound",
    [VM_ERROR_KVM_MISSING_CAP] = "KVMMissingCap",
};

/* Words further apart than this share too little to be a misspelling. */
#define SUGGEST_LIMIT 3
#define EDIT_MAX_LEN 63

GQuark rhea_error_quark(void)
{
    return g_quark_from_static_string("rhea-error");
}

const char *error_class_name(const GError *error)
{
    if (error->domain == RHEA_ERROR && error->code >= 0 &&
        error->code < (int)G_N_ELEMENTS(class_names)) {
        return class_names[error->code];
    }
    return class_names[VM_ERROR_GENERIC];
}

static void error_take_message(GError **error, VmError code, char *message)
{
    g_set_error_literal(error, RHEA_ERROR, code, message);
    g_free(message);
}

bool error_set(GError **error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    error_take_message(error, VM_ERROR_GENERIC, g_strdup_vprintf(format, args));
    va_end(args);
    return false;
}

bool error_set_code(GError **error, VmError code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    error_take_message(error, code, g_strdup_vprintf(format, args));
    va_end(args);
    return false;
}

bool error_set_errno(GError **error, int err, const char *format, ...)
{
    g_autofree char *message = NULL;
    va_list args;

    va_start(args, format);
    message = g_strdup_vprintf(format, args);
    va_end(args);
    error_take_message(error, VM_ERROR_GENERIC,
                       g_strdup_printf("%s: %s", message, g_strerror(err)));
    return false;
}

/* -------- suggestions -------- */

unsigned edit_distance(const char *a, const char *b, unsigned limit)
{
    size_t la = strlen(a), lb = strlen(b);
    unsigned rows[3][EDIT_MAX_LEN + 1];
    unsigned *before = rows[0], *prev = rows[1], *cur = rows[2];

    if (la > EDIT_MAX_LEN || lb > EDIT_MAX_LEN || (la > lb ? la - lb : lb - la) > limit) {
        return limit + 1;
    }
    for (size_t j = 0; j <= lb; j++) {
        prev[j] = j;
    }
    for (size_t i = 1; i <= la; i++) {
        unsigned *spare = before;

        cur[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            char ca = g_ascii_tolower(a[i - 1]), cb = g_ascii_tolower(b[j - 1]);
            unsigned best = prev[j - 1] + (ca != cb);

            best = MIN(best, MIN(prev[j], cur[j - 1]) + 1);
            if (i > 1 && j > 1 && ca == g_ascii_tolower(b[j - 2]) &&
                cb == g_ascii_tolower(a[i - 2])) {
                best = MIN(best, before[j - 2] + 1);
            }
            cur[j] = best;
        }
        before = prev;
        prev = cur;
        cur = spare;
    }
    return MIN(prev[lb], limit + 1);
}

void suggest_init(Suggest *s, const char *word)
{
    s->word = word;
    s->best = NULL;
    /* Two letters may differ in one place, "usb" is not "ide". */
    s->best_distance = MIN((unsigned)(strlen(word) + 2) / 3, SUGGEST_LIMIT) + 1;
    s->text[0] = '\0';
}

void suggest_offer(Suggest *s, const char *candidate)
{
    unsigned distance;

    if (s->best_distance == 0) {
        return;
    }
    distance = edit_distance(s->word, candidate, s->best_distance - 1);
    if (distance < s->best_distance) {
        s->best = candidate;
        s->best_distance = distance;
    }
}

const char *suggest_text(Suggest *s)
{
    if (s->best) {
        g_snprintf(s->text, sizeof(s->text), "; did you mean '%s'?", s->best);
    }
    return s->text;
}

const char *suggest_text_or(Suggest *s, const char *otherwise)
{
    if (!s->best) {
        g_snprintf(s->text, sizeof(s->text), "; %s", otherwise);
    }
    return suggest_text(s);
}

const char *suggest_closest(const char *word, const char *const *candidates)
{
    Suggest s;

    suggest_init(&s, word);
    for (; *candidates; candidates++) {
        suggest_offer(&s, *candidates);
    }
    return s.best;
}
