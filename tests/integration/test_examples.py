# SPDX-License-Identifier: Apache-2.0
"""The shipped policy and each of config/examples do what they are there for (opt-in-pods.json: tests/oci/test_hook.py)."""
import json
import os
import shutil

import pytest

from lib.machine import take_hugetlb_pool
from lib.process import run
from lib.surroundings import ROOT

EXAMPLES = ROOT / "config" / "examples"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may have an /usr of its own")

# Folders in which programs can be put to where the examples look for them; the machine's own stay as they are.
OWN_FOLDERS = """
mount -t tmpfs tmpfs "$folder"
for each in usr opt etc; do
	mkdir -p "$folder/$each/upper" "$folder/$each/work"
	mount -t overlay -o "lowerdir=/$each,upperdir=$folder/$each/upper,workdir=$folder/$each/work" overlay "/$each"
done
"""
PUT = """
mkdir -p "$(dirname "$place")"
rm -f "$place"
cp "$program" "$place"
"""


def example(name):
    return (EXAMPLES / f"{name}.json").read_text()


def lines_of(text):
    """The lines of a report in TEXT."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@pytest.fixture
def in_own_folders(tmp_path):
    """Run a shell script below folders of its own; (exit status, lines of the report)."""

    def call(script, **environment):
        where = tmp_path / "own"
        where.mkdir(exist_ok=True)
        words = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", OWN_FOLDERS + script]
        done = run(words, env={**os.environ, "folder": str(where), **{key: str(value) for key, value in environment.items()}})
        if done.returncode == 32:
            pytest.skip(f"cannot mount: {done.stderr.strip()}")
        lines = lines_of(done.stderr)
        assert lines, done.stderr
        return done.returncode, lines

    return call


@pytest.mark.parametrize("compiler, exe, rule", [("gcc", "/cc1", "the passes of GCC"), ("clang", "/clang", "clang and rustc")])
def test_compilers(hugexec, write_policy, tmp_path, compiler, exe, rule):
    """Below make, a shell and the compiler's driver, of which no rule says anything."""
    for tool in ("make", compiler):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")
    (tmp_path / "a.c").write_text("int a;\n")
    (tmp_path / "Makefile").write_text(f"a.o: a.c\n\t{compiler} -c a.c && test -s a.o\n")
    report = tmp_path / "report.json"
    done = run([hugexec, f"--policy={write_policy(example('compilers'))}", f"--report={report}", "make", "-C", tmp_path])
    assert done.returncode == 0 and (tmp_path / "a.o").exists(), done.stderr
    lines = [line for line in lines_of(report.read_text()) if exe in line["exe"]]
    assert lines and all(line["rule"].startswith(rule) for line in lines)
    # Where this filesystem has no huge pages, or others run the compiler too, it was looked at all the same.
    for line in lines:
        assert line["outcome"] == "remapped" or line["reason"].startswith(("file-", "libraries-prepared")), line
        assert line["text_bytes"] > 0


PLACES = [
    ("databases", "/usr/bin/psql", "client tools", "skipped"),
    ("databases", "/usr/lib/postgresql/15/bin/psql", "client tools", "skipped"),
    ("databases", "/usr/sbin/mariadbd", "MariaDB and MySQL", "remapped"),
    ("databases", "/usr/lib/postgresql/15/bin/postgres", "PostgreSQL", "remapped"),
    ("databases", "/opt/tidb/v8.5/bin/tidb-server", "TiDB", "remapped"),
    ("databases", "/opt/other", None, "skipped"),
    ("everything-but", "/usr/sbin/sshd", "what one logs in through", "skipped"),
    ("everything-but", "/usr/bin/node", "browsers and node", "remapped"),
    ("everything-but", "/opt/other", None, "remapped"),
    ("runtimes", "/usr/lib/jvm/java-21/bin/java", "Java", "remapped"),
    ("runtimes", "/usr/lib/erlang/erts-13/bin/beam.smp", "Erlang", "remapped"),
    ("runtimes", "/usr/pgsql-16/bin/postgres", "PostgreSQL", "remapped"),
    ("compilers", "/usr/libexec/gcc/x86_64-linux-gnu/14/cc1plus", "the passes of GCC", "remapped"),
]


@as_root
@pytest.mark.parametrize("name, place, rule, outcome", PLACES)
def test_a_program_at_its_place(in_own_folders, hugexec, write_policy, bigtext, name, place, rule, outcome):
    script = PUT + 'exec $hugexec "$place" exit 9'
    status, (line,) = in_own_folders(script, place=place, program=bigtext(8), hugexec=(
        f"{hugexec} --policy={write_policy(example(name))} --backing=thp --report=-"))
    assert status == 9
    assert (line["exe"], line["outcome"]) == (place, outcome)
    assert line["rule"] is None if rule is None else line["rule"].startswith(rule)


