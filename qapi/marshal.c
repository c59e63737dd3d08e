/* SPDX-License-Identifier: MIT */
/*
 * The interpreter of the schema's tables: JSON to C values, back, and freeing them.
 * Error texts are those of QEMU 7.2.  Recursion is bounded by the schema's own nesting and, where
 * the schema is recursive, by the parser's depth limit.
 */
#include "qapi/qapi.h"

#include <string.h>

const QapiType qapi_type_str = { "str", QAPI_STR, sizeof(char *) };
const QapiType qapi_type_int = { "int", QAPI_INT, 8 };
const QapiType qapi_type_int8 = { "int8_t", QAPI_INT, 1 };
const QapiType qapi_type_int16 = { "int16_t", QAPI_INT, 2 };
const QapiType qapi_type_int32 = { "int32_t", QAPI_INT, 4 };
const QapiType qapi_type_int64 = { "int64_t", QAPI_INT, 8 };
const QapiType qapi_type_uint8 = { "uint8_t", QAPI_UINT, 1 };
const QapiType qapi_type_uint16 = { "uint16_t", QAPI_UINT, 2 };
const QapiType qapi_type_uint32 = { "uint32_t", QAPI_UINT, 4 };
const QapiType qapi_type_uint64 = { "uint64_t", QAPI_UINT, 8 };
const QapiType qapi_type_size = { "size", QAPI_UINT, 8 };
const QapiType qapi_type_number = { "number", QAPI_NUMBER, sizeof(double) };
const QapiType qapi_type_bool = { "bool", QAPI_BOOL, sizeof(bool) };
const QapiType qapi_type_any = { "any", QAPI_ANY, sizeof(Json *) };
const QapiType qapi_type_null = { "null", QAPI_NULL, 1 };

/* Where we are, for messages: a chain of frames from the innermost outwards. */
typedef struct Path {
    const struct Path *up;
    const char *name;        /* NULL: an element of a list */
    size_t index;
} Path;

static void path_write(const Path *path, GString *out)
{
    if (!path) {
        return;
    }
    path_write(path->up, out);
    if (path->name) {
        g_string_append_printf(out, "%s%s", out->len ? "." : "", path->name);
    } else {
        g_string_append_printf(out, "[%zu]", path->index);
    }
}

static char *path_text(const Path *path)
{
    GString *out = g_string_new(NULL);

    path_write(path, out);
    if (!out->len) {
        g_string_append(out, "null");
    }
    return g_string_free(out, FALSE);
}

static bool wrong_type(const Path *path, const char *expected, GError **error)
{
    g_autofree char *name = path_text(path);

    error_set(error, "Invalid parameter type for '%s', expected: %s", name, expected);
    return false;
}

static bool from_json(const QapiType *type, const Json *json, const Path *path, void *slot,
                      GError **error);

/* ---- freeing ---- */

static void free_slot(const QapiType *type, void *slot);

static void free_members(const QapiType *type, char *base)
{
    for (unsigned i = 0; i < type->member_count; i++) {
        free_slot(type->members[i].type, base + type->members[i].offset);
    }
    if (type->branches) {
        int tag = *(int *)(base + type->members[type->tag].offset);
        const QapiType *branch = type->branches[tag];

        if (branch) {
            free_slot(branch, base + type->union_offset);
        }
    }
}

/* What the pointer-like VALUE refers to, and the value itself. */
void qapi_free(const QapiType *type, void *value)
{
    if (!value) {
        return;
    }
    switch (type->kind) {
    case QAPI_STR:
        g_free(value);
        break;
    case QAPI_ANY:
        json_unref(value);
        break;
    case QAPI_STRUCT:
        free_members(type, value);
        g_free(value);
        break;
    case QAPI_ALTERNATE:
        free_slot(type->branches[*(int *)value], (char *)value + type->union_offset);
        g_free(value);
        break;
    case QAPI_LIST: {
        GPtrArray *list = value;

        for (unsigned i = 0; i < list->len; i++) {
            qapi_free(type->element, list->pdata[i]);
        }
        g_ptr_array_set_free_func(list, NULL);
        g_ptr_array_unref(list);
        break;
    }
    case QAPI_SCALAR_LIST:
        g_array_unref(value);
        break;
    default:
        break;
    }
}

static bool is_pointer(const QapiType *type)
{
    return type->kind == QAPI_STR || type->kind == QAPI_ANY || type->kind == QAPI_STRUCT ||
           type->kind == QAPI_ALTERNATE || type->kind == QAPI_LIST ||
           type->kind == QAPI_SCALAR_LIST;
}

