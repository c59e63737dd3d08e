/* SPDX-License-Identifier: MIT */
/*
 * Objects: typed, reference-counted nodes of one tree, with properties.
 *
 * A type is one static row, declared with OBJECT_TYPE() (or DEVICE_TYPE(), MACHINE_TYPE(),
 * CPU types: rows that extend this one).  Rows are collected by the linker in a section, so there
 * is no registration order; modules loaded later hand theirs to type_register().  A row names its
 * parent; properties and hooks are inherited along that chain.
 *
 * Properties are rows too (PropDef).  The same row serves -device, -object, -machine, -cpu,
 * -global, device-list-properties, qom-get/-set/-list and `-device X,help`.
 *
 * Thread rule: main loop with the machine lock held, except object_ref()/object_unref().
 * Ownership: object_new() returns the caller's reference; a parent owns one reference to each child.
 * Setting properties of a realized device fails unless the row has PROP_LIVE.
 */
#ifndef VM_OBJECT_H
#define VM_OBJECT_H

#include "base/bits.h"

struct json_object;

typedef struct Object Object;
typedef struct ObjectType ObjectType;
typedef struct PropDef PropDef;
typedef struct PropType PropType;

/* ---- types ---- */

/* The fields every type row begins with; DeviceType and others extend the list. */
#define OBJECT_TYPE_FIELDS                                                                 \
    const char *name;                                                                      \
    const char *parent;    /* NULL: the default of the declaring macro ("object") */       \
    size_t size;           /* of the instance struct; 0 inherits the parent's */           \
    bool abstract;                                                                         \
    const char *desc;                                                                      \
    const PropDef *props;  /* ends with PROP_END; may be NULL */                           \
    void (*init)(Object *obj);      /* parents first; after defaults are set */            \
    void (*finalize)(Object *obj);  /* children first; memory is freed after */            \
    /* -object and object-add: the type is user-creatable when this is set; called once    \
     * all properties are set. */                                                          \
    bool (*complete)(Object *obj, GError **error);                                         \
    bool (*can_be_deleted)(Object *obj);

struct ObjectType {
    OBJECT_TYPE_FIELDS
};

/* What the linker collects: a row of any struct that begins with ObjectType, and the parent it has
 * when it names none.  (A macro that pre-set .parent would trip -Woverride-init.) */
typedef struct TypeRow {
    const void *type;
    const char *default_parent;
} TypeRow;

#define TYPE_ROW(id, row, parent)                                                          \
    static const TypeRow type_row_##id                                                     \
        __attribute__((used, section("rhea_types"))) = { (row), (parent) }

