"""The frameworks. Importing this package imports none of them."""

from __future__ import annotations

import importlib

from experiments.contract import Framework, FrameworkSpec

# name in conf/framework/*.yaml -> what is known before the import; a new framework is a row here, a folder, a YAML and
# an extra. The colours are Okabe and Ito's.
FRAMEWORKS = {
    "lightning": FrameworkSpec(
        module="frameworks.lightning.adapter",
        colour="#0072B2",
        bare_loop="PyTorch without Lightning: DataLoader over a TensorDataset, zero_grad, loss, backward, step",
        variables=("PL_", "LIGHTNING_", "TORCH", "PYTORCH_", "ATEN_", "XRT_"),
        also_called=("pytorch", "torch", "pl", "pytorch_lightning"),
    ),
    "keras": FrameworkSpec(
        module="frameworks.keras.adapter",
        colour="#D55E00",
        bare_loop="compile and fit on arrays, in an order of its own",
        variables=("KERAS_", "TF_", "TENSORFLOW_", "XLA_", "JAX_", "ITEX_"),
        also_called=("tensorflow", "tf", "keras3"),
    ),
    "numpy": FrameworkSpec(
        module="frameworks.numpy.adapter",
        colour="#009E73",
        bare_loop="slices of arrays, forward, backward, step",
        max_devices=1,
        precisions=("float64",),
        limits="frameworks.numpy.limits:refuse_unknown_words",
    ),
}


def load(name: str) -> Framework:
    """Import one framework.

    Raises:
        KeyError: If there is no framework of that name.
        ImportError: If its packages are not installed.
    """
    adapter = importlib.import_module(FRAMEWORKS[name].module)
    framework: Framework = adapter.FRAMEWORK
    return framework
