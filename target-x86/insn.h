/* SPDX-License-Identifier: MIT */
/*
 * Instructions: the table rows (InsnDef), the decoded form (Insn) and how they are run.
 *
 * The tables are target-x86/insn/map_*.def, one row per encoding, in the SDM's letters:
 *
 *   INSN(op, match, name, sem, dst, a, b, c, modes, feature, effects, attrs)
 *
 *   op       opcode byte within the map
 *   match    what else selects the row: prefixes, ModRM, W, L (M_* below; 0: nothing)
 *   name     mnemonic in lower case (disassembler)
 *   sem      semantic function: sem_##sem
 *   dst      operand written; NIL if none.  a, b, c: operands read (dst again where it is read)
 *   modes    ANY, NO64, ONLY64
 *   feature  X86_FEAT_##feature that must be in the guest's CPUID
 *   effects  flags: R(..) read, W(..) always written, C(..) written in some cases,
 *            U(..) undefined afterwards; each of OF SF ZF AF PF CF DF, or ARITH for the six
 *   attrs    A_*: legality, checks, class for the translator
 *
 * Operand letters are those of SDM2 appendix A.2; a legacy SSE row and its VEX row name the
 * same semantic function: op[0] is the destination, op[1], op[2].. the sources in both, and insn->vex tells
 * whether the upper part of the destination is cleared.
 *
 * EVEX rows [SDM2 2.7]: vector operands count to 31; the writemask is no operand, but insn->evex.
 *  - match: the lengths a row has (M_L0 M_L1 M_L2; without: a scalar, which ignores L'L).  A row with M_L1 or
 *    M_L2 needs AVX512VL for its 128- and 256-bit forms; one with M_L0 alone does not.
 *  - An operand in memory has the size that is accessed without mask, and that is N of disp8*N: the tuple type.
 *    Embedded broadcast (A_BC) makes it 4 or 8 bytes, as W says.
 *  - A_E8 to A_E64: the element of the operand in memory that one bit of the writemask governs.
 *
 * How a semantic function is called (by interpreter and translator alike):
 *  - cpu->rip is the address of this instruction, cpu->next_rip that of the next.  Control
 *    transfers store to next_rip; the caller then commits rip = next_rip.
 *  - All checks that depend on mode, prefixes, CPUID, CPL (A_CPL0), CR0.TS/EM, OSFXSR,
 *    XCR0 have been made at decode time.  Left to the function: operand values, memory, alignment (A_ALIGN
 *    rows of vector instructions), IOPL, #MF and #XM.
 *  - It may cpu_raise() as long as nothing has been committed: see exception.h.
 *  - If it changed what decoding depends on it has called x86_update_mode(); its row has A_END.
 *
 * Files: sem_int.c sem_bmi.c sem_string.c sem_branch.c; sem_system.c segment.c interrupt.c task.c
 * msr.c cpuid.c smm.c; sem_x87.c sem_sse.c sem_avx.c xsave.c.  No state, no locks: a
 * decoded Insn is immutable and may be shared.
 */
#ifndef TARGET_X86_INSN_H
#define TARGET_X86_INSN_H

#include "target-x86/cpu.h"

typedef void SemFn(X86Cpu *cpu, const Insn *insn);
/* The interpreter's specialised form: runs this instruction and those after it in its block. */
typedef void RunFn(X86Cpu *cpu, const Insn *insn);

/* ---- match ------------------------------------------------------------------------------- */

enum {
    /* Mandatory prefix: the effective one is the last of F2/F3, else 66, else none. */
    M_NP = BIT(0), M_66 = BIT(1), M_F3 = BIT(2), M_F2 = BIT(3),
    M_PREFIXES = 15,
    M_MEM = BIT(4), M_RR = BIT(5),              /* ModRM.mod */
    M_HAS_REG = BIT(6), M_HAS_RM = BIT(7),
    M_W0 = BIT(8), M_W1 = BIT(9),               /* REX.W or VEX.W */
    M_L0 = BIT(10), M_L1 = BIT(11), M_L2 = BIT(22),         /* VEX.L, EVEX.L'L */
    M_O16 = BIT(12), M_O32 = BIT(13), M_O64 = BIT(14),      /* effective operand size */
    M_MODRM = BIT(15),                          /* has a ModRM byte though no operand says so */
    M_REXB = BIT(16), M_NOREXB = BIT(17),       /* 90: NOP against XCHG r8 */
    M_A16 = BIT(18), M_A32 = BIT(19), M_A64 = BIT(20),
    M_V1111 = BIT(21),                          /* VEX.vvvv must be 1111 (set by the loader) */
};
#define M_LV (M_L0 | M_L1 | M_L2)
#define M_REG(n) (M_HAS_REG | (uint32_t)(n) << 24)
#define M_RM(n) (M_HAS_RM | M_RR | (uint32_t)(n) << 27)

