"""The tables that chapters share: what claims and records say, in rows of text."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import groupby, zip_longest
from statistics import fmean

from alexnet_repro import paper
from alexnet_repro.claims.cifar_studies import LR_SEARCHES
from alexnet_repro.claims.claim import Claim, Metric
from alexnet_repro.claims.ledger import CLAIMS
from alexnet_repro.claims.records import load_evidence
from alexnet_repro.claims.verdict import Verdict, fastest, measured, verdict
from alexnet_repro.support.table import Table
from alexnet_repro.support.values import chosen
from alexnet_repro.training.record import Record

Folder = str | os.PathLike[str] | None


def by_arm(values: Mapping[str, str]) -> str:
    """The value once if all arms share it, otherwise arm by arm."""
    if len(set(values.values())) == 1:
        return next(iter(values.values()))
    return "; ".join(f"{arm}: {value}" for arm, value in values.items())


def number(value: float | None) -> str:
    """The value with one decimal; "-" if it is missing."""
    return "-" if value is None else f"{value:.1f}"


def percent(fraction: float | None) -> str:
    """A fraction in percent, with one decimal; "-" if it is missing."""
    return "-" if fraction is None else number(100 * fraction)


def counted(count: int, what: str) -> str:
    """The number and the word, which is in the plural unless the number is one."""
    return f"{count} {what}{'s' * (count != 1)}"


def machine(record: Record) -> str:
    """The device that a run used, and its number of threads."""
    return f"{record.environment['device']}, {counted(record.environment['threads'], 'thread')}"


def run_table(runs: Mapping[str, Sequence[Record]]) -> Table:
    """One row per run: its length in epochs, its errors in percent, and when it reached its target if it had one.

    Args:
        runs: title -> records; the title is not shown if there is only one.
    """
    records = [record for of_title in runs.values() for record in of_title]
    numbers = {
        "training error, %": ("train_error", percent),
        "test error, %": ("top1_error", percent),
        "epochs to target": ("epochs_to_target", number),
    }
    there = {
        header: (name, written)
        for header, (name, written) in numbers.items()
        if not records or any(name in record.final for record in records)
    }
    first = int(len(runs) == 1)
    rows = [
        [title, record.arm, str(record.seed), str(len(record.epochs))]
        + [written(record.final.get(name)) for name, written in there.values()]
        for title, of_title in runs.items()
        for record in of_title
    ]
    return Table(["runs", "arm", "seed", "epochs", *there][first:], [row[first:] for row in rows])


def evidence_table(runs: Mapping[str, Sequence[Record]]) -> Table:
    """The scale, data, network, recipe, hardware and seeds of recorded runs, listed per arm where they differ.

    Args:
        runs: title -> records of one claim at one scale. If they come from ``load_evidence``, arms without records are
            named too.
    """
    rows = []
    for title, records in runs.items():
        arms: dict[str, list[Record]] = {arm: [] for arm in getattr(records, "arms", ())}
        for record in records:
            arms.setdefault(record.arm, []).append(record)
        described = {arm: _run_description(of_arm) for arm, of_arm in arms.items() if of_arm}
        seeds = {arm: ", ".join(str(record.seed) for record in arms[arm]) or "none recorded" for arm in arms}
        if described:
            columns = [dict(zip(described, column, strict=True)) for column in zip(*described.values(), strict=True)]
            rows.append([title, *map(by_arm, [*columns, seeds])])
    return Table(["runs", "scale", "data", "network", "recipe", "hardware", "seeds"], rows)


def _run_description(records: Sequence[Record]) -> list[str]:
    """The scale, data, network, recipe and hardware of one arm's runs."""
    config = records[0].config
    net, train = config["net"], config["train"]
    return [
        records[0].scale,
        f"{config['dataset']}: {records[0].data['train']['origin']}",
        f"{net['name']}, init {net['initialization']}",
        f"lr {train['lr']:g}, batches of {config['input']['batch_size']}, up to {train['epochs']} epochs",
        "; ".join(dict.fromkeys(map(machine, records))),
    ]


def verdict_table(*claims: str | Claim, folder: Folder = None) -> Table:
    """For each claim the paper's number, the 2012 run's, ours with its interval, and the verdict with its scale.

    Args:
        claims: claims, or ids of the book's.
        folder: folder of their evidence, as for ``load_evidence``.
    """
    return scoreboard(judged(*claims, folder=folder))


