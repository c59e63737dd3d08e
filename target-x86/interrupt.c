/* SPDX-License-Identifier: MIT */
/*
 * Delivery of exceptions and interrupts, and what happens between instructions.
 * Spec: [SDM3A 6], [SDM3B 20.2, 20.3] for virtual-8086 mode.
 *
 * cpu->event is being delivered; when its delivery faults, cpu_raise() puts the new exception
 * there and the run loop comes back with cpu->delivering still set: the two are combined by
 * table 6-5.  At most three rounds follow one another, so a guest cannot keep us here.
 * Missing: the machine check architecture's own causes (a request bit exists for devices).
 * Locking: the vCPU's thread.
 */
#include "target-x86/segment.h"

#include <inttypes.h>

#include "base/log.h"
#include "target-x86/bus.h"
#include "target-x86/smm.h"

/* ---- classes and records ---------------------------------------------------------------------- */

static bool event_is_contributory(const X86Event *e)
{
    return !e->soft && !e->external &&
           (e->vector == VEC_DE || (e->vector >= VEC_TS && e->vector <= VEC_GP));
}

static bool event_is_page_fault(const X86Event *e)
{
    return !e->soft && !e->external && e->vector == VEC_PF;
}

static bool event_is_double_fault(const X86Event *e)
{
    return !e->soft && !e->external && e->vector == VEC_DF;
}

/* A fault restarts its instruction: RF is set in the flags it saves, [SDM3B 17.3.1.1]. */
static bool event_is_fault(const X86Event *e)
{
    return !e->soft && !e->external && e->vector != VEC_DB && e->vector != VEC_NMI &&
           e->vector != VEC_BP && e->vector != VEC_OF && e->vector != VEC_DF &&
           e->vector != VEC_MC;
}

static void record(X86Cpu *cpu, bool fresh)
{
    X86FaultRecord *r;

    if (fresh) {
        cpu->fault_count = 0;
    }
    if (cpu->fault_count == X86_FAULT_RECORDS) {
        return;
    }
    r = &cpu->faults[cpu->fault_count++];
    *r = (X86FaultRecord){ .event = cpu->event, .cs = cpu->segs[SEG_CS].sel,
                           .ss = cpu->segs[SEG_SS].sel, .rip = cpu->rip,
                           .rsp = cpu->gpr[R_RSP], .cr2 = cpu->cr2 };
}

/* ---- real mode --------------------------------------------------------------------------------- */

static void deliver_real(X86Cpu *cpu, const X86Event *e, uint64_t return_rip)
{
    uint32_t at = e->vector * 4;
    X86Stack s = x86_stack_current(cpu);
    uint16_t ip, cs;

    if (at + 3 > cpu->idt.limit) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    ip = x86_sys_ld16(cpu, (uint32_t)(cpu->idt.base + at));
    cs = x86_sys_ld16(cpu, (uint32_t)(cpu->idt.base + at + 2));
    x86_stack_push(cpu, &s, x86_rflags(cpu), 2);
    x86_stack_push(cpu, &s, cpu->segs[SEG_CS].sel, 2);
    x86_stack_push(cpu, &s, return_rip, 2);
    cpu->gpr[R_RSP] = x86_stack_rsp(&s, cpu->gpr[R_RSP]);
    x86_change_flags(cpu, 0, FLAG_IF | FLAG_TF | FLAG_AC | FLAG_RF);
    x86_load_segment_real(cpu, SEG_CS, cs);
    cpu->rip = ip;
}

/* ---- protected and long mode ----------------------------------------------------------------------- */

typedef struct Gate {
    unsigned type;              /* 14, 15: 32 or 64-bit; 6, 7: 16-bit; 5: task */
    unsigned size;              /* bytes pushed a time */
    unsigned ist;
    uint16_t sel;
    uint64_t off;
} Gate;

