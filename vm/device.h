/* SPDX-License-Identifier: MIT */
/*
 * Devices and buses.
 *
 * A device is an Object with a place on a bus, registers, interrupt lines, state and a life cycle:
 *
 *   device_new -> set properties -> device_realize -> [reset, accesses, save/load] -> unplug
 *
 * Its type is one row, DEVICE_TYPE().  Hooks and when the core calls them:
 *   realize      all properties are set; claim resources, add regions.  Failing leaves nothing.
 *   unrealize    undo realize; no access comes after it.
 *   reset_enter  set fields to their reset values (registers with .reset are already done)
 *   reset_hold   every device has entered; still silent towards others
 *   reset_exit   drive lines, start timers; for work that leaves the device
 *   sync         after each register access, input change, timer, reset and load: recompute
 *                every output from state.  Runs muted after a load (lines take their level,
 *                nobody is told).
 * A device whose callbacks come from outside the core (timer, chardev, DMA completion) ends them
 * with device_sync(dev).
 *
 * Thread rule: machine lock.
 */
#ifndef VM_DEVICE_H
#define VM_DEVICE_H

#include "vm/irq.h"
#include "vm/memory.h"
#include "vm/object.h"
#include "vm/vmstate.h"

typedef struct Bus Bus;
typedef struct BusType BusType;
typedef struct DeviceType DeviceType;
typedef struct Vm Vm;

/* ---- registers ---- */

/*
 * One register.  The core decodes offset and size, applies write masks, logs unknown offsets,
 * reserved bits and odd sizes as guest errors, traces, and calls sync() after each access.
 *   read:   value = field; on_read(dev, value) may replace it; clear_on_read bits then clear
 *   write:  field = (field & ~rw) | (value & rw), minus value & w1c; then on_write(dev, value)
 *           with the raw value written
 * A register without a field (size only, REG_NONE) is served by its hooks alone.
 */
typedef struct RegDef {
    uint32_t offset;
    const char *name;
    uint8_t size;             /* bytes */
    bool has_field;
    uint32_t field;           /* offsetof in the device struct */
    uint64_t rw;              /* bits a write changes */
    uint64_t w1c;             /* bits a written 1 clears */
    uint64_t clear_on_read;
    uint64_t reset;
    uint64_t (*on_read)(Device *dev, uint64_t value);
    void (*on_write)(Device *dev, uint64_t value);
    /* The row counts only while this returns true (NULL: always); for registers that share an
     * offset under a mode bit (DLAB).  The first row that matches wins. */
    bool (*bank)(const Device *dev);
} RegDef;

/* clang-format off */
#define REG8(T, f)   .size = 1, .has_field = true, .field = offsetof(T, f)
#define REG16(T, f)  .size = 2, .has_field = true, .field = offsetof(T, f)
#define REG32(T, f)  .size = 4, .has_field = true, .field = offsetof(T, f)
#define REG64(T, f)  .size = 8, .has_field = true, .field = offsetof(T, f)
#define REG_NONE(n)  .size = (n), .has_field = false
/* clang-format on */

typedef struct RegTable {
    const RegDef *rows;
    unsigned count;
} RegTable;
#define REG_TABLE(rows_) { (rows_), ARRAY_LEN(rows_) }

/* MMIO or port window onto a register table; OFFSETs of the table are relative to it. */
void device_init_reg_region(Device *dev, MemoryRegion *mr, const char *name, RegTable table,
                            uint64_t size);
/* The same access without a region, for windows the device decodes itself and for benches. */
uint64_t device_reg_read(Device *dev, RegTable table, uint64_t offset, unsigned size);
void device_reg_write(Device *dev, RegTable table, uint64_t offset, uint64_t value,
                      unsigned size);

/* ---- interrupt outputs ---- */

/* Where the IrqLines are in the device struct.  Devices drive them by name; the table numbers them
 * for those who look from outside (qtest). */
typedef struct IrqOutputDef {
    uint32_t offset, count;
} IrqOutputDef;

typedef struct IrqOutputTable {
    const IrqOutputDef *rows;
    unsigned count;
} IrqOutputTable;

