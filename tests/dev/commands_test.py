# SPDX-License-Identifier: Apache-2.0
"""What ./dev says of its commands: their options, and what is missing, before anything is built."""

import pathlib
import re
import subprocess
import sys

import pytest

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
OPTION = re.compile(r"^ +(?:-\w, )?(--[a-z-]+)", re.MULTILINE)
BENCHMARKS = sorted(path.parent.name for path in CHECKOUT.glob("bench/*/main.py"))


def dev(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run([CHECKOUT / "dev", *words], capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize(("command", "program"), [
    ("demo", "tools/demo"), ("soak", "tests/soak/run"), ("mutants", "tests/mutants/run")])
def test_help_lists_the_options_of_the_program(command, program):
    own = subprocess.run([sys.executable, CHECKOUT / program, "--help"], capture_output=True, text=True, check=True).stdout
    listed = set(OPTION.findall(dev(command, "--help").stdout))
    assert listed == set(OPTION.findall(own)) - {"--help"}
    assert listed


def test_bench_names_what_there_is():
    listed = re.findall(r"^  (\w+)   ", dev("bench", "--help").stdout, re.MULTILINE)
    assert listed == BENCHMARKS


@pytest.mark.parametrize("words", [[], ["no-such"], ["--quick"]], ids=str)
def test_bench_without_a_name_builds_nothing(words):
    done = dev("bench", *words)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert all(name in done.stderr for name in BENCHMARKS)
