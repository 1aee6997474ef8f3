# SPDX-License-Identifier: Apache-2.0
"""Rules on the text of files: licence, words that are not wanted, paths and hosts of one machine."""

import posixpath
import re

LICENCE = "SPDX-License-Identifier: Apache-2.0"
LICENSED_SUFFIXES = {".cc", ".h", ".py", ".sh", ".cmake", ".go", ".ts", ".js", ".vue", ".css", ".service",
                     ".yaml", ".yml", ".proto", ".sql"}
LICENSED_NAMES = {"CMakeLists.txt", "Dockerfile", "dev"}
ISSUE = re.compile(r"\(#\d+\)|#\d+")
# Written in pieces so that this file does not find itself.
NOTES = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X"]) + r")\b")
HOME_PATHS = re.compile(r"/(?:home|Users)/[a-z][\w.-]*/|(?<![\w.])/root/\w")


def licence(file):
    """The first line (the second after #!) names the licence."""
    if file.suffix not in LICENSED_SUFFIXES and file.name not in LICENSED_NAMES:
        return
    first = file.lines[1:2] if file.text.startswith("#!") else file.lines[:1]
    # A file of shell functions names its shell for the linter first.
    if first and first[0].startswith("# shellcheck shell="):
        first = file.lines[1:2]
    if not file.lines or not first or LICENCE not in first[0]:
        yield 1, f"the first line is not '{LICENCE}'"


def todo(file):
    """Work that is left stands in an issue."""
    for number, line in enumerate(file.lines, 1):
        match = NOTES.search(line)
        if match and not ISSUE.search(line):
            yield number, f"{match[0]} without the number of an issue"


def machine_path(file, machine):
    """No path of one machine is in the tree."""
    for number, line in enumerate(file.lines, 1):
        match = HOME_PATHS.search(line)
        if match:
            yield number, f"{match[0]} is a path of one machine"
        for path in machine.paths:
            if re.search(re.escape(path) + r"(?![\w-])", line):
                yield number, f"{path} is a path of this machine"


def mirror_host(file, machine):
    """No host of a package mirror is in the tree: it is read from the machine's configuration."""
    for host in machine.mirror_hosts:
        if host not in file.text:
            continue
        for number, line in enumerate(file.lines, 1):
            if host in line:
                yield number, "the host of a package mirror of this machine"


REFERENCE = re.compile(r"(?<![\w/.*-])([a-z][\w-]*)\.md\b(?:[ ]([A-Z]\d+|trap \d+)\b)?")


def reference(file, documents):
    """A document that a comment names is there, and so is its row."""
    if file.suffix not in LICENSED_SUFFIXES or not file.is_under("src", "sim", "tests", "examples"):
        return
    if file.is_under("tests/tidy"):
        return
    for number, line in enumerate(file.lines, 1):
        for match in REFERENCE.finditer(line):
            text = documents.get(match[1].lower())
            row = (match[2] or "").removeprefix("trap ")
            if text is None:
                yield number, f"there is no {match[1]}.md"
            elif row and f"| {row} |" not in text:
                yield number, f"{match[1]}.md has no row {row}"


LINK = re.compile(r"\]\(([^)#\s:]+)(?:#[^)]*)?\)")


def link(file, names):
    """What a page links to in the tree is there."""
    if file.suffix != ".md":
        return
    folder = file.path.rpartition("/")[0]
    for number, line in enumerate(file.lines, 1):
        for match in LINK.finditer(line):
            target = posixpath.normpath(posixpath.join(folder, match[1]))
            if target not in names and not any(name.startswith(target + "/") for name in names):
                yield number, f"there is no {target}"


def _words(file, pattern: re.Pattern, message: str):
    for number, code in enumerate(file.code_lines, 1):
        match = pattern.search(code)
        if match:
            yield number, message.format(match[0].strip())


def cast(file):
    """Bytes are read and written by base/bytes; system calls are in host."""
    if file.is_cpp and not file.is_test and not file.is_under("src/host"):
        if not re.match(r"src/base/bytes(_\w+)?\.(h|cc)$", file.path):
            yield from _words(file, re.compile(r"\breinterpret_cast\b"), "{} outside base/bytes and host")


def no_throw(file):
    """Errors are values; what a library throws is caught at the call."""
    if file.is_cpp and not file.is_test and file.is_under("src", "sim", "examples", "bench"):
        yield from _words(file, re.compile(r"\bthrow\b(?!\s*\()"), "{}: errors are Results")


def shared_ownership(file):
    """Ownership in core is a tree."""
    if file.is_cpp and file.is_under("src/core"):
        yield from _words(file, re.compile(r"\b(?:make|allocate)?_?shared(?:_ptr|_from_this)?\s*<"),
                          "{} in core: ownership is a tree")


def iostream(file):
    """Streams are for tests; programs print with std::print."""
    if not file.is_cpp or file.is_test:
        return
    for line, header, _ in file.includes:
        if header in ("iostream", "ostream", "istream", "iomanip"):
            yield line, f"<{header}> outside tests"