#define IRQ_OUT(T, f)    { offsetof(T, f), 1 }
#define IRQ_OUTS(T, f)   { offsetof(T, f), ARRAY_LEN(((T *)0)->f) }
#define IRQ_OUTPUTS(...)                                                                   \
    { (const IrqOutputDef[]){ __VA_ARGS__ },                                               \
      sizeof((const IrqOutputDef[]){ __VA_ARGS__ }) / sizeof(IrqOutputDef) }

/* ---- devices ---- */

typedef enum DeviceCategory {
    DEVICE_CATEGORY_NONE,     /* listed under "Uncategorized devices" */
    DEVICE_CATEGORY_BRIDGE,
    DEVICE_CATEGORY_USB,
    DEVICE_CATEGORY_STORAGE,
    DEVICE_CATEGORY_NETWORK,
    DEVICE_CATEGORY_INPUT,
    DEVICE_CATEGORY_DISPLAY,
    DEVICE_CATEGORY_SOUND,
    DEVICE_CATEGORY_MISC,
    DEVICE_CATEGORY_CPU,
    DEVICE_CATEGORY_WATCHDOG,
} DeviceCategory;

#define DEVICE_TYPE_FIELDS                                                                 \
    const BusType *bus;        /* what it plugs into; NULL: nothing (board device) */      \
    const void *bus_info;      /* of the bus: e.g. const PciInfo * */                      \
    const char *model;         /* of a proxy: the type of the device model that it makes as  \
                                * its child, and whose properties are lent to it */        \
    DeviceCategory category;                                                               \
    bool user_creatable;       /* -device may make it */                                   \
    bool hotpluggable;                                                                     \
    RegTable regs;             /* reset values; the realize hook maps it */                \
    const VmStateDesc *vmstate;                                                            \
    unsigned inputs;           /* number of interrupt inputs */                            \
    void (*set_input)(Device *dev, unsigned n, bool level);                                \
    IrqOutputTable outputs;    /* for device_output() */                                   \
    bool (*realize)(Device *dev, GError **error);                                          \
    void (*unrealize)(Device *dev);                                                        \
    void (*reset_enter)(Device *dev);                                                      \
    void (*reset_hold)(Device *dev);                                                       \
    void (*reset_exit)(Device *dev);                                                       \
    void (*sync)(Device *dev);                                                             \
    void (*info)(Device *dev, GString *out);   /* for `info pic` and `info lapic` */

struct DeviceType {
    OBJECT_TYPE_FIELDS
    DEVICE_TYPE_FIELDS
};

/* Hooks other than sync and set_input are inherited when NULL; realize and the reset hooks of an
 * abstract parent run before the child's own. */
