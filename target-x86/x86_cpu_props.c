/* SPDX-License-Identifier: MIT */
/*
 * Properties of CPU objects: a row for each feature, switch and parameter of -cpu.
 *
 * Before realize a feature is what was asked for (`max` and `host`: of all that the accelerator
 * offers); after it, what the guest sees.  The table is built once from the lists of
 * cpu_features.c and cpu_models.c, so that -cpu, -global, device-list-properties and qom-get know the same.
 * Locking: machine lock.
 */
#include "base/error.h"
#include "base/json.h"
#include "target-x86/cpuid_int.h"
#include "target-x86/x86_cpu.h"
#include "vm/accel.h"

static X86CpuDevice *device_of(Object *obj)
{
    return (X86CpuDevice *)(void *)obj;
}

/* Names of types as QEMU shows them; the values are computed. */
static const PropType type_int = { .name = "int" }, type_string = { .name = "string" },
                      type_list = { .name = "strList" },
                      type_words = { .name = "X86CPUFeatureWordInfo" };

/* ---- features ---- */

void x86_cpu_wanted(X86CpuDevice *s, uint32_t words[FEAT_WORDS])
{
    const Accel *accel = s->cpu.dev.vm ? s->cpu.dev.vm->accel : NULL;
    bool other = accel && accel_type(accel)->features;
    uint32_t can[FEAT_WORDS];

    if (other) {
        accel_type(accel)->features(s->cpu.dev.vm->accel, can);
    } else {
        x86_tcg_features(can);
    }
    x86_cpu_model_wanted(s->x86, can, !other, words);
}

static Json *get_feature(Object *obj, const PropDef *prop)
{
    X86CpuDevice *s = device_of(obj);
    uint32_t words[FEAT_WORDS];

    if (prop->bit >= FEAT_WORDS * 32) {
        return json_new_bool(false);         /* one that no CPU of ours has a place for */
    }
    if (s->cpu.dev.realized) {
        return json_new_bool(x86_has(s->x86, prop->bit));
    }
    x86_cpu_wanted(s, words);
    return json_new_bool(words[prop->bit / 32] >> (prop->bit % 32) & 1);
}

static bool set_bool(Object *obj, const PropDef *prop, Json *v, GError **error)
{
    bool on;

    return json_get_bool(v, &on) ? x86_cpu_set_feature(device_of(obj)->x86, prop->name, on, error)
                                 : error_set(error, "Property '%s.%s' expects a boolean",
                                             obj->type->name, prop->name);
}

static Json *get_switch(Object *obj, const PropDef *prop)
{
    return json_new_bool(*x86_cpu_switch(device_of(obj)->x86, prop->name));
}

/* ---- parameters ---- */

static Json *get_param(Object *obj, const PropDef *prop)
{
    const X86Cpu *x = device_of(obj)->x86;
    uint32_t v = x->cpuid_version;
    char text[sizeof(x->cpuid_model) + 1] = { 0 };

    switch (prop->bit) {
    case X86_PARAM_FAMILY:
        return json_new_int((v >> 8 & 15) + ((v >> 8 & 15) == 15 ? v >> 20 & 0xff : 0));
    case X86_PARAM_MODEL:
        return json_new_int((v >> 4 & 15) | (v >> 12 & 0xf0));
    case X86_PARAM_STEPPING:
        return json_new_int(v & 15);
    case X86_PARAM_LEVEL:
        return json_new_uint(x->cpuid_level);
    case X86_PARAM_XLEVEL:
        return json_new_uint(x->cpuid_xlevel);
    case X86_PARAM_PHYS_BITS:
        return json_new_uint(x->phys_bits);
    case X86_PARAM_UCODE:
        return json_new_uint(x->msrs.ucode_rev);
    case X86_PARAM_VENDOR:
        memcpy(text, x->cpuid_vendor, sizeof(x->cpuid_vendor));
        break;
    default:
        memcpy(text, x->cpuid_model, sizeof(x->cpuid_model));
        break;
    }
    return json_new_string(text);
}

static bool set_param(Object *obj, const PropDef *prop, Json *v, GError **error)
{
    g_autofree char *number = NULL;
    const char *text = json_get_string(v);
    uint64_t u;
    int64_t i;

    if (!text && (json_get_uint(v, &u) || (json_get_int(v, &i) && i >= 0 && ((u = i), true)))) {
        number = g_strdup_printf("%" PRIu64, u);
    }
    if (!text && !number) {
        return error_set(error, "Property '%s.%s' expects %s", obj->type->name, prop->name,
                         prop->type == &type_string ? "a string" : "a number that is not negative");
    }
    return x86_cpu_set_param(device_of(obj)->x86, prop->name, text ? text : number, error);
}

/* ---- what became of it ---- */

static void list_features(const uint32_t words[FEAT_WORDS], Json *list)
{
    for (unsigned f = 0; f < FEAT_WORDS * 32; f++) {
        const char *name = x86_feature_name(f);

        if ((words[f / 32] >> (f % 32) & 1) && name) {
            json_append(list, json_new_string(name));
        }
    }
}

static Json *get_unavailable(Object *obj, const PropDef *prop)
{
    Json *list = json_new_list();

    list_features(x86_cpuid_table(device_of(obj)->x86)->filtered, list);
    return list;
}

