# SPDX-License-Identifier: Apache-2.0
"""hugexecctl enable and disable: the same words reach the program, and the unit is as before afterwards."""
import functools
import re

import pytest
from service import ENOUGH, PROGRAM, ask, on_huge_pages, settings_of, untouched, words_of

from lib.process import wait_for

SYSTEM = "/etc/systemd/system"

def drop_in(unit, folder=SYSTEM):
    return f"{folder}/{unit}.d/50-hugexec.conf"


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
    assert text.count("/usr/bin/hugexec") == 7 and text.count("=\"--argv0=") + text.count(" \"--argv0=") == 1
    assert "ExecStart=-:+/usr/bin/hugexec" in text or "ExecStart=-" in text
    launches = wait_for(lambda: len(container.journal("SYSLOG_IDENTIFIER=hugexec", f"HUGEXEC_UNIT={name}")) >= 7)
    assert launches
    done = container.run(["hugexecctl", "disable", name])
    assert f"Removed {drop_in(name)}" in done.stdout
    assert settings_of(container, name) == plain
    assert not container.path(f"{SYSTEM}/{name}.d").exists()


def service_unit(socket, more="", arguments=""):
    return f"[Service]\nExecStart={PROGRAM} --socket={socket} {arguments}\n{more}\n"


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
    assert f"ExecStart=/usr/bin/hugexec -- {PROGRAM} --socket=/run/dry\n" in done.stdout
    assert not container.path(f"{SYSTEM}/{name}.d").exists()
    container.run(["hugexecctl", "enable", name])
    again = container.run(["hugexecctl", "enable", "--dry-run", name])
    assert again.stdout == done.stdout and "this drop-in is there already" in again.stderr
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
    assert container.path(drop_in(name, "/run/systemd/system")).exists() and not container.path(drop_in(name)).exists()
    container.run(["hugexecctl", "disable", name])
    assert not container.path(drop_in(name, "/run/systemd/system")).exists()


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
    assert "/usr/bin/hugexec" in container.show(one, "ExecStart")["ExecStart"]
    assert "/usr/bin/hugexec" not in container.show(other, "ExecStart")["ExecStart"]
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
        assert container.path(drop_in(name)).exists() and not container.path(f"{SYSTEM}/alias.service.d").exists()
        container.run(["hugexecctl", "disable", "alias"])
        assert not container.path(drop_in(name)).exists()
    finally:
        container.path(f"{SYSTEM}/alias.service").unlink()


def test_enable_again_follows_the_unit(container, make_unit):
    name = make_unit("upgraded.service", service_unit("/run/old"))
    container.run(["hugexecctl", "enable", name])
    container.write(f"{SYSTEM}/{name}", service_unit("/run/new"))
    container.run(["hugexecctl", "enable", name])
    assert "--socket=/run/new" in container.show(name, "ExecStart")["ExecStart"]
    # Where it cannot be done the drop-in of before is there again.
    before = container.path(drop_in(name)).read_text(encoding="utf-8")
    container.write(f"{SYSTEM}/{name}", f"[Service]\nExecStart={PROGRAM} %v\n")
    assert container.run(["hugexecctl", "enable", name], check=False).returncode == 1
    assert container.path(drop_in(name)).read_text(encoding="utf-8") == before


@pytest.mark.parametrize("change", ["appended", "foreign", "link"])
def test_a_file_of_somebody_else_is_left_alone(container, make_unit, change):
    name = make_unit("edited.service", service_unit("/run/edited"))
    path = container.path(drop_in(name))
    if change == "appended":
        container.run(["hugexecctl", "enable", name])
        path.write_text(path.read_text(encoding="utf-8") + "Nice=5\n", encoding="utf-8")
    elif change == "foreign":
        container.write(drop_in(name), "[Service]\nNice=5\n")
    else:
        path.parent.mkdir()
        path.symlink_to("/dev/null")

    def seen():
        found = path.lstat()
        return found.st_ino, found.st_mtime_ns, found.st_mode, path.read_bytes()

    before = seen()
    for verb in ("enable", "disable"):
        done = container.run(["hugexecctl", verb, name], check=False)
        assert done.returncode == 1 and "not written by hugexecctl" in done.stderr, done
    assert seen() == before


@pytest.mark.parametrize("text, reason", [
    (f"[Service]\nExecStart=/usr/bin/hugexec {PROGRAM}\n", "before the command already"),
    (f"[Service]\nExecStart={PROGRAM} \\\n  %v\n", "%v"),
    (f"[Service]\nEnvironment=NAME=x\nExecStart=@{PROGRAM} $NAME\n", "variable"),
    (f"[Service]\nRootDirectory=/srv/nowhere\nExecStart={PROGRAM}\n", "RootDirectory"),
    ("[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStop=/bin/true\n", "no ExecStart"),
    ("[Service]\nNonsense\n", "bad-setting"),
])
def test_what_cannot_be_enabled(container, make_unit, text, reason):
    name = make_unit("unfit.service", text)
    done = container.run(["hugexecctl", "enable", name], check=False)
    assert done.returncode == 1 and reason in done.stderr, done
    assert not container.path(f"{SYSTEM}/{name}.d").exists()


def test_another_drop_in_may_have_the_last_word(container, make_unit):
    """A later drop-in sets ExecStart= again: said, and undone."""
    name = make_unit("overridden.service", service_unit("/run/overridden"))
    container.write(f"{SYSTEM}/{name}.d/90-mine.conf", f"[Service]\nExecStart=\nExecStart={PROGRAM} --deaf\n")
    container.systemctl("daemon-reload")
    done = container.run(["hugexecctl", "enable", name], check=False)
    assert done.returncode == 1 and "last word" in done.stderr, done
    assert not container.path(drop_in(name)).exists()
    assert "--deaf" in container.show(name, "ExecStart")["ExecStart"]


@pytest.mark.parametrize("words, status", [
    (["enable"], 2), (["enable", "a", "b"], 2), (["enable", "../x"], 2), (["enable", "no-such-unit"], 1),
    (["enable", "--nonsense", "x"], 2), (["disable", "--dry-run", "x"], 2), (["enable", "basic.target"], 2),
    (["disable", "no-such-unit"], 0), (["enable", "--help"], 0), (["disable", "--help"], 0)])
def test_usage(container, words, status):
    assert container.run(["hugexecctl", *words], check=False).returncode == status


def test_no_systemd_is_said(container):
    done = container.run(["env", "DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nowhere", "hugexecctl", "enable", "x"], check=False)
    assert done.returncode == 1 and "D-Bus" in done.stderr
