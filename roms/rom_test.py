#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Check the option ROMs: header, size, sums, PnP expansion header.  [BBS 1.01; PnP BIOS 1.0A]

usage: rom_test.py ROM...
"""
import os
import sys


def problems(rom):
    if rom[:2] != b'\x55\xaa':
        yield 'it does not begin with 55 AA'
    if len(rom) != rom[2] * 512 or not rom:
        yield f'its header says {rom[2] * 512} bytes, it has {len(rom)}'
    if sum(rom) & 0xff:
        yield f'its bytes add up to 0x{sum(rom) & 0xff:02x}, not to 0'
    pnp = int.from_bytes(rom[0x1a:0x1c], 'little')
    if rom[pnp:pnp + 4] != b'$PnP':
        yield f'0x1a points to 0x{pnp:x}, where no $PnP header is'
        return
    header = rom[pnp:pnp + rom[pnp + 5] * 16]
    if sum(header) & 0xff:
        yield 'the PnP header does not add up to 0'
    product = int.from_bytes(header[0x10:0x12], 'little')
    if not rom[product:].split(b'\0')[0].isascii() or not product:
        yield 'the PnP header names no product'
    if not any(header[0x16:0x18]) and not any(header[0x1a:0x1c]):
        yield 'it has neither a boot connection nor a bootstrap entry'
    if not any(rom[3:6]):
        yield 'its initialization entry is empty'


def main():
    failed = 0
    print(f'1..{len(sys.argv) - 1}')
    for n, path in enumerate(sys.argv[1:], 1):
        with open(path, 'rb') as f:
            found = list(problems(f.read()))
        for problem in found:
            print(f'# {os.path.basename(path)}: {problem}')
        failed += bool(found)
        print(f'{"not ok" if found else "ok"} {n} {os.path.basename(path)}')
    sys.exit(failed > 0)


if __name__ == '__main__':
    main()
