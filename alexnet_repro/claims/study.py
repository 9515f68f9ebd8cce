"""What a study is: arms side by side, at several scales, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from alexnet_repro.data.config import InputConfig
from alexnet_repro.networks.spec import NetConfig
from alexnet_repro.training.config import RunConfig, TrainConfig

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

    def run(self, dataset: str, seed: int, size: int | None = None) -> RunConfig:
        """One run of it, whole."""
        return RunConfig(dataset=dataset, size=size, seed=seed, net=self.net, input=self.input, train=self.train)


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a study is run at one scale: the data, how many seeds unless told otherwise, and the arms."""

    dataset: str  #: as for ``load_dataset``
    size: int | None = None  #: of the stored images, pixels; None: the data set's own
    seeds: int  #: how many
    first_seed: int = 0  #: the others follow it
    arms: Mapping[str, Arm]  #: the baseline first

    def run(self, arm: str, seed: int) -> RunConfig:
        """One run of it, whole."""
        return self.arms[arm].run(self.dataset, seed, self.size)


@dataclass(frozen=True, kw_only=True)
class Study:
    """Arms to be run side by side; the smallest scale first."""

    id: str  #: name of its folder of records
    protocols: Mapping[ScaleName, Protocol]  #: by scale

    def protocol(self, scale: str) -> Protocol:
        """The protocol of that scale; ``ValueError`` lists the scales if there is none."""
        if scale not in self.protocols:
            raise ValueError(f"scale of {self.id} must be one of {', '.join(self.protocols)}, not {scale!r}")
        return self.protocols[scale]
