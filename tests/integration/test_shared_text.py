# SPDX-License-Identifier: Apache-2.0
"""
Text that is out of step with its file, from a copy on disk that all processes share: hugexecctl warm --share makes it, "coverage": "full"
maps it. What was tampered with is not used. Each test has a /var/cache of its own, in a mount namespace.
"""
import json
import os
import platform
import shutil
import signal
import subprocess
import time

import pytest

from lib import two_texts
from lib.cached_files import KERNEL
from lib.libraries import look, policy
from lib.machine import HUGE, MIB
from lib.process import Process, marked, run, status_of, wait_for
from lib.report import read_report
from lib.smaps import smaps
from lib.steps import list_steps
from lib.text_coverage import IN_LIBRARIES, explained, huge_text, program
from lib.text_coverage import look as look_at_real

FULL = policy(coverage="full", hold_timeout="60s")
FOLDER = "/var/cache/hugexec"

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="only root makes copies for all processes"),
              pytest.mark.skipif(platform.machine() not in two_texts.RETURNS, reason="no function for this processor")]


class Shared:
    """A library with a text in step and one that is not, a program that uses both, and a /var/cache of their own."""

    def __init__(self, folder, ctl, command):
        self.folder, self.ctl, self.command = folder, ctl, command
        self.cache, self.library, self.program = folder / "cache", folder / "libtwo.so", folder / "program"
        self.copies = self.cache / "hugexec"
        self.cache.mkdir(mode=0o755)
        self.mounts = f"mount --bind {self.cache} /var/cache"

    def inside(self, words):
        return ["unshare", "-m", "sh", "-c", f'{self.mounts} && exec "$@"', "sh", *map(str, words)]

    def warm(self, *words):
        return run(self.inside([self.ctl, "warm", "--json", *(words or ("--share", self.library))]))

    def make(self):
        done = self.warm()
        (file,) = json.loads(done.stdout)["files"]
        if str(file["reason"]).startswith("file-"):
            pytest.skip(file["reason"])
        assert done.returncode == 0 and file["reason"] is None and file["shared_bytes"] > 0, done
        (copy,) = self.copies.iterdir()
        return copy

    def look(self, as_user=()):
        words, report = self.command([self.program, "sleep"], FULL, "file,thp")
        told, line, found, entries = look(self.inside([*as_user, *words]), report, self.library, env={**os.environ, "LD_LIBRARY_PATH": str(self.folder)})
        assert told == "right\n" and found, line
        return line, found, entries

    def check_unused(self, why="shared-copy: "):
        """All as without a copy, and the report says why."""
        line, found, entries = self.look()
        assert found["shared_bytes"] == 0 and not any(entry["path"].startswith(FOLDER) for entry in entries)
        assert found["reason"].startswith(why) and "copy-limit: " in found["reason"], found
        return found["reason"]


@pytest.fixture(name="shared")
def shared_fixture(huge_ext4, hugexecctl, hugexec_command, tmp_path, request):
    folder = huge_ext4 / request.node.name.replace("/", "-").replace(" ", "-")
    folder.mkdir()
    library, made = two_texts.build(tmp_path)
    this = Shared(folder, hugexecctl, hugexec_command)
    shutil.copy(library, this.library)
    shutil.copy(made, this.program)
    run(["sync", "-f", folder])
    time.sleep(3.5)  # what was changed a moment ago is not copied
    yield this
    shutil.rmtree(folder)


def copied(entries):
    return [entry for entry in entries if entry["path"].startswith("/memfd:")]


def test_all_text(shared):
    """All text of the library on huge pages, of which hardly any is the process's own; right to the last page."""
    copy = shared.make()
    assert copy.stat().st_mode & 0o7777 == 0o444 and copy.stat().st_size % HUGE == 8192
    _, found, entries = shared.look()
    all_text, huge = huge_text(entries, str(shared.library))
    ours = [entry for entry in entries if entry["path"] == f"{FOLDER}/{copy.name}"]
    assert ours and all(entry["perms"] == "r-xp" and entry["FilePmdMapped"] == entry["end"] - entry["start"] for entry in ours)
    assert found["shared_bytes"] == sum(entry["FilePmdMapped"] for entry in ours) >= 6 * MIB
    assert found["backing"] == "file" and found["copied_bytes"] <= 4 * MIB
    assert huge == all_text or (found["reason"].startswith("data-beside-text: ") and all_text - huge < HUGE), found
    assert sum(entry["Private_Dirty"] + entry["Anonymous"] for entry in ours) == 0


