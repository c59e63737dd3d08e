/* SPDX-License-Identifier: MIT */
/*
 * Groups: accesses of a block that share one check, because their addresses differ by constants.
 * docs/devel/translator.md; ENGINE sections 4.3 and 4.4.
 *
 * Going through the block, each register is a value not known plus a constant: PUSH, POP, ADD and LEA
 * change the constant, MOV copies both, everything else makes a value of its own.  Accesses with
 * equal values are a group, as long as they lie within SPAN bytes.  A store does not join
 * loads behind a conditional jump: the page may be read-only for good where it is taken.
 * In a block that jumps to itself, registers that come back with a constant added have a stride: the checks of
 * groups made of these are hoisted out of the loop (translate_loop.c).
 * Locking: Translator.lock while emitting.
 */
#include "accel/tcg/translate_int.h"

#include <string.h>

#include "target-x86/sem.h"

#define SPAN 256
/* Of hoisted accesses: several iterations should fit in a page. */
#define STRIDE_MAX 512
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
    Value regs[R_COUNT];        /* register r starts as value r + 1 */
    bool moves[R_COUNT];
    unsigned next_id, exits;
    unsigned count, first_open;
    /* Not cleared: filled before they are read. */
    Candidate all[2 * TCG_BLOCK_MAX];
    /* By instruction and TcgAccess: candidate + 1, and where. */
    uint8_t of[TCG_BLOCK_MAX][2];
    int64_t at[TCG_BLOCK_MAX][2];
    /* What base and index have got added at that point. */
    int64_t base_plus[TCG_BLOCK_MAX][2], index_plus[TCG_BLOCK_MAX][2];
} Scan;

static unsigned width(const Scan *s) { return s->t->wide ? 8 : 4; }

static void become(Scan *s, unsigned reg, Value value)
{
    s->regs[reg] = value;
    s->moves[reg] = true;
}

static void forget(Scan *s, unsigned reg)
{
    become(s, reg, (Value){ s->next_id++, 0 });
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
    s->base_plus[n][access] = s->index_plus[n][access] = 0;
}

static void add_stack(Scan *s, unsigned n, unsigned reg, int disp, bool write)
{
    Place place = { s->regs[reg].id, NOTHING, 0, SEG_FLAT };

    add(s, n, ACCESS_STACK, place, s->regs[reg].plus + disp, width(s), write);
    s->base_plus[n][ACCESS_STACK] = s->regs[reg].plus;
}

static void add_data(Scan *s, unsigned n, unsigned size, bool write)
{
    const Insn *insn = &s->t->insns[n];
    bool based = s->t->wide && (insn->seg == SEG_FS || insn->seg == SEG_GS);
    Place place = { 0, 0, 0, based ? insn->seg : SEG_FLAT };
    int64_t at = insn->disp, base_plus = 0, index_plus = 0;

    if (tcg_is_masked(insn)) {
        return;                 /* not to be accessed before the mask has been looked at */
    }
    if (!tcg_is_flat(s->t, insn) || insn->addr_size != width(s) || size == 0 || size > 64 ||
        insn->disp > INT32_MAX - SPAN || insn->disp < INT32_MIN + SPAN) {
        return;
    }
    if (insn->base == R_RIP) {
        at += tcg_next_pc(s->t, n);
    } else if (insn->base != R_ZERO) {
        place.base = s->regs[insn->base].id;
        base_plus = s->regs[insn->base].plus;
    }
    if (insn->index != R_ZERO) {
        place.index = s->regs[insn->index].id;
        place.scale = insn->scale;
        index_plus = s->regs[insn->index].plus * (1 << insn->scale);
    }
    add(s, n, ACCESS_DATA, place, at + base_plus + index_plus, size, write);
    s->base_plus[n][ACCESS_DATA] = base_plus;
    s->index_plus[n][ACCESS_DATA] = index_plus;
}

/* ---- what becomes of the registers ----------------------------------------------------------- */

static void add_to(Scan *s, unsigned reg, int64_t bytes)
{
    become(s, reg, (Value){ s->regs[reg].id, s->regs[reg].plus + bytes });
}

