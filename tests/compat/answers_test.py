#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Lists, help texts and QMP answers of ours beside those of the installed QEMU 7.2.

Each case runs both on the same command line.  What ours names, QEMU must name, too, with the same type;
ours may have less, since it lists only what works.  What differs and is meant to is in ALLOWED.

usage: answers_test.py [-v] PROGRAM [QEMU]       (TAP; skips without QEMU 7.2)
       -v also prints what QEMU has and ours has not
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

HELP = ['-boot help', '-smp help', '-rtc help', '-action help', '-global help', '-msg help',
        '-overcommit help', '-vga help', '-display help', '-accel help', '-device help',
        '-object help', '-machine pc,help', '-d help']
DEVICES = ['isa-serial', 'isa-parallel', 'isa-debugcon', 'isa-debug-exit', 'isa-fdc', 'floppy',
           'ide-hd', 'ide-cd', 'VGA', 'pvpanic', 'ib700', 'scsi-hd', 'scsi-cd',
           'scsi-block', 'scsi-generic', 'lsi53c895a', 'virtio-scsi-pci']
MACHINE = ['-M', 'pc', '-m', '64', '-accel', 'tcg', '-nic', 'none', '-display', 'none', '-S']
QUERIES = ['query-status', 'query-name', 'query-uuid', 'query-target', 'query-kvm', 'query-mice',
           'query-cpus-fast', 'query-hotpluggable-cpus', 'query-memory-size-summary',
           'query-memdev', 'query-iothreads', 'query-fdsets', 'query-block', 'query-blockstats',
           'query-pci', 'query-chardev']
TYPES = ['memory-backend-ram', 'memory-backend-memfd', 'memory-backend-file', 'secret', 'iothread',
         'rng-random', 'VGA', 'ide-hd', 'isa-serial', 'pc-i440fx-7.2-machine']

# (case, what differs) and why.
ALLOWED = [
    # Ours answers a request for help with status 0 and has kinds of its own.
    (r'-accel help', r'qtest'),
    (r'-display help', r'sdl'),          # a module that Debian has in another package
    (r'-d help', r'.*'),                 # own items, described in own words
    (r'-machine pc,help', r'=<'),        # types have other names in help
    (r'query-kvm', r'enabled'),
    (r'pc', r'^fd-bootchk$'),            # what -no-fd-bootchk sets
    (r'-device floppy,help', r'^(bootindex|rerror|werror|serial)$'),     # as other drives have
    (r'-device virtio-scsi-pci,help', r'^class$'),           # as other virtio devices have
]


def run(program, words):
    return subprocess.run([program, *words], capture_output=True, text=True, timeout=60,
                          stdin=subprocess.DEVNULL, check=False).stdout.splitlines()


def talk(program, requests):
    """The answers to the requests, each "return" or "error"."""
    with tempfile.TemporaryDirectory() as folder:
        text = '\n'.join(json.dumps(r) for r in [{'execute': 'qmp_capabilities'}, *requests,
                                                 {'execute': 'quit'}])
        result = subprocess.run([program, *MACHINE, '-qmp', 'stdio', '-serial', 'null'], input=text,
                                capture_output=True, text=True, timeout=60, cwd=folder,
                                check=False)
    answers = [json.loads(line) for line in result.stdout.splitlines() if line.startswith('{')]
    answers = [a for a in answers if 'return' in a or 'error' in a][1:]
    if len(answers) < len(requests):
        raise EOFError(f'{program} ended with status {result.returncode}: {result.stderr[:300]}')
    return answers


def names_of(line):
    """What a line of a list is about, and the type it gives to that."""
    match = re.match(r'name "([^"]+)"(, bus [^,]+)?', line)
    if match:
        return match.group(0)
    match = re.match(r'\s*([^\s=]+)=<([^>]+)>', line)
    if match:
        return match.group(1)
    match = re.match(r'\s*(\S+)', line)
    return match.group(1) if match else ''


def shape(value, path=''):
    """The members of a JSON value with their types, lists by their elements."""
    if isinstance(value, dict):
        rows = set()
        for key, inner in value.items():
            rows |= shape(inner, f'{path}.{key}')
        return rows
    if isinstance(value, list):
        rows = set()
        for inner in value:
            rows |= shape(inner, f'{path}[]')
        return rows or {f'{path}[]'}
    kind = {bool: 'bool', int: 'int', float: 'number', str: 'str'}.get(type(value), 'null')
    return {f'{path}: {kind}'}


class Comparison:
    def __init__(self, ours, theirs, verbose):
        self.ours, self.theirs, self.verbose = ours, theirs, verbose
        self.count = self.failed = 0

    def case(self, name, mine, other):
        """Sets of strings: what is MINE only is a difference."""
        extra = sorted(x for x in mine - other
                       if not any(re.search(c, name) and re.search(d, x) for c, d in ALLOWED))
        self.count += 1
        self.failed += bool(extra)
        print(f'{"not ok" if extra else "ok"} {self.count} {name}')
        for row in extra:
            print(f'# only ours: {row}')
        if self.verbose:
            for row in sorted(other - mine):
                print(f'# only QEMU: {row}')

    def lists(self):
        for line in HELP + [f'-device {d},help' for d in DEVICES]:
            mine, other = ({names_of(row) for row in run(p, line.split())}
                           for p in (self.ours, self.theirs))
            self.case(line, mine, other)

    def queries(self):
        requests = [{'execute': q} for q in QUERIES]
        for name, mine, other in zip(QUERIES, talk(self.ours, requests), talk(self.theirs, requests)):
            if name == 'query-chardev':          # what default devices there are differs
                mine, other = ({'return': a['return'][:1]} for a in (mine, other))
            self.case(name, shape(mine), shape(other))

    def types(self):
        requests = [{'execute': 'qom-list-properties', 'arguments': {'typename': t}} for t in TYPES]
        for name, mine, other in zip(TYPES, talk(self.ours, requests), talk(self.theirs, requests)):
            mine, other = ({p['name'] for p in a.get('return', [])} for a in (mine, other))
            self.case(f'properties of {name}', mine, other)


def main():
    words = [w for w in sys.argv[1:] if w != '-v']
    qemu = words[1] if len(words) > 1 else shutil.which('qemu-system-x86_64', path='/usr/bin')
    if not qemu:
        print('1..0 # SKIP no QEMU to compare with (package qemu-system-x86)')
        return
    if 'version 7.2.' not in ''.join(run(qemu, ['--version'])):
        print(f'1..0 # SKIP {qemu} is not 7.2')
        return
    try:
        talk(qemu, [])
    except (EOFError, subprocess.TimeoutExpired) as error:
        print(f'1..0 # SKIP {error}'.replace('\n', ' '))
        return
    c = Comparison(os.path.abspath(words[0]), qemu, '-v' in sys.argv)
    c.lists()
    c.queries()
    c.types()
    print(f'1..{c.count}')
    sys.exit(c.failed != 0)


if __name__ == '__main__':
    main()
