"""What a run's times are, from what a framework tells: of each batch, or of many at once."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from experiments.execution import worker

EPOCHS = [[3.0, 0.1, 0.1, 0.1], [0.4, 0.1, 0.1, 0.1], [0.8, 0.2, 0.2, 0.2]]  # seconds of each batch


def ledger(epochs, *, batches_per_call, monkeypatch):
    """The times of a run whose batches took so long, told `batches_per_call` at a time."""
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(worker.time, "perf_counter", lambda: now.seconds)
    run = SimpleNamespace(task=SimpleNamespace(regularization=SimpleNamespace(early_stopping=None)))
    monitor = worker._FitMonitor(
        run=run, model=SimpleNamespace(synchronize=lambda: None), dataset=None, emit=lambda _: None
    )
    for epoch in epochs:
        monitor.start_clock()
        began = now.seconds
        for start in range(0, len(epoch), batches_per_call):
            told = epoch[start : start + batches_per_call]
            now.seconds += sum(told)
            monitor.steps_ended(len(told))
        monitor.epoch_seconds.append(now.seconds - began)
        monitor.n_losses.append(len(epoch))
        monitor.calls.append([])
    return monitor.ledger()


@pytest.mark.parametrize("batches_per_call", [1, 2, 3, 4, 32])
def test_a_step_takes_as_long_however_many_batches_are_told_at_once(batches_per_call, monkeypatch):
    found = ledger(EPOCHS, batches_per_call=batches_per_call, monkeypatch=monkeypatch)
    assert found["time/steady_step"] == pytest.approx((0.7 + 1.4) / 2 / 4)
    assert found["time/steady_epoch"] == pytest.approx((0.7 + 1.4) / 2)
    assert found["time/fit"] == pytest.approx(3.3 + 0.7 + 1.4)


def test_the_first_step_is_the_first_call_without_its_other_steps(monkeypatch):
    alone = ledger(EPOCHS, batches_per_call=1, monkeypatch=monkeypatch)
    assert alone["time/first_step"] == pytest.approx(3.0)
    together = ledger(EPOCHS, batches_per_call=4, monkeypatch=monkeypatch)
    assert together["time/first_step"] == pytest.approx(3.3 - 3 * together["time/steady_step"])


def test_a_first_step_takes_no_negative_time(monkeypatch):
    later = [[0.1] * 4, [0.9] * 4]  # a neighbour in the second epoch
    assert ledger(later, batches_per_call=4, monkeypatch=monkeypatch)["time/first_step"] == 0


def test_of_one_epoch_the_steady_step_is_of_what_was_told_after_the_first(monkeypatch):
    assert ledger(EPOCHS[:1], batches_per_call=1, monkeypatch=monkeypatch)["time/steady_step"] == pytest.approx(0.1)