/* MOV, ADD, SUB, INC, DEC in the width of addresses: false when it is something else. */
static bool follow(Scan *s, const Insn *insn)
{
    unsigned dst = insn->op[0].reg;
    SemFn *f = insn->sem;

    if (!is_gpr(insn, 0) || insn->op[0].size != width(s)) {
        return false;
    }
    if (f == sem_mov && is_gpr(insn, 1)) {
        become(s, dst, s->regs[insn->op[1].reg]);
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
        become(s, insn->op[0].reg, (Value){ value.id, value.plus + insn->disp });
    }
}

/* Of another width than addresses, or where SP wraps or SS has a base. */
static bool is_odd_stack(const Translation *t, unsigned n)
{
    TcgKind kind = t->kind[n];

    return kind >= KIND_PUSH && kind != KIND_JMP && kind != KIND_JCC && kind != KIND_LOOP &&
           (!tcg_stack_is_flat(t) || t->insns[n].op_size != (t->wide ? 8 : 4));
}

static void scan(Scan *s, unsigned n)
{
    const Insn *insn = &s->t->insns[n];
    int bytes = width(s);

    switch (is_odd_stack(s->t, n) ? KIND_HELPER : s->t->kind[n]) {
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
        become(s, R_RSP, (Value){ s->regs[R_RBP].id, s->regs[R_RBP].plus + bytes });
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

/* ---- loops --------------------------------------------------------------------------------------- */

/* Does it jump to itself, with nothing in it that would have to look at the world? */
static bool is_loop(const Translation *t, unsigned count)
{
    if (!t->tr->opt.loop || !t->wide || t->gpa2 || t->live[0] || t->kind[count - 1] != KIND_JCC ||
        tcg_branch_target(t, count - 1) != t->pc) {
        return false;
    }
    for (unsigned n = 0; n < count; n++) {
        TcgKind kind = t->kind[n];

        if (kind != KIND_COPY && kind != KIND_MEMORY && kind != KIND_NOTHING && kind != KIND_LEA &&
            kind != KIND_PUSH && kind != KIND_POP && kind != KIND_JCC) {
            return false;
        }
    }
    return true;
}

/* What an iteration adds to the register whose value at the start is ID: false when it is not constant. */
static bool find_stride(const Scan *s, unsigned id, int64_t *stride)
{
    if (id == NOTHING) {
        *stride = 0;
        return true;
    }
    if (id > R_ZERO || s->regs[id - 1].id != id) {
        return false;
    }
    *stride = s->regs[id - 1].plus;
    return *stride == (int32_t)*stride;
}

static bool can_hoist(const Scan *s, const Candidate *c, int32_t *stride)
{
    int64_t base, index;

    if (!find_stride(s, c->place.base, &base) || !find_stride(s, c->place.index, &index) ||
        ((c->place.base || c->place.index) && c->low != (int32_t)c->low)) {
        return false;
    }
    base += index * (1 << c->place.scale);
    *stride = base;
    return base >= -STRIDE_MAX && base <= STRIDE_MAX;
}

static void hoist(const Scan *s, TcgGroup *group, const Candidate *c, int32_t stride)
{
    group->hoisted = true;
    group->base = c->place.base ? c->place.base - 1 : R_ZERO;
    group->index = c->place.index ? c->place.index - 1 : R_ZERO;
    group->scale = c->place.scale;
    group->seg = c->place.seg;
    group->base_moves = c->place.base && s->moves[group->base];
    group->index_moves = c->place.index && s->moves[group->index];
    group->low = c->low;
    group->stride = stride;
}

/* A register that tells how far the loop has come, in a host register if there is one. */
static void find_counter(const Scan *s)
{
    Translation *t = s->t;
    int64_t step;

    t->counter = R_ZERO;
    for (unsigned reg = 0; reg < R_ZERO; reg++) {
        if (find_stride(s, reg + 1, &step) && step &&
            (t->counter == R_ZERO || tcg_host_reg[t->counter] == H_NONE)) {
            t->counter = reg;
            t->step = step;
        }
    }
}

/* ---- the result ---------------------------------------------------------------------------------- */

static int32_t offset_of(const Scan *s, unsigned n, unsigned access, const TcgGroup *group, int64_t low)
{
    int64_t at = s->at[n][access] - low;

    if (group && group->hoisted) {
        at -= (group->base_moves ? s->base_plus[n][access] : 0) +
              (group->index_moves ? s->index_plus[n][access] : 0);
    }
    return at;
}

/* Groups of more than one access, and in a loop all that can be hoisted. */
static void choose(Scan *s, bool loop, uint8_t *number)
{
    Translation *t = s->t;

    for (unsigned i = 0; i < s->count; i++) {
        const Candidate *c = &s->all[i];
        int32_t stride;
        bool hoisted = loop && can_hoist(s, c, &stride);

        number[i + 1] = 0;
        if ((c->members > 1 || hoisted) && t->group_count < X86_GROUPS) {
            TcgGroup *group = &t->groups[t->group_count];

            *group = (TcgGroup){ .insn = c->insn, .access = c->access, .write = c->write,
                                 .span = c->high - c->low,
                                 .lead = s->at[c->insn][c->access] - c->low };
            if (hoisted) {
                hoist(s, group, c, stride);
                t->loop = true;
            }
            number[i + 1] = ++t->group_count;
        }
    }
}

/* Where a kernel has nearly all of its data: + 1; 0: there is none. */
static unsigned largest_range(const X86Cpu *cpu)
{
    const X86Range *ranges = cpu->tx.ranges[cpu->mmu_idx];
    uint64_t used = cpu->tx.ranges_used[cpu->mmu_idx];
    unsigned found = used ? __builtin_ctzll(used) : 0;

    for (uint64_t rest = used; rest; rest &= rest - 1) {
        if (ranges[__builtin_ctzll(rest)].len > ranges[found].len) {
            found = __builtin_ctzll(rest);
        }
    }
    return used ? found + 1 : 0;
}

/*
 * The range of a read + 1, or 0.  Where its address follows from the registers of now, the TLB knows whether that is
 * in large pages.
 */
static unsigned range_of(const Scan *s, unsigned n, const Candidate *c)
{
    const Translation *t = s->t;
    const X86Cpu *cpu = t->cpu;
    uint64_t va, gpa = t->gpa + t->offset[n];
    unsigned known = t->tr->site_range[tcg_site_hash(gpa)];
    const X86TlbPhys *page;

    if (!c->place.base && !c->place.index && c->place.seg == SEG_FLAT) {
        return 0;               /* a constant needs no computing */
    }
    if (known) {
        return known == TCG_NOT_IN_RANGE ? 0 : known;
    }
    if (c->place.base > R_ZERO || c->place.index > R_ZERO) {
        return cpu->mmu_idx == X86_MMU_USER ? 0 : largest_range(cpu);
    }
    va = s->at[n][ACCESS_DATA] + (c->place.base ? cpu->gpr[c->place.base - 1] : 0) +
         (c->place.index ? cpu->gpr[c->place.index - 1] << c->place.scale : 0) + cpu->segs[c->place.seg].base;
    va = t->wide ? va : (uint32_t)va;
    page = &cpu->tlb_phys[cpu->mmu_idx][x86_tlb_index(va)];
    if (page->va != (va & ~4095ull) ? !cpu->tlb_large[va >> 63] : !(page->attr & X86_PAGE_LARGE)) {
        return 0;
    }
    return tcg_range_slot(cpu, gpa, va) + 1;
}

void tcg_find_groups(Translation *t, unsigned count)
{
    uint8_t number[2 * TCG_BLOCK_MAX + 1];
    Scan s;

    number[0] = 0;
    memset(&s, 0, offsetof(Scan, all));
    s.t = t;
    s.next_id = NOTHING + 1;
    forget_all(&s);
    memset(s.moves, 0, sizeof(s.moves));
    for (unsigned n = 0; n < count; n++) {
        s.of[n][0] = s.of[n][1] = 0;
        scan(&s, n);
    }
    choose(&s, is_loop(t, count), number);
    find_counter(&s);
    for (unsigned n = 0; n < count; n++) {
        unsigned i;

        for (unsigned a = 0; a < 2; a++) {
            unsigned group;

            i = s.of[n][a];
            group = number[i];

            t->member[n][a].group = group;
            t->member[n][a].offset =
                group ? offset_of(&s, n, a, &t->groups[group - 1], s.all[i - 1].low) : 0;
        }
        i = s.of[n][ACCESS_DATA];
        t->range[n] = i && t->tr->opt.range ? range_of(&s, n, &s.all[i - 1]) : 0;
    }
}
