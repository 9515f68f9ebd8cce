"""Intervals and spreads of the differences within pairs of runs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from alexnet_repro.claims.claim import LEVEL
from alexnet_repro.training.record import Record


def mean_interval(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """The mean and its Student's t interval at confidence ``LEVEL``; a single value has no interval.

    Args:
        values: at least one.

    Returns: mean, lower end and upper end; the ends are None if there is no interval.
    """
    from scipy.stats import sem, t

    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, None, None
    half = float(t.ppf((1 + LEVEL) / 2, len(values) - 1) * sem(values))
    return mean, mean - half, mean + half


def resolvable(values: Sequence[float]) -> float:
    r"""The smallest mean that this many values, scattered like these, would distinguish from 0 in four of five trials.

    .. math:: (t_\text{level} + t_{0.8}) \, s / \sqrt{n}

    with quantiles of Student's t for n - 1 degrees of freedom; the first is the interval's.

    Args:
        values: at least 2; s is their standard deviation.
    """
    from scipy.stats import sem, t

    return float(t.ppf([(1 + LEVEL) / 2, 0.8], len(values) - 1).sum() * sem(values))


def spread_by_images(baseline: Sequence[Record], treatment: Sequence[Record]) -> float:
    """The scatter of pairs if each image were right or wrong independently of the others, from seed to seed.

    It is the standard deviation of the difference in error. Runs that are better or worse as a whole scatter more, so
    it is only a lower bound on the scatter of pairs, and verdicts do not rest on it.

    Args:
        baseline, treatment: runs of at least two seeds, in the same order, tested on the same images.

    Raises:
        ValueError: fewer than two pairs, or a record that does not say which images it is wrong about.
    """
    wrong = [[record.wrong() for record in side] for side in (baseline, treatment)]
    if len(baseline) < 2 or len(baseline) != len(treatment) or any(of_run is None for side in wrong for of_run in side):
        raise ValueError("expected at least two pairs of records that say which images they are wrong about")
    differences_by_image = np.subtract(*(np.array(side, dtype=float) for side in wrong))  # (seeds, images)
    variances = differences_by_image.var(axis=0, ddof=1)
    return float(np.sqrt(variances.sum()) / len(variances))
