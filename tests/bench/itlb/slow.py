#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
slow.py RESULTS.json <TRACE: the second, slower implementation of the TLB model. Prints what it counts, as itlb-replay does.

Written for the eye: a set is an ordered dictionary, each processor and layout is simulated for itself from the first to the
last event, nothing is shared or left out. RESULTS tells the processors' sizes only. tests/integration/test_itlb.py holds
the fast implementation against this one; trace.h has the format.
"""
import collections
import json
import sys

PAGE, HUGE = 1 << 12, 1 << 21
PROGRAM, LIBRARY, LATER, LOADER = range(4)
LAYOUTS = ("plain", "TiExec", "iodlr", "libhugetlbfs", "Hugifier", "hugexec file", "hugexec full")
Object = collections.namedtuple("Object", "kind fixed code_off code_bytes text_off text_bytes text_start section_off "
                                          "section_bytes relinked")


def page(address, bytes_):
    """A page: its number and its size."""
    return address // bytes_, bytes_


def fits(address, start, length):
    """Whether the 2 MiB slot of ADDRESS lies in LENGTH bytes from START."""
    return start <= address // HUGE * HUGE and (address // HUGE + 1) * HUGE <= start + length


def page_of(layout, what, offset):
    """The page that OFFSET of the object WHAT is in."""
    distance = what.text_start - what.text_off
    address = distance + offset
    if not what.code_off <= offset < what.code_off + what.code_bytes:
        return page(address, PAGE)
    relinked = page(what.relinked + offset - what.code_off, HUGE)
    movable = what.kind == PROGRAM and not what.fixed
    if layout.startswith("hugexec"):
        if what.kind == LOADER or what.text_bytes < HUGE:
            return page(address, PAGE)
        if movable:
            address = distance // HUGE * HUGE + offset
        congruent = movable or distance % HUGE == 0
        if layout == "hugexec full" and what.kind in (PROGRAM, LIBRARY):
            return page(address, HUGE)
        if congruent and fits(offset, what.text_off, what.text_bytes):
            return page(address, HUGE)
        return page(address, PAGE)
    huge = {
        "plain": False,
        "TiExec": what.kind == PROGRAM and fits(address, what.text_start, what.text_bytes),
        "iodlr": what.kind in (PROGRAM, LIBRARY) and fits(address, distance + what.section_off, what.section_bytes),
        "libhugetlbfs": what.kind == PROGRAM,
        "Hugifier": what.kind != LOADER,
    }[layout]
    if huge and layout in ("libhugetlbfs", "Hugifier"):
        return relinked
    return page(address, HUGE if huge else PAGE)


class Tlb:
    def __init__(self, entries, ways):
        self.ways = ways
        self.sets = [collections.OrderedDict() for _ in range(entries // ways)]

    def has(self, number_and_size):
        """Whether the page is there; it is afterwards."""
        lines = self.sets[number_and_size[0] % len(self.sets)]
        hit = number_and_size in lines
        lines[number_and_size] = None
        lines.move_to_end(number_and_size)
        if len(lines) > self.ways:
            lines.popitem(last=False)
        return hit


class Core:
    """One thread on one processor under one layout."""

    def __init__(self, processor, layout):
        self.layout = layout
        self.coalesce = 1 << processor["coalesce"]
        self.small = Tlb(*processor["fetch_small"])
        self.huge = Tlb(*processor["fetch_huge"]) if processor["fetch_huge"][0] else self.small
        self.second = Tlb(*processor["second"])
        self.load = self.store = None
        if processor["second_has_data"]:
            self.load = Tlb(*processor["load"])
            self.store = Tlb(*processor["store"]) if processor["store"][0] else self.load
        self.misses = self.walks = 0

    def fetch(self, number, size):
        if size == PAGE:
            number //= self.coalesce
        first = self.huge if size == HUGE else self.small
        if not first.has((number, size)):
            self.misses += 1
            if not self.second.has((number, size)):
                self.walks += 1

    def data(self, address, store):
        if self.load and not (self.store if store else self.load).has(page(address, PAGE)):
            self.second.has(page(address, PAGE))


def simulate(processor, layout, events):
    objects, cores = {}, {}
    for kind, *numbers in events:
        if kind == "O":
            objects[numbers[0]] = Object(*numbers[1:])
            continue
        core = cores.setdefault(numbers[0], None) or Core(processor, layout)
        cores[numbers[0]] = core
        if kind == "F":
            core.fetch(*page_of(layout, objects[numbers[1]], numbers[2]))
        elif kind == "A":
            core.fetch(*page(numbers[1], PAGE))
        else:
            core.data(*numbers[1:])
    return sum(core.misses for core in cores.values()), sum(core.walks for core in cores.values())


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        processors = json.load(file)["processors"]
    events = [(line[0], *(int(word, 16) for word in line.split()[1:])) for line in sys.stdin]
    results = []
    for processor in processors:
        counted = [simulate(processor, layout, events) for layout in LAYOUTS]
        results.append({"name": processor["name"], "misses": [misses for misses, _ in counted],
                        "walks": [walks for _, walks in counted]})
    json.dump({"layouts": LAYOUTS, "processors": results}, sys.stdout)


if __name__ == "__main__":
    main()
