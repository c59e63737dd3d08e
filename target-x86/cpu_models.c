/* SPDX-License-Identifier: MIT */
/*
 * CPU models: rows of cpu_models.def, `max`, `host` and `base`, and the parameters of -cpu.
 * Feature words are collected as asked for; x86_cpu_model_finish() compares them with what the
 * accelerator can do.  Names and messages are QEMU 7.2's.
 * Locking: before the CPU runs.
 */
#include "target-x86/cpuid_int.h"

#include <cpuid.h>

#include "base/error.h"
#include "base/log.h"

static const X86Model models[] = {
#include "target-x86/cpu_models.def"
};

/* ---- names --------------------------------------------------------------------------------------- */

typedef struct ModelName {
    char *name;
    char *description;
    const X86Model *row;        /* NULL: max, host, base */
} ModelName;

static GArray *names;           /* ModelName, made once */

static void add_name(const char *name, char *description, const X86Model *row)
{
    ModelName n = { g_strdup(name), description, row };

    g_array_append_val(names, n);
}

static int compare_names(gconstpointer a, gconstpointer b)
{
    return strcmp(((const ModelName *)a)->name, ((const ModelName *)b)->name);
}

static char *plain_name(const X86Model *m)
{
    return g_strndup(m->name, strrchr(m->name, '-') - m->name);
}

static GArray *all_names(void)
{
    static gsize once;

    if (g_once_init_enter(&once)) {
        names = g_array_new(false, false, sizeof(ModelName));
        for (unsigned i = 0; i < ARRAY_LEN(models); i++) {
            const X86Model *m = &models[i];

            add_name(m->name, g_strdup(m->note ? m->note : m->model_id), m);
            if (m->alias) {
                add_name(m->alias, g_strdup_printf("(alias of %s)", m->name), m);
            }
            if (m->plain) {
                g_autofree char *plain = plain_name(m);

                add_name(plain, g_strdup("(alias configured by machine type)"), m);
            }
        }
        g_array_sort(names, compare_names);
        add_name("base", g_strdup("base CPU model type with no features enabled"), NULL);
        add_name("host", g_strdup("processor with all supported host features "), NULL);
        add_name("max", g_strdup("Enables all features supported by the accelerator in the "
                                 "current host"), NULL);
        g_once_init_leave(&once, 1);
    }
    return names;
}

static const ModelName *find_name(const char *name)
{
    GArray *all = all_names();

    for (unsigned i = 0; i < all->len; i++) {
        const ModelName *n = &g_array_index(all, ModelName, i);

        if (g_str_equal(n->name, name)) {
            return n;
        }
    }
    return NULL;
}

const char *x86_cpu_model_name(unsigned index)
{
    return index < all_names()->len ? g_array_index(all_names(), ModelName, index).name : NULL;
}

const char *x86_cpu_model_description(unsigned index)
{
    return index < all_names()->len ? g_array_index(all_names(), ModelName, index).description
                                    : NULL;
}

const char *x86_cpu_model_alias_of(const char *model)
{
    const ModelName *n = find_name(model);

    return n && n->row && !g_str_equal(n->row->name, model) ? n->row->name : NULL;
}

bool x86_cpu_model_exists(const char *model, GError **error)
{
    Suggest s;

    if (find_name(model)) {
        return true;
    }
    suggest_init(&s, model);
    for (unsigned i = 0; i < all_names()->len; i++) {
        suggest_offer(&s, g_array_index(all_names(), ModelName, i).name);
    }
    return error_set(error, "Unable to find CPU definition: %s%s", model,
                     suggest_text_or(&s, "-cpu help lists them"));
}

/* ---- feature lists ----------------------------------------------------------------------------------- */

static const X86Model *row_by_name(const char *name)
{
    for (unsigned i = 0; i < ARRAY_LEN(models); i++) {
        if (g_str_equal(models[i].name, name)) {
            return &models[i];
        }
    }
    return NULL;
}

