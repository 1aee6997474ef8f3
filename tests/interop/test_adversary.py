# SPDX-License-Identifier: Apache-2.0
"""Our gateway and our client against peers that break every rule they can (attack_gateway.py,
attack_client.py). One gateway stands all attacks; a client stands one each.

    client: the attacker, or masque-vpn ---- 192.0.2.0/24 ---- gateway: masque-vpn, or the attacker
"""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from certificates import CertificateAuthority
from marks import control_seen, times_seen
from netlab import Lab, Process, wait_for
from peers import COMMANDS, FIXED_PATH, HERE, Peer
from programs import Client, Gateway, profile_identity

NAME = "vpn.example"
URI = f"https://{NAME}:4433{FIXED_PATH}"
LISTEN = "192.0.2.1:4433"
INNER = "10.9.0.1,fd09::1"
CASE_LIMIT_S = 60.0
CAPTURE_LIMIT_S = 10.0
TUN = "attacked"
PYTHON = COMMANDS["python"][0]


def case_names(script: str) -> dict[str, list[str]]:
    """Group: names. Read from the table's module, which needs aioquic, so by the peers' Python."""
    program = (f"import json, sys; sys.path.insert(0, {str(HERE)!r}); import {script} as m; "
               "print(json.dumps([[c.group, c.name] for c in m.TABLE.cases.values()]))")
    groups: dict[str, list[str]] = {}
    done = subprocess.run([PYTHON, "-c", program], capture_output=True, text=True, check=True)
    for group, name in json.loads(done.stdout):
        groups.setdefault(group, []).append(name)
    return groups


GATEWAY_CASES = case_names("attack_gateway_cases")
CLIENT_CASES = case_names("attack_client_cases")


class AttackedGateway:
    """A gateway, and the results of all attacks on it, which run once."""

    def __init__(self, lab: Lab):
        self.client, self.host = lab.namespace("client"), lab.namespace("gateway")
        lab.veth(self.client, self.host, ["192.0.2.2/24"], ["192.0.2.1/24"])
        self.gateway = Gateway(lab, self.host, LISTEN, ["10.9.0.0/24", "fd09::/64"], NAME,
                               tun_name=TUN)
        identity = profile_identity(self.gateway.add_user("mallory"), lab.dir)
        victim = profile_identity(self.gateway.add_user("victor"), lab.dir)
        self.honest = profile_identity(self.gateway.add_user("alice"), lab.dir)
        self.gateway.start()
        self.seen = lab.dir / "tun.pcap"
        self.host.capture(self.seen, TUN, packet_bytes=1500)
        ca, certificate, key = identity
        self.attack: Process = self.client.start(
            [PYTHON, HERE / "attack_gateway.py", "--address", LISTEN, "--uri", URI, "--ca", ca,
             "--cert", certificate, "--key", key, "--other-cert", victim[1], "--other-key",
             victim[2], "--inner", INNER], name="attack")

    def result(self, name: str) -> dict:
        def find() -> dict | None:
            return next((line for line in self.attack.json_lines() if line["case"] == name), None)

        count = sum(map(len, GATEWAY_CASES.values()))
        return wait_for(lambda: find() or (not self.attack.running and {"ok": False}), 5.0 * count,
                        f"attack {name}")


@pytest.fixture(scope="module")
def attacked() -> Iterator[AttackedGateway]:
    with Lab("adversary") as lab:
        yield AttackedGateway(lab)


def judge(line: dict) -> None:
    assert line["ok"], "\n".join(f"{key}: {value}" for key, value in line.items())


def judge_packets(line: dict, capture: Path) -> None:
    """What must be dropped is not in the capture, and what came behind it is."""
    judge(line)
    if not line["unseen"]:
        return
    name = line["case"]
    wait_for(lambda: control_seen(name, capture), CAPTURE_LIMIT_S, f"the control of {name}")
    assert times_seen(name, capture) == 0, f"{name}: seen behind the filter"


def attacks(groups: dict[str, list[str]], group: str):
    return pytest.mark.parametrize("name", groups[group])


# proves: A3, A5, H12, H13, H17, H18, H20, H22, L3, R1, R2, R4, R7, U5, V3, V5, V6, W5, W7
@attacks(GATEWAY_CASES, "capsules")
def test_gateway_stands_capsules(attacked, name):
    judge(attacked.result(name))


# proves: D1, D3, D4, H3, H5, H6
@attacks(GATEWAY_CASES, "datagrams")
def test_gateway_stands_datagrams(attacked, name):
    judge(attacked.result(name))


