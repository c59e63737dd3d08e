/* SPDX-License-Identifier: MIT */
/* CPU models and CPUID; expected values were read from QEMU 7.2's guests (TCG). */
#include "target-x86/cpuid_int.h"
#include "target-x86/msr.h"

static X86Cpu *model_cpu(const char *model, const X86Topology *topology)
{
    X86Cpu *cpu = x86_cpu_new();
    GError *error = NULL;

    g_assert_true(x86_cpu_model_apply(cpu, model, &error));
    x86_cpuid_table(cpu)->check = false;
    g_assert_true(x86_cpu_model_finish(cpu, "TCG", NULL, &error));
    if (topology) {
        x86_cpuid_set_topology(cpu, topology);
    }
    return cpu;
}

static void check_leaf(X86Cpu *cpu, uint32_t leaf, uint32_t subleaf, uint32_t a, uint32_t b,
                       uint32_t c, uint32_t d)
{
    uint32_t out[4];

    x86_cpuid(cpu, leaf, subleaf, out);
    g_test_message("leaf 0x%x.%u", leaf, subleaf);
    g_assert_cmphex(out[0], ==, a);
    g_assert_cmphex(out[1], ==, b);
    g_assert_cmphex(out[2], ==, c);
    g_assert_cmphex(out[3], ==, d);
}

static void test_qemu64(void)
{
    X86Cpu *cpu = model_cpu("qemu64", NULL);

    check_leaf(cpu, 0, 0, 0xd, 0x68747541, 0x444d4163, 0x69746e65);
    check_leaf(cpu, 1, 0, 0x60fb1, 0x800, 0x80002001, 0x078bfbfd);
    check_leaf(cpu, 0x40000000, 0, 0x40000001, 0x54474354, 0x43544743, 0x47435447);
    check_leaf(cpu, 0x80000001, 0, 0x60fb1, 0, 1, 0x2193fbfd);
    check_leaf(cpu, 0x80000002, 0, 0x554d4551, 0x72695620, 0x6c617574, 0x55504320);
    check_leaf(cpu, 0x80000006, 0, 0, 0x42004200, 0x02008140, 0x00808140);
    check_leaf(cpu, 0x80000008, 0, 0x3028, 0, 0, 0);
    x86_cpu_free(cpu);
}

static void test_plain_name_is_version_one(void)
{
    X86Cpu *a = model_cpu("Haswell", NULL), *b = model_cpu("Haswell-v1", NULL);
    X86Cpu *c = model_cpu("Haswell-noTSX", NULL);

    g_assert_cmpmem(a->features, sizeof(a->features), b->features, sizeof(b->features));
    g_assert_false(x86_cpu_has_feature_name(c, "rtm"));
    x86_cpu_free(a);
    x86_cpu_free(b);
    x86_cpu_free(c);
}

static void test_topology_of_dies(void)
{
    X86Cpu *cpu = model_cpu("Skylake-Server", &(X86Topology){ 2, 2, 2 });

    check_leaf(cpu, 0xb, 0, 1, 2, 0x100, 0);
    check_leaf(cpu, 0xb, 1, 3, 4, 0x201, 0);
    check_leaf(cpu, 0x1f, 1, 2, 4, 0x201, 0);
    check_leaf(cpu, 0x1f, 2, 3, 8, 0x502, 0);
    check_leaf(cpu, 4, 2, 0x04004143, 0x03c0003f, 0xfff, 1);
    check_leaf(cpu, 4, 3, 0x0400c163, 0x03c0003f, 0x3fff, 6);
    g_assert_cmphex(cpu->cpuid_level, ==, 0x1f);
    x86_cpu_free(cpu);
}

static void test_epyc_caches(void)
{
    X86Cpu *cpu = model_cpu("EPYC", &(X86Topology){ 2, 3, 1 });

    check_leaf(cpu, 4, 0, 0, 0, 0, 0);
    check_leaf(cpu, 0x8000001d, 0, 0x4121, 0x01c0003f, 0x3f, 1);
    check_leaf(cpu, 0x8000001d, 2, 0x4043, 0x01c0003f, 0x3ff, 0);
    check_leaf(cpu, 0x8000001d, 3, 0x14163, 0x03c0003f, 0x1fff, 6);
    check_leaf(cpu, 0x8000001e, 0, 0, 0x100, 0, 0);
    check_leaf(cpu, 0x80000008, 0, 0x3028, 0, 0x3005, 0);
    x86_cpu_free(cpu);
}

