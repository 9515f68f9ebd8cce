import json
import shutil

import pytest
import torch
from run_case import make_pictures
from tiny_net import TINY_NET

from alexnet_repro import AlexNet, InputConfig, TrainConfig, build, chapter, features
from alexnet_repro.checkpoint import CheckpointError
from alexnet_repro.config import RunConfig
from alexnet_repro.inputs import InputTransform
from alexnet_repro.likeness import agreements, last_hidden, load_record, record, spaces, untrained
from alexnet_repro.recipes import FULL_RUN
from alexnet_repro.runs import export, fresh, run
from alexnet_repro.values import as_json


def test_the_last_hidden_layer_is_the_paper_s():
    assert last_hidden(AlexNet()) == "relu7"
    assert last_hidden(build(TINY_NET)) == "act1"


def test_the_three_spaces_hold_the_same_pictures_whatever_the_batches():
    networks = {"one": build(TINY_NET), "other": build(TINY_NET, torch.Generator().manual_seed(5))}
    x = torch.randn(7, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    found = spaces(networks, x, batch_size=3)
    assert list(found) == ["pixels", "one", "other"]
    assert torch.equal(found["pixels"], x)
    for name, network in networks.items():
        torch.testing.assert_close(found[name], features.activations(network, x, "act1"))
    assert not torch.equal(found["one"], found["other"])


def test_pictures_that_come_in_equal_pairs_have_neighbours_of_their_own_label_in_every_space(tiny_dataset):
    images = tiny_dataset.images[:6].repeat(2, 1, 1, 1)
    transform = InputTransform.fit(InputConfig(), tiny_dataset.moments)
    networks = {"net": build(TINY_NET)}
    assert agreements(networks, images, torch.arange(6).repeat(2), transform) == {"pixels": 1.0, "net": 1.0}
    assert agreements(networks, images, torch.arange(12), transform) == {"pixels": 0.0, "net": 0.0}


def test_the_untrained_network_is_what_the_run_started_from(tiny_dataset):
    config = RunConfig(dataset="tiny", seed=3, net=TINY_NET, input=InputConfig(), train=TrainConfig(epochs=1, lr=0.1))
    started, _, _ = fresh(config, tiny_dataset, config.seed, "cpu")
    for ours, first in zip(untrained(config).parameters(), started.parameters(), strict=True):
        assert torch.equal(ours, first)


@pytest.fixture
def exported(tmp_path):
    run(make_pictures(tmp_path / "pictures"), tmp_path / "out")
    export(tmp_path / "out", tmp_path / "net.pt")
    return tmp_path / "net.pt"


def test_a_record_is_of_its_checkpoint_and_of_nothing_else(exported):
    found = record(exported)
    assert load_record(exported) == found
    assert (found["layer"], found["data"]["split"]) == ("relu6", "val")
    assert all(0 <= value <= 1 for value in found["agreement"].values())
    assert record(exported) == found

    other = exported.with_name("other.pt")
    shutil.copy(exported.with_suffix(".json"), other.with_suffix(".json"))
    other.write_bytes(exported.read_bytes() + b" ")
    with pytest.raises(CheckpointError, match=r"of another checkpoint than other\.pt is now"):
        load_record(other)


def test_a_record_that_is_missing_or_was_changed_by_hand_is_refused(exported):
    with pytest.raises(CheckpointError, match="missing"):
        load_record(exported)
    record(exported)
    path = exported.with_suffix(".json")
    content = json.loads(path.read_text())
    content["agreement"]["trained"] = 1.5
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="was changed after it was written"):
        load_record(exported)


def test_the_network_of_the_book_is_that_of_chapter_09_and_so_is_its_record():
    assert load_record(chapter.CHECKPOINT)["config"] == as_json(FULL_RUN["laptop"])
