# SPDX-License-Identifier: MIT
"""Tables out of what bench.py measured: for the terminal, and as docs/performance.md.

A row has a class; a class has targets (how much slower than native at most, how many times faster than
QEMU's TCG at least).  Verdicts are printed and never fail anything: machines differ.

The document has a chapter of the processor and one of storage; a run renews those that it measured.
"""
import math
import os
import re
import statistics

# class: (title, slowdown against native at most, times faster than QEMU at least)
CLASSES = {
    'register':    ('register loops', 1.2, 2),
    'integer':     ('integer with memory', 2.3, 2),
    'pointer':     ('pointer chasing', None, None),
    'call':        ('calls, interpreters, records', 3.4, 4),
    'fp-memory':   ('SSE2 and AVX2 floating point with memory', 2.6, 18),
    'fp-register': ('x87, AES, AVX2, double in registers', 1.2, 15),
    'x87-library': ('FSIN and FSQRT', None, None),
    'copy':        ('REP string instructions, memcpy, memset', 1.3, 50),
    'lock':        ('LOCK without contention', None, None),
    'atomics':     ('contended atomics, two CPUs', 1.5, 5),
    'syscall':     ('system call', None, 3.5),
    'fault':       ('page fault', None, 3),
    'fork':        ('fork, exec', None, 4),
    'pipe':        ('pipe ping-pong', None, 10),
    'program':     ('programs of Debian', None, None),
    'boot':        ('boot to /init', None, 3),
    'iso':         ('boot of the GRUB ISO to its prompt', None, None),
}
WHOLE = (2.5, 5)
# Of storage; each case of each class is to be ahead of QEMU's.
STORAGE = {
    'convert':     'img convert',
    'compress':    'img convert, compressed',
    'metadata':    'img check, map, info, compare',
    'requests':    'img bench',
    'nbd-server':  'NBD server',
    'nbd-client':  'NBD client',
    'virtio-blk':  'virtio-blk under fio in a guest',
    'nvme':        'NVMe under fio in a guest',
}
# Of the document
CHAPTERS = PROCESSOR, STORAGE_TITLE = 'Processor and guests', 'Storage'
# What a request to an allocated qcow2 image may take, of one to a raw image.
QCOW2_AIM = 1.05
# The last bits of FSIN are the processor's own affair; openssl prints rates only.
NO_CHECK = '-'


def geometric(values):
    values = [v for v in values if v]
    return math.exp(statistics.fmean(math.log(v) for v in values)) if values else None


class Row:
    """One kernel: its times and checksums by the names of the targets."""

    def __init__(self, name, kind):
        self.name, self.kind = name, kind
        self.times, self.sums, self.processor = {}, {}, {}
        self.sessions = {}           # target -> {session: [(time, processor time)]}

    def add(self, target, ns, checksum, processor=None):
        if ns is not None:
            self.times.setdefault(target, []).append(ns)
            self.sums.setdefault(target, set()).add(checksum)
        if processor is not None:
            self.processor.setdefault(target, []).append(processor)

    def best(self, target):
        return min(self.times[target]) if target in self.times else None

    def median(self, target):
        return statistics.median(self.times[target]) if target in self.times else None

    def ratio(self, slow, fast):
        """How much longer SLOW takes than FAST, by their best times."""
        a, b = self.best(slow), self.best(fast)
        return a / b if a and b else None

    def median_ratio(self, slow, fast):
        a, b = self.median(slow), self.median(fast)
        return a / b if a and b else None

    def processor_ratio(self, slow, fast):
        """The same of processor time, by the least."""
        a, b = (min(self.processor.get(t, [0])) for t in (slow, fast))
        return a / b if a and b else None

    def by_session(self, other, target, what):
        """Ratios of the least times (WHAT 0) or processor times (1) in this row to those in the other, one of
        each session, in order."""
        mine, others = (r.sessions.get(target, {}) for r in (self, other))
        return sorted(min(f[what] for f in mine[s]) / min(f[what] for f in others[s]) for s in mine if s in others)

    def ahead(self, fast, slow):
        """Whether FAST was the faster one in a session."""
        mine, others = (self.sessions.get(target, {}) for target in (fast, slow))
        return any(min(mine[s])[0] < min(others[s])[0] for s in mine if s in others)

    def agrees(self, target):
        """Whether the target's checksums are the machine's own."""
        mine = self.sums.get('native')
        return not mine or NO_CHECK in mine or target not in self.sums or self.sums[target] == mine


