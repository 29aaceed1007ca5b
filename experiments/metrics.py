"""One evaluator for all: losses and metrics from logits, in float64, whatever framework made them.

METRICS and COSTS say what there is to know of each: adding a score is a line of METRICS.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from experiments.contract.arrays import Array

Array64 = NDArray[np.float64]


def log_softmax(logits: Array, /) -> Array64:
    """log(exp(z) / sum(exp(z))) along the last axis: (n, n_classes) -> (n, n_classes)."""
    shifted: Array64 = logits.astype(np.float64) - np.max(logits, axis=-1, keepdims=True)
    total: Array64 = np.sum(np.exp(shifted), axis=-1, keepdims=True)
    return shifted - np.log(total)


def cross_entropy(logits: Array, targets: Array, /) -> float:
    """Mean of -log p(target), in nats: logits (n, n_classes), targets (n,) of class numbers."""
    return float(-np.mean(log_softmax(logits)[np.arange(len(targets)), targets]))


def binary_cross_entropy(logits: Array, targets: Array, /) -> float:
    """Mean of -y log s(z) - (1 - y) log(1 - s(z)), in nats, s the logistic function: both (n, n_outputs)."""
    z = logits.astype(np.float64)
    return float(np.mean(np.logaddexp(0, z) - targets * z))


def mean_squared_error(outputs: Array, targets: Array, /) -> float:
    """Mean of (z - y)**2, in the squared unit of the targets: both (n, n_outputs)."""
    return float(np.mean((outputs.astype(np.float64) - targets) ** 2))


def brier_score(logits: Array, targets: Array, /) -> float:
    """Mean of (s(z) - y)**2, s the logistic function: both (n, n_outputs), y in [0, 1]. The loss of binary outputs."""
    return mean_squared_error(logistic(logits), targets)


def logistic(logits: Array, /) -> Array64:
    """1 / (1 + exp(-z)), without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * logits.astype(np.float64)))


def accuracy(logits: Array, targets: Array, /) -> float:
    """Share of examples whose largest logit is the target's, or of outputs on the target's side of 1/2, in [0, 1]."""
    if targets.ndim == 1:
        return float(np.mean(np.argmax(logits, axis=-1) == targets))
    return float(np.mean((logits > 0) == (targets > 0.5)))


def multiclass_brier_score(logits: Array, targets: Array, /) -> float:
    """Mean over examples of the sum over classes of (p - 1[class is the target])**2, in [0, 2].

    Logits (n, n_classes), targets (n,) of class numbers. Source: Brier 1950.
    """
    errors = np.exp(log_softmax(logits))
    errors[np.arange(len(targets)), targets] -= 1
    return float(np.mean(np.sum(errors**2, axis=1)))


def calibration_error(logits: Array, targets: Array, /, *, n_bins: int = 15) -> float:
    """Expected calibration error of the answers, in [0, 1]: mean of |share right - mean confidence| over bins.

    A bin (k / n_bins, (k + 1) / n_bins] of the answer's probability weighs as many examples as it holds. Logits
    (n, n_classes), targets (n,). Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3.
    """
    chances = np.exp(log_softmax(logits))
    confidence, right = chances.max(axis=1), logits.argmax(axis=1) == targets  # as accuracy: chances can tie
    bins = np.clip(np.ceil(confidence * n_bins).astype(np.int64) - 1, 0, n_bins - 1)
    excess = np.bincount(bins, weights=right - confidence, minlength=n_bins)  # of each bin: its size times its gap
    return float(np.abs(excess).sum() / len(targets))


