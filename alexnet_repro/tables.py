"""The tables that chapters share: rows of text, from claims and records."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, get_args

from alexnet_repro import paper
from alexnet_repro.claims import CLAIMS, MIN_SEEDS, Outcome
from alexnet_repro.config import Conv, Dropout, Layer, Linear, MapNorm, NetConfig, Norm, Pool
from alexnet_repro.evidence import Record, Verdict, fastest, load_evidence, measured, verdict
from alexnet_repro.nets import Network, build
from alexnet_repro.studies import ALEXNET, RATE_SEARCHES
from alexnet_repro.table import Table
from alexnet_repro.values import as_json

Judged = Sequence[tuple[Verdict, str | None]]  # of claims: the verdict, and the scale it was given at if there is one


def run_table(runs: Mapping[str, Sequence[Record]]) -> Table:
    """One row per run: how long it was, its errors in percent, and when it reached its target if it had one.

    Args:
        runs: title -> records; a title alone is not shown.
    """
    titled = [(title, record) for title, records in runs.items() for record in records]
    columns = {"runs": [title for title, _ in titled]} if len(runs) > 1 else {}
    columns |= {
        "arm": [record.arm for _, record in titled],
        "seed": [str(record.seed) for _, record in titled],
        "epochs": [str(len(record.epochs)) for _, record in titled],
        "training error, %": [_percent(record.final["train_error"]) for _, record in titled],
        "test error, %": [_percent(record.final.get("top1_error")) for _, record in titled],
    }
    if any("epochs_to_target" in record.final for _, record in titled):
        columns["epochs to target"] = [_number(record.final["epochs_to_target"]) for _, record in titled]
    return Table(list(columns), list(zip(*columns.values(), strict=True)))


def evidence_table(runs: Mapping[str, Sequence[Record]]) -> Table:
    """What recorded runs were: the scale, data, network, recipe, hardware and seeds, told apart by arm if they differ.

    Args:
        runs: title -> records of one claim at one scale.
    """
    rows = []
    for title, records in runs.items():
        arms: dict[str, list[Record]] = {}
        for record in records:
            arms.setdefault(record.arm, []).append(record)
        described = {arm: _run_description(of_arm) for arm, of_arm in arms.items()}
        if described:
            rows.append([title, *(_by_arm({arm: cells[i] for arm, cells in described.items()}) for i in range(6))])
    return Table(["runs", "scale", "data", "network", "recipe", "hardware", "seeds"], rows)


def _run_description(records: Sequence[Record]) -> list[str]:
    """Of the runs of one arm: scale, data, network, recipe, hardware, seeds."""
    config = records[0].config
    net, train = config["net"], config["train"]
    machines = dict.fromkeys(f"{r.environment['device']}, {r.environment['threads']} thread" for r in records)
    return [
        records[0].scale,
        f"{config['dataset']}: {records[0].data['train']['origin']}",
        f"{net['name']}, init {net['initialization']}",
        f"lr {train['lr']:g}, batches of {config['input']['batch_size']}, up to {train['epochs']} epochs",
        "; ".join(machines),
        ", ".join(str(record.seed) for record in records),
    ]


def _by_arm(values: Mapping[str, str]) -> str:
    """What all arms share, once; what they do not, arm by arm."""
    if len(set(values.values())) == 1:
        return next(iter(values.values()))
    return "; ".join(f"{arm}: {value}" for arm, value in values.items())


def verdict_table(*claims: str) -> Table:
    """Per claim the paper's number, the 2012 run's, ours with its 95 % interval, and the verdict.

    From the largest scale that is recorded.

    Args:
        claims: their ids.
    """
    return scoreboard(judged(*claims))


def judged(*claims: str) -> Judged:
    """Per claim its verdict and the scale it was given at, the largest that is recorded."""
    found = [(CLAIMS[name], load_evidence(name)) for name in claims]
    return [(verdict(claim, records), records[0].scale if records else None) for claim, records in found]


def scoreboard(results: Judged) -> Table:
    """``verdict_table`` of claims that were judged already.

    Of a claim that differs from the one before in its last words, these alone.

    Args:
        results: what ``judged`` makes of them.
    """
    rows, before = [], ""
    for result, scale in results:
        claim = result.claim
        common, _, words = claim.statement.partition(" (")
        rows.append(
            [
                claim.statement if common != before else f"… {words.removesuffix(')')}",
                claim.section,
                claim.paper_summary(),
                claim.number(claim.original_value),
                result.summary(),
                scale if result.pairs else "-",
                str(result.pairs),
                result.outcome,
            ]
        )
        before = common
    ours = "ours, 95\u00a0% interval"  # the number and its sign stay on one line
    return Table(["claim", "section", "paper", "2012 run", ours, "scale", "seeds", "verdict"], rows)


def pair_table(*claims: str) -> Table:
    """Per claim and seed both numbers and their effect; then the effect needed for so many pairs to find it.

    Errors and their differences are in percent and points, times in epochs.

    Args:
        claims: their ids.
    """
    rows = []
    for claim in (CLAIMS[name] for name in claims):
        records = load_evidence(claim.id)
        result = verdict(claim, records)
        scale = 1 if claim.effect == "ratio" else 100
        sides = [
            {r.seed: measured(r, side, claim.target) for r in records if r.arm == side.arm}
            for side in (claim.baseline, claim.treatment)
        ]
        seeds = sorted(sides[0].keys() & sides[1].keys())
        for seed, value in zip(seeds, result.values or [None] * len(seeds), strict=True):
            numbers = (None if side[seed] is None else scale * side[seed] for side in sides)
            rows.append([claim.id, str(seed), *map(_number, numbers), claim.number(value, ".1f")])
        smallest = result.smallest_effect()
        if smallest is not None:
            rows.append([claim.id, "needed", "", "", claim.number(smallest)])
    return Table(["claim", "seed", "without", "with", "effect"], rows)


MARKERS = {
    name: (f"<!-- {name}: written by `make notebooks` from book/evidence; do not edit -->", f"<!-- {name} end -->")
    for name in ("claims", "counts", "glance", "remaining", "costs")
}


def with_tables(text: str, book: str, results: Judged) -> str:
    """A Markdown text with the tables between its ``MARKERS`` brought up to date.

    They are all claims, how many have which verdict, all claims at a glance, what is left to run, and what it costs.

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


