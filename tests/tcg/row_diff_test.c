/* SPDX-License-Identifier: MIT */
/*
 * Each table row, run by the interpreter and by the translator, in 64-bit and flat 32-bit code, at CPL 3
 * and CPL 0: with random registers and flags, operands of every addressing form, in plain RAM, across
 * pages, in pages that are missing, read-only, the kernel's or not RAM; with x87 and SIMD exceptions
 * masked and not; with AVX-512 switched on, mostly.  Instructions before it set flags, instructions behind it read them or let
 * them die.  Compared: all the guest can see, the exception included.  See rows.h for how, and for the environment.
 *
 * Flags that nobody can read any more may be wrong in the frame of a page fault (translator.md): they
 * are not compared there.
 */
#include "target-x86/sem.h"
#include "tests/tcg/rows.h"

static void put8(Rows *r, unsigned byte) { rows_put(r, (const uint8_t[]){ byte }, 1); }

static void put32(Rows *r, uint32_t value) { rows_put(r, &value, 4); }

/* ---- what stands around the instruction ------------------------------------------------------------ */

static void put_producer(Rows *r)
{
    static const struct { uint8_t len, bytes[3]; } producers[] = {
        { 2, { 0x39, 0xc8 } },          /* cmp eax, ecx */
        { 2, { 0x85, 0xda } },          /* test edx, ebx */
        { 2, { 0x38, 0xdc } },          /* cmp ah, bl */
        { 1, { 0xf9 } }, { 1, { 0xf8 } }, { 1, { 0xf5 } },      /* stc, clc, cmc */
        { 1, { 0x9e } },                /* sahf */
        { 1, { 0x90 } },
        { 2, { 0x39, 0xc8 } },
        { 3, { 0x4d, 0x39, 0xfa } },    /* cmp r10, r15 */
    };
    unsigned n = pick(r->rand, ARRAY_LEN(producers) - (r->bits == 32));

    rows_put(r, producers[n].bytes, producers[n].len);
}

/* A condition that reads none of the flags in `undefined`; -1 if none was found. */
static int pick_condition(Rows *r, uint64_t undefined)
{
    static const uint64_t read[8] = {
        FLAG_OF, FLAG_CF, FLAG_ZF, FLAG_CF | FLAG_ZF, FLAG_SF, FLAG_PF, FLAG_SF | FLAG_OF,
        FLAG_SF | FLAG_OF | FLAG_ZF,
    };

    for (unsigned i = 0; i < 20; i++) {
        unsigned cond = pick(r->rand, 16);

        if (!(read[cond >> 1] & undefined)) {
            return cond;
        }
    }
    return -1;
}

static void put_absolute(Rows *r, uint32_t addr)
{
    if (r->bits == 64) {
        put8(r, r->code[--r->len] | 4);
        put8(r, 0x25);
    } else {
        put8(r, r->code[--r->len] | 5);
    }
    put32(r, addr);
}

/* Something that reads the flags the row defines, kills them, or keeps them.  False: nobody reads all of them. */
static bool put_consumer(Rows *r, const Insn *insn, uint64_t undefined)
{
    bool stack_lost = insn->op[0].reg == R_RSP || insn->op[1].reg == R_RSP;
    int cond = pick_condition(r, undefined);

    switch (pick(r->rand, 10)) {
    case 0:
        rows_put(r, "\x39\xf7", 2);                     /* cmp edi, esi */
        return false;
    case 1:                                             /* pushf; and [rsp], defined */
        if (undefined && stack_lost) {
            break;
        }
        put8(r, 0x9c);
        rows_put(r, "\x48", r->bits == 64);
        rows_put(r, "\x81\x24\x24", 3);
        put32(r, ~undefined & 0x7fffffff);
        break;
    case 2:
        if (cond >= 0) {                                /* setcc [absolute] */
            put8(r, 0x0f);
            put8(r, 0x90 | cond);
            put8(r, 0);
            put_absolute(r, BENCH_DATA + 0x3f00);
        }
        break;
    case 3:
        if (cond >= 0) {                                /* setcc r8b or al */
            rows_put(r, "\x41", r->bits == 64);
            put8(r, 0x0f);
            put8(r, 0x90 | cond);
            put8(r, 0xc0);
        }
        break;
    case 4:
        if (cond >= 0) {                                /* jcc to the next */
            put8(r, 0x70 | cond);
            put8(r, 0);
        }
        break;
    case 5:
        if (cond >= 0) {                                /* cmovcc ebx, ecx */
            put8(r, 0x0f);
            put8(r, 0x40 | cond);
            put8(r, 0xd9);
        }
        break;
    case 6:
        rows_put(r, "\x8b\x00", 2);                     /* mov eax, [absolute] */
        put_absolute(r, BENCH_DATA + 0x3e00);
        break;
    case 7:
        rows_put(r, "\xeb\x00", 2);                     /* jmp to the next */
        break;
    case 8:
        rows_put(r, undefined & FLAG_CF ? "\x90\x90" : "\x11\xd0", 2);  /* adc eax, edx */
        return false;
    default:
        break;
    }
    return true;
}

