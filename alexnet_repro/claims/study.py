"""Studies: arms that are run side by side, at several scales, as frozen dataclasses."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from alexnet_repro.data.config import InputConfig
from alexnet_repro.networks.spec import NetConfig
from alexnet_repro.support.values import check_choice, check_types, check_whole, chosen, is_whole
from alexnet_repro.training.config import RunConfig, TrainConfig
from alexnet_repro.training.record import record_path

ScaleName = Literal["smoke", "laptop", "gpu", "paper"]
SCALES: tuple[ScaleName, ...] = get_args(ScaleName)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One side of a comparison.

    Example:
        >>> from dataclasses import replace
        >>> from alexnet_repro import Arm, InputConfig, NetConfig, TrainConfig
        >>> name = "cifar-18pct"
        >>> relu = Arm(net=NetConfig.preset(name), input=InputConfig.preset(name), train=TrainConfig.preset(name))
        >>> tanh = replace(relu, net=replace(relu.net, activation="tanh"))
        >>> tanh.net.activation, tanh.train == relu.train
        ('tanh', True)
    """

    net: NetConfig  #: the network
    input: InputConfig  #: how images become batches
    train: TrainConfig  #: the training

    def __post_init__(self) -> None:
        check_types(self, " of an arm")

    def run(self, dataset: str, seed: int, size: int | None = None) -> RunConfig:
        """The complete configuration of one run of this arm."""
        return RunConfig(dataset=dataset, size=size, seed=seed, net=self.net, input=self.input, train=self.train)


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a study is run at one scale: the data set, the default number of seeds, and the arms."""

    dataset: str  #: as for ``load_dataset``
    size: int | None = None  #: of the stored images, pixels; None: the data set's own
    seeds: int  #: how many by default
    first_seed: int = 0  #: the lowest seed; the others follow it
    arms: Mapping[str, Arm]  #: by name, the baseline first

    def __post_init__(self) -> None:
        check_types(self, " of a protocol")
        check_whole("seeds of a protocol", self.seeds)
        check_whole("first_seed of a protocol", self.first_seed, least=0)
        if not self.arms:
            raise ValueError("arms of a protocol are empty: give at least one, by name")

    def run(self, arm: str, seed: int) -> RunConfig:
        """The complete configuration of one run; ``ValueError`` lists the arms if there is none of that name."""
        return chosen("arm", arm, self.arms).run(self.dataset, seed, self.size)


@dataclass(frozen=True, kw_only=True)
class Study:
    """Arms to be run side by side, at one or several scales.

    Raises:
        ValueError: an unknown scale, or a name that can't be that of a file or that another arm has.
    """

    id: str  #: name of its folder of records
    protocols: Mapping[str, Protocol]  #: by scale, the smallest first

    def __post_init__(self) -> None:
        check_types(self, " of a study")
        _check_name("id of a study", self.id)
        for scale, protocol in self.protocols.items():
            check_choice(f"a scale of {self.id}", scale, SCALES)
            files: dict[Path, str] = {}
            for arm in protocol.arms:
                _check_name(f"an arm of {self.id}", arm)
                if (other := files.setdefault(record_path(self.id, scale, arm, 0), arm)) != arm:
                    raise ValueError(
                        f"arms {other!r} and {arm!r} of {self.id} would share their files, in whose names a space is "
                        "a hyphen: rename one of them"
                    )

    def protocol(self, scale: str) -> Protocol:
        """The protocol for that scale; ``ValueError`` lists the scales if there is none."""
        return chosen(f"scale of {self.id}", scale, self.protocols)

    def runs(
        self, scale: str, seeds: int | Sequence[int] | None = None, arms: Sequence[str] | None = None
    ) -> list[tuple[str, int]]:
        """Arm and seed of every run at a scale, seed by seed, without duplicates.

        Args:
            scale: "smoke", "laptop", "gpu" or "paper".
            seeds: how many, starting with the protocol's first, or a list of them; None: as many as the protocol says.
            arms: a list of their names; None: all.

        Raises:
            ValueError: an unknown scale or arm, or malformed ``seeds`` or ``arms``.
        """
        protocol = self.protocol(scale)
        if arms is not None and not is_list(arms):
            raise ValueError(f"arms must be a list of some of {', '.join(protocol.arms)}, or None, not {arms!r}")
        wanted = tuple(protocol.arms if arms is None else arms)
        if unknown := set(wanted) - set(protocol.arms):
            raise ValueError(f"arms of {self.id} are {', '.join(protocol.arms)}, not {', '.join(sorted(unknown))}")
        check_seeds(seeds)
        numbers, first = protocol.seeds if seeds is None else seeds, protocol.first_seed
        which = range(first, first + numbers) if isinstance(numbers, int) else numbers
        return list(dict.fromkeys((arm, seed) for seed in which for arm in wanted))


def _check_name(what: str, name: str) -> None:
    if name in ("", ".", "..") or {"/", os.sep} & set(name):
        raise ValueError(f"{what} names its files: it can't be empty, '.' or '..', nor contain '/', but is {name!r}")


def check_seeds(seeds: Any) -> None:
    """``ValueError`` unless it is a number of seeds, a list of seeds, or None."""
    listed = is_list(seeds) and all(is_whole(seed, 0) for seed in seeds)
    if not (seeds is None or is_whole(seeds) or listed):
        raise ValueError(f"seeds must be how many, at least 1, or a list of which, such as 5 or [0, 3], not {seeds!r}")


def is_list(value: Any) -> bool:
    """Whether it is a sequence of at least one item, but not a string."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes) and len(value) > 0
