"""Layers and functions that Keras lacks, or whose numbers a string would leave to a default."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from experiments.contract.dropout_masks import keep_mask


@keras.saving.register_keras_serializable(package="tandem")
def exact_gelu(inputs: Any) -> Any:
    """The input times the normal distribution function, exactly; Keras' own is float32-exact only."""
    return inputs * 0.5 * (1 + ops.erf(inputs * math.sqrt(0.5)))


@keras.saving.register_keras_serializable(package="tandem")
class LeakyReLU(layers.Layer):
    """x where it is positive, else slope * x. Keras' own rounds the slope to float32 on TensorFlow."""

    def __init__(self, slope: float, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.slope = slope

    def call(self, inputs: Any) -> Any:
        return ops.where(inputs > 0, inputs, self.slope * inputs)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"slope": self.slope}


class Penalty(keras.regularizers.Regularizer):
    """l1 * sum(|w|) + l2 * sum(w^2). Keras' own L1 and L2 round their factor to float32 on TensorFlow."""

    def __init__(self, *, l1: float, l2: float) -> None:
        self.l1, self.l2 = l1, l2

    def __call__(self, weight: Any) -> Any:
        return self.l1 * ops.sum(ops.abs(weight)) + self.l2 * ops.sum(ops.square(weight))

    def get_config(self) -> dict[str, float]:
        return {"l1": self.l1, "l2": self.l2}


class FixedDropout(layers.Layer):
    """Drops what `keep_mask` says, the same in every framework: a table of all steps' masks, for a graph to look up.

    Args:
        rate: Share of units that are dropped.
        layer: Number of the dropout layer in forward order, from 0.
        seed: The run's.
        spatial: Whether whole channels are dropped.
        n_steps: Steps that the table reaches.
        batch_size: Rows of each mask.
        **keywords: Keras' own, such as `name`.
    """

    def __init__(
        self, rate: float, *, layer: int, seed: int, spatial: bool, n_steps: int, batch_size: int, **keywords: Any
    ) -> None:
        super().__init__(**keywords)
        self.rate, self.layer, self.seed, self.spatial = rate, layer, seed, spatial
        self.n_steps, self.batch_size = n_steps, batch_size
        self.supports_masking = True

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        others = input_shape[1:]
        shape = (*(1 for _ in others[:-1]), others[-1]) if self.spatial else others
        self.shape = shape
        self.table = self.add_weight(
            shape=(self.n_steps, self.batch_size, *shape),
            dtype="bool",
            trainable=False,
            initializer="zeros",
            name="masks",
        )
        self.step = self.add_weight(shape=(), dtype="int32", trainable=False, initializer="zeros", name="step")
        # A smaller last batch has masks of its own shape: the first rows of the same draw.
        self.table.assign(
            np.stack(
                [
                    keep_mask(self.seed, self.layer, step, shape=(self.batch_size, *shape), rate=self.rate)
                    for step in range(self.n_steps)
                ]
            )
        )

    def call(self, inputs: Any, training: bool = False) -> Any:  # noqa: FBT001, FBT002
        if not training or self.rate == 0:
            return inputs
        masks = ops.take(self.table.value, self.step.value, axis=0)[: ops.shape(inputs)[0]]
        self.step.assign_add(1)
        return inputs * ops.cast(masks, inputs.dtype) / (1 - self.rate)


def with_fixed_dropout(model: keras.Model, *, seed: int, n_steps: int, batch_size: int) -> keras.Model:
    """A copy of the model, its weights apart, with every dropout layer replaced in the order of the forward pass.

    Args:
        model: Stays as it is.
        seed: Of the masks.
        n_steps: For how many steps there are masks.
        batch_size: Of the largest batch.
    """
    kinds = (layers.Dropout, layers.SpatialDropout2D)
    order = [layer.name for layer in model.layers if isinstance(layer, kinds)]

    def copy(layer: layers.Layer) -> layers.Layer:
        if not isinstance(layer, kinds):
            return layer.__class__.from_config(layer.get_config())
        return FixedDropout(
            layer.rate,
            layer=order.index(layer.name),
            seed=seed,
            spatial=isinstance(layer, layers.SpatialDropout2D),
            n_steps=n_steps,
            batch_size=batch_size,
            name=layer.name,
        )

    return keras.models.clone_model(model, clone_function=copy)
