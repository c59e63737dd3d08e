#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The default guest: an ISO with GRUB, Debian's kernel and a busybox root.

usage: default_guest.py [--build DIR] iso             make the ISO, print its path
       default_guest.py [--build DIR] run [--iso X] [-- OPTION...]   boot it (or X)
       default_guest.py [--build DIR] kernel          print "KERNEL INITRD"

Everything comes from Debian packages: an installed kernel, or else one fetched with
"apt-get download" and unpacked below the build folder (so that the host's own boot set-up
is left alone); busybox-static; grub-mkrescue.  The result is kept below DIR/guest until one
of its sources changes.
"""
import argparse
import contextlib
import fcntl
import glob
import hashlib
import io
import os
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

INIT = '''#!/bin/busybox sh
export PATH=/bin TERM=linux
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
hostname rhea
greet() {
    echo
    echo "Welcome to the default guest of Rhea: Linux $(uname -r), $(nproc) CPU(s)."
    echo "'poweroff' ends it."
}
greet >/dev/tty1
greet
# What busybox's poweroff, halt and reboot send to process 1.
trap 'sync; poweroff -f' USR1 USR2
trap 'sync; reboot -f' TERM
# A prompt on the screen and one on the serial line.
while :; do setsid -c sh -i </dev/tty1 >/dev/tty1 2>&1; sleep 1; done &
while :; do setsid -c sh -i </dev/ttyS0 >/dev/ttyS0 2>&1; sleep 1; done &
while :; do sleep 86400 & wait $!; done
'''

GRUB = '''set timeout=2
set default=0
if serial --unit=0 --speed=115200; then
    terminal_input console serial
    terminal_output console serial
fi
menuentry "Rhea default guest (Debian kernel, busybox)" {
    linux /boot/vmlinuz console=tty0 console=ttyS0 quiet
    initrd /boot/initrd.gz
}
menuentry "The same, with all kernel messages" {
    linux /boot/vmlinuz console=tty0 console=ttyS0 earlyprintk=serial
    initrd /boot/initrd.gz
}
'''


def fail(text):
    sys.exit(f'default_guest.py: {text}')


def run(*command, **kw):
    result = subprocess.run(command, capture_output=True, text=True, **kw)
    if result.returncode:
        fail(f'{" ".join(command)} failed:\n{result.stderr}')
    return result.stdout


# -------- the sources --------

def fetched_kernel(folder):
    """A kernel of Debian's, unpacked below FOLDER."""
    found = sorted(glob.glob(os.path.join(folder, 'boot', 'vmlinuz-*')))
    if found:
        return found[-1]
    os.makedirs(folder, exist_ok=True)
    depends = run('apt-cache', 'depends', 'linux-image-cloud-amd64')
    names = [line.split()[-1] for line in depends.splitlines()
             if 'Depends: linux-image-' in line]
    if not names:
        fail('no kernel: install linux-image-cloud-amd64 (apt-get install, then try again)')
    print(f'Fetching Debian package {names[0]} (it is unpacked, not installed)', file=sys.stderr)
    run('apt-get', 'download', names[0], cwd=folder)
    package = glob.glob(os.path.join(folder, names[0] + '_*.deb'))
    run('dpkg-deb', '-x', package[0], folder)
    os.unlink(package[0])
    found = sorted(glob.glob(os.path.join(folder, 'boot', 'vmlinuz-*')))
    return found[-1] if found else fail(f'package {names[0]} holds no kernel')


def find_kernel(folder):
    """The newest installed kernel for amd64, the cloud flavour first."""
    for pattern in ('*-cloud-amd64', '*-amd64'):
        found = [p for p in sorted(glob.glob('/boot/vmlinuz-' + pattern)) if os.access(p, os.R_OK)]
        if found:
            return found[-1]
    return fetched_kernel(folder)


def find_busybox():
    """busybox-static's program; a dynamic one would not run alone in the guest."""
    for path in ('/bin/busybox', '/usr/bin/busybox'):
        if os.path.exists(path):
            with open(path, 'rb') as f:
                if b'/lib64/ld-linux' not in f.read(4096):
                    return path
    return fail('busybox-static is missing (apt-get install busybox-static)')


# -------- the initramfs: a "newc" cpio archive, written by hand to need no root --------

def cpio_entry(out, name, mode, data=b'', rdev=(0, 0)):
    name = name.encode() + b'\0'
    cpio_entry.ino += 1
    fields = [cpio_entry.ino, mode, 0, 0, 1, 0, len(data), 0, 0, *rdev, len(name), 0]
    out.write(b'070701' + ''.join(f'{f:08X}' for f in fields).encode() + name)
    out.write(b'\0' * (-(110 + len(name)) % 4))
    out.write(data + b'\0' * (-len(data) % 4))


cpio_entry.ino = 0


