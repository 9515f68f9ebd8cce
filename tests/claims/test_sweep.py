import math
import sys
import types
from concurrent.futures import Future
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tiny_net import TINY_NET

from alexnet_repro import CLAIMS, run_claim
from alexnet_repro.claims import sweep
from alexnet_repro.claims.records import load_evidence, problems, refuse_unlike
from alexnet_repro.claims.sweep import first_losses, run_one, submit_claim
from alexnet_repro.data import Dataset, DatasetNotFoundError, evaluation_split
from alexnet_repro.networks.spec import Norm
from alexnet_repro.report.tables import repeat_table
from alexnet_repro.support.environment import environment, resolve_device
from alexnet_repro.training import run
from alexnet_repro.training.record import EvidenceError, Record
from alexnet_repro.training.start import fresh


class Inline:
    """A process pool that runs its work at once, in this process, so that tests can change what is run."""

    workers: list[int] = []  # noqa: RUF012

    def __init__(self, workers: int, *modules: str) -> None:
        self.workers.append(workers)

    def __enter__(self):
        return self

    def __exit__(self, *arguments) -> None:
        pass

    def submit(self, function, *arguments) -> Future:
        future: Future = Future()
        future.set_result(function(*arguments))
        return future

    def shutdown(self, **arguments) -> None:
        pass


@pytest.fixture(autouse=True)
def tiny_runs(monkeypatch, tiny_claim, tiny_dataset):
    """Runs of the tiny claim, in this process, on tiny images."""
    threads = torch.get_num_threads()
    monkeypatch.setattr(sweep, "clean_processes", Inline)
    monkeypatch.setattr(sweep, "keep_large_blocks", lambda: False)
    for load in ("_loaded", "load_dataset"):
        monkeypatch.setattr(sweep, load, lambda name, root, split="train", size=None: only(tiny_dataset, name, split))
    Inline.workers.clear()
    yield
    torch.set_num_threads(threads)


def only(dataset: Dataset, name: str, split: str) -> Dataset:
    """The data set as one that has validation images, or else test images."""
    if split not in ("train", evaluation_split(name)):
        raise DatasetNotFoundError(split)
    return replace(dataset, split=split)


def ids(records: list[Record]) -> list[tuple[str, int]]:
    return [(record.arm, record.seed) for record in records]


def curves(record: Record) -> list[tuple[float, float]]:
    return [(epoch["train_error"], epoch["train_loss"]) for epoch in record.epochs]


def test_seeds_are_counted_from_the_study_s_first_one_and_run_once(tiny_claim):
    protocol = replace(tiny_claim.protocol("smoke"), seeds=2, first_seed=7)
    study = replace(tiny_claim.study, protocols={"smoke": protocol})
    assert ids(run_claim(study, arms=["relu"], threads=1)) == [("relu", 7), ("relu", 8)]
    assert ids(run_claim(study, seeds=1, arms=["relu"], threads=1)) == [("relu", 7)]
    assert ids(run_claim(study, seeds=[3, 3], arms=["relu"], threads=1)) == [("relu", 3)]


def test_a_record_holds_everything_a_number_may_depend_on():
    record = run_one("tiny", "smoke", "relu", 1)
    assert record.config["net"]["activation"] == "relu"
    assert record.data["train"]["origin"] == "made up"
    assert set(record.data) == {"train", "test"}
    assert set(record.environment) == {
        "revision",
        "python",
        "torch",
        "numpy",
        "platform",
        "device_kind",
        "device",
        "threads",
    }
    assert record.environment["threads"] == 1
    assert set(record.final) == {"train_error", "epochs_to_target", "top1_error", "log_probability", "derivative_act1"}


def test_the_same_seed_gives_the_same_history_and_another_seed_another():
    first, again, other = (run_one("tiny", "smoke", "relu", seed) for seed in (1, 1, 2))
    assert curves(first) == curves(again)
    assert first.final == again.final
    assert curves(first) != curves(other)


def test_arms_of_a_seed_see_the_same_batches(monkeypatch):
    seen = []
    trained = run.train

    def train(model, batches, config, **others):
        seen.append([[inputs.tolist(), labels.tolist()] for inputs, labels in batches])
        return trained(model, batches, config, **others)

    monkeypatch.setattr(run, "train", train)
    for arm in ("tanh", "relu"):
        run_one("tiny", "smoke", arm, 5)
    assert seen[0] == seen[1]


