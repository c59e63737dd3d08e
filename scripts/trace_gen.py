#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Make FOLDER/trace.h and FOLDER/trace.c of a file of trace events (see base/trace.h).

usage: trace_gen.py FOLDER TRACE-EVENTS OUT.h OUT.c
"""
import os
import re
import sys

ROW = re.compile(r'^([a-z_][a-z0-9_]*)\(([^)]*)\)\s+(".*)$')
PARAM = re.compile(r'^(.*[\s*])([A-Za-z_][A-Za-z0-9_]*)$')


def parse(path):
    """Yield (name, args, format) for each row; an error names file and line."""
    rows = []
    with open(path, encoding='utf-8') as f:
        for number, line in enumerate(f, 1):
            line = line.strip()
            if not line or line.startswith('#'):
                continue
            match = ROW.match(line)
            if not match:
                sys.exit(f'{path}:{number}: expected name(type arg, ...) "format"')
            name, args, fmt = match.groups()
            args = args.strip() or 'void'
            names = []
            if args != 'void':
                for arg in args.split(','):
                    param = PARAM.match(arg.strip())
                    if not param:
                        sys.exit(f'{path}:{number}: "{arg.strip()}" is not "type name"')
                    names.append(param.group(2))
            if name in (row[0] for row in rows):
                sys.exit(f'{path}:{number}: event {name} is there twice')
            rows.append((name, args, names, fmt))
    return rows


def main():
    folder, source, header, code = sys.argv[1:]
    rows = parse(source)
    guard = re.sub(r'[^A-Z0-9]', '_', folder.upper()) + '_TRACE_H'
    origin = f'/* Generated from {folder}/trace-events. */\n'
    with open(header, 'w', encoding='utf-8') as out:
        out.write(origin + f'#ifndef {guard}\n#define {guard}\n\n')
        out.write('#include "base/trace.h"\n#include <stddef.h>\n#include <stdint.h>\n\n')
        for name, args, names, fmt in rows:
            values = ''.join(', ' + n for n in names)
            out.write(f'extern TraceEvent TRACE_{name.upper()};\n'
                      f'static inline void trace_{name}({args})\n{{\n'
                      f'    if (trace_is_on(&TRACE_{name.upper()})) {{\n'
                      f'        trace_emit(&TRACE_{name.upper()}, {fmt}{values});\n    }}\n}}\n\n')
        out.write('#endif\n')
    with open(code, 'w', encoding='utf-8') as out:
        out.write(origin + f'#include "{os.path.basename(header)}"\n\n')
        for name, args, _, _ in rows:
            out.write(f'TraceEvent TRACE_{name.upper()} = {{ "{name}", "{args}", false }};\n')
        out.write('\nstatic TraceEvent *const events[] = {\n')
        for name, _, _, _ in rows:
            out.write(f'    &TRACE_{name.upper()},\n')
        out.write('    NULL,\n};\n\n'
                  'static void __attribute__((constructor)) register_events(void)\n'
                  '{\n    trace_register(events);\n}\n')


main()
