#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""NBD both ways: our server and client against qemu-nbd, qemu-img, nbdkit and libnbd.

usage: nbd_matrix.py RHEA_NBD RHEA_IMG RHEA_IO

Every case is one line of TAP; a case whose program is not installed is skipped.  Servers are
started with --fork, so they listen when the command returns.  ONLY=text picks cases by name.
"""
import contextlib
import json
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import sys

from command import fails, run, same_bytes
from tap import Skip, run_cases

RHEA_NBD, RHEA_IMG, RHEA_IO = (os.path.abspath(p) for p in sys.argv[1:4])
KIB, MIB = 1024, 1024 * 1024
SIZE = 5 * MIB + 3 * 512


def need(*programs):
    for p in programs:
        if not shutil.which(p):
            raise Skip(f'{p} is not installed')


def content(path, seed):
    rnd = random.Random(seed)
    with open(path, 'wb') as f:
        f.truncate(SIZE)
        for at in range(0, SIZE - 64 * KIB, 256 * KIB):
            f.seek(at)
            f.write(rnd.randbytes(64 * KIB) if rnd.randrange(3) else bytes(64 * KIB))
    return path


class Server:
    """PROGRAM is ours, qemu-nbd (their options are the same) or nbdkit."""

    def __init__(self, program, *args, socket_name='s.sock', activate=False):
        self.socket = os.path.abspath(socket_name)
        self.child = None
        if activate or program == 'nbdkit':
            self._activate([program, *args])
            return
        pid_file = socket_name + '.pid'
        # Not captured: the server inherits the descriptors and lives on.
        subprocess.run([program, '--fork', '--pid-file', pid_file, '-t', '-k', self.socket, *args],
                       check=True, timeout=60, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        with open(pid_file, encoding='ascii') as f:
            self.pid = int(f.read())

    def _activate(self, command):
        """As a service manager does: we listen, the server inherits."""
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.socket)
            listener.listen()
            fd = listener.fileno()
            self.child = subprocess.Popen(
                ['/bin/sh', '-c', f'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@" 3<&{fd}', 'sh', *command],
                pass_fds=[fd], stdin=subprocess.DEVNULL)
        self.pid = self.child.pid

    def uri(self, export=''):
        return f'nbd+unix:///{export}?socket={self.socket}'

    def opts(self, more=''):
        return f'driver=nbd,server.type=unix,server.path={self.socket}{more}'

    def stop(self, how=signal.SIGTERM):
        """Waits until it is gone, though it may be no child of ours."""
        fd = os.pidfd_open(self.pid)
        os.kill(self.pid, how)
        ready, _, _ = select.select([fd], [], [], 60)
        os.close(fd)
        assert ready, 'the server does not end'
        if self.child:
            self.child.wait()
        if os.path.exists(self.socket):
            os.unlink(self.socket)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def server(name, image, fmt, *args):
    if name == 'nbdkit':
        need('nbdkit')
        return Server('nbdkit', '-f', 'file', image)
    if name == 'qemu':
        need('qemu-nbd')
    return Server(RHEA_NBD if name == 'rhea' else 'qemu-nbd', '-e', '0', '-f', fmt, *args, image)


# ---- data ----

def case_read(srv, client, fmt):
    content('src.raw', 3)
    image = 'src.raw'
    if fmt != 'raw':
        image = f'src.{fmt}'
        run(RHEA_IMG, 'convert', '-f', 'raw', '-O', fmt, 'src.raw', image)
    with server(srv, image, fmt) as s:
        if client == 'nbdcopy':
            need('nbdcopy')
            run('nbdcopy', s.uri(), 'out.raw')
        else:
            tool = RHEA_IMG if client == 'rhea' else 'qemu-img'
            need(tool)
            run(tool, 'convert', '-f', 'raw', '-O', 'raw', s.uri(), 'out.raw')
    same_bytes('src.raw', 'out.raw')


def case_write(srv, client, fmt):
    content('src.raw', 4)
    image = 'dst.' + fmt
    run(RHEA_IMG, 'create', '-q', '-f', fmt, image, str(SIZE))
    with server(srv, image, fmt) as s:
        if client == 'nbdcopy':
            need('nbdcopy')
            run('nbdcopy', '--flush', 'src.raw', s.uri())
        else:
            tool = RHEA_IMG if client == 'rhea' else 'qemu-img'
            need(tool)
            run(tool, 'convert', '-n', '-f', 'raw', '-O', 'raw', 'src.raw', s.uri())
    run(RHEA_IMG, 'compare', '-f', 'raw', '-F', fmt, 'src.raw', image)
    if fmt == 'qcow2' and shutil.which('qemu-img'):
        run('qemu-img', 'check', image)


def chain():
    for f in ('base.qcow2', 'top.qcow2'):
        if os.path.exists(f):
            os.unlink(f)
    run(RHEA_IMG, 'create', '-q', '-f', 'qcow2', 'base.qcow2', '4M')
    run(RHEA_IO, '-f', 'qcow2', '-c', 'write -P 1 0 1M', '-c', 'write -z 2M 256k', 'base.qcow2')
    run(RHEA_IMG, 'create', '-q', '-f', 'qcow2', '-b', 'base.qcow2', '-F', 'qcow2', 'top.qcow2')
    run(RHEA_IO, '-f', 'qcow2', '-c', 'write -P 2 512k 128k', 'top.qcow2')


def case_map():
    """The same map, whichever server and whichever client."""
    need('qemu-nbd', 'qemu-img')
    chain()
    maps = []
    for srv in ('rhea', 'qemu'):
        with server(srv, 'top.qcow2', 'qcow2', '-r') as s:
            for tool in (RHEA_IMG, 'qemu-img'):
                maps.append(json.loads(run(tool, 'map', '-f', 'raw', '--output=json', s.uri())))
    assert all(m == maps[0] for m in maps), maps


def case_contexts(context):
    need('qemu-nbd', 'nbdinfo')
    chain()
    maps = []
    for srv in ('rhea', 'qemu'):
        with server(srv, 'top.qcow2', 'qcow2', '-r', '-A') as s:
            maps.append(run('nbdinfo', f'--map={context}', s.uri()))
    assert maps[0] == maps[1], maps


def case_create(srv):
    """Images within an export, which has its size."""
    if srv == 'qemu':
        need('qemu-nbd')
    content('src.raw', 3)
    with open('dst.raw', 'wb') as f:
        f.write(b'QFI\xfb' * (3 * SIZE // 4))      # nothing of this may be seen afterwards
    with server(srv, 'dst.raw', 'raw') as s:
        for fmt in ('qcow2', 'raw'):
            run(RHEA_IMG, 'convert', '-f', 'raw', '-O', fmt, 'src.raw', s.uri())
            assert f'file format: {fmt}' in run(RHEA_IMG, 'info', s.uri())
            if fmt == 'qcow2':
                run(RHEA_IMG, 'compare', '-f', 'raw', '-F', fmt, 'src.raw', s.uri())
            if shutil.which('qemu-img') and fmt == 'qcow2':
                run('qemu-img', 'check', s.uri())
        err = fails(RHEA_IMG, 'create', '-q', '-f', 'raw', s.uri(), '1G')
        assert 'cannot grow' in err, err
    os.truncate('dst.raw', SIZE)
    same_bytes('src.raw', 'dst.raw')


def case_list():
    """-L of ours and of QEMU's, of both servers."""
    need('qemu-nbd')
    content('src.raw', 3)
    for srv in ('rhea', 'qemu'):
        with server(srv, 'src.raw', 'raw', '-x', 'name', '-D', 'what it is', '-A') as s:
            ours = run(RHEA_NBD, '-L', '-k', s.socket)
            assert ours == run('qemu-nbd', '-L', '-k', s.socket), ours
            if srv == 'rhea':
                first = ours
            else:
                assert first == ours, (first, ours)


