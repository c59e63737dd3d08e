# SPDX-License-Identifier: MIT
"""Disks under load: Debian's fio in a guest, on virtio-blk and NVMe, raw and qcow2.

    for case in disks.cases(build, emulators): ...     # in a scratch folder, which is the current one

A guest of each emulator waits for its next load on the serial line, so that they can take turns.  The
images are filled: what is compared is the emulators' way from the guest's driver to the host's kernel.  Time per
request, by fio's own count, and processor time of the whole emulator.
"""
import contextlib
import random

import guests
import initrd
import paired
import programs

MIB = 1 << 20
DISK_MIB = 128
RAM_MIB = 512
FIO = '/usr/bin/fio'
# what follows the device's name in a case, device, kind of the image, more words of -drive
DISKS = [
    ('raw',             'virtio-blk', 'raw',   ''),
    ('qcow2',           'virtio-blk', 'qcow2', ''),
    ('io_uring, raw',   'virtio-blk', 'raw',   'aio=io_uring'),
    ('native, O_DIRECT, raw', 'virtio-blk', 'raw', 'aio=native,cache=none'),
    ('raw',             'nvme',       'raw',   ''),
    ('qcow2',           'nvme',       'qcow2', ''),
]
DEVICES = {'virtio-blk': ('vd{letter}', 'virtio-blk-pci,drive=d{i}'), 'nvme': ('nvme{index}n1',
                                                                             'nvme,serial=s{i},drive=d{i}')}
# name, fio's words, the column of the requests per second in its terse lines [fio, HOWTO, "Terse output"]
LOADS = [
    ('4k random read x 32',  'randread 4k 32', 8),
    ('4k random write x 32', 'randwrite 4k 32', 49),
    ('4k random read x 1',   'randread 4k 1', 8),
    ('4k random write x 1',  'randwrite 4k 1', 49),
    ('128k read x 8',        'read 128k 8', 8),
    ('128k write x 8',       'write 128k 8', 49),
]
WAIT = 'i=0; while [ ! -b /dev/{0} ] && [ $i -lt 600 ]; do /bin/busybox sleep 1; i=$((i + 1)); done\n'
# Loads come as lines: device, rw, size, depth, milliseconds, column.
LOOP = f'''echo bench-ready
while read -r device rw size depth ms column; do
    {FIO} --name=x --filename=/dev/$device --direct=1 --ioengine=libaio --rw=$rw --bs=$size --iodepth=$depth \\
        --thread --minimal --time_based --runtime=${{ms}}ms --size={DISK_MIB}M --randrepeat=1 --norandommap >out 2>&1
    /bin/busybox awk -F";" -v c=$column 'NF > 100 {{ print "bench-rate " $c " " }} NF <= 100 {{ print "bench-says " $0 }}' out
done
'''


def places():
    """(case's name without the load, device node in the guest, -device, image's kind, words of -drive)"""
    counts = dict.fromkeys(DEVICES, 0)
    for i, (name, device, kind, words) in enumerate(DISKS):
        node, option = DEVICES[device]
        index = counts[device]
        counts[device] += 1
        yield (name, device, node.format(letter='abcdefgh'[index], index=index), option.format(i=i), kind, words)


def make_images(tools, emulators):
    """Images of random bytes, since two programs cannot write to the same."""
    rnd = random.Random(3)
    with open('disk.raw', 'wb') as f:
        for _ in range(DISK_MIB):
            f.write(rnd.randbytes(MIB))
    for emulator in emulators:
        for i, (_, _, _, _, kind, _) in enumerate(places()):
            name = f'disk-{emulator.name}-{i}'
            paired.command(tools['QEMU']['img'], 'convert', '-f', 'raw', '-O', kind, 'disk.raw', name)
            paired.settle(name)


class Loader:
    """A guest that takes loads."""

    def __init__(self, guest, limit):
        self.guest, self.limit = guest, limit
        guest.wait_serial('bench-ready', limit)

    def run(self, device, words, column, seconds):
        """(time, processor time) of a request."""
        before = paired.processor_time(self.guest.process.pid)
        self.guest.send_serial(f'{device} {words} {seconds * 1000:.0f} {column}\n')
        match = self.guest.wait_serial(r'bench-rate (\d+) |bench-says ([^\r\n]*)\r?\n', self.limit)
        if not match.group(1) or not int(match.group(1)):
            raise guests.GuestError(f'fio: {match.group(2) or "no request was done"}')
        rate = int(match.group(1))
        return 1 / rate, (paired.processor_time(self.guest.process.pid) - before) / rate / seconds


def guest_of(emulator, image):
    options = []
    for i, (_, _, _, device, kind, words) in enumerate(places()):
        drive = f'if=none,id=d{i},format={kind},file=disk-{emulator.name}-{i}'
        options += ['-drive', drive + (',' + words if words else ''), '-device', device]
    return guests.Guest(*emulator.options, '-smp', '2', '-m', str(RAM_MIB), '-kernel', image.kernel, '-initrd',
                        image.initrd, '-append', guests.QUIET, *options, program=emulator.program)


def guest_image(build):
    c = programs.Collector(None)
    c.add_program(FIO)
    modules = initrd.kernel_modules(build, initrd.VIRTIO_MODULES)
    lines = [f'/bin/busybox insmod /{name}\n' for name, _ in modules]
    lines += [WAIT.format(node) for _, _, node, _, _, _ in places()]
    return guests.Image(build, 'disk', ''.join(lines) + LOOP, sorted(c.files.items()) + modules, RAM_MIB)


def cases(build, tools, emulators, seconds, limit):
    make_images(tools, emulators)
    image = guest_image(build)
    with contextlib.ExitStack() as stack:
        loaders = {e.name: Loader(stack.enter_context(guest_of(e, image)), limit) for e in emulators}
        for name, device, node, _, _, _ in places():
            for load, words, column in LOADS:
                runs = {tool: lambda t=loader, n=node, w=words, c=column: t.run(n, w, c, seconds)
                        for tool, loader in loaders.items()}
                yield paired.Case(f'{device} {load}, {name}', device, runs, exact=True)
