/* SPDX-License-Identifier: Apache-2.0 */
/*
 * file_view.h - files as a process sees them: below its root, in its mount namespace, with its user's rights.
 *
 * Names are looked up where only the process' own links lead, and nothing is opened before it is known for a plain file
 * of a local filesystem. What a name leads to may still take its time (a folder of a dead server): the caller is one
 * that may be killed.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"
#include "mm/rights.h"

struct file_view {
	int root_fd;
	struct rights rights;
	bool is_own_root; /* names lead it where they lead us */
};

/*
 * Look as PID does; 0: as the caller. Returns 0 (file_view_close() it), or -1 with ERR word "no-proc".
 */
int file_view_open(struct file_view *view, pid_t pid, struct error *err);
void file_view_close(struct file_view *view);

/*
 * Open the plain file at PATH for reading, or if IS_FOLDER only see whether there is such a folder (0). Returns a
 * descriptor; or -1 with errno, EREMOTE if it is a file of another computer's, or of a process'.
 */
int file_view_open_file(const struct file_view *view, const char *path, bool is_folder);

/* Open for reading, with the view's rights, the file that is open at THERE with O_PATH. Returns a descriptor, or -1. */
int file_view_reopen(const struct file_view *view, int there);

/*
 * Call EACH with the path of every file that matches GLOB (as policy_path_matches(); it must begin with a slash). **
 * does not follow links. *BUDGET: names that may still be looked at; ends if that is used up.
 */
void file_view_glob(const struct file_view *view, const char *glob, unsigned *budget,
                    void (*each)(void *context, const char *path), void *context);
