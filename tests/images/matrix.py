#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Images both ways: made by rhea-img and read by Debian's qemu-img, and the other way round.

usage: matrix.py RHEA_IMG [QEMU_IMG]     (all skipped where qemu-img is missing)

Every case is one line of TAP.  The content is random but seeded, with holes, zero runs and
compressible parts, so that a failure repeats.
"""
import itertools
import os
import random
import re
import shutil
import subprocess
import sys

from command import fails, run
from tap import Skip, run_cases

RHEA = os.path.abspath(sys.argv[1])
QEMU = sys.argv[2] if len(sys.argv) > 2 else shutil.which('qemu-img')
KIB, MIB = 1024, 1024 * 1024


def content(path, size, seed):
    rnd = random.Random(seed)
    with open(path, 'wb') as f:
        f.truncate(size)
        at = 0
        while at < size:
            n = min(rnd.choice([512, 4 * KIB, 33 * KIB, 64 * KIB, 200 * KIB, MIB]), size - at)
            kind = rnd.randrange(5)
            f.seek(at)
            if kind == 0:
                f.write(rnd.randbytes(n))
            elif kind == 1:
                f.write(bytes([rnd.randrange(1, 256)]) * n)
            elif kind == 2:
                f.write(bytes(n))
            at += n
    return path


def same(a, b, fmt_a='raw', fmt_b='qcow2'):
    for tool in (QEMU, RHEA):
        run(tool, 'compare', '-f', fmt_a, '-F', fmt_b, a, b)


def checked(path):
    for tool in (QEMU, RHEA):
        run(tool, 'check', '-f', 'qcow2', path)


def options():
    """Option sets, by the issue's axes."""
    for cs, rb in itertools.product((512, 4096, 65536, 2097152), (1, 8, 16, 64)):
        yield f'cluster_size={cs},refcount_bits={rb}'
    for rb in (2, 4, 32):
        yield f'refcount_bits={rb}'
    for extra in ('compat=0.10', 'compat=0.10,cluster_size=4096', 'lazy_refcounts=on',
                  'extended_l2=on', 'extended_l2=on,cluster_size=16k',
                  'extended_l2=on,cluster_size=32k,refcount_bits=64', 'extended_l2=on,cluster_size=2M',
                  'extended_l2=on,cluster_size=128k,compression_type=zstd', 'compression_type=zstd',
                  'preallocation=metadata', 'preallocation=falloc', 'preallocation=full',
                  'extended_l2=on,preallocation=metadata',
                  'compression_type=zstd,cluster_size=2M',
                  'data_file=data.bin', 'data_file=data.bin,data_file_raw=on'):
        yield extra


def case_convert(maker, opts, compressed, src, size):
    extra = ['-c'] if compressed else []
    run(maker, 'convert', '-f', 'raw', '-O', 'qcow2', *extra, '-o', opts, src, 'x.qcow2')
    same(src, 'x.qcow2')
    checked('x.qcow2')


def case_overlay(maker, other, opts, src, size):
    """A chain of two, written in the overlay by the one, committed by the other."""
    run(maker, 'convert', '-f', 'raw', '-O', 'qcow2', '-o', opts, src, 'base.qcow2')
    run(maker, 'create', '-q', '-f', 'qcow2', '-o', opts, '-b', 'base.qcow2', '-F', 'qcow2',
        'over.qcow2')
    same(src, 'over.qcow2')
    new = content('new.raw', size, 99)
    run(maker, 'convert', '-n', '-f', 'raw', '-O', 'qcow2', new, 'over.qcow2')
    checked('over.qcow2')
    same(new, 'over.qcow2')
    run(other, 'commit', '-q', '-f', 'qcow2', 'over.qcow2')
    checked('base.qcow2')
    checked('over.qcow2')
    same(new, 'base.qcow2')


def case_rebase(maker, other, opts, src, size):
    run(maker, 'convert', '-f', 'raw', '-O', 'qcow2', '-o', opts, src, 'base.qcow2')
    run(other, 'convert', '-f', 'raw', '-O', 'qcow2', content('b2.raw', size, 5), 'b2.qcow2')
    run(maker, 'create', '-q', '-f', 'qcow2', '-o', opts, '-b', 'base.qcow2', '-F', 'qcow2',
        'over.qcow2')
    run(maker, 'rebase', '-f', 'qcow2', '-b', 'b2.qcow2', '-F', 'qcow2', 'over.qcow2')
    checked('over.qcow2')
    same(src, 'over.qcow2')
    run(other, 'rebase', '-f', 'qcow2', '-b', '', 'over.qcow2')
    checked('over.qcow2')
    same(src, 'over.qcow2')


