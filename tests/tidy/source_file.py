# SPDX-License-Identifier: Apache-2.0
"""A file of the tree as the rules see it: its text, and for C++ its code without comments and strings."""

import functools
import re
from pathlib import Path

CPP_SUFFIXES = {".cc", ".h"}
_TOKEN = re.compile(
    r"""//[^\n]*                                   # line comment
      | /\*.*?\*/                                  # block comment
      | R"(?P<mark>[^()\\\s]{0,16})\(.*?\)(?P=mark)"   # raw string
      | "(?:\\.|[^"\\\n])*"                        # string
      | (?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'        # character, not a digit separator
    """,
    re.VERBOSE | re.DOTALL,
)


def _blank(match: re.Match) -> str:
    """Keeps the quotes and the line ends, so that columns of lines and counts stay."""
    text = match.group(0)
    if text.startswith("/"):
        return re.sub(r"[^\n]", " ", text)
    return '"' + re.sub(r"[^\n]", " ", text[1:-1]) + '"'


class SourceFile:
    def __init__(self, root: Path, path: str):
        self.path = path
        self.name = path.rsplit("/", 1)[-1]
        self.suffix = Path(path).suffix
        raw = (root / path).read_bytes()
        self.is_text = b"\0" not in raw[:8192]
        self.text = raw.decode("utf-8", errors="replace") if self.is_text else ""
        self.lines = self.text.splitlines()

    @property
    def is_cpp(self) -> bool:
        return self.suffix in CPP_SUFFIXES

    @property
    def is_test(self) -> bool:
        return self.path.startswith("tests/") or re.search(r"_test\.\w+$", self.name) is not None

    def is_under(self, *folders: str) -> bool:
        return any(self.path == folder or self.path.startswith(folder + "/") for folder in folders)

    @functools.cached_property
    def code(self) -> str:
        """C++ without comments and without the contents of strings; the same lines."""
        return _TOKEN.sub(_blank, self.text)

    @functools.cached_property
    def code_lines(self) -> list[str]:
        return self.code.splitlines()

    @functools.cached_property
    def includes(self) -> list[tuple[int, str, bool]]:
        """(line, what is included, True when between angle brackets)."""
        found = []
        for number, line in enumerate(self.lines, 1):
            match = re.match(r'\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)', line)
            if match:
                found.append((number, match[1] or match[2], match[2] is not None))
        return found
