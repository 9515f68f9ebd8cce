import re
from dataclasses import replace
from pathlib import Path

import pytest

from alexnet_repro import NetConfig
from alexnet_repro.networks.presets import PRESETS
from alexnet_repro.networks.spec import Conv, Dropout, Norm, WithinChannelNorm
from alexnet_repro.support.values import as_json


def test_every_preset_is_found_under_its_name():
    assert all(NetConfig.preset(name) is net and net.name == name for name, net in PRESETS.items())
    assert len(PRESETS) == 15


def differing(one: str, other: str) -> set[str]:
    """Names of the layers in which two presets differ."""
    layers = [{layer.name: as_json(layer) for layer in NetConfig.preset(name).layers} for name in (one, other)]
    return {name for name in layers[0] | layers[1] if layers[0].get(name) != layers[1].get(name)}


def test_run_147_differs_from_run_145_in_pools_and_two_paddings():
    assert differing("run145", "run147") == {"pool1", "pool2", "pool5", "conv2", "conv5"}


def test_run_148_is_run_145_without_any_norm():
    assert differing("run145", "run148") == {"norm1", "norm2", "cnorm2"}
    without = replace(NetConfig.preset("run145"), norms=False)
    assert without.effective_layers() == NetConfig.preset("run148").layers


def test_the_half_net_has_half_the_channels_everywhere_but_in_conv5():
    assert differing("run145", "run145-half") == {"conv1", "conv2", "conv3", "conv4"}
    assert NetConfig.preset("run145-half").towers == 1
    channels = [layer.channels for layer in NetConfig.preset("run145-half").layers if isinstance(layer, Conv)]
    assert channels == [48, 128, 192, 192, 256]


def test_the_small_net_starts_with_sums_as_large_as_those_of_run_145():
    small, full = NetConfig.preset("run145-small"), NetConfig.preset("run145")
    inputs = {"conv1": 1.0}  # as many as at full width: the colours of an image
    for before, after in zip(full.layers, small.layers, strict=True):
        if hasattr(before, "std"):
            wide = inputs.get(before.name, small.width)
            assert after.std * wide**0.5 == pytest.approx(before.std)
            assert replace(after, std=before.std) == before
        else:
            assert after == before
    assert (small.width, small.image_size, small.towers) == (0.25, 112, 2)


def test_run_145_differs_from_the_paper_in_what_was_not_printed():
    # In order alone, which this does not see: norm1 before relu1, relu5 after pool5.
    assert differing("paper", "run145") == {"norm1", "norm2", "cnorm2", "conv3", "conv4", "conv5"}


@pytest.mark.parametrize("name", ["paper", "run145", "run147", "caffe"])
def test_no_alexnet_pools_before_it_normalizes(name):
    names = [layer.name for layer in NetConfig.preset(name).layers]
    assert names.index("norm1") < names.index("pool1")
    assert names.index("norm2") < names.index("pool2")


@pytest.mark.parametrize("name", ["paper", "run145", "caffe"])
def test_dropout_follows_fc6_and_fc7_but_torchvision_has_it_before_them(name):
    ends = [[layer.name for layer in NetConfig.preset(net).layers][-7:] for net in (name, "torchvision")]
    assert ends[0] == ["fc6", "relu6", "drop6", "fc7", "relu7", "drop7", "fc8"]
    assert ends[1] == ["drop6", "fc6", "relu6", "drop7", "fc7", "relu7", "fc8"]


def test_torchvision_has_other_channels_and_no_normalization():
    layers = {name: NetConfig.preset(name).layers for name in ("torchvision", "paper")}
    channels = {name: [layer.channels for layer in net if isinstance(layer, Conv)] for name, net in layers.items()}
    assert channels == {"torchvision": [64, 192, 384, 256, 256], "paper": [96, 256, 384, 384, 256]}
    assert not [layer for layer in layers["torchvision"] if isinstance(layer, Norm | WithinChannelNorm)]
    assert NetConfig.preset("torchvision").towers == 1


def test_the_published_11pct_net_has_wider_norms_and_local3():
    assert differing("cifar-11pct-r540", "cifar-11pct") == {"norm1", "norm2", "local3"}
    names = [layer.name for layer in NetConfig.preset("cifar-11pct").layers]
    assert names.index("norm1") > names.index("pool1")
    assert names.index("norm2") < names.index("pool2")


