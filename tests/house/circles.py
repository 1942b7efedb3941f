# SPDX-License-Identifier: Apache-2.0
"""Files that call one another in a circle, by the symbols of a build's objects: a declaration in another file's header hides one."""
import collections
import json
import os
import subprocess


def graph_of(build):
    """Each C file of ours that BUILD has compiled, and which others it takes a function or a datum from."""
    commands = build / "compile_commands.json"
    owners, needs = {}, collections.defaultdict(set)
    for command in json.loads(commands.read_text()) if commands.exists() else ():
        name = command["file"].lstrip("./")
        if not name.startswith(("shim/", "oci-hook/")) or not (build / command["output"]).exists():
            continue
        for line in subprocess.run(["nm", build / command["output"]], capture_output=True, text=True, check=False).stdout.splitlines():
            *_, kind, symbol = line.split()
            if kind in "TDBRC":
                owners[symbol] = name
            elif kind == "U":
                needs[name].add(symbol)
    return {name: {owners[symbol] for symbol in symbols if owners.get(symbol, name) != name} for name, symbols in needs.items()}


def circles(graph):
    """One way round each circle of GRAPH, as far as a walk in depth comes by it."""
    done = set()

    def visit(name, way):
        if name in way:
            yield [*way[way.index(name):], name]
            return
        if name in done:
            return
        for other in sorted(graph.get(name, ())):
            yield from visit(other, [*way, name])
        done.add(name)

    for name in sorted(graph):
        yield from visit(name, [])


def check(root):
    """Without a build, nothing is known."""
    build = root / os.environ.get("HUGEXEC_BUILD", "build")
    found = list(circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}))
    if found != [["a", "b", "c", "a"]]:
        yield f"circles.py finds {found} in a circle of a, b and c"
    for way in circles(graph_of(build)):
        yield "circle: " + " -> ".join(way)
