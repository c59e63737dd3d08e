# SPDX-License-Identifier: MIT
"""Run a guest under Rhea and talk to it: QMP, serial line, keyboard, screen.

    with Guest('-cdrom', iso, '-m', '256') as guest:
        guest.wait_serial('login:')
        guest.send_serial('root\\n')
        guest.type('c')                         # on the emulated keyboard
        guest.wait_screen('grub>')
        guest.qmp('system_powerdown')
        status = guest.wait_exit()

Everything that waits has a time-out and fails with what was seen so far.  The program is
$RHEA_SYSTEM, else build/bin/rhea-system-x86_64; a test can so be tried on another
program that understands the same options.  Standard library only.
"""
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# ASCII to QMP key codes (US layout); upper case and these need shift.
_PLAIN = {' ': 'spc', '\n': 'ret', '\t': 'tab', '-': 'minus', '=': 'equal', '[': 'bracket_left',
          ']': 'bracket_right', ';': 'semicolon', "'": 'apostrophe', '`': 'grave_accent',
          '\\': 'backslash', ',': 'comma', '.': 'dot', '/': 'slash', '\b': 'backspace',
          '\x1b': 'esc'}
_SHIFTED = dict(zip('!@#$%^&*()', '1234567890'))
_SHIFTED.update({'_': 'minus', '+': 'equal', '{': 'bracket_left', '}': 'bracket_right',
                 ':': 'semicolon', '"': 'apostrophe', '~': 'grave_accent', '|': 'backslash',
                 '<': 'comma', '>': 'dot', '?': 'slash'})

_ANSI = re.compile(r'\x1b(\[[0-9;?]*[A-Za-z]|[()][A-Z0-9]|[=>78])')


QUIET = 'console=ttyS0 quiet'


class GuestError(AssertionError):
    """A time-out, an error answer, a guest that ended."""


class Skip(Exception):
    """The test cannot run here; the text says why."""


def need_file(path, package):
    """PATH, or a skip that names the Debian package."""
    if not os.path.exists(path):
        raise Skip(f'{path} is missing (Debian package {package})')
    return path


def need_program(name, package):
    path = shutil.which(name)
    if not path:
        raise Skip(f'{name} is missing (Debian package {package})')
    return path


def system_program():
    return os.environ.get('RHEA_SYSTEM',
                          os.path.join(ROOT, 'build', 'bin', 'rhea-system-x86_64'))


def key_codes(char):
    """The chord that types CHAR."""
    if char in _PLAIN:
        return [_PLAIN[char]]
    if char in _SHIFTED:
        return ['shift', _SHIFTED[char]]
    if char.isalpha() and char.isascii():
        return ['shift', char.lower()] if char.isupper() else [char]
    if char.isdigit() and char.isascii():
        return [char]
    raise ValueError(f'no key for {char!r}')


class Qmp:
    """A QMP conversation over a connected socket."""

    def __init__(self, sock, timeout):
        self.sock = sock
        self.file = sock.makefile('r', encoding='utf-8')
        self.events = []
        self.timeout = timeout
        self.greeting = self._read()
        self.command('qmp_capabilities')

    def _read(self):
        self.sock.settimeout(self.timeout)
        line = self.file.readline()
        if not line:
            raise GuestError('QMP closed the connection')
        return json.loads(line)

    def command(self, name, arguments=None):
        message = {'execute': name}
        if arguments:
            message['arguments'] = arguments
        self.sock.sendall(json.dumps(message).encode() + b'\n')
        while True:
            answer = self._read()
            if 'event' in answer:
                self.events.append(answer)
            elif 'error' in answer:
                raise GuestError(f'{name}: {answer["error"]["class"]}: {answer["error"]["desc"]}')
            else:
                return answer['return']

    def wait_event(self, name, timeout):
        end = time.monotonic() + timeout
        while True:
            for i, event in enumerate(self.events):
                if event['event'] == name:
                    return self.events.pop(i)
            self.timeout, before = max(0.1, end - time.monotonic()), self.timeout
            try:
                answer = self._read()
            except (TimeoutError, socket.timeout):
                raise GuestError(f'no event {name} within {timeout} s; '
                                 f'seen: {[e["event"] for e in self.events]}') from None
            finally:
                self.timeout = before
            if 'event' in answer:
                self.events.append(answer)


