"""The claims of the paper as data: what is compared, and what the paper and its original runs say.

Everything here is fixed before the runs.

Example:
    >>> from alexnet_repro import CLAIMS
    >>> claim = CLAIMS["pooling"]
    >>> claim.statement, claim.section, claim.arms
    ('Overlapping pooling lowers the error by 0.4 points', '3.4', ('run147', 'run145'))
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from alexnet_repro import paper
from alexnet_repro.claims.claim import Claim, Fixed, Measurement, Metric
from alexnet_repro.claims.studies import ALEXNET, LRN, RELU, RELU_LOCAL, RELU_MODERN, RELU_SCALED, STUDIES
from alexnet_repro.claims.study import SCALES, Study
from alexnet_repro.support.values import chosen

# Errors at which runs are compared, as fractions; every arm should reach them before its learning rate first drops.
CONVERGED = {"laptop": 0.35, "gpu": 0.7, "paper": 0.6}  # OURS. Validation error: for dropout's effect on iterations
EARLY = {"laptop": 0.5, "gpu": 0.9, "paper": 0.9}  # OURS. Training error: the end of the early stages of learning
EQUALLY_FITTED = {"laptop": 0.25, "gpu": 0.6, "paper": 0.6}  # OURS. Training error in eval mode: for overfitting


def _claim(
    name: str,
    section: str,
    statement: str,
    chapter: str,
    baseline: str,
    treatment: str,
    metric: Metric | tuple[Metric, Metric],
    **rest: Any,
) -> Claim:
    """A claim on the difference between two arms of AlexNet, in one metric or one per arm; ``rest`` overrides."""
    before, after = (metric, metric) if isinstance(metric, str) else metric
    usual: dict[str, Any] = {
        "study": ALEXNET,
        "effect": "difference",
        "original_run": "none survives",
        "scales": tuple(rest.get("target", SCALES)),
        "baseline": Measurement(baseline, before),
        "treatment": Measurement(treatment, after),
    }
    return Claim(id=name, section=section, statement=statement, chapter=chapter, **usual | rest)


def _relu(study: Study, protocol: str) -> Claim:
    statement = f"ReLU reaches 25 % training error on CIFAR-10 six times faster than tanh ({protocol})"
    return _claim(
        study.id, "3.1", statement, "03_relu", "tanh", "relu", "epochs_to_target",
        study=study, effect="ratio", paper_value=paper.RELU_SPEEDUP,
    )  # fmt: skip


def _lrn_cifar(name: str, variant: str, treatment: str) -> Claim:
    statement = f"Response normalization lowers a four-layer network's test error on CIFAR-10 by 2 points{variant}"
    return _claim(
        name, "3.3", statement, "04_lrn", "without", treatment, "top1_error", study=LRN,
        paper_value=paper.CIFAR_TEST_ERROR_WITHOUT_LRN - paper.CIFAR_TEST_ERROR_WITH_LRN,
        original_run="none survives; both errors stand in the headers of cuda-convnet's layer files",
    )  # fmt: skip


def _lrn(name: str, variant: str, treatment: str, **original: Any) -> Claim:
    statement = f"Response normalization lowers AlexNet's error by 1.4 points ({variant})"
    gain = paper.LRN_GAIN[0]
    return _claim(name, "3.3", statement, "04_lrn", "run148", treatment, "top1_error", paper_value=gain, **original)


def _colour(name: str, variant: str, treatment: str) -> Claim:
    statement = f"PCA colour noise lowers the error by over 1 point ({variant})"
    gain = paper.COLOR_GAIN
    return _claim(name, "4.1", statement, "07_augmentation", "no-colour", treatment, "top1_error", paper_value=gain)


def _level(name: str, statement: str, value: float, metric: Metric, run: str, **rest: Any) -> Claim:
    """A claim about an error in the paper's tables."""
    of = {"effect": "level", "paper_value": value, "original_run": run, "scales": ("paper",)}
    return _claim(name, "6", statement, "09_imagenet", "run145", "run145", metric, **of | rest)


