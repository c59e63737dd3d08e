/* SPDX-License-Identifier: MIT */
/* Rate limits of events, on a fake clock. */
#include "monitor/event_limit.h"

#define MS 1000000ll

static void take(void *opaque, const Json *event)
{
    g_autofree char *data = json_to_string(json_lookup(event, "data"));

    g_string_append_printf(opaque, "%s %s|", json_lookup_string(event, "event"), data);
}

static Json *event(const char *name, const char *data)
{
    Json *json = json_new_dict();

    json_set(json, "event", json_new_string(name));
    json_set(json, "data", json_parse(data, NULL));
    return json;
}

static void test_latest_of_each_second(void)
{
    Clock *clock = clock_new_fake(CLOCK_KIND_REALTIME);
    g_autoptr(GString) log = g_string_new(NULL);
    EventLimit *limit = event_limit_new(clock, take, log);

    event_limit_pass(limit, event("RTC_CHANGE", "{'offset': 1}"));
    event_limit_pass(limit, event("RTC_CHANGE", "{'offset': 2}"));
    event_limit_pass(limit, event("RTC_CHANGE", "{'offset': 3}"));
    g_assert_cmpstr(log->str, ==, "RTC_CHANGE {\"offset\": 1}|");
    clock_fake_advance(clock, 1000 * MS);
    g_assert_cmpstr(log->str, ==, "RTC_CHANGE {\"offset\": 1}|RTC_CHANGE {\"offset\": 3}|");
    g_string_truncate(log, 0);
    clock_fake_advance(clock, 2000 * MS);
    event_limit_pass(limit, event("RTC_CHANGE", "{'offset': 4}"));
    g_assert_cmpstr(log->str, ==, "RTC_CHANGE {\"offset\": 4}|");
    event_limit_free(limit);
    clock_free(clock);
}

static void test_keys_and_others_are_apart(void)
{
    Clock *clock = clock_new_fake(CLOCK_KIND_REALTIME);
    g_autoptr(GString) log = g_string_new(NULL);
    EventLimit *limit = event_limit_new(clock, take, log);

    event_limit_pass(limit, event("VSERPORT_CHANGE", "{'id': 'a'}"));
    event_limit_pass(limit, event("VSERPORT_CHANGE", "{'id': 'b'}"));
    event_limit_pass(limit, event("STOP", "{}"));
    event_limit_pass(limit, event("STOP", "{}"));
    g_assert_cmpstr(log->str, ==, "VSERPORT_CHANGE {\"id\": \"a\"}|VSERPORT_CHANGE {\"id\": \"b\"}|"
                                  "STOP {}|STOP {}|");
    event_limit_free(limit);
    clock_free(clock);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/event-limit/latest", test_latest_of_each_second);
    g_test_add_func("/event-limit/keys", test_keys_and_others_are_apart);
    return g_test_run();
}
