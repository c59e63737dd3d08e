/* SPDX-License-Identifier: MIT */
/* HMP: the info commands; texts follow QEMU's, which scripts parse. */
#include "monitor/hmp.h"

#include "base/error.h"
#include "base/trace.h"
#include "vm/accel.h"

#include <inttypes.h>
#include <string.h>

static void info_version(Monitor *mon, const Json *args)
{
    g_autoptr(Json) v = monitor_qmp(mon, "query-version", NULL);
    Json *q = json_lookup(v, "qemu");

    monitor_printf(mon, "%" PRId64 ".%" PRId64 ".%" PRId64 "%s\n", hmp_int(q, "major", 0),
                   hmp_int(q, "minor", 0), hmp_int(q, "micro", 0), json_lookup_string(v, "package"));
}

static void info_status(Monitor *mon, const Json *args)
{
    g_autoptr(Json) s = monitor_qmp(mon, "query-status", NULL);
    const char *status = json_lookup_string(s, "status");

    if (s) {
        bool running = hmp_flag(s, "running");

        monitor_printf(mon, "VM status: %s", running ? "running" : "paused");
        if (!running && strcmp(status, "paused") != 0) {
            monitor_printf(mon, " (%s)", status);
        }
        monitor_puts(mon, "\n");
    }
}

static void info_name(Monitor *mon, const Json *args)
{
    g_autoptr(Json) r = monitor_qmp(mon, "query-name", NULL);

    if (json_has(r, "name")) {
        monitor_printf(mon, "%s\n", json_lookup_string(r, "name"));
    }
}

static void info_uuid(Monitor *mon, const Json *args)
{
    g_autoptr(Json) r = monitor_qmp(mon, "query-uuid", NULL);

    if (r) {
        monitor_printf(mon, "%s\n", json_lookup_string(r, "UUID"));
    }
}

static void info_kvm(Monitor *mon, const Json *args)
{
    g_autoptr(Json) r = monitor_qmp(mon, "query-kvm", NULL);
    g_autoptr(GString) out = g_string_new(NULL);
    Accel *accel = monitor_vm(mon)->accel;

    monitor_printf(mon, "kvm support: %s\n", !hmp_flag(r, "present") ? "not compiled"
                                             : hmp_flag(r, "enabled") ? "enabled" : "disabled");
    if (hmp_flag(r, "enabled") && accel_type(accel)->info) {
        accel_type(accel)->info(accel, out);
        monitor_puts(mon, out->str);
    }
}

static void info_cpus(Monitor *mon, const Json *args)
{
    g_autoptr(Json) list = monitor_qmp(mon, "query-cpus-fast", NULL);
    Cpu *current = monitor_cpu(mon);

    for (size_t i = 0; i < json_list_len(list); i++) {
        Json *cpu = json_list_at(list, i);
        int64_t index = hmp_int(cpu, "cpu-index", 0);

        monitor_printf(mon, "%c CPU #%" PRId64 ": thread_id=%" PRId64 "\n",
                       current && current->index == index ? '*' : ' ', index,
                       hmp_int(cpu, "thread-id", 0));
    }
}

static void info_jit(Monitor *mon, const Json *args)
{
    Accel *accel = monitor_vm(mon)->accel;
    g_autoptr(GString) out = g_string_new(NULL);

    if (!accel || !accel_type(accel)->info || strcmp(accel_type(accel)->accel, "tcg") != 0) {
        monitor_puts(mon, "Error: JIT information is only available with accel=tcg\n");
        return;
    }
    accel_type(accel)->info(accel, out);
    monitor_puts(mon, out->str);
}

static void info_chardev(Monitor *mon, const Json *args)
{
    g_autoptr(Json) list = monitor_qmp(mon, "query-chardev", NULL);

    for (size_t i = 0; i < json_list_len(list); i++) {
        Json *c = json_list_at(list, i);

        monitor_printf(mon, "%s: filename=%s\n", json_lookup_string(c, "label"),
                       json_lookup_string(c, "filename"));
    }
}

