/* SPDX-License-Identifier: MIT */
/*
 * Port 61h ("isa-pcspk").
 * Spec: PIIX3 (290550-002) 2.5.7.1, NMISC; bit names are the sheet's.
 * Missing: sound; the port behaves, nothing is heard.  NMI sources (parity, IOCHK#) never report.
 * Locking: machine lock.
 */
#include "hw/audio/pcspk.h"

#include "base/error.h"
#include "hw/timer/i8254.h"

enum { NMISC_GATE2 = BIT(0), NMISC_SPKR = BIT(1), NMISC_ENABLES = BIT(2) | BIT(3),
       NMISC_REFRESH = BIT(4), NMISC_OUT2 = BIT(5) };

typedef struct PcSpk {
    IsaDevice isa;
    MemoryRegion port;
    Object *pit;
    char *audiodev;
    uint32_t iobase;
    bool migrate;
    uint8_t data_on, dummy_refresh_clock;
} PcSpk;

static Device *pit_of(PcSpk *s)
{
    return DEVICE(s->pit);
}

static uint64_t nmisc_read(Device *dev, uint64_t value)
{
    PcSpk *s = DEVICE_CAST(PcSpk, dev);

    s->dummy_refresh_clock = !s->dummy_refresh_clock;
    return (i8254_gate(pit_of(s), 2) ? NMISC_GATE2 : 0) | (s->data_on ? NMISC_SPKR : 0) |
           (s->dummy_refresh_clock ? NMISC_REFRESH : 0) |
           (i8254_out(pit_of(s), 2) ? NMISC_OUT2 : 0);
}

static void nmisc_write(Device *dev, uint64_t value)
{
    PcSpk *s = DEVICE_CAST(PcSpk, dev);

    s->data_on = (value & NMISC_SPKR) != 0;
    i8254_set_gate(pit_of(s), 2, value & NMISC_GATE2);
}

static const RegDef pcspk_regs[] = {
    { 0, "NMISC", REG_NONE(1), .on_read = nmisc_read, .on_write = nmisc_write },
};

static bool pcspk_realize(Device *dev, GError **error)
{
    PcSpk *s = DEVICE_CAST(PcSpk, dev);

    if (!s->pit) {
        return error_set(error, "isa-pcspk: 'pit' must be set to the board's isa-pit");
    }
    if (s->audiodev && s->audiodev[0]) {
        return error_set(error, "isa-pcspk: 'audiodev' is '%s', but the speaker has no sound yet; "
                         "leave it out", s->audiodev);
    }
    if (s->iobase > 0xffff) {
        return error_set(error, "isa-pcspk: 'iobase' is 0x%x; ports end at 0xffff", s->iobase);
    }
    device_init_reg_region(dev, &s->port, "pcspk", (RegTable)REG_TABLE(pcspk_regs), 1);
    isa_add_ports(&s->isa, &s->port, s->iobase);
    return true;
}

static void pcspk_reset_enter(Device *dev)
{
    DEVICE_CAST(PcSpk, dev)->data_on = 0;
}

static bool migrated(const void *obj, int version)
{
    return ((const PcSpk *)obj)->migrate;
}

static const VmField pcspk_fields[] = {
    VMS_U8(PcSpk, data_on, .exists = migrated), VMS_U8(PcSpk, dummy_refresh_clock,
                                                       .exists = migrated), VMS_END
};
static const PropDef pcspk_props[] = {
    PROP_STR("audiodev", PcSpk, audiodev, .help = "ID of an audiodev to use as a backend"),
    PROP_U32("iobase", PcSpk, iobase, 0x61),
    PROP_BOOL("migrate", PcSpk, migrate, true),
    PROP_LINK("pit", PcSpk, pit, "isa-pit"),
    PROP_END,
};
DEVICE_TYPE(isa_pcspk, .name = "isa-pcspk", .bus = &bus_isa, .size = sizeof(PcSpk),
            .category = DEVICE_CATEGORY_SOUND, .props = pcspk_props,
            .vmstate = VMSTATE("pcspk", 1, 1, pcspk_fields), .realize = pcspk_realize,
            .reset_enter = pcspk_reset_enter);

Device *pcspk_new(IsaBus *bus, Device *pit, GError **error)
{
    Device *dev = device_new(bus->bus.vm, "isa-pcspk", error);
    bool ok;

    if (!dev) {
        return NULL;
    }
    DEVICE_CAST(PcSpk, dev)->pit = object_ref(OBJECT(pit));
    ok = device_realize(dev, &bus->bus, error);
    object_unref(OBJECT(dev));
    return ok ? dev : NULL;
}
