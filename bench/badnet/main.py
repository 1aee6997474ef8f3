# SPDX-License-Identifier: Apache-2.0
"""Our tunnel beside others through the same bad link: calls, video, a remote desktop, TCP, UDP, a web
page. Every tunnel meets each flow with the same seeds, on a link and in a session of its own; few run at
the same time, and which is first changes. Writes badnet-PROFILE.json, .md, .png, -delay.svg, -cdf.svg
and -throughput.svg."""

import argparse
import datetime
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

# bench/clean has the tunnels and what describes the machine; it brings tests/support along.
sys.path[1:1] = [str(Path(__file__).resolve().parents[1] / "clean"),
                 str(Path(__file__).resolve().parents[2] / "tests/support")]
import figures  # noqa: E402
import machine  # noqa: E402
from flows import FLOWS, QUICK_FLOWS, Result, Run  # noqa: E402
from machine import say  # noqa: E402
from peers import PEERS  # noqa: E402
from tunnels import OUTER_CLIENT, OUTER_SERVER, Missing, Tunnel  # noqa: E402

from netlab import Lab, LabError, Namespace, Process, wait_for  # noqa: E402

CONNECT_LIMIT_S = 45
SETTLE_S = 2.0  # for the path MTU search, at least
# After the link's start each flow begins then, where the tunnel was up in time: its delay walks with
# time, so all tunnels meet the same delays.
FLOW_AT_S = 5.0
QUICK_SECONDS, SECONDS = 4, 30
QUICK_SEEDS, SEEDS = [1], [1, 2, 3]


def start_link(lab: Lab, client: Namespace, server: Namespace, profile: str, seed: int) -> Process:
    middle = lab.namespace("link")
    lab.veth(client, middle, [f"{OUTER_CLIENT}/24"], names=("server", "a"))
    lab.veth(server, middle, [f"{OUTER_SERVER}/24"], names=("client", "b"))
    link = middle.start(["masque-linkemu", "bridge", "a", "b", "--profile", profile, "--seed",
                         str(seed), "--json"], name="linkemu")
    link.wait_line("ready", 20)
    return link


def inner_client(tunnel: Tunnel) -> str:
    route = json.loads(tunnel.client.ip("-json", "route", "get", tunnel.address))
    return route[0]["prefsrc"]


def connect(tunnel: Tunnel, link_started: float) -> None:
    tunnel.start_server()
    tunnel.start_client()
    ends = tunnel.processes() or ()
    wait_for(lambda: tunnel.client.ping(tunnel.address, wait=1).ok, CONNECT_LIMIT_S,
             f"{tunnel.name} to answer a ping", ends)
    time.sleep(max(SETTLE_S, link_started + FLOW_AT_S - time.monotonic()))


def measure(kind: type[Tunnel], flow: str, profile: str, seed: int, seconds: int) -> Result:
    with Lab("badnet") as lab:
        os.environ["MASQUE_VPN_RUNTIME_DIR"] = str(lab.dir / "run")
        client, server = lab.namespace("client"), lab.namespace("server")
        link = start_link(lab, client, server, profile, seed)
        link_started = time.monotonic()
        tunnel = kind(lab, client, server)
        connect(tunnel, link_started)
        ends = tunnel.processes() or ()
        cpu = sum(end.cpu_seconds() for end in ends)
        result = FLOWS[flow].measure(Run(tunnel, inner_client(tunnel), seed, seconds))
        result.values["ends_cpu_s"] = sum(end.cpu_seconds() for end in ends) - cpu
        tunnel.stop()
        link.signal(signal.SIGTERM)
        link.wait(20)
        told = json.loads(link.out().splitlines()[-1])
        for side in ("up", "down"):
            for key in ("packets", "bytes", "lost", "burst_lost", "queue_dropped"):
                result.values[f"link_{side}_{key}"] = told[side].get(key, 0)
        return result


def available(kinds: list[type[Tunnel]]) -> tuple[list[type[Tunnel]], dict[str, str]]:
    found, missing = [], {}
    for kind in kinds:
        try:
            kind.prepare()
            found.append(kind)
        except Missing as reason:
            missing[kind.name] = str(reason)
            say(f"{kind.name} is missing: {reason}")
    return found, missing


def words(known: list[str], what: str):
    def parse(text: str) -> list[str]:
        given = text.split(",")
        if unknown := [word for word in given if word not in known]:
            raise argparse.ArgumentTypeError(
                f"there is no {what} {', '.join(unknown)}; there are {', '.join(known)}")
        return given
    return parse


