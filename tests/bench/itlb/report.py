# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/itlb.md, made of bench-itlb's counts."""
import dataclasses
import re
import statistics

OURS = ("hugexec file", "hugexec full")
BEST_CASE = "Zen 4, coalescing"  # in its own rows, in no median


@dataclasses.dataclass(frozen=True)
class Part:
    """What one command makes."""
    target: str
    prefix: str      # of headings, which are in one file
    processors: str  # those whose names begin so


X86_64 = Part("bench-itlb", "", "")
ARM64 = Part("bench-itlb-arm64", "arm64: ", "Neoverse")
NUMBERS = {2: "two", 3: "three", 9: "nine"}

# What is counted: name, unit, factor, digits, and the least of a plain run of which a ratio says anything.
MEASURES = {
    "misses": ("First-level misses per 1,000 instructions", 1e3, 3, 0.001),
    "walks": ("Page walks per million instructions", 1e6, 1, 0.1),
}


def rate(program, processor, measure, layout):
    _, factor, _, _ = MEASURES[measure]
    return processor[measure][layout] * factor / program["insns"]


def ratio(plain, value, least):
    return f"{value / plain:.3f}" if plain >= least else ""


def table(head, rows):
    """As Markdown; the first column is text."""
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n\n"


def in_medians(program):
    return [each for each in program["processors"] if each["name"] != BEST_CASE]


def medians(program, measure):
    """Of all named processors: the plain rates' lowest and highest, and each layout's median ratio to plain."""
    least = MEASURES[measure][3]
    processors = in_medians(program)
    plain = [rate(program, each, measure, 0) for each in processors]
    ratios = []
    for layout in range(1, len(program["layouts"])):
        known = [rate(program, each, measure, layout) / base for each, base in zip(processors, plain) if base >= least]
        ratios.append(f"{statistics.median(known):.3f}" if known else "")
    return min(plain), max(plain), ratios


def summary(programs, measure, prefix):
    title, _, digits, _ = MEASURES[measure]
    rows = []
    for program in programs:
        low, high, ratios = medians(program, measure)
        low, high = f"{low:.{digits}f}", f"{high:.{digits}f}"
        rows.append([program["name"], low if low == high else f"{low} to {high}", *ratios])
    count = len(in_medians(programs[0]))
    return (f"### {prefix}{title}: ratio to plain, median of the {NUMBERS.get(count, count)} processors\n\n" +
            table(["", "plain", *programs[0]["layouts"][1:]], rows))


def one_program(program, prefix):
    insns = program["insns"]
    objects = [each for each in sorted(program["objects"], key=lambda each: -each["insns"])[:2] if each["insns"] >= insns / 100]
    where = ", ".join(f"{each['path'].rsplit('/', 1)[1]} {each['insns'] / insns:.0%} ({each['text'] / (1 << 20):.1f} MiB of "
                      f"text, {each['pages']} pages of it executed)" for each in objects)
    text = (f"### {prefix}{program['name']}\n\n{program['what'][0].upper()}{program['what'][1:]}. Instructions: {where}; "
            f"code in no file (JIT) {program['anonymous_insns'] / insns:.1%}. "
            f"{'The same to the last digit each time' if program['exact'] else 'Varies a little from run to run'}; "
            f"threads: {program['threads']}.\n\n")
    text += table(["", *program["layouts"]],
                  [["instructions from huge pages", *(f"{each / insns:.0%}" for each in program["huge_insns"])]])
    for measure, (title, _, digits, least) in MEASURES.items():
        rows = []
        for processor in program["processors"]:
            rates = [rate(program, processor, measure, layout) for layout in range(len(program["layouts"]))]
            rows.append([processor["name"], f"{rates[0]:.{digits}f}"] +
                        [f"{each:.{digits}f} ({ratio(rates[0], each, least) or '-'})" for each in rates[1:]])
        text += table([title, *program["layouts"]], rows)
    return text


