/* SPDX-License-Identifier: MIT */
/*
 * Option ROM that boots a Multiboot kernel from fw_cfg: copies what the emulator listed, fills in
 * the memory fields and the map, and enters the kernel in flat protected mode.
 * Spec: Multiboot 0.6.96, 3.2 (machine state) and 3.3 (boot information).
 */
        .include "loader.inc"
        .include "protected.inc"

        .set MAGIC, 0x2badb002
        .set MBI_MEM_LOWER, 4
        .set MBI_MMAP_LENGTH, 44

        ROM_HEADER "Multiboot loader"
        ROM_CODE

boot:
        SET_UP
        COPY_ALL
        READ_MAP 1
        mov     $INFO_SEG, %ax
        mov     %ax, %es
        movzwl  %di, %eax
        sub     $MAP, %eax
        mov     %eax, %es:MBI_MMAP_LENGTH
        int     $0x12                           /* KiB below the BIOS's data */
        movzwl  %ax, %eax
        mov     %eax, %es:MBI_MEM_LOWER
        xor     %ax, %ax
        mov     %ax, %es
        ENTER_PROTECTED MAGIC
