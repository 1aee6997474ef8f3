# SPDX-License-Identifier: Apache-2.0
"""Each rule finds the violation planted for it, and lets the right form pass."""

from pathlib import Path

import pytest

import machine
import tidy
from machine import Machine

SHELL_LICENCE = "# SPDX-License-Identifier: Apache-2.0\n"
LICENCE = "// SPDX-License-Identifier: Apache-2.0\n"
MACHINE = Machine(paths=["/srv/checkouts/masque"], mirror_hosts=["mirror.example.net"])


def found(tmp_path, path, text):
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text(text)
    return [(finding.rule, finding.line) for finding in tidy.check_tree(tmp_path, [path], MACHINE)]


def function_of(lines):
    return LICENCE + "namespace masque {\nint Thing::count(int a) const {\n" + "  a += 1;\n" * (lines - 2) + "}\n}\n"


NOTE = "TO" + "DO"
PLANTED = [
    # rule, line, path, text
    ("include-arrow", 2, "src/core/tunnel/a.cc", LICENCE + '#include "core/http/http_connection.h"\n'),
    ("include-arrow", 2, "src/core/ip/a.h", LICENCE + '#include "core/capsule/capsule.h"\n'),
    ("include-arrow", 2, "src/base/a.cc", LICENCE + '#include "core/ip/address.h"\n'),
    ("include-arrow", 2, "src/core/quic/a.cc", LICENCE + '#include "host/clock.h"\n'),
    ("include-arrow", 2, "src/core/quic/a.cc", LICENCE + '#include "core/tunnel/session.h"\n'),
    ("include-arrow", 2, "src/host/a.cc", LICENCE + '#include "service/config/config.h"\n'),
    ("include-arrow", 2, "sim/a.cc", LICENCE + '#include "host/clock.h"\n'),
    ("library-header", 2, "src/core/tunnel/a.cc", LICENCE + "#include <ngtcp2/ngtcp2.h>\n"),
    ("library-header", 2, "src/core/http/a.h", LICENCE + "#include <nghttp3/nghttp3.h>\n"),
    ("library-header", 2, "src/service/store/a.cc", LICENCE + "#include <openssl/evp.h>\n"),
    ("core-pure", 2, "src/core/ip/a.cc", LICENCE + "#include <sys/socket.h>\n"),
    ("core-pure", 2, "src/core/ip/a.cc", LICENCE + "#include <mutex>\n"),
    ("core-pure", 3, "src/core/ip/a.cc", LICENCE + "\nauto now = std::chrono::steady_clock::now();\n"),
    ("core-pure", 2, "src/core/ip/a.cc", LICENCE + "int roll() { return rand(); }\n"),
    ("core-pure", 2, "src/core/ip/a_test.cc", LICENCE + "#include <thread>\n"),
    ("licence", 1, "src/base/a.cc", "#include <vector>\n"),
    ("licence", 1, "tools/a.py", "#!/usr/bin/env python3\nimport sys\n"),
    ("licence", 1, "src/base/empty.h", ""),
    ("todo", 2, "src/base/a.cc", LICENCE + f"// {NOTE}: later\n"),
    ("todo", 1, "docs/a.md", f"{NOTE} write this\n"),
    ("machine-path", 1, "docs/a.md", "see /ho" + "me/somebody/notes\n"),
    ("machine-path", 2, "src/base/a.cc", LICENCE + 'auto x = "/srv/checkouts/masque/build";\n'),
    ("mirror-host", 1, "tools/sources", "deb http://mirror.example.net/debian trixie main\n"),
    ("reference", 2, "src/base/a.cc", LICENCE + "// See nowhere.md for that.\n"),
    ("link", 2, "docs/a.md", "See [a](a.md), [b](https://example.org), [here](#there)\nand [c](../nowhere.md#x).\n"),
    ("cast", 2, "src/core/ip/a.cc", LICENCE + "auto* p = reinterpret_cast<char*>(x);\n"),
    ("throw", 2, "src/core/ip/a.cc", LICENCE + "void f() { throw 1; }\n"),
    ("shared-ptr", 2, "src/core/ip/a.cc", LICENCE + "std::shared_ptr<int> p;\n"),
    ("shared-ptr", 2, "src/core/ip/a.cc", LICENCE + "auto p = std::make_shared<int>(1);\n"),
    ("iostream", 2, "src/host/a.cc", LICENCE + "#include <iostream>\n"),
    ("dockerfile-flag", 3, "a/Dockerfile", SHELL_LICENCE + "FROM a\nHEALTHCHECK --retries=3 \\\n  # why\n  --start-interval=1s CMD a --b\n"),
    ("dockerfile-flag", 2, "a/Dockerfile", SHELL_LICENCE + "RUN --mount=type=cache,target=/a make\n"),
    ("file-length", 801, "src/base/a.cc", LICENCE + "\n" * 800),
    ("function-length", 3, "src/base/a.cc", function_of(71)),
    ("function-length", 2, "tools/a.py", "# SPDX-License-Identifier: Apache-2.0\ndef f():\n" + "    pass\n" * 70),
]

