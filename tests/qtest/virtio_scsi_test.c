/* SPDX-License-Identifier: MIT */
/*
 * Virtio SCSI on its board: commands, task management, and what its user does to it: units that come
 * and go, media, trays, a new length, errors that stop the VM; and what a bad driver does.
 */
#include "tests/qtest/libqscsi.h"

#include <string.h>

enum { FN = 0x20, BLOCKS = 2048 };
enum { GOOD = 0, CHECK = 2, NO_TARGET = 0x100 + QSCSI_BAD_TARGET };
enum { EVENT_RESET = 1, EVENT_CHANGE = 3, MISSED = (int)0x80000000u, RESCAN = 1, REMOVED = 2 };
enum { ABORT_TASK, ABORT_TASK_SET, CLEAR_ACA, CLEAR_TASK_SET, NEXUS_RESET, UNIT_RESET, QUERY_TASK };

static const char *disk, *cd, *other;

#define SENSE(s) ((s)->key << 16 | (s)->asc << 8 | (s)->ascq)

static Qscsi *start(Qtest *q)
{
    Qscsi *s = g_new(Qscsi, 1);

    qscsi_start(s, q, FN);
    return s;
}

static void qmp(Qtest *q, const char *json)
{
    g_autofree char *answer = qtest_qmp(q, json);

    if (strstr(answer, "\"error\"")) {
        g_error("%s: %s", json, answer);
    }
}

static void qmp_refused(Qtest *q, const char *json, const char *text)
{
    g_autofree char *answer = qtest_qmp(q, json);

    if (!strstr(answer, "\"error\"") || !strstr(answer, text)) {
        g_error("%s: %s, not '%s'", json, answer, text);
    }
}

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void assert_sector(const uint8_t *data, unsigned sector)
{
    for (unsigned i = 0; i < 512; i++) {
        g_assert_cmphex(data[i], ==, (uint8_t)(sector ^ i));
    }
}

/* ---- commands ---- */

static void commands(Qtest *q)
{
    g_autofree Qscsi *s = start(q);
    uint8_t data[1024];

    g_assert_cmphex(qscsi_run(s, 0, 0, CDB(0), 0, NULL), ==, CHECK);
    g_assert_cmphex(SENSE(s), ==, 0x62900);
    g_assert_cmphex(qscsi_run(s, 0, 0, CDB(0), 0, NULL), ==, GOOD);
    g_assert_cmphex(qscsi_run(s, 0, 0, CDB(0x12, [4] = 36), 36, NULL), ==, GOOD);
    g_assert_cmpmem(s->data + 8, 8, "QEMU    ", 8);
    g_assert_cmphex(qscsi_run(s, 0, 0, CDB(0x25), 8, NULL), ==, GOOD);
    g_assert_cmpuint(be32(s->data), ==, BLOCKS - 1);
    g_assert_cmphex(qscsi_run(s, 0, 0, CDB(0x28, [5] = 9, [8] = 3), 1536, NULL), ==, GOOD);
    g_assert_cmpuint(s->resid, ==, 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_sector(s->data + 512 * i, 9 + i);
    }
    g_assert_cmphex(qscsi_run(s, 0, 0, CDB(0x28, [5] = 9, [8] = 1), 4096, NULL), ==, GOOD);
    g_assert_cmpuint(s->resid, ==, 4096 - 512);
    g_assert_cmphex(qscsi_run(s, 0, 0, CDB(0x28, [5] = 9, [8] = 4), 1024, NULL), ==, 0x100 + QSCSI_OVERRUN);

    memset(data, 0xa5, sizeof(data));
    g_assert_cmphex(qscsi_run(s, 0, 0, CDB(0x2a, [5] = 20, [8] = 2), 1024, data), ==, GOOD);
    g_assert_cmphex(qscsi_run(s, 0, 0, CDB(0x35), 0, NULL), ==, GOOD);
    g_assert_cmphex(qscsi_run(s, 0, 0, CDB(0x28, [5] = 19, [8] = 4), 2048, NULL), ==, GOOD);
    assert_sector(s->data, 19);
    g_assert_cmpmem(s->data + 512, 1024, data, 1024);
    assert_sector(s->data + 1536, 22);

    memset(data, 0, 512);
    g_assert_cmphex(qscsi_run(s, 0, 0, CDB(0x93, 8, [9] = 21, [13] = 1), 512, data), ==, GOOD);
    g_assert_cmphex(qscsi_run(s, 0, 0, CDB(0x28, [5] = 21, [8] = 1), 512, NULL), ==, GOOD);
    g_assert_cmpmem(s->data, 512, data, 512);

    g_assert_cmphex(qscsi_run(s, 0, 4, CDB(0), 0, NULL), ==, CHECK);
    g_assert_cmphex(SENSE(s), ==, 0x52500);
    g_assert_cmphex(qscsi_run(s, 6, 0, CDB(0), 0, NULL), ==, NO_TARGET);
    g_assert_cmphex(qvirtio_status(&s->v) & 0x40, ==, 0);
}