/* Linux divides by what leaf 8000001EH says as soon as topoext is there. */
static void test_topoext_has_its_leaves(void)
{
    X86Cpu *max = model_cpu("max", NULL), *cpu = x86_cpu_new();

    g_assert_false(x86_cpu_has_feature_name(max, "topoext"));
    g_assert_true(x86_cpu_model_apply(cpu, "qemu64", NULL));
    g_assert_true(x86_cpu_set_feature(cpu, "topoext", true, NULL));
    g_assert_true(x86_cpu_model_finish(cpu, "TCG", NULL, NULL));
    g_assert_cmphex(cpu->cpuid_xlevel, ==, 0x8000001e);
    x86_cpu_free(max);
    x86_cpu_free(cpu);
}

/* What makes Linux do without PTI, retpolines and buffer clearing: IA32_ARCH_CAPABILITIES says
 * RDCL_NO, IBRS_ALL and the other NO bits, and IBRS itself can be switched on. */
static void test_max_needs_no_mitigations(void)
{
    static const char *const has[] = { "arch-capabilities", "spec-ctrl", "md-clear", "rdctl-no",
                                       "ibrs-all", "skip-l1dfl-vmentry", "ssb-no", "mds-no",
                                       "pschange-mc-no", "taa-no", "erms", "fsrm", "fsgsbase" };
    X86Cpu *max = model_cpu("max", NULL), *plain = model_cpu("qemu64", NULL);
    uint64_t value;

    for (unsigned i = 0; i < ARRAY_LEN(has); i++) {
        g_test_message("%s", has[i]);
        g_assert_true(x86_cpu_has_feature_name(max, has[i]));
    }
    g_assert_true(x86_msr_read(max, MSR_ARCH_CAPABILITIES, &value));
    g_assert_cmphex(value & 0x17b, ==, 0x17b);
    g_assert_cmphex(value & BIT(2), ==, 0);               /* RSBA: returns are not predicted oddly */
    g_assert_true(x86_msr_write(max, MSR_SPEC_CTRL, 1));
    g_assert_true(x86_msr_read(max, MSR_SPEC_CTRL, &value));
    g_assert_cmphex(value, ==, 1);
    g_assert_false(x86_msr_read(plain, MSR_ARCH_CAPABILITIES, &value));
    g_assert_false(x86_msr_read(plain, MSR_SPEC_CTRL, &value));
    x86_cpu_free(max);
    x86_cpu_free(plain);
}

/* What goes when a feature of a CPU that has everything is off: DEPENDENTS are gone, and nothing else. */
static void test_features_need_others(void)
{
    static const struct { const char *off, *dependents; } rows[] = {
        { "avx", "avx2 fma f16c fma4 xop vaes vpclmulqdq avx-vnni avx512f avx512dq avx512cd avx512bw avx512vl avx512ifma "
                 "avx512pf avx512er avx512vnni avx512-vpopcntdq avx512-4vnniw avx512-4fmaps avx512-vp2intersect avx512-bf16 "
                 "avx512vbmi avx512vbmi2 avx512bitalg avx512-fp16" },
        { "avx512f", "avx512dq avx512cd avx512bw avx512vl avx512ifma avx512pf avx512er avx512vnni avx512-vpopcntdq "
                     "avx512-4vnniw avx512-4fmaps avx512-vp2intersect avx512-bf16 avx512vbmi avx512vbmi2 avx512bitalg "
                     "avx512-fp16" },
        { "avx512bw", "avx512vbmi avx512vbmi2 avx512bitalg avx512-fp16" },
        { "sse4.1", "sse4.2" },
        { "sse4.2", "" },
        { "f16c", "" },
        { "pae", "lm nx la57 pcid pdpe1gb fsgsbase cx16 pks" },
        { "apic", "x2apic tsc-deadline" },
    };

    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        uint32_t all[FEAT_WORDS], expected[FEAT_WORDS], words[FEAT_WORDS];
        int off = x86_feature_find(rows[i].off);
        g_auto(GStrv) gone = g_strsplit(rows[i].dependents, " ", -1);

        memset(all, 0xff, sizeof(all));
        x86_features_drop_baseless(all);
        g_assert_cmphex(all[FEAT_1_EDX], ==, UINT32_MAX);
        all[off / 32] &= ~BIT(off % 32);
        memcpy(expected, all, sizeof(all));
        for (unsigned n = 0; gone[n] && *gone[n]; n++) {
            int f = x86_feature_find(gone[n]);

            expected[f / 32] &= ~BIT(f % 32);
        }
        memcpy(words, all, sizeof(all));
        x86_features_drop_baseless(words);
        g_test_message("without %s", rows[i].off);
        for (unsigned w = 0; w < FEAT_WORDS; w++) {
            g_assert_cmphex(words[w], ==, expected[w]);
        }
    }
}

