#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""CPU models and their properties against those of the installed QEMU 7.2, by QMP.

Every model of theirs exists here with the same type, alias and safety; its expansion has the same
features, but for a few that no CPU of ours has a place for; every feature of theirs is a
property here.

usage: cpu_models_test.py PROGRAM [QEMU]       (TAP; skips without QEMU 7.2)
"""
import json
import shutil
import subprocess
import sys

# Of nested SVM, and the control of split locks: they may be switched off here.
ABSENT = {'split-lock-detect', 'svm', 'npt', 'nrip-save', 'nrip_save', 'svme-addr-chk', 'vgif',
          'v-vmsave-vmload'}


class Program:
    """One that talks QMP on its standard input and output."""

    def __init__(self, path):
        self.process = subprocess.Popen([path, '-M', 'pc', '-accel', 'tcg', '-S', '-display', 'none',
                                         '-nodefaults', '-smp', '2,maxcpus=4', '-qmp', 'stdio'],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True)
        version = json.loads(self.process.stdout.readline())['QMP']['version']['qemu']
        self.version = (version['major'], version['minor'])
        self.qmp('qmp_capabilities')

    def qmp(self, command, **arguments):
        arguments = {k.rstrip('_').replace('_', '-'): v for k, v in arguments.items()}
        self.process.stdin.write(json.dumps({'execute': command, 'arguments': arguments}) + '\n')
        self.process.stdin.flush()
        while True:
            answer = json.loads(self.process.stdout.readline())
            if 'event' not in answer:
                return answer.get('return', answer.get('error'))

    def close(self):
        self.process.kill()
        self.process.wait()


def definitions(program):
    return {d['name']: {k: v for k, v in d.items() if k != 'unavailable-features'}
            for d in program.qmp('query-cpu-definitions')}


def models_are_known(ours, theirs):
    mine = definitions(ours)
    return [f'{name}: {mine.get(name)}, there {row}' for name, row in definitions(theirs).items()
            if mine.get(name) != row]


def expansions_agree(ours, theirs, kind):
    problems = []
    for name in definitions(theirs):
        if name in ('max', 'host'):
            continue                # what the accelerator has
        a, b = (p.qmp('query-cpu-model-expansion', type=kind, model={'name': name})['model']
                for p in (ours, theirs))
        differ = {k: (a['props'].get(k), v) for k, v in b['props'].items()
                  if k in a['props'] and a['props'][k] != v and k not in ABSENT}
        if differ or a['name'] != b['name']:
            problems.append(f'{name}: (here, there): {differ}')
    return problems


def features_are_properties(ours, theirs):
    static = theirs.qmp('query-cpu-model-expansion', type='static', model={'name': 'max'})
    listed = {p['name'] for p in ours.qmp('device-list-properties', typename='max-x86_64-cpu')}
    cpu = ours.qmp('query-cpus-fast')[0]['qom-path']
    problems = []
    for name, value in static['model']['props'].items():
        if isinstance(value, bool) and name not in listed:
            problems.append(f'{name} is no property')
        elif isinstance(value, bool) and not isinstance(ours.qmp('qom-get', path=cpu, property=name), bool):
            problems.append(f'{name} cannot be read')
    return problems


def properties_change_expansions(ours, theirs):
    model = {'name': 'Haswell', 'props': {'avx2': False, 'sha-ni': True, 'model': 70}}
    wanted = ('avx2', 'sha-ni', 'model', 'avx')
    a, b = (p.qmp('query-cpu-model-expansion', type='static', model=model)['model']['props']
            for p in (ours, theirs))
    return [f'{k}: {a.get(k)}, there {b[k]}' for k in wanted if a.get(k) != b[k]]


def places_for_cpus_agree(ours, theirs):
    a, b = ([(r['type'], r['vcpus-count'], r['props'], 'qom-path' in r)
             for r in p.qmp('query-hotpluggable-cpus')] for p in (ours, theirs))
    return [] if a == b else [f'{a}, there {b}']


def errors_agree(ours, theirs):
    problems = []
    for model in ({'name': 'nope'}, {'name': 'qemu64', 'props': {'foo': True}}):
        a, b = (p.qmp('query-cpu-model-expansion', type='full', model=model) for p in (ours, theirs))
        if a != b:
            problems.append(f'{a}, there {b}')
    return problems


def main():
    qemu = sys.argv[2] if len(sys.argv) > 2 else shutil.which('qemu-system-x86_64',
                                                             path='/usr/bin:/usr/local/bin')
    if not qemu:
        print('1..0 # SKIP no qemu-system-x86_64 (Debian package qemu-system-x86)')
        return
    theirs, ours = Program(qemu), Program(sys.argv[1])
    try:
        if theirs.version != (7, 2):
            print('1..0 # SKIP QEMU %d.%d is not 7.2' % theirs.version)
            return
        checks = [('models_are_known', models_are_known),
                  ('static_expansions_agree', lambda a, b: expansions_agree(a, b, 'static')),
                  ('full_expansions_agree', lambda a, b: expansions_agree(a, b, 'full')),
                  ('features_are_properties', features_are_properties),
                  ('properties_change_expansions', properties_change_expansions),
                  ('places_for_cpus_agree', places_for_cpus_agree),
                  ('errors_agree', errors_agree)]
        print(f'1..{len(checks)}')
        failed = 0
        for number, (name, check) in enumerate(checks, 1):
            problems = check(ours, theirs)
            failed += bool(problems)
            print(f'{"not " if problems else ""}ok {number} {name}')
            for p in problems[:20]:
                print(f'# {p}')
        sys.exit(failed != 0)
    finally:
        theirs.close()
        ours.close()


if __name__ == '__main__':
    main()
