# SPDX-License-Identifier: Apache-2.0
"""Build a program with N MiB of text: bigtext.py MIB OUTPUT [COMPILER-AND-FLAGS...] (default: cc). See bigtext.c."""
import os
import subprocess
import sys
import tempfile

PAGE = 4096
PAGES_A_FUNCTION = 64  # so that perf and gdb have names to show

ASSEMBLY = """
{target}
	.text
	.balign {page}
	.globl bigtext_walk
	.type bigtext_walk, %function
bigtext_walk:
{begin}
	.size bigtext_walk, .-bigtext_walk
	.balign {page}, 0xcc
1:
{functions}
	ret
	.section .rodata
	.globl bigtext_pages
	.type bigtext_pages, %object
	.balign 8
bigtext_pages:
	.quad {pages}
	.size bigtext_pages, .-bigtext_pages
	.section .note.GNU-stack,"",%progbits
"""

FUNCTION = """
	.globl work_{number}
	.type work_{number}, %function
work_{number}:
	.set first, {first}
	.rept {count}
{step}
	.set first, first + 1
{jump}
	.balign {page}, 0xcc
1:
	.endr
	.size work_{number}, .-work_{number}
"""

# By processor: for which kind of it, how the walk begins, what a page does with its number, and how it goes on.
CODE = {
    "x86_64": {
        "target": "",
        "begin": "	mov %rdi, %rax\n	jmp 1f",
        "step": "	add $((first * 2654435761) & 0x7fffffff), %rax\n	rol $1, %rax",
        "jump": "	jmp 1f"},
    "aarch64": {
        "target": "	.arch armv8.5-a",
        "begin": "	bti c\n	b 1f",
        "step": "	movz x1, #(((first * 2654435761) & 0x7fffffff) & 0xffff)\n"
                "	movk x1, #(((first * 2654435761) & 0x7fffffff) >> 16), lsl #16\n"
                "	add x0, x0, x1\n	ror x0, x0, #63",
        "jump": "	b 1f"}}


def processor(compiler):
    """Which of CODE's COMPILER is for."""
    told = subprocess.run([compiler, "-dumpmachine"], capture_output=True, text=True, check=True).stdout
    return told.partition("-")[0]


def assembly(mib, compiler="cc"):
    code = CODE[processor(compiler)]
    pages = mib * 1024 * 1024 // PAGE
    functions = []
    for number, first in enumerate(range(0, pages, PAGES_A_FUNCTION)):
        count = min(PAGES_A_FUNCTION, pages - first)
        functions.append(FUNCTION.format(number=number, first=first, count=count, page=PAGE, **code))
    return ASSEMBLY.format(page=PAGE, pages=pages, functions="".join(functions), **code)


def build(mib, output, command=("cc",)):
    """Build MIB of text into OUTPUT with COMMAND (a compiler and its flags)."""
    main = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bigtext.c")
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, "text.s")
        with open(source, "w", encoding="ascii") as file:
            file.write(assembly(mib, command[0]))
        partial = f"{output}.{os.getpid()}"
        subprocess.run([*command, "-O2", "-o", partial, main, source], check=True)
        os.rename(partial, output)


if __name__ == "__main__":
    build(int(sys.argv[1]), sys.argv[2], tuple(sys.argv[3:]) or ("cc",))
