import pytest

from alexnet_repro import InputConfig, NetConfig, TrainConfig
from alexnet_repro.data.config import INPUT_PRESETS
from alexnet_repro.networks.presets import PRESETS
from alexnet_repro.training.recipes import TRAIN_PRESETS


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
    assert config.lr * config.bias_lr_factor == 0.02
    last = config.stage(ends[-1]).bias_lr_factor * 0.02
    assert last == pytest.approx(0.002 if name == "run145-2010" else 0.02)


def test_the_printed_recipe():
    config = TrainConfig.preset("paper")
    assert (config.epochs, config.lr, config.bias_lr_factor, config.momentum) == (90, 0.01, 1.0, 0.9)
    assert set(config.weight_decay.values()) == {0.0005}
    assert (config.schedule.drops, config.schedule.factor) == (3, 0.1)
    inputs = InputConfig.preset("paper")
    assert (inputs.batch_size, inputs.crop, inputs.views) == (128, 224, "ten")
    assert 2 * inputs.crop_offsets**2 == 2048


def test_the_inputs_of_run_145_share_a_crop_among_32_images_and_have_33_places():
    inputs = InputConfig.preset("run145")
    assert (inputs.crop_share, inputs.crop_offsets, inputs.color, inputs.mean_position) == (
        32,
        None,
        "run145",
        "central",
    )


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
    assert (config.lr, config.bias_lr_factor) == (0.001, 2.0)


@pytest.mark.parametrize("name", PRESETS)
def test_every_network_has_a_recipe_that_names_only_its_layers_and_makes_its_images(name):
    config, net = TrainConfig.preset(name), NetConfig.preset(name)
    assert set(config.weight_decay) <= {layer.name for layer in net.layers}
    assert InputConfig.preset(name).crop in (None, net.image_size)
    assert set(TRAIN_PRESETS) == set(INPUT_PRESETS)