class Guest:
    """One running guest; a context manager that ends it for sure."""

    def __init__(self, *options, timeout=60, display='none', serial=True, paused=False,
                 program=None):
        self.timeout = timeout
        self.folder = tempfile.mkdtemp(prefix='rhea-boot-')
        self.serial_log = ''
        self.serial_raw = b''
        self.serial_pos = 0
        self.serial = None
        self.process = None
        self.options = [program or system_program(), '-display', display, '-S',
                        '-qmp', f'unix:{self.folder}/qmp,server=on,wait=off']
        if serial:
            self.options += ['-chardev',
                             f'socket,id=serial0,path={self.folder}/serial,server=on,wait=off',
                             '-serial', 'chardev:serial0']
        self.options += options
        self.with_serial = serial
        self.paused = paused

    def __enter__(self):
        self.stderr = open(os.path.join(self.folder, 'stderr'), 'w+b')
        self.process = subprocess.Popen(self.options, stdin=subprocess.DEVNULL,
                                        stdout=self.stderr, stderr=self.stderr)
        try:
            try:
                self._qmp = Qmp(self._connect('qmp'), self._limit())
            except ConnectionError as error:
                self._ended(f'QMP: {error}')
            if self.with_serial:
                self.serial = self._connect('serial')
                self.serial.setblocking(False)
            if not self.paused:
                self.qmp('cont')
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.stderr.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def messages(self):
        """What the program printed."""
        self.stderr.flush()
        with open(self.stderr.name, 'rb') as f:
            return f.read().decode(errors='replace')

    def _connect(self, name):
        end = time.monotonic() + self._limit()
        path = os.path.join(self.folder, name)
        while True:
            sock = socket.socket(socket.AF_UNIX)
            try:
                sock.connect(path)
                return sock
            except (FileNotFoundError, ConnectionRefusedError):
                sock.close()
            if self.process.poll() is not None:
                raise GuestError(f'the program ended with status {self.process.returncode}: '
                                 f'{self.messages()}')
            if time.monotonic() > end:
                raise GuestError(f'no socket {name} within {self._limit()} s')
            select.select([], [], [], 0.01)

    # -------- QMP --------

    def qmp(self, name, **arguments):
        """Underscores in argument names stand for hyphens."""
        return self._qmp.command(name, {k.rstrip('_').replace('_', '-'): v
                                        for k, v in arguments.items()})

    def hmp(self, line):
        return self.qmp('human-monitor-command', command_line=line)

    def _limit(self, timeout=None):
        """Seconds to wait; $RHEA_PATIENCE times more for builds that are slow by nature."""
        return (timeout or self.timeout) * float(os.environ.get('RHEA_PATIENCE', '1'))

    def wait_event(self, name, timeout=None):
        return self._qmp.wait_event(name, self._limit(timeout))

    @property
    def events(self):
        return self._qmp.events

    # -------- serial line --------

    def _read_serial(self, wait):
        ready, _, _ = select.select([self.serial], [], [], wait)
        if ready:
            data = self.serial.recv(65536)
            if not data:
                self._ended('the serial line was closed')
            self.serial_raw += data
            self.serial_log = _ANSI.sub('', self.serial_raw.decode(errors='replace'))

    def _ended(self, what):
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            pass
        raise GuestError(f'{what}; exit status {self.process.returncode}; '
                         f'{self.messages()}\nserial: {self.serial_log[-3000:]}')

    def wait_serial(self, pattern, timeout=None):
        """Wait for the regular expression after what was matched last; gives the match."""
        end = time.monotonic() + self._limit(timeout)
        regex = re.compile(pattern)
        while True:
            match = regex.search(self.serial_log, self.serial_pos)
            if match:
                self.serial_pos = match.end()
                return match
            left = end - time.monotonic()
            if left <= 0:
                raise GuestError(f'no {pattern!r} on the serial line within '
                                 f'{self._limit(timeout)} s; it had: '
                                 f'{self.serial_log[-3000:]}')
            self._read_serial(min(left, 1))

    def send_serial(self, text):
        self.serial.setblocking(True)
        self.serial.sendall(text.encode())
        self.serial.setblocking(False)

    # -------- keyboard, screen --------

    def key(self, *chord):
        self.qmp('send-key', keys=[{'type': 'qcode', 'data': k} for k in chord])

    def type(self, text):
        for char in text:
            self.key(*key_codes(char))

    def move(self, dx, dy):
        """Move the mouse by so many counts."""
        self.qmp('input-send-event', events=[
            {'type': 'rel', 'data': {'axis': axis, 'value': value}}
            for axis, value in (('x', dx), ('y', dy))])

    def button(self, name):
        """Click a mouse button."""
        for down in (True, False):
            self.qmp('input-send-event', events=[{'type': 'btn',
                                                  'data': {'button': name, 'down': down}}])
            select.select([], [], [], 0.1)

    def wait_until(self, condition, what, timeout=None):
        """Wait until CONDITION() is true; gives what it returned."""
        end = time.monotonic() + self._limit(timeout)
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > end:
                raise GuestError(f'no {what} within {self._limit(timeout)} s')
            if self.process.poll() is not None:
                self._ended('the guest ended')
            select.select([], [], [], 0.5)

    def read_memory(self, address, size):
        path = os.path.join(self.folder, 'memory')
        self.qmp('pmemsave', val=address, size=size, filename=path)
        with open(path, 'rb') as f:
            return f.read()

    def screen(self):
        """The text-mode screen memory as lines of 80, the whole 32 KiB window."""
        chars = self.read_memory(0xb8000, 0x8000)[::2]
        text = ''.join(chr(c) if 32 <= c < 127 else ' ' for c in chars)
        lines = [text[i:i + 80].rstrip() for i in range(0, len(text), 80)]
        return '\n'.join(lines).rstrip()

    def wait_screen(self, pattern, timeout=None):
        """Wait until the regular expression is on the text screen; gives the match."""
        end = time.monotonic() + self._limit(timeout)
        while True:
            screen = self.screen()
            match = re.search(pattern, screen)
            if match:
                return match
            if time.monotonic() > end:
                raise GuestError(f'no {pattern!r} on the screen within '
                                 f'{self._limit(timeout)} s; it has:\n{screen}')
            if self.process.poll() is not None:
                self._ended('the guest ended')
            select.select([], [], [], 0.2)

    def screendump(self):
        """(width, height, RGB bytes) of the display."""
        path = os.path.join(self.folder, 'screen.ppm')
        self.qmp('screendump', filename=path)
        with open(path, 'rb') as f:
            data = f.read()
        match = re.match(rb'P6\s+(\d+)\s+(\d+)\s+255\s', data)
        if not match:
            raise GuestError('screendump gave no PPM image')
        return int(match.group(1)), int(match.group(2)), data[match.end():]

    def wait_colours(self, count, timeout=None):
        """Wait until the display shows at least COUNT different colours."""
        end = time.monotonic() + self._limit(timeout)
        while True:
            _, _, rgb = self.screendump()
            seen = len({rgb[i:i + 3] for i in range(0, len(rgb), 3)})
            if seen >= count:
                return
            if time.monotonic() > end:
                raise GuestError(f'only {seen} colours on the display, {count} expected')
            select.select([], [], [], 0.5)

    def wait_display(self, width, height, timeout=None):
        """Wait until the display has that size in pixels."""
        self.wait_until(lambda: self.screendump()[:2] == (width, height),
                        f'display of {width}x{height}', timeout)

    # -------- the end --------

    def wait_exit(self, timeout=None):
        """The exit status; negative for a signal."""
        try:
            return self.process.wait(self._limit(timeout))
        except subprocess.TimeoutExpired:
            raise GuestError(f'still running; serial: {self.serial_log[-2000:]}') from None


def run_tests(*tests, slow=()):
    """Run functions as a TAP program; their docstrings are the claims.

    Arguments name those to run; SLOW ones run only so."""
    names = sys.argv[1:]
    unknown = set(names) - {t.__name__ for t in (*tests, *slow)}
    if unknown:
        sys.exit(f'no test {", ".join(sorted(unknown))}')
    tests = [t for t in (*tests, *slow) if t.__name__ in names] if names else tests
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print(f'1..{len(tests)}', flush=True)
    bad = 0
    for i, test in enumerate(tests, 1):
        name = f'{i} {test.__name__}'
        try:
            test()
            print(f'ok {name}', flush=True)
        except Skip as reason:
            print(f'ok {name} # SKIP {reason}', flush=True)
        except Exception as error:  # pylint: disable=broad-except
            bad += 1
            print(f'not ok {name}')
            for line in f'{type(error).__name__}: {error}'.splitlines():
                print('# ' + line)
            sys.stdout.flush()
    sys.exit(1 if bad else 0)
