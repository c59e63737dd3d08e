/* SPDX-License-Identifier: MIT */
/*
 * vmdk: VMware disk images: the descriptor, requests over extents, information.
 * Spec: VMware "Virtual Disk Format 5.0".  Sparse extents are in block/vmdk_sparse.c, creation in
 * block/vmdk_create.c.
 * Not modelled: ESX server extents (COWD, SESPARSE), raw device mappings; RDONLY and NOACCESS
 * extents are refused.
 * Locking: see block/vmdk.h.
 */
#include "block/vmdk.h"

#include <stdio.h>

#include "base/log.h"

#define MAX_DESCRIPTOR (1u << 20)
#define MAX_EXTENTS 4096u

/* ---- the descriptor ---- */

static int vmdk_probe(const uint8_t *head, size_t len, const char *filename)
{
    size_t at = 0;

    if (len >= 4 && (le32_load(head) == VMDK_MAGIC || le32_load(head) == VMDK_MAGIC_COWD)) {
        return 100;
    }
    /* Comments and blank lines, then the version. */
    while (at < len) {
        const uint8_t *nl = memchr(head + at, '\n', len - at);
        size_t n = nl ? (size_t)(nl - (head + at)) : len - at;

        if (n && head[at + n - 1] == '\r') {
            n--;
        }
        if (n >= 9 && memcmp(head + at, "version=", 8) == 0) {
            return head[at + 8] >= '1' && head[at + 8] <= '3' && n == 9 && nl ? 100 : 0;
        }
        if (!nl || (n && head[at] != '#' && strspn((const char *)head + at, " ") < n)) {
            return 0;
        }
        at = (size_t)(nl - head) + 1;
    }
    return 0;
}

/* The value of "KEY=value" or KEY="value" at the start of a line, or NULL. */
static char *descriptor_value(const char *text, const char *key)
{
    size_t len = strlen(key);

    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, len) == 0 && line[len] == '=') {
            const char *p = line + len + 1;
            bool quoted = *p == '"';

            p += quoted;
            return g_strndup(p, strcspn(p, quoted ? "\"\n" : "\r\n"));
        }
        if (*line == '\0') {
            break;
        }
    }
    return NULL;
}

static bool read_descriptor(Vmdk *v, GError **error)
{
    BlockNode *file = v->node->file->node;
    uint8_t h[S_LEN] = { 0 };
    uint64_t bytes = file->length;
    int ret = co_node_pread(file, 0, h, MIN(S_LEN, file->length));

    if (ret == 0 && le32_load(h) == VMDK_MAGIC) {
        uint64_t sector = le64_load(h + S_DESC_OFFSET), sectors = le64_load(h + S_DESC_SIZE);

        v->embedded = true;
        v->descriptor_offset = sector * 512;
        bytes = sectors * 512;
        if (!sector || sector > UINT32_MAX || sectors > MAX_DESCRIPTOR / 512) {
            return error_set(error, "The VMDK image has no descriptor; name the descriptor file "
                             "instead of its extent");
        }
    } else if (ret == 0 && le32_load(h) == VMDK_MAGIC_COWD) {
        return error_set(error, "ESX server sparse extents (COWD) are not supported");
    }
    if (ret == 0 && bytes > MAX_DESCRIPTOR) {
        return error_set(error, "The VMDK descriptor is too large");
    }
    v->descriptor_room = v->embedded ? bytes : MAX_DESCRIPTOR;
    v->descriptor = g_malloc0(bytes + 1);
    ret = ret < 0 ? ret : co_node_pread(file, v->descriptor_offset, v->descriptor, bytes);
    return ret == 0 || error_set_errno(error, -ret, "Could not read the VMDK descriptor");
}

static bool parse_cid(const char *text, const char *key, uint32_t *cid, GError **error)
{
    g_autofree char *value = descriptor_value(text, key);
    char *end = NULL;
    uint64_t number = value ? g_ascii_strtoull(value, &end, 16) : 0;

    if (!value || end == value || number > UINT32_MAX) {
        return error_set(error, "The VMDK descriptor has no valid %s", key);
    }
    *cid = (uint32_t)number;
    return true;
}

