/* SPDX-License-Identifier: MIT */
/*
 * Flat maps: what an address space looks like once priorities, aliases and clipping are resolved;
 * and the address spaces and listeners that live on them.
 *
 * A map is built by visiting regions from the highest priority down, each filling only the gaps
 * that are left.  It is immutable once published by RCU.
 * Locking: machine lock for changes; readers are in an RCU section.
 */
#include "vm/memory_int.h"
#include "base/rcu.h"

/* Addresses while rendering: 2^64 must be representable, and offsets may be negative. */
typedef __int128 Wide;

static AddressSpace *spaces;

static Wide region_size(const MemoryRegion *mr)
{
    return mr->size == UINT64_MAX ? (Wide)1 << 64 : (Wide)mr->size;
}

static void insert_range(GArray *view, unsigned index, Wide start, Wide end, MemoryRegion *mr,
                         Wide base, bool readonly)
{
    FlatRange range = { .start = (gpa_t)start, .last = (gpa_t)(end - 1), .mr = mr,
                        .offset = (uint64_t)(start - base), .readonly = readonly,
                        .rom_mode = mr->rom_mode, .dirty_clients = mr->dirty_clients };

    g_array_insert_val(view, index, range);
}

/* Fills the gaps of [start, end) with MR. */
static void fill_gaps(GArray *view, MemoryRegion *mr, Wide base, Wide start, Wide end,
                      bool readonly)
{
    for (unsigned i = 0; i < view->len && start < end; i++) {
        const FlatRange *r = &g_array_index(view, FlatRange, i);
        Wide r_start = r->start, r_end = (Wide)r->last + 1;

        if (r_end <= start) {
            continue;
        }
        if (r_start >= end) {
            insert_range(view, i, start, end, mr, base, readonly);
            return;
        }
        if (r_start > start) {
            insert_range(view, i, start, r_start, mr, base, readonly);
            i++;
        }
        start = r_end;
    }
    if (start < end) {
        insert_range(view, view->len, start, end, mr, base, readonly);
    }
}

/* BASE is where offset 0 of MR lies; only [start, end) is visible. */
static void render(GArray *view, MemoryRegion *mr, Wide base, Wide start, Wide end, bool readonly)
{
    start = MAX(start, base);
    end = MIN(end, base + region_size(mr));
    if (!mr->enabled || start >= end) {
        return;
    }
    readonly |= mr->readonly;
    if (mr->kind == REGION_ALIAS) {
        render(view, mr->alias, base - mr->alias_offset, start, end, readonly);
        return;
    }
    for (MemoryRegion *child = mr->children; child; child = child->next) {
        render(view, child, base + child->addr, start, end, readonly);
    }
    if (mr->kind != REGION_CONTAINER) {
        fill_gaps(view, mr, base, start, end, readonly);
    }
}

static bool range_continues(const FlatRange *a, const FlatRange *b)
{
    return a->mr == b->mr && a->last + 1 == b->start && a->readonly == b->readonly &&
           a->offset + (b->start - a->start) == b->offset;
}

static FlatMap *flat_map_new(MemoryRegion *root)
{
    GArray *view = g_array_new(FALSE, FALSE, sizeof(FlatRange));
    FlatMap *map = g_new0(FlatMap, 1);
    unsigned count = 0;
    FlatRange *ranges;

    if (root) {
        render(view, root, 0, 0, (Wide)1 << 64, false);
    }
    ranges = (FlatRange *)(void *)view->data;
    for (unsigned i = 0; i < view->len; i++) {
        if (count > 0 && range_continues(&ranges[count - 1], &ranges[i])) {
            ranges[count - 1].last = ranges[i].last;
        } else {
            ranges[count++] = ranges[i];
        }
    }
    map->count = count;
    map->ranges = (FlatRange *)(void *)g_array_free(view, FALSE);
    return map;
}

static void flat_map_free_rcu(RcuHead *head)
{
    FlatMap *map = container_of(head, FlatMap, rcu);

    g_free(map->ranges);
    g_free(map);
}

/* ---- telling listeners ---- */

static bool range_same(const FlatRange *a, const FlatRange *b)
{
    return a->start == b->start && a->last == b->last && a->mr == b->mr &&
           a->offset == b->offset && a->readonly == b->readonly && a->rom_mode == b->rom_mode;
}

