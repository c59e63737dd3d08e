#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Guests boot with each optimisation of the translator off, with a tiny code cache, and by single instructions.

usage: test_switches.py [TEST...]

RHEA_SWITCHES="x-opt-link=off x-opt-loop=off,tb-size=1" replaces the sets of switches.
"""
import os
import re
import subprocess

import test_grub_rescue
import test_kernels
import test_memtest
from guest import GuestError, Skip, run_tests, system_program

MODULES = (test_kernels, test_grub_rescue, test_memtest)


def all_off():
    """What `-accel tcg,help` lists, switched off."""
    text = subprocess.run([system_program(), '-accel', 'tcg,help'], capture_output=True, text=True, check=True).stdout
    return [f'{name}=off' for name in re.findall(r'^ *(x-opt-[\w-]+)=', text, re.MULTILINE)]


def sets():
    everything = ','.join(all_off())
    return os.environ.get('RHEA_SWITCHES', '').split() or [
        *all_off(), everything, 'tb-size=1', 'one-insn-per-tb=on', 'thread=single', f'tb-size=1,one-insn-per-tb=on,{everything}']


def with_switches(switches, *guests):
    """Run the GUESTS with -accel tcg,SWITCHES; a guest that cannot run here does not count."""
    if os.environ.get('RHEA_ACCEL', 'tcg') != 'tcg':
        return
    for module in MODULES:
        module.ACCEL[:] = ['-accel', f'tcg,{switches}']
    for guest in guests:
        try:
            guest()
        except Skip as reason:
            print(f'# {guest.__name__}: skipped, {reason}')
        except GuestError as error:
            raise GuestError(f'{guest.__name__} with -accel tcg,{switches}: {error}') from error
    print(f'# {switches}: {", ".join(guest.__name__ for guest in guests)}', flush=True)


def all_of_them():
    """Linux with two CPUs, with all optimisations off and a code cache of 1 MiB, which is flushed over and over."""
    with_switches(','.join(['tb-size=1', *all_off()]), test_kernels.cloud_kernel_2_cpus)


def tiny_cache():
    """The same with all optimisations on."""
    with_switches('tb-size=1', test_kernels.cloud_kernel_2_cpus)


def each_linux():
    """Linux with two CPUs and Debian's i386 kernel, with each switch."""
    for switches in sets():
        with_switches(switches, test_kernels.cloud_kernel_2_cpus, test_kernels.i386_pae_kernel)


def each_bare():
    """GRUB, Xen and Memtest86+ in both widths, with each switch."""
    for switches in sets():
        with_switches(switches, test_grub_rescue.cdrom, test_kernels.xen, test_memtest.x64_tests, test_memtest.ia32_tests)


if __name__ == '__main__':
    run_tests(all_of_them, tiny_cache, slow=[each_linux, each_bare])