def _linked_claims(results: Judged, book: str) -> Table:
    table = scoreboard(results)
    rows = [
        [f"[{statement}]({book}{result.claim.chapter}.ipynb)", *rest]
        for (statement, *rest), (result, _) in zip(table.rows, results, strict=True)
    ]
    return Table(table.header, rows)


def verdict_counts(results: Judged) -> Table:
    """How many claims there are of every verdict."""
    found = [result.outcome for result, _ in results]
    return Table(get_args(Outcome), [[str(found.count(outcome)) for outcome in get_args(Outcome)]])


def glance_table(results: Judged, book: str) -> Table:
    """What ``scoreboard`` says, in fewer columns; a verdict of a smaller scale than the paper's names it.

    Args:
        results: what ``judged`` makes of the claims.
        book: the folder of the chapters, as links must name it.
    """
    rows = []
    for link, _, printed, original, ours, scale, _, outcome in _linked_claims(results, book).rows:
        small = outcome in ("reproduced", "not reproduced") and scale != "paper"
        rows.append([link, printed, original, ours, f"{outcome} ({scale})" if small else outcome])
    return Table(["claim", "paper", "2012", "ours", "verdict"], rows)


def remaining_table(results: Judged) -> Table:
    """Per claim without a verdict how far it is, and the command that goes on with it.

    Args:
        results: what ``judged`` makes of the claims.
    """
    rows = []
    for result, scale in results:
        claim = result.claim
        if result.outcome not in ("not run", "inconclusive"):
            continue
        smallest = result.smallest_effect()
        seeds = f" ({result.pairs} seed{'s' * (result.pairs > 1)})" if result.pairs else ""
        command = claim.command(scale, result.pairs)
        rows.append([claim.id, result.outcome + seeds, claim.number(smallest), f"`{command}`"])
    return Table(["claim", "state", "smallest effect that would be found", "what goes on with it"], rows)


