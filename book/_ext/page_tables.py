"""What pages say about the records: tables, findings and three images. ``python book/_ext/page_tables.py PAGE ...``."""

from __future__ import annotations

import io
import os
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import costs
import forest
from matplotlib.figure import Figure
from scipy.stats import ttest_1samp

from alexnet_repro import CLAIMS, load_evidence, paper, verdict
from alexnet_repro.claims.alexnet_studies import ALEXNET, LAPTOP_DEPARTURES, PILOT
from alexnet_repro.claims.claim import LOOKS, NO_VERDICT, Claim, Metric, Outcome
from alexnet_repro.claims.ledger import EQUALLY_FITTED
from alexnet_repro.claims.records import BOOK
from alexnet_repro.claims.studies import STUDIES
from alexnet_repro.claims.verdict import Verdict, measured
from alexnet_repro.report import figures
from alexnet_repro.report.in_short import up_to_date
from alexnet_repro.report.tables import ERRORS, counted, judged, number, percent, scoreboard, statements
from alexnet_repro.support.files import write_atomically
from alexnet_repro.support.table import Table

IMAGES = BOOK / "_static"

# What a reader should know first: a chapter, the verdicts that the words were written for, and the words.
FINDINGS = (
    (
        "03_relu",
        {"relu": "reproduced", "relu-local": "smaller", "relu-scaled": "smaller", "relu-modern": "smaller"},
        "**ReLU was more than six times faster in one of two plausible networks.** With unscaled pixels, tanh needs "
        "{relu} as many epochs as ReLU to reach 25 % training error on CIFAR-10; the paper says 6x. In the other "
        "network the ratio is {relu-local}. With standardized pixels the first network's ratio is {relu-scaled}, and "
        "under a modern protocol {relu-modern}.",
    ),
    (
        "04_lrn",
        {"lrn": "reproduced", "lrn-two": "reproduced", "lrn-k-1": "no effect found", "lrn-cifar": "no effect found"},
        "**Normalization lowered the error of a small AlexNet, but not visibly that of a CIFAR-10 network.** On ten "
        "classes of ImageNet, AlexNet at a quarter of its width has an error that is {lrn-two} lower with the paper's "
        "two normalizations than without, and {lrn} lower with the three that were run; the paper reports 1.4, on a "
        "thousand classes. With k = 1 we found no gain ({lrn-k-1}), and none on CIFAR-10 ({lrn-cifar}), where the "
        "paper reports 2 points. Of the two pairs of networks that the paper may mean we used the cleaner one, and "
        "trained for fewer epochs than one of its files asks for.",
    ),
    (
        "11_paper_vs_code",
        {},
        "**What was printed is not what was run.** The surviving files of run 145, the network behind the paper's "
        "reported errors, have a third normalization that the paper does not mention, and divide alpha by the size of "
        "the window.",
    ),
)
ASKED = ("lrn-cifar", "lrn", "colour", "ten-crop")  # claims on the page of questions


def with_tables(text: str, book: str, results: Sequence[Verdict]) -> str:
    """A Markdown text in which every one of the ``TABLES`` whose ``markers`` it has is brought up to date.

    Args:
        text: a page that has both markers of at least one of the tables.
        book: the folder of the chapters, as the page's links must name it ("" where the page lies in it).
        results: verdicts on all claims, from ``judged``.

    Raises:
        ValueError: it has no markers, or only one of a pair.
    """
    found = [name for name in TABLES if any(marker in text for marker in markers(name))]
    if not found:
        begin, end = markers("claims")
        raise ValueError(f"expected the lines {begin!r} and {end!r} around the table")
    for name in found:
        table = TABLES[name](results, book)
        text = between(text, *markers(name), table.to_markdown() if isinstance(table, Table) else table)
    return text


def markers(name: str) -> tuple[str, str]:
    """The two lines that enclose one of the ``TABLES`` on a page."""
    return f"<!-- {name}: written by `make notebooks`; do not edit -->", f"<!-- {name} end -->"


def between(text: str, begin: str, end: str, content: str) -> str:
    """The text with ``content`` in place of the text between two markers; ``ValueError`` if one is missing."""
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"expected both {begin!r} and {end!r}, or neither")
    return f"{before}{begin}\n\n{content}\n\n{end}{after}"


def _linked_claims(results: Sequence[Verdict], book: str) -> Table:
    links = [
        f"[{statement}]({book}{result.claim.chapter}.ipynb)"
        for statement, result in zip(statements(results), results, strict=True)
    ]
    return scoreboard(results, links)


def findings(results: Sequence[Verdict], book: str) -> str:
    """What a reader should know first, as a list with links to the chapters."""
    items = [
        f"* {up_to_date(verdicts, words, results)} ([why]({book}{chapter}.ipynb))"
        for chapter, verdicts, words in FINDINGS
    ]
    return "\n".join(items)


