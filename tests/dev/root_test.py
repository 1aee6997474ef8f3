# SPDX-License-Identifier: Apache-2.0
"""Whoever interrupts ./dev while it makes the build root finds nothing of that left, and can begin again."""

import os
import pathlib
import signal
import time

import pytest

from fake_machine import Machine

# Makes something below the root (its last argument but one), and goes on for long.
MAKES = """
root=${@: -2:1}
mkdir -p "$root/usr"
sleep 600 &
echo $$ $! >"$MASQUE_VPN_CACHE/pids.new"
mv "$MASQUE_VPN_CACHE/pids.new" "$MASQUE_VPN_CACHE/pids"
"""
PATIENT = MAKES + "wait\n"
# Mounts below the root and takes its time to unmount, as mmdebstrap does, and a second signal does not shorten it.
TIDY = """
trap 'trap "" INT TERM HUP; sleep 0.5; umount "$root/usr"; exit 1' INT TERM HUP
""" + MAKES + """
mount -t tmpfs tmpfs "$root/usr"
wait
"""
STUBBORN = "trap '' INT TERM HUP\n" + MAKES + "while :; do wait; done\n"
# A child that is in the root, and not in the process group.
DAEMON = MAKES.replace("sleep 600 &", """
setsid python3 -c 'import os, sys, time; os.chroot(sys.argv[1]); time.sleep(600)' "$root" &
until [[ /proc/$!/root -ef $root ]]; do sleep 0.1; done
""") + "wait\n"
START_LIMIT_S = 20
END_LIMIT_S = 20


def runs(pid: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except FileNotFoundError:
        return False


def interrupt(machine: Machine, command: list[str], number: int, whom: str) -> tuple[int, str]:
    """Signals ./dev, or as a terminal does its process group, when mmdebstrap is at work."""
    pids = machine.cache / "pids"
    with machine.start(*command) as process:
        try:
            deadline = time.monotonic() + START_LIMIT_S
            while not pids.exists():
                assert process.poll() is None and time.monotonic() < deadline, process.stderr.read()
                time.sleep(0.05)
            (os.kill if whom == "alone" else os.killpg)(process.pid, number)
            _, err = process.communicate(timeout=END_LIMIT_S)
            left = [pid for pid in map(int, pids.read_text().split()) if runs(pid)]
            assert not left, err
        finally:
            for pid in map(int, pids.read_text().split() if pids.exists() else []):
                if runs(pid):
                    os.kill(pid, signal.SIGKILL)
            process.kill()
    return process.returncode, err


def leaves_nothing(machine: Machine) -> None:
    assert not list(machine.tmp.iterdir())
    left = {path.name.partition("-")[0] for path in machine.cache.iterdir() if path.is_dir()}
    assert "root" not in left
    assert not [path for path in machine.cache.rglob("*") if path.is_file() and "secret" in path.read_text()]


@pytest.mark.parametrize("whom", ["alone", "group"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interruption_leaves_nothing(tmp_path, number, whom):
    machine = Machine(tmp_path, 12, mmdebstrap=PATIENT)
    code, err = interrupt(machine, ["exec", "true"], number, whom)
    assert code == -number, err
    assert "interrupted" in err
    leaves_nothing(machine)


@pytest.mark.parametrize("program", [TIDY, STUBBORN, DAEMON], ids=["tidy", "stubborn", "daemon"])
def test_it_is_waited_for_and_ended_at_last(tmp_path, program):
    machine = Machine(tmp_path, 12, mmdebstrap=program)
    code, err = interrupt(machine, ["exec", "true"], signal.SIGTERM, "alone")
    assert code == -signal.SIGTERM and "in use" not in err and "cannot be unmounted" not in err, err
    leaves_nothing(machine)


# Those that need the root first in a subshell.
@pytest.mark.parametrize("command", [["build"], ["test"], ["check"], ["format"], ["demo"], ["mutants"]], ids=" ".join)
def test_every_command_can_be_interrupted(tmp_path, command):
    machine = Machine(tmp_path, 12, mmdebstrap=PATIENT)
    code, err = interrupt(machine, command, signal.SIGTERM, "alone")
    assert code == -signal.SIGTERM, err
    leaves_nothing(machine)


def test_a_failure_leaves_nothing_but_the_log(tmp_path):
    machine = Machine(tmp_path, 12, mmdebstrap='mkdir -p "${@: -2:1}/usr"; echo out of luck; exit 5')
    done = machine.run("exec", "true")
    assert done.returncode == 1 and "out of luck" in done.stderr, done.stderr
    leaves_nothing(machine)


def test_what_a_killed_one_left_goes_the_next_time(tmp_path):
    machine = Machine(tmp_path, 12, mmdebstrap="exit 5")
    for name in ("root-0123.new.17", "root-0123.new.17.setup"):
        (machine.cache / name).mkdir()
        (machine.cache / name / "apt.conf").write_text("secret")
    assert machine.run("exec", "true").returncode == 1
    leaves_nothing(machine)
