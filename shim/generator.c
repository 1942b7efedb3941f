/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hugexec-generator NORMAL-DIR [EARLY-DIR LATE-DIR] - systemd runs it at boot and at each daemon-reload, before it
 * loads units (systemd.generator(7)).
 *
 *   names of enabled units -> each one's files -> NORMAL-DIR/UNIT.d/zz-hugexec.conf
 *
 * Any doubt: no drop-in, the unit starts as it would without hugexec, and the journal (at boot the kernel's log) has
 * why. If hugexec is not installed, or /run/hugexec/disabled is there, nothing is written at all.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/kill_switch.h"
#include "config.h"
#include "ctl/enabled_units.h"
#include "ctl/unit_compose.h"

struct generator {
	const char *directory;
	struct unit_files files;
	struct unit_needs needs;
};

/* Tell the journal; it may not be waited for, as it may wait for systemd, which waits for us. */
static void tell(const char *unit, const struct error *err)
{
	char why[ERROR_TEXT_BYTES], text[ERROR_TEXT_BYTES + 1024];
	struct sockaddr_un journal = {.sun_family = AF_UNIX, .sun_path = "/run/systemd/journal/socket"};
	error_text(err, why, sizeof why);
	for (char *p = why; *p; p++)
		*p = *p == '\n' ? ' ' : *p;
	cleanup_close int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int length = snprintf(text, sizeof text,
	                      "PRIORITY=4\nSYSLOG_IDENTIFIER=hugexec\nHUGEXEC_UNIT=%s\nMESSAGE=%s starts without "
	                      "hugexec: %s\n",
	                      unit, unit, why);
	if (fd >= 0 &&
	    sendto(fd, text, (size_t)length, MSG_NOSIGNAL, (struct sockaddr *)&journal, sizeof journal) == length)
		return;
	cleanup_close int kernel = open("/dev/kmsg", O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	length = snprintf(text, sizeof text, "<4>hugexec-generator: %s starts without hugexec: %s\n", unit, why);
	if (kernel < 0 || write(kernel, text, (size_t)length) < 0)
		fputs(text + 3, stderr);
}

static int write_drop_in(const char *directory, const char *unit, const char *text, struct error *err)
{
	char path[PATH_MAX], temporary[PATH_MAX];
	snprintf(path, sizeof path, "%s/%s.d", directory, unit);
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return error_set_errno(err, errno, REASON_DROP_IN, "%s", path);
	snprintf(temporary, sizeof temporary, "%s/%s.d/." UNIT_DROP_IN_NAME, directory, unit);
	snprintf(path, sizeof path, "%s/%s.d/" UNIT_DROP_IN_NAME, directory, unit);
	cleanup_close int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0 || write_all(fd, text, strlen(text)) < 0 || rename(temporary, path) < 0) {
		error_set_errno(err, errno, REASON_DROP_IN, "%s", path);
		unlink(temporary);
		return -1;
	}
	return 0;
}

static void on_unit(void *context, const char *unit, bool runtime)
{
	const struct generator *generator = context;
	struct error err = {0};
	static struct unit_paths paths;
	if (enabled_is_abandoned(runtime ? ENABLED_RUNTIME_FOLDER : ENABLED_FOLDER, unit)) {
		error_set(
		    &err, REASON_NOT_TAKEN,
		    "hugexecctl enable was ended while it tried this unit; hugexecctl disable or enable it again");
		tell(unit, &err);
		return;
	}
	cleanup_free char *text = NULL;
	if (unit_compose(&generator->files, &generator->needs, unit, &paths, &text, &err) < 0 ||
	    write_drop_in(generator->directory, paths.name, text, &err) < 0)
		tell(unit, &err);
}

static void count(void *context, const char *unit, bool runtime)
{
	(void)unit;
	(void)runtime;
	++*(unsigned *)context;
}

int main(int argc, char **argv)
{
	if (argc < 2 || argv[1][0] != '/') {
		fputs("hugexec-generator: systemd runs it, with the directory to write to\n", stderr);
		return EXIT_FAILURE;
	}
	struct generator generator = {.directory = argv[1]};
	struct error err = {0};
	unsigned units = 0;
	umask(0022);
	enabled_each(count, &units);
	if (units == 0 || access(KILL_SWITCH_FILE, F_OK) == 0)
		return 0;
	if (unit_needs_find(&generator.needs, &err) < 0 ||
	    unit_files_read("", UNIT_DROP_IN_NAME, &generator.files, &err) < 0) {
		tell("each enabled unit", &err);
		return 0;
	}
	enabled_each(on_unit, &generator);
	unit_files_free(&generator.files);
	return 0;
}
