/* SPDX-License-Identifier: MIT */
/*
 * What hostop.c and hostop_evex.c share: bytes of a thunk and the place for them.
 * Thread rule: an Emitter is its maker's; host_op_publish_locked() wants host_op_lock.
 */
#ifndef TARGET_X86_HOSTOP_INT_H
#define TARGET_X86_HOSTOP_INT_H

#include "target-x86/hostop.h"

enum { THUNK_MAX_BYTES = 128 };

typedef struct Emitter {
    uint8_t code[THUNK_MAX_BYTES];
    unsigned len;
} Emitter;

static inline void emit(Emitter *e, unsigned count, const uint8_t *bytes)
{
    g_assert(e->len + count <= sizeof(e->code));
    memcpy(e->code + e->len, bytes, count);
    e->len += count;
}
#define EMIT(e, ...) \
    emit(e, sizeof((const uint8_t[]){ __VA_ARGS__ }), (const uint8_t[]){ __VA_ARGS__ })

enum { BASE_REG = 7, BASE_RM = 6, BASE_VVVV = 2, BASE_FOURTH = 1 };   /* rdi rsi rdx rcx */
#define ENV(field) ((uint8_t)offsetof(HostEnv, field))

static inline uint8_t modrm(unsigned mod, unsigned reg, unsigned rm)
{
    return mod << 6 | reg << 3 | rm;
}

/* KMOVQ between opmask register K and [BASE]. */
static inline void emit_k_move(Emitter *e, bool store, unsigned k, unsigned base)
{
    EMIT(e, 0xc4, 0xe1, 0xf8, 0x90 | store, modrm(0, k, base));
}

extern GMutex host_op_lock;
/* The code where it can be executed; *WRITE, if wanted, its writable alias.  Makes the arena when there is none. */
void *host_op_publish_locked(const Emitter *e, uint8_t **write);

#endif
