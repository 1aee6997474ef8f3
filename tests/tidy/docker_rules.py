# SPDX-License-Identifier: Apache-2.0
"""What the oldest Docker that we support, 20.10 of Debian 12, cannot parse."""

import re

# By its builder without BuildKit. One flag that it does not know, and it builds nothing.
FLAGS = {
    "FROM": {"platform"},
    "COPY": {"from", "chown"},
    "ADD": {"chown"},
    "HEALTHCHECK": {"interval", "timeout", "start-period", "retries"},
}
_CONTINUED = re.compile(r"\\[ \t]*$")


def dockerfile_flag(file):
    """A Dockerfile has only flags that Debian 12's Docker knows."""
    if file.name != "Dockerfile":
        return
    for number, words in _instructions(file.lines):
        for word in words[1:]:
            flag = re.match(r"--([\w-]+)", word)
            if not flag:
                break
            if flag[1] not in FLAGS.get(words[0].upper(), set()):
                yield number, f"{words[0]} {flag[0]}: Docker 20.10 does not know it"


def _instructions(lines: list[str]):
    """(line of its first word, words) of each instruction."""
    words, first = [], 0
    for number, line in enumerate(lines, 1):
        if line.lstrip().startswith("#"):
            continue
        first = first if words else number
        words += _CONTINUED.sub("", line).split()
        if words and not _CONTINUED.search(line):
            yield first, words
            words = []
