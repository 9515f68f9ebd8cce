import dataclasses
import math

import pytest
from tiny_net import TINY_NET
from torch import nn

from alexnet_repro import InputConfig, NetConfig, TrainConfig, build
from alexnet_repro.networks.presets import PRESETS
from alexnet_repro.networks.spec import RESERVED, Conv, Linear, Local, Norm, Pool
from alexnet_repro.support.values import as_json, digest

POOL_FIRST = (Pool("pool1", "max"), Conv("conv1", channels=4, kernel=3, std=0.1), Linear("fc10", std=0.1))
FC_FIRST = (Linear("fc64", outputs=64, std=0.1), Linear("fc10", std=0.1))


def test_the_clean_pair_differs_by_two_norms_and_nothing_else():
    with_norms = NetConfig.preset("cifar-11pct-r540")
    without = NetConfig.preset("cifar-13pct")
    assert [layer.name for layer in with_norms.layers if isinstance(layer, Norm)] == ["norm1", "norm2"]
    assert dataclasses.replace(with_norms.without(Norm), name="cifar-13pct") == without


def test_the_19pct_net_pools_before_its_first_neuron_and_averages_later():
    names = [layer.name for layer in NetConfig.preset("cifar-19pct").layers]
    assert names.index("pool1") < names.index("act1")
    kinds = [layer.kind for layer in NetConfig.preset("cifar-19pct").layers if isinstance(layer, Pool)]
    assert kinds == ["max", "avg", "avg"]


def test_a_local_layer_is_no_convolution_when_taken_out():
    kept = NetConfig.preset("cifar-13pct").without(Local).layers
    assert [layer.name for layer in kept if isinstance(layer, Conv)] == ["conv1", "conv2"]


