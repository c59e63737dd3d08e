/* SPDX-License-Identifier: MIT */
/*
 * Interrupts of an iothread's queues straight into KVM: an irqfd for each queue whose MSI-X vector
 * can be sent as it stands.  Masked, disabled or refused by KVM: the queue
 * has none, and its interrupts take the way of all others.
 * Locking: machine lock; the queue's loop is parked while its irqfd changes.
 */
#include "hw/virtio/virtio_pci_int.h"

#include "vm/accel.h"
#include "vm/vm.h"

struct VirtioPciIrqfd {
    Notifier *fd;             /* NULL: none */
    int id;                   /* of the accelerator */
    uint64_t address;
    uint32_t data;
};

static bool wanted(VirtioPci *p, const VirtQueue *vq, uint64_t *address, uint32_t *data)
{
    const VirtioDevice *vdev = p->vdev;

    return vdev->loop && vdev->ioeventfd && vdev->started && vq->ready &&
           vq->vector != VIRTIO_NO_VECTOR && msix_message(&p->pci, vq->vector, address, data);
}

static const AccelIrqfds *irqfds_of(const Vm *vm)
{
    const AccelType *type = vm->accel ? accel_type(vm->accel) : NULL;

    return type && type->irqfds ? type->irqfds(vm->accel) : NULL;
}

static void detach(VirtioPci *p, VirtQueue *vq, VirtioPciIrqfd *irq)
{
    Vm *vm = p->pci.dev.vm;

    virtio_hold(p->vdev);
    vq->irq_fd = NULL;
    virtio_release(p->vdev);
    irqfds_of(vm)->remove(vm, irq->id, notifier_fd(irq->fd));
    g_clear_pointer(&irq->fd, notifier_free);
}

static void attach(VirtioPci *p, VirtQueue *vq, VirtioPciIrqfd *irq)
{
    Vm *vm = p->pci.dev.vm;
    g_autoptr(GError) error = NULL;
    Notifier *fd = notifier_new(&error);

    irq->id = fd ? irqfds_of(vm)->add(vm, irq->address, irq->data, notifier_fd(fd), &error) : -1;
    if (irq->id < 0) {
        log_unimp("virtio-pci: %s: interrupts of queue %u take the slow way\n", error->message,
                  vq->index);
        notifier_free(fd);
        return;
    }
    irq->fd = fd;
    virtio_hold(p->vdev);
    vq->irq_fd = fd;
    virtio_release(p->vdev);
}

void virtio_pci_irqfds_sync(Device *proxy)
{
    VirtioPci *p = virtio_pci(proxy);

    if (!p->vdev->loop || !irqfds_of(proxy->vm)) {
        return;
    }
    if (!p->irqfds) {
        p->irqfds = g_new0(VirtioPciIrqfd, VIRTIO_QUEUE_MAX);
    }
    for (unsigned i = 0; i < p->vdev->num_queues; i++) {
        VirtioPciIrqfd *irq = &p->irqfds[i];
        VirtQueue *vq = p->vdev->queues[i];
        uint64_t address = 0;
        uint32_t data = 0;
        bool want = wanted(p, vq, &address, &data);

        if (!want && irq->fd) {
            detach(p, vq, irq);
        } else if (want && irq->fd && (irq->address != address || irq->data != data)) {
            irqfds_of(proxy->vm)->update(proxy->vm, irq->id, address, data);
        }
        irq->address = address;
        irq->data = data;
        if (want && !irq->fd) {
            attach(p, vq, irq);
        }
    }
}

void virtio_pci_msix_changed(PciDevice *pci)
{
    virtio_pci_irqfds_sync(&pci->dev);
}
