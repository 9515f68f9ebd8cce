"""The figures that chapters share. Every function draws one figure and returns it; nothing is shown or saved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

try:
    import matplotlib.pyplot as plt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator
except ModuleNotFoundError:
    raise ModuleNotFoundError("figures need matplotlib: pip install 'alexnet_repro[book]'") from None

from alexnet_repro.claims.claim import Claim
from alexnet_repro.claims.records import Evidence
from alexnet_repro.claims.verdict import Verdict
from alexnet_repro.report.tables import counted
from alexnet_repro.training.record import Record

# Okabe and Ito's colours, which the colour-blind can tell apart; dashes and markers differ too, for print.
STYLES: tuple[dict[str, Any], ...] = (
    {"color": "#D55E00", "linestyle": "--", "marker": "s"},
    {"color": "#0072B2", "linestyle": "-", "marker": "o"},
    {"color": "#009E73", "linestyle": "-.", "marker": "^"},
    {"color": "#CC79A7", "linestyle": ":", "marker": "D"},
)


ROUND = (5, 10, 15, 20, 25, 30, 40, 50, 60, 80)  # percent, marked on a logarithmic axis


def _styled(lines: Iterable[Any]) -> list[tuple[dict[str, Any], Any]]:
    """The lines of a panel with a style each; ``ValueError`` if there are more of them than styles."""
    lines = list(lines)
    if len(lines) > len(STYLES):
        raise ValueError(f"a panel can show {len(STYLES)} lines, not {len(lines)}: choose the records of some of them")
    return list(zip(STYLES, lines, strict=False))


def error_curves(
    runs: Mapping[str, Sequence[Record]],
    target: float | None = None,
    error: Literal["train_error", "val_error"] = "train_error",
) -> Figure:
    """An error per epoch, a panel per entry: every run as a thin line, the mean of each arm as a thick one.

    The mean ends with the shortest run of its arm. All panels span the same epochs, so that they can be compared.
    Validation errors have a logarithmic axis: arms differ most at the end, where the errors are small.

    Args:
        runs: title -> records of one claim; may be empty.
        target: error to be marked by a horizontal line, as a fraction.
        error: the training error, or the validation error where the runs have it.
    """
    figure, axes = panels(len(runs), "training error, %" if error == "train_error" else "validation error, %")
    longest = max((len(record.epochs) for records in runs.values() for record in records), default=1)
    for ax, (title, records) in zip(axes, runs.items(), strict=True):
        for style, arm in _styled(dict.fromkeys(record.arm for record in records)):
            _curves_of_arm(ax, arm, [r for r in records if r.arm == arm], style, error)
        if target is not None:
            ax.axhline(100 * target, color="black", linewidth=0.8)
            ax.annotate(f"{100 * target:.0f} %", (1, 100 * target), (-2, 3), ("axes fraction", "data"),
                        textcoords="offset points", ha="right")  # fmt: skip
        ax.set(title=title, xlabel="epochs", xlim=(0, 1.04 * longest))
        if error == "train_error":
            ax.set_ylim(0, 100)
        else:
            ax.set_yscale("log")
            ax.yaxis.set(major_locator=FixedLocator(ROUND), minor_locator=NullLocator(), major_formatter="{x:.0f}")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.grid(alpha=0.3)
        if records:
            ax.legend()
        else:
            _say_empty(ax)
    return finished(figure)


MEASURED = {
    "epochs_to_target": "epochs to the target",
    "epochs_to_train_error": "epochs to the training error",
    "epochs_to_val_error": "epochs to the validation error",
    "top1_error": "validation or test error",
    "train_eval_error": "training error in eval mode",
    "centre_error": "validation error, centre crop",
    "val_error_at_target": "validation error at equal training error",
    "generalization_gap": "generalization gap",
}


def effects(verdicts: Mapping[str, Verdict], sides: tuple[str, str] = ("without", "with")) -> Figure:
    """For each claim the measured effect with its 95 % interval, that of every pair of runs, and the paper's number.

    Args:
        verdicts: title -> verdict on a claim; all claims have the same kind of effect.
        sides: what to call baseline and treatment if they are not the same arms in all claims.
    """
    if not verdicts:
        return finished(panels(0)[0])
    claims = [result.claim for result in verdicts.values()]
    scale = claims[0].factor
    figure, ax = plt.subplots(figsize=(7, 1.4 + 0.6 * len(claims)), layout="constrained", facecolor="white")
    for row, (claim, result) in enumerate(zip(claims, verdicts.values(), strict=True)):
        if claim.paper_value is not None:
            ax.plot(scale * claim.paper_value, row, "D", color="#D55E00", label="paper")
        if result.estimate is None:
            continue
        pairs = [scale * value for value in result.values]
        ax.plot(pairs, [row + 0.2] * len(pairs), "|", color="black", markersize=8, label="each pair of runs")
        low, high = result.low, result.high
        label = "ours, no interval yet" if low is None or high is None else "ours, 95 % interval"
        ax.plot(scale * result.estimate, row, "o", color="#0072B2", label=label)
        if low is not None and high is not None:
            end = high if np.isfinite(high) else max(claim.paper_value or 0, result.estimate) * 1.3
            ax.plot([scale * low, scale * end], [row, row], color="#0072B2")
            if not np.isfinite(high):
                ax.plot(scale * end, row, ">", color="#0072B2")
    ax.axvline(scale * claims[0].no_effect, color="black", linewidth=0.8)
    ax.set_yticks(range(len(claims)), list(verdicts))
    ax.set_ylim(len(claims) - 0.5, -0.5)
    ax.set_xlabel(_effect_label(claims, sides))
    ax.grid(axis="x", alpha=0.3)
    handles = dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))  # each label once
    if handles:
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=3, frameon=False)
    return finished(figure)


def _effect_label(claims: Sequence[Claim], sides: tuple[str, str]) -> str:
    """The label of the axis of ``effects``; it names the arms if they are the same in all claims."""
    arms = {(claim.baseline.arm, claim.treatment.arm) for claim in claims}
    baseline, treatment = arms.pop() if len(arms) == 1 else sides
    of = {side.metric for claim in claims for side in (claim.baseline, claim.treatment)}
    what = MEASURED.get(of.pop(), "") if len(of) == 1 else ""
    what = f"{what}: " if what else ""
    if claims[0].effect == "ratio":
        return f"{what}{baseline} / {treatment} (1: no effect)"
    return f"{what}{baseline} minus {treatment}, points (0: no effect)"


def derivatives(runs: Mapping[str, Sequence[Record]]) -> Figure:
    """The mean derivative of every activation layer after training: a panel per arm, a line per title.

    A marker is the mean over seeds; its bar spans the smallest to the largest value.

    Args:
        runs: title -> records, whose arms are activation functions.
    """
    arms = dict.fromkeys(record.arm for records in runs.values() for record in records)
    figure, axes = panels(len(arms), "mean derivative, %")
    for ax, arm in zip(axes, arms, strict=True):
        of_arm = {title: [record for record in records if record.arm == arm] for title, records in runs.items()}
        for style, (title, records) in _styled((title, records) for title, records in of_arm.items() if records):
            frame = Evidence(records).runs()
            percents = 100 * frame[[column for column in frame if column.startswith("derivative_")]]
            mean = percents.mean()
            spread = [mean - percents.min(), percents.max() - mean]
            names = [layer.removeprefix("derivative_") for layer in percents]
            ax.errorbar(names, mean, spread, **style, capsize=3, label=title)
        ax.set(title=arm, xlabel="activation layer", ylim=(0, 100))
        ax.grid(alpha=0.3)
        ax.legend(fontsize=8)
    return finished(figure)


def first_losses(runs: Mapping[str, Sequence[float]], chance: float) -> Figure:
    """The loss in the first steps of training: a panel per run but the first, which is drawn behind each of the others.

    Losses above twice ``chance``, and those that are not finite, are drawn at the panel's upper edge.

    Args:
        runs: title -> loss at every step, in nats; the others are compared with the first.
        chance: loss of guessing, in nats, drawn as a horizontal line.
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


