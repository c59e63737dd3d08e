#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Programs that run without an operating system: iPXE, U-Boot; empty images."""
import os
import tempfile

from guest import Guest, need_file, run_tests

ACCEL = ['-accel', os.environ.get('RHEA_ACCEL', 'tcg')]


def ipxe_iso():
    """iPXE's ISO prints its banner."""
    iso = need_file('/usr/lib/ipxe/ipxe.iso', 'ipxe')
    with Guest(*ACCEL, '-m', '64', '-cdrom', iso) as guest:
        guest.wait_screen(r'iPXE', 90)


def ipxe_lkrn():
    """iPXE as a Linux-style kernel by -kernel."""
    kernel = need_file('/boot/ipxe.lkrn', 'ipxe')
    with Guest(*ACCEL, '-m', '64', '-kernel', kernel) as guest:
        guest.wait_screen(r'iPXE initialising|iPXE \d', 90)


def u_boot():
    """U-Boot as -bios reaches its prompt on the serial line.

    Without a VGA card: U-Boot runs the VGA BIOS with 64 KiB segments, and that reads EDID above
    them, which is a #GP here as on hardware."""
    rom = need_file('/usr/lib/u-boot/qemu-x86/u-boot.rom', 'u-boot-qemu')
    with Guest(*ACCEL, '-m', '256', '-vga', 'none', '-bios', rom) as guest:
        guest.wait_serial(r'U-Boot 20', 90)
        guest.wait_serial(r'stop autoboot', 90)
        guest.send_serial('\n')
        guest.wait_serial(r'=> ', 90)


def empty_iso():
    """An empty image boots to SeaBIOS's own message."""
    with tempfile.NamedTemporaryFile(suffix='.iso') as image:
        with Guest(*ACCEL, '-m', '32', '-boot', 'd', '-cdrom', image.name) as guest:
            guest.wait_screen(r'No bootable device|Boot failed', 60)


if __name__ == '__main__':
    run_tests(ipxe_iso, ipxe_lkrn, u_boot, empty_iso)
