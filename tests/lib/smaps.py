# SPDX-License-Identifier: Apache-2.0
"""What the kernel says of a process's memory."""
import pathlib

HUGE_COUNTS = ("FilePmdMapped", "ShmemPmdMapped", "AnonHugePages", "Private_Hugetlb", "Shared_Hugetlb")


def smaps(pid):
    """The mappings of a process: dicts with start, end, perms, offset, path and the counts of smaps in bytes."""
    entries = []
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        words = line.split(None, 5)
        if "-" in words[0] and not words[0].endswith(":"):
            start, end = (int(part, 16) for part in words[0].split("-"))
            entries.append({"start": start, "end": end, "perms": words[1], "offset": int(words[2], 16),
                            "path": words[5] if len(words) > 5 else ""})
        elif words[-1] == "kB":
            entries[-1][words[0][:-1]] = int(words[1]) * 1024
    return entries


def huge_text_bytes(pid, start=0, end=1 << 64):
    """Bytes of a process's executable mappings inside [START, END) that are on huge pages."""
    return sum(entry.get(count, 0) for entry in smaps(pid) for count in HUGE_COUNTS
               if "x" in entry["perms"] and entry["start"] >= start and entry["end"] <= end)
