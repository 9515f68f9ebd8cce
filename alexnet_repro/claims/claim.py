"""What a claim is: two measurements, an effect, the paper's number; and the rule that judges it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from alexnet_repro.claims.study import SCALES, Protocol, Study
from alexnet_repro.data import evaluation_split
from alexnet_repro.support.values import check_choice
from alexnet_repro.training.evaluate import TOP

Outcome = Literal["reproduced", "smaller", "no effect found", "opposite", "open", "exploratory", "not run"]
NO_VERDICT: tuple[Outcome, ...] = ("open", "exploratory", "not run")
AT_TARGET = ("epochs_to_train_error", "epochs_to_val_error", "val_error_at_target")  # metrics that need a target
Effect = Literal["ratio", "difference", "level"]
Metric = Literal[
    "epochs_to_target",  # until the arm's own target error, at which its training stops
    "epochs_to_train_error",  # until the training error came down to the claim's target
    "epochs_to_val_error",  # the same for the validation error
    "val_error_at_target",  # validation error when the training error in eval mode came down to the claim's target
    "top1_error",  # on validation or test images, all evaluation views
    "top5_error",  # on the same
    "centre_error",  # on the same, centre crop only
    "train_eval_error",  # on training images, centre crop only, network in eval mode
    "generalization_gap",  # centre_error minus train_eval_error
    "color_difference",  # between the two towers' first-layer filters: inspect.tower_color
    "color_difference_chance",  # between random halves of the same filters
]
RULE_SINCE = "2026-11-27"  # the date since which ``decide`` has been the rule
LOOKS = (5, 10)  # numbers of pairs of runs: a verdict is given at these, and at no others
LEVEL = 0.9725  # confidence of the interval at each look; both contain the true effect with probability 95 %
LEVEL_MARGIN = 0.005  # fraction: an error at most this much above the paper's reproduces it. OURS


@dataclass(frozen=True)
class Measurement:
    """One number taken from every run of an arm."""

    arm: str  #: its name in the study's protocols
    metric: Metric  #: the quantity that is taken from its records


@dataclass(frozen=True)
class Fixed:
    """When a claim was fixed."""

    date: str  #: date and time, UTC, as in records
    revision: str  #: the first commit that contains the claim in this form; all later ones do too


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim of the paper.

    Attributes:
        id: its name.
        section: number of the paper's section.
        statement: the claim in one sentence, in our words.
        chapter: the book's page about it.
        study: the runs that can decide the claim; None: this project has none.
        baseline: the measurement without what is claimed to help.
        treatment: the measurement with it.
        effect: "ratio", baseline over treatment; "difference", baseline minus treatment; or "level", the treatment's
            number itself.
        paper_value: the effect that the paper claims, a ratio or a fraction, 0.02 for 2 points; None: it only says that
            there is one.
        original_run: the surviving 2012 record of the comparison, in words.
        original_value: the effect according to that record.
        target: scale -> error to be reached, as a fraction, for metrics that need one.
        scales: those at which runs can decide the claim.
        fixed: when the claim got its present form; runs that began earlier are only exploratory. None: it is not fixed.

    Raises:
        ValueError: an unknown effect, metric, arm or scale; a level lacks the paper's number, or a metric that needs a
            target lacks one at some scale; a target is no fraction; an arm's runs would not measure the metric.
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
        check_choice(f"effect of {self.id}", self.effect, get_args(Effect))
        for side in (self.baseline, self.treatment):
            check_choice(f"metric of {self.id}", side.metric, get_args(Metric))
            for protocol in self.study.protocols.values() if self.study is not None else ():
                check_choice(f"arm of {self.id}", side.arm, tuple(protocol.arms))
        for scale in (*self.scales, *self.target):
            check_choice(f"a scale of {self.id}", scale, SCALES)
        if wrong := [target for target in self.target.values() if not 0 < target < 1]:
            raise ValueError(f"a target of {self.id} is a fraction between 0 and 1, 0.25 for 25 %, not {wrong[0]!r}")
        if self.effect == "level" and self.paper_value is None:
            raise ValueError(f"{self.id} is a level, which is compared with the paper's number: give it paper_value")
        needing = [side.metric for side in (self.baseline, self.treatment) if side.metric in AT_TARGET]
        there = [scale for scale in self.scales if self.study is not None and scale in self.study.protocols]
        if needing and (without := [scale for scale in there if scale not in self.target]):
            raise ValueError(
                f"{needing[0]} of {self.id} needs a target at each of its scales, but has none at "
                f"{', '.join(without)}: add it to target, or leave the scale out of scales"
            )
        for scale in there:
            for side in (self.baseline, self.treatment):
                if lacking := _lacking(side, self.protocol(scale)):
                    raise ValueError(f"{side.metric} of {self.id} needs {lacking}, which {side.arm} lacks at {scale}")

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms that it needs, the baseline first."""
        return tuple(dict.fromkeys((self.baseline.arm, self.treatment.arm)))

    def protocol(self, scale: str) -> Protocol:
        """The study's protocol at that scale, with only the claim's arms.

        Raises:
            ValueError: there is no study, or it has no such scale.
        """
        if self.study is None:
            raise ValueError(f"{self.id} has no runs here: {self.original_run}")
        protocol = self.study.protocol(scale)
        return replace(protocol, arms={arm: protocol.arms[arm] for arm in self.arms})

    @property
    def subject(self) -> str:
        """The statement up to its parenthesis, if it has one: the part that variants of a claim share."""
        return self.statement.partition(" (")[0]

    @property
    def variant(self) -> str:
        """The text in the parentheses, which names the variant; empty if there is none."""
        return self.statement.partition(" (")[2].removesuffix(")")

    @property
    def no_effect(self) -> float:
        """The effect's value when both arms are equally good."""
        return 1.0 if self.effect == "ratio" else 0.0

    @property
    def factor(self) -> int:
        """The factor by which an effect is multiplied for printing: 1 for a ratio, 100 for points and percent."""
        return 1 if self.effect == "ratio" else 100

    def additive(self, effect: float) -> float:
        """An effect on the scale on which means are taken: the logarithm of a ratio, else the effect itself."""
        if self.effect != "ratio":
            return effect
        return math.log(effect) if effect else -math.inf

    def effect_of(self, additive: float) -> float:
        """The effect that such a number stands for: the inverse of ``additive``."""
        return math.exp(additive) if self.effect == "ratio" else additive

    def number(self, value: float | None, form: str = ".3g") -> str:
        """An effect as text: "6x", "2 points", "37.5 %"; "-" for None."""
        if value is None:
            return "-"
        text = f"{self.factor * value:{form}}"
        return text + {"ratio": "x", "difference": " point" + "s" * (text != "1"), "level": " %"}[self.effect]

    def command(self, scale: str | None = None, pairs: int = 0) -> str:
        """The command for the runs that the claim lacks, by default at the smallest scale that can decide it.

        It runs as many seeds as the next look needs; "-" if there is no such scale but smoke, or after the last look.

        Args:
            scale: scale of the claim's records; None: it has none.
            pairs: number of pairs of runs among them.
        """
        protocols = () if self.study is None else self.study.protocols
        real = [name for name in protocols if name in self.scales and name != "smoke"]
        if not real or pairs >= LOOKS[-1]:
            return "-"
        seeds = next(look for look in LOOKS if pairs < look)
        return f"alexnet-repro claims run {self.id} --scale {scale or real[0]} --seeds {seeds} --data-root FOLDER"

    def paper_summary(self) -> str:
        """The paper's effect in a few words."""
        return "no number" if self.paper_value is None else self.number(self.paper_value)


