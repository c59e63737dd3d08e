# SPDX-License-Identifier: MIT
"""NBD: servers under the same clients, clients on the same server.

    for group in nbd.groups(tools): ...            # in a scratch folder, which is the current one

The clients of the servers are nbdcopy and fio, both libnbd's (fio's gives it no keys, so there is none of TLS);
the server of the clients is nbdkit.  The processor time is the measured side's.
"""
import contextlib
import os
import select
import signal
import socket
import subprocess

import paired

KIB, MIB = 1024, 1024 * 1024
MIB_EACH = 256
SECRET = 'rhea:0123456789abcdef0123456789abcdef'


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class Server:
    """One running server: its address and its process."""

    def __init__(self, name, program, image, fmt, transport):
        more = []
        if transport == 'tcp':
            port = free_port()
            more += ['-b', '127.0.0.1', '-p', str(port)]
            self.uri = f'nbd://127.0.0.1:{port}'
        else:
            path = os.path.abspath(f'socket-{name}')
            more += ['-k', path]
            self.uri = f'nbd+unix:///?socket={path}'
        if transport == 'tls':
            more += ['--object', f'tls-creds-psk,id=tls0,endpoint=server,dir={os.getcwd()}',
                     '--tls-creds', 'tls0']
            self.uri = self.uri.replace('nbd+unix:///', 'nbds+unix://rhea@/') + \
                f'&tls-psk-file={os.path.abspath("keys.psk")}'
        pid_file = f'pid-{name}'
        subprocess.run([program, '-t', '-e', '0', '-f', fmt, '--fork', '--pid-file', pid_file, *more, image],
                       check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        with open(pid_file, encoding='ascii') as f:
            self.pid = int(f.read())

    def stop(self):
        fd = os.pidfd_open(self.pid)
        os.kill(self.pid, signal.SIGTERM)
        select.select([fd], [], [], 60)
        os.close(fd)


@contextlib.contextmanager
def nbdkit(*words):
    """The address of an nbdkit that serves until the end of the block."""
    path = os.path.abspath('socket-nbdkit')
    if os.path.exists(path):
        os.unlink(path)
    process = subprocess.Popen(['nbdkit', '-f', '--exit-with-parent', '-U', path, '-P', 'pid-nbdkit', *words],
                               stdin=subprocess.DEVNULL)
    try:
        while not os.path.exists('pid-nbdkit'):
            if process.poll() is not None:
                raise OSError(f'nbdkit ended with status {process.returncode}')
            select.select([], [], [], 0.01)
        yield f'nbd+unix:///?socket={path}'
    finally:
        process.terminate()
        process.wait()
        os.unlink('pid-nbdkit')


def copy_from(server):
    return paired.command('nbdcopy', server.uri, 'null:')


def copy_to(server):
    return paired.command('nbdcopy', '--destination-is-zero', 'src.raw', server.uri)


def fio(rw, size, depth, requests):
    """A run of fio, which needs long for its own start and end: the time is the one that it counts itself."""
    def run(server):
        words = ['fio', '--name=x', '--ioengine=nbd', f'--uri={server.uri}', f'--rw={rw}', f'--bs={size}',
                 f'--iodepth={depth}', f'--size={MIB_EACH}M', f'--number_ios={requests}', '--randrepeat=1',
                 '--norandommap', '--thread', '--minimal']
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True,
                              timeout=paired.LIMIT)
        # [fio, HOWTO, "Terse output"]; behind what the NBD engine prints
        fields = next(line for line in done.stdout.splitlines() if line.count(';') > 100).split(';')
        return requests / int(fields[48 if 'write' in rw else 7]), 0
    return run


