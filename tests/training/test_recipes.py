import pytest

from alexnet_repro import InputConfig, NetConfig, TrainConfig
from alexnet_repro.data.config import INPUT_PRESETS
from alexnet_repro.networks.presets import PRESETS
from alexnet_repro.training.recipes import TRAIN_PRESETS
from alexnet_repro.training.schedules import Dexp


def rates(config: TrainConfig, layer: str) -> list[float]:
    stages = [config.stage(epoch) for epoch in range(1, config.epochs + 1)]
    return [config.lr * stage.layer_lr_factors.get(layer, stage.lr_factor) for stage in stages]


@pytest.mark.parametrize(
    ("name", "ends"),
    [("run145", (25, 51, 67, 72, 79, 91)), ("run145-2010", (23, 51, 68, 72, 78, 93))],
)
def test_run_145_has_the_recorded_stages(name, ends):
    config = TrainConfig.preset(name)
    lengths = [end - start for start, end in zip((0, *ends), ends, strict=False)]
    repeat = lambda values: [v for v, n in zip(values, lengths, strict=True) for _ in range(n)]  # noqa: E731
    assert config.epochs == ends[-1]
    assert rates(config, "conv1") == pytest.approx(repeat([1e-2, 1e-3, 1e-4, 1e-5, 0, 0]))
    assert rates(config, "conv2") == pytest.approx(repeat([1e-2, 1e-3, 1e-4, 1e-4, 1e-4, 1e-5]))
    assert [config.stage(e).color for e in range(1, ends[-1] + 1)] == repeat([True] * 3 + [False] * 3)
    late = 0.002 if name == "run145-2010" else 0.02
    biases = [config.lr * config.bias_lr_factor * config.stage(e).bias_lr_factor for e in range(1, ends[-1] + 1)]
    assert biases == pytest.approx(repeat([0.02, *5 * [late]]))


def test_the_printed_recipe():
    config = TrainConfig.preset("paper")
    assert (config.epochs, config.lr, config.bias_lr_factor, config.momentum) == (90, 0.01, 1.0, 0.9)
    assert (config.schedule.drops, config.schedule.factor) == (3, 0.1)
    assert 2 * InputConfig.preset("paper").crop_offsets ** 2 == 2048


@pytest.mark.parametrize(
    ("names", "crop", "offsets", "share", "mean", "views", "color", "batch_size"),
    [
        ("paper notes torchvision", 224, 32, 1, "matched", "ten", "lighting", 128),
        ("run145 run145-half run147 run148 run145-2010", 224, None, 32, "central", "ten", "run145", 128),
        ("run145-small", 112, None, 1, "central", "ten", "run145", 128),
        ("cuda-convnet2", 224, None, 1, "central", "ten", "run145", 128),
        ("caffe", 227, None, 1, "matched", "centre", None, 256),
        ("cifar-80sec cifar-19pct cifar-18pct", None, None, 1, "central", "grid", None, 128),
        ("cifar-13pct cifar-11pct-r540", 24, None, 1, "central", "grid", None, 128),
        ("cifar-11pct", 24, None, 1, "central", "ten", None, 128),
    ],
)
def test_inputs_are_those_on_record(names, crop, offsets, share, mean, views, color, batch_size):
    """Without ``offsets`` a crop of 224 has 33 places."""
    for inputs in map(InputConfig.preset, names.split()):
        places = inputs.crop, inputs.crop_offsets, inputs.crop_share, inputs.mean_position, inputs.views
        assert places == (crop, offsets, share, mean, views)
        assert (inputs.color, inputs.batch_size, inputs.pixels) == (color, batch_size, "minus-mean-image")
        assert inputs.reshuffle == (names == "run145-small")  # else the order is shuffled once


CONV_DECAY = {"conv1": 0.004, "conv2": 0.004, "conv3": 0.004}
LOCAL_DECAY = {"local3": 0.004, "local4": 0.004, "fc10": 0.004}
CIFAR_DECAY = {
    "cifar-80sec": CONV_DECAY | {"fc64": 0.03, "fc10": 0.03},
    "cifar-19pct": CONV_DECAY | {"fc10": 3.0},
    "cifar-18pct": CONV_DECAY | {"fc10": 1.0},
    "cifar-13pct": LOCAL_DECAY,
    "cifar-11pct-r540": LOCAL_DECAY,
    "cifar-11pct": LOCAL_DECAY | {"fc10": 0.01},
}


