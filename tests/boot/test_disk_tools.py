#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the usual tools of a Linux guest say of its disks: smartctl, hdparm, nvme and those of sg3-utils.

One guest has a disk behind each controller, with serial numbers and world wide names.  It runs COMMANDS; each
has to end with its status and to print what its patterns want.  With RHEA_SYSTEM=qemu-system-x86_64 the same is
asked of QEMU, which knows all of it but the logs that SMART lists.
"""
import os
import re
import shlex
import sys
import tempfile

import fetch_guests
import initrd
from guest import QUIET, Guest, GuestError, need_program, run_tests
from test_disks import ACCEL, MODULES, full_kernel, full_module

PROGRAMS = {'smartctl': 'smartmontools', 'hdparm': 'hdparm', 'nvme': 'nvme-cli',
            **{f'sg_{name}': 'sg3-utils' for name in ('inq', 'vpd', 'modes', 'readcap', 'unmap', 'write_same', 'luns',
                                                      'turs', 'requests', 'verify', 'sync', 'prevent', 'start', 'raw')}}
NVME_MODULES = tuple(os.path.basename(name) for name in fetch_guests.NVME_MODULES)
FIRST_MIB = 16       # the size of the first disk; each of the others is a MiB larger

# The guest's name of a drive, which its size tells; the rest of its -drive; its -device.
DISKS = (
    ('IDE', '', 'ide-hd,drive=IDE,bus=ide.0,serial=IDE-0001,wwn=0x5000c50000000001'),
    ('IDECD', 'media=cdrom', 'ide-cd,drive=IDECD,bus=ide.1,serial=CD-0002,wwn=0x5000c50000000002'),
    ('SATA', 'discard=unmap', 'ide-hd,drive=SATA,bus=a.0,serial=SATA-0003,wwn=0x5000c50000000003,rotation_rate=1,'
                              'model=A MODEL,ver=9.9'),
    ('SCSI', 'discard=unmap', 'scsi-hd,drive=SCSI,bus=s.0,scsi-id=1,serial=SCSI-0004,wwn=0x5000c50000000004,'
                              'port_wwn=0x5000c500000000f4,port_index=1,rotation_rate=7200'),
    ('PLAIN', '', 'scsi-hd,drive=PLAIN,bus=s.0,scsi-id=2,device_id=my-disk,vendor=VENDOR,product=PRODUCT,ver=1.0,'
                  'dpofua=on,removable=on,physical_block_size=4096,max_unmap_size=1048576,max_io_size=1048576,'
                  'min_io_size=4096,opt_io_size=65536,discard_granularity=4096,write-cache=off'),
    ('SCSICD', 'media=cdrom', 'scsi-cd,drive=SCSICD,bus=s.0,scsi-id=3,serial=CD-0005,wwn=0x5000c50000000005'),
    ('LSI', '', 'scsi-hd,drive=LSI,bus=l.0,serial=LSI-0006,wwn=0x5000c50000000006'),
    ('NVME', 'discard=unmap', 'nvme,drive=NVME,serial=NVME-0007'),
    ('SPACE', '', 'nvme-ns,drive=SPACE,bus=n,nsid=2,uuid=12345678-1234-5678-1234-567812345678,eui64=0x1122334455667788'),
)
CONTROLLERS = ('ahci,id=a', 'virtio-scsi-pci,id=s', 'lsi53c895a,id=l', 'nvme,id=n,serial=NVME-0008')

BEGIN = '''b=/bin/busybox
for m in $(cat /modules); do $b insmod /lib/$m.ko || exit 4; done
$b mount -t sysfs sys /sys
i=0
while [ $($b ls -d /sys/block/sd? /sys/block/sr? /sys/block/nvme?n? 2>/dev/null | $b wc -l) -lt $DISKS ]; do
    $b sleep 1
    i=$((i + 1))
    if [ $i = 300 ]; then exit 5; fi
done
run() {
    echo "tools: run $1"
    eval "$1" 2>&1
    echo "tools: status $?"
}
for path in /sys/block/sd? /sys/block/sr? /sys/block/nvme?n?; do
    case $(cat $path/size) in
'''
END = '''echo "tools: end"
echo o >/proc/sysrq-trigger
while :; do $b sleep 100; done
'''

# (command, status, patterns)
COMMANDS = (
    ('$b dd if=/dev/zero bs=4k count=16 2>/dev/null | $b tr "\\000" A >a', 0, []),
    # ATA
    ('smartctl -i /dev/$IDE', 0, ['Device Model: +QEMU HARDDISK', 'Serial Number: +IDE-0001', '5 000c50 000000001',
                                  'SMART support is: Enabled']),
    ('smartctl -a /dev/$IDE', 0, ['test result: PASSED', 'Power_On_Hours', 'No Errors Logged']),
    ('smartctl -x /dev/$SATA', 0, ['Device Model: +A MODEL', 'Serial Number: +SATA-0003', 'Firmware Version: 9.9',
                                   'Rotation Rate: +Solid State Device', 'TRIM Command: +Available', 'No Errors Logged']),
    ('smartctl -t short /dev/$SATA', 0, ['Testing has begun']),
    ('smartctl -l selftest /dev/$SATA', 0, ['Short offline +Completed without error']),
    ('hdparm -I /dev/$IDE', 0, ['Serial Number: +IDE-0001', r'LBA +user addressable sectors: +32768\b',
                                'WWN Device Identifier: 5000c50000000001',
                                r'\*\s+Write cache', r'\*\s+SMART feature set']),
    ('hdparm -I /dev/$SATA', 0, ['Nominal Media Rotation Rate: Solid State Device', r'\*\s+Native Command Queueing',
                                 'Queue depth: 32', 'WWN Device Identifier: 5000c50000000003']),
    ('hdparm -W0 /dev/$SATA; hdparm -W1 /dev/$SATA', 0, ['write-caching =  0', 'write-caching =  1']),
    ('$b dd if=a of=/dev/$SATA conv=fsync; $b blkdiscard -l 32768 /dev/$SATA; echo 3 >/proc/sys/vm/drop_caches; '
     '$b dd if=/dev/$SATA bs=4k count=16 2>/dev/null | $b tr -d "\\000" | $b wc -c', 0, ['^32768$']),
    ('sg_inq /dev/$SATA', 0, ['Vendor identification: ATA', 'Product identification: A MODEL']),
    ('sg_vpd -p 0x83 /dev/$IDECD', 0, ['vendor specific: CD-0002', 'QEMU DVD-ROM', '0x5000c50000000002']),
    # SCSI: identity
    ('sg_inq /dev/$SCSI', 0, ['Vendor identification: QEMU', 'Product identification: QEMU HARDDISK', 'CmdQue=1',
                              'Unit serial number: SCSI-0004']),
    ('sg_inq /dev/$PLAIN', 0, ['RMB=1', 'Vendor identification: VENDOR', 'Product identification: PRODUCT']),
    ('sg_inq /dev/$LSI', 0, ['Product identification: QEMU HARDDISK', 'Unit serial number: LSI-0006']),
    ('sg_vpd -p 0x80 /dev/$SCSI', 0, ['SCSI-0004']),
    ('sg_vpd -p 0x80 /dev/$LSI', 0, ['LSI-0006']),
    ('sg_vpd -p 0x83 /dev/$SCSI', 0, ['0x5000c50000000004', '0x5000c500000000f4', 'Relative target port: 0x1',
                                      'SCSI-0004']),
    ('sg_vpd -p 0x83 /dev/$PLAIN', 0, ['vendor specific: my-disk']),
    ('sg_vpd -p 0x83 /dev/$LSI', 0, ['0x5000c50000000006']),
    ('sg_vpd -p 0x83 /dev/$SCSICD', 0, ['CD-0005', '0x5000c50000000005']),
    # SCSI: limits, and what they do
    ('sg_vpd -p 0xb0 /dev/$SCSI', 0, ['Maximum unmap LBA count: 2097152$']),
    ('sg_vpd -p 0xb0 /dev/$PLAIN', 0, ['Maximum transfer length: 2048 blocks', 'Maximum unmap LBA count: 2048$',
                                       'Optimal transfer length granularity: 8 ', 'Optimal transfer length: 128 ',
                                       'Optimal unmap granularity: 8 ']),
    ('sg_vpd -p 0xb1 /dev/$SCSI', 0, ['Nominal rotation rate: 7200 rpm']),
    ('sg_vpd -p 0xb2 /dev/$SCSI', 0, [r'\(LBPU\): 1', r'\(LBPWS\): 1', r'\(LBPWS10\): 1', 'Provisioning type: 2']),
    ('sg_vpd -p 0xb2 /dev/$LSI', 0, [r'\(LBPU\): 1']),
    ('sg_modes -a /dev/$SCSI', 0, ['Caching', 'Read-Write error recovery']),
    ('sg_modes -p 8 /dev/$PLAIN', 0, [' 08 12 00 ']),
    ('sg_modes -p 8 /dev/$SCSI', 0, [' 08 12 04 ']),
    ('sg_readcap -l /dev/$SCSI', 0, ['lbpme=1', 'Logical block length=512 bytes', 'Number of logical blocks=38912']),
    ('sg_readcap -l /dev/$PLAIN', 0, ['Logical blocks per physical block exponent=3']),
    ('sg_luns /dev/$SCSI', 0, ['lun']),
    ('sg_turs /dev/$LSI', 0, []),
    ('sg_requests /dev/$LSI', 0, []),
    ('sg_sync /dev/$LSI', 0, []),
    ('sg_prevent /dev/$PLAIN; sg_prevent --allow /dev/$PLAIN', 0, []),
    ('sg_start --stop /dev/$PLAIN; sg_start --start /dev/$PLAIN', 0, []),
    ('sg_verify --lba=0 --count=64 /dev/$SCSI', 0, []),
    ('sg_raw -r 512 /dev/$SCSI 28 00 7f ff ff ff 00 00 01 00', 22, ['Logical block address out of range']),
    ('sg_raw /dev/$LSI c0 00 00 00 00 00', 9, ['Invalid command operation code']),
    ('$b dd if=a of=/dev/$SCSI conv=fsync', 0, []),
    ('sg_unmap --lba=8 --num=8 --force /dev/$SCSI', 0, []),
    ('sg_write_same --10 --lba=24 --num=8 /dev/$SCSI', 0, []),
    ('sg_write_same --16 --unmap --lba=40 --num=8 /dev/$SCSI', 0, []),
    ('echo 3 >/proc/sys/vm/drop_caches; for i in 0 1 2 3 4 5 6; do '
     '$b dd if=/dev/$SCSI bs=4k skip=$i count=1 2>/dev/null | $b tr -d "\\000" | $b wc -c; done | $b tr "\\n" " "', 0, ['4096 0 4096 0 4096 0 4096']),
    # What names links in /dev/disk/by-id
    ('cat /sys/block/$SCSI/device/wwid', 0, [r'naa\.5000c50000000004']),
    ('cat /sys/block/$LSI/device/wwid', 0, [r'naa\.5000c50000000006']),
    ('cat /sys/block/$IDE/device/wwid', 0, [r'naa\.5000c50000000001']),
    ('cat /sys/block/$SATA/device/wwid', 0, [r'naa\.5000c50000000003']),
    ('cat /sys/block/$NVME/wwid /sys/block/$NVME/device/serial', 0, [r'nvme\.1b36-4e564d452d30303037-', 'NVME-0007']),
    ('cat /sys/block/$PLAIN/queue/physical_block_size /sys/block/$PLAIN/queue/optimal_io_size '
     '/sys/block/$PLAIN/queue/discard_granularity', 0, [r'4096\s+65536\s+4096\b']),
    ('cat /sys/block/$SATA/queue/rotational /sys/block/$SCSI/queue/rotational', 0, [r'\b0\s+1\b']),
    # NVMe
    ('smartctl -x /dev/$NVME', 0, ['Serial Number: +NVME-0007', 'test result: PASSED', 'No Errors Logged']),
    ('nvme list', 0, [r'NVME-0007 .*QEMU NVMe Ctrl', r'NVME-0008 .*QEMU NVMe Ctrl']),
    ('nvme id-ctrl /dev/$NVME', 0, [r'vid +: 0x1b36', r'sn +: NVME-0007', r'mdts +: 7', r'nn +: 256', r'vwc +: 0x7',
                                    r'subnqn +: nqn\.2019-08\.org\.qemu:NVME-0007']),
    ('nvme id-ns /dev/$NVME', 0, [r'nsze +: 0xb800', r'flbas +: 0', r'lbads:9 +rp:0 \(in use\)']),
    ('nvme ns-descs /dev/$SPACE', 0, ['12345678-1234-5678-1234-567812345678', '1122334455667788']),
    ('nvme smart-log /dev/$NVME', 0, [r'critical_warning\s*: 0\b', r'available_spare\s*: 0%',
                                      r'host_read_commands\s*: [1-9]', r'media_errors\s*: 0\b']),
    ('nvme error-log /dev/$NVME', 0, ['Error Log Entries for device:nvme']),
    ('nvme get-feature -f 6 -H /dev/$NVME', 0, [r'Volatile Write Cache Enable \(WCE\): Enabled']),
    ('nvme set-feature -f 6 -v 0 /dev/${NVME%n1} && nvme get-feature -f 6 -H /dev/$NVME', 0,
     [r'Volatile Write Cache Enable \(WCE\): Disabled']),
    ('nvme get-feature -f 7 -H /dev/$NVME', 0, [r'Number of IO Completion Queues Allocated \(NCQA\): 64\b']),
    ('nvme get-feature -f 4 -H /dev/$NVME', 0, [r'Over Temperature Threshold']),
    ('nvme write-zeroes -s 0 -c 7 /dev/$NVME && nvme dsm -d -s 0 -b 8 /dev/$NVME && nvme flush /dev/$NVME', 0,
     ['Write Zeroes Success', 'NVMe DSM: success', 'NVMe Flush: success']),
    ('nvme get-feature -f 0x30 /dev/$NVME', 1, ['Invalid Field in Command']),
)




def script():
    """The guest's: names for the disks, then the commands."""
    names = [f'{(FIRST_MIB + i) * 2048}) {name}=${{path##*/}} ;;\n' for i, (name, _, _) in enumerate(DISKS)]
    runs = [f'run {shlex.quote(command)}\n' for command, _, _ in COMMANDS]
    return BEGIN + ''.join(names) + 'esac\ndone\n' + ''.join(runs) + END


