# SPDX-License-Identifier: Apache-2.0
"""Build throws.cc: throws.py OUTPUT. Its frames lie 256 KiB apart, so that they are spread over several huge pages."""
import os
import subprocess
import sys
import tempfile

FRAMES = 40


def frames():
    lines = ["#include <stdexcept>", f"int frame_{FRAMES}(int n);"]
    for number in range(FRAMES):
        lines.append(f"int frame_{number}(int n);")
    lines.append(f"__attribute__((noinline)) int frame_{FRAMES}(int n)"
                 ' { if (n >= 0) throw std::runtime_error("from the innermost frame"); return n; }')
    for number in reversed(range(FRAMES)):
        lines.append('asm(".text\\n.skip 0x40000, 0xcc\\n");')
        lines.append(f"__attribute__((noinline)) int frame_{number}(int n)"
                     f" {{ volatile int kept = n; int r = frame_{number + 1}(n); return r + kept; }}")
    return "\n".join(lines) + "\n"


def build(output):
    here = os.path.dirname(os.path.abspath(__file__))
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "throws_frames.h"), "w", encoding="ascii") as header:
            header.write(frames())
        subprocess.run(["c++", "-O1", "-rdynamic", "-fno-toplevel-reorder", "-I", folder, "-o", output,
                        os.path.join(here, "throws.cc")], check=True)


if __name__ == "__main__":
    build(sys.argv[1])
