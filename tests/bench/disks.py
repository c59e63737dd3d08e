# SPDX-License-Identifier: MIT
"""Disks under load: Debian's fio in a guest, on virtio-blk and NVMe, raw and qcow2.

    for group in disks.groups(build, tools, emulators, seconds, limit, rounds): ...

in a scratch folder, which is the current one.

A guest of each emulator waits for its next load on the serial line, so that they can take turns; each round
has new guests, and is a session (paired.py).  The
images are filled: what is compared is the emulators' way from the guest's driver to the host's kernel.  Time per
request, by fio's own count, and processor time of the whole emulator.
"""
import contextlib
import random
import re

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
    ('4k random read x 32',  '--rw=randread --bs=4k --iodepth=32', 8),
    ('4k random write x 32', '--rw=randwrite --bs=4k --iodepth=32', 49),
    ('4k random read x 1',   '--rw=randread --bs=4k --iodepth=1', 8),
    ('4k random write x 1',  '--rw=randwrite --bs=4k --iodepth=1', 49),
    ('128k read x 8',        '--rw=read --bs=128k --iodepth=8', 8),
    ('128k write x 8',       '--rw=write --bs=128k --iodepth=8', 49),
]
WAIT = 'i=0; while [ ! -b /dev/{0} ] && [ $i -lt 600 ]; do /bin/busybox sleep 1; i=$((i + 1)); done\n'
# A line tells the column and the words of one fio, which tells the host when each job begins and ends: what
# the words of exec_prerun would begin is the redirection that fio puts behind them.
LOOP = f'''tell() {{ echo "--exec_$1=echo bench-$2 >/dev/console; true"; }}
echo bench-ready
while read -r column words; do
    {FIO} --direct=1 --ioengine=libaio --thread --minimal --time_based --size={DISK_MIB}M --randrepeat=1 \\
        --norandommap "$(tell prerun begin)" "$(tell postrun end)" $words >out 2>&1
    echo bench-done
    /bin/busybox awk -F";" -v c=$column 'NF > 100 {{ print "bench-rate " $c }} NF <= 100 {{ print "bench-says " $0 }}' out
    echo bench-told
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

    def processor_times(self):
        """Of the whole emulator, for each job of the fio that runs; until it ends."""
        pid, before = self.guest.process.pid, 0
        while True:
            what = self.guest.wait_serial('bench-(begin|end|done)', self.limit).group(1)
            now = paired.processor_time(pid)
            if what == 'done':
                return
            if what == 'end':
                yield now - before
            before = now

    def run(self, nodes, words, column, seconds):
        """(time, processor time) of a request on each node, in their order."""
        jobs = [f'--name={i} --stonewall --filename=/dev/{node}' for i, node in enumerate(nodes)]
        self.guest.send_serial(f'{column} {words} --runtime={seconds * 1000:.0f}ms {" ".join(jobs)}\n')
        processor = list(self.processor_times())
        text = self.guest.wait_serial(r'(?s:(.*))bench-told', self.limit).group(1)
        rates = [int(rate) for rate in re.findall(r'bench-rate (\d+)', text)]
        if len(rates) != len(nodes) or len(processor) != len(nodes) or 0 in rates:
            raise guests.GuestError(f'fio: {text}')
        return [(1 / rate, cpu / rate / seconds) for rate, cpu in zip(rates, processor)]


class Load:
    """One load on the disks of a device, as bench.py measures it (paired.Group has the same methods).

    One fio does short runs on all of them in turn, most often on those that differ in the format only, or, where
    the session is for those alone, on nothing else."""

    def __init__(self, device, load, loaders, seconds, session, twins_only):
        self.device, self.loaders, self.seconds = device, loaders, seconds
        self.load, self.words, self.column = load
        self.session, self.twins_only = session, twins_only
        disks = [(f'{device} {self.load}, {name}', node, more)
                 for name, of, node, _, _, more in places() if of == device]
        self.twins = [name for name, _, more in disks if not more]
        self.nodes = {name: node for name, node, more in disks if not more or not twins_only}

    def names(self):
        return list(self.nodes)

    def keep(self, names):
        self.nodes = {name: self.nodes[name] for name in names}

    def measure(self, _rounds, table):
        names = list(self.nodes)
        twins = [name for name in names if name in self.twins]
        order = names + twins[::-1] + twins + names[::-1]
        for tool in paired.turn(self.loaders, self.session):
            nodes = [self.nodes[name] for name in order]
            for name, (seconds, cpu) in zip(order, self.loaders[tool].run(nodes, self.words, self.column,
                                                                          self.seconds)):
                table.add_time(tool, name, self.device, seconds, cpu, self.session, self.twins_only)
        return True


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


def groups(build, tools, emulators, seconds, limit, rounds):
    make_images(tools, emulators)
    image = guest_image(build)
    for session in range(max(rounds, paired.TWIN_SESSIONS)):
        twins_only = session >= rounds
        running = [e for e in emulators if e.name == paired.OURS or not twins_only]
        with contextlib.ExitStack() as stack:
            loaders = {e.name: Loader(stack.enter_context(guest_of(e, image)), limit) for e in running}
            for device in DEVICES:
                for load in LOADS:
                    yield Load(device, load, loaders, seconds, session, twins_only)