static void print_inserted(Monitor *mon, Json *inserted)
{
    Json *cache = json_lookup(inserted, "cache");
    const char *backing = json_lookup_string(inserted, "backing_file");

    if (cache) {
        monitor_printf(mon, "    Cache mode:       %s%s%s\n",
                       hmp_flag(cache, "writeback") ? "writeback" : "writethrough",
                       hmp_flag(cache, "direct") ? ", direct" : "",
                       hmp_flag(cache, "no-flush") ? ", ignore flushes" : "");
    }
    if (backing) {
        monitor_printf(mon, "    Backing file:     %s (chain depth: %" PRId64 ")\n", backing,
                       hmp_int(inserted, "backing_file_depth", 0));
    }
}

static void print_block(Monitor *mon, Json *b)
{
    Json *inserted = json_lookup(b, "inserted");
    const char *qdev = json_lookup_string(b, "qdev"), *name = json_lookup_string(b, "device");

    if (inserted) {
        const char *node = json_lookup_string(inserted, "node-name");

        monitor_printf(mon, "%s%s%s%s: %s (%s%s)\n", name, node && *node ? " (" : "",
                       node ? node : "", node && *node ? ")" : "",
                       json_lookup_string(inserted, "file"), json_lookup_string(inserted, "drv"),
                       hmp_flag(inserted, "ro") ? ", read-only" : "");
    } else {
        monitor_printf(mon, "%s: [not inserted]\n", name);
    }
    if (qdev && *qdev) {
        monitor_printf(mon, "    Attached to:      %s\n", qdev);
    }
    if (hmp_flag(b, "removable")) {
        monitor_printf(mon, "    Removable device: %slocked, tray %s\n",
                       hmp_flag(b, "locked") ? "" : "not ", hmp_flag(b, "tray_open") ? "open" : "closed");
    }
    if (inserted) {
        print_inserted(mon, inserted);
    }
}

static void info_block(Monitor *mon, const Json *args)
{
    g_autoptr(Json) list = monitor_qmp(mon, "query-block", NULL);
    const char *only = json_lookup_string(args, "device");

    for (size_t i = 0; i < json_list_len(list); i++) {
        Json *b = json_list_at(list, i);

        if (!only || strcmp(only, json_lookup_string(b, "device")) == 0) {
            monitor_puts(mon, i && !only ? "\n" : "");
            print_block(mon, b);
        }
    }
}

static void info_mice(Monitor *mon, const Json *args)
{
    g_autoptr(Json) list = monitor_qmp(mon, "query-mice", NULL);

    if (list && !json_list_len(list)) {
        monitor_puts(mon, "No mouse devices connected\n");
    }
    for (size_t i = 0; i < json_list_len(list); i++) {
        Json *m = json_list_at(list, i);

        monitor_printf(mon, "%c Mouse #%" PRId64 ": %s%s\n", hmp_flag(m, "current") ? '*' : ' ',
                       hmp_int(m, "index", 0), json_lookup_string(m, "name"),
                       hmp_flag(m, "absolute") ? " (absolute)" : "");
    }
}

static void info_memory_size(Monitor *mon, const Json *args)
{
    g_autoptr(Json) m = monitor_qmp(mon, "query-memory-size-summary", NULL);

    if (m) {
        monitor_printf(mon, "base memory: %" PRId64 "\n", hmp_int(m, "base-memory", 0));
    }
}

static void info_memdev(Monitor *mon, const Json *args)
{
    g_autoptr(Json) list = monitor_qmp(mon, "query-memdev", NULL);

    for (size_t i = 0; i < json_list_len(list); i++) {
        Json *m = json_list_at(list, i);
        static const char *const flags[] = { "merge", "dump", "prealloc", "share", "reserve" };

        monitor_printf(mon, "memory backend: %s\n  size:  %" PRId64 "\n",
                       json_lookup_string(m, "id"), hmp_int(m, "size", 0));
        for (unsigned j = 0; j < G_N_ELEMENTS(flags); j++) {
            monitor_printf(mon, "  %s: %s\n", flags[j], hmp_flag(m, flags[j]) ? "true" : "false");
        }
        monitor_printf(mon, "  policy: %s\n  host nodes: \n", json_lookup_string(m, "policy"));
    }
    monitor_puts(mon, "\n");
}

