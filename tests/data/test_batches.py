import io
from collections.abc import Iterable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alexnet_repro.data import Batches, Dataset
from alexnet_repro.data import batches as batching
from alexnet_repro.data.config import InputConfig
from alexnet_repro.data.inputs import InputTransform
from alexnet_repro.support.chance import streams


def made(reshuffle: bool, seed: int = 0, size: int = 10) -> Batches:
    """Batches of 25 images, each of whose pixels is its number."""
    images = torch.arange(25, dtype=torch.uint8).view(25, 1, 1, 1).repeat(1, 3, 2, 2)
    dataset = Dataset("d", "train", images, torch.arange(25), tuple("abcdefghijklmnopqrstuvwxy"), "made up")
    config = InputConfig(batch_size=size, reshuffle=reshuffle)
    transform = InputTransform(config, torch.zeros(3, 1, 1), torch.ones(()))
    return Batches(dataset, transform, torch.Generator().manual_seed(seed))


def epoch(batches: Batches) -> list[int]:
    return torch.cat([labels for _, labels in batches]).tolist()


@pytest.mark.parametrize("reshuffle", [False, True])
def test_every_image_comes_once_an_epoch_with_its_label(reshuffle):
    batches = made(reshuffle)
    for _ in range(2):
        pairs = [(inputs, labels) for inputs, labels in batches]
        assert [len(labels) for _, labels in pairs] == [10, 10, 5]
        assert sorted(torch.cat([labels for _, labels in pairs]).tolist()) == list(range(25))
        assert all(inputs[:, 0, 0, 0].equal(labels.float()) for inputs, labels in pairs)
    assert len(batches) == 3


def test_2012s_order_is_shuffled_once_and_kept():
    batches = made(reshuffle=False)
    first = epoch(batches)
    assert first != list(range(25))
    assert epoch(batches) == first


def test_reshuffling_gives_every_epoch_a_new_order():
    batches = made(reshuffle=True)
    assert epoch(batches) != epoch(batches)


def test_the_order_follows_the_generator():
    assert epoch(made(True, seed=1)) == epoch(made(True, seed=1)) != epoch(made(True, seed=2))


