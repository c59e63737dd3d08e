/* SPDX-License-Identifier: MIT */
/*
 * NVM Express controller ("nvme"): registers, doorbells, life cycle.
 * Spec: NVM Express 1.4 chapters 3 and 7; properties, identity and limits are QEMU 7.2's.
 * Missing: controller memory buffer, persistent memory region, SR-IOV, subsystems, zones, metadata; they are
 * not announced, and their properties do not exist.  A VM with this device cannot be saved, as with QEMU 7.2.
 * Locking: machine lock, but for the doorbells: a vCPU stores the value and wakes the main loop.
 */
#include "base/error.h"
#include "hw/nvme/nvme_int.h"
#include "vm/vm.h"

enum { EXP_CAP = 0x80, EXP_CAP_LEN = 0x3c, EXP_DEVCTL = 8, DEVCTL_FLR = BIT(15), PM_CAP = 0x60 };
enum { BAR_PAGE = 4096 };

/* ---- interrupts ---- */

/* Without MSI-X, the pin is up while an interrupting queue has entries the guest has not consumed. */
void nvme_update_pin(Nvme *n)
{
    bool any = false, level = false;

    if (!msix_enabled(&n->pci)) {
        for (uint32_t i = 0; i <= n->top_qid; i++) {
            const NvmeCq *cq = n->cqs[i];

            if (cq && cq->irq_enabled && cq->head != cq->tail) {
                any = true;
                level |= cq->vector < 32 && !(n->intms & BIT(cq->vector));
            }
        }
    }
    __atomic_store_n(&n->pin_raised, any, __ATOMIC_SEQ_CST);
    pci_set_irq(&n->pci, level);
}

static void nvme_sync(Device *dev)
{
    Nvme *n = DEVICE_CAST(Nvme, dev);

    if (n->cqs) {
        nvme_update_pin(n);
    }
}

/* ---- the bottom half ---- */

void nvme_kick(Nvme *n)
{
    bh_schedule(n->bh);
}

static void run_queues(void *opaque)
{
    Nvme *n = opaque;

    if (!(n->csts & CSTS_RDY) || (n->csts & CSTS_CFS) || !(n->cc & CC_EN)) {
        return;
    }
    if (nvme_queues_run(n)) {
        bh_schedule(n->bh);
    }
    nvme_update_pin(n);
}

void nvme_fatal(Nvme *n, const char *why)
{
    log_guest_error("nvme: %s: controller fatal status\n", why);
    n->csts |= CSTS_CFS;
}

/* ---- enable, disable, shut down ---- */

/* What keeps the controller from starting; NULL: nothing. */
static const char *config_error(const Nvme *n)
{
    uint32_t mps = CC_MPS(n->cc), css = CC_CSS(n->cc);
    uint64_t mask = (4096ull << mps) - 1;

    return mps > NVME_MPSMAX                                        ? "CC.MPS is above CAP.MPSMAX"
           : css != CSS_NVM && css != CSS_CSI && css != CSS_ADMIN   ? "CC.CSS is none of 0, 6, 7"
           : CC_AMS(n->cc)                                          ? "CC.AMS is not round robin"
           : (n->asq & mask) || (n->acq & mask)                     ? "ASQ or ACQ is not page-aligned"
           : !bits_get(n->aqa, 0, 12) || !bits_get(n->aqa, 16, 12)  ? "AQA holds a queue of one entry"
                                                                    : NULL;
}

static void start(Nvme *n)
{
    const char *why = config_error(n);

    if (why) {
        nvme_fatal(n, why);
        return;
    }
    n->page_size = 4096u << CC_MPS(n->cc);
    nvme_cq_new(n, 0, bits_get(n->aqa, 16, 12) + 1, n->acq, 0, true);
    nvme_sq_new(n, 0, 0, bits_get(n->aqa, 0, 12) + 1, n->asq);
    n->csts |= CSTS_RDY;
}

/* Everything but AQA, ASQ and ACQ.  [7.3.2] */
static void forget(Nvme *n)
{
    nvme_queues_clear(n);
    n->intms = 0;
    n->async_config = 0;
    n->temp_high = 0x157;
    n->temp_low = 0;
    n->timestamp = 0;
    n->timestamp_at = clock_now(n->pci.dev.vm->clock);
    n->timestamp_set = false;
    memset(n->recovery, 0, sizeof(n->recovery));
    memset(n->changed_ns, 0, sizeof(n->changed_ns));
    n->csts &= CSTS_RDY;
    nvme_update_pin(n);
}

