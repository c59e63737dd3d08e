/* SPDX-License-Identifier: MIT */
/*
 * The command set of the 82078.
 * Spec: 82078 data sheet (290468-002) 5; names are the sheet's.
 * Locking: machine lock.
 */
#include "hw/block/fdc_int.h"

#include "vm/vm.h"

static void select_drive(Fdc *s)
{
    s->dor = (s->dor & ~DOR_SEL) | (s->cmd[1] & DOR_SEL);
}

static void start_transfer(Fdc *s, int direction)
{
    FloppyDrive *d;
    uint64_t offset;

    select_drive(s);
    d = fdc_current(s);
    s->tc = s->cylinder_over = false;
    s->eot = s->cmd[6];
    s->data_dir = direction;
    s->data_state = s->cmd[0] & CMD_MT ? STATE_MULTI : 0;
    s->step = s->cmd[8] == 2 ? 2 : 1;
    /* C, H, R: an implied seek with EIS, else the head must be there already. */
    if ((s->config & CONFIG_EIS) && s->cmd[2] < d->max_track) {
        d->track = s->cmd[2];
    }
    d->head = s->cmd[3] & 1;
    d->sect = s->cmd[4];
    if (!d->blk || d->last_sect == 0 || fdc_current_unit(s) >= FLOPPY_UNITS ||
        (s->dsr & DSR_RATE) != d->media_rate) {
        fdc_stop_transfer(s, ST0_ABNORMAL, ST1_MA, 0);
    } else if (s->cmd[2] != d->track || s->cmd[5] != 2 ||
               !floppy_offset(d, s->cmd[2], d->head, d->sect, &offset)) {
        fdc_stop_transfer(s, ST0_ABNORMAL, ST1_ND, 0);
    } else if (direction == DIR_WRITE && d->read_only) {
        fdc_stop_transfer(s, ST0_ABNORMAL, ST1_NW, 0);
    } else {
        s->phase = PHASE_EXECUTION;
        s->msr |= MSR_CMD_BUSY;
        fdc_next_step(s);
    }
}

static void cmd_read(Fdc *s)
{
    start_transfer(s, DIR_READ);
}

static void cmd_write(Fdc *s)
{
    start_transfer(s, DIR_WRITE);
}

static void cmd_scan_equal(Fdc *s)
{
    start_transfer(s, DIR_SCANE);
}

static void cmd_scan_low(Fdc *s)
{
    start_transfer(s, DIR_SCANL);
}

static void cmd_scan_high(Fdc *s)
{
    start_transfer(s, DIR_SCANH);
}

/* READ TRACK starts with the first sector whatever R says. */
static void cmd_read_track(Fdc *s)
{
    s->cmd[4] = 1;
    start_transfer(s, DIR_READ);
}

/* Reads as READ does, but nothing goes to the host. */
static void cmd_verify(Fdc *s)
{
    s->counts = s->cmd[1] & 0x80;
    s->sectors_left = s->cmd[8] ?: 256;
    start_transfer(s, DIR_VERIFY);
}

void fdc_result_timer(void *opaque)
{
    Fdc *s = opaque;
    FloppyDrive *d = fdc_current(s);

    if (d->last_sect) {
        d->sect = d->sect % d->last_sect + 1;     /* the disk turns */
    }
    if (!d->blk || d->last_sect == 0 || (s->dsr & DSR_RATE) != d->media_rate) {
        fdc_stop_transfer(s, ST0_ABNORMAL, ST1_MA, 0);
    } else {
        fdc_stop_transfer(s, 0, 0, 0);
    }
    device_sync(&s->isa.dev);
}

static void cmd_read_id(Fdc *s)
{
    select_drive(s);
    fdc_current(s)->head = (s->cmd[1] >> 2) & 1;
    s->phase = PHASE_EXECUTION;
    s->msr = (s->msr & ~MSR_RQM) | MSR_CMD_BUSY;
    timer_set(&s->result_timer, clock_now(s->isa.dev.vm->clock) + NANOSECONDS_PER_SECOND / 50);
}

