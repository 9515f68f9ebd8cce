"""The classes of a network and those of images, matched by their names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from alexnet_repro.training.checkpoint import CheckpointError

SHOWN = 5  # names in an error


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


def _some(names: Sequence[str]) -> str:
    if not names:
        return "none more"
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
