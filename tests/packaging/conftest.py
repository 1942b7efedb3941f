# SPDX-License-Identifier: Apache-2.0
"""Debian's roots, a systemd booted in one of them for each test, and this commit's packages."""
import os
import shutil
import subprocess
import tempfile

import pytest
from root_machine import RootMachine

from lib.process import run
from lib.surroundings import BUILD, ROOT

SUITES = os.environ.get("PACKAGES_SUITES", "bookworm trixie").split()
# What is started, and what the packages need; what a Debian does not have is left out.
IN_THE_ROOT = ["libelf1", "libelf1t64", "libseccomp2", "needrestart", "rpm", "iproute2", "redis-server", "postgresql", "mariadb-server", "nginx",
               "apache2", "prometheus", "etcd-server", "memcached", "haproxy", "bind9", "slapd", "unbound", "php-fpm", "rabbitmq-server"]


def make(target, build, **options):
    done = run(["make", "-C", ROOT, target, f"BUILD={build}"], timeout=1800, **options)
    assert done.returncode == 0, done.stdout + done.stderr


def require_debian():
    if not shutil.which("dpkg-buildpackage") or not shutil.which("dh"):
        pytest.skip("Debian's tools for packages are not installed (make check-packages installs them)")
    if run(["git", "-c", "safe.directory=*", "-C", ROOT, "rev-parse", "HEAD"]).returncode != 0:
        pytest.skip("this is no clone of the repository, so make deb cannot pack a commit")


@pytest.fixture(scope="session")
def debs():
    """A folder with this commit's Debian packages."""
    require_debian()
    make("deb", BUILD)
    return BUILD / "deb"


@pytest.fixture(scope="session")
def arm64_debs():
    """The same for arm64, cross-built."""
    require_debian()
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        pytest.skip("the root in which packages for arm64 are built takes root and debootstrap")
    make("deb-arm64", BUILD)
    return BUILD / "deb-arm64"


@pytest.fixture(scope="session")
def rpms(debs):
    if not shutil.which("rpmbuild"):
        pytest.skip("rpmbuild is not installed")
    make("rpm", BUILD)
    return BUILD / "rpm" / "RPMS" / "x86_64"


@pytest.fixture(scope="session", params=SUITES)
def root(request):
    """A root of a Debian, in which nothing has run yet."""
    if os.geteuid() != 0:
        pytest.skip("booting a systemd takes root")
    done = subprocess.run([ROOT / "tests" / "packaging" / "make-root", request.param, *IN_THE_ROOT], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=3600)
    if done.returncode != 0:
        pytest.skip(f"a root of Debian {request.param} could not be made: {done.stderr.strip()[-200:]}")
    return done.stdout.strip()


@pytest.fixture
def machine(root, debs):
    """A systemd in that root, and nothing of hugexec in it."""
    written = tempfile.mkdtemp(prefix="written-", dir=os.path.dirname(os.path.dirname(root)))
    booted = RootMachine(root, written, debs)
    try:
        yield booted
    finally:
        booted.close()
        shutil.rmtree(written)


@pytest.fixture(scope="session")
def faulty_ctl(tmp_path_factory):
    """hugexecctl that can be stopped and killed at the steps of its work."""
    folder = tmp_path_factory.mktemp("faults") / "build"
    for words in (["meson", "setup", folder, ROOT, "--prefix=/usr", "--sysconfdir=/etc", "-Dtests=false", "-Dfaults=true"],
                  ["ninja", "-C", folder, "shim/hugexecctl"]):
        done = run(words, timeout=1800)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "shim" / "hugexecctl"
