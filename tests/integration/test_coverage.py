# SPDX-License-Identifier: Apache-2.0
"""
How much text of real programs is on huge pages, by smaps, beside what TiExec and iodlr would have there: whole slots of addresses,
computed from the same file. A program is looked at while it writes to a pipe that is full.
"""
import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import pytest

from lib.cached_files import read_small
from lib.machine import HUGE, MIB
from lib.policies import policy_with
from lib.process import Process, run, wait_for
from lib.report import read_report
from lib.smaps import smaps
from lib.text_coverage import (
    IN_LIBRARIES,
    PAGE,
    SAYS,
    explained,
    huge_text,
    huge_text_bytes_of,
    load_bias,
    look,
    program,
    segments,
    share,
    text_section,
    text_segments,
    whole_slots,
    whole_slots_of_addresses,
)
from programs import bigtext


@pytest.mark.parametrize("name", SAYS)
def test_in_place(hugexec_command, name):
    """All text of what GNU ld has linked, for no memory of its own; never less than copies of whole slots would give."""
    command = program(name)
    line, entries = look(hugexec_command, command, policy_with(round_out=True), "file")
    if line["outcome"] != "remapped":
        pytest.skip(line["reason"])
    all_text, huge = huge_text(entries, command[0])
    tiexec, iodlr = whole_slots_of_addresses(command[0])
    print(f"{name}: {share(huge, all_text)} in place; TiExec {share(tiexec[0], all_text)} to {share(tiexec[1], all_text)}, "
          f"iodlr {share(iodlr[0], all_text)} to {share(iodlr[1], all_text)}")
    assert huge == all_text
    assert huge >= max(tiexec[1], iodlr[1])
    assert line["backing"] == "file" and not any(entry["path"].startswith("/memfd:") for entry in entries)
    assert not any("w" in entry["perms"] and "x" in entry["perms"] for entry in entries if os.path.realpath(command[0]) == entry["path"])


@pytest.mark.parametrize("name", ["cc1plus", "etcd"])
def test_whole_slots_alone(hugexec_command, name):
    """Without round_out the ends stay small: what the test above sees is its doing."""
    command = program(name)
    line, entries = look(hugexec_command, command, policy_with(), "file")
    if line["outcome"] != "remapped":
        pytest.skip(line["reason"])
    all_text, huge = huge_text(entries, command[0])
    assert huge == line["huge_bytes"] == whole_slots_of_addresses(command[0])[0][0] < all_text


# The kernel may put something of another library's into the 2 MiB in which the last text of one ends (rustc's are such).
TRIES = 8


def is_mapped_by_others(path):
    """Then its folios cannot be made huge. This Python may have mapped it itself."""
    for maps in pathlib.Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):
            if f" {os.path.realpath(path)}\n" in maps.read_text(errors="replace"):
                return True
    return False


# Programs whose linker, lld, puts read-only data out of step with the text beside it, and relocation data behind it.
CHROMIUM = {"chromium": (lambda: "/usr/lib/chromium/chromium", "--version")}


@pytest.mark.parametrize("name", [*SAYS, *CHROMIUM])
def test_full(hugexec_command, hugexecctl, write_policy, name):
    """All text of the program and of its libraries, with at most 4 MiB of private memory for each; explain has said how much."""
    command = program(name, {**SAYS, **CHROMIUM})
    policy = policy_with(libraries=True, coverage="full", min_text="2M", follow="none", hold_timeout="60s", file_timeout="60s")
    backings = explained(hugexecctl, write_policy(policy), "file,thp", command[0])["backings"]
    if not backings:
        pytest.skip("its own text is small here: Debian 13's node has it in libnode")
    line, entries = look(hugexec_command, command, policy, "file,thp")
    if line["outcome"] != "remapped" or line["backing"] != "file":
        pytest.skip(str(line["reason"]))
    assert backings[0]["copied_bytes"] == line["objects"][0]["copied_bytes"]
    for each in line["objects"]:
        all_text, huge = huge_text(entries, os.path.realpath(each["path"]))
        if each["backing"] == "thp" and is_mapped_by_others(each["path"]):
            pytest.skip(f"somebody else uses {each['path']}")
        print(f"{name}, {os.path.basename(each['path'])}: {share(huge, all_text)}, copied {each['copied_bytes'] / MIB:.0f} MiB")
        assert huge == all_text and each["copied_bytes"] <= 4 * MIB, each


