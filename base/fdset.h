/* SPDX-License-Identifier: MIT */
/*
 * Descriptor sets: files that someone else has opened for us (-add-fd, QMP add-fd).
 *
 * The path "/dev/fdset/N" means a descriptor of set N with the access mode asked for; whoever
 * opens files on behalf of the user does it by host_open(), which knows these paths.
 *
 * Thread rule: sets change on the main loop; host_open() from any thread.
 */
#ifndef BASE_FDSET_H
#define BASE_FDSET_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* open(2), with O_CLOEXEC set, or a duplicate out of a set: -1 with errno, ENOENT when there is no
 * such set, EACCES when no descriptor of it has the access mode. */
int host_open(const char *path, int flags, int mode);

/* Takes FD into set ID (a new set when there is none; ID -1: a free number).  The id of the set. */
int64_t fdset_add(int64_t id, int fd, const char *opaque);
/* Closes descriptor FD of the set, or all of them with FD -1.  False when there is none. */
bool fdset_remove(int64_t id, int fd);
/* Sets in order of their ids, descriptors in order of their addition. */
void fdset_foreach(void (*fn)(int64_t id, int fd, const char *note, void *opaque), void *opaque);

#endif
