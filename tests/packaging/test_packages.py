# SPDX-License-Identifier: Apache-2.0
"""The packages in Debian's roots: install, upgrade, remove, purge and boot without them, with services enabled meanwhile."""
import os
import re
import shutil

import pytest
from clients import SERVICES, answers, set_question
from root_machine import changed

from lib.process import run, wait_for
from lib.surroundings import ROOT

FIVE = ("redis", "nginx", "prometheus", "etcd", "memcached")
UNITS = [SERVICES[name].unit for name in FIVE]
# dpkg's own; the counts of hugexec's launches; the services' data.
NOT_COMPARED = ("/var/lib/dpkg", "/var/log", "/var/cache", "/var/backups", "/var/lib/prometheus", "/var/lib/etcd", "/var/lib/redis", "/var/lib/systemd",
                "/etc/systemd/system/tests.target.wants", "/var/lib/nginx", "/var/tmp", "/var/lib/private")


def all_answer(machine):
    for name in FIVE:
        set_question(machine, SERVICES[name])
        wait_for(lambda: answers(machine), 60, f"{name} to answer")


def start_five(machine):
    """They run, and are started at boot."""
    machine.systemctl("add-wants", "tests.target", *UNITS)
    machine.systemctl("daemon-reload")
    machine.systemctl("start", *UNITS)
    all_answer(machine)


def pids(machine):
    return {unit: machine.show(unit, "MainPID")["MainPID"] for unit in UNITS}


def through_hugexec(machine):
    return [unit for unit in UNITS if "hugexec-launch" in machine.exec_start(unit)]


def old_drop_in(machine, unit, body):
    """As version 0.1 wrote it."""
    checksum = 0xcbf29ce484222325
    for byte in body.encode():
        checksum = (checksum ^ byte) * 0x100000001b3 % 2**64
    return machine.write(f"/etc/systemd/system/{unit}.d/50-hugexec.conf",
                         f"# Written by hugexecctl enable ({checksum:016x}); removed by hugexecctl disable.\n"
                         f"# A file that was changed by hand is left alone by both.\n{body}")


def settings(machine):
    return {(unit, line.split("=")[0]): line for unit in UNITS for line in machine.settings_of(unit)}


def nothing_left(machine):
    """No process's command line, no unit, no file has hugexec in it."""
    assert machine.run(["sh", "-c", "grep -lz '[h]ugexec' /proc/[0-9]*/cmdline 2>/dev/null"], check=False).stdout == ""
    assert machine.run(["sh", "-c", "ls -d /usr/*/*hugexec* /usr/lib/systemd/*/*hugexec* /run/hugexec /run/systemd/generator*/*/*hugexec*"],
                       check=False).stdout == ""


def test_upgrade_remove_boot_purge(machine):
    """Five services are enabled, one of them as version 0.1 did; none is restarted by any of it, and all run whatever comes."""
    before_files = machine.files("/etc", "/usr", "/var", without=NOT_COMPARED)
    start_five(machine)
    plain = settings(machine)
    machine.hugexec("0.1.0-1")
    old = old_drop_in(machine, "prometheus.service", "[Service]\nExecStart=\nExecStart=/usr/bin/hugexec -- /usr/bin/prometheus $ARGS\n")
    machine.run(["hugexecctl", "enable", "--now", *[unit for unit in UNITS if unit != "prometheus.service"]])
    machine.systemctl("daemon-reload")
    machine.systemctl("restart", "prometheus.service")
    all_answer(machine)
    ran = pids(machine)

    machine.hugexec()
    assert pids(machine) == ran and through_hugexec(machine) == UNITS and not old.exists()
    assert "0.2.0" in machine.run(["hugexec", "--version"]).stdout
    machine.systemctl("restart", *UNITS)
    all_answer(machine)
    assert re.search(r"prometheus.service.*\n.* on huge pages", machine.run(["hugexecctl", "list"]).stdout)
    ran = pids(machine)

    done = machine.dpkg("-r", "hugexec")
    assert "by hand" not in done.stderr and pids(machine) == ran and through_hugexec(machine) == [] and changed(plain, settings(machine)) == {}
    machine.systemctl("restart", *UNITS)
    all_answer(machine)
    assert sorted(os.listdir(machine.path("/etc/hugexec/units.d"))) == sorted(UNITS)
    nothing_left(machine)

    machine.hugexec()  # again: the list of enabled units was kept
    assert through_hugexec(machine) == UNITS
    machine.systemctl("restart", *UNITS)
    all_answer(machine)
    machine.dpkg("-r", "hugexec")
    machine.reboot()
    all_answer(machine)
    assert through_hugexec(machine) == [] and changed(plain, settings(machine)) == {}

    machine.dpkg("-P", "hugexec")
    nothing_left(machine)
    shutil.rmtree(machine.path("/etc/systemd/system/prometheus.service.d"), ignore_errors=True)  # the test's own, empty
    assert changed(before_files, machine.files("/etc", "/usr", "/var", without=NOT_COMPARED)) == {}
    machine.reboot()
    all_answer(machine)
    assert changed(plain, settings(machine)) == {}
    nothing_left(machine)


