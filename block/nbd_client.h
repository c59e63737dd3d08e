/* SPDX-License-Identifier: MIT */
/*
 * What the rest of the program may want of the node type nbd; the type itself is in block/types.h.
 * Thread rule: any.
 */
#ifndef BLOCK_NBD_CLIENT_H
#define BLOCK_NBD_CLIENT_H

/* The process ends: requests no longer wait for a lost server to come back. */
void nbd_client_give_up(void);

#endif
