/* SPDX-License-Identifier: MIT */
/*
 * Dirty bitmaps.  A flat bit array: 64 KiB granules of a 1 TiB disk are 2 MiB of bits.
 * Locking: the node's event loop.
 */
#include "block/bitmap.h"

#include "block/driver.h"

static uint64_t bitmap_bits(const DirtyBitmap *b)
{
    return div_round_up(b->length, b->granularity);
}

DirtyBitmap *dirty_bitmap_find(BlockNode *node, const char *name)
{
    for (unsigned i = 0; i < node->bitmaps->len; i++) {
        DirtyBitmap *b = node->bitmaps->pdata[i];

        if (g_str_equal(b->name, name)) {
            return b;
        }
    }
    return NULL;
}

DirtyBitmap *dirty_bitmap_new(uint64_t length, uint32_t granularity)
{
    DirtyBitmap *b = g_new0(DirtyBitmap, 1);

    b->granularity = granularity;
    b->length = length;
    b->enabled = true;
    b->bits = g_try_new0(uint64_t, bitmap_bits(b) / 64 + 1);
    if (!b->bits) {
        g_free(b);
        return NULL;
    }
    return b;
}

void dirty_bitmap_free(DirtyBitmap *b)
{
    if (!b) {
        return;
    }
    g_free(b->name);
    g_free(b->bits);
    g_free(b);
}

DirtyBitmap *dirty_bitmap_add(BlockNode *node, const char *name, uint32_t granularity,
                              GError **error)
{
    DirtyBitmap *b;

    if (granularity == 0) {
        uint32_t cluster = node_cluster_size(node);

        granularity = cluster ? MAX(4096, cluster) : 65536;
    }
    if (granularity < 512 || granularity > 2u << 30 || !is_pow2(granularity)) {
        error_set(error, "Granularity must be a power of two from 512 to 2G, not %u",
                  granularity);
        return NULL;
    }
    if (!*name || strlen(name) > 1023) {
        error_set(error, "A bitmap name must have 1 to 1023 characters");
        return NULL;
    }
    if (dirty_bitmap_find(node, name)) {
        error_set(error, "Bitmap already exists: %s", name);
        return NULL;
    }
    b = dirty_bitmap_new(node->length, granularity);
    if (!b) {
        error_set(error, "Not enough memory for bitmap '%s'", name);
        return NULL;
    }
    b->name = g_strdup(name);
    g_ptr_array_add(node->bitmaps, b);
    return b;
}

bool dirty_bitmap_make_persistent(BlockNode *node, DirtyBitmap *b, GError **error)
{
    if (b->persistent) {
        return true;
    }
    if (!node->type->bitmap_can_store) {
        return error_set(error, "Can't store persistent bitmaps to %s: Operation not supported",
                         node->name);
    }
    if (node->read_only || !node->type->bitmap_can_store(node, b->name, b->granularity, error)) {
        if (node->read_only) {
            error_set(error, "The image is read-only");
        }
        g_prefix_error(error, "Can't make bitmap '%s' persistent in '%s': ", b->name, node->name);
        return false;
    }
    b->persistent = true;
    return true;
}

void dirty_bitmap_loaded(DirtyBitmap *b)
{
    uint64_t n = bitmap_bits(b), words = n / 64 + 1;

    b->dirty = 0;
    for (uint64_t i = 0; i < words; i++) {
        b->bits[i] = GUINT64_FROM_LE(b->bits[i]);
        if (i == n / 64) {
            b->bits[i] &= BIT64(n % 64) - 1;   /* padding is not ours to believe */
        }
        b->dirty += (uint64_t)__builtin_popcountll(b->bits[i]);
    }
}

void dirty_bitmap_remove(BlockNode *node, DirtyBitmap *bitmap)
{
    g_ptr_array_remove(node->bitmaps, bitmap);
    dirty_bitmap_free(bitmap);
}

void dirty_bitmaps_free(BlockNode *node)
{
    for (unsigned i = 0; i < node->bitmaps->len; i++) {
        dirty_bitmap_free(node->bitmaps->pdata[i]);
    }
    g_ptr_array_set_size(node->bitmaps, 0);
}

void dirty_bitmap_clear(DirtyBitmap *b)
{
    memset(b->bits, 0, (bitmap_bits(b) / 64 + 1) * 8);
    b->dirty = 0;
}