def contents(batches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> list[list]:
    return [[inputs.tolist(), labels.tolist()] for inputs, labels in batches]


def noisy(seed: int = 0, **arguments: int | str) -> Batches:
    """Batches of 25 random images with every draw there is."""
    generator = torch.Generator().manual_seed(9)
    images = torch.randint(0, 256, (25, 3, 8, 8), generator=generator).to(torch.uint8)
    dataset = Dataset("d", "train", images, torch.arange(25), tuple("abcdefghijklmnopqrstuvwxy"), "made up")
    config = InputConfig(batch_size=10, crop=5, color="run145", reshuffle=True)
    return Batches(dataset, InputTransform.fit(config, images), torch.Generator().manual_seed(seed), **arguments)


@pytest.mark.parametrize("ahead", [1, 2, 7])
def test_how_many_are_made_ahead_makes_no_difference(ahead):
    ours, theirs = noisy(ahead=ahead), noisy()
    for _ in range(2):
        assert contents(ours) == contents(theirs)


def test_batches_are_the_transform_s_of_the_images_in_order():
    batches = noisy()
    order, *chance = streams(torch.Generator().manual_seed(0), "order", "crops", "colour")
    torch.randperm(25, generator=order)  # of a data set that is never shuffled again
    rows_in_order = torch.randperm(25, generator=order).split(10)
    for (inputs, labels), rows in zip(batches, rows_in_order, strict=True):
        assert labels.equal(rows)
        draws = batches.transform.draw((len(rows), 8, 8), *chance)
        assert inputs.equal(batches.transform.apply(batches.images[rows], draws))


def test_what_two_inputs_have_in_common_is_drawn_alike():
    """Arms of one seed differ in nothing but what is compared: with colour noise or without, order and crops stay."""
    noisy_, plain = noisy(), noisy()
    plain.transform = InputTransform.fit(replace(plain.transform.config, color=None), plain.images)
    for _ in range(2):
        for (inputs, labels), (bare, same) in zip(noisy_, plain, strict=True):
            assert labels.equal(same)
            shifts = (1.1 * inputs - bare).flatten(2)  # one for each image and channel, where the crops are the same
            assert torch.allclose(shifts, shifts[..., :1].expand_as(shifts), atol=1e-3)
            assert shifts.abs().max() > 1


@pytest.mark.parametrize("kept", [True, False])
def test_on_another_device_nothing_is_waited_for(monkeypatch, kept):
    """Device meta computes shapes alone: whoever asks it for a number gets an error."""
    monkeypatch.setattr(batching, "RESIDENT", batching.RESIDENT if kept else 0)
    batches = noisy(device="meta")
    assert batches.images.is_meta is kept
    for (inputs, labels), (expected, _) in zip(batches, noisy(), strict=True):
        assert inputs.is_meta
        assert labels.is_meta
        assert (inputs.shape, inputs.dtype, len(labels)) == (expected.shape, torch.float32, len(expected))


@given(shards=st.integers(1, 12), epochs=st.integers(1, 2))
@settings(deadline=None, max_examples=10)
def test_all_shards_together_are_the_batch(shards, epochs):
    whole = noisy()
    parts = [noisy(shard=shard, shards=shards) for shard in range(shards)]
    for _ in range(epochs):
        for batch, *shares in zip(whole, *parts, strict=True):
            for i in range(2):
                assert torch.cat([share[i] for share in shares]).equal(batch[i])


def test_of_a_small_batch_a_rank_may_get_no_image():
    """Of ImageNet's last 15, on 16 GPUs."""
    batches = noisy(shard=0, shards=16)
    *_, (inputs, labels) = batches
    assert (inputs.shape, inputs.dtype, labels.shape) == ((0, 3, 5, 5), torch.float32, (0,))
    assert batches.place == (0, 5)


@given(leave=st.integers(1, 3), epoch=st.integers(0, 2), ahead=st.integers(1, 4), reload=st.booleans())
@settings(deadline=None, max_examples=25)
def test_what_follows_a_saved_state_is_what_would_have_followed(leave, epoch, ahead, reload):
    undisturbed = noisy()
    expected = [contents(undisturbed) for _ in range(4)]
    batches = noisy(ahead=ahead)
    for _ in range(epoch):
        list(batches)
    iterator = iter(batches)
    for _ in range(leave):
        next(iterator)
    state = batches.state_dict()
    if reload:  # through a file, as a checkpoint does
        file = io.BytesIO()
        torch.save(state, file)
        file.seek(0)
        state = torch.load(file, weights_only=True)
    resumed = noisy(seed=123)
    resumed.load_state_dict(state)
    assert contents(resumed) == expected[epoch][leave:]
    assert contents(resumed) == expected[epoch + 1]


def test_torch_s_default_device_makes_no_difference():
    whole = noisy()
    expected = [contents(whole) for _ in range(2)]
    data = Dataset("d", "train", whole.images, whole.labels, tuple("abcdefghijklmnopqrstuvwxy"), "made up")
    with torch.device("meta"):
        batches = Batches(data, whole.transform, torch.Generator().manual_seed(0))
        state = batches.state_dict()
        assert [contents(batches) for _ in range(2)] == expected
        batches.load_state_dict(state)
        assert contents(batches) == expected[0]


def test_between_epochs_a_saved_state_begins_the_next():
    batches = noisy()
    list(batches)
    state = batches.state_dict()
    following = contents(batches)
    resumed = noisy(seed=5)
    resumed.load_state_dict(state)
    assert contents(resumed) == []  # nothing is left of the epoch that was saved
    assert contents(resumed) == following
    resumed.load_state_dict(state)
    resumed.begin()
    assert contents(resumed) == following


def test_a_state_of_an_older_version_that_said_whether_an_epoch_had_begun_is_taken_too():
    batches = noisy()
    next(iter(batches))
    for state in (batches.state_dict() | {"begun": True}, noisy().state_dict() | {"begun": False}):
        resumed, same = noisy(seed=5), noisy(seed=6)
        resumed.load_state_dict(state)
        same.load_state_dict({name: value for name, value in state.items() if name != "begun"})
        assert contents(resumed) == contents(same)


@pytest.mark.parametrize("given", [-1, 4, 1.5, None])
def test_a_state_outside_an_epoch_is_refused(given):
    with pytest.raises(ValueError, match="the state's place is outside an epoch of 3 batches"):
        noisy().load_state_dict(noisy().state_dict() | {"given": given})


def test_a_state_saved_before_the_first_epoch_begins_it():
    state = noisy().state_dict()
    resumed = noisy(seed=5)
    resumed.load_state_dict(state)
    assert contents(resumed) == contents(noisy())


def test_leaving_an_epoch_leaves_the_state_where_the_last_batch_left_it():
    states = []
    for ahead in (1, 5):
        batches = noisy(ahead=ahead)
        for _ in batches:
            break
        states.append(batches.state_dict())
    assert all(a.equal(b) for a, b in zip(*(state["generators"] for state in states), strict=True))
    assert states[0]["given"] == states[1]["given"] == 1


def test_the_end_of_an_epoch_that_was_left_takes_nothing_from_the_one_begun_since():
    undisturbed, batches = noisy(), noisy()
    next(iter(undisturbed))
    left = iter(batches)
    next(left)
    expected, found = iter(undisturbed), iter(batches)
    first = [next(expected), next(found)]
    left.close()
    assert batches.state_dict()["given"] == 1
    for one, other in zip(*zip(first, strict=True), strict=True):
        assert all(a.equal(b) for a, b in zip(one, other, strict=True))
    assert contents(found) == contents(expected)
    assert contents(batches) == contents(undisturbed)


def test_a_part_without_an_image_is_refused():
    batches = noisy()
    with pytest.raises(ValueError, match="an epoch would have no images: use more images, or a larger part"):
        batches.enter(True, 0.01)


@pytest.mark.parametrize("reshuffle", [False, True])
def test_a_part_of_the_images_is_the_same_in_every_epoch(reshuffle):
    batches = made(reshuffle)
    first = set(batches.order[:10].tolist())
    batches.enter(True, 0.4)
    assert [set(epoch(batches)) for _ in range(3)] == [first] * 3
    batches.enter(True, 1.0)
    assert sorted(epoch(batches)) == list(range(25))


def test_what_fails_in_the_background_fails_where_the_batch_is_asked_for():
    batches = noisy()
    batches.images = batches.images[:5]
    with pytest.raises((IndexError, RuntimeError), match=r"index|range"):
        list(batches)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shard": 2, "shards": 2}, "shard must be between 0 and 1, not 2"),
        ({"ahead": 0}, "ahead must be at least 1 batch, not 0"),
    ],
)
def test_arguments_that_make_no_batches_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        noisy(**arguments)


def test_a_state_of_another_data_set_is_refused():
    state = noisy().state_dict() | {"order": torch.arange(7)}
    with pytest.raises(ValueError, match="a data set of 7 images, not 25"):
        noisy().load_state_dict(state)
