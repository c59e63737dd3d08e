/* SPDX-License-Identifier: MIT */
/*
 * FXSAVE, FXRSTOR and the XSAVE family.  Spec: SDM1 chapter 13, SDM2 (FXSAVE tables 3-43 to 3-46).
 * The layout is `xsave_components`; no supervisor components exist, so XSS has no bits.
 * XSAVEOPT and XSAVES use the init optimisation, not the modified one (they may).
 * Locking: none.
 */
#include "target-x86/fpu.h"
#include "target-x86/sem.h"

enum {
    OFF_MXCSR = 24, OFF_ST = 32, OFF_XMM = 160, FXSAVE_BYTES = 512,
    OFF_XSTATE_BV = 512, OFF_XCOMP_BV = 520,
};
#define XCOMP_COMPACT BIT64(63)

/* clang-format off */
const XsaveComponent xsave_components[XSAVE_COMPONENTS] = {
    [2] = { 576, 256, false },      /* upper halves of YMM0-15 */
    [5] = { 1088, 64, false },      /* k0-k7 */
    [6] = { 1152, 512, false },     /* upper halves of ZMM0-15 */
    [7] = { 1664, 1024, false },    /* ZMM16-31 */
    [9] = { 2688, 8, false },       /* PKRU */
};
/* clang-format on */

/* Where the components of an image are, from 2 on. */
typedef struct Layout {
    uint32_t size;
    uint32_t offset[XSAVE_COMPONENTS];
} Layout;

/* An image with the components of MASK; only their offsets are set. */
static void lay_out(Layout *layout, uint64_t mask, bool compacted)
{
    uint32_t size = XSAVE_HEADER_END;

    for (uint64_t left = mask & ~3u & (BIT(XSAVE_COMPONENTS) - 1); left; left &= left - 1) {
        unsigned i = __builtin_ctzll(left);
        const XsaveComponent *c = &xsave_components[i];
        uint32_t at = !compacted ? c->offset : c->aligned ? align_up(size, 64) : size;

        layout->offset[i] = at;
        size = MAX(size, at + c->size);
    }
    layout->size = size;
}

uint32_t xsave_size(uint64_t mask, bool compacted)
{
    Layout layout;

    lay_out(&layout, mask, compacted);
    return layout.size;
}

/* ---- pieces of state ---------------------------------------------------------------------- */

static unsigned xmm_count(const X86Cpu *cpu)
{
    return cpu->mode & MODE_CS64 ? 16 : 8;
}

/* Bytes 0..159 but MXCSR and its mask; the pointers in the form that REX.W selects. */
static void x87_put(const X86Cpu *cpu, uint8_t *p, bool wide)
{
    const X87State *s = &cpu->x87;

    memcpy(p, s, OFF_MXCSR);
    p[5] = 0;
    le16_store(p + 6, s->fop & 0x7ff);
    if (!wide) {
        bool no_selectors = cpu->features[FEAT_7_0_EBX] & BIT(13);

        le32_store(p + 8, s->fip);
        le32_store(p + 12, no_selectors ? 0 : cpu->x87_fcs);
        le32_store(p + 16, s->fdp);
        le32_store(p + 20, no_selectors ? 0 : cpu->x87_fds);
    }
    for (unsigned n = 0; n < 8; n++) {
        memcpy(p + OFF_ST + 16 * n, &s->st[n], 10);
        memset(p + OFF_ST + 16 * n + 10, 0, 6);
    }
}

static void mxcsr_put(const X86Cpu *cpu, uint8_t *p)
{
    le32_store(p + OFF_MXCSR, cpu->x87.mxcsr);
    le32_store(p + OFF_MXCSR + 4, MXCSR_MASK);
}

static void xmm_put(const X86Cpu *cpu, uint8_t *p)
{
    for (unsigned n = 0; n < xmm_count(cpu); n++) {
        memcpy(p + OFF_XMM + 16 * n, &cpu->zmm[n], 16);
    }
}

