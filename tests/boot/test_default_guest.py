#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The default guest: GRUB from the ISO, Debian's kernel, a prompt, and a clean end."""
import os
import subprocess
import sys

from guest import QUIET, ROOT, Guest, GuestError, need_program, run_tests

BUILD = os.environ.get('RHEA_BUILD', os.path.join(ROOT, 'build'))
ACCEL = ['-accel', os.environ.get('RHEA_ACCEL', 'tcg')]


def made(what):
    command = [sys.executable, os.path.join(ROOT, 'scripts', 'default_guest.py'),
               '--build', BUILD, what]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise GuestError(result.stderr)
    return result.stdout.split()


def to_prompt_and_off(guest, cpus, timeout):
    guest.wait_serial(r'Welcome to the default guest of Rhea: Linux \S+, (\d+) CPU', timeout)
    guest.wait_serial(r'# ')
    guest.send_serial('echo $((6 * 7)) $(nproc)\n')
    guest.wait_serial(rf'42 {cpus}\s')
    guest.send_serial('poweroff\n')
    status = guest.wait_exit()
    if status != 0:
        raise GuestError(f'poweroff ended with status {status}: {guest.messages()}')


def direct_kernel_1_cpu():
    """-kernel and -initrd reach a shell; poweroff ends the process with status 0."""
    kernel, initrd = made('kernel')
    with Guest(*ACCEL, '-m', '256', '-kernel', kernel, '-initrd', initrd,
               '-append', QUIET, timeout=120) as guest:
        to_prompt_and_off(guest, 1, 240)


def direct_kernel_4_cpus():
    """The same with four CPUs online."""
    kernel, initrd = made('kernel')
    with Guest(*ACCEL, '-m', '256', '-smp', '4', '-kernel', kernel, '-initrd', initrd,
               '-append', QUIET, timeout=120) as guest:
        to_prompt_and_off(guest, 4, 400)


def iso_through_grub():
    """The ISO: SeaBIOS, GRUB's menu on the screen, Linux, a shell."""
    need_program('grub-mkrescue', 'grub-common')
    iso, = made('iso')
    with Guest(*ACCEL, '-m', '512', '-cdrom', iso, timeout=120) as guest:
        guest.wait_screen('Rhea default guest')
        guest.key('ret')
        to_prompt_and_off(guest, 1, 300)


def ps2_keyboard_on_the_console():
    """What send-key types arrives at the shell on the screen's console."""
    kernel, initrd = made('kernel')
    with Guest(*ACCEL, '-m', '256', '-kernel', kernel, '-initrd', initrd,
               '-append', 'console=tty0 ' + QUIET, timeout=120) as guest:
        guest.wait_serial('Welcome to the default guest', 240)
        guest.type('\necho Typed-$((3*5)) >/dev/ttyS0\n')
        guest.wait_serial('Typed-15')


if __name__ == '__main__':
    run_tests(direct_kernel_1_cpu, direct_kernel_4_cpus, iso_through_grub,
              ps2_keyboard_on_the_console)
