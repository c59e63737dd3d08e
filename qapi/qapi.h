/* SPDX-License-Identifier: MIT */
/*
 * QAPI: C values described by a schema, and their way from and to JSON.
 *
 * scripts/qapi_gen.py turns qapi/schema.json into C structs (qapi_types.h) and into the tables
 * below; qapi/marshal.c interprets them.  How a schema type looks in C:
 *
 *   str -> char *        int, uint32, size... -> int64_t, uint32_t, uint64_t...   bool, number
 *   enum Foo -> QapiFoo (QAPI_FOO_BAR)       struct Foo -> QapiFoo *
 *   ['Foo'] -> GPtrArray * (GArray * of numbers, bools and enums)      any -> Json *
 *   '*x' (optional) -> NULL when absent; scalars have a flag has_x before them
 *   union -> the base members, then u.<branch>: a pointer, NULL for a branch without members
 *   alternate -> kind (index) and u.<name>
 *
 * A value of struct type is one heap block with everything it points to; qapi_free() frees all.
 * Thread rule: none; values belong to their holder.
 */
#ifndef QAPI_QAPI_H
#define QAPI_QAPI_H

#include "base/error.h"
#include "base/json.h"

typedef enum QapiKind {
    QAPI_STR, QAPI_INT, QAPI_UINT, QAPI_NUMBER, QAPI_BOOL, QAPI_ANY, QAPI_NULL,
    QAPI_ENUM, QAPI_STRUCT, QAPI_ALTERNATE, QAPI_LIST, QAPI_SCALAR_LIST,
} QapiKind;

typedef struct QapiType QapiType;

typedef struct QapiMember {
    const char *name;
    const QapiType *type;
    size_t offset;
    bool optional;
    bool has_flag;               /* optional scalars: a bool at flag_offset */
    size_t flag_offset;
} QapiMember;

struct QapiType {
    const char *name;
    QapiKind kind;
    size_t size;                 /* of a scalar, or of the heap block */
    const char *const *values;   /* QAPI_ENUM, ends with NULL */
    const QapiMember *members;   /* QAPI_STRUCT */
    unsigned member_count;
    const QapiType *const *branches;  /* unions: by tag value; alternates: ends with NULL */
    unsigned tag;                /* unions: index of the tag member */
    size_t union_offset;
    const QapiType *element;     /* lists */
};

extern const QapiType qapi_type_str, qapi_type_int, qapi_type_int8, qapi_type_int16,
    qapi_type_int32, qapi_type_int64, qapi_type_uint8, qapi_type_uint16, qapi_type_uint32,
    qapi_type_uint64, qapi_type_size, qapi_type_number, qapi_type_bool, qapi_type_any,
    qapi_type_null;

/* A new value of struct, alternate or list type; NULL with QEMU's error text when JSON does not
 * fit the type exactly: unknown members are errors. */
void *qapi_from_json(const QapiType *type, const Json *json, GError **error);
/* Of a pointer-like value (struct, alternate, list, str, any). */
Json *qapi_to_json(const QapiType *type, const void *value);
void qapi_free(const QapiType *type, void *value);
/* Index of WORD in an enum; -1 when it is none. */
int qapi_enum_parse(const QapiType *type, const char *word);

/* A list whose elements are freed with it. */
GPtrArray *qapi_list_new(const QapiType *element);

/* ---- commands ---- */

/* Who calls: filled in by the monitor, or by whoever runs a command on the monitor's behalf. */
typedef struct QmpCall {
    struct Vm *vm;
    struct Monitor *monitor;     /* NULL: not from a monitor */
    void *system;                /* of the system emulator: see system/system.h */
} QmpCall;

enum {
    QAPI_ALLOW_OOB = 1,
    QAPI_ALLOW_PRECONFIG = 2,
    QAPI_RAW_ARGS = 4,           /* checked, then passed as JSON */
    QAPI_OPEN_ARGS = 8,          /* not checked, passed as JSON */
};

typedef struct QapiCommand {
    const char *name;
    bool (*call)(QmpCall *call, const void *arg, void *ret, GError **error);
    const QapiType *arg;         /* NULL: takes no arguments */
    const QapiType *ret;         /* NULL: returns {} */
    unsigned flags;
} QapiCommand;

/* Checks ARGS (NULL: none) against the command's type, calls it; the result as JSON, or NULL. */
Json *qapi_command_run(const QapiCommand *command, QmpCall *call, const Json *args,
                       GError **error);

/* ---- events ---- */

/* The generated qapi_event_*() end here.  DATA (NULL: none) is taken.  The sink is the process's
 * one set of monitors; without one, events go nowhere.  Any thread; the sink must cope. */
void qapi_event_emit(const char *name, Json *data);
void qapi_set_event_sink(void (*sink)(void *opaque, const char *name, Json *data), void *opaque);

#endif
