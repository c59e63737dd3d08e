/* SPDX-License-Identifier: MIT */
/*
 * The option table, and the walk over the command line.
 *
 * A row is one option.  To add one: a row here and its handler (system.h, config.c); the help,
 * the suggestions, -set, -readconfig and query-command-line-options follow from the row.  An option
 * of QEMU that has no row is refused by name like any unknown word: none is accepted and ignored.
 */
#include "system/system.h"

#include "base/error.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DRIVE_PARAMS                                                                         \
    "bus:number unit:number index:number if:string media:string file:string id:string "      \
    "format:string snapshot:boolean readonly:boolean read-only:boolean cache:string "        \
    "aio:string werror:string rerror:string discard:string detect-zeroes:string "            \
    "copy-on-read:boolean node-name:string cache.direct:boolean cache.no-flush:boolean "     \
    "cache.writeback:boolean"
#define CHARDEV_PARAMS                                                                       \
    "backend:string path:string host:string port:string fd:string to:number ipv4:boolean "   \
    "ipv6:boolean nodelay:boolean server:boolean wait:boolean telnet:boolean "               \
    "reconnect:number mux:boolean signal:boolean size:size append:boolean logfile:string "   \
    "logappend:boolean localaddr:string localport:string name:string"

/* clang-format off */
const OptionRow option_table[] = {
    { "help", "h", NULL, "show this help and exit", PHASE_CONFIG, opt_help },
    { "version", NULL, NULL, "show the version and exit", PHASE_CONFIG, opt_version },
    { "machine", "M", "[type=]name[,prop=value...]", "the machine type ('-machine help' lists them) and its properties;\naccel=kvm:tcg names accelerators to try in turn", PHASE_CONFIG, opt_machine, "machine", "type:string accel:string", true },
    { "cpu", NULL, "model[,+feature][,-feature][,prop=value...]", "the CPU model ('-cpu help' lists them)", PHASE_CONFIG, opt_cpu },
    { "accel", NULL, "[accel=]name[,prop=value...]", "the accelerator: kvm, tcg or qtest; repeat it to name the next to try", PHASE_CONFIG, opt_accel, "accel", "accel:string", true },
    { "icount", NULL, "[shift=]n|auto[,sleep=on|off][,align=off]", "virtual time counts instructions, of 2^n ns each (TCG)", PHASE_CONFIG, opt_icount, "icount", "shift:string align:boolean sleep:boolean" },
    { "singlestep", "one-insn-per-tb", NULL, "translate one instruction at a time (TCG)", PHASE_CONFIG, opt_singlestep },
    { "perfmap", NULL, NULL, "write /tmp/perf-PID.map, where perf(1) finds the names of translated code (TCG)", PHASE_CONFIG, opt_perfmap },
    { "enable-kvm", NULL, NULL, "same as -accel kvm", PHASE_CONFIG, opt_enable_kvm },
    { "smp", NULL, "[cpus=]n[,maxcpus=n][,sockets=n][,dies=n][,cores=n][,threads=n]", "number of CPUs and how they are arranged; what is left out is computed", PHASE_CONFIG, opt_smp, "smp-opts", "cpus:number sockets:number dies:number clusters:number cores:number threads:number maxcpus:number" },
    { "m", NULL, "[size=]megs[,slots=n,maxmem=size]", "guest memory (suffixes K M G T; MiB without one)", PHASE_CONFIG, opt_m, "memory", "size:size slots:number maxmem:size" },
    { "mem-path", NULL, "path", "take guest memory from this file, or from one in this folder (hugetlbfs)", PHASE_CONFIG, opt_mem_path },
    { "mem-prealloc", NULL, NULL, "allocate guest memory before the guest starts (use with -mem-path)", PHASE_CONFIG, opt_mem_prealloc },
    { "overcommit", NULL, "[mem-lock=on|off][,cpu-pm=off]", "mem-lock=on keeps all memory of the emulator and the guest from being swapped out", PHASE_CONFIG, opt_overcommit, "overcommit", "mem-lock:boolean cpu-pm:boolean" },
    { "name", NULL, "[guest=]name[,process=name][,debug-threads=on|off]", "the name of the guest, and of the process", PHASE_CONFIG, opt_name, "name", "guest:string process:string debug-threads:boolean" },
    { "uuid", NULL, "uuid", "the UUID of the guest", PHASE_CONFIG, opt_uuid },
    { "rtc", NULL, "[base=utc|localtime|datetime][,clock=host|rt|vm][,driftfix=none|slew]", "what time the guest's clock starts with and follows", PHASE_CONFIG, opt_rtc, "rtc", "base:string clock:string driftfix:string" },
    { "smbios", NULL, "type=n,field=value...", "a field of an SMBIOS table", PHASE_CONFIG, opt_smbios, "smbios", "type:number manufacturer:string product:string version:string serial:string uuid:string sku:string family:string" },
    { "fw_cfg", NULL, "[name=]name,file=path|string=text", "a file for the firmware and the guest", PHASE_MACHINE, opt_fw_cfg, "fw_cfg", "name:string file:string string:string" },
    { "boot", NULL, "[order=drives][,once=drives][,menu=on|off][,splash=file][,splash-time=ms][,reboot-timeout=ms][,strict=on|off]", "what to boot: a floppy, c hard disk, d CD-ROM, n network", PHASE_CONFIG, opt_boot, "boot-opts", "order:string once:string menu:boolean splash:string splash-time:string reboot-timeout:string strict:boolean" },
    { "kernel", NULL, "file", "boot this kernel (bzImage, PVH ELF or multiboot)", PHASE_CONFIG, opt_kernel },
    { "initrd", NULL, "file", "with this initial RAM disk (multiboot: modules, split by commas)", PHASE_CONFIG, opt_initrd },
    { "append", NULL, "text", "and this command line", PHASE_CONFIG, opt_append },
    { "bios", NULL, "file", "use this firmware", PHASE_CONFIG, opt_bios },
    { "option-rom", NULL, "[romfile=]file[,bootindex=n]", "an option ROM for the firmware to run", PHASE_MACHINE, opt_option_rom, "option-rom", "bootindex:number romfile:string" },
    { "L", NULL, "folder", "also look for firmware in this folder", PHASE_CONFIG, opt_L },
    { "fda", NULL, "file", "the image in floppy drive 0", PHASE_BLOCK, opt_fda },
    { "fdb", NULL, "file", "the image in floppy drive 1", PHASE_BLOCK, opt_fdb },
    { "hda", NULL, "file", "the image that is IDE disk 0; also what an argument without a dash means", PHASE_BLOCK, opt_hda },
    { "hdb", NULL, "file", "the image that is IDE disk 1", PHASE_BLOCK, opt_hdb },
    { "hdc", NULL, "file", "the image that is IDE disk 2", PHASE_BLOCK, opt_hdc },
    { "hdd", NULL, "file", "the image that is IDE disk 3", PHASE_BLOCK, opt_hdd },
    { "cdrom", NULL, "file", "the image in the CD-ROM drive (IDE disk 2)", PHASE_BLOCK, opt_cdrom },
    { "drive", NULL, "[file=file][,if=ide|floppy|none|virtio][,index=n][,media=disk|cdrom][,format=f][,readonly=on|off][,id=name]...", "a drive with its image", PHASE_BLOCK, opt_drive, "drive", DRIVE_PARAMS, true },
    { "blockdev", NULL, "[driver=]driver[,node-name=name][,prop=value...]|JSON", "a node of the block graph", PHASE_BLOCK, opt_blockdev },
    { "snapshot", NULL, NULL, "write to temporary files instead of the images", PHASE_CONFIG, opt_snapshot },
    { "device", NULL, "driver[,id=name][,bus=bus][,prop=value...]|JSON", "a device ('-device help' lists them, '-device X,help' its properties)", PHASE_DEVICES, opt_device, "device", "", true },
    { "object", NULL, "type,id=name[,prop=value...]|JSON", "an object ('-object help' lists the types)", PHASE_OBJECTS, opt_object, "object", "", true },
    { "global", NULL, "driver.property=value", "a default for a property of every such device", PHASE_CONFIG, opt_global, "global", "driver:string property:string value:string" },
    { "set", NULL, "group.id.parameter=value", "change a parameter of an option that was given with that id", PHASE_CONFIG, opt_set },
    { "readconfig", NULL, "file", "take options from a file", PHASE_CONFIG, opt_readconfig },
    { "nodefaults", NULL, NULL, "no devices but those asked for", PHASE_CONFIG, opt_nodefaults },
    { "no-user-config", "nouserconfig", NULL, "read no configuration files (there are none)", PHASE_CONFIG, opt_no_user_config },
    { "add-fd", NULL, "fd=n,set=n[,opaque=text]", "open file descriptor n is in set n: files named /dev/fdset/n", PHASE_OBJECTS, opt_add_fd, "add-fd", "fd:number set:number opaque:string" },
    { "chardev", NULL, "backend,id=name[,prop=value...]", "a character device ('-chardev help' lists the back ends)", PHASE_OBJECTS, opt_chardev, "chardev", CHARDEV_PARAMS },
    { "serial", NULL, "chardev", "connect a serial port; repeat it for the next port", PHASE_CONFIG, opt_serial },
    { "parallel", NULL, "chardev", "connect a parallel port", PHASE_CONFIG, opt_parallel },
    { "debugcon", NULL, "chardev", "connect the debug console at port 0xe9", PHASE_DEVICES, opt_debugcon },
    { "monitor", NULL, "chardev", "a monitor for people", PHASE_CONFIG, opt_monitor },
    { "qmp", NULL, "chardev", "a monitor for programs (QMP)", PHASE_MONITORS, opt_qmp },
    { "qmp-pretty", NULL, "chardev", "as -qmp, with line breaks and indentation", PHASE_MONITORS, opt_qmp_pretty },
    { "mon", NULL, "[chardev=]name[,mode=readline|control][,pretty=on|off]", "a monitor on a character device", PHASE_MONITORS, opt_mon, "mon", "mode:string chardev:string pretty:boolean" },
    { "echr", NULL, "code", "the escape character of shared terminals (1, Ctrl-A)", PHASE_CONFIG, opt_echr },
    { "nic", NULL, "none", "no network card", PHASE_CONFIG, opt_no_net },
    { "net", NULL, "none", "no network", PHASE_CONFIG, opt_no_net },
    { "audiodev", NULL, "[driver=]none,id=name|JSON", "an audio back end; none is the only one and plays nothing", PHASE_CONFIG, opt_audiodev, "audiodev", "driver:string id:string" },
    /* No group: who finds one among query-command-line-options uses it (libvirt does). */
    { "sandbox", NULL, "off", "system call filters: this build has none", PHASE_CONFIG, opt_sandbox },
    { "k", NULL, "layout", "the keyboard layout of the guest; windows pass on positions of keys, whatever is printed on them, and need none", PHASE_CONFIG, opt_k },
    { "display", NULL, "type[,prop=value...]", "how to show the display: none, sdl (options: full-screen, window-close, show-cursor, grab-mod)", PHASE_CONFIG, opt_display },
    { "full-screen", NULL, NULL, "start the window in full screen", PHASE_CONFIG, opt_full_screen },
    { "vga", NULL, "type", "the display adapter: none, std", PHASE_CONFIG, opt_vga },
    { "nographic", NULL, NULL, "no window; serial port and monitor share the terminal", PHASE_CONFIG, opt_nographic },
    { "no-hpet", NULL, NULL, "no HPET (same as -machine hpet=off)", PHASE_CONFIG, opt_no_hpet },
    { "no-acpi", NULL, NULL, "no ACPI (same as -machine acpi=off)", PHASE_CONFIG, opt_no_acpi },
    { "no-fd-bootchk", NULL, NULL, "boot from floppies without a signature, too (same as -machine fd-bootchk=off)", PHASE_CONFIG, opt_no_fd_bootchk },
    { "S", NULL, NULL, "do not start the guest until told to ('cont')", PHASE_CONFIG, opt_S },
    { "no-reboot", NULL, NULL, "a reboot ends the emulator", PHASE_CONFIG, opt_no_reboot },
    { "no-shutdown", NULL, NULL, "a shutdown stops the guest but not the emulator", PHASE_CONFIG, opt_no_shutdown },
    { "action", NULL, "reboot=reset|shutdown, shutdown=poweroff|pause, panic=pause|shutdown|exit-failure|none, watchdog=reset|shutdown|poweroff|inject-nmi|pause|debug|none", "what to do when the guest does that", PHASE_CONFIG, opt_action, "action", "shutdown:string panic:string reboot:string watchdog:string" },
    { "watchdog-action", NULL, "action", "same as -action watchdog=", PHASE_CONFIG, opt_watchdog_action },
    { "daemonize", NULL, NULL, "go to the background once everything is ready", PHASE_CONFIG, opt_daemonize },
    { "pidfile", NULL, "file", "write the process id to this file", PHASE_CONFIG, opt_pidfile },
    { "d", NULL, "item[,item...]", "log these ('-d help' lists them); repeated, they add up", PHASE_CONFIG, opt_d },
    { "D", NULL, "file", "log to this file", PHASE_CONFIG, opt_D },
    { "dfilter", NULL, "range[,range...]", "in_asm, op, out_asm, exec and cpu of this code only: start+size, end-size, start..end", PHASE_CONFIG, opt_dfilter },
    { "trace", NULL, "[enable=]pattern[,events=file][,file=file]", "switch trace points on", PHASE_CONFIG, opt_trace, "trace", "enable:string events:string file:string" },
    { "msg", NULL, "[timestamp=on|off][,guest-name=on|off]", "how messages look", PHASE_CONFIG, opt_msg, "msg", "timestamp:boolean guest-name:boolean" },
    { "dump-vmstate", NULL, "file", "write the format of the saved state as JSON, and exit", PHASE_CONFIG, opt_dump_vmstate },
    { "qtest", NULL, "chardev", "serve the qtest protocol", PHASE_CONFIG, opt_qtest },
    { "qtest-log", NULL, "file|none", "log the qtest protocol", PHASE_CONFIG, opt_qtest_log },
};
/* clang-format on */
const unsigned option_count = G_N_ELEMENTS(option_table);

