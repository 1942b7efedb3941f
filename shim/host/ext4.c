/* SPDX-License-Identifier: Apache-2.0 */
#include "host/ext4.h"

#include <errno.h>
#include <linux/fscrypt.h>
#include <linux/fsverity.h>
#include <linux/magic.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>

/* A filesystem without the feature says so (EOPNOTSUPP); else it says that the file makes no use of it, or how. */
static int has_feature(int fd, unsigned long request, void *argument)
{
	return ioctl(fd, request, argument) == 0 || errno == ENODATA || errno == EOVERFLOW;
}

const char *ext4_feature_against_large_folios(int fd)
{
	struct statfs fs;
	struct fscrypt_get_policy_ex_arg policy = {.policy_size = sizeof policy.policy};
	struct fsverity_digest digest = {.digest_size = 0};
	if (fstatfs(fd, &fs) < 0 || fs.f_type != EXT4_SUPER_MAGIC)
		return NULL;
	if (has_feature(fd, FS_IOC_GET_ENCRYPTION_POLICY_EX, &policy))
		return "encrypt";
	return has_feature(fd, FS_IOC_MEASURE_VERITY, &digest) ? "verity" : NULL;
}