def case_tcp():
    need('nbdinfo')
    content('src.raw', 3)
    for port in range(20809, 20839):
        p = subprocess.Popen([RHEA_NBD, '-f', 'raw', '-r', '-b', '127.0.0.1', '-p', str(port), '--fork',
                              '--pid-file', 'tcp.pid', 'src.raw'],
                             stderr=subprocess.PIPE, text=True)
        # The server keeps the pipe; the parent's exit status is what counts.
        if p.wait(60) == 0:
            break
    # Without -t it leaves with its last client.
    with open('tcp.pid', encoding='ascii') as f:
        fd = os.pidfd_open(int(f.read()))
    run(RHEA_IMG, 'convert', '-f', 'raw', '-O', 'raw', f'nbd://127.0.0.1:{port}', 'out.raw')
    same_bytes('src.raw', 'out.raw')
    assert select.select([fd], [], [], 60)[0], 'the server stays after its last client'
    assert not os.path.exists('tcp.pid')


NBDSH = '''
assert h.can_df() and h.can_fast_zero() and h.can_cache() and h.can_multi_conn()
h.pwrite(b"x" * 10000, 1000, nbd.CMD_FLAG_FUA)
assert h.pread(10000, 1000, nbd.CMD_FLAG_DF) == b"x" * 10000
h.zero(5000, 2000, nbd.CMD_FLAG_NO_HOLE)
assert h.pread(5000, 2000) == bytes(5000)
h.zero(4096, 8192, nbd.CMD_FLAG_FUA)
h.trim(4096, 16384)
h.cache(65536, 0)
h.flush()
parts = []
h.pread_structured(65536, 0, lambda b, o, s, e: parts.append((o, len(b))))
assert sum(n for _, n in parts) == 65536, parts
for call in (lambda: h.pread(512, h.get_size()), lambda: h.pwrite(b"x" * 512, h.get_size() - 1)):
    try:
        call()
        raise SystemExit("a request behind the end succeeded")
    except nbd.Error as e:
        assert e.errno in ("EINVAL", "ENOSPC"), e
got = []
h.block_status(h.get_size(), 0, lambda c, o, e, err: got.append((c, o, sum(e[::2]))))
assert got == [("base:allocation", 0, h.get_size())], got
# Several at once, and out of order.
bufs = [nbd.Buffer(65536) for _ in range(64)]
cookies = [h.aio_pread(b, 0) for b in bufs]
while h.aio_in_flight():
    h.poll(-1)
assert all(h.aio_command_completed(c) for c in cookies)
'''


