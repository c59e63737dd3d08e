/* SPDX-License-Identifier: MIT */
/* Marshalling: texts of errors are those QEMU 7.2 was seen to give for the same input. */
#include "qapi/qapi_types.h"

static void expect(const QapiType *type, const char *in, const char *out)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Json) json = json_parse(in, &error);
    g_autoptr(Json) back = NULL;
    g_autofree char *text = NULL;
    void *value;

    g_assert_no_error(error);
    value = qapi_from_json(type, json, &error);
    if (!value) {
        g_assert_cmpstr(error->message, ==, out);
        return;
    }
    back = qapi_to_json(type, value);
    text = json_to_string(back);
    g_assert_cmpstr(text, ==, out);
    qapi_free(type, value);
}

static void test_send_key(void)
{
    const QapiType *t = &qapi_type_QmpSendKeyArgs;

    expect(t, "{'keys':[{'type':'qcode','data':'a'},{'type':'number','data':5}],'hold-time':3}",
           "{\"keys\": [{\"type\": \"qcode\", \"data\": \"a\"}, "
           "{\"type\": \"number\", \"data\": 5}], \"hold-time\": 3}");
    expect(t, "{'keys':[{'type':'qcode','data':'foo'}]}",
           "Parameter 'data' does not accept value 'foo'");
    expect(t, "{'keys':[{'type':'qcodex','data':'foo'}]}",
           "Parameter 'type' does not accept value 'qcodex'");
    expect(t, "{'keys':[{'type':'qcode','data':'a'},1]}",
           "Invalid parameter type for 'keys[1]', expected: object");
    expect(t, "{'keys':5}", "Invalid parameter type for 'keys', expected: array");
    expect(t, "{'keys':[{'data':'a'}]}", "Parameter 'keys[0].type' is missing");
    expect(t, "{'keys':[],'hold-time':9999999999999999999999}",
           "Invalid parameter type for 'hold-time', expected: integer");
    expect(t, "{'keys':[{'type':'qcode','data':'a','x':1}]}",
           "Parameter 'keys[0].x' is unexpected");
}

static void test_scalars_and_absence(void)
{
    const QapiType *t = &qapi_type_QmpQomListTypesArgs;

    expect(t, "{}", "{}");
    expect(t, "{'abstract':false}", "{\"abstract\": false}");
    expect(t, "{'abstract':1}", "Invalid parameter type for 'abstract', expected: boolean");
    expect(t, "{'implements':null}", "Invalid parameter type for 'implements', expected: string");
}

static void test_typed_members(void)
{
    g_autoptr(Json) json = json_parse("{'enable':['oob']}", NULL);
    g_autoptr(QmpQmpCapabilitiesArgs) args =
        qapi_from_json(&qapi_type_QmpQmpCapabilitiesArgs, json, NULL);
    g_autoptr(Json) bad = json_parse("{'enable':['foo']}", NULL);
    g_autoptr(GError) error = NULL;

    g_assert_cmpuint(args->enable->len, ==, 1);
    g_assert_cmpint(g_array_index(args->enable, QapiQMPCapability, 0), ==,
                    QAPI_QMP_CAPABILITY_OOB);
    g_assert_null(qapi_from_json(&qapi_type_QmpQmpCapabilitiesArgs, bad, &error));
    g_assert_cmpstr(error->message, ==, "Parameter 'null' does not accept value 'foo'");
    g_assert_cmpstr(error_class_name(error), ==, "GenericError");
}

static void remember(void *opaque, const char *name, Json *data)
{
    g_autoptr(Json) owned = data;
    g_autofree char *text = json_to_string(owned);

    g_string_append_printf(opaque, "%s %s\n", name, text);
}

static void test_events_reach_the_sink(void)
{
    g_autoptr(GString) log = g_string_new(NULL);

    qapi_set_event_sink(remember, log);
    qapi_event_shutdown(true, QAPI_SHUTDOWN_CAUSE_GUEST_SHUTDOWN);
    qapi_event_stop();
    qapi_set_event_sink(NULL, NULL);
    g_assert_cmpstr(log->str, ==,
                    "SHUTDOWN {\"guest\": true, \"reason\": \"guest-shutdown\"}\nSTOP null\n");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/qapi/union-list", test_send_key);
    g_test_add_func("/qapi/scalars", test_scalars_and_absence);
    g_test_add_func("/qapi/typed", test_typed_members);
    g_test_add_func("/qapi/events", test_events_reach_the_sink);
    return g_test_run();
}
