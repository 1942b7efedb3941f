# SPDX-License-Identifier: Apache-2.0
"""A library with two texts, of which the second is out of step with its file, as BOLT leaves the one that it has found cold."""
import platform

from lib.libraries import Built
from lib.machine import MIB

COLD_PAGES = 8 * MIB // 4096
RETURNS = {"x86_64": "mov $number, %eax\n\tret", "aarch64": "mov w0, #number\n\tret"}
# One function at the beginning of each page, which returns the page's number.
COLD = f"""
	.section .cold, "ax", %progbits
	.globl cold
	.balign 4096
cold:
	.set number, 0
	.rept {COLD_PAGES}
	{RETURNS.get(platform.machine(), "")}
	.balign 4096
	.set number, number + 1
	.endr
	.section .note.GNU-stack, "", %progbits
"""
COLD_IS_RIGHT = f"""
extern char cold[];
int text_is_right(void);
int all_is_right(void)
{{
	for (int i = 0; i < {COLD_PAGES}; i++)
		if (((int (*)(void))(cold + i * 4096L))() != i)
			return 0;
	return text_is_right();
}}
"""
MAIN = r"""
#include <stdio.h>
#include <unistd.h>
int all_is_right(void);
int main(int argc, char **argv)
{
	printf("%s\n", all_is_right() ? "right" : "wrong");
	fflush(stdout);
	while (argc > 1)
		pause();
	return 0;
}
"""


def build(folder):
    """The library, and a program that looks whether both texts are right, and waits if it has an argument."""
    built = Built("cc", folder)
    (folder / "cold.s").write_text(COLD)
    (folder / "cold.c").write_text(COLD_IS_RIGHT)
    (folder / "main.c").write_text(MAIN)
    library = built.library("two", "cold.c", "cold.s", "-Wl,--section-start=.cold=0x2001000", "-Wl,-soname,libtwo.so")
    return library, built.program("program", "-Wl,-rpath,$ORIGIN", library)
