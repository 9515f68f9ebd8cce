"""What the records of a claim say together: its effect, the interval, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from alexnet_repro.claims.claim import Claim, Measurement, Outcome, decide
from alexnet_repro.training.record import Record, epochs_to_target


def fastest(records: Iterable[Record]) -> Record:
    """The run that was first at its target or, where none got there, has the lowest training error."""

    def rank(record: Record) -> tuple[float, float]:
        epochs, error = record.final["epochs_to_target"], record.final["train_error"]
        return math.inf if epochs is None else epochs, math.inf if error is None else error

    return min(records, key=rank)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the records of a claim say.

    Attributes:
        claim: what was judged.
        outcome: by the claim's rule.
        estimate: geometric mean of the ratios, or mean of the differences; None if it can't be bounded.
        low, high: its 95 % interval (Student's t over pairs); None with fewer than 2 pairs. ``high`` is infinite
            where the effect is only known to be at least so large.
        seeds: of the pairs.
        baseline, treatment: what was measured of either side of every pair; None where a run was stopped short of the
            target.
        values: the effect of every pair; none where a treatment was stopped short of it.
    """

    claim: Claim
    outcome: Outcome
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    seeds: tuple[int, ...] = ()
    baseline: tuple[float | None, ...] = ()
    treatment: tuple[float | None, ...] = ()
    values: tuple[float, ...] = ()

    @property
    def pairs(self) -> int:
        """Seeds that ran in both arms."""
        return len(self.seeds)

    def summary(self) -> str:
        """The effect and its interval in a few words: "2.1x [1.9, 2.3]", "at least 5.2x", "1.4 points", "-"."""
        if self.estimate is None:
            return "-"
        scale = 1 if self.claim.effect == "ratio" else 100
        text = f"{'at least ' * (None in self.baseline)}{self.claim.number(self.estimate, '.1f')}"
        if self.low is None or self.high is None:
            return text
        upper = "∞" if math.isinf(self.high) else f"{scale * self.high:.1f}"
        return f"{text} [{scale * self.low:.1f}, {upper}]"

    def smallest_effect(self) -> float | None:
        """The smallest effect that so many pairs, as scattered as these, would find in four of five trials.

        As a factor for a ratio, else a difference from no effect; None with fewer than 2 pairs.
        """
        found = None if len(self.values) < 2 else resolvable(self._additive())
        return found if found is None or self.claim.effect != "ratio" else math.exp(found)

    def _additive(self) -> list[float]:
        return [math.log(value) for value in self.values] if self.claim.effect == "ratio" else list(self.values)


def verdict(claim: Claim, records: Iterable[Record]) -> Verdict:
    """The claim's effect, paired by seed, its 95 % interval, and what the rule makes of it.

    A baseline run that never reached the target counts as having reached it when it was stopped, which can only make
    the effect smaller than it is. A treatment run that never did leaves the effect without a bound on the safe side:
    no estimate is given, and the outcome is "inconclusive".

    Args:
        claim: what is judged.
        records: of its arms, e.g. from ``load_evidence``; those of other arms are not looked at.

    Example:
        >>> from alexnet_repro import CLAIMS, load_evidence, verdict
        >>> result = verdict(CLAIMS["relu"], load_evidence("relu", "paper"))
        >>> result.pairs, result.low < result.estimate < result.high
        (5, True)
        >>> verdict(CLAIMS["relu"], []).outcome
        'not run'
    """
    by_arm: dict[str, dict[int, Record]] = {arm: {} for arm in claim.arms}
    for record in records:
        if record.arm in by_arm:
            by_arm[record.arm][record.seed] = record
    seeds = sorted(set.intersection(*(set(of_arm) for of_arm in by_arm.values())))
    before, after = (
        [measured(by_arm[side.arm][seed], side, claim.target) for seed in seeds]
        for side in (claim.baseline, claim.treatment)
    )
    sides = {"claim": claim, "seeds": tuple(seeds), "baseline": tuple(before), "treatment": tuple(after)}
    if not seeds:
        return Verdict(outcome="not run", **sides)
    if None in after:
        return Verdict(outcome="inconclusive", **sides)
    stopped = [float(len(by_arm[claim.baseline.arm][seed].epochs)) for seed in seeds]
    reached = [end if value is None else value for value, end in zip(before, stopped, strict=True)]
    effects = [_effect(claim, b, a) for b, a in zip(reached, after, strict=True)]
    if claim.effect == "ratio":
        logs = [math.log(value) for value in effects]
        estimate, low, high = (None if x is None else math.exp(x) for x in mean_interval(logs))
    else:
        estimate, low, high = mean_interval(effects)
    if None in before and high is not None:
        high = math.inf
    outcome = decide(claim, len(seeds), low, high)
    return Verdict(outcome=outcome, estimate=estimate, low=low, high=high, values=tuple(effects), **sides)


def measured(record: Record, what: Measurement, target: float | None = None) -> float | None:
    """The number of a run that a claim compares; None where an error did not come down to ``target``.

    Args:
        record: of the run.
        what: the metric; its arm is not looked at.
        target: error, fraction, that epochs are counted to.
    """
    match what.metric:
        case "epochs_to_train_error" | "epochs_to_val_error":
            errors = [epoch[what.metric.removeprefix("epochs_to_")] for epoch in record.epochs]
            return epochs_to_target(errors, target, 1 - 1 / record.config["net"]["num_classes"])
        case "generalization_gap":
            return record.final["centre_error"] - record.final["train_eval_error"]
    return record.final[what.metric]


def _effect(claim: Claim, baseline: float, treatment: float) -> float:
    match claim.effect:
        case "ratio":
            return baseline / treatment
        case "difference":
            return baseline - treatment
    return treatment


def mean_interval(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """The mean and its 95 % interval by Student's t; without an interval for a single value.

    Args:
        values: at least one.

    Returns: mean, lower and upper end; None and None without an interval.
    """
    from scipy.stats import sem, t

    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, None, None
    half = float(t.ppf(0.975, len(values) - 1) * sem(values))
    return mean, mean - half, mean + half


def resolvable(values: Sequence[float], power: float = 0.8) -> float:
    r"""The smallest mean that so many values, as scattered as these, tell from 0 with this probability.

    .. math:: (t_{0.975} + t_\text{power}) \, s / \sqrt{n}

    with Student's quantiles for n - 1 degrees of freedom.

    Args:
        values: at least 2; s is their standard deviation.
        power: of the test, a probability.
    """
    from scipy.stats import sem, t

    freedom = len(values) - 1
    return float((t.ppf(0.975, freedom) + t.ppf(power, freedom)) * sem(values))