void dirty_bitmap_set(DirtyBitmap *b, uint64_t offset, uint64_t bytes)
{
    uint64_t first, last;

    if (!bytes || offset >= b->length) {
        return;
    }
    bytes = MIN(bytes, b->length - offset);
    first = offset / b->granularity;
    last = (offset + bytes - 1) / b->granularity;
    for (uint64_t i = first; i <= last; i++) {
        uint64_t bit = BIT64(i % 64);

        b->dirty += !(b->bits[i / 64] & bit);
        b->bits[i / 64] |= bit;
    }
}

void dirty_bitmap_reset(DirtyBitmap *b, uint64_t offset, uint64_t bytes)
{
    uint64_t end = offset >= b->length ? offset : MIN(offset + bytes, b->length);
    uint64_t first = div_round_up(offset, b->granularity);
    uint64_t last = end == b->length ? bitmap_bits(b) : end / b->granularity;

    for (uint64_t i = first; i < last; i++) {
        uint64_t bit = BIT64(i % 64);

        b->dirty -= !!(b->bits[i / 64] & bit);
        b->bits[i / 64] &= ~bit;
    }
}

bool dirty_bitmap_get(const DirtyBitmap *b, uint64_t offset)
{
    uint64_t i = offset / b->granularity;

    return offset < b->length && (b->bits[i / 64] >> (i % 64) & 1);
}

bool dirty_bitmap_next(const DirtyBitmap *b, uint64_t offset, uint64_t *start, uint64_t *bytes)
{
    uint64_t n = offset < b->length ? bitmap_bits(b) : 0, i = offset / b->granularity, j;

    while (i < n) {
        uint64_t word = b->bits[i / 64] >> (i % 64);

        if (word) {
            i += (uint64_t)__builtin_ctzll(word);
            break;
        }
        i = (i / 64 + 1) * 64;
    }
    if (i >= n) {
        return false;
    }
    for (j = i; j < n && (b->bits[j / 64] >> (j % 64) & 1); j++) {
    }
    *start = MAX(offset, i * b->granularity);
    *bytes = MIN(j * b->granularity, b->length) - *start;
    return true;
}

bool dirty_bitmap_merge(DirtyBitmap *to, const DirtyBitmap *from, GError **error)
{
    uint64_t start, bytes, at = 0;

    if (to->length != from->length) {
        return error_set(error, "Bitmaps are of different sizes (destination size is %" PRIu64
                         " and source size is %" PRIu64 ") and can't be merged",
                         to->length, from->length);
    }
    while (dirty_bitmap_next(from, at, &start, &bytes)) {
        dirty_bitmap_set(to, start, bytes);
        at = start + bytes;
    }
    return true;
}

bool bitmap_check_usable(const DirtyBitmap *b, GError **error)
{
    if (b->busy) {
        return error_set(error, "Bitmap '%s' is currently in use by another operation and cannot "
                         "be used", b->name);
    }
    return !b->inconsistent ||
           error_set(error, "Bitmap '%s' is inconsistent and cannot be used; try "
                     "block-dirty-bitmap-remove to delete this bitmap from disk", b->name);
}

void dirty_bitmaps_set(BlockNode *node, uint64_t offset, uint64_t bytes)
{
    for (unsigned i = 0; i < node->bitmaps->len; i++) {
        DirtyBitmap *b = node->bitmaps->pdata[i];

        if (b->enabled && !b->inconsistent) {
            dirty_bitmap_set(b, offset, bytes);
        }
    }
}

void dirty_bitmaps_resize(BlockNode *node, uint64_t length)
{
    for (unsigned i = 0; i < node->bitmaps->len; i++) {
        DirtyBitmap *b = node->bitmaps->pdata[i];
        uint64_t old_words = bitmap_bits(b) / 64 + 1, old_bits = bitmap_bits(b), words;

        b->length = length;
        words = bitmap_bits(b) / 64 + 1;
        b->bits = g_renew(uint64_t, b->bits, words);
        if (words > old_words) {
            memset(b->bits + old_words, 0, (words - old_words) * 8);
        }
        for (uint64_t k = bitmap_bits(b); k < old_bits && k / 64 < words; k++) {
            b->bits[k / 64] &= ~BIT64(k % 64);
        }
        b->dirty = 0;
        for (uint64_t k = 0; k < words; k++) {
            b->dirty += (uint64_t)__builtin_popcountll(b->bits[k]);
        }
    }
}