def test_runs_come_back_by_arm_and_seed():
    assert ids(run_claim("tiny", "smoke")) == [("tanh", 0), ("tanh", 1), ("relu", 0), ("relu", 1)]
    assert ids(run_claim("tiny", "smoke", 1, arms=["relu"])) == [("relu", 0)]
    assert ids(run_claim("tiny", "smoke", [7, 3], arms=["relu"])) == [("relu", 7), ("relu", 3)]


def test_nothing_is_written_unless_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_claim("tiny", "smoke", 1)
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_goes_on_where_it_was_interrupted(tmp_path, monkeypatch):
    ran = []
    one = sweep.run_one

    def once(*arguments) -> Record:
        if ran:
            raise KeyboardInterrupt
        ran.append((arguments[2], arguments[3]))
        return one(*arguments)

    monkeypatch.setattr(sweep, "run_one", once)
    with pytest.raises(KeyboardInterrupt):
        run_claim("tiny", "smoke", 2, out=tmp_path)
    (kept,) = load_evidence("tiny", "smoke", tmp_path)
    monkeypatch.setattr(sweep, "run_one", lambda *a: ran.append((a[2], a[3])) or one(*a))
    ran.clear()
    records = run_claim("tiny", "smoke", 2, out=tmp_path)
    assert (kept.arm, kept.seed) not in ran
    assert len(ran) == 3
    assert load_evidence("tiny", "smoke", tmp_path) == records
    ran.clear()
    assert run_claim("tiny", "smoke", 2, out=tmp_path) == records
    assert ran == []


def test_a_claim_that_is_run_once_more_gives_identical_numbers(tmp_path):
    recorded, repeated = (run_claim("tiny", "smoke", out=tmp_path / name) for name in ("recorded", "repeated"))
    table = repeat_table(recorded, repeated)
    assert {(row[0], row[1]) for row in table.rows} == {(arm, seed) for arm in ("tanh", "relu") for seed in "01"}
    assert {row[2] for row in table.rows} == {"epochs", *recorded[0].final}
    assert {row[-1] for row in table.rows} == {"identical"}


def test_there_are_no_more_workers_than_runs_or_threads():
    run_claim("tiny", "smoke", 2, threads=3)
    run_claim("tiny", "smoke", 1, arms=["relu"], threads=8)
    assert Inline.workers == [3, 1]


def test_a_run_that_diverged_is_recorded_as_such(monkeypatch, tiny_claim):
    protocol = tiny_claim.protocol("smoke")
    arm = protocol.arms["relu"]
    wild = replace(protocol, arms={"relu": replace(arm, train=replace(arm.train, lr=1e30))})
    monkeypatch.setitem(sweep.STUDIES, "tiny", replace(tiny_claim.study, protocols={"smoke": wild}))
    record = run_one("tiny", "smoke", "relu", 0)
    assert record.ended == "diverged"
    assert record.epochs[-1]["train_loss"] is None
    assert "top1_error" not in record.final


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("images", "sha256 of train went from '.*' to '.*'; sha256 of test went"),
        ("torch", "torch went from '.*' to '0.1'"),
        ("device_kind", "device_kind went from 'cpu' to 'cuda'"),
    ],
)
def test_runs_that_could_not_be_compared_with_the_records_are_refused_before(
    what, words, tmp_path, monkeypatch, tiny_dataset
):
    run_claim("tiny", seeds=[0, 1], arms=["tanh"], threads=1, out=tmp_path)
    run_claim("tiny", seeds=[0], arms=["relu"], threads=1, out=tmp_path)
    if what == "images":
        others = replace(tiny_dataset, labels=tiny_dataset.labels.flip(0))
        monkeypatch.setattr(sweep, "load_dataset", lambda name, root, split, size=None: only(others, name, split))
    else:
        changed = environment("cpu") | {what: {"torch": "0.1", "device_kind": "cuda"}[what]}
        monkeypatch.setattr("alexnet_repro.claims.records.environment", lambda device: changed)
    monkeypatch.setattr(sweep, "run_one", None)
    with pytest.raises(EvidenceError, match=f"tiny/smoke/.*: {words}.*--out FOLDER"):
        run_claim("tiny", seeds=[1], arms=["relu"], threads=1, out=tmp_path)
    assert len(run_claim("tiny", seeds=[0], threads=1, out=tmp_path)) == 2  # nothing is missing there


