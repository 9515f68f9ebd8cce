import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from filed import save
from scipy import stats

from alexnet_repro import CLAIMS
from alexnet_repro.claims import records as of_records
from alexnet_repro.claims.claim import LEVEL, LOOKS, Claim, Fixed, Measurement
from alexnet_repro.claims.intervals import mean_interval, resolvable, spread_by_images
from alexnet_repro.claims.records import EVIDENCE_FOLDER, Evidence, load_evidence, problems
from alexnet_repro.claims.studies import STUDIES
from alexnet_repro.claims.verdict import Verdict, fastest, measured, verdict
from alexnet_repro.support.values import write_sealed
from alexnet_repro.training.record import EvidenceError, Record, epochs_to_target


def test_the_time_to_the_target_is_read_off_straight_lines():
    assert epochs_to_target([0.5, 0.3, 0.2], 0.25, chance=0.9) == pytest.approx(2.5)
    assert epochs_to_target([0.2], 0.25, chance=0.9) == pytest.approx(0.65 / 0.7)
    assert epochs_to_target([0.5, 0.25], 0.25, chance=0.9) == 2.0
    assert epochs_to_target([0.5, 0.3], 0.25, chance=0.9) is None
    assert epochs_to_target([0.5, 0.2, 0.6], 0.25, chance=0.9) == pytest.approx(1 + 0.25 / 0.3)
    assert epochs_to_target([], 0.25, chance=0.9) is None


def test_the_fastest_is_first_at_the_target_or_else_lowest(make_record):
    slow, quick = make_record("relu", 0, [0.2], 9.0), make_record("relu", 1, [0.24], 8.0)
    short, shorter = make_record("relu", 2, [0.4]), make_record("relu", 3, [0.3])
    diverged = replace(make_record("relu", 4, [0.9]), final={"train_error": None, "epochs_to_target": None})
    assert fastest([slow, shorter, quick, diverged]) is quick
    assert fastest([short, diverged, shorter]) is shorter


@pytest.mark.parametrize("values", [[1.0, 2.0], [0.3, -0.1, 0.4, 0.2, 0.9]])
def test_the_interval_is_scipys(values):
    mean, low, high = mean_interval(values)
    expected = stats.t.interval(LEVEL, len(values) - 1, loc=stats.tmean(values), scale=stats.sem(values))
    assert (low, high) == pytest.approx(expected)
    assert mean == pytest.approx(stats.tmean(values))


def test_one_value_has_no_interval():
    assert mean_interval([3.0]) == (3.0, None, None)


@pytest.fixture
def pairs(make_record):
    """Records of both arms, seed by seed, from times of tanh and of ReLU; None: not reached in 60 epochs."""

    def make(*times: tuple[float | None, float | None]) -> list[Record]:
        return [
            make_record(arm, seed, [0.5] * 60, time)
            for seed, pair in enumerate(times)
            for arm, time in zip(("tanh", "relu"), pair, strict=True)
        ]

    return make


def test_a_ratio_is_the_geometric_mean_over_pairs(tiny_claim, pairs):
    result = verdict(tiny_claim, pairs((8, 2), (18, 2)))
    assert result.estimate == pytest.approx(6.0)
    ratios = [math.log(4), math.log(9)]
    expected = stats.t.interval(LEVEL, 1, loc=stats.tmean(ratios), scale=stats.sem(ratios))
    assert (math.log(result.low), math.log(result.high)) == pytest.approx(expected)
    assert result.pairs == 2
    assert result.outcome == "open"  # too few


def test_seeds_without_a_partner_do_not_count(tiny_claim, pairs, make_record):
    records = [*pairs((8, 2)), make_record("tanh", 7, [0.5], 1000.0)]
    assert verdict(tiny_claim, records) == verdict(tiny_claim, pairs((8, 2)))


def test_a_baseline_that_never_arrived_gives_a_lower_bound(tiny_claim, pairs):
    result = verdict(tiny_claim, pairs((None, 10), (None, 10), (50, 10), (None, 10), (None, 10)))
    assert result.baseline.count(None) == 4
    assert result.estimate == pytest.approx((6**4 * 5) ** 0.2)
    assert result.high == math.inf
    assert result.summary().startswith("at least 5.8x [")
    assert result.summary().endswith(", ∞]")
    assert result.outcome == "open"  # above 1, but it may be less than six


def test_a_treatment_that_never_arrived_gives_an_upper_bound_which_can_refute(tiny_claim, pairs):
    result = verdict(tiny_claim, pairs((20, None), (20, 30), (20, 30), (20, 30), (20, 30)))
    assert result.treatment.count(None) == 1
    assert result.estimate == pytest.approx((20 / 60 * (20 / 30) ** 4) ** 0.2)
    assert result.low == 0
    assert result.summary().startswith("at most 0.6x [0.0, ")
    assert result.outcome == "opposite"
    assert verdict(tiny_claim, pairs(*[(100, None)] * 5)).outcome == "no effect found"  # at most 100 / 60


def test_where_neither_arrived_nothing_is_known(tiny_claim, pairs):
    result = verdict(tiny_claim, pairs((20, None), (None, 5), (20, 5), (20, 5), (20, 5)))
    assert (result.estimate, result.outcome, result.summary()) == (None, "open", "-")


