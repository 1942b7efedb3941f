# SPDX-License-Identifier: Apache-2.0
"""
The kustomizations are what the chart says with other values, so that there is one source: manifests.py [--write]
Without --write, it says which of their files are not. It knows as much of the templates' language as the chart has.
"""
import json
import pathlib
import re
import sys

import yaml

KUBERNETES = pathlib.Path(__file__).resolve().parents[2] / "oci-hook" / "kubernetes"
# What makes each of them.
VALUES = {"base": {}, "containerd-1": {"engine": "containerd-1"}, "remove": {"remove": True},
          "remove-containerd-1": {"engine": "containerd-1", "remove": True}}
CONTROL = re.compile(r"\s*\{\{- (if|else|end)\b *(.*?) *\}\}")
FUNCTIONS = {"not": lambda one: not one, "eq": lambda one, other: one == other, "or": lambda *all_of: any(all_of)}


def evaluate(words, values):
    """WORDS, which become fewer, up to the end of an expression."""
    found = []
    while words:
        word = words.pop(0)
        if word == ")":
            break
        if word == "(":
            found.append(evaluate(words, values))
        elif word in FUNCTIONS:
            found.append(FUNCTIONS[word])
        else:
            found.append(values[word.removeprefix(".Values.")] if word.startswith(".Values.") else json.loads(word))
    return found[0](*found[1:]) if callable(found[0]) else found[0]


def value_of(expression, values):
    name, _, function = expression.partition(" | ")
    value = values[name.removeprefix(".Values.")]
    return json.dumps(value, sort_keys=True, separators=(",", ":")) if function == "toJson" else value


def render(template, values):
    lines, wanted = [], []
    for line in template.splitlines(keepends=True):
        control = CONTROL.match(line)
        if not control:
            if all(wanted):
                lines.append(re.sub(r"\{\{ (.*?) \}\}", lambda found: value_of(found[1], values), line))
        elif control[1] == "if":
            wanted.append(bool(evaluate(re.findall(r'[()]|"[^"]*"|[^\s()]+', control[2]), values)))
        elif control[1] == "else":
            wanted[-1] = not wanted[-1]
        else:
            wanted.pop()
    return "".join(lines)


def rendered(values=None):
    """The manifests as the chart has them with VALUES over its own."""
    chart = KUBERNETES / "chart"
    own = yaml.safe_load((chart / "values.yaml").read_text())
    return render((chart / "templates" / "hugexec.yaml").read_text(), {**own, **(values or {})})


def files():
    """{path: text} of all that is made."""
    made = {}
    for name, values in VALUES.items():
        made[KUBERNETES / name / "hugexec.yaml"] = rendered(values)
        made[KUBERNETES / name / "policy.json"] = (KUBERNETES / "chart" / "policy.json").read_text()
        for same in ("kustomization.yaml", "namespace.yaml"):
            made[KUBERNETES / name / same] = (KUBERNETES / "base" / same).read_text()
    return made


def main():
    wrong = [path for path, text in files().items() if not path.exists() or path.read_text() != text]
    for path in wrong:
        if "--write" in sys.argv:
            path.parent.mkdir(exist_ok=True)
            path.write_text(files()[path])
        else:
            print(f"{path.relative_to(KUBERNETES.parents[1])}: not as the chart has it; run tests/house/manifests.py --write")
    sys.exit(1 if wrong and "--write" not in sys.argv else 0)


if __name__ == "__main__":
    main()
