/* SPDX-License-Identifier: MIT */
/* HMP: looking at memory, ports and the memory map. */
#include "monitor/hmp.h"

#include "base/error.h"
#include "vm/cpu.h"

#include <inttypes.h>

static unsigned unit_size(int64_t size, unsigned absent)
{
    return size == 'b' ? 1 : size == 'h' ? 2 : size == 'w' ? 4 : size == 'g' ? 8 : absent;
}

static void print_char(Monitor *mon, uint8_t c)
{
    if (c == '\'' || c == '\\') {
        monitor_printf(mon, "'\\%c'", c);
    } else if (c == '\n' || c == '\r') {
        monitor_printf(mon, "'\\%c'", c == '\n' ? 'n' : 'r');
    } else if (c >= 32 && c <= 126) {
        monitor_printf(mon, "'%c'", c);
    } else {
        monitor_printf(mon, "'\\x%02x'", c);
    }
}

static void print_unit(Monitor *mon, uint64_t v, unsigned size, int letter)
{
    static const unsigned octal_digits[] = { 0, 3, 6, 0, 11, 0, 0, 0, 22 };
    int64_t s = size == 8 ? (int64_t)v
                          : (int64_t)(v << (64 - size * 8)) >> (64 - size * 8);

    switch (letter) {
    case 'o':
        monitor_printf(mon, "%#*" PRIo64, octal_digits[size], v);
        break;
    case 'u':
        monitor_printf(mon, "%*" PRIu64, size == 1 ? 3 : size == 2 ? 5 : size == 4 ? 10 : 20, v);
        break;
    case 'd':
        monitor_printf(mon, "%*" PRId64, size == 1 ? 4 : size == 2 ? 6 : size == 4 ? 11 : 20, s);
        break;
    case 'c':
        print_char(mon, (uint8_t)v);
        break;
    default:
        monitor_printf(mon, "0x%0*" PRIx64, (int)size * 2, v);
    }
}

static bool read_virtual(Cpu *cpu, uint64_t va, uint8_t *buf, unsigned len)
{
    while (len) {
        unsigned part = (unsigned)MIN(len, 4096 - (va & 4095));
        gpa_t pa;

        if (!cpu_class(cpu)->translate || !cpu_class(cpu)->translate(cpu, va, &pa) ||
            !address_space_read(&cpu->dev.vm->memory, pa, buf, part)) {
            return false;
        }
        va += part;
        buf += part;
        len -= part;
    }
    return true;
}

/* How many of LEN bytes at ADDR can be read: all, those up to the end of the page, or none. */
static unsigned read_code(Monitor *mon, Cpu *cpu, uint64_t addr, uint8_t *buf, unsigned len,
                          bool physical)
{
    unsigned in_page = (unsigned)MIN(len, 4096 - (addr & 4095));
    const unsigned tries[] = { len, in_page };

    for (unsigned i = 0; i < 2; i++) {
        if (physical ? address_space_read(&monitor_vm(mon)->memory, addr, buf, tries[i])
                     : read_virtual(cpu, addr, buf, tries[i])) {
            return tries[i];
        }
    }
    return 0;
}

static void dump_code(Monitor *mon, Cpu *cpu, uint64_t addr, uint64_t count, bool physical)
{
    if (!cpu || !cpu_class(cpu)->disassemble) {
        monitor_puts(mon, "No CPU\n");
        return;
    }
    for (; count; count--) {
        g_autoptr(GString) text = g_string_new(NULL), hex = g_string_new(NULL);
        uint8_t buf[16];
        unsigned have = read_code(mon, cpu, addr, buf, 15, physical), used;

        if (!have) {
            monitor_printf(mon, "0x%08" PRIx64 ": unable to read memory\n", addr);
            return;
        }
        used = hmp_disassemble(cpu, addr, buf, have, text);
        for (unsigned i = 0; i < used; i++) {
            g_string_append_printf(hex, "%02x ", buf[i]);
        }
        monitor_printf(mon, "0x%08" PRIx64 ":  %-24s %s\n", addr, hex->str, text->str);
        addr += used;
    }
}

