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
FILES = ["bin/masque-vpn", "bin/masque-linkemu", "share/man/man5/masque-vpn.toml.5",
         "lib/systemd/system/masque-vpn-server@.service", "lib/systemd/system/masque-vpn-client@.service",
         *(f"share/doc/masque-vpn/{name}" for name in (
             "LICENSE", "README.md", "CHANGELOG.md", "examples/branch.toml", "examples/full-tunnel.toml",
             "examples/gateway-nat.toml", "examples/laptop.toml"))]


def test_everything_is_installed(tmp_path):
    prefix = tmp_path / "a prefix"
    done = subprocess.run(["cmake", "--install", BUILD, "--prefix", prefix], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for program in ("masque-vpn", "masque-linkemu"):
        for name, arguments in PRINTED.items():
            printed = subprocess.run([prefix / "bin" / program, *arguments], capture_output=True, check=True).stdout
            assert printed and (prefix / name.format(program)).read_bytes() == printed
    page = subprocess.run([prefix / "bin/masque-vpn", "man", "config"], capture_output=True, check=True).stdout
    assert page and (prefix / "share/man/man5/masque-vpn.toml.5").read_bytes() == page
    assert all((prefix / name).stat().st_size > 0 for name in FILES)
    printed = [name.format(program) for program in ("masque-vpn", "masque-linkemu") for name in PRINTED]
    installed = {str(path.relative_to(prefix)) for path in prefix.rglob("*") if path.is_file()}
    assert installed == {*FILES, *printed}
