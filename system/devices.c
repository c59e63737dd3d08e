/* SPDX-License-Identifier: MIT */
/* -device, -object and the lists that "help" asks for. */
#include "system/system.h"

#include "base/error.h"
#include "base/log.h"
#include "hw/fw_cfg/fw_cfg.h"
#include "hw/i386/boot_order.h"
#include "monitor/create.h"
#include "roms/firmware.h"
#include "vm/accel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The dict of "a=b,c=d" or of a JSON text; *HELP when help was asked for. */
static Json *props_of(const char *arg, const char *implied, bool *help, GError **error)
{
    g_autoptr(KeyVal) kv = NULL;
    Json *props;

    *help = false;
    if (arg[0] == '{') {
        return json_parse(arg, error);
    }
    kv = keyval_parse(arg, implied, KEYVAL_BARE_BOOL, error);
    if (!kv) {
        return NULL;
    }
    *help = keyval_wants_help(kv);
    props = json_new_dict();
    for (unsigned i = 0; i < keyval_count(kv); i++) {
        json_set(props, keyval_key_at(kv, i), json_new_string(keyval_value_at(kv, i)));
    }
    return props;
}

/* ---- defaults ---- */

/* A device on the command line takes the place of what a machine has unasked. */
#define DEFAULT(driver, field) { driver, offsetof(System, field) }
static const struct {
    const char *driver;
    size_t flag;
} replaced_defaults[] = {
    DEFAULT("isa-serial", default_serial), DEFAULT("isa-parallel", default_parallel),
    DEFAULT("isa-fdc", default_floppy), DEFAULT("floppy", default_floppy),
    DEFAULT("ide-cd", default_cdrom), DEFAULT("ide-hd", default_cdrom),
    DEFAULT("scsi-cd", default_cdrom), DEFAULT("scsi-hd", default_cdrom),
    DEFAULT("VGA", default_vga),
};
#undef DEFAULT

void replace_defaults(System *sys)
{
    for (unsigned i = 0; i < sys->uses->len; i++) {
        const OptionUse *use = sys->uses->pdata[i];
        bool help, device = strcmp(use->row->name, "device") == 0;
        g_autoptr(Json) props = device ? props_of(use->arg, "driver", &help, NULL) : NULL;
        const char *driver = props ? json_lookup_string(props, "driver") : NULL;

        for (unsigned k = 0; driver && k < G_N_ELEMENTS(replaced_defaults); k++) {
            if (strcmp(driver, replaced_defaults[k].driver) == 0) {
                *(bool *)((char *)sys + replaced_defaults[k].flag) = false;
            }
        }
    }
}

/* ---- lists ---- */

static const char *const categories[] = {
    [DEVICE_CATEGORY_BRIDGE] = "Controller/Bridge/Hub",
    [DEVICE_CATEGORY_USB] = "USB",
    [DEVICE_CATEGORY_STORAGE] = "Storage",
    [DEVICE_CATEGORY_NETWORK] = "Network",
    [DEVICE_CATEGORY_INPUT] = "Input",
    [DEVICE_CATEGORY_DISPLAY] = "Display",
    [DEVICE_CATEGORY_SOUND] = "Sound",
    [DEVICE_CATEGORY_MISC] = "Misc",
    [DEVICE_CATEGORY_CPU] = "CPU",
    [DEVICE_CATEGORY_WATCHDOG] = "Watchdog",
    [DEVICE_CATEGORY_NONE] = "Uncategorized",
};

typedef struct Listing {
    DeviceCategory category;
    bool any, first;
} Listing;

static void print_device(const ObjectType *type, void *opaque)
{
    const DeviceType *d = (const DeviceType *)type;
    Listing *l = opaque;

    if (!d->user_creatable || d->category != l->category) {
        return;
    }
    if (!l->any) {
        printf("%s%s devices:\n", l->first ? "" : "\n",
               categories[l->category]);
        l->any = true;
    }
    printf("name \"%s\"", d->name);
    if (d->bus) {
        printf(", bus %s", d->bus->name);
    }
    if (d->desc) {
        printf(", desc \"%s\"", d->desc);
    }
    printf("\n");
}

