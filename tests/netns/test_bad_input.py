# SPDX-License-Identifier: Apache-2.0
"""What cannot work ends with one clear line and the right exit code, and leaves nothing behind.

    client ── router ── gateway ── inner
"""

import contextlib
import datetime
import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from networks import (CLIENT_TUN, ENDPOINT, HERE, PORT, PROGRAM, Client, Gateway, Network, network,
                      network_state, one_error_line)

FAILED, UNREACHABLE, LATER, REFUSED, CONFIGURATION = 1, 69, 75, 77, 78
END_LIMIT_S = 40
PEERS = Path(os.environ.get("MASQUE_INTEROP_PEERS", ""))


@pytest.fixture(name="net", scope="module")
def network_with_gateway() -> Iterator[Network]:
    with network("bad") as net:
        net.start_gateway()
        net.before = network_state(net.client_ns)
        yield net


@pytest.fixture(name="client")
def stopped_client(net: Network, request: pytest.FixtureRequest) -> Iterator[Client]:
    """With a good profile, to be spoiled; afterwards all is as it was."""
    user = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[-48:].strip("-")
    client = net.make_client(user)
    yield client
    if client.process:
        client.process.kill()
    assert network_state(net.client_ns) == net.before


def refusal(client: Client | Gateway, exit_code: int, *words: str) -> str:
    """The program ends with the code, and one error line says what is wrong (all the words)."""
    process = client.start() if isinstance(client, Client) else super(Gateway, client).start()
    code = process.wait(END_LIMIT_S)
    text = process.err()
    assert code == exit_code, f"exit code {code}\n{text}"
    line = one_error_line(text)
    for word in words:
        assert re.search(word, line, re.IGNORECASE), f"{word!r} is missing in: {line}"
    return line


def place_of(program: Client | Gateway, key: str) -> str:
    """FILE:LINE:COLUMN: KEY: of a key's value, as a pattern."""
    for number, line in enumerate(program.config.read_text().splitlines(), 1):
        if re.match(rf"{key} *=", line):
            column = len(line[:line.index("=") + 1]) + 2
            return re.escape(f"{program.config}:{number}:{column}: {key}: ")
    raise AssertionError(f"{key} is not in {program.config}")


# ---- certificates -------------------------------------------------------------------------------

def issue(directory: Path, names: list[str], days: int, stem: str) -> tuple[Path, Path, Path]:
    """A CA of its own, and a server certificate of it: files ca, certificate, key."""
    now = datetime.datetime.now(datetime.timezone.utc)
    start = now - datetime.timedelta(days=400)

    def build(subject: str, issuer: str, key, signer, ca: bool, end: datetime.datetime):
        builder = (x509.CertificateBuilder()
                   .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)]))
                   .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
                   .public_key(key.public_key()).serial_number(x509.random_serial_number())
                   .not_valid_before(start).not_valid_after(end)
                   .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True))
        if not ca:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), False)
        return builder.sign(signer, hashes.SHA256())

    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    later = now + datetime.timedelta(days=400)
    texts = {
        "ca": build("test CA", "test CA", ca_key, ca_key, True, later)
              .public_bytes(serialization.Encoding.PEM),
        "crt": build(names[0], "test CA", key, ca_key, False, now + datetime.timedelta(days=days))
               .public_bytes(serialization.Encoding.PEM),
        "key": key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                 serialization.NoEncryption()),
    }
    paths = []
    for kind, text in texts.items():
        path = directory / f"{stem}.{kind}"
        path.write_bytes(text)
        path.chmod(0o600)
        paths.append(path)
    return paths[0], paths[1], paths[2]


def test_wrong_ca(net, client):
    ca, _, _ = issue(net.lab.dir, ["vpn.example"], 30, "other")
    client.configure("", ca_pem=ca.read_text())
    refusal(client, REFUSED, "the server's certificate was refused",
            "set ca_file or ca_pem to the gateway's CA")


def test_wrong_name(client):
    client.configure("", server_name="another.example")
    refusal(client, REFUSED, "the server's certificate was refused",
            r"the certificate is not for another\.example: set server_name to a name in it")


def foreign_server(net: Network, stem: str, names: list[str], days: int, alpn: str = "h3") -> Path:
    """A QUIC server that is not ours (aioquic), at the router's port 5000."""
    python = PEERS / "venv/bin/python"
    if not python.exists():
        pytest.fail(f"{python} is missing: tests/interop/setup.sh {PEERS} makes it")
    ca, certificate, key = issue(net.lab.dir, names, days, stem)
    server = net.router.start([python, HERE / "quic_server.py", "5000", certificate, key, alpn],
                              name="quic-server")
    server.wait_line("listening", 20)
    net.foreign = server
    return ca


