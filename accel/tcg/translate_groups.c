/* SPDX-License-Identifier: MIT */
/*
 * Groups: accesses of a block that share one check, because their addresses differ by constants.
 * docs/devel/translator.md; ENGINE sections 4.3 and 4.4.
 *
 * Going through the block, each register is a value not known plus a constant: PUSH, POP, ADD and LEA
 * change the constant, MOV copies both, everything else makes a value of its own.  Accesses with
 * equal values are a group, as long as they lie within SPAN bytes.  A store does not join
 * loads behind a conditional jump: the page may be read-only for good where it is taken.
 * Locking: Translator.lock while emitting.
 */
#include "accel/tcg/translate_int.h"

#include "target-x86/sem.h"

#define SPAN 256
/* Groups that are compared with, most recent first. */
#define LOOK_BACK 12

enum { NOTHING = 0 };           /* the value of no register */

typedef struct Value {
    uint16_t id;
    int64_t plus;
} Value;

typedef struct Place {
    uint16_t base, index;       /* values */
    uint8_t scale, seg;
} Place;

typedef struct Candidate {
    Place place;
    int64_t low, high;
    uint8_t insn, exits, members;
    TcgAccess access;
    bool write;
} Candidate;

typedef struct Scan {
    Translation *t;
    Value regs[R_COUNT];
    unsigned next_id, exits;
    Candidate all[2 * TCG_BLOCK_MAX];
    unsigned count, first_open;
    /* By instruction and TcgAccess: candidate + 1, and where. */
    uint8_t of[TCG_BLOCK_MAX][2];
    int64_t at[TCG_BLOCK_MAX][2];
} Scan;

static unsigned width(const Scan *s) { return s->t->wide ? 8 : 4; }

static void forget(Scan *s, unsigned reg)
{
    s->regs[reg] = (Value){ s->next_id++, 0 };
}

static void forget_all(Scan *s)
{
    for (unsigned reg = 0; reg < R_ZERO; reg++) {
        forget(s, reg);
    }
}

static bool same_place(Place a, Place b)
{
    return a.base == b.base && a.index == b.index && a.scale == b.scale && a.seg == b.seg;
}

static bool joins(const Scan *s, const Candidate *c, unsigned n, Place place, int64_t at, unsigned size,
                  bool write)
{
    return same_place(c->place, place) && c->insn != n && (!write || c->write || c->exits == s->exits) &&
           MAX(c->high, at + size) - MIN(c->low, at) <= SPAN;
}

static void add(Scan *s, unsigned n, TcgAccess access, Place place, int64_t at, unsigned size, bool write)
{
    unsigned i = s->count, last = MAX(s->first_open, s->count > LOOK_BACK ? s->count - LOOK_BACK : 0);

    while (i > last && !joins(s, &s->all[i - 1], n, place, at, size, write)) {
        i--;
    }
    if (i > last) {
        Candidate *c = &s->all[--i];

        c->low = MIN(c->low, at);
        c->high = MAX(c->high, at + size);
        c->write |= write;
        c->members++;
    } else {
        i = s->count++;
        s->all[i] = (Candidate){ place, at, at + size, n, s->exits, 1, access, write };
    }
    s->of[n][access] = i + 1;
    s->at[n][access] = at;
}

static void add_stack(Scan *s, unsigned n, unsigned reg, int disp, bool write)
{
    Place place = { s->regs[reg].id, NOTHING, 0, SEG_FLAT };

    add(s, n, ACCESS_STACK, place, s->regs[reg].plus + disp, width(s), write);
}

static void add_data(Scan *s, unsigned n, unsigned size, bool write)
{
    const Insn *insn = &s->t->insns[n];
    bool based = s->t->wide && (insn->seg == SEG_FS || insn->seg == SEG_GS);
    Place place = { 0, 0, 0, based ? insn->seg : SEG_FLAT };
    int64_t at = insn->disp;

    if (insn->addr_size != width(s) || size == 0 || size > 64 ||
        insn->disp > INT32_MAX - SPAN || insn->disp < INT32_MIN + SPAN) {
        return;
    }
    if (insn->base == R_RIP) {
        at += tcg_next_rip(s->t, n);
    } else if (insn->base != R_ZERO) {
        place.base = s->regs[insn->base].id;
        at += s->regs[insn->base].plus;
    }
    if (insn->index != R_ZERO) {
        place.index = s->regs[insn->index].id;
        place.scale = insn->scale;
        at += s->regs[insn->index].plus << insn->scale;
    }
    add(s, n, ACCESS_DATA, place, at, size, write);
}

/* ---- what becomes of the registers ----------------------------------------------------------- */

static void add_to(Scan *s, unsigned reg, int64_t bytes) { s->regs[reg].plus += bytes; }

