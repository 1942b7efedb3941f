/* SPDX-License-Identifier: Apache-2.0 */
#include "host/users.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/aside.h"
#include "base/cleanup.h"
#include "base/size.h"

#define ENTRY_BYTES     16384
#define ENTRY_BYTES_MAX MIB /* what a directory server may say of one user */

static int find_in_passwd(const char *name, uid_t *uid)
{
	cleanup_fclose FILE *file = fopen("/etc/passwd", "re");
	char *buf = malloc(ENTRY_BYTES);
	struct passwd entry, *found;
	int is_there = 0;
	while (!is_there && file && buf && fgetpwent_r(file, &entry, buf, ENTRY_BYTES, &found) == 0) {
		is_there = strcmp(entry.pw_name, name) == 0;
		if (is_there)
			*uid = entry.pw_uid;
	}
	free(buf);
	return is_there;
}

struct question {
	const char *name;
	uid_t *uid; /* shared with who asks */
};

enum { ANSWER_NONE, ANSWER_FOUND, ANSWER_ERROR };

/* In the child. */
static int ask_name_service(void *context)
{
	const struct question *question = context;
	aside_die_with_caller();
	for (size_t bytes = ENTRY_BYTES; bytes <= ENTRY_BYTES_MAX; bytes *= 2) {
		struct passwd entry, *found = NULL;
		char *buf = malloc(bytes);
		int failed = buf ? getpwnam_r(question->name, &entry, buf, bytes, &found) : ENOMEM;
		if (found)
			*question->uid = found->pw_uid;
		free(buf);
		if (found)
			return ANSWER_FOUND;
		/* Not found is 0, or one of many errors (getpwnam_r(3)). */
		if (failed != ERANGE)
			return failed == ENOMEM || failed == EAGAIN || failed == EMFILE ? ANSWER_ERROR : ANSWER_NONE;
	}
	return ANSWER_ERROR;
}

int host_user(const char *name, int timeout_ms, uid_t *uid)
{
	if (find_in_passwd(name, uid))
		return 1;
	uid_t *told = mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (told == MAP_FAILED)
		return -1;
	struct question question = {name, told};
	int answer = aside(ask_name_service, &question, timeout_ms, -1);
	*uid = *told;
	munmap(told, sizeof *told);
	return answer == ANSWER_FOUND ? 1 : answer == ANSWER_NONE ? 0 : -1;
}
