# SPDX-License-Identifier: Apache-2.0
"""The DaemonSet's image, made as image/Containerfile makes it, of this machine's busybox and libraries."""
import shutil
import subprocess

from lib.surroundings import ROOT

KUBERNETES = ROOT / "oci-hook" / "kubernetes"


def build_tree(folder):
    """What the image has in /hugexec, and the node in /opt/hugexec."""
    done = subprocess.run([KUBERNETES / "image" / "build-tree", ROOT, folder / "build", folder / "out"], capture_output=True, text=True,
                          timeout=550, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "out" / "opt" / "hugexec"


def add_images(daemon, folder, *tags):
    """One for each of TAGS, which its /hugexec/etc/tag says. FOLDER: for the parts."""
    tree, commands = build_tree(folder), folder / "bin"
    commands.mkdir()
    shutil.copy("/bin/busybox", commands)
    for name in subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True, timeout=60).stdout.split():
        if name != "busybox":
            (commands / name).symlink_to("/bin/busybox")
    for tag in tags:
        (tree / "etc" / "tag").write_text(tag)
        daemon.add_image(f"docker.io/library/hugexec-node:{tag}", {"/hugexec": tree, "/bin": commands}, ["/hugexec/bin/hugexec-node"])
