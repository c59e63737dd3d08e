/* SPDX-License-Identifier: MIT */
/*
 * The memory map: regions, address spaces, guest RAM and DMA.
 *
 * Regions form a tree under the root of an address space.  Of overlapping siblings the one with
 * the higher priority is seen; among equals, the one added last.  Any change (add, remove,
 * enable, move) outside a transaction publishes a new immutable FlatMap by RCU, and then tells
 * the listeners.  Boards and devices that make several changes at once bracket them with
 * memory_transaction_begin()/_commit().
 *
 * Thread rule: the tree changes on the main loop or a vCPU thread with the machine lock held.
 * Reads of the map (address_space_*, memory_resolve, dma_*) may come from any thread; the
 * FlatMap they use stays valid inside an RCU read section (rcu_read_lock()).
 * MMIO callbacks run with the machine lock held unless MmioOps.lockless.
 * Ownership: a MemoryRegion is embedded in its owner, which must remove it before it dies.
 */
#ifndef VM_MEMORY_H
#define VM_MEMORY_H

#include "base/bits.h"
#include "base/rcu.h"
#include "vm/object.h"

typedef struct MemoryRegion MemoryRegion;
typedef struct AddressSpace AddressSpace;
typedef struct RamBlock RamBlock;
typedef struct Device Device;
typedef uint64_t gpa_t;

/* ---- regions ---- */

typedef enum RegionKind {
    REGION_CONTAINER,
    REGION_RAM,
    REGION_ROM,               /* RAM block whose guest writes are dropped (logged) */
    REGION_ROM_DEVICE,        /* reads are RAM, writes go to MmioOps (flash); switchable */
    REGION_MMIO,
    REGION_ALIAS,
} RegionKind;

typedef struct MmioOps {
    /* OFFSET is relative to the region; SIZE is 1, 2, 4 or 8. */
    uint64_t (*read)(void *opaque, uint64_t offset, unsigned size);
    void (*write)(void *opaque, uint64_t offset, uint64_t value, unsigned size);
    /* What the guest may use (0: 1 and 8 (memory) / 4 (ports)); others read all ones and are
     * logged.  The core splits or widens an allowed access to what the callbacks implement. */
    uint8_t valid_min, valid_max;
    uint8_t impl_min, impl_max;    /* 0: 1 and 4 */
    bool unaligned;                /* allowed by the device; else split */
    bool big_endian;
    bool lockless;                 /* called without the machine lock */
} MmioOps;

struct MemoryRegion {
    RegionKind kind;
    const char *name;
    Object *owner;            /* for the tree; may be NULL */
    Device *device;           /* the owner if it is a device: re-entrancy guard */
    uint64_t size;            /* bytes; 2^64 is stored as UINT64_MAX */
    uint64_t addr;            /* in the container */
    int priority;
    bool enabled;
    bool rom_mode;            /* REGION_ROM_DEVICE: reads come from RAM */
    bool readonly;            /* this region, or everything seen through this alias */
    uint8_t dirty_clients;    /* BIT(DirtyClient): logging wanted */
    uint16_t log_counts[2];   /* by DirtyClient */
    MemoryRegion *container;
    MemoryRegion *children;   /* sorted, highest priority first */
    MemoryRegion *next;
    const MmioOps *ops;
    void *opaque;
    RamBlock *ram;
    MemoryRegion *alias;
    uint64_t alias_offset;
    GArray *eventfds;         /* MemoryEventfd; NULL: none; RCU, each change makes a new one */
};

void memory_region_init(MemoryRegion *mr, Object *owner, const char *name, uint64_t size);
void memory_region_init_io(MemoryRegion *mr, Object *owner, const char *name,
                           const MmioOps *ops, void *opaque, uint64_t size);
