# SPDX-License-Identifier: Apache-2.0
"""Try hugexec on other kernels: run.py BUILD [SERIES...]

Debian's cloud kernels are unpacked (not installed: packages.py) and booted in qemu without acceleration, with an initramfs of busybox,
the built programs and guest.sh, which tries everything and prints a line a case; two at once where there is memory for that. What
holds of which kernel is in expected.txt; the table of filesystems in docs/backings.md is compared with what was seen.
Exit 0: no case failed; 1: some did; 77: no kernel or no qemu could be had (said).
"""
import concurrent.futures
import gzip
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import packages
from machine import AMD64
from selinux_policy import compile_policy

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = ROOT / "tests" / "kernels"
BOOT_SECONDS = 900  # for one that hangs
MEMORY_MIB = 3072
SELINUX_SERIES = "6.12"  # RHEL 10's

sys.path.insert(0, str(ROOT / "tests"))
from programs import bigtext, gigatext

TOOLS = ("setpriv", "setarch", "unshare")
PROGRAMS = {"bigtext-pie": [], "bigtext-static": ["-static"], "bigtext-static-pie": ["-static-pie"], "bigtext-sealed": ["-DSEAL_TEXT"]}
MODULES = ("loop", "xfs", "crypto-crc32c", "crypto-xxhash64", "btrfs", "erofs", "overlay")
# Filesystems on disks of the machine's own, whose names are their serial numbers. Sizes: the least that mkfs makes.
DISKS = {"ext4": (192, ["mkfs.ext4", "-q", "-b", "4096"]), "verity": (64, ["mkfs.ext4", "-q", "-b", "4096", "-O", "verity"]),
         "encrypt": (64, ["mkfs.ext4", "-q", "-b", "4096", "-O", "encrypt"]), "xfs": (320, ["mkfs.xfs", "-q"]), "btrfs": (128, ["mkfs.btrfs", "-q"])}


def copy_modules(kernel, initramfs):
    """Those of MODULES that are no part of the kernel itself, and what they need."""
    found = packages.modules(kernel)
    version, base = found.name, found.parents[2]
    if base.name == "usr":
        base = base.parent
        if not (base / "lib").exists():
            (base / "lib").symlink_to("usr/lib")
    subprocess.run(["depmod", "-b", base, version], check=True, capture_output=True)
    target = initramfs / "lib" / "modules" / version
    target.mkdir(parents=True, exist_ok=True)
    for module in MODULES:
        listed = subprocess.run(["modprobe", "-d", base, "-S", version, "--show-depends", module], capture_output=True, text=True,
                                check=False).stdout
        # What is before that in the line may have a blank.
        for path in re.findall(rf"^insmod .*?/modules/{re.escape(version)}/(\S+)", listed, re.MULTILINE):
            place = target / path
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.with_suffix("" if place.suffix == ".xz" else place.suffix).exists():
                shutil.copy(found / path, place)
                if place.suffix == ".xz":
                    subprocess.run(["xz", "-d", place], check=True)
    for name in ("modules.order", "modules.builtin"):
        if (found / name).exists():
            shutil.copy(found / name, target)
    subprocess.run(["depmod", "-b", initramfs, version], check=True, capture_output=True)


def add_apparmor_parser(machine, initramfs, fetched):
    """From its Debian package, unpacked: to install it would load profiles into the machine's own kernel."""
    unpacked = fetched.unpack("apparmor", own_suite=True) if machine is AMD64 else machine.root
    if unpacked:
        machine.copy_with_libraries(next(unpacked.rglob("sbin/apparmor_parser")), initramfs / "bin" / "apparmor_parser", initramfs)


def add_selinux(machine, initramfs, folder):
    """A policy, and label(1) CONTEXT FILE."""
    if shutil.which("checkpolicy"):
        compile_policy(folder, initramfs / "selinux.policy")
    label = ("#include <string.h>\n#include <sys/xattr.h>\n"
             "int main(int count, char **words) { return count != 3 || setxattr(words[2], \"security.selinux\", words[1], strlen(words[1]) + 1, 0); }")
    subprocess.run([machine.compiler, "-static", "-xc", "-o", initramfs / "bin" / "label", "-"], input=label, text=True, check=True)


