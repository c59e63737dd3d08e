# SPDX-License-Identifier: MIT
"""An initrd that runs a script, made of busybox and files of this machine.

    path = initrd.make(build, 'bench', 'echo hello\\n', [('bin/tool', '/usr/bin/tool')])

Its init mounts /proc, /dev and /tmp, prints "initrd: init at UPTIME", runs the script in /tmp, and prints
"initrd: status N" and "initrd: end at UPTIME".  Words NAME=VALUE of the kernel's command line that the
kernel does not know are the script's environment.  The archive is kept in the build folder until
one of its sources changes.
"""
import glob
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, 'scripts'))
import default_guest  # noqa: E402

# In an order in which they can be loaded.
VIRTIO_MODULES = ('virtio_ring', 'virtio', 'virtio_pci_legacy_dev', 'virtio_pci_modern_dev', 'virtio_pci',
                  'virtio_blk')

INIT = '''#!/bin/busybox sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LC_ALL=C
/bin/busybox mount -t proc proc /proc
read up rest </proc/uptime
echo "initrd: init at $up"
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t tmpfs tmp /tmp
cd /tmp
/bin/busybox sh /script
echo "initrd: status $?"
read up rest </proc/uptime
echo "initrd: end at $up"
while :; do /bin/busybox sleep 1000; done
'''


def write(path, script, files):
    """The archive at PATH; FILES are pairs of a name in it and a path here."""
    entry = default_guest.cpio_entry
    folders = {'bin', 'dev', 'proc', 'sys', 'tmp', 'root'}
    for name, _ in files:
        parts = name.split('/')[:-1]
        folders |= {'/'.join(parts[:i + 1]) for i in range(len(parts))}
    with open(path, 'wb') as out:
        for name in sorted(folders):
            entry(out, name, 0o040755)
        entry(out, 'dev/console', 0o020600, rdev=(5, 1))
        entry(out, 'init', 0o100755, INIT.encode())
        entry(out, 'script', 0o100644, script.encode())
        entry(out, 'bin/sh', 0o120777, b'busybox')
        for name, source in files:
            with open(source, 'rb') as f:
                entry(out, name, 0o100755, f.read())
        entry(out, 'TRAILER!!!', 0)


def make(build, name, script, files):
    """BUILD/guest/NAME.cpio, made when it is not there or old."""
    with default_guest.alone(build):
        return make_alone(build, name, script, files)


def make_alone(build, name, script, files):
    files = [('bin/busybox', default_guest.find_busybox()), *files]
    path = os.path.join(build, 'guest', f'{name}.cpio')
    mark = default_guest.fingerprint(__file__, *(source for _, source in files)) + script
    stamp = path + '.stamp'
    if os.path.exists(stamp) and os.path.exists(path):
        with open(stamp, encoding='utf-8') as f:
            if f.read() == mark:
                return path
    write(path + '.new', script, files)
    os.rename(path + '.new', path)
    with open(stamp, 'w', encoding='utf-8') as f:
        f.write(mark)
    return path


def kernel(build):
    """Debian's kernel, as the default guest has it."""
    return os.path.join(default_guest.prepare(build), 'iso', 'boot', 'vmlinuz')


def libraries(path):
    """What the dynamic loader would load for a program, the loader included."""
    text = subprocess.run(['ldd', path], capture_output=True, text=True, check=False).stdout
    return re.findall(r'(/\S+) \(0x', text)


def kernel_modules(build, names):
    """Pairs of a name in the initrd and a path here of modules of kernel(), from where its package was
    unpacked or installed; FileNotFoundError names the package."""
    with open(kernel(build), 'rb') as image:
        head = image.read(65536)
    at = 0x200 + int.from_bytes(head[0x20e:0x210], 'little')     # [Linux boot protocol, kernel_version]
    version = head[at:head.index(b'\0', at)].split()[0].decode()
    files = []
    for name in names:
        found = [path for top in ('/', os.path.join(build, 'guest', 'kernel')) for path in
                 glob.glob(os.path.join(top, 'lib/modules', version, '**', name + '.ko'), recursive=True)]
        if not found:
            raise FileNotFoundError(f'no module {name}: install linux-image-{version}')
        files.append((f'lib/{name}.ko', found[0]))
    return files