static void row_features(const X86Model *m, uint32_t words[FEAT_WORDS])
{
    if (m->parent) {
        row_features(row_by_name(m->parent), words);
    }
    x86_features_apply(m->features, words);
}

static bool set_vendor(X86Cpu *cpu, const char *vendor)
{
    if (strlen(vendor) != 12) {
        return false;
    }
    for (unsigned i = 0; i < 3; i++) {
        cpu->cpuid_vendor[i] = le32_load(vendor + 4 * i);
    }
    return true;
}

static void set_model_id(X86Cpu *cpu, const char *text)
{
    char id[sizeof(cpu->cpuid_model)] = { 0 };

    memcpy(id, text, MIN(strlen(text), sizeof(id)));
    memcpy(cpu->cpuid_model, id, sizeof(id));
}

static void set_family(X86Cpu *cpu, unsigned family)
{
    cpu->cpuid_version &= ~0x0ff00f00u;
    cpu->cpuid_version |= family > 15 ? 0xf00 | (family - 15) << 20 : family << 8;
}

static void set_model(X86Cpu *cpu, unsigned model)
{
    cpu->cpuid_version = (cpu->cpuid_version & ~0xf00f0u) | (model & 15) << 4 | model >> 4 << 16;
}

bool x86_cpu_model_apply(X86Cpu *cpu, const char *model, GError **error)
{
    const ModelName *n;
    X86CpuidTable *t = x86_cpuid_table(cpu);

    if (!x86_cpu_model_exists(model, error)) {
        return false;
    }
    n = find_name(model);
    memset(t->requested, 0, sizeof(t->requested));
    memset(t->removed, 0, sizeof(t->removed));
    memset(t->named, 0, sizeof(t->named));
    cpu->cpuid_version = 0;
    if (n->row) {
        set_vendor(cpu, n->row->vendor);
        set_model_id(cpu, n->row->model_id);
        set_family(cpu, n->row->family);
        set_model(cpu, n->row->model);
        cpu->cpuid_version |= n->row->stepping;
        cpu->cpuid_level = n->row->level;
        cpu->cpuid_xlevel = n->row->xlevel;
        t->cache = n->row->cache;
        row_features(n->row, t->requested);
    } else if (!g_str_equal(model, "base")) {
        /* As QEMU's: qemu64 with everything the accelerator has. */
        set_vendor(cpu, "AuthenticAMD");
        set_model_id(cpu, "QEMU TCG CPU version 2.5+");
        set_family(cpu, 15);
        set_model(cpu, 107);
        cpu->cpuid_version |= 1;
        cpu->cpuid_level = 0xd;
        cpu->cpuid_xlevel = 0x8000000a;
        t->maximal = true;
    } else {
        memset(cpu->cpuid_vendor, 0, sizeof(cpu->cpuid_vendor));
    }
    if (!g_str_equal(model, "base")) {
        t->requested[FEAT_1_ECX] |= BIT(31);    /* hypervisor */
    }
    cpu->phys_bits = 0;
    return true;
}

void x86_cpu_model_take_host(X86Cpu *cpu)
{
    enum { XLEVEL_MAX = 0x1e };              /* the highest leaf with an answer of ours */
    uint32_t a, b, c, d;

    __cpuid(0, a, b, c, d);
    cpu->cpuid_vendor[0] = b;
    cpu->cpuid_vendor[1] = d;
    cpu->cpuid_vendor[2] = c;
    __cpuid(1, a, b, c, d);
    cpu->cpuid_version = a;
    __cpuid(0x80000000, a, b, c, d);
    cpu->cpuid_xlevel = MIN(a, BIT(31) + XLEVEL_MAX);
    for (unsigned i = 0; i < 3 && a >= 0x80000004; i++) {
        __cpuid(0x80000002 + i, cpu->cpuid_model[4 * i], cpu->cpuid_model[4 * i + 1],
                cpu->cpuid_model[4 * i + 2], cpu->cpuid_model[4 * i + 3]);
    }
}

