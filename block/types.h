/* SPDX-License-Identifier: MIT */
/*
 * The node types there are; each is documented where it is defined.  Constant data.
 */
#ifndef BLOCK_TYPES_H
#define BLOCK_TYPES_H

#include "block/driver.h"

extern const NodeType node_type_file, node_type_host_device, node_type_host_cdrom;
extern const NodeType node_type_null_co, node_type_null_aio, node_type_memory;
extern const NodeType node_type_throttle, node_type_blkdebug, node_type_blklogwrites;
extern const NodeType node_type_preallocate;
extern const NodeType node_type_snapshot_access;
extern const NodeType node_type_copy_on_read, node_type_copy_before_write;
extern const NodeType node_type_raw, node_type_qcow2;
extern const NodeType node_type_luks;
extern const NodeType node_type_vdi, node_type_vhdx, node_type_vmdk, node_type_vpc;
extern const NodeType node_type_nbd;
extern const NodeType node_type_http, node_type_https, node_type_ftp, node_type_ftps;

/* file, host_device or host_cdrom, by what FILENAME is. */
const NodeType *host_file_type(const char *filename);

#endif
