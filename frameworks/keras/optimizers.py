"""Keras' optimizers, brought to the formulas of experiments/task/optimizers.py where they differ.

Each is a subclass that changes the update rule and nothing else. Python numbers stay Python numbers: on TensorFlow
`ops.cast(0.9, "float64")` goes through float32, so Keras' own rules are only float32-exact in float64.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from experiments.task import Clip, Task, optimizers
from frameworks.keras import defaults, weights
from frameworks.keras.backends import backend

Rate = keras.optimizers.schedules.LearningRateSchedule
CLIPS = {"none": None, "value": "clipvalue", "norm": "clipnorm", "global_norm": "global_clipnorm"}


def optimizer(task: Task, model: keras.Model, rate: Rate, *, batches_per_step: int = 1) -> keras.optimizers.Optimizer:
    """The task's optimizer at the plan's learning rates, with decoupled decay on the weights that are not excluded.

    Args:
        task: For the optimizer, its numbers, decay, averaging and clipping.
        model: Built; its weights are what decays, and what Muon's matrices are chosen from.
        rate: Number of the batch -> learning rate of its step.
        batches_per_step: Batches whose mean gradient makes one step.
    """
    averaging = task.regularization.weight_averaging
    common = clipping(task.regularization.clip) | {
        "learning_rate": rate,
        "weight_decay": task.weight_decay or None,
        "use_ema": averaging > 0,
        "ema_momentum": averaging or 0.99,
        "gradient_accumulation_steps": batches_per_step if batches_per_step > 1 else None,
    }
    names = {variable.path: name for name, variable in weights.variables(model).items()}
    made = _adapted(task.optimizer, common, names)
    if task.as_shipped:
        made = defaults.optimizer_as_shipped(made, task, rate=rate)
    excludes, variables = task.regularization.excludes, model.trainable_variables
    excluded = [variable for variable in variables if excludes(names[variable.path])]
    if task.weight_decay and excluded:
        made.exclude_from_weight_decay(var_list=excluded)
    return made


def clipping(settings: Clip) -> dict[str, float]:
    """The keyword that Keras' optimizers have for it."""
    keyword = CLIPS[settings.kind]
    return {} if keyword is None else {keyword: settings.limit}


def _adapted(
    settings: optimizers.Optimizer, common: dict[str, Any], names: dict[str, str]
) -> keras.optimizers.Optimizer:
    match settings:
        case optimizers.SgdSettings(momentum=momentum, nesterov=nesterov):
            return SGD(**common, momentum=momentum, nesterov=nesterov)
        case optimizers.RmspropSettings(rho=rho, epsilon=epsilon, momentum=momentum, centered=centered):
            return RMSprop(**common, rho=rho, epsilon=epsilon, momentum=momentum, centered=centered)
        case optimizers.AdagradSettings(initial_accumulator=start, epsilon=epsilon):
            return Adagrad(**common, initial_accumulator_value=start, epsilon=epsilon)
        case optimizers.AdadeltaSettings(rho=rho, epsilon=epsilon):
            return Adadelta(**common, rho=rho, epsilon=epsilon)
        case optimizers.AdamSettings(beta1=beta1, beta2=beta2, epsilon=epsilon, amsgrad=amsgrad):
            return Adam(**common, beta_1=beta1, beta_2=beta2, epsilon=epsilon, amsgrad=amsgrad)
        case optimizers.AdamwSettings(beta1=beta1, beta2=beta2, epsilon=epsilon):
            # In Keras every optimizer decays decoupled: AdamW is Adam with weight_decay.
            return Adam(**common, beta_1=beta1, beta_2=beta2, epsilon=epsilon, amsgrad=False)
        case optimizers.AdamaxSettings(beta1=beta1, beta2=beta2, epsilon=epsilon):
            return Adamax(**common, beta_1=beta1, beta_2=beta2, epsilon=epsilon)
        case optimizers.NadamSettings(beta1=beta1, beta2=beta2, epsilon=epsilon):
            return Nadam(**common, beta_1=beta1, beta_2=beta2, epsilon=epsilon)
        case optimizers.AdafactorSettings(beta2_decay=decay, epsilon1=epsilon1, epsilon2=epsilon2, clip_threshold=clip):
            return Adafactor(
                **common,
                beta_2_decay=decay,
                epsilon_1=epsilon1,
                epsilon_2=epsilon2,
                clip_threshold=clip,
                relative_step=True,
            )
        case optimizers.MuonSettings() as muon:
            return Muon(muon, names, **common)


