# SPDX-License-Identifier: MIT
"""Image tools: rhea-img beside qemu-img.

    for group in images.groups(tools): ...         # in a scratch folder, which is the current one

convert between raw and qcow2, check and map of a large image in pieces, info of one of 1 TiB, and bench.
What both made must be equal.
"""
import os
import random
import subprocess

import paired

KIB, MIB = 1024, 1024 * 1024
MIB_EACH = 256
PIECES = 8000
REQUESTS = 20000
# As many bytes from one request to the next: a stride that comes by all places of the image in no order
# that read-ahead could know.
STRIDE = 37 * 68 * KIB


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


def make_pieces(qemu_io, path, qemu_img):
    """Clusters in no order at all, so that hardly two are neighbours."""
    rnd = random.Random(2)
    subprocess.run([qemu_img, 'create', '-q', '-f', 'qcow2', path, '64G'], check=True)
    places = rnd.sample(range(64 * 1024 * 16), PIECES)
    script = '\n'.join(f'write -q {p * 64 * KIB} 64k' for p in places)
    subprocess.run([qemu_io, '-f', 'qcow2', path], input=script, text=True, check=True,
                   stdout=subprocess.DEVNULL)


def prepare(tools):
    """The sources, all of them QEMU's, in the page cache."""
    qemu, qemu_io = tools['QEMU']['img'], tools['Rhea']['io']
    make_raw('src.raw', MIB_EACH, False)
    make_raw('sparse.raw', MIB_EACH * 4, True)
    make_raw('small.raw', MIB_EACH // 4, False)
    make_pieces(qemu_io, 'pieces.qcow2', qemu)
    subprocess.run([qemu, 'create', '-q', '-f', 'qcow2', '-o', 'preallocation=metadata', 'large.qcow2', '1T'],
                   check=True)
    for name, source, more in (('plain', 'src', []), ('sparse', 'sparse', []), ('zlib', 'src', ['-c']),
                               ('zstd', 'src', ['-c', '-o', 'compression_type=zstd'])):
        subprocess.run([qemu, 'convert', *more, '-f', 'raw', '-O', 'qcow2', source + '.raw', name + '.qcow2'],
                       check=True)
    for name in ('bench.raw', 'bench.qcow2'):
        subprocess.run([qemu, 'convert', '-f', 'raw', '-O', name[6:], 'src.raw', name], check=True)
    # Of the one of 1 TiB, whose tables are 128 MiB, nobody reads the holes.
    paired.settle(*(name for name in os.listdir() if name != 'large.qcow2'))


# name, class, words; OUT is a file that is not there, MADE the same one, which is.
# clang-format has no say here: the table is read by its columns.
TO, FROM = ['-f', 'raw', '-O', 'qcow2'], ['-f', 'qcow2', '-O', 'raw']
ROWS = [
    ('raw to qcow2',             'convert',  ['convert', *TO, 'src.raw', 'OUT']),
    ('raw to qcow2, -W',         'convert',  ['convert', '-W', *TO, 'src.raw', 'OUT']),
    ('raw to qcow2, -n',         'convert',  ['convert', '-n', *TO, 'src.raw', 'MADE']),
    ('raw to qcow2, sparse',     'convert',  ['convert', *TO, 'sparse.raw', 'OUT']),
    ('raw to raw',               'convert',  ['convert', '-f', 'raw', '-O', 'raw', 'src.raw', 'OUT']),
    ('qcow2 to raw',             'convert',  ['convert', *FROM, 'plain.qcow2', 'OUT']),
    ('qcow2 to raw, -W',         'convert',  ['convert', '-W', *FROM, 'plain.qcow2', 'OUT']),
    ('qcow2 to raw, -n',         'convert',  ['convert', '-n', *FROM, 'plain.qcow2', 'MADE']),
    ('qcow2 to raw, sparse',     'convert',  ['convert', *FROM, 'sparse.qcow2', 'OUT']),
    ('qcow2 to qcow2',           'convert',  ['convert', '-f', 'qcow2', '-O', 'qcow2', 'plain.qcow2', 'OUT']),
    ('raw to qcow2, zlib',       'compress', ['convert', '-c', *TO, 'small.raw', 'OUT']),
    ('raw to qcow2, zlib, -m 1', 'compress', ['convert', '-c', '-m', '1', *TO, 'small.raw', 'OUT']),
    ('raw to qcow2, zlib, -m 16', 'compress', ['convert', '-c', '-m', '16', *TO, 'small.raw', 'OUT']),
    ('raw to qcow2, zstd',       'compress', ['convert', '-c', '-o', 'compression_type=zstd', *TO, 'src.raw', 'OUT']),
    ('qcow2 to raw, zlib',       'compress', ['convert', *FROM, 'zlib.qcow2', 'OUT']),
    ('qcow2 to raw, zstd',       'compress', ['convert', *FROM, 'zstd.qcow2', 'OUT']),
    ('check, in pieces',         'metadata', ['check', '-f', 'qcow2', 'pieces.qcow2']),
    ('check of 1 TiB',           'metadata', ['check', '-f', 'qcow2', 'large.qcow2']),
    ('map, in pieces',           'metadata', ['map', '--output=json', '-f', 'qcow2', 'pieces.qcow2']),
    ('info of 1 TiB',            'metadata', ['info', '-f', 'qcow2', 'large.qcow2']),
    ('compare raw and qcow2',    'metadata', ['compare', '-f', 'raw', '-F', 'qcow2', 'src.raw', 'plain.qcow2']),
]
# name, words of bench, requests, enough for the program's start not to count; each on the raw and the qcow2
# image of the same content
BENCHES = [
    ('4k read x 64',          ['-d', '64', '-S', str(STRIDE)], REQUESTS * 3),
    ('4k write x 64',         ['-d', '64', '-S', str(STRIDE), '-w'], REQUESTS),
    ('4k read x 1',           ['-d', '1', '-S', str(STRIDE)], REQUESTS * 3),
    ('4k write x 1',          ['-d', '1', '-S', str(STRIDE), '-w'], REQUESTS // 2),
    ('64k read x 16',         ['-d', '16', '-s', '65536'], REQUESTS // 2),
    ('64k write x 16',        ['-d', '16', '-s', '65536', '-w'], REQUESTS // 4),
    ('4k read x 64, io_uring', ['-d', '64', '-S', str(STRIDE), '-i', 'io_uring'], REQUESTS * 3),
    ('4k read x 64, native, O_DIRECT', ['-d', '64', '-S', str(STRIDE), '-t', 'none', '-i', 'native'],
     REQUESTS // 4),
]


def out(name):
    return f'out-{name}'


def case(tools, name, kind, words):
    """One row; each tool has an output file of its own."""
    fresh = 'OUT' in words

    def between(tool):
        if fresh and os.path.exists(out(tool)):
            os.unlink(out(tool))

    def check():
        if subprocess.run([tools['QEMU']['img'], 'compare', '-q', out('QEMU'), out('Rhea')], check=False).returncode:
            return 'the results differ'
        return None

    runs = {tool: lambda p=programs['img'], t=tool: paired.command(
        p, *[out(t) if w in ('OUT', 'MADE') else w for w in words]) for tool, programs in tools.items()}
    compared = words[0] == 'convert' and len(tools) == 2
    return paired.Case(name, kind, runs, between=between, check=check if compared else None)


def bench(tools, name, words, count, fmt):
    runs = {tool: lambda p=programs['img']: paired.command(
        p, 'bench', '-f', fmt, '-c', str(count), *words, 'bench.' + fmt) for tool, programs in tools.items()}
    return paired.Case(f'img bench {name}, {fmt}', 'requests', runs, count)


def groups(tools):
    """All of them; the scratch folder is filled first."""
    prepare(tools)
    for name, kind, words in ROWS:
        yield paired.Group(case(tools, name, kind, words))
    for row in BENCHES:
        yield paired.Group(*(bench(tools, *row, fmt) for fmt in ('raw', 'qcow2')))
