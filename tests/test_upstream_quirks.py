"""Upstream behaviour that our adapters exist for. A red test here is good news: upstream has mended it.

Then the adapter that is named beside it can go, after `action=parity` has agreed.
"""

import ast
import os
import subprocess
import sys

import numpy as np
import pytest
import upstream_quirks
from cases import PROJECT

import frameworks
from experiments.contract.trace import Taken, sample
from experiments.execution.run import Diverged, Run
from experiments.execution.worker import train


def test_tensorflow_embeddings_square_duplicate_rows_before_summing(in_worker):
    """frameworks/keras/optimizers.py, _Exact.apply: 0.004 would be right."""
    assert in_worker(
        upstream_quirks.embedding_gradients_squared_before_they_are_summed, frameworks.load
    ) == pytest.approx(0.002, rel=1e-3)


def test_tensorflow_casts_python_numbers_through_float32(in_worker):
    """frameworks/keras/optimizers.py and layers.py: Python numbers stay Python numbers."""
    assert in_worker(upstream_quirks.cast_through_float32, frameworks.load) == pytest.approx(0.8999999762, abs=1e-10)


@pytest.mark.parametrize("name", ["torch", pytest.param("jax", marks=pytest.mark.slow)])
def test_other_backends_compute_float64_in_float32(name):
    """frameworks/keras/backends/float64.py, which keeps them from it by a private name."""
    code = (
        "import keras; ones = keras.ops.ones((2, 2), 'float64');"
        "print(ones.dtype, keras.backend.standardize_dtype(keras.ops.norm(ones).dtype))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"OMP_NUM_THREADS": "1", "KERAS_BACKEND": name, "JAX_ENABLE_X64": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [{"torch": "torch.float64", "jax": "float64"}[name], "float32"]


def test_tensorflow_hides_nan_behind_a_fused_relu(in_worker):
    """experiments/execution/worker.py, _not_finite looks at the weights too: True would be right."""
    is_shown, has_onednn = in_worker(upstream_quirks.nan_through_a_fused_relu, frameworks.load)
    if not has_onednn:
        assert is_shown
        pytest.skip("only oneDNN's kernels hide the NaN, and TensorFlow does not use them on this CPU")
    assert is_shown is False


class Hiding:
    """A model that trains its weights to NaN and shows it in no loss and no logit, as the quirk above does."""

    def __init__(self) -> None:
        self.weight = np.zeros((2, 2))
        self.taken = Taken()

    def weights(self):
        return {"dense1/kernel": self.weight, "logits/kernel": np.zeros((2, 2))}

    def load_weights(self, weights):
        self.weight = weights["dense1/kernel"]

    def logits(self, inputs):
        return np.zeros((len(inputs), 10))

    def fit(self, plan, *, on_step_end, on_epoch_end):
        for epoch in range(plan.epochs):
            self.weight = self.weight * np.nan
            self.taken.clear()
            for (inputs, targets), rate in zip(plan.batches(epoch), plan.learning_rates, strict=False):
                self.taken.add(sample(inputs), targets)
                self.taken.learning_rates.append(rate)
                on_step_end(1)
            if on_epoch_end(epoch, np.ones(plan.batches_per_epoch)):
                return

    def trace(self):
        return self.taken.trace()

    def synchronize(self):
        pass

    # As a framework: it is its own only model.
    def build(self, task, **keywords):
        return self

    def versions(self):
        return {}


def test_a_nan_that_no_loss_shows_ends_the_run_on_every_cpu(task, digits_path, tmp_path):
    asked = Run(
        task=task, framework="hiding", seed=0, device="cpu", data_fingerprint="d", data_path=digits_path,
        folder=tmp_path,
    )  # fmt: skip
    told = []
    train(asked, lambda name: Hiding(), told.append)
    assert told[1:] == [Diverged(epoch=1, reason="weights dense1/kernel became nan after epoch 1")]


def test_pytorchs_moving_variance_is_unbiased(in_worker):
    """frameworks/lightning/layers.py, BatchNorm2d: 1 is what the task says."""
    assert in_worker(upstream_quirks.unbiased_moving_variance, frameworks.load) == 2.0


def test_pytorchs_clipping_adds_a_millionth_to_the_norm(in_worker):
    """frameworks/lightning/optimizers.py, clip: 1 is what the task says."""
    clipped = in_worker(upstream_quirks.clipping_adds_to_the_norm, frameworks.load)
    assert clipped != 1.0
    assert clipped == pytest.approx(1.0, abs=1e-6)


def test_pytorchs_fused_optimizers_ignore_strides(in_worker):
    """frameworks/lightning/weights.py, write_gradients lays gradients out as the weights: True would be right."""
    assert in_worker(upstream_quirks.fused_steps_ignore_strides, frameworks.load) is False


def test_lightning_computes_gradients_inside_the_step(in_worker):
    """frameworks/lightning/optimizers.py, before_step: True would let it be a pre-hook of the optimizer."""
    assert in_worker(upstream_quirks.gradients_come_inside_the_step, frameworks.load) is False


# Calls whose defaults differ between the frameworks (or may, tomorrow), and what each must be told.
STATED = {
    "nn.Conv2d": {"padding", "bias"},
    "layers.Conv2D": {"padding", "use_bias", "name"},
    "layers.MaxPooling2D": {"padding", "name"},
    "layers.BatchNorm2d": {"eps", "momentum"},
    "layers.BatchNormalization": {"momentum", "epsilon"},
    "nn.GELU": {"approximate"},
    "layers.GRU": {"reset_after", "return_sequences"},
    "layers.LSTM": {"return_sequences"},
    "layers.SimpleRNN": {"activation", "return_sequences"},
    "layers.Bidirectional": {"merge_mode"},
    "layers.Embedding": {"mask_zero"},
    "layers.Masking": {"mask_value"},
    "torch.optim.SGD": {"momentum", "nesterov", "dampening"},
    "torch.optim.RMSprop": {"alpha", "eps", "momentum", "centered"},
    "torch.optim.Adagrad": {"initial_accumulator_value", "eps"},
    "torch.optim.Adadelta": {"rho", "eps"},
    "torch.optim.Adam": {"betas", "eps", "amsgrad"},
    "torch.optim.AdamW": {"betas", "eps", "weight_decay"},
    "torch.optim.Adamax": {"betas", "eps"},
    "torch.optim.NAdam": {"betas", "eps", "momentum_decay"},
    "torch.optim.Adafactor": {"beta2_decay", "eps", "d"},
    "SGD": {"momentum", "nesterov"},
    "RMSprop": {"rho", "epsilon", "momentum", "centered"},
    "Adagrad": {"initial_accumulator_value", "epsilon"},
    "Adadelta": {"rho", "epsilon"},
    "Adam": {"beta_1", "beta_2", "epsilon", "amsgrad"},
    "Adamax": {"beta_1", "beta_2", "epsilon"},
    "Nadam": {"beta_1", "beta_2", "epsilon"},
    "Adafactor": {"beta_2_decay", "epsilon_1", "epsilon_2", "clip_threshold"},
    "keras.losses.SparseCategoricalCrossentropy": {"from_logits", "reduction"},
    "keras.losses.BinaryCrossentropy": {"from_logits", "reduction"},
    "keras.losses.MeanSquaredError": {"reduction"},
    "keras.losses.categorical_crossentropy": {"from_logits", "label_smoothing"},
    "model.compile": {"optimizer", "loss", "jit_compile"},
    "pl.Trainer": {"accelerator", "devices", "precision", "max_epochs", "deterministic"},
    "EMAWeightAveraging": {"decay", "use_buffers"},
}


def calls(source: str) -> list[tuple[str, set[str], int]]:
    """Dotted name, keywords and number of positional arguments of every call; **dict counts as what it is named."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            keywords = {keyword.arg or f"**{ast.unparse(keyword.value)}" for keyword in node.keywords}
            found.append((ast.unparse(node.func), keywords, len(node.args)))
    return found


def unstated(source: str) -> list[str]:
    """Calls that leave a number of STATED to a default."""
    wrong = []
    for name, keywords, n_positional in calls(source):
        stated = keywords | ({"eps", "momentum"} if "**norm" in keywords else set())
        missing = STATED.get(name, set()) - stated
        if missing:
            wrong.append(f"{name}({n_positional} positional) leaves {', '.join(sorted(missing))} to a default")
    return wrong


def test_no_number_is_left_to_a_frameworks_default():
    # What leaves a default to the framework on purpose, and what reads those, is not looked at.
    paths = [path for path in PROJECT.glob("frameworks/*/**/*.py") if path.stem not in ("defaults", "catalogue")]
    sources = [path.read_text() for path in sorted(paths)]
    named = {name for source in sources for name, _, _ in calls(source)}
    assert set(STATED) <= named  # a row that matches no call would watch over nothing
    assert [line for source in sources for line in unstated(source)] == []


def test_a_default_that_slips_in_is_seen():
    assert unstated("layers.BatchNormalization(momentum=0.9, name='x')") == [
        "layers.BatchNormalization(0 positional) leaves epsilon to a default"
    ]