def test_nothing_recorded_is_not_run(tiny_claim):
    result = verdict(tiny_claim, [])
    assert (result.outcome, result.summary(), result.pairs) == ("not run", "-", 0)


def test_a_difference_is_baseline_minus_treatment_in_points(tiny_claim, make_record):
    claim = replace(
        tiny_claim,
        baseline=Measurement("tanh", "top1_error"),
        treatment=Measurement("relu", "top1_error"),
        effect="difference",
        paper_value=0.02,
    )
    errors = [(0.13, 0.11), (0.14, 0.11), (0.13, 0.12), (0.15, 0.12), (0.14, 0.12)]
    records = [
        make_record(arm, seed, [0.1], top1_error=error)
        for seed, pair in enumerate(errors)
        for arm, error in zip(("tanh", "relu"), pair, strict=True)
    ]
    result = verdict(claim, records)
    low, high = stats.t.interval(LEVEL, 4, loc=0.022, scale=stats.sem([0.02, 0.03, 0.01, 0.03, 0.02]))
    assert result.estimate == pytest.approx(0.022)
    assert result.summary() == f"2.2 points [{100 * low:.1f}, {100 * high:.1f}]"
    assert result.outcome == "reproduced"


@pytest.mark.parametrize(
    ("low", "high", "summary"),
    [
        (0.001, 0.021, "1.1 points [0.1, 2.1]"),
        (0.0002, 0.0218, "1.10 points [0.02, 2.18]"),  # above no effect
        (-0.0002, 0.0222, "1.10 points [-0.02, 2.22]"),  # and below
        (0.0024, 0.0196, "1.10 points [0.24, 1.96]"),  # below the paper's 2 points
    ],
)
def test_an_interval_shows_on_which_side_of_no_effect_and_of_the_paper_s_number_it_ends(tiny_claim, low, high, summary):
    claim = replace(tiny_claim, effect="difference", paper_value=0.02)
    result = Verdict(claim=claim, outcome="open", seeds=(1, 2), estimate=0.011, low=low, high=high)
    assert result.summary() == summary


def test_a_record_comes_back_as_it_was_saved(make_record, tmp_path):
    record = make_record("relu", 3, [0.5, 0.2], 1.9, top1_error=0.3)
    save(record, tmp_path)
    assert load_evidence("tiny", "smoke", tmp_path) == [record]
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["relu-seed3.json"]


def test_records_come_by_arm_and_seed(make_record, tmp_path):
    for arm, seed in (("relu", 10), ("relu", 2), ("tanh", 10), ("tanh", 2)):
        save(make_record(arm, seed, [0.5]), tmp_path)
    found = [(record.arm, record.seed) for record in load_evidence("tiny", "smoke", tmp_path)]
    assert found == [("tanh", 2), ("tanh", 10), ("relu", 2), ("relu", 10)]


def test_a_digit_changed_by_hand_is_found(make_record, tmp_path):
    record = make_record("relu", 0, [0.5])
    save(record, tmp_path)
    path = tmp_path / record.path
    path.write_text(path.read_text().replace("0.5", "0.4"))
    with pytest.raises(EvidenceError, match="was changed after it was written"):
        load_evidence("tiny", "smoke", tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "3"])
def test_half_a_record_is_found(text, tmp_path):
    path = tmp_path / "tiny" / "smoke" / "relu-seed0.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(EvidenceError, match=r"relu-seed0\.json is not a JSON object with a checksum"):
        Record.load(path)


def test_what_is_no_record_is_found(tmp_path):
    write_sealed(tmp_path / "a.json", {"study": "tiny"})
    with pytest.raises(EvidenceError, match=r"a\.json is not a record"):
        Record.load(tmp_path / "a.json")


def test_a_record_of_another_configuration_is_stale_and_says_what_changed(make_record, tiny_claim, tmp_path):
    record = make_record("relu", 0, [0.5])
    config = json.loads(json.dumps(record.config))
    config["train"]["lr"] = 0.7
    save(replace(record, config=config), tmp_path)
    with pytest.raises(EvidenceError, match=r"stale: since it was recorded, train\.lr went from 0\.7 to 0\.05"):
        load_evidence("tiny", "smoke", tmp_path)


def test_a_decay_that_the_protocol_lacks_is_a_change(make_record, tmp_path):
    record = make_record("relu", 0, [0.5])
    config = json.loads(json.dumps(record.config))
    config["train"]["weight_decay"] = {"fc10": 0.1}
    save(replace(record, config=config), tmp_path)
    with pytest.raises(EvidenceError, match=r"train\.weight_decay\.fc10 went from 0\.1 to None"):
        load_evidence("tiny", "smoke", tmp_path)


def test_a_decay_that_the_record_lacks_is_a_change(make_record, tiny_claim, tmp_path):
    save(make_record("relu", 0, [0.5]), tmp_path)
    protocol = tiny_claim.study.protocols["smoke"]
    relu = protocol.arms["relu"]
    protocol.arms["relu"] = replace(relu, train=replace(relu.train, weight_decay={"fc10": 0.1}))
    with pytest.raises(EvidenceError, match=r"train\.weight_decay\.fc10 went from None to 0\.1"):
        load_evidence("tiny", "smoke", tmp_path)


