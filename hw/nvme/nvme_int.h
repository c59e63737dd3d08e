/* SPDX-License-Identifier: MIT */
/*
 * Between the files of hw/nvme.
 *
 *   doorbell (any vCPU, no lock) -> tail stored, bottom half scheduled
 *   bottom half (main loop):  fetch -> NvmeReq -> table row runs
 *     data: nvme_map_data() makes host iovecs of guest memory, the block layer moves into them
 *     end:  nvme_complete() -> the completion queue's list -> posted, one interrupt a batch
 *
 * A request belongs to its submission queue while it runs.  A reset makes the requests that the
 * block layer still has orphans (sq == NULL): they end quietly, and the controller becomes ready
 * again only when the last one has, so none writes to memory of the next owner.
 *
 * Thread rule: machine lock; block completions come on the main loop, which holds it.  The doorbell
 * array alone is written without (atomically).
 */
#ifndef HW_NVME_NVME_INT_H
#define HW_NVME_NVME_INT_H

#include "base/event_loop.h"
#include "base/log.h"
#include "hw/block/block_conf.h"
#include "hw/nvme/nvme_regs.h"
#include "hw/pci/pci.h"

typedef struct Nvme Nvme;
typedef struct NvmeReq NvmeReq;
typedef struct NvmeNs NvmeNs;

/* ---- namespaces ---- */

/* What the host moved since the namespace is there: reads, then writes. */
typedef struct NvmeTraffic {
    uint64_t bytes, commands;
} NvmeTraffic;

struct NvmeNs {
    Device *dev;              /* the controller or the nvme-ns */
    Nvme *ctrl;
    BlockConf conf;
    uint32_t nsid;            /* 0: to be given by the controller */
    uint8_t lba_shift;        /* from format or logical_block_size */
    bool detached;            /* property; afterwards: the present state */
    uint8_t uuid[16];         /* all 0: none */
    uint64_t eui64;
    bool formatting;
    uint16_t mssrl;           /* of COPY: blocks of a range, of all, and ranges but one */
    uint32_t mcl;
    uint8_t msrc;
    NvmeTraffic traffic[2];
};

static inline uint64_t nvme_ns_blocks(const NvmeNs *ns)
{
    return blk_length(ns->conf.blk) >> ns->lba_shift;
}

enum { NVME_COPY_BLOCKS = 128, NVME_COPY_RANGES = 128 };

/* clang-format off */
#define NVME_NS_PROPS(T, n) \
    PROP_STR("drive", T, n.conf.drive, .help = "Node name or ID of a block device to use as a backend"), \
    PROP_SIZE("logical_block_size", T, n.conf.logical_block_size, 0, .help = "A power of two between 512 B and 2 MiB"), \
    PROP_SIZE("physical_block_size", T, n.conf.physical_block_size, 0, .help = "A power of two between 512 B and 2 MiB"), \
    PROP_SIZE("min_io_size", T, n.conf.min_io_size, 0), \
    PROP_SIZE("opt_io_size", T, n.conf.opt_io_size, 0), \
    PROP_SIZE("discard_granularity", T, n.conf.discard_granularity, UINT32_MAX), \
    PROP_I32("bootindex", T, n.conf.bootindex, -1), \
    PROP_ON_OFF_AUTO("write-cache", T, n.conf.write_cache, ON_OFF_AUTO_AUTO), \
    PROP_BOOL("share-rw", T, n.conf.share_rw, false)
/* clang-format on */

/* Takes a place at the controller (ns->nsid, or the first free one). */
bool nvme_ns_attach(Nvme *n, NvmeNs *ns, Device *dev, GError **error);
void nvme_ns_detach(NvmeNs *ns);
extern const BusType bus_nvme;

/* ---- commands ---- */

typedef struct NvmeCmd {
    uint8_t opcode, flags;
    uint16_t cid;
    uint32_t nsid;
    uint64_t prp1, prp2;      /* or the SGL descriptor */
    uint32_t cdw10, cdw11, cdw12, cdw13, cdw14, cdw15;
    uint8_t dptr[16];
} NvmeCmd;

