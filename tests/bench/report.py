# SPDX-License-Identifier: MIT
"""Tables out of what bench.py measured: for the terminal, and as docs/performance.md.

A row has a class; a class has targets (how much slower than native at most, how many times faster than
QEMU's TCG at least).  Verdicts are printed and never fail anything: machines differ.
"""
import math
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
    'virtio-blk':  ('virtio-blk under fio', None, 1),
    'nvme':        ('NVMe under fio', None, 1),
    'boot':        ('boot to /init', None, 3),
    'iso':         ('boot of the GRUB ISO to its prompt', None, None),
}
WHOLE = (2.5, 5)
# The last bits of FSIN are the processor's own affair; openssl prints rates only.
NO_CHECK = '-'


def geometric(values):
    values = [v for v in values if v]
    return math.exp(statistics.fmean(math.log(v) for v in values)) if values else None


class Row:
    """One kernel: its times and checksums by the names of the targets."""

    def __init__(self, name, kind):
        self.name, self.kind = name, kind
        self.times, self.sums = {}, {}

    def add(self, target, ns, checksum):
        if ns is not None:
            self.times.setdefault(target, []).append(ns)
            self.sums.setdefault(target, set()).add(checksum)

    def best(self, target):
        return min(self.times[target]) if target in self.times else None

    def median(self, target):
        return statistics.median(self.times[target]) if target in self.times else None

    def ratio(self, slow, fast):
        """How much longer SLOW takes than FAST, by their best times."""
        a, b = self.best(slow), self.best(fast)
        return a / b if a and b else None

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

    def add_time(self, target, name, kind, seconds):
        """A figure without checksum."""
        self.rows.setdefault(name, Row(name, kind)).add(target, seconds * 1e9, NO_CHECK)

    def classes(self):
        """(class, its rows) in the order of CLASSES."""
        for kind in CLASSES:
            rows = [r for r in self.rows.values() if r.kind == kind]
            if rows:
                yield kind, rows

    def summary(self):
        """(title, Rhea against native, against QEMU, QEMU against native, verdict), the whole last."""
        for kind, rows in self.classes():
            title, slow, fast = CLASSES[kind]
            yield (title, *self._figures(rows, slow, fast))
        yield ('all of these', *self._figures(self.rows.values(), *WHOLE))

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


def document(table, machine, facts, command):
    """docs/performance.md."""
    wrong = list(table.wrong())
    parts = ['# How fast it is', '',
             'Written by `make bench` (`tests/bench/bench.py --write`); do not edit. The same program, kernel and '
             'initrd run natively, under the installed QEMU with `-accel tcg,thread=multi -cpu max` and under Rhea '
             'with `-accel tcg -cpu max`, two virtual CPUs, the three of them in turn. A time is the best of '
             f'{machine["rounds"]} round(s). Trust ratios to about a quarter: machines, neighbours and the luck of '
             'code alignment differ.', '',
             '| | |', '| --- | --- |']
    parts += [f'| {name} | {value} |' for name, value in machine.items()]
    parts += ['', '## By class', '', *markdown(class_lines(table)), '',
              'The aim is a slowdown against native of at most, and a speed against QEMU of at least, '
              'the given figures; nothing fails when it is missed.', '',
              '## By kernel', '',
              'Per unit of work (`bench -l` names it). Programs as a whole, in processor time of this machine; '
              '`openssl` counts by itself. The boot: the guest\'s clock, ours, processor time.', '',
              *markdown(kernel_lines(table)), '', '## Memory, start, translation', '',
              *markdown([['', 'QEMU', 'Rhea'], *facts]), '',
              '## Results that differ from the machine\'s', '',
              *([f'- {w}' for w in wrong] or ['None.']), '',
              '`fsin-fsqrt` is the one kernel whose last bits the architecture leaves open.', '',
              '## To repeat it', '', '```sh', command, '```', '',
              'The kernels are in `tests/bench/guest`, the programs and what they do in '
              '`tests/bench/programs.py`. `tests/bench/bench.py --help` has the options.', '']
    return '\n'.join(parts)
