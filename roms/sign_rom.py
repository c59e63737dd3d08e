#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Pads an option ROM to its declared size and sets the checksums of the $PnP structure and of the
whole image to zero sums.  Usage: sign_rom.py IN OUT"""
import sys


def main():
    rom = bytearray(open(sys.argv[1], 'rb').read())
    units = (len(rom) + 1 + 511) // 512
    rom[2] = units
    rom += bytes(units * 512 - len(rom))
    pnp = int.from_bytes(rom[0x1a:0x1c], 'little')
    if rom[:2] != b'\x55\xaa' or rom[pnp:pnp + 4] != b'$PnP':
        sys.exit(f'{sys.argv[1]}: no option ROM header')
    length = rom[pnp + 5] * 16
    rom[pnp + 9] = -sum(rom[pnp:pnp + length]) & 0xff
    rom[-1] = -sum(rom) & 0xff
    open(sys.argv[2], 'wb').write(rom)


main()
