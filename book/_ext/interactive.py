"""A Sphinx extension: interactive figures, ``{interactive} NAME``, only on pages for a browser.

The script ``book/_static/NAME.js`` draws the figure from the data that this module takes from records and checkpoints,
and shows the directive's text with it. Without scripts, in print and in an ePub, both are left out.
"""

from __future__ import annotations

import base64
import io
import json
import math
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from docutils import nodes
from PIL import Image
from skimage import data as photographs
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.writers.html5 import HTML5Translator
from torch import Tensor, nn
from torchvision.datasets import Imagenette

from alexnet_repro import CLAIMS, NetConfig, load_evidence, paper, verdict
from alexnet_repro.data.decode import central_square
from alexnet_repro.networks.layers import Dropout, PaddedConv2d, TowerLinear
from alexnet_repro.networks.lrn import LocalResponseNorm, WithinChannelResponseNorm
from alexnet_repro.networks.spec import Norm
from alexnet_repro.report.chapter import CHECKPOINT
from alexnet_repro.training.trained import load_trained

VERSIONS = {  # network, protocol -> claim
    ("B", "2012"): "relu",
    ("B", "2012, scaled"): "relu-scaled",
    ("B", "modern"): "relu-modern",
    ("A", "2012"): "relu-local",
}
PHOTOGRAPHS = {"chelsea": "cat", "astronaut": "astronaut", "coffee": "coffee", "rocket": "rocket"}  # of scikit-image
WEIGHTS = "network_weights.js"


def relu() -> dict[str, Any]:
    """Training errors after every epoch, and the verdicts with the numbers that they rest on."""
    versions = []
    for (network, protocol), claim in VERSIONS.items():
        records = {(record.arm, record.seed): record for record in load_evidence(claim, "paper")}
        result = verdict(CLAIMS[claim], records.values())
        sides = zip(result.claim.arms, (result.baseline, result.treatment), strict=True)
        arms = {
            arm.replace("relu", "ReLU"): [
                {"errors": [epoch["train_error"] for epoch in records[arm, seed].epochs], "reached": epochs}
                for seed, epochs in zip(result.seeds, reached, strict=True)
            ]
            for arm, reached in sides
        }
        interval = [end if end is not None and math.isfinite(end) else None for end in (result.low, result.high)]
        versions.append({
            "network": network, "protocol": protocol, "seeds": result.seeds, "arms": arms, "values": result.values,
            "estimate": result.estimate, "low": interval[0], "high": interval[1], "verdict": result.words,
            "paper": result.claim.paper_value, "decimals": result.decimals,
        })  # fmt: skip
    return {"target": paper.RELU_TARGET_ERROR, "versions": versions}


def lrn() -> dict[str, Any]:
    """The constants of response normalization that the paper prints."""
    norm = next(layer for layer in NetConfig.preset("paper").layers if isinstance(layer, Norm))
    return {name: getattr(norm, name) for name in ("k", "alpha", "size", "beta")}


def network() -> dict[str, Any]:
    """The script that contains the weights, and its size."""
    script = weights_script(CHECKPOINT)
    version = zlib.crc32(script.encode())  # so that no browser uses an older one from its cache
    return {"file": f"{WEIGHTS}?v={version:08x}", "megabytes": round(len(script) / 1e6, 1)}


FIGURES: dict[str, Callable[[], dict[str, Any]]] = {"relu": relu, "lrn": lrn, "network": network}


@cache
def weights_script(checkpoint: Path) -> str:
    """A script that gives ``network.js`` a network: its classes, input and layers with their weights, and photographs.

    Args:
        checkpoint: for any data set; wnids of Imagenette become words. Weights are written in half precision.

    Raises:
        ValueError: the browser cannot compute one of the layers; the error names it.
    """
    trained = load_trained(checkpoint, "cpu")
    size, scale = trained.config.size, trained.transform.scale
    black = trained.transform.viewed("centre").views(torch.zeros(1, 3, size, size, dtype=torch.uint8))[0, 0]
    described = {
        "classes": [Imagenette._WNID_TO_CLASS.get(name, (name,))[0] for name in trained.classes],
        "input": {
            "size": size,
            "crop": black.shape[-1],
            "scale": scale.flatten().expand(3).tolist(),
            "black": _base64(black.float()),  # the input of a black image, in single precision
        },
        "towers": trained.config.net.towers,
        "layers": [{"name": name, **layer(module)} for name, module in trained.network.named_children()],
        "photographs": [{"name": name, "png": _photograph(file, size)} for file, name in PHOTOGRAPHS.items()],
    }
    return f"interactive.network.receive({json.dumps(described)});\n"


