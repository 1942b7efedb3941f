# SPDX-License-Identifier: Apache-2.0
"""hugexecctl check: all mistakes of a policy, what the launch refuses, and what nobody can have meant."""
import json
import os
import re
import shutil

import pytest

from lib.process import run
from lib.surroundings import ROOT

IS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="giving a file to somebody else takes root")


def test_check(hugexecctl, write_policy):
    good = write_policy({"version": 1, "rules": []})
    bad = write_policy('{"version": 1,\n "rules": [{"match": {}, "min_txt": 3}]}')
    assert run([hugexecctl, "check", good]).returncode == 0
    done = run([hugexecctl, "check", good, bad])
    assert done.returncode == 1
    assert re.search(rf"^{re.escape(bad)}:2:\d+: .*min_txt", done.stdout + done.stderr, re.MULTILINE)


def test_check_names_a_byte_order_mark(hugexecctl, write_policy):
    marked = write_policy('\ufeff{"version": 1}')
    done = run([hugexecctl, "check", marked])
    assert done.returncode == 1 and f"{marked}:1:1: a byte order mark" in done.stderr


def complaints(done, file):
    """Line, column and text of each mistake."""
    found = re.findall(rf"^{re.escape(str(file))}:(\d+):(\d+): (.*)$", done.stderr, re.MULTILINE)
    assert len(found) == len(done.stderr.splitlines()), done.stderr
    return [(int(line), int(column), text) for line, column, text in found]


def test_check_tells_all_mistakes_of_a_file(hugexecctl, write_policy):
    file = write_policy("""{"version": 2, "defalt": "skip",
 "settings": {"min_text": "x", "rebase": 1},
 "rules": [
  {"match": {"exe": ["x", "/y**"], "usr": 1}, "action": "no"},
  {"backing": ["flie"]},
  4
]}""")
    done = run([hugexecctl, "check", file])
    assert done.returncode == 1
    assert [line for line, _, _ in complaints(done, file)] == [1, 1, 2, 2, 4, 4, 4, 4, 5, 5, 6]


def test_check_tells_all_mistakes_beside_keys_that_are_there_twice(hugexecctl, write_policy):
    """The last one of each counts, and is where its mistakes are."""
    file = write_policy("""{"version": 1, "default": "skip",
 "settings": {"min_text": "1M"},
 "settings": {"min_text": "x",
  "rebase": true,
  "rebase": 1},
 "default": "skip",
 "rules": [{"match": {}, "min_txt": 3}]
}""")
    done = run([hugexecctl, "check", file])
    told = complaints(done, file)
    assert done.returncode == 1 and [line for line, _, text in told if text == "duplicate key"] == [3, 5, 6]
    assert [line for line, _, text in told if text != "duplicate key"] == [3, 5, 7]


def test_check_stops_somewhere(hugexecctl, write_policy):
    """A file that is wrong all over fills nobody's screen, nor does it take minutes."""
    done = run([hugexecctl, "check", write_policy({"version": 1, "rules": [{"mach": {}}] * 9000})], timeout=120)
    assert done.returncode == 1 and 40 <= len(done.stderr.splitlines()) <= 100


COMMENT, COMMA = "JSON has no comments", "nothing comes behind the last comma; take it away"


@pytest.mark.parametrize("text, offset, message", [
    ('{"version": 1, // x\n}', 15, COMMENT),
    ('{"version": 1 // x\n}', 14, COMMENT),
    ('/* x */ {"version": 1}', 0, COMMENT),
    ('# x\n{"version": 1}', 0, COMMENT),
    ('{"version": 1, "rules": [{"match": {}}, /* x */]}', 40, COMMENT),
    ('{"version": 1} # x', 15, COMMENT),
    ('{"version": 1,}', 14, COMMA),
    ('{"version": 1, "rules": [{"match": {}},\n ]}', 41, COMMA),
    ('{"version": 1,, "rules": []}', 14, "nothing stands before this comma"),
    ('{"version": 1 "rules": []}', 14, "a comma is missing before this"),
    ('{"version": 1, "rules": [{"match": {}} {"match": {}}]}', 39, "a comma is missing before this"),
    ('{version: 1}', 1, "a key is expected here, in double quotes"),
    ("{'version': 1}", 1, "strings stand in double quotes"),
    ('{"version" 1}', 11, "a colon is missing before this"),
    ('{"version": 1}}', 14, "nothing may stand here"),
    ('{"version": 1, "rules": [', 25, "the JSON ends too early"),
])
def test_check_names_what_is_no_json(hugexecctl, write_policy, text, offset, message):
    file = write_policy(text)
    done = run([hugexecctl, "check", file])
    line = text[:offset].count("\n") + 1
    column = offset - (text[:offset].rfind("\n") + 1) + 1
    assert complaints(done, file) == [(line, column, message)]