static bool parse_head(Vmdk *v, GError **error)
{
    BlockNode *node = v->node;

    v->create_type = descriptor_value(v->descriptor, "createType");
    if (!v->create_type) {
        return error_set(error, "The VMDK descriptor has no createType");
    }
    if (!parse_cid(v->descriptor, "CID", &v->cid, error) ||
        !parse_cid(v->descriptor, "parentCID", &v->parent_cid, error)) {
        return false;
    }
    if (v->parent_cid != VMDK_NO_PARENT) {
        node->backing_file = descriptor_value(v->descriptor, "parentFileNameHint");
        if (!node->backing_file || !*node->backing_file || strlen(node->backing_file) > 1023) {
            return error_set(error, "The VMDK descriptor has a parentCID, but no valid "
                             "parentFileNameHint");
        }
        node->backing_format = g_strdup("vmdk");
    }
    return true;
}

/* ---- extents ---- */

static void extent_free(gpointer p)
{
    VmdkExtent *e = p;

    vmdk_sparse_close(e);
    g_free(e->type);
    g_free(e);
}

typedef struct ExtentLine {
    char access[12], type[16], name[1024];
    uint64_t sectors, offset;
} ExtentLine;

/* RW 4192256 SPARSE "disk-s001.vmdk" [offset] */
static bool parse_extent(const char *line, ExtentLine *x)
{
    int n;

    memset(x, 0, sizeof(*x));
    n = sscanf(line, "%11s %" SCNu64 " %15s \"%1023[^\"\n\r]\" %" SCNu64, x->access, &x->sectors,
               x->type, x->name, &x->offset);
    return n >= 4 || (n == 3 && g_str_equal(x->type, "ZERO"));
}

static bool is_extent_line(const char *line)
{
    return g_str_has_prefix(line, "RW ") || g_str_has_prefix(line, "RDONLY ") ||
           g_str_has_prefix(line, "NOACCESS ");
}

static bool open_extent_file(Vmdk *v, VmdkExtent *e, const ExtentLine *x, NodeOpts *opts,
                             GError **error)
{
    BlockNode *node = v->node;
    g_autofree char *full = path_combine(node->filename, x->name);
    g_autofree char *name = g_strdup_printf("extents.%u", v->extents->len);
    int flags = (node->flags & NODE_OPEN_HOST_IO) | NODE_OPEN_PROTOCOL | NODE_OPEN_RESIZE |
                (node->read_only ? 0 : NODE_OPEN_RDWR);
    BlockChild *edge = node_open_child(node, name, full, opts, flags, error);

    e->edge = edge;
    e->file = edge ? edge->node : NULL;
    return edge != NULL;
}

static bool add_extent(Vmdk *v, const char *line, NodeOpts *opts, GError **error)
{
    BlockNode *node = v->node;
    g_autofree VmdkExtent *e = g_new0(VmdkExtent, 1);
    ExtentLine x;

    if (!parse_extent(line, &x) || x.sectors == 0 || x.sectors > INT64_MAX / 1024 ||
        node->length > INT64_MAX / 2) {
        return error_set(error, "Invalid extent line in the VMDK descriptor: %.*s",
                         (int)strcspn(line, "\r\n"), line);
    }
    if (!g_str_equal(x.access, "RW") || v->extents->len >= MAX_EXTENTS) {
        return error_set(error, "VMDK extents that are not RW, or more than %u of them, are not "
                         "supported", MAX_EXTENTS);
    }
    e->start = node->length;
    e->length = x.sectors * 512;
    e->type = g_strdup(x.type);
    if (g_str_equal(x.type, "ZERO")) {
        e->kind = VMDK_ZERO;
    } else if (g_str_equal(x.type, "FLAT") || g_str_equal(x.type, "VMFS")) {
        e->kind = VMDK_FLAT;
        e->flat_offset = x.offset > INT64_MAX / 1024 ? INT64_MAX / 2 : x.offset * 512;
    } else if (g_str_equal(x.type, "SPARSE")) {
        e->kind = VMDK_SPARSE;
    } else {
        g_free(e->type);
        return error_set(error, "Unsupported VMDK extent type '%s'", x.type);
    }
    if (e->kind != VMDK_ZERO && !open_extent_file(v, e, &x, opts, error)) {
        g_free(e->type);
        return false;
    }
    if (e->kind == VMDK_SPARSE && !vmdk_sparse_open(node, e, e->length, error)) {
        g_prefix_error(error, "Could not open extent '%s': ", x.name);
        extent_free(g_steal_pointer(&e));
        return false;
    }
    node->length += e->length;
    g_ptr_array_add(v->extents, g_steal_pointer(&e));
    return true;
}

