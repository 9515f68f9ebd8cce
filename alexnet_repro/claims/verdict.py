"""What the records of a claim say together: its effect, the interval, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import takewhile

from alexnet_repro.claims.claim import AT_TARGET, LOOKS, NO_VERDICT, Claim, Metric, Outcome, decide
from alexnet_repro.claims.intervals import mean_interval, resolvable
from alexnet_repro.claims.ledger import CLAIMS
from alexnet_repro.support.values import check_choice, differences
from alexnet_repro.training.record import EvidenceError, Record, conditions, epochs_to_target


def fastest(records: Iterable[Record]) -> Record:
    """The run that reached its target first or, if none did, the one with the lowest training error."""

    def rank(record: Record) -> tuple[float, float]:
        epochs, error = record.final["epochs_to_target"], record.final["train_error"]
        return math.inf if epochs is None else epochs, math.inf if error is None else error

    return min(records, key=rank)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the records of a claim say.

    Attributes:
        claim: the claim that was judged.
        outcome: what the rule says, see ``decide``.
        scale: scale of the records; None: there are none.
        estimate: geometric mean of the ratios, or mean of the differences; None if it cannot be bounded.
        low, high: its interval (Student's t over pairs, at ``LEVEL``); None with fewer than 2 pairs. ``high`` is
            infinite if only a lower bound of the effect is known, ``low`` is 0 if only an upper bound is.
        seeds: seeds of the pairs that were looked at.
        baseline, treatment: the number measured on that side of every pair; None where a run was stopped before it
            reached the target.
        values: the effect of every pair; a run that was stopped counts as having reached its target at that moment.
    """

    claim: Claim
    outcome: Outcome
    scale: str | None = None
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    seeds: tuple[int, ...] = ()
    baseline: tuple[float | None, ...] = ()
    treatment: tuple[float | None, ...] = ()
    values: tuple[float, ...] = ()

    @property
    def pairs(self) -> int:
        """Number of seeds that ran in both arms and were looked at."""
        return len(self.seeds)

    @property
    def words(self) -> str:
        """The outcome with its scale: "reproduced, larger (small scale)", "open"."""
        value, low = self.claim.paper_value, self.low
        reproduced = self.outcome == "reproduced" and self.claim.effect != "level"
        larger = reproduced and value is not None and low is not None and low > value
        small = self.scale != "paper" and self.outcome not in NO_VERDICT
        return self.outcome + ", larger" * larger + " (small scale)" * small

    def summary(self) -> str:
        """The effect and its interval in a few words: "2.1x [1.9, 2.3]", "at least 5.2x", "1.4 points", "-"."""
        if self.estimate is None:
            return "-"
        form = f".{self.decimals}f"
        bound = "at least " * (None in self.baseline) + "at most " * (None in self.treatment)
        text = f"{bound}{self.claim.number(self.estimate, f'z{form}')}"
        if self.low is None or self.high is None:
            return text
        low, high = self.claim.factor * self.low, self.claim.factor * self.high
        return f"{text} [{low:{form}}, {'∞' if math.isinf(high) else format(high, form)}]"

    @property
    def decimals(self) -> int:
        """Of a printed effect: 1, or 2 if a bound would else look equal to a number that the rule compares it with."""
        claim = self.claim
        compared, bounds = (
            {round(claim.factor * number, 1) for number in numbers if number is not None}
            for numbers in ((claim.no_effect, claim.paper_value), (self.low, self.high))
        )
        return 2 if compared & bounds else 1

    def smallest_effect(self) -> float | None:
        """The smallest effect that this many pairs, scattered like these, would find in four of five trials.

        For a ratio it is a factor, otherwise a difference from no effect; None with fewer than 2 pairs, and for a
        level, which is not compared with no effect.
        """
        if len(self.values) < 2 or self.claim.effect == "level":
            return None
        return self.claim.effect_of(resolvable(list(map(self.claim.additive, self.values))))


