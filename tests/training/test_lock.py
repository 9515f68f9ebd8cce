import signal
from pathlib import Path
from threading import Event, Thread

import pytest
from processes import CONTEXT
from run_case import make_images

from alexnet_repro.training import lock
from alexnet_repro.training.checkpoint import BEST, CONFIG, LAST, LOG, RESULT, CheckpointError, Files
from alexnet_repro.training.lock import locked
from alexnet_repro.training.record import Record
from alexnet_repro.training.run import run


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
    with pytest.raises(CheckpointError, match=r"out is in use: process \d+ on .* Wait until it has ended, or choose"):
        run(config, out, study=study)
    on.set()
    first.join()
    assert Record.load(out.result) == records[0]
    left = {LAST, BEST, CONFIG, LOG, RESULT} if study is None else {"relu-seed0.json"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == left


def hold(path: Path, held: Event) -> None:
    with locked(path):
        held.set()
        signal.pause()


def test_a_lock_is_free_when_its_holder_was_killed(tmp_path):
    held = CONTEXT.Event()
    process = CONTEXT.Process(target=hold, args=(tmp_path / "lock", held))
    process.start()
    assert held.wait(60)
    with pytest.raises(CheckpointError, match=f"process {process.pid} on"), locked(tmp_path / "lock"):
        pass
    process.kill()
    process.join()
    assert (tmp_path / "lock").exists()
    with locked(tmp_path / "lock"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_its_holder_removed_is_not_taken_for_one(tmp_path, monkeypatch):
    answers = iter([False, True])
    monkeypatch.setattr(lock, "_is", lambda path, descriptor: next(answers))
    with locked(tmp_path / "lock"):
        assert list(answers) == []


def test_where_there_are_no_locks_nothing_is_locked(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "fcntl", None)
    with locked(tmp_path / "lock"), locked(tmp_path / "lock"):
        assert list(tmp_path.iterdir()) == []


def test_a_finished_run_in_a_folder_that_can_t_be_written_is_read(tmp_path):
    config = make_images(tmp_path / "images")
    record = run(config, Files.of_folder(tmp_path / "out"))
    (tmp_path / "out").chmod(0o500)
    assert run(config, Files.of_folder(tmp_path / "out")) == record
