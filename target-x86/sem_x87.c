/* SPDX-License-Identifier: MIT */
/*
 * x87.  Spec: SDM1 chapter 8, SDM2; control instructions and images in x87_image.c.
 *
 * The host executes the operation, in one of two ways (hostop.h):
 *   fast    all exceptions are masked and every operand is there: only the operands travel;
 *   general the whole register stack does, as an FXSAVE image.  Stack faults, unmasked exceptions
 *           and the instructions that push two values or rotate the stack come out as the
 *           host has them.
 * What a form does is in `memory_forms` and `register_forms`; there is no code per instruction.
 *
 * Unmasked exceptions stay in FSW.ES; the next waiting instruction raises #MF, or with
 * CR0.NE = 0 asserts FERR# (bus.h) and goes on, as the IRQ 13 handler expects.
 * Locking: none.
 */
#include "target-x86/bus.h"
#include "target-x86/fpu.h"
#include "target-x86/hostop.h"
#include "target-x86/sem.h"

typedef enum FormClass {
    F_GENERAL,                /* always by image */
    F_BINARY, F_UNARY, F_LOAD, F_STORE,     /* the shapes of hostop.h */
    F_LOAD80, F_STORE80, F_LOAD_ST, F_STORE_ST, F_EXCHANGE, F_NOP,      /* copies: no arithmetic */
} FormClass;

typedef struct X87Form {
    uint8_t class;
    uint8_t esc, modrm;       /* what the fast way executes; memory forms: the extension << 3 */
    uint8_t pops;
    uint8_t bytes;            /* memory operand */
    bool writes;              /* it is written */
    uint16_t cc;              /* condition codes that the instruction defines */
} X87Form;

/* clang-format off */
#define ARITH_MEM(esc, bytes)                                                               \
    [((esc) & 7) << 3 | 0] = { F_UNARY, esc, 0 << 3, 0, bytes, false, FSW_C1 },             \
    [((esc) & 7) << 3 | 1] = { F_UNARY, esc, 1 << 3, 0, bytes, false, FSW_C1 },             \
    [((esc) & 7) << 3 | 2] = { F_UNARY, esc, 2 << 3, 0, bytes, false, FSW_CC },             \
    [((esc) & 7) << 3 | 3] = { F_UNARY, esc, 2 << 3, 1, bytes, false, FSW_CC },             \
    [((esc) & 7) << 3 | 4] = { F_UNARY, esc, 4 << 3, 0, bytes, false, FSW_C1 },             \
    [((esc) & 7) << 3 | 5] = { F_UNARY, esc, 5 << 3, 0, bytes, false, FSW_C1 },             \
    [((esc) & 7) << 3 | 6] = { F_UNARY, esc, 6 << 3, 0, bytes, false, FSW_C1 },             \
    [((esc) & 7) << 3 | 7] = { F_UNARY, esc, 7 << 3, 0, bytes, false, FSW_C1 }
#define MEM(esc, ext, class, pops, bytes, writes) \
    [((esc) & 7) << 3 | (ext)] = { class, esc, (ext) << 3, pops, bytes, writes, FSW_C1 }

static const X87Form memory_forms[64] = {       /* escape, ModRM.reg; control ones are elsewhere */
    ARITH_MEM(0xd8, 4), ARITH_MEM(0xda, 4), ARITH_MEM(0xdc, 8), ARITH_MEM(0xde, 2),
    MEM(0xd9, 0, F_LOAD, 0, 4, false), MEM(0xd9, 2, F_STORE, 0, 4, true),
    MEM(0xd9, 3, F_STORE, 1, 4, true),
    MEM(0xdb, 0, F_LOAD, 0, 4, false), MEM(0xdb, 1, F_STORE, 1, 4, true),
    MEM(0xdb, 2, F_STORE, 0, 4, true), MEM(0xdb, 3, F_STORE, 1, 4, true),
    MEM(0xdb, 5, F_LOAD80, 0, 10, false), MEM(0xdb, 7, F_STORE80, 1, 10, true),
    MEM(0xdd, 0, F_LOAD, 0, 8, false), MEM(0xdd, 1, F_STORE, 1, 8, true),
    MEM(0xdd, 2, F_STORE, 0, 8, true), MEM(0xdd, 3, F_STORE, 1, 8, true),
    MEM(0xdf, 0, F_LOAD, 0, 2, false), MEM(0xdf, 1, F_STORE, 1, 2, true),
    MEM(0xdf, 2, F_STORE, 0, 2, true), MEM(0xdf, 3, F_STORE, 1, 2, true),
    MEM(0xdf, 4, F_LOAD, 0, 10, false), MEM(0xdf, 5, F_LOAD, 0, 8, false),
    MEM(0xdf, 6, F_STORE, 1, 10, true), MEM(0xdf, 7, F_STORE, 1, 8, true),
};