static void free_slot(const QapiType *type, void *slot)
{
    if (is_pointer(type)) {
        qapi_free(type, *(void **)slot);
    }
}

GPtrArray *qapi_list_new(const QapiType *element)
{
    return g_ptr_array_new();
}

/* ---- from JSON ---- */

static bool store_int(const QapiType *type, const Json *json, const Path *path, void *slot,
                      GError **error)
{
    bool is_signed = type->kind == QAPI_INT;
    unsigned bits = (unsigned)type->size * 8;
    int64_t i = 0;
    uint64_t u = 0;
    bool fits = true;

    if (!json_get_int(json, &i)) {
        if (is_signed || !json_get_uint(json, &u)) {
            return wrong_type(path, "integer", error);
        }
        fits = bits == 64;
    } else {
        u = (uint64_t)i;
        if (bits < 64) {
            fits = is_signed ? i >= -(1ll << (bits - 1)) && i < (1ll << (bits - 1))
                             : i >= 0 && i < (1ll << bits);
        }
    }
    if (!fits) {
        g_autofree char *name = path_text(path);

        error_set(error, "Parameter '%s' expects %s", name,
                    type->name);
        return false;
    }
    switch (type->size) {
    case 1:
        *(uint8_t *)slot = (uint8_t)u;
        break;
    case 2:
        *(uint16_t *)slot = (uint16_t)u;
        break;
    case 4:
        *(uint32_t *)slot = (uint32_t)u;
        break;
    default:
        *(uint64_t *)slot = u;
    }
    return true;
}

int qapi_enum_parse(const QapiType *type, const char *word)
{
    for (int i = 0; type->values[i]; i++) {
        if (strcmp(type->values[i], word) == 0) {
            return i;
        }
    }
    return -1;
}

static bool store_enum(const QapiType *type, const Json *json, const Path *path, void *slot,
                       GError **error)
{
    const char *word = json_get_string(json);
    int value;

    if (!word) {
        return wrong_type(path, "string", error);
    }
    value = qapi_enum_parse(type, word);
    if (value < 0) {
        error_set(error, "Parameter '%s' does not accept value '%s'",
                    path && path->name ? path->name : "null", word);
        return false;
    }
    *(int *)slot = value;
    return true;
}

typedef struct Unexpected {
    const QapiType *type;
    const char *value;           /* the struct, to know its branch */
    const char *found;
} Unexpected;

static bool key_known(const QapiType *type, const char *value, const char *key)
{
    for (unsigned i = 0; i < type->member_count; i++) {
        if (strcmp(type->members[i].name, key) == 0) {
            return true;
        }
    }
    if (type->branches) {
        const QapiType *branch = type->branches[*(int *)(value +
                                                         type->members[type->tag].offset)];

        return branch && key_known(branch, *(char **)(value + type->union_offset), key);
    }
    return false;
}

static bool check_key(const char *key, Json *json, void *opaque)
{
    Unexpected *u = opaque;

    if (!key_known(u->type, u->value, key)) {
        u->found = key;
        return false;
    }
    return true;
}

/* Members, then the branch, which shares the dict. */
static bool parse_members(const QapiType *type, const Json *dict, const Path *path, char *base,
                          GError **error)
{
    for (unsigned i = 0; i < type->member_count; i++) {
        const QapiMember *m = &type->members[i];
        Path inner = { path, m->name, 0 };

        if (!json_has(dict, m->name)) {
            if (!m->optional) {
                g_autofree char *name = path_text(&inner);

                error_set(error, "Parameter '%s' is missing",
                            name);
                return false;
            }
            continue;
        }
        if (!from_json(m->type, json_lookup(dict, m->name), &inner, base + m->offset, error)) {
            return false;
        }
        if (m->has_flag) {
            *(bool *)(base + m->flag_offset) = true;
        }
    }
    if (type->branches) {
        int tag = *(int *)(base + type->members[type->tag].offset);
        const QapiType *branch = type->branches[tag];

        if (branch) {
            char *inner = g_malloc0(branch->size);

            *(char **)(base + type->union_offset) = inner;
            return parse_members(branch, dict, path, inner, error);
        }
    }
    return true;
}

static bool parse_struct(const QapiType *type, const Json *json, const Path *path, void **slot,
                         GError **error)
{
    char *base;
    Unexpected unexpected = { .type = type };

    if (!json_is(json, JSON_DICT)) {
        return wrong_type(path, "object", error);
    }
    base = g_malloc0(type->size);
    if (!parse_members(type, json, path, base, error)) {
        qapi_free(type, base);
        return false;
    }
    unexpected.value = base;
    if (!json_dict_foreach(json, check_key, &unexpected)) {
        Path inner = { path, unexpected.found, 0 };
        g_autofree char *name = path_text(&inner);

        error_set(error, "Parameter '%s' is unexpected", name);
        qapi_free(type, base);
        return false;
    }
    *slot = base;
    return true;
}

