# SPDX-License-Identifier: Apache-2.0
"""Build a program with N MiB of text: bigtext.py MIB OUTPUT [COMPILER-AND-FLAGS...] (default: cc). See bigtext.c."""
import os
import subprocess
import sys
import tempfile

PAGE = 4096
PAGES_A_FUNCTION = 64  # so that perf and gdb have names to show

ASSEMBLY = """
	.text
	.balign {page}
	.globl bigtext_walk
	.type bigtext_walk, @function
bigtext_walk:
	mov %rdi, %rax
	jmp 1f
	.size bigtext_walk, .-bigtext_walk
	.balign {page}, 0xcc
1:
{functions}
	ret
	.section .rodata
	.globl bigtext_pages
	.balign 8
bigtext_pages:
	.quad {pages}
	.section .note.GNU-stack,"",@progbits
"""

FUNCTION = """
	.globl work_{number}
	.type work_{number}, @function
work_{number}:
	.set first, {first}
	.rept {count}
	add $((first * 2654435761) & 0x7fffffff), %rax
	rol $1, %rax
	.set first, first + 1
	jmp 1f
	.balign {page}, 0xcc
1:
	.endr
	.size work_{number}, .-work_{number}
"""


def assembly(mib):
    pages = mib * 1024 * 1024 // PAGE
    functions = []
    for number, first in enumerate(range(0, pages, PAGES_A_FUNCTION)):
        count = min(PAGES_A_FUNCTION, pages - first)
        functions.append(FUNCTION.format(number=number, first=first, count=count, page=PAGE))
    return ASSEMBLY.format(page=PAGE, pages=pages, functions="".join(functions))


def build(mib, output, command=("cc",)):
    """Build MIB of text into OUTPUT with COMMAND (a compiler and its flags)."""
    main = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bigtext.c")
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, "text.s")
        with open(source, "w", encoding="ascii") as file:
            file.write(assembly(mib))
        partial = f"{output}.{os.getpid()}"
        subprocess.run([*command, "-O2", "-o", partial, main, source], check=True)
        os.rename(partial, output)


if __name__ == "__main__":
    build(int(sys.argv[1]), sys.argv[2], tuple(sys.argv[3:]) or ("cc",))
