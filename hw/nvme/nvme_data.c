/* SPDX-License-Identifier: MIT */
/*
 * Where a command's data is in guest memory: PRP lists and scatter-gather lists.
 * Spec: [NVMe1.4 4.3 PRP, 4.4 SGL].
 * A list is the guest's, so each is walked with a bound: a PRP list by the length it describes, an SGL
 * by a number of segments and descriptors.  Only RAM is mapped: registers, ROM and holes are a data
 * transfer error, which keeps a hostile guest from pinning bounce buffers.
 * Not modelled: bit buckets, keyed and transport descriptors, metadata.
 * Locking: machine lock.
 */
#include "hw/nvme/nvme_int.h"

enum { PRP_CHUNK = 512, SGL_CHUNK = 256, SGL_SEGMENTS_MAX = 256, SGL_DESC_MAX = 65536, SGL_DESC = 16 };
enum { SGL_DATA = 0, SGL_SEGMENT = 2, SGL_LAST_SEGMENT = 3 };

/* ---- PRP ---- */

/* Neighbouring pages become one part. */
typedef struct Run {
    DmaSg *sg;
    gpa_t addr;
    uint64_t len;
} Run;

static bool run_flush(Run *run)
{
    bool ok = !run->len || dma_sg_add(run->sg, run->addr, run->len);

    run->len = 0;
    return ok;
}

static bool run_add(Run *run, gpa_t addr, uint64_t len)
{
    if (run->len && run->addr + run->len == addr) {
        run->len += len;
        return true;
    }
    if (!run_flush(run)) {
        return false;
    }
    run->addr = addr;
    run->len = len;
    return true;
}

/* The list at LIST for LEN more bytes.  Each page of it but the first describes at least one, so the
 * walk ends however the guest has linked them. */
static uint16_t walk_prp_list(Nvme *n, Run *run, gpa_t list, uint64_t len)
{
    uint64_t page = n->page_size;
    uint8_t entries[PRP_CHUNK * 8];

    if (list & 7) {
        return SC_PRP_OFFSET | SC_DNR;
    }
    while (len) {
        uint64_t room = (page - (list & (page - 1))) / 8, wanted = div_round_up(len, page);
        bool links = wanted > room;
        uint64_t count = links ? room - 1 : wanted;

        for (uint64_t i = 0; i < count; i++) {
            uint64_t entry, bytes = MIN(len, page);

            if (i % PRP_CHUNK == 0 &&
                !dma_read(&n->pci.dev, list + 8 * i, entries, 8 * MIN(count - i, PRP_CHUNK))) {
                return SC_DATA_TRANSFER | SC_DNR;
            }
            entry = le64_load(entries + i % PRP_CHUNK * 8);
            if (entry & (page - 1)) {
                return SC_PRP_OFFSET | SC_DNR;
            }
            if (!run_add(run, entry, bytes)) {
                return SC_DATA_TRANSFER | SC_DNR;
            }
            len -= bytes;
        }
        if (links) {
            if (!dma_read(&n->pci.dev, list + 8 * count, entries, 8)) {
                return SC_DATA_TRANSFER | SC_DNR;
            }
            list = le64_load(entries);
            if (list & (page - 1)) {
                return SC_PRP_OFFSET | SC_DNR;
            }
        }
    }
    return SC_SUCCESS;
}

static uint16_t map_prp(NvmeReq *req, uint64_t len)
{
    Nvme *n = req->n;
    uint64_t page = n->page_size, first = MIN(len, page - (req->cmd.prp1 & (page - 1)));
    Run run = { &req->sg, req->cmd.prp1, first };
    uint16_t status = SC_SUCCESS;

    if (req->cmd.prp1 & 3) {
        return SC_PRP_OFFSET | SC_DNR;
    }
    len -= first;
    if (len > page) {
        status = walk_prp_list(n, &run, req->cmd.prp2, len);
    } else if (len) {
        if (req->cmd.prp2 & (page - 1)) {
            return SC_PRP_OFFSET | SC_DNR;
        }
        if (!run_add(&run, req->cmd.prp2, len)) {
            return SC_DATA_TRANSFER | SC_DNR;
        }
    }
    if (status == SC_SUCCESS && !run_flush(&run)) {
        status = SC_DATA_TRANSFER | SC_DNR;
    }
    return status;
}

/* ---- SGL ---- */

typedef struct SglDesc {
    uint64_t addr;
    uint32_t len;
    uint8_t type, subtype;
} SglDesc;

static SglDesc sgl_desc(const uint8_t *p)
{
    return (SglDesc){ le64_load(p), le32_load(p + 8), p[15] >> 4, p[15] & 0xf };
}

static uint16_t add_data_desc(NvmeReq *req, SglDesc d, uint64_t *left)
{
    if (d.type != SGL_DATA || d.subtype) {
        return SC_SGL_TYPE | SC_DNR;
    }
    if (d.len > *left) {
        return SC_SGL_LENGTH | SC_DNR;
    }
    if (d.len && !dma_sg_add(&req->sg, d.addr, d.len)) {
        return SC_DATA_TRANSFER | SC_DNR;
    }
    *left -= d.len;
    return SC_SUCCESS;
}

