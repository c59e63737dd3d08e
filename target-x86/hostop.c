/* SPDX-License-Identifier: MIT */
/*
 * Thunks that execute one guest SIMD or x87 instruction on the host: see the header.
 * Encoding: [SDM2A 2.1-2.3].  EVEX: hostop_evex.c.
 * Locking: `host_op_lock` for the arena; tables of thunks are read with acquire loads.
 */
#include "target-x86/hostop_int.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#include <gio/gio.h>

enum {
    ARENA_BYTES = 32 << 20,   /* sparse; above the bound given in the header */
    SHAPES = 1 << 16,         /* vex, map, prefix, opcode, l, w, mem: shape_index() */
    VARIANTS = 8 * 256,       /* digit, immediate */
};

typedef struct Arena {
    uint8_t *write;           /* the two aliases of one memfd */
    uint8_t *exec;
    size_t used;
    uint8_t *fault_exit;      /* exec alias: leaves a thunk after SIGFPE */
} Arena;

static Arena arena;
GMutex host_op_lock;
static void *shapes[SHAPES];      /* a thunk, or a table of VARIANTS thunks */
static void *x87_thunks[8 * 256];
static void *x87_fast_thunks[8 * 256];
static struct sigaction old_sigfpe;

/* MOVUPS / VMOVUPS between vector register V and [BASE]. */
static void emit_vec_move(Emitter *e, bool vex, bool l, bool store, unsigned v, unsigned base)
{
    if (vex) {
        EMIT(e, 0xc5, 0xf8 | l << 2, 0x10 | store, modrm(0, v, base));
    } else {
        EMIT(e, 0x0f, 0x10 | store, modrm(0, v, base));
    }
}

static void emit_operand_move(Emitter *e, const HostOp *op, HostOperand kind, bool store,
                              unsigned vec, unsigned gpr, unsigned base)
{
    switch (kind) {
    case HOST_VEC:
        /* A VEX result is stored whole: the host has zeroed the upper half. */
        emit_vec_move(e, op->vex, store || op->l, store, vec, base);
        break;
    case HOST_MMX:
        EMIT(e, 0x0f, store ? 0x7f : 0x6f, modrm(0, vec, base));
        break;
    case HOST_GPR:
        EMIT(e, 0x48, store ? 0x89 : 0x8b, modrm(0, gpr, base));
        break;
    case HOST_K:
        emit_k_move(e, store, vec + 1, base);
        break;
    case HOST_NONE:
    case HOST_MEM:
    case HOST_DIGIT:
        break;
    }
}

static bool is_pcmpstr(const HostOp *op)
{
    return op->map == 3 && op->prefix == 0x66 && op->opcode >= 0x60 && op->opcode <= 0x63;
}

/* xmm0 is an implicit source: BLENDVPS, BLENDVPD, PBLENDVB, SHA256RNDS2. */
static bool reads_xmm0(const HostOp *op)
{
    if (op->vex || op->map != 2) {
        return false;
    }
    return op->prefix == 0x66 ? (op->opcode == 0x10 || op->opcode == 0x14 || op->opcode == 0x15)
                              : (op->prefix == 0 && op->opcode == 0xcb);
}

bool host_op_sets_flags(const HostOp *op)
{
    switch (op->map) {
    case 1:
        return op->opcode == 0x2e || op->opcode == 0x2f ||    /* (U)COMISS, (U)COMISD */
               (op->vex && (op->opcode == 0x98 || op->opcode == 0x99));         /* KORTEST, KTEST */
    case 2:
        return op->prefix == 0x66 &&                          /* VTESTPS/PD, PTEST */
               (op->opcode == 0x0e || op->opcode == 0x0f || op->opcode == 0x17);
    default:
        return is_pcmpstr(op);
    }
}

