"""The tables of claims on the front page, the scoreboard and README: ``python book/_ext/page_tables.py PAGE ...``."""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from alexnet_repro import CLAIMS, NetConfig, build, load_evidence, paper
from alexnet_repro.claims.alexnet_studies import ALEXNET, LAPTOP_DEPARTURES, PILOT
from alexnet_repro.claims.claim import LOOKS, NO_VERDICT, Measurement, Outcome
from alexnet_repro.claims.records import BOOK
from alexnet_repro.claims.verdict import Verdict, measured
from alexnet_repro.report.tables import judged, number, percent, scoreboard
from alexnet_repro.support.files import write_atomically
from alexnet_repro.support.table import Table

MARKERS = {
    name: (f"<!-- {name}: written by `make notebooks` from book/evidence; do not edit -->", f"<!-- {name} end -->")
    for name in ("claims", "counts", "glance", "remaining", "costs", "departures", "pilot", "budget", "asked")
}
ASKED = ("lrn-cifar", "lrn", "colour", "ten-crop")  # claims on the page of questions


def with_tables(text: str, book: str, results: Sequence[Verdict]) -> str:
    """A Markdown text with the tables between its ``MARKERS`` brought up to date.

    They are all claims, how many have which verdict, all claims at a glance, what is left to run and what ImageNet
    costs; of AlexNet's study in small how it departs from run 145, its pilot, and what all of it takes; the claims
    ``ASKED``.

    Args:
        text: a page that has both markers of at least one of the tables.
        book: the folder of the chapters, as the page's links must name it ("" where the page lies in it).
        results: what ``judged`` makes of all claims.

    Raises:
        ValueError: it has none, or only one of two markers.
    """
    if not any(marker in text for markers in MARKERS.values() for marker in markers):
        raise ValueError(f"expected the lines {MARKERS['claims'][0]!r} and {MARKERS['claims'][1]!r} around the table")
    make = {
        "claims": lambda: _linked_claims(results, book),
        "counts": lambda: verdict_counts(results),
        "glance": lambda: glance_table(results, book),
        "remaining": lambda: remaining_table(results),
        "costs": cost_table,
        "departures": departures_table,
        "pilot": pilot_table,
        "budget": budget_table,
        "asked": lambda: glance_table([result for result in results if result.claim.id in ASKED], book),
    }
    for name, (begin, end) in MARKERS.items():
        if begin in text or end in text:
            text = between(text, begin, end, make[name]().to_markdown())
    return text


def between(text: str, begin: str, end: str, content: str) -> str:
    """The text with the content in place of what stood between two markers; ``ValueError`` if one is missing."""
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"expected both {begin!r} and {end!r}, or neither")
    return f"{before}{begin}\n\n{content}\n\n{end}{after}"


def _linked_claims(results: Sequence[Verdict], book: str) -> Table:
    table = scoreboard(results)
    rows = [
        [f"[{statement}]({book}{result.claim.chapter}.ipynb)", *rest]
        for (statement, *rest), result in zip(table.rows, results, strict=True)
    ]
    return Table(table.header, rows)


def verdict_counts(results: Sequence[Verdict]) -> Table:
    """How many claims have which verdict, those at the paper's own scale apart from those in small."""
    outcomes = [outcome for outcome in get_args(Outcome) if outcome not in NO_VERDICT]
    kinds = {"at the paper's scale": ("paper",), "in small": ("smoke", "laptop", "gpu")}
    found = {kind: [r.outcome for r in results if r.scale in scales] for kind, scales in kinds.items()}
    rows = [[kind, *(str(of_kind.count(outcome)) for outcome in outcomes)] for kind, of_kind in found.items()]
    left = sum(result.outcome in NO_VERDICT for result in results)
    return Table(["claims", *outcomes], [*rows, ["no verdict yet", str(left), *[""] * (len(outcomes) - 1)]])


def glance_table(results: Sequence[Verdict], book: str) -> Table:
    """What ``scoreboard`` says, in fewer columns.

    Args:
        results: what ``judged`` makes of the claims.
        book: the folder of the chapters, as links must name it.
    """
    rows = []
    for link, _, printed, original, ours, _, _, words in _linked_claims(results, book).rows:
        rows.append([link, printed, original, ours, words])
    return Table(["claim", "paper", "2012", "ours", "verdict"], rows)


