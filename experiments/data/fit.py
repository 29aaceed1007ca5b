"""Whether a task fits its examples, as far as that can be told before training."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from experiments.contract.arrays import Array
from experiments.contract.plan import require_whole_steps
from experiments.data import PARTS, Dataset
from experiments.data.checks import SMALLEST, first_wrong
from experiments.fingerprint import plain
from experiments.task import Task
from experiments.task.keys import flatten
from experiments.task.networks import CnnSettings, ResnetSettings, RnnSettings
from experiments.task.optimizers import (
    AdadeltaSettings,
    AdafactorSettings,
    AdamaxSettings,
    MuonSettings,
    SgdSettings,
)

# Largest and smallest number of a 16-bit type, in size; less is not told from 0 everywhere.
HALF_RANGES = {"mixed_float16": (65504.0, 2.0**-14), "mixed_bfloat16": (3.3895313892515355e38, SMALLEST)}
# Gradients are products of an input and an error, whose squares optimizers add up: 1e38 is the end of float32.
LARGEST_GRADIENT = 1e17
# TensorFlow takes numbers below 2^-126 for 0, PyTorch does not. A mean of squares that moves by shares of 1 - decay may
# lose 2^-126 / share. An epsilon whose square is 512 times that leaves steps equal to 0.2 % of the learning rate; for
# adam's 1e-16 it is 0.11 % measured, for 1e-18 260 %.
LEAST_SQUARE = 512 * 2.0**-126
LARGEST_SHARE = 0.001  # adam's; adagrad, which adds up, is within it for a million steps
LEAST_NORM = 1e-13  # of a matrix of a million weights, of which each may lose 1e-19
LEAST_FACTORED = 1e-7  # adafactor multiplies two squares: one tensor's gradients below 3e-10 have none
LEAST_EPSILON1 = 1e-15  # its usual one
LEAST_TARGET = 1e-12  # float32 ends at an error of 1e-19 then, whose square is 1e-38
# Standard deviation over mean. Measured: losses then differ by 1e-5, at a third of it by 6e-4, because TensorFlow's
# float32 variance is good to 1e-7 of the mean's square.
LEAST_SPREAD = 0.01


def check_examples(task: Task, dataset: Dataset) -> list[str]:
    """Whether batches, loss and precision fit the examples, alike in every framework; what does not, in words."""
    training, targets, problems = task.training, dataset.y_train, []
    try:
        require_whole_steps(
            len(targets), batch_size=training.batch_size, batches_per_step=training.gradient_accumulation_steps
        )
    except ValueError as error:
        problems.append(str(error))
    needs_shares = training.loss in ("binary_cross_entropy", "brier_score")
    for part in PARTS if needs_shares else ():
        y = getattr(dataset, f"y_{part}")
        if found := first_wrong((y < 0) | (y > 1), y, name=f"y_{part}"):
            problems.append(f"`0 <= y_{part} <= 1` must hold for training.loss={training.loss}, but {found}")
    if training.dtype == "float32":
        problems += _small_settings(task) + _small_numbers(task, dataset) + _large_numbers(task, dataset)
    if training.precision in HALF_RANGES:
        problems += _beyond_half(task, dataset)
    return problems + _normalization(task, dataset)


def _small_settings(task: Task) -> list[str]:
    """Settings that float32 arithmetic may take for 0, or beside which it takes squares of gradients for 0."""
    problems, floors = [], _floors(task)
    settings = {key: value for key, value in plain(task).items() if key not in ("data", "margins", "chance")}
    for key, value in flatten({key: value for key, value in settings.items() if isinstance(value, dict)}).items():
        numbers = value if isinstance(value, list) else [value]
        least = float(f"{max(SMALLEST, floors.get(key, 0.0)):.1e}")  # as it is told
        small = [each for each in numbers if isinstance(each, float) and 0 < abs(each) < least]
        if small:
            rule = f"`{key}` must be 0 or at least {least:g} in size in float32"
            problems.append(f"{rule}, but got {small[0]:g}; raise it, or set training.precision=float64")
    return problems


def _floors(task: Task) -> dict[str, float]:
    """Key -> the least that hides from the task's optimizer and clipping which squares of gradients float32 loses."""
    floors = {"regularization.clip.limit": LEAST_NORM} if "norm" in task.regularization.clip.kind else {}
    match task.optimizer:
        case AdafactorSettings():
            keys = ("training.class_weights", "regularization.clip.limit")
            floors |= dict.fromkeys(keys, LEAST_FACTORED) | {"optimizer.epsilon1": LEAST_EPSILON1}
        case AdadeltaSettings(rho=rho):  # inside the root
            floors["optimizer.epsilon"] = LEAST_SQUARE / (1 - rho)
        case MuonSettings():
            floors["optimizer.epsilon"] = LEAST_NORM
        case SgdSettings() | AdamaxSettings():  # squares nothing
            pass
        case other:
            decay = getattr(other, "beta2", getattr(other, "rho", 0.0))
            floors["optimizer.epsilon"] = math.sqrt(LEAST_SQUARE / min(LARGEST_SHARE, 1 - decay))
    return floors