def verdict(claim: str | Claim, records: Iterable[Record]) -> Verdict:
    """The claim's effect, paired by seed, with its interval and the outcome under the rule.

    Looks are planned: the protocol's first five seeds are looked at once they have run in both arms, and the first ten
    once those have; nothing in between, and no seed after a missing one. Runs that began before the claim was fixed, or
    whose starting time is unknown, make the verdict *exploratory*.

    A run that diverged counts as guessing. A baseline run that never reached the target counts as having reached it
    when it was stopped; this can only understate the effect, and the interval has no upper end. For a treatment run it
    can only overstate the effect, and the interval begins at 0. If both happen, or if the effect is not a ratio, the
    verdict is *open*.

    Args:
        claim: the claim to judge, or its id.
        records: records of its study at one scale, e.g. from ``load_evidence``; those of other arms are ignored.

    Raises:
        EvidenceError: a record is of another study, of a second scale or of one that cannot decide the claim, or occurs
            twice; it lacks the metric; or the runs of a pair differ in their data, kind of hardware or version of
            torch.
        ValueError: no claim has that id.

    Example:
        >>> from alexnet_repro import CLAIMS, load_evidence, verdict
        >>> result = verdict(CLAIMS["relu"], load_evidence("relu", "paper"))
        >>> result.pairs, result.low < result.estimate < result.high
        (5, True)
        >>> verdict(CLAIMS["relu"], []).outcome
        'not run'
    """
    if not isinstance(claim, Claim):
        check_choice("claim", claim, tuple(CLAIMS))
        claim = CLAIMS[claim]
    records = list(records)
    pairs, scale = _pairs(claim, records)
    target = claim.target.get(scale or "")
    before, after = (
        [_judged(claim, pair[side.arm], side.metric, target) for pair in pairs.values()]
        for side in (claim.baseline, claim.treatment)
    )
    judged = partial(
        Verdict, claim=claim, scale=scale, seeds=tuple(pairs), baseline=tuple(before), treatment=tuple(after)
    )
    if not pairs:
        return judged(outcome="open" if {record.arm for record in records} >= set(claim.arms) else "not run")
    if (None in before and None in after) or (claim.effect != "ratio" and None in before + after):
        return judged(outcome="open")
    reached = [
        [len(pair[side.arm].epochs) if x is None else x for x, pair in zip(values, pairs.values(), strict=True)]
        for values, side in ((before, claim.baseline), (after, claim.treatment))
    ]
    effects = [_effect(claim, b, a) for b, a in zip(*reached, strict=True)]
    means = mean_interval([claim.additive(effect) for effect in effects])
    estimate, low, high = (None if x is None else claim.effect_of(x) for x in means)
    if low is not None:
        low, high = (0.0 if None in after else low), (math.inf if None in before else high)
    outcome = decide(claim, len(pairs), low, high)
    if outcome != "open" and _exploratory(claim, pairs):
        outcome = "exploratory"
    return judged(outcome=outcome, estimate=estimate, low=low, high=high, values=tuple(effects))


def _pairs(claim: Claim, records: Sequence[Record]) -> tuple[dict[int, dict[str, Record]], str | None]:
    """The records of both arms by seed, those of the last complete look or, before the first, all; and their scale."""
    _refuse_others(claim, records)
    by_seed: dict[int, dict[str, Record]] = {}
    for record in (record for record in records if record.arm in claim.arms):
        if by_seed.setdefault(record.seed, {}).setdefault(record.arm, record) is not record:
            raise EvidenceError(f"{record.path} is there twice: pass the records of one folder")
    if not records:
        return {}, None
    first = claim.protocol(records[0].scale).first_seed
    planned = range(first, first + LOOKS[-1])
    seeds = list(takewhile(lambda seed: len(by_seed.get(seed, ())) == len(claim.arms), planned))
    looks = [look for look in LOOKS if look <= len(seeds)]
    pairs = {seed: by_seed[seed] for seed in (seeds[: looks[-1]] if looks else seeds)}
    for before, after in (tuple(pair.values()) for pair in pairs.values() if len(pair) > 1):
        old, new = (conditions(run.data, run.environment) for run in (before, after))
        if changed := differences(old, new):
            names = f"{before.path} and {after.path}"
            raise EvidenceError(
                f"{names} can't be compared: {'; '.join(changed)}. Delete one of them and run it again."
            )
    return pairs, records[0].scale


