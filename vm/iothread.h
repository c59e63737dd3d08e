/* SPDX-License-Identifier: MIT */
/*
 * "-object iothread,id=X": an event loop on a thread of its own, for devices and block nodes to run
 * on.  base/event_loop.h has the thread; this gives it a name in the object tree.
 * Not modelled: adaptive polling (poll-max-ns and its kin).
 * Thread rule: main loop, machine lock held.
 */
#ifndef VM_IOTHREAD_H
#define VM_IOTHREAD_H

#include "base/event_loop.h"
#include "vm/object.h"

/* OBJ is an "iothread". */
EventLoop *iothread_object_loop(Object *obj);
int iothread_object_tid(Object *obj);
/* Users keep a reference to OBJ and count themselves: it cannot be deleted meanwhile. */
void iothread_object_hold(Object *obj);
void iothread_object_release(Object *obj);

#endif
