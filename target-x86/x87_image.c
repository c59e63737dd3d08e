/* SPDX-License-Identifier: MIT */
/*
 * x87 control instructions: FNINIT, FNCLEX, control and status word, environments and images.
 * Spec: SDM1 8.1.10 (figures 8-9 to 8-12), SDM2.  FCW bits 6 (reads 1), 7 and 13-15 (read 0) are
 * as on processors of today.  FCS and FDS read 0 where CPUID says they are deprecated.
 * Locking: none.
 */
#include "target-x86/fpu.h"
#include "target-x86/sem.h"

enum { FCW_INIT = 0x37f, FCW_FIXED_ONE = 0x40, FCW_WRITABLE = 0x1f3f, FOP_MASK = 0x7ff };

void x87_update_es(X87State *s)
{
    s->fsw &= ~(FSW_ES | FSW_B);
    if (s->fsw & ~s->fcw & X87_EXCEPTIONS) {
        s->fsw |= FSW_ES | FSW_B;
    }
}

void x87_init(X86Cpu *cpu)
{
    X87State *s = &cpu->x87;
    unsigned top = x87_top(s);
    uint8_t old[sizeof(s->st)];

    /* st[] is relative to TOP: the registers' contents stay where they are. */
    memcpy(old, s->st, sizeof(old));
    for (unsigned n = 0; n < 8; n++) {
        memcpy(&s->st[n], &old[((n - top) & 7) * sizeof(s->st[0])], sizeof(s->st[0]));
    }
    s->fcw = FCW_INIT;
    s->fsw = 0;
    s->ftw = 0;
    s->fop = 0;
    s->fip = s->fdp = 0;
    cpu->x87_fcs = cpu->x87_fds = 0;
}

/* 0 valid, 1 zero, 2 special, 3 empty. */
static unsigned tag_of(const X87State *s, unsigned physical)
{
    unsigned n = (physical - x87_top(s)) & 7;
    unsigned exponent = s->st[n].exponent & 0x7fff;

    if (!(s->ftw & BIT(physical))) {
        return 3;
    }
    if (exponent == 0) {
        return s->st[n].mantissa == 0 ? 1 : 2;
    }
    return exponent == 0x7fff || !(s->st[n].mantissa >> 63) ? 2 : 0;
}

uint16_t x87_full_tags(const X87State *s)
{
    uint16_t tags = 0;

    for (unsigned i = 0; i < 8; i++) {
        tags |= tag_of(s, i) << (2 * i);
    }
    return tags;
}

void x87_set_full_tags(X87State *s, uint16_t tags)
{
    s->ftw = 0;
    for (unsigned i = 0; i < 8; i++) {
        s->ftw |= ((tags >> (2 * i) & 3) != 3) << i;
    }
}

static void set_fcw(X87State *s, uint16_t value)
{
    s->fcw = (value & FCW_WRITABLE) | FCW_FIXED_ONE;
    x87_update_es(s);
}

/* ---- environment ------------------------------------------------------------------------- */

/* The pointers are stored as selector and offset, or in real and vm86 mode as linear addresses. */
static bool is_linear(const X86Cpu *cpu)
{
    return !x86_is_protected(cpu);
}

static void store_words(const X86Cpu *cpu, uint32_t word[7])
{
    const X87State *s = &cpu->x87;
    bool no_selectors = cpu->features[FEAT_7_0_EBX] & BIT(13);

    word[0] = s->fcw;
    word[1] = s->fsw;
    word[2] = x87_full_tags(s);
    word[3] = s->fip;
    word[4] = (no_selectors ? 0 : cpu->x87_fcs) | (s->fop & FOP_MASK) << 16;
    word[5] = s->fdp;
    word[6] = no_selectors ? 0 : cpu->x87_fds;
    if (is_linear(cpu)) {
        word[3] += (uint32_t)cpu->x87_fcs << 4;
        word[5] += (uint32_t)cpu->x87_fds << 4;
    }
}

/* 14 or 28 bytes. */
static void environment_store(const X86Cpu *cpu, uint8_t *p, bool wide)
{
    uint32_t w[7];
    unsigned fop = cpu->x87.fop & FOP_MASK;

    store_words(cpu, w);
    if (wide) {
        for (unsigned i = 0; i < 3; i++) {
            le32_store(p + 4 * i, w[i] | 0xffff0000);
        }
        if (is_linear(cpu)) {
            le32_store(p + 12, w[3] | 0xffff0000);
            le32_store(p + 16, (w[3] >> 16) << 12 | fop);
            le32_store(p + 20, w[5] | 0xffff0000);
            le32_store(p + 24, (w[5] >> 16) << 12);
        } else {
            le32_store(p + 12, w[3]);
            le32_store(p + 16, w[4]);
            le32_store(p + 20, w[5]);
            le32_store(p + 24, w[6] | 0xffff0000);
        }
        return;
    }
    for (unsigned i = 0; i < 7; i++) {
        le16_store(p + 2 * i, w[i]);
    }
    if (is_linear(cpu)) {
        le16_store(p + 8, (w[3] >> 16 & 15) << 12 | fop);
        le16_store(p + 12, (w[5] >> 16 & 15) << 12);
    }
}

