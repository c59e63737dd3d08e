#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""debian-installer's text front end: minutes on the interpreter, so a suite of its own."""
import os

from guest import Guest, run_tests
from test_kernels import ACCEL, fetched

IMAGES = 'usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64'


def language_menu():
    """The netboot kernel and initrd
    show the language menu on the VGA screen.  (1 GiB: with less it goes without languages.)"""
    kernel = fetched('debian-installer', f'{IMAGES}/linux', f'/{IMAGES}/linux')
    initrd = os.path.join(os.path.dirname(kernel), 'initrd.gz')
    with Guest(*ACCEL, '-m', '1024', '-kernel', kernel, '-initrd', initrd,
               '-append', 'vga=normal nomodeset fb=false no_timer_check') as guest:
        guest.wait_screen(r'Select a language', 1500)
        guest.wait_screen(r'English')


if __name__ == '__main__':
    run_tests(language_menu)
