/* SPDX-License-Identifier: MIT */
/*
 * Option ROM that boots a Linux kernel from fw_cfg: copies setup, command line, protected-mode part
 * and initrd to where the emulator says, by fw_cfg DMA, then jumps to the setup code.
 * Spec: PnP BIOS 1.0a (expansion header, bootstrap entry vector); Linux x86 boot protocol.
 *
 * Runs in 16-bit real mode; DMA reaches any physical address, so no mode switch is needed.
 */
        .code16
        .section .text
        .globl _start

/* fw_cfg item numbers */
        .set KERNEL_ADDR, 0x07
        .set KERNEL_SIZE, 0x08
        .set INITRD_ADDR, 0x0a
        .set INITRD_SIZE, 0x0b
        .set KERNEL_DATA, 0x11
        .set INITRD_DATA, 0x12
        .set CMDLINE_ADDR, 0x13
        .set CMDLINE_SIZE, 0x14
        .set CMDLINE_DATA, 0x15
        .set SETUP_ADDR, 0x16
        .set SETUP_SIZE, 0x17
        .set SETUP_DATA, 0x18
        .set DMA_PORT_LOW, 0x518
        .set DMA_PORT_HIGH, 0x514
        .set CONTROL_SELECT_READ, 0x0a          /* SELECT | READ; the item is in the high half */
        .set STACK_TOP, 0xf000

_start:
        .word   0xaa55
        .byte   2                               /* 512-byte units; the build pads to it */
        jmp     init
        .org    0x1a
        .word   pnp - _start

        .balign 16
pnp:    .ascii  "$PnP"
        .byte   1                               /* structure revision */
        .byte   2                               /* length in 16-byte units */
        .word   0
        .byte   0
        .byte   0                               /* checksum: set by the build */
        .long   0
        .word   0                               /* manufacturer string */
        .word   product - _start
        .byte   0, 0, 0                         /* device type */
        .byte   0x64                            /* supports DDIM, read cacheable, boots an OS */
        .word   0                               /* boot connection vector */
        .word   0                               /* disconnect vector */
        .word   boot - _start                   /* bootstrap entry vector */
        .word   0
        .word   0
product:
        .asciz  "Linux loader"

/* ROM initialization: says that we are an IPL device. */
init:
        mov     $0x20, %ax
        lret

/* One DMA: item in %ax, length in %ecx, physical destination in %edx.  The control structure is
 * built on the stack at %ss:%sp; SS base is known through %ebp = SS << 4. */
dma_read:
        pushal
        sub     $16, %sp
        mov     %sp, %si
        /* address, big-endian 64 bits */
        movl    $0, %ss:8(%si)
        bswapl  %edx
        mov     %edx, %ss:12(%si)
        bswapl  %ecx
        mov     %ecx, %ss:4(%si)
        movzwl  %ax, %eax
        shl     $16, %eax
        or      $CONTROL_SELECT_READ, %eax
        bswapl  %eax
        mov     %eax, %ss:0(%si)
        /* physical address of the structure */
        movzwl  %sp, %ebx
        add     %ebp, %ebx
        xor     %eax, %eax
        mov     $DMA_PORT_HIGH, %dx
        outl    %eax, %dx
        mov     %ebx, %eax
        bswapl  %eax
        mov     $DMA_PORT_LOW, %dx
        outl    %eax, %dx
1:      mov     %ss:0(%si), %eax                /* done when all but the error bit is 0 */
        bswapl  %eax
        and     $~1, %eax
        jnz     1b
        add     $16, %sp
        popal
        ret

/* Reads the 32-bit little-endian item %ax into %eax. */
read_u32:
        push    %ecx
        push    %edx
        pushl   $0
        movzwl  %sp, %edx
        add     %ebp, %edx
        mov     $4, %ecx
        call    dma_read
        popl    %eax
        pop     %edx
        pop     %ecx
        ret

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
