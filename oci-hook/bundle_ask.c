/* SPDX-License-Identifier: Apache-2.0 */
#include "bundle_ask.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/missing.h"
#include "sandbox/sandbox_spawn.h"

#define READER    "hugexec-bundle-reader"
#define ANSWER_MS 5000 /* for one that hangs: what it may be given to do takes a hundredth of that */

/* A file with TEXT: what the reader tells of it holds for TEXT, whatever happens to the bundle's own meanwhile. */
static int make_file(const char *text, size_t bytes, struct error *err)
{
	cleanup_close int fd = memfd_create("config.json", MFD_CLOEXEC | MFD_NOEXEC_SEAL);
	if (fd < 0 && errno == EINVAL) /* before Linux 6.3 */
		fd = memfd_create("config.json", MFD_CLOEXEC);
	if (fd < 0 || write_all(fd, text, bytes) < 0 || lseek(fd, 0, SEEK_SET) < 0)
		return error_set_errno(err, errno, REASON_BUNDLE_READER, "a file for it");
	return steal_fd(&fd);
}

/* Returns the bytes of the answer that came. */
static size_t read_answer(const struct reader *reader, struct bundle_answer *answer)
{
	int64_t deadline_ms = now_ms() + ANSWER_MS;
	size_t head_bytes = offsetof(struct bundle_answer, text);
	size_t got = reader_read(reader, answer, head_bytes, deadline_ms);
	if (got == head_bytes && answer->text_bytes <= BUNDLE_TEXT_MAX)
		got += reader_read(reader, answer->text, answer->text_bytes, deadline_ms);
	return got;
}

struct bundle_answer *bundle_ask(const char *name, const char *text, size_t bytes, const char *hook, struct error *err)
{
	const char *const words[] = {hook ? BUNDLE_READER_HOOKS : BUNDLE_READER_ANNOTATIONS, hook, NULL};
	struct reader reader;
	cleanup_close int fd = make_file(text, bytes, err);
	if (fd < 0)
		return NULL;
	struct bundle_answer *answer = malloc(sizeof *answer);
	if (!answer) {
		error_set(err, REASON_BUNDLE_READER, "out of memory");
		return NULL;
	}
	if (reader_start(&reader, READER, words, fd, REASON_BUNDLE_READER, err) == 0) {
		size_t got = read_answer(&reader, answer);
		reader_end(&reader);
		if (bundle_answer_check(answer, got, name, text, bytes, err) == 0)
			return answer;
	}
	free(answer);
	return NULL;
}
