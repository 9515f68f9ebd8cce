"""Figures of networks, their filters, images and learning rates. Each function draws one figure and returns it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO

import numpy as np
import torch
from torch import Tensor

from alexnet_repro.data.augment import PCAColor
from alexnet_repro.data.dataset import IMAGES_AT_A_TIME, Dataset
from alexnet_repro.networks.build import Network
from alexnet_repro.networks.inspect import color_share, orientation
from alexnet_repro.networks.spec import Conv, Linear
from alexnet_repro.report.figures import STYLES, Figure, finished, panels, plt
from alexnet_repro.training.config import TrainConfig
from alexnet_repro.training.evaluate import evenly_spaced

DOTS = 2000  # roughly how many pixels are drawn of a data set


def layer_costs(network: Network) -> Figure:
    """For each layer with weights, bars of its share of all activations, parameters and multiply-adds.

    Args:
        network: the network whose layers are compared.
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
    """The towers as rows of boxes, one per layer with weights, with arrows to each box from those that it reads.

    Args:
        network: the network whose towers are drawn.
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

    middle, shapes = (towers - 1) / 2, network.shapes
    box(0, middle, "image")
    for column, layer in enumerate(layers, start=1):
        rows = [0] if column == output else range(towers)  # the output layer is only in the first tower
        units = shapes[layer.name][0]
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


def pooling_windows(windows: Mapping[str, tuple[int, int]], cells: int) -> Figure:
    """A row of cells for each way of pooling, with a bar below it for each window; every second bar is lower.

    Args:
        windows: title -> size and stride, in cells; the last window may extend beyond the edge.
        cells: number of cells in a row.
    """
    figure, axes = plt.subplots(len(windows), 1, figsize=(7, 1.1 * len(windows)), layout="constrained", squeeze=False)
    for ax, (title, (size, step)) in zip(axes[:, 0], windows.items(), strict=True):
        ax.broken_barh([(cell, 1) for cell in range(cells)], (0, 1), facecolor="white", edgecolor="black")
        for number, start in enumerate(range(0, cells - size + step, step)):
            style, low = STYLES[number % 2], -0.7 - 0.6 * (number % 2)
            ax.broken_barh([(start + 0.08, min(size, cells - start) - 0.16)], (low, 0.4), facecolor=style["color"])
        ax.set(xlim=(-0.1, cells + 0.1), ylim=(-1.5, 1.2), title=title)
        ax.axis("off")
    return finished(figure)


def images(rows: Mapping[str, Tensor]) -> Figure:
    """Rows of images, each row below its title.

    Args:
        rows: title -> (n, 3, H, W), pixel values; values outside 0..255 are clamped.
    """
    columns = max(len(row) for row in rows.values())
    height = 9 / columns + 0.3  # inches, with the title
    figure = plt.figure(figsize=(9, height * len(rows)), layout="constrained", facecolor="white")
    for part, (title, row) in zip(figure.subfigures(len(rows), 1, squeeze=False)[:, 0], rows.items(), strict=True):
        part.suptitle(title, x=0.01, ha="left", fontsize=10)
        axes = part.subplots(1, columns, squeeze=False)[0]
        for ax in axes[len(row) :]:
            ax.axis("off")
        for ax, image in zip(axes, row, strict=False):
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_color("0.7")  # so that a white image has an edge too
            ax.imshow(image.clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy())
    return finished(figure)


def jpeg(figure: Figure) -> object:
    """A figure of photographs as a JPEG image for a notebook, at a fraction of the size of a PNG image.

    Args:
        figure: for example one that ``images`` returns.
    """
    from IPython.display import Image

    file = BytesIO()
    figure.savefig(file, format="jpeg", dpi=100, pil_kwargs={"quality": 75})
    return Image(file.getvalue(), format="jpeg")


def color_axes(dataset: Dataset, color: PCAColor) -> Figure:
    """Pixels, evenly spaced, in three views of RGB space, with principal axes of two standard deviations either way.

    Args:
        dataset: the data set whose pixels are drawn.
        color: their principal axes.
    """
    images = dataset.images[evenly_spaced(len(dataset), IMAGES_AT_A_TIME)]
    whole = images.permute(0, 2, 3, 1).reshape(-1, 3)
    pixels, mean = whole[:: max(1, len(whole) // DOTS)].numpy(), dataset.moments.mean.numpy()
    figure, axes = plt.subplots(1, 3, figsize=(9, 3.3), layout="constrained", facecolor="white")
    for ax, (x, y) in zip(axes, ((0, 1), (2, 1), (0, 2)), strict=True):
        ax.scatter(pixels[:, x], pixels[:, y], c=pixels / 255, s=3)
        for number, (style, std) in enumerate(zip(STYLES, color.deviations, strict=False)):
            ends = mean[:, None] + np.outer(2 * std * color.axes[:, number], (-1, 1))
            ax.plot(ends[x], ends[y], **style, markersize=5, label=f"axis {number + 1}")
        ax.set(xlabel=f"{'RGB'[x]}, pixel values", ylabel=f"{'RGB'[y]}, pixel values", aspect="equal")
        ax.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    return finished(figure)


def kernels(networks: Mapping[str, Tensor]) -> Figure:
    """First-layer filters by share of colour and orientation: a panel per network, a marker style per tower.

    Args:
        networks: title -> weights of the first layer of two towers, (channels, 3, kernel, kernel).
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
    """The difference in colour between two towers' first filters, and between random halves of them: a row per entry.

    Args:
        runs: title -> results of ``inspect.tower_color``, one per network; further keys are ignored.
    """
    figure, ax = plt.subplots(figsize=(6.6, 1.4 + 0.3 * len(runs)), layout="constrained", facecolor="white")
    for row, networks in enumerate(runs.values()):
        for style, name, label in (
            (STYLES[1], "color_difference", "the two towers"),
            (STYLES[0], "color_difference_chance", "random halves, mean"),
        ):
            marks = style | {"linestyle": "none", "fillstyle": "none"}
            values = [100 * network[name] for network in networks]
            # not clipped, so that a mark at zero is drawn whole
            ax.plot(values, [row] * len(values), **marks, clip_on=False, label=None if row else label)
    ax.set(yticks=range(len(runs)), yticklabels=list(runs), ylim=(len(runs) - 0.5, -0.5))
    ax.set_xlabel("difference of the mean share of colour, points")
    ax.set_xlim(left=0)
    ax.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return finished(figure)


