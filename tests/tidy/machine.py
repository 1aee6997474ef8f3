# SPDX-License-Identifier: Apache-2.0
"""What this machine has that the tree must not: its paths, and the hosts of its package mirrors."""

import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

# Not mirrors, wherever they are configured.
LOOPBACK = {"localhost", "127.0.0.1"}
_URL_HOST = re.compile(r"\b[a-z][a-z0-9+.-]*://(?:[^/@\s'\"]*@)?(\[[0-9a-f:.]+\]|[\w.-]+)", re.I)
_COMMANDS = [
    ["apt-get", "indextargets", "--format", "$(REPO_URI) $(SITE)"],
    ["apt-config", "dump"],
    ["pip3", "config", "list"],
    ["go", "env", "GOPROXY", "GOSUMDB"],
    ["npm", "config", "get", "registry"],
]
_VARIABLES = re.compile(r"(?i)^(pip_.*|uv_.*|goproxy|gosumdb|npm_config_.*|https?_proxy|all_proxy|.*_(index|mirror|registry).*)$")
# Folders that every machine has.
SHARED = ["/tmp", "/var/tmp", "/opt", "/srv", "/mnt", "/usr/src", "/usr/local/src"]
_FILES = ["/etc/apt/sources.list", "/etc/pip.conf", "~/.config/pip/pip.conf", "~/.npmrc", "~/.config/go/env"]


@dataclass
class Machine:
    paths: list[str] = field(default_factory=list)
    mirror_hosts: list[str] = field(default_factory=list)

    @staticmethod
    def this(root: Path) -> "Machine":
        texts = [_output(command) for command in _COMMANDS]
        texts += [value for name, value in os.environ.items() if _VARIABLES.match(name)]
        files = [Path(name).expanduser() for name in _FILES] + sorted(Path("/etc/apt/sources.list.d").glob("*"))
        texts += [path.read_text(errors="replace") for path in files if path.is_file()]
        hosts = {match[1].lower() for text in texts for match in _URL_HOST.finditer(text)}
        return Machine(paths=paths_around(root), mirror_hosts=sorted(hosts - LOOPBACK))


def paths_around(root: Path) -> list[str]:
    """The checkout and the folders beside it. One at / or /src is a path of many machines, and so is
    what lies beside one in /tmp or /opt."""
    if len(root.parts) <= 2:
        return []
    if root.parent in map(Path, SHARED) or not root.parent.is_dir():
        return [str(root)]
    return sorted(str(path) for path in root.parent.iterdir() if path.is_dir())


def _output(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
