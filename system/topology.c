/* SPDX-License-Identifier: MIT */
/* -smp and -m: numbers, and the rules they must satisfy together. */
#include "system/system.h"

#include "base/error.h"
#include "base/parse.h"

typedef struct Topo {
    uint64_t cpus, maxcpus, sockets, dies, clusters, cores, threads;
} Topo;

/* What is left out follows from the rest: cores first, then sockets, then threads. */
static void fill_in(Topo *t)
{
    t->dies = t->dies ? t->dies : 1;
    t->clusters = t->clusters ? t->clusters : 1;
    if (!t->cpus && !t->maxcpus) {
        t->sockets = t->sockets ? t->sockets : 1;
        t->cores = t->cores ? t->cores : 1;
        t->threads = t->threads ? t->threads : 1;
    } else {
        t->maxcpus = t->maxcpus ? t->maxcpus : t->cpus;
        if (!t->cores) {
            t->sockets = t->sockets ? t->sockets : 1;
            t->threads = t->threads ? t->threads : 1;
            t->cores = t->maxcpus / (t->sockets * t->dies * t->clusters * t->threads);
        } else if (!t->sockets) {
            t->threads = t->threads ? t->threads : 1;
            t->sockets = t->maxcpus / (t->dies * t->clusters * t->cores * t->threads);
        }
        if (!t->threads) {
            t->threads = t->maxcpus / (t->sockets * t->dies * t->clusters * t->cores);
        }
    }
    t->maxcpus = t->maxcpus ? t->maxcpus
                            : t->sockets * t->dies * t->clusters * t->cores * t->threads;
    t->cpus = t->cpus ? t->cpus : t->maxcpus;
}

static bool topology_check(const Topo *t, const MachineType *type, GError **error)
{
    uint64_t product = t->sockets * t->dies * t->clusters * t->cores * t->threads;
    unsigned limit = type->max_cpus ? type->max_cpus : 1;
    g_autofree char *text = g_strdup_printf(
        "sockets (%" G_GUINT64_FORMAT ") * dies (%" G_GUINT64_FORMAT ") * cores (%" G_GUINT64_FORMAT
        ") * threads (%" G_GUINT64_FORMAT ")", t->sockets, t->dies, t->cores, t->threads);

    if (t->clusters > 1) {
        return error_set(error, "clusters not supported by this machine's CPU topology");
    }
    if (product != t->maxcpus) {
        return error_set(error, "Invalid CPU topology: product of the hierarchy must match maxcpus: "
                                "%s != maxcpus (%" G_GUINT64_FORMAT ")", text, t->maxcpus);
    }
    if (t->maxcpus < t->cpus) {
        return error_set(error, "Invalid CPU topology: maxcpus must be equal to or greater than smp: "
                                "%s == maxcpus (%" G_GUINT64_FORMAT ") < smp_cpus (%" G_GUINT64_FORMAT
                                ")", text, t->maxcpus, t->cpus);
    }
    if (t->maxcpus > limit) {
        return error_set(error, "Invalid SMP CPUs %" G_GUINT64_FORMAT ". The max CPUs supported by "
                                "machine '%s' is %u", t->maxcpus, type->machine, limit);
    }
    return true;
}

bool topology_parse(KeyVal *smp, const MachineType *type, CpuTopology *out, GError **error)
{
    Topo t = { 0 };
    const struct {
        const char *key;
        uint64_t *value;
    } keys[] = {
        { "cpus", &t.cpus },         { "maxcpus", &t.maxcpus }, { "sockets", &t.sockets },
        { "dies", &t.dies },         { "clusters", &t.clusters }, { "cores", &t.cores },
        { "threads", &t.threads },
    };

    for (unsigned i = 0; smp && i < G_N_ELEMENTS(keys); i++) {
        if (!keyval_get_uint(smp, keys[i].key, 0, 65535, keys[i].value, error)) {
            return false;
        }
        if (keyval_has(smp, keys[i].key) && !*keys[i].value) {
            return error_set(error, "Invalid CPU topology: '%s' must be at least 1; leave it out "
                                    "for the default", keys[i].key);
        }
    }
    if (smp && !keyval_check_used(smp, "-smp", error)) {
        return false;
    }
    if (!smp || !keyval_count(smp)) {
        t.cpus = 1;
    }
    fill_in(&t);
    if (!topology_check(&t, type, error)) {
        return false;
    }
    *out = (CpuTopology){
        .cpus = (unsigned)t.cpus, .max_cpus = (unsigned)t.maxcpus,
        .sockets = (unsigned)t.sockets, .dies = (unsigned)t.dies,
        .clusters = (unsigned)t.clusters, .cores = (unsigned)t.cores,
        .threads = (unsigned)t.threads,
    };
    return true;
}

/* A number without a suffix is in MiB for size=, in bytes for maxmem= (as everywhere else). */
bool memory_parse(KeyVal *memory, const MachineType *type, Machine *machine, GError **error)
{
    const char *size = memory ? keyval_get(memory, "size") : NULL;
    uint64_t bytes = type->default_ram, slots = 0, maxmem = 0;

    if (size && !parse_size("-m: size", size, MIB, &bytes, error)) {
        return false;
    }
    if (size && !bytes) {
        return error_set(error, "-m 0: a machine needs memory; give a size such as -m 1G, or leave "
                                "-m out for %" G_GUINT64_FORMAT " MiB",
                         (guint64)(type->default_ram / MIB));
    }
    if (bytes > 1ull << 46) {
        return error_set(error, "-m %s: at most 64 TiB can be addressed", size);
    }
    bytes = align_up(bytes, 8192);
    if (memory && (!keyval_get_size(memory, "maxmem", 0, &maxmem, error) ||
                   !keyval_get_uint(memory, "slots", 0, 256, &slots, error) ||
                   !keyval_check_used(memory, "-m", error))) {
        return false;
    }
    if (slots && !maxmem) {
        return error_set(error, "invalid -m option value: missing 'maxmem' option");
    }
    if (maxmem && maxmem < bytes) {
        return error_set(error, "invalid value of maxmem: maximum memory size (0x%" G_GINT64_MODIFIER
                                "x) must be at least the initial memory size (0x%" G_GINT64_MODIFIER
                                "x)", maxmem, bytes);
    }
    if (maxmem > bytes && !slots) {
        return error_set(error, "invalid -m option value: memory slots were not specified, use "
                                "slots=N with maxmem=");
    }
    machine->ram_size = bytes;
    machine->max_ram_size = maxmem ? maxmem : bytes;
    machine->ram_slots = (unsigned)slots;
    return true;
}
