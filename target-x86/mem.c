/* SPDX-License-Identifier: MIT */
/*
 * Guest memory access off the fast path: TLB misses, page crossings, MMIO, ROM, pages with
 * decoded code or dirty logging.  See mem.h.
 * Missing: a LOCKed access that crosses pages excludes only other such accesses, not plain ones.
 * Locking: split_lock serialises bounced read-modify-writes of all vCPUs.
 */
#include "target-x86/mem.h"
#include "target-x86/bus.h"
#include "target-x86/code.h"
#include "target-x86/debug.h"

static GMutex split_lock;

/* What an access to part of one page needs to know, copied out of the TLB. */
typedef struct Piece {
    uint8_t *host;              /* of the first byte, NULL: MMIO */
    uint64_t gpa;
    uint32_t attr;
    unsigned len;
} Piece;

static uint64_t va_mask(const X86Cpu *cpu)
{
    return cpu->mode & MODE_CS64 || cpu->mode & MODE_LMA ? ~0ull : 0xffffffffull;
}

/* Code that has gone meanwhile leaves its mark in the TLB until the page is filled in again. */
static bool is_still_code(const X86Cpu *cpu, const X86TlbPhys *phys)
{
    return cpu->code && code_map_has(cpu->code, phys->gpa);
}

static Piece translate(X86Cpu *cpu, uint64_t va, unsigned len, X86Access access, X86MmuIdx idx)
{
    const X86TlbPhys *phys = &cpu->tlb_phys[idx][x86_tlb_index(va)];
    Piece piece;

    if (phys->va != (va & ~4095ull) || !(phys->perm & BIT(access)) ||
        (phys->attr & X86_PAGE_WATCH) || ((phys->attr & X86_PAGE_CODE) && !is_still_code(cpu, phys))) {
        phys = x86_mmu_fill(cpu, va, access, idx);
    }
    if (G_UNLIKELY(phys->attr & X86_PAGE_WATCH)) {
        x86_debug_data(cpu, va, len, access);
    }
    piece.attr = phys->attr;
    piece.gpa = phys->gpa + (va & 4095);
    piece.host = phys->host ? phys->host + (va & 4095) : NULL;
    piece.len = len;
    return piece;
}

/* One or two pieces; faults of both pages come before any access. */
static unsigned split(X86Cpu *cpu, uint64_t va, unsigned size, X86Access access, X86MmuIdx idx,
                      Piece piece[2])
{
    unsigned first = MIN(size, 4096 - (va & 4095));

    piece[0] = translate(cpu, va, first, access, idx);
    if (first == size) {
        return 1;
    }
    piece[1] = translate(cpu, (va + first) & va_mask(cpu), size - first, access, idx);
    return 2;
}

/* MMIO in naturally sized steps. */
static unsigned step_size(uint64_t gpa, unsigned len, unsigned whole)
{
    unsigned step = 8;

    if (len == whole && (len == 1 || len == 2 || len == 4 || len == 8)) {
        return len;
    }
    while (step > len || (gpa & (step - 1))) {
        step >>= 1;
    }
    return step;
}

static void read_piece(X86Cpu *cpu, const Piece *piece, uint8_t *dst)
{
    if (piece->host) {
        memcpy(dst, piece->host, piece->len);
        return;
    }
    x86_settle(cpu);
    for (unsigned done = 0; done < piece->len;) {
        unsigned step = step_size(piece->gpa + done, piece->len - done, piece->len);

        le_store(dst + done, cpu->bus->mmio_read(cpu->bus_opaque, piece->gpa + done, step), step);
        done += step;
    }
}

static void note_write(X86Cpu *cpu, uint64_t gpa, uint32_t attr, unsigned len)
{
    if ((attr & X86_PAGE_CODE) && cpu->code) {
        code_map_written(cpu->code, gpa, len);
    }
    if ((attr & X86_PAGE_LOG) && cpu->bus->dirty) {
        cpu->bus->dirty(cpu->bus_opaque, gpa, len);
    }
}

static void write_piece(X86Cpu *cpu, const Piece *piece, const uint8_t *src)
{
    if (piece->host && !(piece->attr & X86_PAGE_ROM)) {
        memcpy(piece->host, src, piece->len);
        note_write(cpu, piece->gpa, piece->attr, piece->len);
        return;
    }
    x86_settle(cpu);
    for (unsigned done = 0; done < piece->len;) {
        unsigned step = step_size(piece->gpa + done, piece->len - done, piece->len);

        cpu->bus->mmio_write(cpu->bus_opaque, piece->gpa + done, le_load(src + done, step), step);
        done += step;
    }
}

