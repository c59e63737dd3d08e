/* SPDX-License-Identifier: MIT */
/*
 * The NBD protocol: constants of the wire and parsers of its messages.  Pure: no I/O, no state.
 * Spec: the NBD protocol document (github.com/NetworkBlockDevice/nbd, doc/proto.md) and the
 * namespace "qemu:" of QEMU's interop/nbd document.
 *
 * Both ends distrust the other: each parser is given the bytes that came and their number, and
 * answers false to what is malformed.  Numbers on the wire are big-endian.
 */
#ifndef BLOCK_NBD_PROTO_H
#define BLOCK_NBD_PROTO_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* ---- handshake ---- */

#define NBD_PORT "10809"
#define NBD_MAGIC_INIT     UINT64_C(0x4e42444d41474943) /* "NBDMAGIC" */
#define NBD_MAGIC_OPTION   UINT64_C(0x49484156454f5054) /* "IHAVEOPT" */
#define NBD_MAGIC_OLDSTYLE UINT64_C(0x00420281861253)
#define NBD_MAGIC_REPLY    UINT64_C(0x0003e889045565a9) /* to an option */

enum { NBD_FLAG_FIXED_NEWSTYLE = 1 << 0, NBD_FLAG_NO_ZEROES = 1 << 1 };

/* clang-format off */
enum {
    NBD_OPT_EXPORT_NAME = 1, NBD_OPT_ABORT = 2, NBD_OPT_LIST = 3, NBD_OPT_STARTTLS = 5,
    NBD_OPT_INFO = 6, NBD_OPT_GO = 7, NBD_OPT_STRUCTURED_REPLY = 8,
    NBD_OPT_LIST_META_CONTEXT = 9, NBD_OPT_SET_META_CONTEXT = 10,
};

#define NBD_REP_ERROR (UINT32_C(1) << 31)
#define NBD_REP_ACK                  UINT32_C(1)
#define NBD_REP_SERVER               UINT32_C(2)
#define NBD_REP_INFO                 UINT32_C(3)
#define NBD_REP_META_CONTEXT         UINT32_C(4)
#define NBD_REP_ERR_UNSUP            (NBD_REP_ERROR | 1)
#define NBD_REP_ERR_POLICY           (NBD_REP_ERROR | 2)
#define NBD_REP_ERR_INVALID          (NBD_REP_ERROR | 3)
#define NBD_REP_ERR_PLATFORM         (NBD_REP_ERROR | 4)
#define NBD_REP_ERR_TLS_REQD         (NBD_REP_ERROR | 5)
#define NBD_REP_ERR_UNKNOWN          (NBD_REP_ERROR | 6)
#define NBD_REP_ERR_SHUTDOWN         (NBD_REP_ERROR | 7)
#define NBD_REP_ERR_BLOCK_SIZE_REQD  (NBD_REP_ERROR | 8)
#define NBD_REP_ERR_TOO_BIG          (NBD_REP_ERROR | 9)

enum { NBD_INFO_EXPORT = 0, NBD_INFO_NAME = 1, NBD_INFO_DESCRIPTION = 2, NBD_INFO_BLOCK_SIZE = 3 };

/* Of an export. */
enum {
    NBD_FLAG_HAS_FLAGS = 1 << 0, NBD_FLAG_READ_ONLY = 1 << 1, NBD_FLAG_SEND_FLUSH = 1 << 2,
    NBD_FLAG_SEND_FUA = 1 << 3, NBD_FLAG_ROTATIONAL = 1 << 4, NBD_FLAG_SEND_TRIM = 1 << 5,
    NBD_FLAG_SEND_WRITE_ZEROES = 1 << 6, NBD_FLAG_SEND_DF = 1 << 7,
    NBD_FLAG_CAN_MULTI_CONN = 1 << 8, NBD_FLAG_SEND_RESIZE = 1 << 9,
    NBD_FLAG_SEND_CACHE = 1 << 10, NBD_FLAG_SEND_FAST_ZERO = 1 << 11,
};

#define NBD_NAME_MAX 4096              /* bytes of a string, as the specification has it */
#define NBD_PAYLOAD_MAX (32u << 20)    /* of one request, each way */
#define NBD_OPTION_MAX (64u << 10)     /* bytes of an option that are worth reading */
#define NBD_OPTION_HEADER 16
#define NBD_OPTION_REPLY_HEADER 20

#define NBD_META_ALLOCATION "base:allocation"
#define NBD_META_DEPTH "qemu:allocation-depth"
#define NBD_META_BITMAP "qemu:dirty-bitmap:"

/* The server: an option's header; false when the magic is wrong. */
bool nbd_option_parse(const uint8_t *p, uint32_t *option, uint32_t *len);
void nbd_option_put(uint8_t *p, uint32_t option, uint32_t len);
/* The client: the header of a reply. */
bool nbd_option_reply_parse(const uint8_t *p, uint32_t *option, uint32_t *type, uint32_t *len);
void nbd_option_reply_put(uint8_t *p, uint32_t option, uint32_t type, uint32_t len);

