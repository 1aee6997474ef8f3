# SPDX-License-Identifier: Apache-2.0
"""`./dev demo`: everything holds, and nothing stays behind, whenever it is interrupted.

    client ── network ── gateway ── inner    (tools/demo makes them)
      ╰══════ tunnel ═══════╯
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

DEMO = Path(__file__).resolve().parents[2] / "tools/demo"
LIMIT_S = 120
# Moments in the demo's life, by what it has just said; the last waits a little longer.
MOMENTS = ["making four hosts", "masque-vpn init", "user add", "masque-vpn server",
           "masque-vpn client", "connected", "copying 100 MB", "measuring upwards"]


class Running:
    """A demo whose files lie in a directory of the test's, so that another demo does not disturb."""

    def __init__(self, directory: Path, *options: str):
        self.directory = directory
        self.before = machine_state()
        self.process = subprocess.Popen(
            [sys.executable, DEMO, *options], text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "TMPDIR": str(directory)})

    def end(self) -> tuple[str, str, int]:
        out, err = self.process.communicate(timeout=LIMIT_S)
        return out, err, self.process.returncode

    def leaves_nothing(self) -> None:
        assert machine_state() == self.before
        assert not list(self.directory.iterdir())
        assert not list(Path("/run/netns").glob(f"mvlab-{self.process.pid}-*"))
        assert not programs_of(self.directory)


def machine_state() -> dict[str, str]:
    """Of the machine's own network."""
    def shown(*words: str) -> str:
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout

    links = json.loads(shown("ip", "-json", "link", "show"))
    return {"links": " ".join(link["ifname"] for link in links),
            "tables": shown("nft", "list", "tables"), "rules": shown("ip", "rule", "show")}


def programs_of(directory: Path) -> list[str]:
    """Command lines that name a file in it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(directory) in text:
            found.append(text)
    return found


@pytest.fixture(name="directory")
def short_directory() -> Iterator[Path]:
    """Short, for the control sockets' paths."""
    with tempfile.TemporaryDirectory(prefix="mvdemo-") as directory:
        yield Path(directory)


def test_everything_holds_and_nothing_stays(directory):
    started = time.monotonic()
    demo = Running(directory, "--json", "--seconds", "1")
    out, err, code = demo.end()
    assert code == 0, err
    report = json.loads(out)
    assert report["ok"]
    assert report["file_ipv6"]["bytes"] == 100_000_000
    demo.leaves_nothing()
    assert time.monotonic() - started < 75


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing(directory, moment, number):
    demo = Running(directory)
    said = ""
    for line in demo.process.stderr:
        said += line
        if moment in line:
            break
    else:
        raise AssertionError(f"the demo never said {moment!r} but\n{said}")
    demo.process.send_signal(number)
    assert demo.end()[2] == 130
    demo.leaves_nothing()


@pytest.mark.parametrize("delay_ms", [60, 120, 250, 400, 700])
def test_an_interruption_at_any_time(directory, delay_ms):
    """Not at a step's beginning, and twice, as an impatient person does it."""
    demo = Running(directory)
    time.sleep(delay_ms / 1000)
    demo.process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    demo.process.send_signal(signal.SIGINT)
    assert demo.end()[2] != 0
    demo.leaves_nothing()
