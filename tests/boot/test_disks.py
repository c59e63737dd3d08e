#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Linux on disks that are not IDE: several writers on an ext4 file system, checked inside and afterwards.

The guest mounts the image, writes files of pseudo-random data from several processes, reads them back past its
cache, and powers off; the host's e2fsck then finds the image clean.
"""
import glob
import hashlib
import os
import random
import subprocess
import sys
import tempfile

import fetch_guests
import initrd
from guest import QUIET, ROOT, Guest, GuestError, Skip, need_program, run_tests

BUILD = os.environ.get('RHEA_BUILD', os.path.join(ROOT, 'build'))
ACCEL = ['-accel', os.environ.get('RHEA_ACCEL', 'tcg')]
MODULES = [os.path.basename(name) for name in fetch_guests.MODULES]

SCRIPT = '''b=/bin/busybox
for m in $(cat /modules); do $b insmod /lib/$m.ko || exit 4; done
i=0
while [ ! -b /dev/$DISK ] && [ $i -lt 600 ]; do $b sleep 1; i=$((i + 1)); done
$b mkdir m
$b mount -t ext4 /dev/$DISK /tmp/m || exit 1
j=0
while [ $j -lt $JOBS ]; do
    ( i=0
      while [ $i -lt $FILES ]; do
          $b dd if=/dev/urandom of=m/f$j.$i bs=64k count=$BLOCKS 2>/dev/null || exit 1
          $b sync m/f$j.$i
          i=$((i + 1))
      done ) &
    j=$((j + 1))
done
wait
( cd m; $b md5sum f* ) >sums
$b sync
echo 3 >/proc/sys/vm/drop_caches
( cd m; $b md5sum -c -s /tmp/sums ) || exit 2
echo "disks: $($b wc -l <sums) files are right"
$b cp sums m/
$b rm m/f0.*
if [ -n "$CDROM" ]; then echo "disks: cdrom $($b md5sum </dev/$CDROM)"; fi
$b umount /tmp/m || exit 3
echo "disks: unmounted"
echo o >/proc/sysrq-trigger
while :; do $b sleep 100; done
'''


# Says what becomes of the disks.
WATCH = '''b=/bin/busybox
for m in $(cat /modules); do $b insmod /lib/$m.ko || exit 4; done
$b mount -t sysfs sys /sys
while [ ! -b /dev/sda ]; do $b sleep 1; done
echo "disks: ready $(cat /sys/block/sda/size)"
while [ ! -b /dev/sdb ]; do $b sleep 1; done
echo "disks: sdb $(cat /sys/block/sdb/size)"
$b md5sum </dev/sdb
while [ $(cat /sys/block/sda/size) = 32768 ]; do $b sleep 1; done
echo "disks: sda $(cat /sys/block/sda/size)"
while [ -b /dev/sdb ]; do $b sleep 1; done
echo "disks: gone"
echo o >/proc/sysrq-trigger
while :; do $b sleep 100; done
'''


def full_module(name):
    """A module of Debian's full kernel, as a file of an initrd."""
    found = glob.glob(os.path.join(BUILD, 'guests', 'linux-amd64', 'lib/modules/**', name + '.ko'), recursive=True)
    if not found:
        raise Skip(f'no module {name}: run tests/boot/fetch_guests.py linux-amd64')
    return f'lib/{name}.ko', found[0]


def full_kernel(name='disks', script=SCRIPT, more=(), modules=tuple(MODULES)):
    """Debian's full kernel, and an initrd with the modules that IDE, AHCI and SCSI take.

    NAME and SCRIPT of the initrd, and MORE files, are the caller's, here and below; its script finds
    the names of MODULES in /modules, and of those that are not of the standard ones MORE has the files."""
    folder = os.path.join(BUILD, 'guests', 'linux-amd64')
    kernels = glob.glob(os.path.join(folder, 'boot/vmlinuz-*'))
    if not kernels:
        raise Skip('no kernel: run tests/boot/fetch_guests.py linux-amd64')
    files = [full_module(module) for module in MODULES]
    return max(kernels), initrd.make(BUILD, f'{name}-full', script, [*files, module_list(modules), *more])


