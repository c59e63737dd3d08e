/* SPDX-License-Identifier: MIT */
/* Handlers of the options that note something for later, and of the informational ones. */
#include "system/system.h"

#include "base/error.h"
#include "base/log.h"
#include "base/trace.h"
#include "hw/smbios/smbios.h"
#include "roms/firmware.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

bool opt_help(System *sys, const char *arg, GError **error)
{
    options_print_help();
    exit(0);
}

bool opt_version(System *sys, const char *arg, GError **error)
{
    printf("QEMU emulator version 7.2.22 (rhea " RHEA_VERSION ")\n");
    exit(0);
}

/* Parses ARG and lays it over *INTO: later options win key by key, as in QEMU. */
static bool merge(KeyVal **into, const char *arg, const char *implied, GError **error)
{
    g_autoptr(KeyVal) kv = keyval_parse(arg, implied, KEYVAL_BARE_BOOL, error);

    if (!kv) {
        return false;
    }
    if (!*into) {
        *into = keyval_new();
    }
    for (unsigned i = 0; i < keyval_count(kv); i++) {
        keyval_set(*into, keyval_key_at(kv, i), keyval_value_at(kv, i));
    }
    return true;
}

static bool note(char **into, const char *arg)
{
    g_free(*into);
    *into = g_strdup(arg);
    return true;
}

#define NOTE_TEXT(id, field)                                                                 \
    bool opt_##id(System *sys, const char *arg, GError **error)                              \
    {                                                                                        \
        return note(&sys->field, arg);                                                       \
    }
#define NOTE_FLAG(id, field)                                                                 \
    bool opt_##id(System *sys, const char *arg, GError **error)                              \
    {                                                                                        \
        sys->field = true;                                                                   \
        return true;                                                                         \
    }
#define NOTE_LIST(id, field)                                                                 \
    bool opt_##id(System *sys, const char *arg, GError **error)                              \
    {                                                                                        \
        g_ptr_array_add(sys->field, g_strdup(arg));                                          \
        return true;                                                                         \
    }
#define NOTE_KEYVAL(id, field, implied)                                                      \
    bool opt_##id(System *sys, const char *arg, GError **error)                              \
    {                                                                                        \
        return merge(&sys->field, arg, implied, error);                                      \
    }

NOTE_TEXT(kernel, kernel)
NOTE_TEXT(initrd, initrd)
NOTE_TEXT(append, append)
NOTE_TEXT(bios, bios)
NOTE_TEXT(mem_path, mem_path)
NOTE_TEXT(dump_vmstate, dump_vmstate)
NOTE_TEXT(qtest, qtest)
NOTE_TEXT(qtest_log, qtest_log)
NOTE_FLAG(mem_prealloc, mem_prealloc)
NOTE_FLAG(nodefaults, nodefaults)
NOTE_FLAG(S, start_paused)
NOTE_FLAG(daemonize, daemonize)
NOTE_FLAG(no_hpet, no_hpet)
NOTE_FLAG(no_acpi, no_acpi)
NOTE_FLAG(snapshot, snapshot)
NOTE_LIST(serial, serials)
NOTE_LIST(parallel, parallels)
NOTE_LIST(monitor, monitors)
NOTE_KEYVAL(smp, smp_opts, "cpus")
NOTE_KEYVAL(m, memory_opts, "size")
NOTE_KEYVAL(rtc, rtc_opts, "base")

/* Absolute: -daemonize leaves the folder. */
bool opt_pidfile(System *sys, const char *arg, GError **error)
{
    g_free(sys->pidfile);
    sys->pidfile = g_canonicalize_filename(arg, NULL);
    return true;
}

bool opt_nographic(System *sys, const char *arg, GError **error)
{
    sys->nographic = true;
    return note(&sys->display, "none");
}

bool opt_no_user_config(System *sys, const char *arg, GError **error)
{
    return true;             /* no files are ever read unasked */
}

bool opt_no_fd_bootchk(System *sys, const char *arg, GError **error)
{
    return merge(&sys->machine_opts, "fd-bootchk=off", NULL, error);
}

/* For the accelerator that will be made, whose own -accel words win. */
static void set_tcg(System *sys, const char *option, const char *prop, const char *value)
{
    if (!sys->tcg_opts) {
        sys->tcg_opts = keyval_new();
    }
    sys->tcg_option = option;
    keyval_set(sys->tcg_opts, prop, value);
}

