/* SPDX-License-Identifier: MIT */
/*
 * System management mode.  Spec: [SDM3C 31.4, 31.5] for the 32-bit save map, [APM2 10.2.2] table
 * 10-1 for the 64-bit one; CPUs with long mode use the latter, as firmware made for QEMU expects
 * (revision 20064H; 20000H in the 32-bit map).  Both have SMBASE relocation; neither I/O restart.
 * Loaded state is what the guest left in SMRAM, so RSM checks CR0 and CR4 and shuts the
 * processor down when they make no sense, [SDM3C 31.5].
 * Locking: the vCPU's thread.
 */
#include "target-x86/smm.h"

#include "target-x86/bus.h"
#include "target-x86/segment.h"
#include "target-x86/sem.h"

/* ---- the map as a table of fields that are plain numbers ----------------------------------------- */

typedef struct SaveField {
    uint16_t at;                /* offset from SMBASE + 8000H */
    uint8_t size;               /* in the map */
    uint8_t field_size;         /* in X86Cpu */
    uint32_t offset;
} SaveField;

/* clang-format off */
#define F(a, s, f) { a, s, sizeof(((X86Cpu *)0)->f), offsetof(X86Cpu, f) }
static const SaveField fields64[] = {
    F(0x7e64, 4, gdt.limit), F(0x7e68, 8, gdt.base),
    F(0x7e84, 4, idt.limit), F(0x7e88, 8, idt.base),
    F(0x7ed0, 8, efer), F(0x7f00, 4, msrs.smbase),
    F(0x7f48, 8, cr4), F(0x7f50, 8, cr3), F(0x7f58, 8, cr0), F(0x7f60, 8, dr[7]), F(0x7f68, 8, dr[6]),
    F(0x7f78, 8, rip),
    F(0x7f80, 8, gpr[R_R15]), F(0x7f88, 8, gpr[R_R14]), F(0x7f90, 8, gpr[R_R13]), F(0x7f98, 8, gpr[R_R12]),
    F(0x7fa0, 8, gpr[R_R11]), F(0x7fa8, 8, gpr[R_R10]), F(0x7fb0, 8, gpr[R_R9]), F(0x7fb8, 8, gpr[R_R8]),
    F(0x7fc0, 8, gpr[R_RDI]), F(0x7fc8, 8, gpr[R_RSI]), F(0x7fd0, 8, gpr[R_RBP]), F(0x7fd8, 8, gpr[R_RSP]),
    F(0x7fe0, 8, gpr[R_RBX]), F(0x7fe8, 8, gpr[R_RDX]), F(0x7ff0, 8, gpr[R_RCX]), F(0x7ff8, 8, gpr[R_RAX]),
};
static const SaveField fields32[] = {
    F(0x7f14, 4, cr4), F(0x7ef8, 4, msrs.smbase),
    F(0x7f74, 4, gdt.base), F(0x7f70, 4, gdt.limit), F(0x7f58, 4, idt.base), F(0x7f54, 4, idt.limit),
    F(0x7fc8, 4, dr[7]), F(0x7fcc, 4, dr[6]),
    F(0x7fd0, 4, gpr[R_RAX]), F(0x7fd4, 4, gpr[R_RCX]), F(0x7fd8, 4, gpr[R_RDX]), F(0x7fdc, 4, gpr[R_RBX]),
    F(0x7fe0, 4, gpr[R_RSP]), F(0x7fe4, 4, gpr[R_RBP]), F(0x7fe8, 4, gpr[R_RSI]), F(0x7fec, 4, gpr[R_RDI]),
    F(0x7ff0, 4, rip), F(0x7ff8, 4, cr3), F(0x7ffc, 4, cr0),
};
/* clang-format on */
#undef F

enum { AT64_AUTO_HALT = 0x7ec9, AT64_REVISION = 0x7efc, AT64_RFLAGS = 0x7f70,
       AT32_REVISION = 0x7efc, AT32_AUTO_HALT = 0x7f02, AT32_EFLAGS = 0x7ff4 };

static uint64_t map_read(X86Cpu *cpu, unsigned at, unsigned size)
{
    return x86_phys_read(cpu, cpu->msrs.smbase + 0x8000 + at, size);
}

static void map_write(X86Cpu *cpu, unsigned at, unsigned size, uint64_t value)
{
    x86_phys_write(cpu, cpu->msrs.smbase + 0x8000 + at, value, size);
}

static bool has_long_mode(const X86Cpu *cpu)
{
    return x86_has(cpu, X86_FEAT_LM);
}

/* The 64-bit map's form of attributes: descriptor bits 40..47 and 52..55. */
static uint16_t pack_flags(uint32_t flags)
{
    return flags >> 8 & 0xf0ff;
}

static uint32_t unpack_flags(uint32_t packed)
{
    return packed << 8 & DESC_FLAGS;
}