static bool names_option(const OptionRow *row, const char *word)
{
    g_auto(GStrv) aliases = g_strsplit(row->aliases ? row->aliases : "", "|", -1);

    return strcmp(row->name, word) == 0 || g_strv_contains((const char *const *)aliases, word);
}

static const OptionRow *find_option(const char *word)
{
    for (unsigned i = 0; i < option_count; i++) {
        if (names_option(&option_table[i], word)) {
            return &option_table[i];
        }
    }
    return NULL;
}

/* What QEMU 7.2 takes and this program does not yet: told apart from misspellings. */
static const char *const missing_options[] = {
    "preconfig", "acpitable", "async-teardown", "audio", "audio-help",
    "chroot", "compat", "dtb", "enable-sync-profile", "fsdev",
    "gdb", "incoming", "iscsi", "loadvm", "mtdblock", "netdev", "numa", "only-migratable",
    "pflash", "plugin", "portrait", "rotate", "runas", "s",
    "sd", "seed", "spice", "tpmdev", "usb", "usbdevice",
    "virtfs", "vnc", "win2k-hack", "xen-attach", "xen-domid", "xen-domid-restrict",
    NULL,
};

static bool unknown_option(const char *word, GError **error)
{
    Suggest suggest;
    unsigned dashes = word[1] == '-' ? 2 : 1;

    if (g_strv_contains(missing_options, word + dashes)) {
        return error_set(error, "%s: QEMU has this option, Rhea does not support it yet; -help "
                         "lists those it has", word);
    }
    suggest_init(&suggest, word + dashes);
    for (unsigned i = 0; i < option_count; i++) {
        suggest_offer(&suggest, option_table[i].name);
    }
    return error_set(error, "%s: invalid option%s", word,
                     suggest_text_or(&suggest, "-help lists those there are"));
}