def test_a_field_that_did_not_exist_then_has_its_default_and_one_that_is_needed_must_be_there(make_record, tmp_path):
    record = make_record("relu", 0, [0.5])
    config = json.loads(json.dumps(record.config))
    del config["train"]["lr_drops"]
    save(replace(record, config=config), tmp_path)
    assert len(load_evidence("tiny", "smoke", tmp_path)) == 1
    del config["train"]["lr"]
    save(replace(record, config=config), tmp_path)
    with pytest.raises(EvidenceError, match=r"no configuration that is known today: TrainConfig: .*'lr'"):
        load_evidence("tiny", "smoke", tmp_path)


def test_records_of_different_pixels_are_refused_together(make_record, tmp_path):
    first, second = make_record("tanh", 0, [0.5]), make_record("relu", 0, [0.5])
    save(first, tmp_path)
    save(replace(second, data={"train": second.data["train"] | {"sha256": "1" * 64}}), tmp_path)
    message = "relu-seed0.json and .*tanh-seed0.json are of different data: the sha256 of train differs"
    with pytest.raises(EvidenceError, match=message):
        load_evidence("tiny", "smoke", tmp_path)
    (problem,) = problems(tmp_path)
    assert "the sha256 of train differs" in problem


@pytest.mark.parametrize(("name", "value"), [("device_kind", "cuda"), ("torch", "9.0")])
def test_a_pair_ran_on_one_kind_of_hardware_and_one_torch(tiny_claim, make_record, name, value):
    first, second = make_record("tanh", 0, [0.5], 9.0), make_record("relu", 0, [0.5], 3.0)
    other = replace(second, environment=second.environment | {name: value})
    with pytest.raises(EvidenceError, match=f"can't be compared: {name} went from None to {value!r}"):
        verdict(tiny_claim, [first, other])


def test_a_record_in_the_wrong_place_is_found(make_record, tmp_path):
    record = make_record("relu", 0, [0.5])
    save(record, tmp_path)
    (tmp_path / record.path).rename((tmp_path / record.path).with_name("tanh-seed0.json"))
    with pytest.raises(EvidenceError, match="does not belong there"):
        load_evidence("tiny", "smoke", tmp_path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"effect": "diff"}, "effect of tiny must be one of ratio, difference, level, not 'diff'"),
        ({"baseline": Measurement("tanh", "top1")}, "metric of tiny must be one of .*, not 'top1'"),
        ({"treatment": Measurement("gelu", "top1_error")}, "arm of tiny must be one of tanh, relu, not 'gelu'"),
    ],
)
def test_a_claim_that_can_not_be_judged_is_refused_before_anything_is_run(tiny_claim, changed, message):
    with pytest.raises(ValueError, match=message):
        replace(tiny_claim, **changed)


def test_a_claim_whose_first_seed_is_missing_is_open_and_one_without_an_arm_is_not_run(tiny_claim, make_record):
    records = [make_record(arm, seed, [0.5]) for seed in (1, 2) for arm in ("tanh", "relu")]
    found = verdict(tiny_claim, records)
    assert (found.outcome, found.words, found.pairs, found.summary()) == ("open", "open", 0, "-")
    assert verdict(tiny_claim, [record for record in records if record.arm == "tanh"]).outcome == "not run"


def test_without_a_scale_the_largest_with_enough_seeds_is_read_or_else_with_any(tmp_path, tiny_claim, make_record):
    tiny_claim.study.protocols["laptop"] = tiny_claim.study.protocols["smoke"]

    def scales(*new: Record) -> set[str]:
        for record in new:
            save(record, tmp_path)
        return {record.scale for record in load_evidence("tiny", folder=tmp_path)}

    assert scales() == set()
    assert scales(make_record("relu", 0, [0.5])) == {"smoke"}
    assert scales(replace(make_record("relu", 0, [0.5]), scale="laptop")) == {"laptop"}
    pairs = [make_record(arm, seed, [0.5]) for seed in range(LOOKS[0]) for arm in ("tanh", "relu")]
    assert scales(*pairs) == {"smoke"}
    late = [make_record(arm, seed, [0.5]) for seed in range(1, LOOKS[0] + 1) for arm in ("tanh", "relu")]
    assert scales(*(replace(record, scale="laptop") for record in late)) == {"smoke"}
    assert scales(*(replace(record, scale="laptop") for record in pairs)) == {"laptop"}


def test_the_book_s_own_records_are_whole_and_current_and_alone():
    assert problems() == []


def test_what_is_wrong_with_a_folder_of_evidence_is_listed_whole(make_record, tmp_path):
    for seed in range(4):
        save(make_record("relu", seed, [0.5]), tmp_path)
    folder = tmp_path / "tiny" / "smoke"
    edited, copied, stale = folder / "relu-seed0.json", folder / "relu-seed7.json", folder / "relu-seed1.json"
    edited.write_text(edited.read_text().replace("0.5", "0.4"))
    copied.write_bytes((folder / "relu-seed2.json").read_bytes())
    record = Record.load(stale)
    config = json.loads(json.dumps(record.config))
    config["train"]["lr"] = 0.7
    save(replace(record, config=config), tmp_path)
    (tmp_path / "notes.txt").write_text("foreign")
    found = "\n".join(problems(tmp_path))
    assert f"{edited} was changed after it was written" in found
    assert f"{stale} is stale" in found
    assert f"{copied} holds" in found
    assert "notes.txt is of no study of the book. load_evidence(STUDY, SCALE, FOLDER) checks" in found
    assert "seed3" not in found
    assert problems(tmp_path / "nowhere") == []


