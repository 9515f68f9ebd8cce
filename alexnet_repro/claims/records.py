"""The recorded runs of claims: where they are stored, whether they are intact and current, and as pandas frames."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, SupportsIndex, overload

from alexnet_repro.claims.claim import LOOKS, Claim
from alexnet_repro.claims.ledger import find, study_of
from alexnet_repro.claims.studies import STUDIES
from alexnet_repro.claims.study import SCALES, Study
from alexnet_repro.data import Dataset
from alexnet_repro.support.environment import PACKAGE, environment
from alexnet_repro.support.values import as_json, check_choice, differences
from alexnet_repro.training.checkpoint import CHECKPOINT_SUFFIX
from alexnet_repro.training.config import RunConfig
from alexnet_repro.training.record import EvidenceError, Record, conditions
from alexnet_repro.training.state import Epoch

if TYPE_CHECKING:
    import pandas

BOOK = PACKAGE / "book" if (PACKAGE / "book").is_dir() else PACKAGE.parent / "book"  # installed, else the repository's
EVIDENCE_FOLDER = BOOK / "evidence"


class Evidence(list[Record]):
    """A list of records, also available as tidy pandas frames.

    Args:
        records: records of one or several studies.
        arms: names of the arms that a claim needs, whether they have records or not.

    Example:
        >>> from alexnet_repro import load_evidence
        >>> runs = load_evidence("relu", "paper").runs()
        >>> means = runs.groupby("arm")["epochs_to_target"].mean()
        >>> len(runs), bool(means["tanh"] > means["relu"])
        (10, True)
    """

    def __init__(self, records: Iterable[Record] = (), arms: Iterable[str] = ()) -> None:
        super().__init__(records)
        self.arms = tuple(arms)

    @overload
    def __getitem__(self, index: SupportsIndex, /) -> Record: ...
    @overload
    def __getitem__(self, index: slice, /) -> Evidence: ...
    def __getitem__(self, index: SupportsIndex | slice, /) -> Record | Evidence:
        return (
            Evidence(super().__getitem__(index), self.arms) if isinstance(index, slice) else super().__getitem__(index)
        )

    def __add__(self, other: list[Record]) -> Evidence:  # type: ignore[override]
        arms = dict.fromkeys((*self.arms, *(other.arms if isinstance(other, Evidence) else ())))
        return Evidence([*self, *other], arms)

    def __repr__(self) -> str:
        if not self:
            return "0 records"
        studies, scales, arms = (
            ", ".join(dict.fromkeys(getattr(record, name) for record in self)) for name in ("study", "scale", "arm")
        )
        return f"{len(self)} record{'s' * (len(self) > 1)} of {studies}, scale {scales}: {arms}"

    def runs(self) -> pandas.DataFrame:
        """One row per run: study, scale, arm, seed, ended, epochs, seconds, dataset, revision; then its measurements.

        Errors are fractions. A measurement that a run lacks is NaN.
        """
        import pandas

        rows = [_row(r, ended=r.ended, epochs=len(r.epochs), seconds=r.seconds) | r.final for r in self]
        return pandas.DataFrame(rows, columns=None if rows else _RUN)

    def epochs(self) -> pandas.DataFrame:
        """One row per epoch: study, scale, arm, seed, dataset, revision; epoch, lr, train_error, train_loss, ...

        Errors are fractions, losses are in nats, seconds are those of the epoch.
        """
        import pandas

        rows = [_row(record) | epoch for record in self for epoch in record.epochs]
        return pandas.DataFrame(rows, columns=None if rows else _EPOCH)


# Columns of frames, which they have even without records.
_WHICH = ("study", "scale", "arm", "seed")
_RUN = (*_WHICH, "ended", "epochs", "seconds", "dataset", "revision")
_EPOCH = (*_WHICH, "dataset", "revision", *(field.name for field in dataclasses.fields(Epoch) if field.name != "val"))


def _row(record: Record, **facts: object) -> dict[str, object]:
    made = {"dataset": record.config.get("dataset"), "revision": record.environment.get("revision")}
    return {name: getattr(record, name) for name in _WHICH} | facts | made


def load_evidence(
    claim: str | Claim | Study,
    scale: str | None = None,
    folder: str | os.PathLike[str] | None = None,
) -> Evidence:
    """All records of a claim or study at a scale, sorted by arm and seed; empty if there are none.

    Args:
        claim: a claim or a study, or its id. For a claim, only its arms are loaded, at scales that can decide it.
        scale: "smoke", "laptop", "gpu" or "paper"; None: the largest with enough seeds for a verdict, or if none has
            enough, the largest with any.
        folder: folder of evidence; None: the book's own, ``book/evidence``. One that does not exist yet is empty.

    Returns: a list; its methods ``runs()`` and ``epochs()`` give the same data as tidy pandas frames.

    Raises:
        EvidenceError: a record is damaged, in the wrong place, or of a configuration that is no longer the study's; or
            the study's records at this scale come from different pixels or labels.
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
    if scale is not None:
        check_choice("scale", scale, SCALES)
    if study is None:
        return Evidence()
    if scale is None:
        some = Evidence()
        for other in reversed(list(study.protocols)):
            there = load_evidence(claim, other, folder)
            if _enough(there, arms, study.protocol(other).first_seed):
                return there
            some = some or there
        return some
    if isinstance(claim, Claim) and scale not in claim.scales:
        return Evidence()
    root = _root(folder)
    records = [_checked(path, study, scale, root) for path in _paths(study, scale, root)]
    _refuse_mixed(records)
    order = list(study.protocol(scale).arms)
    of_arms = [record for record in records if arms is None or record.arm in arms]
    return Evidence(sorted(of_arms, key=lambda r: (order.index(r.arm), r.seed)), arms or ())