/* Forms with a register ST(i): escape, ModRM.reg.  The fast way works on ST0 and ST(1). */
#define REG(esc, ext, class, to_esc, to_modrm, pops, cc) \
    [((esc) & 7) << 3 | (ext)] = { class, to_esc, to_modrm, pops, 0, false, cc }

static const X87Form register_forms[64] = {
    REG(0xd8, 0, F_BINARY, 0xd8, 0xc1, 0, FSW_C1), REG(0xd8, 1, F_BINARY, 0xd8, 0xc9, 0, FSW_C1),
    REG(0xd8, 2, F_BINARY, 0xd8, 0xd1, 0, FSW_CC), REG(0xd8, 3, F_BINARY, 0xd8, 0xd1, 1, FSW_CC),
    REG(0xd8, 4, F_BINARY, 0xd8, 0xe1, 0, FSW_C1), REG(0xd8, 5, F_BINARY, 0xd8, 0xe9, 0, FSW_C1),
    REG(0xd8, 6, F_BINARY, 0xd8, 0xf1, 0, FSW_C1), REG(0xd8, 7, F_BINARY, 0xd8, 0xf9, 0, FSW_C1),
    REG(0xd9, 0, F_LOAD_ST, 0, 0, 0, FSW_C1),      REG(0xd9, 1, F_EXCHANGE, 0, 0, 0, FSW_C1),
    REG(0xd9, 3, F_STORE_ST, 0, 0, 1, FSW_C1),
    REG(0xda, 0, F_BINARY, 0xda, 0xc1, 0, 0), REG(0xda, 1, F_BINARY, 0xda, 0xc9, 0, 0),
    REG(0xda, 2, F_BINARY, 0xda, 0xd1, 0, 0), REG(0xda, 3, F_BINARY, 0xda, 0xd9, 0, 0),
    REG(0xda, 5, F_BINARY, 0xdd, 0xe1, 2, FSW_CC),                          /* FUCOMPP */
    REG(0xdb, 0, F_BINARY, 0xdb, 0xc1, 0, 0), REG(0xdb, 1, F_BINARY, 0xdb, 0xc9, 0, 0),
    REG(0xdb, 2, F_BINARY, 0xdb, 0xd1, 0, 0), REG(0xdb, 3, F_BINARY, 0xdb, 0xd9, 0, 0),
    REG(0xdb, 5, F_BINARY, 0xdb, 0xe9, 0, 0), REG(0xdb, 6, F_BINARY, 0xdb, 0xf1, 0, 0),
    REG(0xdc, 0, F_BINARY, 0xdc, 0xc1, 0, FSW_C1), REG(0xdc, 1, F_BINARY, 0xdc, 0xc9, 0, FSW_C1),
    REG(0xdc, 2, F_BINARY, 0xd8, 0xd1, 0, FSW_CC), REG(0xdc, 3, F_BINARY, 0xd8, 0xd1, 1, FSW_CC),
    REG(0xdc, 4, F_BINARY, 0xdc, 0xe1, 0, FSW_C1), REG(0xdc, 5, F_BINARY, 0xdc, 0xe9, 0, FSW_C1),
    REG(0xdc, 6, F_BINARY, 0xdc, 0xf1, 0, FSW_C1), REG(0xdc, 7, F_BINARY, 0xdc, 0xf9, 0, FSW_C1),
    REG(0xdd, 1, F_EXCHANGE, 0, 0, 0, FSW_C1),     REG(0xdd, 2, F_STORE_ST, 0, 0, 0, FSW_C1),
    REG(0xdd, 3, F_STORE_ST, 0, 0, 1, FSW_C1),
    REG(0xdd, 4, F_BINARY, 0xdd, 0xe1, 0, FSW_CC), REG(0xdd, 5, F_BINARY, 0xdd, 0xe1, 1, FSW_CC),
    REG(0xde, 0, F_BINARY, 0xdc, 0xc1, 1, FSW_C1), REG(0xde, 1, F_BINARY, 0xdc, 0xc9, 1, FSW_C1),
    REG(0xde, 2, F_BINARY, 0xd8, 0xd1, 1, FSW_CC), REG(0xde, 3, F_BINARY, 0xd8, 0xd1, 2, FSW_CC),
    REG(0xde, 4, F_BINARY, 0xdc, 0xe1, 1, FSW_C1), REG(0xde, 5, F_BINARY, 0xdc, 0xe9, 1, FSW_C1),
    REG(0xde, 6, F_BINARY, 0xdc, 0xf1, 1, FSW_C1), REG(0xde, 7, F_BINARY, 0xdc, 0xf9, 1, FSW_C1),
    REG(0xdf, 1, F_EXCHANGE, 0, 0, 0, FSW_C1),
    REG(0xdf, 2, F_STORE_ST, 0, 0, 1, FSW_C1),     REG(0xdf, 3, F_STORE_ST, 0, 0, 1, FSW_C1),
    REG(0xdf, 5, F_BINARY, 0xdb, 0xe9, 1, 0), REG(0xdf, 6, F_BINARY, 0xdb, 0xf1, 1, 0),
};

