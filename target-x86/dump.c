/* SPDX-License-Identifier: MIT */
/*
 * Registers as text, in the form of QEMU 7.2's `info registers`, which scripts read; seen with guests in real, protected,
 * compatibility and 64-bit mode, and with states that have AVX-512 in XCR0.
 * Locking: the CPU is at a safe point.
 */
#include "target-x86/inspect.h"

#include <inttypes.h>

#include "target-x86/regs.h"

/* ---- integers ---- */

static void dump_gprs(const X86Cpu *c, GString *out, bool wide)
{
    static const char *const wide_names[] = { "RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
                                              "R8 ", "R9 ", "R10", "R11", "R12", "R13", "R14", "R15" };
    static const unsigned order[] = { 0, 3, 1, 2, 6, 7, 5, 4, 8, 9, 10, 11, 12, 13, 14, 15 };

    for (unsigned i = 0; i < (wide ? 16 : 8); i++) {
        unsigned r = order[i];

        if (wide) {
            g_string_append_printf(out, "%s=%016" PRIx64 "%c", wide_names[r], c->gpr[r], i % 4 == 3 ? '\n' : ' ');
        } else {
            g_string_append_printf(out, "E%.2s=%08x%c", wide_names[r] + 1, (uint32_t)c->gpr[r],
                                   i % 4 == 3 ? '\n' : ' ');
        }
    }
}

static void dump_flags(const X86Cpu *c, GString *out, bool wide)
{
    uint64_t fl = x86_rflags(c);

    g_string_append_printf(out, "%s=%0*" PRIx64 " %s=%08x [%c%c%c%c%c%c%c] CPL=%u II=%d A20=%d SMM=%d HLT=%d\n",
                           wide ? "RIP" : "EIP", wide ? 16 : 8, c->rip, wide ? "RFL" : "EFL", (uint32_t)fl,
                           fl & FLAG_DF ? 'D' : '-', fl & FLAG_OF ? 'O' : '-', fl & FLAG_SF ? 'S' : '-',
                           fl & FLAG_ZF ? 'Z' : '-', fl & FLAG_AF ? 'A' : '-', fl & FLAG_PF ? 'P' : '-',
                           fl & FLAG_CF ? 'C' : '-', c->cpl, c->interrupt_shadow, c->a20_mask == UINT64_MAX, c->smm,
                           c->halted);
}

/* ---- segments ---- */

/* Types of system descriptors [SDM3A 3.5]. */
static const char *const system_types[2][16] = {
    { "Reserved", "TSS16-avl", "LDT", "TSS16-busy", "CallGate16", "TaskGate", "IntGate16", "TrapGate16",
      "Reserved", "TSS32-avl", "Reserved", "TSS32-busy", "CallGate32", "Reserved", "IntGate32", "TrapGate32" },
    { "<hiword>", "Reserved", "LDT", "Reserved", "Reserved", "Reserved", "Reserved", "Reserved",
      "Reserved", "TSS64-avl", "Reserved", "TSS64-busy", "CallGate64", "Reserved", "IntGate64", "TrapGate64" },
};

/* The high word of the descriptor that X86Seg was made of, but its base. */
static uint32_t descriptor_bits(const X86Seg *seg)
{
    uint32_t limit = seg->flags & DESC_G ? seg->limit >> 12 : seg->limit;

    return (seg->flags & DESC_FLAGS) | (limit & 0xf0000);
}

/* What the descriptor's bits mean; nothing in real mode and of what is not present. */
static void dump_seg(const X86Cpu *c, GString *out, const char *name, const X86Seg *seg)
{
    bool long_mode = c->efer & EFER_LMA;
    uint32_t flags = seg->flags;

    g_string_append_printf(out, "%-3s=%04x %0*" PRIx64 " %08x %08x", name, seg->sel, c->mode & MODE_CS64 ? 16 : 8,
                           seg->base, seg->limit, descriptor_bits(seg));
    if ((c->cr0 & CR0_PE) && (flags & DESC_P)) {
        g_string_append_printf(out, " DPL=%u ", (flags & DESC_DPL) >> DESC_DPL_SHIFT);
        if (!(flags & DESC_S)) {
            g_string_append(out, system_types[long_mode][(flags & DESC_TYPE) >> DESC_TYPE_SHIFT]);
        } else if (flags & DESC_CODE) {
            g_string_append_printf(out, "%s [%c%c%c]", flags & DESC_L ? "CS64" : flags & DESC_DB ? "CS32" : "CS16",
                                   flags & DESC_C ? 'C' : '-', flags & DESC_R ? 'R' : '-', flags & DESC_A ? 'A' : '-');
        } else {
            g_string_append_printf(out, "%s [%c%c%c]", long_mode || (flags & DESC_DB) ? "DS  " : "DS16",
                                   flags & DESC_E ? 'E' : '-', flags & DESC_W ? 'W' : '-', flags & DESC_A ? 'A' : '-');
        }
    }
    g_string_append_c(out, '\n');
}

