/* SPDX-License-Identifier: MIT */
/*
 * The CPU device.  Its state's meaning is in cpu.h; this file is the part that vm/ sees.
 * Locking: machine lock; registers are read only while the vCPU is at a safe point.
 */
#include "target-x86/x86_cpu.h"

#include "base/error.h"
#include "target-x86/cpu_models.h"
#include "base/log.h"
#include "target-x86/exception.h"
#include "target-x86/hostop.h"
#include "target-x86/inspect.h"
#include "target-x86/mmu.h"
#include "target-x86/x86_vmstate.h"
#include "vm/accel.h"

/* ---- what vm/cpu.h asks ---- */

static void x86_class_dump(Cpu *cpu, GString *out)
{
    x86_dump(x86_cpu_device(cpu)->x86, out);
}

static void x86_class_reset(Cpu *cpu)
{
    X86CpuDevice *s = x86_cpu_device(cpu);

    if (log_enabled(LOG_CPU_RESET)) {
        g_autoptr(GString) text = g_string_new(NULL);

        x86_class_dump(cpu, text);
        log_mask(LOG_CPU_RESET, "CPU Reset (CPU %u)\n%s", cpu->index, text->str);
    }
    s->shutdown = false;
    atomic_store(&s->x86->requests, X86_REQ_TLB_FLUSH);
    x86_cpu_reset(s->x86, false);
    cpu->halted = 0;
}

static bool x86_class_has_work(Cpu *cpu)
{
    X86CpuDevice *s = x86_cpu_device(cpu);

    return !s->shutdown && x86_has_work(s->x86);
}

static uint64_t x86_class_pc(Cpu *cpu)
{
    const X86Cpu *x86 = x86_cpu_device(cpu)->x86;

    return x86->segs[SEG_CS].base + x86->rip;
}

static bool x86_class_translate(Cpu *cpu, uint64_t va, gpa_t *pa)
{
    return x86_mmu_peek(x86_cpu_device(cpu)->x86, va, pa);
}

static void x86_class_list_pages(Cpu *cpu, bool ranges, GString *out)
{
    x86_list_pages(x86_cpu_device(cpu)->x86, ranges, out);
}

static unsigned x86_class_disassemble(Cpu *cpu, uint64_t va, const uint8_t *bytes, unsigned len,
                                      GString *out)
{
    return x86_disassemble(x86_cpu_device(cpu)->x86, va, bytes, len, out);
}

/* ---- life cycle ---- */

char *x86_cpu_type_model(const ObjectType *type)
{
    return g_strndup(type->name, strlen(type->name) - strlen(X86_CPU_TYPE_SUFFIX));
}

static void x86_init(Object *obj)
{
    X86CpuDevice *s = (X86CpuDevice *)(void *)obj;
    g_autofree char *model = x86_cpu_type_model(obj->type);

    cpu_init(&s->cpu);
    s->x86 = x86_cpu_new();
    s->x86->vm_cpu = &s->cpu;
    x86_cpu_model_apply(s->x86, model, NULL);
    if (s->cpu.dev.vm && s->cpu.dev.vm->accel && accel_type(s->cpu.dev.vm->accel)->features &&
        (g_str_equal(model, "host") || g_str_equal(model, "max"))) {
        x86_cpu_model_take_host(s->x86);
    }
}

static void x86_finalize(Object *obj)
{
    X86CpuDevice *s = (X86CpuDevice *)(void *)obj;

    x86_cpu_free(s->x86);
    cpu_clear(&s->cpu);
}

static bool x86_realize(Device *dev, GError **error)
{
    X86CpuDevice *s = DEVICE_CAST(X86CpuDevice, dev);

    s->x86->index = s->cpu.index;
    s->x86->apic_id = s->apic_id == UINT32_MAX ? s->cpu.index : s->apic_id;
    s->apic_id = s->x86->apic_id;
    x86_class_reset(&s->cpu);
    if (!host_op_init(error) || !cpu_start(&s->cpu, error)) {
        return false;
    }
    x86_vmstate_register(s);
    return true;
}

static void x86_unrealize(Device *dev)
{
    X86CpuDevice *s = DEVICE_CAST(X86CpuDevice, dev);

    x86_vmstate_unregister(s);
    cpu_stop(&s->cpu);
    if (s->bus.vm) {
        x86_vm_bus_clear(&s->bus);
    }
}

/* Registers change at a safe point only, and before any other CPU can send this one an IPI. */
static void x86_reset_hold(Device *dev)
{
    x86_class_reset(&DEVICE_CAST(X86CpuDevice, dev)->cpu);
}

