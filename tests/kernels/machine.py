# SPDX-License-Identifier: Apache-2.0
"""What differs between the processors that kernels are booted on: how they are emulated, and where the programs in the guest are from."""
import dataclasses
import pathlib
import re
import shutil
import subprocess


@dataclasses.dataclass
class Machine:
    architecture: str  # as Debian calls it
    qemu: tuple
    console: str
    compiler: str = "cc"
    root: pathlib.Path = pathlib.Path("/")  # where its programs and their libraries are

    def libraries(self, program):
        """Those that PROGRAM and its libraries need, with the loader: paths as they are in the guest."""
        if self.root == pathlib.Path("/"):
            told = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
            return set(re.findall(r"(/\S+)", told))
        found, todo = set(), [pathlib.Path(program)]
        while todo:
            told = subprocess.run(["readelf", "-ldW", todo.pop()], capture_output=True, text=True, check=False).stdout
            names = re.findall(r"\(NEEDED\) .*\[(.*)\]", told) + re.findall(r"interpreter: /lib/(.*)\]", told)
            for name in names:
                place = next((path for folder in ("lib", "lib/*-linux-gnu", "usr/lib/*-linux-gnu", "usr/lib/*-linux-gnu/systemd")
                              for path in self.root.glob(f"{folder}/{name}")), None)
                if place and "/" + str(place.relative_to(self.root)) not in found:
                    found.add("/" + str(place.relative_to(self.root)))
                    todo.append(place)
        return found

    def program(self, name):
        """Where it is on this machine, or None."""
        return shutil.which(name, path=None if self.root == pathlib.Path("/") else ":".join(
            str(self.root / folder) for folder in ("bin", "sbin", "usr/bin", "usr/sbin")))

    def copy_with_libraries(self, program, target, initramfs):
        shutil.copy(program, target)
        for library in self.libraries(program):
            place = initramfs / library.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.exists():
                shutil.copy(self.root / library.lstrip("/"), place)


# Two processors take turns: a kernel that patches its own code under the other one's feet crashes in qemu 7.2, now and then.
AMD64 = Machine("amd64", ("qemu-system-x86_64", "-accel", "tcg,thread=single", "-cpu", "max"), "ttyS0")
ARM64 = Machine("arm64", ("qemu-system-aarch64", "-machine", "virt", "-accel", "tcg,thread=single", "-cpu", "max,pauth-impdef=on"), "ttyAMA0",
                "aarch64-linux-gnu-gcc")
