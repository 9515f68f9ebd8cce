import torch

from alexnet_repro.support.chance import stream, streams


def test_the_generators_are_those_of_the_recorded_runs():
    assert stream(0, "network").initial_seed() == 1488650280554811946
    assert stream(3, "batches").initial_seed() == 3464637228751312215


def test_a_purpose_more_changes_no_other_generator():
    two, three = (streams(torch.Generator().manual_seed(0), *words) for words in (("a", "b"), ("a", "c", "b")))
    assert [two[0].initial_seed(), two[1].initial_seed()] == [three[0].initial_seed(), three[2].initial_seed()]
    assert len({generator.initial_seed() for generator in three}) == 3
