# SPDX-License-Identifier: Apache-2.0
"""config/policy.schema.json and the validator say the same of every document here.

POLICY_CHECK: the program under test, which is `hugexecctl check`.
"""
import copy
import json
import os
import pathlib
import random
import re
import subprocess

import jsonschema
import pytest

CONFIG = pathlib.Path(__file__).resolve().parents[2] / "config"
MANUAL = (CONFIG.parent / "docs" / "hugexec-policy.5").read_text(encoding="utf-8")
SCHEMA = json.loads((CONFIG / "policy.schema.json").read_text(encoding="utf-8"))


def ecma_pattern(_validator, pattern, instance, _schema):
    """JSON Schema's patterns are ECMAScript's, where $ is the very end; Python's also stands before a last newline."""
    if isinstance(instance, str) and not re.search(pattern.replace("$", r"\Z"), instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")


SCHEMA_VALIDATOR = jsonschema.validators.extend(jsonschema.Draft7Validator, {"pattern": ecma_pattern})(SCHEMA)

# Values to be put in the place of others, whatever is meant to stand there.
ANYTHING = [None, True, False, 0, 1, -1, 1.5, 1.0, 10**15 - 1, 10**15, 2**63, 2**64, 1e300, "", "x", "0", "2M", "1G", "10%",
            "500ms", "/x", "**", "skip", "shim", "thp", "exec", "fail", "root", [], ["/x"], ["file"], [1], [[]], [None],
            {}, {"include": ["/x"]}, {"a": "b"}, "\x00", "a\nb", "\u00e9", "\U0001f600"]

SIZES = {
    "good": [0, 1, 4096, "0", "4096", "2M", "64k", "1G", "3t", "9999999T", "999999999999999", "007", 1.0, 2e6],
    "bad": ["2X", "2MB", "1.5M", "-1", "+1", " 1", "1 ", "M", "2M\n", "10000000T", "1000000000000000", -1, 1.5, 1e15, True],
}

SETTINGS = {
    "min_text": SIZES,
    "max_text": SIZES,
    "backing": {"good": [["file"], ["hugetlb", "thp"], ["thp", "file", "hugetlb"]],
                "bad": ["thp", [], ["thp", "thp"], ["disk"], ["file", "hugetlb", "thp", "file"], [1], ["THP"]]},
    "page_size": {"good": ["2M", "1G"], "bad": ["4K", "2m", 2097152, ["2M"]]},
    "libraries": {"good": [True, False, {}, {"include": ["/x"]}, {"exclude": ["**/libc.so*", "/y/**"]},
                           {"include": ["**"], "exclude": ["/z"]}, {"prepare": ["/usr/lib/**/libjvm.so", "/opt/a/*", "/a/b"]},
                           {"prepare": ["/usr/**"]}],
                  "bad": ["yes", [], ["/x"], {"include": "/x"}, {"include": []}, {"include": ["x"]}, {"only": ["/x"]},
                          {"exclude": [1]}, {"include": ["/a**"]}, {"prepare": []}, {"prepare": "/a/b"}, {"prepare": ["**/x"]},
                          {"prepare": ["/x"]}, {"prepare": ["/*/x"]}, {"prepare": ["/[a]/x"]}, {"prepare": ["//x"]}, {"prepare": ["/x?/y"]}]},
    "rebase": {"good": [True, False], "bad": ["true", 1]},
    "coverage": {"good": ["cheap", "full"], "bad": ["none", True, ""]},
    "round_out": {"good": [True, False], "bad": ["false", 0]},
    "rodata": {"good": [True, False], "bad": ["true", 1]},
    "perf_map": {"good": [True, False], "bad": [None, []]},
    "follow": {"good": ["none", "exec", "fork"], "bad": ["forks", "", True]},
    "wrappers": {"good": [["+"], ["+", "run-*"], ["start.sh", "a b"], ["x" * 1024]],
                 "bad": ["env", [], [""], ["/usr/bin/env"], ["a/b"], [1], {"add": ["x"]}, ["x"] * 1025, ["x" * 1025]]},
    "follow_timeout": {"good": [1, 30, 86400, 60.0], "bad": [0, -1, 86401, "30", 1.5]},
    "keep_free": {"good": [0, 1, 1000000, "0%", "9%", "10%", "99%", "100%"],
                  "bad": [-1, "10", "101%", "%", "-1%", "1.5%", "05%", "10 %", "10%%", "10%\n", 1000000000000000]},
    "file_timeout": {"good": ["1ms", "500ms", "999999ms", "1s", "2s", "999s"],
                     "bad": [500, "500", "0ms", "0s", "05s", "1000000ms", "1000s", "1m", "s", "ms", "1 s", "1ss", "2s\n"]},
    "hold_timeout": {"good": ["1ms", "2s", "999999ms"], "bad": [2, "2", "0s", "1000s", "2 s"]},
    "on_error": {"good": ["continue", "fail"], "bad": ["ignore", "Fail", False]},
}

LONG = "x" * 1023
PATHS = {
    "good": ["/x", "/", "/usr/*/bin/?", "**", "/**", "**/x", "/a/**/b", "/a/**/b/**", "/a//b", ["/x", "**/y"], ["/x"] * 1024,
             "/" + LONG, "/" + "\u00e9" * 1023, "/a b", "/[a-z]*", "/a\\*", "/a\nb", "/**/\n"],
    "bad": ["", "x", "*", "*/x", "bin/*", "/a**", "/**a", "/***", "a/**", "**x", "x**", "/a/**/b**", [], ["x"], ["/x", ""],
            [["/x"]], 7, None, {"glob": "/x"}, ["/x"] * 1025, "/x" + LONG, "/a\x00", "/\n**", "**\n"],
}
TEXTS = {
    "good": ["x", "*.service", "a/b", "**", "***", ["x", "y"], LONG + "x", "a\nb", "[", ["\u00e9"]],
    "bad": ["", [], [""], 7, None, LONG + "xx", "a\x00", {"a": "b"}, ["x"] * 1025],
}

MATCH = {
    "exe": PATHS,
    "cgroup": PATHS,
    "unit": TEXTS,
    "build_id": {"good": ["abcd", "0123456789abcdefABCDEF", ["abcd", "1234"], "a" * 128],
                 "bad": ["abc", "", "xyzz", "0xabcd", "ab cd", "a" * 129, [], ["abcd", ""], 1234, "abcd\n"]},
    "user": {"good": ["root", "a-b_c.d", "user$", "1user", "DOM\\user", "j\u00f6rg", 0, 1000, 4294967294, 7.0, "0", "1000",
                      "4294967294", "0999999999", "3999999999", ["root", 0, "5"], "u" * 256],
             "bad": ["", -1, 4294967295, "4294967295", "9999999999", "00000000001", "a b", "a:b", "a/b", "a\n", "5\n", [], [""],
                     [None], 1.5, True, "u" * 257, "a\x7f"]},
    "annotation": {"good": [{"a": "b"}, {"a": ["b", "c*"]}, {"io.hugexec/x": "*", "y": "z"}, {"": "x"}],
                   "bad": [{}, "x", [], {"a": 1}, {"a": ""}, {"a": []}, {"a": {"b": "c"}}, {"a": None}, {"a\x00b": "x"}]},
    "label": {"good": [{"app": "web"}, {"app.kubernetes.io/name": ["a", "b*"], "tier": "*"}],
              "bad": [{}, "x", [], {"a": 1}, {"a": ""}, {"a": []}, {"a": None}, {"a\x00b": "x"}]},
    "namespace": TEXTS, "pod": TEXTS, "container": TEXTS, "image": TEXTS,
    "via": {"good": ["shim", "hook", "attach", ["shim"], ["shim", "hook", "attach"], ["shim", "shim"]],
            "bad": ["door", "", [], ["shim", "door"], 1, [1], None, ["shim"] * 1025]},
    "share": {"good": [0, 1, 10, 100, 50.0], "bad": [-1, 101, "10", "10%", 0.5, True, None, [10]]},
}

FULL = {
    "$schema": "../policy.schema.json", "version": 1, "default": "skip",
    "settings": {name: values["good"][0] for name, values in SETTINGS.items()},
    "rules": [
        {"name": "one", "match": {name: values["good"][0] for name, values in MATCH.items()}, "action": "remap",
         **{name: values["good"][-1] for name, values in SETTINGS.items()}},
        {"match": {}, "action": "skip"},
    ],
}


def in_rule(**members):
    return {"version": 1, "rules": [{"match": {}, **members}]}


def hand_written():
    """(document, whether it is right) by what the manual says, so that the two cannot agree on being wrong."""
    for name, values in SETTINGS.items():
        for verdict in ("good", "bad"):
            for value in values[verdict]:
                yield in_rule(**{name: value}), verdict == "good"
                yield {"version": 1, "settings": {name: value}}, verdict == "good"
    for name, values in MATCH.items():
        for verdict in ("good", "bad"):
            for value in values[verdict]:
                yield {"version": 1, "rules": [{"name": "x", "match": {name: value}}]}, verdict == "good"
    for document in (FULL, {"version": 1}, {"version": 1.0}, {"version": 1, "rules": []}, {"version": 1, "settings": {}},
                     {"version": 1, "default": "remap"}, in_rule(), in_rule(name=""), in_rule(action="skip"), in_rule(action="observe"),
                     {"version": 1, "default": "observe"},
                     {"version": 1, "rules": [{"match": {}}] * 10000}):
        yield document, True
    for document in (None, 1, "x", [], {}, {"version": 2}, {"version": "1"}, {"version": True}, {"version": 0}, {"Version": 1},
                     {"version": 1, "pool": 1}, {"version": 1, "name": "x"}, {"version": 1, "rules": {}},
                     {"version": 1, "rules": [1]}, {"version": 1, "rules": [{}]}, {"version": 1, "rules": [{"name": "x"}]},
                     {"version": 1, "rules": None}, {"version": 1, "settings": []}, {"version": 1, "settings": None},
                     {"version": 1, "settings": {"name": "x"}}, {"version": 1, "settings": {"match": {}}},
                     {"version": 1, "default": "fail"}, {"version": 1, "$schema": 1}, in_rule(pool=1), in_rule(name=1),
                     in_rule(name="a\x00"), in_rule(action="Skip"), in_rule(action=None), in_rule(version=1),
                     in_rule(default="skip"), in_rule(description="x"), {"version": 1, "rules": [{"match": None}]},
                     {"version": 1, "rules": [{"match": []}]}, {"version": 1, "rules": [{"match": {"path": "/x"}}]},
                     {"version": 1, "rules": [{"match": {"share": 10}}]},
                     {"version": 1, "rules": [{"match": {}}] * 10001}):
        yield document, False


def places(value, path=()):
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            yield from places(entry, (*path, index))


def mutated():
    """The full document with each of its values replaced by each of ANYTHING, each key taken out, each key misspelt."""
    for path in list(places(FULL))[1:]:
        for value in ANYTHING:
            document = copy.deepcopy(FULL)
            parent = document
            for step in path[:-1]:
                parent = parent[step]
            parent[path[-1]] = value
            yield document
        document = copy.deepcopy(FULL)
        parent = document
        for step in path[:-1]:
            parent = parent[step]
        removed = parent.pop(path[-1])
        yield copy.deepcopy(document)
        if isinstance(parent, dict):
            parent[path[-1] + "s"] = removed
            yield document


def twice_mutated(count):
    """Two values at once; always the same ones, so that a failure can be seen again."""
    dice = random.Random(20)
    for _ in range(count):
        document = copy.deepcopy(FULL)
        for _ in range(2):
            path = dice.choice(list(places(document))[1:])
            parent = document
            for step in path[:-1]:
                parent = parent[step]
            parent[path[-1]] = copy.deepcopy(dice.choice(ANYTHING))
            if not isinstance(document, dict):
                break
        yield document


def schema_accepts(document):
    return SCHEMA_VALIDATOR.is_valid(document)


def complaints(directory, documents):
    """What the validator says of each document, as one list; None where it is right."""
    names = []
    for index, document in enumerate(documents):
        names.append(f"{index}.json")
        (directory / names[-1]).write_text(json.dumps(document), encoding="utf-8")
    said = {}
    for start in range(0, len(names), 500):
        done = subprocess.run([os.environ["POLICY_CHECK"], *names[start:start + 500]], cwd=directory, timeout=120,
                              capture_output=True, text=True, check=False)
        assert done.returncode in (0, 1)
        wrong = set()
        for line in done.stderr.splitlines():
            if "refuses this if root starts it" in line:  # a user's file
                continue
            match = re.fullmatch(r"(\d+\.json): warning: .+|(\d+\.json):\d+:\d+: .+", line)
            assert match, line
            if match[2]:
                wrong.add(match[2])
                said.setdefault(match[2], line)
        right = [line.split()[0] for line in done.stdout.splitlines()]
        assert sorted([*right, *wrong]) == sorted(names[start:start + 500])
        assert done.returncode == (1 if wrong else 0)
    return [said.get(name) for name in names]


def test_the_schema_is_one():
    jsonschema.Draft7Validator.check_schema(SCHEMA)


def test_documents_written_by_hand(tmp_path):
    documents = list(hand_written())
    for (document, right), complaint in zip(documents, complaints(tmp_path, [document for document, _ in documents])):
        text = json.dumps(document)[:300]
        assert (complaint is None) == right, f"validator: {text}\n{complaint}"
        assert schema_accepts(document) == right, f"schema: {text}"


@pytest.mark.parametrize("make", [mutated, lambda: twice_mutated(1500)], ids=["one change", "two changes"])
def test_changed_documents(tmp_path, make):
    documents = list(make())
    assert len(documents) > 1000
    verdicts = set()
    for document, complaint in zip(documents, complaints(tmp_path, documents)):
        right = schema_accepts(document)
        verdicts.add(right)
        assert (complaint is None) == right, f"{json.dumps(document)}\n{complaint}"
    assert verdicts == {True, False}


@pytest.mark.parametrize("path", [CONFIG / "policy.json", *sorted((CONFIG / "examples").glob("*.json"))], ids=lambda p: p.name)
def test_what_is_shipped(path):
    assert schema_accepts(json.loads(path.read_text(encoding="utf-8")))
    done = subprocess.run([os.environ["POLICY_CHECK"], path], timeout=120, capture_output=True, text=True, check=False)
    about_this_host = ("this host has no user", "it is a script", "refuses this if root starts it")
    assert done.returncode == 0 and not [line for line in done.stderr.splitlines() if not any(text in line for text in about_this_host)]
    assert re.fullmatch(rf"{re.escape(str(path))} +\d+ rules?\n", done.stdout)


def test_the_manual_names_every_key():
    tags = re.findall(r"^\.TP\n\.BR? (.+)$", MANUAL.partition(".SH FILES")[0], re.MULTILINE)
    told = set(re.findall(r"[$\w]+", " ".join(tags)))
    assert told == {*SCHEMA["properties"], *SCHEMA["definitions"]["rule"]["properties"],
                    *SCHEMA["definitions"]["match"]["properties"],
                    *SCHEMA["definitions"]["libraries"]["anyOf"][1]["properties"]}


def test_the_policies_in_the_manual(tmp_path):
    shown = re.findall(r"^\{.*?\}\n(?=\.fi)", MANUAL.replace("\\-", "-"), re.MULTILINE | re.DOTALL)
    assert len(shown) == 2
    documents = [json.loads(text) for text in shown]
    assert complaints(tmp_path, documents) == [None] * 2
    assert all(map(schema_accepts, documents))


def test_columns_are_aligned(tmp_path):
    for name, rules in (("a.json", 1), ("a-long-name.json", 200)):
        (tmp_path / name).write_text(json.dumps({"version": 1, "rules": [{"match": {}}] * rules}), encoding="utf-8")
    done = subprocess.run([os.environ["POLICY_CHECK"], "a.json", "a-long-name.json"], cwd=tmp_path, timeout=120,
                          capture_output=True, text=True, check=False)
    assert done.stdout == "a.json               1 rule\na-long-name.json   200 rules\n"


def test_exit_status_of_wrong_usage():
    done = subprocess.run([os.environ["POLICY_CHECK"], "--nonsense"], timeout=120, capture_output=True, text=True, check=False)
    assert done.returncode == 2
