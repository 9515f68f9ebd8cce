"""Figures and tables about single runs, from what ``runs.run`` leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alexnet_repro import paper
from alexnet_repro.config import TrainConfig
from alexnet_repro.evidence import EVIDENCE_FOLDER, recorded_run_path
from alexnet_repro.plots import STYLES, finished, panels, plt
from alexnet_repro.recipes import FULL_RUN
from alexnet_repro.runs import load_result
from alexnet_repro.table import Table

Result = Mapping[str, Any]


def recorded_run(scale: str, folder: Path = EVIDENCE_FOLDER) -> dict[str, Any] | None:
    """The recorded full run at a scale, or None if there is none.

    Args:
        scale: "smoke", "laptop" or "paper".
        folder: of the evidence.

    Raises:
        CheckpointError: it is damaged or stale.
    """
    path = recorded_run_path(scale, folder)
    return load_result(path, FULL_RUN[scale]) if path.exists() else None


def rates(trainings: Mapping[str, TrainConfig], layers: Sequence[str]) -> plt.Figure:
    """The learning rates of some layers' weights in every epoch, a panel a training; where colour noise is off, grey.

    A rate of 0 is drawn at the lower edge.

    Args:
        trainings: title -> recipe, whose schedule looks at no validation errors.
        layers: their names.
    """
    figure, axes = panels(len(trainings), "learning rate of the weights")
    for ax, (title, config) in zip(axes, trainings.items(), strict=True):
        epochs = range(1, config.epochs + 1)
        stages = [config.stage(epoch) for epoch in epochs]
        lowest = min(config.lr * stage.rate for stage in stages) / 10
        for style, layer in zip(STYLES, layers, strict=False):
            values = [max(lowest, config.lr * stage.layer_rates.get(layer, stage.rate)) for stage in stages]
            ax.step(epochs, values, where="mid", **style, markevery=10, markersize=5, label=layer)
        quiet = [epoch for epoch, stage in zip(epochs, stages, strict=True) if not stage.color]
        if quiet:
            ax.axvspan(quiet[0] - 0.5, quiet[-1] + 0.5, color="0.85", label="no colour noise")
        ax.set(title=title, xlabel="epoch", yscale="log")
        ax.grid(alpha=0.3)
        ax.legend(fontsize=8)
    return finished(figure)


def run_curves(results: Mapping[str, Result | None], references: Mapping[str, float] | None = None) -> plt.Figure:
    """Training and validation error per epoch, a panel a run.

    Args:
        results: title -> what a run left; None: it was not made yet, and has no panel.
        references: label -> an error to be marked by a horizontal line, fraction.
    """
    made = {title: result for title, result in results.items() if result is not None}
    figure, axes = panels(len(made), "top-1 error, %", height=3.4)
    for ax, (title, result) in zip(axes, made.items(), strict=True):
        epochs = result["epochs"]
        curves = {"training": [e["train_error"] for e in epochs]}
        curves["validation, centre"] = [e["val"]["top1_error"] for e in epochs if e["val"]]
        for style, (label, errors) in zip(STYLES, curves.items(), strict=False):
            if errors:
                every = max(1, len(errors) // 8)
                percents = [100 * error for error in errors]
                ax.plot(range(1, len(errors) + 1), percents, **style, markevery=every, markersize=5, label=label)
        for i, (label, error) in enumerate((references or {}).items()):
            ax.axhline(100 * error, color="black", linestyle=("-", ":")[i % 2], linewidth=0.8, label=label)
        ax.set(title=title, xlabel="epoch", ylim=(0, 100))
        ax.set_xlim(left=0)
        ax.xaxis.set_major_locator(plt.MaxNLocator(integer=True))
        ax.grid(alpha=0.3)
        ax.legend(fontsize=8)
    return finished(figure)


def run_table(results: Mapping[str, Result | None]) -> Table:
    """Per run what it was and its final errors in percent, of the centre and of all views; then the published ones.

    Args:
        results: title -> what a run left, or None if it was not made yet.
    """
    rows = [[title, *_described(result)] for title, result in results.items()]
    year_2010, run_2010 = paper.ERRORS_2010, paper.RUN145_ERRORS_2010
    for name, centre, ten in (
        ("paper, ILSVRC-2010 test", year_2010["centre"], year_2010["ten"]),
        ("run 145, ILSVRC-2010 test", run_2010["centre"], run_2010["ten"]),
        ("paper, ILSVRC-2012 validation", None, paper.ERRORS_2012),
        ("run 145, ILSVRC-2012 validation", None, paper.RUN145_ERRORS_2012),
    ):
        rows.append([name, "1000", "about 90", _pair(centre), _pair(ten)])
    header = ["run", "classes", "epochs", "centre: top-1 / top-5, %", "ten views: top-1 / top-5, %"]
    return Table(header, rows)


def _described(result: Result | None) -> list[str]:
    if result is None:
        return ["-", "not run", "-", "-"]
    last, final = result["epochs"][-1]["val"], result["final"]
    centre = None if not last else (last["top1_error"], last.get("top5_error"))
    ten = (final["top1_error"], final.get("top5_error"))
    return [str(result["config"]["net"]["num_classes"]), str(len(result["epochs"])), _pair(centre), _pair(ten)]


def _pair(errors: tuple[float, float | None] | None) -> str:
    return "-" if errors is None else " / ".join("-" if error is None else f"{100 * error:.1f}" for error in errors)