static void info_ramblock(Monitor *mon, const Json *args)
{
    monitor_printf(mon, "%24s %8s  %18s %18s %18s\n", "Block Name", "PSize", "Offset", "Used",
                   "Total");
    for (const RamBlock *ram = ram_block_first(); ram; ram = ram->next) {
        monitor_printf(mon, "%24s    4 KiB  0x%016" PRIx64 " 0x%016" PRIx64 " 0x%016" PRIx64 "\n",
                       ram->idstr, ram->ram_addr, ram->size, ram->size);
    }
}

static void info_iothreads(Monitor *mon, const Json *args)
{
    g_autoptr(Json) list = monitor_qmp(mon, "query-iothreads", NULL);

    for (size_t i = 0; i < json_list_len(list); i++) {
        Json *t = json_list_at(list, i);

        monitor_printf(mon, "%s:\n  thread_id=%" PRId64 "\n", json_lookup_string(t, "id"),
                       hmp_int(t, "thread-id", 0));
    }
}

static void print_pci_device(Monitor *mon, int64_t bus, Json *d)
{
    Json *class = json_lookup(d, "class_info"), *id = json_lookup(d, "id");
    Json *regions = json_lookup(d, "regions");

    monitor_printf(mon, "  Bus %2" PRId64 ", device %3" PRId64 ", function %" PRId64 ":\n", bus,
                   hmp_int(d, "slot", 0), hmp_int(d, "function", 0));
    monitor_printf(mon, "    %s: PCI device %04" PRIx64 ":%04" PRIx64 "\n",
                   json_has(class, "desc") ? json_lookup_string(class, "desc") : "Class",
                   hmp_int(id, "vendor", 0), hmp_int(id, "device", 0));
    if (json_has(id, "subsystem-vendor")) {
        monitor_printf(mon, "      PCI subsystem %04" PRIx64 ":%04" PRIx64 "\n",
                       hmp_int(id, "subsystem-vendor", 0), hmp_int(id, "subsystem", 0));
    }
    if (hmp_int(d, "irq_pin", 0)) {
        monitor_printf(mon, "      IRQ %" PRId64 ", pin %c\n", hmp_int(d, "irq", 0),
                       (char)('A' + hmp_int(d, "irq_pin", 0) - 1));
    }
    for (size_t i = 0; i < json_list_len(regions); i++) {
        Json *r = json_list_at(regions, i);
        uint64_t addr = (uint64_t)hmp_int(r, "address", 0), size = (uint64_t)hmp_int(r, "size", 0);
        bool io = strcmp(json_lookup_string(r, "type"), "io") == 0;

        monitor_printf(mon, io ? "      BAR%" PRId64 ": I/O at 0x%04" PRIx64 " [0x%04" PRIx64 "].\n"
                               : "      BAR%" PRId64 ": 32 bit memory at 0x%08" PRIx64 " [0x%08" PRIx64 "].\n",
                       hmp_int(r, "bar", 0), addr, addr + size - 1);
    }
    monitor_printf(mon, "      id \"%s\"\n", json_lookup_string(d, "qdev_id"));
}

static void info_pci(Monitor *mon, const Json *args)
{
    g_autoptr(Json) list = monitor_qmp(mon, "query-pci", NULL);

    for (size_t i = 0; i < json_list_len(list); i++) {
        Json *bus = json_list_at(list, i), *devices = json_lookup(bus, "devices");

        for (size_t j = 0; j < json_list_len(devices); j++) {
            print_pci_device(mon, hmp_int(bus, "bus", 0), json_list_at(devices, j));
        }
    }
}

