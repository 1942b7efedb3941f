/* SPDX-License-Identifier: Apache-2.0 */
#include "helper/protocol.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/utf8.h"

const char *helper_socket(void)
{
	const char *path = getenv("HUGEXEC_HELPER");
	if (!path || !*path)
		return HELPER_SOCKET;
	return strcmp(path, "off") == 0 ? NULL : path;
}

bool helper_is_there(void)
{
	const char *path = helper_socket();
	return path && access(path, W_OK) == 0; /* what connect(2) asks for, unix(7) */
}

/* NUL-terminated, and nothing behind that. */
static bool is_string(const char *field, size_t bytes)
{
	size_t length = strnlen(field, bytes);
	for (size_t i = length; i < bytes; i++) {
		if (field[i])
			return false;
	}
	return length < bytes;
}

struct overrides helper_request_overrides(const struct helper_request *request)
{
	return (struct overrides){.backing = request->backing[0] ? request->backing : NULL,
	                          .coverage = request->coverage[0] ? request->coverage : NULL};
}

int helper_request_check(const void *data, size_t bytes, unsigned file_count, struct helper_request *out,
                         struct error *err)
{
	struct helper_request request;
	if (bytes != sizeof request)
		return error_set(err, REASON_HELPER_REQUEST, "%zu bytes instead of %zu", bytes, sizeof request);
	memcpy(&request, data, sizeof request);
	if (request.magic != HELPER_MAGIC)
		return error_set(err, REASON_HELPER_REQUEST, "not a request");
	if (request.version != HELPER_VERSION)
		return error_set(err, REASON_HELPER_REQUEST, "version %u instead of %d", request.version,
		                 HELPER_VERSION);
	if (file_count != 1)
		return error_set(err, REASON_HELPER_REQUEST, "%u files instead of a pidfd", file_count);
	if (!is_string(request.backing, sizeof request.backing) ||
	    !is_string(request.coverage, sizeof request.coverage))
		return error_set(err, REASON_HELPER_REQUEST, "backing or coverage is no string");
	struct settings settings = {0};
	struct overrides overrides = helper_request_overrides(&request);
	if (settings_override(&settings, &overrides, NULL) < 0)
		return error_set(err, REASON_HELPER_REQUEST, "no such backing or coverage");
	*out = request;
	return 0;
}

int helper_word_check(const void *data, size_t bytes, unsigned file_count, struct helper_word *out, struct error *err)
{
	struct helper_word word;
	if (bytes != sizeof word)
		return error_set(err, REASON_HELPER_REQUEST, "%zu bytes instead of %zu", bytes, sizeof word);
	memcpy(&word, data, sizeof word);
	if (word.magic != HELPER_MAGIC)
		return error_set(err, REASON_HELPER_REQUEST, "not the word");
	if (word.flags & ~(uint32_t)(HELPER_REPORT | HELPER_STDERR | HELPER_VERBOSE))
		return error_set(err, REASON_HELPER_REQUEST, "unknown flags 0x%x", word.flags);
	unsigned wanted = (word.flags & HELPER_REPORT ? 1U : 0U) + (word.flags & HELPER_STDERR ? 1U : 0U);
	if (file_count != wanted)
		return error_set(err, REASON_HELPER_REQUEST, "%u files instead of %u", file_count, wanted);
	*out = word;
	return 0;
}

int helper_answer_check(const void *data, size_t bytes, enum helper_verdict *verdict, struct error *err)
{
	struct helper_answer answer;
	if (bytes != sizeof answer)
		return error_set(err, REASON_HELPER_ANSWER, "%zu bytes instead of %zu", bytes, sizeof answer);
	memcpy(&answer, data, sizeof answer);
	if (answer.magic != HELPER_MAGIC || answer.verdict < HELPER_SEIZED || answer.verdict > HELPER_REFUSED)
		return error_set(err, REASON_HELPER_ANSWER, "not an answer");
	answer.word[sizeof answer.word - 1] = '\0';
	answer.detail[sizeof answer.detail - 1] = '\0';
	*verdict = (enum helper_verdict)answer.verdict;
	if (*verdict != HELPER_REFUSED)
		return 0;
	/* A hugexecd of another version may have a word that we do not know. */
	char detail[sizeof answer.detail];
	enum reason reason = reason_find(answer.word);
	error_set(err, reason ? reason : REASON_HELPER_REFUSED, "%s",
	          text_printable(answer.detail, detail, sizeof detail));
	return 0;
}
