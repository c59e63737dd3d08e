/* SPDX-License-Identifier: MIT */
/*
 * Floppy drives ("floppy") and media formats.
 * Locking: machine lock.
 */
#include "hw/block/floppy.h"

#include "base/error.h"

const char *const floppy_types[] = { "144", "288", "120", "none", "auto", NULL };

/* Formats by size; the first row of a drive type is what an unknown size counts as. */
static const struct FloppyFormat {
    FloppyType drive;
    uint8_t sectors, tracks, heads, rate;
} formats[] = {
    /* 3.5", 1.44 MB drive */
    { FLOPPY_144, 18, 80, 2, FLOPPY_RATE_500K },
    { FLOPPY_144, 20, 80, 2, FLOPPY_RATE_500K },
    { FLOPPY_144, 21, 80, 2, FLOPPY_RATE_500K },
    { FLOPPY_144, 21, 82, 2, FLOPPY_RATE_500K },
    { FLOPPY_144, 21, 83, 2, FLOPPY_RATE_500K },
    { FLOPPY_144, 22, 80, 2, FLOPPY_RATE_500K },
    { FLOPPY_144, 23, 80, 2, FLOPPY_RATE_500K },
    { FLOPPY_144, 24, 80, 2, FLOPPY_RATE_500K },
    /* 3.5", 2.88 MB drive */
    { FLOPPY_288, 36, 80, 2, FLOPPY_RATE_1M },
    { FLOPPY_288, 39, 80, 2, FLOPPY_RATE_1M },
    { FLOPPY_288, 40, 80, 2, FLOPPY_RATE_1M },
    { FLOPPY_288, 44, 80, 2, FLOPPY_RATE_1M },
    { FLOPPY_288, 48, 80, 2, FLOPPY_RATE_1M },
    /* 720 kB in a 1.44 MB drive */
    { FLOPPY_144, 9, 80, 2, FLOPPY_RATE_250K },
    { FLOPPY_144, 10, 80, 2, FLOPPY_RATE_250K },
    { FLOPPY_144, 10, 82, 2, FLOPPY_RATE_250K },
    { FLOPPY_144, 10, 83, 2, FLOPPY_RATE_250K },
    { FLOPPY_144, 13, 80, 2, FLOPPY_RATE_250K },
    { FLOPPY_144, 14, 80, 2, FLOPPY_RATE_250K },
    /* 5.25", 1.2 MB drive */
    { FLOPPY_120, 15, 80, 2, FLOPPY_RATE_500K },
    { FLOPPY_120, 18, 82, 2, FLOPPY_RATE_500K },
    { FLOPPY_120, 18, 83, 2, FLOPPY_RATE_500K },
    { FLOPPY_120, 9, 40, 2, FLOPPY_RATE_300K },
    { FLOPPY_120, 9, 40, 1, FLOPPY_RATE_300K },
    { FLOPPY_120, 10, 41, 2, FLOPPY_RATE_300K },
    { FLOPPY_120, 8, 40, 2, FLOPPY_RATE_250K },
    { FLOPPY_120, 8, 40, 1, FLOPPY_RATE_250K },
};

/* The row whose size is that of the medium and that TYPE can hold (AUTO: any). */
static const struct FloppyFormat *find_format(uint64_t bytes, FloppyType type)
{
    for (unsigned i = 0; i < ARRAY_LEN(formats); i++) {
        const struct FloppyFormat *f = &formats[i];
        /* A 2.88 MB drive takes 1.44 MB media too. */
        bool fits = type == FLOPPY_AUTO || f->drive == type ||
                    (type == FLOPPY_288 && f->drive == FLOPPY_144);

        if (fits && (uint64_t)f->sectors * f->tracks * f->heads * FLOPPY_SECTOR == bytes) {
            return f;
        }
    }
    return NULL;
}

static const struct FloppyFormat *default_format(FloppyType type)
{
    for (unsigned i = 0; i < ARRAY_LEN(formats); i++) {
        if (formats[i].drive == type) {
            return &formats[i];
        }
    }
    return &formats[0];
}

/* Looks at the medium again: geometry, rate. */
static void floppy_revalidate(FloppyDrive *d)
{
    const struct FloppyFormat *f;

    if (!d->blk || !blk_has_medium(d->blk)) {
        d->last_sect = d->max_track = d->heads = 0;
        d->read_only = true;
        return;
    }
    f = find_format(blk_length(d->blk), d->type);
    f = f ? f : default_format(d->type);
    d->last_sect = f->sectors;
    d->max_track = f->tracks;
    d->heads = f->heads;
    d->media_rate = f->rate;
    d->read_only = blk_is_read_only(d->blk);
}

bool floppy_offset(const FloppyDrive *d, unsigned track, unsigned head, unsigned sect,
                   uint64_t *offset)
{
    if (track >= d->max_track || head >= d->heads || sect < 1 || sect > d->last_sect) {
        return false;
    }
    *offset = ((uint64_t)(track * d->heads + head) * d->last_sect + sect - 1) * FLOPPY_SECTOR;
    return true;
}

/* ---- the device ---- */

typedef struct Floppy {
    Device dev;
    BlockConf conf;
    uint32_t unit;                /* UINT32_MAX: the first free one */
    int drive_type;
} Floppy;

static FloppyBus *floppy_bus(Device *dev)
{
    return (FloppyBus *)(void *)dev->bus;
}

static void medium_changed(void *opaque, bool loaded)
{
    Floppy *s = opaque;
    FloppyBus *bus = floppy_bus(&s->dev);
    FloppyDrive *d = &bus->drives[s->unit];

    d->media_changed = 1;
    floppy_revalidate(d);
    bus->changed(bus->opaque, s->unit);
}

