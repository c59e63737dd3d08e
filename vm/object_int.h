/* SPDX-License-Identifier: MIT */
/*
 * What the files of vm/ share about objects and nobody else needs.
 */
#ifndef VM_OBJECT_INT_H
#define VM_OBJECT_INT_H

#include "vm/object.h"

struct json_object;

/* The property tables of a type, ancestors first (those of a device's bus among them). */
const PropDef *const *type_prop_tables(const ObjectType *type, unsigned *count);
/* Instance size, inherited where the row has none. */
size_t type_instance_size(const ObjectType *type);

/* object_new_known() in two steps, for what must be there before the init hooks run. */
Object *object_alloc(const ObjectType *type);
void object_setup(Object *obj, const ObjectType *type);
/* Makes an object in memory that someone else owns (buses); zeroed by the caller. */
void object_init_embedded(Object *obj, const ObjectType *type);
/* Takes it apart again; the memory stays. */
void object_clear_embedded(Object *obj);

/* The top of OBJ's tree; a device outside the tree finds its VM's root. */
Object *object_root(Object *obj);

/* Where the link property NAME points; NULL if there is none or it is unset. */
Object *object_link_target(Object *obj, const char *name);

/* Whether the value lives in the instance struct (and not behind get/set hooks). */
static inline bool prop_has_field(const PropDef *prop)
{
    return !prop->get && !prop->set;
}

#endif
