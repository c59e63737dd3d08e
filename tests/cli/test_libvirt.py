#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Command lines as libvirt 9.0 makes them: asking for capabilities, and a domain of a pc."""
import json
import os
import socket
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'boot'))
from guest import GuestError, Qmp, run_tests, system_program  # noqa: E402


def connected(path, timeout=30):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    return Qmp(sock, timeout)


def capabilities():
    """The daemon's parent ends with 0 once the socket listens and the pid file is there."""
    with tempfile.TemporaryDirectory() as folder:
        path, pid = f'{folder}/qmp', f'{folder}/pid'
        result = subprocess.run(
            [system_program(), '-S', '-no-user-config', '-nodefaults', '-nographic', '-machine',
             'none,accel=kvm:tcg', '-qmp', f'unix:{path},server=on,wait=off', '-pidfile', pid,
             '-daemonize'], capture_output=True, text=True, timeout=60, check=False)
        if result.returncode:
            raise GuestError(f'status {result.returncode}: {result.stderr}')
        with open(pid, encoding='ascii') as file:
            assert int(file.read()) > 1
        qmp = connected(path)
        assert qmp.command('query-version')['qemu']['major'] == 7
        assert qmp.command('query-target') == {'arch': 'x86_64'}
        for name in ('query-qmp-schema', 'query-commands', 'query-kvm', 'qom-list-types',
                     'query-machines', 'query-cpu-definitions', 'query-command-line-options'):
            assert qmp.command(name), name
        for name in ('isa-fdc', 'PIIX4_PM', 'VGA', 'ide-hd', 'max-x86_64-cpu', 'isa-serial'):
            assert qmp.command('device-list-properties', {'typename': name}), name
        for name in ('memory-backend-file', 'memory-backend-memfd', 'max-x86_64-cpu',
                     'none-machine', 'pc-i440fx-7.2-machine'):
            assert qmp.command('qom-list-properties', {'typename': name}), name
        qmp.command('quit')


def domain_options(folder, listener, log):
    """What the definition of a small domain becomes."""
    with open(f'{folder}/key', 'wb') as file:
        file.write(b'k' * 32)
    with open(f'{folder}/disk', 'wb') as file:
        file.truncate(1 << 20)
    rows = [
        ('-name', 'guest=debian,debug-threads=on'), ('-S',),
        ('-object', {'qom-type': 'secret', 'id': 'masterKey0', 'format': 'raw',
                     'file': f'{folder}/key'}),
        ('-machine', 'pc-i440fx-7.2,usb=off,dump-guest-core=off,memory-backend=pc.ram'),
        ('-accel', 'tcg'), ('-cpu', 'qemu64'), ('-m', 'size=65536k'),
        ('-object', {'qom-type': 'memory-backend-ram', 'id': 'pc.ram', 'size': 64 << 20}),
        ('-overcommit', 'mem-lock=off'), ('-smp', '2,sockets=2,cores=1,threads=1'),
        ('-uuid', '4dea22b3-1d52-d8f3-2516-782e98ab3fa0'), ('-no-user-config',), ('-nodefaults',),
        ('-chardev', f'socket,id=charmonitor,fd={listener},server=on,wait=off'),
        ('-mon', 'chardev=charmonitor,id=monitor,mode=control'),
        ('-rtc', 'base=utc,driftfix=slew'), ('-no-hpet',), ('-no-shutdown',),
        ('-global', 'PIIX4_PM.disable_s3=1'), ('-global', 'PIIX4_PM.disable_s4=1'),
        ('-boot', 'strict=on'),
        ('-blockdev', {'driver': 'file', 'filename': f'{folder}/disk',
                       'node-name': 'libvirt-1-storage', 'auto-read-only': True,
                       'discard': 'unmap'}),
        ('-blockdev', {'node-name': 'libvirt-1-format', 'read-only': False, 'driver': 'raw',
                       'file': 'libvirt-1-storage'}),
        ('-device', {'driver': 'ide-hd', 'bus': 'ide.0', 'unit': 0, 'drive': 'libvirt-1-format',
                     'id': 'ide0-0-0', 'bootindex': 1, 'write-cache': 'on'}),
        ('-device', {'driver': 'ide-cd', 'bus': 'ide.1', 'unit': 0, 'id': 'ide0-1-0'}),
        ('-add-fd', f'set=0,fd={log},opaque=serial0-log'),
        ('-chardev', 'pty,id=charserial0,logfile=/dev/fdset/0,logappend=on'),
        ('-device', {'driver': 'isa-serial', 'chardev': 'charserial0', 'id': 'serial0',
                     'index': 0}),
        ('-audiodev', {'id': 'audio1', 'driver': 'none'}), ('-display', 'none'),
        ('-device', {'driver': 'VGA', 'id': 'video0', 'vgamem_mb': 16, 'bus': 'pci.0',
                     'addr': '0x2'}),
        ('-device', {'driver': 'ib700', 'id': 'watchdog0'}), ('-watchdog-action', 'reset'),
        ('-device', {'driver': 'pvpanic'}), ('-sandbox', 'off'), ('-msg', 'timestamp=on'),
    ]
    return [word if isinstance(word, str) else json.dumps(word) for row in rows for word in row]


def ask_about_domain(folder, process):
    """What libvirt asks once the monitor answers, and the start."""
    try:
        qmp = connected(f'{folder}/qmp')
    except OSError:
        process.wait(30)
        raise GuestError(process.stderr.read()) from None
    consoles = {c['label']: c['filename'] for c in qmp.command('query-chardev')}
    assert consoles['charmonitor'] == f'unix:{folder}/qmp,server=on', consoles
    assert consoles['charserial0'].startswith('pty:/dev/pts/'), consoles
    assert len(qmp.command('query-hotpluggable-cpus')) == 2
    cpu = qmp.command('query-cpus-fast')[0]['qom-path']
    for prop in qmp.command('qom-list', {'path': cpu}):
        if not prop['type'].startswith('child'):
            qmp.command('qom-get', {'path': cpu, 'property': prop['name']})
    assert qmp.command('query-iothreads') == []
    assert qmp.command('qom-get', {'path': '/machine/peripheral/video0',
                                   'property': 'vgamem_mb'}) == 16
    disk = qmp.command('query-block')[0]
    assert disk['qdev'] == 'ide0-0-0', disk
    assert disk['inserted']['node-name'] == 'libvirt-1-format', disk
    qmp.command('cont')
    assert qmp.command('query-status')['status'] == 'running'
    qmp.command('quit')
    assert process.wait(30) == 0, process.stderr.read()


def domain():
    """A domain starts on an inherited monitor socket, answers libvirt's questions and runs."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener, \
            open(f'{folder}/log', 'ab') as log:
        listener.bind(f'{folder}/qmp')
        listener.listen(1)
        options = domain_options(folder, listener.fileno(), log.fileno())
        with subprocess.Popen([system_program(), *options], stderr=subprocess.PIPE, text=True,
                              stdin=subprocess.DEVNULL,
                              pass_fds=(listener.fileno(), log.fileno())) as process:
            try:
                # Whoever answers is the program: an end without listening would be waited for.
                listener.close()
                ask_about_domain(folder, process)
            finally:
                process.kill()


if __name__ == '__main__':
    run_tests(capabilities, domain)
