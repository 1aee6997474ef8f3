# SPDX-License-Identifier: Apache-2.0
"""masque-vpn's own programs in a lab, used as their contract says: init, user add, server, client,
status. The program is the one on PATH (./dev exec), or $MASQUE_VPN.

    gateway = Gateway(lab, gateway_ns, listen="192.0.2.1:4433", pools=["10.9.0.0/24"])
    gateway.start()
    client = Client(lab, client_ns, gateway.add_user("alice"))
    client.start()
    client.wait_connected()
"""

import json
import os
import re
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from netlab import Lab, LabError, Namespace, Process, wait_for

PROGRAM = os.environ.get("MASQUE_VPN", "masque-vpn")
START_LIMIT_S = 30.0
CONNECT_LIMIT_S = 30.0


def edited_toml(text: str, table: str, settings: dict[str, Any]) -> str:
    """The text with keys of one table set anew, or removed by None; all else as it was."""
    head = re.search(rf"^\[{re.escape(table)}\][^\n]*\n", text, re.MULTILINE) if table else None
    if table and not head:
        text = f"{text.rstrip()}\n\n[{table}]\n"
        start = len(text)
    else:
        start = head.end() if head else 0
    # The next line that is a table's name; PEM texts have no such line.
    tail = re.compile(r"^\[", re.MULTILINE).search(text, start)
    end = tail.start() if tail else len(text)
    body = text[start:end]
    for key, value in settings.items():
        body = re.sub(rf"^{re.escape(key)} *=(\s*\"\"\".*?\"\"\"|\s*'''.*?'''|\s*\[[^\]]*\]|[^\n]*)[^\n]*\n", "", body,
                      count=1, flags=re.MULTILINE | re.DOTALL)
        if value is not None:
            body = f"{key} = {json.dumps(value)}\n{body}"  # JSON's strings, lists, numbers are TOML's
    return text[:start] + body + text[end:]


class Program:
    """What the two ends have in common: a config, a process, its status."""

    def __init__(self, lab: Lab, namespace: Namespace, config: Path, verb: str):
        self.lab = lab
        self.namespace = namespace
        self.config = config
        self.verb = verb
        self.process: Process | None = None

    def start(self, env: dict[str, str] | None = None) -> Process:
        self.process = self.namespace.start([PROGRAM, self.verb, "-c", self.config],
                                            name=f"{self.verb}-{self.namespace.name}", env=env)
        return self.process

    def run(self, *words: str | os.PathLike[str], limit: float = 60) -> str:
        """A short command on this config, `gateway.run("user", "list")`: its stdout."""
        return self.namespace.run([PROGRAM, *words, "-c", self.config], limit=limit)

    def try_run(self, *words: str | os.PathLike[str]) -> subprocess.CompletedProcess[str]:
        """The same, whatever its exit code."""
        return self.namespace.try_run([PROGRAM, *words, "-c", self.config])

    def configure(self, table: str, **settings: Any) -> None:
        """Sets keys of a table of its config; "" are the keys at the top. None removes one."""
        self.config.write_text(edited_toml(self.config.read_text(), table, settings))

    def reload(self) -> None:
        assert self.process
        self.process.signal(signal.SIGHUP)

    def stop(self) -> int:
        assert self.process
        return self.process.stop()

    def status(self) -> dict[str, Any]:
        """`status --json`, which is there also while it is not connected; {} when nothing answers."""
        done = self.try_run("status", "--json")
        return json.loads(done.stdout) if done.stdout.strip() else {}

    def wait_state(self, state: str, limit: float = CONNECT_LIMIT_S) -> dict[str, Any]:
        def reached() -> dict[str, Any] | None:
            status = self.status()
            return status if status.get("state") == state else None

        assert self.process
        return wait_for(reached, limit, f"state {state} of {self.process.name}", [self.process])


class Gateway(Program):
    """A gateway with a directory of its own, made by `masque-vpn init`."""

    def __init__(self, lab: Lab, namespace: Namespace, listen: str, pools: Sequence[str],
                 name: str = "vpn.example", routes: Sequence[str] = (),
                 tun_name: str | None = None, more_config: str = ""):
        self.dir = lab.dir / f"gateway-{namespace.name}"
        self.listen = listen
        self.name = name
        words = [PROGRAM, "init", self.dir, "--listen", listen, "--name", name]
        for pool in pools:
            words += ["--pool", pool]
        for route in routes:
            words += ["--route", route]
        if tun_name:
            words += ["--tun-name", tun_name]
        namespace.run(words)
        super().__init__(lab, namespace, self.dir / "server.toml", "server")
        if more_config:
            self.append_config(more_config)

    @property
    def ca_file(self) -> Path:
        """The certificate that signed the server's, where its config says it is."""
        import tomllib  # pylint: disable=import-outside-toplevel
        settings = tomllib.loads(self.config.read_text())
        if "ca_cert_file" in settings:
            return self.dir / settings["ca_cert_file"]
        path = self.dir / "ca-of-config.pem"
        path.write_text(settings["ca_cert_pem"])
        return path

    def append_config(self, text: str) -> None:
        """Adds tables to its config (top-level keys must stand before the first table)."""
        with self.config.open("a", encoding="utf-8") as config:
            config.write("\n" + text)

    def add_user(self, user: str, *options: str) -> Path:
        """The profile of a new user."""
        profile = self.dir / f"{user}.toml"
        self.namespace.run([PROGRAM, "user", "add", user, "-c", self.config, "-o", profile,
                            *options])
        return profile

    def start(self, env: dict[str, str] | None = None) -> Process:
        process = super().start(env)
        wait_for(self.status, START_LIMIT_S, "the gateway to answer status", [process])
        return process


class Client(Program):
    """A client with a profile of the gateway's, or a config of the test's."""

    def __init__(self, lab: Lab, namespace: Namespace, config: Path):
        super().__init__(lab, namespace, config, "client")

    def wait_connected(self, limit: float = CONNECT_LIMIT_S) -> dict[str, Any]:
        return self.wait_state("connected", limit)


def profile_identity(profile: Path, directory: Path) -> tuple[Path, Path, Path]:
    """CA, client certificate and key of a profile, as files (for programs that are not ours)."""
    import tomllib  # pylint: disable=import-outside-toplevel
    settings = tomllib.loads(profile.read_text())
    paths = []
    for key in ("ca_pem", "cert_pem", "key_pem"):
        if key not in settings:
            raise LabError(f"{profile} has no {key}")
        path = directory / f"{profile.stem}-{key.replace('_', '.')}"
        path.write_text(settings[key])
        path.chmod(0o600)
        paths.append(path)
    return paths[0], paths[1], paths[2]