bool opt_icount(System *sys, const char *arg, GError **error)
{
    g_autoptr(KeyVal) kv = keyval_parse(arg, "shift", KEYVAL_BARE_BOOL, error);
    const char *shift = kv ? keyval_get(kv, "shift") : NULL;
    bool sleep, align;

    if (!kv || !keyval_get_bool(kv, "sleep", true, &sleep, error) ||
        !keyval_get_bool(kv, "align", false, &align, error) ||
        !keyval_check_used(kv, "icount", error)) {
        return false;
    }
    if (align) {
        return error_set(error, "align=on: a guest is not held back to the host's time here");
    }
    if (!shift || (strcmp(shift, "auto") != 0 && !g_ascii_string_to_signed(shift, 10, 0, 10, NULL, NULL))) {
        return error_set(error, "icount: Invalid shift value '%s': 0 to 10, or auto", shift ? shift : "");
    }
    set_tcg(sys, "icount", "thread", "single");
    set_tcg(sys, "icount", "x-icount", shift);
    set_tcg(sys, "icount", "x-icount-sleep", sleep ? "on" : "off");
    return true;
}

bool opt_singlestep(System *sys, const char *arg, GError **error)
{
    set_tcg(sys, "singlestep", "one-insn-per-tb", "on");
    return true;
}

bool opt_perfmap(System *sys, const char *arg, GError **error)
{
    set_tcg(sys, "perfmap", "x-perfmap", "on");
    return true;
}

bool opt_enable_kvm(System *sys, const char *arg, GError **error)
{
    return opt_accel(sys, "kvm", error);
}

bool opt_boot(System *sys, const char *arg, GError **error)
{
    const char *keys[] = { "order", "once" };

    if (!merge(&sys->boot_opts, arg, "order", error)) {
        return false;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(keys); i++) {
        const char *drives = keyval_get(sys->boot_opts, keys[i]);
        unsigned seen = 0;

        for (; drives && *drives; drives++) {
            if (*drives < 'a' || *drives > 'p') {
                return error_set(error, "Invalid boot device '%c'; a floppy, c hard disk, d CD-ROM, "
                                        "n network", *drives);
            }
            if (seen & 1u << (*drives - 'a')) {
                return error_set(error, "Boot device '%c' was given twice", *drives);
            }
            seen |= 1u << (*drives - 'a');
        }
    }
    return true;
}

bool opt_name(System *sys, const char *arg, GError **error)
{
    g_autoptr(KeyVal) kv = keyval_parse(arg, "guest", KEYVAL_BARE_BOOL, error);
    const char *process;
    bool debug_threads;

    if (!kv || !keyval_get_bool(kv, "debug-threads", false, &debug_threads, error)) {
        return false;
    }
    note(&sys->name, keyval_get(kv, "guest"));
    process = keyval_get(kv, "process");
    if (process) {
        prctl(PR_SET_NAME, process);
    }
    return keyval_check_used(kv, "-name", error);
}

bool opt_uuid(System *sys, const char *arg, GError **error)
{
    if (!g_uuid_string_is_valid(arg)) {
        return error_set(error, "failed to parse UUID string: wrong format; expected "
                                "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx, hexadecimal");
    }
    sys->uuid = g_ascii_strdown(arg, -1);
    return smbios_set(1, "uuid", sys->uuid, error);
}

static void print_dir(const char *dir, void *opaque)
{
    printf("%s\n", dir);
}

bool opt_display(System *sys, const char *arg, GError **error)
{
    g_autoptr(KeyVal) kv = keyval_parse(arg, "type", KEYVAL_BARE_BOOL, error);
    DisplayOptions *o = &sys->display_options;
    const char *type = kv ? keyval_get(kv, "type") : NULL;

    if (kv && !type && keyval_wants_help(kv)) {
        printf("Available display backend types:\nnone\nsdl\n");
        exit(0);
    }
    if (kv && !type) {
        return error_set(error, "Parameter 'type' is missing; use none or sdl");
    }
    if (!kv || !keyval_get_bool(kv, "full-screen", o->full_screen, &o->full_screen, error) ||
        !keyval_get_bool(kv, "window-close", true, &o->window_close, error) ||
        !keyval_get_bool(kv, "show-cursor", false, &o->show_cursor, error)) {
        return false;
    }
    o->grab_mod = g_intern_string(keyval_get(kv, "grab-mod"));
    return keyval_check_used(kv, "-display", error) && display_find(type, error) &&
           note(&sys->display, type);
}

