"""What the referee does not know, told without NumPy: a task that it cannot train is refused before it is imported."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from experiments.task import Clip, Regularization, Task
from experiments.task.networks import MlpSettings

KNOWN = {  # the words of NETWORKS, ACTIVATIONS, OPTIMIZERS and LOSSES
    "networks": ("mlp",),
    "activations": ("sigmoid", "tanh", "relu"),
    "optimizers": ("sgd", "adam"),
    "losses": ("mean_squared_error", "brier_score", "cross_entropy", "binary_cross_entropy"),
}
DONE_BY_OTHERS = {"early_stopping", "augmentation"}  # the harness stops a training, the plan changes the images
NO_SWITCH = {"exclude"}  # says where l1, l2 and weight_decay apply, which are refused themselves


def refuse_unknown_words(task: Task) -> None:
    """Raise ValueError on the first word of the task that the referee does not know."""
    _require_known("networks", task.network.kind)
    if isinstance(task.network, MlpSettings):
        _require_known("activations", task.network.activation)
    _require_known("optimizers", task.optimizer.kind)
    _require_known("losses", task.training.loss)
    for word, value in _switched_on(task.regularization).items():
        raise ValueError(f"`framework=numpy` knows no {word}, but got regularization.{word}={value}; switch it off")
    if (weights := task.training.class_weights) is not None:
        raise ValueError(f"`framework=numpy` knows no class_weights, but got {weights}; set class_weights=null")
    if (steps := task.training.gradient_accumulation_steps) != 1:
        raise ValueError(
            f"`framework=numpy` steps after every batch, but got gradient_accumulation_steps={steps}; set 1"
        )
    if task.training.jit:
        raise ValueError("`framework=numpy` compiles nothing, but got training.jit=True; set training.jit=false")
    if task.training.precision != "float64":
        raise ValueError(
            f"`framework=numpy` computes in float64, but got training.precision={task.training.precision}; "
            "set training.precision=float64"
        )


def _require_known(words: str, word: str) -> None:
    if word not in KNOWN[words]:
        raise ValueError(f"`framework=numpy` knows the {words} {', '.join(KNOWN[words])}, but got {word}")


def _switched_on(regularization: Regularization) -> dict[str, Any]:
    """What is on: not 0, not none. A word that is new in Regularization counts until someone thinks about it here."""
    words = {field.name for field in fields(regularization)} - DONE_BY_OTHERS - NO_SWITCH
    settings = {word: getattr(regularization, word) for word in sorted(words)}
    values = {word: setting.kind if isinstance(setting, Clip) else setting for word, setting in settings.items()}
    return {word: value for word, value in values.items() if value not in (0, "none")}
