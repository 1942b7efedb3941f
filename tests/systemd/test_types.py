# SPDX-License-Identifier: Apache-2.0
"""Units of every type, with hugexec put before them by hugexecctl enable: systemd sees what it saw without."""
import os
import socket

import pytest
from service import ENOUGH, PROGRAM, ask, on_huge_pages, tell, untouched, words_of

from lib.machine import take_hugetlb_pool
from lib.process import wait_for

SOCKET = "/run/typed.sock"
TYPES = {
    "simple": ("simple", f"--socket={SOCKET}", ""),
    "exec": ("exec", f"--socket={SOCKET}", ""),
    "idle": ("idle", f"--socket={SOCKET}", ""),
    "notify": ("notify", f"--socket={SOCKET} --notify", ""),
    "notify-reload": ("notify-reload", f"--socket={SOCKET} --notify", ""),
    "forking": ("forking", f"--socket={SOCKET} --fork=/run/typed.pid", "PIDFile=/run/typed.pid"),
    "forking, guessed": ("forking", f"--socket={SOCKET} --fork=/run/typed.pid", ""),
    "with a child": ("exec", f"--socket={SOCKET} --child", ""),
}


def remove_pid_file(container):
    container.path("/run/typed.pid").unlink(missing_ok=True)


@pytest.mark.parametrize("kind", TYPES)
def test_type(container, make_unit, kind):
    name, arguments, more = TYPES[kind]
    if name == "notify-reload":
        container.needs_version(253, "Type=notify-reload")
    unit = make_unit("typed.service", f"[Service]\nType={name}\nExecStart={PROGRAM} {arguments}\n{more}\n"
                                      "ExecStopPost=/bin/rm -f /run/typed.pid\n")
    container.systemctl("start", unit)
    plain, words = ask(container, SOCKET), words_of(container.main_pid(unit))
    shown = container.show(unit, "ActiveState", "SubState", "Type")
    container.run(["hugexecctl", "enable", "--now", unit])
    answer = ask(container, SOCKET)
    pid = container.main_pid(unit)
    assert answer["right"] == "1"
    assert {**answer, "pid": ""} == {**plain, "pid": ""}
    assert answer["pid"] == container.show(unit, "MainPID")["MainPID"]
    assert words_of(pid) == words
    assert on_huge_pages(container, unit) >= ENOUGH
    assert container.show(unit, "ActiveState", "SubState", "Type") == shown
    untouched(pid, children=1 if kind == "with a child" else 0)
    processes = len(container.pids_of(unit))
    assert processes == (2 if kind == "with a child" else 1)
    if name == "notify-reload":
        container.systemctl("reload", unit)
        assert ask(container, SOCKET) == {**answer, "hangups": "1"}
        assert container.show(unit, "ActiveState", "SubState", "Type") == shown
    container.systemctl("stop", unit)
    assert container.show(unit, "Result", "ActiveState") == {"Result": "success", "ActiveState": "inactive"}
    wait_for(lambda: not (container.cgroup / "system.slice" / unit).exists(), what="its cgroup to be gone")


def test_oneshot_with_several_commands(container, make_unit):
    """All run, one after the other, the failure of one is the unit's, a "-" forgives."""
    unit = make_unit("once.service", f"""[Service]
Type=oneshot
ExecStart={PROGRAM} --say one
ExecStart=-/bin/false
ExecStart={PROGRAM} --say two
ExecStart=/bin/sh -c "exit 42"
ExecStart={PROGRAM} --say three
""", enable=True)
    assert container.systemctl("start", unit, check=False).returncode == 1
    assert container.show(unit, "Result", "ExecMainStatus") == {"Result": "exit-code", "ExecMainStatus": "42"}
    text = [entry["MESSAGE"] for entry in container.journal(f"_SYSTEMD_UNIT={unit}", "_TRANSPORT=stdout")]
    assert "[one]" in text and "[two]" in text and "[three]" not in text