#define NOARG(modrm, class, cc) [(modrm) - 0xe0] = { class, 0xd9, modrm, 0, 0, false, cc }
static const X87Form noarg_forms[32] = {        /* D9 E0..FF; unlisted ones are general */
    NOARG(0xe0, F_UNARY, FSW_C1), NOARG(0xe1, F_UNARY, FSW_C1),                 /* FCHS FABS */
    NOARG(0xe4, F_UNARY, FSW_CC), NOARG(0xe5, F_UNARY, FSW_CC),                 /* FTST FXAM */
    NOARG(0xe8, F_LOAD, FSW_C1), NOARG(0xe9, F_LOAD, FSW_C1), NOARG(0xea, F_LOAD, FSW_C1),
    NOARG(0xeb, F_LOAD, FSW_C1), NOARG(0xec, F_LOAD, FSW_C1), NOARG(0xed, F_LOAD, FSW_C1),
    NOARG(0xee, F_LOAD, FSW_C1),
    NOARG(0xf0, F_UNARY, FSW_C1), NOARG(0xfa, F_UNARY, FSW_C1), NOARG(0xfc, F_UNARY, FSW_C1),
    NOARG(0xfd, F_BINARY, FSW_C1),                                              /* FSCALE */
    NOARG(0xfe, F_UNARY, FSW_C1 | FSW_C2), NOARG(0xff, F_UNARY, FSW_C1 | FSW_C2),
};
/* clang-format on */

static const X87Form *find_form(const Insn *insn)
{
    unsigned key = (insn->opcode & 7) << 3 | (insn->modrm >> 3 & 7);
    static const X87Form nop = { F_NOP };

    if (insn->modrm < 0xc0) {
        return &memory_forms[key];
    }
    if (insn->opcode == 0xd9 && insn->modrm >= 0xe0) {
        return &noarg_forms[insn->modrm - 0xe0];
    }
    return insn->opcode == 0xd9 && insn->modrm == 0xd0 ? &nop : &register_forms[key];
}

/* ---- the register stack --------------------------------------------------------------------- */

typedef struct X87Reg {
    uint64_t mantissa, exponent;
} X87Reg;
G_STATIC_ASSERT(sizeof(X87Reg) == sizeof(((X87State *)0)->st[0]));

static bool is_empty(const X87State *s, unsigned i)
{
    return !(s->ftw & BIT((x87_top(s) + i) & 7));
}

static void set_top(X87State *s, unsigned top)
{
    s->fsw = (s->fsw & ~FSW_TOP) | (top & 7) << 11;
}

/* Caller made sure that ST(7) is empty. */
static void push(X87State *s, const void *value)
{
    unsigned top = (x87_top(s) - 1) & 7;

    memmove(&s->st[1], &s->st[0], 7 * sizeof(s->st[0]));
    memcpy(&s->st[0], value, 10);
    set_top(s, top);
    s->ftw |= BIT(top);
}

