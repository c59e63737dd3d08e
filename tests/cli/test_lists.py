#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Lists on request: printed on stdout, exit status 0, no machine made."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'boot'))
from guest import GuestError, run_tests, system_program  # noqa: E402

# Options, and lines that the list must hold.
ROWS = {
    'boot': (['-boot', 'help'], ['boot-opts options:', '  menu=<bool (on/off)>', '  order=<str>']),
    'smp': (['-smp', '?'], ['smp-opts options:', '  cpus=<num>']),
    'memory': (['-m', 'help'], ['  maxmem=<size>']),
    'rtc': (['-rtc', 'help'], ['  base=<str>']),
    'action': (['-action', 'help'], ['  panic=<str>']),
    'global': (['-global', 'help'], ['  driver=<str>']),
    'drive': (['-drive', 'help'], ['  file=<str>', '  snapshot=<bool (on/off)>']),
    'drive_too': (['-drive', 'if=ide,help'], ['  file=<str>']),
    'vga': (['-vga', 'help'], ['none                 no graphic card']),
    'display': (['-display', 'help'], ['Available display backend types:', 'none', 'sdl']),
    'accel': (['-accel', 'help'], ['kvm', 'tcg']),
    'accel_options': (['-accel', 'kvm,help'], ['kvm-accel options:']),
    'machine': (['-M', 'help'], ['Supported machines are:']),
    'machine_options': (['-M', 'pc,help'], ['pc-i440fx-7.2-machine options:']),
    'device': (['-device', 'help'], ['name "isa-serial", bus ISA']),
    'device_options': (['-device', 'scsi-hd,help'], [
        'scsi-hd options:', '  dpofua=<bool>          - on/off (default: false)',
        '  write-cache=<OnOffAuto> - on/off/auto (default: "auto")']),
    'object': (['-object', 'help'], ['List of user creatable objects:']),
    'chardev': (['-chardev', 'help'], ['Available chardev backend types:']),
    'log': (['-d', 'help'], ['Log items (comma separated):']),
    'trace': (['-trace', 'help'], ['device_reset']),
    'log_trace': (['-d', 'trace:help'], ['device_reset']),
    # Whatever else is wrong on the line.
    'first': (['-m', '0', '-boot', 'help'], ['boot-opts options:']),
}


def row_test(name, options, wanted):
    def test():
        result = subprocess.run([system_program(), *options], stdin=subprocess.DEVNULL,
                                capture_output=True, text=True, timeout=30, check=False)
        lines = result.stdout.splitlines()
        missing = [line for line in wanted if line not in lines]
        if result.returncode or result.stderr or missing:
            raise GuestError(f'status {result.returncode}, {result.stderr!r}, lacks {missing}')
    test.__name__ = name
    return test


if __name__ == '__main__':
    run_tests(*(row_test(name, *row) for name, row in ROWS.items()))
