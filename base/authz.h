/* SPDX-License-Identifier: MIT */
/*
 * Authorization: who may use a service, by name.  Rules are found by id when somebody knocks, so they
 * may come, change and go while the service runs:
 *
 *     authz_add("clients", allows, rules, error);            // -object authz-list,id=clients
 *     if (!authz_allows("clients", "CN=anna", &error)) ...   // nobody is when there is no "clients"
 *
 * Thread rule: main loop.
 */
#ifndef BASE_AUTHZ_H
#define BASE_AUTHZ_H

#include <glib.h>
#include <stdbool.h>

typedef bool AuthzFn(void *opaque, const char *who);

bool authz_add(const char *id, AuthzFn *allows, void *opaque, GError **error);
void authz_remove(const char *id);
/* False always has an error, which says why. */
bool authz_allows(const char *id, const char *who, GError **error);

#endif
