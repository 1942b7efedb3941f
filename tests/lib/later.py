# SPDX-License-Identifier: Apache-2.0
"""A program that opens a library with much text when it is told to, with threads at work beside it."""
import contextlib
import os
import subprocess

import pytest

from lib.libraries import Built
from lib.process import Process, marked, status_of
from lib.report import read_report
from lib.smaps import smaps
from lib.text_coverage import huge_text

# Read-only data behind the text, so that no data that is written to is in the same slot.
CONSTANTS = """
	.section .rodata
	.globl constants
constants:
	.fill 0x400000, 1, 7
	.section .note.GNU-stack,"",@progbits
"""
LATER = r"""
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>
static int (*right)(void);
static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
static volatile int ends;
/* Uses the library if it is there; every second thread has ld.so map and unmap others all the time. */
static void *work(void *odd)
{
	long wrong = 0;
	while (!ends) {
		pthread_rwlock_rdlock(&lock);
		wrong += right && !right();
		pthread_rwlock_unlock(&lock);
		if (odd) {
			void *other = dlopen("libresolv.so.2", RTLD_NOW);
			wrong += !other || dlclose(other);
		} else
			usleep(100);
	}
	return (void *)wrong;
}
int main(int argc, char **argv)
{
	char word[256];
	void *library = NULL;
	long count = atol(argv[2]), wrong = 0;
	pthread_t threads[64];
	for (long i = 0; i < count; i++)
		pthread_create(&threads[i], NULL, work, (void *)(i % 2));
	puts("up");
	fflush(stdout);
	while (fgets(word, sizeof word, stdin)) {
		word[strcspn(word, "\n")] = 0;
		int (*now)(void) = NULL;
		if (strcmp(word, "open") == 0) {
			library = dlopen(argv[1], RTLD_NOW);
			now = library ? (int (*)(void))dlsym(library, "text_is_right") : NULL;
		} else if (strcmp(word, "check") == 0)
			now = right;
		else if (strcmp(word, "hide") == 0)
			prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
		else if (strcmp(word, "execute") == 0)
			execl("/bin/cat", "cat", NULL);
		pthread_rwlock_wrlock(&lock);
		right = now;
		if (strcmp(word, "close") == 0)
			dlclose(library);
		pthread_rwlock_unlock(&lock);
		printf("%s %s\n", word, !now ? "done" : now() ? "right" : "wrong");
		fflush(stdout);
	}
	ends = 1;
	for (long i = 0; i < count; i++) {
		void *of_thread;
		pthread_join(threads[i], &of_thread);
		wrong += (long)of_thread;
	}
	printf("%ld wrong\n", wrong);
	return wrong != 0;
}
"""


class Later:
    """The program, its library, and a policy that has the library prepared."""

    def __init__(self, folder, hugexec_command):
        built = Built("cc", folder)
        (folder / "later.c").write_text(LATER)
        (folder / "constants.s").write_text(CONSTANTS)
        self.library = str(built.library("later", "constants.s"))
        self.path = str(folder / "later")
        built.call("-D_GNU_SOURCE", "-pthread", "-o", self.path, "later.c", "-ldl")
        self.hugexec_command, self.mark = hugexec_command, None
        os.sync()

    def words(self, threads=0, **settings):
        policy = {"version": 1, "rules": [{"name": "later", "match": {"exe": self.path}, "min_text": "2M", "file_timeout": "60s", "hold_timeout": "60s",
                                           "follow": "none", "libraries": {"prepare": [self.library]}, "coverage": "full", **settings}]}
        return self.hugexec_command([self.path, self.library, threads], policy, "file,thp")

    @contextlib.contextmanager
    def running(self, threads=0, before=(), environment=(), **settings):
        """Its Popen, when it is up, and its report."""
        words, report = self.words(threads, **settings)
        with Process([*before, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **dict(environment)}) as process:
            assert process.stdout.readline() == "up\n"
            yield process, self.reported(report)
            if process.poll() is None:
                process.kill()

    def reported(self, report):
        """What the launch has said of the library; a test that needs it in place is passed over where it cannot be."""
        line, = read_report(report)
        told, = [each for each in line["objects"] if each["path"] == self.library]
        if str(told["reason"]).startswith("file-"):
            pytest.skip(f"not on this filesystem: {told['reason']}")
        assert told["prepared_bytes"] and not line["copied_bytes"]
        return told

    def share(self, pid):
        """Bytes of the library's text in PID, which nobody traces, and how many are huge; (0, 0): it is not mapped."""
        entries = smaps(pid)
        if not any(entry["path"] == self.library and "x" in entry["perms"] for entry in entries):
            return 0, 0
        assert not any(entry["path"].startswith("/memfd:") for entry in entries)
        assert not any("w" in entry["perms"] and "x" in entry["perms"] for entry in entries)
        return huge_text(entries, self.library)

    def is_whole(self, pid):
        text, huge = self.share(pid)
        return text > 0 and text == huge


def ask(process, word):
    process.stdin.write(f"{word}\n")
    process.stdin.flush()
    return process.stdout.readline()


def others(mark, pid):
    """Processes of the launch's beside PID."""
    return [other for other in marked(mark) if other != pid and status_of(other)["State"][0] != "Z"]
