"""The levels of a certificate: what is compared, against which bound, and why that bound.

The bounds come from measurements on two CPU cores: what is left between two correct implementations is rounding,
which is three to six orders of magnitude below each bound; the smallest planted error is above it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from experiments.contract.arrays import Array, Weights
from experiments.parity.certificate import Row
from experiments.parity.probes import NOT_TRAINED, is_smooth
from experiments.task import Task

FIRST_STEPS = 5
# Mixed precision: one rounding to bfloat16 is up to 2**-9 = 2e-3 of the value, and frameworks round at other places.
MIXED_BOUND = 5e-2
MIXED_RATIO = 4.0
# Data that both frameworks read alike are within 1e-5 of it in float32; data that they do not are not within 1e-2.
READ_BOUND = 1e-3


def is_mixed(precision: str) -> bool:
    """Whether a part of the arithmetic is in a 16-bit type."""
    return precision.startswith("mixed_")


def has_batch_normalization(task: Task) -> bool:
    """TensorFlow's float32 moments are only good to 1e-4, so that float32 bounds are wider."""
    return getattr(task.network, "batch_normalization", None) is not None


def difference(first: Array, second: Array) -> float:
    """Largest difference over the largest value; shapes that differ are infinitely far apart, NaN stays NaN."""
    if first.shape != second.shape:
        return float("inf")
    largest = float(np.max(np.abs(first), initial=0))
    distance = float(np.max(np.abs(first - second), initial=0))
    return 0.0 if distance == 0 else distance / largest if largest else float("inf")


def weight_map(first: Mapping[str, Any], second: Mapping[str, Any], *, precision: str) -> Row:
    """C0: both frameworks name the same weights, in the same shapes, and give back bit for bit what they were given."""
    names = sorted(set(first["weights"]) ^ set(second["weights"]))
    shapes = [
        name
        for name in first["weights"]
        if name in second["weights"] and first["weights"][name].shape != second["weights"][name].shape
    ]
    is_exact = not names and not shapes and first["round_trip"] and second["round_trip"]
    return Row(
        level="C0",
        precision=precision,
        what="weight map one to one, round trip bit for bit",
        measured=0.0 if is_exact else 1.0,
        bound=0.0,
        gates=True,
        where=", ".join(names + shapes),
    )


def forward(first: Mapping[str, Any], second: Mapping[str, Any], *, task: Task) -> Row:
    """C1: evaluation-mode logits at the initial weights."""
    precision = task.training.precision
    bound = 1e-12 if precision == "float64" else 1e-4 if has_batch_normalization(task) else 1e-5
    bound = MIXED_BOUND if is_mixed(precision) else bound
    measured = difference(first["logits"], second["logits"])
    where = "" if measured <= bound else _first_layer(first["layers"], second["layers"], bound)
    return Row(
        level="C1",
        precision=precision,
        what="logits",
        measured=measured,
        bound=bound,
        gates=precision == "float64",
        where=where,
    )


def reading(
    untrained: Sequence[Mapping[str, Any]], runs: Sequence[Mapping[str, Any]], *, floor: Array | None = None
) -> Row:
    """C1: both frameworks read the run's own examples as the same numbers in float32, the type that it is stored in.

    Outputs for training examples from the smallest to the largest, and the losses of the first steps: a number that one
    takes for 0, or a variance that it loses, moves them by far more than rounding.

    Args:
        untrained: What `probes.untrained` emitted of the two frameworks.
        runs: What `probes.free_run` emitted of them.
        floor: Largest loss distance of one-ulp starts up to each step, where it was measured.
    """
    first, second = (run["losses"][:FIRST_STEPS] for run in runs)
    outputs = difference(*(each["extremes"] for each in untrained))
    losses = difference(first, second)
    allowed = READ_BOUND if floor is None else max(READ_BOUND, 1000 * float(floor[:FIRST_STEPS].max()))
    worse = "outputs" if not outputs <= READ_BOUND else "losses" if not losses <= allowed else ""
    return Row(
        level="C1",
        precision="float32",
        what=f"the run's own examples, read alike: outputs, losses of {len(first)} steps",
        measured=losses if worse == "losses" else outputs if worse else max(outputs, losses),
        bound=READ_BOUND if worse == "outputs" else allowed,
        gates=True,
        where=worse,
    )


def _first_layer(first: Mapping[str, Array], second: Mapping[str, Array], bound: float) -> str:
    """Name of the first layer, in the order of the forward pass, whose outputs differ by more than the bound."""
    differing = [name for name in first if name in second and not difference(first[name], second[name]) <= bound / 10]
    return f"layer {differing[0]}" if differing else "no single layer"