/* A second pass finds nothing: the rules are in order.  What went has a reason, what stayed has none. */
static void test_dependencies_are_in_order(void)
{
    g_autoptr(GRand) random = g_rand_new_with_seed(512);

    for (unsigned round = 0; round < 2000; round++) {
        uint32_t before[FEAT_WORDS], words[FEAT_WORDS], again[FEAT_WORDS];

        for (unsigned w = 0; w < FEAT_WORDS; w++) {
            before[w] = words[w] = g_rand_int(random) | g_rand_int(random) | g_rand_int(random) | g_rand_int(random);
        }
        x86_features_drop_baseless(words);
        memcpy(again, words, sizeof(words));
        x86_features_drop_baseless(again);
        g_assert_cmpmem(again, sizeof(again), words, sizeof(words));
        for (unsigned f = 0; f < FEAT_WORDS * 32; f++) {
            bool had = before[f / 32] >> (f % 32) & 1, has = words[f / 32] >> (f % 32) & 1;

            if (x86_feature_name(f) && had) {
                g_assert_cmpint(has, ==, x86_feature_ground(f, words) == NULL);
            }
        }
    }
}

/* The models are real CPUs: none of them has a feature without its ground. */
static void test_models_are_consistent(void)
{
    uint32_t can[FEAT_WORDS], wanted[FEAT_WORDS];

    memset(can, 0xff, sizeof(can));
    for (unsigned n = 0; x86_cpu_model_name(n); n++) {
        X86Cpu *cpu = x86_cpu_new();

        g_assert_true(x86_cpu_model_apply(cpu, x86_cpu_model_name(n), NULL));
        x86_cpu_model_wanted(cpu, can, false, wanted);
        g_test_message("%s", x86_cpu_model_name(n));
        for (unsigned f = 0; f < FEAT_WORDS * 32; f++) {
            if (x86_cpuid_table(cpu)->requested[f / 32] & ~wanted[f / 32] & BIT(f % 32)) {
                g_error("%s: %s needs %s", x86_cpu_model_name(n), x86_feature_name(f), x86_feature_ground(f, wanted));
            }
        }
        x86_cpu_free(cpu);
    }
}

/* `max` and a model lose dependents silently; one that was asked for by name is reported, and fatal with `enforce`. */
static void test_off_takes_dependents_away(void)
{
    static const struct { const char *model; bool named; } rows[] = { { "max", false }, { "Haswell", false }, { "Haswell", true } };

    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        X86Cpu *cpu = x86_cpu_new();
        g_autoptr(GError) error = NULL;

        g_assert_true(x86_cpu_model_apply(cpu, rows[i].model, NULL));
        if (rows[i].named) {
            g_assert_true(x86_cpu_set_feature(cpu, "avx2", true, NULL));
        }
        g_assert_true(x86_cpu_set_feature(cpu, "avx", false, NULL));
        x86_cpuid_table(cpu)->check = false;
        g_assert_true(x86_cpu_model_finish(cpu, "TCG", NULL, &error));
        g_assert_false(x86_cpu_has_feature_name(cpu, "avx2"));
        g_assert_false(x86_cpu_has_feature_name(cpu, "fma"));
        g_assert_true(x86_cpu_has_feature_name(cpu, "sse4.2"));
        g_assert_cmphex(x86_xcr0_supported(cpu) & (XCR0_AVX | XCR0_OPMASK | XCR0_ZMM_HI256 | XCR0_HI16_ZMM), ==, 0);
        g_assert_cmphex(x86_cpuid_table(cpu)->filtered[FEAT_7_0_EBX] & BIT(5), ==, rows[i].named ? BIT(5) : 0);
        if (rows[i].named) {
            cpu->index = 1;         /* no warning lines here */
            g_assert_true(x86_cpu_set_feature(cpu, "enforce", true, NULL));
            g_assert_false(x86_cpu_model_finish(cpu, "TCG", NULL, &error));
        }
        x86_cpu_free(cpu);
    }
}

