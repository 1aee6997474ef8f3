# SPDX-License-Identifier: Apache-2.0
"""The gate itself: it tells survivors from the dead, and its list from the sources."""

import importlib.machinery
import importlib.util
import pathlib

import pytest

_loader = importlib.machinery.SourceFileLoader("mutants_run", str(pathlib.Path(__file__).with_name("run")))
_spec = importlib.util.spec_from_loader("mutants_run", _loader)
gate = importlib.util.module_from_spec(_spec)
_loader.exec_module(gate)

PROGRAM = """#!/bin/sh
case $1 in *Nothing*) exit 0 ;; esac
echo '[ RUN      ] Suite.first'
case ${MASQUE_MUTANT-} in
  caught) echo '[  FAILED  ] Suite.first (1 ms)'; exit 1 ;;
  crash) kill -SEGV $$ ;;
  hang) exec sleep 60 ;;
esac
echo '[       OK ] Suite.first (1 ms)'
"""


@pytest.fixture
def build(tmp_path):
    program = tmp_path / "bin" / "some_test"
    program.parent.mkdir()
    program.write_text(PROGRAM)
    program.chmod(0o755)
    return tmp_path


def mutant(name, tests="Suite.*"):
    return gate.Mutant(name, "says", (("some_test", tests),))


@pytest.mark.parametrize("name, killer", [
    ("caught", "some_test Suite.first"),
    ("crash", "some_test Suite.first"),
    ("hang", "some_test no end"),
    ("survivor", None),
])
def test_verdicts(build, monkeypatch, name, killer):
    monkeypatch.setattr(gate, "TEST_SECONDS_MAX", 2)
    assert gate.judge(build, mutant(name)).killer == killer


def test_the_tests_must_pass_and_exist_without_a_mutant(build, monkeypatch):
    assert list(gate.baseline(build, [mutant("survivor")])) == []
    assert list(gate.baseline(build, [mutant("survivor", "Nothing.*")])) == ["some_test Nothing.*: no such tests"]
    # A mutant of the caller's environment is not the baseline's.
    monkeypatch.setenv("MASQUE_MUTANT", "caught")
    assert list(gate.baseline(build, [mutant("survivor")])) == []


def test_list_and_sources_agree():
    assert list(gate.disagreements(["a", "b"], ["b", "a"])) == []
    faults = list(gate.disagreements(["a", "b", "b", "d"], ["a", "a", "c", "b"]))
    assert len(faults) == 4
    listed = [one.name for one in gate.read_list(gate.TREE / "tests/mutants/mutants.toml")]
    assert list(gate.disagreements(listed, gate.switches_of(gate.TREE))) == []


def test_a_survivor_stands_out_in_the_report():
    page = gate.report([gate.Verdict(mutant("x"), None, 0.1), gate.Verdict(mutant("y"), "t S.u", 0.1)])
    assert "1 of 2 mutants" in page
    assert "| `x` | **nobody** |" in page
    assert "| `y` | `t S.u` |" in page