class Table:
    """All rows in the order in which they came."""

    def __init__(self):
        self.rows, self.complaints = {}, []

    def add(self, target, result):
        for name, (kind, ns, checksum) in result.kernels.items():
            self.rows.setdefault(name, Row(name, kind)).add(target, ns, checksum)
        self.complaints += [f'{target}: {c}' for c in result.complaints]

    def add_time(self, target, name, kind, seconds, processor=None, session=None, twins_only=False):
        """A figure without checksum; seconds of processor time, too.  TWINS_ONLY: it does not count where
        targets are compared, of which the others had no such session."""
        row = self.rows.setdefault(name, Row(name, kind))
        if not twins_only:
            row.add(target, seconds * 1e9, NO_CHECK, processor)
        if session is not None:
            row.sessions.setdefault(target, {}).setdefault(session, []).append((seconds, processor))

    def classes(self, kinds=None):
        """(class, its rows) in the order of CLASSES, or of KINDS."""
        for kind in CLASSES if kinds is None else kinds:
            rows = [r for r in self.rows.values() if r.kind == kind]
            if rows:
                yield kind, rows

    def summary(self):
        """(title, Rhea against native, against QEMU, QEMU against native, verdict), the whole last."""
        for kind, rows in self.classes():
            title, slow, fast = CLASSES[kind]
            yield (title, *self._figures(rows, slow, fast))
        rows = [r for _, rows in self.classes() for r in rows]
        if rows:
            yield ('all of these', *self._figures(rows, *WHOLE))

    @staticmethod
    def _figures(rows, slow_limit, fast_limit):
        rhea = geometric(r.ratio('Rhea', 'native') for r in rows)
        faster = geometric(r.ratio('QEMU', 'Rhea') for r in rows)
        qemu = geometric(r.ratio('QEMU', 'native') for r in rows)
        verdict = []
        if slow_limit and rhea:
            verdict.append(f'{"met" if rhea <= slow_limit else "missed"}: <= {slow_limit}')
        if fast_limit and faster:
            verdict.append(f'{"met" if faster >= fast_limit else "missed"}: >= {fast_limit}x')
        return rhea, faster, qemu, ', '.join(verdict)

    def wrong(self):
        """Sentences about checksums that are not the machine's."""
        for row in self.rows.values():
            for target in row.sums:
                if target != 'native' and not row.agrees(target):
                    yield (f'{row.name}: {target} computes {" ".join(sorted(row.sums[target]))}, '
                           f'this machine {" ".join(sorted(row.sums["native"]))}')


def time_text(ns):
    """Three digits and a unit."""
    if ns is None:
        return '-'
    for limit, unit, scale in ((1e3, 'ns', 1), (1e6, 'us', 1e3), (1e9, 'ms', 1e6)):
        if ns < limit:
            return f'{ns / scale:.3g} {unit}'
    return f'{ns / 1e9:.3g} s'


def ratio_text(value):
    return '-' if value is None else f'{value:.1f}' if value >= 10 else f'{value:.2f}'


def kernel_lines(table):
    """Header and rows, as lists of words."""
    yield ['kernel', 'native', 'QEMU', 'Rhea', 'QEMU/native', 'Rhea/native', 'QEMU/Rhea', 'Rhea median',
           'check']
    for _, rows in table.classes():
        for row in rows:
            check = ('-' if NO_CHECK in row.sums.get('Rhea', {NO_CHECK})
                     else 'same' if row.agrees('Rhea') else 'WRONG')
            yield [row.name, time_text(row.best('native')), time_text(row.best('QEMU')),
                   time_text(row.best('Rhea')), ratio_text(row.ratio('QEMU', 'native')),
                   ratio_text(row.ratio('Rhea', 'native')), ratio_text(row.ratio('QEMU', 'Rhea')),
                   time_text(row.median('Rhea')), check]