def add_launch_programs(compiler, target, registers, text):
    """What launches.sh runs."""
    for name, flags in (("static", ["-static"]), ("dynamic", ["-pie", "-Wl,--no-as-needed"])):
        subprocess.run([compiler, "-nostartfiles", *flags, "-o", target / f"registers-{name}", registers, text], check=True)
    # Text that can be branched to at landing pads only: a static program's, and a library's.
    guarded = [compiler, "-O1", "-mbranch-protection=standard", "-Wl,-z,force-bti", text]
    library = target / "libguarded.so"
    subprocess.run([*guarded, "-nostdlib", "-shared", "-Wl,-soname,libguarded.so", "-o", library], check=True, stderr=subprocess.DEVNULL)
    subprocess.run([*guarded, "-nostdlib", "-static", "-ffreestanding", "-o", target / "guarded-static",
                    ROOT / "tests/programs/guarded.c"], check=True, stderr=subprocess.DEVNULL)
    subprocess.run([compiler, "-O1", "-o", target / "guarded-library", ROOT / "tests/programs/bigtext.c", library,
                    "-Wl,-rpath,/programs"], check=True)
    ignoring = ("#include <signal.h>\n#include <unistd.h>\n"
                "int main(int count, char **words) { signal(SIGCHLD, SIG_IGN); return count > 1 ? execvp(words[1], words + 1) : 1; }")
    subprocess.run([compiler, "-static", "-xc", "-o", target / "ignoring", "-"], input=ignoring, text=True, check=True)
    script = target / "script"
    script.write_text("#!/bin/sh\nexec /programs/bigtext-static exit 3\n")
    script.chmod(0o755)


def add_programs(machine, initramfs, folder):
    compiler = machine.compiler
    for name, flags in PROGRAMS.items():
        bigtext.build(8, str(initramfs / "programs" / name), (compiler, *flags))
    gigatext.build(initramfs / "programs" / "giga", whole=False, machine=bigtext.processor(compiler))
    (initramfs / "programs" / "giga").chmod(0o755)
    text = folder / "probe.s"
    text.write_text(bigtext.assembly(8, compiler))
    probe = initramfs / "programs" / "probe-pie"
    # The probe prints its own PID: as pids differ from run to run here, it is built to leave them out.
    subprocess.run([compiler, "-O1", "-w", "-DPROBE_WITHOUT_PIDS", "-o", probe, ROOT / "tests/programs/probe.c", text],
                   check=True)
    machine.copy_with_libraries(probe, folder / "unused", initramfs)
    registers = ROOT / "tests" / "programs" / f"registers-{bigtext.processor(compiler)}.s"
    if registers.exists():
        add_launch_programs(compiler, initramfs / "programs", registers, text)
    subprocess.run([compiler, "-O1", "-D_GNU_SOURCE", "-pthread", "-static", "-o", initramfs / "programs" / "busy",
                    ROOT / "tests/programs/busy.c", text], check=True)


def add_unit_tests(machine, build, initramfs):
    """Those in C, and in /unit/list how each is called."""
    told = subprocess.run(["meson", "introspect", "--tests", build], capture_output=True, check=True).stdout
    target, lines = initramfs / "unit", []
    target.mkdir()
    for test in json.loads(told):
        if not any(suite.endswith("unit") for suite in test["suite"]) or test["name"] == "policy_schema":
            continue
        words = [pathlib.Path(word) for word in test["cmd"] if word.startswith((str(build), str(ROOT)))]
        for word in words:
            if word.is_dir():
                shutil.copytree(word, target / word.name)
            else:
                machine.copy_with_libraries(word, target / word.name, initramfs)
        lines.append(" ".join([test["name"], *(f"/unit/{word.name}" for word in words)]))
    for name in ("hugexec-elf-reader", "hugexec-bundle-reader"):
        machine.copy_with_libraries(build / "tests" / "unit" / name, target / name, initramfs)
    for file in target.iterdir():
        subprocess.run([machine.compiler.replace("gcc", "strip"), file], check=False, capture_output=True)
    (target / "list").write_text("\n".join(lines) + "\n")


