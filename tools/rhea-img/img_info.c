/* SPDX-License-Identifier: MIT */
/* rhea-img info and snapshot.  Single threaded. */
#include "tools/rhea-img/img.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

static void print_snapshots(BlockNode *node)
{
    g_autoptr(GPtrArray) list = node->type->snapshot_list ? node_snapshot_list(node, NULL) : NULL;

    if (!list || !list->len) {
        return;
    }
    printf("Snapshot list:\n%-10s%-17s%8s%20s%13s%11s\n", "ID", "TAG", "VM SIZE", "DATE",
           "VM CLOCK", "ICOUNT");
    for (unsigned i = 0; i < list->len; i++) {
        const SnapshotInfo *s = list->pdata[i];
        g_autofree char *size = human_size(s->vm_state_size);
        g_autofree char *icount = s->has_icount ? g_strdup_printf("%" PRIu64, s->icount)
                                                : g_strdup("");
        time_t when = (time_t)s->date_sec;
        uint64_t sec = s->vm_clock_ns / 1000000000;
        struct tm tm;
        g_autofree char *clock = g_strdup_printf("%02d:%02d:%02d.%03d", (int)(sec / 3600), (int)(sec / 60 % 60),
                                                 (int)(sec % 60), (int)(s->vm_clock_ns / 1000000 % 1000));
        char date[64];

        localtime_r(&when, &tm);
        strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
        printf("%-9s %-16s %8s%20s%13s%11s\n", s->id, s->name, size, date, clock, icount);
    }
}

static void print_value(const char *name, const Json *value, unsigned indent);

typedef struct Member {
    unsigned indent;
} Member;

static bool print_member(const char *key, Json *value, void *opaque)
{
    const Member *m = opaque;
    g_autofree char *name = g_strdelimit(g_strdup(key), "-", ' ');

    print_value(name, value, m->indent);
    return true;
}

/* Nested dicts and lists are indented below their name. */
static void print_value(const char *name, const Json *value, unsigned indent)
{
    Member inner = { indent + 4 };
    bool on = false;

    printf("%*s%s:", (int)indent, "", name);
    if (json_kind(value) == JSON_DICT) {
        printf("\n");
        json_dict_foreach(value, print_member, &inner);
    } else if (json_kind(value) == JSON_LIST) {
        printf("\n");
        for (size_t i = 0; i < json_list_len(value); i++) {
            g_autofree char *index = g_strdup_printf("[%zu]", i);

            print_value(index, json_list_at(value, i), indent + 4);
        }
    } else if (json_get_bool(value, &on)) {
        printf(" %s\n", on ? "true" : "false");
    } else if (json_get_string(value)) {
        printf(" %s\n", json_get_string(value));
    } else {
        g_autofree char *text = json_to_string(value);

        printf(" %s\n", text);
    }
}

static void print_info(BlockNode *node, Json *info)
{
    uint64_t length = align_up(node_length(node), 512);
    g_autofree char *size = human_size(length);
    Json *specific = json_lookup(info, "format-specific");
    uint64_t actual = 0;
    bool dirty = false;

    printf("image: %s\nfile format: %s\nvirtual size: %s (%" PRIu64 " bytes)\n",
           node_filename(node), node_format(node), size, length);
    if (json_get_uint(json_lookup(info, "actual-size"), &actual)) {
        g_autofree char *text = human_size(actual);

        printf("disk size: %s\n", text);
    } else {
        printf("disk size: unavailable\n");
    }
    if (json_get_bool(json_lookup(info, "dirty-flag"), &dirty) && dirty) {
        printf("cleanly shut down: no\n");
    }
    if (node->encrypted) {
        printf("encrypted: yes\n");
    }
    if (node_cluster_size(node)) {
        printf("cluster_size: %u\n", node_cluster_size(node));
    }
    if (node_backing_filename(node)) {
        const char *full = json_lookup_string(info, "full-backing-filename");

        printf("backing file: %s", node_backing_filename(node));
        if (full && !g_str_equal(full, node_backing_filename(node))) {
            printf(" (actual path: %s)", full);
        }
        printf("\n");
        if (node_backing_format(node)) {
            printf("backing file format: %s\n", node_backing_format(node));
        }
    }
    print_snapshots(node);
    if (specific) {
        printf("Format specific information:\n");
        json_dict_foreach(json_lookup(specific, "data"), print_member, &(Member){ 4 });
    }
}

typedef struct InfoArgs {
    OpenArgs image;
    bool json, chain;
} InfoArgs;

static const ImgOption info_options[] = {
    OPTION_OBJECT,
    OPTION_IMAGE_OPTS(InfoArgs, image),
    OPTION_FORMAT(InfoArgs, image),
    OPTION_OUTPUT(InfoArgs, json),
    { 0, "backing-chain", NULL, IMG_FLAG, offsetof(InfoArgs, chain),
      "tell about the backing files too" },
    OPTION_SHARE(InfoArgs, image),
    OPTION_END,
};