/* Of NBD_OPT_GO and NBD_OPT_INFO. */
typedef struct NbdGo {
    char *name;
    bool wants_name, wants_description, wants_block_size;
} NbdGo;
bool nbd_go_parse(const uint8_t *data, size_t len, NbdGo *go);
void nbd_go_clear(NbdGo *go);

/* Of the two META_CONTEXT options: export, NULL-terminated queries. */
typedef struct NbdMeta {
    char *name;
    char **queries;
    unsigned count;
} NbdMeta;
bool nbd_meta_parse(const uint8_t *data, size_t len, NbdMeta *meta);
void nbd_meta_clear(NbdMeta *meta);

/* What a client learns of an export. */
typedef struct NbdInfo {
    uint64_t size;
    uint16_t flags;
    char *name, *description;
    uint32_t min_block, preferred_block, max_block;      /* 0: not told */
} NbdInfo;
/* One NBD_REP_INFO; kinds that are unknown are ignored. */
bool nbd_info_parse(const uint8_t *data, size_t len, NbdInfo *info);
void nbd_info_clear(NbdInfo *info);
/* NBD_REP_SERVER and NBD_REP_META_CONTEXT. */
bool nbd_server_reply_parse(const uint8_t *data, size_t len, char **name, char **description);
bool nbd_meta_reply_parse(const uint8_t *data, size_t len, uint32_t *id, char **name);
/* "operation not permitted by policy" and so on. */
const char *nbd_reply_text(uint32_t type);

/* ---- transmission ---- */

#define NBD_MAGIC_REQUEST    UINT32_C(0x25609513)
#define NBD_MAGIC_SIMPLE     UINT32_C(0x67446698)
#define NBD_MAGIC_STRUCTURED UINT32_C(0x668e33ef)
#define NBD_REQUEST_BYTES 28
#define NBD_SIMPLE_BYTES 16
#define NBD_CHUNK_BYTES 20

enum {
    NBD_CMD_READ, NBD_CMD_WRITE, NBD_CMD_DISC, NBD_CMD_FLUSH, NBD_CMD_TRIM, NBD_CMD_CACHE,
    NBD_CMD_WRITE_ZEROES, NBD_CMD_BLOCK_STATUS,
};
enum {
    NBD_CMD_FLAG_FUA = 1 << 0, NBD_CMD_FLAG_NO_HOLE = 1 << 1, NBD_CMD_FLAG_DF = 1 << 2,
    NBD_CMD_FLAG_REQ_ONE = 1 << 3, NBD_CMD_FLAG_FAST_ZERO = 1 << 4,
};
enum {
    NBD_CHUNK_NONE = 0, NBD_CHUNK_DATA = 1, NBD_CHUNK_HOLE = 2, NBD_CHUNK_STATUS = 5,
    NBD_CHUNK_IS_ERROR = 1 << 15, NBD_CHUNK_ERROR = NBD_CHUNK_IS_ERROR | 1,
    NBD_CHUNK_ERROR_OFFSET = NBD_CHUNK_IS_ERROR | 2,
};
enum { NBD_CHUNK_FLAG_DONE = 1 << 0 };
enum { NBD_STATE_HOLE = 1 << 0, NBD_STATE_ZERO = 1 << 1, NBD_STATE_DIRTY = 1 << 0 };
enum {
    NBD_EPERM = 1, NBD_EIO = 5, NBD_ENOMEM = 12, NBD_EINVAL = 22, NBD_ENOSPC = 28,
    NBD_EOVERFLOW = 75, NBD_ENOTSUP = 95, NBD_ESHUTDOWN = 108,
};
/* clang-format on */

typedef struct NbdRequest {
    uint16_t flags, type;
    uint64_t cookie, offset;
    uint32_t len;
} NbdRequest;
/* False when the magic is wrong: nothing that follows makes sense. */
bool nbd_request_parse(const uint8_t *p, NbdRequest *r);
void nbd_request_put(uint8_t *p, const NbdRequest *r);
/* The NBD error that the export with INFO answers to R, or 0; STRUCTURED and HAS_META: what the
 * client negotiated. */
uint32_t nbd_request_check(const NbdRequest *r, const NbdInfo *info, bool structured,
                           bool has_meta);

/* Of a reply, simple or the head of a chunk. */
typedef struct NbdReply {
    bool structured;
    uint16_t flags, type;
    uint64_t cookie;
    uint32_t len;                      /* of the payload */
    uint32_t error;                    /* simple */
} NbdReply;
/* The first four bytes say which; 16 or 20 bytes in all, 0 when the magic is wrong. */
unsigned nbd_reply_bytes(const uint8_t *p);
void nbd_reply_parse(const uint8_t *p, NbdReply *r);
void nbd_simple_put(uint8_t *p, uint32_t error, uint64_t cookie);
void nbd_chunk_put(uint8_t *p, uint16_t flags, uint16_t type, uint64_t cookie, uint32_t len);

/* Payload of an error chunk. */
bool nbd_error_parse(uint16_t type, const uint8_t *data, size_t len, uint32_t *error);

uint32_t nbd_error_from_errno(int err);
int nbd_error_to_errno(uint32_t error);

#endif
