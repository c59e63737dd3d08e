/* SPDX-License-Identifier: MIT */
/*
 * Arithmetic by the host's own instruction.
 *
 * SIMD and x87 results are not computed by code of ours: the same instruction is emitted once with
 * fixed registers into a small function (a "thunk"), which loads its operands from memory, executes
 * the instruction and stores the result.  What the host computes is by construction what the guest
 * must see; a new instruction needs data, not code.
 *
 * Fixed registers of a thunk (the guest's register numbers never appear in it):
 *
 *   operand   location   vector  MMX   GPR     opmask
 *   reg       [rdi]      xmm1    mm1   rax     k2
 *   rm        [rsi]      xmm2    mm2   rcx     k3      (or the memory operand itself, a buffer)
 *   vvvv      [rdx]      xmm3    -     rdx     k4
 *   fourth    [rcx]      xmm0 where implicit (BLENDV, SHA256RNDS2, PCMPxSTRM), xmm4 for /is4
 *   environment at r8    HostEnv
 *
 * A legacy SSE instruction writes the low 16 bytes of its destination, a VEX one the low 32 with
 * the upper half zeroed where the instruction does so.  A vector location therefore has 32 bytes, a
 * memory operand's buffer 64 with 64-byte alignment (HOST_BUFFER_BYTES).
 *
 * Exceptions: the thunk runs under the guest's MXCSR from HostEnv and leaves the new one there.
 * With an unmasked exception the host raises SIGFPE; the handler that host_op_init() installs
 * leaves the thunk with the destination unchanged, stores MXCSR as the processor set it, and
 * the call returns 1.  x87 needs no signal: its exceptions stay pending in the saved image.
 *
 * Threads: any.  host_op_get() is lock-free once a thunk exists; creating one takes a mutex.
 * Thunks live in a memfd mapped twice (one alias writable, one executable) and are never freed:
 * their number is bounded by the encoding space (about 10 MiB if a guest used every one).
 */
#ifndef TARGET_X86_HOSTOP_H
#define TARGET_X86_HOSTOP_H

#include "base/bits.h"

typedef enum HostOperand {
    HOST_NONE,
    HOST_VEC,
    HOST_MMX,
    HOST_GPR,
    HOST_MEM,                 /* rm only: a buffer */
    HOST_DIGIT,               /* reg only: an opcode extension */
    HOST_K,                   /* an opmask register: 8 bytes */
} HostOperand;

typedef enum HostDst {
    HOST_DST_NONE,            /* flags, memory or nothing */
    HOST_DST_REG,
    HOST_DST_RM,              /* a register; a memory destination needs no store by the thunk */
    HOST_DST_VVVV,
} HostDst;

typedef struct HostOp {
    uint8_t map;              /* 1: 0F, 2: 0F 38, 3: 0F 3A */
    uint8_t prefix;           /* mandatory prefix: 0, 0x66, 0xf3, 0xf2 */
    uint8_t opcode;
    bool vex, w, l;           /* l: 256 bits */
    uint8_t reg, rm, vvvv;    /* HostOperand */
    bool is4;                 /* the immediate's upper half names a register */
    uint8_t digit;            /* reg == HOST_DIGIT */
    uint8_t dst;              /* HostDst */
    bool reg_is_source;       /* VEX: reg is read too (FMA); legacy: always loaded */
    bool has_imm;
    uint8_t imm;
} HostOp;

typedef struct HostEnv {
    uint64_t rax, rdx, rcx;   /* PCMPxSTRx: lengths in, index out */
    uint64_t rflags;          /* out, for the instructions that set flags; in, for FCMOVcc */
    uint32_t mxcsr;           /* the guest's, in and out */
    uint32_t host_mxcsr;      /* loaded again at the end: HOST_MXCSR */
} HostEnv;

enum { HOST_MXCSR = 0x1f80, HOST_BUFFER_BYTES = 64 };

/* Returns 0, or 1 when an unmasked SIMD floating-point exception was raised. */
typedef unsigned HostOpFn(void *reg, void *rm, void *vvvv, void *fourth, HostEnv *env);

/*
 * Maps the arena and installs the SIGFPE handler.  Idempotent; false with *error set if the host
 * refuses the executable mapping.  The first thunk does it too, but then failure is fatal.
 */
bool host_op_init(GError **error);

/* The thunk for OP; OP must be an instruction the host has. */
HostOpFn *host_op_get(const HostOp *op);

/*
 * EVEX (hostop_evex.c).  A thunk's vector locations have 64 bytes and are loaded and stored whole; `fourth` points to
 * the writemask, which is in k1.  MXCSR is always the guest's.  The key is all there is to a thunk; unused fields are 0.
 */
typedef union HostEvexOp {
    struct {
        uint64_t opcode : 8, imm : 8, map : 2, pp : 2, ll : 2, w : 1, b : 1, z : 1, masked : 1, has_imm : 1;
        uint64_t reg : 3, rm : 3, vvvv : 3, digit : 3, dst : 2;    /* HostOperand, HostDst */
    };
    uint64_t key;
} HostEvexOp;
G_STATIC_ASSERT(sizeof(HostEvexOp) == 8);

/* Runs it, with what HostOpFn takes and returns. */
unsigned host_evex_run(HostEvexOp op, void *reg, void *rm, void *vvvv, uint64_t *mask, HostEnv *env);

/* Whether the instruction reads or writes MXCSR, and whether it writes arithmetic flags. */
bool host_op_uses_mxcsr(const HostOp *op);
bool host_op_sets_flags(const HostOp *op);

/* Call once per thread before running a thunk with unmasked exceptions (unblocks SIGFPE). */
void host_op_thread_init(void);

/*
 * x87: the instruction ESC MODRM (ESC is 0xd8..0xdf) on the FXSAVE image at *IMAGE (512 bytes,
 * 16-byte aligned, MXCSR field HOST_MXCSR).  A memory form uses the buffer MEM.  RAX and
 * the arithmetic flags go in and out through ENV (FNSTSW AX, FCOMI, FCMOVcc).
 */
typedef void HostX87Fn(void *image, void *mem, HostEnv *env);
HostX87Fn *host_x87_get(uint8_t esc, uint8_t modrm);

/*
 * The same without the image, for operands that are known to be there and with all exceptions
 * masked: ST0 and OTHER point to 80-bit values, or OTHER to the memory operand.  CW[0] is the
 * guest's control word, CW[1] the host's (HOST_FCW).  Returns the status word after ESC MODRM.
 *   X87_BINARY  ST0 op ST(1); both are stored back      X87_UNARY  ST0 [op memory]
 *   X87_LOAD    the value pushed goes to *ST0           X87_STORE  *OTHER = ST0
 */
typedef enum HostX87Shape { X87_BINARY, X87_UNARY, X87_LOAD, X87_STORE } HostX87Shape;
typedef unsigned HostX87FastFn(void *st0, void *other, const uint16_t cw[2], uint64_t *rflags);
HostX87FastFn *host_x87_fast_get(HostX87Shape shape, uint8_t esc, uint8_t modrm);
enum { HOST_FCW = 0x37f };

#endif