/* ---- operands ------------------------------------------------------------------------------ */

/* Sizes of the SDM's letters; the decoder resolves them to bytes. */
enum {
    SZ_none, SZ_b, SZ_w, SZ_d, SZ_q, SZ_dq, SZ_qq,
    SZ_v,           /* 2, 4, 8 by operand size */
    SZ_z,           /* 2, 4 by operand size (immediates: 4 for 8) */
    SZ_y,           /* 4, 8 by operand size; 4 where it is 2 */
    SZ_p,           /* far pointer: 2 + operand size */
    SZ_s,           /* pseudo-descriptor: 2 + 4, 2 + 8 in 64-bit mode */
    SZ_a,           /* BOUND: a pair of v */
    SZ_t,           /* 10 bytes */
    SZ_x,           /* 16, 32, 64 by VEX.L, EVEX.L'L */
    SZ_h, SZ_f, SZ_e,       /* half, quarter, eighth of x (VPMOVSX and kin) */
    SZ_k64,         /* 8 in 64-bit mode, 4 elsewhere (MOV CRn, pushes of 64-bit mode) */
    SZ_vd64,        /* v, but 64 instead of 32 in 64-bit mode: PUSH, POP, near branches */
    SZ_env,         /* x87 environment 14/28, */
    SZ_fsv,         /* x87 image 94/108 */
    SZ_asz,         /* the address size */
    SZ_dup,         /* 8, 32, 64: VMOVDDUP */
};

/* Where an operand comes from. */
enum {
    OT_NIL, OT_E, OT_G, OT_I, OT_SI /* sign-extended to the operand size */, OT_J, OT_A, OT_O,
    OT_M, OT_R, OT_X, OT_Y, OT_S, OT_C, OT_D, OT_Z /* low bits of the opcode */,
    OT_P, OT_Q, OT_N, OT_V, OT_W, OT_U, OT_H, OT_B /* VEX.vvvv as GPR */, OT_L /* imm8[7:4] */,
    OT_ST0, OT_STI, OT_RAX /* AL..RAX by size */, OT_RDX, OT_RCX, OT_RBX, OT_ONE, OT_SEG /* fixed, in size's place */,
    OT_XMM0, OT_DX, OT_RM /* register of one size, memory of another: EdMb */,
    OT_VSIB,
    OT_KG, OT_KE, OT_KU, OT_KH,         /* opmask registers: ModRM.reg, rm (or memory), rm, VEX.vvvv */
};
#define OPND(type, size) ((type) << 8 | (size))
#define OPND_NIL 0