/* MOV, ADD, SUB, INC, DEC in the width of addresses: false when it is something else. */
static bool follow(Scan *s, const Insn *insn)
{
    unsigned dst = insn->op[0].reg;
    SemFn *f = insn->sem;

    if (!is_gpr(insn, 0) || insn->op[0].size != width(s)) {
        return false;
    }
    if (f == sem_mov && is_gpr(insn, 1)) {
        s->regs[dst] = s->regs[insn->op[1].reg];
    } else if (f == sem_inc || f == sem_dec) {
        add_to(s, dst, f == sem_inc ? 1 : -1);
    } else if ((f == sem_add || f == sem_sub) && is_imm(insn, 2)) {
        add_to(s, dst, f == sem_add ? (int32_t)insn->imm : -(int64_t)(int32_t)insn->imm);
    } else {
        return false;
    }
    return true;
}

static void write_operands(Scan *s, const Insn *insn)
{
    for (unsigned n = 0; n < 2; n++) {
        if ((insn->op[n].kind == OPK_GPR || insn->op[n].kind == OPK_GPR8H) && tcg_is_written(insn, n)) {
            forget(s, insn->op[n].reg);
        }
    }
    if (insn->def->attrs & A_IMPLICIT) {
        forget(s, R_RAX);
        forget(s, R_RCX);
        forget(s, R_RDX);
        forget(s, R_RBX);
    }
}

static void scan_lea(Scan *s, const Insn *insn)
{
    bool simple = insn->base < R_ZERO && insn->index == R_ZERO && insn->op_size == width(s) &&
                  insn->addr_size == width(s);
    Value value = simple ? s->regs[insn->base] : (Value){ 0 };

    forget(s, insn->op[0].reg);
    if (simple) {
        s->regs[insn->op[0].reg] = (Value){ value.id, value.plus + insn->disp };
    }
}

static void scan(Scan *s, unsigned n)
{
    const Insn *insn = &s->t->insns[n];
    int bytes = width(s);

    switch (s->t->kind[n]) {
    case KIND_MEMORY:
        add_data(s, n, tcg_memory_size(insn), tcg_writes_memory(insn));
        write_operands(s, insn);
        break;
    case KIND_COPY:
        if (!follow(s, insn)) {
            write_operands(s, insn);
        }
        break;
    case KIND_NOTHING:
        break;
    case KIND_LEA:
        scan_lea(s, insn);
        break;
    case KIND_PUSH:
        if (is_mem(insn, 1)) {
            add_data(s, n, bytes, false);
        }
        add_stack(s, n, R_RSP, -bytes, true);
        add_to(s, R_RSP, -bytes);
        break;
    case KIND_POP:
        add_stack(s, n, R_RSP, 0, false);
        add_to(s, R_RSP, bytes);
        forget(s, insn->op[0].reg);
        break;
    case KIND_LEAVE:
        add_stack(s, n, R_RBP, 0, false);
        s->regs[R_RSP] = (Value){ s->regs[R_RBP].id, s->regs[R_RBP].plus + bytes };
        forget(s, R_RBP);
        break;
    case KIND_JCC:
        s->exits++;
        break;
    case KIND_CALL_IND: case KIND_JMP_IND:
        if (is_mem(insn, 1)) {
            add_data(s, n, bytes, false);
        }
        if (s->t->kind[n] == KIND_CALL_IND) {
            add_stack(s, n, R_RSP, -bytes, true);
        }
        break;
    case KIND_CALL:
        add_stack(s, n, R_RSP, -bytes, true);
        break;
    case KIND_RET:
        add_stack(s, n, R_RSP, 0, false);
        break;
    default:                    /* C, or it may change what an address means */
        forget_all(s);
        s->first_open = s->count;
        break;
    }
}

void tcg_find_groups(Translation *t, unsigned count)
{
    Scan s = { .t = t, .next_id = NOTHING + 1 };
    uint8_t number[2 * TCG_BLOCK_MAX + 1];

    forget_all(&s);
    for (unsigned n = 0; n < count; n++) {
        s.of[n][0] = s.of[n][1] = 0;
        scan(&s, n);
    }
    t->group_count = 0;
    number[0] = 0;
    for (unsigned i = 0; i < s.count; i++) {
        const Candidate *c = &s.all[i];

        number[i + 1] = 0;
        if (c->members > 1 && t->group_count < X86_GROUPS) {
            t->groups[t->group_count] = (TcgGroup){
                .insn = c->insn, .access = c->access, .write = c->write, .span = c->high - c->low,
                .lead = s.at[c->insn][c->access] - c->low,
            };
            number[i + 1] = ++t->group_count;
        }
    }
    for (unsigned n = 0; n < count; n++) {
        for (unsigned a = 0; a < 2; a++) {
            t->member[n][a].group = number[s.of[n][a]];
            t->member[n][a].offset = s.of[n][a] ? s.at[n][a] - s.all[s.of[n][a] - 1].low : 0;
        }
    }
}
