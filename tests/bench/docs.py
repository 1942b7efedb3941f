#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
docs.py [--anyway] RESULTS.json [ROOT]: put what bench.py has measured into README.md, docs/design.md and docs/bench.svg (below ROOT). A line
that is not there is an error, and so is, but for --anyway, a machine that had much else to do.
"""
import argparse
import json
import pathlib
import re
import sys

import chart

from bench import OTHERS_SHARE_MAX

ROWS = {"file": "hugexec, `file`, warm", "hugetlb": "hugexec, `hugetlb`", "thp": "hugexec, `thp`", "env": "`env`"}
HELD = {"fixed": "fixed addresses, whole slots", "pie": "position-independent, moved", "fixed, ends too": "fixed addresses, with `round_out`",
        "pie, ends too": "position-independent, with `round_out`"}
BEGIN, END = "<!-- made by make bench-docs -->\n", "<!-- end of what make bench-docs makes -->\n"


def changed(text, pattern, new):
    """TEXT with what PATTERN matches, once, as NEW."""
    text, count = re.subn(pattern, lambda _: new, text, flags=re.MULTILINE)
    if count != 1:
        sys.exit(f"docs: {count} places for: {pattern}")
    return text


def ms(value):
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"


def kernel(machine):
    return ".".join(machine["kernel"].split(".")[:2])


def readme(text, results):
    commands, machine = results["launch"]["commands"], results["machine"]
    for name, row in ROWS.items():
        if name in commands:
            held = f" (held for {ms(commands[name]['held_ms'])})" if "held_ms" in commands[name] else ""
            text = changed(text, rf"^\| {re.escape(row)} \| [^|]* \|", f"| {row} | {ms(commands[name]['added_ms'])} ms{held} |")
    if "file" in commands:
        huge, all_text = (commands["file"][name] / 2**20 for name in ("huge_bytes", "text_bytes"))
        text = changed(text, r"every whole slot of the file \([^)]*\)", f"every whole slot of the file ({huge:.0f} of {all_text:.0f} MiB)")
    text = changed(text, r"of 200 rules: [\d.]+ times", f"of 200 rules: {commands['no rule of 200, follow exec']['ratio_to_env']:.1f} times")
    text = changed(text, r"with \d+ processors \(Linux [\d.]+, warm cache\)", f"with {machine['processors']} processors (Linux {kernel(machine)}, warm cache)")
    return changed(text, r"medians of \d+\npaired runs", f"medians of {machine['rounds']}\npaired runs")


def design(text, results):
    sizes = list(next(iter(results["hold"].values()), {}))
    commands, machine = results["launch"]["commands"], results["machine"]
    lines = [f"| held, in ms, and as a ratio to what `true` takes from start to exit | {' | '.join(f'{mib} MiB of text' for mib in sizes)} |",
             "| --- |" + " --- |" * len(sizes)]
    for kind, row in results["hold"].items():
        lines.append(f"| {HELD[kind]} | " + " | ".join(f"{one['held_ms']:.2f}, {one['ratio_to_true']:.2f}" for one in row.values()) + " |")
    rules = {count: commands[f"no rule of {count}, follow exec"]["ratio_to_env"] for count in (1, 20, 200)}
    lines += ["", f"Linux {kernel(machine)}, {machine['processors']} processors, warm cache, medians of {machine['rounds']} rounds; other programs took "
              f"{100 * machine['others_share']:.0f} % of the processors meanwhile. A program that no rule matches takes "
              + ", ".join(f"{ratio:.2f}" for ratio in rules.values()) + " times as long as with `env`, of " + ", ".join(map(str, rules)) + " rules."]
    if not text.count(BEGIN) == text.count(END) == 1:
        sys.exit("docs: design.md has no place for the table")
    return text[:text.index(BEGIN)] + BEGIN + "\n".join(lines) + "\n" + text[text.index(END):]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--anyway", action="store_true")
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("root", type=pathlib.Path, nargs="?", default=pathlib.Path(__file__).resolve().parents[2])
    options = parser.parse_args()
    root, results = options.root, json.loads(options.results.read_text(encoding="utf-8"))
    others = results["machine"]["others_share"]
    if others > OTHERS_SHARE_MAX and not options.anyway:
        sys.exit(f"docs: other programs took {100 * others:.0f} % of this machine's processors meanwhile, so the documents stay as they are; "
                 "run make bench-docs when it has nothing else to do, or tests/bench/docs.py --anyway")
    made = {path: change(path.read_text(encoding="utf-8"), results)
            for path, change in ((root / "README.md", readme), (root / "docs" / "design.md", design))}
    for path, text in made.items():
        path.write_text(text, encoding="utf-8")
    chart.chart(results).write(root / "docs" / "bench.svg")


if __name__ == "__main__":
    main()
