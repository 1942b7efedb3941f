# SPDX-License-Identifier: Apache-2.0
"""What CONTRIBUTING.md asks of the code's form, as far as a program can tell. check.py [ROOT]; exit 1: something is wrong.

    layers      a room of shim/ includes only rooms below it
    cycles      no module (a .c file and its header) needs itself by way of others
    circles     nor does its object, by the symbols of a build, if there is one
    lengths     no file over 500 lines, no function over 60, in the tests neither; README.md has 150 lines at most
    imports     tests import from tests/lib, not from one another nor from a conftest.py
    license     each file of code says at its top which license it has
    processor   nothing outside of arch/ knows the processor or the byte order
    pages       nothing outside of host/pages knows how large a page is
    signposts   the files that CONTRIBUTING.md names are there
    reasons     the manual has the reasons of reason.def, and nothing else writes or compares their words
"""
import ast
import pathlib
import re
import sys

import circles
import reasons

# From the ground up: a room may include itself and what stands before it.
ROOMS = ("base", "arch", "policy", "host", "sandbox", "mm", "ptrace", "report", "remap", "tracer", "launch", "helper", "ctl")
FILE_LINES, FUNCTION_LINES, README_LINES = 500, 60, 150

# What only a file about the processor may say, in code or in a string.
PROCESSOR = re.compile(r"\b(x86(_64)?|amd64|[re]([abcd]x|[sd]i|[sbi]p)|r8|r9|r1[0-5]|orig_rax|eflags|DR[0-7]|PTRACE_(GET|SET)REGS|user_regs_struct"
                       r"|__x86_64__|__i386__|__aarch64__|EM_(X86_64|AARCH64|ARM|386)|AUDIT_ARCH_\w+|NT_ARM\w+|gpr\.\w+|HWCAP2?_\w+|AT_HWCAP2?"
                       r"|PROT_(BTI|MTE)|pstate|PSR_\w+|x(29|30)|svc|user_pt_regs)(?![\w/])|x86[-_]64|aarch64|arm64|ld-linux")
BYTE_ORDER = re.compile(r"\b(__BYTE_ORDER(__)?|__LITTLE_ENDIAN|ELFDATA2[LM]SB|(htole|htobe)\d+|(le|be)\d+toh|bswap_\d+|__builtin_bswap\d+)\b")
# Sizes of pages: of 4 KiB (and their masks) and of 2 MiB, however they are written.
PAGE_SIZE = re.compile(r"\b(4096|4095|0x0*(1000|f{3})U?L{0,2}|4\s*\*\s*(KIB|1024)|1UL{0,2}\s*<<\s*12|2\s*\*\s*MIB|2\s*\*\s*1024\s*\*\s*1024|2097152|"
                       r"2097151|0x0*(200000|1f{5})U?L{0,2}"
                       r"|1UL{0,2}\s*<<\s*21|PAGE_SI[ZS]E|PAGE_SHIFT|PMD_\w+|_SC_PAGE_?SIZE|getpagesize|AT_PAGESZ|hpage_pmd_size)\b"
                       r"|\bU?INT64_C\((4096|4095|2)\)\s*(<<\s*20)?|[^\w.]2(U?L{0,2})\s*<<\s*20\b|/ *512\b|\* *512\b")
# Lines that have such a number for another reason: file, what the line says, why.
OTHER_NUMBERS = (
    ("shim/policy/settings.c", ".min_text_bytes = 2 * MIB", "a default of the policy's, told in the manual"),
    ("shim/helper/hugexecd.c", "parse_count(optarg, 1, 4096", "a number of clients"),
    ("shim/ptrace/seize_threads.h", "SEIZE_THREADS_MAX 4096", "a number of threads"),
)
# Lines that each of these rules must find, or it looks for nothing.
PLANTED = {
    PROCESSOR: ("at = regs->gpr.rip;", "#if defined(__x86_64__)", "machine != EM_X86_64", 'open("/lib64/ld-linux-x86-64.so.2")', "info.arch == AUDIT_ARCH_X86_64",
                "regs->pstate &= ~3;", "regs->gpr.regs[0] = 0;", "ptrace(PTRACE_GETREGSET, pid, NT_ARM_SYSTEM_CALL, &nr)", "prot |= PROT_BTI;",
                "getauxval(AT_HWCAP2)", '__asm__("svc #0")', 'strcmp(machine, "aarch64")', "#ifdef __aarch64__", "machine == EM_AARCH64"),
    BYTE_ORDER: ("le64toh(entry)", "htole32(word)", "#if __BYTE_ORDER == __LITTLE_ENDIAN", "ident[EI_DATA] == ELFDATA2LSB"),
    PAGE_SIZE: ("page / 4096", "at & ~0xfffULL", "(at + 4095) & ~UINT64_C(4095)", "UINT64_C(2) << 20", "at += 2 * MIB", "bytes % 0x200000", "1UL << 21",
                "sysconf(_SC_PAGESIZE)", "getpagesize()", "pages / 512"),
}
KNOWS_PAGES = ("shim/host/pages.c", "shim/host/pages.h")


def sources(root):
    for folder in ("shim", "oci-hook"):
        yield from sorted(path for path in (root / folder).rglob("*.[ch]"))


def test_sources(root):
    """Python, C and shell of the tests, and what has no ending and says in its first line that it is a script."""
    for path in sorted((root / "tests").rglob("*")):
        if path.is_file() and (path.suffix in (".py", ".c", ".h", ".sh") or not path.suffix and path.open("rb").read(2) == b"#!"):
            yield path