static void list_devices(void)
{
    bool first = true;

    for (unsigned i = 1; i <= G_N_ELEMENTS(categories); i++) {
        Listing l = { (DeviceCategory)(i % G_N_ELEMENTS(categories)), false, first };

        type_foreach("device", false, print_device, &l);
        first = first && !l.any;
    }
}

static char *default_text(const PropDef *p)
{
    if (p->get) {
        return g_strdup("");      /* computed: of the object's making */
    }
    if (p->def_str) {
        return g_strdup_printf(" (default: \"%s\")", p->def_str);
    }
    if (p->type == &prop_bool || p->type == &prop_bit32 || p->type == &prop_bit64) {
        return g_strdup_printf(" (default: %s)", p->def ? "true" : "false");
    }
    if (p->type == &prop_on_off_auto) {
        return g_strdup_printf(" (default: \"%s\")", p->def == ON_OFF_AUTO_AUTO ? "auto"
                               : p->def == ON_OFF_AUTO_ON ? "on" : "off");
    }
    if (p->type == &prop_i64 || g_str_equal(p->type->name, "int32")) {
        return g_strdup_printf(" (default: %" G_GINT64_FORMAT ")", (gint64)p->def);
    }
    if (p->type == &prop_enum) {
        return g_strdup_printf(" (default: \"%s\")", ((const char *const *)p->arg)[p->def]);
    }
    if (p->type == &prop_str || p->type == &prop_link) {
        return g_strdup("");
    }
    return g_strdup_printf(" (default: %" G_GUINT64_FORMAT ")", p->def);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const PropDef *const *)a)->name, (*(const PropDef *const *)b)->name);
}

static void gather(const PropDef *p, GPtrArray *rows)
{
    for (; p && p->name; p++) {
        if (!(p->flags & (PROP_HIDDEN | PROP_READ_ONLY))) {
            g_ptr_array_add(rows, (void *)p);
        }
    }
}

/* The rows of a type and its ancestors. */
static void gather_type(const ObjectType *type, GPtrArray *rows)
{
    for (const ObjectType *t = type; t; t = type_parent(t)) {
        gather(t->props, rows);
    }
}

static void list_props(const ObjectType *type)
{
    g_autoptr(GPtrArray) rows = g_ptr_array_new();

    gather_type(type, rows);
    if (type_is_a(type, "device") && ((const DeviceType *)type)->model) {
        gather_type(type_find(((const DeviceType *)type)->model), rows);
    }
    if (type_is_a(type, "device") && ((const DeviceType *)type)->bus) {
        gather(((const DeviceType *)type)->bus->device_props, rows);
    }
    g_ptr_array_sort(rows, by_name);
    if (!rows->len) {
        printf("There are no options for %s.\n", type->name);
        return;
    }
    printf("%s options:\n", type->name);
    for (unsigned i = 0; i < rows->len; i++) {
        const PropDef *p = rows->pdata[i];
        g_autofree char *head = g_strdup_printf("  %s=<%s>", p->name, p->type->name);
        g_autofree char *tail = default_text(p);

        if (p->help || *tail) {
            printf("%-24s - %s%s\n", head, p->help ? p->help : "", tail);
        } else {
            printf("%s\n", head);
        }
    }
}

static void print_creatable(const ObjectType *type, void *opaque)
{
    if (type_is_creatable(type)) {
        printf("  %s\n", type->name);
    }
}

static void print_accel(const ObjectType *type, void *opaque)
{
    printf("%s\n", ((const AccelType *)type)->accel);
}

static void print_cpu(const ObjectType *type, void *opaque)
{
    const char *end = strstr(type->name, "-x86_64-cpu");

    if (end) {
        printf("x86 %-20.*s  %s\n", (int)(end - type->name), type->name,
               type->desc ? type->desc : "");
    }
}

static void print_machine(const ObjectType *type, void *opaque)
{
    const MachineType *m = (const MachineType *)type;

    if (m->alias) {
        printf("%-20s %s (alias of %s)\n", m->alias, m->desc ? m->desc : "", m->machine);
    }
    printf("%-20s %s%s%s\n", m->machine, m->desc ? m->desc : "", m->is_default ? " (default)" : "",
           m->deprecated ? " (deprecated)" : "");
}