def _bias_correction(beta: float, step: Any) -> Any:
    """1 - beta**step, without the cancellation that float32 suffers."""
    return -ops.expm1(step * math.log(beta)) if beta > 0 else ops.ones_like(step)


def _is_bias(variable: keras.Variable) -> bool:
    return variable.name == "bias"


class _Exact:
    """Exact decoupled decay and clipping, and gradients of embeddings with their duplicate rows summed.

    Where devices share a run, their gradients are summed first (each loss was divided by their number): Keras would
    clip those of each device.
    """

    def apply(self, grads: list[Any], trainable_variables: list[keras.Variable] | None = None) -> None:
        super().apply(backend.summed(self, grads), trainable_variables)

    def _backend_update_step(self, grads: list[Any], trainable_variables: list[keras.Variable], rate: Any) -> None:
        for gradient, variable in zip(grads, trainable_variables, strict=True):
            self.update_step(gradient, backend.updated(variable), rate)

    def _backend_increment_gradient_accumulators(self, grads: list[Any], acc_grads: list[keras.Variable]) -> None:
        for gradient, accumulated in zip(grads, acc_grads, strict=True):
            accumulated.assign(accumulated + gradient)

    def _apply_weight_decay(self, variables: list[keras.Variable]) -> None:
        if self.weight_decay is None:
            return
        for variable in variables:
            if self._use_weight_decay(variable):
                rate = ops.cast(self.learning_rate, variable.dtype)
                variable.assign(variable * (1 - rate * self.weight_decay))

    def _clip_gradients(self, grads: list[Any]) -> list[Any]:
        if not self.clipnorm:
            return super()._clip_gradients(grads)
        return [
            self._clipped(gradient, variable)
            for gradient, variable in zip(grads, self._trainable_variables, strict=True)
        ]

    def _clipped(self, gradient: Any, variable: keras.Variable) -> Any:
        """A gru's two biases are one variable here: each row counts for itself."""
        norm = ops.sqrt(ops.sum(ops.square(gradient), axis=-1 if _is_bias(variable) else None, keepdims=True))
        return gradient * ops.minimum(self.clipnorm / norm, 1)

    def _update_model_variables_moving_average(self, trainable_variables: list[keras.Variable]) -> None:
        """Average after steps; Keras would after every batch of a step."""
        steps = self.gradient_accumulation_steps
        update = super()._update_model_variables_moving_average
        if not steps:
            update(trainable_variables)
            return
        is_step = (self._iterations + 1) % steps == 0
        backend.only_if(is_step, lambda: update(trainable_variables), changes=self._model_variables_moving_average)

    def _step(self, variable: keras.Variable) -> Any:
        return ops.cast(self.iterations + 1, variable.dtype)


class SGD(_Exact, keras.optimizers.SGD):
    """Keras puts the rate into the velocity: another path as soon as the rate changes."""

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        gradient, rate = ops.cast(gradient, variable.dtype), ops.cast(learning_rate, variable.dtype)
        if self.momentum:
            velocity = self.momentums[self._get_variable_index(variable)]
            self.assign(velocity, self.momentum * velocity + gradient)
            gradient = gradient + self.momentum * velocity if self.nesterov else velocity
        self.assign_sub(variable, rate * gradient)


class RMSprop(_Exact, keras.optimizers.RMSprop):
    """Keras adds epsilon inside the root."""

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        gradient, rate = ops.cast(gradient, variable.dtype), ops.cast(learning_rate, variable.dtype)
        index = self._get_variable_index(variable)
        square = self._velocities[index]
        self.assign(square, self.rho * square + (1 - self.rho) * ops.square(gradient))
        variance = square
        if self.centered:
            mean = self._average_gradients[index]
            self.assign_add(mean, (gradient - mean) * (1 - self.rho))
            variance = square - ops.square(mean)
        direction = gradient / (ops.sqrt(variance) + self.epsilon)
        if self.momentum > 0:
            buffer = self._momentums[index]
            self.assign(buffer, self.momentum * buffer + direction)
            direction = buffer
        self.assign_sub(variable, rate * direction)


