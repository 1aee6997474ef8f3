# SPDX-License-Identifier: Apache-2.0
"""Networks of namespaces for tests, the demo and benchmarks, and processes that live in them.

    with Lab("site") as lab:
        client, gateway = lab.namespace("client"), lab.namespace("gateway")
        lab.veth(client, gateway, left=["192.0.2.1/24", "2001:db8::1/64"],
                 right=["192.0.2.2/24", "2001:db8::2/64"])
        server = gateway.start(["masque-vpn", "server", "-c", path], name="server")
        wait_for(lambda: client.ping("192.0.2.2").ok, 10, "the gateway to answer")

What a caller may rely on:
- Namespaces are named mvlab-PID-N-NAME, so labs that run at once do not meet; interface names
  inside a namespace are the caller's. Links carry no DAD delay and a loopback that is up.
- A command runs as itself: the Process's pid is the pid of the program, in the namespace.
- Everything ends with the lab: on leaving `with`, on an exception, at exit, on SIGINT, SIGTERM and
  SIGHUP. After SIGKILL of the test the kernel ends the processes, and the next lab removes the
  namespaces (their pid is gone). Processes are ended by pid, never by name.
- Processes end with the thread that started them: start them from one that lives long enough.
- When a test fails, the end of each process's output is printed. MASQUE_LAB_KEEP=1 keeps the files.
Needs root, iproute2, util-linux, ping; tcpdump and iperf3 for what is named after them.
"""

import atexit
import contextlib
import dataclasses
import itertools
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

NAMESPACE_DIR = Path("/run/netns")
NAME_PREFIX = "mvlab"
POLL_INTERVAL_S = 0.05
STOP_LIMIT_S = 10.0
RUN_LIMIT_S = 60.0
LINK_LIMIT_S = 10.0
OUTPUT_TAIL_LINES = 40
TRANSFER_PROGRAM = Path(__file__).resolve().with_name("transfer.py")

# Runs "$@" with SIGKILL as its fate when the parent $0 dies, or not at all if that is dead already.
END_WITH_PARENT = ["setpriv", "--pdeathsig", "KILL", "sh", "-c", '[ "$PPID" = "$0" ] && exec "$@"']

_serial = itertools.count(1)


class LabError(RuntimeError):
    """A command that must work did not, or what was waited for did not come."""


_whole_depth = 0
_postponed: list[int] = []
_ended_by: list[int] = []  # the signals that came


def _go_on() -> None:
    """Raises an interruption again: Python only prints what is raised in a finalizer."""
    if _ended_by and _whole_depth == 0:
        _interrupt(_ended_by[0], None)


@contextlib.contextmanager
def as_a_whole() -> Iterator[None]:
    """Signals that end the lab wait until the block is done: what it makes is also written down.
    (A blocked mask would be inherited by the programs that are started.)"""
    global _whole_depth  # pylint: disable=global-statement
    _whole_depth += 1
    try:
        yield
    finally:
        _whole_depth -= 1
        if _whole_depth == 0 and _postponed:
            _interrupt(_postponed.pop(), None)


def wait_for(predicate: Callable[[], T], limit: float, what: str,
             processes: "Iterable[Process]" = ()) -> T:
    """Returns the first true value of predicate, which may raise meanwhile. Fails after `limit`
    seconds, or at once when one of `processes` has ended."""
    deadline = time.monotonic() + limit
    processes = list(processes)
    while True:
        error: Exception | None = None
        try:
            if value := predicate():
                return value
        except Exception as e:  # pylint: disable=broad-except
            error = e
        for process in processes:
            if not process.running:
                raise LabError(f"{process.name} ended with {process.exit_code} "
                               f"while waiting for {what}\n{process.tail()}")
        if time.monotonic() > deadline:
            reason = f" (last error: {error!r})" if error else ""
            raise LabError(f"waited {limit:g} s in vain for {what}{reason}") from error
        time.sleep(POLL_INTERVAL_S)


def _run(argv: Sequence[str], limit: float, **options: Any) -> subprocess.CompletedProcess[str]:
    """To its end, or to ours: an interruption leaves no command behind that still makes things.
    One that does not end within `limit` seconds is killed, and has failed."""
    _go_on()
    process = None
    try:
        with as_a_whole():
            # A session of its own: Ctrl-C must not break `ip netns add` in the middle.
            process = subprocess.Popen(  # pylint: disable=consider-using-with
                argv, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, start_new_session=True, **options)
        out, err = process.communicate(timeout=limit)
    except BaseException as error:
        if process:
            process.kill()
            process.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            raise LabError(f"{shlex.join(argv)}: did not end within {limit:g} s") from error
        raise
    return subprocess.CompletedProcess(argv, process.returncode, out, err)


