"""Records of runs, and what several of them say together."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet_repro.claims import STUDIES, Claim, Outcome, Protocol, decide
from alexnet_repro.files import write_atomically
from alexnet_repro.values import as_json, differences, digest

EVIDENCE_FOLDER = Path(__file__).resolve().parents[1] / "book" / "evidence"


class EvidenceError(ValueError):
    """A record is damaged, or was made with another configuration than the claim's."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One run: what was run, on what, and what came out. Plain JSON values throughout."""

    study: str
    scale: str
    arm: str
    seed: int
    config: dict[str, Any]  # the whole arm and the data set's name
    config_hash: str  # sha256 of it
    data: dict[str, dict[str, Any]]  # split -> fingerprint
    environment: dict[str, Any]  # code revision, versions, hardware, threads
    seconds: float  # training and evaluation
    ended: str  # as History.ended
    epochs: list[dict[str, float]]  # as History.epochs
    final: dict[str, float | None]  # train_error, epochs_to_target, what ``evaluate`` gives, slope_<layer>; of crops
    # centre_error (held-out pictures) and fitted_error (training pictures), the centre alone; of two towers tower_color

    @property
    def path(self) -> Path:
        """Where it lies within a folder of evidence; without spaces, which make does not know how to handle."""
        return Path(self.study, self.scale, f"{self.arm.replace(' ', '-')}-seed{self.seed}.json")

    def save(self, folder: Path) -> None:
        """Writes the record, with a checksum over all of it, so that a digit changed by hand is found."""
        content = dataclasses.asdict(self)
        write_atomically(folder / self.path, json.dumps(content | {"checksum": digest(content)}, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Record:
        """Reads a record; ``EvidenceError`` if it is incomplete or was changed."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            checksum = content.pop("checksum")
            record = cls(**content)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise EvidenceError(f"{path} is not a record ({error}). Delete it and run it again.") from error
        if checksum != digest(content):
            raise EvidenceError(f"{path} was changed after it was written. Restore it, or delete it and run it again.")
        return record


def arm_config(protocol: Protocol, arm: str) -> dict[str, Any]:
    """The configuration that a record of that arm carries."""
    size = {} if protocol.size is None else {"size": protocol.size}
    return {"dataset": protocol.dataset} | size | as_json(protocol.arms[arm])


def load_evidence(study: str, scale: str | None = None, folder: str | os.PathLike[str] | None = None) -> list[Record]:
    """All records of a claim (or rate search) at a scale, by arm and seed; an empty list if there are none.

    Args:
        study: id of the claim.
        scale: "smoke", "laptop" or "paper"; None: the largest of them that has records.
        folder: the evidence; None: the book's own, ``book/evidence``.

    Raises:
        EvidenceError: a record is damaged, lies in the wrong place, or its configuration is no longer the claim's.
    """
    if scale is None:
        found = (load_evidence(study, name, folder) for name in reversed(STUDIES[study].protocols))
        return next(filter(None, found), [])
    protocol = STUDIES[study].protocol(scale)
    records = []
    root = Path(folder) if folder is not None else EVIDENCE_FOLDER
    for path in sorted((root / study / scale).glob("*.json")):
        record = Record.load(path)
        if root / record.path != path or record.arm not in protocol.arms:
            raise EvidenceError(f"{path} holds {record.path}, which does not belong there")
        if changed := differences(record.config, arm_config(protocol, record.arm)):
            raise EvidenceError(f"{path} is stale: since it was recorded, {'; '.join(changed)}. Run it again.")
        records.append(record)
    return sorted(records, key=lambda r: (list(protocol.arms).index(r.arm), r.seed))


def epochs_to_target(train_errors: Sequence[float], target: float, chance: float) -> float | None:
    """When a training error, given per epoch, first comes down to ``target``: in epochs, or None if it does not.

    Each epoch's error is put at the epoch's end, ``chance`` (the error of guessing) at 0; in between, straight lines.
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
        unfinished_baseline, unfinished_treatment: runs among the pairs that were stopped short of the target.
    """

    claim: Claim
    outcome: Outcome
    pairs: int
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    unfinished_baseline: int = 0
    unfinished_treatment: int = 0

    def summary(self) -> str:
        """The effect and its interval in a few words: "2.1x [1.9, 2.3]", "at least 5.2x", "1.4 points", "-"."""
        if self.estimate is None:
            return "-"
        scale, unit = (1, "x") if self.claim.effect == "ratio" else (100, " points")
        text = f"{'at least ' * bool(self.unfinished_baseline)}{scale * self.estimate:.1f}{unit}"
        if self.low is None or self.high is None:
            return text
        upper = "∞" if math.isinf(self.high) else f"{scale * self.high:.1f}"
        return f"{text} [{scale * self.low:.1f}, {upper}]"


def verdict(claim: Claim, records: Iterable[Record]) -> Verdict:
    """The claim's effect, paired by seed, its 95 % interval, and what the rule makes of it.

    A baseline run that never reached the target counts as having reached it when it was stopped, which can only make
    the effect smaller than it is. A treatment run that never did leaves the effect without a bound on the safe side:
    no estimate is given, and the outcome is "inconclusive".
    """
    by_arm: dict[str, dict[int, Record]] = {claim.baseline: {}, claim.treatment: {}}
    for record in records:
        by_arm[record.arm][record.seed] = record
    seeds = sorted(by_arm[claim.baseline].keys() & by_arm[claim.treatment].keys())
    baseline = [by_arm[claim.baseline][seed] for seed in seeds]
    treatment = [by_arm[claim.treatment][seed] for seed in seeds]
    counts = {
        "claim": claim,
        "pairs": len(seeds),
        "unfinished_baseline": sum(record.final[claim.metric] is None for record in baseline),
        "unfinished_treatment": sum(record.final[claim.metric] is None for record in treatment),
    }
    if not seeds:
        return Verdict(outcome="not run", **counts)
    if counts["unfinished_treatment"]:
        return Verdict(outcome="inconclusive", **counts)
    before = [_reached(record, claim.metric) for record in baseline]
    after = [_reached(record, claim.metric) for record in treatment]
    if claim.effect == "ratio":
        logs = [math.log(b / a) for b, a in zip(before, after, strict=True)]
        estimate, low, high = (None if x is None else math.exp(x) for x in mean_interval(logs))
    else:
        estimate, low, high = mean_interval([b - a for b, a in zip(before, after, strict=True)])
    if counts["unfinished_baseline"] and high is not None:
        high = math.inf
    return Verdict(outcome=decide(claim, len(seeds), low, high), estimate=estimate, low=low, high=high, **counts)


def mean_interval(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """The mean and its 95 % interval by Student's t; without an interval for a single value."""
    from scipy.stats import t

    n = len(values)
    mean = math.fsum(values) / n
    if n < 2:
        return mean, None, None
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = float(t.ppf(0.975, n - 1)) * deviation / math.sqrt(n)
    return mean, mean - half, mean + half


def _reached(record: Record, metric: str) -> float:
    value = record.final[metric]
    return float(len(record.epochs)) if value is None else value
