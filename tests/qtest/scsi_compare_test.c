/* SPDX-License-Identifier: MIT */
/*
 * What SCSI disks and CD drives say of themselves, beside what the installed QEMU's say: the same driver
 * asks both, byte for byte.  Skips where there is no QEMU.
 */
#include "tests/qtest/libqscsi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* clang-format off */
typedef struct Question {
    const char *name;
    unsigned id, lun;
    uint8_t cdb[16];
} Question;

#define ALL_UNITS(name, ...) \
    { name, 0, 0, { __VA_ARGS__ } }, { name, 1, 0, { __VA_ARGS__ } }, { name, 2, 3, { __VA_ARGS__ } }
#define CD_DRIVE(name, ...) { name, 1, 0, { __VA_ARGS__ } }

static const Question questions[] = {
    ALL_UNITS("attention", 0x00),
    ALL_UNITS("test unit ready", 0x00),
    ALL_UNITS("inquiry", 0x12, 0, 0, 0, 255),
    ALL_UNITS("inquiry, 5 bytes", 0x12, 0, 0, 0, 5),
    ALL_UNITS("pages", 0x12, 1, 0, 0, 255),
    ALL_UNITS("serial number", 0x12, 1, 0x80, 0, 255),
    ALL_UNITS("identification", 0x12, 1, 0x83, 0, 255),
    ALL_UNITS("block limits", 0x12, 1, 0xb0, 0, 255),
    ALL_UNITS("characteristics", 0x12, 1, 0xb1, 0, 255),
    ALL_UNITS("provisioning", 0x12, 1, 0xb2, 0, 255),
    ALL_UNITS("no such page", 0x12, 1, 0xc0, 0, 255),
    ALL_UNITS("page without EVPD", 0x12, 0, 0x80, 0, 255),
    ALL_UNITS("capacity", 0x25),
    ALL_UNITS("capacity 16", 0x9e, 0x10, [13] = 32),
    ALL_UNITS("LUNs", 0xa0, [9] = 64),
    ALL_UNITS("sense", 0x03, 0, 0, 0, 18),
    ALL_UNITS("all mode pages", 0x1a, 0, 0x3f, 0, 255),
    ALL_UNITS("all mode pages 10", 0x5a, 0, 0x3f, [8] = 255),
    ALL_UNITS("mode pages without descriptor", 0x1a, 8, 0x3f, 0, 255),
    ALL_UNITS("changeable", 0x1a, 0, 0x7f, 0, 255),
    ALL_UNITS("defaults", 0x1a, 0, 0xbf, 0, 255),
    ALL_UNITS("saved", 0x1a, 0, 0xff, 0, 255),
    ALL_UNITS("caching", 0x1a, 0, 8, 0, 255),
    ALL_UNITS("error recovery", 0x1a, 0, 1, 0, 255),
    ALL_UNITS("CD capabilities", 0x1a, 0, 0x2a, 0, 255),
    ALL_UNITS("no such mode page", 0x1a, 0, 0x1d, 0, 255),
    ALL_UNITS("read", 0x28, [5] = 2, [8] = 2),
    ALL_UNITS("read 6", 0x08, 0, 0, 2, 2),
    ALL_UNITS("read 12", 0xa8, [5] = 2, [9] = 2),
    ALL_UNITS("read 16", 0x88, [9] = 2, [13] = 2),
    ALL_UNITS("read past the end", 0x28, [2] = 0xff, [8] = 1),
    ALL_UNITS("read of nothing", 0x28),
    ALL_UNITS("unknown command", 0xc1),
    ALL_UNITS("reserve", 0x16),
    ALL_UNITS("release", 0x17),
    ALL_UNITS("persistent reserve in", 0x5e, [8] = 64),
    ALL_UNITS("log sense", 0x4d, 0, 0x40, [8] = 64),
    ALL_UNITS("report opcodes", 0xa3, 0x0c, [9] = 255),
    ALL_UNITS("synchronize cache", 0x35),
    ALL_UNITS("verify", 0x2f, [5] = 1, [8] = 4),
    ALL_UNITS("seek", 0x2b, [5] = 4),
    CD_DRIVE("TOC", 0x43, [6] = 1, [8] = 64),
    CD_DRIVE("TOC in MSF", 0x43, 2, [6] = 1, [8] = 64),
    CD_DRIVE("sessions", 0x43, 0, 1, [8] = 64),
    CD_DRIVE("full TOC", 0x43, 0, 2, [8] = 64),
    CD_DRIVE("configuration", 0x46, [7] = 1),
    CD_DRIVE("event status", 0x4a, 1, [4] = 0x10, [8] = 8),
    CD_DRIVE("disc information", 0x51, [8] = 64),
    CD_DRIVE("track information", 0x52, 1, [5] = 1, [8] = 64),
    CD_DRIVE("mechanism status", 0xbd, [9] = 8),
    CD_DRIVE("DVD structure", 0xad, [7] = 0, [9] = 64),
    CD_DRIVE("DVD structures", 0xad, [7] = 0xff, [9] = 64),
    ALL_UNITS("start", 0x1b, [4] = 1),
    ALL_UNITS("stop", 0x1b, [4] = 0),
    ALL_UNITS("start again", 0x1b, [4] = 1),
    ALL_UNITS("prevent removal", 0x1e, [4] = 1),
    ALL_UNITS("eject what is locked", 0x1b, [4] = 2),
    ALL_UNITS("allow removal", 0x1e),
    ALL_UNITS("eject", 0x1b, [4] = 2),
    CD_DRIVE("event status after that", 0x4a, 1, [4] = 0x10, [8] = 8),
    ALL_UNITS("ready after that", 0x00),
    ALL_UNITS("load", 0x1b, [4] = 3),
    ALL_UNITS("ready again", 0x00),
    { "absent LUN: inquiry", 0, 5, { 0x12, 0, 0, 0, 96 } },
    { "absent LUN: pages", 0, 5, { 0x12, 1, 0, 0, 96 } },
    { "absent LUN: ready", 0, 5, { 0 } },
    { "absent LUN: sense", 0, 5, { 3, 0, 0, 0, 18 } },
    { "LUN 0 that is not there: LUNs", 2, 0, { 0xa0, [9] = 64 } },
    { "absent target", 9, 0, { 0x12, 0, 0, 0, 96 } },
};

