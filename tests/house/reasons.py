#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The manuals' tables of reasons, from shim/base/reason.def. reasons.py --write puts them into hugexec.1 and hugexecctl.1; check.py compares."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
BEGIN, END = '.\\" Made by tests/house/reasons.py from shim/base/reason.def.\n', '.\\" End of what is made.\n'
TITLES = {
    "NOTHING_TO_DO": "Nothing to do", "DECIDED": "The policy, or another hugexec, decides so", "LIBRARIES": "Libraries", "TEXT": "Text that cannot be copied",
    "BACKING": "Backings", "LIMIT": "Limits", "PROCESS": "The process cannot be traced, or made to do what is needed", "POLICY": "The policy cannot be used",
    "HELPER": "hugexecd", "OCI": "Containers",
}


def reasons(root):
    """(word, class, text) of each line of the list."""
    return re.findall(r'^REASON\(\w+, "([^"]+)", (\w+),\s+"([^"]+)"\)$', (root / "shim/base/reason.def").read_text(), re.M)


def entries(root, kind):
    return "".join(f".TP\n.B {word.replace('-', chr(92) + '-')}\n{says}\n" for word, of, says in reasons(root) if of == kind)


def tables(root):
    """What each manual has."""
    yield "docs/hugexec.1", BEGIN + "".join(f".SS {title}\n" + entries(root, kind) for kind, title in TITLES.items()) + END
    yield "docs/hugexecctl.1", BEGIN + entries(root, "COMMAND") + END


def manual_parts(text):
    """What stands before the table in the manual, the table, and what stands behind it."""
    start, end = text.index(BEGIN), text.index(END) + len(END)
    return text[:start], text[start:end], text[end:]


def check(root):
    if not (root / "docs").is_dir():
        return
    for manual, table in tables(root):
        if manual_parts((root / manual).read_text())[1] != table:
            yield f"the table in {manual} is not what shim/base/reason.def says: tests/house/reasons.py --write"
    listed = [line for line in (root / "shim/base/reason.def").read_text().splitlines() if line.startswith("REASON(")]
    if len(listed) != len(reasons(root)):
        yield "shim/base/reason.def has a line that is no REASON(name, \"word\", class, \"text\")"
    for word, kind, _ in reasons(root):
        if kind not in TITLES and kind != "COMMAND":
            yield f"shim/base/reason.def: {word}: no class {kind}"
    words = {word for word, _, _ in reasons(root) if "-" in word}
    for folder in ("shim", "oci-hook"):
        for path in sorted((root / folder).rglob("*.[ch]")):
            for number, line in enumerate(path.read_text().splitlines(), 1):
                where = f"{path.relative_to(root)}:{number}"
                if re.search(r"\bstrn?cmp\(.*reason_word\(", line):
                    yield f"{where}: compares a reason's word: compare its number"
                for word in set(re.findall(r'"([a-z-]+)"', re.sub(r"/\*.*?\*/|/\*.*|^ \*.*|fault_point\(.*?\)", "", line))) & words:
                    if path.name != "fault.c":
                        yield f"{where}: writes the word {word}, which only reason.def does"


def main():
    for manual, table in tables(ROOT):
        path = ROOT / manual
        before, _, after = manual_parts(path.read_text())
        if "--write" in sys.argv[1:]:
            path.write_text(before + table + after)
        else:
            print(table, end="")


if __name__ == "__main__":
    main()
