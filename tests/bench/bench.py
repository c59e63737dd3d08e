#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compare Rhea with the installed QEMU, side by side in one run.

usage: bench.py [--build DIR] [--rounds N] [--no-boot]

  start-up   from process start to the QMP greeting, headless, best of N
  memory     resident beyond guest RAM, once the greeting has come, paused
  boot       -kernel to the shell of the default guest, TCG

Figures are printed, not judged: a slow machine must not fail anything.
"""
import argparse
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, 'tests', 'boot'))
from guest import Guest  # noqa: E402

RAM_MIB = 128


def resident_kib(pid):
    """Resident size of all mappings but guest RAM (known by its exact size)."""
    total, mapping_kib = 0, 0
    with open(f'/proc/{pid}/smaps', encoding='utf-8', errors='replace') as f:
        for line in f:
            match = re.match(r'([0-9a-f]+)-([0-9a-f]+) ', line)
            if match:
                mapping_kib = (int(match.group(2), 16) - int(match.group(1), 16)) >> 10
            elif line.startswith('Rss:') and mapping_kib != RAM_MIB << 10:
                total += int(line.split()[1])
    return total


def start(program, folder):
    """(milliseconds to the greeting, resident KiB) of one start."""
    path = os.path.join(folder, 'qmp')
    with socket.socket(socket.AF_UNIX) as listener:
        # We listen and the program connects, so that nobody has to poll.
        listener.bind(path)
        listener.listen()
        listener.settimeout(30)
        begin = time.perf_counter()
        process = subprocess.Popen([program, '-accel', 'tcg', '-m', str(RAM_MIB), '-S',
                                    '-display', 'none', '-nodefaults', '-qmp', f'unix:{path}'],
                                   stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            connection, _ = listener.accept()
            connection.settimeout(30)
            connection.recv(4096)
            elapsed = (time.perf_counter() - begin) * 1000
            return elapsed, resident_kib(process.pid)
        finally:
            process.kill()
            process.communicate()
            os.unlink(path)


def boot_seconds(program, kernel, initrd):
    begin = time.perf_counter()
    with Guest('-accel', 'tcg', '-m', '256', '-kernel', kernel, '-initrd', initrd,
               '-append', 'console=ttyS0 quiet', program=program, timeout=300) as guest:
        guest.wait_serial('Welcome to the default guest', 600)
        return time.perf_counter() - begin


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument('--build', default=os.path.join(ROOT, 'build'))
    parser.add_argument('--rounds', type=int, default=10)
    parser.add_argument('--no-boot', action='store_true')
    args = parser.parse_args()

    programs = [('Rhea', os.path.join(args.build, 'bin', 'rhea-system-x86_64'))]
    qemu = shutil.which('qemu-system-x86_64', path='/usr/bin:/usr/local/bin')
    if qemu:
        programs.append(('QEMU', qemu))
    else:
        print('No QEMU is installed here: only Rhea is measured (Debian package '
              'qemu-system-x86 for a comparison).')

    print(f'{"":6}{"start-up":>12}{"memory":>14}{"boot":>10}')
    for name, program in programs:
        with tempfile.TemporaryDirectory() as folder:
            rounds = [start(program, folder) for _ in range(args.rounds)]
        boot = '-'
        if not args.no_boot:
            guest = subprocess.run([sys.executable,
                                    os.path.join(ROOT, 'scripts', 'default_guest.py'),
                                    '--build', args.build, 'kernel'],
                                   capture_output=True, text=True, check=True).stdout.split()
            try:
                boot = f'{boot_seconds(program, *guest):.1f} s'
            except AssertionError as error:
                boot = 'failed'
                print(f'{name}: {str(error)[:300]}', file=sys.stderr)
        print(f'{name:6}{min(r[0] for r in rounds):9.1f} ms'
              f'{min(r[1] for r in rounds) / 1024:10.1f} MiB{boot:>10}', flush=True)


main()
