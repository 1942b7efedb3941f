# SPDX-License-Identifier: Apache-2.0
"""Seccomp filters that are set after hugexec has tried its calls: by a wrapper, or by a library's constructor."""
import os
import shutil
import subprocess

import pytest

from lib.policies import policy_with
from lib.report import read_report
from programs import bigtext as bigtext_generator

# Kills for calls that the engine has the workload make, and for the one that it is let go with.
FILTER = r"""
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#define KILLED(call) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)
static void set_filter(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		KILLED(SYS_memfd_create), KILLED(SYS_mremap), KILLED(SYS_waitid),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
	struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}
"""
WRAPPER = FILTER + "int main(int argc, char **argv) { (void)argc; set_filter(); execv(argv[1], argv + 1); return 99; }\n"
LIBRARY = FILTER + "__attribute__((constructor)) static void start(void) { set_filter(); }\n"
MAIN = "int main(void) { return 9; }\n"


def become(who):
    """Under a filter already, where hugexec has to try its calls, and may suspend none."""
    if who != "filtered":
        return None
    seccomp = pytest.importorskip("seccomp", reason="python3-seccomp is not installed")

    def load():
        rules = seccomp.SyscallFilter(seccomp.ALLOW)
        rules.add_rule(seccomp.ERRNO(1), "reboot")
        rules.load()

    return load


@pytest.fixture
def build(public_folder):
    def call(name, text, *flags):
        (public_folder / f"{name}.c").write_text(text)
        subprocess.run(["cc", "-w", "-o", public_folder / name, public_folder / f"{name}.c", *flags], check=True)
        return str(public_folder / name)

    return call


@pytest.fixture
def launch(hugexec_command, request):
    """Run a command as WHO; its status and its report."""

    def call(who, command, policy, prefix=()):
        if who == "user":
            prefix = [*request.getfixturevalue("nobody"), *prefix, "setpriv", "--no-new-privs"]
        words, report = hugexec_command(command, policy, "thp")
        report.touch()
        report.chmod(0o666)
        done = subprocess.run([*prefix, *words], capture_output=True, text=True, check=False, preexec_fn=become(who))
        return done.returncode, read_report(report)[-1]

    return call


@pytest.mark.parametrize("who", ["root", "user", "filtered"])
@pytest.mark.parametrize("first", [False, True], ids=["below init", "PID 1"])
def test_set_by_a_wrapper(launch, build, bigtext, public_folder, who, first):
    """The workload is not killed; where the filter can be suspended its text is on huge pages all the same."""
    if os.geteuid() != 0 and (who != "user" or first):
        pytest.skip("this takes root")
    program = shutil.copy(bigtext(4), public_folder / "program")
    prefix = ["unshare", "--fork", "--pid", "--mount-proc", "--kill-child"] if first and who != "user" else []
    status, line = launch(who, [build("wrapper", WRAPPER), program, "exit", "9"], policy_with(wrappers=["wrapper"]), prefix)
    assert (status, line["exe"]) == (9, str(program))
    expected = ("remapped", "None") if who == "root" else ("failed", "seccomp")
    assert (line["outcome"], str(line["reason"]).split(":")[0]) == expected


def test_set_by_a_wrapper_where_errors_fail(launch, build, bigtext, public_folder):
    program = shutil.copy(bigtext(4), public_folder / "program")
    status, line = launch("filtered", [build("wrapper", WRAPPER), program, "exit", "9"], policy_with(on_error="fail", wrappers=["wrapper"]))
    assert (status, line["outcome"]) == (125, "failed")


@pytest.mark.parametrize("who", ["root", "user", "filtered"])
@pytest.mark.parametrize("large", [False, True])
def test_set_by_a_constructor(launch, build, public_folder, who, large):
    """Its libraries are left alone where it cannot be suspended, and the tracer of a LARGE program, its child, does not have it wait."""
    if os.geteuid() != 0 and who != "user":
        pytest.skip("this takes root")
    (public_folder / "text.s").write_text(bigtext_generator.assembly(6))
    library = build("libfilter.so", LIBRARY, "-shared", "-fPIC", public_folder / "text.s")
    program = build("program", MAIN, *([public_folder / "text.s"] if large else []), "-Wl,--no-as-needed", library)
    status, line = launch(who, [program], policy_with(libraries=True, follow="none"))
    assert status == 9
    if who == "root":
        assert library in [item["path"] for item in line["objects"] if item["huge_bytes"]]
    else:
        assert line["outcome"] == ("remapped" if large else "skipped") and line["reason"].startswith("seccomp: ")
