"""What a step of Lightning's costs beside its arithmetic, by counting."""

from worker_calls import counted_steps

import frameworks


def test_a_step_calls_few_functions(in_worker, task, digits_path):
    """Measured: 837; 1,293 with the hooks, the loader, the scheduler and the optimizer that it does without."""
    calls, unknown = in_worker(counted_steps, frameworks.load, task, digits_path)
    assert 100 < calls < 1000
    assert unknown == []  # each hook that is taken from Lightning is one of its own
