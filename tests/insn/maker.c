/* SPDX-License-Identifier: MIT */
/*
 * See maker.h.
 */
#include "tests/insn/maker.h"

/* ---- making an instruction --------------------------------------------------------------------- */

unsigned pick(GRand *rand, unsigned n)
{
    return g_rand_int_range(rand, 0, n);
}

static void put(InsnMaker *m, unsigned byte)
{
    m->bytes[m->len++] = byte;
}

static unsigned mandatory_prefix(InsnMaker *m)
{
    uint32_t allowed = m->def->match & M_PREFIXES;
    unsigned p;

    if (!allowed) {
        return 0;
    }
    do {
        p = pick(m->rand, 4);
    } while (!(allowed & (1u << p)));
    return p;                   /* 0 none, 1 66, 2 F3, 3 F2 */
}

static void put_modrm(InsnMaker *m, bool mem)
{
    uint32_t match = m->def->match;
    unsigned reg = match & M_HAS_REG ? match >> 24 & 7 : pick(m->rand, 8);
    unsigned rm = m->def->attrs & A_VSIB ? 4 : pick(m->rand, 8), mod = pick(m->rand, 3);

    if (!mem) {
        put(m, 0xc0 | reg << 3 | (match & M_HAS_RM ? match >> 27 & 7 : rm));
        return;
    }
    /* The operand is the address, too, or a high byte of it. */
    if (!(m->def->attrs & A_VSIB) && pick(m->rand, 8) == 0) {
        rm = pick(m->rand, 2) ? reg : reg & 3;
        mod = 0;
    }
    if (rm == 5 && mod == 0 && !(m->how & MAKE_FAR)) {
        mod = 1;
    }
    put(m, mod << 6 | reg << 3 | rm);
    if (rm == 4) {
        unsigned base = pick(m->rand, 8);

        if (base == 5 && !(m->how & MAKE_FAR)) {
            base = 3;
        }
        put(m, pick(m->rand, 4) << 6 | pick(m->rand, 8) << 3 | base);
    }
    if (mod == 1) {
        put(m, pick(m->rand, 256));
    } else if (mod == 2) {
        put(m, pick(m->rand, 256));
        put(m, 0);
        put(m, 0);
        put(m, 0);
    }
}

static bool uses_modrm(const InsnDef *def)
{
    for (unsigned n = 0; n < 4; n++) {
        switch (def->opnd[n] >> 8) {
        case OT_E: case OT_G: case OT_M: case OT_R: case OT_S: case OT_P: case OT_Q: case OT_N:
        case OT_V: case OT_W: case OT_U: case OT_RM: case OT_STI: case OT_VSIB:
        case OT_KG: case OT_KE: case OT_KU:
            return true;
        }
    }
    return def->match & (M_MEM | M_RR | M_HAS_REG | M_HAS_RM);
}

static void put_far_prefixes(InsnMaker *m)
{
    if (pick(m->rand, 8) == 0) {
        put(m, 0x67);
    }
    if (pick(m->rand, 6) == 0) {
        put(m, 0x64 + pick(m->rand, 2));
    }
}

static void put_legacy_head(InsnMaker *m)
{
    static const uint8_t prefix_byte[4] = { 0, 0x66, 0xf3, 0xf2 };
    const InsnDef *def = m->def;
    unsigned p = mandatory_prefix(m), rex = 0;

    if (!(def->match & M_PREFIXES) && pick(m->rand, 4) == 0) {
        put(m, 0x66);
    }
    if ((def->attrs & (A_REP | A_REPCC)) && pick(m->rand, 2)) {
        put(m, def->attrs & A_REP || pick(m->rand, 2) ? 0xf3 : 0xf2);
    }
    if (p) {
        put(m, prefix_byte[p]);
    }
    if ((def->attrs & A_LOCK) && (def->opnd[0] >> 8) != OT_NIL && pick(m->rand, 4) == 0) {
        put(m, 0xf0);
    }
    if (pick(m->rand, 2)) {
        rex = 0x40 | pick(m->rand, 16);
    }
    if (def->match & M_W1) {
        rex |= 0x48;
    } else if (def->match & M_W0) {
        rex &= ~8u;
    }
    if ((rex & 0x40) && !(m->how & MAKE_32)) {
        put(m, rex);
    }
    if (def->map != MAP_1BYTE) {
        put(m, 0x0f);
    }
    if (def->map == MAP_0F38 || def->map == MAP_0F3A) {
        put(m, def->map == MAP_0F38 ? 0x38 : 0x3a);
    }
}

static void put_vex_head(InsnMaker *m)
{
    uint32_t match = m->def->match;
    unsigned w = match & M_W1 ? 1 : match & M_W0 ? 0 : pick(m->rand, 2);
    unsigned l = (match & (M_L0 | M_L1)) == M_L1 ? 1 : match & M_L0 ? 0 : pick(m->rand, 2);
    unsigned v = match & M_V1111 ? 15 : pick(m->rand, 16);

    put(m, 0xc4);
    put(m, (m->how & MAKE_32 ? 6 | pick(m->rand, 2) : pick(m->rand, 8)) << 5 |
           (m->def->map - MAP_VEX0F + 1));
    put(m, w << 7 | v << 3 | l << 2 | mandatory_prefix(m));
}

