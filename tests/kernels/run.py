"""Try hugexec on other kernels: run.py BUILD [KERNEL-PACKAGE...]

Debian's cloud kernels are unpacked (not installed) and booted in qemu without acceleration, with an initramfs of busybox,
the built programs and guest.sh, which tries everything and prints a line a case. Exit 0: no case failed; 1: some did;
77: no kernel or no qemu could be had (said).
"""
import gzip
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
SERIES = ("6.1", "6.12")
BOOT_SECONDS = 900

sys.path.insert(0, str(ROOT / "tests" / "programs"))
import bigtext  # noqa: E402
import gigatext  # noqa: E402

PROGRAMS = {"bigtext-pie": ["cc"], "bigtext-static": ["cc", "-static"],
            "bigtext-static-pie": ["cc", "-static-pie"]}


def newest_packages():
    """The newest cloud kernel of each series that apt knows."""
    listed = subprocess.run(["apt-cache", "search", "--names-only", r"^linux-image-6\.[0-9]+.*-cloud-amd64$"],
                            capture_output=True, text=True, check=False).stdout
    names = [line.split()[0] for line in listed.splitlines() if "unsigned" not in line]
    for series in SERIES:
        of_series = [name for name in names if name.startswith(f"linux-image-{series}.")]
        if of_series:
            yield max(of_series, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])


def unpack(package, folder):
    """Download and unpack PACKAGE into FOLDER, once; returns the folder, or None."""
    target = folder / package
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        if subprocess.run(["apt-get", "download", package], cwd=folder, capture_output=True, check=False).returncode:
            return None
        archive = next(folder.glob(f"{package}_*.deb"))
        subprocess.run(["dpkg", "-x", archive, target], check=True)
        archive.unlink()
    return target


def copy_with_libraries(program, target, initramfs):
    shutil.copy(program, target)
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    for library in re.findall(r"(/\S+)", listed):
        place = initramfs / library.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            shutil.copy(library, place)


def copy_modules(kernel, initramfs):
    """xfs, loop and what they need."""
    modules = next((kernel / "lib" / "modules").iterdir())
    target = initramfs / "lib" / "modules" / modules.name
    for pattern in ("kernel/fs/xfs/*", "kernel/drivers/block/loop.ko*", "kernel/lib/libcrc32c.ko*", "kernel/crypto/crc32c*",
                    "kernel/arch/x86/crypto/crc32c*", "kernel/fs/exportfs/*"):
        for module in modules.glob(pattern):
            place = target / module.relative_to(modules)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(module, place)
            if module.suffix == ".xz":
                subprocess.run(["xz", "-d", place], check=True)
    for name in ("modules.order", "modules.builtin"):
        if (modules / name).exists():
            shutil.copy(modules / name, target)
    subprocess.run(["depmod", "-b", initramfs, modules.name], check=True, capture_output=True)


def add_apparmor_parser(initramfs, packages):
    """From its Debian package, unpacked: to install it would load profiles into the machine's own kernel."""
    unpacked = unpack("apparmor", packages)
    if unpacked:
        copy_with_libraries(unpacked / "sbin" / "apparmor_parser", initramfs / "bin" / "apparmor_parser", initramfs)


