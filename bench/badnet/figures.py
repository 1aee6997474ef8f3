# SPDX-License-Identifier: Apache-2.0
"""The run as JSON, Markdown and pictures. Figures are medians over the seeds."""

import json
import statistics
from pathlib import Path
from typing import Any

import plots

# Flow: title, and columns of (heading, value, decimals).
Column = tuple[str, str, int]


def _both(columns: list[Column]) -> list[Column]:
    return [(f"{heading} {side}", f"{side}_{key}", decimals)
            for side in ("up", "down") for heading, key, decimals in columns]


CALL: list[Column] = [("loss %", "loss_percent", 2), ("jitter ms", "jitter_ms", 2),
                      ("delay p50", "delay_p50_ms", 1), ("p99", "delay_p99_ms", 1)]
BULK: list[Column] = [("steady", "steady_mbit_per_s", 1), ("mean", "mean_mbit_per_s", 1),
                      ("retransmissions", "retransmits", 0)]
TABLES: dict[str, tuple[str, list[Column]]] = {
    "voice": ("Voice: 200 bytes every 20 ms, both ways", _both(CALL)),
    "video": ("Video: 4 Mbit/s, 30 frames a second, both ways", _both(CALL)),
    "desktop": ("Remote desktop: 1 to 48 packets at once, then a pause of 30 to 300 ms, both ways; a burst "
                "counts when all of it came",
                _both([("whole %", "bursts_whole_percent", 1), ("time p50 ms", "burst_p50_ms", 1),
                       ("p99", "burst_p99_ms", 1)])),
    "udp-5": ("UDP, 5 Mbit/s of 1200 bytes, both ways", _both(CALL)),
    "udp-30": ("UDP, 30 Mbit/s of 1200 bytes, both ways", _both(CALL)),
    "tcp-1": ("TCP, one CUBIC stream, one way after the other, Mbit/s received", _both(BULK)),
    "tcp-1-bbr": ("TCP, one BBR stream, one way after the other, Mbit/s received", _both(BULK)),
    "tcp-4": ("TCP, four CUBIC streams, one way after the other, Mbit/s received", _both(BULK)),
    "voice-bulk-up": ("Voice beside one CUBIC stream up",
                      _both(CALL) + [("TCP up Mbit/s", "bulk_up_mean_mbit_per_s", 1)]),
    "voice-bulk-down": ("Voice beside one CUBIC stream down",
                        _both(CALL) + [("TCP down Mbit/s", "bulk_down_mean_mbit_per_s", 1)]),
    "page": ("Web page of 40 objects, six connections, CUBIC",
             [("median ms", "load_median_ms", 0), ("slowest ms", "load_max_ms", 0),
              ("loads", "loads", 0)]),
}
WIRE: list[Column] = [("link MB up", "link_up_bytes", 2), ("link MB down", "link_down_bytes", 2),
                      ("CPU s, both ends", "ends_cpu_s", 1)]


def _records(run: dict[str, Any], flow: str, peer: str) -> list[dict[str, Any]]:
    return [record for record in run["records"] if (record["flow"], record["peer"]) == (flow, peer)]


def medians(run: dict[str, Any], flow: str, peer: str) -> dict[str, float]:
    values = [record["values"] for record in _records(run, flow, peer) if "values" in record]
    keys = {key for one in values for key in one}
    return {key: statistics.median(one[key] for one in values if key in one) for key in sorted(keys)}


def _row(run: dict[str, Any], flow: str, peer: str, columns: list[Column]) -> str:
    if "missing" in run["peers"][peer]:
        cells = ["missing"] * len(columns)
    else:
        values = medians(run, flow, peer)
        cells = []
        for _, key, decimals in columns:
            value = values.get(key)
            if value is not None and key.startswith("link_"):
                value /= 1e6
            cells.append("-" if value is None else f"{value:.{decimals}f}")
        failed = sum("failed" in record for record in _records(run, flow, peer))
        if failed:
            cells[0] += f" ({failed} failed)"
    return f"| {peer} | " + " | ".join(cells) + " |"


def markdown(run: dict[str, Any]) -> str:
    machine = run["machine"]
    loads = [record["load_before"] for record in run["records"]] or [machine["load_before"]]
    seeds = ", ".join(map(str, run["seeds"]))
    lines = [f"# Link `{run['profile']}`: masque-vpn beside other tunnels", "",
             f"Made by `{run['command']}` on {run['date']} at {run['commit']}; do not compare across runs.", "",
             f"- Machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, Linux "
             f"{machine['kernel']}; load average before the start {machine['load_before']}, before each flow "
             f"{min(loads):.2f} to {max(loads):.2f} (the run itself is in it).",
             f"- The link is `masque-linkemu bridge --profile {run['profile']}`, seeds {seeds}; each flow of each "
             f"tunnel has a link and a session of its own, {run['seconds']} s long. Tunnels take turns in being first; "
             "where a flow is light several run at the same time, as is said with it. "
             "The n-th packet of a direction meets the same loss in every run; handshakes shift who that is.",
             "- Figures are medians over the seeds. `up` is from the client to the server. Delays are one way, "
             "by one clock; jitter is that of RFC 3550, its mean over the flow. What came more than "
             "2 s late counts as lost. TCP's figures are what the receiver got; `steady` is after "
             "10 s, a `-` that the flow was shorter.",
             "- All ends and the emulator share the cores."]
    for name, peer in run["peers"].items():
        text = f"missing: {peer['missing']}" if "missing" in peer else peer["version"]
        lines.append(f"- {name}: {text}")
    for flow in run["flows"]:
        title, columns = TABLES[flow]
        columns = columns + WIRE
        lines += ["", f"## {title}", "", f"At the same time: {run['at_once'][flow]}.", "",
                  "| tunnel | " + " | ".join(column[0] for column in columns) + " |",
                  "|---|" + "---|" * len(columns)]
        lines += [_row(run, flow, peer, columns) for peer in run["peers"]]
    failures = [f"- {r['flow']}, seed {r['seed']}, {r['peer']}: {r['failed']}"
                for r in run["records"] if "failed" in r]
    if failures:
        lines += ["", "## What failed", "", *failures]
    return "\n".join(lines) + "\n"


def write(run: dict[str, Any], directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    pictures = plots.draw(run, directory)
    # The series are in the pictures; the file keeps the figures.
    slim = run | {"medians": {flow: {peer: medians(run, flow, peer) for peer in run["peers"]
                                     if "missing" not in run["peers"][peer]} for flow in run["flows"]},
                  "records": [{key: value for key, value in record.items() if key != "series"}
                              for record in run["records"]]}
    (directory / f"badnet-{run['profile']}.json").write_text(json.dumps(slim, indent=1) + "\n")
    text = markdown(run) + "".join(f"\n![{title}]({file})\n" for title, file in pictures)
    (directory / f"badnet-{run['profile']}.md").write_text(text)
