#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Linux on the microvm machine, from a disk on virtio-mmio.

Debian's kernel finds the disk by ACPI.  Hardware-reduced ACPI tells of no timer that the kernel could measure the
time stamp counter with, so its rate is given on the command line; a kernel under KVM has it from there.
"""
import hashlib
import os
import random
import sys
import tempfile

import initrd
from guest import QUIET, ROOT, Guest, GuestError, Skip, need_file, run_tests

BUILD = os.environ.get('RHEA_BUILD', os.path.join(ROOT, 'build'))
ACCEL = ['-accel', os.environ.get('RHEA_ACCEL', 'tcg')]
MODULES = ('virtio_ring', 'virtio', 'virtio_mmio', 'virtio_blk')
MIB = 1 << 20
QBOOT = '/usr/share/qemu/qboot.rom'

SCRIPT = '''b=/bin/busybox
for m in virtio_ring virtio virtio_mmio virtio_blk; do $b insmod /lib/$m.ko || exit 4; done
echo "microvm: line $($b cat /proc/cmdline)"
if [ -n "$DISK" ]; then
    i=0
    while [ ! -b /dev/vda ] && [ $i -lt 600 ]; do $b sleep 1; i=$((i + 1)); done
    echo "microvm: disk $($b md5sum </dev/vda)"
    $b dd if=/dev/urandom of=/dev/vda bs=64k count=8 seek=16 conv=fsync 2>/dev/null || exit 1
    echo 3 >/proc/sys/vm/drop_caches
    echo "microvm: then $($b md5sum </dev/vda)"
    echo "microvm: $($b grep -c virtio0 /proc/interrupts) interrupt"
fi
read key
echo $key >/proc/sysrq-trigger
while :; do $b sleep 100; done
'''


def guest_kernel():
    try:
        files = initrd.kernel_modules(BUILD, MODULES)
    except FileNotFoundError as error:
        raise Skip(error) from None
    return initrd.kernel(BUILD), initrd.make(BUILD, 'microvm', SCRIPT, files)


def host_khz():
    """The counter's rate, as guests under TCG see it; they bear a wrong one."""
    with open('/proc/cpuinfo', encoding='ascii') as f:
        for line in f:
            if line.startswith('cpu MHz'):
                return int(float(line.split(':')[1]) * 1000)
    return 2000000


def start(machine, append, *options):
    kernel, initramfs = guest_kernel()
    return Guest(*ACCEL, '-M', machine, '-m', '256', '-nodefaults', '-no-user-config', '-kernel', kernel, '-initrd', initramfs,
                 '-append', f'{QUIET} tsc_early_khz={host_khz()} {append}', *options, timeout=300)


def wait(guest, pattern):
    """The match; or an error as soon as the guest's script has ended."""
    match = guest.wait_serial(rf'microvm: {pattern}|initrd: status \d')
    if match.group(0).startswith('initrd:'):
        raise GuestError(f'the guest gave up, {match.group(0)}: {guest.serial_log[-3000:]}')
    return match


def disk(machine, *options):
    """Reads, writes, reboots, reads what was written, and powers off."""
    data = random.Random(1).randbytes(4 * MIB)
    with tempfile.NamedTemporaryFile(prefix='rhea-microvm-') as image:
        image.write(data)
        image.flush()
        with start(machine, 'DISK=1', '-drive', f'if=none,id=d,format=raw,file={image.name}',
                   '-device', 'virtio-blk-device,drive=d', *options) as guest:
            wait(guest, f'disk {hashlib.md5(data).hexdigest()}')
            written = wait(guest, r'then (\w{32})').group(1)
            wait(guest, r'[1-9]\d* interrupt')
            guest.send_serial('b\n')
            guest.wait_event('RESET')
            wait(guest, f'disk {written}')
            wait(guest, r'[1-9]\d* interrupt')
            guest.send_serial('o\n')
            guest.wait_exit()


def acpi():
    """SeaBIOS, ACPI, the registers of version 1."""
    disk('microvm')


def version_2():
    """The registers of version 2, packed rings, no clock chip."""
    disk('microvm,rtc=off', '-global', 'virtio-mmio.force-legacy=off', '-global', 'virtio-blk-device.packed=on')


def qboot():
    """A firmware that loads the kernel by itself."""
    need_file(QBOOT, 'qemu-system-data')
    disk('microvm,x-option-roms=off', '-bios', QBOOT)


def command_line():
    """Without ACPI the kernel is told where the seats are that are taken, if that is wanted."""
    with tempfile.NamedTemporaryFile(prefix='rhea-microvm-') as image:
        image.truncate(MIB)
        for option, wanted in ('on', ' virtio_mmio.device=512@0xfeb00e00:12'), ('off', ''):
            with start(f'microvm,acpi=off,auto-kernel-cmdline={option}', 'LAST', '-drive',
                       f'if=none,id=d,format=raw,file={image.name}', '-device', 'virtio-blk-device,drive=d') as guest:
                line = wait(guest, r'line [^\r\n]*LAST([^\r\n]*)').group(1)
                if line != wanted:
                    raise GuestError(f'the kernel was given {line!r}, not {wanted!r}')


if __name__ == '__main__':
    sys.stdout.reconfigure(line_buffering=True)
    run_tests(acpi, slow=[version_2, qboot, command_line])
