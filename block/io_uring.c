/* SPDX-License-Identifier: MIT */
/*
 * The submission and completion rings, by system calls.
 * Locking: each ring belongs to its event loop's thread; the table of rings has a mutex.
 *
 * Invariants:
 *  U1  entries submitted and not completed are at most the length of the completion ring, so that
 *      it cannot overflow; more wait in a queue.
 *  U2  a completion is taken off the ring before its coroutine is entered, since that may come
 *      back here.
 */
#include "block/io_uring.h"

#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"

#define ENTRIES 128
#define IOV_BATCH 64

struct Uring {
    EventLoop *loop;
    int fd;
    uint32_t *sq_head, *sq_tail, *sq_mask, *sq_array;
    uint32_t *cq_head, *cq_tail, *cq_mask;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
    uint32_t sq_entries, cq_entries, unsubmitted, in_flight;
    Bh *submit;
    FdWatch *watch;
    CoQueue room;              /* those who wait for U1 */
};

typedef struct Wait {
    Coroutine *co;
    int result;
} Wait;

static GMutex rings_lock;
static GHashTable *rings;      /* EventLoop -> Uring */

/* ---- the kernel ---- */

static int enter(Uring *r, unsigned submit)
{
    int ret;

    do {
        ret = (int)syscall(__NR_io_uring_enter, r->fd, submit, 0, 0, NULL, 0);
    } while (ret < 0 && errno == EINTR);
    return ret < 0 ? -errno : ret;
}

static void submit_all(void *opaque)
{
    Uring *r = opaque;

    while (r->unsubmitted) {
        int ret = enter(r, r->unsubmitted);

        if (ret <= 0) {
            /* Short of memory or busy: completions make room, then again. */
            bh_schedule(r->submit);
            return;
        }
        r->unsubmitted -= (uint32_t)ret;
    }
}

static void reap(void *opaque)
{
    Uring *r = opaque;
    uint32_t head = *r->cq_head;

    while (head != __atomic_load_n(r->cq_tail, __ATOMIC_ACQUIRE)) {
        const struct io_uring_cqe *cqe = &r->cqes[head & *r->cq_mask];
        Wait *w = (Wait *)(uintptr_t)cqe->user_data;

        w->result = cqe->res;
        __atomic_store_n(r->cq_head, head + 1, __ATOMIC_RELEASE);
        r->in_flight--;
        co_queue_wake_one(&r->room);
        coroutine_enter(w->co);
        head = *r->cq_head;
    }
}

static bool map_rings(Uring *r, const struct io_uring_params *p)
{
    size_t sq_len = p->sq_off.array + p->sq_entries * sizeof(uint32_t);
    size_t cq_len = p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe);
    int prot = PROT_READ | PROT_WRITE, flags = MAP_SHARED | MAP_POPULATE;
    char *sq = mmap(NULL, sq_len, prot, flags, r->fd, IORING_OFF_SQ_RING);
    char *cq = mmap(NULL, cq_len, prot, flags, r->fd, IORING_OFF_CQ_RING);
    void *sqes = mmap(NULL, p->sq_entries * sizeof(struct io_uring_sqe), prot, flags, r->fd,
                      IORING_OFF_SQES);

    if (sq == MAP_FAILED || cq == MAP_FAILED || sqes == MAP_FAILED) {
        return false;
    }
    r->sq_head = (uint32_t *)(void *)(sq + p->sq_off.head);
    r->sq_tail = (uint32_t *)(void *)(sq + p->sq_off.tail);
    r->sq_mask = (uint32_t *)(void *)(sq + p->sq_off.ring_mask);
    r->sq_array = (uint32_t *)(void *)(sq + p->sq_off.array);
    r->cq_head = (uint32_t *)(void *)(cq + p->cq_off.head);
    r->cq_tail = (uint32_t *)(void *)(cq + p->cq_off.tail);
    r->cq_mask = (uint32_t *)(void *)(cq + p->cq_off.ring_mask);
    r->cqes = (struct io_uring_cqe *)(void *)(cq + p->cq_off.cqes);
    r->sqes = sqes;
    r->sq_entries = p->sq_entries;
    r->cq_entries = p->cq_entries;
    return true;
}