@pytest.mark.parametrize("name", TRAIN_PRESETS)
def test_weights_decay_as_printed_or_as_in_the_layer_files(name):
    layers = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
    assert TrainConfig.preset(name).weight_decay == CIFAR_DECAY.get(name, dict.fromkeys(layers, 0.0005))


@pytest.mark.parametrize("name", TRAIN_PRESETS)
def test_biases_learn_at_twice_the_rate_of_weights_but_as_printed_at_the_same(name):
    config = TrainConfig.preset(name)
    assert config.bias_lr_factor == (1.0 if name in ("paper", "notes", "torchvision") else 2.0)
    assert config.momentum == 0.9


def test_caffe_s_rates_drop_every_20_epochs_and_those_of_cuda_convnet2_by_themselves():
    caffe = TrainConfig.preset("caffe")
    stages = [caffe.stage(epoch) for epoch in range(1, caffe.epochs + 1)]
    expected = [0.01 * 0.1 ** (epoch // 20) for epoch in range(90)]
    assert [caffe.lr * stage.lr_factor for stage in stages] == pytest.approx(expected)
    assert [caffe.lr * stage.bias_lr_factor for stage in stages] == pytest.approx(expected)
    automatic = TrainConfig.preset("cuda-convnet2")
    assert (automatic.epochs, automatic.lr, automatic.schedule) == (90, 0.01, Dexp())


@pytest.mark.parametrize(
    ("name", "epochs", "lr", "drops"),
    [
        ("cifar-80sec", 10, 0.001, (8,)),
        ("run145-small", 60, 0.01, (42, 54)),
    ],
)
def test_the_short_recipes_drop_where_their_files_say(name, epochs, lr, drops):
    config = TrainConfig.preset(name)
    assert (config.epochs, config.lr, config.lr_drops, config.schedule) == (epochs, lr, drops, None)


@pytest.mark.parametrize("name", ["cifar-18pct", "cifar-19pct"])
def test_the_18_percent_net_lowers_all_learning_rates_the_biases_too(name):
    config = TrainConfig.preset(name)
    factors = [(config.stage(epoch).lr_factor, config.stage(epoch).bias_lr_factor) for epoch in (1, 120, 121, 130, 131)]
    assert factors == [pytest.approx(pair) for pair in ((1, 1), (1, 1), (0.1, 0.1), (0.1, 0.1), (0.01, 0.01))]
    assert (config.epochs, config.lr, config.bias_lr_factor) == (140, 0.001, 2.0)


def test_the_notes_have_ten_times_the_rate():
    assert TrainConfig.preset("notes").lr == 0.1


@pytest.mark.parametrize(("name", "lengths"), [("cifar-13pct", (100, 40, 10, 10)), ("cifar-11pct", (350, 150, 10, 10))])
def test_the_cifar_schedules_are_the_published_ones(name, lengths):
    config = TrainConfig.preset(name)
    stages = config.schedule.stages
    assert tuple(stage.epochs for stage in stages) == lengths
    assert config.epochs == sum(lengths)
    assert [stage.lr_factor for stage in stages] == [1.0, 1.0, 0.1, 0.01]
    assert [stage.part for stage in stages] == [0.8, 1.0, 1.0, 1.0]
    assert {stage.bias_lr_factor for stage in stages} == {1.0}
    assert config.lr == 0.001


@pytest.mark.parametrize("name", PRESETS)
def test_every_network_has_a_recipe_that_names_only_its_layers_and_makes_its_images(name):
    config, net = TrainConfig.preset(name), NetConfig.preset(name)
    assert set(config.weight_decay) <= {layer.name for layer in net.layers}
    assert InputConfig.preset(name).crop in (None, net.image_size)
    assert set(TRAIN_PRESETS) == set(INPUT_PRESETS)
