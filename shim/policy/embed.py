# SPDX-License-Identifier: Apache-2.0
"""Write a text file as a C header with one string: embed.py INPUT OUTPUT NAME."""
import json
import sys

source, target, name = sys.argv[1:]
with open(source, encoding="utf-8") as text, open(target, "w", encoding="utf-8") as header:
    header.write("#pragma once\n\n")
    header.write(f"static const char {name}[] =\n")
    header.writelines(f"    {json.dumps(line)}\n" for line in text)
    header.write("    ;\n")
