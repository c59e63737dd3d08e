#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Collect the programs in BUILD/bin, with links under QEMU's names.

usage: link_bins.py STAMP QEMU_NAMES(true|false) PROGRAM...
"""
import os
import sys


def link(target, path):
    if os.path.islink(path) or os.path.exists(path):
        if os.path.islink(path) and os.readlink(path) == target:
            return
        os.unlink(path)
    os.symlink(target, path)


def main():
    stamp, qemu_names, programs = sys.argv[1], sys.argv[2] == 'true', sys.argv[3:]
    folder = os.path.join(os.path.dirname(os.path.abspath(stamp)), 'bin')
    os.makedirs(folder, exist_ok=True)
    for program in programs:
        name = os.path.basename(program)
        link(os.path.relpath(os.path.abspath(program), folder), os.path.join(folder, name))
        if qemu_names and name.startswith('rhea-'):
            link(name, os.path.join(folder, 'qemu-' + name[len('rhea-'):]))
    with open(stamp, 'w', encoding='utf-8') as f:
        f.write('\n'.join(programs) + '\n')


main()