# name, transport, the client's run on a server, pieces of work: per request, or as a whole
LOADS = [
    ('nbdcopy read',          'unix', copy_from, 1),
    ('nbdcopy write',         'unix', copy_to, 1),
    ('nbdcopy read, tcp',     'tcp',  copy_from, 1),
    ('nbdcopy read, tls',     'tls',  copy_from, 1),
    ('nbdcopy write, tls',    'tls',  copy_to, 1),
    ('4k random read x 32',   'unix', fio('randread', 4096, 32, 30000), 30000),
    ('4k random write x 32',  'unix', fio('randwrite', 4096, 32, 20000), 20000),
    ('4k random read x 1',    'unix', fio('randread', 4096, 1, 10000), 10000),
    ('4k random write x 1',   'unix', fio('randwrite', 4096, 1, 10000), 10000),
    ('4k random read x 32, tcp', 'tcp', fio('randread', 4096, 32, 20000), 20000),
    ('128k read x 8',         'unix', fio('read', 131072, 8, 4000), 4000),
    ('128k write x 8',        'unix', fio('write', 131072, 8, 2000), 2000),
]
# name, words of the tool's bench, requests
CLIENTS = [
    ('4k read x 32',  ['-d', '32', '-s', '4096'], 30000),
    ('4k write x 32', ['-d', '32', '-s', '4096', '-w'], 30000),
    ('4k read x 1',   ['-d', '1', '-s', '4096'], 10000),
    ('64k read x 16', ['-d', '16', '-s', '65536'], 10000),
    ('64k write x 16', ['-d', '16', '-s', '65536', '-w'], 10000),
]


def served(server, client):
    """A run whose processor time is the server's."""
    before = paired.processor_time(server.pid)
    seconds, _ = client(server)
    return seconds, paired.processor_time(server.pid) - before


def start(tool, programs, fmt, transport):
    image = f'{tool}.{fmt}'
    if not os.path.exists(image):
        subprocess.run(['qemu-img', 'convert', '-f', 'raw', '-O', fmt, 'src.raw', image], check=True)
        paired.settle(image)
    return Server(f'{tool}-{fmt}', programs['nbd'], image, fmt, transport)


class Servers:
    """Those of a transport, by (tool, format)."""

    def __init__(self, tools, transport, formats):
        self.tools, self.transport = tools, transport
        self.running = {(tool, fmt): None for fmt in formats for tool in tools}

    def start(self):
        for tool, fmt in self.running:
            self.running[tool, fmt] = start(tool, self.tools[tool], fmt, self.transport)

    def stop(self):
        for key, server in self.running.items():
            if server:
                server.stop()
            self.running[key] = None

    def renew(self):
        self.stop()
        self.start()


def server_groups(tools):
    for transport, formats in (('unix', ('raw', 'qcow2')), ('tcp', ('raw',)), ('tls', ('raw',))):
        servers = Servers(tools, transport, formats)
        try:
            servers.start()
            for name, over, client, count in LOADS:
                if over == transport:
                    yield paired.Group(*(
                        paired.Case(f'{name}, {fmt}', 'nbd-server', {
                            tool: lambda k=(tool, fmt), c=client: served(servers.running[k], c) for tool in tools}, count)
                        for fmt in formats), renew=servers.renew)
        finally:
            servers.stop()


def client_groups(tools):
    with nbdkit('memory', f'{MIB_EACH}M') as uri:
        subprocess.run(['nbdcopy', 'src.raw', uri], check=True)
        for name, words, count in CLIENTS:
            runs = {tool: lambda p=programs['img'], w=words, c=count: paired.command(
                p, 'bench', '-f', 'raw', '-t', 'none', '-c', str(c), *w, uri) for tool, programs in tools.items()}
            yield paired.Group(paired.Case(f'img bench {name}', 'nbd-client', runs, count))
        for name, words in (('convert from NBD', ['-f', 'raw', '-O', 'qcow2', uri, 'out.qcow2']),
                            ('convert to NBD', ['-n', '-f', 'raw', '-O', 'raw', 'src.raw', uri])):
            runs = {tool: lambda p=programs['img'], w=words: paired.command(p, 'convert', *w)
                    for tool, programs in tools.items()}
            yield paired.Group(paired.Case(name, 'nbd-client', runs))


def groups(tools):
    with open('keys.psk', 'w', encoding='ascii') as f:
        f.write(SECRET + '\n')
    with open('src.raw', 'wb') as f:
        block = os.urandom(MIB)
        for _ in range(MIB_EACH):
            f.write(block)
    paired.settle('src.raw')
    yield from server_groups(tools)
    yield from client_groups(tools)
