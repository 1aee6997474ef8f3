# SPDX-License-Identifier: Apache-2.0
"""The whole of ./dev on a machine that it takes for another release of Debian, whose apt and
mmdebstrap are the test's own."""

import os
import pathlib
import subprocess

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]

# In a mount namespace: an /etc, a state and a checkout of ./dev that are the test's, then "$@" as the same
# process.
SETTING = r"""
set -eu
version=$1 bin=$2 checkout=$3; shift 3
mount -t tmpfs tmpfs /mnt && mkdir -p /mnt/stamps /var/lib/masque-vpn-dev /mnt/checkout
cp "$checkout/dev" /mnt/checkout/ && ln -s "$checkout"/{tools,tests,bench,CMakePresets.json} /mnt/checkout/
cp -a /etc /mnt/etc && rm -f /mnt/etc/masque-vpn-root /mnt/etc/os-release
printf 'ID=debian\nVERSION_ID=%s\nVERSION_CODENAME=test\n' "$version" >/mnt/etc/os-release
mount --bind /mnt/etc /etc && mount --bind /mnt/stamps /var/lib/masque-vpn-dev
mkdir -p /usr/share/keyrings
[ -e /usr/share/keyrings/debian-archive-trixie-stable.gpg ] ||
  { mount -t tmpfs tmpfs /usr/share/keyrings && touch /usr/share/keyrings/debian-archive-trixie-stable.gpg; }
PATH=$bin:$PATH
exec "$@"
"""

# What every machine here has; the others are the test's.
PROGRAMS = {
    "apt-get": 'case "$*" in *indextargets*) echo "http://mirror.invalid/debian test Packages Debian" ;; esac',
    "apt-config": """echo 'Acquire::http::Proxy "http://login:secret@proxy.invalid/";'""",
}


class Machine:
    """`directory` gets the programs, ./dev's cache and its temporary files."""

    def __init__(self, directory: pathlib.Path, version: int, **programs: str):
        self.version = version
        self.bin, self.cache, self.tmp = (directory / name for name in ("bin", "cache", "tmp"))
        for path in (self.bin, self.cache, self.tmp):
            path.mkdir()
        for name, text in {**PROGRAMS, **programs}.items():
            path = self.bin / name.replace("_", "-")
            path.write_text(f"#!/bin/bash\n{text}\n")
            path.chmod(0o755)

    def start(self, *words: str, program: tuple = ("/mnt/checkout/dev",)) -> subprocess.Popen:
        """./dev WORDS: its pid is that of the process, which leads a process group."""
        # Signals may be ignored where the tests run in the background.
        return subprocess.Popen(["env", "--default-signal=INT,TERM,HUP", "unshare", "--mount", "bash", "-c", SETTING,
                                 "dev_test", str(self.version), self.bin, CHECKOUT, *program, *words],
                                env={"PATH": os.environ["PATH"], "HOME": "/root", "TMPDIR": str(self.tmp),
                                     "MASQUE_VPN_CACHE": str(self.cache)},
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                start_new_session=True)

    def run(self, *words: str, **options) -> subprocess.CompletedProcess:
        with self.start(*words, **options) as process:
            out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def run_script(self, script: str) -> subprocess.CompletedProcess:
        """Several calls of ./dev, which is "$0", on this machine."""
        return self.run(script, "/mnt/checkout/dev", program=("bash", "-c"))
