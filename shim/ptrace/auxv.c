/* SPDX-License-Identifier: Apache-2.0 */
#include "ptrace/auxv.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/prctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/proc.h"
#include "ptrace/inject.h"

/* Arguments and environment are bounded by the stack's limit; this is far above what the kernel takes by default. */
#define POINTERS_MAX (4U << 20)
#define CHUNK_WORDS  512

/* The address behind the next zero word from ADDR on: the end of argv, then of envp. 0 if there is none. */
static uint64_t behind_next_null(const struct tracee *tracee, uint64_t addr)
{
	uint64_t chunk[CHUNK_WORDS];
	ssize_t got = sizeof chunk;
	for (unsigned seen = 0; got == sizeof chunk && seen < POINTERS_MAX; seen += CHUNK_WORDS) {
		got = tracee_read(tracee, addr, chunk, sizeof chunk);
		for (ssize_t i = 0; i < got / (ssize_t)sizeof chunk[0]; i++) {
			if (chunk[i] == 0)
				return addr + ((uint64_t)i + 1) * sizeof chunk[0];
		}
		addr += sizeof chunk;
	}
	return 0;
}

unsigned auxv_word_count(const uint64_t *words, size_t count)
{
	for (unsigned i = 0; i + 2 <= count && i + 2 <= AUXV_WORDS_MAX; i += 2) {
		if (words[i] == AT_NULL)
			return i + 2;
	}
	return 0;
}

int auxv_find(struct tracee *tracee, struct auxv *out, struct error *err)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/auxv", (int)tracee->pid);
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t kernels[AUXV_WORDS_MAX];
	ssize_t got = fd < 0 ? -1 : read(fd, kernels, sizeof kernels);
	out->word_count = auxv_word_count(kernels, got < 0 ? 0 : (size_t)got / sizeof kernels[0]);
	if (out->word_count == 0)
		return error_set(err, REASON_REBASE_REFUSED, "%s makes no sense", path);

	/* argc, then argv with its NULL, then envp with its NULL (System V ABI, process initialization). */
	uint64_t argv_addr = arch_stack(&tracee->saved_regs) + sizeof(uint64_t);
	uint64_t envp_addr = behind_next_null(tracee, argv_addr);
	out->tracee_addr = envp_addr ? behind_next_null(tracee, envp_addr) : 0;
	size_t bytes = out->word_count * sizeof out->words[0];
	if (!out->tracee_addr || tracee_read(tracee, out->tracee_addr, out->words, bytes) != (ssize_t)bytes ||
	    memcmp(out->words, kernels, bytes) != 0)
		return error_set(err, REASON_REBASE_REFUSED, "the stack is not that of a program that was just loaded");
	return 0;
}

/* A program that has not run yet has no heap: it ends where it starts (fs/binfmt_elf.c, Linux 5.10 to 6.18 read). */
static int fill_mm_map(const struct tracee *tracee, const struct auxv *auxv, uint64_t delta, struct prctl_mm_map *map)
{
	uint64_t fields[STAT_FIELDS] = {0};
	cleanup_free char *stat = proc_stat(tracee->pid);
	if (proc_stat_parse(stat, fields) < 0 || fields[STAT_START_CODE] == 0)
		return -1;
	*map = (struct prctl_mm_map){
	    .start_code = fields[STAT_START_CODE] + delta,
	    .end_code = fields[STAT_END_CODE] + delta,
	    .start_data = fields[STAT_START_DATA] + delta,
	    .end_data = fields[STAT_END_DATA] + delta,
	    .start_brk = fields[STAT_START_BRK],
	    .brk = fields[STAT_START_BRK],
	    .start_stack = fields[STAT_START_STACK],
	    .arg_start = fields[STAT_ARG_START],
	    .arg_end = fields[STAT_ARG_END],
	    .env_start = fields[STAT_ENV_START],
	    .env_end = fields[STAT_ENV_END],
	    .auxv = (__u64 *)(uintptr_t)auxv->tracee_addr, // NOLINT(performance-no-int-to-ptr)
	    .auxv_size = auxv->word_count * (uint32_t)sizeof(uint64_t),
	    .exe_fd = (uint32_t)-1,
	};
	return 0;
}

static int write_vector(struct tracee *tracee, const struct auxv *auxv)
{
	size_t bytes = auxv->word_count * sizeof auxv->words[0];
	return tracee_write(tracee, auxv->tracee_addr, auxv->words, bytes) == (ssize_t)bytes ? 0 : -1;
}

static void add_to_vector(struct auxv *auxv, uint64_t delta)
{
	for (unsigned i = 0; i + 1 < auxv->word_count; i += 2) {
		if (auxv->words[i] == AT_PHDR || auxv->words[i] == AT_ENTRY)
			auxv->words[i + 1] += delta;
	}
}

int auxv_move(struct tracee *tracee, struct auxv *auxv, uint64_t delta, uint64_t scratch_addr, struct error *err)
{
	struct prctl_mm_map map;
	if (fill_mm_map(tracee, auxv, delta, &map) < 0 ||
	    tracee_write(tracee, scratch_addr, &map, sizeof map) != sizeof map)
		return error_set(err, REASON_REBASE_REFUSED, "the addresses in /proc/%d/stat cannot be read",
		                 (int)tracee->pid);
	add_to_vector(auxv, delta);
	int64_t result = -EFAULT;
	if (write_vector(tracee, auxv) == 0)
		result =
		    remote_syscall(tracee, err, SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, scratch_addr, sizeof map, 0, 0);
	if (result == 0)
		return 0;
	add_to_vector(auxv, 0 - delta);
	if (result == INT64_MIN)
		return -1;
	write_vector(tracee, auxv);
	return error_set_errno(err, (int)-result, REASON_REBASE_REFUSED, "prctl(PR_SET_MM_MAP)");
}