@pytest.mark.parametrize("name", CHROMIUM)
def test_cheap(hugexec_command, hugexecctl, write_policy, name):
    """
    What lld has linked has ends that are never in place. Copies of whole slots have no more, wherever the kernel loads it, unless that is
    private memory: then explain says how much "full" would copy.
    """
    command = program(name, CHROMIUM)
    settings = {"libraries": True, "round_out": True, "min_text": "2M", "follow": "none", "hold_timeout": "60s"}
    said = explained(hugexecctl, write_policy(policy_with(**settings, coverage="full")), "file,thp", command[0])["backings"][0]
    line, entries = look(hugexec_command, command, policy_with(**settings), "file")
    if line["outcome"] != "remapped":
        pytest.skip(str(line["reason"]))
    all_text, huge = huge_text(entries, os.path.realpath(command[0]))
    tiexec, iodlr = whole_slots_of_addresses(command[0])
    print(f"{name}: {share(huge, all_text)} in place; TiExec {share(tiexec[0], all_text)} to {share(tiexec[1], all_text)}, "
          f"iodlr {share(iodlr[0], all_text)} to {share(iodlr[1], all_text)}; full would copy {share(said['copied_bytes'], all_text)}")
    assert line["copied_bytes"] == 0
    assert huge >= max(tiexec[0], iodlr[0]) and max(tiexec[1], iodlr[1]) - huge <= said["copied_bytes"] <= 4 * MIB


