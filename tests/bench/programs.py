# SPDX-License-Identifier: MIT
"""Debian's own programs in a guest: which, on what, and the initrd that holds them.

    image = programs.image(build)          # made when needed, kept in the build folder

The files are copied from this machine, with the shared libraries that they name, so that the same
bytes run natively and in the guests.  A program that is not installed has no row.
"""
import glob
import os
import re
import subprocess

import guests

RAM_MIB = 1024

PYTHON = '''import hashlib, json, re, collections

def queens(n, row=0, columns=0, left=0, right=0):
    if row == n:
        return 1
    count, free = 0, ~(columns | left | right) & ((1 << n) - 1)
    while free:
        bit = free & -free
        free ^= bit
        count += queens(n, row + 1, columns | bit, (left | bit) << 1, (right | bit) >> 1)
    return count

words = [f'w{i * 7919 % 1000}' for i in range(100000)]
counted = collections.Counter(words)
text = json.dumps(sorted(counted.items()))
found = re.findall(r'"w(\\d+)5"', text)
total = sum(x * 0.5 for x in range(1000000))
big = pow(3, 20000) % 1000003
data = {i: str(i) for i in range(200000)}
print(queens(9), len(found), total, big, len(json.loads(text)),
      hashlib.sha256(','.join(data.values()).encode()).hexdigest())
'''

# name, what must be installed, command; --run checks what the command prints.
# clang-format has no say here: the table is read by its columns.
ROWS = [
    ('gzip-9',         'gzip',    '$BENCH --run gzip-9 program /usr/bin/gzip -9nc $DATA/input'),
    ('gunzip',         'gzip',    '$BENCH --run gunzip program /usr/bin/gzip -dc $DATA/input.gz'),
    ('xz-6',           'xz',      '$BENCH --run xz-6 program /usr/bin/xz -T1 -6c $DATA/input'),
    ('unxz',           'xz',      '$BENCH --run unxz program /usr/bin/xz -dc $DATA/input.xz'),
    ('zstd-9',         'zstd',    '$BENCH --run zstd-9 program /usr/bin/zstd --single-thread -q9c $DATA/input'),
    ('unzstd',         'zstd',    '$BENCH --run unzstd program /usr/bin/zstd -qdc $DATA/input.zst'),
    ('python-start',   'python3', '$BENCH --run python-start program /usr/bin/python3 -IS -c 1'),
    ('python-mix',     'python3', '$BENCH --run python-mix program /usr/bin/python3 -IS $DATA/mix.py'),
    ('gcc-O2',         'gcc',     '$BENCH --run gcc-O2 program /usr/bin/gcc -O2 -w -S -o - $DATA/input.i'),
    ('gcc-as',         'gcc',     "$BENCH --run gcc-as program /bin/busybox sh -c "
                                  "'/usr/bin/gcc -w -c -o o $DATA/input.i && cat o'"),
    ('perl-sort',      'perl',    '$BENCH --run perl-sort program /usr/bin/perl -e '
                                  "'$x=1;for(1..300000){$x=($x*16807)%2147483647;$h{$x%9000}.=$x}"
                                  "print length join q(,),map{$h{$_}}sort{$a<=>$b}keys%h'"),
    ('sh-loop',        'busybox', '$BENCH --run sh-loop program /bin/busybox sh -c '
                                  "'i=0;s=0;while [ $i -lt 60000 ];do i=$((i+1));s=$(((s*3+i)%9973));done;echo $s'"),
    ('sh-processes',   'busybox', '$BENCH --run sh-processes program /bin/busybox sh -c '
                                  "'i=0;while [ $i -lt 150 ];do i=$((i+1));/bin/busybox echo $i|/bin/busybox cat;done'"),
    ('sha256sum',      'busybox', '$BENCH --run sha256sum program /bin/busybox sha256sum <$DATA/input'),
]
# Bytes per second as openssl counts them, in 8 KiB blocks; private and public RSA operations.
SPEED = [('openssl-aes-gcm', '-evp aes-128-gcm', 4), ('openssl-sha256', '-evp sha256', 4),
         ('openssl-chacha', '-evp chacha20-poly1305', 4)]


# Runs a script and prints the modules that were loaded then: source, compiled form.
FINDER = '''import contextlib, io, runpy, sys
with contextlib.redirect_stdout(io.StringIO()):
    runpy.run_path(sys.argv[1])
import encodings.ascii, encodings.utf_8, encodings.latin_1, linecache, traceback
for m in list(sys.modules.values()):
    print(getattr(m, "__file__", None) or "", getattr(m, "__cached__", None) or "", sep="\\t")
'''