/* Blocks that were discarded in a file read as zeroes. */
static void unmap(Qtest *q)
{
    g_autofree Qscsi *s = start(q);
    uint8_t list[24] = { 0, 22, 0, 16, [15] = 40, [19] = 8 };
    static const uint8_t zeroes[512];

    qscsi_settle(s, 0, 0);
    g_assert_cmphex(qscsi_run(s, 0, 0, CDB(0x42, [8] = 24), 24, list), ==, GOOD);
    g_assert_cmphex(qscsi_run(s, 0, 0, CDB(0x28, [5] = 47, [8] = 2), 1024, NULL), ==, GOOD);
    g_assert_cmpmem(s->data, 512, zeroes, 512);
    assert_sector(s->data + 512, 48);
    list[12] = 0xff;                 /* far beyond the end */
    g_assert_cmphex(qscsi_run(s, 0, 0, CDB(0x42, [8] = 24), 24, list), ==, CHECK);
    g_assert_cmphex(SENSE(s), ==, 0x52100);
}

static void queues(Qtest *q)
{
    g_autofree Qscsi *s = start(q);

    g_assert_cmpuint(qvirtio_config(&s->v, 0, 4), ==, 5);
    g_assert_cmpuint(qtest_readw(q, QVIRTIO_BAR + 0x12), ==, 7);
    g_assert_cmpuint(qvirtio_config(&s->v, 20, 4), ==, 96);
    g_assert_cmpuint(qvirtio_config(&s->v, 30, 2), ==, 255);
}

static void task_management(Qtest *q)
{
    g_autofree Qscsi *s = start(q);

    qscsi_settle(s, 0, 0);
    g_assert_cmphex(qscsi_tmf(s, ABORT_TASK, 0, 0, 99), ==, QSCSI_OK);
    g_assert_cmphex(qscsi_tmf(s, QUERY_TASK, 0, 0, 99), ==, QSCSI_OK);
    g_assert_cmphex(qscsi_tmf(s, CLEAR_ACA, 0, 0, 0), ==, QSCSI_REJECTED);
    g_assert_cmphex(qscsi_tmf(s, UNIT_RESET, 0, 3, 0), ==, QSCSI_INCORRECT_LUN);
    g_assert_cmphex(qscsi_tmf(s, UNIT_RESET, 9, 0, 0), ==, QSCSI_BAD_TARGET);
    g_assert_cmphex(qscsi_tmf(s, UNIT_RESET, 0, 0, 0), ==, QSCSI_OK);
    g_assert_cmphex(qscsi_run(s, 0, 0, CDB(0), 0, NULL), ==, CHECK);
    g_assert_cmphex(SENSE(s), ==, 0x62903);
    g_assert_cmphex(qscsi_tmf(s, NEXUS_RESET, 0, 7, 0), ==, QSCSI_OK);
    g_assert_cmphex(qscsi_run(s, 0, 0, CDB(0), 0, NULL), ==, CHECK);
    g_assert_cmphex(qscsi_run(s, 0, 0, CDB(0), 0, NULL), ==, GOOD);
}

/* ---- units come and go ---- */