def test_a_foreign_file_is_to_be_removed_from_the_book_s_own_folder_only(tmp_path, monkeypatch):
    (tmp_path / "notes.txt").write_text("foreign")
    assert problems(tmp_path)[0].endswith("checks the records of your own.")
    monkeypatch.setattr(of_records, "EVIDENCE_FOLDER", tmp_path)
    assert problems() == problems(tmp_path) == [f"{tmp_path / 'notes.txt'} is of no study of the book. Remove it."]


def test_a_record_is_loaded_from_a_path_in_a_string(make_record, tmp_path):
    record = make_record("relu", 0, [0.5])
    record.write(tmp_path / "a.json")
    assert Record.load(str(tmp_path / "a.json")) == record


def test_a_scale_that_does_not_exist_is_refused_and_a_folder_to_come_holds_no_records(tmp_path):
    for claim in ("relu", "ensemble-5", "headline-2012", STUDIES["alexnet"]):
        with pytest.raises(ValueError, match="scale must be one of smoke, laptop, gpu, paper, not 'papre'"):
            load_evidence(claim, "papre")
    assert load_evidence("relu", "paper", tmp_path / "nowhere") == []


def test_of_a_claim_only_its_arms_are_read(make_record, tiny_claim, tmp_path):
    for arm in ("tanh", "relu"):
        save(make_record(arm, 0, [0.5]), tmp_path)
    alone = replace(tiny_claim, baseline=tiny_claim.treatment)
    CLAIMS["tiny"] = alone  # the fixture puts things back
    assert [r.arm for r in load_evidence("tiny", "smoke", tmp_path)] == ["relu"]
    assert load_evidence("tiny", "smoke", tmp_path).arms == ("relu",)
    assert [r.arm for r in load_evidence(alone.study, "smoke", tmp_path)] == ["tanh", "relu"]
    CLAIMS["tiny"] = replace(alone, scales=("paper",))
    assert load_evidence("tiny", "smoke", tmp_path) == []
    CLAIMS["tiny"] = replace(alone, study=None)
    assert load_evidence("tiny") == []


def test_overfitting_and_times_are_read_off_the_record(make_record):
    record = make_record("relu", 0, [0.6, 0.4], centre_error=0.5, train_eval_error=0.2)
    record.config["net"]["num_classes"] = 10
    for epoch, error in zip(record.epochs, (0.7, 0.6), strict=True):
        epoch["val_error"] = error
    assert measured(record, "generalization_gap") == pytest.approx(0.3)
    assert measured(record, "epochs_to_train_error", 0.5) == pytest.approx(1.5)
    assert measured(record, "epochs_to_val_error", 0.65) == pytest.approx(1.5)
    assert measured(record, "epochs_to_val_error", 0.5) is None


def test_one_arm_measured_twice_is_a_pair(tiny_claim, make_record):
    claim = replace(
        on(tiny_claim, "photos", crop=8),
        baseline=Measurement("relu", "centre_error"),
        treatment=Measurement("relu", "top1_error"),
        effect="difference",
    )
    records = [make_record("relu", s, [0.1], centre_error=0.3 + 0.01 * s, top1_error=0.28) for s in range(3)]
    result = verdict(claim, records)
    assert (result.pairs, result.estimate) == (3, pytest.approx(0.03))
    level = verdict(replace(claim, effect="level"), records)
    assert level.smallest_effect() is None
    assert level.estimate == pytest.approx(0.28)
    assert level.summary().startswith("28.0 % [")


# --- frames --------------------------------------------------------------------------------------------------------


def test_a_frame_has_a_row_a_run_with_what_was_measured(make_record):
    records = Evidence([make_record("tanh", 0, [0.5, 0.4], top1_error=0.3), make_record("relu", 1, [0.2], 0.9)])
    frame = records.runs()
    assert list(frame) == [
        "study", "scale", "arm", "seed", "ended", "epochs", "seconds", "dataset", "revision",
        "train_error", "epochs_to_target", "top1_error",
    ]  # fmt: skip
    assert frame[["study", "scale", "arm", "seed", "epochs", "dataset"]].to_numpy().tolist() == [
        ["tiny", "smoke", "tanh", 0, 2, "photos"],
        ["tiny", "smoke", "relu", 1, 1, "photos"],
    ]
    assert frame["train_error"].tolist() == [0.4, 0.2]
    assert frame["top1_error"].isna().tolist() == [False, True]  # what was not measured is missing
    assert frame["epochs_to_target"].isna().tolist() == [True, False]


