/* SPDX-License-Identifier: MIT */
/*
 * rhea-storage-daemon: block nodes, jobs and exports without a machine; options of
 * qemu-storage-daemon 7.2.
 *
 *     rhea-storage-daemon --chardev socket,id=c,path=/run/qsd.sock,server=on,wait=off \
 *         --monitor c --blockdev driver=qcow2,node-name=disk,file.driver=file,file.filename=x.qcow2 \
 *         --nbd-server addr.type=unix,addr.path=/run/nbd.sock --export nbd,id=e,node-name=disk
 *
 * main.c has options, start and end; qmp.c the QMP sessions and the commands about the process.
 * Thread rule: main thread.
 */
#ifndef TOOLS_STORAGE_DAEMON_H
#define TOOLS_STORAGE_DAEMON_H

#include "base/json.h"

/* --monitor: a QMP session on a character device. */
bool daemon_monitor_add(const char *options, GError **error);
void daemon_monitors_free(void);
/* The tree of objects: before all else, and last. */
void daemon_objects_init(void);
void daemon_objects_free(void);
/* --object and object-add; PROPS is JSON with "qom-type" and "id". */
bool daemon_object_add(const Json *props, GError **error);
/* Told by QMP's quit and by signals. */
void daemon_quit(void);

#endif