def remaining_table(results: Sequence[Verdict]) -> Table:
    """Per claim without a verdict how far it is, and the command that goes on with it.

    Args:
        results: what ``judged`` makes of the claims.
    """
    rows = []
    for result in results:
        claim = result.claim
        if result.outcome not in NO_VERDICT:
            continue
        smallest = result.smallest_effect()
        seeds = f" ({result.pairs} seed{'s' * (result.pairs > 1)})" if result.pairs else ""
        command = claim.command(result.scale, result.pairs)
        rows.append([claim.id, result.outcome + seeds, claim.number(smallest), f"`{command}`"])
    return Table(["claim", "state", "smallest effect that would be found", "what goes on with it"], rows)


def cost_table() -> Table:
    """What ImageNet takes, every run counted as run 145: images, multiply-adds, and times at several speeds.

    A training step counts as three times its forward pass. The first speed is that of the recorded run 145 at scale
    ``laptop``, by its median epoch and in multiply-adds.
    """
    arms = ALEXNET.protocol("paper").arms
    images = arms["run145"].train.epochs * paper.IMAGENET_TRAINING_IMAGES
    record = next(record for record in load_evidence(ALEXNET, "laptop") if record.arm == "run145")
    epoch = statistics.median(epoch["seconds"] for epoch in record.epochs)
    speed = record.data["train"]["images"] / epoch * _step(ALEXNET.protocol("laptop").arms["run145"].net)
    step, day = _step(arms["run145"].net), 86_400
    rows = []
    for what, runs in {
        "the full run": 1,
        f"a claim: 2 arms, {LOOKS[0]} seeds": 2 * LOOKS[0],
        f"all {len(arms)} arms, {LOOKS[0]} seeds": len(arms) * LOOKS[0],
    }.items():
        n = runs * images
        times = n * step / speed / day, n / 1_000 / day, n / 10_000 / 3600
        rows.append([what, str(runs), f"{n:,}", f"{n * step:.1e}", *(f"{x:,.1f}" for x in times)])
    machine = f"{record.environment['device']}, {record.environment['threads']} thread"
    speeds = [f"days on {machine}", "days at 1,000 images/s", "hours at 10,000 images/s"]
    return Table(["what", "runs", "images", "multiply-adds", *speeds], rows)


def departures_table() -> Table:
    """What run 145 did, what its copy in small does instead, and why."""
    rows = [[what, *cells] for what, cells in LAPTOP_DEPARTURES.items()]
    return Table(["", "run 145, 2012", "scale laptop", "because"], rows)


def pilot_table() -> Table:
    """Of the pilot's runs what was looked at before the protocol was fixed, in percent, and how long they took."""
    rows = []
    for record in load_evidence(PILOT):
        metrics = ("train_eval_error", "centre_error", "top1_error", "generalization_gap")
        errors = [measured(record, Measurement(record.arm, metric)) for metric in metrics]
        rows.append([record.arm, str(record.seed), *map(percent, errors), number(record.seconds / 60)])
    header = ["arm", "seed", "training images, %", "validation, centre, %", "ten crops, %", "gap, points", "minutes"]
    return Table(header, rows)


def budget_table() -> Table:
    """What recording AlexNet's study in small takes, by the runs that are recorded; other arms count as their mean."""
    minutes: dict[str, list[float]] = {arm: [] for arm in ALEXNET.protocol("laptop").arms}
    for record in load_evidence(ALEXNET, "laptop"):
        minutes[record.arm].append(record.seconds / 60)
    typical = {arm: statistics.median(times) for arm, times in minutes.items() if times}
    hours = {arm: LOOKS[0] * time / 60 for arm, time in typical.items()}
    rows = [[arm, str(len(minutes[arm])), number(typical.get(arm)), number(hours.get(arm))] for arm in minutes]
    total = len(minutes) * statistics.mean(hours.values()) if hours else None
    rows.append(["all", str(sum(map(len, minutes.values()))), "", number(total)])
    return Table(["arm", "runs recorded", "minutes a run", f"hours for {LOOKS[0]} seeds"], rows)


def _step(net: NetConfig) -> int:
    """Multiply-adds of a training step for one image."""
    return 3 * sum(cost.multiply_adds for cost in build(net).costs())


def update(*pages: Path) -> None:
    """Brings the tables of these pages up to date."""
    results = judged(*CLAIMS)
    for page in pages:
        book = os.path.relpath(BOOK, page.resolve().parent)
        text = page.read_text(encoding="utf-8")
        write_atomically(page, with_tables(text, "" if book == "." else f"{book}/", results))


if __name__ == "__main__":
    update(*map(Path, sys.argv[1:]))
