# SPDX-License-Identifier: Apache-2.0
"""
The programs that bench-itlb looks at, and what they have to do. Each function prepares a folder and returns a Load; it raises
Missing where this machine lacks the program.

What is claimed to the last digit is single-threaded and sees no clock, no random numbers and no other process. Servers have
threads, answer when they are asked, and look at the clock: their figures vary a little.
"""
import base64
import collections
import dataclasses
import json
import os
import pathlib
import socket
import subprocess
import urllib.parse
import urllib.request

import simulate

MILLION = 1000000


class Missing(Exception):
    pass


@dataclasses.dataclass
class Load:
    what: str                    # does the program, for people
    command: list
    skip: int = 0                # instructions before the simulation begins
    exact: bool = True           # the same figures twice
    environment: dict = dataclasses.field(default_factory=dict)
    prefix: tuple = ()           # words before qemu
    stdin: object = None         # a file
    port: int = 0                # a server's: the simulation begins when the clients do
    client: object = None        # called until the server is gone, with the number of the call


@dataclasses.dataclass
class Place:
    """
    Where programs were unpacked, a folder for this load's files, a library that stops clocks. A program is simulated and may be
    another processor's; a tool helps it and is this machine's.
    """
    programs: pathlib.Path
    folder: pathlib.Path
    steady: pathlib.Path  # see steady.c
    guest: simulate.Guest = simulate.X86_64
    guest_steady: pathlib.Path | None = None

    def tool(self, path):
        for found in (path, str(self.programs / "root") + path):
            if os.access(found, os.X_OK):
                return found
        raise Missing(f"{path} is not there")

    def program(self, path):
        if not self.guest.root:
            return self.tool(path)
        found = str(self.guest.root) + path
        if not os.access(found, os.X_OK):
            raise Missing(f"{path} was not unpacked")
        return found

    def tool_libraries(self):
        return {"LD_LIBRARY_PATH": str(self.programs / "root" / "usr" / "lib" / "x86_64-linux-gnu")}

    def libraries(self):
        """What a program needs to find those that were unpacked with it."""
        return {} if self.guest.root else self.tool_libraries()

    def steadily(self):
        """What stops a program's clocks."""
        steady = self.guest_steady if self.guest.root else self.steady
        return {"LD_PRELOAD": str(steady)} if steady else {}

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return str(path)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def post(port, path, body):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=600) as answer:
        return answer.read()


def get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=600) as answer:
        return answer.read()


C_FUNCTION = """
struct s{i} {{ int a[{m}]; double d; struct s{i} *next; }};
static int f{i}(int x, struct s{i} *p)
{{
	int r = 0;
	for (int i = 0; i < x && p; i++, p = p->next) {{
		r += p->a[i % {m}] * {i};
		switch ((r + i) % 9) {{
		case 0: r ^= i; break;
		case 1: r += {i}; break;
		case 5: r *= 3; break;
		default: p->d += r / (i + 1.5);
		}}
	}}
	return r;
}}
int g{i}(int x) {{ struct s{i} s = {{0}}; s.next = &s; return f{i}(x, &s) + (int)s.d; }}
"""


def clang(place):
    source = place.write("source.c", "".join(C_FUNCTION.format(i=i, m=i % 7 + 1) for i in range(500)))
    program = place.program("/usr/lib/llvm-14/bin/clang" if place.guest.root else "/usr/bin/clang")
    return Load("compiles 500 functions of C, -O2", [program, "-O2", "-S", "-o", "/dev/null", source], skip=200 * MILLION)


CXX_CLASS = """
struct t{i} {{
	std::map<std::string, std::vector<int>> m;
	std::unordered_map<int, std::unique_ptr<t{i}>> u;
	int f(int x) {{
		std::ostringstream s;
		for (auto &p : m) for (int v : p.second) s << p.first << v * {i} + x;
		auto w = s.str();
		std::sort(w.begin(), w.end(), [x](char a, char b) {{ return (a ^ x) < (b ^ x); }});
		u[x] = std::make_unique<t{i}>();
		return int(w.size());
	}}
}};
"""


