"""What a step of Lightning's costs beside its arithmetic, by counting."""

import sys

import pytest
from worker_calls import counted_steps, pages_of_memory_used_again

import frameworks


def test_a_step_calls_few_functions(in_worker, task, digits_path):
    """Measured: 837; 1,293 with the hooks, the loader, the scheduler and the optimizer that it does without."""
    calls, unknown = in_worker(counted_steps, frameworks.load, task, digits_path)
    assert 100 < calls < 1000
    assert unknown == []  # each hook that is taken from Lightning is one of its own


@pytest.mark.skipif(sys.platform != "linux", reason="other C libraries have no mallopt")
def test_freed_memory_stays_with_the_process(in_worker, task, digits_path):
    """Of its own glibc maps what is larger than 32 MiB anew each time."""
    assert in_worker(pages_of_memory_used_again, frameworks.load, task, digits_path) < 100