def class_lines(table):
    yield ['class (geometric means)', 'QEMU/native', 'Rhea/native', 'QEMU/Rhea', 'aim']
    for title, rhea, faster, qemu, verdict in table.summary():
        yield [title, ratio_text(qemu), ratio_text(rhea), ratio_text(faster), verdict or '-']


def plain(lines):
    """Columns for a terminal."""
    lines = list(lines)
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        yield '  '.join([line[0].ljust(widths[0])] +
                        [cell.rjust(width) for cell, width in zip(line[1:], widths[1:])]).rstrip()


def markdown(lines):
    lines = list(lines)
    yield '| ' + ' | '.join(lines[0]) + ' |'
    yield '| --- |' + ' ---: |' * (len(lines[0]) - 1)
    for line in lines[1:]:
        yield '| ' + ' | '.join(line) + ' |'


def storage_lines(table):
    """Header and rows of the cases."""
    yield ['case', 'QEMU', 'Rhea', 'QEMU/Rhea', 'of medians', 'of processor time']
    for _, rows in table.classes(STORAGE):
        for row in rows:
            yield [row.name, time_text(row.best('QEMU')), time_text(row.best('Rhea')),
                   ratio_text(row.ratio('QEMU', 'Rhea')), ratio_text(row.median_ratio('QEMU', 'Rhea')),
                   ratio_text(row.processor_ratio('QEMU', 'Rhea'))]


def storage_class_lines(table):
    yield ['class', 'cases', 'QEMU/Rhea, geometric mean', 'least', 'aim']
    for kind, rows in table.classes(STORAGE):
        ratios = [r for r in (row.ratio('QEMU', 'Rhea') for row in rows) if r]
        behind = [r for r in rows if (r.ratio('QEMU', 'Rhea') or 1) < 1]
        # Ahead in one of the sessions: who is depends on the luck of processes.
        open_ones = sum(1 for r in behind if r.ahead('Rhea', 'QEMU'))
        yield [STORAGE[kind], str(len(rows)), ratio_text(geometric(ratios)), ratio_text(min(ratios, default=None)),
               '-' if not ratios else f'missed by {len(behind) - open_ones}: >= 1x' if len(behind) > open_ones
               else f'open in {open_ones}: >= 1x' if behind else 'met: >= 1x']


def quartile(ratios, which):
    """The one of a sorted list."""
    return ratios[round((len(ratios) - 1) * which / 4)] if ratios else None


def qcow2_lines(table):
    """Pairs of cases that differ in the format only."""
    yield ['case', 'QEMU qcow2/raw', 'Rhea qcow2/raw', 'half of the sessions', 'of processor time', 'aim']
    for name, row in table.rows.items():
        raw = table.rows.get(name[:-len('qcow2')] + 'raw') if name.endswith(', qcow2') else None
        if raw:
            qemu, rhea, cpu = (row.by_session(raw, tool, what) for tool, what in
                               (('QEMU', 0), ('Rhea', 0), ('Rhea', 1)))
            low, middle, high = (quartile(rhea, which) for which in (1, 2, 3))
            verdict = ('-' if not rhea else 'met' if middle <= QCOW2_AIM else 'open' if low <= QCOW2_AIM else 'missed')
            yield [name.removesuffix(', qcow2'), ratio_text(quartile(qemu, 2)), ratio_text(middle),
                   f'{ratio_text(low)} to {ratio_text(high)}', ratio_text(quartile(cpu, 2)), f'{verdict}: <= {QCOW2_AIM}']


