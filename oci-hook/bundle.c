#include "bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"

int bundle_read(const char *bundle, const char *name, char **text, size_t *bytes, struct stat *about, struct error *err)
{
	struct stat st;
	cleanup_close int directory_fd = open(bundle, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (directory_fd < 0)
		return error_set_errno(err, errno, "bundle", "%s", bundle);
	/* A link, or something else than a file, may be anything; it is the runtime's to complain about. */
	cleanup_close int fd = openat(directory_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_set_errno(err, errno, "bundle", "%s", name);
	if (!S_ISREG(st.st_mode))
		return error_set(err, "bundle", "%s is no file", name);
	if (st.st_size > BUNDLE_CONFIG_MAX_BYTES || read_all(fd, BUNDLE_CONFIG_MAX_BYTES, text, bytes) < 0)
		return error_set_errno(err, st.st_size > BUNDLE_CONFIG_MAX_BYTES ? EFBIG : errno, "bundle", "%s", name);
	if (about)
		*about = st;
	int result = directory_fd;
	directory_fd = -1;
	return result;
}