def test_full_in_a_library_loaded_later(hugexecctl, hugexec_command, tmp_path):
    """A JVM is loaded by its launcher: prepared, its whole slots come in place; a tracer that has stayed has the ends, in place as well."""
    java = shutil.which("java")
    if not java:
        pytest.skip("no java")
    java = os.path.realpath(java)
    jvm = os.path.join(os.path.dirname(os.path.dirname(java)), "lib", "server", "libjvm.so")
    if not os.path.exists(jvm):
        pytest.skip("java has no libjvm of its own")
    run(["sync", jvm])
    read_small(jvm)
    (tmp_path / "Waits.java").write_text("public class Waits { public static void main(String[] a) throws Exception {"
                                         " System.out.println(\"up\"); System.in.read(); } }")
    policy = policy_with(libraries={"prepare": [jvm]}, coverage="full", min_text="2M", follow="none", backing=["file", "thp"], file_timeout="60s",
                         hold_timeout="60s")
    words, report = hugexec_command([java, tmp_path / "Waits.java"], policy, "file,thp")
    with Process(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        if process.stdout.readline() != "up\n":
            pytest.skip("this java compiles no single file")
        prepared = [each for each in read_report(report)[0]["objects"] if each["path"] == jvm]
        if not prepared or prepared[0]["reason"] or prepared[0]["prepared_bytes"] == 0:
            pytest.skip(str(prepared))
        entries = smaps(process.pid)
        all_text = huge_text(entries, jvm)[0]
        peers = whole_slots(text_segments(jvm), load_bias(entries, jvm))
        wait_for(lambda: huge_text(smaps(process.pid), jvm)[1] == all_text, process=process)
        assert not any(entry["path"].startswith("/memfd:") for entry in smaps(process.pid))
        status = run([hugexecctl, "status", process.pid])
        process.communicate("\n", timeout=60)
    print(f"libjvm: 100 %, copied 0 MiB; whole slots {share(peers, all_text)}, and neither of the others would have them: it is not loaded at start")
    assert process.returncode == 0 and status.returncode == 0, status.stderr


@pytest.mark.parametrize("coverage", ["cheap", "full"])
def test_processes_share_their_text(hugexec_command, bigtext, tmp_path, coverage):
    """Eight processes have hardly more text in memory than one: the sum of their shares (Pss), by smaps."""
    path, count = shutil.copy(bigtext(8), tmp_path / "shared"), 8  # that nobody else runs
    path = str(path)
    run(["sync", path])
    policy = policy_with(round_out=True, coverage=coverage)

    def text_in_memory(count):
        processes = [Process(hugexec_command([path, "sleep"], policy, "file")[0], stdout=subprocess.PIPE, text=True) for _ in range(count)]
        try:
            for process in processes:
                assert "ready\n" in iter(process.stdout.readline, "")
            found = [[entry for entry in smaps(process.pid) if entry["path"] == path and "x" in entry["perms"]] for process in processes]
            return sum(entry["Pss"] for entries in found for entry in entries), sum(huge_text_bytes_of(entry) for entries in found for entry in entries)
        finally:
            for process in processes:
                process.kill()
                process.wait()

    one, one_huge = text_in_memory(1)
    if not one_huge:
        pytest.skip("its file's text is not on huge pages here")
    all_of_them, huge = text_in_memory(count)
    assert huge == count * one_huge
    assert all_of_them <= 1.05 * one, (one, all_of_them)


@pytest.mark.parametrize("name", IN_LIBRARIES)
def test_cheap_in_libraries(hugexec_command, name):
    """
    Never less than iodlr would copy: whole slots of addresses in the section .text, where the library is. TiExec leaves libraries alone.
    The kernel maps them as they are touched, so what is prepared counts, and that nothing touched in a whole slot is small. Text that is
    out of step with its file wants private memory, and is said to.
    """
    command = program(name, IN_LIBRARIES)
    line, entries = look(hugexec_command, command, policy_with(libraries=True, round_out=True, min_text="2M", follow="none",
                                                               hold_timeout="60s", file_timeout="60s"), "file")
    large = [each for each in line["objects"] if each["text_bytes"] >= HUGE]
    out_of_step = "file-misaligned: it was linked so "
    if not large or any(each["reason"] and not each["reason"].startswith(out_of_step) for each in large):
        pytest.skip(f"not all of its libraries' files can be on huge pages here: {[each['reason'] for each in large]}")
    touched = 0
    for each in large:
        path = os.path.realpath(each["path"])
        bias, text, prepared = load_bias(entries, path), text_segments(path), each["prepared_bytes"]
        iodlr, all_slots = whole_slots([text_section(path)], bias), whole_slots(text, bias)
        print(f"{name}, {os.path.basename(path)}: {prepared / MIB:.0f} MiB; iodlr {iodlr / MIB:.0f} MiB, all whole slots {all_slots / MIB:.0f} MiB")
        assert prepared >= iodlr > 0 and (prepared >= all_slots or each["reason"])
        mapped = [entry for entry in entries if entry["path"] == path and "x" in entry["perms"] and entry["start"] % HUGE == entry["offset"] % HUGE]
        assert mapped and all(entry["Rss"] - huge_text_bytes_of(entry) < 2 * HUGE for entry in mapped)
        touched += sum(map(huge_text_bytes_of, mapped))
    assert touched > 0 and not any(entry["path"].startswith("/memfd:") for entry in entries)


@pytest.mark.parametrize("name", IN_LIBRARIES)
def test_full_in_libraries(hugexec_command, hugexecctl, write_policy, name):
    """
    All text of the libraries: in place, and at most 4 MiB of each copied. What would need more is left, and the report says how much;
    explain has said so before.
    """
    command = program(name, IN_LIBRARIES)
    policy = policy_with(libraries=True, coverage="full", min_text="2M", follow="none", hold_timeout="60s", file_timeout="60s")
    said = explained(hugexecctl, write_policy(policy), "file,thp", command[0])
    for _ in range(TRIES):
        line, entries = look(hugexec_command, command, policy, "file,thp")
        large = [each for each in line["objects"] if each["text_bytes"] >= HUGE]
        if all(each["copied_bytes"] == said["libraries"][os.path.realpath(each["path"])]["copied_bytes"] for each in large):
            break
    if line["outcome"] != "remapped" or any(each["huge_bytes"] and each["reason"] and not is_limited(each)
                                               for each in line["objects"]):
        pytest.skip(f"not all of its libraries' files can be on huge pages here: {line['reason'] or [each['reason'] for each in large]}")
    for each in large:
        all_text, huge = huge_text(entries, each["path"])
        copied = each["copied_bytes"]
        print(f"{name}, {os.path.basename(each['path'])}: {share(huge, all_text)}, copied {copied / MIB:.0f} MiB")
        forecast = said["libraries"][os.path.realpath(each["path"])]
        assert forecast["copied_bytes"] == copied and 0 <= huge - forecast["huge_bytes"] < 2 * PAGE * len(text_segments(each["path"]))
        assert copied <= 4 * MIB < each["text_bytes"] and each["backing"] == "file", each
        assert str(forecast["reason"]).startswith("copy-limit") == is_limited(each)
        if is_limited(each):
            left = float(re.search(r"([\d.]+) MiB of its text would", each["reason"])[1]) * MIB
            assert left > 4 * MIB and all_text - left - HUGE < huge < all_text, each
        else:
            assert huge == all_text, each
    assert large
    assert line["copied_bytes"] == sum(huge_text_bytes_of(entry) for entry in entries if entry["path"].startswith("/memfd:"))


def is_limited(each):
    return str(each["reason"]).startswith("copy-limit: ")


def test_copies_of_all(hugexec_command):
    """Whoever wants the text that "full" leaves, and has the memory, asks for copies alone."""
    command = program("rustc", IN_LIBRARIES)
    line, entries = look(hugexec_command, command, policy_with(libraries=True, coverage="full", min_text="2M", follow="none",
                                                               hold_timeout="60s", file_timeout="60s"), "thp")
    large = [each for each in line["objects"] if each["text_bytes"] >= HUGE]
    beside = "data-beside-text: "
    if line["outcome"] != "remapped" or not large or any(each["reason"] and not each["reason"].startswith(beside) for each in large):
        pytest.skip(str([line["reason"], *(each["reason"] for each in large)]))
    for each in large:
        all_text, huge = huge_text(entries, os.path.realpath(each["path"]))
        assert huge > all_text - (HUGE if each["reason"] else 1) and each["copied_bytes"] > 4 * MIB, each


def test_full_output(hugexec_run, tmp_path):
    """A compiler with copies of what ld.so has relocated in its text compiles what it compiles without."""
    command = program("clang", IN_LIBRARIES)[:1]
    source = tmp_path / "source.c"
    source.write_text("#include <stdio.h>\nint main(int n, char **a) { return printf(\"%d %s\\n\", n, a[0]); }\n")
    arguments = ["-O2", "-S", "-o", "-", source]
    plain = run([*command, *arguments])
    done, _ = hugexec_run([*command, *arguments], policy_with(libraries=True, coverage="full", min_text="2M", follow="none"), "file,thp")
    assert plain.returncode == 0 and (done.returncode, done.stdout, done.stderr) == (0, plain.stdout, plain.stderr)


# Text of which the last part is in a slot with relocation data, as gold has it; or the first with data that is out of step.
RELOCATED = """
	.section .data.rel.ro,"aw"
	.globl table
table:	.rept 0x500000 / 8
	.quad main
	.endr
"""
ASKS = r"""
#include <stdio.h>
#include <unistd.h>
extern int main(void);
extern int (*const volatile table[])(void);
extern void all_functions(void);
static unsigned long right(void)
{
	unsigned long count = 0;
	for (unsigned long i = 0; i < 0x500000 / 8; i++)
		count += table[i] == main;
	return count;
}
int main(void)
{
	char line[8];
	printf("%lu\n", right());
	fflush(stdout);
	return read(0, line, sizeof line) > 0 && right() == 0x500000 / 8 ? 0 : 1;
}
"""
LINKED = {"relocation data behind": ["cc", "-Wl,-z,noseparate-code"], "data before, out of step": ["clang", "-fuse-ld=lld"]}


@pytest.fixture(name="asks")
def asks_fixture(tmp_path):
    def build(kind):
        compiler = LINKED[kind]
        if not shutil.which(compiler[0]) or (compiler[0] == "clang" and not shutil.which("ld.lld")):
            pytest.skip(f"{' '.join(compiler)} is not installed")
        (tmp_path / "asks.c").write_text(ASKS)
        (tmp_path / "text.s").write_text(bigtext.assembly(5) + RELOCATED)
        path = str(tmp_path / "asks")
        subprocess.run([*compiler, "-O1", "-o", path, tmp_path / "asks.c", tmp_path / "text.s"], check=True)
        run(["sync", path])
        return path
    return build


def check_asks(process, path):
    """The program's text and read-only data are what the file says; what ld.so has relocated is right, as the program finds."""
    bias, file = load_bias(smaps(process.pid), path), pathlib.Path(path).read_bytes()
    with open(f"/proc/{process.pid}/mem", "rb", buffering=0) as memory:
        for offset, address, size, flags in segments(path):
            if "W" not in flags:
                memory.seek(bias + address)
                assert memory.read(size) == file[offset:offset + size]
    assert process.communicate("go\n", timeout=60)[0] == "" and process.returncode == 0


@pytest.fixture(name="tmpfs")
def tmpfs_fixture():
    if not os.access("/dev/shm", os.W_OK) or run(["stat", "-f", "-c", "%T", "/dev/shm"]).stdout != "tmpfs\n":
        pytest.skip("/dev/shm is no tmpfs that one may write to")
    with tempfile.TemporaryDirectory(prefix=f"hugexec-coverage-{os.getpid()}-", dir="/dev/shm") as folder:
        yield folder


@pytest.mark.parametrize("place", ["where tests write", "tmpfs"])
@pytest.mark.parametrize("kind", LINKED)
@pytest.mark.parametrize("backing", ["file,thp", "thp"])
def test_full_in_a_program(hugexec_command, hugexecctl, write_policy, asks, tmpfs, kind, backing, place):
    """
    A program whose last slot of text has relocation data in it: copied once that is read-only, and right to the last word.
    The kernel counts a file on tmpfs as it does a copy, the report does not.
    """
    path = asks(kind)
    if place == "tmpfs":
        path = shutil.copy2(path, tmpfs)
    said = explained(hugexecctl, write_policy(policy_with(coverage="full")), backing, path)["backings"][0]
    words, report = hugexec_command([path], policy_with(coverage="full"), backing)
    with Process(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == f"{0x500000 // 8}\n"
        line, entries = read_report(report)[0], smaps(process.pid)
        check_asks(process, path)
    if line["outcome"] != "remapped":
        pytest.skip(line["reason"])
    all_text, huge = huge_text(entries, path)
    assert not any("w" in entry["perms"] and "x" in entry["perms"] for entry in entries)
    assert huge == all_text and line["reason"] is None, line
    if backing == "file,thp":
        assert line["backing"] == "file" and 0 < line["copied_bytes"] <= 4 * MIB
        assert (said["copied_bytes"], said["huge_bytes"] + said["copied_bytes"]) == (line["copied_bytes"], line["huge_bytes"])


def test_attach_leaves_relocation_data(hugexecctl, asks, write_policy):
    """Of a program that runs nobody can say that what is read-only now remains so: its relocation data is neither copied nor replaced."""
    path = asks("relocation data behind")
    with Process([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == f"{0x500000 // 8}\n"
        done = run([hugexecctl, "attach", f"--policy={write_policy(policy_with(coverage='full'))}", "--backing=thp", process.pid])
        entries = smaps(process.pid)
        check_asks(process, path)
    if done.returncode != 0 and "ptrace" in done.stderr:
        pytest.skip(done.stderr)
    all_text, huge = huge_text(entries, path)
    assert done.returncode == 0 and all_text - 2 * HUGE < huge < all_text, done.stdout + done.stderr


def test_attach_says_what_it_leaves(hugexec_command, hugexecctl, asks, write_policy):
    """As above, of text that a launch has put in place."""
    path = asks("relocation data behind")
    words, report = hugexec_command([path], policy_with(coverage="cheap", min_text="2M", file_timeout="60s"), "file")
    with Process(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == f"{0x500000 // 8}\n"
        done = run([hugexecctl, "attach", "--json", f"--policy={write_policy(policy_with(coverage='full', min_text='2M'))}", "--backing=file", process.pid])
        entries = smaps(process.pid)
        check_asks(process, path)
    launched, found = read_report(report)[0], json.loads(done.stdout)
    if launched["outcome"] != "remapped" or "ptrace" in str(found["reason"]):
        pytest.skip(str(launched["reason"] or found["reason"]))
    all_text, huge = huge_text(entries, path)
    assert 0 < huge < all_text and "data-beside-text: data that ld.so relocates" in str(found["objects"][0]["reason"]), found


@pytest.mark.parametrize("wanted", ["cheap", "full"])
def test_coverage_option(hugexec, write_policy, tmp_path, asks, wanted):
    """The option takes the place of what the rule says, whichever that is."""
    path, report = asks("relocation data behind"), tmp_path / "report"
    policy = policy_with(coverage="full" if wanted == "cheap" else "cheap", backing=["file", "thp"])
    run([hugexec, f"--policy={write_policy(policy)}", f"--coverage={wanted}", f"--report={report}", "--", path], stdin=subprocess.DEVNULL)
    line = read_report(report)[0]
    if line["outcome"] != "remapped":
        pytest.skip(line["reason"])
    assert (line["copied_bytes"] > 0) == (wanted == "full"), line


def test_explain_names_libraries_that_the_rule_leaves_alone(hugexecctl, hugexec, write_policy):
    """A small program may be all libraries: explain, -v and compare say so, though the rule does not want them."""
    command, policy = program("clang", IN_LIBRARIES)[0], write_policy(policy_with(min_text="2M", follow="none"))
    said = run([hugexecctl, "explain", f"--policy={policy}", command]).stdout
    assert re.search(r'^libraries  \d with \d\d+\.\d MiB of text, which the rule leaves alone; "libraries": true', said, re.MULTILINE), said
    assert "result     its text would be left alone" in said
    hint = '"hugexecctl explain" shows its libraries'
    assert hint in run([hugexec, f"--policy={policy}", "-v", "--", command, "--version"]).stderr
    assert hint in run([hugexecctl, "compare", "-n1", f"--policy={policy}", "--", command, "--version"]).stdout


def test_every_library_without_a_whole_slot(hugexecctl, hugexec_command, write_policy):
    """With "full" a library of less than a whole huge page has work to do, too, if the policy asks for so little text."""
    policy = policy_with(libraries=True, coverage="full", min_text="256K", follow="none", hold_timeout="60s", file_timeout="60s")
    command = program("clang", IN_LIBRARIES)[:2]
    said = explained(hugexecctl, write_policy(policy), "file,thp", command[0])["libraries"]
    line, _ = look(hugexec_command, command, policy, "file,thp")
    if line["outcome"] != "remapped":
        pytest.skip(line["reason"])
    done = {os.path.realpath(each["path"]): each for each in line["objects"][1:]}
    small = [path for path, each in said.items() if 256 << 10 <= each["text_bytes"] < HUGE]
    assert small
    for path in small:
        assert said[path]["needs_stop"] and path in done, path