def make_initrd(path, busybox):
    out = io.BytesIO()
    for name in ('bin', 'dev', 'proc', 'sys', 'root', 'tmp'):
        cpio_entry(out, name, 0o040755)
    cpio_entry(out, 'dev/console', 0o020600, rdev=(5, 1))
    with open(busybox, 'rb') as f:
        cpio_entry(out, 'bin/busybox', 0o100755, f.read())
    cpio_entry(out, 'init', 0o100755, INIT.encode())
    cpio_entry(out, 'TRAILER!!!', 0)
    packed = subprocess.run(['gzip', '-9n'], input=out.getvalue(), capture_output=True, check=True)
    with open(path, 'wb') as f:
        f.write(packed.stdout)


# -------- putting it together --------

def fingerprint(*paths):
    h = hashlib.sha256()
    for path in paths:
        info = os.stat(path)
        h.update(f'{path} {info.st_size} {info.st_mtime_ns}\n'.encode())
    with open(__file__, 'rb') as f:
        h.update(f.read())
    return h.hexdigest()


@contextlib.contextmanager
def alone(build):
    """Nobody else makes files in BUILD/guest meanwhile: tests run beside each other.  Not to be nested."""
    folder = os.path.join(build, 'guest')
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, 'lock'), 'w', encoding='ascii') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def prepare(build):
    """Make kernel and initrd in BUILD/guest, which is the result."""
    with alone(build):
        return prepare_alone(build)


def prepare_alone(build):
    folder = os.path.join(build, 'guest')
    tree = os.path.join(folder, 'iso', 'boot')
    os.makedirs(os.path.join(tree, 'grub'), exist_ok=True)
    kernel, busybox = find_kernel(os.path.join(folder, 'kernel')), find_busybox()
    mark = fingerprint(kernel, busybox)
    stamp = os.path.join(folder, 'stamp')
    if os.path.exists(stamp):
        with open(stamp, encoding='utf-8') as f:
            if f.read() == mark:
                return folder
    for old in glob.glob(os.path.join(folder, '*.iso')):
        os.unlink(old)
    shutil.copyfile(kernel, os.path.join(tree, 'vmlinuz'))
    make_initrd(os.path.join(tree, 'initrd.gz'), busybox)
    with open(os.path.join(tree, 'grub', 'grub.cfg'), 'w', encoding='utf-8') as f:
        f.write(GRUB)
    with open(stamp, 'w', encoding='utf-8') as f:
        f.write(mark)
    return folder


def make_iso(build):
    with alone(build):
        return make_iso_alone(prepare_alone(build))


def make_iso_alone(folder):
    iso = os.path.join(folder, 'default.iso')
    if os.path.exists(iso):
        return iso
    if not shutil.which('grub-mkrescue'):
        fail('grub-mkrescue is missing (apt-get install grub-common grub-pc-bin xorriso mtools)')
    modules = '/usr/lib/grub/i386-pc'
    if not os.path.isdir(modules):
        fail('GRUB for BIOS is missing (apt-get install grub-pc-bin)')
    print(f'Making the default guest, {iso}', file=sys.stderr)
    run('grub-mkrescue', '-d', modules, '--locales=', '--fonts=', '--themes=',
        '-o', iso + '.new', os.path.join(folder, 'iso'))
    os.rename(iso + '.new', iso)
    return iso


def has_display():
    return bool(os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY'))


def boot(build, iso, options):
    program = os.path.join(build, 'bin', 'rhea-system-x86_64')
    if not os.path.exists(program):
        fail(f'{program} is not built (make)')
    if iso and not os.path.exists(iso):
        fail(f'there is no image {iso!r}')
    command = [program, '-m', '512', '-cdrom', iso or make_iso(build)]
    if not any(o in ('-display', '-nographic') for o in options):
        if has_display():
            command += ['-display', 'sdl', '-serial', 'none']
        else:
            print('No display here: the serial console is on this terminal '
                  '(Ctrl-A x ends it).', file=sys.stderr)
            command += ['-nographic']
    command += options
    print(' '.join(command), file=sys.stderr, flush=True)
    os.execv(program, command)


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument('--build', default=os.path.join(ROOT, 'build'))
    parser.add_argument('what', choices=('iso', 'run', 'kernel'))
    parser.add_argument('--iso')
    own, extra = sys.argv[1:], []
    if '--' in own:
        extra = own[own.index('--') + 1:]
        own = own[:own.index('--')]
    args = parser.parse_args(own)
    if args.what == 'iso':
        print(make_iso(args.build))
    elif args.what == 'kernel':
        tree = os.path.join(prepare(args.build), 'iso', 'boot')
        print(os.path.join(tree, 'vmlinuz'), os.path.join(tree, 'initrd.gz'))
    else:
        boot(args.build, args.iso, extra)


if __name__ == '__main__':
    main()