static void x87_get(X86Cpu *cpu, const uint8_t *p, bool wide)
{
    X87State *s = &cpu->x87;
    uint32_t mxcsr = s->mxcsr;

    memcpy(s, p, sizeof(*s));
    s->fcw = (s->fcw & 0x1f3f) | 0x40;
    s->reserved = 0;
    s->fop &= 0x7ff;
    s->mxcsr = mxcsr;
    s->mxcsr_mask = MXCSR_MASK;
    cpu->x87_fcs = cpu->x87_fds = 0;
    if (!wide) {
        s->fip = le32_load(p + 8);
        cpu->x87_fcs = le16_load(p + 12);
        s->fdp = le32_load(p + 16);
        cpu->x87_fds = le16_load(p + 20);
    }
    for (unsigned n = 0; n < 8; n++) {
        memset(s->st[n].pad, 0, sizeof(s->st[n].pad));
    }
    x87_update_es(s);
}

/* A part of each of so many vectors from FIRST on, one behind the other in an image. */
#define VECTORS_COPY(first, count, start, size)                                             \
    for (unsigned n = 0; n < (count); n++) {                                                \
        uint8_t *v = &cpu->zmm[(first) + n].u8[start], *at = p + n * (size);                \
                                                                                            \
        memcpy(load ? v : at, load ? at : v, size);                                         \
    }

/* Components from 2 on to and from their part of an image, which is only read where LOAD is true. */
static inline __attribute__((always_inline)) void component_copy(X86Cpu *cpu, unsigned i, uint8_t *p, bool load)
{
    unsigned count = xmm_count(cpu);

    switch (i) {
    case 2:
        VECTORS_COPY(0, count, 16, 16)
        break;
    case 5:
        memcpy(load ? (void *)cpu->k : p, load ? p : (void *)cpu->k, sizeof(cpu->k));
        break;
    case 6:
        VECTORS_COPY(0, count, 32, 32)
        break;
    case 7:
        VECTORS_COPY(16, count == 16 ? 16 : 0, 0, 64)
        break;
    case 9:
        if (!load) {
            le64_store(p, cpu->pkru);
        } else if (le32_load(p) != cpu->pkru) {
            cpu->pkru = le32_load(p);
            x86_tlb_flush(cpu, true);       /* permissions are cached with the keys applied */
        }
        break;
    default:
        break;
    }
}
#undef VECTORS_COPY

static void component_put(X86Cpu *cpu, unsigned i, uint8_t *p)
{
    component_copy(cpu, i, p, false);
}

static void component_get(X86Cpu *cpu, unsigned i, const uint8_t *p)
{
    component_copy(cpu, i, (uint8_t *)p, true);
}

/* LEN is a multiple of 8. */
static bool all_zero(const void *p, size_t len)
{
    uint64_t bits = 0, word;

    for (size_t i = 0; i < len; i += 8) {
        memcpy(&word, (const uint8_t *)p + i, 8);
        bits |= word;
    }
    return bits == 0;
}

typedef uint64_t Quarter __attribute__((vector_size(16), aligned(16), may_alias));

/* Is a bit set in quarters FIRST to END - 1 of COUNT vectors? */
static inline __attribute__((always_inline)) bool vectors_in_use(const X86Vec *v, unsigned count, unsigned first,
                                                                 unsigned end)
{
    Quarter bits = { 0 };

    for (unsigned n = 0; n < count; n++) {
        for (unsigned i = first; i < end; i++) {
            bits |= *(const Quarter *)&v[n].u8[16 * i];
        }
    }
    return bits[0] | bits[1];
}

static bool component_in_use(const X86Cpu *cpu, unsigned i)
{
    const X87State *s = &cpu->x87;
    unsigned count = xmm_count(cpu);

    switch (i) {
    case 0:
        return s->fcw != 0x37f || s->fsw || s->ftw || s->fop || s->fip || s->fdp || cpu->x87_fcs ||
               cpu->x87_fds || !all_zero(s->st, sizeof(s->st));
    case 1: return vectors_in_use(cpu->zmm, count, 0, 1);
    case 2: return vectors_in_use(cpu->zmm, count, 1, 2);
    case 5: return !all_zero(cpu->k, sizeof(cpu->k));
    case 6: return vectors_in_use(cpu->zmm, count, 2, 4);
    case 7: return count == 16 && vectors_in_use(cpu->zmm + 16, 16, 0, 4);
    case 9: return cpu->pkru;
    default: return false;
    }
}

