/* SPDX-License-Identifier: Apache-2.0 */
/*
 * malloc_fail.so - a libc that says no, once: preloaded (LD_PRELOAD), it lets the Nth piece of memory that hugexec asks
 * for be refused. In other programs it does nothing.
 *
 * What is refused is said in the file that MALLOC_FAIL names, which whoever has it preloaded maps; hugexec's processes
 * count in it together. Refused by number, since libc has memory in store and asks the kernel for it now and then only:
 * failing system calls do not lead to the places where memory is missing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WRITES_COUNTS 0x67636f76

struct shared {
	uint64_t asked;  /* how many pieces of memory were asked for */
	uint64_t refuse; /* the one with this number is refused, from 1 on; 0: none */
};

static struct shared *shared;

void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *old, size_t bytes);

/* fopen(3) and the like of libc's own come by here, too. */
static bool is_refused(void)
{
	if (!shared || __atomic_add_fetch(&shared->asked, 1, __ATOMIC_SEQ_CST) != shared->refuse)
		return false;
	errno = ENOMEM;
	return true;
}

void *malloc(size_t bytes)
{
	return is_refused() ? NULL : __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
	return is_refused() ? NULL : __libc_calloc(count, bytes);
}

void *realloc(void *old, size_t bytes)
{
	return is_refused() ? NULL : __libc_realloc(old, bytes);
}

/*
 * Never refused here: json-c (0.16) takes it for granted that a name can be copied, which is why hugexec sees before
 * that there is memory for all of it (policy/json_strict.c). Nor are hugexec's own copies then, which are few.
 */
char *strdup(const char *text)
{
	size_t bytes = strlen(text) + 1;
	char *copy = __libc_malloc(bytes);
	return copy ? memcpy(copy, text, bytes) : NULL;
}

/* What tests/coverage/flush.c calls before it writes the counts of a build that counts: libgcov dies of missing memory.
 */
int prctl(int option, ...)
{
	unsigned long a, b, c, d;
	va_list list;
	va_start(list, option);
	a = va_arg(list, unsigned long);
	b = va_arg(list, unsigned long);
	c = va_arg(list, unsigned long);
	d = va_arg(list, unsigned long);
	va_end(list);
	if (option == WRITES_COUNTS)
		shared = NULL;
	return (int)syscall(SYS_prctl, option, a, b, c, d);
}

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("MALLOC_FAIL"), *slash = strrchr(program_invocation_name, '/');
	if (!path || strncmp(slash ? slash + 1 : program_invocation_name, "hugexec", 7) != 0)
		return;
	int fd = open(path, O_RDWR | O_CLOEXEC);
	void *at = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (at != MAP_FAILED)
		shared = at;
}
