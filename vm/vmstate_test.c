/* SPDX-License-Identifier: MIT */
/* Saved state: QEMU's wire format, subsections, sections, and streams that are cut, damaged or random. */
#include "base/json.h"
#include "vm/bench.h"

typedef struct Part {
    uint16_t x;
} Part;

typedef struct Thing {
    uint8_t a;
    int32_t count;
    uint16_t list[4];
    uint32_t *heap;
    uint8_t raw[3];
    bool flag;
    Part parts[2];
    uint32_t extra;
    bool has_extra;
    uint32_t fixed;
    unsigned loads;
} Thing;

static bool extra_needed(const void *obj)
{
    return ((const Thing *)obj)->has_extra;
}

static bool thing_post_load(void *obj, int version, GError **error)
{
    Thing *t = obj;

    t->loads++;
    if (t->a > 200) {
        g_set_error(error, G_FILE_ERROR, 0, "a is %u; at most 200 is allowed", t->a);
        return false;
    }
    return true;
}

static const VmField part_fields[] = { VMS_U16(Part, x), VMS_END };
static const VmStateDesc part_desc = { .name = "part", .version = 1, .minimum = 1,
                                       .fields = part_fields };
static const VmField extra_fields[] = { VMS_U32(Thing, extra), VMS_END };
static const VmStateDesc extra_desc = { .name = "thing/extra", .version = 1, .minimum = 1,
                                        .fields = extra_fields, .needed = extra_needed };
static const VmStateDesc *const thing_subs[] = { &extra_desc, NULL };
static const VmField thing_fields[] = {
    VMS_U8(Thing, a),
    VMS_I32(Thing, count),
    { .name = "list", .kind = VM_U16, .offset = offsetof(Thing, list), .size = 2, .count = 4,
      .has_count_field = true, .count_size = 4, .count_offset = offsetof(Thing, count) },
    { .name = "heap", .kind = VM_U32, .offset = offsetof(Thing, heap), .size = 4, .count = 2,
      .pointer = true },
    VMS_BUFFER(Thing, raw),
    VMS_UNUSED(2),
    VMS_BOOL(Thing, flag, .version = 2),
    VMS_STRUCT_ARRAY(Thing, parts, &part_desc),
    { .name = "fixed", .wire = "fixed_on_wire", .kind = VM_U32, .offset = offsetof(Thing, fixed),
      .size = 4, .must_equal = true },
    VMS_END
};
static const VmStateDesc thing_desc = {
    .name = "thing", .version = 2, .minimum = 1, .fields = thing_fields,
    .subsections = thing_subs, .post_load = thing_post_load,
};

static const uint8_t thing_wire[] = {
    0x11, 0, 0, 0, 2, 0xaa, 0xbb, 0xcc, 0xdd,
    1, 2, 3, 4, 5, 6, 7, 8, 'r', 'a', 'w', 0, 0, 1, 0x12, 0x34, 0x56, 0x78, 0, 0, 0, 9,
    0x05, 11, 't', 'h', 'i', 'n', 'g', '/', 'e', 'x', 't', 'r', 'a', 0, 0, 0, 1, 0xca, 0xfe, 0, 1,
};

static void thing_make(Thing *t, uint32_t *heap)
{
    *t = (Thing){ .a = 0x11, .count = 2, .list = { 0xaabb, 0xccdd, 1, 1 }, .heap = heap,
                  .raw = { 'r', 'a', 'w' }, .flag = true, .parts = { { 0x1234 }, { 0x5678 } },
                  .extra = 0xcafe0001, .has_extra = true, .fixed = 9 };
    heap[0] = 0x01020304;
    heap[1] = 0x05060708;
}

static bool load_bytes(Thing *t, const uint8_t *data, size_t len, unsigned version,
                       GError **error)
{
    VmReader *r = vm_reader_new(data, len);
    bool ok = vmstate_load(r, &thing_desc, t, version, error);

    vm_reader_free(r);
    return ok;
}

static void test_wire_bytes_are_exact(void)
{
    VmWriter *w = vm_writer_new();
    uint32_t heap[2];
    Thing t;
    const uint8_t *bytes;
    size_t len;

    thing_make(&t, heap);
    g_assert_true(vmstate_save(w, &thing_desc, &t, NULL));
    bytes = vm_writer_bytes(w, &len);
    g_assert_cmpmem(bytes, len, thing_wire, sizeof(thing_wire));
    vm_writer_free(w);
}

