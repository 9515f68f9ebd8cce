from math import inf

import pytest

from alexnet_repro import CLAIMS, paper
from alexnet_repro.claims.claim import LEVEL_MARGIN, MIN_SEEDS, decide
from alexnet_repro.claims.ledger import study_of
from alexnet_repro.claims.studies import ALEXNET
from alexnet_repro.claims.studies import LRN as LRN_STUDY

RELU = CLAIMS["relu"]
LRN = CLAIMS["lrn-cifar"]


def test_the_papers_numbers_are_the_papers():
    assert RELU.paper_value == paper.RELU_SPEEDUP == 6
    assert paper.RELU_TARGET_ERROR == 0.25
    assert LRN.paper_value == pytest.approx(0.13 - 0.11)
    assert (RELU.section, LRN.section) == ("3.1", "3.3")
    assert (RELU.paper_summary(), LRN.paper_summary()) == ("6x", "2 points")
    assert (CLAIMS["colour"].paper_summary(), CLAIMS["headline-2012"].paper_summary()) == ("1 point", "40.7 %")
    assert CLAIMS["dropout"].paper_summary() == "an effect"


@pytest.mark.parametrize(
    ("claim", "printed", "logged"),  # errors: facts of the layer files of 2012
    [
        ("lrn", 1.4, 42.0340 - 40.6640),
        ("pooling", 0.4, 41.0580 - 40.6640),
        ("two-gpus", 1.7, 39.1680 - 37.4727),
        ("ten-crop", 1.5, 39.0247 - 37.4727),
        ("headline-2010", 37.5, 37.4727),
        ("headline-2012", 40.7, 40.6640),
    ],
)
def test_the_papers_differences_are_those_of_the_numbered_runs(claim, printed, logged):
    claim = CLAIMS[claim]
    assert 100 * claim.paper_value == pytest.approx(printed)
    assert 100 * claim.original_value == pytest.approx(logged)
    assert abs(claim.paper_value - claim.original_value) < 0.0006  # they agree to the printed digit
    assert any(number in claim.original_run for number in ("145", "147", "148"))


def test_where_nothing_survives_there_is_no_number():
    for claim in CLAIMS.values():
        assert (claim.original_value is None) == (not any(n in claim.original_run for n in ("145", "147", "148")))


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_a_claim_compares_arms_of_its_study_that_differ_in_one_thing(claim):
    if claim.study is None:
        assert claim.scales == ("paper",)
        return
    for scale in claim.study.protocols:
        arms = claim.protocol(scale).arms
        assert tuple(arms) == claim.arms
        if len(arms) == 1:
            assert claim.effect == "level" or claim.baseline.metric != claim.treatment.metric
            continue
        before, after = (arms[arm] for arm in claim.arms)
        assert claim.baseline.metric == claim.treatment.metric
        differing = [field for field in ("net", "input", "train") if getattr(before, field) != getattr(after, field)]
        if claim.id == "lrn-cifar-published":
            assert differing == ["net", "input", "train"]  # the reason for the clean pair
        elif claim.id == "depth":
            assert differing == ["net", "train"]  # what is not there does not decay
        elif claim.study.id.startswith("relu"):
            assert set(differing) <= {"net", "train"}  # the rates are chosen for each
        else:
            assert len(differing) == 1


def test_every_part_is_compared_in_the_same_study_and_every_arm_is_used():
    used = {arm for claim in CLAIMS.values() if claim.study is ALEXNET for arm in claim.arms}
    assert used == set(ALEXNET.protocol("paper").arms)
    assert {arm for claim in CLAIMS.values() if claim.study is LRN_STUDY for arm in claim.arms} == set(
        LRN_STUDY.protocol("paper").arms
    )


def test_a_claim_is_of_a_study_and_a_study_of_itself():
    assert study_of("dropout") == (ALEXNET, ("no-dropout", "run145"))
    assert study_of("alexnet") == (ALEXNET, None)
    assert study_of("ensemble-5")[0] is None
    with pytest.raises(ValueError, match=r"claim must be one of relu, .*alexnet, full-run, not 'gelu'"):
        study_of("gelu")


def test_a_claim_without_runs_says_so():
    with pytest.raises(ValueError, match="ensemble-5 has no runs here"):
        CLAIMS["ensemble-5"].protocol("paper")
    assert CLAIMS["ensemble-5"].command() == "-"


def test_the_command_that_goes_on_takes_the_scale_that_can_tell():
    assert CLAIMS["dropout"].command().startswith("alexnet-repro claims run dropout --scale laptop --seeds 5")
    assert "--scale paper" in CLAIMS["headline-2012"].command()
    assert "--scale paper" in CLAIMS["relu"].command("paper")
    assert "--seeds 5 " in CLAIMS["dropout"].command(pairs=4)
    assert "--seeds 10 " in CLAIMS["dropout"].command(pairs=5)


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [(0.001, 0.002, "reproduced"), (-0.001, 0.002, "inconclusive"), (-0.002, -0.001, "not reproduced")],
)
def test_the_rule_where_the_paper_only_says_that_there_is_an_effect(low, high, outcome):
    assert decide(CLAIMS["dropout"], MIN_SEEDS, low, high) == outcome
    assert decide(CLAIMS["dropout"], MIN_SEEDS - 1, low, high) == "inconclusive"


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [
        (0.38, 0.40, "reproduced"),
        (0.40, 0.411, "reproduced"),
        (0.40, 0.42, "inconclusive"),
        (0.413, 0.42, "not reproduced"),
    ],
)
def test_the_rule_for_a_level(low, high, outcome):
    assert LEVEL_MARGIN == 0.005
    assert decide(CLAIMS["headline-2012"], MIN_SEEDS, low, high) == outcome


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
    assert all(claim.protocol("paper").seeds >= MIN_SEEDS for claim in CLAIMS.values() if claim.study)


def test_an_unknown_scale_is_refused_by_name():
    with pytest.raises(ValueError, match="scale of relu must be one of smoke, laptop, paper, not 'huge'"):
        RELU.protocol("huge")
