/* SPDX-License-Identifier: Apache-2.0 */
/*
 * library_search.h - the search itself, as hugexec-elf-reader does it once it is locked up; apart from it, so that it
 * can be tested and fuzzed. And what the two sides say to each other.
 */
#pragma once

#include <stddef.h>

#include "sandbox/elf/elf_reply.h"
#include "sandbox/elf/library_search_request.h"

#define SEARCH_MODE "libraries"

/* A file as the search gets it. DEVICE and INODE tell whether two are one. */
struct search_file {
	int fd;
	uint64_t device, inode;
};

/* The search's view of the world. */
struct search_world {
	/* As search_files.open(); 0 with FILE (its fd is the search's to close; none for a folder), or errno. */
	int (*open)(void *context, const char *path, bool is_folder, struct search_file *file);
	/* The file opened last is a library that will be loaded. */
	void (*found)(void *context, const struct elf_info *info, bool is_later, bool has_text_relocations);
	void *context;
};

struct search_result {
	unsigned found, unknown;
	char first_unknown[256];
};

/*
 * Search for the libraries of the program open at EXE_FD. LATER: REQUEST's later_count paths. LEVEL: the processor's
 * (elf_arch.h). Returns ELF_ANSWER_OK with RESULT, or what is wrong with the program.
 */
enum elf_answer_status search_libraries(int exe_fd, const struct search_request *request, char *const *later,
                                        unsigned level, const struct search_world *world, struct search_result *result);

/* The reader's side of the socket: read a request, search, tell. Returns 0, or -1 if the other side is gone. */
int search_serve(int exe_fd, int socket_fd);

/* What the reader says: one message each. */
struct search_message {
	uint32_t magic;
	enum { SEARCH_OPEN, SEARCH_OPEN_FOLDER, SEARCH_FOUND, SEARCH_END } kind;
	union {
		char path[SEARCH_PATH_MAX]; /* SEARCH_OPEN, SEARCH_OPEN_FOLDER */
		struct {
			uint8_t is_later, has_text_relocations;
			struct elf_info info;
		} found;
		struct {
			uint32_t status; /* enum elf_answer_status */
			struct search_result result;
		} end;
	};
};

#define SEARCH_MAGIC 0x68787331U

/* The answer to SEARCH_OPEN and SEARCH_OPEN_FOLDER; with a descriptor if errnum is 0 and it is a file. */
struct search_opened {
	int32_t errnum;
	uint64_t device, inode;
};