/* clang-format off */
#define X86_CPU_CLASS(...)                                                                  \
    { .dev = { .size = sizeof(X86CpuDevice), .category = DEVICE_CATEGORY_CPU,               \
               .init = x86_init, .finalize = x86_finalize,                                  \
               .realize = x86_realize, .unrealize = x86_unrealize,                          \
               .reset_hold = x86_reset_hold, __VA_ARGS__ },                                 \
      .reset = x86_class_reset, .has_work = x86_class_has_work, .pc = x86_class_pc,         \
      .dump = x86_class_dump, .translate = x86_class_translate,         \
      .list_pages = x86_class_list_pages, .disassemble = x86_class_disassemble,             \
      .arch_name = "x86_64" }
/* clang-format on */

static CpuClass x86_cpu_class = X86_CPU_CLASS(.name = "x86_64-cpu", .abstract = true);
static const TypeRow x86_cpu_row = { &x86_cpu_class, "cpu" };

void x86_cpu_register_types(void)
{
    const char *model;

    if (type_find("qemu64" X86_CPU_TYPE_SUFFIX)) {
        return;
    }
    x86_cpu_class.dev.props = x86_cpu_props();
    type_register(&x86_cpu_row);
    for (unsigned i = 0; (model = x86_cpu_model_name(i)); i++) {
        CpuClass *class = g_new0(CpuClass, 1);

        *class = x86_cpu_class;
        class->dev.name = g_strconcat(model, X86_CPU_TYPE_SUFFIX, NULL);
        class->dev.abstract = false;
        class->dev.desc = x86_cpu_model_description(i);
        class->dev.init = NULL;       /* the parent's run */
        class->dev.finalize = NULL;
        class->dev.realize = NULL;
        class->dev.unrealize = NULL;
        class->dev.reset_hold = NULL;
        class->dev.props = NULL;
        type_register(&(TypeRow){ class, "x86_64-cpu" });
    }
}

/* ---- -cpu ---- */

static bool apply_word(X86CpuDevice *s, const char *word, GError **error)
{
    const char *eq = strchr(word, '=');
    g_autofree char *name = NULL;

    if (*word == '+' || *word == '-') {
        return x86_cpu_set_feature(s->x86, word + 1, *word == '+', error);
    }
    if (!eq) {
        return x86_cpu_set_feature(s->x86, word, true, error);
    }
    name = g_strndup(word, eq - word);
    if (type_find_prop(s->cpu.dev.obj.type, name)) {
        return object_set_text(OBJECT(s), name, eq + 1, error);
    }
    if (x86_cpu_model_is_param(name)) {
        return x86_cpu_set_param(s->x86, name, eq + 1, error);     /* "phys_bits" */
    }
    if (!g_str_equal(eq + 1, "on") && !g_str_equal(eq + 1, "off")) {
        return error_set(error, "-cpu property '%s' takes on or off, not '%s'", name, eq + 1);
    }
    return x86_cpu_set_feature(s->x86, name, g_str_equal(eq + 1, "on"), error);
}

bool x86_cpu_finish(X86CpuDevice *s, GError **error)
{
    Accel *accel = s->cpu.dev.vm->accel;
    const AccelType *type = accel ? accel_type(accel) : NULL;
    uint32_t features[FEAT_WORDS];

    if (type && type->features) {
        type->features(accel, features);
    }
    return x86_cpu_model_finish(s->x86, type && type->cpu_model_name ? type->cpu_model_name : "TCG",
                                type && type->features ? features : NULL, error);
}

X86CpuDevice *x86_cpu_create(Vm *vm, const char *text, unsigned index, uint32_t apic_id,
                             GError **error)
{
    g_auto(GStrv) words = g_strsplit(text, ",", -1);
    g_autofree char *type = g_strconcat(words[0], X86_CPU_TYPE_SUFFIX, NULL);
    const AccelType *accel = vm->accel ? accel_type(vm->accel) : NULL;
    Device *dev;
    X86CpuDevice *s;

    if (!x86_cpu_model_exists(words[0], error)) {
        return NULL;
    }
    if (g_str_equal(words[0], "host") && !(accel && accel->features)) {
        error_set(error, "CPU model 'host' requires KVM; 'max' is the most that %s can do",
                  accel ? accel->accel : "this");
        return NULL;
    }
    x86_cpu_register_types();
    dev = device_new(vm, type, error);
    if (!dev) {
        return NULL;
    }
    s = DEVICE_CAST(X86CpuDevice, dev);
    s->cpu.index = s->x86->index = index;
    s->apic_id = apic_id;
    for (unsigned i = 1; words[i]; i++) {
        if (*words[i] && !apply_word(s, words[i], error)) {
            goto fail;
        }
    }
    if (!x86_cpu_finish(s, error)) {
        goto fail;
    }
    x86_vm_bus_init(&s->bus, vm, s->x86);
    return s;

fail:
    object_unref(OBJECT(dev));
    return NULL;
}
