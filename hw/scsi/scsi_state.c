/* SPDX-License-Identifier: MIT */
/*
 * Logical units on the wire: QEMU's "SCSIDevice", which ends with the requests that wait for the VM
 * to run again.  Each: 1 (failed, to be repeated) or 2 (was with the adapter), the descriptor block,
 * tag and LUN, the adapter's part, the unit's part; a 0 ends them.
 * A loaded request starts anew: reads and writes of the same blocks can be repeated.
 * Locking: machine lock, VM stopped.
 */
#include "hw/scsi/scsi_int.h"

#include "base/error.h"
#include "hw/scsi/scsi_disk.h"

enum { SENSE_OLD = 96, REQUESTS_MAX = 65536 };
enum { WIRE_END = 0, WIRE_RETRY = 1, WIRE_WITH_HOST = 2 };

static void requests_put(VmWriter *w, const void *field, const VmField *def)
{
    const ScsiDevice *dev = field;
    const ScsiHostOps *host = scsi_bus_of(dev)->host;

    for (GList *l = dev->requests.head; l && host->save; l = l->next) {
        ScsiRequest *req = l->data;

        vm_put_u8(w, req->retry ? WIRE_RETRY : WIRE_WITH_HOST);
        vm_put_bytes(w, req->cdb, sizeof(req->cdb));
        vm_put_be32(w, req->tag);
        vm_put_be32(w, req->lun);
        host->save(w, req);
        if (scsi_unit_info(dev)->save) {
            scsi_unit_info(dev)->save(w, req);
        }
    }
    vm_put_u8(w, WIRE_END);
}

static bool request_get(VmReader *r, ScsiDevice *dev, GError **error)
{
    const ScsiHostOps *host = scsi_bus_of(dev)->host;
    uint8_t cdb[SCSI_CDB_MAX];
    uint32_t tag, lun;
    ScsiRequest *req;
    bool ok;

    vm_get_bytes(r, cdb, sizeof(cdb));
    tag = vm_get_be32(r);
    lun = vm_get_be32(r);
    if (vm_reader_failed(r)) {
        return error_set(error, "the saved requests of a SCSI unit end too early");
    }
    if (!host->load) {
        return error_set(error, "this SCSI adapter cannot take up saved requests");
    }
    req = scsi_req_new(dev, lun, tag, cdb, sizeof(cdb), NULL);
    ok = (!scsi_unit_info(dev)->load || lun == dev->lun) && host->load(r, req, error) &&
         (!scsi_unit_info(dev)->load || scsi_unit_info(dev)->load(r, req, error));
    if (ok) {
        scsi_req_enqueue(req);
        req->retry = true;
    } else if (error && !*error) {
        error_set(error, "a saved SCSI request is for lun %u and was found at lun %u", lun,
                  dev->lun);
    }
    scsi_req_unref(req);
    return ok;
}

static bool requests_get(VmReader *r, void *field, const VmField *def, GError **error)
{
    ScsiDevice *dev = field;
    unsigned n = 0;

    for (uint8_t kind; (kind = vm_get_u8(r)) != WIRE_END;) {
        if (kind > WIRE_WITH_HOST || n++ >= REQUESTS_MAX) {
            return error_set(error, "a saved SCSI request is of the unknown kind %u", kind);
        }
        if (!request_get(r, dev, error)) {
            return false;
        }
    }
    return true;
}

static bool long_sense_needed(const void *obj)
{
    return ((const ScsiDevice *)obj)->sense_len > SENSE_OLD;
}

/* What runs here belongs to a guest that is no more. */
static bool device_pre_load(void *obj, GError **error)
{
    scsi_unit_reset_wait(obj, SENSE_NO_SENSE);
    return true;
}

static bool device_post_load(void *obj, int version, GError **error)
{
    ScsiDevice *dev = obj;

    if (dev->sense_len > sizeof(dev->sense)) {
        return error_set(error, "saved sense data of %u bytes are more than %zu", dev->sense_len,
                         sizeof(dev->sense));
    }
    return true;
}

/* clang-format off */
static const VmField long_sense_fields[] = {
    { .name = "sense", .kind = VM_U8, .offset = offsetof(ScsiDevice, sense) + SENSE_OLD, .size = 1,
      .count = sizeof(((ScsiDevice *)0)->sense) - SENSE_OLD },
    VMS_END
};
static const VmStateDesc long_sense = { .name = "SCSIDevice/sense", .version = 1, .minimum = 1,
                                        .fields = long_sense_fields, .needed = long_sense_needed };
static const VmStateDesc *const subsections[] = { &long_sense, NULL };

static const VmField device_fields[] = {
    VMS_U8(ScsiDevice, unit_attention.key),
    VMS_U8(ScsiDevice, unit_attention.asc),
    VMS_U8(ScsiDevice, unit_attention.ascq),
    VMS_BOOL(ScsiDevice, sense_is_ua),
    { .name = "sense", .kind = VM_U8, .offset = offsetof(ScsiDevice, sense), .size = 1, .count = SENSE_OLD },
    VMS_U32(ScsiDevice, sense_len),
    { .name = "requests", .kind = VM_CUSTOM, .wire_type = "scsi-requests", .get = requests_get,
      .put = requests_put },
    VMS_END
};
const VmStateDesc vmstate_scsi_device = {
    .name = "SCSIDevice", .version = 1, .minimum = 1, .fields = device_fields,
    .subsections = subsections, .pre_load = device_pre_load, .post_load = device_post_load,
};
/* clang-format on */

/* ---- disks: where the command is, and data that were on the way ---- */

void scsi_disk_save(VmWriter *w, ScsiRequest *req)
{
    const ScsiDiskReq *r = (const ScsiDiskReq *)(void *)req;

    vm_put_be64(w, r->offset / 512);
    vm_put_be32(w, MIN(r->left / 512, UINT32_MAX));
    vm_put_be32(w, 0);
}

bool scsi_disk_load(VmReader *r, ScsiRequest *req, GError **error)
{
    uint32_t len, left;

    vm_get_be64(r);
    vm_get_be32(r);
    len = vm_get_be32(r);
    if (len > SCSI_PIECE_MAX * 2) {
        return error_set(error, "a saved SCSI request has %u bytes on the way: at most %u", len,
                         SCSI_PIECE_MAX * 2);
    }
    if (len && req->dir == SCSI_DIR_IN) {        /* how many of them count */
        left = vm_get_be32(r);
        if (left > len) {
            return error_set(error, "a saved SCSI request counts %u of %u bytes", left, len);
        }
        len = left;
    }
    for (; len && !vm_reader_failed(r); len--) {
        vm_get_u8(r);
    }
    return true;
}
