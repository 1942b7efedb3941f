# SPDX-License-Identifier: Apache-2.0
"""Debian's own units, through hugexecctl enable --now and back: a real client is served before, with and after."""
import os

import pytest
from service import MIB, settings_of, untouched

from lib.process import wait_for
from lib.smaps import huge_text_bytes


def user(container, name):
    container.run(["sh", "-c", f"id -u {name} >/dev/null 2>&1 || useradd --system --home-dir /nonexistent --shell /bin/false {name}"])


def fresh(container, owner, *folders):
    """FOLDERS of OWNER's with nothing in them: the machine may have data of such a service. They are hidden in the container only."""
    container.run(["sh", "-c", 'owner=$1; shift; rm -rf "$@"; exec install -d -o "$owner" -g "$owner" "$@"', "sh", owner, *folders])


def http(container, url):
    program = f"import urllib.request; print(urllib.request.urlopen({url!r}, timeout=120).read().decode())"
    return container.run(["/usr/bin/python3", "-c", program], check=False).stdout


def mariadb(container):
    user(container, "mysql")
    # What the package does when it is installed.
    fresh(container, "mysql", "/var/lib/mysql", "/var/log/mysql", "/run/mysqld")
    container.run(["sh", "-c", "ln -sf mariadb.cnf /etc/mysql/my.cnf; printf '#!/bin/sh\\n' >/etc/mysql/debian-start"
                         " && printf '[mariadbd]\\ninnodb_log_file_size=8M\\ninnodb_buffer_pool_size=32M\\n' >/etc/mysql/conf.d/small.cnf"])
    container.run(["mariadb-install-db", "--user=mysql", "--skip-test-db"], seconds=120)
    # The unit starts its server by a shell, as a user: only hugexecd may follow that.
    container.systemctl("start", "hugexecd.socket")


def postgresql(container):
    user(container, "postgres")
    container.run(["rm", "/etc/hugexec/policy.json"])  # the shipped policy follows pg_ctlcluster and pg_ctl to what they start
    fresh(container, "postgres", "/var/lib/postgresql", "/var/log/postgresql", "/etc/postgresql", "/run/postgresql")
    container.run(["pg_createcluster", "--port=5444", "15", "test", "--", "--no-sync"], seconds=120)


def prometheus(container):
    user(container, "prometheus")
    fresh(container, "prometheus", "/var/lib/prometheus", "/var/lib/prometheus/metrics2")


def nginx(container):
    container.run(["sh", "-c", "mkdir -p /var/lib/nginx /var/log/nginx /etc/nginx/sites-enabled /var/www/html /etc/nginx/modules-enabled;"
                         "ln -sf /etc/nginx/sites-available/default /etc/nginx/sites-enabled/default; echo served >/var/www/html/index.html"])


def redis(container):
    user(container, "redis")
    fresh(container, "redis", "/var/lib/redis", "/var/log/redis", "/run/redis")
    container.run(["chown", "-R", "redis:redis", "/etc/redis"])


# unit, program, what makes it ready, what a client asks, what it gets, least bytes of text on huge pages
SERVICES = {
    "mariadb": ("mariadb.service", "/usr/sbin/mariadbd", mariadb,
                lambda container: container.run(["mariadb", "-NBe", "select 40+2"], check=False).stdout, "42\n", 4 * MIB),
    "postgresql": ("postgresql@15-test.service", "/usr/lib/postgresql/15/bin/postgres", postgresql,
                   lambda container: container.run(["runuser", "-u", "postgres", "--", "/usr/lib/postgresql/15/bin/psql", "-p", "5444", "-Atc",
                                        "select 40+2"], check=False).stdout, "42\n", 2 * MIB),
    "prometheus": ("prometheus.service", "/usr/bin/prometheus", prometheus,
                   lambda container: http(container, "http://localhost:9090/-/ready"), "Prometheus Server is Ready.\n\n", 16 * MIB),
    # NoExecPaths=/; and its text is smaller than a huge page.
    "redis": ("redis-server.service", "/usr/bin/redis-check-rdb", redis,
              lambda container: container.run(["redis-cli", "incrby", "test", "0"], check=False).stdout, "0\n", 0),
    # Its text is smaller than a huge page.
    "nginx": ("nginx.service", "/usr/sbin/nginx", nginx, lambda container: http(container, "http://localhost/"), "served\n\n", 0),
}


@pytest.mark.parametrize("name", SERVICES)
def test_debian(container, name):
    unit, program, prepare, ask, expected, least = SERVICES[name]
    # redis-tools alone has the program of redis-server, too.
    if any(container.run(words, check=False).returncode != 0 for words in (["test", "-x", program], ["systemctl", "cat", unit])):
        pytest.skip(f"Debian's package with {program} could not be had")
    prepare(container)

    def served():
        wait_for(lambda: ask(container) == expected, 60, f"{unit} to answer {expected!r}, not {ask(container)!r}")
        pid = container.main_pid(unit)
        assert os.readlink(f"/proc/{pid}/exe") == program
        return pid

    try:
        container.systemctl("start", unit, seconds=240)
        served()
        plain = settings_of(container, unit)
        done = container.run(["hugexecctl", "enable", "--now", unit], seconds=240)
        assert f"{unit} is active: " in done.stdout, done.stdout
        pid = served()
        entries = container.journal("SYSLOG_IDENTIFIER=hugexec", f"HUGEXEC_UNIT={unit}")
        assert entries, "the journal says nothing"
        if least:
            assert huge_text_bytes(pid) >= least, [(entry["HUGEXEC_EXE"], entry.get("HUGEXEC_REASON")) for entry in entries]
            assert "remapped" in {entry["HUGEXEC_OUTCOME"] for entry in entries}
        else:
            assert entries[-1]["HUGEXEC_REASON"], entries[-1]
        if name != "postgresql" and name != "nginx":  # those have children
            untouched(pid)
        container.systemctl("reload", unit, check=False)
        served()
        container.run(["hugexecctl", "disable", "--now", unit], seconds=240)
        served()
        assert settings_of(container, unit) == plain
    finally:
        container.systemctl("stop", unit, "hugexecd.socket", "hugexecd.service", check=False, seconds=240)
        container.run(["hugexecctl", "disable", unit], check=False)
