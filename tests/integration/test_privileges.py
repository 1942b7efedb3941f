# SPDX-License-Identifier: Apache-2.0
"""Who may trace what, beyond the table of test_launch.py."""
import os
import shutil
import subprocess

import pytest

from lib.policies import policy_with
from lib.report import read_report


@pytest.mark.skipif(os.geteuid() != 0, reason="to give a file away takes root")
def test_root_that_may_not_read_it(hugexec_command, bigtext, public_folder):
    """With CAP_SYS_PTRACE a program that may be executed but not read is traced. Its text cannot be read all the same."""
    copy = public_folder / "program"
    shutil.copy(bigtext(4), copy)
    os.chown(copy, 1, 65534)
    copy.chmod(0o711)
    blind = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    words, report = hugexec_command([copy, "ids"], policy_with(), "thp")
    plain, ours = (subprocess.run([*blind, *command], capture_output=True, text=True, check=True).stdout
                   for command in ([copy, "ids"], words))
    assert ours == plain
    assert [line["reason"].split(":")[0] for line in read_report(report)] == ["text-unreadable"]
