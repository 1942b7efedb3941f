# SPDX-License-Identifier: Apache-2.0
"""Debian's services as a client sees them: where each listens, what it is asked in its own protocol, and what it must answer."""
import glob
import json
import os
import re
import struct


class Service:
    """UNIT: its name or a pattern. QUESTION: bytes to send to ADDRESS (host and port, or a path); ANSWER: what has to come back."""

    def __init__(self, unit, address, question, answer, prepare=None):
        self.unit, self.address, self.question, self.answer, self.prepare = unit, address, question, answer, prepare


HTTP = b"GET / HTTP/1.0\r\n\r\n"


def dns(name, kind, space):
    """A question over TCP."""
    message = struct.pack(">6H", 7, 0x0100, 1, 0, 0, 0)
    for label in name.split("."):
        message += bytes([len(label)]) + label.encode()
    message += b"\0" + struct.pack(">2H", kind, space)
    return struct.pack(">H", len(message)) + message


def haproxy(machine):
    machine.write("/etc/haproxy/haproxy.cfg", "global\n user haproxy\n group haproxy\n daemon\n"
                                              "defaults\n mode http\n timeout client 9s\n timeout server 9s\n timeout connect 9s\n"
                                              "frontend tests\n bind 127.0.0.1:8404\n http-request return status 200 content-type text/plain string served\n")


SERVICES = {
    "redis": Service("redis-server.service", ("127.0.0.1", 6379), b"INCRBY x 0\r\n", b":0\r\n"),
    "postgresql": Service("postgresql@*-main.service", ("127.0.0.1", 5432),
                          struct.pack(">2I", 23, 3 << 16) + b"user\0postgres\0\0", b"R"),
    "mariadb": Service("mariadb.service", "/run/mysqld/mysqld.sock", b"", b"MariaDB"),
    "nginx": Service("nginx.service", ("127.0.0.1", 80), HTTP, b"200 OK"),
    "apache2": Service("apache2.service", ("127.0.0.1", 80), HTTP, b"200 OK"),
    "prometheus": Service("prometheus.service", ("127.0.0.1", 9090), b"GET /-/ready HTTP/1.0\r\n\r\n", b"Ready"),
    "etcd": Service("etcd.service", ("127.0.0.1", 2379), b"GET /health HTTP/1.0\r\n\r\n", b'"true"'),
    "memcached": Service("memcached.service", ("127.0.0.1", 11211), b"version\r\n", b"VERSION"),
    "haproxy": Service("haproxy.service", ("127.0.0.1", 8404), HTTP, b"served", haproxy),
    # Its own version (TXT, in class CHAOS): the only thing that Debian 13's knows without a network, for it has no zone for localhost.
    "bind9": Service("named.service", ("127.0.0.1", 53), dns("version.bind", 16, 3), b"-Debian"),
    "slapd": Service("slapd.service", ("127.0.0.1", 389), bytes.fromhex("300c020101600702010304008000"), b"\x61"),
    "unbound": Service("unbound.service", ("127.0.0.1", 53), dns("localhost", 1, 1), b"\x7f\x00\x00\x01"),
    # FCGI_GET_VALUES, answered by FCGI_GET_VALUES_RESULT.
    "php-fpm": Service("php*-fpm.service", "/run/php/php*-fpm.sock", b"\x01\x09\x00\x00\x00\x00\x00\x00", b"\x01\x0a"),
    "rabbitmq": Service("rabbitmq-server.service", ("127.0.0.1", 5672), b"AMQP\x00\x00\x09\x01", b"RabbitMQ"),
}

# Several at once ask again and again until /run/load.stop is there and they are answered; then how many questions were answered, how often at most one of
# them was not answered for a while, and whether all were in the end.
CLIENT = r'''
import json, os, socket, sys, threading, time
address, question, answer, clients = json.load(open("/root/question"))
question, answer = bytes.fromhex(question), bytes.fromhex(answer)
def ask():
    family = socket.AF_INET if isinstance(address, list) else socket.AF_UNIX
    with socket.socket(family) as client:
        client.settimeout(30)
        client.connect(tuple(address) if isinstance(address, list) else address)
        client.sendall(question)
        got = b""
        while answer not in got:
            more = client.recv(65536)
            if not more:
                return False
            got += more
    return True
def answered():
    try:
        return ask()
    except OSError:
        return False
if len(sys.argv) > 1:
    sys.exit(0 if answered() else 1)
results = []
def ask_on():
    good = gaps = 0
    was = True
    while not (was and os.path.exists("/run/load.stop")):
        now = answered()
        good += now
        gaps += was and not now
        was = now
        time.sleep(0.005)
    results.append((good, gaps, was))
threads = [threading.Thread(target=ask_on) for _ in range(clients)]
for thread in threads:
    thread.start()
open("/run/load.runs", "w").close()
for thread in threads:
    thread.join()
print(json.dumps([sum(good for good, _, _ in results), max(gaps for _, gaps, _ in results), len(results) == clients and all(was for _, _, was in results)]))
'''
CLIENTS = 8


def unit_of(machine, service):
    """The name of its unit in this Debian, or None."""
    if service.unit.startswith("postgresql@"):
        versions = glob.glob(str(machine.path("/etc/postgresql/*/main")))
        return f"postgresql@{versions[0].split('/')[-2]}-main.service" if versions else None
    for folder in ("/etc/systemd/system", "/run/systemd/generator.late", "/usr/lib/systemd/system"):
        found = glob.glob(str(machine.path(f"{folder}/{service.unit}")))
        if found:
            return os.path.basename(found[0])
    return None


def set_question(machine, service):
    address = service.address
    if isinstance(address, str) and "*" in address:
        version = re.search(r"php([\d.]+)-fpm", unit_of(machine, service))[1]
        address = address.replace("*", version)
    machine.write("/root/question", json.dumps([address, service.question.hex(), service.answer.hex(), CLIENTS]))
    machine.write("/root/client.py", CLIENT)


def answers(machine):
    return machine.run(["python3", "/root/client.py", "once"], check=False).returncode == 0