def judged(*claims: str | Claim, folder: Folder = None) -> list[Verdict]:
    """The verdict on each claim, at the scale that ``load_evidence`` chooses; ``ValueError`` for an unknown id."""
    found = [chosen("claim", claim, CLAIMS) if isinstance(claim, str) else claim for claim in claims]
    return [verdict(claim, load_evidence(claim, folder=folder)) for claim in found]


EFFECT = "ours, 95\u00a0% interval"  # no line break between the number and its sign


def scoreboard(results: Sequence[Verdict], first: Sequence[str] | None = None) -> Table:
    """``verdict_table`` for claims that are judged already.

    Args:
        results: their verdicts, from ``judged``.
        first: the first column; None: the claims' statements.
    """
    rows = [
        [
            cell,
            result.claim.section,
            result.claim.paper_summary(),
            result.claim.number(result.claim.original_value),
            result.summary(),
            str(result.scale) if result.pairs else "-",
            str(result.pairs),
            result.words,
        ]
        for cell, result in zip(first or statements(results), results, strict=True)
    ]
    return Table(["claim", "section", "paper", "2012 run", EFFECT, "scale", "seeds", "verdict"], rows)


def statements(results: Sequence[Verdict]) -> list[str]:
    """Each claim's statement, or only its variant if the rest is the same as in the statement before."""
    claims = [result.claim for result in results]
    return [
        f"… {claim.variant}" if before is not None and claim.subject == before.subject else claim.statement
        for before, claim in zip([None, *claims], claims, strict=False)
    ]


def pair_table(*claims: str | Claim, folder: Folder = None) -> Table:
    """For each claim and seed both arms' numbers and the effect; then the smallest effect that these pairs would find.

    Errors and their differences are in percent and points, times in epochs.

    Args:
        claims, folder: as for ``verdict_table``.
    """
    rows = []
    for result in judged(*claims, folder=folder):
        claim, (written, unit) = result.claim, (number, "epochs") if result.claim.effect == "ratio" else (percent, "%")
        values = result.values or [None] * result.pairs
        for seed, *sides, value in zip(result.seeds, result.baseline, result.treatment, values, strict=True):
            found = ("-" if side is None else f"{written(side)} {unit}" for side in sides)
            rows.append([claim.id, str(seed), *found, claim.number(value, ".1f")])
        if (smallest := result.smallest_effect()) is not None:
            rows.append([claim.id, "detectable", "", "", claim.number(smallest)])
    return Table(["claim", "seed", "baseline", "treatment", "effect"], rows)


ERRORS: Mapping[Metric, str] = {  # metric -> head of its column: what a run ended with
    "train_eval_error": "training images, %",
    "centre_error": "validation or test images, centre crop, %",
    "generalization_gap": "gap, points",
    "top1_error": "all views, %",
}


def arm_table(*claims: str | Claim, folder: Folder = None) -> Table:
    """Mean final errors of every arm in percent, all in eval mode.

    They tell an arm that fits its training images better from one that generalizes better. Images that a run did not
    train on are its validation set, or its test set on CIFAR-10; the gap is the difference between the error on them,
    with the centre crop, and that on training images. The last column averages the predictions for all test-time views.

    Args:
        claims: claims of one study, or their ids; every arm that one of them compares has a row, at each scale of its
            runs.
        folder: folder of their evidence, as for ``load_evidence``.
    """
    loaded = [load_evidence(claim, folder=folder) for claim in claims]
    records = {record.path: record for evidence in loaded for record in evidence}.values()
    several = len({record.scale for record in records}) > 1
    rows = []
    for arm, scale in dict.fromkeys((record.arm, record.scale) for record in records):
        runs = [record for record in records if (record.arm, record.scale) == (arm, scale)]
        errors = [_mean(runs, metric) for metric in ERRORS]
        rows.append([f"{arm}, scale {scale}" if several else arm, str(len(runs)), *map(percent, errors)])
    return Table(["arm", "runs", *ERRORS.values()], rows)