def ceiling_lines(table):
    """Classes in which not even this machine itself is as much faster than QEMU as the aim says."""
    yield ['class', 'aim: times QEMU\'s speed', 'this machine', 'Rhea']
    for (_, rows), figures in zip(table.classes(), table.summary()):
        title, _, faster, qemu, _ = figures
        aim = CLASSES[rows[0].kind][2]
        if aim and qemu and qemu < aim:
            yield [title, str(aim), ratio_text(qemu), ratio_text(faster)]


def about(machine, command):
    """What was measured on, and how to do it again."""
    return ['| | |', '| --- | --- |', *(f'| {name} | {value} |' for name, value in machine.items()), '',
            'To repeat it:', '', '```sh', command, '```', '']


def processor_chapter(table, facts):
    wrong = list(table.wrong())
    return ['The same program, kernel and initrd run natively, under the installed QEMU with `-accel '
            'tcg,thread=multi -cpu max` and under Rhea with `-accel tcg -cpu max`, two virtual CPUs, the three of '
            'them in turn. Trust ratios to about a quarter: machines, neighbours and the luck of code alignment '
            'differ.', '',
            '### By class', '', *markdown(class_lines(table)), '',
            'The aim is a slowdown against native of at most, and a speed against QEMU of at least, '
            'the given figures; nothing fails when it is missed.', '',
            '### What the machine itself allows', '',
            'Where no emulator can reach the aim, since this machine without any does not:', '',
            *markdown(ceiling_lines(table)), '',
            '### By kernel', '',
            'Per unit of work (`bench -l` names it). Programs as a whole, in processor time of this machine; '
            '`openssl` counts by itself. The boot: the guest\'s clock, ours, processor time. The kernels are in '
            '`tests/bench/guest`, the programs and what they do in `tests/bench/programs.py`.', '',
            *markdown(kernel_lines(table)), '', '### Memory, start, translation', '',
            *markdown([['', 'QEMU', 'Rhea'], *facts]), '',
            '### Results that differ from the machine\'s', '',
            *([f'- {w}' for w in wrong] or ['None.']), '',
            '`fsin-fsqrt` is the one kernel whose last bits the architecture leaves open.', '']


def storage_chapter(table):
    return ['QEMU\'s programs and Rhea\'s do the same work in turn: `qemu-img` and `rhea-img`; `qemu-nbd` and '
            '`rhea-nbd` under `nbdcopy` and `fio`, the image tools\' NBD clients on `nbdkit`; fio in a guest whose '
            'disks are 128 MiB images. Images come from and go to the host\'s page cache and nobody waits for the '
            'disk: `convert` has its usual `-t unsafe`, the others `writeback` without a flush until the end, but '
            'cases called O_DIRECT, which do read the disk. The time is that of a run, or of a request where the '
            'case has a depth ("x 32"). Ratios above 1 are in Rhea\'s favour.', '',
            '### Storage by class', '', *markdown(storage_class_lines(table)), '',
            '### Storage by case', '', *markdown(storage_lines(table)), '',
            '### qcow2 beside raw, once allocated', '',
            'The two take turns, too: in one guest, on two servers that run beside each other. Of each session with '
            'new processes the best times make a ratio; the figure is the median of these. An aim that a quarter of '
            'the sessions meet is called open.', '', *markdown(qcow2_lines(table)), '']


HEAD = ['# How fast it is', '',
        'Written by `make bench` (`tests/bench/bench.py --write`); do not edit. A time is the best of the rounds. '
        '`tests/bench/bench.py --help` has the options.', '']


def write(path, chapters):
    """Renews chapters of the document, {title: lines}; the others stay as they are."""
    bodies = {}
    if os.path.exists(path):
        with open(path, encoding='utf-8') as f:
            for text in re.split(r'^## ', f.read(), flags=re.M)[1:]:
                title, _, body = text.partition('\n')
                bodies[title] = body
    bodies.update((title, '\n'.join(lines)) for title, lines in chapters.items())
    with open(path, 'w', encoding='utf-8') as f:
        f.write('\n'.join(HEAD))
        for title in CHAPTERS:
            if title in bodies:
                f.write(f'\n## {title}\n\n' + bodies[title].strip('\n') + '\n')
