/* SPDX-License-Identifier: MIT */
/* Guest RAM as objects: how the host's memory is got, shared, filled and given back. */
#include "vm/memory_backend.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/parse.h"

#define BACKEND(obj) ((MemoryBackend *)(void *)(obj))

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* ---- the three kinds of memory ---- */

static RamBlock *block_of_fd(MemoryBackend *mb, const char *name, int fd, bool share,
                             GError **error)
{
    RamBlock *ram = ram_block_new_from_fd(name, mb->size, fd, 0, share, mb->readonly, error);

    if (!ram) {
        close(fd);
    }
    return ram;
}

static RamBlock *open_ram(MemoryBackend *mb, const char *name, GError **error)
{
    return ram_block_new(name, mb->size, mb->share, error);
}

static RamBlock *open_memfd(MemoryBackend *mb, const char *name, GError **error)
{
    unsigned flags = MFD_CLOEXEC | (mb->seal ? MFD_ALLOW_SEALING : 0);
    int fd;

    if (mb->hugetlb_size && (!mb->hugetlb || mb->hugetlb_size & (mb->hugetlb_size - 1))) {
        error_set(error, "hugetlbsize=%" PRIu64 " must be a power of two and needs hugetlb=on",
                  mb->hugetlb_size);
        return NULL;
    }
    if (mb->hugetlb) {
        flags |= MFD_HUGETLB;
        flags |= mb->hugetlb_size ? (unsigned)__builtin_ctzll(mb->hugetlb_size) << MAP_HUGE_SHIFT : 0;
    }
    fd = memfd_create(name, flags);
    if (fd < 0 || ftruncate(fd, (off_t)mb->size) < 0) {
        int err = errno;

        if (fd >= 0) {
            close(fd);
        }
        error_set_errno(error, err, "Cannot make a memfd of %" PRIu64 " bytes%s", mb->size,
                        mb->hugetlb ? " of huge pages (is /proc/sys/vm/nr_hugepages large enough?)"
                                    : "");
        return NULL;
    }
    if (mb->seal) {
        fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
    }
    return block_of_fd(mb, name, fd, mb->share, error);
}

/* A folder (a hugetlbfs mount) stands for a file in it that has no name. */
static int open_path(const MemoryBackend *mb, GError **error)
{
    int flags = (mb->readonly ? O_RDONLY : O_RDWR | O_CREAT) | O_CLOEXEC;
    int fd;

    if (g_file_test(mb->mem_path, G_FILE_TEST_IS_DIR)) {
        g_autofree char *path = g_build_filename(mb->mem_path, "rhea-memory-XXXXXX", NULL);

        fd = mb->readonly ? (errno = EISDIR, -1) : g_mkstemp_full(path, O_RDWR | O_CLOEXEC, 0600);
        if (fd >= 0) {
            unlink(path);
        }
    } else {
        fd = open(mb->mem_path, flags, 0644);
    }
    if (fd < 0) {
        error_set_errno(error, errno, "Cannot open '%s' for guest memory", mb->mem_path);
    }
    return fd;
}

static RamBlock *open_file(MemoryBackend *mb, const char *name, GError **error)
{
    struct stat st;
    int fd;

    if (!mb->mem_path) {
        error_set(error, "Parameter 'mem-path' is missing");
        return NULL;
    }
    fd = open_path(mb, error);
    if (fd < 0) {
        return NULL;
    }
    if (fstat(fd, &st) < 0 || (st.st_size == 0 && ftruncate(fd, (off_t)mb->size) < 0)) {
        error_set_errno(error, errno, "Cannot give '%s' %" PRIu64 " bytes", mb->mem_path, mb->size);
        close(fd);
        return NULL;
    }
    if (S_ISREG(st.st_mode) && st.st_size && (uint64_t)st.st_size < mb->size) {
        error_set(error, "backing store '%s' has %" PRIu64 " bytes, fewer than size=%" PRIu64,
                  mb->mem_path, (uint64_t)st.st_size, mb->size);
        close(fd);
        return NULL;
    }
    return block_of_fd(mb, name, fd, mb->share, error);
}

typedef RamBlock *OpenMemory(MemoryBackend *mb, const char *name, GError **error);

static OpenMemory *opener_of(const MemoryBackend *mb)
{
    return object_is_a(&mb->obj, "memory-backend-file")    ? open_file
           : object_is_a(&mb->obj, "memory-backend-memfd") ? open_memfd
                                                           : open_ram;
}

/* ---- the object ---- */

static bool populate(const MemoryBackend *mb, GError **error)
{
    RamBlock *ram = mb->region.ram;

    if (madvise(ram->host, ram->size, MADV_POPULATE_WRITE) == 0) {
        return true;
    }
    if (errno != EINVAL) {
        return error_set_errno(error, errno, "Cannot allocate %" PRIu64 " bytes ahead", ram->size);
    }
    for (uint64_t at = 0; at < ram->size; at += 4096) {        /* Linux before 5.14 */
        volatile uint8_t *byte = ram->host + at;

        *byte = *byte;
    }
    return true;
}

static bool complete(Object *obj, GError **error)
{
    MemoryBackend *mb = BACKEND(obj);
    g_autofree char *path = object_path(obj);
    const char *name = mb->long_name ? path : obj->name;
    RamBlock *ram;

    if (!mb->size) {
        return error_set(error, "Parameter 'size' is missing or zero");
    }
    ram = opener_of(mb)(mb, name, error);
    if (!ram) {
        return false;
    }
    memory_region_init_ram_block(&mb->region, obj, name, ram);
    if (mb->merge) {
        madvise(ram->host, ram->size, MADV_MERGEABLE);     /* fails without KSM: a hint */
    }
    if (!mb->dump) {
        madvise(ram->host, ram->size, MADV_DONTDUMP);
    }
    return !mb->prealloc || mb->readonly || populate(mb, error);
}

