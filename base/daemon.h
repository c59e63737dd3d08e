/* SPDX-License-Identifier: MIT */
/*
 * Being a daemon: a background process whose parent waits until it is ready, and a pid file.
 *
 *     int ready = -1;
 *     if (!daemon_fork(&ready, error)) ...         // the child goes on; the parent waits
 *     ... open, listen ...
 *     daemon_ready(&ready, error);                 // the parent exits 0; without it, 1
 *
 * The pid file stays open and locked while the process lives.
 * Thread rule: main thread, before others are started.
 */
#ifndef BASE_DAEMON_H
#define BASE_DAEMON_H

#include <glib.h>
#include <stdbool.h>

bool daemon_fork(int *ready_fd, GError **error);
/* Does nothing when *READY_FD is -1: not a daemon. */
bool daemon_ready(int *ready_fd, GError **error);
/* PATH may be NULL: none is written.  *FD keeps it locked, or is -1. */
bool pidfile_write(const char *path, int *fd, GError **error);
void pidfile_remove(const char *path, int *fd);

#endif
