import json

import pytest

from alexnet_repro import TrainConfig, chapter, reports
from alexnet_repro.checkpoint import CheckpointError
from alexnet_repro.evidence import EVIDENCE_FOLDER
from alexnet_repro.recipes import FULL_RUN

RESULT = {
    "config": {"net": {"num_classes": 10}},
    "epochs": [
        {"train_error": 0.9, "val": {"top1_error": 0.8, "top5_error": 0.4}},
        {"train_error": 0.5, "val": {"top1_error": 0.6, "top5_error": 0.3}},
    ],
    "final": {"split": "val", "top1_error": 0.55, "top5_error": 0.25},
}


def test_the_table_sets_a_run_beside_the_published_errors():
    rows = reports.run_table({"ours": RESULT, "later": None}).rows
    assert rows[0] == ["ours", "10", "2", "60.0 / 30.0", "55.0 / 25.0"]
    assert rows[1] == ["later", "-", "not run", "-", "-"]
    assert rows[2][3:] == ["39.0 / 18.3", "37.5 / 17.0"]
    assert rows[5][3:] == ["-", "40.7 / 18.2"]


def test_the_curves_are_the_run_s_errors_in_percent():
    figure = reports.run_curves({"ours": RESULT, "later": None}, {"paper": 0.407})
    (ax,) = figure.axes  # none for a run that was not made
    lines = {line.get_label(): list(line.get_ydata()) for line in ax.get_lines()}
    assert lines["training"] == [90.0, 50.0]
    assert lines["validation, centre"] == [80.0, 60.0]
    assert lines["paper"] == pytest.approx([40.7, 40.7])


def test_the_rates_drawn_are_those_of_the_schedule():
    figure = reports.rates({"run 145": TrainConfig.preset("run145")}, ["conv1", "conv2"])
    conv1, conv2 = (list(line.get_ydata()) for line in figure.axes[0].get_lines()[:2])
    assert conv1[0] == conv2[0] == 0.01
    assert conv1[-1] < conv2[-1] == pytest.approx(1e-5)


@pytest.mark.parametrize("scale", ["laptop", "paper"])
def test_recorded_runs_are_whole_and_of_the_recipe_as_it_is(scale):
    result = reports.recorded_run(scale)
    assert result is None or len(result["epochs"]) == FULL_RUN[scale].train.epochs


def test_there_is_a_recorded_run_on_imagenette_and_a_digit_changed_by_hand_is_found(tmp_path):
    path = EVIDENCE_FOLDER / "full-run" / "laptop" / "run145-seed0.json"
    content = json.loads(path.read_text())
    content["final"]["top1_error"] += 0.01
    changed = tmp_path / "full-run" / "laptop" / "run145-seed0.json"
    changed.parent.mkdir(parents=True)
    changed.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="changed after it was written"):
        reports.recorded_run("laptop", tmp_path)


def test_a_chapter_s_full_run_gives_what_it_left(monkeypatch, tmp_path):
    from run_case import make_pictures

    monkeypatch.setitem(chapter.FULL_RUN, "smoke", make_pictures(tmp_path / "pictures"))
    result = chapter.full_run("smoke", None, None, "cpu", 1, str(tmp_path / "runs"))
    assert len(result["epochs"]) == 3
    assert (tmp_path / "runs" / "full-run-smoke-seed0" / "result.json").exists()