# proves: Q2, Q3, Q6, Q8, Q9, C3, C4, S2, S3, S4, S5, H16, H19, W6, W10, Z1, Z5
@attacks(GATEWAY_CASES, "requests")
def test_gateway_stands_requests(attacked, name):
    judge(attacked.result(name))


# proves: H8, H9, W1, W2, W5, W8, G2
@attacks(GATEWAY_CASES, "http3")
def test_gateway_stands_http3(attacked, name):
    judge(attacked.result(name))


# proves: E5, K2, K6, S9, S10, U1, Z2, Z4
@attacks(GATEWAY_CASES, "packets")
def test_gateway_stands_packets(attacked, name):
    judge_packets(attacked.result(name), attacked.seen)


def test_gateway_serves_an_honest_client_after_all_that(attacked):
    attacked.attack.wait(CASE_LIMIT_S)
    assert attacked.gateway.process.running
    ca, certificate, key = attacked.honest
    peer = Peer("python", "client", attacked.client, [
        "--uri", URI, "--address", LISTEN, "--ca", ca, "--cert", certificate, "--key", key])
    peer.wait_event("routes")
    assert attacked.client.ping("10.9.0.1", count=3).received == 3
    assert attacked.gateway.stop() == 0


class AttackingProxy:
    """The adversary as a proxy: case after case, in the table's order."""

    def __init__(self, lab: Lab):
        self.lab = lab
        self.client, self.host = lab.namespace("client"), lab.namespace("gateway")
        lab.veth(self.client, self.host, ["192.0.2.2/24", "2001:db8:ff::2/64"],
                 ["192.0.2.1/24", "2001:db8:ff::1/64"])
        authority = CertificateAuthority(lab.dir)
        identity = authority.issue(NAME)
        self.config = lab.dir / "client.toml"
        self.config.write_text(f'''server_addr = "{LISTEN}"
server_name = "{NAME}"
ca_file = "{authority.file}"
tun_name = "victim"
[auth]
token = "secret"
''')
        self.config.chmod(0o600)
        self.identity = identity

    def attack(self, name: str) -> dict:
        """One case on a new client of ours, which must end in order."""
        adversary = self.host.start(
            [PYTHON, HERE / "attack_client.py", "--listen", LISTEN, "--cert",
             self.identity.certificate, "--key", self.identity.key, "--inner",
             "10.77.0.1/24,fd77::1/64", name], name="adversary")
        try:
            wait_for(lambda: adversary.json_lines(), CASE_LIMIT_S, "the case to be armed",
                     [adversary])
            victim = Client(self.lab, self.client, self.config)
            process = victim.start()
            line = wait_for(lambda: next((one for one in adversary.json_lines() if "ok" in one),
                                         None), CASE_LIMIT_S, f"the outcome of {name}", [adversary])
            line["gave up"] = not process.running
            line["exit code"] = process.exit_code if line["gave up"] else victim.stop()
            # It may give up: 69 unreachable, 75 later, 77 refused. It may not crash.
            line["ok"] = line["ok"] and line["exit code"] in (
                (69, 75, 77) if line["gave up"] else (0, 69, 75, 77))
            line["left behind"] = self.client.addresses("victim")
            line["ok"] = line["ok"] and not line["left behind"]
            if not line["ok"]:
                line["log"] = "\n" + process.tail()
            return line
        finally:
            adversary.signal(signal.SIGTERM)
            adversary.kill()


@pytest.fixture(scope="module")
def attacking() -> Iterator[AttackingProxy]:
    with Lab("adversary") as lab:
        yield AttackingProxy(lab)


# proves: C1, C2, H8, H9, Q1, W1, W2, W5, W8
@attacks(CLIENT_CASES, "http3")
def test_client_stands_http3(attacking, name):
    judge(attacking.attack(name))


# proves: H16, H19, L3, Q4, Q5, W6, W7, W10
@attacks(CLIENT_CASES, "answers")
def test_client_stands_answers(attacking, name):
    judge(attacking.attack(name))


# proves: A1, A3, A5, H12, H13, H17, H18, H20, H22, R4, R5, V3, V5, V6, Z6
@attacks(CLIENT_CASES, "capsules")
def test_client_stands_capsules(attacking, name):
    judge(attacking.attack(name))


# proves: D3, D4, H3, H6, K2, K6, Z2
@attacks(CLIENT_CASES, "packets")
def test_client_stands_packets(attacking, name):
    # Its interface comes and goes with the tunnel; what it sends outside is encrypted.
    seen = attacking.lab.dir / f"{name}.pcap"
    capture = attacking.client.capture(seen, packet_bytes=1500)
    try:
        judge_packets(attacking.attack(name), seen)
    finally:
        capture.stop()
