#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""debian-installer's language menu, in text and graphics: keyboard and mouse move in it."""
import os

from guest import Guest, GuestError, run_tests
from test_kernels import ACCEL, fetched

IMAGES = 'usr/lib/debian-installer/images/12/amd64/{}/debian-installer/amd64'
PATIENCE = 1500


def installer(kind, *options, append):
    """A guest with the netboot images of KIND, text or gtk."""
    folder = IMAGES.format(kind)
    kernel = fetched('debian-installer', f'{folder}/linux', f'/{folder}/linux')
    initrd = os.path.join(os.path.dirname(kernel), 'initrd.gz')
    return Guest(*ACCEL, '-kernel', kernel, '-initrd', initrd, '-append',
                 append, *options)


def attributes(guest, word):
    """The colours of WORD on the text screen; None while it is not there."""
    memory = guest.read_memory(0xb8000, 0x8000)
    at = memory[::2].find(word.encode())
    return None if at < 0 else set(memory[1::2][at:at + len(word)])


def text():
    """The menu on the VGA text screen; the arrow keys move its bar.

    (1 GiB: with less memory it goes without languages.)"""
    with installer('text', '-m', '1024', append='vga=normal nomodeset fb=false') as guest:
        guest.wait_screen(r'Select a language', PATIENCE)
        guest.wait_screen(r'English')
        bar = attributes(guest, 'English')
        if attributes(guest, 'Finnish') == bar:
            raise GuestError(f'no bar on English: {bar}')
        guest.key('down')
        guest.key('down')
        guest.wait_until(lambda: attributes(guest, 'French') == bar, 'bar on French')
        guest.key('up')
        guest.wait_until(lambda: attributes(guest, 'Finnish') == bar, 'bar on Finnish')
        if attributes(guest, 'English') == bar or attributes(guest, 'French') == bar:
            raise GuestError('the bar is on two lines')


class Picture:
    """The graphical menu in pixels: its bar is green, its pointer black."""

    def __init__(self, guest):
        self.width, self.height, self.rgb = guest.screendump()

    def at(self, x, y):
        offset = 3 * (y * self.width + x)
        return tuple(self.rgb[offset:offset + 3])

    def bar(self):
        """(first, last) line of the bar, looked for right of the words; None: not all of one."""
        x = self.width * 7 // 8
        lines = [y for y in range(self.height // 5, self.height * 9 // 10)
                 if self.at(x, y)[1] - self.at(x, y)[0] > 60]
        return (lines[0], lines[-1]) if len(lines) > 10 else None

    def pointer(self):
        """The topmost black pixel of the pointer, right of the words."""
        left, right = self.width * 3 // 8, self.width * 7 // 8
        for y in range(self.height // 5, self.height * 9 // 10):
            line = self.rgb[3 * (y * self.width + left):3 * (y * self.width + right)]
            at = line.find(bytes(3))
            if at >= 0:
                return left + at // 3, y
        return None


def settled_bar(guest):
    """Wait for the menu and for the end of its scrolling."""
    last = []

    def settled():
        last.append(Picture(guest).bar())
        return last[-1] if last[-4:] == [last[-1]] * 4 else None
    return guest.wait_until(settled, 'menu with a bar', PATIENCE)


def bar_from(guest, top):
    """Wait for the bar at or below line TOP."""
    def bar():
        lines = Picture(guest).bar()
        return lines if lines and lines[0] >= top else None
    return guest.wait_until(bar, f'bar below line {top}')


def push_pointer(guest, left, top):
    """Move the mouse in small steps (X accelerates) until the pointer is right of and below."""
    def there():
        at = Picture(guest).pointer()
        if at and at[0] >= left and at[1] >= top:
            return at
        guest.move(8, 8)
        return None
    return guest.wait_until(there, f'pointer at {left}, {top}')


def gtk():
    """The menu in graphics: the arrow keys move its bar, the mouse moves the pointer and clicks."""
    with installer('gtk', '-m', '1536', append='vga=788') as guest:
        bar = settled_bar(guest)
        pointer = guest.wait_until(lambda: Picture(guest).pointer(), 'pointer', PATIENCE)
        guest.key('down')
        bar = bar_from(guest, bar[1] - 2)

        x, y = push_pointer(guest, pointer[0] + 20, max(pointer[1], bar[1]) + 45)
        guest.button('left')
        first, last = bar_from(guest, bar[1] + 10)
        x, y = Picture(guest).pointer() or (x, (first + last) // 2)
        if not first - 5 <= y <= last + 5:
            raise GuestError(f'bar at {first} to {last}, pointer at {y}')


if __name__ == '__main__':
    run_tests(text, gtk)