def cost_table() -> Table:
    """What ImageNet takes, every run counted as run 145: pictures, multiply-adds, and times at several speeds.

    A training step counts as three times its forward pass. The first speed is that of the recorded run 145 at scale
    ``laptop``, by its median epoch and in multiply-adds.
    """
    arms = ALEXNET.protocol("paper").arms
    pictures = arms["run145"].train.epochs * paper.IMAGENET_TRAINING_PICTURES
    record = next(record for record in load_evidence(ALEXNET, "laptop") if record.arm == "run145")
    epoch = statistics.median(epoch["seconds"] for epoch in record.epochs)
    speed = record.data["train"]["images"] / epoch * _step(ALEXNET.protocol("laptop").arms["run145"].net)
    step, day = _step(arms["run145"].net), 86_400
    rows = []
    for what, runs in {
        "the full run": 1,
        f"a claim: 2 arms, {MIN_SEEDS} seeds": 2 * MIN_SEEDS,
        f"all {len(arms)} arms, {MIN_SEEDS} seeds": len(arms) * MIN_SEEDS,
    }.items():
        n = runs * pictures
        times = n * step / speed / day, n / 1_000 / day, n / 10_000 / 3600
        rows.append([what, str(runs), f"{n:,}", f"{n * step:.1e}", *(f"{x:,.1f}" for x in times)])
    machine = f"{record.environment['device']}, {record.environment['threads']} thread"
    speeds = [f"days on {machine}", "days at 1,000 images/s", "hours at 10,000 images/s"]
    return Table(["what", "runs", "pictures", "multiply-adds", *speeds], rows)


def _step(net: NetConfig) -> int:
    """Multiply-adds of a training step for one picture."""
    return 3 * sum(cost.multiply_adds for cost in build(net).costs())


