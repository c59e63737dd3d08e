/* SPDX-License-Identifier: MIT */
/*
 * For fuzz targets of devices: the pc board without a CPU that runs, its input, and a main().
 *
 * The board has a disk, a CD, a display, a serial and a parallel port; PCI windows are where the
 * constants say.  fuzz_machine() makes it once a process and resets it each time.
 * Thread rule: one thread, which holds the machine lock.
 */
#ifndef TESTS_FUZZ_FUZZ_MACHINE_H
#define TESTS_FUZZ_FUZZ_MACHINE_H

#include "base/bits.h"
#include "vm/vm.h"

enum { FUZZ_BMDMA = 0xc000, FUZZ_PM_BASE = 0x600, FUZZ_VIRTIO_IO = 0xc100, FUZZ_ROUND = 3000 };
#define FUZZ_LFB 0xe0000000ull
#define FUZZ_VGA_MMIO 0xfebf0000ull
#define FUZZ_VIRTIO 0xfe000000ull     /* BAR 4 of a virtio disk, whose ports are at FUZZ_VIRTIO_IO */
#define FUZZ_AHCI 0xfebe0000ull
#define FUZZ_VIRTIO_MMIO 0xfeb00000ull   /* a virtio disk that no PC has */
/* RAM where a fuzz target keeps what its devices read: lists, queues, descriptors. */
enum { FUZZ_LISTS = 0x100000, FUZZ_LISTS_LEN = 0x20000 };

typedef struct FuzzWindow {
    uint64_t base, len;
} FuzzWindow;

typedef struct FuzzInput {
    const uint8_t *data;
    size_t len;
    Vm *vm;
} FuzzInput;

Vm *fuzz_machine(void);

/* A disk in memory of that node name, and a device; failures are the target's bug. */
struct MemoryDisk *fuzz_add_disk(const char *name, size_t bytes);
void fuzz_add_device(Vm *vm, const char *type, const char *id, const char *bus_name, const char *prop,
                     const char *value);

/* The next bytes as a number, zeroes past the end. */
uint64_t fuzz_take(FuzzInput *in, unsigned bytes);
/* An address in one of N windows. */
uint64_t fuzz_pick(FuzzInput *in, const FuzzWindow *list, unsigned n);
void fuzz_out(FuzzInput *in, uint16_t port, uint32_t value, unsigned size);
uint32_t fuzz_in(FuzzInput *in, uint16_t port, unsigned size);
/* Saves all devices; changes some bytes if DAMAGE; loads.  What was saved well is loaded, unless the error has the
 * text MAY_MISS (not NULL): for states that refer to memory, which a guest overwrites. */
void fuzz_save_and_load(FuzzInput *in, bool damage, const char *may_miss);

typedef int FuzzOne(const uint8_t *data, size_t size);
FuzzOne LLVMFuzzerTestOneInput;
/* Runs ONE over files, or with "--seed N ROUNDS" over random bytes, always the same ones. */
int fuzz_main(int argc, char **argv, FuzzOne *one);

#endif
