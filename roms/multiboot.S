/* SPDX-License-Identifier: MIT */
/*
 * Option ROM that boots a Multiboot kernel from fw_cfg: copies what the emulator listed, fills in
 * the memory fields and the map, and enters the kernel in flat protected mode.
 * Spec: Multiboot 0.6.96, 3.2 (machine state) and 3.3 (boot information).  GNU Mach takes its heap
 * from the end of mem_upper, so that must not reach into what the firmware reserves.
 */
        .include "loader.inc"
        .include "protected.inc"

        .set MAGIC, 0x2badb002
        .set MBI_MEM_LOWER, 4
        .set MBI_MEM_UPPER, 8
        .set MBI_MMAP_LENGTH, 44
        .set ENTRY_BASE, 4
        .set ENTRY_LENGTH, 12
        .set ENTRY_TYPE, 20

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
        mov     $MAP, %si                       /* mem_upper: the RAM that starts at 1 MiB */
1:      cmp     %di, %si
        jae     3f
        cmpl    $0x100000, ENTRY_BASE(%si)
        jne     2f
        cmpl    $1, ENTRY_TYPE(%si)
        jne     2f
        mov     ENTRY_LENGTH(%si), %eax
        shr     $10, %eax
        mov     %eax, %es:MBI_MEM_UPPER
2:      add     $MAP_ENTRY, %si
        jmp     1b
3:      int     $0x12                           /* KiB below the BIOS's data */
        movzwl  %ax, %eax
        mov     %eax, %es:MBI_MEM_LOWER
        xor     %ax, %ax
        mov     %ax, %es
        ENTER_PROTECTED MAGIC
