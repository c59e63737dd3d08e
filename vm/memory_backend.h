/* SPDX-License-Identifier: MIT */
/*
 * Memory back ends: guest RAM as objects, "-object memory-backend-ram,id=m,size=1G".
 *
 *   memory-backend-ram    anonymous memory
 *   memory-backend-memfd  a memfd, by default shared and sealed, perhaps of huge pages
 *   memory-backend-file   a file (hugetlbfs, tmpfs, any), private to this process unless share=on
 *
 * All RAM of a machine is one: "-machine memory-backend=ID", or the default that
 * machine_create_ram() makes under the name of the machine's RAM ("pc.ram").
 * Not modelled: NUMA binding (policy=, host-nodes=), prealloc-threads=, pmem=.
 *
 * Thread rule: main loop, machine lock held.
 * Ownership: the back end owns its RAM; who maps it keeps a reference to the object.
 */
#ifndef VM_MEMORY_BACKEND_H
#define VM_MEMORY_BACKEND_H

#include "vm/memory.h"
#include "vm/vm.h"

typedef struct MemoryBackend {
    Object obj;
    uint64_t size;
    bool merge, dump, prealloc, share;
    bool long_name;           /* the block's migration name is the path, not the id */
    char *mem_path;           /* file */
    bool readonly, discard_data;
    bool hugetlb, seal;       /* memfd */
    uint64_t hugetlb_size;
    MemoryRegion region;      /* the RAM, once complete */
    bool mapped;              /* in use: cannot be deleted */
} MemoryBackend;

/* By id or path; NULL with an error that says which there are. */
MemoryBackend *memory_backend_find(Vm *vm, const char *id, GError **error);
/* The one user's claim: false when it is taken. */
bool memory_backend_map(MemoryBackend *mb, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* What -m, -mem-path and -mem-prealloc ask for, as an object named ID. */
typedef struct MemoryBackendSpec {
    uint64_t size;
    const char *path;         /* NULL: memory-backend-ram */
    bool prealloc, merge, dump;
} MemoryBackendSpec;
MemoryBackend *memory_backend_new(Vm *vm, const char *id, const MemoryBackendSpec *spec,
                                  GError **error);

void memory_backend_foreach(Vm *vm, void (*fn)(MemoryBackend *mb, void *opaque), void *opaque);

#endif