def test_an_unknown_preset_is_an_error_that_lists_the_presets():
    with pytest.raises(ValueError, match=r"one of paper, run145, .*, cifar-11pct, not 'cifar'"):
        NetConfig.preset("cifar")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NetConfig(name="n", layers=()), "last layer must be a Linear"),
        (lambda: NetConfig(name="n", layers=(Linear("fc", std=1.0, outputs=3),)), "last layer"),
        (lambda: NetConfig(name="n", layers=(Pool("a", "max"), Linear("a", std=1.0))), "a is used more than once"),
        (lambda: dataclasses.replace(NetConfig.preset("cifar-19pct"), activation="gelu"), "relu, tanh, not 'gelu'"),
        (lambda: dataclasses.replace(NetConfig.preset("cifar-19pct"), initialization="he"), "gaussian, torch"),
        (lambda: dataclasses.replace(NetConfig.preset("paper"), dropout=1.0), "less than 1, not 1.0"),
        (lambda: dataclasses.replace(NetConfig.preset("paper"), towers=0), "towers must be greater than 0"),
        (lambda: dataclasses.replace(NetConfig.preset("paper"), towers=7), "conv1 would have 96 .* towers=7"),
        (lambda: dataclasses.replace(NetConfig.preset("paper"), width=0.3), "conv1 would have 28.8 .* width=0.3"),
        (lambda: dataclasses.replace(NetConfig.preset("run148"), norm_average=True), "needs a Norm layer"),
        (lambda: dataclasses.replace(NetConfig.preset("paper"), norms=False, norm_average=True), "needs a Norm layer"),
        (lambda: dataclasses.replace(NetConfig.preset("paper"), pool_size=0), "pool_size must be greater than 0"),
        (
            lambda: NetConfig.preset("run148").without(Pool).changed("x", conv1={"std": math.nan}),
            "std of conv1 must be f",
        ),
        (lambda: dataclasses.replace(NetConfig.preset("paper").without(Pool), pool_size=2), "needs a Pool layer"),
        (lambda: dataclasses.replace(NetConfig.preset("cifar-19pct"), towers=2, layers=POOL_FIRST), "Conv, not pool1"),
        (lambda: dataclasses.replace(NetConfig.preset("cifar-19pct"), towers=2, layers=FC_FIRST), "Conv, not fc64"),
        (lambda: dataclasses.replace(NetConfig.preset("cifar-19pct"), towers=2), "towers=2 would change nothing"),
        (
            lambda: dataclasses.replace(NetConfig.preset("cifar-19pct"), dropout=0.2),
            "dropout=0.2 needs a Dropout layer",
        ),
        (lambda: dataclasses.replace(NetConfig.preset("run148"), norms=False), "norms=False needs a Norm or With"),
        (lambda: NetConfig.preset("paper").without(nn.ReLU), r"kinds of layers are Conv, Local, .*, Linear, not ReLU"),
        (lambda: NetConfig.preset("paper").without("Norm"), "not Norm"),
        (lambda: NetConfig.preset("run148").without(Norm, Local), "run148 has no layer Norm or Local to take out"),
        (
            lambda: NetConfig.preset("paper").changed("x", norm1={"alfa": 1}),
            "norm1 has no field alfa: name, size, alpha, k,",
        ),
        (
            lambda: NetConfig.preset("cifar-13pct").changed("x", local3={"stride": 2}),
            "local3 takes stride=1, .* not 2,",
        ),
        (lambda: NetConfig.preset("cifar-13pct").changed("x", local3={"padding": 0}), "padding=None .* not 1, 0"),
        (lambda: NetConfig.preset("cifar-13pct").changed("x", local3={"reads": "own"}), "reads='all' only, .* 'own'"),
        (lambda: dataclasses.replace(NetConfig.preset("paper"), width=math.inf), "width must be finite, not inf"),
        (lambda: TrainConfig(epochs=1, lr=math.inf), "lr must be finite, not inf"),
        (
            lambda: TrainConfig(epochs=1, lr=0.1, weight_decay={"fc": math.inf}),
            "weight_decay of fc must be .*, not inf",
        ),
        (lambda: Linear("fc", std=-0.1), "std of fc must be at least 0, not -0.1"),
        (lambda: Conv("conv", channels=4, kernel=0, std=0.1), "kernel of conv must be greater than 0, not 0"),
        (lambda: Conv("conv", channels=4, kernel=3, std=0.1, stride=True), "stride of conv must be int, not True"),
        (lambda: Norm("norm", size=5.0, alpha=1.0, k=1.0), "size of norm must be int, not 5.0"),
        (lambda: InputConfig(pixels="raw"), "minus-mean-image, standardized, not 'raw'"),
        (lambda: InputConfig(batch_size=0), "batch_size must be greater than 0, not 0"),
        (lambda: InputConfig(crop=-1), "crop must be greater than 0, not -1"),
        (lambda: InputConfig(crop=24, views="eleven"), "grid, ten, centre, not 'eleven'"),
        (lambda: InputConfig(color="rainbow"), "run145, paper, lighting or None, not 'rainbow'"),
        (lambda: InputConfig(views="ten", crop_share=32), "crop_share, views only apply to crops, but crop=None"),
        (lambda: TrainConfig(epochs=0, lr=0.1), "epochs must be greater than 0, not 0"),
        (lambda: TrainConfig(epochs=1, lr=0.0), "lr must be greater than 0"),
        (lambda: TrainConfig(epochs=1, lr=0.1, target_error=25), "fraction between 0 and 1, not 25"),
    ],
)
def test_wrong_fields_are_refused_by_value(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("name", ["forward", "keys", "tower", "module", "_orig_mod", "config", "generator", "a.b", ""])
def test_a_layer_that_would_hide_an_attribute_or_be_taken_for_a_prefix_is_refused(name):
    with pytest.raises(ValueError, match="a layer can't have the name"):
        NetConfig(name="n", layers=(Linear(name, std=1.0),))
    own = {layer.name for layer in TINY_NET.layers}
    attributes = {name for name in dir(build(TINY_NET)) if not name.startswith("__")}  # compilers add some of these
    assert attributes - own <= RESERVED


def test_a_width_is_whole_but_for_roundings():
    assert 100 * 0.29 < 29
    (conv, _) = dataclasses.replace(
        TINY_NET, width=0.29, layers=(Conv("conv1", channels=100, kernel=3, std=0.1), TINY_NET.layers[-1])
    ).effective_layers()
    assert conv.channels == 29


def test_equal_configurations_have_equal_digests_and_others_do_not():
    digests = {digest(as_json(net)) for net in PRESETS.values()}
    assert len(digests) == len(PRESETS)
    again = dataclasses.replace(NetConfig.preset("cifar-19pct"))
    assert digest(as_json(again)) in digests


def test_a_digest_does_not_depend_on_the_order_of_keys():
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    # printf '{"a":1,"b":[2]}' | sha256sum
    assert digest({"b": [2], "a": 1}) == "0855bfc20eb6cfaa4be7d6b510c63dd22997718bddadcb1a4915cec3a16145b9"


def test_layers_are_changed_by_name_and_others_kept():
    net = NetConfig.preset("paper")
    changed = net.changed("tall", fc6={"outputs": 8192}, fc8={"bias": 1.0})
    assert changed.name == "tall"
    before, after = ({layer.name: layer for layer in each.layers} for each in (net, changed))
    assert {name for name in before if before[name] != after[name]} == {"fc6", "fc8"}
    assert (after["fc6"].outputs, after["fc6"].std, after["fc8"].bias) == (8192, 0.01, 1.0)


def test_a_layer_that_does_not_exist_cannot_be_changed():
    with pytest.raises(ValueError, match="paper has no layer fc9: conv1, relu1"):
        NetConfig.preset("paper").changed("x", fc9={"bias": 1.0})