void x86_ld_slow(X86Cpu *cpu, uint64_t va, void *dst, unsigned size, X86MmuIdx idx)
{
    Piece piece[2];
    unsigned n = split(cpu, va, size, X86_READ, idx, piece);

    read_piece(cpu, &piece[0], dst);
    if (n == 2) {
        read_piece(cpu, &piece[1], (uint8_t *)dst + piece[0].len);
    }
}

/* Aligned data up to 8 bytes must be stored in one go: other CPUs may look. */
static bool store_whole(X86Cpu *cpu, const Piece *piece, const void *src)
{
    if (!piece->host || (piece->attr & X86_PAGE_ROM)) {
        return false;
    }
    switch (piece->len) {
    case 2: *(volatile uint16_t_un *)piece->host = *(const uint16_t_un *)src; break;
    case 4: *(volatile uint32_t_un *)piece->host = *(const uint32_t_un *)src; break;
    case 8: *(volatile uint64_t_un *)piece->host = *(const uint64_t_un *)src; break;
    default: return false;
    }
    note_write(cpu, piece->gpa, piece->attr, piece->len);
    return true;
}

void x86_st_slow(X86Cpu *cpu, uint64_t va, const void *src, unsigned size, X86MmuIdx idx)
{
    Piece piece[2];
    unsigned n = split(cpu, va, size, X86_WRITE, idx, piece);

    if (n == 1 && store_whole(cpu, &piece[0], src)) {
        return;
    }
    write_piece(cpu, &piece[0], src);
    if (n == 2) {
        write_piece(cpu, &piece[1], (const uint8_t *)src + piece[0].len);
    }
}

void *x86_rmw_slow(X86Cpu *cpu, uint64_t va, unsigned size, X86MmuIdx idx)
{
    Piece piece[2];
    unsigned n = split(cpu, va, size, X86_WRITE, idx, piece);

    cpu->rmw.size = size;
    if (n == 1 && piece[0].host && !(piece[0].attr & X86_PAGE_ROM)) {
        /* RAM: operate in place, tell the code map and the dirty log afterwards. */
        cpu->rmw.bounced = false;
        cpu->rmw.va = piece[0].gpa;
        cpu->rmw.va2 = piece[0].attr;
        return piece[0].host;
    }
    cpu->rmw.bounced = true;
    cpu->rmw.va = va;
    cpu->rmw.va2 = idx;
    g_mutex_lock(&split_lock);
    read_piece(cpu, &piece[0], cpu->rmw_bounce);
    if (n == 2) {
        read_piece(cpu, &piece[1], cpu->rmw_bounce + piece[0].len);
    }
    return cpu->rmw_bounce;
}

void x86_rmw_end_slow(X86Cpu *cpu)
{
    unsigned size = cpu->rmw.size;

    cpu->rmw.size = 0;
    if (!cpu->rmw.bounced) {
        note_write(cpu, cpu->rmw.va, cpu->rmw.va2, size);
        return;
    }
    g_mutex_unlock(&split_lock);
    x86_st_slow(cpu, cpu->rmw.va, cpu->rmw_bounce, size, cpu->rmw.va2);
}

void x86_probe_write(X86Cpu *cpu, uint64_t va, unsigned size)
{
    Piece piece[2];

    if (size && !x86_tlb_write(cpu, va, size, cpu->mmu_idx)) {
        split(cpu, va, size, X86_WRITE, cpu->mmu_idx, piece);
    }
}

void x86_probe_read(X86Cpu *cpu, uint64_t va, unsigned size)
{
    Piece piece[2];

    if (size && !x86_tlb_read(cpu, va, size, cpu->mmu_idx)) {
        split(cpu, va, size, X86_READ, cpu->mmu_idx, piece);
    }
}

void x86_ld_bytes(X86Cpu *cpu, uint64_t va, void *dst, unsigned len)
{
    uint8_t *out = dst;
    const uint8_t *host = len && len <= 4096 ? x86_tlb_read(cpu, va, len, cpu->mmu_idx) : NULL;

    if (host) {
        memcpy(out, host, len);
        return;
    }
    while (len) {
        unsigned part = MIN(len, 4096 - (va & 4095));

        x86_ld_slow(cpu, va, out, part, cpu->mmu_idx);
        va = (va + part) & va_mask(cpu);
        out += part;
        len -= part;
    }
}

