"""All studies: what is run, as data."""

from __future__ import annotations

from collections.abc import Mapping

from alexnet_repro.claims.alexnet_studies import ALEXNET, FULL_RUN, PILOT
from alexnet_repro.claims.cifar_studies import (
    AUGMENTATION,
    LR_SEARCHES,
    LRN,
    RELU,
    RELU_LOCAL,
    RELU_MODERN,
    RELU_SCALED,
)
from alexnet_repro.claims.study import Study

STUDIES: Mapping[str, Study] = {
    study.id: study
    for study in (
        RELU,
        RELU_LOCAL,
        RELU_SCALED,
        RELU_MODERN,
        LRN,
        *LR_SEARCHES.values(),
        AUGMENTATION,
        ALEXNET,
        PILOT,
        FULL_RUN,
    )
}
"""Id -> study, for all studies whose runs are recorded in the book."""
