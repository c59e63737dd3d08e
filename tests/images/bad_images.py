#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Bad images of every format in every tool: one line that names the file, exit status 1, nothing changed.

Wrong magic, cut off in the header and in the data, huge claims, missing backing files and loops of them,
full disks, and images that another process holds.

usage: bad_images.py RHEA_IMG RHEA_IO RHEA_NBD RHEA_STORAGE_DAEMON RHEA_SYSTEM     (TAP)
"""
import hashlib
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys

from tap import Skip, run_cases

IMG, IO, NBD, DAEMON, SYSTEM = (os.path.abspath(p) for p in sys.argv[1:6])
MIB = 1 << 20
SECRET = ['--object', 'secret,id=s,data=abc']
CREATE = {
    'qcow2': [], 'vdi': [], 'vmdk': [], 'vhdx': ['-o', 'block_size=1M,log_size=1M'],
    'vpc': ['-o', 'force_size=on'], 'luks': [*SECRET, '-o', 'key-secret=s,iter-time=10'],
}
BACKED = ('qcow2', 'vmdk')


def run(*args, **more):
    return subprocess.run(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=120, **more)


def must(*args):
    p = run(*args)
    assert p.returncode == 0, f'{args}: {p.returncode}: {p.stdout}{p.stderr}'
    return p.stdout


def digest(path):
    with open(path, 'rb') as f:
        return hashlib.sha256(f.read()).digest()


def setup():
    with open('src.raw', 'wb') as f:
        f.write(random.Random(4).randbytes(6 * MIB))
    must(IMG, 'create', '-q', '-f', 'qcow2', 'target.qcow2', '6M')
    for fmt, options in CREATE.items():
        must(IMG, 'convert', '-f', 'raw', '-O', fmt, *options, 'src.raw', 'good.' + fmt)


def changed(fmt, name, change):
    """A copy of the good image; CHANGE(file) spoils it."""
    path = f'{name}.{fmt}'
    shutil.copy('good.' + fmt, path)
    with open(path, 'r+b') as f:
        change(f)
    return path


def put(offset, data, end=False):
    def change(f):
        f.seek(offset, os.SEEK_END if end else os.SEEK_SET)
        f.write(data)
    return change


# ---- what is wrong with them ----

def bad_magic(fmt):
    if fmt == 'vpc':
        def both(f):
            put(0, b'XXXX')(f)
            put(-512, b'XXXX', True)(f)
        return both
    return put(64 if fmt == 'vdi' else 0, b'XXXX')


def vpc_huge(f):
    """The size and the geometry of the footer and of its copy, with checksums that fit."""
    f.seek(0)
    footer = bytearray(f.read(512))
    footer[48:56] = b'\x7f' + b'\xff' * 7
    footer[64:68] = bytes(4)
    footer[64:68] = struct.pack('>I', ~sum(footer) & 0xffffffff)
    put(0, footer)(f)
    put(-512, footer, True)(f)


def vhdx_huge(f):
    """The virtual disk size among the metadata, wherever that is."""
    f.seek(0)
    data = f.read()
    needle = struct.pack('<Q', 6 * MIB)
    at = data.index(b'metadata')
    put(data.index(needle, at + 64 * 1024), b'\xff' * 7 + b'\x7f')(f)


HUGE = {
    'qcow2': put(24, b'\x7f' + b'\xff' * 7), 'vdi': put(0x170, b'\xff' * 7 + b'\x7f'),
    'vmdk': put(12, b'\xff' * 7 + b'\x7f'), 'vhdx': vhdx_huge, 'vpc': vpc_huge,
    'luks': put(104, b'\xff' * 4),
}
# Tables that claim to be as large as a 32-bit count can say.
TABLES = {
    'qcow2': put(36, b'\x7f\xff\xff\xff'), 'vdi': put(0x180, b'\xff' * 4),
    'vmdk': put(44, b'\xff' * 4), 'luks': put(108, b'\xff' * 4),
}


# ---- in every tool ----

def opener(fmt, path):
    """Command lines that open PATH, and must not."""
    with_key = SECRET if fmt == 'luks' else []
    key = ',key-secret=s' if fmt == 'luks' else ''
    node = f'driver={fmt}{key},file.driver=file,file.filename={path}'
    image = [*with_key, '--image-opts', node]
    yield 'info', [IMG, 'info', '-f', fmt, path]
    yield 'check', [IMG, 'check', '-f', fmt, path]
    yield 'convert', [IMG, 'convert', *image, '-O', 'raw', 'out.raw']
    yield 'compare', [IMG, 'compare', *with_key, '--image-opts', node,
                      'driver=raw,file.filename=src.raw']
    yield 'map', [IMG, 'map', *image]
    yield 'resize', [IMG, 'resize', *image, '+1M']
    yield 'snapshot', [IMG, 'snapshot', *image[:-1], '-c', 'x', node]
    yield 'bench', [IMG, 'bench', *image[:-1], '-c', '1', '-w', node]
    yield 'measure', [IMG, 'measure', '-O', 'raw', *image]
    yield 'dd', [IMG, 'dd', *with_key, '--image-opts', f'if={node}', 'of=out.raw']
    if fmt != 'luks':
        yield 'commit', [IMG, 'commit', '-f', fmt, path]
        yield 'rebase', [IMG, 'rebase', '-f', fmt, '-b', '', path]
        yield 'amend', [IMG, 'amend', '-f', fmt, '-o', 'size=1M', path]
        yield 'bitmap', [IMG, 'bitmap', '-f', fmt, '--add', path, 'b']
    yield 'io', [IO, *with_key, '--image-opts', '-c', 'write 0 4k', node]
    yield 'nbd', [NBD, *with_key, '-k', os.path.abspath('nbd.sock'), '--image-opts', node]
    yield 'daemon', [DAEMON, *with_key, '--blockdev', 'node-name=n,' + node]
    secret = ['-object', SECRET[1]] if fmt == 'luks' else []
    yield 'system', [SYSTEM, '-accel', 'tcg', '-M', 'none', '-display', 'none', *secret, '-blockdev',
                     'node-name=n,' + node]


def refused(command, path, names=True):
    p = run(*command)
    lines = p.stderr.splitlines()
    # 1 would mean that the images differ.
    assert p.returncode == (2 if command[1] == 'compare' else 1), f'{command}: status {p.returncode}: {p.stdout}{p.stderr}'
    assert len(lines) == 1, f'{command}: {len(lines)} lines: {p.stderr}'
    assert not names or path in lines[0], f'{command}: the file is not named: {lines[0]}'


def case_unopenable(fmt, name, change):
    path = changed(fmt, name, change)
    before = digest(path)
    for _, command in opener(fmt, path):
        # A --blockdev knows no name of the image but its options.
        refused(command, path, command[0] == IMG)
        assert digest(path) == before, f'{command}: the image was changed'


def case_cut_data(fmt):
    """The tables are there, data is not: who reads it is told, instead of being given zeroes."""
    size = os.path.getsize('good.' + fmt)
    path = changed(fmt, 'half', lambda f: f.truncate(size // 2 // 512 * 512))
    before = digest(path)
    for name, command in opener(fmt, path):
        if name in ('convert', 'dd'):
            refused(command, path, False)
            assert digest(path) == before, f'{command}: the image was changed'


def case_missing_backing(fmt):
    must(IMG, 'create', '-q', '-f', 'raw', 'base.raw', '6M')
    if fmt == 'vmdk':
        shutil.copy('good.vmdk', 'base.vmdk')
    base = 'base.vmdk' if fmt == 'vmdk' else 'base.raw'
    must(IMG, 'create', '-q', '-f', fmt, '-b', base, '-F', 'vmdk' if fmt == 'vmdk' else 'raw',
         'orphan.' + fmt)
    os.unlink(base)
    before = digest('orphan.' + fmt)
    for name, command in opener(fmt, 'orphan.' + fmt):
        if name in ('convert', 'compare', 'map', 'commit', 'io', 'nbd', 'daemon', 'system'):
            refused(command, base, command[0] == IMG)
            assert digest('orphan.' + fmt) == before, f'{command}: the image was changed'


def case_loop():
    for a, b in (('self', 'self'), ('one', 'two'), ('two', 'one')):
        must(IMG, 'create', '-q', '-u', '-f', 'qcow2', '-b', b + '.qcow2', '-F', 'qcow2',
             a + '.qcow2', '6M')
    for path in ('self.qcow2', 'one.qcow2'):
        before = digest(path)
        for name, command in opener('qcow2', path):
            if name in ('convert', 'compare', 'map', 'commit', 'io', 'nbd', 'daemon', 'system'):
                refused(command, path, False)
                assert digest(path) == before, f'{command}: the image was changed'
        refused([IMG, 'info', '--backing-chain', path], path)
    refused([IMG, 'rebase', '-b', 'two.qcow2', '-F', 'qcow2', 'two.qcow2'], 'two.qcow2', False)


def case_amend_backing():
    """Another backing file under the same overlay is other data: amend does not do that, whatever else it is told."""
    shutil.copy('good.qcow2', 'below.qcow2')
    run(IMG, 'create', '-q', '-f', 'qcow2', '-b', 'below.qcow2', '-F', 'qcow2', 'over.qcow2')
    before = digest('over.qcow2')
    for options in ('backing_file=good.qcow2', 'backing_file=', 'backing_fmt=raw', 'backing_file=x,compat=0.10'):
        refused([IMG, 'amend', '-f', 'qcow2', '-o', options, 'over.qcow2'], 'rebase')
        assert digest('over.qcow2') == before, f'{options}: the image was changed'


def case_untouched():
    """Words that are wrong are told of before the first change."""
    shutil.copy('good.qcow2', 'kept.qcow2')
    run(IMG, 'snapshot', '-c', 'named', 'kept.qcow2')
    run(IMG, 'create', '-q', '-f', 'qcow2', '-b', 'good.qcow2', '-F', 'qcow2', 'upper.qcow2')
    luks = 'encrypt.format=luks'
    for path, said, words in (
            ('kept.qcow2', 'key-secret', ['create', '-f', 'qcow2', '-o', luks, 'kept.qcow2', '1M']),
            ('kept.qcow2', 'none', ['create', '-f', 'qcow2', '-o', luks + ',encrypt.key-secret=none', 'kept.qcow2', '1M']),
            ('kept.qcow2', 'none', ['create', '-f', 'luks', '-o', 'key-secret=none', 'kept.qcow2', '1M']),
            ('kept.qcow2', 'only once', ['create', '-f', 'qcow2', '-o', 'size=1M', 'kept.qcow2', '1M']),
            ('kept.qcow2', 'snapshot not found', ['snapshot', '-d', '1', 'kept.qcow2']),
            ('upper.qcow2', 'preallocation', ['resize', '--preallocation=some', 'upper.qcow2', '+1M']),
            ('upper.qcow2', 'backing format', ['rebase', '-b', 'kept.qcow2', 'upper.qcow2'])):
        before = digest(path)
        refused([IMG, *words], said)
        assert digest(path) == before, f'{words}: the image was changed'


def case_locked(fmt):
    """A program that writes to the image keeps others from writing, and from reading what may change."""
    path = 'good.' + fmt
    before = digest(path)
    node = f'driver={fmt},file.filename={path}' + (',key-secret=s' if fmt == 'luks' else '')
    with subprocess.Popen([IO, *(SECRET if fmt == 'luks' else []), '--image-opts', node], text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdin.write('length\n')
        holder.stdin.flush()
        holder.stdout.readline()
        try:
            opened = digest(path)      # vhdx notes who writes
            for name, command in opener(fmt, path):
                if name != 'amend' and not (name in ('rebase', 'commit') and fmt not in BACKED):
                    refused(command, 'lock', True)
                assert digest(path) == opened, f'{command}: the image was changed'
            must(IMG, 'info', '-U', path)
            refused([IMG, 'create', '-f', fmt, *CREATE[fmt], path, '1M'], 'lock')
            refused([IMG, 'convert', '-O', fmt, *CREATE[fmt], 'src.raw', path], 'lock')
            assert digest(path) == opened, 'the image was changed'
        finally:
            holder.stdin.close()
            holder.wait(60)
    assert fmt == 'vhdx' or digest(path) == before


# ---- full disks ----

def limited(end=2 * MIB):
    """Files end at 2 MiB: the write behind that fails, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (end, resource.RLIM_INFINITY))


