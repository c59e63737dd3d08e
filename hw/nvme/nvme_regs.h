/* SPDX-License-Identifier: MIT */
/* NVM Express: registers, commands, status codes.  [NVMe1.4 3.1, 4.2, 4.4, 4.5, 5, 6] */
#ifndef HW_NVME_NVME_REGS_H
#define HW_NVME_NVME_REGS_H

#include "base/bits.h"

/* clang-format off */
/* Controller registers [3.1] */
enum {
    NVME_CAP = 0x00, NVME_VS = 0x08, NVME_INTMS = 0x0c, NVME_INTMC = 0x10, NVME_CC = 0x14,
    NVME_CSTS = 0x1c, NVME_NSSR = 0x20, NVME_AQA = 0x24, NVME_ASQ = 0x28, NVME_ACQ = 0x30,
    NVME_DOORBELLS = 0x1000,
};
enum { NVME_VERSION = 0x00010400, NVME_MQES = 2047, NVME_MPSMAX = 4 };
enum { CC_EN = BIT(0) };
#define CC_CSS(cc)    bits_get((cc), 4, 3)
#define CC_MPS(cc)    bits_get((cc), 7, 4)
#define CC_AMS(cc)    bits_get((cc), 11, 3)
#define CC_SHN(cc)    bits_get((cc), 14, 2)
#define CC_IOSQES(cc) bits_get((cc), 16, 4)
#define CC_IOCQES(cc) bits_get((cc), 20, 4)
enum { CSS_NVM = 0, CSS_CSI = 6, CSS_ADMIN = 7 };
enum { CSTS_RDY = BIT(0), CSTS_CFS = BIT(1), CSTS_SHST_BUSY = 1 << 2, CSTS_SHST_DONE = 2 << 2,
       CSTS_SHST = 3 << 2 };

/* Admin commands [5] */
enum {
    ADM_DELETE_SQ = 0x00, ADM_CREATE_SQ = 0x01, ADM_GET_LOG_PAGE = 0x02, ADM_DELETE_CQ = 0x04,
    ADM_CREATE_CQ = 0x05, ADM_IDENTIFY = 0x06, ADM_ABORT = 0x08, ADM_SET_FEATURES = 0x09,
    ADM_GET_FEATURES = 0x0a, ADM_ASYNC_EVENT = 0x0c, ADM_NS_ATTACHMENT = 0x15, ADM_DBBUF = 0x7c,
    ADM_FORMAT = 0x80,
};
/* NVM commands [6] */
enum {
    NVM_FLUSH = 0x00, NVM_WRITE = 0x01, NVM_READ = 0x02, NVM_COMPARE = 0x05,
    NVM_WRITE_ZEROES = 0x08, NVM_DSM = 0x09, NVM_VERIFY = 0x0c, NVM_COPY = 0x19,
};
enum { RW_FUA = BIT(30), RW_DEAC = BIT(25), DSM_AD = BIT(2) };

/* Status field: code, type << 8, more << 13, do not retry << 14.  [4.6.1] */
enum {
    SC_SUCCESS = 0x00, SC_INVALID_OPCODE = 0x01, SC_INVALID_FIELD = 0x02, SC_DATA_TRANSFER = 0x04,
    SC_INTERNAL = 0x06, SC_ABORTED = 0x07, SC_SQ_DELETED = 0x08, SC_INVALID_NS = 0x0b,
    SC_COMMAND_SEQUENCE = 0x0c, SC_SGL_SEGMENT = 0x0d, SC_SGL_COUNT = 0x0e, SC_SGL_LENGTH = 0x0f,
    SC_SGL_TYPE = 0x11, SC_PRP_OFFSET = 0x13, SC_WRITE_PROTECTED = 0x20,
    SC_LBA_RANGE = 0x80, SC_CAPACITY = 0x81, SC_FORMAT_RUNNING = 0x84,
    SC_INVALID_CQ = 0x100, SC_INVALID_QID = 0x101, SC_QUEUE_SIZE = 0x102, SC_ABORT_LIMIT = 0x103, SC_AER_LIMIT = 0x105,
    SC_INVALID_VECTOR = 0x108, SC_INVALID_LOG = 0x109, SC_INVALID_FORMAT = 0x10a,
    SC_QUEUE_DELETION = 0x10c, SC_NOT_SAVEABLE = 0x10d, SC_NOT_CHANGEABLE = 0x10e,
    SC_NOT_NS_SPECIFIC = 0x10f, SC_ALREADY_ATTACHED = 0x118, SC_NOT_ATTACHED = 0x11a,
    SC_CONTROLLER_LIST = 0x11c, SC_CONFLICTING = 0x180, SC_COMMAND_SIZE = 0x183,
    SC_WRITE_FAULT = 0x280, SC_READ_ERROR = 0x281, SC_COMPARE = 0x285,
    SC_DNR = 0x4000,
};

/* Features [5.21.1] */
enum {
    FEAT_ARBITRATION = 0x01, FEAT_POWER = 0x02, FEAT_TEMPERATURE = 0x04, FEAT_RECOVERY = 0x05,
    FEAT_WRITE_CACHE = 0x06, FEAT_QUEUES = 0x07, FEAT_COALESCING = 0x08, FEAT_VECTOR = 0x09,
    FEAT_ATOMICITY = 0x0a, FEAT_EVENTS = 0x0b, FEAT_TIMESTAMP = 0x0e, FEAT_HOST_BEHAVIOR = 0x16,
    FEAT_COMMAND_SETS = 0x19,
};

/* Asynchronous events [5.2] */
enum { EVENT_ERROR = 0, EVENT_SMART = 1, EVENT_NOTICE = 2, EVENT_TYPES = 3 };
enum { ERROR_BAD_DOORBELL = 0, ERROR_BAD_VALUE = 1, NOTICE_NS_CHANGED = 0, SMART_TEMPERATURE = 1 };
enum { EVENTS_NS_CHANGED = BIT(8), EVENTS_SMART = 0xff };

enum { LOG_ERROR = 1, LOG_SMART = 2, LOG_FIRMWARE = 3, LOG_CHANGED_NS = 4, LOG_EFFECTS = 5 };

enum { NVME_SQE = 64, NVME_CQE = 16, NVME_ID_LEN = 4096, NVME_MAX_NS = 256 };
#define NVME_NSID_ALL 0xffffffffu
/* clang-format on */

#endif
