/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: one device of the pc board at a time, as a row of a table: where it decodes, and bytes
 * that random ones hardly ever spell.  The first byte of the input picks the row.  Operations: accesses of
 * every width, time, turns of the main loop, state saved and loaded again; with FUZZ_DAMAGE in the
 * environment also state whose bytes were changed on the way.  What a device saved it must take back,
 * unless such state was loaded before: not all of that goes away with a reset.
 *
 * With clang: -fsanitize=fuzzer and without -DFUZZ_MAIN; otherwise see fuzz_main().
 */
#include "tests/fuzz/fuzz_machine.h"

#include <stdlib.h>

#include "base/event_loop.h"
#include "ui/console.h"

enum { WINDOWS = 4 };

typedef struct FuzzDevice {
    const char *name;
    FuzzWindow ports[WINDOWS], memory[WINDOWS];
    const char *values;          /* bytes worth writing */
    unsigned count;
    void (*begin)(FuzzInput *in);    /* what random accesses would hardly ever get right */
} FuzzDevice;

#define VALUES(s) (s), sizeof(s) - 1

/* ---- a virtio disk whose rings hold requests ---- */

enum { RINGS = 0x3000, RING_SIZE = 8, REQUEST = 0x5000 };

static void put(FuzzInput *in, uint64_t addr, uint64_t value, unsigned size)
{
    address_space_store(&in->vm->memory, addr, value, size);
}

/* Two requests in each ring, of three descriptors: available once the driver says so. */
static void put_requests(FuzzInput *in, uint64_t ring, bool packed)
{
    for (unsigned i = 0; i < 6; i++) {
        static const uint32_t len[] = { 16, 512, 1 };
        unsigned part = i % 3, write = part == 2 || (part == 1 && i < 3) ? 2 : 0;
        unsigned flags = write | (part < 2 ? 1 : 0);
        uint64_t at = ring + 16 * i;

        put(in, at, REQUEST + 0x400 * i, 8);
        put(in, at + 8, len[part], 4);
        put(in, at + 12, packed ? i / 3 : flags, 2);
        put(in, at + 14, packed ? flags | 0x80 : i + 1, 2);
    }
    put(in, REQUEST, fuzz_take(in, 1) & 15, 4);
    put(in, REQUEST + 0xc00, fuzz_take(in, 1) & 15, 4);
    for (unsigned i = 0; i < RING_SIZE && !packed; i++) {
        put(in, ring + 0x204 + 2 * i, i & 1 ? 3 : 0, 2);
    }
}

static void begin_virtio(FuzzInput *in)
{
    uint8_t how = fuzz_take(in, 1);
    bool packed = how & 1;

    put(in, FUZZ_VIRTIO + 0x14, 3, 1);
    put(in, FUZZ_VIRTIO + 8, 0, 4);
    put(in, FUZZ_VIRTIO + 0xc, 0x6200 | (how & 2 ? 3u << 28 : 0), 4);
    put(in, FUZZ_VIRTIO + 8, 1, 4);
    put(in, FUZZ_VIRTIO + 0xc, 0x101 | (packed ? 4 : 0), 4);
    put(in, FUZZ_VIRTIO + 0x14, 11, 1);
    for (unsigned n = 0; n < 2; n++) {
        uint64_t ring = RINGS + 0x800 * n;

        put(in, FUZZ_VIRTIO + 0x16, n, 2);
        put(in, FUZZ_VIRTIO + 0x18, RING_SIZE, 2);
        put(in, FUZZ_VIRTIO + 0x20, ring, 4);
        put(in, FUZZ_VIRTIO + 0x28, ring + 0x200, 4);
        put(in, FUZZ_VIRTIO + 0x30, ring + 0x400, 4);
        put(in, FUZZ_VIRTIO + 0x1c, 1, 2);
        put_requests(in, ring, packed);
    }
    put(in, FUZZ_VIRTIO + 0x14, 15, 1);
    put(in, FUZZ_VIRTIO + 0x3000, 0, 2);
}

/* The areas of a legacy ring follow from its start: with 32 descriptors and this alignment as above. */
static void begin_virtio_mmio(FuzzInput *in)
{
    enum { SLOTS = 32 };

    G_STATIC_ASSERT(RINGS % 4096 == 0);
    put(in, FUZZ_VIRTIO_MMIO + 0x28, 4096, 4);
    put(in, FUZZ_VIRTIO_MMIO + 0x70, 3, 4);
    put(in, FUZZ_VIRTIO_MMIO + 0x20, fuzz_take(in, 1) & 1 ? 0x30006200 : 0x6200, 4);
    put(in, FUZZ_VIRTIO_MMIO + 0x38, SLOTS, 4);
    put(in, FUZZ_VIRTIO_MMIO + 0x3c, 0x400, 4);
    put(in, FUZZ_VIRTIO_MMIO + 0x40, RINGS / 4096, 4);
    put_requests(in, RINGS, false);
    put(in, FUZZ_VIRTIO_MMIO + 0x70, 7, 4);
    put(in, FUZZ_VIRTIO_MMIO + 0x50, 0, 4);
}

