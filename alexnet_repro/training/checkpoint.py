"""The files of a run, and those to go on from: whole or absent, and of one configuration only."""

from __future__ import annotations

import errno
import pickle
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alexnet_repro.support.files import write_atomically
from alexnet_repro.support.values import differences, typed

FORMAT = 1
LAST, BEST, CONFIG, LOG, RESULT = "last.pt", "best.pt", "config.json", "log.jsonl", "result.json"
DAMAGES = (
    zipfile.BadZipFile, zlib.error, pickle.UnpicklingError, EOFError, RuntimeError, ArithmeticError, LookupError,
    AttributeError, TypeError, ValueError,
)  # fmt: skip
SHOWN = 5  # names in an error
CHECKPOINT = ".pt"  # ending of what lies in a record's place until its run is finished


@dataclass(frozen=True)
class Files:
    """Where a run keeps what it leaves. None: it is not kept."""

    last: Path | None = None  #: checkpoint to go on from
    result: Path | None = None  #: its record
    best: Path | None = None  #: checkpoint of the lowest validation error
    config: Path | None = None  #: its configuration, written before anything takes time
    log: Path | None = None  #: a line of JSON an epoch

    @classmethod
    def of_folder(cls, out: Path) -> Files:
        """A run of its own: everything in one folder."""
        return cls(out / LAST, out / RESULT, out / BEST, out / CONFIG, out / LOG)

    @classmethod
    def of_record(cls, path: Path) -> Files:
        """A run of a study: its record and, until that is there, a checkpoint in its place."""
        return cls(path.with_suffix(CHECKPOINT), path)

    @property
    def lock(self) -> Path | None:
        """What is locked while the run is under way; it ends like a checkpoint, and is as little of a record."""
        return None if self.last is None else self.last.with_name(f".lock-{self.last.name}")

    @property
    def kept(self) -> list[Path]:
        return [path for path in (self.last, self.result, self.best, self.config, self.log) if path is not None]


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """All that a run is, without the places and names of its data: these are what their checksums say."""
    known = {name: value for name, value in config.items() if name not in ("dataset", "data")}
    if "data" not in config:
        return known
    places = ("name", "origin")
    data = {
        split: {name: value for name, value in fingerprint.items() if name not in places}
        for split, fingerprint in config["data"].items()
    }
    return known | {"data": data}


class CheckpointError(ValueError):
    """A checkpoint is missing or damaged, or belongs to another run."""


@dataclass(frozen=True, kw_only=True)
class Saved:
    """The state in a run's checkpoint; an exported network has only the first three."""

    training: dict[str, Any]  #: ``Training.state_dict()``
    input: dict[str, Tensor]  #: ``InputTransform.state_dict()``
    classes: list[str] | None = None  #: their names
    best: float | None = None  #: the lowest validation error
    seconds: float | None = None  #: that it has taken
    started: str | None = None  #: date and time, UTC


@dataclass(frozen=True)
class State:
    """What ``Training.state_dict`` gives, by name."""

    model: Mapping[str, Tensor]
    velocities: Mapping[str, Tensor]
    batches: dict[str, Any] | None
    generators: list[Tensor]
    torch: Tensor
    cuda: Tensor | None
    scaler: dict[str, Any]
    epochs: list[dict[str, Any]]
    counts: dict[str, Any]
    tally: Tensor
    recent: Tensor


@dataclass(frozen=True)
class Counts:
    """Of ``State``."""

    step: int
    seconds: float
    first_loss: float | None


@contextmanager
def reading(what: object) -> Iterator[None]:
    """``CheckpointError`` for whatever is missing or of another kind in what is read."""
    try:
        yield
    except CheckpointError:
        raise
    except DAMAGES as error:
        raise CheckpointError(f"{what} is no whole checkpoint: {_in_a_line(error)}") from error


