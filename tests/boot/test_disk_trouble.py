#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Disks behind every controller: fio finds what it wrote, and a killed emulator loses nothing that was flushed.

verify: fio writes random blocks from several jobs and checks each by the checksum in it; on other forms of virtio and
        on a floppy disk too.
kill:   the emulator is killed while several writers fill an ext4 file system in a qcow2 image.  The image then
        checks clean, but for leaks; the guest mounts it again and finds each file that had been flushed before; and
        e2fsck has nothing to say.
"""
import os
import re
import subprocess
import sys
import tempfile

import initrd
from guest import QUIET, Guest, GuestError, Skip, need_program, run_tests
from test_disks import ACCEL, BUILD, MODULES, builtin_kernel, e2fsck, full_kernel, full_module, module_list, virtio_kernel
from test_microvm import MODULES as MMIO_MODULES, host_khz

FIO = '/usr/bin/fio'

BEGIN = '''b=/bin/busybox
for m in $(cat /modules); do $b insmod /lib/$m.ko || exit 4; done
i=0
while [ ! -b /dev/$DISK ] && [ $i -lt 600 ]; do $b sleep 1; i=$((i + 1)); done
'''
VERIFY = BEGIN + f'''{FIO} --name=v --filename=/dev/$DISK --direct=1 --ioengine=libaio --iodepth=16 --thread --rw=randwrite \\
    --bsrange=4k-128k --bs_unaligned=0 --numjobs=2 --size=$SIZE --offset_increment=$SIZE --verify=crc32c \\
    --verify_fatal=1 --verify_backlog=64 --minimal >out 2>&1 || {{ cat out; exit 1; }}
echo "trouble: verified $($b grep -c '^3;' out) jobs"
echo o >/proc/sysrq-trigger
while :; do $b sleep 100; done
'''
# A name is told when its file has been flushed; from then on it has to be there.
WRITE = BEGIN + '''$b mkdir m
$b mount -t ext4 /dev/$DISK /tmp/m || exit 1
if [ -n "$LOOK" ]; then
    for f in m/f*; do echo "trouble: found $f $($b md5sum <$f)"; done
    $b umount /tmp/m || exit 3
    echo "trouble: unmounted"
    echo o >/proc/sysrq-trigger
    while :; do $b sleep 100; done
fi
j=0
while [ $j -lt 3 ]; do
    ( i=0
      while $b dd if=/dev/urandom of=m/f$j.$i bs=64k count=$((i % 7 + 1)) 2>/dev/null; do
          sum=$($b md5sum <m/f$j.$i)
          $b sync m/f$j.$i && echo "trouble: kept m/f$j.$i $sum"
          i=$((i + 1))
      done ) &
    j=$((j + 1))
done
wait
'''

def mmio_kernel(name, script, more):
    try:
        files = initrd.kernel_modules(BUILD, MMIO_MODULES)
    except FileNotFoundError as error:
        raise Skip(error) from None
    return initrd.kernel(BUILD), initrd.make(BUILD, f'{name}-mmio', script, [*files, module_list(MMIO_MODULES), *more])


def floppy_kernel(name, script, more):
    return full_kernel(f'{name}-floppy', script, [full_module('floppy'), *more], (*MODULES, 'floppy'))


CONTROLLERS = {
    'ide': (full_kernel, 'sda', ['-device', 'ide-hd,drive=d,bus=ide.0']),
    'ahci': (full_kernel, 'sda', ['-device', 'ahci,id=a', '-device', 'ide-hd,drive=d,bus=a.0']),
    'nvme': (builtin_kernel, 'nvme0n1', ['-device', 'nvme,drive=d,serial=1']),
    'virtio_blk': (virtio_kernel, 'vda', ['-device', 'virtio-blk-pci,drive=d']),
    'virtio_blk_iothread': (virtio_kernel, 'vda', ['-object', 'iothread,id=io', '-device',
                                                   'virtio-blk-pci,drive=d,iothread=io']),
    'virtio_scsi': (full_kernel, 'sda', ['-device', 'virtio-scsi-pci,id=s', '-device', 'scsi-hd,drive=d,bus=s.0']),
    'lsi': (full_kernel, 'sda', ['-device', 'lsi53c895a,id=s', '-device', 'scsi-hd,drive=d,bus=s.0']),
}


# For verify alone: other forms of virtio, and the slowest of all disks.
FORMS = {
    'virtio_mmio': (mmio_kernel, 'vda', ['-M', 'microvm', '-no-user-config', '-device', 'virtio-blk-device,drive=d']),
    'virtio_mmio_packed': (mmio_kernel, 'vda', ['-M', 'microvm,rtc=off', '-no-user-config', '-global',
                                                'virtio-mmio.force-legacy=off', '-device',
                                                'virtio-blk-device,drive=d,packed=on']),
    'virtio_legacy': (virtio_kernel, 'vda', ['-device', 'virtio-blk-pci,drive=d,disable-modern=on,disable-legacy=off']),
    'virtio_transitional': (virtio_kernel, 'vda', ['-device', 'virtio-blk-pci-transitional,drive=d,num-queues=2']),
    'virtio_packed': (virtio_kernel, 'vda', ['-device', 'virtio-blk-pci,drive=d,packed=on,num-queues=2']),
    'virtio_packed_iothread': (virtio_kernel, 'vda', ['-object', 'iothread,id=io', '-device',
                                                      'virtio-blk-pci,drive=d,packed=on,iothread=io,queue-size=8']),
    'virtio_scsi_packed': (full_kernel, 'sda', ['-device', 'virtio-scsi-pci,id=s,packed=on', '-device',
                                                'scsi-hd,drive=d,bus=s.0']),
    'floppy': (floppy_kernel, 'fd0', ['-device', 'floppy,drive=d']),
}
FLOPPY_SIZE = 1440 << 10


def tool(name, *words):
    """Standard output of one of our tools; it must succeed."""
    result = subprocess.run([os.path.join(BUILD, 'bin', name), *words], capture_output=True, text=True, check=False)
    if result.returncode:
        raise GuestError(f'{name} {" ".join(words)}: status {result.returncode}: {result.stdout}{result.stderr}')
    return result.stdout


def start(kernel, disk, image, options, form, more=''):
    return Guest(*ACCEL, '-m', '512', '-smp', '2', '-nodefaults', '-kernel', kernel[0], '-initrd', kernel[1],
                 '-append', f'{QUIET} DISK={disk} {more}', '-drive', f'if=none,id=d,format={form},file={image}',
                 *options, timeout=900)


def wait(guest, pattern):
    """The match; or an error as soon as the guest's script has ended."""
    match = guest.wait_serial(rf'{pattern}|initrd: status \d')
    if match.group(0).startswith('initrd:'):
        raise GuestError(f'the guest gave up, {match.group(0)}: {guest.serial_log[-3000:]}')
    return match


