# SPDX-License-Identifier: Apache-2.0
"""A crash of hugexec's that nobody sees, because the workload runs on, is found in the kernel's log."""
import sys
import time

import pytest

from lib.process import run
from lib.surroundings import ROOT

sys.path.insert(0, str(ROOT / "tests"))
import kernel_log  # noqa: E402

SEGFAULT = "{}[123]: segfault at 0 ip 00007f217d40f175 sp 00007f217d221240 error 6 in {}[1175,7f217d40f000+1000] likely on CPU 0"
TRAP = "traps: {}[77] {} ip:55d0c0a0e0f1 sp:7ffd0b error:0 in {}[55d0c0a0e000+2b000]"


def found(line):
    return list(kernel_log.crashes([line])) == [line]


@pytest.mark.parametrize("name", ["hugexec", "hugexec-tracer", "hugexec-elf-rea", "hugexecd-worker", "hugexecctl"])
def test_lines_of_ours(name):
    assert found(SEGFAULT.format(name, "hugexec"))
    assert found(TRAP.format(name, "general protection fault", "hugexecd"))
    assert found(TRAP.format(name, "trap invalid opcode", "libc.so.6"))


def test_lines_of_others():
    assert not found(SEGFAULT.format("bigtext", "bigtext"))
    assert not found(TRAP.format("mariadbd", "trap int3", "hugexec"))
    assert not found('audit: type=1326 audit(17:1): pid=30017 comm="hugexec-tracer" exe="/hugexec" sig=31')
    assert not found(SEGFAULT.format("hugexec", "libnss_test.so.2"))  # test_hold.py


def test_a_crash(tmp_path):
    if kernel_log.why_not():
        pytest.skip(f"{kernel_log.why_not()}")
    source, program = tmp_path / "crash.c", tmp_path / "hugexec-planted"
    source.write_text("int main(void) { *(volatile int *)0 = 1; return 0; }\n")
    assert run(["cc", "-o", program, source]).returncode == 0
    before = kernel_log.position()
    for _ in range(20):  # the kernel writes so many of such lines in a while, and no more
        assert run([program]).returncode < 0
        lines = kernel_log.crashes_since(before, provoked=())
        if any("hugexec-planted[" in line for line in lines):
            break
        time.sleep(1)
    assert any("hugexec-planted[" in line for line in lines)
    assert not any("hugexec-planted[" in line for line in kernel_log.crashes_since(before))
    assert not any("hugexec-planted[" in line for line in kernel_log.crashes_since(kernel_log.position(), provoked=()))
