# SPDX-License-Identifier: Apache-2.0
"""paths.py INPUT OUTPUT OLD=NEW...: a manual with other paths; OLD is the beginning of one."""
import pathlib
import re
import sys

new = dict(pair.split("=", 1) for pair in sys.argv[3:])
pattern = re.compile("|".join(map(re.escape, new)))
pathlib.Path(sys.argv[2]).write_text(pattern.sub(lambda found: new[found[0]], pathlib.Path(sys.argv[1]).read_text()))
