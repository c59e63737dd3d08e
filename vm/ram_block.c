/* SPDX-License-Identifier: MIT */
/*
 * Guest RAM: memory mappings and their dirty bitmaps.
 * Locking: the list changes under its mutex and is read under RCU; bitmaps are atomic.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/error.h"
#include "base/parse.h"
#include "base/rcu.h"
#include "base/thread.h"
#include "vm/memory_int.h"

#define HUGE_PAGE (2 * MIB)
#define WORD_BITS (8 * sizeof(unsigned long))

static Mutex blocks_mutex = { .lock = PTHREAD_MUTEX_INITIALIZER, .name = "ram blocks",
                              .rank = LOCK_RANK_LEAF };
static RamBlock *blocks;
static uint64_t next_ram_addr;

void (*memory_code_write_hook)(RamBlock *ram, uint64_t offset, uint64_t len);

static uint64_t block_pages(const RamBlock *ram)
{
    return div_round_up(ram->size, GUEST_PAGE_SIZE);
}

static void block_publish(RamBlock *ram)
{
    for (unsigned c = 0; c < DIRTY_CLIENTS; c++) {
        size_t words = div_round_up(block_pages(ram), WORD_BITS);

        ram->dirty[c] = g_new(unsigned long, words);
        memset(ram->dirty[c], 0xff, words * sizeof(unsigned long));
    }
    ram->open = g_new0(unsigned long, div_round_up(block_pages(ram), WORD_BITS));
    ram->closing = g_new0(unsigned long, div_round_up(block_pages(ram), WORD_BITS));
    mutex_lock(&blocks_mutex);
    ram->ram_addr = next_ram_addr;
    next_ram_addr += align_up(ram->size, HUGE_PAGE);
    ram->next = blocks;
    rcu_set(&blocks, ram);
    mutex_unlock(&blocks_mutex);
}

/* Maps at an address that lets the kernel use huge pages. */
static uint8_t *map_aligned(uint64_t size, int fd, uint64_t offset, int prot, bool share)
{
    uint64_t align = size >= HUGE_PAGE ? HUGE_PAGE : (uint64_t)sysconf(_SC_PAGESIZE);
    int flags = (share ? MAP_SHARED : MAP_PRIVATE) | (fd < 0 ? MAP_ANONYMOUS : 0) |
                MAP_NORESERVE | MAP_FIXED;
    uint8_t *reserved, *host, *end;

    if (size > SIZE_MAX - align) {
        errno = ENOMEM;
        return NULL;
    }
    reserved = mmap(NULL, size + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                    -1, 0);
    if (reserved == MAP_FAILED) {
        return NULL;
    }
    end = reserved + size + align;
    host = (uint8_t *)align_up((uintptr_t)reserved, align);
    if (mmap(host, size, prot, flags, fd, (off_t)offset) == MAP_FAILED) {
        int saved = errno;

        munmap(reserved, size + align);
        errno = saved;
        return NULL;
    }
    if (host > reserved) {
        munmap(reserved, host - reserved);
    }
    if (end > host + size) {
        munmap(host + size, end - (host + size));
    }
    madvise(host, size, MADV_HUGEPAGE);
    if (!share) {
        madvise(host, size, MADV_DONTFORK);     /* else a helper process makes us copy what we write */
    }
    return host;
}

RamBlock *ram_block_new_from_fd(const char *idstr, uint64_t size, int fd, uint64_t fd_offset,
                                bool share, bool readonly, GError **error)
{
    int prot = PROT_READ | (readonly ? 0 : PROT_WRITE);
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    RamBlock *ram;
    uint8_t *host = NULL;

    errno = ENOMEM;
    if (size != 0 && size <= UINT64_MAX - page) {
        size = align_up(size, page);
        host = map_aligned(size, fd, fd_offset, prot, share);
    }
    if (!host) {
        int err = errno;
        g_autofree char *human = format_size(size);

        error_set_errno(error, err, "Cannot map %s of guest memory for '%s'", human, idstr);
        return NULL;
    }
    ram = g_new0(RamBlock, 1);
    ram->idstr = g_strdup(idstr);
    ram->host = host;
    ram->size = size;
    ram->fd = fd;
    ram->fd_offset = fd_offset;
    ram->shared = share;
    ram->readonly = readonly;
    block_publish(ram);
    return ram;
}

