# SPDX-License-Identifier: Apache-2.0
"""The programs that the fault run takes: the injector, the libc that refuses memory, and the workloads. tools.py FOLDER COMPILER"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from programs import bigtext


def names_in_header(compiler):
    """Of the system calls, by number; some are defined as another name's number."""
    text = subprocess.run([compiler, "-E", "-dM", "-include", "sys/syscall.h", "-xc", "/dev/null"], capture_output=True, text=True, check=True).stdout
    defined = dict(re.findall(r"#define __NR(3264_\w+|_\w+) (?:__NR)?(\w+)", text))
    return {int(number): name[1:] for name, value in defined.items() if name[0] == "_" and (number := defined.get(value, value)).isdigit()}


def build_tools(folder, compiler="cc"):
    """Into FOLDER, by COMPILER: the programs, and the names of the system calls by number."""
    (folder / "text.s").write_text(bigtext.assembly(4, compiler))
    probe = [compiler, "-O1", "-w", "-DPROBE_WITHOUT_PIDS", ROOT / "tests/programs/probe.c"]
    (folder / "much-text.s").write_text(bigtext.assembly(24, compiler))
    (folder / "data.s").write_text("\t.section .rodata\n\t.fill 0x600000, 1, 3\n\t.section .note.GNU-stack,\"\",%progbits\n")
    for name, options in {"probe": ["text.s"], "probe-large": ["much-text.s"], "probe-small": [], "probe-rodata": ["text.s", "data.s"],
                          "probe-static-pie": ["text.s", "-static-pie"],
                          # The kernel aligns its base; offset and address differ all the same.
                          "probe-static-odd": ["text.s", "-static-pie", "-Wl,--section-start=.text=0x123000"],
                          "probe-fixed": ["text.s", "-no-pie", "-Wl,-Ttext-segment=0x403000"]}.items():
        subprocess.run([*probe, "-o", name, *options], cwd=folder, check=True)
    # Text in a library; aligned, or offset and address would hardly ever agree.
    subprocess.run([compiler, "-shared", "-Wl,-z,max-page-size=0x200000", "-o", folder / "libtext.so", folder / "text.s"], check=True)
    subprocess.run([*probe, "-o", folder / "probe-lib", "-Wl,--no-as-needed", folder / "libtext.so"], check=True)
    # Many functions, so that a map for perf is more than is written at once.
    functions = "".join(f"f{number}: ret\n.type f{number}, @function\n.size f{number}, 1\n" for number in range(1000))
    (folder / "functions.s").write_text(f'.text\n.fill 0x300000, 1, 0x90\n{functions}.section .note.GNU-stack,"",@progbits\n')
    subprocess.run([*probe, "-o", folder / "probe-lib-large", folder / "functions.s", folder / "much-text.s", "-Wl,--no-as-needed",
                    folder / "libtext.so"], check=True)
    (folder / "slow.c").write_text("#include <unistd.h>\n__attribute__((constructor)) static void slow(void) { usleep(1300000); }\n")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / "libslow.so", folder / "slow.c"], check=True)
    subprocess.run([*probe, "-o", folder / "probe-slow", "-Wl,--no-as-needed", "-L.", "-lslow", f"-Wl,-rpath,{folder}"], cwd=folder, check=True)
    subprocess.run([compiler, "-O1", "-D_GNU_SOURCE", "-o", folder / "inject", ROOT / "tests/faults/inject.c"], check=True)
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", folder / "malloc_fail.so", ROOT / "tests/faults/malloc_fail.c"], check=True)
    (folder / "calls.json").write_text(json.dumps(names_in_header(compiler)))
    os.sync()


def have_tools(folder):
    """In FOLDER: as build_tools() has left them in the folder FAULT_TOOLS, where there is no compiler; else they are built."""
    built = os.environ.get("FAULT_TOOLS")
    if not built:
        build_tools(folder)
        return
    for file in pathlib.Path(built).iterdir():
        shutil.copy(file, folder)
    os.sync()


def call_names(folder):
    """System calls by number."""
    return {int(number): name for number, name in json.loads((folder / "calls.json").read_text()).items()}


if __name__ == "__main__":
    pathlib.Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
    build_tools(pathlib.Path(sys.argv[1]), sys.argv[2])