bool host_op_uses_mxcsr(const HostOp *op)
{
    unsigned n = op->opcode;

    switch (op->map) {
    case 1:
        return (n >= 0x2a && n <= 0x2f && n != 0x2b) || (n >= 0x51 && n <= 0x53) ||
               (n >= 0x58 && n <= 0x5f) || n == 0x7c || n == 0x7d || n == 0xc2 || n == 0xd0 ||
               n == 0xe6;
    case 2:
        return n == 0x13 || (op->vex && n >= 0x96 && n <= 0xbf);
    default:
        return (n >= 0x08 && n <= 0x0b) || n == 0x1d || n == 0x40 || n == 0x41;
    }
}

static void emit_instruction(Emitter *e, const HostOp *op)
{
    static const uint8_t reg_number[] = { [HOST_VEC] = 1, [HOST_MMX] = 1, [HOST_GPR] = 0, [HOST_K] = 2 };
    static const uint8_t rm_number[] = { [HOST_VEC] = 2, [HOST_MMX] = 2, [HOST_GPR] = 1, [HOST_K] = 3 };
    unsigned reg = op->reg == HOST_DIGIT ? op->digit : op->reg ? reg_number[op->reg] : 0;
    uint8_t operands = op->rm == HOST_MEM ? modrm(0, reg, BASE_RM)
                                          : modrm(3, reg, op->rm ? rm_number[op->rm] : 0);

    if (op->vex) {
        unsigned vvvv = op->vvvv == HOST_VEC ? 3 : op->vvvv == HOST_GPR ? 2 : op->vvvv == HOST_K ? 4 : 0;
        unsigned pp = op->prefix == 0x66 ? 1 : op->prefix == 0xf3 ? 2 : op->prefix == 0xf2 ? 3 : 0;

        EMIT(e, 0xc4, 0xe0 | op->map, op->w << 7 | (~vvvv & 15) << 3 | op->l << 2 | pp,
             op->opcode, operands);
    } else {
        if (op->prefix) {
            EMIT(e, op->prefix);
        }
        if (op->w) {
            EMIT(e, 0x48);
        }
        EMIT(e, 0x0f);
        if (op->map != 1) {
            EMIT(e, op->map == 2 ? 0x38 : 0x3a);
        }
        EMIT(e, op->opcode, operands);
    }
    if (op->is4) {
        EMIT(e, 4 << 4 | (op->imm & 15));
    } else if (op->has_imm) {
        EMIT(e, op->imm);
    }
}

static void emit_thunk(Emitter *e, const HostOp *op)
{
    bool mxcsr = host_op_uses_mxcsr(op);
    bool mmx = op->reg == HOST_MMX || op->rm == HOST_MMX;

    if (op->reg != HOST_DIGIT && (!op->vex || op->reg_is_source || op->dst != HOST_DST_REG)) {
        emit_operand_move(e, op, op->reg, false, 1, 0, BASE_REG);
    }
    if (op->vvvv && op->dst != HOST_DST_VVVV) {
        emit_operand_move(e, op, op->vvvv, false, 3, 2, BASE_VVVV);
    }
    if (op->is4 || reads_xmm0(op)) {
        emit_vec_move(e, op->vex, op->l, false, op->is4 ? 4 : 0, BASE_FOURTH);
    }
    if (is_pcmpstr(op)) {
        EMIT(e, 0x49, 0x8b, 0x40, ENV(rax));                  /* mov rax, [r8+] */
        EMIT(e, 0x49, 0x8b, 0x50, ENV(rdx));
    }
    if (mxcsr) {
        EMIT(e, 0x41, 0x0f, 0xae, 0x50, ENV(mxcsr));          /* ldmxcsr [r8+] */
    }
    emit_operand_move(e, op, op->rm, false, 2, 1, BASE_RM);   /* last: may overwrite rcx */
    emit_instruction(e, op);
    if (op->dst == HOST_DST_REG) {
        emit_operand_move(e, op, op->reg, true, 1, 0, BASE_REG);
    } else if (op->dst == HOST_DST_RM) {
        emit_operand_move(e, op, op->rm, true, 2, 1, BASE_RM);
    } else if (op->dst == HOST_DST_VVVV) {
        emit_operand_move(e, op, op->vvvv, true, 3, 2, BASE_VVVV);
    }
    if (is_pcmpstr(op)) {
        if (op->opcode & 1) {
            EMIT(e, 0x49, 0x89, 0x48, ENV(rcx));              /* PCMPxSTRI: mov [r8+], rcx */
        } else {
            emit_vec_move(e, op->vex, true, true, 0, BASE_FOURTH);
        }
    }
    if (host_op_sets_flags(op)) {
        EMIT(e, 0x9c, 0x58, 0x49, 0x89, 0x40, ENV(rflags));   /* pushfq; pop rax; mov [r8+], rax */
    }
    if (mxcsr) {
        EMIT(e, 0x41, 0x0f, 0xae, 0x58, ENV(mxcsr));          /* stmxcsr [r8+] */
        EMIT(e, 0x41, 0x0f, 0xae, 0x50, ENV(host_mxcsr));
    }
    if (op->vex && op->l) {
        EMIT(e, 0xc5, 0xf8, 0x77);                            /* vzeroupper */
    }
    if (mmx) {
        EMIT(e, 0x0f, 0x77);                                  /* emms */
    }
    EMIT(e, 0x31, 0xc0, 0xc3);                                /* xor eax, eax; ret */
}

