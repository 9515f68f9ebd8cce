import math

import pytest

from alexnet_repro import CLAIMS, AlexNet, NetConfig, tables

RUN145 = NetConfig.preset("run145")


def test_a_run_table_has_times_only_where_a_run_had_a_target(make_record):
    timed = make_record("relu", 0, [0.5, 0.241], 1.9, top1_error=0.305)
    table = tables.run_table({"2012": [timed], "modern": [make_record("tanh", 1, [0.5])]})
    assert table.header[-1] == "epochs to target"
    assert table.rows == [
        ("2012", "relu", "0", "2", "24.1", "30.5", "1.9"),
        ("modern", "tanh", "1", "1", "50.0", "-", "-"),
    ]
    timed.final.pop("epochs_to_target")
    assert "epochs to target" not in tables.run_table({"2012": [timed]}).header


def test_the_table_of_differences_names_what_differs_and_nothing_else():
    table = tables.config_table({"pair": "lrn-cifar"}, scale="paper")
    assert [row[0] for row in table.rows] == ["net.name", "norm1", "norm2"]
    fields = {row[0] for row in tables.config_table({"2012": "relu", "modern": "relu-modern"}, scale="paper").rows}
    assert {"net.activation", "net.initialization", "input.pixels", "train.lr"} <= fields
    assert "train.momentum" not in fields


def test_initial_weights_are_in_the_table_of_differences_where_they_differ_and_are_drawn():
    table = tables.config_table({"2012": "relu", "scaled": "relu-scaled"}, scale="paper")
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["conv1"] == ["32 maps, std 0.0001, bias 0", "32 maps, std 0.0063, bias 0"]
    assert rows["train.lr"] == ["tanh: 0.01; relu: 0.003", "0.03"]
    assert "conv2" not in rows
    table = tables.config_table({"2012": "relu", "modern": "relu-modern"}, scale="paper")
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["fc10"] == ["std 0.01, bias 0, reads all", "PyTorch's initialization, reads all"]


def test_every_recorded_rate_is_in_the_table_and_one_a_neuron_is_chosen():
    table = tables.rate_table({"2012": "relu", "modern": "relu-modern"})
    assert len(table.rows) == 16
    assert [row[-1] for row in table.rows].count("chosen") == 4


JUDGED = tables.judged(*CLAIMS)
BEGIN, END = tables.MARKERS["claims"]
PAGE = f"# Title\n\n{BEGIN}\nold\n{END}\n\nRest.\n"


def test_the_table_of_claims_is_replaced_and_nothing_else():
    page = tables.with_tables(PAGE, "book/", JUDGED)
    assert page.startswith("# Title\n")
    assert page.endswith("\nRest.\n")
    assert "old" not in page
    assert "](book/04_lrn.ipynb)" in page
    assert tables.with_tables(page, "book/", JUDGED) == page


def test_every_claim_is_in_the_table_at_a_glance_and_counted_once():
    table = tables.glance_table(JUDGED, "book/")
    whole = tables.verdict_table(*CLAIMS)
    shorter = [(row[1], row[3], row[-1].removesuffix(" (laptop)")) for row in table.rows]
    assert shorter == [(row[2], row[4], row[-1]) for row in whole.rows]
    verdicts = {row[-1]: scale for row, (_, scale) in zip(table.rows, JUDGED, strict=True)}
    assert (verdicts["reproduced"], verdicts["reproduced (laptop)"]) == ("paper", "laptop")
    counts = tables.verdict_counts(JUDGED)
    assert counts.header == ("reproduced", "not reproduced", "inconclusive", "not run")
    assert sum(int(count) for count in counts.rows[0]) == len(CLAIMS)


def test_a_claim_that_differs_from_the_one_before_in_its_last_words_shows_these_at_a_glance():
    first, second, *_, last = [row[0] for row in tables.glance_table(JUDGED, "").rows]
    assert first.startswith("[ReLU reaches 25 % training error")
    assert second == "[… 2012 protocol, the other candidate](03_relu.ipynb)"
    assert last.startswith("[Seven networks")


def test_a_page_without_the_markers_is_refused():
    with pytest.raises(ValueError, match="expected the lines"):
        tables.with_tables("# Title\n", "", JUDGED)


def test_the_evidence_table_tells_arms_apart_only_where_they_differ(make_record):
    runs = [make_record("tanh", 0, [0.5]), make_record("tanh", 4, [0.5]), make_record("relu", 0, [0.5])]
    ((title, scale, data, *_, hardware, seeds),) = tables.evidence_table({"2012": runs, "modern": []}).rows
    assert (title, scale, data, hardware) == ("2012", "smoke", "photos: made up", "abacus, 1 thread")
    assert seeds == "tanh: 0, 4; relu: 0"


