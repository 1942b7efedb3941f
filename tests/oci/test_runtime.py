# SPDX-License-Identifier: Apache-2.0
"""hugexec-runtime: what it adds to a bundle, and that it is the real runtime in all else."""
import json
import os
import shutil
import signal
import subprocess
import textwrap

import pytest
from mount_sandbox import MountSandbox

from lib.process import wait_for
from lib.surroundings import BUILD

OPTED_IN = {"version": 1, "rules": [{"match": {"via": "hook", "annotation": {"io.hugexec.remap": "true"}}}]}

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts and containers need root")

# A runtime that tells what it was given, as JSON on standard output.
TELLS = """\
    #!/usr/bin/python3
    import json, os, signal, sys
    print(json.dumps({
        "argv": sys.argv, "pid": os.getpid(), "cwd": os.getcwd(),
        "env": {k: v for k, v in os.environ.items() if k != "LC_CTYPE"},
        "fds": sorted(int(fd) for fd in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + fd)),
        "umask": os.umask(0), "ignored": [s for s in range(1, 32) if signal.getsignal(s) == signal.SIG_IGN],
        "stdin": sys.stdin.read()}))
    sys.exit(int(os.environ.get("STATUS", "0")))
"""
# A hook that leaves the state it was given beside itself, by stage.
HOOK = """\
    #!/bin/sh
    exec cat >"$(dirname "$0")/hook-$1.json"
"""


def program(path, text):
    path.write_text(textwrap.dedent(text))
    path.chmod(0o755)
    return path