/* ---- options ---- */

bool opt_machine(System *sys, const char *arg, GError **error)
{
    g_autoptr(KeyVal) kv = keyval_parse(arg, "type", KEYVAL_BARE_BOOL, error);

    if (!kv) {
        return false;
    }
    if (!sys->machine_opts) {
        sys->machine_opts = keyval_new();
    }
    for (unsigned i = 0; i < keyval_count(kv); i++) {
        keyval_set(sys->machine_opts, keyval_key_at(kv, i), keyval_value_at(kv, i));
    }
    if (keyval_wants_help(kv)) {
        const char *name = keyval_get(sys->machine_opts, "type");
        const MachineType *type = name ? machine_find(name, error) : NULL;

        if (name && !type) {
            return false;
        }
        if (name) {
            list_props((const ObjectType *)type);
        } else {
            printf("Supported machines are:\n");
            type_foreach("machine", false, print_machine, NULL);
        }
        exit(0);
    }
    return true;
}

static bool wants_help(const char *arg)
{
    return strcmp(arg, "help") == 0 || strcmp(arg, "?") == 0;
}

bool opt_accel(System *sys, const char *arg, GError **error)
{
    g_autoptr(KeyVal) kv = keyval_parse(arg, "accel", KEYVAL_BARE_BOOL, error);
    const char *name = kv ? keyval_get(kv, "accel") : NULL;

    if (kv && keyval_wants_help(kv)) {
        const AccelType *type = name ? accel_find(name, error) : NULL;

        if (name && !type) {
            return false;
        }
        if (name) {
            list_props((const ObjectType *)type);
        } else {
            printf("Accelerators supported in QEMU binary:\n");
            type_foreach("accel", false, print_accel, NULL);
        }
        exit(0);
    }
    if (!kv) {
        return false;
    }
    g_ptr_array_add(sys->accels, g_strdup(arg));
    return true;
}

bool opt_cpu(System *sys, const char *arg, GError **error)
{
    if (wants_help(arg)) {
        printf("Available CPUs:\n");
        type_foreach("cpu", false, print_cpu, NULL);
        exit(0);
    }
    g_free(sys->cpu);
    sys->cpu = g_strdup(arg);
    return true;
}

bool opt_device(System *sys, const char *arg, GError **error)
{
    bool help;
    g_autoptr(Json) props = props_of(arg, "driver", &help, error);
    const char *driver;

    if (!props) {
        return false;
    }
    driver = create_driver_name(json_lookup_string(props, "driver"));
    if (help) {
        const ObjectType *type = driver ? type_find(driver) : NULL;

        if (!driver) {
            list_devices();
        } else if (!type) {
            return error_set(error, "'%s' is not a valid device model name; -device help lists "
                             "them", driver);
        } else {
            list_props(type);
        }
        exit(0);
    }
    return create_device(sys->vm, props, CREATE_COLD, error) != NULL;
}

bool opt_object(System *sys, const char *arg, GError **error)
{
    bool help;
    g_autoptr(Json) props = props_of(arg, "qom-type", &help, error);
    const char *name;

    if (!props) {
        return false;
    }
    name = json_lookup_string(props, "qom-type");
    if (help) {
        const ObjectType *type = name ? type_find(name) : NULL;

        if (!name) {
            printf("List of user creatable objects:\n");
            type_foreach(NULL, false, print_creatable, NULL);
        } else if (!type) {
            return error_set(error, "invalid object type: %s", name);
        } else {
            list_props(type);
        }
        exit(0);
    }
    return create_object(sys->vm, props, error) != NULL;
}

static bool check_audiodev_key(const char *key, Json *value, void *opaque)
{
    return strcmp(key, "driver") == 0 || strcmp(key, "id") == 0 ||
           error_set(opaque, "Parameter '%s' is unexpected: driver none takes an id only", key);
}