static Gate read_gate(X86Cpu *cpu, const X86Event *e, unsigned ext)
{
    bool lma = cpu->efer & EFER_LMA;
    uint32_t at = e->vector * (lma ? 16 : 8);
    uint32_t code = e->vector * 8 + 2 + ext;
    uint64_t low, high = 0, base = cpu->idt.base + at;
    uint32_t hi;
    Gate g;

    if (at + (lma ? 15 : 7) > cpu->idt.limit) {
        cpu_raise(cpu, VEC_GP, code);
    }
    low = x86_sys_ld64(cpu, lma ? base : (uint32_t)base);
    hi = low >> 32;
    if (lma) {
        high = x86_sys_ld64(cpu, base + 8);
    }
    g.type = desc_type(hi);
    g.sel = low >> 16 & 0xffff;
    g.off = (low & 0xffff) | (hi & 0xffff0000) | high << 32;
    g.ist = lma ? hi & 7 : 0;
    g.size = lma ? 8 : g.type & 8 ? 4 : 2;
    if ((hi & DESC_S) || (lma ? g.type != 14 && g.type != 15
                              : g.type != 5 && g.type != 6 && g.type != 7 && g.type != 14 &&
                                    g.type != 15)) {
        cpu_raise(cpu, VEC_GP, code);
    }
    if (e->soft && desc_dpl(hi) < cpu->cpl) {
        cpu_raise(cpu, VEC_GP, code);
    }
    if (!(hi & DESC_P)) {
        cpu_raise(cpu, VEC_NP, code);
    }
    if (g.size == 2) {
        g.off &= 0xffff;
    }
    return g;
}

static void deliver_task(X86Cpu *cpu, const X86Event *e, uint16_t sel, uint64_t return_rip,
                         unsigned ext)
{
    X86Desc d;

    if (sel & 4) {
        cpu_raise(cpu, VEC_GP, sel_code(sel, ext));
    }
    x86_desc_fetch(cpu, sel, &d, VEC_GP, ext);
    if ((d.hi & DESC_S) || (desc_type(d.hi) != 1 && desc_type(d.hi) != 9)) {
        cpu_raise(cpu, VEC_GP, sel_code(sel, ext));
    }
    if (!(d.hi & DESC_P)) {
        cpu_raise(cpu, VEC_NP, sel_code(sel, ext));
    }
    x86_task_switch(cpu, sel, &d, TASK_EVENT, return_rip, e->has_code, e->code, ext);
    cpu->rip = cpu->next_rip;
}

/* The gate's code segment, its RPL the handler's CPL. */
static X86Seg handler_code(X86Cpu *cpu, const Gate *g, unsigned ext)
{
    bool switches;
    unsigned dpl;
    X86Desc d;

    if (sel_is_null(g->sel)) {
        cpu_raise(cpu, VEC_GP, ext);
    }
    x86_desc_fetch(cpu, g->sel, &d, VEC_GP, ext);
    dpl = desc_dpl(d.hi);
    if (!desc_is_code(d.hi) || dpl > cpu->cpl ||
        ((cpu->efer & EFER_LMA) && (d.hi & (DESC_L | DESC_DB)) != DESC_L)) {
        cpu_raise(cpu, VEC_GP, sel_code(g->sel, ext));
    }
    if (!(d.hi & DESC_P)) {
        cpu_raise(cpu, VEC_NP, sel_code(g->sel, ext));
    }
    switches = !desc_is_conforming(d.hi) && dpl < cpu->cpl;
    if ((cpu->mode & MODE_VM86) && (!switches || dpl != 0)) {
        cpu_raise(cpu, VEC_GP, sel_code(g->sel, ext));
    }
    x86_desc_set_bits(cpu, &d, DESC_A);
    return desc_segment((g->sel & ~3) | (switches ? dpl : cpu->cpl), &d);
}

/* Where the frame of a handler of that CPL goes, and what becomes SS: [SDM3A 6.12.1, 6.14.2-5]. */
static X86Stack handler_stack(X86Cpu *cpu, const Gate *g, unsigned cpl, unsigned ext, X86Seg *ss)
{
    bool switches = cpl != cpu->cpl;
    uint64_t sp = cpu->gpr[R_RSP];
    uint16_t ss_sel;
    X86Stack s;

    *ss = cpu->segs[SEG_SS];
    if (cpu->efer & EFER_LMA) {
        if (g->ist) {
            sp = x86_tss_ist(cpu, g->ist, ext);
        } else if (switches) {
            x86_tss_stack(cpu, cpl, ext, &ss_sel, &sp);
        }
        if (!x86_is_canonical(cpu, sp)) {
            cpu_raise(cpu, VEC_SS, ext);
        }
        if (switches) {
            *ss = (X86Seg){ .sel = cpl, .flags = cpl << DESC_DPL_SHIFT };
        }
        s = x86_stack(cpu, ss, sp & ~15ull, cpl, true);
        s.code = ext;
    } else if (switches) {
        x86_tss_stack(cpu, cpl, ext, &ss_sel, &sp);
        *ss = x86_check_stack_segment(cpu, ss_sel, cpl, VEC_TS, ext);
        s = x86_stack(cpu, ss, sp, cpl, false);
        s.code = sel_code(ss_sel, ext);
    } else {
        s = x86_stack_current(cpu);
        s.code = ext;
    }
    return s;
}