def case_snapshot(maker, other, opts, src, size):
    """Snapshots taken, the disk overwritten, and gone back to, by alternating tools."""
    run(maker, 'convert', '-f', 'raw', '-O', 'qcow2', '-o', opts, src, 'x.qcow2')
    run(maker, 'snapshot', '-c', 'one', 'x.qcow2')
    checked('x.qcow2')
    new = content('new.raw', size, 7)
    run(other, 'convert', '-n', '-f', 'raw', '-O', 'qcow2', new, 'x.qcow2')
    checked('x.qcow2')
    run(other, 'snapshot', '-c', 'two', 'x.qcow2')
    run(maker, 'convert', '-f', 'qcow2', '-O', 'raw', '-l', 'one', 'x.qcow2', 'out.raw')
    run(QEMU, 'compare', '-f', 'raw', '-F', 'raw', src, 'out.raw')
    run(maker, 'snapshot', '-a', 'one', 'x.qcow2')
    checked('x.qcow2')
    same(src, 'x.qcow2')
    run(maker, 'snapshot', '-d', 'one', 'x.qcow2')
    checked('x.qcow2')
    run(other, 'snapshot', '-a', 'two', 'x.qcow2')
    same(new, 'x.qcow2')
    run(other, 'snapshot', '-d', 'two', 'x.qcow2')
    checked('x.qcow2')


def case_resize(maker, other, opts, src, size):
    run(maker, 'convert', '-f', 'raw', '-O', 'qcow2', '-o', opts, src, 'x.qcow2')
    run(other, 'resize', '-f', 'qcow2', 'x.qcow2', '+1234k')
    checked('x.qcow2')
    shutil.copy(src, 'big.raw')
    os.truncate('big.raw', size + 1234 * KIB)
    same('big.raw', 'x.qcow2')
    run(maker, 'resize', '-f', 'qcow2', '--shrink', 'x.qcow2', str(MIB + 512))
    run(maker, 'resize', '-f', 'qcow2', 'x.qcow2', str(2 * MIB))
    checked('x.qcow2')
    shutil.copy(src, 'small.raw')
    os.truncate('small.raw', MIB + 512)
    os.truncate('small.raw', 2 * MIB)
    if maker == QEMU:
        return                     # leaves old bytes in the last cluster when it shrinks
    same('small.raw', 'x.qcow2')


def case_info(opts, src, size):
    """The same keys and, but for sizes on disk, values."""
    import json
    run(RHEA, 'convert', '-f', 'raw', '-O', 'qcow2', '-o', opts, src, 'x.qcow2')
    for command in (('info',), ('check',), ('map',)):
        a, b = (json.loads(run(t, *command, '--output=json', '-f', 'qcow2', 'x.qcow2'))
                for t in (QEMU, RHEA))
        assert a == b, f'{command}: {a} != {b}'
    for tool_a, tool_b in ((QEMU, RHEA),):
        a, b = (json.loads(run(t, 'measure', '--output=json', '-O', 'qcow2', '-f', 'raw', src))
                for t in (tool_a, tool_b))
        assert a == b, f'measure: {a} != {b}'


# Each format's axes.  vpc has a size of its own without force_size.
FORMATS = {
    'vdi': ('', 'static=on'),
    'vpc': ('force_size=on', 'force_size=on,subformat=fixed'),
    'vhdx': ('', 'subformat=fixed', 'block_size=1M,log_size=2M', 'block_state_zero=off'),
    'vmdk': tuple('subformat=' + s for s in (
        'monolithicSparse', 'monolithicSparse,zeroed_grain=on', 'monolithicFlat',
        'twoGbMaxExtentSparse', 'twoGbMaxExtentFlat', 'streamOptimized')),
}


def checked_as(fmt, path):
    for tool in (QEMU, RHEA):
        if fmt != 'vpc':
            run(tool, 'check', '-f', fmt, path)


def case_format(maker, fmt, opts, src):
    run(maker, 'convert', '-f', 'raw', '-O', fmt, *(['-o', opts] if opts else []), src,
        'x.' + fmt)
    same(src, 'x.' + fmt, fmt_b=fmt)
    checked_as(fmt, 'x.' + fmt)


