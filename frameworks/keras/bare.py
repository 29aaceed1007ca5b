"""The bare loop: Keras as written by hand, compile and fit on arrays."""

from __future__ import annotations

from collections.abc import Callable

import keras

from experiments.contract.plan import BatchPlan
from experiments.task import Task
from frameworks.keras import optimizers, training
from frameworks.keras.backends import backend


def fit(model: keras.Model, plan: BatchPlan, *, task: Task, on_epoch_end: Callable[[], None]) -> None:
    """Train in an order of Keras' own: `fit` on arrays takes no other, but for a copy of them in every epoch.

    Args:
        model: What is trained.
        plan: Examples, batch size, epochs and learning rates.
        task: For loss, penalty, optimizer and precision.
        on_epoch_end: As in `BareLoop.fit_bare`.
    """
    backend.as_by_hand()
    training.penalize(model, task)
    rates, weights = plan.learning_rates, task.training.class_weights
    is_constant = bool((rates == rates[0]).all())
    rate = float(rates[0]) if is_constant else training.PlannedRate(rates)
    model.compile(
        optimizer=optimizers.optimizer(task, model, rate),
        loss=training.loss(task),
        jit_compile=backend.is_compiled(jit=task.training.jit),
    )
    model.fit(
        plan.inputs,
        plan.targets,
        batch_size=plan.batch_size,
        epochs=plan.epochs,
        class_weight=None if weights is None else dict(enumerate(weights)),
        verbose=0,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: on_epoch_end())],
    )