static bool can_be_deleted(Object *obj)
{
    return !BACKEND(obj)->mapped;
}

static void finalize(Object *obj)
{
    MemoryBackend *mb = BACKEND(obj);

    if (mb->region.ram) {
        if (mb->discard_data && mb->share) {
            madvise(mb->region.ram->host, mb->region.ram->size, MADV_REMOVE);
        }
        memory_region_clear(&mb->region);
    }
}

static const PropDef common_props[] = {
    PROP_SIZE("size", MemoryBackend, size, 0, .help = "Size of the memory region (ex: 500M)"),
    PROP_BOOL("merge", MemoryBackend, merge, true, .help = "Mark memory as mergeable"),
    PROP_BOOL("dump", MemoryBackend, dump, true,
              .help = "Set to 'off' to exclude from core dump"),
    PROP_BOOL("prealloc", MemoryBackend, prealloc, false, .help = "Preallocate memory"),
    PROP_BOOL("x-use-canonical-path-for-ramblock-id", MemoryBackend, long_name, false),
    PROP_END
};
static const PropDef private_props[] = {
    PROP_BOOL("share", MemoryBackend, share, false,
              .help = "Mark the memory as private to QEMU or shared"),
    PROP_END
};
static const PropDef memfd_props[] = {
    PROP_BOOL("share", MemoryBackend, share, true,
              .help = "Mark the memory as private to QEMU or shared"),
    PROP_BOOL("hugetlb", MemoryBackend, hugetlb, false, .help = "Use huge pages"),
    PROP_SIZE("hugetlbsize", MemoryBackend, hugetlb_size, 0,
              .help = "Huge pages size (ex: 2M, 1G)"),
    PROP_BOOL("seal", MemoryBackend, seal, true, .help = "Seal growing & shrinking"),
    PROP_END
};
static const PropDef file_props[] = {
    PROP_BOOL("share", MemoryBackend, share, false,
              .help = "Mark the memory as private to QEMU or shared"),
    PROP_STR("mem-path", MemoryBackend, mem_path, .help = "the file, or the folder for one"),
    PROP_BOOL("readonly", MemoryBackend, readonly, false),
    PROP_BOOL("discard-data", MemoryBackend, discard_data, false),
    PROP_END
};

OBJECT_TYPE(memory_backend, .name = "memory-backend", .abstract = true,
            .size = sizeof(MemoryBackend), .props = common_props, .complete = complete,
            .can_be_deleted = can_be_deleted, .finalize = finalize);
OBJECT_TYPE(memory_backend_ram, .name = "memory-backend-ram", .parent = "memory-backend",
            .props = private_props);
OBJECT_TYPE(memory_backend_memfd, .name = "memory-backend-memfd", .parent = "memory-backend",
            .props = memfd_props);
OBJECT_TYPE(memory_backend_file, .name = "memory-backend-file", .parent = "memory-backend",
            .props = file_props);

/* ---- for users ---- */

static void offer(Object *obj, void *opaque)
{
    if (object_is_a(obj, "memory-backend")) {
        suggest_offer(opaque, obj->name);
    }
}

MemoryBackend *memory_backend_find(Vm *vm, const char *id, GError **error)
{
    const char *name = g_str_has_prefix(id, "/objects/") ? id + strlen("/objects/") : id;
    Object *obj = object_child(vm->objects, name);
    Suggest suggest;

    if (obj && object_is_a(obj, "memory-backend")) {
        return BACKEND(obj);
    }
    suggest_init(&suggest, name);
    object_foreach_child(vm->objects, offer, &suggest);
    error_set(error, "Memory backend '%s' not found: name the id of a memory-backend-ram, "
              "-memfd or -file%s", id, suggest_text(&suggest));
    return NULL;
}

bool memory_backend_map(MemoryBackend *mb, GError **error)
{
    if (mb->mapped) {
        return error_set(error, "Memory backend '%s' is already in use", mb->obj.name);
    }
    mb->mapped = true;
    return true;
}

MemoryBackend *memory_backend_new(Vm *vm, const char *id, const MemoryBackendSpec *spec,
                                  GError **error)
{
    g_autoptr(Object) obj =
        object_new(spec->path ? "memory-backend-file" : "memory-backend-ram", error);
    MemoryBackend *mb = obj ? BACKEND(obj) : NULL;

    if (!mb) {
        return NULL;
    }
    if (object_child(vm->objects, id)) {
        error_set(error, "The id '%s' of an -object is that of the machine's own memory; use "
                         "-machine memory-backend=%s or another id", id, id);
        return NULL;
    }
    mb->size = spec->size;
    mb->merge = spec->merge;
    mb->dump = spec->dump;
    mb->prealloc = spec->prealloc;
    mb->mem_path = g_strdup(spec->path);
    object_add_child(vm->objects, id, obj);
    if (!complete(obj, error)) {
        object_unparent(obj);
        return NULL;
    }
    return mb;                   /* the tree has it */
}

typedef struct Visit {
    void (*fn)(MemoryBackend *mb, void *opaque);
    void *opaque;
} Visit;

static void visit(Object *obj, void *opaque)
{
    Visit *v = opaque;

    if (object_is_a(obj, "memory-backend")) {
        v->fn(BACKEND(obj), v->opaque);
    }
}

void memory_backend_foreach(Vm *vm, void (*fn)(MemoryBackend *mb, void *opaque), void *opaque)
{
    Visit v = { fn, opaque };

    object_foreach_child(vm->objects, visit, &v);
}