enum OpndCode {
    OPND_Eb = OPND(OT_E, SZ_b), OPND_Ew = OPND(OT_E, SZ_w), OPND_Ed = OPND(OT_E, SZ_d),
    OPND_Eq = OPND(OT_E, SZ_q), OPND_Ev = OPND(OT_E, SZ_v), OPND_Ey = OPND(OT_E, SZ_y),
    OPND_Ev64 = OPND(OT_E, SZ_vd64), OPND_Ek = OPND(OT_E, SZ_k64),
    OPND_Gb = OPND(OT_G, SZ_b), OPND_Gw = OPND(OT_G, SZ_w), OPND_Gd = OPND(OT_G, SZ_d),
    OPND_Gq = OPND(OT_G, SZ_q), OPND_Gv = OPND(OT_G, SZ_v), OPND_Gy = OPND(OT_G, SZ_y),
    OPND_Gz = OPND(OT_G, SZ_z), OPND_Gk = OPND(OT_G, SZ_k64), OPND_Ga = OPND(OT_G, SZ_asz),
    OPND_Ib = OPND(OT_I, SZ_b), OPND_Iw = OPND(OT_I, SZ_w), OPND_Iz = OPND(OT_SI, SZ_z),
    OPND_Iv = OPND(OT_I, SZ_v), OPND_sIb = OPND(OT_SI, SZ_b), OPND_Id = OPND(OT_I, SZ_d),
    OPND_Jb = OPND(OT_J, SZ_b), OPND_Jz = OPND(OT_J, SZ_z),
    OPND_Ap = OPND(OT_A, SZ_p), OPND_Ob = OPND(OT_O, SZ_b), OPND_Ov = OPND(OT_O, SZ_v),
    OPND_M = OPND(OT_M, SZ_none), OPND_Mb = OPND(OT_M, SZ_b), OPND_Mw = OPND(OT_M, SZ_w),
    OPND_Md = OPND(OT_M, SZ_d), OPND_Mq = OPND(OT_M, SZ_q), OPND_Mdq = OPND(OT_M, SZ_dq),
    OPND_Mqq = OPND(OT_M, SZ_qq), OPND_Mx = OPND(OT_M, SZ_x), OPND_Mv = OPND(OT_M, SZ_v),
    OPND_My = OPND(OT_M, SZ_y), OPND_Mp = OPND(OT_M, SZ_p), OPND_Ms = OPND(OT_M, SZ_s),
    OPND_Ma = OPND(OT_M, SZ_a), OPND_Mt = OPND(OT_M, SZ_t), OPND_Menv = OPND(OT_M, SZ_env),
    OPND_Mfsv = OPND(OT_M, SZ_fsv),
    OPND_Rd = OPND(OT_R, SZ_d), OPND_Rq = OPND(OT_R, SZ_q), OPND_Ry = OPND(OT_R, SZ_y),
    OPND_Rv = OPND(OT_R, SZ_v), OPND_Rk = OPND(OT_R, SZ_k64),
    OPND_RdMb = OPND(OT_RM, SZ_b), OPND_RdMw = OPND(OT_RM, SZ_w),
    OPND_RvMw = OPND(OT_RM, SZ_v),
    OPND_Xb = OPND(OT_X, SZ_b), OPND_Xv = OPND(OT_X, SZ_v), OPND_Xz = OPND(OT_X, SZ_z),
    OPND_Yb = OPND(OT_Y, SZ_b), OPND_Yv = OPND(OT_Y, SZ_v), OPND_Yz = OPND(OT_Y, SZ_z),
    OPND_Sw = OPND(OT_S, SZ_w), OPND_Cy = OPND(OT_C, SZ_k64), OPND_Dy = OPND(OT_D, SZ_k64),
    OPND_Zb = OPND(OT_Z, SZ_b), OPND_Zv = OPND(OT_Z, SZ_v), OPND_Zy = OPND(OT_Z, SZ_y),
    OPND_Zv64 = OPND(OT_Z, SZ_vd64),
    OPND_AL = OPND(OT_RAX, SZ_b), OPND_AX = OPND(OT_RAX, SZ_w), OPND_EAX = OPND(OT_RAX, SZ_d),
    OPND_rAX = OPND(OT_RAX, SZ_v), OPND_zAX = OPND(OT_RAX, SZ_z), OPND_yAX = OPND(OT_RAX, SZ_y),
    OPND_rDX = OPND(OT_RDX, SZ_v), OPND_CL = OPND(OT_RCX, SZ_b), OPND_DX = OPND(OT_DX, SZ_w),
    OPND_ONE = OPND(OT_ONE, SZ_b),
    OPND_ES = OPND(OT_SEG, SEG_ES), OPND_CS = OPND(OT_SEG, SEG_CS), OPND_SS = OPND(OT_SEG, SEG_SS),
    OPND_DS = OPND(OT_SEG, SEG_DS), OPND_FS = OPND(OT_SEG, SEG_FS), OPND_GS = OPND(OT_SEG, SEG_GS),
    OPND_Pq = OPND(OT_P, SZ_q), OPND_Qq = OPND(OT_Q, SZ_q), OPND_Nq = OPND(OT_N, SZ_q),
    OPND_Qd = OPND(OT_Q, SZ_d),
    OPND_Vw = OPND(OT_V, SZ_w), OPND_Vd = OPND(OT_V, SZ_d), OPND_Vq = OPND(OT_V, SZ_q),
    OPND_Vdq = OPND(OT_V, SZ_dq), OPND_Vqq = OPND(OT_V, SZ_qq), OPND_Vx = OPND(OT_V, SZ_x),
    OPND_Vh = OPND(OT_V, SZ_h),
    OPND_Wb = OPND(OT_W, SZ_b), OPND_Ww = OPND(OT_W, SZ_w), OPND_Wd = OPND(OT_W, SZ_d),
    OPND_Wq = OPND(OT_W, SZ_q), OPND_Wdq = OPND(OT_W, SZ_dq), OPND_Wqq = OPND(OT_W, SZ_qq),
    OPND_Wx = OPND(OT_W, SZ_x), OPND_Wh = OPND(OT_W, SZ_h), OPND_Wf = OPND(OT_W, SZ_f),
    OPND_We = OPND(OT_W, SZ_e),
    OPND_Ub = OPND(OT_U, SZ_b), OPND_Ud = OPND(OT_U, SZ_d), OPND_Uq = OPND(OT_U, SZ_q),
    OPND_Udq = OPND(OT_U, SZ_dq), OPND_Ux = OPND(OT_U, SZ_x),
    OPND_Hd = OPND(OT_H, SZ_d), OPND_Hq = OPND(OT_H, SZ_q), OPND_Hdq = OPND(OT_H, SZ_dq),
    OPND_Hqq = OPND(OT_H, SZ_qq), OPND_Hx = OPND(OT_H, SZ_x),
    OPND_Ldq = OPND(OT_L, SZ_dq), OPND_Lx = OPND(OT_L, SZ_x),
    OPND_By = OPND(OT_B, SZ_y), OPND_XMM0 = OPND(OT_XMM0, SZ_dq),
    OPND_ST0 = OPND(OT_ST0, SZ_t), OPND_STi = OPND(OT_STI, SZ_t),
    OPND_VSIBd = OPND(OT_VSIB, SZ_d), OPND_VSIBq = OPND(OT_VSIB, SZ_q),
    OPND_Vf = OPND(OT_V, SZ_f), OPND_Ve = OPND(OT_V, SZ_e), OPND_Wdup = OPND(OT_W, SZ_dup),
    OPND_Hh = OPND(OT_H, SZ_h), OPND_Uqq = OPND(OT_U, SZ_qq), OPND_Rw = OPND(OT_R, SZ_w),
    OPND_Mh = OPND(OT_M, SZ_h), OPND_Rb = OPND(OT_R, SZ_b),
    OPND_KGb = OPND(OT_KG, SZ_b), OPND_KGw = OPND(OT_KG, SZ_w), OPND_KGd = OPND(OT_KG, SZ_d),
    OPND_KGq = OPND(OT_KG, SZ_q), OPND_KEb = OPND(OT_KE, SZ_b), OPND_KEw = OPND(OT_KE, SZ_w),
    OPND_KEd = OPND(OT_KE, SZ_d), OPND_KEq = OPND(OT_KE, SZ_q), OPND_KUb = OPND(OT_KU, SZ_b),
    OPND_KUw = OPND(OT_KU, SZ_w), OPND_KUd = OPND(OT_KU, SZ_d), OPND_KUq = OPND(OT_KU, SZ_q),
    OPND_KHb = OPND(OT_KH, SZ_b), OPND_KHw = OPND(OT_KH, SZ_w), OPND_KHd = OPND(OT_KH, SZ_d),
    OPND_KHq = OPND(OT_KH, SZ_q),
};

