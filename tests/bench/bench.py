#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compare this machine, the installed QEMU and Rhea, side by side in one run.

usage: bench.py [--build DIR] [--parts LIST] [--rounds N] [--ms N] [-k NAME,...] [--write]

parts (a list with commas; all of them without the option):
  start      from process start to the QMP greeting, headless; resident memory beyond guest RAM
  boot       -kernel to /init
  iso        the default guest's ISO through GRUB to its prompt
  kernels    the benchmark's kernels (tests/bench/guest), each at least --ms; -k chooses
  programs   programs of Debian's, in an initrd made of this machine's files; processor time of this
             machine, but openssl's own count of time
  images     rhea-img: convert, check, map, info, compare, bench
  nbd        rhea-nbd under nbdcopy and fio, the NBD client under rhea-img
  disk       fio in a guest, on virtio-blk and NVMe

-k names kernels or classes of kernels; of the last three parts, what is in the names of the cases.

The emulators take turns, round by round.  Figures are printed, and with --write kept as
docs/performance.md, whose chapter "Storage" is of the last three parts; they are compared with aims,
but nothing fails: a slow machine is no fault.  The exit status tells only whether all could be run, and
whether Rhea computed what the machine does.
"""
import argparse
import contextlib
import os
import platform
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import disks
import guests
import images
import nbd
import paired
import programs
import report

STORAGE = ('images', 'nbd', 'disk')
PARTS = ('start', 'boot', 'iso', 'kernels', 'programs', *STORAGE)
# What they need beside the tools, by Debian's packages.
NEEDED = {'qemu-img': 'qemu-utils', 'fio': 'fio', 'nbdcopy': 'libnbd-bin', 'nbdkit': 'nbdkit'}
START_RAM_MIB = 128
# Of one load of fio on one disk of a guest; there are several of each (disks.TURNS).
DISK_SECONDS = 0.15
# More processes than that in the last minute, and the reader is told.
BUSY = 0.7
# From the names and numbers of "info jit".
JIT_FIGURES = {
    'translated blocks': lambda j: j.get('TB count'),
    'guest bytes per block': lambda j: j.get('TB avg target size'),
    'host bytes per guest byte': lambda j: (j['TB avg host size'] / j['TB avg target size']
                                            if j.get('TB avg target size') else None),
    'nanoseconds to translate a guest instruction': lambda j: j.get('ns per instruction'),
}
# The one kernel whose result may differ between processors.
OPEN_RESULT = 'fsin-fsqrt'


def start_once(emulator):
    """(milliseconds to the greeting, resident KiB) of one start."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        path = os.path.join(folder, 'qmp')
        # We listen and the program connects, so that nobody has to poll.
        listener.bind(path)
        listener.listen()
        listener.settimeout(30)
        begin = time.perf_counter()
        process = subprocess.Popen([emulator.program, *emulator.options, '-m', str(START_RAM_MIB), '-S',
                                    '-display', 'none', '-nodefaults', '-qmp', f'unix:{path}'],
                                   stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            connection, _ = listener.accept()
            connection.settimeout(30)
            connection.recv(4096)
            elapsed = (time.perf_counter() - begin) * 1000
            return elapsed, guests.resident_kib(process.pid, START_RAM_MIB)
        finally:
            process.kill()
            process.communicate()


def iso_once(emulator, iso, limit):
    """Seconds from power-on to the prompt, through SeaBIOS and GRUB."""
    with guests.Guest(*emulator.options, '-m', '512', '-cdrom', iso, program=emulator.program,
                      paused=True) as guest:
        begin = time.monotonic()
        guest.qmp('cont')
        guest.wait_screen('Rhea default guest', limit)
        guest.key('ret')
        guest.wait_serial('Welcome to the default guest', limit)
        guest.wait_serial('# ', limit)
        return time.monotonic() - begin


class Bench:
    """The measurements of one call."""

    def __init__(self, args):
        self.args = args
        self.parts = args.parts.split(',') if args.parts else list(PARTS)
        for part in self.parts:
            if part not in PARTS:
                sys.exit(f'bench.py: no part is called {part!r}: {", ".join(PARTS)}')
        self.targets = guests.targets(args.build, args.rhea_options.split())
        self.emulators = [t for t in self.targets if t.program]
        self.table = report.Table()
        self.facts = {}              # (what, name of the emulator) -> figures
        self.failed = False
        self.load = os.getloadavg()[0]

    def fact(self, what, emulator, value):
        self.facts.setdefault((what, emulator.name), []).append(value)

    def attempt(self, what, target, function, *arguments):
        """The function's result, or None and a complaint."""
        print(f'{what}: {target.name}', file=sys.stderr, flush=True)
        try:
            return function(*arguments)
        except (AssertionError, OSError, subprocess.SubprocessError) as error:
            self.table.complaints.append(f'{target.name}: {what}: {str(error)[:1000]}')
            self.failed = self.failed or target.name == 'Rhea'
            return None

    def start(self):
        for emulator in self.emulators:
            for _ in range(self.args.rounds * 3):
                result = self.attempt('start', emulator, start_once, emulator)
                if result:
                    self.fact('start to the QMP greeting, ms', emulator, result[0])
                    self.fact('resident beyond guest RAM at start, MiB', emulator, result[1] / 1024)

    def run(self, what, target, image, variables):
        result = self.attempt(what, target, target.run, image, variables, self.args.limit)
        if result is None:
            return
        self.failed = self.failed or (target.name == 'Rhea' and bool(result.complaints))
        if what in self.parts:
            self.table.add(target.name, result)
        if not target.program or result.init_wall is None:
            return
        if what != 'programs':
            self.table.add_time(target.name, 'boot-uptime', 'boot', result.init_uptime)
            self.table.add_time(target.name, 'boot-wall', 'boot', result.init_wall)
            self.table.add_time(target.name, 'boot-cpu', 'boot', result.init_cpu)
        if result.resident_kib:
            self.fact(f'resident beyond guest RAM after {what}, MiB', target, result.resident_kib / 1024)
        for name, figure in JIT_FIGURES.items():
            value = figure(result.jit)
            if value is not None:
                self.fact(f'{name}, after {what}', target, value)

    def iso(self):
        folder = guests.default_guest.make_iso(self.args.build)
        for emulator in self.emulators:
            seconds = self.attempt('iso', emulator, iso_once, emulator, folder, self.args.limit)
            if seconds:
                self.table.add_time(emulator.name, 'boot-iso', 'iso', seconds)

    def measure(self):
        if 'start' in self.parts:
            self.start()
        variables = {'MS': str(self.args.ms)}
        if self.args.k:
            variables['ONLY'] = self.args.k
        runs = []
        if 'kernels' in self.parts:
            image = guests.Image(self.args.build)
            known = set(subprocess.run([image.bench, '-l'], capture_output=True, text=True,
                                       check=True).stdout.split())
            for word in filter(None, (self.args.k or '').split(',')):
                if word not in known:
                    sys.exit(f'bench.py: no kernel or class is called {word!r} ({image.bench} -l lists them)')
            runs.append(('kernels', self.targets, image, variables))
        elif 'boot' in self.parts:
            image = guests.Image(self.args.build, 'boot', 'true\n')
            runs.append(('boot', self.emulators, image, {}))
        if 'programs' in self.parts:
            runs.append(('programs', self.targets, programs.image(self.args.build), {}))
        for _ in range(self.args.rounds):
            for what, targets, image, words in runs:
                for target in targets:
                    self.run(what, target, image, words)
            if 'iso' in self.parts:
                self.iso()
        if any(part in self.parts for part in STORAGE):
            self.storage()

    def tools(self):
        """The programs beside the emulators: {name: {what: path}}."""
        # Not by PATH: a build's folder has Rhea's tools under these names, too.
        found = {'QEMU': {what: shutil.which(f'qemu-{what}', path='/usr/bin:/usr/local/bin')
                          for what in ('img', 'nbd', 'io')}}
        found['Rhea'] = {what: os.path.join(self.args.build, 'tools', f'rhea-{what}') for what in found['QEMU']}
        return found

    def storage(self):
        missing = sorted({package for program, package in NEEDED.items() if not shutil.which(program)})
        if missing:
            print(f'Storage is not measured: install {" ".join(missing)}')
            return
        tools, build, home = self.tools(), self.args.build, os.getcwd()
        parts = {'images': lambda: images.groups(tools), 'nbd': lambda: nbd.groups(tools),
                 'disk': lambda: disks.groups(build, tools, self.emulators, DISK_SECONDS, self.args.limit,
                                              self.args.rounds)}
        for part in STORAGE:
            if part not in self.parts:
                continue
            # Beside the build, for the disk there is the one that people use.
            with tempfile.TemporaryDirectory(prefix='bench-', dir=os.path.join(build, 'tests', 'bench')) as folder:
                os.chdir(folder)
                try:
                    with contextlib.closing(parts[part]()) as groups:
                        for group in groups:
                            self.group(group)
                finally:
                    os.chdir(home)

    def group(self, group):
        """What -k leaves of it."""
        words = (self.args.k or '').split(',')
        names = [name for name in group.names() if any(word in name for word in words)]
        if not names:
            return
        print(*names, sep='; ', file=sys.stderr, flush=True)
        group.keep(names)
        try:
            good = group.measure(self.args.rounds, self.table)
        except (AssertionError, OSError, subprocess.SubprocessError) as error:
            text = getattr(error, 'stderr', None) or ''
            self.table.complaints.append(f'{"; ".join(names)}: {str(error)[:1000]} {text[-500:]}')
            good = False
        self.failed = self.failed or not good

    def fact_lines(self):
        """Rows of (what, QEMU, Rhea), the least figure of each."""
        for what in dict.fromkeys(what for what, _ in self.facts):
            row = [what]
            for name in ('QEMU', 'Rhea'):
                figures = self.facts.get((what, name))
                row.append(f'{min(figures):.6g}' if figures else '-')
            yield row

    def wrong(self):
        return [w for w in self.table.wrong() if not w.startswith(OPEN_RESULT)]

    def write(self):
        """The chapters of what was measured, each with the command that repeats it alone."""
        args, chapters = self.args, {}
        for title, of, body in ((report.PROCESSOR, [p for p in self.parts if p not in STORAGE],
                                 lambda: report.processor_chapter(self.table, list(self.fact_lines()))),
                                (report.STORAGE_TITLE, [p for p in self.parts if p in STORAGE],
                                 lambda: report.storage_chapter(self.table))):
            if of:
                words = ['--rounds', str(args.rounds), *(['--ms', str(args.ms)] if 'kernels' in of else []),
                         '--parts', ','.join(of), *(['-k', args.k] if args.k else []), '--write']
                chapters[title] = [*body(), *report.about(machine(self), shlex.join(['tests/bench/bench.py', *words]))]
        report.write(os.path.join(guests.ROOT, 'docs', 'performance.md'), chapters)

    def show(self):
        for lines in (report.kernel_lines, report.class_lines, report.storage_lines, report.qcow2_lines,
                      report.storage_class_lines):
            table = list(lines(self.table))
            if len(table) > 1:
                print(*report.plain(table), '', sep='\n')
        facts = list(self.fact_lines())
        if facts:
            print(*report.plain([['', 'QEMU', 'Rhea'], *facts]), '', sep='\n')
        for line in [*self.table.wrong(), *self.table.complaints]:
            print(line)


def processor():
    with open('/proc/cpuinfo', encoding='utf-8') as f:
        match = re.search(r'model name\s*: (.*)', f.read())
    return f'{match.group(1) if match else "unknown"}, {os.cpu_count()} processors'


def first_line(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.splitlines()[0]
    except (OSError, IndexError):
        return '-'


def machine(bench):
    found = {'processor': processor(), 'kernel here': platform.release(),
             'kernel in the guests': guest_kernel(bench.args.build),
             'load before the first round': f'{bench.load:.1f} processes', 'rounds': str(bench.args.rounds)}
    for emulator in bench.emulators:
        found[emulator.name] = first_line(emulator.program, '--version')
    found['source'] = first_line('git', '-C', guests.ROOT, 'log', '-1', '--format=%h of %cs')
    return found


def guest_kernel(build):
    """The version string of the bzImage [Linux, Documentation/arch/x86/boot.rst, kernel_version]."""
    with open(os.path.join(guests.default_guest.prepare(build), 'iso', 'boot', 'vmlinuz'), 'rb') as f:
        image = f.read(0x10000)
    start = int.from_bytes(image[0x20e:0x210], 'little') + 0x200
    return image[start:image.index(b'\0', start)].decode(errors='replace').split(' (')[0]


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument('--build', default=os.path.join(guests.ROOT, 'build'))
    parser.add_argument('--parts')
    parser.add_argument('--rounds', type=int, default=2)
    parser.add_argument('--ms', type=int, default=60)
    parser.add_argument('-k')
    parser.add_argument('--limit', type=int, default=900, help='seconds for each wait in a guest')
    parser.add_argument('--rhea-options', default='', help='instead of -accel tcg -cpu max')
    parser.add_argument('--write', action='store_true')
    args = parser.parse_args()
    args.build = os.path.abspath(args.build)

    bench = Bench(args)
    if len(bench.emulators) < 2:
        print('No QEMU is installed here: only Rhea is measured (Debian package '
              'qemu-system-x86 for a comparison).')
    if bench.load > BUSY:
        print(f'This machine is busy ({bench.load:.1f} processes): expect the slower of two times to be wrong.')
    bench.measure()
    bench.show()
    if args.write:
        bench.write()
    for line in bench.wrong():
        bench.failed = bench.failed or ': Rhea computes' in line
    sys.exit(1 if bench.failed else 0)


if __name__ == '__main__':
    main()
