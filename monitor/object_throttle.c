/* SPDX-License-Identifier: MIT */
/*
 * throttle-group objects: limits that -drive, throttle nodes and qom-set refer to by their id.
 * Locking: main loop with the machine lock.
 */
#include "base/error.h"
#include "block/throttle.h"
#include "vm/object.h"

typedef struct ThrottleObject {
    Object obj;
    Throttle limits;
    ThrottleGroup *group;      /* NULL until complete */
} ThrottleObject;

static ThrottleObject *cast(Object *obj)
{
    return (ThrottleObject *)(void *)obj;
}

static void add_uint(Json *dict, const char *name, const char *suffix, uint64_t value)
{
    g_autofree char *key = g_strconcat(name, suffix, NULL);

    json_set(dict, key, json_new_uint(value));
}

static Json *limits_get(Object *obj, const PropDef *prop)
{
    ThrottleObject *t = cast(obj);
    const Throttle *limits = t->group ? throttle_group_limits(t->group) : &t->limits;
    Json *dict = json_new_dict();

    for (unsigned i = 0; i < THROTTLE_KINDS; i++) {
        const char *name = throttle_kind_name((ThrottleKind)i);

        add_uint(dict, name, "", limits->bucket[i].avg);
        add_uint(dict, name, "-max", limits->bucket[i].max);
        add_uint(dict, name, "-max-length", limits->bucket[i].length);
    }
    add_uint(dict, "iops-size", "", limits->op_size);
    return dict;
}

static bool limits_set(Object *obj, const PropDef *prop, Json *v, GError **error)
{
    ThrottleObject *t = cast(obj);
    Throttle limits = t->group ? *throttle_group_limits(t->group) : t->limits;
    g_autoptr(NodeOpts) opts = node_opts_new();

    if (!node_opts_add_json(opts, v, error) || !throttle_parse(&limits, opts, "", error)) {
        return false;
    }
    if (!node_opts_empty(opts)) {
        return error_set(error, "Parameter 'limits.%s' is unexpected", node_opts_any_key(opts));
    }
    if (t->group && !throttle_check(&limits, error)) {
        return false;
    }
    t->limits = limits;
    if (t->group) {
        throttle_group_set(t->group, &limits);
    }
    return true;
}

static bool complete(Object *obj, GError **error)
{
    ThrottleObject *t = cast(obj);

    if (throttle_group_find(obj->name)) {
        return error_set(error, "A group with this name already exists");
    }
    if (!throttle_check(&t->limits, error)) {
        return false;
    }
    t->group = throttle_group_new(obj->name, &t->limits);
    return true;
}

static bool can_be_deleted(Object *obj)
{
    return !throttle_group_is_used(cast(obj)->group);
}

static void finalize(Object *obj)
{
    throttle_group_unref(g_steal_pointer(&cast(obj)->group));
}

/* The value is a JSON object; text gives its members one by one ("limits.iops-total=100"). */
static const PropType prop_limits = { .name = "ThrottleLimits" };

/* clang-format off */
#define BUCKET(name, kind)                                                                       \
    PROP_U64("x-" name,               ThrottleObject, limits.bucket[kind].avg,    0, .flags = PROP_HIDDEN), \
    PROP_U64("x-" name "-max",        ThrottleObject, limits.bucket[kind].max,    0, .flags = PROP_HIDDEN), \
    PROP_U64("x-" name "-max-length", ThrottleObject, limits.bucket[kind].length, 1, .flags = PROP_HIDDEN)
/* clang-format on */

static const PropDef throttle_props[] = {
    PROP_COMPUTED("limits", &prop_limits, limits_get, limits_set, .flags = PROP_LIVE),
    BUCKET("bps-total", THROTTLE_BPS_TOTAL),
    BUCKET("bps-read", THROTTLE_BPS_READ),
    BUCKET("bps-write", THROTTLE_BPS_WRITE),
    BUCKET("iops-total", THROTTLE_IOPS_TOTAL),
    BUCKET("iops-read", THROTTLE_IOPS_READ),
    BUCKET("iops-write", THROTTLE_IOPS_WRITE),
    PROP_U64("x-iops-size", ThrottleObject, limits.op_size, 0, .flags = PROP_HIDDEN),
    PROP_END,
};

OBJECT_TYPE(throttle_group, .name = "throttle-group", .size = sizeof(ThrottleObject),
            .desc = "limits of disk I/O", .props = throttle_props, .complete = complete,
            .can_be_deleted = can_be_deleted, .finalize = finalize);
