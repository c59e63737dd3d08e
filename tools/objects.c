/* SPDX-License-Identifier: MIT */
/*
 * Objects of the tools: those of the emulator that need no machine.  Locking: none, start-up only.
 */
#include "tools/objects.h"

#include "base/error.h"
#include "base/keyval.h"
#include "monitor/create.h"

static Json *parse(const char *text, GError **error)
{
    g_autoptr(KeyVal) kv = NULL;

    if (text[0] == '{') {
        return json_parse(text, error);
    }
    kv = keyval_parse(text, "qom-type", KEYVAL_BARE_BOOL, error);
    return kv ? keyval_to_json(kv, error) : NULL;
}

bool tool_object_add(const char *text, GError **error)
{
    static Vm tree;                /* its objects are all there is of it; they live as long as the tool */
    g_autoptr(Json) props = parse(text, error);

    if (!tree.root) {
        tree.root = object_new_container(NULL, NULL);
        tree.objects = object_new_container(tree.root, "objects");
    }
    return props && create_object(&tree, props, error) != NULL;
}
