from alexnet_repro.report import tables


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


def test_every_recorded_learning_rate_is_in_the_table_and_one_an_activation_is_chosen():
    table = tables.lr_table({"2012": "relu", "modern": "relu-modern"})
    assert len(table.rows) == 16
    assert [row[-1] for row in table.rows].count("chosen") == 4


def test_the_evidence_table_tells_arms_apart_only_where_they_differ(make_record):
    runs = [make_record("tanh", 0, [0.5]), make_record("tanh", 4, [0.5]), make_record("relu", 0, [0.5])]
    ((title, scale, data, *_, hardware, seeds),) = tables.evidence_table({"2012": runs, "modern": []}).rows
    assert (title, scale, data, hardware) == ("2012", "smoke", "photos: made up", "abacus, 1 thread")
    assert seeds == "tanh: 0, 4; relu: 0"


def test_pairs_are_shown_seed_by_seed_with_what_they_could_find():
    rows = tables.pair_table("relu").rows
    assert [row[1] for row in rows] == ["0", "1", "2", "3", "4", "detectable"]
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