static const struct { const char *name; size_t field; } switches[] = {
#define SWITCH(n, f) { n, offsetof(X86CpuidTable, f) }
    SWITCH("check", check), SWITCH("enforce", enforce), SWITCH("x-force-features", force),
    SWITCH("l3-cache", l3_cache), SWITCH("cpuid-0xb", leaf_b), SWITCH("tcg-cpuid", hypervisor_leaf),
    SWITCH("full-cpuid-auto-level", auto_level), SWITCH("host-phys-bits", host_phys_bits),
    SWITCH("migratable", migratable), SWITCH("kvm", kvm),
#undef SWITCH
};

const char *x86_cpu_switch_name(unsigned index)
{
    return index < ARRAY_LEN(switches) ? switches[index].name : NULL;
}

bool *x86_cpu_switch(X86Cpu *cpu, const char *name)
{
    for (unsigned i = 0; i < ARRAY_LEN(switches); i++) {
        if (g_str_equal(name, switches[i].name)) {
            return (bool *)((char *)x86_cpuid_table(cpu) + switches[i].field);
        }
    }
    return NULL;
}

static void set_bit(uint32_t words[FEAT_WORDS], unsigned f, bool on)
{
    words[f / 32] = (words[f / 32] & ~BIT(f % 32)) | (on ? BIT(f % 32) : 0);
}

bool x86_cpu_set_feature(X86Cpu *cpu, const char *name, bool on, GError **error)
{
    X86CpuidTable *t = x86_cpuid_table(cpu);
    int f = x86_feature_find(name);
    bool *field = x86_cpu_switch(cpu, name);
    Suggest s;

    if (field) {
        *field = on;
        return true;
    }
    if (f < 0) {
        suggest_init(&s, name);
        for (unsigned i = 0; i < x86_feature_name_count; i++) {
            suggest_offer(&s, x86_feature_names[i].name);
        }
        return error_set(error, "-cpu has no feature or property '%s'%s", name,
                         suggest_text_or(&s, "-cpu help lists the features"));
    }
    if (f >= FEAT_WORDS * 32) {
        /* Off is what it is; on is a missing feature, reported at the end. */
        if (on) {
            if (!t->foreign) {
                t->foreign = g_string_new(NULL);
            }
            g_string_append_printf(t->foreign, "%s ", name);
        }
        return true;
    }
    set_bit(t->requested, f, on);
    set_bit(t->named, f, on);
    set_bit(t->removed, f, !on);
    return true;
}

/* ---- parameters --------------------------------------------------------------------------------------- */

static const struct ParamRow {
    const char *name;
    X86Param param;
    uint64_t min, max;          /* both 0: text */
} params[] = {
    { "family", X86_PARAM_FAMILY, 0, 255 + 15 }, { "model", X86_PARAM_MODEL, 0, 255 },
    { "stepping", X86_PARAM_STEPPING, 0, 15 }, { "level", X86_PARAM_LEVEL, 0, UINT32_MAX },
    { "xlevel", X86_PARAM_XLEVEL, 0, UINT32_MAX }, { "phys-bits", X86_PARAM_PHYS_BITS, 0, 52 },
    { "ucode-rev", X86_PARAM_UCODE, 0, UINT64_MAX }, { "vendor", X86_PARAM_VENDOR, 0, 0 },
    { "model-id", X86_PARAM_MODEL_ID, 0, 0 },
};

static const struct ParamRow *find_param(const char *name)
{
    for (unsigned i = 0; i < ARRAY_LEN(params); i++) {
        const char *a = name, *b = params[i].name;

        while (*a && (*a == *b || (*a == '_' && *b == '-'))) {
            a++;
            b++;
        }
        if (!*a && !*b) {
            return &params[i];
        }
    }
    return NULL;
}

const char *x86_cpu_param_name(unsigned index)
{
    return index < ARRAY_LEN(params) ? params[index].name : NULL;
}

X86Param x86_cpu_param_number(unsigned index)
{
    return params[index].param;
}

bool x86_cpu_model_is_param(const char *name)
{
    return find_param(name);
}

