# SPDX-License-Identifier: Apache-2.0
"""The image of packaging/docker, built and run by a real engine.

    client container            bridge of compose             gateway container
    tun0 10.84.0.2  ===== QUIC on UDP 443 =================== tun0 10.84.0.1
         fd84:84::2                                                fd84:84::1

Needs root and Docker (label docker). MASQUE_DOCKER_DIR keeps the base image and earlier layers for the next run.
"""

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from engine import Engine

ROOT = Path(__file__).resolve().parents[2]
PACKAGING = ROOT / "packaging/docker"
DIRECTORY = Path(os.environ.get("MASQUE_DOCKER_DIR", "/tmp/masque-vpn-docker-test"))
BASE, IMAGE, DEPENDENCIES = "masque-vpn-base", "masque-vpn", "masque-vpn-dependencies"


def context() -> bytes:
    """What git knows or would add, as `docker build` takes it: no build directories."""
    names = subprocess.run(["git", "-c", f"safe.directory={ROOT}", "-C", ROOT, "ls-files", "-z", "--cached", "--others",
                            "--exclude-standard", "CMakeLists.txt", "CMakePresets.json", "cmake", "src", "packaging"],
                           capture_output=True, check=True).stdout
    names = b"\0".join(name for name in names.split(b"\0") if name and (ROOT / os.fsdecode(name)).exists())
    # No times and owners, so that an unchanged file is unchanged for the engine.
    return subprocess.run(["tar", "-C", ROOT, "--null", "-T", "-", "-c", "--sort=name", "--owner=0", "--group=0",
                           "--mtime=@0"], input=names, capture_output=True, check=True).stdout


def build(engine: Engine, tag: str, *options: str):
    command = ["docker", "build", "--quiet", "--network=host", f"--build-arg=BASE={BASE}", "--tag", tag,
               "--file", "packaging/docker/Dockerfile", *options, "-"]
    started = time.monotonic()
    done = subprocess.run(command, env=engine.environment(), input=context(), capture_output=True, timeout=1700, check=False)
    print(f"{tag}: {time.monotonic() - started:.0f} s")
    assert done.returncode == 0, (done.stdout[-4000:] + done.stderr[-8000:]).decode(errors="replace")


@pytest.fixture(scope="module")
def images() -> Path:
    """The data of an engine that has built the image; unchanged layers come from the former run."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    base = DIRECTORY / "base.tar"
    if not base.exists():
        subprocess.run([ROOT / "tests/docker/base_image.sh", base], check=True, timeout=600)
    with Engine(DIRECTORY / "data", network="machine") as engine:
        if engine.call("docker", "image", "inspect", BASE, check=False).returncode != 0:
            engine.docker("import", str(base), BASE, timeout=300)
        build(engine, DEPENDENCIES, "--target=dependencies")
        build(engine, IMAGE)
        # Stages of former builds that nothing uses any more.
        engine.docker("image", "prune", "--force", timeout=300)
    return DIRECTORY / "data"


@pytest.fixture(scope="module")
def engine(images):
    with Engine(images, network="own") as running:
        yield running


@pytest.fixture
def compose(engine, tmp_path):
    """`docker compose` with the product's file in a directory of its own, and nothing left of it afterwards."""
    directory = tmp_path / "compose"
    directory.mkdir()
    shutil.copy(PACKAGING / "compose.yaml", directory)
    example = (PACKAGING / "env.example").read_text()
    (directory / ".env").write_text(re.sub("^MASQUE_VPN_NAME=.*", "MASQUE_VPN_NAME=gateway", example, flags=re.MULTILINE))

    def call(*arguments, **options):
        return engine.call("docker", "compose", *arguments, cwd=directory, **options)

    call.directory = directory
    yield call
    call("down", "--volumes", "--timeout=10", check=False, timeout=120)


def documented_commands() -> list[str]:
    """The commands of compose.yaml's first comment, in their order."""
    text = re.match("(?:#.*\n)*", (PACKAGING / "compose.yaml").read_text())[0]
    lines = re.sub(r"\\\n#\s*", "", text)
    return [command.strip() for command in re.findall(r"docker compose [^(\n]*", lines)]


def wait_healthy(engine, container, seconds=60):
    deadline = time.monotonic() + seconds
    while True:
        health = engine.docker("inspect", "--format={{.State.Status}} {{.State.Health.Status}}", container)
        if health == "running healthy":
            return
        if not health.startswith("running") or time.monotonic() > deadline:
            logs = engine.call("docker", "logs", container)
            checks = engine.docker("inspect", "--format={{json .State.Health.Log}}", container)
            raise AssertionError(f"{container}: {health}\n{logs.stdout}{logs.stderr}\n{checks[-1000:]}")
        time.sleep(0.5)


def test_two_containers_ping_each_other(engine, compose):
    start_gateway, add_user, start_client = documented_commands()

    def type_in(command):
        """As an operator does, in the directory of the file."""
        engine.call("bash", "-c", command, cwd=compose.directory, timeout=120)

    type_in(start_gateway)
    gateway = compose("ps", "--quiet", "gateway").stdout.strip()
    wait_healthy(engine, gateway)

    type_in(add_user)
    # The program in the container is no root: it must be able to read its profile.
    os.chown(compose.directory / "client.toml", 10484, 10484)
    (compose.directory / "client.toml").chmod(0o600)
    type_in(start_client)
    client = compose("ps", "--quiet", "client").stdout.strip()
    wait_healthy(engine, client)

    for address in ("10.84.0.1", "fd84:84::1"):
        print(engine.docker("exec", client, "ping", "-c", "3", "-i", "0.2", "-W", "2", address))
    status = json.loads(engine.docker("exec", client, "masque-vpn", "status", "--json"))
    assert status["state"] == "connected"
    own = next(address for address in status["addresses"] if "." in address)
    print(engine.docker("exec", gateway, "ping", "-c", "3", "-i", "0.2", "-W", "2", own.split("/")[0]))

    for container in (gateway, client):
        assert engine.docker("exec", container, "id", "-u") == "10484"
        # Ends at once and cleanly when it is told to.
        started = time.monotonic()
        engine.docker("stop", "--time=10", container)
        assert time.monotonic() - started < 5
        assert engine.docker("inspect", "--format={{.State.ExitCode}}", container) == "0"


def test_a_gateway_keeps_its_identity_over_containers(engine, compose):
    compose("up", "--detach", "--no-build", "gateway", timeout=120)
    wait_healthy(engine, compose("ps", "--quiet", "gateway").stdout.strip())
    authority = compose("exec", "-T", "gateway", "cat", "/etc/masque-vpn/gateway/ca.crt").stdout
    compose("up", "--detach", "--no-build", "--force-recreate", "gateway", timeout=120)
    wait_healthy(engine, compose("ps", "--quiet", "gateway").stdout.strip())
    assert compose("exec", "-T", "gateway", "cat", "/etc/masque-vpn/gateway/ca.crt").stdout == authority


def test_what_is_missing_is_said(engine):
    def run(*options):
        return engine.call("docker", "run", "--rm", "--network=none", *options, check=False)

    without_capability = run("--cap-drop=ALL", IMAGE, "server")
    assert without_capability.returncode == 77
    assert "--cap-add NET_ADMIN" in without_capability.stderr

    without_name = run("--cap-add=NET_ADMIN", IMAGE, "server")
    assert without_name.returncode == 78
    assert "MASQUE_VPN_NAME" in without_name.stderr

    version = run("--cap-add=NET_ADMIN", IMAGE, "--version")
    assert version.returncode == 0 and version.stdout.startswith("masque-vpn ")
