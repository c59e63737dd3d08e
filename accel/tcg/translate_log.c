/* SPDX-License-Identifier: MIT */
/*
 * What -d in_asm, op and out_asm write about a block that has just been translated.
 *
 * IN is the guest's code.  OP is what has been decided about each instruction, since there is no
 * intermediate form: the way it is translated, flags that live before it, registers that are not the host's of
 * the same name, checks and who shares them.  OUT is the host's code, by our own decoder, with the names of
 * stubs and of fields of the X86Cpu.  Code that the interpreter runs has IN only.
 * Locking: Translator.lock, so that nothing changes but jumps that get linked.
 */
#include "accel/tcg/translate_int.h"

#include <inttypes.h>

#include "base/log.h"
#include "target-x86/interp.h"

/* The host's mode, for the decoder. */
#define HOST_MODE (MODE_PE | MODE_LMA | MODE_CS64 | MODE_AVX | MODE_OSXSAVE | MODE_OSFXSR | MODE_FSGSBASE)

static const char *const kind_names[] = {
    [KIND_HELPER] = "helper", [KIND_SYSTEM] = "system", [KIND_COPY] = "copy", [KIND_MEMORY] = "memory",
    [KIND_STRING] = "string", [KIND_NOTHING] = "nothing", [KIND_LEA] = "lea", [KIND_PUSH] = "push",
    [KIND_POP] = "pop", [KIND_LEAVE] = "leave", [KIND_JMP] = "jmp", [KIND_JCC] = "jcc", [KIND_CALL] = "call",
    [KIND_RET] = "ret", [KIND_JMP_IND] = "jmp_ind", [KIND_CALL_IND] = "call_ind", [KIND_LOOP] = "loop",
};

static const char *const kept_names[] = {
    [KEPT_IN_CPU] = "in cpu->cc", [KEPT_IN_R13] = "in r13", [KEPT_BY_REPEATING] = "by comparing again",
};

static const char *const gpr_names[16] = {
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
};

/* ---- OP ---------------------------------------------------------------------------------------------- */

static void put_flags(GString *out, unsigned flags)
{
    static const char letters[] = "cpazso";

    for (unsigned i = 0; i < 6; i++) {
        g_string_append_c(out, flags >> i & 1 ? letters[i] : '-');
    }
}

/* Guest registers that the host keeps elsewhere. */
static void put_registers(GString *out, const Insn *insn)
{
    unsigned used = 0;

    for (unsigned n = 0; n < 4; n++) {
        used |= insn->op[n].kind == OPK_GPR ? 1u << insn->op[n].reg : 0;
    }
    if (insn_has_mem(insn)) {
        used |= (insn->base < 16 ? 1u << insn->base : 0) | (insn->index < 16 ? 1u << insn->index : 0);
    }
    if (insn->def && (insn->def->attrs & A_STACK)) {
        used |= 1u << R_RSP;
    }
    for (unsigned reg = 0; reg < 16; reg++) {
        if (!(used >> reg & 1) || tcg_host_reg[reg] == reg) {
            continue;
        }
        if (tcg_host_reg[reg] == H_NONE) {
            g_string_append_printf(out, "; %s in memory", gpr_names[reg]);
        } else {
            g_string_append_printf(out, "; %s=%s", gpr_names[reg], gpr_names[tcg_host_reg[reg]]);
        }
    }
}

static void put_access(GString *out, const Translation *t, unsigned n, TcgAccess access)
{
    const char *name = access == ACCESS_STACK ? "stack" : "data";
    unsigned number = t->member[n][access].group;
    const TcgGroup *group = number ? &t->groups[number - 1] : NULL;
    bool checks = !group || (group->insn == n && group->access == access && !group->hoisted);

    if (checks && access == ACCESS_DATA && t->range[n] && !(group ? group->write : tcg_writes_memory(&t->insns[n]))) {
        g_string_append_printf(out, "; range %u first", t->range[n] - 1);
    }
    if (!group) {
        g_string_append_printf(out, "; %s checked", name);
    } else if (group->hoisted) {
        g_string_append_printf(out, "; %s checked before the loop, group %u", name, number - 1);
    } else if (group->insn == n && group->access == access) {
        g_string_append_printf(out, "; %s checked for group %u, %u bytes to %s", name, number - 1, group->span,
                               group->write ? "write" : "read");
    } else {
        g_string_append_printf(out, "; %s in group %u at %+d", name, number - 1, t->member[n][access].offset);
    }
}

