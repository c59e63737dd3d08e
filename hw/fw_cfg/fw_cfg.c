/* SPDX-License-Identifier: MIT */
/*
 * fw_cfg device, port flavour ("fw_cfg_io").
 * Spec: QEMU's "fw_cfg" interface: selector at 0x510, data at 0x511, DMA address at 0x514.
 * Not modelled: the memory-mapped flavour (no x86 machine has it).
 * Locking: machine lock.
 *
 * A DMA operation moves at most DMA_CHUNK bytes at a time; what is left follows from a timer, so that
 * a guest that names 4 GiB cannot keep the machine.  Guests poll the control field, as specified.
 */
#include "hw/fw_cfg/fw_cfg.h"

#include "base/error.h"
#include "base/log.h"
#include "hw/trace.h"
#include "vm/vm.h"

enum { SELECTOR_PORT = 0x510, DMA_PORT = 0x514 };
enum { ID_TRADITIONAL = BIT(0), ID_DMA = BIT(1) };
enum { DMA_ERROR = BIT(0), DMA_READ = BIT(1), DMA_SKIP = BIT(2), DMA_SELECT = BIT(3),
       DMA_WRITE = BIT(4) };
#define DMA_SIGNATURE 0x51454d5520434647ull   /* "QEMU CFG" */
enum { NO_ITEM = 0xffff, DMA_CHUNK = 2 * MIB };

typedef struct Item {
    void *block;                /* what DATA lies in, to be freed */
    uint8_t *data;
    size_t len;
    bool writable;
    void (*changed)(void *opaque, const uint8_t *data, size_t len);
    void *opaque;
} Item;

typedef struct File {
    char *name;
    uint16_t key;
} File;

struct FwCfg {
    Device dev;
    GHashTable *items;        /* key -> Item* */
    GArray *files;            /* File, sorted by name when the directory is written */
    uint16_t selected;
    uint32_t offset;
    uint64_t dma_addr;
    /* The operation that is not through yet. */
    uint32_t op, op_left;         /* op 0: none; bytes */
    uint64_t op_addr, op_control; /* guest addresses: next data, control structure */
    Timer op_timer;
    MemoryRegion ports, dma;
    bool dma_enabled, acpi_mr_restore;
    uint16_t file_slots;
    uint64_t acpi_mr_size[3]; /* wire only: table, linker and rsdp sizes */
};

/* ---- items ---- */

static void item_free(void *p)
{
    Item *item = p;

    g_free(item->block);
    g_free(item);
}

static Item *item_set(FwCfg *cfg, uint16_t key, void *data, size_t len)
{
    Item *item = g_new0(Item, 1);

    item->block = item->data = data;
    item->len = len;
    g_hash_table_replace(cfg->items, GUINT_TO_POINTER(key), item);
    return item;
}

static Item *item_find(FwCfg *cfg, uint16_t key)
{
    return g_hash_table_lookup(cfg->items, GUINT_TO_POINTER(key));
}

void fw_cfg_set_bytes(FwCfg *cfg, uint16_t key, const void *data, size_t len)
{
    item_set(cfg, key, g_memdup2(data, len), len);
}

void fw_cfg_take_bytes(FwCfg *cfg, uint16_t key, void *block, size_t from, size_t len)
{
    Item *item = item_set(cfg, key, block, len);

    item->data += from;
}

void fw_cfg_set_string(FwCfg *cfg, uint16_t key, const char *text)
{
    fw_cfg_set_bytes(cfg, key, text, strlen(text) + 1);
}

void fw_cfg_set_u16(FwCfg *cfg, uint16_t key, uint16_t value)
{
    value = GUINT16_TO_LE(value);
    fw_cfg_set_bytes(cfg, key, &value, sizeof(value));
}

void fw_cfg_set_u32(FwCfg *cfg, uint16_t key, uint32_t value)
{
    value = GUINT32_TO_LE(value);
    fw_cfg_set_bytes(cfg, key, &value, sizeof(value));
}

void fw_cfg_set_u64(FwCfg *cfg, uint16_t key, uint64_t value)
{
    value = GUINT64_TO_LE(value);
    fw_cfg_set_bytes(cfg, key, &value, sizeof(value));
}

