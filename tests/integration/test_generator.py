# SPDX-License-Identifier: Apache-2.0
"""hugexec-generator and hugexec-launch as installed, in a mount namespace that has them in /usr; no systemd is booted."""
import os
import pathlib
import shutil
import subprocess

import pytest

from lib.surroundings import BUILD

SURROUNDINGS = r"""
set -e
mount --make-rprivate /
folder=$1 installed=$2
shift 2
mount -t tmpfs -o mode=755 tests "$folder"
for place in usr etc; do
	mkdir -p "$folder/$place/upper" "$folder/$place/work"
	lower=/$place
	if [ -d "$installed/$place" ]; then lower=$installed/$place:/$place; fi
	mount -t overlay tests -o "lowerdir=$lower,upperdir=$folder/$place/upper,workdir=$folder/$place/work" "/$place"
done
if [ -d "$installed/lib" ]; then cp -a "$installed/lib/." /usr/lib/; fi
mount -t tmpfs -o mode=755 tests /run
: >"$folder/kmsg"
if [ -e /dev/kmsg ]; then mount --bind "$folder/kmsg" /dev/kmsg; fi
mkdir -p /run/systemd/generator /run/hugexec /etc/hugexec/units.d /etc/systemd/system
generate() { "$(command -v "/usr/lib/systemd/system-generators/hugexec-generator")" /run/systemd/generator /run /run; }
unit() { printf '[Service]\nExecStart=%s\n%b' "$2" "$3" >"/etc/systemd/system/$1"; : >"/etc/hugexec/units.d/$1"; }
made() { (cd /run/systemd/generator && find . -type f | sort); }
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    if os.geteuid() != 0:
        pytest.skip("mounting takes root")
    where = tmp_path_factory.mktemp("installed")
    subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", where], check=True,
                   stdout=subprocess.DEVNULL, timeout=120)
    if not list(pathlib.Path(where).rglob("system-generators/hugexec-generator")):
        pytest.skip("systemd's package names no folder of generators below /usr")
    if not (where / "usr" / "bin" / "hugexec").exists():
        pytest.skip("the build is for another prefix than /usr")
    return where


@pytest.fixture
def within(installed, tmp_path):
    """Run a shell script in the surroundings; what it says."""

    def run(script):
        done = subprocess.run(["unshare", "--mount", "sh", "-c", SURROUNDINGS + script, "sh", tmp_path, installed],
                              capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_systemd_takes_what_is_made(within):
    """A unit as Debian's redis-server, and an instance: systemd's own parser reads the drop-ins beside the units."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("there is no systemd-analyze")
    said = within(r"""
unit a.service '-/bin/sleep "1 d" %v $X ; ' 'NoExecPaths=/\nExecPaths=/bin/sleep /usr/lib /lib\n'
unit 't@.service' '@/bin/sleep name %i' ''
generate
made
cat /run/systemd/generator/*.d/*
SYSTEMD_UNIT_PATH=/run/systemd/generator: systemd-analyze verify --man=no --recursive-errors=no a.service t@x.service
""")
    assert said.startswith("./a.service.d/zz-hugexec.conf\n./t@.service.d/zz-hugexec.conf\n"), said
    assert '\nExecStart=-/usr/libexec/hugexec/hugexec-launch -- /bin/sleep "1 d" %v $X\nSyslogIdentifier=sleep\nExecPaths=-/usr/bin/hugexec ' in said
    assert "\nExecStart=/usr/libexec/hugexec/hugexec-launch --argv0=name -- /bin/sleep %i\n" in said


@pytest.mark.parametrize("what, why", [
    ("rm /usr/bin/hugexec", "No such file"), ("chmod o-x /usr/bin/hugexec", "chmod o+x"), ("rm /usr/libexec/hugexec/hugexec-launch", "No such file"),
    (": >/run/hugexec/disabled", None), ("rm /etc/hugexec/units.d/*", None), ("rm /etc/systemd/system/a.service", "no-unit"),
    ("ln -sf /dev/null /etc/systemd/system/a.service", "is a link"),
    ("printf '[Service]\\nInaccessiblePaths=/usr/bin\\n' >>/etc/systemd/system/a.service", "InaccessiblePaths= hides"),
])
def test_no_drop_in(within, what, why):
    """No binary, no drop-in; nor where a person says so, nor in doubt: then the kernel's log, where no journal is, has the reason."""
    said = within(f"unit a.service /bin/sleep ''; generate; made; rm -r /run/systemd/generator/*; {what}; generate 2>&1; cat \"$folder/kmsg\"; made")
    first, *rest = said.splitlines()
    assert first == "./a.service.d/zz-hugexec.conf" and not [line for line in rest if line.startswith("./")], said
    assert why in "\n".join(rest) if why else rest == [], said


def test_drop_ins_follow_the_unit(within):
    """As after a package's upgrade."""
    said = within("unit a.service '/bin/sleep 1' ''; generate; unit a.service '/bin/sleep 2' ''; generate; cat /run/systemd/generator/*.d/*")
    assert "-- /bin/sleep 2\n" in said and "sleep 1" not in said


@pytest.mark.parametrize("how", [":", "rm /usr/bin/hugexec", "rm /usr/bin/hugexec; : >/usr/bin/hugexec; chmod +x /usr/bin/hugexec",
                                 "chmod -x /usr/bin/hugexec", "printf '\\0\\0\\0\\0' >/usr/bin/hugexec"])
def test_launch(within, how):
    """The program runs under its name and with its words, whatever has become of hugexec."""
    said = within(how + r"""
launch=/usr/libexec/hugexec/hugexec-launch
$launch --argv0=name -- /bin/sh -c 'tr "\0" "|" </proc/$$/cmdline; :' "two words" -- --argv0=x
$launch -- /bin/sh -c 'tr "\0" "|" </proc/$$/cmdline; exit 3' || echo $?
$launch -- /nowhere/at/all 2>/dev/null || echo $?
""")
    assert said.startswith('name|-c|tr "\\0" "|" </proc/$$/cmdline; :|two words|--|--argv0=x|/bin/sh|-c|'), said
    assert said.endswith("|3\n127\n"), said


def test_it_writes_nowhere_unasked(within):
    """Without a directory it takes none that others may write to, in which a link may lead elsewhere."""
    said = within(r"""
unit a.service /bin/sleep ''
mount -t tmpfs -o mode=1777 tests /tmp
mkdir /run/elsewhere
ln -s /run/elsewhere /tmp/a.service.d
chown -h 65534 /tmp/a.service.d
if "$(command -v "/usr/lib/systemd/system-generators/hugexec-generator")" 2>&1; then echo done; fi
ls -A /run/elsewhere
""")
    assert said == "hugexec-generator: systemd runs it, with the directory to write to\n"
