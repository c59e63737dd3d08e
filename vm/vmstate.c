/* SPDX-License-Identifier: MIT */
/*
 * One description over one struct: fields in order, then the subsections.
 *
 * A subsection is the marker 0x05, its name with a length byte, its version (be32), its fields and
 * its own subsections.  On load a marker whose name is not below the description at hand belongs
 * to an enclosing one.
 * Locking: machine lock, VM stopped.
 */
#include "vm/vmstate.h"
#include "base/error.h"
#include "vm/clock.h"
#include "vm/vmstate_int.h"

static bool field_exists(const VmField *f, const void *obj, unsigned version)
{
    return f->version <= version && (!f->exists || f->exists(obj, (int)version));
}

/* Bytes of an integer kind; 0 for others. */
static unsigned int_size(VmKind kind)
{
    static const uint8_t sizes[] = {
        [VM_BOOL] = 1, [VM_U8] = 1, [VM_I8] = 1, [VM_U16] = 2, [VM_I16] = 2,
        [VM_U32] = 4, [VM_I32] = 4, [VM_U64] = 8, [VM_I64] = 8,
    };

    return kind < ARRAY_LEN(sizes) ? sizes[kind] : 0;
}

/* Number of elements; the count field may have come from the wire. */
static bool field_count(const VmField *f, const void *obj, unsigned *count, GError **error)
{
    uint64_t n = 0;

    if (!f->has_count_field) {
        *count = f->count ? f->count : 1;
        return true;
    }
    memcpy(&n, (const char *)obj + f->count_offset, f->count_size);
    if (n > f->count) {         /* a negative int32 is above any limit, too */
        return error_set(error, "Field '%s' has %" G_GUINT64_FORMAT " elements; at most %u are "
                         "allowed", f->name, n, f->count);
    }
    *count = (unsigned)n;
    return true;
}

static char *field_base(const VmField *f, const void *obj)
{
    char *at = (char *)obj + f->offset;

    return f->pointer ? *(char **)at : at;
}

static unsigned struct_version(const VmField *f)
{
    return f->struct_version ? f->struct_version : f->desc->version;
}

/* ---- saving ---- */

static bool save_body(VmWriter *w, const VmStateDesc *desc, void *obj, unsigned version,
                      GError **error);

static void put_int(VmWriter *w, const void *p, unsigned size)
{
    uint64_t v = 0;

    memcpy(&v, p, size);
    for (unsigned i = size; i-- > 0;) {
        vm_put_u8(w, (uint8_t)(v >> (8 * i)));
    }
}

static bool save_element(VmWriter *w, const VmField *f, void *p, GError **error)
{
    switch (f->kind) {
    case VM_BUFFER:
        vm_put_bytes(w, p, f->size);
        return true;
    case VM_STRUCT:
        return save_body(w, f->desc, p, struct_version(f), error);
    case VM_TIMER:
        vm_put_be64(w, (uint64_t)((const Timer *)p)->deadline_ns);
        return true;
    case VM_BITMAP:
        for (size_t i = 0; i < div_round_up(f->size, 64); i++) {
            vm_put_be64(w, ((const uint64_t *)p)[i]);
        }
        return true;
    case VM_CUSTOM:
        f->put(w, p, f);
        return true;
    case VM_BOOL:
        vm_put_u8(w, *(const bool *)p);
        return true;
    default:
        put_int(w, p, int_size(f->kind));
        return true;
    }
}

static bool save_field(VmWriter *w, const VmField *f, void *obj, GError **error)
{
    unsigned count;
    char *base;

    if (f->kind == VM_UNUSED) {
        for (size_t i = 0; i < f->size; i++) {
            vm_put_u8(w, 0);
        }
        return true;
    }
    if (!field_count(f, obj, &count, error)) {
        return false;
    }
    base = field_base(f, obj);
    g_assert(base || count == 0);
    for (unsigned i = 0; i < count; i++) {
        if (!save_element(w, f, base + i * f->size, error)) {
            return false;
        }
    }
    return true;
}

static bool save_subsections(VmWriter *w, const VmStateDesc *desc, void *obj, GError **error)
{
    for (const VmStateDesc *const *sub = desc->subsections; sub && *sub; sub++) {
        size_t len = strlen((*sub)->name);

        if ((*sub)->needed && !(*sub)->needed(obj)) {
            continue;
        }
        g_assert(len <= 255);
        vm_put_u8(w, VM_STREAM_SUBSECTION);
        vm_put_u8(w, (uint8_t)len);
        vm_put_bytes(w, (*sub)->name, len);
        vm_put_be32(w, (*sub)->version);
        if (!save_body(w, *sub, obj, (*sub)->version, error)) {
            return false;
        }
    }
    return true;
}

static bool save_body(VmWriter *w, const VmStateDesc *desc, void *obj, unsigned version,
                      GError **error)
{
    if (desc->unmigratable) {
        return error_set(error, "State '%s' cannot be saved: the device does not support it",
                         desc->name);
    }
    if (desc->pre_save) {
        desc->pre_save(obj);
    }
    for (const VmField *f = desc->fields; f && f->kind != VM_END; f++) {
        if (field_exists(f, obj, version) && !save_field(w, f, obj, error)) {
            return false;
        }
    }
    return save_subsections(w, desc, obj, error);
}

bool vmstate_save(VmWriter *w, const VmStateDesc *desc, void *obj, GError **error)
{
    return save_body(w, desc, obj, desc->version, error);
}

/* ---- loading ---- */