def learning_rates(trainings: Mapping[str, TrainConfig], layers: Sequence[str]) -> Figure:
    """The learning rates of some layers' weights in every epoch, a panel per recipe; grey where colour noise is off.

    A learning rate of 0 is drawn at the lower edge.

    Args:
        trainings: title -> recipe with a schedule that does not depend on validation errors.
        layers: names of the layers.
    """
    figure, axes = panels(len(trainings), "learning rate of the weights")
    for ax, (title, config) in zip(axes, trainings.items(), strict=True):
        epochs = range(1, config.epochs + 1)
        stages = [config.stage(epoch) for epoch in epochs]
        lowest = min(config.lr * stage.lr_factor for stage in stages) / 10
        for style, layer in zip(STYLES, layers, strict=False):
            values = [max(lowest, config.lr * stage.layer_lr_factors.get(layer, stage.lr_factor)) for stage in stages]
            ax.step(epochs, values, where="mid", **style, markevery=10, markersize=5, label=layer)
        quiet = [epoch for epoch, stage in zip(epochs, stages, strict=True) if not stage.color]
        if quiet:
            ax.axvspan(quiet[0] - 0.5, quiet[-1] + 0.5, color="0.85", label="no colour noise")
        ax.set(title=title, xlabel="epoch", yscale="log")
        ax.grid(alpha=0.3)
        ax.legend(fontsize=8)
    return finished(figure)