def parse_options() -> argparse.Namespace:
    names = [kind.name for kind in PEERS]
    parser = argparse.ArgumentParser(prog="./dev bench badnet", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{', '.join(QUICK_FLOWS)}, one seed, "
                        f"{QUICK_SECONDS} s each: to see that it works, not for figures")
    parser.add_argument("--flows", type=words(list(FLOWS), "flow"), metavar="NAME,...",
                        help=f"of {', '.join(FLOWS)}; default: all")
    parser.add_argument("--peers", type=words(names, "peer"), metavar="NAME,...",
                        help=f"of {', '.join(names)}; default: all")
    parser.add_argument("--seeds", type=lambda text: [int(word) for word in text.split(",")],
                        metavar="N,...", help="of the link; default: 1,2,3, with --quick 1")
    parser.add_argument("--profile", default="mobile", metavar="NAME",
                        help="of `masque-linkemu profiles`; default: %(default)s")
    parser.add_argument("--seconds", type=int, metavar="N",
                        help=f"of each flow; default: {SECONDS}, with --quick {QUICK_SECONDS}")
    parser.add_argument("--output", type=Path, metavar="DIR",
                        help="default: docs/report; with --quick build/bench")
    parser.add_argument("--wait-quiet", type=float, metavar="S", help="how long to wait for a load "
                        f"average of {machine.QUIET_LOAD}; default: 300; with --quick 0")
    options = parser.parse_args()
    quick = options.quick
    options.flows = options.flows or list(QUICK_FLOWS if quick else FLOWS)
    options.peers = options.peers or names
    options.seeds = options.seeds or (QUICK_SEEDS if quick else SEEDS)
    options.seconds = options.seconds or (QUICK_SECONDS if quick else SECONDS)
    options.output = options.output or machine.CHECKOUT / ("build/bench" if quick else "docs/report")
    if options.wait_quiet is None:
        options.wait_quiet = 0 if quick else 300
    return options


def known_profile(name: str) -> bool:
    done = subprocess.run(["masque-linkemu", "profiles", "--json"], check=True, capture_output=True,
                          text=True)
    return name in (profile["name"] for profile in json.loads(done.stdout))


def measure_into(told: Connection, kind: type[Tunnel], flow: str, seed: int,
                 options: argparse.Namespace) -> None:
    """In a process of its own: the record of one flow through one tunnel, or why there is none."""
    record: dict[str, Any] = {"load_before": machine.load()}
    try:
        result = measure(kind, flow, options.profile, seed, options.seconds)
        record |= {"values": result.values, "series": result.series}
    except LabError as error:
        say(f"{flow} through {kind.name} failed: {error}")
        record["failed"] = str(error).splitlines()[0][:300]
    except KeyboardInterrupt:
        return
    told.send(record)


def measure_together(kinds: list[type[Tunnel]], flow: str, seed: int,
                     options: argparse.Namespace) -> list[dict[str, Any]]:
    running = []
    forks = multiprocessing.get_context("fork")  # what prepare() found out goes along
    try:
        for kind in kinds:
            hearing, telling = forks.Pipe(duplex=False)
            process = forks.Process(target=measure_into,
                                              args=(telling, kind, flow, seed, options))
            process.start()
            telling.close()
            running.append((kind, hearing, process))
        records = []
        for kind, hearing, process in running:
            try:
                told = hearing.recv()
            except EOFError:
                told = {"load_before": machine.load(), "failed": "the measurement broke off"}
            records.append({"flow": flow, "seed": seed, "peer": kind.name} | told)
        return records
    except BaseException:
        for _, _, process in running:
            process.terminate()
        raise
    finally:
        for _, _, process in running:
            process.join()


def measure_all(kinds: list[type[Tunnel]], options: argparse.Namespace) -> list[dict[str, Any]]:
    """One record for each flow, seed and tunnel; one that failed says why."""
    records: list[dict[str, Any]] = []
    total = len(kinds) * len(options.flows) * len(options.seeds)
    for s, seed in enumerate(options.seeds):
        for f, flow in enumerate(options.flows):
            turn = (s + f) % len(kinds)  # each tunnel is first as often as last
            left = kinds[turn:] + kinds[:turn]
            while left:
                now, left = left[:FLOWS[flow].at_once], left[FLOWS[flow].at_once:]
                say(f"{len(records) + 1} of {total}: {flow}, seed {seed}, "
                    f"{', '.join(kind.name for kind in now)}")
                records += measure_together(now, flow, seed, options)
    return records


def main() -> int:
    options = parse_options()
    if not known_profile(options.profile):
        say(f"there is no link {options.profile}: masque-linkemu profiles")
        return 2
    kinds, missing = available([kind for kind in PEERS if kind.name in options.peers])
    if not kinds:
        say("none of the peers is there")
        return 1
    load_before = machine.wait_until_quiet(options.wait_quiet)
    try:
        records = measure_all(kinds, options)
    except KeyboardInterrupt:
        return 130
    run = {"name": "badnet", "date": datetime.date.today().isoformat(),
           "command": " ".join(["./dev bench badnet", *sys.argv[1:]]), "commit": machine.commit(),
           "machine": machine.describe(load_before) | {"load_after": round(machine.load(), 2)},
           "profile": options.profile, "seeds": options.seeds, "seconds": options.seconds,
           "flows": options.flows, "at_once": {flow: FLOWS[flow].at_once for flow in options.flows},
           "peers": {kind.name: {"missing": missing[kind.name]} if kind.name in missing else
                     {"version": kind.version} for kind in PEERS if kind.name in options.peers},
           "records": records}
    figures.write(run, options.output)
    print(figures.markdown(run))
    say(f"written to {options.output}/badnet-{options.profile}.*")
    return 1 if any("failed" in record for record in records) else 0


if __name__ == "__main__":
    sys.exit(main())