def by_class(logits: Array, targets: Array, /) -> dict[str, float]:
    """Scores in which every class weighs the same, whatever its share of the examples; all in [0, 1].

    balanced_accuracy is the mean recall of the classes that occur among the targets; macro_precision, macro_recall
    and macro_f1 are means over the classes that occur among targets or answers, 0 where a class has no answer or no
    target. Logits (n, n_classes), targets (n,). Source: the definitions of scikit-learn's functions of these names.
    """
    answers, n_classes = logits.argmax(axis=1), logits.shape[1]
    right = np.bincount(targets[answers == targets], minlength=n_classes)
    actual, answered = np.bincount(targets, minlength=n_classes), np.bincount(answers, minlength=n_classes)
    seen = (actual > 0) | (answered > 0)
    recall, precision = (_ratio(right, of)[seen] for of in (actual, answered))
    f1 = _ratio(2 * right, actual + answered)[seen]
    return {
        "balanced_accuracy": float(np.mean(_ratio(right, actual)[actual > 0])),
        "macro_precision": float(np.mean(precision)),
        "macro_recall": float(np.mean(recall)),
        "macro_f1": float(np.mean(f1)),
    }


def _ratio(counts: Array, of: Array) -> Array64:
    """Counts over counts, 0 where there are none."""
    return np.divide(counts, of, out=np.zeros(len(counts)), where=of > 0)


def regression(outputs: Array, targets: Array, /, *, target_scale: float, reference: Array | None) -> dict[str, float]:
    """Rmse and mae in the unit of the data; r2 and skill without one, at most 1.

    r2, the coefficient of determination, is the mean over the outputs of 1 - MSE / variance; skill is 1 - MSE / MSE of
    the reference forecast (Murphy 1988, Mon. Weather Rev. 116). Each is left out where it would divide by 0.

    Args:
        outputs: Outputs of the last layer, shape (n, n_outputs).
        targets: What they should have been, shape (n, n_outputs).
        target_scale: Size of the targets' unit in the unit of the data.
        reference: A forecast to be held against, shape (n, n_outputs); None: there is no skill.

    Raises:
        ValueError: If outputs or reference have another shape than targets: NumPy would broadcast them.
    """
    for name, array in {"outputs": outputs, "reference": targets if reference is None else reference}.items():
        if array.shape != targets.shape:
            raise ValueError(
                f"`{name}.shape == targets.shape` must hold, but got {array.shape} and {targets.shape}; give a value "
                "for each of the targets"
            )
    errors = outputs.astype(np.float64) - targets
    squares = np.mean(errors**2, axis=0)  # (n_outputs,)
    scores = {
        "rmse": float(np.sqrt(np.mean(squares))) * target_scale,
        "mae": float(np.mean(np.abs(errors))) * target_scale,
    }
    if (np.ptp(targets, axis=0) > 0).all():  # the variance of equal numbers can round to 1e-34
        scores["r2"] = float(np.mean(1 - squares / np.var(targets.astype(np.float64), axis=0)))
    if reference is not None and (of_reference := mean_squared_error(reference, targets)) > 0:
        scores["skill"] = 1 - mean_squared_error(outputs, targets) / of_reference
    return scores