static const FlatRange *map_find_same(const FlatMap *map, const FlatRange *range)
{
    unsigned lo = 0, hi = map->count;

    while (lo < hi) {
        unsigned mid = (lo + hi) / 2;

        if (map->ranges[mid].start < range->start) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo < map->count && range_same(&map->ranges[lo], range) ? &map->ranges[lo] : NULL;
}

static void listener_diff(MemoryListener *l, const FlatMap *old, const FlatMap *new)
{
    for (unsigned i = 0; i < old->count; i++) {
        if (l->range_del && !map_find_same(new, &old->ranges[i])) {
            l->range_del(l, &old->ranges[i]);
        }
    }
    for (unsigned i = 0; i < new->count; i++) {
        const FlatRange *range = &new->ranges[i];
        const FlatRange *was = map_find_same(old, range);
        uint8_t before = was ? was->dirty_clients : 0;

        if (!was && l->range_add) {
            l->range_add(l, range);
        }
        if (!before && range->dirty_clients && l->log_start) {
            l->log_start(l, range);
        } else if (before && !range->dirty_clients && l->log_stop) {
            l->log_stop(l, range);
        }
    }
}

static GArray *eventfds_of(const FlatMap *map)
{
    GArray *list = g_array_new(FALSE, TRUE, sizeof(MemoryEventfd));

    for (unsigned i = 0; i < map->count; i++) {
        const FlatRange *r = &map->ranges[i];

        for (unsigned k = 0; r->mr->eventfds && k < r->mr->eventfds->len; k++) {
            MemoryEventfd e = { 0 };
            const MemoryEventfd *src = &g_array_index(r->mr->eventfds, MemoryEventfd, k);

            if (src->addr >= r->offset && src->addr - r->offset <= r->last - r->start) {
                e.addr = r->start + (src->addr - r->offset);
                e.value = src->value;
                e.size = src->size;
                e.fd = src->fd;
                e.match = src->match;
                g_array_append_val(list, e);
            }
        }
    }
    return list;
}

static bool eventfd_listed(const GArray *list, const MemoryEventfd *e)
{
    for (unsigned i = 0; i < list->len; i++) {
        const MemoryEventfd *x = &g_array_index(list, MemoryEventfd, i);

        if (x->addr == e->addr && x->value == e->value && x->size == e->size && x->fd == e->fd &&
            x->match == e->match) {
            return true;
        }
    }
    return false;
}

static void listener_eventfds(MemoryListener *l, const GArray *old, const GArray *new)
{
    for (unsigned i = 0; l->eventfd_del && i < old->len; i++) {
        const MemoryEventfd *e = &g_array_index(old, MemoryEventfd, i);

        if (!eventfd_listed(new, e)) {
            l->eventfd_del(l, e->addr, e->size, e->match, e->value, e->fd);
        }
    }
    for (unsigned i = 0; l->eventfd_add && i < new->len; i++) {
        const MemoryEventfd *e = &g_array_index(new, MemoryEventfd, i);

        if (!eventfd_listed(old, e)) {
            l->eventfd_add(l, e->addr, e->size, e->match, e->value, e->fd);
        }
    }
}

static void listener_update(MemoryListener *l, const FlatMap *old, const FlatMap *new,
                            const GArray *old_fds, const GArray *new_fds)
{
    if (l->begin) {
        l->begin(l);
    }
    listener_diff(l, old, new);
    listener_eventfds(l, old_fds, new_fds);
    if (l->commit) {
        l->commit(l);
    }
}

static bool map_same(const FlatMap *a, const FlatMap *b)
{
    if (a->count != b->count) {
        return false;
    }
    for (unsigned i = 0; i < a->count; i++) {
        if (!range_same(&a->ranges[i], &b->ranges[i]) ||
            a->ranges[i].dirty_clients != b->ranges[i].dirty_clients) {
            return false;
        }
    }
    return true;
}

static void map_set(AddressSpace *as, FlatMap *map)
{
    rcu_set(&as->map, map);
    __atomic_fetch_add(&as->generation, 1, __ATOMIC_RELEASE);
}

static void space_publish(AddressSpace *as)
{
    FlatMap *old = as->map;
    FlatMap *new = flat_map_new(as->root);
    GArray *old_fds = as->eventfds;
    GArray *new_fds = eventfds_of(new);
    bool same = map_same(old, new);

    if (same && old_fds->len == 0 && new_fds->len == 0) {
        flat_map_free_rcu(&new->rcu);
        g_array_unref(new_fds);
        return;
    }
    map_set(as, new);
    as->eventfds = new_fds;
    for (unsigned i = 0; i < as->listeners->len; i++) {
        listener_update(g_ptr_array_index(as->listeners, i), old, new, old_fds, new_fds);
    }
    g_array_unref(old_fds);
    rcu_call(&old->rcu, flat_map_free_rcu);
}

void memory_maps_publish(void)
{
    for (AddressSpace *as = spaces; as; as = as->next) {
        space_publish(as);
    }
}

/* ---- address spaces ---- */

static FlatMap empty_map;

void address_space_init(AddressSpace *as, MemoryRegion *root, const char *name)
{
    *as = (AddressSpace){ .name = g_intern_string(name), .root = root };
    as->listeners = g_ptr_array_new();
    as->map = flat_map_new(root);
    as->eventfds = eventfds_of(as->map);
    as->next = spaces;
    spaces = as;
}

void address_space_destroy(AddressSpace *as)
{
    for (AddressSpace **p = &spaces; *p; p = &(*p)->next) {
        if (*p == as) {
            *p = as->next;
            break;
        }
    }
    while (as->listeners->len > 0) {
        memory_listener_remove(as, g_ptr_array_index(as->listeners, 0));
    }
    g_ptr_array_unref(as->listeners);
    g_array_unref(as->eventfds);
    rcu_call(&as->map->rcu, flat_map_free_rcu);
    /* A reader that is late finds nothing rather than freed memory. */
    map_set(as, &empty_map);
    as->root = NULL;
}

AddressSpace *address_space_first(void)
{
    return spaces;
}

void memory_listener_add(AddressSpace *as, MemoryListener *l)
{
    g_autoptr(GArray) none = g_array_new(FALSE, FALSE, sizeof(MemoryEventfd));

    g_ptr_array_add(as->listeners, l);
    listener_update(l, &empty_map, as->map, none, as->eventfds);
}

void memory_listener_remove(AddressSpace *as, MemoryListener *l)
{
    g_autoptr(GArray) none = g_array_new(FALSE, FALSE, sizeof(MemoryEventfd));

    listener_update(l, as->map, &empty_map, as->eventfds, none);
    g_ptr_array_remove(as->listeners, l);
}

/* ---- looking up ---- */

static bool range_holds(const FlatRange *range, gpa_t gpa)
{
    return gpa >= range->start && gpa <= range->last;
}

MemoryTarget memory_resolve(AddressSpace *as, gpa_t gpa)
{
    FlatMap *map = rcu_get(&as->map);
    unsigned hit = __atomic_load_n(&map->last_hit, __ATOMIC_RELAXED);
    MemoryTarget t = { 0 };
    const FlatRange *range;

    if (hit >= map->count || !range_holds(&map->ranges[hit], gpa)) {
        unsigned lo = 0, hi = map->count;

        /* The first range that ends at or after GPA. */
        while (lo < hi) {
            unsigned mid = (lo + hi) / 2;

            if (map->ranges[mid].last < gpa) {
                lo = mid + 1;
            } else {
                hi = mid;
            }
        }
        if (lo == map->count || map->ranges[lo].start > gpa) {
            t.len = lo == map->count ? UINT64_MAX - gpa : map->ranges[lo].start - gpa;
            t.len = MAX(t.len, 1);
            return t;
        }
        hit = lo;
        __atomic_store_n(&map->last_hit, hit, __ATOMIC_RELAXED);
    }
    range = &map->ranges[hit];
    t.mr = range->mr;
    t.offset = range->offset + (gpa - range->start);
    t.len = range->last - gpa;
    t.len += t.len != UINT64_MAX;
    if (region_has_ram(t.mr) && (t.mr->kind != REGION_ROM_DEVICE || range->rom_mode)) {
        t.host = t.mr->ram->host + t.offset;
        t.readonly = range->readonly || t.mr->kind != REGION_RAM;
    }
    return t;
}
