/* SPDX-License-Identifier: Apache-2.0 */
#include "bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"

static int read_in(int directory_fd, const char *name, char **text, size_t *bytes, struct stat *about,
                   struct error *err)
{
	struct stat st;
	/* A link, or something else than a file, may be anything; it is the runtime's to complain about. */
	cleanup_close int fd = openat(directory_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_set_errno(err, errno, REASON_BUNDLE, "%s", name);
	if (!S_ISREG(st.st_mode))
		return error_set(err, REASON_BUNDLE, "%s is no file", name);
	if (st.st_size > BUNDLE_CONFIG_MAX_BYTES)
		return error_set_errno(err, EFBIG, REASON_BUNDLE, "%s", name);
	if (read_all(fd, BUNDLE_CONFIG_MAX_BYTES, text, bytes) < 0)
		return error_set_errno(err, errno, REASON_BUNDLE, "%s", name);
	if (about)
		*about = st;
	return 0;
}

int bundle_read(const char *bundle, const char *name, char **text, size_t *bytes, struct stat *about, struct error *err)
{
	int directory_fd = open(bundle, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (directory_fd < 0)
		return error_set_errno(err, errno, REASON_BUNDLE, "%s", bundle);
	if (read_in(directory_fd, name, text, bytes, about, err) == 0)
		return directory_fd;
	close(directory_fd);
	return -1;
}
