/* SPDX-License-Identifier: MIT */
/* Screen contents as PPM (P6) or PNG. */
#include <errno.h>
#include <png.h>
#include <stdio.h>

#include "base/bits.h"
#include "base/error.h"
#include "ui/console.h"

static void row_to_rgb(const Surface *s, int y, uint8_t *rgb)
{
    const uint32_t *px = (const uint32_t *)(const void *)(s->data + (size_t)y * s->stride);

    for (int x = 0; x < s->width; x++, rgb += 3) {
        rgb[0] = px[x] >> 16;
        rgb[1] = px[x] >> 8;
        rgb[2] = px[x];
    }
}

static bool write_ppm(const Surface *s, FILE *f, GError **error)
{
    g_autofree uint8_t *rgb = g_malloc((size_t)s->width * 3);
    bool ok = fprintf(f, "P6\n%d %d\n255\n", s->width, s->height) > 0;

    for (int y = 0; y < s->height && ok; y++) {
        row_to_rgb(s, y, rgb);
        ok = fwrite(rgb, 3, s->width, f) == (size_t)s->width;
    }
    return ok || error_set_errno(error, errno, "Cannot write the screen dump");
}

static bool write_png(const Surface *s, FILE *f, GError **error)
{
    uint8_t *rgb = g_malloc((size_t)s->width * 3);
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png ? png_create_info_struct(png) : NULL;

    if (!info || setjmp(png_jmpbuf(png))) {
        png_destroy_write_struct(&png, &info);
        g_free(rgb);
        return error_set(error, "Cannot write the screen dump as PNG");
    }
    png_init_io(png, f);
    png_set_IHDR(png, info, s->width, s->height, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_BASE, PNG_FILTER_TYPE_BASE);
    png_write_info(png, info);
    for (int y = 0; y < s->height; y++) {
        row_to_rgb(s, y, rgb);
        png_write_row(png, rgb);
    }
    png_write_end(png, NULL);
    png_destroy_write_struct(&png, &info);
    g_free(rgb);
    return true;
}

bool console_screendump(Console *con, const char *path, ScreendumpFormat format, GError **error)
{
    FILE *f = fopen(path, "wb");
    bool ok;

    if (!f) {
        return error_set_errno(error, errno, "Cannot open '%s' for the screen dump", path);
    }
    console_refresh(con);
    ok = (format == SCREENDUMP_PNG ? write_png : write_ppm)(console_surface(con), f, error);
    if (fclose(f) != 0 && ok) {
        ok = error_set_errno(error, errno, "Cannot write the screen dump to '%s'", path);
    }
    if (!ok) {
        remove(path);
    }
    return ok;
}