def test_runtimes(hugexec, write_policy, tmp_path):
    """The machine's own Java: its libjvm is prepared, or the report says why not."""
    java = os.path.realpath(shutil.which("java") or "/no/such/one")
    if not os.access(java, os.X_OK) or not java.startswith("/usr/lib/jvm/"):
        pytest.skip("no Java is installed below /usr/lib/jvm")
    report = tmp_path / "report.json"
    done = run([hugexec, f"--policy={write_policy(example('runtimes'))}", f"--report={report}", java, "-version"])
    assert done.returncode == 0 and "version" in done.stderr
    line, = lines_of(report.read_text())
    jvm = [each for each in line["objects"] if each["path"].endswith("/libjvm.so")]
    assert line["rule"].startswith("Java") and jvm
    assert all(each["prepared_bytes"] > 0 or each["reason"].startswith("file-") for each in jvm), jvm


@as_root
def test_everything_but_some_users(in_own_folders, hugexec, write_policy, bigtext):
    """The wrapper is root's and has too little text; the program is www-data's."""
    script = PUT + 'exec $hugexec setpriv --reuid=33 --clear-groups "$place" exit 9'
    status, (line,) = in_own_folders(script, place="/opt/node", program=bigtext(8), hugexec=(
        f"{hugexec} --policy={write_policy(example('everything-but'))} --backing=thp --report=-"))
    assert status == 9
    assert (line["exe"], line["outcome"]) == ("/opt/node", "skipped")
    assert line["rule"].startswith("daemon, nobody and www-data")


@as_root
@pytest.mark.parametrize("build, pages, status, outcome", [
    ("5f3c09ab00112233", 20, 9, "remapped"), ("5f3c09ab00112233", 0, 125, "failed"), ("5f3c09ac00112233", 0, 9, "skipped")])
def test_strict(in_own_folders, hugexec, write_policy, bigtext, public_folder, build, pages, status, outcome):
    """This very build as this user, on reserved pages or not at all; any other build runs."""
    program = bigtext(4, f"build-{build}", ("cc", f"-Wl,--build-id=0x{build}"))
    script = PUT + ('echo exchange:x:4711:4711::/:/bin/sh >>/etc/passwd\n'
                    'exec setpriv --reuid=4711 --clear-groups $hugexec "$place" exit 9')
    with take_hugetlb_pool(pages):
        ended, (line,) = in_own_folders(script, place="/opt/exchange/bin/engine", program=program, hugexec=(
            f"{hugexec} --policy={write_policy(example('strict'))} --report=-"))
    assert (ended, line["outcome"]) == (status, outcome), line
    assert line["rule"].startswith("any other build" if outcome == "skipped" else "the trading engine")


@as_root
def test_profiling(in_own_folders, hugexec, bigtext):
    """A drop-in: what other rules want is remapped where it lies, by huge pages that keep the file's name, or not at all."""
    script = """
rm -rf /etc/hugexec
mkdir -p /etc/hugexec/policy.d
echo '{ "version": 1, "settings": { "backing": ["thp"] }, "rules": [ { "name": "all", "match": {} } ] }' >/etc/hugexec/policy.json
cp "$example" /etc/hugexec/policy.d
exec $hugexec --report=- $program exit 9
"""
    status, (line,) = in_own_folders(script, example=EXAMPLES / "50-profiling.json", program=bigtext(8), hugexec=hugexec)
    assert status == 9
    assert line["rule"] == "all" and not line["rebased"]
    assert line["backing"] == "file" or line["reason"].startswith("file-"), line


@as_root
@pytest.mark.parametrize("name, rule", [("node", "V8 has its text"), ("chromium", "V8 has its text"), ("server", "large programs")])
def test_shipped_policy_makes_no_copy_of_v8(in_own_folders, hugexec, write_policy, bigtext, name, rule):
    """On a filesystem without large folios: other programs get a copy, V8's run as they are."""
    script = """
mkdir -p /opt/v8
mount -t ramfs ramfs /opt/v8
cp "$program" "/opt/v8/$name"
exec $hugexec "/opt/v8/$name" exit 9
"""
    policy = write_policy((ROOT / "config" / "policy.json").read_text())
    status, (line,) = in_own_folders(script, program=bigtext(8), name=name,
                                     hugexec=f"{hugexec} --policy={policy} --report=-")
    assert status == 9
    assert line["rule"].startswith(rule)
    if name == "server":
        assert line["backing"] in ("hugetlb", "thp"), line
    else:
        assert line["backing"] is None and line["reason"].startswith("file-"), line
