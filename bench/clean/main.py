# SPDX-License-Identifier: Apache-2.0
"""Our tunnel beside wireguard-go and the bare link, on a clean link, in one interleaved run: TCP, UDP,
small packets, ping, CPU per GB, connection time, memory. Writes clean.json, clean.md and clean.png."""

import argparse
import datetime
import os
import sys
from pathlib import Path
from typing import Any

import report
from machine import CHECKOUT, QUIET_LOAD, commit, describe, say, wait_until_quiet
from measures import Measurement, Sizes
from tunnels import OUTER_CLIENT, OUTER_SERVER, TUNNELS, Missing, Tunnel

from netlab import Lab, LabError


def measure(kind: type[Tunnel], sizes: Sizes) -> dict[str, float]:
    with Lab("bench") as lab:
        os.environ["MASQUE_VPN_RUNTIME_DIR"] = str(lab.dir / "run")
        client, server = lab.namespace("client"), lab.namespace("server")
        lab.veth(client, server, [f"{OUTER_CLIENT}/24"], [f"{OUTER_SERVER}/24"])
        tunnel = kind(lab, client, server)
        values = Measurement(tunnel, sizes).run()
        tunnel.stop()
        return values


def available(names: list[str]) -> tuple[list[type[Tunnel]], dict[str, str]]:
    found, missing = [], {}
    for kind in TUNNELS:
        if names and kind.name not in names:
            continue
        try:
            kind.prepare()
            found.append(kind)
        except Missing as reason:
            missing[kind.name] = str(reason)
            say(f"{kind.name} is missing: {reason}")
    return found, missing


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench clean", description=__doc__)
    parser.add_argument("--quick", action="store_true",
                        help="short: to see that it works, not for figures")
    parser.add_argument("--repetitions", type=int, metavar="N", help="default: 5; with --quick 1")
    parser.add_argument("--seconds", type=int, metavar="N", help="of each measurement; default: 8")
    parser.add_argument("--tunnel", action="append", default=[],
                        choices=[kind.name for kind in TUNNELS], help="only this one; repeatable")
    parser.add_argument("--output", type=Path, metavar="DIR",
                        help="default: docs/report; with --quick build/bench")
    parser.add_argument("--wait-quiet", type=float, metavar="S", help="how long to wait for a load "
                        f"average of {QUIET_LOAD}; default: 300; with --quick 0")
    options = parser.parse_args()
    sizes = Sizes.quick() if options.quick else Sizes.full()
    if options.seconds:
        sizes = Sizes(options.seconds, sizes.pings)
    repetitions = options.repetitions or (1 if options.quick else 5)
    output = options.output or CHECKOUT / ("build/bench" if options.quick else "docs/report")
    kinds, missing = available(options.tunnel)
    patience = (0 if options.quick else 300) if options.wait_quiet is None else options.wait_quiet
    load_before = wait_until_quiet(patience)

    results: dict[str, list[dict[str, float]]] = {kind.name: [] for kind in kinds}
    try:
        for repetition in range(repetitions):
            # Each tunnel is first as often as last.
            turn = repetition % len(kinds)
            for kind in kinds[turn:] + kinds[:turn]:
                say(f"repetition {repetition + 1} of {repetitions}: {kind.name}")
                results[kind.name].append(measure(kind, sizes))
    except KeyboardInterrupt:
        return 130
    except LabError as error:
        say(f"failed: {error}")
        return 1

    tunnels: dict[str, Any] = {
        kind.name: {"version": kind.version, "median": report.medians(results[kind.name]),
                    "repetitions": results[kind.name]} for kind in kinds}
    tunnels |= {name: {"missing": reason} for name, reason in missing.items()}
    run = {"name": "clean", "date": datetime.date.today().isoformat(),
           "command": " ".join(["./dev bench clean", *sys.argv[1:]]), "commit": commit(),
           "machine": describe(load_before), "repetitions": repetitions, "seconds": sizes.seconds,
           "tunnels": tunnels}
    report.write(run, output)
    print(report.markdown(run))
    say(f"written to {output}/clean.{{json,md,png}}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
