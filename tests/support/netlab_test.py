# SPDX-License-Identifier: Apache-2.0
"""The harness itself: links, transfers, waiting, and that nothing stays behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from netlab import NAMESPACE_DIR, Lab, LabError, wait_for  # noqa: E402

SUPPORT = Path(__file__).resolve().parent


def namespaces_of(pid):
    return [path for path in NAMESPACE_DIR.glob("mvlab-*") if path.name.split("-")[1] == str(pid)]


def has_ended(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
    except FileNotFoundError:
        return True


@pytest.fixture(name="pair")
def two_joined_namespaces():
    with Lab("self") as lab:
        a, b = lab.namespace("a"), lab.namespace("b")
        lab.veth(a, b, ["192.0.2.1/24", "2001:db8::1/64"], ["192.0.2.2/24", "2001:db8::2/64"])
        yield lab, a, b
    assert not namespaces_of(os.getpid())


@pytest.mark.parametrize("address", ["192.0.2.2", "2001:db8::2"])
def test_linked_namespaces_reach_each_other(pair, address):
    lab, a, b = pair
    assert a.ping(address, count=2).received == 2
    assert lab.transfer(a, b, address, 1_000_001).bytes == 1_000_001


def test_addresses_and_routes_are_seen(pair):
    _, a, _ = pair
    assert a.addresses("b") == ["192.0.2.1/24", "2001:db8::1/64"]
    assert a.addresses("none") == []
    a.route("198.51.100.0/24", via="192.0.2.2")
    assert "198.51.100.0/24" in [route["dst"] for route in a.routes()]


def test_a_process_keeps_its_pid_and_exit_code(pair):
    _, a, _ = pair
    process = a.start(["sh", "-c", "echo $$; exit 3"], name="shell")
    assert process.wait(10) == 3
    assert process.out() == f"{process.pid}\n"


def test_waiting_ends_when_the_process_ends(pair):
    _, a, _ = pair
    process = a.start(["false"], name="false")
    with pytest.raises(LabError, match="ended with 1"):
        wait_for(lambda: False, 20, "nothing", [process])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_leaves_nothing_behind(number):
    script = ("import time, netlab\n"
              "with netlab.Lab('killed') as lab:\n"
              "    sleep = lab.namespace('x').start(['sleep', '600'], name='sleep')\n"
              "    print(sleep.pid, flush=True)\n"
              "    time.sleep(600)\n")
    with subprocess.Popen([sys.executable, "-c", script], cwd=SUPPORT, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as lab:
        sleep_pid = int(lab.stdout.readline())
        assert namespaces_of(lab.pid)
        lab.send_signal(number)
        lab.wait(30)
    wait_for(lambda: has_ended(sleep_pid), 10, "the process to end")
    if number == signal.SIGKILL:
        subprocess.run([sys.executable, "-c", "import netlab; netlab.remove_orphans()"],
                       cwd=SUPPORT, check=True)
    assert not namespaces_of(lab.pid)


def test_a_signal_in_a_finalizer_ends_the_lab_too():
    script = ("import os, signal, netlab\n"
              "class Finalized:\n"
              "    def __del__(self): signal.raise_signal(signal.SIGINT)\n"
              "with netlab.Lab('finalizer') as lab:\n"
              "    namespace = lab.namespace('a')\n"
              "    Finalized()\n"
              "    namespace.run(['echo', 'went on'])\n"
              "    print('went on')\n")
    done = subprocess.run([sys.executable, "-c", script], cwd=SUPPORT, text=True, check=False,
                          capture_output=True)
    assert "Exception ignored" in done.stderr
    assert done.returncode == -signal.SIGINT and done.stdout == ""


def test_the_limit_holds():
    started = time.monotonic()
    with pytest.raises(LabError, match="a miracle"):
        wait_for(lambda: False, 0.3, "a miracle")
    assert time.monotonic() - started < 5


def test_a_command_without_end_fails_as_any_other(pair):
    _, a, _ = pair
    started = time.monotonic()
    for run in (a.run, a.try_run):
        with pytest.raises(LabError, match=r"sleep 600: did not end within 0\.2 s"):
            run(["sleep", "600"], limit=0.2)
    assert time.monotonic() - started < 5
