"""Records of runs, and what several of them say together."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_repro.claims import Claim, Measurement, Outcome, decide, find, study_of
from alexnet_repro.studies import STUDIES, Protocol, Study
from alexnet_repro.values import as_json, differences, read_sealed, write_sealed

PACKAGE = Path(__file__).resolve().parent
BOOK = PACKAGE / "book" if (PACKAGE / "book").is_dir() else PACKAGE.parent / "book"  # installed, else the repository's
EVIDENCE_FOLDER = BOOK / "evidence"
CHECKPOINT = ".pt"  # ending of what lies in a record's place until its run is finished


class EvidenceError(ValueError):
    """A record is damaged, or was made with another configuration than the claim's."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One run: what was run, on what, and what came out. Plain JSON values throughout."""

    study: str  #: its id
    scale: str  #: "smoke", "laptop" or "paper"
    arm: str  #: its name in the study's protocol
    seed: int  #: of all chance in the run
    config: dict[str, Any]  #: the whole arm and the data set's name
    config_hash: str  #: sha256 of it
    data: dict[str, dict[str, Any]]  #: split -> fingerprint
    environment: dict[str, Any]  #: code revision, versions, hardware, threads
    seconds: float  #: training and evaluation
    ended: str  #: as History.ended
    epochs: list[dict[str, float]]  #: as History.epochs
    #: train_error, epochs_to_target, what ``evaluate`` gives, ``slope_<layer>``; of crops centre_error (held-out
    #: pictures) and fitted_error (training pictures), the centre alone; of two towers ``filters.tower_color``
    final: dict[str, float | None]

    @property
    def path(self) -> Path:
        """Where it lies within a folder of evidence."""
        return record_path(self.study, self.scale, self.arm, self.seed)

    def save(self, folder: Path) -> None:
        """Writes the record, with a checksum over all of it."""
        write_sealed(folder / self.path, dataclasses.asdict(self))

    @classmethod
    def load(cls, path: Path) -> Record:
        """Reads a record; ``EvidenceError`` if it is incomplete or was changed."""
        try:
            content = read_sealed(path)
        except ValueError as error:
            raise EvidenceError(f"{error}. Restore it, or delete it and run it again.") from error
        try:
            return cls(**content)
        except TypeError as error:
            raise EvidenceError(f"{path} is not a record ({error}). Delete it and run it again.") from error


def record_path(study: str, scale: str, arm: str, seed: int) -> Path:
    """Where a run's record lies within a folder of evidence; without spaces, which make does not know how to handle."""
    return Path(study, scale, f"{arm.replace(' ', '-')}-seed{seed}.json")


def arm_config(protocol: Protocol, arm: str) -> dict[str, Any]:
    """The configuration that a record of that arm carries."""
    size = {} if protocol.size is None else {"size": protocol.size}
    return {"dataset": protocol.dataset} | size | as_json(protocol.arms[arm])


def load_evidence(
    claim: str | Claim | Study,
    scale: str | None = None,
    folder: str | os.PathLike[str] | None = None,
    *,
    all_arms: bool = False,
) -> list[Record]:
    """All records of a claim, or of a study, at a scale, by arm and seed; an empty list if there are none.

    Args:
        claim: a claim or a study, or the id of one. Of a claim the records of its arms, at the scales that can tell.
        scale: "smoke", "laptop" or "paper"; None: the largest of them that has records.
        folder: the evidence; None: the book's own, ``book/evidence``.
        all_arms: of a claim the records of its study's other arms too.

    Raises:
        EvidenceError: a record is damaged, lies in the wrong place, or its configuration is no longer the study's.
        ValueError: an unknown id or scale.

    Example:
        >>> from alexnet_repro import load_evidence
        >>> records = load_evidence("relu", "paper")
        >>> [(record.arm, record.seed) for record in records if record.seed < 2]
        [('tanh', 0), ('tanh', 1), ('relu', 0), ('relu', 1)]
        >>> records[0].config["net"]["activation"], len(records[0].epochs) == records[0].epochs[-1]["epoch"]
        ('tanh', True)
    """
    claim = find(claim)
    study, arms = study_of(claim)
    if study is None:
        return []
    if scale is None:
        found = (load_evidence(claim, other, folder, all_arms=all_arms) for other in reversed(study.protocols))
        return next(filter(None, found), [])
    if isinstance(claim, Claim) and scale not in claim.scales and not all_arms:
        return []
    root = _root(folder)
    records = [_checked(path, study, scale, root) for path in _paths(study, scale, root)]
    order = list(study.protocol(scale).arms)
    of_arms = [record for record in records if all_arms or arms is None or record.arm in arms]
    return sorted(of_arms, key=lambda r: (order.index(r.arm), r.seed))


def problems(folder: str | os.PathLike[str] | None = None, known: Iterable[Path] = ()) -> list[str]:
    """What is wrong with a folder of evidence, a line each: damaged, edited, stale and misplaced records, other files.

    The checkpoint of a run that has no record yet is not.

    Args:
        folder: the evidence; None: the book's own.
        known: files in it that are no records of a study, and right.
    """
    root = _root(folder)
    found, right = [], set(known)
    for study in STUDIES.values():
        for scale in study.protocols:
            right.update((root / study.id / scale).glob(f"*{CHECKPOINT}"))
            for path in _paths(study, scale, root):
                right.add(path)
                try:
                    _checked(path, study, scale, root)
                except EvidenceError as error:
                    found.append(str(error))
    others = {path for path in root.rglob("*") if path.is_file()} - right
    return found + [f"{path} is no record of any study. Remove it." for path in sorted(others)]


