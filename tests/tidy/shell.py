#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What shellcheck says of all shell scripts of the tree; fails when it says anything.

usage: tests/tidy/shell.py [ROOT]

A finding that is none is silenced at its line, with the reason: # shellcheck disable=SC2016  # awk's variables
"""

import re
import subprocess
import sys
from pathlib import Path

import tidy

SHEBANG = re.compile(rb"#!\s*/(?:usr/)?bin/(?:env\s+)?(?:ba|da|k)?sh\b")


def scripts(root: Path) -> list[str]:
    """By their name, or by their first line."""
    def is_script(name: str) -> bool:
        with open(root / name, "rb") as file:
            return name.endswith((".sh", ".bash")) or SHEBANG.match(file.readline(80)) is not None

    return [name for name in tidy.tree_files(root) if is_script(name)]


def main() -> int:
    root = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else Path(__file__).resolve().parents[2]
    try:
        return subprocess.run(["shellcheck", "--external-sources", "--format=gcc", *scripts(root)], cwd=root, check=False).returncode
    except FileNotFoundError:
        print("shellcheck is missing: install it", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