static void test_load_restores_every_field(void)
{
    uint32_t heap[2] = { 0 };
    Thing t = { .heap = heap, .fixed = 9 };
    g_autoptr(GError) error = NULL;

    g_assert_true(load_bytes(&t, thing_wire, sizeof(thing_wire), 2, &error));
    g_assert_cmphex(t.list[1], ==, 0xccdd);
    g_assert_cmphex(heap[1], ==, 0x05060708);
    g_assert_cmphex(t.parts[1].x, ==, 0x5678);
    g_assert_true(t.flag);
    g_assert_cmphex(t.extra, ==, 0xcafe0001);
    g_assert_cmpuint(t.loads, ==, 1);
}

static void test_subsection_is_left_out_when_not_needed(void)
{
    VmWriter *w = vm_writer_new();
    uint32_t heap[2];
    size_t len;
    Thing t;

    thing_make(&t, heap);
    t.has_extra = false;
    g_assert_true(vmstate_save(w, &thing_desc, &t, NULL));
    vm_writer_bytes(w, &len);
    g_assert_cmpuint(len, ==, sizeof(thing_wire) - 21);
    vm_writer_free(w);
}

static void expect_failure(const uint8_t *data, size_t len, unsigned version, const char *part)
{
    uint32_t heap[2] = { 0 };
    Thing t = { .heap = heap, .fixed = 9 };
    g_autoptr(GError) error = NULL;

    g_assert_false(load_bytes(&t, data, len, version, &error));
    g_assert_nonnull(error);
    if (!g_strstr_len(error->message, -1, part)) {
        g_error("'%s' does not mention '%s'", error->message, part);
    }
}

static void test_every_truncation_fails(void)
{
    for (size_t len = 0; len < sizeof(thing_wire); len++) {
        /* Between fields and subsection the state is complete without it. */
        if (len != sizeof(thing_wire) - 21) {
            uint32_t heap[2] = { 0 };
            Thing t = { .heap = heap, .fixed = 9 };
            g_autofree uint8_t *copy = g_memdup2(thing_wire, MAX(len, 1));
            VmReader *r = vm_reader_new(copy, len);
            bool ok = vmstate_load(r, &thing_desc, &t, 2, NULL);

            /* A cut inside the subsection's head leaves bytes that its owner will refuse. */
            g_assert_true(!ok || vm_reader_left(r) > 0);
            vm_reader_free(r);
        }
    }
}

static void test_hostile_values_are_refused(void)
{
    uint8_t copy[sizeof(thing_wire)];

    memcpy(copy, thing_wire, sizeof(copy));
    copy[4] = 5;
    expect_failure(copy, sizeof(copy), 2, "at most 4");
    copy[1] = 0xff;
    expect_failure(copy, sizeof(copy), 2, "'list'");
    memcpy(copy, thing_wire, sizeof(copy));
    copy[0] = 201;
    expect_failure(copy, sizeof(copy), 2, "at most 200");
    memcpy(copy, thing_wire, sizeof(copy));
    copy[30] = 8;
    expect_failure(copy, sizeof(copy), 2, "'fixed'");
    memcpy(copy, thing_wire, sizeof(copy));
    copy[43] = '!';
    expect_failure(copy, sizeof(copy), 2, "unknown subsection 'thing/extr!'");
    expect_failure(thing_wire, sizeof(thing_wire), 3, "versions 1 to 2");
    expect_failure(thing_wire, sizeof(thing_wire), 0, "versions 1 to 2");
}

static void test_random_streams_do_no_harm(void)
{
    for (unsigned i = 0; i < 20000; i++) {
        uint8_t copy[sizeof(thing_wire)];
        uint32_t heap[2] = { 0 };
        Thing t = { .heap = heap, .fixed = 9 };
        size_t len = (size_t)g_test_rand_int_range(0, sizeof(copy) + 1);
        g_autoptr(GError) error = NULL;

        memcpy(copy, thing_wire, sizeof(copy));
        for (int k = g_test_rand_int_range(0, 6); k > 0; k--) {
            copy[g_test_rand_int_range(0, sizeof(copy))] = (uint8_t)g_test_rand_int();
        }
        if (!load_bytes(&t, copy, len, 1 + (i & 1), &error)) {
            g_assert_nonnull(error);
            g_assert_true(g_utf8_validate(error->message, -1, NULL));
        } else {
            g_assert_cmpint(t.count, <=, 4);
            g_assert_cmpuint(t.a, <=, 200);
        }
    }
}

/* ---- sections ---- */

