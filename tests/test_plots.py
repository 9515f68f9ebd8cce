import io
import math

import pytest

from alexnet_repro import CLAIMS, plots
from alexnet_repro.evidence import Verdict


def test_every_run_is_a_thin_line_and_every_arm_a_thick_one(make_record):
    records = [
        make_record("tanh", 0, [0.8, 0.6, 0.4]),
        make_record("tanh", 1, [0.6, 0.4]),
        make_record("relu", 0, [0.5, 0.2]),
    ]
    figure = plots.error_curves({"one": records, "two": records[:1]}, target=0.25)
    first, second = figure.axes
    curves = {tuple(line.get_ydata()) for line in first.lines}
    assert {(80.0, 60.0, 40.0), (60.0, 40.0), (50.0, 20.0)} <= curves
    assert pytest.approx((70.0, 50.0)) in list(curves)  # the mean, as far as both go
    assert [text.get_text() for text in first.get_legend().get_texts()] == ["tanh, 2 seeds", "relu, 1 seed"]
    assert (25, 25) in curves
    assert (first.get_xlabel(), first.get_ylabel(), second.get_title()) == ("epochs", "training error, %", "two")
    figure.savefig(io.BytesIO())


def test_figures_are_opaque_and_drawn_without_warnings_where_nothing_is_recorded():
    figure = plots.error_curves({"empty": []}, target=0.25)
    assert figure.get_facecolor() == (1.0, 1.0, 1.0, 1.0)
    assert "no runs recorded yet" in [text.get_text() for text in figure.axes[0].texts]
    figure.savefig(io.BytesIO())


def test_effects_are_drawn_with_their_interval_beside_the_papers_number():
    relu = CLAIMS["relu"]
    known = Verdict(claim=relu, outcome="inconclusive", pairs=3, estimate=2.0, low=1.5, high=2.7)
    bounded = Verdict(claim=relu, outcome="inconclusive", pairs=3, estimate=5.0, low=4.0, high=math.inf)
    figure = plots.effects({"known": known, "bounded": bounded})
    lines = [tuple(line.get_xdata()) for line in figure.axes[0].lines]
    assert [6.0] in [list(line) for line in lines]
    assert (1.5, 2.7) in lines
    assert (2.0,) in lines
    assert (4.0, pytest.approx(7.8)) in lines
    figure.savefig(io.BytesIO())


def test_a_difference_is_drawn_in_points():
    result = Verdict(claim=CLAIMS["lrn-cifar"], outcome="inconclusive", pairs=2, estimate=0.01, low=-0.01, high=0.03)
    figure = plots.effects({"pair": result})
    lines = [tuple(line.get_xdata()) for line in figure.axes[0].lines]
    assert (-1.0, 3.0) in lines
    assert "points" in figure.axes[0].get_xlabel()