/* ---- where the operand lies ---------------------------------------------------------------------------- */

/* The two pages of plain RAM where operands cross do not lie one behind the other in memory. */
static void exchange_frames(void)
{
    uint64_t *table = (uint64_t *)(uintptr_t)(BENCH_TABLES + 0x8000), second = table[2];

    table[2] = table[3];
    table[3] = second;
}

static uint64_t pick_target(Rows *r)
{
    uint64_t aligned = data_address(r->rand);

    switch (pick(r->rand, 14)) {
    case 0: return BENCH_DATA + 0x3000 - pick(r->rand, 72);             /* may cross a page */
    case 1: return ENGINES_NONE - pick(r->rand, 72);
    case 2: return ENGINES_NONE + pick(r->rand, 64);
    case 3: return ENGINES_READONLY - pick(r->rand, 72) + (pick(r->rand, 2) ? 0x100 : 0);
    case 4: return ENGINES_KERNEL - pick(r->rand, 72) + (pick(r->rand, 2) ? 0x100 : 0);
    case 5: return pick(r->rand, 2) ? ENGINES_MMIO + pick(r->rand, 256) : aligned;
    case 6: return r->bits == 64 && pick(r->rand, 2) ? 0x7fffffffffffull - pick(r->rand, 32) : aligned;
    default: return aligned;
    }
}

static void place_operand(Rows *r, const Insn *insn, uint8_t *bytes)
{
    uint64_t target = pick_target(r), *gpr = r->state.gpr, sum = insn->disp;
    uint32_t disp32;

    if (insn->seg == SEG_FS || insn->seg == SEG_GS) {
        target -= r->e.cpu->segs[insn->seg].base;
    }
    if (insn->def->opnd[0] >> 8 == OT_O || insn->def->opnd[1] >> 8 == OT_O) {
        memcpy(bytes + insn->len - insn->addr_size, &target, insn->addr_size);
        return;
    }
    if (insn->index != R_ZERO) {
        sum += gpr[insn->index] << insn->scale;
    }
    if (insn->base < R_ZERO && insn->base != insn->index) {
        gpr[insn->base] = target - sum;
        if (insn->addr_size == 4 && r->bits == 64 && pick(r->rand, 2)) {
            gpr[insn->base] ^= (uint64_t)g_rand_int(r->rand) << 32;
        }
    } else if (insn->disp_size == 4 && insn->base >= R_ZERO) {
        disp32 = target - (sum - insn->disp) - (insn->base == R_RIP ? r->row_at + insn->len : 0);
        memcpy(bytes + insn->len - insn->imm_size - 4, &disp32, 4);
    }
}

/* ---- one try ------------------------------------------------------------------------------------------------ */

static void random_exceptions(Rows *r)
{
    X87State *x = (X87State *)(void *)r->state.fx;

    if (pick(r->rand, 4) == 0) {
        x->mxcsr &= ~(g_rand_int(r->rand) & 0x1f80);
    }
    if (pick(r->rand, 4) == 0) {
        x->fcw &= ~(g_rand_int(r->rand) & 0x3f);
    }
    if (pick(r->rand, 12) == 0) {
        x->fsw |= 1u << pick(r->rand, 6);
        x->fsw |= x->fsw & ~x->fcw & 0x3f ? 0x8080 : 0;
    }
}

/* Most jumps are to arrive where there is code, wherever they take their target from. */
static void aim_jump(Rows *r, const Insn *insn)
{
    uint64_t target = BENCH_CODE + 0x800 + pick(r->rand, 64);
    unsigned width = r->bits / 8;

    if (!pick(r->rand, 4)) {
        return;
    }
    if (insn->sem == sem_sysret || insn->sem == sem_sysexit) {
        r->state.gpr[R_RCX] = r->state.gpr[R_RDX] = target;
        r->state.gpr[R_R11] = pick(r->rand, 2) ? FLAG_IF | 2 : r->state.gpr[R_R11] & ~(uint64_t)FLAG_TF;
    } else if (insn->op[1].kind == OPK_GPR && insn->op[1].reg != R_RSP) {
        r->state.gpr[insn->op[1].reg] = target;
    } else {
        for (unsigned i = 0; i < BENCH_DATA_SIZE; i += width) {
            memcpy((uint8_t *)(uintptr_t)BENCH_DATA + i, &target, width);
        }
    }
}

