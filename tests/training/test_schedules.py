import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alexnet_repro import TrainConfig
from alexnet_repro.training.recipes import TRAIN_PRESETS
from alexnet_repro.training.schedules import Dexp, Plateau, Stage, Stages


def test_stages_follow_each_other_and_the_last_goes_on():
    stages = Stages((Stage(epochs=2), Stage(epochs=1, lr_factor=0.1), Stage(lr_factor=0.01)))
    assert [stages.stage(epoch, 9, ()).lr_factor for epoch in range(1, 7)] == [1.0, 1.0, 0.1, 0.01, 0.01, 0.01]


def test_a_plateau_is_so_many_epochs_without_a_new_lowest_error():
    plateau = Plateau(patience=2, drops=2)
    errors = [0.9, 0.8, 0.8, 0.85, 0.7, 0.7, 0.71, 0.72, 0.73, 0.74, 0.75, 0.76]
    rates = [plateau.stage(i + 1, 99, errors[:i]).lr_factor for i in range(len(errors) + 1)]
    assert rates == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01])


def test_the_automatic_schedule_has_the_rates_of_cuda_convnet2():
    stages = [Dexp().stage(epoch, 90, ()) for epoch in range(1, 91)]
    rates = sorted({0.01 * stage.lr_factor for stage in stages}, reverse=True)
    assert rates == pytest.approx([0.01, 0.0015874, 0.00025198, 0.00004], rel=1e-4)
    assert sorted({0.02 * stage.bias_lr_factor for stage in stages}) == pytest.approx([0.002, 0.02])
    assert [stage.bias_lr_factor for stage in stages].index(stages[-1].bias_lr_factor) == 45


def test_shortened_to_its_own_length_a_training_is_the_same_and_stages_that_it_never_reaches_are_left_out():
    for name, config in TRAIN_PRESETS.items():
        same = config.shortened(config.epochs)
        assert [same.stage(epoch) for epoch in range(1, config.epochs + 1)] == [
            replace(config.stage(epoch), epochs=same.stage(epoch).epochs) for epoch in range(1, config.epochs + 1)
        ], name
    caffe = TrainConfig.preset("caffe").shortened(9)  # of 90 epochs, in stages of 20 of which there are enough for 100
    assert [stage.epochs for stage in caffe.schedule.stages] == [2, 2, 2, 2, 1]
    endless = TrainConfig(epochs=10, lr=1.0, schedule=Stages((Stage(epochs=4), Stage(epochs=8), Stage(lr_factor=0.1))))
    assert [stage.epochs for stage in endless.shortened(5).schedule.stages] == [2, 3]


@given(st.integers(6, 200))
def test_shortened_stages_keep_their_order_and_have_as_many_epochs_as_asked_for(epochs):
    whole = TrainConfig.preset("run145")
    short = whole.shortened(epochs)
    assert sum(stage.epochs for stage in short.schedule.stages) == short.epochs == epochs
    kept = [[(stage.lr_factor, stage.color) for stage in config.schedule.stages] for config in (short, whole)]
    assert kept[0] == kept[1]
    assert whole.shortened(91) == whole


def test_shortened_drops_keep_their_proportion_and_every_stage_an_epoch():
    config = TrainConfig(epochs=140, lr=1.0, lr_drops=(120, 130))
    assert config.shortened(14).lr_drops == (12, 13)
    assert config.shortened(10).lr_drops == (8, 9)
    assert [config.shortened(3).stage(epoch).lr_factor for epoch in (1, 2, 3)] == pytest.approx([1, 0.1, 0.01])
    with pytest.raises(
        ValueError, match=r"3 stages that end with epochs \[120, 130, 140\] can't be shortened to 2 .* train.epochs=2"
    ):
        config.shortened(2)


def test_drops_after_the_last_epoch_do_not_happen():
    config = TrainConfig(epochs=2, lr=1.0, lr_drops=(1, 2, 9))
    assert [config.stage(epoch).lr_factor for epoch in (1, 2)] == pytest.approx([1, 0.1])
    assert config.shortened(4).lr_drops == (2, 4)


def test_two_drops_after_one_epoch_are_two():
    config = TrainConfig(epochs=4, lr=1.0, lr_drops=(3, 1, 1))
    assert [config.stage(epoch).lr_factor for epoch in range(1, 5)] == pytest.approx([1, 0.01, 0.01, 0.001])
    assert config.shortened(8).lr_drops == (6, 2, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Stage(epochs=0), "epochs of a stage must be greater than 0, not 0"),
        (lambda: Stage(part=0.0), "part of a stage is a fraction"),
        (lambda: Stage(layer_lr_factors={"conv1": -1.0}), "conv1 of a stage must be at least 0, not -1.0"),
        (lambda: Stages(()), "at least one stage"),
        (lambda: Stages((Stage(), Stage())), "all but the last need their number of epochs"),
        (
            lambda: Stages((Stage(epochs=3), Stage(epochs=3))).shortened(1, 6),
            r"2 stages that end with epochs \[3, 6\] can't",
        ),
        (lambda: Plateau(patience=0), "patience must be greater than 0"),
        (lambda: Plateau(factor=-0.1), "factor must be greater than 0, not -0.1"),
        (lambda: Plateau(drops=-1), "drops of a Plateau must be at least 0, not -1"),
        (lambda: Dexp(intervals=1), "at least 2 intervals"),
        (lambda: Dexp(total=0), "total must be greater than 0, not 0"),
        (lambda: Dexp(bias_total=-250), "bias_total must be greater than 0, not -250"),
        (lambda: Stage(lr_factor=math.nan), "lr_factor of a stage must be at least 0, not nan"),
        (lambda: TrainConfig(epochs=9, lr=1.0, lr_drops=(0,)), r"lr_drops are epochs from 1 on, not \(0,\)"),
        (lambda: TrainConfig(epochs=9, lr=1.0, lr_drops=(-5,)), r"not \(-5,\)"),
        (lambda: TrainConfig(epochs=9, lr=1.0, weight_decay={"fc8": -1.0}), "weight_decay of fc8 must be at least 0"),
        (lambda: TrainConfig(epochs=9, lr=1.0, lr_drops=(3,), schedule=Plateau()), "takes the place of lr_drops"),
    ],
)
def test_what_makes_no_schedule_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_on_a_plateau_the_biases_learning_rate_is_lowered_with_the_weights():
    stage = Plateau(patience=1).stage(4, 9, [0.5, 0.5, 0.5])
    assert stage.bias_lr_factor == stage.lr_factor == pytest.approx(0.01)