LOSSES = {
    "cross_entropy": cross_entropy,
    "binary_cross_entropy": binary_cross_entropy,
    "mean_squared_error": mean_squared_error,
    "brier_score": brier_score,
}
# What a forecast is held against: inputs -> forecast (n, n_outputs), or None.
REFERENCES: dict[str, Callable[[Array], Array | None]] = {
    "": lambda inputs: None,
    "persistence": lambda inputs: inputs[:, -1, :1],
}


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Outputs beside what they should have been: all that a score may read; see `evaluate`."""

    logits: Array
    targets: Array
    loss: str
    target_scale: float = 1.0
    reference: Array | None = None

    @cached_property
    def by_class(self) -> dict[str, float]:
        """The scores of `by_class`."""
        return by_class(self.logits, self.targets)

    @cached_property
    def regression(self) -> dict[str, float]:
        """The scores of `regression`."""
        return regression(self.logits, self.targets, target_scale=self.target_scale, reference=self.reference)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What is known of a number that a run keeps, and how a score comes from logits.

    Attributes:
        title: What it is called, without its unit.
        higher_is_better: Its direction.
        unit: What it is shown in; empty where it has none or the data's.
        factor: From the number as it is kept to that unit.
        bounds: Lowest and highest value that a verdict may see; None where it is not bounded on both sides.
        lowest, highest: What it can be at all, where it has no bounds.
        decimals: Those of a mean without an interval, and the most that an interval may ask for.
        column: Head of its column in tables, where that is not title and unit.
        in_tables: Whether tables of means and results.csv hold it; else the ledger of times alone does.
        losses: The losses whose outputs it scores.
        of: The score of an evaluation; None where it would divide by 0.
        may_be_missing: Whether `of` may be None.
    """

    title: str
    higher_is_better: bool
    unit: str = ""
    factor: float = 1.0
    bounds: tuple[float, float] | None = None
    lowest: float = 0.0
    highest: float = math.inf
    decimals: tuple[int, int] = (4, 5)
    column: str = ""
    in_tables: bool = True
    losses: tuple[str, ...] = ()
    of: Callable[[Evaluation], float | None] = lambda _: None
    may_be_missing: bool = False

    @property
    def head(self) -> str:
        """Head of its column."""
        return self.column or (f"{self.title}, {self.unit}" if self.unit else self.title)

    @property
    def difference_unit(self) -> str:
        """Unit of a difference of two: percentage points for per cent."""
        return "pp" if self.unit == "%" else self.unit


CLASSES, VALUES = ("cross_entropy",), ("mean_squared_error",)
ANSWERS = (*CLASSES, "binary_cross_entropy", "brier_score")  # their outputs are right or wrong
_share = partial(Metric, unit="%", factor=100.0, bounds=(0.0, 1.0), decimals=(2, 3), losses=CLASSES)  # in [0, 1]
_of_values = partial(Metric, decimals=(3, 4), losses=VALUES)  # in the data's unit, or in none
_seconds = partial(Metric, unit="s", decimals=(2, 3), in_tables=False, higher_is_better=False, highest=1e9)  # 30 years

METRICS: dict[str, Metric] = {  # in the order of tables
    "accuracy": _share(title="accuracy", higher_is_better=True, losses=ANSWERS,
                       of=lambda given: accuracy(given.logits, given.targets)),
    "loss": Metric(title="loss", higher_is_better=False, losses=tuple(LOSSES),
                   of=lambda given: LOSSES[given.loss](given.logits, given.targets)),
    "balanced_accuracy": _share(title="balanced accuracy", higher_is_better=True,
                                of=lambda given: given.by_class["balanced_accuracy"]),
    "macro_precision": _share(title="macro precision", higher_is_better=True,
                              of=lambda given: given.by_class["macro_precision"]),
    "macro_recall": _share(title="macro recall", higher_is_better=True,
                           of=lambda given: given.by_class["macro_recall"]),
    "macro_f1": _share(title="macro-F1", higher_is_better=True, of=lambda given: given.by_class["macro_f1"]),
    "brier_score": Metric(title="Brier score", higher_is_better=False, losses=CLASSES, highest=2.0,
                          of=lambda given: multiclass_brier_score(given.logits, given.targets)),
    "calibration_error": _share(title="calibration error", higher_is_better=False,
                                of=lambda given: calibration_error(given.logits, given.targets)),
    "rmse": _of_values(title="RMSE", higher_is_better=False, of=lambda given: given.regression["rmse"]),
    "mae": _of_values(title="MAE", higher_is_better=False, of=lambda given: given.regression["mae"]),
    "r2": _of_values(title="R²", higher_is_better=True, of=lambda given: given.regression.get("r2"),
                     may_be_missing=True, lowest=-math.inf, highest=1.0),
    "skill": _of_values(title="skill", higher_is_better=True, of=lambda given: given.regression.get("skill"),
                        may_be_missing=True, lowest=-math.inf, highest=1.0),
}  # fmt: skip
COSTS: dict[str, Metric] = {  # what a run took, under the whole names that it is kept by
    "time/import": _seconds(title="import"),
    "time/build": _seconds(title="build"),
    "time/first_step": _seconds(title="first step"),
    "time/steady_epoch": _seconds(title="steady epoch", in_tables=True, column="s / epoch"),
    "time/steady_step": _seconds(title="steady step", in_tables=True, column="ms / step", unit="ms", factor=1000.0),
    "time/fit": _seconds(title="fit"),
    "time/evaluation": _seconds(title="evaluation"),
    "time/checkpoint": _seconds(title="checkpoint"),
    "time/total": _seconds(title="total", in_tables=True, decimals=(1, 2)),
    "memory/peak_mib": Metric(
        title="peak memory", unit="MiB", decimals=(0, 1), column="MiB *", higher_is_better=False, highest=1e12
    ),
}
ACCURACY, LOSS, TRAINING_LOSS, MEMORY = "test/accuracy", "test/loss", "train_eval/loss", "memory/peak_mib"
PARTS = {"test": "", "val": "validation ", "train": "training ", "train_eval": "training "}  # before a title
AT_THE_END = ("test/", "train_eval/")  # scored once, when the training is over


