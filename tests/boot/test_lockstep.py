#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The translator and the interpreter do the same, instruction by instruction, while Linux boots (scripts/lockstep.py)."""
import os
import re
import subprocess
import sys

from guest import ROOT, GuestError, run_tests, system_program
from test_kernels import default_kernel

TOOL = os.path.join(ROOT, 'scripts', 'lockstep.py')
CPU = 'max,-rdrand,-rdseed'


def lockstep(last, *options, every=10000000, second='x-opt-dead-flags=off'):
    """Fail with the first difference of the two engines in LAST instructions of the boot."""
    kernel, initrd = default_kernel()
    command = [sys.executable, TOOL, '--program', system_program(), '--every', str(every), '--to', str(last),
               '--second', second, '--', '-m', '128', '-cpu', CPU, *options, '-kernel', kernel, '-initrd', initrd,
               '-append', 'console=ttyS0']
    if os.environ.get('RHEA_ACCEL', 'tcg') != 'tcg':
        return
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise GuestError(f'{result.stdout[-6000:]}{result.stderr[-2000:]}')
    print('# ' + result.stdout.strip())


def difference_is_found():
    """The tool leads to the instruction that reads another time, here the clocks are made to differ: it is among the
    last of those that the report lists, for what a stop changes of the time may hide the difference in short steps."""
    kernel, initrd = default_kernel()
    command = [sys.executable, TOOL, '--program', system_program(), '--every', '1000000', '--to', '20000001', '--second',
               'x-opt-dead-flags=off,x-icount=3', '--', '-m', '64', '-cpu', CPU, '-kernel', kernel, '-initrd', initrd]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 1 or not re.search(r'next 0x[0-9a-f]+: (rdtsc|in) [^#]*\n# after \d+ instructions', result.stdout):
        raise GuestError(f'status {result.returncode}: {result.stdout[-3000:]}{result.stderr[-2000:]}')


def firmware_and_early_boot():
    """The firmware, and Linux until it has its memory: 200 million instructions."""
    lockstep(200000001)


def whole_boot():
    """One CPU to the shell's prompt and beyond."""
    lockstep(1600000001)


def two_cpus():
    """Two CPUs that take turns, until the kernel's devices have been found."""
    lockstep(500000001, '-smp', '2')


def one_instruction_a_block():
    lockstep(300000001, second='x-opt-dead-flags=off,one-insn-per-tb=on')


if __name__ == '__main__':
    run_tests(firmware_and_early_boot, difference_is_found,
              slow=[whole_boot, two_cpus, one_instruction_a_block])
