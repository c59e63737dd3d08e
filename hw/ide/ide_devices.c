/* SPDX-License-Identifier: MIT */
/*
 * The drives as devices ("ide-hd", "ide-cd") and the bus they plug into.
 * Locking: machine lock.
 */
#include "hw/ide/ide_int.h"

#include "base/error.h"

typedef struct IdeDevice {
    Device dev;
    BlockConf conf;
    uint32_t unit;            /* UINT32_MAX: the first free one */
    char *version, *model;
    uint64_t wwn;
    uint16_t rotation_rate;
    IdeDrive *drive;          /* of the bus, while plugged */
} IdeDevice;

static void medium_changed(void *opaque, bool loaded)
{
    ide_atapi_medium_changed(((IdeDevice *)opaque)->drive, loaded);
}

static void eject_request(void *opaque, bool force)
{
    ide_atapi_eject_request(((IdeDevice *)opaque)->drive, force);
}

static bool tray_is_open(void *opaque)
{
    return ((IdeDevice *)opaque)->drive->tray_open;
}

static bool medium_is_locked(void *opaque)
{
    return ((IdeDevice *)opaque)->drive->tray_locked;
}

static void resized(void *opaque)
{
    IdeDrive *d = ((IdeDevice *)opaque)->drive;

    d->nb_sectors = blk_length(d->blk) / IDE_SECTOR;
}

static const BlkDeviceOps cd_ops = {
    .medium_changed = medium_changed,
    .eject_request = eject_request,
    .tray_is_open = tray_is_open,
    .medium_is_locked = medium_is_locked,
    .resized = resized,
};
static const BlkDeviceOps hd_ops = { .resized = resized };

static bool ide_attach(Bus *b, Device *dev, GError **error)
{
    IdeBus *bus = (IdeBus *)(void *)b;
    IdeDevice *s = DEVICE_CAST(IdeDevice, dev);
    unsigned units = bus->host->drives ?: 2;

    if (s->unit == UINT32_MAX) {
        s->unit = bus->drives[0].dev && units > 1 ? 1 : 0;
    }
    if (s->unit >= units) {
        error_set(error, "%s: unit=%u is not on IDE bus '%s': %s", dev->obj.type->name, s->unit,
                  b->obj.name, units == 1 ? "a SATA port has unit 0 alone" : "0 (master) or 1 (slave)");
        return false;
    }
    if (bus->drives[s->unit].dev) {
        error_set(error, "%s: unit %u of IDE bus '%s' is taken: each bus holds %s",
                  dev->obj.type->name, s->unit, b->obj.name, units > 1 ? "two drives" : "one drive");
        return false;
    }
    s->drive = &bus->drives[s->unit];
    s->drive->dev = dev;
    return true;
}

static void ide_detach(Bus *b, Device *dev)
{
    IdeDevice *s = DEVICE_CAST(IdeDevice, dev);

    s->drive->dev = NULL;
    s->drive = NULL;
}

static char *ide_fw_path(Device *dev)
{
    return g_strdup_printf("drive@%x", DEVICE_CAST(IdeDevice, dev)->unit);
}

/* The port stands for the drive. */
static char *sata_fw_path(Device *dev)
{
    const char *dot = strrchr(dev->bus->obj.name, '.');

    return g_strdup_printf("drive@%s", dot ? dot + 1 : "0");
}

static const PropDef ide_bus_props[] = {
    PROP_U32("unit", IdeDevice, unit, UINT32_MAX),
    PROP_END
};

const BusType bus_ide = {
    .name = "IDE",
    .device_type = "ide-device",
    .device_props = ide_bus_props,
    .max_devices = 2,
    .attach = ide_attach,
    .detach = ide_detach,
    .fw_path = ide_fw_path,
};

/* Of the same name, since the same drives fit. */
const BusType bus_sata = {
    .name = "IDE",
    .device_type = "ide-device",
    .device_props = ide_bus_props,
    .max_devices = 1,
    .attach = ide_attach,
    .detach = ide_detach,
    .fw_path = sata_fw_path,
};