def test_expired_server_certificate(net, client):
    ca = foreign_server(net, "expired", ["vpn.example"], -1)
    client.configure("", ca_pem=ca.read_text(), server_addr="192.0.2.1:5000")
    try:
        refusal(client, REFUSED, "the server's certificate was refused: certificate has expired",
                "the gateway needs a new one")
    finally:
        net.foreign.stop()


def test_no_http3_at_the_other_end(net, client):
    ca = foreign_server(net, "alpn", ["vpn.example"], 30, alpn="hq-interop")
    client.configure("", ca_pem=ca.read_text(), server_addr="192.0.2.1:5000")
    try:
        refusal(client, UNREACHABLE, "does not offer HTTP/3",
                "server_addr is not the port of a MASQUE gateway")
    finally:
        net.foreign.stop()


def test_an_http3_server_without_connect_ip(net, client):
    """It answers the handshake, but its SETTINGS do not offer extended CONNECT."""
    ca = foreign_server(net, "plain", ["vpn.example"], 30)
    client.configure("", ca_pem=ca.read_text(), server_addr="192.0.2.1:5000")
    client.start()
    try:
        line = client.process.wait_line(r"client\.(not_connected|gave_up).*", 30)[0]
        assert re.search("does not offer CONNECT-IP: .+; server_addr is not the port of a MASQUE "
                         "gateway", line), line
    finally:
        client.process.stop()
        net.foreign.stop()


def test_a_client_certificate_of_another_authority(net, client):
    _, certificate, key = issue(net.lab.dir, ["alice"], 30, "stranger")
    client.configure("", cert_pem=certificate.read_text(), key_pem=key.read_text())
    refusal(client, REFUSED, "the gateway refused our certificate", "masque-vpn user add")


def test_refused_path(client):
    """A template whose path the gateway does not serve."""
    client.configure("http", uri_template=f"https://vpn.example:{PORT}/elsewhere/{{target}}/"
                                          "{ipproto}/")
    refusal(client, REFUSED, "the gateway answered 404", "no such path",
            r"check \[http\] uri_template")


def test_nobody_answers(client):
    """It goes on trying, and says why; a gateway may come back at any time."""
    client.configure("", server_addr="192.0.2.1:9")
    client.start()
    client.process.wait_line(r"not_connected why=.*no answer.*; check server_addr", END_LIMIT_S)
    status = client.status()
    assert status["state"] == "connecting" and status["last_error"], status
    done = client.try_run("status")
    assert done.returncode == 3
    assert client.process.stop() == 0


def test_a_name_that_does_not_resolve(client):
    client.configure("", server_addr="no-such-host.invalid:4433")
    client.start()
    client.process.wait_line(r"not_connected why=.*no-such-host\.invalid", END_LIMIT_S)
    assert client.process.stop() == 0


def test_pool_exhausted():
    """A /29 holds five clients beside the gateway; the next is told to try later."""
    with network("pool") as net:
        net.start_gateway(pools=["10.8.0.0/29"])
        namespaces = [net.lab.namespace(f"many{i}") for i in range(6)]
        clients = []
        for i, where in enumerate(namespaces):
            net.lab.veth(where, net.router, [f"10.200.{i}.2/24"], [f"10.200.{i}.1/24"],
                         names=("out", f"many{i}"))
            where.route("default", via=f"10.200.{i}.1")
            profile = net.gateway.add_user(f"user{i}", "--endpoint", ENDPOINT[4], "--tun-name",
                                           CLIENT_TUN)
            clients.append(Client(net.lab, where, profile))
        for client in clients[:5]:
            client.start()
            client.wait_connected()
        refusal(clients[5], LATER, "the address pool is exhausted: the gateway needs a larger one")
        net.gateway.process.wait_line("request.refused.*pool is exhausted.*assign_cidr", 5)
        for client in clients[:5]:
            assert client.status()["state"] == "connected"


# ---- the machine --------------------------------------------------------------------------------

def second_gateway(net: Network, name: str, listen: str) -> Gateway:
    gateway = Gateway.__new__(Gateway)
    gateway.__dict__.update(net.gateway.__dict__)
    directory = net.lab.dir / name
    net.gateway_ns.run([PROGRAM, "init", directory, "--listen", listen, "--name", "vpn.example",
                        "--pool", "10.9.0.0/24", "--tun-name", "mvg2"])
    gateway.dir, gateway.config, gateway.process = directory, directory / "server.toml", None
    return gateway