static void put_accesses(GString *out, const Translation *t, unsigned n)
{
    const Insn *insn = &t->insns[n];
    TcgKind kind = t->kind[n];

    if (kind == KIND_MEMORY ||
        (insn_has_mem(insn) && (kind == KIND_PUSH || kind == KIND_JMP_IND || kind == KIND_CALL_IND))) {
        put_access(out, t, n, ACCESS_DATA);
    }
    if (kind == KIND_PUSH || kind == KIND_POP || kind == KIND_LEAVE || kind == KIND_CALL || kind == KIND_RET ||
        kind == KIND_CALL_IND) {
        put_access(out, t, n, ACCESS_STACK);
    }
}

static void put_insn(GString *out, const Translation *t, unsigned n)
{
    const Insn *insn = &t->insns[n];
    const TcgInsn *record = &t->block->insns[n];
    uint64_t rip = t->va + t->offset[n];
    char text[128];

    g_string_append_printf(out, " 0x%08" PRIx64 ":  %-9s", rip, kind_names[t->kind[n]]);
    put_flags(out, t->live[n]);
    g_string_append_printf(out, "  %-36s", insn_format(insn, rip, text, sizeof(text)));
    if (insn->fault != FAULT_NONE) {
        g_string_append_printf(out, "; raises vector %u", insn->fault);
    }
    put_accesses(out, t, n);
    if (t->kept[n]) {
        g_string_append_printf(out, "; flags kept %s", kept_names[t->kept[n]]);
    }
    if (record->flags & TI_SHADOW) {
        g_string_append(out, "; shadow of STI");
    }
    put_registers(out, insn);
    g_string_append_printf(out, "; done from +%u of %u bytes\n", record->op, record[1].host - record->host);
}

static void put_exits(GString *out, const TcgBlock *block)
{
    for (unsigned i = 0; i < block->link_count; i++) {
        const TcgLink *link = &block->links[i];

        if (link->group.span) {
            continue;           /* told at its first member */
        }
        g_string_append_printf(out, " exit to 0x%08" PRIx64 " with ", link->target);
        put_flags(out, link->flags);
        g_string_append_printf(out, "%s%s%s%s\n", link->crosses ? ", another page" : "",
                               link->function ? ", a function" : "", link->loop ? ", the loop" : "",
                               link->group.misses ? ", each access checked" : "");
    }
}

static void put_op(GString *out, const Translation *t)
{
    const TcgBlock *block = t->block;

    g_string_append_printf(out, "OP: %u instructions, %s, CPL %u, flags in ", block->count,
                           t->wide ? "64-bit" : "32-bit", t->mode & MODE_CPL);
    put_flags(out, block->flags_in);
    g_string_append_printf(out, "%s%s%s%s%s\n",
                           block->needs & LIVE_EVEX ? ", AVX-512 registers" : block->needs & LIVE_SIMD ? ", vector registers" : "",
                           block->needs & LIVE_X87 ? ", x87 registers" : "", t->loop ? ", a loop" : "",
                           t->each_checked ? ", each access checked" : "",
                           block->gpa2 ? ", in two pages" : "");
    for (unsigned n = 0; n < block->count; n++) {
        put_insn(out, t, n);
    }
    put_exits(out, block);
    g_string_append_c(out, '\n');
}

/* ---- OUT ------------------------------------------------------------------------------------------------ */

typedef struct Place {
    size_t offset;
    const char *name;
} Place;

