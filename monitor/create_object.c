/* SPDX-License-Identifier: MIT */
/* Objects made on request. */
#include "monitor/create.h"

#include "base/error.h"
#include "base/parse.h"

typedef struct Setting {
    Object *obj;
    const char *const *skip;     /* keys that are not properties */
    GError **error;
} Setting;

static bool set_one(const char *key, Json *value, void *opaque)
{
    Setting *s = opaque;

    if (g_strv_contains(s->skip, key)) {
        return true;
    }
    if (json_is(value, JSON_STRING)) {
        return object_set_text(s->obj, key, json_get_string(value), s->error);
    }
    return object_set_json(s->obj, key, value, s->error);
}

bool create_set_props(Object *obj, const Json *props, const char *const *skip, GError **error)
{
    Setting setting = { obj, skip, error };

    return json_dict_foreach(props, set_one, &setting);
}

bool create_check_id(const char *id, GError **error)
{
    return parse_is_id(id) ||
           error_set(error, "Parameter 'id' expects an identifier, not '%s': letters, digits, "
                     "'-', '.', '_', starting with a letter", id);
}

static void offer_object(const ObjectType *type, void *opaque)
{
    if (type_is_creatable(type)) {
        suggest_offer(opaque, type->name);
    }
}

/* The hook of the row or of the nearest ancestor that has one. */
static bool complete(Object *obj, GError **error)
{
    for (const ObjectType *t = obj->type; t; t = type_parent(t)) {
        if (t->complete) {
            return t->complete(obj, error);
        }
    }
    return true;
}

Object *create_object(Vm *vm, const Json *props, GError **error)
{
    static const char *const skip[] = { "qom-type", "id", NULL };
    const char *name = json_lookup_string(props, "qom-type");
    const char *id = json_lookup_string(props, "id");
    const ObjectType *type = name ? type_find(name) : NULL;
    Object *obj;

    if (!name || !id) {
        error_set(error, "Parameter '%s' is missing", name ? "id" : "qom-type");
        return NULL;
    }
    if (!type || !type_is_creatable(type)) {
        Suggest suggest;

        suggest_init(&suggest, name);
        type_foreach(NULL, false, offer_object, &suggest);
        error_set(error, "Parameter 'qom-type' does not accept value '%s'%s", name,
                  suggest_text(&suggest));
        return NULL;
    }
    if (!create_check_id(id, error)) {
        return NULL;
    }
    if (object_child(vm->objects, id)) {
        error_set(error, "attempt to add duplicate property '%s' to object (type 'container')", id);
        return NULL;
    }
    obj = object_new(name, error);
    if (!obj) {
        return NULL;
    }
    if (!create_set_props(obj, props, skip, error)) {
        object_unref(obj);
        return NULL;
    }
    object_add_child(vm->objects, id, obj);
    object_unref(obj);
    if (!complete(obj, error)) {
        object_unparent(obj);
        return NULL;
    }
    return obj;
}

bool delete_object(Vm *vm, const char *id, GError **error)
{
    Object *obj = object_child(vm->objects, id);

    if (!obj) {
        return error_set(error, "object '%s' not found", id);
    }
    for (const ObjectType *t = obj->type; t; t = type_parent(t)) {
        if (t->can_be_deleted && !t->can_be_deleted(obj)) {
            return error_set(error, "object '%s' is in use, can not be deleted", id);
        }
    }
    object_unparent(obj);
    return true;
}