def test_socket_activation(container, make_unit):
    make_unit("asked.socket", "[Socket]\nListenStream=/run/asked.sock\n")
    unit = make_unit("asked.service", f"[Service]\nExecStart={PROGRAM}\n", enable=True)
    container.systemctl("start", "asked.socket")
    assert container.show(unit, "ActiveState")["ActiveState"] == "inactive"
    answer = ask(container, "/run/asked.sock")
    assert answer["listen_pid"] == answer["pid"] == container.show(unit, "MainPID")["MainPID"]
    assert answer["listen_fds"] == "1" and answer["right"] == "1"
    assert on_huge_pages(container, unit) >= ENOUGH
    # A connection that has come while nobody ran is answered by the next.
    container.systemctl("stop", unit, check=False)
    assert ask(container, "/run/asked.sock")["pid"] != answer["pid"]
    container.systemctl("stop", "asked.socket", unit)


def test_watchdog(container, make_unit):
    """Who tells in time lives on; who does not is killed."""
    unit = make_unit("watched.service", "[Service]\nType=notify\nWatchdogSec=3\nNotifyAccess=main\n"
                                        f"ExecStart={PROGRAM} --socket=/run/watched --watchdog=200\n", enable=True)
    container.systemctl("start", unit)
    first = ask(container, "/run/watched")
    assert first["watchdog"] == "3000000"
    stamps = set()
    wait_for(lambda: stamps.add(container.show(unit, "WatchdogTimestamp")["WatchdogTimestamp"]) or len(stamps) >= 4,
             what="some seconds of watchdog")
    assert ask(container, "/run/watched")["pid"] == first["pid"]
    container.write("/etc/systemd/system/watched.service", "[Service]\nType=notify\nWatchdogSec=3\n"
                                                     f"ExecStart={PROGRAM} --socket=/run/watched --notify\n")
    container.run(["hugexecctl", "enable", unit])
    container.systemctl("restart", unit)
    wait_for(lambda: container.show(unit, "Result")["Result"] == "watchdog", what="the watchdog")


@pytest.mark.parametrize("line, code, status", [("exit 3", "exited", "3"), ("kill 9", "killed", "9"), ("kill 11", "killed", "11")])
def test_restart_on_failure(container, make_unit, line, code, status):
    """Exit codes and signals are what systemd sees; it restarts for the same ones."""
    unit = make_unit("fails.service", "[Service]\nRestart=on-failure\nRestartSec=100ms\nLimitCORE=0\n"
                                      f"ExecStart={PROGRAM} --socket=/run/fails\n", enable=True)
    container.systemctl("start", unit)
    first = ask(container, "/run/fails")
    assert tell(container, "/run/fails", line) == ""

    def ended():
        found = [entry for entry in container.journal(f"UNIT={unit}", "_PID=1") if "EXIT_CODE" in entry]
        return found and found[-1]

    entry = wait_for(ended, what="systemd to see the end")
    assert (entry["EXIT_CODE"], entry["EXIT_STATUS"]) == (code, status)
    wait_for(lambda: ask(container, "/run/fails")["pid"] != first["pid"], what="the next one")
    assert on_huge_pages(container, unit) >= ENOUGH
    assert container.show(unit, "NRestarts")["NRestarts"] == "1"


def test_no_restart_after_success(container, make_unit):
    unit = make_unit("ends.service", f"[Service]\nRestart=on-failure\nExecStart={PROGRAM} --socket=/run/ends\n", enable=True)
    container.systemctl("start", unit)
    ask(container, "/run/ends")
    tell(container, "/run/ends", "exit 0")
    wait_for(lambda: container.show(unit, "ActiveState")["ActiveState"] == "inactive", what="its end")
    assert container.show(unit, "NRestarts", "ExecMainStatus", "Result") == \
        {"NRestarts": "0", "ExecMainStatus": "0", "Result": "success"}


