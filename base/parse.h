/* SPDX-License-Identifier: MIT */
/*
 * Numbers, sizes and switches out of text; all reject trailing garbage and overflow, and say
 * what is allowed.  NAME is what the message calls the thing ("Parameter 'size'").
 */
#ifndef BASE_PARSE_H
#define BASE_PARSE_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* on, yes, true, y and off, no, false, n. */
bool parse_bool(const char *name, const char *text, bool *out, GError **error);
/* Decimal, 0x or leading-zero octal. */
bool parse_uint(const char *name, const char *text, uint64_t min, uint64_t max, uint64_t *out,
                GError **error);
bool parse_int(const char *name, const char *text, int64_t min, int64_t max, int64_t *out,
               GError **error);
/*
 * "4G", "1.5M", "0x1000", "512": suffixes B K M G T P E (powers of 1024, either case); UNIT is the
 * factor of a number without a suffix (1, or MIB for -m).
 */
bool parse_size(const char *name, const char *text, uint64_t unit, uint64_t *out, GError **error);
/* "1.5 GiB", exact to three digits. */
char *format_size(uint64_t bytes);

/* "0,2-5,8": calls visit for each closed range, ascending or not. */
bool parse_ranges(const char *name, const char *text, uint64_t max,
                  void (*visit)(uint64_t first, uint64_t last, void *opaque), void *opaque,
                  GError **error);

/* What may be the id of an object, a device, a job: a letter, then letters, digits, '-', '.', '_'. */
bool parse_is_id(const char *text);

/* What base64 stands for, *OUT_LEN bytes; spaces and line ends are left out.  NULL: TEXT is none. */
uint8_t *parse_base64(const char *text, size_t len, size_t *out_len);

#endif