def test_port_in_use(net):
    before = network_state(net.gateway_ns)
    gateway = second_gateway(net, "port", f"[::]:{PORT}")
    for name in ("state.db", "server.keys"):
        (gateway.dir / name).unlink()
    files = sorted(gateway.dir.iterdir())
    refusal(gateway, FAILED, str(PORT), "in use")
    assert network_state(net.gateway_ns) == before
    assert sorted(gateway.dir.iterdir()) == files


def test_an_address_of_another_machine(net):
    before = network_state(net.gateway_ns)
    gateway = second_gateway(net, "address", "203.0.113.9:4433")
    refusal(gateway, CONFIGURATION, place_of(gateway, "listen_addr"),
            "203.0.113.9 is not an address of this machine: name one that is")
    assert network_state(net.gateway_ns) == before


def test_a_key_log_that_cannot_be_written(net, client):
    client.configure("", key_log_file=str(net.lab.dir))
    refusal(client, CONFIGURATION, place_of(client, "key_log_file"), str(net.lab.dir),
            "Is a directory", "name another file")


def test_the_same_gateway_twice(net):
    twice = Gateway.__new__(Gateway)
    twice.__dict__.update(net.gateway.__dict__)
    refusal(twice, FAILED, "already|in use")
    assert net.gateway.status()["state"] == "listening"


def test_the_same_client_twice(net, client):
    client.start()
    client.wait_connected()
    twice = Client(net.lab, net.client_ns, client.config)
    refusal(twice, FAILED, "already")
    assert client.status()["state"] == "connected"
    client.stop()


def test_an_interface_of_that_name_is_there(net, client):
    net.client_ns.ip("link", "add", "name", CLIENT_TUN, "type", "bridge")
    try:
        refusal(client, FAILED, CLIENT_TUN)
    finally:
        net.client_ns.ip("link", "del", "dev", CLIENT_TUN)


def without(*command: str):
    """Runs the program by way of another command, as a Process of its namespace."""
    def start(program: Client | Gateway):
        program.process = program.namespace.start(
            [*command, PROGRAM, program.verb, "-c", program.config], name="without")
        return program.process
    return start


NO_TUN = ["unshare", "--mount", "--propagation", "private", "sh", "-c",
          'mount -t tmpfs none /dev/net && exec "$@"', "sh"]
NO_CAPABILITY = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"]


@pytest.mark.parametrize("command,words", [
    (NO_TUN, [r"/dev/net/tun", "modprobe|device"]),
    (NO_CAPABILITY, ["CAP_NET_ADMIN"]),
], ids=["no_device", "no_capability"])
@pytest.mark.parametrize("verb", ["client", "server"])
def test_machines_without_what_a_tunnel_needs(net, client, command, words, verb):
    program = client if verb == "client" else second_gateway(net, command[0], "[::]:5433")
    before = network_state(program.namespace)
    process = without(*command)(program)
    expected = REFUSED if command is NO_CAPABILITY else FAILED
    assert process.wait(END_LIMIT_S) == expected, process.err()
    line = one_error_line(process.err())
    for word in words:
        assert re.search(word, line), line
    assert network_state(program.namespace) == before


def test_a_database_of_another_program(net):
    gateway = second_gateway(net, "foreign", "[::]:5439")
    (gateway.dir / "state.db").unlink()
    with contextlib.closing(sqlite3.connect(gateway.dir / "state.db")) as database:
        database.execute("CREATE TABLE clients (id TEXT)")
    refusal(gateway, CONFIGURATION, "state.db", "another program")


