#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""rhea-nbd and rhea-storage-daemon beside qemu-nbd and qemu-storage-daemon.

Rows that end by themselves must end with the same exit status, say something when they fail, and leave the
images as they were.  Rows that serve are asked by one client, qemu-nbd -L, what they serve; and what
rhea-nbd -L tells of a server is what qemu-nbd -L tells.

usage: servers_test.py NBD DAEMON [QEMU-NBD QEMU-STORAGE-DAEMON QEMU-IMG]     (TAP; skips without QEMU's)
"""
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile

SETUP = [
    'create -q -f raw a.raw 4M', 'create -q -f qcow2 a.qcow2 4M', 'snapshot -c first a.qcow2',
    'bitmap --add a.qcow2 b0', 'bitmap --add a.qcow2 b1',
    'create -q -f qcow2 -b a.qcow2 -F qcow2 o.qcow2',
]

NBD_ENDS = [
    '', '--bogus', 'missing', '-f bogus a.raw', '-f qcow2 a.raw', 'a.raw a.qcow2', 
    '-p x a.raw', '-e x a.raw', '-e -1 a.raw', '-o x a.raw', '-f raw -o 100M a.raw',
    '-k relative a.raw', '-l nope a.qcow2',
    '-k /nonexistent/sock a.raw', '-B nope a.qcow2', '--cache=bogus a.raw', '--aio=bogus a.raw',
    '--discard=bogus a.raw', '--detect-zeroes=bogus a.raw', '-n --cache=none a.raw',
    '--detect-zeroes=unmap --discard=ignore a.raw', '--object bogus,id=a a.raw',
    '--tls-creds=none a.raw', '--image-opts -f raw driver=raw,file.filename=a.raw',
    '--image-opts driver=bogus', '-L a.raw', '-L -x foo', '-L -r', '-L -k /nonexistent/sock',
    '-L --tls-hostname=x', '--tls-hostname=x a.raw', '-c /dev/null a.raw', '-d missing', '--version',
    '--help', '--pid-file=/nonexistent/x -k SOCK a.raw', '-T', '--fork -k SOCK missing',
    '--fork -k SOCK -f qcow2 a.raw', '-x', '-e 2147483648 a.raw',
]

NBD_SERVES = [
    '-f raw a.raw', '-f raw -r a.raw', '-f qcow2 a.qcow2', '-f raw -x name a.raw',
    '-f raw -x name -D words a.raw', '-f raw -o 1048576 a.raw', '-f qcow2 -B b0 a.qcow2',
    '-f qcow2 -r -B b0 -B b1 a.qcow2', '-f qcow2 -A o.qcow2', '-f qcow2 -A -B b0 a.qcow2',
    '-f raw -e 4 a.raw', '-f raw -e 0 a.raw', '-f raw -r -e 4 a.raw', '-s -f raw a.raw',
    '-l first a.qcow2', '-l snapshot.name=first a.qcow2', '-f raw -n a.raw', '-f raw --cache=unsafe a.raw',
    '-f raw --cache=directsync a.raw', '-f raw --aio=threads a.raw', '-f raw -n --aio=native a.raw',
    '-f raw --discard=unmap a.raw', '-f raw --discard=unmap --detect-zeroes=unmap a.raw',
    '-f raw -v a.raw', '--image-opts driver=qcow2,file.filename=a.qcow2',
    '--image-opts driver=raw,offset=64k,size=1M,file.filename=a.raw',
    '--object secret,id=s,data=x -f raw a.raw', 'a.qcow2', '-f raw -T bogus_event a.raw',
]

NODES = ('--blockdev driver=file,node-name=f,filename=a.qcow2 --blockdev driver=qcow2,node-name=q,file=f '
         '--blockdev driver=file,node-name=g,filename=a.raw --blockdev driver=raw,node-name=r,file=g '
         '--nbd-server addr.type=unix,addr.path=SOCK ')
DAEMON_ENDS = [
    '--bogus', 'stray', '--help', '--version', '--object help', '--chardev help', '--chardev null',
    '--chardev bogus,id=a', '--chardev null,id=a --chardev null,id=a', '--blockdev', '--monitor none',
    '--blockdev driver=nope,node-name=a', '--blockdev node-name=a', '--blockdev {"driver":',
    '--blockdev driver=file,node-name=f,filename=missing', '--blockdev driver=null-co',
    '--blockdev driver=null-co,node-name=a --blockdev driver=null-co,node-name=a',
    '--blockdev driver=file,node-name=f,filename=a.raw,bogus=1',
    NODES + '--export nbd,id=e,node-name=q,bitmaps.0=b0',
    NODES + '--export nbd,id=e,node-name=q,bitmaps.0=no',
    '--blockdev driver=file,node-name=f,filename=a.raw --blockdev driver=qcow2,node-name=q,file=f',
    '--export type=nbd,id=e,node-name=zz', '--export type=bogus,id=e,node-name=a', '--export nbd',
    '--blockdev driver=null-co,node-name=a --export nbd,id=e,node-name=a',
    '--nbd-server addr.type=inet', '--nbd-server addr.type=unix', '--nbd-server bogus=1', '--nbd-server',
    '--nbd-server addr.type=unix,addr.path=/nonexistent/x', '--object nope,id=x', '--object secret',
    '--nbd-server addr.type=unix,addr.path=SOCK --nbd-server addr.type=unix,addr.path=SOCK',
    '--nbd-server addr.type=unix,addr.path=SOCK,tls-creds=none',
    '--object throttle-group,id=a,x-bogus=1', '--object iothread,id=a --object iothread,id=a',
    '--pidfile /nonexistent/x', '--daemonize --chardev stdio,id=c --monitor c', '--trace', '-x',
    '--nbd-server addr.type=unix,addr.path=SOCK --blockdev driver=null-co,node-name=a '
    '--export nbd,id=e,node-name=a --export nbd,id=e,node-name=a,name=other',
    '--nbd-server addr.type=unix,addr.path=SOCK --blockdev driver=null-co,node-name=a '
    '--export nbd,id=e,node-name=a,bitmap=none',
    '--nbd-server addr.type=unix,addr.path=SOCK --blockdev driver=null-co,node-name=a '
    '--export nbd,id=e,node-name=a,bogus=1',
]

DAEMON_SERVES = [NODES + e for e in (
    '', '--export nbd,id=e,node-name=q', '--export nbd,id=e,node-name=q,writable=on',
    '--export type=nbd,id=e,node-name=q,name=x,description=words,writable=on',
    '--export nbd,id=e,node-name=q,bitmaps.0=b0,bitmaps.1=b1,writable=on',
    '--export nbd,id=e,node-name=q,allocation-depth=on',
    '--export nbd,id=e,node-name=q --export nbd,id=e2,node-name=r,writable=on',
    '--object iothread,id=t --export nbd,id=e,node-name=r,iothread=t,writable=on',
    '--object throttle-group,id=t,x-iops-total=1000 --blockdev driver=throttle,node-name=tt,throttle-group=t,'
    'file=r --export nbd,id=e,node-name=tt,writable=on',
)]

# Commands of the daemon's monitor that Rhea has not; and those that QEMU has not.
DAEMON_MISSING = {'x-blockdev-change', 'x-blockdev-set-iothread', 'x-debug-query-block-graph'}
DAEMON_MORE = {'block-latency-histogram-set'}
LIMIT = int(os.environ.get('LIMIT', '120'))    # seconds for a program that ends by itself
COMMANDS = [{'execute': name, 'arguments': arguments} for name, arguments in (
    ('query-named-block-nodes', {'flat': True}), ('query-block-exports', {}), ('query-block-jobs', {}),
    ('query-jobs', {}), ('query-blockstats', {'query-nodes': True}), ('query-iothreads', {}),
    ('block-export-del', {'id': 'nope'}), ('blockdev-del', {'node-name': 'nope'}),
    ('nbd-server-stop', {}), ('nbd-server-stop', {}), ('bogus', {}), ('blockdev-del', {'node-name': 'q'}),
    ('object-del', {'id': 'nope'}), ('job-cancel', {'id': 'nope'}),
)]


class Folder:
    """A fresh copy of the images, with a socket in it."""
    def __init__(self, pristine):
        self.path = tempfile.mkdtemp(prefix='rhea-serve-')
        subprocess.run(['cp', '-a', '--sparse=always', pristine + '/.', self.path], check=True)
        self.sock, self.pid = os.path.join(self.path, 'sock'), os.path.join(self.path, 'pid')

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)

    def words(self, text):
        return text.replace('SOCK', self.sock).split()

    def run(self, program, *args):
        # A file, as a server that forked would keep a pipe open.
        with open(os.path.join(self.path, 'out'), 'w+') as out:
            try:
                status = subprocess.run([program, *args], cwd=self.path, stdin=subprocess.DEVNULL,
                                        stdout=out, stderr=subprocess.STDOUT, timeout=LIMIT,
                                        check=False).returncode
            except subprocess.TimeoutExpired:
                status = 'that it goes on'
            out.seek(0)
            return status, out.read()

    def hashes(self):
        out = {}
        for name in ('a.raw', 'a.qcow2', 'o.qcow2'):
            with open(os.path.join(self.path, name), 'rb') as f:
                out[name] = hashlib.md5(f.read()).hexdigest()
        return out

    def stop(self):
        """The server that wrote the pid file; waits until that has gone or the process has."""
        with open(self.pid, encoding='ascii') as f:
            pid = int(f.read())
        os.kill(pid, signal.SIGTERM)
        while True:
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return
            with open(f'/proc/{pid}/stat', encoding='ascii', errors='replace') as f:
                if f.read().rsplit(')', 1)[1].split()[0] == 'Z':
                    return
            subprocess.run(['true'], check=True)


def ends(pristine, ours, theirs, row):
    results = []
    for program in (ours, theirs):
        with Folder(pristine) as folder:
            before = folder.hashes()
            status, text = folder.run(program, *folder.words(row))
            results.append((status, text, folder.hashes() == before))
    (status, text, kept), (other, _, other_kept) = results
    if status != other:
        return f'status {status}, {other} there: {text[:300]!r}'
    if status and not text.strip():
        return 'it failed without a word'
    return 'it failed, and changed an image' if status and other_kept and not kept else ''


def tidy(text):
    """Limits of a request's size are advice, and each server's own; so is the order of lists."""
    return sorted(line for line in text.splitlines() if 'block: ' not in line)


def serves(pristine, ours, theirs, client, row, daemon):
    told = []
    for program in (ours, theirs):
        with Folder(pristine) as folder:
            if daemon:
                options = ['--daemonize', '--pidfile', folder.pid]
            else:
                options = ['-t', '--fork', f'--pid-file={folder.pid}', '-k', folder.sock]
            status, text = folder.run(program, *options, *folder.words(row))
            if status != 0:
                return f'{program}: status {status}: {text[:300]!r}'
            try:
                told.append(folder.run(client, '-L', '-k', folder.sock))
                if program is ours and not daemon:
                    other = folder.run(ours, '-L', '-k', folder.sock)
                    if other != told[0]:
                        return f'-L prints {other}, there {told[0]}'
            finally:
                folder.stop()
    a, b = ((status, tidy(text)) for status, text in told)
    return '' if a == b else f'{a}, there {b}'


def shape(value):
    """Keys and kinds; an error's class."""
    if isinstance(value, dict):
        if 'error' in value:
            return value['error']['class']
        return {k: shape(v) for k, v in value.items()}
    if isinstance(value, list):
        return sorted((shape(v) for v in value), key=lambda v: json.dumps(v, sort_keys=True))
    return type(value).__name__


def answers(pristine, program):
    with Folder(pristine) as folder:
        p = subprocess.Popen([program, '--chardev', 'stdio,id=c', '--monitor', 'c',
                              *folder.words(DAEMON_SERVES[2])], cwd=folder.path, text=True,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        out = []
        try:
            p.stdout.readline()
            for command in [{'execute': 'qmp_capabilities'}, {'execute': 'query-commands'}] + COMMANDS:
                p.stdin.write(json.dumps(command) + '\n')
                p.stdin.flush()
                message = json.loads(p.stdout.readline())
                while 'event' in message:
                    message = json.loads(p.stdout.readline())
                out.append(message)
            p.stdin.write('{"execute": "quit"}\n')
            p.stdin.close()
            if p.wait(60) != 0:
                out.append('quit failed')
        finally:
            p.kill()
            p.wait()
        return {c['name'] for c in out[1]['return']}, out[2:]


def cases(pristine, nbd, daemon, qemu_nbd, qemu_daemon):
    for row in NBD_ENDS:
        yield f'nbd {row}', lambda: ends(pristine, nbd, qemu_nbd, row)
    for row in NBD_SERVES:
        yield f'nbd serves {row}', lambda: serves(pristine, nbd, qemu_nbd, qemu_nbd, row, False)
    for row in DAEMON_ENDS:
        yield f'daemon {row}', lambda: ends(pristine, daemon, qemu_daemon, row)
    for row in DAEMON_SERVES:
        yield f'daemon serves {row}', lambda: serves(pristine, daemon, qemu_daemon, qemu_nbd, row, True)
    mine, theirs = answers(pristine, daemon), answers(pristine, qemu_daemon)
    yield 'daemon commands', lambda: ' '.join((theirs[0] - mine[0]) ^ DAEMON_MISSING |
                                              (mine[0] - theirs[0]) ^ DAEMON_MORE)
    for command, a, b in zip(COMMANDS, mine[1], theirs[1]):
        yield f'daemon {command["execute"]}', lambda: \
            '' if shape(a) == shape(b) else f'{a}, there {b}'


def main():
    nbd, daemon = (os.path.abspath(p) for p in sys.argv[1:3])
    names = ('qemu-nbd', 'qemu-storage-daemon', 'qemu-img')
    others = sys.argv[3:6] if len(sys.argv) > 5 else [shutil.which(n) for n in names]
    if not all(others) or any(' 7.2' not in subprocess.run(
            [p, '--version'], capture_output=True, text=True, check=False).stdout for p in others):
        print('1..0 # SKIP no tools of QEMU 7.2 to compare with')
        return 0
    failed = n = 0
    only = os.environ.get('ONLY', '')
    with tempfile.TemporaryDirectory(prefix='rhea-serve-') as pristine:
        for line in SETUP:
            subprocess.run([others[2], *line.split()], cwd=pristine, check=True)
        for name, case in cases(pristine, nbd, daemon, *others[:2]):
            if only not in name:
                continue
            why = case()
            n += 1
            failed += bool(why)
            print(f'{"not ok" if why else "ok"} {n} - {name}', flush=True)
            if why:
                print('# ' + why.replace('\n', ' '))
    print(f'1..{n}')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
