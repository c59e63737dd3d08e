#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the uncompressed ELF kernel that a Linux bzImage carries.
Usage: extract_vmlinux.py BZIMAGE OUT

The payload is where the setup header says (x86 boot protocol 2.08: payload_offset, payload_length);
gzip, xz, lzma and bzip2 are opened here, zstd and lz4 by their programs."""
import bz2
import lzma
import subprocess
import sys
import zlib

FORMATS = [
    (b'\x1f\x8b', lambda data: zlib.decompressobj(31).decompress(data)),
    (b'\xfd7zXZ', lambda data: lzma.LZMADecompressor().decompress(data)),
    (b'\x5d\x00', lambda data: lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(data)),
    (b'BZh', lambda data: bz2.BZ2Decompressor().decompress(data)),
    (b'\x28\xb5\x2f\xfd', lambda data: by_program(['zstd', '-dc'], data)),
    (b'\x02\x21\x4c\x18', lambda data: by_program(['lz4', '-dc'], data)),
]


def by_program(command, data):
    # The payload ends with 4 bytes of its own, which the programs complain about.
    return subprocess.run(command, input=data[:-4], stdout=subprocess.PIPE, check=True).stdout


def vmlinux(image):
    def u32(at):
        return int.from_bytes(image[at:at + 4], 'little')

    if image[0x202:0x206] != b'HdrS' or int.from_bytes(image[0x206:0x208], 'little') < 0x208:
        raise ValueError('no bzImage of boot protocol 2.08 or later')
    start = (1 + (image[0x1f1] or 4)) * 512 + u32(0x248)
    payload = image[start:start + u32(0x24c)]
    for magic, unpack in FORMATS:
        if payload.startswith(magic):
            kernel = unpack(payload)
            if kernel[:4] != b'\x7fELF':
                raise ValueError('the payload is no ELF image')
            return kernel
    raise ValueError(f'unknown compression {payload[:4].hex()}')


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1], 'rb') as source:
        image = source.read()
    try:
        kernel = vmlinux(image)
    except (ValueError, OSError, subprocess.CalledProcessError, lzma.LZMAError, zlib.error) as error:
        sys.exit(f'{sys.argv[1]}: {error}')
    with open(sys.argv[2], 'wb') as out:
        out.write(kernel)


if __name__ == '__main__':
    main()