static const Place stub_names[] = {
    { offsetof(TcgStubs, leave), "leave" },
    { offsetof(TcgStubs, insn), "insn" },
    { offsetof(TcgStubs, insn_flags), "insn_flags" },
    { offsetof(TcgStubs, miss[0]), "miss_read" },
    { offsetof(TcgStubs, miss[1]), "miss_write" },
    { offsetof(TcgStubs, miss_flags[0]), "miss_read_flags" },
    { offsetof(TcgStubs, miss_flags[1]), "miss_write_flags" },
    { offsetof(TcgStubs, range), "range" },
    { offsetof(TcgStubs, range_flags), "range_flags" },
    { offsetof(TcgStubs, link), "link" },
    { offsetof(TcgStubs, group), "group" },
    { offsetof(TcgStubs, lookup), "lookup" },
    { offsetof(TcgStubs, again), "again" },
    { offsetof(TcgStubs, again_flags), "again_flags" },
    { offsetof(TcgStubs, indirect), "indirect" },
    { offsetof(TcgStubs, need_simd), "need_simd" },
    { offsetof(TcgStubs, need_evex), "need_evex" },
    { offsetof(TcgStubs, need_top), "need_top" },
    { offsetof(TcgStubs, need_x87), "need_x87" },
    { offsetof(TcgStubs, crossing_read[0]), "crossing_read_8" },
    { offsetof(TcgStubs, crossing_read[1]), "crossing_read_16" },
    { offsetof(TcgStubs, crossing_read[2]), "crossing_read_32" },
    { offsetof(TcgStubs, crossing_read[3]), "crossing_read_64" },
    { offsetof(TcgStubs, crossing_write), "crossing_write" },
    { offsetof(TcgStubs, crossing_masked[0][0]), "crossing_masked_read_1" },
    { offsetof(TcgStubs, crossing_masked[0][1]), "crossing_masked_read_2" },
    { offsetof(TcgStubs, crossing_masked[0][2]), "crossing_masked_read_4" },
    { offsetof(TcgStubs, crossing_masked[0][3]), "crossing_masked_read_8" },
    { offsetof(TcgStubs, crossing_masked[1][0]), "crossing_masked_write_1" },
    { offsetof(TcgStubs, crossing_masked[1][1]), "crossing_masked_write_2" },
    { offsetof(TcgStubs, crossing_masked[1][2]), "crossing_masked_write_4" },
    { offsetof(TcgStubs, crossing_masked[1][3]), "crossing_masked_write_8" },
    { offsetof(TcgStubs, crossed[1]), "crossed_2" },
    { offsetof(TcgStubs, crossed[2]), "crossed_4" },
    { offsetof(TcgStubs, crossed[3]), "crossed_8" },
    { offsetof(TcgStubs, crossed[4]), "crossed_16" },
    { offsetof(TcgStubs, crossed[5]), "crossed_32" },
    { offsetof(TcgStubs, crossed[6]), "crossed_64" },
};

typedef struct Field {
    size_t offset, size;
    unsigned each;              /* of an array; 0: not one */
    const char *name;
} Field;

#define FIELD(field, each) { offsetof(X86Cpu, field), sizeof(((X86Cpu *)0)->field), each, #field }

static const Field fields[] = {
    FIELD(cc, 0), FIELD(eflags, 0), FIELD(requests, 0), FIELD(segs[SEG_FS], 0), FIELD(segs[SEG_GS], 0), FIELD(segs, sizeof(X86Seg)),
    FIELD(seg_end, 16),
    FIELD(tlb[0], 0), FIELD(tlb[1], 0), FIELD(tlb[2], 0), FIELD(tx.group, 8), FIELD(tx.live, 0),
    FIELD(tx.ranges, sizeof(X86Range)), FIELD(tx.loop_limit, 0), FIELD(tx.crossing, 0), FIELD(tx.budget, 0), FIELD(tx.itlb, 0), FIELD(tx.jumps, 0),
};

/* The exit whose way out of line begins at TARGET, or NULL. */
static const TcgLink *exit_at(const TcgBlock *block, const uint8_t *target)
{
    for (unsigned i = 0; i < block->link_count; i++) {
        if (block->links[i].unlinked == target) {
            return &block->links[i];
        }
    }
    return NULL;
}