static bool open_extents(Vmdk *v, NodeOpts *opts, GError **error)
{
    g_auto(GStrv) lines = NULL;

    if (v->embedded) {
        VmdkExtent *e = g_new0(VmdkExtent, 1);

        e->kind = VMDK_SPARSE;
        e->type = g_strdup("");
        e->edge = v->node->file;
        e->file = v->node->file->node;
        g_ptr_array_add(v->extents, e);
        if (!vmdk_sparse_open(v->node, e, 0, error)) {
            return false;
        }
        v->node->length = e->length;
        return true;
    }
    lines = g_strsplit(v->descriptor, "\n", 0);
    for (char **l = lines; *l; l++) {
        if (is_extent_line(*l) && !add_extent(v, *l, opts, error)) {
            return false;
        }
    }
    return v->extents->len || error_set(error, "The VMDK descriptor names no extents");
}

static void vmdk_free(Vmdk *v)
{
    g_clear_pointer(&v->extents, g_ptr_array_unref);
    g_clear_pointer(&v->descriptor, g_free);
    g_clear_pointer(&v->create_type, g_free);
}

static bool vmdk_open(BlockNode *node, NodeOpts *opts, GError **error)
{
    Vmdk *v = node->state;

    v->node = node;
    v->extents = g_ptr_array_new_with_free_func(extent_free);
    co_mutex_init(&v->lock);
    if (!read_descriptor(v, error) || !parse_head(v, error) || !open_extents(v, opts, error)) {
        vmdk_free(v);
        return false;
    }
    return true;
}

/* ---- parents and content IDs ---- */

/* A parent that was written to since the child was made no longer fits it. */
static int check_parent(Vmdk *v)
{
    BlockNode *parent = v->node->backing ? v->node->backing->node : NULL;

    if (!parent) {
        return 0;
    }
    if (!v->parent_checked) {
        v->parent_checked = true;
        v->parent_ok = parent->type != &node_type_vmdk ||
                       ((Vmdk *)parent->state)->cid == v->parent_cid;
        if (!v->parent_ok) {
            warn_report("The parent of '%s' was changed since the image was made (its CID is not "
                        "%08x)", v->node->filename, v->parent_cid);
        }
    }
    return v->parent_ok ? 0 : -EINVAL;
}

static int write_descriptor(Vmdk *v, const char *text)
{
    g_autofree char *padded = g_malloc0(v->descriptor_room);
    size_t len = strlen(text);
    bool grow = !v->embedded;

    if (len > v->descriptor_room) {
        return -ENOSPC;
    }
    memcpy(padded, text, len);
    return co_node_pwrite(v->node->file->node, v->descriptor_offset, padded,
                          grow ? len : v->descriptor_room, 0);
}

/* The first write gives the content a new ID. */
static int change_cid(Vmdk *v)
{
    const char *at;
    int ret = 0;

    co_mutex_lock(&v->lock);
    at = strstr(v->descriptor, "\nCID=");
    if (!v->cid_changed && at) {
        uint32_t cid = g_random_int();
        size_t head = (size_t)(at - v->descriptor) + 5;
        g_autofree char *text = NULL;

        cid = cid == VMDK_NO_PARENT ? 1 : cid;
        text = g_strdup_printf("%.*s%08x%s", (int)head, v->descriptor, cid,
                               at + 5 + strcspn(at + 5, "\r\n"));
        ret = write_descriptor(v, text);
        if (ret == 0) {
            g_free(v->descriptor);
            v->descriptor = g_steal_pointer(&text);
            v->cid = cid;
        }
    }
    v->cid_changed = v->cid_changed || ret == 0;
    co_mutex_unlock(&v->lock);
    return ret;
}

/* ---- requests ---- */

static VmdkExtent *extent_at(Vmdk *v, uint64_t offset)
{
    unsigned low = 0, high = v->extents->len - 1;

    while (low < high) {
        unsigned mid = (low + high + 1) / 2;

        if (((VmdkExtent *)v->extents->pdata[mid])->start <= offset) {
            low = mid;
        } else {
            high = mid - 1;
        }
    }
    return v->extents->pdata[low];
}

static int vmdk_co_preadv(BlockNode *node, uint64_t offset, IoSpan span)
{
    Vmdk *v = node->state;
    int ret = check_parent(v);

    while (span.len && ret == 0) {
        VmdkExtent *e = extent_at(v, offset);
        uint64_t in = offset - e->start;
        IoSpan piece = io_span_sub(span, 0, MIN(span.len, e->length - in));

        if (e->kind == VMDK_SPARSE) {
            ret = co_grain_preadv(&e->map, in, piece);
        } else if (e->kind == VMDK_FLAT) {
            ret = co_node_preadv(e->file, e->flat_offset + in, piece);
        } else {
            io_span_zero(piece);
        }
        offset += piece.len;
        span = io_span_sub(span, piece.len, span.len - piece.len);
    }
    return ret;
}

