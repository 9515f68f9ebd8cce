import csv
import itertools
import json
import shutil
from pathlib import Path

import pytest
from command import call
from PIL import Image
from run_case import make_images

from alexnet_repro import evaluate, load_trained
from alexnet_repro.cli import train as cli
from alexnet_repro.cli.train import choose
from alexnet_repro.data import DatasetNotFoundError, folders, load_dataset
from alexnet_repro.data.cifar10 import CLASSES
from alexnet_repro.data.store import file_sha256
from alexnet_repro.training.checkpoint import BEST, CONFIG, LAST, LOG, RESULT, Files, load_checkpoint, save_checkpoint
from alexnet_repro.training.recipes import TRAIN_PRESETS
from alexnet_repro.training.record import Record
from alexnet_repro.training.run import run

SMALL = ("--preset", "cifar-19pct", "--size", "32", "--threads", "1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Images, and two finished runs on them."""
    root = tmp_path_factory.mktemp("cli")
    make_images(root / "images")
    for seed in ("0", "1"):
        images, out = str(root / "images"), str(root / seed)
        done = call("train", images, "--out", out, *SMALL, "--set", "train.epochs=2", "--seed", seed)
        assert done.returncode == 0, done.stderr
        assert "epoch 2/2" in done.stdout
    return root


def test_a_run_leaves_a_log_and_a_result_and_resume_has_nothing_left_to_do(folder):
    assert len((folder / "0" / LOG).read_text().splitlines()) == 2
    before = (folder / "0" / RESULT).read_bytes()
    done = call("resume", str(folder / "0"))
    assert done.returncode == 0, done.stderr
    assert json.loads(before)["epochs"] == json.loads((folder / "0" / RESULT).read_text())["epochs"]


def test_no_image_is_decoded_to_learn_the_classes(folder, monkeypatch):
    def decode(*arguments):
        raise AssertionError("an image was opened")

    monkeypatch.setattr(folders, "read", decode)
    monkeypatch.setattr(folders, "decode", decode)
    config = choose(str(folder / "images"), None, "cifar-19pct", 32, None, 0, [])
    trained = json.loads((folder / "0" / RESULT).read_text())["config"]
    assert (config.net.num_classes, config.net.image_size) == (trained["net"]["num_classes"], 32)
    with pytest.raises(DatasetNotFoundError):
        load_dataset("cifar10", folder)
    assert choose("cifar10", folder, "cifar-19pct", None, None, 0, []).net.num_classes == 10


def test_epochs_shorten_the_preset_and_leave_what_is_set_as_it_is(folder):
    def chosen(*settings, preset="run145-small", epochs=10):
        return choose(str(folder / "images"), None, preset, 32, None, 0, list(settings), epochs).train

    assert (chosen().epochs, chosen().lr_drops) == (10, (7, 9))
    assert (chosen("train.lr_drops=[8]").epochs, chosen("train.lr_drops=[8]").lr_drops) == (10, (8,))
    given = ("train.schedule=null", "train.lr_drops=[8]")
    assert chosen(*given, preset="run145").lr_drops == (8,)
    with pytest.raises(ValueError, match=r"--epochs 10 and --set train\.epochs=\.\.\. exclude each other"):
        chosen("train.epochs=5")


@pytest.mark.parametrize(("option", "setting"), [("seed", "seed=3"), ("size", "size=16")])
def test_an_option_and_a_setting_of_the_same_field_exclude_each_other(option, setting):
    given = {"size": 32, "crop": None, "seed": 4}
    with pytest.raises(ValueError, match=f"--{option} {given[option]} and --set {option}=.* exclude each other"):
        choose("photos", None, "cifar-19pct", *given.values(), [setting])
    assert choose("photos", None, "cifar-19pct", None, None, None, ["seed=3", "size=32"]).seed == 3
    assert choose("photos", None, "cifar-19pct", None, None, 4, []).seed == 4


def test_a_run_decodes_every_image_of_a_folder_once(folder, tmp_path, monkeypatch):
    names, decode = [], folders.decode
    monkeypatch.setattr(folders, "decode", lambda file, size, name: names.append(name) or decode(file, size, name))
    config = choose(str(folder / "images"), None, "cifar-19pct", 32, None, 0, ["train.epochs=1"])
    run(config, Files.of_folder(tmp_path))
    assert sorted(names) == sorted(set(names))
    assert len(names) == len(list((folder / "images").rglob("*.png")))


def test_evaluate_gives_each_run_s_error_and_their_ensemble_s_with_table_and_file(folder, tmp_path):
    done = call("evaluate", str(folder / "0"), str(folder / "1"), "--per-class", "--csv", str(tmp_path / "out.csv"))
    assert done.returncode == 0, done.stderr
    assert f"{folder / '0' / LAST}: top1 error " in done.stdout
    assert "all 2 together: top1 error " in done.stdout
    assert "most often taken for" in done.stdout
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert len(rows) == 11
    other = call("evaluate", str(folder / "0"), "--views", "ten")
    assert other.returncode == 2
    assert "takes whole images, without crops: leave --views out" in other.stderr
    wrong = sum(row["class"] != row["guess1"] for row in rows) / 11
    assert f"all 2 together: top1 error {wrong:.2%}" in done.stdout


@pytest.fixture(scope="module")
def cropped(folder) -> Path:
    """A run that looks at crops, of which there are several views; its numbers are written for TensorBoard too."""
    crops = ("--size", "32", "--crop", "28", "--threads", "1", "--set", "train.epochs=1", "--tensorboard")
    done = call("train", str(folder / "images"), "--out", str(folder / "crops"), "--preset", "cifar-13pct", *crops)
    assert done.returncode == 0, done.stderr
    return folder / "crops"


def test_evaluate_averages_over_the_views_that_it_is_asked_for(cropped):
    trained = load_trained(cropped, "cpu")
    testing = load_dataset(trained.config.dataset, split="val", size=32)
    said = set()
    for views in ("centre", "ten"):
        found = evaluate(trained.network, testing.images, testing.labels, trained.transform.viewed(views))
        done = call("evaluate", str(cropped), "--views", views)
        assert f"log-probability {found['log_probability']:.4f}" in done.stdout
        said.add(done.stdout)
    assert len(said) == 2
    wrong = call("evaluate", str(cropped), "--views", "five")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "views must be one of" in wrong.stderr


def test_train_writes_for_tensorboard_only_when_it_is_asked_to(folder, cropped):
    assert any((cropped / "tensorboard").iterdir())
    assert not (folder / "0" / "tensorboard").exists()


def test_train_and_evaluate_look_for_a_data_set_in_the_folder_that_root_names(tmp_path):
    for split, name in itertools.product(("train", "test"), CLASSES):
        (tmp_path / "here" / split / name).mkdir(parents=True)
        Image.new("RGB", (32, 32), "red").save(tmp_path / "here" / split / name / "0.png")
    out, small = str(tmp_path / "out"), ("--preset", "cifar-19pct", "--set", "train.epochs=1", "--threads", "1")
    done = call("train", "cifar10", "--root", str(tmp_path / "here"), "--out", out, *small)
    assert done.returncode == 0, done.stderr
    assert call("evaluate", out, "--root", str(tmp_path / "here")).returncode == 0
    there = call("evaluate", out, "--root", str(tmp_path))
    assert there.returncode == 2
    assert f"was not found in {tmp_path}" in there.stderr


def test_evaluate_takes_the_split_that_it_is_asked_for(folder):
    trained = load_trained(folder / "0", "cpu")
    training = load_dataset(trained.config.dataset, split="train", size=32)
    found = evaluate(trained.network, training.images, training.labels, trained.transform)
    done = call("evaluate", str(folder / "0"), "--split", "train")
    assert f"log-probability {found['log_probability']:.4f}" in done.stdout
    assert done.stdout != call("evaluate", str(folder / "0")).stdout


def test_evaluate_takes_test_images_where_there_are_no_validation_images_as_train_does(folder, tmp_path):
    shutil.copytree(folder / "images", tmp_path / "images")
    (tmp_path / "images" / "val").rename(tmp_path / "images" / "test")
    out = str(tmp_path / "out")
    done = call("train", str(tmp_path / "images"), "--out", out, *SMALL, "--set", "train.epochs=1")
    assert done.returncode == 0, done.stderr
    record = Record.load(tmp_path / "out" / RESULT)
    assert set(record.data) == {"train", "test"}
    assert f"log-probability {record.final['log_probability']:.4f}" in call("evaluate", out).stdout


def test_summary_takes_every_preset_that_train_takes():
    assert call("summary", "run145-2010").stdout == call("summary", "run145").stdout


def test_predict_names_the_likeliest_classes_of_each_file(folder, tmp_path):
    files = [str(folder / "images" / "val" / name) for name in ("class0/000.png", "class1/001.png")]
    done = call("predict", str(folder / "0"), *files)
    assert done.returncode == 0, done.stderr
    assert call("evaluate", str(folder / "0"), "--csv", str(tmp_path / "out.csv")).returncode == 0
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    for file, row, line in zip(files, (rows[0], rows[4]), done.stdout.splitlines(), strict=True):
        guesses = [f"{row[f'guess{i}']} {float(row[f'probability{i}']):.1%}" for i in (1, 2, 3)]
        assert line == f"{file}: {', '.join(guesses)}"
    folder_given = call("predict", str(folder / "0"), str(tmp_path))
    assert (folder_given.returncode, folder_given.stdout) == (2, "")
    assert f"{tmp_path} is not a readable image" in folder_given.stderr


def test_evaluate_takes_the_split_that_a_run_was_tested_on(tmp_path):
    quick = ("--preset", "cifar-19pct", "--set", "train.epochs=1", "--threads", "1")
    assert call("train", "photos", "--out", "run", *quick, cwd=tmp_path).returncode == 0
    record = json.loads((tmp_path / "run" / RESULT).read_text())
    assert set(record["data"]) == {"train", "test"}
    done = call("evaluate", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"top1 error {record['final']['top1_error']:.2%}" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "nowhere", "--out", "out"], "data set must be one of"),
        (["train", "photos", "--out", "out", "--preset", "vgg"], "preset must be one of paper"),
        (["train", "photos", "--out", "out", *SMALL, "--set", "train.rate=1"], "TrainConfig has no 'rate'"),
        (["train", "photos", "--out", "out", *SMALL, "--device", "abacus"], "not 'abacus'"),
        (["train", "photos", "--out", "/proc/out", *SMALL], "/proc/out"),
        (["train", "photos", "--out", "out", "--preset", "run145", "--crop", "24"], "or take a CIFAR preset"),
        (["train", "photos", "--out", "out", "--preset", "paper"], "photos has no validation images"),
        (["resume", "nowhere"], "no such file"),
        (["evaluate", "nowhere"], "no such file"),
        (["summary", "vgg"], "preset must be one of"),
    ],
)
def test_what_a_user_can_mend_ends_in_one_line(arguments, message, tmp_path):
    done = call(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["train", "photos", "--out", "out", *SMALL, "--save-every", "0"], "--save-every"),
        (["train", "photos", "--out", "out", *SMALL, "--seed", "-1"], "--seed"),
        (["bench", "--threads", "0"], "--threads"),
        (["train", "photos", "--out", "out", *SMALL, "--epochs", "0"], "--epochs"),
        (["resume", "out", "--save-every", "-1"], "--save-every"),
        (["bench", "--steps", "0"], "--steps"),
        (["data", "prepare", "images", "--workers", "0"], "--workers"),
    ],
)
def test_an_option_below_its_range_is_named(arguments, option, tmp_path):
    done = call(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert f"Invalid value for '{option}'" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_with_debug_the_traceback_is_there(tmp_path):
    done = call("--debug", "resume", "nowhere", cwd=tmp_path)
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_a_training_that_fails_has_a_status_of_its_own(tmp_path):
    wild = ("--set", "train.lr=1e30", "--set", "train.bias_lr_factor=1")
    done = call("train", "photos", "--out", "out", *SMALL, *wild, cwd=tmp_path)
    assert done.returncode == 1
    assert "alexnet-repro: step " in done.stderr
    assert "learning rate" in done.stderr


def test_summary_counts_the_published_network():
    done = call("summary", "run145")
    halves = [call("summary", "run145", "--set", setting).stdout for setting in ("net.width=0.5", "width=0.5")]
    assert halves[0] == halves[1] != done.stdout
    assert "60,965,224" in done.stdout


def test_bench_says_what_imagenet_would_take(monkeypatch):
    done = call("bench", "--preset", "cifar-80sec", "--steps", "2")
    assert "images/s; 10 epochs of ImageNet: " in done.stdout
    monkeypatch.setattr(cli, "step_speed", lambda config, device, steps: 1000.0)
    hours = 10 * 1_281_167 / 1000 / 3600
    assert (
        f"1000.0 images/s; 10 epochs of ImageNet: {hours:.1f} hours" in call("bench", "--preset", "cifar-80sec").stdout
    )


@pytest.mark.parametrize("preset", TRAIN_PRESETS)
def test_bench_takes_every_preset_that_train_takes(preset, monkeypatch):
    timed = []
    monkeypatch.setattr(cli, "step_speed", lambda config, device, steps: timed.append(config) or 1.0)
    assert call("bench", "--preset", preset).returncode == 0
    assert timed[0].net.layers == choose("photos", None, preset, None, None, 0, []).net.layers


def test_an_ensemble_s_images_are_decoded_once(folder, monkeypatch):
    names, decode = [], folders.decode
    monkeypatch.setattr(folders, "decode", lambda file, size, name: names.append(name) or decode(file, size, name))
    assert call("evaluate", str(folder / "0"), str(folder / "1")).returncode == 0
    assert len(names) == len(set(names)) == 11


def test_a_preset_takes_its_classes_and_its_size_from_the_data():
    config = choose("photos", None, "run145", 32, 24, 0, ["net.width=0.25"])
    assert (config.net.num_classes, config.net.image_size, config.input.crop) == (10, 24, 24)


def test_export_writes_a_network_that_evaluate_takes_and_with_likeness_a_record_beside_it(folder, tmp_path):
    done = call("export", str(folder / "0"), str(tmp_path / "net.pt"))
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["net.pt"]
    assert call("evaluate", str(tmp_path / "net.pt")).returncode == 0
    done = call("export", str(folder / "0"), str(tmp_path / "net.pt"), "--likeness")
    assert done.returncode == 0, done.stderr
    assert "same class: pixels" in done.stdout
    assert Record.load(tmp_path / "net.json").weights == file_sha256(tmp_path / "net.pt")


def renamed(images: Path, to: Path, names: dict[str, str]) -> Path:
    """A copy of the images with other names of classes."""
    shutil.copytree(images, to)
    for split in ("train", "val"):
        for old in names:
            (to / split / old).rename(to / split / f"{old} moved")
        for old, new in names.items():
            (to / split / f"{old} moved").rename(to / split / new)
    return to


def test_images_of_other_classes_are_refused_with_the_names_that_differ(folder, tmp_path):
    wolves = renamed(folder / "images", tmp_path / "wolves", {"class2": "wolf"})
    done = call("evaluate", str(folder / "0"), "--dataset", str(wolves))
    assert done.returncode == 2
    assert f"{folder / '0' / LAST} has other classes than the images: class2 there, wolf here" in done.stderr
    assert call("export", str(folder / "0"), str(tmp_path / "net.pt")).returncode == 0
    assert "class2 there, wolf here" in call("evaluate", str(tmp_path / "net.pt"), "--dataset", str(wolves)).stderr
    moved = ("--likeness", "--dataset", str(wolves))
    assert "class2 there, wolf here" in call("export", str(folder / "0"), str(tmp_path / "net.pt"), *moved).stderr


def test_the_same_classes_in_another_order_have_the_same_errors(folder, tmp_path):
    """Names of which the first is now the last, and the last the first; so are a checkpoint's."""
    turned = tmp_path / "turned.pt"
    found = load_checkpoint(folder / "0" / LAST)
    model = found["state"]["training"]["model"]
    last = [name for name in model if model[name].shape[0] == 3][-2:]
    for name in last:
        model[name] = model[name].flip(0)
    found["state"]["classes"].reverse()
    save_checkpoint(turned, found["config"], found["state"])
    first, second = ("--per-class", "--csv", str(tmp_path / "1.csv")), ("--per-class", "--csv", str(tmp_path / "2.csv"))
    one, two = call("evaluate", str(folder / "0"), *first), call("evaluate", str(turned), *second)
    assert one.stdout.partition(": ")[2] == two.stdout.partition(": ")[2]
    assert (tmp_path / "1.csv").read_text() == (tmp_path / "2.csv").read_text()
    both = call("evaluate", str(folder / "0"), str(turned))
    assert both.stdout.splitlines()[-1].partition(": ")[2] == one.stdout.splitlines()[0].partition(": ")[2]


def test_an_ensemble_is_of_runs_with_the_same_classes(folder, tmp_path):
    wolves = renamed(folder / "images", tmp_path / "wolves", {"class1": "wolf"})
    assert call("train", str(wolves), "--out", str(tmp_path / "2"), *SMALL, "--set", "train.epochs=1").returncode == 0
    done = call("evaluate", str(folder / "0"), str(tmp_path / "2"))
    assert done.returncode == 2
    assert f"{tmp_path / '2' / LAST} has other classes than the images: wolf there, class1 here" in done.stderr


def test_a_run_of_lower_precision_is_evaluated_in_it(folder, tmp_path, monkeypatch):
    printed, out = [], tmp_path / "2"
    monkeypatch.setattr(cli, "_print_errors", lambda _, found: printed.append(found))
    lower = ("--set", "train.epochs=1", "--set", "train.precision=bfloat16")
    assert call("train", str(folder / "images"), "--out", str(out), *SMALL, *lower).returncode == 0
    assert call("evaluate", str(out)).returncode == 0
    final = Record.load(out / RESULT).final
    assert printed == [{name: final[name] for name in ("top1_error", "log_probability")}]


def test_a_checkpoint_without_names_is_used_by_number_and_says_so(folder, tmp_path):
    found = load_checkpoint(folder / "0" / LAST)
    del found["state"]["classes"]
    save_checkpoint(tmp_path / "old.pt", found["config"], found["state"])
    old, new = call("evaluate", str(tmp_path / "old.pt")), call("evaluate", str(folder / "0"))
    assert old.stdout.partition(": ")[2] == new.stdout.partition(": ")[2]
    assert old.stderr == f"{tmp_path / 'old.pt'} keeps no names of classes: they are taken by their numbers\n"
    assert new.stderr == ""


def test_evaluate_and_export_take_the_last_weights_as_the_record_does_and_with_best_the_others(folder, tmp_path):
    record = Record.load(folder / "0" / RESULT)
    last, best = call("evaluate", str(folder / "0")), call("evaluate", str(folder / "0"), "--best")
    assert last.stdout.startswith(f"{folder / '0' / LAST}: top1 error {record.final['top1_error']:.2%}")
    assert best.stdout.startswith(f"{folder / '0' / BEST}, chosen by its error on val: top1 error ")
    for option, name in (((), LAST), (("--best",), BEST)):
        done = call("export", str(folder / "0"), str(tmp_path / "net.pt"), *option)
        assert f"net.pt: {folder / '0' / name} in " in done.stdout
        weights = [
            load_checkpoint(path)["state"]["training"]["model"] for path in (tmp_path / "net.pt", folder / "0" / name)
        ]
        assert all(a.equal(b.half()) for a, b in zip(*(w.values() for w in weights), strict=True))
    done = call("export", str(folder / "0"), str(tmp_path / "net.pt"), "--best", "--likeness")
    assert done.returncode == 2
    assert "leave out --best" in done.stderr


def test_a_run_whose_data_set_was_moved_goes_on_with_its_new_path(folder, tmp_path):
    shutil.copytree(folder / "0", tmp_path / "0")
    (tmp_path / "0" / RESULT).unlink()
    shutil.copytree(folder / "images", tmp_path / "old")
    config = json.loads((folder / "0" / CONFIG).read_text())
    found = load_checkpoint(folder / "0" / LAST)
    lost = found["config"] | {"dataset": str(tmp_path / "old")}
    save_checkpoint(tmp_path / "0" / LAST, lost, found["state"])
    (tmp_path / "old").rename(tmp_path / "new")
    done = call("resume", str(tmp_path / "0"), "--threads", "1")
    assert done.returncode == 2
    assert "give its new path: --dataset PATH" in done.stderr
    done = call("resume", str(tmp_path / "0"), "--threads", "1", "--dataset", str(tmp_path / "new"))
    assert done.returncode == 0, done.stderr
    assert Record.load(tmp_path / "0" / RESULT).final == Record.load(folder / "0" / RESULT).final
    assert json.loads((tmp_path / "0" / CONFIG).read_text())["data"]["val"]["sha256"] == config["data"]["val"]["sha256"]
    done = call("train", "new", "--out", "0", *SMALL, "--set", "train.epochs=2", cwd=tmp_path)  # by yet another name
    assert done.returncode == 0, done.stderr
    (tmp_path / "new" / "train" / "class0" / "000.png").unlink()
    assert (
        "data.train.sha256 went from"
        in call("train", "new", "--out", "0", *SMALL, "--set", "train.epochs=2", cwd=tmp_path).stderr
    )


def test_resume_begins_a_run_that_was_killed_before_its_first_checkpoint(folder, tmp_path):
    (tmp_path / "0").mkdir()
    shutil.copy(folder / "0" / CONFIG, tmp_path / "0")
    done = call("resume", str(tmp_path / "0"), "--threads", "1")
    assert done.returncode == 0, done.stderr
    assert Record.load(tmp_path / "0" / RESULT).final == Record.load(folder / "0" / RESULT).final


def test_more_epochs_for_a_finished_run_are_refused_with_how_to_go_on(folder):
    done = call("train", str(folder / "images"), "--out", str(folder / "0"), *SMALL, "--set", "train.epochs=4")
    assert done.returncode == 2
    assert "train.epochs went from 2 to 4" in done.stderr
    assert "Choose another folder: a finished run gets no more epochs" in done.stderr
