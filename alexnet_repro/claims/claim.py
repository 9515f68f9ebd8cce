"""What a claim is: two measurements, an effect, the paper's number; and the rule that judges it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from alexnet_repro.claims.study import SCALES, Protocol, Study

Outcome = Literal["reproduced", "smaller", "no effect found", "opposite", "open", "exploratory", "not run"]
NO_VERDICT: tuple[Outcome, ...] = ("open", "exploratory", "not run")
AT_TARGET = ("epochs_to_train_error", "epochs_to_val_error", "val_error_at_target")  # metrics that need a target
Effect = Literal["ratio", "difference", "level"]
Metric = Literal[
    "epochs_to_target",  # training stopped at the arm's target error
    "epochs_to_train_error",  # when the training error came down to the claim's target
    "epochs_to_val_error",  # the same of the validation error
    "val_error_at_target",  # validation error when the training error in eval mode came down to the claim's target
    "top1_error",  # of the validation or test images, all views
    "top5_error",  # of the same
    "centre_error",  # of them, the centre alone
    "train_eval_error",  # of the training images, the centre alone, the network in eval mode
    "generalization_gap",  # centre_error minus train_eval_error
    "color_difference",  # of the two towers' first filters: inspect.tower_color
    "color_difference_chance",  # of random halves of the same filters
]
RULE_SINCE = "2026-11-27"  # before it there were two words; "not reproduced" stood for three findings
LOOKS = (5, 10)  # pairs of runs after which a verdict is given; no other number is looked at
LEVEL = 0.9725  # of the interval at either look: a true effect lies in both with 95 %
LEVEL_MARGIN = 0.005  # fraction: an error that is higher than the paper's by no more than this reproduces it. OURS


@dataclass(frozen=True)
class Measurement:
    """One number of every run of an arm."""

    arm: str  #: its name in the study's protocols
    metric: Metric  #: what is taken of its records


@dataclass(frozen=True)
class Fixed:
    """When something was decided."""

    date: str  #: and time, UTC, as in records
    revision: str  #: the first one that has it; any later one has it too


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim of the paper.

    Attributes:
        id: its name.
        section: of the paper.
        statement: the claim in one sentence of ours.
        chapter: the book's page about it.
        study: the runs that can tell; None: this project has none.
        baseline: measured without what is claimed to help.
        treatment: measured with it.
        effect: "ratio", baseline over treatment; "difference", baseline minus treatment; or "level", the treatment's
            number itself.
        paper_value: the effect the paper claims; None: it only says that there is one.
        original_run: the surviving 2012 record of the comparison, in words.
        original_value: the effect by that record.
        target: of the metrics that need one the error, fraction, by scale.
        scales: whose runs can tell.
        fixed: since when the claim stands as it is; it says nothing of runs that began earlier. None: it is not fixed.

    Raises:
        ValueError: a level without the paper's number, or a metric that needs a target without one at a scale.
    """

    id: str
    section: str = "-"
    statement: str
    chapter: str = "-"
    study: Study | None
    baseline: Measurement
    treatment: Measurement
    effect: Effect
    paper_value: float | None = None
    original_run: str = "none"
    original_value: float | None = None
    target: Mapping[str, float] = field(default_factory=dict)
    scales: tuple[str, ...] = SCALES
    fixed: Fixed | None = None

    def __post_init__(self) -> None:
        if self.effect == "level" and self.paper_value is None:
            raise ValueError(f"{self.id} is a level, which is compared with the paper's number: give it paper_value")
        needing = [side.metric for side in (self.baseline, self.treatment) if side.metric in AT_TARGET]
        there = [scale for scale in self.scales if self.study is not None and scale in self.study.protocols]
        if needing and (without := [scale for scale in there if scale not in self.target]):
            raise ValueError(
                f"{needing[0]} of {self.id} needs a target at each of its scales, but has none at "
                f"{', '.join(without)}: add it to target, or leave the scale out of scales"
            )

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms it needs, the baseline first."""
        return tuple(dict.fromkeys((self.baseline.arm, self.treatment.arm)))

    def protocol(self, scale: str) -> Protocol:
        """The study's protocol of that scale with the arms of the claim alone.

        Raises:
            ValueError: there is no study, or it has no such scale.
        """
        if self.study is None:
            raise ValueError(f"{self.id} has no runs here: {self.original_run}")
        protocol = self.study.protocol(scale)
        return replace(protocol, arms={arm: protocol.arms[arm] for arm in self.arms})

    @property
    def subject(self) -> str:
        """The statement up to its bracket, if it has one: what variants of a claim share."""
        return self.statement.partition(" (")[0]

    @property
    def variant(self) -> str:
        """What stands in the bracket: which variant it is."""
        return self.statement.partition(" (")[2].removesuffix(")")

    @property
    def no_effect(self) -> float:
        """The effect's value when both arms are equally good."""
        return 1.0 if self.effect == "ratio" else 0.0

    @property
    def factor(self) -> int:
        """What an effect is multiplied by to be printed: 1 for a ratio, 100 for points and percent."""
        return 1 if self.effect == "ratio" else 100

    def additive(self, effect: float) -> float:
        """An effect as a number of which means are taken: the logarithm of a ratio, else the effect itself."""
        if self.effect != "ratio":
            return effect
        return math.log(effect) if effect else -math.inf

    def effect_of(self, additive: float) -> float:
        """The effect of such a number: the inverse of ``additive``."""
        return math.exp(additive) if self.effect == "ratio" else additive

    def number(self, value: float | None, form: str = ".3g") -> str:
        """An effect in a few words: "6x", "2 points", "37.5 %"; "-" for None. Those measured have the form ".1f"."""
        if value is None:
            return "-"
        text = f"{self.factor * value:{form}}"
        return text + (" point" if text == "1" and self.effect == "difference" else self.unit)

    @property
    def unit(self) -> str:
        """What a number of this effect ends with."""
        return {"ratio": "x", "difference": " points", "level": " %"}[self.effect]

    def command(self, scale: str | None = None, pairs: int = 0) -> str:
        """What runs what is missing of it at a scale, by default the smallest real one that can tell; "-" for nothing.

        As many seeds as the next look needs; after the last look nothing is missing.
        """
        if self.study is None or pairs >= LOOKS[-1]:
            return "-"
        real = [name for name in self.study.protocols if name in self.scales and name != "smoke"]
        seeds = next(look for look in LOOKS if pairs < look)
        return f"alexnet-repro claims run {self.id} --scale {scale or real[0]} --seeds {seeds} --data-root FOLDER"

    def paper_summary(self) -> str:
        """The paper's effect in a few words."""
        return "no number" if self.paper_value is None else self.number(self.paper_value)