static bool truncated(const VmField *f, GError **error)
{
    return error_set(error, "Field '%s': the state ends too early", f->name ? f->name : "?");
}

static uint64_t get_int(VmReader *r, unsigned size)
{
    uint64_t v = 0;

    while (size-- > 0) {
        v = v << 8 | vm_get_u8(r);
    }
    return v;
}

static bool load_int(VmReader *r, const VmField *f, void *p, GError **error)
{
    unsigned size = int_size(f->kind);
    uint64_t v = get_int(r, size), have = 0;

    if (f->kind == VM_BOOL) {
        v = v != 0;
    }
    if (f->must_equal) {
        memcpy(&have, p, size);
        return have == v || error_set(error, "Field '%s' is 0x%" G_GINT64_MODIFIER "x; this "
                                      "machine has 0x%" G_GINT64_MODIFIER "x", f->name, v, have);
    }
    memcpy(p, &v, size);
    return true;
}

static void load_timer(VmReader *r, Timer *timer)
{
    int64_t deadline = (int64_t)vm_get_be64(r);

    if (vm_reader_failed(r) || !timer->clock) {
        return;
    }
    if (deadline < 0) {
        timer_cancel(timer);
    } else {
        timer_set(timer, deadline);
    }
}

static bool load_element(VmReader *r, const VmField *f, void *p, GError **error)
{
    switch (f->kind) {
    case VM_BUFFER:
        vm_get_bytes(r, p, f->size);
        return true;
    case VM_STRUCT:
        return vmstate_load(r, f->desc, p, struct_version(f), error);
    case VM_TIMER:
        load_timer(r, p);
        return true;
    case VM_BITMAP:
        for (size_t i = 0; i < div_round_up(f->size, 64); i++) {
            ((uint64_t *)p)[i] = vm_get_be64(r);
        }
        return true;
    case VM_CUSTOM:
        return f->get(r, p, f, error);
    default:
        return load_int(r, f, p, error);
    }
}

static bool load_field(VmReader *r, const VmField *f, void *obj, GError **error)
{
    unsigned count;
    char *base;

    if (f->kind == VM_UNUSED) {
        return vm_reader_skip(r, f->size) || truncated(f, error);
    }
    if (!field_count(f, obj, &count, error)) {
        return false;
    }
    base = field_base(f, obj);
    if (!base && count > 0) {
        return error_set(error, "Field '%s' has elements, but this device has no room for them",
                         f->name);
    }
    for (unsigned i = 0; i < count; i++) {
        if (!load_element(r, f, base + i * f->size, error)) {
            return false;
        }
        if (vm_reader_failed(r)) {
            return truncated(f, error);
        }
    }
    return true;
}

static const VmStateDesc *find_subsection(const VmStateDesc *desc, const char *name, size_t len)
{
    for (const VmStateDesc *const *sub = desc->subsections; sub && *sub; sub++) {
        if (strlen((*sub)->name) == len && !memcmp((*sub)->name, name, len)) {
            return *sub;
        }
    }
    return NULL;
}

/* Whether a subsection below DESC comes next; its name is then NAME[LEN]. */
static bool next_subsection(const VmReader *r, const VmStateDesc *desc, const char **name,
                            size_t *len)
{
    const uint8_t *p = vm_reader_peek(r, 2);
    size_t prefix = strlen(desc->name);

    if (!p || p[0] != VM_STREAM_SUBSECTION || p[1] < prefix + 1) {
        return false;
    }
    *len = p[1];
    p = vm_reader_peek(r, 2 + *len);
    *name = p ? (const char *)p + 2 : NULL;
    /* One of QEMU's, apic_sipi, is not named as the rule has it. */
    return p && ((!memcmp(*name, desc->name, prefix) && (*name)[prefix] == '/') ||
                 find_subsection(desc, *name, *len));
}

static bool load_subsections(VmReader *r, const VmStateDesc *desc, void *obj, GError **error)
{
    const char *name;
    size_t len;

    while (next_subsection(r, desc, &name, &len)) {
        const VmStateDesc *sub = find_subsection(desc, name, len);
        unsigned version;

        if (!sub) {
            g_autofree char *raw = g_strndup(name, len);
            g_autofree char *printable = g_strescape(raw, NULL);

            return error_set(error, "State '%s' has the unknown subsection '%s'", desc->name,
                             printable);
        }
        vm_reader_skip(r, 2 + len);
        version = vm_get_be32(r);
        if (!vmstate_load(r, sub, obj, version, error)) {
            return false;
        }
    }
    return true;
}

bool vmstate_load(VmReader *r, const VmStateDesc *desc, void *obj, unsigned version,
                  GError **error)
{
    if (version > desc->version || version < desc->minimum) {
        return error_set(error, "State '%s' has version %u; versions %u to %u can be loaded",
                         desc->name, version, desc->minimum, desc->version);
    }
    if (desc->pre_load && !desc->pre_load(obj, error)) {
        g_prefix_error(error, "State '%s': ", desc->name);
        return false;
    }
    for (const VmField *f = desc->fields; f && f->kind != VM_END; f++) {
        if (field_exists(f, obj, version) && !load_field(r, f, obj, error)) {
            g_prefix_error(error, "State '%s': ", desc->name);
            return false;
        }
    }
    if (!load_subsections(r, desc, obj, error)) {
        return false;
    }
    if (vm_reader_failed(r)) {
        return error_set(error, "State '%s' ends too early", desc->name);
    }
    if (desc->post_load && !desc->post_load(obj, (int)version, error)) {
        g_prefix_error(error, "State '%s': ", desc->name);
        return false;
    }
    return true;
}
