/* SPDX-License-Identifier: MIT */
/*
 * Making the machine: accelerator, board, and the devices that are there unless refused.
 * Default devices are made by name on the board's buses, the same way -device makes them.
 */
#include "system/system.h"

#include "base/error.h"
#include "base/log.h"
#include "base/parse.h"
#include "monitor/create.h"
#include "vm/accel.h"
#include "vm/memory_backend.h"

#include <string.h>

/* ---- accelerator ---- */

/* hw virtualization in /proc/cpuinfo: without it a working /dev/kvm is itself an emulation. */
static bool host_has_virtualization(void)
{
    g_autofree char *text = NULL;

    return g_file_get_contents("/proc/cpuinfo", &text, NULL, NULL) &&
           g_regex_match_simple("^flags\\s*:.*\\b(vmx|svm)\\b", text, G_REGEX_MULTILINE, 0);
}

static bool is_irqchip_key(const char *key)
{
    return strcmp(key, "kernel-irqchip") == 0 || strcmp(key, "kernel_irqchip") == 0;
}

/* -machine kernel-irqchip= is for the accelerator, if it has that; what -accel says wins. */
static bool apply_machine_irqchip(System *sys, Object *accel, GError **error)
{
    for (unsigned i = 0; sys->machine_opts && i < keyval_count(sys->machine_opts); i++) {
        const char *value = keyval_value_at(sys->machine_opts, i);

        if (!is_irqchip_key(keyval_key_at(sys->machine_opts, i))) {
            continue;
        }
        if (!g_strv_contains((const char *const[]){ "on", "off", "split", NULL }, value)) {
            return error_set(error, "-machine kernel-irqchip=%s: 'on', 'off' and 'split' are possible",
                             value);
        }
        if (type_find_prop(accel->type, "kernel-irqchip") &&
            !object_set_text(accel, "kernel-irqchip", value, error)) {
            return false;
        }
    }
    return true;
}

/* "kvm,kernel-irqchip=off": the object with its properties, not yet in use. */
static Object *make_accel(System *sys, const char *spec, GError **error)
{
    g_autoptr(KeyVal) kv = keyval_parse(spec, "accel", KEYVAL_BARE_BOOL, error);
    const char *name = kv ? keyval_get(kv, "accel") : NULL;
    const AccelType *type = name ? accel_find(name, error) : NULL;
    g_autoptr(Object) obj = NULL;

    if (kv && !name) {
        error_set(error, "expected the name of an accelerator");
    }
    if (type && sys->tcg_option && strcmp(type->accel, "tcg") != 0) {
        error_set(error, "-%s is not allowed with the accelerator %s: use -accel tcg", sys->tcg_option, name);
        return NULL;
    }
    obj = type ? object_new(type->name, error) : NULL;
    if (!obj || !apply_machine_irqchip(sys, obj, error)) {
        return NULL;
    }
    for (unsigned i = 0; sys->tcg_opts && i < keyval_count(sys->tcg_opts); i++) {
        if (!object_set_text(obj, keyval_key_at(sys->tcg_opts, i), keyval_value_at(sys->tcg_opts, i),
                             error)) {
            return NULL;
        }
    }
    for (unsigned i = 0; i < keyval_count(kv); i++) {
        if (strcmp(keyval_key_at(kv, i), "accel") != 0 &&
            !object_set_text(obj, keyval_key_at(kv, i), keyval_value_at(kv, i), error)) {
            return NULL;
        }
    }
    return g_steal_pointer(&obj);
}

static bool try_accel(System *sys, const char *spec, GError **error)
{
    g_autoptr(Object) obj = make_accel(sys, spec, error);
    const AccelType *type;
    Accel *accel;

    if (!obj) {
        return false;
    }
    type = (const AccelType *)(const void *)obj->type;
    if (type->probe && !type->probe(error)) {
        return false;
    }
    accel = (Accel *)(void *)obj;
    accel->vm = sys->vm;
    sys->vm->accel = accel;
    if (type->init_vm && !type->init_vm(accel, sys->vm, error)) {
        sys->vm->accel = NULL;
        return false;
    }
    g_steal_pointer(&obj);       /* the VM has it */
    return true;
}

/* Without a wish: KVM where it is real, else TCG with a line that says why. */
static bool default_accel(System *sys, GError **error)
{
    g_autoptr(GError) why = NULL;

    if (sys->tcg_option) {
        return try_accel(sys, "tcg", error);
    }
    if (accel_find("kvm", NULL) && host_has_virtualization()) {
        if (try_accel(sys, "kvm", &why)) {
            return true;
        }
        info_report("using TCG: %s", why->message);
    } else if (accel_find("tcg", NULL)) {
        info_report("using TCG: the host CPU offers no vmx or svm");
    }
    return try_accel(sys, "tcg", error);
}

