# SPDX-License-Identifier: Apache-2.0
"""The engines that have NRI, of which a node (nri_node.py) has one."""
import functools

import containerd
import crio

from lib.surroundings import PROGRAMS

NRI_ON = '[plugins."io.containerd.nri.v1.nri"]\n  disable = false\n'  # of containerd 1.7, which has it off
# name: (the folder of its programs or None, why there may be none, what starts it)
ENGINES = {
    "containerd-2": (containerd.find_with_nri(PROGRAMS), "no containerd 2 here (tests/oci/get_containerd.py fetches it)", containerd.Containerd),
    "containerd-1.7": (containerd.find_1_7(PROGRAMS), "no containerd 1.7 here (tests/oci/get_containerd.py fetches it)",
                       functools.partial(containerd.Containerd, more=NRI_ON)),
    "cri-o": (crio.find_crio(PROGRAMS), "no CRI-O here (tests/kubernetes/get-programs builds it)", crio.Crio),
}


def make(name, folder, runc=None):
    """Start the engine NAME in FOLDER. RUNC: the folder of another one than this machine's."""
    binaries, _, start = ENGINES[name]
    return start(folder, binaries, runc=runc)
