/* SPDX-License-Identifier: MIT */
/*
 * Guest memory for KVM: a slot for each stretch of RAM or ROM in the flat map.
 *
 * At the end of each change of the map the wanted slots are computed anew and compared with those
 * that exist; only differences reach KVM.  Stretches are cut at 1 MiB, so that the chipset's
 * shadow RAM switches never touch the slot of main memory.  Parts that are not whole pages have
 * no slot: they are reached as MMIO.  While slots are taken away and put back no vCPU is in KVM_RUN.
 * Locking: machine lock.
 */
#include <errno.h>
#include <sys/ioctl.h>

#include "accel/kvm/kvm_int.h"
#include "accel/trace.h"
#include "base/log.h"

#define LOW_MEMORY_END 0x100000ull

static bool slot_apply(KvmAccel *kvm, const KvmSlot *s, bool present)
{
    struct kvm_userspace_memory_region r = {
        .slot = s->id, .flags = s->flags, .guest_phys_addr = s->gpa,
        .memory_size = present ? s->size : 0, .userspace_addr = (uintptr_t)s->host,
    };

    trace_kvm_set_user_memory(s->id, s->flags, s->gpa, r.memory_size);
    if (ioctl(kvm->vm_fd, KVM_SET_USER_MEMORY_REGION, &r) < 0) {
        error_report("KVM refused %s memory slot %u (0x%" PRIx64 " bytes at 0x%" PRIx64 "): %s",
                     present ? "to set" : "to drop", s->id, s->size, s->gpa, g_strerror(errno));
        return false;
    }
    return true;
}

/* ---- the gate ---- */

void kvm_gate_enter(KvmCpu *v)
{
    KvmAccel *kvm = v->kvm;

    __atomic_store_n(&v->inside, 1, __ATOMIC_SEQ_CST);
    while (G_UNLIKELY(__atomic_load_n(&kvm->gate_closed, __ATOMIC_SEQ_CST))) {
        kvm_gate_leave(v);
        mutex_lock(&kvm->gate_lock);
        while (kvm->gate_closed) {
            cond_wait(&kvm->gate_cond, &kvm->gate_lock);
        }
        mutex_unlock(&kvm->gate_lock);
        __atomic_store_n(&v->inside, 1, __ATOMIC_SEQ_CST);
    }
}

void kvm_gate_leave(KvmCpu *v)
{
    KvmAccel *kvm = v->kvm;

    __atomic_store_n(&v->inside, 0, __ATOMIC_SEQ_CST);
    if (G_UNLIKELY(__atomic_load_n(&kvm->gate_closed, __ATOMIC_SEQ_CST))) {
        mutex_lock(&kvm->gate_lock);
        cond_broadcast(&kvm->gate_cond);
        mutex_unlock(&kvm->gate_lock);
    }
}

/* Nobody is inside when this returns.  A vCPU that changes the map is outside itself. */
static void gate_close(KvmAccel *kvm)
{
    GPtrArray *cpus = kvm->accel.vm->cpus;

    mutex_lock(&kvm->gate_lock);
    __atomic_store_n(&kvm->gate_closed, 1, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < cpus->len; i++) {
        KvmCpu *v = kvm_cpu(cpus->pdata[i]);

        while (v && __atomic_load_n(&v->inside, __ATOMIC_SEQ_CST)) {
            kvm_cpu_kick(v->cpu);
            cond_wait(&kvm->gate_cond, &kvm->gate_lock);
        }
    }
    mutex_unlock(&kvm->gate_lock);
}

static void gate_open(KvmAccel *kvm)
{
    mutex_lock(&kvm->gate_lock);
    __atomic_store_n(&kvm->gate_closed, 0, __ATOMIC_SEQ_CST);
    cond_broadcast(&kvm->gate_cond);
    mutex_unlock(&kvm->gate_lock);
}

/* ---- dirty log ---- */

static void slot_collect_dirty(KvmAccel *kvm, const KvmSlot *s)
{
    uint64_t pages = s->size >> GUEST_PAGE_BITS;
    g_autofree uint64_t *bits = g_new0(uint64_t, (pages + 63) / 64);
    struct kvm_dirty_log log = { .slot = s->id, .dirty_bitmap = bits };

    if (ioctl(kvm->vm_fd, KVM_GET_DIRTY_LOG, &log) < 0) {
        memory_mark_dirty(s->mr, s->mr_offset, s->size);      /* unknown: all of it */
        return;
    }
    for (uint64_t w = 0; w < (pages + 63) / 64; w++) {
        for (uint64_t left = bits[w]; left; left &= left - 1) {
            uint64_t page = w * 64 + __builtin_ctzll(left);

            memory_mark_dirty(s->mr, s->mr_offset + (page << GUEST_PAGE_BITS), GUEST_PAGE_SIZE);
        }
    }
}

static void memory_log_sync(MemoryListener *l, const FlatRange *range)
{
    KvmAccel *kvm = l->opaque;

    for (unsigned i = 0; i < kvm->slots->len; i++) {
        const KvmSlot *s = &g_array_index(kvm->slots, KvmSlot, i);

        if ((s->flags & KVM_MEM_LOG_DIRTY_PAGES) && s->mr == range->mr &&
            s->gpa <= range->last && s->gpa + s->size > range->start) {
            slot_collect_dirty(kvm, s);
        }
    }
}