/* ---- modes, effects, attributes --------------------------------------------------------------- */

enum { MODES_ANY, MODES_NO64, MODES_ONLY64 };

enum { FX_CF = 1, FX_PF = 2, FX_AF = 4, FX_ZF = 8, FX_SF = 16, FX_OF = 32, FX_DF = 64, FX_ARITH = 63 };
#define FX_R(f) ((uint32_t)(f))
#define FX_W(f) ((uint32_t)(f) << 8)
#define FX_C(f) ((uint32_t)(f) << 16)
#define FX_U(f) ((uint32_t)(f) << 24)

/* clang-format off */
#define A_LOCK      BIT64(0)    /* LOCK allowed with a memory destination */
#define A_CPL0      BIT64(1)    /* #GP(0) unless CPL 0 */
#define A_PROT      BIT64(2)    /* #UD in real and virtual-8086 mode */
#define A_REP       BIT64(3)    /* F3 and F2 mean REP: MOVS STOS LODS INS OUTS */
#define A_REPCC     BIT64(4)    /* F3 REPE, F2 REPNE: CMPS SCAS */
#define A_DEF64     BIT64(5)    /* operand size 64 by default in 64-bit mode (66 gives 16) */
#define A_FORCE64   BIT64(6)    /* operand size 64 always in 64-bit mode */
#define A_END       BIT64(7)    /* ends a block: changes control flow or the mode, or may */
#define A_X87       BIT64(8)    /* #NM by EM or TS; waits: #MF */
#define A_NOWAIT    BIT64(9)    /* with A_X87: no #MF check (FNINIT, FNSTSW, ...) */
#define A_WAIT      BIT64(10)   /* FWAIT: #NM only when both MP and TS; #MF */
#define A_MMX       BIT64(11)   /* #UD by EM, #NM by TS, #MF; enters MMX state (TOP = 0, tags valid) */
#define A_SSE       BIT64(12)   /* #UD by EM or !OSFXSR, #NM by TS */
#define A_AVX       BIT64(13)   /* #UD unless MODE_AVX, #NM by TS; set for every VEX vector row */
#define A_ALIGN     BIT64(14)   /* memory operand of 16 or 32 bytes must be aligned: #GP(0) */
#define A_LEGALIGN  BIT64(15)   /* the same, in the legacy encoding only */
#define A_VEX_BMI   BIT64(16)   /* VEX-encoded, general registers: protected mode only, no OSXSAVE */
#define A_VSIB      BIT64(17)
#define A_XCHG      BIT64(18)   /* writes operand a too (XCHG, XADD) */
#define A_DST2      BIT64(19)   /* writes operand a too, not read (MULX) */
#define A_IMPLICIT  BIT64(20)   /* has register effects no operand shows (MUL, CPUID, strings ..) */
#define A_STACK     BIT64(21)   /* pushes or pops */
#define A_NOMEM     BIT64(22)   /* the memory operand is not accessed (LEA, NOP, INVLPG, prefetch) */
#define A_UMIP      BIT64(23)   /* #GP(0) when MODE_UMIP */
#define A_IO        BIT64(24)   /* touches a device: an icount boundary */
#define A_SHADOW    BIT64(25)   /* may leave an interrupt shadow */
#define A_COND      BIT64(26)   /* conditional: the low opcode bits are the condition (Jcc SETcc CMOVcc) */
#define A_BRANCH    BIT64(27)   /* JMP/Jcc/CALL with a relative target */
#define A_CALL      BIT64(28)
#define A_RET       BIT64(29)
#define A_FLAGS_IN_SYS BIT64(30)/* reads or writes flags beyond the arithmetic ones */
#define A_UD        BIT64(33)   /* raises #UD by definition (UD0, UD1, UD2) */
#define A_FS        BIT64(34)   /* RDFSBASE and kin: #UD unless MODE_FSGSBASE */
#define A_OSXSAVE   BIT64(36)   /* #UD unless CR4.OSXSAVE */
#define A_OPTIONAL  BIT64(37)   /* without the feature the next matching row counts (TZCNT: BSF) */
/* The translator's class; none: COPY without, MEM with a memory operand. */
#define A_SYS       BIT64(40)   /* call the semantic function */
#define A_CTRL      BIT64(41)   /* control flow */
#define A_MULTI     BIT64(42)   /* several accesses: strings, ENTER, gathers */
/* EVEX rows, and VEX rows of opmask registers (A_EVEX alone). */
#define A_EVEX      BIT64(43)   /* #UD unless MODE_AVX512, #NM by TS */
#define A_MASK      BIT64(44)   /* may have a writemask; zeroing if op[0] is a vector register */
#define A_NF        BIT64(45)   /* masked-off elements in memory can fault: the whole operand is accessed */
#define A_BC        BIT64(46)   /* memory form: EVEX.b is broadcast */
#define A_RC        BIT64(47)   /* register form: EVEX.b is embedded rounding (L'L), without exceptions */
#define A_SAE       BIT64(48)   /* register form: EVEX.b suppresses all exceptions */
/* Rows with one of these two, and only they, read and write MXCSR. */
#define A_PACK      BIT64(49)   /* compress, expand: enabled elements lie one behind the other in memory */
#define A_REPEAT    BIT64(50)   /* the operand in memory is repeated to the vector's width */
#define A_RDST      BIT64(51)   /* operand 0 is read too; there is no room to say it again */
#define A_E8        (BIT64(53) * 0)
#define A_E16       (BIT64(53) * 1)
#define A_E32       (BIT64(53) * 2)
#define A_E64       (BIT64(53) * 3)
#define A_ELEMENT(attrs) (1u << ((attrs) >> 53 & 3))        /* bytes */
/* clang-format on */

