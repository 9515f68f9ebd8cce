from dataclasses import dataclass, replace

import pytest

from alexnet_repro import InputConfig, NetConfig, TrainConfig
from alexnet_repro.data.config import INPUT_PRESETS
from alexnet_repro.networks.presets import PRESETS
from alexnet_repro.networks.spec import WithinChannelNorm
from alexnet_repro.support.values import as_json, differences, from_json, read_sealed, write_sealed
from alexnet_repro.training.config import RunConfig
from alexnet_repro.training.recipes import TRAIN_PRESETS
from alexnet_repro.training.schedules import Plateau, Stage


@dataclass(frozen=True)
class Point:
    x: int
    y: tuple[int, ...] = ()


def test_json_and_back_by_hand():
    json_value = {"a": {"type": "Point", "x": 1, "y": [2, 3]}, "b": None}
    assert as_json({"a": Point(1, (2, 3)), "b": None}) == json_value
    assert from_json(json_value, [Point]) == {"a": Point(1, (2, 3)), "b": None}


@pytest.mark.parametrize("name", TRAIN_PRESETS)
def test_every_preset_comes_back_from_json_as_it_was(name):
    net = PRESETS.get(name, PRESETS["paper"])
    run = RunConfig(dataset="photos", net=net, input=INPUT_PRESETS[name], train=TRAIN_PRESETS[name])
    assert RunConfig.from_json(as_json(run)) == run


def test_unknown_types_and_fields_are_refused_by_name():
    with pytest.raises(ValueError, match="type must be one of Point, not 'Line'"):
        from_json({"type": "Line"}, [Point])
    with pytest.raises(ValueError, match=r"Point: .*'z'"):
        from_json({"type": "Point", "x": 1, "z": 2}, [Point])
    layer = {"type": "WithinChannelNorm", "name": "cnorm2", "size": 5, "scale": 0.1}
    with pytest.raises(ValueError, match=r"^WithinChannelNorm\.size must be int, not 'x'$"):
        from_json(layer | {"size": "x"}, [WithinChannelNorm])
    with pytest.raises(ValueError, match=r"WithinChannelNorm: .*'_'"):
        from_json(layer | {"_": 1}, [WithinChannelNorm])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InputConfig(batch_size=2.5), "batch_size must be int, not 2.5"),
        (lambda: InputConfig(crop="24"), "crop must be int or None, not '24'"),
        (lambda: InputConfig(crop=24, random_crops="no"), "random_crops must be bool, not 'no'"),
        (lambda: InputConfig(color="bogus"), "color must be one of run145, paper, lighting or None, not 'bogus'"),
        (lambda: TrainConfig(epochs=2.5, lr=1), "epochs must be int, not 2.5"),
        (lambda: TrainConfig(epochs=2, lr=1, lr_drops=["a"]), "lr_drops must be "),
        (lambda: replace(PRESETS["paper"], towers=True), "towers must be int, not True"),
        (lambda: PRESETS["paper"].changed("x", conv1={"kernel": "11"}), "kernel of conv1 must be int, not '11'"),
        (lambda: Stage(color=1), "color must be bool, not 1"),
        (lambda: Plateau(patience="3"), "patience must be int, not '3'"),
    ],
)
def test_a_value_of_another_type_is_refused_by_every_configuration(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_what_is_sealed_comes_back_and_a_changed_digit_is_found(tmp_path):
    path = tmp_path / "a.json"
    write_sealed(path, {"x": [1, 2.5, None]})
    assert read_sealed(path) == {"x": [1, 2.5, None]}
    path.write_text(path.read_text().replace("2.5", "2.6"))
    with pytest.raises(ValueError, match=r"a\.json was changed after it was written"):
        read_sealed(path)


def test_differences_name_the_place_and_both_values():
    before = {"net": as_json(NetConfig.preset("paper")), "seeds": [1, 2]}
    now = {"net": as_json(NetConfig.preset("paper")) | {"towers": 1}, "seeds": [1, 3], "new": 5}
    assert differences(before, before) == []
    assert differences(before, now) == [
        "net.towers went from 2 to 1",
        "seeds[1] went from 2 to 3",
        "new went from None to 5",
    ]


def test_lists_of_things_with_names_are_compared_by_name():
    a, b, c = ({"name": name, "std": 0.1} for name in "abc")
    assert differences([a, b], [a, b | {"std": 0.2}, c], "layers") == [
        "layers.b.std went from 0.1 to 0.2",
        f"layers.c went from None to {c}",
    ]
    assert differences([a, b], [b, a], "layers") == ["layers are in another order: b, a"]
    assert differences([a], [a | {"std": 0.2}], "layers") == ["layers[0].std went from 0.1 to 0.2"]
    net = NetConfig.preset("run145")
    changed = differences(as_json(net), as_json(net.without(WithinChannelNorm)))
    assert len("; ".join(changed)) < 200


def test_a_configuration_of_no_type_is_refused():
    for value in ({"a": 1}, [1], None):
        with pytest.raises(ValueError, match="a configuration has the type RunConfig, not"):
            RunConfig.from_json(value)
