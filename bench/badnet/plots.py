# SPDX-License-Identifier: Apache-2.0
"""Pictures of a run, of its first seed: delay over time and its distribution for the call, TCP over
time. Each as SVG, and all together as PNG."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

Series = dict[str, list[tuple[float, float]]]  # peer: (time, value)


def _series(run: dict[str, Any], flow: str, side: str) -> Series:
    seed = run["seeds"][0]
    return {record["peer"]: sorted(record["series"][side]) for record in run["records"]
            if (record["flow"], record["seed"]) == (flow, seed)
            and record.get("series", {}).get(side)}


def _delay(axis: Any, series: Series, colors: dict[str, str]) -> None:
    for peer, points in series.items():
        axis.plot(*zip(*points), color=colors[peer], label=peer, linewidth=0.7)
    axis.set_xlabel("s")
    axis.set_ylabel("one-way delay, ms")


def _distribution(axis: Any, series: Series, colors: dict[str, str]) -> None:
    for peer, points in series.items():
        delays = sorted(delay for _, delay in points)
        axis.plot(delays, [(i + 1) / len(delays) for i in range(len(delays))], color=colors[peer],
                  label=peer, linewidth=1.2)
    axis.set_xlabel("one-way delay, ms")
    axis.set_ylabel("share of the packets that came")


def _throughput(axis: Any, series: Series, colors: dict[str, str]) -> None:
    for peer, points in series.items():
        axis.step(*zip(*points), where="post", color=colors[peer], label=peer, linewidth=1.2)
    axis.set_xlabel("s")
    axis.set_ylabel("Mbit/s received")
    axis.set_ylim(bottom=0)


# File, title, flow, direction, how.
PANELS: list[tuple[str, str, str, str, Callable[[Any, Series, dict[str, str]], None]]] = [
    ("delay", "Voice, delay over time", "voice", "down", _delay),
    ("cdf", "Voice, distribution of delay", "voice", "down", _distribution),
    ("throughput", "TCP, one CUBIC stream", "tcp-1", "down", _throughput),
]


def draw(run: dict[str, Any], directory: Path) -> list[tuple[str, str]]:
    """Title and file of each picture there is something to show in."""
    import matplotlib  # pylint: disable=import-outside-toplevel
    matplotlib.use("Agg")
    from matplotlib import pyplot  # pylint: disable=import-outside-toplevel
    matplotlib.rcParams["svg.hashsalt"] = "badnet"

    colors = {peer: f"C{i}" for i, peer in enumerate(run["peers"])}
    panels = [(file, title, side, how, series) for file, title, flow, side, how in PANELS
              if (series := _series(run, flow, side))]
    pictures = []

    def fill(axis: Any, panel: tuple) -> None:
        _, title, side, how, series = panel
        how(axis, series, colors)
        axis.set_title(f"{title}, {side}; link {run['profile']}, seed {run['seeds'][0]}", fontsize=9)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(fontsize=7, frameon=False)

    for panel in panels:
        figure, axis = pyplot.subplots(figsize=(7, 4))
        fill(axis, panel)
        figure.tight_layout()
        file = f"badnet-{run['profile']}-{panel[0]}.svg"
        figure.savefig(directory / file, metadata={"Date": None, "Creator": None})
        pyplot.close(figure)
        pictures.append((panel[1], file))
    if panels:
        figure, axes = pyplot.subplots(1, len(panels), figsize=(7 * len(panels), 4), squeeze=False)
        for axis, panel in zip(axes[0], panels):
            fill(axis, panel)
        figure.tight_layout()
        figure.savefig(directory / f"badnet-{run['profile']}.png", dpi=110, metadata={"Software": None})
        pyplot.close(figure)
    return pictures