bool x86_cpu_set_param(X86Cpu *cpu, const char *name, const char *text, GError **error)
{
    const struct ParamRow *p = find_param(name);
    char *end;
    uint64_t v = 0;

    if (!p) {
        return error_set(error, "-cpu has no property '%s'", name);
    }
    if (p->max) {
        errno = 0;
        v = g_ascii_strtoull(text, &end, 0);
        if (end == text || *end || *text == '-' || errno || v < p->min || v > p->max) {
            return error_set(error, "-cpu property '%s' takes a number from %" PRIu64 " to %"
                             PRIu64 ", not '%s'", name, p->min, p->max, text);
        }
    }
    switch (p->param) {
    case X86_PARAM_FAMILY: set_family(cpu, v); break;
    case X86_PARAM_MODEL: set_model(cpu, v); break;
    case X86_PARAM_STEPPING: cpu->cpuid_version = (cpu->cpuid_version & ~15u) | v; break;
    case X86_PARAM_LEVEL:
        cpu->cpuid_level = v;
        x86_cpuid_table(cpu)->auto_level = false;
        break;
    case X86_PARAM_XLEVEL:
        cpu->cpuid_xlevel = v;
        x86_cpuid_table(cpu)->auto_level = false;
        break;
    case X86_PARAM_PHYS_BITS:
        if (v && (v < 32)) {
            return error_set(error, "-cpu property 'phys-bits' should be between 32 and 52 (or 0 "
                             "for the default), not '%s'", text);
        }
        cpu->phys_bits = v;
        break;
    case X86_PARAM_UCODE: cpu->msrs.ucode_rev = v; break;
    case X86_PARAM_VENDOR:
        if (!set_vendor(cpu, text)) {
            return error_set(error, "-cpu property 'vendor' must have 12 characters, unlike '%s'",
                             text);
        }
        break;
    case X86_PARAM_MODEL_ID: set_model_id(cpu, text); break;
    }
    return true;
}

const char *x86_cpu_feature_name(unsigned index)
{
    if (index < x86_feature_name_count) {
        return x86_feature_names[index].name;
    }
    return x86_foreign_features[index - x86_feature_name_count];
}

bool x86_cpu_has_feature_name(const X86Cpu *cpu, const char *name)
{
    int f = x86_feature_find(name);

    return f >= 0 && f < FEAT_WORDS * 32 && x86_has(cpu, f);
}

/* ---- the end --------------------------------------------------------------------------------------------- */

static void raise_levels(X86Cpu *cpu)
{
    static const struct { uint8_t word; uint32_t leaf; } needs[] = {
        { FEAT_6_EAX, 6 }, { FEAT_7_0_EBX, 7 }, { FEAT_7_0_ECX, 7 }, { FEAT_7_0_EDX, 7 },
        { FEAT_7_1_EAX, 7 }, { FEAT_D_1_EAX, 0xd }, { FEAT_8000_0001_EDX, 0x80000001 },
        { FEAT_8000_0001_ECX, 0x80000001 }, { FEAT_8000_0007_EDX, 0x80000007 },
        { FEAT_8000_0008_EBX, 0x80000008 },
    };
    const X86CpuidTable *t = cpu->cpuid;

    for (unsigned i = 0; t->auto_level && i < ARRAY_LEN(needs); i++) {
        if (cpu->features[needs[i].word]) {
            uint32_t *level = needs[i].leaf & BIT(31) ? &cpu->cpuid_xlevel : &cpu->cpuid_level;

            *level = MAX(*level, needs[i].leaf);
        }
    }
    if (t->auto_level && x86_has(cpu, X86_FEAT(8000_0001_ECX, 22))) {
        cpu->cpuid_xlevel = MAX(cpu->cpuid_xlevel, 0x8000001e);     /* topoext's own leaves */
    }
}

static uint8_t host_phys_bits(void)
{
    uint32_t a, b, c, d;

    return __get_cpuid(0x80000008, &a, &b, &c, &d) ? a & 0xff : 40;
}

