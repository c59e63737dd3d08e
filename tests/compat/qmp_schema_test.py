#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Our QMP schema against that of the installed QEMU 7.2, structure by structure.

Every command and event of ours must exist there; each argument and each member of ours must be known
there under the same name and with the same type; what is mandatory there is mandatory here.  Names
that begin with x- or rhea- are our own.  Ours may have fewer members, enum values and branches, since
the schema holds only what works.

usage: qmp_schema_test.py PROGRAM [QEMU]       (TAP; skips without QEMU 7.2)
"""
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile


def schema_of(program):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'qmp')
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(1)
        listener.settimeout(30)
        p = subprocess.Popen([program, '-M', 'none', '-S', '-display', 'none', '-qmp', 'unix:' + path],
                             stderr=subprocess.DEVNULL)
        try:
            conn, _ = listener.accept()
            f = conn.makefile('rwb')
            greeting = json.loads(f.readline())
            answers = []
            for command in ('qmp_capabilities', 'query-qmp-schema'):
                f.write(json.dumps({'execute': command}).encode() + b'\n')
                f.flush()
                answers.append(json.loads(f.readline()))
            return greeting['QMP']['version']['qemu'], answers[1]['return']
        finally:
            p.kill()
            p.wait()


class Side:
    def __init__(self, entries):
        self.types = {e['name']: e for e in entries if e['meta-type'] not in ('command', 'event')}
        self.commands = {e['name']: e for e in entries if e['meta-type'] == 'command'}
        self.events = {e['name']: e for e in entries if e['meta-type'] == 'event'}


def compare(ours, theirs, a, b, where, seen, problems):
    """Type A of ours against type B of theirs."""
    if (a, b) in seen:
        return
    seen.add((a, b))
    x, y = ours.types[a], theirs.types[b]
    if x['meta-type'] != y['meta-type']:
        problems.append('%s: %s here, %s there' % (where, x['meta-type'], y['meta-type']))
    elif x['meta-type'] == 'builtin':
        if x['name'] != y['name']:
            problems.append('%s: %s here, %s there' % (where, x['name'], y['name']))
    elif x['meta-type'] == 'enum':
        extra = set(x['values']) - set(y['values'])
        if extra:
            problems.append('%s: values unknown there: %s' % (where, ', '.join(sorted(extra))))
    elif x['meta-type'] == 'array':
        compare(ours, theirs, x['element-type'], y['element-type'], where + '[]', seen, problems)
    elif x['meta-type'] == 'object':
        compare_objects(ours, theirs, x, y, where, seen, problems)


def compare_objects(ours, theirs, x, y, where, seen, problems):
    known = {m['name']: m for m in y['members']}
    for m in x['members']:
        other = known.get(m['name'])
        if not other:
            if not m['name'].startswith(('x-', 'rhea-')):
                problems.append('%s.%s: unknown there' % (where, m['name']))
            continue
        if ('default' in m) != ('default' in other):
            problems.append('%s.%s: optional on one side only' % (where, m['name']))
        compare(ours, theirs, m['type'], other['type'], where + '.' + m['name'], seen, problems)
    have = {m['name'] for m in x['members']}
    for m in y['members']:
        if m['name'] not in have and 'default' not in m:
            problems.append('%s.%s: mandatory there, absent here' % (where, m['name']))
    if 'tag' in x:
        cases = {v['case']: v['type'] for v in y.get('variants', [])}
        for v in x['variants']:
            if v['case'] in cases:
                compare(ours, theirs, v['type'], cases[v['case']], where + ':' + v['case'], seen,
                        problems)


def main():
    program = sys.argv[1]
    qemu = sys.argv[2] if len(sys.argv) > 2 else shutil.which('qemu-system-x86_64', path='/usr/bin')
    if not qemu:
        print('1..0 # SKIP no QEMU to compare with (package qemu-system-x86)')
        return
    version, entries = schema_of(qemu)
    if (version['major'], version['minor']) != (7, 2):
        print('1..0 # SKIP QEMU %(major)d.%(minor)d is not 7.2' % version)
        return
    theirs, ours = Side(entries), Side(schema_of(program)[1])
    names = sorted(ours.commands) + sorted(ours.events)
    print('1..%d' % len(names))
    failed = 0
    for number, name in enumerate(names, 1):
        problems = []
        mine = ours.commands.get(name) or ours.events.get(name)
        other = theirs.commands.get(name) or theirs.events.get(name)
        if name.startswith(('x-', 'rhea-')) and not other:
            pass
        elif not other:
            problems.append('%s: unknown there' % name)
        else:
            for key in ('arg-type', 'ret-type'):
                if key in mine:
                    compare(ours, theirs, mine[key], other[key], name, set(), problems)
            if mine.get('allow-oob', False) != other.get('allow-oob', False):
                problems.append('%s: allow-oob differs' % name)
        failed += bool(problems)
        print('%sok %d %s' % ('not ' if problems else '', number, name))
        for p in problems:
            print('# ' + p)
    sys.exit(failed != 0)


if __name__ == '__main__':
    main()