def case_nbdsh():
    python = '/usr/bin/python3'         # Debian's: the module is installed there
    if subprocess.run([python, '-c', 'import nbd'], capture_output=True).returncode:
        raise Skip('python3-libnbd is not installed')
    content('src.raw', 3)
    with server('rhea', 'src.raw', 'raw') as s:
        run(python, '-m', 'nbd', '--base-allocation', '-u', s.uri(), '-c', 'h.set_strict_mode(0)', '-c', NBDSH)


def case_activation():
    content('src.raw', 3)
    with Server(RHEA_NBD, '-t', '-f', 'raw', '-r', 'src.raw', activate=True) as s:
        run(RHEA_IMG, 'convert', '-f', 'raw', '-O', 'raw', s.uri(), 'out.raw')
    same_bytes('src.raw', 'out.raw')


def case_oldstyle():
    need('nbdkit')
    content('src.raw', 3)
    with Server('nbdkit', '-f', '-o', 'file', 'src.raw') as s:
        run(RHEA_IMG, 'convert', '-f', 'raw', '-O', 'raw', s.uri(), 'out.raw')
    same_bytes('src.raw', 'out.raw')


def case_no_structured(flag):
    """Servers that lack some option of the protocol."""
    need('nbdkit')
    content('src.raw', 3)
    with Server('nbdkit', '-f', flag, 'file', 'src.raw') as s:
        run(RHEA_IMG, 'convert', '-f', 'raw', '-O', 'raw', s.uri(), 'out.raw')
    same_bytes('src.raw', 'out.raw')


def case_errors():
    """ENOSPC and EIO of a server arrive as such."""
    need('nbdkit')
    with Server('nbdkit', '-f', '--filter=error', 'memory', '1M', 'error-pwrite=ENOSPC',
                'error-pwrite-rate=100%') as s:
        out = run(RHEA_IO, '-f', 'raw', '-c', 'write 0 64k', s.uri(), ok=(1,))
        assert 'No space left on device' in out, out
        run(RHEA_IO, '-f', 'raw', '-c', 'read -P 0 0 64k', s.uri())


