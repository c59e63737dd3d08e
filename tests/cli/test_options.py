#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What options do, looked at from outside: CMOS, device tree, QMP answers, the process itself."""
import os
import re
import select
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'boot'))
from guest import Guest, GuestError, run_tests, system_program  # noqa: E402


def cmos(guest, *registers):
    """The bytes at these indices, by the monitor's port commands."""
    values = []
    for register in registers:
        guest.hmp(f'o /b 0x70 {register:#x}')
        values.append(int(re.search(r'= (0x\w+)', guest.hmp('i /b 0x71')).group(1), 16))
    return values


def expect(what, got, wanted):
    if got != wanted:
        raise GuestError(f'{what}: {got} instead of {wanted}')


def rtc():
    """-rtc base= sets the clock of the CMOS: century, year, month, day, hour."""
    for option, wanted in {'base=2006-06-17T16:01:21,clock=vm': [0x20, 0x06, 0x06, 0x17, 0x16],
                           'base=1999-12-31': [0x19, 0x99, 0x12, 0x31, 0x00]}.items():
        with Guest('-rtc', option, serial=False, paused=True) as guest:
            expect(option, cmos(guest, 0x32, 9, 8, 7, 4), wanted)
    for option in ('base=utc', 'base=localtime,driftfix=slew', 'clock=rt'):
        with Guest('-rtc', option, serial=False, paused=True) as guest:
            expect(option, cmos(guest, 0x32), [0x20])


# Options, and bytes 0x3d and 0x38 of the CMOS, before and after a reset; QEMU 7.2 agrees.
BOOT = [
    (['-boot', 'order=a'], [0x01, 0x00], [0x01, 0x00]),
    (['-boot', 'c'], [0x02, 0x00], [0x02, 0x00]),
    (['-boot', 'order=dcn'], [0x23, 0x40], [0x23, 0x40]),
    (['-boot', 'order=dc,once=a'], [0x01, 0x00], [0x23, 0x00]),
    (['-boot', 'once=d', '-boot', 'menu=on'], [0x03, 0x00], [0x12, 0x30]),
    ([], [0x12, 0x30], [0x12, 0x30]),
    (['-no-fd-bootchk'], [0x12, 0x31], [0x12, 0x31]),
]


def boot_order():
    """-boot order= and once= reach the CMOS; once is over with the first reset."""
    for options, first, then in BOOT:
        with Guest(*options, serial=False, paused=True) as guest:
            expect(f'{options}', cmos(guest, 0x3d, 0x38), first)
            guest.qmp('system_reset')
            guest.wait_event('RESET')
            expect(f'{options} after a reset', cmos(guest, 0x3d, 0x38), then)


def global_properties():
    """-global and -set give properties, in both forms; the device's own word wins."""
    for options in (['-vga', 'std', '-global', 'VGA.vgamem_mb=32'],
                    ['-vga', 'std', '-global', 'driver=VGA,property=vgamem_mb,value=32'],
                    ['-device', 'VGA,id=v', '-set', 'device.v.vgamem_mb=32'],
                    ['-device', 'VGA,vgamem_mb=32', '-global', 'VGA.vgamem_mb=64']):
        with Guest(*options, serial=False, paused=True) as guest:
            tree = guest.hmp('info qtree')
            if not re.search(r'vgamem_mb = 32\b', tree):
                raise GuestError(f'{options}: {tree}')


def config_file():
    """-readconfig: options by section, with and without an id."""
    with tempfile.NamedTemporaryFile('w', suffix='.cfg') as file:
        file.write('# a comment\n\n[machine]\n  type = "pc"\n[memory]\nsize = "96"\n'
                   '[name]\nguest = "a, b"\n[chardev "c"]\n  backend = "null"\n'
                   '[device "port"]\n  driver = "isa-serial"\n  chardev = "c"\n  index = "2"\n')
        file.flush()
        with Guest('-readconfig', file.name, serial=False, paused=True) as guest:
            expect('name', guest.qmp('query-name'), {'name': 'a, b'})
            expect('size', guest.qmp('query-memory-size-summary')['base-memory'], 96 << 20)
            if not re.search(r'dev: isa-serial, id "port"\s+index = 2 ', guest.hmp('info qtree')):
                raise GuestError(guest.hmp('info qtree'))


def names():
    """-name and -uuid are told by QMP."""
    uuid = '5a1c6a3e-0000-4000-8000-0123456789ab'
    with Guest('-name', 'guest=x,process=y', '-uuid', uuid, serial=False, paused=True) as guest:
        expect('name', guest.qmp('query-name'), {'name': 'x'})
        expect('uuid', guest.qmp('query-uuid'), {'UUID': uuid})
        with open(f'/proc/{guest.process.pid}/comm', encoding='utf-8') as comm:
            expect('process', comm.read().strip(), 'y')


def actions():
    """-action and its short forms: a reset ends the process, or a shutdown pauses the VM."""
    for options in (['-no-reboot'], ['-action', 'reboot=shutdown']):
        with Guest(*options, serial=False) as guest:
            guest.qmp('system_reset')
            expect(f'{options}', guest.wait_exit(), 0)


def daemon():
    """-daemonize comes back when QMP answers; the PID file names the daemon while it lives."""
    with tempfile.TemporaryDirectory() as folder:
        pidfile, path = f'{folder}/pid', f'{folder}/qmp'
        command = [system_program(), '-machine', 'none', '-display', 'none', '-daemonize',
                   '-pidfile', pidfile, '-qmp', f'unix:{path},server=on,wait=off']
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        expect('the first', (result.returncode, result.stdout), (0, ''))
        with open(pidfile, encoding='utf-8') as file:
            pid = int(file.read())
        try:
            again = subprocess.run(command[:-2], capture_output=True, text=True, timeout=60,
                                   check=False)
            expect('the second', again.returncode, 1)
            if f'process {pid} holds it' not in again.stderr:
                raise GuestError(again.stderr)
            expect('its folder', os.readlink(f'/proc/{pid}/cwd'), '/')
        finally:
            os.kill(pid, 15)
        end = time.monotonic() + 60
        while os.path.exists(pidfile):
            if time.monotonic() > end:
                raise GuestError('the PID file stays')
            select.select([], [], [], 0.05)


if __name__ == '__main__':
    run_tests(rtc, boot_order, global_properties, config_file, names, actions, daemon)