def test_slopes_are_averaged_over_seeds(make_record):
    runs = [make_record("tanh", seed, [0.5], slope_act1=slope) for seed, slope in enumerate((0.1, 0.3))]
    table = tables.slope_table(runs)
    assert table.header == ["arm", "seeds", "epochs", "act1, %"]
    assert table.rows == [["tanh", "2", "1", "20.0"]]
    deeper = make_record("relu", 0, [0.5], slope_act1=0.5, slope_act2=0.25)
    table = tables.slope_table([*runs, deeper])
    assert table.header[-2:] == ["act1, %", "act2, %"]
    assert [row[-2:] for row in table.rows] == [["20.0", "-"], ["50.0", "25.0"]]


def test_readings_are_told_apart_by_what_differs():
    table = tables.reading_table("paper", "run145")
    rows = {row[0]: row[1:] for row in table.rows}
    assert set(rows) == {"first stage", "second stage", "norm1", "norm2", "cnorm2", "conv3", "conv4", "conv5"}
    assert rows["first stage"] == ["conv1, relu1, norm1, pool1", "conv1, norm1, pool1, relu1"]
    assert rows["norm1"] == ["n 5, alpha 0.0001, k 2, own tower", "n 5, alpha 0.0001/n, k 2, own tower"]
    assert rows["cnorm2"][0] == "-"


def test_counts_of_alexnet_agree_with_the_paper_but_for_one_slip_and_its_rounding():
    rows = {row[0]: row[1:] for row in tables.count_table(AlexNet()).rows}
    differing = {name for name, (paper, ours) in rows.items() if paper != ours}
    assert differing == {"neurons of conv1", "neurons", "parameters"}
    assert rows["neurons of conv1"] == ["253,440", "290,400"]
    assert rows["neurons"] == ["650,000", "659,272"]
    assert rows["parameters"] == ["60,000,000", "60,965,224"]


def test_losses_that_cease_to_be_numbers_are_dated():
    table = tables.loss_table({"good": [3.0] * 5 + [2.0] * 10, "bad": [8.6e4, math.inf, math.nan]})
    assert table.rows == [["good", "3", "2.00", "-"], ["bad", "8.6e+04", "-", "2"]]


def test_what_is_left_to_run_has_its_command_and_what_is_judged_is_not_there():
    begin, end = tables.MARKERS["remaining"]
    page = tables.with_tables(f"{begin}\n{end}\n", "", JUDGED)
    assert "`alexnet-repro claims run two-gpus --scale" in page or "two-gpus" not in page
    assert "| relu |" not in page
    with pytest.raises(ValueError, match="expected both"):
        tables.with_tables(begin, "", JUDGED)


def test_pairs_are_shown_seed_by_seed_with_what_they_could_find():
    rows = tables.pair_table("relu").rows
    assert [row[1] for row in rows] == ["0", "1", "2", "3", "4", "needed"]
    assert all(row[-1].endswith("x") for row in rows)


def test_a_repeated_run_is_compared_number_for_number(make_record):
    old = make_record("relu", 0, [0.5, 0.25], 1.5, top1_error=0.3)
    assert {row[-1] for row in tables.repeat_table([old], [old]).rows} == {"identical"}
    new = make_record("relu", 0, [0.5, 0.25 + 2**-54, 0.2], None, top1_error=0.31)
    new.epochs[0]["seconds"] = 17.0  # on another machine
    assert tables.repeat_table([old], [new]).rows == [
        ["relu", "0", "epochs", "2", "3", "from epoch 2 on"],
        ["relu", "0", "train_error", "0.25", "0.2", "-0.05"],
        ["relu", "0", "epochs_to_target", "1.5", "-", "-"],
        ["relu", "0", "top1_error", "0.3", "0.31", "+0.01"],
    ]


def test_the_costs_are_those_of_the_recipe_and_the_speeds_at_the_head():
    table = tables.cost_table()
    one, claim, *_ = ([float(cell.replace(",", "")) for cell in row[1:]] for row in table.rows)
    assert one[:2] == [1, 91 * 1_281_167]
    assert claim[:2] == [10, 910 * 1_281_167]
    assert one[2] == pytest.approx(one[1] * 3 * sum(cost.multiply_adds for cost in AlexNet(RUN145).costs()), rel=0.05)
    assert one[-2:] == pytest.approx([one[1] / 1_000 / 86_400, one[1] / 10_000 / 3_600], abs=0.1)
    assert claim[3] == pytest.approx(10 * one[3], rel=0.01)
