#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Each item of -d writes something; several -d add up; -D, -trace and HMP's log, too."""
import os
import re
import subprocess
import tempfile

from guest import Guest, GuestError, Skip, run_tests, system_program

ACCEL = ['-accel', os.environ.get('RHEA_ACCEL', 'tcg')]

# A ROM of 64 KiB, at f000:0000, in 16-bit mode:
#         xor %ax,%ax; mov %ax,%ds; mov %ax,%ss; mov $0x7c00,%sp
#         movw $handler,0x80; movw $0xf000,0x82; int $0x20
#         mov $0x199,%ecx; rdmsr                       an MSR that does nothing
#         mov $0x7a,%al; out %al,$0x64                no command of the keyboard controller
#         lgdtl %cs:gdtr; mov %cr0,%eax; or $1,%al; mov %eax,%cr0; ljmpl $8,$0xf0000+flat
# handler: iret
#   gdtr: .word 23; .long 0xf0000+gdt
#    gdt: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
# and in flat 32-bit mode:
#   flat: mov $16,%eax; mov %eax,%ds; mov %eax,%ss; mov $0x7c00,%esp
#  again: cmp %eax,%ecx; push %eax; cmovb %ecx,%edx; pop %ebx; movl $0x1234,0x500; hlt; jmp again
CODE = bytes.fromhex('31c08ed88ed0bc007c' 'c70680003a00' 'c706820000f0' 'cd20' '66b9990100000f32' 'b07ae664'
                     '2e660f01163c00' '0f20c00c010f22c0' '66ea60000f000800' 'cf90'
                     '170048000f00' '8db600000000'
                     '0000000000000000' 'ffff0000009bcf00' 'ffff00000093cf00'
                     'b8100000008ed88ed0bc007c0000' '39c150' '0f42d15b' 'c7050005000034120000' 'f4ebec')
AGAIN = 0xf0000 + CODE.index(bytes.fromhex('39c1'))
ROM = CODE.ljust(0xfff0, b'\xf4') + bytes.fromhex('ea000000f0') + b'\xf4' * 11

ITEMS = {
    'in_asm': r'rdmsr', 'int': r'v=20 .*IP=f000:', 'exec': r'Trace 0: ', 'cpu': r'EAX=',
    'cpu_reset': r'CPU Reset \(CPU 0\)\s+EAX=', 'unimp': r'RDMSR of MSR 0x199',
    'guest_errors': r'i8042: unknown command 0x7a', 'exec,nochain': r'Trace 0: ',
    'trace:device_re*': r'device_reset', 'int,tid': r'v=20 ',
    'op': r'push +cpazso  push eax +; stack checked .*flags kept .*rsp=r12', 'out_asm': r'OUT: [^$]*cmovb edx, ecx',
}
OF_THE_TRANSLATOR = ('op', 'out_asm')


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
        if item in OF_THE_TRANSLATOR and not translates():
            print(f'# {item}: no translator on this host')
            continue
        need(run_rom('-d', item, '-D', 'LOG.%d' if 'tid' in item else 'LOG'), pattern)


def translates():
    """Is there a translator, on this host and in this build?"""
    answers = []
    run_rom(wanted=lambda guest, log: answers.append(guest.hmp('info jit')))
    return 'gen code size' in answers[0]


def of_some_code():
    """-dfilter keeps the log to blocks that begin in its ranges."""
    some = ['-D', 'LOG', '-dfilter', f'{AGAIN:#x}..{AGAIN:#x},1+1']
    text = run_rom('-d', 'in_asm,exec,int', *some)
    need(text, rf'IN: \s+0x{AGAIN:08x}:', rf'Trace 0: .*/{AGAIN:016x}/', ITEMS['int'])
    if re.search(r'rdmsr|Trace 0: .*/00000000000f0000/', text):
        raise GuestError(text[:2000])
    if translates():
        need(run_rom('-d', 'in_asm,op,out_asm', *some), r'IN: ', r'OP: ', rf'guest addr {AGAIN:#018x}')


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


# What SeaBIOS makes of a CD without a boot record, and what is then asked for.
EVENTS = ['apm_write', 'blk_request', 'device_reset', 'dma_read', 'dma_write', 'fdc_command',
          'fw_cfg_dma', 'fw_cfg_select', 'handle_hmp_command', 'handle_qmp_command', 'ide_atapi_cmd',
          'ide_exec_cmd', 'ide_ioport_read', 'ide_ioport_write', 'ioapic_set_irq',
          'memory_unassigned_read', 'memory_unassigned_write', 'monitor_protocol_event_emit',
          'monitor_qmp_respond', 'pci_cfg_read', 'pci_cfg_write', 'pci_update_mappings_add',
          'pic_interrupt', 'pic_set_irq', 'ps2_keyboard_event', 'ps2_read_keyboard',
          'ps2_write_keyboard', 'vga_vbe_write', 'vm_state']


def need_events(accel, events, use=None):
    """Events of a board that boots, each at least once; a file of patterns chooses them."""
    with tempfile.TemporaryDirectory() as folder:
        with open(f'{folder}/cd.iso', 'wb') as image:
            image.truncate(1 << 20)
        with open(f'{folder}/events', 'w', encoding='ascii') as file:
            file.write('# patterns, one a line\n' + '\n'.join(events) + '\n')
        with Guest('-accel', accel, '-m', '32', '-vga', 'std',
                   '-drive', f'file={folder}/cd.iso,format=raw,media=cdrom,if=ide',
                   '-trace', f'events={folder}/events,file={folder}/log', serial=False) as guest:
            def seen():
                with open(f'{folder}/log', encoding='utf-8', errors='replace') as log:
                    whole = log.read().rpartition('\n')[0]
                return {line.split(' ', 1)[0] for line in whole.split('\n')}

            if use:
                use(guest)
            try:
                guest.wait_until(lambda: set(events) <= seen(), 'events', 120)
            except GuestError as error:
                raise GuestError(f'{set(events) - seen()} did not happen') from error
            if seen() - set(events):
                raise GuestError(f'{seen() - set(events)} were not asked for')


def trace_events():
    """-trace events=FILE,file=LOG shows each of a board's events, and no others."""
    def use(guest):
        guest.wait_screen(r'No bootable device', 120)
        guest.hmp('info status')
        guest.key('a')
        guest.qmp('stop')
        guest.qmp('cont')
    need_events('tcg', EVENTS, use)


def trace_kvm():
    """KVM's exits and memory slots are events, too."""
    try:
        os.close(os.open('/dev/kvm', os.O_RDWR))
    except OSError as error:
        raise Skip(f'/dev/kvm: {error.strerror}') from None
    need_events('kvm', ['kvm_run_exit', 'kvm_set_user_memory'])


if __name__ == '__main__':
    run_tests(each_item, of_some_code, items_add_up, without_a_file, on_request, trace_events,
              trace_kvm)
