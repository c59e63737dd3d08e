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
PATIENCE = 1200


def need_kvm():
    try:
        os.close(os.open('/dev/kvm', os.O_RDWR))
    except OSError as error:
        raise Skip(f'/dev/kvm: {error.strerror}') from None


def type_until_seen(guest, text, pattern):
    """Type as a person would: again when nothing happens.

    On a KVM that is an emulator, a key that comes while GRUB starts is read and has no effect.
    """
    for _ in range(PATIENCE // 20):
        guest.type(text)
        try:
            guest.wait_screen(pattern, timeout=20)
            return
        except GuestError:
            pass
    guest.wait_screen(pattern, timeout=1)


def grub_cdrom():
    """SeaBIOS and GRUB from CD; `ls` typed on the keyboard lists the CD; query-kvm says so."""
    need_kvm()
    iso = need_file('/usr/lib/grub-rescue/grub-rescue-cdrom.iso', 'grub-rescue-pc')
    with Guest('-accel', 'kvm', '-m', '64', '-cdrom', iso, timeout=PATIENCE) as guest:
        if guest.qmp('query-kvm') != {'enabled': True, 'present': True}:
            raise GuestError(f'query-kvm: {guest.qmp("query-kvm")}')
        guest.wait_screen(r'GNU GRUB|grub>')
        type_until_seen(guest, 'c', 'grub>')
        type_until_seen(guest, '\nls\n', r'\(cd0?')


def linux_early(irqchip):
    """Boot Linux until its allocator (CMPXCHG16B) and its file system are set up."""
    made = subprocess.run([sys.executable, os.path.join(ROOT, 'scripts', 'default_guest.py'),
                           '--build', BUILD, 'kernel'], capture_output=True, text=True, check=True)
    kernel, initrd = made.stdout.split()
    with tempfile.TemporaryDirectory() as folder:
        flat = os.path.join(folder, 'kernel')
        with open(kernel, 'rb') as source, open(flat, 'wb') as output:
            output.write(uncompressed.convert(source.read()))
        with Guest('-accel', f'kvm,kernel-irqchip={irqchip}', '-m', '144', '-kernel', flat, '-initrd',
                   initrd, '-append', 'console=ttyS0 nokaslr no_timer_check printk.time=0',
                   timeout=PATIENCE) as guest:
            guest.wait_serial(r'SLUB: HWalign')
            guest.wait_serial(r'Mount-cache hash table')
            text = guest.hmp('info kvm')
            if not re.search(rf'in the kernel: {irqchip}\s+.*run in software: \d+', text, re.DOTALL):
                raise GuestError(f'info kvm: {text}')
            if irqchip == 'on':
                guest.wait_serial(r'processors activated')
                if not re.search(r'LVTT\s+0x000[24]', guest.hmp('info lapic')):
                    raise GuestError(f'the timer does not run: {guest.hmp("info lapic")}')


def linux_past_what_kvm_lacks():
    """Linux sets up its memory allocator (CMPXCHG16B) and goes on, whatever KVM can emulate."""
    need_kvm()
    linux_early('off')


def linux_on_kernel_irqchip():
    """So it does with KVM's own interrupt controllers, whose timers tick."""
    need_kvm()
    linux_early('on')


if __name__ == '__main__':
    run_tests(grub_cdrom, linux_past_what_kvm_lacks, linux_on_kernel_irqchip)