def recorded_run_path(scale: str, folder: Path = EVIDENCE_FOLDER) -> Path:
    """Where the recorded full run at a scale lies, if there is one."""
    return folder / "full-run" / scale / "run145-seed0.json"


def _root(folder: str | os.PathLike[str] | None) -> Path:
    return Path(folder) if folder is not None else EVIDENCE_FOLDER


def _paths(study: Study, scale: str, root: Path) -> list[Path]:
    study.protocol(scale)  # refuses a scale that there is not
    return sorted((root / study.id / scale).glob("*.json"))


def _checked(path: Path, study: Study, scale: str, root: Path) -> Record:
    protocol, record = study.protocol(scale), Record.load(path)
    if root / record.path != path or record.arm not in protocol.arms:
        raise EvidenceError(f"{path} holds {record.path}, which does not belong there")
    if changed := differences(record.config, arm_config(protocol, record.arm)):
        raise EvidenceError(f"{path} is stale: since it was recorded, {'; '.join(changed)}. Run it again.")
    return record


def epochs_to_target(train_errors: Sequence[float], target: float, chance: float) -> float | None:
    """When a training error, given per epoch, first comes down to ``target``: in epochs, or None if it does not.

    Each epoch's error is put at the epoch's end, that of guessing at 0; in between, straight lines.

    Args:
        train_errors: fractions, from the first epoch on.
        target: fraction.
        chance: the error of guessing, fraction.
    """
    before = chance
    for epoch, error in enumerate(train_errors, start=1):
        if error <= target:
            return epoch - 1 + (before - target) / (before - error) if error < before else float(epoch)
        before = error
    return None


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
        pairs: seeds that ran in both arms.
        estimate: geometric mean of the ratios, or mean of the differences; None if it can't be bounded.
        low, high: its 95 % interval (Student's t over pairs); None with fewer than 2 pairs. ``high`` is infinite
            where the effect is only known to be at least so large.
        values: the effect of every pair, by seed.
        unfinished_baseline, unfinished_treatment: runs among the pairs that were stopped short of the target.
    """

    claim: Claim
    outcome: Outcome
    pairs: int
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    values: tuple[float, ...] = ()
    unfinished_baseline: int = 0
    unfinished_treatment: int = 0

    def summary(self) -> str:
        """The effect and its interval in a few words: "2.1x [1.9, 2.3]", "at least 5.2x", "1.4 points", "-"."""
        if self.estimate is None:
            return "-"
        scale = 1 if self.claim.effect == "ratio" else 100
        text = f"{'at least ' * bool(self.unfinished_baseline)}{self.claim.number(self.estimate, '.1f')}"
        if self.low is None or self.high is None:
            return text
        upper = "∞" if math.isinf(self.high) else f"{scale * self.high:.1f}"
        return f"{text} [{scale * self.low:.1f}, {upper}]"

    def bootstrap(self) -> tuple[float, float] | None:
        """The 95 % interval of the same effect by resampling its pairs; None with fewer than 2 of them."""
        found = None if len(self.values) < 2 else bootstrap_interval(self._additive())
        return found if found is None or self.claim.effect != "ratio" else (math.exp(found[0]), math.exp(found[1]))

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
    counts = {
        "claim": claim,
        "pairs": len(seeds),
        "unfinished_baseline": sum(value is None for value in before),
        "unfinished_treatment": sum(value is None for value in after),
    }
    if not seeds:
        return Verdict(outcome="not run", **counts)
    if counts["unfinished_treatment"]:
        return Verdict(outcome="inconclusive", **counts)
    stopped = [float(len(by_arm[claim.baseline.arm][seed].epochs)) for seed in seeds]
    before = [end if value is None else value for value, end in zip(before, stopped, strict=True)]
    effects = [_effect(claim, b, a) for b, a in zip(before, after, strict=True)]
    if claim.effect == "ratio":
        logs = [math.log(value) for value in effects]
        estimate, low, high = (None if x is None else math.exp(x) for x in mean_interval(logs))
    else:
        estimate, low, high = mean_interval(effects)
    if counts["unfinished_baseline"] and high is not None:
        high = math.inf
    outcome = decide(claim, len(seeds), low, high)
    return Verdict(outcome=outcome, estimate=estimate, low=low, high=high, values=tuple(effects), **counts)


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
        case "overfitting":
            return record.final["centre_error"] - record.final["fitted_error"]
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
    from scipy.stats import t

    mean, error = _mean_and_error(values)
    if error is None:
        return mean, None, None
    half = float(t.ppf(0.975, len(values) - 1)) * error
    return mean, mean - half, mean + half


def bootstrap_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the mean by 9,999 resamplings, bias-corrected and accelerated; the same at every call.

    Args:
        values: at least two.
    """
    from scipy.stats import bootstrap

    if len(set(values)) == 1:
        return values[0], values[0]
    found = bootstrap((values,), np.mean, rng=np.random.default_rng(0)).confidence_interval
    return float(found.low), float(found.high)


def resolvable(values: Sequence[float], power: float = 0.8) -> float:
    r"""The smallest mean that so many values, as scattered as these, tell from 0 with this probability.

    .. math:: (t_{0.975} + t_\text{power}) \, s / \sqrt{n}

    with Student's quantiles for n - 1 degrees of freedom.

    Args:
        values: at least 2; s is their standard deviation.
        power: of the test, a probability.
    """
    from scipy.stats import t

    _, error = _mean_and_error(values)
    freedom = len(values) - 1
    return float(t.ppf(0.975, freedom) + t.ppf(power, freedom)) * error


def _mean_and_error(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean and its standard error, of at least 2 values."""
    n = len(values)
    mean = math.fsum(values) / n
    if n < 2:
        return mean, None
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1) / n)
