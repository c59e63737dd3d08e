#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Turn a Linux bzImage into one that need not unpack itself.

    tests/boot/uncompressed.py /boot/vmlinuz-6.1.0-cloud-amd64 OUTPUT

The set-up part stays.  The rest becomes a few instructions at 1 MiB that switch to long mode,
constant page tables behind them, and the kernel's ELF segments where they are to lie in memory
(from 16 MiB on), so that nothing is copied or unpacked by the guest.  For machines where running
the decompressor takes longer than the rest of the boot.  Boot it with "nokaslr".
Format: Linux, Documentation/arch/x86/boot.rst.
"""
import bz2
import gzip
import lzma
import struct
import sys

CODE32 = 0x100000                        # where the part after the set-up sectors is loaded
PML4, PDPT, PD, GDT, GDTR = (CODE32 + i for i in (0x1000, 0x2000, 0x3000, 0x800, 0x840))
JUMP64 = CODE32 + 0x400



def lz4_block(source, out):
    """One LZ4 block, appended to OUT."""
    pos, end, start = 0, len(source), len(out)
    while pos < end:
        token = source[pos]
        pos += 1
        length = token >> 4
        if length == 15:
            while source[pos] == 255:
                length += 255
                pos += 1
            length += source[pos]
            pos += 1
        out += source[pos:pos + length]
        pos += length
        if pos >= end:
            return
        distance = source[pos] | source[pos + 1] << 8
        pos += 2
        length = (token & 15) + 4
        if token & 15 == 15:
            while source[pos] == 255:
                length += 255
                pos += 1
            length += source[pos]
            pos += 1
        at = len(out) - distance
        if distance == 0 or at < start:
            raise ValueError('bad LZ4 data')
        if distance >= length:
            out += out[at:at + length]
        else:
            piece = bytes(out[at:])
            out += (piece * (length // distance + 1))[:length]


def lz4_legacy(source):
    """The format of `lz4 -l`: blocks of 8 MiB, each after its compressed size."""
    out, pos = bytearray(), 4
    while pos + 4 <= len(source):
        size, = struct.unpack_from('<I', source, pos)
        lz4_block(source[pos + 4:pos + 4 + size], out)
        pos += 4 + size
    return bytes(out)


MAGICS = [(b'\x02\x21\x4c\x18', lz4_legacy), (b'\xfd7zXZ\0', lzma.decompress), (b'\x1f\x8b\x08', gzip.decompress),
          (b'BZh', bz2.decompress)]


def unpack(image):
    """The ELF kernel inside a bzImage."""
    sectors = image[0x1f1] or 4
    offset, length = struct.unpack_from('<II', image, 0x248)
    start = (sectors + 1) * 512 + offset
    payload = image[start:start + length]
    for magic, decompress in MAGICS:
        if payload.startswith(magic):
            # Four bytes with the size follow the compressed stream.
            return decompress(payload[:-4])
    raise ValueError(f'payload begins with {payload[:6].hex()}: only lz4, xz, gzip and bzip2 are known')


def segments(elf):
    """(physical address, bytes) of each loadable segment."""
    phoff, = struct.unpack_from('<Q', elf, 32)
    size, count = struct.unpack_from('<HH', elf, 54)
    for i in range(count):
        kind, _, offset, _, paddr, filesz = struct.unpack_from('<IIQQQQ', elf, phoff + i * size)
        if kind == 1:
            yield paddr, elf[offset:offset + filesz]


def trampoline(entry):
    """From 32-bit protected mode with ESI = boot parameters to 64-bit code at ENTRY."""
    code32 = bytes.fromhex('0f20e0 83c820 0f22e0')                     # CR4.PAE
    code32 += b'\xb8' + struct.pack('<I', PML4) + bytes.fromhex('0f22d8')
    code32 += bytes.fromhex('b9800000c0 0f32 0d00010000 0f30')         # EFER.LME
    code32 += bytes.fromhex('0f20c0 0d00000080 0f22c0')                # CR0.PG
    code32 += bytes.fromhex('0f0115') + struct.pack('<I', GDTR)        # LGDT
    code32 += b'\xea' + struct.pack('<IH', JUMP64, 0x10)
    code64 = bytes.fromhex('b818000000 8ed8 8ec0 8ed0')                # data segments
    code64 += b'\xb8' + struct.pack('<I', entry) + b'\xff\xe0'         # JMP RAX
    out = bytearray(0x7000)
    out[:len(code32)] = code32
    out[JUMP64 - CODE32:JUMP64 - CODE32 + len(code64)] = code64
    struct.pack_into('<4Q', out, GDT - CODE32, 0, 0, 0x00af9a000000ffff, 0x00cf92000000ffff)
    struct.pack_into('<HI', out, GDTR - CODE32, 31, GDT)
    struct.pack_into('<Q', out, PML4 - CODE32, PDPT | 3)
    for i in range(4):
        struct.pack_into('<Q', out, PDPT - CODE32 + 8 * i, (PD + 0x1000 * i) | 3)
    for i in range(2048):
        struct.pack_into('<Q', out, PD - CODE32 + 8 * i, i << 21 | 0x83)
    return out


def convert(image):
    elf = unpack(image)
    entry, = struct.unpack_from('<Q', elf, 24)
    body = trampoline(entry)
    for paddr, data in segments(elf):
        end = paddr - CODE32 + len(data)
        body.extend(bytes(max(0, end - len(body))))
        body[paddr - CODE32:end] = data
    body.extend(bytes(-len(body) % 16))
    setup = bytearray(image[:((image[0x1f1] or 4) + 1) * 512])
    struct.pack_into('<I', setup, 0x1f4, len(body) // 16)
    return bytes(setup + body)


if __name__ == '__main__':
    with open(sys.argv[1], 'rb') as source:
        converted = convert(source.read())
    with open(sys.argv[2], 'wb') as output:
        output.write(converted)
