/* SPDX-License-Identifier: MIT */
/*
 * Intel 8237A DMA controller with the PC's page registers ("i8257", QEMU's name for it).
 * Spec: 8237A data sheet (231466-005); page registers: PIIX3 (290550-002) 2.5.1.
 * Not modelled: memory-to-memory, cascade of a third controller, DACK/DREQ polarity, timing.
 * Locking: machine lock.
 *
 * A transfer is a dialogue: while a channel is unmasked and its DREQ held, turns of the run timer
 * call the device, which moves some bytes and says how far it is.  One call per channel and turn, so
 * that no guest can keep the main loop.
 */
#include "hw/dma/i8237.h"

#include "base/error.h"
#include "base/log.h"
#include "vm/vm.h"

enum { ADDR, COUNT };
enum { COMMAND_MEM_TO_MEM = BIT(0), COMMAND_DISABLE = BIT(2), COMMAND_UNSUPPORTED = 0xeb };
enum { MODE_AUTOINIT = BIT(4), MODE_DECREMENT = BIT(5) };

typedef struct Channel {
    int32_t now[2];               /* address in bytes at the block's start; bytes done */
    uint16_t base[2];
    uint8_t mode, page, pageh, dack, eop;
    IsaDmaFn *fn;                 /* set once by the device */
    void *opaque;
} Channel;

typedef struct I8237 {
    IsaDevice isa;                /* IsaDma is its Device */
    Channel regs[4];
    uint8_t status, command, mask, flip_flop;
    int32_t dshift;               /* 1: counts 16-bit words */
    int32_t dshift_wire;
    int32_t base, page_base, pageh_base;
    MemoryRegion chan_mr, cont_mr, page_mr[2], pageh_mr[2];
    Timer run_timer;
} I8237;

static I8237 *i8237(IsaDma *dma)
{
    return (I8237 *)(void *)dma;
}

static bool may_run(const I8237 *s, unsigned n)
{
    return s->regs[n].fn && !(s->mask & BIT(n)) && (s->status & BIT(n + 4)) &&
           !(s->command & COMMAND_DISABLE);
}

/* Something may have become runnable. */
static void schedule(I8237 *s)
{
    for (unsigned n = 0; n < 4; n++) {
        if (may_run(s, n) && !timer_pending(&s->run_timer)) {
            timer_set(&s->run_timer, clock_now(s->isa.dev.vm->clock));
        }
    }
}

static int block_size(const I8237 *s, const Channel *ch)
{
    return (ch->base[COUNT] + 1) << s->dshift;
}

static void start_block(I8237 *s, Channel *ch)
{
    ch->now[ADDR] = ch->base[ADDR] << s->dshift;
    ch->now[COUNT] = 0;
}

static void run_channel(I8237 *s, unsigned n)
{
    Channel *ch = &s->regs[n];
    int size = block_size(s, ch);
    int pos = ch->fn(ch->opaque, n + (s->dshift << 2), ch->now[COUNT], size);

    ch->now[COUNT] = CLAMP(pos, 0, size);
    if (ch->now[COUNT] == size) {
        s->status |= BIT(n);      /* terminal count */
        if (ch->mode & MODE_AUTOINIT) {
            start_block(s, ch);
        } else {
            s->mask |= BIT(n);
        }
    }
}

static void run_timer(void *opaque)
{
    I8237 *s = opaque;

    for (unsigned n = 0; n < 4; n++) {
        if (may_run(s, n)) {
            run_channel(s, n);
        }
    }
    schedule(s);
}

/* ---- the device's side ---- */

void i8237_register(IsaDma *dma, int channel, IsaDmaFn *fn, void *opaque)
{
    i8237(dma)->regs[channel].fn = fn;
    i8237(dma)->regs[channel].opaque = opaque;
}

void i8237_set_dreq(IsaDma *dma, int channel, bool on)
{
    I8237 *s = i8237(dma);

    s->status = on ? s->status | BIT(channel + 4) : s->status & ~BIT(channel + 4);
    schedule(s);
}