def verify(name):
    kernel, disk, options = {**CONTROLLERS, **FORMS}[name]
    if not os.path.exists(FIO):
        raise Skip(f'{FIO} is missing (Debian package fio)')
    files = [(path[1:], path) for path in (FIO, *initrd.libraries(FIO))]
    size, part = (FLOPPY_SIZE, '512k') if kernel is floppy_kernel else (64 << 20, '24m')
    with tempfile.TemporaryDirectory(prefix='rhea-disks-') as folder:
        image = os.path.join(folder, 'disk')
        with open(image, 'wb') as f:
            f.truncate(size)
        more = f'SIZE={part}' + (f' tsc_early_khz={host_khz()}' if kernel is mmio_kernel else '')
        with start(kernel('fio', VERIFY, files), disk, image, options, 'raw', more) as guest:
            match = wait(guest, r'trouble: verified (\d+) jobs')
            if match.group(1) != '2':
                raise GuestError(f'{match.group(1)} of 2 jobs of fio ended: {guest.serial_log[-3000:]}')
            guest.wait_exit()


def kill(name):
    kernel, disk, options = CONTROLLERS[name]
    need_program('mkfs.ext4', 'e2fsprogs')
    pair = kernel('trouble', WRITE)
    with tempfile.TemporaryDirectory(prefix='rhea-disks-') as folder:
        raw, image = os.path.join(folder, 'raw'), os.path.join(folder, 'disk')
        subprocess.run(['mkfs.ext4', '-q', '-F', '-b', '4096', raw, '512M'], check=True, stdout=subprocess.DEVNULL)
        tool('rhea-img', 'convert', '-f', 'raw', '-O', 'qcow2', raw, image)
        with start(pair, disk, image, options, 'qcow2') as guest:
            for _ in range(12):
                wait(guest, r'trouble: kept \S+ \w{32}')
            guest.process.kill()
            guest.process.wait()
            kept = dict(re.findall(r'trouble: kept (\S+) (\w{32})', guest.serial_log))
        check(image)
        with start(pair, disk, image, options, 'qcow2', 'LOOK=1') as guest:
            wait(guest, r'trouble: unmounted')
            guest.wait_exit()
            found = dict(re.findall(r'trouble: found (\S+) (\w{32})', guest.serial_log))
        lost = [name for name, value in kept.items() if found.get(name) != value]
        if lost:
            raise GuestError(f'flushed, and not there: {lost}')
        check(image)
        tool('rhea-img', 'convert', '-f', 'qcow2', '-O', 'raw', image, raw)
        e2fsck(raw)


def check(image):
    """Leaked clusters (status 3) are no harm."""
    result = subprocess.run([os.path.join(BUILD, 'bin', 'rhea-img'), 'check', '-f', 'qcow2', image],
                            capture_output=True, text=True, check=False)
    if result.returncode not in (0, 3):
        raise GuestError(f'rhea-img check: status {result.returncode}: {result.stdout}{result.stderr}')


def case(function, name):
    def run():
        function(name)
    run.__name__ = f'{function.__name__}_{name}'
    run.__doc__ = f'{name}: {function.__name__}'
    return run


if __name__ == '__main__':
    sys.stdout.reconfigure(line_buffering=True)
    os.environ['PATH'] += ':/usr/sbin:/sbin'
    run_tests(case(kill, 'virtio_blk'), slow=[case(f, name) for f in (verify, kill) for name in CONTROLLERS
                                              if (f, name) != (kill, 'virtio_blk')]
              + [case(verify, name) for name in FORMS])
