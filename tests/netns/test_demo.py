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
from pathlib import Path

import pytest

DEMO = Path(__file__).resolve().parents[2] / "tools/demo"
LIMIT_S = 120
# Moments in the demo's life, by what it has just said; the last waits a little longer.
MOMENTS = ["making four hosts", "masque-vpn init", "user add", "masque-vpn server",
           "masque-vpn client", "connected", "copying 100 MB", "measuring upwards"]


def machine_state() -> dict[str, object]:
    """What a demo could leave behind on the machine's own network, and its files."""
    def shown(*words: str) -> str:
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout

    temporary = Path(tempfile.gettempdir())
    return {
        "links": [link["ifname"] for link in json.loads(shown("ip", "-json", "link", "show"))],
        "tables": shown("nft", "list", "tables"),
        "rules": shown("ip", "rule", "show"),
        "files": sorted(path.name for path in temporary.glob("mvlab-demo-*")),
        "processes": descendants(),
    }


def nothing_left(demo: subprocess.Popen[str], before: dict[str, object]) -> None:
    assert machine_state() == before
    assert not list(Path("/run/netns").glob(f"mvlab-{demo.pid}-*"))


def descendants() -> list[str]:
    """Programs that work in a demo's directory or with its files."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "mvlab-demo-" in text:
            found.append(text)
    return found


def start_demo(*options: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, DEMO, *options], text=True, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ)


def test_everything_holds_and_nothing_stays():
    before = machine_state()
    started = time.monotonic()
    with start_demo("--json", "--seconds", "1") as demo:
        out, err = demo.communicate(timeout=LIMIT_S)
    assert demo.returncode == 0, err
    report = json.loads(out)
    assert report["ok"]
    assert report["file_ipv6"]["bytes"] == 100_000_000
    nothing_left(demo, before)
    assert time.monotonic() - started < 75


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing(moment, number):
    before = machine_state()
    with start_demo() as demo:
        for line in demo.stderr:
            if moment in line:
                break
        else:
            raise AssertionError(f"the demo never said {moment!r}")
        demo.send_signal(number)
        demo.communicate(timeout=LIMIT_S)
    assert demo.returncode == 130
    nothing_left(demo, before)


@pytest.mark.parametrize("delay_ms", [60, 120, 250, 400, 700])
def test_an_interruption_at_any_time(delay_ms):
    """Not at a step's beginning, and twice, as an impatient person does it."""
    before = machine_state()
    with start_demo() as demo:
        time.sleep(delay_ms / 1000)
        demo.send_signal(signal.SIGINT)
        time.sleep(0.05)
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=LIMIT_S)
    assert demo.returncode != 0
    nothing_left(demo, before)