def case_format_rewrite(maker, other, fmt, opts, src, size):
    """Made by the one, written in place by the other, and again by the first."""
    run(maker, 'create', '-q', '-f', fmt, *(['-o', opts] if opts else []), 'x.' + fmt, str(size))
    for tool, seed in ((other, 21), (maker, 22), (other, 23)):
        new = content('new.raw', size, seed)
        run(tool, 'convert', '-n', '-f', 'raw', '-O', fmt, new, 'x.' + fmt)
        same(new, 'x.' + fmt, fmt_b=fmt)
        checked_as(fmt, 'x.' + fmt)


def case_format_info(fmt, opts, src):
    import json
    run(RHEA, 'convert', '-f', 'raw', '-O', fmt, *(['-o', opts] if opts else []), src, 'x.' + fmt)
    for command in ('info',) + (('check',) if fmt != 'vpc' else ()) + \
                   (('map',) if fmt != 'vhdx' else ()):
        a, b = (json.loads(run(t, command, '--output=json', '-f', fmt, 'x.' + fmt))
                for t in (QEMU, RHEA))
        assert a == b, f'{command}: {a} != {b}'


def case_vmdk_chain(maker, other, opts, src, size):
    run(maker, 'convert', '-f', 'raw', '-O', 'vmdk', src, 'base.vmdk')
    run(maker, 'create', '-q', '-f', 'vmdk', '-o', opts, '-b', 'base.vmdk', '-F', 'vmdk',
        'over.vmdk')
    same(src, 'over.vmdk', fmt_b='vmdk')
    new = content('new.raw', size, 31)
    run(other, 'convert', '-n', '-f', 'raw', '-O', 'vmdk', new, 'over.vmdk')
    same(new, 'over.vmdk', fmt_b='vmdk')
    checked_as('vmdk', 'over.vmdk')
    run(maker, 'commit', '-q', '-f', 'vmdk', 'over.vmdk')
    same(new, 'base.vmdk', fmt_b='vmdk')


def bitmaps_of(tool, path):
    import json
    info = json.loads(run(tool, 'info', '--output=json', '-f', 'qcow2', path))
    return info['format-specific']['data'].get('bitmaps', [])


def case_bitmaps(maker, other, opts, src, size):
    """Made by the one, kept and changed by the other; checked and told of alike by both."""
    run(maker, 'create', '-q', '-f', 'qcow2', '-o', opts, 'x.qcow2', str(size))
    run(maker, 'bitmap', '--add', 'x.qcow2', 'one')
    run(other, 'bitmap', '--add', '-g', '512', 'x.qcow2', 'two')
    run(maker, 'bitmap', '--add', '--disable', 'x.qcow2', 'three')
    run(other, 'convert', '-n', '-f', 'raw', '-O', 'qcow2', src, 'x.qcow2')
    run(maker, 'bitmap', '--merge', 'one', 'x.qcow2', 'three')
    checked('x.qcow2')
    want = bitmaps_of(QEMU, 'x.qcow2')
    assert want == bitmaps_of(RHEA, 'x.qcow2') and len(want) == 3, want
    assert [b['flags'] for b in want] == [['auto'], ['auto'], []], want
    assert run(maker, 'measure', '-O', 'qcow2', '-o', opts, 'x.qcow2') == \
           run(other, 'measure', '-O', 'qcow2', '-o', opts, 'x.qcow2')
    run(other, 'convert', '--bitmaps', '-O', 'qcow2', '-o', opts, 'x.qcow2', 'y.qcow2')
    checked('y.qcow2')
    assert bitmaps_of(QEMU, 'y.qcow2') == want
    run(other, 'bitmap', '-b', 'x.qcow2', '-F', 'qcow2', '--add', '--merge', 'two', 'y.qcow2',
        'four')
    run(maker, 'resize', '-q', 'y.qcow2', '+1M')
    run(other, 'bitmap', '--remove', 'y.qcow2', 'two')
    run(maker, 'bitmap', '--clear', '--disable', 'y.qcow2', 'one')
    checked('y.qcow2')
    assert len(bitmaps_of(RHEA, 'y.qcow2')) == 3