static void pop(X87State *s)
{
    unsigned top = x87_top(s);
    X87Reg old;

    memcpy(&old, &s->st[0], sizeof(old));
    memmove(&s->st[0], &s->st[1], 7 * sizeof(s->st[0]));
    memcpy(&s->st[7], &old, sizeof(old));
    s->ftw &= ~BIT(top);
    set_top(s, top + 1);
}

void x87_enter_mmx(X87State *s)
{
    unsigned top = x87_top(s);
    X87Reg old[8];

    if (top) {
        memcpy(old, s->st, sizeof(old));
        for (unsigned n = 0; n < 8; n++) {
            memcpy(&s->st[n], &old[(n - top) & 7], sizeof(old[0]));
        }
        s->fsw &= ~FSW_TOP;
    }
    s->ftw = 0xff;
}

void x87_check_pending(X86Cpu *cpu)
{
    if (G_LIKELY(!(cpu->x87.fsw & FSW_ES))) {
        return;
    }
    if (cpu->cr0 & CR0_NE) {
        cpu_raise(cpu, VEC_MF, 0);
    }
    if (cpu->bus && cpu->bus->ferr) {
        cpu->bus->ferr(cpu->bus_opaque, cpu);
    }
}

/* ---- execution ------------------------------------------------------------------------------ */

/* What the general way of execution reports beside the new state. */
typedef struct General {
    X87State next;
    uint64_t rflags;
    bool stores;              /* the memory operand is to be written */
} General;

static void run_general(const X86Cpu *cpu, const Insn *insn, uint8_t *mem, General *g)
{
    uint8_t image[512] __attribute__((aligned(64)));
    X87State *s = (X87State *)image;
    HostEnv env = { .rflags = x86_cc_to_flags(cpu->cc) | FLAG_ONE };
    unsigned pending = cpu->x87.fsw & ~cpu->x87.fcw & X87_EXCEPTIONS;
    unsigned raised;

    memcpy(image, &cpu->x87, sizeof(cpu->x87));
    s->mxcsr = HOST_MXCSR;
    /* With CR0.NE = 0 execution goes on with an exception pending; the host must not see it. */
    s->fsw &= ~(pending | FSW_ES | FSW_B);
    host_x87_get(insn->opcode, insn->modrm)(image, mem, &env);
    g->next = cpu->x87;
    g->next.fsw = s->fsw;
    g->next.ftw = s->ftw;
    memcpy(g->next.st, s->st, sizeof(s->st));
    g->rflags = env.rflags;
    /* An unmasked invalid operation, overflow or underflow leaves the destination alone. */
    raised = s->fsw & ~s->fcw;
    g->stores = !(raised & (FSW_IE | FSW_OE | FSW_UE));
    g->next.fsw |= pending;
    x87_update_es(&g->next);
}

/* FIP, FDP, FOP and their selectors, for every instruction that is not a control one. */
static void set_pointers(X86Cpu *cpu, const Insn *insn)
{
    X87State *s = &cpu->x87;

    s->fop = (insn->opcode & 7) << 8 | insn->modrm;
    s->fip = cpu->rip;
    cpu->x87_fcs = cpu->segs[SEG_CS].sel;
    if (insn_has_mem(insn)) {
        unsigned seg = insn->seg;

        if (seg == SEG_FLAT) {
            seg = insn->seg_override != SEG_COUNT ? insn->seg_override
                  : insn->base == R_RBP || insn->base == R_RSP ? SEG_SS : SEG_DS;
        }
        s->fdp = insn_offset(cpu, insn);
        cpu->x87_fds = cpu->segs[seg].sel;
    }
}

static bool can_run_fast(const X87State *s, const Insn *insn, const X87Form *f)
{
    unsigned i = insn->modrm < 0xe0 || insn->opcode != 0xd9 ? insn->modrm & 7 : 1;

    if ((s->fcw & X87_EXCEPTIONS) != X87_EXCEPTIONS) {
        return false;
    }
    switch (f->class) {
    case F_BINARY: case F_EXCHANGE: return !is_empty(s, 0) && !is_empty(s, i);
    case F_UNARY: case F_STORE: case F_STORE80: case F_STORE_ST: return !is_empty(s, 0);
    case F_LOAD: case F_LOAD80: return is_empty(s, 7);
    case F_LOAD_ST: return is_empty(s, 7) && !is_empty(s, i);
    case F_NOP: return true;
    default: return false;
    }
}

