/* SPDX-License-Identifier: MIT */
/*
 * Vector instructions with several or conditional memory accesses: gathers, masked moves; and
 * VZEROALL, VZEROUPPER.  Spec: SDM2 (VPGATHERxx, VMASKMOV, VPMASKMOV, MASKMOVDQU).  VEX reaches as far as XCR0 has vectors on.
 * Locking: none.
 */
#include "target-x86/fpu.h"
#include "target-x86/sem.h"

void sem_vzeroupper(X86Cpu *cpu, const Insn *insn)
{
    unsigned count = cpu->mode & MODE_CS64 ? 16 : 8;

    for (unsigned i = 0; i < count; i++) {
        memset(&cpu->zmm[i].u64[2], 0, fpu_maxvl(cpu) - 16);
    }
}

void sem_vzeroall(X86Cpu *cpu, const Insn *insn)
{
    unsigned count = cpu->mode & MODE_CS64 ? 16 : 8;

    for (unsigned i = 0; i < count; i++) {
        memset(&cpu->zmm[i], 0, fpu_maxvl(cpu));
    }
}

/* Bit i: the sign bit of element i of SIZE bytes is set. */
static unsigned mask_bits(const X86Vec *mask, unsigned count, unsigned size)
{
    unsigned bits = 0;

    for (unsigned i = 0; i < count; i++) {
        bits |= (mask->u8[(i + 1) * size - 1] >> 7) << i;
    }
    return bits;
}

/*
 * Elements whose mask bit is clear are neither read nor written and cannot fault.  Each element
 * has the checks of an access of its own; the offset wraps as one of the address size.
 */
uint64_t fpu_element_address(X86Cpu *cpu, const Insn *insn, unsigned seg, uint64_t base,
                             unsigned offset, unsigned size, X86Access access)
{
    uint64_t off = base + offset;

    off = insn->addr_size == 8 ? off : insn->addr_size == 4 ? (uint32_t)off : (uint16_t)off;
    return x86_linear_unaligned(cpu, seg, off, size, access);    /* no #AC for any mask */
}

static void masked_load(X86Cpu *cpu, const Insn *insn, unsigned size)
{
    unsigned bytes = insn->op[0].size, count = bytes / size;
    unsigned mask = mask_bits(&cpu->zmm[insn->op[1].reg], count, size);
    uint64_t base = insn_offset(cpu, insn);
    X86Vec value = { .u64 = { 0 } };

    for (unsigned i = 0; i < count; i++) {
        if (mask & BIT(i)) {
            uint64_t va = fpu_element_address(cpu, insn, insn->seg, base, i * size, size, X86_READ);

            if (size == 4) {
                value.u32[i] = x86_ld32(cpu, va);
            } else {
                value.u64[i] = x86_ld64(cpu, va);
            }
        }
    }
    memcpy(&cpu->zmm[insn->op[0].reg], &value, fpu_maxvl(cpu));
}

/* Every page is checked before the first byte is written: a fault leaves memory unchanged. */
static void masked_store(X86Cpu *cpu, const Insn *insn, unsigned seg, uint64_t base,
                         const X86Vec *value, unsigned mask, unsigned count, unsigned size)
{
    for (unsigned i = 0; i < count; i++) {
        if (mask & BIT(i)) {
            x86_probe_write(cpu, fpu_element_address(cpu, insn, seg, base, i * size, size, X86_WRITE),
                            size);
        }
    }
    for (unsigned i = 0; i < count; i++) {
        if (mask & BIT(i)) {
            x86_st_bytes(cpu, fpu_element_address(cpu, insn, seg, base, i * size, size, X86_WRITE),
                         &value->u8[i * size], size);
        }
    }
}

static void masked_vector_store(X86Cpu *cpu, const Insn *insn, unsigned size)
{
    unsigned count = insn->op[0].size / size;

    masked_store(cpu, insn, insn->seg, insn_offset(cpu, insn), &cpu->zmm[insn->op[2].reg],
                 mask_bits(&cpu->zmm[insn->op[1].reg], count, size), count, size);
}