def case_limit(fmt):
    p = run(IMG, 'convert', '-f', 'raw', '-O', fmt, *CREATE[fmt], 'src.raw', 'out.' + fmt,
            preexec_fn=limited)
    lines = p.stderr.splitlines()
    assert p.returncode == 1 and len(lines) == 1, f'{p.returncode}: {p.stderr}'
    assert 'error while writing' in lines[0] or 'out.' + fmt in lines[0], lines[0]
    assert not os.path.exists('out.' + fmt)


def case_limit_keeps(fmt):
    """What was there before the command failed is not removed."""
    for command in (['convert', '-f', 'raw', '-O', fmt, *CREATE[fmt], 'src.raw'], ['create', '-q', '-f', fmt, *CREATE[fmt]]):
        must(IMG, 'create', '-q', '-f', 'raw', 'kept', '64k')
        p = run(IMG, *command, 'kept', *(['16M'] if command[0] == 'create' else []), preexec_fn=lambda: limited(4096))
        assert p.returncode == 1 or command[0] == 'create', p.stderr       # some formats begin with little
        assert os.path.exists('kept')
        os.unlink('kept')


def case_limit_create():
    """No command leaves a file that it made and could not fill, nor parts of an image."""
    for words in (['create', '-f', 'raw', '-o', 'preallocation=full', 'left', '16M'],
                  ['create', '-f', 'qcow2', '-o', 'preallocation=full', 'left', '16M'],
                  ['create', '-f', 'qcow2', '-o', 'preallocation=full,data_file=left.data,data_file_raw=on', 'left', '16M'],
                  ['create', '-f', 'vmdk', '-o', 'subformat=monolithicFlat', 'left', '16M'],
                  ['create', '-f', 'vhdx', '-o', 'subformat=fixed', 'left', '16M'],
                  ['create', '-f', 'luks', '--object', 'secret,id=s,data=abc', '-o', 'key-secret=s,iter-time=10', 'left', '16M'],
                  ['dd', '-O', 'qcow2', 'if=src.raw', 'of=left'],
                  ['dd', 'if=src.raw', 'of=left']):
        p = run(IMG, *words, preexec_fn=limited)
        assert p.returncode == 1 and p.stderr.startswith('rhea-img: '), f'{words}: {p.returncode}: {p.stderr}'
        left = [name for name in os.listdir('.') if name.startswith('left')]
        assert not left, f'{words}: {left}'


