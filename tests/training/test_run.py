import json
import math
import os
import random
import signal
import subprocess
import time
import weakref
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace

import pytest
import torch
from processes import started, torchrun
from run_case import QUIET, make_images, weights, worker
from run_worker import work

from alexnet_repro import load_dataset
from alexnet_repro.training import measures
from alexnet_repro.training import run as running
from alexnet_repro.training.checkpoint import (
    BEST,
    CONFIG,
    LAST,
    LOG,
    RESULT,
    CheckpointError,
    Files,
    load_checkpoint,
    load_saved,
    save_checkpoint,
)
from alexnet_repro.training.config import RunConfig
from alexnet_repro.training.evaluate import evaluate, predict
from alexnet_repro.training.parallel import Processes
from alexnet_repro.training.record import Record
from alexnet_repro.training.run import Interrupted, run
from alexnet_repro.training.stop import stop_asked
from alexnet_repro.training.trained import load_trained


@pytest.fixture
def config(tmp_path) -> RunConfig:
    return make_images(tmp_path / "images")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(a[name].equal(b[name]) for name in a)


def test_a_run_leaves_its_files_and_they_agree(config, tmp_path):
    record = run(config, Files.of_folder(tmp_path / "out"))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {LAST, BEST, CONFIG, LOG, RESULT}
    lines = [json.loads(line) for line in (tmp_path / "out" / LOG).read_text().splitlines()]
    assert lines == record.epochs
    result = json.loads((tmp_path / "out" / RESULT).read_text())
    assert result["ended"] == record.ended == "epochs"
    assert Record.load(tmp_path / "out" / RESULT) == record
    assert json.loads((tmp_path / "out" / CONFIG).read_text()) == record.config | {"data": record.data}
    trained = load_trained(tmp_path / "out" / LAST, "cpu")
    val = load_dataset(config.dataset, split="val", size=16)
    found = evaluate(trained.network, val.images, val.labels, trained.transform)
    assert found == pytest.approx({name: record.final[name] for name in found})


def test_the_best_checkpoint_is_the_one_with_the_lowest_validation_error(config, tmp_path):
    record = run(config, Files.of_folder(tmp_path / "out"))
    best = load_checkpoint(tmp_path / "out" / BEST)["state"]
    lowest = min(epoch["val_error"] for epoch in record.epochs)
    assert best["best"] == best["training"]["epochs"][-1]["val"]["top1_error"] == lowest


def test_a_record_says_when_the_run_began_and_which_images_it_is_wrong_about(config, tmp_path):
    before = datetime.now(UTC).replace(microsecond=0)
    record = run(config, Files.of_folder(tmp_path / "out"))
    assert before <= datetime.fromisoformat(record.started) <= datetime.now(UTC)
    wrong = Record.load(tmp_path / "out" / RESULT).wrong()
    trained = load_trained(tmp_path / "out" / LAST, "cpu")
    val = load_dataset(config.dataset, split="val", size=config.size)
    guesses = predict(trained.network, val.images, trained.transform)[0].argmax(1)
    assert wrong.tolist() == (guesses != val.labels).tolist()
    assert wrong.mean() == pytest.approx(record.final["top1_error"])
    assert {"val_error", "train_eval_error"} <= set(record.epochs[-1])


def test_a_run_has_the_same_numbers_whatever_torch_s_default_device_is(config, tmp_path):
    record = run(config)
    with torch.device("meta"):
        other = run(config, Files.of_folder(tmp_path / "out"))
        trained = load_trained(tmp_path / "out", "cpu")
        val = load_dataset(config.dataset, split="val", size=16)
        found = evaluate(trained.network, val.images, trained.order(val.classes)[val.labels], trained.transform)
    assert other.final == record.final
    assert [epoch | {"seconds": 0} for epoch in other.epochs] == [epoch | {"seconds": 0} for epoch in record.epochs]
    assert found == pytest.approx({name: record.final[name] for name in found})


def test_a_study_s_run_may_keep_nothing_but_its_record(config, tmp_path):
    study = {"study": "s", "scale": "smoke", "arm": "a"}
    record = run(config, Files(result=tmp_path / "a.json"), study=study)
    assert Record.load(tmp_path / "a.json") == record


