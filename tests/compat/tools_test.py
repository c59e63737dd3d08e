#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""rhea-img and rhea-io beside qemu-img and qemu-io, command by command.

Each row runs in both, in a folder of the same images.  The exit status must be the same, a failure
must say something and leave every image as it was, JSON must have the same keys and values (but for
what is random or the host's), and the images must hold the same afterwards.

usage: tools_test.py IMG IO [QEMU-IMG QEMU-IO]     (TAP; skips without QEMU's)
"""
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile

SETUP = [
    'create -q -f raw a.raw 4M', 'create -q -f qcow2 a.qcow2 4M', 'create -q -f qcow2 e.qcow2 1M',
    'create -q -f qcow2 -b a.raw -F raw o.qcow2', 'create -q -f qcow2 -b o.qcow2 -F qcow2 p.qcow2',
    'create -q -f qcow2 lost.qcow2 1M', 'create -q -f qcow2 -b lost.qcow2 -F qcow2 orphan.qcow2',
    'create -q -f vmdk a.vmdk 4M', 'create -q -f vdi a.vdi 4M', 'create -q -f vpc a.vpc 4M',
    'create -q -f vhdx a.vhdx 4M', 'snapshot -c first a.qcow2',
]

# (command, "json" to compare what is printed, else "")
IMG = [
    # create
    ('create -f qcow2 n.qcow2 1M', ''), ('create -f raw n.raw 1M', ''),
    ('create -q -f qcow2 -o cluster_size=4k,lazy_refcounts=on n.qcow2 1M', ''),
    ('create -q -f qcow2 -o help', ''), ('create -f qcow2 -o bogus=1 n.qcow2 1M', ''),
    ('create -f bogus n.img 1M', ''), ('create -f qcow2 n.qcow2', ''),
    ('create -f qcow2 n.qcow2 -1', ''), ('create -f qcow2 n.qcow2 1Q', ''),
    ('create -f qcow2 n.qcow2 99999999T', ''), ('create -f qcow2 -o cluster_size=3 n.qcow2 1M', ''),
    ('create -f qcow2 -b missing.raw -F raw n.qcow2', ''),
    ('create -f qcow2 -u -b missing.raw -F raw n.qcow2 1M', ''),
    ('create -f qcow2 -b a.raw n.qcow2', ''), ('create -f raw -b a.raw -F raw n.raw', ''),
    ('create -f qcow2 nodir/n.qcow2 1M', ''), ('create', ''), ('create -f', ''),
    ('create -f qcow2 -o preallocation=bogus n.qcow2 1M', ''),
    ('create -f qcow2 -o compat=0.10,refcount_bits=8 n.qcow2 1M', ''),
    # info
    ('info --output=json a.raw', 'json'), ('info --output=json a.qcow2', 'json'),
    ('info --output=json -f qcow2 o.qcow2', 'json'), ('info --output=json a.vdi', 'json'),
    ('info --backing-chain --output=json p.qcow2', 'json'), ('info --output=json a.vpc', 'json'),
    ('info --output=json a.vhdx', 'json'), ('info --output=bogus a.raw', ''),
    ('info missing.raw', ''), ('info -f qcow2 a.raw', ''), ('info -f bogus a.raw', ''), ('info', ''),
    ('info --image-opts driver=qcow2,file.filename=a.qcow2 --output=json', 'json'),
    ('info --image-opts driver=raw,size=1M,file.filename=a.raw --output=json', 'json'),
    ('info -U --output=json a.qcow2', 'json'), ('info a.raw a.qcow2', ''), ('info orphan.qcow2', ''),
    ('info --backing-chain orphan.qcow2', ''), ('info --backing-chain loop.qcow2', ''),
    ('info truncated.qcow2', ''), ('info huge.qcow2', ''), ('info badmagic.qcow2', ''),
    ('info -f qcow2 badmagic.qcow2', ''), ('info --object bogus,id=a a.raw', ''),
    # check
    ('check --output=json a.qcow2', 'json'), ('check a.raw', ''), ('check -f qcow2 a.raw', ''),
    ('check -r leaks a.qcow2', ''), ('check -r bogus a.qcow2', ''), ('check missing.qcow2', ''),
    ('check --output=json leaky.qcow2', 'json'), ('check -q leaky.qcow2', ''),
    ('check -r leaks -q leaky.qcow2', ''), ('check truncated.qcow2', ''), ('check huge.qcow2', ''),
    ('check --output=json a.vdi', 'json'), ('check a.vmdk', ''), ('check -T bogus a.qcow2', ''),
    # convert
    ('convert -O qcow2 a.raw n.qcow2', ''), ('convert -c -O qcow2 a.raw n.qcow2', ''),
    ('convert -O raw a.qcow2 n.raw', ''), ('convert -O bogus a.raw n.img', ''),
    ('convert missing.raw n.img', ''), ('convert -f qcow2 a.raw n.img', ''), ('convert a.raw', ''),
    ('convert -n -O raw a.qcow2 a.raw', ''), ('convert -n -O raw a.qcow2 missing.raw', ''),
    ('convert -n -O qcow2 a.raw e.qcow2', ''), ('convert -W -m 4 -O qcow2 a.raw n.qcow2', ''),
    ('convert -m 0 a.raw n.raw', ''), ('convert -m 99 a.raw n.raw', ''),
    ('convert -S 4k -O raw a.qcow2 n.raw', ''), ('convert -S 3 -O raw a.qcow2 n.raw', ''),
    ('convert -l first -O raw a.qcow2 n.raw', ''), ('convert -l nope -O raw a.qcow2 n.raw', ''),
    ('convert -B a.raw -F raw -O qcow2 o.qcow2 n.qcow2', ''),
    ('convert -B a.raw -O qcow2 o.qcow2 n.qcow2', ''), ('convert -c -O raw a.raw n.raw', ''),
    ('convert -O qcow2 -o bogus=1 a.raw n.qcow2', ''), ('convert -t bogus a.raw n.raw', ''),
    ('convert -T none -t writeback a.raw n.raw', ''), ('convert -O qcow2 huge.qcow2 n.qcow2', ''),
    ('convert --bitmaps -O qcow2 a.qcow2 n.qcow2', ''), ('convert -O vmdk a.raw n.vmdk', ''),
    ('convert --target-image-opts -n a.raw driver=raw,file.filename=a.raw', ''),
    ('convert -r 1M a.raw n.raw', ''), ('convert -r bogus a.raw n.raw', ''),
    ('convert a.raw e.qcow2 n.raw', ''), ('convert --salvage a.raw n.raw', ''),
    # compare
    ('compare a.raw a.qcow2', ''), ('compare -s a.raw e.qcow2', ''), ('compare a.raw e.qcow2', ''),
    ('compare a.raw data.raw', ''), ('compare a.raw missing.raw', ''), ('compare a.raw', ''),
    ('compare -f raw -F qcow2 a.raw a.qcow2', ''), ('compare -f qcow2 a.raw a.qcow2', ''),
    ('compare -q a.raw data.raw', ''),
    # commit, rebase, resize
    ('commit o.qcow2', ''), ('commit -q p.qcow2', ''), ('commit -b a.raw p.qcow2', ''),
    ('commit -b missing.raw p.qcow2', ''), ('commit a.raw', ''), ('commit a.qcow2', ''),
    ('commit -d o.qcow2', ''), ('rebase -u -b p.raw -F raw o.qcow2', ''),
    ('rebase -b a.raw -F raw p.qcow2', ''), ('rebase -b "" p.qcow2', ''),
    ('rebase -b missing.raw -F raw p.qcow2', ''), ('rebase -b a.raw -F raw a.raw', ''),
    ('rebase p.qcow2', ''), ('rebase -u -b a.raw o.qcow2', ''),
    ('resize -f raw a.raw 8M', ''), ('resize -f raw a.raw +1M', ''),
    ('resize -f raw a.raw -- -1M', ''), ('resize -f raw --shrink a.raw -- -1M', ''),
    ('resize a.qcow2 8M', ''), ('resize --shrink e.qcow2 512k', ''), ('resize e.qcow2 512k', ''),
    ('resize a.qcow2 bogus', ''), ('resize a.qcow2', ''), ('resize missing.qcow2 1M', ''),
    ('resize --preallocation=full -f raw a.raw 5M', ''),
    ('resize --preallocation=bogus -f raw a.raw 5M', ''), ('resize a.vmdk 8M', ''),
    # snapshot, map, measure, dd, amend, bitmap, bench
    ('snapshot -l a.qcow2', ''), ('snapshot -c two a.qcow2', ''), ('snapshot -a first a.qcow2', ''),
    ('snapshot -d first a.qcow2', ''), ('snapshot -d nope a.qcow2', ''), ('snapshot -c x a.raw', ''),
    ('snapshot -a nope a.qcow2', ''), ('snapshot -c a -d b a.qcow2', ''), ('snapshot', ''),
    ('map --output=json data.raw', 'json'), ('map --output=json o.qcow2', 'json'),
    ('map --output=json p.qcow2', 'json'), ('map -s 1M -l 1M --output=json p.qcow2', 'json'),
    ('map -s 99M p.qcow2', ''), ('map missing.raw', ''), ('map --output=bogus a.raw', ''),
    ('measure --output=json -O qcow2 --size 1G', 'json'),
    ('measure --output=json -O qcow2 -o cluster_size=4k,extended_l2=off --size 1G', 'json'),
    ('measure --output=json -O raw a.qcow2', 'json'), ('measure -O bogus --size 1G', ''),
    ('measure --output=json -O qcow2 data.raw', 'json'), ('measure', ''),
    ('measure --size 1G a.raw', ''), ('measure -O vmdk --size 1G', ''),
    ('measure --output=json -O luks --size 1G', 'json'),
    ('dd if=data.raw of=n.raw bs=64k count=2', ''), ('dd if=data.raw of=n.raw bs=64k skip=3', ''),
    ('dd -O qcow2 if=data.raw of=n.qcow2 bs=1M', ''), ('dd if=data.raw of=n.raw bs=0', ''),
    ('dd if=missing.raw of=n.raw', ''), ('dd if=data.raw', ''), ('dd bogus=1', ''),
    ('dd if=data.raw of=n.raw bs=1M skip=99', ''),
    ('amend -o lazy_refcounts=on a.qcow2', ''), ('amend -o compat=0.10 e.qcow2', ''),
    ('amend -o bogus=1 a.qcow2', ''), ('amend -o cluster_size=4k a.qcow2', ''), ('amend a.qcow2', ''),
    ('amend -f raw -o size=1M a.raw', ''), ('amend -o refcount_bits=64 e.qcow2', ''),
    ('bitmap --add a.qcow2 b', ''), ('bitmap --add -g 32768 a.qcow2 b', ''),
    ('bitmap --add -g 3 a.qcow2 b', ''), ('bitmap --remove a.qcow2 nope', ''),
    ('bitmap --add --disable a.qcow2 b', ''), ('bitmap a.qcow2 b', ''), ('bitmap --add a.raw b', ''),
    ('bench -c 4 -d 1 -f raw a.raw', ''), ('bench -c 4 -w -f raw a.raw', ''),
    ('bench -c 0 -f raw a.raw', ''), ('bench -c x -f raw a.raw', ''), ('bench missing.raw', ''),
    # the program itself
    ('bogus', ''), ('', ''), ('--version', ''), ('--help', ''), ('-T bogus_event info a.raw', ''),
    ('info --bogus a.raw', ''), ('--bogus', ''),
]

IO = [
    '-f raw -c "read 0 4k" a.raw', '-f raw -c "read -P 0 0 4k" a.raw', '-f raw -c "read -P 1 0 4k" a.raw',
    '-f qcow2 -c "write -P 5 64k 64k" -c "read -P 5 64k 64k" a.qcow2',
    '-f qcow2 -c "write -z 0 64k" -c "discard 0 1M" -c flush a.qcow2',
    '-r -f qcow2 -c "write 0 4k" a.qcow2', '-f qcow2 -c "write 100M 4k" a.qcow2',
    '-f qcow2 -c "read bogus 4k" a.qcow2', '-f qcow2 -c "bogus" a.qcow2', '-c "read 0 1" missing',
    '-f raw -c "aio_write -P 3 0 64k" -c aio_flush a.raw', '-f qcow2 -c "alloc 0 4M" a.qcow2',
    '-f qcow2 -c "truncate 8M" -c length a.qcow2', '-f qcow2 -c "map" p.qcow2', '--version',
    '-f qcow2 -c "write -c 0 64k" e.qcow2', '-f bogus a.raw', '-n -f raw -c "read 0 4k" a.raw',
    '-t none -f raw -c "read 0 4k" a.raw', '-t bogus -f raw a.raw', '--bogus',
    '--image-opts -c "read 0 1k" driver=qcow2,file.filename=a.qcow2', '-U -r -c "read 0 1k" a.qcow2',
    '-f raw -c "writev -P 7 0 512 512" -c "readv -P 7 0 1024" a.raw', '-f raw -c "open a.raw" a.raw',
    '-c "open -o driver=qcow2 a.qcow2" -c length -c close', '-c length', '-c close', '-c "sleep 1"',
    '-c "open -r a.qcow2" -c "write 0 512"', '-c "open -s -o driver=raw a.raw" -c "write 0 4k"',
    '-c "open -r a.qcow2" -c "reopen -w" -c "write -P 6 0 512"', '-c "open a.qcow2" -c "reopen -r" -c "write 0 1"',
    '-c "reopen -rw" a.qcow2', '-c "reopen -o bogus=1" a.qcow2', '-c "reopen -c bogus" a.qcow2',
    '-c "reopen -o discard=ignore" -c "reopen -r" -c "reopen -w" -c "write -P 9 0 64k" a.qcow2',
    '-c "reopen x" a.qcow2', '-c "open missing" -c length', '-c "open -x a.qcow2"', '-c open',
    '-c "open -U -n -d ignore -t none -r a.qcow2" -c "read 0 512"', '-c "open -i bogus a.qcow2"',
    '-s -f raw -c "write -P 4 0 64k" -c "read -P 4 0 64k" a.raw', '-s -r -c "write 0 1k" a.qcow2',
    '-C -c "read 0 64k" -c "alloc 0 64k" o.qcow2', '-C -r -c "read 0 64k" o.qcow2', '-C -f raw -c "read 0 4k" a.raw',
    '-m -f raw -c "write -P 8 512 1536" -c "read -P 8 512 1536" a.raw', '-k -f raw -c "read 0 4k" a.raw',
    '-m -t none -f raw -c "write -P 8 0 8k" -c "read -P 8 0 8k" a.raw', '-i bogus -f raw a.raw',
    '-i threads -f raw -c "write -P 8 0 8k" -c "read -P 8 0 8k" a.raw', '-T bogus_event -c length a.raw',
    '-k -n -f raw -c "aio_write -P 8 0 8k" -c aio_flush -c "read -P 8 0 8k" a.raw',
    '-c "write -P 65 0 64" -c "read -P 65 -s 16 -l 32 0 64" a.qcow2', '-c "read -P 0 -s 600 0 512" a.qcow2',
    '-c "read -l 3 0 4" a.qcow2', '-c "read -s 1 0 4" a.qcow2', '-c "read -P 1 -s 0 -l 0 0 512" e.qcow2',
    '-c "read -P 999 0 1" a.qcow2', '-c "write -P -1 0 1" a.qcow2', '-c "read 0 x" a.qcow2', '-c read a.qcow2',
    '-c "read 0" a.qcow2', '-c "read 0 3G" a.qcow2', '-c "write -z 0 3G" a.qcow2', '-c "discard 3G 1" a.qcow2',
    '-c "write -s pattern 1k 3000" -c "read -P 120 1k 8" a.qcow2', '-c "write -s missing 0 512" a.qcow2',
    '-c "write -z -P 4 0 64k" a.qcow2', '-c "write -u 0 512" a.qcow2', '-c "write -n 0 512" a.qcow2',
    '-c "write -n -z 0 64k" a.qcow2', '-c "write -f -P 1 0 512" a.qcow2', '-c "write -z -u 0 128k" a.qcow2',
    '-c "aio_read -i 0 512" -c "aio_write -i 0 512" a.qcow2', '-c "aio_read -P 1 0 512" -c aio_flush a.qcow2',
    '-c "aio_write -z -u 0 64k" -c "aio_write -f -P 2 1M 512 512" a.qcow2', '-c "flush x" a.qcow2',
    '-c "read -C 0 512" -c "write -C 0 512" -c "discard -C 0 64k" a.qcow2', '-c "read -Z 0 1" a.qcow2',
    '-c "alloc 100M" a.qcow2', '-c "alloc 0 100M" a.qcow2', '-c "alloc x" a.qcow2', '-c alloc a.qcow2',
    '-c "truncate -m full 8M" a.qcow2', '-c "truncate -m bogus 4M" a.qcow2', '-c truncate a.qcow2',
    '-c "sigraise" a.qcow2', '-c "sigraise x" a.qcow2', '-c "sigraise 15" a.qcow2', '-c info a.qcow2',
    '-c help', '-c "help read"', '-c "help nope"', '-c "quit now" -c "bogus"', '-r -c info -c length a.raw',
    'a.raw e.qcow2', '-c "break a b" a.qcow2', '-c "resume a" a.qcow2', '-c "remove_break a" a.qcow2',
    '-d ignore -c "discard 0 64k" -c "read -P 0 0 64k" a.qcow2', '-d bogus a.qcow2',
]
RANDOM = {'actual-size', 'cid', 'parent-cid', 'uuid', 'date-sec', 'date-nsec', 'vm-clock-nsec'}


def tidy(value):
    if isinstance(value, dict):
        return {k: tidy(v) for k, v in value.items() if k not in RANDOM}
    return [tidy(v) for v in value] if isinstance(value, list) else value


def words(text):
    out, quoted = [], False
    for part in text.split('"'):
        out += [part] if quoted else part.split()
        quoted = not quoted
    return out


def make_folder(qemu_img, folder):
    for line in SETUP:
        subprocess.run([qemu_img, *line.split()], cwd=folder, check=True)

    def put(name, offset, data, source='e.qcow2'):
        path = os.path.join(folder, name)
        if not os.path.exists(path):
            shutil.copy(os.path.join(folder, source), path)
        with open(path, 'r+b') as f:
            f.seek(offset)
            f.write(data)
    with open(os.path.join(folder, 'data.raw'), 'wb') as f:
        f.write(bytes(range(256)) * 2048 + bytes(1 << 20) + b'x' * 65536)
    with open(os.path.join(folder, 'pattern'), 'wb') as f:
        f.write(b'xxxxxxxxabc')
    os.unlink(os.path.join(folder, 'lost.qcow2'))
    put('badmagic.qcow2', 0, b'XXXX')
    put('huge.qcow2', 24, b'\x7f' + b'\xff' * 7)
    put('truncated.qcow2', 0, b'QFI\xfb')
    os.truncate(os.path.join(folder, 'truncated.qcow2'), 60)
    put('leaky.qcow2', 2 * 65536 + 30, b'\0\1')
    subprocess.run([qemu_img, 'create', '-q', '-u', '-f', 'qcow2', '-b', './loop.qcow2', '-F',
                    'qcow2', 'loop.qcow2', '1M'], cwd=folder, check=True)


def hashes(folder):
    out = {}
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), 'rb') as f:
            out[name] = hashlib.md5(f.read()).hexdigest()
    return out


def contents(img, folder, names):
    """What guests would read of the images."""
    out = {}
    for name in names:
        path = os.path.join(folder, name)
        subprocess.run([img, 'convert', '-O', 'raw', path, path + '.flat'], check=False,
                       capture_output=True)
        if os.path.exists(path + '.flat'):
            with open(path + '.flat', 'rb') as f:
                out[name] = hashlib.md5(f.read()).hexdigest()
            os.unlink(path + '.flat')
    return out


def run(program, args, pristine, kind):
    """(status, output, files that changed, the folder)"""
    folder = tempfile.mkdtemp(prefix='rhea-tools-')
    subprocess.run(['cp', '-a', '--sparse=always', pristine + '/.', folder], check=True)
    p = subprocess.run([program, *words(args)], cwd=folder, capture_output=True, text=True,
                       timeout=120, stdin=subprocess.DEVNULL)
    output = None
    if kind == 'json' and p.stdout.strip():
        output = tidy(json.loads(p.stdout))
    return p.returncode, output, p.stdout + p.stderr, folder


def judge(ours, theirs, before, qemu_img):
    if ours[0] != theirs[0]:
        return f'exit status {ours[0]}, {theirs[0]} there: {ours[2][:200]!r}, {theirs[2][:200]!r}'
    if ours[1] != theirs[1]:
        return f'prints {json.dumps(ours[1])[:600]}, not {json.dumps(theirs[1])[:600]}'
    mine, other = hashes(ours[3]), hashes(theirs[3])
    if ours[0] == 1:
        changed = [n for n in before if mine.get(n) != before[n] and other.get(n) == before[n]]
        if changed:
            return f'it failed, and changed {changed}'
        if not ours[2].strip() and theirs[2].strip():
            return 'it failed without a word'
        return ''
    names = [n for n in set(mine) | set(other) if mine.get(n) != other.get(n)]
    a, b = contents(qemu_img, ours[3], names), contents(qemu_img, theirs[3], names)
    return '' if a == b else f'the images differ: {sorted(n for n in names if a.get(n) != b.get(n))}'


def io_commands(program):
    text = subprocess.run([program, '-c', 'help'], capture_output=True, text=True, check=True).stdout
    return {line.split()[0] for line in text.splitlines() if ' -- ' in line}


def main():
    img, io = (os.path.abspath(p) for p in sys.argv[1:3])
    qemu_img = sys.argv[3] if len(sys.argv) > 3 else shutil.which('qemu-img')
    qemu_io = sys.argv[4] if len(sys.argv) > 4 else shutil.which('qemu-io')
    if not qemu_img or not qemu_io or ' 7.2' not in subprocess.run(
            [qemu_img, '--version'], capture_output=True, text=True).stdout:
        print('1..0 # SKIP no tools of QEMU 7.2 to compare with')
        return 0
    rows = [(img, qemu_img, 'img', *row) for row in IMG] + [(io, qemu_io, 'io', r, '') for r in IO]
    failed = 0
    with tempfile.TemporaryDirectory(prefix='rhea-tools-') as pristine:
        make_folder(qemu_img, pristine)
        before = hashes(pristine)
        for n, (program, other, tool, args, kind) in enumerate(rows, 1):
            ours, theirs = run(program, args, pristine, kind), run(other, args, pristine, kind)
            why = judge(ours, theirs, before, qemu_img)
            failed += bool(why)
            print(f'{"not ok" if why else "ok"} {n} - {tool} {args}', flush=True)
            if why:
                print('# ' + why.replace('\n', ' '))
            shutil.rmtree(ours[3])
            shutil.rmtree(theirs[3])
    missing = io_commands(qemu_io) ^ io_commands(io)
    failed += bool(missing)
    print(f'{"not ok" if missing else "ok"} {len(rows) + 1} - commands of io {" ".join(sorted(missing))}')
    print(f'1..{len(rows) + 1}')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
