# SPDX-License-Identifier: Apache-2.0
"""One systemd for all tests of this folder, with this build installed; a unit ends with the test that made it."""
import os
import shutil
import subprocess

import pytest

from lib.policies import ALL
from lib.programs import GENERATED
from lib.surroundings import BUILD, PROGRAMS, ROOT
from lib.systemd_container import SystemdContainer
from programs import bigtext as bigtext_generator


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """This build as `meson install` lays it out, in a folder."""
    where = tmp_path_factory.mktemp("installed")
    where.chmod(0o755)
    subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", where],
                   check=True, stdout=subprocess.DEVNULL, timeout=120)
    if (where / "lib").is_dir():  # systemd's package may call /usr/lib so, and there /lib is a link
        shutil.copytree(where / "lib", where / "usr" / "lib", dirs_exist_ok=True)
    return where


@pytest.fixture(scope="session")
def service_program_of():
    """tests/programs/service.c with so many MiB of text, as /srv/programs/service-MIB in the container."""

    def build(mib):
        GENERATED.mkdir(parents=True, exist_ok=True)
        path = GENERATED / f"service-{mib}"
        source = ROOT / "tests" / "programs" / "service.c"
        if not path.exists() or path.stat().st_mtime < source.stat().st_mtime:
            text = GENERATED / f"service-{mib}.s"
            text.write_text(bigtext_generator.assembly(mib))
            partial = GENERATED / f"service-{mib}.{os.getpid()}"
            subprocess.run(["cc", "-O1", "-Wall", "-o", partial, source, text], check=True, timeout=120)
            partial.rename(path)
            os.sync()  # the file backing leaves dirty pages alone
        return path

    return build


@pytest.fixture(scope="session")
def service_program(service_program_of):
    return service_program_of(8)


@pytest.fixture(scope="session")
def booted(installed, service_program):
    if os.geteuid() != 0:
        pytest.skip("booting a systemd takes root")
    GENERATED.mkdir(parents=True, exist_ok=True)
    unpacked = [folder for folder in (PROGRAMS / "systemd" / "root", PROGRAMS / "root") if folder.exists()]
    container = SystemdContainer([installed, *unpacked], GENERATED)
    try:
        yield container
    finally:
        container.close()


@pytest.fixture
def container(booted):
    """The booted systemd with a policy that remaps everything, and without what an earlier test has changed in it."""
    booted.write("/etc/hugexec/policy.json", ALL)
    yield booted


@pytest.fixture
def make_unit(container):
    """Write a unit: make_unit("a.service", TEXT); gone, with its drop-ins, after the test."""
    made = []

    def make(name, text, enable=None):
        container.write(f"/etc/systemd/system/{name}", text)
        made.append(name)
        container.systemctl("daemon-reload")
        if enable:
            container.run(["hugexecctl", "enable", "--", enable if isinstance(enable, str) else name])
        return name

    yield make
    for name in made:
        pattern = name.replace("@.", "@*.")
        container.systemctl("stop", pattern, check=False)
        container.systemctl("reset-failed", pattern, check=False)
        container.run(["sh", "-c", f"rm -rf /etc/systemd/system/{name} /etc/systemd/system/{pattern}.d "
                             f"/etc/hugexec/units.d/{pattern} /run/hugexec/units.d/{pattern}"], check=False)
    container.systemctl("daemon-reload", check=False)
