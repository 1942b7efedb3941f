"""hugexecctl enable and disable: the same words reach the program, and the unit is as before afterwards."""
import re

import pytest
from service import ENOUGH, PROGRAM, ask, on_huge_pages, settings_of, untouched, words_of

from lib.process import wait_for

SYSTEM = "/etc/systemd/system"

def drop_in(unit, folder=SYSTEM):
    return f"{folder}/{unit}.d/50-hugexec.conf"


def run_and_say(bed, unit):
    """Start a unit that runs `service --say`: the words of all its commands, in order."""
    def messages():
        return [entry["MESSAGE"] for entry in bed.journal(f"_SYSTEMD_UNIT={unit}", "_TRANSPORT=stdout")]

    before = len(messages())
    bed.systemctl("start", unit)
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


def test_the_same_words_reach_the_program(bed, make_unit):
    """Every prefix, quote, escape, specifier and variable, in several lines of a oneshot."""
    name = make_unit("awkward.service", "[Service]\nType=oneshot\n" + AWKWARD.format(program=PROGRAM))
    expected = run_and_say(bed, name)
    plain = settings_of(bed, name)
    assert len(expected) > 50 and "one two" in expected and "new\nline" in expected, expected
    done = bed.run(["hugexecctl", "enable", name])
    assert "systemctl restart" in done.stdout
    assert run_and_say(bed, name) == expected
    text = bed.path(drop_in(name)).read_text(encoding="utf-8")
    assert text.count("/usr/bin/hugexec") == 7 and text.count("=\"--argv0=") + text.count(" \"--argv0=") == 1
    assert "ExecStart=-:+/usr/bin/hugexec" in text or "ExecStart=-" in text
    launches = wait_for(lambda: len(bed.journal("SYSLOG_IDENTIFIER=hugexec", f"HUGEXEC_UNIT={name}")) >= 7)
    assert launches
    done = bed.run(["hugexecctl", "disable", name])
    assert f"Removed {drop_in(name)}" in done.stdout
    assert settings_of(bed, name) == plain
    assert not bed.path(f"{SYSTEM}/{name}.d").exists()


def service_unit(socket, more="", arguments=""):
    return f"[Service]\nExecStart={PROGRAM} --socket={socket} {arguments}\n{more}\n"


def test_now_restarts(bed, make_unit):
    name = make_unit("now.service", service_unit("/run/now"))
    bed.systemctl("start", name)
    before, plain = ask(bed, "/run/now"), settings_of(bed, name)
    words = words_of(bed.main_pid(name))
    bed.run(["hugexecctl", "enable", "--now", "now"])
    after = ask(bed, "/run/now")
    assert after["right"] == "1" and after["pid"] != before["pid"]
    assert on_huge_pages(bed, name) >= ENOUGH
    assert words_of(bed.main_pid(name)) == words
    untouched(bed.main_pid(name))
    assert bed.run(["hugexecctl", "status", "--unit", "now"]).stdout.count("service-8") >= 1
    bed.run(["hugexecctl", "disable", "--now", name])
    assert ask(bed, "/run/now")["right"] == "1"
    assert len(bed.journal("SYSLOG_IDENTIFIER=hugexec", f"HUGEXEC_UNIT={name}")) == 1  # by the second of three starts
    assert settings_of(bed, name) == plain


def test_dry_run_changes_nothing(bed, make_unit):
    name = make_unit("dry.service", service_unit("/run/dry"))
    done = bed.run(["hugexecctl", "enable", "--dry-run", name])
    assert f"ExecStart=/usr/bin/hugexec -- {PROGRAM} --socket=/run/dry\n" in done.stdout
    assert not bed.path(f"{SYSTEM}/{name}.d").exists()
    bed.run(["hugexecctl", "enable", name])
    assert bed.run(["hugexecctl", "enable", "--dry-run", name]).stdout == done.stdout
    assert bed.path(drop_in(name)).read_text(encoding="utf-8") == done.stdout


def test_output_keeps_its_name(bed, make_unit):
    """What the program prints is in the journal under its own name, or the one that the unit gives."""
    for more, expected in (("", "service-8"), ("SyslogIdentifier=mine", "mine")):
        name = make_unit("named.service", f"[Service]\nType=oneshot\nExecStart={PROGRAM} --say x\n{more}\n", enable=True)
        bed.systemctl("start", name)
        entries = wait_for(lambda: bed.journal(f"_SYSTEMD_UNIT={name}", "_TRANSPORT=stdout"))
        assert entries[-1]["SYSLOG_IDENTIFIER"] == expected


def test_runtime(bed, make_unit):
    name = make_unit("runtime.service", service_unit("/run/runtime"))
    bed.run(["hugexecctl", "enable", "--runtime", name])
    assert bed.path(drop_in(name, "/run/systemd/system")).exists() and not bed.path(drop_in(name)).exists()
    bed.run(["hugexecctl", "disable", name])
    assert not bed.path(drop_in(name, "/run/systemd/system")).exists()


