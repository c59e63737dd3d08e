#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Asks the installed QEMU for its x86 CPU models and prints target-x86/cpu_models.def.

    scripts/cpu_models.py rows > target-x86/cpu_models.def
    scripts/cpu_models.py foreign        names that cpu_features.c has no bit for

Facts only: what query-cpu-model-expansion, query-cpu-definitions and `-cpu help` answer.
"""
import json
import re
import subprocess
import sys

QEMU = 'qemu-system-x86_64'
CACHES = {'EPYC': 'EPYC', 'EPYC-Rome': 'ROME', 'EPYC-Milan': 'MILAN', 'Dhyana': 'EPYC'}
# The accelerator decides about this one, not the model.
DROP = {'hypervisor'}
# Models of our own: the levels of the x86-64 psABI on a plain CPU.
PSABI = [
    ('x86-64-v1', None, 'fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 '
     'clflush mmx fxsr sse sse2 syscall nx lm arat x2apic tsc-deadline'),
    ('x86-64-v2', 'x86-64-v1', 'pni ssse3 cx16 sse4.1 sse4.2 popcnt lahf-lm'),
    ('x86-64-v3', 'x86-64-v2', 'fma movbe xsave avx f16c abm bmi1 avx2 bmi2'),
    ('x86-64-v4', 'x86-64-v3', 'avx512f avx512dq avx512cd avx512bw avx512vl'),
]


class Qmp:
    def __init__(self):
        self.p = subprocess.Popen([QEMU, '-M', 'pc', '-accel', 'tcg', '-S', '-display', 'none',
                                   '-nodefaults', '-qmp', 'stdio', '-m', '16'],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.p.stdout.readline()
        self('qmp_capabilities')

    def __call__(self, command, **arguments):
        line = json.dumps({'execute': command, 'arguments': arguments})
        self.p.stdin.write(line.encode() + b'\n')
        self.p.stdin.flush()
        while True:
            reply = json.loads(self.p.stdout.readline())
            if 'return' in reply:
                return reply['return']


def known_features():
    text = open('target-x86/cpu_features.c').read()
    return re.findall(r'N\(\w+, \d+, "([^"]+)"', text)


def help_text():
    out = subprocess.run([QEMU, '-cpu', 'help'], capture_output=True, text=True).stdout
    models, flags = out.split('Recognized CPUID flags:')
    notes = {}
    for line in models.splitlines():
        match = re.match(r'x86 (\S+)\s+(.*\S)', line)
        if match:
            notes[match.group(1)] = match.group(2)
    return notes, flags.split()


def quote(text):
    return '"%s"' % text if text is not None else 'NULL'


def print_row(name, alias, plain, note, props, cache, parent, features):
    print('{ %s, %s, %s, %s,\n  %s, "%s", 0x%x, 0x%x, %d, %d, %d, X86_CACHE_%s, %s,' % (
        quote(name), quote(alias), 'true' if plain else 'false', quote(note),
        quote(props['model-id']), props['vendor'], props['level'], props['xlevel'],
        props['family'], props['model'], props['stepping'], cache, quote(parent)))
    line = '  "'
    for word in features:
        if len(line) + len(word) > 92:
            print(line + '"')
            line = '  "'
        line += word + ' '
    print(line.rstrip() + '" },')


def rows():
    qmp, known = Qmp(), known_features()
    notes, _ = help_text()
    definitions = qmp('query-cpu-definitions')
    alias_of = {d['name']: d.get('alias-of') for d in definitions}
    names = sorted(n for n in alias_of if re.search(r'-v\d+$', n))
    print('/* SPDX-License-Identifier: MIT */')
    print('/* Made by scripts/cpu_models.py from what QEMU 7.2 answers; see cpuid_int.h (X86Model). */')
    print('/* clang-format off */')
    sets = {}
    for name in names:
        props = qmp('query-cpu-model-expansion', type='full', model={'name': name})['model']['props']
        base = name.rsplit('-v', 1)[0]
        first = base + '-v1'
        mine = [f for f in known if props.get(f) and f not in DROP]
        if base == 'qemu64':
            mine.remove('svm')      # never worked without nesting; QEMU drops it on KVM as well
        sets[name] = mine
        aliases = [a for a, t in alias_of.items() if t == name and a != base]
        parent = first if name != first else None
        if parent:
            mine = [f for f in mine if f not in sets[first]] + \
                   ['-' + f for f in sets[first] if f not in mine]
        note = notes.get(name)
        if note == props['model-id']:
            note = None
        print_row(name, aliases[0] if aliases else None, alias_of.get(base) == name, note, props,
                  CACHES.get(base, 'LEGACY'), parent, mine)
    props = {'model-id': 'Rhea Virtual CPU', 'vendor': 'GenuineIntel', 'level': 0xd,
             'xlevel': 0x80000008, 'family': 15, 'model': 6, 'stepping': 1}
    for name, parent, features in PSABI:
        print_row(name, None, False, 'Level %s of the x86-64 psABI' % name[-2:], props, 'LEGACY',
                  parent, features.split())


def foreign():
    known = set(known_features())
    _, flags = help_text()
    names = sorted(set(f for f in flags if f not in known))
    line = '   '
    for name in names:
        word = ' "%s",' % name
        if len(line) + len(word) > 92:
            print(line)
            line = '   '
        line += word
    print(line)


if __name__ == '__main__':
    {'rows': rows, 'foreign': foreign}[sys.argv[1]]()