def test_with_another_torch_a_new_seed_is_run_in_all_arms_and_an_old_one_in_none(tmp_path, monkeypatch, tiny_dataset):
    records = run_claim("tiny", seeds=[0, 1], arms=["tanh"], threads=1, out=tmp_path)
    changed = environment("cpu") | {"torch": "0.1"}
    monkeypatch.setattr("alexnet_repro.claims.records.environment", lambda device: changed)

    def load(split: str) -> Dataset:
        return only(tiny_dataset, "photos", split)

    refuse_unlike(records, load, {2, 3}, "cpu")
    refuse_unlike(records, load, {0, 1, 2}, None)  # runs of a cluster, whose torch is not known here
    with pytest.raises(EvidenceError, match=r"seed1\.json: torch went"):
        refuse_unlike(records, load, {1, 2}, "cpu")


def test_a_missing_data_set_is_an_error_before_anything_is_run(monkeypatch, tiny_claim):
    def missing(*arguments, **named):
        raise DatasetNotFoundError("not here")

    protocol = replace(tiny_claim.protocol("smoke"), dataset="cifar10")
    monkeypatch.setitem(
        CLAIMS, "tiny", replace(tiny_claim, study=replace(tiny_claim.study, protocols={"smoke": protocol}))
    )
    monkeypatch.setattr(sweep, "load_dataset", missing)
    with pytest.raises(DatasetNotFoundError):
        run_claim("tiny", "smoke")
    assert Inline.workers == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"claim": "gelu"}, "claim must be one of relu, relu-local, .*alexnet.* not 'gelu'"),
        ({"scale": "huge"}, "scale of tiny must be one of smoke, not 'huge'"),
        ({"arms": ["relu", "gelu"]}, "arms of tiny are tanh, relu, not gelu"),
        ({"arms": "relu"}, "arms must be a list of some of tanh, relu, or None, not 'relu'"),
        ({"arms": []}, r"arms must be a list of some of tanh, relu, or None, not \[\]"),
        ({"arms": 3}, "arms must be a list of some of tanh, relu, or None, not 3"),
        ({"seeds": 0}, r"seeds must be how many, at least 1, or a list of which, such as 5 or \[0, 3\], not 0"),
        *(({"seeds": seeds}, "seeds must be how many") for seeds in ("3", 2.0, True, [1.5], [True], [1, -1], [], {3})),
        ({"threads": 0}, "threads must be a whole number of at least 1, not 0"),
        ({"threads": 1.5}, "threads must be a whole number of at least 1, not 1.5"),
        ({"parallel": "2"}, "parallel must be a whole number of at least 1, not '2'"),
        ({"device": "gpu"}, "device must be auto or one of cpu.* not 'gpu'"),
        ({"device": "cuda:99"}, "not 'cuda:99'"),
    ],
)
def test_what_does_not_exist_is_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        run_claim(**({"claim": "tiny", "scale": "smoke"} | arguments))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rel", "smoke", "relu", 0), "study must be one of relu, .* not 'rel'"),
        (("tiny", "huge", "relu", 0), "scale of tiny must be one of smoke, not 'huge'"),
        (("tiny", "smoke", "gelu", 0), "arm must be one of tanh, relu, not 'gelu'"),
        (("tiny", "smoke", "relu", -1), "seed must be a whole number of at least 0, not -1"),
        (("tiny", "smoke", "relu", 0.5), "seed must be a whole number of at least 0, not 0.5"),
    ],
)
def test_one_run_of_what_does_not_exist_is_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        run_one(*arguments)


@pytest.mark.parametrize("threads", [0, 1.5, True])
def test_first_losses_take_a_whole_number_of_threads(threads, tiny_claim, tiny_dataset):
    with pytest.raises(ValueError, match=f"threads must be a whole number of at least 1, not {threads}"):
        first_losses(tiny_claim.protocol("smoke").arms, tiny_dataset, threads=threads)


