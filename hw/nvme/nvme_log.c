/* SPDX-License-Identifier: MIT */
/*
 * GET LOG PAGE.  Spec: [NVMe1.4 5.14].
 * Missing: telemetry, self-test, sanitize and vendor pages, "invalid log page" to the guest.
 * Locking: machine lock.
 */
#include "hw/nvme/nvme_int.h"
#include "vm/vm.h"

enum { TEMPERATURE_K = 0x143, SMART_LEN = 512, EFFECTS_LEN = 4096, ERROR_LEN = NVME_ERRORS * NVME_ERROR_LEN,
       FIRMWARE_LEN = 512, EFFECTS_ADMIN = 0, EFFECTS_IO = 1024 };

uint16_t nvme_temperature(const Nvme *n)
{
    return TEMPERATURE_K;
}

/* ---- the error log ---- */

void nvme_log_error(const NvmeReq *req, uint16_t status)
{
    Nvme *n = req->n;
    uint8_t *entry = n->errors[n->error_count++ % NVME_ERRORS];
    bool has_lba = req->sq->id && (req->cmd.opcode == NVM_READ || req->cmd.opcode == NVM_WRITE ||
                                   req->cmd.opcode == NVM_COMPARE || req->cmd.opcode == NVM_VERIFY ||
                                   req->cmd.opcode == NVM_WRITE_ZEROES);

    memset(entry, 0, NVME_ERROR_LEN);
    le64_store(entry, n->error_count);
    le16_store(entry + 8, req->sq->id);
    le16_store(entry + 10, req->cmd.cid);
    le16_store(entry + 12, (uint16_t)(status << 1));
    le16_store(entry + 14, 0xffff);           /* which parameter is not known */
    le64_store(entry + 16, has_lba ? req->cmd.cdw10 | (uint64_t)req->cmd.cdw11 << 32 : 0);
    le32_store(entry + 24, req->cmd.nsid);
}

/* The newest first. */
static void error_page(const Nvme *n, uint8_t *page)
{
    for (unsigned i = 0; i < MIN(n->error_count, NVME_ERRORS); i++) {
        memcpy(page + i * NVME_ERROR_LEN, n->errors[(n->error_count - 1 - i) % NVME_ERRORS], NVME_ERROR_LEN);
    }
}

/* ---- pages ---- */

static void smart_page(const Nvme *n, const NvmeNs *only, uint8_t *page)
{
    uint64_t bytes[2] = { 0 }, ops[2] = { 0 };
    uint16_t kelvin = nvme_temperature(n);

    for (uint32_t i = 1; i <= NVME_MAX_NS; i++) {
        if (n->ns[i] && (!only || only == n->ns[i])) {
            for (unsigned w = 0; w < 2; w++) {
                bytes[w] += n->ns[i]->traffic[w].bytes;
                ops[w] += n->ns[i]->traffic[w].commands;
            }
        }
    }
    page[0] = n->critical_warning | (kelvin >= n->temp_high || kelvin <= n->temp_low ? BIT(1) : 0);
    le16_store(page + 1, kelvin);
    for (unsigned w = 0; w < 2; w++) {
        le64_store(page + 32 + 16 * w, div_round_up(bytes[w], 512000));   /* thousands of 512 B */
        le64_store(page + 64 + 16 * w, ops[w]);
    }
    le64_store(page + 128, (uint64_t)(clock_now(n->pci.dev.vm->clock) - n->power_on_ns) /
                               (3600ull * NANOSECONDS_PER_SECOND));
    le64_store(page + 176, n->error_count);
}

static void firmware_page(uint8_t *page)
{
    page[0] = 1;
    memcpy(page + 8, "1.0     ", 8);
}

static void changed_ns_page(Nvme *n, uint8_t *page)
{
    unsigned used = 0;

    for (uint32_t i = 1; i <= NVME_MAX_NS; i++) {
        if (n->changed_ns[(i - 1) / 32] & BIT((i - 1) % 32)) {
            le32_store(page + 4 * used++, i);
        }
    }
}

/* CSUPP, and what else a command changes: content (1), namespaces (3). */
static void effects_page(uint8_t *page)
{
    for (unsigned op = 0; op < 256; op++) {
        bool writes = op == NVM_WRITE || op == NVM_WRITE_ZEROES || op == NVM_DSM ||
                      op == NVM_COPY;
        uint32_t admin = op == ADM_FORMAT ? 3 : op == ADM_NS_ATTACHMENT ? 1 | BIT(3) : 1;

        le32_store(page + EFFECTS_ADMIN + 4 * op, nvme_admin_has(op) ? admin : 0);
        le32_store(page + EFFECTS_IO + 4 * op, nvme_io_has(op) ? (writes ? 3 : 1) : 0);
    }
}

uint16_t nvme_get_log(NvmeReq *req)
{
    /* clang-format off */
    static const struct { uint32_t len; uint8_t event; } pages[] = {
        [LOG_ERROR] = { ERROR_LEN, EVENT_ERROR }, [LOG_SMART] = { SMART_LEN, EVENT_SMART },
        [LOG_FIRMWARE] = { FIRMWARE_LEN, EVENT_TYPES }, [LOG_CHANGED_NS] = { NVME_ID_LEN, EVENT_NOTICE },
        [LOG_EFFECTS] = { EFFECTS_LEN, EVENT_TYPES },
    };
    /* clang-format on */
    Nvme *n = req->n;
    const NvmeCmd *cmd = &req->cmd;
    uint8_t id = cmd->cdw10;
    bool retain = cmd->cdw10 & BIT(15);
    uint64_t len = (((uint64_t)cmd->cdw11 << 16 | cmd->cdw10 >> 16) & UINT32_MAX) * 4 + 4;
    uint64_t offset = cmd->cdw12 | (uint64_t)cmd->cdw13 << 32;
    g_autofree uint8_t *page = NULL;
    uint16_t status;

    if (id >= ARRAY_LEN(pages) || !pages[id].len) {
        return SC_INVALID_FIELD | SC_DNR;
    }
    if ((offset & 3) || offset >= pages[id].len) {
        return SC_INVALID_FIELD | SC_DNR;
    }
    page = g_malloc0(pages[id].len);
    switch (id) {
    case LOG_ERROR:
        error_page(n, page);
        break;
    case LOG_SMART:
        if (cmd->nsid != NVME_NSID_ALL && (cmd->nsid == 0 || cmd->nsid > NVME_MAX_NS)) {
            return SC_INVALID_NS | SC_DNR;
        }
        if (cmd->nsid != NVME_NSID_ALL && !nvme_ns_get(n, cmd->nsid)) {
            return SC_INVALID_NS | SC_DNR;
        }
        smart_page(n, cmd->nsid == NVME_NSID_ALL ? NULL : nvme_ns_get(n, cmd->nsid), page);
        break;
    case LOG_FIRMWARE:
        firmware_page(page);
        break;
    case LOG_CHANGED_NS:
        changed_ns_page(n, page);
        break;
    case LOG_EFFECTS:
        effects_page(page);
        break;
    }
    status = nvme_to_guest(req, page + offset, (uint32_t)MIN(len, pages[id].len - offset));
    if (status == SC_SUCCESS && !retain && pages[id].event < EVENT_TYPES) {
        n->event_mask &= ~BIT(pages[id].event);
        if (id == LOG_CHANGED_NS) {
            memset(n->changed_ns, 0, sizeof(n->changed_ns));
        }
        nvme_events_send(n);
    }
    return status;
}
