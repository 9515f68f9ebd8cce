"""The record of a run: what was run, on what, and what came out."""

from __future__ import annotations

import base64
import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from alexnet_repro.support.values import read_sealed, typed, write_sealed
from alexnet_repro.training.state import Epoch


class EvidenceError(ValueError):
    """A record is damaged, or was made with a configuration other than the one it is needed for."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """The record of one run, in plain JSON values."""

    study: str = ""  #: id of the study; empty, like the next two: the run belongs to none
    scale: str = ""  #: "smoke", "laptop", "gpu" or "paper"
    arm: str = ""  #: name of the arm in the study's protocol
    seed: int  #: seed of all random numbers in the run
    config: dict[str, Any]  #: the whole ``RunConfig``
    config_hash: str  #: sha256 of ``config``
    data: dict[str, dict[str, Any]]  #: split -> fingerprint
    environment: dict[str, Any]  #: code revision, versions, hardware, threads; on a GPU, whether TF32 was used
    started: str | None = None  #: date and time, UTC; None: an older record, which lacks it
    seconds: float  #: duration of training and evaluation
    ended: str  #: as History.ended
    #: as History.epochs; the results of ``validate`` are val_error (top-1), val_top5_error and val_log_probability,
    #: and train_eval_error, on some training images
    epochs: list[dict[str, float | None]]
    #: train_error, epochs_to_target, the results of ``evaluate``, ``derivative_<layer>``; with crops, centre_error
    #: (evaluation images) and train_eval_error (training images), both on centre crops in eval mode; with two towers,
    #: ``inspect.tower_color``; for an exported network, agreement_pixels, agreement_untrained and agreement_trained
    final: dict[str, float | None]
    mistakes: str | None = None  #: which evaluation images are misclassified, over all views; see ``wrong``
    weights: str | None = None  #: sha256 of the file that its network was exported to
    migrated: str | None = None  #: what was renamed in it since it was made

    @property
    def path(self) -> Path:
        """The path of the record within a folder of evidence."""
        return record_path(self.study, self.scale, self.arm, self.seed)

    def wrong(self) -> np.ndarray | None:
        """Whether each evaluation image is misclassified, bool, in the data set's order; None if it is not recorded."""
        if self.mistakes is None:
            return None
        images = next(data["images"] for split, data in self.data.items() if split != "train")
        bits = np.frombuffer(base64.b64decode(self.mistakes), np.uint8)
        return np.unpackbits(bits, count=images).astype(bool)

    def write(self, path: Path) -> None:
        """Writes the record, with a checksum over all of it."""
        write_sealed(path, {name: value for name, value in dataclasses.asdict(self).items() if value not in (None, "")})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Record:
        """Reads a record; ``EvidenceError`` if it is incomplete or was changed."""
        path = Path(path)
        try:
            content = read_sealed(path)
        except ValueError as error:
            raise EvidenceError(f"{error}. Restore it, or delete it and run it again.") from error
        try:
            record = typed(cls, content)
            if len({bool(label) for label in (record.study, record.scale, record.arm)}) > 1:
                raise ValueError("study, scale and arm go together")
            if record.started is not None:
                datetime.fromisoformat(record.started)
            if missing := [split for split, data in record.data.items() if not isinstance(data.get("sha256"), str)]:
                raise ValueError(f"data.{missing[0]} has no sha256")
            return record
        except ValueError as error:
            raise EvidenceError(f"{path} is not a record ({error}). Delete it and run it again.") from error


def record_path(study: str, scale: str, arm: str, seed: int) -> Path:
    """The path of a run's record within a folder of evidence; without spaces, which make cannot handle."""
    return Path(study, scale, f"{arm.replace(' ', '-')}-seed{seed}.json")


def conditions(data: Mapping[str, Mapping[str, Any]], environment: Mapping[str, Any]) -> dict[str, Any]:
    """What runs must share to be compared, of a record's fields: the data, the kind of hardware, the torch version."""
    pixels = {f"sha256 of {split}": fingerprint["sha256"] for split, fingerprint in data.items()}
    return pixels | {name: environment.get(name) for name in ("device_kind", "torch")}


def plain_epoch(epoch: Epoch) -> dict[str, float | None]:
    """An epoch in the form that a record has."""
    plain = {name: value for name, value in dataclasses.asdict(epoch).items() if name != "val"}
    named = {"top1_error": "val_error", "train_eval_error": "train_eval_error"}
    return finite(plain | {named.get(name, f"val_{name}"): value for name, value in (epoch.val or {}).items()})


def packed(wrong: Tensor) -> str:
    """One bit per image, in base64, as in a record."""
    return base64.b64encode(np.packbits(wrong.cpu().numpy()).tobytes()).decode()


def finite(values: dict[str, float | None]) -> dict[str, float | None]:
    """Replaces values that are not finite, which JSON does not have, by None."""
    return {name: None if value is None or not math.isfinite(value) else value for name, value in values.items()}


def epochs_to_target(train_errors: Sequence[float], target: float, chance: float) -> float | None:
    """The number of epochs, interpolated, until the training error first falls to ``target``; None if it never does.

    Each epoch's error counts at the end of the epoch, and the error of guessing at 0; linear interpolation in between.

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
