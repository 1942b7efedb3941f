# SPDX-License-Identifier: Apache-2.0
"""Libraries with much text, built for a test, and what becomes of them."""
import os
import subprocess

from lib.machine import HUGE
from lib.policies import policy_with
from lib.process import Process
from lib.report import read_report
from lib.smaps import smaps
from programs import bigtext as bigtext_generator

LIBRARY = """
#include <stdint.h>
extern uint64_t bigtext_walk(uint64_t start);
extern const uint64_t bigtext_pages;
/* Whether the sum over all pages of text is right. */
int text_is_right(void)
{
	uint64_t sum = 1;
	for (uint64_t i = 0; i < bigtext_pages; i++) {
		sum += (i * 2654435761U) & 0x7fffffff;
		sum = sum << 1 | sum >> 63;
	}
	return sum == bigtext_walk(1);
}
"""
MAIN = """
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int text_is_right(void) __attribute__((weak));
int main(int argc, char **argv)
{
	printf("%s\\n", !text_is_right ? "no library" : text_is_right() ? "right" : "wrong");
	fflush(stdout);
	while (argc > 1 && strcmp(argv[1], "sleep") == 0)
		pause();
	return 0;
}
"""
# An address in the text, which ld.so has to write there.
TEXT_RELOCATION = """
	.text
	.globl relocated
	.type relocated, @function
relocated:
	movabs $relocated, %rax
	ret
	.size relocated, .-relocated
	.section .note.GNU-stack,"",@progbits
"""


class Built:
    def __init__(self, compiler, folder):
        self.compiler, self.folder = compiler, folder
        (folder / "main.c").write_text(MAIN)
        (folder / "library.c").write_text(LIBRARY)
        (folder / "text.s").write_text(bigtext_generator.assembly(6))
        (folder / "relocated.s").write_text(TEXT_RELOCATION)

    def call(self, *words):
        subprocess.run([self.compiler, "-O1", *words], check=True, cwd=self.folder, timeout=100)

    def library(self, name, *flags):
        path = self.folder / f"lib{name}.so"
        self.call("-shared", "-fPIC", "-o", path, "library.c", "text.s", *flags)
        os.sync()
        return path

    def program(self, name, *libraries):
        path = self.folder / name
        self.call("-fPIE", "-pie", "-o", path, "main.c", "-Wl,--no-as-needed", *libraries)
        return path


def look(words, report, path, **options):
    """What the report and the kernel say of the library at PATH while the program waits; and what it printed."""
    with Process(words, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, **options) as process:
        try:
            told = process.stdout.readline()
            line = read_report(report)[0]
            entries = smaps(process.pid)
        finally:
            process.kill()
    objects = [each for each in line["objects"] if each["path"] == str(path)]
    return told, line, objects[0] if objects else None, entries


def in_place(line, found, entries):
    """
    Whether the library was prepared, and nothing else was done: then the kernel says so, once all of the text was used
    (LIBRARY does before it prints).
    """
    if not found["prepared_bytes"]:
        return False
    assert (line["outcome"], found["backing"], found["reason"]) == ("skipped", "file", None)
    assert line["reason"].startswith("libraries-prepared: ") and (found["huge_bytes"], found["start"], found["end"]) == (0, None, None)
    text = [entry for entry in entries if entry["path"] == found["path"] and "x" in entry["perms"]]
    assert sum(entry["FilePmdMapped"] for entry in text) == found["prepared_bytes"] >= found["text_bytes"] - 2 * HUGE > 0
    return True


def policy(**settings):
    return policy_with(**{"libraries": True, "min_text": "2M", "follow": "none", "file_timeout": "20s", **settings})
