#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Bad input: one line that says what and what to do, exit status 1, nothing half-created."""
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'boot'))
from guest import Guest, GuestError, Skip, run_tests, system_program  # noqa: E402

# Options and what the one line must hold.  DIR and IMAGE stand for paths
# that exist, CFG:TEXT for that of a file with the text.
ROWS = {
    'option': (['-nogrpahic'], r"invalid option.*'nographic'"),
    'option_like_none': (['-zzzz'], r'invalid option; -help lists'),
    'unsupported_option': (['-spice', 'port=1'], r'-spice: .*Rhea does not support it yet'),
    'missing_argument': (['-m'], r'-m: requires an argument'),
    'device': (['-device', 'isa-serail'], r"'isa-serail'.*did you mean 'isa-serial'"),
    'device_like_none': (['-device', 'zzzzzz'], r"'zzzzzz'.*; -device help lists"),
    'device_json': (['-device', '{"driver":'], r'JSON parse error'),
    'property': (['-device', 'isa-serial,iobas=1'], r"iobas.*did you mean 'iobase'"),
    'machine': (['-M', 'pcc'], r"'pcc'; did you mean 'pc'"),
    'machine_property': (['-M', 'none,foo=1'], r'foo'),
    'cpu': (['-cpu', 'qemu65'], r"qemu65.*did you mean 'qemu64'"),
    'cpu_like_none': (['-cpu', 'zzzzzz'], r'zzzzzz; -cpu help lists'),
    'cpu_feature': (['-cpu', 'qemu64,+avx22'], r"'avx22'; did you mean 'avx2'"),
    'drive_if': (['-drive', 'if=floopy'], r"'floopy'; did you mean 'floppy'"),
    'drive_format': (['-drive', 'file=IMAGE,format=qow2'], r"'qow2'; did you mean 'qcow2'"),
    'drive_twice': (['-drive', 'file=IMAGE,format=raw', '-drive', 'file=IMAGE,format=raw'],
                    r'"write" lock on .*in use already, in this process'),
    'accel': (['-accel', 'tgc'], r"did you mean 'tcg'"),
    'accel_property': (['-accel', 'tcg', '-accel', 'kvm,foo=1'], r"-accel kvm,foo=1: .*'?kvm-accel\.foo"),
    'log_item': (['-d', 'gest_errors'], r"did you mean 'guest_errors'"),
    'log_file': (['-D', '/nonexistent/log', '-d', 'int'], r'/nonexistent/log'),
    'add_fd_missing': (['-add-fd', 'set=1'], r"'fd' is missing"),
    'add_fd_standard': (['-add-fd', 'fd=1,set=1'], r'fd=1 is a standard stream'),
    'add_fd_closed': (['-add-fd', 'fd=77,set=1'], r'fd=77 was not open'),
    'fdset_unknown': (['-drive', 'file=/dev/fdset/9,format=raw'], r'/dev/fdset/9.*No such file'),
    'overcommit': (['-overcommit', 'cpu-pm=on'], r'only cpu-pm=off'),
    'audio_driver': (['-audiodev', 'alsa,id=a'], r"'alsa': this build has no sound"),
    'audio_id': (['-audiodev', 'none'], r"'id' is missing"),
    'sandbox': (['-sandbox', 'on'], r'use -sandbox off'),
    'memory_backend': (['-M', 'pc,memory-backend=m'], r"Memory backend 'm' not found"),
    'memory_backend_size': (['-M', 'pc,memory-backend=m', '-m', '64', '-object',
                             'memory-backend-ram,id=m,size=32M'], r'-m has 67108864'),
    'mem_path': (['-mem-path', '/nonexistent/m'], r"/nonexistent/m.*No such file"),
    'secret': (['-object', 'secret,id=s'], r"Either 'file' or 'data'"),
    'keyboard': (['-k', 'klingon'], r"'klingon'; known: .*en-us"),
    'option_rom_missing': (['-option-rom', '/nonexistent/rom'], r"'/nonexistent/rom'"),
    'option_rom_content': (['-option-rom', '/etc/passwd'], r'begin with 55 aa'),
    'chardev_kind': (['-chardev', 'stdoi,id=a'], r"did you mean 'stdio'"),
    'chardev_key': (['-chardev', 'null,id=a,pth=x'], r"Invalid parameter 'pth'"),
    'chardev_path': (['-chardev', 'file,id=a,path=/nonexistent/x'], r'/nonexistent/x.*No such file'),
    'chardev_id': (['-chardev', 'null'], r"'id'|\bid\b"),
    'chardev_in_use': (['-chardev', 'null,id=c', '-mon', 'c', '-mon', 'c'], r"'c'"),
    'serial_vc': (['-serial', 'vc:80x'], r'not vc:WIDTHxHEIGHT'),
    'serial_vc_size': (['-serial', 'vc:1Cx1000C'], r'1000 rows; 1 to 128'),
    'serial': (['-serial', 'foo'], r"'foo' is no character device.*known: .*stdio"),
    'boot_key': (['-boot', 'ordr=c'], r"did you mean 'order'"),
    'boot_drive': (['-boot', 'order=z'], r"boot device 'z'"),
    'boot_splash': (['-boot', 'splash=/nonexistent'], r"splash: .*/nonexistent"),
    'boot_splash_content': (['-boot', 'splash=/etc/passwd'], r'no JPEG and no BMP'),
    'boot_reboot_timeout': (['-boot', 'reboot-timeout=-2'], r'-1 to 65535'),
    'smbios_type': (['-smbios', 'type=99'], r'type=99 cannot be set'),
    'kernel_irqchip': (['-M', 'pc,kernel-irqchip=maybe'], r"kernel-irqchip=maybe: 'on'"),
    'missing_cdrom': (['-cdrom', '/nonexistent.iso'], r"/nonexistent\.iso.*No such file"),
    'missing_disk': (['-drive', 'file=/nonexistent/disk'], r'/nonexistent/disk.*No such file'),
    'directory': (['-cdrom', 'DIR'], r"'DIR'"),
    'missing_firmware': (['-bios', 'nope.bin'], r'nope\.bin'),
    'pid_file': (['-M', 'none', '-pidfile', '/nonexistent/pid'], r'/nonexistent/pid'),
    'config_file': (['-readconfig', '/nonexistent/cfg'], r"Could not open '/nonexistent/cfg'"),
    'config_group': (['-readconfig', 'CFG:[nope]\n'], r"no option group 'nope'"),
    'config_folder': (['-readconfig', 'DIR'], r"Could not open 'DIR': Is a directory"),
    'config_header': (['-readconfig', 'CFG:[device'], r"cfg:1: parse error in '\[device'; expected"),
    'config_value': (['-readconfig', 'CFG:[name]\nguest = "a'], r'cfg:2: parse error'),
    'config_no_group': (['-readconfig', 'CFG:guest = "a"'], r"cfg:1: no group defined before 'guest'"),
    'config_bytes': (['-readconfig', 'CFG:[name]\n\udcff'], r'cfg:2: not UTF-8'),
    'memory_negative': (['-m', '-5'], r"-m: size expects.*'-5'"),
    'memory_0': (['-m', '0'], r'-m 0'),
    'memory_suffix': (['-m', '4X'], r"'4X'"),
    'memory_key': (['-m', '1G,foo=1'], r'foo'),
    'maxmem_small': (['-m', '4G,slots=1,maxmem=1G'], r'maxmem'),
    'maxmem_alone': (['-m', '1G,maxmem=2G'], r'slots'),
    'smp_0': (['-smp', '0'], r'must be at least 1'),
    'smp_word': (['-smp', 'foo'], r'cpus'),
    'smp_maximum': (['-M', 'none', '-smp', '9'], r"machine 'none' is 1"),
    'smp_maxcpus': (['-smp', '4,maxcpus=2'], r'maxcpus'),
    'smp_topology': (['-smp', '4,sockets=1,cores=1,threads=1'], r'maxcpus \(4\)'),
    'smp_product': (['-smp', '4,cores=3'], r'product of the hierarchy must match maxcpus'),
    'uuid': (['-uuid', '12'], r'uuid 12'),
    'global': (['-global', 'foo'], r"'foo'"),
    'set_syntax': (['-set', 'device.x=1'], r'group\.id\.parameter=value'),
    'set_target': (['-set', 'device.x.y=1'], r'no device "x" defined'),
    'action': (['-action', 'reboot=x'], r'reboot'),
    'object': (['-object', 'nope,id=x'], r"'nope'"),
    'object_id': (['-object', 'container'], r"container|'id'"),
    'vga': (['-vga', 'nope'], r'vga type: nope'),
    'display': (['-display', 'sdk'], r'sdk'),
    'daemon_on_terminal': (['-daemonize', '-nographic'], r'-daemonize'),
    'monitor': (['-monitor', 'tcp:x'], r"'x' is not \[HOST\]:PORT"),
    'monitor_chardev': (['-mon', 'chardev=x'], r'chardev "x" not found'),
    'initrd_alone': (['-initrd', 'x'], r'-initrd only allowed with -kernel'),
    'append_alone': (['-append', 'x'], r'-append only allowed with -kernel'),
}