static void dump(Monitor *mon, const Json *args, bool physical)
{
    uint64_t addr = (uint64_t)hmp_int(args, "addr", 0);
    int letter = (int)hmp_int(args, "letter", 'x');
    unsigned size = letter == 'c' ? 1 : unit_size(hmp_int(args, "size", 0), 4);
    uint64_t left = (uint64_t)hmp_int(args, "count", 1);
    unsigned per_line = letter == 'o' || (letter == 'd' && size == 8) ? 16 / size : 16 / size;
    Cpu *cpu = monitor_cpu(mon);

    if (!physical && !cpu) {
        monitor_puts(mon, "No CPU\n");
        return;
    }
    if (letter == 'i') {
        dump_code(mon, cpu, addr, left, physical);
        return;
    }
    while (left) {
        unsigned units = (unsigned)MIN(left, per_line);
        uint8_t buf[16] = { 0 };

        monitor_printf(mon, "%016" PRIx64 ":", addr);
        if (physical ? !address_space_read(&monitor_vm(mon)->memory, addr, buf, units * size)
                     : !read_virtual(cpu, addr, buf, units * size)) {
            monitor_puts(mon, " Cannot access memory\n");
            return;
        }
        for (unsigned i = 0; i < units; i++) {
            monitor_puts(mon, " ");
            print_unit(mon, le_load(buf + i * size, size), size, letter);
        }
        monitor_puts(mon, "\n");
        addr += units * size;
        left -= units;
    }
}

void hmp_x(Monitor *mon, const Json *args)
{
    dump(mon, args, false);
}

void hmp_xp(Monitor *mon, const Json *args)
{
    dump(mon, args, true);
}

void hmp_print(Monitor *mon, const Json *args)
{
    int64_t value = hmp_int(args, "value", 0);

    switch (hmp_int(args, "letter", 'x')) {
    case 'o':
        monitor_printf(mon, "%#" PRIo64 "\n", (uint64_t)value);
        break;
    case 'u':
        monitor_printf(mon, "%" PRIu64 "\n", (uint64_t)value);
        break;
    case 'd':
        monitor_printf(mon, "%" PRId64 "\n", value);
        break;
    case 'c':
        print_char(mon, (uint8_t)value);
        monitor_puts(mon, "\n");
        break;
    default:
        monitor_printf(mon, "%#" PRIx64 "\n", (uint64_t)value);
    }
}

void hmp_port_read(Monitor *mon, const Json *args)
{
    unsigned size = unit_size(hmp_int(args, "size", 0), 4);
    uint16_t port = (uint16_t)hmp_int(args, "addr", 0);

    size = MIN(size, 4);
    monitor_printf(mon, "port%c[0x%04x] = 0x%0*" PRIx64 "\n",
                   size == 1 ? 'b' : size == 2 ? 'w' : 'l', port, (int)size * 2,
                   address_space_load(&monitor_vm(mon)->io, port, size));
}

void hmp_port_write(Monitor *mon, const Json *args)
{
    unsigned size = MIN(unit_size(hmp_int(args, "size", 0), 4), 4u);

    address_space_store(&monitor_vm(mon)->io, (uint16_t)hmp_int(args, "addr", 0),
                        (uint64_t)hmp_int(args, "val", 0), size);
}

