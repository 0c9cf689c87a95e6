"""Dockerfiles of others, and a world in which they build without a network: for scripts/exchange.

What their commands would do is of no interest here, and could not be done: each base image is a root file system whose shell
is a program that does nothing, successfully, with an entry for each user that is named and a file for each that is copied.
The Dockerfiles stay as they are.
"""

import json
import os
import re
import subprocess

CORPUS = "images/src/build/dockerfile/corpus.txt"
# Whatever the shell of a command may be called, and what scripts find their interpreter by.
SHELLS = ("bin/sh", "bin/bash", "bin/ash", "bin/true", "bin/env", "usr/bin/env")
VARIABLE = re.compile(r"\$(?:\{(\w+)(?:(:?[-+])((?:[^{}]|\{[^{}]*\})*))?\}|(\w+))")
PREDEFINED = {"TARGETOS": "linux", "TARGETARCH": "amd64", "BUILDPLATFORM": "linux/amd64", "TARGETPLATFORM": "linux/amd64"}


def read(root):
    """Names and texts."""
    with open(f"{root}/{CORPUS}") as corpus:
        parts = corpus.read().split("=== ")[1:]
    return [tuple(part.split("\n", 1)) for part in parts]


def expand(text, variables):
    def value(match):
        name, operator, word = match[1] or match[4], match[2], match[3]
        known = variables.get(name, "")
        if operator in ("-", ":-"):
            return known or expand(word, variables)
        if operator in ("+", ":+"):
            return expand(word, variables) if known else ""
        return known
    return VARIABLE.sub(value, text)


def instructions(text):
    """The instructions, each in one line; what stands in here-documents is none of our business."""
    lines, whole, ends = text.split("\n"), "", []
    for line in lines:
        if ends:
            if line.strip("\t") == ends[0]:
                ends.pop(0)
            continue
        if line.lstrip().startswith("#") or (whole and not line.strip()):
            continue
        whole += line
        if whole.rstrip().endswith("\\"):
            whole = whole.rstrip()[:-1]
            continue
        if whole.strip():
            ends = re.findall(r"<<-?[\"']?(\w+)[\"']?", whole) if re.match(r"\s*(RUN|COPY|ADD)", whole, re.I) else []
            yield whole.strip()
        whole = ""


class Needs:
    """What a Dockerfile has to find."""

    def __init__(self, text):
        self.bases, self.users, self.context, self.copied = set(), set(), set(), set()
        stages, variables = set(), dict(PREDEFINED)
        for line in instructions(text):
            word, _, rest = line.partition(" ")
            word, rest = word.upper(), rest.strip()
            if word in ("ARG", "ENV"):
                for name, given in re.findall(r"(\w+)=(\"[^\"]*\"|\S+)", rest):
                    variables[name] = expand(given.strip('"'), variables)
            elif word == "FROM":
                words = [one for one in rest.split() if not one.startswith("--")]
                base = expand(words[0], variables)
                if base.lower() not in stages and base != "scratch":
                    self.bases.add(base)
                if len(words) == 3:
                    stages.add(words[2].lower())
            elif word == "USER":
                self.users |= set(re.split(":", expand(rest, variables)))
            elif word in ("COPY", "ADD"):
                self.files(rest, variables, stages)
            elif word == "RUN":
                for mount in re.findall(r"--mount=(\S+)", rest):
                    pairs = dict(re.findall(r"([\w-]+)=([^,]*)", expand(mount, variables)))
                    if pairs.get("type", "bind") == "bind":
                        self.source(pairs.get("source", pairs.get("src", ".")), pairs.get("from"), stages)

    def files(self, rest, variables, stages):
        flags = dict(re.findall(r"--([\w-]+)=(\S+)", rest))
        rest = expand(re.sub(r"--[\w-]+(=\S+)?", "", rest), variables).strip()
        words = json.loads(rest) if rest.startswith("[") else rest.split()
        self.users |= set(expand(flags.get("chown", ""), variables).split(":"))
        for source in words[:-1]:
            if "://" not in source and not source.startswith("<<"):
                self.source(source, flags.get("from") and expand(flags["from"], variables), stages)

    def source(self, path, origin, stages):
        path = re.sub(r"\[[^]]*\]|[*?]", "x", path.replace("\\", "/"))
        if origin and not origin.isdigit() and origin.lower() not in stages:
            self.bases.add(origin)
        (self.copied if origin else self.context).add(path)


def put(root, path):
    """Makes a file, or a directory with one in it."""
    whole = os.path.normpath(f"{root}/{path.lstrip('/')}")
    if path.endswith("/") or whole == root or os.path.isdir(whole):
        os.makedirs(whole, exist_ok=True)
        whole += "/.file"
    os.makedirs(os.path.dirname(whole), exist_ok=True)
    if not os.path.exists(whole):
        with open(whole, "w") as file:
            file.write(f"{path}\n")


def silent(work):
    """A static program that does nothing."""
    program = f"{work}/silent"
    subprocess.run(["gcc", "-O1", "-static", "-x", "c", "-o", program, "-"], input=b"int main(void) { return 0; }", check=True)
    return program


def prepare(needs, text, folder, program):
    """The context, and the archive of the root file system of all bases."""
    context, root = f"{folder}/context", f"{folder}/root"
    for directory in (context, *(f"{root}/{name}" for name in ("bin", "dev", "etc", "proc", "sys", "tmp", "usr/bin"))):
        os.makedirs(directory)
    # The deepest first: what is in a directory says that it is one.
    for place, paths in ((context, needs.context), (root, needs.copied)):
        for path in sorted(paths, key=lambda path: -path.count("/")):
            put(place, path)
    with open(f"{context}/Dockerfile", "w") as file:
        file.write(text)
    for name in SHELLS:
        os.link(program, f"{root}/{name}")
    users = sorted(user for user in needs.users if user and not user.isdigit() and user != "root")
    for file, row in (("passwd", "{0}:x:{1}:{1}::/:/bin/sh\n"), ("group", "{0}:x:{1}:\n")):
        with open(f"{root}/etc/{file}", "w") as out:
            out.write(row.format("root", 0) + "".join(row.format(user, 2000 + at) for at, user in enumerate(users)))
    archive = f"{folder}/base.tar"
    subprocess.run(["tar", "-C", root, "--owner=0", "--group=0", "-cf", archive, "."], check=True)
    return archive
