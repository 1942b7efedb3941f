/* SPDX-License-Identifier: Apache-2.0 */
#include "report/count_message.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/datagram.h"
#include "host/host.h"

#define PATIENCE_MS 50                  /* for a counter that is being started; a stopped one loses the count */
#define BYTES_MAX   (UINT64_C(1) << 44) /* of text: more than any program has */
#define HELD_MAX_US (UINT64_C(1) << 36) /* 19 hours */

static const char magic[8] = "hgxcnt3";

void count_message_send(const char *socket_path, const struct report *report)
{
	struct count_message message;
	cleanup_close int fd = datagram_open(socket_path);
	if (fd < 0)
		return;
	memset(&message, 0, sizeof message);
	memcpy(message.magic, magic, sizeof magic);
	message.pid = report->pid;
	metrics_count_of(report, &message.count);
	datagram_send(fd, &message, sizeof message, PATIENCE_MS);
}

/* TEXT, of BYTES, has an end: zero what is behind it, so that alike keys are the same bytes. */
static void end_text(char *text, size_t bytes)
{
	size_t length = strnlen(text, bytes - 1);
	memset(text + length, 0, bytes - length);
}

/* Whether PID is a process of UID. Of a service's main process, or of one that has dropped its privileges, it is. */
static bool is_process_of(pid_t pid, uid_t uid)
{
	char path[32];
	struct stat about;
	snprintf(path, sizeof path, "/proc/%d", (int)pid);
	return pid > 0 && stat(path, &about) == 0 && about.st_uid == uid;
}

bool count_message_check(const void *data, size_t bytes, const struct ucred *sender, struct count *out)
{
	struct count_message message;
	if (bytes != sizeof message)
		return false;
	memcpy(&message, data, sizeof message);
	struct count *count = &message.count;
	struct metric_key *key = &count->key;
	if (memcmp(message.magic, magic, sizeof magic) != 0 || !metrics_is_sound(key) || key->via == 0 ||
	    (key->reason[0] && reason_find(key->reason) == REASON_NONE) || count->text_bytes > BYTES_MAX ||
	    count->huge_bytes > BYTES_MAX || count->observed_bytes > BYTES_MAX || count->held_us > HELD_MAX_US)
		return false;
	end_text(key->reason, sizeof key->reason);
	end_text(key->rule, sizeof key->rule);
	end_text(key->space, sizeof key->space);
	/* The tracer may have ended by now; the workload runs, unless it was a short one. */
	cleanup_free char *unit = is_process_of(sender->pid, sender->uid)   ? host_unit_of(sender->pid)
	                          : is_process_of(message.pid, sender->uid) ? host_unit_of(message.pid)
	                                                                    : NULL;
	metrics_set_unit(key, unit);
	memset(out, 0, sizeof *out);
	out->key.via = key->via;
	out->key.outcome = key->outcome;
	out->key.backing = key->backing;
	memcpy(out->key.reason, key->reason, sizeof key->reason);
	memcpy(out->key.unit, key->unit, sizeof key->unit);
	memcpy(out->key.rule, key->rule, sizeof key->rule);
	if (sender->uid == 0)
		memcpy(out->key.space, key->space, sizeof key->space);
	out->text_bytes = count->text_bytes;
	out->huge_bytes = count->huge_bytes;
	out->observed_bytes = count->observed_bytes;
	out->held_us = count->held_us;
	return true;
}