typedef struct NvmeSq {
    uint16_t id, cqid;
    uint32_t size, head, tail;
    gpa_t base;
    uint32_t outstanding;     /* fetched and not posted */
    uint32_t running;         /* of these, those not completed */
    GQueue reqs;              /* NvmeReq, all outstanding ones */
    NvmeReq *delete_req;      /* DELETE SQ waits for running == 0 */
} NvmeSq;

typedef struct NvmeCq {
    uint16_t id, vector;
    uint32_t size, head, tail;
    gpa_t base;
    bool phase, irq_enabled, notify;
    uint32_t sqs;             /* that complete here */
    GQueue done;              /* NvmeReq, to be posted */
} NvmeCq;

struct NvmeReq {
    GList link, done_link;    /* in sq->reqs; in a CQ's done */
    bool done;
    Nvme *n;
    NvmeSq *sq;               /* NULL: an orphan */
    NvmeNs *ns;
    NvmeCmd cmd;
    uint32_t result;
    uint16_t status;
    bool mapped, waits;       /* waits: on n->retries */
    DmaSg sg;
    BlkRequest *aio;
    NvmeReq *abort;           /* the command that asks for an early end of this one, and ends with it */
    void (*step)(NvmeReq *req);   /* issues, and after a stop repeats, the next piece of work */
    uint64_t offset, left;    /* bytes on the medium */
    uint32_t piece;           /* bytes in flight */
    uint32_t index, count;    /* ranges of DSM, namespaces of a broadcast flush */
    uint64_t moved;           /* bytes compared or verified, or copied of the range */
    bool writes;              /* COPY: the piece is read, and is to be written */
    uint8_t lba_shift;        /* COPY: as it began */
    uint8_t *buf;             /* ranges, or what is compared */
    struct iovec iov;
};

typedef struct NvmeEvent {
    uint8_t type, info, log_page;
} NvmeEvent;

/* RUNNING_MAX: slots of the controller, whatever the queues' sizes. */
enum { NVME_ERRORS = 16, NVME_ERROR_LEN = 64, NVME_RUNNING_MAX = 1024,
       NVME_ABORT_LIMIT = 3 /* 0-based */ };

struct Nvme {
    PciDevice pci;
    Bus bus;
    MemoryRegion bar0, regs_mr, doorbell_mr;
    NvmeNs own_ns;            /* drive= */
    NvmeNs *ns[NVME_MAX_NS + 1];
    uint32_t changed_ns[8];   /* bitmap by nsid - 1 */
    Bh *bh;

    /* properties */
    char *serial;
    uint32_t max_ioqpairs;
    uint16_t msix_qsize;
    uint8_t aerl, mdts, vsl, critical_warning;
    uint32_t aer_max_queued;
    bool use_intel_id;

    /* registers */
    uint64_t asq, acq;
    uint32_t cc, csts, aqa, intms;

    NvmeSq **sqs;             /* max_ioqpairs + 1 */
    NvmeCq **cqs;
    uint32_t top_qid;         /* no queue has a higher number */
    uint32_t *doorbells;      /* 2 * (max_ioqpairs + 1), atomic */
    uint32_t *limits;         /* likewise: size of the doorbell's queue, 0: there is none */
    bool pin_raised;          /* atomic: a moved CQ head may drop the pin */
    bool cq_waits;            /* atomic: a moved CQ head makes room that is wanted */
    uint32_t running;         /* requests that the block layer has */
    uint32_t orphans;
    uint32_t page_size;
    unsigned flushes;         /* of a shutdown, under way */
    unsigned aborts;          /* that wait for their command */
    bool dbbuf;
    bool admin_shadow;        /* the guest keeps shadow doorbells for the admin queue, too */
    uint32_t admin_value;     /* what the one of its SQ was at first */
    gpa_t dbs_addr, eis_addr;
    GQueue retries;           /* an I/O error stopped the VM */