def _mean(runs: Sequence[Record], metric: Metric) -> float | None:
    """The mean over the runs that have this metric; None if none has it, as for networks that see whole images."""
    needed = ("centre_error", "train_eval_error") if metric == "generalization_gap" else (metric,)
    have = [run for run in runs if run.ended == "diverged" or all(run.final.get(name) is not None for name in needed)]
    found = [measured(run, metric) for run in have]
    return fmean(number for number in found if number is not None) if found else None


def repeat_table(recorded: Sequence[Record], repeated: Sequence[Record]) -> Table:
    """For each run and number the recorded and the repeated value, and whether they are the same to the last bit.

    Args:
        recorded, repeated: records of the same runs in the same order.
    """
    rows = []
    for old, new in zip(recorded, repeated, strict=True):
        run = [old.arm, str(old.seed)]
        curves = [[epoch | {"seconds": None} for epoch in record.epochs] for record in (old, new)]
        first = next((i for i, (a, b) in enumerate(zip_longest(*curves), start=1) if a != b), None)
        lengths = (str(len(curve)) for curve in curves)
        rows.append([*run, "epochs", *lengths, "identical" if first is None else f"from epoch {first} on"])
        for name in old.final | new.final:
            a, b = old.final.get(name), new.final.get(name)
            numbers = ("-" if value is None else f"{value:.6g}" for value in (a, b))
            change = "identical" if a == b else "-" if a is None or b is None else f"{b - a:+.2g}"
            rows.append([*run, name, *numbers, change])
    return Table(["arm", "seed", "number", "recorded", "repeated", "difference"], rows)


def lr_table(claims: Mapping[str, str]) -> Table:
    """For each claim and activation function, the learning rates tried, their results, which was first at the target or
    closest to it, and which one the claim's runs have.

    Args:
        claims: title -> id.
    """
    rows = []
    for title, claim in claims.items():
        records = load_evidence(LR_SEARCHES[claim], "paper")  # one activation function after the other
        for activation, group in groupby(records, lambda record: record.config["net"]["activation"]):
            tried = list(group)
            best, used = fastest(tried), CLAIMS[claim].protocol("paper").arms[activation].train.lr
            rows += [
                [
                    f"{title}: {activation}",
                    f"{record.config['train']['lr']:g}",
                    number(record.final["epochs_to_target"]),
                    "diverged" if record.ended == "diverged" else percent(record.final["train_error"]),
                    ", ".join(["first"] * (record is best) + ["compared"] * (record.config["train"]["lr"] == used)),
                ]
                for record in tried
            ]
    return Table(["runs", "learning rate", "epochs to target", "last training error, %", "choice"], rows)


def full_run_table(runs: Mapping[str, Record | None]) -> Table:
    """Each run's classes, epochs and final errors in percent, centre crop and all views; then the published ones.

    Args:
        runs: title -> record, or None if it was not made yet.
    """
    rows = [[title, *_final_errors(record)] for title, record in runs.items()]
    year_2010, run_2010 = paper.ERRORS_2010, paper.RUN145_ERRORS_2010
    for name, centre, ten in (
        ("paper, ILSVRC-2010 test", year_2010["centre"], year_2010["ten"]),
        ("run 145, ILSVRC-2010 test", run_2010["centre"], run_2010["ten"]),
        ("paper, ILSVRC-2012 validation", None, paper.ERRORS_2012),
        ("run 145, ILSVRC-2012 validation", None, paper.RUN145_ERRORS_2012),
    ):
        rows.append([name, "1000", "about 90", _pair(*centre) if centre else "-", _pair(*ten)])
    header = ["run", "classes", "epochs", "centre: top-1 / top-5, %", "ten views: top-1 / top-5, %"]
    return Table(header, rows)


def _final_errors(record: Record | None) -> list[str]:
    if record is None:
        return ["-", "not run", "-", "-"]
    last, final = record.epochs[-1], record.final
    centre = _pair(last["val_error"], last.get("val_top5_error")) if "val_error" in last else "-"
    ten = _pair(final.get("top1_error"), final.get("top5_error"))
    return [str(record.config["net"]["num_classes"]), str(len(record.epochs)), centre, ten]


def _pair(top1: float | None, top5: float | None) -> str:
    return f"{percent(top1)} / {percent(top5)}"