/* XINUSE [SDM1 13.6]: components of MASK that differ from their initial configuration. */
static uint64_t components_in_use(const X86Cpu *cpu, uint64_t mask)
{
    uint64_t used = 0;

    for (uint64_t left = mask & (BIT(XSAVE_COMPONENTS) - 1); left; left &= left - 1) {
        unsigned i = __builtin_ctzll(left);

        if (component_in_use(cpu, i)) {
            used |= BIT(i);
        }
    }
    return used;
}

/* ---- FXSAVE, FXRSTOR ------------------------------------------------------------------------ */

static uint64_t image_address(X86Cpu *cpu, const Insn *insn, unsigned len, unsigned align,
                              X86Access access)
{
    uint64_t va = insn_linear_unaligned(cpu, insn, len, access);

    if (va & (align - 1)) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    return va;
}

/* EFER.FFXSR: in 64-bit mode at CPL 0 the XMM registers are left out. */
static bool skips_xmm(const X86Cpu *cpu)
{
    return (cpu->efer & EFER_FFXSR) && (cpu->mode & MODE_CS64) && cpu->cpl == 0;
}

static bool is_wide(const Insn *insn)
{
    return insn->op_size == 8;
}

void sem_fxsave(X86Cpu *cpu, const Insn *insn)
{
    uint64_t va = image_address(cpu, insn, FXSAVE_BYTES, 16, X86_WRITE);
    unsigned xmm = skips_xmm(cpu) ? 0 : xmm_count(cpu);
    uint8_t image[FXSAVE_BYTES];

    x87_put(cpu, image, is_wide(insn));
    mxcsr_put(cpu, image);
    xmm_put(cpu, image);
    x86_st_bytes(cpu, va, image, OFF_XMM + 16 * xmm);
}

void sem_fxrstor(X86Cpu *cpu, const Insn *insn)
{
    uint64_t va = image_address(cpu, insn, FXSAVE_BYTES, 16, X86_READ);
    unsigned xmm = skips_xmm(cpu) ? 0 : xmm_count(cpu);
    uint8_t image[FXSAVE_BYTES];

    x86_ld_bytes(cpu, va, image, sizeof(image));
    if (le32_load(image + OFF_MXCSR) & ~MXCSR_MASK) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    x87_get(cpu, image, is_wide(insn));
    cpu->x87.mxcsr = le32_load(image + OFF_MXCSR);
    for (unsigned n = 0; n < xmm; n++) {
        memcpy(&cpu->zmm[n], image + OFF_XMM + 16 * n, 16);
    }
}

/* ---- XSAVE and kin ----------------------------------------------------------------------------- */

static uint64_t requested(X86Cpu *cpu)
{
    if (cpu->mode & MODE_TS) {
        cpu_raise(cpu, VEC_NM, 0);
    }
    return (cpu->gpr[R_RAX] & 0xffffffff) | cpu->gpr[R_RDX] << 32;
}

/* A stretch of the image that is written. */
typedef struct Stretch {
    uint32_t offset, len;
} Stretch;

static unsigned stretches_of(X86Cpu *cpu, uint64_t save, bool mxcsr, const Layout *layout, bool compacted,
                             Stretch *out)
{
    unsigned count = 0;

    if (save & XCR0_X87) {
        out[count++] = (Stretch){ 0, OFF_MXCSR };
        out[count++] = (Stretch){ OFF_ST, OFF_XMM - OFF_ST };
    }
    if (mxcsr) {
        out[count++] = (Stretch){ OFF_MXCSR, 8 };
    }
    if (save & XCR0_SSE) {
        out[count++] = (Stretch){ OFF_XMM, 16 * xmm_count(cpu) };
    }
    for (unsigned i = 2; i < XSAVE_COMPONENTS; i++) {
        uint32_t len = xsave_components[i].size;

        if ((save & BIT(i)) && len) {
            if (xmm_count(cpu) == 8 && (i == 2 || i == 6)) {
                len /= 2;
            }
            if (xmm_count(cpu) != 8 || i != 7) {
                out[count++] = (Stretch){ layout->offset[i], len };
            }
        }
    }
    out[count++] = (Stretch){ OFF_XSTATE_BV, compacted ? 64 : 8 };
    return count;
}