/* One segment; *NEXT becomes the one it ends with, where there is one. */
static uint16_t walk_segment(NvmeReq *req, SglDesc segment, uint64_t *left, uint32_t *budget,
                             SglDesc *next)
{
    uint32_t count = segment.len / SGL_DESC;
    uint8_t descs[SGL_CHUNK * SGL_DESC];

    if (!count || segment.len % SGL_DESC) {
        return SC_SGL_SEGMENT | SC_DNR;
    }
    if (count > *budget) {
        return SC_SGL_COUNT | SC_DNR;
    }
    *budget -= count;
    for (uint32_t i = 0; i < count; i++) {
        SglDesc d;
        uint16_t status;

        if (i % SGL_CHUNK == 0 &&
            !dma_read(&req->n->pci.dev, segment.addr + (uint64_t)i * SGL_DESC, descs,
                      SGL_DESC * MIN(count - i, SGL_CHUNK))) {
            return SC_DATA_TRANSFER | SC_DNR;
        }
        d = sgl_desc(descs + i % SGL_CHUNK * SGL_DESC);
        if (d.type == SGL_SEGMENT || d.type == SGL_LAST_SEGMENT) {
            /* 4.4: only as the last of a segment that is not the last one. */
            if (i + 1 < count || segment.type == SGL_LAST_SEGMENT || d.subtype) {
                return SC_SGL_SEGMENT | SC_DNR;
            }
            *next = d;
            return SC_SUCCESS;
        }
        status = add_data_desc(req, d, left);
        if (status != SC_SUCCESS) {
            return status;
        }
    }
    return segment.type == SGL_LAST_SEGMENT ? SC_SUCCESS : SC_SGL_SEGMENT | SC_DNR;
}

static uint16_t map_sgl(NvmeReq *req, uint64_t len)
{
    SglDesc d = sgl_desc(req->cmd.dptr);
    uint32_t budget = SGL_DESC_MAX;
    uint16_t status = SC_SUCCESS;

    if (d.type == SGL_SEGMENT || d.type == SGL_LAST_SEGMENT) {
        for (unsigned hops = 0; d.len && status == SC_SUCCESS; hops++) {
            SglDesc next = { 0 };

            if (hops == SGL_SEGMENTS_MAX) {
                return SC_SGL_COUNT | SC_DNR;
            }
            status = d.subtype ? SC_SGL_TYPE | SC_DNR : walk_segment(req, d, &len, &budget, &next);
            d = next;
        }
    } else {
        status = add_data_desc(req, d, &len);
    }
    if (status == SC_SUCCESS && len) {
        status = SC_SGL_LENGTH | SC_DNR;
    }
    return status;
}

/* ---- both ---- */

uint16_t nvme_map_data(NvmeReq *req, uint64_t len, bool to_guest)
{
    unsigned psdt = req->cmd.flags >> 6;
    uint16_t status;

    if (psdt == 3 || (psdt && req->sq->id == 0)) {
        return SC_INVALID_FIELD | SC_DNR;     /* 4.2: no SGLs for admin commands over PCIe */
    }
    dma_sg_init(&req->sg, &req->n->pci.dev, to_guest);
    req->sg.ram_only = true;
    req->mapped = true;
    status = psdt ? map_sgl(req, len) : map_prp(req, len);
    if (status != SC_SUCCESS) {
        log_guest_error("nvme: command 0x%02x: data pointer refused, status 0x%x\n",
                        req->cmd.opcode, status);
        req->sg.to_memory = false;            /* nothing was written */
        dma_sg_unmap(&req->sg);
        req->mapped = false;
    }
    return status;
}

static void sg_copy(const DmaSg *sg, uint8_t *buf, uint64_t len, bool to_guest)
{
    for (unsigned i = 0; i < sg->iov->len && len; i++) {
        const struct iovec *iov = &g_array_index(sg->iov, struct iovec, i);
        size_t n = MIN(iov->iov_len, len);

        memcpy(to_guest ? iov->iov_base : buf, to_guest ? buf : iov->iov_base, n);
        buf += n;
        len -= n;
    }
}

bool nvme_sg_equal(const DmaSg *sg, uint64_t offset, const void *buf, uint64_t len)
{
    const uint8_t *p = buf;

    for (unsigned i = 0; i < sg->iov->len && len; i++) {
        const struct iovec *iov = &g_array_index(sg->iov, struct iovec, i);
        size_t n;

        if (offset >= iov->iov_len) {
            offset -= iov->iov_len;
            continue;
        }
        n = MIN(iov->iov_len - offset, len);
        if (memcmp((const uint8_t *)iov->iov_base + offset, p, n)) {
            return false;
        }
        offset = 0;
        p += n;
        len -= n;
    }
    return true;
}

static uint16_t transfer(NvmeReq *req, void *buf, uint32_t len, bool to_guest)
{
    uint16_t status = len ? nvme_map_data(req, len, to_guest) : SC_SUCCESS;

    if (status == SC_SUCCESS && len) {
        sg_copy(&req->sg, buf, len, to_guest);
        dma_sg_unmap(&req->sg);
        req->mapped = false;
    }
    return status;
}

uint16_t nvme_to_guest(NvmeReq *req, const void *buf, uint32_t len)
{
    return transfer(req, (void *)buf, len, true);
}

uint16_t nvme_from_guest(NvmeReq *req, void *buf, uint32_t len)
{
    return transfer(req, buf, len, false);
}
