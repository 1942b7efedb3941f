# SPDX-License-Identifier: Apache-2.0
"""What programs that are root's are made of: nothing that they never call."""
import re
import shutil

import pytest

from lib.process import run
from lib.sanitized import SANITIZED
from lib.surroundings import BUILD

PROGRAMS = ["shim/hugexec", "shim/hugexecd", "shim/hugexec-elf-reader", "oci-hook/hugexec-oci-hook", "oci-hook/hugexec-runtime",
            "oci-hook/hugexec-bundle-reader"]


def own_functions(program):
    """Address -> name of the functions that are of this project, by their debug information."""
    functions = {}
    for line in run(["nm", "-l", program]).stdout.splitlines():
        found = re.match(r"([0-9a-f]+) [tTwW] (\S+)\t.*/(shim|oci-hook)/[^/]*", line)
        if found:
            functions[int(found[1], 16)] = found[2]
    return functions


def references(program):
    """Name of each function -> the addresses that its instructions name."""
    named, name = {}, None
    for line in run(["objdump", "-d", "--no-show-raw-insn", program]).stdout.splitlines():
        begins = re.match(r"([0-9a-f]+) <(\S+)>:$", line)
        if begins:
            name = int(begins[1], 16)
        elif name is not None:
            named.setdefault(name, set()).update(int(address, 16) for address in re.findall(r"\b([0-9a-f]+) <", line.partition("\t")[2]))
    return named


def roots(program):
    """Where a program begins, and what its data points to."""
    entry = re.search(r"Entry point address:\s+0x([0-9a-f]+)", run(["readelf", "-hW", program]).stdout)[1]
    relative = re.findall(r"R_X86_64_RELATIVE\s+([0-9a-f]+)", run(["readelf", "-rW", program]).stdout)
    return {int(address, 16) for address in [entry, *relative]}


@pytest.mark.skipif(SANITIZED, reason="sanitizers add functions of their own")
@pytest.mark.parametrize("program", PROGRAMS)
def test_no_function_that_is_never_called(program):
    if not all(map(shutil.which, ("nm", "objdump", "readelf"))):
        pytest.skip("binutils are not installed")
    path = BUILD / program
    functions, named = own_functions(path), references(path)
    if not functions:
        pytest.skip("built without debug information")
    assert "main" in functions.values() and len(functions) > 3
    reached, to_look_at = set(), roots(path)
    while to_look_at:
        address = to_look_at.pop()
        if address not in reached:
            reached.add(address)
            to_look_at |= named.get(address, set())
    assert not {functions[address] for address in functions if address not in reached}
