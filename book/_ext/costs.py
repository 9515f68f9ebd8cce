"""What AlexNet costs on this kind of machine and on a GPU: tables and a figure of the page ``full_scale``."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from alexnet_repro import NetConfig, build, load_evidence, paper
from alexnet_repro.claims.alexnet_studies import ALEXNET
from alexnet_repro.claims.claim import LOOKS
from alexnet_repro.claims.records import BOOK
from alexnet_repro.report import figures
from alexnet_repro.report.tables import counted, machine, number, percent
from alexnet_repro.support.table import Table

PRECISIONS = ("float32", "bfloat16")
AXES = {"width": "width", "image size": "image size, pixels", "minibatch": "minibatch, images"}


def cost_table() -> Table:
    """The cost of training on ImageNet, every run counted as run 145: images, multiply-adds, times at several speeds.

    A training step counts as three forward passes. The first speed, in multiply-adds, is that of the median epoch of
    the recorded run 145 at scale ``laptop``; the others are those that a GPU reached in products of matrices.
    """
    arms = ALEXNET.protocol("paper").arms
    images = arms["run145"].train.epochs * paper.IMAGENET_TRAINING_IMAGES
    record = next(record for record in load_evidence(ALEXNET, "laptop") if record.arm == "run145")
    epoch = statistics.median(epoch["seconds"] for epoch in record.epochs)
    speed = record.data["train"]["images"] / epoch * _step(ALEXNET.protocol("laptop").arms["run145"].net)
    step, day = _step(arms["run145"].net), 86_400
    gpu = measured_gpu()
    rates = [gpu["machine"][f"matrix_{precision}_flop_per_s"] for precision in PRECISIONS]
    rows = []
    for what, runs in {
        "the full run": 1,
        f"a claim: 2 arms, {LOOKS[0]} seeds": 2 * LOOKS[0],
        f"all {len(arms)} arms, {LOOKS[0]} seeds": len(arms) * LOOKS[0],
    }.items():
        n = runs * images
        times = n * step / speed / day, *(2 * n * step / rate / 3600 for rate in rates)
        rows.append([what, str(runs), f"{n:,}", f"{n * step:.1e}", *(f"{x:,.1f}" for x in times)])
    least = [f"hours on {gpu['environment']['device']} in {precision}, at least" for precision in PRECISIONS]
    speeds = [f"days on {machine(record)}", *least]
    return Table(["what", "runs", "images", "multiply-adds", *speeds], rows)


def measured_gpu() -> Mapping[str, Any]:
    """The latest results of ``make gpu``."""
    return _latest("gpu")


def gpu_table() -> Table:
    """Response normalization on a GPU, forward and backward, in the faster of two layouts: its speed relative to
    torch's layer, and the share of the memory bandwidth that it uses if nothing is moved twice."""
    times = measured_gpu().get("normalization", {})
    best: dict[tuple[str, str], dict[str, list[tuple[float, float]]]] = {}
    for key, found in times.items():
        if isinstance(found, Mapping) and "ms" in found:  # neither an error nor left out
            name, shape, precision, _ = key.split()
            of_input = best.setdefault((shape, precision), {})
            of_input.setdefault(name, []).append((found["ms"], found["share_of_bandwidth"]))
    rows = [
        [shape, precision, f"{min(layers['torch'])[0] / min(layers['ours'])[0]:.1f}x", percent(min(layers["ours"])[1])]
        for (shape, precision), layers in best.items()
        if {"torch", "ours"} <= layers.keys()
    ]
    return Table(["input", "precision", "speed relative to torch's layer", "share of the memory bandwidth, %"], rows)


def measured_cpu() -> Mapping[str, Any]:
    """The latest results of ``make bench``."""
    return _latest("cpu")


