#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Programs that run without an operating system: iPXE, U-Boot; empty images."""
import contextlib
import os
import struct
import tempfile

from guest import Guest, GuestError, need_file, run_tests

ACCEL = ['-accel', os.environ.get('RHEA_ACCEL', 'tcg')]


def ipxe_prompt(guest):
    """Banner, then the prompt, where a command is understood."""
    guest.wait_screen(r'Open Source Network Boot Firmware', 120)

    def prompt():
        if 'iPXE>' in guest.screen():
            return True
        guest.key('ctrl', 'b')
        return False
    guest.wait_until(prompt, 'prompt after Ctrl-B', 120)
    guest.type('\necho Ab-${buildarch}\n')
    guest.wait_screen(r'\nAb-i386', 60)


def ipxe_iso():
    """iPXE's ISO: banner, prompt, a command."""
    iso = need_file('/usr/lib/ipxe/ipxe.iso', 'ipxe')
    with Guest(*ACCEL, '-m', '64', '-cdrom', iso) as guest:
        ipxe_prompt(guest)


def ipxe_lkrn():
    """iPXE as a Linux-style kernel by -kernel: the same."""
    kernel = need_file('/boot/ipxe.lkrn', 'ipxe')
    with Guest(*ACCEL, '-m', '64', '-kernel', kernel) as guest:
        ipxe_prompt(guest)


def option_rom():
    """A ROM given by -option-rom is run by SeaBIOS."""
    rom = need_file('/usr/lib/ipxe/qemu/pxe-e1000.rom', 'ipxe-qemu')
    with Guest(*ACCEL, '-m', '32', '-option-rom', rom) as guest:
        guest.wait_screen(r'iPXE \(http://ipxe.org\)', 60)


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


def truncated_iso():
    """Of an image that ends too early SeaBIOS says that it cannot read it."""
    with open(need_file('/usr/lib/grub-rescue/grub-rescue-cdrom.iso', 'grub-rescue-pc'), 'rb') as f:
        head = f.read(300000)
    with tempfile.NamedTemporaryFile(suffix='.iso') as image:
        image.write(head)
        image.flush()
        with Guest(*ACCEL, '-m', '32', '-boot', 'd', '-cdrom', image.name) as guest:
            guest.wait_screen(r'Could not read from CDROM', 60)
            guest.wait_screen(r'No bootable device', 60)


# In 32-bit protected mode, assembled:
#         rdtsc; mov %eax,%ebp; xor $0x9e3779b9,%ebp
#   next: imul $1664525,%ebp,%ebp; add $1013904223,%ebp
#         mov %ebp,%eax; rol $9,%eax               a value
#         mov %ebp,%edx; shr $16,%edx              a port
#         test $0x100,%ebp; jz memory
#         out %al,(%dx); out %ax,(%dx); out %eax,(%dx); in (%dx),%al; in (%dx),%eax; jmp count
# memory: mov %ebp,%ecx; shr $29,%ecx; mov windows(,%ecx,4),%ebx
#         mov %ebp,%ecx; shr $9,%ecx; and $0x3fffc,%ecx
#         mov %eax,(%ebx,%ecx); mov %al,1(%ebx,%ecx); mov (%ebx,%ecx),%edx
#  count: incl 0x500000; jmp next
# windows: VGA, option ROMs, video memory, PCI, IOAPIC, HPET, local APIC, flash
VANDAL = bytes.fromhex(
    '0f3189c581f5b979379e69ed0d66190081c55ff36e3c89e8c1c00989eac1ea10f7c5000100007408ee66efefeced'
    'eb2189e9c1e91d8b1c8d8900100089e9c1e90981e1fcff030089040b88440b018b140bff0500005000ebb1'
    '00000a0000000c00000000fd0000b8fe0000c0fe0000d0fe0000e0fe0000fcff')
LOAD, COUNTER, WANTED = 0x100000, 0x500000, 200000


@contextlib.contextmanager
def multiboot_guest(program, *options):
    """PROGRAM as a Multiboot kernel, in 32-bit protected mode at LOAD + 48."""
    flags = 0x10000                      # with addresses
    image = struct.pack('<8I', 0x1badb002, flags, -(0x1badb002 + flags) & 0xffffffff, LOAD, LOAD,
                        0, 0, LOAD + 48) + bytes(16) + program
    with tempfile.NamedTemporaryFile() as kernel:
        kernel.write(image)
        kernel.flush()
        with Guest(*ACCEL, '-m', '32', '-no-shutdown', '-kernel', kernel.name, *options) as guest:
            yield guest


