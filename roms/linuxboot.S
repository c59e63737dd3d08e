/* SPDX-License-Identifier: MIT */
/*
 * Option ROM that boots a Linux kernel from fw_cfg: copies setup, command line, protected-mode part
 * and initrd to where the emulator says, by fw_cfg DMA, then jumps to the setup code.
 * Spec: Linux x86 boot protocol.
 *
 * Runs in 16-bit real mode; DMA reaches any physical address, so no mode switch is needed.
 */
        .include "loader.inc"

        .set STACK_TOP, 0xf000

        ROM_HEADER "Linux loader"
        ROM_CODE

/* ITEM, ADDR and SIZE items: copies a blob. */
        .macro  load addr, size, data
        mov     $\addr, %ax
        call    read_u32
        mov     %eax, %edx
        mov     $\size, %ax
        call    read_u32
        mov     %eax, %ecx
        mov     $\data, %ax
        call    dma_read
        .endm

boot:
        cli
        cld
        xor     %eax, %eax
        mov     %ax, %ss                        /* stack below the loaded parts while copying */
        mov     $0x7000, %esp
        xor     %ebp, %ebp
        load    SETUP_ADDR, SETUP_SIZE, SETUP_DATA
        load    CMDLINE_ADDR, CMDLINE_SIZE, CMDLINE_DATA
        load    KERNEL_ADDR, KERNEL_SIZE, KERNEL_DATA
        mov     $INITRD_SIZE, %ax
        call    read_u32
        test    %eax, %eax
        jz      1f
        load    INITRD_ADDR, INITRD_SIZE, INITRD_DATA
1:      mov     $SETUP_ADDR, %ax
        call    read_u32
        shr     $4, %eax                        /* segments as the boot protocol wants them */
        mov     %ax, %ds
        mov     %ax, %es
        mov     %ax, %fs
        mov     %ax, %gs
        mov     %ax, %ss
        mov     $STACK_TOP - 0x1000, %esp
        mov     %eax, %ebx
        add     $0x20, %bx                      /* entry: 512 bytes after the start */
        push    %bx
        pushw   $0
        xor     %eax, %eax
        xor     %ebx, %ebx
        xor     %ecx, %ecx
        xor     %edx, %edx
        xor     %esi, %esi
        xor     %edi, %edi
        xor     %ebp, %ebp
        lret