/* Most often what the row allows; registers above 15, masks, broadcast and rounding are common. */
static void put_evex_head(InsnMaker *m, bool mem)
{
    uint32_t match = m->def->match;
    uint64_t a = m->def->attrs;
    bool narrow = m->how & MAKE_32;
    unsigned w = match & M_W1 ? 1 : match & M_W0 ? 0 : pick(m->rand, 2);
    unsigned v = match & M_V1111 ? 15 : pick(m->rand, 16), lengths = match & M_LV ? 0 : 7, l;
    bool b = (a & (mem ? A_BC : A_RC | A_SAE)) && pick(m->rand, 3) == 0;
    unsigned aaa = (a & A_MASK) && (pick(m->rand, 3) || (a & A_VSIB)) ? pick(m->rand, 8) : 0;
    bool z = aaa && m->def->opnd[0] >> 8 != OT_KG && !(a & A_VSIB) && !(mem && (m->def->opnd[0] >> 8) == OT_W) && pick(m->rand, 2);

    lengths |= (match & M_L0 ? 1 : 0) | (match & M_L1 ? 2 : 0) | (match & M_L2 ? 4 : 0);
    do {
        l = pick(m->rand, b && !mem ? 4 : 3);
    } while (!(b && !mem) && !(lengths >> l & 1));
    put(m, 0x62);
    put(m, (narrow ? 0xc0 | pick(m->rand, 4) << 4 : pick(m->rand, 16) << 4) | (m->def->map - MAP_EVEX0F + 1));
    put(m, w << 7 | v << 3 | 4 | mandatory_prefix(m));
    put(m, z << 7 | l << 5 | b << 4 | (narrow || ((match & M_V1111) && !(a & A_VSIB)) || pick(m->rand, 2) ? 8 : 0) | aaa);
}

void insn_make(InsnMaker *m, const InsnDef *def, GRand *rand, unsigned how)
{
    bool mem;

    *m = (InsnMaker){ .rand = rand, .def = def, .how = how };
    if (how & MAKE_FAR) {
        put_far_prefixes(m);
    }
    mem = def->match & M_MEM ? true : def->match & M_RR ? false : pick(m->rand, 2);
    if (def->map >= MAP_EVEX0F) {
        put_evex_head(m, mem);
    } else if (def->map >= MAP_VEX0F) {
        put_vex_head(m);
    } else {
        put_legacy_head(m);
    }
    put(m, def->op);
    if (uses_modrm(def)) {
        put_modrm(m, mem);
    }
    for (unsigned i = 0; i < 10; i++) {
        put(m, pick(rand, 256));
    }
}

/* ---- operands --------------------------------------------------------------------------------------- */

uint64_t interesting(GRand *rand)
{
    static const uint64_t values[] = {
        0, 1, 2, ~0ull, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000,
        0xffffffff, 0x7fffffffffffffff, 0x8000000000000000, 0x3ff0000000000000,
        0x7ff0000000000000, 0x3f8000007f800000,
    };
    uint64_t r = (uint64_t)g_rand_int(rand) << 32 | g_rand_int(rand);

    switch (pick(rand, 4)) {
    case 0: return values[pick(rand, ARRAY_LEN(values))];
    case 1: return values[pick(rand, ARRAY_LEN(values))] + pick(rand, 5) - 2;
    case 2: return r >> pick(rand, 64);
    default: return r;
    }
}

uint64_t data_address(GRand *rand)
{
    uint64_t align = pick(rand, 3) ? 64 : 1;

    return BENCH_DATA + BENCH_DATA_SIZE / 2 + (pick(rand, 0x600) & ~(align - 1));
}