def _refuse_others(claim: Claim, records: Sequence[Record]) -> None:
    """``EvidenceError`` unless all are of the claim's study and of one scale that can decide the claim."""
    study = claim.study
    own = None if study is None else study.id
    for record in records:
        if own is None or record.study != own:
            raise EvidenceError(
                f"a record is of study {record.study}, arm {record.arm}, seed {record.seed}, but {claim.id} is judged "
                f"by records of {own or 'no study'}: load_evidence(claim, SCALE, FOLDER) gives those of a claim"
            )
    scales = list(dict.fromkeys(record.scale for record in records))
    able = [] if study is None else [scale for scale in study.protocols if scale in claim.scales]
    if len(scales) > 1 or not set(scales) <= set(able):
        raise EvidenceError(
            f"records of {claim.id} are of scale {' and '.join(map(str, scales))}: a verdict is of one of "
            f"{', '.join(able)}, and load_evidence(claim, SCALE, FOLDER) gives its records"
        )


def _exploratory(claim: Claim, pairs: Mapping[int, Mapping[str, Record]]) -> bool:
    """Whether a record is older than the claim, or may be."""
    if claim.fixed is None:
        return False
    fixed = datetime.fromisoformat(claim.fixed.date)
    started = (record.started for pair in pairs.values() for record in pair.values())
    return any(date is None or datetime.fromisoformat(date) < fixed for date in started)


def _judged(claim: Claim, record: Record, metric: Metric, target: float | None) -> float | None:
    """The result of ``measured``; ``EvidenceError`` if the record lacks it, or if no ratio can be taken of it."""
    try:
        found = measured(record, metric, target)
    except (LookupError, TypeError, ValueError) as error:
        raise EvidenceError(
            f"{record.path} has no {metric}: {error!r}. Either its study does not measure it, or the record is "
            "from before it did: then delete it and run it again."
        ) from error
    if claim.effect == "ratio" and found is not None and not found > 0:
        raise EvidenceError(
            f"{record.path}: {metric} is {found!r}, which can't be part of a ratio. Delete it and run it again."
        )
    return found


def measured(record: Record, metric: Metric, target: float | None = None) -> float | None:
    """The number of a run that a claim compares; None if the run did not reach its target.

    A run that diverged counts as guessing: its errors are those of chance, its gap is 0, and it does not reach the
    target.

    Args:
        record: record of the run.
        metric: the quantity that is taken from it.
        target: error to be reached, as a fraction, for metrics that need one.

    Raises:
        ValueError: the metric needs a target and there is none, or the record lacks its error after some epoch.
    """
    guesses = 5 if metric == "top5_error" else 1
    chance = max(0.0, 1 - guesses / record.config["net"]["num_classes"])
    if metric in AT_TARGET:
        return _at_target(record, metric, target, chance)
    if metric == "epochs_to_target":
        return record.final["epochs_to_target"]
    if record.ended == "diverged":
        return chance if metric.endswith("error") else 0.0
    if metric == "generalization_gap":
        return _known(record.final, "centre_error") - _known(record.final, "train_eval_error")
    return record.final[metric]


def _known(numbers: Mapping[str, float | None], name: str) -> float:
    if (value := numbers.get(name)) is None:
        raise ValueError(f"there is no {name}")
    return value


def _at_target(record: Record, metric: Metric, target: float | None, chance: float) -> float | None:
    name = {"val_error_at_target": "train_eval_error"}.get(metric, metric.removeprefix("epochs_to_"))
    errors = [error for epoch in record.epochs if (error := epoch.get(name)) is not None]
    if target is None or (len(errors) < len(record.epochs) and record.ended != "diverged"):
        missing = "target" if target is None else f"{name} after every epoch"
        raise ValueError(f"{metric} of {record.path}: there is no {missing}")
    if record.ended == "diverged":
        return chance if metric == "val_error_at_target" else None
    epochs = epochs_to_target(errors, target, chance)
    if metric != "val_error_at_target" or epochs is None:
        return epochs
    after = min(math.ceil(epochs), len(record.epochs))
    before, reached = (
        chance if number == 0 else _known(record.epochs[number - 1], "val_error") for number in (after - 1, after)
    )
    return before + (epochs - (after - 1)) * (reached - before)


def _effect(claim: Claim, baseline: float, treatment: float) -> float:
    match claim.effect:
        case "ratio":
            return baseline / treatment
        case "difference":
            return baseline - treatment
    return treatment
