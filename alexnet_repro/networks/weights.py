"""Weights in files, and in the layouts of torchvision's and Caffe's AlexNet.

A state dict here is that of an undivided network: ``conv1.weight``, ``conv1.bias``, ..., ``fc8.bias``.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from alexnet_repro.support.files import write_atomically

LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
_TORCHVISION = {
    f"{ours}.{kind}": f"{theirs}.{kind}"
    for ours, theirs in zip(
        LAYERS,
        ("features.0", "features.3", "features.6", "features.8", "features.10", "classifier.1", "classifier.4",
         "classifier.6"),
        strict=True,
    )
    for kind in ("weight", "bias")
}  # fmt: skip
"""Our name of each parameter -> torchvision's name."""
_PARAMETERS = tuple(_TORCHVISION)  # our names


def unwrapped(model: nn.Module) -> nn.Module:
    """The network inside the wrappers of torch.compile and of data parallelism."""
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif hasattr(model, "_orig_mod"):  # of torch.compile
            model = model.get_submodule("_orig_mod")
        else:
            return model


def plain_name(parameter: str) -> str:
    """The name of a parameter without the parts that torch.compile and data parallelism add."""
    return re.sub(r"^((module|_orig_mod)\.)+", "", parameter).replace("._orig_mod.", ".")


def _plain(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {plain_name(name): tensor for name, tensor in state_dict.items()}


def save_weights(network: nn.Module, path: str | os.PathLike[str]) -> None:
    """Writes a network's weights to a safetensors file, completely or not at all.

    Args:
        network: may be compiled or split into towers; the undivided network's weights are written.
        path: of the file; its folder is created if it is missing.
    """
    from safetensors.torch import save

    state = {  # copies, since safetensors refuses weights that share their memory
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in _plain(unwrapped(network).state_dict()).items()
    }
    write_atomically(Path(path), save(state))


def load_weights(network: nn.Module, path: str | os.PathLike[str]) -> None:
    """Loads a file written by ``save_weights``, or saved from a compiled or data-parallel network, into a network.

    Args:
        network: may be compiled or split into towers.
        path: of the file.

    Raises:
        ValueError: the file is not a complete safetensors file, or its weights do not fit the network, which is left
            unchanged; names the file and what does not fit.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    network = unwrapped(network)
    own = network.state_dict()
    try:
        found = _plain(load_file(path))
        there, here = ({plain_name(name): tuple(x.shape) for name, x in state.items()} for state in (found, own))
        if wrong := [name for name in there | here if there.get(name) != here.get(name)]:
            shapes = "; ".join(f"{name} is {there.get(name)} there and {here.get(name)} here" for name in wrong)
            raise RuntimeError(shapes)
        network.load_state_dict({name: found[plain_name(name)] for name in own})
    except (SafetensorError, RuntimeError) as error:
        if zipfile.is_zipfile(path):
            raise ValueError(f"{os.fspath(path)} is a checkpoint: use training.trained.load_trained") from error
        raise ValueError(f"{os.fspath(path)} does not hold the weights of this network: {error}") from error


def from_torchvision(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Converts a state dict of ``torchvision.models.alexnet`` to one of preset ``torchvision``.

    Args:
        state_dict: name -> parameter.

    Raises:
        ValueError: the layout differs; names the missing and unexpected parameters.

    Example: the input that torchvision's trained weights need, which is not the preset's
        >>> import torch
        >>> from alexnet_repro import InputConfig
        >>> from alexnet_repro.data.inputs import InputTransform
        >>> m, s = (torch.tensor(x)[:, None, None] for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        >>> config = InputConfig(pixels="standardized", crop=224, views="centre")
        >>> transform = InputTransform(config, 255 * m, 1 / (255 * s))
        >>> transform.views(torch.zeros(2, 3, 256, 256, dtype=torch.uint8)).shape
        torch.Size([1, 2, 3, 224, 224])
    """
    state_dict = _plain(state_dict)
    _check_names(state_dict, _TORCHVISION.values(), "torchvision.models.alexnet")
    return {ours: state_dict[theirs] for ours, theirs in _TORCHVISION.items()}


def to_torchvision(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Converts a state dict of preset ``torchvision`` to one of ``torchvision.models.alexnet``.

    The two networks compute the same for images of 224 pixels. For sizes at which a pool's last window extends beyond
    the edge they differ: our pools count it, torchvision's leave it out.

    Args:
        state_dict: name -> parameter.

    Raises:
        ValueError: the layout differs; names the missing and unexpected parameters.
    """
    state_dict = _plain(state_dict)
    _check_names(state_dict, _PARAMETERS, "preset torchvision")
    return {theirs: state_dict[ours] for ours, theirs in _TORCHVISION.items()}


def from_caffe(blobs: Mapping[str, Sequence[Tensor]]) -> dict[str, Tensor]:
    """Converts Caffe's ``bvlc_alexnet`` to a state dict of preset ``caffe``, which reads RGB where Caffe reads BGR.

    Its input is that of ``InputConfig.preset("caffe")``, with the mean image of Caffe's training set in RGB.

    Args:
        blobs: layer -> its weights and its biases, in the shapes of ``net.params[layer][i].data``.

    Raises:
        ValueError: a layer is missing or unexpected; names it.
    """
    _check_names(blobs, LAYERS, "Caffe's bvlc_alexnet")
    state = {}
    for layer in LAYERS:
        weight, bias = (torch.as_tensor(blob) for blob in blobs[layer])
        state[f"{layer}.weight"] = weight.flip(1) if layer == "conv1" else weight
        state[f"{layer}.bias"] = bias.flatten()
    return state


def to_caffe(state_dict: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Converts a state dict of preset ``caffe`` to the blobs of Caffe's ``bvlc_alexnet``.

    Args:
        state_dict: name -> parameter.

    Returns: layer -> its weights and its biases.

    Raises:
        ValueError: the layout differs; names the missing and unexpected parameters.
    """
    state_dict = _plain(state_dict)
    _check_names(state_dict, _PARAMETERS, "preset caffe")
    blobs = {}
    for layer in LAYERS:
        weight = state_dict[f"{layer}.weight"]
        blobs[layer] = (weight.flip(1) if layer == "conv1" else weight, state_dict[f"{layer}.bias"])
    return blobs


def _check_names(found: Iterable[str], expected: Iterable[str], layout: str) -> None:
    missing, extra = set(expected) - set(found), set(found) - set(expected)
    if missing or extra:
        raise ValueError(
            f"not the layout of {layout}: missing {', '.join(sorted(missing)) or 'nothing'}; "
            f"unexpected {', '.join(sorted(extra)) or 'nothing'}"
        )
