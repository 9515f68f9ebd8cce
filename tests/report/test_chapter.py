import pytest

from alexnet_repro.report import chapter

PARAMETERS = {"scale": "smoke", "seeds": None, "data_root": None, "device": "auto", "threads": 2}


def test_settings_are_the_arguments_of_run_claim():
    assert chapter.settings(PARAMETERS | {"In": ["..."], "_i1": "...", "chapter": chapter}) == PARAMETERS | {
        "out": None
    }


def test_runs_beyond_smoke_are_kept_in_a_folder():
    assert chapter.settings(PARAMETERS | {"scale": "laptop"})["out"] == "runs"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"scale": "large"}, "scale must be one of smoke, laptop, gpu, paper, not 'large'"),
        ({"device": "tpu"}, "not 'tpu'"),
        ({"epochs": 3}, "parameters are scale, seeds, data_root, device, threads, not epochs"),
        ({"sclae": "laptop", "lr": 0.1}, "not lr, sclae"),
    ],
)
def test_wrong_values_and_parameters_that_do_not_exist_are_errors(changed, message):
    with pytest.raises(ValueError, match=message):
        chapter.settings(PARAMETERS | changed)
