"""What pages say of the records: tables, findings, and two images. ``python book/_ext/page_tables.py PAGE ...``."""

from __future__ import annotations

import io
import json
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import forest

from alexnet_repro import CLAIMS, NetConfig, build, load_evidence, paper
from alexnet_repro.claims.alexnet_studies import ALEXNET, LAPTOP_DEPARTURES, PILOT
from alexnet_repro.claims.claim import LOOKS, NO_VERDICT, Measurement, Outcome
from alexnet_repro.claims.records import BOOK
from alexnet_repro.claims.verdict import Verdict, measured
from alexnet_repro.report import figures
from alexnet_repro.report.in_short import up_to_date
from alexnet_repro.report.tables import judged, number, percent, scoreboard
from alexnet_repro.support.files import write_atomically
from alexnet_repro.support.table import Table

MARKERS = {
    name: (f"<!-- {name}: written by `make notebooks` from book/evidence; do not edit -->", f"<!-- {name} end -->")
    for name in (
        "claims",
        "findings",
        "counts",
        "forest",
        "remaining",
        "costs",
        "gpu",
        "departures",
        "pilot",
        "budget",
        "asked",
    )
}
IMAGES = BOOK / "_static"

# What a reader should know first: a chapter, the verdicts that the words were written for, and the words.
FINDINGS = (
    (
        "03_relu",
        {"relu": "reproduced", "relu-scaled": "smaller", "relu-modern": "smaller"},
        "**ReLU was six times faster on the inputs of 2012.** With unscaled pixels tanh needs {relu} as many epochs as "
        "ReLU to reach 25 % training error on CIFAR-10; the paper says 6x. With scaled pixels the ratio is "
        "{relu-scaled}, under the modern protocol {relu-modern}.",
    ),
    (
        "04_lrn",
        {"lrn": "reproduced", "lrn-cifar": "no effect found"},
        "**Response normalization helps AlexNet; in a smaller network we found no effect.** On ten classes of "
        "ImageNet it lowers the error of AlexNet at a quarter of its width by {lrn}; the paper reports 1.4, on a "
        "thousand classes. On CIFAR-10, in a quarter of the original number of epochs, we found no gain ({lrn-cifar}), "
        "where the paper reports 2 points.",
    ),
    (
        "11_paper_vs_code",
        {},
        "**What was printed is not what was run.** The surviving files of run 145, the network behind the paper's "
        "reported errors, have a third normalization that the paper does not mention, and divide alpha by the size of "
        "the window.",
    ),
)
PRECISIONS = ("float32", "bfloat16")
ASKED = ("lrn-cifar", "lrn", "colour", "ten-crop")  # claims on the page of questions


def with_tables(text: str, book: str, results: Sequence[Verdict]) -> str:
    """A Markdown text with the tables between its ``MARKERS`` brought up to date.

    They are all claims, the main findings, how many claims have which verdict, all of them in one figure, what is left
    to run and what ImageNet costs; of AlexNet's study at scale laptop how it departs from run 145, its pilot, and what
    all of it takes; the claims ``ASKED``.

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
        "claims": lambda: _linked_claims(results, book).to_markdown(),
        "findings": lambda: findings(results, book),
        "counts": lambda: verdict_counts(results),
        "forest": lambda: forest.html(results, book),
        "remaining": lambda: remaining_table(results).to_markdown(),
        "costs": lambda: cost_table().to_markdown(),
        "gpu": lambda: gpu_table().to_markdown(),
        "departures": lambda: departures_table().to_markdown(),
        "pilot": lambda: pilot_table().to_markdown(),
        "budget": lambda: budget_table().to_markdown(),
        "asked": lambda: asked_table(results, book).to_markdown(),
    }
    for name, (begin, end) in MARKERS.items():
        if begin in text or end in text:
            text = between(text, begin, end, make[name]())
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


def findings(results: Sequence[Verdict], book: str) -> str:
    """What a reader should know first, as a list with links to the chapters."""
    items = [
        f"* {up_to_date(verdicts, words, results)} ([why]({book}{chapter}.ipynb))"
        for chapter, verdicts, words in FINDINGS
    ]
    return "\n".join(items)


def verdict_counts(results: Sequence[Verdict]) -> str:
    """How many claims have which verdict, at the paper's own scale, at a smaller one, at neither, in three lines."""
    lines = []
    for kind, whole in {"At the paper's scale": True, "At small scale": False}.items():
        found = [result.outcome for result in results if (result.scale == "paper") == whole]
        counts = {word: found.count(word) for word in get_args(Outcome) if word not in NO_VERDICT}
        lines.append(f"{kind}: " + (", ".join(f"**{n}** {word}" for word, n in counts.items() if n) or "none yet"))
    left = [result for result in results if result.outcome in NO_VERDICT]
    begun = sum(result.pairs > 0 for result in left)
    lines.append(f"No verdict yet: **{len(left)}**, {begun} of them with some runs")
    return "\n".join(f"* {line}" for line in lines)