static bool ide_device_realize(IdeDevice *s, IdeKind kind, const char *model, GError **error)
{
    IdeDrive *d = s->drive;
    bool cd = kind == IDE_KIND_CD;

    if (s->conf.serial && strlen(s->conf.serial) > 20) {
        error_set(error, "%s: serial '%s' has more than 20 characters",
                  s->dev.obj.type->name, s->conf.serial);
        return false;
    }
    if (!block_conf_attach(&s->conf, &s->dev, cd, cd, cd ? &cd_ops : &hd_ops, s, error)) {
        return false;
    }
    if (!cd && !block_conf_geometry(&s->conf, &s->dev, 65535, 16, 255, error)) {
        block_conf_detach(&s->conf);
        return false;
    }
    d->conf = &s->conf;
    d->blk = s->conf.blk;
    d->kind = kind;
    d->nb_sectors = blk_length(d->blk) / IDE_SECTOR;
    d->cyls = s->conf.cyls;
    d->heads = s->conf.heads;
    d->secs = s->conf.secs;
    d->wwn = s->wwn;
    d->rotation_rate = s->rotation_rate;
    ide_smart_init(d);
    d->mult_sectors = 16;
    d->dma_mode = 0x45;
    d->buf = g_malloc0(IDE_BUF_LEN + IDE_BUF_PAD);
    g_strlcpy(d->model, s->model ?: model, sizeof(d->model));
    g_strlcpy(d->version, s->version ?: "2.5+", sizeof(d->version));
    if (s->conf.serial) {
        g_strlcpy(d->serial, s->conf.serial, sizeof(d->serial));
    } else {
        g_snprintf(d->serial, sizeof(d->serial), "QM%05u", d->bus->first_serial + s->unit);
    }
    ide_set_signature(d);
    d->tf.status = cd ? 0 : ATA_DRDY | ATA_DSC;
    return true;
}

static bool ide_hd_realize(Device *dev, GError **error)
{
    return ide_device_realize(DEVICE_CAST(IdeDevice, dev), IDE_KIND_DISK, "QEMU HARDDISK", error);
}

static bool ide_cd_realize(Device *dev, GError **error)
{
    return ide_device_realize(DEVICE_CAST(IdeDevice, dev), IDE_KIND_CD, "QEMU DVD-ROM", error);
}

static void ide_unrealize(Device *dev)
{
    IdeDevice *s = DEVICE_CAST(IdeDevice, dev);
    IdeDrive *d = s->drive;

    ide_drive_reset(d);
    d->tf.status = 0;
    block_conf_detach(&s->conf);
    d->kind = IDE_KIND_NONE;
    d->conf = NULL;
    d->blk = NULL;
    g_clear_pointer(&d->buf, g_free);
}

/* clang-format off */
#define IDE_DEVICE_PROPS \
    BLOCK_CONF_PROPS(IdeDevice, conf), \
    PROP_STR("ver", IdeDevice, version), \
    PROP_STR("model", IdeDevice, model), \
    PROP_U64("wwn", IdeDevice, wwn, 0)

static const PropDef ide_hd_props[] = {
    IDE_DEVICE_PROPS,
    BLOCK_GEOMETRY_PROPS(IdeDevice, conf),
    PROP_U16("rotation_rate", IdeDevice, rotation_rate, 0),
    PROP_END
};
static const PropDef ide_cd_props[] = { IDE_DEVICE_PROPS, PROP_END };
/* clang-format on */

static const DeviceType ide_device_type = {
    .name = "ide-device", .abstract = true, .size = sizeof(IdeDevice),
};
TYPE_ROW(ide_device, &ide_device_type, "device");

DEVICE_TYPE(ide_hd, .name = "ide-hd", .parent = "ide-device", .size = sizeof(IdeDevice),
            .desc = "virtual IDE disk", .bus = &bus_ide, .category = DEVICE_CATEGORY_STORAGE,
            .user_creatable = true, .props = ide_hd_props, .realize = ide_hd_realize,
            .unrealize = ide_unrealize);
DEVICE_TYPE(ide_cd, .name = "ide-cd", .parent = "ide-device", .size = sizeof(IdeDevice),
            .desc = "virtual IDE CD-ROM", .bus = &bus_ide, .category = DEVICE_CATEGORY_STORAGE,
            .user_creatable = true, .props = ide_cd_props, .realize = ide_cd_realize,
            .unrealize = ide_unrealize);
