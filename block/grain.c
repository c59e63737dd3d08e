/* SPDX-License-Identifier: MIT */
/*
 * Grains: reading and writing through one flat table.  See block/grain.h.
 * Locking: map->lock for the table; data of grains that have a place is moved without it.
 */
#include "block/grain.h"

#define MAX_PAGES 4096u            /* clean ones are dropped above this */
#define COPY_CHUNK (1u << 20)
#define STATUS_GRAINS 65536u       /* of one answer */

static void page_free(gpointer p)
{
    GrainPage *page = p;

    g_free(page->data);
    g_free(page);
}

void grain_map_init(GrainMap *map, BlockNode *node, BlockNode *file)
{
    map->node = node;
    map->file = file;
    map->pages = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, page_free);
    map->dirty = g_ptr_array_new();
    co_mutex_init(&map->lock);
}

void grain_map_clear(GrainMap *map)
{
    g_clear_pointer(&map->pages, g_hash_table_unref);
    g_clear_pointer(&map->dirty, g_ptr_array_unref);
    g_clear_pointer(&map->unpacked, g_free);
}

/* ---- the table ---- */

static gboolean page_is_clean(gpointer key, gpointer value, gpointer opaque)
{
    return !((GrainPage *)value)->dirty;
}

static int page_order(gconstpointer a, gconstpointer b)
{
    const GrainPage *x = *(GrainPage *const *)a, *y = *(GrainPage *const *)b;

    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static int co_write_dirty(GrainMap *map)
{
    int ret = 0;

    if (!map->dirty->len) {
        return 0;
    }
    ret = co_node_flush(map->file);
    g_ptr_array_sort(map->dirty, page_order);
    if (ret == 0 && map->ops->co_write_pages) {
        ret = map->ops->co_write_pages(map, map->dirty);
    }
    for (unsigned i = 0; !map->ops->co_write_pages && i < map->dirty->len && ret == 0; i++) {
        GrainPage *page = map->dirty->pdata[i];

        ret = co_node_pwrite(map->file, page->offset, page->data, map->page_bytes, 0);
    }
    if (ret < 0) {
        return ret;                    /* all stay dirty: the next flush tries again */
    }
    for (unsigned i = 0; i < map->dirty->len; i++) {
        ((GrainPage *)map->dirty->pdata[i])->dirty = false;
    }
    g_ptr_array_set_size(map->dirty, 0);
    return 0;
}

static int co_page_get(GrainMap *map, uint64_t index, bool create, GrainPage **out)
{
    GrainPage *page = g_hash_table_lookup(map->pages, &index);
    uint64_t offset = map->table_offset + index * map->page_bytes;
    int ret = 0;

    *out = page;
    if (page) {
        return 0;
    }
    if (map->ops->co_page) {
        ret = map->ops->co_page(map, index, create, &offset);
    }
    if (ret < 0 || !offset) {
        return ret;
    }
    if (g_hash_table_size(map->pages) >= MAX_PAGES) {
        ret = map->dirty->len > MAX_PAGES / 2 ? co_write_dirty(map) : 0;
        if (ret < 0) {
            return ret;
        }
        g_hash_table_foreach_remove(map->pages, page_is_clean, NULL);
    }
    page = g_new0(GrainPage, 1);
    page->index = index;
    page->offset = offset;
    page->data = g_malloc(map->page_bytes);
    ret = co_node_pread(map->file, offset, page->data, map->page_bytes);
    if (ret < 0) {
        page_free(page);
        return ret;
    }
    g_hash_table_insert(map->pages, &page->index, page);
    *out = page;
    return 0;
}

static uint64_t table_index(const GrainMap *map, uint64_t grain)
{
    return map->ops->index ? map->ops->index(map, grain) : grain;
}

static int co_entry_ptr(GrainMap *map, uint64_t grain, bool create, GrainPage **page,
                        uint8_t **entry)
{
    uint64_t at = table_index(map, grain) * map->entry_bytes;
    int ret = co_page_get(map, at / map->page_bytes, create, page);

    *entry = ret == 0 && *page ? (*page)->data + at % map->page_bytes : NULL;
    return ret;
}

/* *ABSENT: there is no page, so the grain is a hole whatever holes look like. */
static int entry_load(GrainMap *map, uint64_t grain, uint64_t *value, bool *absent)
{
    GrainPage *page;
    uint8_t *p;
    int ret = co_entry_ptr(map, grain, false, &page, &p);

    *absent = ret == 0 && !p;
    *value = 0;
    if (p) {
        *value = map->entry_bytes == 8 ? le64_load(p)
                 : map->big_endian ? be32_load(p) : le32_load(p);
    }
    return ret;
}

int co_grain_entry(GrainMap *map, uint64_t grain, uint64_t *entry)
{
    bool absent;

    return entry_load(map, grain, entry, &absent);
}

int co_grain_set(GrainMap *map, uint64_t grain, uint64_t entry)
{
    GrainPage *page;
    uint8_t *p;
    int ret = co_entry_ptr(map, grain, true, &page, &p);

    if (ret < 0 || !p) {
        return ret < 0 ? ret : -EIO;
    }
    if (map->entry_bytes == 8) {
        le64_store(p, entry);
    } else if (map->big_endian) {
        be32_store(p, (uint32_t)entry);
    } else {
        le32_store(p, (uint32_t)entry);
    }
    if (!page->dirty) {
        page->dirty = true;
        g_ptr_array_add(map->dirty, page);
    }
    return 0;
}

uint64_t grain_file_end(const GrainMap *map, uint64_t align)
{
    return align_up(MAX(map->file->length, map->data_start), align);
}

static int co_place(GrainMap *map, uint64_t grain, GrainPlace *place)
{
    uint64_t entry;
    bool absent;
    int ret = entry_load(map, grain, &entry, &absent);

    if (ret < 0) {
        return ret;
    }
    *place = absent ? (GrainPlace){ GRAIN_HOLE, 0 } : map->ops->decode(map, grain, entry);
    /* What begins behind the end of the file was cut off: no zeroes in its place. */
    if ((place->kind == GRAIN_DATA || place->kind == GRAIN_PACKED) &&
        (place->host < map->data_start || place->host >= map->file->length)) {
        place->kind = GRAIN_BAD;
    }
    return 0;
}

/* ---- reading ---- */

static int read_packed(GrainMap *map, uint64_t grain, uint64_t host, uint64_t in, IoSpan span)
{
    int ret = 0;

    if (!map->unpacked) {
        map->unpacked = g_try_malloc(map->grain);
    }
    if (!map->unpacked) {
        return -ENOMEM;
    }
    co_mutex_lock(&map->lock);
    if (map->unpacked_host != host) {
        map->unpacked_host = 0;
        ret = map->ops->co_unpack(map, grain, host, map->unpacked);
        if (ret == 0) {
            map->unpacked_host = host;
        }
    }
    if (ret == 0) {
        io_span_from_buf(span, map->unpacked + in);
    }
    co_mutex_unlock(&map->lock);
    return ret;
}

static int read_hole(GrainMap *map, uint64_t offset, IoSpan span)
{
    if (map->node->backing) {
        return co_node_preadv(map->node->backing->node, map->base + offset, span);
    }
    io_span_zero(span);
    return 0;
}

int co_grain_preadv(GrainMap *map, uint64_t offset, IoSpan span)
{
    int ret = 0;

    while (span.len && ret == 0) {
        uint64_t grain = offset / map->grain, in = offset % map->grain;
        IoSpan piece = io_span_sub(span, 0, MIN(span.len, map->grain - in));
        GrainPlace place;

        co_mutex_lock(&map->lock);
        ret = co_place(map, grain, &place);
        co_mutex_unlock(&map->lock);
        if (ret < 0) {
            break;
        }
        switch (place.kind) {
        case GRAIN_DATA:
            ret = co_node_preadv(map->file, place.host + in, piece);
            break;
        case GRAIN_PACKED:
            ret = read_packed(map, grain, place.host, in, piece);
            break;
        case GRAIN_HOLE:
            ret = read_hole(map, offset, piece);
            break;
        case GRAIN_ZERO:
            io_span_zero(piece);
            break;
        case GRAIN_BAD:
            ret = -EIO;
        }
        offset += piece.len;
        span = io_span_sub(span, piece.len, span.len - piece.len);
    }
    return ret;
}

/* ---- writing ---- */

/* [FROM, TO) of a new grain at HOST: what the backing file has there, else zeroes. */
static int co_fill(GrainMap *map, uint64_t grain, uint64_t host, uint64_t from, uint64_t to,
                   GrainKind was)
{
    uint64_t start = grain * map->grain, end = map->length - start;
    bool copy = was == GRAIN_HOLE && map->node->backing;
    g_autofree uint8_t *buf = NULL;
    int ret = 0;

    if (from >= to) {
        return 0;
    }
    if (!copy) {
        /* Behind the end of the file all is zero by itself. */
        uint64_t stop = MIN(host + to, map->file->length);

        return host + from < stop ? co_node_write_zeroes(map->file, host + from,
                                                         stop - host - from, 0) : 0;
    }
    buf = g_malloc(MIN(COPY_CHUNK, to - from));
    for (uint64_t at = from; at < to && ret == 0; at += COPY_CHUNK) {
        uint64_t n = MIN(COPY_CHUNK, to - at);

        memset(buf, 0, n);
        if (at < end) {
            ret = co_node_pread(map->node->backing->node, map->base + start + at, buf,
                                MIN(n, end - at));
        }
        ret = ret < 0 ? ret : co_node_pwrite(map->file, host + at, buf, n, 0);
    }
    return ret;
}

static int co_write_new(GrainMap *map, uint64_t grain, uint64_t in, IoSpan piece, GrainKind was)
{
    GrainPlace place = { GRAIN_DATA, 0 };
    int ret = map->ops->co_alloc(map, &place.host);
    uint64_t end = place.host + map->grain;

    if (ret == 0) {
        ret = co_fill(map, grain, place.host, 0, in, was);
    }
    if (ret == 0) {
        ret = co_node_pwritev(map->file, place.host + in, piece, 0);
    }
    if (ret == 0) {
        ret = co_fill(map, grain, place.host, in + piece.len, map->grain, was);
    }
    if (ret == 0 && map->file->length < end) {
        ret = co_node_write_zeroes(map->file, map->file->length, end - map->file->length, 0);
    }
    return ret == 0 ? co_grain_set(map, grain, map->ops->encode(map, grain, place)) : ret;
}

static int co_write_grain(GrainMap *map, uint64_t grain, uint64_t in, IoSpan piece)
{
    GrainPlace place;
    int ret;

    co_mutex_lock(&map->lock);
    ret = co_place(map, grain, &place);
    if (ret == 0 && place.kind == GRAIN_DATA) {
        co_mutex_unlock(&map->lock);
        return co_node_pwritev(map->file, place.host + in, piece, 0);
    }
    if (ret == 0) {
        ret = place.kind == GRAIN_BAD ? -EIO : place.kind == GRAIN_PACKED ? -ENOTSUP
              : co_write_new(map, grain, in, piece, place.kind);
    }
    co_mutex_unlock(&map->lock);
    return ret;
}

int co_grain_pwritev(GrainMap *map, uint64_t offset, IoSpan span)
{
    int ret = 0;

    while (span.len && ret == 0) {
        uint64_t in = offset % map->grain, n = MIN(span.len, map->grain - in);

        ret = co_write_grain(map, offset / map->grain, in, io_span_sub(span, 0, n));
        offset += n;
        span = io_span_sub(span, n, span.len - n);
    }
    return ret;
}

static int co_zero_grain(GrainMap *map, uint64_t grain, uint64_t in, uint64_t bytes, int flags)
{
    bool whole = in == 0 && (bytes == map->grain || grain * map->grain + bytes == map->length);
    GrainPlace place;
    int ret;

    co_mutex_lock(&map->lock);
    ret = co_place(map, grain, &place);
    if (ret == 0 && (place.kind == GRAIN_ZERO ||
                     (place.kind == GRAIN_HOLE && !map->node->backing))) {
        co_mutex_unlock(&map->lock);
        return 0;
    }
    if (ret == 0 && whole && map->zero_entries &&
        (place.kind == GRAIN_HOLE || (flags & BLK_REQ_MAY_UNMAP))) {
        ret = co_grain_set(map, grain,
                           map->ops->encode(map, grain, (GrainPlace){ GRAIN_ZERO, place.host }));
        co_mutex_unlock(&map->lock);
        return ret;
    }
    co_mutex_unlock(&map->lock);
    if (ret == 0 && place.kind == GRAIN_DATA) {
        return co_node_write_zeroes(map->file, place.host + in, bytes, 0);
    }
    while (bytes && ret == 0) {        /* over a backing file */
        g_autofree void *zeroes = g_malloc0(MIN(bytes, COPY_CHUNK));
        IO_BUF(span, zeroes, MIN(bytes, COPY_CHUNK));

        ret = co_write_grain(map, grain, in, span);
        in += span_iov.iov_len;
        bytes -= span_iov.iov_len;
    }
    return ret;
}

int co_grain_write_zeroes(GrainMap *map, uint64_t offset, uint64_t bytes, int flags)
{
    int ret = 0;

    while (bytes && ret == 0) {
        uint64_t in = offset % map->grain, n = MIN(bytes, map->grain - in);

        ret = co_zero_grain(map, offset / map->grain, in, n, flags);
        offset += n;
        bytes -= n;
    }
    return ret;
}

int co_grain_flush(GrainMap *map)
{
    int ret;

    co_mutex_lock(&map->lock);
    ret = map->node->read_only ? 0 : co_write_dirty(map);
    co_mutex_unlock(&map->lock);
    return ret;
}

/* ---- status and check ---- */

static bool continues(const GrainMap *map, GrainPlace first, GrainPlace next, uint64_t grains)
{
    return next.kind == first.kind &&
           (next.kind == GRAIN_HOLE || next.kind == GRAIN_ZERO ||
            (next.kind == GRAIN_DATA && next.host == first.host + grains * map->grain));
}

int co_grain_status(GrainMap *map, uint64_t offset, uint64_t bytes, BlockStatus *status)
{
    uint64_t grain = offset / map->grain, in = offset % map->grain, n = 1;
    GrainPlace first, next;
    int ret;

    co_mutex_lock(&map->lock);
    ret = co_place(map, grain, &first);
    while (ret == 0 && n * map->grain - in < bytes && n < STATUS_GRAINS) {
        ret = co_place(map, grain + n, &next);
        if (ret < 0 || !continues(map, first, next, n)) {
            ret = 0;                   /* its own request will tell */
            break;
        }
        n++;
    }
    co_mutex_unlock(&map->lock);
    if (ret < 0 || first.kind == GRAIN_BAD) {
        return ret < 0 ? ret : -EIO;
    }
    status->bytes = MIN(bytes, n * map->grain - in);
    if (first.kind == GRAIN_DATA) {
        status->flags = BLK_STATUS_DATA | BLK_STATUS_OFFSET_VALID;
        status->map = first.host + in;
        status->file = map->file;
    } else if (first.kind == GRAIN_PACKED) {
        status->flags = BLK_STATUS_DATA | BLK_STATUS_COMPRESSED;
    } else if (first.kind == GRAIN_ZERO) {
        status->flags = BLK_STATUS_ZERO;
    }
    return 0;
}

static void say(CheckResult *r, const char *format, uint64_t grain, uint64_t host)
{
    g_autofree char *line = g_strdup_printf("ERROR: grain %" PRIu64 " at 0x%" PRIx64 " %s", grain,
                                            host, format);

    if (r->print) {
        r->print(line, r->opaque);
    }
    r->corruptions++;
}

int co_grain_check(GrainMap *map, CheckResult *r, uint64_t *allocated)
{
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    uint64_t grains = div_round_up(map->length, map->grain);
    int ret = 0;

    co_mutex_lock(&map->lock);
    for (uint64_t i = 0; i < grains; i++) {
        GrainPlace place;
        bool packed;

        ret = co_place(map, i, &place);
        if (ret < 0) {
            r->check_errors++;
            break;
        }
        if (place.kind == GRAIN_HOLE || place.kind == GRAIN_ZERO) {
            continue;
        }
        packed = place.kind == GRAIN_PACKED;
        (*allocated)++;
        if (place.kind == GRAIN_BAD || place.host >= map->file->length ||
            (!packed && place.host + map->grain > align_up(map->file->length, map->grain) +
                                                      map->grain)) {
            say(r, "lies outside of the file", i, place.host);
        } else if (!g_hash_table_add(seen, g_memdup2(&place.host, sizeof(place.host)))) {
            say(r, "is used twice", i, place.host);
        }
    }
    co_mutex_unlock(&map->lock);
    return ret;
}
