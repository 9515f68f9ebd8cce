from dataclasses import replace
from datetime import datetime
from math import inf
from pathlib import Path
from typing import get_args

import pytest
from repository import git, has_history

from alexnet_repro import CLAIMS, load_evidence, paper, verdict
from alexnet_repro.claims.claim import LEVEL_MARGIN, LOOKS, RULE_SINCE, Outcome, decide
from alexnet_repro.claims.ledger import study_of
from alexnet_repro.claims.studies import ALEXNET, PILOT
from alexnet_repro.claims.studies import LRN as LRN_STUDY
from alexnet_repro.data.imagenet import IMAGENET_COUNTS
from alexnet_repro.support.values import as_json, digest

ROOT = Path(__file__).resolve().parents[2]
RELU = CLAIMS["relu"]
LRN = CLAIMS["lrn-cifar"]


def test_the_papers_numbers_are_the_papers():
    assert RELU.paper_value == paper.RELU_SPEEDUP == 6
    assert paper.RELU_TARGET_ERROR == 0.25
    assert LRN.paper_value == pytest.approx(0.13 - 0.11)
    assert (RELU.section, LRN.section) == ("3.1", "3.3")
    assert (RELU.paper_summary(), LRN.paper_summary()) == ("6x", "2 points")
    assert (CLAIMS["colour"].paper_summary(), CLAIMS["headline-2012"].paper_summary()) == ("1 point", "40.7 %")
    assert CLAIMS["dropout"].paper_summary() == "no number"
    printed = {"colour": 0.01, "dropout-iterations": 2.0, "depth": 0.02, "ensemble-5": 0.164, "ensemble-7": 0.153}
    assert {name: CLAIMS[name].paper_value for name in printed} == printed
    assert paper.IMAGENET_TRAINING_IMAGES == IMAGENET_COUNTS["train"] == 1_281_167


def test_the_logged_errors_of_run_145_are_the_printed_ones():
    logged = {views: tuple(round(error, 3) for error in errors) for views, errors in paper.RUN145_ERRORS_2010.items()}
    assert logged == paper.ERRORS_2010 == {"centre": (0.390, 0.183), "ten": (0.375, 0.170)}
    assert tuple(round(error, 3) for error in paper.RUN145_ERRORS_2012) == paper.ERRORS_2012


def test_the_logged_top_5_errors_of_the_other_runs_are_those_of_the_layer_files():
    runs = (paper.RUN147_ERRORS_2012, paper.RUN148_ERRORS_2012, paper.RUN150_ERRORS_2012, paper.RUN145_HALF_ERRORS_2010)
    assert [top5 for _, top5 in runs] == [0.185100, 0.193620, 0.193300, 0.182287]
    assert paper.RUN145_ERRORS_2012[1] == 0.182100


def test_the_gains_in_the_logs_are_the_printed_ones():
    """Of normalization and overlapping pools on ILSVRC-2012, of two towers on ILSVRC-2010, top-1 and top-5."""
    pairs = {
        paper.LRN_GAIN: (paper.RUN148_ERRORS_2012, paper.RUN145_ERRORS_2012),
        paper.POOLING_GAIN: (paper.RUN147_ERRORS_2012, paper.RUN145_ERRORS_2012),
        paper.TWO_GPUS_GAIN: (paper.RUN145_HALF_ERRORS_2010, paper.RUN145_ERRORS_2010["ten"]),
    }
    for printed, (without, with_) in pairs.items():
        assert tuple(round(a - b, 3) for a, b in zip(without, with_, strict=True)) == printed


def test_the_printed_accuracies_are_those_of_ten_views_and_of_several_networks():
    assert [round(1 - error, 3) for error in paper.ERRORS_2012] == [0.593, 0.818]
    assert {name: round(1 - error, 3) for name, error in paper.ENSEMBLE_TOP5.items()} == {"five": 0.836, "seven": 0.847}


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


def test_run_150_is_in_the_log_and_not_in_the_paper():
    claim = CLAIMS["towers-that-talk"]
    assert 100 * claim.original_value == pytest.approx(41.8280 - 40.6640)
    assert claim.paper_value is None