/* ---- files ---- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const File *)a)->name, ((const File *)b)->name);
}

/* count, then {size, select, reserved, name[56]} each, all big-endian. */
static void write_directory(FwCfg *cfg)
{
    size_t len = 4 + 64 * (size_t)cfg->files->len;
    uint8_t *dir = g_malloc0(len), *p = dir + 4;

    g_array_sort(cfg->files, compare_names);
    be32_store(dir, cfg->files->len);
    for (unsigned i = 0; i < cfg->files->len; i++, p += 64) {
        const File *file = &g_array_index(cfg->files, File, i);

        be32_store(p, item_find(cfg, file->key)->len);
        be16_store(p + 4, file->key);
        g_strlcpy((char *)p + 8, file->name, FW_CFG_FILE_NAME_MAX + 1);
    }
    item_set(cfg, FW_CFG_FILE_DIR, dir, len);
}

static const File *file_find(FwCfg *cfg, const char *name)
{
    for (unsigned i = 0; i < cfg->files->len; i++) {
        const File *file = &g_array_index(cfg->files, File, i);

        if (!strcmp(file->name, name)) {
            return file;
        }
    }
    return NULL;
}

static Item *file_new(FwCfg *cfg, const char *name, void *data, size_t len, GError **error)
{
    File file = { .key = FW_CFG_FILE_FIRST + cfg->files->len };
    Item *item;

    if (strlen(name) > FW_CFG_FILE_NAME_MAX || !*name) {
        error_set(error, "fw_cfg file name '%s' must have 1 to %d characters", name,
                  FW_CFG_FILE_NAME_MAX);
    } else if (file_find(cfg, name)) {
        error_set(error, "fw_cfg file '%s' is there already: names must be unique", name);
    } else if (cfg->files->len >= cfg->file_slots) {
        error_set(error, "no slot left for fw_cfg file '%s': x-file-slots of fw_cfg_io is %u",
                  name, cfg->file_slots);
    } else {
        file.name = g_strdup(name);
        g_array_append_val(cfg->files, file);
        item = item_set(cfg, file.key, data, len);
        write_directory(cfg);
        return item;
    }
    g_free(data);
    return NULL;
}

bool fw_cfg_add_file(FwCfg *cfg, const char *name, void *data, size_t len, GError **error)
{
    return file_new(cfg, name, data, len, error) != NULL;
}

bool fw_cfg_set_file(FwCfg *cfg, const char *name, void *data, size_t len, GError **error)
{
    const File *file = file_find(cfg, name);

    if (!file) {
        return fw_cfg_add_file(cfg, name, data, len, error);
    }
    item_set(cfg, file->key, data, len);
    write_directory(cfg);
    return true;
}

bool fw_cfg_add_writable_file(FwCfg *cfg, const char *name, size_t len,
                              void (*changed)(void *opaque, const uint8_t *data, size_t len),
                              void *opaque, GError **error)
{
    Item *item = file_new(cfg, name, g_malloc0(len), len, error);

    if (!item) {
        return false;
    }
    item->writable = true;
    item->changed = changed;
    item->opaque = opaque;
    return true;
}

const uint8_t *fw_cfg_find_file(FwCfg *cfg, const char *name, size_t *len)
{
    const File *file = file_find(cfg, name);
    const Item *item = file ? item_find(cfg, file->key) : NULL;

    if (!item) {
        return NULL;
    }
    *len = item->len;
    return item->data;
}

/* ---- selector and data ports ---- */

/* For the trace. */
static const char *name_of(FwCfg *cfg, uint16_t key)
{
    for (unsigned i = 0; i < cfg->files->len; i++) {
        const File *file = &g_array_index(cfg->files, File, i);

        if (file->key == key) {
            return file->name;
        }
    }
    return item_find(cfg, key) ? "no file" : "nothing";
}

static void select_item(FwCfg *cfg, uint16_t key)
{
    cfg->selected = item_find(cfg, key) ? key : NO_ITEM;
    cfg->offset = 0;
    trace_fw_cfg_select(key, name_of(cfg, key));
}

static uint64_t ports_read(void *opaque, uint64_t offset, unsigned size)
{
    FwCfg *cfg = opaque;
    const Item *item = offset == 1 ? item_find(cfg, cfg->selected) : NULL;

    return item && cfg->offset < item->len ? item->data[cfg->offset++] : 0;
}

static void ports_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    /* A byte at the data port did something before version 2.4; it is ignored since. */
    if (offset == 0 && size == 2) {
        select_item(opaque, value);
    }
}

/* ---- DMA ---- */

