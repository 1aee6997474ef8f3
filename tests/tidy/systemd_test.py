# SPDX-License-Identifier: Apache-2.0
"""packaging/systemd/verify.sh accepts the units as they are and refuses broken ones."""

import pathlib
import shutil
import subprocess

import pytest

UNITS = pathlib.Path(__file__).resolve().parents[2] / "packaging" / "systemd"
# Stands for the program: it has to be there and to be executable, nothing more.
PROGRAM = "/bin/true"


def verify(directory) -> subprocess.CompletedProcess:
    return subprocess.run([UNITS / "verify.sh", PROGRAM, directory], capture_output=True, text=True, timeout=50)


@pytest.fixture
def units(tmp_path):
    for unit in UNITS.glob("*.service"):
        shutil.copy(unit, tmp_path)
    return tmp_path


def test_the_units_of_the_tree_pass(units):
    done = verify(units)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("before, after", [
    ("NoNewPrivileges=yes", "NoNewPriviledges=yes"),
    ("Type=notify", "Type=ready"),
    ("/usr/bin/masque-vpn client -c", "/usr/bin/masque-vpm client -c"),
    ("RestrictNamespaces=yes", "RestrictNamespaces=perhaps"),
    ("SystemCallFilter=@system-service", "SystemCallFilter=@system-servant"),
    ("[Service]", "[Servant]"),
])
def test_a_broken_line_is_told(units, before, after):
    unit = units / "masque-vpn-client@.service"
    text = unit.read_text()
    assert before in text
    unit.write_text(text.replace(before, after, 1))
    done = verify(units)
    assert done.returncode != 0
    assert "masque-vpn-client@office.service" in done.stdout + done.stderr


def test_a_unit_without_its_sandbox_is_too_exposed(units):
    unit = units / "masque-vpn-server@.service"
    kept = [line for line in unit.read_text().splitlines(keepends=True)
            if not line.startswith(("Protect", "Restrict", "SystemCall", "Capability", "Device", "NoNew"))]
    unit.write_text("".join(kept))
    done = verify(units)
    assert done.returncode != 0
    assert "too exposed" in done.stdout + done.stderr
