/* SPDX-License-Identifier: Apache-2.0 */
/*
 * baseline - the least that a private copy can cost: fresh huge pages, and memcpy() of a file's bytes into them.
 *
 *   baseline FILE MIB    copy MIB of the file as a program does that copies its own text when it starts: from a fresh
 *                        mapping of the file, which is in the page cache. To be timed from outside, start to exit; with
 *                        MIB 0 it is the same program that copies nothing
 *   baseline FILE MIB -  print the milliseconds of allocation and memcpy alone, from a mapping that is populated
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define HUGE_PAGE (2UL << 20)

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#endif

static double now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* BYTES of FILE in fresh anonymous huge pages; NULL where they cannot be had. */
static char *copy_of(const char *file, size_t bytes)
{
	char *reserve = mmap(NULL, bytes + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (reserve == MAP_FAILED)
		return NULL;
	char *copy = reserve + (HUGE_PAGE - (uintptr_t)reserve % HUGE_PAGE) % HUGE_PAGE;
	madvise(copy, bytes, MADV_HUGEPAGE);
	return memcpy(copy, file, bytes);
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	size_t bytes = strtoul(argv[2], NULL, 10) << 20;
	int fd = open(argv[1], O_RDONLY | O_CLOEXEC);
	if (fd < 0 || lseek(fd, 0, SEEK_END) < (off_t)bytes) {
		perror(argv[1]);
		return 1;
	}
	if (bytes == 0)
		return 0;
	char *file = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
	if (file == MAP_FAILED)
		return 1;
	if (argc == 3)
		return copy_of(file, bytes) ? 0 : 1;
	madvise(file, bytes, MADV_POPULATE_READ);
	double begin = now_ms();
	char *copy = copy_of(file, bytes);
	double spent = now_ms() - begin;
	printf("%.3f\n", spent);
	return copy && memcmp(copy, file, bytes) == 0 ? 0 : 1;
}