void nvme_orphans_gone(Nvme *n)
{
    if (!(n->cc & CC_EN)) {
        n->csts &= ~CSTS_RDY;
    } else if (!(n->csts & (CSTS_RDY | CSTS_CFS))) {
        start(n);
    }
}

static void flushed(void *opaque, int ret)
{
    Nvme *n = opaque;

    if (--n->flushes == 0 && (n->csts & CSTS_SHST) == CSTS_SHST_BUSY) {
        n->csts = (n->csts & ~CSTS_SHST) | CSTS_SHST_DONE;
    }
}

static void shut_down(Nvme *n)
{
    n->csts = (n->csts & ~CSTS_SHST) | CSTS_SHST_BUSY;
    n->flushes++;
    for (uint32_t i = 1; i <= NVME_MAX_NS; i++) {
        if (nvme_ns_get(n, i)) {
            n->flushes++;
            blk_aio_flush(n->ns[i]->conf.blk, flushed, n);
        }
    }
    flushed(n, 0);
}

static void cc_write(Nvme *n, uint32_t value)
{
    uint32_t was = n->cc;

    n->cc = value;
    if ((was & CC_EN) && !(value & CC_EN)) {
        forget(n);
        if (!n->orphans) {
            n->csts &= ~CSTS_RDY;
        }
    } else if (!(was & CC_EN) && (value & CC_EN) && !n->orphans) {
        start(n);
    }
    if (CC_SHN(value) && !CC_SHN(was) && !(n->csts & CSTS_SHST)) {
        shut_down(n);
    } else if (!CC_SHN(value) && CC_SHN(was)) {
        n->csts &= ~CSTS_SHST;
    }
}

/* ---- registers ---- */

static uint64_t capabilities(const Nvme *n)
{
    return NVME_MQES | BIT(16) | 15ull << 24 |                    /* contiguous; 7.5 s to get ready */
           (uint64_t)(BIT(0) | BIT(6) | BIT(7)) << 37 |           /* NVM, others, admin only */
           (uint64_t)NVME_MPSMAX << 52;
}

static uint32_t reg_read(const Nvme *n, uint32_t reg)
{
    switch (reg) {
    case NVME_CAP:
        return (uint32_t)capabilities(n);
    case NVME_CAP + 4:
        return (uint32_t)(capabilities(n) >> 32);
    case NVME_VS:
        return NVME_VERSION;
    case NVME_INTMS:
    case NVME_INTMC:
        return n->intms;
    case NVME_CC:
        return n->cc;
    case NVME_CSTS:
        return n->csts;
    case NVME_AQA:
        return n->aqa;
    case NVME_ASQ:
        return (uint32_t)n->asq;
    case NVME_ASQ + 4:
        return (uint32_t)(n->asq >> 32);
    case NVME_ACQ:
        return (uint32_t)n->acq;
    case NVME_ACQ + 4:
        return (uint32_t)(n->acq >> 32);
    default:
        return 0;
    }
}

static void half_write(uint64_t *reg, bool high, uint32_t value)
{
    *reg = bits_set(*reg, high ? 32 : 0, 32, high ? value : value & ~0xfffu);
}

static void reg_write(Nvme *n, uint32_t reg, uint32_t value)
{
    switch (reg) {
    case NVME_INTMS:
    case NVME_INTMC:
        if (msix_enabled(&n->pci)) {
            log_guest_error("nvme: INTMS and INTMC are undefined while MSI-X is enabled\n");
            return;
        }
        n->intms = reg == NVME_INTMS ? n->intms | value : n->intms & ~value;
        break;
    case NVME_CC:
        cc_write(n, value);
        break;
    case NVME_NSSR:                   /* CAP.NSSRS is 0: reserved */
        break;
    case NVME_AQA:
        n->aqa = value & 0x0fff0fff;
        break;
    case NVME_ASQ:
    case NVME_ASQ + 4:
        half_write(&n->asq, reg & 4, value);
        break;
    case NVME_ACQ:
    case NVME_ACQ + 4:
        half_write(&n->acq, reg & 4, value);
        break;
    default:
        log_guest_error("nvme: write of 0x%x to read-only or unknown register 0x%x\n", value, reg);
    }
}