/* clang-format off */
static const FuzzDevice devices[] = {
    { "i8259",  { { 0x20, 2 }, { 0xa0, 2 }, { 0x4d0, 2 } },
      .values = VALUES("\x11\x20\x04\x01\x0a\x0b\x0c\x68\x48\xa0\xc0\x60\xff") },
    { "i8254",  { { 0x40, 4 }, { 0x61, 1 } },
      .values = VALUES("\x34\x36\x30\x32\x38\x3a\xb6\xc2\xe2\xd2\xff\x35\x01\x00") },
    { "rtc",    { { 0x70, 2 } },
      .values = VALUES("\x0a\x0b\x0c\x26\x2f\x21\x42\x52\x72\x82\xc0\xff\x00\x32\x37") },
    { "i8257",  { { 0x00, 16 }, { 0xc0, 32 }, { 0x80, 16 }, { 0x480, 16 } },
      .values = VALUES("\x46\x4a\x56\x5a\x02\x06\xff\x00\x0f\x04") },
    { "fdc",    { { 0x3f0, 6 }, { 0x3f7, 1 }, { 0x04, 2 }, { 0x0a, 3 } },
      .values = VALUES("\x0c\x1c\x14\x00\xe6\xc5\x46\x4d\x51\x59\x5d\x07\x0f\x08\x4a\x0e\x13\x14\x94\x02") },
    { "i8042",  { { 0x60, 1 }, { 0x64, 1 }, { 0x92, 1 } },
      .values = VALUES("\x20\x60\xd4\xd1\xd2\xd3\xa7\xa8\xff\xf2\xf3\xf4\xeb\xe9\xc8\x64\x50\xed\xf0") },
    { "serial", { { 0x3f8, 8 } }, .values = VALUES("\x83\x03\x01\x07\xc7\x0f\x1f\x10\x0b\x00\xff") },
    { "parallel", { { 0x378, 8 } }, .values = VALUES("\x0c\x0d\x1c\x1d\x08\x2c") },
    { "ide",    { { 0x1f0, 8 }, { 0x170, 8 }, { 0x376, 1 }, { FUZZ_BMDMA, 16 } },
      .values = VALUES("\x20\x24\x30\xc4\xc5\xc6\xc8\xca\xec\xa1\xa0\x25\x35\x06\xe7\x01\x09\x04\xe0\xb0\x08") },
    { "pm",     { { FUZZ_PM_BASE, 64 }, { 0xb100, 16 }, { 0xb2, 2 }, { 0xafe0, 4 } },
      .values = VALUES("\xf0\xf1\x20\x24\x28\x48\x4c\x50\x54\xa1\xff\x01") },
    { "vga",    { { 0x3b0, 48 }, { 0x1ce, 4 } },
      { { 0xa0000, 0x20000 }, { FUZZ_LFB, 0x1000000 }, { FUZZ_VGA_MMIO, 0x1000 } },
      .values = VALUES("\x67\x0e\x06\x40\x20\x10\x05\x41\xc1\x08\x18\x0f\xff") },
    { "hpet",   .memory = { { 0xfed00000, 0x200 } }, .values = VALUES("\x01\x03\x4c\x4e\x04\x08\x40\xff\x00") },
    { "ioapic", { { 0x20, 2 }, { 0x3f8, 8 } }, { { 0xfec00000, 0x50 } },
      .values = VALUES("\x10\x14\x18\x3e\x3f\x80\x00\xff\x30") },
    { "apic",   .memory = { { 0xfee00000, 0x400 } }, .values = VALUES("\xff\x01\x0b\x03\x45\x20\x40\x02\x00") },
    { "fw_cfg", { { 0x510, 12 } }, { { 0x2000, 16 } }, .values = VALUES("\x19\x20\x0a\x18\x02\x04\x00\x10") },
    { "pci",    { { 0xcf8, 8 }, { 0xcf9, 1 } }, { { 0xc0000, 0x40000 } },
      .values = VALUES("\x80\x08\x09\x0b\x10\x59\x72\x60\x04\xff\x07\x4a\x33") },
    { "ahci",   .memory = { { FUZZ_AHCI, 0x200 }, { FUZZ_LISTS, 0x400 }, { FUZZ_AHCI + 0x100, 0x100 } },
      .values = VALUES("\x27\x80\x25\x35\x60\x61\xa0\xec\x17\x16\x01\xff\x10\x00\x05\x03\x2f\x06\x40") },
    { "small",  { { 0x92, 1 }, { 0x441, 3 }, { 0x505, 1 }, { 0xe9, 1 } },
      .values = VALUES("\x00\x02\x0f\x03") },
    { "virtio-blk", { { FUZZ_VIRTIO_IO, 0x60 } },
      { { FUZZ_VIRTIO, 0x40 }, { FUZZ_VIRTIO + 0x3000, 8 }, { RINGS, 0x600 }, { REQUEST, 0x1800 } },
      .values = VALUES("\x00\x01\x02\x03\x04\x07\x08\x0b\x0d\x0f\x10\x30\x50\x80\x81\x82\xff"),
      .begin = begin_virtio },
    { "virtio-mmio", .memory = { { FUZZ_VIRTIO_MMIO, 0x180 }, { FUZZ_VIRTIO_MMIO + 0x50, 4 }, { RINGS, 0x600 },
                                 { REQUEST, 0x1800 } },
      .values = VALUES("\x00\x01\x02\x03\x04\x07\x08\x0b\x0d\x0f\x10\x30\x50\x80\x81\x82\xff"),
      .begin = begin_virtio_mmio },
};
/* clang-format on */

