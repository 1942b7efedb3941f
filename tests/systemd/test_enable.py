# SPDX-License-Identifier: Apache-2.0
"""hugexecctl enable and disable: the same words reach the program, and the unit is as before afterwards."""
import functools
import json
import re

import pytest
from service import ENOUGH, PROGRAM, SYSTEM, ask, named, on_huge_pages, service_unit, settings_of, untouched, words_of

from lib.process import wait_for


def drop_in(unit):
    """What the generator makes."""
    return f"/run/systemd/generator/{unit}.d/zz-hugexec.conf"


def run_and_say(container, unit):
    """Start a unit that runs `service --say`: the words of all its commands, in order."""
    def messages():
        return [entry["MESSAGE"] for entry in container.journal(f"_SYSTEMD_UNIT={unit}", "_TRANSPORT=stdout")]

    before = len(messages())
    container.systemctl("start", unit)
    return re.findall(r"\[((?:.|\n)*?)\](?:\n|$)", "\n".join(messages()[before:]))


AWKWARD = r"""
Environment=FOO=bar "TWO=one two" EMPTY=
ExecStart=@{program} "{program} --say" --say $FOO ${{FOO}}x $TWO "${{TWO}}" $EMPTY ${{EMPTY}} $$FOO $$$$ x$FOO
ExecStart=-{program} --say a%%b 100%% %n %p "two words" 'single "quote"' "" \x41 tab\there "back\\slash" "it's"
ExecStart=:{program} --say $FOO ${{FOO}} $$
ExecStart=+{program} --say ";" \; "new\nline" é "-" -- --help --argv0=x
ExecStart=!{program} --say {{}} "#" "= ="  ;  !!{program} --say second\x20command
ExecStart=-:+{program} --say * ? ~ | > <
"""


def test_the_same_words_reach_the_program(container, make_unit):
    """Every prefix, quote, escape, specifier and variable, in several lines of a oneshot."""
    name = make_unit("awkward.service", "[Service]\nType=oneshot\n" + AWKWARD.format(program=PROGRAM))
    expected = run_and_say(container, name)
    plain = settings_of(container, name)
    assert len(expected) > 50 and "one two" in expected and "new\nline" in expected, expected
    done = container.run(["hugexecctl", "enable", name])
    assert "systemctl restart" in done.stdout
    assert run_and_say(container, name) == expected
    text = container.path(drop_in(name)).read_text(encoding="utf-8")
    assert text.count("/hugexec-launch ") == 7 and text.count(' --argv0="') == 1
    assert "ExecStart=-:+/usr/libexec/hugexec/hugexec-launch -- " in text
    launches = wait_for(lambda: len(container.journal("SYSLOG_IDENTIFIER=hugexec", f"HUGEXEC_UNIT={name}")) >= 7)
    assert launches
    done = container.run(["hugexecctl", "disable", name])
    assert f"Removed {named(name)}" in done.stdout
    assert settings_of(container, name) == plain
    assert not container.path(named(name)).exists() and not container.path(drop_in(name)).exists()


def test_now_restarts(container, make_unit):
    name = make_unit("now.service", service_unit("/run/now"))
    container.systemctl("start", name)
    before, plain = ask(container, "/run/now"), settings_of(container, name)
    words = words_of(container.main_pid(name))
    container.run(["hugexecctl", "enable", "--now", "now"])
    after = ask(container, "/run/now")
    assert after["right"] == "1" and after["pid"] != before["pid"]
    assert on_huge_pages(container, name) >= ENOUGH
    assert words_of(container.main_pid(name)) == words
    untouched(container.main_pid(name))
    assert container.run(["hugexecctl", "status", "--unit", "now"]).stdout.count("service-8") >= 1
    container.run(["hugexecctl", "disable", "--now", name])
    assert ask(container, "/run/now")["right"] == "1"
    assert len(container.journal("SYSLOG_IDENTIFIER=hugexec", f"HUGEXEC_UNIT={name}")) == 1  # by the second of three starts
    assert settings_of(container, name) == plain


def test_status_says_why_there_is_nothing(container, make_unit):
    """What it comes to first; and where nothing is huge, what the journal has of the unit's last launch."""
    name = make_unit("little.service", "[Service]\nExecStart=/bin/sleep 1d\n")
    container.systemctl("start", name)
    said = container.run(["hugexecctl", "status", "--unit", "little"]).stdout
    assert said.startswith(f"{name}: 0 B of ") and "is it started through hugexec?" in said
    container.run(["hugexecctl", "enable", "--now", name])
    said = wait_for(lambda: (text := container.run(["hugexecctl", "status", "--unit", name]).stdout) and "Last report: 20" in text and text, what="a report")
    assert "sleep: left alone: no-huge-slot: " in said, said
    container.run(["hugexecctl", "disable", "--now", name])


