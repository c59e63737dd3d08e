#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""QMP commands that make things while the emulator runs: character devices, objects, descriptors."""
import array
import json
import os
import socket
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'boot'))
from guest import Guest, GuestError, run_tests, system_program  # noqa: E402


def idle():
    return Guest('-M', 'none', serial=False, paused=True)


def refused(guest, wanted, command, **arguments):
    try:
        guest.qmp(command, **arguments)
    except GuestError as error:
        assert wanted in str(error), error
    else:
        raise GuestError(f'{command} {arguments} was not refused')


def backend(kind, **data):
    return {'type': kind, 'data': data}


def unix(path):
    return {'type': 'unix', 'data': {'path': path}}


def chardevs():
    """A socket listens without making anybody wait; what is there can change and go."""
    with tempfile.TemporaryDirectory() as folder, idle() as guest:
        path = f'{folder}/socket'
        guest.qmp('chardev-add', id='s', backend=backend('socket', addr=unix(path)))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
        guest.qmp('chardev-add', id='r', backend=backend('ringbuf', size=16))
        guest.qmp('ringbuf-write', device='r', data='abc')
        assert guest.qmp('ringbuf-read', device='r', size=16) == 'abc'
        guest.qmp('ringbuf-write', device='r', data='eHk=', format='base64')
        assert guest.qmp('ringbuf-read', device='r', size=16) == 'xy'
        refused(guest, 'not valid base64', 'ringbuf-write', device='r', data='!!', format='base64')
        guest.qmp('chardev-change', id='r', backend=backend('file', out=f'{folder}/out'))
        kinds = {c['label']: c['filename'] for c in guest.qmp('query-chardev')}
        assert kinds['r'] == 'file', kinds
        pty = guest.qmp('chardev-add', id='p', backend=backend('pty'))['pty']
        assert pty.startswith('/dev/pts/'), pty
        refused(guest, "'r' already exists", 'chardev-add', id='r', backend=backend('null'))
        refused(guest, "'q' does not exist", 'chardev-change', id='q', backend=backend('null'))
        refused(guest, "'nope'", 'chardev-add', id='n', backend=backend('nope'))
        refused(guest, 'is taken', 'chardev-add', id='t',
                backend=backend('socket', addr=unix(path)))
        for name in 'srp':
            guest.qmp('chardev-remove', id=name)
        assert not os.path.exists(path)


def objects():
    """Objects come and go; what is in use or does not exist is refused."""
    with idle() as guest:
        guest.qmp('object-add', qom_type='memory-backend-ram', id='m', size=1 << 20)
        assert [m['id'] for m in guest.qmp('query-memdev')] == ['m']
        guest.qmp('object-add', qom_type='iothread', id='io')
        assert guest.qmp('query-iothreads')[0]['id'] == 'io'
        guest.qmp('object-add', qom_type='secret', id='s', data='x')
        refused(guest, 'duplicate', 'object-add', qom_type='iothread', id='io')
        refused(guest, "'size'", 'object-add', qom_type='memory-backend-ram', id='z')
        refused(guest, 'any more', 'qom-set', path='/objects/m', property='size', value=4096)
        for name in ('m', 'io', 's'):
            guest.qmp('object-del', id=name)
        refused(guest, "'m' not found", 'object-del', id='m')


def event(kind, **data):
    return {'type': kind, 'data': data}


def input_and_memory():
    """What is impossible is refused before anything happens: keys while nothing runs, sizes below 0."""
    press = event('key', down=True, key={'type': 'qcode', 'data': 'a'})
    with Guest('-accel', 'tcg', '-m', '16', '-vga', 'none', '-device', 'VGA,id=v', serial=False,
               paused=True) as guest, tempfile.TemporaryDirectory() as folder:
        send = 'input-send-event'
        refused(guest, 'VM not running', send, events=[press])
        refused(guest, "Device 'nope' not found", send, events=[press], device='nope')
        refused(guest, '(head 1) is not bound', send, events=[press], device='v', head=1)
        refused(guest, '(head 1) is not bound', 'screendump', filename=f'{folder}/s', device='v', head=1)
        refused(guest, "'size' expects", 'pmemsave', val=0, size=-1, filename=f'{folder}/m')
        refused(guest, "'size' expects", 'memsave', val=0, size=-1, filename=f'{folder}/m')
        assert not os.listdir(folder)
        assert 'invalid parameter: foo' in guest.hmp('sendkey a-foo')
        guest.qmp('cont')
        guest.qmp(send, events=[press], device='v', head=0)
        refused(guest, 'type abs', send, events=[event('abs', axis='x', value=1)])


