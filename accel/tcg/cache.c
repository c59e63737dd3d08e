/* SPDX-License-Identifier: MIT */
/*
 * The code cache: memory mapped twice (writable, executable), blocks, their links, and how both end.
 *
 * Code and metadata are handed out upwards and never freed one by one.  When either runs out,
 * `flush_wanted` is set; the first vCPU outside code then waits until nobody is inside and starts again from
 * empty.  A block whose guest code was written is dead: it cannot be found, jumps to it are undone
 * and its entry leads back to tcg_find(), but its bytes stay until the flush, so that a thread inside
 * it, or a return address on a host stack, never meets other code.
 *
 * Locking: translator.h.
 */
#include "accel/tcg/translator.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"

#define HASH_BITS 18
/* Of the code bytes: exits and slow paths, away from the hot path. */
#define COLD_SHARE 3
/* What one block may need at most. */
#define HOT_RESERVE (TCG_BLOCK_MAX * 256)
/* Code memory is made present by this many bytes: page faults one by one cost as much as a translation. */
#define POPULATE (128 << 10)

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

static void *map_or_null(size_t size, int prot, int fd)
{
    void *p = mmap(NULL, size, prot, fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
                                            : MAP_SHARED, fd, 0);

    return p == MAP_FAILED ? NULL : p;
}

bool translator_probe(GError **error)
{
#ifdef __SANITIZE_THREAD__
    return error_set(error, "The thread sanitizer holds signals back, which kicks rely on");
#endif
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("bmi2")) {
        return error_set(error, "The host processor lacks AVX2 or BMI2, which translated code "
                         "needs");
    }
    return true;
}

static void start_empty(Translator *tr)
{
    size_t hot = align_up(tr->size / COLD_SHARE * (COLD_SHARE - 1), 4096);
    Emitter e = { .p = tr->rw, .end = tr->rw + hot, .rx = tr->rx - tr->rw };

    memset(tr->hash, 0, sizeof(*tr->hash) << HASH_BITS);
    g_hash_table_remove_all(tr->pages);
    atomic_store(&tr->block_count, 0);
    tr->meta_used = 64;         /* 0 names nothing */
    tcg_emit_stubs(tr, &e);
    tr->hot = tr->hot_start = (uint8_t *)align_up((uintptr_t)e.p, 64);
    tr->hot_end = tr->rw + hot;
    tr->cold = tr->cold_start = tr->hot_end;
    tr->cold_end = tr->rw + tr->size;
}

static void free_list(gpointer list)
{
    g_ptr_array_free(list, TRUE);
}

static bool overlaps(const TcgBlock *block, uint64_t gpa, unsigned len)
{
    unsigned in_first = MIN(block->bytes, 4096 - (block->gpa & 4095));

    return (block->gpa < gpa + len && gpa < block->gpa + in_first) ||
           (block->gpa2 && block->gpa2 < gpa + len && gpa < block->gpa2 + block->bytes - in_first);
}

static void kill_locked(Translator *tr, TcgBlock *block);

/* CodeRetire: any thread, below the code map's lock. */
static void retire(void *opaque, uint64_t gpa, unsigned len)
{
    Translator *tr = opaque;
    bool any = false;
    GPtrArray *list;

    g_mutex_lock(&tr->graph);
    list = g_hash_table_lookup(tr->pages, GSIZE_TO_POINTER(gpa >> 12));
    for (unsigned i = list ? list->len : 0; i-- > 0;) {
        TcgBlock *block = g_ptr_array_index(list, i);

        if (overlaps(block, gpa, len)) {
            g_ptr_array_remove_index_fast(list, i);
            kill_locked(tr, block);
            any = true;
        }
    }
    for (unsigned i = 0; any && i < tr->cpus->len; i++) {
        X86Cpu *cpu = g_ptr_array_index(tr->cpus, i);

        __atomic_store_n(&cpu->stop, 1, __ATOMIC_RELAXED);
    }
    g_mutex_unlock(&tr->graph);
}

