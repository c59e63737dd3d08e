/* SPDX-License-Identifier: MIT */
/*
 * blockdev-create: makes an image, as a job since it may take its time.
 * Locking: main loop.
 */
#include "block/driver.h"
#include "block/job_types.h"

typedef struct Create {
    Job job;
    char *driver, *filename;
    NodeOpts *opts;
    BlockNode *file;           /* a node to put a format into; NULL: FILENAME */
    BlockNode *data_file;      /* another for the guest's data, or NULL */
} Create;

static int co_create_run(Job *job, GError **error)
{
    Create *c = (Create *)job;
    bool ok;

    job_progress_total(job, 1);
    ok = image_create(c->filename, c->driver, c->opts, error);
    job_progress_add(job, 1);
    return ok ? 0 : -EIO;
}

static void create_clean(Job *job)
{
    Create *c = (Create *)job;

    g_clear_pointer(&c->opts, node_opts_free);
    g_clear_pointer(&c->driver, g_free);
    g_clear_pointer(&c->filename, g_free);
    g_clear_pointer(&c->file, node_unref);
    g_clear_pointer(&c->data_file, node_unref);
}

static const JobType create_type = {
    .kind = QAPI_JOB_TYPE_CREATE, .size = sizeof(Create), .co_run = co_create_run,
    .clean = create_clean,
};

/* What -o calls otherwise than the schema does. */
static void rename_options(const char *driver, NodeOpts *opts)
{
    g_autofree char *version = node_opts_take(opts, "version");
    const char *crypt = node_opts_get(opts, "encrypt.format");
    g_autoptr(NodeOpts) all = node_opts_copy(opts);
    const char *key;

    if (version) {
        node_opts_set(all, "compat", g_str_equal(version, "v2") ? "0.10" : "1.1");
        node_opts_set(opts, "compat", node_opts_get(all, "compat"));
    }
    if (g_str_equal(driver, "vpc")) {
        node_opts_set(opts, "x-exact", "on");
    }
    if (crypt && g_str_equal(crypt, "qcow")) {
        node_opts_set(opts, "encrypt.format", "aes");
    }
    while ((key = node_opts_any_key(all)) != NULL) {
        g_autofree char *old = g_strdup(key);
        g_autofree char *value = node_opts_take(all, old);
        g_autofree char *name = g_strdelimit(g_strdup(old), "-", '_');
        bool of_luks = g_str_equal(driver, "luks") || g_str_has_prefix(old, "encrypt.");

        if (!of_luks && !g_str_has_prefix(old, "x-") && !g_str_equal(name, old)) {
            g_free(node_opts_take(opts, old));
            node_opts_set(opts, name, value);
        }
    }
}

/* KEY ("file"): the name of a node, or the options of one. */
static BlockNode *open_file(NodeOpts *opts, const char *key, GError **error)
{
    g_autofree char *name = node_opts_take(opts, key);
    g_autoptr(NodeOpts) sub = node_opts_take_prefix(opts, key);
    BlockNode *node;

    if (!name && node_opts_empty(sub)) {
        error_set(error, "Parameter '%s' is missing", key);
        return NULL;
    }
    if (!name) {
        return node_open(NULL, sub, NODE_OPEN_PROTOCOL | NODE_OPEN_RDWR, error);
    }
    node = node_by_name(name);
    if (!node) {
        error_set(error, "Cannot find device='' nor node-name='%s'", name);
        return NULL;
    }
    return node_ref(node);
}

/* Its file name goes into the header. */
static bool open_data_file(Create *job, GError **error)
{
    g_autoptr(NodeOpts) look = node_opts_copy(job->opts);
    g_autofree char *name = node_opts_take(look, "data-file");
    g_autoptr(NodeOpts) sub = node_opts_take_prefix(look, "data-file");

    if (!name && node_opts_empty(sub)) {
        return true;
    }
    job->data_file = open_file(job->opts, "data-file", error);
    if (!job->data_file) {
        return false;
    }
    node_opts_set(job->opts, "data_file", node_filename(job->data_file));
    node_opts_set(job->opts, "x-data-node", job->data_file->name);
    return true;
}

bool job_create_start(const JobCommon *common, const char *driver, NodeOpts *opts,
                      GError **error)
{
    JobCommon c = *common;
    Create *job;

    c.manual_dismiss = true;
    job = job_new(&create_type, &c, error);
    if (!job) {
        return false;
    }
    job->driver = g_strdup(driver);
    job->opts = node_opts_copy(opts);
    if (node_opts_get(job->opts, "filename")) {
        job->filename = node_opts_take(job->opts, "filename");
    } else {
        job->file = open_file(job->opts, "file", error);
        if (!job->file || !open_data_file(job, error)) {
            job_discard(&job->job);
            return false;
        }
        job->filename = g_strdup_printf("node:%s", job->file->name);
    }
    rename_options(driver, job->opts);
    job_start(&job->job);
    return true;
}
