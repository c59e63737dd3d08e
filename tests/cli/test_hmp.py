#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The human monitor: what it knows, what it says about what it does not know, disks by it."""
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'boot'))
from guest import Guest, GuestError, Skip, run_tests, system_program  # noqa: E402

MIB = 1 << 20


def expect(guest, line, pattern):
    text = guest.hmp(line)
    if not re.search(pattern, text):
        raise GuestError(f'{line}: {text!r}')
    return text


def unknown_commands():
    """A misspelt command gets a suggestion, one that QEMU has and Rhea has not is named as such."""
    with Guest('-machine', 'none', serial=False, paused=True) as guest:
        expect(guest, 'stpo', r"^unknown command: 'stpo'; did you mean 'stop'\?\s*$")
        expect(guest, 'info blcok', r"^unknown command: 'info blcok'; did you mean 'block'\?\s*$")
        expect(guest, 'zzzzzz', r"^unknown command: 'zzzzzz'\s*$")
        expect(guest, 'savevm a', r"'savevm'.*Rhea does not support it yet")
        expect(guest, 'info usernet', r"'info usernet'.*Rhea does not support it yet")


def each_info_item():
    """Each item that "help info" lists answers, on a whole machine and on none."""
    for options in (['-machine', 'pc'], ['-machine', 'none']):
        with Guest(*options, serial=False, paused=True) as guest:
            items = re.findall(r'^info ([\w-]+)', guest.hmp('help info'), re.MULTILINE)
            assert len(items) > 25, items
            for item in items:
                text = guest.hmp(f'info {item}')
                if 'unknown command' in text or 'does not support it yet' in text:
                    raise GuestError(f'info {item}: {text}')
        if options[1] == 'none':
            continue
        with Guest(*options, serial=False, paused=True) as guest:
            for item, pattern in {
                    'registers': r'EIP=0000fff0', 'status': r'VM status: paused',
                    'mem': 'PG disabled', 'tlb': 'PG disabled', 'pci': r'PCI device 8086:1237',
                    'mtree': r'pc\.ram', 'qtree': r'dev: i440FX', 'qom-tree': r'/machine \(pc-i440fx',
                    'pic': r'pic0: irr=', 'irq': 'IRQ statistics', 'cpus': r'\* CPU #0: thread_id=',
                    'block': r'ide1-cd0: \[not inserted\]', 'chardev': r'filename=',
                    'version': r'^7\.2\.\d+', 'lapic': 'LVTT', 'ramblock': r'pc\.ram',
                    'blockstats': r'ide1-cd0: rd_bytes=0', 'block-jobs': 'No active jobs',
                    'hotpluggable-cpus': r'socket-id: "0"', 'mice': 'Mouse #'}.items():
                expect(guest, f'info {item}', pattern)


def each_command_of_qemu():
    """What the installed QEMU lists is known here, if only as not yet there."""
    qemu = '/usr/bin/qemu-system-x86_64'
    if not shutil.which(qemu) or os.path.samefile(os.path.realpath(qemu), system_program()):
        raise Skip(f'{qemu} is missing (Debian package qemu-system-x86)')
    text = subprocess.run([qemu, '-machine', 'none', '-display', 'none', '-monitor', 'stdio'],
                          input='help\nhelp info\nquit\n', capture_output=True, text=True,
                          timeout=60, check=True).stdout
    names = re.findall(r'^((?:info )?[\w-]+)(?:\|\w+)? .*--', text.replace('\r', '\n'), re.MULTILINE)
    assert len(names) > 100, names
    with Guest('-machine', 'none', serial=False, paused=True) as guest:
        known = set(re.findall(r'^((?:info )?[\w-]+)', guest.hmp('help') + guest.hmp('help info'),
                               re.MULTILINE))
        lost = [name for name in names if name not in known and
                'does not support it yet' not in guest.hmp(name)]
        if lost:
            raise GuestError(f'unknown: {lost}')


