"""The measurements of a network: after every epoch, and after training."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from alexnet_repro.data import Dataset
from alexnet_repro.data.batches import resident
from alexnet_repro.data.dataset import IMAGES_AT_A_TIME
from alexnet_repro.data.inputs import InputTransform
from alexnet_repro.networks.build import Network
from alexnet_repro.networks.inspect import mean_derivatives, tower_color
from alexnet_repro.networks.weights import unwrapped
from alexnet_repro.training.config import RunConfig
from alexnet_repro.training.evaluate import errors, evaluate, evenly_spaced, hits, predict
from alexnet_repro.training.loop import History
from alexnet_repro.training.parallel import Processes
from alexnet_repro.training.record import epochs_to_target, packed
from alexnet_repro.training.state import data_group, summed

DERIVATIVE_IMAGES = 500  # evaluation images over which the mean derivatives are taken
FITTED_IMAGES = 2500  # training images, evenly spaced, whose error in eval mode is measured after every epoch


class Measures:
    """The measurements of one run's network; all processes must call each method together.

    Args:
        config: the run.
        network, model: the network as it was built, and the module that is trained.
        transform: turns images into its inputs.
        training, testing: the data sets for training and evaluation; the latter may be None.
        here: this process among those of the run.

    Attributes:
        mistakes: the misclassified evaluation images, as in a record; None before ``final``.
    """

    def __init__(
        self, config: RunConfig, network: Network, model: nn.Module, transform: InputTransform, training: Dataset,
        testing: Dataset | None, here: Processes,
    ) -> None:  # fmt: skip
        self.config, self.network, self.model, self.transform = config, network, model, transform
        self.training, self.here = training, here
        device = torch.device(here.device)
        self.testing = None if testing is None else replace(testing, images=resident(testing.images, device))
        self.mistakes: str | None = None

    def validate(self) -> dict[str, float]:
        """The errors after an epoch, in eval mode on centre crops: on ``testing`` and on some training images."""
        fitted = self._centre(self.training, evenly_spaced(len(self.training), FITTED_IMAGES))
        found = {} if self.testing is None else self._centre(self.testing)
        return found | {"train_eval_error": fitted["top1_error"]}

    def final(self, history: History) -> dict[str, float | None]:
        """The measurements of the trained network, which a record has as ``final``."""
        config, testing, train_errors = self.config, self.testing, [epoch.train_error for epoch in history.epochs]
        found: dict[str, float | None] = {"train_error": train_errors[-1]}
        if config.train.target_error is not None:
            chance = 1 - 1 / config.net.num_classes
            found["epochs_to_target"] = epochs_to_target(train_errors, config.train.target_error, chance)
        if history.ended == "diverged" or testing is None:
            return found
        found |= self._tested(testing)
        if config.input.crop is not None:  # else there is one view, and the last training error is of the same images
            centre = history.epochs[-1].val or self._centre(testing)
            found["centre_error"] = centre["top1_error"]
            found["train_eval_error"] = self._centre(self.training)["top1_error"]
        if self.model is not self.network:  # undivided, wherever its towers were
            self.network.load_state_dict(unwrapped(self.model).state_dict())
        if config.net.towers == 2:
            found |= tower_color(self.network[0].get_parameter("weight"))
        firsts = torch.arange(len(testing), device="cpu")[:DERIVATIVE_IMAGES].split(IMAGES_AT_A_TIME)
        views = [self.transform.views(testing.images[rows].to(self.here.device))[0] for rows in firsts]
        derivatives = mean_derivatives(self.network, torch.cat(views))
        return found | {f"derivative_{layer}": value for layer, value in derivatives.items()}

    def _centre(self, dataset: Dataset, rows: Tensor | None = None) -> dict[str, float]:
        here, centre = self.here, self.transform.viewed("centre")
        with self.config.train.autocast(here.device):
            return evaluate(self.model, dataset.images, dataset.labels, centre, here.shard, here.shards, rows)

    def _tested(self, testing: Dataset) -> dict[str, float]:
        """The errors of the view-averaged predictions; keeps in ``mistakes`` which images are misclassified."""
        here, labels, group = self.here, testing.labels.to(self.here.device), data_group(self.model)
        own = torch.arange(len(labels), device="cpu").tensor_split(here.shards)[here.shard]
        with self.config.train.autocast(here.device):
            probabilities, logs = predict(self.model, testing.images, self.transform, labels=labels, rows=own)
        wrong = torch.zeros(len(labels), device=here.device)
        wrong[own] = (~hits(probabilities, labels[own])).float()
        self.mistakes = packed(summed(wrong, group).bool())
        return errors(probabilities, labels[own], logs, group)