static uint64_t regs_read(void *opaque, uint64_t offset, unsigned size)
{
    uint64_t value = reg_read(opaque, (uint32_t)offset & ~3u) >> (8 * (offset & 3));

    return size == 8 ? value | (uint64_t)reg_read(opaque, (uint32_t)offset + 4) << 32 : value;
}

static void regs_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    reg_write(opaque, (uint32_t)offset, (uint32_t)value);
    if (size == 8) {
        reg_write(opaque, (uint32_t)offset + 4, (uint32_t)(value >> 32));
    }
    nvme_update_pin(opaque);
}

static const MmioOps regs_ops = { regs_read, regs_write, .valid_min = 4, .valid_max = 8,
                                  .impl_min = 4, .impl_max = 8 };

/* ---- doorbells: without the machine lock ---- */

static uint64_t doorbell_read(void *opaque, uint64_t offset, unsigned size)
{
    return 0;                         /* 3.1.24: the value read is vendor specific */
}

static void doorbell_refused(Nvme *n, unsigned index, uint32_t value, uint32_t limit)
{
    bool locked = machine_lock_if_needed();

    log_guest_error("nvme: %s doorbell %u: value %u, the queue has %u entries\n",
                    index & 1 ? "completion" : "submission", index / 2, value, limit);
    nvme_event(n, EVENT_ERROR, limit ? ERROR_BAD_VALUE : ERROR_BAD_DOORBELL, LOG_ERROR);
    if (locked) {
        machine_unlock();
    }
}

static void doorbell_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Nvme *n = opaque;
    unsigned index = (unsigned)offset / 4;
    uint32_t limit = __atomic_load_n(&n->limits[index], __ATOMIC_SEQ_CST);

    if (value >= limit) {
        doorbell_refused(n, index, (uint32_t)value, limit);
        return;
    }
    __atomic_store_n(&n->doorbells[index], (uint32_t)value, __ATOMIC_SEQ_CST);
    if (!(index & 1)) {
        bh_schedule(n->bh);
        return;
    }
    if (__atomic_load_n(&n->cq_waits, __ATOMIC_SEQ_CST)) {
        bh_schedule(n->bh);
    }
    if (__atomic_load_n(&n->pin_raised, __ATOMIC_SEQ_CST)) {
        /* The pin has to be down before the guest's handler returns. */
        bool locked = machine_lock_if_needed();

        nvme_cq_heads(n);
        nvme_update_pin(n);
        if (locked) {
            machine_unlock();
        }
    }
}

static const MmioOps doorbell_ops = { doorbell_read, doorbell_write, .valid_min = 4, .valid_max = 4,
                                      .impl_min = 4, .impl_max = 4, .lockless = true };

/* ---- configuration space ---- */

static void function_reset(Nvme *n)
{
    n->cc = 0;
    forget(n);
    n->aqa = 0;
    n->asq = n->acq = 0;
    if (!n->orphans) {
        n->csts = 0;
    }
}

static void nvme_config_write(PciDevice *pci, uint32_t offset, uint32_t value, unsigned len)
{
    Nvme *n = (Nvme *)(void *)pci;
    uint32_t devctl = EXP_CAP + EXP_DEVCTL;
    uint16_t wanted;

    pci_default_config_write(pci, offset, value, len);
    wanted = le16_load(pci->config + devctl);
    if (wanted & DEVCTL_FLR) {
        le16_store(pci->config + devctl, wanted & ~DEVCTL_FLR);
        function_reset(n);
    }
    nvme_update_pin(n);
}