/* The classes that only copy; status C1 = 0. */
static void run_copy(X87State *s, const X87Form *f, unsigned i, const uint8_t *mem)
{
    X87Reg value;

    s->fsw &= ~f->cc;
    switch (f->class) {
    case F_LOAD80:
        push(s, mem);
        break;
    case F_LOAD_ST:
        memcpy(&value, &s->st[i], sizeof(value));
        push(s, &value);
        break;
    case F_STORE_ST:
        s->ftw |= BIT((x87_top(s) + i) & 7);
        memmove(&s->st[i], &s->st[0], sizeof(value));
        break;
    case F_EXCHANGE:
        memcpy(&value, &s->st[i], sizeof(value));
        memmove(&s->st[i], &s->st[0], sizeof(value));
        memcpy(&s->st[0], &value, sizeof(value));
        break;
    default:
        break;
    }
}

static void run_fast(X86Cpu *cpu, const Insn *insn, const X87Form *f, uint64_t va, uint8_t *mem)
{
    static const HostX87Shape shapes[] = { [F_BINARY] = X87_BINARY, [F_UNARY] = X87_UNARY,
                                           [F_LOAD] = X87_LOAD, [F_STORE] = X87_STORE };
    X87State *s = &cpu->x87;
    uint16_t cw[2] = { s->fcw, HOST_FCW };
    uint64_t rflags = x86_cc_to_flags(cpu->cc) | FLAG_ONE;
    HostX87Shape shape = shapes[MIN(f->class, F_STORE)];
    uint8_t modrm = f->modrm;
    unsigned i = insn->opcode == 0xd9 && insn->modrm >= 0xe0 ? 1 : insn->modrm & 7;
    X87Reg loaded;
    unsigned status;

    if (f->class == F_STORE80) {
        fpu_store(cpu, va, &s->st[0], 10);
        s->fsw &= ~f->cc;
    } else if (f->class > F_STORE) {
        run_copy(s, f, i, mem);
    } else {
        void *st0 = f->class == F_LOAD ? (void *)&loaded : &s->st[0];

        if (f->class == F_BINARY && i == 0) {
            shape = X87_UNARY;                      /* FMUL ST, ST and kin: ST(1) becomes ST(0) */
            modrm &= ~7;
        }
        status = host_x87_fast_get(shape, f->esc, modrm)(
            st0, shape == X87_BINARY ? (void *)&s->st[i] : mem, cw, &rflags);
        if (f->writes) {
            fpu_store(cpu, va, mem, f->bytes);
        }
        s->fsw = (s->fsw & ~f->cc) | (status & (f->cc | X87_EXCEPTIONS));
        if (f->class == F_LOAD) {
            push(s, &loaded);
        }
        if (insn->def->effects & FX_W(FX_ARITH)) {
            cpu->cc = x86_flags_to_cc(rflags);
        }
    }
    for (unsigned n = 0; n < f->pops; n++) {
        pop(s);
    }
}

static void x87_execute(X86Cpu *cpu, const Insn *insn)
{
    const X87Form *f = find_form(insn);
    uint8_t mem[16] __attribute__((aligned(16))) = { 0 };
    uint64_t va = 0;

    x87_check_pending(cpu);
    if (f->bytes) {
        va = insn_linear(cpu, insn, f->bytes, f->writes ? X86_WRITE : X86_READ);
        if (!f->writes) {
            fpu_load(cpu, va, mem, f->bytes);
        }
    }
    if (G_LIKELY(can_run_fast(&cpu->x87, insn, f))) {
        run_fast(cpu, insn, f, va, mem);
    } else {
        General g;

        run_general(cpu, insn, mem, &g);
        if (f->writes && g.stores) {
            fpu_store(cpu, va, mem, f->bytes);
        }
        cpu->x87 = g.next;
        if (insn->def->effects & FX_W(FX_ARITH)) {
            cpu->cc = x86_flags_to_cc(g.rflags);
        }
    }
    set_pointers(cpu, insn);
}

/* The rows' names for it. */
/* clang-format off */
#define X87(name) \
    void sem_##name(X86Cpu *cpu, const Insn *insn) __attribute__((alias("x87_execute")));
#include "target-x86/insn/x87_sems.def"
/* clang-format on */