/* Allocates guest RAM (memfd-backed); NAME is the migration name of the block ("pc.ram"). */
bool memory_region_init_ram(MemoryRegion *mr, Object *owner, const char *name, uint64_t size,
                            GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool memory_region_init_rom(MemoryRegion *mr, Object *owner, const char *name, uint64_t size,
                            GError **error) G_GNUC_WARN_UNUSED_RESULT;
bool memory_region_init_rom_device(MemoryRegion *mr, Object *owner, const char *name,
                                   const MmioOps *ops, void *opaque, uint64_t size,
                                   GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* RAM that already has a block (memory back ends). */
void memory_region_init_ram_block(MemoryRegion *mr, Object *owner, const char *name,
                                  RamBlock *ram);
void memory_region_init_alias(MemoryRegion *mr, Object *owner, const char *name,
                              MemoryRegion *target, uint64_t offset, uint64_t size);
/* Releases what init took; the region must be out of any container. */
void memory_region_clear(MemoryRegion *mr);

void memory_region_add(MemoryRegion *container, uint64_t addr, MemoryRegion *mr);
void memory_region_add_overlap(MemoryRegion *container, uint64_t addr, MemoryRegion *mr,
                               int priority);
void memory_region_remove(MemoryRegion *container, MemoryRegion *mr);
void memory_region_set_enabled(MemoryRegion *mr, bool enabled);
void memory_region_set_address(MemoryRegion *mr, uint64_t addr);
void memory_region_set_size(MemoryRegion *mr, uint64_t size);
void memory_region_set_alias_offset(MemoryRegion *mr, uint64_t offset);
void memory_region_set_readonly(MemoryRegion *mr, bool readonly);
void memory_region_set_rom_mode(MemoryRegion *mr, bool rom_mode);
void memory_transaction_begin(void);
void memory_transaction_commit(void);

/* A write of VALUE (SIZE 0: any) at OFFSET signals FD instead of calling the device. */
void memory_region_add_eventfd(MemoryRegion *mr, uint64_t offset, unsigned size, bool match,
                               uint64_t value, int fd);
void memory_region_del_eventfd(MemoryRegion *mr, uint64_t offset, unsigned size, bool match,
                               uint64_t value, int fd);

/* The RAM-backed region at the end of a chain of aliases; adds to *OFFSET.  NULL: none. */
MemoryRegion *memory_region_ram_target(MemoryRegion *mr, uint64_t *offset);
/* Host pointer of a RAM-backed region's start.  Writing through it needs memory_set_dirty(). */
void *memory_region_ram_ptr(MemoryRegion *mr);

/* ---- guest RAM and dirty bitmaps ---- */

typedef enum DirtyClient {
    DIRTY_VGA,
    DIRTY_MIGRATION,
    DIRTY_CLIENTS
} DirtyClient;

#define GUEST_PAGE_BITS 12
#define GUEST_PAGE_SIZE (1ull << GUEST_PAGE_BITS)

struct RamBlock {
    char *idstr;              /* "pc.ram", "0000:00:02.0/vga.vram" */
    uint8_t *host;
    uint64_t size;
    uint64_t ram_addr;        /* offset in the flat RAM address space of dirty bitmaps */
    int fd;                   /* memfd or file; -1 for anonymous memory */
    uint64_t fd_offset;
    bool shared, readonly;
    bool resizable;
    unsigned long *dirty[DIRTY_CLIENTS];  /* one bit a page, relative to this block */
    unsigned long *open, *closing;        /* likewise: see memory_open_dirty_page() */
    MemoryRegion *region;
    RamBlock *next;
};

/* SIZE is rounded up to a host page.  SHARE: MAP_SHARED of a memfd. */
RamBlock *ram_block_new(const char *idstr, uint64_t size, bool share, GError **error);
RamBlock *ram_block_new_from_fd(const char *idstr, uint64_t size, int fd, uint64_t fd_offset,
                                bool share, bool readonly, GError **error);
void ram_block_free(RamBlock *ram);
RamBlock *ram_block_first(void);
/* Block and offset of a host address; NULL if it is not guest RAM. */
RamBlock *ram_block_from_host(const void *host, uint64_t *offset);

/* Marks [offset, offset+len) of the region's RAM dirty for all clients; invalidates code. */
void memory_set_dirty(MemoryRegion *mr, uint64_t offset, uint64_t len);
/* The same for a vCPU's own stores, whose accelerator looks after translated code. */
void memory_mark_dirty(MemoryRegion *mr, uint64_t offset, uint64_t len);
/*
 * A frame buffer that is logged would cost a report for each store.  Instead, the first store to a page
 * opens it: it is marked dirty, and the vCPU may then write to it without further reports (its TLB lets
 * stores through).  When the display harvests the bits, it closes the pages again:
 *
 *     vCPU     memory_open_dirty_page(): true: the page is marked; open the tag, then store
 *     harvest  open pages count as dirty; they are "closing", and ops->close() asks every vCPU to
 *              drop its open tags at its next safe point
 *     harvest  closing pages count as dirty, too, and for the last time once ops->closed() says that
 *              every vCPU has done so: what it stored before is then visible
 *
 * So no store is missed, nobody waits for anybody, and a page that is no longer written costs one
 * redraw too many.  Pages that migration logs are never opened: there each store must tell.
 */
typedef struct MemoryOpenOps {
    void (*close)(void);      /* any thread with the machine lock */
    bool (*closed)(void);     /* since the last close() */
} MemoryOpenOps;
/* By the accelerator that opens pages; NULL: none may be opened. */
void memory_set_open_ops(const MemoryOpenOps *ops);
/* false: report each store by memory_mark_dirty(). */
bool memory_open_dirty_page(MemoryRegion *mr, uint64_t offset);

/* Reads and clears the client's bits of the range: true if any page was dirty. */
bool memory_test_and_clear_dirty(MemoryRegion *mr, uint64_t offset, uint64_t len,
                                 DirtyClient client);
/* As above, a page at a time into BITMAP (one bit a page). */
void memory_snapshot_dirty(MemoryRegion *mr, uint64_t offset, uint64_t len, DirtyClient client,
                           unsigned long *bitmap);
/* Counted; tells the accelerator through the listeners. */
void memory_region_set_logging(MemoryRegion *mr, DirtyClient client, bool on);
/* Called (any thread) after guest RAM was written by anything but a vCPU's own store, so that
 * translated code is discarded; the translator filters by what it has translated. */
extern void (*memory_code_write_hook)(RamBlock *ram, uint64_t offset, uint64_t len);

/* ---- address spaces ---- */

typedef struct FlatRange {
    gpa_t start;              /* first guest address */
    gpa_t last;               /* last guest address, inclusive */
    MemoryRegion *mr;         /* never an alias or a container */
    uint64_t offset;          /* in mr, of start */
    bool readonly;
    bool rom_mode;            /* mr's, when the map was made */
    uint8_t dirty_clients;    /* mr's, when the map was made */
} FlatRange;

typedef struct FlatMap {
    struct rcu_head rcu;
    unsigned count;
    unsigned last_hit;        /* index of the range found last; a hint, atomic */
    FlatRange *ranges;        /* sorted by start, not overlapping */
} FlatMap;

struct AddressSpace {
    const char *name;
    MemoryRegion *root;
    FlatMap *map;             /* RCU */
    GPtrArray *listeners;
    GArray *eventfds;         /* what the listeners have been told */
    AddressSpace *next;
    unsigned generation;      /* atomic: goes up once a new map is there */
    bool is_io;               /* port space: unclaimed ports read all ones silently */
};

void address_space_init(AddressSpace *as, MemoryRegion *root, const char *name);
void address_space_destroy(AddressSpace *as);
AddressSpace *address_space_first(void);

/* Told about every change of the flat map, old ranges removed first.  KVM slots, TLB flush. */
typedef struct MemoryListener MemoryListener;
struct MemoryListener {
    void (*begin)(MemoryListener *l);
    void (*commit)(MemoryListener *l);
    void (*range_add)(MemoryListener *l, const FlatRange *range);
    void (*range_del)(MemoryListener *l, const FlatRange *range);
    void (*log_start)(MemoryListener *l, const FlatRange *range);
    void (*log_stop)(MemoryListener *l, const FlatRange *range);
    void (*log_sync)(MemoryListener *l, const FlatRange *range);
    void (*eventfd_add)(MemoryListener *l, gpa_t addr, unsigned size, bool match,
                        uint64_t value, int fd);
    void (*eventfd_del)(MemoryListener *l, gpa_t addr, unsigned size, bool match,
                        uint64_t value, int fd);
    void *opaque;
};
/* Replays range_add for the map as it stands. */
void memory_listener_add(AddressSpace *as, MemoryListener *l);
void memory_listener_remove(AddressSpace *as, MemoryListener *l);

/* What is at GPA.  For vCPU TLBs and for DMA; call inside an RCU read section. */
typedef struct MemoryTarget {
    MemoryRegion *mr;         /* NULL: nothing there */
    uint64_t offset;          /* in mr */
    uint64_t len;             /* bytes from here to the end of the range */
    uint8_t *host;            /* direct access, or NULL: use memory_io_read/write() */
    bool readonly;            /* host pointer may only be read; writes go to memory_io_write() */
} MemoryTarget;
MemoryTarget memory_resolve(AddressSpace *as, gpa_t gpa);

/* One access of SIZE 1, 2, 4 or 8 to a target without host pointer.  Takes the machine lock if
 * the region needs it and the caller does not hold it.  Unassigned: all ones / ignored. */
uint64_t memory_io_read(MemoryRegion *mr, uint64_t offset, unsigned size);
void memory_io_write(MemoryRegion *mr, uint64_t offset, uint64_t value, unsigned size);

/* Any length, RAM and MMIO mixed; false if a part was unassigned or refused (that part reads as
 * all ones).  For vCPUs, monitors, loaders; devices use dma_*. */
bool address_space_read(AddressSpace *as, gpa_t gpa, void *buf, uint64_t len);
bool address_space_write(AddressSpace *as, gpa_t gpa, const void *buf, uint64_t len);
/* As above but also into ROM (loaders, gdb). */
bool address_space_write_rom(AddressSpace *as, gpa_t gpa, const void *buf, uint64_t len);
/* One little-endian access, e.g. a port: SIZE 1, 2, 4, 8. */
uint64_t address_space_load(AddressSpace *as, gpa_t gpa, unsigned size);
void address_space_store(AddressSpace *as, gpa_t gpa, uint64_t value, unsigned size);

/* ---- DMA: the one way from a device to memory ---- */
/*
 * DEV's bus decides what it reaches (dev->dma_as).  A device's own MMIO handler is never
 * re-entered by its own DMA: such an access fails and is logged as a guest error.
 * false: something was unassigned, refused or beyond the address space; what could be done was.
 */
bool dma_read(Device *dev, gpa_t addr, void *buf, uint64_t len);
bool dma_write(Device *dev, gpa_t addr, const void *buf, uint64_t len);
bool dma_fill(Device *dev, gpa_t addr, uint8_t byte, uint64_t len);
/* Little-endian, SIZE 1..8 (a power of two). */
uint64_t dma_load(Device *dev, gpa_t addr, unsigned size);
void dma_store(Device *dev, gpa_t addr, uint64_t value, unsigned size);

/*
 * Scatter-gather: host iovecs for guest ranges, for block and network I/O without copies.
 * RAM is mapped directly and pinned against unmapping; MMIO or unassigned parts go through a
 * bounce buffer (at most 16 MiB a list).  Ends with dma_sg_unmap(), which writes bounced data
 * back and sets dirty bits when TO_MEMORY.
 */
typedef struct DmaSg {
    Device *dev;
    bool to_memory;           /* the device writes guest memory */
    bool ram_only;            /* set after init: refuse what would need a bounce buffer */
    GArray *iov;              /* struct iovec */
    GArray *parts;            /* guest address, length, bounce buffer of each */
    uint64_t len;
} DmaSg;
void dma_sg_init(DmaSg *sg, Device *dev, bool to_memory);
/* false: out of reach or over the limit; the list stays as it was. */
bool dma_sg_add(DmaSg *sg, gpa_t addr, uint64_t len);
/* How many pieces it has, and where in guest memory they are. */
unsigned dma_sg_parts(const DmaSg *sg);
gpa_t dma_sg_part(const DmaSg *sg, unsigned n, uint64_t *len);
/* What dma_sg_unmap() does, but the list stays for the next use. */
void dma_sg_finish(DmaSg *sg);
void dma_sg_unmap(DmaSg *sg);

/*
 * A piece of guest RAM that a device looks at all the time (a ring).  As long as the map stays what
 * it was, finding it is one comparison.
 *
 *     RCU_READ_SCOPE();
 *     uint8_t *ring = dma_window_host(&w);          // NULL: not one piece of RAM; good in this scope
 *     le16_store(ring + 2, idx);
 *     dma_window_written(&w, 2, 2);
 *
 * One thread at a time.
 */
typedef struct DmaWindow {
    Device *dev;
    gpa_t addr;
    uint64_t len;
    bool to_memory;           /* the device writes */
    AddressSpace *as;         /* that it was looked up in; NULL: not yet */
    unsigned generation;      /* of its map then */
    uint8_t *host;
    RamBlock *ram;
    uint64_t offset;          /* in ram */
} DmaWindow;
void dma_window_init(DmaWindow *w, Device *dev, gpa_t addr, uint64_t len, bool to_memory);
uint8_t *dma_window_host(DmaWindow *w);
void dma_window_written(DmaWindow *w, uint64_t offset, uint64_t len);

#endif