def case_options():
    """-o, -s, -l and -r."""
    content('src.raw', 3)
    with server('rhea', 'src.raw', 'raw', '-o', '1M', '-r') as s:
        with open('src.raw', 'rb') as f, open('want.raw', 'wb') as w:
            f.seek(MIB)
            w.write(f.read())
        run(RHEA_IMG, 'convert', '-f', 'raw', '-O', 'raw', s.uri(), 'out.raw')
        same_bytes('want.raw', 'out.raw')
        err = fails(RHEA_IO, '-f', 'raw', '-c', 'write 0 512', s.uri())
        assert 'read-only' in err, err
    shutil.copy('src.raw', 'keep.raw')
    with server('rhea', 'src.raw', 'raw', '-s') as s:
        run(RHEA_IO, '-f', 'raw', '-c', 'write -P 9 0 64k', '-c', 'read -P 9 0 64k', s.uri())
    same_bytes('src.raw', 'keep.raw')
    run(RHEA_IMG, 'create', '-q', '-f', 'qcow2', 'snap.qcow2', '1M')
    run(RHEA_IO, '-f', 'qcow2', '-c', 'write -P 1 0 64k', 'snap.qcow2')
    run(RHEA_IMG, 'snapshot', '-c', 'one', 'snap.qcow2')
    run(RHEA_IO, '-f', 'qcow2', '-c', 'write -P 2 0 64k', 'snap.qcow2')
    for how in ('one', 'snapshot.name=one', 'snapshot.id=1'):
        with server('rhea', 'snap.qcow2', 'qcow2', '-l', how) as s:
            run(RHEA_IO, '-r', '-f', 'raw', '-c', 'read -P 1 0 64k', s.uri())


class Paused:
    """A file on a file system that a program serves, and that can stop."""

    def __init__(self, stack):
        need('nbdkit', 'nbdfuse')
        if not os.access('/dev/fuse', os.W_OK):
            raise Skip('/dev/fuse cannot be used')
        self.control = os.path.abspath('pause.sock')
        below = stack.enter_context(Server('nbdkit', '-f', '--filter=pause', 'memory', '1M',
                                           f'pause-control={self.control}', socket_name='below.sock'))
        os.mkdir('mounted')
        self.path = os.path.abspath('mounted/disk')
        fuse = subprocess.Popen(['nbdfuse', '-P', 'fuse.pid', self.path, below.uri()], stdin=subprocess.DEVNULL)
        stack.callback(os.rmdir, 'mounted')
        stack.callback(fuse.wait)
        stack.callback(fuse.terminate)
        wait_for(lambda: os.path.exists('fuse.pid') or fuse.poll() is not None, 'the mount')
        if fuse.poll() is not None:
            raise Skip('nbdfuse cannot mount')
        stack.callback(self.tell, b'r')

    def tell(self, what):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(self.control)
            s.sendall(what)
            assert s.recv(1) == what.upper()


def wait_for(condition, what):
    for _ in range(60000):
        if condition():
            return
        select.select([], [], [], 0.01)
    raise AssertionError(f'{what} does not come')


def is_writing(pid):
    """Whether a thread of the process is in pwrite64() or pwritev() [proc(5), /proc/pid/syscall]."""
    def call(task):
        try:
            with open(f'/proc/{pid}/task/{task}/syscall', encoding='ascii') as f:
                return f.read().split()[0]
        except PermissionError as e:
            raise Skip('the system calls of others cannot be seen') from e
        except OSError:
            return ''
    return any(call(task) in ('18', '296') for task in os.listdir(f'/proc/{pid}/task'))