def gradients(first: Sequence[Weights], second: Sequence[Weights], *, task: Task) -> Row:
    """C2: gradients at synced checkpoints, relative L2 distance per weight; in float32 the median over checkpoints."""
    precision = task.training.precision
    by_weight = {
        name: [_relative_distance(a[name], b[name]) for a, b in zip(first, second, strict=True)] for name in first[0]
    }
    if precision == "float64":
        summary, bound, what = {name: max(values) for name, values in by_weight.items()}, 1e-10, "largest"
    else:
        summary = {name: float(np.median(values)) for name, values in by_weight.items()}
        bound, what = (1e-2 if has_batch_normalization(task) else 1e-5), "median"
        bound = 2 * MIXED_BOUND if is_mixed(precision) else bound
    differing = [name for name, value in summary.items() if not value <= bound]
    return Row(
        level="C2",
        precision=precision,
        what=f"gradients at {len(first)} synced checkpoints, {what}",
        measured=max(summary.values()),
        bound=bound,
        gates=precision == "float64",
        where=f"gradient of {differing[0]}" if differing else "",
    )


def _relative_distance(first: Array, second: Array) -> float:
    distance, size = float(np.linalg.norm(first - second)), float(np.linalg.norm(first))
    return 0.0 if distance == 0 else distance / size if size else float("inf")


def optimizer(first: Mapping[str, Any], second: Mapping[str, Any], *, precision: str) -> list[Row]:
    """C3: the way that 300 given gradients moved the weights, at a constant and at a falling rate."""
    rows = []
    bound = 1e-12 if precision == "float64" else 1e-5
    for schedule, expected in first["moved"].items():
        moved = {name: difference(way, second["moved"][schedule][name]) for name, way in expected.items()}
        differing = [name for name, value in moved.items() if not value <= bound]
        rows.append(
            Row(
                level="C3",
                precision=precision,
                what=f"optimizer on given gradients, {schedule} rate",
                measured=max(moved.values()),
                bound=bound,
                gates=precision == "float64",
                where=f"update of {differing[0]}" if differing else "",
            )
        )
    return rows


def loss_distance(first: Array, second: Array) -> Array:
    """Relative difference of the losses of each step; NaN where either is."""
    distances: Array = np.abs(first - second) / np.maximum(np.abs(first), np.finfo(first.dtype).tiny)
    return distances


def free_run64(first: Mapping[str, Any], second: Mapping[str, Any], *, task: Task, floor: Array | None) -> list[Row]:
    """C4 in float64: losses of a free run, predictions after it, statistics of batch normalization.

    Args:
        first: What `probes.free_run` emitted of one framework.
        second: The same of the other.
        task: What was trained.
        floor: Largest loss distance of one-ulp starts from the unmoved one up to each step, shape (n_steps,), where it
            was measured. A chaotic recipe is so held to 1e-9 for as long as its own rounding stays below that.
    """
    distances = loss_distance(first["losses"], second["losses"])
    floor = np.zeros(len(distances)) if floor is None else floor
    late_bound = max(1e-7, 1000 * float(floor[-1]))
    row = partial(Row, level="C4", precision="float64", gates=True)
    rows = [
        _losses_row(distances, floor=floor),
        _flips_row(first["logits"], second["logits"], loss=task.training.loss, logits_bound=late_bound),
        row(
            what="evaluation-mode logits after it",
            measured=difference(first["logits"], second["logits"]),
            bound=late_bound,
            where="",
        ),
    ]
    names = [name for name in first["weights"] if name.endswith(NOT_TRAINED)]
    statistics = {name: difference(first["weights"][name], second["weights"][name]) for name in names}
    if statistics:
        differing = [name for name, value in statistics.items() if not value <= late_bound]
        rows.append(
            row(
                what="moving statistics after it",
                measured=max(statistics.values()),
                bound=late_bound,
                where=differing[0] if differing else "",
            )
        )
    return rows


def _losses_row(distances: Array, *, floor: Array) -> Row:
    """C4: the losses of a free run, at the step that comes nearest to its bound or exceeds it most."""
    bounds = np.maximum(1e-9, 1000 * floor)
    tightest = int(np.argmax(np.where(np.isnan(distances), np.inf, distances / bounds)))
    late = np.flatnonzero(~(distances <= bounds))
    n_strict = int(np.sum(bounds <= 1e-9))
    held = "" if n_strict == len(distances) else f", the first {n_strict} to 1e-9, the others to their own chaos"
    return Row(
        level="C4",
        precision="float64",
        what=f"losses of {len(distances)} steps of its own recipe{held}",
        measured=float(distances[tightest]),
        bound=float(bounds[tightest]),
        gates=True,
        where=f"step {late[0] + 1}" if late.size else "",
    )