def disks():
    """Resize, snapshots, limits and copies of a disk by the human monitor."""
    with tempfile.TemporaryDirectory() as folder:
        disk, overlay, copy = (f'{folder}/{name}' for name in ('disk', 'overlay', 'copy'))
        with open(disk, 'wb') as image:
            image.truncate(MIB)
        with Guest('-drive', f'if=none,id=d,file={disk},format=raw', '-device',
                   'virtio-blk-pci,drive=d', serial=False, paused=True) as guest:
            size = lambda: guest.qmp('query-block')[0]['inserted']['image']['virtual-size']  # noqa: E731
            assert guest.hmp('block_resize d 4') == '' and size() == 4 * MIB, size()
            assert guest.hmp('block_resize d 2560K') == '' and size() == 2560 << 10, size()
            expect(guest, 'block_resize d 2x', r"size expects a size.*'2x'")
            expect(guest, 'block_resize', 'string expected.*\\s.*Try "help block_resize"')
            assert guest.hmp('block_set_io_throttle d 0 0 0 100 0 0') == ''
            expect(guest, 'drive_mirror nope x', r'^Error: .*nope')
            assert 'Error' not in guest.hmp(f'drive_backup -f d {copy} qcow2')
            guest.wait_event('BLOCK_JOB_COMPLETED')
            assert 'Error' not in guest.hmp(f'snapshot_blkdev d {overlay}')
            expect(guest, 'info block d', re.escape(overlay) + r'(.|\n)*Cache mode: +writeback'
                                                               r'(.|\n)*Backing file: +' + disk)
            assert guest.hmp('snapshot_blkdev_internal d one') == ''
            expect(guest, 'snapshot_blkdev_internal d one', r'^Error: .*one')
            assert 'Error' not in guest.hmp('snapshot_delete_blkdev_internal d one')
            assert guest.hmp('block_stream d') == ''
            guest.wait_event('BLOCK_JOB_COMPLETED')
            expect(guest, 'info block-jobs', 'No active jobs')


def chardevs():
    """Chardevs come and change by option strings."""
    with Guest('-machine', 'none', serial=False, paused=True) as guest:
        assert guest.hmp('chardev-add ringbuf,id=c,size=64') == ''
        expect(guest, 'chardev-add nul,id=d', r"^Error: 'nul'.*did you mean 'null'")
        assert guest.hmp('chardev-change c null') == ''
        expect(guest, 'info chardev', r'c: filename=null')
        expect(guest, 'chardev-change c path=x', r'^Error: the kind')
        expect(guest, 'chardev-change nope null', r'^Error: .*nope')


SERIAL, PARALLEL = ('isa-serial,chardev=c', 'isa-parallel,chardev=c')
DEFAULTS = 'VGA floppy ide-cd isa-parallel isa-serial'
# Options, and what "info qtree" has of these kinds then; QEMU 7.2 agrees.
DEFAULT_ROWS = [
    ([], DEFAULTS),
    (['-device', 'VGA'], DEFAULTS),
    (['-device', SERIAL, '-chardev', 'null,id=c'], DEFAULTS),
    (['-device', PARALLEL, '-chardev', 'null,id=c'], DEFAULTS),
    (['-device', 'floppy'], DEFAULTS),
    (['-device', '{"driver":"ide-cd"}'], DEFAULTS),
    (['-device', 'isa-fdc,iobase=0x370'], 'VGA ide-cd isa-parallel isa-serial'),
    (['-drive', 'if=none,id=x,format=raw,file=IMAGE', '-device', 'ide-hd,drive=x'],
     'VGA floppy ide-hd isa-parallel isa-serial'),
    (['-fda', 'IMAGE'], DEFAULTS),
    (['-fdb', 'IMAGE'], 'VGA floppy floppy ide-cd isa-parallel isa-serial'),
    (['-hdc', 'IMAGE'], 'VGA floppy ide-hd isa-parallel isa-serial'),
    (['-device', SERIAL, '-chardev', 'null,id=c', '-serial', 'null'],
     'VGA floppy ide-cd isa-parallel isa-serial isa-serial'),
    (['-serial', 'none', '-parallel', 'none', '-vga', 'none'], 'floppy ide-cd'),
    (['-nodefaults'], ''),
    (['-machine', 'none'], ''),
]


def default_devices():
    """A device on the command line takes the place of the default one of its kind."""
    with tempfile.NamedTemporaryFile() as image:
        image.truncate(1474560)
        for options, wanted in DEFAULT_ROWS:
            words = [word.replace('IMAGE', image.name) for word in options]
            with Guest(*words, serial=False, paused=True) as guest:
                found = re.findall(r'dev: (VGA|floppy|ide-[ch]d|isa-parallel|isa-serial),',
                                   guest.hmp('info qtree'))
            if sorted(found) != wanted.split():
                raise GuestError(f'{options}: {sorted(found)}')
        with Guest(serial=False, paused=True) as guest:
            assert guest.hmp(f'change floppy0 {image.name} raw') == ''
            expect(guest, 'info block floppy0', re.escape(image.name))


if __name__ == '__main__':
    run_tests(unknown_commands, each_info_item, each_command_of_qemu, disks, chardevs,
              default_devices)