static void add_unit(Qtest *q)
{
    g_autofree char *blockdev = g_strdup_printf(
        "{'execute':'blockdev-add','arguments':{'driver':'file','node-name':'more','filename':'%s'}}", other);

    qmp(q, blockdev);
    qmp(q, "{'execute':'device_add','arguments':{'driver':'scsi-hd','id':'u','bus':'s.0','drive':'more',"
           "'scsi-id':0,'lun':300}}");
}

static void hotplug(Qtest *q)
{
    g_autofree Qscsi *s = start(q);
    uint32_t reason;
    unsigned id;

    qscsi_settle(s, 0, 0);
    add_unit(q);
    g_assert_cmphex(qscsi_wait_event(s, &reason, &id), ==, EVENT_RESET);
    g_assert_cmphex(reason, ==, RESCAN);
    g_assert_cmpuint(id, ==, 0);
    g_assert_cmphex(qscsi_run(s, 0, 0, CDB(0), 0, NULL), ==, CHECK);
    g_assert_cmphex(SENSE(s), ==, 0x63f0e);                    /* REPORTED LUNS DATA HAS CHANGED */
    g_assert_cmphex(qscsi_run(s, 0, 0, CDB(0xa0, [9] = 64), 64, NULL), ==, GOOD);
    g_assert_cmpuint(be32(s->data), ==, 16);
    g_assert_cmphex(be32(s->data + 16), ==, 0x412c0000);
    qscsi_settle(s, 0, 300);
    g_assert_cmphex(qscsi_run(s, 0, 300, CDB(0x28, [5] = 1, [8] = 1), 512, NULL), ==, GOOD);
    assert_sector(s->data, 1);
    /* Not while it is in use, and not without a unit. */
    qmp_refused(q, "{'execute':'blockdev-del','arguments':{'node-name':'more'}}", "in use");
    qmp_refused(q, "{'execute':'device_del','arguments':{'id':'nobody'}}", "not found");
    qmp_refused(q, "{'execute':'device_add','arguments':{'driver':'scsi-cd','bus':'s.0','scsi-id':0,'lun':300}}",
                "taken");
    qmp(q, "{'execute':'device_del','arguments':{'id':'u'}}");
    g_free(qtest_wait_event(q, "DEVICE_DELETED"));
    g_assert_cmphex(qscsi_wait_event(s, &reason, &id), ==, EVENT_RESET);
    g_assert_cmphex(reason, ==, REMOVED);
    qscsi_settle(s, 0, 0);
    g_assert_cmphex(qscsi_run(s, 0, 300, CDB(0), 0, NULL), ==, CHECK);
    g_assert_cmphex(SENSE(s), ==, 0x52500);
    qmp(q, "{'execute':'blockdev-del','arguments':{'node-name':'more'}}");
}

/* The driver had no buffer: it hears of that with the next. */
static void missed_events(Qtest *q)
{
    g_autofree Qscsi *s = start(q);
    uint32_t len;

    add_unit(q);
    qvirtio_wait(&s->v, QSCSI_EVENTS);
    qmp(q, "{'execute':'device_del','arguments':{'id':'u'}}");
    g_free(qtest_wait_event(q, "DEVICE_DELETED"));
    g_assert_false(qvirtio_poll(&s->v, QSCSI_EVENTS, &len));
    qscsi_give_event_buffer(s);
    g_assert_cmpuint(qvirtio_wait(&s->v, QSCSI_EVENTS), ==, 16);
    g_assert_cmphex(qtest_readl(q, QSCSI_MEMORY + 0x2010), ==, (uint32_t)MISSED);
}

/* With a command that waits for the VM: it ends first. */
static void unplug_what_waits(Qtest *q)
{
    g_autofree Qscsi *s = start(q);
    uint8_t data[512] = { 0 };

    qscsi_settle(s, 0, 0);
    qscsi_begin(s, 0, 0, CDB(0x2a, [5] = 9, [8] = 1), 512, data);
    g_free(qtest_wait_event(q, "STOP"));
    qmp(q, "{'execute':'device_del','arguments':{'id':'hd'}}");
    g_free(qtest_wait_event(q, "DEVICE_DELETED"));
    qmp(q, "{'execute':'cont'}");
    g_assert_cmphex(qscsi_end(s, 0, false), ==, 0x100 + QSCSI_ABORTED);
    g_assert_cmphex(qscsi_run(s, 0, 0, CDB(0), 0, NULL), ==, NO_TARGET);
}