@IS_ROOT
@pytest.mark.parametrize("change, text", [
    (lambda path: os.chmod(path, 0o666), "users other than its owner can write it: chmod go-w it"),
    (lambda path: os.chmod(path, 0o664), "users other than its owner can write it: chmod go-w it"),
    (lambda path: os.chown(path, 65534, 0), "UID 65534 owns it, not root: chown root it"),
], ids=["mode 666", "mode 664", "owner"])
def test_check_trusts_whom_the_launch_trusts(hugexecctl, hugexec, write_policy, tmp_path, change, text):
    file = write_policy({"version": 1, "rules": [{"match": {}}]})
    change(file)
    done = run([hugexecctl, "check", file])
    assert (done.returncode, done.stderr) == (1, f"{file}: {text}\n")
    report = tmp_path / "report"
    run([hugexec, f"--policy={file}", f"--report={report}", "true"])
    assert json.loads(report.read_text())["reason"] == f"policy-untrusted: {file}: {text}"


@pytest.mark.usefixtures("public_folder")
def test_check_warns_who_is_not_root(hugexecctl, nobody, write_policy):
    """For whom the launch takes the file."""
    file = write_policy({"version": 1, "rules": [{"match": {}}]})
    os.chmod(file, 0o666)
    done = run([*nobody, hugexecctl, "check", file])
    assert done.returncode == 0 and done.stderr.startswith("warning: hugexec refuses this if root starts it: ")


@IS_ROOT
def test_check_looks_at_the_folders_of_the_hosts_policy(hugexecctl):
    """In a mount namespace of its own."""
    script = """
mount -t tmpfs -o mode=755 none /etc && mkdir -p /etc/hugexec/policy.d && echo 'root:x:0:0::/:' >/etc/passwd
for folder in /etc/hugexec /etc/hugexec/policy.d; do
    chmod 775 $folder; "$1" check; chmod 755 $folder
    chown 1 $folder; "$1" check; chown 0 $folder
done
"$1" check >/dev/null && echo good >&2
"""
    done = run(["unshare", "--mount", "sh", "-c", script, "sh", hugexecctl])
    assert done.stderr == """\
/etc/hugexec: users other than its owner can put files there: chmod go-w it
/etc/hugexec: UID 1 owns it, not root: chown root it
/etc/hugexec/policy.d: users other than its owner can put files there: chmod go-w it
/etc/hugexec/policy.d: UID 1 owns it, not root: chown root it
good
"""


def warnings(done, file):
    """But for the one that every file of a user's gets."""
    found = [line.removeprefix(f"{file}: warning: ") for line in done.stderr.splitlines()]
    return [line for line in found if os.geteuid() == 0 or "refuses this if root starts it" not in line]


MATCH_ALL = {"match": {}}


