/* SPDX-License-Identifier: MIT */
/* QMP conversations against a table of fake commands; texts as seen from QEMU 7.2. */
#include "base/error.h"
#include "monitor/qmp_session.h"

#include <string.h>

typedef struct Fixture {
    GString *out;
    QmpSession *session;
    unsigned wakes;
    bool nested_ran;
} Fixture;

static void take_output(void *opaque, const char *data, size_t len)
{
    g_string_append_len(((Fixture *)opaque)->out, data, (gssize)len);
}

static void count_wake(void *opaque)
{
    ((Fixture *)opaque)->wakes++;
}

static bool call_capabilities(QmpCall *call, const void *arg, void *ret, GError **error)
{
    const Json *args = arg;

    return qmp_session_negotiate(((Fixture *)call->system)->session, json_has(args, "enable"),
                                 error);
}

static bool call_fast(QmpCall *call, const void *arg, void *ret, GError **error)
{
    return true;
}

static bool call_name(QmpCall *call, const void *arg, void *ret, GError **error)
{
    *(char **)ret = g_strdup("fred");
    return true;
}

static bool call_missing(QmpCall *call, const void *arg, void *ret, GError **error)
{
    return error_set_code(error, VM_ERROR_DEVICE_NOT_FOUND, "Device 'x' not found");
}

/* Waits for something, and so runs the event loop, from which the next request would start. */
static bool call_loop(QmpCall *call, const void *arg, void *ret, GError **error)
{
    Fixture *f = call->system;

    f->nested_ran |= qmp_session_run_one(f->session);
    *(char **)ret = g_strdup("slow");
    return true;
}

static const QapiCommand commands[] = {
    { "fast", call_fast, NULL, NULL, QAPI_ALLOW_OOB },
    { "loop", call_loop, NULL, &qapi_type_str, 0 },
    { "missing", call_missing, NULL, NULL, 0 },
    { "name", call_name, NULL, &qapi_type_str, 0 },
    { "qmp_capabilities", call_capabilities, NULL, NULL, QAPI_OPEN_ARGS },
};

static void set_up(Fixture *f, const void *unused)
{
    QmpSessionHost host = { take_output, count_wake, f, commands, G_N_ELEMENTS(commands) };
    QmpCall call = { .system = f };

    f->out = g_string_new(NULL);
    f->session = qmp_session_new(&host, &call, false);
    qmp_session_open(f->session);
}

static void tear_down(Fixture *f, const void *unused)
{
    qmp_session_free(f->session);
    g_string_free(f->out, TRUE);
}

/* Feeds IN, runs what it queued, and compares what came out, line ends removed. */
static void talk(Fixture *f, const char *in, const char *out)
{
    g_string_truncate(f->out, 0);
    qmp_session_feed(f->session, in, strlen(in));
    while (qmp_session_run_one(f->session)) {
    }
    g_string_replace(f->out, "\r\n", "", 0);
    g_assert_cmpstr(f->out->str, ==, out);
}

static void negotiate(Fixture *f)
{
    talk(f, "{'execute':'qmp_capabilities','arguments':{'enable':['oob']}}", "{\"return\": {}}");
}

#define ERROR(class, desc) "{\"error\": {\"class\": \"" class "\", \"desc\": \"" desc "\"}}"

static void test_greeting(Fixture *f, const void *unused)
{
    g_assert_cmpstr(f->out->str, ==,
                    "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, "
                    "\"package\": \"rhea " RHEA_VERSION "\"}, \"capabilities\": [\"oob\"]}}\r\n");
}

static void test_negotiation_comes_first(Fixture *f, const void *unused)
{
    talk(f, "{'execute':'name'}",
         ERROR("CommandNotFound", "Expecting capabilities negotiation with 'qmp_capabilities'"));
    negotiate(f);
    talk(f, "{'execute':'qmp_capabilities'}",
         ERROR("CommandNotFound",
               "Capabilities negotiation is already complete, command ignored"));
}

