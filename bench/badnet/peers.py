# SPDX-License-Identifier: Apache-2.0
"""The tunnels that are measured on bad links; those of bench/clean and more. The link between their
ends is the emulator's:

    client ──── a [ masque-linkemu bridge ] b ──── server          outer 192.0.2.0/24
      ╰═══════════════ tunnel, 10.9.0.0/24 ═══════════╯

Each has its own defaults, but for what is said here."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import fetch
from tunnels import OUTER_SERVER, PORT, Bare, MasqueVpn, Missing, Tunnel, WireGuardGo

from netlab import Lab, Namespace, Process, wait_for
from programs import PROGRAM, Gateway, edited_toml

sys.path.append(str(fetch.CHECKOUT / "tests/interop"))
from certificates import CertificateAuthority  # noqa: E402

INNER_CLIENT, INNER_SERVER = "10.9.0.2", "10.9.0.1"
START_LIMIT_S = 30.0


class MasqueVpnOff(MasqueVpn):
    """Our tunnel without its path layer's work; a program that knows no [resilience] has none."""
    name = "masque-vpn-off"
    mode = "off"
    accepted = True

    @classmethod
    def prepare(cls) -> None:
        super().prepare()
        refusal = cls._refusal()
        cls.accepted = not refusal
        if refusal and cls.mode != "off":
            raise Missing(f"this build refuses [resilience] mode = \"{cls.mode}\": {refusal}")
        cls.version += f", [resilience] mode = \"{cls.mode}\"" if cls.accepted else (
            ", which has no [resilience]")

    @classmethod
    def _refusal(cls) -> str:
        """What `masque-vpn check` has against the mode; "" is nothing."""
        with tempfile.TemporaryDirectory(prefix="masque-bench-") as directory:
            made = Path(directory) / "server"
            fetch.run([PROGRAM, "init", made, "--listen", f"{OUTER_SERVER}:{PORT}", "--name",
                       "vpn.example", "--pool", "10.9.0.0/24"])
            config = made / "server.toml"
            config.write_text(edited_toml(config.read_text(), "resilience", {"mode": cls.mode}))
            done = subprocess.run([PROGRAM, "check", "-c", config], check=False,
                                  capture_output=True, text=True)
            said = (done.stderr or done.stdout).strip().replace(directory + "/", "")
            return said[-200:] if done.returncode != 0 else ""

    def start_server(self) -> None:
        self.gateway = Gateway(self.lab, self.server, f"{OUTER_SERVER}:{PORT}",
                               ["10.9.0.0/24", "fd09::/64"])
        self.profile = self.gateway.add_user("bench")
        if self.accepted:
            for config in (self.gateway.config, self.profile):
                config.write_text(edited_toml(config.read_text(), "resilience", {"mode": self.mode}))
        self.gateway.start()
        self.gateway.wait_state("listening")


class MasqueVpnAuto(MasqueVpnOff):
    name = "masque-vpn-auto"
    mode = "auto"


class BoringTun(WireGuardGo):
    """Cloudflare's userspace WireGuard, which `./dev bench badnet` builds where there is a cargo."""
    name = "boringtun"

    @classmethod
    def prepare(cls) -> None:
        cls.program = fetch.cache() / "boringtun/bin/boringtun-cli"
        if not cls.program.exists():
            raise Missing("no cargo on this machine, or `cargo install boringtun-cli` failed")
        cls.version = fetch.run([cls.program, "--version"]).strip()

    def __init__(self, lab: Lab, client: Namespace, server: Namespace):
        super().__init__(lab, client, server)
        wrapper = lab.dir / "boringtun"
        wrapper.write_text(f'#!/bin/sh\nexec "{self.program}" --disable-drop-privileges "$@"\n')
        wrapper.chmod(0o700)
        self.program = wrapper


