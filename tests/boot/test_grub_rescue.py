#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""GRUB's rescue images: from CD, floppy and disk; typing and listing devices."""
import os

from guest import Guest, need_file, run_tests

FOLDER = '/usr/lib/grub-rescue'
ACCEL = ['-accel', os.environ.get('RHEA_ACCEL', 'tcg')]


def list_devices(guest, *devices):
    """Reach GRUB's command line and type "ls"."""
    guest.wait_screen(r'GNU GRUB|grub>', 90)
    guest.type('c')
    guest.wait_screen('grub>')
    guest.type('\nls\n')
    for device in devices:
        guest.wait_screen(device, 30)


def cdrom():
    """grub-rescue-cdrom.iso by -cdrom lists the CD."""
    iso = need_file(f'{FOLDER}/grub-rescue-cdrom.iso', 'grub-rescue-pc')
    with Guest(*ACCEL, '-m', '64', '-cdrom', iso) as guest:
        list_devices(guest, r'\(cd0?')


def floppy():
    """grub-rescue-floppy.img by -fda lists the floppy."""
    image = need_file(f'{FOLDER}/grub-rescue-floppy.img', 'grub-rescue-pc')
    with Guest(*ACCEL, '-m', '64', '-snapshot', '-boot', 'a',
               '-drive', f'if=floppy,format=raw,file={image}') as guest:
        list_devices(guest, r'\(fd0\)')


def usb_image_as_disk():
    """grub-rescue-usb.img as an IDE disk lists the hard disk."""
    image = need_file(f'{FOLDER}/grub-rescue-usb.img', 'grub-rescue-pc')
    with Guest(*ACCEL, '-m', '64', '-snapshot',
               '-drive', f'format=raw,file={image}') as guest:
        list_devices(guest, r'\(hd0\)')


def disk_on(*devices):
    """The USB image on a controller that is not on the board, first in the boot order."""
    image = need_file(f'{FOLDER}/grub-rescue-usb.img', 'grub-rescue-pc')
    with Guest(*ACCEL, '-m', '64', '-snapshot', '-drive', f'if=none,id=d,format=raw,file={image}',
               *(word for device in devices for word in ('-device', device))) as guest:
        list_devices(guest, r'\(hd0\)')


def nvme_disk():
    """SeaBIOS boots GRUB from an NVMe namespace."""
    disk_on('nvme,drive=d,serial=1,bootindex=1')


def nvme_second_namespace():
    """A namespace that is a device of its own boots, too."""
    disk_on('nvme,id=n,serial=1', 'nvme-ns,bus=n,drive=d,nsid=7,bootindex=1')


def virtio_disk():
    """SeaBIOS boots GRUB from a virtio disk."""
    disk_on('virtio-blk-pci,drive=d,bootindex=1')


def legacy_virtio_disk():
    """The same with nothing but the legacy registers."""
    disk_on('virtio-blk-pci,drive=d,bootindex=1,disable-modern=on')


VIRTIO_SCSI = 'virtio-scsi-pci,id=s'
LSI = 'lsi53c895a,id=s'


def virtio_scsi_disk():
    """SeaBIOS boots GRUB from a disk behind virtio-scsi."""
    disk_on(VIRTIO_SCSI, 'scsi-hd,drive=d,bus=s.0,scsi-id=5,lun=2,bootindex=1')


def lsi_disk():
    """SeaBIOS boots GRUB from a disk behind an LSI53C895A, by scripts of its own."""
    disk_on(LSI, 'scsi-hd,drive=d,bus=s.0,scsi-id=2,bootindex=1')


def ahci_disk():
    """SeaBIOS boots GRUB from a SATA disk."""
    disk_on('ahci,id=a', 'ide-hd,drive=d,bus=a.3,bootindex=1')


def cdrom_on(*devices):
    """The CD in a drive that is not on the board, first in the boot order."""
    iso = need_file(f'{FOLDER}/grub-rescue-cdrom.iso', 'grub-rescue-pc')
    with Guest(*ACCEL, '-m', '64', '-drive', f'if=none,id=d,format=raw,media=cdrom,file={iso}',
               *(word for device in devices for word in ('-device', device))) as guest:
        list_devices(guest, r'\(cd0?')


def ahci_cdrom():
    """SeaBIOS boots GRUB from a SATA CD drive."""
    cdrom_on('ahci,id=a', 'ide-cd,drive=d,bus=a.1,bootindex=1')


def virtio_scsi_cdrom():
    """SeaBIOS boots GRUB from a CD behind virtio-scsi."""
    cdrom_on(VIRTIO_SCSI, 'scsi-cd,drive=d,bus=s.0,scsi-id=1,bootindex=1')


def lsi_cdrom():
    """SeaBIOS boots GRUB from a CD behind an LSI53C895A."""
    cdrom_on(LSI, 'scsi-cd,drive=d,bus=s.0,scsi-id=3,bootindex=1')


if __name__ == '__main__':
    run_tests(cdrom, floppy, usb_image_as_disk, nvme_disk, ahci_disk, virtio_disk, virtio_scsi_disk, lsi_disk,
              ahci_cdrom, slow=[nvme_second_namespace, legacy_virtio_disk, virtio_scsi_cdrom, lsi_cdrom])
