#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Bad input: one line that says what and what to do, exit status 1, nothing half-created."""
import json
import os
import re
import socket
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'boot'))
from guest import Guest, GuestError, run_tests, system_program  # noqa: E402

# Options and what the message must hold.
ROWS = {
    'option': (['-nogrpahic'], r"invalid option.*'nographic'"),
    'device': (['-device', 'isa-serail'], r"'isa-serail'.*did you mean 'isa-serial'"),
    'property': (['-device', 'isa-serial,iobas=1'], r"iobas.*did you mean 'iobase'"),
    'machine': (['-M', 'pcc'], r"'pcc'; did you mean 'pc'"),
    'cpu': (['-cpu', 'qemu65'], r"qemu65.*did you mean 'qemu64'"),
    'accel': (['-accel', 'tgc'], r"did you mean 'tcg'"),
    'log_item': (['-d', 'gest_errors'], r"did you mean 'guest_errors'"),
    'chardev_kind': (['-chardev', 'stdoi,id=a'], r"did you mean 'stdio'"),
    'chardev_key': (['-chardev', 'null,id=a,pth=x'], r"Invalid parameter 'pth'"),
    'chardev_path': (['-chardev', 'file,id=a,path=/nonexistent/x'], r'/nonexistent/x.*No such file'),
    'serial': (['-serial', 'foo'], r"'foo' is no character device.*known: .*stdio"),
    'boot_key': (['-boot', 'ordr=c'], r"did you mean 'order'"),
    'missing_file': (['-cdrom', '/nonexistent.iso'], r"/nonexistent\.iso.*No such file"),
    'directory': (['-cdrom', '/'], r"'/'"),
    'missing_firmware': (['-bios', 'nope.bin'], r'nope\.bin'),
    'memory_0': (['-m', '0'], r'-m 0'),
    'memory_suffix': (['-m', '4X'], r"'4X'"),
    'smp_0': (['-smp', '0'], r'must be at least 1'),
    'smp_topology': (['-smp', '4,sockets=1,cores=1,threads=1'], r'maxcpus \(4\)'),
    'uuid': (['-uuid', '12'], r'uuid 12'),
    'global': (['-global', 'foo'], r"'foo'"),
    'display': (['-display', 'sdk'], r'sdk'),
    'monitor': (['-monitor', 'tcp:x'], r"'x' is not \[HOST\]:PORT"),
}


def row_test(name, options, pattern):
    def test():
        command = [system_program()]
        command += [] if '-accel' in options else ['-accel', 'tcg']
        command += [] if '-display' in options else ['-display', 'none']
        result = subprocess.run(command + options, stdin=subprocess.DEVNULL,
                                capture_output=True, text=True, timeout=30)
        lines = [line for line in result.stderr.splitlines() if ': info: ' not in line]
        if result.returncode != 1:
            raise GuestError(f'exit status {result.returncode}: {result.stderr}')
        if len(lines) != 1 or not re.search(pattern, lines[0]):
            raise GuestError(f'no single line with {pattern!r}: {result.stderr}')
    test.__name__ = name
    return test


def taken_socket():
    """A chardev path that another process listens on is refused and left alone."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'taken')
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            row_test('', ['-qmp', f'unix:{path},server,nowait'], 'taken')()
        assert os.path.exists(path)


def qmp_garbage():
    """Malformed JSON, then megabytes of garbage: errors, and the conversation goes on."""
    with Guest('-machine', 'none', serial=False, paused=True) as guest:
        for text in (b'{"execute": nonsense}\n', b'{"execute": "query-status", }\n'):
            guest._qmp.sock.sendall(text)
            answer = guest._qmp._read()
            assert answer['error']['class'] == 'GenericError', answer
        guest._qmp.sock.sendall(b'"' + b'x' * (10 << 20) + b'"\n')
        answer = guest._qmp._read()
        assert 'error' in answer, answer
        guest._qmp.sock.sendall(json.dumps({'execute': 'query-status', 'id': 'alive'}).encode())
        while answer.get('id') != 'alive':
            answer = guest._qmp._read()
        guest.qmp('quit')
        assert guest.wait_exit() == 0


if __name__ == '__main__':
    run_tests(*(row_test(name, *row) for name, row in ROWS.items()), taken_socket, qmp_garbage)