def test_dry_run_changes_nothing(container, make_unit):
    name = make_unit("dry.service", service_unit("/run/dry"))
    done = container.run(["hugexecctl", "enable", "--dry-run", name])
    assert f"ExecStart=/usr/libexec/hugexec/hugexec-launch -- {PROGRAM} --socket=/run/dry\n" in done.stdout
    assert not container.path(drop_in(name)).exists() and not container.path(named(name)).exists()
    container.run(["hugexecctl", "enable", name])
    again = container.run(["hugexecctl", "enable", "--dry-run", name])
    assert again.stdout == done.stdout
    assert container.path(drop_in(name)).read_text(encoding="utf-8") == done.stdout


def test_output_keeps_its_name(container, make_unit):
    """What the program prints is in the journal under its own name, or the one that the unit gives."""
    for runs, more, expected in ((1, "", "service-8"), (2, "SyslogIdentifier=mine", "mine")):
        name = make_unit("named.service", f"[Service]\nType=oneshot\nExecStart={PROGRAM} --say x\n{more}\n", enable=True)
        container.systemctl("start", name)
        of_unit = functools.partial(container.journal, f"_SYSTEMD_UNIT={name}", "_TRANSPORT=stdout")
        wait_for(lambda runs=runs: len({entry["_PID"] for entry in of_unit()}) == runs, what="what it says in the journal")
        assert of_unit()[-1]["SYSLOG_IDENTIFIER"] == expected


def test_runtime(container, make_unit):
    name = make_unit("runtime.service", service_unit("/run/runtime"))
    container.run(["hugexecctl", "enable", "--runtime", name])
    assert container.path(named(name, "/run")).exists() and not container.path(named(name)).exists()
    assert container.path(drop_in(name)).exists()
    container.run(["hugexecctl", "disable", name])
    assert not container.path(named(name, "/run")).exists() and not container.path(drop_in(name)).exists()


def test_templates_and_instances(container, make_unit):
    """A drop-in of a template says %i and %I; one of an instance is about that one."""
    make_unit("many@.service", f"[Service]\nType=oneshot\nExecStart={PROGRAM} --say %i %I %n %p /%I 100%%\n")
    one, other = r"many@a\x2db.service", "many@x.service"
    expected = run_and_say(container, one)
    assert r"a\x2db" in expected and "a-b" in expected and "/a-b" in expected
    assert "systemctl restart 'many@*.service'" in container.run(["hugexecctl", "enable", "many@.service"]).stdout
    assert "%i" in container.path(drop_in("many@.service")).read_text(encoding="utf-8")
    assert run_and_say(container, one) == expected
    words = run_and_say(container, other)
    assert "x" in words and "/x" in words
    assert container.journal("SYSLOG_IDENTIFIER=hugexec", f"HUGEXEC_UNIT={other}")
    container.run(["hugexecctl", "disable", "many@"])
    container.run(["hugexecctl", "enable", one])
    assert "hugexec-launch" in container.show(one, "ExecStart")["ExecStart"]
    assert "hugexec-launch" not in container.show(other, "ExecStart")["ExecStart"]
    assert run_and_say(container, one) == expected
    container.run(["hugexecctl", "disable", one])


def test_now_restarts_all_instances_that_run(container, make_unit):
    make_unit("each@.service", service_unit("/run/each-%i"))
    container.systemctl("start", "each@1.service", "each@2.service")
    ask(container, "/run/each-1"), ask(container, "/run/each-2")
    container.run(["hugexecctl", "enable", "--now", "each@.service"])
    for instance in "12":
        ask(container, f"/run/each-{instance}")
        assert on_huge_pages(container, f"each@{instance}.service") >= ENOUGH
    assert container.show("each@3.service", "ActiveState")["ActiveState"] == "inactive"


