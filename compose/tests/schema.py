"""Validates compose files against the schema of `compose config --schema`, with a validator and a YAML reader that are not ours.

    schema.py SCHEMA.json FILE...              prints `ok FILE` or `no FILE: WHERE: WHY` for each file
    schema.py SCHEMA.json --conformance DIR    the files of all cases that docker compose accepts
"""
import base64, json, os, re, sys

import jsonschema, yaml


class Reader(yaml.SafeLoader):
    """YAML as docker compose reads it: `yes` and dates are text, `0644` is octal."""


Reader.yaml_implicit_resolvers = {}
for tag, pattern, first in [
    ("bool", r"^(true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^[-+]?(0o?[0-7_]+|0x[0-9a-fA-F_]+|0b[01_]+|0|[1-9][0-9_]*)$", list("-+0123456789")),
    ("float", r"^[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?$", list("-+.0123456789")),
    ("null", r"^(~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("merge", r"^<<$", ["<"]),
]:
    Reader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), first)

RESET = object()


def integer(reader, node):
    text = node.value.replace("_", "")
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text.lstrip("+"))
    if re.match(r"0[0-9]", digits):
        digits = "0o" + digits[1:]
    return sign * int(digits, 0)


def plain(reader, node):
    """What `!override` stands before."""
    if isinstance(node, yaml.MappingNode):
        return reader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return reader.construct_sequence(node, deep=True)
    node.tag = reader.resolve(yaml.ScalarNode, node.value, (True, False))
    return reader.construct_object(node)


Reader.add_constructor("tag:yaml.org,2002:int", integer)
Reader.add_constructor("tag:yaml.org,2002:float", lambda reader, node: float(node.value.replace("_", "")))
Reader.add_constructor("tag:yaml.org,2002:binary", lambda reader, node: base64.b64decode(node.value).decode())
Reader.add_constructor("!reset", lambda reader, node: RESET)
Reader.add_constructor("!override", plain)


def as_json(value):
    """The value as JSON has it: keys are text, what is reset is not there."""
    if isinstance(value, dict):
        return {name(key): as_json(item) for key, item in value.items() if item is not RESET}
    if isinstance(value, list):
        return [as_json(item) for item in value if item is not RESET]
    return value


def name(key):
    return str(key).lower() if isinstance(key, bool) else str(key)


def compose_files(case):
    """The compose files that a case reads, as far as its arguments say."""
    told = json.load(open(os.path.join(case, "case.json")))
    folder = os.path.join(case, "input", told.get("cwd") or "")
    args = told.get("args", [])
    named = [args[at + 1] for at, word in enumerate(args[:-1]) if word in ("-f", "--file")]
    if not named:
        stems = ("compose", "docker-compose", "compose.override", "docker-compose.override")
        named = [stem + end for stem in stems for end in (".yaml", ".yml")]
    paths = [os.path.normpath(os.path.join(folder, file)) for file in named]
    return [path for path in paths if os.path.isfile(path)]


def accepted(root):
    for suite in sorted(os.listdir(root)):
        for case in sorted(os.listdir(os.path.join(root, suite))):
            folder = os.path.join(root, suite, case)
            if not os.path.exists(os.path.join(folder, "expect.err")):
                yield from compose_files(folder)


def main():
    schema = json.load(open(sys.argv[1]))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    files = accepted(os.path.join(sys.argv[3], "cases")) if sys.argv[2] == "--conformance" else sys.argv[2:]
    for file in files:
        try:
            documents = [as_json(document) for document in yaml.load_all(open(file, encoding="utf-8-sig"), Reader)]
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            print(f"unread {file}: {str(error).splitlines()[0]}")
            continue
        errors = [error for document in documents if document is not None for error in validator.iter_errors(document)]
        if errors:
            error = jsonschema.exceptions.best_match(errors)
            print(f"no {file}: {error.json_path}: {error.message[:200]}")
        else:
            print(f"ok {file}")


main()
