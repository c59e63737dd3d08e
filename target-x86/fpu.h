/* SPDX-License-Identifier: MIT */
/*
 * x87, MMX and SIMD state: what the semantic functions in sem_x87.c, sem_host.c, sem_sse.c,
 * sem_avx.c and xsave.c share, and what others may ask.
 *
 * Thread rule: the vCPU's own thread, or a stopped CPU.
 */
#ifndef TARGET_X86_FPU_H
#define TARGET_X86_FPU_H

#include "target-x86/mem.h"

enum {
    FSW_IE = BIT(0), FSW_DE = BIT(1), FSW_ZE = BIT(2), FSW_OE = BIT(3), FSW_UE = BIT(4),
    FSW_PE = BIT(5), FSW_SF = BIT(6), FSW_ES = BIT(7), FSW_C0 = BIT(8), FSW_C1 = BIT(9),
    FSW_C2 = BIT(10), FSW_TOP = 7 << 11, FSW_C3 = BIT(14), FSW_B = BIT(15),
    FSW_CC = FSW_C0 | FSW_C1 | FSW_C2 | FSW_C3,
    X87_EXCEPTIONS = 0x3f,
    MXCSR_MASKS = 0x1f80, MXCSR_DEFAULT = 0x1f80,
    MXCSR_MASK = 0xffff,      /* the bits a guest may set; reported by FXSAVE */
};

static inline unsigned x87_top(const X87State *s)
{
    return s->fsw >> 11 & 7;
}

/* FNINIT; MXCSR and the registers' contents stay. */
void x87_init(X86Cpu *cpu);
/* ES and B from the flags and masks: after FCW, FSW or their image was loaded. */
void x87_update_es(X87State *s);
/* The full tag word (two bits per physical register) from contents, and back. */
uint16_t x87_full_tags(const X87State *s);
void x87_set_full_tags(X87State *s, uint16_t tags);
/* Before a waiting instruction: #MF, or the FERR# pin where CR0.NE = 0. */
void x87_check_pending(X86Cpu *cpu);
/* 1..32 bytes at a linear address, by the TLB where it hits. */
static inline void fpu_load(X86Cpu *cpu, uint64_t va, void *dst, unsigned size)
{
    const uint8_t *p = x86_tlb_read(cpu, va, size, cpu->mmu_idx);

    if (G_LIKELY(p)) {
        memcpy(dst, p, size);
    } else {
        x86_ld_slow(cpu, va, dst, size, cpu->mmu_idx);
    }
}

static inline void fpu_store(X86Cpu *cpu, uint64_t va, const void *src, unsigned size)
{
    uint8_t *p = x86_tlb_write(cpu, va, size, cpu->mmu_idx);

    if (G_LIKELY(p)) {
        memcpy(p, src, size);
    } else {
        x86_st_slow(cpu, va, src, size, cpu->mmu_idx);
    }
}

/* An MMX instruction was executed: TOP = 0, all tags valid; MMn stays MMn. */
void x87_enter_mmx(X87State *s);

/* Bytes of a vector that there are for VEX, which zeroes those behind its result; what XCR0 has off stays [SDM2A 3.1.1.9,
 * MAXVL]. */
static inline unsigned fpu_maxvl(const X86Cpu *cpu)
{
    return cpu->mode & MODE_AVX512 ? 64 : 32;
}

/* sem_host.c: the row's instruction, executed by the host. */
void sem_host(X86Cpu *cpu, const Insn *insn);
/* The same for EVEX rows (sem_evex.c). */
void sem_evex(X86Cpu *cpu, const Insn *insn);
/* Before a thunk runs with unmasked exceptions; and after it has met one. */
void fpu_unblock_sigfpe(void);
G_NORETURN void fpu_raise_simd(X86Cpu *cpu, uint32_t mxcsr);
/* sem_avx.c: checked linear address of an element at BASE + OFFSET, which wraps as the address size says. */
uint64_t fpu_element_address(X86Cpu *cpu, const Insn *insn, unsigned seg, uint64_t base,
                             unsigned offset, unsigned size, X86Access access);

/*
 * The host's CPUID bits (FEAT_* words, without kernel-dependent filtering except XCR0) for
 * instructions that run by the host's own instruction: a CPU model may offer
 * only what is here.  Constant after the first call.
 */
const uint32_t *simd_host_features(void);
/* Whether the host can execute rows of FEATURE (X86_FEAT_*, the combined ones included). */
bool simd_host_has(unsigned feature);

/*
 * XSAVE components, standard format, as CPUID leaf 0xD reports them: the guest's layout is this
 * table, never the host's.  Rows with size 0 do not exist.
 */
typedef struct XsaveComponent {
    uint16_t offset, size;
    bool aligned;             /* compacted format: on a 64-byte boundary */
} XsaveComponent;
enum { XSAVE_COMPONENTS = 10, XSAVE_HEADER_END = 576 };
extern const XsaveComponent xsave_components[XSAVE_COMPONENTS];

/* Bytes of an image with the components in MASK. */
uint32_t xsave_size(uint64_t mask, bool compacted);

#endif
