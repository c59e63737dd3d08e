/* SPDX-License-Identifier: MIT */
/*
 * vhdx: the log [MS-VHDX 2.3], and the headers that announce it.
 * Locking: open, or the grain map's lock.
 */
#include "block/vhdx.h"

#include <sys/random.h>

enum { E_CHECKSUM = 4, E_LENGTH = 8, E_TAIL = 12, E_SEQUENCE = 16, E_COUNT = 24, E_GUID = 32,
       E_FLUSHED = 48, E_LAST = 56, E_HEADER_LEN = 64 };
enum { DESC_LEN = 32, DESC_LENGTH = 4, DESC_LEADING = 8, DESC_OFFSET = 16, DESC_SEQUENCE = 24 };
#define DESCS_IN_FIRST ((VHDX_LOG_SECTOR - E_HEADER_LEN) / DESC_LEN)
#define MAX_LOG (64u << 20)

uint32_t vhdx_crc32c(const uint8_t *p, size_t len, size_t skip)
{
    static uint32_t table[256];
    uint32_t crc = UINT32_MAX;

    if (!table[1]) {
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t c = i;

            for (unsigned k = 0; k < 8; k++) {
                c = c & 1 ? c >> 1 ^ 0x82f63b78 : c >> 1;
            }
            table[i] = c;
        }
    }
    for (size_t i = 0; i < len; i++) {
        uint8_t byte = i >= skip && i < skip + 4 ? 0 : p[i];

        crc = crc >> 8 ^ table[(crc ^ byte) & 0xff];
    }
    return ~crc;
}

int co_vhdx_header_update(Vhdx *v)
{
    int ret = 0;

    for (unsigned i = 0; i < 2 && ret == 0; i++) {
        v->current ^= 1;
        le64_store(v->header + H_SEQUENCE, le64_load(v->header + H_SEQUENCE) + 1);
        le32_store(v->header + H_CHECKSUM, vhdx_crc32c(v->header, VHDX_HEADER_LEN, H_CHECKSUM));
        ret = co_node_pwrite(v->map.file, (v->current + 1) * 64 * KIB, v->header,
                             VHDX_HEADER_LEN, 0);
        ret = ret < 0 ? ret : co_node_flush(v->map.file);
    }
    return ret;
}

/* ---- replaying ---- */

typedef struct LogScan {
    Vhdx *v;
    BlockNode *file;
    uint64_t budget;           /* bytes that may still be summed: hostile entries overlap */
} LogScan;

static int log_read(const LogScan *s, uint64_t at, uint8_t *buf, uint64_t bytes)
{
    uint64_t first = MIN(bytes, s->v->log.bytes - at);
    int ret = co_node_pread(s->file, s->v->log.offset + at, buf, first);

    return ret < 0 || first == bytes
               ? ret : co_node_pread(s->file, s->v->log.offset, buf + first, bytes - first);
}

/* The whole entry at AT, or NULL in *OUT when there is no valid one. */
static int entry_load(LogScan *s, uint64_t at, uint8_t **out)
{
    uint8_t h[E_HEADER_LEN];
    g_autofree uint8_t *entry = NULL;
    uint32_t length;
    int ret = log_read(s, at, h, sizeof(h));

    *out = NULL;
    length = le32_load(h + E_LENGTH);
    if (ret < 0 || memcmp(h, "loge", 4) != 0 || length % VHDX_LOG_SECTOR || length == 0 ||
        length > s->v->log.bytes || le32_load(h + E_TAIL) % VHDX_LOG_SECTOR ||
        le32_load(h + E_TAIL) >= s->v->log.bytes ||
        memcmp(h + E_GUID, s->v->header + H_LOG_GUID, 16) != 0) {
        return ret;
    }
    if (length > s->budget) {
        return -EFBIG;
    }
    s->budget -= length;
    entry = g_malloc(length);
    ret = log_read(s, at, entry, length);
    if (ret == 0 && vhdx_crc32c(entry, length, E_CHECKSUM) == le32_load(entry + E_CHECKSUM)) {
        *out = g_steal_pointer(&entry);
    }
    return ret;
}

typedef struct LogSequence {
    uint64_t start, head, number, tail;   /* head: behind the last; number: of the last */
    bool found;
} LogSequence;

