# SPDX-License-Identifier: Apache-2.0
"""hugexecctl warm, and the unit that runs it at boot."""
import json
import os
import shutil

import pytest

from lib.cached_files import huge_bytes, read_small, small_user
from lib.libraries import Built
from lib.machine import MIB
from lib.policies import policy_with
from lib.process import run
from lib.surroundings import BUILD

TEXT = 8 * MIB


@pytest.fixture(name="program")
def program_fixture(huge_ext4, bigtext):
    """A program with 8 MiB of text, in small folios of the cache, and the whole slots in it."""
    path = huge_ext4 / "program"
    shutil.copy(bigtext(TEXT // MIB), path)
    with open(path, "rb") as file:
        os.fsync(file.fileno())
    read_small(path)
    return path


def warm(hugexecctl, *words, **options):
    done = run([hugexecctl, "warm", "--json", *words], **options)
    said = json.loads(done.stdout)
    assert said["version"] == 1
    return done.returncode, said["files"]


def test_program(hugexecctl, program):
    status, (file,) = warm(hugexecctl, program)
    assert status == 0 and file["reason"] is None
    assert TEXT <= file["text_bytes"] < TEXT + MIB
    assert file["slot_bytes"] == file["huge_bytes"] >= TEXT - 2 * MIB
    assert huge_bytes(program, os.path.getsize(program)) >= file["huge_bytes"]
    assert run([program]).returncode == 0


def test_what_cannot_be_read_is_named(hugexecctl):
    assert run([hugexecctl, "warm", "/no/such", "/usr"]).returncode == 1
    _, files = warm(hugexecctl, "/no/such", "/usr")
    assert "/no/such: " in files[0]["reason"] and files[1]["reason"].endswith("/usr is not a plain file"), files


def test_lines_for_people(hugexecctl, program):
    done = run([hugexecctl, "warm", program, "/bin/sh", "/etc/passwd", "/no/such"])
    assert done.returncode == 1 and done.stderr == ""
    title, huge, small, why_small, text, why_text, missing, why_missing = done.stdout.splitlines()
    assert title.split() == ["TEXT", "HUGE", "FILE"]
    assert huge.split() == ["8.0", "MiB", "6.0", "MiB", str(program)] or huge.endswith(str(program))
    assert small.split()[2:5] == ["0", "B", "/bin/sh"] and "no-huge-slot" in why_small
    assert "elf-invalid" in why_text and "No such file" in why_missing
    assert len({line.index("/") for line in (huge, small, text, missing)}) == 1  # aligned


def test_program_that_runs_on_small_pages(hugexecctl, program):
    with small_user(program, os.path.getsize(program)):
        status, (file,) = warm(hugexecctl, program)
    assert status == 1 and file["huge_bytes"] == 0
    assert file["reason"].startswith("file-busy: ")


def paths_of(files):
    return [file["path"] for file in files]


def test_policy(hugexecctl, program, write_policy, tmp_path):
    policy = policy_with()
    policy["rules"][0]["match"]["exe"] = [str(program), str(tmp_path / "not-installed"), f"{program.parent}/prog*"]
    status, files = warm(hugexecctl, f"--policy={write_policy(policy)}")
    assert paths_of(files) == [str(program), str(tmp_path / "not-installed")]
    assert files[0]["huge_bytes"] == files[0]["slot_bytes"] > 0
    assert status == 0  # what is not installed is no failure of the boot
    assert warm(hugexecctl, tmp_path / "not-installed")[0] == 1


@pytest.fixture(name="tree")
def tree_fixture(huge_ext4, program):
    """Programs in folders, and what is none."""
    tree = huge_ext4 / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    for path in ("a/one", "b/deep/two", "b/deep/skipped"):
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(program, tree / path)
    shutil.copy("/bin/sh", tree / "a/small")
    (tree / "a/text").write_bytes(b"#!" + b"x" * (4 << 20))
    (tree / "a/text").chmod(0o755)
    shutil.copy(program, tree / "a/not-executable")
    (tree / "a/not-executable").chmod(0o644)
    os.link(tree / "a/one", tree / "a/one-again")
    (tree / "loop").symlink_to(tree)
    os.sync()
    return tree


@pytest.mark.parametrize("pattern,wanted", [("/a/*", {"a/one"}), ("/**/t[w]o", {"b/deep/two"}), ("/?/**", {"a/one", "b/deep/two"}),
                                            ("/**", {"a/one", "b/deep/two"}), ("/b/two", set())])
def test_patterns(hugexecctl, write_policy, tree, pattern, wanted):
    """Programs with whole slots of text that a pattern leads to, each once, but for those that a rule before leaves alone."""
    rules = [{"match": {"exe": "/**/skipped"}, "action": "skip"}, {"match": {"exe": [str(tree) + pattern, "**/one"]}}]
    if pattern == "/b/two":
        rules[1]["match"]["exe"] = [f"{tree}/[b]/two", "**/one"]  # where to look for the second it does not say
    status, files = warm(hugexecctl, f"--policy={write_policy({'version': 1, 'rules': rules})}")
    paths = {path.removeprefix(f"{tree}/").replace("one-again", "one") for path in paths_of(files)}
    assert status == 0 and paths == wanted and len(files) == len(wanted)
    assert all(file["huge_bytes"] == file["slot_bytes"] > 0 for file in files)


def test_sizes_of_the_rule(hugexecctl, write_policy, tree):
    for settings in {"min_text": "9M"}, {"max_text": "7M"}:
        rules = [{"match": {"exe": f"{tree}/a/*"}, **settings}]
        assert warm(hugexecctl, f"--policy={write_policy({'version': 1, 'rules': rules})}") == (0, [])
    assert "No rule names" in run([hugexecctl, "warm", f"--policy={write_policy({'version': 1, 'rules': rules})}"]).stdout


def test_libraries(hugexecctl, write_policy, huge_ext4):
    """Of a program that a rule names: those that it loads at start, and those that the rule names."""
    folder = huge_ext4 / "libraries"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    built = Built("cc", folder)
    needed, later = built.library("needed"), built.library("later")
    program = built.program("program", needed)
    rules = [{"match": {"exe": str(program)}, "libraries": {"exclude": ["**/libc.so*"], "prepare": [f"{folder}/lib*.so"]}}]
    status, files = warm(hugexecctl, f"--policy={write_policy({'version': 1, 'rules': rules})}")
    assert status == 0 and paths_of(files) == [str(program), str(needed), str(later)]
    assert all(file["huge_bytes"] == file["slot_bytes"] > 0 for file in files[1:])
    rules[0]["libraries"] = False
    assert paths_of(warm(hugexecctl, f"--policy={write_policy({'version': 1, 'rules': rules})}")[1]) == [str(program)]
    rules = [{"match": {}, "libraries": {"prepare": [f"{folder}/liblat*"]}}]  # no program is named, but a file is
    assert paths_of(warm(hugexecctl, f"--policy={write_policy({'version': 1, 'rules': rules})}")[1]) == [str(later)]


def test_small_text_is_no_failure(hugexecctl):
    status, (file,) = warm(hugexecctl, "/bin/sh")
    assert status == 0 and file["reason"].startswith("no-huge-slot") and file["huge_bytes"] == 0


@pytest.mark.parametrize("words", [[], ["--policy", "/bin/sh"], ["--nonsense"]])
def test_wrong_usage(hugexecctl, words):
    done = run([hugexecctl, "warm", *words])
    assert done.returncode == 2 and done.stdout == "" and done.stderr != ""


def test_broken_policy(hugexecctl, write_policy):
    done = run([hugexecctl, "warm", f"--policy={write_policy('{')}"])
    assert done.returncode == 1 and "policy-1.json:1:" in done.stderr


def test_unit():
    """Sandboxed well, and nothing in it that systemd does not know."""
    unit = BUILD / "units" / "hugexec-warm.service"
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze")
    done = run(["systemd-analyze", "security", "--offline=true", "--threshold=10", unit])
    if "unrecognized option" in done.stderr:
        pytest.skip("systemd-analyze is older than 250")
    assert done.returncode == 0, done.stdout[-300:]
    done = run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit])
    complaints = [line for line in done.stderr.splitlines() if "hugexec-warm" in line and "is not executable" not in line]
    assert complaints == []