Translator *translator_new(size_t code_bytes, X86CodeMap *map, GError **error)
{
    Translator *tr = g_new0(Translator, 1);
    int fd = memfd_create("rhea-code", MFD_CLOEXEC);

    tr->size = align_up(code_bytes, 2 << 20);
    tr->meta_size = tr->size * 2;
    tr->block_max = tr->size / 64;
    if (fd >= 0 && ftruncate(fd, tr->size) == 0) {
        tr->rw = map_or_null(tr->size, PROT_READ | PROT_WRITE, fd);
        tr->rx = map_or_null(tr->size, PROT_READ | PROT_EXEC, fd);
    }
    if (fd >= 0) {
        close(fd);
    }
    tr->meta = map_or_null(tr->meta_size, PROT_READ | PROT_WRITE, -1);
    if (tr->meta) {
        madvise(tr->meta, tr->meta_size, MADV_HUGEPAGE);
    }
    tr->order = map_or_null(tr->block_max * sizeof(*tr->order), PROT_READ | PROT_WRITE, -1);
    tr->hash = map_or_null(sizeof(*tr->hash) << HASH_BITS, PROT_READ | PROT_WRITE, -1);
    g_mutex_init(&tr->lock);
    g_mutex_init(&tr->graph);
    g_cond_init(&tr->gate);
    tr->cpus = g_ptr_array_new();
    tr->host_cpus = g_get_num_processors();
    tr->pages = g_hash_table_new_full(NULL, NULL, NULL, free_list);
    tr->system_index = tcg_system_index();
    tr->code_map = map;
    tr->opt = (TcgOptions){ .link = true, .jump_table = true, .return_stack = true, .contexts = true,
                            .dead_flags = true, .system = true, .trace = true, .group = true, .loop = true,
                            .range = true, .string = true, .syscall = true, .events = true, .refill = true, .crossing = true,
                            .spin_yield = true, .halt_poll = true, .wake_wait = true };
    if (!tr->rw || !tr->rx || !tr->meta || !tr->order || !tr->hash) {
        error_set_errno(error, errno, "Cannot map a code cache of %zu bytes", tr->size);
        translator_free(tr);
        return NULL;
    }
    start_empty(tr);
    tr->hot_present = tr->rw;
    tr->cold_present = tr->cold_start;
    code_map_attach_engine(map, retire, tr);
    code_map_set_settle(map, tcg_wait_for_others, tr);
    return tr;
}

static void unmap(void *p, size_t size)
{
    if (p) {
        munmap(p, size);
    }
}

bool translator_open_perf_map(Translator *tr, GError **error)
{
    g_autofree char *path = g_strdup_printf("/tmp/perf-%d.map", getpid());

    tr->perf_map = fopen(path, "we");
    if (!tr->perf_map) {
        return error_set_errno(error, errno, "Cannot create '%s' for perf", path);
    }
    setvbuf(tr->perf_map, NULL, _IOLBF, 0);
    return true;
}

void translator_free(Translator *tr)
{
    g_clear_pointer(&tr->perf_map, fclose);
    code_map_set_settle(tr->code_map, NULL, NULL);
    code_map_detach_engine(tr->code_map, tr);
    unmap(tr->rw, tr->size);
    unmap(tr->rx, tr->size);
    unmap(tr->meta, tr->meta_size);
    unmap(tr->order, tr->block_max * sizeof(*tr->order));
    unmap(tr->hash, sizeof(*tr->hash) << HASH_BITS);
    g_ptr_array_free(tr->cpus, TRUE);
    g_hash_table_destroy(tr->pages);
    g_free(tr->system_index);
    g_mutex_clear(&tr->lock);
    g_mutex_clear(&tr->graph);
    g_cond_clear(&tr->gate);
    g_free(tr);
}

static double ratio(uint64_t a, uint64_t b)
{
    return b ? (double)a / b : 0;
}