def complaint(*options):
    """Runs the emulator, which must end with status 1 and one line of complaint; returns that."""
    command = [system_program()]
    command += [] if '-accel' in options else ['-accel', 'tcg']
    command += [] if '-display' in options else ['-display', 'none']
    result = subprocess.run(command + list(options), stdin=subprocess.DEVNULL,
                            capture_output=True, text=True, timeout=30)
    lines = [line for line in result.stderr.splitlines() if ': info: ' not in line]
    if result.returncode != 1:
        raise GuestError(f'exit status {result.returncode}: {result.stderr}')
    if len(lines) != 1:
        raise GuestError(f'{len(lines)} lines instead of one: {result.stderr}')
    return lines[0]


def row_test(name, options, pattern):
    def test():
        with tempfile.TemporaryDirectory() as folder:
            def real(option):
                """With the paths in it; CFG:TEXT is a file with that."""
                start, colon, text = option.partition('CFG:')
                if colon:
                    with open(f'{folder}/cfg', 'wb') as file:
                        file.write(text.encode(errors='surrogateescape'))
                    return f'{start}{folder}/cfg'
                return option.replace('DIR', folder).replace('IMAGE', f'{folder}/image')
            with open(f'{folder}/image', 'wb') as image:
                image.truncate(1 << 20)
            line = complaint(*map(real, options))
            if not re.search(pattern.replace('DIR', re.escape(folder)), line):
                raise GuestError(f'the line lacks {pattern!r}: {line}')
    test.__name__ = name
    return test


