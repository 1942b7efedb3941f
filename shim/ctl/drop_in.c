/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/drop_in.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/size.h"

#define DROP_IN_NAME "50-hugexec.conf"
#define LIMIT_BYTES  MIB

static const char mark[] = "# Written by hugexecctl enable (%016" PRIx64 "); removed by hugexecctl disable.\n"
                           "# A file that was changed by hand is left alone by both.\n";

/* FNV-1a: it tells changes by people, not by attackers, who could run hugexecctl as well. */
static uint64_t checksum(const char *text)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	for (; *text; text++)
		hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
	return hash;
}

void drop_in_locate(struct drop_in *drop_in, const char *folder, const char *unit)
{
	snprintf(drop_in->directory, sizeof drop_in->directory, "%s/%s.d", folder, unit);
	snprintf(drop_in->path, sizeof drop_in->path, "%s/%s.d/" DROP_IN_NAME, folder, unit);
}

/* Whether TEXT begins with the two lines that have the checksum of the others. */
static bool is_ours(const char *text)
{
	char first[sizeof mark + 32];
	const char *body = strchr(text, '\n');
	body = body ? strchr(body + 1, '\n') : NULL;
	if (!body)
		return false;
	snprintf(first, sizeof first, mark, checksum(body + 1));
	return strncmp(text, first, strlen(first)) == 0 && text + strlen(first) == body + 1;
}

bool drop_in_is_ours(const char *path)
{
	struct drop_in drop_in;
	const char *slash = strrchr(path, '/');
	snprintf(drop_in.path, sizeof drop_in.path, "%s", path);
	return slash && strcmp(slash + 1, DROP_IN_NAME) == 0 && drop_in_look(&drop_in) == DROP_IN_OURS;
}

enum drop_in_state drop_in_look(const struct drop_in *drop_in)
{
	cleanup_free char *read = NULL;
	struct stat st;
	if (lstat(drop_in->path, &st) < 0)
		return errno == ENOENT || errno == ENOTDIR ? DROP_IN_NONE : DROP_IN_FOREIGN;
	if (!S_ISREG(st.st_mode) || read_file_at(AT_FDCWD, drop_in->path, LIMIT_BYTES, &read, NULL) < 0)
		return DROP_IN_FOREIGN;
	return is_ours(read) ? DROP_IN_OURS : DROP_IN_FOREIGN;
}

int drop_in_remove(const struct drop_in *drop_in, struct error *err)
{
	switch (drop_in_look(drop_in)) {
	case DROP_IN_NONE: return 0;
	case DROP_IN_FOREIGN:
		return error_set(err, REASON_DROP_IN, "%s was not written by hugexecctl, or changed since",
		                 drop_in->path);
	case DROP_IN_OURS: break;
	}
	if (unlink(drop_in->path) < 0)
		return error_set_errno(err, errno, REASON_DROP_IN, "%s", drop_in->path);
	rmdir(drop_in->directory);
	return 0;
}