def case_limit_behind(fmt):
    """The data fits, and what its block would have behind it does not: the reason is told all the same."""
    must(IMG, 'create', '-q', '-f', fmt, *CREATE[fmt], 'behind.' + fmt, '16M')
    p = run(IO, '-f', fmt, '-c', 'write 0 64k', '-c', 'write 3M 64k', 'behind.' + fmt, preexec_fn=limited)
    assert p.returncode == 1 and 'write failed: File too large' in p.stdout, p.stdout + p.stderr


def case_limit_bitmap():
    """A bitmap that finds no room is no success."""
    must(IMG, 'create', '-q', '-f', 'qcow2', 'bitmap.qcow2', '16M')
    must(IO, '-f', 'qcow2', '-c', 'write 0 1664k', 'bitmap.qcow2')
    p = run(IMG, 'bitmap', '--add', 'bitmap.qcow2', 'b', preexec_fn=limited)
    assert p.returncode == 1 and len(p.stderr.splitlines()) == 1, f'{p.returncode}: {p.stderr}'
    assert 'Could not store the bitmaps' in p.stderr, p.stderr
    assert 'bitmaps' not in run(IMG, 'info', '--output=json', 'bitmap.qcow2').stdout


def case_full_disk(fmt):
    """A small tmpfs: what was there stays, and what fits afterwards fits."""
    os.mkdir('full')
    try:
        if run('mount', '-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', 'full').returncode != 0:
            raise Skip('no file system can be mounted here')
        try:
            full_disk(fmt)
        finally:
            must('umount', 'full')
    finally:
        os.rmdir('full')


