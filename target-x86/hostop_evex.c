/* SPDX-License-Identifier: MIT */
/*
 * Thunks for EVEX instructions: see hostop.h.  Encoding: [SDM2A 2.7].
 *
 * They are kept in a hash table of a fixed size, for the encoding space is large (an immediate for each of rounding,
 * mask, length) and a guest may walk through it.  What finds no place there is assembled anew each time it runs.
 * Locking: host_op_lock to insert; the table is read with acquire loads.  `once_lock` for the common place.
 */
#include "target-x86/hostop_int.h"

#include <cpuid.h>

enum {
    TABLE_BITS = 16,
    PROBES = 16,              /* places looked at */
};

/* `key` is written last. */
static struct {
    uint64_t key;
    HostOpFn *fn;
} table[1 << TABLE_BITS];

static GMutex once_lock;
static struct {
    HostOpFn *fn;
    uint8_t *write;
} once;                       /* common place of those without one of their own */

/* VMOVDQU64 between ZMM register V and [BASE]. */
static void emit_zmm_move(Emitter *e, bool store, unsigned v, unsigned base)
{
    EMIT(e, 0x62, 0xf1, 0xfe, 0x48, store ? 0x7f : 0x6f, modrm(0, v, base));
}

static void emit_move(Emitter *e, unsigned kind, bool store, unsigned n, unsigned base)
{
    switch (kind) {
    case HOST_VEC:
        emit_zmm_move(e, store, n, base);
        break;
    case HOST_K:
        emit_k_move(e, store, n + 1, base);
        break;
    case HOST_GPR:            /* reg: rax; rm: rcx */
        EMIT(e, 0x48, store ? 0x89 : 0x8b, modrm(0, n - 1, base));
        break;
    default:
        break;
    }
}

/* The register's number in its slot: 1 reg, 2 rm, 3 vvvv. */
static unsigned number(unsigned kind, unsigned slot)
{
    return kind == HOST_VEC ? slot : kind == HOST_K ? slot + 1 : kind == HOST_GPR ? slot - 1 : 0;
}

static void emit_thunk(Emitter *e, HostEvexOp op)
{
    unsigned reg = op.reg == HOST_DIGIT ? op.digit : number(op.reg, 1);

    emit_move(e, op.reg, false, 1, BASE_REG);
    emit_move(e, op.vvvv, false, 3, BASE_VVVV);
    if (op.masked) {
        emit_k_move(e, false, 1, BASE_FOURTH);
    }
    EMIT(e, 0x41, 0x0f, 0xae, 0x50, ENV(mxcsr));              /* ldmxcsr [r8+] */
    emit_move(e, op.rm, false, 2, BASE_RM);                   /* last: may overwrite rcx */
    EMIT(e, 0x62, 0xf0 | op.map, op.w << 7 | (~number(op.vvvv, 3) & 15) << 3 | 4 | op.pp,
         op.z << 7 | op.ll << 5 | op.b << 4 | 8 | op.masked, op.opcode,
         op.rm == HOST_MEM ? modrm(0, reg, BASE_RM) : modrm(3, reg, number(op.rm, 2)));
    if (op.has_imm) {
        EMIT(e, op.imm);
    }
    if (op.dst == HOST_DST_REG) {
        emit_move(e, op.reg, true, 1, BASE_REG);
    } else if (op.dst == HOST_DST_RM) {
        emit_move(e, op.rm, true, 2, BASE_RM);
    } else if (op.dst == HOST_DST_VVVV) {
        emit_move(e, op.vvvv, true, 3, BASE_VVVV);
    }
    EMIT(e, 0x9c, 0x58, 0x49, 0x89, 0x40, ENV(rflags));       /* pushfq; pop rax; mov [r8+], rax */
    EMIT(e, 0x41, 0x0f, 0xae, 0x58, ENV(mxcsr));              /* stmxcsr [r8+] */
    EMIT(e, 0x41, 0x0f, 0xae, 0x50, ENV(host_mxcsr));
    EMIT(e, 0xc5, 0xf8, 0x77, 0x31, 0xc0, 0xc3);              /* vzeroupper; xor eax, eax; ret */
}

static unsigned hash(uint64_t key)
{
    return key * 0x9e3779b97f4a7c15ull >> (64 - TABLE_BITS);
}

/* NULL: not there. */
static HostOpFn *find(uint64_t key)
{
    for (unsigned i = 0, at = hash(key); i < PROBES; i++, at = (at + 1) % ARRAY_LEN(table)) {
        uint64_t have = __atomic_load_n(&table[at].key, __ATOMIC_ACQUIRE);

        if (have == key) {
            return table[at].fn;
        }
        if (!have) {
            break;
        }
    }
    return NULL;
}

/* NULL: no place left. */
static HostOpFn *insert(HostEvexOp op)
{
    Emitter e = { .len = 0 };
    HostOpFn *fn;

    g_mutex_lock(&host_op_lock);
    fn = find(op.key);
    for (unsigned i = 0, at = hash(op.key); !fn && i < PROBES; i++, at = (at + 1) % ARRAY_LEN(table)) {
        if (!table[at].key) {
            emit_thunk(&e, op);
            fn = table[at].fn = (HostOpFn *)host_op_publish_locked(&e, NULL);
            __atomic_store_n(&table[at].key, op.key, __ATOMIC_RELEASE);
        }
    }
    g_mutex_unlock(&host_op_lock);
    return fn;
}

static void serialize(void)
{
    unsigned a, b, c, d;

    __cpuid(0, a, b, c, d);
}

/* A thunk comes back in any case, with an exception, too. */
static unsigned run_once(HostEvexOp op, void *reg, void *rm, void *vvvv, uint64_t *mask, HostEnv *env)
{
    Emitter e = { .len = 0 };
    unsigned result;

    emit_thunk(&e, op);
    g_mutex_lock(&once_lock);
    if (!once.fn) {
        Emitter space = { .len = THUNK_MAX_BYTES };

        g_mutex_lock(&host_op_lock);
        once.fn = (HostOpFn *)host_op_publish_locked(&space, &once.write);
        g_mutex_unlock(&host_op_lock);
    }
    memcpy(once.write, e.code, e.len);
    serialize();              /* written under another address [SDM3A 9.1.3] */
    result = once.fn(reg, rm, vvvv, mask, env);
    g_mutex_unlock(&once_lock);
    return result;
}

unsigned host_evex_run(HostEvexOp op, void *reg, void *rm, void *vvvv, uint64_t *mask, HostEnv *env)
{
    HostOpFn *fn = find(op.key);

    if (G_UNLIKELY(!fn)) {
        fn = insert(op);
        if (!fn) {
            return run_once(op, reg, rm, vvvv, mask, env);
        }
    }
    return fn(reg, rm, vvvv, mask, env);
}
