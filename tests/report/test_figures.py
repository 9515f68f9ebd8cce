import io
import math
from dataclasses import replace

import pytest
import torch

from alexnet_repro import CLAIMS, AlexNet, NetConfig, PCAColor, build
from alexnet_repro.claims.verdict import Verdict
from alexnet_repro.data import Dataset
from alexnet_repro.networks.inspect import color_share, orientation
from alexnet_repro.report import drawings, figures, tables


def test_every_run_is_a_thin_line_and_every_arm_a_thick_one(make_record):
    records = [
        make_record("tanh", 0, [0.8, 0.6, 0.4]),
        make_record("tanh", 1, [0.6, 0.4]),
        make_record("relu", 0, [0.5, 0.2]),
    ]
    figure = figures.error_curves({"one": records, "two": records[:1]}, target=0.25)
    first, second = figure.axes
    curves = {tuple(line.get_ydata()) for line in first.lines}
    assert {(80.0, 60.0, 40.0), (60.0, 40.0), (50.0, 20.0)} <= curves
    assert pytest.approx((70.0, 50.0)) in list(curves)  # the mean, as far as both go
    assert [text.get_text() for text in first.get_legend().get_texts()] == ["tanh, 2 seeds", "relu, 1 seed"]
    assert (25, 25) in curves
    assert (first.get_xlabel(), first.get_ylabel(), second.get_title()) == ("epochs", "training error, %", "two")
    figure.savefig(io.BytesIO())


def test_more_arms_than_can_be_told_apart_are_refused(make_record):
    five = [replace(make_record("relu", 0, [0.5, 0.2]), arm=f"arm{number}") for number in range(5)]
    with pytest.raises(ValueError, match="a panel can show 4 lines, not 5: choose"):
        figures.error_curves({"": five})


def test_a_run_that_diverged_is_drawn_and_tabled_as_far_as_it_went(make_record):
    whole, lost = make_record("relu", 0, [0.5, 0.4], top1_error=0.3), make_record("relu", 1, [0.5, 0.9])
    lost = replace(lost, ended="diverged", final={"train_error": None})
    for epoch in (*whole.epochs, lost.epochs[0]):  # after the last of the other nothing was validated
        epoch["val_error"] = 0.6
    (ax,) = figures.error_curves({"": [whole, lost]}, error="val_error").axes
    assert [len(line.get_ydata()) for line in ax.lines] == [2, 1, 1]
    assert ax.get_yscale() == "log"
    assert "60" in [tick.get_text() for tick in ax.get_yticklabels()]
    assert [row[4] for row in tables.run_table({"": [whole, lost]}).rows] == ["30.0", "-"]
    assert tables.full_run_table({"lost": lost}).rows[0][-1] == "- / -"
    assert len(tables.evidence_table({"": [whole, lost]}).rows) == 1


def test_mean_derivatives_are_drawn_with_their_range_over_seeds(make_record):
    runs = [make_record("tanh", seed, [0.5], derivative_act1=slope) for seed, slope in enumerate((0.1, 0.4))]
    deeper = make_record("relu", 0, [0.5], derivative_act1=0.5, derivative_act2=0.25)
    tanh, relu = figures.derivatives({"2012": [*runs, deeper], "later": [deeper]}).axes
    assert (tanh.get_title(), relu.get_title()) == ("tanh", "relu")
    (mean, _, (bar,)) = tanh.containers[0]
    assert mean.get_ydata() == pytest.approx([25])
    assert bar.get_segments()[0][:, 1] == pytest.approx([10, 40])
    assert [line[0].get_ydata().tolist() for line in relu.containers] == [pytest.approx([50, 25])] * 2
    assert [text.get_text() for text in relu.get_legend().get_texts()] == ["2012", "later"]
    assert [text.get_text() for text in tanh.get_legend().get_texts()] == ["2012"]


def test_figures_are_opaque_and_drawn_without_warnings_where_nothing_is_recorded():
    figure = figures.error_curves({"empty": []}, target=0.25)
    assert figure.get_facecolor() == (1.0, 1.0, 1.0, 1.0)
    assert "no runs recorded yet" in [text.get_text() for text in figure.axes[0].texts]
    figure.savefig(io.BytesIO())


def test_a_figure_of_nothing_says_that_there_are_no_runs():
    empty = (
        figures.error_curves({}),
        figures.run_curves({"ours": None}),
        figures.effects({}),
        figures.derivatives({}),
        figures.panels(0)[0],
    )
    for figure in empty:
        (ax,) = figure.axes
        assert [text.get_text() for text in ax.texts] == ["no runs recorded yet"]
        assert not ax.axison
        figure.savefig(io.BytesIO())