def pack(initramfs):
    archive = subprocess.run("find . | cpio -o -H newc --quiet", shell=True, cwd=initramfs, capture_output=True,
                             check=True).stdout
    return gzip.compress(archive, 1)


def make_initramfs(machine, build, folder, fetched):
    """What is the same for all kernels."""
    initramfs = folder / "initramfs"
    for name in ("bin", "proc", "sys", "dev", "tmp", "programs", "usr/bin"):
        (initramfs / name).mkdir(parents=True)
    shutil.copy(machine.program("busybox"), initramfs / "bin" / "busybox")
    for applet in subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True).stdout.split():
        if applet not in ("busybox", *TOOLS):
            (initramfs / "bin" / applet).symlink_to("busybox")
    for program in (*TOOLS, "systemd-socket-activate"):
        machine.copy_with_libraries(machine.program(program), initramfs / "bin" / program, initramfs)
    for name in ("hugexec", "hugexecd", "hugexec-elf-reader", "hugexecctl"):
        machine.copy_with_libraries(build / "shim" / name, initramfs / "bin" / name, initramfs)
    machine.copy_with_libraries(build / "oci-hook" / "hugexec-bundle-reader", initramfs / "bin" / "hugexec-bundle-reader", initramfs)
    add_programs(machine, initramfs, folder)
    add_apparmor_parser(machine, initramfs, fetched)
    add_selinux(machine, initramfs, folder)
    for name in ("expected.txt", "filesystems.sh", "launches.sh", "larger-pages.sh", "selinux.sh", "unit.sh"):
        shutil.copy(HERE / name, initramfs / name)
    shutil.copy(HERE / "guest.sh", initramfs / "init")
    (initramfs / "init").chmod(0o755)
    return pack(initramfs)


def make_disks(initramfs, folder):
    """{name: file}, of the filesystems that this machine can make."""
    disks = {}
    for name, (mib, command) in DISKS.items():
        if shutil.which(command[0]):
            disks[name] = folder / f"{name}.img"
            with open(disks[name], "wb") as file:
                file.truncate(mib << 20)
            subprocess.run([*command, disks[name]], check=True, capture_output=True)
    if shutil.which("mkfs.erofs"):
        disks["erofs"] = folder / "erofs.img"
        content = folder / "erofs"
        content.mkdir()
        for name in ("bigtext-pie", "bigtext-static"):
            shutil.copy(initramfs / "programs" / name, content)
        subprocess.run(["mkfs.erofs", disks["erofs"], content], check=True, capture_output=True)
    return disks


def boot(machine, kernel, initramfs, disks, more="", seconds=BOOT_SECONDS):
    command = [*machine.qemu, "-m", str(MEMORY_MIB), "-smp", "2", "-nographic", "-no-reboot"]
    for name, file in disks.items():
        command += ["-drive", f"if=none,id={name},format=raw,snapshot=on,file={file}", "-device", f"nvme,drive={name},serial={name}"]
    command += ["-kernel", packages.image(kernel), "-initrd", initramfs, "-append",
                f"console={machine.console} quiet hugepagesz=1G hugepages=1 panic=-1 init=/init rdinit=/init " + more]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                              timeout=seconds, check=False)
        told = done.stdout + done.stderr
    except subprocess.TimeoutExpired as late:
        told = (late.stdout or b"").decode(errors="replace") + "\nFAIL boot: did not end in time\n"
    lines = [line.strip() for line in told.splitlines()]
    if lines.count("done") != 1:
        lines.append("FAIL boot: the machine did not come to the end: " + " | ".join(lines[-15:]))
    return lines


