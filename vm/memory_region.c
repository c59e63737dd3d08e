/* SPDX-License-Identifier: MIT */
/*
 * Memory regions: their kinds, the tree, and transactions on it.
 * Locking: machine lock.
 */
#include "vm/memory_int.h"
#include "base/error.h"

/* ---- transactions: the depth belongs to whoever holds the machine lock ---- */

static unsigned transaction_depth;
static bool transaction_pending;

void memory_transaction_begin(void)
{
    transaction_depth++;
}

void memory_transaction_commit(void)
{
    g_assert(transaction_depth > 0);
    if (--transaction_depth == 0 && transaction_pending) {
        transaction_pending = false;
        memory_maps_publish();
    }
}

void memory_map_changed(void)
{
    transaction_pending = true;
    memory_transaction_begin();
    memory_transaction_commit();
}

/* ---- kinds ---- */

static void region_init(MemoryRegion *mr, RegionKind kind, Object *owner, const char *name,
                        uint64_t size)
{
    *mr = (MemoryRegion){ .kind = kind, .owner = owner, .size = size, .enabled = true,
                          .name = g_intern_string(name ? name : "") };
    mr->device = owner && object_is_a(owner, "device") ? (Device *)(void *)owner : NULL;
}

void memory_region_init(MemoryRegion *mr, Object *owner, const char *name, uint64_t size)
{
    region_init(mr, REGION_CONTAINER, owner, name, size);
}

void memory_region_init_io(MemoryRegion *mr, Object *owner, const char *name,
                           const MmioOps *ops, void *opaque, uint64_t size)
{
    region_init(mr, REGION_MMIO, owner, name, size);
    mr->ops = ops;
    mr->opaque = opaque;
}

static bool region_init_backed(MemoryRegion *mr, RegionKind kind, Object *owner,
                               const char *name, uint64_t size, GError **error)
{
    RamBlock *ram = ram_block_new(name, size, false, error);

    if (!ram) {
        return false;
    }
    region_init(mr, kind, owner, name, size);
    mr->ram = ram;
    ram->region = mr;
    return true;
}

bool memory_region_init_ram(MemoryRegion *mr, Object *owner, const char *name, uint64_t size,
                            GError **error)
{
    return region_init_backed(mr, REGION_RAM, owner, name, size, error);
}

bool memory_region_init_rom(MemoryRegion *mr, Object *owner, const char *name, uint64_t size,
                            GError **error)
{
    if (!region_init_backed(mr, REGION_ROM, owner, name, size, error)) {
        return false;
    }
    mr->readonly = true;
    return true;
}

bool memory_region_init_rom_device(MemoryRegion *mr, Object *owner, const char *name,
                                   const MmioOps *ops, void *opaque, uint64_t size,
                                   GError **error)
{
    if (!region_init_backed(mr, REGION_ROM_DEVICE, owner, name, size, error)) {
        return false;
    }
    mr->ops = ops;
    mr->opaque = opaque;
    mr->rom_mode = true;
    return true;
}

void memory_region_init_ram_block(MemoryRegion *mr, Object *owner, const char *name,
                                  RamBlock *ram)
{
    region_init(mr, REGION_RAM, owner, name, ram->size);
    mr->ram = ram;
    mr->readonly = ram->readonly;
    ram->region = mr;
}

void memory_region_init_alias(MemoryRegion *mr, Object *owner, const char *name,
                              MemoryRegion *target, uint64_t offset, uint64_t size)
{
    region_init(mr, REGION_ALIAS, owner, name, size);
    mr->alias = target;
    mr->alias_offset = offset;
}

typedef struct OldEventfds {
    RcuHead rcu;
    GArray *list;
} OldEventfds;

static void old_eventfds_free(RcuHead *head)
{
    OldEventfds *old = container_of(head, OldEventfds, rcu);

    g_array_unref(old->list);
    g_free(old);
}

/* Writers of regions that are lockless look at the list without the machine lock. */
static void eventfds_set(MemoryRegion *mr, GArray *list)
{
    OldEventfds *old = mr->eventfds ? g_new0(OldEventfds, 1) : NULL;

    if (old) {
        old->list = mr->eventfds;
    }
    rcu_set(&mr->eventfds, list);
    if (old) {
        rcu_call(&old->rcu, old_eventfds_free);
    }
}

void memory_region_clear(MemoryRegion *mr)
{
    g_assert(!mr->container);
    while (mr->children) {
        memory_region_remove(mr, mr->children);
    }
    if (mr->ram) {
        ram_block_free(mr->ram);
        mr->ram = NULL;
    }
    eventfds_set(mr, NULL);
}

/* ---- the tree ---- */

