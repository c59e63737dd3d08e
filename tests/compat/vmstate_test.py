#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Our device states on the wire against QEMU 7.2's: what -dump-vmstate says of the pc machine.

Names, versions, the order of fields, what is conditional, and subsections must agree for every type that
both know.  Sizes in memory are each program's own.  Differences that are meant are listed with a reason.

usage: vmstate_test.py PROGRAM [QEMU]       (TAP; skips without QEMU 7.2)
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

MACHINE = 'pc-i440fx-7.2'

KNOWN = {
    'PIIX4_PM.smb: field_exists': 'there an empty field of old versions, the same bytes here',
    'PIIX4_PM: subsection piix4_pm/memhp': 'no memory hotplug',
    'PIIX4_PM: subsection piix4_pm/cpuhp': 'no CPU hotplug',
    'PIIX4_PM.acpi_pci_hotplug.acpi_pcihp_pci_status[0x0]: name': 'only of old machine versions',
    'acpi-ged-x86: subsection acpi-ged/memhp': 'no memory hotplug',
    'acpi-ged-x86: subsection acpi-ged/ghes': 'no hardware error source',
    'fw_cfg_io: fields': 'the second cur_offset is of version 1 alone',
    'isa-pcspk.data_on: field_exists': 'by the property "migrate" there for the whole section',
    'isa-pcspk.dummy_refresh_clock: field_exists': 'the same',
}


def dump(program):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'states.json')
        subprocess.run([program, '-M', MACHINE, '-dump-vmstate', path], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)
        with open(path, encoding='utf-8') as f:
            return json.load(f)


def subsections(description):
    return {s.get('vmsd_name') or s.get('name'): s for s in description.get('Subsections', [])}


def differences(path, ours, theirs):
    for key in ('vmsd_name', 'name', 'version_id', 'minimum_version_id'):
        if key in ours and key in theirs and ours[key] != theirs[key]:
            yield f'{path}: {key}', f'{ours[key]} and not {theirs[key]}'
    ours, theirs = ours.get('Description', ours), theirs.get('Description', theirs)
    names = [[f['field'] for f in d.get('Fields', [])] for d in (ours, theirs)]
    if names[0] != names[1]:
        yield f'{path}: fields', f'{names[0]} and not {names[1]}'
    by_name = {f['field']: f for f in theirs.get('Fields', [])}
    for field in ours.get('Fields', []):
        other = by_name.get(field['field'])
        if not other:
            continue
        place = f'{path}.{field["field"]}'
        for key in ('version_id', 'field_exists'):
            if field.get(key) != other.get(key):
                yield f'{place}: {key}', f'{field.get(key)} and not {other.get(key)}'
        if ('Description' in field) != ('Description' in other):
            yield f'{place}: kind', 'only one is a struct'
        elif 'Description' in field:
            yield from differences(place, field['Description'], other['Description'])
    ours, theirs = subsections(ours), subsections(theirs)
    for name in {**ours, **theirs}:
        if name in ours and name in theirs:
            yield from differences(f'{path}/{name}', ours[name], theirs[name])
        elif 'rhea' not in name:
            yield f'{path}: subsection {name}', 'ours alone' if name in ours else 'theirs alone'


def main():
    program = sys.argv[1]
    qemu = sys.argv[2] if len(sys.argv) > 2 else shutil.which('qemu-system-x86_64')
    if not qemu or b'version 7.2' not in subprocess.run([qemu, '--version'], check=False,
                                                        stdout=subprocess.PIPE).stdout:
        print('1..0 # SKIP no QEMU 7.2 here')
        return
    ours, theirs = dump(program), dump(qemu)
    both = sorted(set(ours) & set(theirs) - {'vmschkmachine'})
    used, failed = set(), 0
    print(f'1..{len(both) + 1}')
    for n, name in enumerate(both, 1):
        found = list(differences(name, ours[name], theirs[name]))
        used |= {what for what, _ in found}
        found = [f'{what}: {how}' for what, how in found if what not in KNOWN]
        for text in found:
            print(f'# {text}')
        failed += bool(found)
        print(f'{"not ok" if found else "ok"} {n} {name}')
    stale = [what for what in KNOWN if what not in used]
    for what in stale:
        print(f'# is listed and does not differ: {what}')
    print(f'{"not ok" if stale else "ok"} {len(both) + 1} the list of known differences')
    sys.exit(bool(failed or stale))


if __name__ == '__main__':
    main()
