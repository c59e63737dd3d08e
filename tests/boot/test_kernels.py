#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Kernels by -kernel: Multiboot and PVH ones, and Linux's other flavours with a busybox root."""
import glob
import gzip
import os
import re
import subprocess
import sys
import tempfile

from guest import QUIET, ROOT, Guest, GuestError, Skip, run_tests

sys.path.insert(0, os.path.join(ROOT, 'scripts'))
import default_guest    # noqa: E402
import extract_vmlinux  # noqa: E402

BUILD = os.environ.get('RHEA_BUILD', os.path.join(ROOT, 'build'))
ACCEL = ['-accel', os.environ.get('RHEA_ACCEL', 'tcg')]


def fetched(package, pattern, installed=None):
    """A file that is installed, or unpacked by fetch_guests.py."""
    for place in ([installed] if installed else []) + [os.path.join(BUILD, 'guests', package,
                                                                    pattern)]:
        found = [p for p in sorted(glob.glob(place)) if os.access(p, os.R_OK)]
        if found:
            return found[-1]
    raise Skip(f'no {pattern}: run tests/boot/fetch_guests.py {package}')


class Unpacked:
    """A temporary file with the content of a .gz, or with BYTES."""

    def __init__(self, source):
        self.file = tempfile.NamedTemporaryFile(prefix='rhea-kernel-')
        if not isinstance(source, bytes):
            with gzip.open(source) as f:
                source = f.read()
        self.file.write(source)
        self.file.flush()

    def __enter__(self):
        return self.file.name

    def __exit__(self, *_):
        self.file.close()


def default_kernel():
    command = [sys.executable, os.path.join(ROOT, 'scripts', 'default_guest.py'),
               '--build', BUILD, 'kernel']
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise GuestError(result.stderr)
    return result.stdout.split()


def to_shell_and_off(guest, cpus, machine, timeout):
    guest.wait_serial(r'Welcome to the default guest of Rhea', timeout)
    guest.wait_serial(r'# ')
    guest.send_serial('echo $(uname -m) $(nproc)\n')
    guest.wait_serial(rf'{machine} {cpus}\s')
    guest.send_serial('poweroff\n')
    status = guest.wait_exit()
    if status != 0:
        raise GuestError(f'poweroff ended with status {status}: {guest.messages()}')


def xen():
    """Xen 4.17 by Multiboot: banner, loader, command line, and the lack of a dom0."""
    image = fetched('xen-hypervisor', 'boot/xen-4.17-amd64.gz', '/boot/xen-4.17-amd64.gz')
    with Unpacked(image) as kernel, \
            Guest(*ACCEL, '-m', '256', '-kernel', kernel, '-append',
                  'console=com1 com1=115200,8n1') as guest:
        guest.wait_serial(r'Xen version 4\.17', 90)
        guest.wait_serial(r'Bootloader: rhea')
        guest.wait_serial(r'Command line: console=com1 com1=115200,8n1')
        guest.wait_serial(r'dom0 kernel not specified')


def xen_finds_its_module():
    """With a kernel as module, Xen reads the memory map and starts to build dom0 from it."""
    image = fetched('xen-hypervisor', 'boot/xen-4.17-amd64.gz', '/boot/xen-4.17-amd64.gz')
    module, _ = default_kernel()
    with Unpacked(image) as kernel, \
            Guest(*ACCEL, '-m', '512', '-kernel', kernel, '-initrd', f'{module} console=hvc0',
                  '-append', 'console=com1 com1=115200,8n1') as guest:
        guest.wait_serial(r'Xen-e820 RAM map', 90)
        guest.wait_serial(r'\[0000000000100000, 00000000[0-9a-f]{8}\] \(usable\)')
        guest.wait_serial(r'System RAM: 51[12]MB')


def xen_dom0():
    """Given an initrd, too, Xen starts Linux as its paravirtual dom0, which runs its init."""
    image = fetched('xen-hypervisor', 'boot/xen-4.17-amd64.gz', '/boot/xen-4.17-amd64.gz')
    module, initrd = default_kernel()
    with Unpacked(image) as kernel, \
            Guest(*ACCEL, '-m', '768', '-kernel', kernel, '-initrd',
                  f'{module} console=hvc0 earlyprintk=xen,{initrd}', '-append',
                  'console=com1 com1=115200,8n1 dom0_mem=400M') as guest:
        guest.wait_serial(r'Xen version 4\.17', 90)
        guest.wait_serial(r'Linux version 6', 600)
        guest.wait_serial(r'Run /init as init process', 1500)


def gnu_mach():
    """GNU Mach by Multiboot probes its devices and misses its bootstrap modules."""
    image = fetched('gnumach', 'boot/gnumach-*-486.gz')
    with Unpacked(image) as kernel, Guest(*ACCEL, '-m', '256', '-kernel', kernel) as guest:
        guest.wait_screen(r'No bootstrap code loaded', 90)
        assert 'Partition check' in guest.screen()


def gnu_mach_modules():
    """-initrd "FILE ARGUMENTS,FILE" gives modules, ",," a comma in one."""
    image = fetched('gnumach', 'boot/gnumach-*-486.gz')
    with Unpacked(image) as kernel, Unpacked(b'not a program') as module, \
            Guest(*ACCEL, '-m', '256', '-kernel', kernel, '-initrd',
                  f'{module} $(a=b) one,{module} two,,three') as guest:
        guest.wait_screen(rf'module 0: {module} \$\(a=b\) one', 90)
        guest.wait_screen(rf'module 1: {module} two,three')
        guest.wait_screen(r'2 multiboot modules')


