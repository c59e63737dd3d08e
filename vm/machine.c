/* SPDX-License-Identifier: MIT */
/* Machine types by name; their common properties and RAM; the machine "none". */
#include "vm/machine.h"

#include "base/error.h"
#include "vm/memory_backend.h"

typedef struct DoneHook {
    void (*fn)(void *opaque);
    void *opaque;
} DoneHook;

static void machine_init(Object *obj)
{
    Machine *m = (Machine *)(void *)obj;

    m->done_hooks = g_array_new(false, false, sizeof(DoneHook));
    m->default_devices = true;
    m->boot_splash_time = m->boot_reboot_timeout = -1;
}

static void machine_finalize(Object *obj)
{
    Machine *m = (Machine *)(void *)obj;
    char **owned[] = { &m->mem_path, &m->cpu_type, &m->boot_order, &m->boot_once, &m->boot_splash,
                       &m->rtc_base, &m->rtc_clock };

    for (unsigned i = 0; i < ARRAY_LEN(owned); i++) {
        g_free(*owned[i]);
    }
    g_array_unref(m->done_hooks);
}

static const PropDef machine_props[] = {
    PROP_STR("kernel", Machine, kernel, .help = "Linux kernel image file"),
    PROP_STR("initrd", Machine, initrd, .help = "Linux initial ramdisk file"),
    PROP_STR("append", Machine, append, .help = "Linux kernel command line"),
    PROP_STR("dtb", Machine, dtb, .help = "Linux kernel device tree file"),
    PROP_STR("firmware", Machine, firmware, .help = "Firmware image"),
    PROP_BOOL("usb", Machine, usb, false, .help = "Set on/off to enable/disable usb"),
    PROP_BOOL("graphics", Machine, graphics, true,
              .help = "Set on/off to enable/disable graphics emulation"),
    PROP_BOOL("dump-guest-core", Machine, dump_guest_core, true,
              .help = "Include guest memory in a core dump"),
    PROP_BOOL("mem-merge", Machine, mem_merge, true,
              .help = "Enable/disable memory merge support"),
    PROP_BOOL("suppress-vmdesc", Machine, suppress_vmdesc, false,
              .help = "Set on to disable self-describing migration"),
    PROP_STR("memory-backend", Machine, memory_backend,
             .help = "Set RAM backend. Valid value is ID of hostmem based backend"),
    PROP_END
};

static const MachineType machine_base = {
    .name = "machine", .abstract = true, .size = sizeof(Machine), .props = machine_props,
    .init = machine_init, .finalize = machine_finalize,
};
TYPE_ROW(machine, &machine_base, "object");

/* ---- look-up ---- */

typedef struct Search {
    const char *name;         /* NULL: the default */
    const MachineType *found;
    Suggest suggest;
} Search;

static void match(const ObjectType *type, void *opaque)
{
    const MachineType *m = (const MachineType *)(const void *)type;
    Search *s = opaque;

    if (!s->name) {
        s->found = m->is_default ? m : s->found;
        return;
    }
    if (!g_strcmp0(m->machine, s->name) || !g_strcmp0(m->alias, s->name)) {
        s->found = m;
    }
    suggest_offer(&s->suggest, m->machine);
    if (m->alias) {
        suggest_offer(&s->suggest, m->alias);
    }
}

const MachineType *machine_find(const char *name, GError **error)
{
    Search s = { .name = name };

    suggest_init(&s.suggest, name);
    type_foreach("machine", false, match, &s);
    if (!s.found) {
        error_set(error, "Unknown machine type '%s'%s; -machine help lists them", name,
                  suggest_text(&s.suggest));
    }
    return s.found;
}

const MachineType *machine_default(void)
{
    Search s = { .name = NULL };

    type_foreach("machine", false, match, &s);
    return s.found;
}

/* ---- completion ---- */

void machine_add_done_hook(Machine *m, void (*fn)(void *opaque), void *opaque)
{
    DoneHook hook = { fn, opaque };

    g_array_append_val(m->done_hooks, hook);
}

void machine_done(Machine *m)
{
    for (unsigned i = 0; i < m->done_hooks->len; i++) {
        const DoneHook *hook = &g_array_index(m->done_hooks, DoneHook, i);

        hook->fn(hook->opaque);
    }
}

/* The whole of -machine memory-backend=ID, else memory made for the purpose. */
static MemoryBackend *find_or_make_ram(Machine *m, GError **error)
{
    const MemoryBackendSpec spec = { m->ram_size, m->mem_path, m->mem_prealloc, m->mem_merge,
                                     m->dump_guest_core };
    MemoryBackend *mb;

    if (!m->memory_backend) {
        mb = memory_backend_new(m->vm, machine_type(m)->default_ram_id ?: "ram", &spec, error);
        if (!mb) {
            g_prefix_error(error, "-m %" PRIu64 "M: ", m->ram_size / MIB);
        }
        return mb;
    }
    if (m->mem_path) {
        error_set(error, "'-mem-path' can't be used together with '-machine memory-backend': give "
                         "the back end a mem-path");
        return NULL;
    }
    mb = memory_backend_find(m->vm, m->memory_backend, error);
    if (mb && mb->size != m->ram_size) {
        error_set(error, "Machine memory size does not match the size of the memory backend: -m "
                  "has %" PRIu64 " bytes, '%s' %" PRIu64, m->ram_size, m->memory_backend, mb->size);
        return NULL;
    }
    return mb;
}

bool machine_create_ram(Machine *m, GError **error)
{
    MemoryBackend *mb = find_or_make_ram(m, error);

    if (!mb || !memory_backend_map(mb, error)) {
        return false;
    }
    if (!m->memory_backend) {
        m->memory_backend = object_path(&mb->obj);
    }
    m->ram = &mb->region;
    return true;
}

/* "none": no devices, no CPUs; what programs start to ask questions. */
static bool none_build(Machine *m, GError **error)
{
    m->main_bus = &m->vm->system_bus;
    return true;
}

MACHINE_TYPE(none_machine, .name = "none-machine", .machine = "none", .desc = "empty machine",
             .max_cpus = 1, .default_ram = 0, .no_floppy = true, .no_cdrom = true,
             .no_parallel = true, .build = none_build);