static void dump_system(const X86Cpu *c, GString *out)
{
    static const char *const names[] = { "ES", "CS", "SS", "DS", "FS", "GS" };
    int w = c->efer & EFER_LMA ? 16 : 8;

    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        dump_seg(c, out, names[i], &c->segs[i]);
    }
    dump_seg(c, out, "LDT", &c->ldt);
    dump_seg(c, out, "TR", &c->tr);
    g_string_append_printf(out, "GDT=     %0*" PRIx64 " %08x\n", w, c->gdt.base, c->gdt.limit);
    g_string_append_printf(out, "IDT=     %0*" PRIx64 " %08x\n", w, c->idt.base, c->idt.limit);
    g_string_append_printf(out, "CR0=%08x CR2=%0*" PRIx64 " CR3=%0*" PRIx64 " CR4=%08x\n", (uint32_t)c->cr0, w, c->cr2, w,
                           c->cr3, (uint32_t)c->cr4);
    for (unsigned i = 0; i < 4; i++) {
        g_string_append_printf(out, "DR%u=%016" PRIx64 " ", i, c->dr[i]);
    }
    g_string_append_printf(out, "\nDR6=%016" PRIx64 " DR7=%016" PRIx64 "\nEFER=%016" PRIx64 "\n", c->dr[6], c->dr[7],
                           c->efer);
}

/* ---- x87 and vectors ---- */

/* The physical registers: FPR7 is where the first push goes after FINIT. */
static void dump_x87(const X86Cpu *c, GString *out)
{
    unsigned top = c->x87.fsw >> 11 & 7;

    g_string_append_printf(out, "FCW=%04x FSW=%04x [ST=%u] FTW=%02x MXCSR=%08x\n", c->x87.fcw, c->x87.fsw, top, c->x87.ftw,
                           c->x87.mxcsr);
    for (unsigned i = 0; i < 8; i++) {
        unsigned st = (i - top) & 7;

        g_string_append_printf(out, "FPR%u=%016" PRIx64 " %04x%c", i, c->x87.st[st].mantissa, c->x87.st[st].exponent,
                               i & 1 ? '\n' : ' ');
    }
}

/* As far as XCR0 has them on; beyond the first eight only in 64-bit code, which alone can name them. */
static void dump_vectors(const X86Cpu *c, GString *out)
{
    const uint64_t avx = XCR0_SSE | XCR0_AVX, avx512 = avx | XCR0_OPMASK | XCR0_ZMM_HI256 | XCR0_HI16_ZMM;
    bool zmm = (c->xcr0 & avx512) == avx512, ymm = (c->xcr0 & avx) == avx;
    unsigned count = !(c->mode & MODE_CS64) ? 8 : zmm ? 32 : 16, words = zmm ? 8 : ymm ? 4 : 2;

    for (unsigned i = 0; zmm && i < 8; i++) {
        g_string_append_printf(out, "Opmask%02u=%016" PRIx64 "%c", i, c->k[i], i % 4 == 3 ? '\n' : ' ');
    }
    for (unsigned i = 0; i < count; i++) {
        g_string_append_printf(out, "%cMM%02u=", zmm ? 'Z' : ymm ? 'Y' : 'X', i);
        for (unsigned n = words; n-- > 0;) {
            bool line = n == 0 && (words > 2 || (i & 1));

            g_string_append_printf(out, "%016" PRIx64 "%c", c->zmm[i].u64[n], line ? '\n' : ' ');
        }
    }
}

void x86_dump(const X86Cpu *cpu, GString *out)
{
    bool wide = cpu->mode & MODE_CS64;

    dump_gprs(cpu, out, wide);
    dump_flags(cpu, out, wide);
    dump_system(cpu, out);
    dump_x87(cpu, out);
    dump_vectors(cpu, out);
}
