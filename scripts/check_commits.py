#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Check commit messages: "area: Verb the thing", at most 72 columns, then a body.

usage: check_commits.py [RANGE]      default: the newest commit
"""
import re
import subprocess
import sys

SUBJECT = re.compile(r'^[a-z0-9][a-z0-9_./,{}* -]*: [A-Z].*[^.]$')


def git(*args):
    return subprocess.run(['git', *args], check=True, capture_output=True, text=True).stdout


def problems(message):
    lines = message.rstrip('\n').split('\n')
    if not SUBJECT.match(lines[0]):
        yield 'the subject is not "area: Verb the thing" without a full stop'
    if len(lines[0]) > 72:
        yield f'the subject has {len(lines[0])} columns, 72 are allowed'
    if len(lines) < 3 or lines[1] != '':
        yield 'there is no body after an empty line: say what was wrong and why this way'


def main():
    where = sys.argv[1:] or ['-1', 'HEAD']
    bad = 0
    for commit in git('rev-list', '--no-merges', *where).split():
        message = git('log', '-1', '--format=%B', commit)
        for problem in problems(message):
            print(f'{commit[:10]} {message.splitlines()[0]!r}: {problem}')
            bad += 1
    if bad:
        sys.exit(1)
    print('ok: commit messages')


main()