@pytest.mark.parametrize("rules, text", [
    ([MATCH_ALL, {"match": {"exe": "/x"}}], "rule 2: never asked: rule 1 of"),
    ([{"name": "a", "match": {"exe": "/x/*"}}, {"name": "b", "match": {"exe": ["/x/y", "/x/z"], "user": 0}}], 'rule 2 "b": never asked: rule 1 of'),
    ([{"match": {"via": ["shim", "hook"], "exe": "/**"}}, {"match": {"via": "hook", "exe": "/x"}}], "rule 2: never asked"),
    ([{"match": {"annotation": {"a": "*"}}}, {"match": {"annotation": {"a": "x", "b": "y"}}}], "rule 2: never asked"),
    ([{"match": {"user": "nosuchuser"}}], 'this host has no user "nosuchuser"'),
    ([{"match": {"exe": "/usr//bin/x"}}], 'never matches: no program\'s path has "//" in it'),
    ([{"match": {"exe": "/usr/../bin/*"}}], 'never matches: no program\'s path has "/../" in it'),
    ([{"match": {"exe": "/usr/bin/x/"}}], 'never matches: no program\'s path has "/" at its end'),
    ([{"match": {"exe": "/usr/bin"}}], "never matches: it is a folder"),
    ([{"match": {"exe": shutil.which("ldd") or "/usr/bin/ldd"}}], "never matches: it is a script"),
    ([{"match": {"unit": "mariadb"}}], 'never matches: write "mariadb.service"'),
    ([{"match": {"annotation": {"a": "b"}, "via": ["shim", "attach"]}}], "it asks for what only containers have"),
    ([{"match": {}, "min_text": "4M", "max_text": "2M"}], "leaves every program alone"),
    ([{"match": {}, "backing": ["file", "thp"], "page_size": "1G"}], '"page_size" has no effect'),
    ([{"match": {}, "backing": ["thp"], "keep_free": 3}], '"keep_free" has no effect'),
    ([{"match": {}, "backing": ["thp"], "rebase": False}], '"rebase" has no effect'),
    ([{"match": {}, "backing": ["thp"], "file_timeout": "1s"}], '"file_timeout" has no effect'),
    ([{"match": {}, "backing": ["thp"], "rodata": True}], '"rodata" has no effect'),
    ([{"match": {}, "coverage": "full", "round_out": False}], '"round_out": false has no effect: "coverage" is "full"'),
    ([{"match": {}, "backing": ["file"], "perf_map": True}], '"perf_map" has no effect'),
    ([{"match": {}, "follow": "none", "follow_timeout": 3}], '"follow_timeout" has no effect'),
    ([{"match": {}, "follow": "none", "wrappers": ["x"]}], '"wrappers" has no effect'),
    ([{"match": {"exe": "/x"}, "action": "skip", "min_text": 0}, MATCH_ALL], "its settings have no effect"),
    ([{"match": {"exe": "/x"}, "action": "skip"}], "no program is ever put on huge pages"),
])
def test_check_warns_of_what_nobody_can_have_meant(hugexecctl, write_policy, rules, text):
    file = write_policy({"version": 1, "rules": rules})
    done = run([hugexecctl, "check", file])
    assert done.returncode == 0 and len(warnings(done, file)) == 1 and text in warnings(done, file)[0], done.stderr


def test_check_warns_of_common_settings_without_effect(hugexecctl, write_policy):
    common = {"page_size": "1G"}
    for rules, warned in (([{"match": {}, "backing": ["file"]}], True),
                          ([{"match": {"exe": "/x"}, "backing": ["file"]}, MATCH_ALL], False)):
        file = write_policy({"version": 1, "settings": common, "rules": rules})
        assert bool(warnings(run([hugexecctl, "check", file]), file)) == warned


@pytest.mark.parametrize("rules", [
    [{"match": {"exe": "/x/*"}}, {"match": {"exe": ["/x/y", "/z"]}}],
    [{"match": {"exe": "/x"}}, MATCH_ALL],
    [{"match": {"via": "hook"}}, {"match": {"via": ["hook", "shim"]}}],
    [{"match": {"user": 0, "exe": "/x"}}, {"match": {"exe": "/x"}}],
    [{"match": {"annotation": {"a": "x"}}}, {"match": {"annotation": {"a": ["x", "y"]}}}],
    [{"match": {"build_id": "abcd"}}, {"match": {"exe": "/x"}}],
    [{"match": {"user": "root", "unit": ["*", "x.service", "y@*"]}}],
    [{"match": {}, "backing": ["file", "thp"], "round_out": True, "perf_map": True, "rebase": False}],
])
def test_check_does_not_warn_without_need(hugexecctl, write_policy, rules):
    file = write_policy({"version": 1, "rules": rules})
    assert not warnings(run([hugexecctl, "check", file]), file)


def test_check_has_nothing_against_the_shipped_policy(hugexecctl):
    shipped = ROOT / "config" / "policy.json"
    if os.geteuid() == 0 and (shipped.stat().st_uid or shipped.stat().st_mode & 0o22):
        pytest.skip("the checkout is not root's alone")
    assert not warnings(run([hugexecctl, "check", str(shipped)]), shipped)


def test_json(hugexecctl, write_policy):
    """The same as in words, for programs."""
    right, wrong = write_policy({"version": 1, "rules": [{"match": {"exe": "/a//b"}}]}), write_policy({"version": 1, "rules": [{"match": {"x": 1}}]})
    done = run([hugexecctl, "check", "--json", right, wrong])
    told = json.loads(done.stdout)
    assert (done.returncode, done.stderr, told["version"], told["valid"]) == (1, "", 1, False)
    assert told["files"] == [{"file": right, "rules": 1}]
    assert [(one["file"], one["text"].startswith(f"{wrong}:1:")) for one in told["mistakes"]] == [(wrong, True)]
    assert {one["file"] for one in told["warnings"]} == {right}
    assert json.loads(run([hugexecctl, "check", "--json", right]).stdout)["valid"] is True
