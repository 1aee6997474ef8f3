# SPDX-License-Identifier: Apache-2.0
"""For all namespace tests: they need root, /dev/net/tun and the built program (./dev test netns)."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from netlab import NAME_PREFIX, Lab  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def runtime_directory() -> Iterator[None]:
    """Control sockets of the tests' programs are kept apart from the machine's. Named as a lab's
    files are, so that those of a killed run are removed too."""
    directory = tempfile.mkdtemp(prefix=f"{NAME_PREFIX}-{os.getpid()}-run-")
    os.environ["MASQUE_VPN_RUNTIME_DIR"] = directory
    yield
    shutil.rmtree(directory, ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: object) -> Iterator[None]:
    """Adds the ends of the processes' outputs to the report of a test that failed."""
    report = yield
    if report.when == "call" and report.failed:
        for value in getattr(item, "funcargs", {}).values():
            lab = value if isinstance(value, Lab) else getattr(value, "lab", None)
            if isinstance(lab, Lab):
                report.sections.append(("processes", lab.outputs()))
                break
    return report
