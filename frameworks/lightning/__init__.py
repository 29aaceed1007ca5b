"""PyTorch Lightning, imported without what no run needs."""

from experiments.contract import optional_packages

with optional_packages.hidden():
    import pytorch_lightning  # noqa: F401