def verdict_counts(results: Sequence[Verdict]) -> str:
    """How many claims have each verdict at the paper's own scale, at a smaller one, and none yet, in three lines."""
    lines = []
    for kind, whole in {"At the paper's scale": True, "At small scale": False}.items():
        found = [result.outcome for result in results if (result.scale == "paper") == whole]
        counts = {word: found.count(word) for word in get_args(Outcome) if word not in NO_VERDICT}
        lines.append(f"{kind}: " + (", ".join(f"**{n}** {word}" for word, n in counts.items() if n) or "none yet"))
    left = [result for result in results if result.outcome in NO_VERDICT]
    begun = sum(result.pairs > 0 for result in left)
    lines.append(f"No verdict yet: **{len(left)}**, {begun} of them with some runs")
    return "\n".join(f"* {line}" for line in lines)


def figure_one() -> Figure:
    """Figure 1 of the paper from the recorded runs, with our ratio and the paper's."""
    (result,) = judged("relu")
    figure = figures.error_curves({"": load_evidence("relu", "paper")}, target=paper.RELU_TARGET_ERROR)
    figure.set_size_inches(7, 3)
    ax = figure.axes[0]
    slow, fast = (statistics.mean(side) for side in (result.baseline, result.treatment))
    ax.annotate("", (fast, 20), (slow, 20), arrowprops={"arrowstyle": "<->", "shrinkA": 0, "shrinkB": 0})
    text = f"tanh needs {result.summary()} as many epochs; the paper: {result.claim.paper_summary()}"
    ax.annotate(text, ((slow + fast) / 2, 17), ha="center", va="top")
    return figure


FIGURES: dict[str, Callable[[], Figure]] = {"figure1": figure_one, "costs": costs.cost_curves}


def as_png(figure: Figure) -> bytes:
    """The figure as a PNG image."""
    file = io.BytesIO()
    figure.savefig(file, dpi=150, metadata={"Software": None})
    return file.getvalue()


def asked_table(results: Sequence[Verdict], book: str) -> Table:
    """The claims on the page of questions: link, the paper's number, the 2012 run's, ours, and the verdict."""
    asked = [result for result in results if result.claim.id in ASKED]
    rows = [[*row[:1], *row[2:5], *row[-1:]] for row in _linked_claims(asked, book).rows]
    return Table(["claim", "paper", "2012", "ours", "verdict"], rows)


def remaining_table(results: Sequence[Verdict]) -> Table:
    """For each claim without a verdict its state, and the command that completes it.

    Args:
        results: verdicts on the claims, from ``judged``.
    """
    rows = []
    for result in results:
        claim = result.claim
        if result.outcome not in NO_VERDICT:
            continue
        smallest = result.smallest_effect()
        seeds = f" ({counted(result.pairs, 'seed')})" if result.pairs else ""
        command = "-" if result.outcome == "exploratory" else claim.command(result.scale, result.pairs)
        rows.append([claim.id, result.outcome + seeds, claim.number(smallest), f"`{command}`"])
    return Table(["claim", "state", "smallest effect that would be found", "command that completes it"], rows)


def measures_table(results: Sequence[Verdict]) -> Table:
    """The effects on errors of several views, with the centre crop alone, and at equal training error.

    Args:
        results: verdicts on the claims, from ``judged``.
    """
    rows = []
    for result, statement in zip(results, statements(results), strict=True):
        claim, sides = result.claim, (result.claim.baseline, result.claim.treatment)
        if not result.pairs or claim.effect != "difference" or {side.metric for side in sides} != {"top1_error"}:
            continue
        centre = _measured_in(claim, "centre_error", result.scale)
        fitted = _measured_in(claim, "val_error_at_target", result.scale) if claim.study is ALEXNET else None
        cells = [f"{each.summary()}: {each.words}" for each in (result, centre)]
        rows.append([statement, *cells, "-" if fitted is None else fitted.summary()])
    return Table(["claim", "all views", "centre crop alone", "centre crop, at equal training error"], rows)


def _measured_in(claim: Claim, metric: Metric, scale: str | None) -> Verdict:
    """What the claim's runs say in another metric; of overfitting at the target that claims on it have."""
    baseline, treatment = (replace(side, metric=metric) for side in (claim.baseline, claim.treatment))
    target = EQUALLY_FITTED if metric == "val_error_at_target" else claim.target
    return verdict(
        replace(claim, baseline=baseline, treatment=treatment, target=target, scales=tuple(target) or claim.scales),
        load_evidence(claim, scale),
    )


