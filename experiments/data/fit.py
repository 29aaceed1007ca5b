"""Whether a task fits its examples, as far as that can be told before training."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from experiments.contract.plan import require_whole_steps
from experiments.data.checks import first_wrong
from experiments.data.spec import ExampleSpec
from experiments.task import Task


def check_fit(task: Task, spec: ExampleSpec, *, title: str) -> list[str]:
    """Whether network, loss and class weights fit the examples; what does not, in words."""
    problems = []
    try:
        task.network.check_input(spec.input_shape, vocabulary=spec.vocabulary)
    except ValueError as error:
        problems.append(str(error))
    if task.regularization.augmentation.is_on and len(spec.input_shape) != 3:
        problems.append(f"regularization.augmentation: changes images, but {title} has none")
    wants = "classes" if task.training.loss == "cross_entropy" else "values"
    if spec.targets != wants:
        fixes = {"classes": "training.loss=mean_squared_error takes values", "values": "cross_entropy takes classes"}
        problems.append(
            f"training.loss: {task.training.loss} needs {wants}, but {title} has {spec.targets}; {fixes[wants]}"
        )
    weights = task.training.class_weights
    if weights is not None and len(weights) != spec.n_outputs:
        problems.append(f"training.class_weights: {len(weights)} for {spec.n_outputs} classes of {title}")
    return problems


def check_examples(task: Task, targets: NDArray[Any]) -> list[str]:
    """Whether batches and loss fit the targets of the training part, (n_train, ...); what does not, in words."""
    training, problems = task.training, []
    try:
        require_whole_steps(
            len(targets), batch_size=training.batch_size, batches_per_step=training.gradient_accumulation_steps
        )
    except ValueError as error:
        problems.append(str(error))
    needs_shares = training.loss in ("binary_cross_entropy", "brier_score")
    if needs_shares and (found := first_wrong((targets < 0) | (targets > 1), targets, name="y_train")):
        problems.append(f"`0 <= y_train <= 1` must hold for training.loss={training.loss}, but {found}")
    return problems