/* The capabilities in QEMU's places; the Express one describes an endpoint without a real link. */
static bool add_capabilities(Nvme *n, GError **error)
{
    PciDevice *pci = &n->pci;
    uint8_t *c = pci->config, *w = pci->wmask;
    uint32_t table = BAR_PAGE + (uint32_t)align_up(8ull * (n->max_ioqpairs + 1), BAR_PAGE);
    uint32_t pba = table + (uint32_t)align_up(16ull * n->msix_qsize, BAR_PAGE);
    uint64_t size = pba + align_up(div_round_up(n->msix_qsize, 64) * 8, BAR_PAGE);

    pci->pm_cap = pci_add_capability(pci, PCI_CAP_ID_PM, PM_CAP, 8, error);
    pci->exp_cap = pci->pm_cap ? pci_add_capability(pci, PCI_CAP_ID_EXP, EXP_CAP, EXP_CAP_LEN, error) : 0;
    if (!pci->exp_cap) {
        return false;
    }
    le16_store(c + PM_CAP + 2, 3);                /* PCI power management 1.2 */
    le16_store(c + PM_CAP + 4, BIT(3));           /* no soft reset */
    le16_store(w + PM_CAP + 4, 3);
    le16_store(c + EXP_CAP + 2, 2);               /* version 2, endpoint */
    le32_store(c + EXP_CAP + 4, BIT(28) | BIT(15));       /* function level reset, error reporting */
    le16_store(w + EXP_CAP + EXP_DEVCTL, DEVCTL_FLR | 0x000f);
    le32_store(c + EXP_CAP + 12, 0x411);
    le16_store(c + EXP_CAP + 18, 0x11);
    le32_store(c + EXP_CAP + 0x24, 0x300000);

    memory_region_init(&n->bar0, OBJECT(n), "nvme-bar0", (uint64_t)1 << (g_bit_storage(size - 1)));
    memory_region_init_io(&n->regs_mr, OBJECT(n), "nvme", &regs_ops, n, BAR_PAGE);
    memory_region_add(&n->bar0, 0, &n->regs_mr);
    memory_region_init_io(&n->doorbell_mr, OBJECT(n), "nvme-doorbells", &doorbell_ops, n,
                          8ull * (n->max_ioqpairs + 1));
    memory_region_add(&n->bar0, NVME_DOORBELLS, &n->doorbell_mr);
    pci_register_bar(pci, 0, PCI_BASE_ADDRESS_SPACE_MEMORY | PCI_BASE_ADDRESS_MEM_TYPE_64, &n->bar0);
    return msix_init(pci, n->msix_qsize, &n->bar0, 0, table, &n->bar0, 0, pba, 0, error);
}

/* ---- life cycle ---- */

static void state_changed(void *opaque, bool running, RunState state)
{
    Nvme *n = opaque;

    /* Those that fail again come back to the list: only as many as there were. */
    for (unsigned left = running ? n->retries.length : 0; left && n->retries.length; left--) {
        NvmeReq *req = g_queue_pop_head(&n->retries);

        req->waits = false;
        req->step(req);
    }
}

static void drain(Nvme *n)
{
    for (uint32_t i = 1; i <= NVME_MAX_NS; i++) {
        if (n->ns[i]) {
            blk_drain(n->ns[i]->conf.blk);
        }
    }
}

static void nvme_reset_enter(Device *dev)
{
    Nvme *n = DEVICE_CAST(Nvme, dev);

    function_reset(n);
    drain(n);                         /* nothing writes to memory after a system reset */
    n->csts = 0;
}

static void release(Nvme *n)
{
    g_clear_pointer(&n->bh, bh_free);
    g_clear_pointer(&n->sqs, g_free);
    g_clear_pointer(&n->cqs, g_free);
    g_clear_pointer(&n->doorbells, g_free);
    g_clear_pointer(&n->limits, g_free);
    g_clear_pointer(&n->events, g_free);
}

static bool check_props(Nvme *n, GError **error)
{
    if (!n->serial || !*n->serial) {
        return error_set(error, "nvme needs serial=TEXT, at most 20 characters");
    }
    if (strlen(n->serial) > 20) {
        return error_set(error, "nvme: serial '%s' has more than 20 characters", n->serial);
    }
    if (n->max_ioqpairs < 1 || n->max_ioqpairs > 65535) {
        return error_set(error, "nvme: max_ioqpairs=%u must be between 1 and 65535", n->max_ioqpairs);
    }
    if (n->msix_qsize < 1 || n->msix_qsize > 2048) {
        return error_set(error, "nvme: msix_qsize=%u must be between 1 and 2048", n->msix_qsize);
    }
    if (n->mdts > 16 || n->vsl > 16) {
        return error_set(error, "nvme: mdts=%u, vsl=%u must be at most 16 (2^16 pages of 4 KiB)",
                         n->mdts, n->vsl);
    }
    if (n->aer_max_queued > 65536) {
        return error_set(error, "nvme: aer_max_queued=%u must be at most 65536", n->aer_max_queued);
    }
    return true;
}