bool opt_vga(System *sys, const char *arg, GError **error)
{
    static const struct {
        const char *name, *desc;
    } adapters[] = { { "none", "no graphic card" }, { "std", "standard VGA (default)" } };

    if (strcmp(arg, "help") == 0) {
        for (unsigned i = 0; i < G_N_ELEMENTS(adapters); i++) {
            printf("%-20s %s\n", adapters[i].name, adapters[i].desc);
        }
        exit(0);
    }
    sys->default_vga = false;
    for (unsigned i = 0; i < G_N_ELEMENTS(adapters); i++) {
        if (strcmp(arg, adapters[i].name) == 0) {
            return note(&sys->vga, arg);
        }
    }
    return error_set(error, "unknown vga type: %s; this build has: none, std", arg);
}

bool opt_full_screen(System *sys, const char *arg, GError **error)
{
    sys->display_options.full_screen = true;
    return true;
}

bool opt_L(System *sys, const char *arg, GError **error)
{
    if (strcmp(arg, "help") == 0) {
        firmware_foreach_dir(print_dir, NULL);
        exit(0);
    }
    firmware_add_dir(arg);
    return true;
}

/* "type=1,manufacturer=x,..." */
bool opt_smbios(System *sys, const char *arg, GError **error)
{
    g_autoptr(KeyVal) kv = keyval_parse(arg, NULL, 0, error);
    uint64_t type;

    if (!kv || !keyval_get_uint(kv, "type", 0, 255, &type, error)) {
        return false;
    }
    if (!keyval_has(kv, "type")) {
        return error_set(error, "Parameter 'type' is missing; files of tables are not supported");
    }
    if (!smbios_check_type((unsigned)type, error)) {
        return false;
    }
    for (unsigned i = 0; i < keyval_count(kv); i++) {
        if (strcmp(keyval_key_at(kv, i), "type") != 0 &&
            !smbios_set((unsigned)type, keyval_key_at(kv, i), keyval_value_at(kv, i), error)) {
            return false;
        }
    }
    return true;
}

static void print_trace_event(TraceEvent *event, void *opaque)
{
    printf("%s\n", event->name);
}

bool opt_d(System *sys, const char *arg, GError **error)
{
    if (strcmp(arg, "help") == 0 || strcmp(arg, "?") == 0) {
        g_autofree char *help = log_items_help();

        printf("%s", help);
        exit(0);
    }
    if (strcmp(arg, "trace:help") == 0) {
        return opt_trace(sys, "help", error);
    }
    return log_add_items(arg, error);
}

bool opt_D(System *sys, const char *arg, GError **error)
{
    return log_set_file(arg, error);
}

bool opt_dfilter(System *sys, const char *arg, GError **error)
{
    return log_set_filter(arg, error);
}

bool opt_trace(System *sys, const char *arg, GError **error)
{
    if (strcmp(arg, "help") == 0) {
        trace_foreach(print_trace_event, NULL);
        exit(0);
    }
    return trace_configure(arg, error);
}

bool opt_msg(System *sys, const char *arg, GError **error)
{
    g_autoptr(KeyVal) kv = keyval_parse(arg, "timestamp", KEYVAL_BARE_BOOL, error);
    bool timestamp, guest_name;

    if (!kv || !keyval_get_bool(kv, "timestamp", false, &timestamp, error) ||
        !keyval_get_bool(kv, "guest-name", false, &guest_name, error) ||
        !keyval_check_used(kv, "-msg", error)) {
        return false;
    }
    report_set_timestamp(timestamp);
    if (guest_name) {
        report_set_guest_name(sys->name);
    }
    return true;
}

/* Nothing here turns characters into keys, so that any layout is as good as another. */
bool opt_k(System *sys, const char *arg, GError **error)
{
    static const char *const layouts[] = {
        "ar", "bepo", "cz", "da", "de", "de-ch", "en-gb", "en-us", "es", "et", "fi", "fo", "fr",
        "fr-be", "fr-ca", "fr-ch", "hr", "hu", "is", "it", "ja", "lt", "lv", "mk", "nl", "no", "pl",
        "pt", "pt-br", "ru", "sl", "sv", "th", "tr", NULL,
    };
    g_autofree char *list = NULL;

    if (g_strv_contains(layouts, arg)) {
        return true;
    }
    list = g_strjoinv(", ", (char **)layouts);
    return error_set(error, "no keyboard layout '%s'; known: %s", arg, list);
}

