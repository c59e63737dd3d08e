/* SPDX-License-Identifier: MIT */
/*
 * Errors: GError everywhere, few stable codes, one-line messages.
 *
 * The whole idiom: a function that can fail returns bool (or a pointer) and takes a GError **
 * as its last parameter; it returns false (NULL) exactly when it has set the error.  The
 * caller either handles it or passes it on, perhaps with g_prefix_error(); it never inspects
 * the text.  Whoever returns an error does not also print it.
 *
 *     if (size > DISK_MAX) {
 *         return error_set(error, "Disk '%s' is %s; at most %s is allowed", ...);
 *     }
 *
 * A message names the object, the value, what is allowed and the remedy, starts with a capital
 * letter and has no full stop.  The codes are what a program may act upon; they map one to one
 * to QMP's error classes.
 *
 * Suggestions: offer each valid name to a Suggest; suggest_text() is then either empty or
 * "; did you mean 'NAME'?", to be appended to the message.
 *
 *     Suggest s;
 *     suggest_init(&s, word);
 *     for (each row) { suggest_offer(&s, row->name); }
 *     return error_set(error, "Unknown device '%s'%s", word, suggest_text(&s));
 *
 * Threads: no shared state, callable from anywhere.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <glib.h>
#include <stdbool.h>

#define RHEA_ERROR (rhea_error_quark())
GQuark rhea_error_quark(void);

typedef enum VmError {
    VM_ERROR_GENERIC,           /* QMP class GenericError */
    VM_ERROR_COMMAND_NOT_FOUND, /* CommandNotFound */
    VM_ERROR_DEVICE_NOT_ACTIVE, /* DeviceNotActive */
    VM_ERROR_DEVICE_NOT_FOUND,  /* DeviceNotFound */
    VM_ERROR_KVM_MISSING_CAP,   /* KVMMissingCap */
} VmError;

/* The QMP class of ERROR; an error of another domain is a GenericError. */
const char *error_class_name(const GError *error);

/* Each sets *error (unless ERROR is NULL) and returns false, so "return error_set(...)" works. */
bool error_set(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
bool error_set_code(GError **error, VmError code, const char *format, ...) G_GNUC_PRINTF(3, 4);
/* Appends ": " and the text of the errno value ERR. */
bool error_set_errno(GError **error, int err, const char *format, ...) G_GNUC_PRINTF(3, 4);

typedef struct Suggest {
    const char *word;
    const char *best; /* borrowed from the caller of suggest_offer() */
    unsigned best_distance;
    char text[160];
} Suggest;

/* WORD must outlive the Suggest, and so must each candidate. */
void suggest_init(Suggest *s, const char *word);
void suggest_offer(Suggest *s, const char *candidate);
/* "" or "; did you mean 'best'?"; valid as long as S. */
const char *suggest_text(Suggest *s);

/* The same, but "; OTHERWISE" where nothing is close: how to see what there is. */
const char *suggest_text_or(Suggest *s, const char *otherwise);

/* The closest of the NULL-terminated CANDIDATES, or NULL if none is close enough to WORD. */
const char *suggest_closest(const char *word, const char *const *candidates);

/* Optimal string alignment distance of A and B, case folded; at most LIMIT + 1 is returned. */
unsigned edit_distance(const char *a, const char *b, unsigned limit);

#endif
