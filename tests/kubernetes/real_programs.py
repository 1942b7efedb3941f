# SPDX-License-Identifier: Apache-2.0
"""Images of this machine's own programs, with the libraries that they need."""
import pathlib
import re
import shutil
import subprocess

POSTGRES = next((path.parent for path in sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres"))), None)
JAVA = pathlib.Path(shutil.which("java") or "/nonexistent").resolve()
USERS = "root:x:0:0::/:/bin/sh\npostgres:x:1000:1000::/data:/bin/sh\n"


def closure(*programs):
    """PROGRAMS and what ld.so would load for them: {path in the image: path here}."""
    files = {str(program): str(program) for program in programs}
    for program in programs:
        told = subprocess.run(["ldd", program], capture_output=True, text=True, timeout=60, check=False).stdout
        files.update({path: str(pathlib.Path(path).resolve()) for path in re.findall(r"(?:=> |^\s*)(/\S+) \(", told, re.MULTILINE)})
    return files


def add_postgres(cluster):
    passwd = cluster.folder / "passwd"
    passwd.write_text(USERS)
    share = pathlib.Path("/usr/share/postgresql") / POSTGRES.parent.name
    modules = [POSTGRES.parent / "lib" / name for name in ("plpgsql.so", "dict_snowball.so")]
    files = closure(POSTGRES / "postgres", POSTGRES / "initdb", *modules)
    cluster.node.daemon.add_image("localhost/shop/postgres:1", {**files, "/bin/busybox": "/bin/busybox", "/bin/sh": "/bin/busybox", "/etc/passwd": str(passwd),
                                                           str(share): str(share)}, ["/bin/busybox", "true"])


def add_java(cluster):
    """Of a JDK, what a server needs."""
    home = JAVA.parents[1]
    libraries = [path for path in (home / "lib").rglob("*.so") if path.is_file()]
    files = closure(JAVA, home / "bin" / "rmiregistry", *libraries)
    files.update({str(home / "lib" / name): str((home / "lib" / name).resolve()) for name in ("modules", "jvm.cfg")})
    for folder in ("conf", "lib/security"):
        files.update({str(path): str(path.resolve()) for path in (home / folder).rglob("*") if path.is_file()})
    cluster.node.daemon.add_image("localhost/shop/java:1", {**files, "/bin/busybox": "/bin/busybox"}, ["/bin/busybox", "true"])
