# SPDX-License-Identifier: Apache-2.0
"""What the programs print for shells and for man is what these take: completions complete, pages have no faults.
Shells that are not there are left out."""

import os
import pathlib
import shlex
import shutil
import subprocess

import pytest

BIN = pathlib.Path(os.environ["MASQUE_BUILD_DIR"]) / "bin"
PROGRAMS = ("masque-vpn", "masque-linkemu")
# The words typed, the last one unfinished, and what they may become.
CASES = {
    "masque-vpn us": {"user"},
    "masque-vpn re": {"reload"},
    "masque-vpn user re": {"revoke"},
    "masque-vpn user add anna --end": {"--endpoint"},
    "masque-vpn status --js": {"--json"},
    "masque-vpn server --log-level w": {"warn"},
    "masque-vpn check -c /etc/os-rel": {"/etc/os-release"},
    "masque-linkemu pro": {"profiles"},
    "masque-linkemu relay --prec": {"--precision"},
    "masque-linkemu bridge eth0 eth1 --priority o": {"ordinary"},
}
BASH = r"""
eval "$1"; shift
function=$(complete -p "$1" | sed 's/.* -F \([^ ]*\) .*/\1/')
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
"$function"
printf '%s\n' "${COMPREPLY[@]}"
"""


def needs(program: str):
    return pytest.mark.skipif(not shutil.which(program), reason=f"{program} is not installed")


def run(*command: str | os.PathLike, text: str | None = None) -> str:
    """Its output; anything that it complains of is a failure."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, ""), shlex.join(map(str, command))
    return done.stdout


def script(program: str, shell: str) -> str:
    return run(BIN / program, "completion", shell)


@pytest.mark.parametrize("shell", [pytest.param(shell, marks=needs(shell)) for shell in ("bash", "zsh", "fish")])
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_shell_parses_its_script(program, shell):
    run(shell, "-n", "/dev/stdin", text=script(program, shell))


@pytest.mark.parametrize(("line", "expected"), CASES.items(), ids=CASES)
def test_bash_completes(line, expected):
    words = line.split()
    assert set(run("bash", "--norc", "-c", BASH, "bash", script(words[0], "bash"), *words).split()) == expected


@needs("fish")
@pytest.mark.parametrize(("line", "expected"), CASES.items(), ids=CASES)
def test_fish_completes(line, expected):
    text = f"{script(line.split()[0], 'fish')}\ncomplete -C {shlex.quote(line)}\n"
    assert {offer.split("\t")[0] for offer in run("fish", "--no-config", text=text).splitlines()} == expected


@needs("groff")
@pytest.mark.parametrize("page", [("masque-vpn", "man"), ("masque-vpn", "man", "config"), ("masque-linkemu", "man")], ids=" ".join)
def test_a_page_has_no_faults(page):
    text = run(BIN / page[0], *page[1:])
    assert "SYNOPSIS" in text or "DESCRIPTION" in text
    run("groff", "-man", "-Tutf8", "-ww", "-z", text=text)
