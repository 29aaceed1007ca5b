"""A run that trained something else than its plan is no result, whoever is at fault."""

import dataclasses

import numpy as np
import pytest
from cases import change
from conftest import named
from worker_calls import fed_wrongly

import frameworks
from experiments import data
from experiments.contract.plan import BatchPlan
from experiments.contract.trace import SAMPLED, EpochTrace, digests, sample
from experiments.execution.audit import AuditedPlan, PlanNotDone
from experiments.execution.run import Run
from experiments.task import Augmentation

STILL = Augmentation(shift=0, flip=False, noise=0.0)
FAULTS = {
    "none": "Finished",
    "a step skipped": "PlanNotDone: epoch 1 has 40 of 41 batches' losses",
    "a batch twice": "PlanNotDone: epoch 2 took the examples of batch 2 as batch 3",
    "two batches swapped": "PlanNotDone: epoch 2 took the examples of batch 3 as batch 2",
    "targets of another batch": "PlanNotDone: epoch 2 took other examples as batch 2",
    "another rate": "PlanNotDone: epoch 2 made step 39 at 0.0010001, not at the learning rate 0.001",
}


def plan_of(*, augmentation=STILL, shape=(4, 4, 1), batches_per_step=1):
    rng = np.random.default_rng(0)
    plan = BatchPlan(
        inputs=rng.random((10, *shape)).astype("float32"),
        targets=rng.integers(0, 3, 10),
        batch_size=4,
        epochs=3,
        seed=0,
        learning_rates=np.linspace(0.1, 0.2, 9 // batches_per_step),
        augmentation=augmentation,
        batches_per_step=batches_per_step,
    )
    return AuditedPlan(plan=plan)


def traces_of(plan, *, epochs=3, batches=lambda epoch, given: given, rates=lambda epoch, given: given, dtype=float):
    """What a framework would tell that trained what `batches` makes of the plan's, at what `rates` makes of its."""
    steps = plan.batches_per_epoch // plan.batches_per_step
    traces = []
    for epoch in range(epochs):
        taken = batches(epoch, list(plan.batches(epoch)))
        planned = plan.learning_rates[epoch * steps : (epoch + 1) * steps].astype(dtype)
        found = digests([sample(inputs) for inputs, _ in taken], [targets for _, targets in taken])
        traces.append(EpochTrace(digests=found, learning_rates=rates(epoch, planned)))
    return traces


@pytest.mark.parametrize(
    "plan",
    [plan_of(), plan_of(augmentation=Augmentation(shift=1, flip=True, noise=0.1)), plan_of(batches_per_step=3)],
    ids=["still", "augmented", "accumulated"],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_plan_that_was_done_or_stopped_on_purpose_is_accepted(plan, dtype):
    plan.require_done(traces_of(plan, dtype=dtype), n_losses=[3, 3, 3], n_batches=9, ended=False)
    plan.require_done(traces_of(plan, epochs=2, dtype=dtype), n_losses=[3, 3], n_batches=6, ended=True)


@pytest.mark.parametrize(
    "augmentation", [STILL, Augmentation(shift=1, flip=True, noise=0.1)], ids=["still", "augmented"]
)
@pytest.mark.parametrize(
    ("told", "n_losses", "n_batches", "message"),
    [
        ({"epochs": 1}, [3], 3, "1 of 3 epochs were trained, and nobody stopped the run"),
        ({}, [3, 2, 3], 9, "epoch 2 has 2 of 3 batches' losses"),
        ({}, [3, 3, 3], 8, "8 of 9 batches were trained"),
        ({"batches": lambda e, b: b[:2] if e == 1 else b}, [3] * 3, 9, "epoch 2 took 2 of 3 batches"),
        ({"batches": lambda e, b: [b[0], b[0], b[2]]}, [3] * 3, 9, "epoch 1 took the examples of batch 1 as batch 2"),
        ({"batches": lambda e, b: [b[1], b[0], b[2]]}, [3] * 3, 9, "epoch 1 took the examples of batch 2 as batch 1"),
        ({"batches": lambda e, b: [(x + 1, y) for x, y in b]}, [3] * 3, 9, "epoch 1 took other examples as batch 1"),
        ({"batches": lambda e, b: [(x, y[::-1] + 1) for x, y in b]}, [3] * 3, 9, "took other examples as batch 1"),
        ({"rates": lambda e, r: r * (1 + (e == 2) * 1e-12)}, [3] * 3, 9, "epoch 3 made step 1 at 0.175, not at"),
        ({"rates": lambda e, r: r[:2]}, [3] * 3, 9, "epoch 1 made 2 of 3 steps"),
    ],
)  # fmt: skip
def test_a_plan_that_was_not_done_is_named(augmentation, told, n_losses, n_batches, message):
    plan = plan_of(augmentation=augmentation)
    with pytest.raises(PlanNotDone, match=message):
        plan.require_done(traces_of(plan, **told), n_losses=n_losses, n_batches=n_batches, ended=False)


def test_what_cannot_be_read_is_not_compared():
    plan = plan_of()
    unread = [dataclasses.replace(trace, learning_rates=None) for trace in traces_of(plan)]
    plan.require_done(unread, n_losses=[3, 3, 3], n_batches=9, ended=False)


def test_a_plan_that_hands_out_other_batches_than_its_order_says_is_seen(monkeypatch):
    plan = plan_of()
    given = BatchPlan.batches
    monkeypatch.setattr(BatchPlan, "batches", lambda self, epoch: reversed(list(given(self, epoch))))
    with pytest.raises(PlanNotDone, match="epoch 1 took other examples|epoch 1 took the examples of batch 3"):
        plan.require_done(traces_of(plan), n_losses=[3, 3, 3], n_batches=9, ended=False)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64"])
@pytest.mark.parametrize("shape", [(6,), (4, 5), (5, 5, 3), (SAMPLED,), (SAMPLED + 1,)])
def test_the_digests_of_shards_add_up_to_the_batchs(dtype, shape):
    rng = np.random.default_rng(0)
    inputs, targets = (1000 * rng.standard_normal((8, *shape))).astype(dtype), rng.random((8, 2))
    whole = digests([sample(inputs)], [targets])
    shards = [digests([sample(inputs[at::2])], [targets[at::2]]) for at in (0, 1)]
    assert sample(inputs).shape[1] <= SAMPLED
    assert (sum(shards) == whole).all()
    assert (digests([sample(inputs[:7])], [targets[:7]]) != whole).all()


@pytest.mark.parametrize("name", named(frameworks.FRAMEWORKS))
def test_a_framework_that_trains_something_else_fails_its_run(in_worker, name, task, digits, digits_path, tmp_path):
    precision = "float64" if name == "numpy" else "float32"
    run = Run(
        task=change(task, training={"precision": precision}), framework=name, seed=0, device="cpu",
        data_fingerprint=digits.fingerprint, data_path=digits_path, folder=tmp_path,
    )  # fmt: skip
    assert dict(in_worker(fed_wrongly, run, frameworks.load, tuple(FAULTS))) == FAULTS


@pytest.mark.parametrize("name", ["lightning", "keras"])
def test_the_batches_that_two_devices_share_are_compared_too(in_worker, name, task, digits, cache, tmp_path):
    even = dataclasses.replace(digits, x_train=digits.x_train[:1272], y_train=digits.y_train[:1272], fingerprint="even")
    run = Run(
        task=change(task, training={"precision": "float64", "batch_size": 64}), framework=name, seed=0, device="cpu",
        devices=2, data_fingerprint="even", data_path=data.write(even, cache / "prepared"), folder=tmp_path,
    )  # fmt: skip
    faults = ("none", "two batches swapped")
    assert dict(in_worker(fed_wrongly, run, frameworks.load, faults)) == {fault: FAULTS[fault] for fault in faults}