@pytest.mark.parametrize(("device", "workers"), [("cpu", 2), ("cuda", 3)])
def test_runs_at_a_time_are_threads_on_a_cpu_and_what_a_gpu_is_asked_to_hold(monkeypatch, device, workers):
    monkeypatch.setattr(sweep, "resolve_device", lambda name: name)
    monkeypatch.setattr(sweep, "run_one", lambda study, scale, arm, seed, *_: types.SimpleNamespace(arm=arm, seed=seed))
    run_claim("tiny", "smoke", 2, device=device, threads=2, parallel=3)
    assert Inline.workers == [workers]


def test_every_run_is_told_where_the_data_is_and_what_to_run_on(monkeypatch, tiny_claim, tmp_path):
    asked = []
    monkeypatch.setattr(sweep, "resolve_device", lambda name: name)
    ended = types.SimpleNamespace
    monkeypatch.setattr(sweep, "run_one", lambda *a: asked.append(a) or ended(arm=a[2], seed=a[3]))
    run_claim("tiny", "smoke", 1, data_root="here", device="cuda", out=tmp_path)
    assert [(a[1], *a[4:]) for a in asked] == [("smoke", "here", "cuda", tmp_path)] * 2


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == "cpu"


def test_first_losses_are_those_of_the_run_s_first_minibatches(tiny_claim, tiny_dataset):
    arm = tiny_claim.protocol("smoke").arms["relu"]
    longer = replace(arm, train=replace(arm.train, epochs=7, target_error=0.99))
    losses = first_losses(
        {"a": arm, "b": longer, "wild": replace(arm, train=replace(arm.train, lr=1e30))}, tiny_dataset
    )
    assert list(losses) == ["a", "b", "wild"]
    assert len(losses["a"]) == 3
    assert losses["a"] == losses["b"]
    assert losses["wild"][0] == losses["a"][0]
    assert not math.isfinite(losses["wild"][-1])
    model, _, batches = fresh(arm.run("tiny", 0), tiny_dataset, "cpu")
    inputs, labels = next(iter(batches))
    assert losses["a"][0] == pytest.approx(F.cross_entropy(model(inputs), labels).item(), rel=1e-6)
    assert Inline.workers == [2]


def test_a_claim_runs_its_own_arms_and_leaves_the_rest_of_its_study_alone(monkeypatch, tiny_claim):
    monkeypatch.setitem(sweep.STUDIES, "tiny", tiny_claim.study)
    monkeypatch.setitem(CLAIMS, "tiny", replace(tiny_claim, treatment=tiny_claim.baseline))
    assert ids(run_claim("tiny", "smoke", 1)) == [("tanh", 0)]
    assert ids(run_claim("tiny", "smoke", 1, arms=["relu"])) == [("relu", 0)]
    with pytest.raises(ValueError, match="ensemble-5 has no runs here"):
        run_claim("ensemble-5", "paper")


def test_what_is_recorded_is_shared_by_the_claims_of_a_study(tmp_path, monkeypatch, tiny_claim):
    ran = []
    one = sweep.run_one
    monkeypatch.setattr(sweep, "run_one", lambda *a: ran.append((a[2], a[3])) or one(*a))
    run_claim("tiny", "smoke", 1, out=tmp_path)
    monkeypatch.setitem(CLAIMS, "other", replace(tiny_claim, id="other"))
    records = run_claim("other", "smoke", 2, out=tmp_path)
    assert ids(records) == [("tanh", 0), ("tanh", 1), ("relu", 0), ("relu", 1)]
    assert ran == [("tanh", 0), ("relu", 0), ("tanh", 1), ("relu", 1)]


def test_states_say_what_is_done_what_runs_and_what_waits():
    seen = []
    run_claim("tiny", "smoke", 2, threads=2, on_change=lambda states: seen.append(dict(states)))
    assert len(seen) == 5
    assert list(seen[0].values()) == ["running", "running", "waiting", "waiting"]
    assert list(seen[-1].values()) == ["recorded"] * 4
    assert list(seen[0]) == [("tanh", 0), ("relu", 0), ("tanh", 1), ("relu", 1)]