void memory_region_add_overlap(MemoryRegion *container, uint64_t addr, MemoryRegion *mr,
                               int priority)
{
    MemoryRegion **p = &container->children;

    g_assert(!mr->container);
    mr->addr = addr;
    mr->priority = priority;
    mr->container = container;
    while (*p && (*p)->priority > priority) {
        p = &(*p)->next;
    }
    mr->next = *p;
    *p = mr;
    memory_map_changed();
}

void memory_region_add(MemoryRegion *container, uint64_t addr, MemoryRegion *mr)
{
    memory_region_add_overlap(container, addr, mr, 0);
}

void memory_region_remove(MemoryRegion *container, MemoryRegion *mr)
{
    g_assert(mr->container == container);
    for (MemoryRegion **p = &container->children; *p; p = &(*p)->next) {
        if (*p == mr) {
            *p = mr->next;
            break;
        }
    }
    mr->next = NULL;
    mr->container = NULL;
    memory_map_changed();
}

void memory_region_set_enabled(MemoryRegion *mr, bool enabled)
{
    if (mr->enabled != enabled) {
        mr->enabled = enabled;
        memory_map_changed();
    }
}

void memory_region_set_address(MemoryRegion *mr, uint64_t addr)
{
    MemoryRegion *container = mr->container;

    if (mr->addr == addr) {
        return;
    }
    if (!container) {
        mr->addr = addr;
        return;
    }
    /* Moving counts as adding: among equals it is now the last one. */
    memory_transaction_begin();
    memory_region_remove(container, mr);
    memory_region_add_overlap(container, addr, mr, mr->priority);
    memory_transaction_commit();
}

void memory_region_set_size(MemoryRegion *mr, uint64_t size)
{
    if (mr->size != size) {
        g_assert(!mr->ram || size <= mr->ram->size);
        mr->size = size;
        memory_map_changed();
    }
}

void memory_region_set_alias_offset(MemoryRegion *mr, uint64_t offset)
{
    if (mr->alias_offset != offset) {
        mr->alias_offset = offset;
        memory_map_changed();
    }
}

void memory_region_set_readonly(MemoryRegion *mr, bool readonly)
{
    if (mr->readonly != readonly) {
        mr->readonly = readonly;
        memory_map_changed();
    }
}

void memory_region_set_rom_mode(MemoryRegion *mr, bool rom_mode)
{
    g_assert(mr->kind == REGION_ROM_DEVICE);
    if (mr->rom_mode != rom_mode) {
        mr->rom_mode = rom_mode;
        memory_map_changed();
    }
}

/* ---- eventfds ---- */

static GArray *eventfds_copy(const MemoryRegion *mr)
{
    GArray *list = g_array_new(FALSE, FALSE, sizeof(MemoryEventfd));

    if (mr->eventfds) {
        g_array_append_vals(list, mr->eventfds->data, mr->eventfds->len);
    }
    return list;
}

void memory_region_add_eventfd(MemoryRegion *mr, uint64_t offset, unsigned size, bool match,
                               uint64_t value, int fd)
{
    MemoryEventfd e = { offset, value, size, fd, match };
    GArray *list = eventfds_copy(mr);

    g_array_append_val(list, e);
    eventfds_set(mr, list);
    memory_map_changed();
}

void memory_region_del_eventfd(MemoryRegion *mr, uint64_t offset, unsigned size, bool match,
                               uint64_t value, int fd)
{
    for (unsigned i = 0; mr->eventfds && i < mr->eventfds->len; i++) {
        const MemoryEventfd *e = &g_array_index(mr->eventfds, MemoryEventfd, i);

        if (e->addr == offset && e->size == size && e->match == match && e->value == value &&
            e->fd == fd) {
            GArray *list = eventfds_copy(mr);

            g_array_remove_index(list, i);
            eventfds_set(mr, list);
            memory_map_changed();
            return;
        }
    }
    g_assert_not_reached();
}

/* ---- RAM behind a region ---- */

MemoryRegion *memory_region_ram_target(MemoryRegion *mr, uint64_t *offset)
{
    while (mr->kind == REGION_ALIAS) {
        *offset += mr->alias_offset;
        mr = mr->alias;
    }
    return region_has_ram(mr) ? mr : NULL;
}

void *memory_region_ram_ptr(MemoryRegion *mr)
{
    uint64_t offset = 0;
    MemoryRegion *target = memory_region_ram_target(mr, &offset);

    g_assert(target);
    return target->ram->host + offset;
}

void memory_region_set_logging(MemoryRegion *mr, DirtyClient client, bool on)
{
    uint64_t offset = 0;
    MemoryRegion *target = memory_region_ram_target(mr, &offset);
    uint8_t old;

    g_assert(target && (on || target->log_counts[client] > 0));
    old = target->dirty_clients;
    target->log_counts[client] += on ? 1 : -1;
    target->dirty_clients = (uint8_t)(target->log_counts[client] ? old | BIT(client)
                                                                 : old & ~BIT(client));
    if (target->dirty_clients != old) {
        memory_map_changed();
    }
}
