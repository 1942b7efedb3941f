/* engine/arch: what a system call's number means, by each entry into the kernel. */
#include <linux/audit.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "engine/arch/arch.h"

static void test_exec_path_argument(void **state)
{
	(void)state;
	assert_int_equal(arch_exec_path_argument(AUDIT_ARCH_X86_64, SYS_execve), 0);
	assert_int_equal(arch_exec_path_argument(AUDIT_ARCH_X86_64, SYS_execveat), 1);
	/* munmap, and nothing. */
	assert_int_equal(arch_exec_path_argument(AUDIT_ARCH_X86_64, 11), -1);
	assert_int_equal(arch_exec_path_argument(AUDIT_ARCH_X86_64, 520), -1);
	/* The 32-bit table, where 59 is olduname. */
	assert_int_equal(arch_exec_path_argument(AUDIT_ARCH_I386, 11), 0);
	assert_int_equal(arch_exec_path_argument(AUDIT_ARCH_I386, 358), 1);
	assert_int_equal(arch_exec_path_argument(AUDIT_ARCH_I386, SYS_execve), -1);
	/* x32: the bit, and numbers of its own. */
	assert_int_equal(arch_exec_path_argument(AUDIT_ARCH_X86_64, 0x40000000 | 520), 0);
	assert_int_equal(arch_exec_path_argument(AUDIT_ARCH_X86_64, 0x40000000 | 545), 1);
	assert_int_equal(arch_exec_path_argument(AUDIT_ARCH_X86_64, 0x40000000 | SYS_execve), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_exec_path_argument)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