def test_an_alias_means_its_unit(container, make_unit):
    name = make_unit("real.service", service_unit("/run/real"))
    container.path(f"{SYSTEM}/alias.service").symlink_to(f"{SYSTEM}/{name}")
    try:
        container.systemctl("daemon-reload")
        container.run(["hugexecctl", "enable", "alias"])
        assert container.path(drop_in(name)).exists() and not container.path(named("alias.service")).exists()
        container.run(["hugexecctl", "disable", "alias"])
        assert not container.path(drop_in(name)).exists()
    finally:
        container.path(f"{SYSTEM}/alias.service").unlink()


def test_a_reload_follows_the_unit(container, make_unit):
    """As after a package's upgrade; a unit that cannot be started through hugexec any more starts without, and the journal says why."""
    name = make_unit("upgraded.service", service_unit("/run/old"))
    container.run(["hugexecctl", "enable", name])
    container.write(f"{SYSTEM}/{name}", service_unit("/run/new"))
    container.systemctl("daemon-reload")
    shown = container.show(name, "ExecStart")["ExecStart"]
    assert "--socket=/run/new" in shown and "hugexec-launch" in shown
    container.write(f"{SYSTEM}/{name}", service_unit("/run/new", "AppArmorProfile=-some"))
    container.systemctl("daemon-reload")
    assert "hugexec" not in container.show(name, "ExecStart")["ExecStart"]
    assert wait_for(lambda: [entry for entry in container.journal("SYSLOG_IDENTIFIER=hugexec", f"HUGEXEC_UNIT={name}")
                             if "starts without hugexec" in entry["MESSAGE"] and "AppArmorProfile" in entry["MESSAGE"]])
    container.write(f"{SYSTEM}/{name}", service_unit("/run/new"))
    container.systemctl("daemon-reload")
    assert "hugexec-launch" in container.show(name, "ExecStart")["ExecStart"]
    container.run(["hugexecctl", "disable", name])


def test_a_value_that_changes_stays_a_specifier(container, make_unit):
    name = make_unit("fleeting.service", f"[Service]\nExecStart={PROGRAM} --socket=/run/fleeting --kernel=%v\n")
    container.run(["hugexecctl", "enable", name])
    assert "--kernel=%v" in container.path(drop_in(name)).read_text(encoding="utf-8")
    container.run(["hugexecctl", "disable", name])


def old_drop_in(container, name, body):
    """As version 0.1 wrote it."""
    checksum = 0xcbf29ce484222325
    for byte in body.encode():
        checksum = (checksum ^ byte) * 0x100000001b3 % 2**64
    text = (f"# Written by hugexecctl enable ({checksum:016x}); removed by hugexecctl disable.\n"
            f"# A file that was changed by hand is left alone by both.\n{body}")
    return container.write(f"{SYSTEM}/{name}.d/50-hugexec.conf", text)


def test_old_drop_ins_are_migrated(container, make_unit):
    name = make_unit("old.service", service_unit("/run/old-one"))
    path = old_drop_in(container, name, f"[Service]\nExecStart=\nExecStart=/usr/bin/hugexec -- {PROGRAM} --deaf\n")
    container.systemctl("daemon-reload")
    container.run(["hugexecctl", "enable", "--migrate"])
    assert not path.exists() and container.path(named(name)).exists()
    shown = container.show(name, "ExecStart")["ExecStart"]
    assert "hugexec-launch" in shown and "--socket=/run/old-one" in shown
    container.run(["hugexecctl", "disable", "--all"])
    assert "hugexec" not in container.show(name, "ExecStart")["ExecStart"]


@pytest.mark.parametrize("change", ["appended", "foreign", "link"])
def test_a_file_of_somebody_else_is_left_alone(container, make_unit, change):
    """What has the name of a drop-in that version 0.1 wrote, and is not as it wrote it."""
    name = make_unit("edited.service", service_unit("/run/edited"))
    path = container.path(f"{SYSTEM}/{name}.d/50-hugexec.conf")
    if change == "appended":
        old_drop_in(container, name, f"[Service]\nExecStart=\nExecStart={PROGRAM}\n")
        path.write_text(path.read_text(encoding="utf-8") + "Nice=5\n", encoding="utf-8")
    elif change == "foreign":
        container.write(f"{SYSTEM}/{name}.d/50-hugexec.conf", "[Service]\nNice=5\n")
    else:
        path.parent.mkdir()
        path.symlink_to("/dev/null")

    def seen():
        found = path.lstat()
        return found.st_ino, found.st_mtime_ns, found.st_mode, path.read_bytes()

    before = seen()
    done = container.run(["hugexecctl", "disable", name], check=False)
    assert done.returncode == 1 and "not written by hugexecctl" in done.stderr, done
    assert seen() == before