static void load_pointers(X86Cpu *cpu, const uint8_t *p, bool wide)
{
    X87State *s = &cpu->x87;

    if (is_linear(cpu)) {
        uint32_t ip = wide ? le16_load(p + 12) | (le32_load(p + 16) >> 12 & 0xffff) << 16
                           : le16_load(p + 6) | (uint32_t)(le16_load(p + 8) >> 12) << 16;
        uint32_t dp = wide ? le16_load(p + 20) | (le32_load(p + 24) >> 12 & 0xffff) << 16
                           : le16_load(p + 10) | (uint32_t)(le16_load(p + 12) >> 12) << 16;

        s->fip = ip;
        s->fdp = dp;
        s->fop = le16_load(p + (wide ? 16 : 8)) & FOP_MASK;
        cpu->x87_fcs = cpu->x87_fds = 0;
    } else if (wide) {
        s->fip = le32_load(p + 12);
        s->fop = le16_load(p + 18) & FOP_MASK;
        s->fdp = le32_load(p + 20);
        cpu->x87_fcs = le16_load(p + 16);
        cpu->x87_fds = le16_load(p + 24);
    } else {
        s->fip = le16_load(p + 6);
        s->fop = 0;
        s->fdp = le16_load(p + 10);
        cpu->x87_fcs = le16_load(p + 8);
        cpu->x87_fds = le16_load(p + 12);
    }
}

/* Registers keep their physical place: st[] turns with TOP. */
static void set_fsw(X87State *s, uint16_t fsw)
{
    unsigned turn = ((fsw >> 11 & 7) - x87_top(s)) & 7;
    uint8_t old[sizeof(s->st)];

    memcpy(old, s->st, sizeof(old));
    for (unsigned n = 0; n < 8; n++) {
        memcpy(&s->st[n], &old[((n + turn) & 7) * sizeof(s->st[0])], sizeof(s->st[0]));
    }
    s->fsw = fsw;
}

static void environment_load(X86Cpu *cpu, const uint8_t *p, bool wide)
{
    unsigned step = wide ? 4 : 2;

    set_fsw(&cpu->x87, le16_load(p + step));
    x87_set_full_tags(&cpu->x87, le16_load(p + 2 * step));
    load_pointers(cpu, p, wide);
    set_fcw(&cpu->x87, le16_load(p));
}

static bool is_wide(const Insn *insn)
{
    return insn->op_size != 2;
}

void sem_fnstenv(X86Cpu *cpu, const Insn *insn)
{
    bool wide = is_wide(insn);
    unsigned len = wide ? 28 : 14;
    uint8_t image[28];

    environment_store(cpu, image, wide);
    x86_st_bytes(cpu, insn_linear(cpu, insn, len, X86_WRITE), image, len);
    set_fcw(&cpu->x87, cpu->x87.fcw | X87_EXCEPTIONS);
}

void sem_fldenv(X86Cpu *cpu, const Insn *insn)
{
    unsigned len = is_wide(insn) ? 28 : 14;
    uint8_t image[28];

    x87_check_pending(cpu);
    x86_ld_bytes(cpu, insn_linear(cpu, insn, len, X86_READ), image, len);
    environment_load(cpu, image, is_wide(insn));
}

void sem_fnsave(X86Cpu *cpu, const Insn *insn)
{
    bool wide = is_wide(insn);
    unsigned env = wide ? 28 : 14;
    uint8_t image[28 + 80];

    environment_store(cpu, image, wide);
    for (unsigned n = 0; n < 8; n++) {
        memcpy(image + env + 10 * n, &cpu->x87.st[n], 10);
    }
    x86_st_bytes(cpu, insn_linear(cpu, insn, env + 80, X86_WRITE), image, env + 80);
    x87_init(cpu);
}

void sem_frstor(X86Cpu *cpu, const Insn *insn)
{
    bool wide = is_wide(insn);
    unsigned env = wide ? 28 : 14;
    uint8_t image[28 + 80];

    x87_check_pending(cpu);
    x86_ld_bytes(cpu, insn_linear(cpu, insn, env + 80, X86_READ), image, env + 80);
    environment_load(cpu, image, wide);
    for (unsigned n = 0; n < 8; n++) {
        memcpy(&cpu->x87.st[n], image + env + 10 * n, 10);
    }
}

/* ---- control and status ------------------------------------------------------------------ */

void sem_fldcw(X86Cpu *cpu, const Insn *insn)
{
    uint16_t value;

    x87_check_pending(cpu);
    value = insn_ld16(cpu, insn);
    set_fcw(&cpu->x87, value);
}

void sem_fnstcw(X86Cpu *cpu, const Insn *insn)
{
    insn_st16(cpu, insn, cpu->x87.fcw);
}

void sem_fnstsw(X86Cpu *cpu, const Insn *insn)
{
    insn_write(cpu, insn, 0, cpu->x87.fsw);
}

void sem_fnclex(X86Cpu *cpu, const Insn *insn)
{
    cpu->x87.fsw &= ~(X87_EXCEPTIONS | FSW_SF | FSW_ES | FSW_B);
}

void sem_fninit(X86Cpu *cpu, const Insn *insn)
{
    x87_init(cpu);
}

void sem_fnop_8087(X86Cpu *cpu, const Insn *insn)
{
}

void sem_fwait(X86Cpu *cpu, const Insn *insn)
{
    x87_check_pending(cpu);
}