static const struct { uint8_t word; const char *reg; uint32_t eax; int ecx; } word_rows[] = {
    { FEAT_1_EDX, "EDX", 1, -1 },           { FEAT_1_ECX, "ECX", 1, -1 },
    { FEAT_7_0_EBX, "EBX", 7, 0 },          { FEAT_7_0_ECX, "ECX", 7, 0 },
    { FEAT_7_0_EDX, "EDX", 7, 0 },          { FEAT_7_1_EAX, "EAX", 7, 1 },
    { FEAT_8000_0001_EDX, "EDX", 0x80000001, -1 },
    { FEAT_8000_0001_ECX, "ECX", 0x80000001, -1 },
    { FEAT_8000_0007_EDX, "EDX", 0x80000007, -1 },
    { FEAT_8000_0008_EBX, "EBX", 0x80000008, -1 },
    { FEAT_D_1_EAX, "EAX", 0xd, 1 },        { FEAT_6_EAX, "EAX", 6, -1 },
};

static Json *get_words(Object *obj, const PropDef *prop)
{
    X86Cpu *x = device_of(obj)->x86;
    const uint32_t *words = prop->bit ? x86_cpuid_table(x)->filtered : x->features;
    Json *list = json_new_list();

    for (unsigned i = 0; i < ARRAY_LEN(word_rows); i++) {
        Json *row = json_new_dict();

        json_set(row, "cpuid-register", json_new_string(word_rows[i].reg));
        json_set(row, "cpuid-input-eax", json_new_uint(word_rows[i].eax));
        if (word_rows[i].ecx >= 0) {
            json_set(row, "cpuid-input-ecx", json_new_int(word_rows[i].ecx));
        }
        json_set(row, "features", json_new_uint(words[word_rows[i].word]));
        json_append(list, row);
    }
    return list;
}

/* ---- the table ---- */

static const PropDef fixed[] = {
    PROP_U32("apic-id", X86CpuDevice, apic_id, UINT32_MAX),
    PROP_I32("node-id", X86CpuDevice, node_id, -1),
    PROP_I32("socket-id", X86CpuDevice, socket_id, -1),
    PROP_I32("die-id", X86CpuDevice, die_id, -1),
    PROP_I32("core-id", X86CpuDevice, core_id, -1),
    PROP_I32("thread-id", X86CpuDevice, thread_id, -1),
    PROP_COMPUTED("unavailable-features", &type_list, get_unavailable, NULL),
    PROP_COMPUTED("feature-words", &type_words, get_words, NULL, .bit = 0),
    PROP_COMPUTED("filtered-features", &type_words, get_words, NULL, .bit = 1),
    PROP_END
};

static void add(GArray *table, const char *name, const PropType *type, unsigned bit,
                Json *(*get)(Object *obj, const PropDef *prop),
                bool (*set)(Object *obj, const PropDef *prop, Json *v, GError **error))
{
    PropDef row = { .name = name, .type = type, .bit = bit, .get = get, .set = set };

    g_array_append_val(table, row);
}

/* QEMU's second spellings: scripts know them. */
static const char *const underscored[] = {
    "cmp_legacy", "ds_cpl", "fxsr_opt", "kvm_asyncpf", "kvm_asyncpf_int", "kvm_mmu", "kvm_nopiodelay",
    "kvm_poll_control", "kvm_pv_eoi", "kvm_pv_unhalt", "kvm_steal_time", "lahf_lm", "nodeid_msr",
    "nrip_save", "pause_filter", "perfctr_core", "perfctr_nb", "sse4_1", "sse4_2", "svm_lock",
    "tsc_adjust", "tsc_scale", "vmcb_clean",
};

static PropDef *build(void)
{
    GArray *table = g_array_new(true, true, sizeof(PropDef));
    const char *name;

    g_array_append_vals(table, fixed, ARRAY_LEN(fixed) - 1);
    for (unsigned i = 0; (name = x86_cpu_feature_name(i)); i++) {
        add(table, name, &prop_bool, x86_feature_find(name), get_feature, set_bool);
    }
    for (unsigned i = 0; i < x86_feature_name_count; i++) {
        if (x86_feature_names[i].alias) {
            add(table, x86_feature_names[i].alias, &prop_bool, x86_feature_names[i].feature,
                get_feature, set_bool);
        }
    }
    for (unsigned i = 0; i < ARRAY_LEN(underscored); i++) {
        add(table, underscored[i], &prop_bool, x86_feature_find(underscored[i]), get_feature,
            set_bool);
    }
    for (unsigned i = 0; (name = x86_cpu_switch_name(i)); i++) {
        add(table, name, &prop_bool, 0, get_switch, set_bool);
    }
    for (unsigned i = 0; (name = x86_cpu_param_name(i)); i++) {
        unsigned param = x86_cpu_param_number(i);
        const PropType *type = param == X86_PARAM_UCODE ? &prop_u64
                               : param >= X86_PARAM_VENDOR ? &type_string
                               : param <= X86_PARAM_STEPPING ? &type_int : &prop_u32;

        add(table, name, type, param, get_param, set_param);
    }
    return (PropDef *)(void *)g_array_free(table, false);
}

const PropDef *x86_cpu_props(void)
{
    static PropDef *table;

    if (g_once_init_enter(&table)) {
        g_once_init_leave(&table, build());
    }
    return table;
}
