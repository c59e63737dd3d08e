#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Run the tests of a build folder and end with "N passed, N failed[, N skipped]".

usage: run_tests.py BUILD [--suite NAME]... [--no-suite NAME]... [TEST]...

A program that speaks TAP counts as many tests as it reports; any other counts as one.
"""
import argparse
import json
import os
import re
import subprocess
import sys

OK = re.compile(r'(not )?ok\b(.*)$')
TELLING = re.compile(r'\bERROR:|^Bail out!|Sanitizer:|runtime error:|[Aa]ssertion|Error\b|\berror:')
REASON_LINES = 3


def shorten(lines):
    """The first lines of a report, as one."""
    told = [line.strip() for line in lines if line.strip()]
    return ' | '.join(told[:REASON_LINES])[:400]


def count_tap(text):
    """(passed, failed, skipped) and what failed and why, of a TAP output."""
    passed = failed = skipped = 0
    failures = []               # (name, lines of the comment behind it)
    comment = []
    for line in text.splitlines():
        case = OK.match(line)
        if not case:
            if line.startswith('#'):
                comment.append(line[1:])
            continue
        comment = []
        if re.search(r'#\s*skip', case[2], re.I):
            skipped += 1
        elif case[1]:
            failed += 1
            failures.append((case[2].strip(), comment))
        else:
            passed += 1
    return passed, failed, skipped, [': '.join(filter(None, (name, shorten(lines))))
                                     for name, lines in failures]


def last_words(entry):
    """Why a program that does not tell by TAP, or died between two cases, failed."""
    lines = [line for key in ('stdout', 'stderr') for line in (entry.get(key) or '').splitlines()
             if line.strip() and not OK.match(line)]
    told = [line for line in lines if TELLING.search(line)]
    return f'{entry["result"]}: {shorten(told or lines[-REASON_LINES:])}'.rstrip(': ')


def count_result(entry):
    """The same for one line of meson's log."""
    result = entry['result']
    passed, failed, skipped, failures = count_tap(entry.get('stdout') or '')
    if passed + failed + skipped == 0:
        return ((0, 0, 1, []) if result == 'SKIP' else
                (1, 0, 0, []) if result in ('OK', 'EXPECTEDFAIL') else
                (0, 1, 0, [last_words(entry)]))
    if result in ('FAIL', 'ERROR', 'TIMEOUT', 'INTERRUPT') and failed == 0:
        failed += 1             # it died between two cases
        failures.append(last_words(entry))
    return passed, failed, skipped, failures


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument('build')
    parser.add_argument('--suite', action='append', default=[])
    parser.add_argument('--no-suite', action='append', default=[])
    parser.add_argument('tests', nargs='*')
    args = parser.parse_args()

    log = os.path.join(args.build, 'meson-logs', 'testlog.json')
    if os.path.exists(log):
        os.unlink(log)
    # The limits are for a quiet machine; sanitizers and a busy host take several times as long.
    command = ['meson', 'test', '-C', args.build, '--no-rebuild', '--print-errorlogs',
               '--timeout-multiplier', '5']
    for suite in args.suite:
        command += ['--suite', suite]
    for suite in args.no_suite:
        command += ['--no-suite', suite]
    status = subprocess.call(command + args.tests)
    if not os.path.exists(log):
        sys.exit('run_tests.py: meson test left no log')

    totals = [0, 0, 0]
    failures = []
    skips = []
    with open(log, encoding='utf-8') as f:
        for line in f:
            entry = json.loads(line)
            passed, failed, skipped, names = count_result(entry)
            for i, n in enumerate((passed, failed, skipped)):
                totals[i] += n
            failures += [f'{entry["name"]}: {name}' for name in names]
            if skipped:
                skips.append(entry['name'])
    for failure in failures:
        print(f'FAILED {failure}')
    for name in skips:
        print(f'has skipped tests: {name}')
    tail = f', {totals[2]} skipped' if totals[2] else ''
    print(f'{totals[0]} passed, {totals[1]} failed{tail}')
    sys.exit(1 if totals[1] or status else 0)


main()