bool opt_overcommit(System *sys, const char *arg, GError **error)
{
    g_autoptr(KeyVal) kv = keyval_parse(arg, NULL, KEYVAL_BARE_BOOL, error);
    bool cpu_pm;

    if (!kv || !keyval_get_bool(kv, "mem-lock", sys->mem_lock, &sys->mem_lock, error) ||
        !keyval_get_bool(kv, "cpu-pm", false, &cpu_pm, error) ||
        !keyval_check_used(kv, "-overcommit", error)) {
        return false;
    }
    return !cpu_pm || error_set(error, "the guest cannot be given the host's power states: only "
                                       "cpu-pm=off is supported");
}

bool opt_sandbox(System *sys, const char *arg, GError **error)
{
    g_autoptr(KeyVal) kv = keyval_parse(arg, "enable", KEYVAL_BARE_BOOL, error);
    bool enable;

    if (!kv || !keyval_get_bool(kv, "enable", true, &enable, error)) {
        return false;
    }
    if (enable) {
        return error_set(error, "this build filters no system calls: use -sandbox off (libvirt: "
                                "seccomp_sandbox = 0 in qemu.conf)");
    }
    return keyval_check_used(kv, "-sandbox", error);
}

/* ---- -action ---- */

static bool take_action(KeyVal *kv, const char *key, const QapiType *type, void *value,
                        GError **error)
{
    int index;

    if (!keyval_get_enum(kv, key, type->values, *(int *)value, &index, error)) {
        return false;
    }
    *(int *)value = index;
    return true;
}

bool opt_action(System *sys, const char *arg, GError **error)
{
    g_autoptr(KeyVal) kv = keyval_parse(arg, NULL, 0, error);
    RunControl *r = &sys->run;

    return kv && take_action(kv, "reboot", &qapi_type_QapiRebootAction, &r->reboot, error) &&
           take_action(kv, "shutdown", &qapi_type_QapiShutdownAction, &r->shutdown, error) &&
           take_action(kv, "panic", &qapi_type_QapiPanicAction, &r->panic, error) &&
           take_action(kv, "watchdog", &qapi_type_QapiWatchdogAction, &r->watchdog_action, error) &&
           keyval_check_used(kv, "-action", error);
}

bool opt_watchdog_action(System *sys, const char *arg, GError **error)
{
    g_autofree char *text = g_strdup_printf("watchdog=%s", arg);

    return opt_action(sys, text, error);
}

bool opt_no_reboot(System *sys, const char *arg, GError **error)
{
    return opt_action(sys, "reboot=shutdown", error);
}

bool opt_no_shutdown(System *sys, const char *arg, GError **error)
{
    return opt_action(sys, "shutdown=pause", error);
}

/* ---- -global, -set, -readconfig ---- */

/* "driver.property=value", where neither name holds a dot, or driver=,property=,value=. */
bool opt_global(System *sys, const char *arg, GError **error)
{
    g_autoptr(KeyVal) kv = NULL;
    const char *dot = strchr(arg, '.'), *equals = strchr(arg, '=');
    const char *driver, *property, *value;

    if (dot && equals && dot < equals) {
        g_autofree char *left = g_strndup(arg, (gsize)(dot - arg));
        g_autofree char *middle = g_strndup(dot + 1, (gsize)(equals - dot - 1));

        globals_add(g_intern_string(left), g_intern_string(middle), g_intern_string(equals + 1),
                    false);
        return true;
    }
    kv = keyval_parse(arg, NULL, 0, error);
    if (!kv) {
        return false;
    }
    driver = keyval_get(kv, "driver");
    property = keyval_get(kv, "property");
    value = keyval_get(kv, "value");
    if (!driver || !property || !value) {
        return error_set(error, "expected driver.property=value");
    }
    globals_add(g_intern_string(driver), g_intern_string(property), g_intern_string(value), false);
    return keyval_check_used(kv, "-global", error);
}

static bool use_has_id(const OptionUse *use, const char *id)
{
    g_autoptr(KeyVal) kv = use->arg ? keyval_parse(use->arg, "driver", KEYVAL_BARE_BOOL, NULL) : NULL;
    const char *have = kv ? keyval_get(kv, "id") : NULL;

    return have && strcmp(have, id) == 0;
}