def better_peers(programs):
    """Where a peer misses less than hugexec full, by more than nothing: one miss in 100,000 instructions, one walk in a million."""
    rows = {}
    for program in programs:
        layouts = program["layouts"]
        for measure, enough in (("misses", 0.01), ("walks", 1)):
            digits = MEASURES[measure][2]
            for processor in program["processors"]:
                rates = [rate(program, processor, measure, layout) for layout in range(len(layouts))]
                full = rates[layouts.index("hugexec full")]
                peers = [f"{name} {value:.{digits}f}" for name, value in zip(layouts, rates)
                         if name not in OURS and full - value >= enough]
                if peers:
                    key = (program["name"], measure, f"{rates[0]:.{digits}f}", f"{full:.{digits}f}", ", ".join(peers))
                    rows.setdefault(key, []).append(processor["name"])
    if not rows:
        return "Nowhere.\n\n"
    return table(["", "processors", "", "plain", "hugexec full", "better"],
                 [[key[0], ", ".join(names), *key[1:]] for key, names in rows.items()])


def tlb_sizes(program):
    def shape(entries, ways):
        return f"{entries}, {'full' if ways == entries else ways}" if entries else "same"

    rows = [[each["name"] + (" (four pages in one entry)" if each["coalesce"] else ""), shape(*each["fetch_small"]),
             shape(*each["fetch_huge"]), shape(*each["second"]), "yes" if each["second_has_data"] else "no"]
            for each in program["processors"]]
    return table(["entries, ways", "instructions, 4 KiB", "instructions, 2 MiB", "second level", "has data too"], rows)


def of_processors(program, part):
    """PROGRAM with the processors that belong to PART."""
    return {**program, "processors": [each for each in program["processors"] if each["name"].startswith(part.processors)]}


def generated(results, insns, part=X86_64):
    programs = [of_processors(each, part) for each in results if "reason" not in each]
    missing = [each for each in results if "reason" in each]
    text = f"Simulated: {insns // 10**6} million instructions of each program.\n\n"
    text += "".join(summary(programs, measure, part.prefix) for measure in MEASURES)
    text += f"### {part.prefix}Where another way is better than hugexec full\n\n" + better_peers(programs)
    if missing:
        text += f"### {part.prefix}Not looked at\n\n" + "".join(f"- {each['name']}: {each['reason']}\n" for each in missing) + "\n"
    if part == X86_64:
        text += "## The processors\n\n" + tlb_sizes(programs[0])
    return text + f"## {part.prefix}Every program\n\n" + "".join(one_program(each, part.prefix) for each in programs)


def put(path, target, made):
    """MADE in the place of what TARGET of the Makefile made before."""
    begin, end = f"<!-- made by make {target} -->\n", f"<!-- end of what make {target} makes -->\n"
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(re.escape(begin) + ".*" + re.escape(end), lambda _: begin + "\n" + made + end, text, flags=re.DOTALL),
                    encoding="utf-8")


def write(path, results, insns, part=X86_64):
    put(path, part.target, generated(results, insns, part))


def rodata_rows(programs, measure, digits):
    _, factor, _, _ = MEASURES[measure]
    return [[program["name"], *(", ".join(f"{value * factor / program['insns']:.{digits}f}" for value in processor[measure])
                                for processor in program["processors"])] for program in programs]


def write_rodata(path, results, insns):
    """Of data: each cell has the rates of plain, ends and rodata."""
    programs = [each for each in results if "reason" not in each]
    first, *others = [each["name"] for each in programs[0]["processors"]]
    made = f"Simulated: {insns // 10**6} million instructions of each program.\n\n"
    for measure, digits, title in (("misses", 2, "first-level misses per 1,000 instructions"), ("walks", 0, "page walks per million instructions")):
        made += table([title, f"{first}: plain, ends, `rodata`", *others], rodata_rows(programs, measure, digits)).replace("---:", "---")
    made += "".join(f"Not looked at: {each['name']}: {each['reason']}.\n\n" for each in results if "reason" in each)
    put(path, "bench-rodata", made)
