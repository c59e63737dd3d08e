/* SPDX-License-Identifier: MIT */
/*
 * Option ROM that boots a PVH kernel from fw_cfg: copies what the emulator listed, fills in the
 * memory map and the RSDP's address, and enters the kernel in flat protected mode.
 * Spec: Xen "x86/HVM direct boot ABI"; ACPI 5.2.5.1 (finding the RSDP).
 */
        .include "loader.inc"
        .include "protected.inc"

        .set START_RSDP, 32
        .set START_MEMMAP_ENTRIES, 48

        ROM_HEADER "PVH loader"
        ROM_CODE

boot:
        SET_UP
        COPY_ALL
        READ_MAP 0
        mov     $INFO_SEG, %ax
        mov     %ax, %es
        movzwl  %di, %eax
        sub     $MAP, %eax
        xor     %edx, %edx
        mov     $MAP_ENTRY, %ecx
        div     %ecx
        mov     %eax, %es:START_MEMMAP_ENTRIES
        mov     $0xe000, %cx                    /* paragraphs of the BIOS's segments */
1:      mov     %cx, %ds
        cmpl    $0x20445352, 0                  /* "RSD PTR " */
        jne     2f
        cmpl    $0x20525450, 4
        je      3f
2:      inc     %cx
        jnz     1b
        jmp     4f
3:      movzwl  %cx, %ecx
        shl     $4, %ecx
        mov     %ecx, %es:START_RSDP
4:      xor     %ax, %ax
        mov     %ax, %ds
        mov     %ax, %es
        ENTER_PROTECTED 0
