/* SPDX-License-Identifier: MIT */
/*
 * qcow2: what is done about tables that cannot be right: nobody writes over them, a writable image
 * is marked as corrupt, which keeps writers away until it was repaired, and the world is told.
 * Not looked for: active L2 tables, refcount blocks and L1 tables of snapshots below an entry that
 * says its cluster may be written in place; they are kept from being handed out.
 * Locking: q->lock.
 */
#include "block/qcow2.h"

#include <stdarg.h>

#include "base/log.h"
#include "qapi/qapi_commands.h"

typedef struct Area {
    uint64_t start, len;
    const char *name;
} Area;

static bool meets(uint64_t start, uint64_t len, uint64_t host, uint64_t bytes)
{
    return len && host < start + len && start < host + bytes;
}

const char *qcow2_metadata_at(const Qcow2 *q, uint64_t host, uint64_t bytes)
{
    const Area areas[] = {
        { 0, q->cluster_size, "qcow2_header" },
        { q->l1_offset, (uint64_t)q->l1_entries * 8, "active L1 table" },
        { q->reftable_offset, (uint64_t)q->reftable_entries * 8, "refcount table" },
        { q->snapshots_offset, q->snapshots_size, "snapshot table" },
        { q->crypt.offset, q->crypt.bytes, "encryption header" },
        { q->bitmaps_offset, q->bitmaps_size, "bitmap directory" },
    };

    for (unsigned i = 0; i < ARRAY_LEN(areas); i++) {
        if (meets(areas[i].start, areas[i].len, host, bytes)) {
            return areas[i].name;
        }
    }
    return NULL;
}

const char *qcow2_any_metadata_at(const Qcow2 *q, uint64_t host, uint64_t bytes)
{
    const char *name = qcow2_metadata_at(q, host, bytes);
    uint64_t blocks = (q->file->length >> (q->cluster_bits + q->rb_bits)) + 2;

    for (uint32_t i = 0; !name && i < q->l1_entries; i++) {
        uint64_t table = q->l1[i] & ENTRY_OFFSET_MASK;

        name = table && meets(table, q->cluster_size, host, bytes) ? "active L2 table" : NULL;
    }
    /* The table has room for a larger file than this one. */
    for (uint32_t i = 0; !name && i < MIN(q->reftable_entries, blocks); i++) {
        uint64_t block = q->reftable[i] & REFTABLE_OFFSET_MASK;

        name = block && meets(block, q->cluster_size, host, bytes) ? "refcount block" : NULL;
    }
    for (unsigned i = 0; !name && i < q->snapshots->len; i++) {
        const Qcow2Snapshot *s = q->snapshots->pdata[i];

        name = meets(s->l1_offset, (uint64_t)s->l1_entries * 8, host, bytes) ? "inactive L1 table"
                                                                             : NULL;
    }
    return name;
}

/* ---- telling ---- */

typedef struct News {
    char *node, *device, *text;
    uint64_t offset, size;
    bool fatal;
} News;

static void tell(void *opaque)
{
    News *n = opaque;

    qapi_event_block_image_corrupted(n->device, n->node, n->text, n->size > 0, n->offset,
                                     n->size > 0, n->size, n->fatal);
    g_free(n->node);
    g_free(n->device);
    g_free(n->text);
    g_free(n);
}

int co_qcow2_corrupt(Qcow2 *q, uint64_t offset, uint64_t size, const char *format, ...)
{
    BlockNode *node = q->node;
    News *n;
    va_list ap;

    /* Who checks counts what is wrong, and may be about to repair it. */
    if ((node->flags & NODE_OPEN_CHECK) || q->corrupt) {
        return -EIO;
    }
    n = g_new0(News, 1);
    va_start(ap, format);
    n->text = g_strdup_vprintf(format, ap);
    va_end(ap);
    n->node = g_strdup(node->name);
    n->device = g_strdup(blk_name_above(node));
    n->offset = offset;
    n->size = size;
    n->fatal = !node->read_only;
    q->corrupt = true;
    if (n->fatal) {
        warn_report("qcow2: Marking image '%s' as corrupt: %s; further corruption events will be "
                    "suppressed", node->filename, n->text);
        if (!q->broken && co_set_incompat(q, INCOMPAT_CORRUPT, true) < 0) {
            warn_report("qcow2: Could not mark image '%s' as corrupt", node->filename);
        }
        q->broken = true;
    } else {
        warn_report("qcow2: Image '%s' is corrupt: %s; further non-fatal corruption events will "
                    "be suppressed", node->filename, n->text);
    }
    event_loop_post(event_loop_main(), tell, n);
    return -EIO;
}