/* What write_image() writes, into P; between the stretches nothing.  LAYOUT is that of the components of RFBM. */
static void put_image(X86Cpu *cpu, const Insn *insn, uint8_t *p, uint64_t rfbm, const Layout *layout, uint64_t save,
                      bool mxcsr, uint64_t bv, bool compacted)
{
    for (uint64_t left = save & (BIT(XSAVE_COMPONENTS) - 1); left; left &= left - 1) {
        unsigned i = __builtin_ctzll(left);

        if (i == 0) {
            x87_put(cpu, p, is_wide(insn));
        } else if (i == 1) {
            xmm_put(cpu, p);
        } else {
            component_put(cpu, i, p + layout->offset[i]);
        }
    }
    if (mxcsr) {
        mxcsr_put(cpu, p);
    }
    le64_store(p + OFF_XSTATE_BV, bv);
    if (compacted) {
        le64_store(p + OFF_XCOMP_BV, rfbm | XCOMP_COMPACT);
        memset(p + OFF_XCOMP_BV + 8, 0, 48);
    }
}

/*
 * RFBM: the components that have a place, by LAYOUT; SAVE: those that are written, BV: what the header
 * says of them.  Only what the architecture writes is written, and nothing if a page is missing.
 */
static void write_image(X86Cpu *cpu, const Insn *insn, uint64_t va, uint64_t rfbm, const Layout *layout,
                        uint64_t save, uint64_t bv, bool compacted)
{
    uint8_t image[4096], *ram;
    uint32_t size = layout->size;
    Stretch stretch[XSAVE_COMPONENTS + 4];
    bool mxcsr = compacted ? (save & XCR0_SSE) : (rfbm & (XCR0_SSE | XCR0_AVX));
    unsigned count;

    ram = x86_tlb_write(cpu, va, size, cpu->mmu_idx);
    if (ram) {
        put_image(cpu, insn, ram, rfbm, layout, save, mxcsr, bv, compacted);
        return;
    }
    put_image(cpu, insn, image, rfbm, layout, save, mxcsr, bv, compacted);
    for (uint64_t page = align_down(va, 4096); page < va + size; page += 4096) {
        x86_probe_write(cpu, page, 1);
    }
    count = stretches_of(cpu, save, mxcsr, layout, compacted, stretch);
    for (unsigned i = 0; i < count; i++) {
        x86_st_bytes(cpu, va + stretch[i].offset, image + stretch[i].offset, stretch[i].len);
    }
}

static void save_standard(X86Cpu *cpu, const Insn *insn, bool optimised)
{
    uint64_t mask = requested(cpu) & cpu->xcr0, va, used, old;
    Layout layout;

    lay_out(&layout, mask, false);
    va = image_address(cpu, insn, layout.size, 64, X86_WRITE);
    used = components_in_use(cpu, mask);
    old = x86_ld64(cpu, va + OFF_XSTATE_BV);
    write_image(cpu, insn, va, mask, &layout, optimised ? used : mask, (old & ~mask) | used, false);
}

void sem_xsave(X86Cpu *cpu, const Insn *insn)
{
    save_standard(cpu, insn, false);
}

void sem_xsaveopt(X86Cpu *cpu, const Insn *insn)
{
    save_standard(cpu, insn, true);
}

static void save_compacted(X86Cpu *cpu, const Insn *insn, uint64_t allowed)
{
    uint64_t mask = requested(cpu) & allowed, va, used;
    Layout layout;

    lay_out(&layout, mask, true);
    va = image_address(cpu, insn, layout.size, 64, X86_WRITE);
    used = components_in_use(cpu, mask);
    if (cpu->x87.mxcsr != MXCSR_DEFAULT) {
        used |= XCR0_SSE;
    }
    write_image(cpu, insn, va, mask, &layout, used & mask, used & mask, true);
}

void sem_xsavec(X86Cpu *cpu, const Insn *insn)
{
    save_compacted(cpu, insn, cpu->xcr0);
}

void sem_xsaves(X86Cpu *cpu, const Insn *insn)
{
    save_compacted(cpu, insn, cpu->xcr0 | cpu->msrs.xss);
}

