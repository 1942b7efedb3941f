# SPDX-License-Identifier: Apache-2.0
"""docs/itlb.svg: misses and walks of each program, a bar a layout, on two processors."""
import math
import xml.etree.ElementTree as ElementTree

import report

PROCESSORS = ("Sapphire Rapids", "Zen 4")
COLOURS = {"plain": "#868e96", "TiExec": "#d9480f", "iodlr": "#f08c00", "Hugifier": "#9c36b5", "hugexec file": "#1864ab",
           "hugexec full": "#2b8a3e"}
DECADES = {"misses": (0.001, 5), "walks": (0.1, 5)}  # the axis's begin, and how many powers of ten it has
WIDTH, PANEL, LEFT, GAP, ROW, TOP = 900, 350, 90, 40, 34, 84
BAR = 4.4


class Drawing:
    def __init__(self, height):
        self.root = ElementTree.Element("svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {WIDTH} {height:g}")
        self.root.set("font-family", "sans-serif")
        self.root.set("font-size", "12")
        self.add("rect", width=WIDTH, height=height, fill="#fff")

    def add(self, tag, text=None, title=None, **attributes):
        element = ElementTree.SubElement(
            self.root, tag, {name.replace("_", "-"): value if isinstance(value, str) else f"{value:g}"
                             for name, value in attributes.items()})
        element.text = text
        if title:
            ElementTree.SubElement(element, "title").text = title

    def write(self, path):
        ElementTree.indent(self.root)
        path.write_bytes(ElementTree.tostring(self.root) + b"\n")


def place(value, measure, left):
    """Where VALUE is on the axis, which is logarithmic; what is less than its begin is at its begin."""
    begin, decades = DECADES[measure]
    at = 0
    if value > begin:
        at = min(math.log10(value / begin) / decades, 1)
    return round(left + PANEL * at, 1)


def panel(out, programs, processor, measure, left, top):
    begin, decades = DECADES[measure]
    bottom = top + ROW * len(programs)
    title = report.MEASURES[measure][0]
    out.add("text", f"{processor}: {title[0].lower()}{title[1:]}", x=left, y=top - 8, font_size="13")
    for decade in range(decades + 1):
        x = place(begin * 10 ** decade, measure, left)
        out.add("path", d=f"M{x} {top}V{bottom}", stroke="#e9ecef")
        label = f"{begin * 10 ** decade:g}"
        out.add("text", f"≤ {label}" if decade == 0 else label, x=x, y=bottom + 15, text_anchor="middle", fill="#555")
    for row, program in enumerate(programs):
        y = top + ROW * (row + 0.5)
        counts = next(each for each in program["processors"] if each["name"] == processor)
        for lane, (layout, colour) in enumerate(COLOURS.items()):
            value = report.rate(program, counts, measure, program["layouts"].index(layout))
            length = max(place(value, measure, left) - left, 1)
            out.add("rect", title=f"{program['name']}, {layout}: {value:.4g}", x=left, y=y + BAR * (lane - 3), width=length,
                    height=BAR - 0.6, fill=colour)


def write(path, results):
    programs = [each for each in results if "reason" not in each]
    block = ROW * len(programs) + 56
    out = Drawing(TOP + block * len(PROCESSORS) + 10)
    out.add("text", "Instruction TLBs, simulated; less is better, each line to the right is ten times as much", x=LEFT, y=22, font_size="15")
    for number, (layout, colour) in enumerate(COLOURS.items()):
        x = LEFT + 105 * number
        out.add("rect", x=x, y=36, width=12, height=8, fill=colour)
        out.add("text", layout, x=x + 17, y=44)
    for number, processor in enumerate(PROCESSORS):
        top = TOP + block * number
        for row, program in enumerate(programs):
            out.add("text", program["name"], x=LEFT - 12, y=top + ROW * (row + 0.5) + 4, text_anchor="end")
        panel(out, programs, processor, "misses", LEFT, top)
        panel(out, programs, processor, "walks", LEFT + PANEL + GAP, top)
    out.write(path)