RIGHT = [
    ("src/core/quic/a.cc", LICENCE + '#include "core/tunnel/datagram_channel.h"\n#include "base/time.h"\n#include <ngtcp2/ngtcp2.h>\n'),
    ("src/service/pki/a.cc", LICENCE + '#include <openssl/evp.h>\n#include "host/clock.h"\n'),
    ("src/core/ip/a.cc", LICENCE + "// No reinterpret_cast, no throw, no rand() here.\nauto text = \"throw shared_ptr<int>\";\n"),
    ("src/core/ip/a.cc", LICENCE + "constexpr auto kMax = 1'000'000; int operand(int brand) { return brand; }\n"),
    ("src/base/bytes.h", LICENCE + "auto* p = reinterpret_cast<char*>(x);\n"),
    ("src/core/ip/a_test.cc", LICENCE + "#include <iostream>\n#include <fstream>\n"),
    ("src/base/a.cc", LICENCE + f"// {NOTE}(#12): later\n"),
    ("tools/a.py", "#!/usr/bin/env python3\n# SPDX-License-Identifier: Apache-2.0\n"),
    ("a/Dockerfile", SHELL_LICENCE + "COPY --from=a --chown=a:a a b\nRUN make --jobs \\\n  --quiet\n"),
    ("src/base/a.cc", function_of(70)),
    # A type, a namespace and a table are no functions.
    ("src/base/a.h", LICENCE + "class Thing : public Base {\n" + "  int f() { return 1; }\n" * 80 + "};\n"),
    ("src/base/a.cc", LICENCE + "constexpr Row kTable[] = {\n" + "  {1, f(2)},\n" * 80 + "};\n"),
]


@pytest.mark.parametrize(("rule", "line", "path", "text"), PLANTED)
def test_a_planted_violation_is_found(tmp_path, rule, line, path, text):
    assert found(tmp_path, path, text) == [(rule, line)]


@pytest.mark.parametrize(("path", "text"), RIGHT)
def test_the_right_form_passes(tmp_path, path, text):
    assert found(tmp_path, path, text) == []


def test_a_row_that_a_comment_names_is_there(tmp_path):
    for path, text in (("docs/faults.md", "| A1 | a fault |\n"), ("src/a.cc", LICENCE + "// faults.md A1, faults.md A2\n")):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    findings = tidy.check_tree(tmp_path, ["docs/faults.md", "src/a.cc"], MACHINE)
    assert [finding.message for finding in findings] == ["faults.md has no row A2"]


def test_each_rule_has_a_planted_violation():
    assert {rule for rule, *_ in PLANTED} == set(tidy.RULES)


def test_an_exception_needs_a_reason(tmp_path):
    (tmp_path / "exceptions.txt").write_text("cast src/a.cc --  \n")
    with pytest.raises(SystemExit):
        tidy.read_exceptions(tmp_path / "exceptions.txt")


def test_the_folders_beside_a_checkout_are_paths_of_its_machine(tmp_path, monkeypatch):
    here = tmp_path / "here"
    for name in ("tree", "notes"):
        (here / name).mkdir(parents=True)
    assert machine.paths_around(here / "tree") == [str(here / "notes"), str(here / "tree")]
    monkeypatch.setattr(machine, "SHARED", [str(here)])
    assert machine.paths_around(here / "tree") == [str(here / "tree")]
    assert not machine.paths_around(Path("/src"))


def test_this_machine_is_read():
    machine = Machine.this(tidy.Path("/srv/checkouts/masque"))
    assert machine.paths == ["/srv/checkouts/masque"]
    assert all("/" not in host for host in machine.mirror_hosts)
