# SPDX-License-Identifier: Apache-2.0
"""Break hugexec on purpose, promise by promise, and see the tests fail that are to hold them:

    run.py check              each patch applies to the code; takes a second
    run.py all [WORD...]      carry them out, in a copy of the tree; with WORDs only those whose words or file has one
    run.py table              a Markdown table of all: promise, what is broken, file, tests

Each mutation is a patch beside this file. Its header says which promise of docs/reliability.md it breaks, how, and which
tests must fail then (README.md here has the form). A mutation counts as caught if it compiles and one of its tests, which
passes without it, fails. Prints a line for each; exit 1: one was not caught, or no longer applies.
"""
import collections
import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WORK = ROOT / "build-mutations"
TREE, BUILD = WORK / "tree", WORK / "build"
PYTHON = "/usr/bin/python3"
TEST_SECONDS = 180
GUEST_SECONDS = 900  # for what is tried on an emulated machine
GUESTS = {"arm64": "tests/kernels/arm64.py", "kernels": "tests/kernels/run.py"}
PYTEST_FAILED = 1
PASSED_OVER = 77
PROMISES = [str(number) for number in range(1, 12)]  # the points of section 2 of the design: docs/reliability.md lists them

Mutation = collections.namedtuple("Mutation", "promise words file tests patch")


def read_patch(path):
    header, found, diff = path.read_text().partition("\n\n")
    fields = re.findall(r"^(Promise|Breaks|Test): (.+)$", header, re.M)
    values = collections.defaultdict(list)
    for key, value in fields:
        values[key].append(value)
    files = re.findall(r"^\+\+\+ b/(\S+)", diff, re.M)
    if not found or len(fields) != len(header.splitlines()) or len(values["Promise"]) != 1 or len(values["Breaks"]) != 1 \
            or not values["Test"] or len(files) != 1:
        sys.exit(f"{path.name}: its header must be Promise:, Breaks:, Test: lines and an empty line; it changes one file")
    return Mutation(values["Promise"][0], values["Breaks"][0], files[0], tuple(values["Test"]), path)


LIST = sorted(map(read_patch, HERE.glob("*.patch")), key=lambda mutation: (mutation.promise.zfill(2), mutation.patch.name))


