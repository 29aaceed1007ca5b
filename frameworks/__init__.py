"""The frameworks. Importing this package imports none of them."""

from __future__ import annotations

import importlib
import os

from experiments import contract
from experiments.contract import Framework, FrameworkSpec
from experiments.task import Task

# How the variables begin that Keras reads, whichever library it computes with, and those of PyTorch.
KERAS_VARIABLES = ("KERAS_", "TF_", "TENSORFLOW_", "XLA_", "JAX_", "ITEX_")
TORCH_VARIABLES = ("TORCH", "PYTORCH_", "ATEN_", "XRT_")

# name in conf/framework/*.yaml -> what is known before the import; a new framework is a row here, a folder, a YAML and
# an extra. The colours are Okabe and Ito's.
FRAMEWORKS = {
    "lightning": FrameworkSpec(
        module="frameworks.lightning.adapter",
        probe="frameworks.lightning.probe",
        colour="#0072B2",
        bare_loop="PyTorch without Lightning: DataLoader over a TensorDataset, zero_grad, loss, backward, step",
        variables=("PL_", "LIGHTNING_", *TORCH_VARIABLES),
        also_called=("pytorch", "torch", "pl", "pytorch_lightning"),
    ),
    "keras": FrameworkSpec(
        module="frameworks.keras.adapter",
        probe="frameworks.keras.probe",
        colour="#D55E00",
        bare_loop="compile and fit on arrays, in an order of its own",
        variables=KERAS_VARIABLES,
        environment={"KERAS_BACKEND": "tensorflow"},
        also_called=("tensorflow", "tf", "keras3", "keras_tensorflow", "keras-tensorflow"),
    ),
    "keras_jax": FrameworkSpec(
        module="frameworks.keras.adapter",
        probe="frameworks.keras.probe",
        colour="#CC79A7",
        bare_loop="compile and fit on arrays, in an order of its own",
        max_devices=1,
        precisions=("float32", "float64", "mixed_bfloat16"),
        variables=(*KERAS_VARIABLES, "NPROC"),
        environment={"KERAS_BACKEND": "jax"},
        extra="jax",
        also_called=("jax", "keras-jax", "jax_keras"),
    ),
    "keras_torch": FrameworkSpec(
        module="frameworks.keras.adapter",
        probe="frameworks.keras.probe",
        colour="#000000",
        bare_loop="compile and fit on arrays, in an order of its own",
        max_devices=1,
        precisions=("float32", "float64", "mixed_bfloat16"),
        variables=(*KERAS_VARIABLES, *TORCH_VARIABLES),
        environment={"KERAS_BACKEND": "torch"},
        limits="frameworks:refuse_compiled_steps",
        also_called=("keras-torch", "keras_pytorch", "keras-pytorch"),
    ),
    "numpy": FrameworkSpec(
        module="frameworks.numpy.adapter",
        colour="#009E73",
        bare_loop="slices of arrays, forward, backward, step",
        max_devices=1,
        has_defaults=False,
        precisions=("float64",),
        limits="frameworks.numpy.limits:refuse_unknown_words",
    ),
}


def refuse_compiled_steps(task: Task) -> None:
    """Raise ValueError on a task whose steps are to be compiled: Keras on PyTorch takes them one by one."""
    contract.refuse_compiled_steps(task.training, by="keras_torch")


def load(name: str) -> Framework:
    """Import one framework.

    Raises:
        KeyError: If there is no framework of that name.
        ImportError: If its packages are not installed.
    """
    spec = FRAMEWORKS[name]
    os.environ.update(spec.environment)
    adapter = importlib.import_module(spec.module)
    framework: Framework = adapter.FRAMEWORK
    return framework
