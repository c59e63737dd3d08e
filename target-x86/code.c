/* SPDX-License-Identifier: MIT */
/*
 * Map of physical pages that hold decoded code.  See code.h.
 *
 * A counting filter indexed by a hash of the page number answers "surely no code here" without
 * the lock; the exact answer, a 64-bit mask of 64-byte granules per page, is behind the lock.
 */
#include "target-x86/code.h"
#include "target-x86/mmu.h"

#define FILTER_BITS 18

typedef struct Engine {
    CodeRetire *retire;
    void *opaque;
} Engine;

typedef struct CodePage {
    uint64_t page;              /* number; also the key */
    uint64_t granules;
    uint64_t serial;
    bool settled;               /* nobody stores by an old tag any more */
} CodePage;

struct X86CodeMap {
    GMutex lock;
    GHashTable *pages;
    GArray *engines;
    GPtrArray *cpus;
    uint64_t serial;            /* of the latest page */
    void (*settle)(void *opaque);
    void *settle_opaque;
    _Atomic uint16_t filter[1 << FILTER_BITS];
};

static unsigned filter_slot(uint64_t page)
{
    return page * 0x9e3779b97f4a7c15ull >> (64 - FILTER_BITS);
}

X86CodeMap *code_map_new(void)
{
    X86CodeMap *map = g_new0(X86CodeMap, 1);

    g_mutex_init(&map->lock);
    map->pages = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, g_free);
    map->engines = g_array_new(FALSE, FALSE, sizeof(Engine));
    map->cpus = g_ptr_array_new();
    return map;
}

void code_map_free(X86CodeMap *map)
{
    g_hash_table_destroy(map->pages);
    g_array_free(map->engines, TRUE);
    g_ptr_array_free(map->cpus, TRUE);
    g_mutex_clear(&map->lock);
    g_free(map);
}

void code_map_attach_cpu(X86CodeMap *map, X86Cpu *cpu)
{
    g_mutex_lock(&map->lock);
    g_ptr_array_add(map->cpus, cpu);
    g_mutex_unlock(&map->lock);
}

void code_map_detach_cpu(X86CodeMap *map, X86Cpu *cpu)
{
    g_mutex_lock(&map->lock);
    g_ptr_array_remove_fast(map->cpus, cpu);
    g_mutex_unlock(&map->lock);
}

void code_map_attach_engine(X86CodeMap *map, CodeRetire *retire, void *opaque)
{
    Engine engine = { retire, opaque };

    g_mutex_lock(&map->lock);
    g_array_append_val(map->engines, engine);
    g_mutex_unlock(&map->lock);
}

void code_map_set_settle(X86CodeMap *map, void (*settle)(void *opaque), void *opaque)
{
    g_mutex_lock(&map->lock);
    map->settle = settle;
    map->settle_opaque = opaque;
    g_mutex_unlock(&map->lock);
}

void code_map_detach_engine(X86CodeMap *map, void *opaque)
{
    g_mutex_lock(&map->lock);
    for (unsigned i = map->engines->len; i-- > 0;) {
        if (g_array_index(map->engines, Engine, i).opaque == opaque) {
            g_array_remove_index_fast(map->engines, i);
        }
    }
    g_mutex_unlock(&map->lock);
}

/* Granules of the page touched by [offset, offset + len); none if LEN is 0. */
static uint64_t granule_mask(unsigned offset, unsigned len)
{
    unsigned first = offset >> 6, last = (offset + len - 1) >> 6;

    if (len == 0) {
        return 0;
    }
    return BITMASK64(first, last - first + 1);
}

void code_map_add(X86CodeMap *map, uint64_t gpa, unsigned len)
{
    uint64_t page = gpa >> 12, serial;
    CodePage *entry;
    bool settled;

    g_mutex_lock(&map->lock);
    entry = g_hash_table_lookup(map->pages, &page);
    if (!entry) {
        entry = g_new0(CodePage, 1);
        entry->page = page;
        entry->serial = ++map->serial;
        entry->settled = !map->settle;
        g_hash_table_insert(map->pages, &entry->page, entry);
        atomic_fetch_add(&map->filter[filter_slot(page)], 1);
        for (unsigned i = 0; i < map->cpus->len; i++) {
            x86_tlb_poison_page(g_ptr_array_index(map->cpus, i), page << 12);
        }
    }
    entry->granules |= granule_mask(gpa & 4095, len);
    settled = entry->settled;
    serial = entry->serial;
    g_mutex_unlock(&map->lock);
    if (!settled) {             /* be it that another thread waits for the same */
        map->settle(map->settle_opaque);
        g_mutex_lock(&map->lock);
        entry = g_hash_table_lookup(map->pages, &page);
        if (entry && entry->serial == serial) {
            entry->settled = true;
        }
        g_mutex_unlock(&map->lock);
    }
}

bool code_map_has(const X86CodeMap *map, uint64_t gpa)
{
    return atomic_load_explicit(&((X86CodeMap *)map)->filter[filter_slot(gpa >> 12)],
                                memory_order_acquire) != 0;
}

static void retire_locked(X86CodeMap *map, uint64_t gpa, unsigned len)
{
    for (unsigned i = 0; i < map->engines->len; i++) {
        const Engine *engine = &g_array_index(map->engines, Engine, i);

        engine->retire(engine->opaque, gpa, len);
    }
}

static void written_in_page(X86CodeMap *map, uint64_t gpa, unsigned len)
{
    uint64_t page = gpa >> 12, hit;
    CodePage *entry;

    if (!code_map_has(map, gpa)) {
        return;
    }
    g_mutex_lock(&map->lock);
    entry = g_hash_table_lookup(map->pages, &page);
    hit = entry ? entry->granules & granule_mask(gpa & 4095, len) : 0;
    if (hit) {
        unsigned first = __builtin_ctzll(hit), last = 63 - __builtin_clzll(hit);

        retire_locked(map, (page << 12) + first * 64, (last - first + 1) * 64);
        entry->granules &= ~BITMASK64(first, last - first + 1);
        if (!entry->granules) {
            g_hash_table_remove(map->pages, &page);
            atomic_fetch_sub(&map->filter[filter_slot(page)], 1);
        }
    }
    g_mutex_unlock(&map->lock);
}

void code_map_written(X86CodeMap *map, uint64_t gpa, uint64_t len)
{
    while (len) {
        uint64_t part = MIN(len, 4096 - (gpa & 4095));

        written_in_page(map, gpa, part);
        gpa += part;
        len -= part;
    }
}