class Collector:
    """Files for the initrd by their names in the guest."""

    def __init__(self, data):
        self.files, self.data, self.written = {}, data, set()

    def add(self, path, name=None):
        self.files[(name or path).lstrip('/')] = path

    def add_program(self, path):
        """A program at its own path, and its libraries at theirs."""
        self.add(path)
        for library in guests.initrd.libraries(path):
            self.add(library)

    def write(self, name, content):
        """A file below /data, left alone when it is the same already."""
        path = os.path.join(self.data, name)
        self.written.add(name)
        if os.path.exists(path):
            with open(path, 'rb') as f:
                if f.read() == content:
                    return
        with open(path, 'wb') as f:
            f.write(content)

    def packed(self, name, *command):
        self.write(name, subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def collect_python(c, script):
    """The interpreter and the modules that the script loads, compiled, with no source beside them."""
    listing = subprocess.run(['/usr/bin/python3', '-IS', '-c', FINDER, script],
                             capture_output=True, text=True, check=True).stdout
    c.add_program('/usr/bin/python3')
    stdlib = None
    for line in sorted(set(listing.splitlines())):
        source, cached = line.split('\t')
        if source.endswith('.so'):
            c.add_program(source)
        elif source.startswith('/usr/lib/python3') and os.path.exists(cached):
            c.add(cached, source[:-3] + '.pyc')
            stdlib = re.match(r'/usr/lib/python3[^/]*', source).group(0)
    # Python looks for this folder at start, and complains when it is not there.
    for path in glob.glob(f'{stdlib}/lib-dynload/_opcode*.so'):
        c.add_program(path)


def collect_gcc(c):
    root = guests.ROOT
    source = os.path.join(root, 'tests', 'bench', 'guest', 'integer.c')
    c.packed('input.i', '/usr/bin/gcc', '-E', '-P', '-I', root, '-D_GNU_SOURCE', source)
    for name in ('/usr/bin/gcc', '/usr/bin/as'):
        c.add_program(name)
    for name in ('cc1', 'liblto_plugin.so', 'collect2'):
        option = '-print-file-name=' if name.endswith('.so') else '-print-prog-name='
        path = subprocess.run(['/usr/bin/gcc', option + name], capture_output=True, text=True,
                              check=True).stdout.strip()
        if os.path.isabs(path):
            c.add_program(os.path.normpath(path))


def image(build):
    """The Image with all that is installed here."""
    data = os.path.join(build, 'guest', 'programs')
    os.makedirs(data, exist_ok=True)
    c = Collector(data)
    with open(guests.default_guest.find_busybox(), 'rb') as f:
        c.write('input', f.read())
    there = {'busybox'}
    for name, packer in (('gzip', ['-9nc']), ('xz', ['-6c']), ('zstd', ['-q9c'])):
        path = '/usr/bin/' + name
        if os.path.exists(path):
            suffix = {'gzip': 'gz', 'xz': 'xz', 'zstd': 'zst'}[name]
            c.add_program(path)
            c.packed('input.' + suffix, path, *packer, os.path.join(data, 'input'))
            there.add(name)
    if os.path.exists('/usr/bin/python3'):
        c.write('mix.py', PYTHON.encode())
        collect_python(c, os.path.join(data, 'mix.py'))
        there.add('python3')
    if os.path.exists('/usr/bin/gcc'):
        collect_gcc(c)
        there.add('gcc')
    if os.path.exists('/usr/bin/perl'):
        c.add_program('/usr/bin/perl')
        there.add('perl')
    commands = [command for _, needs, command in ROWS if needs in there]
    if os.path.exists('/usr/bin/openssl'):
        c.add_program('/usr/bin/openssl')
        for path in glob.glob('/usr/lib/ssl/openssl.cnf'):
            c.add(path)
        commands += [speed_command(*row) for row in SPEED]
        commands.append(rsa_command())
    for name in set(os.listdir(data)) - c.written:
        os.unlink(os.path.join(data, name))
    return guests.Image(build, 'programs', '\n'.join(commands) + '\n', sorted(c.files.items()), RAM_MIB,
                        cpu_time=True)


def speed_command(name, options, field):
    """Nanoseconds per KiB from the rate that openssl prints."""
    return (f'/usr/bin/openssl speed -mr -elapsed -seconds 1 -bytes 8192 {options} 2>/dev/null | '
            f'/bin/busybox awk -F: \'/^.F:/ {{ printf "{name} program %.4f -\\n", 1024e9 / ${field} }}\'')


def rsa_command():
    return ('/usr/bin/openssl speed -mr -elapsed -seconds 1 rsa2048 2>/dev/null | '
            '/bin/busybox awk -F: \'/^.F2:/ { printf "openssl-rsa-sign program %.0f -\\n", 1e9 / $4; '
            'printf "openssl-rsa-verify program %.0f -\\n", 1e9 / $5 }\'')
