# SPDX-License-Identifier: Apache-2.0
"""examples/minimal_client: the core without a TUN, against the gateway.

    one namespace: gateway (TUN mvg, 10.8.0.1, fd08::1) == QUIC on 127.0.0.1:4433 == minimal_client (10.8.0.2, ...)
"""

import os
import re
import signal
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from netlab import Lab, Namespace, Process, wait_for  # noqa: E402
from programs import Gateway  # noqa: E402

PROGRAM = os.environ.get("MASQUE_MINIMAL_CLIENT", "minimal_client")


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    with Lab("minimal") as lab:
        monkeypatch.setenv("MASQUE_VPN_RUNTIME_DIR", str(lab.dir / "run"))
        yield lab


def connected(lab: Lab) -> tuple[Namespace, Gateway, Process, list[str]]:
    """Gateway and minimal client in one namespace, and the client's addresses."""
    namespace = lab.namespace("both")
    gateway = Gateway(lab, namespace, listen="127.0.0.1:4433", pools=["10.8.0.0/24", "fd08::/64"], tun_name="mvg")
    gateway.start()
    gateway.wait_state("listening")
    profile = tomllib.loads(gateway.add_user("alice", "--endpoint", "127.0.0.1:4433").read_text())
    files = []
    for key in ("ca_pem", "cert_pem", "key_pem"):
        files.append(lab.dir / key)
        files[-1].write_text(profile[key])

    client = namespace.start([PROGRAM, "127.0.0.1:4433", gateway.name, *files], name="minimal")
    addresses = wait_for(
        lambda: [line.split()[1].split("/")[0] for line in client.out().splitlines() if line.startswith("address ")],
        20, "the addresses", [client])
    wait_for(lambda: "connected" in client.out().lower(), 20, "the tunnel", [client])
    return namespace, gateway, client, addresses


def test_minimal_client_answers_pings_from_user_space(lab: Lab) -> None:
    namespace, gateway, client, addresses = connected(lab)
    assert len(addresses) == 2
    for address in addresses:
        wait_for(lambda: namespace.ping(address).ok, 10, f"an answer of {address}", [client])

    client.signal(signal.SIGTERM)
    wait_for(lambda: not client.running, 5, "its end")
    assert client.exit_code == 0
    # It said goodbye: the gateway knows at once.
    wait_for(lambda: not gateway.status().get("sessions"), 5, "the gateway to forget the session")
    assert gateway.stop() == 0


# proves: F6, F5
def test_the_inner_dscp_stays_inside(lab: Lab) -> None:
    namespace, _, client, addresses = connected(lab)
    file = lab.dir / "outer.pcap"
    capture = namespace.capture(file, "lo", "udp port 4433")
    for address in addresses:
        # DSCP 46 (expedited forwarding), ECT(0).
        wait_for(lambda: namespace.try_run(["ping", "-c", "3", "-i", "0.2", "-W", "2", "-Q", "0xba", address]).returncode == 0,
                 15, f"an answer of {address}", [client])
    capture.stop()
    lines = namespace.run(["tcpdump", "-v", "-n", "-r", str(file)])
    classes = {int(tos, 16) for tos in re.findall(r"\(tos 0x([0-9a-f]+)", lines)}
    assert classes and all(tos & 0xfc == 0 for tos in classes), classes