static const VmField num_fields[] = { VMS_U32(Thing, extra), VMS_END };
static const VmStateDesc num_desc = { .name = "num", .version = 3, .minimum = 3,
                                      .fields = num_fields };
static const VmStateDesc first_desc = { .name = "first", .version = 1, .minimum = 1,
                                        .fields = num_fields, .priority = 10 };

static void test_section_stream_is_exact(void)
{
    static const uint8_t wire[] = {
        4, 0, 0, 0, 0, 5, 'f', 'i', 'r', 's', 't', 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 3,
        0x7e, 0, 0, 0, 0,
        4, 0, 0, 0, 1, 7, 'b', 'u', 's', '/', 'n', 'u', 'm', 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1,
        0x7e, 0, 0, 0, 1,
        4, 0, 0, 0, 2, 7, 'b', 'u', 's', '/', 'n', 'u', 'm', 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 2,
        0x7e, 0, 0, 0, 2,
        0,
    };
    Thing one = { .extra = 1 }, two = { .extra = 2 }, three = { .extra = 3 };
    VmWriter *w = vm_writer_new();
    const uint8_t *bytes;
    g_autofree uint8_t *copy = NULL;
    size_t len;
    Vm *vm;

    machine_lock();
    vm = vm_new();
    vmstate_register(vm, "bus", -1, &num_desc, &one);
    vmstate_register(vm, "bus", -1, &num_desc, &two);
    vmstate_register(vm, NULL, -1, &first_desc, &three);
    g_assert_true(vm_save_devices(vm, w, NULL));
    bytes = vm_writer_bytes(w, &len);
    g_assert_cmpmem(bytes, len, wire, sizeof(wire));
    one.extra = two.extra = three.extra = 0;
    copy = g_memdup2(bytes, len);
    for (size_t n = 0; n <= len; n++) {
        VmReader *r = vm_reader_new(copy, n);
        g_autoptr(GError) error = NULL;

        g_assert_true(vm_load_devices(vm, r, &error) == (n == len));
        g_assert_true((error == NULL) == (n == len));
        vm_reader_free(r);
    }
    g_assert_cmpuint(one.extra, ==, 1);
    g_assert_cmpuint(two.extra, ==, 2);
    g_assert_cmpuint(three.extra, ==, 3);
    vmstate_unregister(vm, &num_desc, &one);
    vmstate_unregister(vm, &num_desc, &two);
    vmstate_unregister(vm, &first_desc, &three);
    g_assert_cmpuint(vm->sections->len, ==, 0);
    vm_writer_free(w);
    vm_free(vm);
    machine_unlock();
}

static const DeviceType dumped_type = {
    .name = "dumped", .size = sizeof(Device), .vmstate = &thing_desc,
};
TYPE_ROW(dumped, &dumped_type, "device");

static void test_dump_has_qemus_shape(void)
{
    g_autoptr(Json) dump = vmstate_dump_types("pc-i440fx-7.2");
    Json *entry = json_lookup(dump, "dumped");
    Json *desc = json_lookup(entry, "Description");
    Json *fields = json_lookup(desc, "Fields");
    g_autofree char *last = json_to_string(json_list_at(fields, json_list_len(fields) - 1));
    Json *subs = json_lookup(desc, "Subsections");

    g_assert_cmpstr(json_lookup_string(json_lookup(dump, "vmschkmachine"), "Name"), ==,
                    "pc-i440fx-7.2");
    g_assert_cmpstr(json_lookup_string(desc, "name"), ==, "thing");
    g_assert_cmpstr(last, ==, "{\"field\": \"fixed_on_wire\", \"version_id\": 0, "
                              "\"field_exists\": false, \"size\": 4}");
    g_assert_cmpstr(json_lookup_string(json_list_at(subs, 0), "name"), ==, "thing/extra");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vmstate/wire", test_wire_bytes_are_exact);
    g_test_add_func("/vmstate/load", test_load_restores_every_field);
    g_test_add_func("/vmstate/subsection-not-needed", test_subsection_is_left_out_when_not_needed);
    g_test_add_func("/vmstate/truncated", test_every_truncation_fails);
    g_test_add_func("/vmstate/hostile", test_hostile_values_are_refused);
    g_test_add_func("/vmstate/random", test_random_streams_do_no_harm);
    g_test_add_func("/vmstate/sections", test_section_stream_is_exact);
    g_test_add_func("/vmstate/dump", test_dump_has_qemus_shape);
    return g_test_run();
}
