#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""memtest86+ over 64 MiB, in 64 and 32 bits: a full first pass without an error.

The suite "boot" runs *_tests only: that it starts, and finds nothing wrong in its first test.
"""
import os

from guest import Guest, need_file, run_tests

ACCEL = ['-accel', os.environ.get('RHEA_ACCEL', 'tcg')]
FOLDER = '/usr/lib/memtest86+'


def memtest(name, until, timeout):
    """Boot the image and wait for UNTIL on its screen; no error may be counted by then."""
    image = need_file(f'{FOLDER}/{name}', 'memtest86+')
    with Guest(*ACCEL, '-m', '64', '-cdrom', image) as guest:
        guest.wait_screen(r'Memtest86\+ v\d', 120)
        guest.wait_screen(until, timeout)
        guest.wait_screen(r'Errors: +0\b', 1)


def x64_tests():
    """The 64-bit program gets through its first test."""
    memtest('memtest86+x64.iso', r'Test +#[1-9]', 600)


def ia32_tests():
    """So does the 32-bit one."""
    memtest('memtest86+ia32.iso', r'Test +#[1-9]', 600)


def x64_full_pass():
    """A full first pass, 64-bit."""
    memtest('memtest86+x64.iso', r'Pass: +[1-9]', 3600)


def ia32_full_pass():
    """A full first pass, 32-bit."""
    memtest('memtest86+ia32.iso', r'Pass: +[1-9]', 3600)


if __name__ == '__main__':
    run_tests(x64_tests, ia32_tests, slow=[x64_full_pass, ia32_full_pass])