def test_alone_a_gpu_s_run_stops_after_the_step_under_way():
    training = SimpleNamespace(step=3, device=torch.device("cuda"))
    assert running._Run.all_stop(SimpleNamespace(here=Processes("cuda")), training, True)


def test_a_finished_run_is_not_trained_again(config, tmp_path):
    run(config, Files.of_folder(tmp_path / "out"))
    steps = []
    run(config, Files.of_folder(tmp_path / "out"), on_step=[steps.append])
    assert steps == []


def test_a_folder_of_another_run_is_refused_and_left_alone(config, tmp_path):
    run(config, Files.of_folder(tmp_path / "out"))
    before = weights(tmp_path / "out")
    with pytest.raises(CheckpointError, match="seed went from 0 to 1"):
        run(replace(config, seed=1), Files.of_folder(tmp_path / "out"))
    decayed = replace(config, train=replace(config.train, weight_decay={"fc10": 0.1}))
    with pytest.raises(CheckpointError, match=r"train\.weight_decay\.fc10 went from None to 0\.1"):
        run(decayed, Files.of_folder(tmp_path / "out"))
    (tmp_path / "images" / "train" / "class0" / "000.png").unlink()
    with pytest.raises(CheckpointError, match=r"data\.train\.images went from 35 to 34"):
        run(config, Files.of_folder(tmp_path / "out"))
    assert same(weights(tmp_path / "out"), before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_checkpoint_of_the_step_under_way(config, tmp_path, number):
    def ask(training):
        if training.step == 4:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match="stopped after step 4"):
        run(config, Files.of_folder(tmp_path / "out"), on_step=[ask])
    assert signal.getsignal(number) == before
    run(config, Files.of_folder(tmp_path / "whole"))
    run(config, Files.of_folder(tmp_path / "out"))
    assert same(weights(tmp_path / "out"), weights(tmp_path / "whole"))