/* The 64 (128) KiB page does not take part in counting: addresses wrap inside it. */
static gpa_t block_addr(const I8237 *s, const Channel *ch, int pos)
{
    uint32_t window = 0x10000 << s->dshift;
    uint32_t page = s->dshift ? ch->page & ~1 : ch->page;
    uint32_t low = ch->mode & MODE_DECREMENT ? ch->now[ADDR] - pos : ch->now[ADDR] + pos;

    return (((uint32_t)ch->pageh & 0x7f) << 24 | page << 16) + (low & (window - 1));
}

static int move(I8237 *s, int channel, uint8_t *buf, int pos, int len, bool to_memory)
{
    Channel *ch = &s->regs[channel];
    uint32_t window = 0x10000 << s->dshift;
    int done = 0;

    if (pos < 0 || len < 0 || pos > block_size(s, ch)) {
        return 0;
    }
    len = MIN(len, block_size(s, ch) - pos);
    while (done < len) {
        gpa_t addr = block_addr(s, ch, pos + done);
        int to_wrap = window - (addr & (window - 1));
        int part = ch->mode & MODE_DECREMENT ? 1 : MIN(len - done, to_wrap);

        if (to_memory) {
            dma_write(&s->isa.dev, addr, buf + done, part);
        } else {
            dma_read(&s->isa.dev, addr, buf + done, part);
        }
        done += part;
    }
    return done;
}

int i8237_read_memory(IsaDma *dma, int channel, void *buf, int pos, int len)
{
    return move(i8237(dma), channel, buf, pos, len, false);
}

int i8237_write_memory(IsaDma *dma, int channel, const void *buf, int pos, int len)
{
    return move(i8237(dma), channel, (uint8_t *)(uintptr_t)buf, pos, len, true);
}

/* ---- registers ---- */

/* Address and count registers are 16 bits wide behind an 8-bit port: low byte first. */
static bool next_is_high(I8237 *s)
{
    s->flip_flop = !s->flip_flop;
    return !s->flip_flop;
}

static uint64_t chan_read(void *opaque, uint64_t offset, unsigned size)
{
    I8237 *s = opaque;
    unsigned reg = (offset >> s->dshift) & 7;
    const Channel *ch = &s->regs[reg >> 1];
    unsigned value;

    if (reg & 1) {
        value = ch->base[COUNT] - (ch->now[COUNT] >> s->dshift);
    } else {
        int done = ch->now[COUNT] >> s->dshift;

        value = (ch->now[ADDR] >> s->dshift) + (ch->mode & MODE_DECREMENT ? -done : done);
    }
    return next_is_high(s) ? (value >> 8) & 0xff : value & 0xff;
}

static void chan_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    I8237 *s = opaque;
    unsigned reg = (offset >> s->dshift) & 7;
    Channel *ch = &s->regs[reg >> 1];
    uint16_t *field = &ch->base[reg & 1];

    if (next_is_high(s)) {
        *field = (*field & 0x00ff) | (value & 0xff) << 8;
        start_block(s, ch);
    } else {
        *field = (*field & 0xff00) | (value & 0xff);
    }
}

static void master_clear(I8237 *s)
{
    s->flip_flop = 0;
    s->mask = 0xff;
    s->status = 0;
    s->command = 0;
}

static uint64_t cont_read(void *opaque, uint64_t offset, unsigned size)
{
    I8237 *s = opaque;
    uint8_t value = 0;

    switch ((offset >> s->dshift) & 7) {
    case 0:                       /* status; reading clears the terminal counts */
        value = s->status;
        s->status &= 0xf0;
        break;
    case 7:
        value = s->mask;
        break;
    default:
        break;
    }
    return value;
}