static void resize(Qtest *q)
{
    g_autofree Qscsi *s = start(q);
    uint32_t reason;
    unsigned id;

    qscsi_settle(s, 0, 0);
    qmp(q, "{'execute':'block_resize','arguments':{'device':'d','size':2097152}}");
    g_assert_cmphex(qscsi_wait_event(s, &reason, &id), ==, EVENT_CHANGE);
    g_assert_cmphex(reason, ==, 0x092a);                       /* ASC, ASCQ */
    g_assert_cmphex(qscsi_run(s, 0, 0, CDB(0), 0, NULL), ==, CHECK);
    g_assert_cmphex(SENSE(s), ==, 0x62a09);
    g_assert_cmphex(qscsi_run(s, 0, 0, CDB(0x25), 8, NULL), ==, GOOD);
    g_assert_cmpuint(be32(s->data), ==, 4095);
}

/* ---- media ---- */

static void wait_tray(Qtest *q, bool open)
{
    g_autofree char *event = qtest_wait_event(q, "DEVICE_TRAY_MOVED");

    g_assert_nonnull(strstr(event, open ? "\"tray-open\": true" : "\"tray-open\": false"));
    g_assert_nonnull(strstr(event, "\"id\": \"cd\""));
}

static void media(Qtest *q)
{
    g_autofree Qscsi *s = start(q);
    g_autofree char *blockdev = g_strdup_printf(
        "{'execute':'blockdev-add','arguments':{'driver':'file','node-name':'more','filename':'%s',"
        "'read-only':true}}", other);

    qscsi_settle(s, 1, 0);
    g_assert_cmphex(qscsi_run(s, 1, 0, CDB(0x28, [5] = 1, [8] = 1), 2048, NULL), ==, GOOD);
    assert_sector(s->data, 4);
    qmp(q, "{'execute':'blockdev-open-tray','arguments':{'id':'cd'}}");
    wait_tray(q, true);
    g_assert_cmphex(qscsi_run(s, 1, 0, CDB(0), 0, NULL), ==, CHECK);
    g_assert_cmphex(SENSE(s), ==, 0x23a00);
    qmp(q, "{'execute':'blockdev-remove-medium','arguments':{'id':'cd'}}");
    qmp(q, blockdev);
    qmp(q, "{'execute':'blockdev-insert-medium','arguments':{'id':'cd','node-name':'more'}}");
    qmp(q, "{'execute':'blockdev-close-tray','arguments':{'id':'cd'}}");
    wait_tray(q, false);
    g_assert_cmphex(qscsi_run(s, 1, 0, CDB(0), 0, NULL), ==, CHECK);
    g_assert_cmphex(SENSE(s), ==, 0x62800);
    g_assert_cmphex(qscsi_run(s, 1, 0, CDB(0x25), 8, NULL), ==, GOOD);
    g_assert_cmpuint(be32(s->data), ==, 127);

    /* The guest's own tray; and while it keeps it locked, nobody else's. */
    g_assert_cmphex(qscsi_run(s, 1, 0, CDB(0x1e, [4] = 1), 0, NULL), ==, GOOD);
    qmp_refused(q, "{'execute':'eject','arguments':{'id':'cd'}}", "locked");
    g_assert_cmphex(qscsi_run(s, 1, 0, CDB(0x4a, 1, [4] = 0x10, [8] = 8), 8, NULL), ==, GOOD);
    g_assert_cmphex(s->data[4], ==, 1);                        /* the user wants it out */
    g_assert_cmphex(qscsi_run(s, 1, 0, CDB(0x1e), 0, NULL), ==, GOOD);
    g_assert_cmphex(qscsi_run(s, 1, 0, CDB(0x1b, [4] = 2), 0, NULL), ==, GOOD);
    wait_tray(q, true);
    qmp(q, "{'execute':'eject','arguments':{'id':'cd'}}");
    g_assert_cmphex(qscsi_run(s, 1, 0, CDB(0x1b, [4] = 3), 0, NULL), ==, GOOD);
    wait_tray(q, false);
    g_assert_cmphex(qscsi_run(s, 1, 0, CDB(0), 0, NULL), ==, CHECK);
    g_assert_cmphex(SENSE(s), ==, 0x23a00);
}

