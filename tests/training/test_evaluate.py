import json
import math

import pytest
import torch
from tiny_net import TINY_NET
from torch import nn

from alexnet_repro import build, evaluate, top_k_error
from alexnet_repro.data.config import InputConfig
from alexnet_repro.data.inputs import InputTransform
from alexnet_repro.training import evaluate as evaluating
from alexnet_repro.training.evaluate import class_table, errors, evenly_spaced, predict, predictions_csv

SCORES = torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.6, 0.1, 0.3]])
LABELS = torch.tensor([1, 1, 0, 0])


def by_hand(probabilities: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """``errors``, the logarithms taken of the probabilities themselves."""
    return errors(probabilities, labels, probabilities.gather(1, labels[:, None]).log()[:, 0])


def test_top_k_error_by_hand():
    assert top_k_error(SCORES, LABELS) == 0.5
    assert top_k_error(SCORES, LABELS, k=2) == 0.25
    assert top_k_error(SCORES, LABELS, k=3) == 0.0


@pytest.mark.parametrize("k", [0, 4])
def test_more_guesses_than_classes_are_refused(k):
    with pytest.raises(ValueError, match=f"3 classes, not {k}"):
        top_k_error(SCORES, LABELS, k=k)


@pytest.mark.parametrize("labels", [LABELS[:1], LABELS[:, None], LABELS[:3]])
def test_there_is_a_label_for_every_row_of_scores(labels):
    with pytest.raises(ValueError, match=r"labels \(N,\), not \(4, 3\) and \(\d"):
        top_k_error(SCORES, labels)


def test_scores_that_are_no_numbers_are_right_about_nothing():
    assert top_k_error(SCORES * math.nan, LABELS) == top_k_error(SCORES * math.nan, LABELS, k=3) == 1.0


class Brightness(nn.Module):
    """Logits of two classes: the mean of the image, and 0. Remembers whether it was in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.modes = set()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.modes.add(self.training)
        mean = x.mean((1, 2, 3)) * self.weight
        return torch.stack([mean, torch.zeros_like(mean)], dim=1)


def plain(crop: int | None = None) -> InputTransform:
    return InputTransform(InputConfig(crop=crop), torch.zeros(3, 1, 1), torch.ones(()))


def test_probabilities_and_not_logits_are_averaged_over_the_views():
    image = torch.zeros(1, 3, 3, 3, dtype=torch.uint8)
    image[..., 0, 0] = 40
    sigmoid = lambda x: 1 / (1 + math.exp(-x))  # noqa: E731
    # Of the nine 2x2 crops of a 3x3 image, those at the top left see the pixel; offsets are 0, 0 and 1.
    views = [10.0 if y == 0 and x == 0 else 0.0 for y in (0, 0, 1) for x in (0, 0, 1)]
    expected = sum(sigmoid(view) for view in views) / 9
    assert predict(Brightness(), image, plain(crop=2))[0][0, 0].item() == pytest.approx(expected, rel=1e-5)


def test_probabilities_are_of_single_precision_where_the_logits_are_of_half():
    net, images = build(TINY_NET), torch.randint(0, 256, (5, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    whole, _ = predict(net, images.to(torch.uint8), plain())
    with torch.autocast("cpu", torch.bfloat16):
        half, _ = predict(net, images.to(torch.uint8), plain())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, whole, rtol=0, atol=0.02)
    torch.testing.assert_close(half.sum(1), torch.ones(5))


class Stored:
    """Images on disk, which gives those asked for and remembers how many these were."""

    def __init__(self, images: torch.Tensor) -> None:
        self.images, self.asked = images, []
        self.dtype, self.ndim, self.shape, self.index_select = images.dtype, images.ndim, images.shape, None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice) -> torch.Tensor:
        self.asked.append(len(self.images[rows]))
        return self.images[rows]


@pytest.mark.parametrize("shards", [1, 2])
def test_stored_images_are_asked_for_a_batch_at_a_time(shards):
    images = torch.randint(0, 3, (520, 3, 2, 2), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    stored, labels, model = Stored(images), torch.arange(520) % 2, Brightness()
    for shard in range(shards):
        rows = slice(260 * shard if shards == 2 else 0, 260 * (shard + 1) if shards == 2 else 520)
        found = evaluate(model, stored, labels, plain(), shard, shards)
        assert found == pytest.approx(by_hand(predict(model, images[rows], plain())[0], labels[rows]), rel=1e-6)
    assert max(stored.asked) == 250
    assert sum(stored.asked) == 520


def test_batches_make_no_difference_and_the_mode_is_restored():
    images = torch.randint(0, 3, (7, 3, 2, 2), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    model = Brightness().train()
    halves, whole = predict(model, images, plain(), batch_size=2), predict(model, images, plain())
    assert halves[0].equal(whole[0])
    assert model.training
    assert model.modes == {False}


def test_a_network_that_fails_in_a_test_is_left_in_training_mode():
    model = Brightness().train()
    with pytest.raises(ValueError, match="labels must be a tensor"):
        evaluate(model, torch.zeros(2, 3, 2, 2, dtype=torch.uint8), torch.tensor([0]), plain())
    assert model.training
    assert model.modes == {False}


PIXELS = torch.zeros(2, 3, 2, 2, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (PIXELS / 255, torch.tensor([0, 1]), r"uint8, not \(2, 3, 2, 2\) torch.float32$"),
        (PIXELS[0], torch.tensor([0]), r"not \(3, 2, 2\) torch.uint8: a single image is image\[None\]"),
        (PIXELS.numpy(), torch.tensor([0, 1]), "images must be a torch tensor.*not ndarray"),
        (PIXELS, torch.tensor([0, 1, 0]), r"a tensor, \(2,\) int64, one per image, not \(3,\) torch.int64"),
        (PIXELS, torch.tensor([0, 1]).int(), r"not \(2,\) torch.int32"),
        (PIXELS, torch.tensor([0, 1]).numpy(), "labels must be a tensor.*not ndarray"),
        (PIXELS, torch.tensor([0, 2]), "labels must be from 0 to 1, numbers of the model's outputs, not 2"),
        (PIXELS, torch.tensor([-1, 0]), "not -1"),
    ],
)
def test_images_and_labels_that_do_not_fit_are_refused(images, labels, message):
    for function in (
        evaluate,
        lambda model, images, labels, transform: predict(model, images, transform, labels=labels),
    ):
        with pytest.raises(ValueError, match=message):
            function(Brightness(), images, labels, plain())


def test_evaluate_reports_error_and_mean_log_probability():
    images = torch.tensor([0, 2], dtype=torch.uint8).view(2, 1, 1, 1).repeat(1, 3, 1, 1)
    result = evaluate(Brightness(), images, torch.tensor([0, 1]), plain())
    p = 1 / (1 + math.exp(-2))
    assert result["top1_error"] == 0.5
    assert result["log_probability"] == pytest.approx((math.log(0.5) + math.log(1 - p)) / 2)


def test_errors_by_hand_and_the_top_five_of_more_than_five_classes():
    probabilities = torch.eye(7)[:4] * 0.4 + torch.arange(7.0).div(35)
    labels = torch.tensor([0, 1, 6, 3])
    found = by_hand(probabilities, labels)
    assert found["top1_error"] == 0.25
    assert found["top5_error"] == 0.0
    expected = probabilities[range(4), labels].log().mean().item()
    assert found["log_probability"] == pytest.approx(expected)
    assert "top5_error" not in by_hand(SCORES, LABELS)


class Certain(nn.Module):
    """Logits of two classes that are far apart, for an image of ones; for another they are near."""

    def __init__(self, far: float) -> None:
        super().__init__()
        self.far, self.weight = far, nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([x[:, 0, 0, 0] * self.far, torch.zeros(len(x))], dim=1) * self.weight


@pytest.mark.parametrize("far", [200.0, 1e30])
def test_the_log_probability_is_finite_where_the_probability_is_too_small_for_its_type(far):
    images = torch.ones(3, 3, 2, 2, dtype=torch.uint8)
    found = evaluate(Certain(far), images, torch.tensor([1, 1, 0]), plain())
    assert found == {"top1_error": pytest.approx(2 / 3), "log_probability": pytest.approx(-far * 2 / 3)}
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_over_views_the_log_probability_is_that_of_the_mean_probability():
    images = torch.randint(0, 3, (9, 3, 3, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    labels = torch.arange(9) % 2
    found = evaluate(Brightness(), images, labels, plain(crop=2))
    expected = by_hand(predict(Brightness(), images, plain(crop=2))[0], labels)
    assert found["log_probability"] == pytest.approx(expected["log_probability"], rel=1e-6)
    assert found["top1_error"] == expected["top1_error"]


def test_an_empty_share_counts_as_nothing(monkeypatch):
    others = torch.tensor([0.5, -0.7, 1.0]) * 4
    monkeypatch.setattr(evaluating, "summed", lambda mine, group: mine + others)
    empty = torch.zeros(0, dtype=torch.int64)
    assert by_hand(SCORES[:0], empty) == pytest.approx({"top1_error": 0.5, "log_probability": -0.7})
    images = torch.zeros(0, 3, 2, 2, dtype=torch.uint8)
    assert evaluate(Brightness(), images, empty, plain()) == pytest.approx(by_hand(SCORES[:0], empty))


def test_errors_of_no_images_at_all_are_refused():
    empty = torch.zeros(0, dtype=torch.int64)
    with pytest.raises(ValueError, match="no images to take errors of"):
        by_hand(SCORES[:0], empty)
    with pytest.raises(ValueError, match="needs at least one row"):
        top_k_error(SCORES[:0], empty)


def test_what_is_not_finite_is_left_empty_in_the_file_of_predictions():
    lines = predictions_csv(SCORES[:1] * math.nan, LABELS[:1], ["cat", "dog", "eel"]).splitlines()
    assert lines[1].endswith(",,,")


def test_the_top_five_miss_what_comes_sixth():
    probabilities = torch.arange(7.0)[None] / 21
    assert by_hand(probabilities + 0.01, torch.tensor([1]))["top5_error"] == 1.0
    assert by_hand(probabilities + 0.01, torch.tensor([2]))["top5_error"] == 0.0


def test_the_table_of_classes_by_hand():
    table = class_table(SCORES, LABELS, ["cat", "dog", "eel"])
    assert table.rows == [["cat", "2", "50.0", "eel"], ["dog", "2", "50.0", "cat"], ["eel", "0", "-", "-"]]


def test_the_file_of_predictions_by_hand():
    lines = predictions_csv(SCORES[:1], LABELS[:1], ["cat", "dog", "eel, electric"]).splitlines()
    assert lines[0] == "image,class,guess1,guess2,guess3,probability1,probability2,probability3"
    assert lines[1] == '0,dog,dog,"eel, electric",cat,0.7,0.2,0.1'


def test_the_training_images_that_are_looked_at_are_spread_over_all_of_them():
    assert evenly_spaced(10, 4).tolist() == [0, 2, 5, 7]
    assert evenly_spaced(3, 4).tolist() == [0, 1, 2]


def test_the_class_that_one_is_taken_for_most_often_is_named():
    rows = class_table(torch.eye(3)[[1, 1, 2, 0]], torch.zeros(4).long(), ["a", "b", "c"]).rows
    assert rows[0] == ["a", "4", "75.0", "b"]