static void deliver_protected(X86Cpu *cpu, const X86Event *e, uint64_t return_rip)
{
    uint64_t flags = x86_rflags(cpu) | (event_is_fault(e) ? FLAG_RF : 0);
    bool vm86 = cpu->mode & MODE_VM86;
    unsigned ext = !e->soft, cpl;
    X86Seg cs, ss;
    X86Stack s;
    Gate g;

    if (x86_deliver_fast(cpu, e, flags, return_rip)) {
        return;
    }
    g = read_gate(cpu, e, ext);
    if (g.type == 5) {
        deliver_task(cpu, e, g.sel, return_rip, ext);
        return;
    }
    cs = handler_code(cpu, &g, ext);
    cpl = cs.sel & 3;
    s = handler_stack(cpu, &g, cpl, ext, &ss);
    x86_check_rip(cpu, &cs, g.off, ext);

    if (vm86) {
        x86_stack_push(cpu, &s, cpu->segs[SEG_GS].sel, g.size);
        x86_stack_push(cpu, &s, cpu->segs[SEG_FS].sel, g.size);
        x86_stack_push(cpu, &s, cpu->segs[SEG_DS].sel, g.size);
        x86_stack_push(cpu, &s, cpu->segs[SEG_ES].sel, g.size);
    }
    if ((cpu->efer & EFER_LMA) || cpl != cpu->cpl) {
        x86_stack_push(cpu, &s, cpu->segs[SEG_SS].sel, g.size);
        x86_stack_push(cpu, &s, cpu->gpr[R_RSP], g.size);
    }
    x86_stack_push(cpu, &s, flags, g.size);
    x86_stack_push(cpu, &s, cpu->segs[SEG_CS].sel, g.size);
    x86_stack_push(cpu, &s, return_rip, g.size);
    if (e->has_code) {
        x86_stack_push(cpu, &s, e->code, g.size);
    }

    if (vm86) {
        static const uint8_t data[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };

        for (unsigned i = 0; i < ARRAY_LEN(data); i++) {
            cpu->segs[data[i]] = (X86Seg){ 0 };
        }
    }
    cpu->segs[SEG_SS] = ss;
    cpu->segs[SEG_CS] = cs;
    cpu->cpl = cpl;
    cpu->gpr[R_RSP] = x86_stack_rsp(&s, cpu->gpr[R_RSP]);
    x86_change_flags(cpu, 0, FLAG_TF | FLAG_NT | FLAG_RF | FLAG_VM | (g.type & 1 ? 0 : FLAG_IF));
    cpu->rip = g.off;
}

/* Table 6-5: what comes of an exception during the delivery of another.  False: shutdown. */
static bool combine(X86Cpu *cpu)
{
    const X86Event *first = &cpu->previous, *second = &cpu->event;
    bool second_counts = event_is_contributory(second) || event_is_page_fault(second);

    if (event_is_double_fault(first)) {
        /* Whatever goes wrong now, short of a benign event, shuts the processor down. */
        return !second_counts && !event_is_double_fault(second);
    }
    if ((event_is_contributory(first) && event_is_contributory(second)) ||
        (event_is_page_fault(first) && second_counts)) {
        if (event_is_page_fault(second)) {
            cpu->cr2 = second->payload;
        }
        cpu->event = (X86Event){ .vector = VEC_DF, .pending = true, .has_code = true };
        cpu->faults[cpu->fault_count - 1].doubled = true;
    }
    return true;
}

/* -d int: a line in QEMU's words, numbered by instructions instead of events. */
static void log_event(const X86Cpu *cpu, const X86Event *e, uint64_t return_rip)
{
    log_printf("%6" PRIu64 ": v=%02x e=%04x i=%d cpl=%d IP=%04x:%016" PRIx64 " pc=%016" PRIx64
               " SP=%04x:%016" PRIx64 " %s=%016" PRIx64 "\n", cpu->insn_count, e->vector, e->code,
               e->soft, cpu->cpl, cpu->segs[SEG_CS].sel, return_rip,
               cpu->segs[SEG_CS].base + return_rip, cpu->segs[SEG_SS].sel, cpu->gpr[R_RSP],
               event_is_page_fault(e) ? "CR2" : "env->regs[R_EAX]",
               event_is_page_fault(e) ? cpu->cr2 : cpu->gpr[R_RAX]);
}