/* ---- errors that stop the VM ---- */

static void stop_and_go_on(Qtest *q)
{
    g_autofree Qscsi *s = start(q);
    uint8_t data[512];
    uint32_t len;

    qscsi_settle(s, 0, 0);
    memset(data, 0x5a, sizeof(data));
    qscsi_begin(s, 0, 0, CDB(0x2a, [5] = 9, [8] = 1), 512, data);
    g_free(qtest_wait_event(q, "BLOCK_IO_ERROR"));
    g_free(qtest_wait_event(q, "STOP"));
    g_assert_false(qvirtio_poll(&s->v, QSCSI_COMMANDS, &len));
    qmp(q, "{'execute':'cont'}");
    g_assert_cmphex(qscsi_end(s, 0, false), ==, GOOD);
    g_assert_cmphex(qscsi_run(s, 0, 0, CDB(0x28, [5] = 9, [8] = 1), 512, NULL), ==, GOOD);
    g_assert_cmpmem(s->data, 512, data, 512);
}

static void reset_what_waits(Qtest *q)
{
    g_autofree Qscsi *s = start(q);
    uint8_t data[512] = { 0 };

    qscsi_settle(s, 0, 0);
    qscsi_begin(s, 0, 0, CDB(0x2a, [5] = 9, [8] = 1), 512, data);
    g_free(qtest_wait_event(q, "STOP"));
    qvirtio_set_status(&s->v, 0);
    qmp(q, "{'execute':'cont'}");
    qscsi_start(s, q, FN);
    qscsi_settle(s, 0, 0);
    g_assert_cmphex(qscsi_run(s, 0, 0, CDB(0x28, [5] = 9, [8] = 1), 512, NULL), ==, GOOD);
    assert_sector(s->data, 9);
}

/* ---- bad drivers ---- */

static void short_command(Qtest *q)
{
    g_autofree Qscsi *s = start(q);
    const QvirtioBuf bufs[] = { { QSCSI_MEMORY, 50, false }, { QSCSI_DATA, 108, true } };

    qvirtio_add(&s->v, QSCSI_COMMANDS, bufs, 2);
    qvirtio_kick(&s->v, QSCSI_COMMANDS);
    g_assert_cmphex(qvirtio_status(&s->v) & 0x40, ==, 0x40);
    qscsi_start(s, q, FN);                                     /* a reset cures it */
    qscsi_settle(s, 0, 0);
    g_assert_cmphex(qscsi_run(s, 0, 0, CDB(0), 0, NULL), ==, GOOD);
}

static void short_control(Qtest *q)
{
    g_autofree Qscsi *s = start(q);
    const QvirtioBuf bufs[] = { { QSCSI_MEMORY, 3, false }, { QSCSI_DATA, 1, true } };

    qvirtio_add(&s->v, QSCSI_CONTROL, bufs, 2);
    qvirtio_kick(&s->v, QSCSI_CONTROL);
    g_assert_cmphex(qvirtio_status(&s->v) & 0x40, ==, 0x40);
}

static void data_both_ways(Qtest *q)
{
    g_autofree Qscsi *s = start(q);
    uint8_t head[51] = { 1, [19] = 0x28, [27] = 1 };
    const QvirtioBuf bufs[] = { { QSCSI_MEMORY, 51, false }, { QSCSI_DATA, 512, false },
                                { QSCSI_DATA + 0x1000, 108, true }, { QSCSI_DATA, 512, true } };

    qtest_memwrite(q, QSCSI_MEMORY, head, sizeof(head));
    qvirtio_add(&s->v, QSCSI_COMMANDS, bufs, 4);
    qvirtio_kick(&s->v, QSCSI_COMMANDS);
    qvirtio_wait(&s->v, QSCSI_COMMANDS);
    g_assert_cmphex(qtest_readb(q, QSCSI_DATA + 0x1000 + 11), ==, QSCSI_FAILURE);
}

