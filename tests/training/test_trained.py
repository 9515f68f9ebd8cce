import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from run_case import make_images
from tiny_net import TINY_NET

from alexnet_repro import (
    InputConfig,
    TrainConfig,
    build,
    evaluate,
    load_dataset,
    load_evidence,
    load_image,
    load_trained,
)
from alexnet_repro.claims.studies import FULL_RUN
from alexnet_repro.data.inputs import InputTransform
from alexnet_repro.data.store import file_sha256
from alexnet_repro.networks.inspect import agreements
from alexnet_repro.report import chapter
from alexnet_repro.support.values import as_json
from alexnet_repro.training.checkpoint import BEST, LAST, RESULT, CheckpointError, Files, load_checkpoint
from alexnet_repro.training.config import RunConfig
from alexnet_repro.training.evaluate import predict
from alexnet_repro.training.record import EvidenceError, Record
from alexnet_repro.training.run import run
from alexnet_repro.training.start import fresh, untrained
from alexnet_repro.training.trained import Trained, export, record_similarity, run_config


def test_the_untrained_network_is_what_the_run_started_from(tiny_dataset):
    config = RunConfig(dataset="tiny", seed=3, net=TINY_NET, input=InputConfig(), train=TrainConfig(epochs=1, lr=0.1))
    started, _, _ = fresh(config, tiny_dataset, "cpu")
    for ours, first in zip(untrained(config).parameters(), started.parameters(), strict=True):
        assert torch.equal(ours, first)


def test_the_seed_of_a_run_decides_its_weights_and_its_order(tiny_dataset):
    config = RunConfig(dataset="tiny", net=TINY_NET, input=InputConfig(), train=TrainConfig(epochs=1, lr=0.1))
    (net, _, batches), (other, _, others) = (fresh(replace(config, seed=s), tiny_dataset, "cpu") for s in (0, 1))
    assert not net.conv1.weight.equal(other.conv1.weight)
    assert not next(iter(batches))[1].equal(next(iter(others))[1])


@pytest.fixture
def exported(tmp_path):
    run(make_images(tmp_path / "images"), Files.of_folder(tmp_path / "out"))
    export(tmp_path / "out", tmp_path / "net.pt")
    return tmp_path / "net.pt"


def test_similarity_is_a_metric_of_the_run_s_record_which_names_the_exported_file(exported):
    out = exported.with_name("out")
    found = record_similarity(out, exported)
    assert Record.load(exported.with_suffix(".json")) == found
    before = Record.load(out / RESULT)
    assert found.weights == file_sha256(exported)
    assert before.final.items() <= found.final.items()
    added = {name: value for name, value in found.final.items() if name not in before.final}
    assert list(added) == ["agreement_pixels", "agreement_untrained", "agreement_trained"]
    assert all(0 <= value <= 1 for value in added.values())
    assert record_similarity(out, exported) == found


def test_the_recorded_similarities_are_those_of_the_two_networks(exported):
    final = record_similarity(exported.with_name("out"), exported).final
    trained = load_trained(exported, "cpu")
    val = load_dataset(trained.config.dataset, split="val", size=16)
    inputs = trained.transform.viewed("centre").views(val.images)[0]
    for name, network in {"untrained": untrained(trained.config), "trained": trained.network}.items():
        assert final[f"agreement_{name}"] == agreements({name: network}, inputs, val.labels)[name]


def test_errors_after_an_epoch_are_of_the_centre_crop_and_those_at_the_end_of_all_views(exported):
    record, trained = Record.load(exported.with_name("out") / RESULT), load_trained(exported.with_name("out"), "cpu")
    val = load_dataset(trained.config.dataset, split="val", size=16)
    every, centre = (
        evaluate(trained.network, val.images, val.labels, transform)["log_probability"]
        for transform in (trained.transform, trained.transform.viewed("centre"))
    )
    assert record.final["log_probability"] == pytest.approx(every, rel=1e-5)
    assert record.epochs[-1]["val_log_probability"] == pytest.approx(centre, rel=1e-5)
    assert every != pytest.approx(centre, rel=1e-3)


@pytest.mark.parametrize(("name", "record"), [("net-0.1", "net-0.1.json"), ("net.json", "net.json.json")])
def test_the_record_beside_an_exported_file_is_named_after_its_whole_name(exported, name, record):
    exported = exported.rename(exported.with_name(name))
    sha256 = file_sha256(exported)
    record_similarity(exported.with_name("out"), exported)
    assert file_sha256(exported) == sha256 == Record.load(exported.with_name(record)).weights


def test_a_device_that_is_not_there_is_not_the_checkpoint_s_fault(exported):
    with pytest.raises(ValueError, match=r"device must be auto or one of cpu.*, not 'gpu'") as caught:
        load_trained(exported, "gpu")
    assert not isinstance(caught.value, CheckpointError)


def test_a_trained_network_is_ready_to_predict(exported):
    network = load_trained(exported).network
    assert not any(module.training for module in network.modules())
    assert next(network.parameters()).device.type == "cpu"  # tests see no GPU


def test_a_trained_network_predicts_an_image_as_it_did_when_its_run_was_tested(exported):
    trained = load_trained(exported)
    val = load_dataset(trained.config.dataset, split="val", size=16)
    whole, _ = predict(trained.network, val.images, trained.transform)
    assert torch.equal(trained.predict(val.images), whole)
    files = sorted((exported.with_name("images") / "val").rglob("*.png"))
    assert len(files) == len(whole)
    for file, expected in zip(files, whole, strict=True):
        torch.testing.assert_close(trained.predict(load_image(file, trained.size)[None])[0], expected)