void translator_info(const Translator *tr, GString *out)
{
    const TcgCounters *c = &tr->counters;
    size_t hot = tr->hot - tr->hot_start, cold = tr->cold - tr->cold_start;
    uint64_t misses = 0, refills = 0;

    g_string_append_printf(out, "Translation buffer state:\n"
                           "gen code size       %zu/%zu\nTB count            %u\n",
                           hot + cold, tr->size, tr->block_count);
    g_string_append_printf(out, "TB avg target size  %.1f bytes\nTB avg host size    %.1f bytes "
                           "(expansion ratio: %.1f; out of line %.1f)\n",
                           ratio(c->guest_bytes, c->blocks), ratio(c->host_bytes, c->blocks),
                           ratio(c->host_bytes + c->cold_bytes, c->guest_bytes),
                           ratio(c->cold_bytes, c->guest_bytes));
    g_string_append_printf(out, "guest instructions  %" PRIu64 "\nns per instruction  %.0f\n",
                           c->guest_insns, ratio(c->translate_ns, c->guest_insns));
    g_string_append_printf(out, "links made          %" PRIu64 "\nflags across calls  %s\n",
                           c->links, tr->exact_flags ? "kept" : "not kept");
    for (unsigned i = 0; i < tr->cpus->len; i++) {
        misses += tcg_cpu(g_ptr_array_index(tr->cpus, i))->misses;
        refills += tcg_cpu(g_ptr_array_index(tr->cpus, i))->refills;
    }
    g_string_append_printf(out, "TLB misses          %" PRIu64 " (%" PRIu64 " refilled in place)\n",
                           misses, refills);
    g_string_append_printf(out, "halts               %" PRIu64 " (%" PRIu64 " ended while polling)\n"
                           "spins               %" PRIu64 " yields, %" PRIu64 " naps\n"
                           "interruptions       %" PRIu64 " (%" PRIu64 " seen without a signal)\n",
                           c->halts, c->polled, c->yields, c->naps, c->wakes, c->seen);
    g_string_append_printf(out, "\nStatistics:\nTB flush count      %" PRIu64
                           "\nTB invalidate count %" PRIu64 "\n", c->flushes, c->retired);
}

/* ---- blocks -------------------------------------------------------------------------------- */

static TcgBlock **slot_of(Translator *tr, uint64_t gpa, uint64_t pc, uint32_t mode)
{
    uint64_t key = gpa * 0x9e3779b97f4a7c15ull ^ pc * 0xc2b2ae3d27d4eb4full ^ mode;

    return &tr->hash[key * 0x9e3779b97f4a7c15ull >> (64 - HASH_BITS)];
}

TcgBlock *tcg_block_lookup(Translator *tr, uint64_t gpa, uint64_t pc, uint32_t mode, uint32_t limit)
{
    TcgBlock *block;

    g_mutex_lock(&tr->graph);
    block = *slot_of(tr, gpa, pc, mode);
    while (block && (block->gpa != gpa || block->pc != pc || block->mode != mode || block->limit != limit)) {
        block = block->hash_next;
    }
    g_mutex_unlock(&tr->graph);
    return block;
}

/* A hint: kernels before 5.14 do not know it. */
static void populate(uint8_t **present, const uint8_t *upto, const uint8_t *end)
{
    while (*present < upto) {
        size_t size = MIN(POPULATE, end - *present);

        madvise(*present, size, MADV_POPULATE_WRITE);
        *present += size;
    }
}

TcgBlock *tcg_block_alloc(Translator *tr, unsigned insns, unsigned bytes, unsigned links)
{
    size_t guest = sizeof(TcgBlock) + (insns + 1) * sizeof(TcgInsn);
    size_t fixed = align_up(guest + bytes, sizeof(uint64_t));
    TcgBlock *block;

    if (tr->meta_used + fixed + links * sizeof(TcgLink) > tr->meta_size || tr->block_count == tr->block_max ||
        tr->hot + HOT_RESERVE > tr->hot_end || tr->cold + HOT_RESERVE > tr->cold_end) {
        return NULL;
    }
    populate(&tr->hot_present, tr->hot + HOT_RESERVE, tr->hot_end);
    populate(&tr->cold_present, tr->cold + HOT_RESERVE, tr->cold_end);
    block = (TcgBlock *)(tr->meta + tr->meta_used);
    memset(block, 0, sizeof(*block));
    block->guest = (const uint8_t *)block + guest;
    block->links = (TcgLink *)((uint8_t *)block + fixed);
    return block;
}