def full_disk(fmt):
    path = 'full/x.' + fmt
    p = run(IMG, 'convert', '-f', 'raw', '-O', fmt, *CREATE[fmt], 'src.raw', path)
    lines = p.stderr.splitlines()
    assert p.returncode == 1 and len(lines) == 1, f'{p.returncode}: {p.stderr}'
    assert 'No space left on device' in lines[0], lines[0]
    assert not os.path.exists(path)
    must(IMG, 'create', '-q', '-f', fmt, *CREATE[fmt], path, '16M')
    node = f'driver={fmt},file.filename={path}' + (',key-secret=s' if fmt == 'luks' else '')
    io = [IO, *(SECRET if fmt == 'luks' else []), '--image-opts', node]
    must(*io, '-c', 'write -P 3 0 512k')
    p = run(*io, '-c', 'write -P 4 4M 8M')
    assert p.returncode == 1 and 'No space left on device' in p.stdout, p.stdout + p.stderr
    must(*io, '-r', '-c', 'read -P 3 0 512k')
    if fmt not in ('vpc', 'luks'):
        p = run(IMG, 'check', '-f', fmt, path)
        assert p.returncode in (0, 3), f'check: {p.returncode}: {p.stdout}{p.stderr}'


def case_io_usage():
    """What is wrong with a command of rhea-io's is no part of its output, as with qemu-io."""
    for command, message in (('nope', 'command "nope" not found'), ('read', 'bad argument count 0 to read'),
                             ('flush now', 'bad argument count 1 to flush')):
        p = run(IO, '-f', 'raw', '-c', command, 'src.raw')
        assert p.returncode == 1 and not p.stdout and message in p.stderr, f'{command}: {p.stdout!r}, {p.stderr!r}'


