/* SPDX-License-Identifier: MIT */
/*
 * IDENTIFY: what the controller and its namespaces say of themselves.
 * Spec: [NVMe1.4 5.15], and the I/O command sets of TP4056 as far as one set needs them.
 * Locking: machine lock.
 */
#include "hw/nvme/nvme_int.h"

enum { ID_NSID_MAX = NVME_ID_LEN / 4 };

static void put_text(uint8_t *p, const char *text, unsigned len)
{
    memset(p, ' ', len);
    memcpy(p, text, MIN(strlen(text), len));
}

/* Two formats; a third where logical_block_size= is neither. */
static unsigned format_index(const NvmeNs *ns)
{
    return ns->lba_shift == 9 ? 0 : ns->lba_shift == 12 ? 1 : 2;
}

static void put_controller(const Nvme *n, uint8_t *id)
{
    const uint8_t *config = n->pci.config;

    memcpy(id, config + PCI_VENDOR_ID, 2);
    memcpy(id + 2, config + PCI_SUBSYSTEM_VENDOR_ID, 2);
    put_text(id + 4, n->serial, 20);
    put_text(id + 24, "QEMU NVMe Ctrl", 40);
    put_text(id + 64, "7.2.22", 8);
    id[72] = 6;                               /* RAB: recommended arbitration burst */
    id[74] = 0x54;                            /* IEEE OUI 52-54-00 */
    id[75] = 0x52;
    id[77] = n->mdts;
    le32_store(id + 80, NVME_VERSION);
    le32_store(id + 92, EVENTS_NS_CHANGED);   /* OAES */
    id[111] = 1;                              /* an I/O controller */
    le16_store(id + 256, BIT(8) | BIT(3) | BIT(1));   /* doorbell buffers, attachment, format */
    id[258] = NVME_ABORT_LIMIT;
    id[259] = n->aerl;
    id[260] = 3;                              /* one firmware slot, read-only */
    id[261] = 7;                              /* logs: per namespace, effects, extended */
    id[262] = NVME_ERRORS - 1;
    le16_store(id + 266, 0x157);
    le16_store(id + 268, 0x175);
    id[512] = 0x66;
    id[513] = 0x44;
    le32_store(id + 516, NVME_MAX_NS);
    /* Compare, DSM, write zeroes, "select" of features, timestamp, verify, copy. */
    le16_store(id + 520, BIT(0) | BIT(2) | BIT(3) | BIT(4) | BIT(6) | BIT(7) | BIT(8));
    id[525] = 7;                              /* write cache; flush of all namespaces */
    le16_store(id + 534, 1);                  /* format 0 of COPY's ranges */
    le32_store(id + 536, 1);                  /* SGLs */
    g_snprintf((char *)id + 768, 256, "nqn.2019-08.org.qemu:%s", n->serial);
    le16_store(id + 2048, 0x9c4);             /* power state 0: 25 W */
    le32_store(id + 2052, 0x10);
    le32_store(id + 2056, 4);
}

static void put_namespace(const NvmeNs *ns, uint8_t *id)
{
    uint64_t blocks = nvme_ns_blocks(ns), granularity = ns->conf.discard_granularity;

    if (granularity == UINT32_MAX || granularity < BIT64(ns->lba_shift)) {
        granularity = MAX(4096, BIT64(ns->lba_shift));
    }
    for (unsigned i = 0; i < 3; i++) {
        le64_store(id + 8 * i, blocks);       /* size, capacity, use */
    }
    id[24] = BIT(4);                          /* NPWG..NOWS are valid */
    id[25] = format_index(ns) == 2 ? 2 : 1;
    id[26] = (uint8_t)format_index(ns);
    id[33] = 1 | BIT(3);                      /* deallocated reads zero; WRITE ZEROES deallocates */
    le64_store(id + 48, blk_length(ns->conf.blk));
    le16_store(id + 68, (uint16_t)MIN((granularity >> ns->lba_shift) - 1, UINT16_MAX));
    le16_store(id + 70, (uint16_t)MIN((granularity >> ns->lba_shift) - 1, UINT16_MAX));
    le16_store(id + 74, ns->mssrl);
    le32_store(id + 76, ns->mcl);
    id[80] = ns->msrc;
    id[99] = blk_is_writable(ns->conf.blk) ? 0 : 1;
    be64_store(id + 120, ns->eui64);
    id[130] = 9;
    id[134] = 12;
    if (format_index(ns) == 2) {
        id[138] = ns->lba_shift;
    }
}