static void info_hotpluggable_cpus(Monitor *mon, const Json *args)
{
    static const char *const names[] = { "node-id", "socket-id", "die-id", "cluster-id", "core-id",
                                         "thread-id" };
    g_autoptr(Json) list = monitor_qmp(mon, "query-hotpluggable-cpus", NULL);

    monitor_puts(mon, list ? "Hotpluggable CPUs:\n" : "");
    for (size_t i = 0; i < json_list_len(list); i++) {
        Json *row = json_list_at(list, i), *props = json_lookup(row, "props");

        monitor_printf(mon, "  type: \"%s\"\n  vcpus_count: \"%" PRId64 "\"\n",
                       json_lookup_string(row, "type"), hmp_int(row, "vcpus-count", 1));
        if (json_has(row, "qom-path")) {
            monitor_printf(mon, "  qom_path: \"%s\"\n", json_lookup_string(row, "qom-path"));
        }
        monitor_puts(mon, "  CPUInstance Properties:\n");
        for (unsigned k = 0; k < G_N_ELEMENTS(names); k++) {
            if (json_has(props, names[k])) {
                monitor_printf(mon, "    %s: \"%" PRId64 "\"\n", names[k],
                               hmp_int(props, names[k], 0));
            }
        }
    }
}

static void print_event(TraceEvent *event, void *opaque)
{
    monitor_printf(opaque, "%s : state %d\n", event->name, event->enabled);
}

static void info_trace_events(Monitor *mon, const Json *args)
{
    trace_foreach(print_event, mon);
}

static void info_history(Monitor *mon, const Json *args)
{
    GPtrArray *history = monitor_history(mon);

    for (unsigned i = 0; history && i < history->len; i++) {
        monitor_printf(mon, "%u: '%s'\n", i, (char *)history->pdata[i]);
    }
}

/* clang-format off */
const HmpCommand hmp_info_commands[] = {
    { "version", "", NULL, "show the version of QEMU", info_version },
    { "status", "", NULL, "show the current VM status (running|paused)", info_status },
    { "name", "", NULL, "show the current VM name", info_name },
    { "uuid", "", NULL, "show the current VM UUID", info_uuid },
    { "kvm", "", NULL, "show KVM information", info_kvm },
    { "cpus", "", NULL, "show infos for each CPU", info_cpus },
    { "registers", "cpustate_all:-a,vcpu:i?", "[-a|vcpu]", "show the cpu registers (-a: show register info for all cpus; vcpu: specific vCPU to query; show the current CPU's registers if no argument is specified)", hmp_info_registers },
    { "lapic", "apic-id:i?", "[apic-id]", "show local apic state (apic-id: local apic to read, default is which of current CPU)", hmp_info_lapic },
    { "irq", "", NULL, "show the interrupts statistics (if available)", hmp_info_irq },
    { "pic", "", NULL, "show PIC state", hmp_info_pic },
    { "mem", "", NULL, "show the active virtual memory mappings", hmp_info_mem },
    { "tlb", "", NULL, "show virtual to physical memory mappings", hmp_info_tlb },
    { "jit", "", NULL, "show dynamic compiler info", info_jit },
    { "chardev", "", NULL, "show the character devices", info_chardev },
    { "block", "device:s?", "[device]", "show info of one block device or all block devices", info_block },
    { "blockstats", "", NULL, "show block device statistics", hmp_info_blockstats },
    { "block-jobs", "", NULL, "show progress of ongoing block device operations", hmp_info_block_jobs },
    { "hotpluggable-cpus", "", NULL, "Show information about hotpluggable CPUs", info_hotpluggable_cpus },
    { "mice", "", NULL, "show which guest mouse is receiving events", info_mice },
    { "memory_size_summary", "", NULL, "show the amount of initially allocated memory in bytes.", info_memory_size },
    { "memdev", "", NULL, "show memory backends", info_memdev },
    { "ramblock", "", NULL, "Display system ramblock information", info_ramblock },
    { "iothreads", "", NULL, "show iothreads", info_iothreads },
    { "pci", "", NULL, "show PCI info", info_pci },
    { "mtree", "flatview:-f,disabled:-D", "[-f][-D]", "show memory tree (-f: dump flat view for address spaces; -D: dump disabled regions)", hmp_info_mtree },
    { "qtree", "", NULL, "show device tree", hmp_info_qtree },
    { "qom-tree", "path:s?", "[path]", "show QOM composition tree", hmp_info_qom_tree },
    { "trace-events", "", NULL, "show available trace-events & their state", info_trace_events },
    { "history", "", NULL, "show the command line history", info_history },
    { NULL }
};
/* clang-format on */
