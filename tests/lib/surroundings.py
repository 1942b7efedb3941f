# SPDX-License-Identifier: Apache-2.0
"""
What all topics ask of the machine: whatever it is set to, whatever folder the checkout lies in and whoever made it, a test
finds the same surroundings. Loaded before any other module, so that these find HUGEXEC_BUILD and HUGEXEC_PROGRAMS set.
"""
import atexit
import ctypes
import os
import pathlib
import re
import shutil
import signal
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLONE_NEWNS, MS_BIND, MS_REC, MS_SLAVE = 0x20000, 0x1000, 0x4000, 0x80000
PR_SET_NO_NEW_PRIVS = 38
INSTALLED = ("/etc/hugexec", "/usr/lib/hugexec", "/usr/libexec/hugexec", "/run/hugexec")
LIBC = ctypes.CDLL(None, use_errno=True)
has_own_mounts = False
os.environ.pop("COLUMNS", None)  # a shell's, or that of pytest-xdist 3.6: how wide lines are is for each test to say


def is_open(path):
    """Whether other users reach PATH."""
    return all(folder.stat().st_mode & 0o5 == 0o5 for folder in (path, *path.parents))


def is_plain(path):
    """Whether shell scripts, their first lines and mount options take PATH for one word, and as it is."""
    return re.fullmatch(r"[\w/.+@=~-]+", str(path))


def open_folder(prefix):
    """A new folder of ours that others reach: in TMPDIR if they reach that, and if scripts can name it in their first line."""
    above = pathlib.Path(tempfile.gettempdir()).resolve()
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-", dir=above if is_open(above) and is_plain(above) else "/tmp"))
    folder.chmod(0o755)
    return folder


def open_to_all(folders):
    """
    FOLDERS, or a place where those are bound that other users do not reach (a checkout below /root), or that have a blank
    or more in the path, which tests put into shell scripts and mount options: in a mount namespace of this process and of
    those that it starts. As they are where that takes more rights.
    """
    closed = [folder for folder in folders if not is_open(folder) or not is_plain(folder)]
    if not closed or not own_mounts():
        return folders
    places = {}
    for folder in closed:
        places[folder] = open_folder("hugexec-checkout-")
        mount(folder, places[folder], None, MS_BIND | MS_REC)
        atexit.register(close_again, os.getpid(), places[folder])
    return [places.get(folder, folder) for folder in folders]


def own_mounts():
    """A mount namespace of this process and of those that it starts, once; False where that takes more rights."""
    global has_own_mounts
    if not has_own_mounts and os.geteuid() == 0 and LIBC.unshare(CLONE_NEWNS) == 0:
        mount("none", "/", None, MS_REC | MS_SLAVE)
        has_own_mounts = True
    return has_own_mounts


def mount(what, where, kind, flags, data=None):
    if LIBC.mount(os.fsencode(what), os.fsencode(where), kind, flags, data) < 0:
        raise OSError(ctypes.get_errno(), f"cannot mount {where}")


def hide_installed():
    """What a hugexec of this machine reads and keeps is not what is tested: its policy, its programs, its records and socket."""
    there = [folder for folder in INSTALLED if os.path.isdir(folder)]
    for folder in there if there and own_mounts() else ():
        mount("none", folder, b"tmpfs", 0, b"mode=755")


def close_again(pid, folder):
    """Undo what open_to_all() did in process PID; the mount would end with it, the empty folder would not."""
    if os.getpid() == pid:
        LIBC.umount2(os.fsencode(folder), 2)
        folder.rmdir()


def open_up(folder):
    """Let other users into a FOLDER of a test."""
    for each in (folder, *folder.parents):
        if is_open(each):
            return
        assert "hugexec-tests-" in str(each), f"{each} is not ours to be opened"
        each.chmod(each.stat().st_mode | 0o055)


def folder_of(name, default):
    path = pathlib.Path(os.environ.get(name, ROOT / default)).resolve()
    path.mkdir(parents=True, exist_ok=True)
    return path


def set_surroundings():
    """Those that tests rely on. They are about other ones too, and then set these themselves."""
    os.umask(0o022)
    # Of a parent that takes no notice of it hugexec thinks that it reaps only those it knows, and follows no wrapper of its.
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, stop_cleanly)
    if "LC_ALL" not in os.environ:
        for name in [name for name in os.environ if name == "LANGUAGE" or name.startswith("LC_")]:
            del os.environ[name]
    os.environ["LC_ALL"] = "C.UTF-8"  # what tools say is compared
    for name in ("HUGEXEC", "LD_PRELOAD", "LD_LIBRARY_PATH", "MAKEFLAGS", "MAKELEVEL", "NOTIFY_SOCKET", "JOURNAL_STREAM"):
        os.environ.pop(name, None)
    os.environ.setdefault("TERM", "dumb")
    os.environ["PATH"] += ":/usr/sbin:/sbin"  # a user's has not where mkfs is
    if os.geteuid() != 0:  # a wrapper is followed without privilege only where no program behind it can gain any
        LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    os.environ.setdefault("HUGEXEC_HELPER", "off")  # a hugexecd that this machine may have is not what is tested


def stop_cleanly(number, _):
    """A run that is ended gives the machine's settings back all the same."""
    raise KeyboardInterrupt(f"signal {number}")


def pytest_configure(config):
    """A folder of our own: another pytest that starts meanwhile takes the permissions of the shared one away."""
    config.addinivalue_line("markers", "alone: no other test of this machine runs meanwhile")
    if config.option.basetemp is None:
        own = open_folder("hugexec-tests-")
        config.option.basetemp = str(own / "pytest")
        config.add_cleanup(lambda: shutil.rmtree(own, ignore_errors=True))


set_surroundings()
hide_installed()
BUILD, PROGRAMS = open_to_all([folder_of("HUGEXEC_BUILD", "build"), folder_of("HUGEXEC_PROGRAMS", "build/programs")])
os.environ["HUGEXEC_BUILD"], os.environ["HUGEXEC_PROGRAMS"] = str(BUILD), str(PROGRAMS)