#define DEVICE_TYPE(id, ...)                                                               \
    static const DeviceType id##_type = { __VA_ARGS__ };                                   \
    TYPE_ROW(id, &id##_type, "device")

struct Device {
    Object obj;               /* first: casts are plain */
    Vm *vm;
    char *id;                 /* of -device; NULL for board devices */
    Bus *bus;                 /* where it is plugged; NULL for board devices */
    AddressSpace *dma_as;     /* what its DMA reaches; set by the bus or realize */
    GPtrArray *buses;         /* Bus* it offers; owned as children */
    bool realized;
    bool hotplugged;
    bool unplugging;
    uint8_t sync_muted;       /* > 0 while loading */
    uint8_t busy;             /* re-entrancy guard of MMIO handlers */
    GPtrArray *reg_windows;   /* of device_init_reg_region() */
    int instance_id;          /* of the vmstate section; -1: allocate */
    char *opts_json;          /* as given by the user, for error messages; may be NULL */
    /* qtest's irq_intercept_in: told about every input change before the device is. */
    IrqHandler *intercept;
    void *intercept_opaque;
};

/* A plain cast: Device is the first member of T (possibly through a bus's device struct). */
#define DEVICE_CAST(T, dev) ((T *)(void *)(dev))
#define DEVICE(x) ((Device *)(void *)(x))
#define OBJECT(x) ((Object *)(void *)(x))

static inline const DeviceType *device_type(const Device *dev)
{
    return (const DeviceType *)(const void *)dev->obj.type;
}

/* Not realized, not on a bus, no place in the tree; the caller owns the reference. */
Device *device_new(Vm *vm, const char *type, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/*
 * Plugs into BUS (NULL for board devices), applies the bus's attach hook, realizes.  Without a
 * parent object the device lands in /machine/peripheral/ID, /machine/peripheral-anon or
 * /machine/unattached.  On failure everything is undone; the caller still owns its reference.
 */
bool device_realize(Device *dev, Bus *bus, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Immediate removal: unrealize, leave bus and tree. */
void device_unplug(Device *dev);
/* Board shorthand: new + NAME=VALUE pairs as text ("iobase", "0x3f8", NULL) + realize; returns a
 * reference owned by the tree. */
Device *device_create(Vm *vm, const char *type, Bus *bus, GError **error, ...)
    G_GNUC_NULL_TERMINATED;
Device *device_find(Vm *vm, const char *id);

/* Interrupt input N, as an end for irq_connect(). */
IrqPin device_input(Device *dev, unsigned n);
/* Interrupt output N of the type's table; NULL past the last. */
IrqLine *device_output(Device *dev, unsigned n);
/* The bus type that TYPE plugs into, inherited along its parents; NULL: none. */
const BusType *device_type_bus(const DeviceType *type);
/* The vmstate of a type, inherited likewise. */
const VmStateDesc *device_type_vmstate(const DeviceType *type);
/* Calls FN for every device of the VM. */
void device_foreach(Vm *vm, void (*fn)(Device *dev, void *opaque), void *opaque);
/* Recomputes outputs now. */
void device_sync(Device *dev);
/* Resets this device and everything below it, three phases. */
void device_reset(Device *dev);
/* What the type, or the nearest ancestor that can, says of the device; nothing where none can. */
void device_info(Device *dev, GString *out);
/* Human place for messages: id, else "type at <bus path>". The caller frees. */
char *device_describe(const Device *dev);

/* ---- buses ---- */

struct BusType {
    const char *name;         /* "PCI", "ISA", "IDE", "System" */
    const char *device_type;  /* default parent type of its devices: "pci-device" */
    const PropDef *device_props;  /* added to every device of the bus: addr=, iobase=... */
    unsigned max_devices;     /* 0: no limit */
    /* Called before the device's own realize, e.g. picks a slot; errors say what is taken. */
    bool (*attach)(Bus *bus, Device *dev, GError **error);
    void (*plugged)(Bus *bus, Device *dev);  /* realized; if the VM was complete, reset, too */
    void (*detach)(Bus *bus, Device *dev);   /* after unrealize */
    void (*reset)(Bus *bus);                 /* in the hold phase, after its devices */
    /* Name in the vmstate ("0000:00:01.1"); the caller frees; NULL hook: none. */
    char *(*dev_path)(Device *dev);
    /* Component of a firmware path for bootindex ("ide@1,1"); the caller frees. */
    char *(*fw_path)(Device *dev);
    /* Unplug protocol on request of device_del; NULL: cannot be unplugged. */
    bool (*unplug_request)(Bus *bus, Device *dev, GError **error);
};

struct Bus {
    Object obj;               /* of type "bus" subtype named after BusType.name */
    const BusType *type;
    Device *owner;            /* the controller; NULL for the system bus */
    Vm *vm;
    GPtrArray *devices;       /* Device*, in order of plugging; references held */
    AddressSpace *dma_as;     /* default for its devices */
    void *data;               /* of the bus implementation (PciBus embeds Bus instead) */
};

/* In place: SIZE-independent, the owner embeds it.  NAME NULL: "<owner id or type>.<n>" as QEMU. */
void bus_init(Bus *bus, const BusType *type, Device *owner, Vm *vm, const char *name);
void bus_clear(Bus *bus);
/* By name or "/"-path below the main bus; NULL with an error listing what there is. */
Bus *bus_find(Vm *vm, const char *name, GError **error);
/* First bus of the type that still takes a device; NULL with an error. */
Bus *bus_find_free(Vm *vm, const BusType *type, GError **error);

extern const BusType bus_system;   /* devices that sit on the board itself */

#endif