static bool create_accel(System *sys, GError **error)
{
    const char *listed = sys->machine_opts ? keyval_get(sys->machine_opts, "accel") : NULL;
    g_autoptr(GPtrArray) specs = g_ptr_array_new_with_free_func(g_free);

    if (listed && sys->accels->len) {
        return error_set(error, "The -accel and \"-machine accel=\" options are incompatible");
    }
    if (listed) {
        g_auto(GStrv) names = g_strsplit(listed, ":", -1);

        for (unsigned i = 0; names[i]; i++) {
            g_ptr_array_add(specs, g_strdup(names[i]));
        }
    }
    for (unsigned i = 0; i < sys->accels->len; i++) {
        g_ptr_array_add(specs, g_strdup(sys->accels->pdata[i]));
    }
    if (!specs->len) {
        return sys->qtest ? try_accel(sys, "qtest", error) : default_accel(sys, error);
    }
    /* A wrong property is one also of an accelerator that will not be tried. */
    for (unsigned i = 0; i < sys->accels->len; i++) {
        g_autofree char *name = g_strndup(sys->accels->pdata[i], strcspn(sys->accels->pdata[i], ","));
        g_autoptr(Object) obj = NULL;

        if (accel_find(g_str_has_prefix(name, "accel=") ? name + 6 : name, NULL) &&
            !(obj = make_accel(sys, sys->accels->pdata[i], error))) {
            g_prefix_error(error, "-accel %s: ", (char *)sys->accels->pdata[i]);
            return false;
        }
    }
    for (unsigned i = 0; i < specs->len; i++) {
        g_autoptr(GError) why = NULL;

        if (try_accel(sys, specs->pdata[i], &why)) {
            if (i) {
                info_report("falling back to %s", (char *)specs->pdata[i]);
            }
            return true;
        }
        if (i + 1 == specs->len) {
            g_propagate_error(error, g_steal_pointer(&why));
            g_prefix_error(error, "-accel %s: ", (char *)specs->pdata[i]);
            return false;
        }
        warn_report("-accel %s: %s", (char *)specs->pdata[i], why->message);
    }
    return false;
}

/* ---- machine ---- */

const MachineType *system_machine_type(System *sys, GError **error)
{
    const char *name = sys->machine_opts ? keyval_get(sys->machine_opts, "type") : NULL;
    const MachineType *type;

    if (name) {
        return machine_find(name, error);
    }
    type = machine_default();
    if (!type) {
        error_set(error, "No machine specified, and there is no default; -machine help lists them");
    }
    return type;
}

static bool apply_rtc(System *sys, Machine *m, GError **error)
{
    static const char *const clocks[] = { "host", "rt", "vm", NULL };
    static const char *const fixes[] = { "none", "slew", NULL };
    KeyVal *r = sys->rtc_opts;
    int clock, fix;

    if (!r) {
        return true;
    }
    if (!keyval_get_enum(r, "clock", clocks, 0, &clock, error) ||
        !keyval_get_enum(r, "driftfix", fixes, 0, &fix, error)) {
        return false;
    }
    m->rtc_base = g_strdup(keyval_get(r, "base"));
    m->rtc_clock = g_strdup(clocks[clock]);
    m->rtc_slew = fix == 1;
    return keyval_check_used(r, "-rtc", error);
}

/* -machine keys that are not properties of the machine. */
static bool is_machine_meta(const char *key)
{
    return strcmp(key, "type") == 0 || strcmp(key, "accel") == 0 || is_irqchip_key(key);
}

static bool apply_boot(System *sys, Machine *m, GError **error)
{
    KeyVal *b = sys->boot_opts;
    const char *timeout = b ? keyval_get(b, "reboot-timeout") : NULL;
    int64_t reboot_timeout = -1;
    uint64_t splash_time = 0;

    m->boot_splash_time = m->boot_reboot_timeout = -1;
    if (!b) {
        return true;
    }
    if (!keyval_get_bool(b, "menu", false, &m->boot_menu, error) ||
        !keyval_get_bool(b, "strict", false, &m->boot_strict, error) ||
        !keyval_get_uint(b, "splash-time", 0, 65535, &splash_time, error) ||
        (timeout && !parse_int("Parameter 'reboot-timeout'", timeout, -1, 65535, &reboot_timeout,
                               error))) {
        return false;
    }
    m->boot_menu_set = keyval_has(b, "menu");
    m->boot_splash_time = keyval_has(b, "splash-time") ? (int)splash_time : -1;
    m->boot_reboot_timeout = (int)reboot_timeout;
    m->boot_splash = g_strdup(keyval_get(b, "splash"));
    m->boot_order = g_strdup(keyval_get(b, "order"));
    m->boot_once = g_strdup(keyval_get(b, "once"));
    return keyval_check_used(b, "-boot", error);
}

static bool apply_machine_props(System *sys, Machine *m, GError **error)
{
    for (unsigned i = 0; sys->machine_opts && i < keyval_count(sys->machine_opts); i++) {
        const char *key = keyval_key_at(sys->machine_opts, i);

        if (!is_machine_meta(key) &&
            !object_set_text(OBJECT(m), key, keyval_value_at(sys->machine_opts, i), error)) {
            return false;
        }
    }
    if ((sys->no_hpet && !object_set_text(OBJECT(m), "hpet", "off", error)) ||
        (sys->no_acpi && !object_set_text(OBJECT(m), "acpi", "off", error))) {
        return false;
    }
    return true;
}