/* Where QEMU 7.2 departs from the standards, or knows a command that we do not, or the reverse. */
static const struct { const char *name; unsigned id; const char *why; } known[] = {
    { "inquiry", 0, "QEMU's ADDITIONAL LENGTH depends on the allocation length [SPC-4 6.4.2]" },
    { "inquiry", 1, "the same" },
    { "inquiry", 2, "the same, and its short revision ends with zeroes" },
    { "inquiry, 5 bytes", 0, "the same" },
    { "inquiry, 5 bytes", 1, "the same" },
    { "inquiry, 5 bytes", 2, "the same" },
    { "characteristics", 1, "QEMU has pages for CD drives that its list does not have" },
    { "provisioning", 1, "the same" },
    { "capacity 16", 1, "in QEMU a CD drive can unmap" },
    { "LUNs", 2, "QEMU refuses it for a LUN other than 0, when there is no LUN 0" },
    { "sense", 2, "the answer to that" },
    { "all mode pages", 1, "QEMU claims audio, and speeds of writing" },
    { "all mode pages 10", 1, "the same" },
    { "mode pages without descriptor", 1, "the same" },
    { "changeable", 1, "the same" },
    { "defaults", 1, "the same" },
    { "CD capabilities", 1, "the same" },
    { "sessions", 1, "QEMU says nothing of the first track [MMC-6 6.25.3.3]" },
    { "full TOC", 1, "which is in MSF always [MMC-6 6.25.3.4]; not in QEMU" },
    { "configuration", 1, "versions of two features" },
    { "event status", 1, "the length counts what follows itself [MMC-6 6.6.2]" },
    { "event status after that", 1, "the same" },
    { "track information", 1, "QEMU has no such command" },
    { "DVD structures", 1, "there are none on a CD" },
    { "absent LUN: inquiry", 0, "QEMU says no version and no length" },
    { "absent LUN: pages", 0, "QEMU does not say that there is no unit" },
};
/* clang-format on */

typedef struct Reply {
    unsigned status;
    uint8_t key, asc, ascq, data[256];
} Reply;

static const char *disk, *cd, *big;

