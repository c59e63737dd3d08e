/* SPDX-License-Identifier: MIT */
/*
 * See lockstep.h.
 */
#include "accel/tcg/lockstep.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "target-x86/x86_cpu.h"
#include "vm/memory.h"
#include "vm/vm.h"

#define PAGE 4096
#define WORDS_MAX 16

struct Lockstep {
    Vm *vm;
    LockstepOptions opt;
    FILE *file;
    uint64_t next;
    GHashTable *copies;         /* detail: RamBlock -> its memory at the latest line */
};

/* ---- hashing ------------------------------------------------------------------------------------ */

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9fb21c651e98df25ull;
    return hash ^ hash >> 32;
}

/* SIZE is a multiple of 32: four chains at a time. */
static uint64_t hash_words(const void *data, size_t size)
{
    const uint64_t *p = data, *end = p + size / 8;
    uint64_t a = 1, b = 2, c = 3, d = 4;

    for (; p < end; p += 4) {
        a = mix(a, p[0]);
        b = mix(b, p[1]);
        c = mix(c, p[2]);
        d = mix(d, p[3]);
    }
    return mix(mix(a, b), mix(c, d));
}

static void add(uint64_t *hash, uint64_t value)
{
    *hash = mix(*hash, value);
}

static void add_seg(uint64_t *hash, const X86Seg *seg)
{
    add(hash, (uint64_t)seg->flags << 16 | seg->sel);
    add(hash, seg->base ^ (uint64_t)seg->limit << 32);
}

static uint64_t hash_registers(const X86Cpu *c)
{
    uint64_t hash = hash_words(c->gpr, sizeof(c->gpr[0]) * R_ZERO);

    add(&hash, c->rip);
    add(&hash, x86_rflags(c) & ~(uint64_t)FLAG_RF);
    add(&hash, c->mode | (uint64_t)c->halted << 32 | (uint64_t)c->interrupt_shadow << 33 |
               (uint64_t)c->nmi_blocked << 34 | (uint64_t)c->wait_sipi << 35);
    for (unsigned n = 0; n < SEG_COUNT; n++) {
        add_seg(&hash, &c->segs[n]);
    }
    add_seg(&hash, &c->ldt);
    add_seg(&hash, &c->tr);
    add(&hash, c->gdt.base ^ (uint64_t)c->gdt.limit << 48);
    add(&hash, c->idt.base ^ (uint64_t)c->idt.limit << 48);
    add(&hash, c->cr0 ^ c->cr4 << 32);
    add(&hash, c->cr2);
    add(&hash, c->cr3);
    add(&hash, c->efer ^ c->cr8 << 32);
    for (unsigned n = 0; n < 8; n++) {
        add(&hash, c->dr[n]);
        add(&hash, c->x87.st[n].mantissa);
        add(&hash, c->x87.st[n].exponent);
    }
    add(&hash, c->x87.fcw | (uint64_t)c->x87.fsw << 16 | (uint64_t)c->x87.ftw << 32);
    add(&hash, c->x87.mxcsr ^ (uint64_t)c->pkru << 32);
    for (unsigned n = 0; n < 32; n++) {
        add(&hash, hash_words(&c->zmm[n], 64));
    }
    add(&hash, hash_words(c->k, sizeof(c->k)));
    add(&hash, c->xcr0);
    for (const uint64_t *msr = (const uint64_t *)&c->msrs; msr < (const uint64_t *)(&c->msrs + 1); msr++) {
        add(&hash, *msr);
    }
    return hash;
}

/* Memory of devices is theirs: the screen's lies in a block of its own, and is hashed, too. */
static uint64_t hash_memory(void)
{
    uint64_t hash = 0;

    for (const RamBlock *ram = ram_block_first(); ram; ram = ram->next) {
        add(&hash, hash_words(ram->host, ram->size));
    }
    return hash;
}

/* ---- lines ------------------------------------------------------------------------------------------- */

/* The words of a page that have changed, if they are few. */
static void write_words(Lockstep *s, const char *name, uint64_t offset, const uint64_t *now, const uint64_t *before)
{
    unsigned changed = 0;

    for (unsigned n = 0; n < PAGE / 8; n++) {
        if (now[n] != before[n] && changed++ < WORDS_MAX) {
            fprintf(s->file, " word %s+0x%" PRIx64 " %016" PRIx64 "\n", name, offset + n * 8, now[n]);
        }
    }
}

