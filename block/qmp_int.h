/* SPDX-License-Identifier: MIT */
/*
 * What the QMP commands of block/ share.
 * Thread rule: main loop.
 */
#ifndef BLOCK_QMP_INT_H
#define BLOCK_QMP_INT_H

#include "block/driver.h"
#include "block/job_types.h"

/* DEVICE: the name of a backend or of a node; its topmost node. */
BlockNode *qmp_find_node(const char *device, const char *node_name, GError **error);
/* The same, where no other node may use it. */
BlockNode *qmp_find_root(const char *device, GError **error);

Job *qmp_backup_new(const QapiBlockdevBackup *args, JobTxn *txn, GError **error);
Job *qmp_drive_backup_new(const QapiDriveBackup *args, JobTxn *txn, GError **error);

/* Makes (unless MODE is "existing") and opens a file for a copy or overlay of NODE, without its
 * backing file, which the header names: BACKING, or none. */
BlockNode *qmp_new_image(const char *filename, const char *format, const char *node_name,
                         bool existing, BlockNode *node, BlockNode *backing, GError **error);

DirtyBitmap *qmp_find_bitmap(const char *node_name, const char *name, BlockNode **node,
                             GError **error);
/* Adds what is dirty in the SOURCES (of BlockDirtyBitmapOrStr) to TO, or changes nothing. */
bool qmp_merge_bitmaps(DirtyBitmap *to, const char *node, GPtrArray *sources, GError **error);

#endif