/* One image; *FILENAME and *FORMAT become those of its backing file, or NULL. */
static bool info_one(InfoArgs *a, char **filename, char **format, Json *list)
{
    Image image;
    Json *info;

    a->image.format = *format;
    if (!image_open(&image, *filename, &a->image)) {
        return false;
    }
    info = node_image_info(image.node, NULL);
    g_clear_pointer(filename, g_free);
    g_clear_pointer(format, g_free);
    if (a->chain && node_backing_filename(image.node)) {
        *filename = node_backing_full(image.node, NULL);
        *format = g_strdup(node_backing_format(image.node));
    }
    if (!a->json) {
        printf("%s", json_list_len(list) ? "\n" : "");
        print_info(image.node, info);
    }
    json_append(list, info);
    a->image.image_opts = false;
    image_close(&image);
    return true;
}

static int img_info(const ImgCommand *command, int argc, char **argv)
{
    InfoArgs a = { .image = { .no_backing = true, .no_key = true } };
    g_autofree char *filename = NULL;
    g_autofree char *format = NULL;
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(Json) list = json_new_list();
    int status = img_parse(command, &a, &argc, &argv);

    if (status >= 0) {
        return status;
    }
    filename = g_strdup(argv[0]);
    format = g_strdup(a.image.format);
    while (filename) {
        if (!g_hash_table_add(seen, g_strdup(filename))) {
            error_report("Backing file '%s' creates an infinite loop.", filename);
            return 1;
        }
        if (!info_one(&a, &filename, &format, list)) {
            return 1;
        }
    }
    if (a.json) {
        print_json(a.chain ? json_ref(list) : json_ref(json_list_at(list, 0)));
    }
    return 0;
}

const ImgCommand img_info_command = {
    "info", info_options, "filename", 1, 1, "Expecting one image file name", img_info,
};

/* ---- snapshot ---- */

typedef struct SnapshotArgs {
    OpenArgs image;
    char action;
    const char *name;
    bool quiet;
} SnapshotArgs;

static bool set_action(void *args, char action, const char *name)
{
    SnapshotArgs *a = args;

    if (a->action) {
        usage_error("Cannot mix '-l', '-a', '-c', '-d'");
        return false;
    }
    a->action = action;
    a->name = name;
    return true;
}

static bool action_list(void *args, const char *value)
{
    return set_action(args, 'l', NULL);
}

static bool action_apply(void *args, const char *value)
{
    return set_action(args, 'a', value);
}

static bool action_create(void *args, const char *value)
{
    return set_action(args, 'c', value);
}

static bool action_delete(void *args, const char *value)
{
    return set_action(args, 'd', value);
}

static const ImgOption snapshot_options[] = {
    OPTION_OBJECT,
    OPTION_IMAGE_OPTS(SnapshotArgs, image),
    OPTION_SHARE(SnapshotArgs, image),
    OPTION_QUIET(SnapshotArgs, quiet),
    { 'l', NULL, NULL, IMG_CALL, 0, "list the snapshots (as without any of these)", action_list },
    { 'a', NULL, "snapshot", IMG_CALL, 0, "go back to a snapshot", action_apply },
    { 'c', NULL, "snapshot", IMG_CALL, 0, "create a snapshot", action_create },
    { 'd', NULL, "snapshot", IMG_CALL, 0, "delete a snapshot", action_delete },
    OPTION_END,
};

/* By name only, as qemu-img: one may be called like another's number. */
static bool delete_snapshot(BlockNode *node, const char *name, GError **error)
{
    g_autoptr(GPtrArray) list = node->type->snapshot_list ? node_snapshot_list(node, error) : NULL;

    if (!list && node->type->snapshot_list) {
        return false;
    }
    for (unsigned i = 0; list && i < list->len; i++) {
        const SnapshotInfo *s = list->pdata[i];

        if (g_str_equal(s->name, name)) {
            return node_snapshot_delete(node, s->id, error);
        }
    }
    return list ? error_set(error, "snapshot not found") : node_snapshot_delete(node, name, error);
}

static int img_snapshot(const ImgCommand *command, int argc, char **argv)
{
    SnapshotArgs a = { .image = { .no_backing = true } };
    int status = img_parse(command, &a, &argc, &argv);
    SnapshotInfo vm = { 0 };
    GError *error = NULL;
    Image image;
    struct timespec now;
    bool ok = true;

    if (status >= 0) {
        return status;
    }
    a.image.writable = a.image.resize = a.action && a.action != 'l';
    if (!image_open(&image, argv[0], &a.image)) {
        return 1;
    }
    switch (a.action) {
    case 'c':
        clock_gettime(CLOCK_REALTIME, &now);
        vm.date_sec = (uint64_t)now.tv_sec;
        vm.date_nsec = (uint32_t)now.tv_nsec;
        ok = node_snapshot_create(image.node, a.name, &vm, &error);
        break;
    case 'a':
        ok = node_snapshot_apply(image.node, a.name, &error);
        break;
    case 'd':
        ok = delete_snapshot(image.node, a.name, &error);
        break;
    default:
        print_snapshots(image.node);
    }
    if (!ok) {
        error_report("Could not %s snapshot '%s': %s", a.action == 'c' ? "create"
                     : a.action == 'a' ? "apply" : "delete", a.name, error->message);
        g_error_free(error);
    }
    return image_finish(&image, ok ? 0 : 1);
}

const ImgCommand img_snapshot_command = {
    "snapshot", snapshot_options, "filename", 1, 1, "Expecting one image file name", img_snapshot,
};