def repeat_table(recorded: Sequence[Record], repeated: Sequence[Record]) -> Table:
    """Per run and number what was recorded, what came out once more, and whether it is the same to the last bit.

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


def rate_table(claims: Mapping[str, str]) -> Table:
    """Per claim and neuron every learning rate that was tried, how it did, and which one was chosen.

    Args:
        claims: title -> id.
    """
    rows = []
    for title, claim in claims.items():
        records = load_evidence(RATE_SEARCHES[claim].id, "paper")
        for neuron in dict.fromkeys(record.config["net"]["activation"] for record in records):
            of_neuron = [record for record in records if record.config["net"]["activation"] == neuron]
            best = fastest(of_neuron)
            for record in of_neuron:
                rows.append(
                    [
                        f"{title}: {neuron}",
                        f"{record.config['train']['lr']:g}",
                        _number(record.final["epochs_to_target"]),
                        "diverged" if record.ended == "diverged" else _percent(record.final["train_error"]),
                        "chosen" if record is best else "",
                    ]
                )
    return Table(["runs", "learning rate", "epochs to target", "last training error, %", "choice"], rows)


def slope_table(records: Sequence[Record]) -> Table:
    """Per arm the mean slope of every layer of neurons after training, averaged over the seeds, in percent.

    Args:
        records: of networks whose layers of neurons have the same names, or some of them.
    """
    arms: dict[str, list[Record]] = {}
    for record in records:
        arms.setdefault(record.arm, []).append(record)
    layers = dict.fromkeys(name for record in records for name in record.final if name.startswith("slope_"))
    rows = [
        [arm, str(len(runs)), str(len(runs[0].epochs))]
        + [
            _percent(statistics.mean(run.final[layer] for run in runs) if layer in runs[0].final else None)
            for layer in layers
        ]
        for arm, runs in arms.items()
    ]
    return Table(["arm", "seeds", "epochs", *(f"{layer.removeprefix('slope_')}, %" for layer in layers)], rows)


def loss_table(runs: Mapping[str, Sequence[float]]) -> Table:
    """Per run the loss, nats, at its first step, its mean over the last ten, and where it ceased to be finite.

    Args:
        runs: title -> loss of every step.
    """
    rows = []
    for title, losses in runs.items():
        ended = next((step for step, loss in enumerate(losses, start=1) if not math.isfinite(loss)), None)
        last = losses[-10:]
        rows.append(
            [
                title,
                f"{losses[0]:.3g}",
                f"{math.fsum(last) / len(last):.2f}" if ended is None else "-",
                "-" if ended is None else str(ended),
            ]
        )
    return Table(["run", "loss at step 1", "mean over the last ten", "not finite from step"], rows)


def config_table(claims: Mapping[str, str], scale: str) -> Table:
    """The fields in which the arms of the claims differ: a column per claim, told apart by arm where its arms differ.

    Args:
        claims: title -> id.
        scale: whose protocols.
    """
    columns = [
        {
            arm: _flat(as_json(value)) | _described(value.net)
            for arm, value in CLAIMS[claim].protocol(scale).arms.items()
        }
        for claim in claims.values()
    ]
    arms = [flat for column in columns for flat in column.values()]
    fields = dict.fromkeys(field for flat in arms for field in flat)
    rows = [
        [field, *(_by_arm({arm: flat.get(field, "-") for arm, flat in column.items()}) for column in columns)]
        for field in fields
        if len({flat.get(field) for flat in arms}) > 1
    ]
    return Table(["field", *claims], rows)


def reading_table(*presets: str) -> Table:
    """The layers in which presets of AlexNet differ, side by side, and the order of their first two stages.

    Args:
        presets: their names.
    """
    nets = [NetConfig.preset(name) for name in presets]
    columns = [_described(net) for net in nets]
    for net, column in zip(nets, columns, strict=True):
        names = [layer.name for layer in net.layers]
        second, third = names.index("conv2"), names.index("conv3")
        column |= {
            "input": f"{net.image_size} pixels",
            "towers": str(net.towers),
            "first stage": ", ".join(names[:second]),
            "second stage": ", ".join(names[second:third]),
        }
    layers = dict.fromkeys(layer.name for net in nets for layer in net.layers)
    fields = ["input", "towers", "first stage", "second stage", *layers]
    rows = [[field, *(column.get(field, "-") for column in columns)] for field in fields]
    return Table(["part", *presets], [row for row in rows if len(set(row[1:])) > 1])


def count_table(network: Network) -> Table:
    """The paper's counts of neurons and parameters, and those of a network.

    Args:
        network: with the paper's layers.
    """
    neurons = {cost.name: cost.activations for cost in network.costs() if cost.parameters}
    rows = [[f"neurons of {layer}", f"{paper.NEURONS_BY_LAYER[layer]:,}", f"{neurons[layer]:,}"] for layer in neurons]
    rows.append(["neurons", f"{paper.NEURONS:,}", f"{sum(neurons.values()):,}"])
    parameters = sum(cost.parameters for cost in network.costs())
    rows.append(["parameters", f"{paper.PARAMETERS:,}", f"{parameters:,}"])
    return Table(["number", "paper", "this network"], rows)


def _described(net: NetConfig) -> dict[str, str]:
    """Layer -> its settings in a few words."""
    return {layer.name: _settings(layer, net.initialization == "gaussian") for layer in net.layers}


def _settings(layer: Layer, gaussian: bool) -> str:
    match layer:
        case Conv() | Linear():
            initial = f"std {layer.std:g}, bias {layer.bias:g}" if gaussian else "PyTorch's initialization"
        case Pool():
            return f"{layer.size}x{layer.size}, stride {layer.stride}"
        case Norm():
            window = "every map" if layer.reads == "all" else "own tower"
            return f"n {layer.size}, alpha {layer.alpha:g}{'/n' * layer.average}, k {layer.k:g}, {window}"
        case MapNorm():
            return f"{layer.size}x{layer.size} pixels, scale {layer.scale:g}"
        case Dropout():
            return "rescaled in training" if layer.rescale else "halved in testing"
        case _:
            return "yes"
    if isinstance(layer, Linear):
        return f"{initial}, reads {layer.reads}"
    padding = "" if layer.padding is None else f", padding {layer.padding}"
    return f"{layer.maps} maps{padding}, {initial}"


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested objects as one level of dotted names, without the layers of a network."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        elif key not in {"type", "layers"}:
            flat[f"{prefix}{key}"] = str(value)
    return flat


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.1f}"