@pytest.mark.parametrize("text, reason", [
    (f"[Service]\nExecStart=/usr/bin/hugexec {PROGRAM}\n", "before the command already"),
    (f"[Service]\nRootImage=/srv/nothing\nExecStart={PROGRAM}\n", "RootImage"),
    (f"[Service]\nInaccessiblePaths=-/usr/libexec\nExecStart={PROGRAM}\n", "InaccessiblePaths"),
    (f"[Service]\nSystemCallFilter=read write execve\nExecStart={PROGRAM}\n", "SystemCallFilter"),
    (f"[Service]\nEnvironment=NAME=x\nExecStart=@{PROGRAM} $NAME\n", "variable"),
    (f"[Service]\nRootDirectory=/srv/nowhere\nExecStart={PROGRAM}\n", "RootDirectory"),
    ("[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStop=/bin/true\n", "no ExecStart"),
    ("[Service]\nNonsense\n", "bad-setting"),
])
def test_what_cannot_be_enabled(container, make_unit, text, reason):
    name = make_unit("unfit.service", text)
    done = container.run(["hugexecctl", "enable", name], check=False)
    assert done.returncode == 1 and reason in done.stderr, done
    assert not container.path(named(name)).exists() and not container.path(drop_in(name)).exists()


@pytest.mark.parametrize("unit", ["systemd-journald", "dbus", "hugexecd"])
def test_services_of_the_system_are_refused(container, unit):
    done = container.run(["hugexecctl", "enable", unit], check=False)
    assert done.returncode == 1 and "service of the system" in done.stderr, done


def test_no_exec_paths(container, make_unit):
    """As Debian's redis-server: nothing may be executed but what is named, which hugexec's own files are then."""
    name = make_unit("narrow.service", service_unit("/run/narrow", f"NoExecPaths=/\nExecPaths={PROGRAM} /usr/lib /lib"))
    done = container.run(["hugexecctl", "enable", "--now", name])
    assert f"{name} is active: 6.0 MiB of " in done.stdout, done.stdout
    assert ask(container, "/run/narrow")["right"] == "1" and on_huge_pages(container, name) >= ENOUGH
    container.run(["hugexecctl", "disable", "--now", name])


@pytest.mark.parametrize("ran", [True, False], ids=["ran", "stopped"])
@pytest.mark.parametrize("kind", ["simple", "exec", "notify"])
def test_what_does_not_stay_active_is_taken_back(container, make_unit, ran, kind):
    """A program that cannot live with hugexec, for whatever reason: here it looks at who has executed it."""
    container.write("/usr/local/bin/picky", f"""#!/bin/sh
if grep -q hugexec-launch /run/systemd/generator/picky.service.d/zz-hugexec.conf; then sleep 1; exit 7; fi
exec {PROGRAM} --socket=/run/picky {"--notify" if kind == "notify" else ""}
""", 0o755)
    name = make_unit("picky.service", f"[Service]\nType={kind}\nExecStart=/usr/local/bin/picky\nRestart=on-failure\n")
    if ran:
        container.systemctl("start", name)
        ask(container, "/run/picky")
    plain = settings_of(container, name)
    done = container.run(["hugexecctl", "enable", "--now", name], check=False)
    assert done.returncode == 1 and "all was taken back, and it runs as before" in done.stderr, done
    assert not container.path(named(name)).exists() and not container.path(drop_in(name)).exists()
    assert container.show(name, "ActiveState")["ActiveState"] == ("active" if ran else "inactive")
    if ran:
        assert ask(container, "/run/picky")["right"] == "1"
    assert settings_of(container, name) == plain


def stuck_unit(container, make_unit):
    """A service that never gets ready through hugexec, so that hugexecctl enable --now waits for it until it is ended."""
    container.write("/usr/local/bin/stuck", f"""#!/bin/sh
if grep -q hugexec-launch /run/systemd/generator/stuck.service.d/zz-hugexec.conf; then : >/run/stuck.tried; sleep 1000; fi
exec {PROGRAM} --socket=/run/stuck --notify
""", 0o755)
    container.path("/run/stuck.tried").unlink(missing_ok=True)
    name = make_unit("stuck.service", "[Service]\nType=notify\nTimeoutStartSec=infinity\nExecStart=/usr/local/bin/stuck\n")
    container.systemctl("start", name)
    ask(container, "/run/stuck")
    return name