def test_templates_and_instances(bed, make_unit):
    """A drop-in of a template says %i and %I; one of an instance is about that one."""
    make_unit("many@.service", f"[Service]\nType=oneshot\nExecStart={PROGRAM} --say %i %I %n %p /%I 100%%\n")
    one, other = r"many@a\x2db.service", "many@x.service"
    expected = run_and_say(bed, one)
    assert r"a\x2db" in expected and "a-b" in expected and "/a-b" in expected
    assert "systemctl restart 'many@*.service'" in bed.run(["hugexecctl", "enable", "many@.service"]).stdout
    assert "%i" in bed.path(drop_in("many@.service")).read_text(encoding="utf-8")
    assert run_and_say(bed, one) == expected
    words = run_and_say(bed, other)
    assert "x" in words and "/x" in words
    assert bed.journal("SYSLOG_IDENTIFIER=hugexec", f"HUGEXEC_UNIT={other}")
    bed.run(["hugexecctl", "disable", "many@"])
    bed.run(["hugexecctl", "enable", one])
    assert "/usr/bin/hugexec" in bed.show(one, "ExecStart")["ExecStart"]
    assert "/usr/bin/hugexec" not in bed.show(other, "ExecStart")["ExecStart"]
    assert run_and_say(bed, one) == expected
    bed.run(["hugexecctl", "disable", one])


def test_now_restarts_all_instances_that_run(bed, make_unit):
    make_unit("each@.service", service_unit("/run/each-%i"))
    bed.systemctl("start", "each@1.service", "each@2.service")
    ask(bed, "/run/each-1"), ask(bed, "/run/each-2")
    bed.run(["hugexecctl", "enable", "--now", "each@.service"])
    for instance in "12":
        ask(bed, f"/run/each-{instance}")
        assert on_huge_pages(bed, f"each@{instance}.service") >= ENOUGH
    assert bed.show("each@3.service", "ActiveState")["ActiveState"] == "inactive"


def test_an_alias_means_its_unit(bed, make_unit):
    name = make_unit("real.service", service_unit("/run/real"))
    bed.path(f"{SYSTEM}/alias.service").symlink_to(f"{SYSTEM}/{name}")
    try:
        bed.systemctl("daemon-reload")
        bed.run(["hugexecctl", "enable", "alias"])
        assert bed.path(drop_in(name)).exists() and not bed.path(f"{SYSTEM}/alias.service.d").exists()
        bed.run(["hugexecctl", "disable", "alias"])
        assert not bed.path(drop_in(name)).exists()
    finally:
        bed.path(f"{SYSTEM}/alias.service").unlink()


def test_enable_again_follows_the_unit(bed, make_unit):
    name = make_unit("upgraded.service", service_unit("/run/old"))
    bed.run(["hugexecctl", "enable", name])
    bed.write(f"{SYSTEM}/{name}", service_unit("/run/new"))
    bed.run(["hugexecctl", "enable", name])
    assert "--socket=/run/new" in bed.show(name, "ExecStart")["ExecStart"]
    # Where it cannot be done the drop-in of before is there again.
    before = bed.path(drop_in(name)).read_text(encoding="utf-8")
    bed.write(f"{SYSTEM}/{name}", f"[Service]\nExecStart={PROGRAM} %v\n")
    assert bed.run(["hugexecctl", "enable", name], check=False).returncode == 1
    assert bed.path(drop_in(name)).read_text(encoding="utf-8") == before


@pytest.mark.parametrize("change", ["appended", "foreign", "link"])
def test_a_file_of_somebody_else_is_left_alone(bed, make_unit, change):
    name = make_unit("edited.service", service_unit("/run/edited"))
    path = bed.path(drop_in(name))
    if change == "appended":
        bed.run(["hugexecctl", "enable", name])
        path.write_text(path.read_text(encoding="utf-8") + "Nice=5\n", encoding="utf-8")
    elif change == "foreign":
        bed.write(drop_in(name), "[Service]\nNice=5\n")
    else:
        path.parent.mkdir()
        path.symlink_to("/dev/null")

    def seen():
        found = path.lstat()
        return found.st_ino, found.st_mtime_ns, found.st_mode, path.read_bytes()

    before = seen()
    for verb in ("enable", "disable"):
        done = bed.run(["hugexecctl", verb, name], check=False)
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
def test_what_cannot_be_enabled(bed, make_unit, text, reason):
    name = make_unit("unfit.service", text)
    done = bed.run(["hugexecctl", "enable", name], check=False)
    assert done.returncode == 1 and reason in done.stderr, done
    assert not bed.path(f"{SYSTEM}/{name}.d").exists()


def test_another_drop_in_may_have_the_last_word(bed, make_unit):
    """A later drop-in sets ExecStart= again: said, and undone."""
    name = make_unit("overridden.service", service_unit("/run/overridden"))
    bed.write(f"{SYSTEM}/{name}.d/90-mine.conf", f"[Service]\nExecStart=\nExecStart={PROGRAM} --deaf\n")
    bed.systemctl("daemon-reload")
    done = bed.run(["hugexecctl", "enable", name], check=False)
    assert done.returncode == 1 and "last word" in done.stderr, done
    assert not bed.path(drop_in(name)).exists()
    assert "--deaf" in bed.show(name, "ExecStart")["ExecStart"]


@pytest.mark.parametrize("words, status", [
    (["enable"], 2), (["enable", "a", "b"], 2), (["enable", "../x"], 2), (["enable", "no-such-unit"], 1),
    (["enable", "--nonsense", "x"], 2), (["disable", "--dry-run", "x"], 2), (["enable", "basic.target"], 1),
    (["disable", "no-such-unit"], 0), (["enable", "--help"], 0), (["disable", "--help"], 0)])
def test_usage(bed, words, status):
    assert bed.run(["hugexecctl", *words], check=False).returncode == status


def test_no_systemd_is_said(bed):
    done = bed.run(["env", "DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nowhere", "hugexecctl", "enable", "x"], check=False)
    assert done.returncode == 1 and "D-Bus" in done.stderr
