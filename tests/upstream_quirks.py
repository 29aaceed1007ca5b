"""The smallest programs that show where upstream's arithmetic bites; run inside a worker that has Keras."""

from __future__ import annotations

import numpy as np


def embedding_gradients_squared_before_they_are_summed(load, emit):
    """The second moment of one Adam step in which a row is used twice with gradient 1: (1 - 0.999) * 2^2 = 0.004."""
    load("keras")
    import keras
    import tensorflow as tf

    variable = keras.Variable(np.zeros((3, 1), "float32"))
    optimizer = keras.optimizers.Adam(beta_1=0.9, beta_2=0.999)
    optimizer.build([variable])
    twice = tf.IndexedSlices(values=tf.ones((2, 1)), indices=tf.constant([1, 1]), dense_shape=tf.constant([3, 1]))
    optimizer.apply([twice], [variable])
    emit(float(np.array(optimizer._velocities[0])[1, 0]))


def cast_through_float32(load, emit):
    """0.9 as a float64 tensor."""
    load("keras")
    from keras import ops

    emit(float(np.array(ops.cast(0.9, "float64"))))


def nan_through_a_fused_relu(load, emit):
    """Whether a network with NaN weights shows it in the output of its graph, and whether oneDNN's kernels compute it.

    TensorFlow takes them of its own only on a CPU with instructions for neural networks (AVX-512 VNNI and the like).
    """
    load("keras")
    import keras
    from tensorflow.python.framework import test_util

    model = keras.Sequential([keras.Input((784,)), keras.layers.Dense(128, activation="relu"), keras.layers.Dense(10)])
    kernel, bias = model.layers[0].get_weights()
    model.layers[0].set_weights([np.full_like(kernel, np.nan), bias])
    shown = bool(np.isnan(model.predict_on_batch(np.ones((64, 784), "float32"))).all())
    emit((shown, bool(test_util.IsMklEnabled())))


def unbiased_moving_variance(load, emit):
    """PyTorch's moving variance after one batch (1, 3), decay 0: 2 where it divides by n - 1, 1 by n."""
    load("lightning")
    import torch

    norm = torch.nn.BatchNorm2d(1, momentum=1.0)
    norm(torch.tensor([1.0, 3.0]).reshape(2, 1, 1, 1))
    emit(float(norm.running_var[0]))


def clipping_adds_to_the_norm(load, emit):
    """What torch.nn.utils.clip_grad_norm_ makes of a gradient of norm 2, clipped to 1."""
    load("lightning")
    import torch

    parameter = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    parameter.grad = torch.full((1,), 2.0, dtype=torch.float64)
    torch.nn.utils.clip_grad_norm_([parameter], 1.0)
    emit(float(parameter.grad[0]))


def gradients_come_inside_the_step(load, emit):
    """Whether a pre-hook of the optimizer sees the gradients of its own step under Lightning."""
    load("lightning")
    import pytorch_lightning as pl
    import torch

    seen = []

    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def training_step(self, batch, index):
            return (self.weight * batch).sum()

        def configure_optimizers(self):
            optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
            optimizer.register_step_pre_hook(lambda *_: seen.append(self.weight.grad is not None))
            return optimizer

    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    trainer.fit(Module(), torch.utils.data.DataLoader(torch.ones(1, 1)))
    emit(seen[0])


def fused_steps_ignore_strides(load, emit):
    """Whether fused SGD takes each weight of a channels-last kernel down by the gradient of its own place."""
    load("lightning")
    import torch

    kernel = torch.nn.Parameter(torch.zeros(2, 3, 2, 2).to(memory_format=torch.channels_last))
    kernel.grad = torch.arange(24.0).reshape(2, 3, 2, 2)
    torch.optim.SGD([kernel], lr=1.0, fused=True).step()
    emit(bool((kernel == -kernel.grad).all()))