    /* asynchronous events */
    GQueue aers;              /* NvmeReq */
    NvmeEvent *events;        /* ring of aer_max_queued */
    uint32_t event_first, event_count;
    uint8_t event_mask;       /* types reported whose log was not read */

    uint64_t error_count;     /* entries of the error log ever made; the last ones are there */
    uint8_t errors[NVME_ERRORS][NVME_ERROR_LEN];

    /* features */
    uint32_t async_config;
    uint16_t temp_high, temp_low, recovery[NVME_MAX_NS + 1];
    uint64_t timestamp;       /* as set, and when */
    int64_t timestamp_at;
    bool timestamp_set;
    int64_t power_on_ns;
};

/* ---- nvme.c ---- */

void nvme_kick(Nvme *n);      /* the bottom half, soon */
/* Requests are gone: an enable or disable may have waited for that. */
void nvme_orphans_gone(Nvme *n);
void nvme_update_pin(Nvme *n);
/* Something the controller cannot go on after: CSTS.CFS, until the guest resets it. */
void nvme_fatal(Nvme *n, const char *why);

/* ---- nvme_queue.c ---- */

NvmeNs *nvme_ns_get(Nvme *n, uint32_t nsid);     /* attached ones only; NULL */
/* The command is over; STATUS without phase. */
void nvme_complete(NvmeReq *req, uint16_t status);
void nvme_event(Nvme *n, uint8_t type, uint8_t info, uint8_t log_page);
void nvme_events_send(Nvme *n);
void nvme_ns_changed(Nvme *n, uint32_t nsid);
/* Fetch and post; true: there is more to fetch. */
bool nvme_queues_run(Nvme *n);
/* Forgets all queues; what the block layer has, become orphans. */
void nvme_queues_clear(Nvme *n);
/* CQ heads as far as the guest has moved them. */
void nvme_cq_heads(Nvme *n);
/* Queue management for nvme_admin.c; true: the queue exists. */
bool nvme_has_sq(const Nvme *n, uint16_t id);
bool nvme_has_cq(const Nvme *n, uint16_t id);
void nvme_sq_new(Nvme *n, uint16_t id, uint16_t cqid, uint32_t size, gpa_t base);
void nvme_cq_new(Nvme *n, uint16_t id, uint32_t size, gpa_t base, uint16_t vector, bool irq);
/* Ends what runs, then completes REQ. */
void nvme_sq_delete(Nvme *n, uint16_t id, NvmeReq *req);
void nvme_cq_delete(Nvme *n, uint16_t id);

/* ---- nvme_data.c ---- */

/* Data pointer of the command, LEN bytes, into req->sg.  Status. */
uint16_t nvme_map_data(NvmeReq *req, uint64_t len, bool to_guest);
/* A reply, or a parameter block, of LEN bytes. */
uint16_t nvme_to_guest(NvmeReq *req, const void *buf, uint32_t len);
uint16_t nvme_from_guest(NvmeReq *req, void *buf, uint32_t len);
/* Copies between BUF and the mapped data at OFFSET; compares where COMPARE. */
bool nvme_sg_equal(const DmaSg *sg, uint64_t offset, const void *buf, uint64_t len);

/* ---- nvme_admin.c, nvme_identify.c, nvme_log.c, nvme_io.c ---- */

void nvme_admin_run(NvmeReq *req);
uint16_t nvme_identify(NvmeReq *req);
uint16_t nvme_get_log(NvmeReq *req);
/* REQ ends with STATUS, an error. */
void nvme_log_error(const NvmeReq *req, uint16_t status);
uint16_t nvme_get_feature(NvmeReq *req);
uint16_t nvme_set_feature(NvmeReq *req);
void nvme_io_run(NvmeReq *req);
void nvme_format(NvmeReq *req);
/* Which commands there are, for the effects log. */
bool nvme_admin_has(uint8_t opcode);
bool nvme_io_has(uint8_t opcode);
uint16_t nvme_temperature(const Nvme *n);        /* Kelvin */

#endif
