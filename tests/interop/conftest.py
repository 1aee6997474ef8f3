# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the interop tests. All of them need root, /dev/net/tun and what setup.sh makes."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
pytest.register_assert_rewrite("suite", "peers")

from netlab import Lab, Namespace  # noqa: E402

# client ---- 192.0.2.0/24, 2001:db8:ff::/64 ---- gateway
CLIENT_OUTER = ["192.0.2.2", "2001:db8:ff::2"]
GATEWAY_OUTER = ["192.0.2.1", "2001:db8:ff::1"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: object) -> Iterator[None]:
    """Adds the ends of the processes' outputs to the report of a test that failed."""
    report = yield
    lab = getattr(item, "funcargs", {}).get("lab")
    if report.when == "call" and report.failed and lab:
        report.sections.append(("processes", lab.outputs()))
    return report


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(request.node.originalname[:24]) as made:
        yield made


@pytest.fixture
def hosts(lab: Lab) -> tuple[Namespace, Namespace]:
    """Two hosts on one link: the client's and the gateway's."""
    client, gateway = lab.namespace("client"), lab.namespace("gateway")
    lab.veth(client, gateway, [f"{CLIENT_OUTER[0]}/24", f"{CLIENT_OUTER[1]}/64"],
             [f"{GATEWAY_OUTER[0]}/24", f"{GATEWAY_OUTER[1]}/64"])
    return client, gateway