static void put_target(GString *out, const Translation *t, const uint8_t *target)
{
    const TcgLink *link = exit_at(t->block, target);

    if (link && link->group.span) {
        g_string_append_printf(out, "  # group %u", link->group.slot);
    } else if (link) {
        g_string_append_printf(out, "  # exit to 0x%08" PRIx64, link->target);
    }
    for (unsigned i = 0; i < ARRAY_LEN(stub_names); i++) {
        const uint8_t *stub;

        memcpy(&stub, (const uint8_t *)&t->tr->stubs + stub_names[i].offset, sizeof(stub));
        if (stub == target) {
            g_string_append_printf(out, "  # %s", stub_names[i].name);
        }
    }
}

static void put_field(GString *out, int64_t offset)
{
    if (offset >= 0 && offset < 16 * 8) {
        g_string_append_printf(out, "  # guest %s", gpr_names[offset / 8]);
    }
    for (unsigned i = 0; i < ARRAY_LEN(fields); i++) {
        const Field *f = &fields[i];

        if (offset >= (int64_t)f->offset && offset < (int64_t)(f->offset + f->size)) {
            g_string_append_printf(out, f->each ? "  # %s[%u]" : "  # %s", f->name,
                                   f->each ? (unsigned)(offset - f->offset) / f->each : 0);
        }
    }
}

static void put_host(GString *out, const Translation *t, const uint8_t *from, const uint8_t *to)
{
    while (from < to) {
        uint64_t rip = (uintptr_t)from;
        char text[128];
        Insn insn;

        if (insn_decode(&insn, from, MIN(to - from, INSN_MAX_LEN), HOST_MODE, NULL) != DECODE_OK) {
            g_string_append_printf(out, "0x%012" PRIx64 ":  %02x  (bad)\n", rip, *from);
            from++;
            continue;
        }
        g_string_append_printf(out, "0x%012" PRIx64 ":  ", rip);
        for (unsigned i = 0; i < MAX(insn.len, 11); i++) {
            g_string_append_printf(out, i < insn.len ? "%02x " : "   ", from[MIN(i, insn.len - 1u)]);
        }
        g_string_append_printf(out, " %s", insn_format(&insn, rip, text, sizeof(text)));
        if (insn.op[0].kind == OPK_REL || insn.op[1].kind == OPK_REL) {
            put_target(out, t, from + insn.len + (int64_t)insn.imm);
        } else if (insn_has_mem(&insn) && insn.seg == SEG_GS) {
            put_field(out, insn.disp);
        }
        g_string_append_c(out, '\n');
        from += insn.len;
    }
}

static void put_out(GString *out, const Translation *t)
{
    const TcgBlock *block = t->block;
    const uint8_t *cold_end = emit_here(&t->cold);

    g_string_append_printf(out, "OUT: [size=%u, out of line %u]\n  -- entry\n", block->code_len,
                           (unsigned)(cold_end - block->lost));
    put_host(out, t, block->code, block->code + block->insns[0].host);
    for (unsigned n = 0; n < block->count; n++) {
        g_string_append_printf(out, "  -- guest addr 0x%016" PRIx64 "\n", t->va + t->offset[n]);
        put_host(out, t, block->code + block->insns[n].host, block->code + block->insns[n + 1].host);
    }
    g_string_append(out, "  -- end\n");
    put_host(out, t, block->code + block->insns[block->count].host, block->code + block->code_len);
    g_string_append(out, "  -- out of line\n");
    put_host(out, t, block->lost, cold_end);
    g_string_append_c(out, '\n');
}

void tcg_log_block(const Translation *t)
{
    g_autoptr(GString) text = NULL;

    if (!log_enabled(LOG_IN_ASM | LOG_OP | LOG_OUT_ASM) || !log_filter_wants(t->va)) {
        return;
    }
    text = g_string_new(NULL);
    if (log_enabled(LOG_OP)) {
        put_op(text, t);
    }
    if (log_enabled(LOG_OUT_ASM)) {
        put_out(text, t);
    }
    log_lock();
    interp_log_code(t->cpu, t->cpu->rip, t->copy, t->block->bytes);
    if (text->len) {
        log_printf("%s", text->str);
    }
    log_unlock();
}