static void write_pages(Lockstep *s, const RamBlock *ram)
{
    uint8_t *copy = g_hash_table_lookup(s->copies, ram);

    if (!copy) {
        g_hash_table_insert(s->copies, (void *)ram, g_memdup2(ram->host, ram->size));
        return;
    }
    for (uint64_t at = 0; at < ram->size; at += PAGE) {
        if (memcmp(ram->host + at, copy + at, PAGE)) {
            fprintf(s->file, " page %s+0x%" PRIx64 " %016" PRIx64 "\n", ram->idstr, at,
                    hash_words(ram->host + at, PAGE));
            write_words(s, ram->idstr, at, (const uint64_t *)(const void *)(ram->host + at),
                        (const uint64_t *)(const void *)(copy + at));
            memcpy(copy + at, ram->host + at, PAGE);
        }
    }
}

/* The instruction that comes next. */
static void write_next(Lockstep *s, Cpu *cpu)
{
    uint64_t rip = cpu_class(cpu)->pc(cpu);
    g_autoptr(GString) text = g_string_new(NULL);
    uint8_t bytes[16] = { 0 };
    gpa_t pa;

    for (unsigned i = 0; i < sizeof(bytes); i++) {
        if (cpu_class(cpu)->translate(cpu, rip + i, &pa)) {
            address_space_read(&s->vm->memory, pa, &bytes[i], 1);
        }
    }
    cpu_class(cpu)->disassemble(cpu, rip, bytes, sizeof(bytes), text);
    fprintf(s->file, " cpu%u next 0x%016" PRIx64 ": %s\n", cpu->index, rip, g_strchomp(text->str));
}

static void write_detail(Lockstep *s, GPtrArray *cpus)
{
    for (unsigned i = 0; i < cpus->len; i++) {
        Cpu *cpu = g_ptr_array_index(cpus, i);
        g_autoptr(GString) text = g_string_new(NULL);
        g_auto(GStrv) lines = NULL;

        cpu_class(cpu)->dump(cpu, text);
        lines = g_strsplit(g_strchomp(text->str), "\n", -1);
        for (unsigned n = 0; lines[n]; n++) {
            fprintf(s->file, " cpu%u %s\n", i, lines[n]);
        }
        write_next(s, cpu);
    }
    for (const RamBlock *ram = ram_block_first(); ram; ram = ram->next) {
        write_pages(s, ram);
    }
}

uint64_t lockstep_next(const Lockstep *s)
{
    return s->next;
}

void lockstep_at(Lockstep *s, uint64_t done, GPtrArray *cpus)
{
    if (done < s->next) {
        return;
    }
    fprintf(s->file, "%" PRIu64, done);
    for (unsigned i = 0; i < cpus->len; i++) {
        fprintf(s->file, " cpu%u:%016" PRIx64, i,
                hash_registers(x86_cpu_device(g_ptr_array_index(cpus, i))->x86));
    }
    fprintf(s->file, " memory:%016" PRIx64 "\n", hash_memory());
    if (s->opt.detail) {
        write_detail(s, cpus);
    }
    s->next = done + s->opt.every;
    if (s->next > s->opt.to || s->next < done) {
        s->next = UINT64_MAX;
        fprintf(s->file, "end\n");
        vm_request_exit(s->vm, 0);
    }
    fflush(s->file);
}

/* ---- life ---------------------------------------------------------------------------------------------- */

Lockstep *lockstep_new(Vm *vm, const LockstepOptions *options, GError **error)
{
    FILE *file;
    Lockstep *s;

    if (options->every == 0) {
        error_set(error, "x-hash-every is 0: give a number of instructions");
        return NULL;
    }
    file = fopen(options->file, "w");
    if (!file) {
        error_set_errno(error, errno, "Cannot write '%s'", options->file);
        return NULL;
    }
    s = g_new0(Lockstep, 1);
    s->vm = vm;
    s->opt = *options;
    s->file = file;
    s->next = MAX(options->from, 1);
    s->copies = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    return s;
}
