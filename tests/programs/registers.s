# Writes what its registers are at its first instruction to standard output, and ends with status 7.
	.data
	.balign 64
seen:	.fill 20, 8, 0
	.text
	.globl _start
_start:
	movq %rax, seen(%rip)
	movq %rbx, seen+8(%rip)
	movq %rcx, seen+16(%rip)
	movq %rdx, seen+24(%rip)
	movq %rsi, seen+32(%rip)
	movq %rdi, seen+40(%rip)
	movq %rbp, seen+48(%rip)
	movq %rsp, seen+56(%rip)
	movq %r8, seen+64(%rip)
	movq %r9, seen+72(%rip)
	movq %r10, seen+80(%rip)
	movq %r11, seen+88(%rip)
	movq %r12, seen+96(%rip)
	movq %r13, seen+104(%rip)
	movq %r14, seen+112(%rip)
	movq %r15, seen+120(%rip)
	pushfq
	popq seen+128(%rip)
	stmxcsr seen+136(%rip)
	fnstcw seen+144(%rip)
	movl $1, %eax
	movl $1, %edi
	leaq seen(%rip), %rsi
	movl $160, %edx
	syscall
	movl $60, %eax
	movl $7, %edi
	syscall
	.section .note.GNU-stack,"",@progbits