/* Moves min(len, rest of the item); reading past the end gives zeroes. */
static bool dma_transfer(FwCfg *cfg, Item *item, uint32_t op, uint64_t addr, uint32_t len)
{
    uint32_t rest = item && cfg->offset < item->len ? item->len - cfg->offset : 0;
    uint32_t n = MIN(rest, len);

    switch (op) {
    case DMA_READ:
        if (!dma_write(&cfg->dev, addr, item ? item->data + cfg->offset : NULL, n) ||
            !dma_fill(&cfg->dev, addr + n, 0, len - n)) {
            return false;
        }
        break;
    case DMA_WRITE:
        if (!item || !item->writable || n != len ||
            !dma_read(&cfg->dev, addr, item->data + cfg->offset, n)) {
            return false;
        }
        if (item->changed && cfg->offset + n == item->len) {
            item->changed(item->opaque, item->data, item->len);
        }
        break;
    }
    cfg->offset += n;
    return true;
}

static void op_end(FwCfg *cfg, bool ok)
{
    uint8_t control[4];

    cfg->op = 0;
    timer_cancel(&cfg->op_timer);
    be32_store(control, ok ? 0 : DMA_ERROR);
    dma_write(&cfg->dev, cfg->op_control, control, sizeof(control));
}

/* A chunk of the operation; a write has to fit into its item and is done at once. */
static void op_step(FwCfg *cfg)
{
    uint32_t n = cfg->op == DMA_READ ? MIN(cfg->op_left, DMA_CHUNK) : cfg->op_left;

    if (!dma_transfer(cfg, item_find(cfg, cfg->selected), cfg->op, cfg->op_addr, n)) {
        op_end(cfg, false);
        return;
    }
    cfg->op_addr += n;
    cfg->op_left -= n;
    if (!cfg->op_left) {
        op_end(cfg, true);
    } else {
        timer_set(&cfg->op_timer, clock_now(cfg->dev.vm->clock));
    }
}

static void op_timer_fired(void *opaque)
{
    op_step(opaque);
}

/* One control structure {control, length, address}; the answer is written over its control. */
static void dma_run(FwCfg *cfg)
{
    uint64_t ctl_addr = cfg->dma_addr;
    uint32_t control;
    uint8_t ctl[16];

    cfg->dma_addr = 0;
    if (cfg->op) {
        log_guest_error("fw_cfg: a DMA operation is started while another runs\n");
        op_end(cfg, false);
    }
    cfg->op_control = ctl_addr;
    if (!dma_read(&cfg->dev, ctl_addr, ctl, sizeof(ctl))) {
        op_end(cfg, false);
        return;
    }
    control = be32_load(ctl);
    if (control & DMA_SELECT) {
        select_item(cfg, control >> 16);
    }
    /* Of several operations the first in this order counts. */
    cfg->op = control & DMA_READ ? DMA_READ : control & DMA_WRITE ? DMA_WRITE : control & DMA_SKIP;
    cfg->op_left = be32_load(ctl + 4);
    cfg->op_addr = be64_load(ctl + 8);
    trace_fw_cfg_dma(control, cfg->op_addr, cfg->op_left);
    if (cfg->op) {
        op_step(cfg);
    } else {
        op_end(cfg, true);
    }
}

static uint64_t dma_reg_read(void *opaque, uint64_t offset, unsigned size)
{
    return bits_get(DMA_SIGNATURE, 8 * (8 - offset - size), 8 * size);
}

static void dma_reg_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    FwCfg *cfg = opaque;

    if (size == 4 && offset == 0) {
        cfg->dma_addr = value << 32;
    } else if (size == 4 && offset == 4) {
        cfg->dma_addr |= value;
        dma_run(cfg);
    } else if (size == 8 && offset == 0) {
        cfg->dma_addr = value;
        dma_run(cfg);
    }
}

/* clang-format off */
static const MmioOps ports_ops = { ports_read, ports_write, .valid_min = 1, .valid_max = 2, .impl_min = 1, .impl_max = 2 };
static const MmioOps dma_ops = { dma_reg_read, dma_reg_write, .valid_min = 1, .valid_max = 8, .impl_min = 1, .impl_max = 8, .big_endian = true };
/* clang-format on */

/* ---- life cycle ---- */

static void fw_cfg_init(Object *obj)
{
    FwCfg *cfg = (FwCfg *)(void *)obj;

    cfg->items = g_hash_table_new_full(NULL, NULL, NULL, item_free);
    cfg->files = g_array_new(false, false, sizeof(File));
}