class Adagrad(_Exact, keras.optimizers.Adagrad):
    """Keras adds epsilon inside the root, and rounds the accumulator's start to float32."""

    def build(self, variables: list[keras.Variable]) -> None:
        if self.built:
            return
        keras.optimizers.Optimizer.build(self, variables)
        self._accumulators = [
            self.add_variable_from_reference(variable, name="accumulator", initializer=self._start)
            for variable in variables
        ]

    def _start(self, shape: tuple[int, ...], dtype: str) -> Any:
        return ops.convert_to_tensor(np.full(shape, self.initial_accumulator_value, dtype))

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        gradient, rate = ops.cast(gradient, variable.dtype), ops.cast(learning_rate, variable.dtype)
        accumulator = self._accumulators[self._get_variable_index(variable)]
        self.assign_add(accumulator, ops.square(gradient))
        self.assign_sub(variable, rate * gradient / (ops.sqrt(accumulator) + self.epsilon))


class Adadelta(_Exact, keras.optimizers.Adadelta):
    """Keras' formula is the task's; only its numbers pass through float32."""

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        gradient, rate = ops.cast(gradient, variable.dtype), ops.cast(learning_rate, variable.dtype)
        index = self._get_variable_index(variable)
        square, moved = self._accumulated_grads[index], self._accumulated_delta_vars[index]
        self.assign(square, self.rho * square + (1 - self.rho) * ops.square(gradient))
        direction = ops.sqrt(moved + self.epsilon) / ops.sqrt(square + self.epsilon) * gradient
        self.assign(moved, self.rho * moved + (1 - self.rho) * ops.square(direction))
        self.assign_sub(variable, rate * direction)


class Adam(_Exact, keras.optimizers.Adam):
    """Keras adds epsilon before the bias correction: 32 times larger at the first step."""

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        gradient, rate = ops.cast(gradient, variable.dtype), ops.cast(learning_rate, variable.dtype)
        step, index = self._step(variable), self._get_variable_index(variable)
        mean, square = self._momentums[index], self._velocities[index]
        self.assign_add(mean, (gradient - mean) * (1 - self.beta_1))
        self.assign_add(square, (ops.square(gradient) - square) * (1 - self.beta_2))
        if self.amsgrad:
            largest = self._velocity_hats[index]
            self.assign(largest, ops.maximum(largest, square))
            square = largest
        root = ops.sqrt(square) / ops.sqrt(_bias_correction(self.beta_2, step)) + self.epsilon
        self.assign_sub(variable, rate / _bias_correction(self.beta_1, step) * mean / root)


class Adamax(_Exact, keras.optimizers.Adamax):
    """Keras adds epsilon to the maximum instead of to the gradient inside it."""

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        gradient, rate = ops.cast(gradient, variable.dtype), ops.cast(learning_rate, variable.dtype)
        index = self._get_variable_index(variable)
        mean, largest = self._m[index], self._u[index]
        self.assign_add(mean, (gradient - mean) * (1 - self.beta_1))
        self.assign(largest, ops.maximum(self.beta_2 * largest, ops.abs(gradient) + self.epsilon))
        self.assign_sub(variable, rate / _bias_correction(self.beta_1, self._step(variable)) * mean / largest)


class Nadam(_Exact, keras.optimizers.Nadam):
    """Keras' formula is the task's; only its numbers pass through float32."""

    def _momentum_at(self, step: Any) -> Any:
        return self.beta_1 * (1 - 0.5 * ops.exp(step * math.log(0.96)))

    def _backend_update_step(self, gradients: list[Any], variables: list[keras.Variable], learning_rate: Any) -> None:
        step = ops.cast(self.iterations + 1, self._u_product.dtype)
        self.assign(self._u_product, self._u_product * self._momentum_at(step))
        for gradient, variable in zip(gradients, variables, strict=True):
            self.update_step(gradient, variable, learning_rate)

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        gradient, rate = ops.cast(gradient, variable.dtype), ops.cast(learning_rate, variable.dtype)
        step, index = self._step(variable), self._get_variable_index(variable)
        mean, square = self._momentums[index], self._velocities[index]
        now, later = self._momentum_at(step), self._momentum_at(step + 1)
        product = ops.cast(self._u_product, variable.dtype)
        self.assign_add(mean, (gradient - mean) * (1 - self.beta_1))
        self.assign_add(square, (ops.square(gradient) - square) * (1 - self.beta_2))
        root = ops.sqrt(square / _bias_correction(self.beta_2, step)) + self.epsilon
        ahead = (1 - now) / (1 - product) * gradient + later / (1 - product * later) * mean
        self.assign_sub(variable, rate * ahead / root)


