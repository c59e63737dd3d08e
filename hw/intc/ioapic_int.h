/* SPDX-License-Identifier: MIT */
/* Inside of the I/O APIC: ioapic.c, and kvm_ioapic.c for the one in the kernel. */
#ifndef HW_INTC_IOAPIC_INT_H
#define HW_INTC_IOAPIC_INT_H

#include "hw/intc/ioapic.h"

#define RED_VECTOR(e) ((uint8_t)(e))
#define RED_DELMOD(e) (((e) >> 8) & 7)
#define RED_DESTMOD BIT64(11)
#define RED_DELIVS BIT64(12)
#define RED_REMOTE_IRR BIT64(14)
#define RED_LEVEL BIT64(15)
#define RED_MASKED BIT64(16)
#define RED_READ_ONLY (RED_DELIVS | RED_REMOTE_IRR)
#define RED_WRITABLE 0xff0000000001ffffull

typedef struct Ioapic {
    Device dev;
    MemoryRegion mmio;
    IoapicOut out;
    uint8_t version;
    uint8_t id, ioregsel;
    uint32_t irr;
    uint64_t ioredtbl[IOAPIC_PINS];
    uint32_t level;               /* of the pins, as last driven */
    uint64_t raised[IOAPIC_PINS]; /* how often, since the start, by GSI: for `info irq` */
    uint32_t routed;              /* pins whose level messages out.routes has been told of */
    uint64_t routed_as[IOAPIC_PINS];
    /* Where the state lives elsewhere (KVM): brings the fields up to date before an access; sync()
     * takes them back.  NULL: they are the truth. */
    void (*refresh)(struct Ioapic *s);
} Ioapic;

extern const VmField ioapic_fields[];
bool ioapic_post_load(void *obj, int version, GError **error);

#endif