static void cont_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    I8237 *s = opaque;
    unsigned n = value & 3;

    switch ((offset >> s->dshift) & 7) {
    case 0:                       /* command */
        if (value & COMMAND_UNSUPPORTED) {
            log_unimp("i8257: command bits 0x%02x\n", (unsigned)(value & COMMAND_UNSUPPORTED));
        }
        s->command = value;
        break;
    case 1:                       /* software request */
        s->status = value & 4 ? s->status | BIT(n + 4) : s->status & ~BIT(n + 4);
        s->status &= ~BIT(n);
        break;
    case 2:                       /* single mask */
        s->mask = value & 4 ? s->mask | BIT(n) : s->mask & ~BIT(n);
        break;
    case 3:
        s->regs[n].mode = value;
        break;
    case 4:
        s->flip_flop = 0;
        break;
    case 5:
        master_clear(s);
        break;
    case 6:
        s->mask = 0;
        break;
    default:
        s->mask = value & 0xf;
        break;
    }
    schedule(s);
}

/* Which channel each of the 8 page ports belongs to; -1: plain memory in the PC, ignored here. */
static const int8_t page_channel[8] = { -1, 2, 3, 1, -1, -1, -1, 0 };

/* The window at page_base+1 is three ports, the one at +7 a single one: MR tells them apart. */
static Channel *page_owner(I8237 *s, unsigned port)
{
    return page_channel[port & 7] >= 0 ? &s->regs[page_channel[port & 7]] : NULL;
}

static uint64_t page_read(void *opaque, uint64_t offset, unsigned size)
{
    return page_owner(opaque, offset + 1)->page;
}

static void page_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    page_owner(opaque, offset + 1)->page = value;
}

static uint64_t page7_read(void *opaque, uint64_t offset, unsigned size)
{
    return page_owner(opaque, 7)->page;
}

static void page7_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    page_owner(opaque, 7)->page = value;
}

static uint64_t pageh_read(void *opaque, uint64_t offset, unsigned size)
{
    return page_owner(opaque, offset + 1)->pageh;
}

static void pageh_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    page_owner(opaque, offset + 1)->pageh = value;
}

static uint64_t pageh7_read(void *opaque, uint64_t offset, unsigned size)
{
    return page_owner(opaque, 7)->pageh;
}

static void pageh7_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    page_owner(opaque, 7)->pageh = value;
}

static const MmioOps chan_ops = { chan_read, chan_write, .impl_max = 1 };
static const MmioOps cont_ops = { cont_read, cont_write, .impl_max = 1 };
static const MmioOps page_ops[2] = { { page_read, page_write, .impl_max = 1 },
                                     { page7_read, page7_write, .impl_max = 1 } };
static const MmioOps pageh_ops[2] = { { pageh_read, pageh_write, .impl_max = 1 },
                                      { pageh7_read, pageh7_write, .impl_max = 1 } };

/* ---- life cycle ---- */

static void i8237_reset_enter(Device *dev)
{
    I8237 *s = DEVICE_CAST(I8237, dev);

    timer_cancel(&s->run_timer);
    master_clear(s);
    for (unsigned n = 0; n < 4; n++) {
        Channel *ch = &s->regs[n];

        memset(ch->now, 0, sizeof(ch->now));
        memset(ch->base, 0, sizeof(ch->base));
        ch->mode = ch->page = ch->pageh = ch->dack = ch->eop = 0;
    }
}

static void add_pages(I8237 *s, MemoryRegion mr[2], const MmioOps ops[2], int base)
{
    static const struct { uint8_t offset, size; } windows[2] = { { 1, 3 }, { 7, 1 } };

    if (base < 0) {
        return;
    }
    for (unsigned i = 0; i < 2; i++) {
        memory_region_init_io(&mr[i], OBJECT(s), "dma-page", &ops[i], s, windows[i].size);
        isa_add_ports(&s->isa, &mr[i], base + windows[i].offset);
    }
}