/* One line for each missing feature; with `enforce` they are an error. */
static bool report_missing(X86Cpu *cpu, const char *accel, const uint32_t missing[FEAT_WORDS],
                           GError **error)
{
    const X86CpuidTable *t = cpu->cpuid;
    bool any = t->foreign != NULL;

    for (unsigned f = 0; f < FEAT_WORDS * 32; f++) {
        const char *name = x86_feature_name(f), *word = x86_feature_word_name(f / 32);

        if (!(t->filtered[f / 32] >> (f % 32) & 1)) {
            continue;
        }
        any = true;
        if (cpu->index != 0 || !(t->check || t->enforce)) {
            continue;
        }
        if (missing[f / 32] >> (f % 32) & 1) {
            warn_report("%s doesn't support requested feature: %s%s%s [bit %u]", accel, word, name ? "." : "",
                        name ? name : "", f % 32);
        } else {
            warn_report("requested feature %s.%s [bit %u] needs %s, which this CPU does not have", word, name, f % 32,
                        x86_feature_ground(f, cpu->features));
        }
    }
    if (t->foreign && cpu->index == 0 && (t->check || t->enforce)) {
        g_auto(GStrv) words = g_strsplit(t->foreign->str, " ", -1);

        for (unsigned i = 0; words[i] && *words[i]; i++) {
            warn_report("%s doesn't support requested feature: %s", accel, words[i]);
        }
    }
    return !any || !t->enforce ||
           error_set(error, "%s doesn't support requested features", accel);
}

void x86_cpu_model_wanted(X86Cpu *cpu, const uint32_t can[FEAT_WORDS], bool keeps_tsc,
                          uint32_t words[FEAT_WORDS])
{
    const X86CpuidTable *t = x86_cpuid_table(cpu);

    for (unsigned w = 0; w < FEAT_WORDS; w++) {
        uint32_t most = can[w];

        /* "max" keeps the topology leaves of its family: no topoext unless asked for; and no TSC
         * that promises to tick the same on the next host, if nobody sees to it. */
        if (w == FEAT_8000_0001_ECX) {
            most &= ~BIT(22);
        } else if (w == FEAT_8000_0007_EDX && t->migratable && !keeps_tsc) {
            most &= ~BIT(8);
        }
        words[w] = t->requested[w] | (t->maximal ? most & ~t->removed[w] : 0);
    }
    x86_features_drop_baseless(words);
}

bool x86_cpu_model_finish(X86Cpu *cpu, const char *accel, const uint32_t *supported,
                          GError **error)
{
    X86CpuidTable *t = x86_cpuid_table(cpu);
    uint32_t can[FEAT_WORDS], wanted[FEAT_WORDS], missing[FEAT_WORDS];
    bool good;

    if (supported) {
        memcpy(can, supported, sizeof(can));
    } else {
        x86_tcg_features(can);
    }
    x86_cpu_model_wanted(cpu, can, !supported, wanted);
    for (unsigned w = 0; w < FEAT_WORDS; w++) {
        missing[w] = t->filtered[w] = wanted[w] & ~can[w];
        cpu->features[w] = t->force ? wanted[w] : wanted[w] & can[w];
    }
    x86_features_drop_baseless(cpu->features);      /* the accelerator may have taken what others need */
    for (unsigned w = 0; w < FEAT_WORDS; w++) {
        t->filtered[w] |= t->named[w] & ~cpu->features[w];
    }
    cpu->virt_bits = x86_has(cpu, X86_FEAT(7_0_ECX, 16)) ? 57 : 48;
    if (t->host_phys_bits) {
        cpu->phys_bits = host_phys_bits();
    } else if (!cpu->phys_bits) {
        cpu->phys_bits = x86_has(cpu, X86_FEAT_LM) ? 40
                         : x86_has(cpu, X86_FEAT(1_EDX, 17)) ? 36 : 32;
    }
    raise_levels(cpu);
    good = report_missing(cpu, accel, missing, error);
    if (t->foreign) {
        g_string_free(t->foreign, true);
        t->foreign = NULL;
    }
    return good;
}