def module_list(names=tuple(MODULES)):
    path = os.path.join(BUILD, 'guest', f'modules-{len(names)}-{names[0] if names else "none"}')
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'w', encoding='utf-8') as out:
        out.write('\n'.join(names) + '\n')
    return 'modules', path


def builtin_kernel(name='disks', script=SCRIPT, more=()):
    """The default guest's kernel has NVMe and ext4 built in."""
    return initrd.kernel(BUILD), initrd.make(BUILD, name, script, [module_list(()), *more])


def virtio_kernel(name='disks', script=SCRIPT, more=()):
    """The same kernel with its modules for virtio."""
    try:
        files = initrd.kernel_modules(BUILD, initrd.VIRTIO_MODULES)
    except FileNotFoundError as error:
        raise Skip(error) from None
    return initrd.kernel(BUILD), initrd.make(BUILD, f'{name}-virtio', script,
                                             [*files, module_list(initrd.VIRTIO_MODULES), *more])


def e2fsck(image):
    result = subprocess.run(['e2fsck', '-fn', image], capture_output=True, text=True, check=False)
    if result.returncode:
        raise GuestError(f'e2fsck says:\n{result.stdout}{result.stderr}')


def run_load(kernel, disk, *options, megabytes=64, load='JOBS=3 FILES=4 BLOCKS=8', cdrom=''):
    """OPTIONS use drive "d", the file system, and "c" for CDROM's file."""
    need_program('mkfs.ext4', 'e2fsprogs')
    os.environ['PATH'] += ':/usr/sbin:/sbin'
    with tempfile.TemporaryDirectory(prefix='rhea-disks-') as folder:
        image = os.path.join(folder, 'disk')
        subprocess.run(['mkfs.ext4', '-q', '-F', '-b', '4096', image, f'{megabytes}M'], check=True,
                       stdout=subprocess.DEVNULL)
        append = f'{QUIET} DISK={disk} {load}'
        options = list(options)
        if cdrom:
            with open(os.path.join(folder, 'cd'), 'wb') as out:
                out.write(random.Random(1).randbytes(3 << 20))
            options += ['-drive', f'if=none,id=c,format=raw,media=cdrom,file={folder}/cd']
            append += f' CDROM={cdrom}'
        with Guest(*ACCEL, '-m', '256', '-smp', '2', '-nodefaults', '-kernel', kernel[0], '-initrd', kernel[1],
                   '-append', append, '-drive', f'if=none,id=d,format=raw,file={image}', *options,
                   timeout=900) as guest:
            match = guest.wait_serial(r'disks: (\d+) files are right|initrd: status \d')
            if not match.group(1):
                raise GuestError(f'the guest gave up, {match.group(0)}: {guest.serial_log[-3000:]}')
            if cdrom:
                guest.wait_serial(hashlib.md5(random.Random(1).randbytes(3 << 20)).hexdigest())
            guest.wait_serial(r'disks: unmounted')
            guest.wait_exit()
        e2fsck(image)


NVME = ['-device', 'nvme,drive=d,serial=1']
AHCI = ['-device', 'ahci,id=a', '-device', 'ide-hd,drive=d,bus=a.0']
LSI = ['-device', 'lsi53c895a,id=s', '-device', 'scsi-hd,drive=d,bus=s.0']
IOTHREAD = ['-object', 'iothread,id=io', '-global', 'virtio-scsi-pci.iothread=io']
VIRTIO_SCSI = ['-device', 'virtio-scsi-pci,id=s', '-device', 'scsi-hd,drive=d,bus=s.0']
SCSI_CD = ['-device', 'scsi-cd,drive=c,bus=s.0,scsi-id=3']
LONG = 'JOBS=6 FILES=20 BLOCKS=48'