static int begin_write(Vmdk *v)
{
    int ret = check_parent(v);

    return ret < 0 || v->cid_changed ? ret : change_cid(v);
}

static int write_packed(VmdkExtent *e, uint64_t in, IoSpan span)
{
    uint64_t n;
    int ret = 0;

    for (; span.len && ret == 0; in += n, span = io_span_sub(span, n, span.len - n)) {
        n = MIN(span.len, e->map.grain - in % e->map.grain);
        ret = co_vmdk_write_compressed(e, in, io_span_sub(span, 0, n));
    }
    return ret;
}

static int vmdk_co_pwritev(BlockNode *node, uint64_t offset, IoSpan span, int flags)
{
    Vmdk *v = node->state;
    int ret = begin_write(v);

    while (span.len && ret == 0) {
        VmdkExtent *e = extent_at(v, offset);
        uint64_t in = offset - e->start;
        IoSpan piece = io_span_sub(span, 0, MIN(span.len, e->length - in));

        if (e->kind == VMDK_SPARSE) {
            ret = e->compressed ? write_packed(e, in, piece)
                                : co_grain_pwritev(&e->map, in, piece);
        } else {
            ret = e->kind == VMDK_FLAT
                      ? co_node_pwritev(e->file, e->flat_offset + in, piece, 0) : -EACCES;
        }
        offset += piece.len;
        span = io_span_sub(span, piece.len, span.len - piece.len);
    }
    return ret;
}

static int zero_extent(VmdkExtent *e, uint64_t in, uint64_t bytes, int flags)
{
    switch (e->kind) {
    case VMDK_SPARSE:
        return e->compressed ? -ENOTSUP : co_grain_write_zeroes(&e->map, in, bytes, flags);
    case VMDK_FLAT:
        return co_node_write_zeroes(e->file, e->flat_offset + in, bytes, flags);
    default:
        return 0;
    }
}

static int vmdk_co_write_zeroes(BlockNode *node, uint64_t offset, uint64_t bytes, int flags)
{
    Vmdk *v = node->state;
    int ret = begin_write(v);

    while (bytes && ret == 0) {
        VmdkExtent *e = extent_at(v, offset);
        uint64_t in = offset - e->start, n = MIN(bytes, e->length - in);

        ret = zero_extent(e, in, n, flags);
        offset += n;
        bytes -= n;
    }
    return ret;
}

static int vmdk_co_write_compressed(BlockNode *node, uint64_t offset, IoSpan span)
{
    Vmdk *v = node->state;
    VmdkExtent *e = extent_at(v, offset);
    int ret = begin_write(v);

    /* One extent of one grain after the other; others cannot hold compressed grains. */
    if (v->extents->len != 1 || e->kind != VMDK_SPARSE || !e->compressed) {
        return -ENOTSUP;
    }
    return ret < 0 ? ret : write_packed(e, offset, span);
}

static int vmdk_co_flush(BlockNode *node)
{
    Vmdk *v = node->state;
    int ret = 0;

    for (unsigned i = 0; i < v->extents->len && ret == 0; i++) {
        VmdkExtent *e = v->extents->pdata[i];

        ret = e->kind == VMDK_SPARSE ? co_grain_flush(&e->map) : 0;
        if (ret == 0 && e->file && e->file != node->file->node) {
            ret = co_node_flush(e->file);
        }
    }
    return ret;
}

static void vmdk_close(BlockNode *node)
{
    if (!node->read_only) {
        vmdk_co_flush(node);
    }
    vmdk_free(node->state);
}

static void vmdk_child_moved(BlockNode *node, const BlockChild *edge)
{
    Vmdk *v = node->state;

    for (unsigned i = 0; i < v->extents->len; i++) {
        VmdkExtent *e = v->extents->pdata[i];

        if (e->edge == edge) {
            e->file = e->map.file = edge->node;
        }
    }
}

static bool vmdk_reopen(BlockNode *node, bool read_only, GError **error)
{
    Vmdk *v = node->state;
    int ret = read_only ? vmdk_co_flush(node) : 0;

    v->cid_changed = v->cid_changed && !read_only;
    return ret == 0 || error_set_errno(error, -ret, "Could not write the tables of '%s'",
                                       node->filename);
}