/* Entries that follow each other from AT on; found only when the last one's tail is among them. */
static int sequence_from(LogScan *s, uint64_t at, LogSequence *seq)
{
    uint64_t travelled = 0, tail_seen = UINT64_MAX;
    unsigned count = 0;
    int ret = 0;

    *seq = (LogSequence){ .start = at, .head = at };
    while (travelled < s->v->log.bytes) {
        g_autofree uint8_t *e = NULL;
        uint64_t number;

        ret = entry_load(s, seq->head, &e);
        if (ret < 0 || !e) {
            break;
        }
        number = le64_load(e + E_SEQUENCE);
        if (count && number != seq->number + 1) {
            break;
        }
        count++;
        seq->number = number;
        seq->tail = le32_load(e + E_TAIL);
        travelled += le32_load(e + E_LENGTH);
        seq->head = (seq->head + le32_load(e + E_LENGTH)) % s->v->log.bytes;
        tail_seen = (seq->tail + s->v->log.bytes - at) % s->v->log.bytes;
        seq->found = tail_seen < travelled;
    }
    return ret;
}

static int descriptor_apply(LogScan *s, const uint8_t *d, const uint8_t *data, uint64_t number)
{
    uint64_t offset = le64_load(d + DESC_OFFSET);
    uint8_t sector[VHDX_LOG_SECTOR];

    if (offset % VHDX_LOG_SECTOR || offset > INT64_MAX / 2 ||
        le64_load(d + DESC_SEQUENCE) != number) {
        return -EINVAL;
    }
    if (memcmp(d, "zero", 4) == 0) {
        uint64_t bytes = le64_load(d + DESC_LEADING);

        if (bytes % VHDX_LOG_SECTOR || bytes > INT64_MAX / 2) {
            return -EINVAL;
        }
        /* What is behind the end of the file is zero without being written. */
        bytes = offset < s->file->length ? MIN(bytes, s->file->length - offset) : 0;
        return bytes ? co_node_write_zeroes(s->file, offset, bytes, 0) : 0;
    }
    if (memcmp(d, "desc", 4) != 0 || !data || memcmp(data, "data", 4) != 0 ||
        le32_load(data + 4) != number >> 32 ||
        le32_load(data + VHDX_LOG_SECTOR - 4) != (uint32_t)number) {
        return -EINVAL;
    }
    memcpy(sector, data, VHDX_LOG_SECTOR);
    memcpy(sector, d + DESC_LEADING, 8);
    memcpy(sector + VHDX_LOG_SECTOR - 4, d + DESC_LENGTH, 4);
    return co_node_pwrite(s->file, offset, sector, VHDX_LOG_SECTOR, 0);
}

static int entry_apply(LogScan *s, const uint8_t *e)
{
    uint64_t count = le32_load(e + E_COUNT), length = le32_load(e + E_LENGTH);
    uint64_t data = align_up(E_HEADER_LEN + count * DESC_LEN, VHDX_LOG_SECTOR);
    uint64_t last = le64_load(e + E_LAST);
    int ret = 0;

    if (data > length || last > INT64_MAX / 2) {
        return -EINVAL;
    }
    for (uint64_t i = 0; i < count && ret == 0; i++) {
        const uint8_t *d = e + E_HEADER_LEN + i * DESC_LEN;
        bool has_data = memcmp(d, "desc", 4) == 0;

        if (has_data && data + VHDX_LOG_SECTOR > length) {
            return -EINVAL;
        }
        ret = descriptor_apply(s, d, has_data ? e + data : NULL, le64_load(e + E_SEQUENCE));
        data += has_data ? VHDX_LOG_SECTOR : 0;
    }
    if (ret == 0 && s->file->length < last &&
        !co_node_truncate(s->file, last, false, "off", NULL)) {
        ret = -EIO;
    }
    return ret;
}

static int co_replay(LogScan *s, const LogSequence *seq)
{
    uint64_t at = seq->tail, travelled = 0;
    int ret = 0;

    do {
        g_autofree uint8_t *e = NULL;

        ret = entry_load(s, at, &e);
        if (ret == 0) {
            ret = e ? entry_apply(s, e) : -EINVAL;
        }
        if (ret == 0) {
            at = (at + le32_load(e + E_LENGTH)) % s->v->log.bytes;
            travelled += le32_load(e + E_LENGTH);
        }
    } while (ret == 0 && at != seq->head && travelled < s->v->log.bytes);
    return ret < 0 ? ret : co_node_flush(s->file);
}