def test_a_frame_has_a_row_an_epoch(make_record):
    frame = Evidence([make_record("tanh", 0, [0.5, 0.4]), make_record("relu", 1, [0.2])]).epochs()
    assert frame[["arm", "seed", "epoch", "train_error"]].to_numpy().tolist() == [
        ["tanh", 0, 1, 0.5],
        ["tanh", 0, 2, 0.4],
        ["relu", 1, 1, 0.2],
    ]
    assert {"study", "scale", "dataset", "revision"} <= set(frame)


def test_without_records_a_frame_has_its_fixed_columns_and_no_rows(make_record):
    some = Evidence([make_record("tanh", 0, [0.5])])
    for frame, full in ((Evidence().runs(), some.runs()), (Evidence().epochs(), some.epochs())):
        assert len(frame) == 0
        assert [name for name in full if name in frame] == [name for name in frame if name in full]
    assert list(Evidence().runs())[-2:] == ["dataset", "revision"]
    assert list(Evidence().epochs())[6:] == ["epoch", "lr", "train_error", "train_loss", "seconds"]


def test_a_part_and_a_sum_of_evidence_are_evidence(make_record):
    tanh, relu = make_record("tanh", 0, [0.5]), make_record("relu", 0, [0.4])
    some = Evidence([tanh, relu], ["tanh", "relu"])
    assert some[:1] == [tanh]
    assert some[1] is relu
    assert some[:1].arms == (some[:1] + some[1:]).arms == ("tanh", "relu")
    plain = [relu]
    assert (some[:1] + plain).runs().equals(some.runs())
    assert (Evidence(arms=["linear"]) + some).arms == ("linear", "tanh", "relu")


def test_evidence_is_printed_in_a_line(make_record):
    records = [make_record(arm, seed, [0.5]) for arm in ("tanh", "relu") for seed in (0, 1)]
    assert repr(Evidence(records)) == "4 records of tiny, scale smoke: tanh, relu"
    assert repr(Evidence(records)[:1]) == "1 record of tiny, scale smoke: tanh"
    assert repr(Evidence()) == "0 records"


def test_a_claim_is_judged_by_its_name():
    assert verdict("relu", load_evidence("relu", "paper")) == verdict(CLAIMS["relu"], load_evidence("relu", "paper"))
    with pytest.raises(ValueError, match=r"claim must be one of relu, .*, not 'alexnet'"):
        verdict("alexnet", [])


def test_the_frames_of_the_book_s_records_say_what_the_records_say():
    records = load_evidence("relu", "paper")
    runs, epochs = records.runs(), records.epochs()
    assert runs["epochs_to_target"].tolist() == [record.final["epochs_to_target"] for record in records]
    assert len(epochs) == runs["epochs"].sum() == sum(len(record.epochs) for record in records)
    assert set(runs["revision"]) == {record.environment["revision"] for record in records}
    last = epochs.groupby(["arm", "seed"])["train_error"].last()
    assert all(last[record.arm, record.seed] == record.final["train_error"] for record in records)


# --- verdicts ------------------------------------------------------------------------------------------------------


def test_only_the_planned_looks_are_taken(tiny_claim, pairs):
    times = [(12 + 0.1 * seed, 2) for seed in range(14)]
    taken = {n: verdict(tiny_claim, pairs(*times[:n])).pairs for n in (3, 5, 7, 9, 10, 12, 14)}
    assert taken == {3: 3, 5: 5, 7: 5, 9: 5, 10: 10, 12: 10, 14: 10}
    assert verdict(tiny_claim, pairs(*times[:9])) == verdict(tiny_claim, pairs(*times[:5]))


@pytest.mark.parametrize(
    ("recorded", "looked_at"),
    [
        ((0, 1, 2, 3, 9), (0, 1, 2, 3)),  # five pairs, but not those of the first look
        ((1, 2, 3, 4, 5, 6), ()),
        ((*range(9), 10), (0, 1, 2, 3, 4)),
        ((*range(9), 9, 10, 1000), tuple(range(10))),
    ],
)
def test_a_look_is_taken_at_the_protocol_s_first_seeds_and_no_others(recorded, looked_at, tiny_claim, make_record):
    times = {"tanh": 12.0, "relu": 2.0}
    records = [make_record(arm, seed, [0.5], time + 0.1 * seed) for seed in recorded for arm, time in times.items()]
    result = verdict(tiny_claim, records)
    assert result.seeds == looked_at
    assert (result.outcome in ("open", "not run")) == (len(looked_at) < LOOKS[0])


def test_records_of_another_study_of_two_scales_of_one_that_cannot_tell_or_twice_give_no_verdict(
    tiny_claim, make_record
):
    own = [make_record(arm, 0, [0.5], 2.0) for arm in ("tanh", "relu")]
    assert verdict(tiny_claim, own).pairs == 1
    with pytest.raises(
        EvidenceError, match=r"is of study other, arm relu, seed 0, but tiny is .* tiny: load_evidence\(claim, SC"
    ):
        verdict(tiny_claim, [own[0], replace(own[1], study="other")])
    with pytest.raises(EvidenceError, match=r"is of study relu-modern, .* but relu is judged by records of relu"):
        verdict(CLAIMS["relu"], load_evidence("relu-modern", "paper"))
    with pytest.raises(EvidenceError, match=r"is of study None, arm None, seed 0, but ensemble-5 .* no study"):
        verdict(CLAIMS["ensemble-5"], [replace(own[0], study=None, scale=None, arm=None)])
    with pytest.raises(EvidenceError, match="are of scale smoke and laptop: a verdict is of one of smoke"):
        verdict(tiny_claim, [*own, replace(own[0], scale="laptop", seed=1)])
    with pytest.raises(EvidenceError, match="of scale smoke: a verdict is of one of laptop, gpu, paper"):
        verdict(CLAIMS["dropout"], [replace(own[0], study="alexnet")])
    with pytest.raises(EvidenceError, match=r"tanh-seed0\.json is there twice"):
        verdict(tiny_claim, [*own, replace(own[0], seconds=2.0)])


