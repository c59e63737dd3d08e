# SPDX-License-Identifier: MIT
"""Programs that the image tests run, and what they make."""
import subprocess

LIMIT = 120


def run(*args, ok=(0,), **kwargs):
    """What it prints on its way to one of the exit statuses OK."""
    p = subprocess.run(args, capture_output=True, text=True, timeout=LIMIT, **kwargs)
    if p.returncode not in ok:
        raise AssertionError(f"{' '.join(args)}: exit {p.returncode}\n{p.stdout}{p.stderr}")
    return p.stdout


def fails(*args):
    """What it says on its way to exit status 1."""
    p = subprocess.run(args, capture_output=True, text=True, timeout=LIMIT)
    assert p.returncode == 1, f"{' '.join(args)}: exit {p.returncode}\n{p.stdout}{p.stderr}"
    return p.stderr + p.stdout


def same_bytes(a, b):
    with open(a, 'rb') as x, open(b, 'rb') as y:
        assert x.read() == y.read(), f'{a} and {b} differ'