def end_enable(container, name, signal):
    """enable --now, and SIGNAL while it waits; its status and what it says. In a file: systemctl, which it waits for, may outlive it."""
    done = container.run(["sh", "-c", f"hugexecctl enable --now {name} >/run/stuck.said 2>&1 & until [ -e /run/stuck.tried ]; do sleep 0.1; done;"
                                      f"kill -{signal} $!; wait $!"], check=False)
    return done.returncode, container.path("/run/stuck.said").read_text(encoding="utf-8")


def test_interrupted_it_takes_everything_back(container, make_unit):
    name = stuck_unit(container, make_unit)
    plain = settings_of(container, name)
    status, said = end_enable(container, name, "TERM")
    assert status == 1 and "interrupted" in said and "it runs as before" in said, said
    assert ask(container, "/run/stuck")["right"] == "1" and settings_of(container, name) == plain
    assert not container.path(named(name)).exists() and not container.path(drop_in(name)).exists()


def test_killed_it_leaves_nothing_that_lasts(container, make_unit):
    """SIGKILL: nobody can take it back at once. The next reload makes no drop-in, and journal and list say why."""
    name = stuck_unit(container, make_unit)
    plain = settings_of(container, name)
    assert end_enable(container, name, "KILL")[0] == 128 + 9
    listed = json.loads(container.run(["hugexecctl", "list", "--json"]).stdout)["units"]
    assert [(unit["unit"], unit["abandoned"]) for unit in listed] == [(name, True)]
    assert "enable was ended while" in " ".join(container.run(["hugexecctl", "list"]).stdout.split())
    container.systemctl("daemon-reload")
    assert not container.path(drop_in(name)).exists() and "hugexec" not in container.show(name, "ExecStart")["ExecStart"]
    assert wait_for(lambda: [entry for entry in container.journal("SYSLOG_IDENTIFIER=hugexec", f"HUGEXEC_UNIT={name}")
                             if "was ended while it tried" in entry["MESSAGE"]])
    container.systemctl("restart", name)
    assert ask(container, "/run/stuck")["right"] == "1" and settings_of(container, name) == plain
    # The next one tries it anew.
    container.write("/usr/local/bin/stuck", f"#!/bin/sh\nexec {PROGRAM} --socket=/run/stuck --notify\n", 0o755)
    container.run(["hugexecctl", "enable", "--now", name])
    listed = json.loads(container.run(["hugexecctl", "list", "--json"]).stdout)["units"]
    assert [(unit["unit"], unit["abandoned"]) for unit in listed] == [(name, False)]
    container.systemctl("daemon-reload")
    assert container.path(drop_in(name)).exists()
    container.run(["hugexecctl", "disable", "--now", name])


def test_what_systemd_does_not_take_is_taken_back(container, make_unit):
    """Another generator has the last word, whose drop-in ours does not see."""
    name = make_unit("theirs.service", service_unit("/run/theirs"))
    generator = container.write("/etc/systemd/system-generators/theirs", f"""#!/bin/sh
mkdir -p $1/{name}.d && printf '[Service]\\nExecStart=\\nExecStart=/bin/sleep 1d\\n' >$1/{name}.d/zzzz.conf
""", 0o755)
    try:
        container.systemctl("daemon-reload")
        plain = settings_of(container, name)
        done = container.run(["hugexecctl", "enable", name], check=False)
        assert done.returncode == 1 and "not-taken" in done.stderr and "all was taken back" in done.stderr, done
        assert not container.path(named(name)).exists() and not container.path(drop_in(name)).exists()
        assert settings_of(container, name) == plain
    finally:
        generator.unlink()


def test_now_starts_what_is_stopped(container, make_unit):
    name = make_unit("stopped.service", service_unit("/run/stopped"))
    container.run(["hugexecctl", "enable", "--now", name])
    assert ask(container, "/run/stopped")["right"] == "1" and on_huge_pages(container, name) >= ENOUGH
    container.run(["hugexecctl", "disable", "--now", name])


def test_several_and_list(container, make_unit):
    names = [make_unit(f"several-{letter}.service", service_unit(f"/run/several-{letter}")) for letter in "ab"]
    done = container.run(["hugexecctl", "enable", "--now", names[0], "no-such-unit", names[1]], check=False)
    assert done.returncode == 1 and "no-such-unit" in done.stderr
    listed = json.loads(container.run(["hugexecctl", "list", "--json"]).stdout)["units"]
    assert [unit["unit"] for unit in listed] == names
    assert all(unit["active"] == "active" and unit["huge_bytes"] >= ENOUGH for unit in listed), listed
    said = container.run(["hugexecctl", "list"]).stdout
    assert all(name in said for name in names) and "on huge pages" in said
    container.run(["hugexecctl", "disable", "--now", "--all"])
    assert "No unit is enabled" in container.run(["hugexecctl", "list"]).stdout