def test_the_printed_alpha_is_judged_by_no_baseline_that_ran_before_the_claim_was_fixed():
    claim = CLAIMS["lrn-cifar-printed"]
    recorded = load_evidence("lrn-cifar", "paper")
    baseline = [record for record in recorded if record.arm == "without"]
    printed = [replace(record, arm="alpha-printed") for record in recorded if record.arm == "with"]
    assert verdict(claim, baseline + printed).outcome == verdict(CLAIMS["lrn-cifar"], recorded).outcome
    early = [replace(record, started="2026-11-25T00:00:00+00:00") for record in baseline]
    assert verdict(claim, early + printed).outcome == "exploratory"


def test_a_claim_that_is_younger_than_a_record_is_exploratory(tiny_claim, pairs):
    claim = replace(tiny_claim, fixed=Fixed("2026-11-27T04:00:00+00:00", "0" * 40))
    records = pairs(*[(12 + 0.1 * seed, 2) for seed in range(5)])
    later = [replace(record, started="2026-11-27T04:00:00+00:00") for record in records]
    assert verdict(claim, later).outcome == "reproduced"
    earlier = [*later[:-1], replace(later[-1], started="2026-11-27T03:59:59+00:00")]
    result = verdict(claim, earlier)
    assert (result.outcome, result.words) == ("exploratory", "exploratory")
    assert result.estimate == verdict(claim, later).estimate  # it says what it found, and gives no verdict
    assert verdict(claim, earlier[:4]).outcome == "open"
    unknown = [*later[:-1], replace(later[-1], started=None)]  # it may be older
    assert verdict(claim, unknown).outcome == "exploratory"


def test_words_name_the_scale_and_what_is_larger_than_the_paper_s(tiny_claim, pairs):
    def words(*times: float) -> str:
        return verdict(tiny_claim, pairs(*[(2 * time, 2) for time in times])).words

    assert words(6, 6.1, 6, 5.9, 6) == "reproduced (small scale)"
    assert words(8, 8.1, 8, 7.9, 8) == "reproduced, larger (small scale)"
    assert words(3, 3.1, 3, 2.9, 3) == "smaller (small scale)"
    assert words(3, 3.1) == "open"
    on_paper = Verdict(claim=tiny_claim, outcome="reproduced", scale="paper", low=5.0, high=7.0)
    assert on_paper.words == "reproduced"
    level = Verdict(claim=CLAIMS["headline-2012"], outcome="reproduced", scale="paper", low=0.408, high=0.41)
    assert level.words == "reproduced"  # an error above the paper's is no larger effect


def test_a_diverged_run_counts_as_one_that_guesses(make_record):
    diverged = replace(make_record("relu", 0, [0.9, 0.95]), ended="diverged")
    diverged.config["net"]["num_classes"] = 10

    def number(metric: str, target: float | None = None) -> float | None:
        return measured(diverged, metric, target)

    assert number("top1_error") == number("centre_error") == number("train_eval_error") == pytest.approx(0.9)
    assert number("top5_error") == pytest.approx(0.5)  # five guesses of ten classes
    assert number("generalization_gap") == number("color_difference") == 0.0
    assert number("epochs_to_val_error", 0.5) is number("epochs_to_target") is None
    assert number("val_error_at_target", 0.25) == pytest.approx(0.9)


def test_a_diverged_treatment_counts_against_the_claim(tiny_claim, make_record):
    side = {"baseline": Measurement("tanh", "top1_error"), "treatment": Measurement("relu", "top1_error")}
    claim = replace(tiny_claim, **side, effect="difference", paper_value=0.02)
    records = [make_record("tanh", seed, [0.1], top1_error=0.2) for seed in range(5)]
    lost = [replace(make_record("relu", seed, [0.9]), ended="diverged") for seed in range(5)]
    result = verdict(claim, records + lost)
    assert result.outcome == "opposite"
    assert result.estimate == pytest.approx(0.2 - (1 - 1 / lost[0].config["net"]["num_classes"]))