def test_where_nothing_survives_there_is_no_number():
    for claim in CLAIMS.values():
        assert (claim.original_value is None) == (
            not any(n in claim.original_run for n in ("145", "147", "148", "150"))
        )


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
    assert set(PILOT.protocol("laptop").arms) <= set(ALEXNET.protocol("laptop").arms)
    used = {arm for claim in CLAIMS.values() if claim.study is ALEXNET for arm in claim.arms}
    assert used == set(ALEXNET.protocol("paper").arms)
    assert {arm for claim in CLAIMS.values() if claim.study is LRN_STUDY for arm in claim.arms} == set(
        LRN_STUDY.protocol("paper").arms
    )


def test_a_claim_is_of_a_study_and_a_study_of_itself():
    assert study_of("dropout") == (ALEXNET, ("no-dropout", "run145"))
    assert study_of("alexnet") == (ALEXNET, None)
    assert study_of("ensemble-5")[0] is None
    with pytest.raises(ValueError, match=r"claim must be one of relu, .*alexnet, alexnet-pilot, full-run, not 'gelu'"):
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
    assert "--seeds 10 " in CLAIMS["dropout"].command(pairs=7)
    tried = replace(CLAIMS["relu"].study, protocols={"smoke": CLAIMS["relu"].protocol("smoke")})
    assert replace(CLAIMS["relu"], study=tried).command() == "-"  # smoke only shows that the code runs
    assert CLAIMS["dropout"].command(pairs=10) == CLAIMS["dropout"].command("laptop", 10) == "-"  # it would run nothing


# --- the rule ------------------------------------------------------------------------------------------------------

FIRST = LOOKS[0]


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [
        (0.001, 0.002, "reproduced"),
        (-0.001, 0.002, "open"),
        (-0.002, -0.001, "opposite"),
        (0.0, 0.002, "open"),
        (-0.002, 0.0, "open"),
    ],
)
def test_the_rule_where_the_paper_only_says_that_there_is_an_effect(low, high, outcome):
    assert decide(CLAIMS["dropout"], FIRST, low, high) == outcome


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [
        (0.38, 0.40, "reproduced"),
        (0.40, 0.411, "reproduced"),
        (0.40, 0.42, "open"),
        (0.413, 0.42, "opposite"),
    ],
)
def test_the_rule_for_a_level(low, high, outcome):
    assert LEVEL_MARGIN == 0.005
    assert decide(CLAIMS["headline-2012"], FIRST, low, high) == outcome


GRID = {  # ends of an interval in units of the paper's effect -> the verdict, by hand
    (-3, -2): "opposite", (-3, -0.1): "opposite",
    (-3, 0): "no effect found", (-3, 0.5): "no effect found", (-3, 1): "open", (-3, 2): "open",
    (0, 0.5): "no effect found", (0, 1): "open", (0, 2): "open",
    (0.1, 0.5): "smaller", (0.1, 0.99): "smaller",
    (0.1, 1): "reproduced", (0.1, 2): "reproduced", (0.9, 1.1): "reproduced", (1, 1): "reproduced",
    (2, 3): "reproduced",
    (0.1, inf): "open", (1, inf): "open", (1.1, inf): "reproduced", (-1, inf): "open",
}  # fmt: skip


@pytest.mark.parametrize(("ends", "outcome"), GRID.items(), ids=str)
def test_the_rule_on_a_grid_of_intervals(ends, outcome):
    gain = LRN.paper_value
    low, high = (end * gain for end in ends)
    assert decide(LRN, FIRST, low, high) == outcome
    low, high = (1 + end * (RELU.paper_value - 1) for end in ends)  # of a ratio, no effect is 1
    assert decide(RELU, FIRST, low, high) == outcome


@pytest.mark.parametrize(("low", "high"), GRID)
def test_no_verdict_is_given_before_the_first_look(low, high):
    assert decide(LRN, FIRST - 1, low, high) == "open"
    assert decide(LRN, FIRST, None, None) == "open"


def test_looks_are_planned_and_every_real_protocol_has_enough_seeds_for_the_first():
    assert LOOKS == (5, 10)
    assert all(claim.protocol("paper").seeds >= FIRST for claim in CLAIMS.values() if claim.study)


