/* SPDX-License-Identifier: MIT */
/*
 * void host_run(void): loads the register file at HOST_STATE (InsnState of maker.h),
 * jumps to the instruction under test, which is followed by a jump to host_return, and stores
 * the registers back.  Everything is addressed absolutely, below 2 GiB.
 */
#define S 0x20300000
#define GPR(n) S + 8 * (n)
#define FLAGS S + 128
#define TARGET S + 136
#define STACK S + 144
#define WIDE S + 152
#define FX S + 512
#define ZMM(n) S + 1024 + 64 * (n)
#define K(n) S + 3072 + 8 * (n)
        .text
        .globl host_run
        .type host_run, @function
host_run:
        push %rbx
        push %rbp
        push %r12
        push %r13
        push %r14
        push %r15
        mov %rsp, STACK
        fxrstor64 FX
        cmpq $0, WIDE
        jne 1f
        .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        vmovdqu ZMM(\n), %ymm\n
        .endr
        jmp 2f
1:      .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
        vmovdqu64 ZMM(\n), %zmm\n
        .endr
        .irp n, 0, 1, 2, 3, 4, 5, 6, 7
        kmovq K(\n), %k\n
        .endr
2:
        pushq FLAGS
        popfq
        mov GPR(0), %rax
        mov GPR(1), %rcx
        mov GPR(2), %rdx
        mov GPR(3), %rbx
        mov GPR(5), %rbp
        mov GPR(6), %rsi
        mov GPR(7), %rdi
        mov GPR(8), %r8
        mov GPR(9), %r9
        mov GPR(10), %r10
        mov GPR(11), %r11
        mov GPR(12), %r12
        mov GPR(13), %r13
        mov GPR(14), %r14
        mov GPR(15), %r15
        mov GPR(4), %rsp
        jmp *TARGET
        .size host_run, . - host_run

        .globl host_return
        .type host_return, @function
host_return:
        mov %rax, GPR(0)
        mov %rcx, GPR(1)
        mov %rdx, GPR(2)
        mov %rbx, GPR(3)
        mov %rsp, GPR(4)
        mov %rbp, GPR(5)
        mov %rsi, GPR(6)
        mov %rdi, GPR(7)
        mov %r8, GPR(8)
        mov %r9, GPR(9)
        mov %r10, GPR(10)
        mov %r11, GPR(11)
        mov %r12, GPR(12)
        mov %r13, GPR(13)
        mov %r14, GPR(14)
        mov %r15, GPR(15)
        mov STACK, %rsp
        pushfq
        popq FLAGS
        pushq $2                        /* no DF, no AC in C */
        popfq
        cmpq $0, WIDE
        jne 1f
        .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        vmovdqu %ymm\n, ZMM(\n)
        .endr
        jmp 2f
1:      .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
        vmovdqu64 %zmm\n, ZMM(\n)
        .endr
        .irp n, 0, 1, 2, 3, 4, 5, 6, 7
        kmovq %k\n, K(\n)
        .endr
2:
        fxsave64 FX
        fninit
        vzeroupper
        pop %r15
        pop %r14
        pop %r13
        pop %r12
        pop %rbp
        pop %rbx
        ret
        .size host_return, . - host_return
        .section .note.GNU-stack, "", @progbits
