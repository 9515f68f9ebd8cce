"""The figures that chapters share. Every function draws one figure and returns it; nothing is shown or saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

try:
    import matplotlib.pyplot as plt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator
except ModuleNotFoundError:
    raise ModuleNotFoundError("figures need matplotlib: pip install 'alexnet_repro[book]'") from None

from alexnet_repro.augment import PCAColor
from alexnet_repro.claims import Claim
from alexnet_repro.config import Conv, Linear
from alexnet_repro.evidence import Record, Verdict
from alexnet_repro.filters import color_share, orientation
from alexnet_repro.nets import Network

# Okabe and Ito's colours, told apart by everyone; dash and marker differ too, for print and for the colour-blind.
STYLES = (
    {"color": "#D55E00", "linestyle": "--", "marker": "s"},
    {"color": "#0072B2", "linestyle": "-", "marker": "o"},
    {"color": "#009E73", "linestyle": "-.", "marker": "^"},
    {"color": "#CC79A7", "linestyle": ":", "marker": "D"},
)


def error_curves(
    runs: Mapping[str, Sequence[Record]],
    target: float | None = None,
    error: Literal["train_error", "val_error"] = "train_error",
) -> Figure:
    """An error per epoch, a panel per entry: every run as a thin line, the mean of each arm as a thick one.

    The mean goes as far as every run of its arm does.

    Args:
        runs: title -> records of one claim, which may be none.
        target: error marked by a horizontal line, fraction.
        error: that of training, or of the validation pictures where the runs have it.
    """
    figure, axes = panels(len(runs), "training error, %" if error == "train_error" else "validation error, %")
    for ax, (title, records) in zip(axes, runs.items(), strict=True):
        for style, arm in zip(STYLES, dict.fromkeys(record.arm for record in records), strict=False):
            _curves_of_arm(ax, arm, [r for r in records if r.arm == arm], style, error)
        if target is not None:
            ax.axhline(100 * target, color="black", linewidth=0.8)
            ax.annotate(f"{100 * target:.0f} %", (1, 100 * target), (-2, 3), ("axes fraction", "data"),
                        textcoords="offset points", ha="right")  # fmt: skip
        ax.set(title=title, xlabel="epochs", ylim=(0, 100))
        ax.set_xlim(left=0)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.grid(alpha=0.3)
        if records:
            ax.legend()
        else:
            ax.annotate("no runs recorded yet", (0.5, 0.5), xycoords="axes fraction", ha="center")
    return finished(figure)


MEASURED = {
    "epochs_to_target": "epochs to the target",
    "epochs_to_train_error": "epochs to the training error",
    "epochs_to_val_error": "epochs to the validation error",
    "top1_error": "error on held-out pictures",
    "fitted_error": "error on the training pictures",
    "overfitting": "held-out minus training error",
}


def effects(verdicts: Mapping[str, Verdict]) -> Figure:
    """Per claim the measured effect with its 95 % interval, that of every pair of runs, and the paper's number.

    Args:
        verdicts: title -> what the records of a claim say; all of one kind of effect.
    """
    claims = [result.claim for result in verdicts.values()]
    scale = 1 if claims[0].effect == "ratio" else 100
    figure, ax = plt.subplots(figsize=(7, 1.4 + 0.6 * len(claims)), layout="constrained", facecolor="white")
    for row, (claim, result) in enumerate(zip(claims, verdicts.values(), strict=True)):
        if claim.paper_value is not None:
            ax.plot(scale * claim.paper_value, row, "D", color="#D55E00", label="paper")
        if result.estimate is None:
            continue
        pairs = [scale * value for value in result.values]
        ax.plot(pairs, [row + 0.2] * len(pairs), "|", color="black", markersize=8, label="each pair of runs")
        bounded = result.low is not None and result.high is not None
        ax.plot(scale * result.estimate, row, "o", color="#0072B2", label="ours" + ", 95 % interval" * bounded)
        if bounded:
            high = result.high if np.isfinite(result.high) else max(claim.paper_value or 0, result.estimate) * 1.3
            ax.plot([scale * result.low, scale * high], [row, row], color="#0072B2")
            if not np.isfinite(result.high):
                ax.plot(scale * high, row, ">", color="#0072B2")
    ax.axvline(scale * claims[0].no_effect, color="black", linewidth=0.8)
    ax.set_yticks(range(len(claims)), list(verdicts))
    ax.set_ylim(len(claims) - 0.5, -0.5)
    ax.set_xlabel(_effect_label(claims))
    ax.grid(axis="x", alpha=0.3)
    handles = dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))  # each label once
    if handles:
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=3, frameon=False)
    return finished(figure)


def _effect_label(claims: Sequence[Claim]) -> str:
    """What the axis of ``effects`` shows: the arms by name where all claims have the same."""
    sides = {(claim.baseline.arm, claim.treatment.arm) for claim in claims}
    without, with_ = sides.pop() if len(sides) == 1 else ("without", "with")
    of = {claim.baseline.metric for claim in claims}
    what = MEASURED.get(of.pop(), "") if len(of) == 1 else ""
    what = f"{what}: " if what else ""
    if claims[0].effect == "ratio":
        return f"{what}{without} / {with_} (1: no effect)"
    return f"{what}{without} minus {with_}, points (0: no effect)"


def layer_costs(network: Network) -> Figure:
    """Per layer with weights its share of all activations, parameters and multiply-adds, as bars.

    Args:
        network: whose layers.
    """
    costs = [cost for cost in network.costs() if cost.parameters]
    quantities = {
        "activations": [cost.activations for cost in costs],
        "parameters": [cost.parameters for cost in costs],
        "multiply-adds": [cost.multiply_adds for cost in costs],
    }
    figure, axes = panels(3, height=3.4, columns=3)
    for ax, (name, values), style in zip(axes, quantities.items(), STYLES, strict=False):
        total = sum(values)
        bars = ax.barh([cost.name for cost in costs], [100 * value / total for value in values], color=style["color"])
        ax.bar_label(bars, [f"{100 * value / total:.1f}" for value in values], padding=2, fontsize=8)
        ax.set(title=f"{name}:\n{total:,}", xlabel="share, %", xlim=(0, 110), xticks=(0, 50, 100))
        ax.grid(axis="x", alpha=0.3)
    axes[0].invert_yaxis()
    return finished(figure)


def tower_crossings(network: Network) -> Figure:
    """The towers as rows of boxes, one per layer with weights, and which boxes each one reads.

    Args:
        network: whose towers.
    """
    layers = [layer for layer in network.config.effective_layers() if isinstance(layer, Conv | Linear)]
    towers = network.config.towers
    figure, ax = plt.subplots(figsize=(7, 1.2 + 0.9 * towers), layout="constrained", facecolor="white")
    output = len(layers)

    def box(column: int, row: float, text: str) -> None:
        face = {"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": "black"}
        ax.text(column, row, text, ha="center", va="center", fontsize=8, bbox=face)

    def arrow(start: tuple[float, float], end: tuple[float, float], crossing: bool) -> None:
        style = STYLES[0] if crossing else STYLES[1]
        line = {
            "color": style["color"],
            "linestyle": style["linestyle"],
            "arrowstyle": "->",
            "shrinkA": 20,
            "shrinkB": 20,
        }
        ax.annotate("", end, start, arrowprops=line)

    middle = (towers - 1) / 2
    box(0, middle, "picture")
    for column, layer in enumerate(layers, start=1):
        rows = [0] if column == output else range(towers)  # the output layer is in the first tower alone
        units = network.shapes[layer.name][0]
        for row in rows:
            box(column, row, f"{layer.name}\n{units if column == output else units // towers}")
            if column == 1:
                arrow((0, middle), (1, row), crossing=False)
                continue
            for source in range(towers):
                if source == row or layer.reads == "all":
                    arrow((column - 1, source), (column, row), crossing=source != row)
    ax.set(xlim=(-0.5, output + 0.5), ylim=(towers - 0.4, -0.6))
    ax.axis("off")
    return finished(figure)


def first_losses(runs: Mapping[str, Sequence[float]], chance: float) -> Figure:
    """The loss of the first steps of training: a panel per run, the first run behind each of the others.

    Losses of more than twice ``chance`` leave the panel at its upper edge.

    Args:
        runs: title -> loss of every step, nats; the first is what the others are compared with.
        chance: loss of guessing, nats; a horizontal line.
    """
    (first, reference), *others = runs.items()
    figure, axes = panels(len(others), "loss, nats", height=2.6)
    for ax, (title, losses) in zip(axes, others, strict=True):
        for style, label, values in ((STYLES[1], first, reference), (STYLES[0], title, losses)):
            shown = np.clip(np.nan_to_num(values, nan=np.inf), None, 2 * chance)
            every = max(1, len(values) // 8)
            ax.plot(range(1, len(values) + 1), shown, **style, markevery=every, markersize=4, label=label)
        ax.axhline(chance, color="black", linewidth=0.8)
        ax.set_ylim(0, 2.05 * chance)
        ax.grid(alpha=0.3)
        ax.legend(loc="lower left", fontsize=8)
        ax.set_xlabel("step")
    return finished(figure)


def pictures(rows: Mapping[str, Tensor]) -> Figure:
    """Rows of pictures, each below its title.

    Args:
        rows: title -> (n, 3, H, W), grey levels; what lies outside 0..255 is shown as the nearest of these.
    """
    columns = max(len(row) for row in rows.values())
    height = 9 / columns + 0.3  # inches, with the title
    figure = plt.figure(figsize=(9, height * len(rows)), layout="constrained", facecolor="white")
    for part, (title, row) in zip(figure.subfigures(len(rows), 1, squeeze=False)[:, 0], rows.items(), strict=True):
        part.suptitle(title, x=0.01, ha="left", fontsize=10)
        axes = part.subplots(1, columns, squeeze=False)[0]
        for ax in axes[len(row) :]:
            ax.axis("off")
        for ax, picture in zip(axes, row, strict=False):
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_color("0.7")  # a white picture has an edge too
            ax.imshow(picture.clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy())
    return finished(figure)


def color_axes(images: Tensor, color: PCAColor, sample: int = 2000) -> Figure:
    """A sample of pixels in three views of RGB space, with the principal axes, two deviations long either way.

    Args:
        images: whose pixels.
        color: their axes.
        sample: how many pixels are drawn, evenly spread over the images.

    Shape: images (N, 3, H, W) uint8.
    """
    pixels = images.permute(0, 2, 3, 1).reshape(-1, 3)
    pixels = pixels[:: max(1, len(pixels) // sample)].numpy()
    mean = images.transpose(0, 1).flatten(1).double().mean(1).numpy()
    figure, axes = plt.subplots(1, 3, figsize=(9, 3.3), layout="constrained", facecolor="white")
    for ax, (x, y) in zip(axes, ((0, 1), (2, 1), (0, 2)), strict=True):
        ax.scatter(pixels[:, x], pixels[:, y], c=pixels / 255, s=3)
        for number, (style, deviation) in enumerate(zip(STYLES, color.deviations, strict=False)):
            ends = mean[:, None] + np.outer(2 * deviation * color.axes[:, number], (-1, 1))
            ax.plot(ends[x], ends[y], **style, markersize=5, label=f"axis {number + 1}")
        ax.set(xlabel=f"{'RGB'[x]}, grey levels", ylabel=f"{'RGB'[y]}, grey levels", aspect="equal")
        ax.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    return finished(figure)


def kernels(networks: Mapping[str, Tensor]) -> Figure:
    """First-layer filters by colour and direction: a panel per network, a marker per tower.

    Args:
        networks: title -> weight of the first layer, (maps, 3, kernel, kernel), two towers.
    """
    figure, axes = panels(len(networks), "orientation (1: parallel stripes)", height=3.3)
    for ax, (title, weight) in zip(axes, networks.items(), strict=True):
        shares, directions = color_share(weight).chunk(2), orientation(weight).chunk(2)
        for style, name, share, direction in zip(
            STYLES, ("first tower", "second tower"), shares, directions, strict=False
        ):
            ax.plot(share, direction, style["marker"], color=style["color"], alpha=0.8, label=name)
        ax.set(title=title, xlabel="share of colour (0: grey)", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
        ax.grid(alpha=0.3)
    axes[0].legend(loc="upper left")
    return finished(figure)


def tower_colors(runs: Mapping[str, Sequence[Mapping[str, float]]]) -> Figure:
    """How far two towers' first filters differ in colour, and random halves of the same filters: a row per entry.

    Args:
        runs: title -> what ``filters.tower_color`` gave for each of its networks; what else a mapping holds is ignored.
    """
    figure, ax = plt.subplots(figsize=(6.6, 1.4 + 0.3 * len(runs)), layout="constrained", facecolor="white")
    for row, networks in enumerate(runs.values()):
        for style, name, label in (
            (STYLES[1], "color_difference", "the two towers"),
            (STYLES[0], "color_difference_chance", "random halves, mean"),
        ):
            marks = {"color": style["color"], "marker": style["marker"], "linestyle": "none", "fillstyle": "none"}
            marks["clip_on"] = False  # a mark at zero is whole
            values = [100 * network[name] for network in networks]
            ax.plot(values, [row] * len(values), **marks, label=None if row else label)
    ax.set(yticks=range(len(runs)), yticklabels=list(runs), ylim=(len(runs) - 0.5, -0.5))
    ax.set_xlabel("difference of the mean share of colour, points")
    ax.set_xlim(left=0)
    ax.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return finished(figure)


def _curves_of_arm(ax: Axes, arm: str, records: Sequence[Record], style: Mapping[str, str], error: str) -> None:
    curves = [[100 * epoch[error] for epoch in record.epochs] for record in records]
    for curve in curves:
        ax.plot(range(1, len(curve) + 1), curve, color=style["color"], alpha=0.35, linewidth=0.8)
    common = min(len(curve) for curve in curves)
    mean = np.mean([curve[:common] for curve in curves], axis=0)
    seeds = f"{len(curves)} seed{'s' * (len(curves) > 1)}"
    ax.plot(range(1, common + 1), mean, **style, markevery=max(1, common // 8), markersize=5, label=f"{arm}, {seeds}")


def panels(count: int, ylabel: str = "", *, height: float = 3.0, columns: int = 2) -> tuple[Figure, list[Axes]]:
    """A figure of panels with one vertical axis, narrow enough to be read on a phone; the panels row by row.

    Args:
        count: of panels.
        ylabel: of the vertical axis, at the left of every row.
        height: of a row, inches.
        columns: at most.
    """
    columns = min(columns, count)
    rows = -(-count // columns)
    width = 4.6 if count == 1 else 6.6  # inches
    figure, axes = plt.subplots(
        rows, columns, figsize=(width, height * rows), sharey=True, squeeze=False, layout="constrained",
        facecolor="white",
    )  # fmt: skip
    for ax in axes[:, 0]:
        ax.set_ylabel(ylabel)
    for ax in axes.flat[count:]:
        ax.axis("off")
    return figure, list(axes.flat[:count])


def finished(figure: Figure) -> Figure:
    """Out of pyplot's list, so that a notebook shows it once: as the value of its cell."""
    plt.close(figure)
    return figure