void hmp_gpa2hva(Monitor *mon, const Json *args)
{
    uint64_t addr = (uint64_t)hmp_int(args, "addr", 0);
    const FlatMap *map = monitor_vm(mon)->memory.map;

    for (unsigned i = 0; map && i < map->count; i++) {
        const FlatRange *r = &map->ranges[i];
        uint64_t offset = r->offset + (addr - r->start);
        MemoryRegion *ram;

        if (addr < r->start || addr > r->last) {
            continue;
        }
        ram = memory_region_ram_target(r->mr, &offset);
        if (!ram) {
            monitor_printf(mon, "Error: Memory at address 0x%" PRIx64 " is not RAM\n", addr);
            return;
        }
        monitor_printf(mon, "Host virtual address for 0x%" PRIx64 " (%s) is %p\n", addr,
                       ram->name, (void *)((uint8_t *)memory_region_ram_ptr(ram) + offset));
        return;
    }
    monitor_printf(mon, "Error: No memory is mapped at address 0x%" PRIx64 "\n", addr);
}

void hmp_gva2gpa(Monitor *mon, const Json *args)
{
    Cpu *cpu = monitor_cpu(mon);
    gpa_t pa;

    if (!cpu || !cpu_class(cpu)->translate) {
        monitor_puts(mon, "No CPU\n");
    } else if (cpu_class(cpu)->translate(cpu, (uint64_t)hmp_int(args, "addr", 0), &pa)) {
        monitor_printf(mon, "gpa: %#" PRIx64 "\n", pa);
    } else {
        monitor_puts(mon, "Unmapped\n");
    }
}

/* ---- info mtree ---- */

static const char *kind_name(const MemoryRegion *mr)
{
    switch (mr->kind) {
    case REGION_RAM:
        return "ram";
    case REGION_ROM:
        return "rom";
    case REGION_ROM_DEVICE:
        return "romd";
    default:
        return "i/o";
    }
}

static void print_region(Monitor *mon, const MemoryRegion *mr, unsigned depth, uint64_t base,
                         bool disabled)
{
    uint64_t start = base + mr->addr;
    uint64_t last = start + (mr->size ? mr->size - 1 : 0);
    const char *state = mr->enabled ? "" : " [disabled]";

    if (depth > 64 || (!mr->enabled && !disabled)) {
        return;
    }
    if (mr->size == UINT64_MAX) {
        last = UINT64_MAX;
    }
    if (mr->kind == REGION_ALIAS) {
        monitor_printf(mon, "%*s%016" PRIx64 "-%016" PRIx64 " (prio %d, %s): alias %s @%s %016" PRIx64
                       "-%016" PRIx64 "%s\n", (int)depth * 2, "", start, last, mr->priority,
                       kind_name(mr->alias), mr->name, mr->alias->name, mr->alias_offset,
                       mr->alias_offset + mr->size - 1, state);
    } else {
        monitor_printf(mon, "%*s%016" PRIx64 "-%016" PRIx64 " (prio %d, %s): %s%s\n", (int)depth * 2,
                       "", start, last, mr->priority, kind_name(mr), mr->name, state);
    }
    for (const MemoryRegion *child = mr->children; child; child = child->next) {
        print_region(mon, child, depth + 1, start, disabled);
    }
}

static void print_flat(Monitor *mon, AddressSpace *as)
{
    const FlatMap *map = as->map;

    for (unsigned i = 0; map && i < map->count; i++) {
        const FlatRange *r = &map->ranges[i];

        monitor_printf(mon, "  %016" PRIx64 "-%016" PRIx64 " (prio %d, %s): %s", r->start, r->last,
                       r->mr->priority, r->readonly ? "rom" : kind_name(r->mr), r->mr->name);
        if (r->offset) {
            monitor_printf(mon, " @%016" PRIx64, r->offset);
        }
        monitor_puts(mon, "\n");
    }
}

void hmp_info_mtree(Monitor *mon, const Json *args)
{
    for (AddressSpace *as = address_space_first(); as; as = as->next) {
        monitor_printf(mon, "address-space: %s\n", as->name);
        if (hmp_flag(args, "flatview")) {
            print_flat(mon, as);
        } else {
            print_region(mon, as->root, 1, 0, hmp_flag(args, "disabled"));
        }
        monitor_puts(mon, "\n");
    }
}