/* Registers that make memory operands land in the data area; false: impossible. */
bool insn_aim(InsnState *state, const Insn *insn, GRand *rand)
{
    uint64_t *gpr = state->gpr;

    gpr[R_RSP] = data_address(rand) & ~7ull;
    if (insn->def->attrs & (A_IMPLICIT | A_REP | A_REPCC | A_MULTI | A_STACK)) {
        gpr[R_RBP] = data_address(rand);
        gpr[R_RSI] = data_address(rand);
        gpr[R_RDI] = data_address(rand);
        if (insn->def->attrs & (A_REP | A_REPCC)) {
            gpr[R_RCX] = pick(rand, 40);
        }
        if (insn->opcode == 0xd7 && insn->map == MAP_1BYTE) {
            gpr[R_RBX] = data_address(rand);
        }
    }
    if (!insn_has_mem(insn)) {
        return true;
    }
    if (insn->index != R_ZERO && insn->index != insn->base) {
        gpr[insn->index] = pick(rand, 256);
    }
    if (insn->base < R_ZERO) {
        gpr[insn->base] = data_address(rand);
        if (insn->disp_size == 1) {
            gpr[insn->base] -= pick(rand, 2) ? insn->disp : 0;
        }
    }
    if (insn->def->attrs & A_VSIB) {
        X86Vec *index = &state->zmm[insn->op[insn->op[0].kind == OPK_MEM ? 0 : 1].reg];

        for (unsigned i = 0; i < (insn->opcode & 1 ? 8 : 16); i++) {
            if (insn->opcode & 1) {
                index->u64[i] = (int64_t)pick(rand, 256) - 128;
            } else {
                index->u32[i] = (int)pick(rand, 256) - 128;
            }
        }
    }
    /* BT with a register index reaches far. */
    if (insn->map == MAP_0F && (insn->opcode & 0xe7) == 0xa3) {
        if (insn->op[2].reg == insn->base || insn->op[2].reg == insn->index) {
            return false;
        }
        gpr[insn->op[2].reg] = (int)pick(rand, 4096) - 2048;
    }
    return true;
}

void insn_state_random(InsnState *state, GRand *rand)
{
    for (unsigned i = 0; i < 16; i++) {
        state->gpr[i] = interesting(rand);
    }
    for (unsigned i = 0; i < sizeof(state->zmm) / 8; i++) {
        ((uint64_t *)state->zmm)[i] = interesting(rand);
    }
    for (unsigned i = 0; i < 8; i++) {
        state->k[i] = interesting(rand);
    }
    state->flags = (g_rand_int(rand) & FLAGS_ARITH) | FLAG_IF | FLAG_ONE |
                   (pick(rand, 8) ? 0 : FLAG_DF);
}

void data_random(GRand *rand)
{
    uint64_t *data = (uint64_t *)(uintptr_t)BENCH_DATA;

    for (unsigned i = 0; i < BENCH_DATA_SIZE / 8; i++) {
        data[i] = pick(rand, 2) ? interesting(rand)
                                : (uint64_t)g_rand_int(rand) << 32 | g_rand_int(rand);
    }
}

void insn_state_random_x87(InsnState *state, GRand *rand)
{
    X87State *x = (X87State *)state->fx;

    memset(state->fx, 0, sizeof(state->fx));
    x->fcw = 0x037f | pick(rand, 4) << 10;
    x->fsw = pick(rand, 8) << 11 | (g_rand_int(rand) & 0x4700);
    x->ftw = pick(rand, 4) ? 0xff : g_rand_int(rand);
    x->mxcsr = 0x1f80 | pick(rand, 4) << 13 | (pick(rand, 4) ? 0 : 0x8000);
    x->mxcsr_mask = 0xffff;
    for (unsigned i = 0; i < 8; i++) {
        static const uint16_t exponents[] = { 0x3fff, 0x4000, 0x3ffe, 0x4010, 0, 0x7fff, 0x403d, 0x3fc0 };

        x->st[i].exponent = exponents[pick(rand, 8)] | pick(rand, 2) << 15;
        x->st[i].mantissa = interesting(rand) | ((x->st[i].exponent & 0x7fff) ? 1ull << 63 : 0);
    }
}

void insn_state_load(const InsnState *state, X86Cpu *cpu)
{
    memcpy(cpu->gpr, state->gpr, sizeof(state->gpr));
    x86_set_rflags(cpu, state->flags);
    memcpy(&cpu->x87, state->fx, sizeof(cpu->x87));
    memset(cpu->zmm, 0, sizeof(cpu->zmm));
    if (cpu->xcr0 & XCR0_OPMASK) {
        memcpy(cpu->zmm, state->zmm, sizeof(cpu->zmm));
        memcpy(cpu->k, state->k, sizeof(cpu->k));
    } else {
        for (unsigned i = 0; i < 16; i++) {
            memcpy(&cpu->zmm[i], &state->zmm[i], 32);
        }
    }
    cpu->rip = BENCH_CODE;
    cpu->halted = false;
    x86_update_mode(cpu);
}

/* ---- what may differ ------------------------------------------------------------------------- */

uint64_t undefined_flags(const InsnDef *def)
{
    static const uint32_t bits[6] = { FLAG_CF, FLAG_PF, FLAG_AF, FLAG_ZF, FLAG_SF, FLAG_OF };
    uint64_t mask = 0;

    for (unsigned i = 0; i < 6; i++) {
        mask |= def->effects >> 24 & (1u << i) ? bits[i] : 0;
    }
    return mask;
}

uint16_t undefined_fsw(const InsnDef *def, const X87State *h)
{
    if (g_str_has_prefix(def->name, "fcmov") || g_str_has_prefix(def->name, "fcomi") ||
        g_str_has_prefix(def->name, "fucomi")) {
        return 0x200;
    }
    if (g_str_has_prefix(def->name, "fprem") && (h->st[0].exponent & 0x7fff) == 0x7fff) {
        return 0x4700;
    }
    return 0;
}