static void test_missing_features(void)
{
    X86Cpu *cpu = x86_cpu_new();
    g_autoptr(GError) error = NULL;

    g_assert_true(x86_cpu_model_apply(cpu, "qemu64", NULL));
    g_assert_true(x86_cpu_set_feature(cpu, "vmx", true, NULL));
    g_assert_true(x86_cpu_set_feature(cpu, "popcnt", true, NULL));
    g_assert_true(x86_cpu_set_feature(cpu, "fsgsbase", true, NULL));
    x86_cpuid_table(cpu)->check = false;
    g_assert_true(x86_cpu_model_finish(cpu, "TCG", NULL, &error));
    g_assert_false(x86_cpu_has_feature_name(cpu, "vmx"));
    g_assert_true(x86_cpu_has_feature_name(cpu, "popcnt"));
    g_assert_cmphex(cpu->cpuid_level, ==, 0xd);
    g_assert_true(x86_cpu_set_feature(cpu, "enforce", true, NULL));
    cpu->index = 1;             /* no warning lines here */
    g_assert_false(x86_cpu_model_finish(cpu, "TCG", NULL, &error));
    g_assert_nonnull(error);
    x86_cpu_free(cpu);
}

static void test_bad_input(void)
{
    X86Cpu *cpu = x86_cpu_new();
    g_autoptr(GError) e1 = NULL, e2 = NULL, e3 = NULL, e4 = NULL;

    g_assert_false(x86_cpu_model_apply(cpu, "Hasvell", &e1));
    g_assert_nonnull(strstr(e1->message, "Haswell"));
    g_assert_true(x86_cpu_model_apply(cpu, "base", NULL));
    g_assert_false(x86_cpu_set_feature(cpu, "popcmt", true, &e2));
    g_assert_nonnull(strstr(e2->message, "popcnt"));
    g_assert_false(x86_cpu_set_param(cpu, "family", "9999", &e3));
    g_assert_false(x86_cpu_set_param(cpu, "vendor", "short", &e4));
    g_assert_true(x86_cpu_set_param(cpu, "family", "25", NULL));
    g_assert_true(x86_cpu_set_param(cpu, "model", "0x31", NULL));
    g_assert_true(x86_cpu_set_param(cpu, "stepping", "3", NULL));
    g_assert_cmphex(cpu->cpuid_version, ==, 0x00a30f13);
    x86_cpu_free(cpu);
}

static void test_every_model_and_name(void)
{
    unsigned n = 0;

    for (const char *name; (name = x86_cpu_model_name(n)); n++) {
        x86_cpu_free(model_cpu(name, NULL));
        g_assert_nonnull(x86_cpu_model_description(n));
    }
    g_assert_cmpuint(n, >, 130);
    for (unsigned i = 0; x86_cpu_feature_name(i); i++) {
        g_assert_cmpint(x86_feature_find(x86_cpu_feature_name(i)), >=, 0);
    }
    g_assert_cmpint(x86_feature_find("lahf_lm"), ==, x86_feature_find("lahf-lm"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/x86/cpuid/qemu64", test_qemu64);
    g_test_add_func("/x86/cpuid/plain-name", test_plain_name_is_version_one);
    g_test_add_func("/x86/cpuid/dies", test_topology_of_dies);
    g_test_add_func("/x86/cpuid/epyc", test_epyc_caches);
    g_test_add_func("/x86/cpuid/topoext", test_topoext_has_its_leaves);
    g_test_add_func("/x86/cpuid/max-mitigations", test_max_needs_no_mitigations);
    g_test_add_func("/x86/cpuid/dependencies/rules", test_features_need_others);
    g_test_add_func("/x86/cpuid/dependencies/order", test_dependencies_are_in_order);
    g_test_add_func("/x86/cpuid/dependencies/models", test_models_are_consistent);
    g_test_add_func("/x86/cpuid/dependencies/off", test_off_takes_dependents_away);
    g_test_add_func("/x86/cpuid/missing", test_missing_features);
    g_test_add_func("/x86/cpuid/bad-input", test_bad_input);
    g_test_add_func("/x86/cpuid/every-name", test_every_model_and_name);
    return g_test_run();
}