def case_amend(opts, src, size):
    """Every refcount width, version 2 and back, in an overlay with zero clusters."""
    run(RHEA, 'convert', '-f', 'raw', '-O', 'qcow2', '-o', opts, src, 'base.qcow2')
    run(RHEA, 'create', '-q', '-f', 'qcow2', '-o', opts, '-b', 'base.qcow2', '-F', 'qcow2',
        'over.qcow2')
    new = content('new.raw', size, 41)
    run(RHEA, 'convert', '-n', '-f', 'raw', '-O', 'qcow2', new, 'over.qcow2')
    for change in [f'refcount_bits={1 << i}' for i in (0, 6, 3, 1, 5, 2, 4)] + [
            'compat=0.10', 'compat=1.1,refcount_bits=64,lazy_refcounts=on']:
        run(RHEA, 'amend', '-f', 'qcow2', '-o', change, 'over.qcow2')
        checked('over.qcow2')
        same(new, 'over.qcow2')


def case_convert_words():
    """Help on the options of a target; what cannot be compressed is told before there is a target."""
    for words in (['-O', 'qcow2', '-o', 'help'], ['-O', 'vmdk', '-o', '?', 'a.raw', 'new']):
        listed = [set(re.findall(r'^  ([a-z_]+)=', run(tool, 'convert', *words), re.M)) for tool in (RHEA, QEMU)]
        assert listed[0] and 'size' in listed[0] & listed[1], listed
    content('a.raw', 1 << 20, 5)
    for fmt in ('raw', 'vdi', 'vhdx', 'vpc'):
        assert 'Compression not supported' in fails(RHEA, 'convert', '-c', '-f', 'raw', '-O', fmt, 'a.raw', 'new')
        assert not os.path.exists('new'), fmt
    assert 'Compression not supported' in fails(RHEA, 'convert', '-c', '-f', 'raw', '-O', 'vmdk', 'a.raw', 'new')


SECRET = ('--object', 'secret,id=s,data=open sesame')


def convert_encrypted(maker, *args):
    """qemu-img measures processor time to choose the work of a key; on some hosts it cannot."""
    for attempt in range(5):
        try:
            return run(maker, 'convert', *SECRET, *args)
        except AssertionError as e:
            if maker != QEMU or 'CPU usage' not in str(e):
                raise
            reason = str(e).splitlines()[-1]
    raise Skip(reason)


def case_crypt(maker, fmt, opts, src):
    """Encrypted by the one, read by both."""
    key, name = ('key-secret', 'x.luks') if fmt == 'luks' else ('encrypt.key-secret', 'x.qcow2')
    convert_encrypted(maker, '-f', 'raw', '-O', fmt, '-o', f'{key}=s,{opts}', src, name)
    for tool in (QEMU, RHEA):
        run(tool, 'compare', *SECRET, '--image-opts', f'driver=raw,file.filename={src}',
            f'driver={fmt},{key}=s,file.filename={name}')
    import json
    a, b = (json.loads(run(t, 'info', '--output=json', name)) for t in (QEMU, RHEA))
    assert a == b, f'info: {a} != {b}'


CRYPTS = ('', 'cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256,hash-alg=sha1',
          'cipher-alg=serpent-256,hash-alg=sha512', 'cipher-alg=twofish-128,hash-alg=ripemd160',
          'cipher-alg=aes-256,cipher-mode=cbc,ivgen-alg=plain64',
          'cipher-alg=aes-256,cipher-mode=ecb,hash-alg=sha384',
          'cipher-alg=serpent-128,cipher-mode=xts,ivgen-alg=plain', 'cipher-alg=twofish-256')


def crypt_cases(src):
    for who, maker in (('rhea', RHEA), ('qemu', QEMU)):
        for opts in CRYPTS:
            o = 'iter-time=60' + (',' if opts else '') + opts
            yield f'{who} luks {opts}', lambda: case_crypt(maker, 'luks', o, src)
        for opts in ('cluster_size=64k', 'cluster_size=4k', 'extended_l2=on'):
            o = f'encrypt.format=luks,encrypt.iter-time=60,{opts}'
            yield f'{who} qcow2 luks {opts}', lambda: case_crypt(maker, 'qcow2', o, src)
        yield f'{who} qcow2 aes', lambda: case_crypt(maker, 'qcow2', 'encrypt.format=aes', src)