static void ask(Reply *replies)
{
    g_autoptr(Qtest) q = qtest_startf(
        "-machine pc -m 32 -nodefaults -device virtio-scsi-pci,id=s,addr=4 "
        "-drive if=none,id=d,format=raw,file=%s -drive if=none,id=c,format=raw,media=cdrom,file=%s "
        "-drive if=none,id=b,format=raw,file=%s,snapshot=on "
        "-device scsi-hd,drive=d,bus=s.0,scsi-id=0,serial=SN1,wwn=0x5000c50012345678,rotation_rate=7200 "
        "-device scsi-cd,drive=c,bus=s.0,scsi-id=1 "
        "-device scsi-hd,drive=b,bus=s.0,scsi-id=2,lun=3,removable=on,dpofua=on,vendor=ACME,product=Thing,ver=9,"
        "device_id=thing-1,port_wwn=0x5000c50012345679,port_index=2,logical_block_size=4096,"
        "physical_block_size=4096,min_io_size=8192,opt_io_size=65536,discard_granularity=8192,"
        "max_unmap_size=1048576,max_io_size=1048576,write-cache=off", disk, cd, big);
    g_autofree Qscsi *s = g_new(Qscsi, 1);

    qscsi_start(s, q, 0x20);
    for (unsigned i = 0; i < G_N_ELEMENTS(questions); i++) {
        const Question *u = &questions[i];
        uint8_t cdb[32] = { 0 };
        uint32_t room = 8192;

        memcpy(cdb, u->cdb, 16);
        memset(s->data, 0, room);
        replies[i].status = qscsi_run(s, u->id, u->lun, cdb, room, NULL);
        replies[i].key = s->key;
        replies[i].asc = s->asc;
        replies[i].ascq = s->ascq;
        memcpy(replies[i].data, s->data, sizeof(replies[i].data));
    }
}

static void print_reply(const char *who, const Reply *r)
{
    unsigned last = sizeof(r->data);

    while (last && !r->data[last - 1]) {
        last--;
    }
    printf("#  %s: status %x, sense %x/%02x/%02x:", who, r->status, r->key, r->asc,
           r->ascq);
    for (unsigned i = 0; i < last; i++) {
        printf("%s%02x", i % 16 ? " " : "\n#      ", r->data[i]);
    }
    printf("\n");
}

static const char *known_difference(const Question *u)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(known); i++) {
        if (known[i].id == u->id && g_str_equal(known[i].name, u->name)) {
            return known[i].why;
        }
    }
    return NULL;
}

static char *find_qemu(void)
{
    g_autofree char *path = g_find_program_in_path("qemu-system-x86_64"), *version = NULL;
    char *argv[] = { path, (char *)"--version", NULL };

    if (!path || !g_spawn_sync(NULL, argv, NULL, G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, &version, NULL, NULL,
                               NULL) ||
        !strstr(version, "version 7.2") || strstr(version, "rhea")) {
        return NULL;
    }
    return g_steal_pointer(&path);
}

static void compare(void)
{
    g_autofree char *qemu = find_qemu();
    g_autofree char *ours = g_strdup(getenv("QTEST_QEMU_BINARY"));
    g_autofree Reply *mine = g_new0(Reply, G_N_ELEMENTS(questions));
    g_autofree Reply *theirs = g_new0(Reply, G_N_ELEMENTS(questions));
    unsigned wrong = 0;

    if (!qemu) {
        g_test_skip("no qemu-system-x86_64 7.2 to compare with");
        return;
    }
    ask(mine);
    g_setenv("QTEST_ACCEL", "tcg -S", TRUE);      /* Debian's knows no other */
    g_setenv("QTEST_QEMU_BINARY", qemu, TRUE);
    ask(theirs);
    g_unsetenv("QTEST_ACCEL");
    g_setenv("QTEST_QEMU_BINARY", ours, TRUE);
    for (unsigned i = 0; i < G_N_ELEMENTS(questions); i++) {
        bool differs = memcmp(&mine[i], &theirs[i], sizeof(Reply)) != 0;
        const char *why = known_difference(&questions[i]);

        if (differs != (why != NULL)) {
            printf("# %s, id %u%s\n", questions[i].name, questions[i].id, why ? ": no longer differs" : "");
            print_reply("here", &mine[i]);
            print_reply("QEMU", &theirs[i]);
            wrong++;
        }
    }
    fflush(stdout);
    g_assert_cmpuint(wrong, ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    disk = qtest_temp_disk(4 << 20);
    cd = qtest_temp_disk(1 << 20);
    big = qtest_temp_disk(8 << 20);
    g_test_add_func("/scsi/compare", compare);
    return g_test_run();
}
