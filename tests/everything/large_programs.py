# SPDX-License-Identifier: Apache-2.0
"""Large real programs at work, plain and under hugexec: cases.py BUILD [SECONDS [CASE...]]

Self-tests of python3, perl and sqlite3 at work, a compile of this project with its compilers remapped, PostgreSQL and MariaDB
under load for SECONDS (60) each, node, and a page in chromium: results must be those of the plain run. Prints a table.
A case whose program is not there is named as not run. Exit 1: some result differed.
"""
import contextlib
import fcntl
import glob
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
POOL = pathlib.Path("/proc/sys/vm/nr_hugepages")
LOCK = "/tmp/hugexec-test-pool.lock"
POOL_PAGES = 128
LIMIT_SECONDS = 900
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
PERL = r"""
use strict; use Digest::MD5 'md5_hex'; my %h; my $x = 12345;
for my $i (1 .. 300000) { $x = ($x * 1103515245 + 12345) % 2147483648; $h{$x % 5000} .= chr(65 + $x % 26) if $x % 3; }
my $all = join ',', map { "$_=" . length($h{$_}) } sort { $a <=> $b } keys %h;
(my $t = join '', values %h) =~ s/([AEIOU]+)/<$1>/g; my @w = sort split /</, $t;
print md5_hex($all), " ", scalar(@w), " ", length $t, " ", md5_hex(pack 'N*', map { length } @w), "\n";
"""
SQL = """
create table t(a integer primary key, b text, c real); create index i on t(b);
with recursive n(x) as (select 1 union all select x+1 from n where x < 200000)
insert into t select x, printf('%08x', x*2654435761 & 4294967295), x/7.0 from n;
select count(*), min(b), max(b), round(sum(c), 3) from t; select count(distinct substr(b,1,3)) from t;
update t set b = upper(b) where a % 3 = 0; delete from t where a % 5 = 0;
select group_concat(b) from (select b from t order by b limit 20); pragma integrity_check;
select json_group_array(x) from (select a x from t where b like '%ABC%' order by a limit 10);
"""
NODE = r"""
const zlib = require('zlib'), crypto = require('crypto'); let s = Buffer.alloc(4 << 20); let x = 1;
for (let i = 0; i < s.length; i++) { x = (x * 1103515245 + 12345) & 0x7fffffff; s[i] = (x >> 16) & 31; }
for (let level = 1; level <= 9; level += 2) { const z = zlib.deflateSync(s, { level });
  console.log(level, z.length, crypto.createHash('sha256').update(z).digest('hex'), zlib.inflateSync(z).equals(s)); }
console.log(zlib.brotliCompressSync(s, { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 5 } }).length);
console.log(crypto.pbkdf2Sync('p', 's', 200000, 32, 'sha512').toString('hex'));
const c = crypto.createCipheriv('aes-256-gcm', Buffer.alloc(32, 7), Buffer.alloc(12, 9));
console.log(crypto.createHash('md5').update(Buffer.concat([c.update(s), c.final()])).digest('hex'), c.getAuthTag().toString('hex'));
const w = {}; for (let i = 0; i < 400000; i++) w['k' + (i * 7919 % 10007)] = (w['k' + (i * 7919 % 10007)] || 0) + i;
console.log(Object.keys(w).length, Object.values(w).reduce((a, b) => a + b, 0));
"""
PAGE = """<!doctype html><title>t</title><canvas id=c width=200 height=100></canvas><p id=o></p><script>
let s = 0, m = new Map(); for (let i = 0; i < 300000; i++) { s = (s * 31 + i) % 1000003; m.set(s % 997, (m.get(s % 997) || 0) + 1); }
const x = c.getContext('2d'); for (let i = 0; i < 50; i++) { x.fillStyle = `hsl(${i * 7} 80% 50%)`; x.fillRect(i * 4, i, 20, 20); }
o.textContent = s + ' ' + m.size + ' ' + [...'zlib crypto text'].sort().join('') + ' ' + new Intl.NumberFormat('de').format(1234567.891);
</script>"""
PYTHON_TESTS = ["test_json", "test_re", "test_struct", "test_zlib", "test_hashlib", "test_heapq", "test_bisect", "test_math",
                "test_decimal", "test_pickle", "test_random", "test_set",
                "test_dict", "test_list", "test_bytes", "test_unicodedata", "test_generators", "test_itertools"]


class NotThere(Exception):
    pass


def needed(path):
    found = shutil.which(str(path))
    if not found:
        raise NotThere(f"{path} is not there")
    return found


