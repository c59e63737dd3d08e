/* SPDX-License-Identifier: MIT */
/*
 * LSI53C895A PCI to Ultra2 SCSI controller: the PCI device.  lsi.h is the map of its files.
 * Spec: LSI53C895A technical manual (version 2.2), chapters 2 and 4.
 * Not modelled: the serial EEPROM and flash interfaces, power management; DIOM and SIOM (scripts
 * address memory only).  A saved VM loses commands that are on the way: the guest's driver finds
 * that they time out.
 * Locking: machine lock.
 */
#include "hw/scsi/lsi.h"

#include "base/error.h"
#include "vm/vm.h"

enum { BAR_IO = 0, BAR_MMIO = 1, BAR_RAM = 2, IO_LEN = 256, MMIO_LEN = 1024 };

/* 2.2.17: interrupts.  SCSI and DMA causes by their masks, the one on the fly always. */
void lsi_update_irq(Lsi *s)
{
    bool level;

    s->istat0 &= ~(ISTAT0_DIP | ISTAT0_SIP);
    s->istat0 |= s->dstat ? ISTAT0_DIP : 0;
    s->istat0 |= s->sist0 || s->sist1 ? ISTAT0_SIP : 0;
    level = (s->dstat & s->dien) || (s->sist0 & s->sien0) || (s->sist1 & s->sien1) ||
            (s->istat0 & ISTAT0_INTF);
    pci_set_irq(&s->pci, level && !(s->dcntl & DCNTL_IRQD));
}

static void lsi_sync(Device *dev)
{
    lsi_update_irq(DEVICE_CAST(Lsi, dev));
}

/* ---- memory as the chip sees it ---- */

/* Offset in BAR N of an access that lies in it whole. */
static bool in_bar(const Lsi *s, unsigned n, uint64_t bar_len, uint64_t addr, uint32_t len,
                   uint32_t *offset)
{
    uint64_t base = pci_bar_addr(&s->pci, n);

    if (base == PCI_BAR_UNMAPPED || addr < base || addr - base >= bar_len ||
        len > bar_len - (addr - base)) {
        return false;
    }
    *offset = addr - base;
    return true;
}

static uint8_t ram_load(const Lsi *s, uint32_t at)
{
    return s->script_ram[at / 4] >> (at % 4 * 8);
}

static void ram_store(Lsi *s, uint32_t at, uint8_t value)
{
    uint32_t *word = &s->script_ram[at / 4], shift = at % 4 * 8;

    *word = (*word & ~(0xffu << shift)) | (uint32_t)value << shift;
}

bool lsi_memory_read(Lsi *s, uint64_t addr, void *buf, uint32_t len)
{
    uint8_t *bytes = buf;
    uint32_t at;

    if (in_bar(s, BAR_RAM, LSI_RAM_LEN, addr, len, &at)) {
        for (uint32_t i = 0; i < len; i++) {
            bytes[i] = ram_load(s, at + i);
        }
        return true;
    }
    if (in_bar(s, BAR_MMIO, MMIO_LEN, addr, len, &at)) {
        for (uint32_t i = 0; i < len; i++) {
            bytes[i] = lsi_reg_read(s, (at + i) & 0xff);
        }
        return true;
    }
    return dma_read(&s->pci.dev, addr, buf, len);
}

bool lsi_memory_write(Lsi *s, uint64_t addr, const void *buf, uint32_t len)
{
    const uint8_t *bytes = buf;
    uint32_t at;

    if (in_bar(s, BAR_RAM, LSI_RAM_LEN, addr, len, &at)) {
        for (uint32_t i = 0; i < len; i++) {
            ram_store(s, at + i, bytes[i]);
        }
        return true;
    }
    if (in_bar(s, BAR_MMIO, MMIO_LEN, addr, len, &at)) {
        for (uint32_t i = 0; i < len; i++) {
            lsi_reg_write(s, (at + i) & 0xff, bytes[i]);
        }
        return true;
    }
    return dma_write(&s->pci.dev, addr, buf, len);
}

/* ---- windows ---- */

static uint64_t reg_window_read(void *opaque, uint64_t offset, unsigned size)
{
    return lsi_reg_read(opaque, offset & 0xff);
}

static void reg_window_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    lsi_reg_write(opaque, offset & 0xff, value);
}

static uint64_t ram_window_read(void *opaque, uint64_t offset, unsigned size)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < size; i++) {
        value |= (uint64_t)ram_load(opaque, offset + i) << (8 * i);
    }
    return value;
}

static void ram_window_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++) {
        ram_store(opaque, offset + i, value >> (8 * i));
    }
}

/* Wide accesses are bytes one after the other, the lowest first: DSP starts by its highest. */
static const MmioOps reg_ops = { reg_window_read, reg_window_write, .valid_max = 4, .impl_max = 1,
                                 .unaligned = true };
static const MmioOps ram_ops = { ram_window_read, ram_window_write, .valid_max = 8, .impl_max = 4 };

/* ---- life ---- */

static void more_time(void *opaque)
{
    Lsi *s = opaque;

    if (s->waiting == LSI_WAIT_BUDGET) {
        lsi_script_resume(s);
    }
}

static void lsi_reset_enter(Device *dev)
{
    Lsi *s = DEVICE_CAST(Lsi, dev);

    lsi_soft_reset(s);
    lsi_bus_free(s);
    s->pci.config[PCI_LATENCY_TIMER] = 0xff;
}