static int vmdk_co_status(BlockNode *node, uint64_t offset, uint64_t bytes, BlockStatus *status)
{
    Vmdk *v = node->state;
    VmdkExtent *e = extent_at(v, offset);
    uint64_t in = offset - e->start;

    bytes = MIN(bytes, e->length - in);
    status->bytes = bytes;
    if (e->kind == VMDK_SPARSE) {
        return co_grain_status(&e->map, in, bytes, status);
    }
    if (e->kind == VMDK_ZERO) {
        status->flags = BLK_STATUS_ZERO;
        return 0;
    }
    status->flags = BLK_STATUS_DATA | BLK_STATUS_OFFSET_VALID | BLK_STATUS_RECURSE;
    status->file = e->file;
    status->map = e->flat_offset + in;
    return 0;
}

/* ---- information ---- */

static uint32_t vmdk_cluster_size(const BlockNode *node)
{
    const Vmdk *v = node->state;
    const VmdkExtent *e = v->extents->pdata[0];

    return e->kind == VMDK_SPARSE ? e->map.grain : 0;
}

static bool vmdk_wants_compressed(const BlockNode *node)
{
    const Vmdk *v = node->state;

    return ((VmdkExtent *)v->extents->pdata[0])->compressed;
}

static void vmdk_info(BlockNode *node, Json *info)
{
    Vmdk *v = node->state;
    Json *specific = json_new_dict(), *data = json_new_dict(), *list = json_new_list();

    json_set(data, "cid", json_new_uint(v->cid));
    json_set(data, "parent-cid", json_new_uint(v->parent_cid));
    json_set(data, "create-type", json_new_string(v->create_type));
    for (unsigned i = 0; i < v->extents->len; i++) {
        const VmdkExtent *e = v->extents->pdata[i];
        Json *d = json_new_dict();

        if (e->compressed) {
            json_set(d, "compressed", json_new_bool(true));
        }
        json_set(d, "virtual-size", json_new_uint(e->length));
        json_set(d, "filename", json_new_string(e->file ? e->file->filename : ""));
        if (e->kind == VMDK_SPARSE) {
            json_set(d, "cluster-size", json_new_uint(e->map.grain));
        }
        json_set(d, "format", json_new_string(e->type));
        json_append(list, d);
    }
    json_set(data, "extents", list);
    json_set(specific, "type", json_new_string("vmdk"));
    json_set(specific, "data", data);
    json_set(info, "format-specific", specific);
}

/* All files together, as far as their protocol tells. */
static uint64_t vmdk_allocated_size(BlockNode *node)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < node->children->len; i++) {
        BlockChild *edge = node->children->pdata[i];
        BlockNode *child = edge->node;

        if (edge != node->backing && child->type->allocated_size) {
            sum += child->type->allocated_size(child);
        }
    }
    return sum;
}

static bool vmdk_check(BlockNode *node, int fix, CheckResult *result, GError **error)
{
    Vmdk *v = node->state;
    uint64_t used = 0;
    int ret = 0;

    if (fix) {
        return error_set(error, "Repairing is not supported for vmdk images");
    }
    for (unsigned i = 0; i < v->extents->len && ret == 0; i++) {
        VmdkExtent *e = v->extents->pdata[i];

        ret = e->kind == VMDK_SPARSE ? co_grain_check(&e->map, result, &used) : 0;
    }
    return ret == 0 || error_set_errno(error, -ret, "Check failed");
}

const NodeType node_type_vmdk = {
    .name = "vmdk", .state_size = sizeof(Vmdk), .has_backing = true, .zero_init = true,
    .probe = vmdk_probe, .open = vmdk_open, .close = vmdk_close,
    .child_moved = vmdk_child_moved, .reopen = vmdk_reopen,
    .co_preadv = vmdk_co_preadv, .co_pwritev = vmdk_co_pwritev,
    .co_write_zeroes = vmdk_co_write_zeroes, .co_flush = vmdk_co_flush,
    .co_status = vmdk_co_status, .co_write_compressed = vmdk_co_write_compressed,
    .wants_compressed = vmdk_wants_compressed, .cluster_size = vmdk_cluster_size,
    .info = vmdk_info, .allocated_size = vmdk_allocated_size, .check = vmdk_check,
    .create = vmdk_create, .create_help = vmdk_create_help,
};