@pytest.mark.parametrize("size", [15, 17, 12])
def test_images_of_another_size_than_the_run_s_are_refused(exported, size):
    with pytest.raises(ValueError, match=rf"must have 16x16 pixels, as in the run, not {size}x{size}: load_image"):
        load_trained(exported).predict(torch.zeros(2, 3, size, size, dtype=torch.uint8))


def test_a_network_of_lower_precision_predicts_in_it(exported):
    trained = load_trained(exported)
    lower = replace(trained, config=replace(trained.config, train=replace(trained.config.train, precision="bfloat16")))
    images = load_dataset(trained.config.dataset, split="val", size=16).images
    seen = []
    last = [module for module in trained.network.modules() if not list(module.children())][-1]
    last.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    for network in (trained, lower):
        network.predict(images)
    assert set(seen[: len(seen) // 2]) == {torch.float32}
    assert set(seen[len(seen) // 2 :]) == {torch.bfloat16}


@pytest.mark.parametrize(
    ("dataset", "size", "pixels", "crop", "expected"),
    [
        ("photos", 32, "minus-mean-image", 28, 32),
        ("photos", None, "minus-mean-image", 28, 32),
        ("photos", 40, "standardized", 28, 40),
        ("photos", None, "standardized", 28, 32),
        ("of one's own", None, "standardized", None, 8),
        ("of one's own", None, "standardized", 6, None),
    ],
)
def test_the_size_of_a_run_s_images_is_known_from_what_was_kept_of_it(dataset, size, pixels, crop, expected):
    inputs = InputConfig(pixels=pixels, crop=crop)
    transform = InputTransform.fit(inputs, load_dataset("photos", size=size).images[:4])
    net = replace(TINY_NET, image_size=crop or 8)
    config = RunConfig(dataset=dataset, size=size, net=net, input=inputs, train=TrainConfig(epochs=1, lr=0.1))
    trained = Trained(Path("net.pt"), config, build(net), transform, None)
    if expected is not None:
        assert trained.size == expected
    else:
        with pytest.raises(
            ValueError, match=r"net\.pt doesn't say how large its run's images were: load yours at that"
        ):
            _ = trained.size


def test_similarity_of_a_run_that_is_not_finished_or_saw_other_images_is_refused(exported):
    out = exported.with_name("out")
    (exported.with_name("images") / "val" / "class0" / "000.png").unlink()
    with pytest.raises(CheckpointError, match=r"was tested on other images than .*, val, has now"):
        record_similarity(out, exported)
    (out / RESULT).unlink()
    with pytest.raises(CheckpointError, match="name the folder of a finished run"):
        record_similarity(out, exported)


def test_similarity_is_taken_on_the_split_that_the_run_was_tested_on(tmp_path):
    config = make_images(tmp_path / "images")
    config = replace(config, train=replace(config.train, epochs=1, schedule=None))
    for split, expected in (("test", ["train", "test"]), ("hidden", ["train"])):
        (tmp_path / "images" / ("val" if split == "test" else "test")).rename(tmp_path / "images" / split)
        record = run(config, Files.of_folder(tmp_path / split))
        assert list(record.data) == expected
        export(tmp_path / split, tmp_path / "net.pt")
        if split == "test":
            assert "agreement_trained" in record_similarity(tmp_path / split, tmp_path / "net.pt").final
        else:
            with pytest.raises(CheckpointError, match="was tested on no images"):
                record_similarity(tmp_path / split, tmp_path / "net.pt")


def test_a_record_with_similarity_that_was_changed_by_hand_is_refused(exported):
    record_similarity(exported.with_name("out"), exported)
    path = exported.with_suffix(".json")
    content = json.loads(path.read_text())
    content["final"]["agreement_trained"] = 1.5
    path.write_text(json.dumps(content))
    with pytest.raises(EvidenceError, match="was changed after it was written"):
        Record.load(path)


def test_the_network_of_the_book_is_that_of_the_recorded_full_run():
    (record,) = load_evidence("full-run", "laptop")
    assert record.weights == file_sha256(chapter.CHECKPOINT)
    config = run_config(load_checkpoint(chapter.CHECKPOINT)["config"])
    assert config == FULL_RUN.protocol("laptop").run("run145", record.seed)
    assert as_json(config) == record.config
    assert set(record.final) >= {"agreement_pixels", "agreement_untrained", "agreement_trained"}


def test_an_exported_network_is_the_run_s_to_half_precision_and_far_smaller(exported, tmp_path):
    found, original = (load_trained(tmp_path / file, "cpu") for file in ("net.pt", "out"))
    assert (found.config, found.classes) == (original.config, original.classes)
    for weight, kept in zip(original.network.parameters(), found.network.parameters(), strict=True):
        assert kept.dtype == torch.float32
        assert torch.equal(kept, weight.half().float())
    assert (tmp_path / "net.pt").stat().st_size < (tmp_path / "out" / BEST).stat().st_size / 2
    val = load_dataset(found.config.dataset, split="val", size=16)
    assert found.transform.views(val.images).isfinite().all()
    with pytest.raises(CheckpointError, match="no such file"):
        export(tmp_path / "nowhere", tmp_path / "net.pt")
    before = (tmp_path / "out" / LAST).read_bytes()
    for taken in ("out", "out/last.pt"):
        with pytest.raises(ValueError, match=r"last\.pt is a checkpoint of the run itself"):
            export(str(tmp_path / taken), str(tmp_path / "out" / LAST))
    assert (tmp_path / "out" / LAST).read_bytes() == before
    export(tmp_path / "out", tmp_path / LAST)  # beside the folder of the run, not in it
    assert load_trained(tmp_path / LAST, "cpu").config == original.config