static Uring *uring_new(EventLoop *loop, GError **error)
{
    struct io_uring_params params = { 0 };
    Uring *r = g_new0(Uring, 1);

    r->fd = (int)syscall(__NR_io_uring_setup, ENTRIES, &params);
    if (r->fd < 0) {
        error_set_errno(error, errno, "io_uring is not available on this host; use aio=threads");
        g_free(r);
        return NULL;
    }
    if (!map_rings(r, &params)) {
        error_set_errno(error, errno, "Could not map the rings of io_uring; use aio=threads");
        close(r->fd);
        g_free(r);
        return NULL;
    }
    r->loop = event_loop_ref(loop);
    r->submit = bh_new(loop, submit_all, r);
    r->watch = fd_watch_new(loop, r->fd, reap, NULL, r);
    co_queue_init(&r->room);
    return r;
}

Uring *uring_of_loop(EventLoop *loop, GError **error)
{
    Uring *r;

    g_mutex_lock(&rings_lock);
    if (!rings) {
        rings = g_hash_table_new(NULL, NULL);
    }
    r = g_hash_table_lookup(rings, loop);
    if (!r) {
        r = uring_new(loop, error);
        if (r) {
            g_hash_table_insert(rings, loop, r);
        }
    }
    g_mutex_unlock(&rings_lock);
    return r;
}

/* ---- requests ---- */

static int co_one(Uring *r, struct io_uring_sqe sqe)
{
    Wait w = { coroutine_self(), 0 };
    uint32_t tail, index;

    while (r->in_flight >= r->cq_entries || r->unsubmitted >= r->sq_entries) {
        if (r->unsubmitted >= r->sq_entries) {
            submit_all(r);
        }
        if (r->in_flight >= r->cq_entries || r->unsubmitted >= r->sq_entries) {
            co_queue_wait(&r->room, NULL);
        }
    }
    tail = *r->sq_tail;
    index = tail & *r->sq_mask;
    sqe.user_data = (uintptr_t)&w;
    r->sqes[index] = sqe;
    r->sq_array[index] = index;
    __atomic_store_n(r->sq_tail, tail + 1, __ATOMIC_RELEASE);
    r->unsubmitted++;
    r->in_flight++;
    bh_schedule(r->submit);
    co_yield();
    return w.result;
}

int co_uring_rw(Uring *r, bool is_write, int fd, IoSpan span, uint64_t offset)
{
    struct iovec iov[IOV_BATCH];

    while (span.len) {
        size_t bytes;
        int n = io_span_to_iov(span, iov, IOV_BATCH, &bytes);
        int ret = co_one(r, (struct io_uring_sqe){
            .opcode = is_write ? IORING_OP_WRITEV : IORING_OP_READV, .fd = fd, .off = offset,
            .addr = (uintptr_t)iov, .len = (uint32_t)n });

        if (ret == -EINTR || ret == -EAGAIN) {
            continue;
        }
        if (ret < 0) {
            return ret;
        }
        if (ret == 0) {
            if (is_write) {
                return -ENOSPC;
            }
            io_span_zero(span);        /* the file got shorter behind our back */
            return 0;
        }
        offset += (uint64_t)ret;
        span = io_span_sub(span, (size_t)ret, span.len - (size_t)ret);
    }
    return 0;
}

int co_uring_sync(Uring *r, int fd)
{
    int ret;

    do {
        ret = co_one(r, (struct io_uring_sqe){ .opcode = IORING_OP_FSYNC, .fd = fd,
                                               .fsync_flags = IORING_FSYNC_DATASYNC });
    } while (ret == -EINTR || ret == -EAGAIN);
    return ret;
}