def test_with_validation_images_their_error_is_recorded_after_every_epoch(monkeypatch, tiny_claim):
    protocol = tiny_claim.protocol("smoke")
    cropped = {
        name: replace(arm, input=replace(arm.input, crop=6), net=replace(arm.net, image_size=6))
        for name, arm in protocol.arms.items()
    }
    study = replace(tiny_claim.study, protocols={"smoke": replace(protocol, dataset="imagenette", arms=cropped)})
    monkeypatch.setitem(sweep.STUDIES, "tiny", study)
    record = run_one("tiny", "smoke", "relu", 0)
    assert set(record.data) == {"train", "val"}
    assert all(0 <= epoch["val_error"] <= 1 for epoch in record.epochs)
    assert record.final["centre_error"] == record.epochs[-1]["val_error"]
    assert record.final["train_eval_error"] == record.final["centre_error"]  # the same images here
    assert {"top1_error", "train_eval_error"} <= set(record.final)


def test_two_towers_record_how_far_their_first_filters_differ_in_colour(monkeypatch, tiny_claim):
    protocol = tiny_claim.protocol("smoke")
    layers = [*TINY_NET.layers]
    layers.insert(1, Norm("norm1", size=3, alpha=1e-3, k=1.0))
    net = replace(TINY_NET, towers=2, layers=tuple(layers))
    arms = {name: replace(arm, net=net) for name, arm in protocol.arms.items()}
    monkeypatch.setitem(
        sweep.STUDIES, "tiny", replace(tiny_claim.study, protocols={"smoke": replace(protocol, arms=arms)})
    )
    final = run_one("tiny", "smoke", "relu", 0).final
    assert final["color_difference"] == pytest.approx(abs(final["color_tower1"] - final["color_tower2"]))


def test_a_cluster_gets_a_task_a_run_and_each_writes_its_record(tmp_path, monkeypatch):
    tasks = []

    class Executor:
        def __init__(self, folder, cluster) -> None:
            tasks.append((folder, cluster))

        def update_parameters(self, **options) -> None:
            tasks.append(options)

        def map_array(self, function, *columns) -> list:
            return [function(*task) for task in zip(*columns, strict=True)]

    monkeypatch.setitem(sys.modules, "submitit", types.SimpleNamespace(AutoExecutor=Executor))
    run_claim("tiny", "smoke", 1, arms=["relu"], out=tmp_path)
    arguments = {"out": tmp_path, "logs": tmp_path / "logs", "options": {"timeout_min": 5}}
    assert ids(submit_claim("tiny", "smoke", 2, **arguments)) == [("tanh", 0), ("tanh", 1), ("relu", 1)]
    (folder, cluster), given = tasks
    assert (folder.parent, cluster, given) == (tmp_path / "logs", "slurm", {"name": "alexnet-tiny", "timeout_min": 5})
    assert len(load_evidence("tiny", "smoke", tmp_path)) == 4
    assert submit_claim("tiny", "smoke", 2, **arguments) == []


@pytest.mark.parametrize(
    ("srun", "options", "reason"),
    [
        (False, {}, "srun"),
        (True, {"slurm_partitoin": "gpu"}, "slurm_partitoin"),
        (True, {"mem_gb": "much"}, "mem_gb|much"),
    ],
)
def test_a_cluster_that_refuses_is_told_in_one_line(tmp_path, monkeypatch, srun, options, reason):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    if srun:
        (tmp_path / "srun").touch(mode=0o755)
    with pytest.raises(ValueError, match=f"^slurm did not take the tasks: .*({reason})") as error:
        submit_claim("tiny", "smoke", 1, out=tmp_path / "out", logs=tmp_path / "logs", options=options)
    assert "\n" not in str(error.value)


def test_without_submitit_a_cluster_is_refused_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'alexnet_repro\[slurm\]'"):
        submit_claim("tiny", "smoke", out=tmp_path, logs=tmp_path)


def test_a_job_array_on_this_machine_leaves_its_records(tmp_path):
    patient = {"timeout_min": 10}
    jobs = submit_claim(
        "relu", "smoke", 1, arms=["relu"], out=tmp_path, logs=tmp_path / "logs", cluster="local", options=patient
    )
    (record,) = [job.result() for job in jobs]
    assert load_evidence("relu", "smoke", tmp_path) == [record]


class Killed(BaseException):
    pass


