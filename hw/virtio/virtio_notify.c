/* SPDX-License-Identifier: MIT */
/*
 * Kicks and interrupts that do not wait for the machine lock ("ioeventfd=on").
 *
 *   kick        of an iothread's queue: the transport's register is lockless; VirtioKicks, seen
 *               under RCU, says which bottom half of the loop to schedule
 *               of any queue under KVM: the kernel signals an eventfd, which the queue's loop watches
 *   interrupt   of an iothread's queue: an irqfd where the transport has one (KVM with its own local
 *               APICs); else at once if the machine lock happens to be free; else by the main loop
 *
 * What is set up follows from the device's state: virtio_notify_sync() is called after whatever
 * changes that.  Without an iothread and without KVM a kick is served where it is made, with the
 * lock: another thread would only have to be woken for it.
 * Locking: machine lock, except as said above.
 */
#include "hw/virtio/virtio_int.h"

#include "hw/trace.h"
#include "vm/accel.h"
#include "vm/vm.h"

/* ---- kicks of an iothread's queues ---- */

typedef struct VirtioKick {
    VirtQueue *vq;            /* NULL: it has come too late; changes while the loop is parked */
    Bh *bh;                   /* NULL: the slow way, which logs what the driver did wrong */
} VirtioKick;

struct VirtioKicks {
    RcuHead rcu;
    EventLoop *loop;          /* a reference: outlives kicks that are on their way */
    unsigned count;
    VirtioKick kicks[];
};

bool virtio_kick_lockless(VirtioDevice *vdev, unsigned n)
{
    RCU_READ_SCOPE();
    VirtioKicks *k = rcu_get(&vdev->kicks);

    if (!k || n >= k->count || !k->kicks[n].bh) {
        return false;
    }
    bh_schedule(k->kicks[n].bh);
    return true;
}

static void kick_arrived(void *opaque)
{
    VirtioKick *kick = opaque;

    if (kick->vq) {
        trace_virtio_kick(kick->vq->vdev->dev.obj.type->name, kick->vq->index);
        virtqueue_dispatch(kick->vq);
    }
}

static VirtioKicks *kicks_new(VirtioDevice *vdev)
{
    VirtioKicks *k = g_malloc0(sizeof(*k) + vdev->num_queues * sizeof(k->kicks[0]));

    k->loop = event_loop_ref(vdev->loop);
    k->count = vdev->num_queues;
    for (unsigned i = 0; i < k->count; i++) {
        if (vdev->queues[i]->ready) {
            k->kicks[i] = (VirtioKick){ vdev->queues[i], bh_new(vdev->loop, kick_arrived, &k->kicks[i]) };
        }
    }
    return k;
}

/* On the main loop, when nobody can see K any more.  A bottom half may be running. */
static void kicks_free(void *opaque)
{
    VirtioKicks *k = opaque;

    event_loop_park(k->loop);
    for (unsigned i = 0; i < k->count; i++) {
        bh_free(k->kicks[i].bh);
    }
    event_loop_unpark(k->loop);
    event_loop_unref(k->loop);
    g_free(k);
}

static void kicks_unseen(RcuHead *head)
{
    event_loop_post(event_loop_main(), kicks_free, container_of(head, VirtioKicks, rcu));
}

static void kicks_sync(VirtioDevice *vdev)
{
    VirtioKicks *old = vdev->kicks;
    bool wanted = vdev->loop && vdev->ioeventfd && vdev->started;

    rcu_set(&vdev->kicks, wanted ? kicks_new(vdev) : NULL);
    if (!old) {
        return;
    }
    event_loop_park(old->loop);
    for (unsigned i = 0; i < old->count; i++) {
        old->kicks[i].vq = NULL;
    }
    event_loop_unpark(old->loop);
    /* One that came meanwhile counts. */
    for (unsigned i = 0; i < old->count && wanted; i++) {
        bh_schedule(vdev->queues[i]->kick_bh);
    }
    rcu_call(&old->rcu, kicks_unseen);
}

/* ---- eventfds that the kernel signals ---- */

static void eventfd_arrived(void *opaque)
{
    VirtQueue *vq = opaque;

    trace_virtio_kick(vq->vdev->dev.obj.type->name, vq->index);
    virtqueue_dispatch(vq);
}

static void eventfd_sync(VirtQueue *vq)
{
    VirtioDevice *vdev = vq->vdev;
    const VirtioTransport *t = vdev->transport;
    Accel *accel = vdev->dev.vm->accel;
    bool wanted = vdev->ioeventfd && vdev->started && vq->ready && accel &&
                  accel_type(accel)->kernel_eventfds && t && t->kick_eventfd;

    if (wanted && !vq->kick_fd) {
        vq->kick_fd = notifier_new(NULL);         /* none: kicks exit to us */
        if (vq->kick_fd) {
            notifier_attach(vq->kick_fd, vdev->loop ? vdev->loop : event_loop_main(),
                            eventfd_arrived, vq);
            t->kick_eventfd(vdev->proxy, vq, notifier_fd(vq->kick_fd), true);
        }
    } else if (!wanted && vq->kick_fd) {
        if (t) {
            t->kick_eventfd(vdev->proxy, vq, notifier_fd(vq->kick_fd), false);
        }
        g_clear_pointer(&vq->kick_fd, notifier_free);
    }
}

void virtio_notify_sync(VirtioDevice *vdev)
{
    kicks_sync(vdev);
    virtio_hold(vdev);
    memory_transaction_begin();
    for (unsigned i = 0; i < vdev->num_queues; i++) {
        eventfd_sync(vdev->queues[i]);
    }
    memory_transaction_commit();
    virtio_release(vdev);
    if (vdev->transport && vdev->transport->irqs_changed) {
        vdev->transport->irqs_changed(vdev->proxy);
    }
}

/* ---- interrupts from an iothread ---- */

void virtqueue_interrupt_from_loop(VirtQueue *vq)
{
    if (vq->irq_fd) {
        trace_virtqueue_interrupt(vq->vdev->dev.obj.type->name, vq->index, vq->vector);
        notifier_set(vq->irq_fd);
    } else if (machine_lock_held()) {
        virtqueue_interrupt(vq);
    } else if (vq->vdev->ioeventfd && machine_try_lock()) {
        virtqueue_interrupt(vq);
        machine_unlock();
    } else {
        bh_schedule(vq->irq_bh);
    }
}
