/* SPDX-License-Identifier: MIT */
/*
 * Where a sound image has the numbers that a hostile one would change: fields of its header, entries of
 * its tables.  For fuzz targets; the image must be one that was made here.
 */
#ifndef FUZZ_IMAGE_FIELDS_H
#define FUZZ_IMAGE_FIELDS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct ImageField {
    uint32_t at;
    uint8_t width;            /* 1, 2, 4 or 8 bytes */
    bool little;              /* endian */
} ImageField;

/* Of ImageField; none when the format has no list here. */
GArray *image_fields(const char *format, const GByteArray *image);

/*
 * Changes the image: each 8 bytes of DATA are a field's number (16 bits), what is done to it, an argument of
 * eight bits and one of 32 bits.
 */
void image_fields_edit(GByteArray *image, const GArray *fields, const uint8_t *data, size_t size);

#endif
