/* SPDX-License-Identifier: MIT */
/*
 * void compat_run(uint32_t state[16]): 32-bit code in a 64-bit process.
 * void segment_run(uint32_t state[16], code, data, down): the same in segments of the LDT that are not
 * flat: CODE begins at segment_code and ends with it, DATA is STATE and nothing else, DOWN grows down from
 * 4 GiB and has one page.
 *
 * The program is linked below 4 GiB and STATE and the stack are static, so that 32-bit code reaches all of
 * them.  0x23 and 0x33 are Linux's code segments for 32-bit and 64-bit user code, 0x2b its data
 * segment [Linux, arch/x86/include/asm/segment.h].  Only results and flags that the
 * architecture defines are kept.
 */
    .text
    .globl compat_run
    .type compat_run, @function
compat_run:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, saved_stack(%rip)
    movl $low_stack_end, %esp
    movl $0x2b, %eax
    movl %eax, %ds
    movl %eax, %es
    pushq $0x23
    pushq $in_32
    lretq

    .code32
in_32:
    movl $50, %ecx
    xorl %ebx, %ebx
0:  movl (%edi), %eax               /* decimal arithmetic */
    addl 4(%edi), %eax
    daa
    movb %al, 8(%edi)
    movl $0, %edx
    adcl $0, %edx
    addl %edx, 12(%edi)
    subb 4(%edi), %al
    das
    movb %al, 16(%edi)
    movl (%edi), %eax
    aam
    movw %ax, 18(%edi)
    aad
    movb %al, 20(%edi)
    movl 4(%edi), %eax
    andl $0x0f0f, %eax
    addb 1(%edi), %al
    aaa
    andl $0xff0f, %eax
    movw %ax, 22(%edi)
    subb 2(%edi), %al
    aas
    addw %ax, 24(%edi)
    pushal                          /* all registers, changed on the stack */
    movl 28(%esp), %eax
    incl %eax
    xorl %eax, 28(%esp)
    addl $0x01020304, 16(%esp)      /* EBX */
    popal
    xorl %ebx, 28(%edi)
    addl %eax, 32(%edi)
    pushl %ds                       /* segment registers through the stack */
    popl %es
    movl %es, %eax
    addl %eax, 36(%edi)
    incl %edx                       /* the short forms */
    decl %eax
    adcl %edx, 40(%edi)
    pushl %ecx                      /* string instructions, ESI and EDI only */
    pushl %edi
    leal 44(%edi), %edi
    leal -44(%edi), %esi
    movl $2, %ecx
    rep movsl
    popl %edi
    popl %ecx
    enter $16, $1                   /* frames */
    movl %ecx, -8(%ebp)
    movl -8(%ebp), %eax
    leave
    addl %eax, 52(%edi)
    call 1f
    jmp 2f
1:  movl (%esp), %eax               /* near return, with parameters */
    subl $in_32, %eax
    xorl %eax, 56(%edi)
    pushl $5
    call 3f
    ret
3:  movl 4(%esp), %eax
    addl %eax, 60(%edi)
    ret $4
2:  roll $7, (%edi)
    xorl 60(%edi), %eax
    addl %eax, (%edi)
    addl $0x9e3779b9, 4(%edi)
    decl %ecx
    jnz 0b
    ljmp $0x33, $in_64

    .code64
in_64:
    xorl %eax, %eax
    movl %eax, %ds
    movl %eax, %es
    movq saved_stack(%rip), %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    ret
    .size compat_run, . - compat_run

    .globl segment_run
    .type segment_run, @function
segment_run:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, saved_stack(%rip)
    movl $low_stack_end, %esp
    movl %edx, %ds
    movl %ecx, %es
    movl %edx, %gs
    pushq %rsi
    pushq $0
    lretq

    .globl segment_code, segment_code_end
    .code32
segment_code:
    movl $20, %ecx
    xorl %ebx, %ebx
0:  movl 0, %eax
    movl $0x1234, %edx
    addl %gs:60, %eax               /* the last word below the limit */
    movl 61, %eax                   /* one byte beyond: #GP, EAX stays; the handler skips 5 bytes */
    addl %eax, 4
    movl %eax, %es:0xfffffff0
    movl %es:0xffffeffc, %eax       /* below the segment that grows down: #GP; 6 bytes */
    movl $8, %esi
    movl $0xfffff100, %edi
    pushl %ecx
    movl $14, %ecx
    rep movsl                       /* to the last byte of the segment */
    popl %ecx
    movl %es:0xfffff134, %edx
    addl %edx, 8
    call 2f
1:  addl %eax, 12
    roll $3, 0
    addl %ecx, 60
    decl %ecx
    jnz 0b
    ljmp $0x33, $segment_back
2:  movl (%esp), %eax               /* an offset into the segment */
    addl $3, 16(%ebx)
    ret
segment_code_end:

    .code64
segment_back:
    xorl %eax, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %gs
    movq saved_stack(%rip), %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    ret
    .size segment_run, . - segment_run

    .bss
    .balign 16
saved_stack:
    .skip 16
    .skip 4096
low_stack_end:
    .skip 16
    .section .note.GNU-stack, "", @progbits