def test_purge_at_once_and_what_was_enabled(machine):
    """apt purge, with services enabled that run, and units of hugexec's own."""
    machine.systemctl("start", "prometheus.service", "hugexecd.socket", check=False)
    machine.hugexec()
    machine.run(["hugexecctl", "enable", "--now", "prometheus"])
    machine.systemctl("enable", "--now", "hugexecd.socket")
    machine.systemctl("enable", "hugexec-warm.service", "hugexec-pool.service")
    machine.write("/etc/hugexec/policy.json", {"version": 1, "rules": []})
    pid = machine.show("prometheus.service", "MainPID")
    machine.dpkg("-P", "hugexec")
    assert machine.show("prometheus.service", "MainPID") == pid and "hugexec" not in machine.exec_start("prometheus.service")
    assert machine.run(["sh", "-c", "find /etc /run /var/lib/systemd -name '*hugexec*'"]).stdout == ""
    machine.systemctl("restart", "prometheus.service")
    nothing_left(machine)


@pytest.mark.parametrize("what", ["all", "generator", "programs"])
def test_boot_without_files(machine, what):
    """They are deleted while the host is off, by nothing that asks systemd."""
    start_five(machine)
    machine.hugexec()
    machine.run(["hugexecctl", "enable", "--now", *UNITS])
    listed = machine.dpkg("-L", "hugexec").stdout.splitlines()
    wanted = {"all": "", "generator": "system-generators/", "programs": "/bin/hugexec"}[what]

    def delete(written):
        for path in listed:
            if wanted in path and os.path.isfile(written + path):
                os.unlink(written + path)

    machine.reboot(delete)
    all_answer(machine)
    if what != "programs":
        assert through_hugexec(machine) == []


def broken(machine, how):
    """A later version of hugexec's package, whose installation fails: at its preinst, its postinst, or while it is unpacked."""
    package = next(machine.debs.glob("hugexec_*_amd64.deb"))
    shutil.copy(package, machine.path("/root/this.deb"))
    change = {"unpack": "mkdir -p tree/usr/bin; echo other >tree/usr/bin/prometheus",  # which is another package's
              "preinst": "printf '#!/bin/sh\\nexit 1\\n' >tree/DEBIAN/preinst; chmod 755 tree/DEBIAN/preinst",
              "postinst": "printf '#!/bin/sh\\nexit 1\\n' >tree/DEBIAN/postinst"}[how]
    machine.run(["sh", "-euc", f"cd /root; dpkg-deb -R this.deb tree; sed -i 's/^Version: .*/Version: 9.0/' tree/DEBIAN/control; {change};"
                 "dpkg-deb -Znone -b tree other.deb >&2; rm -r tree this.deb"])
    done = machine.dpkg("-i", "/root/other.deb", check=False)
    machine.path("/root/other.deb").unlink()
    return done