bool x86_deliver_event(X86Cpu *cpu)
{
    X86Event e;
    uint64_t return_rip;

    record(cpu, !cpu->delivering);
    if (cpu->delivering && (!combine(cpu) || cpu->delivery_depth++ > 8)) {
        cpu->delivering = false;
        cpu->event.pending = false;
        return false;
    }
    if (!cpu->delivering) {
        cpu->delivery_depth = 0;
    }
    e = cpu->event;
    cpu->debug_hits = 0;        /* of an instruction that did not complete */
    cpu->previous = e;
    cpu->delivering = true;
    return_rip = e.soft ? cpu->next_rip : cpu->rip;
    if (e.vector == VEC_PF && !e.soft && !e.external) {
        cpu->cr2 = e.payload;
    }
    if (log_enabled(LOG_INT)) {
        log_event(cpu, &e, return_rip);
    }
    if (e.vector == VEC_DB && !e.soft && !e.external) {
        cpu->dr[6] |= e.payload;
        cpu->dr[7] &= ~(uint64_t)BIT(13);           /* GD, so that the handler may look */
        cpu->msrs.debugctl &= ~3ull;
    }
    if (cpu->cr0 & CR0_PE) {
        deliver_protected(cpu, &e, return_rip);
    } else {
        deliver_real(cpu, &e, return_rip);
    }
    cpu->next_rip = cpu->rip;
    cpu->delivering = false;
    cpu->event.pending = false;
    cpu->interrupt_shadow = false;
    cpu->halted = false;
    x86_update_mode(cpu);
    return true;
}

/* ---- virtual-8086 mode extensions -------------------------------------------------------------------- */

/* [SDM3B 20.3.3.4]: a clear bit in the TSS's map sends INT n to the 8086 program itself. */
bool x86_redirect_int(X86Cpu *cpu, unsigned vector)
{
    bool iopl3 = (cpu->eflags & FLAG_IOPL) == FLAG_IOPL;
    uint64_t flags;
    uint16_t map, ip, cs;
    X86Stack s;

    if (!(cpu->mode & MODE_VM86) || !(cpu->cr4 & CR4_VME) || cpu->tr.limit < 103 ||
        !(desc_type(cpu->tr.flags) & 8)) {
        return false;
    }
    map = x86_sys_ld16(cpu, (uint32_t)(cpu->tr.base + 102));
    if (map < 32 || map - 32u + vector / 8 > cpu->tr.limit ||
        (x86_sys_ld8(cpu, (uint32_t)(cpu->tr.base + map - 32 + vector / 8)) >> (vector & 7) & 1)) {
        return false;
    }
    ip = x86_ld16(cpu, vector * 4);
    cs = x86_ld16(cpu, vector * 4 + 2);
    flags = x86_rflags(cpu);
    if (!iopl3) {
        flags = (flags & ~(uint64_t)FLAG_IF) | FLAG_IOPL | (flags & FLAG_VIF ? FLAG_IF : 0);
    }
    s = x86_stack_current(cpu);
    x86_stack_push(cpu, &s, flags, 2);
    x86_stack_push(cpu, &s, cpu->segs[SEG_CS].sel, 2);
    x86_stack_push(cpu, &s, cpu->next_rip, 2);
    cpu->gpr[R_RSP] = x86_stack_rsp(&s, cpu->gpr[R_RSP]);
    x86_load_segment_real(cpu, SEG_CS, cs);
    x86_change_flags(cpu, 0, FLAG_TF | FLAG_NT | (iopl3 ? FLAG_IF : FLAG_VIF));
    cpu->next_rip = ip;
    x86_update_mode(cpu);
    return true;
}

/* ---- between instructions ------------------------------------------------------------------------------ */

bool x86_has_work(const X86Cpu *cpu)
{
    uint32_t r = atomic_load(&cpu->requests);

    if (r & (X86_REQ_TLB_FLUSH | X86_REQ_INIT)) {
        return true;
    }
    if (cpu->wait_sipi) {
        return r & X86_REQ_SIPI;
    }
    return ((r & X86_REQ_SMI) && !cpu->smm) || ((r & X86_REQ_NMI) && !cpu->nmi_blocked) ||
           (r & X86_REQ_MCE) || ((r & X86_REQ_INTR) && (cpu->eflags & FLAG_IF));
}