static bool kind_matches(const QapiType *type, JsonType json)
{
    switch (type->kind) {
    case QAPI_STR:
    case QAPI_ENUM:
        return json == JSON_STRING;
    case QAPI_INT:
    case QAPI_UINT:
        return json == JSON_INT;
    case QAPI_NUMBER:
        return json == JSON_INT || json == JSON_DOUBLE;
    case QAPI_BOOL:
        return json == JSON_BOOL;
    case QAPI_NULL:
        return json == JSON_NULL;
    case QAPI_STRUCT:
    case QAPI_ALTERNATE:
        return json == JSON_DICT;
    case QAPI_LIST:
    case QAPI_SCALAR_LIST:
        return json == JSON_LIST;
    case QAPI_ANY:
        return true;
    }
    return false;
}

static bool parse_alternate(const QapiType *type, const Json *json, const Path *path, void **slot,
                            GError **error)
{
    for (int i = 0; type->branches[i]; i++) {
        if (kind_matches(type->branches[i], json_kind(json))) {
            char *base = g_malloc0(type->size);

            *(int *)base = i;
            if (!from_json(type->branches[i], json, path, base + type->union_offset, error)) {
                g_free(base);
                return false;
            }
            *slot = base;
            return true;
        }
    }
    return wrong_type(path, type->name, error);
}

static bool parse_list(const QapiType *type, const Json *json, const Path *path, void **slot,
                       GError **error)
{
    const QapiType *element = type->element;
    bool pointers = type->kind == QAPI_LIST;
    void *list;

    if (!json_is(json, JSON_LIST)) {
        return wrong_type(path, "array", error);
    }
    list = pointers ? (void *)qapi_list_new(element)
                    : (void *)g_array_new(FALSE, TRUE, (unsigned)element->size);
    for (size_t i = 0; i < json_list_len(json); i++) {
        Path inner = { path, NULL, i };
        union {
            void *pointer;
            uint64_t scalar;
        } item = { NULL };

        if (!from_json(element, json_list_at(json, i), &inner, &item, error)) {
            qapi_free(type, list);
            return false;
        }
        if (pointers) {
            g_ptr_array_add(list, item.pointer);
        } else {
            g_array_append_vals(list, &item, 1);
        }
    }
    *slot = list;
    return true;
}

/* SLOT is where a variable of the type lives: the scalar itself, or the pointer. */
static bool from_json(const QapiType *type, const Json *json, const Path *path, void *slot,
                      GError **error)
{
    switch (type->kind) {
    case QAPI_STR:
        if (!json_is(json, JSON_STRING)) {
            return wrong_type(path, "string", error);
        }
        *(char **)slot = g_strdup(json_get_string(json));
        return true;
    case QAPI_INT:
    case QAPI_UINT:
        return store_int(type, json, path, slot, error);
    case QAPI_NUMBER:
        return json_get_double(json, slot) || wrong_type(path, "number", error);
    case QAPI_BOOL:
        return json_get_bool(json, slot) || wrong_type(path, "boolean", error);
    case QAPI_ANY:
        *(Json **)slot = json_ref((Json *)json);
        return true;
    case QAPI_NULL:
        return json_is(json, JSON_NULL) || wrong_type(path, "null", error);
    case QAPI_ENUM:
        return store_enum(type, json, path, slot, error);
    case QAPI_STRUCT:
        return parse_struct(type, json, path, slot, error);
    case QAPI_ALTERNATE:
        return parse_alternate(type, json, path, slot, error);
    case QAPI_LIST:
    case QAPI_SCALAR_LIST:
        return parse_list(type, json, path, slot, error);
    }
    return false;
}

void *qapi_from_json(const QapiType *type, const Json *json, GError **error)
{
    void *value = NULL;

    g_assert(is_pointer(type));
    return from_json(type, json, NULL, &value, error) ? value : NULL;
}

/* ---- to JSON ---- */

static Json *slot_to_json(const QapiType *type, const void *slot);