def format_cases(src, size):
    for (who, maker, other), opts in itertools.product(
            (('rhea', RHEA, QEMU), ('qemu', QEMU, RHEA)),
            ('cluster_size=512', 'cluster_size=4k,refcount_bits=64', 'extended_l2=on',
             'cluster_size=64k')):
        if who == 'rhea' and 'extended' not in opts:
            base = opts.split(',')[0]
            yield f'amend {base}', lambda: case_amend(base, src, size)
        yield f'{who} bitmaps {opts}', lambda: case_bitmaps(maker, other, opts, src, size)
    for (who, maker, other), fmt in itertools.product(
            (('rhea', RHEA, QEMU), ('qemu', QEMU, RHEA)), FORMATS):
        for opts in FORMATS[fmt]:
            yield f'{who} {fmt} convert {opts}', lambda: case_format(maker, fmt, opts, src)
            if 'stream' not in opts:
                yield f'{who} {fmt} rewrite {opts}', lambda: case_format_rewrite(
                    maker, other, fmt, opts, src, size)
            if who == 'rhea':
                yield f'{fmt} json {opts}', lambda: case_format_info(fmt, opts, src)
        if fmt == 'vmdk':
            for sub in ('monolithicSparse', 'twoGbMaxExtentSparse'):
                yield f'{who} vmdk chain {sub}', lambda: case_vmdk_chain(
                    maker, other, 'subformat=' + sub, src, size)


def cases(src, size):
    for (who, maker, other), opts in itertools.product(
            (('rhea', RHEA, QEMU), ('qemu', QEMU, RHEA)), options()):
        external = 'data_file' in opts
        plain = 'preallocation' not in opts and not external
        snapshots = plain and 'refcount_bits=1' not in opts.replace('refcount_bits=16', '')
        yield f'{who} convert {opts}', lambda: case_convert(maker, opts, False, src, size)
        if plain:
            yield f'{who} compress {opts}', lambda: case_convert(maker, opts, True, src, size)
            yield f'{who} chain {opts}', lambda: case_overlay(maker, other, opts, src, size)
            yield f'{who} rebase {opts}', lambda: case_rebase(maker, other, opts, src, size)
        if plain and '0.10' not in opts:
            yield f'{who} resize {opts}', lambda: case_resize(maker, other, opts, src, size)
        if snapshots:
            yield f'{who} snapshot {opts}', lambda: case_snapshot(maker, other, opts, src, size)
        if who == 'rhea' and not external:
            yield f'json {opts}', lambda: case_info(opts, src, size)


def told(tool, *args):
    p = subprocess.run([tool, 'compare', *args], capture_output=True, text=True, timeout=120)
    return p.returncode, p.stdout


def case_compare(seed):
    """Pairs that differ a little, in length, or in what is allocated: the same words and status."""
    rnd = random.Random(seed)
    formats = [rnd.choice(('raw', 'qcow2')) for _ in range(2)]
    content('a.flat', rnd.choice((512, 4096, 3 * MIB, 5 * MIB + KIB)), seed)
    shutil.copy('a.flat', 'b.flat')
    with open('b.flat', 'r+b') as f:
        size = os.path.getsize('a.flat')
        f.truncate(rnd.choice((size, size, size, size // 1024 * 512 + 512, size + 512, size + MIB)))
        for _ in range(rnd.randrange(3)):
            f.seek(rnd.randrange(size))
            f.write(b'x')
    for name, fmt in zip('ab', formats):
        how = rnd.choice(((), ('-S', '0'), ('-c',) if fmt == 'qcow2' else ()))
        run(QEMU, 'convert', *how, '-f', 'raw', '-O', fmt, name + '.flat', name)
    for more in ((), ('-s',), ('-q',)):
        args = (*more, '-f', formats[0], '-F', formats[1], 'a', 'b')
        mine, other = told(RHEA, *args), told(QEMU, *args)
        assert mine == other, f'compare {" ".join(args)}: {mine}, not {other}'


def compare_cases():
    for seed in range(40):
        yield f'compare {seed}', lambda: case_compare(seed)


def all_cases(size):
    src = content('src.raw', size, 1)
    even = content('even.raw', 3 * MIB, 2)
    return itertools.chain(cases(src, size), format_cases(src, size), crypt_cases(even), compare_cases(),
                           [('convert words', case_convert_words)])


def main():
    if not QEMU:
        print('1..0 # SKIP qemu-img (package qemu-utils) is not installed')
        return 0
    size = 3 * MIB + 5 * 512
    return run_cases('images', lambda: all_cases(size))


sys.exit(main())
