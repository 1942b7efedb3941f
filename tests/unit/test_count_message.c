/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <unistd.h>

#include "report/count_message.h"

static struct count a_count(void)
{
	struct report report = {.outcome = OUTCOME_SKIPPED, .backing = BACKING_NONE, .via = VIA_SHIM, .rule = "r"};
	struct count count;
	metrics_count_of(&report, &count);
	return count;
}

/* What count_message_check() says of a message in which BYTES at OFFSET are VALUE. */
static bool passes_with(size_t offset, const void *value, size_t bytes)
{
	struct count_message message = {.magic = "hgxcnt3", .pid = getpid(), .count = a_count()};
	struct ucred sender = {getpid(), geteuid(), getegid()};
	struct count count;
	memcpy((char *)&message + offset, value, bytes);
	return count_message_check(&message, sizeof message, &sender, &count);
}

#define PASSES_WITH(member, ...)                                                                                       \
	passes_with(offsetof(struct count_message, member), &(typeof(((struct count_message *)0)->member))__VA_ARGS__, \
	            sizeof((struct count_message *)0)->member)

static void datagrams_of_strangers(void **state)
{
	(void)state;
	char long_text[METRICS_RULE_BYTES];
	memset(long_text, 'x', sizeof long_text);
	assert_true(passes_with(0, "hgxcnt3", 8));
	assert_false(passes_with(0, "hgxcnt2", 8));
	assert_false(PASSES_WITH(count.key.via, {0}));
	assert_false(PASSES_WITH(count.key.via, {3}));
	assert_false(PASSES_WITH(count.key.outcome, {3}));
	assert_false(PASSES_WITH(count.key.backing, {-2}));
	assert_false(PASSES_WITH(count.key.backing, {BACKING_COUNT}));
	assert_false(PASSES_WITH(count.key.reason, {"made-up"}));
	assert_true(PASSES_WITH(count.key.reason, {""}));
	assert_false(passes_with(offsetof(struct count_message, count.key.rule), long_text, sizeof long_text));
	assert_false(PASSES_WITH(count.text_bytes, {UINT64_MAX}));
	assert_false(PASSES_WITH(count.huge_bytes, {UINT64_MAX}));
	assert_false(PASSES_WITH(count.observed_bytes, {UINT64_MAX}));
	assert_false(PASSES_WITH(count.held_us, {UINT64_MAX}));
	struct ucred sender = {getpid(), geteuid(), getegid()};
	struct count_message message = {.magic = "hgxcnt3", .count = a_count()};
	struct count count;
	assert_false(count_message_check(&message, sizeof message - 1, &sender, &count));
	assert_false(count_message_check(&message, sizeof message + 1, &sender, &count));
	/* A unit is looked up, never taken; that of another user's process neither. Only root's have a namespace. */
	strcpy(message.count.key.unit, "theirs.service");
	strcpy(message.count.key.space, "theirs");
	message.pid = 1;
	sender.pid = 0;
	sender.uid = 12345;
	assert_true(count_message_check(&message, sizeof message, &sender, &count));
	assert_string_equal(count.key.unit, "");
	assert_string_equal(count.key.space, "");
	struct ucred root = {0, 0, 0};
	struct count of_root;
	assert_true(count_message_check(&message, sizeof message, &root, &of_root));
	assert_string_equal(of_root.key.space, "theirs");
	/* What is behind the end of a text does not make another row. */
	memcpy(message.count.key.rule, "r\0junk", 6);
	message.count.key.reason[20] = 'x';
	struct count clean;
	assert_true(count_message_check(&message, sizeof message, &sender, &clean));
	assert_memory_equal(&clean, &count, sizeof count);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(datagrams_of_strangers)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