def _small_numbers(task: Task, dataset: Dataset) -> list[str]:
    """Targets and inputs of whose squares, or squares of squares, float32 arithmetic loses part."""
    rules = []
    if task.training.loss == "mean_squared_error":
        rules.append(("y_train", LEAST_TARGET, "training.loss=mean_squared_error"))
    if isinstance(task.optimizer, AdafactorSettings):
        rules.append(("x_train", LEAST_FACTORED, "optimizer=adafactor"))
    sizes = {name: _size(getattr(dataset, name)) for name, _, _ in rules}
    fix = "divide it by its standard deviation, or set training.precision=float64"
    return [
        f"`{name}` must be all 0 or reach {least:g} in size for {what} in float32, but reaches {sizes[name]:g}; {fix}"
        for name, least, what in rules
        if 0 < sizes[name] < least
    ]


def _large_numbers(task: Task, dataset: Dataset) -> list[str]:
    """Examples whose gradients' squares are beyond float32; each framework goes on from there in its own way."""
    x, y = dataset.x_train, dataset.y_train
    if not np.issubdtype(x.dtype, np.floating):
        return []
    error = max(1.0, _size(x), _size(y)) if task.training.loss == "mean_squared_error" else 1.0
    if max(1.0, _size(x)) * error <= LARGEST_GRADIENT:
        return []
    larger = "y_train" if task.training.loss == "mean_squared_error" and _size(y) > _size(x) else "x_train"
    return [
        f"`{larger}` must be small enough that squares of gradients are in float32, but reaches "
        f"{max(_size(x), error):g}; divide it by its standard deviation, or set training.precision=float64"
    ]


def _size(array: Array) -> float:
    return float(np.abs(array).max(initial=0))


def _beyond_half(task: Task, dataset: Dataset) -> list[str]:
    """Inputs beyond the 16-bit type, and sequences with steps that are all 0 in it, as padding is."""
    precision = task.training.precision
    largest, smallest = HALF_RANGES[precision]
    problems = []
    for part in PARTS:
        x, name = getattr(dataset, f"x_{part}"), f"x_{part}"
        if not np.issubdtype(x.dtype, np.floating):
            continue
        fix = f"with training.precision={precision}"
        if found := first_wrong(np.abs(x) > largest, x, name=name):
            problems.append(f"`abs({name}) <= {largest:g}` must hold {fix}, but {found}; scale it, or set float32")
        if isinstance(task.network, RnnSettings):
            sizes = np.abs(x).max(axis=2)
            if found := first_wrong((sizes > 0) & (sizes < smallest), sizes, name=name):
                rule = f"every step of {name} is padding or reaches {smallest:.1e}"
                problems.append(f"`{rule}` must hold {fix}, but the largest of {found}; scale it, or set float32")
    return problems


def _normalization(task: Task, dataset: Dataset) -> list[str]:
    """Batch normalization needs different numbers for a variance; frameworks differ on one alone, and on equal ones."""
    network, x = task.network, dataset.x_train
    if not isinstance(network, CnnSettings | ResnetSettings) or network.batch_normalization is None or x.ndim != 4:
        return []
    size = min(task.training.batch_size, len(x))
    smallest = len(x) % size or size
    n_equal = _commonest(x, network=network)
    problems = []
    if smallest == 1 and network.normalized_pixels(x.shape[1:]) == 1:
        fits = [other for other in range(2, len(x) + 1) if len(x) % other != 1]
        near = min(fits, key=lambda other: abs(other - size), default=None)
        fix = f"training.batch_size={near} leaves more" if near else "add examples"
        rule = "`every batch has 2 examples or more` must hold for batch normalization of one pixel"
        problems.append(f"{rule}, but the last batch of {size} of {len(x)} examples has 1; {fix}")
    elif n_equal >= smallest:
        rule = "`no batch may be of one flat picture alone` must hold for batch normalization"
        fix = "leave them out, or change training.batch_size"
        problems.append(f"{rule}, but x_train has {n_equal} equal ones, and a batch {smallest} examples; {fix}")
    mean, deviation = (
        float(np.linalg.norm(each)) for each in (f(axis=(0, 1, 2), dtype=np.float64) for f in (x.mean, x.std))
    )
    if task.training.dtype == "float32" and deviation < LEAST_SPREAD * mean:
        rule = f"`std(x_train) >= {LEAST_SPREAD:g} * mean(x_train)` must hold for batch normalization in float32"
        fix = "subtract the mean, or set training.precision=float64"
        problems.append(f"{rule}, but over the channels they are {deviation:g} and {mean:g}; {fix}")
    return problems


def _commonest(x: Array, *, network: CnnSettings | ResnetSettings) -> int:
    """How often the commonest picture is there whose normalized outputs have no variance; black ones are exactly 0."""
    if network.normalized_pixels(x.shape[1:]) > 1:
        if getattr(network, "padding", "") != "valid":  # at the border zeros come in
            return 0
        x = x[(x == x[:, :1, :1]).all(axis=(1, 2, 3))]
    return max(Counter(example.tobytes() for example in x if example.any()).values(), default=0)
