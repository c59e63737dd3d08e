#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Unpack the Debian packages that the tests of this folder boot, below BUILD/guests/PACKAGE.

usage: fetch_guests.py [--build DIR] [--try] [PACKAGE...]

Nothing is installed and the host's package lists stay as they are: packages come through apt with
lists and a cache of its own below BUILD/guests, as any user.  Only the files that tests boot are
unpacked, and what is there is not fetched again.  With --try, a failure (no network, no apt)
is one line and no error: the tests then skip and name the package.
"""
import argparse
import glob
import os
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

INSTALLER = './usr/lib/debian-installer/images/12/amd64/{}/debian-installer/amd64/{}'
# For disks on IDE, AHCI and SCSI, in an order in which they can be loaded.
MODULES = ('drivers/scsi/scsi_common', 'drivers/scsi/scsi_mod', 'drivers/ata/libata', 'drivers/ata/libahci',
           'drivers/ata/ahci', 'drivers/ata/ata_piix', 'drivers/scsi/scsi_transport_spi',
           'drivers/scsi/sym53c8xx_2/sym53c8xx',
           'drivers/virtio/virtio_ring', 'drivers/virtio/virtio', 'drivers/virtio/virtio_pci_legacy_dev',
           'drivers/virtio/virtio_pci_modern_dev', 'drivers/virtio/virtio_pci', 'drivers/scsi/virtio_scsi',
           'lib/crc64', 'crypto/crc64_rocksoft_generic', 'lib/crc64-rocksoft',
           'crypto/crct10dif_common', 'crypto/crct10dif_generic', 'lib/crc-t10dif', 'block/t10-pi',
           'drivers/scsi/sd_mod', 'drivers/cdrom/cdrom', 'drivers/scsi/sr_mod', 'lib/crc16',
           'crypto/crc32c_generic', 'lib/libcrc32c', 'fs/mbcache', 'fs/jbd2/jbd2', 'fs/ext4/ext4',
           'fs/isofs/isofs')
FLOPPY_MODULES = ('drivers/block/floppy',)
NVME_MODULES = ('drivers/nvme/host/nvme-core', 'drivers/nvme/host/nvme')
# What tests ask for: the architecture; the package; for a meta-package, what the name of the
# dependency begins with that is taken instead; which of its files.
PACKAGES = {
    'xen-hypervisor': ('amd64', 'xen-hypervisor-4.17-amd64', None, ['./boot/*']),
    'linux-amd64': ('amd64', 'linux-image-amd64', 'linux-image-',
                    ['./boot/vmlinuz-*'] + [f'./lib/modules/*/kernel/{name}.ko'
                     for name in MODULES + FLOPPY_MODULES + NVME_MODULES]),
    'debian-installer': ('amd64', 'debian-installer-12-netboot-amd64', None,
                         [INSTALLER.format(kind, name) for kind in ('text', 'gtk')
                          for name in ('linux', 'initrd.gz')]),
    'gnumach': ('i386', 'gnumach-image-1-486', 'gnumach-image-', ['./boot/*']),
    'linux-686-pae': ('i386', 'linux-image-686-pae', 'linux-image-', ['./boot/vmlinuz-*']),
    'busybox-i386': ('i386', 'busybox-static', None, ['./bin/busybox']),
}


class FetchError(Exception):
    pass


def run(command, folder):
    result = subprocess.run(command, cwd=folder, text=True, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if line.startswith('E: ')]
        raise FetchError(lines[0][3:].strip() if lines else
                         f'{command[0]}: status {result.returncode}')
    return result.stdout


class Apt:
    """apt for one architecture, with folders of its own."""

    def __init__(self, folder, arch):
        own = os.path.join(folder, 'apt-' + arch)
        for name in ('lists/partial', 'cache/archives/partial'):
            os.makedirs(os.path.join(own, name), exist_ok=True)
        self.folder = folder
        self.options = []
        for option in (f'APT::Architecture={arch}', f'APT::Architectures={arch}',
                       f'Dir::State::lists={own}/lists', f'Dir::Cache={own}/cache',
                       'Dir::State::status=/dev/null', 'APT::Sandbox::User=', 'Acquire::Retries=1',
                       'APT::Update::Error-Mode=any',
                       'Acquire::http::Timeout=20', 'Acquire::https::Timeout=20'):
            self.options += ['-o', option]
        self.updated = False
        self.trouble = ''           # of the update

    def run(self, tool, *words):
        return run([tool, *self.options, *words], self.folder)

    def update(self):
        """Once a run: lists of last week name files that the archive may no longer have.

        One source that fails (a mirror in the middle of its update) is no harm yet."""
        if not self.updated:
            self.updated = True
            try:
                self.run('apt-get', 'update')
            except FetchError as error:
                self.trouble = f' ({error})'

    def download(self, package, prefix):
        """The path of the .deb."""
        self.update()
        try:
            if prefix:
                lines = self.run('apt-cache', 'depends', package).splitlines()
                names = [line.split()[-1] for line in lines if f'Depends: {prefix}' in line]
                package = names[0] if names else package
            self.run('apt-get', 'download', package)
        except FetchError as error:
            raise FetchError(f'{error}{self.trouble}') from None
        files = glob.glob(os.path.join(self.folder, package + '_*.deb'))
        if not files:
            raise FetchError(f'apt-get downloaded no {package}')
        return max(files, key=os.path.getmtime)


def unpack(package, target, patterns):
    """The files of PATTERNS, or nothing: TARGET appears when it is complete."""
    partial = target + '.new'
    shutil.rmtree(partial, ignore_errors=True)
    os.makedirs(partial)
    with subprocess.Popen(['dpkg-deb', '--fsys-tarfile', package], stdout=subprocess.PIPE) as tar:
        result = subprocess.run(['tar', '-x', '-C', partial, '--no-same-owner', '--wildcards',
                                 *patterns], stdin=tar.stdout, stderr=subprocess.PIPE, text=True,
                                check=False)
    if result.returncode:
        shutil.rmtree(partial, ignore_errors=True)
        raise FetchError(f'{os.path.basename(package)}: {result.stderr.strip().splitlines()[0]}')
    shutil.rmtree(target, ignore_errors=True)      # what an older list asked for
    os.rename(partial, target)


def fetch(folder, name, apts):
    arch, package, prefix, patterns = PACKAGES[name]
    target = os.path.join(folder, name)
    if all(glob.glob(os.path.join(target, pattern)) for pattern in patterns):
        return
    print(f'fetching guest {name}: Debian package {package} ({arch})', flush=True)
    if arch not in apts:
        apts[arch] = Apt(folder, arch)
    deb = apts[arch].download(package, prefix)
    unpack(deb, target, patterns)
    os.unlink(deb)


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument('--build', default=os.path.join(ROOT, 'build'))
    parser.add_argument('--try', action='store_true', dest='lenient')
    parser.add_argument('packages', nargs='*', metavar='PACKAGE', help=', '.join(PACKAGES))
    args = parser.parse_args()
    unknown = [p for p in args.packages if p not in PACKAGES]
    if unknown:
        sys.exit(f"no guest '{unknown[0]}'; known: {', '.join(PACKAGES)}")
    folder = os.path.join(os.path.abspath(args.build), 'guests')
    os.makedirs(folder, exist_ok=True)
    apts, failed = {}, False
    for name in args.packages or PACKAGES:
        try:
            fetch(folder, name, apts)
        except (FetchError, OSError) as error:
            print(f'guest {name} was not fetched, its tests will skip: {error}', file=sys.stderr)
            failed = True
    sys.exit(1 if failed and not args.lenient else 0)


if __name__ == '__main__':
    main()