#define OBJECT_TYPE(id, ...)                                                               \
    static const ObjectType id##_type = { __VA_ARGS__ };                                   \
    TYPE_ROW(id, &id##_type, "object")

/* Rows of a module loaded at run time. */
void type_register(const TypeRow *row);
/* NULL when there is no such type. */
const ObjectType *type_find(const char *name);
/* The row of the parent; NULL for "object". */
const ObjectType *type_parent(const ObjectType *type);
bool type_is_a(const ObjectType *type, const char *ancestor);
/* Made by -object: it or an ancestor has a hook `complete`. */
bool type_is_creatable(const ObjectType *type);
/* Calls fn for every type that is a ANCESTOR (NULL: every type), sorted by name. */
void type_foreach(const char *ancestor, bool with_abstract,
                  void (*fn)(const ObjectType *type, void *opaque), void *opaque);

/* ---- objects ---- */

struct Object {
    const ObjectType *type;
    Object *parent;
    char *name;               /* component of the path; owned */
    GHashTable *children;     /* name -> Object*, lazily made; owns a reference each */
    GHashTable *dynamic;      /* name -> DynamicProp*: run-time properties, lazily made */
    int refs;
    bool embedded;            /* its memory belongs to someone else (buses) */
};

/* NULL and an error for an unknown or abstract type. */
Object *object_new(const char *type, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* For a type whose existence the program guarantees. */
Object *object_new_known(const ObjectType *type);
Object *object_ref(Object *obj);
void object_unref(Object *obj);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Object, object_unref)

bool object_is_a(const Object *obj, const char *type);

/* A "container" below PARENT, which owns it; NULL: the root of a tree, the caller's. */
Object *object_new_container(Object *parent, const char *name);

/* PARENT takes its own reference.  A "[*]" at the end of NAME becomes the first free index. */
void object_add_child(Object *parent, const char *name, Object *child);
/* Takes OBJ out of the tree and drops the parent's reference. */
void object_unparent(Object *obj);
/* To another place in the tree. */
void object_move(Object *obj, Object *parent, const char *name);
Object *object_child(Object *parent, const char *name);
void object_foreach_child(Object *obj, void (*fn)(Object *child, void *opaque), void *opaque);
/* "/machine/unattached/device[3]"; the caller frees. */
char *object_path(const Object *obj);
/* Absolute path, or a unique partial one as QMP allows; NULL with an error if none or several. */
Object *object_resolve(Object *root, const char *path, GError **error);

/* ---- property values ---- */

/* How a kind of property is read, printed and stored at PropDef.offset of the object. */
struct PropType {
    const char *name;         /* as in device-list-properties: "bool", "uint32", "str"... */
    const char *const *values; /* enumerations: the permitted words, NULL-terminated */
    /* From the text of a command line.  On error the field is untouched. */
    bool (*parse)(Object *obj, const PropDef *prop, const char *text, GError **error);
    /* From a QMP value. */
    bool (*from_json)(Object *obj, const PropDef *prop, struct json_object *v, GError **error);
    /* A new reference for the caller. */
    struct json_object *(*to_json)(Object *obj, const PropDef *prop);
    /* Human form for `info qtree` (NULL: the JSON text); the caller frees. */
    char *(*print)(Object *obj, const PropDef *prop);
    void (*set_default)(Object *obj, const PropDef *prop);
    void (*release)(Object *obj, const PropDef *prop);  /* NULL: nothing to free */
};

typedef enum PropFlags {
    PROP_LIVE = BIT(0),       /* may be set after realize */
    PROP_READ_ONLY = BIT(1),  /* qom-get only */
    PROP_HIDDEN = BIT(2),     /* not listed in help (x- and internal ones) */
} PropFlags;

struct PropDef {
    const char *name;
    const PropType *type;
    size_t offset;            /* in the instance struct */
    uint64_t def;             /* default of numbers, bools, enums, bit */
    const char *def_str;      /* default of strings; NULL = unset */
    uint64_t min, max;        /* numbers: permitted range; both 0 = the type's own */
    unsigned bit;             /* PROP_BIT: which bit of the uint32_t/uint64_t field */
    const void *arg;          /* of the PropType: link target type, ... */
    unsigned flags;           /* PropFlags */
    const char *help;
    /* Computed properties: instead of a field.  Either may be NULL. */
    struct json_object *(*get)(Object *obj, const PropDef *prop);
    bool (*set)(Object *obj, const PropDef *prop, struct json_object *v, GError **error);
};

extern const PropType prop_bool, prop_u8, prop_u16, prop_u32, prop_u64, prop_i32, prop_i64,
    prop_size, prop_str, prop_enum /* arg = PropType-independent word list */, prop_bit32,
    prop_bit64, prop_on_off_auto, prop_link, prop_uuid;

typedef enum OnOffAuto { ON_OFF_AUTO_AUTO, ON_OFF_AUTO_ON, ON_OFF_AUTO_OFF } OnOffAuto;

/* clang-format off */
#define PROP_ROW(n, t, T, f, ...) \
    { .name = (n), .type = (t), .offset = offsetof(T, f), __VA_ARGS__ }
#define PROP_BOOL(n, T, f, d, ...) PROP_ROW(n, &prop_bool, T, f, .def = (d), __VA_ARGS__)
#define PROP_U8(n, T, f, d, ...)   PROP_ROW(n, &prop_u8,   T, f, .def = (d), __VA_ARGS__)
#define PROP_U16(n, T, f, d, ...)  PROP_ROW(n, &prop_u16,  T, f, .def = (d), __VA_ARGS__)
#define PROP_U32(n, T, f, d, ...)  PROP_ROW(n, &prop_u32,  T, f, .def = (d), __VA_ARGS__)
#define PROP_U64(n, T, f, d, ...)  PROP_ROW(n, &prop_u64,  T, f, .def = (d), __VA_ARGS__)
#define PROP_I32(n, T, f, d, ...)  PROP_ROW(n, &prop_i32,  T, f, .def = (uint64_t)(int64_t)(d), __VA_ARGS__)
#define PROP_I64(n, T, f, d, ...)  PROP_ROW(n, &prop_i64,  T, f, .def = (uint64_t)(int64_t)(d), __VA_ARGS__)
#define PROP_SIZE(n, T, f, d, ...) PROP_ROW(n, &prop_size, T, f, .def = (d), __VA_ARGS__)
#define PROP_STR(n, T, f, ...)     PROP_ROW(n, &prop_str,  T, f, __VA_ARGS__)     /* char * */
/* WORDS: const char *const[] ending in NULL; the field is an int holding the index. */
#define PROP_ENUM(n, T, f, words, d, ...) PROP_ROW(n, &prop_enum, T, f, .arg = (words), .def = (d), __VA_ARGS__)
#define PROP_ON_OFF_AUTO(n, T, f, d, ...) PROP_ROW(n, &prop_on_off_auto, T, f, .def = (d), __VA_ARGS__)
#define PROP_BIT(n, T, f, b, d, ...)   PROP_ROW(n, &prop_bit32, T, f, .bit = (b), .def = (d), __VA_ARGS__)
#define PROP_BIT64(n, T, f, b, d, ...) PROP_ROW(n, &prop_bit64, T, f, .bit = (b), .def = (d), __VA_ARGS__)
/* Field: Object *; holds a reference.  TYPE is the name of the permitted type. */
#define PROP_LINK(n, T, f, type, ...) PROP_ROW(n, &prop_link, T, f, .arg = (type), __VA_ARGS__)
/* Read-only or two-way computed property. */
#define PROP_COMPUTED(n, t, getter, setter, ...) \
    { .name = (n), .type = (t), .get = (getter), .set = (setter), __VA_ARGS__ }
#define PROP_END { .name = NULL }
/* clang-format on */

static inline void *prop_field(Object *obj, const PropDef *prop)
{
    return (char *)obj + prop->offset;
}

/* ---- property access by name (errors name the type, the property and a close match) ---- */

bool object_set_text(Object *obj, const char *name, const char *text, GError **error);
bool object_set_json(Object *obj, const char *name, struct json_object *v, GError **error);
/* The caller owns the reference. */
struct json_object *object_get_json(Object *obj, const char *name, GError **error);
/* For the program's own use on properties it knows to exist: failures are our bug. */
void object_set_bool(Object *obj, const char *name, bool v);
void object_set_str(Object *obj, const char *name, const char *v);
bool object_get_bool(Object *obj, const char *name);
uint64_t object_get_uint(Object *obj, const char *name);

/* Run-time properties: aliases of a child's property, computed values. */
void object_add_alias(Object *obj, const char *name, Object *target, const char *target_name);
void object_add_computed(Object *obj, const char *name, const char *type,
                         struct json_object *(*get)(Object *obj, void *opaque),
                         bool (*set)(Object *obj, struct json_object *v, void *opaque,
                                     GError **error),
                         void *opaque);

/* The row that NAME means on TYPE or its ancestors; NULL if none. */
const PropDef *type_find_prop(const ObjectType *type, const char *name);

/* One listed property, static, dynamic or child; strings live as long as the object. */
typedef struct PropInfo {
    const char *name;
    const char *type;         /* "child<pci-device>", "link<bus>", "uint32"... */
    const char *help;
    const PropDef *def;       /* NULL for run-time ones and children */
} PropInfo;
void object_foreach_prop(Object *obj, void (*fn)(const PropInfo *info, void *opaque),
                         void *opaque);

/* -global rows and the compat tables of versioned machines: "driver.property=value", applied to
 * each new object of that type, first those added first. */
typedef struct GlobalProp {
    const char *driver, *property, *value;
} GlobalProp;
/* OPTIONAL: silently skipped where the type lacks the property (compat tables). */
void globals_add(const char *driver, const char *property, const char *value, bool optional);
bool globals_apply(Object *obj, GError **error);
/* Warns about -global rows that no object ever used. */
void globals_warn_unused(void);
void globals_clear(void);

#endif
