/* SPDX-License-Identifier: MIT */
/* Accelerators by name. */
#include "vm/accel.h"

#include "base/error.h"

static const AccelType accel_base = { .name = "accel", .abstract = true, .size = sizeof(Accel) };
TYPE_ROW(accel, &accel_base, "object");

static void offer_name(const ObjectType *type, void *opaque)
{
    suggest_offer(opaque, ((const AccelType *)(const void *)type)->accel);
}

const AccelType *accel_find(const char *name, GError **error)
{
    g_autofree char *type_name = g_strdup_printf("%s-accel", name);
    const ObjectType *type = type_find(type_name);
    Suggest s;

    if (type && type_is_a(type, "accel") && !type->abstract) {
        return (const AccelType *)(const void *)type;
    }
    suggest_init(&s, name);
    type_foreach("accel", false, offer_name, &s);
    error_set(error, "Unknown accelerator '%s'%s; -accel help lists them", name,
              suggest_text(&s));
    return NULL;
}
