"""Replays the forward and backward pass of a training step as one CUDA graph, instead of kernel by kernel.

The numbers are those of the passes themselves. A small network's kernels take less time than their launches.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn

from alexnet_repro.networks.build import Network
from alexnet_repro.networks.layers import Dropout
from alexnet_repro.training.config import TrainConfig

Passes = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
Capture = Callable[[Callable[[], None]], Callable[[], None]]

WARM = 3  # equal steps in a row before they are captured; in them, libraries choose their kernels
KNOWN = ("torch", "alexnet_repro")  # packages whose layers do the same at every call


def replayable(model: nn.Module, device: torch.device, config: TrainConfig) -> bool:
    """Whether the passes of a model launch the same kernels at every step, and do nothing else.

    Always False if the environment variable ALEXNET_REPRO_GRAPHS is 0.
    """
    if device.type != "cuda" or os.environ.get("ALEXNET_REPRO_GRAPHS") == "0":
        return False
    known = all(type(module).__module__.partition(".")[0] in KNOWN for module in model.modules())
    plain = config.accumulate == 1 and config.precision != "float16" and not config.compile
    return isinstance(model, Network) and known and plain and not dist.is_initialized()


def capture(work: Callable[[], None]) -> Callable[[], None]:
    """Captures what ``work`` launches on the current GPU, without running it; returns a function that launches it."""
    graph = torch.cuda.CUDAGraph()
    aside = torch.cuda.Stream()  # torch's default one is of the GPU that was current at the first capture
    with torch.cuda.graph(graph, stream=aside, capture_error_mode="thread_local"):  # other threads make batches
        work()
    return graph.replay


class Replayed:
    """Does the same as ``passes``: leaves gradients in the parameters, and returns the same results.

    It calls ``passes`` itself for the first minibatches, for those of another shape, e.g. the last one of an epoch, and
    whenever the model has a hook.

    Args:
        passes: the forward and backward pass, from inputs and labels to tensors without gradients.
        model: the model whose parameters get the gradients.
        capture: see the function of this name.
    """

    replay: Callable[[], object]
    outputs: tuple[Tensor, Tensor]
    gradients: list[Tensor | None]

    def __init__(self, passes: Passes, model: nn.Module, capture: Capture = capture) -> None:
        self.passes, self.model, self.capture = passes, model, capture
        self.last: object = None  # ``_like`` of the last step, and how many in a row had the same
        self.alike = 0
        self.captured: object = None  # ``_like`` of the steps that ``replay`` repeats

    def __call__(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        like = self._like(inputs, labels)
        self.alike = self.alike + 1 if like == self.last else 1
        self.last = like
        if like is None or like != self.captured:
            if self.alike <= WARM or like is None:
                return self.passes(inputs, labels)
            self._capture(inputs, labels)
            self.captured = like
        self.inputs.copy_(inputs)
        self.labels.copy_(labels)
        for layer, numbers in self.numbers.items():
            numbers.copy_(layer.draw(numbers))
        self.replay()
        for parameter, gradient in zip(self.model.parameters(), self.gradients, strict=True):
            parameter.grad = gradient
        return self.outputs[0].clone(), self.outputs[1].clone()

    def _like(self, inputs: Tensor, labels: Tensor) -> object:
        """Everything that captured work takes as given; None if there are hooks, whose effects are unknown."""
        modules, parameters = list(self.model.modules()), list(self.model.parameters())
        if any(map(_hooks, (*modules, *parameters))):
            return None
        weights = [(p.data_ptr(), p.requires_grad) for p in parameters]
        modes = [module.training for module in modules]
        return inputs.shape, inputs.stride(), inputs.dtype, labels.shape, weights, modes

    def _capture(self, inputs: Tensor, labels: Tensor) -> None:
        self.captured = None
        for name in ("replay", "outputs", "gradients"):
            vars(self).pop(name, None)  # frees memory
        self.inputs, self.labels = inputs.clone(), labels.clone()
        self.numbers = self._room()

        def work() -> None:
            self.outputs = self.passes(self.inputs, self.labels)

        try:
            for layer, numbers in self.numbers.items():
                layer.numbers = numbers
            with torch.cuda.device_of(self.inputs):
                self.replay = self.capture(work)
        finally:
            for layer in self.numbers:
                layer.numbers = None
        self.gradients = [parameter.grad for parameter in self.model.parameters()]

    def _room(self) -> dict[Dropout, Tensor]:
        """Buffers for the random numbers of every dropout layer, in the order of their calls.

        They are allocated before the capture: in the graph's own memory, work that runs earlier could overwrite them.
        """
        room: dict[Dropout, Tensor] = {}

        def ask(layer: Dropout, inputs: tuple[Tensor]) -> None:
            room[layer] = layer.numbers = torch.empty(inputs[0].shape, device=inputs[0].device)

        dropouts = [module for module in self.model.modules() if isinstance(module, Dropout)]
        hooks = [layer.register_forward_pre_hook(ask) for layer in dropouts]
        try:
            with torch.no_grad():
                self.model(self.inputs)
        finally:
            for hook in hooks:
                hook.remove()
            for layer in dropouts:
                layer.numbers = None
        return room


def _hooks(of: object) -> bool:
    """Whether a module has hooks for its calls, or a parameter for its gradients."""
    kinds = "forward", "forward_pre", "backward", "backward_pre", "post_accumulate_grad"
    return any(getattr(of, f"_{kind}_hooks", None) for kind in kinds)
