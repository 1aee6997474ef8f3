# SPDX-License-Identifier: Apache-2.0
"""What every benchmark says of the machine and the commit, and the wait for others' work to end."""

import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
QUIET_LOAD = 0.5
SCALE = 1 << 30


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def load() -> float:
    return os.getloadavg()[0]


def wait_until_quiet(limit: float) -> float:
    """The load average before the run; others' work would be measured too."""
    deadline = time.monotonic() + limit
    while load() > QUIET_LOAD and time.monotonic() < deadline:
        say(f"load average {load():.2f}; waiting for {QUIET_LOAD}")
        time.sleep(10)
    if load() > QUIET_LOAD:
        say(f"the machine is busy (load average {load():.2f}): the figures will be too low")
    return round(load(), 2)


def describe(load_before: float) -> dict[str, Any]:
    cpu = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(": ")[2]
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / SCALE
    control = Path("/proc/sys/net/ipv4/tcp_congestion_control")
    return {"cpu": cpu, "cores": os.cpu_count(), "memory_gib": round(memory),
            "kernel": platform.release(), "load_before": load_before,
            "congestion_control": control.read_text().strip() if control.exists() else "unknown"}


def commit() -> str:
    done = subprocess.run(["git", "-C", CHECKOUT, "describe", "--always", "--dirty"], check=False,
                          capture_output=True, text=True)
    return done.stdout.strip() or "unknown"
