# SPDX-License-Identifier: Apache-2.0
"""What the tests of containers have is used here too: containerd, its CRI, a node with hugexec-nri."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oci"))
