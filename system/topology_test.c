/* SPDX-License-Identifier: MIT */
/* -smp and -m: what follows from what is given, and what is refused. */
#include "system/system.h"

#include <string.h>

static const MachineType type = { .name = "test-machine", .machine = "test", .max_cpus = 255,
                                  .default_ram = 128 * MIB };

static const struct {
    const char *smp;
    CpuTopology out;             /* cpus, max_cpus, sockets, dies, clusters, cores, threads */
    const char *error;           /* part of the message */
} cases[] = {
    { "", { 1, 1, 1, 1, 1, 1, 1 } },
    { "4", { 4, 4, 1, 1, 1, 4, 1 } },
    { "4,sockets=2", { 4, 4, 2, 1, 1, 2, 1 } },
    { "2,maxcpus=8,threads=2", { 2, 8, 1, 1, 1, 4, 2 } },
    { "8,cores=2", { 8, 8, 4, 1, 1, 2, 1 } },
    { "8,cores=2,sockets=2,dies=2", { 8, 8, 2, 2, 1, 2, 1 } },
    { "sockets=2,cores=3", { 6, 6, 2, 1, 1, 3, 1 } },
    { "0", .error = "'cpus' must be at least 1" },
    { "4,cores=3", .error = "product of the hierarchy must match maxcpus" },
    { "4,maxcpus=2", .error = "maxcpus must be equal to or greater than smp" },
    { "256", .error = "max CPUs supported by machine 'test' is 255" },
    { "4,clusters=2,cores=2", .error = "clusters not supported" },
    { "4,foo=1", .error = "foo" },
    { "65536", .error = "cpus" },
};

static void test_topology(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(KeyVal) kv = keyval_parse(cases[i].smp, "cpus", 0, NULL);
        g_autoptr(GError) error = NULL;
        CpuTopology out;

        if (topology_parse(kv, &type, &out, &error)) {
            g_assert_null(cases[i].error);
            g_assert_cmpmem(&out, sizeof(out), &cases[i].out, sizeof(out));
        } else {
            g_assert_nonnull(cases[i].error);
            g_assert_nonnull(strstr(error->message, cases[i].error));
        }
    }
}

static const struct {
    const char *m;
    uint64_t bytes;
    const char *error;
} memory_cases[] = {
    { "64", 64 * MIB },
    { "1.5G", 1536 * MIB },
    { "size=2G,slots=4,maxmem=4G", 2 * GIB },
    { "0", .error = "a machine needs memory" },
    { "128T", .error = "64 TiB" },
    { "1G,maxmem=2G", .error = "slots" },
    { "1G,slots=2", .error = "maxmem" },
    { "4G,slots=1,maxmem=1G", .error = "at least the initial memory size" },
    { "abc", .error = "size" },
};

static void test_memory(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(memory_cases); i++) {
        g_autoptr(KeyVal) kv = keyval_parse(memory_cases[i].m, "size", 0, NULL);
        g_autoptr(GError) error = NULL;
        Machine m = { .ram_size = 0 };

        if (memory_parse(kv, &type, &m, &error)) {
            g_assert_null(memory_cases[i].error);
            g_assert_cmpuint(m.ram_size, ==, memory_cases[i].bytes);
        } else {
            g_assert_nonnull(memory_cases[i].error);
            g_assert_nonnull(strstr(error->message, memory_cases[i].error));
        }
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/system/topology", test_topology);
    g_test_add_func("/system/memory", test_memory);
    return g_test_run();
}