void x86_st_bytes(X86Cpu *cpu, uint64_t va, const void *src, unsigned len)
{
    const uint8_t *in = src;
    uint8_t *host = len && len <= 4096 ? x86_tlb_write(cpu, va, len, cpu->mmu_idx) : NULL;

    if (host) {
        memcpy(host, in, len);
        return;
    }
    for (unsigned done = 0; done < len;) {
        uint64_t at = (va + done) & va_mask(cpu);
        unsigned part = MIN(len - done, 4096 - (at & 4095));

        x86_probe_write(cpu, at, part);
        done += part;
    }
    while (len) {
        unsigned part = MIN(len, 4096 - (va & 4095));

        x86_st_slow(cpu, va, in, part, cpu->mmu_idx);
        va = (va + part) & va_mask(cpu);
        in += part;
        len -= part;
    }
}

uint8_t *x86_page_pointer(X86Cpu *cpu, uint64_t va, X86Access access)
{
    X86TlbEntry *e = &cpu->tlb[cpu->mmu_idx][x86_tlb_index(va)];

    for (unsigned attempt = 0; attempt < 2; attempt++) {
        uint64_t off = va ^ (access == X86_READ ? e->tag_r : e->tag_w);

        if (off < 4096) {
            return e->host + off;
        }
        if (attempt == 0) {
            x86_mmu_fill(cpu, va, access, cpu->mmu_idx);
        }
    }
    return NULL;
}

uint64_t x86_fetch_page(X86Cpu *cpu, uint64_t va, const uint8_t **host)
{
    unsigned idx = cpu->cpl == 3 ? X86_MMU_USER : X86_MMU_KERNEL;
    const X86TlbPhys *phys = &cpu->tlb_phys[idx][x86_tlb_index(va)];

    if (phys->va != (va & ~4095ull) || !(phys->perm & BIT(X86_EXEC))) {
        phys = x86_mmu_fill(cpu, va, X86_EXEC, idx);
    }
    *host = phys->host ? phys->host + (va & 4095) : NULL;
    return phys->gpa + (va & 4095);
}

uint64_t x86_phys_read(X86Cpu *cpu, uint64_t gpa, unsigned size)
{
    X86Phys phys;

    gpa &= cpu->a20_mask;
    cpu->bus->map(cpu->bus_opaque, gpa & ~4095ull, &phys);
    return phys.host ? le_load(phys.host + (gpa & 4095), size)
                     : cpu->bus->mmio_read(cpu->bus_opaque, gpa, size);
}

void x86_phys_write(X86Cpu *cpu, uint64_t gpa, uint64_t value, unsigned size)
{
    X86Phys phys;

    gpa &= cpu->a20_mask;
    cpu->bus->map(cpu->bus_opaque, gpa & ~4095ull, &phys);
    if (!phys.host || !phys.writable) {
        cpu->bus->mmio_write(cpu->bus_opaque, gpa, value, size);
        return;
    }
    le_store(phys.host + (gpa & 4095), value, size);
    note_write(cpu, gpa, X86_PAGE_CODE | (phys.log_writes ? X86_PAGE_LOG : 0), size);
}

void x86_push_at(X86Cpu *cpu, uint64_t *sp, uint64_t value, unsigned size)
{
    uint64_t mask = x86_sp_mask(cpu), at = (*sp - size) & mask;
    unsigned seg = cpu->mode & MODE_FLAT_SS && !(cpu->mode & MODE_CS64) ? SEG_FLAT : SEG_SS;
    uint64_t va = x86_linear(cpu, seg, at, size, X86_WRITE);

    switch (size) {
    case 2: x86_st16(cpu, va, value); break;
    case 4: x86_st32(cpu, va, value); break;
    default: x86_st64(cpu, va, value); break;
    }
    *sp = (*sp & ~mask) | at;
}

uint64_t x86_pop_at(X86Cpu *cpu, uint64_t *sp, unsigned size)
{
    uint64_t mask = x86_sp_mask(cpu), at = *sp & mask, value;
    unsigned seg = cpu->mode & MODE_FLAT_SS && !(cpu->mode & MODE_CS64) ? SEG_FLAT : SEG_SS;
    uint64_t va = x86_linear(cpu, seg, at, size, X86_READ);

    switch (size) {
    case 2: value = x86_ld16(cpu, va); break;
    case 4: value = x86_ld32(cpu, va); break;
    default: value = x86_ld64(cpu, va); break;
    }
    *sp = (*sp & ~mask) | ((at + size) & mask);
    return value;
}