def find(claim: str | Claim | Study) -> Claim | Study:
    """The claim, or else the study, with that id; a claim or study object is returned as it is.

    Raises:
        ValueError: neither a claim nor a study has that id.
    """
    if not isinstance(claim, str):
        return claim
    known: dict[str, Claim | Study] = {**CLAIMS, **STUDIES, **CLAIMS}  # where both have the id, the claim
    return chosen("claim", claim, known)


def study_of(claim: str | Claim | Study) -> tuple[Study | None, tuple[str, ...] | None]:
    """The study that a claim's runs belong to, and the arms it needs; for a study, itself and None for all arms."""
    found = find(claim)
    return (found, None) if isinstance(found, Study) else (found.study, found.arms)


_YEAR_2010, _YEAR_2012 = paper.RUN145_ERRORS_2010, paper.RUN145_ERRORS_2012[0]  # of run 145; of 2012 top-1, ten crops

# When each claim was fixed. A claim that is added or changed gets the commit that did so, before its first record.
_CIFAR = Fixed("2026-11-24T02:01:47+00:00", "3167b425047089a036bfeabfa22295d39899eba5")
_PARTS = Fixed("2026-11-25T06:18:58+00:00", "8bbde3941c2c7c9014e47226c81f8204347c486b")
_FIXED = {
    "relu": _CIFAR,
    "relu-local": Fixed("2026-11-25T06:45:26+00:00", "ab41ea9a69ff42620292eaf8b912ee70925d0f67"),
    "relu-scaled": Fixed("2026-11-24T05:05:57+00:00", "afe4dea8c397edb642431907f28ffe123b5331c8"),
    "relu-modern": _CIFAR,
    "lrn-cifar": _CIFAR,
    "lrn-cifar-printed": _PARTS,
    "lrn-cifar-published": _PARTS,
    "towers-that-talk": Fixed("2026-11-28T11:51:53+00:00", "82262ef7038622fcb36e8cb11289a6ab3b928ddf"),
}
_ALEXNET = Fixed("2026-11-27T04:04:48+00:00", "bb0bdf63f52e2d423d0216cd1a532b657ccbe0cc")