@pytest.mark.parametrize("how", ["unpack", "preinst", "postinst"])
def test_an_upgrade_fails(machine, how):
    """Services run on, start again through hugexec and without it, and the next upgrade puts all right."""
    start_five(machine)
    plain = settings(machine)
    machine.hugexec()
    machine.run(["hugexecctl", "enable", "--now", *UNITS])
    ran = pids(machine)
    done = broken(machine, how)
    assert done.returncode != 0, done
    assert pids(machine) == ran and not machine.path("/run/hugexec/disabled").exists()
    machine.systemctl("daemon-reload")
    assert through_hugexec(machine) == UNITS
    machine.systemctl("restart", *UNITS)
    all_answer(machine)
    assert re.search(r"prometheus.service.*\n.* on huge pages", machine.run(["hugexecctl", "list"]).stdout)
    machine.reboot()
    all_answer(machine)
    assert through_hugexec(machine) == UNITS
    ran = pids(machine)
    machine.hugexec()
    assert "ok installed" in machine.run(["dpkg-query", "-Wf", "${Status}", "hugexec"]).stdout and pids(machine) == ran
    machine.dpkg("-P", "hugexec")
    assert pids(machine) == ran and through_hugexec(machine) == [] and changed(plain, settings(machine)) == {}
    nothing_left(machine)


def test_removal_waits_for_systemd(machine):
    """systemd does not reload: the package stays, whole, and services go on starting through hugexec."""
    machine.hugexec()
    machine.run(["hugexecctl", "enable", "--now", "prometheus"])
    real = machine.path("/usr/bin/systemctl")
    real.rename(real.with_name("systemctl.real"))
    machine.write("/usr/bin/systemctl", '#!/bin/sh\ncase " $* " in *daemon-reload*) exit 1 ;; esac\nexec /usr/bin/systemctl.real "$@"\n', 0o755)
    done = machine.dpkg("-r", "hugexec", check=False)
    assert done.returncode != 0 and "did not reload" in done.stderr, done
    assert "ok installed" in machine.run(["dpkg-query", "-Wf", "${Status}", "hugexec"]).stdout
    assert not machine.path("/run/hugexec/disabled").exists()
    real.unlink()
    real.with_name("systemctl.real").rename(real)
    machine.systemctl("daemon-reload")
    machine.systemctl("restart", "prometheus.service")
    assert "hugexec-launch" in machine.exec_start("prometheus.service")
    machine.dpkg("-r", "hugexec")
    assert "hugexec" not in machine.exec_start("prometheus.service")


def test_what_was_written_by_hand_is_named(machine):
    machine.hugexec()
    machine.write("/etc/systemd/system/nginx.service.d/mine.conf", "[Service]\nExecStart=\nExecStart=-/usr/bin/hugexec -- /usr/sbin/nginx\n")
    assert "nginx.service.d/mine.conf" in machine.dpkg("-r", "hugexec").stderr


def test_a_package_changes_its_unit(machine):
    """What dh_installsystemd has packages do; the service is enabled, and upgraded to another command line."""
    script = "systemctl --system daemon-reload; systemctl restart steady.service"
    machine.hugexec()
    machine.make_package("steady", "1", {"usr/bin/steady": "#!/bin/sh\nexec sleep 86400\n",
                                         "usr/lib/systemd/system/steady.service": "[Service]\nExecStart=/usr/bin/steady --old\n"}, {"postinst": script})
    machine.run(["hugexecctl", "enable", "--now", "steady"])
    machine.make_package("steady", "2", {"usr/bin/steady": "#!/bin/sh\nexec sleep 86401\n",
                                         "usr/lib/systemd/system/steady.service": "[Service]\nNice=3\nExecStart=/usr/bin/steady --new 'a b'\n"}, {"postinst": script})
    shown = machine.show("steady.service", "ExecStart", "ActiveState", "Nice", "MainPID")
    assert "hugexec-launch -- /usr/bin/steady --new a b" in shown["ExecStart"] and shown["ActiveState"] == "active" and shown["Nice"] == "3"
    assert machine.path(f"/proc/{shown['MainPID']}/cmdline").read_bytes() == b"sleep\0" + b"86401\0"
    machine.dpkg("-P", "steady")
    machine.systemctl("daemon-reload")  # a unit that is gone is no trouble
    assert "steady" in machine.run(["hugexecctl", "list"]).stdout
    machine.run(["hugexecctl", "disable", "--all"])
    assert "No unit" in machine.run(["hugexecctl", "list"]).stdout


