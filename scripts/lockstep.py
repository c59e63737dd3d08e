#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Find the first instruction after which two runs of a guest differ.

usage: lockstep.py [--program FILE] [--first OPTIONS] [--second OPTIONS] [--every N] [--to N] [--folder DIR] -- OPTION...

Both runs have the machine OPTIONs and virtual time by instructions (-icount), so that they see the same
interrupts at the same instructions; --first and --second are options of -accel tcg, by default
"x-translate=off" (the interpreter) and "x-opt-dead-flags=off" (the translator, with all flags kept).
Each writes a hash of its state every N instructions.  From the last equal ones, the runs are made again with shorter
steps, down to one instruction; then what differs is printed: registers, words of memory, and the instructions.

A block runs translated only if no hash is wanted in its middle: the instruction found is then the last of the block that went
wrong, or the first that was wrong by itself.  "--second x-opt-dead-flags=off,one-insn-per-tb=on" tells.

What comes from outside must not: no disks, network, keys; no RDRAND and RDSEED; -rtc clock=vm.
Exit status 1 when there is a difference, 2 when a run did not work.

    scripts/lockstep.py --to 300000000 -- -m 128 -cpu max,-rdrand,-rdseed -kernel vmlinuz -initrd initrd.gz -append console=ttyS0
"""
import argparse
import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
STEPS = 16
LINES = 60


class Failed(Exception):
    """A run that did not come to its end; the text says why."""


def parse(words):
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument('--program', default=os.environ.get(
        'RHEA_SYSTEM', os.path.join(ROOT, 'build', 'bin', 'rhea-system-x86_64')))
    parser.add_argument('--first', default='x-translate=off')
    parser.add_argument('--second', default='x-opt-dead-flags=off')
    parser.add_argument('--every', type=int, default=5000000)
    parser.add_argument('--to', type=int, default=200000000)
    parser.add_argument('--shift', type=int, default=2)
    parser.add_argument('--folder')
    cut = words.index('--') if '--' in words else len(words)
    args = parser.parse_args(words[:cut])
    args.options = words[cut + 1:]
    return args


def start(args, name, accel, first, last, every, detail):
    path = os.path.join(args.folder, name)
    props = f'tcg,x-hash-file={path},x-hash-every={every},x-hash-from={first},x-hash-to={last}'
    command = [args.program, '-display', 'none', '-monitor', 'none', '-serial', f'file:{path}.serial', '-rtc',
               'base=2020-01-01,clock=vm', '-icount', f'shift={args.shift},sleep=off', '-accel',
               f'{props},x-hash-detail={"on" if detail else "off"},{accel}', *args.options]
    return path, subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def read_states(path):
    """[(count, [lines])], a state each."""
    states = []
    with open(path, encoding='utf-8') as f:
        for line in f.read().splitlines():
            if line == 'end':
                return states
            if line.startswith(' '):
                states[-1][1].append(line)
            else:
                states.append((int(line.split()[0]), [line]))
    raise Failed(f'{path}: the run ended before the last count')


def run_both(args, first, last, every, detail=False):
    runs = [start(args, 'first', args.first, first, last, every, detail),
            start(args, 'second', args.second, first, last, every, detail)]
    try:
        for path, process in runs:
            message = process.communicate()[1].decode(errors='replace')
            if process.returncode:
                raise Failed(f'{path}: status {process.returncode}: {message}')
    finally:
        for _, process in runs:
            if process.poll() is None:
                process.kill()
            process.wait()
    return [read_states(path) for path, _ in runs]


def first_difference(states):
    """Index of it, or None."""
    for i, (a, b) in enumerate(zip(*states)):
        if a != b:
            return i
    shorter = min(len(s) for s in states)
    return None if len(states[0]) == len(states[1]) else shorter


def window(args):
    """(last equal count, first different one), as close as can be; None: no difference.  And how many were compared."""
    every, low, high, compared = args.every, 1, args.to, None
    while True:
        states = run_both(args, low, high, every)
        i = first_difference(states)
        compared = compared or len(states[0])
        if i is None:
            if every != args.every:
                print(f'between {low} and {high}: seen in steps of {every * STEPS}, but not of {every}')
            return (low, high) if every != args.every else None, compared
        if i == 0 or i >= len(states[0]) or i >= len(states[1]):
            raise Failed(f'the runs part at {low}, before the first step')
        low, high = states[0][i - 1][0], states[0][i][0]
        print(f'# equal after {low}, different after {high} instructions', flush=True)
        if high - low == 1:
            return (low, high), compared
        every = max(1, (high - low) // STEPS)


def report(args, low, high):
    """What was run, and what is different behind it: both without a stop in between."""
    first, _ = run_both(args, max(1, low - 20), high, 1, detail=True)
    print('# the instructions that led there:')
    for count, lines in first[:-1]:
        print('\n'.join(f'{count}{line}' for line in lines if ' next ' in line))
    first, second = run_both(args, low, high, high - low, detail=True)
    a, b = first[-1][1], second[-1][1]
    print(f'# after {high} instructions: -first, +second')
    print('\n'.join([f'-{line}' for line in a if line not in b][:LINES] + [f'+{line}' for line in b if line not in a][:LINES]))


def main():
    args = parse(sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix='rhea-lockstep-') as folder:
        args.folder = args.folder or folder
        try:
            found, compared = window(args)
            if found:
                report(args, *found)
                return 1
        except (Failed, OSError) as error:
            print(f'lockstep.py: {error}', file=sys.stderr)
            return 2
    print(f'{compared} states are equal, up to {args.to} instructions')
    return 0


if __name__ == '__main__':
    sys.exit(main())