/* The host sends C, H, R, N of each sector; the sector R then gets the fill byte. */
static void cmd_format(Fdc *s)
{
    FloppyDrive *d;

    select_drive(s);
    d = fdc_current(s);
    d->head = (s->cmd[1] >> 2) & 1;
    d->sect = 1;
    s->tc = s->cylinder_over = false;
    s->eot = s->cmd[3];           /* sectors left */
    s->fill = s->cmd[5];
    if (!d->blk || d->last_sect == 0 || (s->dsr & DSR_RATE) != d->media_rate) {
        fdc_stop_transfer(s, ST0_ABNORMAL, ST1_MA, 0);
    } else if (d->read_only) {
        fdc_stop_transfer(s, ST0_ABNORMAL, ST1_NW, 0);
    } else if (s->cmd[2] != 2 || s->eot == 0 || s->eot > d->last_sect) {
        fdc_stop_transfer(s, ST0_ABNORMAL, ST1_ND, 0);
    } else {
        s->data_dir = DIR_WRITE;
        s->data_state = STATE_FORMAT;
        s->phase = PHASE_EXECUTION;
        s->msr |= MSR_CMD_BUSY;
        fdc_next_step(s);
    }
}

static void seek_done(Fdc *s, FloppyDrive *d, uint8_t track)
{
    d->track = track;
    if (d->blk && blk_has_medium(d->blk)) {
        d->media_changed = 0;     /* a step pulse clears DSKCHG once a disk is in */
    }
    fdc_to_command_phase(s);
    fdc_raise_irq(s);
    s->status0 = ST0_SEEK | fdc_current_unit(s) | (d->head ? ST0_HEAD : 0);
}

static void cmd_recalibrate(Fdc *s)
{
    select_drive(s);
    seek_done(s, fdc_current(s), 0);
}

static void cmd_seek(Fdc *s)
{
    select_drive(s);
    fdc_current(s)->head = (s->cmd[1] >> 2) & 1;
    seek_done(s, fdc_current(s), s->cmd[2]);
}

static void cmd_relative_seek(Fdc *s)
{
    FloppyDrive *d;
    int track;

    select_drive(s);
    d = fdc_current(s);
    track = s->cmd[0] & 0x40 ? d->track + s->cmd[2] : d->track - s->cmd[2];
    seek_done(s, d, CLAMP(track, 0, d->max_track ? d->max_track - 1 : 79));
}

static void cmd_sense_interrupt(Fdc *s)
{
    uint8_t result[2];

    if (s->reset_sensei > 0) {
        result[0] = ST0_READY_CHANGED | (4 - s->reset_sensei);
        s->reset_sensei--;
    } else if (!(s->sra & SRA_INT)) {
        fdc_to_result_phase(s, (uint8_t[]){ ST0_INVALID }, 1);
        return;
    } else {
        result[0] = s->status0;
    }
    result[1] = fdc_current(s)->track;
    s->sra &= ~SRA_INT;
    s->status0 = ST0_READY_CHANGED;
    fdc_to_result_phase(s, result, 2);
}

static void cmd_sense_drive(Fdc *s)
{
    FloppyDrive *d;
    uint8_t st3;

    select_drive(s);
    d = fdc_current(s);
    d->head = (s->cmd[1] >> 2) & 1;
    st3 = ST3_ALWAYS | fdc_current_unit(s) | (d->head ? ST3_HEAD : 0) | (d->track ? 0 : ST3_TRK0) |
          (d->read_only ? ST3_WP : 0);
    fdc_to_result_phase(s, &st3, 1);
}

static void cmd_specify(Fdc *s)
{
    s->timer0 = s->cmd[1] >> 4;
    s->timer1 = s->cmd[2];
    fdc_to_command_phase(s);
}

static void cmd_configure(Fdc *s)
{
    s->config = s->cmd[2];
    s->precomp_trk = s->cmd[3];
    fdc_to_command_phase(s);
}

static void cmd_perpendicular(Fdc *s)
{
    if (s->cmd[1] & 0x80) {
        for (unsigned n = 0; n < FLOPPY_UNITS; n++) {
            s->fdbus.drives[n].perpendicular = (s->cmd[1] >> (2 + n)) & 1;
        }
    }
    fdc_to_command_phase(s);
}

static void cmd_version(Fdc *s)
{
    fdc_to_result_phase(s, (uint8_t[]){ 0x90 }, 1);
}

static void cmd_part_id(Fdc *s)
{
    fdc_to_result_phase(s, (uint8_t[]){ 0x41 }, 1);
}

static void cmd_lock(Fdc *s)
{
    uint8_t result;

    s->lock = s->cmd[0] >> 7;
    result = s->lock << 4;
    fdc_to_result_phase(s, &result, 1);
}

static uint8_t perpendicular_bits(const Fdc *s)
{
    return s->fdbus.drives[0].perpendicular << 2 | s->fdbus.drives[1].perpendicular << 3;
}

