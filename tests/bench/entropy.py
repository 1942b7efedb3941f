#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How random the base of a rebased program is: entropy.py [--starts N]. Fails where it is less than 24 bits.

Every start of a program that has to be moved is reported with the address that its text got. All of them agree modulo
2 MiB, so a base is a number of 2 MiB steps. What is printed as its entropy is a lower estimate, from three looks at N of them:

  each bit       the entropies of the single bits, added up: the entropy of a number whose bits are independent
  bits by two    minus what every two bits tell of each other, which is what they have less together
  equal bases    independent numbers of B bits agree in N(N-1)/2 / 2^B pairs; many more of them, and bits depend on one
                 another in some way that the first two do not see (a generator with few states), and the estimate is
                 lowered to what the pairs allow for

A number with 25 fair bits comes out as a little below 25: N looks at a fair bit show an entropy of 1 - 0.7/N, and 300 pairs
of bits an accidental dependence of 0.7/N each.
"""
import argparse
import itertools
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

import bench

HUGE = 2 << 20
BITS_NEEDED = 24
TEXT_MIB = 4


def entropy(counts):
    total = sum(counts)
    return -sum(count / total * math.log2(count / total) for count in counts if count)


def estimate(steps):
    """(bits, what the single bits have, what pairs of bits have in common, pairs of equal numbers)."""
    lowest = min(steps)  # the range's own beginning is no randomness, and would carry into all bits
    steps = [step - lowest for step in steps]
    width = max(steps).bit_length()
    columns = [[step >> bit & 1 for step in steps] for bit in range(width)]
    ones = [sum(column) for column in columns]
    single = [entropy((count, len(steps) - count)) for count in ones]
    packed = [int("".join(map(str, column)), 2) for column in columns]
    common = 0.0
    for a, b in itertools.combinations(range(width), 2):
        both = (packed[a] & packed[b]).bit_count()
        joint = entropy((both, ones[a] - both, ones[b] - both, len(steps) - ones[a] - ones[b] + both))
        common += single[a] + single[b] - joint
    bits = sum(single) - common
    equal = len(steps) - len(set(steps))
    pairs = len(steps) * (len(steps) - 1) / 2
    # With the mean that B bits would give, this many equal pairs or more come once in a thousand measurements.
    if equal and at_least(equal, pairs / 2 ** bits) < 0.001:
        bits = min(bits, math.log2(pairs / equal))
    return bits, sum(single), common, equal


def at_least(count, mean):
    """The chance of COUNT or more where MEAN are expected (Poisson)."""
    return 1 - sum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(count))


def bases(starts):
    bench.WORK.mkdir(parents=True, exist_ok=True)
    program = bench.program_path(TEXT_MIB)
    policy = bench.policy_file("entropy", {"version": 1, "rules": [{"match": {}, "min_text": 0, "file_timeout": "60s"}]})
    with tempfile.NamedTemporaryFile("r", encoding="utf-8") as report:
        command = [bench.HUGEXEC, f"--policy={policy}", "--backing=file", f"--report={report.name}", "--", program, "idle"]
        # One program in 512 lies right by chance and is not moved.
        for number in range(starts + starts // 100 + 10):
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=120)
            if number % 1000 == 999:
                print(f"\r{number + 1} starts", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        lines = [json.loads(line) for line in report]
    moved = [int(line["objects"][0]["start"], 16) for line in lines if line["rebased"]]
    refused = {line["reason"] for line in lines if line["outcome"] != "remapped"}
    if refused or len(moved) < starts:
        sys.exit(f"entropy: only {len(moved)} of {len(lines)} starts were rebased: {refused}")
    return moved[:starts]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=10000)
    options = parser.parse_args()
    found = bases(options.starts)
    if len({base % HUGE for base in found}) != 1:
        sys.exit("entropy: the bases do not agree modulo 2 MiB")
    bits, single, common, equal = estimate([base // HUGE for base in found])
    print(f"{len(found)} starts between {min(found):#x} and {max(found):#x}: {bits:.2f} bits of entropy in the base "
          f"(single bits {single:.2f}, common to two {common:.2f}, {equal} equal bases)")
    results = {"starts": len(found), "bits": bits, "equal": equal}
    (bench.WORK / "entropy.json").write_text(json.dumps(results) + "\n")
    if bits < BITS_NEEDED:
        sys.exit(f"entropy: less than {BITS_NEEDED} bits")


if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    os.umask(0o022)
    main()