def _lacking(side: Measurement, protocol: Protocol) -> str | None:
    """What a metric needs of the arm's configuration, or of the data set, and does not find there; None: nothing."""
    arm = protocol.arms[side.arm]
    match side.metric:
        case "epochs_to_target":
            return "train.target_error" if arm.train.target_error is None else None
        case "epochs_to_val_error" | "val_error_at_target":
            return None if evaluation_split(protocol.dataset) == "val" else "a data set with validation images"
        case "top5_error":
            return None if arm.net.num_classes > TOP else f"more than {TOP} classes"
        case "centre_error" | "train_eval_error" | "generalization_gap":
            return "input.crop" if arm.input.crop is None else None
        case "color_difference" | "color_difference_chance":
            return None if arm.net.towers == 2 else "two towers"
    return None


def decide(claim: Claim, pairs: int, low: float | None, high: float | None) -> Outcome:
    """The rule that judges a claim, in force since ``RULE_SINCE``.

    P is the paper's effect, 0 stands for no effect (1 for a ratio), and [low, high] is the interval of our effect:

    - *reproduced*: low > 0, and the interval reaches P or lies above it;
    - *smaller*: low > 0, but high < P;
    - *no effect found*: low <= 0 <= high < P;
    - *opposite*: high < 0;
    - *open*: everything else, and whenever there are fewer pairs than the first look needs.

    Where the paper gives no number, *smaller* and *no effect found* do not occur. A level, which is an error, is
    *reproduced* if its whole interval is at most the paper's value plus ``LEVEL_MARGIN``, and *opposite* if it is
    above. An interval without an upper end reproduces the paper's effect only if its lower end exceeds it.

    Args:
        claim: supplies the kind of effect and the paper's value.
        pairs: number of seeds that ran in both arms.
        low, high: ends of the effect's interval; None: there is none. ``high`` is infinite if a baseline run was
            stopped before it reached the target, ``low`` is 0 if a treatment run was.
    """
    if pairs < LOOKS[0] or low is None or high is None:
        return "open"
    none, value = claim.no_effect, claim.paper_value
    if claim.effect == "level" and value is not None:
        bound = value + LEVEL_MARGIN
        return "reproduced" if high <= bound else "opposite" if low > bound else "open"
    if high < none:
        return "opposite"
    if value is None:
        return "reproduced" if low > none else "open"
    if high < value:
        return "smaller" if low > none else "no effect found"
    return "reproduced" if low > (value if math.isinf(high) else none) else "open"