static bool lsi_realize(Device *dev, GError **error)
{
    Lsi *s = DEVICE_CAST(Lsi, dev);

    le16_store(s->pci.config + PCI_SUBSYSTEM_VENDOR_ID, 0);
    le16_store(s->pci.config + PCI_SUBSYSTEM_ID, 0x1000);
    g_queue_init(&s->queue);
    timer_init(&s->timer, dev->vm->clock, more_time, s);
    timer_init(&s->gen_timer, dev->vm->clock, lsi_gen_expired, s);
    memory_region_init_io(&s->io, OBJECT(dev), "lsi-io", &reg_ops, s, IO_LEN);
    memory_region_init_io(&s->mmio, OBJECT(dev), "lsi-mmio", &reg_ops, s, MMIO_LEN);
    memory_region_init_io(&s->ram, OBJECT(dev), "lsi-ram", &ram_ops, s, LSI_RAM_LEN);
    pci_register_bar(&s->pci, BAR_IO, PCI_BASE_ADDRESS_SPACE_IO, &s->io);
    pci_register_bar(&s->pci, BAR_MMIO, PCI_BASE_ADDRESS_SPACE_MEMORY, &s->mmio);
    pci_register_bar(&s->pci, BAR_RAM, PCI_BASE_ADDRESS_SPACE_MEMORY, &s->ram);
    scsi_bus_init(&s->bus, dev, NULL, &lsi_host_ops);
    return true;
}

static void lsi_unrealize(Device *dev)
{
    Lsi *s = DEVICE_CAST(Lsi, dev);

    timer_cancel(&s->timer);
    timer_cancel(&s->gen_timer);
    scsi_bus_clear(&s->bus);
}

/* ---- state ---- */

static bool lsi_pre_load(void *obj, GError **error)
{
    lsi_soft_reset(obj);
    return true;
}

static bool lsi_post_load(void *obj, int version, GError **error)
{
    Lsi *s = obj;

    if (s->msg_len < 0 || s->msg_len > LSI_MSG_MAX) {
        return error_set(error, "lsi53c895a: a saved message of %d bytes: at most %d", s->msg_len,
                         LSI_MSG_MAX);
    }
    if (s->msg_action < 0 || s->msg_action > LSI_MSG_STATUS || s->waiting < 0 ||
        s->waiting > LSI_WAIT_BUDGET) {
        return error_set(error, "lsi53c895a: saved state has message action %d and wait %d",
                         s->msg_action, s->waiting);
    }
    s->carry &= 1;
    s->dbc &= 0xffffff;
    if (s->waiting == LSI_WAIT_BUDGET) {
        timer_set(&s->timer, clock_now(s->pci.dev.vm->clock) + LSI_BREAK_NS);
    }
    return true;
}

/* clang-format off */
#define U8(f) VMS_U8(Lsi, f)
#define U32(f) VMS_U32(Lsi, f)
#define U32_BYTES(f, n) { .name = #f, .kind = VM_BUFFER, .offset = offsetof(Lsi, f), .size = (n) }
static const VmField lsi_fields[] = {
    VMS_PCI_DEVICE(Lsi, pci),
    VMS_I32(Lsi, carry), VMS_I32(Lsi, status), VMS_I32(Lsi, msg_action), VMS_I32(Lsi, msg_len),
    VMS_BUFFER(Lsi, msg), VMS_I32(Lsi, waiting),
    U32(dsa), U32(temp), U32(dnad), U32(dbc),
    U8(istat0), U8(istat1), U8(dcmd), U8(dstat), U8(dien), U8(sist0), U8(sist1), U8(sien0),
    U8(sien1), U8(mbox0), U8(mbox1), U8(dfifo), U8(ctest2), U8(ctest3), U8(ctest4), U8(ctest5),
    U8(ccntl0), U8(ccntl1), U32(dsp), U32(dsps), U8(dmode), U8(dcntl), U8(scntl0), U8(scntl1),
    U8(scntl2), U8(scntl3), U8(sstat0), U8(sstat1), U8(scid), U8(sxfer), U8(socl), U8(sdid),
    U8(ssid), U8(sfbr), U8(stest1), U8(stest2), U8(stest3), U8(sidl), U8(stime0), U8(respid0),
    U8(respid1), VMS_U8(Lsi, sbcl, .version = 1),
    U32(mmrs), U32(mmws), U32(sfs), U32(drs), U32(sbms), U32(dbms), U32(dnad64), U32(pmjad1),
    U32(pmjad2), U32(rbc), U32(ua), U32(ia), U32(sbc), U32(csbc),
    U32_BYTES(scratch, 4 * LSI_SCRATCH), U8(sbr), U32_BYTES(script_ram, LSI_RAM_LEN),
    VMS_END
};
/* clang-format on */

static const PciInfo lsi_info = {
    .vendor_id = 0x1000,
    .device_id = 0x0012,
    .class_id = 0x0100,
    .interrupt_pin = 1,
};

DEVICE_TYPE(lsi53c895a, .name = "lsi53c895a", .parent = "pci-device", .size = sizeof(Lsi),
            .bus = &bus_pci, .bus_info = &lsi_info, .category = DEVICE_CATEGORY_STORAGE,
            .user_creatable = true, .realize = lsi_realize, .unrealize = lsi_unrealize,
            .reset_enter = lsi_reset_enter, .sync = lsi_sync,
            .vmstate = VMSTATE("lsiscsi", 1, 0, lsi_fields, .pre_load = lsi_pre_load,
                               .post_load = lsi_post_load));
