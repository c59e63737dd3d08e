/* SPDX-License-Identifier: MIT */
/*
 * --object of the tools: things that image options refer to by id.
 * Thread rule: main thread, at start-up.
 */
#ifndef TOOLS_OBJECTS_H
#define TOOLS_OBJECTS_H

#include <glib.h>
#include <stdbool.h>

/* "tls-creds-x509,id=tls0,..." or JSON with "qom-type". */
bool tool_object_add(const char *text, GError **error);

#endif