def _check_run(argv: Sequence[str], limit: float = RUN_LIMIT_S, **options: Any) -> str:
    done = _run(argv, limit, **options)
    if done.returncode != 0:
        raise LabError(f"{shlex.join(argv)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


class Process:
    """A program in a namespace. Its output goes to the files `stdout` and `stderr`."""

    def __init__(self, name: str, argv: Sequence[str], directory: Path,
                 env: dict[str, str] | None = None, cwd: str | os.PathLike[str] | None = None):
        _go_on()
        self.name = name
        self.stdout = directory / f"{name}.out"
        self.stderr = directory / f"{name}.err"
        with self.stdout.open("wb") as out, self.stderr.open("wb") as err:
            # A session of its own: Ctrl-C reaches the test, which ends its processes in order.
            self._popen = subprocess.Popen(  # pylint: disable=consider-using-with
                [*END_WITH_PARENT, str(os.getpid()), *argv], stdin=subprocess.DEVNULL, stdout=out,
                stderr=err, env={**os.environ, **(env or {})}, cwd=cwd, start_new_session=True)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def running(self) -> bool:
        return self._popen.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; the negative signal number when a signal ended it."""
        return self._popen.poll()

    def out(self) -> str:
        return self.stdout.read_text(errors="replace")

    def err(self) -> str:
        return self.stderr.read_text(errors="replace")

    def tail(self, lines: int = OUTPUT_TAIL_LINES) -> str:
        """The end of what it printed, for a failure's report."""
        text = ""
        for path in (self.stdout, self.stderr):
            if path.exists() and path.stat().st_size:
                last = path.read_text(errors="replace").splitlines()[-lines:]
                text += f"--- {path.name}\n" + "\n".join(last) + "\n"
        return text

    def json_lines(self) -> list[dict[str, Any]]:
        """The objects of its stdout that stand on a line of their own; a line begun is left out."""
        found = []
        for line in self.out().split("\n")[:-1]:
            if line.startswith("{"):
                found.append(json.loads(line))
        return found

    def wait_line(self, pattern: str, limit: float) -> re.Match[str]:
        """Waits until a line of stdout or stderr matches."""
        expression = re.compile(pattern, re.MULTILINE)
        return wait_for(lambda: expression.search(self.out()) or expression.search(self.err()),
                        limit, f"{self.name} to print /{pattern}/", [self])

    def wait(self, limit: float) -> int:
        try:
            return self._popen.wait(limit)
        except subprocess.TimeoutExpired as e:
            raise LabError(f"{self.name} did not end within {limit:g} s\n{self.tail()}") from e

    def signal(self, number: signal.Signals) -> None:
        if self.running:
            self._popen.send_signal(number)

    def stop(self, limit: float = STOP_LIMIT_S) -> int:
        """SIGTERM, and the exit code; fails when it does not end in time (and then kills it)."""
        self.signal(signal.SIGTERM)
        try:
            return self.wait(limit)
        finally:
            self.kill()

    def kill(self) -> None:
        """SIGKILL; no complaint when it has ended already."""
        if self.running:
            self._popen.kill()
        self._popen.wait()

    def cpu_seconds(self) -> float:
        """User and system time it has used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclasses.dataclass(frozen=True)
class Ping:
    sent: int
    received: int
    rtt_ms: list[float]
    output: str

    @property
    def ok(self) -> bool:
        return self.received > 0

    @property
    def average_ms(self) -> float:
        return sum(self.rtt_ms) / len(self.rtt_ms) if self.rtt_ms else float("nan")


class Namespace:
    """A network namespace: made by Lab.namespace(), removed with the lab."""

    def __init__(self, lab: "Lab", name: str):
        self.lab = lab
        self.name = name
        self.full_name = f"{NAME_PREFIX}-{os.getpid()}-{lab.number}-{name}"
        self._resolver_dir: Path | None = None
        _check_run(["ip", "netns", "add", self.full_name])

    def prepare(self) -> None:
        self.run(["ip", "link", "set", "dev", "lo", "up"])
        for scope in ("all", "default"):
            self.sysctl(f"net.ipv6.conf.{scope}.accept_dad", 0)
            self.sysctl(f"net.ipv6.conf.{scope}.disable_ipv6", 0)

    def command(self, argv: Sequence[str | os.PathLike[str]]) -> list[str]:
        """The command line that runs argv in here, as one process."""
        words = [os.fspath(word) for word in argv]
        if self._resolver_dir:
            # Also binds /etc/netns/NAME/* over /etc, for programs that read resolv.conf.
            return ["ip", "netns", "exec", self.full_name, *words]
        return ["nsenter", f"--net={NAMESPACE_DIR / self.full_name}", "--", *words]

    def run(self, argv: Sequence[str | os.PathLike[str]], limit: float = RUN_LIMIT_S,
            **options: Any) -> str:
        """Runs argv to its end; its stdout. Fails when it does."""
        return _check_run(self.command(argv), limit, **options)

    def try_run(self, argv: Sequence[str | os.PathLike[str]], limit: float = RUN_LIMIT_S,
                **options: Any) -> subprocess.CompletedProcess[str]:
        """Runs argv to its end, whatever its exit code."""
        return _run(self.command(argv), limit, **options)

    def start(self, argv: Sequence[str | os.PathLike[str]], name: str,
              env: dict[str, str] | None = None,
              cwd: str | os.PathLike[str] | None = None) -> Process:
        """Starts argv in the background; the lab ends it at last."""
        with as_a_whole():
            return self.lab.adopt(Process(self.lab.file_name(name), self.command(argv),
                                          self.lab.dir, env, cwd))

    def ip(self, *arguments: str) -> str:
        return self.run(["ip", *arguments])

    def sysctl(self, key: str, value: int | str) -> None:
        path = "/proc/sys/" + key.replace(".", "/")
        self.run(["sh", "-c", 'echo "$1" >"$2"', "sh", str(value), path])

    def forward(self) -> None:
        """Makes this namespace a router, v4 and v6."""
        self.sysctl("net.ipv4.ip_forward", 1)
        self.sysctl("net.ipv6.conf.all.forwarding", 1)

    def route(self, prefix: str, via: str | None = None, dev: str | None = None) -> None:
        words = ["-6"] if ":" in prefix + (via or "") else []
        words += ["route", "replace", prefix]
        words += ["via", via] if via else []
        words += ["dev", dev] if dev else []
        self.ip(*words)

    def addresses(self, interface: str) -> list[str]:
        """Global addresses of an interface as ADDRESS/LENGTH; [] when there is no such interface."""
        done = self.try_run(["ip", "-json", "address", "show", "dev", interface])
        if done.returncode != 0 or not done.stdout.strip():
            return []
        found = []
        for link in json.loads(done.stdout):
            for info in link.get("addr_info", []):
                if info["scope"] == "global":
                    found.append(f"{info['local']}/{info['prefixlen']}")
        return found

    def routes(self, family: int = 4) -> list[dict[str, Any]]:
        """The main table as `ip -json route` prints it."""
        return json.loads(self.ip(f"-{family}", "-json", "route", "show") or "[]")

    def use_resolver(self, address: str) -> None:
        """Programs started from now on resolve names at this server."""
        self._resolver_dir = Path("/etc/netns") / self.full_name
        self._resolver_dir.mkdir(parents=True, exist_ok=True)
        (self._resolver_dir / "resolv.conf").write_text(f"nameserver {address}\n")

    def ping(self, address: str, count: int = 1, size: int | None = None, wait: float = 2,
             interval: float = 0.1, options: Sequence[str] = ()) -> Ping:
        """size: bytes of data (1232 makes an IPv6 packet of 1280). `-M do` forbids fragments."""
        words = ["ping", "-n", "-c", str(count), "-W", f"{wait:g}", "-i", f"{interval:g}"]
        words += ["-s", str(size)] if size is not None else []
        done = self.try_run([*words, *options, address], limit=count * (wait + interval) + 20)
        found = re.search(r"(\d+) packets transmitted, (\d+) received", done.stdout)
        times = [float(ms) for ms in re.findall(r"time=([\d.]+) ms", done.stdout)]
        sent, received = (int(found[1]), int(found[2])) if found else (0, 0)
        return Ping(sent, received, times, done.stdout + done.stderr)

    def capture(self, path: str | os.PathLike[str], interface: str = "any",
                expression: str = "", packet_bytes: int | None = None) -> Process:
        """tcpdump into a file, from the moment this returns until stop(). With packet_bytes, how
        much of each packet is wanted, a burst on "any" finds room: else there is some for 8."""
        words = ["tcpdump", "-n", "-U", "--immediate-mode", "-i", interface, "-w", path]
        words += ["-s", str(packet_bytes)] if packet_bytes else []
        process = self.start([*words, *expression.split()], name="tcpdump")
        process.wait_line(r"listening on", 20)
        return process

    def remove(self) -> None:
        subprocess.run(["ip", "netns", "delete", self.full_name], check=False,
                       capture_output=True, start_new_session=True)
        if self._resolver_dir:
            shutil.rmtree(self._resolver_dir, ignore_errors=True)


@dataclasses.dataclass(frozen=True)
class Transfer:
    bytes: int
    seconds: float
    sha256: str

    @property
    def mbit_per_s(self) -> float:
        return self.bytes * 8 / self.seconds / 1e6


class RunningTransfer:
    """What Lab.start_transfer() started."""

    def __init__(self, address: str, sending: Process, listening: Process):
        self.address = address
        self.sending = sending
        self.listening = listening

    @property
    def running(self) -> bool:
        return self.sending.running

    def finish(self, limit: float = 120) -> Transfer:
        """Waits for its end; fails unless everything arrived as it was sent."""
        try:
            for process in (self.sending, self.listening):
                if process.wait(limit) != 0:
                    raise LabError(f"transfer to {self.address}: {process.name} failed\n"
                                   f"{process.tail()}")
        finally:
            self.sending.kill()
            self.listening.kill()
        sent, received = self.sending.json_lines()[-1], self.listening.json_lines()[-1]
        if (sent["bytes"], sent["sha256"]) != (received["bytes"], received["sha256"]):
            raise LabError(f"transfer to {self.address}: sent {sent}, received {received}")
        return Transfer(received["bytes"], received["seconds"], received["sha256"])


def _is_up(namespace: Namespace, interface: str) -> bool:
    return json.loads(namespace.ip("-json", "link", "show", "dev", interface))[0][
        "operstate"] == "UP"


class Lab:
    """Namespaces, links and processes with one end of life. Use it in a `with` statement."""

    def __init__(self, name: str = "lab"):
        if os.geteuid() != 0:
            raise LabError("namespaces need root")
        self.number = next(_serial)
        self._namespaces: list[Namespace] = []
        self._processes: list[Process] = []
        self._names: dict[str, int] = {}
        self._closed = False
        _install_clean_up()
        with as_a_whole():
            self.dir = Path(tempfile.mkdtemp(prefix=f"{NAME_PREFIX}-{os.getpid()}-{name}-"))
            _open_labs.append(self)

    def __enter__(self) -> "Lab":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            print(self.outputs(), file=sys.stderr)
        self.close()

    def namespace(self, name: str) -> Namespace:
        with as_a_whole():
            created = Namespace(self, name)
            self._namespaces.append(created)
        created.prepare()
        return created

    def veth(self, a: Namespace, b: Namespace, left: Iterable[str] = (), right: Iterable[str] = (),
             names: tuple[str, str] | None = None, mtu: int | None = None) -> tuple[str, str]:
        """Joins a and b; `left` and `right` are their addresses. Returns the interface names, by
        default each named after the other end."""
        name_a, name_b = names or (b.name[:15], a.name[:15])
        _check_run(["ip", "link", "add", "name", name_a, "netns", a.full_name, "type", "veth",
                    "peer", "name", name_b, "netns", b.full_name])
        for where, interface, addresses in ((a, name_a, left), (b, name_b, right)):
            if mtu:
                where.ip("link", "set", "dev", interface, "mtu", str(mtu))
            for address in addresses:
                where.ip("address", "add", address, "dev", interface,
                         *(["nodad"] if ":" in address else []))
            where.ip("link", "set", "dev", interface, "up")
        # Until then the first packets are lost, and IPv6 asks for a neighbour once a second only.
        wait_for(lambda: _is_up(a, name_a) and _is_up(b, name_b), LINK_LIMIT_S,
                 f"the link {name_a} - {name_b}")
        return name_a, name_b

    def adopt(self, process: Process) -> Process:
        self._processes.append(process)
        return process

    def file_name(self, name: str) -> str:
        """`name`, then `name-2`, ...: each process of a lab has its own output files."""
        self._names[name] = self._names.get(name, 0) + 1
        return name if self._names[name] == 1 else f"{name}-{self._names[name]}"

    def transfer(self, sender: Namespace, receiver: Namespace, address: str, size: int,
                 port: int = 5001, limit: float = 120) -> Transfer:
        """Sends `size` bytes over TCP to `address`, which is the receiver's; compares SHA-256."""
        return self.start_transfer(sender, receiver, address, size, port).finish(limit)

    def start_transfer(self, sender: Namespace, receiver: Namespace, address: str, size: int,
                       port: int = 5001, mbit_per_s: int = 0) -> "RunningTransfer":
        """The same in the background, at a limited rate when one is given."""
        listening = receiver.start([sys.executable, TRANSFER_PROGRAM, "receive", address,
                                    str(port)], name="receive")
        listening.wait_line("listening", 20)
        rate = [str(mbit_per_s * 125_000)] if mbit_per_s else []
        sending = sender.start([sys.executable, TRANSFER_PROGRAM, "send", address, str(port),
                                str(size), *rate], name="send")
        return RunningTransfer(address, sending, listening)

    def iperf3(self, client: Namespace, server: Namespace, address: str,
               arguments: Sequence[str] = (), seconds: int = 5, port: int = 5201) -> dict[str, Any]:
        """The client's report (`iperf3 --json`)."""
        listening = server.start(["iperf3", "--server", "--one-off", "--forceflush", "--port",
                                  str(port)], name="iperf3-server")
        try:
            listening.wait_line("Server listening", 20)
            report = client.run(["iperf3", "--client", address, "--port", str(port), "--json",
                                 "--time", str(seconds), *arguments], limit=seconds + 60)
        finally:
            listening.kill()
        return json.loads(report)

    def outputs(self) -> str:
        """The ends of what all processes printed, for a failure's report."""
        text = ""
        for process in self._processes:
            if process.name.startswith("tcpdump") and not process.exit_code:
                continue
            state = "running" if process.running else f"ended with {process.exit_code}"
            text += f"=== {process.name} (pid {process.pid}, {state})\n{process.tail()}"
        return text

    def close(self) -> None:
        """Ends processes (newest first, politely, then hard) and removes namespaces and files."""
        if self._closed:
            return
        # A second Ctrl-C must not leave half of it behind.
        with as_a_whole():
            self._closed = True
            _open_labs.remove(self)
            for process in reversed(self._processes):
                process.signal(signal.SIGTERM)
                try:
                    process.wait(STOP_LIMIT_S)
                except LabError:
                    print(f"{process.name} (pid {process.pid}) did not end on SIGTERM within "
                          f"{STOP_LIMIT_S:g} s: killed", file=sys.stderr)
                process.kill()
            for namespace in self._namespaces:
                namespace.remove()
            if os.environ.get("MASQUE_LAB_KEEP"):
                kept = self.dir.rename(self.dir.with_name(f"kept-{self.dir.name}"))
                print(f"kept {kept}", file=sys.stderr)
            else:
                shutil.rmtree(self.dir, ignore_errors=True)


_open_labs: list[Lab] = []
_installed = False


def _install_clean_up() -> None:
    global _installed  # pylint: disable=global-statement
    if _installed:
        return
    _installed = True
    atexit.register(lambda: [lab.close() for lab in list(_open_labs)])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _interrupt)
    remove_orphans()


def _interrupt(number: int, _: object) -> None:
    if _whole_depth > 0:
        _postponed[:] = [number]
        return
    _ended_by.append(number)
    # Not SystemExit, which pytest would take for the failure of one test.
    raise KeyboardInterrupt(f"ended by {signal.Signals(number).name}")


def remove_orphans() -> None:
    """Removes namespaces and files of labs whose process is gone."""
    for path in NAMESPACE_DIR.glob(f"{NAME_PREFIX}-*"):
        if _is_orphan(path):
            subprocess.run(["ip", "netns", "delete", path.name], check=False, capture_output=True)
            shutil.rmtree(Path("/etc/netns") / path.name, ignore_errors=True)
    for path in Path(tempfile.gettempdir()).glob(f"{NAME_PREFIX}-*"):
        if _is_orphan(path):
            shutil.rmtree(path, ignore_errors=True)


def _is_orphan(path: Path) -> bool:
    pid = path.name.split("-")[1]
    return pid.isdigit() and not Path(f"/proc/{pid}").exists()
