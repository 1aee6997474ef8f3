#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""coverage_report.py BUILD PAGE: the share of lines that the tests ran, for each folder of src, as a page.

The numbers are gcovr's; tests and their helpers do not count.
"""

import collections
import json
import pathlib
import subprocess
import sys

TREE = pathlib.Path(__file__).resolve().parents[2]
# Files with less than this are named: they are where tests are missing.
NAMED_BELOW = 80
NOT_THE_PRODUCT = [r".*_test\.cc", r".*/testing/.*", r".*test_support\.h", r".*/test_[a-z]+\.h", r".*/fake_.*"]


def measure(build: pathlib.Path) -> list[dict]:
    excludes = [option for pattern in NOT_THE_PRODUCT for option in ("--exclude", pattern)]
    summary = build / "report" / "summary.json"
    subprocess.run(["gcovr", "--root", TREE, "--filter", "src/", *excludes, "--gcov-executable", "gcov-14",
                    "--gcov-ignore-parse-errors=negative_hits.warn_once_per_file", "--exclude-unreachable-branches",
                    "--json-summary", summary, "--html-details", build / "report" / "index.html", build],
                   cwd=TREE, check=True, stdout=subprocess.DEVNULL)
    return json.loads(summary.read_text())["files"]


def percent(covered: int, total: int) -> str:
    return f"{100 * covered / total:.1f} %" if total else "-"


def page(files: list[dict]) -> str:
    folders = collections.defaultdict(lambda: [0, 0])
    for file in files:
        folder = folders[file["filename"].rpartition("/")[0]]
        folder[0] += file["line_covered"]
        folder[1] += file["line_total"]
    covered = sum(folder[0] for folder in folders.values())
    total = sum(folder[1] for folder in folders.values())
    lines = ["# Line coverage", "",
             "Lines that the fast tests and the simulations run, made by `./dev coverage`. What only a kernel can show "
             "(src/host, the services' start) is the subject of tests/netns, which do not count here.", "",
             f"Of all {total} lines {percent(covered, total)} ran.", "",
             "| folder | lines | ran |", "|---|---:|---:|"]
    lines += [f"| {name} | {folder[1]} | {percent(*folder)} |" for name, folder in sorted(folders.items())]
    lines += ["", f"Files below {NAMED_BELOW} %:", "", "| file | lines | ran |", "|---|---:|---:|"]
    for file in sorted(files, key=lambda file: file["filename"]):
        if file["line_total"] and 100 * file["line_covered"] < NAMED_BELOW * file["line_total"]:
            lines.append(f"| {file['filename']} | {file['line_total']} | "
                         f"{percent(file['line_covered'], file['line_total'])} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    build, target = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    (TREE / target).write_text(page(measure(build)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