def test_a_damaged_database(net):
    gateway = second_gateway(net, "damaged", "[::]:5440")
    (gateway.dir / "state.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 8000)
    refusal(gateway, CONFIGURATION, "state.db")


def test_a_locked_database(net):
    gateway = second_gateway(net, "locked", "[::]:5441")
    with contextlib.closing(sqlite3.connect(gateway.dir / "state.db")) as database:
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("BEGIN IMMEDIATE")
        database.execute("DELETE FROM users")
        refusal(gateway, LATER, "state.db")


def test_the_state_directory_is_read_only(net):
    gateway = second_gateway(net, "readonly", "[::]:5434")
    process = without("unshare", "--mount", "--propagation", "private", "sh", "-c",
                      f'mount --bind -o ro {gateway.dir} {gateway.dir} && '
                      f'mount -o remount,bind,ro {gateway.dir} && exec "$@"', "sh")(gateway)
    assert process.wait(END_LIMIT_S) not in (0, None)
    one_error_line(process.err())
    assert "mvg2" not in net.gateway_ns.ip("link", "show")


# ---- configurations -----------------------------------------------------------------------------

BROKEN = {
    "unknown key": ('surprise = 1\n', "surprise"),
    "wrong type": ('mtu = "large"\n', "mtu"),
    "no toml": ('listen_addr = = 3\n', ""),
}


@pytest.mark.parametrize("fault", BROKEN)
@pytest.mark.parametrize("verb", ["client", "server"])
def test_broken_configurations(net, client, verb, fault):
    """78, and file:line of the fault; `check` says the same."""
    program = client if verb == "client" else second_gateway(
        net, "broken-" + fault.replace(" ", "-"), "[::]:5435")
    before = network_state(program.namespace)
    line, key = BROKEN[fault]
    text = program.config.read_text()
    program.config.write_text(line + text)
    for words in ((verb,), ("check",)):
        done = program.try_run(*words)
        assert done.returncode == CONFIGURATION, done
        first = done.stderr.splitlines()[0]
        assert re.match(rf"{re.escape(str(program.config))}:1:\d+: error: .*{key}", first), first
    assert network_state(program.namespace) == before


def test_a_certificate_file_that_is_missing(net):
    gateway = second_gateway(net, "missing", "[::]:5436")
    (gateway.dir / "server.crt").unlink()
    done = gateway.try_run("server")
    assert done.returncode == CONFIGURATION
    assert re.match(rf"{re.escape(str(gateway.config))}:\d+:\d+: error: cert_file: .*server\.crt",
                    done.stderr), done.stderr


def test_a_key_that_others_may_read(net, client):
    """As told by other VPNs: the tunnel works, and each start says what to do."""
    gateway = second_gateway(net, "open", "[::]:5437")
    (gateway.dir / "server.key").chmod(0o644)
    client.config.chmod(0o644)
    for program, key in ((gateway, "key_file"), (client, "key_pem")):
        done = program.try_run("check")
        assert done.returncode == 0, done
        assert re.search(rf"warning: {key}: unsafe: .*chmod 600", done.stderr), done.stderr
    client.start()
    client.wait_connected()
    assert client.stop() == 0


def test_init_and_user_add_never_overwrite(net):
    gateway = second_gateway(net, "twice", "[::]:5438")
    before = {path.name: path.read_bytes() for path in gateway.dir.iterdir()}
    again = net.gateway_ns.try_run([PROGRAM, "init", gateway.dir, "--listen", "[::]:1", "--name",
                                    "x.example", "--pool", "10.9.0.0/24"])
    assert again.returncode == FAILED and len(again.stderr.splitlines()) == 1, again.stderr
    assert {path.name: path.read_bytes() for path in gateway.dir.iterdir()} == before
    profile = gateway.dir / "bob.toml"
    profile.write_text("precious")
    done = net.gateway_ns.try_run([PROGRAM, "user", "add", "bob", "-c", gateway.config,
                                   "--endpoint", "192.0.2.1:1", "-o", profile])
    assert done.returncode == FAILED and "bob.toml" in done.stderr
    assert profile.read_text() == "precious"
    assert "bob" not in net.gateway_ns.run([PROGRAM, "user", "list", "-c", gateway.config])


def test_secrets_have_mode_0600(net, client):
    for path in (net.gateway.dir / "ca.key", net.gateway.dir / "server.key",
                 net.gateway.dir / "state.db", net.gateway.dir / "server.keys", client.config):
        assert path.stat().st_mode & 0o777 == 0o600, path


def test_status_of_nothing(net):
    done = net.client_ns.try_run([PROGRAM, "status", "--socket", "/nowhere.sock"])
    assert done.returncode == 3 and len(done.stderr.splitlines()) == 1, done
    assert not done.stdout


def test_usage(net):
    for words in (["frobnicate"], ["server"], ["client", "--config"], ["user", "add"],
                  ["init", "/nowhere/x", "--listen", "nonsense", "--name", "a", "--pool",
                   "10.0.0.0/24"]):
        done = net.client_ns.try_run([PROGRAM, *words])
        assert done.returncode == 2, (words, done)
        assert done.stderr and not done.stdout


