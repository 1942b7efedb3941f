/*
 * baseline - the least that a private copy can cost: map BYTES of fresh huge pages and memcpy FILE's bytes into them.
 *
 *   baseline FILE MIB        prints the milliseconds; anonymous memory with MADV_HUGEPAGE, the file in the page cache
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

static double now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	size_t bytes = strtoul(argv[2], NULL, 10) << 20;
	int fd = open(argv[1], O_RDONLY | O_CLOEXEC);
	char *file = fd < 0 ? MAP_FAILED : mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
	if (file == MAP_FAILED || lseek(fd, 0, SEEK_END) < (off_t)bytes) {
		perror(argv[1]);
		return 1;
	}
	/* The file's pages are mapped beforehand: hugexec reads them, it does not fault them in. */
	madvise(file, bytes, MADV_POPULATE_READ);
	double begin = now_ms();
	char *reserve = mmap(NULL, bytes + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (reserve == MAP_FAILED)
		return 1;
	char *copy = reserve + (HUGE_PAGE - (uintptr_t)reserve % HUGE_PAGE) % HUGE_PAGE;
	madvise(copy, bytes, MADV_HUGEPAGE);
	memcpy(copy, file, bytes);
	double spent = now_ms() - begin;
	printf("%.3f\n", spent);
	return memcmp(copy, file, bytes) == 0 ? 0 : 1;
}
