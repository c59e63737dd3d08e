/* SPDX-License-Identifier: MIT */
/*
 * The SCSI bus: addresses, unit attentions, resets.  Requests: scsi_request.c.
 * Spec: SAM-5 (T10/2104-D).
 * Locking: scsi.h; addresses and plugging: machine lock.
 */
#include "hw/scsi/scsi.h"

#include "base/error.h"
#include "vm/vm.h"

/* ---- addresses ---- */

ScsiDevice *scsi_bus_find(ScsiBus *bus, uint32_t channel, uint32_t id, uint32_t lun,
                          ScsiDevice **sibling)
{
    ScsiDevice *found = NULL;

    *sibling = NULL;
    for (unsigned i = 0; i < bus->units->len && !found; i++) {
        ScsiDevice *d = g_ptr_array_index(bus->units, i);

        if (d->channel == channel && d->id == id) {
            *sibling = *sibling ?: d;
            found = d->lun == lun ? d : NULL;
        }
    }
    return found;
}

/* As above, also one that is being realized, or that leaves. */
static bool is_taken(const ScsiBus *bus, uint32_t channel, uint32_t id, uint32_t lun)
{
    for (unsigned i = 0; i < bus->bus.devices->len; i++) {
        const ScsiDevice *d = g_ptr_array_index(bus->bus.devices, i);

        if (d->channel == channel && d->id == id && d->lun == lun) {
            return true;
        }
    }
    return false;
}

static bool check_max(const ScsiDevice *d, const char *name, uint32_t value, uint32_t max,
                      GError **error)
{
    return value == UINT32_MAX || value <= max ||
           error_set(error, "%s: %s=%u is not on SCSI bus '%s': 0..%u", d->dev.obj.type->name,
                     name, value, d->dev.bus->obj.name, max);
}

/* scsi-id and lun that were not given: the first that are free. */
static bool scsi_attach(Bus *b, Device *dev, GError **error)
{
    ScsiBus *bus = (ScsiBus *)(void *)b;
    ScsiDevice *d = DEVICE_CAST(ScsiDevice, dev);
    const ScsiHostOps *host = bus->host;
    uint32_t lun = d->lun == UINT32_MAX ? 0 : d->lun;

    if (!check_max(d, "channel", d->channel, host->max_channel, error) ||
        !check_max(d, "scsi-id", d->id, host->max_target, error) ||
        !check_max(d, "lun", d->lun, host->max_lun, error)) {
        return false;
    }
    if (d->id == UINT32_MAX) {
        uint32_t id = 0;

        while (id <= host->max_target && is_taken(bus, d->channel, id, lun)) {
            id++;
        }
        if (id > host->max_target) {
            return error_set(error, "%s: no scsi-id of SCSI bus '%s' is free at lun %u: give "
                             "another lun= or channel=", dev->obj.type->name, b->obj.name, lun);
        }
        d->id = id;
    } else if (d->lun == UINT32_MAX) {
        while (lun <= host->max_lun && is_taken(bus, d->channel, d->id, lun)) {
            lun++;
        }
        if (lun > host->max_lun) {
            return error_set(error, "%s: no lun of scsi-id %u on SCSI bus '%s' is free",
                             dev->obj.type->name, d->id, b->obj.name);
        }
    }
    if (is_taken(bus, d->channel, d->id, lun)) {
        return error_set(error, "%s: channel=%u,scsi-id=%u,lun=%u of SCSI bus '%s' is taken",
                         dev->obj.type->name, d->channel, d->id, lun, b->obj.name);
    }
    d->lun = lun;
    return true;
}

static char *scsi_dev_path(Device *dev)
{
    const ScsiDevice *d = DEVICE_CAST(ScsiDevice, dev);
    Device *hba = dev->bus->owner;
    g_autofree char *outer = hba && hba->bus && hba->bus->type->dev_path
                                 ? hba->bus->type->dev_path(hba) : NULL;

    return outer ? g_strdup_printf("%s/%u:%u:%u", outer, d->channel, d->id, d->lun)
                 : g_strdup_printf("%u:%u:%u", d->channel, d->id, d->lun);
}