def without_comments(text):
    """TEXT with comments blanked, lines kept."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match[0]) if match[0].startswith("/") else match[0]
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', blank, text, flags=re.S)


def includes(path):
    return re.findall(r'^#include "([^"]+)"', path.read_text(), re.M)


def check_layers(root):
    for path in sources(root):
        parts = path.relative_to(root).parts
        if parts[0] != "shim" or len(parts) < 3:
            continue
        if parts[1] not in ROOMS:
            yield f"{path.relative_to(root)}: '{parts[1]}' is no room that tests/house/check.py knows"
            continue
        for name in includes(path):
            room = name.partition("/")[0]
            if room in ROOMS and ROOMS.index(room) > ROOMS.index(parts[1]):
                yield f"{path.relative_to(root)}: includes {name}, which stands above {parts[1]}/"


def modules(root):
    """Each module's name and the modules that it includes."""
    found = {}
    for path in sources(root):
        base = root / path.relative_to(root).parts[0]
        name = str(path.relative_to(base).with_suffix(""))
        needs = found.setdefault(name, set())
        needs.update(other for include in includes(path) if (other := include.rpartition(".")[0]) != name and (base / include).exists())
    return found


def check_cycles(root):
    yield from (" -> ".join(way) for way in circles.circles(modules(root)))


def python_functions(text):
    """The first line of each, and how many lines it has."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.lineno, node.end_lineno - node.lineno


def c_functions(text):
    start = None
    for number, line in enumerate(text.splitlines(), 1):
        if line == "{":
            start = number
        elif line == "}" and start:
            yield start, number - start - 1
            start = None


def check_lengths(root):
    readme = root / "README.md"
    if readme.exists() and readme.read_text().count("\n") > README_LINES:
        yield f"README.md: over {README_LINES} lines"
    for path in [*sources(root), *test_sources(root)]:
        text = path.read_text()
        where = path.relative_to(root)
        lines = text.count("\n")
        if lines > FILE_LINES:
            yield f"{where}: {lines} lines, {FILE_LINES} at most"
        functions = {".py": python_functions, ".c": c_functions, ".h": c_functions}.get(path.suffix, lambda _: ())
        for start, length in functions(text):
            if length > FUNCTION_LINES:
                yield f"{where}:{start}: a function of {length} lines, {FUNCTION_LINES} at most"


def check_imports(root):
    for path in sorted((root / "tests").rglob("*.py")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found = re.match(r"(?:from|import) (conftest|test_\w+)\b", line)
            if found:
                yield f"{path.relative_to(root)}:{number}: imports from {found[1]}: what tests share belongs into tests/lib"


def code_lines(root):
    """Each line of code outside of arch/, without comments: its file, its number, its text."""
    for path in sources(root):
        where = str(path.relative_to(root))
        if not where.startswith("shim/arch/"):
            yield from ((where, number, line) for number, line in enumerate(without_comments(path.read_text()).splitlines(), 1))


def check_license(root):
    """The line that LICENSE is about."""
    line = "SPDX-License-Identifier: Apache-2.0"
    builds = [path for name in ("meson.build", "meson_options.txt") for path in root.rglob(name) if not path.relative_to(root).parts[0].startswith("build")]
    scripts = [path for path in root.glob("oci-hook/kubernetes/image/*") if path.open("rb").read(2) == b"#!"]
    for path in [*sources(root), *test_sources(root), *root.glob("shim/**/*.py"), *builds, *scripts, root / ".ci/run"]:
        if "corpus" not in path.parts and line not in "".join(path.open(errors="replace").readlines()[:2]):
            yield f"{path.relative_to(root)}: \"{line}\" is not in its first line (after #!)"


def check_processor(root):
    for where, number, line in code_lines(root):
        for what, pattern in (("the processor", PROCESSOR), ("the byte order", BYTE_ORDER)):
            if pattern.search(line):
                yield f"{where}:{number}: knows {what}: {line.strip()}"


def check_pages(root):
    unused = set(OTHER_NUMBERS)
    for where, number, line in code_lines(root):
        if where in KNOWS_PAGES or not PAGE_SIZE.search(re.sub(r'"(?:\\.|[^"\\])*"', '""', line)):
            continue
        other = [entry for entry in OTHER_NUMBERS if entry[0] == where and entry[1] in line]
        unused.difference_update(other)
        if not other:
            yield f"{where}:{number}: knows the size of a page, which only host/pages may: {line.strip()}"
    yield from (f"no rule finds {line!r}" for pattern, lines in PLANTED.items() for line in lines if not pattern.search(line))
    yield from (f"OTHER_NUMBERS has {said!r} of {where}, which is not there" for where, said, _ in sorted(unused))


def check_signposts(root):
    page = root / "CONTRIBUTING.md"
    for name in re.findall(r"`((?:shim|tests|docs|oci-hook)/[\w./-]+)`", page.read_text() if page.exists() else ""):
        if not (root / name).exists():
            yield f"CONTRIBUTING.md: there is no {name}"


CHECKS = {"layers": check_layers, "cycles": check_cycles, "circles": circles.check, "lengths": check_lengths, "imports": check_imports,
          "license": check_license, "processor": check_processor, "pages": check_pages, "reasons": reasons.check, "signposts": check_signposts}


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__).resolve()
    root = root if root.is_dir() else root.parents[2]
    wrong = [f"{name}: {said}" for name, check in CHECKS.items() for said in check(root)]
    print("\n".join(wrong) or "house: in order")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