static bool nvme_realize(Device *dev, GError **error)
{
    Nvme *n = DEVICE_CAST(Nvme, dev);

    if (!check_props(n, error)) {
        return false;
    }
    if (n->use_intel_id) {
        le16_store(n->pci.config + PCI_VENDOR_ID, PCI_VENDOR_INTEL);
        le16_store(n->pci.config + PCI_DEVICE_ID, 0x5845);
    }
    n->sqs = g_new0(NvmeSq *, n->max_ioqpairs + 1);
    n->cqs = g_new0(NvmeCq *, n->max_ioqpairs + 1);
    n->doorbells = g_new0(uint32_t, 2 * (n->max_ioqpairs + 1));
    n->limits = g_new0(uint32_t, 2 * (n->max_ioqpairs + 1));
    n->events = g_new0(NvmeEvent, n->aer_max_queued);
    n->page_size = 4096;
    n->bh = bh_new(event_loop_main(), run_queues, n);
    g_queue_init(&n->retries);
    g_queue_init(&n->aers);
    bus_init(&n->bus, &bus_nvme, dev, dev->vm, dev->id);
    n->own_ns.nsid = 1;
    n->own_ns.mssrl = n->own_ns.mcl = NVME_COPY_BLOCKS;
    n->own_ns.msrc = NVME_COPY_RANGES - 1;
    if ((n->own_ns.conf.drive && !nvme_ns_attach(n, &n->own_ns, dev, error)) ||
        !add_capabilities(n, error)) {
        if (n->own_ns.ctrl) {
            nvme_ns_detach(&n->own_ns);
        }
        bus_clear(&n->bus);
        release(n);
        return false;
    }
    n->power_on_ns = clock_now(dev->vm->clock);
    vm_add_state_hook(dev->vm, state_changed, n);
    return true;
}

static void nvme_unrealize(Device *dev)
{
    Nvme *n = DEVICE_CAST(Nvme, dev);

    vm_del_state_hook(dev->vm, state_changed, n);
    function_reset(n);
    drain(n);
    bus_clear(&n->bus);
    if (n->own_ns.ctrl) {
        nvme_ns_detach(&n->own_ns);
    }
    msix_uninit(&n->pci);
    release(n);
}

static const PciInfo nvme_info = {
    .vendor_id = PCI_VENDOR_REDHAT,
    .device_id = 0x0010,
    .revision = 2,
    .class_id = PCI_CLASS_STORAGE_EXPRESS,
    .prog_if = 2,
    .is_express = true,
    .interrupt_pin = 1,
    .config_write = nvme_config_write,
};

/* clang-format off */
static const PropDef nvme_props[] = {
    NVME_NS_PROPS(Nvme, own_ns),
    PROP_STR("serial", Nvme, serial),
    PROP_U32("max_ioqpairs", Nvme, max_ioqpairs, 64),
    PROP_U16("msix_qsize", Nvme, msix_qsize, 65),
    PROP_U8("aerl", Nvme, aerl, 3),
    PROP_U32("aer_max_queued", Nvme, aer_max_queued, 64),
    PROP_U8("mdts", Nvme, mdts, 7),
    PROP_U8("vsl", Nvme, vsl, 7),
    PROP_BOOL("use-intel-id", Nvme, use_intel_id, false),
    PROP_U8("smart_critical_warning", Nvme, critical_warning, 0, .flags = PROP_LIVE),
    PROP_END
};
/* clang-format on */
static const VmField nvme_fields[] = { VMS_END };

DEVICE_TYPE(nvme, .name = "nvme", .parent = "pci-device", .size = sizeof(Nvme),
            .desc = "Non-Volatile Memory Express", .bus = &bus_pci, .bus_info = &nvme_info,
            .category = DEVICE_CATEGORY_STORAGE, .user_creatable = true, .props = nvme_props,
            .realize = nvme_realize, .unrealize = nvme_unrealize, .reset_enter = nvme_reset_enter,
            .sync = nvme_sync, .vmstate = VMSTATE("nvme", 0, 0, nvme_fields, .unmigratable = true));