CLAIMS: Mapping[str, Claim] = {
    claim.id: replace(claim, fixed=_FIXED.get(claim.id, _ALEXNET))
    for claim in (
        _relu(RELU, "2012 protocol"),
        _relu(RELU_LOCAL, "2012 protocol, network A"),
        _relu(RELU_SCALED, "2012 protocol, scaled pixels"),
        _relu(RELU_MODERN, "modern protocol"),
        _claim(
            "two-gpus", "3.2",
            "Two towers lower the error by 1.7 points, compared with one tower with half the kernels",
            "08_two_gpus", "run145-half", "run145", "top1_error", paper_value=paper.TWO_GPUS_GAIN[0],
            original_run="145-half against 145",
            original_value=paper.RUN145_HALF_ERRORS_2010[0] - _YEAR_2010["ten"][0],
        ),
        _claim(
            "towers-that-talk", "3.2",
            "Towers that read each other's channels have a lower error than towers that do not", "08_two_gpus",
            "run150", "run145", "top1_error",
            original_run="150 against 145", original_value=paper.RUN150_ERRORS_2012[0] - _YEAR_2012,
        ),
        _claim(
            "one-wide-tower", "3.2",
            "Two towers have a lower error than one tower with about as many weights", "08_two_gpus",
            "one-wide-tower", "run145", "top1_error",
        ),
        _lrn_cifar("lrn-cifar", "", "with"),
        _lrn_cifar("lrn-cifar-printed", " (alpha as printed)", "alpha-printed"),
        _lrn_cifar("lrn-cifar-published", " (the published pair)", "published"),
        _lrn(
            "lrn", "as run, with a third layer", "run145",
            original_run="148 against 145", original_value=paper.RUN148_ERRORS_2012[0] - _YEAR_2012,
        ),
        _lrn("lrn-two", "the paper's two layers", "no-third-norm"),
        _lrn("lrn-printed", "alpha as printed", "alpha-printed"),
        _lrn("lrn-k-1", "k = 1, as in Caffe", "k-1"),
        _claim(
            "pooling", "3.4", "Overlapping pooling lowers the error by 0.4 points", "05_pooling",
            "run147", "run145", "top1_error", paper_value=paper.POOLING_GAIN[0],
            original_run="147 against 145", original_value=paper.RUN147_ERRORS_2012[0] - _YEAR_2012,
        ),
        _claim(
            "pooling-overfitting", "3.4", "Networks with overlapping pooling overfit slightly less", "05_pooling",
            "run147", "run145", "val_error_at_target", target=EQUALLY_FITTED,
        ),
        _claim(
            "crops", "4.1", "Without random crops and flips the network overfits", "07_augmentation",
            "centre-crops", "run145", "val_error_at_target", target=EQUALLY_FITTED,
        ),
        _claim(
            "crops-error", "4.1", "Random crops and flips lower the error", "07_augmentation",
            "centre-crops", "run145", "top1_error",
        ),
        _colour("colour", "as run", "run145"),
        _colour("colour-printed", "as printed", "colour-printed"),
        _colour("colour-lighting", "the widespread variant", "colour-lighting"),
        _claim(
            "ten-crop", "4.1", "Averaging over ten crops lowers the error by 1.5 points", "09_imagenet",
            "run145", "run145", ("centre_error", "top1_error"),
            paper_value=paper.ERRORS_2010["centre"][0] - paper.ERRORS_2010["ten"][0],
            original_run="145, ILSVRC-2010", original_value=_YEAR_2010["centre"][0] - _YEAR_2010["ten"][0],
        ),
        _claim(
            "dropout", "4.2", "Without dropout the network overfits", "06_dropout",
            "no-dropout", "run145", "val_error_at_target", target=EQUALLY_FITTED,
        ),
        _claim("dropout-error", "4.2", "Dropout lowers the error", "06_dropout", "no-dropout", "run145", "top1_error"),
        _claim(
            "dropout-iterations", "4.2", "Dropout roughly doubles the iterations to converge", "06_dropout",
            "run145", "no-dropout", "epochs_to_val_error",
            effect="ratio", paper_value=paper.DROPOUT_ITERATIONS, target=CONVERGED,
        ),
        _claim(
            "weight-decay", "5", "Weight decay lowers the training error itself", "06_dropout",
            "no-decay", "run145", "train_eval_error",
        ),
        _claim(
            "biases", "5", "Biases of 1 speed up the beginning of learning", "09_imagenet",
            "biases-0", "run145", "epochs_to_train_error", effect="ratio", target=EARLY,
        ),
        _claim(
            "specialization", "6.1", "One tower's first layer specializes in colour, the other's in grey",
            "10_features", "run145", "run145", ("color_difference", "color_difference_chance"),
            original_run="none survives: the weights were not published",
        ),
        _claim(
            "depth", "7", "Without a middle layer the error is 2 points higher", "02_architecture",
            "no-conv4", "run145", "top1_error", paper_value=paper.MIDDLE_LAYER_GAIN,
        ),
        _level(
            "headline-2010", "One network, ten crops: 37.5 % top-1 error on the test set of ILSVRC-2010",
            paper.ERRORS_2010["ten"][0], "top1_error", "145, ILSVRC-2010",
            original_value=_YEAR_2010["ten"][0], study=None,
        ),
        _level(
            "headline-2012", "One network, ten crops: 40.7 % top-1 error on the validation set of ILSVRC-2012",
            paper.ERRORS_2012[0], "top1_error", "145, ILSVRC-2012", original_value=_YEAR_2012,
        ),
        _level(
            "ensemble-5", "Five networks together: 16.4 % top-5 error on the validation set of ILSVRC-2012",
            paper.ENSEMBLE_TOP5["five"], "top5_error", "none survives", study=None,
        ),
        _level(
            "ensemble-7", "Seven networks, two of them pre-trained: 15.3 % top-5 error on the test set of ILSVRC-2012",
            paper.ENSEMBLE_TOP5["seven"], "top5_error", "146 was pre-trained", study=None,
        ),
    )
}  # fmt: skip
"""Id -> claim, in the order of the paper."""
