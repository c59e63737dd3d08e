#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Guests under -accel kvm; skipped, with the reason, where /dev/kvm cannot be used."""
import os
import re
import subprocess
import sys
import tempfile

from guest import ROOT, Guest, GuestError, Skip, need_file, run_tests
import uncompressed

BUILD = os.environ.get('RHEA_BUILD', os.path.join(ROOT, 'build'))
# Where /dev/kvm is itself an emulator, everything takes much longer.
PATIENCE = 600


def need_kvm():
    try:
        os.close(os.open('/dev/kvm', os.O_RDWR))
    except OSError as error:
        raise Skip(f'/dev/kvm: {error.strerror}') from None


def grub_cdrom():
    """SeaBIOS and GRUB from CD; `ls` typed on the keyboard lists the CD; query-kvm says so."""
    need_kvm()
    iso = need_file('/usr/lib/grub-rescue/grub-rescue-cdrom.iso', 'grub-rescue-pc')
    with Guest('-accel', 'kvm', '-m', '64', '-cdrom', iso, timeout=PATIENCE) as guest:
        if guest.qmp('query-kvm') != {'enabled': True, 'present': True}:
            raise GuestError(f'query-kvm: {guest.qmp("query-kvm")}')
        guest.wait_screen(r'GNU GRUB|grub>')
        guest.type('c')
        guest.wait_screen('grub>')
        guest.type('\nls\n')
        guest.wait_screen(r'\(cd0?')


def linux_past_what_kvm_lacks():
    """Linux sets up its memory allocator (CMPXCHG16B) and goes on, whatever KVM can emulate."""
    need_kvm()
    made = subprocess.run([sys.executable, os.path.join(ROOT, 'scripts', 'default_guest.py'),
                           '--build', BUILD, 'kernel'], capture_output=True, text=True, check=True)
    kernel, initrd = made.stdout.split()
    with tempfile.TemporaryDirectory() as folder:
        flat = os.path.join(folder, 'kernel')
        with open(kernel, 'rb') as source, open(flat, 'wb') as output:
            output.write(uncompressed.convert(source.read()))
        with Guest('-accel', 'kvm', '-m', '144', '-kernel', flat, '-initrd', initrd, '-append',
                   'console=ttyS0 nokaslr', timeout=PATIENCE) as guest:
            guest.wait_serial(r'SLUB: HWalign')
            guest.wait_serial(r'Mount-cache hash table')
            text = guest.hmp('info kvm')
            if not re.search(r'run in software: \d+', text):
                raise GuestError(f'info kvm: {text}')


def kernel_irqchip_is_refused():
    """An irqchip that is not there is one clear line and status 1."""
    need_kvm()
    result = subprocess.run([os.environ.get('RHEA_SYSTEM', os.path.join(BUILD, 'bin', 'rhea-system-x86_64')),
                             '-accel', 'kvm,kernel-irqchip=on', '-display', 'none'],
                            capture_output=True, text=True, check=False, timeout=60)
    lines = result.stderr.strip().splitlines()
    if result.returncode != 1 or len(lines) != 1 or 'kernel-irqchip=off' not in lines[0]:
        raise GuestError(f'status {result.returncode}: {result.stderr}')


if __name__ == '__main__':
    run_tests(kernel_irqchip_is_refused, grub_cdrom, linux_past_what_kvm_lacks)
