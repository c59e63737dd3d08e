#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Bad input gets one line that says what, why and what to do, and exit status 1.

usage: bad_input_test.py PROGRAM        (TAP on stdout)
"""
import json
import os
import re
import socket
import subprocess
import sys
import tempfile

PROGRAM = sys.argv[1]
TIMEOUT = 20


def run(args):
    p = subprocess.run([PROGRAM, '-display', 'none'] + args, stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=TIMEOUT)
    return p.returncode, p.stderr.decode(errors='replace'), p.stdout.decode(errors='replace')


def complaint(stderr):
    """stderr without the lines that only inform (which accelerator was chosen)."""
    return [x for x in stderr.splitlines() if 'using TCG' not in x and ': info: ' not in x]


# name, arguments, what the line must contain; FILE, DIR stand for paths made by main()
CASES = [
    ('unknown option', ['-foo'], r'-foo: invalid option'),
    ('misspelled option', ['-machin', 'pc'], r"did you mean 'machine'"),
    ('missing argument', ['-m'], r'-m: requires an argument'),
    ('unknown machine', ['-M', 'p'], r"machine type 'p'"),
    ('misspelled machine', ['-M', 'nonne'], r"did you mean 'none'"),
    ('unknown machine property', ['-M', 'none,foo=1'], r'foo'),
    ('unknown accelerator', ['-M', 'none', '-accel', 'tgc'], r"'tgc'.*did you mean 'tcg'"),
    ('unknown device', ['-M', 'none', '-device', 'nope-device'], r"'nope-device' is not a valid device"),
    ('no memory', ['-M', 'none', '-m', '0'], r'-m 0'),
    ('memory not a number', ['-M', 'none', '-m', 'abc'], r"size.*abc|abc.*size"),
    ('unknown memory parameter', ['-M', 'none', '-m', '1G,foo=1'], r"foo"),
    ('too small maxmem', ['-M', 'none', '-m', '4G,slots=1,maxmem=1G'], r'maxmem'),
    ('maxmem without slots', ['-M', 'none', '-m', '1G,maxmem=2G'], r'slots'),
    ('no processors', ['-M', 'none', '-smp', '0'], r"'cpus' must be at least 1"),
    ('impossible topology', ['-M', 'none', '-smp', '4,cores=3'],
     r'product of the hierarchy must match maxcpus'),
    ('fewer maxcpus than cpus', ['-M', 'none', '-smp', '4,maxcpus=2'], r'maxcpus'),
    ('too many processors', ['-M', 'none', '-smp', '9'], r"max CPUs supported by machine 'none' is 1"),
    ('processors not a number', ['-M', 'none', '-smp', 'foo'], r'cpus'),
    ('missing image', ['-M', 'none', '-drive', 'file=/nonexistent/disk'], r"/nonexistent/disk"),
    ('unreadable image', ['-M', 'none', '-cdrom', 'UNREADABLE'], r'UNREADABLE.*Permission denied'),
    ('directory as disk', ['-M', 'none', '-cdrom', 'DIR'], r'DIR'),
    ('locked pid file', ['-M', 'none', '-pidfile', '/nonexistent/pid'], r'/nonexistent/pid'),
    ('missing config file', ['-readconfig', '/nonexistent/cfg'], r"Could not open '/nonexistent/cfg'"),
    ('unknown config group', ['-readconfig', 'BADCFG'], r"There is no option group 'nope'"),
    ('bad uuid', ['-uuid', 'x'], r'UUID'),
    ('bad boot drive', ['-boot', 'order=z'], r"boot device 'z'"),
    ('bad display', ['-display', 'nope'], r'nope'),
    ('bad vga', ['-vga', 'nope'], r'vga type: nope'),
    ('bad log item', ['-d', 'nope'], r"nope"),
    ('bad log file', ['-D', '/nonexistent/log', '-d', 'int'], r'/nonexistent/log'),
    ('bad action', ['-action', 'reboot=x'], r"reboot"),
    ('bad global', ['-global', 'foo'], r'foo'),
    ('bad set', ['-set', 'device.x=1'], r'group\.id\.parameter=value'),
    ('set without target', ['-set', 'device.x.y=1'], r'no device "x" defined'),
    ('bad chardev kind', ['-chardev', 'nope,id=a'], r'nope'),
    ('chardev without id', ['-chardev', 'null'], r'id'),
    ('bad serial', ['-M', 'none', '-serial', 'nope'], r'nope'),
    ('taken chardev', ['-M', 'none', '-chardev', 'null,id=c', '-mon', 'c', '-mon', 'c'], r"'?c'?"),
    ('taken socket', ['-M', 'none', '-qmp', 'unix:SOCKET/x,server=on,wait=off'], r'SOCKET/x'),
    ('monitor without chardev', ['-M', 'none', '-mon', 'chardev=x'], r'chardev "x" not found'),
    ('unknown object', ['-M', 'none', '-object', 'nope,id=x'], r"'nope'"),
    ('object without id', ['-M', 'none', '-object', 'container'], r"container|'id'"),
    ('malformed JSON', ['-M', 'none', '-device', '{"driver":'], r'JSON parse error'),
    ('initrd without kernel', ['-M', 'none', '-initrd', 'x'], r'-initrd only allowed with -kernel'),
    ('append without kernel', ['-M', 'none', '-append', 'x'], r'-append only allowed with -kernel'),
    ('daemon on the terminal', ['-M', 'none', '-daemonize', '-nographic'], r'-daemonize'),
    ('unsupported QEMU option', ['-spice', 'port=1'], r'-spice: invalid option'),
]


def check_case(args, pattern, names):
    args = [re.sub(r'\b(DIR|UNREADABLE|BADCFG|SOCKET)\b', lambda m: names[m.group(1)], a) for a in args]
    pattern = re.sub(r'\b(DIR|UNREADABLE|SOCKET)\b', lambda m: re.escape(names[m.group(1)]), pattern)
    status, stderr, _ = run(args)
    lines = complaint(stderr)
    if status != 1:
        return 'exit status %d, not 1; said: %s' % (status, stderr)
    if len(lines) != 1:
        return '%d lines instead of one: %s' % (len(lines), stderr)
    if not re.search(pattern, lines[0], re.I):
        return 'the line lacks /%s/: %s' % (pattern, lines[0])
    return None


class Qmp:
    """A running emulator with a QMP socket."""

    def __init__(self, folder):
        self.path = os.path.join(folder, 'qmp-%d' % os.getpid())
        self.process = subprocess.Popen(
            [PROGRAM, '-display', 'none', '-M', 'none', '-S', '-qmp',
             'unix:%s,server=on,wait=on' % self.path], stderr=subprocess.DEVNULL)
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT)
        while True:
            try:
                self.sock.connect(self.path)
                break
            except OSError:
                if self.process.poll() is not None:
                    raise
        self.file = self.sock.makefile('rwb')
        self.greeting = json.loads(self.file.readline())

    def send(self, data):
        self.sock.sendall(data)

    def ask(self, text):
        self.send(text)
        while True:
            answer = json.loads(self.file.readline())
            if 'event' not in answer:
                return answer

    def close(self):
        self.ask(b'{"execute":"quit"}')
        self.sock.close()
        return self.process.wait(TIMEOUT)


def check_malformed_qmp(folder):
    q = Qmp(folder)
    q.ask(b'{"execute":"qmp_capabilities"}')
    wanted = [(b'{]', 'JSON parse error, expecting value'),
              (b'{"execute":foo}', "JSON parse error, invalid keyword 'foo'"),
              (b'{"execute":1}', "QMP input member 'execute' must be a string"),
              (b'[]', 'QMP input must be a JSON object')]
    for text, desc in wanted:
        answer = q.ask(text)
        if answer.get('error', {}).get('desc') != desc:
            return '%r was answered %r' % (text, answer)
    status = q.close()
    return None if status == 0 else 'exit status %d after quit' % status


def check_garbage_qmp(folder):
    q = Qmp(folder)
    q.ask(b'{"execute":"qmp_capabilities"}')
    garbage = b'@' * (10 << 20)
    q.send(garbage + b'\n')
    answer = json.loads(q.file.readline())
    if 'stray' not in answer['error']['desc']:
        return 'garbage was answered %r' % answer
    answer = q.ask(b'{"execute":"query-status","id":7}')
    if answer.get('id') != 7 or 'return' not in answer:
        return 'after the garbage, query-status was answered %r' % answer
    return None if q.close() == 0 else 'bad exit status'


def main():
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        names = {'DIR': folder, 'UNREADABLE': os.path.join(folder, 'unreadable.iso'),
                 'BADCFG': os.path.join(folder, 'bad.cfg'), 'SOCKET': os.path.join(folder, 'none')}
        with open(names['UNREADABLE'], 'w') as f:
            f.write('x')
        os.chmod(names['UNREADABLE'], 0)
        with open(names['BADCFG'], 'w') as f:
            f.write('[nope]\n')
        print('1..%d' % (len(CASES) + 2))
        number = 0
        for name, args, pattern in CASES:
            number += 1
            if 'UNREADABLE' in args and os.geteuid() == 0:
                print('ok %d %s # SKIP root reads everything' % (number, name))
                continue
            problem = check_case(args, pattern, names)
            failures += problem is not None
            print('%sok %d %s%s' % ('not ' if problem else '', number, name,
                                    '\n# ' + problem.replace('\n', '\n# ') if problem else ''))
        for name, check in (('malformed QMP', check_malformed_qmp), ('10 MB of garbage', check_garbage_qmp)):
            number += 1
            problem = check(folder)
            failures += problem is not None
            print('%sok %d %s%s' % ('not ' if problem else '', number, name,
                                    '\n# ' + problem if problem else ''))
    sys.exit(failures != 0)


if __name__ == '__main__':
    main()
