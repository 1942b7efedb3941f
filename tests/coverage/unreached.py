# SPDX-License-Identifier: Apache-2.0
"""Print how many lines gcovr's JSON file says were run, and by file which were not: unreached.py FILE WHAT [PERCENT].

Exit 1: below PERCENT.
"""
import json
import sys


def ranges(numbers):
    """[1, 2, 3, 7] as "1-3,7"."""
    found = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ",".join(f"{first}-{last}" if first != last else f"{first}" for first, last in found)


def main():
    path, what = sys.argv[1:3]
    least = float(sys.argv[3]) if len(sys.argv) > 3 else 0
    total, unreached = 0, []
    with open(path, encoding="utf-8") as file:
        for source in json.load(file)["files"]:
            lines = [line for line in source["lines"] if not line["gcovr/noncode"]]
            total += len(lines)
            unreached.append((source["file"], len(lines), [line["line_number"] for line in lines if line["count"] == 0]))
    missing = sum(len(left) for _, _, left in unreached)
    for name, count, left in sorted(unreached, key=lambda entry: -len(entry[2])):
        if left:
            print(f"coverage: {name}: not run, {len(left)} of {count}: {ranges(left)}")
    percent = 100 * (total - missing) / total if total else 0
    print(f"coverage: {total - missing} of {total} lines of {what}: {percent:.1f} %")
    if percent < least:
        sys.exit(f"coverage: less than {least:g} %: write tests for the lines above, or remove them")


main()
