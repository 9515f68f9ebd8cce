"""Tables of configurations and networks side by side, and of the first losses of training runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from alexnet_repro import paper
from alexnet_repro.claims.ledger import CLAIMS
from alexnet_repro.networks.build import Network
from alexnet_repro.networks.spec import Conv, Dropout, Layer, Linear, NetConfig, Norm, Pool, WithinChannelNorm
from alexnet_repro.report.tables import by_arm
from alexnet_repro.support.table import Table
from alexnet_repro.support.values import as_json


def loss_table(runs: Mapping[str, Sequence[float]]) -> Table:
    """The loss of each run, in nats: at its first step, averaged over the last ten, and where it ceased to be finite.

    Args:
        runs: title -> loss at every step.
    """
    rows = []
    for title, losses in runs.items():
        ended = next((step for step, loss in enumerate(losses, start=1) if not math.isfinite(loss)), None)
        last = losses[-10:]
        rows.append(
            [
                title,
                f"{losses[0]:.3g}",
                f"{math.fsum(last) / len(last):.2f}" if ended is None else "-",
                "-" if ended is None else str(ended),
            ]
        )
    return Table(["run", "loss at step 1", "mean over the last ten", "not finite from step"], rows)


def config_table(claims: Mapping[str, str], scale: str) -> Table:
    """The fields in which the arms of the claims differ: a column per claim, a value per arm where its arms differ.

    Args:
        claims: title -> id.
        scale: scale of the protocols.
    """
    columns = [
        {
            arm: _flat(as_json(value)) | _described(value.net)
            for arm, value in CLAIMS[claim].protocol(scale).arms.items()
        }
        for claim in claims.values()
    ]
    arms = [flat for column in columns for flat in column.values()]
    fields = dict.fromkeys(field for flat in arms for field in flat)
    rows = [
        [field, *(by_arm({arm: flat.get(field, "-") for arm, flat in column.items()}) for column in columns)]
        for field in fields
        if len({flat.get(field) for flat in arms}) > 1
    ]
    return Table(["field", *claims], rows)


def variant_table(*presets: str) -> Table:
    """The layers in which presets of AlexNet differ, side by side, and the order of their first two stages.

    Args:
        presets: names of presets; cells equal to those of the first preset say "same".
    """
    nets = [NetConfig.preset(name) for name in presets]
    columns = [_described(net) for net in nets]
    for net, column in zip(nets, columns, strict=True):
        names = [layer.name for layer in net.layers]
        second, third = names.index("conv2"), names.index("conv3")
        column |= {
            "input": f"{net.image_size} pixels",
            "towers": str(net.towers),
            "first stage": ", ".join(names[:second]),
            "second stage": ", ".join(names[second:third]),
        }
    layers = dict.fromkeys(layer.name for net in nets for layer in net.layers)
    fields = ["input", "towers", "first stage", "second stage", *layers]
    rows = []
    for field in fields:
        first, *others = (column.get(field, "-") for column in columns)
        if set(others) != {first}:
            rows.append([field, first, *("same" if other == first else other for other in others)])
    return Table(["part", *presets], rows)


def count_table(network: Network) -> Table:
    """The paper's counts of neurons and parameters beside those of a network.

    Args:
        network: a network with the paper's layers.
    """
    neurons = {cost.name: cost.activations for cost in network.costs() if cost.parameters}
    rows = [[f"neurons of {layer}", f"{paper.NEURONS_BY_LAYER[layer]:,}", f"{neurons[layer]:,}"] for layer in neurons]
    rows.append(["neurons", f"{paper.NEURONS:,}", f"{sum(neurons.values()):,}"])
    parameters = sum(cost.parameters for cost in network.costs())
    rows.append(["parameters", f"{paper.PARAMETERS:,}", f"{parameters:,}"])
    return Table(["number", "paper", "this network"], rows)


def _described(net: NetConfig) -> dict[str, str]:
    """Layer -> its settings in a few words."""
    return {layer.name: _settings(layer, net.initialization == "gaussian") for layer in net.layers}


def _settings(layer: Layer, gaussian: bool) -> str:
    match layer:
        case Conv():
            stride = "" if layer.stride == 1 else f", stride {layer.stride}"
            padding = "" if layer.padding is None else f", padding {layer.padding}"
            filters = f"{layer.channels} channels, {layer.kernel}x{layer.kernel}{stride}{padding}"
            return f"{filters}, {_weights(layer, gaussian)}"
        case Linear():
            return _weights(layer, gaussian)
        case Pool():
            return f"{layer.size}x{layer.size}, stride {layer.stride}"
        case Norm():
            window = "every channel" if layer.reads == "all" else "own tower"
            return f"n {layer.size}, alpha {layer.alpha:g}{'/n' * layer.average}, k {layer.k:g}, {window}"
        case WithinChannelNorm():
            return f"{layer.size}x{layer.size} pixels, scale {layer.scale:g}"
        case Dropout():
            return "rescaled in training" if layer.rescale else "scaled at test time"
    return "yes"


def _weights(layer: Conv | Linear, gaussian: bool) -> str:
    initial = f"std {layer.std:g}, bias {layer.bias:g}" if gaussian else "PyTorch's initialization"
    return initial + ", own tower" * (layer.reads == "own")


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested objects flattened to dotted names, without the layers of a network."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        elif key not in {"type", "layers"}:
            flat[f"{prefix}{key}"] = str(value)
    return flat