void sem_vmaskmovps_load(X86Cpu *cpu, const Insn *insn)
{
    masked_load(cpu, insn, 4);
}

void sem_vmaskmovpd_load(X86Cpu *cpu, const Insn *insn)
{
    masked_load(cpu, insn, 8);
}

void sem_vmaskmovps_store(X86Cpu *cpu, const Insn *insn)
{
    masked_vector_store(cpu, insn, 4);
}

void sem_vmaskmovpd_store(X86Cpu *cpu, const Insn *insn)
{
    masked_vector_store(cpu, insn, 8);
}

/* MASKMOVDQU and MASKMOVQ store to DS:rDI; the segment can be overridden. */
static void byte_masked_store(X86Cpu *cpu, const Insn *insn, const X86Vec *value,
                              const X86Vec *mask, unsigned count)
{
    unsigned seg = insn->seg_override != SEG_COUNT ? insn->seg_override : SEG_DS;
    uint64_t base = cpu->gpr[R_RDI];

    if ((cpu->mode & MODE_CS64) && seg < SEG_FS) {
        seg = SEG_DS;
    }
    masked_store(cpu, insn, seg, base, value, mask_bits(mask, count, 1), count, 1);
}

void sem_maskmovdqu(X86Cpu *cpu, const Insn *insn)
{
    byte_masked_store(cpu, insn, &cpu->zmm[insn->op[1].reg], &cpu->zmm[insn->op[2].reg], 16);
}

void sem_maskmovq(X86Cpu *cpu, const Insn *insn)
{
    unsigned top = x87_top(&cpu->x87);
    X86Vec value, mask;

    x87_check_pending(cpu);
    value.u64[0] = cpu->x87.st[(insn->op[1].reg - top) & 7].mantissa;
    mask.u64[0] = cpu->x87.st[(insn->op[2].reg - top) & 7].mantissa;
    byte_masked_store(cpu, insn, &value, &mask, 8);
    x87_enter_mmx(&cpu->x87);
}

/*
 * VPGATHERxx, VGATHERxxx.  op[0] destination, op[1] the VSIB operand (its register is the index),
 * op[2] the mask.  Elements are loaded in order; when one faults, those before it are in the
 * destination and their mask elements are clear, so that the instruction can be restarted.
 */
void sem_vgather(X86Cpu *cpu, const Insn *insn)
{
    bool wide = insn->rex & REX_W;                  /* elements of 8 bytes */
    bool wide_index = insn->opcode & 1;
    unsigned size = wide ? 8 : 4, vector = insn->vl ? 32 : 16;
    unsigned count = vector / (wide || wide_index ? 8 : 4);
    unsigned bytes = count * size;
    X86Vec *dst = &cpu->zmm[insn->op[0].reg], *mask = &cpu->zmm[insn->op[2].reg];
    const X86Vec *index = &cpu->zmm[insn->op[1].reg];
    uint64_t base = insn_offset(cpu, insn);

    /* The mask is made all ones or all zeros per element first. */
    for (unsigned i = 0; i < count; i++) {
        memset(&mask->u8[i * size], mask->u8[(i + 1) * size - 1] & 0x80 ? 0xff : 0, size);
    }
    for (unsigned i = 0; i < count; i++) {
        if (mask->u8[i * size]) {
            int64_t step = wide_index ? (int64_t)index->u64[i] : (int32_t)index->u32[i];
            uint64_t off = base + ((uint64_t)step << insn->scale);
            uint64_t va = fpu_element_address(cpu, insn, insn->seg, off, 0, size, X86_READ);

            x86_ld_bytes(cpu, va, &dst->u8[i * size], size);
            memset(&mask->u8[i * size], 0, size);
        }
    }
    memset(&dst->u8[bytes], 0, fpu_maxvl(cpu) - bytes);
    memset(mask, 0, fpu_maxvl(cpu));
}