/* To the initial configuration [SDM1 13.6]. */
static void component_init(X86Cpu *cpu, unsigned i)
{
    static const uint8_t zero[1024];

    if (i == 0) {
        x87_init(cpu);
        memset(cpu->x87.st, 0, sizeof(cpu->x87.st));
    } else if (i == 1) {
        for (unsigned n = 0; n < xmm_count(cpu); n++) {
            memset(&cpu->zmm[n], 0, 16);
        }
    } else {
        component_get(cpu, i, zero);
    }
}

/* #GP for a HEADER (from XSTATE_BV on) that the instruction does not accept; true: compacted format. */
static bool check_header(X86Cpu *cpu, const uint8_t *header, uint64_t allowed, bool supervisor)
{
    uint64_t bv = le64_load(header), comp = le64_load(header + 8);
    bool compacted = comp & XCOMP_COMPACT;
    bool ok;

    if (compacted && (supervisor || x86_has(cpu, X86_FEAT_XSAVEC))) {
        ok = !((comp & ~XCOMP_COMPACT) & ~allowed) && !(bv & ~comp) &&
             all_zero(header + 16, 48);
    } else {
        ok = !supervisor && !(bv & ~cpu->xcr0) && comp == 0 &&
             all_zero(header + 16, 8);
    }
    if (!ok) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    return compacted;
}

/* Another CPU may be writing to the image: what has been checked is not read again. */
static void restore(X86Cpu *cpu, const Insn *insn, uint64_t allowed, bool supervisor)
{
    uint64_t mask = requested(cpu) & allowed;
    uint64_t va = image_address(cpu, insn, XSAVE_HEADER_END, 64, X86_READ);
    uint8_t image[4096], header[XSAVE_HEADER_END - OFF_XSTATE_BV];
    const uint8_t *p = x86_tlb_read(cpu, va, XSAVE_HEADER_END, cpu->mmu_idx);
    uint64_t bv, rest;
    uint32_t mxcsr;
    Layout layout;
    bool compacted, load_mxcsr;

    if (!p) {
        x86_ld_bytes(cpu, va, image, XSAVE_HEADER_END);
        p = image;
    }
    memcpy(header, p + OFF_XSTATE_BV, sizeof(header));
    compacted = check_header(cpu, header, allowed, supervisor);
    bv = le64_load(header);
    mxcsr = le32_load(p + OFF_MXCSR);
    load_mxcsr = compacted ? (mask & bv & XCR0_SSE) : (mask & (XCR0_SSE | XCR0_AVX));
    if (load_mxcsr && (mxcsr & ~MXCSR_MASK)) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    rest = mask & bv & ~3u & (BIT(XSAVE_COMPONENTS) - 1);
    lay_out(&layout, compacted ? le64_load(header + 8) & ~XCOMP_COMPACT : rest, compacted);
    if (rest && (p == image || !x86_tlb_read(cpu, va, layout.size, cpu->mmu_idx))) {
        if (p != image) {
            memcpy(image, p, XSAVE_HEADER_END);
            p = image;
        }
        for (uint64_t left = rest; left; left &= left - 1) {
            unsigned i = __builtin_ctzll(left);
            uint32_t offset = layout.offset[i];

            x86_ld_bytes(cpu, va + offset, image + offset, xsave_components[i].size);
        }
    }
    for (uint64_t left = mask & (BIT(XSAVE_COMPONENTS) - 1); left; left &= left - 1) {
        unsigned i = __builtin_ctzll(left);

        if (!(bv & BIT(i))) {
            component_init(cpu, i);
        } else if (i == 0) {
            x87_get(cpu, p, is_wide(insn));
        } else if (i == 1) {
            for (unsigned n = 0; n < xmm_count(cpu); n++) {
                memcpy(&cpu->zmm[n], p + OFF_XMM + 16 * n, 16);
            }
        } else {
            component_get(cpu, i, p + layout.offset[i]);
        }
    }
    if (load_mxcsr) {
        cpu->x87.mxcsr = mxcsr;
    } else if (compacted && (mask & XCR0_SSE)) {
        cpu->x87.mxcsr = MXCSR_DEFAULT;
    }
}

void sem_xrstor(X86Cpu *cpu, const Insn *insn)
{
    restore(cpu, insn, cpu->xcr0, false);
}

void sem_xrstors(X86Cpu *cpu, const Insn *insn)
{
    restore(cpu, insn, cpu->xcr0 | cpu->msrs.xss, true);
}
