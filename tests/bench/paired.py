# SPDX-License-Identifier: MIT
"""Cases of work that QEMU's tools and Rhea's do in turn, and how they are timed.

    case = paired.Case('raw to qcow2', 'convert', {'QEMU': run, 'Rhea': run})
    paired.Group(case).measure(rounds, table)

RUN does the work once and gives what paired.command() gives: (seconds, seconds of processor time).  Cases
whose times will be compared, such as the same on raw and on qcow2, make a group.  The cases and the tools
of a group take turns within a round, the first of one round being the last of the next, so that what else
the machine does hits all.

A few rounds are a session.  Servers and guests are started anew for the next one: what one process has by luck,
such as where its memory lies, does not pass then for what it is worth.
"""
import os
import subprocess
import time

SESSION_ROUNDS = 3
# A group goes on for as many sessions as were asked for, and until each has worked that long or has had so many
# times more of them: a disturbed machine can spoil two rounds on end, and then the best of them is none.
ENOUGH_SECONDS = 0.8
MOST = 3
# Cases that are compared with each other have more sessions, in which only OURS runs.
TWIN_SESSIONS, OURS = 5, 'Rhea'
LIMIT = 600


class Case:
    """NAME of KIND (report.CLASSES); RUNS by the names of the tools; COUNT pieces of work in a run.

    BETWEEN(name) is called before each run, CHECK() after all and gives a complaint or None."""

    def __init__(self, name, kind, runs, count=1, between=None, check=None):
        self.name, self.kind, self.runs, self.count = name, kind, runs, count
        self.between, self.check = between, check


class Group:
    """Cases that take turns; RENEW() is called between two sessions."""

    def __init__(self, *cases, renew=None):
        self.cases, self.renew = cases, renew

    def names(self):
        return [case.name for case in self.cases]

    def keep(self, names):
        """Only those."""
        self.cases = [case for case in self.cases if case.name in names]

    def measure(self, rounds, table):
        """Into the table; whether all is well."""
        runs = [(case, tool) for case in self.cases for tool in case.runs]
        spent = dict.fromkeys(runs, 0.0)
        session = 0
        while session < rounds or (session < rounds * MOST and min(spent.values()) < ENOUGH_SECONDS):
            for (case, tool), seconds in self.session(runs, session, table):
                spent[case, tool] += seconds
            session += 1
        twins = [(case, tool) for case, tool in runs if tool == OURS and len(self.cases) > 1]
        while twins and session < TWIN_SESSIONS:
            for _ in self.session(twins, session, table, twins_only=True):
                pass
            session += 1
        complaints = [f'{case.name}: {said}' for case in self.cases if case.check and (said := case.check())]
        table.complaints += complaints
        return not complaints

    def session(self, runs, session, table, twins_only=False):
        """((case, tool), seconds) of each run."""
        if session and self.renew:
            self.renew()
        for i in range(SESSION_ROUNDS):
            for case, tool in turn(runs, session + i):
                if case.between:
                    case.between(tool)
                seconds, cpu = case.runs[tool]()
                table.add_time(tool, case.name, case.kind, seconds / case.count, cpu / case.count, session, twins_only)
                yield (case, tool), seconds


def turn(things, i):
    """A list of them for round I."""
    return list(things) if i % 2 == 0 else list(things)[::-1]


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
    """Files to the disk, and back into the page cache, page by page: how a file was written or read ahead
    makes larger pieces there, of which a random write of 4 KiB can cost four times as much."""
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
            while os.read(fd, 1 << 20):
                pass
        finally:
            os.close(fd)
