#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""QMP of the NBD server and of exports, in the emulator; and in the installed QEMU, for the same.

usage: nbd_qmp.py RHEA_SYSTEM RHEA_IO RHEA_NBD RHEA_IMG [QEMU_SYSTEM]

Each step is one line of TAP: the answer's shape is checked, and where QEMU is installed the same
steps are made there and its answers have to be alike (texts of errors may differ).
"""
import array
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

RHEA, RHEA_IO, RHEA_NBD, RHEA_IMG = (os.path.abspath(p) for p in sys.argv[1:5])
QEMU = sys.argv[5] if len(sys.argv) > 5 else shutil.which('qemu-system-x86_64')


class Qmp:
    running = []

    def __init__(self, program, folder, *args):
        path = os.path.join(folder, 'qmp')
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen(1)
            listener.settimeout(60)
            self.p = subprocess.Popen([program, '-M', 'none', '-S', '-display', 'none', '-qmp',
                                       'unix:' + path, *args], cwd=folder, stdin=subprocess.DEVNULL)
            Qmp.running.append(self)
            self.conn, _ = listener.accept()
        os.unlink(path)
        self.conn.settimeout(60)
        self.f = self.conn.makefile('r')
        self.events = []
        self.f.readline()
        self.cmd('qmp_capabilities')

    def _read(self):
        line = self.f.readline()
        assert line, 'the emulator has gone'
        return json.loads(line)

    def cmd(self, command, fd=None, **args):
        request = {'execute': command}
        if args:
            request['arguments'] = args
        anc = [] if fd is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [fd]))]
        self.conn.sendmsg([json.dumps(request).encode() + b'\n'], anc)
        while True:
            answer = self._read()
            if 'event' in answer:
                self.events.append(answer)
            elif 'error' in answer:
                return answer['error']['class']
            else:
                return answer['return']

    def event(self, name):
        while True:
            for e in self.events:
                if e['event'] == name:
                    self.events.remove(e)
                    return e['data']
            answer = self._read()
            assert 'event' in answer, answer
            self.events.append(answer)

    def end(self):
        self.conn.sendall(b'{"execute": "quit"}\n')
        self.p.wait(60)
        Qmp.running.remove(self)
        self.f.close()
        self.conn.close()
        return self.p.returncode


def client(path, export, *commands, how=(), status=0):
    """One connection of rhea-io; what it printed."""
    args = [RHEA_IO, *how, '--image-opts']
    for c in commands:
        args += ['-c', c]
    p = subprocess.run([*args, f'driver=nbd,server.type=unix,server.path={path},export={export}'],
                       capture_output=True, text=True, timeout=60)
    assert p.returncode == status, p.stdout + p.stderr
    return p.stdout + p.stderr


def remove(q, command, **args):
    """Remove an export whose client has just ended; the server may hear of that a moment later."""
    end = time.monotonic() + 60
    while True:
        answer = q.cmd(command, **args)
        if answer != 'GenericError' or time.monotonic() > end:
            return answer
        time.sleep(0.01)


def steps(program, folder):
    """Yields (name, answer) of each."""
    disk, sock = os.path.join(folder, 'd.raw'), os.path.join(folder, 's')
    for name in ('d.raw', 'ro.raw', 'drv.raw'):
        with open(os.path.join(folder, name), 'wb') as f:
            f.truncate(1 << 20)
    q = Qmp(program, folder,
            '-object', f'tls-creds-psk,id=tls0,endpoint=server,dir={folder}',
            '-blockdev', f'driver=file,node-name=f0,filename={disk}',
            '-blockdev', 'driver=raw,node-name=disk,file=f0',
            '-drive', f'if=none,id=drv,format=raw,file={folder}/drv.raw',
            '-blockdev', f'driver=file,node-name=ro,read-only=on,filename={folder}/ro.raw')
    unix = {'type': 'unix', 'data': {'path': sock}}
    export = {'type': 'nbd', 'id': 'e0', 'node-name': 'disk'}

    yield 'no exports', q.cmd('query-block-exports')
    yield 'stop without a server', q.cmd('nbd-server-stop')
    yield 'export without a server', q.cmd('block-export-add', **export)
    yield 'start', q.cmd('nbd-server-start', addr=unix)
    yield 'start again', q.cmd('nbd-server-start', addr=unix)
    yield 'unknown node', q.cmd('block-export-add', **{**export, 'node-name': 'nope'})
    yield 'unknown parameter', q.cmd('block-export-add', **export, nonsense=1)
    yield 'unknown type', q.cmd('block-export-add', **{**export, 'type': 'nonsense'})
    yield 'bad id', q.cmd('block-export-add', **{**export, 'id': '0?'})
    yield 'read-only node', q.cmd('block-export-add', **{**export, 'node-name': 'ro'}, writable=True)
    yield 'unknown bitmap', q.cmd('block-export-add', **export, bitmaps=['nope'])
    yield 'export', q.cmd('block-export-add', **export, writable=True, name='name',
                          description='text')
    yield 'duplicate id', q.cmd('block-export-add', **export, name='other')
    yield 'duplicate name', q.cmd('block-export-add', **{**export, 'id': 'e1'}, name='name')
    yield 'query', q.cmd('query-block-exports')
    client(sock, 'name', 'write -P 7 0 64k', 'read -P 7 0 64k')
    yield 'written by a client', True

    shell = subprocess.Popen([RHEA_IO, '--image-opts',
                              f'driver=nbd,server.type=unix,server.path={sock},export=name'],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    shell.stdin.write('read 0 512\n')
    shell.stdin.flush()
    while 'read 512' not in shell.stdout.readline():
        pass
    yield 'in use', q.cmd('block-export-del', id='e0')
    yield 'hard removal', q.cmd('block-export-del', id='e0', mode='hard')
    yield 'event', q.event('BLOCK_EXPORT_DELETED')
    shell.communicate('read 0 512\n')
    yield 'the client lost it', shell.returncode
    yield 'gone', q.cmd('query-block-exports')
    yield 'remove again', q.cmd('block-export-del', id='e0')

    yield 'old command', q.cmd('nbd-server-add', device='disk', writable=True)
    yield 'old command, query', q.cmd('query-block-exports')
    client(sock, 'disk', 'read -P 7 0 64k')
    yield 'old removal', remove(q, 'nbd-server-remove', name='disk')
    yield 'old event', q.event('BLOCK_EXPORT_DELETED')
    yield 'old removal again', q.cmd('nbd-server-remove', name='disk')
    yield 'export of a read-only node', q.cmd('nbd-server-add', device='ro', name='x')
    yield 'stop', q.cmd('nbd-server-stop')
    yield 'stop ends exports', q.event('BLOCK_EXPORT_DELETED')
    yield 'socket is gone', os.path.exists(sock)

    # A listening socket that the client of the monitor made.
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(sock)
        listener.listen()
        yield 'getfd', q.cmd('getfd', fd=listener.fileno(), fdname='nbdfd')
    yield 'unknown fd', q.cmd('nbd-server-start', addr={'type': 'fd', 'data': {'str': 'nope'}})
    yield 'start by fd', q.cmd('nbd-server-start', addr={'type': 'fd', 'data': {'str': 'nbdfd'}},
                               **{'max-connections': 2})
    yield 'export by fd', q.cmd('block-export-add', **export)
    client(sock, 'disk', 'read -P 7 0 64k', how=['-r'])
    yield 'read by fd', True
    yield 'stop by fd', q.cmd('nbd-server-stop')
    if os.path.exists(sock):            # QEMU removes it, though we made it
        os.unlink(sock)

    yield 'unknown credentials', q.cmd('nbd-server-start', addr=unix, **{'tls-creds': 'nope'})
    yield 'start with TLS', q.cmd('nbd-server-start', addr=unix, **{'tls-creds': 'tls0'})
    yield 'export with TLS', q.cmd('block-export-add', **export)
    client(sock, 'disk', 'read 0 512', how=['-r'], status=1)
    client(sock, 'disk,tls-creds=c', 'read -P 7 0 64k',
           how=['-r', '--object', f'tls-creds-psk,id=c,endpoint=client,username=u,dir={folder}'])
    yield 'read with TLS', True

    yield 'stop TLS', q.cmd('nbd-server-stop')

    # A bitmap, as a client sees it: dirty is told as "not data" by x-dirty-bitmap.
    bitmap = {'node': 'disk', 'name': 'b0'}
    yield 'bitmap', q.cmd('block-dirty-bitmap-add', granularity=65536, **bitmap)
    yield 'start for a bitmap', q.cmd('nbd-server-start', addr=unix)
    yield 'enabled bitmap, read-only export', q.cmd('block-export-add', **export, bitmaps=['b0'])
    yield 'export for writing', q.cmd('block-export-add', **export, writable=True)
    client(sock, 'disk', 'write -P 8 128k 64k')
    yield 'remove it', remove(q, 'block-export-del', id='e0')
    q.event('BLOCK_EXPORT_DELETED')
    yield 'disable', q.cmd('block-dirty-bitmap-disable', **bitmap)
    yield 'export a bitmap', q.cmd('block-export-add', **export, bitmaps=['b0'])
    yield 'a bitmap in use', q.cmd('block-dirty-bitmap-remove', **bitmap)
    image = f'driver=nbd,server.type=unix,server.path={sock},export=disk,' \
            'x-dirty-bitmap=qemu:dirty-bitmap:b0'
    out = subprocess.run([RHEA_IMG, 'map', '--output=json', '--image-opts', image], check=True,
                         capture_output=True, text=True, timeout=60).stdout
    yield 'dirty parts', [(e['start'], e['length']) for e in json.loads(out) if not e['data']]
    yield 'stop for a bitmap', q.cmd('nbd-server-stop')
    q.event('BLOCK_EXPORT_DELETED')
    yield 'remove a bitmap', q.cmd('block-dirty-bitmap-remove', **bitmap)

    def hmp(line):
        return q.cmd('human-monitor-command', **{'command-line': line}).strip()

    yield 'hmp bad address', bool(hmp('nbd_server_start nonsense'))
    yield 'hmp -w alone', bool(hmp(f'nbd_server_start -w unix:{sock}'))
    yield 'hmp start -a', hmp(f'nbd_server_start -a unix:{sock}')
    yield 'hmp exports', [e['id'] for e in q.cmd('query-block-exports')]
    yield 'hmp add', hmp('nbd_server_add -w disk named')
    client(sock, 'named', 'read -P 7 0 64k')
    yield 'hmp remove', hmp('nbd_server_remove -f named')
    yield 'hmp remove again', bool(hmp('nbd_server_remove named'))
    yield 'hmp stop', hmp('nbd_server_stop')
    yield 'hmp stop again', bool(hmp('nbd_server_stop'))
    q.events.clear()

    # The emulator as a client, of itself: the server runs while a node is being opened.
    yield 'more credentials', q.cmd('object-add', **{'qom-type': 'tls-creds-psk', 'id': 'tls1',
                                                     'endpoint': 'client', 'username': 'u',
                                                     'dir': folder})
    pid = os.path.join(folder, 'pid')
    other = os.path.join(folder, 'o')
    subprocess.run([RHEA_NBD, '--fork', '--pid-file', pid, '-r', '-t', '-e', '2', '-f', 'raw', '-k', other, 'ro.raw'],
                   cwd=folder, check=True, timeout=60, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL)
    node = {'driver': 'nbd', 'node-name': 'n0', 'read-only': True,
            'server': {'type': 'unix', 'path': other}}
    yield 'blockdev-add nbd', q.cmd('blockdev-add', **node)
    with socket.socket(socket.AF_UNIX) as conn:
        conn.connect(other)
        yield 'getfd of a connection', q.cmd('getfd', fd=conn.fileno(), fdname='conn')
    yield 'blockdev-del', q.cmd('blockdev-del', **{'node-name': 'n0'})
    yield 'blockdev-add by fd', q.cmd('blockdev-add', **{**node, 'server': {'type': 'fd', 'str': 'conn'}})
    yield 'blockdev-add nowhere', q.cmd('blockdev-add', driver='nbd', server={
        'type': 'unix', 'path': '/nonexistent/s'}, **{'node-name': 'n1'})
    yield 'blockdev-del nbd', q.cmd('blockdev-del', **{'node-name': 'n0'})
    # Jobs that write to a server.
    for name in ('full.raw', 'mirror.raw'):
        with open(os.path.join(folder, name), 'wb') as f:
            f.write(b'old' * (1 << 19))
            f.truncate(1 << 20)
        job = 'blockdev-backup' if name == 'full.raw' else 'blockdev-mirror'
        server = os.path.join(folder, name + '.s')
        subprocess.run([RHEA_NBD, '--fork', '--pid-file', pid + name, '-f', 'raw', '-k', server, name],
                       cwd=folder, check=True, timeout=60, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL)
        yield f'target for {job}', q.cmd('blockdev-add', **{
            'driver': 'nbd', 'node-name': 't0', 'server': {'type': 'unix', 'path': server}})
        yield job, q.cmd(job, device='disk', target='t0', sync='full', **{'job-id': 'j0'})
        if job == 'blockdev-mirror':
            yield 'ready', q.event('BLOCK_JOB_READY')['device']
            yield 'complete', q.cmd('block-job-cancel', device='j0')
        yield f'{job} is done', 'error' in q.event('BLOCK_JOB_COMPLETED')
        yield f'end of the target for {job}', q.cmd('blockdev-del', **{'node-name': 't0'})
        with open(os.path.join(folder, name), 'rb') as f, open(disk, 'rb') as g:
            yield f'{job} copied all', f.read() == g.read()
    yield 'object-del', q.cmd('object-del', id='tls1')
    yield 'exit with a server', q.end()
    with open(pid, encoding='ascii') as f:
        os.kill(int(f.read()), signal.SIGTERM)


EXPECT_ERROR = {
    'stop without a server', 'export without a server', 'start again', 'unknown node',
    'unknown parameter', 'unknown type', 'bad id', 'read-only node', 'unknown bitmap', 'duplicate id',
    'duplicate name', 'in use', 'remove again', 'old removal again', 'unknown fd',
    'unknown credentials', 'blockdev-add nowhere', 'enabled bitmap, read-only export',
    'a bitmap in use',
}
EXPECT = {
    'no exports': [], 'gone': [], 'written by a client': True, 'read by fd': True,
    'read with TLS': True, 'hmp bad address': True, 'hmp -w alone': True, 'hmp start -a': '',
    'hmp exports': ['drv'], 'hmp add': '', 'hmp remove': '', 'hmp remove again': True,
    'hmp stop': '', 'hmp stop again': True, 'ready': 'j0', 'blockdev-backup is done': False,
    'blockdev-mirror is done': False, 'blockdev-backup copied all': True,
    'blockdev-mirror copied all': True, 'socket is gone': False, 'event': {'id': 'e0'}, 'old event': {'id': 'disk'},
    'stop ends exports': {'id': 'x'}, 'dirty parts': [(128 * 1024, 64 * 1024)], 'the client lost it': 1, 'exit with a server': 0,
    'query': [{'id': 'e0', 'type': 'nbd', 'node-name': 'disk', 'shutting-down': False}],
    'old command, query': [{'id': 'disk', 'type': 'nbd', 'node-name': 'disk',
                            'shutting-down': False}],
}


def case_quit(folder):
    """A request that waits for a lost server does not keep the emulator from ending."""
    sock, pid = os.path.join(folder, 'lost'), os.path.join(folder, 'pid')
    for name in ('a.raw', 'b.raw'):
        with open(os.path.join(folder, name), 'wb') as f:
            f.write(b'data' * (1 << 18))
    subprocess.run([RHEA_NBD, '--fork', '--pid-file', pid, '-f', 'raw', '-k', sock, 'a.raw'],
                   cwd=folder, check=True, timeout=60, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL)
    q = Qmp(RHEA, folder, '-blockdev', f'driver=file,node-name=b,filename={folder}/b.raw')
    q.cmd('blockdev-add', driver='nbd', server={'type': 'unix', 'path': sock},
          **{'node-name': 'a', 'reconnect-delay': 3600})
    with open(pid, encoding='ascii') as f:
        number = int(f.read())
    fd = os.pidfd_open(number)
    os.kill(number, signal.SIGKILL)
    select.select([fd], [], [], 60)
    os.close(fd)
    assert q.cmd('blockdev-backup', device='a', target='b', sync='full', **{'job-id': 'j'}) == {}
    return q.end()


def collect(program):
    folder = tempfile.mkdtemp(prefix='rhea-nbd-qmp-')
    try:
        with open(os.path.join(folder, 'keys.psk'), 'w', encoding='ascii') as f:
            f.write('u:00112233445566778899aabbccddeeff\n')
        return list(steps(program, folder))
    finally:
        for q in Qmp.running:            # a step has failed
            q.p.kill()
            q.p.wait()
        Qmp.running.clear()
        shutil.rmtree(folder, ignore_errors=True)   # a server may be removing its socket


def main():
    failed = n = 0
    for n, (name, answer) in enumerate(collect(RHEA), 1):
        want = 'GenericError' if name in EXPECT_ERROR else EXPECT.get(name, {})
        ok = answer == want
        failed += not ok
        print(f"{'ok' if ok else 'not ok'} {n} - {name}", flush=True)
        if not ok:
            print(f'# {answer!r} instead of {want!r}', flush=True)
    n += 1
    with tempfile.TemporaryDirectory(prefix='rhea-nbd-qmp-') as folder:
        ok = case_quit(folder) == 0
    failed += not ok
    print(f"{'ok' if ok else 'not ok'} {n} - quit while a request waits", flush=True)
    n += 1
    if not QEMU:
        print(f'ok {n} - the same in QEMU # SKIP it is not installed')
    else:
        alike = True
        for name, answer in collect(QEMU):
            want = 'GenericError' if name in EXPECT_ERROR else EXPECT.get(name, {})
            if answer != want:
                alike = False
                print(f'# {name}: QEMU answers {answer!r}, we {want!r}')
        failed += not alike
        print(f"{'ok' if alike else 'not ok'} {n} - the same in QEMU")
    print(f'1..{n}')
    return 1 if failed else 0


sys.exit(main())