def try_kernel(machine, kernel, common, disks, folder, again=(), more="", seconds=BOOT_SECONDS):
    """The lines of a boot, and of another one for each word of AGAIN: the guest's script does what that is about, and no more."""
    modules = folder / f"modules-{kernel.name}"
    copy_modules(kernel, modules)
    initramfs = folder / f"{kernel.name}.gz"
    initramfs.write_bytes(common + pack(modules))  # the kernel unpacks one archive after the other
    lines = boot(machine, kernel, initramfs, disks, more, seconds)
    for word in again:
        lines += boot(machine, kernel, initramfs, {}, word)
    return lines


def at_once():
    available = re.search(r"MemAvailable: +(\d+)", pathlib.Path("/proc/meminfo").read_text())
    return 2 if available and int(available.group(1)) >> 10 > 3 * MEMORY_MIB else 1


# As docs/backings.md names what guest.sh has tried.
DOCUMENTED = {"verity": "ext4 with the feature `verity`", "encrypt": "ext4 with the feature `encrypt`", "erofs": "erofs, not compressed",
              "overlay": "overlay above ext4"}


def documented(series):
    """What docs/backings.md has in the column of SERIES: {(filesystem, state): answer}."""
    cells, column = {}, None
    for line in (ROOT / "docs" / "backings.md").read_text().splitlines():
        row = [cell.strip(" `") for cell in line.strip("|").split(" | ")]
        if row[:2] == ["filesystem", "the file is"]:
            column = row.index(series)
        elif column and not line.startswith("|"):
            break
        elif column:
            cells[line.strip("| ").split(" | ")[0], row[1]] = row[column]
    return cells


def compare_with_docs(series, lines):
    """A line a filesystem and state of which something else is documented."""
    cells = documented(series)
    for line in lines:
        if line.startswith("cell "):
            _, state, answer, filesystem = line.split(" ")
            told = cells.get((DOCUMENTED.get(filesystem, filesystem), state))
            if told != answer:
                yield f"FAIL docs/backings.md: {filesystem}, {state}, on {series}: {answer}; documented: {told}"


def run(machine, build, fetched, wanted):
    """Try the kernels of the series WANTED; the number of cases that passed and failed, or None if no kernel can be had."""
    kernels = {}
    for series, kernel in fetched.kernels(wanted):
        if kernel:
            kernels[series] = kernel
        else:
            print(f"passed over: the kernel {series} cannot be had")
    if not kernels:
        return None
    passed = failed = 0
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(at_once()) as pool:
        folder = pathlib.Path(folder)
        common = make_initramfs(machine, build, folder, fetched)
        disks = make_disks(folder / "initramfs", folder)
        again = {list(kernels)[-1]: ["vdso=0"]} if machine is AMD64 else {}
        if (folder / "initramfs" / "selinux.policy").exists() and SELINUX_SERIES in kernels:
            again.setdefault(SELINUX_SERIES, []).append("security=selinux")
        else:
            print(f"passed over: SELinux: checkpolicy and the kernel {SELINUX_SERIES} are needed")
        jobs = {series: pool.submit(try_kernel, machine, kernel, common, disks, folder, again.get(series, ()))
                for series, kernel in kernels.items()}
        for series, job in jobs.items():
            lines = [line for line in job.result() if line.startswith(("ok ", "FAIL ", "note ", "cell "))]
            if series in packages.SERIES:
                lines += compare_with_docs(series, lines)
            print(f"== {series}: {kernels[series].name}\n" + "\n".join(lines), flush=True)
            passed += sum(line.startswith("ok ") for line in lines)
            failed += sum(line.startswith("FAIL ") for line in lines)
    return passed, failed


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    if not shutil.which(AMD64.qemu[0]) or not shutil.which("cpio"):
        print("passed over: other kernels: qemu-system-x86 and cpio are needed")
        return 77
    fetched = packages.Packages(build / "programs" / "kernels")
    counts = run(AMD64, build, fetched, sys.argv[2:] or packages.SERIES)
    if not counts:
        print("passed over: other kernels: none could be had")
        return 77
    print("kernels: {} passed, {} failed".format(*counts))
    return 1 if counts[1] else 0


if __name__ == "__main__":
    sys.exit(main())