static void cmd_dumpreg(Fdc *s)
{
    uint8_t result[10] = { s->fdbus.drives[0].track, s->fdbus.drives[1].track, 0, 0, s->timer0,
                           s->timer1, fdc_current(s)->last_sect, s->lock << 7 | perpendicular_bits(s),
                           s->config, s->precomp_trk };

    fdc_to_result_phase(s, result, sizeof(result));
}

static void cmd_powerdown(Fdc *s)
{
    uint8_t result;

    s->pwrd = s->cmd[1];
    result = s->pwrd;
    fdc_to_result_phase(s, &result, 1);
}

/* ISO mode changes the format of a track, which an image does not show; SAVE tells it. */
static void cmd_option(Fdc *s)
{
    s->option = s->cmd[1] & OPTION_ISO;
    fdc_to_command_phase(s);
}

/* Bytes 2 to 5 are the drives' cylinders, 8 the EOT or SC; 13 to 15 say nothing here. */
static void cmd_save(Fdc *s)
{
    uint8_t result[SAVE_LEN] = { s->dsr & ~DSR_SWRESET, s->option, s->fdbus.drives[0].track,
                                 s->fdbus.drives[1].track, 0, 0, s->timer0 << 4, s->timer1, s->eot,
                                 s->lock << 7 | perpendicular_bits(s), s->config, s->precomp_trk,
                                 s->pwrd };

    fdc_to_result_phase(s, result, sizeof(result));
}

/* Takes what SAVE told, byte for byte.  The heads themselves do not move. */
static void cmd_restore(Fdc *s)
{
    const uint8_t *saved = s->cmd + 1;

    s->dsr = saved[0] & ~DSR_SWRESET;
    s->option = saved[1] & OPTION_ISO;
    for (unsigned n = 0; n < FLOPPY_UNITS; n++) {
        s->fdbus.drives[n].track = saved[2 + n];
        s->fdbus.drives[n].perpendicular = (saved[9] >> (2 + n)) & 1;
    }
    s->timer0 = saved[6] >> 4;
    s->timer1 = saved[7];
    s->eot = saved[8];
    s->lock = saved[9] >> 7;
    s->config = saved[10];
    s->precomp_trk = saved[11];
    s->pwrd = saved[12];
    fdc_to_command_phase(s);
}

static void cmd_drive_specification(Fdc *s)
{
    fdc_to_command_phase(s);
}

static void cmd_invalid(Fdc *s)
{
    fdc_to_result_phase(s, (uint8_t[]){ ST0_INVALID }, 1);
}

/* Table 5-1 of the sheet.  The first row whose bits match wins; LEN counts the command byte. */
static const FdcCommand commands[] = {
    { 0x06, 0x1f, 9, cmd_read },            { 0x0c, 0x1f, 9, cmd_read },
    { 0x05, 0x3f, 9, cmd_write },           { 0x09, 0x3f, 9, cmd_write },
    { 0x02, 0xbf, 9, cmd_read_track },      { 0x16, 0x1f, 9, cmd_verify },
    { 0x11, 0x1f, 9, cmd_scan_equal },      { 0x19, 0x1f, 9, cmd_scan_low },
    { 0x1d, 0x1f, 9, cmd_scan_high },       { 0x0a, 0xbf, 2, cmd_read_id },
    { 0x0d, 0xbf, 6, cmd_format },          { 0x07, 0xff, 2, cmd_recalibrate },
    { 0x0f, 0xff, 3, cmd_seek },            { 0x8f, 0xbf, 3, cmd_relative_seek },
    { 0x08, 0xff, 1, cmd_sense_interrupt }, { 0x04, 0xff, 2, cmd_sense_drive },
    { 0x03, 0xff, 3, cmd_specify },         { 0x13, 0xff, 4, cmd_configure },
    { 0x12, 0xff, 2, cmd_perpendicular },   { 0x10, 0xff, 1, cmd_version },
    { 0x18, 0xff, 1, cmd_part_id },         { 0x14, 0x7f, 1, cmd_lock },
    { 0x0e, 0xff, 1, cmd_dumpreg },         { 0x17, 0xff, 2, cmd_powerdown },
    { 0x8e, 0xff, 6, cmd_drive_specification }, { 0x33, 0xff, 2, cmd_option },
    { 0x2e, 0xff, 1, cmd_save },            { 0x4e, 0xff, 1 + SAVE_LEN, cmd_restore },
    { 0x00, 0x00, 1, cmd_invalid },
};

const FdcCommand *fdc_find_command(uint8_t byte)
{
    unsigned i = 0;

    while ((byte & commands[i].mask) != commands[i].value) {
        i++;                      /* the last row takes everything */
    }
    return &commands[i];
}