static void set_up_cpu(Rows *r)
{
    X86Cpu *cpu = r->e.cpu;
    uint32_t cr0;

    r->e.avx512 = r->has_avx512 && pick(r->rand, 4);
    engines_mode(&r->e, r->bits, r->cpl);
    for (unsigned seg = SEG_FS; seg <= SEG_GS; seg++) {
        cpu->segs[seg].base = pick(r->rand, 2) ? 0 : (uint64_t)pick(r->rand, 0x10000) << 8;
        if (r->bits == 64 && pick(r->rand, 2)) {
            cpu->segs[seg].base -= 0x100000000;
        }
    }
    cr0 = pick(r->rand, 24) ? 0 : pick(r->rand, 2) ? CR0_TS : CR0_EM;
    cpu->cr0 |= cr0;
    x86_update_mode(cpu);
}

/* Decodes to the row, in the mode of the CPU? */
static bool encode(Rows *r, const InsnDef *def, InsnMaker *m, Insn *insn)
{
    insn_make(m, def, r->rand, MAKE_FAR | (r->bits == 32 ? MAKE_32 : 0));
    return insn_decode(insn, m->bytes, sizeof(m->bytes), r->e.cpu->mode, NULL) == DECODE_OK &&
           insn->def == def && def->sem;
}

/* Flags dead before the row's instruction may be anything when it faults. */
static uint64_t flags_to_compare(const Rows *r, const Insn *insn, bool flags_behind)
{
    static const uint32_t bits[6] = { FLAG_CF, FLAG_PF, FLAG_AF, FLAG_ZF, FLAG_SF, FLAG_OF };
    uint64_t mask = ~undefined_flags(insn->def), rip = 0;
    uint32_t effects = insn->def->effects, killed = (effects >> 8 | effects >> 16) & ~effects;
    int vector = engines_vector(r->e.interpreted, &rip);

    if (vector < 0) {
        return mask;
    }
    if (rip != r->row_rip) {
        return *(const uint8_t *)(uintptr_t)rip == 0xf4 ? mask : mask & ~FLAGS_ARITH;
    }
    if (!flags_behind) {
        killed = FX_ARITH & ~effects;
    }
    if (insn->sem == sem_sysret && insn->op_size == 8) {
        killed = FX_ARITH;                  /* it takes them from R11 */
    }
    for (unsigned i = 0; i < 6; i++) {
        mask &= killed >> i & 1 ? ~(uint64_t)bits[i] : ~0ull;
    }
    return mask;
}

static void try_row(Rows *r, const InsnDef *def)
{
    bool flags_behind;
    uint8_t *row;
    InsnMaker m;
    Insn insn;

    set_up_cpu(r);
    if (!encode(r, def, &m, &insn)) {
        return;
    }
    insn_state_random(&r->state, r->rand);
    insn_state_random_x87(&r->state, r->rand);
    random_exceptions(r);
    if (!insn_aim(&r->state, &insn, r->rand)) {
        return;
    }
    rows_begin(r);
    put_producer(r);
    row = rows_put_row(r, m.bytes, insn.len);
    if ((def->attrs & A_BRANCH) && insn.imm_size == 4 && pick(r->rand, 4)) {
        le32_store(row + insn.len - 4, 0x700 + pick(r->rand, 64));
    }
    if ((def->attrs & A_BRANCH) && insn.imm_size == 1 && insn.imm < 16) {
        row[insn.len - 1] = 0;              /* not into the middle of what stands behind it */
    }
    if (insn_has_mem(&insn)) {
        place_operand(r, &insn, row);
    }
    flags_behind = put_consumer(r, &insn, undefined_flags(def));
    rows_data(r, def);
    if ((def->attrs & A_CTRL) && !(def->attrs & A_BRANCH)) {
        aim_jump(r, &insn);
    }
    if (rows_interpret(r, &insn)) {
        rows_translate(r, &insn, flags_to_compare(r, &insn, flags_behind));
    }
}

static void test_rows(gconstpointer mode)
{
    unsigned bits = GPOINTER_TO_UINT(mode) >> 4, cpl = GPOINTER_TO_UINT(mode) & 3;
    Rows r;

    if (!rows_init(&r, bits, cpl, bits == 64 ? "64-bit" : "32-bit")) {
        return;
    }
    exchange_frames();
    rows_run(&r, try_row);
    rows_clear(&r);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/tcg/rows/64/user", GUINT_TO_POINTER(64 << 4 | 3), test_rows);
    g_test_add_data_func("/tcg/rows/64/kernel", GUINT_TO_POINTER(64 << 4 | 0), test_rows);
    g_test_add_data_func("/tcg/rows/32/user", GUINT_TO_POINTER(32 << 4 | 3), test_rows);
    g_test_add_data_func("/tcg/rows/32/kernel", GUINT_TO_POINTER(32 << 4 | 0), test_rows);
    return g_test_run();
}