def warmed(machine):
    return len(machine.journal("UNIT=hugexec-warm.service", "JOB_TYPE=start"))


def test_a_program_is_upgraded(machine):
    """Only if hugexec-warm.service is wanted, the page cache gets the programs again."""
    machine.hugexec()
    machine.run(["hugexecctl", "enable", "prometheus"])
    machine.make_package("some", "1", {"usr/bin/some": "#!/bin/sh\n"}, {})
    machine.systemctl("start", "dbus.service")  # whatever was to be started is before this
    assert warmed(machine) == 0
    machine.systemctl("enable", "hugexec-warm.service")
    machine.make_package("some", "2", {"usr/bin/some": "#!/bin/sh\n: 2\n"}, {})
    wait_for(lambda: warmed(machine) > 0, what="hugexec-warm.service to be started")
    wait_for(lambda: machine.show("hugexec-warm.service", "ActiveState")["ActiveState"] == "inactive", what="its end")
    assert machine.show("hugexec-warm.service", "Result")["Result"] == "success"


def test_needrestart(machine):
    """Text in memory of its own is no outdated library; an upgraded program is seen as ever."""
    machine.hugexec()
    machine.write("/etc/hugexec/policy.json", {"version": 1, "rules": [{"match": {}, "backing": ["thp"], "coverage": "full"}]})
    machine.run(["hugexecctl", "enable", "--now", "prometheus"])
    maps = machine.path(f"/proc/{machine.show('prometheus.service', 'MainPID')['MainPID']}/maps").read_text()
    assert "memfd:" in maps, maps
    words = ["needrestart", "-b", "-l", "-r", "l"]
    assert "prometheus" not in machine.run(words, check=False).stdout
    machine.run(["sh", "-c", "cp /usr/bin/prometheus /usr/bin/prometheus.new && mv /usr/bin/prometheus.new /usr/bin/prometheus"])
    assert "NEEDRESTART-SVC: prometheus.service" in machine.run(words, check=False).stdout


def test_rpm(machine, rpms):
    """RPM's own steps, by Debian's rpm."""
    for package in rpms.glob("*.rpm"):
        shutil.copy(package, machine.path("/root"))
    start_five(machine)
    before_files = machine.files("/etc", "/usr", without=["/etc/systemd/system/tests.target.wants"])
    plain = settings(machine)
    machine.run(["sh", "-c", "rpm -i --nodeps /root/*.rpm"])
    machine.run(["hugexecctl", "enable", "--now", *UNITS])
    machine.run(["sh", "-c", "rpm -U --nodeps --replacepkgs /root/*.rpm"])
    ran = pids(machine)
    assert through_hugexec(machine) == UNITS
    machine.run(["rpm", "-e", "--nodeps", "hugexec", "hugexec-oci"])
    assert through_hugexec(machine) == [] and pids(machine) == ran and changed(plain, settings(machine)) == {}
    machine.systemctl("restart", *UNITS)
    all_answer(machine)
    nothing_left(machine)
    left = changed(before_files, machine.files("/etc", "/usr", without=["/etc/systemd/system/tests.target.wants"]))
    # Folders that other packages have where packages are RPMs; and what an administrator has made, as RPM knows no purge.
    assert not [path for path, (_, now) in left.items() if not (now and now[0].startswith("d")) and not path.startswith("/etc/hugexec/units.d/")], left


