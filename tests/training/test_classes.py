from pathlib import Path

import pytest
import torch

from alexnet_repro.training.checkpoint import CheckpointError, class_order, load_saved, save_checkpoint

FILE = Path("last.pt")


def test_each_class_has_the_number_that_the_network_knows_it_by():
    assert class_order(FILE, ["cat", "dog", "eel"], ["eel", "cat", "dog"]).tolist() == [2, 0, 1]
    assert class_order(FILE, ["cat", "cat"], ["cat", "cat"]).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("known", "classes", "message"),
    [
        ("cat dog", "dog wolf", "last.pt has other classes than the images: cat there, wolf here"),
        ("cat dog", "cat dog wolf", "none more there, wolf here"),
        ("a b c d e f g h", "a", "b, c, d, e, f and 2 more there, none more here"),
        ("cat cat dog", "cat dog cat", "classes of the same name"),
    ],
)
def test_other_classes_are_refused_with_the_names_that_differ(known, classes, message):
    with pytest.raises(CheckpointError, match=message):
        class_order(FILE, known.split(), classes.split())


def test_a_run_goes_on_with_the_same_classes_in_the_same_order_only(tmp_path):
    zero = torch.zeros(1)
    training = {
        "model": {}, "velocities": {}, "batches": None, "generators": [], "torch": zero, "cuda": None, "scaler": {},
        "epochs": [], "counts": {"step": 0, "seconds": 0.0, "first_loss": 2.3}, "tally": zero, "recent": zero,
    }  # fmt: skip

    def go_on(known: list[str] | None, classes: tuple[str, ...]) -> None:
        state = {"training": training, "input": {}, "classes": known, "started": "2026-11-28T00:00:00+00:00"}
        save_checkpoint(tmp_path / FILE, {}, state)
        assert load_saved(tmp_path / FILE, {}, classes).classes == known

    go_on(None, ("cat",))
    go_on(["cat", "dog"], ("cat", "dog"))
    with pytest.raises(CheckpointError, match=r"last\.pt has the same classes in another order"):
        go_on(["cat", "dog"], ("dog", "cat"))
    with pytest.raises(CheckpointError, match="cat there, wolf here"):
        go_on(["cat", "dog"], ("dog", "wolf"))
