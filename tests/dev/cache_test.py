# SPDX-License-Identifier: Apache-2.0
"""Where ./dev keeps its root and its caches."""

import os
import pathlib
import pwd
import subprocess

import pytest

LIB = pathlib.Path(__file__).resolve().parents[2] / "tools" / "dev" / "lib.sh"
HOME = pwd.getpwuid(0).pw_dir

CASES = {
    "root": ({}, f"{HOME}/.cache/masque-vpn"),
    "root with another home": ({"HOME": "/tmp/other"}, f"{HOME}/.cache/masque-vpn"),
    "XDG_CACHE_HOME": ({"HOME": "/tmp/other", "XDG_CACHE_HOME": "/tmp/xdg"}, "/tmp/xdg/masque-vpn"),
    "MASQUE_VPN_CACHE": ({"XDG_CACHE_HOME": "/tmp/xdg", "MASQUE_VPN_CACHE": "/tmp/own"}, "/tmp/own"),
}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize(("environment", "expected"), CASES.values(), ids=CASES)
def test_the_cache_does_not_follow_the_home_of_a_script(environment, expected):
    done = subprocess.run(["bash", "-uc", '. "$1"; echo "$cache_dir"', "cache_test", LIB], capture_output=True, text=True,
                          env={"PATH": os.environ["PATH"], "MASQUE_VPN_CHECKOUT": "/checkout", **environment}, check=True)
    assert done.stdout.strip() == expected


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_another_user_has_a_cache_at_home():
    done = subprocess.run(["setpriv", "--reuid=65534", "--clear-groups", "bash", "-u"],
                          input=LIB.read_text() + 'echo "$cache_dir"', capture_output=True, text=True, check=True,
                          env={"PATH": os.environ["PATH"], "MASQUE_VPN_CHECKOUT": "/checkout", "HOME": "/tmp/other"})
    assert done.stdout.strip() == "/tmp/other/.cache/masque-vpn"
