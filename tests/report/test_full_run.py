import pytest

from alexnet_repro import TrainConfig, load_evidence
from alexnet_repro.claims.studies import FULL_RUN
from alexnet_repro.report import drawings, figures, tables


@pytest.fixture
def full_run(make_record):
    record = make_record("relu", 0, [0.9, 0.5], top1_error=0.55, top5_error=0.25)
    record.config["net"]["num_classes"] = 10
    record.epochs[0] |= {"val_error": 0.8, "val_top5_error": 0.4}
    record.epochs[1] |= {"val_error": 0.6, "val_top5_error": 0.3}
    return record


def test_the_table_sets_a_run_beside_the_published_errors(full_run):
    rows = tables.full_run_table({"ours": full_run, "later": None}).rows
    assert rows[0] == ["ours", "10", "2", "60.0 / 30.0", "55.0 / 25.0"]
    assert rows[1] == ["later", "-", "not run", "-", "-"]
    assert rows[2][3:] == ["39.0 / 18.3", "37.5 / 17.0"]
    assert rows[5][3:] == ["-", "40.7 / 18.2"]


def test_the_curves_are_the_run_s_errors_in_percent(full_run):
    figure = figures.run_curves({"ours": full_run, "later": None})
    (ax,) = figure.axes  # none for a run that was not made
    lines = {line.get_label(): list(line.get_ydata()) for line in ax.get_lines()}
    assert lines["training"] == [90.0, 50.0]
    assert lines["validation, centre"] == [80.0, 60.0]


def test_the_learning_rates_drawn_are_those_of_the_schedule():
    figure = drawings.learning_rates({"run 145": TrainConfig.preset("run145")}, ["conv1", "conv2"])
    conv1, conv2 = (list(line.get_ydata()) for line in figure.axes[0].get_lines()[:2])
    assert conv1[0] == conv2[0] == 0.01
    assert conv1[-1] < conv2[-1] == pytest.approx(1e-5)


@pytest.mark.parametrize("scale", ["laptop", "paper"])
def test_recorded_full_runs_have_all_epochs_of_their_recipe(scale):
    recorded = load_evidence("full-run", scale)
    assert recorded or scale == "paper"
    for record in recorded:
        assert len(record.epochs) == FULL_RUN.protocol(scale).arms[record.arm].train.epochs
