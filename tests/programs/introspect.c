/* SPDX-License-Identifier: Apache-2.0 */
/*
 * introspect - what a program finds out about itself, without a word that differs from run to run: its mappings by its
 * program headers, the auxiliary vector, and the names of the frames that it stands in. Built with big text around
 * (introspect_pad.s, and bigtext.py's behind), so that its own functions lie in the middle of huge pages.
 *
 *   introspect          print all of that
 *   introspect maps     and which part of which file lies where a program header says
 */
#include <elf.h>
#include <execinfo.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unwind.h>

extern char _start[];

static int with_maps;

/* File name and offset of what is mapped at ADDR. */
static void print_mapping(uintptr_t addr)
{
	char line[4400], path[4100];
	FILE *maps = fopen("/proc/self/maps", "r");
	while (maps && fgets(line, sizeof line, maps)) {
		unsigned long start, end, offset;
		path[0] = '\0';
		if (sscanf(line, "%lx-%lx %*s %lx %*s %*s %4095s", &start, &end, &offset, path) >= 3 && addr >= start &&
		    addr < end)
			printf(" is %s at %#lx", path, offset + (addr - start));
	}
	if (maps)
		fclose(maps);
}

static int print_headers(struct dl_phdr_info *info, size_t size, void *context)
{
	(void)size;
	if (*(int *)context)
		return 0;
	*(int *)context = 1; /* the first is the program */
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &info->dlpi_phdr[i];
		if (header->p_type != PT_LOAD)
			continue;
		printf("header: %#lx of %#lx bytes, flags %u, file offset %#lx", (unsigned long)header->p_vaddr,
		       (unsigned long)header->p_memsz, header->p_flags, (unsigned long)header->p_offset);
		if (with_maps)
			print_mapping(info->dlpi_addr + header->p_vaddr);
		putchar('\n');
	}
	printf("AT_PHDR agrees: %d\n", getauxval(AT_PHDR) == (unsigned long)info->dlpi_phdr);
	printf("AT_ENTRY agrees: %d\n", getauxval(AT_ENTRY) == (unsigned long)_start);
	printf("own code agrees: %#lx\n", (unsigned long)((uintptr_t)print_headers - info->dlpi_addr));
	return 0;
}

static _Unwind_Reason_Code count_frame(struct _Unwind_Context *context, void *count)
{
	if (_Unwind_GetIP(context))
		++*(int *)count;
	return _URC_NO_REASON;
}

__attribute__((noinline)) int introspect_innermost(int n)
{
	void *frames[32];
	int unwound = 0, count = backtrace(frames, 32);
	char **names = backtrace_symbols(frames, count);
	for (int i = 0; names && i < count; i++) {
		char *name = strchr(names[i], '('), *end = name ? strchr(name, ')') : NULL;
		if (end)
			*end = '\0';
		printf("frame: %s\n", name ? name + 1 : "?");
	}
	free(names);
	_Unwind_Backtrace(count_frame, &unwound);
	printf("unwound: %d frames\n", unwound);
	return n + count;
}

__attribute__((noinline)) int introspect_middle(int n)
{
	return introspect_innermost(n) + 1;
}

__attribute__((noinline)) int introspect_outer(int n)
{
	return introspect_middle(n) + 1;
}

int main(int argc, char **argv)
{
	int begun = 0;
	with_maps = argc > 1 && strcmp(argv[1], "maps") == 0;
	dl_iterate_phdr(print_headers, &begun);
	return introspect_outer(1) < 3;
}