typedef struct InsnDef {
    const char *name;
    SemFn *sem;
    uint64_t attrs;
    uint32_t match;
    uint32_t effects;
    uint16_t opnd[4];           /* OPND_* */
    uint16_t feature;
    uint8_t op;
    uint8_t map;                /* MAP_* */
    uint8_t modes;
} InsnDef;

enum { MAP_1BYTE, MAP_0F, MAP_0F38, MAP_0F3A, MAP_VEX0F, MAP_VEX0F38, MAP_VEX0F3A,
       MAP_EVEX0F, MAP_EVEX0F38, MAP_EVEX0F3A, MAP_COUNT };

/* ---- decoded instruction ----------------------------------------------------------------------- */

/* Kinds of resolved operands */
enum {
    OPK_NONE, OPK_GPR, OPK_GPR8H /* AH CH DH BH: reg is 0..3 */, OPK_MEM, OPK_IMM, OPK_REL, OPK_FAR,
    OPK_SEG, OPK_CR, OPK_DR, OPK_MMX, OPK_VEC, OPK_ST, OPK_K,
    OPK_STRING,                 /* memory at rSI (reg = R_RSI) or rDI */
};

typedef struct InsnOpnd {
    uint8_t kind;
    uint8_t reg;
    uint8_t size;               /* bytes; 0: no size (LEA's M) */
} InsnOpnd;