def apply(mutation, folder, *options):
    """"" where the patch applies below FOLDER, else what git says. Lines around the place may differ, but for one each side."""
    # Not as part of the repository that FOLDER may lie in: git would pass over files that it ignores.
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.parent)}
    done = subprocess.run(["git", "apply", "-C1", *options, mutation.patch], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr.strip()


def file_of(topic):
    folder, _, name = topic.rpartition("/")
    return f"tests/{folder or 'integration'}/test_{name}.py"


def command_of(test):
    """The words that run TEST."""
    kind, _, rest = test.partition(" ")
    if kind == "unit":
        return ["meson", "test", "-C", str(BUILD), "--no-rebuild", "--suite", "unit", rest]
    if kind == "faults":
        way, _, fault = rest.partition(": ")
        return [PYTHON, "tests/faults/run.py", str(BUILD), "only", way, *fault.split()]
    if kind in GUESTS:
        return [PYTHON, GUESTS[kind], str(BUILD), rest]
    topic, _, name = test.partition("::")
    where = file_of(topic) + (f"::{name}" if name else "")
    return [PYTHON, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-x", "--timeout=120", where]


def run_test(test):
    """("passed", "failed" or what went wrong, the end of its output)."""
    environment = {**os.environ, "HUGEXEC_BUILD": str(BUILD), "HUGEXEC_PROGRAMS": str(ROOT / "build" / "programs"),
                   "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command_of(test), cwd=TREE, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", timeout=GUEST_SECONDS if test.split()[0] in GUESTS else TEST_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return "failed", "it does not end"
    said = "\n".join(done.stdout.splitlines()[-12:])
    if done.returncode == 0:
        ran = re.search(r"(\d+) passed|Ok: +[1-9]|\d+ of [1-9]\d* failures tried", done.stdout)
        return ("passed", said) if ran else ("ran nothing", said)
    if done.returncode == PASSED_OVER:
        return "ran nothing", said
    if "-m" in command_of(test) and done.returncode != PYTEST_FAILED:
        return f"ended with {done.returncode}", said
    return "failed", said


def compile_tree():
    done = subprocess.run(["ninja", "-C", BUILD, "--quiet"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return done.returncode == 0, done.stdout[-3000:]


def prepare():
    """A copy of the tree as it is, built with the named steps at which tests hold and kill."""
    TREE.mkdir(parents=True, exist_ok=True)
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        source, copy = ROOT / name, TREE / name
        if source.exists() and not (copy.exists() and copy.read_bytes() == source.read_bytes()):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, copy)
    if not (BUILD / "build.ninja").exists():
        subprocess.run(["meson", "setup", BUILD, TREE, "--prefix=/usr", "-Dfaults=true"], check=True, stdout=subprocess.DEVNULL)
    fine, said = compile_tree()
    if not fine:
        sys.exit(f"the code as it is cannot be built:\n{said}")
    subprocess.run([ROOT / "tests" / "get-programs", ROOT / "build" / "programs"], check=True, stdout=subprocess.DEVNULL)


def end_leftovers():
    """What a broken hugexec has left behind, and whom it traces: a test that fails for that is not always able to end it."""
    pids = [int(path.name) for path in pathlib.Path("/proc").glob("[0-9]*")]
    ours = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/exe").startswith(f"{BUILD}/"):
                ours.add(pid)
    for pid in pids:
        with contextlib.suppress(OSError):
            tracer = re.search(r"^TracerPid:\t(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)
            if pid in ours or (tracer and int(tracer[1]) in ours):
                os.kill(pid, signal.SIGKILL)


def carry_out(mutation):
    """"" where it is caught, else why not."""
    path = TREE / mutation.file
    text = path.read_text()
    try:
        problem = apply(mutation, TREE)
        if problem:
            return problem
        fine, said = compile_tree()
        if not fine:
            return f"does not compile:\n{said}"
        survived = []
        for test in mutation.tests:
            outcome, said = run_test(test)
            if outcome == "failed":
                return ""
            survived.append(f"{test}: {outcome}\n{said if outcome != 'passed' else ''}")
        return "not caught by " + "; ".join(survived)
    finally:
        path.write_text(text)
        end_leftovers()


def chosen(words):
    return [mutation for mutation in LIST if not words or any(word in f"{mutation.words} {mutation.file} {mutation.promise}" for word in words)]


def run_all(words):
    prepare()
    wrong = 0
    known = {}
    for mutation in chosen(words):
        began = time.monotonic()
        problem = apply(mutation, TREE, "--check")
        for test in mutation.tests:
            if not problem and test not in known:
                compile_tree()
                known[test] = run_test(test)
            if not problem and known[test][0] != "passed":
                problem = f"{test} {known[test][0]} without it:\n{known[test][1]}"
        problem = problem or carry_out(mutation)
        print(f"mutation {mutation.promise}, {mutation.words}: {'caught' if not problem else 'NOT CAUGHT: ' + problem} ({time.monotonic() - began:.0f} s)",
              flush=True)
        wrong += bool(problem)
    compile_tree()
    print(f"mutations: {len(chosen(words))}, {wrong} not caught")
    return 1 if wrong else 0


def table():
    rows = ["| | promise, and what is broken | in | test that fails |", "| --- | --- | --- | --- |"]
    for mutation in LIST:
        tests = ", ".join(f"`{test}`" for test in mutation.tests)
        rows.append(f"| {mutation.promise} | {mutation.words} | `{mutation.file.rpartition('/')[2]}` | {tests} |")
    return "\n".join(rows)


def check():
    wrong = [f"{mutation.patch.name}: {problem}" for mutation in LIST if (problem := apply(mutation, ROOT, "--check"))]
    names = [(mutation.promise, mutation.words) for mutation in LIST]
    wrong += [f"named twice: {name}" for name in set(names) if names.count(name) > 1]
    wrong += [f"no mutation for promise {promise}" for promise in PROMISES if promise not in {mutation.promise for mutation in LIST}]
    print("\n".join(wrong) or f"mutations: {len(LIST)} apply to the code")
    return 1 if wrong else 0


if __name__ == "__main__":
    what = sys.argv[1] if len(sys.argv) > 1 else ""
    if what == "check":
        sys.exit(check())
    if what == "all":
        sys.exit(run_all(sys.argv[2:]))
    if what == "table":
        print(table())
        sys.exit(0)
    sys.exit(__doc__)