def killed_after(epochs: int, monkeypatch, out) -> None:
    """Runs the tiny claim's relu and is killed in the epoch after the given number of whole ones."""
    trained = run.train

    def train(model, batches, config, *, on_epoch, **others):
        def then_die(training):
            on_epoch(training)
            if len(training.epochs) == epochs:
                raise Killed

        return trained(model, batches, config, on_epoch=then_die, **others)

    with monkeypatch.context() as patch:
        patch.setattr(run, "train", train)
        with pytest.raises(Killed):
            run_one("tiny", "smoke", "relu", 0, out=out)


def test_a_run_that_was_killed_goes_on_after_its_last_epoch_to_the_same_numbers(tmp_path, monkeypatch):
    whole = run_one("tiny", "smoke", "relu", 0)
    assert len(whole.epochs) > 1
    killed_after(1, monkeypatch, tmp_path)
    checkpoint = (tmp_path / whole.path).with_suffix(".pt")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [checkpoint]
    assert problems(tmp_path) == []
    assert load_evidence("tiny", "smoke", tmp_path) == []
    (tmp_path / whole.path).with_name(f".{checkpoint.name}.12345678").touch()  # it was killed while it wrote another

    seen = []
    trained = run.train
    with monkeypatch.context() as patch:
        patch.setattr(run, "train", lambda *a, **k: seen.append(len(k["resume"]["epochs"])) or trained(*a, **k))
        (record,) = run_claim("tiny", "smoke", 1, arms=["relu"], out=tmp_path)
    assert seen == [1]
    assert curves(record) == curves(whole)
    assert record.final == whole.final
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / record.path]


def test_the_seconds_of_a_run_that_was_killed_count_from_its_first_beginning(tmp_path, monkeypatch):
    clock = iter(range(0, 100_000, 100))
    monkeypatch.setattr(run, "perf_counter", lambda: float(next(clock)))
    killed_after(1, monkeypatch, tmp_path)  # began at 0, checkpoint at 100
    record = run_one("tiny", "smoke", "relu", 0, out=tmp_path)  # began at 200, a checkpoint at 300 and so on
    assert record.seconds == 100 + 100 * len(record.epochs)


@pytest.mark.parametrize("change", ["other code", "damage"])
def test_a_run_does_not_go_on_from_other_code_or_half_a_checkpoint(change, tmp_path, monkeypatch):
    whole = run_one("tiny", "smoke", "relu", 0)
    killed_after(1, monkeypatch, tmp_path)
    if change == "other code":
        there = environment("cpu")
        monkeypatch.setattr(run, "environment", lambda device: there | {"revision": "another"})
    else:
        checkpoint = (tmp_path / whole.path).with_suffix(".pt")
        checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    with pytest.warns(UserWarning, match=r"relu-seed0 begins again: .*(revision.*another|not a complete checkpoint)"):
        record = run_one("tiny", "smoke", "relu", 0, out=tmp_path)
    assert curves(record) == curves(whole)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / record.path]


class Idle(Inline):
    """A process pool that never gets round to its work."""

    def submit(self, function, *arguments) -> Future:
        return Future()


def test_while_runs_are_under_way_their_states_say_how_far_they_are(tmp_path, monkeypatch):
    seen = []

    def look(states) -> None:
        seen.append(states)
        if len(seen) == 1:
            killed_after(1, monkeypatch, tmp_path)
        if len(seen) == 2:
            raise Killed

    monkeypatch.setattr(sweep, "clean_processes", Idle)
    monkeypatch.setattr(sweep, "LOOK_EVERY", 0)
    with pytest.raises(Killed):
        run_claim("tiny", "smoke", 2, arms=["relu"], threads=1, out=tmp_path, on_change=look)
    assert seen[0] == {("relu", 0): "running", ("relu", 1): "waiting"}
    assert seen[1] == {("relu", 0): "1 of 3 epochs", ("relu", 1): "waiting"}


def test_a_checkpoint_that_goes_while_it_is_looked_at_ends_no_sweep(tmp_path, monkeypatch, tiny_claim):
    """A run removes its checkpoint when its record is written."""

    def gone(path, **options):
        raise FileNotFoundError(path)

    monkeypatch.setattr(sweep, "load_checkpoint", gone)
    assert sweep._progress(tiny_claim.study, "smoke", "relu", 0, tmp_path) == "running"