enum { INSN_66 = BIT(0), INSN_67 = BIT(1), INSN_F2 = BIT(2), INSN_F3 = BIT(3), INSN_LOCK = BIT(4),
       INSN_REX = BIT(5), INSN_HAS_MODRM = BIT(6), INSN_HAS_MEM = BIT(7), INSN_HAS_SIB = BIT(8),
       INSN_SEGP = BIT(9) /* a segment prefix is there */ };
enum { REX_B = 1, REX_X = 2, REX_R = 4, REX_W = 8,
       REX_R2 = 16 /* EVEX.R': bit 4 of ModRM.reg */, REX_V2 = 32 /* EVEX.V': bit 4 of vvvv or of the VSIB index */ };
/* Insn.evex */
enum { EVEX_AAA = 7 /* the writemask's number; 0: none */, EVEX_B = BIT(3), EVEX_Z = BIT(4), EVEX_LL_SHIFT = 5 };

#define INSN_MAX_LEN 15

struct Insn {
    RunFn *run;                 /* interpreter */
    const InsnDef *def;
    uint64_t imm;               /* first immediate, extended as its letter says; moffs; far offset */
    int64_t disp;               /* sign-extended, EVEX's times N; branches: the relative distance is in imm */
    SemFn *sem;                 /* def->sem, or what raises `fault` */
    /* memory operand (INSN_HAS_MEM) */
    uint8_t base, index, scale, seg;    /* R_ZERO: none; base R_RIP: next_rip; seg SEG_FLAT: no checks */
    uint8_t addr_size;          /* 2, 4, 8 */
    uint8_t op_size;            /* 2, 4, 8: the effective operand size (of the `v` letters) */
    uint8_t len;
    uint8_t fault;              /* FAULT_NONE, or the vector this instruction raises instead of running */
    InsnOpnd op[4];
    uint16_t off;               /* interpreter: bytes from block start */
    uint16_t seg_off;           /* interpreter: where in X86Cpu the segment base to add is */
    uint16_t prefixes;          /* INSN_* */
    uint16_t imm2;              /* ENTER's level, far selector, is4 byte */
    /* encoding, for re-emission */
    uint8_t map, opcode, modrm, sib;
    uint8_t rex;                /* REX_*, also from VEX and EVEX (un-inverted) */
    uint8_t vex;                /* 0: legacy; 2, 3: VEX of that many bytes; 4: EVEX */
    uint8_t evex;               /* EVEX_*: aaa, b, z, and L'L as encoded */
    uint8_t vvvv;               /* register number, of EVEX with V' where there is no VSIB */
    uint8_t vl;                 /* vector length: 0, 1, 2 for 16, 32, 64 bytes; EVEX scalars: 0 */
    uint8_t mp;                 /* mandatory prefix: 0, 1 = 66, 2 = F3, 3 = F2 */
    uint8_t imm_size;           /* bytes of the immediate as encoded; disp_size likewise */
    uint8_t disp_size;
    uint8_t seg_override;       /* SEG_*, SEG_COUNT: none */
};

