# SPDX-License-Identifier: Apache-2.0
"""hugexecctl attach where it must not or cannot do anything: it says why, and the process runs on as before."""
import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from lib.busy import end_well, running
from lib.machine import HUGE, take_hugetlb_pool
from lib.policies import policy_with
from lib.process import Process, run, status_of, wait_for
from lib.smaps import huge_text_bytes, smaps
from programs import bigtext as bigtext_generator

REFUSED = {
    "no rule": ({"version": 1, "rules": [{"match": {"exe": "/nowhere"}}]}, "skipped", "no-rule"),
    "another door": ({"version": 1, "rules": [{"match": {"via": ["shim", "hook"]}}]}, "skipped", "no-rule"),
    "skip": ({"version": 1, "rules": [{"match": {"via": "attach"}, "action": "skip"}]}, "skipped", "rule-skip"),
    "small": ({"version": 1, "rules": [{"match": {}, "min_text": "1G"}]}, "skipped", "text-small"),
    "fail": ({"version": 1, "rules": [{"match": {}, "min_text": 0, "on_error": "fail", "backing": ["hugetlb"], "page_size": "1G"}]},
             "skipped", "no-huge-slot"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_policy(busy, attach, name):
    policy, outcome, word = REFUSED[name]
    with running([busy(), "work"]) as process:
        status, report, _ = attach(process.pid, policy, backing=None)
        assert status == 1 and report["outcome"] == outcome and report["reason"].startswith(word)
        end_well(process)


def test_file_where_addresses_do_not_agree(busy, attach):
    """It runs where it runs; the next backing serves."""
    with running([busy(), "work"]) as process:
        address = min(m["start"] for m in smaps(process.pid) if m["path"] == busy())
        status, report, _ = attach(process.pid, backing="file,thp")
        assert status == 0 and report["backing"] == ("file" if address % HUGE == 0 else "thp"), report
        end_well(process)


def test_traced_by_somebody_else(busy, attach):
    """One thread only: all others would have been stopped before that is seen."""
    with running([busy(), "work"]) as process:
        other = min(
            int(task) for task in os.listdir(f"/proc/{process.pid}/task") if int(task) != process.pid)
        holder = ("import ctypes, sys, time\nlibc = ctypes.CDLL(None, use_errno=True)\n"
                  "libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]\n"
                  f"print(libc.ptrace(0x4206, {other}, None, None), flush=True)\ntime.sleep(60)\n")
        with Process([sys.executable, "-c", holder], stdout=subprocess.PIPE, text=True) as tracer:
            assert tracer.stdout.readline() == "0\n"
            status, report, _ = attach(process.pid)
            assert status == 1 and report["reason"].startswith("ptrace-refused") and str(other) in report["reason"], report
            assert f"by process {tracer.pid} (python3" in report["reason"], report
            tracer.kill()
        assert huge_text_bytes(process.pid) == 0
        end_well(process)


def test_main_thread_waits_for_its_vfork(tmp_path, attach):
    """The kernel does not let it stop: it is told, and nobody waits for long."""
    source = tmp_path / "vforks.c"
    source.write_text('#include <stdio.h>\n#include <unistd.h>\nint main(void) { char c; puts("ready"); fflush(stdout);'
                      ' if (vfork() == 0) { read(0, &c, 1); _exit(0); } puts("on"); return 0; }\n')
    subprocess.run(["cc", "-w", "-o", tmp_path / "vforks", source], check=True)
    with running([tmp_path / "vforks"]) as process:
        wait_for(lambda: status_of(process.pid)["State"].startswith("D"))
        status, report, _ = attach(process.pid)  # returns while the child is still there
        assert status == 1 and report["reason"].startswith("threads-busy"), report
        assert process.communicate("x", timeout=120)[0] == "on\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="a PID namespace takes root")
def test_proc_of_another_pid_namespace(bigtext, hugexecctl, write_policy):
    """There the number of our process is that of another one: nothing of it may be looked at, let alone changed."""
    script = '"$1" sleep >/dev/null & "$2" attach --json --policy="$3" --backing=thp $!; kill $!'
    done = run(["unshare", "--pid", "--fork", "sh", "-c", script, "sh", bigtext(4), hugexecctl, write_policy(policy_with())])
    report = json.loads(done.stdout.splitlines()[0])
    assert report["outcome"] == "failed" and report["reason"].startswith("no-proc") and report["exe"] == ""


@pytest.mark.usefixtures("public_folder")
def test_process_of_somebody_else(nobody, hugexecctl, write_policy):
    """It is not /proc that is missing."""
    done = run([*nobody, hugexecctl, "attach", f"--policy={write_policy(policy_with())}", "--json", "1"])
    report = json.loads(done.stdout)
    assert done.returncode == 1 and report["reason"].startswith("ptrace-refused") and "Permission denied" in report["reason"], report


def test_process_that_there_is_not(hugexecctl, write_policy):
    """Of which the program is not known: the reason stands alone."""
    done = run([hugexecctl, "attach", f"--policy={write_policy(policy_with())}", "2147483647"])
    assert done.returncode == 1 and " ms  -\n          tracee-gone: there is no process 2147483647 " in done.stdout, done.stdout


def test_usage(hugexecctl, tmp_path):
    for words, text in (([], "no PID"), (["x"], "'x' is no PID"), (["--backing=y", "1"], "y"), (["0"], "'0' is no PID")):
        done = run([hugexecctl, "attach", *words])
        assert done.returncode == 2 and text in done.stderr and done.stdout == "", done
    done = run([hugexecctl, "attach", f"--policy={tmp_path}/none", "1"])
    assert done.returncode == 1 and "none" in done.stderr
    done = run([hugexecctl, "attach", "--help"])
    assert done.returncode == 0 and max(map(len, done.stdout.splitlines())) <= 80


def test_main_thread_has_ended(tmp_path, attach):
    source = tmp_path / "headless.c"
    source.write_text('#include <pthread.h>\n#include <stdio.h>\n#include <unistd.h>\nstatic void *rest(void *unused) { sleep(60); return unused; }'
                      ' int main(void) { pthread_t thread; pthread_create(&thread, NULL, rest, NULL); puts("ready"); fflush(stdout);'
                      ' pthread_exit(NULL); }\n')
    subprocess.run(["cc", "-w", "-pthread", "-o", tmp_path / "headless", source], check=True)
    with running([tmp_path / "headless"]) as process:
        wait_for(lambda: status_of(process.pid)["State"].startswith("Z"))
        status, report, _ = attach(process.pid)
        assert status == 1 and report["reason"].startswith("no-text") and "main thread" in report["reason"], report


def test_children_are_ignored(busy, hugexecctl, write_policy):
    """As by a shell's `trap '' CHLD`: it is inherited."""
    with running([busy(), "work"]) as process:
        script = "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
        done = run([sys.executable, "-c", script, hugexecctl, "attach", f"--policy={write_policy(policy_with())}", "--backing=thp", process.pid])
        assert done.returncode == 0 and done.stderr == "", done
        end_well(process)


def kernel_threads():
    """The PID of one; none in a PID namespace of one's own, where 2 may be anybody's."""
    with contextlib.suppress(OSError):
        if pathlib.Path("/proc/2/comm").read_text(encoding="ascii") == "kthreadd\n":
            return [2]
    return []


def test_several_in_a_table(busy, hugexecctl, write_policy):
    """Each has its line; what cannot be done for one does not keep the others from it."""
    policy = write_policy(policy_with())
    with running([busy(), "work"]) as first, running([busy("fixed"), "rest", "read"]) as second:
        pids = [first.pid, *kernel_threads(), 4194304, second.pid]
        done = run([hugexecctl, "attach", f"--policy={policy}", "--backing=thp", *pids])
        assert done.returncode == 1
        lines = re.sub(r"\n {10}(?=\w)", ": ", done.stdout).splitlines()  # each with its reason
        assert lines[0].split()[:3] == ["PID", "TEXT", "HUGE"]
        assert [int(line.split()[0]) for line in lines[1:]] == pids
        assert "thp" in lines[1] and "tracee-gone" in lines[-2] and "thp" in lines[-1]
        assert all("no-text" in line or "ptrace-refused" in line for line in lines[2:-2])
        assert len({line.index(" ms  ") for line in lines[1:]}) == 1
        end_well(first)


def test_not_root(public_folder, busy, hugexecctl, write_policy, nobody):
    """Another user's process is refused by the kernel."""
    policy = write_policy(policy_with())
    with running([busy(), "work"]) as process:
        done = run([*nobody, hugexecctl, "attach", "--json", f"--policy={policy}", process.pid])
        assert done.returncode == 1 and json.loads(done.stdout)["outcome"] == "failed"
        end_well(process)


@pytest.mark.parametrize("backing", ["hugetlb,thp", "thp"])
def test_sealed_text(attach, bigtext, tmp_path, backing):
    """It cannot be replaced, whoever asks; the program works on with it."""
    program = shutil.copy(bigtext(8, "static", ("cc", "-static")), tmp_path)  # whose pages are in the cache by chance
    with running([program, "seal"]) as process:
        if " sl" not in pathlib.Path(f"/proc/{process.pid}/smaps").read_text():
            pytest.skip("this kernel has no mseal (Linux 6.10)")
        with take_hugetlb_pool(8) if "hugetlb" in backing else contextlib.nullcontext():
            status, report, _ = attach(process.pid, backing=backing)
        assert status == 1 and report["outcome"] == "failed" and report["reason"].startswith("text-sealed: "), report
        assert report["reason"].count("text-sealed") == 1  # it was not tried again with another copy
        assert not [entry for entry in smaps(process.pid) if "memfd" in entry["path"]]
        wait_for(lambda: status_of(process.pid)["State"].startswith("S"), what="its rest")
        assert status_of(process.pid)["TracerPid"] == "0"


HIDES_VDSO = """
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>
int main(void)
{
	unsigned long words[128];
	ssize_t got = read(open("/proc/self/auxv", O_RDONLY), words, sizeof words);
	for (ssize_t i = 0; i < got / 8; i += 2)
		if (words[i] == AT_SYSINFO_EHDR)
			words[i + 1] = 0;
	puts(prctl(PR_SET_MM, PR_SET_MM_AUXV, words, got, 0) == 0 ? "hidden" : "refused");
	puts("ready");
	fflush(stdout);
	pause();
}
"""


def test_no_vdso(attach, tmp_path):
    """As on a kernel with vdso=0: there is nothing to run a call from, and the process runs on."""
    (tmp_path / "main.c").write_text(HIDES_VDSO)
    (tmp_path / "text.s").write_text(bigtext_generator.assembly(4))
    subprocess.run(["cc", "-o", "hides", "main.c", "text.s"], check=True, cwd=tmp_path)
    with Process([tmp_path / "hides"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        if process.stdout.readline() != "hidden\n":
            pytest.skip("PR_SET_MM_AUXV takes CAP_SYS_RESOURCE")
        assert process.stdout.readline() == "ready\n"
        status, report, _ = attach(process.pid)
        assert status == 1 and report["outcome"] == "failed" and report["reason"].startswith("no-vdso: "), report
        assert status_of(process.pid)["State"].startswith("S") and status_of(process.pid)["TracerPid"] == "0"
        process.kill()