bool co_vhdx_log_replay(Vhdx *v, BlockNode *file, bool replay, bool *needed, GError **error)
{
    LogScan s = { v, file, 8ull * MIN(v->log.bytes, MAX_LOG) };
    LogSequence best = { 0 };
    uint64_t at = 0;
    int ret = 0;

    *needed = false;
    if (buffer_is_zero(v->header + H_LOG_GUID, 16) || !v->log.bytes) {
        return true;
    }
    if (v->log.bytes > MAX_LOG) {
        return error_set(error, "The VHDX log has %" PRIu64 " bytes; at most %u are allowed",
                         v->log.bytes, MAX_LOG);
    }
    while (at < v->log.bytes && ret == 0) {
        LogSequence seq;
        uint64_t next;

        ret = sequence_from(&s, at, &seq);
        if (seq.found && (!best.found || seq.number > best.number)) {
            best = seq;
        }
        next = seq.found && seq.head > at ? seq.head : at + VHDX_LOG_SECTOR;
        if (seq.found && seq.head <= at) {
            break;                     /* it went round: all has been seen */
        }
        at = next;
    }
    *needed = best.found;
    if (ret == 0 && best.found && replay) {
        s.budget += v->log.bytes;
        ret = co_replay(&s, &best);
        if (ret == 0) {
            memset(v->header + H_LOG_GUID, 0, 16);
            ret = co_vhdx_header_update(v);
        }
        v->log_sequence = best.number;
        v->replayed = true;
    }
    return ret == 0 || error_set_errno(error, -ret, "Could not replay the VHDX log");
}

/* ---- writing ---- */

static int log_write(Vhdx *v, GrainPage **pages, unsigned count)
{
    uint64_t length = (1ull + count) * VHDX_LOG_SECTOR, number = ++v->log_sequence;
    g_autofree uint8_t *e = g_malloc0(length);
    int ret;

    memcpy(e, "loge", 4);
    le32_store(e + E_LENGTH, (uint32_t)length);
    le64_store(e + E_SEQUENCE, number);
    le32_store(e + E_COUNT, count);
    memcpy(e + E_GUID, v->header + H_LOG_GUID, 16);
    le64_store(e + E_FLUSHED, v->map.file->length);
    le64_store(e + E_LAST, v->map.file->length);
    for (unsigned i = 0; i < count; i++) {
        uint8_t *d = e + E_HEADER_LEN + i * DESC_LEN;
        uint8_t *data = e + (1ull + i) * VHDX_LOG_SECTOR;

        memcpy(data, pages[i]->data, VHDX_LOG_SECTOR);
        memcpy(d, "desc", 4);
        memcpy(d + DESC_LENGTH, data + VHDX_LOG_SECTOR - 4, 4);
        memcpy(d + DESC_LEADING, data, 8);
        le64_store(d + DESC_OFFSET, pages[i]->offset);
        le64_store(d + DESC_SEQUENCE, number);
        memcpy(data, "data", 4);
        le32_store(data + 4, (uint32_t)(number >> 32));
        le32_store(data + VHDX_LOG_SECTOR - 4, (uint32_t)number);
    }
    le32_store(e + E_CHECKSUM, vhdx_crc32c(e, length, E_CHECKSUM));
    ret = co_node_pwrite(v->map.file, v->log.offset, e, length, 0);
    return ret < 0 ? ret : co_node_flush(v->map.file);
}

int co_vhdx_write_pages(GrainMap *map, GPtrArray *pages)
{
    Vhdx *v = map->format;
    unsigned room = (unsigned)MIN(v->log.bytes / VHDX_LOG_SECTOR - 1, DESCS_IN_FIRST), done = 0;
    int ret = 0;

    while (done < pages->len && ret == 0) {
        GrainPage **batch = (GrainPage **)pages->pdata + done;
        unsigned n = MIN(pages->len - done, room);

        ret = log_write(v, batch, n);
        for (unsigned i = 0; i < n && ret == 0; i++) {
            ret = co_node_pwrite(map->file, batch[i]->offset, batch[i]->data, map->page_bytes, 0);
        }
        if (ret == 0) {
            ret = co_node_flush(map->file);
        }
        done += n;
    }
    return ret;
}