def nvme():
    """Linux writes to NVMe with several jobs; the file system is clean afterwards."""
    run_load(builtin_kernel(), 'nvme0n1', *NVME)


def ahci():
    """The same on SATA with queued commands, and a CD is read whole."""
    run_load(full_kernel(), 'sda', *AHCI, '-device', 'ide-cd,drive=c,bus=a.1', cdrom='sr0')


def virtio_scsi():
    """The same on virtio-scsi, with a command queue for each CPU and a thread of its own."""
    run_load(full_kernel(), 'sda', *IOTHREAD, *VIRTIO_SCSI, *SCSI_CD, cdrom='sr0')


def lsi():
    """The same on an LSI53C895A, by the SCRIPTS of Linux's driver."""
    run_load(full_kernel(), 'sda', *LSI, *SCSI_CD, cdrom='sr0')


def scsi_hotplug():
    """Linux learns from virtio-scsi's events that a disk comes, that one grows, and that one goes."""
    kernel = full_kernel('disks-watch', WATCH)
    data = random.Random(2).randbytes(1 << 20)
    with tempfile.TemporaryDirectory(prefix='rhea-disks-') as folder:
        with open(os.path.join(folder, 'more'), 'wb') as out:
            out.write(data)
        with open(os.path.join(folder, 'disk'), 'wb') as out:
            out.truncate(16 << 20)
        with Guest(*ACCEL, '-m', '256', '-nodefaults', '-kernel', kernel[0], '-initrd', kernel[1], '-append', QUIET,
                   '-drive', f'if=none,id=d,format=raw,file={folder}/disk', *VIRTIO_SCSI, timeout=600) as guest:
            if 'status' in guest.wait_serial(r'disks: ready 32768|initrd: status \d')[0]:
                raise GuestError(f'the modules do not load: {guest.serial_log[-2000:]}')
            guest.qmp('blockdev-add', driver='file', node_name='more', filename=f'{folder}/more')
            guest.qmp('device_add', driver='scsi-hd', id='u', drive='more', bus='s.0', scsi_id=9)
            guest.wait_serial('disks: sdb 2048')
            guest.wait_serial(hashlib.md5(data).hexdigest())
            guest.qmp('block_resize', device='d', size=20 << 20)
            guest.wait_serial('disks: sda 40960')
            guest.qmp('device_del', id='u')
            guest.wait_serial('disks: gone')
            guest.wait_exit()


def scsi_long():
    """More and larger files on SCSI, behind both adapters."""
    run_load(full_kernel(), 'sda', *VIRTIO_SCSI, megabytes=768, load=LONG)
    run_load(full_kernel(), 'sda', *LSI, megabytes=768, load=LONG)


def virtio():
    """The same on virtio, with a queue for each processor."""
    run_load(virtio_kernel(), 'vda', '-device', 'virtio-blk-pci,drive=d')


def virtio_iothread():
    """The disk's queues and its image on a thread of their own."""
    run_load(virtio_kernel(), 'vda', '-object', 'iothread,id=io', '-device', 'virtio-blk-pci,drive=d,iothread=io')


def virtio_forms():
    """Every form of virtio that a driver may find: legacy, packed, by pin, small rings, large blocks."""
    for options in ('disable-modern=on', 'disable-modern=on,vectors=0', 'packed=on', 'packed=on,vectors=0',
                    'packed=on,queue-size=8,indirect_desc=off,event_idx=off', 'num-queues=8,queue-size=1024',
                    'modern-pio-notify=on,page-per-vq=on,write-cache=off',
                    'logical_block_size=4096,physical_block_size=4096,discard=off,config-wce=off'):
        print('#', options)
        run_load(virtio_kernel(), 'vda', '-device', f'virtio-blk-pci,drive=d,{options}')
    run_load(virtio_kernel(), 'vda', '-device', 'virtio-blk-pci-non-transitional,drive=d')
    run_load(virtio_kernel(), 'vda', '-object', 'iothread,id=io', '-device',
             'virtio-blk-pci-transitional,drive=d,iothread=io', megabytes=768, load=LONG)


