#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Guests under other builds of the emulator: with a tiny TLB, and with the compilers' sanitizers.

usage: test_builds.py [TEST...]

Each build lies below BUILD/other and is kept; configuring and compiling it is part of the first run.
"""
import os
import shutil
import subprocess

import test_grub_rescue
import test_kernels
import test_log
import test_memtest
from guest import ROOT, GuestError, Skip, run_tests

BUILD = test_kernels.BUILD
# The kernel measures its timer with a delay loop of a few ticks, for which a slow build may come too late.
SLOW = ' no_timer_check'


ROMS = ('roms/rhea-linuxboot.bin', 'roms/rhea-multiboot.bin', 'roms/rhea-pvh.bin')
ENGINES = ('tests/tcg/row_diff_test', 'tests/tcg/block_test', 'tests/tcg/change_test',
           'tests/tcg/call_test', 'tests/tcg/kick_test', 'tests/tcg/smp_test', 'tests/tcg/crossing_test',
           'tests/tcg/avx512_test')


def make(name, *options, cc=None):
    """Configure BUILD/other/NAME and compile the emulator, ROMS and ENGINES; where it is."""
    folder = os.path.join(os.path.abspath(BUILD), 'other', name)
    if cc and not shutil.which(cc):
        raise Skip(f'{cc} is missing (Debian package {cc}: scripts/install_deps.sh ci)')
    commands = [['ninja', '-C', folder, '-j2', 'bin.stamp', *ROMS, *ENGINES]]
    if not os.path.exists(os.path.join(folder, 'build.ninja')):
        configure = [os.path.join(ROOT, 'configure'), f'--builddir={folder}', *options]
        commands.insert(0, configure + ([f'--cc={cc}'] if cc else []))
    for command in commands:
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if result.returncode:
            raise GuestError(f'{" ".join(command)}: {(result.stdout + result.stderr)[-3000:]}')
    print(f'# {name}: built', flush=True)
    return folder


def boot(folder, *guests, patience=1):
    """Run the GUESTS with that build; one that cannot run here does not count."""
    os.environ['RHEA_SYSTEM'] = os.path.join(folder, 'bin', 'rhea-system-x86_64')
    os.environ['RHEA_PATIENCE'] = str(patience)
    ran = []
    for guest in guests:
        try:
            guest()
            ran.append(guest.__name__)
        except Skip as reason:
            print(f'# {guest.__name__}: skipped, {reason}', flush=True)
        except GuestError as error:
            raise GuestError(f'{guest.__name__}: {error}') from error
    print(f'# {folder}: {", ".join(ran)}', flush=True)
    if not ran:
        raise Skip('no guest can run here')


def engines(folder):
    """ENGINES of that build."""
    for name in ENGINES:
        result = subprocess.run([os.path.join(folder, name)], capture_output=True, text=True, check=False)
        if result.returncode not in (0, 77):
            raise GuestError(f'{name}: status {result.returncode}: {(result.stdout + result.stderr)[-3000:]}')
        print(f'# {name}: {result.stdout.strip().splitlines()[-1]}', flush=True)


def tiny_tlb():
    """A TLB of 64 entries, the least there may be: engines agree, Linux, GRUB and Memtest86+ boot."""
    folder = make('tiny-tlb', '-Dc_args=-DX86_TLB_BITS=6')
    engines(folder)
    boot(folder, test_kernels.cloud_kernel_2_cpus, test_kernels.cpu_max_needs_no_mitigations, test_kernels.i386_pae_kernel,
         test_grub_rescue.cdrom, test_memtest.x64_tests, test_memtest.ia32_tests)


def tiny_tlb_and_cache():
    """The same and a code cache of 1 MiB."""
    folder = make('tiny-tlb', '-Dc_args=-DX86_TLB_BITS=6')
    test_kernels.ACCEL[:] = ['-accel', 'tcg,tb-size=1']
    boot(folder, test_kernels.cloud_kernel_2_cpus)


def address_and_undefined():
    """AddressSanitizer and UndefinedBehaviorSanitizer have nothing to say of the engines, the log and booting guests."""
    folder = make('asan-ubsan', '--enable-sanitizers=asan,ubsan', cc='clang')
    os.environ['ASAN_OPTIONS'] = 'detect_leaks=0:detect_stack_use_after_return=0'
    os.environ['UBSAN_OPTIONS'] = 'halt_on_error=1:print_stacktrace=1'
    test_kernels.QUIET += SLOW
    engines(folder)
    boot(folder, test_log.each_item, test_log.of_some_code, test_kernels.cloud_kernel_2_cpus,
         test_kernels.cpu_max_needs_no_mitigations, test_kernels.cpu_max_has_the_vectors, test_kernels.i386_pae_kernel,
         test_kernels.xen, test_grub_rescue.cdrom, test_grub_rescue.virtio_disk, test_grub_rescue.nvme_disk,
         test_grub_rescue.ahci_disk, test_memtest.x64_tests, patience=5)


def threads():
    """ThreadSanitizer has nothing to say of Linux with two CPUs (interpreted: translated code needs signals at once)."""
    folder = make('tsan', '--enable-sanitizers=tsan', cc='clang')
    os.environ['TSAN_OPTIONS'] = f'suppressions={ROOT}/scripts/tsan.supp'
    test_kernels.QUIET += SLOW
    boot(folder, test_kernels.cloud_kernel_2_cpus, patience=8)


if __name__ == '__main__':
    run_tests(slow=[tiny_tlb, tiny_tlb_and_cache, address_and_undefined, threads])
