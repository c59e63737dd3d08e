/* SPDX-License-Identifier: MIT */
/* QMP about x86 processors: what models amount to, and the NMI button. */
#include "base/error.h"
#include "hw/i386/x86_cpus.h"
#include "qapi/qapi_commands.h"
#include "target-x86/cpuid_int.h"
#include "target-x86/x86_cpu.h"
#include "vm/accel.h"

static const CpuClass *model_class(const char *model)
{
    g_autofree char *name = g_strconcat(model, X86_CPU_TYPE_SUFFIX, NULL);
    const ObjectType *type = type_find(name);

    return type && !type->abstract ? (const CpuClass *)(const void *)type : NULL;
}

/* ---- query-cpu-definitions ---- */

static void add_missing(Vm *vm, const char *typename, QapiCpuDefinitionInfo *row)
{
    g_autoptr(GError) error = NULL;
    Device *dev = device_new(vm, typename, &error);
    g_autoptr(Json) names = NULL;
    X86CpuDevice *cpu;

    if (!dev) {
        return;                     /* a -global that it cannot take */
    }
    cpu = DEVICE_CAST(X86CpuDevice, dev);
    x86_cpuid_table(cpu->x86)->check = false;
    if (x86_cpu_finish(cpu, &error)) {
        names = object_get_json(OBJECT(dev), "unavailable-features", NULL);
    }
    for (size_t i = 0; i < json_list_len(names); i++) {
        g_ptr_array_add(row->unavailable_features, g_strdup(json_get_string(json_list_at(names, i))));
    }
    object_unref(OBJECT(dev));
}

typedef struct Listing {
    Vm *vm;
    GPtrArray *rows;
} Listing;

static void list_cpu(const ObjectType *type, void *opaque)
{
    Listing *listing = opaque;
    QapiCpuDefinitionInfo *row;
    const Accel *accel = listing->vm->accel;

    if (!type_is_a(type, "x86_64-cpu")) {
        return;
    }
    row = g_new0(QapiCpuDefinitionInfo, 1);
    row->name = x86_cpu_type_model(type);
    row->typename = g_strdup(type->name);
    row->has_migration_safe = true;
    row->migration_safe = strcmp(row->name, "max") != 0 && strcmp(row->name, "host") != 0;
    row->q_static = strcmp(row->name, "base") == 0;
    row->alias_of = g_strdup(x86_cpu_model_alias_of(row->name));
    row->unavailable_features = g_ptr_array_new_with_free_func(g_free);
    if (strcmp(row->name, "host") == 0 && !(accel && accel_type(accel)->features)) {
        g_ptr_array_add(row->unavailable_features, g_strdup("kvm"));
    } else {
        add_missing(listing->vm, type->name, row);
    }
    g_ptr_array_add(listing->rows, row);
}

bool qmp_query_cpu_definitions(QmpCall *call, GPtrArray **ret, GError **error)
{
    Listing listing = { call->vm, qapi_list_new(&qapi_type_QapiCpuDefinitionInfo) };

    type_foreach("cpu", false, list_cpu, &listing);
    *ret = listing.rows;
    return true;
}

/* ---- query-cpu-model-expansion ---- */

typedef struct Setting {
    Object *obj;
    GError **error;
} Setting;

static bool set_prop(const char *key, Json *value, void *opaque)
{
    Setting *s = opaque;

    return object_set_json(s->obj, key, value, s->error);
}

static const char *const static_params[] = { "family", "model", "stepping", "vendor", "model-id" };

static void add_prop(Object *obj, Json *props, const char *name)
{
    Json *v = object_get_json(obj, name, NULL);

    if (v) {
        json_set(props, name, v);
    }
}

/* What tells the model from "base": its features by their own names, and its identity. */
static Json *static_props(Object *obj, const X86Cpu *x)
{
    Json *props = json_new_dict();
    const char *name;

    for (unsigned i = 0; (name = x86_cpu_feature_name(i)); i++) {
        add_prop(obj, props, name);
    }
    for (unsigned i = 0; i < ARRAY_LEN(static_params); i++) {
        add_prop(obj, props, static_params[i]);
    }
    json_set(props, "min-level", json_new_uint(x->cpuid_level));
    json_set(props, "min-xlevel", json_new_uint(x->cpuid_xlevel));
    return props;
}

typedef struct Collection {
    Object *obj;
    Json *props;
} Collection;

static void add_row(const PropInfo *info, void *opaque)
{
    Collection *c = opaque;

    /* Lists tell the same again, and links and children are not the model's. */
    if (info->def && !(info->def->flags & PROP_HIDDEN) && !strchr(info->type, '<') &&
        strcmp(info->type, "strList") != 0 && strcmp(info->type, "X86CPUFeatureWordInfo") != 0) {
        add_prop(c->obj, c->props, info->name);
    }
}

static Json *full_props(Object *obj)
{
    Collection c = { obj, json_new_dict() };

    object_foreach_prop(obj, add_row, &c);
    json_set(c.props, "realized", json_new_bool(false));
    return c.props;
}

bool qmp_query_cpu_model_expansion(QmpCall *call, const QmpQueryCpuModelExpansionArgs *args,
                                   QapiCpuModelExpansionInfo **ret, GError **error)
{
    const CpuClass *class = model_class(args->model->name);
    bool is_static = args->type == QAPI_CPU_MODEL_EXPANSION_TYPE_STATIC;
    Device *dev;
    Setting s;

    if (!class) {
        return error_set(error, "CPU model '%s' not found", args->model->name);
    }
    if (args->model->props && !json_is(args->model->props, JSON_DICT)) {
        return error_set(error, "Invalid parameter type for 'props', expected: dict");
    }
    dev = device_new(call->vm, class->dev.name, error);
    if (!dev) {
        return false;
    }
    s = (Setting){ OBJECT(dev), error };
    if (args->model->props && !json_dict_foreach(args->model->props, set_prop, &s)) {
        object_unref(OBJECT(dev));
        return false;
    }
    *ret = g_new0(QapiCpuModelExpansionInfo, 1);
    (*ret)->model = g_new0(QapiCpuModelInfo, 1);
    (*ret)->model->name = g_strdup(is_static ? "base" : args->model->name);
    (*ret)->model->props = is_static ? static_props(OBJECT(dev), DEVICE_CAST(X86CpuDevice, dev)->x86)
                                     : full_props(OBJECT(dev));
    object_unref(OBJECT(dev));
    return true;
}

/* ---- inject-nmi ---- */

bool qmp_inject_nmi(QmpCall *call, GError **error)
{
    GPtrArray *cpus = call->vm->cpus;

    if (!cpus->len) {
        return error_set(error, "This machine has no processor that could take an NMI");
    }
    for (unsigned i = 0; i < cpus->len; i++) {
        Cpu *cpu = cpus->pdata[i];
        Object *apic = object_child(OBJECT(cpu), "lapic");

        if (apic) {
            apic_nmi_button((Apic *)(void *)apic);
        } else {
            x86_cpu_request(x86_cpu_device(cpu)->x86, X86_REQ_NMI);
            cpu_kick(cpu);
        }
    }
    return true;
}
