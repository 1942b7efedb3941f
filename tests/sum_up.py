# SPDX-License-Identifier: Apache-2.0
"""
What run-checks says at its end: sum_up.py FOLDER. There, results has a line "NAME<tab>passed or FAILED<tab>SECONDS" for each phase,
and NAME.log what the phase has printed. Exit 1: some phase failed, or there was none.
"""
import collections
import pathlib
import re
import sys

# What is worth being said again of a phase that failed: lines of pytest, the fault run, compilers, Python, this folder's programs.
WORTH = re.compile(r"^(FAILED|INTERNALERROR> [A-Z]\w*Error|ERROR|DIFFERENT|E   |    (ours|plain|status)"
                   r"|left behind:|gone:|crashed:|[A-Za-z.]*(Error|Exception|Expired)|Traceback)"
                   r"|: (error|warning|FAILED)|FAIL |has the old text|has another table")
TRIED_AGAIN = re.compile(r"^RERUN (\S.*)")  # integration/conftest.py says why that may be
PASSED_OVER = re.compile(r"^(?:SKIPPED \[(\d+)\] \S+?(?::\d+)?|passed over|not looked at): (.*)")
# pytest ("3 failed, 20 passed, 2 skipped in 4.20s"), tests/kernels ("kernels: 69 passed, 0 failed"), meson ("Ok: 38").
COUNTS = re.compile(r"(\d+) (failed|passed|skipped|errors?)\b")
MESON = {"Ok": "passed", "Fail": "failed", "Timeout": "failed", "Unexpected Pass": "failed", "Skipped": "skipped"}


def counts(lines):
    """How many tests passed, failed and were passed over, as the phase says itself; nothing for one that counts none."""
    found = collections.Counter()
    uses_meson = any(line.startswith("Full log written to") for line in lines)  # what its tests print counts as one
    for line in lines:
        if not uses_meson and re.search(r"\d+ (passed|failed|skipped|error)", line) and re.search(r" in [\d.]+s|^kernels:", line):
            for number, word in COUNTS.findall(line):
                found["failed" if word.startswith("error") else word] += int(number)
        meson = re.match(r"([A-Z][A-Za-z ]+): +(\d+) *$", line)
        if meson and meson[1] in MESON:
            found[MESON[meson[1]]] += int(meson[2])
    return found


def main():
    folder = pathlib.Path(sys.argv[1])
    phases = [line.split("\t") for line in (folder / "results").read_text().splitlines()]
    total, over, again, words = collections.Counter(), collections.Counter(), collections.Counter(), []
    print()
    for name, how, seconds in phases:
        lines = (folder / f"{name}.log").read_text(errors="replace").splitlines()
        found = counts(lines)
        reasons = [match for match in map(PASSED_OVER.match, lines) if match]
        again.update(match[1] for match in map(TRIED_AGAIN.match, lines) if match)
        for match in reasons:
            over[match[2]] += int(match[1] or 1)
        if not found:
            is_skipped = any(not match[0].startswith("not looked at") for match in reasons)
            found["skipped" if is_skipped and how == "passed" else "passed" if how == "passed" else "failed"] = 1
        elif how == "FAILED":
            found["failed"] = max(found["failed"], 1)
        total += found
        print(f"{name:26} {how:7} {int(seconds):4} s   " + ", ".join(f"{found[word]} {word}" for word in ("passed", "failed", "skipped") if found[word]))
        if how == "FAILED":
            words += [f"-- {name} (all of it: {folder / name}.log)", *[line[:200] for line in lines if WORTH.search(line)][-12:]]
    if over:
        print("\nPassed over:")
    for reason, times in over.most_common():
        print(f"{times:6} x {reason}")
    if again:
        print("\nTried again, as the kernel takes pages back here:")
    for test, times in again.most_common():
        print(f"{times:6} x {test[:200]}")
    print("\n".join(["", *words] if words else []))
    print(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")
    return 0 if phases and all(how == "passed" for _, how, _ in phases) else 1


if __name__ == "__main__":
    sys.exit(main())
