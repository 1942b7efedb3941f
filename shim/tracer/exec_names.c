/* SPDX-License-Identifier: Apache-2.0 */
#include "tracer/exec_names.h"

#include <elf.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>

#include "host/pages.h"

/*
 * For each level of "#!" the kernel puts two or three words before those that it was given: the interpreter, its
 * argument, the script. It follows five levels (fs/exec.c, exec_binprm(); fs/binfmt_script.c).
 */
#define WORDS_MAX 12

/* The string at TRACEE_ADDR into BUF, page by page: its end may be the end of the stack. False if it does not end.
 */
static bool read_string(const struct tracee *tracee, uint64_t tracee_addr, char *buf, size_t bytes)
{
	uint64_t page_bytes = host_pages()->base_bytes;
	for (size_t used = 0; used < bytes;) {
		size_t wanted = page_bytes - (tracee_addr + used) % page_bytes;
		if (wanted > bytes - used)
			wanted = bytes - used;
		ssize_t got = tracee_read(tracee, tracee_addr + used, buf + used, wanted);
		if (got <= 0)
			return false;
		if (memchr(buf + used, '\0', (size_t)got))
			return true;
		used += (size_t)got;
	}
	return false;
}

/* The addresses of the first arguments into WORDS; 0 if there is none. */
static void read_argument_addrs(const struct tracee *tracee, uint64_t words[WORDS_MAX])
{
	uint64_t stack[1 + WORDS_MAX] = {0};
	struct arch_regs regs;
	struct tracee copy = *tracee; /* reading registers may find it gone, which is for others to notice */
	if (tracee_get_regs(&copy, &regs, NULL) < 0)
		return;
	ssize_t got = tracee_read(tracee, arch_stack(&regs), stack, sizeof stack);
	for (size_t i = 0; i < WORDS_MAX && i < stack[0] && (ssize_t)((2 + i) * sizeof stack[0]) <= got; i++)
		words[i] = stack[1 + i];
}

void exec_names_read(const struct tracee *tracee, struct exec_names *out)
{
	char word[PATH_MAX];
	uint64_t words[WORDS_MAX] = {0};
	uint64_t called_addr = tracee_auxv(tracee, AT_EXECFN);
	out->is_script = false;
	if (!called_addr || !read_string(tracee, called_addr, out->called, sizeof out->called)) {
		out->called[0] = '\0';
		return;
	}
	read_argument_addrs(tracee, words);
	/* A program that was executed itself is named by whoever does that; an interpreter by the kernel, by its path.
	 */
	if (!words[0] || !read_string(tracee, words[0], word, sizeof word) || !strchr(word, '/') ||
	    strcmp(word, out->called) == 0)
		return;
	for (int i = 1; i < WORDS_MAX && words[i] && !out->is_script; i++)
		out->is_script = read_string(tracee, words[i], word, sizeof word) && strcmp(word, out->called) == 0;
}