class Prefix:
    """Words before a command: none for a plain run, else hugexec with a policy of its own."""

    def __init__(self, build, folder, backing):
        self.backing, self.report = backing, folder / "report"
        self.policy = folder / "policy.json"
        self.hugexec = build / "shim" / "hugexec"

    def __call__(self, command, follow="exec", only="/**"):
        if self.backing is None:
            return list(map(str, command))
        rules = [{"name": "all", "match": {"exe": only}, "min_text": 0, "libraries": True, "round_out": True}]
        self.policy.write_text(json.dumps({"version": 1, "settings": {"follow": follow, "follow_timeout": 600}, "rules": rules}))
        self.policy.chmod(0o644)
        self.report.touch()
        self.report.chmod(0o666)
        return [str(self.hugexec), f"--policy={self.policy}", f"--backing={self.backing}", f"--report={self.report}", "--",
                *map(str, command)]

    def outcome(self):
        """How many programs were remapped, and MiB of text on huge pages altogether."""
        if self.backing is None or not self.report.exists():
            return 0, 0
        lines = [json.loads(line) for line in self.report.read_text().splitlines()]
        return sum(line["outcome"] == "remapped" for line in lines), sum(line["huge_bytes"] for line in lines) >> 20


def run(words, **options):
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_SECONDS,
                          check=False, **options)
    return done.returncode, done.stdout.decode(errors="replace")


def python_tests(prefix, folder, _):
    status, text = run(prefix([needed("/usr/bin/python3"), "-m", "test", "--timeout=300", *PYTHON_TESTS]), cwd=folder)
    if "No module named test" in text or "No module named 'test" in text:
        raise NotThere("libpython3-testsuite is not there")
    lines = [line for line in text.splitlines() if re.match(r"(All|\d+) tests? |Tests result|== Tests result|test_\w+ (failed|skipped)", line)]
    return status, lines


def perl(prefix, folder, _):
    return run(prefix([needed("/usr/bin/perl"), "-e", PERL]), env={"PERL_HASH_SEED": "0", "PATH": "/usr/bin:/bin"}, cwd=folder)


def sqlite(prefix, folder, _):
    return run(prefix([needed("/usr/bin/sqlite3"), ":memory:", SQL]), cwd=folder)


def node(prefix, folder, _):
    return run(prefix([needed("/usr/bin/node"), "-e", NODE]), cwd=folder)


def compile_ourselves(prefix, folder, _):
    """meson and ninja, with every cc1, assembler and linker that they start remapped: object files byte for byte."""
    build = folder / "build"
    shutil.rmtree(build, ignore_errors=True)
    status, text = run(["meson", "setup", str(build), str(ROOT), "-Dtests=false"])
    assert status == 0, text
    status, text = run(prefix([needed("ninja"), "-C", build, "-j2"], follow="fork", only=["/**/cc1", "/**/*-as", "/**/*-ld.bfd", "/**/*-ld.gold"]))
    digests = {os.path.relpath(path, build): hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
               for path in glob.glob(f"{build}/**/*.o", recursive=True)}
    return status, len(digests) > 30 and digests


def chromium(prefix, folder, _):
    page, shot = folder / "page.html", folder / "shot.png"
    page.write_text(PAGE)
    shot.unlink(missing_ok=True)
    profile = folder / f"profile-{time.monotonic_ns()}"
    words = [needed("/usr/bin/chromium"), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}",
             "--disable-background-networking", "--no-first-run"]
    environment = {"HOME": str(folder), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    process = subprocess.run(prefix([*words, "--dump-dom", f"file://{page}"]), stdin=subprocess.DEVNULL, capture_output=True,
                             timeout=LIMIT_SECONDS, env=environment, check=False)
    run(prefix([*words, f"--screenshot={shot}", "--window-size=300,200", f"file://{page}"]), env=environment)
    picture = hashlib.sha256(shot.read_bytes()).hexdigest() if shot.exists() else None
    return process.returncode, process.stdout.decode(), picture


def wait_for(words, seconds=60):
    deadline = time.monotonic() + seconds
    while subprocess.run(words, capture_output=True, check=False).returncode != 0:
        assert time.monotonic() < deadline, f"{words} in vain"
        time.sleep(0.2)


@contextlib.contextmanager
def server(words, ready, how_to_end):
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_for(ready)
        yield process
        process.send_signal(how_to_end)
        process.wait(120)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)


def postgres(prefix, folder, seconds):
    binaries = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    if not binaries or not shutil.which("pgbench"):
        raise NotThere("PostgreSQL and pgbench are not there")
    binaries, data = pathlib.Path(binaries[-1]), folder / "data"
    run([*NOBODY, str(binaries / "initdb"), "-D", str(data), "-U", "u", "--no-sync"])
    at = ["-h", str(folder), "-U", "u", "postgres"]
    words = prefix([*NOBODY, binaries / "postgres", "-D", data, "-k", folder, "-c", "listen_addresses=", "-c", "logging_collector=on",
                    "-c", "log_filename=log"], only=str(binaries / "postgres"))
    with server(words, ["psql", *at, "-c", "select 1"], signal.SIGINT) as process:
        status, text = run(["pgbench", "-i", "-q", "-s", "5", *at])
        assert status == 0, text
        status, text = run(["pgbench", "-c", "8", "-j", "2", "-T", str(seconds), *at])
        sums = "select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history) and " \
            "(select sum(bbalance) from pgbench_branches) = (select sum(delta) from pgbench_history), count(*) from pgbench_accounts"
        answer = run(["psql", "-At", *at, "-c", sums])
    log = (data / "log" / "log").read_text(errors="replace")
    # Too early, and whoever had not ended yet when we asked it to end.
    harmless = "the database system is (?:starting up|not yet)|terminating (?:connection|autovacuum process) due to administrator command"
    failed = re.search(r"failed transactions: (\d+)", text)
    rate = re.search(r"tps = ([\d.]+)", text)
    prefix.note = f"{float(rate[1]):.0f} transactions/s" if rate else ""
    return status, failed and failed[1], answer, process.returncode, re.findall(rf"PANIC.*|FATAL(?!:  (?:{harmless})).*|.*terminated by signal.*", log)


