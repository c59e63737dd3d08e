/* SPDX-License-Identifier: MIT */
/*
 * qcow2: what is done about tables that cannot be right: a writable image is marked as corrupt,
 * which keeps writers away until it was repaired, and the world is told.
 * Locking: q->lock.
 */
#include "block/qcow2.h"

#include <stdarg.h>

#include "base/log.h"
#include "qapi/qapi_commands.h"

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
