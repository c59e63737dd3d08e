/* SPDX-License-Identifier: MIT */
/* What the vmstate*.c files share. */
#ifndef VM_VMSTATE_INT_H
#define VM_VMSTATE_INT_H

#include "vm/vmstate.h"

struct VmReader {
    const uint8_t *data;
    size_t len, pos;
    bool failed;
};

bool vm_reader_skip(VmReader *r, size_t len);
/* The next LEN bytes without taking them; NULL when there are fewer. */
const uint8_t *vm_reader_peek(const VmReader *r, size_t len);

/* Markers of QEMU's stream. */
enum {
    VM_STREAM_EOF = 0x00,
    VM_STREAM_FULL = 0x04,
    VM_STREAM_SUBSECTION = 0x05,
    VM_STREAM_FOOTER = 0x7e,
};

#endif
