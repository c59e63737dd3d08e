# SPDX-License-Identifier: MIT
"""Debian's general kernel and its modules, for tests of hardware that the cloud kernel has no drivers for.

    kernel = modules.Kernel(build)                  fetches the package, once per build folder
    kernel.image                                    for -kernel
    kernel.files('sym53c8xx', 'ext4')               for initrd.make(): with all they depend on
    kernel.script('sym53c8xx', 'ext4')              loads them in that order

The package is unpacked, not installed.
"""
import glob
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, 'tests', 'boot'))
from guest import Skip  # noqa: E402

WANTED = ['./boot/vmlinuz-*', *(f'./lib/modules/*/kernel/{folder}/*' for folder in (
    'arch/x86/crypto', 'block', 'crypto', 'drivers/ata', 'drivers/block', 'drivers/cdrom', 'drivers/message',
    'drivers/nvme', 'drivers/scsi', 'drivers/virtio', 'fs', 'lib'))]


def run(*command, **kw):
    result = subprocess.run(command, capture_output=True, text=True, check=False, **kw)
    if result.returncode:
        raise Skip(f'{" ".join(command)}: {result.stderr.strip()}')
    return result.stdout


def fetch(folder):
    depends = run('apt-cache', 'depends', 'linux-image-amd64')
    names = re.findall(r'Depends: (linux-image-\d\S*)', depends)
    if not names:
        raise Skip('apt-cache knows no package linux-image-amd64')
    os.makedirs(folder, exist_ok=True)
    run('apt-get', 'download', names[0], cwd=folder)
    package = glob.glob(os.path.join(folder, names[0] + '_*.deb'))[0]
    with subprocess.Popen(['dpkg-deb', '--fsys-tarfile', package], stdout=subprocess.PIPE) as tar:
        run('tar', '-x', '--wildcards', '-C', folder, *WANTED, stdin=tar.stdout)
    os.unlink(package)
    with open(os.path.join(folder, 'complete'), 'w', encoding='utf-8') as f:
        f.write(names[0] + '\n')


class Kernel:
    def __init__(self, build):
        folder = os.path.join(build, 'guest', 'general-kernel')
        if not os.path.exists(os.path.join(folder, 'complete')):
            fetch(folder)
        self.image = glob.glob(os.path.join(folder, 'boot', 'vmlinuz-*'))[0]
        self.paths = {os.path.basename(p)[:-3].replace('-', '_'): p for p in
                      glob.glob(os.path.join(folder, 'lib', 'modules', '**', '*.ko'), recursive=True)}

    def _order(self, names, done):
        for name in names:
            path = self.paths.get(name)
            if name in done or not path:     # not there: built in
                continue
            with open(path, 'rb') as f:
                info = f.read()
            found = re.search(rb'\0depends=([^\0]*)\0', info)
            depends = found.group(1).decode().split(',') if found else []
            self._order([d.replace('-', '_') for d in depends if d], done)
            done[name] = path
        return done

    def files(self, *names):
        return [(f'lib/{name}.ko', path) for name, path in self._order(names, {}).items()]

    def script(self, *names):
        return ''.join(f'insmod /{name} || exit 1\n' for name, _ in self.files(*names))
