#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""chart.py RESULTS.json OUTPUT.svg: draw what bench.py has measured: added start-up time over size of text."""
import json
import sys
import xml.etree.ElementTree as ElementTree

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 110, 44, 52
COLOURS = {"file": "#2b8a3e", "hugetlb": "#1864ab", "thp": "#d9480f"}


def ticks(largest):
    """About five round numbers from 0 to at least LARGEST."""
    for step in (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500):
        if largest / step <= 6:
            break
    return [step * i for i in range(int(-(-largest // step)) + 1)]


class Drawing:
    def __init__(self):
        self.root = ElementTree.Element("svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {WIDTH} {HEIGHT}")
        self.root.set("font-family", "sans-serif")
        self.root.set("font-size", "13")

    def add(self, tag, text=None, **attributes):
        element = ElementTree.SubElement(
            self.root, tag, {name.replace("_", "-"): value if isinstance(value, str) else f"{value:g}"
                             for name, value in attributes.items()})
        element.text = text

    def write(self, path):
        ElementTree.indent(self.root)
        with open(path, "wb") as file:
            file.write(ElementTree.tostring(self.root) + b"\n")


def chart(results):
    lines = {name: {int(mib): ms for mib, ms in line["added_ms"].items()} for name, line in results["linearity"].items()}
    across = ticks(max(mib for points in lines.values() for mib in points))
    up = ticks(max(ms for points in lines.values() for ms in points.values()))

    def x(mib):
        return round(LEFT + (WIDTH - LEFT - RIGHT) * mib / across[-1], 1)

    def y(ms):
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * max(ms, 0) / up[-1], 1)

    out = Drawing()
    out.add("rect", width=WIDTH, height=HEIGHT, fill="#fff")
    out.add("text", "Time that hugexec adds to a start, by size of text", x=LEFT, y=24, font_size="15")
    for ms in up:
        out.add("path", d=f"M{LEFT} {y(ms)}H{WIDTH - RIGHT}", stroke="#ddd")
        out.add("text", f"{ms:g}", x=LEFT - 8, y=y(ms) + 4, text_anchor="end")
    for mib in across:
        out.add("text", f"{mib:g}", x=x(mib), y=HEIGHT - BOTTOM + 18, text_anchor="middle")
    out.add("text", "MiB of text", x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 12, text_anchor="middle")
    out.add("text", "ms", x=16, y=HEIGHT / 2, transform=f"rotate(-90 16 {HEIGHT / 2:g})", text_anchor="middle")
    # Names stand beside the last points, apart where those are close together.
    lowest = None
    for name, points in sorted(lines.items(), key=lambda item: item[1][max(item[1])]):
        colour = COLOURS.get(name, "#555")
        last = max(points)
        at = y(points[last]) + 4 if lowest is None else min(y(points[last]) + 4, lowest - 15)
        lowest = at
        out.add("path", d="M" + "L".join(f"{x(mib)} {y(ms)}" for mib, ms in sorted(points.items())), fill="none",
                stroke=colour, stroke_width="2")
        for mib, ms in points.items():
            out.add("circle", cx=x(mib), cy=y(ms), r="3.5", fill=colour)
        out.add("text", name, x=x(last) + 10, y=at, fill=colour)
    machine = results["machine"]
    out.add("text", f"Linux {machine['kernel']}, {machine['processors']} processors", x=WIDTH - 8, y=HEIGHT - 12,
            text_anchor="end", font_size="10", fill="#777")
    return out


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        results = json.load(file)
    chart(results).write(sys.argv[2])


if __name__ == "__main__":
    main()