#define FAULT_NONE 0xff

static inline bool insn_has_mem(const Insn *insn) { return insn->prefixes & INSN_HAS_MEM; }
static inline bool insn_is_locked(const Insn *insn) { return insn->prefixes & INSN_LOCK; }
/* ModRM fields with REX/VEX extension: register numbers 0..15. */
static inline unsigned insn_reg(const Insn *i) { return (i->modrm >> 3 & 7) | (i->rex & REX_R ? 8 : 0); }
static inline unsigned insn_rm(const Insn *i) { return (i->modrm & 7) | (i->rex & REX_B ? 8 : 0); }
/* What EVEX.b says: with memory a broadcast, else embedded rounding or no exceptions. */
static inline bool insn_broadcasts(const Insn *i) { return (i->evex & EVEX_B) && insn_has_mem(i); }
static inline bool insn_rounds(const Insn *i) { return (i->evex & EVEX_B) && !insn_has_mem(i); }
/* How many bits of the writemask govern the operand in memory, of a row that is not A_NF (decode.c). */
unsigned insn_mask_bits(const Insn *insn);
static inline unsigned insn_cond(const Insn *i) { return i->opcode & 15; }

/* ---- decoder (decode.c) --------------------------------------------------------------------------- */

typedef enum DecodeResult {
    DECODE_OK,                  /* valid; insn->fault says what mode or CPUID make of it */
    DECODE_INVALID,             /* #UD; insn->len is what was looked at: never 0 */
    DECODE_TRUNCATED,           /* needs more than the `avail` bytes given */
    DECODE_TOO_LONG,            /* more than 15 bytes: #GP(0) */
} DecodeResult;

/* Decode from bytes in a mode (MODE_*).  `cpu` supplies CPUID bits; NULL: everything is allowed. */
DecodeResult insn_decode(Insn *insn, const uint8_t *bytes, unsigned avail, uint32_t mode,
                         const X86Cpu *cpu);

/* Every row, for tests and tools. */
extern const InsnDef insn_rows[];
extern const unsigned insn_row_count;

/* disas.c.  Intel syntax; `rip` is the instruction's address.  Returns `buf`. */
char *insn_format(const Insn *insn, uint64_t rip, char *buf, size_t size);

/* ---- operand access for semantics that are not specialised (operand.c) ------------------------------ */

/* Read operand n (GPR, memory, immediate, segment), zero-extended from its size. */
uint64_t insn_read(X86Cpu *cpu, const Insn *insn, unsigned n);
/* Write operand n; 32-bit GPR writes clear the upper half. */
void insn_write(X86Cpu *cpu, const Insn *insn, unsigned n, uint64_t value);

/* GPR access by operand size: 1 and 2 keep the rest of the register, 4 clears the upper half. */
static inline void x86_set_gpr(X86Cpu *cpu, unsigned reg, uint64_t value, unsigned size)
{
    uint64_t *r = &cpu->gpr[reg];

    switch (size) {
    case 1: *r = (*r & ~0xffull) | (uint8_t)value; break;
    case 2: *r = (*r & ~0xffffull) | (uint16_t)value; break;
    case 4: *r = (uint32_t)value; break;
    default: *r = value; break;
    }
}

/* Condition codes 0..15 (O NO B AE E NE BE A S NS P NP L GE LE G) over cpu->cc. */
static inline bool x86_cond(uint32_t cc, unsigned cond)
{
    bool r;

    switch (cond >> 1) {
    case 0: r = cc & 1; break;
    case 1: r = cc & 0x100; break;
    case 2: r = cc & 0x4000; break;
    case 3: r = cc & 0x4100; break;
    case 4: r = cc & 0x8000; break;
    case 5: r = cc & 0x400; break;
    case 6: r = (cc >> 15 ^ cc) & 1; break;
    default: r = ((cc >> 15 ^ cc) & 1) || (cc & 0x4000); break;
    }
    return r != (cond & 1);
}

#endif