static void members_to_json(const QapiType *type, const char *base, Json *dict)
{
    for (unsigned i = 0; i < type->member_count; i++) {
        const QapiMember *m = &type->members[i];
        const void *slot = base + m->offset;

        if (m->optional && (m->has_flag ? !*(const bool *)(base + m->flag_offset)
                                        : !*(void *const *)slot)) {
            continue;
        }
        json_set(dict, m->name, slot_to_json(m->type, slot));
    }
    if (type->branches) {
        int tag = *(const int *)(base + type->members[type->tag].offset);
        const QapiType *branch = type->branches[tag];
        const char *inner = *(char *const *)(base + type->union_offset);

        if (branch && inner) {
            members_to_json(branch, inner, dict);
        }
    }
}

static Json *int_to_json(const QapiType *type, const void *slot)
{
    bool is_signed = type->kind == QAPI_INT;

    switch (type->size) {
    case 1:
        return json_new_int(is_signed ? *(const int8_t *)slot : *(const uint8_t *)slot);
    case 2:
        return json_new_int(is_signed ? *(const int16_t *)slot : *(const uint16_t *)slot);
    case 4:
        return json_new_int(is_signed ? *(const int32_t *)slot
                                      : (int64_t) * (const uint32_t *)slot);
    default:
        return is_signed ? json_new_int(*(const int64_t *)slot)
                         : json_new_uint(*(const uint64_t *)slot);
    }
}

static Json *slot_to_json(const QapiType *type, const void *slot)
{
    switch (type->kind) {
    case QAPI_INT:
    case QAPI_UINT:
        return int_to_json(type, slot);
    case QAPI_NUMBER:
        return json_new_double(*(const double *)slot);
    case QAPI_BOOL:
        return json_new_bool(*(const bool *)slot);
    case QAPI_NULL:
        return NULL;
    case QAPI_ENUM:
        return json_new_string(type->values[*(const int *)slot]);
    default:
        return qapi_to_json(type, *(void *const *)slot);
    }
}

Json *qapi_to_json(const QapiType *type, const void *value)
{
    switch (type->kind) {
    case QAPI_STR:
        return json_new_string(value);
    case QAPI_ANY:
        return json_ref((Json *)value);
    case QAPI_STRUCT: {
        Json *dict = json_new_dict();

        if (value) {
            members_to_json(type, value, dict);
        }
        return dict;
    }
    case QAPI_ALTERNATE:
        return slot_to_json(type->branches[*(const int *)value],
                            (const char *)value + type->union_offset);
    case QAPI_LIST: {
        const GPtrArray *list = value;
        Json *json = json_new_list();

        for (unsigned i = 0; list && i < list->len; i++) {
            json_append(json, qapi_to_json(type->element, list->pdata[i]));
        }
        return json;
    }
    case QAPI_SCALAR_LIST: {
        const GArray *list = value;
        Json *json = json_new_list();

        for (unsigned i = 0; list && i < list->len; i++) {
            json_append(json, slot_to_json(type->element, list->data + i * type->element->size));
        }
        return json;
    }
    default:
        g_assert_not_reached();
    }
}

/* ---- commands and events ---- */

static Json *run_checked(const QapiCommand *command, QmpCall *call, const void *arg,
                         GError **error)
{
    union {
        void *pointer;
        uint64_t scalar;
    } ret = { NULL };
    Json *json;

    if (!command->call(call, arg, command->ret ? &ret : NULL, error)) {
        return NULL;
    }
    if (!command->ret) {
        return json_new_dict();
    }
    json = slot_to_json(command->ret, &ret);
    free_slot(command->ret, &ret);
    return json;
}

Json *qapi_command_run(const QapiCommand *command, QmpCall *call, const Json *args,
                       GError **error)
{
    static const QapiType no_arguments = { "none", QAPI_STRUCT, 1 };
    const QapiType *type = command->arg ? command->arg : &no_arguments;
    g_autoptr(Json) empty = args ? NULL : json_new_dict();
    void *arg;
    Json *ret;

    args = args ? args : empty;
    if (command->flags & QAPI_OPEN_ARGS) {
        return run_checked(command, call, args, error);
    }
    arg = qapi_from_json(type, args, error);
    if (!arg) {
        return NULL;
    }
    ret = run_checked(command, call, command->flags & QAPI_RAW_ARGS ? (const void *)args : arg,
                      error);
    qapi_free(type, arg);
    return ret;
}

static void (*event_sink)(void *opaque, const char *name, Json *data);
static void *event_opaque;

void qapi_set_event_sink(void (*sink)(void *opaque, const char *name, Json *data), void *opaque)
{
    event_sink = sink;
    event_opaque = opaque;
}

void qapi_event_emit(const char *name, Json *data)
{
    if (event_sink) {
        event_sink(event_opaque, name, data);
    } else {
        json_unref(data);
    }
}