def decide(claim: Claim, pairs: int, low: float | None, high: float | None) -> Outcome:
    """The rule; it stands since ``RULE_SINCE``.

    With P for the paper's effect, 0 for none (of a ratio 1), and the interval [low, high] of ours:

    - *reproduced*: low > 0, and the interval reaches P, or lies above it;
    - *smaller*: low > 0, but high < P;
    - *no effect found*: low <= 0 <= high < P;
    - *opposite*: high < 0;
    - *open*: all else, and fewer pairs than the first look takes.

    Where the paper gives no number there is no *smaller* and no *no effect found*. Of a level, which is an error:
    *reproduced* if the whole interval is below the paper's value plus ``LEVEL_MARGIN``, *opposite* if it is above.
    An interval without an upper end reproduces only what lies below its lower end.

    Args:
        claim: gives the kind of effect, and the paper's value.
        pairs: seeds that ran in both arms.
        low, high: ends of the interval of the effect, None where there is none; ``high`` is infinite where a run of
            the baseline, ``low`` 0 where one of the treatment was stopped before it reached the target.
    """
    if pairs < LOOKS[0] or low is None or high is None:
        return "open"
    none, value = claim.no_effect, claim.paper_value
    if claim.effect == "level":
        bound = value + LEVEL_MARGIN
        return "reproduced" if high <= bound else "opposite" if low > bound else "open"
    if high < none:
        return "opposite"
    if value is None:
        return "reproduced" if low > none else "open"
    if high < value:
        return "smaller" if low > none else "no effect found"
    return "reproduced" if low > (value if math.isinf(high) else none) else "open"