static bool i8237_realize(Device *dev, GError **error)
{
    I8237 *s = DEVICE_CAST(I8237, dev);

    if (s->dshift < 0 || s->dshift > 1) {
        return error_set(error, "i8257: 'dshift' is %d; 0 (bytes) and 1 (words) exist", s->dshift);
    }
    if (s->base < 0 || s->base > 0xffe0 || s->page_base > 0xfff8 || s->pageh_base > 0xfff8) {
        return error_set(error, "i8257: a port base lies outside of the 64 KiB of ports");
    }
    timer_init(&s->run_timer, dev->vm->clock, run_timer, s);
    memory_region_init_io(&s->chan_mr, OBJECT(dev), "dma-chan", &chan_ops, s, 8 << s->dshift);
    isa_add_ports(&s->isa, &s->chan_mr, s->base);
    memory_region_init_io(&s->cont_mr, OBJECT(dev), "dma-cont", &cont_ops, s, 8 << s->dshift);
    isa_add_ports(&s->isa, &s->cont_mr, s->base + (8 << s->dshift));
    add_pages(s, s->page_mr, page_ops, s->page_base);
    add_pages(s, s->pageh_mr, pageh_ops, s->pageh_base);
    return true;
}

static void i8237_unrealize(Device *dev)
{
    timer_cancel(&DEVICE_CAST(I8237, dev)->run_timer);
}

static void i8237_pre_save(void *obj)
{
    ((I8237 *)obj)->dshift_wire = ((I8237 *)obj)->dshift;
}

static bool i8237_post_load(void *obj, int version, GError **error)
{
    I8237 *s = obj;

    if (s->dshift_wire != s->dshift) {
        return error_set(error, "dma: the state's dshift is %d, this controller's %d", s->dshift_wire,
                         s->dshift);
    }
    for (unsigned n = 0; n < 4; n++) {
        Channel *ch = &s->regs[n];

        if (ch->now[COUNT] < 0 || ch->now[COUNT] > block_size(s, ch)) {
            return error_set(error, "dma: channel %u has done %d of %d bytes", n, ch->now[COUNT],
                             block_size(s, ch));
        }
    }
    return true;
}

static const VmField channel_fields[] = {
    VMS_I32_ARRAY(Channel, now), VMS_U16_ARRAY(Channel, base), VMS_U8(Channel, mode),
    VMS_U8(Channel, page), VMS_U8(Channel, pageh), VMS_U8(Channel, dack),
    VMS_U8(Channel, eop), VMS_END
};
static const VmStateDesc channel_desc = { .name = "dma_regs", .version = 1, .minimum = 1,
                                          .fields = channel_fields };
static const VmField i8237_fields[] = {
    VMS_U8(I8237, command), VMS_U8(I8237, mask), VMS_U8(I8237, flip_flop), 
    VMS_I32(I8237, dshift_wire, .wire = "dshift"),
    VMS_STRUCT_ARRAY(I8237, regs, &channel_desc, .version = 1), VMS_END
};
static const PropDef i8237_props[] = {
    PROP_I32("base", I8237, base, 0),
    PROP_I32("page-base", I8237, page_base, 0x80),
    PROP_I32("pageh-base", I8237, pageh_base, 0x480),
    PROP_I32("dshift", I8237, dshift, 0),
    PROP_END,
};
DEVICE_TYPE(i8257, .name = "i8257", .bus = &bus_isa, .size = sizeof(I8237), .props = i8237_props,
            .vmstate = VMSTATE("dma", 1, 1, i8237_fields, .pre_save = i8237_pre_save,
                               .post_load = i8237_post_load),
            .realize = i8237_realize,
            .unrealize = i8237_unrealize, .reset_enter = i8237_reset_enter);

bool i8237_pair_new(IsaBus *bus, GError **error)
{
    Device *bytes = device_create(bus->bus.vm, "i8257", &bus->bus, error, "base", "0",
                                  "page-base", "0x80", "pageh-base", "-1", "dshift", "0", NULL);
    Device *words = bytes ? device_create(bus->bus.vm, "i8257", &bus->bus, error, "base", "0xc0",
                                          "page-base", "0x88", "pageh-base", "-1", "dshift", "1",
                                          NULL)
                          : NULL;

    if (!words) {
        return false;
    }
    bus->dma[0] = (IsaDma *)(void *)bytes;
    bus->dma[1] = (IsaDma *)(void *)words;
    return true;
}