static char *scsi_fw_path(Device *dev)
{
    const ScsiDevice *d = DEVICE_CAST(ScsiDevice, dev);
    const ScsiUnitInfo *info = scsi_unit_info(d);

    return g_strdup_printf("channel@%x/%s@%x,%x", d->channel, info->fw_name, d->id, d->lun);
}

/* The other units of the target have something to say of it.  [SPC-4 5.14] */
static void tell_siblings(const ScsiDevice *d)
{
    ScsiBus *bus = scsi_bus_of(d);

    for (unsigned i = 0; i < bus->units->len; i++) {
        ScsiDevice *other = g_ptr_array_index(bus->units, i);

        if (other != d && other->channel == d->channel && other->id == d->id) {
            scsi_unit_attention(other, SENSE_LUNS_CHANGED);
        }
    }
}

static void scsi_plugged(Bus *b, Device *dev)
{
    ScsiBus *bus = (ScsiBus *)(void *)b;

    scsi_bus_hold(bus);
    g_ptr_array_add(bus->units, dev);
    if (dev->hotplugged) {
        tell_siblings(DEVICE_CAST(ScsiDevice, dev));
        if (bus->host->plugged) {
            bus->host->plugged(bus, DEVICE_CAST(ScsiDevice, dev));
        }
    }
    scsi_bus_release(bus);
}

/* The guest needs no asking: the HBA tells it, and its requests end first. */
static bool scsi_unplug_request(Bus *b, Device *dev, GError **error)
{
    ScsiBus *bus = (ScsiBus *)(void *)b;
    ScsiDevice *d = DEVICE_CAST(ScsiDevice, dev);

    scsi_bus_hold(bus);
    if (bus->host->unplugged) {
        bus->host->unplugged(bus, d);
    }
    tell_siblings(d);
    scsi_bus_release(bus);
    device_unplug(dev);
    return true;
}

static const PropDef scsi_bus_props[] = {
    PROP_U32("channel", ScsiDevice, channel, 0),
    PROP_U32("scsi-id", ScsiDevice, id, UINT32_MAX),
    PROP_U32("lun", ScsiDevice, lun, UINT32_MAX),
    PROP_END
};

const BusType bus_scsi = {
    .name = "SCSI",
    .device_type = "scsi-device",
    .device_props = scsi_bus_props,
    .attach = scsi_attach,
    .plugged = scsi_plugged,
    .dev_path = scsi_dev_path,
    .fw_path = scsi_fw_path,
    .unplug_request = scsi_unplug_request,
};

/* ---- attentions and resets ---- */

/* A power on or reset says more than a change, and that more than a rumour.  [SAM-5 5.14.2] */
static unsigned importance(ScsiSense s)
{
    return !s.key ? 0 : s.asc == 0x29 ? (s.ascq == 0 ? 5 : 4) : s.asc == 0x28 ? 3
                                      : s.asc == 0x2a ? 2 : 1;
}

void scsi_unit_attention(ScsiDevice *dev, ScsiSense sense)
{
    if (sense.key == SENSE_KEY_ATTENTION &&
        importance(sense) >= importance(dev->unit_attention)) {
        dev->unit_attention = sense;
    }
}

void scsi_unit_changed(ScsiDevice *dev, ScsiSense sense)
{
    ScsiBus *bus = scsi_bus_of(dev);

    scsi_unit_attention(dev, sense);
    if (bus->host->change) {
        bus->host->change(bus, dev, sense);
    }
}

void scsi_unit_reset(ScsiDevice *dev, ScsiSense sense)
{
    const ScsiUnitInfo *info = scsi_unit_info(dev);

    scsi_unit_cancel(dev, NULL, NULL);
    dev->sense_len = 0;
    if (info->reset) {
        info->reset(dev);
    }
    scsi_unit_attention(dev, sense);
}

