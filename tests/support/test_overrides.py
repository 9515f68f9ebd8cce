from dataclasses import replace

import pytest
from run_case import CONFIG

from alexnet_repro import InputConfig
from alexnet_repro.support.overrides import override


@pytest.mark.parametrize(
    ("assignment", "read", "value"),
    [
        ("train.lr=0.02", lambda c: c.train.lr, 0.02),
        ("train.lr=1", lambda c: c.train.lr, 1.0),
        ("train.lr=.001", lambda c: c.train.lr, 0.001),
        ("train.lr=+0.001", lambda c: c.train.lr, 0.001),
        ("train.lr=1.", lambda c: c.train.lr, 1.0),
        ("train.lr=+.5E-2", lambda c: c.train.lr, 0.005),
        ("train.epochs=+3", lambda c: c.train.epochs, 3),
        ("train.weight_decay.conv1=.1", lambda c: c.train.weight_decay, {"fc6": 5e-4, "fc8": 5e-4, "conv1": 0.1}),
        ("train.compile=true", lambda c: c.train.compile, True),
        ("train.target_error=null", lambda c: c.train.target_error, None),
        ("train.precision=bfloat16", lambda c: c.train.precision, "bfloat16"),
        ("train.weight_decay.conv1=0.1", lambda c: c.train.weight_decay, {"fc6": 5e-4, "fc8": 5e-4, "conv1": 0.1}),
        ("train.schedule.stages.1.lr_factor=0.5", lambda c: c.train.schedule.stages[1].lr_factor, 0.5),
        ("net.layers.conv1.channels=48", lambda c: c.net.layers[0].channels, 48),
        ("input.color=null", lambda c: c.input.color, None),
        ("seed=4", lambda c: c.seed, 4),
        ("dataset=photos", lambda c: c.dataset, "photos"),
    ],
)
def test_every_kind_of_field_is_reached(assignment, read, value):
    changed = read(override(CONFIG, assignment))
    assert changed == value
    assert type(changed) is type(value)


def test_later_ones_see_earlier_ones_and_the_original_stays_as_it_was():
    both = override(CONFIG, "net.width=0.5", "net.width=0.25", "net.image_size=16")
    assert (both.net.width, both.net.image_size) == (0.25, 16)
    assert CONFIG.net.width == 1.0


def test_settings_that_go_together_may_come_in_any_order():
    whole = replace(CONFIG, input=InputConfig())
    settings = ("input.crop_offsets=5", "input.crop=12", "net.towers=4", "net.width=3")
    assert override(whole, *settings) == override(whole, *reversed(settings))
    assert override(whole, *settings).input == InputConfig(crop=12, crop_offsets=5)
    with pytest.raises(ValueError, match="crop_offsets only apply to crops, but crop=None"):
        override(whole, "input.crop_offsets=5")


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("train.lr", "written field=value"),
        ("train.rate=1", "TrainConfig has no 'rate', only epochs, lr,"),
        ("trian.lr=1", "RunConfig has no 'trian', only dataset"),
        ("train.lr=fast", "train.lr does not take 'fast': it must be a number"),
        ("train.lr=true", "train.lr does not take True"),
        ("train.compile=yes", "train.compile does not take 'yes': it must be true or false"),
        ("train.lr_drops=3", r"train.lr_drops does not take 3: it must be \[a whole number, ...\]"),
        ("train.weight_decay=0", r'train.weight_decay does not take 0: it must be {"name": a number}'),
        ("input.crop=no", "input.crop does not take 'no': it must be a whole number or null"),
        ("train.epochs=1.5", "train.epochs does not take 1.5: it must be a whole number"),
        ("train.precision=float8", "it must be one of float32, bfloat16, float16"),
        ("net.layers.conv9.channels=1", "net.layers has no 'conv9', only conv1, relu1"),
        ("train.weight_decay.fc6=much", "takes a number, not 'much'"),
        ("train.lr.x=1", "'x' is no field of 0.001"),
        ("train.weight_decay.fc6=true", "takes a number, not True"),
        ("train.lr=NaN", "train.lr takes finite numbers, not NaN"),
        ("train.lr=Infinity", "train.lr takes finite numbers, not Infinity"),
        ("train.lr=-Infinity", "train.lr takes finite numbers, not -Infinity"),
        ("train.lr=1e999", "train.lr takes finite numbers, not 1e999"),
        ("train.lr=+1.e999", "train.lr takes finite numbers"),
        ("train.weight_decay.fc6=NaN", "train.weight_decay.fc6 takes finite numbers"),
        ("train.lr_drops=[1, NaN]", "train.lr_drops takes finite numbers"),
        ("train.lr=inf", "train.lr does not take 'inf'"),
        ("train.epochs=3.", "train.epochs does not take 3.0: it must be a whole number"),
        ("train.lr=-1", "lr must be greater than 0"),
        ("input.crop=None", "input.crop does not take 'None': it must be a whole number or null"),
        ("net.layers.conv1=5", r"^net.layers.conv1 takes no value: set a field of it, net.layers.conv1.FIELD=[^(]*$"),
        ("train=5", r"^train takes no value: set a field of it, train.FIELD=\.\.\.$"),
        ("train.schedule=Plateau", "schedule takes no value but null: set a field of it, train.schedule.FIELD="),
        ("train.schedule.stages=5", "train.schedule.stages does not take 5"),
        ("seed=-1", "seed must be at least 0, not -1"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(assignment, message):
    with pytest.raises(ValueError, match=message):
        override(CONFIG, assignment)