/* The one driver swallows what it gets, so there is nothing to open. */
bool opt_audiodev(System *sys, const char *arg, GError **error)
{
    bool help;
    g_autoptr(Json) props = props_of(arg, "driver", &help, error);
    const char *driver = props ? json_lookup_string(props, "driver") : NULL;

    if (props && help) {
        printf("Available audio drivers:\nnone\n");
        exit(0);
    }
    if (!props) {
        return false;
    }
    if (!driver || !json_lookup_string(props, "id")) {
        return error_set(error, "Parameter '%s' is missing", driver ? "id" : "driver");
    }
    if (strcmp(driver, "none") != 0) {
        return error_set(error, "Parameter 'driver' does not accept value '%s': this build has no "
                                "sound, its one driver is none", driver);
    }
    return json_dict_foreach(props, check_audiodev_key, error);
}

/* ---- -fw_cfg ---- */

static FwCfg *find_fw_cfg(Vm *vm)
{
    for (unsigned i = 0; i < vm->system_bus.devices->len; i++) {
        Device *dev = vm->system_bus.devices->pdata[i];

        if (object_is_a(OBJECT(dev), "fw_cfg_io")) {
            return DEVICE_CAST(FwCfg, dev);
        }
    }
    return NULL;
}

/* [name=]name,file=path or [name=]name,string=text */
bool opt_fw_cfg(System *sys, const char *arg, GError **error)
{
    g_autoptr(KeyVal) kv = keyval_parse(arg, "name", KEYVAL_BARE_BOOL, error);
    FwCfg *cfg = find_fw_cfg(sys->vm);
    const char *name, *file, *string;
    char *data = NULL;
    gsize len;

    if (!kv) {
        return false;
    }
    name = keyval_get(kv, "name");
    file = keyval_get(kv, "file");
    string = keyval_get(kv, "string");
    if (!keyval_check_used(kv, "-fw_cfg", error)) {
        return false;
    }
    if (!cfg) {
        return error_set(error, "this machine has no fw_cfg device");
    }
    if (!name || !*name || !file == !string) {
        return error_set(error, "expected name=NAME and either file=PATH or string=TEXT");
    }
    if (!g_str_has_prefix(name, "opt/")) {
        warn_report("externally provided fw_cfg item names should be prefixed with \"opt/\"");
    }
    if (file && !g_file_get_contents(file, &data, &len, error)) {
        return false;
    }
    if (string) {
        data = g_strdup(string);
        len = strlen(string);        /* without the NUL */
    }
    return fw_cfg_add_file(cfg, name, data, len, error);
}

/* [romfile=]file[,bootindex=n]: SeaBIOS runs what is in genroms/. */
bool opt_option_rom(System *sys, const char *arg, GError **error)
{
    g_autoptr(KeyVal) kv = keyval_parse(arg, "romfile", 0, error);
    FwCfg *cfg = find_fw_cfg(sys->vm);
    const char *file = kv ? keyval_get(kv, "romfile") : NULL;
    g_autofree char *path = NULL, *base = NULL, *name = NULL, *boot_path = NULL;
    uint64_t index = UINT64_MAX;
    char *data;
    gsize len;

    if (!kv || !keyval_get_uint(kv, "bootindex", UINT64_MAX, INT32_MAX, &index, error) ||
        !keyval_check_used(kv, "-option-rom", error)) {
        return false;
    }
    if (!file || !cfg) {
        return error_set(error, file ? "this machine has no fw_cfg device to hand ROMs to the firmware"
                                     : "Parameter 'romfile' is missing");
    }
    path = firmware_find(file, error);
    if (!path || !g_file_get_contents(path, &data, &len, error)) {
        return false;
    }
    if (len < 3 || (uint8_t)data[0] != 0x55 || (uint8_t)data[1] != 0xaa) {
        g_free(data);
        return error_set(error, "'%s' is no option ROM: it does not begin with 55 aa", path);
    }
    base = g_path_get_basename(path);
    name = g_strdup_printf("genroms/%s", base);
    boot_path = g_strdup_printf("/rom@%s", name);
    if (index != UINT64_MAX) {
        boot_order_add_path(sys->vm, (int)index, boot_path);
    }
    return fw_cfg_add_file(cfg, name, data, len, error);
}

/* Network back ends do not exist yet, so that "none" is all there is to ask for. */
bool opt_no_net(System *sys, const char *arg, GError **error)
{
    return strcmp(arg, "none") == 0 ||
           error_set(error, "this build has no network back ends; only 'none' is possible");
}
