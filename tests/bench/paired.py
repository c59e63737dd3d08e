# SPDX-License-Identifier: MIT
"""Cases of work that QEMU's tools and Rhea's do in turn, and how they are timed.

    case = paired.Case('raw to qcow2', 'convert', {'QEMU': run, 'Rhea': run})
    paired.measure(case, rounds, table)

RUN does the work once and gives what paired.command() gives: (seconds, seconds of processor time).  The
tools take turns within a round, the first of one round being the last of the next, so that what else the
machine does hits both.  Short cases get more rounds than asked for.
"""
import os
import subprocess
import time

# A case goes on until each tool has worked that long, or has had so many times the rounds.
ENOUGH_SECONDS = 0.8
MOST = 6
LIMIT = 600


class Case:
    """NAME of KIND (report.CLASSES); RUNS by the names of the tools; COUNT pieces of work in a run.

    BETWEEN(name) is called before each run, CHECK() after all and gives a complaint or None.  An EXACT one
    gets no more rounds than asked for."""

    def __init__(self, name, kind, runs, count=1, between=None, check=None, exact=False):
        self.name, self.kind, self.runs, self.count = name, kind, runs, count
        self.between, self.check, self.exact = between, check, exact


def command(*words):
    """Run a program to its end, which must be good."""
    begin = time.perf_counter()
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE)
    error = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    took = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words, stderr=error.decode(errors='replace'))
    return took, usage.ru_utime + usage.ru_stime


def processor_time(pid):
    """Seconds that a running process has had, its threads and those that ended included
    [clock_getcpuclockid(3): the clock's number is made of the process's]."""
    return time.clock_gettime((~pid << 3) | 2)


def settle(*paths):
    """Files to the disk, and back into the page cache by reading: how a file was written shapes its pages
    there, which alone can cost a read of it a tenth."""
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            while os.read(fd, 1 << 20):
                pass
        finally:
            os.close(fd)


def measure(case, rounds, table):
    """Into the table."""
    names = list(case.runs)
    spent = {name: 0.0 for name in names}
    done = 0
    most = rounds if case.exact else rounds * MOST
    while done < rounds or (done < most and min(spent.values()) < ENOUGH_SECONDS):
        for name in names if done % 2 == 0 else reversed(names):
            if case.between:
                case.between(name)
            seconds, cpu = case.runs[name]()
            spent[name] += seconds
            table.add_time(name, case.name, case.kind, seconds / case.count, cpu / case.count)
        done += 1
    complaint = case.check() if case.check else None
    if complaint:
        table.complaints.append(f'{case.name}: {complaint}')
    return not complaint