/* The 82078 has no way to wait: an error ends the command. */
static const BlkDeviceOps floppy_ops = { .medium_changed = medium_changed, .reports_errors = true };

static bool policy_is_report(BlockBackend *blk, bool is_read, GError **error)
{
    BlkErrorPolicy policy = blk_on_error(blk, is_read);

    return policy == BLK_ON_ERROR_AUTO || policy == BLK_ON_ERROR_REPORT ||
           error_set(error, "floppy: %s is not supported by a floppy drive, whose guest sees every error: leave it "
                     "away, or say \"report\"", is_read ? "rerror" : "werror");
}

static FloppyType settle_type(FloppyBus *bus, Floppy *s)
{
    FloppyType type = s->drive_type;
    const struct FloppyFormat *f;

    if (type == FLOPPY_AUTO) {
        type = bus->type_override[s->unit];
    }
    if (type != FLOPPY_AUTO) {
        return type;
    }
    f = blk_has_medium(s->conf.blk) ? find_format(blk_length(s->conf.blk), FLOPPY_AUTO) : NULL;
    return f ? f->drive : (FloppyType)bus->fallback;
}

static bool floppy_realize(Device *dev, GError **error)
{
    Floppy *s = DEVICE_CAST(Floppy, dev);
    FloppyBus *bus = floppy_bus(dev);
    FloppyDrive *d;

    for (unsigned n = 0; s->unit == UINT32_MAX && n < FLOPPY_UNITS; n++) {
        s->unit = bus->drives[n].blk ? UINT32_MAX : n;
    }
    if (s->unit >= FLOPPY_UNITS) {
        return error_set(error, "Can't create floppy unit %u, bus supports only %d units",
                         s->unit == UINT32_MAX ? FLOPPY_UNITS : s->unit, FLOPPY_UNITS);
    }
    d = &bus->drives[s->unit];
    if (d->blk) {
        return error_set(error, "Floppy unit %u is in use", s->unit);
    }
    if ((s->conf.logical_block_size && s->conf.logical_block_size != FLOPPY_SECTOR) ||
        (s->conf.physical_block_size && s->conf.physical_block_size != FLOPPY_SECTOR)) {
        return error_set(error, "Physical and logical block size must be 512 for floppy");
    }
    if (!block_conf_attach(&s->conf, dev, true, false, &floppy_ops, s, error)) {
        return false;
    }
    if (!policy_is_report(s->conf.blk, true, error) || !policy_is_report(s->conf.blk, false, error)) {
        block_conf_detach(&s->conf);
        return false;
    }
    *d = (FloppyDrive){ .blk = s->conf.blk, .sect = 1, .media_changed = 1 };
    d->type = settle_type(bus, s);
    s->drive_type = d->type;
    s->conf.bootindex = s->conf.bootindex < 0 ? bus->bootindex[s->unit] : s->conf.bootindex;
    floppy_revalidate(d);
    return true;
}

static void floppy_unrealize(Device *dev)
{
    Floppy *s = DEVICE_CAST(Floppy, dev);

    floppy_bus(dev)->drives[s->unit] = (FloppyDrive){ .type = FLOPPY_NONE };
    block_conf_detach(&s->conf);
}

static char *floppy_fw_path(Device *dev)
{
    return g_strdup_printf("floppy@%u", DEVICE_CAST(Floppy, dev)->unit);
}

const BusType bus_floppy = { .name = "floppy-bus", .device_type = "floppy-drive",
                             .max_devices = FLOPPY_UNITS, .fw_path = floppy_fw_path };

static const PropDef floppy_props[] = {
    PROP_U32("unit", Floppy, unit, UINT32_MAX),
    PROP_ENUM("drive-type", Floppy, drive_type, floppy_types, FLOPPY_AUTO,
              .help = "FDC drive type, 144/288/120/none/auto"),
    PROP_STR("drive", Floppy, conf.drive, .help = "Node name or ID of a block device to use as a backend"),
    PROP_SIZE("logical_block_size", Floppy, conf.logical_block_size, 0,
              .help = "A power of two between 512 B and 2 MiB"),
    PROP_SIZE("physical_block_size", Floppy, conf.physical_block_size, 0,
              .help = "A power of two between 512 B and 2 MiB"),
    PROP_SIZE("min_io_size", Floppy, conf.min_io_size, 0),
    PROP_SIZE("opt_io_size", Floppy, conf.opt_io_size, 0),
    PROP_SIZE("discard_granularity", Floppy, conf.discard_granularity, UINT32_MAX),
    PROP_I32("bootindex", Floppy, conf.bootindex, -1),
    PROP_ON_OFF_AUTO("write-cache", Floppy, conf.write_cache, ON_OFF_AUTO_AUTO),
    PROP_BOOL("share-rw", Floppy, conf.share_rw, false),
    PROP_END,
};
DEVICE_TYPE(floppy, .name = "floppy", .bus = &bus_floppy, .size = sizeof(Floppy),
            .category = DEVICE_CATEGORY_STORAGE, .user_creatable = true,
            .desc = "virtual floppy drive", .props = floppy_props, .realize = floppy_realize,
            .unrealize = floppy_unrealize);

void floppy_bus_init(FloppyBus *bus, Device *owner)
{
    bus_init(&bus->bus, &bus_floppy, owner, owner->vm, "floppy-bus.0");
    for (unsigned n = 0; n < FLOPPY_UNITS; n++) {
        bus->drives[n].type = FLOPPY_NONE;
    }
}
