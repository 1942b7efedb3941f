/* SPDX-License-Identifier: Apache-2.0 */
/*
 * library_search.h - which libraries ld.so will load for a program, found as ld.so finds them, without running
 * anything.
 *
 * glibc: LD_PRELOAD, /etc/ld.so.preload, then DT_NEEDED breadth first; each name by DT_RPATH, LD_LIBRARY_PATH,
 * DT_RUNPATH, ld.so.cache and the default folders, with $ORIGIN, $LIB, $PLATFORM and glibc-hwcaps. musl: its path file
 * and its order. It is a guess: ld.so may be built with other folders, and a file may change before it is loaded. So
 * nothing may hang on it but what is worth preparing.
 *
 * The names and all that is read are strangers' words. So the search is done by hugexec-elf-reader
 * (sandbox/sandbox_enter.h), which may open nothing: it asks for each file by its path, over a socket, and whoever
 * asked for the search opens it with the rights that he thinks fit, and hands the descriptor over.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "sandbox/elf/elf_info.h"
#include "sandbox/elf/library_search_request.h"
#include "sandbox/sandbox_spawn.h"

/* A library that was found. */
struct found_library {
	const char *path;
	bool is_later;             /* loaded when the program runs, or needed by such a one only */
	bool has_text_relocations; /* ld.so writes to its text, which is no longer what the file says */
	const struct elf_info *info;
};

/* What opens files for the search, and is told of what it finds. */
struct search_files {
	/*
	 * Open the file at the absolute PATH, or if IS_FOLDER only say whether there is such a folder (0). Returns a
	 * descriptor, or -1 with errno: ENOENT and what else is no file to ld.so either; EREMOTE for one that is not to
	 * be touched, which makes the search an incomplete one, as EAGAIN and what else says that nobody could look.
	 */
	int (*open)(void *context, const char *path, bool is_folder);
	/* A library. FD is the receiver's. */
	void (*found)(void *context, const struct found_library *library, int fd);
	void *open_context, *found_context;
};

/*
 * Start the search for the program open at EXE_FD. Returns at once: 0 (library_search_run() it, then reader_end()), or
 * -1 with ERR word "elf-reader" and nothing left behind.
 */
int library_search_start(struct reader *reader, int exe_fd, struct error *err);

/*
 * Serve the search until it has ended. It takes as long as the files do: the caller is one that may be killed. LATER:
 * REQUEST's later_count paths. Returns 0 if each library was found; or -1 with ERR: word "library-unknown", with the
 * first that was not; "elf-reader" or "elf-invalid" if the search ended before.
 */
int library_search_run(struct reader *reader, const struct search_request *request, char *const *later,
                       const struct search_files *files, struct error *err);
