/* SPDX-License-Identifier: MIT */
/*
 * SCSI: the bus, its logical units and the life of a command.  [SAM-5, SPC-4]
 *
 * Three parties: a host bus adapter (HBA: virtio-scsi, lsi53c895a) owns a ScsiBus; logical units
 * (scsi-hd, scsi-cd, scsi-generic) plug into it under channel:scsi-id:lun; a ScsiRequest is one
 * command on its way through both.
 *
 *   HBA                                     bus, logical unit
 *   req = scsi_req_new(bus, addr, tag, cdb)
 *   (looks at req->dir, req->xfer)
 *   req->iov = list; or pieces, see below
 *   scsi_req_start(req)                 ->  unit attentions, absent LUNs, REPORT LUNS, REQUEST
 *                                           SENSE; all else by info->run()
 *   host->complete(req)                <-   scsi_req_good() or scsi_req_check()
 *   scsi_req_unref(req)
 *
 * Data moves in one of two ways:
 *   - The HBA knows the whole scatter list (virtio): it sets req->iov, guest memory mapped by the DMA
 *     API, at least req->xfer bytes and for the direction of req->dir, before it starts the request,
 *     and keeps it until the request is over.  Disks read and write it without a copy.
 *   - The HBA learns guest addresses while data moves (lsi): with req->iov NULL, host->data(req) says
 *     that req->piece[0..piece_len) holds data for the initiator, or has room for its data.  When all
 *     of it was moved the HBA calls scsi_req_continue().  Pieces are at most SCSI_PIECE_MAX bytes.
 * Either way req->moved counts the bytes that really moved: less than xfer after an underrun.
 *
 * host->data() and host->complete() may come from within scsi_req_start() and scsi_req_continue();
 * each request ends with exactly one complete() or cancelled().
 *
 * Sense data is fixed format [SPC-4 4.5.3].  A CHECK CONDITION carries it in req->sense
 * (autosense) and the logical unit keeps it for a REQUEST SENSE that follows.
 *
 * A VM stopped by an I/O error (werror=stop) keeps the request: it is marked .retry and the bus
 * repeats it when the VM runs again.  Requests of a saved VM travel with their logical unit.
 *
 * Thread rule: where the HBA runs: under the machine lock, or on the bus's loop.  An HBA on an
 * iothread sets bus->loop before units come: then requests begin and end there, without the machine
 * lock, and the main loop's side (plugging, resets, media, stops, state) holds the bus, that is, parks the
 * loop, while it touches what requests touch.
 */
#ifndef HW_SCSI_SCSI_H
#define HW_SCSI_SCSI_H

#include <sys/uio.h>

#include "base/event_loop.h"
#include "hw/scsi/scsi_defs.h"
#include "vm/device.h"

typedef struct ScsiBus ScsiBus;
typedef struct ScsiDevice ScsiDevice;
typedef struct ScsiRequest ScsiRequest;

enum { SCSI_CDB_MAX = 16, SCSI_SENSE_LEN = 18, SCSI_PIECE_MAX = 128 * 1024,
       SCSI_PARAM_MAX = 65536 };

/* ---- the host bus adapter ---- */

typedef struct ScsiHostOps {
    uint32_t max_channel, max_target, max_lun;   /* the highest that exists */
    bool tagged;              /* INQUIRY says CmdQue */
    /* A piece is ready; only for requests without iov. */
    void (*data)(ScsiRequest *req);
    /* Over: req->status, sense, moved are set. */
    void (*complete)(ScsiRequest *req);
    /* Over without a status: aborted, reset, unplugged. */
    void (*cancelled)(ScsiRequest *req);
    /* A unit attention that an HBA may report by itself (media, capacity, parameters). */
    void (*change)(ScsiBus *bus, ScsiDevice *dev, ScsiSense sense);   /* may be NULL */
    /* A logical unit came, or is about to go; only while the VM is complete.  May be NULL. */
    void (*plugged)(ScsiBus *bus, ScsiDevice *dev);
    void (*unplugged)(ScsiBus *bus, ScsiDevice *dev);
    /* What the HBA needs to take up REQ after a load: its part of the wire, see scsi_state.c.
     * load() finds the request's iov and host_data; NULL: requests in flight prevent saving. */
    void (*save)(VmWriter *w, ScsiRequest *req);
    bool (*load)(VmReader *r, ScsiRequest *req, GError **error);
    /* The VM stops: start no request until it goes on.  May be NULL: nobody asks for any. */
    void (*pause)(ScsiBus *bus);
    void (*go_on)(ScsiBus *bus);
} ScsiHostOps;