def test_a_run_that_is_killed_during_a_validation_loses_none_of_its_epoch(config, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(measures.Measures, "validate", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(config, Files.of_folder(tmp_path / "out"))
    steps = []
    record = run(config, Files.of_folder(tmp_path / "out"), on_step=[lambda training: steps.append(training.step)])
    whole = run(config, Files.of_folder(tmp_path / "whole"))
    assert steps == list(range(6, 16))
    assert same(weights(tmp_path / "out"), weights(tmp_path / "whole"))
    assert [epoch | {"seconds": 0} for epoch in record.epochs] == [epoch | {"seconds": 0} for epoch in whole.epochs]
    assert record.final == whole.final


def test_a_signal_during_the_last_epoch_s_end_stops_the_run_before_its_evaluation(config, tmp_path, monkeypatch):
    def ask(training):
        if len(training.epochs) == training.config.epochs:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(measures.Measures, "final", None)
        with pytest.raises(Interrupted, match="stopped after the last epoch, before the evaluation"):
            run(config, Files.of_folder(tmp_path / "out"), on_epoch=[ask])
    steps = []
    record = run(config, Files.of_folder(tmp_path / "out"), on_step=[lambda training: steps.append(training.step)])
    whole = run(config, Files.of_folder(tmp_path / "whole"))
    assert (steps, record.final) == ([], whole.final)


def test_a_signal_that_comes_at_once_is_kept_and_handlers_are_put_back(monkeypatch):
    numbers = signal.SIGINT, signal.SIGTERM
    before, install = [signal.getsignal(number) for number in numbers], signal.signal

    def install_and_ask(number, handler):
        old = install(number, handler)
        if handler not in before:
            os.kill(os.getpid(), number)
        return old

    monkeypatch.setattr(signal, "signal", install_and_ask)
    with stop_asked() as asked:
        pass
    assert asked == list(numbers)
    assert [signal.getsignal(number) for number in numbers] == before


@pytest.fixture
def interrupted_by_ctrl_c():
    """Python's own handler of SIGINT, which a background job of a shell does not have."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupted_by_ctrl_c")
def test_a_second_signal_has_its_usual_effect_unless_torchrun_sends_it():
    with stop_asked() as asked:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert asked == [signal.SIGINT]
    with stop_asked(once=False) as asked:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)
    assert asked == [signal.SIGINT] * 3


def stopped(config: RunConfig, out: Path, step: int) -> None:
    """The run up to that step, whose checkpoint is left."""

    def ask(training):
        if training.step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        run(config, Files.of_folder(out), on_step=[ask])


def test_what_a_run_knew_when_it_was_stopped_it_knows_when_it_goes_on(config, tmp_path, monkeypatch):
    """The lowest validation error so far, when it began, and how long it has taken."""
    errors = iter([0.2, 0.5, 0.3])
    monkeypatch.setattr(measures.Measures, "validate", lambda self: {"top1_error": next(errors)})
    stopped(config, tmp_path / "out", 6)
    before = load_checkpoint(tmp_path / "out" / LAST)
    before["state"] |= {"started": "2020-01-02T03:04:05+00:00", "seconds": 1000.0}
    save_checkpoint(tmp_path / "out" / LAST, **before)
    record = run(config, Files.of_folder(tmp_path / "out"))
    assert record.started == "2020-01-02T03:04:05+00:00"
    assert 1000 < record.seconds < 2000
    best = load_checkpoint(tmp_path / "out" / BEST)["state"]
    assert (best["best"], len(best["training"]["epochs"])) == (0.2, 1)


def test_a_run_that_goes_on_saves_as_often_as_it_is_told_to_now(config, tmp_path):
    stopped(config, tmp_path / "out", 7)

    def look(training):
        if training.step > 8:  # a callback comes before the checkpoint of its step
            step = load_checkpoint(tmp_path / "out" / LAST)["state"]["training"]["counts"]["step"]
            assert step == (training.step - 1) // 2 * 2 or step % 5 == 0  # or the end of an epoch
            steps.add(step)

    steps = set()
    run(config, Files.of_folder(tmp_path / "out"), save_every=2, on_step=[look])
    assert steps == {8, 10, 12, 14}


def test_outside_the_main_thread_a_run_leaves_signals_alone(config, tmp_path):
    before, seen = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)], []

    def look(training):
        seen.append([signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)])

    thread = Thread(target=run, args=(config, Files.of_folder(tmp_path / "out")), kwargs={"on_step": [look]})
    thread.start()
    thread.join()
    assert (tmp_path / "out" / RESULT).exists()
    assert seen
    assert all(handlers == before for handlers in seen)


def test_a_checkpoint_keeps_the_names_of_the_classes_and_others_are_refused(config, tmp_path):
    stopped(config, tmp_path / "out", 4)
    assert load_checkpoint(tmp_path / "out" / LAST)["state"]["classes"] == ["class0", "class1", "class2"]
    for split in ("train", "val"):
        (tmp_path / "images" / split / "class2").rename(tmp_path / "images" / split / "wolf")
    with pytest.raises(CheckpointError, match="class2 there, wolf here"):
        run(config, Files.of_folder(tmp_path / "out"))


def test_the_data_of_a_run_are_known_by_their_checksum_wherever_they_lie(config, tmp_path):
    stopped(config, tmp_path / "out", 4)
    whole = run(config, Files.of_folder(tmp_path / "whole"))
    moved = (tmp_path / "images").rename(tmp_path / "moved")
    record = run(replace(config, dataset=str(moved)), Files.of_folder(tmp_path / "out"))
    assert record.final == whole.final
    assert record.config["dataset"] == str(moved)
    assert run(replace(config, dataset=str(moved)), Files.of_folder(tmp_path / "whole")) == whole
    (moved / "train" / "class0" / "000.png").rename(moved / "train" / "class1" / "000.png")  # another label
    with pytest.raises(CheckpointError, match=r"data\.train\.sha256 went from"):
        run(replace(config, dataset=str(moved)), Files.of_folder(tmp_path / "out"))


class Apart(Processes):
    """One of two processes, of which the other found no record, but the checkpoint of step 6."""

    def extremes(self, value: int) -> tuple[int, int]:
        other = 0 if value in (0, 1) else 6
        return min(value, other), max(value, other)


def test_processes_that_found_other_checkpoints_do_not_train(config, tmp_path):
    with pytest.raises(CheckpointError, match=r"different checkpoints in .*last\.pt, this one none"):
        run(config, Files.of_folder(tmp_path / "out"), processes=Apart("cpu"))
    stopped(config, tmp_path / "out", 4)
    with pytest.raises(CheckpointError, match="this one that of step 4: all must see one folder"):
        run(config, Files.of_folder(tmp_path / "out"), processes=Apart("cpu"))
    run(config, Files.of_folder(tmp_path / "out"))
    with pytest.raises(CheckpointError, match=r"different records in .*result\.json, this one that of a finished run"):
        run(config, Files.of_folder(tmp_path / "out"), processes=Apart("cpu"))


def test_the_checkpoint_that_a_run_goes_on_from_does_not_stay_in_memory(config, tmp_path, monkeypatch):
    stopped(config, tmp_path / "out", 4)
    loaded, alive = [], []

    def load(*arguments):
        found = load_saved(*arguments)
        loaded.extend(weakref.ref(tensor) for tensor in found.training["model"].values())
        return found

    monkeypatch.setattr(running, "load_saved", load)
    run(config, Files.of_folder(tmp_path / "out"), on_step=[lambda training: alive.extend(ref() for ref in loaded)])
    assert alive
    assert not any(tensor is not None for tensor in alive)


def test_what_is_not_finite_is_null_in_log_and_record(config, tmp_path, monkeypatch):
    monkeypatch.setattr(measures, "evaluate", lambda *_: {"top1_error": 0.5, "log_probability": -math.inf})
    monkeypatch.setattr(measures, "errors", lambda *_: {"top1_error": 0.5, "log_probability": math.nan})
    run(config, Files.of_folder(tmp_path / "out"))
    lines = (tmp_path / "out" / LOG).read_text().splitlines()
    assert [json.loads(line, parse_constant=pytest.fail)["val_log_probability"] for line in lines] == [None] * 3
    result = json.loads((tmp_path / "out" / RESULT).read_text(), parse_constant=pytest.fail)
    assert result["final"]["log_probability"] is None


def test_a_network_of_other_classes_or_another_size_is_refused(config, tmp_path):
    with pytest.raises(ValueError, match=r"net\.num_classes is 4, but .* has 3 classes"):
        run(replace(config, net=replace(config.net, num_classes=4)), Files.of_folder(tmp_path / "out"))
    with pytest.raises(ValueError, match=r"net.image_size is 13, but the input makes images of 12"):
        run(replace(config, net=replace(config.net, image_size=13)), Files.of_folder(tmp_path / "out"))


KILLS = int(os.environ.get("ALEXNET_REPRO_KILLS", "3"))


def begun(out: Path) -> int | None:
    """When the last process that trains in the folder began with it, ns."""
    return (out / CONFIG).stat().st_mtime_ns if (out / CONFIG).exists() else None


def killed(config: RunConfig, out: Path, after: float | None) -> bool:
    """Starts the run and kills it so many seconds after it began to train; False if it had its result before."""
    before = begun(out)
    process = started(work, config.dataset, str(out))
    while process.is_alive() and begun(out) == before:
        time.sleep(0.001)
    process.join(after)
    if process.exitcode is None:
        process.kill()
        process.join()
    else:
        assert process.exitcode == 0
    return not (out / RESULT).exists()


def test_killed_again_and_again_at_random_moments_a_run_ends_with_the_same_bits(config, tmp_path):
    whole, rng, kills = tmp_path / "whole", random.Random(0), 0
    assert not killed(config, whole, None)
    training = (whole / RESULT).stat().st_mtime - (whole / CONFIG).stat().st_mtime
    for out in (tmp_path / f"out{number}" for number in count()):
        while killed(config, out, rng.uniform(0, training) if kills < KILLS else None):
            kills += 1
        assert all(same(weights(out, name), weights(whole, name)) for name in (LAST, BEST))
        result = json.loads((out / RESULT).read_text())
        assert result["final"] == json.loads((whole / RESULT).read_text())["final"]
        assert result["epochs"] == [json.loads(line) for line in (out / LOG).read_text().splitlines()]
        assert {path.name for path in out.iterdir()} == {LAST, BEST, CONFIG, LOG, RESULT}
        if kills == KILLS:
            break


def test_a_run_that_loses_a_process_is_started_again_and_ends_with_the_same_bits(config, tmp_path):
    for name, die_at in (("whole", None), ("out", 8)):
        torchrun(2, work, config.dataset, str(tmp_path / name), False, False, die_at)
    assert (tmp_path / "out" / "died").exists()
    assert same(weights(tmp_path / "out"), weights(tmp_path / "whole"))


def test_processes_of_which_one_is_asked_to_stop_stop_after_one_step_and_go_on_to_the_same_bits(config, tmp_path):
    torchrun(2, work, config.dataset, str(tmp_path / "whole"))
    torchrun(2, work, config.dataset, str(tmp_path / "out"), False, False, None, 7)
    for rank in (0, 1):
        assert (tmp_path / "out" / f"{rank} stopped").read_text() == "stopped after step 7"
    assert load_checkpoint(tmp_path / "out" / LAST)["state"]["training"]["counts"]["step"] == 7
    torchrun(2, work, config.dataset, str(tmp_path / "out"))
    assert same(weights(tmp_path / "out"), weights(tmp_path / "whole"))


def test_under_torchrun_itself_a_lost_tower_is_started_again_and_ends_with_the_same_bits(config, tmp_path):
    torchrun(2, work, config.dataset, str(tmp_path / "whole"), True)
    command = worker(config, tmp_path / "out", "--towers", "--die-at", "8", processes=2)
    subprocess.run(command, check=True, capture_output=True, env=QUIET, timeout=200)
    assert (tmp_path / "out" / "died").exists()
    assert same(weights(tmp_path / "out"), weights(tmp_path / "whole"))


@pytest.mark.parametrize("files", [Files.of_folder, lambda path: Files.of_record(path / "relu-seed0.json")])
def test_a_second_training_is_refused_while_the_first_one_runs_and_leaves_it_alone(tmp_path, files):
    config, out = make_images(tmp_path / "images"), files(tmp_path / "out")
    study = None if out.log else {"study": "s", "scale": "smoke", "arm": "relu"}
    going, on, records = Event(), Event(), []

    def hold(training):
        going.set()
        on.wait(60)

    first = Thread(target=lambda: records.append(run(config, out, study=study, on_step=[hold])))
    first.start()
    assert going.wait(60)
    with pytest.raises(
        BlockingIOError, match=r"out is in use: process \d+ on .* Wait until it has finished, or choose"
    ):
        run(config, out, study=study)
    on.set()
    first.join()
    assert Record.load(out.result) == records[0]
    left = {LAST, BEST, CONFIG, LOG, RESULT} if study is None else {"relu-seed0.json"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == left


@pytest.mark.parametrize("save_every", [0, -1])
def test_checkpoints_are_not_asked_for_every_no_step(config, tmp_path, save_every):
    with pytest.raises(ValueError, match=f"save_every must be greater than 0, not {save_every}"):
        run(config, Files.of_folder(tmp_path / "out"), save_every=save_every)


def test_a_finished_run_in_a_folder_that_can_t_be_written_is_read(tmp_path):
    config = make_images(tmp_path / "images")
    record = run(config, Files.of_folder(tmp_path / "out"))
    (tmp_path / "out").chmod(0o500)
    assert run(config, Files.of_folder(tmp_path / "out")) == record


def test_a_folder_takes_the_place_of_its_files(config, tmp_path):
    config = replace(config, train=replace(config.train, epochs=1))
    record = run(config, str(tmp_path / "out"))
    assert Record.load(Files.of_folder(tmp_path / "out").result) == record


@pytest.mark.parametrize("name", ["on_step", "on_epoch"])
def test_what_is_no_list_of_callbacks_is_refused_before_anything_is_loaded(config, name):
    with pytest.raises(TypeError, match=f"{name} takes a list of functions, such as {name}="):
        run(config, load=None, **{name: print})