def test_commands_around_the_main_one(container, make_unit):
    """ExecStartPre=, ExecStartPost=, ExecReload=, ExecStop= see the main process, and are left as they are."""
    unit = make_unit("around.service", f"""[Service]
Type=notify
ExecStartPre=/bin/sh -c "echo pre >/run/around"
ExecStart={PROGRAM} --socket=/run/around.sock --notify
ExecStartPost=/bin/sh -c "echo post $MAINPID >>/run/around"
ExecReload=/bin/kill -HUP $MAINPID
ExecStop=/bin/sh -c "echo stop $MAINPID >>/run/around"
""", enable=True)
    container.systemctl("start", unit)
    answer = ask(container, "/run/around.sock")
    container.systemctl("reload", unit)
    wait_for(lambda: ask(container, "/run/around.sock")["hangups"] == "1", what="the reload")
    assert on_huge_pages(container, unit) >= ENOUGH
    container.systemctl("stop", unit)
    pid = answer["pid"]
    assert container.path("/run/around").read_text(encoding="ascii").split() == ["pre", "post", pid, "stop", pid]


def test_timeout_of_stop(container, make_unit):
    unit = make_unit("deaf.service", f"[Service]\nTimeoutStopSec=1\nExecStart={PROGRAM} --socket=/run/deaf --deaf --child\n",
                     enable=True)
    container.systemctl("start", unit)
    ask(container, "/run/deaf")
    assert len(container.pids_of(unit)) == 2
    container.systemctl("stop", unit)
    assert container.show(unit, "Result")["Result"] == "timeout"
    assert container.pids_of(unit) == []


def processes_of(container):
    return int(container.run(["sh", "-c", "ls -d /proc/[0-9]* | wc -l"]).stdout)


def test_fifty_restarts_leave_nothing(container, make_unit):
    """No process, no descriptor of systemd's, no page of the pool."""
    unit = make_unit("again.service", f"[Service]\nType=notify\nExecStart={PROGRAM} --socket=/run/again --notify\n", enable=True)
    container.write("/etc/hugexec/policy.json", {"version": 1, "rules": [{"match": {}, "min_text": 0, "backing": ["hugetlb"]}]})
    free = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages"
    with take_hugetlb_pool(12):
        container.systemctl("start", unit)
        ask(container, "/run/again")
        assert on_huge_pages(container, unit) >= ENOUGH

        def count():
            return (len(container.pids_of(unit)), processes_of(container), len(os.listdir(f"/proc/{container.pid}/fd")),
                    container.path(free).read_text(encoding="ascii"), len(os.listdir(f"/proc/{container.main_pid(unit)}/fd")))

        before = count()
        container.run(["sh", "-c", f"for i in $(seq 50); do systemctl restart {unit} || exit 1; done"], seconds=120)
        ask(container, "/run/again")
        assert on_huge_pages(container, unit) >= ENOUGH
        wait_for(lambda: count() == before, what=f"{before}, as before; it is {count()}")
        container.systemctl("stop", unit)
        assert int(container.path(free).read_text(encoding="ascii")) == 12


def test_a_client_waits_for_no_restart(container, make_unit):
    """Clients of a socket unit notice nothing of the service's restart: all are answered."""
    make_unit("steady.socket", "[Socket]\nListenStream=/run/steady.sock\n")
    unit = make_unit("steady.service", f"[Service]\nExecStart={PROGRAM}\n", enable=True)
    container.systemctl("start", "steady.socket")
    pids = set()
    for _ in range(3):
        pids.add(ask(container, "/run/steady.sock")["pid"])
        with socket.socket(socket.AF_UNIX) as early:
            early.connect(str(container.path("/run/steady.sock")))
            container.systemctl("restart", unit)
        pids.add(ask(container, "/run/steady.sock")["pid"])
    assert len(pids) >= 4
    container.systemctl("stop", "steady.socket", unit)
