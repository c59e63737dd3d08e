/* SPDX-License-Identifier: MIT */
/*
 * Device state on the wire: tables of fields in QEMU 7.2's format.
 *
 * A description names a section, its versions, and its fields in wire order.  Integers travel
 * big-endian; arrays element by element; structs inline; subsections follow the fields.  What
 * QEMU 7.2 sends for the same device (`-dump-vmstate`) is the contract: names, versions, field
 * names, order and sizes.
 *
 * Loaded state is hostile: the core bounds every length by the tables, and post_load range-checks
 * what indexes anything, answering false with an error.
 *
 * Thread rule: machine lock, VM stopped.
 */
#ifndef VM_VMSTATE_H
#define VM_VMSTATE_H

#include "base/bits.h"

typedef struct VmStateDesc VmStateDesc;
typedef struct VmField VmField;
typedef struct VmReader VmReader;   /* bounded input; sticky error */
typedef struct VmWriter VmWriter;

typedef enum VmKind {
    VM_END,
    VM_BOOL, VM_U8, VM_U16, VM_U32, VM_U64, VM_I8, VM_I16, VM_I32, VM_I64,
    VM_BUFFER,        /* size bytes as they are */
    VM_UNUSED,        /* size zero bytes, skipped on load */
    VM_STRUCT,        /* fields of .desc, inline */
    VM_TIMER,         /* Timer: deadline as i64, -1 not pending */
    VM_BITMAP,        /* unsigned long[], .size bits */
    VM_CUSTOM,        /* get/put hooks */
} VmKind;

struct VmField {
    const char *name;         /* the C field's */
    const char *wire;         /* QEMU's name of the field in -dump-vmstate; NULL: the same */
    VmKind kind;
    size_t offset;            /* in the struct */
    size_t size;              /* bytes of one element in memory (VM_BUFFER, VM_UNUSED: length) */
    unsigned count;           /* elements of a fixed array; 0: scalar */
    /* Variable array: number of elements comes from this already loaded int32/uint8/16/32 field,
     * at most .count; the array itself is behind a pointer when .pointer. */
    bool has_count_field;
    uint8_t count_size;
    size_t count_offset;
    bool pointer;             /* field is a pointer to the element(s) */
    unsigned version;         /* field exists from this section version on (0: always) */
    bool (*exists)(const void *obj, int version);
    const VmStateDesc *desc;  /* VM_STRUCT */
    unsigned struct_version;  /* 0: desc->version */
    const char *wire_type;    /* VM_CUSTOM: type name in -dump-vmstate */
    bool (*get)(VmReader *r, void *field, const VmField *def, GError **error);
    void (*put)(VmWriter *w, const void *field, const VmField *def);
    bool must_equal;          /* VMSTATE_*_EQUAL: the loaded value must be what is there */
};

struct VmStateDesc {
    const char *name;
    unsigned version, minimum;
    int priority;             /* higher is sent first; 0 default */
    bool unmigratable;        /* saving fails, naming the device */
    const VmField *fields;
    const VmStateDesc *const *subsections;   /* NULL-terminated; names "<parent>/<x>" */
    bool (*needed)(const void *obj);         /* subsections: sent when true; NULL: always */
    bool (*pre_load)(void *obj, GError **error);
    bool (*post_load)(void *obj, int version, GError **error);
    void (*pre_save)(void *obj);
};

#define VMSTATE(n, v, m, f, ...)                                                           \
    &(const VmStateDesc){ .name = (n), .version = (v), .minimum = (m), .fields = (f),      \
                          __VA_ARGS__ }

/* clang-format off */
#define VMS_FIELD_(T, f, k) .name = #f, .kind = (k), .offset = offsetof(T, f), .size = sizeof(((T *)0)->f)
#define VMS_ARRAY_(T, f, k) .name = #f, .kind = (k), .offset = offsetof(T, f), \
    .size = sizeof(((T *)0)->f[0]), .count = ARRAY_LEN(((T *)0)->f)
/* Trailing arguments are further designated initializers, e.g. .version = 2.  The wire name is the
 * C name of the field; where QEMU's differs, .wire = "its name" says so. */