def program_files():
    files, libraries = [], set()
    for name, package in PROGRAMS.items():
        path = os.path.realpath(need_program(name, package))
        files.append((f'bin/{name}', path))
        libraries.update(initrd.libraries(path))
    return files + [(path[1:], path) for path in sorted(libraries)]


def disk_options(folder):
    options = []
    for controller in CONTROLLERS:
        options += ['-device', controller]
    for i, (name, more, device) in enumerate(DISKS):
        with open(os.path.join(folder, name), 'wb') as f:
            f.truncate((FIRST_MIB + i) << 20)
        options += ['-drive', f'if=none,id={name},format=raw,file={folder}/{name}' + (more and f',{more}'),
                    '-device', device]
    return options


def check(log):
    """What is wrong with the answers, command by command."""
    wrong = []
    for command, status, patterns in COMMANDS:
        match = re.search(re.escape(f'tools: run {command}\n') + r'(.*?)tools: status (\d+)\n', log, re.S)
        if not match:
            wrong.append(f'{command}: did not run')
            continue
        output = match.group(1)
        missing = [pattern for pattern in patterns if not re.search(pattern, output, re.M)]
        if missing or int(match.group(2)) != status:
            wrong.append(f'{command}: status {match.group(2)}, not {status}; {missing} not in:\n{output}')
    return wrong


def answers():
    """Each tool is told what the command line said, and what it asks for is done."""
    os.environ['PATH'] += ':/usr/sbin:/sbin'
    modules = (*MODULES, *NVME_MODULES)
    files = [*program_files(), *(full_module(name) for name in NVME_MODULES)]
    kernel, ramdisk = full_kernel('tools', script(), files, modules)
    with tempfile.TemporaryDirectory(prefix='rhea-tools-') as folder:
        with Guest(*ACCEL, '-M', 'pc', '-m', '512', '-nodefaults', '-kernel', kernel, '-initrd', ramdisk,
                   '-append', f'{QUIET} DISKS={len(DISKS)}', *disk_options(folder), timeout=900) as guest:
            match = guest.wait_serial(r'tools: end|initrd: status \d')
            if match.group(0) != 'tools: end':
                raise GuestError(f'the guest gave up, {match.group(0)}: {guest.serial_log[-3000:]}')
            guest.wait_exit()
            wrong = check(guest.serial_log.replace('\r', ''))
    if wrong:
        raise GuestError('\n'.join(wrong))


if __name__ == '__main__':
    sys.stdout.reconfigure(line_buffering=True)
    run_tests(slow=[answers])