def vmlinux_by_pvh():
    """An uncompressed kernel enters by its PVH note, finds the RSDP and its initrd: a shell."""
    image, initrd = default_kernel()
    with open(image, 'rb') as f:
        vmlinux = extract_vmlinux.vmlinux(f.read())
    with Unpacked(vmlinux) as kernel, \
            Guest(*ACCEL, '-m', '256', '-kernel', kernel, '-initrd', initrd, '-append',
                  QUIET.replace(' quiet', '')) as guest:
        guest.wait_serial(r'ACPI: RSDP', 90)
        to_shell_and_off(guest, 1, 'x86_64', 240)


def video_mode():
    """vga= on the command line sets the mode before Linux starts, as its boot protocol asks."""
    kernel, initrd = default_kernel()
    with Guest(*ACCEL, '-m', '256', '-kernel', kernel, '-initrd', initrd, '-append',
               f'{QUIET} vga=788') as guest:
        guest.wait_display(800, 600, 90)


def cloud_kernel_2_cpus():
    """The cloud kernel with -smp 2; 1 and 4 are in test_default_guest.py."""
    kernel, initrd = default_kernel()
    with Guest(*ACCEL, '-m', '256', '-smp', '2', '-kernel', kernel, '-initrd', initrd,
               '-append', QUIET) as guest:
        to_shell_and_off(guest, 2, 'x86_64', 400)


def cpu_max_needs_no_mitigations():
    """With -cpu max Linux finds no reason for page table isolation, retpolines or VERW."""
    kernel, initrd = default_kernel()
    with Guest(*ACCEL, '-cpu', 'max', '-m', '256', '-kernel', kernel, '-initrd', initrd,
               '-append', QUIET) as guest:
        guest.wait_serial(r'Welcome to the default guest of Rhea', 400)
        guest.wait_serial(r'# ')
        guest.send_serial('cd /sys/devices/system/cpu/vulnerabilities; grep . *; echo $((6*7))\n')
        guest.wait_serial(r'\n42\s')
        found = dict(re.findall(r'^(\w+):(.*?)\s*$', guest.serial_log, re.MULTILINE))
        if 'IBRS' not in found['spectre_v2'] or 'Retpolines' in found['spectre_v2']:
            raise GuestError(f'spectre_v2: {found["spectre_v2"]}')
        # What is left is code that every processor runs, and what the flags of IBRS do.
        slow = {name: text for name, text in found.items()
                if text != 'Not affected' and name not in ('spectre_v1', 'spectre_v2')}
        if slow or 'meltdown' not in found:
            raise GuestError(f'vulnerabilities: {slow or found}')


def cpu_max_has_the_vectors():
    """-cpu max offers what the host's processor has and the translator knows."""
    kernel, initrd = default_kernel()
    wanted = {'avx', 'avx2', 'fma', 'f16c', 'bmi1', 'bmi2', 'aes', 'pclmulqdq', 'sha_ni', 'sse4_2', 'popcnt', 'movbe', 'adx', 'vaes',
              'vpclmulqdq', 'gfni', 'avx512f', 'avx512dq', 'avx512cd', 'avx512bw', 'avx512vl', 'avx512ifma', 'avx512vbmi',
              'avx512_vbmi2', 'avx512_vnni', 'avx512_bitalg', 'avx512_vpopcntdq', 'avx512_bf16', 'xsavec', 'fsgsbase', 'rdtscp', 'erms', 'pcid', 'smep', 'smap', 'umip', 'arch_capabilities'}
    with open('/proc/cpuinfo', encoding='utf-8') as f:
        host = set(re.search(r'^flags\s*: (.*)$', f.read(), re.MULTILINE).group(1).split())
    with Guest(*ACCEL, '-cpu', 'max', '-m', '256', '-kernel', kernel, '-initrd', initrd,
               '-append', QUIET) as guest:
        guest.wait_serial(r'Welcome to the default guest of Rhea', 400)
        guest.wait_serial(r'# ')
        guest.send_serial('grep ^flags /proc/cpuinfo; echo $((6*7))\n')
        guest.wait_serial(r'\n42\s')
        has = set(re.search(r'^flags\s*: ([\w ]+)', guest.serial_log, re.MULTILINE).group(1).split())
    # Those of system mode need nothing of the host.
    always = {'fsgsbase', 'rdtscp', 'erms', 'smep', 'smap', 'umip', 'arch_capabilities'}
    missing = (wanted & (host | always)) - has
    if missing:
        raise GuestError(f'not in the guest: {sorted(missing)}; it has {sorted(has)}')


def generic_kernel():
    """Debian's generic amd64 kernel reaches a shell and powers off."""
    kernel = fetched('linux-amd64', 'boot/vmlinuz-*')
    _, initrd = default_kernel()
    with Guest(*ACCEL, '-m', '512', '-kernel', kernel, '-initrd', initrd, '-append',
               QUIET) as guest:
        to_shell_and_off(guest, 1, 'x86_64', 400)


def i386_pae_kernel():
    """So does Debian's i386 686-pae kernel, with an i386 busybox, on the default CPU."""
    kernel = fetched('linux-686-pae', 'boot/vmlinuz-*')
    busybox = fetched('busybox-i386', 'bin/busybox')
    with tempfile.NamedTemporaryFile(suffix='.gz') as initrd:
        default_guest.make_initrd(initrd.name, busybox)
        with Guest(*ACCEL, '-m', '512', '-kernel', kernel, '-initrd', initrd.name, '-append',
                   QUIET) as guest:
            to_shell_and_off(guest, 1, 'i686', 400)


if __name__ == '__main__':
    run_tests(xen, xen_finds_its_module, gnu_mach, gnu_mach_modules, vmlinux_by_pvh,
              video_mode, cloud_kernel_2_cpus, cpu_max_needs_no_mitigations, cpu_max_has_the_vectors, generic_kernel,
              i386_pae_kernel,
              slow=[xen_dom0])