static bool is_fcmov(uint8_t esc, uint8_t modrm_byte)
{
    return (esc == 0xda || esc == 0xdb) && modrm_byte >= 0xc0 && modrm_byte < 0xe0;
}

static bool is_fcomi(uint8_t esc, uint8_t modrm_byte)
{
    return (esc == 0xdb || esc == 0xdf) && modrm_byte >= 0xe8 && modrm_byte < 0xf8;
}

static void emit_x87(Emitter *e, uint8_t esc, uint8_t modrm_byte)
{
    bool mem = modrm_byte < 0xc0;

    EMIT(e, 0x48, 0x0f, 0xae, 0x0f);                          /* fxrstor64 [rdi] */
    if (is_fcmov(esc, modrm_byte)) {
        EMIT(e, 0xff, 0x72, ENV(rflags), 0x9d);               /* push [rdx+]; popfq */
    }
    EMIT(e, esc, mem ? modrm(0, modrm_byte >> 3 & 7, BASE_RM) : modrm_byte);
    if (is_fcomi(esc, modrm_byte)) {
        EMIT(e, 0x9c, 0x8f, 0x42, ENV(rflags));               /* pushfq; pop [rdx+] */
    }
    EMIT(e, 0x48, 0x0f, 0xae, 0x07);                          /* fxsave64 [rdi] */
    EMIT(e, 0xdb, 0xe3, 0xc3);                                /* fninit; ret */
}

/* FIST, FST and FSTP with a memory operand: those with the extensions 1, 3, 6, 7 pop. */
static bool x87_store_pops(uint8_t modrm_byte)
{
    return (modrm_byte >> 3 & 7) != 2;
}

static void emit_x87_fast(Emitter *e, HostX87Shape shape, uint8_t esc, uint8_t modrm_byte)
{
    bool mem = modrm_byte < 0xc0;

    EMIT(e, 0xdf, 0xe0, 0xa8, 0x7f, 0x74, 2, 0xdb, 0xe2);     /* flags of C code: fnclex */
    EMIT(e, 0xd9, 0x2a);                                      /* fldcw [rdx] */
    if (shape == X87_BINARY) {
        EMIT(e, 0xdb, modrm(0, 5, BASE_RM));                  /* fld tbyte [rsi] */
    }
    if (shape != X87_LOAD) {
        EMIT(e, 0xdb, modrm(0, 5, BASE_REG));                 /* fld tbyte [rdi] */
    }
    if (is_fcmov(esc, modrm_byte)) {
        EMIT(e, 0xff, 0x31, 0x9d);                            /* push [rcx]; popfq */
    }
    EMIT(e, esc, mem ? modrm(0, modrm_byte >> 3 & 7, BASE_RM) : modrm_byte);
    if (is_fcomi(esc, modrm_byte)) {
        EMIT(e, 0x9c, 0x8f, 0x01);                            /* pushfq; pop [rcx] */
    }
    EMIT(e, 0xdf, 0xe0);                                      /* fnstsw ax */
    if (shape != X87_STORE) {
        EMIT(e, 0xdb, modrm(0, 7, BASE_REG));                 /* fstp tbyte [rdi] */
    } else if (!x87_store_pops(modrm_byte)) {
        EMIT(e, 0xdd, 0xd8);                                  /* fstp st(0) */
    }
    if (shape == X87_BINARY) {
        EMIT(e, 0xdb, modrm(0, 7, BASE_RM));
    }
    EMIT(e, 0xd9, 0x6a, 2);                                   /* fldcw [rdx+2] */
    EMIT(e, 0x0f, 0xb7, 0xc0, 0xc3);                          /* movzx eax, ax; ret */
}

