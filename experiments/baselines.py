"""What scores without a network: the commonest answer, a forecast, a linear model. Once per dataset, within seconds.

Beside a network they tell a broken run from a hard task. Scored as runs are, on the same test set; part of no claim.
"""

from __future__ import annotations

import contextlib
import json
import math
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.console import Console

from experiments import metrics
from experiments.contract.arrays import Array
from experiments.data import Dataset
from experiments.fingerprint import plain
from experiments.metrics import Array64
from experiments.phases import phase
from experiments.records import BaselineRecord

# A linear model's examples x inputs x outputs, and its steps: a second of one core. Of more examples some are taken.
MOST_PRODUCTS = 20_000_000
MOST_STEPS = 100
FEWEST_EXAMPLES = 100  # of more; on fewer a linear model says little
RECIPE = 1  # rises when the numbers below are made otherwise


def kept(dataset: Dataset, *, loss: str, folder: Path, console: Console) -> list[BaselineRecord]:
    """The baselines of a dataset under a loss, from `folder`, or made now, which is said, and put there."""
    made_of = {"recipe": RECIPE, "loss": loss, "spec": plain(dataset.spec)}
    path = folder / f"{dataset.fingerprint}.{loss}.baselines.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # none, or not whole: made anew
        content = json.loads(path.read_text())
        if content["made_of"] == made_of:
            return [BaselineRecord(**each | {"origin": dataset.origin}) for each in content["baselines"]]
    with phase("Scoring the baselines", console=console):
        found = of(dataset, loss=loss)
    partial = path.with_name(f".{path.name}.{id(found)}")
    with contextlib.suppress(OSError):  # the next command makes them again
        try:
            partial.write_text(json.dumps({"made_of": made_of, "baselines": plain(found)}))
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    return found


def of(dataset: Dataset, *, loss: str) -> list[BaselineRecord]:
    """The guess first, then a forecast and a linear model where the data have them; none whose scores are not finite.

    Args:
        dataset: Whose training part they are made of, and on whose test set they are scored.
        loss: The task's.
    """
    spec = dataset.spec
    found: list[BaselineRecord] = []
    reference = metrics.REFERENCES[spec.reference](dataset.x_test)
    for name, logits, n_examples in _answers(dataset, loss=loss, reference=reference):
        scores = metrics.evaluate(
            logits, dataset.y_test, loss=loss, target_scale=spec.target_scale, reference=reference
        )
        if all(math.isfinite(score) for score in scores.values()):
            found.append(
                BaselineRecord(
                    data=dataset.fingerprint,
                    origin=dataset.origin,
                    loss=loss,
                    name=name,
                    is_guess=not found,
                    n_examples=n_examples,
                    metrics={f"test/{metric}": score for metric, score in scores.items()},
                )
            )
    return found


def _answers(
    dataset: Dataset, *, loss: str, reference: Array | None
) -> Iterator[tuple[str, Array | Array64, int | None]]:
    """Name, outputs for the test set and, where not all, the number of training examples of each baseline."""
    n_test, n_outputs = len(dataset.y_test), dataset.spec.n_outputs
    guess = "mean" if loss == "mean_squared_error" else "majority class"
    yield guess, np.broadcast_to(_guess(dataset, loss=loss), (n_test, n_outputs)), None
    if reference is not None:
        yield dataset.spec.reference, reference, None
    chosen = _chosen(dataset)
    if chosen is None:
        return
    n_examples = None if len(chosen) == len(dataset.y_train) else len(chosen)
    y = dataset.y_train[chosen]
    x, x_test = _standardized(dataset.x_train[chosen], dataset.x_test)
    if not np.isfinite(x_test).all():  # so far from the training examples that float32 does not hold it
        return
    if loss == "mean_squared_error":
        yield "ridge regression", _ridge(x, y, x_test), n_examples
    elif loss == "cross_entropy" and len(np.unique(y)) > 1:
        yield "logistic regression", _logistic(x, y, x_test, n_classes=n_outputs), n_examples
    elif y.shape[1:] == (1,) and set(np.unique(y).tolist()) == {0.0, 1.0}:
        logs = _logistic(x, y[:, 0].astype(np.int64), x_test, n_classes=2)
        yield "logistic regression", logs[:, 1:] - logs[:, :1], n_examples


def _guess(dataset: Dataset, *, loss: str) -> Array64:
    """Outputs (n_outputs,) that are best without a look at the inputs: the mean, or log shares of the classes.

    A class that no training example has counts as half an example, so that its logarithm is finite.
    """
    y, half = dataset.y_train, 0.5 / len(dataset.y_train)
    if loss == "cross_entropy":
        logs: Array64 = np.log(np.maximum(np.bincount(y, minlength=dataset.spec.n_outputs) / len(y), half))
        return logs
    mean: Array64 = y.mean(axis=0, dtype=np.float64)
    if loss == "mean_squared_error":
        return mean
    share = np.clip(mean, half, 1 - half)
    odds: Array64 = np.log(share / (1 - share))
    return odds


def _chosen(dataset: Dataset) -> Array | None:
    """Indices of the training examples of a linear model, evenly spaced, so that sorted classes keep their shares.

    None where there would be too few, and of sequences and tokens: those are no quantities, and padding is no step.
    """
    spec, n = dataset.spec, len(dataset.y_train)
    if spec.vocabulary or len(spec.input_shape) == 2:
        return None
    n_used = min(n, MOST_PRODUCTS // (math.prod(spec.input_shape) * spec.n_outputs))
    return None if n_used < min(n, FEWEST_EXAMPLES) else np.arange(n_used) * n // n_used


def _standardized(x: Array, x_test: Array) -> tuple[Array, Array]:
    """Both as rows of numbers, brought to mean 0 and standard deviation 1 on the first."""
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    with np.errstate(over="ignore"):
        return scaler.fit_transform(x.reshape(len(x), -1)), scaler.transform(x_test.reshape(len(x_test), -1))


def _logistic(x: Array, y: Array, x_test: Array, *, n_classes: int) -> Array64:
    """Log probabilities (n_test, n_classes) of logistic regression, scikit-learn's defaults."""
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    model = LogisticRegression(max_iter=MOST_STEPS)
    # One thread: several spin beside workers that start, for ten times the processor time, and move the last digits.
    # Ignored is that it has not converged: it is bounded in time.
    with threadpool_limits(1), warnings.catch_warnings(action="ignore"):
        scores = model.fit(x, y).decision_function(x_test).astype(np.float64)
    if scores.ndim == 1:  # of two classes, the second one's
        scores = np.stack([np.zeros_like(scores), scores], axis=1)
    logs = np.full((len(x_test), n_classes), math.log(0.5 / len(y)))
    logs[:, model.classes_] = metrics.log_softmax(scores)
    return logs


def _ridge(x: Array, y: Array, x_test: Array) -> Array64:
    """Outputs (n_test, n_outputs) of ridge regression, scikit-learn's defaults."""
    from sklearn.linear_model import Ridge
    from threadpoolctl import threadpool_limits

    model = Ridge(solver="lsqr", max_iter=MOST_STEPS)  # the solver whose time is bounded
    with threadpool_limits(1):
        outputs: Array64 = model.fit(x, y).predict(x_test).reshape(len(x_test), -1).astype(np.float64)
    return outputs
