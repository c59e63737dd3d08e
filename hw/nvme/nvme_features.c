/* SPDX-License-Identifier: MIT */
/*
 * GET FEATURES and SET FEATURES: nothing is saved over a reset.  [NVMe1.4 5.9, 5.21]
 * Locking: machine lock.
 */
#include "hw/nvme/nvme_int.h"
#include "vm/vm.h"

enum { PER_NS = BIT(1), CHANGES = BIT(2), THERE = BIT(7) };
enum { SELECT_CURRENT, SELECT_DEFAULT, SELECT_SAVED, SELECT_CAPS };

/* clang-format off */
static const uint8_t caps[256] = {
    [FEAT_ARBITRATION] = THERE, [FEAT_POWER] = THERE, [FEAT_TEMPERATURE] = THERE | CHANGES,
    [FEAT_RECOVERY] = THERE | CHANGES | PER_NS, [FEAT_WRITE_CACHE] = THERE | CHANGES,
    [FEAT_QUEUES] = THERE | CHANGES, [FEAT_COALESCING] = THERE, [FEAT_VECTOR] = THERE,
    [FEAT_ATOMICITY] = THERE, [FEAT_EVENTS] = THERE | CHANGES, [FEAT_TIMESTAMP] = THERE | CHANGES,
    [FEAT_HOST_BEHAVIOR] = THERE | CHANGES, [FEAT_COMMAND_SETS] = THERE | CHANGES,
};
/* clang-format on */

static uint16_t check_nsid(NvmeReq *req, bool setting)
{
    uint32_t nsid = req->cmd.nsid;
    bool valid = nsid >= 1 && nsid <= NVME_MAX_NS;

    if (caps[req->cmd.cdw10 & 0xff] & PER_NS) {
        if (setting && nsid == NVME_NSID_ALL) {
            return SC_SUCCESS;
        }
        return !valid                      ? SC_INVALID_NS | SC_DNR
               : !nvme_ns_get(req->n, nsid) ? SC_INVALID_FIELD | SC_DNR
                                            : SC_SUCCESS;
    }
    if (setting && nsid && nsid != NVME_NSID_ALL) {
        return (valid ? SC_NOT_NS_SPECIFIC : SC_INVALID_NS) | SC_DNR;
    }
    return SC_SUCCESS;
}

/* The only sensor, number 0; anything else reads as "none". */
static uint16_t *threshold(Nvme *n, uint32_t cdw11)
{
    unsigned sensor = bits_get(cdw11, 16, 4), type = bits_get(cdw11, 20, 2);

    if ((sensor != 0 && sensor != 0xf) || type > 1) {
        return NULL;
    }
    return type ? &n->temp_low : &n->temp_high;
}

static bool any_write_cache(const Nvme *n)
{
    for (uint32_t i = 1; i <= NVME_MAX_NS; i++) {
        if (n->ns[i] && blk_write_cache(n->ns[i]->conf.blk)) {
            return true;
        }
    }
    return false;
}

static uint64_t timestamp_now(const Nvme *n)
{
    uint64_t elapsed = (uint64_t)(clock_now(n->pci.dev.vm->clock) - n->timestamp_at) / 1000000;
    uint64_t ms = (n->timestamp + elapsed) & BITMASK64(0, 48);

    return ms | (n->timestamp_set ? BIT64(49) : 0);
}

uint16_t nvme_get_feature(NvmeReq *req)
{
    Nvme *n = req->n;
    uint8_t id = req->cmd.cdw10, select = (req->cmd.cdw10 >> 8) & 7;
    uint32_t cdw11 = req->cmd.cdw11;
    uint16_t status, *kelvin;
    uint8_t data[512] = { 0 };

    if (!(caps[id] & THERE)) {
        return SC_INVALID_FIELD | SC_DNR;
    }
    status = check_nsid(req, false);
    if (status != SC_SUCCESS) {
        return status;
    }
    if (select == SELECT_CAPS) {
        req->result = caps[id] & ~THERE;
        return SC_SUCCESS;
    }
    if (select > SELECT_CAPS) {
        return SC_INVALID_FIELD | SC_DNR;
    }
    switch (id) {
    case FEAT_ARBITRATION:
        req->result = 7;                      /* no limit */
        break;
    case FEAT_TEMPERATURE:
        kelvin = threshold(n, cdw11);
        if (select != SELECT_CURRENT) {
            req->result = kelvin == &n->temp_high ? 0x157 : 0;
        } else {
            req->result = kelvin ? *kelvin : 0;
        }
        break;
    case FEAT_RECOVERY:
        req->result = select == SELECT_CURRENT ? n->recovery[req->cmd.nsid] : 0;
        break;
    case FEAT_WRITE_CACHE:
        req->result = select == SELECT_CURRENT && any_write_cache(n);
        break;
    case FEAT_QUEUES:
        req->result = (n->max_ioqpairs - 1) << 16 | (n->max_ioqpairs - 1);
        break;
    case FEAT_VECTOR:
        if ((cdw11 & 0xffff) >= n->msix_qsize) {
            return SC_INVALID_FIELD | SC_DNR;
        }
        req->result = (cdw11 & 0xffff) | (cdw11 & 0xffff ? 0 : BIT(16));   /* none is coalesced */
        break;
    case FEAT_EVENTS:
        req->result = select == SELECT_CURRENT ? n->async_config : 0;
        break;
    case FEAT_TIMESTAMP:
        le64_store(data, select == SELECT_CURRENT ? timestamp_now(n) : 0);
        return nvme_to_guest(req, data, 8);
    case FEAT_HOST_BEHAVIOR:
        return nvme_to_guest(req, data, sizeof(data));
    }
    return SC_SUCCESS;
}

