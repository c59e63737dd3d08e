/* SPDX-License-Identifier: MIT */
/*
 * The 8254 in the kernel ("kvm-pit"): KVM answers ports 40h-43h and 61h and ticks IRQ 0 of its own
 * controllers; this device is how the rest of the machine sees, resets, saves and loads it.
 * Its counters are a copy: fetched before they are looked at, and stored by sync(), which the core
 * calls after each change of them.  KVM does not know when the VM stands still: what was fetched when
 * it stopped is put back when it goes on, with times moved accordingly.
 * Not modelled: the speaker's output (KVM has only the port's bits).
 * Locking: machine lock.
 */
#include <time.h>

#include "accel/kvm/irqchip.h"
#include "base/error.h"
#include "hw/timer/i8254_int.h"
#include "vm/vm.h"

typedef struct KvmPit {
    I8254 pit;
    int lost_tick_policy;
    bool standing;                /* the VM is stopped, and the fields are the truth */
} KvmPit;

enum { POLICY_DISCARD, POLICY_DELAY, POLICY_SLEW };
static const char *const policies[] = { "discard", "delay", "slew", NULL };

/* KVM's load times are those of CLOCK_MONOTONIC. */
static int64_t kernel_minus_virtual(const Device *dev)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * NANOSECONDS_PER_SECOND + t.tv_nsec - clock_now(dev->vm->clock);
}

#define CHANNEL_FIELDS(F)                                                                  \
    F(latched_count) F(count_latched) F(status_latched) F(status) F(read_state)            \
    F(write_state) F(write_latch) F(rw_mode) F(mode) F(bcd) F(gate)

static void kvm_pit_fetch(I8254 *s)
{
    struct kvm_pit_state2 state = { 0 };
    int64_t offset = kernel_minus_virtual(&s->isa.dev);

    if (((KvmPit *)s)->standing) {
        return;
    }
    kvm_pit_read(s->isa.dev.vm, &state);
    for (unsigned n = 0; n < ARRAY_LEN(s->channels); n++) {
        const struct kvm_pit_channel_state *k = &state.channels[n];
        Counter *c = &s->channels[n];

#define FETCH(f) c->f = k->f;
        CHANNEL_FIELDS(FETCH)
#undef FETCH
        /* Before the first load KVM says 0, which means the same as everywhere. */
        c->count = k->count ? k->count : 0x10000;
        c->count_load_time = k->count_load_time - offset;
        c->stopped_ticks = -1;
    }
    s->channels[0].irq_disabled = state.flags & KVM_PIT_FLAGS_HPET_LEGACY;
    s->channels[0].next_transition_time = s->channels[0].count_load_time;
}

static void kvm_pit_sync(Device *dev)
{
    I8254 *s = DEVICE_CAST(I8254, dev);
    struct kvm_pit_state2 state = { 0 };
    int64_t offset = kernel_minus_virtual(dev);

    if (DEVICE_CAST(KvmPit, dev)->standing) {
        return;                   /* kvm_pit_state_changed() will */
    }
    for (unsigned n = 0; n < ARRAY_LEN(s->channels); n++) {
        struct kvm_pit_channel_state *k = &state.channels[n];
        const Counter *c = &s->channels[n];

#define STORE(f) k->f = c->f;
        CHANNEL_FIELDS(STORE)
#undef STORE
        k->count = c->count;
        k->count_load_time = c->count_load_time + offset;
    }
    state.flags = s->channels[0].irq_disabled ? KVM_PIT_FLAGS_HPET_LEGACY : 0;
    kvm_pit_write(dev->vm, &state);
}

static void kvm_pit_state_changed(void *opaque, bool running, RunState state)
{
    KvmPit *s = opaque;

    if (running == !s->standing) {
        return;
    }
    if (!running) {
        kvm_pit_fetch(&s->pit);
    }
    s->standing = !running;
    kvm_pit_sync(&s->pit.isa.dev);
}

static bool kvm_pit_realize(Device *dev, GError **error)
{
    KvmPit *s = DEVICE_CAST(KvmPit, dev);

    if (s->lost_tick_policy == POLICY_SLEW) {
        return error_set(error, "kvm-pit: lost_tick_policy=slew is not possible; delay (ticks come "
                         "later) and discard (they are dropped) are");
    }
    if (!kvm_pit_create(dev->vm, s->lost_tick_policy == POLICY_DELAY, error) ||
        !i8254_realize(dev, error)) {
        return false;
    }
    s->standing = true;           /* machines are made before they run */
    vm_add_state_hook(dev->vm, kvm_pit_state_changed, s);
    return true;
}

static void kvm_pit_init(Object *obj)
{
    DEVICE_CAST(I8254, obj)->refresh = kvm_pit_fetch;
}

static void kvm_pit_pre_save(void *obj)
{
    kvm_pit_fetch(obj);
}

static const PropDef kvm_pit_props[] = {
    PROP_ENUM("lost_tick_policy", KvmPit, lost_tick_policy, policies, POLICY_DELAY,
              .help = "what becomes of ticks that the guest had no time for: delay or discard"),
    PROP_END
};
DEVICE_TYPE(kvm_pit, .name = "kvm-pit", .parent = "isa-pit", .size = sizeof(KvmPit),
            .props = kvm_pit_props, .inputs = 1, .set_input = i8254_set_input,
            .init = kvm_pit_init, .realize = kvm_pit_realize,
            .vmstate = VMSTATE("i8254", 3, 2, i8254_fields, .pre_save = kvm_pit_pre_save,
                               .post_load = i8254_post_load),
            .sync = kvm_pit_sync);
