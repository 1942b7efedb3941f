/* SPDX-License-Identifier: Apache-2.0 */
#include "host/lsm.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/retry.h"

/* selinuxfs: class/ and access since Linux 2.6.23; what the policy calls a class or permission has a number there. */
#define SELINUX "/sys/fs/selinux"
#define LABEL   256 /* bytes; a longer one is none that we ask about */

#define FLAG_PERMISSIVE_DOMAIN 1U /* security/selinux/include/security.h, AVD_FLAGS_PERMISSIVE */

/* A context or a profile, and its mode. */
static int read_label(const char *path, char *out)
{
	cleanup_free char *text = NULL;
	if (read_file_at(AT_FDCWD, path, LABEL - 1, &text, NULL) < 0)
		return -1;
	snprintf(out, LABEL, "%.*s", (int)strcspn(text, "\n"), text);
	return 0;
}

/* Whether the SELinux domain OWN may trace OTHER, by the loaded policy: 1, 0, or -1 with errno. */
static int ask_selinux(const char *own, const char *other)
{
	uint64_t class_number, permission_number;
	char question[2 * LABEL + 16], answer[128] = "";
	uint32_t allowed, flags;
	if (read_number_file(SELINUX "/class/process/index", &class_number) < 0 ||
	    read_number_file(SELINUX "/class/process/perms/ptrace", &permission_number) < 0)
		return -1;
	cleanup_close int fd = open(SELINUX "/access", O_RDWR | O_CLOEXEC);
	int bytes = snprintf(question, sizeof question, "%s %s %" PRIu64, own, other, class_number);
	if (fd < 0 || retry(write(fd, question, (size_t)bytes)) != bytes ||
	    retry(read(fd, answer, sizeof answer - 1)) <= 0)
		return -1;
	if (permission_number < 1 || permission_number > 32 ||
	    sscanf(answer, "%" SCNx32 " %*x %*x %*x %*u %" SCNx32, &allowed, &flags) != 2) {
		errno = EINVAL;
		return -1;
	}
	return flags & FLAG_PERMISSIVE_DOMAIN || allowed >> (permission_number - 1) & 1;
}

static int check_selinux(enum reason code, struct error *err)
{
	uint64_t enforces;
	char own[LABEL], kernel[LABEL];
	if (read_number_file(SELINUX "/enforce", &enforces) < 0 || enforces != 1)
		return 0;
	if (read_label("/proc/self/attr/current", own) < 0)
		return error_set_errno(err, errno, code, "SELinux enforces, and /proc/self/attr/current");
	int may_trace = read_label(SELINUX "/initial_contexts/kernel", kernel) < 0 ? -1 : ask_selinux(own, kernel);
	if (may_trace < 0)
		return error_set_errno(err, errno, code, "%s may not be told what SELinux lets it trace", own);
	if (may_trace == 0)
		return error_set(err, code,
		                 "SELinux confines %s, and would not let the target execute, while we trace it, a "
		                 "program that has another domain",
		                 own);
	return 0;
}

/* Of container engines: all that runs in a container has it, whatever it executes. */
static bool is_of_an_engine(const char *label)
{
	static const char *const names[] = {"docker-default ",  "cri-containerd.apparmor.d ", "crio-default ",
	                                    "nerdctl-default ", "containers-default-",        "lxc-container-default"};
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		if (strncmp(label, names[i], strlen(names[i])) == 0)
			return true;
	}
	return false;
}

/* "unconfined", or "PROFILE (MODE)". attr/apparmor/ since Linux 5.8; attr/current may be another module's. */
static int check_apparmor(enum reason code, struct error *err)
{
	char label[LABEL];
	if (read_label("/proc/self/attr/apparmor/current", label) < 0 &&
	    read_label("/proc/self/attr/current", label) < 0)
		return 0;
	if (!strstr(label, " (") || strstr(label, " (unconfined)") || strstr(label, " (complain)") ||
	    is_of_an_engine(label))
		return 0;
	return error_set(err, code,
	                 "AppArmor confines us by %s, and might not let the target execute, while we trace it, a "
	                 "program that has another profile",
	                 label);
}

int lsm_check_tracer(enum reason code, struct error *err)
{
	return check_selinux(code, err) < 0 || check_apparmor(code, err) < 0 ? -1 : 0;
}
