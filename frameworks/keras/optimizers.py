"""Keras' optimizers brought to the task's formulas: each a subclass that changes one update rule.

The formula of each stands in experiments/task.py.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops


def _bias_correction(beta: float, step: Any) -> Any:
    """1 - beta**step, without the cancellation that Keras' float32 `1 - power` suffers."""
    return -ops.expm1(step * math.log(beta)) if beta > 0 else ops.ones_like(step)


class SGD(keras.optimizers.SGD):
    """Keras multiplies the rate into the velocity: another path as soon as the rate changes."""

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        gradient, rate = ops.cast(gradient, variable.dtype), ops.cast(learning_rate, variable.dtype)
        if self.momentum:
            velocity = self.momentums[self._get_variable_index(variable)]
            self.assign(velocity, self.momentum * velocity + gradient)
            gradient = gradient + self.momentum * velocity if self.nesterov else velocity
        self.assign_sub(variable, rate * gradient)


class Adam(keras.optimizers.Adam):
    """Keras adds epsilon before the bias correction: 32 times larger at the first step."""

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        gradient, rate = ops.cast(gradient, variable.dtype), ops.cast(learning_rate, variable.dtype)
        step = ops.cast(self.iterations + 1, variable.dtype)
        index = self._get_variable_index(variable)
        mean, square = self._momentums[index], self._velocities[index]
        self.assign_add(mean, (gradient - mean) * (1 - self.beta_1))
        self.assign_add(square, (ops.square(gradient) - square) * (1 - self.beta_2))
        root = ops.sqrt(square) / ops.sqrt(_bias_correction(self.beta_2, step)) + self.epsilon
        self.assign_sub(variable, rate / _bias_correction(self.beta_1, step) * mean / root)