# In 32-bit protected mode, assembled:
#       mov $0x5658,%edx; mov $0x564d5868,%esi             the port, the magic number
#       mov %esi,%eax; mov $0x45414552,%ebx; mov $41,%ecx; in %dx,%eax        enable
#       mov %esi,%eax; mov $1,%ebx; mov $39,%ecx; in %dx,%eax; mov %eax,0x500000
#       mov %esi,%eax; mov $0x53424152,%ebx; mov $41,%ecx; in %dx,%eax        absolute
# next: mov %esi,%eax; mov $40,%ecx; mov $0x5658,%edx; in %dx,%eax; cmp $4,%ax; jb next
#       mov %esi,%eax; mov $4,%ebx; mov $39,%ecx; in %dx,%eax
#       mov %eax,0x500010; mov %ebx,0x500014; mov %ecx,0x500018; incl 0x500004; jmp next
POINTER = bytes.fromhex(
    'ba58560000be68584d5689f0bb52454145b929000000ed89f0bb01000000b927000000eda30000500089f0bb'
    '52414253b929000000ed89f0b928000000ba58560000ed6683f80472ed89f0bb04000000b927000000eda310'
    '005000891d14005000890d18005000ff0504005000ebc7')


def vmmouse():
    """A driver of the absolute mouse behind the vmport gets a position through CPU registers."""
    def move(x, y):
        guest.qmp('input-send-event', events=[
            {'type': 'abs', 'data': {'axis': 'x', 'value': x}},
            {'type': 'abs', 'data': {'axis': 'y', 'value': y}},
            {'type': 'btn', 'data': {'button': 'left', 'down': True}}])

    with multiboot_guest(POINTER) as guest:
        guest.wait_until(lambda: guest.read_memory(0x500000, 4) == b'JUB4', 'the id', 60)
        guest.wait_until(lambda: any(m['current'] and m['absolute']
                                     for m in guest.qmp('query-mice')), 'absolute', 60)
        move(100, 0x7fff)
        guest.wait_until(lambda: guest.read_memory(0x500004, 4) == bytes([1, 0, 0, 0]), 'it', 60)
        got = struct.unpack('<3I', guest.read_memory(0x500010, 12))
        if got != (0x20, 200, 0xfffe):
            raise GuestError(f'packet {got}')


# In 32-bit protected mode, assembled:
#       mov $0x80002820,%eax; mov $0xcf8,%edx; out %eax,(%dx); mov $0xfc,%dl; in (%dx),%eax; and $0xf0,%al
#       mov %eax,%ebx                                      BAR 4 of device 5
# next: movb $0,0x14(%ebx); movb $3,0x14(%ebx); cmpb $3,0x14(%ebx); je 1f        its status
#       incl 0x500004
#    1: incl 0x500000; jmp next
RESETS = bytes.fromhex(
    'b820280080baf80c0000efb2fced24f089c3c6431400c6431403807b14037406ff0504005000ff0500005000'
    'ebe4')


def virtio_reset():
    """A virtio device on an iothread has been reset when a driver goes on that does not look, like SeaBIOS."""
    def enough():
        done, lost = struct.unpack('<2I', guest.read_memory(0x500000, 8))
        if lost:
            raise GuestError(f'{lost} of {done} resets were not over when the driver went on')
        return done >= 1000

    with multiboot_guest(RESETS, '-object', 'iothread,id=io', '-drive', 'if=none,id=d,file=null-co://,format=raw',
                         '-device', 'virtio-blk-pci,drive=d,iothread=io,addr=5') as guest:
        guest.wait_until(enough, 'resets', 120)

