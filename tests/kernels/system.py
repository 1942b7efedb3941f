# SPDX-License-Identifier: Apache-2.0
"""
A system for the guest, of Debian's packages: with Python, runc and crun, and in it the tests of this checkout and what they would have
compiled. system.sh is its init.
"""
import shutil
import subprocess

import run

from programs import bigtext

# Which the guest does without.
LEFT_OUT = ("usr/include", "usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/lib/gcc")
MIB = 1024
# What tests/lib/programs.py and probes.py would build, as it is named there: MiB of text and flags.
GENERATED = {"pie": ((4, 8, 16), []), "static-pie": ((8,), ["-static-pie"]), "static": ((4, 8), ["-static"])}
PROBES = {"pie": [], "no-pie": ["-no-pie"], "static": ["-static"]}
FAULT_SECONDS = 240
BOOT_SECONDS = 5400  # for one that hangs


def add_generated(machine, folder):
    for name, (sizes, flags) in GENERATED.items():
        for mib in sizes:
            bigtext.build(mib, str(folder / f"bigtext-{name}-{mib}"), (machine.compiler, *flags))
    text = folder / "probe.s"
    text.write_text(bigtext.assembly(8, machine.compiler))
    for name, flags in PROBES.items():
        subprocess.run([machine.compiler, "-O1", "-w", *flags, "-o", folder / f"probe-{name}", run.ROOT / "tests/programs/probe.c", text], check=True)


def make_folder(machine, build, folder):
    """The system's files in FOLDER, which may be there from an earlier run: Debian's stay as they are."""
    if not folder.exists():
        partly = folder.with_name(folder.name + ".part")
        shutil.rmtree(partly, ignore_errors=True)
        subprocess.run(["cp", "-a", machine.root, partly], check=True)
        for name in LEFT_OUT:
            shutil.rmtree(partly / name, ignore_errors=True)
        for archive in partly.glob("usr/lib/*/*.a"):
            archive.unlink()
        for name in ("proc", "sys", "dev", "tmp", "run", "etc", "root", "var/tmp"):
            (partly / name).mkdir(parents=True, exist_ok=True)
        (partly / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")
        (partly / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")
        # sed, grep and the like.
        for applet in subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True).stdout.split():
            if not any((partly / place / applet).is_symlink() or (partly / place / applet).exists() for place in ("bin", "sbin", "usr/bin", "usr/sbin")):
                (partly / "bin" / applet).symlink_to("busybox")
        partly.rename(folder)
    for name in ("src", "build", "programs"):
        shutil.rmtree(folder / name, ignore_errors=True)
    # By git's list: a checkout has builds below it.
    told = subprocess.run(["git", "-c", "safe.directory=*", "ls-files", "-z", "tests", "config", "docs"], cwd=run.ROOT, capture_output=True, check=True).stdout
    for name in filter(None, told.decode().split("\0")):
        if "corpus" not in name and (run.ROOT / name).is_file():
            (folder / "src" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(run.ROOT / name, folder / "src" / name)
    for room in ("shim", "oci-hook"):
        (folder / "build" / room).mkdir(parents=True)
        for file in (build / room).iterdir():
            if file.is_file() and file.name.startswith("hugexec") and not file.suffix:
                shutil.copy(file, folder / "build" / room)
    (folder / "programs" / "generated").mkdir(parents=True)
    add_generated(machine, folder / "programs" / "generated")
    subprocess.run(["/usr/bin/python3", run.ROOT / "tests/faults/tools.py", folder / "build" / "faults", machine.compiler], check=True,
                   stderr=subprocess.DEVNULL)


def make_disk(machine, build, folder, image):
    make_folder(machine, build, folder)
    image.unlink(missing_ok=True)
    with open(image, "wb") as file:
        file.truncate(MIB << 20)
    subprocess.run(["mkfs.ext4", "-q", "-b", "4096", "-d", folder, image], check=True, capture_output=True)


def try_system(machine, kernel, common, build, folder, temporary):
    """The lines of what system.sh has tried. The system and its disk are kept in FOLDER."""
    image = folder / "system.img"
    make_disk(machine, build, folder / "system", image)
    return run.try_kernel(machine, kernel, common, {"system": image}, temporary, more=f"system fault_seconds={FAULT_SECONDS}",
                          seconds=BOOT_SECONDS)