struct ScsiBus {
    Bus bus;
    const ScsiHostOps *host;
    EventLoop *loop;          /* of the HBA; NULL: the machine lock's side */
    GPtrArray *units;         /* those that take commands: from plugged until they unrealize */
};

extern const BusType bus_scsi;

/* In place, owned by OWNER; NAME NULL: as bus_init(). */
void scsi_bus_init(ScsiBus *bus, Device *owner, const char *name, const ScsiHostOps *host);
void scsi_bus_clear(ScsiBus *bus);
/* Between the two, no request of the bus begins or ends but by the caller, on the main loop's side. */
void scsi_bus_hold(ScsiBus *bus);
void scsi_bus_release(ScsiBus *bus);

/* ---- logical units ---- */

/* .bus_info of a logical unit's type row. */
typedef struct ScsiUnitInfo {
    const char *fw_name;      /* in firmware paths: "disk", "generic" */
    size_t req_size;          /* of its requests, which begin with ScsiRequest; 0: plain ones */
    /* Fills req->dir and req->xfer for commands that the bus does not know (scsi_cdb_parse());
     * false: it does not know them either. */
    bool (*parse)(ScsiRequest *req);
    void (*run)(ScsiRequest *req);
    /* The HBA moved the piece. */
    void (*piece_moved)(ScsiRequest *req);
    /* Ask the host for an early end of a request it is working at; may be NULL.  However that
     * ends, the unit then calls one of the functions that end or go on with a request. */
    void (*cancel)(ScsiRequest *req);
    /* Until the host is done with all requests. */
    void (*drain)(ScsiDevice *dev);
    /* A reset: state of the unit that does not outlive one. */
    void (*reset)(ScsiDevice *dev);
    /* The request stopped the VM (scsi_req_wait_for_resume()): again. */
    void (*retry)(ScsiRequest *req);
    /* Frees what the request's struct holds. */
    void (*release)(ScsiRequest *req);
    /* Command that runs although a unit attention is pending. */
    bool (*ignores_attention)(const ScsiRequest *req);
    /* Own wire format of a request's progress; may be NULL. */
    void (*save)(VmWriter *w, ScsiRequest *req);
    bool (*load)(VmReader *r, ScsiRequest *req, GError **error);
} ScsiUnitInfo;

struct ScsiDevice {
    Device dev;
    uint32_t channel, id, lun;        /* UINT32_MAX: the bus picks one */
    ScsiSense unit_attention;         /* pending; key 0: none */
    uint8_t sense[252];               /* of the last command, for REQUEST SENSE */
    uint32_t sense_len;
    bool sense_is_ua;
    uint8_t peripheral_type;          /* SCSI_TYPE_DISK... */
    uint32_t block_size;
    int32_t scsi_version;
    GQueue requests;                  /* ScsiRequest*, oldest first; a reference each */
};

static inline const ScsiUnitInfo *scsi_unit_info(const ScsiDevice *dev)
{
    return device_type(&dev->dev)->bus_info;
}

static inline ScsiBus *scsi_bus_of(const ScsiDevice *dev)
{
    return (ScsiBus *)(void *)dev->dev.bus;
}

/* The unit at that address; NULL.  *SIBLING: a unit of the same target, NULL when the target does
 * not exist at all. */
ScsiDevice *scsi_bus_find(ScsiBus *bus, uint32_t channel, uint32_t id, uint32_t lun,
                          ScsiDevice **sibling);
/* First in a unit's unrealize: no command reaches it any more, and none is in flight. */
void scsi_unit_leave(ScsiDevice *dev);
/* Pending until a command reports it; the more important of two stays.  [SAM-5 5.14] */
void scsi_unit_attention(ScsiDevice *dev, ScsiSense sense);
/* The same, and the HBA is told. */
void scsi_unit_changed(ScsiDevice *dev, ScsiSense sense);

/* ---- task management [SAM-5 7] ---- */

/* All requests of DEV, or those FILTER accepts, end early; asynchronously. */
void scsi_unit_cancel(ScsiDevice *dev, bool (*filter)(ScsiRequest *req, void *opaque),
                      void *opaque);