def descriptors():
    """A descriptor sent along goes into a set, and a file opened by its name goes through it."""
    with tempfile.TemporaryFile() as file, idle() as guest:
        sock = guest._qmp.sock
        request = json.dumps({'execute': 'add-fd', 'arguments': {'fdset-id': 3, 'opaque': 'log'}})
        rights = array.array('i', [os.dup(file.fileno())])
        sock.sendmsg([request.encode() + b'\n'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        answer = guest._qmp._read()['return']
        assert answer['fdset-id'] == 3, answer
        assert guest.qmp('query-fdsets') == [
            {'fdset-id': 3, 'fds': [{'fd': answer['fd'], 'opaque': 'log'}]}]
        guest.qmp('chardev-add', id='r',
                  backend=backend('ringbuf', logfile='/dev/null'))
        refused(guest, 'Permission denied', 'chardev-add', id='f',
                backend=backend('file', out='/dev/fdset/3'))       # open to read and write
        refused(guest, 'SCM_RIGHTS', 'add-fd')
        refused(guest, 'fd:99', 'remove-fd', fdset_id=3, fd=99)
        guest.qmp('remove-fd', fdset_id=3)
        assert guest.qmp('query-fdsets') == []


def disk_counts():
    """What the emulator reads for itself is no request of the guest; a flat list of nodes looks at none below."""
    def file_node(name):
        with open(f'{folder}/{name}', 'wb') as f:
            f.truncate(1 << 20)
        return ['-blockdev', f'file,node-name={name},filename={folder}/{name}']

    with tempfile.TemporaryDirectory() as folder, Guest(
            '-M', 'pc', '-nodefaults', *file_node('disk'), *file_node('lower'), *file_node('image'),
            '-device', 'ide-hd,drive=disk', serial=False, paused=True) as guest:
        (disk,) = [d for d in guest.qmp('query-blockstats') if d.get('node-name') == 'disk']
        assert disk['stats']['rd_operations'] == disk['stats']['rd_bytes'] == 0, disk
        guest.qmp('blockdev-create', **{'job-id': 'j', 'options': {'driver': 'qcow2', 'file': 'image', 'size': 1 << 20}})
        guest.wait_until(lambda: guest.qmp('query-jobs')[0]['status'] == 'concluded', 'image')
        guest.qmp('blockdev-add', **{'driver': 'qcow2', 'node-name': 'upper', 'file': 'image', 'backing': 'lower'})
        for flat, wanted in ((True, 0), (False, 1)):
            depths = {n['node-name']: n['backing_file_depth'] for n in guest.qmp('query-named-block-nodes', flat=flat)}
            assert depths['upper'] == wanted and depths['lower'] == 0, depths


def early_commands():
    """Commands that are there before the machine is find it complete: who waits for a disk on a thread meanwhile
    lets the main loop turn."""
    names = ('qmp_capabilities', 'qom-list', 'cont', 'query-status', 'quit')
    arguments = {'qom-list': {'path': '/machine/peripheral'}}
    ours, theirs = socket.socketpair()
    with tempfile.NamedTemporaryFile() as disk, ours:
        disk.truncate(1 << 20)
        ours.settimeout(300)
        for name in names:
            ours.sendall(json.dumps({'execute': name, 'arguments': arguments.get(name, {})}).encode() + b'\n')
        options = []
        for i in range(8):
            options += ['-drive', f'if=none,id=d{i},format=raw,readonly=on,file={disk.name}',
                        '-device', f'virtio-blk-pci,id=v{i},drive=d{i},iothread=io']
        with theirs:
            process = subprocess.Popen([system_program(), '-M', 'pc', '-accel', 'tcg', '-display', 'none', '-nodefaults', '-S',
                                        '-chardev', f'socket,id=q,fd={theirs.fileno()}', '-mon', 'chardev=q,mode=control',
                                        '-object', 'iothread,id=io', *options], pass_fds=[theirs.fileno()])
        with ours.makefile('r', encoding='utf-8') as lines:
            answers = [answer for answer in map(json.loads, lines) if 'event' not in answer]
        assert process.wait(60) == 0, process.returncode
    assert len(answers) == 1 + len(names) and not any('error' in answer for answer in answers), answers
    found = {row['name'] for row in answers[2]['return']}
    assert {f'v{i}' for i in range(8)} <= found, found
    assert answers[4]['return']['running'], answers


if __name__ == '__main__':
    run_tests(early_commands, chardevs, objects, input_and_memory, descriptors, disk_counts)