def save_checkpoint(path: Path, config: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Writes a checkpoint, whole or not at all.

    Args:
        path: of the file; its folder is made.
        config: plain JSON values, all that the run is; a run of another will be refused.
        state: tensors and plain values in lists and dictionaries, e.g. ``Training.state_dict()``.

    Raises:
        OSError: it can't be written; what was there before is as it was.
    """
    try:
        write_atomically(path, lambda file: torch.save({"format": FORMAT, "config": config, "state": state}, file))
    except RuntimeError as error:  # torch's own for what the file system refuses
        raise OSError(errno.EIO, f"{path} can't be written: is the disk full? {error}") from error


def load_checkpoint(path: Path, config: Mapping[str, Any] | None = None, *, mmap: bool = False) -> dict[str, Any]:
    """``config`` and ``state`` of a checkpoint, tensors on the CPU; nothing in the file is executed.

    Args:
        path: of the file.
        config: that of the run that wants to go on from it, wherever its data lie now; None: of whatever run it is.
        mmap: tensors are read when they are used, unchecked; for a quick look at the rest.

    Raises:
        CheckpointError: there is none, it is damaged, or it is another configuration's: names what differs.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} is no checkpoint: there is no such file")
    with reading(path):
        if not mmap:
            _check_sums(path)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        found, state, version = content["config"], content["state"], content["format"]
        if version != FORMAT:
            raise CheckpointError(f"{path} has format {version}, this version reads {FORMAT}")
        if config is not None and (changed := differences(identity(found), identity(config))):
            raise CheckpointError(
                f"{path} belongs to another run: {'; '.join(changed)}. Choose another folder, or the old settings"
            )
    return {"config": found, "state": state}


def load_saved(path: Path, config: Mapping[str, Any], classes: Sequence[str]) -> Saved:
    """The state of a run's checkpoint, to go on from.

    Args:
        path, config: as for ``load_checkpoint``.
        classes: of the images.

    Raises:
        CheckpointError: as for ``load_checkpoint``, or it is no such state, or one of other classes.
    """
    with reading(path):
        saved = typed(Saved, load_checkpoint(path, config)["state"])
        if None in (saved.best, saved.seconds, saved.started):
            raise ValueError("what a training needs is missing, as of an exported network")
        typed(Counts, typed(State, saved.training).counts)
    check_classes(path, saved.classes, classes)
    return saved


def check_classes(path: Path, known: Sequence[str] | None, classes: Sequence[str]) -> None:
    """Refuses a checkpoint whose classes are not these, in this order; one that keeps no names is taken as it is.

    Raises:
        CheckpointError: names those that differ.
    """
    if known is not None and list(known) != list(classes):
        class_order(path, known, classes)
        raise CheckpointError(f"{path} has the same classes in another order. Choose another folder")


def class_order(path: Path, known: Sequence[str], classes: Sequence[str]) -> Tensor:
    """The number that a network knows each of the classes by.

    Args:
        path: of its checkpoint.
        known: its classes, by its own numbers.
        classes: the same, in any order.

    Shape: (classes,) int64.

    Raises:
        CheckpointError: they are not the same; names those that differ.
    """
    if list(known) == list(classes):
        return torch.arange(len(known))
    lost, new = (sorted(set(a) - set(b)) for a, b in ((known, classes), (classes, known)))
    if lost or new:
        raise CheckpointError(f"{path} knows other classes than the images: {_some(lost)} there, {_some(new)} here")
    if len(set(known)) < len(known) or len(known) != len(classes):
        raise CheckpointError(f"{path} has classes of the same name, which can't be told apart in another order")
    return torch.tensor([list(known).index(name) for name in classes])


def _check_sums(path: Path) -> None:
    """torch does not look at what the file says of its parts."""
    with zipfile.ZipFile(path) as archive:
        if (part := archive.testzip()) is not None:
            raise ValueError(f"the checksum of {part} is another")


def _in_a_line(error: Exception) -> str:
    missing = "there is no " * isinstance(error, KeyError)
    return missing + (str(error).partition("\n")[0] or type(error).__name__)


def _some(names: Sequence[str]) -> str:
    if not names:
        return "none more"
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
