#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""NBD throughput of Rhea beside QEMU, in one run.

usage: nbd.py [--build DIR] [--rounds N] [--mib N]

  servers   rhea-nbd and qemu-nbd, under the same clients (nbdcopy, qemu-img bench)
  clients   rhea-img and qemu-img, on qemu-nbd

Best of N rounds, MiB/s and requests/s.  Figures are printed, not judged: a busy machine must not
fail anything.
"""
import argparse
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Server:
    """Listens on a unix socket when the constructor returns."""

    def __init__(self, program, image, fmt, writable):
        self.socket = os.path.abspath('s')
        more = ['-t', '-e', '0', '-f', fmt, '-k', self.socket, '--fork', '--pid-file', 'pid']
        subprocess.run([program, *more, *([] if writable else ['-r']), image], check=True,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        with open('pid', encoding='ascii') as f:
            self.pid = int(f.read())
        self.uri = f'nbd+unix:///?socket={self.socket}'

    def __enter__(self):
        return self

    def __exit__(self, *_):
        fd = os.pidfd_open(self.pid)
        os.kill(self.pid, signal.SIGTERM)
        select.select([fd], [], [], 60)
        os.close(fd)
        if os.path.exists(self.socket):
            os.unlink(self.socket)


def seconds(*command):
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                   timeout=300)
    return time.perf_counter() - begin


def bench(tool, uri, depth, size, count, write):
    return [tool, 'bench', '-f', 'raw', '-c', str(count), '-d', str(depth), '-s', str(size),
            '-t', 'none', *(['-w'] if write else []), uri]


def jobs(mib):
    """(name, format, writable, command of (client tool, uri), amount, unit)"""
    big, count = mib * 4, 20000
    for fmt in ('raw', 'qcow2'):
        yield (f'read {fmt}, nbdcopy', fmt, False, lambda tool, uri: ['nbdcopy', uri, 'null:'], mib, 'MiB/s')
        yield (f'write {fmt}, nbdcopy', fmt, True,
               lambda tool, uri: ['nbdcopy', '--destination-is-zero', 'src.raw', uri], mib, 'MiB/s')
        for write in (False, True):
            verb = 'write' if write else 'read'
            yield (f'{verb} {fmt}, 64k x 16', fmt, write,
                   lambda tool, uri, w=write: bench(tool, uri, 16, 65536, big * 4, w), big * 4 / 16, 'MiB/s')
            yield (f'{verb} {fmt}, 4k x 16', fmt, write,
                   lambda tool, uri, w=write: bench(tool, uri, 16, 4096, count, w), count, 'req/s')
            yield (f'{verb} {fmt}, 4k x 1', fmt, write,
                   lambda tool, uri, w=write: bench(tool, uri, 1, 4096, count // 2, w), count // 2, 'req/s')


def measure(program, tool, fmt, writable, command, rounds):
    image = 'src.' + fmt
    best = None
    with Server(program, image, fmt, writable) as server:
        for _ in range(rounds):
            took = seconds(*command(tool, server.uri))
            best = min(best, took) if best else took
    return best


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument('--build', default=os.path.join(ROOT, 'build'))
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--mib', type=int, default=256)
    args = parser.parse_args()
    for program in ('qemu-nbd', 'qemu-img', 'nbdcopy'):
        if not shutil.which(program):
            sys.exit(f'nbd.py: {program} is not installed (scripts/install_deps.sh check)')
    tools = os.path.join(os.path.abspath(args.build), 'tools')
    rhea_nbd, rhea_img = os.path.join(tools, 'rhea-nbd'), os.path.join(tools, 'rhea-img')
    load = os.getloadavg()[0]
    folder = tempfile.mkdtemp(prefix='rhea-bench-nbd-')
    try:
        os.chdir(folder)
        with open('src.raw', 'wb') as f:
            block = os.urandom(1 << 20)
            for _ in range(args.mib):
                f.write(block)
        subprocess.run(['qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', 'src.raw', 'src.qcow2'],
                       check=True)
        print(f'{"":28}{"QEMU":>12}{"Rhea":>12}{"":9}ratio')
        for what, others in (('server', [('qemu-nbd', 'qemu-img'), (rhea_nbd, 'qemu-img')]),
                             ('client', [('qemu-nbd', 'qemu-img'), ('qemu-nbd', rhea_img)])):
            for name, fmt, writable, command, amount, unit in jobs(args.mib):
                if what == 'client' and ('nbdcopy' in name or fmt != 'raw'):
                    continue
                rates = [amount / measure(program, tool, fmt, writable, command, args.rounds)
                         for program, tool in others]
                print(f'{what}: {name:20}{rates[0]:12.0f}{rates[1]:12.0f} {unit:8}'
                      f'{rates[1] / rates[0]:.2f}', flush=True)
    finally:
        os.chdir('/')
        shutil.rmtree(folder)
    print(f'best of {args.rounds}; {os.cpu_count()} processors, load average {load:.1f} at the start')


main()
