/* SPDX-License-Identifier: MIT */
/*
 * Numbers of the x86 architecture: register indices, control bits, MSR numbers, vectors and
 * descriptor fields, spelled as in the Intel SDM.  Constants only.
 */
#ifndef TARGET_X86_REGS_H
#define TARGET_X86_REGS_H

#include "base/bits.h"

enum {
    R_RAX, R_RCX, R_RDX, R_RBX, R_RSP, R_RBP, R_RSI, R_RDI,
    R_R8, R_R9, R_R10, R_R11, R_R12, R_R13, R_R14, R_R15,
    R_ZERO,                     /* reads as 0: "no base" and "no index" */
    R_COUNT,
    R_RIP = R_COUNT,            /* only as the base of a decoded memory operand */
};

/* In the order of the sreg field and of the prefixes; SEG_FLAT only in decoded instructions. */
enum { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_COUNT, SEG_FLAT = SEG_COUNT };

/* RFLAGS */
enum {
    FLAG_CF = BIT(0), FLAG_PF = BIT(2), FLAG_AF = BIT(4), FLAG_ZF = BIT(6), FLAG_SF = BIT(7),
    FLAG_TF = BIT(8), FLAG_IF = BIT(9), FLAG_DF = BIT(10), FLAG_OF = BIT(11),
    FLAG_IOPL = BIT(12) | BIT(13), FLAG_NT = BIT(14), FLAG_RF = BIT(16), FLAG_VM = BIT(17),
    FLAG_AC = BIT(18), FLAG_VIF = BIT(19), FLAG_VIP = BIT(20), FLAG_ID = BIT(21),
    FLAGS_ARITH = FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF,
    FLAG_ONE = BIT(1),          /* always set */
};
#define FLAG_IOPL_SHIFT 12

/* Control registers */
enum {
    CR0_PE = BIT(0), CR0_MP = BIT(1), CR0_EM = BIT(2), CR0_TS = BIT(3), CR0_ET = BIT(4),
    CR0_NE = BIT(5), CR0_WP = BIT(16), CR0_AM = BIT(18), CR0_NW = BIT(29), CR0_CD = BIT(30),
};
#define CR0_PG BIT(31)
enum {
    CR4_VME = BIT(0), CR4_PVI = BIT(1), CR4_TSD = BIT(2), CR4_DE = BIT(3), CR4_PSE = BIT(4),
    CR4_PAE = BIT(5), CR4_MCE = BIT(6), CR4_PGE = BIT(7), CR4_PCE = BIT(8), CR4_OSFXSR = BIT(9),
    CR4_OSXMMEXCPT = BIT(10), CR4_UMIP = BIT(11), CR4_LA57 = BIT(12), CR4_VMXE = BIT(13),
    CR4_SMXE = BIT(14), CR4_FSGSBASE = BIT(16), CR4_PCIDE = BIT(17), CR4_OSXSAVE = BIT(18),
    CR4_SMEP = BIT(20), CR4_SMAP = BIT(21), CR4_PKE = BIT(22), CR4_CET = BIT(23), CR4_PKS = BIT(24),
};
enum {
    EFER_SCE = BIT(0), EFER_LME = BIT(8), EFER_LMA = BIT(10), EFER_NXE = BIT(11),
    EFER_SVME = BIT(12), EFER_FFXSR = BIT(14),
};
enum {
    XCR0_X87 = BIT(0), XCR0_SSE = BIT(1), XCR0_AVX = BIT(2), XCR0_OPMASK = BIT(5),
    XCR0_ZMM_HI256 = BIT(6), XCR0_HI16_ZMM = BIT(7), XCR0_PKRU = BIT(9),
};

/* Exception vectors */
enum {
    VEC_DE = 0, VEC_DB = 1, VEC_NMI = 2, VEC_BP = 3, VEC_OF = 4, VEC_BR = 5, VEC_UD = 6, VEC_NM = 7,
    VEC_DF = 8, VEC_TS = 10, VEC_NP = 11, VEC_SS = 12, VEC_GP = 13, VEC_PF = 14, VEC_MF = 16,
    VEC_AC = 17, VEC_MC = 18, VEC_XM = 19,
};

/* Page fault error code */
enum {
    PF_P = BIT(0), PF_W = BIT(1), PF_U = BIT(2), PF_RSVD = BIT(3), PF_I = BIT(4), PF_PK = BIT(5),
};

/* The high word of a segment descriptor; X86Seg.flags keeps these bits where they are. */
enum {
    DESC_TYPE = 15 << 8,
    DESC_A = BIT(8), DESC_W = BIT(9), DESC_R = BIT(9), DESC_E = BIT(10), DESC_C = BIT(10),
    DESC_CODE = BIT(11), DESC_S = BIT(12), DESC_DPL = 3 << 13, DESC_P = BIT(15),
    DESC_AVL = BIT(20), DESC_L = BIT(21), DESC_DB = BIT(22), DESC_G = BIT(23),
    DESC_FLAGS = 0x00f0ff00,    /* everything in that word that is not base or limit */
};
#define DESC_TYPE_SHIFT 8
#define DESC_DPL_SHIFT 13

/* MSR numbers, architectural and the synthetic ones of AMD's long mode */
enum {
    MSR_TSC = 0x10, MSR_APICBASE = 0x1b, MSR_FEATURE_CONTROL = 0x3a, MSR_TSC_ADJUST = 0x3b,
    MSR_SPEC_CTRL = 0x48, MSR_PRED_CMD = 0x49, MSR_BIOS_SIGN_ID = 0x8b, MSR_SMI_COUNT = 0x34,
    MSR_MTRRCAP = 0xfe, MSR_ARCH_CAPABILITIES = 0x10a, MSR_SYSENTER_CS = 0x174,
    MSR_SYSENTER_ESP = 0x175, MSR_SYSENTER_EIP = 0x176, MSR_MCG_CAP = 0x179,
    MSR_MCG_STATUS = 0x17a, MSR_MCG_CTL = 0x17b, MSR_PERF_STATUS = 0x198,
    MSR_MISC_ENABLE = 0x1a0, MSR_DEBUGCTL = 0x1d9, MSR_MTRR_PHYSBASE0 = 0x200,
    MSR_MTRR_FIX64K_00000 = 0x250, MSR_MTRR_FIX16K_80000 = 0x258, MSR_MTRR_FIX16K_A0000 = 0x259,
    MSR_MTRR_FIX4K_C0000 = 0x268, MSR_PAT = 0x277, MSR_MTRR_DEF_TYPE = 0x2ff,
    MSR_MC0_CTL = 0x400, MSR_X2APIC_FIRST = 0x800, MSR_X2APIC_LAST = 0x8ff, MSR_XSS = 0xda0,
    MSR_TSC_DEADLINE = 0x6e0,
    MSR_EFER = 0xc0000080, MSR_STAR = 0xc0000081, MSR_LSTAR = 0xc0000082, MSR_CSTAR = 0xc0000083,
    MSR_FMASK = 0xc0000084, MSR_FS_BASE = 0xc0000100, MSR_GS_BASE = 0xc0000101,
    MSR_KERNEL_GS_BASE = 0xc0000102, MSR_TSC_AUX = 0xc0000103,
};

#endif