def cases():
    for fmt in CREATE:
        yield f'magic {fmt}', lambda: case_unopenable(fmt, 'magic', bad_magic(fmt))
        yield f'cut header {fmt}', lambda: case_unopenable(fmt, 'short', lambda f: f.truncate(60))
        yield f'empty {fmt}', lambda: case_unopenable(fmt, 'empty', lambda f: f.truncate(0))
        yield f'huge {fmt}', lambda: case_unopenable(fmt, 'huge', HUGE[fmt])
        if fmt in TABLES:
            yield f'huge table {fmt}', lambda: case_unopenable(fmt, 'tables', TABLES[fmt])
        if fmt != 'luks':              # it does not know how long it was
            yield f'cut data {fmt}', lambda: case_cut_data(fmt)
        yield f'locked {fmt}', lambda: case_locked(fmt)
        yield f'limit {fmt}', lambda: case_limit(fmt)
        yield f'limit keeps {fmt}', lambda: case_limit_keeps(fmt)
        if fmt in ('vdi', 'vpc'):
            yield f'limit behind {fmt}', lambda: case_limit_behind(fmt)
        yield f'full disk {fmt}', lambda: case_full_disk(fmt)
        if fmt in BACKED:
            yield f'missing backing file {fmt}', lambda: case_missing_backing(fmt)
    yield 'limit bitmap', case_limit_bitmap
    yield 'io usage', case_io_usage
    yield 'limit create', case_limit_create
    yield 'loop', case_loop
    yield 'amend backing', case_amend_backing
    yield 'untouched', case_untouched


sys.exit(run_cases('bad-images', cases, setup))
