# SPDX-License-Identifier: Apache-2.0
"""On a Debian that has not all the packages, ./dev uses the Debian 13 root, says why, and remembers it."""

import pytest

from fake_machine import PROGRAMS, Machine

NOTHING = {"dpkg_query": "exit 1", "pkg_config": "exit 1"}
ASKED = 'echo "$*" >>"$MASQUE_VPN_CACHE/apt-get"\n' + PROGRAMS["apt-get"] + "\n"
LACKS = ASKED + """
case "$*" in *--simulate*) echo "E: Unable to locate package g++-14" >&2; exit 100 ;; esac
"""
FAILS = ASKED + """
case "$*" in *--simulate*) ;; install*) echo "E: Failed to fetch"; exit 100 ;; esac
"""
ROOT = 'echo making the root; exit 5'


def asked(machine: Machine) -> list[str]:
    return (machine.cache / "apt-get").read_text().splitlines()


@pytest.mark.parametrize("version", [13, 14])
def test_packages_that_do_not_exist(tmp_path, version):
    machine = Machine(tmp_path, version, mmdebstrap=ROOT, apt_get=LACKS, **NOTHING)
    done = machine.run("exec", "true")
    why = [line for line in done.stderr.splitlines() if "Debian 13 root is used" in line]
    assert len(why) == 1 and why[0].endswith("E: Unable to locate package g++-14"), done.stderr
    assert "making the root" in done.stderr
    assert not [line for line in asked(machine) if line.startswith("install") and "--simulate" not in line]


def test_it_is_remembered_until_all_is_cleaned(tmp_path):
    machine = Machine(tmp_path, 14, mmdebstrap=ROOT, apt_get=LACKS, **NOTHING)
    script = 'for i in 1 2; do "$0" exec true; done; "$0" clean --all; "$0" exec true'
    done = machine.run_script(script)
    assert done.stderr.count("Debian 13 root is used") == 2, done.stderr
    assert done.stderr.count("making the root") == 3


def test_packages_that_cannot_be_fetched_are_a_failure(tmp_path):
    machine = Machine(tmp_path, 14, mmdebstrap=ROOT, apt_get=FAILS, **NOTHING)
    done = machine.run("exec", "true")
    assert done.returncode == 1 and "E: Failed to fetch" in done.stderr, done.stderr
    assert "making the root" not in done.stderr


def test_packages_that_can_be_had_are_installed_once(tmp_path):
    machine = Machine(tmp_path, 14, mmdebstrap=ROOT, apt_get=ASKED, **NOTHING)
    done = machine.run_script('"$0" exec echo native; "$0" exec echo native')
    assert done.stdout == "native\nnative\n", done.stderr
    assert len([line for line in asked(machine) if line.startswith("install -y")]) == 1