RamBlock *ram_block_new(const char *idstr, uint64_t size, bool share, GError **error)
{
    RamBlock *ram;
    int fd = -1;

    if (share) {
        fd = memfd_create(idstr, MFD_CLOEXEC);
        if (fd < 0 || size > INT64_MAX - MIB ||
            ftruncate(fd, (off_t)align_up(size, (uint64_t)sysconf(_SC_PAGESIZE))) < 0) {
            int err = errno;
            g_autofree char *human = format_size(size);

            if (fd >= 0) {
                close(fd);
            }
            error_set_errno(error, err, "Cannot allocate %s of guest memory for '%s'", human,
                            idstr);
            return NULL;
        }
    }
    ram = ram_block_new_from_fd(idstr, size, fd, 0, share, false, error);
    if (!ram && fd >= 0) {
        close(fd);
    }
    return ram;
}

typedef struct DeadBlock {
    RcuHead rcu;
    RamBlock *ram;
} DeadBlock;

static void block_free_rcu(RcuHead *head)
{
    DeadBlock *dead = container_of(head, DeadBlock, rcu);
    RamBlock *ram = dead->ram;

    munmap(ram->host, ram->size);
    if (ram->fd >= 0) {
        close(ram->fd);
    }
    for (unsigned c = 0; c < DIRTY_CLIENTS; c++) {
        g_free(ram->dirty[c]);
    }
    g_free(ram->open);
    g_free(ram->closing);
    g_free(ram->idstr);
    g_free(ram);
    g_free(dead);
}

void ram_block_free(RamBlock *ram)
{
    DeadBlock *dead = g_new0(DeadBlock, 1);

    mutex_lock(&blocks_mutex);
    for (RamBlock **p = &blocks; *p; p = &(*p)->next) {
        if (*p == ram) {
            rcu_set(p, ram->next);
            break;
        }
    }
    mutex_unlock(&blocks_mutex);
    dead->ram = ram;
    rcu_call(&dead->rcu, block_free_rcu);
}

RamBlock *ram_block_first(void)
{
    return rcu_get(&blocks);
}

RamBlock *ram_block_from_host(const void *host, uint64_t *offset)
{
    RCU_READ_SCOPE();
    const uint8_t *p = host;

    for (RamBlock *ram = rcu_get(&blocks); ram; ram = rcu_get(&ram->next)) {
        if (p >= ram->host && p < ram->host + ram->size) {
            *offset = (uint64_t)(p - ram->host);
            return ram;
        }
    }
    return NULL;
}

/* ---- dirty bitmaps ---- */

static bool page_test(const unsigned long *map, uint64_t page)
{
    return __atomic_load_n(&map[page / WORD_BITS], __ATOMIC_RELAXED) >> (page % WORD_BITS) & 1;
}

/* Does not write when nothing changes, the usual case. */
static void page_set(unsigned long *map, uint64_t page)
{
    if (!page_test(map, page)) {
        __atomic_fetch_or(&map[page / WORD_BITS], 1ul << (page % WORD_BITS), __ATOMIC_SEQ_CST);
    }
}

static bool page_clear(unsigned long *map, uint64_t page)
{
    unsigned long bit = 1ul << (page % WORD_BITS);

    return page_test(map, page) &&
           (__atomic_fetch_and(&map[page / WORD_BITS], ~bit, __ATOMIC_SEQ_CST) & bit) != 0;
}

static void mark_dirty(RamBlock *ram, uint64_t offset, uint64_t len)
{
    uint64_t first = offset >> GUEST_PAGE_BITS;
    uint64_t last = (offset + len - 1) >> GUEST_PAGE_BITS;

    for (uint64_t page = first; page <= last; page++) {
        page_set(ram->dirty[DIRTY_VGA], page);
        page_set(ram->dirty[DIRTY_MIGRATION], page);
    }
}

/* Whether anything of the range is inside the block; cuts the rest off. */
static bool clip_to_block(const RamBlock *ram, uint64_t offset, uint64_t *len)
{
    if (*len == 0 || offset >= ram->size) {
        return false;
    }
    *len = MIN(*len, ram->size - offset);
    return true;
}

void ram_block_set_dirty(RamBlock *ram, uint64_t offset, uint64_t len)
{
    if (!clip_to_block(ram, offset, &len)) {
        return;
    }
    mark_dirty(ram, offset, len);
    if (memory_code_write_hook) {
        memory_code_write_hook(ram, offset, len);
    }
}