/* ---- the map to slots ---- */

static void want(GArray *wanted, const FlatRange *r, gpa_t start, gpa_t end, uint32_t flags)
{
    uint8_t *host = memory_region_ram_ptr(r->mr);
    uint64_t offset;
    KvmSlot s;

    start = align_up(start, GUEST_PAGE_SIZE);
    end = align_down(end, GUEST_PAGE_SIZE);
    if (start >= end) {
        return;
    }
    offset = r->offset + (start - r->start);
    s = (KvmSlot){ .flags = flags, .gpa = start, .size = end - start, .host = host + offset,
                   .mr = r->mr, .mr_offset = offset };
    if (!((uintptr_t)s.host & (GUEST_PAGE_SIZE - 1))) {
        g_array_append_val(wanted, s);
    }
}

static GArray *wanted_slots(AddressSpace *as)
{
    GArray *wanted = g_array_new(false, false, sizeof(KvmSlot));
    const FlatMap *map;

    RCU_READ_SCOPE();
    map = rcu_get(&as->map);
    for (unsigned i = 0; i < map->count; i++) {
        const FlatRange *r = &map->ranges[i];
        bool rom = r->readonly || r->mr->kind == REGION_ROM || r->mr->kind == REGION_ROM_DEVICE;
        uint32_t flags = (rom ? KVM_MEM_READONLY : 0) |
                         (r->dirty_clients ? KVM_MEM_LOG_DIRTY_PAGES : 0);

        if (!r->mr->ram || (r->mr->kind == REGION_ROM_DEVICE && !r->rom_mode)) {
            continue;
        }
        if (r->start < LOW_MEMORY_END && r->last >= LOW_MEMORY_END) {
            want(wanted, r, r->start, LOW_MEMORY_END, flags);
            want(wanted, r, LOW_MEMORY_END, r->last + 1, flags);
        } else {
            want(wanted, r, r->start, r->last + 1, flags);
        }
    }
    return wanted;
}

static bool slot_same(const KvmSlot *a, const KvmSlot *b)
{
    return a->gpa == b->gpa && a->size == b->size && a->host == b->host && a->mr == b->mr &&
           !((a->flags ^ b->flags) & KVM_MEM_READONLY);
}

static unsigned free_slot_id(const KvmAccel *kvm)
{
    for (unsigned id = 0;; id++) {
        bool used = false;

        for (unsigned i = 0; i < kvm->slots->len; i++) {
            used |= g_array_index(kvm->slots, KvmSlot, i).id == id;
        }
        if (!used) {
            return id;
        }
    }
}

/* Keeps a wanted slot that exists (with new flags); its row in WANTED is then taken out. */
static bool keep(KvmAccel *kvm, KvmSlot *s, GArray *wanted)
{
    for (unsigned i = 0; i < wanted->len; i++) {
        const KvmSlot *w = &g_array_index(wanted, KvmSlot, i);

        if (slot_same(s, w)) {
            if (s->flags != w->flags) {
                if (s->flags & KVM_MEM_LOG_DIRTY_PAGES) {
                    slot_collect_dirty(kvm, s);
                }
                s->flags = w->flags;
                slot_apply(kvm, s, true);
            }
            g_array_remove_index_fast(wanted, i);
            return true;
        }
    }
    return false;
}

static void memory_commit(MemoryListener *l)
{
    KvmAccel *kvm = l->opaque;
    GArray *wanted = wanted_slots(&kvm->accel.vm->memory);
    bool closed = false;

    for (unsigned i = 0; i < kvm->slots->len;) {
        KvmSlot *s = &g_array_index(kvm->slots, KvmSlot, i);

        if (keep(kvm, s, wanted)) {
            i++;
            continue;
        }
        if (!closed) {
            gate_close(kvm);
            closed = true;
        }
        if (s->flags & KVM_MEM_LOG_DIRTY_PAGES) {
            slot_collect_dirty(kvm, s);
        }
        slot_apply(kvm, s, false);
        g_array_remove_index_fast(kvm->slots, i);
    }
    for (unsigned i = 0; i < wanted->len; i++) {
        KvmSlot s = g_array_index(wanted, KvmSlot, i);

        s.id = free_slot_id(kvm);
        if (s.id < kvm->slot_max && slot_apply(kvm, &s, true)) {
            g_array_append_val(kvm->slots, s);
        }
    }
    g_array_free(wanted, true);
    if (closed) {
        gate_open(kvm);
    }
}

void kvm_memory_clear(KvmAccel *kvm)
{
    memory_listener_remove(&kvm->accel.vm->memory, &kvm->listener);
    g_clear_pointer(&kvm->slots, g_array_unref);
    mutex_clear(&kvm->gate_lock);
    cond_clear(&kvm->gate_cond);
}

void kvm_memory_init(KvmAccel *kvm, Vm *vm)
{
    mutex_init(&kvm->gate_lock, "kvm gate", LOCK_RANK_LEAF);
    cond_init(&kvm->gate_cond);
    kvm->slots = g_array_new(false, false, sizeof(KvmSlot));
    kvm->listener = (MemoryListener){ .commit = memory_commit, .log_sync = memory_log_sync,
                                      .opaque = kvm };
    memory_listener_add(&vm->memory, &kvm->listener);
    memory_commit(&kvm->listener);
}