/* Caller holds `host_op_lock`; the arena exists. */
static void *publish_locked(const Emitter *e)
{
    size_t start = align_up(arena.used, 16);

    g_assert(arena.exec && start + e->len <= ARENA_BYTES);    /* bound: see the header */
    memcpy(arena.write + start, e->code, e->len);
    arena.used = start + e->len;
    return arena.exec + start;
}

/* Async-signal-safe: reads and writes only the interrupted context and the thunk's HostEnv. */
static void on_sigfpe(int sig, siginfo_t *info, void *opaque)
{
    ucontext_t *uc = opaque;
    uintptr_t pc = uc->uc_mcontext.gregs[REG_RIP];
    uintptr_t start = (uintptr_t)arena.exec;

    if (pc - start < ARENA_BYTES && uc->uc_mcontext.fpregs) {
        HostEnv *env = (HostEnv *)uc->uc_mcontext.gregs[REG_R8];

        env->mxcsr = uc->uc_mcontext.fpregs->mxcsr;
        uc->uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)arena.fault_exit;
        return;
    }
    if (old_sigfpe.sa_flags & SA_SIGINFO) {
        old_sigfpe.sa_sigaction(sig, info, opaque);
    } else if (old_sigfpe.sa_handler != SIG_DFL && old_sigfpe.sa_handler != SIG_IGN) {
        old_sigfpe.sa_handler(sig);
    } else {
        signal(SIGFPE, SIG_DFL);      /* our bug: let the instruction fault again and dump core */
    }
}

void host_op_thread_init(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGFPE);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static bool arena_map(GError **error)
{
    int fd = memfd_create("host-op", MFD_CLOEXEC);
    void *write = MAP_FAILED;
    void *exec = MAP_FAILED;

    if (fd >= 0 && ftruncate(fd, ARENA_BYTES) == 0) {
        write = mmap(NULL, ARENA_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        exec = mmap(NULL, ARENA_BYTES, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    }
    if (write == MAP_FAILED || exec == MAP_FAILED) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno),
                    "Cannot map memory for host instructions: %s; the emulator needs an "
                    "executable memfd mapping (check seccomp, SELinux or noexec policies)",
                    g_strerror(errno));
        if (write != MAP_FAILED) {
            munmap(write, ARENA_BYTES);
        }
        if (fd >= 0) {
            close(fd);
        }
        return false;
    }
    close(fd);
    arena.write = write;
    arena.exec = exec;
    return true;
}

static bool init_locked(GError **error)
{
    struct sigaction sa = { .sa_sigaction = on_sigfpe, .sa_flags = SA_SIGINFO | SA_ONSTACK };
    Emitter e = { .len = 0 };

    if (arena.exec) {
        return true;
    }
    if (!arena_map(error)) {
        return false;
    }
    EMIT(&e, 0x41, 0x0f, 0xae, 0x50, ENV(host_mxcsr));
    EMIT(&e, 0x0f, 0x77);                                     /* emms: CVTPS2PI and kin */
    if (__builtin_cpu_supports("avx")) {
        EMIT(&e, 0xc5, 0xf8, 0x77);
    }
    EMIT(&e, 0xb8, 1, 0, 0, 0, 0xc3);                         /* mov eax, 1; ret */
    arena.fault_exit = publish_locked(&e);
    sigemptyset(&sa.sa_mask);
    sigaction(SIGFPE, &sa, &old_sigfpe);
    return true;
}