static void start_up(X86Cpu *cpu)
{
    X86Seg *cs = &cpu->segs[SEG_CS];

    cpu->wait_sipi = false;
    cpu->halted = false;
    cs->sel = cpu->sipi_vector << 8;
    cs->base = (uint32_t)cpu->sipi_vector << 12;
    cpu->rip = cpu->next_rip = 0;
    x86_update_mode(cpu);
}

static bool deliver_now(X86Cpu *cpu, X86Event event)
{
    cpu->event = event;
    return x86_deliver_event(cpu);
}

void x86_service_startup(X86Cpu *cpu)
{
    uint32_t r = atomic_load(&cpu->requests);

    if ((r & X86_REQ_INIT) && !cpu->smm) {
        x86_cpu_request_clear(cpu, X86_REQ_INIT);
        x86_cpu_reset(cpu, true);
        /* The bootstrap processor goes to the reset vector, others wait, [SDM3A 9.4.1]. */
        cpu->wait_sipi = !(cpu->msrs.apicbase & BIT(8));
        cpu->nmi_blocked = false;
        cpu->debug_hits = 0;
    }
    if (r & X86_REQ_SIPI) {
        x86_cpu_request_clear(cpu, X86_REQ_SIPI);
        if (cpu->wait_sipi) {
            start_up(cpu);
        }
    }
}

bool x86_service_requests(X86Cpu *cpu)
{
    uint32_t r = atomic_load(&cpu->requests);

    if (r & X86_REQ_TLB_FLUSH) {
        x86_cpu_request_clear(cpu, X86_REQ_TLB_FLUSH);
        x86_tlb_flush(cpu, true);
    }
    if (r & (X86_REQ_INIT | X86_REQ_SIPI)) {
        x86_service_startup(cpu);
    }
    if (cpu->wait_sipi) {
        return true;
    }
    if ((r & X86_REQ_SMI) && !cpu->smm && !cpu->interrupt_shadow) {
        x86_cpu_request_clear(cpu, X86_REQ_SMI);
        x86_smm_enter(cpu);
        return true;
    }
    if (r & X86_REQ_MCE) {
        x86_cpu_request_clear(cpu, X86_REQ_MCE);
        return deliver_now(cpu, (X86Event){ .vector = VEC_MC, .pending = true });
    }
    if (cpu->interrupt_shadow) {
        return true;
    }
    if ((r & X86_REQ_NMI) && !cpu->nmi_blocked) {
        x86_cpu_request_clear(cpu, X86_REQ_NMI);
        cpu->nmi_blocked = true;
        return deliver_now(cpu, (X86Event){ .vector = VEC_NMI, .pending = true,
                                            .external = true });
    }
    if ((r & X86_REQ_INTR) && (cpu->eflags & FLAG_IF) && cpu->bus->intr_ack) {
        int vector = cpu->bus->intr_ack(cpu->bus_opaque, cpu);

        if (vector >= 0) {
            return deliver_now(cpu, (X86Event){ .vector = (uint8_t)vector, .pending = true,
                                                .external = true });
        }
    }
    return true;
}

/* ---- the report ------------------------------------------------------------------------------------------ */

/* "#GP", "#PF", or "vector 0x20". Returns `buf`. */
static const char *x86_vector_name(unsigned vector, char buf[16])
{
    static const char *const names[] = {
        "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", NULL, "#TS", "#NP", "#SS",
        "#GP", "#PF", NULL, "#MF", "#AC", "#MC", "#XM",
    };

    if (vector < ARRAY_LEN(names) && names[vector]) {
        return names[vector];
    }
    g_snprintf(buf, 16, "vector 0x%02x", vector);
    return buf;
}

/* Eight bytes at a linear address without side effects. */
static bool peek64(X86Cpu *cpu, uint64_t va, uint64_t *value)
{
    uint64_t gpa;
    X86Phys phys;

    if (!x86_mmu_peek(cpu, va, &gpa) || (gpa & 0xfff) > 0xff8) {
        return false;
    }
    cpu->bus->map(cpu->bus_opaque, gpa & ~0xfffull, &phys);
    if (!phys.host) {
        return false;
    }
    *value = le64_load(phys.host + (gpa & 0xfff));
    return true;
}