class OpenVpnUdp(Tunnel):
    """TLS with P-256 certificates, AES-256-GCM."""
    name = "openvpn-udp"
    address = INNER_SERVER
    protocol = ("udp4", "udp4")
    more: tuple[str, ...] = ()
    directory = Path()

    @classmethod
    def prepare(cls) -> None:
        cls.directory = fetch.debian_package("openvpn")
        said = subprocess.run([cls.directory / "usr/sbin/openvpn", "--version"], check=False,
                              capture_output=True, text=True,
                              env={**os.environ, "LD_LIBRARY_PATH": fetch.library_path(cls.directory)})
        found = re.match(r"OpenVPN (\S+)", said.stdout)
        if not found:
            raise Missing(f"openvpn --version: {said.stderr.strip()[-200:]}")
        cls.version = f"{found[1]}, {cls.protocol[0].removesuffix('-server')}"

    def _start(self, where, side: str, identity, words: list[str]) -> Process:
        return where.start(
            [self.directory / "usr/sbin/openvpn", "--dev", "tun9", "--dev-type", "tun", "--ca",
             self.authority.file, "--cert", identity.certificate, "--key", identity.key,
             "--data-ciphers", "AES-256-GCM", "--verb", "3", *self.more, *words],
            name=f"openvpn-{side}", env={"LD_LIBRARY_PATH": fetch.library_path(self.directory)})

    def start_server(self) -> None:
        self.authority = CertificateAuthority(self.lab.dir)
        self.server_end = self._start(self.server, "server", self.authority.issue("vpn.example"), [
            "--proto", self.protocol[0], "--local", OUTER_SERVER, "--port", "1194", "--dh", "none",
            "--topology", "subnet", "--server", "10.9.0.0", "255.255.255.0", "--keepalive", "10", "60"])
        self.server_end.wait_line("Initialization Sequence Completed", START_LIMIT_S)

    def start_client(self) -> None:
        self.client_end = self._start(self.client, "client", self.authority.issue("client.example"), [
            "--client", "--proto", self.protocol[1], "--remote", OUTER_SERVER, "1194", "--nobind"])

    def stop(self) -> None:
        self.client_end.stop()
        self.server_end.stop()

    def processes(self) -> tuple[Process, Process]:
        return self.client_end, self.server_end


class OpenVpnTcp(OpenVpnUdp):
    """Its own TCP connection has the machine's default congestion control."""
    name = "openvpn-tcp"
    protocol = ("tcp4-server", "tcp4-client")
    more = ("--tcp-nodelay",)


class ConnectIpGo(Tunnel):
    """CONNECT-IP on quic-go, the interop tests' peer at both ends."""
    name = "connect-ip-go"
    address = INNER_SERVER
    program = Path()

    @classmethod
    def prepare(cls) -> None:
        source = fetch.CHECKOUT / "tests/interop/connect_ip_peer"
        cls.program = fetch.go_program(source, "connect-ip-peer")
        versions = re.findall(r"quic-go/(connect-ip-go|quic-go) (v\S+)", (source / "go.mod").read_text())
        cls.version = ", ".join(" ".join(version) for version in versions)

    def start_server(self) -> None:
        self.authority = CertificateAuthority(self.lab.dir)
        identity = self.authority.issue("vpn.example")
        self.uri = f"https://vpn.example:{PORT}/.well-known/masque/ip/*/*/"
        self.server_end = self.server.start(
            [self.program, "proxy", "--tun", "peer0", "--uri", self.uri, "--listen",
             f"{OUTER_SERVER}:{PORT}", "--cert", identity.certificate, "--key", identity.key, "--own",
             f"{INNER_SERVER}/32", "--assign", f"{INNER_CLIENT}/32", "--route", "10.9.0.0/24"],
            name="connect-ip-proxy")
        wait_for(lambda: "listening" in self.server_end.out(), START_LIMIT_S, "the proxy",
                 [self.server_end])

    def start_client(self) -> None:
        self.client_end = self.client.start(
            [self.program, "client", "--tun", "peer0", "--uri", self.uri, "--address",
             f"{OUTER_SERVER}:{PORT}", "--ca", self.authority.file], name="connect-ip-client")

    def stop(self) -> None:
        self.client_end.stop()
        self.server_end.stop()

    def processes(self) -> tuple[Process, Process]:
        return self.client_end, self.server_end


PEERS: list[type[Tunnel]] = [Bare, MasqueVpnOff, MasqueVpnAuto, WireGuardGo, BoringTun, OpenVpnUdp,
                             OpenVpnTcp, ConnectIpGo]