def test_effects_are_drawn_with_their_interval_beside_the_papers_number():
    relu = CLAIMS["relu"]
    known = Verdict(claim=relu, outcome="open", seeds=(0, 1, 2), estimate=2.0, low=1.5, high=2.7)
    bounded = Verdict(claim=relu, outcome="open", seeds=(0, 1, 2), estimate=5.0, low=4.0, high=math.inf)
    figure = figures.effects({"known": known, "bounded": bounded})
    lines = [tuple(line.get_xdata()) for line in figure.axes[0].lines]
    assert [6.0] in [list(line) for line in lines]
    assert (1.5, 2.7) in lines
    assert (2.0,) in lines
    assert (4.0, pytest.approx(7.8)) in lines
    single = Verdict(claim=relu, outcome="open", seeds=(0,), estimate=2.0)
    (legend,) = figures.effects({"known": known, "single": single}).legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "paper", "each pair of runs", "ours, 95 % interval", "ours, no interval yet"
    ]  # fmt: skip
    figure.savefig(io.BytesIO())


def test_a_difference_is_drawn_in_points():
    claim = CLAIMS["lrn-cifar"]
    result = Verdict(claim=claim, outcome="open", seeds=(0, 1), estimate=0.01, low=-0.01, high=0.03)
    figure = figures.effects({"pair": result})
    lines = [tuple(line.get_xdata()) for line in figure.axes[0].lines]
    assert (-1.0, 3.0) in lines
    assert "points" in figure.axes[0].get_xlabel()


def test_the_axis_names_a_metric_only_if_both_sides_are_measured_in_it():
    result = Verdict(claim=CLAIMS["ten-crop"], outcome="open", seeds=(0, 1), estimate=0.01, low=-0.01, high=0.03)
    assert figures.effects({"": result}).axes[0].get_xlabel() == "run145 minus run145, points (0: no effect)"


def test_the_bars_of_every_quantity_add_up_to_all_of_it():
    figure = drawings.layer_costs(AlexNet())
    for ax in figure.axes:
        assert sum(bar.get_width() for bar in ax.patches) == pytest.approx(100)
    parameters = figure.axes[1]
    share = [100 * count / 60_965_224 for count in (34_944, 37_752_832, 4_097_000)]  # by hand, with biases
    layers = [cost.name for cost in AlexNet().costs() if cost.parameters]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == layers
    widths = {layer: bar.get_width() for layer, bar in zip(layers, parameters.patches, strict=True)}
    assert [widths[layer] for layer in ("conv1", "fc6", "fc8")] == pytest.approx(share)
    assert parameters.get_title().endswith("60,965,224")
    assert [ax.get_title().partition(":")[0] for ax in figure.axes] == ["activations", "parameters", "multiply-adds"]
    figure.savefig(io.BytesIO())


def test_windows_of_two_are_side_by_side_and_those_of_three_share_a_cell():
    drawn = drawings.pooling_windows({"pairs": (2, 2), "overlapping": (3, 2)}, cells=7)
    for ax, size, starts in zip(drawn.axes, (2, 3), ((0, 2, 4, 6), (0, 2, 4)), strict=True):
        cells, *bars = ax.collections
        assert len(cells.get_paths()) == 7
        spans = [bar.get_paths()[0].get_extents() for bar in bars]
        assert [(round(span.x0), round(span.x1)) for span in spans] == [(s, min(s + size, 7)) for s in starts]
        assert [span.y0 for span in spans] == pytest.approx([-0.7, -1.3, -0.7, -1.3][: len(starts)])
        assert {span.y0 for span in spans[::2]}.isdisjoint(span.y0 for span in spans[1::2])


@pytest.mark.parametrize(("name", "crossings"), [("paper", 7), ("notes", 3), ("torchvision", 0)])
def test_crossings_are_drawn_where_a_layer_reads_the_other_tower(name, crossings):
    # paper: two arrows each into conv3, fc6 and fc7, and one into fc8, which is in the first tower only
    figure = drawings.tower_crossings(build(NetConfig.preset(name)))
    arrows = [text.arrow_patch for text in figure.axes[0].texts if getattr(text, "arrow_patch", None)]
    assert sum(arrow.get_linestyle() in ("--", "dashed") for arrow in arrows) == crossings
    figure.savefig(io.BytesIO())


