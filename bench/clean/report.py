# SPDX-License-Identifier: Apache-2.0
"""Medians as JSON, Markdown tables and a picture."""

import json
import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Table: title, and columns of (heading, value, decimals).
TABLES: list[tuple[str, list[tuple[str, str, int]]]] = [
    ("TCP, one stream, Mbit/s (inner congestion control)", [
        ("up, cubic", "tcp_up_cubic_mbit_per_s", 0), ("down, cubic", "tcp_down_cubic_mbit_per_s", 0),
        ("up, default", "tcp_up_default_mbit_per_s", 0),
        ("down, default", "tcp_down_default_mbit_per_s", 0),
        ("retransmissions up", "tcp_up_cubic_retransmits", 0),
        ("down", "tcp_down_cubic_retransmits", 0)]),
    ("CPU seconds per GB of TCP (cubic): both ends together, and the whole machine", [
        ("ends, up", "tcp_up_cubic_cpu_s_per_gb", 2), ("ends, down", "tcp_down_cubic_cpu_s_per_gb", 2),
        ("machine, up", "tcp_up_cubic_machine_s_per_gb", 2),
        ("machine, down", "tcp_down_cubic_machine_s_per_gb", 2)]),
    ("UDP, 1200 bytes", [
        ("loss % at 200 Mbit/s", "udp1200_200_loss_percent", 2),
        ("CPU s/GB", "udp1200_200_cpu_s_per_gb", 1),
        ("loss % at 500 Mbit/s", "udp1200_500_loss_percent", 2),
        ("delivered Mbit/s", "udp1200_500_mbit_per_s", 0), ("CPU s/GB ", "udp1200_500_cpu_s_per_gb", 1)]),
    ("UDP, 100 bytes, as fast as iperf3 sends", [
        ("delivered kpps", "udp100_kpps", 0), ("loss %", "udp100_loss_percent", 1)]),
    ("Ping, ms", [
        ("idle p50", "ping_idle_p50_ms", 3), ("idle p99", "ping_idle_p99_ms", 3),
        ("under TCP load p50", "ping_loaded_p50_ms", 3), ("p99", "ping_loaded_p99_ms", 3),
        ("loss %", "ping_loaded_loss_percent", 2)]),
    ("Connection (start of the client's process to the first ping's answer) and memory (RSS, MiB)", [
        ("connected after ms", "connect_ms", 1),
        ("client, start", "rss_start_client_mib", 1), ("server, start", "rss_start_server_mib", 1),
        ("client, end", "rss_end_client_mib", 1), ("server, end", "rss_end_server_mib", 1)]),
]


def medians(repetitions: list[dict[str, float]]) -> dict[str, float]:
    out = {}
    for key in repetitions[0]:
        values = [r[key] for r in repetitions if not math.isnan(r.get(key, math.nan))]
        if values:
            out[key] = statistics.median(values)
    return out


def markdown(run: dict[str, Any]) -> str:
    machine = run["machine"]
    lines = ["# Clean link: masque-vpn beside other tunnels", "",
             "Made by `./dev bench clean` "
             f"({run['command']}) on {run['date']}; do not compare across runs.", "",
             f"- Machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
             f"Linux {machine['kernel']}; load average before the start {machine['load_before']}.",
             "- Two network namespaces joined by one veth pair (MTU 1500). Both tunnel ends and both "
             "ends of iperf3 share the cores, so throughput is \"all cores for everything\"; CPU seconds "
             "per GB carry over to other machines.",
             f"- {run['repetitions']} repetitions of {run['seconds']} s each, the tunnels taking turns "
             "within each repetition; every figure is a median. TCP goes into the tunnel as iperf3 sends "
             f"it; the default congestion control here is {machine['congestion_control']}."]
    for name, tunnel in run["tunnels"].items():
        text = f"missing: {tunnel['missing']}" if "missing" in tunnel else tunnel["version"]
        lines.append(f"- {name}: {text}")
    for title, columns in TABLES:
        lines += ["", f"## {title}", "", "| tunnel | " + " | ".join(c[0].strip() for c in columns) + " |",
                  "|---|" + "---|" * len(columns)]
        for name, tunnel in run["tunnels"].items():
            if "missing" in tunnel:
                cells = ["missing"] * len(columns)
            else:
                cells = [_cell(tunnel["median"].get(key), decimals) for _, key, decimals in columns]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(value: float | None, decimals: int) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.{decimals}f}"


def plot(run: dict[str, Any], path: Path) -> None:
    import matplotlib  # pylint: disable=import-outside-toplevel
    matplotlib.use("Agg")
    from matplotlib import pyplot  # pylint: disable=import-outside-toplevel

    tunnels = {name: tunnel for name, tunnel in run["tunnels"].items()
               if "median" in tunnel and name != "bare"}
    panels: list[tuple[str, list[tuple[str, str]], Callable[[float], str]]] = [
        ("TCP, one stream, cubic: Mbit/s",
         [("up", "tcp_up_cubic_mbit_per_s"), ("down", "tcp_down_cubic_mbit_per_s")],
         lambda v: f"{v:.0f}"),
        ("CPU seconds per GB, both ends",
         [("up", "tcp_up_cubic_cpu_s_per_gb"), ("down", "tcp_down_cubic_cpu_s_per_gb")],
         lambda v: f"{v:.2f}"),
        ("UDP 1200 bytes: loss %",
         [("200 Mbit/s", "udp1200_200_loss_percent"), ("500 Mbit/s", "udp1200_500_loss_percent")],
         lambda v: f"{v:.2f}"),
        ("ping p99, ms", [("idle", "ping_idle_p99_ms"), ("under load", "ping_loaded_p99_ms")],
         lambda v: f"{v:.2f}")]
    figure, axes = pyplot.subplots(1, len(panels), figsize=(4 * len(panels), 3.6))
    for axis, (title, groups, text) in zip(axes, panels):
        width = 0.8 / max(1, len(tunnels))
        for i, (name, tunnel) in enumerate(tunnels.items()):
            for j, (_, key) in enumerate(groups):
                value = tunnel["median"].get(key, 0)
                every = [r[key] for r in tunnel["repetitions"] if key in r]
                place = j + (i - (len(tunnels) - 1) / 2) * width
                error = [[value - min(every)], [max(every) - value]] if every else None
                axis.bar(place, value, width * 0.92, color=f"C{i}", yerr=error, capsize=3,
                         label=name if j == 0 else None)
                axis.annotate(text(value), (place, max([value, *every])), ha="center", va="bottom", fontsize=8,
                              xytext=(0, 2), textcoords="offset points")
        axis.set_title(title, fontsize=10)
        axis.set_xticks(range(len(groups)), [label for label, _ in groups])
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(y=0.15)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="upper left", ncols=len(tunnels),
                  fontsize=8, frameon=False)
    figure.suptitle(f"Clean link, medians of {run['repetitions']}; lines: lowest to highest", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=120, metadata={"Software": None})


def write(run: dict[str, Any], directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "clean.json").write_text(json.dumps(run, indent=1) + "\n")
    (directory / "clean.md").write_text(markdown(run) + "\n![The figures as bars](clean.png)\n")
    plot(run, directory / "clean.png")