def test_the_validation_error_at_equal_training_error_is_read_off_straight_lines(make_record):
    record = make_record("relu", 0, [0.6, 0.4, 0.2])
    record.config["net"]["num_classes"] = 10
    for epoch, fitted, val in zip(record.epochs, (0.5, 0.3, 0.1), (0.6, 0.5, 0.4), strict=True):
        epoch |= {"train_eval_error": fitted, "val_error": val}
    what = "val_error_at_target"
    assert measured(record, what, 0.4) == pytest.approx(0.55)
    assert measured(record, what, 0.3) == pytest.approx(0.5)
    assert measured(record, what, 0.7) == pytest.approx(0.75)  # half way from guessing
    assert measured(record, what, 0.05) is None
    with pytest.raises(ValueError, match=r"val_error_at_target of tiny/smoke/relu-seed0\.json: there is no target"):
        measured(record, what)
    with pytest.raises(ValueError, match="there is no train_eval_error after every epoch"):
        measured(make_record("relu", 0, [0.6]), what, 0.4)


def on(claim: Claim, dataset: str, **changes: object) -> Claim:
    """The claim on another data set, with the fields of its arms' inputs changed."""
    protocol = claim.study.protocols["smoke"]
    arms = {name: replace(arm, input=replace(arm.input, **changes)) for name, arm in protocol.arms.items()}
    return replace(
        claim, study=replace(claim.study, protocols={"smoke": replace(protocol, dataset=dataset, arms=arms)})
    )


def test_where_an_error_was_never_reached_a_difference_is_open(tiny_claim, make_record):
    side = {
        arm: Measurement(name, "val_error_at_target") for arm, name in (("baseline", "tanh"), ("treatment", "relu"))
    }
    claim = replace(on(tiny_claim, "imagenette"), **side, effect="difference", target={"smoke": 0.25})
    records = [make_record(arm, seed, [0.4]) for seed in range(5) for arm in ("tanh", "relu")]
    for record in records:
        record.epochs[0].update(train_eval_error=0.2 if record.arm == "relu" else 0.3, val_error=0.4)
    result = verdict(claim, records)
    assert (result.outcome, result.estimate, result.baseline) == ("open", None, (None,) * 5)
    del records[0].epochs[0]["train_eval_error"]
    with pytest.raises(
        EvidenceError, match=r"tanh-seed0\.json has no val_error_at_target.* then delete it and run it again"
    ):
        verdict(claim, records)


def test_a_claim_that_could_not_be_judged_is_refused(tiny_claim):
    with pytest.raises(ValueError, match=r"tiny is a level, .*: give it paper_value"):
        replace(tiny_claim, effect="level", paper_value=None)
    side = {"baseline": Measurement("tanh", "epochs_to_val_error")}
    with pytest.raises(
        ValueError, match=r"epochs_to_val_error of tiny needs a target .* none at smoke: add it to target"
    ):
        replace(tiny_claim, **side)
    assert replace(on(tiny_claim, "imagenette"), **side, target={"smoke": 0.25}).target
    with pytest.raises(ValueError, match=r"a target of tiny is a fraction .* 0\.25 for 25 %, not 25"):
        replace(tiny_claim, target={"smoke": 25})
    with pytest.raises(ValueError, match="a scale of tiny must be one of smoke, laptop, gpu, paper, not 'tiny'"):
        replace(tiny_claim, scales=("tiny",))


@pytest.mark.parametrize(
    ("metric", "lacking"),
    [
        ("epochs_to_target", "train.target_error"),
        ("epochs_to_val_error", "a data set with validation images"),
        ("val_error_at_target", "a data set with validation images"),
        ("top5_error", "more than 5 classes"),
        ("centre_error", "input.crop"),
        ("train_eval_error", "input.crop"),
        ("generalization_gap", "input.crop"),
        ("color_difference", "two towers"),
        ("color_difference_chance", "two towers"),
    ],
)
def test_a_claim_on_what_its_runs_do_not_measure_is_refused_before_they_run(tiny_claim, metric, lacking):
    protocol = tiny_claim.study.protocols["smoke"]
    tanh = protocol.arms["tanh"]
    tanh = replace(tanh, net=replace(tanh.net, num_classes=5), train=replace(tanh.train, target_error=None))
    changed = {"smoke": replace(protocol, arms=protocol.arms | {"tanh": tanh})}
    study = replace(tiny_claim.study, protocols=changed)
    side = {"baseline": Measurement("tanh", metric), "target": {"smoke": 0.25}}
    with pytest.raises(ValueError, match=f"{metric} of tiny needs {lacking}, which tanh lacks at smoke"):
        replace(tiny_claim, **side, study=study)


# --- the statistics ------------------------------------------------------------------------------------------------


def test_both_looks_together_keep_95_percent():
    rng = np.random.default_rng(5)
    trials = rng.normal(0.7, 2.0, (20_000, LOOKS[-1]))
    both = np.ones(len(trials), bool)
    for look in LOOKS:
        means, half = (
            trials[:, :look].mean(1),
            stats.t.ppf((1 + LEVEL) / 2, look - 1) * stats.sem(trials[:, :look], axis=1),
        )
        both &= abs(means - 0.7) <= half
    assert both.mean() == pytest.approx(0.95, abs=0.004)
    values = trials[0, : LOOKS[0]].tolist()
    mean, _, high = mean_interval(values)
    assert high - mean == pytest.approx(stats.t.ppf((1 + LEVEL) / 2, 4) * stats.sem(values))


