/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What arrives on the helper's socket, from a hostile client and from a hostile helper, and on the counter's: checked
 * messages are what they say.
 */
#include "fuzzing.h"
#include "helper/protocol.h"
#include "policy/policy.h"
#include "report/count_message.h"

#define MESSAGE_MAX 1024

static void check_request(const void *data, size_t bytes, unsigned files)
{
	struct helper_request request;
	struct error err = {0};
	struct settings settings = {0};
	if (helper_request_check(data, bytes, files, &request, &err) < 0) {
		MUST(error_is_set(&err));
		return;
	}
	MUST(files == 1 && memchr(request.backing, '\0', sizeof request.backing));
	MUST(memchr(request.coverage, '\0', sizeof request.coverage));
	struct overrides overrides = helper_request_overrides(&request);
	MUST(settings_override(&settings, &overrides, NULL) == 0);
}

static void check_word(const void *data, size_t bytes, unsigned files)
{
	struct helper_word word;
	struct error err = {0};
	if (helper_word_check(data, bytes, files, &word, &err) < 0)
		MUST(error_is_set(&err));
	else
		MUST(files <= HELPER_FILES_MAX);
}

static void check_answer(const void *data, size_t bytes)
{
	enum helper_verdict verdict;
	struct error err = {0};
	if (helper_answer_check(data, bytes, &verdict, &err) < 0 || verdict == HELPER_REFUSED)
		MUST(error_is_set(&err));
	else
		return;
	/* It is shown on somebody's terminal. */
	MUST(memchr(err.detail, '\0', sizeof err.detail));
	for (const char *at = err.detail; *at; at++)
		MUST((unsigned char)*at >= 0x20 && *at != 0x7f);
}

/* What any user may send to hugexec-counter. */
static void check_count(const void *data, size_t bytes)
{
	static const struct ucred nobody = {.pid = 0, .uid = 65534, .gid = 65534};
	struct count count;
	if (!count_message_check(data, bytes, &nobody, &count))
		return;
	MUST(bytes == sizeof(struct count_message) && metrics_is_sound(&count.key) && count.key.via != 0);
	MUST(count.key.reason[0] == '\0' || reason_find(count.key.reason) != REASON_NONE);
	MUST(count.text_bytes < UINT64_MAX / 1024 && count.huge_bytes < UINT64_MAX / 1024 &&
	     count.held_us < UINT64_MAX / 1024);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	char message[MESSAGE_MAX];
	uint8_t choice = input_byte(&input);
	size_t sizes[] = {sizeof(struct helper_request), sizeof(struct helper_word), sizeof(struct helper_answer),
	                  choice & 32 ? sizeof(struct count_message) : input.left};
	size_t bytes = sizes[choice & 3] < sizeof message ? sizes[choice & 3] : sizeof message;
	input_bytes(&input, message, bytes);
	/* Mostly of the right kind, or nothing else would be looked at. */
	uint32_t magic = HELPER_MAGIC;
	if (choice & 4 && bytes >= sizeof magic)
		memcpy(message, &magic, sizeof magic);
	if (choice & 64 && bytes >= 8)
		memcpy(message, "hgxcnt3", 8);
	unsigned files = choice >> 3 & 3;
	check_request(message, bytes, files);
	check_word(message, bytes, files);
	check_answer(message, bytes);
	check_count(message, bytes);
	return 0;
}
