# SPDX-License-Identifier: Apache-2.0
"""What is installed is there, and the programs' own output is what they print."""

import os
import subprocess

BUILD = os.environ["MASQUE_BUILD_DIR"]
PRINTED = {
    "share/man/man1/{}.1": ["man"],
    "share/bash-completion/completions/{}": ["completion", "bash"],
    "share/zsh/site-functions/_{}": ["completion", "zsh"],
    "share/fish/vendor_completions.d/{}.fish": ["completion", "fish"],
}
FILES = ["lib/systemd/system/masque-vpn-server@.service", "lib/systemd/system/masque-vpn-client@.service",
         "share/doc/masque-vpn/README.md"]


def test_everything_is_installed(tmp_path):
    prefix = tmp_path / "a prefix"
    done = subprocess.run(["cmake", "--install", BUILD, "--prefix", prefix], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for program in ("masque-vpn", "masque-linkemu"):
        for name, arguments in PRINTED.items():
            printed = subprocess.run([prefix / "bin" / program, *arguments], capture_output=True, check=True).stdout
            assert printed and (prefix / name.format(program)).read_bytes() == printed
    assert all((prefix / name).stat().st_size > 0 for name in FILES)
