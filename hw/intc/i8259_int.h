/* SPDX-License-Identifier: MIT */
/* Inside of the 8259A: i8259.c, and kvm_i8259.c for the one in the kernel. */
#ifndef HW_INTC_I8259_INT_H
#define HW_INTC_I8259_INT_H

#include "hw/intc/i8259.h"

typedef struct I8259 {
    IsaDevice isa;
    IrqLine intr;
    struct I8259 *slave;          /* on IR2; NULL for the slave itself */
    /* Where the state lives elsewhere (KVM): brings the fields up to date before an access; sync()
     * takes them back.  NULL: they are the truth. */
    void (*refresh)(struct I8259 *s);
    MemoryRegion ports, elcr_port;
    uint32_t iobase, elcr_addr;
    uint8_t elcr_mask;
    bool master;
    uint8_t last_irr, irr, imr, isr;
    uint8_t priority_add;         /* the IR with the highest priority */
    uint8_t irq_base, read_reg_select, poll, special_mask;
    uint8_t init_state;           /* next ICW to come: 0 none, 1 ICW2, 2 ICW3, 3 ICW4 */
    uint8_t auto_eoi, rotate_on_auto_eoi, special_fully_nested_mode, init4, single_mode, elcr;
    uint64_t raised[8];           /* how often, since the start: for `info irq` */
} I8259;

extern const VmField i8259_fields[];
bool i8259_post_load(void *obj, int version, GError **error);

#endif