static void fw_cfg_finalize(Object *obj)
{
    FwCfg *cfg = (FwCfg *)(void *)obj;

    for (unsigned i = 0; i < cfg->files->len; i++) {
        g_free(g_array_index(cfg->files, File, i).name);
    }
    g_array_free(cfg->files, true);
    g_hash_table_destroy(cfg->items);
}

/* The wire has no room for half an operation: a VM that stops, maybe to be saved, ends it. */
static void stopped_or_running(void *opaque, bool running, RunState state)
{
    FwCfg *cfg = opaque;

    while (!running && cfg->op) {
        op_step(cfg);
    }
}

static bool fw_cfg_realize(Device *dev, GError **error)
{
    FwCfg *cfg = DEVICE_CAST(FwCfg, dev);

    dev->dma_as = &dev->vm->memory;
    timer_init(&cfg->op_timer, dev->vm->clock, op_timer_fired, cfg);
    vm_add_state_hook(dev->vm, stopped_or_running, cfg);
    memory_region_init_io(&cfg->ports, OBJECT(dev), "fwcfg", &ports_ops, cfg, 2);
    memory_region_add(&dev->vm->system_io, SELECTOR_PORT, &cfg->ports);
    if (cfg->dma_enabled) {
        memory_region_init_io(&cfg->dma, OBJECT(dev), "fwcfg.dma", &dma_ops, cfg, 8);
        memory_region_add(&dev->vm->system_io, DMA_PORT, &cfg->dma);
    }
    fw_cfg_set_bytes(cfg, FW_CFG_SIGNATURE, "QEMU", 4);
    fw_cfg_set_u32(cfg, FW_CFG_ID, ID_TRADITIONAL | (cfg->dma_enabled ? ID_DMA : 0));
    write_directory(cfg);
    return true;
}

static void fw_cfg_reset_enter(Device *dev)
{
    FwCfg *cfg = DEVICE_CAST(FwCfg, dev);

    select_item(cfg, FW_CFG_SIGNATURE);
    cfg->dma_addr = 0;
    cfg->op = 0;
    timer_cancel(&cfg->op_timer);
}

static bool dma_needed(const void *obj)
{
    return ((const FwCfg *)obj)->dma_enabled;
}

static bool acpi_mr_needed(const void *obj)
{
    return ((const FwCfg *)obj)->acpi_mr_restore;
}

static const VmField dma_fields[] = { VMS_U64(FwCfg, dma_addr), VMS_END };
static const VmStateDesc vmstate_dma = { .name = "fw_cfg/dma", .fields = dma_fields,
                                         .needed = dma_needed };
static const VmField acpi_mr_fields[] = {
    VMS_U64(FwCfg, acpi_mr_size[0], .wire = "table_mr_size"),
    VMS_U64(FwCfg, acpi_mr_size[1], .wire = "linker_mr_size"),
    VMS_U64(FwCfg, acpi_mr_size[2], .wire = "rsdp_mr_size"),
    VMS_END
};
static const VmStateDesc vmstate_acpi_mr = { .name = "fw_cfg/acpi_mr", .version = 1,
                                             .minimum = 1, .fields = acpi_mr_fields,
                                             .needed = acpi_mr_needed };
static const VmStateDesc *const fw_cfg_subsections[] = { &vmstate_dma, &vmstate_acpi_mr, NULL };

static const VmField fw_cfg_fields[] = {
    VMS_U16(FwCfg, selected, .wire = "cur_entry"),
    VMS_U32(FwCfg, offset, .wire = "cur_offset", .version = 2),
    VMS_END
};

static const PropDef fw_cfg_props[] = {
    PROP_BOOL("dma_enabled", FwCfg, dma_enabled, true),
    PROP_U16("x-file-slots", FwCfg, file_slots, 64, .min = 1, .max = 0x3fe0),
    PROP_BOOL("acpi-mr-restore", FwCfg, acpi_mr_restore, true),
    PROP_END
};

DEVICE_TYPE(fw_cfg, .name = "fw_cfg_io", .size = sizeof(FwCfg), .bus = &bus_system,
            .init = fw_cfg_init, .finalize = fw_cfg_finalize, .props = fw_cfg_props,
            .realize = fw_cfg_realize, .reset_enter = fw_cfg_reset_enter,
            .vmstate = VMSTATE("fw_cfg", 2, 1, fw_cfg_fields,
                               .subsections = fw_cfg_subsections));

FwCfg *fw_cfg_create(Vm *vm, GError **error)
{
    return DEVICE_CAST(FwCfg, device_create(vm, "fw_cfg_io", &vm->system_bus, error, NULL));
}
