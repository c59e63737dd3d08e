/* SPDX-License-Identifier: MIT */
/* Page tables as lists and instructions as text, for monitors.  [SDM3A 4] */
#include "target-x86/inspect.h"

#include <inttypes.h>
#include <string.h>

#include "target-x86/insn.h"
#include "target-x86/bus.h"
#include "target-x86/regs.h"

/* ---- page tables [SDM3A 4.3 to 4.5] ---- */

enum { PTE_P = BIT(0), PTE_W = BIT(1), PTE_U = BIT(2), PTE_PWT = BIT(3), PTE_PCD = BIT(4),
       PTE_A = BIT(5), PTE_D = BIT(6), PTE_PS = BIT(7), PTE_G = BIT(8) };
#define PTE_NX BIT64(63)
#define ADDR_MASK 0x000ffffffffff000ull

/* Entries looked at, and pages or ranges told, at most. */
enum { MAX_ENTRIES = 1 << 22, MAX_LINES = 1 << 17 };

typedef struct Listing {
    X86Cpu *cpu;
    GString *out;
    bool ranges;
    unsigned entries, lines;
    unsigned levels, entry_size, index_bits;
    /* The range so far; rights 0: none. */
    uint64_t start, end;
    unsigned rights;
} Listing;

static uint64_t canonical(const Listing *l, uint64_t va)
{
    return l->levels == 4 && (va & BIT64(47)) ? va | 0xffff000000000000ull : va;
}

static void end_range(Listing *l)
{
    if (l->rights) {
        l->lines++;
        g_string_append_printf(l->out, "%016" PRIx64 "-%016" PRIx64 " %016" PRIx64 " %cr%c\n",
                               canonical(l, l->start), canonical(l, l->end), l->end - l->start,
                               l->rights & PTE_U ? 'u' : '-', l->rights & PTE_W ? 'w' : '-');
    }
    l->rights = 0;
}

static void tell_page(Listing *l, uint64_t va, uint64_t size, uint64_t entry, unsigned rights)
{
    static const struct {
        uint64_t bit;
        char letter;
    } letters[] = { { PTE_NX, 'X' }, { PTE_G, 'G' }, { PTE_PS, 'P' }, { PTE_D, 'D' },
                    { PTE_A, 'A' }, { PTE_PCD, 'C' }, { PTE_PWT, 'T' }, { PTE_U, 'U' },
                    { PTE_W, 'W' } };
    uint64_t pa = entry & ADDR_MASK & ~(size - 1);
    char text[ARRAY_LEN(letters) + 1] = { 0 };

    if (l->ranges) {
        if (l->rights != rights || l->end != va) {
            end_range(l);
            l->start = va;
            l->rights = rights;
        }
        l->end = va + size;
        return;
    }
    if (l->entry_size == 4 && size > 4096) {       /* PSE-36: bits 39:32 in 20:13 */
        pa = (entry & 0xffc00000) | (entry & 0x1fe000) << 19;
    }
    for (unsigned i = 0; i < ARRAY_LEN(letters); i++) {
        bool on = entry & letters[i].bit && (letters[i].bit != PTE_PS || size > 4096);

        text[i] = on ? letters[i].letter : '-';
    }
    l->lines++;
    g_string_append_printf(l->out, "%016" PRIx64 ": %016" PRIx64 " %s\n", canonical(l, va), pa, text);
}

static bool is_large(const Listing *l, unsigned level, uint64_t entry)
{
    if (!(entry & PTE_PS) || level == 0 || level == 3) {
        return false;
    }
    return l->entry_size == 4 ? (l->cpu->cr4 & CR4_PSE) != 0 : level == 1 || l->levels == 4;
}

/* LEVEL 0 holds pages.  RIGHTS are those of the levels above. */
static void walk_table(Listing *l, uint64_t table, unsigned level, uint64_t va, unsigned rights)
{
    unsigned shift = 12 + level * l->index_bits;
    unsigned count = level == 2 && l->levels == 3 ? 4 : 1u << l->index_bits;
    bool plain = level == 2 && l->levels == 3;     /* PDPTEs of PAE have no rights */
    X86Phys phys = { 0 };

    l->cpu->bus->map(l->cpu->bus_opaque, table & ~0xfffull, &phys);
    if (!phys.host) {
        return;
    }
    for (unsigned i = 0; i < count && l->entries < MAX_ENTRIES && l->lines < MAX_LINES; i++) {
        uint64_t entry = le_load((const uint8_t *)phys.host + (table & 0xfff) + i * l->entry_size,
                                 l->entry_size);
        uint64_t at = va + ((uint64_t)i << shift);
        unsigned here = plain ? rights : rights & (unsigned)entry;

        l->entries++;
        if (!(entry & PTE_P)) {
            continue;
        }
        if (level == 0 || is_large(l, level, entry)) {
            tell_page(l, at, 1ull << shift, entry, here);
        } else {
            walk_table(l, entry & (l->entry_size == 4 ? 0xfffff000 : ADDR_MASK), level - 1, at, here);
        }
    }
}

void x86_list_pages(X86Cpu *cpu, bool ranges, GString *out)
{
    Listing l = { .cpu = cpu, .out = out, .ranges = ranges };
    bool pae = cpu->cr4 & CR4_PAE;

    if (!(cpu->cr0 & CR0_PG)) {
        g_string_append(out, "PG disabled\n");
        return;
    }
    l.levels = cpu->efer & EFER_LMA ? 4 : pae ? 3 : 2;
    l.entry_size = pae ? 8 : 4;
    l.index_bits = pae ? 9 : 10;
    walk_table(&l, l.levels == 3 ? cpu->cr3 & 0xffffffe0 : cpu->cr3 & ADDR_MASK, l.levels - 1, 0,
               PTE_P | PTE_W | PTE_U);
    end_range(&l);
    if (l.entries >= MAX_ENTRIES || l.lines >= MAX_LINES) {
        g_string_append(out, "(there is more)\n");
    }
}

/* ---- instructions ---- */

unsigned x86_disassemble(X86Cpu *cpu, uint64_t va, const uint8_t *bytes, unsigned len,
                         GString *out)
{
    Insn insn;
    char text[128];

    if (insn_decode(&insn, bytes, len, cpu->mode, NULL) != DECODE_OK) {
        g_string_append_printf(out, ".byte 0x%02x", bytes[0]);
        return 1;
    }
    g_string_append(out, insn_format(&insn, va, text, sizeof(text)));
    return insn.len;
}
