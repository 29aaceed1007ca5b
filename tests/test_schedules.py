"""Learning-rate tables and early stopping, against values worked out by hand."""

import math

import pytest

from experiments.execution.stopping import Patience
from experiments.task import EarlyStopping
from experiments.task.schedules import (
    ConstantSchedule,
    CosineSchedule,
    ExponentialSchedule,
    PolynomialSchedule,
    StepSchedule,
    learning_rates,
)


def table(schedule, *, epochs=4, steps_per_epoch=2):
    return learning_rates(schedule, learning_rate=0.1, epochs=epochs, steps_per_epoch=steps_per_epoch).tolist()


@pytest.mark.parametrize(
    ("schedule", "by_hand"),
    [
        (ConstantSchedule(warmup_epochs=0.0), [0.1] * 8),
        (ConstantSchedule(warmup_epochs=2.0), [0.025, 0.05, 0.075, 0.1, 0.1, 0.1, 0.1, 0.1]),
        (StepSchedule(warmup_epochs=0.0, gamma=0.5, every_epochs=2.0), [0.1] * 4 + [0.05] * 4),
        (ExponentialSchedule(warmup_epochs=0.0, gamma=0.25), [0.1 * 0.5**step for step in range(8)]),
        (PolynomialSchedule(warmup_epochs=0.0, power=1.0, floor=0.2), [0.02 + 0.08 * (1 - t / 8) for t in range(8)]),
        (PolynomialSchedule(warmup_epochs=0.0, power=2.0, floor=0.0), [0.1 * (1 - t / 8) ** 2 for t in range(8)]),
        (CosineSchedule(warmup_epochs=0.0, floor=0.0), [0.05 * (1 + math.cos(math.pi * t / 8)) for t in range(8)]),
        (
            CosineSchedule(warmup_epochs=1.0, floor=0.0),
            [0.05, 0.1] + [0.05 * (1 + math.cos(math.pi * t / 6)) for t in range(6)],
        ),
    ],
)
def test_a_schedule_is_what_its_formula_says(schedule, by_hand):
    assert table(schedule) == pytest.approx(by_hand, rel=1e-15)


def test_a_warm_up_that_leaves_no_step_is_refused():
    with pytest.raises(ValueError, match=r"`schedule\.warmup_epochs < 4 epochs` must hold, but got 4\.0"):
        table(ConstantSchedule(warmup_epochs=4.0))


@pytest.mark.parametrize(
    ("patience", "min_delta", "stops_after"),
    [(0, 0.0, None), (1, 0.0, 3), (2, 0.0, 6), (3, 0.0, None), (2, 0.15, 3)],
)
def test_early_stopping_counts_epochs_without_improvement(patience, min_delta, stops_after):
    losses = [1.0, 0.9, 0.95, 0.8, 0.85, 0.8, 0.7]
    rule = Patience(settings=EarlyStopping(patience=patience, min_delta=min_delta))
    stopped = next((epoch for epoch, loss in enumerate(losses, start=1) if rule.should_stop(loss)), None)
    assert stopped == stops_after
