/* SPDX-License-Identifier: Apache-2.0 */
/*
 * objects - the program and libraries of a process: where their text is in the file, and where Linux would have put it.
 *
 * QEMU puts the guest's files where it likes, never on 2 MiB boundaries. So the addresses that TLBs see are made here,
 * as Linux 6.18 makes them with randomization switched off: a position-independent program at 0x555555554000, libraries
 * downwards from 0x7ffff7fff000, files of 2 MiB and more (ext4, xfs) so that offset and address agree modulo 2 MiB.
 */
#ifndef ITLB_OBJECTS_H
#define ITLB_OBJECTS_H

#include <stdbool.h>
#include <stdint.h>

enum object_kind {
	OBJECT_PROGRAM,
	OBJECT_LIBRARY, /* mapped before the program's entry point */
	OBJECT_LATER,   /* dlopened */
	OBJECT_LOADER,  /* ld.so */
};

/* Offsets are those of the file, addresses those of the made address space. All in bytes, of text whole 4 KiB pages. */
struct object {
	struct object *next;
	char *path;
	unsigned id;
	enum object_kind kind;
	bool fixed;        /* linked to its address: ET_EXEC */
	bool aligned;      /* large enough for Linux to align its mapping to 2 MiB */
	uint64_t code_off; /* from the first executable segment to the end of the last (node has three) */
	uint64_t code_bytes;
	uint64_t text_off; /* the largest executable segment */
	uint64_t text_bytes;
	uint64_t text_start;  /* its address in a plain run */
	uint64_t section_off; /* the section .text in it, not rounded to pages */
	uint64_t section_bytes;
	uint64_t span;     /* of all its segments */
	uint64_t relinked; /* its code's address were it linked anew with each segment on 2 MiB boundaries of its own */
};

/* Read PATH's ELF header and fill all but id, next and addresses; text_start is the linked one. False: no ELF file with
 * text. */
bool object_read(const char *path, struct object *out);

/* The path of the program's loader, "" where it has none. */
void object_interpreter(const char *path, char *out, unsigned long size);

/* Give OBJECT, just read, its addresses. Libraries are placed below those that were placed before. */
void object_place(struct object *object);

#endif
