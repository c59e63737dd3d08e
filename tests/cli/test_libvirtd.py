#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The real libvirtd, as a session daemon of its own, defines and runs a small pc."""
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'boot'))
from guest import GuestError, Skip, run_tests, system_program  # noqa: E402

LIMIT = 120
DOMAIN = """
<domain type='qemu'><name>small</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features>
<devices><emulator>{program}</emulator>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
<source file='{folder}/disk.qcow2'/><target dev='hda' bus='ide'/></disk>
<disk type='file' device='disk'><driver name='qemu' type='raw'/>
<source file='{folder}/disk.raw'/><target dev='hdb' bus='ide'/></disk>
<serial type='pty'><target port='0'/></serial><console type='pty'/>
<controller type='usb' model='none'/><memballoon model='none'/><video><model type='vga'/></video>
</devices></domain>
"""


class Daemon:
    """libvirtd for nobody but this test.  It is a session daemon only when it is not root's."""

    def __init__(self, folder):
        self.folder = folder
        self.prefix = []
        if os.geteuid() == 0:
            self.prefix = ['unshare', '--user', '--map-user=1000', '--map-group=1000']
        self.env = dict(os.environ, HOME=folder, LIBVIRT_DEFAULT_URI='qemu:///session')
        for name in ('RUNTIME_DIR', 'CACHE_HOME', 'CONFIG_HOME', 'DATA_HOME', 'STATE_HOME'):
            path = os.path.join(folder, name.lower())
            os.mkdir(path, 0o700)
            self.env['XDG_' + name] = path
        self.log = os.path.join(folder, 'libvirtd.log')
        with open(self.log, 'wb') as log:
            self.process = subprocess.Popen(self.prefix + ['libvirtd', '--timeout', '60'],
                                            env=self.env, stdout=log, stderr=log)
        self.wait(lambda: os.path.exists(self.env['XDG_RUNTIME_DIR'] + '/libvirt/libvirt-sock'),
                  'its socket')

    def messages(self):
        with open(self.log, encoding='utf-8', errors='replace') as file:
            return file.read()[-2000:]

    def wait(self, done, what):
        end = time.monotonic() + LIMIT
        while not done():
            if self.process.poll() is not None:
                raise GuestError(f'libvirtd ended: {self.messages()}')
            if time.monotonic() > end:
                raise GuestError(f'no {what} in {LIMIT} s: {self.messages()}')
            time.sleep(0.1)

    def virsh(self, *words):
        result = subprocess.run(self.prefix + ['virsh', '-q', *words], env=self.env,
                                capture_output=True, text=True, timeout=LIMIT, check=False)
        if result.returncode:
            raise GuestError(f'virsh {" ".join(words)}: {result.stderr}{self.messages()}')
        return result.stdout

    def end(self):
        subprocess.run(self.prefix + ['virsh', '-q', 'destroy', 'small'], env=self.env,
                       capture_output=True, timeout=LIMIT, check=False)
        self.process.terminate()
        self.process.wait(LIMIT)


def need_libvirt():
    for program in ('libvirtd', 'virsh'):
        if not shutil.which(program):
            raise Skip(f'no {program}: install libvirt-daemon, libvirt-daemon-driver-qemu and '
                       'libvirt-clients')
    if os.geteuid() == 0 and subprocess.run(
            ['unshare', '--user', '--map-user=1000', 'true'], capture_output=True,
            check=False).returncode:
        raise Skip('root, and no user namespaces: a session daemon is not possible')


def make_disks(folder):
    image_tool = os.path.join(os.path.dirname(system_program()), '..', 'bin', 'rhea-img')
    for kind in ('raw', 'qcow2'):
        subprocess.run([image_tool, 'create', '-q', '-f', kind, f'{folder}/disk.{kind}', '16M'],
                       check=True, timeout=60)


def check(what, condition):
    if not condition:
        raise GuestError(what)


def life(daemon, folder):
    program = os.path.realpath(system_program())
    with open(f'{folder}/domain.xml', 'w', encoding='utf-8') as file:
        file.write(DOMAIN.format(program=program, folder=folder))
    make_disks(folder)
    check('capabilities', '<machine>pc-i440fx-7.2</machine>' in
          daemon.virsh('domcapabilities', '--emulatorbin', program))
    daemon.virsh('define', f'{folder}/domain.xml')
    daemon.virsh('start', 'small')
    check('running', daemon.virsh('domstate', 'small').strip() == 'running')
    check('status', 'VM status: running' in
          daemon.virsh('qemu-monitor-command', 'small', '--hmp', 'info status'))
    check('QMP', '"status":"running"' in
          daemon.virsh('qemu-monitor-command', 'small', '{"execute":"query-status"}'))
    daemon.virsh('screenshot', 'small', f'{folder}/screen.png')
    with open(f'{folder}/screen.png', 'rb') as file:
        check('a screen as PNG', file.read(8) == b'\x89PNG\r\n\x1a\n')
    check('a terminal', stat.S_ISCHR(os.stat(daemon.virsh('ttyconsole', 'small').strip()).st_mode))
    check('sizes', 'Capacity:       16777216' in daemon.virsh('domblkinfo', 'small', 'hda'))
    daemon.virsh('suspend', 'small')
    check('paused', daemon.virsh('domstate', 'small').strip() == 'paused')
    daemon.virsh('resume', 'small')
    daemon.virsh('send-key', 'small', 'KEY_ENTER')
    daemon.virsh('reset', 'small')
    daemon.virsh('shutdown', 'small')        # the button: nobody in there looks
    daemon.virsh('destroy', 'small')
    check('shut off', daemon.virsh('domstate', 'small').strip() == 'shut off')
    daemon.virsh('start', 'small')           # and once more: images are free again
    daemon.virsh('destroy', 'small')
    daemon.virsh('undefine', 'small')


def domain():
    """define, start, screenshot, suspend, reset, destroy and the monitor through virsh."""
    need_libvirt()
    with tempfile.TemporaryDirectory(prefix='rhea-libvirt-') as folder:
        daemon = Daemon(folder)
        try:
            life(daemon, folder)
        finally:
            daemon.end()


if __name__ == '__main__':
    run_tests(domain)
