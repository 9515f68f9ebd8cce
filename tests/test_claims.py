from dataclasses import replace
from math import inf

import pytest

from alexnet_repro import CLAIMS, claims, paper
from alexnet_repro.claims import MIN_SEEDS, RATE_SEARCHES, STUDIES, decide
from alexnet_repro.config import Norm
from alexnet_repro.evidence import fastest, load_evidence

RELU = CLAIMS["relu"]
LRN = CLAIMS["lrn-cifar"]


def test_the_papers_numbers_are_the_papers():
    assert RELU.paper_value == paper.RELU_SPEEDUP == 6
    assert paper.RELU_TARGET_ERROR == 0.25
    assert LRN.paper_value == pytest.approx(0.13 - 0.11)
    assert (RELU.section, LRN.section) == ("3.1", "3.3")
    assert (RELU.paper_summary(), LRN.paper_summary()) == ("6x", "2 points")


@pytest.mark.parametrize(
    ("pairs", "low", "high", "outcome"),
    [
        (MIN_SEEDS, 1.8, 2.2, "not reproduced"),
        (MIN_SEEDS, 5.0, 7.0, "reproduced"),
        (MIN_SEEDS, 1.1, 6.5, "reproduced"),
        (MIN_SEEDS, 7.0, 9.0, "reproduced"),
        (MIN_SEEDS, 0.9, 7.0, "inconclusive"),
        (MIN_SEEDS, 5.0, inf, "inconclusive"),
        (MIN_SEEDS, 6.1, inf, "reproduced"),
        (MIN_SEEDS - 1, 5.0, 7.0, "inconclusive"),
        (MIN_SEEDS - 1, 1.8, 2.2, "inconclusive"),
        (MIN_SEEDS, None, None, "inconclusive"),
    ],
)
def test_the_rule_for_a_ratio(pairs, low, high, outcome):
    assert decide(RELU, pairs, low, high) == outcome


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [
        (0.005, 0.015, "not reproduced"),
        (0.005, 0.025, "reproduced"),
        (-0.01, 0.03, "inconclusive"),
        (-0.02, -0.01, "not reproduced"),
    ],
)
def test_the_rule_for_a_difference(low, high, outcome):
    assert decide(LRN, MIN_SEEDS, low, high) == outcome


def test_no_verdict_needs_fewer_than_five_seeds():
    assert MIN_SEEDS == 5
    assert all(claim.protocol("paper").seeds >= MIN_SEEDS for claim in CLAIMS.values())


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_the_arms_of_a_claim_differ_in_what_is_claimed_and_in_the_rate_at_most(claim):
    for scale in claims.SCALES:
        protocol = claim.protocol(scale)
        before, after = protocol.arms[claim.baseline], protocol.arms[claim.treatment]
        assert list(protocol.arms)[:2] == [claim.baseline, claim.treatment]
        assert before.input == after.input
        assert replace(before.train, lr=1.0) == replace(after.train, lr=1.0)
        if claim.metric == "epochs_to_target":
            assert replace(before.net, activation="relu") == after.net
            assert before.net.activation == "tanh"
        else:
            assert before.train == after.train
            assert replace(after.net.without(Norm), name=before.net.name) == before.net


@pytest.mark.parametrize("scale", ["laptop", "paper"])
def test_the_2012_protocol_is_the_layer_files(scale):
    for arm in RELU.protocol(scale).arms.values():
        assert (arm.net.name, arm.net.initialization) == ("cifar-19pct", "gaussian")
        assert (arm.input.pixels, arm.input.batch_size, arm.input.crop) == ("minus-mean-image", 128, None)
        assert (arm.train.momentum, arm.train.bias_lr_factor) == (0.9, 2.0)
        assert not arm.train.weight_decay  # "no regularization of any kind"


def test_the_normalization_pair_is_trained_by_the_13pct_nets_recipe():
    for arm in LRN.protocol("paper").arms.values():
        assert (arm.input.crop, arm.input.pixels, arm.train.lr, arm.train.bias_lr_factor) == (
            24,
            "minus-mean-image",
            0.001,
            2.0,
        )
        assert arm.train.weight_decay == {"local3": 0.004, "local4": 0.004, "fc10": 0.004}


@pytest.mark.parametrize("claim", RATE_SEARCHES)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_rates_compared_are_those_the_search_found(claim, activation):
    search = RATE_SEARCHES[claim]
    runs = [r for r in load_evidence(search.id, "paper") if r.config["net"]["activation"] == activation]
    assert len(runs) == len(search.protocol("paper").arms) / 2
    found = fastest(runs).config["train"]["lr"]
    assert {CLAIMS[claim].protocol(scale).arms[activation].train.lr for scale in ("laptop", "paper")} == {found}


def test_the_search_s_seed_is_none_of_the_seeds_compared():
    seeds = {record.seed for claim in CLAIMS for record in load_evidence(claim, "paper")}
    assert claims.SEARCH_SEED not in seeds
    for search in RATE_SEARCHES.values():
        assert {record.seed for record in load_evidence(search.id, "paper")} == {claims.SEARCH_SEED}


def test_every_study_has_an_id_of_its_own_and_smoke_runs_on_the_embedded_pictures():
    assert all(study.id == name for name, study in STUDIES.items())
    assert {claim.protocol("smoke").dataset for claim in CLAIMS.values()} == {"photos"}
    assert {claim.protocol("paper").dataset for claim in CLAIMS.values()} == {"cifar10"}


def test_an_unknown_scale_is_refused_by_name():
    with pytest.raises(ValueError, match="scale of relu must be one of smoke, laptop, paper, not 'huge'"):
        RELU.protocol("huge")


def test_slopes_are_measured_on_the_beginnings_of_the_claims_own_runs():
    for protocol, claim in (("2012", "relu"), ("modern", "relu-modern")):
        for neuron, arm in CLAIMS[claim].protocol("paper").arms.items():
            start = claims.SLOPES.protocol("paper").arms[f"{protocol}-{neuron}"]
            assert replace(start, train=replace(start.train, epochs=arm.train.epochs)) == arm


def test_the_scaled_protocol_changes_the_pixels_and_the_first_weights_and_nothing_else():
    for neuron, plain in CLAIMS["relu"].protocol("paper").arms.items():
        scaled = CLAIMS["relu-scaled"].protocol("paper").arms[neuron]
        assert scaled.input == replace(plain.input, pixels="standardized")
        assert replace(scaled.train, lr=1.0) == replace(plain.train, lr=1.0)
        first, *others = scaled.net.layers
        assert others == list(plain.net.layers[1:])
        assert first == replace(plain.net.layers[0], std=plain.net.layers[0].std * claims.PIXEL_DEVIATION)
