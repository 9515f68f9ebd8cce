from pathlib import Path

import pytest

from alexnet_repro.training.checkpoint import CheckpointError, check_classes, class_order

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


def test_a_run_goes_on_with_the_same_classes_in_the_same_order_only():
    check_classes(FILE, None, ["cat"])
    check_classes(FILE, ["cat", "dog"], ("cat", "dog"))
    with pytest.raises(CheckpointError, match="in another order"):
        check_classes(FILE, ["cat", "dog"], ["dog", "cat"])
    with pytest.raises(CheckpointError, match="cat there, wolf here"):
        check_classes(FILE, ["cat", "dog"], ["dog", "wolf"])