def test_first_losses_have_a_panel_each_with_the_first_run_behind_and_stay_inside():
    figure = figures.first_losses({"printed": [2.3, 2.2], "a": [2.3, 9.9], "b": [2.3, math.nan]}, chance=2.3)
    panels = [ax for ax in figure.axes if ax.lines]
    labels = [[line.get_label() for line in ax.lines][:2] for ax in panels]
    assert labels == [["printed", "a"], ["printed", "b"]]
    assert [list(ax.lines[1].get_ydata()) for ax in panels] == [[2.3, 4.6], [2.3, 4.6]]
    assert [list(ax.lines[0].get_ydata()) for ax in panels] == [[2.3, 2.2], [2.3, 2.2]]


def test_images_are_shown_as_they_are_within_what_a_screen_can_show():
    rows = {"a": torch.full((2, 3, 4, 4), 300.0), "b": torch.arange(48.0).view(1, 3, 4, 4)}
    figure = drawings.images(rows)
    parts = figure.subfigs
    shown = [ax.images[0].get_array() for part in parts for ax in part.axes if ax.images]
    assert len(shown) == 3
    assert (shown[0] == 255).all()
    assert shown[2][1, 2].tolist() == [6, 22, 38]
    assert [part.get_suptitle() for part in parts] == ["a", "b"]


def test_colour_axes_run_two_deviations_either_way_from_the_mean():
    images = torch.randint(0, 256, (4, 3, 5, 5), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    color = PCAColor(torch.tensor([30.0, 20.0, 10.0]), torch.eye(3))
    first, *_ = drawings.color_axes(Dataset("made up", "train", images, torch.zeros(4).long(), ("a",), ""), color).axes
    mean = images.double().mean((0, 2, 3)).tolist()
    assert first.get_xlabel() == "R, pixel values"
    assert list(first.lines[0].get_xdata()) == pytest.approx([mean[0] - 60, mean[0] + 60])
    assert list(first.lines[0].get_ydata()) == pytest.approx([mean[1], mean[1]])
    assert list(first.lines[2].get_xdata()) == pytest.approx([mean[0], mean[0]])


def test_every_kernel_is_a_mark_at_its_colour_and_direction():
    weight = torch.randn(8, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    figure = drawings.kernels({"one": weight, "two": -weight})
    first, second = figure.axes
    assert [len(line.get_xdata()) for line in first.lines] == [4, 4]
    assert first.lines[0].get_xdata().tolist() == color_share(weight)[:4].tolist()
    assert second.lines[1].get_ydata().tolist() == pytest.approx(orientation(weight)[4:].tolist())
    assert {line.get_marker() for line in first.lines} == {"s", "o"}
    figure.savefig(io.BytesIO())


def test_the_towers_of_every_network_are_marked_beside_random_halves_of_theirs():
    found = [{"color_difference": 0.07, "color_difference_chance": 0.1}, {"color_difference": 0.2} | {
        "color_difference_chance": 0.11, "top1_error": 0.3}]  # fmt: skip
    (ax,) = drawings.tower_colors({"one": found[:1], "two": found}).axes
    marks = [(line.get_marker(), list(line.get_xdata()), list(line.get_ydata())) for line in ax.lines]
    assert marks == [
        ("o", pytest.approx([7.0]), [0]),
        ("s", pytest.approx([10.0]), [0]),
        ("o", pytest.approx([7.0, 20.0]), [1, 1]),
        ("s", pytest.approx([10.0, 11.0]), [1, 1]),
    ]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["one", "two"]
    assert [text.get_text() for text in ax.figure.legends[0].get_texts()] == ["the two towers", "random halves, mean"]


def test_an_effect_without_a_number_of_the_paper_has_no_mark_for_it_and_every_pair_has_one():
    result = Verdict(
        claim=CLAIMS["dropout"],
        outcome="open",
        seeds=(0, 1),
        estimate=0.02,
        low=-0.1,
        high=0.14,
        values=(0.01, 0.03),
    )
    figure = figures.effects({"dropout": result})
    marks = {line.get_marker(): list(line.get_xdata()) for line in figure.axes[0].lines}
    assert "D" not in marks
    assert marks["|"] == pytest.approx([1.0, 3.0])
    assert "no-dropout minus run145, points" in figure.axes[0].get_xlabel()
    two = {"lrn": replace(result, claim=CLAIMS["lrn"]), "colour": replace(result, claim=CLAIMS["colour"])}
    mixed = figures.effects(two)
    assert "without minus with" in mixed.axes[0].get_xlabel()
    assert "this minus that" in figures.effects(two, sides=("this", "that")).axes[0].get_xlabel()
    assert sum(line.get_marker() == "D" for line in mixed.axes[0].lines) == 2