static void big_sense(Qtest *q)
{
    g_autofree Qscsi *s = start(q);

    for (unsigned i = 0; i < 4; i++) {
        qvirtio_set_config(&s->v, 20 + i, 0xff);
    }
    g_assert_cmpuint(qvirtio_config(&s->v, 20, 4), <, 65536);
}

/* The same with the adapter on a thread of its own. */
static char *on_iothread(const char *args)
{
    g_auto(GStrv) parts = g_strsplit(args, "virtio-scsi-pci,", 2);
    g_autofree char *all = g_strdup_printf("-object iothread,id=io %svirtio-scsi-pci,iothread=io,%s",
                                           parts[0], parts[1]);
    g_auto(GStrv) files = g_strsplit(all, disk, 2);

    /* Some have written to theirs. */
    return files[1] ? g_strconcat(files[0], qtest_temp_disk(BLOCKS * 512), files[1], NULL)
                    : g_steal_pointer(&all);
}

int main(int argc, char **argv)
{
    g_autofree char *plain = NULL, *two = NULL, *broken = NULL, *punched = NULL;

    g_test_init(&argc, &argv, NULL);
    disk = qtest_temp_disk(BLOCKS * 512);
    cd = qtest_temp_disk(1 << 20);
    other = qtest_temp_disk(256 << 10);
#define HBA "-device virtio-scsi-pci,id=s,addr=4,num_queues=5 "
    plain = g_strdup_printf(HBA "-drive if=none,id=d,format=raw,file=%s,snapshot=on "
                            "-device scsi-hd,id=hd,drive=d,bus=s.0,scsi-id=0", disk);
    punched = g_strdup_printf(HBA "-drive if=none,id=d,format=raw,file=%s,discard=unmap "
                              "-device scsi-hd,id=hd,drive=d,bus=s.0,scsi-id=0", qtest_temp_disk(256 << 10));
    two = g_strdup_printf("%s -drive if=none,id=c,format=raw,media=cdrom,file=%s "
                          "-device scsi-cd,id=cd,drive=c,bus=s.0,scsi-id=1", plain, cd);
    broken = g_strdup_printf(HBA "-blockdev driver=blkdebug,node-name=b,image.driver=file,image.filename=%s,"
                             "inject-error.0.event=none,inject-error.0.iotype=write,inject-error.0.once=on "
                             "-device scsi-hd,id=hd,drive=b,bus=s.0,scsi-id=0,werror=stop,rerror=stop", disk);
    const QtestCase cases[] = {
        { "commands", .args = plain, .run = commands },
        { "unmap", .args = punched, .run = unmap },
        { "queues", .args = plain, .run = queues },
        { "task-management", .args = plain, .run = task_management },
        { "hotplug", .args = plain, .run = hotplug },
        { "missed-events", .args = plain, .run = missed_events },
        { "unplug-what-waits", .args = broken, .run = unplug_what_waits },
        { "resize", .args = plain, .run = resize },
        { "media", .args = two, .run = media },
        { "reset-what-waits", .args = broken, .run = reset_what_waits },
        { "stop-and-go-on", .args = broken, .run = stop_and_go_on },
        { "short-command", .args = plain, .run = short_command },
        { "short-control", .args = plain, .run = short_control },
        { "data-both-ways", .args = plain, .run = data_both_ways },
        { "big-sense", .args = plain, .run = big_sense },
    };
    QtestCase all[2 * G_N_ELEMENTS(cases)];

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        QtestCase *threaded = &all[G_N_ELEMENTS(cases) + i];

        all[i] = *threaded = cases[i];
        threaded->name = g_strconcat("iothread/", cases[i].name, NULL);
        threaded->args = on_iothread(cases[i].args);
    }
    return qtest_run("/virtio-scsi", all, G_N_ELEMENTS(all));
}