@pytest.fixture
def bin_folder(tmp_path):
    """hugexec-runtime with a hook beside it, as on a node."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("hugexec-runtime", "hugexec-bundle-reader"):
        shutil.copy(BUILD / "oci-hook" / name, folder)
    program(folder / "hugexec-oci-hook", HOOK)
    program(folder / "tells", TELLS)
    return folder


@pytest.fixture
def make_box(tmp_path):
    boxes = []

    def make(policy=OPTED_IN, modes=None, **etc):
        sandbox = MountSandbox(tmp_path / f"box{len(boxes)}", {"hugexec/policy.json": policy, **etc}, modes)
        boxes.append(sandbox)
        return sandbox

    yield make
    for sandbox in boxes:
        sandbox.close()


@pytest.fixture
def bundle(tmp_path):
    """A bundle with a static busybox, as `runc spec` describes it; config.json by a dict of changes."""
    folder = tmp_path / "bundle"
    (folder / "rootfs" / "bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", folder / "rootfs" / "bin" / "busybox")
    subprocess.run(["runc", "spec"], cwd=folder, check=True, timeout=120)
    config = json.loads((folder / "config.json").read_text())
    config["process"].update(terminal=False, args=["/bin/busybox", "sh", "-c", "echo out; exit 7"], rlimits=[])
    config["annotations"] = {"io.hugexec.remap": "true", "other": "ünï\u0001"}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_all_else_stays_as_it_was_written(make_box, bin_folder, bundle):
    """To the byte: blanks, order, numbers that no parser keeps, in a file that a person has written."""
    text = '\n{ "b" : 1.50, "annotations":{"io.hugexec.remap":"true"},\t"a":[ 36893488147419103232 ],"hooks" : { "poststop":[ ]}}'
    (bundle / "config.json").write_text(text)
    sandbox = make_box()
    done = sandbox.run([bin_folder / "hugexec-runtime", "--runtime", bin_folder / "tells", "create", "-b", bundle, "id"])
    assert (done.returncode, done.stderr) == (0, "")
    first, second = (f'{{"path":"{bin_folder}/hugexec-oci-hook","args":["hugexec-oci-hook","{stage}"]}}'
                     for stage in ("createRuntime", "poststop"))
    expected = text.replace('{ "poststop"', f'{{"createRuntime":[{first}], "poststop"').replace("[ ]", f"[ {second}]")
    assert (bundle / "config.json").read_text() == expected


def config_of(bundle):
    return json.loads((bundle / "config.json").read_text())


def without_hooks(config):
    return {key: value for key, value in config.items() if key != "hooks"}


def test_create_adds_the_hook_once_and_keeps_all_else(make_box, bin_folder, bundle):
    before = config_of(bundle)
    os.chmod(bundle / "config.json", 0o640)
    os.chown(bundle / "config.json", 12, 34)
    sandbox = make_box(**{"hugexec/runtime.json": {"version": 1, "runtime": str(bin_folder / "tells")}})
    for _ in range(2):
        done = sandbox.run([bin_folder / "hugexec-runtime", "--root", "/r", "create", "--bundle", bundle, "id"])
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert json.loads(done.stdout)["argv"][1:] == ["--root", "/r", "create", "--bundle", str(bundle), "id"]
        after = config_of(bundle)
        hook = str(bin_folder / "hugexec-oci-hook")
        assert after["hooks"] == {stage: [{"path": hook, "args": ["hugexec-oci-hook", stage]}]
                                  for stage in ("createRuntime", "poststop")}
        assert without_hooks(after) == before
    about = os.stat(bundle / "config.json")
    assert (about.st_mode & 0o7777, about.st_uid, about.st_gid) == (0o640, 12, 34)
    assert sorted(os.listdir(bundle)) == ["config.json", "rootfs"]


def test_switched_off_for_the_host(make_box, bin_folder, bundle):
    """As long as /run/hugexec/disabled is there, a bundle stays as it is."""
    before = (bundle / "config.json").read_bytes()
    sandbox = make_box()
    create = [bin_folder / "hugexec-runtime", "--runtime", bin_folder / "tells", "create", "-b", bundle, "id"]
    sandbox.run(["sh", "-c", "mkdir /run/hugexec && touch /run/hugexec/disabled"], check=True)
    assert sandbox.run(create).returncode == 0 and (bundle / "config.json").read_bytes() == before
    sandbox.run(["rm", "/run/hugexec/disabled"], check=True)
    assert sandbox.run(create).returncode == 0 and "hooks" in config_of(bundle)


@pytest.mark.parametrize("verb", ["start", "state", "delete", "kill", "exec", "--version", "--help", None])
def test_other_verbs_change_nothing(make_box, bin_folder, bundle, verb):
    before = (bundle / "config.json").read_bytes()
    sandbox = make_box(**{"hugexec/runtime.json": {"version": 1, "runtime": str(bin_folder / "tells")}})
    words = [verb] if verb else []
    done = sandbox.run([bin_folder / "hugexec-runtime", *words], cwd=bundle)
    assert json.loads(done.stdout)["argv"][1:] == words
    assert (bundle / "config.json").read_bytes() == before


def test_it_becomes_the_runtime(make_box, bin_folder, bundle):
    """Same process, files, directory, environment, ignored signals, umask and exit status as without."""
    told = []
    sandbox = make_box(**{"hugexec/runtime.json": {"version": 1, "runtime": str(bin_folder / "tells")}})
    for words in ([bin_folder / "hugexec-runtime"], [bin_folder / "tells"]):
        script = "trap '' USR1; umask 027; exec 7</dev/null; echo $$ >&2; exec \"$@\""
        done = subprocess.run(sandbox.inside(["sh", "-c", script, "sh", *words, "create", "-b", bundle, "id"]),
                              input="to the runtime", capture_output=True, text=True, timeout=60,
                              env={"A": "b", "STATUS": "42", "PATH": os.environ["PATH"]})
        assert done.returncode == 42
        told.append(json.loads(done.stdout))
        assert told[-1].pop("pid") == int(done.stderr)
        told[-1]["argv"].pop(0)
        told[-1]["env"].pop("HUGEXEC_RUNTIME_ROUND", None)
    assert told[0] == told[1]
    assert told[0]["stdin"] == "to the runtime" and 7 in told[0]["fds"] and signal.SIGUSR1 in told[0]["ignored"]


@pytest.mark.parametrize("changes", [
    {"annotations": {"io.hugexec.remap": "false"}}, {"annotations": {}}, {"annotations": None}])
def test_what_the_policy_does_not_want_is_left_alone(make_box, bin_folder, bundle, changes):
    (bundle / "config.json").write_text(json.dumps({**config_of(bundle), **changes}))
    before = (bundle / "config.json").read_bytes()
    sandbox = make_box()
    sandbox.run([bin_folder / "hugexec-runtime", "--runtime", bin_folder / "tells", "create", "-b", bundle, "id"])
    assert (bundle / "config.json").read_bytes() == before


BROKEN = {
    "policy": ("{", "policy-invalid"),
    "bundle": (OPTED_IN, "bundle: "),
    "hook": (OPTED_IN, "hook: "),
    "config": (OPTED_IN, "config: config.json at byte 9: duplicate key"),
    "no reader": (OPTED_IN, "bundle-reader: "),
    "dead reader": (OPTED_IN, "bundle-reader: no answer about config.json"),
    "late reader": (OPTED_IN, "bundle-reader: no answer about config.json"),
    "other reader": (OPTED_IN, "bundle-reader: no answer about config.json"),
}


READERS = {
    "dead reader": "#!/bin/sh\nkill -9 $$\n",
    "late reader": "#!/bin/sh\nexec sleep 1000\n",
    "other reader": "#!/bin/sh\nhead -c 100000 /dev/urandom >&4\n",
}


@pytest.mark.parametrize("what", BROKEN)
@pytest.mark.parametrize("log_format", ["json", "text", "stderr"])
def test_failures_are_told_and_the_runtime_runs(make_box, bin_folder, bundle, tmp_path, what, log_format):
    policy, message = BROKEN[what]
    sandbox = make_box(policy=policy)
    if what == "hook":
        (bin_folder / "hugexec-oci-hook").unlink()
    elif what == "config":
        (bundle / "config.json").write_text('{"a": 1, "a": 2}')
    elif what == "bundle":
        (bundle / "config.json").unlink()
    elif what.endswith("reader"):
        (bin_folder / "hugexec-bundle-reader").unlink()
    if what in READERS:
        program(bin_folder / "hugexec-bundle-reader", READERS[what])
    before = {path.name: path.read_bytes() for path in bundle.iterdir() if path.is_file()}
    log = tmp_path / "log"
    options = {"json": ["--log", log, "--log-format", "json"], "text": ["--log", log], "stderr": []}[log_format]
    done = sandbox.run([bin_folder / "hugexec-runtime", "--runtime", bin_folder / "tells", *options, "create", "-b", bundle,
                    "id"])
    assert json.loads(done.stdout)["argv"][-1] == "id"
    assert {path.name: path.read_bytes() for path in bundle.iterdir() if path.is_file()} == before
    if log_format == "stderr":
        assert message in done.stderr
    else:
        assert done.stderr == ""
        lines = log.read_text().splitlines()
        assert len(lines) == 1 and message in lines[0]
    if log_format == "json":
        line = json.loads(lines[0])
        assert line["level"] == "warning" and line["time"].endswith("Z")


def test_it_never_becomes_itself(make_box, bin_folder, bundle):
    """By a link, and over another wrapper that leads back: in the end runc runs, or there is a message."""
    (bin_folder / "runc").symlink_to(bin_folder / "hugexec-runtime")
    around = program(bin_folder / "around", f"""\
        #!/bin/sh
        exec {bin_folder}/hugexec-runtime "$@"
    """)
    path = f"{bin_folder}:{os.environ['PATH']}"
    for named in (bin_folder / "runc", "runc", around):
        sandbox = make_box(**{"hugexec/runtime.json": {"version": 1, "runtime": str(named)}})
        done = sandbox.run([bin_folder / "hugexec-runtime", "--version"], env={"PATH": path})
        assert done.stdout.startswith("runc version"), done.stderr
    (bin_folder / "runc").unlink()
    shutil.copy(around, bin_folder / "runc")
    done = sandbox.run([bin_folder / "hugexec-runtime", "--version"], env={"PATH": path})
    assert done.returncode == 127
    assert "leads back to this program" in done.stderr


@pytest.mark.parametrize("content,mode", [
    (None, 0o666), (None, 0o664), ("{", 0o644), ("{}", 0o644), ("[]", 0o644), ('{"runtime": 7}', 0o644),
    ('{"runtime": "/nowhere/runc"}', 0o644), ('{"runtime": "/usr/bin"}', 0o644)])
def test_a_wrong_choice_is_told_and_runc_runs(make_box, bin_folder, content, mode):
    content = content or json.dumps({"version": 1, "runtime": str(bin_folder / "tells")})
    sandbox = make_box(modes={"hugexec/runtime.json": mode}, **{"hugexec/runtime.json": content})
    done = sandbox.run([bin_folder / "hugexec-runtime", "--version"])
    assert done.stdout.startswith("runc version") and done.returncode == 0
    assert "hugexec-runtime: runtime: " in done.stderr


def test_runc_runs_with_the_hook(make_box, bin_folder, bundle):
    """The real runtime reads what we wrote: output and exit status as without, the hook called at both stages."""
    sandbox = make_box()
    done = sandbox.run([bin_folder / "hugexec-runtime", "run", "--bundle", bundle, f"hugexec-test-{os.getpid()}"])
    assert (done.returncode, done.stdout) == (7, "out\n"), done.stderr
    state = json.loads((bin_folder / "hook-createRuntime.json").read_text())
    assert state["status"] == "creating" and state["annotations"]["io.hugexec.remap"] == "true"
    wait_for((bin_folder / "hook-poststop.json").exists, what="the poststop hook")