@pytest.mark.parametrize("packages", ("debs", "arm64_debs"))
def test_lintian(packages, request):
    if not shutil.which("lintian"):
        pytest.skip("lintian is not installed")
    changes, = request.getfixturevalue(packages).glob("*.changes")
    done = run(["lintian", "--allow-root", "--fail-on", "error,warning", "--tag-display-limit", "0", changes], timeout=600)
    assert done.returncode == 0, done.stdout


def unpacked(folder, architecture, target):
    """The paths in the packages of ARCHITECTURE, but those of debugging symbols, which have build IDs in them."""
    target.mkdir()
    packages = sorted(path for path in folder.glob(f"*_{architecture}.deb") if "-dbgsym" not in path.name)
    for path in packages:
        assert run(["dpkg", "-x", path, target / path.name.split("_")[0]]).returncode == 0
    return sorted(path.name.split("_")[0] for path in packages), sorted(str(path.relative_to(target)) for path in target.rglob("*"))


# What people read, and what shells do.
TO_READ = {"man1/hugexec.1", "man1/hugexecctl.1", "man5/hugexec-policy.5", "man8/hugexecd.8", "docs/systemd.md", "docs/fleet.md", "examples/databases.json",
           "prometheus/hugexec.rules.yml", "grafana/hugexec.json", "selinux/hugexec.te", "completions/hugexecctl", "_hugexec",
           "vendor_completions.d/hugexecctl.fish", "hugexec/policy.schema.json"}


def test_both_kinds_of_packages_have_all_to_read(debs, rpms):
    deb, rpm = next(debs.glob("hugexec_*_amd64.deb")), next(rpms.glob("hugexec-0*.rpm"))
    for words, licence in ((["dpkg-deb", "--contents", deb], "doc/hugexec/copyright"), (["rpm", "-qlp", rpm], "LICENSE")):
        listed = {line.split()[-1].removesuffix(".gz") for line in run(words).stdout.splitlines()}
        missing = [wanted for wanted in {*TO_READ, licence} if not any(path.endswith("/" + wanted) for path in listed)]
        assert not missing, listed


def machine_of(path):
    """What the ELF file is for; None: it is none."""
    with open(path, "rb") as file:
        header = file.read(20)
    return int.from_bytes(header[18:20], "little") if header[:4] == b"\x7fELF" else None


def test_packages_for_arm64(debs, arm64_debs, tmp_path):
    """They have the same files as those for amd64, and all programs are arm64's."""
    names, files = unpacked(arm64_debs, "arm64", tmp_path / "arm64")
    assert (names, files) == unpacked(debs, "amd64", tmp_path / "amd64") and names == ["hugexec", "hugexec-oci"]
    machines = {path.name: machine_of(path) for path in (tmp_path / "arm64").rglob("*") if path.is_file() and not path.is_symlink()}
    programs = {name: machine for name, machine in machines.items() if machine}
    assert {"hugexec", "hugexecctl", "hugexecd", "hugexec-runtime", "hugexec-oci-hook"} <= programs.keys()
    assert set(programs.values()) == {183}  # EM_AARCH64
    for package in names:
        told = run(["dpkg-deb", "-f", next(arm64_debs.glob(f"{package}_*.deb")), "Architecture", "Depends"]).stdout
        assert "Architecture: arm64" in told and "libc6" in told and "libseccomp2" in told


def test_the_packages_are_the_same_each_time(debs, tmp_path):
    """In another folder, with another umask and clock zone."""
    archive, = debs.glob("*.orig.tar.gz")
    archive = shutil.copy(archive, tmp_path / re.sub(r"_(.*)\.orig", r"-\1", archive.name))
    done = run([ROOT / "config/packages/build", "deb", tmp_path / "another", archive], umask=0o077, timeout=1800, env={**os.environ, "TZ": "Asia/Tokyo"})
    assert done.returncode == 0, done.stdout + done.stderr
    packages = sorted(path.name for path in debs.glob("*.deb"))
    assert len(packages) == 4
    for name in packages:
        assert (debs / name).read_bytes() == (tmp_path / "another" / name).read_bytes(), name