void tcg_block_keep(Translator *tr, const TcgBlock *block)
{
    const uint8_t *end = (const uint8_t *)(block->links + block->link_count);

    tr->meta_used = align_up(end - tr->meta, 64);
}

static void page_list_add(Translator *tr, uint64_t gpa, TcgBlock *block)
{
    gpointer key = GSIZE_TO_POINTER(gpa >> 12);
    GPtrArray *list = g_hash_table_lookup(tr->pages, key);

    if (!list) {
        list = g_ptr_array_new();
        g_hash_table_insert(tr->pages, key, list);
    }
    g_ptr_array_add(list, block);
}

void tcg_block_insert(Translator *tr, TcgBlock *block)
{
    g_mutex_lock(&tr->graph);
    page_list_add(tr, block->gpa, block);
    if (block->gpa2) {
        page_list_add(tr, block->gpa2, block);
    }
    tr->order[tr->block_count] = block;
    atomic_fetch_add(&tr->block_count, 1);
    g_mutex_unlock(&tr->graph);
    if (tr->perf_map) {
        fprintf(tr->perf_map, "%" PRIxPTR " %x guest_%" PRIx64 "\n", (uintptr_t)block->code,
                block->code_len, block->va);
    }
}

void tcg_block_publish(Translator *tr, TcgBlock *block)
{
    TcgBlock **slot = slot_of(tr, block->gpa, block->pc, block->mode);

    g_mutex_lock(&tr->graph);
    if (!block->dead) {
        block->hash_next = *slot;
        *slot = block;
    }
    g_mutex_unlock(&tr->graph);
}