def image_wise(rng: np.random.Generator, shared: float) -> tuple[list, list]:
    """Five pairs of runs on 400 images of unequal difficulty, equally good; runs differ as a whole by ``shared``."""
    odds = rng.normal(-1, 2, 400)
    runs = [1 / (1 + np.exp(-(odds + rng.normal(0, shared)))) > rng.random(400) for _ in range(10)]
    records = [SimpleNamespace(wrong=lambda run=run: run) for run in runs]
    return records[:5], records[5:]


@pytest.mark.parametrize(("shared", "least", "most"), [(0.0, 0.92, 0.98), (0.5, 0.0, 0.75)])
def test_image_wise_differences_give_an_honest_interval_only_where_images_err_independently(shared, least, most):
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(400):
        before, after = image_wise(rng, shared)
        mean = np.mean([b.wrong().mean() - a.wrong().mean() for b, a in zip(before, after, strict=True)])
        covered += abs(mean) <= 1.96 * spread_by_images(before, after) / math.sqrt(5)
    assert least <= covered / 400 <= most


def test_the_spread_by_images_by_hand(make_record):
    before = [SimpleNamespace(wrong=lambda x=x: np.array(x, bool)) for x in ([1, 0, 1, 0], [0, 0, 1, 0])]
    after = [SimpleNamespace(wrong=lambda x=x: np.array(x, bool)) for x in ([0, 0, 1, 0], [0, 1, 1, 0])]
    # differences: image 0: 1, 0; image 1: 0, -1; the others 0. Variances 1/2, 1/2, 0, 0
    assert spread_by_images(before, after) == pytest.approx(1 / 4)
    with pytest.raises(ValueError, match="at least two pairs of records that say which images"):
        spread_by_images([make_record("tanh", 0, [0.5])] * 2, [make_record("relu", 0, [0.5])] * 2)


@pytest.mark.parametrize("n", [3, 5, 8])
def test_the_smallest_effect_is_found_in_four_of_five_trials(n):
    """Of trials with an effect as large as the one that their true scatter makes resolvable."""
    rng = np.random.default_rng(n)
    t = stats.t.ppf([(1 + LEVEL) / 2, 0.8], n - 1).sum() / math.sqrt(n)  # with the scatter known to be 1
    trials = rng.normal(t, 1.0, (2000, n)).tolist()
    found = sum(mean_interval(values)[1] > 0 for values in trials) / 2000
    assert 0.74 <= found <= 0.9
    assert resolvable(trials[0]) == pytest.approx(t * stats.tstd(trials[0]))


@pytest.mark.parametrize("stopped", [60, 40, 30])
def test_with_runs_that_were_stopped_the_true_ratio_is_hardly_ever_below_the_interval(tiny_claim, make_record, stopped):
    """Of trials whose tanh needs four times ReLU's 10 epochs, some or all of it stopped before it got there."""
    rng = np.random.default_rng(stopped)
    below, bounded = 0, 0
    long, short = ([make_record(arm, s, [0.5] * n) for s in range(5)] for arm, n in (("tanh", stopped), ("relu", 1)))
    for _ in range(500):
        relu = 10 * np.exp(rng.normal(0, 0.1, 5))
        tanh = 40 * np.exp(rng.normal(0, 0.1, 5))
        reached = [None if time > stopped else time for time in tanh]
        runs = [replace(long[seed], final={"epochs_to_target": reached[seed]}) for seed in range(5)]
        runs += [replace(short[seed], final={"epochs_to_target": relu[seed]}) for seed in range(5)]
        found = verdict(tiny_claim, runs)
        below += found.low > 4.0
        bounded += math.isinf(found.high)
    assert below / 500 <= 0.04  # 2.5 in 100 where none is stopped
    assert (bounded == 0) == (stopped == 60)


def test_a_ratio_s_smallest_effect_is_a_factor(tiny_claim, pairs):
    result = verdict(tiny_claim, pairs((8, 2), (10, 2), (9, 2)))
    assert result.values == pytest.approx((4.0, 5.0, 4.5))
    times = stats.t.ppf([(1 + LEVEL) / 2, 0.8], 2).sum() * stats.sem([math.log(4), math.log(5), math.log(4.5)])
    assert result.smallest_effect() == pytest.approx(math.exp(times))
    assert verdict(tiny_claim, pairs((8, 2))).smallest_effect() is None


def test_no_smoke_run_is_kept_as_evidence():
    assert not [path for path in EVIDENCE_FOLDER.rglob("smoke") if any(path.iterdir())]


def test_records_were_made_on_the_whole_training_set_and_name_its_origin():
    sizes = {"cifar10": 50_000, "imagenette": 9_469, "imagenet": 1_281_167}
    for study in STUDIES.values():
        for record in load_evidence(study):
            assert record.data["train"]["images"] == sizes[record.config["dataset"]]
            assert len(record.data["train"]["sha256"]) == 64
            assert record.environment["revision"] != "unknown"
            assert not record.environment["revision"].endswith("+changes")


def test_no_record_s_path_has_a_space(make_record):
    record = replace(make_record("relu", 3, [0.2]), arm="crops and flips")
    assert record.path.name == "crops-and-flips-seed3.json"
    assert not any(" " in str(path) for path in EVIDENCE_FOLDER.rglob("*.json"))