def cc1plus(place):
    headers = ("algorithm", "functional", "map", "memory", "regex", "sstream", "string", "unordered_map", "vector")
    source = place.write("source.cc", "".join(f"#include <{each}>\n" for each in headers) +
                         "".join(CXX_CLASS.format(i=i) for i in range(60)))
    try:
        if place.guest.root:
            compiler = place.program("/usr/lib/gcc/aarch64-linux-gnu/12/cc1plus")
            preprocess = [*place.guest.words(), compiler, "-E", "-quiet", "-imultiarch", place.guest.triple, "-D_GNU_SOURCE"]
        else:
            preprocess = ["g++", "-E"]
            compiler = subprocess.run(["g++", "-print-prog-name=cc1plus"], capture_output=True, text=True, check=True).stdout.strip()
        subprocess.run([*preprocess, "-P", source, "-o", source + ".ii"], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Missing("g++ is not there") from error
    return Load("compiles 60 classes that use the standard library, -O2", [compiler, "-quiet", "-O2", "-o", "/dev/null", source + ".ii"],
                skip=300 * MILLION)


RUST = """
#[derive(Debug, Clone, PartialEq)]
pub struct S{i} {{ pub a: f64, pub b: Vec<String>, pub c: Option<Box<S{i}>> }}
impl Shape for S{i} {{
    fn area(&self) -> f64 {{ self.a * {i}.0 + self.b.iter().map(|s| s.len() as f64).sum::<f64>() }}
}}
pub fn f{i}(m: &BTreeMap<String, S{i}>, n: usize) -> HashMap<usize, Vec<S{i}>> {{
    let mut h: HashMap<usize, Vec<S{i}>> = HashMap::new();
    for (k, v) in m.iter() {{ h.entry(k.len() % n).or_default().push(v.clone()); }}
    for l in h.values_mut() {{ l.sort_by(|x, y| x.area().partial_cmp(&y.area()).unwrap()); }}
    h
}}
"""


def rustc(place):
    source = place.write("source.rs", "use std::collections::{BTreeMap, HashMap};\nuse std::fmt::Debug;\n"
                         "pub trait Shape: Debug { fn area(&self) -> f64; }\n" + "".join(RUST.format(i=i) for i in range(40)))
    program = (place.guest.root or place.programs / "root") / "usr" / "bin" / "rustc"
    if not program.exists():
        raise Missing("Debian's rustc was not unpacked")
    return Load("compiles 40 structures of Rust, -O, one codegen unit",
                [str(program), "--crate-type", "lib", "-O", "-C", "codegen-units=1", "--emit=obj", "-o",
                 str(place.folder / "out.o"), source], skip=300 * MILLION, environment=place.libraries())


PYTHON = """
import json, re, sqlite3
data = {f"k{i}": list(range(i % 50)) for i in range(1500)}
for _ in range(3):
    data = json.loads(json.dumps(data, indent=1))
base = sqlite3.connect(":memory:")
base.execute("create table t(a, b)")
for turn in range(20):
    base.executemany("insert into t values(?, ?)", ((i, str(i) * 3) for i in range(500)))
    print(base.execute("select a % 11, count(*), sum(length(b)) from t group by a % 11 order by 2").fetchall()[:2])
    print(len(re.sub(r"(\\\\d+),\\\\s", "<\\\\1>", json.dumps(data)[:20000])))
    class Node:
        def __init__(self, below): self.below = below
        def depth(self): return 1 + (self.below.depth() if self.below else 0)
    chain = None
    for i in range(300):
        chain = Node(chain)
    print(chain.depth(), sorted(data, key=lambda name: hash(name) % 1009)[:1])
"""


def python3(place):
    return Load("JSON, regular expressions, classes, SQLite through its extension",
                [place.program("/usr/bin/python3"), place.write("script.py", PYTHON)], skip=50 * MILLION)


NODE = """
function work(turn) {
  const words = new Map();
  for (let i = 0; i < 4000; i++) { const k = 'k' + (i * 7919 + turn) % 1009; words.set(k, (words.get(k) || 0) + i); }
  let text = JSON.stringify([...words]);
  text = text.replace(/k(\\d)(\\d*)/g, (all, a, b) => b + a).split(',').sort().join('-');
  const rows = JSON.parse(JSON.stringify(Array.from({length: 500}, (_, i) => ({id: i, name: text.slice(i, i + 9), on: new Date(i * 1e9)}))));
  rows.sort((p, q) => p.name < q.name ? -1 : 1);
  class V { constructor(x) { this.x = x; } add(o) { return new V(this.x + o.x); } }
  let v = new V(0);
  for (let i = 0; i < 20000; i++) v = v.add(new V(i));
  return new Function('a', 'return a + ' + turn)(text.length + rows.length + v.x) + Buffer.from(text).toString('base64').length;
}
let sum = 0;
for (let turn = 0; turn < 1000; turn++) sum += work(turn);
console.log(sum);
"""


def node(place):
    return Load("a script: maps, JSON, regular expressions, classes, new functions; its JIT is on",
                [place.program("/usr/bin/node"), place.write("script.js", NODE)], skip=600 * MILLION, exact=False)


JAVA = """
import java.util.*;
import java.util.regex.*;
import java.util.stream.*;
public class Work {
  record Row(int id, String name) {}
  public static void main(String[] arguments) {
    long sum = 0;
    for (int turn = 0; turn < 2000; turn++) {
      Map<String, Integer> words = new TreeMap<>();
      for (int i = 0; i < 2000; i++) words.merge("k" + (i * 7919 + turn) % 1009, i, Integer::sum);
      String text = words.entrySet().stream().map(e -> e.getKey() + "=" + e.getValue()).collect(Collectors.joining(","));
      sum += Pattern.compile("k(\\\\d)").matcher(text).replaceAll("$1").length();
      List<Row> rows = IntStream.range(0, 300).mapToObj(i -> new Row(i, String.format("%05d", i * 31 % 997))).collect(Collectors.toList());
      rows.sort(Comparator.comparing(Row::name));
      sum += rows.get(7).id();
    }
    System.out.println(sum);
  }
}
"""


def java(place):
    home = f"/usr/lib/jvm/java-17-openjdk-{'arm64' if place.guest.root else 'amd64'}/bin/"
    return Load("compiles and runs a class: maps, streams, regular expressions, formatting; its JIT is on",
                [place.program(home + "java"), "-XX:+UseSerialGC", place.write("Work.java", JAVA)],
                skip=3000 * MILLION, exact=False)


TABLES = """
create table a as select i, i % 97 as k, md5(i::text) as t from generate_series(1, 20000) i;
create table b as select i, i % 89 as k, repeat(chr(65 + i % 26), i % 20) as t from generate_series(1, 5000) i;
create index a_k on a (k, i);
create index b_k on b (k);
create function f(n int) returns int language plpgsql as $$ declare r int := 0; begin
for i in 1..n loop r := (r * 31 + i) % 1000003; end loop; return r; end $$;
analyze;
"""

QUERIES = """
select a.k, count(*), max(a.t), avg(length(b.t)) from a join b on a.i = b.i where b.t like '%A%' group by a.k order by 2 desc, 1 limit 5;
select k, sum(i) over (partition by k order by i rows 5 preceding) from a where k < 9 order by 2 desc limit 5;
select count(*) from a where t ~ '^[0-9]+[a-f]{2}';
with recursive r(n, s) as (select 1, 1::numeric union all select n + 1, s * 1.37 + n from r where n < 400) select max(s) from r;
select jsonb_agg(jsonb_build_object('k', k, 't', t)) -> 3 from b where k = 7;
update b set t = t || 'x' where k = 11;
insert into b select i + 100000, i % 89, 'new' from generate_series(1, 200) i;
delete from b where i > 100000;
select f(2000);
select t, count(*) from (select substr(t, 1, 2) t from a union all select t from b) u group by t having count(*) > 60 order by 1 limit 5;
select to_char(timestamp '2020-01-01' + i * interval '1 hour', 'Day DD Month YYYY'), format('%s-%L', k, t) from a where i % 1000 = 1;
""".strip().splitlines()


def postgres(place):
    """
    PostgreSQL does not run as root; in a user namespace without names nobody is. It writes its PID into files: in a PID
    namespace that is the same each time. Still, what initdb makes differs by a few bytes now and then.
    """
    binaries = pathlib.Path(place.tool("/usr/lib/postgresql/15/bin/initdb")).parent
    server = place.program("/usr/lib/postgresql/15/bin/postgres")
    # The shell is PID 1: a PID 1 that gets a deadly signal would not die of it.
    prefix = ("unshare", "--user", "--pid", "--fork", "--kill-child", "sh", "-c", '"$@"; exit $?', "sh", "setarch", "-R")
    steady = {"LD_PRELOAD": str(place.steady)}
    data = place.folder / "data"
    share = str(binaries.parents[3]) + "/share/postgresql/15"
    single = ["--single", "-D", str(data), "-j", "-c", "fsync=off", "-c", "jit=off", "postgres"]
    queries = "".join(query + "\n\n" for query in 200 * QUERIES)
    try:
        subprocess.run([*prefix, binaries / "initdb", "-D", data, "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync",
                        "-L", share], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=simulate.environment(**steady))
        subprocess.run([*prefix, binaries / "postgres", *single], input="\n\n".join(TABLES.strip().splitlines()) + "\n\n", text=True, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=simulate.environment(**steady))
    except (OSError, subprocess.CalledProcessError) as error:
        raise Missing(f"a database cannot be made: {error}") from error
    return Load("single-user mode: eleven kinds of queries over tables of 20,000 and 5,000 rows", [server, *single], skip=60 * MILLION,
                exact=False, prefix=prefix, environment=place.steadily(), stdin=place.write("queries", queries))


def redis_words(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def redis_batch(number):
    text = b"".join
    commands = []
    for i in range(number * 200, number * 200 + 200):
        key = b"%d" % (i * 7919 % 5003)
        commands += [(b"SET", b"s" + key, b"v" * (i % 90)), (b"GET", b"s" + key), (b"INCR", b"n" + key),
                     (b"HSET", b"h" + key, b"f%d" % (i % 17), key), (b"HGETALL", b"h" + key), (b"LPUSH", b"l", key),
                     (b"LRANGE", b"l", b"0", b"9"), (b"LTRIM", b"l", b"0", b"99"), (b"ZADD", b"z", key, key),
                     (b"ZRANGEBYSCORE", b"z", b"10", b"60"), (b"SADD", b"t", key), (b"SISMEMBER", b"t", key),
                     (b"PFADD", b"p", key), (b"XADD", b"x", b"MAXLEN", b"~", b"100", b"*", b"f", key), (b"EXPIRE", b"s" + key, b"99"),
                     (b"SETRANGE", b"r", b"%d" % (i % 500), key), (b"EVAL", b"return redis.call('get', KEYS[1])", b"1", b"s" + key)]
    return text(redis_words(*command) for command in commands), len(commands)


def redis(place):
    port = free_port()
    connection = []

    def client(number):
        if not connection:
            connection.append(socket.create_connection(("127.0.0.1", port), timeout=600))
        batch, _ = redis_batch(number)
        connection[0].sendall(batch + redis_words(b"ECHO", b"batch %d over" % number))
        answer = b""
        while b"batch %d over" % number not in answer:
            received = connection[0].recv(1 << 16)
            if not received:
                raise ConnectionError
            answer = answer[-100:] + received

    return Load("a client sends 17 kinds of commands",
                [place.program("/usr/bin/redis-server"), "--port", str(port), "--save", "", "--dir", str(place.folder)],
                exact=False, environment=place.libraries(), port=port, client=client)


def prometheus(place):
    program, promtool = place.program("/usr/bin/prometheus"), place.tool("/usr/bin/promtool")
    lines = ["# TYPE requests counter"]
    series = [(job, instance, code) for job in range(4) for instance in range(6) for code in (200, 404, 500)]
    for job, instance, code in series:
        labels = f'job="j{job}",instance="i{instance}",code="{code}"'
        lines += [f"requests_total{{{labels}}} {step * (job + 2) + instance * code % 97} {1700000000 + step * 15}"
                  for step in range(480)]
    source = place.write("metrics", "\n".join(lines) + "\n# EOF\n")
    subprocess.run([promtool, "tsdb", "create-blocks-from", "openmetrics", source, place.folder / "data"], check=True,
                   stdout=subprocess.DEVNULL)
    port = free_port()
    queries = ("sum by (job) (rate(requests_total[5m]))", "topk(3, increase(requests_total[10m]))",
               'requests_total{code=~"4..|5.."} / on (job, instance) group_left sum by (job, instance) (requests_total)',
               "histogram_quantile(0.9, sum by (le) (rate(requests_total[1m])))", "absent(nonexistent)",
               "avg_over_time(requests_total[30m:1m]) > bool 100", 'label_replace(requests_total, "x", "$1", "job", "j(.*)")',
               "stddev without (instance) (deriv(requests_total[15m])) or vector(1)")

    def client(number):
        """A panel of a dashboard: a range, some instants, what there is to choose from."""
        for i in range(6):
            query = urllib.parse.quote(queries[(number + i) % len(queries)])
            if i == 0:
                get(port, f"/api/v1/query_range?query={query}&start=1700003600&end=1700006900&step={60 + number % 7}")
            get(port, f"/api/v1/query?query={query}&time={1700001000 + number * 37 % 5000}")
        get(port, "/api/v1/series?match[]=requests_total&start=1700000600&end=1700006900")
        get(port, "/api/v1/label/instance/values")
        if number % 8 == 0:
            get(port, "/metrics")

    return Load("range and instant queries of eight kinds, series and labels, over a block of 34,560 samples",
                [program, f"--web.listen-address=127.0.0.1:{port}", f"--storage.tsdb.path={place.folder}/data",
                 "--storage.tsdb.retention.time=100y", f"--config.file={place.write('prometheus.yml', '')}"],
                exact=False, environment={"GODEBUG": "asyncpreemptoff=1"}, port=port, client=client)


def etcd(place):
    port, peers = free_port(), free_port()

    def client(number):
        for i in range(number * 10, number * 10 + 10):
            key = base64.b64encode(b"/registry/pods/default/p%d" % (i * 7919 % 503)).decode()
            post(port, "/v3/kv/put", {"key": key, "value": base64.b64encode(b"v%d" % i * 40).decode()})
            post(port, "/v3/kv/range", {"key": key})
        start, end = (base64.b64encode(word).decode() for word in (b"/registry/pods/", b"/registry/pods0"))
        post(port, "/v3/kv/range", {"key": start, "range_end": end, "limit": 50})

    return Load("a client puts and gets through the JSON gateway",
                [place.program("/usr/bin/etcd"), f"--data-dir={place.folder}/data", "--unsafe-no-fsync",
                 f"--listen-client-urls=http://127.0.0.1:{port}", f"--advertise-client-urls=http://127.0.0.1:{port}",
                 f"--listen-peer-urls=http://127.0.0.1:{peers}", f"--initial-advertise-peer-urls=http://127.0.0.1:{peers}",
                 f"--initial-cluster=default=http://127.0.0.1:{peers}"],
                exact=False, environment={"GODEBUG": "asyncpreemptoff=1", "ETCD_UNSUPPORTED_ARCH": "arm64"}, port=port, client=client)


def mariadbd(place):
    server = place.program("/usr/sbin/mariadbd")
    slap = place.tool("/usr/bin/mysqlslap")
    prefix = pathlib.Path(server).parents[1]
    data = place.folder / "data"
    data.mkdir()
    options = ["--no-defaults", f"--basedir={prefix}", f"--datadir={data}", f"--lc-messages-dir={prefix}/share/mysql",
               "--skip-grant-tables"]
    user = ["--user=root"] if os.geteuid() == 0 else []
    port = free_port()

    def client(_):
        subprocess.run([slap, "--no-defaults", "-h127.0.0.1", f"-P{port}", "-uroot", "--auto-generate-sql",
                        "--auto-generate-sql-load-type=mixed", "--number-int-cols=3", "--number-char-cols=3",
                        "--auto-generate-sql-secondary-indexes=2", "--number-of-queries=2000", "--concurrency=2"],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                       env={**os.environ, **place.tool_libraries()})

    return Load("two clients of mysqlslap read and write",
                [server, *options, *user, f"--port={port}", "--bind-address=127.0.0.1", f"--socket={place.folder}/socket",
                 "--innodb-use-native-aio=0", "--innodb-flush-log-at-trx-commit=0",
                 "--loose-innodb-buffer-pool-size-max=128M"],  # it reserves 8 TiB, and QEMU counts each page
                exact=False, port=port, client=client)


LOADS = collections.OrderedDict((each.__name__, each) for each in (
    clang, cc1plus, rustc, postgres, python3, node, java, redis, prometheus, etcd, mariadbd))

# Of these Debian has packages for arm64. Java takes 3 billion instructions until it is warm, which is too many for what is left then.
ARM64 = tuple(name for name in LOADS if name != "java")

# Debian's packages of what is above, unpacked by tests/get-programs where they are not part of its own list.
PACKAGES = ("rustc", "libstd-rust-1.63", "libstd-rust-dev", "redis-server", "redis-tools", "liblzf1", "libjemalloc2", "liblua5.1-0",
            "lua-cjson", "lua-bitop", "libatomic1", "libhiredis0.14", "mariadb-client")

# Those for arm64, with all that they depend on.
ARM64_PACKAGES = ("clang-14", "g++-12", "rustc", "libstd-rust-dev", "postgresql-15", "python3", "nodejs",
                  "redis-server", "prometheus", "etcd-server", "mariadb-server-core")