static void test_bad_requests(Fixture *f, const void *unused)
{
    negotiate(f);
    talk(f, "{'execute':'nope'}",
         ERROR("CommandNotFound", "The command nope has not been found"));
    talk(f, "{'execute':1}", ERROR("GenericError", "QMP input member 'execute' must be a string"));
    talk(f, "{'x':1}", ERROR("GenericError", "QMP input member 'x' is unexpected"));
    talk(f, "{}", ERROR("GenericError", "QMP input lacks member 'execute'"));
    talk(f, "[1]", ERROR("GenericError", "QMP input must be a JSON object"));
    talk(f, "null ", ERROR("GenericError", "QMP input must be a JSON object"));
    talk(f, "{'execute':'name','arguments':1}",
         ERROR("GenericError", "QMP input member 'arguments' must be an object"));
    talk(f, "{'execute':'name','arguments':{'x':1}}",
         ERROR("GenericError", "Parameter 'x' is unexpected"));
    talk(f, "{'exec-oob':'name'}",
         ERROR("GenericError", "The command name does not support OOB"));
    talk(f, "{'exec-oob':'name','execute':'name'}",
         ERROR("GenericError", "QMP input member 'execute' clashes with 'exec-oob'"));
    talk(f, "{'execute':'missing'}", ERROR("DeviceNotFound", "Device 'x' not found"));
    talk(f, "}", ERROR("GenericError", "JSON parse error, expecting value"));
    talk(f, "{'execute':'name'}", "{\"return\": \"fred\"}");
}

static void test_ids_and_pipelining(Fixture *f, const void *unused)
{
    negotiate(f);
    talk(f, "{'execute':'name','id':1}{'execute':'fast','id':[{'a':null}]}{'execute':'nope','id':'x'}",
         "{\"return\": \"fred\", \"id\": 1}{\"return\": {}, \"id\": [{\"a\": null}]}"
         "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"The command nope has not been "
         "found\"}, \"id\": \"x\"}");
}

static void test_oob_overtakes(Fixture *f, const void *unused)
{
    negotiate(f);
    talk(f, "{'execute':'name','id':1}{'exec-oob':'fast','id':2}",
         "{\"return\": {}, \"id\": 2}{\"return\": \"fred\", \"id\": 1}");
}

static void test_events_wait_for_negotiation(Fixture *f, const void *unused)
{
    g_autoptr(Json) event = json_parse("{'event':'STOP'}", NULL);

    g_string_truncate(f->out, 0);
    qmp_session_send_event(f->session, event);
    g_assert_cmpstr(f->out->str, ==, "");
    negotiate(f);
    g_string_truncate(f->out, 0);
    qmp_session_send_event(f->session, event);
    g_assert_cmpstr(f->out->str, ==, "{\"event\": \"STOP\"}\r\n");
}

static void test_reopen_forgets(Fixture *f, const void *unused)
{
    negotiate(f);
    qmp_session_feed(f->session, "{'execute':'name'}{'exe", 23);
    qmp_session_open(f->session);
    talk(f, "{'execute':'name'}",
         ERROR("CommandNotFound", "Expecting capabilities negotiation with 'qmp_capabilities'"));
}

static void test_garbage(Fixture *f, const void *unused)
{
    g_autofree char *garbage = g_malloc(10 << 20);
    uint32_t seed = 7;

    negotiate(f);
    for (unsigned i = 0; i < 10 << 20; i++) {
        seed = seed * 1664525 + 1013904223;
        garbage[i] = (char)(seed >> 24);
    }
    for (unsigned at = 0; at < 10 << 20; at += 4096) {
        qmp_session_feed(f->session, garbage + at, 4096);
        while (qmp_session_run_one(f->session)) {
        }
        g_string_truncate(f->out, 0);
    }
    qmp_session_feed(f->session, "\xff\n", 2);
    while (qmp_session_run_one(f->session)) {
    }
    talk(f, "{'execute':'name'}", "{\"return\": \"fred\"}");
}

static void test_one_command_at_a_time(Fixture *f, const void *unused)
{
    unsigned wakes;

    negotiate(f);
    wakes = f->wakes;
    talk(f, "{'execute':'loop'}{'execute':'name'}", "{\"return\": \"slow\"}{\"return\": \"fred\"}");
    g_assert_false(f->nested_ran);
    g_assert_cmpuint(f->wakes, >, wakes + 2);        /* also once for the one held back */
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, fn) g_test_add("/qmp/" name, Fixture, NULL, set_up, fn, tear_down)
    ADD("greeting", test_greeting);
    ADD("negotiation", test_negotiation_comes_first);
    ADD("bad-requests", test_bad_requests);
    ADD("ids", test_ids_and_pipelining);
    ADD("oob", test_oob_overtakes);
    ADD("events", test_events_wait_for_negotiation);
    ADD("reopen", test_reopen_forgets);
    ADD("garbage", test_garbage);
    ADD("one-at-a-time", test_one_command_at_a_time);
    return g_test_run();
}
