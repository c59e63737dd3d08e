#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Damaged -kernel images: one line that says what is wrong, status 1; no crash, no large memory."""
import os
import re
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'boot'))
from guest import GuestError, run_tests, system_program  # noqa: E402

PVH_NOTE = struct.pack('<III4sI', 4, 4, 18, b'Xen\0', 0x100000)
LOAD, NOTE = 1, 4


def segment(kind=LOAD, offset=0, paddr=0x100000, file_size=16, mem_size=16):
    return struct.pack('<8I', kind, offset, paddr, paddr, file_size, mem_size, 5, 4096)


def elf(*segments, machine=3, entry=0x100000, phoff=52, count=None, body=b''):
    count = len(segments) if count is None else count
    return struct.pack('<16sHHIIIIIHHHHHH', b'\x7fELF\1\1\1', 2, machine, 1, entry, phoff, 0, 0,
                       52, 32, count, 40, 0, 0) + b''.join(segments) + body


def multiboot(flags=0, *addresses):
    return struct.pack('<III', 0x1badb002, flags, -(0x1badb002 + flags) & 0xffffffff) + \
        struct.pack(f'<{len(addresses)}I', *addresses)


def with_note(note, *segments, **kw):
    at = 52 + 32 * (len(segments) + 1)
    return elf(*segments, segment(NOTE, at, 0, len(note), 0), body=note, **kw)


# What the image is, and what the line must hold.
ROWS = {
    'empty': (b'', r'neither a Linux bzImage'),
    'text': (b'hello\n' * 100, r'neither a Linux bzImage'),
    'gzip': (b'\x1f\x8b' + bytes(100), r'gunzip it first'),
    'elf_header_alone': (b'\x7fELF\1\1\1' + bytes(45), r'neither a Linux bzImage'),
    'elf_without_note': (elf(segment()), r'neither a Linux bzImage'),
    'note_sizes': (with_note(struct.pack('<III', 2**32 - 1, 2**32 - 1, 18), segment()),
                   r'neither a Linux bzImage'),
    'no_memory': (with_note(PVH_NOTE, segment(mem_size=0x7fffffff)), r'use a larger -m'),
    'wraps': (with_note(PVH_NOTE, segment(paddr=0xfffff000, mem_size=0xffffffff)),
              r'use a larger -m'),
    'low': (with_note(PVH_NOTE, segment(paddr=0x400)), r'would overwrite the firmware'),
    'bios_area': (with_note(PVH_NOTE, segment(paddr=0x80000, mem_size=0x40000)),
                  r'would overwrite the firmware'),
    'past_file': (elf(segment(offset=0xfffffff0), body=multiboot()), r'segment ends past'),
    'file_larger': (elf(segment(file_size=32, mem_size=16), body=multiboot()),
                    r'larger in the file'),
    'table_outside': (elf(segment(), phoff=0xffffffff, body=multiboot()), r'segment table'),
    'table_count': (elf(segment(), count=0xffff, body=multiboot()), r'segment table'),
    'many_segments': (elf(*[segment()] * 65, body=multiboot()), r'more than 64'),
    'machine': (elf(segment(), machine=40, body=multiboot()), r'machine 40'),
    'entry': (elf(segment(), entry=0x5000, body=multiboot()), r'entry 0x5000 is in no segment'),
    'features': (multiboot(8), r'features 0x8'),
    'no_elf': (multiboot(0), r'no ELF image'),
    'addresses_cut': (multiboot(0x10000, 0x100000, 0x100000), r'truncated'),
    'addresses_order': (multiboot(0x10000, 0x100000, 0x200000, 0, 0, 0x100000), r'damaged'),
    'addresses_long': (multiboot(0x10000, 0x100000, 0x100000, 0xfff00000, 0, 0x100000),
                       r'truncated'),
    'addresses_bss': (multiboot(0x10000, 0x100000, 0x100000, 0, 0xfff00000, 0x100000),
                      r'use a larger -m'),
}


def check(name):
    image, pattern = ROWS[name]

    def test():
        with tempfile.NamedTemporaryFile() as kernel:
            kernel.write(image)
            kernel.flush()
            result = subprocess.run([system_program(), '-display', 'none', '-accel', 'tcg', '-S',
                                     '-m', '64', '-kernel', kernel.name], capture_output=True,
                                    text=True, timeout=30, check=False)
        lines = result.stderr.splitlines()
        if result.returncode != 1 or len(lines) != 1 or not re.search(pattern, lines[0]):
            raise GuestError(f'status {result.returncode}, not one line with {pattern!r}:\n'
                             f'{result.stderr}')

    test.__name__ = name
    return test


if __name__ == '__main__':
    run_tests(*[check(name) for name in ROWS])