static void describe_bytes(X86Cpu *cpu, uint64_t va, const char *what, GString *out)
{
    uint64_t raw;

    if (peek64(cpu, va, &raw)) {
        g_string_append_printf(out, "    %s at 0x%" PRIx64 " = %016" PRIx64 ": type %u, DPL %u%s\n",
                               what, va, raw, desc_type(raw >> 32), desc_dpl(raw >> 32),
                               raw >> 32 & DESC_P ? "" : ", not present");
    } else {
        g_string_append_printf(out, "    %s at 0x%" PRIx64 " cannot be read:\n", what, va);
        x86_mmu_explain(cpu, va, X86_READ, X86_MMU_KERNEL, out);
    }
}

static void describe_selector_code(X86Cpu *cpu, uint32_t code, GString *out)
{
    const char *table = code & 4 ? "LDT" : "GDT";
    uint64_t base = code & 4 ? cpu->ldt.base : cpu->gdt.base, at;
    uint32_t limit = code & 4 ? cpu->ldt.limit : cpu->gdt.limit;

    if (code & 2) {
        unsigned width = cpu->efer & EFER_LMA ? 16 : 8, vector = code >> 3 & 0xff;

        if (vector * width + width - 1 > cpu->idt.limit) {
            g_string_append_printf(out, "    gate 0x%02x lies beyond the IDT (base 0x%" PRIx64
                                   ", limit 0x%x)\n", vector, cpu->idt.base, cpu->idt.limit);
        } else {
            describe_bytes(cpu, cpu->idt.base + vector * width, "its gate", out);
        }
        return;
    }
    if (!(code & 0xfffc)) {
        return;
    }
    at = base + (code & 0xfff8);
    if ((code | 7) > limit) {
        g_string_append_printf(out, "    selector 0x%x lies beyond the %s (base 0x%" PRIx64
                               ", limit 0x%x)\n", code & 0xfffc, table, base, limit);
    } else {
        describe_bytes(cpu, at, "its descriptor", out);
    }
}

void x86_describe_faults(X86Cpu *cpu, GString *out)
{
    char name[16];

    g_string_append_printf(out, "CPU %u: %s", cpu->index,
                           cpu->fault_count > 1 ? "exceptions raised one during the other:\n"
                                                : "exception:\n");
    for (unsigned i = 0; i < cpu->fault_count; i++) {
        const X86FaultRecord *r = &cpu->faults[i];

        g_string_append_printf(out, "  %u. %s%s", i + 1, x86_vector_name(r->event.vector, name),
                               r->event.soft ? " (INT)" : r->event.external ? " (external)" : "");
        if (r->event.has_code) {
            g_string_append_printf(out, "(0x%x)", r->event.code);
        }
        g_string_append(out, r->doubled ? ", hence #DF" : "");
        g_string_append_printf(out, " at %04x:%016" PRIx64 ", stack %04x:%016" PRIx64 "\n", r->cs,
                               r->rip, r->ss, r->rsp);
        if (event_is_page_fault(&r->event)) {
            uint32_t c = r->event.code;

            g_string_append_printf(out, "    ");
            x86_mmu_explain(cpu, r->event.payload,
                            c & PF_I ? X86_EXEC : c & PF_W ? X86_WRITE : X86_READ,
                            c & PF_U ? X86_MMU_USER : X86_MMU_KERNEL, out);
        } else if (r->event.has_code && r->event.vector != VEC_DF && r->event.vector != VEC_AC) {
            describe_selector_code(cpu, r->event.code, out);
        }
    }
    g_string_append_printf(out, "  CR0=%08" PRIx64 " CR2=%016" PRIx64 " CR3=%016" PRIx64
                           " CR4=%08" PRIx64 " EFER=%016" PRIx64 "\n",
                           cpu->cr0, cpu->cr2, cpu->cr3, cpu->cr4, cpu->efer);
    g_string_append_printf(out, "  GDT=%016" PRIx64 "/%04x IDT=%016" PRIx64 "/%04x TR=%04x base %016"
                           PRIx64 "/%04x\n", cpu->gdt.base, cpu->gdt.limit, cpu->idt.base,
                           cpu->idt.limit, cpu->tr.sel, cpu->tr.base, cpu->tr.limit);
}