static unsigned windows(const FuzzWindow *list)
{
    unsigned n = 0;

    while (n < WINDOWS && list[n].len) {
        n++;
    }
    return n;
}

static uint64_t value(FuzzInput *in, const FuzzDevice *d, unsigned size)
{
    uint8_t how = fuzz_take(in, 1);

    return how & 1 ? (uint8_t)d->values[(how >> 1) % d->count] : fuzz_take(in, size);
}

static void access_one(FuzzInput *in, const FuzzDevice *d)
{
    uint8_t how = fuzz_take(in, 1);
    unsigned ports = windows(d->ports), memories = windows(d->memory);
    bool memory = !ports || (memories && (how & 0x40));
    unsigned size = how & 0x20 ? 1 : 1u << (how & 7) % (memory ? 4 : 3);
    uint64_t addr = memory ? fuzz_pick(in, d->memory, memories) : fuzz_pick(in, d->ports, ports);
    AddressSpace *as = memory ? &in->vm->memory : &in->vm->io;

    if (how & 0x80) {
        address_space_store(as, addr, value(in, d, size), size);
    } else {
        address_space_load(as, addr, size);
    }
}

/* The same access many times: data ports, FIFOs. */
static void access_many(FuzzInput *in, const FuzzDevice *d)
{
    uint8_t how = fuzz_take(in, 1);
    unsigned ports = windows(d->ports), n = fuzz_take(in, 1) * 2;
    uint64_t port = ports ? fuzz_pick(in, d->ports, ports) : 0x80;

    for (unsigned i = 0; i < n; i++) {
        if (how & 1) {
            fuzz_out(in, port, i, how & 2 ? 2 : 1);
        } else {
            fuzz_in(in, port, how & 2 ? 2 : 1);
        }
    }
}

static void pass_time(FuzzInput *in, const FuzzDevice *d)
{
    uint8_t how = fuzz_take(in, 1);

    clock_fake_advance(in->vm->clock, (int64_t)fuzz_take(in, 2) << (how & 15));
}

static void turn_loop(FuzzInput *in, const FuzzDevice *d)
{
    unsigned n = fuzz_take(in, 1) & 7;

    while (n-- > 0 && event_loop_iterate(event_loop_main(), false)) {
    }
    console_refresh(console_at(0));
}

static void stop_and_go(FuzzInput *in, const FuzzDevice *d)
{
    vm_stop(in->vm, RUN_STATE_PAUSED);
    vm_start(in->vm);
}

static void save_and_load(FuzzInput *in, const FuzzDevice *d)
{
    fuzz_save_and_load(in, false, NULL);
}

static void load_damaged(FuzzInput *in, const FuzzDevice *d)
{
    fuzz_save_and_load(in, getenv("FUZZ_DAMAGE") != NULL, NULL);
}

/* clang-format off */
static void (*const ops[32])(FuzzInput *in, const FuzzDevice *d) = {
    access_one, access_one, access_one, access_one, access_one, access_one, access_one, access_one,
    access_one, access_one, access_one, access_one, access_one, access_one, access_one, access_one,
    access_one, access_one, access_one, access_one, access_many, access_many, pass_time, pass_time,
    pass_time, turn_loop, turn_loop, turn_loop, stop_and_go, save_and_load, save_and_load, load_damaged,
};
/* clang-format on */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzInput in = { data, size, fuzz_machine() };
    const FuzzDevice *d = &devices[fuzz_take(&in, 1) % ARRAY_LEN(devices)];

    if (d->begin) {
        d->begin(&in);
    }
    while (in.len) {
        ops[fuzz_take(&in, 1) % ARRAY_LEN(ops)](&in, d);
    }
    return 0;
}

#ifdef FUZZ_MAIN
int main(int argc, char **argv)
{
    return fuzz_main(argc, argv, LLVMFuzzerTestOneInput);
}
#endif