static void save_segment64(X86Cpu *cpu, unsigned at, const X86Seg *s)
{
    map_write(cpu, at, 2, s->sel);
    map_write(cpu, at + 2, 2, pack_flags(s->flags));
    map_write(cpu, at + 4, 4, s->limit);
    map_write(cpu, at + 8, 8, s->base);
}

static X86Seg load_segment64(X86Cpu *cpu, unsigned at)
{
    return (X86Seg){ .sel = (uint16_t)map_read(cpu, at, 2),
                     .flags = unpack_flags((uint32_t)map_read(cpu, at + 2, 2)),
                     .limit = (uint32_t)map_read(cpu, at + 4, 4),
                     .base = map_read(cpu, at + 8, 8) };
}

/* 32-bit map: selector and descriptor cache live apart. */
static const struct { uint16_t sel, cache; } places32[SEG_COUNT] = {
    [SEG_ES] = { 0x7fa8, 0x7f84 }, [SEG_CS] = { 0x7fac, 0x7f90 }, [SEG_SS] = { 0x7fb0, 0x7f9c },
    [SEG_DS] = { 0x7fb4, 0x7f2c }, [SEG_FS] = { 0x7fb8, 0x7f38 }, [SEG_GS] = { 0x7fbc, 0x7f44 },
};
enum { SEL32_LDT = 0x7fc0, SEL32_TR = 0x7fc4, CACHE32_LDT = 0x7f78, CACHE32_TR = 0x7f60 };

static void save_segment32(X86Cpu *cpu, unsigned sel_at, unsigned at, const X86Seg *s)
{
    map_write(cpu, sel_at, 4, s->sel);
    map_write(cpu, at, 4, pack_flags(s->flags));
    map_write(cpu, at + 4, 4, s->base);
    map_write(cpu, at + 8, 4, s->limit);
}

static X86Seg load_segment32(X86Cpu *cpu, unsigned sel_at, unsigned at)
{
    return (X86Seg){ .sel = (uint16_t)map_read(cpu, sel_at, 4),
                     .flags = unpack_flags((uint32_t)map_read(cpu, at, 4)),
                     .base = map_read(cpu, at + 4, 4),
                     .limit = (uint32_t)map_read(cpu, at + 8, 4) };
}

static uint64_t field_get(const X86Cpu *cpu, const SaveField *f)
{
    uint64_t v = 0;

    memcpy(&v, (const char *)cpu + f->offset, f->field_size);
    return v;
}

static void field_set(X86Cpu *cpu, const SaveField *f, uint64_t v)
{
    memcpy((char *)cpu + f->offset, &v, f->field_size);
}

static void save(X86Cpu *cpu, const SaveField *f, unsigned count)
{
    for (; count; count--, f++) {
        map_write(cpu, f->at, f->size, field_get(cpu, f));
    }
}

static void save_state(X86Cpu *cpu)
{
    if (has_long_mode(cpu)) {
        save(cpu, fields64, ARRAY_LEN(fields64));
        for (unsigned i = 0; i < SEG_COUNT; i++) {
            save_segment64(cpu, 0x7e00 + 16 * i, &cpu->segs[i]);
        }
        save_segment64(cpu, 0x7e70, &cpu->ldt);
        save_segment64(cpu, 0x7e90, &cpu->tr);
        map_write(cpu, AT64_RFLAGS, 8, x86_rflags(cpu));
        map_write(cpu, AT64_AUTO_HALT, 1, cpu->halted);
        map_write(cpu, AT64_REVISION, 4, 0x00020064);
        return;
    }
    save(cpu, fields32, ARRAY_LEN(fields32));
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        save_segment32(cpu, places32[i].sel, places32[i].cache, &cpu->segs[i]);
    }
    save_segment32(cpu, SEL32_LDT, CACHE32_LDT, &cpu->ldt);
    save_segment32(cpu, SEL32_TR, CACHE32_TR, &cpu->tr);
    map_write(cpu, AT32_EFLAGS, 4, x86_rflags(cpu));
    map_write(cpu, AT32_AUTO_HALT, 2, cpu->halted);
    map_write(cpu, AT32_REVISION, 4, 0x00020000);
}

static void smm_changed(X86Cpu *cpu)
{
    if (cpu->bus->smm_changed) {
        cpu->bus->smm_changed(cpu->bus_opaque, cpu);
    }
    x86_tlb_flush(cpu, true);
}

void x86_smm_enter(X86Cpu *cpu)
{
    static const uint32_t flags = DESC_P | DESC_S | DESC_W | DESC_A | DESC_G;

    cpu->smm = true;
    smm_changed(cpu);           /* the state save area may lie in SMRAM */
    if (cpu->nmi_blocked) {
        cpu->nmi_pending_smm = true;        /* remembered: blocked before, so blocked after */
    }
    cpu->nmi_blocked = true;
    save_state(cpu);
    cpu->msrs.smi_count++;
    x86_set_rflags(cpu, FLAG_ONE);
    cpu->rip = cpu->next_rip = 0x8000;
    cpu->halted = false;
    cpu->interrupt_shadow = false;
    cpu->cpl = 0;
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        cpu->segs[i] = (X86Seg){ .limit = 0xffffffff, .flags = flags };
    }
    cpu->segs[SEG_CS].sel = (uint16_t)(cpu->msrs.smbase >> 4);
    cpu->segs[SEG_CS].base = (uint32_t)cpu->msrs.smbase;
    cpu->dr[7] = 0x400;
    x86_load_cr(cpu, cpu->cr0 & ~(uint64_t)(CR0_PE | CR0_EM | CR0_TS | CR0_PG), cpu->cr3, 0, 0);
}

