#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Check that each C file says at its top what it is: the licence's line, then a comment.

Prints each file that does not and exits with 1 if there is any.
"""
import os
import sys

LICENCE = '/* SPDX-License-Identifier: MIT */\n'
FOLDERS = ('base', 'qapi', 'vm', 'target-x86', 'accel', 'hw', 'block', 'chardev', 'ui', 'roms', 'monitor', 'system', 'tools',
           'tests')


def main():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    bad = seen = 0
    for folder in FOLDERS:
        for place, _, names in os.walk(os.path.join(root, folder)):
            for name in sorted(names):
                if not name.endswith(('.c', '.h')):
                    continue
                path = os.path.join(place, name)
                with open(path, encoding='utf-8') as f:
                    text = f.read(400)
                seen += 1
                if not text.startswith(LICENCE) or not text[len(LICENCE):].startswith('/*'):
                    print(f'{os.path.relpath(path, root)}: no comment after the licence says what the file is')
                    bad += 1
    if not bad and seen > 500:
        print(f'ok: {seen} files say what they are')
    return 1 if bad or seen <= 500 else 0


sys.exit(main())
