#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The SDL window on a display of its own (Xvfb): it shows the guest, keys typed in it arrive."""
import os
import subprocess

from guest import Guest, GuestError, need_file, need_program, run_tests

ACCEL = ['-accel', os.environ.get('RHEA_ACCEL', 'tcg')]


class Display:
    """An X server that nobody else uses; DISPLAY is set meanwhile."""

    def __enter__(self):
        need_program('xdotool', 'xdotool')
        read, write = os.pipe()
        self.process = subprocess.Popen(
            [need_program('Xvfb', 'xvfb'), '-displayfd', str(write), '-screen', '0', '1024x768x24',
             '-nolisten', 'tcp'], pass_fds=(write,), stderr=subprocess.DEVNULL)
        os.close(write)
        with os.fdopen(read) as numbers:
            self.name = ':' + numbers.readline().strip()
        if self.name == ':':
            raise GuestError('Xvfb gave no display')
        self.before = os.environ.get('DISPLAY')
        os.environ.update(DISPLAY=self.name, SDL_VIDEODRIVER='x11')
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        os.environ.pop('DISPLAY')
        if self.before:
            os.environ['DISPLAY'] = self.before


def xdotool(*words):
    return subprocess.run(['xdotool', *words], capture_output=True, text=True,
                          check=False).stdout


def keys_of_the_window():
    """GRUB in a window: letters, a shifted one and Return typed in it reach GRUB's command line."""
    iso = need_file('/usr/lib/grub-rescue/grub-rescue-cdrom.iso', 'grub-rescue-pc')
    with Display(), Guest(*ACCEL, '-m', '64', '-cdrom', iso, '-name', 'a name',
                          display='sdl') as guest:
        guest.wait_screen(r'GNU GRUB|grub>', 90)
        window = guest.wait_until(lambda: xdotool('search', '--name', 'a name').split(),
                                  'window that has the name of the guest')[0]
        xdotool('mousemove', '--window', window, '20', '20')
        xdotool('windowfocus', window)
        xdotool('key', 'c')
        guest.wait_screen('grub>')
        xdotool('type', '--delay', '100', 'echo Ab-9')
        xdotool('key', 'Return')
        guest.wait_screen(r'\n *Ab-9')


def terminals_of_the_window():
    """Ctrl-Alt-2 shows the monitor: what is typed there stops the guest; Ctrl-Alt-1 goes back."""
    iso = need_file('/usr/lib/grub-rescue/grub-rescue-cdrom.iso', 'grub-rescue-pc')
    with Display(), Guest(*ACCEL, '-m', '64', '-cdrom', iso, '-name', 'a name', '-monitor', 'vc',
                          display='sdl') as guest:
        guest.wait_screen(r'GNU GRUB|grub>', 90)
        window = guest.wait_until(lambda: xdotool('search', '--name', 'a name').split(),
                                  'window that has the name of the guest')[0]
        xdotool('mousemove', '--window', window, '20', '20')
        xdotool('windowfocus', window)
        xdotool('key', 'ctrl+alt+2')
        xdotool('type', '--delay', '100', 'stop')
        xdotool('key', 'Return')
        guest.wait_until(lambda: guest.qmp('query-status')['status'] == 'paused', 'stop', 60)
        xdotool('type', '--delay', '100', 'cont')
        xdotool('key', 'Return')
        guest.wait_until(lambda: guest.qmp('query-status')['status'] == 'running', 'cont', 60)
        xdotool('key', 'ctrl+alt+1')
        xdotool('key', 'c')
        guest.wait_screen('grub>')


if __name__ == '__main__':
    run_tests(keys_of_the_window, terminals_of_the_window)