def correction(results: Sequence[Verdict]) -> str:
    """How many effects at small scale would remain if one corrected for the number of claims."""
    tested = [r for r in results if r.scale == "laptop" and r.pairs >= LOOKS[0] and len(r.values) == r.pairs]
    chances = {
        r.claim.id: float(ttest_1samp([r.claim.additive(value) for value in r.values], 0).pvalue) for r in tested
    }
    kept: list[str] = []
    for left, (name, chance) in zip(
        range(len(chances), 0, -1), sorted(chances.items(), key=lambda item: item[1]), strict=True
    ):
        if chance > 0.05 / left:
            break
        kept.append(name)
    reproduced = [r.claim.id for r in tested if r.outcome == "reproduced"]
    names = ", ".join(f"*{name}*" for name in reproduced if name in kept)
    return (
        f"If one corrects for all {len(tested)} effects that are compared with zero at small scale (Holm's method, "
        f"5 %), {len(set(reproduced) & set(kept))} of the {len(reproduced)} that are *reproduced* remain: {names}."
    )


def departures_table() -> Table:
    """What run 145 did, what its copy at scale laptop does instead, and why."""
    rows = [[what, *cells] for what, cells in LAPTOP_DEPARTURES.items()]
    return Table(["", "run 145, 2012", "scale laptop", "because"], rows)


def pilot_table() -> Table:
    """The pilot's errors that were looked at before the protocol was fixed, in percent, and how long its runs took."""
    rows = []
    for record in load_evidence(PILOT):
        errors = [measured(record, metric) for metric in ERRORS]
        rows.append([record.arm, str(record.seed), *map(percent, errors), number(record.seconds / 60)])
    return Table(["arm", "seed", *ERRORS.values(), "minutes"], rows)


def budget_table() -> Table:
    """The time to record AlexNet's study at scale laptop, by its recorded runs; arms without runs count as the mean."""
    minutes: dict[str, list[float]] = {arm: [] for arm in ALEXNET.protocol("laptop").arms}
    for record in load_evidence(ALEXNET, "laptop"):
        minutes[record.arm].append(record.seconds / 60)
    typical = {arm: statistics.median(times) for arm, times in minutes.items() if times}
    hours = {arm: LOOKS[0] * time / 60 for arm, time in typical.items()}
    rows = [[arm, str(len(minutes[arm])), number(typical.get(arm)), number(hours.get(arm))] for arm in minutes]
    total = len(minutes) * statistics.mean(hours.values()) if hours else None
    rows.append(["all", str(sum(map(len, minutes.values()))), "", number(total)])
    return Table(["arm", "runs recorded", "minutes per run", f"hours for {LOOKS[0]} seeds"], rows)


def images_table() -> Table:
    """The images on which the recorded runs trained and were evaluated, with the beginning of their sha256."""
    records = [r for study in STUDIES.values() for scale in study.protocols for r in load_evidence(study, scale)]
    found = {(data["name"], split, data["images"], data["sha256"]) for r in records for split, data in r.data.items()}
    rows = [[name, split, f"{images:,}", f"`{sha256[:16]}`"] for name, split, images, sha256 in sorted(found)]
    return Table(["data set", "split", "images", "sha256 begins with"], rows)


# Name -> function of the verdicts on all claims and the chapters' folder that makes the text between the markers.
TABLES: Mapping[str, Callable[[Sequence[Verdict], str], Table | str]] = {
    "claims": _linked_claims,
    "findings": findings,
    "counts": lambda results, _: verdict_counts(results),
    "forest": forest.html,
    "remaining": lambda results, _: remaining_table(results),
    "costs": lambda *_: costs.cost_table(),
    "gpu": lambda *_: costs.gpu_table(),
    "processes": lambda *_: costs.processes_table(),
    "speed": lambda *_: costs.speed_table(),
    "times": lambda *_: costs.times_table(),
    "first": lambda *_: costs.first_command(),
    "measures": lambda results, _: measures_table(results),
    "correction": lambda results, _: correction(results),
    "departures": lambda *_: departures_table(),
    "pilot": lambda *_: pilot_table(),
    "budget": lambda *_: budget_table(),
    "asked": asked_table,
    "images": lambda *_: images_table(),
}


def updated(results: Sequence[Verdict], page: Path) -> str:
    """The page's text with its tables brought up to date; ``ValueError`` names the page if its markers are wrong."""
    book = os.path.relpath(BOOK, page.resolve().parent)
    try:
        return with_tables(page.read_text(encoding="utf-8"), "" if book == "." else f"{book}/", results)
    except ValueError as error:
        raise ValueError(f"{page}: {error}") from error


if __name__ == "__main__":
    everything = judged(*CLAIMS)
    new: dict[Path, str | bytes] = {page: updated(everything, page) for page in map(Path, sys.argv[1:])}
    new[IMAGES / "claims.svg"] = forest.image(everything)
    new |= {IMAGES / f"{name}.png": as_png(make()) for name, make in FIGURES.items()}
    for path, content in new.items():
        write_atomically(path, content)