/* Those that wait for the VM to run go on. */
void scsi_unit_retry(ScsiDevice *dev);
/* LOGICAL UNIT RESET: requests end as above; SENSE is the attention due. */
void scsi_unit_reset(ScsiDevice *dev, ScsiSense sense);
/* Power on, unplugging: the same, and waits until nothing of the host's touches guest memory. */
void scsi_unit_reset_wait(ScsiDevice *dev, ScsiSense sense);
/* All units of the target. */
void scsi_target_reset(ScsiBus *bus, uint32_t channel, uint32_t id, ScsiSense sense);
void scsi_bus_reset(ScsiBus *bus, ScsiSense sense);

/* ---- requests ---- */

struct ScsiRequest {
    ScsiBus *bus;
    ScsiDevice *dev;          /* a unit of the target; not the addressed one when LUN differs */
    unsigned refs;
    uint32_t tag, lun;
    uint8_t cdb[SCSI_CDB_MAX];
    ScsiDir dir;              /* by the CDB */
    uint64_t xfer;            /* bytes, by the CDB */
    bool moves_blocks;        /* pass-through: a read, write or verify */
    bool bad_cdb;             /* no such command, or no such field: fails when it is started */
    void *host_data;          /* of the HBA */
    const struct iovec *iov;
    unsigned niov;

    bool queued;              /* started and not over */
    bool cancelling, retry;
    bool waits_host;          /* a piece is with the HBA */
    uint8_t *piece;
    uint32_t piece_len;
    uint64_t moved;
    /* Data that lives in memory: replies and parameter lists. */
    uint8_t *buf;
    uint32_t buf_len;
    void (*received)(ScsiRequest *req);      /* what to do with the parameter list in buf */

    uint8_t status;           /* SCSI_GOOD... */
    uint8_t sense[SCSI_SENSE_LEN];
    uint8_t sense_len;
};

/*
 * A command of CDB_LEN bytes (the rest reads as zeroes) for LUN of a target; DEV is the unit there
 * or a sibling, by scsi_bus_find().  The caller owns the reference.
 */
ScsiRequest *scsi_req_new(ScsiDevice *dev, uint32_t lun, uint32_t tag, const uint8_t *cdb,
                          size_t cdb_len, void *host_data);
ScsiRequest *scsi_req_ref(ScsiRequest *req);
void scsi_req_unref(ScsiRequest *req);
void scsi_req_start(ScsiRequest *req);
/* The HBA has moved req->piece_len bytes.  */
void scsi_req_continue(ScsiRequest *req);
/* The sense data of a CHECK CONDITION, for an HBA that gives it to the initiator (autosense): then a
 * REQUEST SENSE has nothing left to tell. */
unsigned scsi_req_take_sense(ScsiRequest *req, uint8_t *buf, unsigned max);
/* Ends early: host->cancelled() comes now or later. */
void scsi_req_cancel(ScsiRequest *req);

/* ---- for logical units ---- */

/* Status GOOD. */
void scsi_req_good(ScsiRequest *req);
/* CHECK CONDITION. */
void scsi_req_check(ScsiRequest *req, ScsiSense sense);
/* Any status; SENSE (may be NULL) as the device made it. */
void scsi_req_complete(ScsiRequest *req, uint8_t status, const uint8_t *sense, size_t len);
/* LEN bytes of data in: at most the allocation length goes out, then GOOD. */
void scsi_req_reply(ScsiRequest *req, const void *data, size_t len);
/* req->xfer bytes of data out, at most SCSI_PARAM_MAX; RECEIVED is called with them in req->buf. */
void scsi_req_receive(ScsiRequest *req, void (*received)(ScsiRequest *req));
/* Hands a piece to the HBA; the rest is piece_moved(). */
void scsi_req_offer(ScsiRequest *req, uint8_t *piece, uint32_t len);
/* The VM was stopped by an error of this request. */
void scsi_req_wait_for_resume(ScsiRequest *req);
/* First in every completion of the host's: true when the request was cancelled meanwhile, and is
 * over. */
bool scsi_req_was_cancelled(ScsiRequest *req);

/* Direction and length of the commands that all kinds of units share; false: not one of them. */
bool scsi_cdb_parse(ScsiRequest *req);
/* The same for those whose data are blocks. */
bool scsi_cdb_parse_blocks(ScsiRequest *req);
/* LBA and number of blocks of READ(6..16) and those shaped like them. */
uint64_t scsi_cdb_lba(const uint8_t *cdb);
uint32_t scsi_cdb_blocks(const uint8_t *cdb);
/* 6, 10, 12 or 16, by the group; 0: reserved or vendor specific. */
unsigned scsi_cdb_len(uint8_t opcode);

/* Wire format of the parts that all units have, QEMU's "SCSIDevice". */
extern const VmStateDesc vmstate_scsi_device;

#endif
