# SPDX-License-Identifier: Apache-2.0
"""
Put what test_sandbox.py has found out into docs/systemd.md: table.py BUILD. "make systemd-table" runs the test first.
"""
import json
import pathlib
import sys

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs" / "systemd.md"
BEGIN, END = "<!-- begin of the table that tests/systemd/table.py writes -->\n", "<!-- end of the table -->\n"
MIB = 1 << 20


def row(name, result):
    if result["huge_bytes"] == 0:
        return f"| `{name}` | no | | {result['reason']} |"
    how = "through the helper" if result["helped"] else "directly"
    return f"| `{name}` | {result['huge_bytes'] // MIB} of 8 MiB | {how} | {result['reason'] or ''} |"


def main(build):
    results = json.loads((pathlib.Path(build) / "systemd" / "sandbox.json").read_text(encoding="utf-8"))
    lines = ["| setting | on huge pages | how | reason in the journal |", "| --- | --- | --- | --- |",
             *(row(name, result) for name, result in results.items())]
    text = DOCS.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    DOCS.write_text(before + BEGIN + "\n".join(lines) + "\n" + END + after, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