@pytest.mark.parametrize(
    ("name", "norms"),
    [
        ("cifar-11pct-r540", [Norm(f"norm{i}", size=5, alpha=1e-3, beta=0.75, k=1.0, average=True) for i in (1, 2)]),
        ("cifar-11pct", [Norm(f"norm{i}", size=9, alpha=1e-3, beta=0.75, k=1.0, average=True) for i in (1, 2)]),
        ("cifar-18pct", [WithinChannelNorm(f"rnorm{i}", size=3, scale=5e-5, beta=0.75) for i in (1, 2)]),
        (
            "run145",
            [
                *(Norm(f"norm{i}", size=5, alpha=1e-4, beta=0.75, k=2.0, average=True) for i in (1, 2)),
                WithinChannelNorm("cnorm2", size=5, scale=1e-3, beta=0.75),
            ],
        ),
    ],
)
def test_norms_are_the_layer_files(name, norms):
    assert [layer for layer in NetConfig.preset(name).layers if isinstance(layer, Norm | WithinChannelNorm)] == norms


@pytest.mark.parametrize(
    ("name", "stds"),
    [
        ("cifar-80sec", {"conv1": 1e-4, "conv2": 0.01, "conv3": 0.01, "fc64": 0.1, "fc10": 0.1}),
        ("cifar-19pct", {"conv1": 1e-4, "conv2": 0.01, "conv3": 0.01, "fc10": 0.01}),
        ("cifar-18pct", {"conv1": 1e-4, "conv2": 0.01, "conv3": 0.01, "fc10": 0.01}),
        *(
            (name, {"conv1": 1e-4, "conv2": 0.01, "local3": 0.04, "local4": 0.04, "fc10": 0.01})
            for name in ("cifar-13pct", "cifar-11pct-r540", "cifar-11pct")
        ),
        *(
            (
                name,
                dict.fromkeys(("conv1", "conv2", "fc6", "fc7", "fc8"), 0.01)
                | dict.fromkeys(("conv3", "conv4", "conv5"), 0.03),
            )
            for name in ("run145", "run145-half", "run147", "run148")
        ),
    ],
)
def test_initial_deviations_are_the_layer_files(name, stds):
    assert {layer.name: layer.std for layer in NetConfig.preset(name).layers if hasattr(layer, "std")} == stds


def test_dropout_rescales_in_caffe_and_torchvision_alone():
    for name, net in PRESETS.items():
        found = {layer.rescale for layer in net.layers if isinstance(layer, Dropout)}
        assert found <= {name in ("caffe", "torchvision")}, name


def test_the_readme_lists_every_preset_and_no_other():
    """``-19pct`` is short for ``cifar-19pct``."""
    text = Path(__file__).parents[2].joinpath("README.md").read_text(encoding="utf-8")
    listed = re.findall("`([^`]+)`", text.partition("The presets are")[2].partition(".")[0])
    assert [f"cifar{name}" if name.startswith("-") else name for name in listed] == list(PRESETS)


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("cifar-80sec", "conv1 pool1 act1 conv2 act2 pool2 conv3 act3 pool3 fc64 act4 fc10"),
        ("cifar-18pct", "conv1 pool1 act1 rnorm1 conv2 act2 pool2 rnorm2 conv3 act3 pool3 fc10"),
        ("cifar-13pct", "conv1 act1 pool1 conv2 act2 pool2 local3 act3 local4 act4 fc10"),
        ("cifar-11pct-r540", "conv1 act1 norm1 pool1 conv2 act2 norm2 pool2 local3 act3 local4 act4 fc10"),
        ("cifar-11pct", "conv1 act1 pool1 norm1 conv2 act2 norm2 pool2 local3 act3 local4 act4 fc10"),
    ],
)
def test_the_layers_of_cuda_convnet_s_nets_are_in_the_order_on_record(name, order):
    assert [layer.name for layer in NetConfig.preset(name).layers] == order.split()


@pytest.mark.parametrize(
    "name", ["paper", "run145", "run145-half", "run147", "run148", "caffe", "torchvision", "notes"]
)
def test_every_alexnet_keeps_half_of_the_units_of_two_layers(name):
    net = NetConfig.preset(name)
    assert net.dropout == 0.5
    assert sum(isinstance(layer, Dropout) for layer in net.layers) == 2
