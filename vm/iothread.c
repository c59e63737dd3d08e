/* SPDX-License-Identifier: MIT */
/* The object "iothread" and who uses it. */
#include "vm/iothread.h"

#include "base/error.h"

typedef struct IoThreadObject {
    Object obj;
    IoThread *thread;
    unsigned users;
} IoThreadObject;

static IoThreadObject *cast(Object *obj)
{
    return (IoThreadObject *)(void *)obj;
}

EventLoop *iothread_object_loop(Object *obj)
{
    return iothread_loop(cast(obj)->thread);
}

int iothread_object_tid(Object *obj)
{
    return iothread_tid(cast(obj)->thread);
}

void iothread_object_hold(Object *obj)
{
    object_ref(obj);
    cast(obj)->users++;
}

void iothread_object_release(Object *obj)
{
    cast(obj)->users--;
    object_unref(obj);
}

static bool complete(Object *obj, GError **error)
{
    cast(obj)->thread = iothread_new(obj->name);
    return true;
}

static bool can_be_deleted(Object *obj)
{
    return cast(obj)->users == 0 && event_loop_users(iothread_object_loop(obj)) == 0;
}

static void finalize(Object *obj)
{
    g_clear_pointer(&cast(obj)->thread, iothread_free);
}

OBJECT_TYPE(iothread, .name = "iothread", .size = sizeof(IoThreadObject), .complete = complete,
            .can_be_deleted = can_be_deleted, .finalize = finalize);
