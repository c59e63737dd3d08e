/* SPDX-License-Identifier: MIT */
/*
 * Machine types: the boards.  A row of MACHINE_TYPE() is what `-machine NAME` finds.
 * Versioned names ("pc-i440fx-7.2") are rows; aliases ("pc") a field of the newest.
 * Thread rule: main loop.
 */
#ifndef VM_MACHINE_H
#define VM_MACHINE_H

#include "vm/vm.h"

typedef struct MachineType MachineType;

typedef struct CpuTopology {
    unsigned cpus, max_cpus;
    unsigned sockets, dies, clusters, cores, threads;   /* product = max_cpus */
} CpuTopology;

struct Machine {
    Object obj;
    Vm *vm;
    /* Settled before init: */
    CpuTopology smp;
    uint64_t ram_size;        /* bytes */
    uint64_t max_ram_size;
    unsigned ram_slots;
    char *cpu_type;           /* text of -cpu: "qemu64,+avx2" */
    char *kernel, *initrd, *append, *dtb, *firmware;
    char *boot_order, *boot_once;    /* "cad"; NULL: the machine's default */
    bool boot_menu, boot_menu_set, boot_strict;
    int boot_splash_time, boot_reboot_timeout;   /* ms; -1 unset */
    char *boot_splash;
    char *rtc_base, *rtc_clock;      /* of -rtc; NULL: utc, host */
    bool rtc_slew;            /* driftfix=slew */
    bool default_devices;     /* false after -nodefaults */
    bool no_serial_ports;     /* set by build(): the board has none for -serial */
    /* Common -machine properties. */
    bool usb, graphics, dump_guest_core, mem_merge, suppress_vmdesc;
    char *memory_backend;     /* id or path; a path once the RAM is there */
    char *mem_path;           /* -mem-path, -mem-prealloc: of the default RAM */
    bool mem_prealloc;
    MemoryRegion *ram;        /* all of it; machine_create_ram() */
    Bus *main_bus;            /* the default place of -device */
    GArray *done_hooks;
};

struct MachineType {
    OBJECT_TYPE_FIELDS
    const char *machine;      /* "pc-i440fx-7.2"; the type is "<machine>-machine" */
    const char *alias;        /* "pc" */
    bool is_default;
    bool deprecated;
    unsigned max_cpus;
    uint64_t default_ram;     /* bytes */
    const char *default_ram_id;      /* "pc.ram" */
    const char *default_cpu;         /* "qemu64" */
    const char *default_boot_order;  /* "cad" */
    const char *default_display;     /* "std" */
    bool no_floppy, no_cdrom, no_parallel, no_sdcard;
    unsigned units_per_default_bus;
    bool numa_supported, hotpluggable_cpus;
    const GlobalProp *compat;        /* of older versions; ends with { NULL } */
    bool (*build)(Machine *machine, GError **error);   /* makes the board */
};

#define MACHINE_TYPE(id, ...)                                                              \
    static const MachineType id##_type = { __VA_ARGS__ };                                  \
    TYPE_ROW(id, &id##_type, "machine")

static inline const MachineType *machine_type(const Machine *m)
{
    return (const MachineType *)(const void *)m->obj.type;
}

/* By machine name or alias; NULL with an error that lists close names. */
const MachineType *machine_find(const char *name, GError **error);
const MachineType *machine_default(void);
/* machine->ram: -machine memory-backend=, or else a new one named default_ram_id.  For boards that
 * have RAM. */
bool machine_create_ram(Machine *machine, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Called once all devices are there and before the first reset (ACPI tables, fw_cfg files). */
void machine_add_done_hook(Machine *machine, void (*fn)(void *opaque), void *opaque);
void machine_done(Machine *machine);

#endif
