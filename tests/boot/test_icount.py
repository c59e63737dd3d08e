#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Virtual time by instructions (-icount), and vCPUs that take turns (-accel tcg,thread=single)."""
import os
import re

from guest import QUIET, Guest, GuestError, run_tests
from test_kernels import default_kernel, to_shell_and_off

WELCOME = r'Welcome to the default guest of Rhea'


def start(*options):
    kernel, initrd = default_kernel()
    return Guest(*options, '-m', '256', '-kernel', kernel, '-initrd', initrd, '-append',
                 QUIET.replace(' quiet', ''))


def first_difference(first, second):
    for a, b in zip(first.splitlines(), second.splitlines()):
        if a != b:
            return f'{a!r} then {b!r}'
    return f'{len(first)} then {len(second)} bytes'


def two_runs_are_the_same():
    """What two CPUs print until init starts, microseconds included, is the same in a second run."""
    if os.environ.get('RHEA_ACCEL', 'tcg') != 'tcg':
        return
    logs = []
    for _ in range(2):
        with start('-icount', 'shift=2,sleep=off', '-smp', '2', '-rtc', 'base=2020-01-01,clock=vm') as guest:
            guest.wait_serial(WELCOME, 600)
            logs.append(guest.serial_log[:guest.serial_log.index('Welcome')])
    stamps = re.findall(r'^\[ *\d+\.\d{6}\]', logs[0], re.MULTILINE)
    if len(stamps) < 100 or 'smp: Brought up 1 node, 2 CPUs' not in logs[0]:
        raise GuestError(f'{len(stamps)} times in the log: {logs[0][-500:]}')
    if logs[0] != logs[1]:
        raise GuestError('the second run differs: ' + first_difference(*logs))


def two_cpus_take_turns():
    """Linux with two CPUs, of which one runs at a time, reaches a shell and powers off."""
    with start('-accel', 'tcg,thread=single', '-smp', '2') as guest:
        to_shell_and_off(guest, 2, 'x86_64', 600)


def shift_that_adapts():
    """shift=auto keeps a guest near the host's time; halted CPUs wait for it."""
    with start('-icount', 'auto') as guest:
        to_shell_and_off(guest, 1, 'x86_64', 600)


if __name__ == '__main__':
    run_tests(two_runs_are_the_same, two_cpus_take_turns, slow=[shift_that_adapts])