static void add_use(System *sys, const OptionRow *row, const char *arg)
{
    OptionUse *use = g_new0(OptionUse, 1);

    use->row = row;
    use->arg = g_strdup(arg);
    use->shown = arg ? g_strdup_printf("-%s %s", row->name, arg) : g_strdup_printf("-%s", row->name);
    g_ptr_array_add(sys->uses, use);
}

void options_add_use(System *sys, const char *name, const char *arg)
{
    add_use(sys, find_option(name), arg);
}

static void use_free(void *p)
{
    OptionUse *use = p;

    g_free(use->arg);
    g_free(use->shown);
    g_free(use);
}

bool options_parse(System *sys, int argc, char **argv, GError **error)
{
    sys->uses = g_ptr_array_new_with_free_func(use_free);
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        const OptionRow *row;

        if (word[0] != '-') {
            options_add_use(sys, "hda", word);
            continue;
        }
        row = find_option(word + (word[1] == '-' ? 2 : 1));
        if (!row) {
            return unknown_option(word, error);
        }
        if (row->arg && i + 1 >= argc) {
            return error_set(error, "%s: requires an argument: %s", word, row->arg);
        }
        add_use(sys, row, row->arg ? argv[++i] : NULL);
    }
    return true;
}

bool options_has(const System *sys, const char *name)
{
    for (unsigned i = 0; i < sys->uses->len; i++) {
        if (strcmp(((const OptionUse *)sys->uses->pdata[i])->row->name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* -readconfig appends uses while this runs; they are met in their turn. */
bool options_apply(System *sys, Phase phase, GError **error)
{
    for (unsigned i = 0; i < sys->uses->len; i++) {
        OptionUse *use = sys->uses->pdata[i];

        if (use->row->phase == phase && !use->row->apply(sys, use->arg, error)) {
            g_prefix_error(error, "%s: ", use->shown);
            return false;
        }
    }
    return true;
}

static bool asks_for_help(const char *arg)
{
    return strcmp(arg, "help") == 0 || strcmp(arg, "?") == 0 || g_str_has_suffix(arg, ",help") ||
           g_str_has_suffix(arg, ",?");
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* "-boot help": the parameters of the group, as QEMU shows them. */
static void print_group(const OptionRow *row)
{
    static const struct {
        const char *type, *shown;
    } types[] = {
        { "string", "str" }, { "number", "num" }, { "boolean", "bool (on/off)" }, { "size", "size" },
    };
    g_auto(GStrv) words = g_strsplit(row->params, " ", -1);

    qsort(words, g_strv_length(words), sizeof(*words), by_text);
    printf("%s options:\n", row->group);
    for (unsigned i = 0; words[i]; i++) {
        char *type = strchr(words[i], ':');

        *type++ = '\0';
        for (unsigned j = 0; j < G_N_ELEMENTS(types); j++) {
            if (strcmp(type, types[j].type) == 0) {
                printf("  %s=<%s>\n", words[i], types[j].shown);
            }
        }
    }
}

/* Their handlers print lists of their own and exit. */
static bool has_own_lists(const OptionRow *row)
{
    return row->apply == opt_device || row->apply == opt_object || row->apply == opt_chardev ||
           row->apply == opt_machine || row->apply == opt_accel || row->apply == opt_cpu ||
           row->apply == opt_vga || row->apply == opt_display || row->apply == opt_d ||
           row->apply == opt_trace || row->apply == opt_L || row->apply == opt_audiodev;
}

/* Begin with a name, which may well be "help". */
static bool begins_with_name(const OptionRow *row)
{
    return row->apply == opt_name || row->apply == opt_fw_cfg || row->apply == opt_mon;
}

/* "-device help" and the like need no machine, whatever else is on the line, and come before
 * complaints of other options. */
bool options_answer_help(System *sys, GError **error)
{
    for (unsigned i = 0; i < sys->uses->len; i++) {
        OptionUse *use = sys->uses->pdata[i];

        if (!use->arg || !asks_for_help(use->arg)) {
            continue;
        }
        if (has_own_lists(use->row)) {
            if (!use->row->apply(sys, use->arg, error)) {
                g_prefix_error(error, "%s: ", use->shown);
                return false;
            }
        } else if (use->row->params && !begins_with_name(use->row)) {
            print_group(use->row);
            exit(0);
        }
    }
    return true;
}

void options_print_help(void)
{
    printf("QEMU emulator version 7.2.22 (rhea " RHEA_VERSION ")\n"
           "usage: %s [options] [disk_image]\n\n"
           "'disk_image' is a raw hard disk image for IDE hard disk 0\n\n", report_program());
    for (unsigned i = 0; i < option_count; i++) {
        const OptionRow *row = &option_table[i];
        g_auto(GStrv) lines = g_strsplit(row->help, "\n", -1);

        printf("-%s %s\n", row->name, row->arg ? row->arg : "");
        for (unsigned j = 0; lines[j]; j++) {
            printf("                %s\n", lines[j]);
        }
    }
    printf("\nDuring emulation with -nographic: Ctrl-A h shows help, Ctrl-A x quits, Ctrl-A c\n"
           "switches between the serial port and the monitor.\n");
}
