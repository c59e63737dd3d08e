/* SPDX-License-Identifier: MIT */
/*
 * void state_run(State *in, State *out, uint64_t kind, uint8_t *memory)
 *
 * Loads the registers from IN, does one of the things below, which an emulator may leave its fast path
 * for and none of which changes those registers, and stores them to OUT.  Offsets: State in load_state.c.
 * RAX, RCX, RDX, RSI, RDI and R11 belong to what is done; RSP is checked by coming back.
 */
    .equ YMM, 0
    .equ ST, 512
    .equ GPR, 640
    .equ FLAGS, 704
    .equ MXCSR, 712
    .equ FCW, 716
    .equ HIGH, 720
    .equ ZMM, 1232
    .equ K, 2256

    .macro load_flags                   /* behind the indirect jump, which is not promised to keep them */
    pushq %r15
    popfq
    .endm

    .text
    .globl state_run
    .type state_run, @function
state_run:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    pushq %rsi                          /* out */
    pushq %rcx                          /* memory */
    stmxcsr saved_mxcsr(%rip)
    fnstcw saved_fcw(%rip)
    leaq kinds(%rip), %rax
    movslq (%rax,%rdx,4), %rdx
    addq %rax, %rdx
    pushq %rdx
    movq %rdi, %rax
    fninit
    .irp n, 7, 6, 5, 4, 3, 2, 1, 0
    fldt ST + 16 * \n(%rax)
    .endr
    fldcw FCW(%rax)
    ldmxcsr MXCSR(%rax)
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    vmovdqu YMM + 32 * \n(%rax), %ymm\n
    .endr
    cmpb $0, state_wide(%rip)
    je 3f
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14
    vinserti64x4 $1, HIGH + 32 * \n(%rax), %zmm\n, %zmm\n
    .endr
    .irp n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    vmovdqu64 ZMM + 64 * (\n - 16)(%rax), %zmm\n
    .endr
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7
    kmovq K + 8 * \n(%rax), %k\n
    .endr
3:
    movq GPR(%rax), %rbx
    movq GPR + 8(%rax), %rbp
    movq GPR + 16(%rax), %r8
    movq GPR + 24(%rax), %r9
    movq GPR + 32(%rax), %r10
    movq GPR + 40(%rax), %r12
    movq GPR + 48(%rax), %r13
    movq GPR + 56(%rax), %r14
    movq FLAGS(%rax), %r15
    movq 8(%rsp), %rdi                  /* memory */
    popq %rdx
    jmp *%rdx

    .balign 4
kinds:
    .long getppid - kinds, yield - kinds, fresh - kinds, identify - kinds, clock - kinds, move - kinds
    .long patch - kinds, crossing - kinds, trap - kinds, spin - kinds, image - kinds, walk - kinds
getppid:
    load_flags
    movl $110, %eax
    syscall
    jmp done
yield:
    load_flags
    movl $24, %eax
    syscall
    jmp done
fresh:                                  /* pages that are not there yet, read and written */
    load_flags
    movb 16384(%rdi), %al
    movb %al, 20480(%rdi)
    movl $7, 24576(%rdi)
    jmp done
identify:
    load_flags
    movq %rbx, %rsi
    movl $0, %eax
    movl $0, %ecx
    cpuid
    movq %rsi, %rbx
    jmp done
clock:
    load_flags
    rdtsc
    movl $0, %ecx
    xgetbv
    jmp done
move:
    load_flags
    movq %rdi, %rsi
    leaq 4000(%rdi), %rdi
    movl $5000, %ecx
    rep movsb
    jmp done
patch:                                  /* code written and called: movl $imm, %eax; ret */
    load_flags
    movb $0xb8, 8192(%rdi)
    movl %ebp, 8193(%rdi)
    movb $0xc3, 8197(%rdi)
    leaq 8192(%rdi), %rsi
    pushfq                              /* flags are not promised to survive a function */
    call *%rsi
    popfq
    movl %eax, (%rdi)
    jmp done
crossing:                               /* over the end of a page */
    load_flags
    movq 4093(%rdi), %rax
    movq %rax, 8189(%rdi)
    vmovdqu %ymm3, 4081(%rdi)
    movq %rax, 4092(%rdi)
    jmp done
trap:
    load_flags
    int3
    jmp done
spin:                                   /* long enough for interrupts */
    load_flags
    pushfq
    movl $200000, %ecx
1:  decl %ecx
    jnz 1b
    popfq
    jmp done
image:                                  /* stored and loaded again by other instructions */
    load_flags
    fxsave64 (%rdi)
    fxrstor64 (%rdi)
    vmovdqu %ymm15, (%rdi)
    vmovdqu (%rdi), %ymm15
    jmp done
walk:                                   /* many pages, so that translations are evicted */
    load_flags
    movl $32, %ecx
    movq %rdi, %rsi
2:  movb (%rsi), %al
    leaq 4096(%rsi), %rsi
    leal -1(%rcx), %ecx
    jrcxz done
    jmp 2b

done:
    pushfq
    popq %rsi
    movq 8(%rsp), %rax                  /* out */
    movq %rsi, FLAGS(%rax)
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    vmovdqu %ymm\n, YMM + 32 * \n(%rax)
    .endr
    cmpb $0, state_wide(%rip)
    je 3f
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    vextracti64x4 $1, %zmm\n, HIGH + 32 * \n(%rax)
    .endr
    .irp n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    vmovdqu64 %zmm\n, ZMM + 64 * (\n - 16)(%rax)
    .endr
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7
    kmovq %k\n, K + 8 * \n(%rax)
    .endr
3:
    movq %rbx, GPR(%rax)
    movq %rbp, GPR + 8(%rax)
    movq %r8, GPR + 16(%rax)
    movq %r9, GPR + 24(%rax)
    movq %r10, GPR + 32(%rax)
    movq %r12, GPR + 40(%rax)
    movq %r13, GPR + 48(%rax)
    movq %r14, GPR + 56(%rax)
    stmxcsr MXCSR(%rax)
    fnstcw FCW(%rax)
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7
    fstpt ST + 16 * \n(%rax)
    .endr
    ldmxcsr saved_mxcsr(%rip)
    fldcw saved_fcw(%rip)
    vzeroupper
    addq $16, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    ret
    .size state_run, . - state_run

    .bss
saved_mxcsr:
    .skip 4
saved_fcw:
    .skip 4
    .section .note.GNU-stack, "", @progbits
