# SPDX-License-Identifier: Apache-2.0
"""tools/conformance finds the tests that prove rows, and what is wrong with their comments."""

import importlib.machinery
import importlib.util
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "tools" / "conformance"
loader = importlib.machinery.SourceFileLoader("conformance", str(PROGRAM))
conformance = importlib.util.module_from_spec(importlib.util.spec_from_loader("conformance", loader))
sys.modules["conformance"] = conformance
loader.exec_module(conformance)

ROWS = """
[[section]]
title = "One"
rows = [
  { id = "A1", level = "M", who = "B", ref = "1", text = "one" },
  { id = "A2", level = "M-", who = "B", ref = "1", text = "two", kept_by = "ngtcp2" },
  { id = "X1", level = "S", who = "B", ref = "1", text = "three" },
  { id = "V1t", level = "i", who = "B", ref = "1", text = "four" },
]
"""


def joined(path, text):
    sections = conformance.read_rows(ROWS)
    wrong = conformance.join(sections, {path: text})
    return {row.id: row.tests for row in sections[0][1] if row.tests}, wrong


@pytest.mark.parametrize(("path", "text", "name"), [
    ("a_test.cc", "// proves: A1\nTEST(Suite, name) {\n", "Suite.name"),
    ("a_test.cc", "// Why.\n// proves: A1\nTEST_F(Suite, name) {\n", "Suite.name"),
    ("a_test.cc", "// proves: A1\nRC_GTEST_PROP(Suite,\n              name, (int a)) {\n", "Suite.name"),
    ("a_test.cc", '// proves: A1\nSCENARIO(loss, 3, "All of it") {\n', "loss"),
    ("a_test.cc", 'SCENARIO(above, 3, "Another") {\n}\n\n// proves: A1\nSCENARIO(\n    loss, 3,\n    "All of it") {\n', "loss"),
    ("a_test.cc", '// proves: A1\nSCENARIO_WITH(loss, Crypto::Real, 3, "All of it") {\n', "loss"),
    ("a_test.cc", 'TEST(Suite, table) {\n  // proves: A1\n  {"host bits", 1},\n', "Suite.table[host bits]"),
    ("a_test.cc", 'TEST(Suite, above) {\n}\nconst Row kRows[] = {\n    // proves: A1\n    {"host bits", 1},\n};\n'
                  "TEST(Suite, table) {\n  for (auto& row : kRows) run(row);\n}\n", "Suite.table[host bits]"),
    ("a_test.cc", 'const Row kRows[] = {\n    // proves: A1\n    {"host bits", 1},\n};\nTEST_P(Rows, all) {\n}\n'
                  "INSTANTIATE_TEST_SUITE_P(All, Rows, ValuesIn(kRows),\n                         name);\n", "Rows.all[host bits]"),
    ("a_test.cc", "TEST(Suite, name) {\n  // proves: A1\n  int a = 1;\n", "Suite.name"),
    ("test_a.py", "# proves: A1\n@mark\ndef test_name(lab):\n", "test_name"),
    ("test_a.py", "# proves: A1\n@mark(\n    1,\n)\n@mark\ndef test_name(lab):\n", "test_name"),
    ("test_a.py", "def test_name(lab):\n    # proves: A1\n    a = 1\n", "test_name"),
])
def test_the_test_after_a_comment_is_named(path, text, name):
    assert joined(path, text) == ({"A1": [f"{path}: {name}"]}, [])


def test_several_rows_and_lines():
    tests, wrong = joined("a_test.cc", "// proves: A1, X,\n// V1t\nTEST(S, n) {\n")
    assert set(tests) == {"A1", "X1", "V1t"} and not wrong


@pytest.mark.parametrize("text", [
    "// proves: A9\nTEST(S, n) {",
    "// proves: host bits\nTEST(S, n) {",
    "// proves: A1\nint a;\n",
    "// proves: A1\n",
    "// proves: A1\n// A test that came between.\nTEST(S, m) {\n}\n\nTEST(S, n) {",
    "// proves: A1\n// proves: A2\nTEST(S, n) {",
    "// proves: A1\n\nTEST(S, n) {",
    "int helper() {\n  // proves: A1\n  return 1;\n}\nTEST(S, n) {\n  helper();\n}\n",
    'const Row kRows[] = {\n    // proves: A1\n    {"host bits"},\n};\nTEST(S, n) {\n  kRows;\n}\nTEST(S, m) {\n  kRows;\n}\n',
])
def test_wrong_comments_are_told(text):
    tests, wrong = joined("a_test.cc", text)
    assert "A1" not in tests and len(wrong) == 1


def test_what_is_open():
    rows = conformance.read_rows(ROWS)[0][1]
    assert [row.id for row in rows if row.is_open] == ["A1", "X1"]
    assert [row.id for row in rows if row.is_open and row.is_must] == ["A1"]


def test_a_library_alone_proves_only_what_quic_does():
    rows = {row.id: row for row in conformance.read_rows(ROWS.replace('title = "One"', 'title = "One"\nquic = true'))[0][1]}
    assert not rows["A2"].rests_on_library
    sections = conformance.read_rows(ROWS)
    rows = {row.id: row for row in sections[0][1]}
    assert rows["A2"].rests_on_library and not rows["A1"].rests_on_library
    conformance.join(sections, {"a_test.cc": "// proves: A2\nTEST(S, n) {"})
    assert not rows["A2"].rests_on_library


def test_the_table_tells_the_proof():
    sections = conformance.read_rows(ROWS)
    conformance.join(sections, {"a_test.cc": "// proves: A2\nTEST(S, n) {"})
    text = conformance.table(sections)
    assert "| A2 | MUST NOT | B | 1 | two | `a_test.cc: S.n`<br>library: ngtcp2 |" in text
    assert "| A1 | MUST | B | 1 | one | **not yet**: no test |" in text


def test_what_deviates_is_not_shown_by_its_tests(tmp_path):
    text = ROWS.replace('text = "one"', 'text = "one", deviates = "ADR 0001: not by default"')
    sections = conformance.read_rows(text)
    rows = sections[0][1]
    conformance.join(sections, {"a_test.cc": "// proves: A1, A2\nTEST(S, n) {"})
    made = conformance.table(sections)
    assert "| MUST | 1 | 0 | 0 | 1 | 0 | 0 |" in made and "| MUST NOT | 1 | 1 | 0 | 0 | 0 | 0 |" in made
    assert "| A1 | MUST | B | 1 | one | **deviates** (ADR 0001: not by default)<br>`a_test.cc: S.n` |" in made
    assert not rows[0].is_open
    # The decision is there to be read.
    assert conformance.unfounded(rows, tmp_path) == [rows[0]]
    (tmp_path / "docs/adr").mkdir(parents=True)
    (tmp_path / "docs/adr/0001-why.md").touch()
    assert conformance.unfounded(rows, tmp_path) == []
    rows[0].deviates = "because"
    assert conformance.unfounded(rows, tmp_path) == [rows[0]]
