#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Run states as a guest of one boot sector sees them: stop and cont, power-off, the NMI button."""
import os
import struct
import tempfile
import time

from guest import Guest, GuestError, run_tests

ACCEL = ['-accel', os.environ.get('RHEA_ACCEL', 'tcg')]
TSC, NMIS = 0x7000, 0x7010

# cli; [TSC] = rdtsc, for ever
TICK = bytes.fromhex('fa 31c0 8ed8 0f31 66a30070 6689160470 ebf3')
# out 604h, 2000h (ACPI: S5); hlt
OFF = bytes.fromhex('fa ba0406 b80020 ef f4 ebfd')
# out 604h, 2400h (S3); hlt
SLEEP = bytes.fromhex('fa ba0406 b80024 ef f4 ebfd')
# ds = 0; [8] = 0000:handler; hlt for ever; handler: inc word [NMIS]; iret
NMI = bytes.fromhex('fa 31c0 8ed8 c7060800247c c7060a000000 c70610700100 f4 ebfd')
NMI_HANDLER = bytes.fromhex('ff061070 cf')


def sector(code, handler=b''):
    code = code.ljust(0x24, b'\x90') + handler
    return code.ljust(510, b'\0') + b'\x55\xaa'


class Floppy(Guest):
    """A guest of one boot sector."""

    def __init__(self, image, *options):
        self.image = tempfile.NamedTemporaryFile(suffix='.img')
        self.image.write(image.ljust(1474560, b'\0'))
        self.image.flush()
        super().__init__(*ACCEL, '-m', '16', '-boot', 'a', '-drive',
                         f'file={self.image.name},format=raw,if=floppy', *options)

    def number(self, address, size=8):
        return int.from_bytes(self.read_memory(address, size), 'little')

    def wait_number(self, address, wanted):
        end = time.monotonic() + self.timeout
        while not wanted(self.number(address)):
            if time.monotonic() > end:
                raise GuestError(f'0x{address:x} stays {self.number(address):#x}')
        return self.number(address)


def guest_moved(guest, last):
    """How far the TSC is from LAST when the guest goes on."""
    guest.qmp('cont')
    after = guest.wait_number(TSC, lambda v: v != last)
    if after < last:
        raise GuestError(f'the TSC went back from {last} to {after}')
    return after - last


def tsc_stands_still_with_the_vm():
    """A guest that is stopped for a while finds its TSC where it was."""
    with Floppy(sector(TICK)) as guest:
        first, start = guest.wait_number(TSC, bool), time.monotonic()
        guest.wait_number(TSC, lambda v: v > first + 500_000_000)
        rate = (guest.number(TSC) - first) / (time.monotonic() - start)
        # What it counted between its last look and the stop is little beside a long pause, and
        # beside a longer one if the host is busy.
        for seconds in (1, 2, 4, 8):
            guest.qmp('stop')
            last, pause = guest.number(TSC), time.monotonic()
            while time.monotonic() - pause < seconds:
                if guest.number(TSC) != last:
                    raise GuestError('it runs on')
            moved = guest_moved(guest, last)
            if moved < rate * seconds / 4:
                return
        raise GuestError(f'it moved by {moved} over a pause of {seconds} s at {rate:.0f} a second')


def poweroff_ends_without_stop():
    """SHUTDOWN says it all: no STOP event follows when the process ends."""
    with Floppy(sector(OFF)) as guest:
        event = guest.wait_event('SHUTDOWN')
        if event['data'] != {'guest': True, 'reason': 'guest-shutdown'}:
            raise GuestError(f'SHUTDOWN with {event["data"]}')
        try:
            guest.wait_event('STOP', 20)
        except (GuestError, OSError):
            pass
        else:
            raise GuestError('a STOP event came')
        if guest.wait_exit() != 0:
            raise GuestError('the exit status is not 0')


def no_shutdown_stops():
    """With -no-shutdown the VM stops after SHUTDOWN, and says so."""
    with Floppy(sector(OFF), '-no-shutdown') as guest:
        guest.wait_event('SHUTDOWN')
        guest.wait_event('STOP')
        status = guest.qmp('query-status')
        if status['status'] != 'shutdown' or status['running']:
            raise GuestError(f'{status}')


def nmi_button():
    """inject-nmi reaches a halted guest with interrupts off; HMP's nmi, too."""
    with Floppy(sector(NMI, NMI_HANDLER)) as guest:
        guest.wait_number(NMIS, lambda v: v & 0xffff == 1)
        guest.qmp('inject-nmi')
        guest.wait_number(NMIS, lambda v: v & 0xffff == 2)
        guest.hmp('nmi')
        guest.wait_number(NMIS, lambda v: v & 0xffff == 3)


def reset_wakes_the_sleeping():
    """A guest in S3 that is reset waits in "prelaunch" for cont, and sleeps again; SUSPEND comes
    without STOP."""
    with Floppy(sector(SLEEP)) as guest:
        for _ in range(2):
            guest.wait_event('SUSPEND')
            if guest.qmp('query-status')['status'] != 'suspended':
                raise GuestError(f'{guest.qmp("query-status")}')
            guest.qmp('system_reset')
            guest.wait_event('RESET')
            if guest.qmp('query-status')['status'] != 'prelaunch':
                raise GuestError(f'{guest.qmp("query-status")}')
            if any(event['event'] == 'STOP' for event in guest.events):
                raise GuestError(f'{guest.events}')
            guest.qmp('cont')


def splash_picture():
    """-boot splash= shows a picture while SeaBIOS waits for F12."""
    row, lines = bytes((0, 0, 255)) * 640, 480            # blue, green, red
    head = (b'BM' + struct.pack('<IHHI', 54 + len(row) * lines, 0, 0, 54) +
            struct.pack('<IiiHHIIiiII', 40, 640, lines, 1, 24, 0, len(row) * lines, 0, 0, 0, 0))
    with tempfile.NamedTemporaryFile(suffix='.bmp') as picture:
        picture.write(head + row * lines)
        picture.flush()
        with Guest(*ACCEL, '-m', '16', '-boot',
                   f'menu=on,splash={picture.name},splash-time=65535', serial=False) as guest:
            guest.wait_display(640, 480, 120)
            guest.wait_until(lambda: guest.screendump()[2] == b'\xff\0\0' * (640 * 480),
                             'picture all red', 120)


if __name__ == '__main__':
    run_tests(tsc_stands_still_with_the_vm, poweroff_ends_without_stop, no_shutdown_stops, nmi_button,
              reset_wakes_the_sleeping, splash_picture)
