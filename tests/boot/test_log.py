#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Each item of -d writes something; several -d add up; -D, -trace and HMP's log, too."""
import os
import re
import subprocess
import tempfile

from guest import Guest, GuestError, run_tests, system_program

ACCEL = ['-accel', os.environ.get('RHEA_ACCEL', 'tcg')]

# A ROM of 64 KiB, at f000:0000, in 16-bit mode:
#         xor %ax,%ax; mov %ax,%ds; mov %ax,%ss; mov $0x7c00,%sp
#         movw $handler,0x80; movw $0xf000,0x82; int $0x20
#         mov $0x199,%ecx; rdmsr                       an MSR that does nothing
#         mov $0x7a,%al; out %al,$0x64                no command of the keyboard controller
#         movw $0x1234,0x500
#   here: hlt; jmp here
# handler: iret
CODE = bytes.fromhex('31c08ed88ed0bc007c' 'c70680002e00' 'c706820000f0' 'cd20' '66b9990100000f32'
                     'b07ae664' 'c70600053412' '90909090' 'f4ebfd' 'cf')
HANDLER = len(CODE) - 1
ROM = CODE.replace(b'\x80\x00\x2e\x00', b'\x80\x00' + HANDLER.to_bytes(2, 'little'))
ROM = ROM.ljust(0xfff0, b'\xf4') + bytes.fromhex('ea000000f0') + b'\xf4' * 11

ITEMS = {
    'in_asm': r'rdmsr', 'int': r'v=20 .*IP=f000:', 'exec': r'Trace 0: ', 'cpu': r'EAX=',
    'cpu_reset': r'CPU Reset \(CPU 0\)\s+EAX=', 'unimp': r'RDMSR of MSR 0x199',
    'guest_errors': r'i8042: unknown command 0x7a', 'exec,nochain': r'Trace 0: ',
    'trace:device_re*': r'device_reset', 'int,tid': r'v=20 ',
}


def run_rom(*options, wanted=None):
    """The ROM's program to its end; LOG in options is the log, whose content it gives."""
    with tempfile.TemporaryDirectory() as folder:
        with open(f'{folder}/rom', 'wb') as rom:
            rom.write(ROM)
        log = f'{folder}/log'
        words = [word.replace('LOG', log) for word in options]
        with Guest(*ACCEL, '-m', '16', '-nodefaults', '-bios', f'{folder}/rom', *words,
                   serial=False) as guest:
            guest.wait_until(lambda: guest.read_memory(0x500, 2) == b'\x34\x12', 'program', 60)
            if wanted:
                wanted(guest, log)
            guest.qmp('quit')
            if guest.wait_exit() != 0:
                raise GuestError(guest.messages())
            text = guest.messages()
        for name in os.listdir(folder):
            if name.startswith('log'):
                with open(f'{folder}/{name}', encoding='utf-8', errors='replace') as file:
                    text += file.read()
        return text


def need(text, *patterns):
    for pattern in patterns:
        if not re.search(pattern, text):
            raise GuestError(f'{pattern!r} is not in {text[:2000]!r}')


def each_item():
    """Each item that -d help lists has something to say."""
    listed = subprocess.run([system_program(), '-d', 'help'], capture_output=True, text=True,
                            check=True).stdout
    names = re.findall(r'^([a-z_]+)(?: |:PATTERN)', listed.split('\n', 1)[1], re.MULTILINE)
    tested = {part.split(':')[0] for item in ITEMS for part in item.split(',')}
    if set(names) != tested:
        raise GuestError(f'{sorted(names)} are listed, {sorted(tested)} tested')
    for item, pattern in ITEMS.items():
        need(run_rom('-d', item, '-D', 'LOG.%d' if 'tid' in item else 'LOG'), pattern)


def items_add_up():
    """What several -d name is logged together."""
    need(run_rom('-d', 'unimp', '-d', 'guest_errors', '-d', 'int', '-D', 'LOG'),
         ITEMS['unimp'], ITEMS['guest_errors'], ITEMS['int'])


def without_a_file():
    """Without -D the log goes to stderr, and so does -trace."""
    need(run_rom('-d', 'guest_errors', '-trace', 'device_re*'), ITEMS['guest_errors'], 'device_reset')


def on_request():
    """HMP's logfile and log begin and end it while the guest runs."""
    def later(guest, log):
        if guest.hmp(f'logfile {log}') or guest.hmp('log cpu_reset'):
            raise GuestError('an answer')
        guest.qmp('system_reset')
        guest.wait_event('RESET')
        guest.hmp('log none')
    text = run_rom(wanted=later)
    need(text, ITEMS['cpu_reset'])
    if re.search(ITEMS['guest_errors'], text):
        raise GuestError(text[:500])


if __name__ == '__main__':
    run_tests(each_item, items_add_up, without_a_file, on_request)