bool host_op_init(GError **error)
{
    bool ok;

    g_mutex_lock(&host_op_lock);
    ok = init_locked(error);
    g_mutex_unlock(&host_op_lock);
    return ok;
}

void *host_op_publish_locked(const Emitter *e, uint8_t **write)
{
    g_autoptr(GError) error = NULL;
    uint8_t *exec;

    if (!init_locked(&error)) {
        g_error("%s", error->message);    /* the caller was to use host_op_init() in time */
    }
    exec = publish_locked(e);
    if (write) {
        *write = arena.write + (exec - arena.exec);
    }
    return exec;
}

/* Puts a new thunk into SLOT; another thread may have been first. */
static void *thunk_install(void **slot, const Emitter *e)
{
    void *fn;

    g_mutex_lock(&host_op_lock);
    fn = *slot;
    if (!fn) {
        fn = host_op_publish_locked(e, NULL);
        __atomic_store_n(slot, fn, __ATOMIC_RELEASE);
    }
    g_mutex_unlock(&host_op_lock);
    return fn;
}

static unsigned shape_index(const HostOp *op)
{
    unsigned pp = op->prefix == 0x66 ? 1 : op->prefix == 0xf3 ? 2 : op->prefix == 0xf2 ? 3 : 0;

    return op->opcode | pp << 8 | (op->map & 3) << 10 | op->vex << 12 | op->l << 13 |
           op->w << 14 | (op->rm == HOST_MEM) << 15;
}

HostOpFn *host_op_get(const HostOp *op)
{
    bool varies = op->has_imm || op->reg == HOST_DIGIT;
    /* The register that /is4 names is a location, not part of the code. */
    unsigned variant = op->digit << 8 | (op->is4 ? op->imm & 15 : op->has_imm ? op->imm : 0);
    void **slot = &shapes[shape_index(op)];
    void *fn;

    if (varies) {
        void **table = __atomic_load_n(slot, __ATOMIC_ACQUIRE);

        if (G_UNLIKELY(!table)) {
            g_mutex_lock(&host_op_lock);
            table = *slot;
            if (!table) {
                table = g_new0(void *, VARIANTS);
                __atomic_store_n(slot, table, __ATOMIC_RELEASE);
            }
            g_mutex_unlock(&host_op_lock);
        }
        slot = &table[variant];
    }
    fn = __atomic_load_n(slot, __ATOMIC_ACQUIRE);
    if (G_UNLIKELY(!fn)) {
        Emitter e = { .len = 0 };

        emit_thunk(&e, op);
        fn = thunk_install(slot, &e);
    }
    return (HostOpFn *)fn;
}

HostX87Fn *host_x87_get(uint8_t esc, uint8_t modrm_byte)
{
    /* Memory forms differ in the opcode extension only. */
    uint8_t key = modrm_byte < 0xc0 ? modrm_byte & 0x38 : modrm_byte;
    void **slot = &x87_thunks[(esc & 7) << 8 | key];
    void *fn = __atomic_load_n(slot, __ATOMIC_ACQUIRE);

    if (G_UNLIKELY(!fn)) {
        Emitter e = { .len = 0 };

        emit_x87(&e, esc, key);
        fn = thunk_install(slot, &e);
    }
    return (HostX87Fn *)fn;
}

HostX87FastFn *host_x87_fast_get(HostX87Shape shape, uint8_t esc, uint8_t modrm_byte)
{
    uint8_t key = modrm_byte < 0xc0 ? modrm_byte & 0x38 : modrm_byte;
    void **slot = &x87_fast_thunks[(esc & 7) << 8 | key];
    void *fn = __atomic_load_n(slot, __ATOMIC_ACQUIRE);

    if (G_UNLIKELY(!fn)) {
        Emitter e = { .len = 0 };

        emit_x87_fast(&e, shape, esc, key);
        fn = thunk_install(slot, &e);
    }
    return (HostX87FastFn *)fn;
}
