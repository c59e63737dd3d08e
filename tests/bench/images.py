#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Image tools: rhea-img beside qemu-img, in one run.

usage: images.py [--build DIR] [--rounds N] [--mib N]

  convert   raw to qcow2 and back: plain, sparse, compressed (zlib, zstd, and back)
  metadata  check and map of a large image in pieces; info of one of 1 TiB

The tools take turns; best of N rounds, in milliseconds.  Figures are printed, not judged: a busy
machine must not fail anything.  The exit status tells whether all could be run, and whether what
both made is equal.
"""
import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
KIB, MIB = 1024, 1024 * 1024


def milliseconds(*command):
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                   timeout=600)
    return (time.perf_counter() - begin) * 1000


def make_raw(path, mib, holes):
    """Half of it random, half text; with HOLES seven eighths are missing."""
    rnd = random.Random(1)
    with open(path, 'wb') as f:
        f.truncate(mib * MIB)
        for i in range(mib):
            if holes and i % 8:
                continue
            f.seek(i * MIB)
            f.write(rnd.randbytes(MIB) if i % 2 else b'a line of text that packs well\n' * 33825)


def make_pieces(tool_io, path, qemu_img, count):
    """COUNT clusters in no order at all, so that hardly two are neighbours."""
    rnd = random.Random(2)
    subprocess.run([qemu_img, 'create', '-q', '-f', 'qcow2', path, '64G'], check=True)
    places = rnd.sample(range(64 * 1024 * 16), count)
    script = '\n'.join(f'write -q {p * 64 * KIB} 64k' for p in places)
    subprocess.run([tool_io, '-f', 'qcow2', path], input=script, text=True, check=True,
                   stdout=subprocess.DEVNULL)


def rows(source, sparse, pieces, large):
    """(what, arguments, output file that must be equal)"""
    q, r = ['-f', 'raw', '-O', 'qcow2'], ['-f', 'qcow2', '-O', 'raw']
    return [
        ('raw to qcow2', ['convert', *q, source, 'OUT']),
        ('raw to qcow2, sparse', ['convert', *q, sparse, 'OUT']),
        ('raw to qcow2, zlib', ['convert', '-c', *q, source, 'OUT']),
        ('raw to qcow2, zstd', ['convert', '-c', '-o', 'compression_type=zstd', *q, source,
                                'OUT']),
        ('qcow2 to raw', ['convert', *r, 'plain.qcow2', 'OUT']),
        ('qcow2 to raw, sparse', ['convert', *r, 'sparse.qcow2', 'OUT']),
        ('qcow2 to raw, zlib', ['convert', *r, 'zlib.qcow2', 'OUT']),
        ('check, in pieces', ['check', '-f', 'qcow2', pieces]),
        ('map, in pieces', ['map', '--output=json', '-f', 'qcow2', pieces]),
        ('info of 1 TiB', ['info', '-f', 'qcow2', large]),
    ]


def best(tools, arguments, rounds):
    times = [[] for _ in tools]
    for _ in range(rounds):
        for i, tool in enumerate(tools):
            out = f'out{i}'
            if os.path.exists(out):
                os.unlink(out)
            times[i].append(milliseconds(tool, *[out if a == 'OUT' else a for a in arguments]))
    return [min(t) for t in times]


def main():
    p = argparse.ArgumentParser()
    p.add_argument('--build', default=os.path.join(ROOT, 'build'))
    p.add_argument('--rounds', type=int, default=3)
    p.add_argument('--mib', type=int, default=256)
    args = p.parse_args()
    qemu = shutil.which('qemu-img')
    tools = os.path.join(os.path.abspath(args.build), 'tools')
    rhea, rhea_io = os.path.join(tools, 'rhea-img'), os.path.join(tools, 'rhea-io')
    if not qemu:
        print('images.py: qemu-img (package qemu-utils) is missing')
        return 1
    folder = tempfile.mkdtemp(prefix='rhea-bench-')
    differ = False
    try:
        os.chdir(folder)
        make_raw('src.raw', args.mib, False)
        make_raw('sparse.raw', args.mib * 4, True)
        make_pieces(rhea_io, 'pieces.qcow2', qemu, 8000)
        subprocess.run([qemu, 'create', '-q', '-f', 'qcow2', '-o', 'preallocation=metadata',
                        'large.qcow2', '1T'], check=True)
        for name, more in (('plain', []), ('sparse', []), ('zlib', ['-c'])):
            subprocess.run([qemu, 'convert', *more, '-f', 'raw', '-O', 'qcow2',
                            'sparse.raw' if name == 'sparse' else 'src.raw', name + '.qcow2'],
                           check=True)
        print(f'{"milliseconds, best of " + str(args.rounds):32}{"QEMU":>10}{"Rhea":>10}{"QEMU/Rhea":>12}')
        for what, arguments in rows('src.raw', 'sparse.raw', 'pieces.qcow2', 'large.qcow2'):
            a, b = best([qemu, rhea], arguments, args.rounds)
            print(f'{what:32}{a:10.1f}{b:10.1f}{a / b:12.2f}', flush=True)
            if 'OUT' in arguments:
                same = subprocess.run([qemu, 'compare', '-q', 'out0', 'out1'], check=False)
                if same.returncode:
                    differ = True
                    print(f'{what}: the results differ')
    finally:
        os.chdir('/')
        shutil.rmtree(folder)
    return 1 if differ else 0


sys.exit(main())
