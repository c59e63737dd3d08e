#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Unpack the Debian packages that the tests of this folder boot, below BUILD/guests/PACKAGE.

usage: fetch_guests.py [--build DIR] [PACKAGE...]

Nothing is installed.  i386 packages come through apt with an architecture and a cache of its own,
so that the host's package lists are left alone.  Tests skip a guest that was not fetched.
"""
import argparse
import glob
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# What tests ask for: the architecture, and the package, whose dependency of that prefix is taken
# where it is a meta-package.
PACKAGES = {
    'xen-hypervisor': ('amd64', 'xen-hypervisor-4.17-amd64', None),
    'linux-amd64': ('amd64', 'linux-image-amd64', 'linux-image-'),
    'debian-installer': ('amd64', 'debian-installer-12-netboot-amd64', None),
    'gnumach': ('i386', 'gnumach-image-1-486', 'gnumach-image-'),
    'linux-686-pae': ('i386', 'linux-image-686-pae', 'linux-image-'),
    'busybox-i386': ('i386', 'busybox-static', None),
}


def apt(arch, folder, command, *words):
    options = []
    if arch != 'amd64':
        own = os.path.join(folder, 'apt-' + arch)
        for name in ('lists/partial', 'cache/archives/partial'):
            os.makedirs(os.path.join(own, name), exist_ok=True)
        options = ['-o', f'APT::Architecture={arch}', '-o', f'APT::Architectures={arch}',
                   '-o', f'Dir::State::lists={own}/lists', '-o', f'Dir::Cache={own}/cache',
                   '-o', 'Dir::State::status=/dev/null']
    return subprocess.run([command, *options, *words], cwd=folder, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)


def fetch(folder, name):
    arch, package, prefix = PACKAGES[name]
    target = os.path.join(folder, name)
    if os.path.isdir(target):
        return None
    if arch != 'amd64' and not glob.glob(os.path.join(folder, 'apt-' + arch, 'lists', '*_Packages')):
        apt(arch, folder, 'apt-get', 'update')          # partly failing is no harm
    if prefix:
        lines = apt(arch, folder, 'apt-cache', 'depends', package).stdout.splitlines()
        names = [line.split()[-1] for line in lines if f'Depends: {prefix}' in line]
        package = names[0] if names else package
    print(f'{name}: fetching {package} ({arch})')
    result = apt(arch, folder, 'apt-get', 'download', package)
    files = glob.glob(os.path.join(folder, package + '_*.deb'))
    if result.returncode or not files:
        return f'{name}: {result.stderr.strip() or "nothing was downloaded"}'
    subprocess.run(['dpkg-deb', '-x', files[0], target + '.new'], check=True)
    os.rename(target + '.new', target)
    os.unlink(files[0])
    return None


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument('--build', default=os.path.join(ROOT, 'build'))
    parser.add_argument('packages', nargs='*', metavar='PACKAGE', help=', '.join(PACKAGES))
    args = parser.parse_args()
    unknown = [p for p in args.packages if p not in PACKAGES]
    if unknown:
        sys.exit(f"no guest '{unknown[0]}'; known: {', '.join(PACKAGES)}")
    folder = os.path.join(os.path.abspath(args.build), 'guests')
    os.makedirs(folder, exist_ok=True)
    errors = [e for e in (fetch(folder, p) for p in args.packages or PACKAGES) if e]
    sys.exit('\n'.join(errors) if errors else 0)


if __name__ == '__main__':
    main()
