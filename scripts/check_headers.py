#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Check that each header compiles alone and has its SPDX line and guard.

usage: check_headers.py [BUILD]      BUILD gives compiler, flags and generated headers
"""
import concurrent.futures
import json
import os
import re
import shlex
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# No headers on their own: they are included several times, or only by one generated file.
SKIP = re.compile(r'(_template|\.inc|_int_rows)\.h$')


def flags_of(build):
    """The build's compiler and flags, with the include folders of all its files."""
    with open(os.path.join(build, 'compile_commands.json'), encoding='utf-8') as f:
        commands = [shlex.split(c['command']) for c in json.load(f) if c['file'].endswith('.c')]
    first = commands[0]
    compiler = first[1] if os.path.basename(first[0]) == 'ccache' else first[0]
    keep = [word for word in first
            if word.startswith(('-D', '-W', '-std', '-f')) and not word.startswith('-fdiag')]
    folders = {word for command in commands for word in command if word.startswith('-I')}
    # meson also passes each target's own folder; headers are included from the root.
    system = sorted('-I' + os.path.join(build, f[2:]) for f in folders
                    if f[2:].startswith('/') or f[2:] in ('.', '..'))
    return [compiler] + keep + system + ['-fsyntax-only', '-x', 'c', '-']


def headers(build):
    """Tracked headers of the folders that this build compiles something of."""
    with open(os.path.join(build, 'compile_commands.json'), encoding='utf-8') as f:
        folders = {os.path.relpath(os.path.join(c['directory'], c['file']), ROOT).split('/')[0]
                   for c in json.load(f)}
    out = subprocess.run(['git', 'ls-files', '*.h'], cwd=ROOT, check=True,
                         capture_output=True, text=True).stdout
    return [h for h in out.split() if not SKIP.search(h) and h.split('/')[0] in folders]


def check(command, header):
    with open(os.path.join(ROOT, header), encoding='utf-8') as f:
        text = f.read()
    if not text.startswith('/* SPDX-License-Identifier: MIT */\n'):
        return f'{header}:1: the SPDX line must come first'
    if not re.search(r'^#ifndef \w+_H\n#define ', text, re.M):
        return f'{header}: has no guard NAME_H'
    source = f'#include "{header}"\n#include "{header}"\ntypedef int not_empty;\n'
    run = subprocess.run(command, input=source, cwd=ROOT, capture_output=True, text=True)
    return None if run.returncode == 0 else f'{header}: does not compile alone:\n{run.stderr}'


def main():
    build = os.path.join(ROOT, sys.argv[1] if len(sys.argv) > 1 else 'build')
    command = flags_of(build)
    bad = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for problem in pool.map(lambda h: check(command, h), headers(build)):
            if problem:
                print(problem)
                bad += 1
    if bad:
        sys.exit(f'check_headers.py: {bad} headers are not in order')
    print('ok: headers compile alone')


main()
