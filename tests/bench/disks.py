# SPDX-License-Identifier: MIT
"""Disks under load: Debian's fio in a guest, on virtio-blk and NVMe.

    image = disks.image(build)             # None, and a line that names the package, without fio

Both disks are raw images of the host, filled, with the host's cache: what is compared is the emulators' way
from the guest's driver to the host's kernel, not the host's disk.  Time per request, by fio's own count.
"""
import os
import random

import guests
import initrd
import programs

MIB = 1 << 20
DISK_MIB = 256
RAM_MIB = 1024
FIO = '/usr/bin/fio'
DISKS = [('virtio-blk', 'vda', 'virtio-blk-pci,drive=vda'), ('nvme', 'nvme0n1', 'nvme,serial=1,drive=nvme0n1')]
# name, fio's words, the column of the requests per second in its terse lines [fio, HOWTO, "Terse output"]
LOADS = [
    ('randread-4k', '--rw=randread --bs=4k --iodepth=32', 8),
    ('randwrite-4k', '--rw=randwrite --bs=4k --iodepth=32', 49),
    ('randread-4k-1', '--rw=randread --bs=4k --iodepth=1', 8),
    ('read-128k', '--rw=read --bs=128k --iodepth=8', 8),
    ('write-128k', '--rw=write --bs=128k --iodepth=8', 49),
]
WAIT = 'i=0; while [ ! -b /dev/{0} ] && [ $i -lt 600 ]; do /bin/busybox sleep 1; i=$((i + 1)); done\n'


def disk_file(build, name):
    """An image of random bytes, made once."""
    path = os.path.join(build, 'guest', f'disk-{name}.raw')
    if not os.path.exists(path) or os.path.getsize(path) != DISK_MIB * MIB:
        rnd = random.Random(name)
        with open(path + '.new', 'wb') as out:
            for _ in range(DISK_MIB):
                out.write(rnd.randbytes(MIB))
        os.rename(path + '.new', path)
    return path


def command(disk, device, load, words, column):
    return (f'{FIO} --name=x --filename=/dev/{device} --direct=1 --ioengine=libaio {words} --thread --minimal '
            f'--time_based --runtime=$SECONDS_EACH --size={DISK_MIB}M --randrepeat=1 --norandommap 2>&1 | '
            f'/bin/busybox awk -F";" \'NF > 100 {{ printf "{disk}-{load} {disk} %.0f -\\n", 1e9 / ${column} }} '
            'NF <= 100 { print "bench: " $0 }\'')


def image(build):
    """The Image, or None where fio is not installed."""
    if not os.path.exists(FIO):
        print('fio is missing (Debian package fio): disks are not measured')
        return None
    c = programs.Collector(None)
    c.add_program(FIO)
    modules = initrd.kernel_modules(build, initrd.VIRTIO_MODULES)
    lines = [f'/bin/busybox insmod /{name}' for name, _ in modules]
    lines += [WAIT.format(device) for _, device, _ in DISKS]
    lines += [command(disk, device, *load) for disk, device, _ in DISKS for load in LOADS]
    options = []
    for _, name, device in DISKS:
        options += ['-drive', f'if=none,id={name},format=raw,file={disk_file(build, name)}', '-device', device]
    return guests.Image(build, 'disk', '\n'.join(lines) + '\n', sorted(c.files.items()) + modules, RAM_MIB,
                        options=options)