def nvme_long():
    """More and larger files, on blocks of 4 KiB and by interrupt pin."""
    run_load(builtin_kernel(), 'nvme0n1', *NVME, megabytes=768, load=LONG)
    run_load(builtin_kernel(), 'nvme0n1', '-device', 'nvme,id=n,serial=1', '-device',
             'nvme-ns,bus=n,drive=d,logical_block_size=4096,physical_block_size=4096', megabytes=768,
             load=LONG + ' pci=nomsi')


def ahci_long():
    """More and larger files, with and without MSI."""
    run_load(full_kernel(), 'sda', *AHCI, megabytes=768, load=LONG)
    run_load(full_kernel(), 'sda', *AHCI, megabytes=768, load=LONG + ' pci=nomsi')


FLOPPY = '''b=/bin/busybox
$b insmod /lib/floppy.ko || exit 1
i=0
while [ ! -b /dev/fd1 ] && [ $i -lt 600 ]; do $b sleep 1; i=$((i + 1)); done
echo "floppy: read $($b md5sum </dev/fd0)"
$b dd if=/dev/urandom of=x bs=64k count=4 2>/dev/null
$b dd if=x of=/dev/fd0 bs=64k count=4 seek=3 conv=fsync 2>/dev/null || exit 2
echo 3 >/proc/sys/vm/drop_caches
$b dd if=/dev/fd0 bs=64k count=4 skip=3 2>/dev/null | $b cmp - x || exit 3
echo "floppy: wrote $($b md5sum <x)"
if $b dd if=x of=/dev/fd1 bs=64k count=1 2>/dev/null; then exit 4; fi
echo "floppy: read $($b md5sum </dev/fd1)"
echo o >/proc/sysrq-trigger
while :; do $b sleep 100; done
'''


def floppy():
    """Linux writes over the ends of sides and cylinders of a floppy disk and finds what it wrote; the other disk, of
    2.88 MB, is write-protected."""
    kernel = full_kernel('floppy', FLOPPY, [full_module('floppy')])
    disks = [random.Random(i).randbytes(1440 * 1024 * (1 + i)) for i in range(2)]
    sums = [hashlib.md5(disk).hexdigest() for disk in disks]
    with tempfile.TemporaryDirectory(prefix='rhea-floppy-') as folder:
        options = []
        for i, content in enumerate(disks):
            with open(f'{folder}/{i}', 'wb') as out:
                out.write(content)
            options += ['-drive', f'if=floppy,index={i},format=raw,file={folder}/{i}' + ',readonly=on' * i]
        with Guest(*ACCEL, '-m', '256', '-nodefaults', '-kernel', kernel[0], '-initrd', kernel[1],
                   '-append', QUIET, *options, timeout=900) as guest:
            written = ''
            for pattern in (f'read {sums[0]}', 'wrote ([0-9a-f]{32})', f'read {sums[1]}'):
                match = guest.wait_serial(f'floppy: {pattern}|initrd: status (\\d)')
                if 'status' in match[0]:
                    raise GuestError(f'the guest did not get as far as "{pattern}": {match[0]}')
                written = match[1] if 'wrote' in pattern else written
            guest.wait_exit()
        with open(f'{folder}/0', 'rb') as f:
            after = f.read()
    start, end = 3 * 65536, 7 * 65536
    if hashlib.md5(after[start:end]).hexdigest() != written:
        raise GuestError('the image does not have what the guest wrote')
    if after[:start] != disks[0][:start] or after[end:] != disks[0][end:]:
        raise GuestError('sectors changed that the guest did not write')


if __name__ == '__main__':
    sys.stdout.reconfigure(line_buffering=True)
    run_tests(nvme, ahci, virtio, virtio_iothread, virtio_scsi, lsi, scsi_hotplug,
              slow=[floppy, nvme_long, ahci_long, virtio_forms, scsi_long])