def speed_table() -> str:
    """The speeds and the peak memory that ``make bench`` measured, as two tables with a note on the machine."""
    found = measured_cpu()
    note = (
        f"On {_machine(found)}, with torch {found['machine']['torch']} and "
        f"{counted(found['machine']['threads'], 'thread')}; medians of {found['rounds']} rounds. A number is our speed "
        "divided by that of the part it is compared with. Each busy process keeps one core busy. `prepare` uses all "
        "cores, and writes what it decodes; a pass of ImageFolder uses one, and writes nothing."
    )
    rows: dict[tuple[str, str, str], dict[int, float]] = {}
    for figure in found["speeds"]:
        key = figure["what"], figure["ours"], figure["against"]
        rows.setdefault(key, {})[figure["busy processes"]] = figure["speed"]
    beside = sorted({others for speeds in rows.values() for others in speeds})
    header = ["", "ours", "against", *("alone" if not n else f"beside {n} busy" for n in beside)]
    cells = [[*key, *(f"{speeds[n]:.2f}x" if n in speeds else "" for n in beside)] for key, speeds in rows.items()]
    peaks = [
        [peak["what"], *(f"{peak[key]:,.0f}" for key in ("measured MiB", "formula MiB")), peak["formula"]]
        for peak in found["memory"]
    ]
    memory = Table(["peak memory", "measured, MiB", "estimated, MiB", "the estimate counts"], peaks)
    return f"{note}\n\n{Table(header, cells).to_markdown()}\n\n{memory.to_markdown()}"


def times_table() -> str:
    """How long each of a newcomer's commands takes after a fresh clone."""
    found = _latest("newcomer")
    rows = [[f"`{step}`", "less than 0.1" if time < 0.1 else number(time)] for step, time in found["minutes"].items()]
    table = Table(["command", "minutes"], rows)
    note = (
        f"Run in this order after a fresh clone, on {_machine(found)}; the first command makes the environment, from "
        "packages in pip's cache."
    )
    return f"{note}\n\n{table.to_markdown()}"


def first_command() -> str:
    """The one command that a reader needs, and how long it takes."""
    found = _latest("newcomer")
    minutes = number(found["minutes"]["make book"])
    return (
        "One command, `make book`, runs every chapter and builds the book, without a data set. After a fresh clone, "
        f"with the packages in pip's cache, it takes {minutes} minutes on {_machine(found)}."
    )


def _machine(found: Mapping[str, Any]) -> str:
    """The machine of a benchmark, with the rate by which other machines can be compared."""
    return f"{found['machine']['device']} ({found['sgemm GFLOP/s']:.0f} GFLOP/s in matrix products of float32)"


def _latest(kind: str) -> Mapping[str, Any]:
    files = (BOOK.parent / "benchmarks/results").glob(f"{kind}-*.json")
    return max((json.loads(file.read_text()) for file in files), key=lambda found: found["started"])


def cost_curves() -> Figure:
    """A training step's time per image against width, image size and minibatch, in multiples of the full network's."""
    curves = measured_cpu()["curves"]
    figure, axes = figures.panels(len(AXES), "time per image, relative", height=2.6, columns=len(AXES))
    for ax, (axis, words) in zip(axes, AXES.items(), strict=True):
        points = [point for point in curves if point["axis"] == axis]
        values = [point["value"] for point in points]
        for style, key in zip(figures.STYLES, ("multiply-adds", "time"), strict=False):
            ax.plot(values, [point[key] for point in points], label=key, **style)
        ax.set(xscale="log", yscale="log", xlabel=words)
        ax.set_xticks(values, [f"{value:g}" for value in values])
        ax.xaxis.set_minor_locator(NullLocator())
        ax.grid(alpha=0.3)
    ticks = (0.1, 0.2, 0.5, 1, 2)
    axes[0].set_yticks(ticks, [f"{tick:g}x" for tick in ticks])
    axes[0].yaxis.set_minor_locator(NullLocator())
    axes[0].legend()
    return figures.finished(figure)


def processes_table() -> Table:
    """Several processes on one machine, with the same number of images each: their speed, and how much they send."""
    rows = [
        [str(row["processes"]), row["shared"], f"{row['machine']:.2f}x", f"{row['together']:.2f}x",
         f"{row['computed MB']:,.0f}", f"{row['measured MB']:,.0f}"]
        for row in measured_cpu()["processes"]
    ]  # fmt: skip
    speeds = ["speed of those that share nothing", "speed relative to them"]
    return Table(["processes", "share", *speeds, "MB per step, computed", "MB per step, measured"], rows)


def _step(net: NetConfig) -> int:
    """Multiply-adds of a training step for one image."""
    return 3 * sum(cost.multiply_adds for cost in build(net).costs())