def problems(folder: str | os.PathLike[str] | None = None) -> list[str]:
    """The problems of a folder of evidence, one line each: damaged, edited, stale or misplaced records, other files.

    Checkpoints of runs that have no record yet are no problem.

    Args:
        folder: folder of evidence; None: the book's own.
    """
    root = _root(folder)
    found: list[str] = []
    right: set[Path] = set()
    for study in STUDIES.values():
        for scale in study.protocols:
            right.update((root / study.id / scale).glob(f"*{CHECKPOINT_SUFFIX}"))
            records = []
            for path in _paths(study, scale, root):
                right.add(path)
                try:
                    records.append(_checked(path, study, scale, root))
                except EvidenceError as error:
                    found.append(str(error))
            try:
                _refuse_mixed(records)
            except EvidenceError as error:
                found.append(str(error))
    others = {path for path in root.rglob("*") if path.is_file()} - right
    remedy = (
        "Remove it."
        if root.resolve() == EVIDENCE_FOLDER.resolve()
        else "load_evidence(STUDY, SCALE, FOLDER) checks the records of your own."
    )
    return found + [f"{path} is of no study of the book. {remedy}" for path in sorted(others)]


def _enough(records: Evidence, arms: Iterable[str] | None, first: int) -> bool:
    """Whether each arm, by default each with records, has the seeds of the first look, of which ``first`` is one."""
    seeds: dict[str, set[int]] = {}
    for record in records:
        seeds.setdefault(record.arm, set()).add(record.seed)
    needed = set(range(first, first + LOOKS[0]))
    return bool(seeds) and all(seeds.get(arm, set()) >= needed for arm in arms or seeds)


def _refuse_mixed(records: Iterable[Record]) -> None:
    """``EvidenceError`` unless the records, of one study and scale, all come from the same pixels and labels."""
    firsts: dict[str, dict[str, Record]] = {}
    for record in records:
        for split, data in record.data.items():
            firsts.setdefault(split, {}).setdefault(data["sha256"], record)
    for split, by_sum in firsts.items():
        if len(by_sum) > 1:
            names = " and ".join(str(record.path) for record in by_sum.values())
            raise EvidenceError(
                f"{names} are of different data: the sha256 of {split} differs. Delete those of "
                "one kind, and run them again on the data of the others."
            )


def refuse_unlike(
    records: Sequence[Record], load: Callable[..., Dataset], seeds: Container[int], device: str | None
) -> None:
    """``EvidenceError`` if new runs could not be compared with records of their study, before hours are spent on them.

    A study's runs share their images; those of one seed also share the kind of hardware and the version of torch.

    Args:
        records: the study's, at one scale.
        load: gives the data set at hand for a ``split``.
        seeds: those of the new runs.
        device: that of the new runs, on this machine; None: they will run on another one.
    """
    data = {split: load(split=split).fingerprint for split in records[0].data}
    here = None if device is None else environment(device)
    for record in records:
        new = conditions(data, record.environment if here is None or record.seed not in seeds else here)
        if changed := differences(conditions(record.data, record.environment), new):
            raise EvidenceError(
                f"new runs could not be compared with {record.path}: {'; '.join(changed)}. Give another folder of "
                "evidence, in which all arms are run: out=..., or --out FOLDER."
            )


def _root(folder: str | os.PathLike[str] | None) -> Path:
    return Path(folder) if folder is not None else EVIDENCE_FOLDER


def _paths(study: Study, scale: str, root: Path) -> list[Path]:
    return sorted((root / study.id / scale).glob("*.json"))


def _checked(path: Path, study: Study, scale: str, root: Path) -> Record:
    protocol, record = study.protocol(scale), Record.load(path)
    if not record.study:  # made by ``alexnet-repro train``: its path says which run it is
        record = replace(record, study=study.id, scale=scale, arm=path.stem.rpartition("-seed")[0])
    if root / record.path != path or record.arm not in protocol.arms:
        raise EvidenceError(f"{path} holds {record.path}, which does not belong there")
    try:
        recorded = as_json(RunConfig.from_json(record.config))  # a newer field gets its default
    except ValueError as error:
        raise EvidenceError(
            f"{path} has no configuration that is known today: {error}. Delete it and run it again."
        ) from error
    if changed := differences(recorded, as_json(protocol.run(record.arm, record.seed))):
        raise EvidenceError(
            f"{path} is stale: since it was recorded, {'; '.join(changed)}. Delete it and run it again."
        )
    return record