def mariadb(prefix, folder, seconds):
    unpacked = ROOT / "build" / "programs" / "root"
    programs = pathlib.Path(os.environ.get("HUGEXEC_PROGRAMS", ROOT / "build" / "programs")) / "root"
    daemon = shutil.which("mariadbd") or next((str(root / "usr/sbin/mariadbd") for root in (programs, unpacked)
                                               if (root / "usr/sbin/mariadbd").exists()), None)
    if not daemon or not shutil.which("mysqlslap"):
        raise NotThere("mariadbd and mysqlslap are not there")
    share = pathlib.Path(daemon).parents[1] / "share" / "mysql"
    data, socket = folder / "data", folder / "socket"
    data.mkdir()
    shutil.chown(data, 65534, 65534)
    common = [daemon, "--no-defaults", f"--datadir={data}", f"--lc-messages-dir={share}", "--user=nobody", "--skip-networking"]
    at = [f"--socket={socket}", "--user=root"]
    words = prefix([*common, f"--socket={socket}", f"--log-error={folder}/log", "--skip-grant-tables"])
    with server(words, ["mysqladmin", *at, "ping"], signal.SIGTERM) as process:
        deadline, rounds, statuses = time.monotonic() + seconds, 0, set()
        while time.monotonic() < deadline:
            status, text = run(["mysqlslap", *at, "--concurrency=8", "--number-of-queries=2000", "--auto-generate-sql",
                                "--auto-generate-sql-load-type=mixed", "--auto-generate-sql-add-autoincrement", "--engine=innodb"])
            statuses.add((status, text if status else ""))
            rounds += 1
        sums = "create database d; use d; create table t(a int primary key, b varchar(40)) engine=innodb;" \
            "set max_recursive_iterations = 200000; insert into t with recursive n(x) as (select 1 union all select x + 1 from n" \
            " where x < 100000) select x, md5(x) from n; update t set b = reverse(b) where a % 3 = 0;" \
            "delete from t where a % 7 = 0; checksum table t; check table t; select count(*), sum(crc32(b)) from t;"
        answer = run(["mysql", *at, "-N", "-e", sums])
    prefix.note = f"{rounds} rounds of 2000 queries"
    return sorted(statuses), answer, process.returncode


CASES = {"python3 -m test": python_tests, "perl": perl, "sqlite3": sqlite, "node zlib, crypto": node, "compile hugexec": compile_ourselves,
         "chromium": chromium, "postgres, pgbench": postgres, "mariadbd, mysqlslap": mariadb}


def run_case(case, build, backing, seconds):
    """(result, seconds, programs remapped, MiB, note) of one run in a folder that is its own and always has the same name."""
    folder = pathlib.Path(tempfile.gettempdir(), "hugexec-case")
    with open(f"{folder}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return run_in(folder, case, build, backing, seconds)


def run_in(folder, case, build, backing, seconds):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    folder.chmod(0o777)
    try:
        prefix = Prefix(build, folder, backing)
        prefix.note = ""
        began = time.monotonic()
        result = case(prefix, folder, seconds)
        return result, time.monotonic() - began, *prefix.outcome(), prefix.note
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def pool():
    with open(LOCK, "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = POOL.read_text()
        try:
            POOL.write_text(str(int(before) + POOL_PAGES))
            yield
        finally:
            POOL.write_text(before)


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 60
    wanted = sys.argv[3:] or list(CASES)
    different = 0
    print("| program | backing | result | seconds, plain | seconds | programs remapped | MiB on huge pages | |\n"
          "|---|---|---|---|---|---|---|---|", flush=True)
    for name in wanted:
        try:
            plain, plain_seconds, *_ = run_case(CASES[name], build, None, seconds)
            again = run_case(CASES[name], build, None, 1)[0] if CASES[name] not in (postgres, mariadb) else plain
            if plain != again:
                print(f"| {name} | | differs between two plain runs | | | | | |", flush=True)
                different += 1
                continue
            for backing in ("file,thp", "hugetlb,thp", "thp"):
                with pool() if backing.startswith("hugetlb") else contextlib.nullcontext():
                    ours, took, count, mib, note = run_case(CASES[name], build, backing, seconds)
                verdict = "same" if ours == plain else "DIFFERENT"
                different += ours != plain
                print(f"| {name} | {backing} | {verdict} | {plain_seconds:.1f} | {took:.1f} | {count} | {mib} | {note} |", flush=True)
                if ours != plain:
                    print(f"plain: {str(plain)[:1500]}\nours: {str(ours)[:1500]}", flush=True)
        except NotThere as why:
            print(f"| {name} | | not run: {why} | | | | | |", flush=True)
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
