/* SPDX-License-Identifier: MIT */
/*
 * The human monitor: commands as rows.
 *
 * A row's ARGS says what a command takes, in order, split by commas, each "name:type":
 *   s  a word, or "quoted"      F  a file name       i  an integer expression
 *   S  the rest of the line     b  on or off         -x the flag -x      /  a format (/4xw)
 *   o  a size such as 64M, in MiB where it has no suffix
 * and "?" after the type where it may be left out.  What was given arrives as a JSON dict under the
 * names (a format as "count", "letter", "size").
 *
 * Commands are thin: they call QMP commands by monitor_do() and print what these return.
 */
#ifndef MONITOR_HMP_H
#define MONITOR_HMP_H

#include "monitor/monitor.h"

typedef struct HmpCommand {
    const char *name;            /* "quit|q": name and aliases */
    const char *args;
    const char *params;          /* for help */
    const char *help;
    void (*run)(Monitor *mon, const Json *args);
    const struct HmpCommand *sub;        /* "info": a table of its own */
} HmpCommand;

extern const HmpCommand hmp_commands[], hmp_info_commands[];   /* end with a NULL name */
/* Commands of QEMU 7.2 that are not there yet ("savevm", "info usb"); ends with NULL. */
extern const char *const hmp_absent[];

/* The members of ARGS that NAMES lists ("a,b=c": b under the name c), as arguments of a QMP command. */
Json *hmp_pick(const Json *args, const char *names);
int64_t hmp_int(const Json *args, const char *name, int64_t absent);
bool hmp_flag(const Json *args, const char *name);
/* Evaluates TEXT ("1+2*0x10", "$pc"); advances it past the expression. */
void hmp_help(Monitor *mon, const HmpCommand *table, const char *prefix, const char *name);

/* hmp_memory.c */
void hmp_x(Monitor *mon, const Json *args);
void hmp_xp(Monitor *mon, const Json *args);
void hmp_print(Monitor *mon, const Json *args);
void hmp_port_read(Monitor *mon, const Json *args);
void hmp_port_write(Monitor *mon, const Json *args);
void hmp_gpa2hva(Monitor *mon, const Json *args);
void hmp_gva2gpa(Monitor *mon, const Json *args);
void hmp_info_mtree(Monitor *mon, const Json *args);
/* hmp_cpu.c */
void hmp_info_registers(Monitor *mon, const Json *args);
void hmp_info_lapic(Monitor *mon, const Json *args);
void hmp_info_pic(Monitor *mon, const Json *args);
void hmp_info_irq(Monitor *mon, const Json *args);
void hmp_info_mem(Monitor *mon, const Json *args);
void hmp_info_tlb(Monitor *mon, const Json *args);
/* Appends the instruction at VA; its length. */
unsigned hmp_disassemble(struct Cpu *cpu, uint64_t va, const uint8_t *bytes, unsigned len, GString *out);
/* hmp_export.c */
void hmp_nbd_server_start(Monitor *mon, const Json *args);
void hmp_nbd_server_add(Monitor *mon, const Json *args);
void hmp_nbd_server_remove(Monitor *mon, const Json *args);
void hmp_nbd_server_stop(Monitor *mon, const Json *args);
/* hmp_block.c */
void hmp_block_resize(Monitor *mon, const Json *args);
void hmp_block_stream(Monitor *mon, const Json *args);
void hmp_block_job_set_speed(Monitor *mon, const Json *args);
void hmp_block_job_cancel(Monitor *mon, const Json *args);
void hmp_block_job_complete(Monitor *mon, const Json *args);
void hmp_block_job_pause(Monitor *mon, const Json *args);
void hmp_block_job_resume(Monitor *mon, const Json *args);
void hmp_block_set_io_throttle(Monitor *mon, const Json *args);
void hmp_drive_mirror(Monitor *mon, const Json *args);
void hmp_drive_backup(Monitor *mon, const Json *args);
void hmp_snapshot_blkdev(Monitor *mon, const Json *args);
void hmp_snapshot_blkdev_internal(Monitor *mon, const Json *args);
void hmp_snapshot_delete_blkdev_internal(Monitor *mon, const Json *args);
void hmp_info_blockstats(Monitor *mon, const Json *args);
void hmp_info_block_jobs(Monitor *mon, const Json *args);
/* hmp_tree.c */
void hmp_info_qtree(Monitor *mon, const Json *args);
void hmp_info_qom_tree(Monitor *mon, const Json *args);

#endif
