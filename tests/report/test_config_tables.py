import math

from alexnet_repro import AlexNet
from alexnet_repro.report import config_tables


def test_the_table_of_differences_names_what_differs_and_nothing_else():
    table = config_tables.config_table({"pair": "lrn-cifar"}, scale="paper")
    assert [row[0] for row in table.rows] == ["net.name", "norm1", "norm2"]
    fields = {
        row[0] for row in config_tables.config_table({"2012": "relu", "modern": "relu-modern"}, scale="paper").rows
    }
    assert {"net.activation", "net.initialization", "input.pixels", "train.lr"} <= fields
    assert "train.momentum" not in fields


def test_initial_weights_are_in_the_table_of_differences_where_they_differ_and_are_drawn():
    table = config_tables.config_table({"2012": "relu", "scaled": "relu-scaled"}, scale="paper")
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["conv1"] == ["32 channels, 5x5, std 0.0001, bias 0", "32 channels, 5x5, std 0.0063, bias 0"]
    assert rows["train.lr"] == ["tanh: 0.01; relu: 0.003", "0.03"]
    assert "conv2" not in rows
    table = config_tables.config_table({"2012": "relu", "modern": "relu-modern"}, scale="paper")
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["fc10"] == ["std 0.01, bias 0", "PyTorch's initialization"]


def test_variants_are_told_apart_by_what_differs():
    table = config_tables.variant_table("paper", "run145")
    rows = {row[0]: row[1:] for row in table.rows}
    assert set(rows) == {"first stage", "second stage", "norm1", "norm2", "cnorm2", "conv3", "conv4", "conv5"}
    assert rows["first stage"] == ["conv1, relu1, norm1, pool1", "conv1, norm1, pool1, relu1"]
    assert rows["norm1"] == ["n 5, alpha 0.0001, k 2, own tower", "n 5, alpha 0.0001/n, k 2, own tower"]
    assert rows["cnorm2"][0] == "-"
    assert rows["conv4"][1] == "384 channels, 3x3, std 0.03, bias 1, own tower"
    rows = {row[0]: row[1:] for row in config_tables.variant_table("paper", "torchvision").rows}
    assert rows["conv1"] == [
        "96 channels, 11x11, stride 4, padding (0, 3), std 0.01, bias 0",
        "64 channels, 11x11, stride 4, padding 2, PyTorch's initialization",
    ]
    assert rows["conv2"][1] == "192 channels, 5x5, PyTorch's initialization"


def test_counts_of_alexnet_agree_with_the_paper_but_for_one_slip_and_its_rounding():
    rows = {row[0]: row[1:] for row in config_tables.count_table(AlexNet()).rows}
    differing = {name for name, (paper, ours) in rows.items() if paper != ours}
    assert differing == {"neurons of conv1", "neurons", "parameters"}
    assert rows["neurons of conv1"] == ["253,440", "290,400"]
    assert rows["neurons"] == ["650,000", "659,272"]
    assert rows["parameters"] == ["60,000,000", "60,965,224"]


def test_losses_that_cease_to_be_numbers_are_dated():
    table = config_tables.loss_table({"good": [3.0] * 5 + [2.0] * 10, "bad": [8.6e4, math.inf, math.nan]})
    assert table.rows == [["good", "3", "2.00", "-"], ["bad", "8.6e+04", "-", "2"]]
