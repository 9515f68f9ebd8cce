from dataclasses import replace

import pytest

from alexnet_repro import CLAIMS
from alexnet_repro.claims.records import Evidence
from alexnet_repro.claims.verdict import Verdict
from alexnet_repro.report import tables
from alexnet_repro.report.in_short import InShort, up_to_date


def test_a_run_table_has_times_only_where_a_run_had_a_target(make_record):
    timed = make_record("relu", 0, [0.5, 0.241], 1.9, top1_error=0.305)
    table = tables.run_table({"2012": [timed], "modern": [make_record("tanh", 1, [0.5])]})
    assert table.header[-1] == "epochs to target"
    assert table.rows == [
        ["2012", "relu", "0", "2", "24.1", "30.5", "1.9"],
        ["modern", "tanh", "1", "1", "50.0", "-", "-"],
    ]
    timed.final.pop("epochs_to_target")
    assert "epochs to target" not in tables.run_table({"2012": [timed]}).header
    assert tables.run_table({"2012": []}).header == table.header[1:]


def test_every_recorded_learning_rate_is_in_the_table_and_one_an_activation_is_first_and_one_compared():
    table = tables.lr_table({"2012": "relu", "modern": "relu-modern"})
    assert len(table.rows) == 16
    assert [row[-1] for row in table.rows if row[-1]] == ["first, compared"] * 4


def test_the_evidence_table_tells_arms_apart_only_where_they_differ(make_record):
    runs = [make_record("tanh", 0, [0.5]), make_record("tanh", 4, [0.5]), make_record("relu", 0, [0.5])]
    ((title, scale, data, *_, hardware, seeds),) = tables.evidence_table({"2012": runs, "modern": []}).rows
    assert (title, scale, data, hardware) == ("2012", "smoke", "photos: made up", "abacus, 1 thread")
    assert seeds == "tanh: 0, 4; relu: 0"


def test_an_arm_without_records_is_named_and_threads_are_counted(make_record):
    (row,) = tables.evidence_table({"": Evidence([make_record("relu", 3, [0.5])], ("tanh", "relu"))}).rows
    assert row[-2:] == ["abacus, 1 thread", "tanh: none recorded; relu: 3"]
    two = replace(make_record("relu", 3, [0.5]), environment={"device": "abacus", "threads": 2})
    assert tables.evidence_table({"": [two]}).rows[0][-2] == "abacus, 2 threads"


def test_an_arm_s_errors_are_the_means_of_its_runs_each_counted_once(make_record, monkeypatch):
    errors = [{"train_eval_error": 0.1, "centre_error": 0.3, "top1_error": 0.25},
              {"train_eval_error": 0.2, "centre_error": 0.5, "top1_error": 0.35}]  # fmt: skip
    tanh = [make_record("tanh", seed, [0.5], **final) for seed, final in enumerate(errors)]
    found = {"first": tanh, "second": [*tanh, make_record("relu", 0, [0.5], **errors[0])]}
    monkeypatch.setattr(tables, "load_evidence", lambda claim, folder: found[claim])
    rows = [["tanh", "2", "15.0", "40.0", "25.0", "30.0"], ["relu", "1", "10.0", "30.0", "20.0", "25.0"]]
    assert tables.arm_table("first", "second").rows == rows


def test_an_arm_s_runs_at_two_scales_are_not_averaged(make_record, monkeypatch):
    small = make_record("tanh", 0, [0.5], train_eval_error=0.1, centre_error=0.3, top1_error=0.25)
    large = replace(small, scale="paper", final={name: error + 0.2 for name, error in small.final.items() if error})
    found = {"first": [small], "second": [large]}
    monkeypatch.setattr(tables, "load_evidence", lambda claim, folder: found[claim])
    rows = [["tanh, scale smoke", "1", "10.0", "30.0", "20.0", "25.0"],
            ["tanh, scale paper", "1", "30.0", "50.0", "20.0", "45.0"]]  # fmt: skip
    assert tables.arm_table("first", "second").rows == rows


def test_a_chapter_counts_pairs_and_where_one_run_is_measured_twice_seeds():
    results = [
        Verdict(claim=CLAIMS[name], outcome="open", scale="laptop", seeds=tuple(range(pairs)))
        for name, pairs in (("dropout", 5), ("dropout", 1), ("ten-crop", 5), ("specialization", 0))
    ]
    rows = [line.split(" | ") for line in InShort("Words.", results).to_markdown().splitlines()[4:]]
    counts = ["5 pairs at scale laptop", "1 pair at scale laptop", "5 seeds at scale laptop", "none"]
    assert [row[3] for row in rows] == counts


def test_pairs_are_shown_seed_by_seed_with_what_they_could_find():
    rows = tables.pair_table("relu").rows
    assert [row[1] for row in rows] == ["0", "1", "2", "3", "4", "detectable"]
    assert all(row[-1].endswith("x") for row in rows)


def test_a_claim_without_a_pair_has_no_scale_in_the_table_and_the_first_column_can_be_chosen():
    results = [
        Verdict(claim=CLAIMS["dropout"], outcome="not run", scale="laptop"),
        Verdict(claim=CLAIMS["relu"], outcome="open", scale="paper", seeds=(0,)),
    ]
    rows = tables.scoreboard(results, ["first", "second"]).rows
    assert [[row[0], *row[-3:]] for row in rows] == [["first", "-", "0", "not run"], ["second", "paper", "1", "open"]]


def test_what_is_no_claim_of_the_book_s_is_refused():
    with pytest.raises(ValueError, match=r"claim must be one of relu, .*, not 'dropuot'"):
        tables.verdict_table("relu", "dropuot")


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


def test_sentences_that_were_written_for_other_verdicts_are_replaced():
    results = tables.judged("relu")
    assert up_to_date({"relu": "reproduced"}, "It is {relu}.", results) == f"It is {results[0].summary()}."
    newer = up_to_date({"relu": "opposite"}, "It is {relu}.", results)
    assert newer.startswith("Newer runs have changed verdicts since this page was written (relu: reproduced)")
