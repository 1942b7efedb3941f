# SPDX-License-Identifier: Apache-2.0
"""A systemd in a Debian's root, which can boot again, and Debian's packages in it."""
import hashlib
import os
import shutil
import stat

from lib.systemd_container import SystemdContainer

# What systemd, dpkg and the services write by themselves.
OF_THEIR_OWN = ("/etc/.updated", "/etc/ld.so.cache", "/etc/machine-id", "/etc/.pwd.lock", "/usr/.updated", "/var/.updated", "/usr/share/man", "/usr/share/info")


class RootMachine:
    """ROOT with what is in WRITTEN on top. Whatever SystemdContainer can do this can, and boot anew. DEBS: the packages."""

    def __init__(self, root, written, debs):
        self.root, self.written, self.debs = root, written, debs
        self.booted = SystemdContainer(root=root, written=written)
        # What services look up.
        self.write("/etc/hosts", "127.0.0.1 localhost tests\n")

    def __getattr__(self, name):
        return getattr(self.booted, name)

    def close(self):
        self.booted.close()

    def reboot(self, meanwhile=None):
        """Power off, as if by the plug, and on again; MEANWHILE is called with the folder of what is written, while it is off."""
        self.booted.run(["sync"])
        self.booted.close()
        if meanwhile:
            meanwhile(os.path.join(self.written, "upper"))
        self.booted = SystemdContainer(root=self.root, written=self.written)

    def dpkg(self, *words, check=True):
        return self.run(["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "dpkg", *words], check=check, seconds=300)

    def install(self, package, name="hugexec"):
        """dpkg -i of a file."""
        path = self.path(f"/root/{name}.deb")
        shutil.copy(package, path)
        done = self.dpkg("-i", f"/root/{name}.deb")
        path.unlink()
        return done

    def hugexec(self, version=None):
        """The hugexec package; VERSION: the same under another number."""
        package = next(self.debs.glob("hugexec_*_amd64.deb"))
        if not version:
            return self.install(package)
        shutil.copy(package, self.path("/root/this.deb"))
        self.run(["sh", "-euc", "cd /root; dpkg-deb -R this.deb tree; sed -i \"s/^Version: .*/Version: $1/\" tree/DEBIAN/control;"
                  "dpkg-deb -Znone -b tree other.deb >&2; rm -r tree this.deb", "sh", version])
        done = self.dpkg("-i", "/root/other.deb")
        self.path("/root/other.deb").unlink()
        return done

    def make_package(self, name, version, files, scripts):
        """Build and install a package with FILES (name -> text; executable if it is a script) and maintainer SCRIPTS."""
        for path, text in files.items():
            self.write(f"/root/tree/{path}", text, 0o755 if text.startswith("#!") else 0o644)
        self.write("/root/tree/DEBIAN/control", f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: tests <tests@localhost>\n"
                                                "Description: test\n")
        for script, text in scripts.items():
            self.write(f"/root/tree/DEBIAN/{script}", f"#!/bin/sh\nset -e\n{text}\n", 0o755)
        self.run(["sh", "-euc", "cd /root; dpkg-deb -Znone -b tree made.deb >&2; rm -r tree"])
        self.dpkg("-i", "/root/made.deb")
        self.path("/root/made.deb").unlink()

    def exec_start(self, unit):
        return self.show(unit, "ExecStart")["ExecStart"]

    def files(self, *tops, without=()):
        """All files below TOPS: path -> what is in it, and its mode and owner."""
        found = {}
        for top in tops:
            for folder, folders, names in os.walk(self.path(top)):
                inside = "/" + os.path.relpath(folder, self.path("/"))
                folders[:] = [name for name in folders if f"{inside}/{name}" not in OF_THEIR_OWN]
                for name in [*names, *folders]:
                    path = f"{inside}/{name}"
                    if path.startswith(OF_THEIR_OWN) or path.startswith(tuple(without)):
                        continue
                    status = os.lstat(os.path.join(folder, name))
                    content = ""
                    if stat.S_ISLNK(status.st_mode):
                        content = os.readlink(os.path.join(folder, name))
                    elif stat.S_ISREG(status.st_mode):
                        with open(os.path.join(folder, name), "rb") as file:
                            content = hashlib.sha256(file.read()).hexdigest()
                    found[path] = (stat.filemode(status.st_mode), status.st_uid, status.st_gid, content)
        return found

    def starts(self, unit):
        """How often the journal has this unit as started."""
        return len(self.journal(f"UNIT={unit}", "MESSAGE_ID=39f53479d3a045ac8e11786248231fbf"))


def changed(before, after):
    """The paths that are not the same, with what was and is."""
    return {path: (before.get(path), after.get(path)) for path in sorted({*before, *after}) if before.get(path) != after.get(path)}