def make_initramfs(build, kernel, folder):
    initramfs = folder / "initramfs"
    for name in ("bin", "proc", "sys", "dev", "tmp", "programs", "usr/bin"):
        (initramfs / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", initramfs / "bin" / "busybox")
    for applet in subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True).stdout.split():
        if applet not in ("busybox", "setpriv"):
            (initramfs / "bin" / applet).symlink_to("busybox")
    copy_with_libraries(shutil.which("setpriv"), initramfs / "bin" / "setpriv", initramfs)
    copy_with_libraries(shutil.which("systemd-socket-activate"), initramfs / "bin" / "systemd-socket-activate", initramfs)
    for name in ("hugexec", "hugexecd", "hugexec-elf-reader", "hugexecctl"):
        copy_with_libraries(build / "shim" / name, initramfs / "bin" / name, initramfs)
    copy_with_libraries(build / "oci-hook" / "hugexec-bundle-reader", initramfs / "bin" / "hugexec-bundle-reader", initramfs)
    for name, command in PROGRAMS.items():
        if shutil.which(command[0]):
            bigtext.build(8, str(initramfs / "programs" / name), tuple(command))
    gigatext.build(initramfs / "programs" / "giga", whole=False)
    (initramfs / "programs" / "giga").chmod(0o755)
    text = folder / "probe.s"
    text.write_text(bigtext.assembly(8))
    probe = initramfs / "programs" / "probe-pie"
    # The probe prints its own PID: as pids differ from run to run here, it is built to leave them out.
    subprocess.run(["cc", "-O1", "-w", "-DPROBE_WITHOUT_PIDS", "-o", probe, ROOT / "tests/programs/probe.c", text],
                   check=True)
    copy_with_libraries(probe, folder / "unused", initramfs)
    subprocess.run(["cc", "-O1", "-D_GNU_SOURCE", "-pthread", "-static", "-o", initramfs / "programs" / "busy",
                    ROOT / "tests/programs/busy.c", text], check=True)
    copy_modules(kernel, initramfs)
    add_apparmor_parser(initramfs, build / "programs" / "kernels")
    if shutil.which("mkfs.xfs"):
        with open(initramfs / "xfs.img", "wb") as image:
            image.truncate(320 << 20)
        subprocess.run(["mkfs.xfs", "-q", initramfs / "xfs.img"], check=True)
    shutil.copy(ROOT / "tests" / "kernels" / "guest.sh", initramfs / "init")
    (initramfs / "init").chmod(0o755)
    archive = subprocess.run("find . | cpio -o -H newc --quiet", shell=True, cwd=initramfs, capture_output=True,
                             check=True).stdout
    packed = folder / "initramfs.gz"
    packed.write_bytes(gzip.compress(archive, 1))
    return packed


def boot(kernel, initramfs, more=""):
    image = next((kernel / "boot").glob("vmlinuz-*"))
    command = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "3072", "-smp", "2", "-nographic", "-no-reboot",
               "-kernel", image, "-initrd", initramfs, "-append", "console=ttyS0 quiet hugepagesz=1G hugepages=1 panic=-1 init=/init rdinit=/init " + more]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                              timeout=BOOT_SECONDS, check=False)
        return done.stdout
    except subprocess.TimeoutExpired as late:
        return (late.stdout or b"").decode(errors="replace") + "\nFAIL boot: did not end in time\n"


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    if not shutil.which("qemu-system-x86_64") or not shutil.which("cpio"):
        print("passed over: other kernels: qemu-system-x86 and cpio are needed")
        return 77
    packages = sys.argv[2:] or list(newest_packages())
    passed = failed = 0
    for package in packages:
        kernel = unpack(package, build / "programs" / "kernels")
        if not kernel:
            print(f"passed over: the kernel {package} cannot be had")
            continue
        with tempfile.TemporaryDirectory() as folder:
            initramfs = make_initramfs(build, kernel, pathlib.Path(folder))
            # Without a vDSO the guest's script does what that is about, and no more.
            boots = [boot(kernel, initramfs), *([boot(kernel, initramfs, "vdso=0")] if package == packages[-1] else [])]
            lines = [line.strip() for told in boots for line in told.splitlines()]
        print(f"== {package}")
        for line in lines:
            if line.startswith(("ok ", "FAIL ", "note ")):
                print(line)
        passed += sum(line.startswith("ok ") for line in lines)
        failed += sum(line.startswith("FAIL ") for line in lines)
        if lines.count("done") != len(boots):
            print(f"FAIL {package}: the machine did not come to the end:\n" + "\n".join(lines[-15:]))
            failed += 1
    if passed + failed == 0:
        print("passed over: other kernels: none could be had")
        return 77
    print(f"kernels: {passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