def test_explain_and_status(shared, write_policy):
    """explain says what it would cost and whether there is a copy; status counts the copy as the library's text."""
    words = [shared.ctl, "explain", "--json", f"--policy={write_policy(FULL)}", "--backing=file,thp", shared.program]
    environment = {**os.environ, "LD_LIBRARY_PATH": str(shared.folder)}

    def said():
        done = json.loads(run(shared.inside(words), env=environment).stdout)
        return next(each for each in done["libraries"] if each["path"] == str(shared.library))
    before = said()
    assert before["reason"].startswith("copy-limit: ") and "hugexecctl warm --share" in before["reason"] and before["shared_bytes"] == 0
    shared.make()
    after = said()
    assert after["reason"] is None and after["shared_bytes"] >= 6 * MIB and 0 <= after["text_bytes"] - after["huge_bytes"] < HUGE
    command, _ = shared.command([shared.program, "sleep"], FULL, "file,thp")
    with Process(shared.inside(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout.readline() == "right\n"
        told = run([shared.ctl, "status", "--json", process.pid]).stdout
        process.kill()
    assert str(shared.library) in told and FOLDER not in told, told


def test_by_a_relative_name(shared):
    """As people type it."""
    done = run(shared.inside([shared.ctl, "warm", "--json", "--share", os.path.basename(shared.library)]), cwd=os.path.dirname(shared.library))
    assert done.returncode == 0 and json.loads(done.stdout)["files"][0]["shared_bytes"] > 0, done


def test_no_copy(shared):
    """As ever: what would need too much private memory is left, and the report says what would help."""
    assert "hugexecctl warm --share" in shared.check_unused("copy-limit: ")


def test_cheap_does_not_use_it(shared):
    shared.make()
    words, report = shared.command([shared.program], policy(round_out=True), "file,thp")
    done = run(shared.inside(words), env={**os.environ, "LD_LIBRARY_PATH": str(shared.folder)})
    assert done.stdout == "right\n" and all(each["shared_bytes"] == 0 for each in read_report(report)[0]["objects"])


def chown(shared, copy):
    os.chown(copy, 65534, 0)


def others_may_write(shared, copy):
    copy.chmod(0o464)


def truncated(shared, copy):
    os.truncate(copy, HUGE)


def of_another_version(shared, copy):
    with open(copy, "r+b") as file:
        file.seek(-8192, os.SEEK_END)
        file.write(b"hugexec shared 9")


def link(shared, copy):
    copy.rename(shared.cache / "elsewhere")
    copy.symlink_to(shared.cache / "elsewhere")


def folder_is_another_users(shared, copy):
    os.chown(shared.copies, 65534, 0)


def folder_is_open(shared, copy):
    shared.copies.chmod(0o777)


def folder_above_is_open(shared, copy):
    shared.cache.chmod(0o777)


def folder_is_a_link(shared, copy):
    shared.copies.rename(shared.cache / "elsewhere")
    shared.copies.symlink_to("elsewhere")


def library_is_touched(shared, copy):
    os.utime(shared.library)


def library_is_changed(shared, copy):
    """One byte of its cold text, in place, with the old time of change."""
    before = shared.library.stat()
    with open(shared.library, "r+b") as file:
        place = shared.library.read_bytes().rindex(bytes.fromhex("c3") if platform.machine() == "x86_64" else bytes.fromhex("c0035fd6")) + 64
        file.seek(place)
        file.write(b"\x01")
    os.utime(shared.library, ns=(before.st_atime_ns, before.st_mtime_ns))


TAMPERED = [chown, others_may_write, truncated, of_another_version, link, folder_is_another_users, folder_is_open, folder_above_is_open,
            folder_is_a_link, library_is_touched, library_is_changed]


@pytest.mark.parametrize("tamper", TAMPERED, ids=lambda each: each.__name__)
def test_not_trusted(shared, tamper):
    """A copy that others than root may have changed, or of an older state of the library, is none."""
    copy = shared.make()
    tamper(shared, copy)
    run(["sync", "-f", shared.folder])
    shared.check_unused()


def test_a_key_is_all_of_it(shared):
    """A copy that stands where that of another file is looked for is not used, whatever its name is."""
    copy = shared.make()
    other = shared.folder / "other.so"
    shutil.copy2(shared.library, other)
    os.rename(copy, copy.with_name(f"{copy.name.split('-', maxsplit=1)[0]}-{other.stat().st_ino:x}"))
    os.rename(other, shared.library)
    run(["sync", "-f", shared.folder])
    assert "before it changed" in shared.check_unused()


def test_replaced_library(shared):
    """As a package manager does it: another file, for which there is no copy. warm takes the old one away and makes a new one."""
    copy = shared.make()
    shutil.copy(shared.library, shared.folder / "new")
    os.rename(shared.folder / "new", shared.library)
    run(["sync", "-f", shared.folder])
    shared.check_unused("copy-limit: ")
    time.sleep(3.5)
    assert shared.make() != copy
    shared.library.unlink()
    done = json.loads(shared.warm("--share", "/bin/true").stdout)
    assert done["shared"] == {"folder": FOLDER, "copies": 0, "bytes": 0, "removed": 1} and not list(shared.copies.iterdir())


def test_unshare(shared):
    shared.make()
    assert json.loads(shared.warm("--unshare").stdout)["shared"]["removed"] == 1
    assert not list(shared.copies.iterdir())
    assert shared.warm("--unshare", "--share").returncode == 2


def test_a_workload_with_mounts_of_its_own(shared):
    """It opens nothing there: whoever has made the mounts could let it wait."""
    shared.make()
    hides = f"cp -a {FOLDER} /mnt/own && mount --bind /mnt/own {FOLDER}"
    script = f'mount -t tmpfs tmpfs /mnt && {hides} && exec "$@"'
    wanted = policy(coverage="full", hold_timeout="60s", follow="fork", wrappers=["+", "unshare"])
    words, report = shared.command(["unshare", "-m", "sh", "-c", script, "sh", shared.program], wanted, "file,thp")
    done = run(shared.inside(words), env={**os.environ, "LD_LIBRARY_PATH": str(shared.folder)})
    lines = read_report(report)
    found = [each for line in lines for each in line["objects"] if each["path"] == str(shared.library)]
    assert done.stdout == "right\n", done
    if not found:
        pytest.skip(f"the wrapper is not followed here: {lines}")
    assert found[0]["shared_bytes"] == 0 and "a root or mounts of its own" in found[0]["reason"], found


def test_another_file_of_that_name_when_the_workload_opens_it(shared, hugexec, mark):
    """What it gets must be the file that the tracer has looked at."""
    list_steps(hugexec)
    shared.make()
    words, report = shared.command([shared.program], FULL, "file,thp")
    with Process(shared.inside(words), stdout=subprocess.PIPE, text=True,
                 env={**os.environ, "LD_LIBRARY_PATH": str(shared.folder), "MARK": mark, "HUGEXEC_FAULT": "stop:shared-prepared"}) as process:
        def stopped():
            return [pid for pid in marked(mark) if status_of(pid)["Name"] == "hugexec-tracer" and status_of(pid)["State"].startswith("T")]
        (tracer,) = wait_for(stopped, process=process)
        swap = f"mount -t tmpfs -o mode=755 tmpfs /mnt && cp -a {FOLDER} /mnt/own && mount --bind /mnt/own {FOLDER}"
        swapped = run(["nsenter", "--mount", "-t", str(tracer), "sh", "-c", swap])
        os.kill(tracer, signal.SIGCONT)
        assert process.communicate(timeout=120)[0] == "right\n" and swapped.returncode == 0, swapped
    (found,) = [each for each in read_report(report)[0]["objects"] if each["path"] == str(shared.library)]
    assert found["shared_bytes"] == 0 and "is another file in the workload's root" in found["reason"], found


def test_mapping_refused(shared):
    """Where the kernel does not let the copy be mapped as text nothing has changed."""
    shared.make()
    shared.mounts += " && mount -o remount,bind,noexec /var/cache"
    shared.check_unused("file-unsupported: mapping it as text: ")


def test_read_only(shared):
    """A copy that is there is used from a read-only /var; none is made there."""
    shared.mounts += " && mount -o remount,bind,ro /var/cache"
    done = shared.warm()
    assert done.returncode == 1 and "Read-only file system" in done.stdout and not shared.copies.exists()
    writable, shared.mounts = shared.mounts, shared.mounts.split(" && ", maxsplit=1)[0]
    shared.make()
    shared.mounts = writable
    assert shared.look()[1]["shared_bytes"] > 0


def test_full_disk(shared):
    shared.mounts = "mount -t tmpfs -o size=4m,mode=755 tmpfs /var/cache"
    done = run(shared.inside(["sh", "-c", f'"$@"; ls -A {FOLDER}', "sh", shared.ctl, "warm", "--share", shared.library]))
    assert "No space left" in done.stdout and done.stdout.endswith("were removed.\n"), done


@pytest.mark.parametrize("how", ["nosuid", "on a tmpfs", "open for writing", "changed a moment ago"])
def test_source_that_is_not_settled(shared, how):
    """No copy is made of what may be changed without a trace, or made up."""
    file = None
    if how == "nosuid":
        shared.mounts += f" && mount --bind {shared.folder} {shared.folder} && mount -o remount,bind,nosuid {shared.folder}"
    elif how == "on a tmpfs":
        shared.mounts += (f" && cp -p {shared.library} /var/cache/ && mount -t tmpfs -o mode=755 tmpfs {shared.folder}"
                          f" && cp -p /var/cache/libtwo.so {shared.folder} && sleep 3.5")
    elif how == "changed a moment ago":
        os.utime(shared.library)
    else:
        file = open(shared.library, "r+b")
    try:
        done = shared.warm()
    finally:
        if file:
            file.close()
    (told,) = json.loads(done.stdout)["files"]
    assert done.returncode == 1 and told["shared_bytes"] == 0 and how.split(" for ", maxsplit=1)[0] in told["reason"], told
    assert not shared.copies.exists() or not list(shared.copies.iterdir())


def test_private_library(shared):
    """Who may not read the library may not read its copy."""
    shared.library.chmod(0o640)
    time.sleep(3.5)
    assert shared.make().stat().st_mode & 0o7777 == 0o400


def test_killed(shared):
    """However early or late warm is killed, there is no half copy."""
    for delay in (0.002, 0.005, 0.01, 0.02, 0.05):
        with Process(shared.inside([shared.ctl, "warm", "--share", shared.library]), stdout=subprocess.DEVNULL) as process:
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
        for copy in shared.copies.iterdir() if shared.copies.exists() else ():
            assert copy.stat().st_size % HUGE == 8192
            shared.look()
    shared.make()
    assert shared.look()[1]["shared_bytes"] > 0


@pytest.mark.parametrize("step", ["shared-prepared", "shared-opened", "shared-mapped"])
def test_killed_tracer(shared, hugexec, step):
    """The program has the right text, or is killed with the tracer while its registers are borrowed."""
    list_steps(hugexec)
    shared.make()
    words, _ = shared.command([shared.program], FULL, "file,thp")
    done = run(shared.inside(words), env={**os.environ, "LD_LIBRARY_PATH": str(shared.folder), "HUGEXEC_FAULT": f"kill:{step}"})
    if step == "shared-opened":
        assert (done.returncode, done.stdout) == (-signal.SIGKILL, "")
    else:
        assert (done.returncode, done.stdout) == (0, "right\n"), done


def test_another_user(shared, nobody, public_folder):
    """Whoever may read the library shares its copy; one who may not has none."""
    copy = shared.make()
    assert shared.look(as_user=nobody)[1]["shared_bytes"] >= 6 * MIB
    copy.chmod(0o400)
    _, found, entries = shared.look(as_user=nobody)
    assert found["shared_bytes"] == 0 and found["reason"].startswith("copy-limit: "), found
    assert not any(entry["path"].startswith(FOLDER) for entry in entries)


def test_processes_share_it(shared):
    """Eight processes have hardly more text in memory than one: the sum of their shares (Pss), by smaps."""
    shared.make()

    def text_in_memory(count):
        processes = [Process(shared.inside(shared.command([shared.program, "sleep"], FULL, "file,thp")[0]), stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True, env={**os.environ, "LD_LIBRARY_PATH": str(shared.folder)})
                     for _ in range(count)]
        try:
            assert all(process.stdout.readline() == "right\n" for process in processes)
            found = [[entry for entry in smaps(process.pid) if entry["path"].startswith(FOLDER)] for process in processes]
            assert all(found)
            return sum(entry["Pss"] for entries in found for entry in entries)
        finally:
            for process in processes:
                process.kill()
                process.wait()
    one = text_in_memory(1)
    assert one >= 6 * MIB and text_in_memory(8) <= 1.05 * one


def test_policy(shared, write_policy):
    """With a policy, copies are made for the rules that want all text."""
    for coverage, wanted in (("cheap", 0), ("full", 1)):
        rules = policy(coverage=coverage, libraries={"include": [str(shared.library)], "prepare": [str(shared.library)]})
        rules["rules"][0]["match"]["exe"] = str(shared.program)
        words = [shared.ctl, "warm", "--json", f"--policy={write_policy(rules)}"]
        done = run(shared.inside(words), env={**os.environ, "LD_LIBRARY_PATH": str(shared.folder)})
        assert json.loads(done.stdout)["shared"]["copies"] == wanted, done.stdout


def test_wrong_usage(hugexecctl):
    assert run([hugexecctl, "warm", "--unshare", "/bin/true"]).returncode == 2
    assert run([hugexecctl, "warm", "--share"]).returncode == 2


# Beyond the last library's last slot the kernel may have mapped something else of the process.
TRIES = 8


@pytest.mark.skipif(KERNEL < (6, 16), reason="ext4 has large folios from Linux 6.16 on")
def test_rustc(hugexecctl, hugexec_command, write_policy, tmp_path):
    """All of rustc's text, of which BOLT has left more than half out of step, for 4 MiB of private memory a library."""
    command = program("rustc", IN_LIBRARIES)
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o755)
    inside = ["unshare", "-m", "sh", "-c", f'mount --bind {cache} /var/cache && exec "$@"', "sh"]
    wanted = policy(coverage="full", hold_timeout="60s", file_timeout="60s")
    libraries = explained(hugexecctl, write_policy(wanted), "file,thp", command[0])["libraries"]
    large = [path for path, each in libraries.items() if each["text_bytes"] >= HUGE]
    done = run([*inside, hugexecctl, "warm", "--json", "--share", *large])
    if any(each["reason"] for each in json.loads(done.stdout)["files"]):
        pytest.skip(done.stdout)

    def inside_command(*arguments):
        words, report = hugexec_command(*arguments)
        return [*inside, *words], report
    for _ in range(TRIES):
        line, entries = look_at_real(inside_command, command, wanted, "file,thp")
        found = [each for each in line["objects"] if each["text_bytes"] >= HUGE]
        if not any(each["reason"] for each in found):
            break
    assert len(found) == len(large) > 0
    for each in found:
        all_text, huge = huge_text(entries, each["path"])
        print(f"{os.path.basename(each['path'])}: {huge / MIB:.1f} of {all_text / MIB:.1f} MiB, copied {each['copied_bytes'] / MIB:.0f} MiB")
        assert each["copied_bytes"] <= 4 * MIB < each["shared_bytes"] and each["backing"] == "file"
        assert huge == all_text or (each["reason"].startswith("data-beside-text: ") and all_text - huge < HUGE), each
    (tmp_path / "hello.rs").write_text('fn main() { println!("{}", (1..10).map(|n| n * n).sum::<u64>()); }')
    compiles = [*command[:1], "--emit=asm", "-Copt-level=2", "-o", "-", tmp_path / "hello.rs"]
    plain = run(compiles)
    assert run([*inside, *hugexec_command(compiles, wanted, "file,thp")[0]]).stdout == plain.stdout and plain.returncode == 0
