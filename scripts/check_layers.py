#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Check that includes point down the layers of docs/devel/architecture.md.

A folder may include itself, folders of a lower rank, and the published header of a peer.
Prints each breach as FILE:LINE and exits with 1 if there is any.
"""
import os
import re
import sys

# Rank by folder; equal ranks are peers.
RANKS = {
    'base': 0, 'qapi': 1, 'vm': 10, 'target-x86': 20, 'accel': 30, 'hw': 40,
    'block': 50, 'net': 50, 'chardev': 50, 'audio': 50, 'ui': 50, 'roms': 50,
    'monitor': 60, 'migration': 60, 'gdbstub': 60, 'system': 70, 'tools': 80,
    'tests': 90,
}
# Headers where peers (and those below) meet.
PUBLISHED = {'block/backend.h', 'net/nic.h', 'chardev/frontend.h', 'chardev/kind.h', 'audio/voice.h',
             'ui/console.h', 'ui/input.h', 'roms/firmware.h'}
# Only these may look into the CPU: the machines, the accelerators, the debugger.
CPU_HEADER = 'target-x86/cpu.h'
CPU_USERS = ('target-x86', 'accel', 'gdbstub', 'hw/i386')
# block/ serves tools that have no machine.
FORBIDDEN = {'block': ('vm',)}
# Fakes of back ends are for tests of any layer.
TEST_ONLY = {'chardev/fake.h', 'block/fake.h', 'vm/bench.h'}

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')


def breach(path, target):
    """Why PATH may not include TARGET, or None."""
    own, other = path.split('/')[0], target.split('/')[0]
    if own not in RANKS or other not in RANKS or own == other:
        return None
    is_test = path.endswith('_test.c') or os.path.basename(path) == 'fake.c'
    if is_test and target in TEST_ONLY | {CPU_HEADER}:
        return None
    if other in FORBIDDEN.get(own, ()):
        return f'{own}/ must not include {other}/'
    if target == CPU_HEADER and not path.startswith(CPU_USERS):
        return 'only hw/i386/, accel/ and gdbstub/ include the CPU'
    if target in PUBLISHED:
        return None
    if RANKS[other] > RANKS[own]:
        return f'{other}/ is above {own}/'
    if RANKS[other] == RANKS[own]:
        return f'{other}/ is a peer of {own}/ and this is not its published header'
    return None


def main():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    breaches = 0
    for folder in RANKS:
        for where, _, names in os.walk(os.path.join(root, folder)):
            for name in sorted(names):
                if not name.endswith(('.c', '.h')):
                    continue
                full = os.path.join(where, name)
                path = os.path.relpath(full, root)
                with open(full, encoding='utf-8') as f:
                    for number, line in enumerate(f, 1):
                        match = INCLUDE.match(line)
                        reason = match and breach(path, match.group(1))
                        if reason:
                            print(f'{path}:{number}: "{match.group(1)}": {reason}')
                            breaches += 1
    if breaches:
        sys.exit(f'check_layers.py: {breaches} includes point the wrong way')
    print('ok: includes point down')


main()