/* NIDT, NIDL, two reserved bytes, the identifier. */
static uint8_t *put_descriptor(uint8_t *p, uint8_t type, const void *value, uint8_t len)
{
    p[0] = type;
    p[1] = len;
    memcpy(p + 4, value, len);
    return p + 4 + len;
}

static void put_descriptors(const NvmeNs *ns, uint8_t *id)
{
    static const uint8_t no_uuid[16];
    uint8_t eui[8], set = 0;

    if (memcmp(ns->uuid, no_uuid, sizeof(no_uuid))) {
        id = put_descriptor(id, 3, ns->uuid, 16);
    }
    if (ns->eui64) {
        be64_store(eui, ns->eui64);
        id = put_descriptor(id, 1, eui, 8);
    }
    put_descriptor(id, 4, &set, 1);
}

static void put_list(const Nvme *n, uint32_t above, bool attached_only, uint8_t *id)
{
    unsigned used = 0;

    for (uint32_t i = above + 1; i <= NVME_MAX_NS && used < ID_NSID_MAX; i++) {
        if (n->ns[i] && !(attached_only && n->ns[i]->detached)) {
            le32_store(id + 4 * used++, i);
        }
    }
}

uint16_t nvme_identify(NvmeReq *req)
{
    Nvme *n = req->n;
    uint32_t nsid = req->cmd.nsid;
    uint8_t cns = req->cmd.cdw10, csi = req->cmd.cdw11 >> 24;
    g_autofree uint8_t *id = g_malloc0(NVME_ID_LEN);
    bool valid = nsid >= 1 && nsid <= NVME_MAX_NS;
    const NvmeNs *ns = valid ? n->ns[nsid] : NULL;

    switch (cns) {
    case 0x00: case 0x03: case 0x05:          /* of an active namespace */
    case 0x11:                                /* of an allocated one */
        if (!valid) {
            return SC_INVALID_NS | SC_DNR;
        }
        if (cns != 0x11 && ns && ns->detached) {
            ns = NULL;
        }
        if (cns == 0x03 && !ns) {
            return SC_INVALID_FIELD | SC_DNR;
        }
        if (cns == 0x05 && (csi != 0 || !ns)) {
            return SC_INVALID_FIELD | SC_DNR;
        }
        if (cns == 0x03) {
            put_descriptors(ns, id);
        } else if (ns && cns != 0x05) {
            put_namespace(ns, id);            /* an inactive one is all zeroes */
        }
        break;
    case 0x01:
        put_controller(n, id);
        break;
    case 0x06:                                /* of the NVM command set */
        if (csi != 0) {
            return SC_INVALID_FIELD | SC_DNR;
        }
        id[0] = n->vsl;
        break;
    case 0x02: case 0x07: case 0x10: case 0x1a:
        if (nsid >= NVME_NSID_ALL - 1) {
            return SC_INVALID_NS | SC_DNR;
        }
        if ((cns == 0x07 || cns == 0x1a) && csi != 0) {
            return SC_INVALID_FIELD | SC_DNR;
        }
        put_list(n, MIN(nsid, NVME_MAX_NS), cns == 0x02 || cns == 0x07, id);
        break;
    case 0x1c:                                /* combinations of command sets: NVM alone */
        id[0] = 1;
        break;
    default:
        return SC_INVALID_FIELD | SC_DNR;
    }
    return nvme_to_guest(req, id, NVME_ID_LEN);
}
