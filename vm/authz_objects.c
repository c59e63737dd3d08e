/* SPDX-License-Identifier: MIT */
/*
 * -object authz-simple and authz-list: who may use a service (base/authz.h).
 *
 *     authz-simple,id=a,identity=CN=anna
 *     authz-list,id=a,policy=deny,rules.0.match=CN=*,rules.0.policy=allow,rules.0.format=glob
 *
 * The first rule that matches decides, else the policy.
 * Missing: authz-list-file and authz-pam, which Debian's QEMU 7.2 lists but cannot make either.
 * Locking: main loop.
 */
#include <string.h>

#include "base/authz.h"
#include "base/error.h"
#include "base/json.h"
#include "vm/object.h"

enum { DENY, ALLOW };
enum { EXACT, GLOB };

static const char *const policies[] = { "deny", "allow", NULL };
static const char *const formats[] = { "exact", "glob", NULL };

/* ---- one name ---- */

typedef struct AuthzSimple {
    Object obj;
    char *identity;
    bool known;
} AuthzSimple;

static AuthzSimple *as_simple(Object *obj)
{
    return (AuthzSimple *)(void *)obj;
}

static bool is_the_one(void *opaque, const char *who)
{
    return g_str_equal(((AuthzSimple *)opaque)->identity, who);
}

static bool simple_complete(Object *obj, GError **error)
{
    AuthzSimple *a = as_simple(obj);

    if (!a->identity) {
        return error_set(error, "Parameter 'identity' is missing");
    }
    a->known = authz_add(obj->name, is_the_one, a, error);
    return a->known;
}

static void simple_finalize(Object *obj)
{
    if (as_simple(obj)->known) {
        authz_remove(obj->name);
    }
}

static const PropDef simple_props[] = {
    PROP_STR("identity", AuthzSimple, identity, .help = "who is allowed"),
    PROP_END
};
OBJECT_TYPE(authz_simple, .name = "authz-simple", .size = sizeof(AuthzSimple), .props = simple_props,
            .complete = simple_complete, .finalize = simple_finalize);

/* ---- rules ---- */

typedef struct Rule {
    char *match;
    int policy, format;
    bool has_format;
} Rule;

typedef struct AuthzList {
    Object obj;
    int policy;
    GArray *rules;             /* of Rule; NULL: none */
    bool known;
} AuthzList;

static AuthzList *as_list(Object *obj)
{
    return (AuthzList *)(void *)obj;
}

static void rule_clear(gpointer rule)
{
    g_free(((Rule *)rule)->match);
}

static bool list_allows(void *opaque, const char *who)
{
    const AuthzList *a = opaque;

    for (unsigned i = 0; a->rules && i < a->rules->len; i++) {
        const Rule *r = &g_array_index(a->rules, Rule, i);

        if (r->format == GLOB ? g_pattern_match_simple(r->match, who) : g_str_equal(r->match, who)) {
            return r->policy == ALLOW;
        }
    }
    return a->policy == ALLOW;
}

static Json *rules_get(Object *obj, const PropDef *prop)
{
    const AuthzList *a = as_list(obj);
    Json *list = json_new_list();

    for (unsigned i = 0; a->rules && i < a->rules->len; i++) {
        const Rule *r = &g_array_index(a->rules, Rule, i);
        Json *row = json_new_dict();

        json_set(row, "match", json_new_string(r->match));
        json_set(row, "policy", json_new_string(policies[r->policy]));
        if (r->has_format) {
            json_set(row, "format", json_new_string(formats[r->format]));
        }
        json_append(list, row);
    }
    return list;
}

static bool choose(const Json *row, const char *key, const char *const *words, int *value, GError **error)
{
    const char *word = json_lookup_string(row, key);

    for (int i = 0; word && words[i]; i++) {
        if (g_str_equal(words[i], word)) {
            *value = i;
            return true;
        }
    }
    return error_set(error, "Parameter 'rules.%s' expects '%s' or '%s'", key, words[0], words[1]);
}

static bool known_key(const char *key, Json *value, void *opaque)
{
    return g_str_equal(key, "match") || g_str_equal(key, "policy") || g_str_equal(key, "format") ||
           error_set(opaque, "Parameter 'rules.%s' is unexpected: a rule has match, policy and format", key);
}

static bool take_rule(const Json *row, GArray *rules, GError **error)
{
    Rule rule = { .has_format = json_lookup(row, "format") != NULL };

    if (!json_is(row, JSON_DICT) || !json_lookup_string(row, "match")) {
        return error_set(error, "Parameter 'rules.match' is missing");
    }
    if (!json_dict_foreach(row, known_key, error) ||
        !choose(row, "policy", policies, &rule.policy, error) ||
        (rule.has_format && !choose(row, "format", formats, &rule.format, error))) {
        return false;
    }
    rule.match = g_strdup(json_lookup_string(row, "match"));
    g_array_append_val(rules, rule);
    return true;
}

static bool rules_set(Object *obj, const PropDef *prop, Json *v, GError **error)
{
    g_autoptr(GArray) rules = g_array_new(false, false, sizeof(Rule));
    AuthzList *a = as_list(obj);

    g_array_set_clear_func(rules, rule_clear);
    if (!json_is(v, JSON_LIST)) {
        return error_set(error, "Parameter 'rules' expects a list");
    }
    for (size_t i = 0; i < json_list_len(v); i++) {
        if (!take_rule(json_list_at(v, i), rules, error)) {
            return false;
        }
    }
    g_clear_pointer(&a->rules, g_array_unref);
    a->rules = g_steal_pointer(&rules);
    return true;
}

static bool list_complete(Object *obj, GError **error)
{
    AuthzList *a = as_list(obj);

    a->known = authz_add(obj->name, list_allows, a, error);
    return a->known;
}

static void list_finalize(Object *obj)
{
    AuthzList *a = as_list(obj);

    if (a->known) {
        authz_remove(obj->name);
    }
    g_clear_pointer(&a->rules, g_array_unref);
}

static const PropType prop_rules = { .name = "QAuthZListRule" };
static const PropDef list_props[] = {
    PROP_ENUM("policy", AuthzList, policy, policies, DENY, .flags = PROP_LIVE,
              .help = "for those whom no rule matches"),
    PROP_COMPUTED("rules", &prop_rules, rules_get, rules_set, .flags = PROP_LIVE),
    PROP_END
};
OBJECT_TYPE(authz_list, .name = "authz-list", .size = sizeof(AuthzList), .props = list_props,
            .complete = list_complete, .finalize = list_finalize);
