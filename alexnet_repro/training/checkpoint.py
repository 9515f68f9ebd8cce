"""The files of a run and its checkpoints: each one whole or absent, and of one configuration only."""

from __future__ import annotations

import errno
import math
import os
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
SHOWN = 5  # names listed in an error
CHECKPOINT_SUFFIX = ".pt"  # suffix of the file that stands in for a record until its run is finished


@dataclass(frozen=True)
class Files:
    """The paths of the files that a run writes; None: the file is not written."""

    last: Path | None = None  #: checkpoint to resume from
    result: Path | None = None  #: record of the run
    best: Path | None = None  #: checkpoint with the lowest validation error
    config: Path | None = None  #: configuration of the run, written before training begins
    log: Path | None = None  #: one line of JSON per epoch

    @classmethod
    def of_folder(cls, out: str | os.PathLike[str]) -> Files:
        """The files of a stand-alone run, all in one folder."""
        out = Path(out)
        return cls(out / LAST, out / RESULT, out / BEST, out / CONFIG, out / LOG)

    @classmethod
    def at(cls, files: Files | str | os.PathLike[str] | None) -> Files:
        """The files themselves, those of a folder, or none."""
        return files if isinstance(files, Files) else cls() if files is None else cls.of_folder(files)

    @classmethod
    def of_record(cls, path: Path) -> Files:
        """The files of a study's run: its record and, until that is written, a checkpoint in its place."""
        return cls(path.with_suffix(CHECKPOINT_SUFFIX), path)

    @property
    def lock(self) -> Path | None:
        """The file that is locked during the run; its suffix is a checkpoint's, so it is not taken for a record."""
        return None if self.last is None else self.last.with_name(f".lock-{self.last.name}")

    @property
    def kept(self) -> list[Path]:
        return [path for path in vars(self).values() if path is not None]


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a run without the names and places of its data, which their checksums identify."""
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
    classes: list[str] | None = None  #: names of the classes
    best: float = math.inf  #: the lowest validation error so far
    seconds: float = 0.0  #: duration of the run so far
    started: str = ""  #: date and time, UTC


@dataclass(frozen=True)
class State:
    """The entries of ``Training.state_dict()``."""

    model: Mapping[str, Any]  # tensors, and the extra state that a module may have
    velocities: Mapping[str, Any]
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
    """The ``counts`` of a ``State``."""

    step: int
    seconds: float
    first_loss: float


@contextmanager
def reading(what: object) -> Iterator[None]:
    """Raises ``CheckpointError`` for anything missing or malformed in the content that is read within it."""
    try:
        yield
    except CheckpointError:
        raise
    except DAMAGES as error:
        raise CheckpointError(f"{what} is not a complete checkpoint: {_in_a_line(error)}") from error


def save_checkpoint(path: Path, config: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Writes a checkpoint, whole or not at all.

    Args:
        path: path of the file; its folder is created.
        config: the run's whole configuration, plain JSON values; a run with another one will be refused.
        state: tensors and plain values in lists and dictionaries, e.g. ``Training.state_dict()``.

    Raises:
        OSError: the file cannot be written; an earlier one is left as it was.
    """
    try:
        write_atomically(path, lambda file: torch.save({"format": FORMAT, "config": config, "state": state}, file))
    except RuntimeError as error:  # what torch raises if the file system refuses
        raise OSError(errno.EIO, f"{path} can't be written: is the disk full? {error}") from error


def load_checkpoint(
    path: str | os.PathLike[str], config: Mapping[str, Any] | None = None, *, mmap: bool = False
) -> dict[str, Any]:
    """Loads ``config`` and ``state`` of a checkpoint, tensors on the CPU; nothing in the file is executed.

    Args:
        path: path of the file.
        config: configuration of the run that resumes from it, whose data may have moved; None: any run's checkpoint.
        mmap: read tensors only when they are used, and without verifying checksums; for a quick look at the rest.

    Raises:
        CheckpointError: there is none, it is damaged, or it belongs to another configuration; names what differs.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path} is not a checkpoint: there is no such file")
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
    """Loads the state in a run's checkpoint, to resume from.

    Args:
        path, config: as for ``load_checkpoint``.
        classes: names of the images' classes.

    Raises:
        CheckpointError: as for ``load_checkpoint``; or the state is not one to resume from, or has other classes or
            another order of them (names those that differ).
    """
    with reading(path):
        saved = typed(Saved, load_checkpoint(path, config)["state"])
        if not saved.started:
            raise ValueError("it has no training state, like an exported network")
        typed(Counts, typed(State, saved.training).counts)
    if saved.classes is not None and saved.classes != list(classes):
        class_order(path, saved.classes, classes)  # raises if they are not the same in any order
        raise CheckpointError(f"{path} has the same classes in another order. Choose another folder")
    return saved


def class_order(path: Path, known: Sequence[str], classes: Sequence[str]) -> Tensor:
    """The index by which a network knows each of the classes.

    Args:
        path: path of the network's checkpoint, for errors.
        known: the network's classes, in the order of its outputs.
        classes: the same classes, in any order.

    Shape: (classes,) int64.

    Raises:
        CheckpointError: the classes are not the same (names those that differ), or some of them share a name.
    """
    if list(known) == list(classes):
        return torch.arange(len(known), device="cpu")
    lost, new = (sorted(set(a) - set(b)) for a, b in ((known, classes), (classes, known)))
    if lost or new:
        raise CheckpointError(f"{path} has other classes than the images: {_some(lost)} there, {_some(new)} here")
    if len(set(known)) < len(known) or len(known) != len(classes):
        raise CheckpointError(f"{path} has several classes of the same name, which can't be matched in another order")
    return torch.tensor([list(known).index(name) for name in classes], device="cpu")


def _check_sums(path: Path) -> None:
    """Verifies the checksums of the file's parts, which torch ignores."""
    with zipfile.ZipFile(path) as archive:
        if (part := archive.testzip()) is not None:
            raise ValueError(f"the checksum of {part} is another")


def _in_a_line(error: Exception) -> str:
    missing = "there is no " * isinstance(error, KeyError)
    return missing + (" ".join(str(error).split()) or type(error).__name__)


def _some(names: Sequence[str]) -> str:
    if not names:
        return "none more"
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
