/* SPDX-License-Identifier: MIT */
/* HMP: disk images while the machine runs; thin over the QMP commands. */
#include "monitor/hmp.h"

#include <inttypes.h>
#include <string.h>

/* Rows that only forward. */
#define FORWARD(id, command, names)                                                          \
    void hmp_##id(Monitor *mon, const Json *args)                                            \
    {                                                                                        \
        monitor_do(mon, command, hmp_pick(args, names));                                     \
    }
FORWARD(block_resize, "block_resize", "device,size")
FORWARD(block_stream, "block-stream", "device,speed,base")
FORWARD(block_job_set_speed, "block-job-set-speed", "device,speed")
FORWARD(block_job_cancel, "block-job-cancel", "device,force")
FORWARD(block_job_complete, "block-job-complete", "device")
FORWARD(block_job_pause, "block-job-pause", "device")
FORWARD(block_job_resume, "block-job-resume", "device")
FORWARD(block_set_io_throttle, "block_set_io_throttle",
        "device,bps,bps_rd,bps_wr,iops,iops_rd,iops_wr")
FORWARD(snapshot_blkdev_internal, "blockdev-snapshot-internal-sync", "device,name")
FORWARD(snapshot_delete_blkdev_internal, "blockdev-snapshot-delete-internal-sync",
        "device,name,id")

/* To a file: "mode" says whether it is there already, "sync" how much is copied. */
static void copy(Monitor *mon, const char *command, const Json *args, const char *names)
{
    Json *out = hmp_pick(args, names);

    json_set(out, "sync", json_new_string(hmp_flag(args, "full") ? "full" : "top"));
    json_set(out, "mode", json_new_string(hmp_flag(args, "reuse") ? "existing"
                                                                  : "absolute-paths"));
    monitor_do(mon, command, out);
}

void hmp_drive_mirror(Monitor *mon, const Json *args)
{
    copy(mon, "drive-mirror", args, "device,target,format");
}

void hmp_drive_backup(Monitor *mon, const Json *args)
{
    copy(mon, "drive-backup", args, "device,target,format,compress");
}

void hmp_snapshot_blkdev(Monitor *mon, const Json *args)
{
    Json *out = hmp_pick(args, "device,snapshot-file,format");

    json_set(out, "mode", json_new_string(hmp_flag(args, "reuse") ? "existing"
                                                                  : "absolute-paths"));
    monitor_do(mon, "blockdev-snapshot-sync", out);
}

void hmp_info_blockstats(Monitor *mon, const Json *args)
{
    static const char *const names[] = {
        "rd_bytes", "wr_bytes", "rd_operations", "wr_operations", "flush_operations",
        "wr_total_time_ns", "rd_total_time_ns", "flush_total_time_ns", "rd_merged", "wr_merged",
        "idle_time_ns",
    };
    g_autoptr(Json) list = monitor_qmp(mon, "query-blockstats", NULL);

    for (size_t i = 0; i < json_list_len(list); i++) {
        Json *row = json_list_at(list, i), *stats = json_lookup(row, "stats");

        if (!json_has(row, "device")) {
            continue;
        }
        monitor_printf(mon, "%s:", json_lookup_string(row, "device"));
        for (unsigned k = 0; k < G_N_ELEMENTS(names); k++) {
            if (json_has(stats, names[k])) {
                monitor_printf(mon, " %s=%" PRId64, names[k], hmp_int(stats, names[k], 0));
            }
        }
        monitor_puts(mon, "\n");
    }
}

void hmp_info_block_jobs(Monitor *mon, const Json *args)
{
    g_autoptr(Json) list = monitor_qmp(mon, "query-block-jobs", NULL);

    if (list && !json_list_len(list)) {
        monitor_puts(mon, "No active jobs\n");
    }
    for (size_t i = 0; i < json_list_len(list); i++) {
        Json *job = json_list_at(list, i);
        const char *type = json_lookup_string(job, "type"), *id = json_lookup_string(job, "device");
        int64_t offset = hmp_int(job, "offset", 0), len = hmp_int(job, "len", 0);
        int64_t speed = hmp_int(job, "speed", 0);

        if (strcmp(type, "stream") == 0) {
            monitor_printf(mon, "Streaming device %s: Completed %" PRId64 " of %" PRId64
                           " bytes, speed limit %" PRId64 " bytes/s\n", id, offset, len, speed);
        } else {
            monitor_printf(mon, "Type %s, device %s: Completed %" PRId64 " of %" PRId64
                           " bytes, speed limit %" PRId64 " bytes/s\n", type, id, offset, len,
                           speed);
        }
    }
}