def test_the_scoreboard_says_since_when_the_rule_stands_and_names_every_verdict():
    page = (ROOT / "book" / "scoreboard.md").read_text(encoding="utf-8")
    assert f"has applied since {RULE_SINCE}" in page
    assert all(f"*{outcome}*" in page for outcome in get_args(Outcome) if outcome != "not run")


# --- claims are older than what they judge --------------------------------------------------------------------------


needs_history = pytest.mark.skipif(not has_history(), reason="not in its repository, or a shallow clone of it")


def test_a_claim_with_records_of_one_arm_goes_on_at_their_scale():
    claim = CLAIMS["lrn-cifar-printed"]
    baseline = [record for record in load_evidence("lrn-cifar", "paper") if record.arm == "without"]
    result = verdict(claim, baseline)
    assert (result.scale, result.pairs, result.outcome) == ("paper", 0, "not run")
    assert "--scale paper --seeds 5 " in claim.command(result.scale, result.pairs)


# What decides each claim, in 12 digits. A claim that is changed gets the date and commit of the change in ``_FIXED``,
# so that its earlier runs are exploratory, and only then its new digits here.
DECIDED_BY = {
    "relu": "1f4208a42734",
    "relu-local": "61dc41491156",
    "relu-scaled": "b4bb553c9acc",
    "relu-modern": "e04c73e47484",
    "two-gpus": "ca710e2a05bf",
    "towers-that-talk": "1472ed983f24",
    "one-wide-tower": "9be0a0b2ca94",
    "lrn-cifar": "b753f80ceb8e",
    "lrn-cifar-printed": "9ad322b44b70",
    "lrn-cifar-published": "774576742569",
    "lrn": "8f06025ddd0c",
    "lrn-two": "43394401d765",
    "lrn-printed": "ab3fea71eb4b",
    "lrn-k-1": "262354f53f60",
    "pooling": "65be1f542168",
    "pooling-overfitting": "56bcc2d1da1f",
    "crops": "40bbd1299baa",
    "crops-error": "d00d703d5368",
    "colour": "79efe9ee99f9",
    "colour-printed": "d89915be5b3a",
    "colour-lighting": "e36e4276d89d",
    "ten-crop": "fb3b1bd422f0",
    "dropout": "05523970eb9f",
    "dropout-error": "5ce7df308c19",
    "dropout-iterations": "2158bd0af4c9",
    "weight-decay": "234e81abc99b",
    "biases": "39bff3d94d8c",
    "specialization": "b6b41aaaa745",
    "depth": "d050ca3e7c96",
    "headline-2010": "124851bba164",
    "headline-2012": "f63c19beef0f",
    "ensemble-5": "fbae89dc0a25",
    "ensemble-7": "956896ff0a24",
}


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_what_decides_a_claim_is_not_changed_after_it_was_fixed(claim):
    names = ("baseline", "treatment", "effect", "paper_value", "target", "scales", "fixed")
    decided_by = {"study": claim.study and claim.study.id} | {name: as_json(getattr(claim, name)) for name in names}
    assert digest(decided_by)[:12] == DECIDED_BY[claim.id]


@needs_history
@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_a_claim_stands_in_the_ledger_since_it_says(claim):
    date, revision = claim.fixed.date, claim.fixed.revision
    assert datetime.fromisoformat(git("log", "-1", "--format=%cI", revision)) == datetime.fromisoformat(date)
    assert f'"{claim.id}"' in git("grep", "-h", "-F", f'"{claim.id}"', revision, "--", "alexnet_repro")
    assert git("merge-base", revision, "HEAD") == revision


@needs_history
@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_a_verdict_rests_on_no_record_that_is_older_than_the_claim(claim):
    scales = [] if claim.study is None else claim.study.protocols
    for records in (load_evidence(claim, scale) for scale in scales):
        if verdict(claim, records).outcome not in ("not run", "open", "exploratory"):
            for revision in {record.environment["revision"] for record in records}:
                assert git("merge-base", claim.fixed.revision, revision) == claim.fixed.revision, revision


def test_an_unknown_scale_is_refused_by_name():
    with pytest.raises(ValueError, match="scale of relu must be one of smoke, laptop, paper, not 'huge'"):
        RELU.protocol("huge")