def unreadable_file():
    """A file without read permission is named with the reason."""
    if os.geteuid() == 0:
        raise Skip('root reads everything')
    with tempfile.NamedTemporaryFile() as file:
        os.chmod(file.name, 0)
        line = complaint('-cdrom', file.name)
        assert file.name in line and 'Permission denied' in line, line


def taken_socket():
    """A chardev path that another process listens on is refused and left alone."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'taken')
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            assert 'taken' in complaint('-qmp', f'unix:{path},server,nowait')
        assert os.path.exists(path)


def file_on_path_of_a_socket():
    """A listener leaves a file alone that is no socket."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(b'precious')
        file.flush()
        for option in ('-qmp', '-serial', '-monitor'):
            line = complaint(option, f'unix:{file.name},server=on,wait=off')
            assert file.name in line and 'no socket' in line, line
        with open(file.name, 'rb') as again:
            assert again.read() == b'precious'


def mistyped_chardev_key():
    """A key that a character device does not know is found before its file is emptied."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(b'precious')
        file.flush()
        line = complaint('-chardev', f'file,id=a,path={file.name},apend=on')
        assert "did you mean 'append'" in line, line
        assert 'logapend' in complaint('-chardev', f'null,id=a,logfile={file.name},logapend=on')
        with open(file.name, 'rb') as again:
            assert again.read() == b'precious'


def nothing_left_behind():
    """What was made before the mistake was found is gone: sockets, PID file."""
    with tempfile.TemporaryDirectory() as folder:
        complaint('-qmp', f'unix:{folder}/qmp,server=on,wait=off', '-pidfile', f'{folder}/pid',
                  '-serial', f'unix:{folder}/serial,server=on,wait=off', '-device', 'nope')
        assert os.listdir(folder) == [], os.listdir(folder)


def signal_while_waiting_for_a_client():
    """Ctrl-C ends a program that waits for the client of a socket."""
    with tempfile.TemporaryDirectory() as folder:
        with subprocess.Popen([system_program(), '-M', 'none', '-display', 'none', '-qmp',
                               f'unix:{folder}/qmp,server=on'], stdin=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True) as process:
            try:
                line = process.stderr.readline()
                assert 'waiting for connection' in line, line
                # The wait begins a moment later; a signal before it has the same end.
                while process.poll() is None:
                    process.send_signal(signal.SIGINT)
                    try:
                        process.wait(1)
                    except subprocess.TimeoutExpired:
                        pass
                rest = process.stderr.read()
            finally:
                process.kill()
        assert process.returncode == 1 and 'Interrupted' in rest, (process.returncode, rest)
        assert os.listdir(folder) == [], os.listdir(folder)


def stdin_of_a_script():
    """QMP on stdio goes on where its input ends: the last answers and events come."""
    requests = b'{"execute":"qmp_capabilities"}{"execute":"quit"}'
    result = subprocess.run([system_program(), '-M', 'none', '-display', 'none', '-qmp', 'stdio'],
                            input=requests, capture_output=True, timeout=30, check=False)
    assert result.returncode == 0 and b'"SHUTDOWN"' in result.stdout, result.stdout


def socket_folder():
    """A socket in a folder that does not exist names the path."""
    assert '/nonexistent/x' in complaint('-qmp', 'unix:/nonexistent/x,server=on,wait=off')


def qmp_malformed():
    """Each kind of malformed request has its own answer."""
    rows = {
        '{]': 'JSON parse error, expecting value',
        '{"execute":foo}': "JSON parse error, invalid keyword 'foo'",
        '{"execute":1}': "QMP input member 'execute' must be a string",
        '[]': 'QMP input must be a JSON object',
    }
    with Guest('-machine', 'none', serial=False, paused=True) as guest:
        for text, description in rows.items():
            guest._qmp.sock.sendall(text.encode() + b'\n')
            answer = guest._qmp._read()
            assert answer['error']['desc'] == description, answer


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
    run_tests(*(row_test(name, *row) for name, row in ROWS.items()),
              unreadable_file, taken_socket, socket_folder, file_on_path_of_a_socket,
              mistyped_chardev_key, nothing_left_behind, signal_while_waiting_for_a_client,
              stdin_of_a_script, qmp_malformed, qmp_garbage)