def run_curves(runs: Mapping[str, Record | None]) -> Figure:
    """Training and validation error per epoch, a panel per run.

    Args:
        runs: title -> record; None: the run was not made yet and has no panel.
    """
    made = {title: record for title, record in runs.items() if record is not None}
    figure, axes = panels(len(made), "top-1 error, %", height=3.4)
    for ax, (title, record) in zip(axes, made.items(), strict=True):
        curves = {"training": _curve(record, "train_error"), "validation, centre": _curve(record, "val_error")}
        for style, (label, errors) in zip(STYLES, curves.items(), strict=False):
            if errors:
                every = max(1, len(errors) // 8)
                ax.plot(range(1, len(errors) + 1), errors, **style, markevery=every, markersize=5, label=label)
        ax.set(title=title, xlabel="epoch", ylim=(0, 100))
        ax.set_xlim(left=0)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.grid(alpha=0.3)
        ax.legend(fontsize=8)
    return finished(figure)


def _curve(record: Record, error: str) -> list[float]:
    """An error after every epoch for which it is recorded, in percent; it is not if the run diverged."""
    return [100 * value for epoch in record.epochs if (value := epoch.get(error)) is not None]


def _curves_of_arm(ax: Axes, arm: str, records: Sequence[Record], style: Mapping[str, Any], error: str) -> None:
    curves = [_curve(record, error) for record in records]
    for curve in curves:
        ax.plot(range(1, len(curve) + 1), curve, color=style["color"], alpha=0.35, linewidth=0.8)
    common = min(len(curve) for curve in curves)
    mean = np.mean([curve[:common] for curve in curves], axis=0)
    seeds = counted(len(curves), "seed")
    ax.plot(range(1, common + 1), mean, **style, markevery=max(1, common // 8), markersize=5, label=f"{arm}, {seeds}")


def panels(count: int, ylabel: str = "", *, height: float = 3.0, columns: int = 2) -> tuple[Figure, list[Axes]]:
    """A figure of panels that share the vertical axis, narrow enough for a phone; and its panels, row by row.

    A figure without panels says that no runs are recorded yet.

    Args:
        count: number of panels.
        ylabel: label of the vertical axis, at the left of every row.
        height: height of a row, inches.
        columns: largest number of columns.
    """
    columns = max(1, min(columns, count))
    rows = max(1, -(-count // columns))
    width = 4.6 if count <= 1 else 6.6  # inches
    figure, axes = plt.subplots(
        rows, columns, figsize=(width, height * rows), sharey=True, squeeze=False, layout="constrained",
        facecolor="white",
    )  # fmt: skip
    for ax in axes[:, 0]:
        ax.set_ylabel(ylabel)
    for ax in axes.flat[count:]:
        ax.axis("off")
    if not count:
        _say_empty(axes[0, 0])
    return figure, list(axes.flat[:count])


def _say_empty(ax: Axes) -> None:
    ax.annotate("no runs recorded yet", (0.5, 0.5), xycoords="axes fraction", ha="center")


def finished(figure: Figure) -> Figure:
    """Closes the figure in pyplot, so that a notebook shows it only once, as the value of its cell."""
    plt.close(figure)
    return figure