static bool crs_make_sense(const X86Cpu *cpu)
{
    bool pg = cpu->cr0 & CR0_PG, pe = cpu->cr0 & CR0_PE;

    return !(cpu->cr0 >> 32) && (!pg || pe) && !((cpu->cr0 & CR0_NW) && !(cpu->cr0 & CR0_CD)) &&
           !(cpu->cr4 & ~0x7f7fffull) && (!(cpu->efer & EFER_LME) || !pg || (cpu->cr4 & CR4_PAE));
}

static G_NORETURN void shutdown_processor(X86Cpu *cpu)
{
    /* As a triple fault: a double fault whose delivery fails in turn. */
    cpu->delivering = true;
    cpu->previous = (X86Event){ .vector = VEC_DF, .has_code = true };
    cpu_raise(cpu, VEC_GP, 0);
}

void sem_rsm(X86Cpu *cpu, const Insn *insn)
{
    bool long_map = has_long_mode(cpu), halt;
    const SaveField *f = long_map ? fields64 : fields32;
    unsigned count = long_map ? ARRAY_LEN(fields64) : ARRAY_LEN(fields32);
    uint64_t smbase = cpu->msrs.smbase, new_smbase, flags;
    uint32_t revision;

    if (!cpu->smm) {
        cpu_raise(cpu, VEC_UD, 0);
    }
    revision = (uint32_t)map_read(cpu, AT64_REVISION, 4);
    for (; count; count--, f++) {
        if (f->offset != offsetof(X86Cpu, msrs.smbase)) {
            field_set(cpu, f, map_read(cpu, f->at, f->size));
        }
    }
    new_smbase = revision & BIT(17) ? map_read(cpu, long_map ? 0x7f00 : 0x7ef8, 4) : smbase;
    if (long_map) {
        for (unsigned i = 0; i < SEG_COUNT; i++) {
            cpu->segs[i] = load_segment64(cpu, 0x7e00 + 16 * i);
        }
        cpu->ldt = load_segment64(cpu, 0x7e70);
        cpu->tr = load_segment64(cpu, 0x7e90);
        flags = map_read(cpu, AT64_RFLAGS, 8);
        halt = map_read(cpu, AT64_AUTO_HALT, 1) & 1;
    } else {
        for (unsigned i = 0; i < SEG_COUNT; i++) {
            cpu->segs[i] = load_segment32(cpu, places32[i].sel, places32[i].cache);
        }
        cpu->ldt = load_segment32(cpu, SEL32_LDT, CACHE32_LDT);
        cpu->tr = load_segment32(cpu, SEL32_TR, CACHE32_TR);
        flags = map_read(cpu, AT32_EFLAGS, 4);
        halt = map_read(cpu, AT32_AUTO_HALT, 2) & 1;
        cpu->efer = 0;
    }
    cpu->msrs.smbase = new_smbase;
    x86_set_rflags(cpu, flags);
    cpu->cpl = cpu->cr0 & CR0_PE ? desc_dpl(cpu->segs[SEG_SS].flags) : 0;
    cpu->next_rip = cpu->rip;
    cpu->efer &= EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE | EFER_FFXSR;
    if (!(cpu->cr0 & CR0_PG) || !(cpu->efer & EFER_LME)) {
        cpu->efer &= ~(uint64_t)EFER_LMA;
    }
    cpu->smm = false;
    cpu->nmi_blocked = cpu->nmi_pending_smm;
    cpu->nmi_pending_smm = false;
    cpu->dr[6] = (cpu->dr[6] & 0xe00f) | 0xffff0ff0;
    cpu->dr[7] = (cpu->dr[7] & 0xffff2bff) | 0x400;
    smm_changed(cpu);
    if (!crs_make_sense(cpu)) {
        x86_load_cr(cpu, CR0_ET, 0, 0, 0);
        shutdown_processor(cpu);
    }
    x86_load_cr(cpu, cpu->cr0, cpu->cr3, cpu->cr4, cpu->efer);
    if ((cpu->cr0 & CR0_PG) && (cpu->cr4 & CR4_PAE) && !(cpu->efer & EFER_LMA) &&
        !x86_load_pdptes(cpu, cpu->cr3)) {
        shutdown_processor(cpu);
    }
    if (halt) {
        cpu->halted = true;
        cpu->stop = 1;
    }
}