void memory_mark_dirty(MemoryRegion *mr, uint64_t offset, uint64_t len)
{
    MemoryRegion *target = memory_region_ram_target(mr, &offset);

    if (target && clip_to_block(target->ram, offset, &len)) {
        mark_dirty(target->ram, offset, len);
    }
}

void memory_set_dirty(MemoryRegion *mr, uint64_t offset, uint64_t len)
{
    MemoryRegion *target = memory_region_ram_target(mr, &offset);

    if (target) {
        ram_block_set_dirty(target->ram, offset, len);
    }
}

/* ---- pages open for stores that nobody reports ---- */

static const MemoryOpenOps *open_ops;    /* set once, before vCPUs run */

void memory_set_open_ops(const MemoryOpenOps *ops)
{
    open_ops = ops;
}

bool memory_open_dirty_page(MemoryRegion *mr, uint64_t offset)
{
    MemoryRegion *target = memory_region_ram_target(mr, &offset);
    uint64_t page = offset >> GUEST_PAGE_BITS;

    if (!open_ops || !target || offset >= target->ram->size ||
        (target->dirty_clients & ~BIT(DIRTY_VGA))) {
        return false;
    }
    /* Open first: a harvest in between then finds one or the other. */
    page_set(target->ram->open, page);
    mark_dirty(target->ram, offset, 1);
    return true;
}

/* Whether the page may have been written without a report; ALL_CLOSED: of closing ones this is the
 * last time.  Asks for an end of what is open. */
static bool take_open(RamBlock *ram, uint64_t page, bool all_closed, bool *opened)
{
    bool closing = page_test(ram->closing, page);

    if (closing && all_closed) {
        page_clear(ram->closing, page);
    }
    if (page_clear(ram->open, page)) {
        page_set(ram->closing, page);
        *opened = true;
        return true;
    }
    return closing;
}

/* Asks accelerators that log elsewhere (KVM) to bring our bitmaps up to date. */
static void sync_logs(const MemoryRegion *mr)
{
    if (!mr->dirty_clients) {
        return;
    }
    for (AddressSpace *as = address_space_first(); as; as = as->next) {
        for (unsigned i = 0; i < as->listeners->len; i++) {
            MemoryListener *l = g_ptr_array_index(as->listeners, i);

            for (unsigned k = 0; l->log_sync && k < as->map->count; k++) {
                if (as->map->ranges[k].mr == mr) {
                    l->log_sync(l, &as->map->ranges[k]);
                }
            }
        }
    }
}

static bool take_dirty(MemoryRegion *mr, uint64_t offset, uint64_t len, DirtyClient client,
                       unsigned long *bitmap)
{
    MemoryRegion *target = memory_region_ram_target(mr, &offset);
    uint64_t first, last;
    bool any = false, opened = false;
    bool all_closed = client == DIRTY_VGA && open_ops && open_ops->closed();

    if (!target || !clip_to_block(target->ram, offset, &len)) {
        return false;
    }
    first = offset >> GUEST_PAGE_BITS;
    last = (offset + len - 1) >> GUEST_PAGE_BITS;
    sync_logs(target);
    for (uint64_t page = first; page <= last; page++) {
        bool dirty = page_clear(target->ram->dirty[client], page);

        if (client == DIRTY_VGA && open_ops) {
            dirty |= take_open(target->ram, page, all_closed, &opened);
        }
        any |= dirty;
        if (bitmap && dirty) {
            bitmap[(page - first) / WORD_BITS] |= 1ul << ((page - first) % WORD_BITS);
        } else if (bitmap) {
            bitmap[(page - first) / WORD_BITS] &= ~(1ul << ((page - first) % WORD_BITS));
        }
    }
    if (opened) {
        open_ops->close();
    }
    return any;
}

bool memory_test_and_clear_dirty(MemoryRegion *mr, uint64_t offset, uint64_t len,
                                 DirtyClient client)
{
    return take_dirty(mr, offset, len, client, NULL);
}

void memory_snapshot_dirty(MemoryRegion *mr, uint64_t offset, uint64_t len, DirtyClient client,
                           unsigned long *bitmap)
{
    take_dirty(mr, offset, len, client, bitmap);
}
