/* SPDX-License-Identifier: Apache-2.0 */
/*
 * objects - the program and libraries of a process: where their text is in the file, and where Linux would have put it.
 *
 * QEMU puts the guest's files where it likes, never on 2 MiB boundaries. So the addresses that TLBs see are made here,
 * as Linux 6.18 makes them with randomization switched off: a position-independent program at two thirds of the address
 * space, libraries downwards from its end, files of 2 MiB and more (ext4, xfs) so that offset and address agree modulo
 * 2 MiB. But if a library's segments ask for more alignment than pages of 4 KiB have, ld.so (glibc from 2.35 on)
 * reserves anonymous memory of no such size and places it there itself. Linkers for arm64 ask for 64 KiB.
 */
#ifndef ITLB_OBJECTS_H
#define ITLB_OBJECTS_H

#include <stdbool.h>
#include <stdint.h>

enum { OBJECT_SEGMENTS_MAX = 16 };

enum object_kind {
	OBJECT_PROGRAM,
	OBJECT_LIBRARY, /* mapped before the program's entry point */
	OBJECT_LATER,   /* dlopened */
	OBJECT_LOADER,  /* ld.so */
};

/* A loaded segment as it is in the file's headers, in whole pages. */
struct object_segment {
	uint64_t off, bytes; /* in the file */
	uint64_t start, end; /* linked addresses; END with what is not in the file */
	bool writable, executable;
};

/* Offsets are those of the file, addresses those of the made address space. All in bytes, of text whole 4 KiB pages. */
struct object {
	struct object *next;
	char *path;
	unsigned id;
	enum object_kind kind;
	bool fixed;         /* linked to its address: ET_EXEC */
	bool aligned;       /* large enough for Linux to align its mapping to 2 MiB */
	bool arm64;         /* else x86-64 */
	uint64_t alignment; /* that its segments ask for; at least a page */
	uint64_t code_off;  /* from the first executable segment to the end of the last (node has three) */
	uint64_t code_bytes;
	uint64_t text_off; /* the largest executable segment */
	uint64_t text_bytes;
	uint64_t text_start;  /* its address in a plain run */
	uint64_t section_off; /* the section .text in it, not rounded to pages */
	uint64_t section_bytes;
	uint64_t span;     /* of all its segments */
	uint64_t relinked; /* its code's address were it linked anew with each segment on 2 MiB boundaries of its own */
	uint64_t file_bytes;
	struct object_segment segments[OBJECT_SEGMENTS_MAX]; /* in order of their addresses */
	unsigned segment_count;
};

/* Read PATH's ELF header and fill all but id, next and addresses; text_start is the linked one. False: no ELF file with
 * text. */
bool object_read(const char *path, struct object *out);

/* The path of the program's loader, "" where it has none. */
void object_interpreter(const char *path, char *out, unsigned long size);

/* Give OBJECT, just read, its addresses. Libraries are placed below those that were placed before. */
void object_place(struct object *object);

#endif
