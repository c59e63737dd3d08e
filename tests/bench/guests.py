# SPDX-License-Identifier: MIT
"""What bench.py measures on: the machine itself, QEMU and Rhea with the same kernel and initrd.

    targets = guests.targets(build, rhea_options)
    image = guests.Image(build)                       # kernel, initrd, made when needed
    for target in targets:
        result = target.run(image, {'MS': '100', 'ONLY': 'fib'}, 60)    # a Result

A guest runs the command from its init and is ended when that is done.  Standard library only.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
for folder in ('tests/boot', 'scripts'):
    sys.path.insert(0, os.path.join(ROOT, folder))
import default_guest  # noqa: E402
import initrd  # noqa: E402
from guest import QUIET, Guest, GuestError  # noqa: E402,F401

# Where things are in the guest; the native run sets the same names.
PLACES = 'export BENCH=/bench DATA=/data\n'
MEASURE = '$BENCH -t $MS ${ONLY:+-k $ONLY}\n'

LINE = re.compile(r'^(\S+) (\S+) ([\d.]+|absent) ([0-9a-f]{16}|-)\r?$', re.M)
# A guest that runs that much slower or faster than its own clock says is told of.
CLOCK_TOLERANCE = 0.1


class Result:
    """What one run gave."""

    def __init__(self):
        self.kernels = {}            # name -> (class, ns or None, checksum)
        self.by_cpu = {}             # the same, but ns of processor time
        self.complaints = []         # lines for the reader
        self.init_uptime = None      # seconds of the guest's clock at /init
        self.init_wall = None        # seconds of ours
        self.init_cpu = None         # seconds of processor time of the emulator
        self.resident_kib = None     # beyond guest RAM, at the end
        self.jit = {}                # figures of "info jit"

    def take(self, text):
        for name, kind, ns, checksum in LINE.findall(text):
            self.kernels[name] = (kind, None if ns == 'absent' else float(ns), checksum)
        for line in re.findall(r'^(?:bench: |initrd: status [^0]).*$', text, re.M):
            self.complaints.append(line.strip())


def cpu_seconds(pid):
    """Processor time that the process has had: what neighbours on a busy machine cannot lengthen much."""
    with open(f'/proc/{pid}/stat', encoding='utf-8') as f:
        fields = f.read().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def resident_kib(pid, ram_mib):
    """Resident size of all mappings but guest RAM (known by its exact size)."""
    total, mapping_kib = 0, 0
    with open(f'/proc/{pid}/smaps', encoding='utf-8', errors='replace') as f:
        for line in f:
            match = re.match(r'([0-9a-f]+)-([0-9a-f]+) ', line)
            if match:
                mapping_kib = (int(match.group(2), 16) - int(match.group(1), 16)) >> 10
            elif line.startswith('Rss:') and mapping_kib != ram_mib << 10:
                total += int(line.split()[1])
    return total


class Image:
    """A kernel and an initrd made of busybox, the benchmark, and more files."""

    def __init__(self, build, name='bench', commands=MEASURE, files=(), ram_mib=512, cpu_time=False,
                 options=()):
        self.commands = commands
        self.options = options       # of the emulators: devices
        self.cpu_time = cpu_time     # programs' times are processor time of this machine
        self.ram_mib = ram_mib
        self.kernel = initrd.kernel(build)
        self.bench = os.path.join(build, 'tests', 'bench', 'guest', 'bench')
        self.data = os.path.join(build, 'guest', name)     # what is /data in the guest
        if not os.path.exists(self.bench):
            sys.exit(f'{self.bench} is not built: a static C library is needed (libc6-dev)')
        data = sorted(os.listdir(self.data)) if os.path.isdir(self.data) else []
        self.initrd = initrd.make(build, name, PLACES + commands,
                                  [('bench', self.bench), *files,
                                   *((f'data/{n}', os.path.join(self.data, n)) for n in data)])


class Native:
    """This machine, without any emulator."""
    name = 'native'
    program = None

    def run(self, image, variables, limit):
        result = Result()
        with tempfile.TemporaryDirectory() as folder:
            environment = {'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'LC_ALL': 'C', 'HOME': folder,
                           'BENCH': image.bench, 'DATA': image.data, **variables,
                           **({'BENCH_CPU': '1'} if image.cpu_time else {})}
            done = subprocess.run(['sh', '-c', image.commands], cwd=folder, env=environment,
                                  timeout=limit, capture_output=True, text=True)
        result.take(done.stdout)
        if done.returncode:
            result.complaints.append(f'status {done.returncode}: {done.stderr[-200:]}')
        return result


class Emulator:
    """A program that understands QEMU's options."""

    def __init__(self, name, program, options):
        self.name, self.program, self.options = name, program, options

    def run(self, image, variables, limit):
        result = Result()
        append = ' '.join([QUIET, *(f'{k}={v}' for k, v in variables.items())])
        with Guest(*self.options, '-smp', '2', '-m', str(image.ram_mib), '-kernel', image.kernel,
                   '-initrd', image.initrd, '-append', append, *image.options,
                   program=self.program, paused=True) as guest:
            begin = time.monotonic()
            guest.qmp('cont')
            result.init_uptime = float(guest.wait_serial(r'initrd: init at ([\d.]+)\s', limit).group(1))
            at_init = time.monotonic()
            result.init_wall = at_init - begin
            result.init_cpu = cpu_seconds(guest.process.pid)
            try:
                end = float(self._follow(guest, image, result, limit))
                inside, outside = end - result.init_uptime, time.monotonic() - at_init
                if abs(inside - outside) > max(1, outside * CLOCK_TOLERANCE):
                    result.complaints.append(f'the guest counted {inside:.1f} s, the host {outside:.1f} s')
                result.resident_kib = resident_kib(guest.process.pid, image.ram_mib)
                result.jit = jit_figures(guest)
            except GuestError as error:
                result.complaints.append(str(error)[:2000])
            result.take(guest.serial_log)
            result.kernels.update(result.by_cpu)
        return result

    @staticmethod
    def _follow(guest, image, result, limit):
        """Wait for the end, noting the processor time each line took where that is asked for."""
        before = result.init_cpu
        while True:
            match = guest.wait_serial(r'initrd: end at ([\d.]+)\s|(?m:^\S+ program (\d+) ([0-9a-f]{16})\s)', limit)
            if match.group(1):
                return match.group(1)
            if image.cpu_time:
                now = cpu_seconds(guest.process.pid)
                result.by_cpu[match.group(0).split()[0]] = ('program', (now - before) * 1e9, match.group(3))
                before = now


def jit_figures(guest):
    """Numbers of "info jit" by their names; {} where there is no translator."""
    try:
        text = guest.hmp('info jit')
    except GuestError:
        return {}
    return {name.strip(): float(number)
            for name, number in re.findall(r'^([^\n\d]+?)[ \t:]+(\d+(?:\.\d+)?)', text, re.M)}


def targets(build, rhea_options=()):
    """The machine, the installed QEMU when there is one, Rhea."""
    found = [Native()]
    qemu = shutil.which('qemu-system-x86_64', path='/usr/bin:/usr/local/bin')
    if qemu:
        found.append(Emulator('QEMU', qemu, ['-accel', 'tcg,thread=multi', '-cpu', 'max']))
    rhea = os.environ.get('RHEA_SYSTEM', os.path.join(build, 'bin', 'rhea-system-x86_64'))
    found.append(Emulator('Rhea', rhea, list(rhea_options) or ['-accel', 'tcg', '-cpu', 'max']))
    return found