static uint16_t set_recovery(Nvme *n, uint32_t nsid, uint32_t value)
{
    if (value & BIT(16)) {
        return SC_INVALID_FIELD | SC_DNR;     /* DULBE: a read of deallocated blocks is no error */
    }
    for (uint32_t i = 1; i <= NVME_MAX_NS; i++) {
        if (nsid == i || (nsid == NVME_NSID_ALL && n->ns[i])) {
            n->recovery[i] = (uint16_t)value;
        }
    }
    return SC_SUCCESS;
}

static void set_write_cache(Nvme *n, bool on)
{
    for (uint32_t i = 1; i <= NVME_MAX_NS; i++) {
        if (n->ns[i]) {
            blk_set_write_cache(n->ns[i]->conf.blk, on);
        }
    }
}

static uint16_t set_timestamp(NvmeReq *req)
{
    Nvme *n = req->n;
    uint8_t data[8];
    uint16_t status = nvme_from_guest(req, data, sizeof(data));

    if (status == SC_SUCCESS) {
        n->timestamp = le64_load(data) & BITMASK64(0, 48);
        n->timestamp_at = clock_now(n->pci.dev.vm->clock);
        n->timestamp_set = true;
    }
    return status;
}

uint16_t nvme_set_feature(NvmeReq *req)
{
    Nvme *n = req->n;
    uint8_t id = req->cmd.cdw10;
    uint32_t value = req->cmd.cdw11;
    uint16_t status, *kelvin, temperature;
    uint8_t data[512];

    if (req->cmd.cdw10 & BIT(31)) {
        return SC_NOT_SAVEABLE | SC_DNR;
    }
    if (!(caps[id] & THERE)) {
        return SC_INVALID_FIELD | SC_DNR;
    }
    status = check_nsid(req, true);
    if (status != SC_SUCCESS) {
        return status;
    }
    if (!(caps[id] & CHANGES)) {
        return SC_NOT_CHANGEABLE | SC_DNR;
    }
    switch (id) {
    case FEAT_TEMPERATURE:
        kelvin = threshold(n, value);
        if (!kelvin) {
            return SC_SUCCESS;                /* a sensor that is not there */
        }
        *kelvin = (uint16_t)value;
        temperature = nvme_temperature(n);
        if (temperature >= n->temp_high || temperature <= n->temp_low) {
            nvme_event(n, EVENT_SMART, SMART_TEMPERATURE, LOG_SMART);
        }
        return SC_SUCCESS;
    case FEAT_RECOVERY:
        return set_recovery(n, req->cmd.nsid, value);
    case FEAT_WRITE_CACHE:
        set_write_cache(n, value & 1);
        return SC_SUCCESS;
    case FEAT_QUEUES:
        if ((value & 0xffff) == 0xffff || value >> 16 == 0xffff) {
            return SC_INVALID_FIELD | SC_DNR;
        }
        req->result = (n->max_ioqpairs - 1) << 16 | (n->max_ioqpairs - 1);
        return SC_SUCCESS;
    case FEAT_EVENTS:
        n->async_config = value;
        return SC_SUCCESS;
    case FEAT_TIMESTAMP:
        return set_timestamp(req);
    case FEAT_HOST_BEHAVIOR:
        return nvme_from_guest(req, data, sizeof(data));   /* ACRE, LBAFEE: nothing to change */
    default:                                               /* FEAT_COMMAND_SETS: there is one */
        return value & 0x1ff ? SC_INVALID_FIELD | SC_DNR : SC_SUCCESS;
    }
}
