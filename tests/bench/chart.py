#!/usr/bin/python3
"""chart.py RESULTS.json OUTPUT.svg: draw what bench.py has measured: added start-up time over size of text."""
import json
import sys
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 110, 44, 52
COLOURS = {"file": "#2b8a3e", "hugetlb": "#1864ab", "thp": "#d9480f"}


def ticks(largest):
    """About five round numbers from 0 to at least LARGEST."""
    for step in (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500):
        if largest / step <= 6:
            break
    count = int(largest / step) + 1
    return [step * i for i in range(count + 1)]


def chart(results):
    lines = {name: {int(mib): ms for mib, ms in line["added_ms"].items()} for name, line in results["linearity"].items()}
    across = ticks(max(mib for points in lines.values() for mib in points))
    up = ticks(max(ms for points in lines.values() for ms in points.values()))

    def x(mib):
        return LEFT + (WIDTH - LEFT - RIGHT) * mib / across[-1]

    def y(ms):
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * max(ms, 0) / up[-1]

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
           f'<text x="{LEFT}" y="24" font-size="15">Time that hugexec adds to a start, by size of text</text>']
    for ms in up:
        out.append(f'<path d="M{LEFT} {y(ms):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y(ms) + 4:.1f}" text-anchor="end">{ms:g}</text>')
    for mib in across:
        out.append(f'<text x="{x(mib):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{mib:g}</text>')
    out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 12}" text-anchor="middle">MiB of text</text>')
    out.append(f'<text x="16" y="{HEIGHT / 2}" transform="rotate(-90 16 {HEIGHT / 2})" text-anchor="middle">ms</text>')
    for name, points in lines.items():
        path = "L".join(f"{x(mib):.1f} {y(ms):.1f}" for mib, ms in sorted(points.items()))
        colour = COLOURS.get(name, "#555")
        out.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out.extend(f'<circle cx="{x(mib):.1f}" cy="{y(ms):.1f}" r="3.5" fill="{colour}"/>' for mib, ms in points.items())
        last = max(points)
        out.append(f'<text x="{x(last) + 10:.1f}" y="{y(points[last]) + 4:.1f}" fill="{colour}">{escape(name)}</text>')
    machine = results["machine"]
    out.append(f'<text x="{WIDTH - 8}" y="{HEIGHT - 12}" text-anchor="end" font-size="10" fill="#777">'
               f'Linux {escape(machine["kernel"])}, {machine["processors"]} processors</text>')
    return "\n".join(out) + "\n</svg>\n"


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        results = json.load(file)
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        file.write(chart(results))


if __name__ == "__main__":
    main()