#define VMS_BOOL(T, f, ...) { VMS_FIELD_(T, f, VM_BOOL), __VA_ARGS__ }
#define VMS_U8(T, f, ...)   { VMS_FIELD_(T, f, VM_U8), __VA_ARGS__ }
#define VMS_U16(T, f, ...)  { VMS_FIELD_(T, f, VM_U16), __VA_ARGS__ }
#define VMS_U32(T, f, ...)  { VMS_FIELD_(T, f, VM_U32), __VA_ARGS__ }
#define VMS_U64(T, f, ...)  { VMS_FIELD_(T, f, VM_U64), __VA_ARGS__ }
#define VMS_I8(T, f, ...)   { VMS_FIELD_(T, f, VM_I8), __VA_ARGS__ }
#define VMS_I16(T, f, ...)  { VMS_FIELD_(T, f, VM_I16), __VA_ARGS__ }
#define VMS_I32(T, f, ...)  { VMS_FIELD_(T, f, VM_I32), __VA_ARGS__ }
#define VMS_I64(T, f, ...)  { VMS_FIELD_(T, f, VM_I64), __VA_ARGS__ }
#define VMS_U8_ARRAY(T, f, ...)  { VMS_ARRAY_(T, f, VM_U8), __VA_ARGS__ }
#define VMS_U16_ARRAY(T, f, ...) { VMS_ARRAY_(T, f, VM_U16), __VA_ARGS__ }
#define VMS_U32_ARRAY(T, f, ...) { VMS_ARRAY_(T, f, VM_U32), __VA_ARGS__ }
#define VMS_U64_ARRAY(T, f, ...) { VMS_ARRAY_(T, f, VM_U64), __VA_ARGS__ }
#define VMS_I32_ARRAY(T, f, ...) { VMS_ARRAY_(T, f, VM_I32), __VA_ARGS__ }
#define VMS_BUFFER(T, f, ...)    { VMS_FIELD_(T, f, VM_BUFFER), __VA_ARGS__ }
#define VMS_UNUSED(n, ...)       { .name = "unused", .kind = VM_UNUSED, .size = (n), __VA_ARGS__ }
#define VMS_TIMER(T, f, ...)     { VMS_FIELD_(T, f, VM_TIMER), __VA_ARGS__ }
#define VMS_STRUCT(T, f, d, ...) { VMS_FIELD_(T, f, VM_STRUCT), .desc = (d), __VA_ARGS__ }
#define VMS_STRUCT_ARRAY(T, f, d, ...) { VMS_ARRAY_(T, f, VM_STRUCT), .desc = (d), __VA_ARGS__ }
/* The state of the device struct this one begins with or contains, under its wire name. */
#define VMS_PART(T, f, wire, d, ...) { .name = (wire), .kind = VM_STRUCT, .offset = offsetof(T, f), \
    .size = sizeof(((T *)0)->f), .desc = (d), __VA_ARGS__ }
#define VMS_END { .kind = VM_END }
/* clang-format on */

/* ---- streams ---- */

VmWriter *vm_writer_new(void);
/* The bytes so far; the writer keeps them. */
const uint8_t *vm_writer_bytes(const VmWriter *w, size_t *len);
void vm_writer_free(VmWriter *w);
void vm_put_u8(VmWriter *w, uint8_t v);
void vm_put_be16(VmWriter *w, uint16_t v);
void vm_put_be32(VmWriter *w, uint32_t v);
void vm_put_be64(VmWriter *w, uint64_t v);
void vm_put_bytes(VmWriter *w, const void *p, size_t len);

/* DATA stays the caller's. */
VmReader *vm_reader_new(const uint8_t *data, size_t len);
void vm_reader_free(VmReader *r);
/* Past the end: 0, and the reader is marked failed. */
uint8_t vm_get_u8(VmReader *r);
uint16_t vm_get_be16(VmReader *r);
uint32_t vm_get_be32(VmReader *r);
uint64_t vm_get_be64(VmReader *r);
bool vm_get_bytes(VmReader *r, void *p, size_t len);
bool vm_reader_failed(const VmReader *r);
size_t vm_reader_left(const VmReader *r);

/* One description over one struct. */
bool vmstate_save(VmWriter *w, const VmStateDesc *desc, void *obj, GError **error);
bool vmstate_load(VmReader *r, const VmStateDesc *desc, void *obj, unsigned version,
                  GError **error);

/* ---- sections of a VM ---- */

typedef struct Vm Vm;
/* Devices register themselves by their type row; boards and accelerators add others here.
 * INSTANCE -1: the next free number for that name. */
void vmstate_register(Vm *vm, const char *path, int instance, const VmStateDesc *desc,
                      void *obj);
void vmstate_unregister(Vm *vm, const VmStateDesc *desc, void *obj);
/* All device sections of VM in QEMU's stream format (without RAM), and back. */
bool vm_save_devices(Vm *vm, VmWriter *w, GError **error);
bool vm_load_devices(Vm *vm, VmReader *r, GError **error);
/* The JSON that `-dump-vmstate` prints; the caller owns the reference. */
struct json_object *vmstate_dump_types(const char *machine_name);

#endif
