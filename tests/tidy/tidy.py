#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The rules of this tree that no compiler checks. Prints FILE:LINE: rule: what, and fails when there are any.

usage: tests/tidy/tidy.py [--list] [ROOT]

Exceptions stand in exceptions.txt, each with its reason: RULE PATH [TEXT] -- REASON, where TEXT, when given, must be
part of the message. An exception that nothing needs any more is an error too.
"""

import inspect
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import docker_rules
import include_rules
import size_rules
import text_rules
from machine import Machine
from source_file import SourceFile

RULES = {
    "include-arrow": include_rules.include_arrow,
    "library-header": include_rules.library_header,
    "core-pure": include_rules.core_is_pure,
    "licence": text_rules.licence,
    "todo": text_rules.todo,
    "machine-path": text_rules.machine_path,
    "mirror-host": text_rules.mirror_host,
    "reference": text_rules.reference,
    "link": text_rules.link,
    "cast": text_rules.cast,
    "throw": text_rules.no_throw,
    "shared-ptr": text_rules.shared_ownership,
    "iostream": text_rules.iostream,
    "dockerfile-flag": docker_rules.dockerfile_flag,
    "file-length": size_rules.file_length,
    "function-length": size_rules.function_length,
}


@dataclass(frozen=True, order=True)
class Finding:
    path: str
    line: int
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.message}"


@dataclass
class ExceptionLine:
    rule: str
    path: str
    text: str
    line: int
    used: bool = False

    def covers(self, finding: Finding) -> bool:
        return (self.rule, self.path) == (finding.rule, finding.path) and self.text in finding.message


def read_exceptions(path: Path) -> list[ExceptionLine]:
    found = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        what, separator, reason = line.partition(" -- ")
        words = what.split(None, 2)
        if not separator or not reason.strip() or len(words) < 2 or words[0] not in RULES:
            raise SystemExit(f"{path}:{number}: not 'RULE PATH [TEXT] -- REASON'")
        found.append(ExceptionLine(words[0], words[1], words[2].strip() if len(words) > 2 else "", number))
    return found


def tree_files(root: Path) -> list[str]:
    """The files that git knows or would add."""
    listed = subprocess.run(["git", "-c", f"safe.directory={root}", "-C", root, "ls-files", "-z", "--cached", "--others",
                             "--exclude-standard"], capture_output=True, text=True, check=True).stdout
    names = {name for name in listed.split("\0") if name}
    return sorted(name for name in names if (root / name).is_file() and not (root / name).is_symlink())


def findings_of(file: SourceFile, around: dict):
    for rule, check in RULES.items():
        # What a rule needs to know besides the file stands in its parameters.
        more = [around[name] for name in list(inspect.signature(check).parameters)[1:]]
        for line, message in check(file, *more):
            yield Finding(file.path, line, rule, message)


def check_tree(root: Path, names: list[str], machine: Machine) -> list[Finding]:
    files = [file for file in (SourceFile(root, name) for name in names) if file.is_text]
    documents = {file.name.lower().removesuffix(".md"): file.text for file in files if file.suffix == ".md"}
    # Rows of the requirement list are named in protocol.md as well.
    if "conformance" in documents:
        documents["protocol"] = documents.get("protocol", "") + documents["conformance"]
    around = {"machine": machine, "documents": documents, "names": set(names)}
    return sorted(finding for file in files for finding in findings_of(file, around))


def main() -> int:
    arguments = sys.argv[1:]
    if "--list" in arguments:
        for rule, check in RULES.items():
            print(f"{rule:16} {(check.__doc__ or '').strip()}")
        return 0
    here = Path(__file__).resolve().parent
    root = Path(arguments[0]).resolve() if arguments else here.parent.parent
    exceptions = read_exceptions(here / "exceptions.txt")
    wrong = 0
    for finding in check_tree(root, tree_files(root), Machine.this(root)):
        covering = [one for one in exceptions if one.covers(finding)]
        for one in covering:
            one.used = True
        if not covering:
            wrong += 1
            print(finding)
    for one in exceptions:
        if not one.used:
            wrong += 1
            print(f"tests/tidy/exceptions.txt:{one.line}: exception: nothing needs it: {one.rule} {one.path}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