def case_hung_file():
    """A write that hangs in the file system keeps the server from nothing else."""
    need('nbdinfo')
    if not os.path.exists('/proc/self/syscall'):
        raise Skip('/proc does not tell of system calls')
    with contextlib.ExitStack() as stack:
        paused = Paused(stack)
        s = stack.enter_context(server('rhea', paused.path, 'raw'))
        run(RHEA_IO, '-f', 'raw', '-c', 'write -P 1 0 4k', s.uri())
        paused.tell(b'p')
        try:
            writer = subprocess.Popen([RHEA_IO, '-f', 'raw', '-c', 'write -P 2 0 4k', s.uri()],
                                      stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            wait_for(lambda: is_writing(s.pid), 'the write')
            assert run('nbdinfo', '--size', s.uri()).strip() == '1048576'
            assert is_writing(s.pid)
        finally:
            paused.tell(b'r')
        assert writer.wait(60) == 0
        run(RHEA_IO, '-f', 'raw', '-c', 'read -P 2 0 4k', s.uri())


def case_bad_input():
    for args, want in ((['-f', 'raw', '/nonexistent'], 'No such file'),
                       (['--cache=none', '-n', 'x'], 'only be specified once'),
                       (['-e', '-1', 'x'], '-1'),
                       (['-k', 'relative', 'x'], 'absolute'),
                       (['-L', 'x'], 'incompatible'),
                       (['--tls-authz', 'a', 'x'], 'not permitted without --tls-creds'),
                       (['--tls-creds', 'nope', '-f', 'raw', 'src.raw'], 'nope'),
                       (['--object', 'nonsense,id=x', 'x'], 'nonsense'),
                       (['-x', 'n' * 4097, 'x'], '4096'),
                       (['-o', '1G', '-f', 'raw', 'src.raw'], 'smaller'),
                       (['-B', 'nope', '-f', 'raw', '-k', os.path.abspath('b.sock'), 'src.raw'],
                        "'nope' is not found"),
                       ([], 'file name')):
        content('src.raw', 3)
        err = fails(RHEA_NBD, *args).replace("Try 'rhea-nbd --help' for more information.\n", '')
        assert want in err and err.count('\n') == 1, (args, err)
    if not os.path.exists('/dev/nbd0'):
        for args in (['-d', '/dev/nbd0'], ['-c', '/dev/nbd0', '-f', 'raw', 'src.raw']):
            assert 'Cannot open /dev/nbd0' in fails(RHEA_NBD, *args)
    err = fails(RHEA_IMG, 'info', 'nbd+unix:///x?socket=/nonexistent/s')
    assert '/nonexistent/s' in err, err
    with server('rhea', 'src.raw', 'raw', '-x', 'there') as s:
        assert 'nowhere' in fails(RHEA_IMG, 'info', s.uri('nowhere'))


# ---- losing the server ----

class Shell:
    """rhea-io, fed line by line."""

    def __init__(self, opts):
        self.p = subprocess.Popen([RHEA_IO, '--image-opts', opts], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)

    def send(self, line):
        self.p.stdin.write(line + '\n')
        self.p.stdin.flush()

    def until(self, text):
        while True:
            line = self.p.stdout.readline()
            assert line, f'rhea-io left before it said {text!r}'
            if text in line:
                return line

    def end(self):
        self.send('quit')
        self.p.stdin.close()
        self.p.stdout.read()
        return self.p.wait(60)


def case_reconnect(srv):
    if srv == 'qemu':
        need('qemu-nbd')
    content('src.raw', 3)
    first = server(srv, 'src.raw', 'raw')
    shell = Shell(first.opts(',reconnect-delay=60'))
    shell.send('write -P 5 0 64k')
    shell.until('wrote 65536')
    first.stop(signal.SIGKILL)
    shell.send('write -P 6 64k 64k')       # waits for a server
    with server(srv, 'src.raw', 'raw'):
        shell.until('wrote 65536')
        shell.send('read -P 5 0 64k')
        shell.until('read 65536')
        shell.send('read -P 6 64k 64k')
        shell.until('read 65536')
        assert shell.end() == 0


def case_no_reconnect():
    """Without a delay requests fail at once, and work again when the server is back."""
    content('src.raw', 3)
    first = server('rhea', 'src.raw', 'raw')
    shell = Shell(first.opts())
    shell.send('read 0 64k')
    shell.until('read 65536')
    first.stop(signal.SIGKILL)
    shell.send('read 0 64k')
    shell.until('read failed: Input/output error')
    assert shell.end() == 1


def case_open_timeout():
    content('src.raw', 3)
    sock = os.path.abspath('s.sock')
    p = subprocess.Popen([RHEA_IMG, 'convert', '--image-opts', '-O', 'raw',
                          f'driver=nbd,server.type=unix,server.path={sock},open-timeout=60', 'out.raw'])
    with server('rhea', 'src.raw', 'raw'):
        assert p.wait(60) == 0
    same_bytes('src.raw', 'out.raw')


# ---- TLS ----

CA = 'cn = "Test CA"\nca\ncert_signing_key\n'
CERT = 'cn = "localhost"\ndns_name = "localhost"\nip_address = "127.0.0.1"\ntls_www_{}\n' \
       'signing_key\nencryption_key\n'


def make_certs(folder):
    need('certtool')
    if os.path.exists(folder):
        return
    os.mkdir(folder)

    def write(name, text):
        with open(os.path.join(folder, name), 'w', encoding='ascii') as f:
            f.write(text)
        return os.path.join(folder, name)

    def path(name):
        return os.path.join(folder, name)

    for who in ('ca', 'server', 'client'):
        run('certtool', '--generate-privkey', '--key-type', 'ecdsa', '--outfile',
            path(f'{who}-key.pem'))
    run('certtool', '--generate-self-signed', '--load-privkey', path('ca-key.pem'), '--template',
        write('ca.info', CA), '--outfile', path('ca-cert.pem'))
    for who in ('server', 'client'):
        run('certtool', '--generate-certificate', '--load-ca-certificate', path('ca-cert.pem'),
            '--load-ca-privkey', path('ca-key.pem'), '--load-privkey', path(f'{who}-key.pem'),
            '--template', write(f'{who}.info', CERT.format(who)), '--outfile',
            path(f'{who}-cert.pem'))
    write('keys.psk', 'alice:0123456789abcdef0123456789abcdef\n')


def tls_object(kind, endpoint, folder='tls'):
    more = ''
    if kind == 'psk' and endpoint == 'client':
        more = ',username=alice'
    if kind != 'anon':
        more += f',dir={os.path.abspath(folder)}'
    return f'tls-creds-{kind},id=tls0,endpoint={endpoint}{more}'


def case_tls(kind, srv, client):
    make_certs('tls')
    content('src.raw', 3)
    if srv == 'qemu':
        need('qemu-nbd')
    with server(srv, 'src.raw', 'raw', '--object', tls_object(kind, 'server'),
                '--tls-creds', 'tls0') as s:
        name = ',tls-hostname=localhost' if kind == 'x509' else ''
        opts = s.opts(f',tls-creds=tls0{name}')
        if client == 'rhea':
            run(RHEA_IO, '--object', tls_object(kind, 'client'), '--image-opts', '-c',
                'write -P 3 0 1M', '-c', 'read -P 3 0 1M', '-c', 'write -P 4 1M 3M', '-c', 'flush',
                opts)
        else:
            need('qemu-io')
            run('qemu-io', '--object', tls_object(kind, 'client'), '--image-opts', '-c',
                'write -P 3 0 1M', '-c', 'read -P 3 0 1M', '-c', 'write -P 4 1M 3M', '-c', 'flush',
                opts)
        # Nobody gets in, or learns anything, without TLS.
        assert 'TLS' in fails(RHEA_IMG, 'info', s.uri())
        if srv == 'rhea' and shutil.which('nbdinfo'):
            run('nbdinfo', '--list', s.uri(), ok=(1,))
    run(RHEA_IO, '-f', 'raw', '-c', 'read -P 3 0 1M', '-c', 'read -P 4 1M 3M', 'src.raw')


def case_tls_nbdkit():
    need('nbdkit')
    make_certs('tls')
    content('src.raw', 3)
    with Server('nbdkit', '-f', '--tls=require', f'--tls-certificates={os.path.abspath("tls")}',
                'file', 'src.raw') as s:
        run(RHEA_IO, '--object', tls_object('x509', 'client'), '--image-opts', '-c',
            'write -P 3 0 1M', '-c', 'read -P 3 0 1M',
            s.opts(',tls-creds=tls0,tls-hostname=localhost'))


def case_tls_libnbd():
    need('nbdinfo')
    make_certs('tls')
    content('src.raw', 3)
    with server('rhea', 'src.raw', 'raw', '--object', tls_object('x509', 'server'),
                '--tls-creds', 'tls0') as s:
        out = run('nbdinfo', f'nbds+unix:///?socket={s.socket}&tls-certificates='
                  f'{os.path.abspath("tls")}&tls-hostname=localhost')
        assert 'with TLS' in out, out


ALLOWED = {'authz-simple,id=who,identity=CN=localhost': True,
           'authz-simple,id=who,identity=localhost': False,
           'authz-list,id=who': False,
           'authz-list,id=who,policy=allow': True,
           'authz-list,id=who,policy=allow,rules.0.match=CN=*,rules.0.format=glob,rules.0.policy=deny': False,
           'authz-list,id=who,rules.0.match=CN=*,rules.0.policy=deny,rules.1.match=CN=localhost,rules.1.policy=allow': True,
           'authz-simple,id=other,identity=CN=localhost': False}


def case_tls_authz(srv):
    """The name in the client's certificate decides, by the same rules in both servers."""
    make_certs('tls')
    content('src.raw', 3)
    if srv == 'qemu':
        need('qemu-nbd')
    for rules, allowed in ALLOWED.items():
        with server(srv, 'src.raw', 'raw', '--object', tls_object('x509', 'server'), '--tls-creds', 'tls0',
                    '--object', rules, '--tls-authz', 'who') as s:
            words = [RHEA_IO, '--object', tls_object('x509', 'client'), '--image-opts', '-c', 'read 0 1M',
                     s.opts(',tls-creds=tls0,tls-hostname=localhost')]
            if allowed:
                run(*words)
            else:
                fails(*words)
    if srv == 'rhea':
        for creds in (tls_object('anon', 'server'), tls_object('x509', 'server') + ',verify-peer=off'):
            assert 'verify-peer' in fails(RHEA_NBD, '--object', creds, '--tls-creds', 'tls0', '--object',
                                          'authz-simple,id=who,identity=x', '--tls-authz', 'who', '-f', 'raw', 'src.raw')


def case_tls_password():
    """A key that is encrypted."""
    make_certs('tls')
    content('src.raw', 3)
    shutil.copytree('tls', 'locked', dirs_exist_ok=True)
    run('certtool', '--to-p8', '--load-privkey', 'tls/server-key.pem', '--password', 'open sesame',
        '--outfile', 'locked/server-key.pem')
    with open('locked/server-key.pem', encoding='ascii') as f:
        assert 'ENCRYPTED' in f.read()
    obj = tls_object('x509', 'server', 'locked')
    secret = ['--object', 'secret,id=pw,data=open sesame']
    fails(RHEA_NBD, '--object', obj, '--tls-creds', 'tls0', '-f', 'raw', 'src.raw')
    err = fails(RHEA_NBD, '--object', obj + ',passwordid=pw', '-f', 'raw', 'src.raw')
    assert 'pw' in err, err
    with server('rhea', 'src.raw', 'raw', *secret, '--object', obj + ',passwordid=pw',
                '--tls-creds', 'tls0') as s:
        run(RHEA_IMG, 'convert', '--object', tls_object('x509', 'client'), '--image-opts', '-O', 'raw',
            'driver=raw,file.' + s.opts(',tls-creds=tls0,tls-hostname=localhost').replace(',', ',file.'),
            'out.raw')
    same_bytes('src.raw', 'out.raw')


def case_bitmap():
    """A persistent bitmap of qcow2 by -B, of both servers."""
    need('qemu-nbd', 'nbdinfo')
    run(RHEA_IMG, 'create', '-q', '-f', 'qcow2', 'bm.qcow2', '4M')
    run(RHEA_IMG, 'bitmap', '--add', '-f', 'qcow2', '-g', '64k', 'bm.qcow2', 'b0')
    run(RHEA_IO, '-f', 'qcow2', '-c', 'write 128k 64k', '-c', 'write 1M 256k', 'bm.qcow2')
    run(RHEA_IMG, 'bitmap', '--disable', '-f', 'qcow2', 'bm.qcow2', 'b0')
    maps = []
    for srv in ('rhea', 'qemu'):
        with server(srv, 'bm.qcow2', 'qcow2', '-r', '-B', 'b0') as s:
            maps.append(run('nbdinfo', '--map=qemu:dirty-bitmap:b0', '--json', s.uri()))
            assert 'qemu:dirty-bitmap:b0' in run(RHEA_NBD, '-L', '-k', s.socket)
    assert maps[0] == maps[1] and json.loads(maps[0])[1]['offset'] == 128 * KIB, maps


def case_tls_refusals():
    make_certs('tls')
    make_certs('other')
    content('src.raw', 3)
    err = fails(RHEA_NBD, '--object', tls_object('x509', 'server', 'nowhere'), '-f', 'raw', 'src.raw')
    assert 'ca-cert.pem' in err, err
    shutil.copytree('tls', 'mixed', dirs_exist_ok=True)
    shutil.copy('other/server-cert.pem', 'mixed/server-cert.pem')
    shutil.copy('other/server-key.pem', 'mixed/server-key.pem')
    err = fails(RHEA_NBD, '--object', tls_object('x509', 'server', 'mixed'), '-f', 'raw', 'src.raw')
    assert 'failed validation' in err, err
    with server('rhea', 'src.raw', 'raw', '--object', tls_object('x509', 'server'),
                '--tls-creds', 'tls0') as s:
        def read(obj, hostname):
            return fails(RHEA_IO, '--object', obj, '--image-opts', '-c', 'read 0 512',
                         s.opts(f',tls-creds=tls0,tls-hostname={hostname}'))

        err = read(tls_object('x509', 'client', 'other'), 'localhost')
        assert 'verification failed' in err, err
        err = read(tls_object('x509', 'client'), 'elsewhere')
        assert 'verification failed' in err, err
        # A certificate is asked of clients too.
        os.makedirs('bare', exist_ok=True)
        shutil.copy('tls/ca-cert.pem', 'bare/ca-cert.pem')
        read(tls_object('x509', 'client', 'bare'), 'localhost')
        run(RHEA_IO, '--object', tls_object('x509', 'client'), '--image-opts', '-c', 'read 0 512',
            s.opts(',tls-creds=tls0,tls-hostname=localhost'))
    with server('rhea', 'src.raw', 'raw') as s:
        assert 'TLS' in fails(RHEA_IO, '--object', tls_object('x509', 'client'), '--image-opts',
                              '-c', 'read 0 512', s.opts(',tls-creds=tls0'))


def cases():
    for fmt in ('raw', 'qcow2'):
        for srv in ('rhea', 'qemu', 'nbdkit'):
            for client in ('rhea', 'qemu', 'nbdcopy'):
                if 'rhea' not in (srv, client) or (srv == 'nbdkit' and fmt != 'raw'):
                    continue
                yield f'read {fmt} from {srv} by {client}', lambda: case_read(srv, client, fmt)
                yield f'write {fmt} to {srv} by {client}', lambda: case_write(srv, client, fmt)
    yield 'map', case_map
    for context in ('base:allocation', 'qemu:allocation-depth'):
        yield f'context {context}', lambda: case_contexts(context)
    yield 'bitmap', case_bitmap
    for srv in ('rhea', 'qemu'):
        yield f'create on {srv}', lambda: case_create(srv)
    yield 'list', case_list
    yield 'tcp, and the end of the last client', case_tcp
    yield 'commands by nbdsh', case_nbdsh
    yield 'socket activation', case_activation
    yield 'old style server', case_oldstyle
    yield 'server without structured replies', lambda: case_no_structured('--no-sr')
    yield 'errors of the server', case_errors
    yield 'offset, overlay, snapshot, read-only', case_options
    yield 'bad input', case_bad_input
    yield 'hung file', case_hung_file
    for srv in ('rhea', 'qemu'):
        yield f'reconnect to {srv}', lambda: case_reconnect(srv)
    yield 'no reconnect', case_no_reconnect
    yield 'open-timeout', case_open_timeout
    for kind in ('x509', 'anon', 'psk'):
        for srv, client in (('rhea', 'rhea'), ('rhea', 'qemu'), ('qemu', 'rhea')):
            yield f'tls {kind} {srv} {client}', lambda: case_tls(kind, srv, client)
    yield 'tls with nbdkit', case_tls_nbdkit
    yield 'tls with libnbd', case_tls_libnbd
    yield 'tls with a password', case_tls_password
    for srv in ('rhea', 'qemu'):
        yield f'tls, {srv} lets some in', lambda: case_tls_authz(srv)
    yield 'tls refusals', case_tls_refusals


def main():
    return run_cases('nbd', cases)


sys.exit(main())
