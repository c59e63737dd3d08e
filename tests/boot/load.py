#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Keep a guest with two processors under load for minutes; every result is checked.

usage: load.py [--minutes N] [--seed N] [--workers N] [--jobs NAME,...] [--cpus N] [-- OPTION...]

tests/boot/guest/load.c has the jobs: hashing, sorting, processes, pipes, maps, signals, threads, floating point,
code that is written and run, exceptions.  What each job must compute is computed natively first.
A wrong checksum, a worker that dies or stands still, a complaint of the guest's kernel, or a silent
guest fails the test; the message has the seed that repeats it.  OPTIONs replace "-accel tcg -cpu max".
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile

import initrd
from guest import QUIET, ROOT, Guest, GuestError, Skip, run_tests

BUILD = os.environ.get('RHEA_BUILD', os.path.join(ROOT, 'build'))
SCRIPT = '/load -s $SEED -t $SECONDS -w $WORKERS -e /expected ${JOBS:+-j $JOBS}\n'
# No heartbeat for so long is a dead guest, however slow: there is one every five seconds of its time.
SILENCE_S = 600
KERNEL_TROUBLE = re.compile(r'BUG:|Oops|general protection|segfault|soft lockup|rcu: INFO|Kernel panic|invalid opcode|'
                            r'double fault|WARNING:')


def parse(words):
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument('--minutes', type=float, default=3)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--workers', type=int, default=4)
    parser.add_argument('--cpus', type=int, default=2)
    parser.add_argument('--jobs', default='')
    options = words[words.index('--') + 1:] if '--' in words else []
    args = parser.parse_args(words[:words.index('--')] if '--' in words else words)
    accel = os.environ.get('RHEA_ACCEL', 'tcg')
    args.options = options or ['-accel', accel, '-cpu', 'host' if accel == 'kvm' else 'max']
    return args


def follow(guest, args):
    """Print heartbeats until the end; raise for trouble."""
    while True:
        match = guest.wait_serial(r'load: (\d+ s|good|WRONG|bad)[^\r\n]*[\r\n]', SILENCE_S)
        print('# ' + match.group(0).strip(), flush=True)
        trouble = KERNEL_TROUBLE.search(guest.serial_log)
        if match.group(1) in ('WRONG', 'bad') or trouble:
            raise GuestError(f'{match.group(0).strip()}; the guest printed:\n{guest.serial_log[-3000:]}')
        if match.group(1) == 'good':
            guest.wait_serial(r'initrd: status 0\s')
            return


def load():
    """Nothing but right results from all jobs, for the given time."""
    args = ARGS
    program = os.path.join(BUILD, 'tests', 'boot', 'guest', 'load')
    if not os.path.exists(program):
        raise Skip('tests/boot/guest/load is not built: there is no static C library (libc6-dev)')
    with tempfile.TemporaryDirectory() as folder:
        expected = os.path.join(folder, 'expected')
        with open(expected, 'wb') as f:
            subprocess.run([program, '-s', str(args.seed), '-p'], stdout=f, check=True)
        archive = os.path.join(folder, 'initrd.cpio')
        initrd.write(archive, SCRIPT, [('bin/busybox', initrd.default_guest.find_busybox()), ('load', program),
                                       ('expected', expected)])
        words = {'SEED': args.seed, 'SECONDS': int(args.minutes * 60), 'WORKERS': args.workers}
        if args.jobs:
            words['JOBS'] = args.jobs
        append = ' '.join([QUIET, *(f'{k}={v}' for k, v in words.items())])
        with Guest(*args.options, '-m', '512', '-smp', str(args.cpus), '-kernel', initrd.kernel(BUILD), '-initrd',
                   archive, '-append', append, timeout=120) as guest:
            guest.wait_serial(r'initrd: init at [\d.]+\s', SILENCE_S)
            follow(guest, args)


if __name__ == '__main__':
    ARGS = parse(sys.argv[1:])
    sys.argv[1:] = []
    run_tests(load)