# A modern driver of the disk behind the same BAR, assembled:
#         (BAR 4 of device 5 into %ebx; bus master and memory on; the table below to 0x600000)
#   next: movb $3,0x14(%ebx); movl $1,8(%ebx); movl $0x101,0xc(%ebx); movb $11,0x14(%ebx)
#  queue: movl $0x600000,0x20(%ebx); movl $0x601000,0x28(%ebx); movl $0x602000,0x30(%ebx)
#         movw $1,0x1c(%ebx); movb $15,0x14(%ebx)
#         cmpl $0x600000,0x20(%ebx); jne lost; cmpw $1,0x1c(%ebx); je 1f
#   lost: incl 0x500004
#      1: mov 0x500000,%ebp; test %ebp,%ebp; jz 2f
#         cmpl $0xee,0x605000; jne late; cmpw $0xee,0x602002; je 2f
#   late: incl 0x500008
#      2: movl $0xff,0x605000; movl $0,0x602000; movl $0x10000,0x601000; movw $0,0x3000(%ebx)      a read
#         imul $37,%ebp,%ecx; and $0xfff,%ecx; inc %ecx
#      3: pause; loop 3b; test $1,%ebp; jz 5f                                     every other one is waited for
#      4: pause; cmpl $0x10000,0x602000; jne 4b; cmpb $0,0x605000; jne lost
#      5: test $2,%ebp; jnz 7f
#         movb $0,0x14(%ebx); cmpb $0,0x14(%ebx); je 6f; incl 0x50000c             the device is reset,
#      6: pause; cmpb $0,0x14(%ebx); jne 6b; call mark; jmp next
#      7: movw $1,0x3a(%ebx); cmpw $0,0x3a(%ebx); je 8f; incl 0x500010              or its queue
#      8: pause; cmpw $0,0x3a(%ebx); jne 8b; call mark; jmp queue
#   mark: movl $0,0x601000; movl $0xee,0x605000; movw $0xee,0x602002; incl 0x500000; ret
#  table: .long 0x603000,0,16,0x10001, 0x604000,0,512,0x20003, 0x605000,0,1,2
BUSY_RESETS = bytes.fromhex(
    'b820280080baf80c0000efb2fced24f089c3b804280080b2f8efb2fced0c06efbf00006000bea0011000b90c0000'
    '00f3a5c6431403c7430801000000c7430c01010000c643140bc7432000006000c7432800106000c7433000206000'
    '66c7431c0100c643140f817b2000006000750766837b1c017406ff05040050008b2d0000500085ed741d813d0050'
    '6000ee000000750b66813d02206000ee007406ff0508005000c70500506000ff000000c7050020600000000000c7'
    '05001060000000010066c7830030000000006bcd2581e1ff0f000041f390e2fcf7c501000000741bf390813d0020'
    '60000000010075f2803d00506000000f857bfffffff7c5020000007522c6431400807b14007406ff050c005000f3'
    '90807b140075f8e82b000000e90cffffff66c7433a010066837b3a007406ff0510005000f39066837b3a0075f7e8'
    '05000000e9fcfeffffc7050010600000000000c70500506000ee00000066c70502206000ee00ff0500005000c390'
    '00306000000000001000000001000100004060000000000000020000030002000050600000000000010000000200'
    '0000')


def virtio_busy_reset():
    """A reset with a request in flight, of the device or of the queue, shows as over when it is: nothing that
    the driver writes from then on is lost, nothing is written to its memory, and its next request ends."""
    def enough():
        done, lost, late, busy, busy_queue = struct.unpack('<5I', guest.read_memory(0x500000, 20))
        if lost or late:
            raise GuestError(f'of {done} resets {lost} lost what came next and {late} were not over')
        return done >= 400 and busy >= 40 and busy_queue >= 40

    for more, device in ((['-object', 'iothread,id=io'], ',iothread=io'), ([], '')):
        with multiboot_guest(BUSY_RESETS, *more, '-blockdev', 'null-co,node-name=d,read-zeroes=on,latency-ns=100000',
                             '-device', 'virtio-blk-pci,drive=d,addr=5' + device) as guest:
            guest.wait_until(enough, 'resets', 120)


def vandal():
    """A guest that writes garbage to ports and device memory, through resets of its own making,
    harms nobody but itself."""
    with multiboot_guest(VANDAL) as guest:
        done = resets = still = 0

        def enough():
            """Whatever it has done to itself, pressing the reset button helps."""
            nonlocal done, resets, still
            count, = struct.unpack('<I', guest.read_memory(COUNTER, 4))
            still = still + 1 if count == done else 0
            if still > 20 or guest.qmp('query-status')['status'] != 'running':
                resets, still = resets + 1, 0
                guest.qmp('system_reset')
                guest.qmp('cont')
            done = count
            return done > WANTED or (resets > 8 and done > 1000)

        guest.wait_until(enough, 'garbage', 400)
        guest.qmp('system_reset')
        guest.qmp('query-status')


if __name__ == '__main__':
    run_tests(ipxe_iso, ipxe_lkrn, option_rom, u_boot, empty_iso, truncated_iso, vmmouse,
              virtio_reset, virtio_busy_reset, vandal)