@pytest.mark.parametrize("how", ["removed", "broken", "forbidden"])
def test_a_service_starts_without_hugexec(container, make_unit, how):
    """hugexec is gone, half written or not to be executed, and systemd has not been told."""
    name = make_unit("left.service", service_unit("/run/left"))
    container.run(["hugexecctl", "enable", "--now", name])
    words = words_of(container.main_pid(name))
    hugexec = container.path("/usr/bin/hugexec")
    kept = hugexec.read_bytes()
    try:
        if how == "removed":
            hugexec.unlink()
        elif how == "broken":
            hugexec.unlink()
            hugexec.write_bytes(b"\0" * 100)
            hugexec.chmod(0o755)
        else:
            hugexec.chmod(0o644)
        container.systemctl("restart", name)
        assert ask(container, "/run/left")["right"] == "1"
        assert words_of(container.main_pid(name)) == words and on_huge_pages(container, name) == 0
        # From the next reload on nothing of hugexec is left, but where it only looks right.
        container.systemctl("daemon-reload")
        if how != "broken":
            assert "hugexec" not in container.show(name, "ExecStart")["ExecStart"]
    finally:
        hugexec.unlink(missing_ok=True)
        hugexec.write_bytes(kept)
        hugexec.chmod(0o755)
    container.systemctl("daemon-reload")
    container.run(["hugexecctl", "disable", "--now", name])


def test_a_switch_for_all(container, make_unit):
    """/run/hugexec/disabled: what a package's removal uses as well."""
    name = make_unit("switched.service", service_unit("/run/switched"))
    container.run(["hugexecctl", "enable", name])
    switch = container.write("/run/hugexec/disabled", "")
    try:
        container.systemctl("daemon-reload")
        assert "hugexec" not in container.show(name, "ExecStart")["ExecStart"]
        assert "switches hugexec off" in container.run(["hugexecctl", "enable", name], check=False).stderr
    finally:
        switch.unlink()
    container.systemctl("daemon-reload")
    assert "hugexec-launch" in container.show(name, "ExecStart")["ExecStart"]
    container.run(["hugexecctl", "disable", name])


def test_drop_ins_of_the_administrator_are_followed(container, make_unit):
    """systemctl edit: its ExecStart= is the one that is started through hugexec. What would be read later is refused."""
    name = make_unit("overridden.service", service_unit("/run/overridden"))
    container.write(f"{SYSTEM}/{name}.d/override.conf", f"[Service]\nExecStart=\nExecStart={PROGRAM} --deaf\n")
    container.run(["hugexecctl", "enable", name])
    shown = container.show(name, "ExecStart")["ExecStart"]
    assert "hugexec-launch" in shown and "--deaf" in shown
    container.write(f"{SYSTEM}/{name}.d/zzz.conf", f"[Service]\nExecStart=\nExecStart={PROGRAM} --last\n")
    container.systemctl("daemon-reload")
    shown = container.show(name, "ExecStart")["ExecStart"]
    assert "hugexec" not in shown and "--last" in shown
    assert "rename it" in container.run(["hugexecctl", "enable", name], check=False).stderr
    container.run(["hugexecctl", "disable", name])


@pytest.mark.parametrize("words, status", [
    (["enable"], 2), (["enable", "a", "../b"], 2), (["disable"], 2), (["disable", "--all", "a"], 2), (["list", "a"], 2), (["list", "--help"], 0),
    (["enable", "../x"], 2), (["enable", "no-such-unit"], 1), (["enable", "--nonsense", "x"], 2), (["disable", "--dry-run", "x"], 2), (["enable", "basic.target"], 2),
    (["disable", "no-such-unit"], 0), (["enable", "--help"], 0), (["disable", "--help"], 0)])
def test_usage(container, words, status):
    assert container.run(["hugexecctl", *words], check=False).returncode == status


def test_no_systemd_is_said(container):
    done = container.run(["env", "DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nowhere", "hugexecctl", "enable", "x"], check=False)
    assert done.returncode == 1 and "D-Bus" in done.stderr