def metric_of(name: str) -> Metric:
    """What is known of "test/accuracy", "val/loss" or "time/total".

    Raises:
        KeyError: If there is no such metric.
    """
    if name in COSTS:
        return COSTS[name]
    part, _, leaf = name.partition("/")
    return replace(METRICS[leaf], title=PARTS[part] + METRICS[leaf].title)


def possible(name: str) -> tuple[float, float]:
    """Lowest and highest value that a metric can have; any number for one that nobody knows."""
    known = COSTS.get(name) or METRICS.get(base_name(name))
    return (-math.inf, math.inf) if known is None else known.bounds or (known.lowest, known.highest)


def base_name(name: str) -> str:
    """What margins and chance levels call it: "test/accuracy" -> "accuracy"."""
    return name.rpartition("/")[2]


def in_tables() -> tuple[str, ...]:
    """Names of what tables of means and results.csv may hold, in their order."""
    costs = (name for name, cost in COSTS.items() if cost.in_tables)
    return (*(f"test/{name}" for name, metric in METRICS.items() if metric.in_tables), TRAINING_LOSS, *costs)


def names(loss: str) -> tuple[str, ...]:
    """What `evaluate` always tells for a loss."""
    return tuple(name for name, each in METRICS.items() if loss in each.losses and not each.may_be_missing)


def evaluate(
    logits: Array, targets: Array, *, loss: str, target_scale: float = 1.0, reference: Array | None = None
) -> dict[str, float]:
    """All metrics of one evaluation, by name; for class numbers `loss` is the log loss.

    Args:
        logits: Outputs of the last layer, shape (n, n_outputs).
        targets: Class numbers, shape (n,), or values, shape (n, n_outputs).
        loss: The task's.
        target_scale: Size of the targets' unit in the unit that rmse and mae are told in.
        reference: A forecast that a regression is held against, shape (n, n_outputs).

    Returns:
        Their values, all NaN where an output is not finite: NaN has a largest one too, and would have an accuracy.

    Raises:
        ValueError: If the numbers of logits and targets differ, or there are none; see also `regression`.
    """
    if len(logits) != len(targets) or len(targets) == 0:
        raise ValueError(f"`len(logits) == len(targets) > 0` must hold, but got {len(logits)} and {len(targets)}")
    if not np.isfinite(logits).all():
        return dict.fromkeys(names(loss), math.nan)
    given = Evaluation(logits=logits, targets=targets, loss=loss, target_scale=target_scale, reference=reference)
    with np.errstate(over="ignore", invalid="ignore"):  # a training that diverges is seen in its scores
        scores = {name: each.of(given) for name, each in METRICS.items() if loss in each.losses}
    return {name: score for name, score in scores.items() if score is not None}