def figure_one() -> bytes:
    """Figure 1 of the paper from the recorded runs, with our ratio and the paper's, as a PNG image."""
    (result,) = judged("relu")
    figure = figures.error_curves({"": load_evidence("relu", "paper")}, target=0.25)
    figure.set_size_inches(7, 3)
    ax = figure.axes[0]
    slow, fast = (statistics.mean(side) for side in (result.baseline, result.treatment))
    ax.annotate("", (fast, 20), (slow, 20), arrowprops={"arrowstyle": "<->", "shrinkA": 0, "shrinkB": 0})
    text = f"tanh needs {result.summary()} as many epochs; the paper: {result.claim.paper_summary()}"
    ax.annotate(text, ((slow + fast) / 2, 17), ha="center", va="top")
    file = io.BytesIO()
    figure.savefig(file, dpi=150, metadata={"Software": None})
    return file.getvalue()


def asked_table(results: Sequence[Verdict], book: str) -> Table:
    """The claims on the page of questions: link, the paper's number, that of 2012, ours, and the verdict."""
    asked = [result for result in results if result.claim.id in ASKED]
    rows = [[*row[:1], *row[2:5], *row[-1:]] for row in _linked_claims(asked, book).rows]
    return Table(["claim", "paper", "2012", "ours", "verdict"], rows)


def remaining_table(results: Sequence[Verdict]) -> Table:
    """Per claim without a verdict how far it is, and the command that completes it.

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
    return Table(["claim", "state", "smallest effect that would be found", "command that completes it"], rows)


def cost_table() -> Table:
    """What ImageNet takes, every run counted as run 145: images, multiply-adds, and times at several speeds.

    A training step counts as three times its forward pass. The first speed is that of the recorded run 145 at scale
    ``laptop``, by its median epoch and in multiply-adds; the others are what a GPU reached in products of matrices.
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
    machine = f"{record.environment['device']}, {record.environment['threads']} thread"
    least = [f"hours on {gpu['environment']['device']} in {precision}, at least" for precision in PRECISIONS]
    speeds = [f"days on {machine}", *least]
    return Table(["what", "runs", "images", "multiply-adds", *speeds], rows)


def measured_gpu() -> Mapping[str, Any]:
    """What ``make gpu`` wrote last."""
    files = (BOOK.parent / "benchmarks/results").glob("gpu-*.json")
    return max((json.loads(file.read_text()) for file in files), key=lambda found: found["started"])


def gpu_table() -> Table:
    """Response normalization on a GPU, forward and backward, in the faster of two layouts: against torch's layer, and
    how much of the memory's bandwidth it uses if nothing is moved twice."""
    times = measured_gpu()["normalization"]
    best = {}
    for key, found in times.items():
        name, shape, precision, _ = key.split()
        best.setdefault((shape, precision), {}).setdefault(name, []).append((found["ms"], found["share_of_bandwidth"]))
    rows = [
        [shape, precision, f"{min(layers['torch'])[0] / min(layers['ours'])[0]:.1f}x", percent(min(layers["ours"])[1])]
        for (shape, precision), layers in best.items()
    ]
    return Table(["input", "precision", "speed relative to torch's layer", "share of the memory bandwidth, %"], rows)


def departures_table() -> Table:
    """What run 145 did, what its copy at scale laptop does instead, and why."""
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
    """What recording AlexNet's study at scale laptop takes, by its recorded runs; other arms count as their mean."""
    minutes: dict[str, list[float]] = {arm: [] for arm in ALEXNET.protocol("laptop").arms}
    for record in load_evidence(ALEXNET, "laptop"):
        minutes[record.arm].append(record.seconds / 60)
    typical = {arm: statistics.median(times) for arm, times in minutes.items() if times}
    hours = {arm: LOOKS[0] * time / 60 for arm, time in typical.items()}
    rows = [[arm, str(len(minutes[arm])), number(typical.get(arm)), number(hours.get(arm))] for arm in minutes]
    total = len(minutes) * statistics.mean(hours.values()) if hours else None
    rows.append(["all", str(sum(map(len, minutes.values()))), "", number(total)])
    return Table(["arm", "runs recorded", "minutes per run", f"hours for {LOOKS[0]} seeds"], rows)


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
    write_atomically(IMAGES / "claims.svg", forest.image(judged(*CLAIMS)))
    write_atomically(IMAGES / "figure1.png", figure_one())