/* Without -m, a named memory back end says how much memory there is. */
static bool apply_memory_backend(System *sys, Machine *m, GError **error)
{
    bool size_given = sys->memory_opts && keyval_has(sys->memory_opts, "size");
    MemoryBackend *mb;

    m->mem_path = g_strdup(sys->mem_path);
    m->mem_prealloc = sys->mem_prealloc;
    if (!m->memory_backend || size_given) {
        return true;
    }
    mb = memory_backend_find(sys->vm, m->memory_backend, error);
    if (!mb) {
        return false;
    }
    m->ram_size = mb->size;
    m->max_ram_size = MAX(m->max_ram_size, m->ram_size);
    return true;
}

static bool check_kernel_options(System *sys, GError **error)
{
    if (sys->initrd && !sys->kernel) {
        return error_set(error, "-initrd only allowed with -kernel option");
    }
    if (sys->append && !sys->kernel) {
        return error_set(error, "-append only allowed with -kernel option");
    }
    return true;
}

bool system_create_machine(System *sys, GError **error)
{
    const MachineType *type = system_machine_type(sys, error);
    g_autoptr(Object) obj = NULL;
    Machine *m;

    if (!type || !check_kernel_options(sys, error)) {
        return false;
    }
    for (const GlobalProp *g = type->compat; g && g->driver; g++) {
        globals_add(g->driver, g->property, g->value, true);
    }
    obj = object_new(type->name, error);
    if (!obj) {
        return false;
    }
    m = (Machine *)(void *)obj;
    m->vm = sys->vm;
    m->default_devices = !sys->nodefaults;
    m->cpu_type = g_strdup(sys->cpu ? sys->cpu : type->default_cpu);
    m->kernel = g_strdup(sys->kernel);
    m->initrd = g_strdup(sys->initrd);
    m->append = g_strdup(sys->append);
    m->firmware = g_strdup(sys->bios);
    if (!topology_parse(sys->smp_opts, type, &m->smp, error) ||
        !memory_parse(sys->memory_opts, type, m, error) || !apply_boot(sys, m, error) ||
        !apply_rtc(sys, m, error) ||
        !apply_machine_props(sys, m, error) || !apply_memory_backend(sys, m, error)) {
        return false;
    }
    sys->vm->machine = m;
    object_add_child(sys->vm->root, "machine", obj);
    if (!create_accel(sys, error)) {
        return false;
    }
    return !type->build || type->build(m, error);
}

/* ---- default devices ---- */

static Json *props_new(const char *driver, ...) G_GNUC_NULL_TERMINATED;
static Json *props_new(const char *driver, ...)
{
    Json *props = json_new_dict();
    va_list args;
    const char *key;

    json_set(props, "driver", json_new_string(driver));
    va_start(args, driver);
    while ((key = va_arg(args, const char *))) {
        json_set(props, key, json_new_string(va_arg(args, const char *)));
    }
    va_end(args);
    return props;
}

static bool make(System *sys, Json *take, GError **error)
{
    g_autoptr(Json) props = take;

    return create_device(sys->vm, props, CREATE_DEFAULT, error) != NULL;
}

static bool make_ports(System *sys, GPtrArray *specs, const char *driver, const char *prefix,
                       GError **error)
{
    for (unsigned i = 0; i < specs->len; i++) {
        g_autofree char *index = g_strdup_printf("%u", i);
        const char *spec = specs->pdata[i];
        g_autofree char *chardev = g_str_has_prefix(spec, "chardev:")
                                       ? g_strdup(spec + strlen("chardev:"))
                                       : g_strdup_printf("%s%u", prefix, i);

        if (strcmp(spec, "none") != 0 &&
            !make(sys, props_new(driver, "index", index, "chardev", chardev, NULL), error)) {
            g_prefix_error(error, "-%s %s: ", prefix, spec);
            return false;
        }
    }
    return true;
}

bool system_create_default_devices(System *sys, GError **error)
{
    const MachineType *type = machine_type(sys->vm->machine);
    const char *vga = sys->vga ? sys->vga : sys->default_vga ? type->default_display : NULL;

    if (type->build && vga && strcmp(vga, "std") == 0 && type_find("VGA") &&
        !make(sys, props_new("VGA", NULL), error)) {
        return false;
    }
    if (sys->ports_are_default && !bus_find(sys->vm, "isa.0", NULL)) {
        return true;             /* a board without ISA ports: nobody asked for one */
    }
    if (sys->vm->machine->no_serial_ports && sys->serials->len && !sys->serial_is_default) {
        return error_set(error, "-serial: this machine has no serial port with isa-serial=off");
    }
    return ((sys->vm->machine->no_serial_ports && sys->serial_is_default) ||
            make_ports(sys, sys->serials, "isa-serial", "serial", error)) &&
           ((type->no_parallel && sys->parallel_is_default) ||
            make_ports(sys, sys->parallels, "isa-parallel", "parallel", error));
}