bool opt_set(System *sys, const char *arg, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(arg, ".", 3);
    char *value = g_strv_length(parts) == 3 ? strchr(parts[2], '=') : NULL;

    if (!value) {
        return error_set(error, "can't parse: \"%s\"; expected group.id.parameter=value", arg);
    }
    for (unsigned i = 0; i < sys->uses->len; i++) {
        OptionUse *use = sys->uses->pdata[i];

        if (use->row->group && strcmp(use->row->group, parts[0]) == 0 && use_has_id(use, parts[1])) {
            g_auto(GStrv) commas = g_strsplit(value, ",", -1);
            g_autofree char *doubled = g_strjoinv(",,", commas);
            char *merged;

            *value = '\0';
            merged = g_strdup_printf("%s,%s%s", use->arg, parts[2], doubled);
            g_free(use->arg);
            use->arg = merged;
            return true;
        }
    }
    return error_set(error, "there is no %s \"%s\" defined", parts[0], parts[1]);
}

static const OptionRow *row_of_group(const char *group)
{
    for (unsigned i = 0; i < option_count; i++) {
        if (option_table[i].group && strcmp(option_table[i].group, group) == 0) {
            return &option_table[i];
        }
    }
    return NULL;
}

static void end_section(System *sys, const OptionRow *row, GString *arg)
{
    if (row && arg->len) {
        options_add_use(sys, row->name, arg->str);
    }
    g_string_truncate(arg, 0);
}

/* Lines are: [group], [group "id"], key = "value", blank, # comment. */
typedef struct ConfigFile {
    System *sys;
    GRegex *header, *setting;
    const OptionRow *row;        /* of the section; NULL before the first */
    GString *section;            /* its option's argument so far */
} ConfigFile;

static bool config_line(ConfigFile *c, char *line, GError **error)
{
    g_autoptr(GMatchInfo) header = NULL, setting = NULL;

    g_strstrip(line);
    if (!*line || *line == '#') {
        return true;
    }
    if (g_regex_match(c->header, line, 0, &header)) {
        g_autofree char *group = g_match_info_fetch(header, 1);
        g_autofree char *id = g_match_info_fetch(header, 2);

        end_section(c->sys, c->row, c->section);
        c->row = row_of_group(group);
        if (id && *id) {
            g_string_append_printf(c->section, "id=%s", id);
        }
        return c->row || error_set(error, "There is no option group '%s'", group);
    }
    if (g_regex_match(c->setting, line, 0, &setting)) {
        g_autofree char *key = g_match_info_fetch(setting, 1);
        g_autofree char *value = g_match_info_fetch(setting, 2);
        g_auto(GStrv) commas = g_strsplit(value, ",", -1);
        g_autofree char *doubled = g_strjoinv(",,", commas);

        if (!c->row) {
            return error_set(error, "no group defined before '%s'", key);
        }
        g_string_append_printf(c->section, "%s%s=%s", c->section->len ? "," : "", key, doubled);
        return true;
    }
    return error_set(error, "parse error in '%s'; expected [group], [group \"id\"] or key = "
                     "\"value\"", line);
}

static bool config_lines(ConfigFile *c, const char *name, char **lines, GError **error)
{
    for (unsigned i = 0; lines[i]; i++) {
        if (!g_utf8_validate(lines[i], -1, NULL)) {
            return error_set(error, "%s:%u: not UTF-8 text", name, i + 1);
        }
        if (!config_line(c, lines[i], error)) {
            g_prefix_error(error, "%s:%u: ", name, i + 1);
            return false;
        }
    }
    end_section(c->sys, c->row, c->section);
    return true;
}

bool opt_readconfig(System *sys, const char *arg, GError **error)
{
    ConfigFile c = { .sys = sys };
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    bool ok;

    if (!g_file_get_contents(arg, &text, NULL, NULL)) {
        return error_set_errno(error, g_file_test(arg, G_FILE_TEST_IS_DIR) ? EISDIR : errno,
                               "Could not open '%s'", arg);
    }
    lines = g_strsplit(text, "\n", -1);
    c.header = g_regex_new("^\\[([^]\\s\"]+)(?:\\s+\"([^\"]+)\")?\\]$", 0, 0, NULL);
    c.setting = g_regex_new("^([^\\s=]+)\\s*=\\s*\"([^\"]*)\"$", 0, 0, NULL);
    c.section = g_string_new(NULL);
    ok = config_lines(&c, arg, lines, error);
    g_string_free(c.section, TRUE);
    g_regex_unref(c.header);
    g_regex_unref(c.setting);
    return ok;
}
