# SPDX-License-Identifier: MIT
"""Cases of the image tests as TAP: each runs in one folder that is gone afterwards."""
import os
import shutil
import subprocess
import tempfile


class Skip(Exception):
    """The case cannot be run here; not a failure."""


def run_cases(name, cases, setup=None):
    """CASES yields (name, function); the environment's ONLY chooses by part of a name.  Returns the
    exit status."""
    only = os.environ.get('ONLY', '')
    folder = tempfile.mkdtemp(prefix=f'rhea-{name}-')
    failed = n = 0
    try:
        os.chdir(folder)
        if setup:
            setup()
        for case, fn in cases():
            if only not in case:
                continue
            n += 1
            try:
                fn()
                print(f'ok {n} - {case}', flush=True)
            except Skip as e:
                print(f'ok {n} - {case} # SKIP {e}', flush=True)
            except (AssertionError, subprocess.SubprocessError) as e:
                failed += 1
                print(f'not ok {n} - {case}', flush=True)
                print('\n'.join('# ' + line for line in str(e).splitlines()[:12]), flush=True)
    finally:
        os.chdir('/')
        shutil.rmtree(folder)
    print(f'1..{n}')
    return 1 if failed else 0
