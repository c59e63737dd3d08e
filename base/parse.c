/* SPDX-License-Identifier: MIT */
/* Numbers, sizes and switches out of text; see the header. */
#include "base/parse.h"
#include "base/bits.h"
#include "base/error.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

bool parse_bool(const char *name, const char *text, bool *out, GError **error)
{
    static const char *const on[] = { "on", "yes", "true", "y", NULL };
    static const char *const off[] = { "off", "no", "false", "n", NULL };

    if (g_strv_contains(on, text)) {
        *out = true;
    } else if (g_strv_contains(off, text)) {
        *out = false;
    } else {
        return error_set(error, "%s expects 'on' or 'off', not '%s'", name, text);
    }
    return true;
}

bool parse_uint(const char *name, const char *text, uint64_t min, uint64_t max, uint64_t *out,
                GError **error)
{
    unsigned long long value;
    char *end;

    errno = 0;
    value = strtoull(text, &end, 0);
    /* strtoull takes blanks and a minus sign; we do not. */
    if (!g_ascii_isdigit(text[0]) || *end || errno || value < min || value > max) {
        return error_set(error, "%s expects a number from %" PRIu64 " to %" PRIu64 ", not '%s'",
                         name, min, max, text);
    }
    *out = value;
    return true;
}

bool parse_int(const char *name, const char *text, int64_t min, int64_t max, int64_t *out,
               GError **error)
{
    long long value;
    char *end;

    errno = 0;
    value = strtoll(text, &end, 0);
    if (!(g_ascii_isdigit(text[0]) || (text[0] == '-' && g_ascii_isdigit(text[1]))) || *end ||
        errno || value < min || value > max) {
        return error_set(error, "%s expects a number from %" PRId64 " to %" PRId64 ", not '%s'",
                         name, min, max, text);
    }
    *out = value;
    return true;
}

/* The factor of a suffix letter; 0 if it is none. */
static uint64_t suffix_factor(char c)
{
    switch (g_ascii_toupper(c)) {
    case 'B': return 1;
    case 'K': return KIB;
    case 'M': return MIB;
    case 'G': return GIB;
    case 'T': return TIB;
    case 'P': return TIB << 10;
    case 'E': return TIB << 20;
    default: return 0;
    }
}

bool parse_size(const char *name, const char *text, uint64_t unit, uint64_t *out, GError **error)
{
    bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    uint64_t whole, factor, bytes;
    double fraction = 0;
    char *end;

    if (!g_ascii_isdigit(text[0])) {
        goto bad;
    }
    errno = 0;
    whole = strtoull(text, &end, hex ? 16 : 10);
    if (errno) {
        goto too_big;
    }
    if (*end == '.' && !hex) {
        double scale = 0.1;

        for (end++; g_ascii_isdigit(*end); end++, scale /= 10) {
            fraction += (*end - '0') * scale;
        }
    }
    factor = unit;
    if (*end) {
        factor = suffix_factor(*end);
        if (!factor || end[1]) {
            goto bad;
        }
    }
    if (__builtin_mul_overflow(whole, factor, &bytes) ||
        __builtin_add_overflow(bytes, (uint64_t)llround(fraction * (double)factor), &bytes)) {
        goto too_big;
    }
    *out = bytes;
    return true;

bad:
    return error_set(error,
                     "%s expects a size such as 512, 64K, 1.5M or 4G "
                     "(suffixes B K M G T P E), not '%s'", name, text);
too_big:
    return error_set(error, "%s: size '%s' does not fit in 64 bits", name, text);
}

char *format_size(uint64_t bytes)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    double value = (double)bytes;
    unsigned u = 0;

    while (value >= 1000 && u + 1 < G_N_ELEMENTS(units)) {
        value /= 1024;
        u++;
    }
    return g_strdup_printf("%.3g %s", value, units[u]);
}

bool parse_ranges(const char *name, const char *text, uint64_t max,
                  void (*visit)(uint64_t first, uint64_t last, void *opaque), void *opaque,
                  GError **error)
{
    g_auto(GStrv) parts = g_strsplit(text, ",", -1);

    for (char **part = parts; *part; part++) {
        char *dash = strchr(*part, '-');
        uint64_t first, last;

        if (dash) {
            *dash++ = '\0';
        }
        if (!parse_uint(name, *part, 0, max, &first, error) ||
            !parse_uint(name, dash ? dash : *part, first, max, &last, error)) {
            return false;
        }
        visit(first, last, opaque);
    }
    return true;
}

bool parse_is_id(const char *text)
{
    return g_ascii_isalpha(*text) &&
           strspn(text, G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "-._") == strlen(text);
}

uint8_t *parse_base64(const char *text, size_t len, size_t *out_len)
{
    GString *bare = g_string_sized_new(len);
    uint8_t *out = NULL;
    size_t letters;

    for (size_t i = 0; i < len; i++) {
        if (!g_ascii_isspace(text[i])) {
            g_string_append_c(bare, text[i]);
        }
    }
    letters = strspn(bare->str, G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "+/");
    if (bare->len % 4 == 0 && bare->len - letters <= 2 &&
        strspn(bare->str + letters, "=") == bare->len - letters) {
        out = bare->len ? g_base64_decode(bare->str, out_len) : g_new0(uint8_t, 1);
        *out_len = bare->len ? *out_len : 0;
    }
    explicit_bzero(bare->str, bare->len);     /* it may be a secret */
    g_string_free(bare, TRUE);
    return out;
}