/* Not while the bus is held: its loop may have to work for it. */
static void unit_drain(ScsiDevice *dev)
{
    if ((scsi_bus_of(dev)->loop || dev->requests.length) && scsi_unit_info(dev)->drain) {
        scsi_unit_info(dev)->drain(dev);
    }
}

void scsi_unit_reset_wait(ScsiDevice *dev, ScsiSense sense)
{
    ScsiBus *bus = scsi_bus_of(dev);

    scsi_bus_hold(bus);
    scsi_unit_reset(dev, sense);
    scsi_bus_release(bus);
    unit_drain(dev);
}

void scsi_unit_leave(ScsiDevice *dev)
{
    ScsiBus *bus = scsi_bus_of(dev);

    scsi_bus_hold(bus);
    g_ptr_array_remove(bus->units, dev);
    scsi_bus_release(bus);
    scsi_unit_reset_wait(dev, SENSE_NO_SENSE);
}

void scsi_target_reset(ScsiBus *bus, uint32_t channel, uint32_t id, ScsiSense sense)
{
    for (unsigned i = 0; i < bus->units->len; i++) {
        ScsiDevice *d = g_ptr_array_index(bus->units, i);

        if (d->channel == channel && d->id == id) {
            scsi_unit_reset(d, sense);
        }
    }
}

void scsi_bus_reset(ScsiBus *bus, ScsiSense sense)
{
    for (unsigned i = 0; i < bus->units->len; i++) {
        scsi_unit_reset(g_ptr_array_index(bus->units, i), sense);
    }
}

/* ---- the bus ---- */

/* A VM that stands still has no request at work; what an error of the host's had stopped goes on. */
static void stopped_or_running(void *opaque, bool running, RunState state)
{
    ScsiBus *bus = opaque;

    if (!running && bus->host->pause) {
        bus->host->pause(bus);
    }
    for (unsigned i = 0; i < bus->units->len; i++) {
        ScsiDevice *d = g_ptr_array_index(bus->units, i);

        if (running) {
            scsi_bus_hold(bus);
            scsi_unit_retry(d);
            scsi_bus_release(bus);
        } else {
            unit_drain(d);
        }
    }
    if (running && bus->host->go_on) {
        bus->host->go_on(bus);
    }
}

void scsi_bus_hold(ScsiBus *bus)
{
    if (bus->loop) {
        event_loop_park(bus->loop);
    }
}

void scsi_bus_release(ScsiBus *bus)
{
    if (bus->loop) {
        event_loop_unpark(bus->loop);
    }
}

void scsi_bus_init(ScsiBus *bus, Device *owner, const char *name, const ScsiHostOps *host)
{
    bus_init(&bus->bus, &bus_scsi, owner, owner->vm, name);
    bus->host = host;
    bus->units = g_ptr_array_new();
    vm_add_state_hook(owner->vm, stopped_or_running, bus);
}

void scsi_bus_clear(ScsiBus *bus)
{
    vm_del_state_hook(bus->bus.vm, stopped_or_running, bus);
    bus_clear(&bus->bus);
    g_clear_pointer(&bus->units, g_ptr_array_unref);
}

/* ---- "scsi-device": what all logical units are ---- */

static void scsi_device_init(Object *obj)
{
    g_queue_init(&((ScsiDevice *)(void *)obj)->requests);
}

static void scsi_device_reset_enter(Device *dev)
{
    ScsiDevice *d = DEVICE_CAST(ScsiDevice, dev);

    d->unit_attention = SENSE_NO_SENSE;
    scsi_unit_reset_wait(d, SENSE_RESET);
}

static const DeviceType scsi_device_type = {
    .name = "scsi-device", .abstract = true, .size = sizeof(ScsiDevice), .bus = &bus_scsi,
    .init = scsi_device_init, .reset_enter = scsi_device_reset_enter,
};
TYPE_ROW(scsi_device, &scsi_device_type, "device");