def layer(module: nn.Module) -> dict[str, Any]:
    """Describes a layer for ``network.js``, which computes it at test time.

    Raises:
        ValueError: ``network.js`` cannot compute it.
    """
    match module:
        case PaddedConv2d():
            before, after = (module.padding[0] + extra for extra in module.extra[:2])
            shape = {"channels": module.out_channels, "kernel": module.kernel_size[0], "stride": module.stride[0]}
            where = {"before": before, "after": after, "groups": module.groups}
            return {"kind": "conv", **shape, **where, **_arrays(module)}
        case TowerLinear():
            return {"kind": "linear", "outputs": len(module.bias), "groups": module.towers, **_arrays(module)}
        case LocalResponseNorm():
            names = ("size", "alpha", "beta", "k", "average", "groups")
            return {"kind": "norm", **{name: getattr(module, name) for name in names}}
        case WithinChannelResponseNorm():
            return {"kind": "norm within", "size": module.size, "scale": module.scale, "beta": module.beta}
        case nn.MaxPool2d():
            return {"kind": "pool", "size": module.kernel_size, "stride": module.stride}
        case nn.ReLU():
            return {"kind": "relu"}
        case Dropout():
            return {"kind": "dropout", "factor": 1 if module.rescale else 1 - module.p}
    raise ValueError(f"book/_static/network.js can't compute {module}: teach it, or choose another network")


def _arrays(module: nn.Module) -> dict[str, str]:
    return {"weight": _base64(module.weight.half()), "bias": _base64(module.bias.half())}


def _base64(tensor: Tensor) -> str:
    """The numbers in the order of a contiguous tensor, little-endian."""
    array = tensor.detach().contiguous().numpy()
    return base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode()


def _photograph(name: str, size: int) -> str:
    """One of scikit-image's photographs, cropped and scaled for the network, as a PNG in base64."""
    image, file = Image.fromarray(getattr(photographs, name)()), io.BytesIO()
    Image.fromarray(central_square(image, size)).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


class Interactive(nodes.container):
    """Where a figure is drawn; its children are the text shown with it."""


class InteractiveDirective(SphinxDirective):
    """``{interactive} NAME`` with the text that is shown with the figure."""

    has_content = True
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The node for the figure, with its text."""
        name = self.arguments[0]
        if name not in FIGURES:
            raise self.error(f"there is no interactive figure {name!r}, only {', '.join(FIGURES)}")
        return [Interactive("", *self.parse_content_to_nodes(), figure=name)]


def begin(translator: HTML5Translator, node: Interactive) -> None:
    """Opens an element with the data, which stays hidden until its script has found it."""
    data = json.dumps(FIGURES[node["figure"]]()).replace("<", "\\u003c")
    translator.body.append(f'<div class="interactive" data-figure="{node["figure"]}" hidden>')
    translator.body.append(f'<script type="application/json">{data}</script>\n')


def end(translator: HTML5Translator, node: Interactive) -> None:
    """Closes the element after the text."""
    translator.body.append("</div>\n")


def skip(translator: Any, node: Interactive) -> None:
    """Leaves out the figure and its text."""
    raise nodes.SkipNode


def add_scripts(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Adds the scripts and the style that a page's figures need."""
    places = [] if doctree is None or app.builder.name != "html" else doctree.findall(Interactive)
    if figures := [place["figure"] for place in places]:
        app.add_css_file("interactive.css")
        for name in ("interactive", *figures):
            app.add_js_file(f"{name}.js", loading_method="defer")


def write_weights(app: Sphinx, exception: Exception | None) -> None:
    """Writes the script with the weights, which a reader may load, next to the others."""
    if exception is None and app.builder.name == "html":
        (Path(app.outdir) / "_static" / WEIGHTS).write_text(weights_script(CHECKPOINT), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers all of it."""
    nothing = dict.fromkeys(("epub", "latex", "text"), (skip, None))
    app.add_node(Interactive, html=(begin, end), **nothing)
    app.add_directive("interactive", InteractiveDirective)
    app.connect("html-page-context", add_scripts)
    app.connect("build-finished", write_weights)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