class Adafactor(_Exact, keras.optimizers.Adafactor):
    """Keras adds epsilon_1 where the task clamps, and factors a convolution over other axes."""

    def build(self, variables: list[keras.Variable]) -> None:
        if self.built:
            return
        keras.optimizers.Optimizer.build(self, variables)
        self._rms_axes = [-1 if _is_bias(variable) else None for variable in variables]
        self._averages = [self._averages_for(variable) for variable in variables]

    def _averages_for(self, variable: keras.Variable) -> list[keras.Variable]:
        """Rows and columns of a kernel, over (in, out), of a convolution (height, width); never of a bias."""
        if _is_bias(variable) or len(variable.shape) < 2:
            return [self.add_variable_from_reference(variable, name="square")]
        height, width, *others = variable.shape
        shapes = {"rows": (height, 1, *others), "columns": (1, width, *others)}
        return [self.add_variable(shape, dtype=variable.dtype, name=name) for name, shape in shapes.items()]

    def _rms(self, values: Any, index: int) -> Any:
        """Root of the mean square: of the whole variable, of a gru's two biases row by row."""
        return ops.sqrt(ops.mean(ops.square(values), axis=self._rms_axes[index], keepdims=True))

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        gradient, rate = ops.cast(gradient, variable.dtype), ops.cast(learning_rate, variable.dtype)
        step, index = self._step(variable), self._get_variable_index(variable)
        share = ops.exp(self.beta_2_decay * ops.log(step))
        square = self._mean_square(ops.square(gradient), self._averages[index], share)
        direction = gradient / ops.sqrt(ops.maximum(square, self.epsilon_1**2))
        size = ops.maximum(self._rms(variable, index), self.epsilon_2) * ops.minimum(rate, 1 / ops.sqrt(step))
        shrink = ops.maximum(self._rms(direction, index) / self.clip_threshold, 1)
        self.assign_sub(variable, size * direction / shrink)

    def _mean_square(self, square: Any, averages: list[keras.Variable], share: Any) -> Any:
        if len(averages) == 1:
            self.assign_add(averages[0], (square - averages[0]) * share)
            return averages[0]
        rows, columns = averages
        self.assign_add(rows, (ops.mean(square, axis=1, keepdims=True) - rows) * share)
        self.assign_add(columns, (ops.mean(square, axis=0, keepdims=True) - columns) * share)
        return rows * columns / ops.maximum(ops.mean(rows, axis=0, keepdims=True), self.epsilon_1)


class Muon(Adam):
    """Muon for named matrices, Adam for all else. Keras' own chooses by rank: it would take a gru's biases too."""

    def __init__(self, settings: optimizers.MuonSettings, names: dict[str, str], **common: Any) -> None:
        super().__init__(
            **common, beta_1=settings.beta1, beta_2=settings.beta2, epsilon=settings.epsilon, amsgrad=False
        )
        self.settings = settings
        self.names = names

    def build(self, variables: list[keras.Variable]) -> None:
        super().build(variables)
        names = [self.names[variable.path] for variable in variables]
        ranks = {name: len(variable.shape) for name, variable in zip(names, variables, strict=True)}
        chosen = self.settings.select(ranks)
        self._is_matrix = [name in chosen for name in names]

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        index = self._get_variable_index(variable)
        if not self._is_matrix[index]:
            super().update_step(gradient, variable, learning_rate)
            return
        gradient, rate = ops.cast(gradient, variable.dtype), ops.cast(learning_rate, variable.dtype)
        momentum = self._momentums[index]
        self.assign(momentum, self.settings.momentum * momentum + gradient)
        direction = self._orthogonalized(gradient + self.settings.momentum * momentum)
        scale = self.settings.rms_rate * math.sqrt(max(variable.shape))
        self.assign_sub(variable, rate * scale * direction)

    def _orthogonalized(self, matrix: Any) -> Any:
        a, b, c = self.settings.coefficients
        is_tall = matrix.shape[0] > matrix.shape[1]
        x = ops.transpose(matrix) if is_tall else matrix  # iterate on the short side
        x = x / (ops.sqrt(ops.sum(ops.square(x))) + self.settings.epsilon)
        for _ in range(self.settings.iterations):
            square = ops.matmul(x, ops.transpose(x))
            x = a * x + ops.matmul(b * square + c * ops.matmul(square, square), x)
        return ops.transpose(x) if is_tall else x