def _flips_row(first: Array, second: Array, *, loss: str, logits_bound: float) -> Row:
    """C4: how many predictions differ, but for those that what the logits may differ by leaves open.

    Two logits of an example that are nearer than twice that may change places by rounding alone. Nearly always none
    are; all of them are where the recipe is so chaotic that its own one-ulp starts end elsewhere.

    Args:
        first: Logits (n, n_outputs) after a free run of one framework.
        second: The same of the other.
        loss: Whether they are of classes, of one class against the other, or values, which predict nothing to flip.
        logits_bound: Largest distance of the logits that is allowed, relative to the largest one.
    """
    open_below = 2 * logits_bound * float(np.max(np.abs(first), initial=0))
    if loss == "mean_squared_error":
        n_flipped, n_open = 0, 0
    else:
        scores = [
            each if loss == "cross_entropy" else np.hstack([np.zeros_like(each), each]) for each in (first, second)
        ]
        ordered = np.sort(scores[0], axis=1)
        is_open = ordered[:, -1] - ordered[:, -2] <= open_below
        is_flipped = scores[0].argmax(axis=1) != scores[1].argmax(axis=1)
        n_flipped, n_open = int(np.sum(is_flipped & ~is_open)), int(np.sum(is_open))
    left_open = f", {n_open} of {len(first)} left open: nearer to a tie than the bound of the logits" if n_open else ""
    return Row(
        level="C4",
        precision="float64",
        what=f"predictions flipped after it{left_open}",
        measured=float(n_flipped),
        bound=0.0,
        gates=True,
        where="",
    )


def free_run32(first: Mapping[str, Any], second: Mapping[str, Any], *, task: Task, spread: float | None) -> list[Row]:
    """C4 or C5 in float32, which inform: a smooth network keeps within rounding; ReLU and max-pooling are chaotic.

    Args:
        first: What `probes.free_run` emitted of one framework.
        second: The same of the other.
        task: What was trained.
        spread: Largest loss distance among one-ulp starts of one framework, where it was measured.
    """
    distances = loss_distance(first["losses"], second["losses"])
    if is_smooth(task):
        measured = float(np.max(distances))
        return [
            Row(
                level="C4",
                precision="float32",
                what=f"losses of {len(distances)} steps, smooth network",
                measured=measured,
                bound=1e-5,
                gates=False,
                where="",
            )
        ]
    early = first_losses(first, second, task=task)
    late = Row(
        level="C5",
        precision="float32",
        what=f"losses of {len(distances)} steps, bound: spread of one-ulp starts of one framework",
        measured=float(np.max(distances)),
        bound=max(1e-5, spread or 0.0),
        gates=False,
        where="",
    )
    return [early, late]


def first_losses(first: Mapping[str, Any], second: Mapping[str, Any], *, task: Task) -> Row:
    """C5: the losses before rounding has had time to grow."""
    precision = task.training.precision
    bound = MIXED_BOUND if is_mixed(precision) else 1e-4 if has_batch_normalization(task) else 1e-5
    return Row(
        level="C5",
        precision=precision,
        what=f"losses of the first {FIRST_STEPS} steps",
        measured=float(np.max(loss_distance(first["losses"], second["losses"])[:FIRST_STEPS])),
        bound=bound,
        gates=False,
        where="",
    )


def rounding(mixed: Sequence[Mapping[str, Any]], single: Sequence[Mapping[str, Any]], *, precision: str) -> Row:
    """C1 in mixed precision: how far each framework's logits move from its own float32 ones, as a ratio of the two.

    A framework that computes in float32 without a word does not move at all: an infinite ratio.

    Args:
        mixed: What `probes.untrained` emitted of the two frameworks in mixed precision.
        single: The same in float32.
        precision: The mixed one's name.
    """
    moved = [difference(wide["logits"], narrow["logits"]) for wide, narrow in zip(single, mixed, strict=True)]
    return Row(
        level="C1",
        precision=precision,
        what=f"rounding of the logits ({moved[0]:.1e} and {moved[1]:.1e}), larger over smaller",
        measured=max(moved) / min(moved) if min(moved) > 0 else float("inf"),
        bound=MIXED_RATIO,
        gates=True,
        where="",
    )


def repeated(first: Mapping[str, Any], again: Mapping[str, Any], *, framework: str, precision: str) -> Row:
    """C6: the first steps twice in one framework, in a fresh process, losses and weights bit for bit.

    Args:
        first: What `probes.free_run` emitted.
        again: What a shorter one emitted in another process.
        framework: The framework's name.
        precision: As the task names it.
    """
    n_steps = len(again["losses"])
    same = np.array_equal(first["losses"][:n_steps], again["losses"]) and all(
        np.array_equal(weight, again["early"][name]) for name, weight in first["early"].items()
    )
    return Row(
        level="C6",
        precision=precision,
        what=f"{framework}: {n_steps} steps twice, bit for bit",
        measured=0.0 if same else 1.0,
        bound=0.0,
        gates=True,
        where="",
    )
