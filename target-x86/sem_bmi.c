/* SPDX-License-Identifier: MIT */
/*
 * Integer extensions: BMI1, BMI2, ADX, CRC32, MOVDIR64B.  Spec: SDM2.
 * Locking: none.
 */
#include "target-x86/sem.h"

/* SF and ZF from the result, CF as told, OF clear; AF and PF are undefined. */
static void bmi_flags(X86Cpu *cpu, uint64_t value, unsigned size, bool carry)
{
    cpu->cc = CC_ONE | (carry ? CC_C : 0) | (value == 0 ? CC_Z : 0) |
              (value >> (8 * size - 1) & 1 ? CC_S : 0);
}

void sem_andn(X86Cpu *cpu, const Insn *insn)
{
    uint64_t v = ~insn_read(cpu, insn, 1) & insn_read(cpu, insn, 2) & size_mask(insn->op[0].size);

    insn_write(cpu, insn, 0, v);
    bmi_flags(cpu, v, insn->op[0].size, false);
}

void sem_blsr(X86Cpu *cpu, const Insn *insn)
{
    uint64_t s = insn_read(cpu, insn, 1), v = (s - 1) & s;

    insn_write(cpu, insn, 0, v);
    bmi_flags(cpu, v, insn->op[0].size, s == 0);
}

void sem_blsmsk(X86Cpu *cpu, const Insn *insn)
{
    uint64_t s = insn_read(cpu, insn, 1), v = ((s - 1) ^ s) & size_mask(insn->op[0].size);

    insn_write(cpu, insn, 0, v);
    bmi_flags(cpu, v, insn->op[0].size, s == 0);
}

void sem_blsi(X86Cpu *cpu, const Insn *insn)
{
    uint64_t s = insn_read(cpu, insn, 1), v = -s & s;

    insn_write(cpu, insn, 0, v);
    bmi_flags(cpu, v, insn->op[0].size, s != 0);
}

void sem_bzhi(X86Cpu *cpu, const Insn *insn)
{
    unsigned bits = 8 * insn->op[0].size, n = insn_read(cpu, insn, 2) & 0xff;
    uint64_t v = insn_read(cpu, insn, 1);

    if (n < bits) {
        v &= (1ull << n) - 1;
    }
    insn_write(cpu, insn, 0, v);
    bmi_flags(cpu, v, insn->op[0].size, n > bits - 1);
}

void sem_bextr(X86Cpu *cpu, const Insn *insn)
{
    unsigned control = insn_read(cpu, insn, 2), start = control & 0xff, len = control >> 8 & 0xff;
    uint64_t v = insn_read(cpu, insn, 1);

    v = start < 64 ? v >> start : 0;
    if (len < 64) {
        v &= (1ull << len) - 1;
    }
    insn_write(cpu, insn, 0, v);
    bmi_flags(cpu, v, insn->op[0].size, false);
}

static unsigned shift_count(X86Cpu *cpu, const Insn *insn)
{
    return insn_read(cpu, insn, 2) & (8 * insn->op[0].size - 1);
}

void sem_shlx(X86Cpu *cpu, const Insn *insn)
{
    uint64_t v = insn_read(cpu, insn, 1);

    insn_write(cpu, insn, 0, v << shift_count(cpu, insn));
}

void sem_shrx(X86Cpu *cpu, const Insn *insn)
{
    uint64_t v = insn_read(cpu, insn, 1);

    insn_write(cpu, insn, 0, v >> shift_count(cpu, insn));
}

void sem_sarx(X86Cpu *cpu, const Insn *insn)
{
    int64_t v = sign_extended(insn_read(cpu, insn, 1), insn->op[0].size);

    insn_write(cpu, insn, 0, v >> shift_count(cpu, insn));
}

void sem_rorx(X86Cpu *cpu, const Insn *insn)
{
    unsigned bits = 8 * insn->op[0].size, n = insn->imm & (bits - 1);
    uint64_t v = insn_read(cpu, insn, 1);

    insn_write(cpu, insn, 0, n ? v >> n | v << (bits - n) : v);
}

void sem_pext(X86Cpu *cpu, const Insn *insn)
{
    uint64_t v = insn_read(cpu, insn, 1), mask = insn_read(cpu, insn, 2), out = 0;

    for (unsigned to = 0; mask; mask &= mask - 1, to++) {
        out |= (v >> __builtin_ctzll(mask) & 1) << to;
    }
    insn_write(cpu, insn, 0, out);
}

void sem_pdep(X86Cpu *cpu, const Insn *insn)
{
    uint64_t v = insn_read(cpu, insn, 1), mask = insn_read(cpu, insn, 2), out = 0;

    for (; mask; mask &= mask - 1, v >>= 1) {
        out |= (v & 1) << __builtin_ctzll(mask);
    }
    insn_write(cpu, insn, 0, out);
}

void sem_mulx(X86Cpu *cpu, const Insn *insn)
{
    unsigned size = insn->op[0].size;
    unsigned __int128 product = (unsigned __int128)insn_read(cpu, insn, 2) *
                                (cpu->gpr[R_RDX] & size_mask(size));

    insn_write(cpu, insn, 1, product);
    insn_write(cpu, insn, 0, product >> (8 * size));
}

static void add_extended(X86Cpu *cpu, const Insn *insn, uint32_t flag)
{
    unsigned bits = 8 * insn->op[0].size;
    unsigned __int128 sum = (unsigned __int128)insn_read(cpu, insn, 1) + insn_read(cpu, insn, 2) +
                            (cpu->cc & flag ? 1 : 0);

    insn_write(cpu, insn, 0, sum);
    cc_set(cpu, flag, sum >> bits ? flag : 0);
}

void sem_adcx(X86Cpu *cpu, const Insn *insn) { add_extended(cpu, insn, CC_C); }
void sem_adox(X86Cpu *cpu, const Insn *insn) { add_extended(cpu, insn, CC_O); }

void sem_crc32(X86Cpu *cpu, const Insn *insn)
{
    uint32_t crc = insn_read(cpu, insn, 1);
    uint64_t data = insn_read(cpu, insn, 2);

    /* Polynomial 11EDC6F41, bit-reflected. */
    for (unsigned i = 0; i < insn->op[2].size; i++, data >>= 8) {
        crc ^= data & 0xff;
        for (unsigned bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
        }
    }
    insn_write(cpu, insn, 0, crc);
}

/* A direct store; the source is read whole, then 64 bytes are written to an aligned address. */
void sem_movdir64b(X86Cpu *cpu, const Insn *insn)
{
    uint64_t to = x86_linear(cpu, SEG_ES,
                             cpu->gpr[insn->op[1].reg] & size_mask(insn->addr_size), 64, X86_WRITE);
    uint8_t data[64];

    if (to & 63) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    x86_ld_bytes(cpu, insn_linear(cpu, insn, 64, X86_READ), data, 64);
    x86_st_bytes(cpu, to, data, 64);
}