TcgBlock *tcg_block_at(Translator *tr, const uint8_t *pc, unsigned *index)
{
    unsigned low = 0, high = atomic_load(&tr->block_count);
    TcgBlock *block;
    uint32_t at;

    while (low < high) {        /* the last block that starts at or before pc */
        unsigned mid = (low + high) / 2;

        if (tr->order[mid]->code <= pc) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    if (low == 0) {
        return NULL;
    }
    block = tr->order[low - 1];
    if (pc >= block->code + block->code_len) {
        return NULL;
    }
    at = pc - block->code;
    if (at < block->insns[0].host) {
        *index = 0;             /* the entry's checks */
        return block;
    }
    low = 0;
    high = block->count;
    while (low < high) {
        unsigned mid = (low + high) / 2;

        if (block->insns[mid].host <= at) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    *index = low - 1;
    return block;
}

/* ---- links ---------------------------------------------------------------------------------- */

static void unlink_from(Translator *tr, TcgLink *link)
{
    TcgLink **at = &link->to->incoming;

    while (*at != link) {
        at = &(*at)->next_in;
    }
    *at = link->next_in;
    link->to = NULL;
}

/* Jump tables may still lead here: the no-op at the entry becomes a jump to the block's exit. */
static void stop_entry(Translator *tr, TcgBlock *block)
{
    uint8_t *at = tr->rw + (block->code - tr->rx);
    int32_t rel = block->lost - (block->code + 5);
    uint64_t word;

    memcpy(&word, at, 8);
    word = (word & 0xffffff0000000000ull) | (uint64_t)(uint32_t)rel << 8 | 0xe9;
    __atomic_store_n((uint64_t *)(void *)at, word, __ATOMIC_RELEASE);
}

/* Undo all jumps to the block and all bookkeeping of its own jumps. */
static void kill_locked(Translator *tr, TcgBlock *block)
{
    TcgBlock **at = slot_of(tr, block->gpa, block->pc, block->mode);
    ptrdiff_t rx = tr->rx - tr->rw;

    if (block->dead) {
        return;
    }
    __atomic_store_n(&block->dead, 1, __ATOMIC_SEQ_CST);
    tr->counters.retired++;
    while (*at && *at != block) {
        at = &(*at)->hash_next;
    }
    if (*at) {                  /* else it has not been published */
        *at = block->hash_next;
    }
    while (block->incoming) {
        TcgLink *link = block->incoming;

        emit_patch(link->field, rx, link->unlinked);
        unlink_from(tr, link);
    }
    for (unsigned i = 0; i < block->link_count; i++) {
        TcgLink *link = &block->links[i];

        if (link->to) {
            emit_patch(link->field, rx, link->unlinked);
            unlink_from(tr, link);
        }
    }
    stop_entry(tr, block);
}

void tcg_block_kill(Translator *tr, TcgBlock *block)
{
    g_mutex_lock(&tr->graph);
    kill_locked(tr, block);
    g_mutex_unlock(&tr->graph);
}

/* The jump at the end of a block, and the next in memory, which is entered at its start. */
static bool falls_into(const TcgLink *link, ptrdiff_t rx, const TcgBlock *block, const uint8_t *entry)
{
    const uint8_t *end = link->from->code + link->from->code_len;

    return link->field + rx + 4 == end && entry == block->code_direct && block->code >= end &&
           block->code - end < 16;
}

void tcg_link_to(Translator *tr, TcgLink *link, TcgBlock *block)
{
    ptrdiff_t rx = tr->rx - tr->rw;
    const TcgBlock *from = link->from;
    const uint8_t *entry;

    if (!tr->opt.link) {
        return;
    }
    g_mutex_lock(&tr->lock);
    g_mutex_lock(&tr->graph);
    if (!link->to && !from->dead && !block->dead && (!link->loop || block == from) &&
        !((link->function ? block->flags_read : block->flags_in) & ~link->flags)) {
        /* A function that has come back may have left the vector registers to C. */
        entry = !link->function && !link->back && (from->needs & block->needs) == block->needs
                    ? block->code_live : block->code_direct;
        if (link->loop) {
            entry = block->code + block->insns[0].host;
        } else if (link->crosses) {
            entry = tcg_emit_page_check(tr, link, block, entry);
        }
        if (entry) {
            if (falls_into(link, rx, block, entry)) {
                emit_patch_nop(link->field);
            } else {
                emit_patch(link->field, rx, entry);
            }
            link->to = block;
            link->next_in = block->incoming;
            block->incoming = link;
            tr->counters.links++;
        }
    }
    g_mutex_unlock(&tr->graph);
    g_mutex_unlock(&tr->lock);
}

/* ---- coming and going -------------------------------------------------------------------------- */

void tcg_enter_gate(Translator *tr)
{
    g_mutex_lock(&tr->lock);
    while (tr->flushing) {
        g_cond_wait(&tr->gate, &tr->lock);
    }
    tr->inside++;
    g_mutex_unlock(&tr->lock);
}

void tcg_leave_gate(Translator *tr)
{
    g_mutex_lock(&tr->lock);
    tr->inside--;
    if (tr->flushing) {         /* nobody else waits, and a broadcast is a system call even so */
        g_cond_broadcast(&tr->gate);
    }
    g_mutex_unlock(&tr->lock);
}

static void forget_code(X86Cpu *cpu)
{
    TcgCpu *tc = tcg_cpu(cpu);

    tcg_forget_jumps(cpu);
    memset(tc->decoded, 0, sizeof(tc->decoded));
    cpu->tx.return_stack = cpu->tx.return_stack_base;
}

void tcg_flush_if_wanted(Translator *tr)
{
    g_mutex_lock(&tr->lock);
    if (tr->flush_wanted && !tr->flushing) {
        tr->flushing = true;
        while (tr->inside) {
            for (unsigned i = 0; i < tr->cpus->len; i++) {
                tcg_kick(g_ptr_array_index(tr->cpus, i));
            }
            g_cond_wait_until(&tr->gate, &tr->lock, g_get_monotonic_time() + 1000);
        }
        g_mutex_lock(&tr->graph);
        start_empty(tr);
        g_mutex_unlock(&tr->graph);
        for (unsigned i = 0; i < tr->cpus->len; i++) {
            forget_code(g_ptr_array_index(tr->cpus, i));
        }
        tr->counters.flushes++;
        tr->flush_wanted = tr->flushing = false;
        g_cond_broadcast(&tr->gate);
    }
    g_mutex_unlock(&tr->lock);
}
